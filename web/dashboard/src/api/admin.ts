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

/** A part of a list: some of the rows that one page has. */
function pageOf<T>(page: T, rows: keyof T): T {
  all(page[rows] as unknown[])
  return page
}

/** As they are typed: what is left empty is null. */
const typed = (texts: Record<string, string>) =>
  Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, text.trim() || null]))

export class Admin {
  readonly #call: Call

  constructor(call: Call) {
    this.#call = (name, args, signal) => call(`vibevideo_admin_${name}`, args, signal)
  }

  me = async (signal?: AbortSignal) => one(await this.#call<t.Me | t.Me[]>('me', {}, signal))
  overview = async (signal?: AbortSignal) => one(await this.#call<t.Overview | t.Overview[]>('overview', {}, signal))
  inbox = async (signal?: AbortSignal) => all(await this.#call<t.InboxRow[]>('inbox', {}, signal))

  listJobs = async (filter: object, after: t.Cursor | null, max: number, signal?: AbortSignal) =>
    pageOf(
      one(await this.#call<t.JobPage | t.JobPage[]>('list_jobs', { filter, after, max_jobs: max }, signal)),
      'jobs',
    )
  find = async (q: string, signal?: AbortSignal) =>
    pageOf(one(await this.#call<t.JobPage | t.JobPage[]>('find', { q, max_jobs: 20 }, signal)), 'jobs')
  job = async (id: number, signal?: AbortSignal) =>
    one(await this.#call<t.JobDetails | t.JobDetails[]>('job', { job_id: id }, signal))
  retryCost = async (id: number, signal?: AbortSignal) =>
    one(await this.#call<t.RetryCost | t.RetryCost[]>('retry_cost', { job_id: id }, signal))

  errors = async (since: Date, signal?: AbortSignal) =>
    all(await this.#call<t.ErrorGroup[]>('errors', { since }, signal))
  users = async (since: Date, most: number, signal?: AbortSignal) =>
    all(await this.#call<t.UserRow[]>('users', { since, most }, signal))
  series = async (metric: string, since: Date, step: string, signal?: AbortSignal) =>
    all(await this.#call<t.SeriesRow[]>('series', { metric, since, step }, signal))
  lost = async (signal?: AbortSignal) => all(await this.#call<t.LostRow[]>('lost', { max_jobs: 100 }, signal))

  plan = async (action: t.Action, filter: object, max: number) =>
    one(await this.#call<t.Plan | t.Plan[]>('plan', { action, filter, max_jobs: max }))
  act = async (token: string, confirm: string | null) =>
    one(await this.#call<t.ActResult | t.ActResult[]>('act', { token, confirm }))
  cancel = (id: number) => this.#call<unknown>('cancel', { job_id: id })
  retry = (id: number) => this.#call<unknown>('retry', { job_id: id })
  resolve = (id: number, verdict: string) => this.#call<unknown>('resolve', { job_id: id, verdict })

  pause = (scope: 'sending' | 'all', reason: string) => this.#call<boolean>('pause', { scope, reason })
  resume = () => this.#call<boolean>('resume')
  probe = async () => all(await this.#call<t.Probe[]>('probe_now'))
  health = async (network: boolean, signal?: AbortSignal) =>
    all(await this.#call<t.Check[]>('health', { network }, signal))
  worker = async (signal?: AbortSignal) => one(await this.#call<t.Worker | t.Worker[]>('worker', {}, signal))
  settings = async (signal?: AbortSignal) => all(await this.#call<t.Setting[]>('settings', {}, signal))

  limits = async (signal?: AbortSignal) => all(await this.#call<t.Limit[]>('limits', {}, signal))
  setLimit = (whose: Partial<t.Limit>, texts: Record<string, string>) =>
    this.#call<unknown>('set_limit', { ...typed(texts), ...whose })
  deleteLimit = (whose: Partial<t.Limit>) => this.#call<unknown>('delete_limit', whose)
  prices = async (signal?: AbortSignal) => all(await this.#call<t.PriceRule[]>('prices', {}, signal))
  setPrice = (texts: Record<string, string>) =>
    this.#call<unknown>('set_price', {
      ...typed(texts),
      applies: JSON.parse(texts.applies || '{}'),
      allowance: texts.allowance || 0,
    })
  deletePrice = ({ endpoint, applies = '{}' }: Record<string, string>) =>
    this.#call<unknown>('delete_price', { endpoint, applies: JSON.parse(applies) })
  audit = async (after: t.Cursor | null, signal?: AbortSignal) =>
    pageOf(one(await this.#call<t.AuditPage | t.AuditPage[]>('audit', { after, max_rows: 50 }, signal)), 'rows')
}
