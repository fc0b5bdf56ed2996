// All that jobs can be filtered by.

import { html, nothing, type TemplateResult } from 'lit'
import { me } from '../app/session'
import { chips, type Filter, readFilter } from '../lib/filter'
import { CLASSES, STATES } from '../lib/words'
import { define } from './base'
import { Dialog, openDialog } from './dialog'

const TIMES: [value: string, label: string][] = [
  ['', 'any time'],
  ['1 hour', 'the last hour'],
  ['24 hours', 'the last 24 hours'],
  ['7 days', 'the last 7 days'],
  ['30 days', 'the last 30 days'],
]

class FilterDialog extends Dialog {
  readonly #filter: Filter
  readonly #change: (filter: Filter) => void

  constructor(filter: Filter, change: (filter: Filter) => void) {
    super()
    this.#filter = filter
    this.#change = change
  }

  protected heading(): string {
    return 'Filter jobs'
  }

  #apply(): void {
    const form = this.querySelector('form') as HTMLFormElement
    const params = new URLSearchParams()
    for (const [key, value] of new FormData(form)) {
      const text = String(value).trim()
      if (text) params.append(key, text)
    }
    this.close()
    this.#change(readFilter(params))
  }

  #has(key: string, value: string): boolean {
    return chips(this.#filter).some((chip) => chip.key === key && chip.value === value)
  }

  #boxes(legend: string, choices: [key: string, value: string, label: string][]): TemplateResult {
    return html`<fieldset>
      <legend>${legend}</legend>
      ${choices.map(
        ([key, value, label]) =>
          html`<label class="check"
            ><input type="checkbox" name=${key} value=${value} ?checked=${this.#has(key, value)} />${label}</label
          >`,
      )}
    </fieldset>`
  }

  #text(label: string, key: keyof Filter, hint = ''): TemplateResult {
    const value = this.#filter[key]
    return html`<label
      >${label}
      <input name=${key} .value=${String(Array.isArray(value) ? (value[0] ?? '') : (value ?? ''))} placeholder=${hint} />
    </label>`
  }

  #times(): TemplateResult {
    const now = this.#filter.since ?? ''
    const known = TIMES.some(([value]) => value === now)
    return html`<label
      >Ended (requested, if in work) in
      <select name="since">
        ${known ? nothing : html`<option value=${now} selected>since ${now}</option>`}
        ${TIMES.map(([value, label]) => html`<option value=${value} ?selected=${value === now}>${label}</option>`)}
      </select></label
    >`
  }

  protected body(): unknown {
    const submit = (event: Event) => {
      event.preventDefault()
      this.#apply()
    }
    return html`<form class="fields" @submit=${submit}>
      ${this.#boxes(
        'State',
        Object.entries(STATES).map(([value, word]) => ['state', value, word.label]),
      )}
      ${this.#boxes(
        'Kind of error',
        Object.entries(CLASSES).map(([value, label]) => ['class', value, label]),
      )}
      ${this.#boxes('Only', [
        ['paid_not_stored', 'true', 'Paid for, not stored'],
        ['orphan', 'true', 'Without a saved row'],
      ])}
      ${this.#times()} ${this.#text('Error code', 'error_code')} ${this.#text('Model', 'model', 'fal-ai/minimax/video-01')}
      ${this.#text('User', 'user')} ${this.#text('Key of the row', 'key')} ${this.#text('Request at fal.ai', 'request_id')}
      ${this.#text('Attempts, at least', 'attempts', '2')} ${this.#text('Cost in USD, at least', 'cost', '0.50')}
      ${me()?.see_input ? this.#text('Prompt has', 'prompt') : nothing}
      <button type="submit" class="unseen" tabindex="-1" aria-hidden="true">Apply</button>
    </form>`
  }

  protected override buttons(): unknown {
    return html`<button class="primary" type="button" @click=${this.#apply}>Show</button>`
  }
}

define('vv-filter', FilterDialog)

export function openFilter(filter: Filter, change: (filter: Filter) => void): void {
  void openDialog(new FilterDialog(filter, change))
}
