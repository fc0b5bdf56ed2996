// Whether all is well: the worker, fal.ai and Storage, the checks, the pause, the settings.

import { html, nothing, type TemplateResult } from 'lit'
import { errorSentence } from '../api/errors'
import type { Check, Probe, Setting, Worker } from '../api/types'
import { announce, tell } from '../app/announce'
import { overview } from '../app/overview'
import { Poll } from '../app/poll'
import { admin, mayAct } from '../app/session'
import { number } from '../lib/format'
import { Watch } from '../lib/store'
import type { Tone } from '../lib/words'
import { badge } from '../parts/badge'
import { define, Part } from '../parts/base'
import { facts } from '../parts/facts'
import { askResume } from '../parts/inbox'
import { pageHead, panel } from '../parts/panel'
import { openPause } from '../parts/pause-dialog'
import { polled } from '../parts/states'
import { dataTable } from '../parts/table'
import { since, whenSince } from '../parts/time'

const CHECKS: Record<Check['status'], [label: string, tone: Tone]> = {
  ok: ['OK', 'ok'],
  warn: ['Warning', 'warn'],
  fail: ['Fails', 'bad'],
}
const WORST: Check['status'][] = ['fail', 'warn', 'ok']

function service(name: string, down: string | null, downSince: string | null, hasKey: boolean): TemplateResult {
  const key = hasKey ? nothing : html` ${badge('No key', 'bad')}`
  return down
    ? html`${badge(`${name} is down`, 'bad')}${key} <span class="quiet">since ${whenSince(downSince)}; tried again ${since(down)}</span>`
    : html`${badge('No trouble known', 'ok')}${key}`
}

function checkTable(checks: Check[]): TemplateResult {
  const rows = [...checks].sort((a, b) => WORST.indexOf(a.status) - WORST.indexOf(b.status))
  return dataTable<Check>(
    'Checks',
    [
      { head: 'Check', kind: 'first', cell: (c) => html`<code>${c.check_name}</code>` },
      { head: 'Result', cell: (c) => badge(...CHECKS[c.status]) },
      {
        head: 'Detail',
        kind: 'wide',
        cell: (c) =>
          html`<span class="two"><span dir="auto">${c.detail}</span>${
            c.hint
              ? html`<span class="hint"><span dir="auto">${c.hint}</span><vv-copy .text=${c.hint} what="hint"></vv-copy></span>`
              : nothing
          }</span>`,
      },
    ],
    rows,
    (c) => `${c.check_name} ${c.detail}`,
  )
}

function settingTable(settings: Setting[]): TemplateResult {
  const rows = [...settings].sort((a, b) => Number(b.advice !== null) - Number(a.advice !== null))
  return dataTable<Setting>(
    'Settings',
    [
      { head: 'Setting', kind: 'first', cell: (s) => html`<code>${s.name}</code>` },
      {
        head: 'Value',
        cell: (s) =>
          s.value === null
            ? html`<span class="quiet">not shown</span>`
            : html`<code class="break">${s.value === '' ? 'empty' : s.value}</code>`,
      },
      { head: 'From', cell: (s) => s.source },
      {
        head: 'Meaning',
        kind: 'wide',
        cell: (s) =>
          html`<span class="two"><span>${s.meaning}</span>${s.advice ? html`<span class="hint">${s.advice}</span>` : nothing}</span>`,
      },
    ],
    rows,
    (s) => s.name,
  )
}

class HealthScreen extends Part {
  readonly #worker = new Poll<Worker>(this, (signal) => admin.worker(signal))
  readonly #checks = new Poll<Check[]>(this, (signal) => admin.health(false, signal), 15)
  readonly #settings = new Poll<Setting[]>(this, (signal) => admin.settings(signal), 60)
  #network: Check[] | null = null
  #probes: Probe[] | null = null
  #busy = false

  constructor() {
    super()
    new Watch(this, overview)
  }

  async #ask(work: () => Promise<string>): Promise<void> {
    this.#busy = true
    this.requestUpdate()
    try {
      announce(await work())
    } catch (error) {
      tell(errorSentence(error), 'bad')
    }
    this.#busy = false
    this.requestUpdate()
  }

  #probe = () =>
    this.#ask(async () => {
      this.#probes = await admin.probe()
      return this.#probes.map((p) => `${p.service}: ${p.answers ? 'answers' : 'does not answer'}`).join(', ')
    })

  #checkAll = () =>
    this.#ask(async () => {
      this.#network = await admin.health(true)
      return 'All is checked'
    })

  #pause(): TemplateResult {
    const paused = overview.value?.paused
    const act = paused
      ? html`<button type="button" @click=${askResume}>Resume …</button>`
      : html`<button type="button" @click=${openPause}>Pause …</button>`
    return html`<div class="switch">
      <p>${paused ? html`${badge('Paused', 'warn')} <span dir="auto">${paused}</span>` : html`${badge('Not paused', 'ok')} What users request is sent.`}</p>
      ${mayAct() ? act : nothing}
    </div>`
  }

  #workerFacts(worker: Worker): TemplateResult {
    return facts([
      ['Worker', overview.value?.worker_detail ?? (worker.pid ? `process ${worker.pid}` : worker.absence)],
      ['Started', worker.started_at && html`${whenSince(worker.started_at)}`],
      [
        'Starts',
        `${number(worker.starts)}, ${worker.failures === 0 ? 'none' : number(worker.failures)} of them ended unexpectedly`,
      ],
      ['Last poll', worker.last_poll_at && whenSince(worker.last_poll_at)],
      ['Copies now', worker.copies > 0 ? number(worker.copies) : 'none'],
      ['fal.ai', service('fal.ai', worker.fal_down_until, worker.fal_down_since, worker.has_fal_key)],
      ['Storage', service('Storage', worker.storage_down_until, worker.storage_down_since, worker.has_storage_key)],
    ])
  }

  #probeList(): unknown {
    if (!this.#probes) return nothing
    return html`<ul class="plain pad">${this.#probes.map(
      (p) =>
        html`<li>${badge(`${p.service} ${p.answers === null ? 'was not asked' : p.answers ? 'answers' : 'does not answer'}`, p.answers === null ? 'idle' : p.answers ? 'ok' : 'bad')} <span dir="auto">${p.detail}</span></li>`,
    )}</ul>`
  }

  override render() {
    const probe = mayAct()
      ? html`<button type="button" class="small" ?disabled=${this.#busy} @click=${this.#probe}>Ask fal.ai and Storage now</button>`
      : ''
    const all = mayAct()
      ? html`<button type="button" class="small" ?disabled=${this.#busy} @click=${this.#checkAll}>Check over the network, too</button>`
      : ''
    return html`
      ${pageHead('Health')} ${panel('Sending', this.#pause())}
      ${panel('Worker and services', html`${polled(this.#worker, (w) => this.#workerFacts(w))}${this.#probeList()}`, probe)}
      ${panel('Checks', this.#network ? checkTable(this.#network) : polled(this.#checks, checkTable), all)}
      ${panel('Settings', html`<details class="pad"><summary>All settings, those with advice first</summary>${polled(this.#settings, settingTable)}</details>`)}
    `
  }
}

define('vv-health', HealthScreen)
