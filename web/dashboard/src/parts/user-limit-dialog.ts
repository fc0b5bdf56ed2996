// Which user a new limit is for.

import { html } from 'lit'
import type { Limit } from '../api/types'
import { define } from './base'
import { Dialog, openDialog } from './dialog'
import { openLimitOf } from './limit-dialog'

class UserLimitDialog extends Dialog {
  readonly #limits: Limit[]
  #user = ''

  constructor(limits: Limit[]) {
    super()
    this.#limits = limits
  }

  protected heading(): string {
    return 'Limit a user'
  }

  protected body(): unknown {
    const type = (event: Event) => {
      this.#user = (event.target as HTMLInputElement).value.trim()
      this.requestUpdate()
    }
    return html`<label>User id <input autofocus spellcheck="false" autocomplete="off" @input=${type} /></label>
      <p class="quiet">As jobs have it: the sub of the JWT, or what the attached table’s user column holds.</p>`
  }

  #next(): void {
    this.close()
    openLimitOf(this.#user, this.#limits)
  }

  protected override buttons(): unknown {
    return html`<button class="primary" type="button" ?disabled=${this.#user === ''} @click=${this.#next}>Next</button>`
  }
}

define('vv-user-limit', UserLimitDialog)

export function openUserLimit(limits: Limit[]): void {
  void openDialog(new UserLimitDialog(limits))
}
