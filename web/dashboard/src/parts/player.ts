// The video of a job.

import { html, type TemplateResult } from 'lit'
import type { JobDetails } from '../api/types'
import { safeUrl } from '../lib/safe-url'
import { outLink } from './out-link'

export function player(details: JobDetails): TemplateResult {
  const url = safeUrl(details.job.video_url)
  if (!url) return html`<p class="quiet pad">There is no video in Storage.</p>`
  return html`<div class="player">
    <video controls playsinline preload="metadata" src=${url} aria-label="Video of job ${details.job.job_id}"></video>
    <p class="quiet">${outLink(url, 'Open it by itself')} If it does not play here, the bucket is private.</p>
  </div>`
}
