// A limit, as it is and as it is to be.

import { html, type TemplateResult } from 'lit'
import type { Limit } from '../api/types'
import { tell } from '../app/announce'
import { admin } from '../app/session'
import { usd } from '../lib/format'
import { changeText, limitText, whoText } from '../lib/limit-text'
import { define } from './base'
import { Dialog, openDialog } from './dialog'

type Field = 'max_active' | 'submits_per_day' | 'spend_per_day_usd'
const FIELDS: [field: Field, label: string, step: string][] = [
  ['max_active', 'Videos in work at a time', '1'],
  ['submits_per_day', 'Videos requested a day (UTC)', '1'],
  ['spend_per_day_usd', 'USD a day (UTC)', '0.01'],
]

class LimitDialog extends Dialog {
  readonly #was: Limit
  readonly #exists: boolean
  #now: Limit

  constructor(limit: Limit, exists: boolean) {
    super()
    this.#was = limit
    this.#now = { ...limit }
    this.#exists = exists
  }

  protected heading(): string {
    return `Limit: ${whoText(this.#was)}`
  }

  #set(field: Field, value: number | null): void {
    this.#now = { ...this.#now, [field]: value }
    this.requestUpdate()
  }

  #field([field, label, step]: (typeof FIELDS)[number]): TemplateResult {
    const value = this.#now[field]
    const kind = value === null ? 'default' : Number(value) === -1 ? 'none' : 'most'
    const choose = (event: Event) => {
      const chosen = (event.target as HTMLSelectElement).value
      this.#set(
        field,
        chosen === 'default' ? null : chosen === 'none' ? -1 : Math.max(0, Number(this.#was[field] ?? 1)),
      )
    }
    const type = (event: Event) => {
      const input = event.target as HTMLInputElement
      this.#set(field, Number.isFinite(input.valueAsNumber) ? input.valueAsNumber : 0)
    }
    const others = this.#was.scope === 'user' ? 'as the default' : 'no limit'
    return html`<fieldset class="row">
      <legend>${label}</legend>
      <select aria-label="${label}: kind" @change=${choose}>
        <option value="default" ?selected=${kind === 'default'}>${others}</option>
        ${this.#was.scope === 'user' ? html`<option value="none" ?selected=${kind === 'none'}>no limit</option>` : ''}
        <option value="most" ?selected=${kind === 'most'}>at most</option>
      </select>
      ${
        kind === 'most'
          ? html`<input type="number" min="0" step=${step} aria-label=${label} .value=${String(value)} @input=${type} />`
          : ''
      }
    </fieldset>`
  }

  protected body(): unknown {
    const changes = FIELDS.map(([field, label]) => {
      const unit = field === 'spend_per_day_usd' ? usd : undefined
      return changeText(
        label,
        limitText(this.#was[field], this.#was.scope, unit),
        limitText(this.#now[field], this.#was.scope, unit),
      )
    }).filter(Boolean)
    return html`${FIELDS.map((field) => this.#field(field))}
      <div class="changes" role="status">
        ${changes.length === 0 ? html`<p class="quiet">Nothing is changed.</p>` : html`<ul class="plain">${changes.map((c) => html`<li>${c}</li>`)}</ul>`}
      </div>
      <p class="quiet">It counts from the next submit. What is in work goes on.</p>`
  }

  protected override buttons(): unknown {
    const { scope, user_id } = this.#was
    const save = () => this.finish('The limit is changed', () => admin.setLimit(this.#now))
    const remove = () => this.finish('The limit is removed', () => admin.deleteLimit(scope, user_id))
    return html`${this.#exists ? this.doer('Remove the limit', remove, false, 'danger') : ''} ${this.doer('Save', save)}`
  }
}

define('vv-limit', LimitDialog)

/** so many are listed */
const MOST_KNOWN = 1000

/** The limit of a user, of those that are known; a new one if he has none. */
export function openLimitOf(user: string, known: Limit[]): void {
  const own = known.find((l) => l.scope === 'user' && l.user_id === user)
  // what is not known would be overwritten
  if (!own && known.length >= MOST_KNOWN) {
    tell('There are more limits than are shown here: change this one with SQL.', 'bad')
    return
  }
  const none = { max_active: null, submits_per_day: null, spend_per_day_usd: null }
  openLimit(own ?? { scope: 'user', user_id: user, ...none }, own !== undefined)
}

export function openLimit(limit: Limit, exists: boolean): void {
  void openDialog(new LimitDialog(limit, exists))
}
