// A chart over time. Its legend is ours, and says in text what the lines say; the table below it has the numbers.

import { html, nothing, svg, type TemplateResult } from 'lit'
import uPlot from 'uplot'
import { theme } from '../app/theme'
import { localTime } from '../lib/format'
import type { Column } from '../lib/series'
import { define, Part } from './base'
import { dataTable } from './table'
import { when } from './time'

export interface Line {
  label: string
  column: Column
  ink: 'accent' | 'ok' | 'bad' | 'warn' | 'quiet'
  /** what the legend says while nothing is pointed at */
  summary: string
}

export interface ChartData {
  title: string
  times: number[]
  lines: Line[]
  format: (value: number) => string
}

/** What is looked at more closely, in seconds since 1970. */
export interface View {
  from: number
  to: number
}

const HEIGHT = 180
const DASHES = [[], [6, 4], [2, 3]]
const SYNC = 'vibevideo'
const dayOnly = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' })
const hourOnly = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })

function axisTimes(_: uPlot, splits: number[], __: number, ___: number, step: number): string[] {
  return splits.map((at) => (step >= 86_400 ? dayOnly : hourOnly).format(new Date(at * 1000)))
}

class Chart extends Part {
  static override properties = { data: { attribute: false }, view: { attribute: false } }
  declare data: ChartData
  /** null: all that there is */
  declare view: View | null
  #plot: uPlot | null = null
  #shape = ''
  #shown: View | null = null
  #at: number | null = null
  #tableOpen = false
  #stopTheme = () => {}
  readonly #sizes = new ResizeObserver(() => this.#resize())
  readonly #scheme = matchMedia('(prefers-color-scheme: dark)')

  override connectedCallback(): void {
    super.connectedCallback()
    this.#stopTheme = theme.subscribe(this.#repaint)
    this.#scheme.addEventListener('change', this.#repaint)
  }

  override disconnectedCallback(): void {
    this.#sizes.disconnect()
    this.#stopTheme()
    this.#scheme.removeEventListener('change', this.#repaint)
    this.#plot?.destroy()
    this.#plot = null
    super.disconnectedCallback()
  }

