// Is the stand-in of Supabase Auth honest? The official client must be content with
// it, and errors must have the shapes that the server's source gives them.

import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { AuthClient } from '@supabase/auth-js'

const SECRET = 'super-secret-jwt-token-with-at-least-32-characters-long'
const PERSON = { id: '0d000000-0000-4000-8000-00000000000a', email: 'ann@example.com', password: 'correct horse', name: 'Ann' }

async function startEmulator(name, ...args) {
  const path = fileURLToPath(new URL(`../emulator/${name}.mjs`, import.meta.url))
  const child = spawn(process.execPath, [path, '--exit-with-stdin', ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [line] = await once(createInterface(child.stdout), 'line')
  return { ...JSON.parse(line), child }
}

async function stopEmulator({ child }) {
  child.stdin.end()
  if (child.exitCode === null) await once(child, 'exit')
}

const startAuth = (...args) => startEmulator('auth', '--user', JSON.stringify(PERSON), ...args)

async function ctl(emu, method, path, body) {
  const answer = await fetch(`${emu.url}/_ctl/${path}`, { method, body: body && JSON.stringify(body) })
  assert.equal(answer.status, 200)
  return answer.json()
}

function memory() {
  const items = new Map()
  return { getItem: (k) => items.get(k) ?? null, setItem: (k, v) => { items.set(k, v) }, removeItem: (k) => { items.delete(k) } }
}

const client = (emu, options = {}) => new AuthClient({ url: emu.url, autoRefreshToken: false, persistSession: true, storage: memory(), ...options })

async function logIn(emu, options) {
  const auth = client(emu, options)
  const { data, error } = await auth.signInWithPassword(PERSON)
  assert.equal(error, null)
  return { auth, session: data.session }
}

const failed = ({ error }) => `${error?.status} ${error?.code} ${error?.message}`
const claimsOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))
const signed = (claims, secret = SECRET) => {
  const text = [{ alg: 'HS256', typ: 'JWT' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
}

describe('logging in', () => {
  let emu
  before(async () => { emu = await startAuth('--mail-interval-ms', '0') })
  after(() => stopEmulator(emu))

  test('by password: a session, whose token PostgREST and Storage believe', async () => {
    const { session } = await logIn(emu)
    assert.equal(session.token_type, 'bearer')
    assert.equal(session.expires_in, 3600)
    assert.match(session.refresh_token, /^[a-z0-9]{12}$/)
    assert.equal(session.user.email, PERSON.email)
    assert.equal(session.user.user_metadata.name, 'Ann')
    const [head, claims, signature] = session.access_token.split('.')
    assert.equal(signature, createHmac('sha256', SECRET).update(`${head}.${claims}`).digest('base64url'))
    const { sub, role, aud, exp, iat, session_id: id } = claimsOf(session.access_token)
    assert.deepEqual([sub, role, aud, exp - iat], [PERSON.id, 'authenticated', 'authenticated', 3600])
    assert.match(id, /^[0-9a-f-]{36}$/)
  })
  test('a wrong password, a stranger, and no address', async () => {
    const refused = '400 invalid_credentials Invalid login credentials'
    assert.equal(failed(await client(emu).signInWithPassword({ email: PERSON.email, password: 'wrong' })), refused)
    assert.equal(failed(await client(emu).signInWithPassword({ email: 'nobody@example.com', password: 'wrong' })), refused)
    assert.equal(failed(await client(emu).signInWithPassword({ email: '', password: 'wrong' })), '400 validation_failed missing email or phone')
  })
  test('by the code of a mail, once', async () => {
    const auth = client(emu)
    assert.equal((await auth.signInWithOtp({ email: PERSON.email, options: { shouldCreateUser: false } })).error, null)
    const mail = (await ctl(emu, 'GET', 'mails')).at(-1)
    assert.equal(mail.to, PERSON.email)
    assert.equal(failed(await auth.verifyOtp({ email: PERSON.email, token: '000000', type: 'email' })), '403 otp_expired Token has expired or is invalid')
    const { data } = await auth.verifyOtp({ email: PERSON.email, token: mail.code, type: 'email' })
    assert.equal(data.user.id, PERSON.id)
    assert.equal(failed(await auth.verifyOtp({ email: PERSON.email, token: mail.code, type: 'email' })), '403 otp_expired Token has expired or is invalid')
  })
  test('by the hash of a mail', async () => {
    const auth = client(emu)
    await auth.signInWithOtp({ email: PERSON.email })
    const { token_hash: hash } = (await ctl(emu, 'GET', 'mails')).at(-1)
    const { data } = await auth.verifyOtp({ token_hash: hash, type: 'email' })
    assert.equal(data.session.user.id, PERSON.id)
    assert.equal(failed(await auth.verifyOtp({ token_hash: hash, type: 'email' })), '403 otp_expired Email link is invalid or has expired')
  })
  test('by the link of a mail: back to the page, with the session or what is wrong in the fragment', async () => {
    const auth = client(emu)
    await auth.signInWithOtp({ email: PERSON.email, options: { emailRedirectTo: 'http://127.0.0.1:8000/page?apikey=x' } })
    const { link } = (await ctl(emu, 'GET', 'mails')).at(-1)
    const answer = await fetch(link, { redirect: 'manual' })
    assert.equal(answer.status, 303)
    const to = new URL(answer.headers.get('location'))
    assert.equal(to.href.split('#')[0], 'http://127.0.0.1:8000/page?apikey=x')
    const said = new URLSearchParams(to.hash.slice(1))
    assert.deepEqual([...said.keys()].sort(), ['access_token', 'expires_at', 'expires_in', 'refresh_token', 'sb', 'token_type', 'type'])
    const { data } = await auth.setSession({ access_token: said.get('access_token'), refresh_token: said.get('refresh_token') })
    assert.equal(data.user.id, PERSON.id)
    const again = new URL((await fetch(link, { redirect: 'manual' })).headers.get('location'))
    assert.equal(new URLSearchParams(again.hash.slice(1)).get('error_code'), 'otp_expired')
  })
  test('by the link of a mail, with PKCE: a code for whoever asked', async () => {
    const auth = client(emu, { flowType: 'pkce' })
    await auth.signInWithOtp({ email: PERSON.email, options: { emailRedirectTo: 'http://localhost:3000/' } })
    const { link, token_hash: hash } = (await ctl(emu, 'GET', 'mails')).at(-1)
    assert.match(hash, /^pkce_/)
    const to = new URL((await fetch(link, { redirect: 'manual' })).headers.get('location'))
    assert.equal(to.hash, '')
    const { error: stolen } = await client(emu, { flowType: 'pkce' }).exchangeCodeForSession(to.searchParams.get('code'))
    assert.ok(stolen, 'it is of no use to another')
    const { data, error } = await auth.exchangeCodeForSession(to.searchParams.get('code'))
    assert.equal(error, null)
    assert.equal(data.user.id, PERSON.id)
  })
  test('a mail goes nowhere else', async () => {
    await client(emu).signInWithOtp({ email: PERSON.email, options: { emailRedirectTo: 'https://evil.example/' } })
    assert.match((await ctl(emu, 'GET', 'mails')).at(-1).link, /redirect_to=http%3A%2F%2Flocalhost%3A3000$/)
  })
  test('a stranger gets no mail', async () => {
    const answer = await client(emu).signInWithOtp({ email: 'nobody@example.com', options: { shouldCreateUser: false } })
    assert.equal(failed(answer), '422 otp_disabled Signups not allowed for otp')
    assert.equal(failed(await client(emu).signInWithOtp({ email: 'no address' })), '400 validation_failed Unable to validate email address: invalid format')
  })
  test('not more mails than so many', async () => {
    await ctl(emu, 'POST', 'settings', { mailIntervalMs: 60000 })
    await client(emu).signInWithOtp({ email: PERSON.email })
    assert.match(failed(await client(emu).signInWithOtp({ email: PERSON.email })),
      /^429 over_email_send_rate_limit For security purposes, you can only request this after \d\d seconds\.$/)
  })
})

describe('sessions', () => {
  let emu
  before(async () => { emu = await startAuth() })
  after(() => stopEmulator(emu))

  test('refreshing: a new token, of the same session', async () => {
    const { auth, session } = await logIn(emu)
    const { data } = await auth.refreshSession()
    assert.notEqual(data.session.refresh_token, session.refresh_token)
    assert.equal(claimsOf(data.session.access_token).session_id, claimsOf(session.access_token).session_id)
  })
  test('a refresh token is good again while nobody has used what came of it, then not', async () => {
    await ctl(emu, 'POST', 'settings', { reuseIntervalMs: -1 })
    const { session } = await logIn(emu)
    const refresh = (token) => client(emu).refreshSession({ refresh_token: token })
    const { data: { session: second } } = await refresh(session.refresh_token)
    assert.equal((await refresh(session.refresh_token)).data.session.refresh_token, second.refresh_token)
    assert.equal((await refresh(second.refresh_token)).error, null)
    assert.equal(failed(await refresh(session.refresh_token)), '400 refresh_token_already_used Invalid Refresh Token: Already Used')
    assert.equal(failed(await refresh(second.refresh_token)), '400 refresh_token_not_found Invalid Refresh Token: Refresh Token Not Found')
    assert.equal(failed(await refresh('zzz')), '400 validation_failed Refresh token is not valid')
  })
  test('who am I', async () => {
    const { auth } = await logIn(emu)
    const { data } = await auth.getUser()
    assert.deepEqual([data.user.id, data.user.role, data.user.aud], [PERSON.id, 'authenticated', 'authenticated'])
    const of = (claims, secret) => client(emu).getUser(signed({ sub: PERSON.id, exp: Date.now() / 1000 + 60, ...claims }, secret))
    const bad = '403 bad_jwt invalid JWT: unable to parse or verify signature,'
    assert.equal((await of({})).data.user.id, PERSON.id)
    assert.equal(failed(await of({ exp: 1 })), `${bad} token has invalid claims: token is expired`)
    assert.equal(failed(await of({}, 'another')), `${bad} token signature is invalid: signature is invalid`)
    assert.equal(failed(await client(emu).getUser('x.y')), `${bad} token is malformed: token contains an invalid number of segments`)
    assert.equal(failed(await of({ sub: '0d000000-0000-4000-8000-00000000000b' })), '403 user_not_found User from sub claim in JWT does not exist')
  })
  test('logging out: this session, the others, or all', async () => {
    const [a, b, c] = [await logIn(emu), await logIn(emu), await logIn(emu)]
    const alive = async ({ session }) => (await client(emu).getUser(session.access_token)).error === null
    const everybody = async () => [await alive(a), await alive(b), await alive(c)]
    assert.equal((await a.auth.signOut({ scope: 'local' })).error, null)
    assert.deepEqual(await everybody(), [false, true, true])
    await b.auth.signOut({ scope: 'others' })
    assert.deepEqual(await everybody(), [false, true, false])
    await b.auth.signOut()
    assert.deepEqual(await everybody(), [false, false, false])
    const { error } = await client(emu).getUser(b.session.access_token)
    assert.equal(error.name, 'AuthSessionMissingError')
    assert.equal((await client(emu).refreshSession({ refresh_token: b.session.refresh_token })).error.code, 'refresh_token_not_found')
  })
})

describe('on the wire', () => {
  let emu
  let gateway
  const KEY = 'sb_publishable_emulatoremulatoremulat_00000000'
  before(async () => {
    emu = await startAuth()
    gateway = await startEmulator('gateway', '--auth', emu.url, '--rest', emu.url, '--storage', emu.url)
  })
  after(async () => { await stopEmulator(gateway); await stopEmulator(emu) })

  const wrong = (url, headers) => fetch(`${url}/token?grant_type=password`, {
    method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify({ email: PERSON.email, password: 'x' }) })

  test('errors have one shape for clients that name a version, another for those before', async () => {
    const newer = await wrong(emu.url, { 'x-supabase-api-version': '2024-01-01' })
    assert.equal(newer.headers.get('x-supabase-api-version'), '2024-01-01')
    assert.equal(newer.headers.get('x-sb-error-code'), 'invalid_credentials')
    assert.equal(await newer.text(), '{"code":"invalid_credentials","message":"Invalid login credentials"}')
    const older = await wrong(emu.url, {})
    assert.equal(older.headers.get('x-supabase-api-version'), null)
    assert.equal(await older.text(), '{"code":400,"error_code":"invalid_credentials","msg":"Invalid login credentials"}')
  })
  test('behind the gateway a key is wanted, but not by the links of mails', async () => {
    const auth = `${gateway.url}/auth/v1`
    assert.equal((await wrong(auth, {})).status, 401)
    assert.equal((await wrong(auth, { apikey: 'sb_publishable_wrong' })).status, 401)
    assert.equal((await wrong(auth, { apikey: KEY })).status, 400)
    assert.equal((await fetch(`${auth}/verify?token=x&type=magiclink`, { redirect: 'manual' })).status, 303)
  })
  test('a page of another origin may ask', async () => {
    const asked = { origin: 'null', 'access-control-request-method': 'POST', 'access-control-request-headers': 'apikey,content-type,x-client-info' }
    const preflight = await fetch(`${gateway.url}/auth/v1/token?grant_type=password`, { method: 'OPTIONS', headers: asked })
    assert.equal(preflight.status, 200)
    assert.equal(preflight.headers.get('access-control-allow-origin'), '*')
    assert.equal(preflight.headers.get('access-control-allow-headers'), asked['access-control-request-headers'])
    assert.equal((await wrong(`${gateway.url}/auth/v1`, { apikey: KEY, origin: 'null' })).headers.get('access-control-allow-origin'), '*')
  })
})
