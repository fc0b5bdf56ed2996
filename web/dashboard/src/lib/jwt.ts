// What a JWT says of itself. Nothing is verified here: the database does that.

export interface Claims {
  sub?: string | undefined
  email?: string | undefined
  role?: string | undefined
  exp?: number | undefined
}

/** Whoever made the token: a claim is what it is said to be, or it is not there. */
function known(claims: { [name in keyof Claims]?: unknown }): Claims {
  const text = (value: unknown) => (typeof value === 'string' ? value : undefined)
  const { sub, email, role, exp } = claims
  return { sub: text(sub), email: text(email), role: text(role), exp: typeof exp === 'number' ? exp : undefined }
}

/** The claims of a token, or null if it is none. */
export function readToken(token: string): Claims | null {
  const parts = token.split('.')
  if (parts.length !== 3) return null
  try {
    const raw = atob((parts[1] as string).replace(/-/g, '+').replace(/_/g, '/'))
    const text = new TextDecoder().decode(Uint8Array.from(raw, (c) => c.charCodeAt(0)))
    const claims: unknown = JSON.parse(text)
    return typeof claims === 'object' && claims !== null && !Array.isArray(claims) ? known(claims) : null
  } catch {
    return null
  }
}

/** Which key it is that has no business in a browser, or null if it is none. */
export function secretName(key: string): string | null {
  if (key.startsWith('sb_secret_')) return 'a secret key'
  return readToken(key)?.role === 'service_role' ? 'the service_role key' : null
}

/** Why a pasted token is not taken, or null if it is. */
export function tokenProblem(token: string, now: number): string | null {
  const secret = secretName(token)
  if (secret) return `That is ${secret}. It must never be used in a browser.`
  const claims = readToken(token)
  if (!claims) return 'That is not a JWT: it should have three parts with dots between them.'
  if (claims.exp && claims.exp * 1000 <= now) return 'That token has expired.'
  return null
}
