// Backlog, waits, outcomes and money over time, one below the other with the same times.

import { html, type TemplateResult } from 'lit'
import { Poll } from '../app/poll'
import { go, link, replace, route } from '../app/route'
import { admin, serverNow } from '../app/session'
import {
  backlogChart,
  finishedChart,
  isBlank,
  PHASES,
  type Phase,
  type SeriesSet,
  sharedTimes,
  spendChart,
  waitsChart,
} from '../lib/chart-data'
import { LOOKS_BACK, rangeStart, readRange } from '../lib/range'
import { fullestLabel, labelsOf } from '../lib/series'
import { Watch } from '../lib/store'
import { define, Part } from '../parts/base'
import '../parts/chart'
import type { ChartData, View } from '../parts/chart'
import { pageHead, tabs } from '../parts/panel'
import { empty, polled } from '../parts/states'

const RANGES = LOOKS_BACK.filter((range) => range.name !== '7d')

interface Shown {
  charts: ChartData[]
  models: string[]
  model: string | null
}

class ChartsScreen extends Part {
  #asked = ''
  readonly #poll = new Poll<Shown>(this, (signal) => this.#load(signal), 15)

  constructor() {
    super()
    new Watch(this, route)
  }

  #query() {
    const { query } = route.value
    const phase = PHASES.find(([p]) => p === query.get('phase'))?.[0] ?? 'wait'
    return { range: readRange(query.get('range'), '24h'), phase, model: query.get('model') }
  }

  /** What the address says to look at more closely, while there is something to be seen of it. */
  #view(shown: Shown): View | null {
    const { query } = route.value
    const [from, to] = [Number(query.get('from')), Number(query.get('to'))]
    return from > 0 && from < to && to > (shown.charts[0]?.times[0] ?? 0) ? { from, to } : null
  }

  override willUpdate(): void {
    const query = new URLSearchParams(route.value.query)
    query.delete('from')
    query.delete('to')
    const asked = query.toString()
    if (route.value.screen !== 'charts' || asked === this.#asked) return
    this.#asked = asked
    if (this.hasUpdated) void this.#poll.restart()
  }

  async #load(signal: AbortSignal): Promise<Shown> {
    const { range, phase, model } = this.#query()
    const since = rangeStart(range, serverNow())
    const read = (metric: string) => admin.series(metric, since, range.step, signal)
    const [backlog, p50, p95, completed, failed, cancelled, spend] = await Promise.all(
      ['backlog', `${phase}_p50`, `${phase}_p95`, 'completed', 'failed', 'cancelled', 'spend_usd'].map(read),
    )
    const set = { backlog, p50, p95, completed, failed, cancelled, spend } as SeriesSet
    const times = sharedTimes(set)
    return {
      charts: [
        backlogChart(set, times),
        waitsChart(set, times, phase, model),
        finishedChart(set, times),
        spendChart(set, times),
      ],
      models: labelsOf(set.p50),
      model: model ?? fullestLabel(set.p50),
    }
  }

  #go(change: Record<string, string>, view: View | null): string {
    const { range, phase, model } = this.#query()
    const closer: Record<string, string> = view ? { from: `${view.from}`, to: `${view.to}` } : {}
    return link('charts', { range: range.name, phase, ...(model ? { model } : {}), ...closer, ...change })
  }

  #choices(shown: Shown): TemplateResult {
    const { phase } = this.#query()
    const view = this.#view(shown)
    const pick = (key: string) => (event: Event) =>
      go(this.#go({ [key]: (event.target as HTMLSelectElement).value }, view))
    return html`<div class="filters">
      <label class="inline"
        >Time
        <select @change=${pick('phase')}>
          ${PHASES.map(([value, label]: [Phase, string]) => html`<option value=${value} ?selected=${value === phase}>${label}</option>`)}
        </select>
      </label>
      ${
        shown.models.length > 1
          ? html`<label class="inline"
              >of
              <select @change=${pick('model')}>
                ${shown.models.map((m) => html`<option value=${m} ?selected=${m === shown.model}>${m}</option>`)}
              </select>
            </label>`
          : ''
      }
      ${view ? html`<button type="button" class="small" @click=${() => replace(this.#go({}, null))}>Show all again</button>` : html`<span class="quiet">Drag over a chart to look closer.</span>`}
    </div>`
  }

  #zoom(event: CustomEvent<View | null>): void {
    replace(this.#go({}, event.detail))
  }

  #charts(shown: Shown): TemplateResult {
    const view = this.#view(shown)
    return html`${this.#choices(shown)}
      <div class="charts" @vv-zoom=${this.#zoom}>
        ${shown.charts.map((data) => html`<div class="panel"><vv-chart .data=${data} .view=${view}></vv-chart></div>`)}
      </div>
      <p class="quiet">Each point covers ${this.#query().range.step}. Times are local.</p>`
  }

  override render() {
    const { range } = this.#query()
    const choices = RANGES.map((r) => ({ text: r.label, href: this.#go({ range: r.name }, null), on: r === range }))
    return html`${pageHead('Charts')} ${tabs('How far back', choices)}
      ${polled(this.#poll, (shown) => (isBlank(shown.charts) ? empty(`Nothing has happened in the last ${range.label}: no job was in work or ended.`) : this.#charts(shown)))}`
  }
}

define('vv-charts', ChartsScreen)
