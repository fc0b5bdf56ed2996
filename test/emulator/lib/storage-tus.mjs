// Resumable uploads under /upload/resumable. Sources: supabase/storage
// http/routes/tus/lifecycle.ts and the library behind it, tus-node-server
// packages/server (server.ts, handlers/*, constants.ts).

import { authenticate, verifySignedToken } from './storage-auth.mjs'
import { StorageError, errors, receive, reply, replyError, unexpected } from './storage-http.mjs'
import { checkKey, checkMimeType, checkPermission, countUpload, sizeLimit } from './storage-objects.mjs'

const ROOT = '/upload/resumable'
const VERSION = { 'tus-resumable': '1.0.0' }
const CHUNK_TYPE = 'application/offset+octet-stream'
// Storage's S3 backend makes every chunk a part (documented: exactly 6 MiB).
const CHUNK_RULE = 6 * 1024 * 1024

const EXPOSED = 'Authorization, Content-Type, Location, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, ' +
  'Upload-Concat, Upload-Defer-Length, Upload-Length, Upload-Metadata, Upload-Offset, X-HTTP-Method-Override, ' +
  'X-Requested-With, X-Forwarded-Host, X-Forwarded-Proto, Forwarded,'
const COMMON = { 'access-control-allow-origin': '*', 'access-control-expose-headers': EXPOSED }
const OPTIONS_HEADERS = {
  'access-control-allow-headers': `${EXPOSED} Authorization, X-Upsert, Upload-Expires, ApiKey, x-signature`,
  'access-control-allow-methods': 'POST, HEAD, PATCH, OPTIONS, DELETE',
  ...COMMON,
  'access-control-max-age': '86400',
  'tus-extension': 'creation,creation-with-upload,creation-defer-length,termination,expiration',
}

// Library errors end with a newline, the server's own do not.
class TusError extends Error {
  constructor(status, text, { cors = true } = {}) {
    super(text)
    Object.assign(this, { status, cors })
  }
}

const tusErrors = {
  versionRequired: () => new TusError(412, 'Tus-Resumable Required\n', { cors: false }),
  invalidHeaders: (names) => new TusError(400, `Invalid ${names.join(' ')}\n`, { cors: false }),
  lengthRequired: () => new TusError(400, 'Upload-Length or Upload-Defer-Length header required\n'),
  typeRequired: () => new TusError(403, 'Content-Type header required\n'),
  offsetRequired: () => new TusError(403, 'Upload-Offset header required\n'),
  offsetConflict: () => new TusError(409, 'Upload-Offset conflict\n'),
  maxSize: () => new TusError(413, 'Maximum size exceeded\n'),
  sizeExceeded: () => new TusError(413, "upload's size exceeded\n"),
  notFound: () => new TusError(404, 'The file for this url was not found\n'),
  expired: () => new TusError(410, 'The file for this url no longer exists\n'),
  lockTaken: () => new TusError(500, 'Request aborted due to lock acquired'),
  chunkRule: () => new TusError(400, 'chunk size must be 6 MiB except for the last one\n'),
}

export class TusUploads {
  constructor() {
    this.all = new Map()
  }

  add(upload) {
    this.all.set(upload.id, upload)
  }

  get(id) {
    const found = this.all.get(id)
    if (!found) throw tusErrors.notFound()
    return found
  }

  // The bytes of a complete upload belong to its object.
  drop(upload) {
    this.all.delete(upload.id)
    if (!upload.complete) upload.sink.drop()
  }

  clear() {
    for (const upload of this.all.values()) this.drop(upload)
  }

  describe() {
    return [...this.all.values()].map(({ bucket, key, length, sink, complete, patches, received }) => (
      { bucket, key, length, offset: sink.size, complete, patches, received }))
  }
}

// ---- routing ----------------------------------------------------------------

const OPS = { POST: 'tus_create', HEAD: 'tus_head', PATCH: 'tus_patch', DELETE: 'tus_delete', OPTIONS: 'tus_options' }
const RUNS = { POST: create, HEAD: head, PATCH: patch, DELETE: terminate, OPTIONS: options }

