// Is the storage emulator honest? Official clients must be content with it, and
// it must answer recorded requests like the server they were recorded from.

import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { StorageClient } from '@supabase/storage-js'
import { Upload } from 'tus-js-client'

const EMULATOR = fileURLToPath(new URL('../emulator/storage.mjs', import.meta.url))
const RECORDED = JSON.parse(readFileSync(new URL('./fixtures/storage-recorded.json', import.meta.url)))
const WRONG_SECRET = 'another-secret-with-more-than-32-characters'
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

// ---- child emulator ---------------------------------------------------------

async function startEmulator(...args) {
  const child = spawn(process.execPath, [EMULATOR, '--exit-with-stdin', ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [line] = await once(createInterface(child.stdout), 'line')
  return { ...JSON.parse(line), child, agent: new http.Agent({ keepAlive: true }) }
}

async function stopEmulator({ child, agent }) {
  agent.destroy()
  child.stdin.end()
  if (child.exitCode === null) await once(child, 'exit')
}

async function ctl(emu, method, path, body) {
  const res = await fetch(`${emu.url}/_ctl/${path}`, { method, body: body && JSON.stringify(body) })
  assert.equal(res.status, 200, `control ${path}: ${res.status}`)
  return res.json()
}

const ledger = (emu) => ctl(emu, 'GET', 'ledger')
const arm = (emu, spec) => ctl(emu, 'POST', 'fault', spec)

// Polls instead of sleeping; the last value is in the message when it gives up.
async function until(what, probe, timeoutMs = 5000) {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const value = await probe()
    if (value) return value
    if (Date.now() > deadline) assert.fail(`gave up waiting for ${what}`)
    await new Promise((resolve) => { setTimeout(resolve, 10) })
  }
}

// ---- raw requests -----------------------------------------------------------

// Writes with backpressure and ends the request. A held body stays unfinished:
// its answer must come without the rest.
async function writeBody(req, { size, bytes, held }) {
  const chunk = bytes ?? Buffer.alloc(Math.min(size, held ? 65536 : 1 << 20), 7)
  for (let left = bytes ? bytes.length : size; left > 0; left -= chunk.length) {
    const part = left < chunk.length ? chunk.subarray(0, left) : chunk
    if (!req.write(part)) await once(req, 'drain')
    if (held) return
  }
  req.end()
}

function send(emu, { method, path, headers = {}, body, port = emu.port }) {
  return new Promise((resolve, reject) => {
    const length = !body ? {} : body.chunked ? { 'transfer-encoding': 'chunked' } : { 'content-length': body.bytes?.length ?? body.size }
    const req = http.request({ host: '127.0.0.1', port, agent: emu.agent, method, path, headers: { ...headers, ...length },
      signal: AbortSignal.timeout(8000) })
    req.on('error', reject)
    req.on('response', async (res) => {
      const parts = await res.toArray()
      if (!req.writableEnded) req.destroy()
      resolve({ status: res.statusCode, reason: res.statusMessage, headers: res.headers, body: Buffer.concat(parts) })
    })
    if (body) writeBody(req, body).catch(reject)
    else req.end()
  })
}

// ---- Signature Version 4 (written from the AWS documentation) ----------------

function signV4({ method, path, headers }, { key, secret, region, signed }) {
  const hmac = (k, text) => createHmac('sha256', k).update(text).digest()
  const [uri, query = ''] = path.split('?')
  const names = signed.split(';')
  const canonical = [method, uri, query.split('&').filter(Boolean).sort().join('&'),
    ...names.map((n) => `${n}:${headers[n]}`), '', signed, headers['x-amz-content-sha256']].join('\n')
  const scope = `${headers['x-amz-date'].slice(0, 8)}/${region}/s3/aws4_request`
  const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, sha256(canonical)].join('\n')
  const signingKey = scope.split('/').reduce(hmac, `AWS4${secret}`)
  return `AWS4-HMAC-SHA256 Credential=${key}/${scope}, SignedHeaders=${signed}, Signature=${hmac(signingKey, text).toString('hex')}`
}

// ---- replay -----------------------------------------------------------------

const NORMALISE = [
  [/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, '<jwt>'],
  [/(\/upload\/resumable\/)[\w-]{20,}/g, '$1<id>'],
  [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '<uuid>'],
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, '<time>'],
  [/\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT/g, '<date>'],
  [/\w{3} \w{3} \d\d \d{4} \d\d:\d\d:\d\d GMT\+0000 \(Coordinated Universal Time\)/g, '<date>'],
  [/\b[0-9a-f]{32}\b/g, '<md5>'],
  [/127\.0\.0\.1:\d+/g, '<host>'],
]

const normalise = (text) => NORMALISE.reduce((t, [from, to]) => t.replace(from, to), text)

function wrongSignature(jwt) {
  const [header, claims] = jwt.split('.')
  return `${header}.${claims}.${createHmac('sha256', WRONG_SECRET).update(`${header}.${claims}`).digest('base64url')}`
}

function fill(text, values) {
  return text.replace(/\{\{(\w+)\}\}/g, (_, name) => {
    assert.ok(values[name], `nothing captured for ${name}`)
    return values[name]
  })
}

