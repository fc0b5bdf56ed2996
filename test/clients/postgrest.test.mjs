// Is the PostgREST stand-in honest? It must answer recorded requests like the
// server they were recorded from, and the official client must be content with it.

import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { STATUS_CODES } from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { PostgrestClient } from '@supabase/postgrest-js'

const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const RECORDED = JSON.parse(readFileSync(here('fixtures/postgrest-recorded.json')))
const SECRET = 'super-secret-jwt-token-with-at-least-32-characters-long'
const SERVERS = {
  first: [],
  second: ['--pre-request', 'public.before', '--tx-override', '--max-rows', '2', '--jwt-role-claim-key', '.app.role', '--jwt-aud', 'app'],
  third: ['--no-anon'],
}

// ---- a server of our own -------------------------------------------------------

const BIN = execFileSync(process.env.PG_CONFIG ?? 'pg_config', ['--bindir'], { encoding: 'utf8' }).trim()
const DIR = mkdtempSync(join(tmpdir(), 'rest-'))
const PORT = 5432
const run = (program, ...args) => execFileSync(join(BIN, program), args, { stdio: ['ignore', 'ignore', 'pipe'] })
const pgCtl = (...args) => run('pg_ctl', '-D', `${DIR}/data`, '-l', `${DIR}/log`, '-w', ...args)
const sql = (text) => run('psql', '-XAtq', '-h', DIR, '-p', PORT, '-U', 'postgres', '-v', 'ON_ERROR_STOP=1', '-c', text)
const emulators = []

async function startEmulator(...args) {
  const child = spawn(process.execPath, [here('../emulator/postgrest.mjs'), '--exit-with-stdin', '--db-host', DIR, '--db-port', PORT, ...args],
    { stdio: ['pipe', 'pipe', 'inherit'] })
  emulators.push(child)
  const [line] = await once(createInterface(child.stdout), 'line')
  return JSON.parse(line)
}

const servers = {}

before(async () => {
  run('initdb', '-D', `${DIR}/data`, '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync')
  appendFileSync(`${DIR}/data/postgresql.conf`, `listen_addresses = ''\nunix_socket_directories = '${DIR}'\nfsync = off\ntimezone = 'Etc/UTC'\n`)
  pgCtl('start')
  run('psql', '-Xq', '-h', DIR, '-p', PORT, '-U', 'postgres', '-v', 'ON_ERROR_STOP=1', '-d', 'postgres', '-f', here('fixtures/postgrest.sql'))
  for (const [name, options] of Object.entries(SERVERS)) servers[name] = await startEmulator(...options)
})

after(async () => {
  for (const child of emulators) child.stdin.end()
  pgCtl('stop', '-m', 'immediate')
  rmSync(DIR, { recursive: true, force: true })
})

// ---- tokens --------------------------------------------------------------------

const base64 = (text) => Buffer.from(text).toString('base64url')

/** flaw: none (alg), secret (another one), signature (changed). */
function mint(claims, flaw) {
  const text = `${base64(`{"alg":"${flaw === 'none' ? 'none' : 'HS256'}"}`)}.${base64(claims)}`
  const sign = (secret) => createHmac('sha256', secret).update(text).digest('base64url')
  if (flaw === 'none') return `${text}.`
  const signature = sign(flaw === 'secret' ? `another ${SECRET}` : SECRET)
  return `${text}.${flaw === 'signature' ? (signature[0] === 'A' ? 'B' : 'A') + signature.slice(1) : signature}`
}

const now = () => Math.floor(Date.now() / 1000)

function fill(text) {
  return text
    .replace(/\{\{jwt (?:(none|secret|signature) )?(\{.*\})\}\}/, (_, flaw, claims) => mint(
      claims.replace(/"now([+-]\d+)"/, (__, offset) => String(now() + Number(offset))), flaw))
    .replace(/\{\{(\w)\*(\d+)\}\}/g, (_, letter, times) => letter.repeat(Number(times)))
}

// ---- raw requests ----------------------------------------------------------------