export function routeTus(ctx) {
  const { path, method } = ctx
  if ((path !== ROOT && !path.startsWith(`${ROOT}/`)) || !OPS[method]) return undefined
  const rest = path.slice(ROOT.length).split('/').filter(Boolean)
  ctx.signed = rest[0] === 'sign'
  if (ctx.signed) rest.shift()
  ctx.uploadId = rest[0]
  return { op: OPS[method], fail, target: targetOf(ctx), run: (c) => guard(c, RUNS[method]) }
}

// The id is base64url of bucket/key/version (storage/protocols/tus/upload-id.ts).
function targetOf(ctx) {
  if (ctx.uploadId) return Buffer.from(ctx.uploadId, 'base64url').toString().replace(/\/[^/]*$/, '')
  const { bucketName, objectName } = parseMetadata(ctx.headers['upload-metadata'])
  return `${bucketName}/${objectName}`
}

// Token problems are JSON like elsewhere; what follows is plain text.
async function guard(ctx, run) {
  if (ctx.method !== 'OPTIONS' && !ctx.signed) authenticate(ctx)
  ctx.insideTus = true
  if (ctx.method !== 'OPTIONS') checkHeaders(ctx.headers, ctx.method)
  return run(ctx)
}

const isCount = (value) => /^\d+$/.test(value)
const HEADER_CHECKS = {
  'tus-resumable': (value) => value === '1.0.0',
  'upload-length': isCount,
  'upload-offset': isCount,
  'upload-defer-length': (value) => value === '1',
}

function checkHeaders(headers, method) {
  if (headers['tus-resumable'] === undefined) throw tusErrors.versionRequired()
  const bad = Object.keys(HEADER_CHECKS).filter((name) => headers[name] !== undefined && !HEADER_CHECKS[name](headers[name]))
  const type = headers['content-type']
  if (method === 'PATCH' && type !== undefined && type !== CHUNK_TYPE) bad.push('content-type')
  if (bad.length) throw tusErrors.invalidHeaders(bad)
}

function fail(ctx, error) {
  if (!ctx.insideTus) return replyError(ctx, error)
  if (error instanceof TusError) return replyPlain(ctx, error.status, error.message, error.cors)
  const e = error instanceof StorageError ? error : unexpected(error)
  return replyPlain(ctx, e.statusCode, e.message, true)
}

// A rejected PATCH leaves its body unread, so the connection is closed.
function replyPlain(ctx, status, body, cors) {
  const headers = {
    ...(cors ? COMMON : {}),
    ...(cors && ctx.method === 'PATCH' ? { connection: 'close' } : {}),
    'content-length': Buffer.byteLength(body), 'content-type': 'text/plain;charset=UTF-8', ...VERSION,
  }
  return reply(ctx, status, headers, body, '')
}

function succeed(ctx, status, headers) {
  return reply(ctx, status, { ...COMMON, ...headers, ...VERSION }, undefined, '')
}

// ---- metadata ---------------------------------------------------------------

export function parseMetadata(header) {
  const pairs = (header ?? '').split(',').filter((p) => p.trim() !== '').map((pair) => {
    const [name, value = ''] = pair.trim().split(' ')
    return [name, Buffer.from(value, 'base64').toString()]
  })
  return Object.fromEntries(pairs)
}

function renderMetadata(metadata) {
  return Object.entries(metadata).map(([name, value]) => `${name} ${Buffer.from(value).toString('base64')}`).join(',')
}

// Seconds become max-age; anything else no-cache (lifecycle.ts onCreate).
function settleCacheControl(metadata) {
  return { ...metadata, cacheControl: /^-?\d+$/.test(metadata.cacheControl ?? '') ? `max-age=${metadata.cacheControl}` : 'no-cache' }
}

function userMetadata(metadata) {
  try {
    return metadata.metadata ? JSON.parse(metadata.metadata) : null
  } catch {
    return null
  }
}

// ---- handlers ---------------------------------------------------------------

async function options(ctx) {
  return reply(ctx, 204, { ...OPTIONS_HEADERS, 'tus-max-size': ctx.emu.config.limit, ...VERSION, 'tus-version': '1.0.0' }, undefined, '')
}

function authorizeSigned(ctx, bucket, key) {
  const token = ctx.headers['x-signature']
  if (!token) throw errors.invalidSignature('Missing x-signature header')
  const { upsert } = verifySignedToken(ctx, token, 'upload', `${bucket}/${key}`)
  ctx.claims = { role: 'service_role' }
  return upsert
}

