// Who is signed in. The session is in sessionStorage, or only in memory: it ends with the tab.

import { type AuthError, GoTrueClient } from '@supabase/auth-js'
import { Admin } from '../api/admin'
import { makeCall, PATIENCE_MS } from '../api/client'
import { ApiError, errorSentence } from '../api/errors'
import type { Me } from '../api/types'
import { readToken } from '../lib/jwt'
import { Store } from '../lib/store'
import { type Endpoint, readFragment, returnAddress } from './endpoint'
import { noteLink, takeLink } from './mail-link'

export type Session =
  | { phase: 'starting' }
  | { phase: 'signed_out'; reason: string | null }
  | { phase: 'failed'; reason: string }
  | { phase: 'no_access' | 'ready'; me: Me; email: string | null }

export const session = new Store<Session>({ phase: 'starting' })

let endpoint: Endpoint
let auth: GoTrueClient
let pasted: string | null = null
/** tells this page in other tabs that somebody has signed out */
let others: BroadcastChannel
/** how far the server's clock is ahead of the browser's */
let skewMs = 0

const tokenKey = () => `vibevideo.token:${endpoint.base}`
// a session of one API is never sent to another
const authKey = () => `vibevideo.auth:${endpoint.base}`

const NOT_ASKED = 'That link was not asked for in this browser, or more than an hour ago. Ask for one here.'
const NOT_GOOD = 'That link does not work any more. Ask for another.'

/** A service that accepts calls and never answers must not be waited for for ever. */
const patiently: typeof fetch = (input, init) =>
  fetch(input, { ...init, credentials: 'omit', signal: AbortSignal.timeout(PATIENCE_MS) })

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

/** Where a password goes: all of it, if the page came from elsewhere. */
export function apiName(): string {
  return endpoint.own ? new URL(endpoint.base).host : endpoint.base
}

export function isOwn(): boolean {
  return endpoint.own
}

export async function startSession(found: Endpoint): Promise<void> {
  endpoint = found
  const fragment = readFragment(location.hash)
  const offered = fragment.has('access_token')
  const taken = offered && takeLink(fragment, endpoint.base, Date.now())
  auth = makeAuth(taken)
  // it has read the address, which is not to stay in the history
  if (!location.hash.startsWith('#/')) history.replaceState(null, '', '#/')
  others = new BroadcastChannel(`vibevideo.signed_out:${endpoint.base}`)
  others.onmessage = () => {
    if (session.value.phase !== 'signed_out') signedOut('You have signed out in another tab.')
  }
  admin = new Admin(makeCall({ base: endpoint.base, apikey: endpoint.apikey, token }))
  pasted = sessionStorage.getItem(tokenKey())
  auth.onAuthStateChange((event) => {
    if (event === 'SIGNED_OUT' && !pasted && session.value.phase !== 'starting') signedOut('You are signed out.')
  })
  const { error } = await auth.initialize()
  if (!location.hash.startsWith('#/')) history.replaceState(null, '', '#/')
  if (error) return signedOut(isAway(error) ? AWAY : NOT_GOOD)
  // whose words an address has is not known: none of them are shown
  const failed = fragment.has('error') || fragment.has('error_code') || fragment.has('error_description')
  if (await token()) await enter()
  else signedOut(offered && !taken ? NOT_ASKED : failed ? NOT_GOOD : null)
}

function makeAuth(detectSessionInUrl: boolean): GoTrueClient {
  const made = new GoTrueClient({
    url: endpoint.auth,
    headers: endpoint.apikey ? { apikey: endpoint.apikey } : {},
    fetch: patiently,
    storageKey: authKey(),
    storage: sessionStorage,
    persistSession: true,
    autoRefreshToken: true,
    detectSessionInUrl,
    flowType: 'implicit',
  })
  // it would tell each page of this origin the tokens, and a session here is one tab's alone
  const talking = made as unknown as { broadcastChannel: BroadcastChannel | null }
  talking.broadcastChannel?.close()
  talking.broadcastChannel = null
  return made
}

/** Nothing of a session stays, whatever the sign-in service has said to its end. */
export function signedOut(reason: string | null): void {
  pasted = null
  sessionStorage.removeItem(tokenKey())
  sessionStorage.removeItem(authKey())
  session.set({ phase: 'signed_out', reason })
}

/** Asks the database who this is, and what they may do. */
export async function enter(): Promise<void> {
  session.set({ phase: 'starting' })
  try {
    const found = await admin.me()
    skewMs = Date.parse(found.server_time) - Date.now() || 0
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
    const answer = await patiently(`${endpoint.auth}/settings`, { headers })
    return answer.ok && (answer.headers.get('content-type') ?? '').includes('json')
  } catch {
    return false
  }
}

const AWAY = 'The sign-in service does not answer. Try again in a moment.'

function isAway({ status }: AuthError): boolean {
  return status === undefined || status === 0 || status >= 500
}

function authProblem(error: AuthError): string {
  return isAway(error) ? AWAY : error.message
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
  if (!emailRedirectTo) return 'No link leads back to a file. Sign in with your password, or a token.'
  if (!noteLink({ base: endpoint.base, email, at: Date.now() }))
    return 'This browser keeps nothing for this page, so that it would not know the link. Sign in with your password.'
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
  others.postMessage(null)
}