function encodeRequest({ method, path, headers = {}, body, hex, chunks, encoding = 'utf8' }, host) {
  const pairs = Array.isArray(headers) ? headers : Object.entries(headers)
  const bytes = hex === undefined ? body === undefined ? undefined : Buffer.from(fill(body)) : Buffer.from(hex, 'hex')
  const length = chunks ? ['Transfer-Encoding: chunked'] : bytes && !pairs.some(([n]) => n === 'Content-Length') ? [`Content-Length: ${bytes.length}`] : []
  const head = [`${method} ${fill(path)} HTTP/1.1`, `Host: ${host}`, ...pairs.map(([n, v]) => `${n}: ${fill(v)}`), ...length, '', ''].join('\r\n')
  const sent = chunks ? Buffer.from(`${chunks.map((c) => `${Buffer.byteLength(c).toString(16)}\r\n${c}\r\n`).join('')}0\r\n\r\n`) : bytes
  return Buffer.concat([Buffer.from(head, encoding), sent ?? Buffer.alloc(0)])
}

/** The answer in bytes, if they are all there; ended: no more will come. */
function parseAnswer(bytes, method, ended) {
  const text = bytes.toString('latin1')
  const start = text.startsWith('HTTP/1.1 100 ') ? text.indexOf('\r\n\r\n') + 4 : 0
  const end = text.indexOf('\r\n\r\n', start)
  if (end < 0) return undefined
  const [line, ...lines] = bytes.toString('utf8', start, end).split(/\r\n(?! )/)
  const [, version, status, reason] = /^HTTP\/(1\.\d) (\d+) (.*)$/s.exec(line)
  const headers = lines.map((l) => /^([^:]+): ?(.*)$/s.exec(l).slice(1))
  const header = (name) => headers.find(([n]) => n.toLowerCase() === name)?.[1]
  const answer = { version, status: Number(status), reason, headers, continued: start > 0 }
  const rest = bytes.subarray(end + 4)
  if (method === 'HEAD' || status === '204' || status === '304') return { ...answer, body: '' }
  if (header('transfer-encoding')) {
    if (!rest.toString('latin1').endsWith('0\r\n\r\n')) return undefined
    return { ...answer, body: rest.toString('utf8').replace(/(?:^|\r\n)[0-9a-f]+\r\n/g, '').replace(/\r\n$/, '') }
  }
  // HTTP/1.0 ends with its connection
  const length = Number(header('content-length') ?? (version === '1.0' ? Infinity : 0))
  return ended || rest.length >= length ? { ...answer, body: rest.toString('utf8', 0, Math.min(length, rest.length)) } : undefined
}

function send({ port }, request) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1')
    let bytes = Buffer.alloc(0)
    const done = (answer) => { socket.destroy(); resolve(answer) }
    socket.setTimeout(20_000, () => socket.destroy(new Error('no answer')))
    socket.on('error', reject)
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk])
      const answer = parseAnswer(bytes, request.method)
      if (answer) done(answer)
    })
    socket.on('end', () => done(parseAnswer(bytes, request.method, true)))
    socket.write(encodeRequest(request, `127.0.0.1:${port}`))
  })
}

// ---- what is expected ------------------------------------------------------------------

const JSON_TYPE = 'application/json; charset=utf-8'
const parsed = (text) => { try { return JSON.parse(text) } catch { return undefined } }

/** The headers that such an answer always has, and those that were noted. */
function usualHeaders({ status, body = '', headers = {} }, { method }) {
  const error = status >= 400 ? parsed(body)?.code : undefined
  const usual = error !== undefined
    ? { ...(status === 503 && { 'Retry-After': '0' }), 'Content-Type': JSON_TYPE, 'Content-Length': String(Buffer.byteLength(body)),
      'Proxy-Status': `PostgREST; error=${error}`, ...(status === 401 && { 'WWW-Authenticate': 'Bearer' }) }
    : { 'Content-Range': '0-0/*', ...(method !== 'HEAD' && { 'Content-Length': String(Buffer.byteLength(body)) }), 'Content-Type': JSON_TYPE, Vary: 'Accept, Prefer, Range' }
  return Object.entries({ ...usual, ...headers })
}

// of a function that tells what it sees: key order is any, null is as good as ''
function sight(text) {
  const seen = parsed(text)
  if (!seen?.headers) return text
  return { ...seen, headers: JSON.parse(seen.headers), cookies: JSON.parse(seen.cookies), 'response.status': seen['response.status'] || null,
    'response.headers': seen['response.headers'] || null }
}

const normalise = (text) => text.replace(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, '(jwt)').replace(/127\.0\.0\.1:\d+/g, '127.0.0.1:3000')

const sorted = (pairs) => pairs.map(([n, v]) => `${n}: ${v}`).sort()

