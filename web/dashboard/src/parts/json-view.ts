// JSON as an indented text, with its keys in order and a button to copy it.

import { html, type TemplateResult } from 'lit'

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted((value as Record<string, unknown>)[key])]),
  )
}

export function jsonText(value: unknown): string {
  return JSON.stringify(sorted(value), null, 2)
}

export function jsonView(value: unknown, what: string): TemplateResult {
  const text = jsonText(value)
  return html`<div class="json">
    <vv-copy .text=${text} .what=${what}></vv-copy>
    <pre tabindex="0" aria-label=${what} dir="auto">${text}</pre>
  </div>`
}