function wantsUpsert(ctx, bucket, key) {
  return ctx.signed ? authorizeSigned(ctx, bucket, key) : ctx.headers['x-upsert'] === 'true'
}

async function create(ctx) {
  const { headers, emu } = ctx
  const deferred = headers['upload-defer-length'] !== undefined
  if (deferred === (headers['upload-length'] !== undefined)) throw tusErrors.lengthRequired()
  if (headers['upload-metadata'] === undefined) throw errors.metadataRequired()
  const metadata = parseMetadata(headers['upload-metadata'])
  const { bucketName: bucketId = '', objectName: key = '', contentType } = metadata
  checkKey(key)
  const bucket = emu.store.bucket(bucketId)
  const length = deferred ? undefined : Number(headers['upload-length'])
  if (length > sizeLimit(ctx, bucket)) throw tusErrors.maxSize()
  const upsert = wantsUpsert(ctx, bucketId, key)
  checkPermission(ctx, bucketId, key, upsert)
  if (contentType) checkMimeType(bucket, contentType)
  const upload = register(ctx, { bucket: bucketId, key, length, upsert, metadata: settleCacheControl(metadata) })
  return answerCreate(ctx, upload)
}

function register(ctx, details) {
  const { emu } = ctx
  const sink = emu.store.openSink()
  const id = Buffer.from(`${details.bucket}/${details.key}/${sink.version}`).toString('base64url')
  const upload = { ...details, id, sink, createdAt: Date.now(), complete: false, holder: undefined, patches: 0, received: 0 }
  emu.tus.add(upload)
  return upload
}

async function answerCreate(ctx, upload) {
  const headers = { 'content-type': 'text/plain;charset=UTF-8', location: locationOf(ctx, upload), ...expires(ctx, upload) }
  if (ctx.headers['content-type'] !== CHUNK_TYPE) {
    if (upload.length === 0) complete(ctx, upload)
    return succeed(ctx, 201, headers)
  }
  const outcome = await receiveChunk(ctx, upload)
  if (outcome !== 'complete') return undefined
  if (upload.complete) headers['tus-complete'] = '1'
  return succeed(ctx, 201, { ...headers, 'upload-offset': upload.sink.size })
}

// Rebuilt from the request and https in production, hence wrong behind many
// proxies: `https` and `wrong` imitate that.
function locationOf(ctx, upload) {
  const { tusLocation } = ctx.emu.config
  const prefix = ctx.prefix ?? ctx.headers['x-forwarded-prefix']?.replace(/\/+$/, '') ?? ''
  const path = `${prefix}${ROOT}${ctx.signed ? '/sign' : ''}/${upload.id}`
  if (tusLocation === 'wrong') return `http://storage.invalid:5000${ROOT}/${upload.id}`
  const proto = tusLocation === 'https' ? 'https' : ctx.headers['x-forwarded-proto'] ?? 'http'
  return `${proto}://${ctx.headers['x-forwarded-host'] ?? ctx.headers.host}${path}`
}

// The file backend never expires uploads; the S3 one does, by their age, and says
// when (@tus/server PostHandler.ts, PatchHandler.ts; TUS_URL_EXPIRY_MS).
function expires(ctx, upload) {
  const { tusExpiryMs } = ctx.emu.config
  return tusExpiryMs ? { 'upload-expires': new Date(upload.createdAt + tusExpiryMs).toUTCString() } : {}
}

function findUpload(ctx) {
  return ctx.emu.tus.get(ctx.uploadId)
}

function checkAge(ctx, upload) {
  const { tusExpiryMs } = ctx.emu.config
  if (tusExpiryMs && upload.createdAt + tusExpiryMs < Date.now()) throw tusErrors.expired()
}

async function head(ctx) {
  const upload = findUpload(ctx)
  await takeLock(ctx, upload)
  freeLock(upload)
  checkAge(ctx, upload)
  return succeed(ctx, 200, {
    'cache-control': 'no-store', 'content-type': 'text/plain;charset=UTF-8',
    ...(upload.length === undefined ? { 'upload-defer-length': '1' } : { 'upload-length': upload.length }),
    'upload-metadata': renderMetadata(upload.metadata), 'upload-offset': upload.sink.size,
  })
}

