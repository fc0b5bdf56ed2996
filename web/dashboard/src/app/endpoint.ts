// Where the API is: beside this page if the database has served it, else as the fragment says.

export interface Endpoint {
  /** …/rest/v1 */
  base: string
  /** …/auth/v1 */
  auth: string
  apikey: string | null
  /** the page came from this API */
  own: boolean
}

const KEPT = 'vibevideo.dashboard.api'
const OWN_PATH = /\/rpc\/vibevideo_dashboard$/

/** Supabase has both under one address; elsewhere the sign-in service is looked for at the root. */
function authOf(base: string): string {
  return base.endsWith('/rest/v1') ? `${base.slice(0, -8)}/auth/v1` : `${new URL(base).origin}/auth/v1`
}

function readBase(text: string | null): string | null {
  if (!text || !URL.canParse(text)) return null
  const url = new URL(text)
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return null
  return (url.origin + url.pathname).replace(/\/+$/, '')
}

/** What the fragment names, if it is no address within the page. */
export function readFragment(hash: string): URLSearchParams {
  return hash.startsWith('#/') ? new URLSearchParams() : new URLSearchParams(hash.slice(1))
}

/** The API, or null if nobody has said which. */
export function findEndpoint(here: URL, kept: Storage): Endpoint | null {
  const named = readFragment(here.hash)
  const apikey = named.get('apikey') ?? here.searchParams.get('apikey')
  if (OWN_PATH.test(here.pathname)) {
    const base = here.origin + here.pathname.replace(OWN_PATH, '')
    return { base, auth: authOf(base), apikey, own: true }
  }
  const base = readBase(named.get('api') ?? here.searchParams.get('api'))
  if (base) {
    kept.setItem(KEPT, JSON.stringify({ base, apikey }))
    return { base, auth: authOf(base), apikey, own: false }
  }
  try {
    const old = JSON.parse(kept.getItem(KEPT) ?? 'null') as { base: string; apikey: string | null } | null
    const oldBase = readBase(old?.base ?? null)
    return oldBase ? { base: oldBase, auth: authOf(oldBase), apikey: old?.apikey ?? null, own: false } : null
  } catch {
    return null
  }
}

/**
 * This page's address for a link in a mail: whatever is needed to find the API again is in its query. Null for a file, to
 * which no link leads.
 */
export function returnAddress(here: URL, endpoint: Endpoint): string | null {
  if (here.protocol !== 'https:' && here.protocol !== 'http:') return null
  const url = new URL(here.origin + here.pathname)
  if (endpoint.apikey) url.searchParams.set('apikey', endpoint.apikey)
  if (!endpoint.own) url.searchParams.set('api', endpoint.base)
  return url.href
}
