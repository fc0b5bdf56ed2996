// Saves all jobs that match a filter as a file, however few of them are on the screen.

import { html } from 'lit'
import { errorSentence } from '../api/errors'
import type { Cursor, JobPage, JobRow } from '../api/types'
import { announce } from '../app/announce'
import { admin } from '../app/session'
import { toCsv } from '../lib/csv'
import { type Filter, toApi } from '../lib/filter'
import { count } from '../lib/format'
import { define, Part } from './base'

const AT_A_TIME = 1000
const MOST = 10_000

export function save(name: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type: 'text/csv;charset=utf-8' }))
  const anchor = document.createElement('a')
  anchor.href = address
  anchor.download = `${name}-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}.csv`
  anchor.click()
  setTimeout(() => URL.revokeObjectURL(address), 60_000)
}

class CsvButton extends Part {
  static override properties = { filter: { attribute: false } }
  declare filter: Filter
  #busy = false
  #said = ''

  /** Page by page, as the list is read, up to a bound that memory and patience can bear. */
  async #read(): Promise<{ jobs: JobRow[]; all: boolean }> {
    const filter = toApi(this.filter)
    const jobs = new Map<number, JobRow>()
    let after: Cursor | null = null
    let before: number
    do {
      before = jobs.size
      const page: JobPage = await admin.listJobs(filter, after, AT_A_TIME)
      for (const job of page.jobs) jobs.set(job.job_id, job)
      // a part that took too long may have found nothing; any other that brings nothing is the last
      after = page.bound === 'time' || jobs.size > before ? page.next : null
    } while (after && jobs.size < MOST && this.#busy && this.isConnected)
    return { jobs: [...jobs.values()], all: after === null }
  }

  #tell(busy: boolean, said: string): void {
    this.#busy = busy
    this.#said = said
    this.requestUpdate()
  }

  /** A second click stops it, and saves what there is. */
  async #go(): Promise<void> {
    if (this.#busy) return this.#tell(false, '')
    this.#tell(true, '')
    try {
      const { jobs, all } = await this.#read()
      if (!this.isConnected) return
      save('jobs', toCsv(jobs))
      this.#tell(false, all ? '' : `Only the first ${count(jobs.length, 'job')}.`)
      announce(`${count(jobs.length, 'job')} saved`)
    } catch (error) {
      this.#tell(false, errorSentence(error))
    }
  }

  override render() {
    return html`<button type="button" class="small" @click=${this.#go}>${this.#busy ? 'Stop reading' : 'Save as CSV'}</button
      >${this.#said ? html` <span class="quiet" role="status">${this.#said}</span>` : ''}`
  }
}

define('vv-csv', CsvButton)
