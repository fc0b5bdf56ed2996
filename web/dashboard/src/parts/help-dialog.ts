// The keyboard's shortcuts, and a switch for them.

import { html } from 'lit'
import { KEYS, PLACES, shortcuts } from '../app/keys'
import { define } from './base'
import { Dialog, openDialog } from './dialog'

class HelpDialog extends Dialog {
  protected heading(): string {
    return 'Keyboard'
  }

  #switch(event: Event): void {
    shortcuts.set((event.target as HTMLInputElement).checked)
    this.requestUpdate()
  }

  protected body(): unknown {
    const keys = (text: string) => text.split(' ').map((key) => html`<kbd>${key}</kbd> `)
    return html`<label class="check"
        ><input type="checkbox" .checked=${shortcuts.value} @change=${this.#switch} /> Single-letter shortcuts are on</label
      >
      <dl class="keys">
        ${KEYS.map(([key, meaning]) => html`<div><dt>${keys(key)}</dt><dd>${meaning}</dd></div>`)}
        ${PLACES.map(([letter, , label]) => html`<div><dt>${keys(`g ${letter}`)}</dt><dd>${label}</dd></div>`)}
      </dl>`
  }
}

define('vv-help', HelpDialog)

export function openHelp(): void {
  void openDialog(new HelpDialog())
}
