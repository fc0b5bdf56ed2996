// Our books against fal.ai's bill, by day and model, and what has no counterpart.

import { html, nothing, type TemplateResult } from 'lit'
import type { LedgerDay, LedgerPage, Unmatched } from '../api/types'
import { Poll } from '../app/poll'
import { jobLink, link } from '../app/route'
import { admin, mayAct } from '../app/session'
import { toCsv } from '../lib/csv'
import { number, usd } from '../lib/format'
import { badge } from '../parts/badge'
import { define, Part } from '../parts/base'
import { ask } from '../parts/confirm-dialog'
import { copyable } from '../parts/copy'
import { save } from '../parts/csv-button'
import { facts } from '../parts/facts'
import { icon } from '../parts/icon'
import { pageHead, panel } from '../parts/panel'
import { empty, polled } from '../parts/states'
import { type Column, dataTable } from '../parts/table'
import { when, whenSince } from '../parts/time'

const DAYS = 30
const MONEY = [
  ['Ours', 'ours_usd'],
  ['fal.ai', 'fal_usd'],
  ['Difference', 'difference_usd'],
  ['Explained', 'explained_usd'],
] as const
const ALONE = [
  ['Jobs without item', 'jobs_without_item'],
  ['Items without job', 'items_without_job'],
] as const

const KINDS = { item: 'Item without job', job: 'Job without item' }

function explain(u: Unmatched): void {
  let note = ''
  const type = (event: Event) => {
    note = (event.target as HTMLInputElement).value
  }
  ask({
    title: 'Explain a difference',
    text: html`<p>${KINDS[u.kind]}, ${usd(u.usd)}: ${u.reason}.</p>
      <label>What it is <input autofocus maxlength="1000" @input=${type} /></label>
      <p class="quiet">${u.kind === 'job' ? 'The job costs nothing then, unless fal.ai bills it after all. ' : ''}The audit has what you say.</p>`,
    verb: 'Explain',
    run: async () => {
      await admin.explain(String(u.event_id ?? u.request_id), note)
      return 'Explained'
    },
  })
}

function dayTable(days: LedgerDay[]): TemplateResult {
  const columns: Column<LedgerDay>[] = [
    { head: 'Day', kind: 'first', cell: (d) => html`<span class="nowrap">${d.day}</span>` },
    {
      head: 'Model',
      cell: (d) => html`<a class="break" href=${link('jobs', { model: d.model })} data-line>${d.model}</a>`,
    },
    ...MONEY.map(([head, field]): Column<LedgerDay> => ({ head, kind: 'num', cell: (d) => usd(d[field]) })),
    ...ALONE.map(([head, field]): Column<LedgerDay> => ({ head, kind: 'num', cell: (d) => number(d[field]) })),
    { head: 'State', cell: (d) => (d.closed ? badge('Closed', 'ok') : badge('Open', 'wait')) },
  ]
  return dataTable('Days', columns, days, (d) => `${d.day} ${d.model}`)
}

function unmatchedTable(rows: Unmatched[]): TemplateResult {
  const columns: Column<Unmatched>[] = [
    { head: 'What', kind: 'first', cell: (u) => KINDS[u.kind] },
    { head: 'At', cell: (u) => when(u.at) },
    {
      head: 'Model, request',
      kind: 'does',
      cell: (u) => html`<span class="two"><span class="break">${u.model}</span>
        ${u.request_id ? copyable(u.request_id, 'request id') : nothing}
        ${u.job_id === null ? nothing : html`<a href=${jobLink(u.job_id)} data-line>Job ${u.job_id}</a>`}</span>`,
    },
    { head: 'USD', kind: 'num', cell: (u) => usd(u.usd) },
    { head: 'Why, perhaps', cell: (u) => u.reason },
  ]
  const act = (u: Unmatched) =>
    html`<button type="button" class="small" aria-label="Explain ${u.request_id ?? `item ${u.event_id}`}" @click=${() => explain(u)}>Explain …</button>`
  if (mayAct()) columns.push({ head: '', kind: 'act', cell: act })
  return dataTable('Unmatched', columns, rows, (u) => `${u.kind} ${u.event_id ?? u.job_id}`)
}

class LedgerScreen extends Part {
  readonly #poll = new Poll<LedgerPage>(this, (signal) => admin.ledger(DAYS, signal), 15)

  #show(page: LedgerPage): TemplateResult {
    const { days, unmatched } = page
    const said = html`${page.detail}. ${page.hint}`
    if (!page.read_at) return empty(said)
    // without what adding has put behind the cents
    const sum = (field: keyof LedgerDay) => usd(Math.round(days.reduce((n, d) => n + Number(d[field]), 0) * 1e9) / 1e9)
    const csv = () => save('ledger', toCsv(days, Object.keys(days[0] ?? {})))
    return html`${page.hint ? html`<p class="line warn">${icon('warn')}<span>${said}</span></p>` : nothing}
      ${panel(
        `${DAYS} days`,
        html`${facts([
          ['Read', html`from ${when(page.covered_from)} to ${whenSince(page.read_at)}`],
          ['Failing since', whenSince(page.failing_since)],
          ...MONEY.map(([head, field]): [string, string] => [head, sum(field)]),
        ])}
        ${days.length > 0 ? dayTable(days) : empty('Nothing was billed in these days, and nothing cost.')}
        ${page.more_days ? html`<p class="quiet pad">There is more: vibevideo.ledger has it all.</p>` : nothing}`,
        days.length > 0 ? html`<button type="button" class="small" @click=${csv}>Save as CSV</button>` : '',
      )}
      ${panel(
        'Without a counterpart',
        html`${unmatched.length > 0 ? unmatchedTable(unmatched) : empty('Nothing is left to explain.')}
        ${page.more_unmatched ? html`<p class="quiet pad">There is more: these are the last.</p>` : nothing}`,
      )}`
  }

  override render() {
    return html`${pageHead('Ledger')}
      <p class="quiet">What jobs cost by our books, and by fal.ai’s bill. Days are of UTC, and close when each difference is explained.</p>
      ${polled(this.#poll, (page) => this.#show(page))}`
  }
}

define('vv-ledger', LedgerScreen)
