// A value that several parts of the page look at.

import type { ReactiveController, ReactiveControllerHost } from 'lit'

export class Store<T> {
  #value: T
  readonly #listeners = new Set<(value: T) => void>()

  constructor(value: T) {
    this.#value = value
  }

  get value(): T {
    return this.#value
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return
    this.#value = value
    for (const listener of [...this.#listeners]) listener(value)
  }

  subscribe(listener: (value: T) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

/** Renders its element again whenever one of the stores changes. */
export class Watch implements ReactiveController {
  readonly #host: ReactiveControllerHost
  readonly #stores: Pick<Store<unknown>, 'subscribe'>[]
  #stops: (() => void)[] = []

  constructor(host: ReactiveControllerHost, ...stores: Pick<Store<unknown>, 'subscribe'>[]) {
    this.#host = host
    this.#stores = stores
    host.addController(this)
  }

  hostConnected(): void {
    this.#stops = this.#stores.map((store) => store.subscribe(() => this.#host.requestUpdate()))
  }

  hostDisconnected(): void {
    for (const stop of this.#stops) stop()
  }
}
