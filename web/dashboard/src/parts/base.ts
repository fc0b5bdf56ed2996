// An element without a shadow tree: one style sheet for the page, and labels find what they are for.

import { html, LitElement, type PropertyValues, render } from 'lit'
import { UNEXPECTED } from '../api/errors'

export class Part extends LitElement {
  protected override createRenderRoot(): HTMLElement {
    return this
  }

  /** What cannot be shown says so, and the rest of the page goes on. */
  protected override update(changed: PropertyValues): void {
    try {
      super.update(changed)
    } catch (error) {
      console.error(error)
      render(html`<p class="line bad" role="alert">${UNEXPECTED}</p>`, this, this.renderOptions)
    }
  }
}

export function define(name: string, part: CustomElementConstructor): void {
  customElements.define(name, part)
}
