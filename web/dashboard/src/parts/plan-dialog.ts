// Acting on many jobs: what would be done, to how many, for how much; then, if that is confirmed, what was done.

import { html, nothing } from 'lit'
import { ApiError } from '../api/errors'
import type { Action, ActResult, Plan, PlanExample } from '../api/types'
import { refresher } from '../app/refresh'
import { jobLink } from '../app/route'
import { admin } from '../app/session'
import { type Filter, toApi } from '../lib/filter'
import { count, usd } from '../lib/format'
import { ACTIONS, actSentence, doing, exampleCost, planBound, planSentence, skippedLines } from '../lib/plan-text'
import { DEEDS } from '../lib/words'
import { define } from './base'
import { Dialog, openDialog } from './dialog'
import { dataTable } from './table'
import { when } from './time'

const SIZES = [100, 1000, 10_000]

class PlanDialog extends Dialog {
  readonly #action: Action
  readonly #filter: Filter
  readonly #subject: string
  #size = 1000
  #plan: Plan | null = null
  #result: ActResult | null = null
  #typed = ''

  constructor(action: Action, filter: Filter, subject: string) {
    super()
    this.#action = action
    this.#filter = filter
    this.#subject = subject
  }

  override connectedCallback(): void {
    super.connectedCallback()
    void this.#makePlan()
  }

  protected heading(): string {
    return `${ACTIONS[this.#action].label}: ${this.#subject}`
  }

  #makePlan(): Promise<void> {
    return this.attempt(async () => {
      this.#typed = ''
      this.#plan = await admin.plan(this.#action, toApi(this.#filter), this.#size)
    }, false)
  }

  #act(): Promise<void> {
    const plan = this.#plan
    if (!plan?.token || !this.#isConfirmed()) return Promise.resolve()
    return this.attempt(async () => {
      this.#result = await admin.act(plan.token as string, plan.confirm ? this.#typed.trim() : null)
      void refresher.now(true)
    })
  }

  #isConfirmed(): boolean {
    return !this.#plan?.confirm || this.#typed.trim() === this.#plan.confirm
  }

  protected override closeLabel(): string {
    return this.#result || this.#plan?.jobs === 0 ? 'Close' : 'Do nothing'
  }

  protected body(): unknown {
    if (this.#result) return this.#resultBody(this.#result)
    if (!this.#plan)
      return html`<p class="loading" role="status">${this.busy ? 'Making a plan …' : 'There is no plan.'}</p>`
    return this.#planBody(this.#plan)
  }

  #planBody(plan: Plan): unknown {
    const bound = planBound(plan)
    return html`
      <p class="lead" role="status">${planSentence(this.#action, plan)}</p>
      <p class="quiet">${ACTIONS[this.#action].note}</p>
      ${bound ? html`<p class="line warn"><span>${bound}</span>${this.#sizes()}</p>` : nothing}
      ${this.#isTooMuch() ? html`<p class="line warn"><span>Nothing was done. Plan fewer jobs at a time.</span>${this.#sizes()}</p>` : nothing}
      ${this.#skipped(plan.skipped, plan.why)} ${plan.examples.length > 0 ? this.#examples(plan) : nothing}
      ${plan.confirm ? this.#confirmation(plan.confirm) : nothing}
      ${plan.jobs > 0 ? html`<p class="quiet">This plan is good until ${when(plan.expires_at)}, for one time.</p>` : nothing}
    `
  }

  /** The server has stopped it, and so undone it. */
  #isTooMuch(): boolean {
    return this.error instanceof ApiError && this.error.code === '57014'
  }

  #sizes(): unknown {
    const change = (event: Event) => {
      this.#size = Number((event.target as HTMLSelectElement).value)
      void this.#makePlan()
    }
    return html`<label class="inline">At most
      <select @change=${change}>
        ${SIZES.map((n) => html`<option value=${n} ?selected=${n === this.#size}>${count(n, 'job')}</option>`)}
      </select></label
    >`
  }

  #skipped(skipped: number, why: Record<string, number>): unknown {
    if (skipped === 0) return nothing
    return html`<h3>Skipped: ${count(skipped, 'job')}</h3>
      <ul class="plain">${skippedLines(why).map((line) => html`<li>${line}</li>`)}</ul>`
  }

  #examples(plan: Plan): unknown {
    const label = plan.examples.length < plan.jobs ? `The first ${plan.examples.length}` : 'Which jobs'
    return html`<details>
      <summary>${label}</summary>
      ${dataTable<PlanExample>(
        label,
        [
          {
            head: 'Job',
            kind: 'first',
            cell: (e) => html`<a href=${jobLink(e.job_id)} @click=${this.close}>${e.job_id}</a>`,
          },
          {
            head: 'Row',
            kind: 'wide',
            cell: (e) => html`<span class="clip" title=${e.key ?? ''}>${e.key ?? ''}</span>`,
          },
          { head: 'Will be', kind: 'does', cell: (e) => (e.does ? (DEEDS[e.does] ?? e.does) : '') },
          { head: 'Cost', kind: 'num', cell: (e) => exampleCost(e, plan) },
        ],
        plan.examples,
        (e) => e.job_id,
      )}
    </details>`
  }

  #confirmation(words: string): unknown {
    const type = (event: Event) => {
      this.#typed = (event.target as HTMLInputElement).value
      this.requestUpdate()
    }
    const enter = (event: KeyboardEvent) => {
      if (event.key === 'Enter') void this.#act()
    }
    return html`<label class="confirm"
      >To confirm, type <kbd>${words}</kbd>
      <input autofocus autocomplete="off" spellcheck="false" .value=${this.#typed} @input=${type} @keydown=${enter}
    /></label>`
  }

  #resultBody(result: ActResult): unknown {
    return html`<p class="lead" role="status">${actSentence(this.#action, result)}</p>
      ${this.#skipped(result.skipped, result.why)}`
  }

  protected override buttons(): unknown {
    if (this.#result || this.#plan?.jobs === 0) return nothing
    if (!this.#plan)
      return html`<button type="button" ?disabled=${this.busy} @click=${this.#makePlan}>Plan again</button>`
    const cost = Number(this.#plan.cost_usd) > 0 ? `, pay about ${usd(this.#plan.cost_usd)}` : ''
    return html`
      ${this.error ? html`<button type="button" ?disabled=${this.busy} @click=${this.#makePlan}>Plan again</button>` : nothing}
      <button class="primary" type="button" ?disabled=${this.busy || !this.#isConfirmed()} @click=${this.#act}>
        ${this.busy ? 'One moment …' : `${doing(this.#action, count(this.#plan.jobs, 'job'))}${cost}`}
      </button>
    `
  }
}

define('vv-plan', PlanDialog)

/** subject: what it is about, as '3 selected jobs'. */
export function openPlan(action: Action, filter: Filter, subject: string): void {
  void openDialog(new PlanDialog(action, filter, subject))
}
