// A request of fal.ai's that somebody has found in fal.ai's own dashboard.

import { html } from 'lit'
import type { JobRow } from '../api/types'
import { admin } from '../app/session'
import { define } from './base'
import { Dialog, openDialog } from './dialog'

class ResolveDialog extends Dialog {
  readonly #job: JobRow
  #request = ''

  constructor(job: JobRow) {
    super()
    this.#job = job
  }

  protected heading(): string {
    return `Enter the request of job ${this.#job.job_id}`
  }

  protected body(): unknown {
    const type = (event: Event) => {
      this.#request = (event.target as HTMLInputElement).value.trim()
      this.requestUpdate()
    }
    return html`<p>Look for it in fal.ai’s dashboard: same model, same prompt, about the same time. Adopting it costs nothing more.</p>
      <label>Request id <input autofocus autocomplete="off" spellcheck="false" @input=${type} /></label>`
  }

  protected override buttons(): unknown {
    const id = this.#job.job_id
    const adopt = () => this.finish(`Job ${id}: adopted`, () => admin.resolve(id, this.#request))
    return this.doer('Adopt it, free', adopt, this.#request === '' || this.#request === 'not_sent')
  }
}

define('vv-resolve', ResolveDialog)

export function openResolve(job: JobRow): void {
  void openDialog(new ResolveDialog(job))
}
