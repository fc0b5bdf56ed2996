// Who is signed in. The session is in sessionStorage, or only in memory: it ends with the tab.

import { type AuthError, GoTrueClient } from '@supabase/auth-js'
import { Admin } from '../api/admin'
import { makeCall } from '../api/client'
import { ApiError, errorSentence } from '../api/errors'
import type { Me } from '../api/types'
import { readToken } from '../lib/jwt'
import { Store } from '../lib/store'
import { type Endpoint, readFragment, returnAddress } from './endpoint'

export type Session =
  | { phase: 'starting' }
  | { phase: 'signed_out'; reason: string | null }
  | { phase: 'failed'; reason: string }
  | { phase: 'no_access' | 'ready'; me: Me; email: string | null }

export const session = new Store<Session>({ phase: 'starting' })

let endpoint: Endpoint
let auth: GoTrueClient
let pasted: string | null = null
/** how far the server's clock is ahead of the browser's */
let skewMs = 0

const tokenKey = () => `vibevideo.token:${endpoint.base}`

async function token(): Promise<string | null> {
  if (pasted) return pasted
  const { data } = await auth.getSession()
  return data.session?.access_token ?? null
}

export let admin: Admin

/** Now, by the server's clock. */
export function serverNow(): Date {
  return new Date(Date.now() + skewMs)
}

export function me(): Me | null {
  const now = session.value
  return now.phase === 'ready' ? now.me : null
}

export function mayAct(): boolean {
  const level = me()?.level
  return level === 'operator' || level === 'owner'
}

export function apiHost(): string {
  return new URL(endpoint.base).host
}

export function isOwn(): boolean {
  return endpoint.own
}

export async function startSession(found: Endpoint): Promise<void> {
  endpoint = found
  const fragment = readFragment(location.hash)
  const returning = fragment.has('access_token') || fragment.has('error_description')
  auth = new GoTrueClient({
    url: endpoint.auth,
    headers: endpoint.apikey ? { apikey: endpoint.apikey } : {},
    // a session of one API is never sent to another
    storageKey: `vibevideo.auth:${endpoint.base}`,
    storage: sessionStorage,
    persistSession: true,
    autoRefreshToken: true,
    detectSessionInUrl: returning,
    flowType: 'implicit',
  })
  admin = new Admin(makeCall({ base: endpoint.base, apikey: endpoint.apikey, token }))
  pasted = sessionStorage.getItem(tokenKey())
  auth.onAuthStateChange((event) => {
    if (event === 'SIGNED_OUT' && !pasted && session.value.phase !== 'starting') signedOut('You are signed out.')
  })
  const { error } = await auth.initialize()
  if (!location.hash.startsWith('#/')) history.replaceState(null, '', '#/')
  if (error) return signedOut(error.message)
  if (await token()) await enter()
  else signedOut(null)
}

export function signedOut(reason: string | null): void {
  if (pasted) {
    pasted = null
    sessionStorage.removeItem(tokenKey())
  }
  session.set({ phase: 'signed_out', reason })
}

/** Asks the database who this is, and what they may do. */
export async function enter(): Promise<void> {
  session.set({ phase: 'starting' })
  try {
    const found = await admin.me()
    skewMs = Date.parse(found.server_time) - Date.now()
    const email = readToken((await token()) ?? '')?.email ?? null
    session.set({ phase: found.level ? 'ready' : 'no_access', me: found, email })
  } catch (error) {
    const gone = error instanceof ApiError && error.trouble === 'signed_out'
    if (gone) signedOut('The server does not accept this sign-in.')
    else session.set({ phase: 'failed', reason: errorSentence(error) })
  }
}

/** Whether there is a sign-in service. */
export async function hasAuth(): Promise<boolean> {
  try {
    const headers: HeadersInit = endpoint.apikey ? { apikey: endpoint.apikey } : {}
    const answer = await fetch(`${endpoint.auth}/settings`, { headers, credentials: 'omit' })
    return answer.ok && (answer.headers.get('content-type') ?? '').includes('json')
  } catch {
    return false
  }
}

function authProblem(error: AuthError): string {
  return error.status === undefined || error.status === 0 || error.status >= 500
    ? 'The sign-in service does not answer. Try again in a moment.'
    : error.message
}

/** Returns why it did not work, or null. */
export async function signIn(email: string, password: string): Promise<string | null> {
  const { error } = await auth.signInWithPassword({ email, password })
  if (error) return authProblem(error)
  await enter()
  return null
}

export async function sendLink(email: string): Promise<string | null> {
  const emailRedirectTo = returnAddress(new URL(location.href), endpoint)
  const { error } = await auth.signInWithOtp({ email, options: { shouldCreateUser: false, emailRedirectTo } })
  return error ? authProblem(error) : null
}

export async function useToken(text: string): Promise<void> {
  pasted = text
  sessionStorage.setItem(tokenKey(), text)
  await enter()
}

export async function signOut(): Promise<void> {
  if (!pasted) await auth.signOut({ scope: 'local' })
  signedOut(null)
}
