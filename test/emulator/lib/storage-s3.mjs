// The S3 protocol under /s3, path style, with Signature Version 4. Sources:
// supabase/storage http/routes/s3/*, storage/protocols/s3/{signature-v4,s3-handler}.ts.

import { createHash, createHmac, randomUUID, timingSafeEqual } from 'node:crypto'
import { bypassesRowSecurity, verifyJwt } from './storage-auth.mjs'
import { StorageError, closeAfterReply, errors, readBody, receive, reply, unexpected } from './storage-http.mjs'
import { checkDotSegments, checkKey, checkMimeType, checkPermission, countUpload, parseRange, receiveObject, sendBytes, sizeLimit } from './storage-objects.mjs'

const NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/'
const UNSIGNED = 'UNSIGNED-PAYLOAD'
// signature-v4.ts ALWAYS_UNSIGNABLE_HEADERS: left out even when the client signed them.
const NEVER_SIGNED = new Set(['authorization', 'connection', 'expect', 'from', 'keep-alive', 'max-forwards', 'pragma',
  'referer', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'user-agent', 'x-amzn-trace-id'])

// ---- XML --------------------------------------------------------------------

const escapeXml = (value) => String(value).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')

function renderXml(entries) {
  return entries.filter(([, value]) => value !== undefined)
    .map(([name, value]) => `<${name}>${Array.isArray(value) ? renderXml(value) : escapeXml(value)}</${name}>`).join('')
}

