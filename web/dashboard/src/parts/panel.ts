// A part of a screen with a heading.

import { html, type TemplateResult } from 'lit'

let count = 0
const ids = new Map<string, string>()

/** The id of a heading; the same for the same words. */
function idOf(title: string): string {
  let id = ids.get(title)
  if (!id) {
    count += 1
    id = `panel-${count}`
    ids.set(title, id)
  }
  return id
}

export function panel(title: string, body: unknown, aside: unknown = ''): TemplateResult {
  return html`<section class="panel" aria-labelledby=${idOf(title)}>
    <header><h2 id=${idOf(title)}>${title}</h2>${aside ? html`<div class="aside">${aside}</div>` : ''}</header>
    ${body}
  </section>`
}

export function pageHead(title: string, aside: unknown = ''): TemplateResult {
  return html`<header class="page-head"><h1 tabindex="-1">${title}</h1>${aside ? html`<div class="aside">${aside}</div>` : ''}</header>`
}

/** A choice of few, as links that are addresses. */
export function tabs(label: string, choices: { text: string; href: string; on: boolean }[]): TemplateResult {
  return html`<nav class="tabs" aria-label=${label}>
    ${choices.map(
      (c) => html`<a href=${c.href} class=${c.on ? 'on' : ''} aria-current=${c.on ? 'true' : 'false'}>${c.text}</a>`,
    )}
  </nav>`
}
