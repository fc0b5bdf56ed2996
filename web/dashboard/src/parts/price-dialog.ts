// A price, as it is and as it is to be. Most cost so much a video; the rest is folded away.

import { html } from 'lit'
import type { PriceRule, PriceUnit } from '../api/types'
import { admin } from '../app/session'
import { changeText } from '../lib/limit-text'
import { priceText, UNITS } from '../lib/price-text'
import { define } from './base'
import { Dialog, openDialog } from './dialog'

const FIELDS = ['endpoint', 'unit', 'unit_price_usd', 'quantity', 'quantity_default', 'allowance'] as const
type Field = (typeof FIELDS)[number] | 'applies'
type Texts = Record<Field, string>

class PriceDialog extends Dialog {
  readonly #rule: PriceRule | null
  readonly #was: Texts
  #now: Texts

  constructor(rule: PriceRule | null) {
    super()
    this.#rule = rule
    this.#was = Object.fromEntries(FIELDS.map((field) => [field, String(rule?.[field] ?? '')])) as Texts
    this.#was.unit ||= 'video'
    this.#was.applies = JSON.stringify(rule?.applies ?? {})
    this.#now = { ...this.#was }
  }

  protected heading(): string {
    return `Price of ${this.#was.endpoint || 'a model'}`
  }

  #set(field: Field) {
    return (event: Event) => {
      this.#now[field] = (event.target as HTMLInputElement).value.trim()
      this.requestUpdate()
    }
  }

  #field(label: string, field: Field, hint = '') {
    return html`<label>${label} <input type=${hint ? 'text' : 'number'} min="0" step="any" spellcheck="false" ?autofocus=${field === 'endpoint'} placeholder=${hint} .value=${this.#was[field]} @input=${this.#set(field)} /></label>`
  }

  #changed(): boolean {
    return JSON.stringify(this.#now) !== JSON.stringify(this.#was)
  }

  protected body(): unknown {
    const text = ({ unit, unit_price_usd }: Texts) =>
      priceText({ unit: unit as PriceUnit, unit_price_usd: unit_price_usd || null })
    const units = Object.entries(UNITS)
    const folded = this.#was.unit === 'video' && !this.#rule?.keys
    return html`${this.#rule ? '' : this.#field('fal.ai’s endpoint id', 'endpoint', 'fal-ai/…')}
      ${this.#field(`USD ${UNITS[this.#now.unit as PriceUnit]}`, 'unit_price_usd')}
      <details ?open=${!folded}><summary>By length, by input …</summary><div class="dialog-body">
      <label>Unit <select @change=${this.#set('unit')}>${units.map(([unit, words]) => html`<option value=${unit} ?selected=${unit === this.#was.unit}>${words}</option>`)}</select></label>
      ${this.#field('Only for inputs with (JSON)', 'applies', '{"resolution": "4k"}')}
      ${this.#field('Where the input says how many', 'quantity', '$.duration')}
      ${this.#field('How many if it does not', 'quantity_default')}
      ${this.#field('How many more may be billed', 'allowance')}
      </div></details>
      <p class="changes" role="status">${changeText('Price', text(this.#was), text(this.#now)) || (this.#changed() ? '' : 'Nothing is changed.')}</p>
      <p class="quiet">It counts from the next job on, before fal.ai’s and built-in prices of the model.</p>`
  }

  protected override buttons(): unknown {
    const save = () => this.finish('The price is changed', () => admin.setPrice(this.#now))
    const remove = () => this.finish('The price is removed', () => admin.deletePrice(this.#was))
    return html`${this.#rule?.source === 'operator' ? this.doer('Remove the price', remove, false, 'danger') : ''}
      ${this.doer('Save', save, !this.#now.endpoint || (this.#rule && !this.#changed()))}`
  }
}

define('vv-price', PriceDialog)

export function openPrice(rule: PriceRule | null): void {
  void openDialog(new PriceDialog(rule))
}
