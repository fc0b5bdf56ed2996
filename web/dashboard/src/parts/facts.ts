// Names and what they are, one under the other.

import { html, type TemplateResult } from 'lit'
import { NONE } from '../lib/format'

export type Fact = [name: string, value: unknown]

/** Those without a value are left out. */
export function facts(list: Fact[]): TemplateResult {
  const known = list.filter(([, value]) => value !== null && value !== undefined && value !== '' && value !== NONE)
  return html`<dl class="facts">${known.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`
}
