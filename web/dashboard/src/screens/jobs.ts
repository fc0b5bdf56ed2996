// The list of jobs: filtered, page by page, with a selection to act on.

import { html, nothing, type TemplateResult } from 'lit'
import { errorSentence } from '../api/errors'
import type { Cursor, JobPage, JobRow } from '../api/types'
import { Poll } from '../app/poll'
import { go, link, route } from '../app/route'
import { admin, mayAct, session } from '../app/session'
import { chips, type Filter, isEmpty, readFilter, toApi, writeFilter } from '../lib/filter'
import { count } from '../lib/format'
import { Pages } from '../lib/pages'
import { Watch } from '../lib/store'
import { define, Part } from '../parts/base'
import { bulkBar } from '../parts/bulk-bar'
import { filterChips } from '../parts/chips'
import '../parts/csv-button'
import { openFilter } from '../parts/filter-dialog'
import { icon } from '../parts/icon'
import { jobTable } from '../parts/job-table'
import { KeepFocus } from '../parts/keep-focus'
import { PageWindow } from '../parts/page-window'
import { pageHead, tabs } from '../parts/panel'
import { Selection } from '../parts/selection'
import { empty, loading, polled } from '../parts/states'
import { when } from '../parts/time'

const FIRST = 50
const MORE = 100
const MOST_SEEN = 300

type Kept = { key: string; pages: Pages<JobRow, Cursor>; page: JobPage; scroll: number }
/** The list that was left last: Back finds it as it was. */
let kept: Kept | null = null
// whoever signs in next begins without it
session.subscribe(() => {
  kept = null
})

const ACTIVE = ['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing']
const VIEWS: [label: string, query: [string, string][]][] = [
  ['All', []],
  ['In work', ACTIVE.map((state) => ['state', state])],
  ['Failed', [['state', 'failed']]],
  ['Paid for, not stored', [['paid_not_stored', 'true']]],
  ['Done', [['state', 'completed']]],
  ['Cancelled', [['state', 'cancelled']]],
]

const idOf = (job: JobRow) => job.job_id
const pageOf = (page: JobPage) => ({ rows: page.jobs, next: page.next, bound: page.bound })

