// What can be done with one job, each with what it costs.

import { html, nothing, type TemplateResult } from 'lit'
import { errorSentence } from '../api/errors'
import type { JobRow, RetryCost } from '../api/types'
import { tell } from '../app/announce'
import { admin, mayAct } from '../app/session'
import { usd } from '../lib/format'
import { retryLabel } from '../lib/plan-text'
import { isActive } from '../lib/words'
import { ask } from './confirm-dialog'
import { openPlan } from './plan-dialog'

type Job = Pick<JobRow, 'job_id' | 'state' | 'vibelog_id'>

const CANCEL_COSTS: Partial<Record<string, string>> = {
  pending: 'It was not sent yet, so that nothing is charged.',
  submit_unknown: 'Nobody knows whether fal.ai has it. It is cancelled once that is found out, and may be charged.',
}

export function askCancel(job: Job): void {
  ask({
    title: `Cancel job ${job.job_id}`,
    text: html`<p>${CANCEL_COSTS[job.state] ?? 'fal.ai may still charge for it if it has begun to render.'}</p>`,
    verb: 'Cancel the job',
    danger: true,
    run: async () => {
      await admin.cancel(job.job_id)
      return `Job ${job.job_id}: cancel requested`
    },
  })
}

function retryText(job: Job, cost: RetryCost): TemplateResult {
  if (cost.copies) return html`<p>The video was rendered and paid for. It is only copied again, which is free.</p>`
  if (job.state === 'pending')
    return html`<p>It is sent now, without further waiting, and costs what it would have cost later.</p>`
  const price =
    cost.cost_usd == null ? 'Its price is not known.' : `It costs at most ${usd(cost.cost_usd)} at today’s price.`
  return html`<p>This is a new render. ${price}</p>
    ${job.state === 'submit_unknown' ? html`<p>If fal.ai has the old one all the same, both are paid for.</p>` : nothing}`
}

let finding = false

/** Asks what a retry would cost, then whether it is wanted: once, however often it is clicked meanwhile. */
export async function askRetry(job: Job): Promise<void> {
  if (finding) return
  finding = true
  try {
    const cost = await admin.retryCost(job.job_id)
    if (mayAct()) askWhether(job, cost)
  } catch (error) {
    tell(errorSentence(error), 'bad')
  } finally {
    finding = false
  }
}

function askWhether(job: Job, cost: RetryCost): void {
  if (!cost.allowed) {
    ask({ title: `Retry job ${job.job_id}`, text: html`<p>That is not possible: ${cost.reason}.</p>` })
    return
  }
  const pays = !cost.copies && job.state !== 'pending'
  ask({
    title: `Retry job ${job.job_id}`,
    text: retryText(job, cost),
    verb: pays
      ? `Retry, pay ${cost.cost_usd == null ? 'for a new render' : `about ${usd(cost.cost_usd)}`}`
      : 'Retry, free',
    run: async () => {
      await admin.retry(job.job_id)
      return `Job ${job.job_id}: started again`
    },
  })
}

/** requestId: which of fal.ai's requests it is. */
export function askAdopt(job: Job, requestId: string): void {
  ask({
    title: `Adopt this request for job ${job.job_id}`,
    text: html`<p>The job goes on with this request, and nothing is sent again. It costs nothing more.</p>
      <p><code class="wrap">${requestId}</code></p>`,
    verb: 'Adopt it, free',
    run: async () => {
      await admin.resolve(job.job_id, requestId)
      return `Job ${job.job_id}: adopted`
    },
  })
}

/** fal.ai does not have it: the plan says what sending it again costs. */
export function askSendAgain(job: Job): void {
  openPlan('resolve_not_sent', { job_id: [String(job.job_id)] }, `job ${job.job_id}`)
}

export function jobActions(job: JobRow, cost: RetryCost | null): TemplateResult | typeof nothing {
  const cancels = isActive(job.state) && job.state !== 'processing'
  const retries = cost?.allowed ?? false
  if (!cancels && !retries) return nothing
  return html`<div class="buttons">
    ${retries ? html`<button type="button" class="primary" @click=${() => askRetry(job)}>${retryLabel(cost, job.state)} …</button>` : nothing}
    ${cancels ? html`<button type="button" @click=${() => askCancel(job)}>Cancel …</button>` : nothing}
  </div>`
}