function formBody({ file, ...fields }) {
  const mark = '----recorded'
  const field = (name, value) => `--${mark}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`
  const text = Object.entries(fields).map(([n, v]) => field(n, v)).join('')
  const head = `--${mark}\r\ncontent-disposition: form-data; name="file"; filename="f"\r\ncontent-type: ${file.type}\r\n\r\n`
  const bytes = Buffer.concat([Buffer.from(text + head), Buffer.alloc(file.size, 7), Buffer.from(`\r\n--${mark}--\r\n`)])
  return { type: `multipart/form-data; boundary=${mark}`, bytes }
}

function partsXml(numbers, values) {
  const part = (n) => `<Part><PartNumber>${n}</PartNumber><ETag>${values[`etag${n}`]}</ETag></Part>`
  return `<CompleteMultipartUpload>${numbers.map(part).join('')}</CompleteMultipartUpload>`
}

function bodyOf(request, headers, values, refusedEarly) {
  if (request.json) return { bytes: Buffer.from(JSON.stringify(request.json)) }
  if (request.parts) return { bytes: Buffer.from(partsXml(request.parts, values)) }
  if (!request.form) return request.body && { ...request.body, held: refusedEarly }
  const { type, bytes } = formBody(request.form)
  headers['content-type'] = type
  return { bytes }
}

// The recorded request with this run's ids, tokens and signature.
function prepare(emu, { request, response }, values) {
  const headers = Object.fromEntries(Object.entries(request.headers).map(([n, v]) => [n, fill(v, values)]))
  const path = fill(request.path, values)
  const early = response?.status >= 400 && request.body?.size > 65536 && !request.body.chunked
  const prepared = { method: request.method, path, headers, body: bodyOf(request, headers, values, early) }
  if (request.sigv4) addSignature(emu, prepared, request.sigv4)
  return prepared
}

function addSignature(emu, { method, path, headers }, { signed, region, key, secret, session, host }) {
  headers['x-amz-date'] = new Date().toISOString().replace(/[-:]|\.\d{3}/g, '')
  headers.host = host ?? `127.0.0.1:${emu.port}`
  if (session) headers['x-amz-security-token'] = emu.service_jwt
  const [id, password] = session ? [emu.tenant_id, emu.anon_jwt] : emu.s3_key.split(':')
  headers.authorization = signV4({ method, path, headers: { 'transfer-encoding': 'chunked', ...headers } },
    { signed, region, key: key ?? id, secret: secret ?? password })
}

function capture({ capture: wanted }, answer, values) {
  if (!wanted) return
  const text = wanted.header ? answer.headers[wanted.header] : answer.body.toString()
  values[wanted.name] = wanted.header === 'location' ? text.split('/').at(-1) : wanted.header ? text : new RegExp(wanted.body).exec(text)[1]
}

// Every recorded header but those of the moment must be there with its value.
function compare(answer, expected, method) {
  const { date, 'keep-alive': _, ...headers } = answer.headers
  const got = Object.fromEntries(Object.entries(headers).map(([n, v]) => [n, normalise(v)]))
  assert.deepEqual({ status: answer.status, reason: answer.reason, headers: got },
    { status: expected.status, reason: expected.reason, headers: expected.headers })
  if (expected.json) assert.deepEqual(JSON.parse(normalise(answer.body.toString())), expected.json)
  else if (expected.text !== undefined) assert.equal(normalise(answer.body.toString()), expected.text)
  else if (expected.size !== undefined) assert.equal(answer.body.length, expected.size)
  else if (method !== 'HEAD') assert.equal(answer.body.length, 0)
}

// Sends a part of a body, breaks the connection, and waits until the server saw it.
async function abort(emu, { method, path, headers, body }, bytes) {
  const { uploads } = await ledger(emu)
  const req = http.request({ host: '127.0.0.1', port: emu.port, method, path,
    headers: { ...headers, ...(body.chunked ? { 'transfer-encoding': 'chunked' } : { 'content-length': body.size }) } })
  req.on('error', () => {})
  req.write(Buffer.alloc(bytes))
  await until('the upload to begin', async () => (await ledger(emu)).uploads.started > uploads.started)
  req.destroy()
  await until('the upload to be aborted', async () => (await ledger(emu)).uploads.aborted > uploads.aborted)
}

// Half a PATCH, then the recorded HEAD, then the rest: the HEAD waits for it.
async function headDuringPatch(emu, prepared) {
  const size = 10485760
  const before = await ledger(emu)
  const req = http.request({ host: '127.0.0.1', port: emu.port, method: 'PATCH', path: prepared.path, headers: {
    ...prepared.headers, 'upload-offset': 0, 'content-type': 'application/offset+octet-stream', 'content-length': size } })
  const patched = once(req, 'response')
  req.write(Buffer.alloc(size / 2))
  await until('the PATCH to run', async () => (await ledger(emu)).in_flight_uploads === 1)
  const head = send(emu, prepared)
  await until('the HEAD to arrive', async () => (await ledger(emu)).requests.tus_head > before.requests.tus_head)
  req.end(Buffer.alloc(size / 2))
  const [res] = await patched
  res.resume()
  assert.equal(res.statusCode, 204)
  return head
}

// The recording has two runs; the second had plain http locations.
const SECOND_RUN = 'More'

