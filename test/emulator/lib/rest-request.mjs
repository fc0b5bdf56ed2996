// What a request asks for: path, schema, preferences, body.

import { ApiError } from './rest-errors.mjs'
import { asUtf8, parsePairs } from './rest-query.mjs'

const PREFERENCES = {
  return: /^(?:minimal|headers-only|representation)$/, resolution: /^(?:merge|ignore)-duplicates$/, missing: /^(?:default|null)$/,
  count: /^(?:exact|planned|estimated)$/, tx: /^(?:commit|rollback)$/, handling: /^(?:strict|lenient)$/, timezone: /./, 'max-affected': /^\d+$/,
}

/** { name: value, strict }; what is not known is an error only with handling=strict. */
export function parsePreferences(request) {
  const items = request.headers.filter(([name]) => name === 'prefer').flatMap(([, value]) => value.split(',')).map((item) => item.trim()).filter(Boolean)
  const known = {}
  const unknown = []
  for (const item of items) {
    const [name, value] = item.split('=')
    if (PREFERENCES[name]?.test(value ?? '')) known[name] ??= value
    else unknown.push(item)
  }
  const strict = known.handling === 'strict'
  if (strict && unknown.length) {
    throw new ApiError(400, 'PGRST122', 'Invalid preferences given with handling=strict', { details: `Invalid preferences: ${unknown.join(', ')}` })
  }
  return { ...known, strict }
}

/** { rpc: name } or { table: name }. */
export function parsePath(path) {
  const parts = path.slice(1).split('/')
  const name = asUtf8(parts.at(-1).replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16))))
  if (parts.length === 2 && parts[0] === 'rpc' && name) return { rpc: name }
  if (parts.length === 1 && name) return { table: name }
  throw new ApiError(404, 'PGRST125', 'Invalid path specified in request URL')
}

/** The schema that is asked for, if one is. */
export function parseProfile(request) {
  const read = request.method === 'GET' || request.method === 'HEAD'
  const asked = request.header(read ? 'accept-profile' : 'content-profile')
  if (asked !== undefined && asked !== 'public') {
    throw new ApiError(406, 'PGRST106', `Invalid schema: ${asked}`, { hint: 'Only the following schemas are exposed: public' })
  }
  return asked
}

// ---- what a function sees of it ---------------------------------------------------

export function headersText(request) {
  return JSON.stringify(Object.fromEntries(request.headers.filter(([name]) => name !== 'cookie').map(([name, value]) => [name, asUtf8(value)])))
}

export function cookiesText(request) {
  const pairs = request.headers.filter(([name]) => name === 'cookie').flatMap(([, value]) => asUtf8(value).split(/; */)).filter(Boolean)
  return JSON.stringify(Object.fromEntries(pairs.map((pair) => {
    const [, name, value] = /^([^=]*)=?(.*)$/s.exec(pair)
    return [name, value.replace(/^"(.*)"$/s, '$1')]
  })))
}

// ---- the body -----------------------------------------------------------------------

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value)

function decodeJson(bytes) {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch {
    throw new ApiError(400, 'PGRST102', 'Empty or invalid json')
  }
}

function readJson(bytes) {
  if (!bytes.length) return { kind: 'json', names: [], raw: bytes }
  const value = decodeJson(bytes)
  if (isObject(value)) return { kind: 'json', names: Object.keys(value), raw: bytes }
  // only objects are passed on
  if (!Array.isArray(value) || !value.length) return { kind: 'json', names: [], raw: Buffer.from('[]') }
  const keys = (object) => JSON.stringify(Object.keys(object).sort())
  if (!value.every((item) => isObject(item) && keys(item) === keys(value[0]))) throw new ApiError(400, 'PGRST102', 'All object keys must match')
  return { kind: 'json', names: Object.keys(value[0]), raw: bytes }
}

function readForm(bytes) {
  return readObject(Object.fromEntries(parsePairs(bytes.toString('latin1'))))
}

// one line of names, lines of values
function readCsv(bytes) {
  const [names, values = []] = asUtf8(bytes.toString('latin1')).split(/\r?\n/)
    .map((line) => [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain))
  return readObject(Object.fromEntries(names.map((name, i) => [name, values[i] === 'NULL' ? null : values[i] ?? null])))
}

const readObject = (object) => ({ kind: 'none', names: Object.keys(object), raw: Buffer.from(JSON.stringify(object)) })

/** { kind, names, raw }: what it can be as an argument, or whose names arguments have. */
export function readBody({ header, body }) {
  const bytes = body ?? Buffer.alloc(0)
  const type = (header('content-type') ?? 'application/json').split(';')[0].trim().toLowerCase()
  switch (type) {
    case 'application/json': case '': return readJson(bytes)
    case 'application/x-www-form-urlencoded': return readForm(bytes)
    case 'text/csv': return readCsv(bytes)
    case 'text/plain': return { kind: 'text', names: [], raw: bytes }
    case 'application/octet-stream': return { kind: 'bytes', names: [], raw: bytes }
    default: throw new ApiError(400, 'PGRST102', `Content-Type not acceptable: ${header('content-type')}`)
  }
}
