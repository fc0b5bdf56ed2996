// Submits whose answer was lost: what was sent, what fal.ai has that it may be, and what happens if nobody decides.

import { html, nothing, type TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import type { Candidate, LostRow } from '../api/types'
import { Poll } from '../app/poll'
import { jobLink } from '../app/route'
import { admin, mayAct, serverNow } from '../app/session'
import { usd } from '../lib/format'
import { define, Part } from '../parts/base'
import { copyable } from '../parts/copy'
import { icon } from '../parts/icon'
import { askCancel, askResolve } from '../parts/job-actions'
import { outLink } from '../parts/out-link'
import { pageHead } from '../parts/panel'
import { openPlan } from '../parts/plan-dialog'
import { openResolve } from '../parts/resolve-dialog'
import { empty, polled } from '../parts/states'
import { type Column, dataTable } from '../parts/table'
import { since, when, whenSince } from '../parts/time'

const POLICIES: Record<string, string> = {
  fail_when_absent: 'it fails, and nothing is sent again',
  resubmit_when_absent: 'it is sent again, and paid for',
  resubmit: 'it is sent again at once, and paid for',
  manual: 'it waits for a decision, for as long as it takes',
}

function candidates(row: LostRow): TemplateResult {
  if (row.candidates === null) return html`<p class="quiet">fal.ai’s list of requests was not read yet.</p>`
  if (row.candidates.length === 0) return html`<p class="quiet">fal.ai’s list shows no request that it may be. That proves little: it may list finished ones only.</p>`
  const columns: Column<Candidate>[] = [
    { head: 'Request', kind: 'wide', cell: (c) => copyable(c.request_id, 'request id') },
    { head: 'At fal.ai since', cell: (c) => whenSince(c.at) },
  ]
  if (mayAct()) {
    columns.push({
      head: '',
      kind: 'act',
      cell: (c) => html`<button type="button" class="small" @click=${() => askResolve(row.job, c.request_id)}>This is it …</button>`,
    })
  }
  return dataTable(`Candidates for job ${row.job.job_id}`, columns, row.candidates, (c) => c.request_id)
}

function ends(row: LostRow): TemplateResult {
  const then = POLICIES[row.policy] ?? row.policy
  if (!row.acts_at || row.policy === 'manual') return html`Without you: ${then}.`
  return new Date(row.acts_at) > serverNow()
    ? html`Without you, if it is not found by ${when(row.acts_at)} (${since(row.acts_at)}): ${then}.`
    : html`Without you, once fal.ai’s list could be read to its end: ${then}.`
}

function buttons(row: LostRow): TemplateResult | typeof nothing {
  if (!mayAct()) return nothing
  return html`<div class="buttons">
    <button type="button" @click=${() => openResolve(row.job)}>Enter its request …</button>
    <button type="button" @click=${() => askResolve(row.job, null)}>It was not sent: send again, about ${usd(row.job.cost_usd)} …</button>
    <button type="button" @click=${() => askCancel(row.job)}>Cancel …</button>
  </div>`
}

function item(row: LostRow): TemplateResult {
  const { job } = row
  return html`<li class="lost">
    <h2>
      <a href=${jobLink(job.job_id)} data-line data-key="lost-${job.job_id}">Job ${job.job_id}</a>
      <code class="clip" title=${job.vibelog_id}>${job.vibelog_id}</code>
    </h2>
    <p>Sent ${whenSince(row.sent_at)} to <span class="break">${job.model}</span>, for ${job.user_id ? html`user <span class="break">${job.user_id}</span>` : 'nobody known'}.</p>
    ${job.prompt ? html`<p class="quiet clamp" dir="auto">${job.prompt}</p>` : nothing}
    <p class="line warn">${icon('warn')}${ends(row)}</p>
    <p class="quiet">
      ${row.looked_at ? html`Looked up at fal.ai ${since(row.looked_at)}. ` : 'Not looked up yet. '}${
        row.next_look_at ? html`Next ${since(row.next_look_at)}. ` : ''
      }${row.fal_url ? outLink(row.fal_url, 'fal.ai’s list') : ''}
    </p>
    ${candidates(row)} ${buttons(row)}
  </li>`
}

class LostScreen extends Part {
  readonly #poll = new Poll<LostRow[]>(this, (signal) => admin.lost(signal))

  #list(rows: LostRow[]): TemplateResult {
    if (rows.length === 0) return empty('No answer is lost. Each submit’s outcome is known.')
    const all = () => openPlan('resolve_not_sent', {}, 'all lost submits')
    return html`${mayAct() && rows.length > 1 ? html`<div class="buttons"><button type="button" @click=${all}>Send all of them again …</button></div>` : nothing}
      <ul class="losts">${repeat(rows, (row) => row.job.job_id, item)}</ul>
      ${rows.length === 100 ? html`<p class="line">The first 100 are shown.</p>` : nothing}`
  }

  override render() {
    return html`${pageHead('Lost submits')}
      <p class="quiet">
        fal.ai’s answer to these was lost on its way, so that nobody knows whether it renders and charges. Nothing is sent again until
        that is found out, or decided.
      </p>
      ${polled(this.#poll, (rows) => this.#list(rows))}`
  }
}

define('vv-lost', LostScreen)
