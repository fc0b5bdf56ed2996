// Times: local in the text, UTC in the tooltip.

import { html, type TemplateResult } from 'lit'
import { serverNow } from '../app/session'
import { ago, localTime, NONE, utcTime } from '../lib/format'

/** '14:05:11'. */
export function when(at: string | null | undefined, exact = true): TemplateResult | string {
  if (!at) return NONE
  const date = new Date(at)
  if (Number.isNaN(date.getTime())) return String(at)
  return html`<time datetime=${date.toISOString()} title=${utcTime(date)}>${localTime(date, serverNow(), exact)}</time>`
}

/** '4 min ago'. */
export function since(at: string | null | undefined): TemplateResult | string {
  if (!at) return NONE
  const date = new Date(at)
  if (Number.isNaN(date.getTime())) return String(at)
  return html`<time datetime=${date.toISOString()} title=${utcTime(date)}>${ago(date, serverNow())}</time>`
}

/** '14:05:11, 4 min ago'. */
export function whenSince(at: string | null | undefined): TemplateResult | string {
  return at ? html`${when(at)}, ${since(at)}` : NONE
}