describe(`recorded answers of ${RECORDED.server.name} ${RECORDED.server.version}`, () => {
  let emu
  const values = {}
  before(async () => {
    emu = await startEmulator('--s3-key', 'recordedid:recordedsecret', '--tus-location', 'https')
    Object.assign(values, { service: emu.service_jwt, anon: emu.anon_jwt, expired: emu.expired_jwt, wrong: wrongSignature(emu.service_jwt) })
  })
  after(() => stopEmulator(emu))

  let section
  for (const recorded of RECORDED.cases) {
    test(`${recorded.section}: ${recorded.name}`, async () => {
      if (recorded.section === SECOND_RUN && section !== SECOND_RUN) await ctl(emu, 'POST', 'config', { tus_location: 'own' })
      section = recorded.section
      await ctl(emu, 'POST', 'config', { public_url: '', ...recorded.config })
      const prepared = prepare(emu, recorded, values)
      if (recorded.request.abort_after) return abort(emu, prepared, recorded.request.abort_after)
      const during = recorded.name === 'HEAD while another PATCH is running'
      const answer = await (during ? headDuringPatch(emu, prepared) : send(emu, prepared))
      capture(recorded, answer, values)
      return compare(answer, recorded.response, prepared.method)
    })
  }

  test('rows afterwards carry what was sent', async () => {
    const rows = Object.fromEntries((await ledger(emu)).objects.map((o) => [`${o.bucket}/${o.key}`, o]))
    assert.deepEqual(pick(rows['videos/u1/form.mp4']), { size: 1000, content_type: 'video/mp4', cache_control: 'max-age=3600', metadata: { a: 1 } })
    assert.deepEqual(pick(rows['videos/u1/mp.mp4']), { size: 10485760, content_type: 'video/mp4', cache_control: 'no-cache', metadata: {} })
    assert.deepEqual(pick(rows['videos/u1/tus.mp4']), { size: 10485760, content_type: 'video/mp4', cache_control: 'max-age=3600', metadata: null })
    assert.equal(rows['videos/u1/mp.mp4'].sha256, sha256(Buffer.alloc(10485760, 7)))
    assert.equal(rows['videos/u1/job1.mp4'].uploads, 3)
    assert.equal(rows['videos/u1/x.mp4'], undefined)
  })
})

// ---- refusals of large bodies -------------------------------------------------

const statusesOf = (text) => [...text.matchAll(/HTTP\/1\.1 (\d+)[^\r]*((?:\r\n[^\r]+)*)/g)]
  .map(([, status, headers]) => [status, /^connection: (\S+)/im.exec(headers)?.[1]].filter(Boolean).join(' '))

