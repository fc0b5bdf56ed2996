// Who did what, newest first.

import { html, type TemplateResult } from 'lit'
import { errorSentence } from '../api/errors'
import type { AuditPage, AuditRow, Cursor } from '../api/types'
import { Poll } from '../app/poll'
import { admin, mayAct } from '../app/session'
import { number, sentence, usd } from '../lib/format'
import { Pages } from '../lib/pages'
import { define, Part } from '../parts/base'
import { jsonView } from '../parts/json-view'
import { pageHead } from '../parts/panel'
import { empty, polled } from '../parts/states'
import { dataTable } from '../parts/table'
import { when } from '../parts/time'

const pageOf = (page: AuditPage) => ({ rows: page.rows, next: page.next, bound: null })

class AuditScreen extends Part {
  readonly #pages = new Pages<AuditRow, Cursor>((row) => row.audit_id)
  #busy = false
  #error: unknown = null
  readonly #poll = new Poll<AuditPage | null>(this, async (signal) => {
    // the database would refuse it, and note that
    if (!mayAct()) return null
    const page = await admin.audit(null, signal)
    if (this.#pages.pages.length <= 1) this.#pages.start(pageOf(page))
    return page
  })

  async #more(): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    this.#error = null
    this.requestUpdate()
    try {
      this.#pages.append(pageOf(await admin.audit(this.#pages.next)))
    } catch (error) {
      this.#error = error
    }
    this.#busy = false
    this.requestUpdate()
  }

  #details(row: AuditRow): TemplateResult | string {
    const parts = Object.entries({ arguments: row.arguments, outcome: row.outcome }).filter(
      ([, value]) => Object.keys(value ?? {}).length > 0,
    )
    if (parts.length === 0) return ''
    return html`<details>
      <summary>${sentence(parts.map(([name]) => name).join(' and '))}</summary>
      ${parts.map(([name, value]) => jsonView(value, name))}
    </details>`
  }

  #list(): TemplateResult {
    if (this.#pages.size === 0) return empty('No acts yet.')
    return html`${dataTable<AuditRow>(
      'Audit',
      [
        { head: 'When', kind: 'first', cell: (row) => when(row.at) },
        { head: 'Who', cell: (row) => html`<span class="break">${row.who}</span>` },
        { head: 'Action', cell: (row) => html`<code>${row.action}</code>` },
        { head: 'Jobs', kind: 'num', cell: (row) => number(row.jobs) },
        { head: 'Cost', kind: 'num', cell: (row) => usd(row.cost_usd) },
        { head: 'Details', kind: 'wide', cell: (row) => this.#details(row) },
      ],
      this.#pages.rows,
      (row) => row.audit_id,
    )}
      ${this.#error ? html`<p class="line bad" role="alert">${errorSentence(this.#error)}</p>` : ''}
      ${this.#pages.next ? html`<p class="end"><button type="button" ?disabled=${this.#busy} @click=${this.#more}>Show more</button></p>` : ''}`
  }

  override render() {
    return html`${pageHead('Audit')}
      <p class="quiet">What operators and the owner did. Rows cannot be changed, and are kept for vibevideo.audit_retention.</p>
      ${polled(this.#poll, (page) => (page ? this.#list() : empty('Only operators read the audit.')))}`
  }
}

define('vv-audit', AuditScreen)
