// A link to somewhere else, if a browser may follow it; else the text alone.

import { html, type TemplateResult } from 'lit'
import { safeUrl } from '../lib/safe-url'
import { icon } from './icon'

export function outLink(url: string | null | undefined, text: string): TemplateResult | string {
  const safe = safeUrl(url)
  return safe
    ? html`<a class="out" href=${safe} target="_blank" rel="noopener noreferrer">${text}${icon('link')}</a>`
    : text
}
