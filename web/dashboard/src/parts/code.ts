// A code, which may break after an underscore rather than within a word.

import { html, type TemplateResult } from 'lit'

/** Two lines at most, and all of it for who points at it. */
export function clampedCode(code: string): TemplateResult {
  return html`<code class="clamp" title=${code}>${code.split(/(?<=_)/).map((part) => html`${part}<wbr />`)}</code>`
}
