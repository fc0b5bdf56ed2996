// Pauses sending, or all work.

import { html } from 'lit'
import { tell } from '../app/announce'
import { refresher } from '../app/refresh'
import { admin } from '../app/session'
import { define } from './base'
import { Dialog, openDialog } from './dialog'

class PauseDialog extends Dialog {
  #scope: 'sending' | 'all' = 'sending'
  #reason = ''

  protected heading(): string {
    return 'Pause'
  }

  #choice(scope: 'sending' | 'all', label: string, note: string): unknown {
    const choose = () => {
      this.#scope = scope
      this.requestUpdate()
    }
    return html`<label class="check"
      ><input type="radio" name="scope" .checked=${this.#scope === scope} @change=${choose} /><span
        >${label}<span class="quiet">${note}</span></span
      ></label
    >`
  }

  protected body(): unknown {
    const type = (event: Event) => {
      this.#reason = (event.target as HTMLInputElement).value
    }
    return html`<fieldset class="stack">
        <legend>What is paused</legend>
        ${this.#choice('sending', 'Sending', 'New videos wait. What fal.ai already has is finished and stored.')}
        ${this.#choice('all', 'All work', 'Nothing is sent, asked, copied or written.')}
      </fieldset>
      <label>Reason, for other operators <input maxlength="200" @input=${type} /></label>
      <p class="quiet">Users can go on requesting videos: they wait. Pausing costs nothing.</p>`
  }

  #pause(): Promise<void> {
    return this.attempt(async () => {
      await admin.pause(this.#scope, this.#reason)
      tell('Paused')
      this.close()
      void refresher.now(true)
    })
  }

  protected override buttons(): unknown {
    return html`<button class="primary" type="button" ?disabled=${this.busy} @click=${this.#pause}>Pause</button>`
  }
}

define('vv-pause', PauseDialog)

export function openPause(): void {
  void openDialog(new PauseDialog())
}
