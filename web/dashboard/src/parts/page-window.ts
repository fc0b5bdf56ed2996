// A long list keeps in the document only the pages near to what is seen; the others are as high as they were.

import type { ReactiveController, ReactiveControllerHost } from 'lit'

const MARGIN = '1200px 0px'

export class PageWindow implements ReactiveController {
  readonly #host: ReactiveControllerHost & HTMLElement
  readonly #atEnd: () => void
  readonly #near = new Map<number, boolean>()
  readonly #heights = new Map<number, number>()
  #observer: IntersectionObserver | null = null

  /** atEnd: called when the end of the list, [data-end], is near. */
  constructor(host: ReactiveControllerHost & HTMLElement, atEnd: () => void) {
    this.#host = host
    this.#atEnd = atEnd
    host.addController(this)
  }

  isNear(page: number): boolean {
    return this.#near.get(page) ?? true
  }

  height(page: number): number {
    return this.#heights.get(page) ?? 0
  }

  reset(): void {
    this.#near.clear()
    this.#heights.clear()
  }

  hostConnected(): void {
    this.#observer = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: MARGIN })
  }

  hostDisconnected(): void {
    this.#observer?.disconnect()
    this.#observer = null
  }

  hostUpdated(): void {
    for (const page of this.#host.querySelectorAll('[data-page]')) this.#observer?.observe(page)
    // anew, since an end that is near again, after more was read, has not moved for the observer
    for (const end of this.#host.querySelectorAll('[data-end]')) {
      this.#observer?.unobserve(end)
      this.#observer?.observe(end)
    }
    for (const gap of this.#host.querySelectorAll<HTMLElement>('[data-gap]')) {
      gap.style.height = `${this.height(Number(gap.dataset.gap))}px`
    }
  }

  #seen(entries: IntersectionObserverEntry[]): void {
    let changed = false
    for (const { target, isIntersecting, boundingClientRect } of entries) {
      const element = target as HTMLElement
      if (!element.isConnected) continue
      if (element.dataset.end !== undefined) {
        if (isIntersecting) this.#atEnd()
        continue
      }
      const page = Number(element.dataset.page)
      const holdsFocus = element.contains(document.activeElement)
      if (!isIntersecting && !holdsFocus && this.isNear(page)) this.#heights.set(page, boundingClientRect.height)
      changed ||= this.isNear(page) !== (isIntersecting || holdsFocus)
      this.#near.set(page, isIntersecting || holdsFocus)
    }
    if (changed) this.#host.requestUpdate()
  }
}