function check(answer, request, response) {
  const body = normalise(answer.body)
  const listed = Array.isArray(response.headers)
  const got = answer.headers.filter(([n, v]) => n !== 'Date' && (n !== 'Server' || v === 'mine'))
  assert.equal(answer.status, response.status)
  if (response.body !== undefined) assert.deepEqual(sight(body), sight(normalise(fill(response.body))))
  else if (request.method !== 'HEAD') assert.equal(body, '')
  const phrase = response.reason ?? (parsed(response.body)?.code?.startsWith('PT') ? parsed(response.body).message
    : response.status === 413 ? 'Request Entity Too Large' : STATUS_CODES[response.status] ?? '')
  if (response.status !== 204 || response.reason !== undefined) assert.equal(answer.reason, phrase)
  if (listed) assert.deepEqual(got, response.headers.map(([n, v]) => [n, v.replace('{{length}}', String(Buffer.byteLength(answer.body)))]))
  // of the others that have no body it was not noted which headers they had
  else if (response.body !== undefined && !sight(body).headers) assert.deepEqual(sorted(got), sorted(usualHeaders({ ...response, body: fill(response.body) }, request)))
  else for (const [name, value] of Object.entries(response.headers ?? {})) assert.deepEqual(got.filter(([n]) => n === name), [[name, value]])
}

describe('recorded requests', () => {
  for (const { name, section, server = 'first', before: first, request, response } of RECORDED.cases) {
    test(`${section}: ${name}`, async () => {
      if (first) sql(first)
      check(await send(servers[server], request), request, response)
    })
  }
})

// ---- what is no answer to one request ------------------------------------------------

const rpc = (server, name, request = {}) => send(server, { method: 'POST', path: `/rpc/${name}`, headers: { 'Content-Type': 'application/json' }, body: '{}', ...request })
const short = ({ status, body }) => `${status} ${parsed(body)?.code ?? body}`

describe('on the wire', () => {
  test('the message of a PT error is the reason phrase, and may make an answer of its own', async () => {
    const m = 'one\r\nX-Injected: 1\r\n\r\n<b>two'
    const { reason, headers } = await rpc(servers.first, 'fail_msg', { body: JSON.stringify({ code: 'PT404', m }) })
    assert.equal(reason, 'one')
    assert.deepEqual(headers, [['X-Injected', '1']])
    assert.equal((await rpc(servers.first, 'fail_msg', { body: JSON.stringify({ code: 'P0001', m }) })).reason, 'Bad Request')
    assert.equal((await rpc(servers.first, 'fail_msg', { body: '{"code":"PT404","m":"für"}' })).reason, 'für')
  })
  test('a status of two digits', async () => {
    const socket = net.connect(servers.first.port, '127.0.0.1')
    socket.write(encodeRequest({ method: 'POST', path: '/rpc/set_status', headers: { 'Content-Type': 'application/json' }, body: '{"status":"99"}' }, 'x'))
    assert.match((await once(socket, 'data'))[0].toString(), /^HTTP\/1\.1 099 \r\n/)
    socket.destroy()
  })
  test('a head of more than 50 KiB is not read to its end', async () => {
    const answer = await rpc(servers.first, 'ret_int', { headers: { 'X-Long': 'h'.repeat(70_000) } }).catch((e) => e)
    assert.ok(answer.code === 'ECONNRESET' || answer.status === 400, `${answer.code} ${answer.status}`)
  })
  test('Expect: 100-continue', async () => {
    assert.ok((await rpc(servers.first, 'ret_int', { headers: { Expect: '100-continue' } })).continued)
  })
  test('one connection, several requests', async () => {
    const socket = net.connect(servers.first.port, '127.0.0.1')
    for (let i = 0; i < 3; i++) {
      socket.write('GET /rpc/ret_int HTTP/1.1\r\nHost: x\r\n\r\n')
      assert.match((await once(socket, 'data'))[0].toString(), /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\n42$/s)
    }
    socket.destroy()
  })
})

// ---- the gateway -------------------------------------------------------------------------

