// A link in a mail signs in whoever opens it, and anybody can make one that signs in as himself. So a link is taken only
// where it was asked for, within an hour, and for the address that asked: else people could be led to work, unknowingly,
// in another's name.

import { readToken } from '../lib/jwt'

const KEPT = 'vibevideo.dashboard.link'
const GOOD_MS = 3_600_000

interface Asked {
  base: string
  email: string
  at: number
}

/** Notes that a link is on its way; false if this browser keeps nothing. */
export function noteLink(asked: Asked, storage?: Storage): boolean {
  try {
    const kept = storage ?? localStorage
    kept.setItem(KEPT, JSON.stringify(asked))
    return true
  } catch {
    return false
  }
}

/** Whether the session of a link, which the fragment has, was asked for here. It is so once. */
export function takeLink(fragment: URLSearchParams, base: string, now: number, storage?: Storage): boolean {
  try {
    const kept = storage ?? localStorage
    const asked = JSON.parse(kept.getItem(KEPT) ?? 'null') as Asked | null
    const claims = readToken(fragment.get('access_token') ?? '')
    if (!asked || !claims || asked.base !== base) return false
    if (claims.email?.toLowerCase() !== asked.email.toLowerCase()) return false
    kept.removeItem(KEPT)
    return now >= asked.at && now - asked.at < GOOD_MS
  } catch {
    return false
  }
}
