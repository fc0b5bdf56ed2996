// Limits in words.

import type { Limit, LimitScope } from '../api/types'
import { number } from './format'

export function whoText(limit: Pick<Limit, 'scope' | 'user_id'>): string {
  if (limit.scope === 'global') return 'all users together'
  return limit.scope === 'default' ? 'each user without a limit of their own' : `user ${limit.user_id}`
}

export function limitText(value: number | null, scope: LimitScope, unit: (n: number) => string = number): string {
  if (value === null) return scope === 'user' ? 'as the default' : 'no limit'
  if (Number(value) === -1) return 'no limit'
  return unit(Number(value))
}

/** 'Videos in work: 3 → 5', or '' if it stays. */
export function changeText(what: string, before: string, after: string): string {
  return before === after ? '' : `${what}: ${before} → ${after}`
}
