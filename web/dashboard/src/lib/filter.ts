// A filter of jobs: in the URL, as chips, and as vibevideo_admin_list_jobs and vibevideo_admin_plan take it.

import { className, stateWord } from './words'

export const LIST_KEYS = [
  'state',
  'status',
  'error_code',
  'class',
  'model',
  'user',
  'request_id',
  'key',
  'job_id',
] as const
const TEXT_KEYS = ['since', 'until', 'prompt'] as const
const NUMBER_KEYS = ['attempts', 'cost'] as const
const FLAG_KEYS = ['orphan', 'paid_not_stored'] as const

type ListKey = (typeof LIST_KEYS)[number]
type TextKey = (typeof TEXT_KEYS)[number]
type NumberKey = (typeof NUMBER_KEYS)[number]
type FlagKey = (typeof FLAG_KEYS)[number]
export type FilterKey = ListKey | TextKey | NumberKey | FlagKey

export type Filter = Partial<Record<ListKey, string[]>> &
  Partial<Record<TextKey, string>> &
  Partial<Record<NumberKey, number>> &
  Partial<Record<FlagKey, boolean>>

/** What of a URL's query is a filter; anything else is left out. */
export function readFilter(params: URLSearchParams): Filter {
  const filter: Filter = {}
  for (const key of LIST_KEYS) {
    const values = [...new Set(params.getAll(key).filter((v) => v !== ''))]
    if (values.length > 0) filter[key] = values
  }
  for (const key of TEXT_KEYS) {
    const value = params.get(key)
    if (value) filter[key] = value
  }
  for (const key of NUMBER_KEYS) {
    const value = params.get(key)
    if (value && Number.isFinite(Number(value))) filter[key] = Number(value)
  }
  for (const key of FLAG_KEYS) {
    const value = params.get(key)
    if (value === 'true' || value === 'false') filter[key] = value === 'true'
  }
  return filter
}

export function writeFilter(filter: Filter): URLSearchParams {
  const params = new URLSearchParams()
  for (const { key, value } of chips(filter)) params.append(key, value)
  return params
}

export interface Chip {
  key: FilterKey
  value: string
  label: string
}

const NAMES: Partial<Record<FilterKey, string>> = {
  error_code: 'error',
  class: 'kind of error',
  request_id: 'request',
  key: 'row',
  job_id: 'job',
  since: 'since',
  until: 'until',
  prompt: 'prompt has',
}

function label(key: FilterKey, value: string): string {
  switch (key) {
    case 'state':
      return stateWord(value).label
    case 'class':
      return `Error: ${className(value)}`
    case 'attempts':
      return `${value} attempts or more`
    case 'cost':
      return `$${value} or more`
    case 'orphan':
      return value === 'true' ? 'Without a saved row' : 'With a saved row'
    case 'paid_not_stored':
      return value === 'true' ? 'Paid for, not stored' : 'Not among those paid for and not stored'
    case 'since':
      return /^[\d ]+(s|min|h|d|day|days|hours?|minutes?)$/.test(value) ? `Last ${value}` : `Since ${value}`
    default:
      return `${NAMES[key] ?? key}: ${value}`
  }
}

/** A filter in parts, each of which can be taken away. */
export function chips(filter: Filter): Chip[] {
  const found: Chip[] = []
  for (const key of [...LIST_KEYS, ...TEXT_KEYS, ...NUMBER_KEYS, ...FLAG_KEYS]) {
    const value = filter[key]
    if (value === undefined) continue
    for (const one of Array.isArray(value) ? value : [String(value)]) {
      found.push({ key, value: one, label: label(key, one) })
    }
  }
  return found
}

/** The filter without one of its values. */
export function without(filter: Filter, key: FilterKey, value: string): Filter {
  const rest: Filter = { ...filter }
  const values = rest[key]
  if (Array.isArray(values) && values.length > 1) {
    ;(rest as Record<string, unknown>)[key] = values.filter((v) => v !== value)
  } else {
    delete rest[key]
  }
  return rest
}

/** As the database takes it. */
export function toApi(filter: Filter): Record<string, unknown> {
  return { ...filter }
}

/** A filter that came from the database, or from a plan's statement, as one of ours. */
export function fromApi(value: unknown): Filter {
  const params = new URLSearchParams()
  if (typeof value !== 'object' || value === null) return {}
  for (const [key, one] of Object.entries(value)) {
    for (const v of Array.isArray(one) ? one : [one]) params.append(key, String(v))
  }
  return readFilter(params)
}

export function isEmpty(filter: Filter): boolean {
  return Object.keys(filter).length === 0
}
