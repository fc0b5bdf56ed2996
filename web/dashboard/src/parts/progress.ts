// How far a copy is.

import { html, type TemplateResult } from 'lit'
import { percent } from '../lib/format'

export function progressBar(part: number, label: string): TemplateResult {
  return html`<span class="progress"
    ><progress max="1" .value=${part} aria-label=${label}></progress><span>${percent(part)}</span></span
  >`
}