describe('through the gateway', () => {
  for (const kind of ['kong', 'envoy']) {
    test(kind, async () => {
      const open = '/rest/v1/rpc/raw_json'
      const { gateway_port: port, anon_jwt: jwt, publishable_key: key } = await startEmulator('--gateway', kind, '--open-route', `${open}=/rpc/raw_json`)
      const ask = (path, headers) => send({ port }, { method: 'POST', path, headers: { 'Content-Type': 'application/json', ...headers }, body: '{}' })
      const path = '/rest/v1/rpc/ret_int'
      for (const apikey of [jwt, key]) assert.equal(short(await ask(path, { apikey })), '200 42')
      assert.equal((await ask(path)).status, 401)
      assert.equal((await ask(path, { apikey: 'another' })).status, 401)
      assert.equal(parsed((await ask(path)).body)?.message, kind === 'kong' ? 'No API key found in request' : undefined)
      assert.equal(short(await ask(`${path}?apikey=${key}`)), '400 PGRST100')
      assert.equal((await send({ port }, { method: 'GET', path: `/rest/v1/rpc/one_default?apikey=${key}` })).status, 200)
      assert.equal((await ask(open)).status, 200)
      assert.equal((await ask('/rpc/ret_int', { apikey: key })).status, 404)
      assert.equal(parsed((await send({ port }, { method: 'GET', path: '/rest/v1/rpc/gucs', headers: { apikey: key } })).body).role, 'anon')
    })
  }
})

// ---- the official client --------------------------------------------------------------------

describe('@supabase/postgrest-js', () => {
  const client = (claims) => new PostgrestClient(servers.first.url, {
    schema: 'public', headers: claims ? { Authorization: `Bearer ${mint(JSON.stringify(claims))}` } : {} })
  const user = () => client({ role: 'authenticated', sub: 'user-1' })
  const rows = [{ status: 'queued', n: 3, at: '2026-11-28' }, { status: 'failed', n: 1, at: '2026-11-27' }, { status: 'completed', n: 2, at: null }]

  const good = {
    'rpc': [(c) => c.rpc('named', { a: 1 }), { a: 1, b: 'standard' }],
    'rpc by GET': [(c) => c.rpc('named', { a: 1, b: 'ü &' }, { get: true }), { a: 1, b: 'ü &' }],
    'rpc by GET, a list': [(c) => c.rpc('list_arg', { ids: [1, 2] }, { get: true }), 2],
    'void': [(c) => c.rpc('ret_void'), null, { status: 204 }],
    'a row': [(c) => c.rpc('ret_row').single(), rows[0]],
    'rows': [(c) => c.rpc('ret_rows'), rows],
    'select': [(c) => c.rpc('ret_row').select('status, number:n'), { status: 'queued', number: 3 }],
    'select of JSON and a cast': [(c) => c.rpc('ret_rows').select('text:n::text').limit(1), [{ text: '3' }]],
    'single': [(c) => c.rpc('ret_rows').eq('n', 1).single(), rows[1]],
    'maybeSingle': [(c) => c.rpc('ret_no_rows').maybeSingle(), null, { status: 200 }],
    'maybeSingle by GET': [(c) => c.rpc('ret_rows', {}, { get: true }).eq('status', 'failed').maybeSingle(), rows[1]],
    'limit': [(c) => c.rpc('ret_rows').limit(1), [rows[0]]],
    'range': [(c) => c.rpc('ret_rows').range(1, 1), [rows[1]]],
    'order': [(c) => c.rpc('ret_rows').order('n').select('n'), [{ n: 1 }, { n: 2 }, { n: 3 }]],
    'order, nulls first': [(c) => c.rpc('ret_rows').order('at', { ascending: false, nullsFirst: true }).limit(1), [rows[2]]],
    'neq, gt': [(c) => c.rpc('ret_rows').neq('n', 3).gt('n', 1), [rows[2]]],
    'in': [(c) => c.rpc('ret_rows').in('status', ['failed', 'com,pleted']), [rows[1]]],
    'is': [(c) => c.rpc('ret_rows').is('at', null), [rows[2]]],
    'not': [(c) => c.rpc('ret_rows').not('at', 'is', null), [rows[0], rows[1]]],
    'or': [(c) => c.rpc('ret_rows').or('n.eq.1,and(n.gt.2,status.eq.queued)'), [rows[0], rows[1]]],
    'like, ilike': [(c) => c.rpc('ret_rows').like('status', '%e%').ilike('status', '*FAIL*'), [rows[1]]],
    'count': [(c) => c.rpc('ret_rows', {}, { count: 'exact' }).limit(1), [rows[0]], { count: 3, status: 206 }],
    'head': [(c) => c.rpc('ret_rows', {}, { head: true, count: 'exact' }), null, { count: 3 }],
    'csv': [(c) => c.rpc('ret_rows').csv(), 'status,n,at\nqueued,3,2026-11-28\nfailed,1,2026-11-27\ncompleted,2,'],
    'a table': [(c) => c.from('vibelogs').select('id').eq('user_id', 'user-1').single(), { id: '00000000-0000-4000-8000-000000000001' }],
    'an update': [(c) => c.from('things').update({ name: 'eins' }).eq('id', 1).select('name').single(), { name: 'eins' }],
  }
  for (const [name, [call, data, more]] of Object.entries(good)) {
    test(name, async () => {
      const answer = await call(user())
      assert.deepEqual({ data: answer.data, error: answer.error }, { data, error: null })
      for (const [key, value] of Object.entries(more ?? {})) assert.equal(answer[key], value, key)
    })
  }

  const bad = {
    'no such function': [() => user().rpc('namde', { a: 1 }), 404, 'PGRST202'],
    'no such column': [() => user().rpc('ret_row').select('nothing'), 400, '42703'],
    'single of three': [() => user().rpc('ret_rows').single(), 406, 'PGRST116'],
    'a PT error with all its parts': [() => user().rpc('fail', { code: 'PT402', detail: 'd', hint: 'h' }), 402, 'PT402', { details: 'd', hint: 'h', message: 'it fails with PT402' }],
    'no rights': [() => client().rpc('only_auth'), 401, '42501'],
    'an old token': [() => client({ role: 'authenticated', exp: now() - 60 }).rpc('only_auth'), 401, 'PGRST303'],
    'a schema that is not exposed': [() => user().schema('vibevideo').rpc('ret_int'), 406, 'PGRST106'],
    'HEAD of what fails': [() => user().rpc('write', { what: 'x' }, { head: true }), 405],
  }
  for (const [name, [call, status, code, more]] of Object.entries(bad)) {
    test(name, async () => {
      const answer = await call()
      assert.deepEqual([answer.status, answer.data], [status, null])
      if (code) assert.equal(answer.error.code, code)
      for (const [key, value] of Object.entries(more ?? {})) assert.equal(answer.error[key], value, key)
    })
  }
  test('abort', async () => {
    const answer = await user().rpc('nap', { seconds: 2 }).abortSignal(AbortSignal.timeout(100))
    assert.match(answer.error.message, /abort|timeout/i)
    assert.deepEqual((await user().rpc('ret_int')).data, 42)
  })
})

