// A button that copies a text. Without https a browser has no clipboard for pages: then the text is selected.

import { html } from 'lit'
import { announce } from '../app/announce'
import { define, Part } from './base'
import { icon } from './icon'

const SHOWN_MS = 1500

function copyBySelection(text: string): boolean {
  const area = document.createElement('textarea')
  area.value = text
  area.className = 'unseen'
  const parent = document.querySelector('dialog[open]') ?? document.body
  parent.append(area)
  area.select()
  const done = document.execCommand('copy')
  area.remove()
  return done
}

class CopyButton extends Part {
  static override properties = { text: {}, what: {} }
  declare text: string
  declare what: string
  #copied = false

  async #copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(this.text)
      this.#copied = true
    } catch {
      this.#copied = copyBySelection(this.text)
      this.querySelector('button')?.focus()
    }
    announce(this.#copied ? 'Copied' : 'It could not be copied')
    this.requestUpdate()
    setTimeout(() => {
      this.#copied = false
      this.requestUpdate()
    }, SHOWN_MS)
  }

  override render() {
    const label = this.#copied ? 'Copied' : `Copy ${this.what ?? 'text'}`
    return html`<button class="tiny" type="button" title=${label} aria-label=${label} @click=${this.#copy}>
      ${icon(this.#copied ? 'ok' : 'copy')}
    </button>`
  }
}

define('vv-copy', CopyButton)

/** A text, and a button that copies it. */
export function copyable(text: string, what: string) {
  return html`<span class="copyable"><code>${text}</code><vv-copy .text=${text} .what=${what}></vv-copy></span>`
}
