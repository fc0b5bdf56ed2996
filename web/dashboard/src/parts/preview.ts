// The video of a line, while the pointer or the focus is on its picture. Nothing is loaded before.

import { html, nothing } from 'lit'
import { safeUrl } from '../lib/safe-url'
import { define, Part } from './base'
import { icon } from './icon'

const isStill = () => matchMedia('(prefers-reduced-motion: reduce)').matches

class Preview extends Part {
  static override properties = { url: {}, name: {} }
  declare url: string | null
  declare name: string
  #open = false
  #failed = false

  #show(open: boolean): void {
    this.#open = open
    this.requestUpdate()
  }

  #key(event: KeyboardEvent): void {
    if (event.key === 'Escape' && this.#open) this.#show(false)
  }

  #fail(): void {
    this.#failed = true
    this.requestUpdate()
  }

  #player(url: string) {
    return this.#failed
      ? html`<span class="preview-box">It cannot be played here: the bucket may be private.</span>`
      : html`<span class="preview-box"
          ><video src=${url} muted ?autoplay=${!isStill()} loop playsinline preload="metadata" .muted=${true} @error=${this.#fail}></video
        ></span>`
  }

  override render() {
    const url = safeUrl(this.url)
    if (!url) return html`<span class="thumb none" aria-hidden="true">${icon('film')}</span>`
    return html`<span
      class="thumb"
      @mouseenter=${() => this.#show(true)}
      @mouseleave=${() => this.#show(false)}
      @focusin=${() => this.#show(true)}
      @focusout=${() => this.#show(false)}
      @keydown=${this.#key}
      ><a href=${url} target="_blank" rel="noopener noreferrer" aria-label="Video of ${this.name}">${icon('play')}</a
      >${this.#open ? this.#player(url) : nothing}</span
    >`
  }
}

define('vv-preview', Preview)
