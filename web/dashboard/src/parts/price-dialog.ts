// The list price of a model, as it is and as it is to be.

import { html } from 'lit'
import { tell } from '../app/announce'
import { refresher } from '../app/refresh'
import { admin } from '../app/session'
import { usd } from '../lib/format'
import { changeText } from '../lib/limit-text'
import { define } from './base'
import { Dialog, openDialog } from './dialog'

class PriceDialog extends Dialog {
  readonly #known: boolean
  readonly #was: number | null
  #endpoint: string
  #now: number | null

  constructor(endpoint: string, price: number | null) {
    super()
    this.#known = endpoint !== ''
    this.#endpoint = endpoint
    this.#was = price
    this.#now = price
  }

  protected heading(): string {
    return this.#known ? `Price of ${this.#endpoint}` : 'Price of a model'
  }

  protected body(): unknown {
    const name = (event: Event) => {
      this.#endpoint = (event.target as HTMLInputElement).value.trim()
      this.requestUpdate()
    }
    const price = (event: Event) => {
      const { valueAsNumber } = event.target as HTMLInputElement
      this.#now = Number.isFinite(valueAsNumber) ? valueAsNumber : null
      this.requestUpdate()
    }
    const words = (value: number | null) => (value === null ? 'unknown' : usd(value))
    return html`
      ${this.#known ? '' : html`<label>fal.ai’s endpoint id <input autofocus placeholder="fal-ai/…" spellcheck="false" @input=${name} /></label>`}
      <label>USD a video <input type="number" min="0" step="0.0001" .value=${String(this.#was ?? '')} @input=${price} /></label>
      <p class="changes" role="status">${changeText('Price', words(this.#was), words(this.#now)) || 'Nothing is changed.'}</p>
      <p class="quiet">It counts for jobs that are requested from now on. An unknown price counts as 0.</p>
    `
  }

  #save(): Promise<void> {
    return this.attempt(async () => {
      await admin.setPrice(this.#endpoint, this.#now)
      tell('The price is changed')
      this.close()
      void refresher.now(true)
    })
  }

  protected override buttons(): unknown {
    const off = this.busy || this.#endpoint === '' || this.#now === this.#was
    return html`<button class="primary" type="button" ?disabled=${off} @click=${this.#save}>Save</button>`
  }
}

define('vv-price', PriceDialog)

export function openPrice(endpoint: string, price: number | null): void {
  void openDialog(new PriceDialog(endpoint, price))
}
