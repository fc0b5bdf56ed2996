// Where in the page one is: the fragment, so that Back works and an address can be sent to others.

import { Store } from '../lib/store'

export const SCREENS = [
  'overview',
  'jobs',
  'job',
  'find',
  'lost',
  'errors',
  'users',
  'charts',
  'limits',
  'health',
  'audit',
  'ledger',
] as const
export type Screen = (typeof SCREENS)[number]

export interface Route {
  screen: Screen
  id: number | null
  query: URLSearchParams
}

/** '#/jobs?state=failed', '#/job/17'. Whatever is no address of ours is the overview. */
export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2)
  const [name, id] = path.split('/')
  const screen = SCREENS.find((s) => s === name) ?? 'overview'
  const number = id && /^\d{1,18}$/.test(id) ? Number(id) : null
  if (screen === 'job' && number === null) return { screen: 'jobs', id: null, query: new URLSearchParams() }
  return { screen, id: screen === 'job' ? number : null, query: new URLSearchParams(query) }
}

export function link(screen: Screen, query?: URLSearchParams | Record<string, string> | [string, string][]): string {
  const text = new URLSearchParams(query).toString()
  return `#/${screen}${text ? `?${text}` : ''}`
}

export function jobLink(id: number): string {
  return `#/job/${id}`
}

export const route = new Store<Route>(parseRoute('#/'))

export function startRouting(): void {
  const read = () => route.set(parseRoute(location.hash))
  addEventListener('hashchange', read)
  read()
}

export function go(hash: string): void {
  location.hash = hash
}

/** Another address for the same view: Back does not come here. */
export function replace(hash: string): void {
  history.replaceState(null, '', hash)
  route.set(parseRoute(hash))
}
