// Calls a function of the database by way of PostgREST.

import { PostgrestClient } from '@supabase/postgrest-js'
import { inTime } from '../lib/in-time'
import { ApiError } from './errors'

export const PATIENCE_MS = 15_000

export interface Access {
  /** …/rest/v1 */
  base: string
  apikey: string | null
  token: () => Promise<string | null>
}

/** So that times in the database's sentences are the reader's, as the page's own are. */
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone

export type Call = <T>(name: string, args?: Record<string, unknown>, signal?: AbortSignal) => Promise<T>

/** Returns what makes calls with this access. */
export function makeCall(access: Access): Call {
  const client = new PostgrestClient(access.base, {
    fetch: async (input, init) => {
      const headers = new Headers(init?.headers)
      // the sign-in service may be what does not answer
      const token = await inTime(access.token(), init?.signal)
      if (access.apikey) headers.set('apikey', access.apikey)
      if (token) headers.set('Authorization', `Bearer ${token}`)
      headers.append('Prefer', `timezone=${ZONE}`)
      return fetch(input, { ...init, headers, credentials: 'omit', cache: 'no-store' })
    },
  })
  return async <T>(name: string, args: Record<string, unknown> = {}, signal?: AbortSignal): Promise<T> => {
    const limit = AbortSignal.timeout(PATIENCE_MS)
    const { data, error, status } = await client
      .rpc(name, args)
      .abortSignal(signal ? AbortSignal.any([signal, limit]) : limit)
    signal?.throwIfAborted()
    if (error) throw new ApiError({ status, ...error }, limit.aborted)
    return data as T
  }
}
