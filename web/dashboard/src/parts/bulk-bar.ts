// What can be done with the selected jobs or, if none is, with all that match.

import { html, nothing, type TemplateResult } from 'lit'
import type { Action } from '../api/types'
import { chips, type Filter, isEmpty } from '../lib/filter'
import { count } from '../lib/format'
import { ACTIONS } from '../lib/plan-text'
import { isActive } from '../lib/words'
import { openPlan } from './plan-dialog'

const ENDED = ['failed', 'cancelled']

/** Those that can be right for jobs in one of these states. */
function offered(states: string[] | undefined): Action[] {
  const all: Action[] = []
  if (!states || states.some((s) => [...ENDED, 'pending'].includes(s))) all.push('retry')
  if (!states || states.some((s) => isActive(s) && s !== 'processing')) all.push('cancel')
  if (!states || states.includes('failed')) all.push('forget_error')
  return all
}

/** What a filter is for, as it stands over the plan. */
function scope(action: Action, filter: Filter): string {
  const parts = chips(filter).map((chip) => chip.label)
  if (parts.length > 0) return `all that match “${parts.join(', ')}”`
  return action === 'cancel' ? 'all jobs in work' : 'all failed jobs'
}

function buttons(filter: Filter, subject: string | null): TemplateResult {
  return html`${offered(filter.state).map(
    (action) =>
      html`<button type="button" class="small" @click=${() => openPlan(action, filter, subject ?? scope(action, filter))}>
        ${ACTIONS[action].label} …
      </button>`,
  )}`
}

export function bulkBar(selected: Set<number>, filter: Filter, clear: () => void): TemplateResult {
  const n = selected.size
  if (n === 0 && offered(filter.state).length === 0) return html``
  if (n === 0)
    return html`<div class="bulk"><span class="quiet">${isEmpty(filter) ? 'All jobs:' : 'All that match:'}</span> ${buttons(filter, null)}</div>`
  const only: Filter = { job_id: [...selected].map(String) }
  return html`<div class="bulk on">
    <strong>${count(n, 'job')} selected</strong> ${buttons(only, `${count(n, 'selected job')}`)}
    <button type="button" class="small plain" @click=${clear}>Clear the selection</button>
    ${n > 1000 ? html`<span class="quiet">The first 1,000 at a time.</span>` : nothing}
  </div>`
}
