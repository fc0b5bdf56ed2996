// What a JWT says of itself. Nothing is verified here: the database does that.

export interface Claims {
  sub?: string
  email?: string
  role?: string
  exp?: number
}

/** The claims of a token, or null if it is none. */
export function readToken(token: string): Claims | null {
  const parts = token.split('.')
  if (parts.length !== 3) return null
  try {
    const raw = atob((parts[1] as string).replace(/-/g, '+').replace(/_/g, '/'))
    const text = new TextDecoder().decode(Uint8Array.from(raw, (c) => c.charCodeAt(0)))
    const claims: unknown = JSON.parse(text)
    return typeof claims === 'object' && claims !== null && !Array.isArray(claims) ? (claims as Claims) : null
  } catch {
    return null
  }
}

/** Why a pasted token is not taken, or null if it is. */
export function tokenProblem(token: string, now: number): string | null {
  if (token.startsWith('sb_secret_')) return 'That is a secret key. It must never be used in a browser.'
  const claims = readToken(token)
  if (!claims) return 'That is not a JWT: it should have three parts with dots between them.'
  if (claims.role === 'service_role') return 'That is the service_role key. It must never be used in a browser.'
  if (claims.exp && claims.exp * 1000 <= now) return 'That token has expired.'
  return null
}
