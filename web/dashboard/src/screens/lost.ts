// Submits whose answer was lost: what was sent, what fal.ai has that it may be, and what happens if nobody decides.

import { html, nothing, type TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import type { Candidate, LostRow } from '../api/types'
import { Poll } from '../app/poll'
import { jobLink } from '../app/route'
import { admin, mayAct, serverNow } from '../app/session'
import { duration, usd } from '../lib/format'
import { define, Part } from '../parts/base'
import { copyable } from '../parts/copy'
import { icon } from '../parts/icon'
import { askAdopt, askCancel, askSendAgain } from '../parts/job-actions'
import { outLink } from '../parts/out-link'
import { pageHead } from '../parts/panel'
import { openPlan } from '../parts/plan-dialog'
import { openResolve } from '../parts/resolve-dialog'
import { empty, polled } from '../parts/states'
import { type Column, dataTable } from '../parts/table'
import { since, when, whenSince } from '../parts/time'

const INPUTS = { same: 'the same', contains: 'ours, and more', differs: 'another' }

function candidateColumns(row: LostRow): Column<Candidate>[] {
  const columns: Column<Candidate>[] = [
    { head: 'Request', kind: 'first', cell: (c) => copyable(c.request_id, 'request id') },
    {
      head: 'At fal.ai since',
      cell: (c) =>
        html`${when(c.at)}${c.seconds === null ? nothing : html` <span class="quiet">${duration(Math.abs(c.seconds))} ${c.seconds < 0 ? 'before' : 'after'} ours</span>`}`,
    },
    { head: 'Its input is', cell: (c) => html`<span class="nowrap">${c.input ? INPUTS[c.input] : ''}</span>` },
    {
      head: 'Why it was not taken',
      kind: 'wide',
      cell: (c) =>
        html`<span dir="auto">${c.why ? `${c.why}. ` : ''}</span>${c.fal_url ? html`<span class="nowrap">${outLink(c.fal_url, 'Its result')}</span>` : nothing}`,
    },
  ]
  if (!mayAct()) return columns
  const take = (c: Candidate) =>
    html`<button type="button" class="small" @click=${() => askAdopt(row.job, c.request_id)}>This is it …</button>`
  return [...columns, { head: '', kind: 'act', cell: take }]
}

function candidates(row: LostRow): TemplateResult {
  if (row.candidates === null) return html`<p class="quiet">fal.ai’s list of requests was not read yet.</p>`
  const proof = row.complete
    ? 'It was read to its end.'
    : 'It could not be read to its end, so that this proves little.'
  if (row.candidates.length === 0)
    return html`<p class="quiet">fal.ai’s list shows no request that it may be. ${proof}</p>`
  return dataTable(`Candidates for job ${row.job.job_id}`, candidateColumns(row), row.candidates, (c) => c.request_id)
}

function ends(row: LostRow): TemplateResult {
  const time =
    row.acts_at && new Date(row.acts_at) > serverNow()
      ? html`, at ${when(row.acts_at)} (${since(row.acts_at)}) at the earliest`
      : ''
  return html`If nobody decides${time}: ${row.outcome}.`
}

function buttons(row: LostRow): TemplateResult | typeof nothing {
  if (!mayAct()) return nothing
  const cost = Number(row.job.cost_usd)
  return html`<div class="buttons">
    <button type="button" @click=${() => openResolve(row.job)}>Enter its request id …</button>
    <button type="button" @click=${() => askSendAgain(row.job)}>It was not sent: send again${cost > 0 ? `, pays about ${usd(cost)}` : ', pays again'} …</button>
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
    <p>Sent ${whenSince(row.sent_at)} to <span class="break">${job.model}</span>, for ${job.user_id ? html`user <span class="break">${job.user_id}</span>` : 'an unknown user'}.</p>
    ${job.prompt ? html`<p class="quiet clamp" dir="auto">${job.prompt}</p>` : nothing}
    <p class="line warn">${icon('warn')}<span>${ends(row)}</span></p>
    <p class="quiet">
      ${row.looked_at ? html`Looked up at fal.ai ${since(row.looked_at)}. ` : 'Not looked up yet. '}${
        row.next_look_at ? html`Next ${since(row.next_look_at)}. ` : ''
      }${row.fal_url ? html`${outLink(row.fal_url, 'fal.ai’s list')} needs the API key.` : ''}
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
      ${rows[0]?.more ? html`<p class="line">There are more: these are the oldest.</p>` : nothing}`
  }

  override render() {
    return html`${pageHead('Lost submits')}
      <p class="quiet">
        fal.ai’s answer to these was lost on its way, so nobody knows whether it renders and charges. Nothing is sent again until that
        is found out, or somebody decides.
      </p>
      ${polled(this.#poll, (rows) => this.#list(rows))}`
  }
}

define('vv-lost', LostScreen)