// The request on a socket of its own: what has come, whether the server has ended it.
function openRaw(emu, { method, path, headers, body }, more = {}) {
  const socket = net.connect({ port: emu.port, host: '127.0.0.1', allowHalfOpen: true })
  const raw = { socket, text: '', ended: false }
  socket.on('data', (chunk) => { raw.text += chunk.toString('latin1') })
  socket.on('end', () => { raw.ended = true })
  socket.on('error', () => { raw.ended = true })
  const lines = Object.entries({ host: `127.0.0.1:${emu.port}`, ...headers, 'content-length': body.size, ...more }).map(([n, v]) => `${n}: ${v}\r\n`)
  socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`)
  raw.head = lines.join('').length + `${method} ${path} HTTP/1.1\r\n\r\n`.length
  return raw
}

// A client that waits for the 100 and then gives up its body: what comes before and after its FIN?
async function refuseExpecting(emu, prepared) {
  const raw = openRaw(emu, prepared, { expect: '100-continue' })
  await until('the refusal', () => statusesOf(raw.text).length > 1)
  const answers = statusesOf(raw.text)
  if (answers.at(-1).endsWith('close')) await until('the end', () => raw.ended)
  raw.text = ''
  raw.socket.end()
  await until('the end', () => raw.ended || raw.socket.destroyed)
  return { answers, then: statusesOf(raw.text) }
}

// A client that sends whatever comes: is all of its body taken, is it left standing, or cut off?
async function refuseSending(emu, prepared) {
  const raw = openRaw(emu, prepared)
  const { socket, head } = raw
  const all = prepared.body.size
  const written = () => socket.bytesWritten - socket.writableLength - head
  const chunk = Buffer.alloc(65536)
  let left = all
  const pump = () => {
    while (left > 0 && !socket.destroyed) {
      const part = chunk.subarray(0, Math.min(left, chunk.length))
      left -= part.length
      if (!socket.write(part)) return void socket.once('drain', pump)
    }
  }
  pump()
  let last
  let since = Date.now()
  await until('the body to be sent, or stuck, or cut off', () => {
    if (written() !== last) since = Date.now()
    last = written()
    return raw.ended || last === all || (raw.text !== '' && Date.now() - since > 500)
  })
  socket.destroy()
  return raw.ended ? 'closed' : last === all ? 'all' : last < all / 2 ? 'unread' : `${last} bytes`
}

describe('recorded refusals of large bodies', () => {
  let emu
  const values = {}
  before(async () => {
    emu = await startEmulator('--s3-key', 'recordedid:recordedsecret', '--bucket', 'videos:private:20971520:video/mp4,video/*')
    Object.assign(values, { service: emu.service_jwt, anon: emu.anon_jwt })
    await send(emu, { method: 'PUT', path: '/object/videos/there.mp4', body: { size: 1000 },
      headers: { authorization: `Bearer ${emu.service_jwt}`, 'content-type': 'video/mp4' } })
  })
  after(() => stopEmulator(emu))

  for (const recorded of RECORDED.refusals) {
    test(`${recorded.name}: with Expect: 100-continue`, async () => {
      assert.deepEqual(await refuseExpecting(emu, prepare(emu, recorded, values)), recorded.expecting)
    })
    test(`${recorded.name}: to a client that just sends`, async () => {
      assert.equal(await refuseSending(emu, prepare(emu, recorded, values)), recorded.body)
    })
  }
})

const pick = ({ size, content_type, cache_control, metadata }) => ({ size, content_type, cache_control, metadata })

// ---- observed on raw sockets ------------------------------------------------

describe('observed on raw sockets', () => {
  let emu
  let auth
  before(async () => {
    emu = await startEmulator('--bucket', 'videos:private:20971520:video/mp4,video/*', '--tus-lock-ms', '200')
    auth = { authorization: `Bearer ${emu.service_jwt}` }
  })
  after(() => stopEmulator(emu))

  test('two racing POSTs of one key both succeed with one id', async () => {
    const begin = () => {
      const req = http.request({ port: emu.port, host: '127.0.0.1', method: 'POST', path: '/object/videos/race.mp4',
        headers: { ...auth, 'content-type': 'video/mp4', 'content-length': 2000 } })
      req.write(Buffer.alloc(1000))
      return req
    }
    const racing = [begin(), begin()]
    await until('both to be inside', async () => (await ledger(emu)).in_flight_uploads === 2)
    const answers = await Promise.all(racing.map(async (req) => {
      req.end(Buffer.alloc(1000))
      const [res] = await once(req, 'response')
      return { status: res.statusCode, ...JSON.parse(Buffer.concat(await res.toArray())) }
    }))
    assert.deepEqual(answers.map((a) => a.status), [200, 200])
    assert.equal(answers[0].Id, answers[1].Id)
    assert.equal((await ledger(emu)).max_in_flight_uploads, 2)
  })

  test('a body shorter than its length, half-closed: 400 Client Error and no object', async () => {
    const socket = net.connect({ port: emu.port, host: '127.0.0.1', allowHalfOpen: true })
    socket.end(`POST /object/videos/short.mp4 HTTP/1.1\r\nHost: x\r\nauthorization: ${auth.authorization}\r\n` +
      'content-type: video/mp4\r\ncontent-length: 5000\r\n\r\nonly this')
    const answer = Buffer.concat(await socket.toArray()).toString()
    assert.equal(answer, 'HTTP/1.1 400 Bad Request\r\nContent-Length: 65\r\nContent-Type: application/json\r\n\r\n' +
      '{"error":"Bad Request","message":"Client Error","statusCode":400}')
    assert.ok(!(await ledger(emu)).objects.some((o) => o.key === 'short.mp4'))
  })

  async function createUpload(key, length) {
    const pair = (name, value) => `${name} ${Buffer.from(value).toString('base64')}`
    const { status, headers } = await send(emu, { method: 'POST', path: '/upload/resumable', headers: { ...auth, 'tus-resumable': '1.0.0',
      'upload-length': length, 'upload-metadata': [pair('bucketName', 'videos'), pair('objectName', key), pair('contentType', 'video/mp4')].join(',') } })
    assert.equal(status, 201)
    return new URL(headers.location).pathname
  }

  function beginPatch(path, length, bytes) {
    const req = http.request({ port: emu.port, host: '127.0.0.1', method: 'PATCH', path, headers: { ...auth, 'tus-resumable': '1.0.0',
      'upload-offset': 0, 'content-type': 'application/offset+octet-stream', 'content-length': length } })
    req.on('error', () => {})
    req.write(Buffer.alloc(bytes))
    return req
  }

  const offsetOf = async (path) => (await send(emu, { method: 'HEAD', path, headers: { ...auth, 'tus-resumable': '1.0.0' } })).headers['upload-offset']
  const received = (key, n) => until(`${n} bytes`, async () => (await ledger(emu)).tus.find((u) => u.key === key).offset === n)

  test('TUS keeps the bytes of a cut PATCH', async () => {
    const path = await createUpload('cut.mp4', 2000000)
    const req = beginPatch(path, 2000000, 700000)
    await received('cut.mp4', 700000)
    req.destroy()
    assert.equal(await offsetOf(path), '700000')
    assert.ok(!(await ledger(emu)).objects.some((o) => o.key === 'cut.mp4'))
  })

  test('TUS: a HEAD takes the lock from an idle PATCH after the grace time', async () => {
    const path = await createUpload('lock.mp4', 2000000)
    const req = beginPatch(path, 2000000, 1400000)
    await received('lock.mp4', 1400000)
    assert.equal(await offsetOf(path), '1400000')
    req.destroy()
  })

  // recorded with the S3 backend and TUS_URL_EXPIRY_MS=4000
  test('TUS: an upload expires by its age, complete or not, whatever is sent to it', async () => {
    const tus = { ...auth, 'tus-resumable': '1.0.0' }
    const patch = (path, offset, size) => send(emu, { method: 'PATCH', path, body: { size },
      headers: { ...tus, 'x-upsert': 'true', 'upload-offset': offset, 'content-type': 'application/offset+octet-stream' } })
    const status = (path) => send(emu, { method: 'HEAD', path, headers: tus }).then((a) => a.status)
    await ctl(emu, 'POST', 'config', { tus_expiry_ms: 600_000 })
    const [late, whole] = [await createUpload('late.mp4', 2000), await createUpload('whole.mp4', 1000)]
    assert.match((await patch(late, 0, 1000)).headers['upload-expires'], / GMT$/)
    assert.equal((await patch(whole, 0, 1000)).headers['upload-expires'], undefined)
    assert.equal((await send(emu, { method: 'HEAD', path: late, headers: tus })).headers['upload-expires'], undefined)
    await ctl(emu, 'POST', 'config', { tus_expiry_ms: 1 })
    await until('the expiry', async () => await status(late) === 410 && await status(whole) === 410)
    const refused = await patch(late, 1000, 1000)
    assert.deepEqual([refused.status, refused.headers.connection, refused.body.toString()], [410, 'close', 'The file for this url no longer exists\n'])
    await ctl(emu, 'POST', 'config', { tus_expiry_ms: 0 })
    assert.equal(await status(late), 200)
  })

  test('a 100 MB chunked body arrives whole', async () => {
    const answer = await send(emu, { method: 'PUT', path: '/object/videos/large.mp4', headers: { ...auth, 'content-type': 'video/mp4' },
      body: { size: 100 << 20, chunked: true } })
    assert.equal(answer.status, 200)
    assert.equal((await ledger(emu)).objects.find((o) => o.key === 'large.mp4').size, 100 << 20)
  })
})

// ---- faults -----------------------------------------------------------------

describe('faults', () => {
  let emu
  let auth
  before(async () => {
    emu = await startEmulator('--bucket', 'videos:private', '--seed', '7')
    auth = { authorization: `Bearer ${emu.service_jwt}` }
  })
  after(() => stopEmulator(emu))

  const put = (key, body = { size: 200000 }) => send(emu, { method: 'PUT', path: `/object/videos/${key}`, headers: { ...auth, 'content-type': 'video/mp4' }, body })
  const has = async (key) => (await ledger(emu)).objects.some((o) => o.key === key)
  const isBroken = { code: /ECONNRESET|EPIPE|ECONNABORTED/ }

  // The same amount waits in the client at two polls a while apart.
  async function assertStuck(req) {
    let last
    let since = Date.now()
    await until('the client to be stuck', () => {
      if (req.socket.bytesWritten !== last) since = Date.now()
      last = req.socket.bytesWritten
      return Date.now() - since > 100
    })
    assert.equal(req.writableFinished, false)
  }

  const answered = [
    ['slow_down', { kind: 'slow_down' }, 429, /"code":"SlowDown"/],
    ['db_timeout', { kind: 'db_timeout' }, 544, /"statusCode":"544"/],
    ['internal', { kind: 'internal' }, 500, /"statusCode":"500"/],
    ['jwt_expired', { kind: 'jwt_expired' }, 400, /claim timestamp check failed/],
    ['gateway', { kind: 'gateway', status: 504 }, 504, /<title>504 Gateway Time-out/],
    ['html413', { kind: 'html413' }, 413, /<title>413 Request Entity Too Large/],
    ['ua401', { kind: 'ua401' }, 401, /Unauthorized/],
    ['garbage', { kind: 'garbage' }, 200, /^<<<not json/],
    ['http', { kind: 'http', status: 418, body: { teapot: true }, headers: { 'retry-after': '3' } }, 418, /"teapot":true/],
    ['http after the body', { kind: 'http', status: 503, body: 'later', when: 'after_body' }, 503, /^later$/],
  ]
  for (const [name, fault, status, body] of answered) {
    test(`${name} hits once and stores nothing`, async () => {
      await arm(emu, { on: 'upload', key: 'hit', fault })
      const hit = await put('hit.mp4')
      assert.equal(hit.status, status)
      assert.match(hit.body.toString(), body)
      assert.equal(await has('hit.mp4'), false)
      assert.equal((await put('miss.mp4')).status, 200)
    })
  }

  test('a failure is JSON over REST, text over TUS, XML over S3', async () => {
    await arm(emu, { on: 'any', times: 3, fault: 'slow_down' })
    const bodies = []
    for (const path of ['/bucket', '/upload/resumable', '/s3/videos/a.mp4?uploads=']) {
      const answer = await send(emu, { method: 'POST', path, headers: auth })
      assert.equal(answer.status, 429)
      bodies.push(answer.headers['content-type'].split(';')[0])
    }
    assert.deepEqual(bodies, ['application/json', 'text/plain', 'application/xml'])
  })

  test('an undecodable path is refused', async () => {
    const answer = await send(emu, { method: 'GET', path: '/object/videos/%zz', headers: auth })
    assert.equal(answer.status, 400)
    assert.match(answer.body.toString(), /is not a valid url component/)
  })

  test('skip and times choose which request is hit', async () => {
    await arm(emu, { on: 'upload', skip: 1, times: 2, fault: 'internal' })
    const statuses = []
    for (let i = 0; i < 4; i += 1) statuses.push((await put('nth.mp4')).status)
    assert.deepEqual(statuses, [200, 500, 500, 200])
  })

  test('probability follows the seed', async () => {
    await ctl(emu, 'POST', 'reset', { only: 'faults' })
    await arm(emu, { on: 'info', times: -1, probability: 0.5, fault: 'internal' })
    const statuses = []
    for (let i = 0; i < 40; i += 1) statuses.push((await send(emu, { method: 'GET', path: '/object/info/videos/nth.mp4', headers: auth })).status)
    const hits = statuses.filter((s) => s === 500).length
    assert.ok(hits > 5 && hits < 35, `${hits} of 40`)
    await ctl(emu, 'POST', 'reset', { only: 'faults' })
  })

  test('reset breaks the connection inside the body', async () => {
    await arm(emu, { on: 'upload', fault: { kind: 'reset', after_bytes: 65536 } })
    await assert.rejects(put('reset.mp4', { size: 8 << 20 }), isBroken)
    assert.equal(await has('reset.mp4'), false)
  })

  test('stall stops reading and keeps the client waiting', async () => {
    await arm(emu, { on: 'upload', fault: { kind: 'stall', after_bytes: 65536 } })
    const req = http.request({ port: emu.port, host: '127.0.0.1', method: 'PUT', path: '/object/videos/stall.mp4',
      headers: { ...auth, 'content-type': 'video/mp4', 'content-length': 40 << 20 } })
    req.on('error', () => {})
    const { aborted } = (await ledger(emu)).uploads
    req.end(Buffer.alloc(40 << 20))
    await until('the upload to begin', async () => (await ledger(emu)).in_flight_uploads === 1)
    await assertStuck(req)
    req.destroy()
    await ctl(emu, 'POST', 'reset', { only: 'faults' })
    await until('the stall to end', async () => (await ledger(emu)).uploads.aborted > aborted)
    assert.equal(await has('stall.mp4'), false)
  })

  test('slow_read takes the bytes at the given speed', async () => {
    await arm(emu, { on: 'upload', fault: { kind: 'slow_read', bytes_per_s: 1000000 } })
    const begun = Date.now()
    assert.equal((await put('slow.mp4', { size: 300000 })).status, 200)
    assert.ok(Date.now() - begun >= 250)
  })

  test('commit_then_drop stores the object and loses the answer', async () => {
    await arm(emu, { on: 'upload', fault: 'commit_then_drop' })
    await assert.rejects(put('lost.mp4'), isBroken)
    assert.equal(await has('lost.mp4'), true)
  })

  test('hang takes the body and stays silent', async () => {
    await arm(emu, { on: 'bucket', fault: 'hang' })
    await assert.rejects(fetch(`${emu.url}/bucket/videos`, { headers: auth, signal: AbortSignal.timeout(200) }), { name: 'TimeoutError' })
  })

  test('a redirect that is followed with a key is seen', async () => {
    await arm(emu, { on: 'info', fault: 'redirect' })
    const refused = await send(emu, { method: 'GET', path: '/object/info/videos/nth.mp4', headers: auth })
    assert.equal(refused.status, 307)
    assert.equal((await ledger(emu)).saw_other_host_credentials, 0)
    await fetch(refused.headers.location, { headers: auth })
    assert.equal((await ledger(emu)).saw_other_host_credentials, 1)
  })

  test('an unknown kind is refused', async () => {
    const res = await fetch(`${emu.url}/_ctl/fault`, { method: 'POST', body: '{"on":"upload","fault":{"kind":"nonsense"}}' })
    assert.equal(res.status, 400)
  })
})

// ---- official clients -------------------------------------------------------

const ACCESS = {
  'through the gateway with a secret key': (emu) => [emu.gateway_url, { apikey: emu.service_key }],
  'direct with a service_role JWT': (emu) => [emu.url, { authorization: `Bearer ${emu.service_jwt}` }],
}

async function succeed(promise) {
  const { data, error } = await promise
  assert.equal(error, null)
  return data
}

for (const [how, accessOf] of Object.entries(ACCESS)) {
  describe(`@supabase/storage-js ${how}`, () => {
    let emu
    let client
    let videos
    const bytes = randomBytes(300000)
    // of a refused body the server leaves the rest unread, and the connection is stuck, unless it is as small as this
    const few = bytes.subarray(0, 1000)
    before(async () => {
      emu = await startEmulator()
      client = new StorageClient(...accessOf(emu))
      videos = client.from('videos')
    })
    after(() => stopEmulator(emu))

    test('createBucket, getBucket, listBuckets, updateBucket', async () => {
      assert.deepEqual(await succeed(client.createBucket('videos', { public: false, fileSizeLimit: '20MB', allowedMimeTypes: ['video/*'] })), { name: 'videos' })
      await succeed(client.createBucket('open', { public: true }))
      const bucket = await succeed(client.getBucket('videos'))
      assert.equal(bucket.file_size_limit, 20000000)
      assert.deepEqual(bucket.allowed_mime_types, ['video/*'])
      assert.deepEqual((await succeed(client.listBuckets())).map((b) => b.name), ['videos', 'open'])
      await succeed(client.updateBucket('open', { public: true, fileSizeLimit: 1000 }))
      assert.equal((await succeed(client.getBucket('open'))).file_size_limit, 1000)
      assert.equal((await client.getBucket('nope')).error.statusCode, '404')
    })

    test('upload, duplicate, upsert, info, download', async () => {
      const options = { contentType: 'video/mp4', cacheControl: '60', metadata: { job: '42' } }
      const made = await succeed(videos.upload('a/one.mp4', bytes, options))
      assert.equal(made.fullPath, 'videos/a/one.mp4')
      const { error } = await videos.upload('a/one.mp4', few, options)
      assert.deepEqual([error.statusCode, error.message], ['409', 'The resource already exists'])
      const again = await succeed(videos.upload('a/one.mp4', bytes, { ...options, upsert: true }))
      assert.equal(again.id, made.id)
      const info = await succeed(videos.info('a/one.mp4'))
      assert.equal(info.size, bytes.length)
      assert.equal(info.contentType, 'video/mp4')
      assert.equal(info.cacheControl, 'max-age=60')
      assert.deepEqual(info.metadata, { job: '42' })
      const blob = await succeed(videos.download('a/one.mp4'))
      assert.equal(sha256(Buffer.from(await blob.arrayBuffer())), sha256(bytes))
      assert.deepEqual((await ledger(emu)).objects.map((o) => [o.key, o.sha256, o.uploads]), [['a/one.mp4', sha256(bytes), 2]])
    })

    test('upload of a Blob as a form', async () => {
      await succeed(videos.upload('a/form.mp4', new Blob([bytes], { type: 'video/mp4' }), { cacheControl: '90', metadata: { form: 'yes' } }))
      const { sha256: digest, cache_control, content_type, metadata } = (await ledger(emu)).objects.find((o) => o.key === 'a/form.mp4')
      assert.deepEqual({ digest, cache_control, content_type, metadata },
        { digest: sha256(bytes), cache_control: 'max-age=90', content_type: 'video/mp4', metadata: { form: 'yes' } })
    })

    test('refusals: size, type, key', async () => {
      const tooLarge = await client.from('open').upload('big', Buffer.alloc(2000), { contentType: 'video/mp4' })
      assert.equal(tooLarge.error.statusCode, '413')
      assert.equal((await videos.upload('a.txt', 'text', { contentType: 'text/plain' })).error.statusCode, '415')
      assert.equal((await videos.upload('ümlaut.mp4', few, { contentType: 'video/mp4' })).error.message, 'Invalid key: ümlaut.mp4')
    })

    test('list and exists', async () => {
      assert.deepEqual((await succeed(videos.list())).map((e) => [e.name, e.id]), [['a', null]])
      const entries = await succeed(videos.list('a', { limit: 1, sortBy: { column: 'name', order: 'desc' } }))
      assert.deepEqual(entries.map((e) => [e.name, e.metadata.size]), [['one.mp4', bytes.length]])
      assert.equal((await videos.exists('a/one.mp4')).data, true)
      assert.equal((await videos.exists('a/none.mp4')).data, false)
    })

    test('signed and public URLs serve the bytes', async () => {
      const { signedUrl } = await succeed(videos.createSignedUrl('a/one.mp4', 60))
      assert.equal(sha256(Buffer.from(await (await fetch(signedUrl)).arrayBuffer())), sha256(bytes))
      const many = await succeed(videos.createSignedUrls(['a/one.mp4', 'a/none.mp4'], 60))
      assert.deepEqual(many.map((m) => m.error === null), [true, false])
      await succeed(client.from('open').upload('p.mp4', Buffer.from('public'), { contentType: 'video/mp4' }))
      const { publicUrl } = client.from('open').getPublicUrl('p.mp4').data
      const part = await fetch(publicUrl, { headers: { range: 'bytes=1-3' } })
      assert.deepEqual([part.status, await part.text()], [206, 'ubl'])
      assert.equal((await fetch(videos.getPublicUrl('a/one.mp4').data.publicUrl)).status, 400)
    })

    test('createSignedUploadUrl and uploadToSignedUrl', async () => {
      const { token, path } = await succeed(videos.createSignedUploadUrl('a/signed.mp4'))
      const stranger = new StorageClient(accessOf(emu)[0], {}).from('videos')
      await succeed(stranger.uploadToSignedUrl(path, token, bytes, { contentType: 'video/mp4' }))
      assert.equal((await stranger.uploadToSignedUrl(path, token, few, { contentType: 'video/mp4' })).error.statusCode, '409')
      assert.equal((await stranger.uploadToSignedUrl('a/other.mp4', token, bytes, { contentType: 'video/mp4' })).error.message, 'Invalid signature')
    })

    test('move, copy, remove, deleteBucket', async () => {
      await succeed(videos.move('a/signed.mp4', 'b/moved.mp4'))
      await succeed(videos.copy('b/moved.mp4', 'copied.mp4', { destinationBucket: 'open' }))
      assert.equal((await videos.info('a/signed.mp4')).error.statusCode, '404')
      assert.deepEqual((await succeed(videos.remove(['b/moved.mp4', 'b/none.mp4']))).map((o) => o.name), ['b/moved.mp4'])
      assert.equal((await ledger(emu)).objects.find((o) => o.key === 'copied.mp4').sha256, sha256(bytes))
      assert.equal((await client.deleteBucket('open')).error.statusCode, '409')
      await succeed(client.emptyBucket('open'))
      await succeed(client.deleteBucket('open'))
    })
  })

  describe(`tus-js-client ${how}`, () => {
    let emu
    before(async () => { emu = await startEmulator('--bucket', 'videos:private') })
    after(() => stopEmulator(emu))

    const chunkSize = 256 * 1024
    const bytes = randomBytes(chunkSize * 4 + 1000)

    function upload(key, options) {
      const [base, headers] = accessOf(emu)
      return new Promise((resolve, reject) => {
        const run = new Upload(bytes, {
          endpoint: `${base}/upload/resumable`, headers, chunkSize, retryDelays: [0, 20, 20],
          metadata: { bucketName: 'videos', objectName: key, contentType: 'video/mp4', cacheControl: '120', metadata: '{"job":"7"}' },
          onSuccess: () => resolve(run), onError: reject, ...options,
        })
        run.start()
      })
    }

    async function assertStored(key) {
      const { sha256: digest, cache_control, metadata, uploads } = (await ledger(emu)).objects.find((o) => o.key === key)
      assert.deepEqual({ digest, cache_control, metadata, uploads },
        { digest: sha256(bytes), cache_control: 'max-age=120', metadata: { job: '7' }, uploads: 1 })
    }

    test('resumes after a connection reset in the middle', async () => {
      await arm(emu, { on: 'tus_patch', skip: 1, fault: { kind: 'reset', after_bytes: 65536 } })
      await upload('reset.mp4')
      await assertStored('reset.mp4')
      assert.equal((await ledger(emu)).requests.tus_head, 1)
    })

    test('resumes an interrupted upload from its URL', async () => {
      await arm(emu, { on: 'tus_patch', skip: 2, fault: 'gateway' })
      const failed = await upload('again.mp4', { retryDelays: null }).then(() => assert.fail('was not interrupted'), (e) => e)
      assert.equal(failed.originalResponse.getStatus(), 502)
      const url = failed.originalRequest.getURL()
      let first
      await upload('again.mp4', { uploadUrl: url, onProgress: (sent) => { first ??= sent } })
      assert.ok(first >= chunkSize * 2)
      await assertStored('again.mp4')
    })

    test('reports an existing object and a wrong Location', async () => {
      await assert.rejects(upload('again.mp4', { retryDelays: null }), /409.*The resource already exists/)
      await ctl(emu, 'POST', 'config', { tus_location: 'wrong' })
      await assert.rejects(upload('lost.mp4', { retryDelays: null }), /storage\.invalid/)
      await ctl(emu, 'POST', 'config', { tus_location: 'own' })
    })
  })
}

// ---- gateway ----------------------------------------------------------------

describe('gateway key translation', () => {
  let emu
  before(async () => { emu = await startEmulator('--bucket', 'videos:private') })
  after(() => stopEmulator(emu))

  const get = async (headers) => {
    const res = await fetch(`${emu.gateway_url}/bucket/videos`, { headers })
    const { message, name } = await res.json()
    return name ?? message
  }
  const cases = [
    ['secret key alone', () => ({ apikey: emu.service_key }), 'videos'],
    ['secret key twice', () => ({ apikey: emu.service_key, authorization: `Bearer ${emu.service_key}` }), 'videos'],
    ['secret key as bearer only', () => ({ authorization: `Bearer ${emu.service_key}` }), 'Invalid Compact JWS'],
    ['publishable key acts as anon', () => ({ apikey: emu.publishable_key }), 'Bucket not found'],
    ['unknown sb_ key', () => ({ apikey: 'sb_secret_unknown' }), 'Invalid Compact JWS'],
    ['JWT as apikey alone', () => ({ apikey: emu.service_jwt }), 'videos'],
    ['a real Authorization wins over apikey', () => ({ apikey: emu.service_key, authorization: `Bearer ${emu.expired_jwt}` }), '"exp" claim timestamp check failed'],
    ['nothing', () => ({}), "headers must have required property 'authorization'"],
  ]
  for (const [name, headers, expected] of cases) test(name, async () => assert.equal(await get(headers()), expected))

  test('the direct listener translates nothing', async () => {
    const res = await fetch(`${emu.url}/bucket/videos`, { headers: { apikey: emu.service_key } })
    assert.equal((await res.json()).message, "headers must have required property 'authorization'")
  })

  test('other paths have no route', async () => {
    assert.equal((await fetch(`http://127.0.0.1:${emu.gateway_port}/rest/v1/`)).status, 404)
  })
})

// ---- process ----------------------------------------------------------------

describe('the process', () => {
  test('ends on SIGTERM', async () => {
    const emu = await startEmulator()
    emu.child.kill('SIGTERM')
    assert.deepEqual(await once(emu.child, 'exit'), [0, null])
  })

  test('--discard keeps digests and the first 64 KiB', async () => {
    const emu = await startEmulator('--discard', '--bucket', 'videos:private')
    const bytes = randomBytes(200000)
    await send(emu, { method: 'PUT', path: '/object/videos/d.mp4', headers: { authorization: `Bearer ${emu.service_jwt}`, 'content-type': 'video/mp4' }, body: { bytes } })
    const [object] = (await ledger(emu)).objects
    assert.deepEqual([object.size, object.sha256], [200000, sha256(bytes)])
    const kept = Buffer.from(await (await fetch(`${emu.url}/_ctl/object?bucket=videos&key=d.mp4`)).arrayBuffer())
    assert.deepEqual(kept.subarray(0, 65536), bytes.subarray(0, 65536))
    await stopEmulator(emu)
  })
})
