// An error: its code, and somebody else's words.

import { html, type TemplateResult } from 'lit'

export function errorText(code: string | null, words: string | null): TemplateResult | string {
  if (!code && !words) return ''
  return html`<span class="error-text"
    >${code ? html`<code>${code}</code> ` : ''}${words ? html`<span dir="auto">${words}</span>` : ''}</span
  >`
}
