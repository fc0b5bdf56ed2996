// What is on the page is read again every few seconds: never two calls for the same at once, not while the page
// is hidden, and less often while calls fail.

import { ApiError, errorSentence, isPassing } from '../api/errors'
import { Store } from '../lib/store'
import { readPref, writePref } from './prefs'
import { signedOut } from './session'

export const INTERVALS = [2, 5, 15, 60, 0]
const LONGEST_MS = 120_000

export interface Member {
  /** read again at most this often, in seconds */
  least: number
  lastRun: number
  refresh(): Promise<unknown>
}

export interface Trouble {
  sentence: string
  /** when it is tried again, by the browser's clock; null if nobody tries */
  again: number | null
}

function keptInterval(): number {
  const kept = readPref('refresh')
  return kept !== null && INTERVALS.includes(Number(kept)) ? Number(kept) : 5
}

/** How long to wait before the next round, after so many that failed. */
export function waitMs(interval: number, failures: number): number | null {
  if (interval === 0) return null
  return failures === 0 ? interval * 1000 : Math.min(LONGEST_MS, Math.max(interval * 1000, 2000 * 2 ** failures))
}

class Refresher {
  readonly interval = new Store(keptInterval())
  readonly trouble = new Store<Trouble | null>(null)
  readonly updatedAt = new Store<Date | null>(null)
  readonly busy = new Store(false)
  readonly #members = new Set<Member>()
  readonly #errors = new Map<Member, unknown>()
  #failures = 0
  #timer = 0
  #round: Promise<void> | null = null

  start(): void {
    this.interval.subscribe((seconds) => {
      writePref('refresh', String(seconds))
      this.#schedule()
    })
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) window.clearTimeout(this.#timer)
      else if (this.interval.value > 0) void this.now()
    })
    addEventListener('online', () => void this.now())
    this.#schedule()
  }

  join(member: Member): void {
    this.#members.add(member)
  }

  leave(member: Member): void {
    this.#members.delete(member)
    this.report(member, null)
  }

  /** What has come of a member's call. */
  report(member: Member, error: unknown): void {
    if (error instanceof ApiError && error.trouble === 'signed_out') {
      signedOut(errorSentence(error))
      return
    }
    if (isPassing(error)) this.#errors.set(member, error)
    else this.#errors.delete(member)
    if (!error && this.#members.has(member)) this.updatedAt.set(new Date())
    this.#tell()
  }

  /** Reads everything on the page again; everything, whenever it was read last, if a person asks for it. */
  now(byHand = false): Promise<void> {
    this.#round ??= this.#run(byHand).finally(() => {
      this.#round = null
      this.#schedule()
    })
    return this.#round
  }

  async #run(byHand: boolean): Promise<void> {
    const due = [...this.#members].filter((m) => byHand || Date.now() - m.lastRun >= m.least * 1000)
    this.busy.set(true)
    await Promise.all(due.map((member) => member.refresh()))
    this.busy.set(false)
    this.#failures = this.#errors.size > 0 ? this.#failures + 1 : 0
  }

  #schedule(): void {
    window.clearTimeout(this.#timer)
    const wait = waitMs(this.interval.value, this.#failures)
    if (wait !== null && !document.hidden) this.#timer = window.setTimeout(() => void this.now(), wait)
    this.#tell(wait === null ? null : Date.now() + wait)
  }

  #tell(again: number | null = this.trouble.value?.again ?? null): void {
    const error = [...this.#errors.values()][0]
    this.trouble.set(error ? { sentence: `${errorSentence(error)} What you see is older.`, again } : null)
  }
}

export const refresher = new Refresher()
