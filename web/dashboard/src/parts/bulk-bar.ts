// What can be done with the selected jobs or, if none is, with all that match.

import { html, nothing, type TemplateResult } from 'lit'
import type { Action } from '../api/types'
import { count } from '../lib/format'
import type { Filter } from '../lib/filter'
import { ACTIONS } from '../lib/plan-text'
import { openPlan } from './plan-dialog'

const OFFERED: Action[] = ['retry', 'cancel', 'forget_error']

function buttons(filter: Filter, subject: string): TemplateResult {
  return html`${OFFERED.map(
    (action) =>
      html`<button type="button" class="small" @click=${() => openPlan(action, filter, subject)}>
        ${ACTIONS[action].label} …
      </button>`,
  )}`
}

export function bulkBar(selected: Set<number>, filter: Filter, clear: () => void): TemplateResult {
  const n = selected.size
  if (n === 0) return html`<div class="bulk"><span class="quiet">All that match:</span> ${buttons(filter, 'all that match')}</div>`
  const only: Filter = { job_id: [...selected].map(String) }
  return html`<div class="bulk on">
    <strong>${count(n, 'job')} selected</strong> ${buttons(only, `${count(n, 'selected job')}`)}
    <button type="button" class="small plain" @click=${clear}>Select none</button>
    ${n > 1000 ? html`<span class="quiet">The first 1,000 at a time.</span>` : nothing}
  </div>`
}
