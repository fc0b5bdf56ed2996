// A short list of jobs, without selection or pages.

import type { TemplateResult } from 'lit'
import { html } from 'lit'
import type { JobRow } from '../api/types'
import { costCell, modelCell, nameCell, statusCell, timesCell } from './job-row'
import { type Column, dataTable } from './table'

export const JOB_COLUMNS: Column<JobRow>[] = [
  {
    head: 'Video',
    kind: 'first',
    cell: (job) => html`<vv-preview .url=${job.video_url} .name=${`job ${job.job_id}`}></vv-preview>`,
  },
  { head: 'Job', kind: 'job', cell: nameCell },
  { head: 'Status', kind: 'wide', cell: statusCell },
  { head: 'Model, user', cell: modelCell },
  { head: 'Times', cell: timesCell },
  { head: 'Cost', kind: 'num', cell: costCell },
]

export function jobLines(label: string, jobs: JobRow[]): TemplateResult {
  return dataTable(label, JOB_COLUMNS, jobs, (job) => job.job_id)
}
