// Pauses sending, or all work.

import { html } from 'lit'
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

  protected override buttons(): unknown {
    return this.doer('Pause', () => this.finish('Paused', () => admin.pause(this.#scope, this.#reason)))
  }
}

define('vv-pause', PauseDialog)

export function openPause(): void {
  void openDialog(new PauseDialog())
}