// ---- last, since the other stand-ins have dead connections then ---------------------------------

describe('when the database is not well', () => {
  let server
  before(async () => { server = await startEmulator('--pool', '1', '--pool-timeout-ms', '200') })
  const down = '503 PGRST001'

  test('the session is terminated in the call', async () => {
    const answer = await rpc(server, 'suicide')
    assert.equal(short(answer), down)
    assert.equal(parsed(answer.body).details, 'no connection to the server\n')
    assert.equal(parsed(answer.body).message, 'Database client error. Retrying the connection.')
    assert.deepEqual(answer.headers.find(([n]) => n === 'Retry-After'), ['Retry-After', '0'])
    assert.equal(short(await rpc(server, 'ret_int')), '200 42')
  })
  test('no free connection of the pool', async () => {
    const [slow, late] = await Promise.all([rpc(server, 'nap', { body: '{"seconds":1}' }), rpc(server, 'ret_int')])
    assert.deepEqual([short(slow), short(late)], ['200 "slept"', '504 PGRST003'])
    assert.equal(parsed(late.body).message, 'Timed out acquiring connection from connection pool.')
  })
  test('a restart: each connection of the pool says once that it has ended', async () => {
    pgCtl('restart', '-m', 'fast')
    const answer = await rpc(server, 'ret_int')
    assert.equal(short(answer), '503 57P01')
    assert.equal(parsed(answer.body).message, 'terminating connection due to administrator command')
    assert.equal(short(await rpc(server, 'ret_int')), '200 42')
  })
  test('a crash: they have nothing to say, and the server is not there', async () => {
    pgCtl('stop', '-m', 'immediate')
    const answer = await rpc(server, 'ret_int')
    assert.equal(answer.status, 400)
    assert.equal(answer.body, '{"code":"","details":null,"hint":null,"message":""}')
    assert.deepEqual(answer.headers.find(([n]) => n === 'Proxy-Status'), ['Proxy-Status', 'PostgREST; error='])
    assert.equal(short(await rpc(server, 'ret_int')), down)
    assert.equal(short(await rpc(server, 'zzzz')), '404 PGRST202')
    pgCtl('start')
    assert.equal(short(await rpc(server, 'ret_int')), '200 42')
  })
})
