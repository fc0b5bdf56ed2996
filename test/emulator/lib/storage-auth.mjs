// Tokens: HS256 JWTs as the server checks them (http/plugins/jwt.ts, library
// jose), and the key translation of the API gateway in front of it.

import { createHmac, timingSafeEqual } from 'node:crypto'
import { errors } from './storage-http.mjs'

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
const nowSeconds = () => Math.floor(Date.now() / 1000)

function hmac(secret, text) {
  return createHmac('sha256', secret).update(text).digest()
}

export function signJwt(claims, secret, header = { alg: 'HS256' }) {
  const text = `${encode(header)}.${encode(claims)}`
  return `${text}.${hmac(secret, text).toString('base64url')}`
}

export function signFor(seconds, claims, secret) {
  const iat = nowSeconds()
  return signJwt({ ...claims, iat, exp: iat + seconds }, secret)
}

export function mintRoleKeys(secret) {
  const header = { alg: 'HS256', typ: 'JWT' }
  const key = (role, exp) => signJwt({ role, iss: 'supabase', iat: 1700000000, exp }, secret, header)
  return {
    service_jwt: key('service_role', 4102444800),
    anon_jwt: key('anon', 4102444800),
    expired_jwt: key('service_role', 1700003600),
  }
}

function parseSegment(segment) {
  try {
    return JSON.parse(Buffer.from(segment, 'base64url').toString())
  } catch {
    return undefined
  }
}

// Throws Error with jose's message; callers choose the code around it.
export function verifyJwt(token, secret) {
  const parts = token.split('.')
  if (parts.length !== 3) throw new Error('Invalid Compact JWS')
  const header = parseSegment(parts[0])
  if (!header || typeof header !== 'object' || typeof header.alg !== 'string') {
    throw new Error('JWS Protected Header is invalid')
  }
  if (header.alg !== 'HS256') throw new Error('"alg" (Algorithm) Header Parameter value not allowed')
  const given = Buffer.from(parts[2], 'base64url')
  const wanted = hmac(secret, `${parts[0]}.${parts[1]}`)
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) throw new Error('signature verification failed')
  return checkClaims(parseSegment(parts[1]))
}

function checkClaims(claims) {
  if (!claims || typeof claims !== 'object') throw new Error('JWT Claims Set must be a top-level JSON object')
  if (claims.exp !== undefined && claims.exp <= nowSeconds()) throw new Error('"exp" claim timestamp check failed')
  if (claims.nbf !== undefined && claims.nbf > nowSeconds()) throw new Error('"nbf" claim timestamp check failed')
  return claims
}

// The schema asks for the header before the token is looked at; `Bearer ` is optional.
export function authenticate(ctx) {
  const header = ctx.headers.authorization
  if (header === undefined) throw errors.noAuthorization()
  try {
    ctx.claims = verifyJwt(header.replace(/^Bearer\s+/i, ''), ctx.emu.config.jwtSecret)
  } catch (e) {
    throw errors.accessDenied(e.message)
  }
  return ctx.claims
}

// Reading from a public bucket works without or with a broken token.
export function authenticateLoosely(ctx) {
  try {
    return authenticate(ctx)
  } catch {
    return undefined
  }
}

// No policies exist on the tables: only service_role (bypassrls) and roles the
// test lists may see or write rows.
export function bypassesRowSecurity(ctx) {
  const role = ctx.claims?.role
  return role === 'service_role' || ctx.emu.config.rlsAllow.includes(role)
}

export function verifySignedToken(ctx, token, scope, path) {
  let claims
  try {
    claims = verifyJwt(token ?? '', ctx.emu.config.jwtSecret)
  } catch (e) {
    throw errors.invalidJwt(e.message)
  }
  if (claims.scope !== scope) throw errors.invalidSignature(`Token is not scoped for ${scope}`)
  if (claims.url !== path) throw errors.invalidSignature()
  return claims
}

// The gateway's expression (supabase/supabase docker/volumes/api/kong.yml): keep
// a real Authorization, else exchange a known sb_ key, else copy apikey as it is.
export function translateKeys(headers, { serviceKey, publishableKey, serviceJwt, anonJwt }) {
  const { authorization, apikey } = headers
  if (authorization !== undefined && !authorization.startsWith('Bearer sb_')) return
  if (apikey === undefined) return
  if (apikey === serviceKey) headers.authorization = `Bearer ${serviceJwt}`
  else if (apikey === publishableKey) headers.authorization = `Bearer ${anonJwt}`
  else headers.authorization = apikey
}
