// What needs a person, each with what can be done about it.

import { html, nothing, type TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import type { InboxRow } from '../api/types'
import { jobLink, link, type Screen } from '../app/route'
import { admin, mayAct } from '../app/session'
import { writeFilter } from '../lib/filter'
import { count } from '../lib/format'
import { ACTIONS } from '../lib/plan-text'
import { readStatement } from '../lib/statement'
import { NEEDS } from '../lib/words'
import { ask } from './confirm-dialog'
import { icon } from './icon'
import { askCancel, askRetry } from './job-actions'
import { openPlan } from './plan-dialog'
import { since } from './time'

export function askResume(): void {
  ask({
    title: 'Resume',
    text: html`<p>What waits is sent, and paid for. Resume only if no other copy of this database works on the same jobs.</p>`,
    verb: 'Resume',
    run: async () => {
      await admin.resume()
      return 'Resumed'
    },
  })
}

function statement(row: InboxRow): TemplateResult {
  return html`<details>
    <summary>As SQL</summary>
    <span class="copyable"><code class="wrap">${row.action}</code><vv-copy .text=${row.action} what="statement"></vv-copy></span>
  </details>`
}

/** What a retry costs is known by what the trouble is. */
const FREE = 'Retry: free, only the copy …'
const PAID = 'Retry: a new render, paid for …'
const RETRIES: Record<string, string> = {
  dead_letter: FREE,
  orphan_video: FREE,
  given_up: PAID,
  quarantined: PAID,
}

function act(row: InboxRow): unknown {
  const remedy = readStatement(row.action)
  const job = (jobId: number) => ({ job_id: jobId, state: 'failed' as const, vibelog_id: '' })
  switch (remedy.kind) {
    case 'plan': {
      const open = () => openPlan(remedy.action, remedy.filter, row.subject)
      return html`<button type="button" @click=${open}>${ACTIONS[remedy.action].label} …</button>`
    }
    case 'retry':
      return html`<button type="button" @click=${() => askRetry(job(remedy.jobId))}>${RETRIES[row.kind] ?? 'Retry …'}</button>`
    case 'cancel':
      return html`<button type="button" @click=${() => askCancel({ ...job(remedy.jobId), state: 'queued' })}>Cancel …</button>`
    case 'resume':
      return html`<button type="button" @click=${askResume}>Resume …</button>`
    default:
      return nothing
  }
}

const PLACES: Record<string, [Screen, string]> = {
  lost_submit: ['lost', 'Look at them'],
  check: ['health', 'Health'],
  budget: ['limits', 'Limits'],
  price_changed: ['limits', 'Prices'],
  ledger: ['ledger', 'Ledger'],
}

/** Where to look at what a line is about. */
function place(row: InboxRow): unknown {
  const remedy = readStatement(row.action)
  const [screen, label] = PLACES[row.kind] ?? []
  if (screen) return html`<a class="button" href=${link(screen)}>${label}</a>`
  if (row.job_id !== null && (row.jobs ?? 1) <= 1)
    return html`<a class="button" href=${jobLink(row.job_id)}>Job ${row.job_id}</a>`
  if (remedy.kind === 'plan')
    return html`<a class="button" href=${link('jobs', writeFilter(remedy.filter))}>Show the jobs</a>`
  return row.job_id === null ? nothing : html`<a class="button" href=${jobLink(row.job_id)}>The last of them</a>`
}

const LOST =
  'Nobody knows whether fal.ai renders and charges. Nothing is sent again until that is found out, or somebody decides.'

function line(row: InboxRow): TemplateResult {
  // what is sent again has to be looked at one by one
  const acts = mayAct() && row.kind !== 'lost_submit'
  return html`<li class="need ${row.kind === 'copy' || row.kind === 'account' ? 'bad' : 'warn'}">
    ${icon('warn')}
    <div>
      <h2>
        ${NEEDS[row.kind] ?? row.kind}
        <span class="quiet"><span dir="auto">${row.subject}</span>${row.since ? html`, ${(row.jobs ?? 1) > 1 ? 'first ' : ''}${since(row.since)}` : nothing}</span>
      </h2>
      <p class="text" dir="auto">${row.kind === 'lost_submit' ? LOST : row.sentence}</p>
      <div class="buttons">${acts ? act(row) : nothing} ${place(row)}${statement(row)}</div>
    </div>
  </li>`
}

const SHOWN = 4

/** whole: whether more than the first few are shown. */
export function inboxList(rows: InboxRow[], whole: boolean, showWhole: () => void): TemplateResult {
  const shown = whole || rows.length <= SHOWN + 1 ? rows : rows.slice(0, SHOWN)
  const rest = rows.length - shown.length
  return html`<section class="inbox" aria-label="What needs you">
    ${rows.length === 0 ? html`<p class="calm">${icon('ok')}Nothing needs you.</p>` : html`<ul class="needs">${repeat(shown, (row) => `${row.kind} ${row.subject}`, line)}</ul>`}
    ${rest > 0 ? html`<button type="button" @click=${showWhole}>Show ${count(rest, 'more thing')} that need you</button>` : nothing}
  </section>`
}
