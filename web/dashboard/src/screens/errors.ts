// What went wrong, by error and model, with its trend.

import { html, nothing, type TemplateResult } from 'lit'
import type { ErrorGroup } from '../api/types'
import { Poll } from '../app/poll'
import { jobLink, link, route } from '../app/route'
import { admin, mayAct, serverNow } from '../app/session'
import { number } from '../lib/format'
import { LOOKS_BACK, rangeStart, readRange } from '../lib/range'
import { Watch } from '../lib/store'
import { CLASSES } from '../lib/words'
import { define, Part } from '../parts/base'
import { clampedCode } from '../parts/code'
import { pageHead, tabs } from '../parts/panel'
import { openPlan } from '../parts/plan-dialog'
import { sparkline } from '../parts/sparkline'
import { empty, polled } from '../parts/states'
import { type Column, dataTable } from '../parts/table'
import { since } from '../parts/time'

class ErrorsScreen extends Part {
  #range = readRange(route.value.query.get('range'), '24h')
  readonly #poll = new Poll<ErrorGroup[]>(
    this,
    (signal) => admin.errors(rangeStart(this.#range, serverNow()), signal),
    5,
  )

  constructor() {
    super()
    new Watch(this, route)
  }

  override willUpdate(): void {
    const range = readRange(route.value.query.get('range'), '24h')
    if (route.value.screen !== 'errors' || range === this.#range) return
    this.#range = range
    void this.#poll.restart()
  }

  #filter(group: ErrorGroup) {
    return { state: ['failed'], error_code: [group.error_code], model: [group.model], since: this.#range.label }
  }

  #actions(group: ErrorGroup): TemplateResult {
    const subject = `${group.error_code}, last ${this.#range.label}`
    return html`<span class="buttons">
      <button type="button" class="small" @click=${() => openPlan('retry', this.#filter(group), subject)}>Retry …</button>
      <button type="button" class="small" @click=${() => openPlan('forget_error', this.#filter(group), subject)}>Set aside …</button>
    </span>`
  }

  #columns(): Column<ErrorGroup>[] {
    const columns: Column<ErrorGroup>[] = [
      {
        head: 'Error',
        kind: 'first',
        cell: (g) => html`<span class="two"
          ><a href=${link('jobs', { state: 'failed', error_code: g.error_code, model: g.model, since: this.#range.label })} data-line data-key="error-${g.error_code}-${g.model}"
            >${clampedCode(g.error_code)}</a
          ><span class="tag">${CLASSES[g.error_class ?? ''] ?? g.error_class}</span></span
        >`,
      },
      { head: 'Jobs', kind: 'num', cell: (g) => html`${g.more ? 'over ' : ''}${number(g.jobs)}` },
      {
        head: 'Trend',
        kind: 'trend',
        cell: (g) => sparkline(g.trend, `Jobs in each twelfth of the last ${this.#range.label}`),
      },
      {
        head: 'Example',
        kind: 'wide',
        cell: (g) => html`<span class="two"
          ><span class="clamp" dir="auto" title=${g.example ?? ''}>${g.example}</span
          ><span class="quiet clip"><a href=${jobLink(g.example_job_id)}>job ${g.example_job_id}</a>, ${g.model}</span></span
        >`,
      },
      {
        head: 'Last seen',
        kind: 'seen',
        cell: (g) =>
          html`<span class="two">${since(g.last_at)}<span class="quiet">first ${since(g.first_at)}</span></span>`,
      },
    ]
    return mayAct() ? [...columns, { head: '', kind: 'act', cell: (g) => this.#actions(g) }] : columns
  }

  #list(groups: ErrorGroup[]): TemplateResult {
    if (groups.length === 0) return empty(`Nothing has failed in the last ${this.#range.label}.`)
    return html`${dataTable('Errors', this.#columns(), groups, (g) => `${g.error_code} ${g.model}`)}
      ${groups.some((g) => g.more) ? html`<p class="quiet pad">Of each error the last 10,000 jobs are counted.</p>` : nothing}`
  }

  override render() {
    const choices = LOOKS_BACK.map((r) => ({
      text: r.label,
      href: link('errors', { range: r.name }),
      on: r === this.#range,
    }))
    return html`${pageHead('Errors')} ${tabs('How far back', choices)} ${polled(this.#poll, (groups) => this.#list(groups))}`
  }
}

define('vv-errors', ErrorsScreen)
