// The functions that the database has for this page, each with its arguments and what it returns.

import type { Call } from './client'
import { UNEXPECTED } from './errors'
import type * as t from './types'

/** One row, of a function that returns one or a set of one. */
function one<T>(rows: T | T[]): T {
  return all(Array.isArray(rows) ? rows.slice(0, 1) : [rows], 1)[0] as T
}

/** A list of rows, at least so many. */
function all<T>(rows: T[], least = 0): T[] {
  const isRow = (row: unknown) => typeof row === 'object' && row !== null
  if (!Array.isArray(rows) || rows.length < least || !rows.every(isRow)) throw new Error(UNEXPECTED)
  return rows
}

/** As they are typed: what is left empty is null. */
const typed = (texts: Record<string, string>) =>
  Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, text.trim() || null]))

type Args = Record<string, unknown>

export class Admin {
  readonly #call: Call

  constructor(call: Call) {
    this.#call = (name, args, signal) => call(`vibevideo_admin_${name}`, args, signal)
  }

  #one = async <T>(name: string, args?: Args, signal?: AbortSignal) =>
    one(await this.#call<T | T[]>(name, args, signal))
  #all = async <T>(name: string, args?: Args, signal?: AbortSignal) => all(await this.#call<T[]>(name, args, signal))
  /** A part of a list: some of the rows that one page has. */
  #page = async <T>(rows: keyof T, name: string, args: Args, signal?: AbortSignal) => {
    const page = await this.#one<T>(name, args, signal)
    all(page[rows] as unknown[])
    return page
  }

  me = (signal?: AbortSignal) => this.#one<t.Me>('me', {}, signal)
  overview = (signal?: AbortSignal) => this.#one<t.Overview>('overview', {}, signal)
  inbox = (signal?: AbortSignal) => this.#all<t.InboxRow>('inbox', {}, signal)

  listJobs = (filter: object, after: t.Cursor | null, max: number, signal?: AbortSignal) =>
    this.#page<t.JobPage>('jobs', 'list_jobs', { filter, after, max_jobs: max }, signal)
  find = (q: string, signal?: AbortSignal) => this.#page<t.JobPage>('jobs', 'find', { q, max_jobs: 20 }, signal)
  job = (id: number, signal?: AbortSignal) => this.#one<t.JobDetails>('job', { job_id: id }, signal)
  retryCost = (id: number, signal?: AbortSignal) => this.#one<t.RetryCost>('retry_cost', { job_id: id }, signal)

  errors = (since: Date, signal?: AbortSignal) => this.#all<t.ErrorGroup>('errors', { since }, signal)
  users = (since: Date, most: number, signal?: AbortSignal) => this.#all<t.UserRow>('users', { since, most }, signal)
  series = (metric: string, since: Date, step: string, signal?: AbortSignal) =>
    this.#all<t.SeriesRow>('series', { metric, since, step }, signal)
  lost = (signal?: AbortSignal) => this.#all<t.LostRow>('lost', { max_jobs: 100 }, signal)

  plan = (action: t.Action, filter: object, max: number) => this.#one<t.Plan>('plan', { action, filter, max_jobs: max })
  act = (token: string, confirm: string | null) => this.#one<t.ActResult>('act', { token, confirm })
  cancel = (id: number) => this.#call<unknown>('cancel', { job_id: id })
  retry = (id: number) => this.#call<unknown>('retry', { job_id: id })
  resolve = (id: number, verdict: string) => this.#call<unknown>('resolve', { job_id: id, verdict })

  pause = (scope: 'sending' | 'all', reason: string) => this.#call<boolean>('pause', { scope, reason })
  resume = () => this.#call<boolean>('resume')
  probe = () => this.#all<t.Probe>('probe_now')
  health = (network: boolean, signal?: AbortSignal) => this.#all<t.Check>('health', { network }, signal)
  worker = (signal?: AbortSignal) => this.#one<t.Worker>('worker', {}, signal)
  settings = (signal?: AbortSignal) => this.#all<t.Setting>('settings', {}, signal)

  limits = (signal?: AbortSignal) => this.#all<t.Limit>('limits', {}, signal)
  limitUse = (signal?: AbortSignal) => this.#all<t.LimitUse>('limit_use', {}, signal)
  setLimit = (whose: Partial<t.Limit>, texts: Record<string, string>) =>
    this.#call<unknown>('set_limit', { ...typed(texts), ...whose })
  deleteLimit = (whose: Partial<t.Limit>) => this.#call<unknown>('delete_limit', whose)
  prices = (signal?: AbortSignal) => this.#all<t.PriceRule>('prices', {}, signal)
  setPrice = (texts: Record<string, string>) =>
    this.#call<unknown>('set_price', {
      ...typed(texts),
      applies: JSON.parse(texts.applies || '{}'),
      allowance: texts.allowance || 0,
    })
  deletePrice = ({ endpoint, applies = '{}' }: Record<string, string>) =>
    this.#call<unknown>('delete_price', { endpoint, applies: JSON.parse(applies) })
  ledger = (days: number, signal?: AbortSignal) => this.#page<t.LedgerPage>('days', 'ledger', { days }, signal)
  explain = (what: string, note: string) => this.#call<unknown>('explain_usage', { what, note })
  audit = (after: t.Cursor | null, signal?: AbortSignal) =>
    this.#page<t.AuditPage>('rows', 'audit', { after, max_rows: 50 }, signal)
}
