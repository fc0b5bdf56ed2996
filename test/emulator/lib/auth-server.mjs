// Users, their sessions and tokens, and what is answered to whom (GoTrue's
// internal/api/token.go, otp.go, magic_link.go, verify.go, logout.go, user.go, auth.go,
// internal/tokens/service.go).

import { createHash, createHmac, randomInt, randomUUID, timingSafeEqual } from 'node:crypto'
import { AuthError } from './auth-errors.mjs'
import { signJwt } from './storage-auth.mjs'

const AUDIENCE = 'authenticated'
const OTP_EXPIRES_MS = 3600 * 1000
const PROVIDERS = ['anonymous_users', 'apple', 'azure', 'bitbucket', 'discord', 'facebook', 'snapchat', 'figma', 'fly', 'github', 'gitlab', 'google',
  'keycloak', 'kakao', 'linkedin', 'linkedin_oidc', 'notion', 'spotify', 'slack', 'slack_oidc', 'workos', 'twitch', 'twitter', 'email', 'phone', 'zoom']
const SETTINGS = { external: Object.fromEntries(PROVIDERS.map((name) => [name, name === 'email'])), disable_signup: true, mailer_autoconfirm: false,
  phone_autoconfirm: false, sms_provider: '', saml_enabled: false, saml_private_key_next_configured: false, passkeys_enabled: false }
const refuse = (status, code, message) => { throw new AuthError(status, code, message) }
const ok = (body, headers) => ({ status: 200, body, headers })
const now = () => new Date().toISOString()
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789'
const newRefreshToken = () => Array.from({ length: 12 }, () => ALPHABET[randomInt(ALPHABET.length)]).join('')
const tokenHash = (email, otp) => createHash('sha224').update(email + otp).digest('hex')

function readPart(part) {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
  } catch {
    return undefined
  }
}

/** What is wrong with a token, in the words of its parser, or its claims. */
function verify(token, secret) {
  const bad = (why) => refuse(403, 'bad_jwt', `invalid JWT: unable to parse or verify signature, ${why}`)
  const parts = token.split('.')
  if (parts.length !== 3) bad('token is malformed: token contains an invalid number of segments')
  if (readPart(parts[0])?.alg !== 'HS256') bad('token is unverifiable: error while executing keyfunc: unrecognized JWT kid <nil> for algorithm none')
  const given = Buffer.from(parts[2], 'base64url')
  const wanted = createHmac('sha256', secret).update(`${parts[0]}.${parts[1]}`).digest()
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) bad('token signature is invalid: signature is invalid')
  const claims = readPart(parts[1]) ?? {}
  if (claims.exp !== undefined && claims.exp < Date.now() / 1000) bad('token has invalid claims: token is expired')
  return claims
}

export class AuthServer {
  constructor(settings) {
    this.settings = settings
    this.users = new Map()
    this.sessions = new Map()
    this.refreshTokens = new Map()
    this.flows = new Map()
    this.mails = []
    this.ledger = {}
  }

  addUser({ email, password = null, id = randomUUID(), name }) {
    const at = now()
    const user = { id, email: email.toLowerCase(), password, createdAt: at, updatedAt: at, lastSignInAt: null, recovery: null,
      metadata: { email_verified: true, ...(name ? { name } : {}) } }
    this.users.set(user.email, user)
    return user
  }

  endSessions(email) {
    const user = this.users.get(email)
    for (const session of this.sessions.values()) if (session.user === user) this.#end(session)
  }

  // -- routing