function replyXml(ctx, status, root, entries, headers = {}) {
  const text = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?><${root} xmlns="${NAMESPACE}">${renderXml(entries)}</${root}>`
  return reply(ctx, status, { ...headers, 'content-type': 'application/xml; charset=utf-8', 'content-length': Buffer.byteLength(text) }, text)
}

// Real status codes; the resource is the undecoded path without /s3.
function fail(ctx, error) {
  const e = error instanceof StorageError ? error : unexpected(error)
  const resource = ctx.path.replace('/s3', '').split('/').filter(Boolean).join('/')
  const unread = ctx.signatureChecked && ctx.method === 'PUT'
  if (unread) closeAfterReply(ctx)
  return replyXml(ctx, e.statusCode, 'Error', [['Resource', resource], ['Code', e.code], ['Message', e.message]],
    unread ? { connection: 'close' } : {})
}

// ---- Signature Version 4 ----------------------------------------------------

const hmac = (key, text) => createHmac('sha256', key).update(text).digest()
const sha256 = (text) => createHash('sha256').update(text).digest('hex')
const encode = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)

function parseAuthorization(ctx) {
  const header = ctx.headers.authorization
  if (header?.startsWith('AWS4-HMAC-SHA256 ')) {
    const parts = Object.fromEntries(header.slice(17).split(',').map((p) => p.trim().split(/=(.*)/s)))
    return { credential: parts.Credential, signedHeaders: parts.SignedHeaders, signature: parts.Signature,
      date: ctx.headers['x-amz-date'], payload: ctx.headers['x-amz-content-sha256'] ?? UNSIGNED, token: ctx.headers['x-amz-security-token'] }
  }
  const query = (name) => ctx.query.get(`X-Amz-${name}`) ?? undefined
  if (!query('Credential')) throw errors.accessDenied('Missing signature')
  return { credential: query('Credential'), signedHeaders: query('SignedHeaders'), signature: query('Signature'),
    date: query('Date'), payload: query('Content-Sha256') ?? UNSIGNED, token: query('Security-Token'), expires: query('Expires') }
}

function canonicalQuery(query) {
  return [...query].filter(([name]) => name !== 'X-Amz-Signature')
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([name, value]) => `${encode(name)}=${encode(value)}`).join('&')
}

// With STORAGE_PUBLIC_URL set its host counts, whatever the request was sent to.
function signedValue({ headers, emu }, name) {
  return name === 'host' && emu.config.publicUrl ? new URL(emu.config.publicUrl).host : headers[name]
}

// The path is taken as it was sent, with the prefix the gateway removed.
function canonicalRequest(ctx, { signedHeaders, payload }) {
  const names = signedHeaders.split(';').sort()
  const lines = names.filter((n) => ctx.headers[n] !== undefined && !NEVER_SIGNED.has(n)).map((n) => `${n}:${signedValue(ctx, n)}`)
  return [ctx.method, (ctx.prefix ?? '') + ctx.path, canonicalQuery(ctx.query), `${lines.join('\n')}\n`, names.join(';'), payload].join('\n')
}

function checkDate({ date, expires }) {
  if (!expires) return
  const iso = date.replace(/^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/, '$1-$2-$3T$4:$5:$6Z')
  if (Date.parse(iso) + Number(expires) * 1000 < Date.now()) {
    throw new StorageError(400, 'ExpiredToken', 'ExpiredToken', 'The provided token has expired.')
  }
}

// Session form: tenant id and anon key sign, a JWT in x-amz-security-token acts.
function secretFor(config, token) {
  return token === undefined ? { id: config.s3KeyId, secret: config.s3Secret } : { id: config.tenantId, secret: config.anonJwt }
}

// Four regions are taken as they come. For any other one the server signs with
// its own, so that the signatures differ (signature-v4.ts getSelectedRegion).
function chooseRegion({ s3Region }, region) {
  return ['auto', 'us-east-1', '', s3Region].includes(region) ? region : s3Region
}

function verifySignature(ctx) {
  const given = parseAuthorization(ctx)
  const scope = given.credential?.split('/') ?? []
  if (scope.length !== 5 || !given.signedHeaders || !given.signature || !given.date) throw errors.invalidSignature('Invalid signature format')
  checkDate(given)
  const [keyId, day, givenRegion, service] = scope
  const region = chooseRegion(ctx.emu.config, givenRegion)
  const { id, secret } = secretFor(ctx.emu.config, given.token)
  if (keyId !== id) throw errors.accessDenied('Invalid Access Key')
  const text = ['AWS4-HMAC-SHA256', given.date, `${day}/${region}/${service}/aws4_request`, sha256(canonicalRequest(ctx, given))].join('\n')
  const key = [day, region, service, 'aws4_request'].reduce(hmac, `AWS4${secret}`)
  if (!equalText(hmac(key, text).toString('hex'), given.signature)) throw errors.signatureMismatch()
  ctx.claims = claimsOf(ctx, given.token)
  ctx.signatureChecked = true
  ctx.emu.ledger.signedFor[region] = (ctx.emu.ledger.signedFor[region] ?? 0) + 1
}

function equalText(a, b) {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))
}

function claimsOf(ctx, token) {
  if (token === undefined) return { role: 'service_role' }
  try {
    return verifyJwt(token, ctx.emu.config.jwtSecret)
  } catch (e) {
    throw errors.accessDenied(e.message)
  }
}

// ---- routing ----------------------------------------------------------------

function chooseRoute({ method, query, bucket, key }) {
  const has = (name) => query.has(name)
  if (!bucket) return method === 'GET' ? ['s3_buckets', listBuckets] : undefined
  if (key === undefined) return { GET: ['s3_list', listObjects], HEAD: ['s3_head', headBucket] }[method]
  switch (method) {
    case 'PUT': return has('uploadId') ? ['s3_part', putPart] : ['s3_put', putObject]
    case 'POST': return has('uploads') ? ['s3_create', createMultipart] : has('uploadId') ? ['s3_complete', completeMultipart] : undefined
    case 'GET': return ['s3_get', getObject]
    case 'HEAD': return ['s3_head', headObject]
    case 'DELETE': return has('uploadId') ? ['s3_abort', abortMultipart] : ['s3_delete', deleteObject]
    default: return undefined
  }
}

export function routeS3(ctx) {
  if (ctx.path !== '/s3' && !ctx.path.startsWith('/s3/')) return undefined
  const [bucket, ...rest] = ctx.path.slice('/s3/'.length).split('/')
  ctx.bucket = decodeURIComponent(bucket)
  ctx.key = rest.length && rest.join('/') !== '' ? decodeURIComponent(rest.join('/')) : undefined
  const found = chooseRoute(ctx)
  if (!found) return undefined
  const [op, run] = found
  return { op, fail, target: `${ctx.bucket}/${ctx.key ?? ''}`, run: (c) => runSigned(c, run) }
}

async function runSigned(ctx, run) {
  verifySignature(ctx)
  return run(ctx)
}

// ---- objects ----------------------------------------------------------------

function attributesOf({ headers }) {
  const metadata = Object.entries(headers).filter(([name]) => name.startsWith('x-amz-meta-'))
    .map(([name, value]) => [name.slice('x-amz-meta-'.length), value])
  return { content_type: headers['content-type'] ?? 'application/octet-stream',
    cache_control: headers['cache-control'] ?? 'no-cache', user_metadata: Object.fromEntries(metadata) }
}

// A put always replaces: If-None-Match is ignored (observed). Unlike REST, a
// chunked body is counted against the limit (byte-limit-stream.ts).
async function putObject(ctx) {
  const attributes = attributesOf(ctx)
  const bucket = ctx.emu.store.bucket(ctx.bucket)
  const limit = sizeLimit(ctx, bucket)
  checkMimeType(bucket, attributes.content_type)
  if (Number(ctx.headers['content-length']) > limit) throw errors.tooLarge()
  checkKey(ctx.key)
  checkPermission(ctx, ctx.bucket, ctx.key, true)
  checkDotSegments(ctx.bucket, ctx.key)
  const object = await receiveObject(ctx, attributes, { limit })
  return object && reply(ctx, 200, { etag: object.etag, 'content-length': 0 })
}

function findReadable(ctx) {
  if (!bypassesRowSecurity(ctx)) throw errors.noSuchKey()
  return ctx.emu.store.get(ctx.bucket, ctx.key)
}

async function headBucket(ctx) {
  ctx.emu.store.bucket(ctx.bucket)
  return reply(ctx, 200, { 'content-length': 0 })
}

const describeObject = (o, length) => ({ 'cache-control': o.cache_control, 'content-length': length, 'content-type': o.content_type,
  etag: o.etag, 'last-modified': new Date(o.updated_at).toUTCString() })

async function headObject(ctx) {
  const o = findReadable(ctx)
  const meta = Object.entries(o.user_metadata ?? {}).filter(([, v]) => typeof v === 'string').map(([n, v]) => [`x-amz-meta-${n}`, v])
  const created = new Date(o.created_at)
  return reply(ctx, 200, { 'created-at': created.toString(), ...describeObject(o, o.size), ...Object.fromEntries(meta) })
}

async function getObject(ctx) {
  const o = findReadable(ctx)
  const range = parseRange(ctx.headers.range, o.size)
  const { start, end } = range ?? { start: 0, end: o.size - 1 }
  const headers = { ...describeObject(o, end + 1 - start), ...(range ? { 'content-range': `bytes ${start}-${end}/${o.size}` } : {}) }
  return sendBytes(ctx, range ? 206 : 200, headers, o, start, end)
}

// Deleting what is not there is a success, as in S3.
async function deleteObject(ctx) {
  const { store } = ctx.emu
  store.bucket(ctx.bucket)
  if (bypassesRowSecurity(ctx) && store.find(ctx.bucket, ctx.key)) store.remove(ctx.bucket, ctx.key)
  return reply(ctx, 204, {})
}

async function listBuckets(ctx) {
  const buckets = [...ctx.emu.store.buckets.values()].map((b) => ['Bucket', [['Name', b.name], ['CreationDate', b.created_at]]])
  return replyXml(ctx, 200, 'ListAllMyBucketsResult', [['Buckets', buckets]])
}

// ---- ListObjectsV2 ----------------------------------------------------------

const encodeToken = (key) => Buffer.from(`l:${key}`).toString('base64')
const decodeToken = (token) => Buffer.from(token, 'base64').toString().replace(/^l:/, '')

// Keys below the prefix, folded at the delimiter, in order.
function foldKeys(bucket, prefix, delimiter) {
  const rows = new Map()
  for (const [key, o] of bucket.objects) {
    if (!key.startsWith(prefix)) continue
    const cut = delimiter ? key.indexOf(delimiter, prefix.length) : -1
    if (cut < 0) rows.set(key, o)
    else rows.set(key.slice(0, cut + delimiter.length), undefined)
  }
  return [...rows].sort(([a], [b]) => (a < b ? -1 : 1))
}

async function listObjects(ctx) {
  const bucket = ctx.emu.store.bucket(ctx.bucket)
  const text = (name) => ctx.query.get(name) || undefined
  const prefix = text('prefix') ?? ''
  const max = Math.min(Number(text('max-keys') ?? 1000), 1000)
  const after = text('continuation-token') ? decodeToken(text('continuation-token')) : text('start-after') ?? ''
  const left = foldKeys(bucket, prefix, text('delimiter')).filter(([key]) => key > after)
  const page = left.slice(0, max)
  const truncated = left.length > page.length
  return replyXml(ctx, 200, 'ListBucketResult', [
    ['Name', bucket.name], ['Prefix', prefix], ['Delimiter', text('delimiter')],
    ...page.filter(([, o]) => o).map(([key, o]) => ['Contents', [['Key', key], ['LastModified', o.updated_at],
      ['ETag', o.etag], ['Size', o.size], ['StorageClass', 'STANDARD']]]),
    ...page.filter(([, o]) => !o).map(([key]) => ['CommonPrefixes', [['Prefix', key]]]),
    ['IsTruncated', truncated], ['MaxKeys', max], ['KeyCount', page.length],
    ['NextContinuationToken', truncated ? encodeToken(page.at(-1)[0]) : undefined],
  ])
}

// ---- multipart --------------------------------------------------------------

async function createMultipart(ctx) {
  const attributes = attributesOf(ctx)
  const bucket = ctx.emu.store.bucket(ctx.bucket)
  checkMimeType(bucket, attributes.content_type)
  checkKey(ctx.key)
  checkPermission(ctx, ctx.bucket, ctx.key, true)
  const id = randomUUID()
  ctx.emu.multiparts.set(id, { bucket: ctx.bucket, key: ctx.key, attributes, parts: new Map() })
  return replyXml(ctx, 200, 'InitiateMultipartUploadResult', [['Bucket', ctx.bucket], ['Key', ctx.key], ['UploadId', id]])
}

function findMultipart(ctx) {
  const found = ctx.emu.multiparts.get(ctx.query.get('uploadId'))
  if (!found || found.bucket !== ctx.bucket || found.key !== ctx.key) throw errors.noSuchUpload()
  return found
}

async function putPart(ctx) {
  const upload = findMultipart(ctx)
  const limit = sizeLimit(ctx, ctx.emu.store.bucket(ctx.bucket))
  const others = [...upload.parts.values()].reduce((sum, p) => sum + p.size, 0)
  if (others + Number(ctx.headers['content-length']) > limit) throw errors.tooLarge()
  const sink = ctx.emu.store.openSink({ keep: true })
  const { outcome } = await countUpload(ctx, () => receive(ctx, (chunk) => sink.write(chunk)))
  if (outcome !== 'complete') return void sink.drop()
  const part = sink.finish()
  const number = Number(ctx.query.get('partNumber'))
  forgetPart(ctx, upload.parts.get(number))
  upload.parts.set(number, part)
  return reply(ctx, 200, { etag: part.md5, 'access-control-expose-headers': 'etag', 'content-length': 0 })
}

function forgetPart(ctx, part) {
  if (part) ctx.emu.store.forget(part)
}

function parseParts(xml) {
  return [...xml.matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, body]) => ({
    number: Number(/<PartNumber>\s*(\d+)/.exec(body)?.[1]),
    etag: /<ETag>\s*(.*?)\s*<\/ETag>/s.exec(body)?.[1].replace(/&quot;|"/g, ''),
  }))
}

async function completeMultipart(ctx) {
  const upload = findMultipart(ctx)
  const body = await readBody(ctx)
  if (!body) return undefined
  const parts = parseParts(body.toString()).map(({ number, etag }) => {
    const part = upload.parts.get(number)
    if (!part || part.md5 !== etag) throw new StorageError(400, 'InvalidPart', 'InvalidPart', 'One or more of the specified parts could not be found.')
    return part
  })
  const object = await joinParts(ctx, upload, parts)
  abandon(ctx, upload)
  return replyXml(ctx, 200, 'CompleteMultipartUploadResult',
    [['Location', `${ctx.bucket}/${ctx.key}`], ['Bucket', ctx.bucket], ['Key', ctx.key], ['ETag', object.etag]])
}

async function joinParts(ctx, upload, parts) {
  const { store } = ctx.emu
  const sink = store.openSink()
  for (const part of parts.filter((p) => p.size)) {
    for await (const chunk of store.read(part)) sink.write(chunk)
  }
  return store.commit(ctx.bucket, ctx.key, sink.finish(), upload.attributes)
}

function abandon(ctx, upload) {
  for (const part of upload.parts.values()) forgetPart(ctx, part)
  ctx.emu.multiparts.delete(ctx.query.get('uploadId'))
}

async function abortMultipart(ctx) {
  abandon(ctx, findMultipart(ctx))
  return reply(ctx, 204, {})
}
