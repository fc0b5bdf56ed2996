// A state in words, with a picture and a colour.

import { html, type TemplateResult } from 'lit'
import { stateWord, type Tone } from '../lib/words'
import { icon } from './icon'

export function badge(label: string, tone: Tone): TemplateResult {
  return html`<span class="badge ${tone}">${icon(tone)}${label}</span>`
}

export function stateBadge(state: string): TemplateResult {
  const { label, tone } = stateWord(state)
  return badge(label, tone)
}
