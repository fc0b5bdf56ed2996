// How things are: what needs a person, then the figures of today, then what is in work.

import { html, type TemplateResult } from 'lit'
import type { InboxRow, JobPage, JobRow } from '../api/types'
import { overview } from '../app/overview'
import { Poll } from '../app/poll'
import { link } from '../app/route'
import { admin } from '../app/session'
import { Watch } from '../lib/store'
import { define, Part } from '../parts/base'
import { inboxList } from '../parts/inbox'
import { jobLines } from '../parts/job-lines'
import { pageHead, panel } from '../parts/panel'
import { loading, polled } from '../parts/states'
import { tiles } from '../parts/tiles'

const SHOWN = 8
const STATUSES = ['queued', 'generating', 'processing']

class OverviewScreen extends Part {
  readonly #inbox = new Poll<InboxRow[]>(this, (signal) => admin.inbox(signal))
  readonly #work = new Poll<JobPage>(this, (signal) => admin.listJobs({ status: STATUSES }, null, SHOWN, signal))

  #whole = false

  constructor() {
    super()
    new Watch(this, overview)
  }

  #showWhole(): void {
    this.#whole = true
    this.requestUpdate()
  }

  #workList(jobs: JobRow[]): TemplateResult {
    if (jobs.length === 0) return html`<p class="quiet pad">Nothing is in work.</p>`
    return jobLines('In work', jobs)
  }

  override render() {
    const now = overview.value
    const all = html`<a href=${link(
      'jobs',
      STATUSES.map((s) => ['status', s] as [string, string]),
    )}>All in work</a>`
    return html`
      ${pageHead('Overview')} ${polled(this.#inbox, (rows) => inboxList(rows, this.#whole, () => this.#showWhole()))} ${now ? tiles(now) : loading()}
      ${panel(
        'In work, newest first',
        polled(this.#work, (page) => this.#workList(page.jobs)),
        all,
      )}
    `
  }
}

define('vv-overview', OverviewScreen)
