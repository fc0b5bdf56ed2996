// What a search has found. A single job opens at once.

import { html } from 'lit'
import type { JobPage } from '../api/types'
import { Poll } from '../app/poll'
import { jobLink, link, replace, route } from '../app/route'
import { admin, me } from '../app/session'
import { fromApi, writeFilter } from '../lib/filter'
import { Watch } from '../lib/store'
import { define, Part } from '../parts/base'
import { jobLines } from '../parts/job-lines'
import { pageHead } from '../parts/panel'
import { empty, polled } from '../parts/states'

class FindScreen extends Part {
  #asked = ''
  readonly #poll = new Poll<JobPage>(
    this,
    async (signal) => {
      const page = await admin.find(this.#query(), signal)
      const [only, other] = page.jobs
      if (only && !other && page.bound === null) replace(jobLink(only.job_id))
      return page
    },
    Number.POSITIVE_INFINITY,
  )

  constructor() {
    super()
    new Watch(this, route)
  }

  #query(): string {
    this.#asked = route.value.query.get('q') ?? ''
    return this.#asked
  }

  override willUpdate(): void {
    const { screen, query } = route.value
    if (screen === 'find' && this.#asked !== '' && (query.get('q') ?? '') !== this.#asked) void this.#poll.restart()
  }

  #listLink(page: JobPage, words: string) {
    return html`<a href=${link('jobs', writeFilter(fromApi(page.filter)))}>${words}</a>`
  }

  #found(page: JobPage) {
    return html`${jobLines('Found', page.jobs)}
      ${page.bound ? html`<p class="line"><span>These are not all.</span>${this.#listLink(page, 'Show them as a list')}</p>` : ''}`
  }

  #nothing(page: JobPage) {
    const words = html`Nothing found for “<strong dir="auto">${this.#asked}</strong>”`
    return page.bound
      ? empty(
          html`${words} so far: not all jobs could be looked at in time.`,
          this.#listLink(page, 'Look on in the list of jobs'),
        )
      : empty(html`${words}.`)
  }

  override render() {
    const hint = `Looked for a job’s number, a row’s key, fal.ai’s id of a request, a user, an error code${me()?.see_input ? ', and words of prompts' : ''}.`
    return html`${pageHead('Search')}
      <p class="quiet">${hint}</p>
      ${polled(this.#poll, (page) => (page.jobs.length === 0 ? this.#nothing(page) : this.#found(page)))}`
  }
}

define('vv-find', FindScreen)
