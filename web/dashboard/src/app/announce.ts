// What has changed, for people who listen to the page: one sentence at a time.

import { Store } from '../lib/store'

export const announcement = new Store('')
export const toast = new Store<{ text: string; tone: 'ok' | 'bad' } | null>(null)

const TOAST_MS = 8000
let timer = 0

export function announce(text: string): void {
  // the same words again are news again
  announcement.set(announcement.value === text ? `${text}\u00a0` : text)
}

/** Shows and announces what has come of something that the person did. */
export function tell(text: string, tone: 'ok' | 'bad' = 'ok'): void {
  toast.set({ text, tone })
  window.clearTimeout(timer)
  timer = window.setTimeout(() => toast.set(null), TOAST_MS)
}
