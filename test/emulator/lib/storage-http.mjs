// The wire side of the storage emulator: errors, replies, and bodies read with
// backpressure. Sources are files of supabase/storage 1.70.6 unless said
// otherwise.

import { setTimeout as wait } from 'node:timers/promises'

// One failure as the server renders it: REST answers HTTP 400 with the real
// code in the body, TUS and S3 use `statusCode` itself (http/error-handler.ts).
export class StorageError extends Error {
  constructor(statusCode, error, code, message, http) {
    super(message)
    Object.assign(this, { statusCode, error, code, http })
  }

  get restStatus() {
    return this.http ?? (this.statusCode === 500 ? 500 : 400)
  }
}

// internal/errors/codes.ts
export const errors = {
  noAuthorization: () => new StorageError(400, 'Error', 'InvalidRequest', "headers must have required property 'authorization'"),
  badBody: (message) => new StorageError(400, 'Error', 'InvalidRequest', message),
  accessDenied: (message) => new StorageError(403, 'Unauthorized', 'AccessDenied', message),
  rowSecurity: () => new StorageError(403, 'Unauthorized', 'AccessDenied', 'new row violates row-level security policy'),
  noSuchBucket: () => new StorageError(404, 'Bucket not found', 'NoSuchBucket', 'Bucket not found'),
  noSuchKey: () => new StorageError(404, 'not_found', 'NoSuchKey', 'Object not found'),
  noSuchUpload: () => new StorageError(404, 'NoSuchUpload', 'NoSuchUpload', 'Upload not found'),
  keyExists: () => new StorageError(409, 'Duplicate', 'KeyAlreadyExists', 'The resource already exists'),
  bucketExists: () => new StorageError(409, 'Duplicate', 'BucketAlreadyExists', 'The resource already exists'),
  bucketNotEmpty: () => new StorageError(409, 'ResourceNotEmpty', 'ResourceNotEmpty', 'The bucket you tried to delete is not empty'),
  bucketName: () => new StorageError(400, 'Invalid Input', 'InvalidBucketName', 'Bucket name invalid'),
  invalidKey: (key) => new StorageError(400, 'InvalidKey', 'InvalidKey', `Invalid key: ${key}`),
  tooLarge: () => new StorageError(413, 'Payload too large', 'EntityTooLarge', 'The object exceeded the maximum allowed size'),
  mimeType: (type) => new StorageError(415, 'invalid_mime_type', 'InvalidMimeType', `mime type ${type} is not supported`),
  malformedType: () => new StorageError(415, 'invalid_mime_type', 'InvalidMimeType', 'Invalid Content-Type header'),
  invalidJwt: (message) => new StorageError(400, 'InvalidJWT', 'InvalidJWT', message),
  invalidSignature: (message) => new StorageError(400, 'InvalidSignature', 'InvalidSignature', message ?? 'Invalid signature'),
  signatureMismatch: () => new StorageError(403, 'SignatureDoesNotMatch', 'SignatureDoesNotMatch',
    'The request signature we calculated does not match the signature you provided. Check your key and signing method.'),
  invalidRange: () => new StorageError(400, 'invalid_range', 'InvalidRange', 'invalid range provided'),
  noContent: () => new StorageError(400, 'InvalidRequest', 'InvalidRequest', 'No content provided'),
  metadataRequired: () => new StorageError(400, 'InvalidRequest', 'InvalidRequest', 'Metadata header is required'),
  slowDown: () => new StorageError(429, 'too_many_connections', 'SlowDown', 'Too many connections issued to the database', 429),
  dbTimeout: () => new StorageError(544, 'DatabaseTimeout', 'DatabaseTimeout', 'The connection to the database timed out', 544),
  internal: () => new StorageError(500, 'Internal', 'InternalError', 'Internal Server Error'),
}

// Every request gets one of these; handlers change nothing else.
export function makeContext(emu, req, res, via) {
  const cut = req.url.indexOf('?')
  return {
    emu, req, res, via,
    method: req.method,
    // The path stays raw: dot segments and escapes reach the key unnormalised.
    path: cut < 0 ? req.url : req.url.slice(0, cut),
    query: new URLSearchParams(cut < 0 ? '' : req.url.slice(cut + 1)),
    headers: req.headers,
    policy: {},
  }
}

// Sends an answer, unless a fault loses successful ones.
export async function reply(ctx, status, headers, body, reason) {
  const { res, policy } = ctx
  if (policy.replyDelay) await wait(policy.replyDelay)
  if (policy.dropReply && status < 400) return ctx.req.socket.destroy()
  if (res.destroyed) return
  if (reason === undefined) res.writeHead(status, headers)
  else res.writeHead(status, reason, headers)
  res.end(body)
}