class JobsScreen extends Part {
  #filter: Filter = {}
  #key = ''
  #pages = new Pages<JobRow, Cursor>(idOf)
  #unseen = 0
  #loadingMore = false
  #moreError: unknown = null
  #scroll = 0
  readonly #selection = new Selection()
  readonly #window = new PageWindow(
    this,
    () => this.#pages.bound !== 'time' && !this.#pages.stalled && void this.#more(),
  )
  readonly #poll = new Poll<JobPage>(this, (signal) => this.#load(signal))

  constructor() {
    super()
    new Watch(this, route)
    new KeepFocus(this)
    this.#readRoute()
  }

  override connectedCallback(): void {
    super.connectedCallback()
    document.addEventListener('scroll', this.#onScroll, { passive: true })
  }

  override disconnectedCallback(): void {
    document.removeEventListener('scroll', this.#onScroll)
    const page = this.#poll.data
    kept = page ? { key: this.#key, pages: this.#pages, page, scroll: this.#scroll } : null
    super.disconnectedCallback()
  }

  #onScroll = () => {
    this.#scroll = scrollY
  }

  /** Whether another filter is asked for than the one that is shown. */
  #readRoute(): boolean {
    const filter = readFilter(route.value.query)
    const key = writeFilter(filter).toString()
    if (key === this.#key && this.hasUpdated) return false
    this.#filter = filter
    this.#key = key
    this.#selection.clear()
    this.#window.reset()
    this.#unseen = 0
    this.#moreError = null
    const again = kept?.key === key ? kept : null
    this.#pages = again?.pages ?? new Pages(idOf)
    this.#scroll = again?.scroll ?? 0
    kept = null
    if (again) {
      this.#poll.data = again.page
      void this.updateComplete.then(() => scrollTo(0, again.scroll))
    }
    return true
  }

  override willUpdate(): void {
    if (this.hasUpdated && route.value.screen === 'jobs' && this.#readRoute()) void this.#poll.restart()
  }

  /** The first page anew; of a longer list only what is in sight, so that nothing moves under the reader. */
  async #load(signal: AbortSignal): Promise<JobPage> {
    const key = this.#key
    const page = await admin.listJobs(toApi(this.#filter), null, FIRST, signal)
    if (this.#pages.pages.length > 1) {
      const ids = [...this.querySelectorAll<HTMLElement>('tr[data-job]')]
        .slice(0, MOST_SEEN)
        .map((r) => Number(r.dataset.job))
      const seen = ids.length > 0 ? (await admin.listJobs({ job_id: ids }, null, MOST_SEEN, signal)).jobs : []
      this.#pages.patch(seen)
      this.#unseen = this.#pages.unseen(page.jobs)
    } else if (key === this.#key) {
      this.#pages.start(pageOf(page))
    }
    return page
  }

  async #more(): Promise<void> {
    const { next } = this.#pages
    if (!next || this.#loadingMore || this.#poll.stale) return
    const pages = this.#pages
    this.#loadingMore = true
    this.#moreError = null
    this.requestUpdate()
    try {
      pages.append(pageOf(await admin.listJobs(toApi(this.#filter), next, MORE)))
    } catch (error) {
      this.#moreError = error
    }
    this.#loadingMore = false
    this.requestUpdate()
  }

  #anew(): void {
    this.#pages = new Pages(idOf)
    this.#window.reset()
    this.#unseen = 0
    scrollTo(0, 0)
    void this.#poll.restart()
  }

  #change = (filter: Filter) => go(link('jobs', writeFilter(filter)))

  #select(event: MouseEvent, job: JobRow): void {
    const box = event.target as HTMLInputElement
    this.#selection.toggle(job.job_id, box.checked, event.shiftKey, this.#pages.rows.map(idOf))
    this.requestUpdate()
  }

  #selectAll(on: boolean): void {
    this.#selection.clear()
    if (on) for (const job of this.#pages.rows) this.#selection.ids.add(job.job_id)
    this.requestUpdate()
  }

  #table(): TemplateResult {
    return jobTable({
      pages: this.#pages.pages,
      near: this.#window,
      selected: mayAct() ? this.#selection.ids : null,
      select: (event, job) => this.#select(event, job),
      selectAll: (on) => this.#selectAll(on),
    })
  }

  #end(): TemplateResult {
    const { next, bound, size } = this.#pages
    if (this.#moreError)
      return html`<p class="line bad" role="alert">${errorSentence(this.#moreError)}
      <button type="button" class="small" @click=${this.#more}>Try again</button></p>`
    if (!next) return html`<p class="end quiet">${size > 0 ? `${count(size, 'job')}, and no more.` : ''}</p>`
    const words = bound === 'time' ? 'The search stopped at its time bound; there may be more.' : ''
    return html`<p class="end" data-end>
      ${words} <button type="button" ?disabled=${this.#loadingMore} @click=${this.#more}>
        ${this.#loadingMore ? 'Loading …' : bound === 'time' ? 'Continue searching' : 'Show more'}
      </button>
    </p>`
  }

  #list(page: JobPage): TemplateResult {
    if (this.#poll.stale && this.#pages.size === 0) return loading()
    const none = isEmpty(this.#filter)
      ? 'No job yet. The first submit of a row makes one.'
      : 'No job matches these filters.'
    return html`
      ${
        this.#unseen > 0
          ? html`<p class="line" role="status">${count(this.#unseen, 'job is', 'jobs are')} new or has moved up since.
        <button type="button" class="small" @click=${this.#anew}>Show from the top</button></p>`
          : nothing
      }
      ${this.#pages.size > 0 ? this.#table() : page.bound === 'time' ? nothing : empty(none)} ${this.#end()}
    `
  }

  override render() {
    const now = writeFilter(this.#filter).toString()
    const views = VIEWS.map(([text, query]) => {
      const on = writeFilter(readFilter(new URLSearchParams(query))).toString() === now
      return { text, href: link('jobs', query), on }
    })
    const found = chips(this.#filter).length
    return html`
      ${pageHead('Jobs', this.#poll.data ? html`<span class="quiet">as of ${when(this.#poll.data.as_of)}</span>` : '')}
      ${tabs('Kinds of jobs', views)}
      <div class="filters">
        ${found > 0 ? filterChips(this.#filter, this.#change) : nothing}
        <button type="button" class="small" @click=${() => openFilter(this.#filter, this.#change)}>${icon('filter')}Filter …</button>
        ${found > 1 ? html`<a class="button small plain" href=${link('jobs')}>Remove all</a>` : nothing}
        <vv-csv .filter=${this.#filter}></vv-csv>
        ${mayAct() ? bulkBar(this.#selection.ids, this.#filter, () => this.#selectAll(false)) : nothing}
      </div>
      ${polled(this.#poll, (page) => this.#list(page))}
    `
  }
}

define('vv-jobs', JobsScreen)
