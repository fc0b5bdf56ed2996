// The keyboard: / j k Enter r t ? and g with a letter. A person may turn it off.

import { Store } from '../lib/store'
import { announce } from './announce'
import { readPref, writePref } from './prefs'
import { refresher } from './refresh'
import { go, link, type Screen } from './route'
import { nextTheme } from './theme'

export const PLACES: [letter: string, screen: Screen, label: string][] = [
  ['o', 'overview', 'Overview'],
  ['j', 'jobs', 'Jobs'],
  ['l', 'lost', 'Lost submits'],
  ['e', 'errors', 'Errors'],
  ['u', 'users', 'Users'],
  ['c', 'charts', 'Charts'],
  ['m', 'limits', 'Limits and prices'],
  ['h', 'health', 'Health'],
  ['a', 'audit', 'Audit'],
  ['b', 'ledger', 'Ledger'],
]

export const KEYS: [keys: string, meaning: string][] = [
  ['/', 'search'],
  ['j k', 'next and previous line of a list'],
  ['Enter', 'open the line'],
  ['r', 'refresh now'],
  ['t', 'theme: system, light, dark'],
  ['?', 'this help'],
]

const CHORD_MS = 1500

export const shortcuts = new Store(readPref('keys') !== 'off')

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest('input, textarea, select, [contenteditable]') !== null
}

/** Moves from line to line: the links that open one. */
function step(by: 1 | -1): void {
  const lines = [...document.querySelectorAll<HTMLElement>('main [data-line]:not(details:not([open]) *)')]
  const at = lines.indexOf(document.activeElement as HTMLElement)
  const next = lines[at < 0 ? (by > 0 ? 0 : lines.length - 1) : Math.min(lines.length - 1, Math.max(0, at + by))]
  next?.focus()
  next?.scrollIntoView({ block: 'nearest' })
}

function actOn(key: string, openHelp: () => void): boolean {
  switch (key) {
    case '/':
      document.querySelector<HTMLInputElement>('#search')?.focus()
      return true
    case 'j':
    case 'k':
      step(key === 'j' ? 1 : -1)
      return true
    case 'r':
      void refresher.now(true).then(() => announce('Refreshed'))
      return true
    case 't':
      announce(`Theme: ${nextTheme()}`)
      return true
    case '?':
      openHelp()
      return true
    default:
      return false
  }
}

export function startKeys(openHelp: () => void): void {
  shortcuts.subscribe((on) => writePref('keys', on ? 'on' : 'off'))
  let chordUntil = 0
  addEventListener('keydown', (event) => {
    if (!shortcuts.value || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return
    if (isTyping(event.target) || document.querySelector('dialog[open]')) return
    const place = event.timeStamp < chordUntil ? PLACES.find(([letter]) => letter === event.key) : undefined
    chordUntil = event.key === 'g' ? event.timeStamp + CHORD_MS : 0
    if (place) go(link(place[1]))
    if (place || actOn(event.key, openHelp)) event.preventDefault()
  })
}
