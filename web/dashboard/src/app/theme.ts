// Light, dark, or as the system has it.

import { Store } from '../lib/store'
import { readPref, writePref } from './prefs'

export type Theme = 'system' | 'light' | 'dark'
const THEMES: Theme[] = ['system', 'light', 'dark']

export const theme = new Store<Theme>('system')

function apply(value: Theme): void {
  if (value === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = value
}

export function startTheme(): void {
  theme.subscribe((value) => {
    apply(value)
    writePref('theme', value)
  })
  const kept = readPref('theme') as Theme | null
  if (kept && THEMES.includes(kept)) theme.set(kept)
}

export function nextTheme(): Theme {
  const next = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length] as Theme
  theme.set(next)
  return next
}
