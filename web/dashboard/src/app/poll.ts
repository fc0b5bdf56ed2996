// What a screen shows, read when it is opened and again at each refresh.

import type { ReactiveController, ReactiveControllerHost } from 'lit'
import { type Member, refresher } from './refresh'

export class Poll<T> implements ReactiveController, Member {
  data: T | undefined
  error: unknown = null
  /** what is shown is not yet what was asked for last */
  stale = false
  lastRun = 0
  least: number
  readonly #host: ReactiveControllerHost
  readonly #load: (signal: AbortSignal, old: T | undefined) => Promise<T>
  #running: Promise<void> | null = null
  #abort: AbortController | null = null

  constructor(host: ReactiveControllerHost, load: (signal: AbortSignal, old: T | undefined) => Promise<T>, least = 0) {
    this.#host = host
    this.#load = load
    this.least = least
    host.addController(this)
  }

  hostConnected(): void {
    refresher.join(this)
    void this.refresh()
  }

  hostDisconnected(): void {
    this.#abort?.abort()
    this.#running = null
    refresher.leave(this)
  }

  /** Reads it again, unless that is being done. */
  refresh(): Promise<void> {
    this.#running ??= this.#run()
    return this.#running
  }

  /** Something else is to be shown now. */
  restart(): Promise<void> {
    this.#abort?.abort()
    this.#running = null
    this.stale = true
    this.#host.requestUpdate()
    return this.refresh()
  }

  async #run(): Promise<void> {
    const abort = new AbortController()
    this.#abort = abort
    this.lastRun = Date.now()
    try {
      const data = await this.#load(abort.signal, this.data)
      if (abort.signal.aborted) return
      this.data = data
      this.error = null
    } catch (error) {
      if (abort.signal.aborted) return
      this.error = error
      // what is there is of something else
      if (this.stale) this.data = undefined
    }
    this.stale = false
    this.#running = null
    refresher.report(this, this.error)
    this.#host.requestUpdate()
  }
}
