// Asks once more before something is done, and says what it costs.

import { html, nothing } from 'lit'
import { tell } from '../app/announce'
import { refresher } from '../app/refresh'
import { define } from './base'
import { Dialog, openDialog } from './dialog'

export interface Question {
  title: string
  text: unknown
  danger?: boolean
  /** what the button says */
  verb?: string
  /** does it, and says what has come of it; without it there is nothing to do */
  run?: () => Promise<string>
}

class ConfirmDialog extends Dialog {
  #question: Question

  constructor(question: Question) {
    super()
    this.#question = question
  }

  protected heading(): string {
    return this.#question.title
  }

  protected body(): unknown {
    return this.#question.text
  }

  protected override closeLabel(): string {
    return this.#question.run ? 'Do nothing' : 'Close'
  }

  protected override buttons(): unknown {
    const { verb, danger, run } = this.#question
    if (!run) return nothing
    return html`<button class=${danger ? 'danger' : 'primary'} type="button" ?disabled=${this.busy} @click=${this.#run}>
      ${this.busy ? 'One moment …' : verb}
    </button>`
  }

  #run(): Promise<void> {
    return this.attempt(async () => {
      tell((await this.#question.run?.()) ?? '')
      this.close()
      void refresher.now(true)
    })
  }
}

define('vv-confirm', ConfirmDialog)

export function ask(question: Question): void {
  void openDialog(new ConfirmDialog(question))
}