export function replyText(ctx, status, type, text, headers = {}) {
  return reply(ctx, status, { ...headers, 'content-type': type, 'content-length': Buffer.byteLength(text) }, text)
}

export function replyJson(ctx, status, value, headers = {}) {
  return replyText(ctx, status, 'application/json; charset=utf-8', JSON.stringify(value), headers)
}

export function replyError(ctx, error) {
  const e = error instanceof StorageError ? error : unexpected(error)
  const { statusCode, error: name, message, code } = e
  return replyJson(ctx, e.restStatus, { statusCode: String(statusCode), error: name, message, code })
}

// An emulator bug must be seen by whoever reads the test's output.
export function unexpected(error) {
  process.stderr.write(`storage emulator: ${error.stack}\n`)
  return errors.internal()
}

// Destroys the connection with a TCP reset instead of a FIN.
export function resetConnection(ctx) {
  ctx.req.socket.resetAndDestroy()
}

// Sends the answer, then ends the connection like the server does after a body
// it did not read: a client may not reuse it (http/error-handler.ts).
export function closeAfterReply(ctx, afterMs = 3000) {
  ctx.res.once('finish', () => {
    const timer = setTimeout(() => { if (!ctx.req.closed) ctx.req.destroy() }, afterMs)
    timer.unref()
  })
}

function gone(req) {
  return new Promise((resolve) => {
    if (req.destroyed || req.socket.destroyed) resolve()
    else { req.once('close', resolve); req.socket.once('close', resolve) }
  })
}

// Applies a fault to the bytes received so far; true means "give up".
async function obeyPolicy(ctx, received, chunkLength) {
  const { policy } = ctx
  if (policy.resetAfter !== undefined && received >= policy.resetAfter) {
    resetConnection(ctx)
    return true
  }
  if (policy.stallAfter !== undefined && received >= policy.stallAfter) {
    // Unread bytes hide the client's FIN, so only a reset of the faults, or the
    // client's own reset, ends this.
    ctx.emu.faults.hold(ctx.req.socket)
    await gone(ctx.req)
    return true
  }
  if (policy.bytesPerSecond && chunkLength) {
    await Promise.race([wait(chunkLength * 1000 / policy.bytesPerSecond, undefined, { ref: false }), gone(ctx.req)])
  }
  return false
}

// Reads the request body chunk by chunk into `write`, waiting when it returns a
// promise. Outcome: complete, aborted (truncated or reset), too_large, cancelled.
export async function receive(ctx, write, { limit = Infinity, cancelled } = {}) {
  const { req } = ctx
  const chunks = req.iterator({ destroyOnReturn: false })
  let received = 0
  try {
    if (await obeyPolicy(ctx, 0, 0)) return { outcome: 'aborted', received }
    for (;;) {
      const next = chunks.next()
      const step = cancelled ? await Promise.race([next, cancelled]) : await next
      if (step === 'cancelled') {
        next.catch(() => {})
        return { outcome: 'cancelled', received }
      }
      if (step.done) break
      received += step.value.length
      if (received > limit) return { outcome: 'too_large', received }
      const pending = write(step.value)
      if (pending) await pending
      // a stalled request may be asked to release its lock
      const obeyed = obeyPolicy(ctx, received, step.value.length)
      const ended = cancelled ? await Promise.race([obeyed, cancelled]) : await obeyed
      if (ended) return { outcome: ended === 'cancelled' ? ended : 'aborted', received }
    }
  } catch (error) {
    if (error.code !== 'ECONNRESET' && error.code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error
    return { outcome: 'aborted', received }
  }
  return { outcome: req.complete ? 'complete' : 'aborted', received }
}

// A small body as a whole; undefined when the client went away.
export async function readBody(ctx, limit = 1 << 20) {
  const parts = []
  const { outcome } = await receive(ctx, (chunk) => { parts.push(chunk) }, { limit })
  if (outcome === 'too_large') throw errors.tooLarge()
  return outcome === 'complete' ? Buffer.concat(parts) : undefined
}

export async function readJson(ctx) {
  const body = await readBody(ctx)
  if (!body?.length) return {}
  try {
    return JSON.parse(body)
  } catch {
    throw errors.badBody('body is not valid JSON')
  }
}

// An unparsable or truncated request (fastify, lib/route and server clientError).
export function refuseMalformed(error, socket) {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return socket.destroy()
  const body = '{"error":"Bad Request","message":"Client Error","statusCode":400}'
  socket.end(`HTTP/1.1 400 Bad Request\r\nContent-Length: ${body.length}\r\nContent-Type: application/json\r\n\r\n${body}`)
}
