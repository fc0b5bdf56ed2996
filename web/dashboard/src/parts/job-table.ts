// The list of jobs, in pages, each with its lines or a gap as high as they were.

import { html, nothing, type TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import type { JobRow } from '../api/types'
import { JOB_COLUMNS } from './job-lines'
import type { PageWindow } from './page-window'
import { bodyCell } from './table'

export interface JobTable {
  pages: JobRow[][]
  near: PageWindow
  /** null: nothing can be selected */
  selected: Set<number> | null
  select: (event: MouseEvent, job: JobRow) => void
  selectAll: (on: boolean) => void
}

function row(table: JobTable, job: JobRow): TemplateResult {
  const on = table.selected?.has(job.job_id) ?? false
  const pick = html`<td role="cell" class="pick">
    <input type="checkbox" aria-label="Select job ${job.job_id}" data-key="pick-${job.job_id}" .checked=${on}
      @click=${(event: MouseEvent) => table.select(event, job)} />
  </td>`
  return html`<tr role="row" class=${on ? 'on' : nothing} data-job=${job.job_id}>
    ${table.selected ? pick : nothing} ${JOB_COLUMNS.map((column) => bodyCell(column, job))}
  </tr>`
}

function page(table: JobTable, jobs: JobRow[], nth: number): TemplateResult {
  const gap = html`<tr role="row" aria-hidden="true">
    <td role="cell" class="gap" colspan=${JOB_COLUMNS.length + 1} data-gap=${nth}></td>
  </tr>`
  const lines = () =>
    repeat(
      jobs,
      (job) => job.job_id,
      (job) => row(table, job),
    )
  return html`<tbody role="rowgroup" data-page=${nth}>${table.near.isNear(nth) ? lines() : gap}</tbody>`
}

export function jobTable(table: JobTable): TemplateResult {
  const { pages, selected } = table
  const size = pages.reduce((n, jobs) => n + jobs.length, 0)
  const pick = html`<th role="columnheader" scope="col" class="pick">
    <input type="checkbox" aria-label="Select all that are shown" .checked=${size > 0 && selected?.size === size}
      @click=${(event: Event) => table.selectAll((event.target as HTMLInputElement).checked)} />
  </th>`
  return html`<table class="cards jobs" role="table" aria-label="Jobs">
    <thead role="rowgroup">
      <tr role="row">
        ${selected ? pick : nothing}
        ${JOB_COLUMNS.map((c) => html`<th role="columnheader" scope="col" class=${c.kind ?? nothing}>${c.head}</th>`)}
      </tr>
    </thead>
    ${pages.map((jobs, nth) => page(table, jobs, nth))}
  </table>`
}