  /** The colours are the style sheet's: the chart takes them from its legend. */
  #repaint = () => {
    this.#shape = ''
    this.requestUpdate()
  }

  #box(): HTMLElement {
    return this.querySelector('.plot') as HTMLElement
  }

  #resize(): void {
    const width = this.#box().clientWidth
    if (width > 0 && this.#plot && this.#plot.width !== width) this.#plot.setSize({ width, height: HEIGHT })
  }

  #options(): uPlot.Options {
    const inks = [...this.querySelectorAll('.legend .ink')].map((ink) => getComputedStyle(ink).color)
    const style = getComputedStyle(this.#box())
    const grid = { stroke: style.borderTopColor, width: 1 }
    const axis: uPlot.Axis = { stroke: style.color, grid, ticks: grid, font: '11px system-ui, sans-serif' }
    return {
      width: Math.max(this.#box().clientWidth, 200),
      height: HEIGHT,
      legend: { show: false },
      cursor: { sync: { key: SYNC }, drag: { x: true, y: false }, points: { size: 6 } },
      scales: { y: { range: (_, __, max) => [0, max > 0 ? max * 1.08 : 1] } },
      axes: [
        { ...axis, values: axisTimes, space: 60, size: 32 },
        { ...axis, size: 56, values: (_, splits) => splits.map((v) => this.data.format(v)) },
      ],
      series: [
        {},
        ...this.data.lines.map((line, nth) => ({
          label: line.label,
          stroke: inks[nth] ?? style.color,
          width: 1.5,
          dash: DASHES[nth] ?? [],
          spanGaps: false,
          points: { show: false },
        })),
      ],
      hooks: {
        setCursor: [(u) => this.#point(u.cursor.idx ?? null)],
        setScale: [(u, key) => key === 'x' && this.#noteZoom(u)],
      },
    }
  }

  #point(at: number | null): void {
    if (at === this.#at) return
    this.#at = at
    this.requestUpdate()
  }

  /** Tells what somebody has chosen by dragging; a double click is all again. */
  #noteZoom(plot: uPlot): void {
    const { times } = this.data
    const { min, max } = plot.scales.x as uPlot.Scale
    const zoomed = (min ?? 0) > (times[0] ?? 0) || (max ?? 0) < (times.at(-1) ?? 0)
    const view = zoomed ? { from: Math.round(min ?? 0), to: Math.round(max ?? 0) } : null
    if (view?.from === this.#shown?.from && view?.to === this.#shown?.to) return
    this.#shown = view
    this.dispatchEvent(new CustomEvent('vv-zoom', { bubbles: true, detail: view }))
  }

  #zoom(plot: uPlot): void {
    const { times } = this.data
    this.#shown = this.view
    plot.setScale('x', { min: this.view?.from ?? times[0] ?? 0, max: this.view?.to ?? times.at(-1) ?? 1 })
  }

  override updated(changed: Map<string, unknown>): void {
    const columns = [this.data.times, ...this.data.lines.map((line) => line.column)] as uPlot.AlignedData
    const shape = this.data.lines.map((line) => line.label).join('|')
    const fresh = !this.#plot || shape !== this.#shape
    if (fresh) {
      this.#shape = shape
      this.#plot?.destroy()
      this.#plot = new uPlot(this.#options(), columns, this.#box())
      this.#sizes.observe(this.#box())
    } else if (this.#plot?.data[0] !== columns[0]) {
      this.#plot?.setData(columns, false)
    }
    if (this.#plot && (fresh || changed.has('data') || changed.has('view'))) this.#zoom(this.#plot)
  }

  #legend(line: Line, nth: number): TemplateResult {
    const value = this.#at === null ? undefined : line.column[this.#at]
    const text = this.#at === null ? line.summary : value == null ? 'unknown' : this.data.format(value)
    const dash = (DASHES[nth] ?? []).join(' ')
    return html`<li>
      <svg class="ink ink-${line.ink}" viewBox="0 0 24 8" aria-hidden="true">
        ${svg`<line x1="0" y1="4" x2="24" y2="4" stroke-dasharray=${dash || 'none'} />`}
      </svg>
      <span>${line.label}</span> <strong>${text}</strong>
    </li>`
  }

  #table(): unknown {
    if (!this.#tableOpen) return nothing
    const { times, lines, format, title } = this.data
    const cell = (line: Line) => (nth: number) => {
      const value = line.column[nth]
      return value == null ? 'unknown' : format(value)
    }
    const order = times.map((_, nth) => nth).reverse()
    const time = (nth: number) => when(new Date((times[nth] as number) * 1000).toISOString())
    return dataTable(
      title,
      [
        { head: 'From', kind: 'first', cell: time },
        ...lines.map((line) => ({ head: line.label, kind: 'num' as const, cell: cell(line) })),
      ],
      order,
      (nth) => times[nth],
    )
  }

  #toggle(event: Event): void {
    this.#tableOpen = (event.target as HTMLDetailsElement).open
    this.requestUpdate()
  }

  override render() {
    const { title, lines, times } = this.data
    const label = `${title}: ${lines.map((line) => `${line.label} ${line.summary}`).join(', ')}`
    const at = this.#at === null ? undefined : times[this.#at]
    return html`<figure class="chart">
      <figcaption>
        <h2>${title}</h2>
        <span class="quiet">${at === undefined ? '' : localTime(new Date(at * 1000), new Date(), false)}</span>
      </figcaption>
      <ul class="legend">${lines.map((line, nth) => this.#legend(line, nth))}</ul>
      <div class="plot" role="img" aria-label=${label}></div>
      <details @toggle=${this.#toggle}><summary>As a table</summary>${this.#table()}</details>
    </figure>`
  }
}

define('vv-chart', Chart)
