// All that is known of one job.

import { html, nothing, type TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import type { JobDetails, JobRow, RetryCost } from '../api/types'
import { announce } from '../app/announce'
import { Poll } from '../app/poll'
import { jobLink, link, route } from '../app/route'
import { admin, mayAct, me } from '../app/session'
import { costFacts } from '../lib/cost-text'
import { bytes, count, duration, number, usd } from '../lib/format'
import { parseInterval } from '../lib/interval'
import { Watch } from '../lib/store'
import { CLASSES, isActive, stateWord } from '../lib/words'
import { stateBadge } from '../parts/badge'
import { define, Part } from '../parts/base'
import { copyable } from '../parts/copy'
import { errorText } from '../parts/error-text'
import { type Fact, facts } from '../parts/facts'
import { jobActions } from '../parts/job-actions'
import { jobSentence } from '../parts/job-row'
import { jsonView } from '../parts/json-view'
import { outLink } from '../parts/out-link'
import { pageHead, panel } from '../parts/panel'
import { player } from '../parts/player'
import { progressBar } from '../parts/progress'
import { polled } from '../parts/states'
import { dataTable } from '../parts/table'
import { when, whenSince } from '../parts/time'
import { timeline } from '../parts/timeline'

interface Shown {
  details: JobDetails
  cost: RetryCost | null
}

const isBusy = (job: JobRow) => ['sending', 'copying'].includes(job.waits_for ?? '')

class JobScreen extends Part {
  #id = route.value.id
  #said = ''
  readonly #poll = new Poll<Shown>(this, (signal, old) => this.#load(signal, old))

  constructor() {
    super()
    new Watch(this, route)
  }

  override willUpdate(): void {
    const { screen, id } = route.value
    if (screen !== 'job' || id === this.#id) return
    this.#id = id
    this.#said = ''
    this.#poll.data = undefined
    void this.#poll.restart()
  }

  async #load(signal: AbortSignal, old: Shown | undefined): Promise<Shown> {
    const details = await admin.job(this.#id as number, signal)
    const before = old?.details.job
    const moved = !before || before.state !== details.job.state || before.job_id !== details.job.job_id
    // what a retry costs changes with the state
    const cost = !mayAct() ? null : moved || !old ? await admin.retryCost(details.job.job_id, signal) : old.cost
    this.#tell(details.job)
    return { details, cost }
  }

  #tell(job: JobRow): void {
    const now = `Job ${job.job_id}: ${stateWord(job.state).label}`
    if (this.#said && this.#said !== now) announce(now)
    this.#said = now
  }

  #head({ details, cost }: Shown): TemplateResult {
    const { job } = details
    const sentence = isActive(job.state) ? jobSentence(job) : (details.error ?? '')
    return html`<div class="verdict">
      <p>
        ${stateBadge(job.state)}${job.paid_not_stored ? html` <span class="tag warn">Paid for, not stored</span>` : nothing}${
          job.orphan ? html` <span class="tag">Without a saved row</span>` : nothing
        }${job.error_class ? html` <span class="tag">${CLASSES[job.error_class] ?? job.error_class}</span>` : nothing}
        ${details.cancel_requested_at && isActive(job.state) ? html` <span class="tag">Cancel requested</span>` : nothing}
      </p>
      ${sentence && isActive(job.state) ? html`<p class="lead" dir="auto">${sentence}</p>` : nothing}
      ${!isActive(job.state) ? errorText(job.error_code, sentence) : nothing} ${this.#waits(job)} ${this.#copy(details)}
      ${details.row_error ? html`<p class="line warn">The app’s row does not show this: ${details.row_error}</p>` : nothing}
      ${job.message ? html`<p class="quiet">The user sees: <span dir="auto">“${job.message}”</span></p>` : nothing}
      ${job.state === 'submit_unknown' ? html`<p><a href=${link('lost')}>Decide on it under Lost submits</a></p>` : nothing}
      ${mayAct() ? jobActions(job, cost) : nothing}
      ${cost && !cost.allowed && !isActive(job.state) && cost.reason ? html`<p class="quiet">No retry: ${cost.reason}</p>` : nothing}
    </div>`
  }

  #waits(job: JobRow): TemplateResult | typeof nothing {
    const left = parseInterval(job.estimate)
    if (!isActive(job.state) || (left === null && !job.waits_until)) return nothing
    return html`<p class="quiet">
      ${left !== null ? `The video may be there in about ${duration(left)}.` : html`Next step at ${when(job.waits_until)}.`}
    </p>`
  }

  #copy({ job, bytes_done, bytes_total, bytes_per_second }: JobDetails): TemplateResult | typeof nothing {
    if (job.state !== 'processing') return nothing
    const speed = bytes_per_second ? `, ${bytes(bytes_per_second)}/s` : ''
    return html`<div class="copying">
      ${progressBar(job.progress ?? 0, 'Copy')}
      <span class="quiet">${bytes(bytes_done ?? 0)} of ${bytes_total ? bytes(bytes_total) : 'unknown size'}${speed}</span>
    </div>`
  }

  #facts(details: JobDetails): TemplateResult {
    const { job } = details
    const list: Fact[] = [
      ['Row', copyable(job.vibelog_id, 'key')],
      ['Table', details.relation && html`<code>${details.relation}</code>`],
      [
        'User',
        job.user_id ? html`<a href=${link('jobs', { user: job.user_id })} class="break">${job.user_id}</a>` : null,
      ],
      ['Model', html`<a href=${link('jobs', { model: job.model })}>${job.model}</a>`],
      ...costFacts(details),
      [
        'Attempt',
        `${number(job.attempt)}${job.tries > 0 ? `, ${count(job.tries, 'failed try', 'failed tries')}` : ''}`,
      ],
      // of one that is being worked on it is only when another process may take it
      ['Next step', isBusy(job) ? null : details.next_at && whenSince(details.next_at)],
      ['Request', job.request_id && copyable(job.request_id, 'request id')],
      [
        'At fal.ai',
        details.fal_url &&
          html`${outLink(details.fal_url, 'The request')} <span class="quiet">needs the API key</span>`,
      ],
      ['Video at fal.ai', details.media_url && outLink(details.media_url, 'The file, while fal.ai keeps it')],
      ['In Storage', details.object_key && copyable(`${details.bucket ?? ''}/${details.object_key}`, 'name')],
      ['Type', details.media_type],
      ['Size', bytes(details.bytes_total)],
      ['Length', details.duration_ms === null ? null : duration(details.duration_ms / 1000)],
      ['SHA-256', details.sha256 && copyable(details.sha256, 'hash')],
    ]
    return facts(list)
  }

  #events({ events, more }: JobDetails): TemplateResult {
    if (events.length === 0) return html`<p class="quiet pad">No events are recorded for this job.</p>`
    return html`<ol class="events">
        ${repeat(
          events.map((event, nth) => ({ event, nth })).reverse(),
          ({ nth }) => nth,
          ({ event }) => html`<li>
            <span>${when(event.at)}</span>${stateBadge(event.state)}${errorText(event.error_code, event.detail)}
          </li>`,
        )}
      </ol>
      ${more ? html`<p class="quiet pad">There are older ones.</p>` : nothing}`
  }

  #attempts({ job, attempts }: JobDetails): TemplateResult | typeof nothing {
    if (attempts.length < 2) return nothing
    const span = (text: string | null) => duration(parseInterval(text))
    const table = dataTable<JobRow>(
      'Attempts',
      [
        {
          head: 'Job',
          kind: 'first',
          cell: (a) =>
            a.job_id === job.job_id
              ? html`<span class="nowrap"><strong>${a.job_id}</strong> (this one)</span>`
              : html`<a href=${jobLink(a.job_id)} data-line>${a.job_id}</a>`,
        },
        { head: 'Attempt', kind: 'num', cell: (a) => number(a.attempt) },
        { head: 'State', kind: 'wide', cell: (a) => html`${stateBadge(a.state)} ${errorText(a.error_code, null)}` },
        { head: 'Requested', cell: (a) => when(a.created_at) },
        { head: 'Waited', kind: 'num', cell: (a) => span(a.waited) },
        { head: 'Rendered', kind: 'num', cell: (a) => span(a.rendered) },
        { head: 'Copied', kind: 'num', cell: (a) => span(a.copied) },
        { head: 'Price', kind: 'num', cell: (a) => usd(a.cost_usd) },
      ],
      attempts,
      (a) => a.job_id,
      (a) => a.job_id === job.job_id,
    )
    return panel('Attempts of this row', table)
  }

  #input({ input }: JobDetails): TemplateResult {
    if (input === null || input === undefined) {
      return html`<p class="quiet pad">${me()?.see_input ? 'There is none.' : 'Only those who may see inputs can read it.'}</p>`
    }
    return jsonView(input, 'input')
  }

  override render() {
    return html`
      ${pageHead(`Job ${this.#id}`, html`<a href=${link('jobs')}>All jobs</a>`)}
      ${polled(
        this.#poll,
        (shown) => html`${this.#head(shown)}
          <div class="columns">
            <div>
              ${panel('Timeline', timeline(shown.details.timeline))} ${panel('Input', this.#input(shown.details))}
              ${panel('Events, newest first', this.#events(shown.details))}
            </div>
            <div>${panel('Video', player(shown.details))} ${panel('Facts', this.#facts(shown.details))}</div>
          </div>
          ${this.#attempts(shown.details)}`,
      )}
    `
  }
}

define('vv-job', JobScreen)
