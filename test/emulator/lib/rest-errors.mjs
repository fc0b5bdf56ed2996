// Errors as PostgREST answers them.

import { readFileSync } from 'node:fs'
import { STATUS_CODES } from 'node:http'

// shared with the tests that compare the manual with it
const BY_PREFIX = JSON.parse(readFileSync(new URL('./rest-status.json', import.meta.url))).prefixes

/** An error of PostgREST's own; it has a standard reason phrase. */
export class ApiError extends Error {
  constructor(status, code, message, { details = null, hint = null, headers = [] } = {}) {
    super(message)
    Object.assign(this, { status, code, details, hint, headers })
  }
}

/** What it cannot cope with at all. */
export class Unreadable extends Error {}

export const reasonPhrase = (status) => (status === 413 ? 'Request Entity Too Large' : STATUS_CODES[status] ?? '')

/** The status of a SQLSTATE; authenticated: the role is not the anonymous one. */
export function statusOf({ code, message }, authenticated) {
  if (code.startsWith('PT')) return /^\d{3}$/.test(code.slice(2)) ? Number(code.slice(2)) : 500
  if (code === '42501') return authenticated ? 403 : 401
  // the words of pg_safeupdate, and of a JWT whose role is not there
  if (code === '21000') return message.endsWith('requires a WHERE clause') ? 400 : 500
  if (code === '22023') return /^role .*does not exist$/s.test(message) ? 401 : 400
  return BY_PREFIX[code] ?? BY_PREFIX[code.slice(0, 2)] ?? 400
}

function errorBody({ code, message, details, hint }) {
  return Buffer.from(JSON.stringify({ code, details, hint, message }))
}

/** shown: { status, reason, code, message, details, hint, headers }. */
function errorAnswer({ status, reason = reasonPhrase(status), code, message, details, hint, headers = [] }) {
  const body = errorBody({ code, message, details, hint })
  const challenge = headers.some(([name]) => name === 'WWW-Authenticate') ? [] : [['WWW-Authenticate', 'Bearer']]
  return {
    status,
    reason,
    headers: [
      ...(status === 503 ? [['Retry-After', '0']] : []),
      ['Content-Type', 'application/json; charset=utf-8'],
      ['Content-Length', body.length],
      ['Proxy-Status', `PostgREST; error=${code}`],
      ...(status === 401 ? challenge : []),
      ...headers,
    ],
    body: status === 204 || status === 304 ? null : body,
  }
}

export const unreadable = () => ({
  status: 500, reason: reasonPhrase(500), chunked: true,
  headers: [['Content-Type', 'text/plain; charset=utf-8']], body: Buffer.from('Something went wrong'),
})

export const apiErrorAnswer = (e) => errorAnswer({ ...e, message: e.message })

const parsed = (text) => { try { return JSON.parse(text) } catch { return undefined } }

// RAISE SQLSTATE 'PGRST': the body is its message, status and headers are its detail
function ownErrorAnswer({ message, detail }) {
  const said = parsed(message)
  const how = parsed(detail)
  const bad = (what, text, hint) => apiErrorAnswer(new ApiError(500, 'PGRST121', 'Could not parse JSON in the "RAISE SQLSTATE \'PGRST\'" error',
    { details: `Invalid JSON value for ${what}: '${text}'`, hint }))
  if (typeof said?.code !== 'string' || typeof said.message !== 'string') {
    return bad('MESSAGE', message, "MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional keys: 'details', 'hint'.")
  }
  if (typeof how?.status !== 'number' || typeof (how.headers ?? {}) !== 'object') {
    return bad('DETAIL', detail, "DETAIL must be a JSON object with obligatory keys: 'status', 'headers' and optional key: 'status_text'.")
  }
  return errorAnswer({ status: how.status, code: said.code, message: said.message, details: said.details ?? null, hint: said.hint ?? null,
    headers: Object.entries(how.headers ?? {}) })
}

/** The answer to an error of PostgreSQL's. */
export function sqlErrorAnswer(e, authenticated) {
  if (e.code === 'PGRST') return ownErrorAnswer(e)
  const status = statusOf(e, authenticated)
  // a PT error's message becomes the reason phrase, as it is
  const reason = e.code.startsWith('PT') ? e.message : reasonPhrase(status)
  return errorAnswer({ status, reason, code: e.code, message: e.message, details: e.detail, hint: e.hint })
}

export const disconnectedAnswer = (e) => apiErrorAnswer(new ApiError(503, 'PGRST001', 'Database client error. Retrying the connection.', { details: e.message }))

/** A connection of the pool that was found dead and had said nothing. */
export const silentAnswer = () => errorAnswer({ status: 400, code: '', message: '', details: null, hint: null })
