// A job in a list: what is in its cells.

import { html, nothing, type TemplateResult } from 'lit'
import type { JobRow } from '../api/types'
import { jobLink } from '../app/route'
import { number, shortDuration, sentence as spoken, usd } from '../lib/format'
import { parseInterval } from '../lib/interval'
import { CLASSES, isActive } from '../lib/words'
import { stateBadge } from './badge'
import './preview'
import { progressBar } from './progress'
import { since } from './time'

/** What is to be known of it now, in a sentence: why it waits, what is wrong. */
export function jobSentence(job: JobRow): string {
  if (isActive(job.state)) return spoken(job.why ?? job.message ?? '')
  if (job.row_error) return `The app’s row does not show this: ${job.row_error}`
  return job.state === 'failed' ? (job.error ?? job.message ?? '') : job.state === 'cancelled' ? (job.error ?? '') : ''
}

export function nameCell(job: JobRow): TemplateResult {
  return html`<span class="job-name">
    <span class="pair"
      ><a href=${jobLink(job.job_id)} data-line data-key="job-${job.job_id}">${job.job_id}</a
      ><code class="clip quiet" title=${job.vibelog_id}>${job.vibelog_id}</code></span
    >
    ${job.prompt ? html`<span class="clip quiet prompt" dir="auto" title=${job.prompt}>${job.prompt}</span>` : nothing}
  </span>`
}

export function statusCell(job: JobRow): TemplateResult {
  const sentence = jobSentence(job)
  const copying = job.state === 'processing' && job.progress !== null && job.progress > 0
  return html`<span class="job-status">
    ${stateBadge(job.state)}${job.paid_not_stored ? html` <span class="tag warn">Paid for, not stored</span>` : nothing}${
      job.orphan ? html` <span class="tag">Without a saved row</span>` : nothing
    }${job.error_class ? html` <span class="tag">${CLASSES[job.error_class] ?? job.error_class}</span>` : nothing}
    ${copying ? progressBar(job.progress as number, `Copy of job ${job.job_id}`) : nothing}
    ${sentence ? html`<span class="clamp quiet" dir="auto" title=${sentence}>${sentence}</span>` : nothing}
  </span>`
}

export function modelCell(job: JobRow): TemplateResult {
  return html`<span class="two"
    ><span class="clip" title=${job.model}>${job.model}</span
    ><span class="clip quiet" title=${job.user_id ?? ''}>${job.user_id ?? 'user unknown'}</span></span
  >`
}

/** Since when, and how long it waited, was rendered and copied. */
export function timesCell(job: JobRow): TemplateResult {
  const part = (label: string, text: string | null) => {
    const seconds = parseInterval(text)
    return seconds === null ? nothing : html`<span title=${label}>${shortDuration(seconds)}</span>`
  }
  // how long one waits that fal.ai does not have yet is how old it is
  if (isActive(job.state) && !job.submitted_at) return html`${since(job.created_at)}`
  return html`<span class="two"
    >${since(job.created_at)}<span class="quiet spans"
      >${part('until fal.ai accepted it', job.waited)}${part('rendering, with fal.ai’s queue', job.rendered)}${part('copying', job.copied)}</span
    ></span
  >`
}

export function costCell(job: JobRow): TemplateResult {
  const again = job.attempt > 1 ? `attempt ${number(job.attempt)}` : ''
  const tries = job.tries > 0 ? `${number(job.tries)} failed ${job.tries === 1 ? 'try' : 'tries'}` : ''
  return html`<span class="two"
    ><span>${usd(job.cost_usd)}</span><span class="quiet">${[again, tries].filter(Boolean).join(', ')}</span></span
  >`
}
