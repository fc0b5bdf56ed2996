// A request of fal.ai's that somebody has found in fal.ai's own dashboard.

import { html } from 'lit'
import type { JobRow } from '../api/types'
import { tell } from '../app/announce'
import { refresher } from '../app/refresh'
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

  #save(): Promise<void> {
    return this.attempt(async () => {
      await admin.resolve(this.#job.job_id, this.#request)
      tell(`Job ${this.#job.job_id}: adopted`)
      this.close()
      void refresher.now(true)
    })
  }

  protected override buttons(): unknown {
    const off = this.busy || this.#request === '' || this.#request === 'not_sent'
    return html`<button class="primary" type="button" ?disabled=${off} @click=${this.#save}>Adopt it, free</button>`
  }
}

define('vv-resolve', ResolveDialog)

export function openResolve(job: JobRow): void {
  void openDialog(new ResolveDialog(job))
}
