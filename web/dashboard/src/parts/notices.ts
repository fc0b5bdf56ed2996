// What is said above everything: calls that fail, and what has come of an act. And, unseen, to those who listen.

import { html, nothing } from 'lit'
import { announcement, toast } from '../app/announce'
import { refresher } from '../app/refresh'
import { localTime } from '../lib/format'
import { Watch } from '../lib/store'
import { define, Part } from './base'
import { icon } from './icon'

class Notices extends Part {
  constructor() {
    super()
    new Watch(this, announcement, toast, refresher.trouble)
  }

  override render() {
    const trouble = refresher.trouble.value
    const note = toast.value
    const again = trouble?.again ? ` Tried again at ${localTime(new Date(trouble.again), new Date())}.` : ''
    return html`
      <div class="banner-place" role="status">
        ${
          trouble
            ? html`<p class="banner">${icon('warn')}<span>${trouble.sentence}${again}</span>
                <button type="button" class="small" @click=${() => refresher.now(true)}>Try now</button></p>`
            : nothing
        }
      </div>
      <div class="toast-place" role="status">
        ${
          note
            ? html`<p class="toast ${note.tone}">${icon(note.tone)}<span>${note.text}</span>
                <button type="button" class="tiny" aria-label="Dismiss" @click=${() => toast.set(null)}>${icon('close')}</button></p>`
            : nothing
        }
      </div>
      <div class="unseen" aria-live="polite">${announcement.value}</div>
    `
  }
}

define('vv-notices', Notices)
