// An element without a shadow tree: one style sheet for the page, and labels find what they are for.

import { LitElement } from 'lit'

export class Part extends LitElement {
  protected override createRenderRoot(): HTMLElement {
    return this
  }
}

export function define(name: string, part: CustomElementConstructor): void {
  customElements.define(name, part)
}
