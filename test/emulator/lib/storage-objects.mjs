// Buckets and objects over REST: routes under /bucket and /object. Sources:
// supabase/storage http/routes/{bucket,object}/*, storage/{object,uploader,limits}.ts.

import { randomUUID } from 'node:crypto'
import { pipeline } from 'node:stream/promises'
import { authenticate, authenticateLoosely, bypassesRowSecurity, signFor, verifySignedToken } from './storage-auth.mjs'
import { errors, readJson, receive, reply, replyError, replyJson } from './storage-http.mjs'
import { MultipartReader, boundaryOf } from './storage-multipart.mjs'

// storage/limits.ts
const VALID_KEY = /^[A-Za-z0-9_/!.*'() &$=@;:+,?-]+$/
const VALID_BUCKET = /^[A-Za-z0-9_!.*'() &$=@;:+,?-]{1,100}$/
const VALID_TYPE = /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+[ \t]*(;.*)?$/
const SIGNED_UPLOAD_SECONDS = 60
const message = (text) => ({ message: text })

// ---- routes -----------------------------------------------------------------

// Longest prefix first: the router prefers static segments.
const OBJECT_ROUTES = [
  ['POST', 'list/', 'list', listObjects],
  ['POST', 'move', 'move', moveObject],
  ['POST', 'copy', 'copy', copyObject],
  ['POST', 'upload/sign/', 'sign_upload', signUpload],
  ['PUT', 'upload/sign/', 'upload', uploadSigned],
  ['POST', 'sign/', 'sign', signDownload],
  ['GET', 'sign/', 'download', downloadSigned],
  ['GET', 'public/', 'download', downloadPublic],
  ['GET', 'authenticated/', 'download', downloadPrivate],
  ['GET', 'info/public/', 'info', infoPublic],
  ['GET', 'info/authenticated/', 'info', infoPrivate],
  ['GET', 'info/', 'info', infoPrivate],
  ['GET', '', 'download', downloadAny],
  ['POST', '', 'upload', uploadNew],
  ['PUT', '', 'upload', uploadOver],
  ['DELETE', '', 'remove', remove],
]

const ALL_BUCKETS = { POST: createBucket, GET: readBuckets, HEAD: readBuckets }
const ONE_BUCKET = { GET: readBuckets, HEAD: readBuckets, PUT: updateBucket, DELETE: deleteBucket }

function splitTarget(rest) {
  const cut = rest.indexOf('/')
  if (cut < 0) return { bucket: decodeURIComponent(rest) }
  return { bucket: decodeURIComponent(rest.slice(0, cut)), key: decodeURIComponent(rest.slice(cut + 1)) }
}

// The route of a REST request, or undefined.
export function routeRest(ctx) {
  const { path, method } = ctx
  if (path === '/bucket' || path.startsWith('/bucket/')) return routeBucket(ctx)
  if (!path.startsWith('/object/')) return undefined
  const rest = path.slice('/object/'.length)
  const wanted = method === 'HEAD' ? 'GET' : method
  for (const [verb, prefix, op, run] of OBJECT_ROUTES) {
    const isFixed = prefix !== '' && !prefix.endsWith('/')
    if (verb !== wanted || (isFixed ? rest !== prefix : !rest.startsWith(prefix))) continue
    Object.assign(ctx, splitTarget(rest.slice(prefix.length)))
    return { op, run, fail: replyError, target: `${ctx.bucket}/${ctx.key ?? ''}` }
  }
  return undefined
}

function routeBucket(ctx) {
  const [id, action] = ctx.path.slice('/bucket'.length).split('/').filter(Boolean).map(decodeURIComponent)
  ctx.bucket = id
  if (action === 'empty' && ctx.method === 'POST') return { op: 'bucket', run: emptyBucket, fail: replyError, target: id }
  const run = (id ? ONE_BUCKET : ALL_BUCKETS)[ctx.method]
  if (!run || action) return undefined
  return { op: 'bucket', run, fail: replyError, target: id }
}

// ---- buckets ----------------------------------------------------------------

// Decimal units: 1MB is 1000000 bytes (storage.ts parseMaxSizeLimit).
function parseSize(value) {
  if (value === null || value === undefined || typeof value === 'number') return value ?? null
  const found = /^(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB)?$/i.exec(String(value).trim())
  if (!found) throw errors.badBody('Invalid file size format, hint: use 20GB / 20MB / 30KB / 3B')
  const power = ['B', 'KB', 'MB', 'GB', 'TB'].indexOf((found[2] ?? 'B').toUpperCase())
  return Math.round(Number(found[1]) * 1000 ** power)
}

function describeBucket({ objects, ...row }) {
  return row
}

function requireVisible(ctx, id) {
  if (!bypassesRowSecurity(ctx)) throw errors.noSuchBucket()
  return ctx.emu.store.bucket(id)
}

export function addBucket(store, { name, id, public: isPublic, file_size_limit, allowed_mime_types }) {
  if (typeof name !== 'string') throw errors.badBody("body must have required property 'name'")
  if (name.trim() !== name || !VALID_BUCKET.test(name)) throw errors.bucketName()
  if (store.buckets.has(id || name)) throw errors.bucketExists()
  store.addBucket({ name, id: id || name, public: isPublic ?? false,
    file_size_limit: parseSize(file_size_limit), allowed_mime_types: allowed_mime_types?.filter(Boolean) ?? null })
}

async function createBucket(ctx) {
  authenticate(ctx)
  const body = await readJson(ctx)
  if (!bypassesRowSecurity(ctx)) throw errors.rowSecurity()
  addBucket(ctx.emu.store, body)
  return replyJson(ctx, 200, { name: body.name })
}

async function readBuckets(ctx) {
  authenticate(ctx)
  if (ctx.bucket) return replyJson(ctx, 200, describeBucket(requireVisible(ctx, ctx.bucket)))
  const all = bypassesRowSecurity(ctx) ? [...ctx.emu.store.buckets.values()] : []
  return replyJson(ctx, 200, all.map((b) => ({ ...describeBucket(b), type: 'STANDARD' })))
}

export function alterBucket(bucket, body) {
  if (body.public !== undefined) bucket.public = body.public
  if (body.file_size_limit !== undefined) bucket.file_size_limit = parseSize(body.file_size_limit)
  if (body.allowed_mime_types !== undefined) bucket.allowed_mime_types = body.allowed_mime_types
  bucket.updated_at = new Date().toISOString()
}

async function updateBucket(ctx) {
  authenticate(ctx)
  const body = await readJson(ctx)
  alterBucket(requireVisible(ctx, ctx.bucket), body)
  return replyJson(ctx, 200, message('Successfully updated'))
}

async function deleteBucket(ctx) {
  authenticate(ctx)
  if (requireVisible(ctx, ctx.bucket).objects.size) throw errors.bucketNotEmpty()
  ctx.emu.store.buckets.delete(ctx.bucket)
  return replyJson(ctx, 200, message('Successfully deleted'))
}

async function emptyBucket(ctx) {
  authenticate(ctx)
  for (const key of [...requireVisible(ctx, ctx.bucket).objects.keys()]) ctx.emu.store.remove(ctx.bucket, key)
  return replyJson(ctx, 200, message('Empty bucket has been queued. Completion may take up to an hour.'))
}

// ---- checks before bytes ----------------------------------------------------

export function sizeLimit(ctx, bucket) {
  return Math.min(ctx.emu.config.limit, bucket.file_size_limit ?? Infinity)
}

// Compares `type/subtype` as it was sent: a parameter fails an exact entry.
export function checkMimeType(bucket, type) {
  const allowed = bucket.allowed_mime_types
  if (!allowed?.length) return
  const [major, minor] = type.split('/')
  const fits = (entry) => {
    const [wantedMajor, wantedMinor] = entry.split('/')
    return wantedMajor === major && (wantedMinor === '*' || wantedMinor === minor)
  }
  if (minor === undefined || !allowed.some(fits)) throw errors.mimeType(type)
}

export function checkKey(key) {
  if (!key || !VALID_KEY.test(key)) throw errors.invalidKey(key ?? '')
}

// The file backend does not leave its directory; its message shows its path.
export function checkDotSegments(bucket, key) {
  if (!key.split('/').some((segment) => segment === '.' || segment === '..')) return
  throw errors.invalidKey(`stub/stub/${bucket}/${key}/${randomUUID()} contains dot path segment`)
}

export function checkPermission(ctx, bucket, key, upsert) {
  if (!bypassesRowSecurity(ctx)) throw errors.rowSecurity()
  if (!upsert && ctx.emu.store.find(bucket, key)) throw errors.keyExists()
}

export function parseMetadata(base64) {
  if (base64 === undefined) return {}
  try {
    return { ...JSON.parse(Buffer.from(base64, 'base64').toString()) }
  } catch {
    return {}
  }
}

// ---- upload -----------------------------------------------------------------

async function uploadNew(ctx) {
  authenticate(ctx)
  return upload(ctx, { upsert: ctx.headers['x-upsert'] === 'true', withId: true })
}

async function uploadOver(ctx) {
  authenticate(ctx)
  return upload(ctx, { upsert: true, withId: true })
}

async function uploadSigned(ctx) {
  const { upsert } = verifySignedToken(ctx, ctx.query.get('token'), 'upload', `${ctx.bucket}/${ctx.key}`)
  ctx.claims = { role: 'service_role' }
  return upload(ctx, { upsert, withId: false })
}

async function upload(ctx, { upsert, withId }) {
  const type = ctx.headers['content-type']
  if (type !== undefined && !VALID_TYPE.test(type)) throw errors.malformedType()
  const bucket = ctx.emu.store.bucket(ctx.bucket)
  const object = type?.startsWith('multipart/form-data')
    ? await receiveForm(ctx, bucket, upsert)
    : await receiveRaw(ctx, bucket, upsert)
  if (!object) return undefined
  const Key = `${ctx.bucket}/${ctx.key}`
  return replyJson(ctx, 200, withId ? { Key, Id: object.id } : { Key })
}

// From here on the body has a reader, so that Node does not drain what a refusal
// leaves: a client that goes on sending is stuck once the buffers are full.
function beginBody({ req }) {
  req.read(0)
}

// A chunked body has no length to compare, so no limit applies to it
// (storage/uploader.ts, isTruncated of a binary body).
async function receiveRaw(ctx, bucket, upsert) {
  const { headers } = ctx
  const content_type = headers['content-type'] ?? 'application/octet-stream'
  checkMimeType(bucket, content_type)
  if (Number(headers['content-length']) > sizeLimit(ctx, bucket)) throw errors.tooLarge()
  beginBody(ctx)
  checkKey(ctx.key)
  checkPermission(ctx, ctx.bucket, ctx.key, upsert)
  checkDotSegments(ctx.bucket, ctx.key)
  return receiveObject(ctx, {
    content_type, cache_control: headers['cache-control'] ?? 'no-cache', user_metadata: parseMetadata(headers['x-metadata']),
  })
}

// Bytes into a sink, sink into a row; undefined when the client went away.
// Permission is not checked again: of two racing uploads both succeed, as recorded.
export async function receiveObject(ctx, attributes, { limit } = {}) {
  const sink = ctx.emu.store.openSink()
  const { outcome } = await countUpload(ctx, () => receive(ctx, (chunk) => sink.write(chunk), { limit }))
  if (outcome === 'complete') return ctx.emu.store.commit(ctx.bucket, ctx.key, sink.finish(), attributes)
  sink.drop()
  if (outcome === 'too_large') throw errors.tooLarge()
  return undefined
}

// Ledger entries around a body with object bytes.
export async function countUpload(ctx, work) {
  const { ledger } = ctx.emu
  ledger.startUpload()
  let result
  try {
    result = await work()
    return result
  } finally {
    ledger.endUpload(result)
  }
}

// Form upload: fields cacheControl (seconds), metadata (JSON), contentType, and a file.
async function receiveForm(ctx, bucket, upsert) {
  const sink = ctx.emu.store.openSink()
  const limit = sizeLimit(ctx, bucket)
  let part
  const reader = new MultipartReader(boundaryOf(ctx.headers['content-type']), {
    onFile: (found, fields) => {
      part ??= found
      checkMimeType(bucket, fields.contentType || found.type)
      checkKey(ctx.key)
      checkPermission(ctx, ctx.bucket, ctx.key, upsert)
      checkDotSegments(ctx.bucket, ctx.key)
    },
    onFileData: (chunk) => sink.write(chunk),
  })
  try {
    const { outcome } = await countUpload(ctx, () => receive(ctx, (chunk) => reader.push(chunk)))
    if (outcome !== 'complete') return void sink.drop()
    if (!part || !reader.complete) throw errors.noContent()
    if (sink.size > limit) throw errors.tooLarge()
  } catch (e) {
    sink.drop()
    throw e
  }
  return ctx.emu.store.commit(ctx.bucket, ctx.key, sink.finish(), formAttributes(part, reader.fields))
}

function formAttributes(part, fields) {
  let user_metadata = {}
  try {
    user_metadata = { ...JSON.parse(fields.metadata ?? fields.userMetadata ?? '{}') }
  } catch {}
  return {
    content_type: fields.contentType || part.type, user_metadata,
    cache_control: fields.cacheControl ? `max-age=${fields.cacheControl}` : 'no-cache',
  }
}

// ---- reading ----------------------------------------------------------------

async function downloadAny(ctx) {
  const known = authenticateLoosely(ctx)
  const bucket = ctx.emu.store.buckets.get(ctx.bucket)
  if (!bucket || (!known && !bucket.public)) throw errors.noSuchBucket()
  return serve(ctx, findReadable(ctx, bucket))
}

async function downloadPrivate(ctx) {
  authenticate(ctx)
  return serve(ctx, findReadable(ctx, ctx.emu.store.bucket(ctx.bucket)))
}

function findReadable(ctx, bucket) {
  if (!bucket.public && !bypassesRowSecurity(ctx)) throw errors.noSuchKey()
  return ctx.emu.store.get(ctx.bucket, ctx.key)
}

// A private bucket does not exist for the public path.
function findPublic(ctx) {
  const bucket = ctx.emu.store.buckets.get(ctx.bucket)
  if (!bucket?.public) throw errors.noSuchBucket()
  return ctx.emu.store.get(ctx.bucket, ctx.key)
}

async function downloadPublic(ctx) {
  return serve(ctx, findPublic(ctx))
}

async function downloadSigned(ctx) {
  const { exp } = verifySignedToken(ctx, ctx.query.get('token'), 'download', `${ctx.bucket}/${ctx.key}`)
  return serve(ctx, ctx.emu.store.get(ctx.bucket, ctx.key), new Date(exp * 1000).toUTCString())
}

// First range only, end clipped to the size (storage/range.ts).
export function parseRange(header, size) {
  const found = header && /^bytes=(\d*)-(\d*)/.exec(header)
  if (!found) return undefined
  const [, first, last] = found
  if (first === '' && last === '') throw errors.invalidRange()
  const start = first === '' ? Math.max(0, size - Number(last)) : Number(first)
  const end = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1)
  if (start > end) throw errors.invalidRange()
  return { start, end }
}

function notModified({ headers }, object) {
  if (headers['if-none-match']) return headers['if-none-match'] === object.etag
  const since = headers['if-modified-since']
  return since !== undefined && Date.parse(object.updated_at) <= Date.parse(since)
}

function disposition(ctx) {
  if (!ctx.query.has('download')) return {}
  const name = ctx.query.get('download')
  return { 'content-disposition': name ? `attachment; filename=${encodeURIComponent(name)}; filename*=UTF-8''${encodeURIComponent(name)};` : 'attachment;' }
}

// HTML is served as plain text (storage/renderer/renderer.ts).
async function serve(ctx, object, expires) {
  const range = parseRange(ctx.headers.range, object.size)
  const { start, end } = range ?? { start: 0, end: object.size - 1 }
  const headers = {
    'accept-ranges': 'bytes',
    'content-type': object.content_type.includes('text/html') ? 'text/plain' : object.content_type,
    etag: object.etag, 'x-robots-tag': 'none', 'last-modified': new Date(object.updated_at).toUTCString(),
    'content-length': end + 1 - start,
    ...(expires ? { expires } : { 'cache-control': object.cache_control }),
    ...(range ? { 'content-range': `bytes ${start}-${end}/${object.size}` } : {}),
    ...disposition(ctx),
  }
  if (notModified(ctx, object)) return reply(ctx, 304, { ...headers, 'content-length': 0 })
  return sendBytes(ctx, range ? 206 : 200, headers, object, start, end)
}

export async function sendBytes(ctx, status, headers, object, start, end) {
  ctx.res.writeHead(status, headers)
  if (ctx.method === 'HEAD' || end < start) return ctx.res.end()
  // A client that leaves in the middle is no failure of the emulator.
  return pipeline(ctx.emu.store.read(object, start, end), ctx.res).catch(() => ctx.res.destroy())
}

async function infoPrivate(ctx) {
  authenticate(ctx)
  return sendInfo(ctx, findReadable(ctx, ctx.emu.store.bucket(ctx.bucket)))
}

async function infoPublic(ctx) {
  return sendInfo(ctx, findPublic(ctx))
}

function sendInfo(ctx, o) {
  const info = {
    id: o.id, name: o.key, version: o.version, bucket_id: o.bucket, size: o.size, content_type: o.content_type,
    cache_control: o.cache_control, etag: o.etag, metadata: o.user_metadata, last_modified: o.updated_at, created_at: o.created_at,
  }
  const headers = { etag: o.etag, 'last-modified': new Date(o.updated_at).toUTCString(), 'cache-control': o.cache_control }
  return replyJson(ctx, 200, info, headers)
}

function describeMetadata(o) {
  return { eTag: o.etag, size: o.size, mimetype: o.content_type, cacheControl: o.cache_control,
    lastModified: o.updated_at, contentLength: o.size, httpStatusCode: 200 }
}

function describeRow(o) {
  return {
    name: o.key, bucket_id: o.bucket, owner: '', owner_id: '', version: o.version, id: o.id, updated_at: o.updated_at,
    created_at: o.created_at, last_accessed_at: o.last_accessed_at, metadata: describeMetadata(o), user_metadata: o.user_metadata,
  }
}

// One level below the prefix: files as rows, folders as names without an id.
async function listObjects(ctx) {
  authenticate(ctx)
  const { prefix, limit = 100, offset = 0, search = '', sortBy } = await readJson(ctx)
  if (typeof prefix !== 'string') throw errors.badBody("body must have required property 'prefix'")
  const bucket = ctx.emu.store.bucket(ctx.bucket)
  const rows = bypassesRowSecurity(ctx) ? listLevel(bucket, prefix, search) : []
  const column = sortBy?.column ?? 'name'
  const sign = sortBy?.order === 'desc' ? -1 : 1
  rows.sort((a, b) => sign * (a[column] < b[column] ? -1 : a[column] > b[column] ? 1 : 0))
  return replyJson(ctx, 200, rows.slice(offset, offset + limit))
}

function listLevel(bucket, prefix, search) {
  const base = prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`
  const rows = new Map()
  for (const [key, o] of bucket.objects) {
    if (!key.startsWith(base)) continue
    const [name, ...deeper] = key.slice(base.length).split('/')
    if (!name.includes(search)) continue
    if (deeper.length) rows.set(`${name}/`, { name, id: null, updated_at: null, created_at: null, last_accessed_at: null, metadata: null })
    else rows.set(name, { name, id: o.id, updated_at: o.updated_at, created_at: o.created_at, last_accessed_at: o.last_accessed_at, metadata: describeMetadata(o) })
  }
  return [...rows.values()]
}

// ---- signing ----------------------------------------------------------------

async function signDownload(ctx) {
  authenticate(ctx)
  const { expiresIn, paths } = await readJson(ctx)
  if (expiresIn === undefined) throw errors.badBody("body must have required property 'expiresIn'")
  if (!Number.isInteger(expiresIn)) throw errors.badBody('body/expiresIn must be integer')
  if (expiresIn < 1) throw errors.badBody('body/expiresIn must be >= 1')
  const bucket = ctx.emu.store.bucket(ctx.bucket)
  const sign = (key) => signedPath(ctx, key, expiresIn)
  if (ctx.key === undefined) return replyJson(ctx, 200, paths.map((path) => signOne(bucket, path, sign)))
  findReadable(ctx, { public: false })
  return replyJson(ctx, 200, { signedURL: sign(ctx.key) })
}

function signedPath(ctx, key, seconds) {
  const url = `${ctx.bucket}/${key}`
  return `/object/sign/${url}?token=${signFor(seconds, { url, scope: 'download' }, ctx.emu.config.jwtSecret)}`
}

function signOne(bucket, path, sign) {
  if (bucket.objects.has(path)) return { error: null, path, signedURL: sign(path) }
  return { error: 'Either the object does not exist or you do not have access to it', path, signedURL: null }
}

async function signUpload(ctx) {
  authenticate(ctx)
  ctx.emu.store.bucket(ctx.bucket)
  const upsert = ctx.headers['x-upsert'] === 'true'
  checkKey(ctx.key)
  checkPermission(ctx, ctx.bucket, ctx.key, upsert)
  const url = `${ctx.bucket}/${ctx.key}`
  const token = signFor(SIGNED_UPLOAD_SECONDS, { url, upsert, scope: 'upload' }, ctx.emu.config.jwtSecret)
  return replyJson(ctx, 200, { url: `/object/upload/sign/${url}?token=${token}`, token })
}

// ---- moving and deleting ----------------------------------------------------

async function readTransfer(ctx) {
  authenticate(ctx)
  const body = await readJson(ctx)
  for (const name of ['bucketId', 'sourceKey', 'destinationKey']) {
    if (typeof body[name] !== 'string') throw errors.badBody(`body must have required property '${name}'`)
  }
  checkKey(body.destinationKey)
  const target = body.destinationBucket || body.bucketId
  Object.assign(ctx, { bucket: body.bucketId, key: body.sourceKey })
  const source = findReadable(ctx, { public: false })
  ctx.emu.store.bucket(target)
  return { body, source, target }
}

async function moveObject(ctx) {
  const { body, source, target } = await readTransfer(ctx)
  const { store } = ctx.emu
  const sameName = target === body.bucketId && body.destinationKey === body.sourceKey
  if (!sameName) {
    if (store.find(target, body.destinationKey)) throw errors.keyExists()
    const moved = store.copy(source, target, body.destinationKey)
    Object.assign(moved, { id: source.id, created_at: source.created_at })
    store.remove(body.bucketId, body.sourceKey)
  }
  return replyJson(ctx, 200, message('Successfully moved'))
}

async function copyObject(ctx) {
  const { body, source, target } = await readTransfer(ctx)
  if (ctx.headers['x-upsert'] !== 'true' && ctx.emu.store.find(target, body.destinationKey)) throw errors.keyExists()
  const made = ctx.emu.store.copy({ ...source, ...copiedAttributes(body) }, target, body.destinationKey)
  return replyJson(ctx, 200, { Key: `${target}/${body.destinationKey}`, Id: made.id, ...describeRow(made) })
}

// copyMetadata false takes the attributes of the request instead of the source's.
function copiedAttributes({ copyMetadata = true, metadata = {} }) {
  if (copyMetadata) return {}
  return { content_type: metadata.mimetype ?? 'application/octet-stream', cache_control: metadata.cacheControl ?? 'no-cache', user_metadata: {} }
}

async function remove(ctx) {
  authenticate(ctx)
  const { store } = ctx.emu
  if (ctx.key === undefined) return removeMany(ctx)
  store.bucket(ctx.bucket)
  findReadable(ctx, { public: false })
  store.remove(ctx.bucket, ctx.key)
  return replyJson(ctx, 200, message('Successfully deleted'))
}

// Names that are not there are left out of the answer, without an error.
async function removeMany(ctx) {
  const { prefixes } = await readJson(ctx)
  if (!Array.isArray(prefixes)) throw errors.badBody("body must have required property 'prefixes'")
  const bucket = ctx.emu.store.bucket(ctx.bucket)
  const present = bypassesRowSecurity(ctx) ? prefixes.filter((key) => bucket.objects.has(key)) : []
  return replyJson(ctx, 200, present.map((key) => describeRow(ctx.emu.store.remove(ctx.bucket, key))))
}
