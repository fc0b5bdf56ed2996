// Who calls: the JWT of the Authorization header, HS256.

import { createHmac, timingSafeEqual } from 'node:crypto'
import { ApiError } from './rest-errors.mjs'

const LEEWAY = 30 // seconds

function refuse(code, message, details = null) {
  return new ApiError(401, code, message, {
    details, headers: [['WWW-Authenticate', `Bearer error="invalid_token", error_description="${message}"`]] })
}

function parsePart(part) {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
  } catch {
    return undefined
  }
}

function checkSignature([head, claims, signature], secret) {
  const { alg } = parsePart(head) ?? {}
  if (alg === undefined) throw refuse('PGRST301', 'JWT cryptographic operation failed')
  if (alg === 'none') {
    throw refuse('PGRST301', 'Wrong or unsupported encoding algorithm', "JWT is unsecured but expected 'alg' was not 'none'")
  }
  const given = Buffer.from(signature, 'base64url')
  const wanted = createHmac('sha256', secret).update(`${head}.${claims}`).digest()
  if (alg !== 'HS256' || given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
    throw refuse('PGRST301', 'No suitable key or wrong key type', 'None of the keys was able to decode the JWT')
  }
}

function checkClaims(claims, audience) {
  const now = Date.now() / 1000
  for (const name of ['exp', 'nbf', 'iat']) {
    if (claims[name] !== undefined && typeof claims[name] !== 'number') throw refuse('PGRST303', `The JWT '${name}' claim must be a number`)
  }
  if (claims.exp < now - LEEWAY) throw refuse('PGRST303', 'JWT expired')
  if (claims.nbf > now + LEEWAY) throw refuse('PGRST303', 'JWT not yet valid')
  if (claims.iat > now + LEEWAY) throw refuse('PGRST303', 'JWT issued at future')
  const meant = [claims.aud ?? []].flat()
  if (audience && meant.length && !meant.includes(audience)) throw refuse('PGRST303', 'JWT not in audience')
}

// Numbers as they are written: an id may have more digits than a double.
const NUMBER_OR_STRING = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

/** The claims with the role, keys sorted, as text. */
function claimsText(json, role) {
  const kept = json.replace(NUMBER_OR_STRING, (token) => (token[0] === '"' ? token : `"\u0000${token}"`))
  const sorted = (value) => {
    if (value === null || typeof value !== 'object') return value
    if (Array.isArray(value)) return value.map(sorted)
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]))
  }
  return JSON.stringify(sorted({ ...JSON.parse(kept.replaceAll('\u0000', '\\u0000')), role })).replace(/"\\u0000([^"]*)"/g, '$1')
}

/** { role, claims: text }; path: where the role is, as ".app.role". */
export function authenticate(header, { jwtSecret, anonRole, roleClaimKey, audience }) {
  const bearer = /^bearer(?: +(.*))?$/is.exec(header ?? '')
  const anonymous = (claims) => {
    if (!anonRole) throw new ApiError(401, 'PGRST302', 'Anonymous access is disabled')
    return { role: anonRole, claims: claimsText(claims, anonRole) }
  }
  if (!bearer) return anonymous('{}')
  const token = bearer[1]
  if (!token) throw refuse('PGRST301', 'Empty JWT is sent in Authorization header')
  const parts = token.split('.')
  if (parts.length !== 3) throw refuse('PGRST301', `Expected 3 parts in JWT; got ${parts.length}`)
  checkSignature(parts, jwtSecret)
  const claims = parsePart(parts[1])
  checkClaims(claims, audience)
  const role = roleClaimKey.split('.').filter(Boolean).reduce((value, key) => value?.[key], claims)
  const text = Buffer.from(parts[1], 'base64url').toString('utf8')
  return typeof role === 'string' ? { role, claims: claimsText(text, role) } : anonymous(text)
}
