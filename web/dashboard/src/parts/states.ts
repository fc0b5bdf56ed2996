// What a screen shows while it has nothing to show yet, or cannot have it.

import { html, type TemplateResult } from 'lit'
import { errorSentence, isPassing, UNEXPECTED } from '../api/errors'
import type { Poll } from '../app/poll'
import { icon } from './icon'

export function empty(text: unknown, more: unknown = ''): TemplateResult {
  return html`<div class="empty"><p>${text}</p>${more}</div>`
}

export function failure(error: unknown, again: () => unknown): TemplateResult {
  return html`<div class="empty bad" role="alert">
    <p>${icon('bad')}${errorSentence(error)}</p>
    <button type="button" @click=${again}>Try again</button>
  </div>`
}

export function loading(): TemplateResult {
  return html`<p class="loading" role="status">Loading …</p>`
}

/** What the server has answered, if it is what was expected. */
function shown<T>(data: T, show: (data: T) => unknown): unknown {
  try {
    return show(data)
  } catch (error) {
    console.error(error)
    return failureLine(new Error(UNEXPECTED))
  }
}

/** What was read, or why it is not there. */
export function polled<T>(poll: Poll<T>, show: (data: T) => unknown): unknown {
  if (poll.data !== undefined) {
    return html`<div class=${poll.stale ? 'stale' : ''} aria-busy=${poll.stale}>
      ${poll.error && !isPassing(poll.error) ? failureLine(poll.error) : ''}${shown(poll.data, show)}
    </div>`
  }
  return poll.error ? failure(poll.error, () => poll.restart()) : loading()
}

function failureLine(error: unknown): TemplateResult {
  return html`<p class="line bad" role="alert">${icon('bad')}${errorSentence(error)}</p>`
}
