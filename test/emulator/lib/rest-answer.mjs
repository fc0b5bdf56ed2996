// Good answers: headers, statuses, and what functions set of them.

import { ApiError, reasonPhrase } from './rest-errors.mjs'

const EXPOSED = 'Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server, Transfer-Encoding, Range-Unit'
const VARY = ['Vary', 'Accept, Prefer, Range']

function readHeaders(text) {
  const bad = () => new ApiError(500, 'PGRST111', 'response.headers guc must be a JSON array composed of objects with a single key and a string value')
  let list
  try { list = JSON.parse(text) } catch { throw bad() }
  if (!Array.isArray(list)) throw bad()
  return list.map((item) => {
    const entries = item && typeof item === 'object' && !Array.isArray(item) ? Object.entries(item) : []
    if (entries.length !== 1 || typeof entries[0][1] !== 'string') throw bad()
    // a line break inside folds the line
    return [entries[0][0], entries[0][1].replaceAll('\r\n', '\r\n ')]
  })
}

function readStatus(text) {
  if (!/^\d+$/.test(text)) throw new ApiError(500, 'PGRST112', 'response.status guc must be a valid status code')
  return Number(text)
}

function contentRange(first, rows, total) {
  return `${rows ? `${first}-${first + rows - 1}` : '*'}/${total ?? '*'}`
}

/**
 * result: { total, rows, body, headers, status } as the statement gave them.
 * usual: the status if the function sets none; silent: no body at all.
 */
export function goodAnswer(result, { query, type, location, applied, profile, usual, silent, head }) {
  const given = result.headers === null ? [] : readHeaders(result.headers)
  const set = result.status === null ? undefined : readStatus(result.status)
  const partial = usual === 200 && result.total !== null && result.rows < result.total
  const status = set ?? (partial ? 206 : usual)
  const own = [
    ['Content-Range', contentRange(query.offset, result.rows, result.total)],
    ...(location ? [['Content-Location', location]] : []),
    ...(applied.length ? [['Preference-Applied', applied.join(', ')]] : []),
    ...(silent || head ? [] : [['Content-Length', result.body.length]]),
    ...(silent ? [] : [['Content-Type', type]]),
    ...(profile ? [['Content-Profile', profile]] : []),
  ]
  const replaced = (name) => given.some(([n]) => n.toLowerCase() === name.toLowerCase())
  const bodiless = status < 200 || status === 204 || status === 304
  return {
    status: String(status).padStart(3, '0'),
    reason: reasonPhrase(status),
    headers: [...own.filter(([name]) => !replaced(name)), ...given, ...(replaced('Vary') ? [] : [VARY])],
    body: silent || bodiless ? null : result.body,
    chunked: silent && !bodiless,
  }
}

/** What OPTIONS is answered. */
export const allowAnswer = (allow) => ({
  status: 200, reason: 'OK', body: null,
  headers: [['Content-Length', 0], ['Access-Control-Allow-Origin', '*'], ['Allow', allow], VARY],
})

export const isPreflight = ({ method, header }) => method === 'OPTIONS' && header('origin') !== undefined && header('access-control-request-method') !== undefined

export function preflightAnswer({ header }) {
  const asked = (header('access-control-request-headers') ?? '').split(',').map((name) => name.trim()).filter(Boolean)
  return {
    status: 200, reason: 'OK', body: null, chunked: true,
    headers: [
      ['Access-Control-Allow-Origin', '*'],
      ['Access-Control-Allow-Methods', 'GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD'],
      ['Access-Control-Allow-Headers', ['Authorization', ...asked, 'Accept', 'Accept-Language', 'Content-Language'].join(', ')],
      ['Access-Control-Max-Age', '86400'],
    ],
  }
}

/** Another origin may read it, too. */
export function withCors(answer, { header }) {
  if (header('origin') === undefined || answer.headers.some(([name]) => name === 'Access-Control-Allow-Origin')) return answer
  return { ...answer, headers: [...answer.headers, ['Access-Control-Allow-Origin', '*'], ['Access-Control-Expose-Headers', EXPOSED]] }
}
