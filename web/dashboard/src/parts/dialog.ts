// Dialogs are outside of what is rendered again, so that a refresh neither closes nor changes one.

import { html, type TemplateResult } from 'lit'
import { errorSentence, isUncertain } from '../api/errors'
import { tell } from '../app/announce'
import { refresher } from '../app/refresh'
import { Part } from './base'
import { icon } from './icon'

const UNCERTAIN = ' It may have been done all the same: look before you do it again.'

let count = 0

export abstract class Dialog extends Part {
  protected busy = false
  protected error: unknown = null
  /** what has failed would have changed something */
  #acted = false
  readonly #id = `dialog-${(count += 1)}`

  protected abstract heading(): string
  protected abstract body(): unknown
  /** Buttons beside the one that closes. */
  protected buttons(): unknown {
    return ''
  }
  protected closeLabel(): string {
    return 'Close'
  }

  /** Whether the body shows the error itself. */
  protected isPlaced(): boolean {
    return false
  }

  protected close(): void {
    this.querySelector('dialog')?.close()
  }

  /** Runs what a button does; an error is shown, and the dialog stays. */
  protected async attempt(work: () => Promise<void>, acts = true): Promise<void> {
    if (this.busy) return
    this.busy = true
    this.#acted = acts
    this.error = null
    this.requestUpdate()
    try {
      await work()
    } catch (error) {
      this.error = error
    }
    this.busy = false
    this.requestUpdate()
  }

  /** The same; then that is said, the dialog closes, and what is shown is read anew. */
  protected finish(text: string, work: () => Promise<unknown>): Promise<void> {
    return this.attempt(async () => {
      await work()
      tell(text)
      this.close()
      void refresher.now(true)
    })
  }

  /** The button that does it. */
  protected doer(label: string, run: () => unknown, off: unknown = false, kind = 'primary'): TemplateResult {
    return html`<button type="button" class=${kind} ?disabled=${this.busy || off} @click=${run}>${label}</button>`
  }

  override render(): TemplateResult {
    return html`<dialog aria-labelledby=${this.#id} @close=${() => this.remove()}>
      <div class="dialog">
        <header>
          <h2 id=${this.#id}>${this.heading()}</h2>
          <button class="tiny" type="button" aria-label="Close" @click=${this.close}>${icon('close')}</button>
        </header>
        <div class="dialog-body">
          ${this.body()}
          ${this.error && !this.isPlaced() ? html`<p class="line bad" role="alert">${icon('bad')}<span>${errorSentence(this.error)}${this.#acted && isUncertain(this.error) ? UNCERTAIN : ''}</span></p>` : ''}
        </div>
        <footer>
          <button type="button" @click=${this.close}>${this.closeLabel()}</button>
          ${this.buttons()}
        </footer>
      </div>
    </dialog>`
  }
}

/** Shows a dialog; when it is closed, the focus goes back to where it was. */
export async function openDialog(dialog: Dialog): Promise<void> {
  const before = document.activeElement
  document.body.append(dialog)
  await dialog.updateComplete
  const element = dialog.querySelector('dialog') as HTMLDialogElement
  element.addEventListener('close', () => {
    if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true })
  })
  element.showModal()
  element.querySelector<HTMLElement>('[autofocus]')?.focus()
}