  handle(request) {
    const { method, url } = request
    const route = `${method} ${url.pathname.replace(/\/$/, '')}`
    const routes = {
      'POST /token': () => this.#token(request), 'POST /otp': () => this.#otp(request), 'POST /verify': () => this.#verifyPost(request),
      'GET /verify': () => this.#verifyGet(request), 'POST /logout': () => this.#logout(request), 'GET /user': () => this.#getUser(request),
      'PUT /user': () => this.#putUser(request),
      'GET /health': () => ok({ version: 'vunspecified', name: 'GoTrue', description: 'GoTrue is a user registration and authentication API' }),
      'GET /settings': () => ok(SETTINGS),
      // with a symmetric secret there is no key to publish
      'GET /.well-known/jwks.json': () => ok({ keys: [] }),
    }
    const what = route === 'POST /token' ? `${route} ${url.searchParams.get('grant_type')}` : route
    this.ledger[what] = (this.ledger[what] ?? 0) + 1
    if (!routes[route]) refuse(404, 'unknown', '404 page not found')
    return routes[route]()
  }

  #token({ url, body }) {
    switch (url.searchParams.get('grant_type')) {
      case 'password': return this.#byPassword(body)
      case 'refresh_token': return this.#refresh(body)
      case 'pkce': return this.#byCode(body)
      default: return refuse(400, 'invalid_credentials', 'unsupported_grant_type')
    }
  }

  // -- logging in

  #byPassword({ email, password }) {
    if (!email) refuse(400, 'validation_failed', 'missing email or phone')
    const user = this.users.get(email.toLowerCase())
    if (!user || user.password === null || user.password !== password) refuse(400, 'invalid_credentials', 'Invalid login credentials')
    return ok(this.#open(user, 'password'))
  }

  #checkEmail(email) {
    if (!/^[^\s@]+@[^\s@]+$/.test(email)) refuse(400, 'validation_failed', 'Unable to validate email address: invalid format')
    return email.toLowerCase()
  }

  /** Nobody learns by it whether there is such a user, unless users are made by it, which is not played. */
  #otp({ url, body }) {
    const { email, create_user: create = true, code_challenge: challenge } = body
    if (!email) refuse(400, 'validation_failed', 'One of email or phone must be set')
    const user = this.users.get(this.#checkEmail(email))
    if (!user && !create) refuse(422, 'otp_disabled', 'Signups not allowed for otp')
    if (!user) refuse(422, 'signup_disabled', 'Signups not allowed for this instance')
    const wait = user.recovery ? user.recovery.sentAt + this.settings.mailIntervalMs - Date.now() : 0
    if (wait > 0) refuse(429, 'over_email_send_rate_limit', `For security purposes, you can only request this after ${Math.floor(wait / 1000)} seconds.`)
    this.#mail(user, url.searchParams.get('redirect_to'), challenge)
    return ok({})
  }

  #mail(user, redirectTo, challenge) {
    const otp = String(randomInt(1000000)).padStart(6, '0')
    const hash = `${challenge ? 'pkce_' : ''}${tokenHash(user.email, otp)}`
    user.recovery = { hash, sentAt: Date.now(), challenge }
    const back = this.#redirect(redirectTo)
    const query = new URLSearchParams({ token: hash, type: 'magiclink', redirect_to: back })
    this.mails.push({ to: user.email, at: now(), code: otp, token_hash: hash, link: `${this.settings.externalUrl}/verify?${query}` })
  }

  /** An address of the site, or of this machine; else the site itself. */
  #redirect(wanted) {
    const site = new URL(this.settings.siteUrl)
    if (!URL.canParse(wanted ?? '')) return this.settings.siteUrl
    const { hostname, protocol, port } = new URL(wanted)
    const isSite = hostname === site.hostname && protocol === site.protocol && (port === site.port || hostname === 'localhost')
    return isSite || /^127\./.test(hostname) || hostname === '[::1]' ? wanted : this.settings.siteUrl
  }

  #useRecovery(found, message) {
    const user = [...this.users.values()].find(found)
    if (!user?.recovery || user.recovery.sentAt + OTP_EXPIRES_MS < Date.now()) refuse(403, 'otp_expired', message)
    const { challenge } = user.recovery
    user.recovery = null
    return { user, challenge }
  }

  #byHash(hash) {
    return this.#useRecovery((user) => user.recovery?.hash === hash, 'Email link is invalid or has expired')
  }

  #verifyPost({ body }) {
    const { type, token, token_hash: hash, email } = body
    if (!type) refuse(400, 'validation_failed', 'Verify requires a verification type')
    if (!token === !hash) refuse(400, 'validation_failed', 'Verify requires either a token or a token hash')
    if (!['email', 'magiclink'].includes(type)) refuse(400, 'validation_failed', 'Unsupported verification type')
    if (hash) return ok(this.#open(this.#byHash(hash).user, 'otp'))
    if (!email) refuse(400, 'validation_failed', 'Only an email address or phone number should be provided on verify')
    const sent = tokenHash(email.toLowerCase(), token)
    const { user } = this.#useRecovery((u) => u.email === email.toLowerCase() && u.recovery?.hash.replace(/^pkce_/, '') === sent,
      'Token has expired or is invalid')
    return ok(this.#open(user, 'otp'))
  }

  /** The link of a mail: back to the page, with the session in the fragment, or a code for it. */
  #verifyGet({ url }) {
    const [token, type] = ['token', 'type'].map((name) => url.searchParams.get(name))
    if (!type) refuse(400, 'validation_failed', 'Verify requires a verification type')
    if (!token) refuse(400, 'validation_failed', 'Verify requires a token or a token hash')
    const back = this.#redirect(url.searchParams.get('redirect_to'))
    const goTo = (location) => ({ status: 303, headers: { location } })
    let found
    try {
      found = this.#byHash(token)
    } catch (e) {
      return goTo(this.#withError(back, e, token.startsWith('pkce_')))
    }
    if (found.challenge) {
      const code = randomUUID()
      this.flows.set(code, found)
      const to = new URL(back)
      to.searchParams.set('code', code)
      return goTo(to.href)
    }
    const session = this.#open(found.user, 'otp')
    const fragment = new URLSearchParams({ access_token: session.access_token, expires_at: session.expires_at, expires_in: session.expires_in,
      refresh_token: session.refresh_token, sb: '', token_type: session.token_type, type })
    return goTo(`${back}#${fragment}`)
  }

  #withError(back, { status, code, message }, inQuery) {
    const said = { ...(status === 403 ? { error: 'access_denied' } : {}), error_code: code, error_description: message }
    const to = new URL(back)
    if (inQuery) Object.entries(said).forEach(([name, value]) => to.searchParams.set(name, value))
    to.hash = new URLSearchParams({ ...said, sb: '' }).toString()
    return to.href
  }

  #byCode({ auth_code: code, code_verifier: verifier }) {
    if (!code || !verifier) refuse(400, 'validation_failed', 'invalid request: both auth code and code verifier should be non-empty')
    const flow = this.flows.get(code)
    if (!flow) refuse(404, 'flow_state_not_found', 'invalid flow state, no valid flow state found')
    const hashed = createHash('sha256').update(verifier).digest('base64url')
    if (hashed !== flow.challenge && verifier !== flow.challenge) {
      refuse(400, 'bad_code_verifier', 'code challenge does not match previously saved code verifier')
    }
    this.flows.delete(code)
    return ok(this.#open(flow.user, 'magiclink'))
  }

  // -- sessions

  #open(user, method) {
    const session = { id: randomUUID(), user, amr: [{ method, timestamp: Math.floor(Date.now() / 1000) }], refreshToken: null }
    user.lastSignInAt = now()
    user.updatedAt = user.lastSignInAt
    this.sessions.set(session.id, session)
    return this.#issue(session)
  }

  #end(session) {
    this.sessions.delete(session.id)
    for (const [token, { session: owner }] of this.refreshTokens) if (owner === session) this.refreshTokens.delete(token)
  }

  #issue(session, keepToken = false) {
    const { user } = session
    const { jwtExp, jwtSecret, externalUrl } = this.settings
    const iat = Math.floor(Date.now() / 1000)
    if (!keepToken) {
      const token = newRefreshToken()
      this.refreshTokens.set(token, { session, parent: session.refreshToken, revokedAt: null })
      session.refreshToken = token
    }
    const accessToken = signJwt({
      iss: externalUrl, sub: user.id, aud: AUDIENCE, exp: iat + jwtExp, iat, email: user.email, phone: '',
      app_metadata: { provider: 'email', providers: ['email'] }, user_metadata: user.metadata, role: 'authenticated',
      aal: 'aal1', amr: session.amr, session_id: session.id, is_anonymous: false,
    }, jwtSecret, { alg: 'HS256', typ: 'JWT' })
    return { access_token: accessToken, token_type: 'bearer', expires_in: jwtExp, expires_at: iat + jwtExp,
      refresh_token: session.refreshToken, user: this.#describe(user) }
  }

  /** A token that was used may be used again for a moment, or if nobody has used what came of it. */
  #refresh({ refresh_token: token = '' }) {
    if (!/^[a-z0-9]{12}$/.test(token)) refuse(400, 'validation_failed', 'Refresh token is not valid')
    const found = this.refreshTokens.get(token)
    if (!found) refuse(400, 'refresh_token_not_found', 'Invalid Refresh Token: Refresh Token Not Found')
    const { session } = found
    if (found.revokedAt === null) {
      found.revokedAt = Date.now()
      return ok(this.#issue(session))
    }
    if (this.refreshTokens.get(session.refreshToken).parent === token) return ok(this.#issue(session, true))
    if (Date.now() <= found.revokedAt + this.settings.reuseIntervalMs) return ok(this.#issue(session))
    this.#end(session)
    return refuse(400, 'refresh_token_already_used', 'Invalid Refresh Token: Already Used')
  }

  // -- who is logged in

  #authenticate({ headers }) {
    const token = /^(?:B|b)earer (\S+$)/.exec(headers.authorization ?? '')?.[1]
    if (!token) refuse(401, 'no_authorization', 'This endpoint requires a valid Bearer token')
    const claims = verify(token, this.settings.jwtSecret)
    if (!claims.sub) refuse(403, 'bad_jwt', 'invalid claim: missing sub claim')
    const user = [...this.users.values()].find(({ id }) => id === claims.sub)
    if (!user) refuse(403, 'user_not_found', 'User from sub claim in JWT does not exist')
    const session = this.sessions.get(claims.session_id)
    if (claims.session_id && !session) refuse(403, 'session_not_found', 'Session from session_id claim in JWT does not exist')
    return { user, session }
  }

  #logout(request) {
    const scope = request.url.searchParams.get('scope') || 'global'
    const { user, session } = this.#authenticate(request)
    if (!['global', 'local', 'others'].includes(scope)) refuse(400, 'validation_failed', `Unsupported logout scope "${scope}"`)
    for (const other of [...this.sessions.values()]) {
      if (other.user !== user) continue
      if (scope === 'global' || !session || (scope === 'local') === (other === session)) this.#end(other)
    }
    return { status: 204 }
  }

  #getUser(request) {
    return ok(this.#describe(this.#authenticate(request).user))
  }

  #putUser(request) {
    const { user } = this.#authenticate(request)
    const { password, data } = request.body
    if (password !== undefined) user.password = password
    if (data) Object.assign(user.metadata, data)
    user.updatedAt = now()
    return ok(this.#describe(user))
  }

  #describe(user) {
    const { id, email, createdAt, updatedAt } = user
    const identity = { identity_id: id, id, user_id: id, identity_data: { email, email_verified: true, phone_verified: false, sub: id },
      provider: 'email', last_sign_in_at: createdAt, created_at: createdAt, updated_at: createdAt, email }
    return { id, aud: AUDIENCE, role: 'authenticated', email, email_confirmed_at: createdAt, phone: '',
      ...(user.recovery ? { recovery_sent_at: new Date(user.recovery.sentAt).toISOString() } : {}), confirmed_at: createdAt,
      ...(user.lastSignInAt ? { last_sign_in_at: user.lastSignInAt } : {}), app_metadata: { provider: 'email', providers: ['email'] },
      user_metadata: user.metadata, identities: [identity], created_at: createdAt, updated_at: updatedAt, is_anonymous: false }
  }
}
