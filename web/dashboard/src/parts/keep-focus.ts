// Lines that move in a list take the focus with them: what is marked with data-key gets it back.

import type { ReactiveController, ReactiveControllerHost } from 'lit'

export class KeepFocus implements ReactiveController {
  readonly #host: ReactiveControllerHost & HTMLElement
  #key: string | null = null

  constructor(host: ReactiveControllerHost & HTMLElement) {
    this.#host = host
    host.addController(this)
  }

  hostUpdate(): void {
    const focused = document.activeElement
    this.#key = focused instanceof HTMLElement && this.#host.contains(focused) ? (focused.dataset.key ?? null) : null
  }

  hostUpdated(): void {
    if (!this.#key || (document.activeElement !== document.body && document.activeElement !== null)) return
    this.#host.querySelector<HTMLElement>(`[data-key="${CSS.escape(this.#key)}"]`)?.focus({ preventScroll: true })
  }
}