async function patch(ctx) {
  const { headers } = ctx
  if (headers['content-type'] === undefined) throw tusErrors.typeRequired()
  if (headers['upload-offset'] === undefined) throw tusErrors.offsetRequired()
  const upload = findUpload(ctx)
  const upsert = wantsUpsert(ctx, upload.bucket, upload.key)
  if (!upload.complete) checkPermission(ctx, upload.bucket, upload.key, upsert || upload.upsert)
  await takeLock(ctx, upload)
  try {
    return await patchLocked(ctx, upload)
  } finally {
    freeLock(upload)
  }
}

async function patchLocked(ctx, upload) {
  checkAge(ctx, upload)
  if (Number(ctx.headers['upload-offset']) !== upload.sink.size) throw tusErrors.offsetConflict()
  settleLength(ctx, upload)
  checkChunk(ctx, upload)
  const outcome = await receiveChunk(ctx, upload)
  if (outcome === 'cancelled') throw tusErrors.lockTaken()
  if (outcome === 'too_large') throw tusErrors.maxSize()
  if (outcome !== 'complete') return undefined
  return succeed(ctx, 204, { ...(upload.complete ? { 'tus-complete': '1' } : expires(ctx, upload)), 'upload-offset': upload.sink.size })
}

// A deferred length may come with any PATCH.
function settleLength(ctx, upload) {
  const length = ctx.headers['upload-length']
  if (length === undefined || upload.length !== undefined) return
  if (Number(length) > sizeLimit(ctx, ctx.emu.store.bucket(upload.bucket))) throw tusErrors.maxSize()
  upload.length = Number(length)
}

// What may be written, all in all: the limit, as long as the length is unknown.
function mostOf(ctx, upload) {
  return upload.length ?? sizeLimit(ctx, ctx.emu.store.bucket(upload.bucket))
}

// A body that says its length is refused as a whole; one that does not is cut
// (@tus/server BaseHandler.ts calculateMaxBodySize).
function checkChunk(ctx, upload) {
  const size = Number(ctx.headers['content-length'] ?? NaN)
  if (upload.sink.size + size > mostOf(ctx, upload)) throw tusErrors.sizeExceeded()
  const isLast = upload.sink.size + size === upload.length
  if (ctx.emu.config.tusChunkRule && !isLast && size !== CHUNK_RULE) throw tusErrors.chunkRule()
}

// What arrived before a break stays and counts, unlike in a plain upload.
async function receiveChunk(ctx, upload) {
  upload.patches += 1
  const { outcome, received } = await countUpload(ctx, () => receive(ctx, (chunk) => upload.sink.write(chunk),
    { limit: mostOf(ctx, upload) - upload.sink.size, cancelled: upload.holder?.cancelled }))
  upload.received += received
  if (outcome === 'complete' && upload.sink.size === upload.length && !upload.complete) complete(ctx, upload)
  return outcome
}

function complete(ctx, upload) {
  const { metadata } = upload
  upload.complete = true
  ctx.emu.store.commit(upload.bucket, upload.key, upload.sink.finish(), {
    content_type: metadata.contentType ?? 'application/octet-stream', cache_control: metadata.cacheControl,
    user_metadata: userMetadata(metadata),
  })
}

async function terminate(ctx) {
  const upload = findUpload(ctx)
  checkPermission(ctx, upload.bucket, upload.key, true)
  await takeLock(ctx, upload)
  ctx.emu.tus.drop(upload)
  freeLock(upload)
  return succeed(ctx, 204, {})
}

// ---- lock -------------------------------------------------------------------

// One request holds an upload; the next asks it to release it and interrupts it after
// a grace period (storage/protocols/tus/postgres-locker.ts; observed: 3 s).
async function takeLock(ctx, upload) {
  while (upload.holder) {
    const { holder } = upload
    const timer = setTimeout(holder.cancel, ctx.emu.config.tusLockMs)
    await holder.released
    clearTimeout(timer)
  }
  upload.holder = makeHolder()
}

function makeHolder() {
  const holder = {}
  holder.cancelled = new Promise((resolve) => { holder.cancel = () => resolve('cancelled') })
  holder.released = new Promise((resolve) => { holder.release = resolve })
  return holder
}

function freeLock(upload) {
  upload.holder.release()
  upload.holder = undefined
}
