// Limits in words.

import type { Limit, LimitField, LimitScope, LimitUse } from '../api/types'
import { number, usd } from './format'

export const SCOPES: Record<LimitScope, string> = {
  user: 'a user',
  tenant: 'a tenant',
  model: 'a model',
  global: 'all users together',
  default: 'each user without a limit of their own',
  default_tenant: 'each tenant without a limit of its own',
}

/** Where scopes have whom they are for. */
export const NAMES = { user: 'user_id', tenant: 'tenant', model: 'model' } as const

/** What is limited, each by the time it is counted in. */
export const GROUPS: [what: string, fields: [field: LimitField, per: string][]][] = [
  ['Videos in work', [['max_active', 'at a time']]],
  [
    'Videos requested',
    [
      ['submits_per_hour', 'an hour'],
      ['submits_per_day', 'a day'],
      ['submits_per_month', 'a month'],
    ],
  ],
  [
    'USD spent',
    [
      ['spend_per_hour_usd', 'an hour'],
      ['spend_per_day_usd', 'a day'],
      ['spend_per_month_usd', 'a month'],
    ],
  ],
]
export const FIELDS = GROUPS.flatMap(([, fields]) => fields.map(([field]) => field))

export function nameOf({ user_id, tenant, model }: Partial<Limit>): string | null | undefined {
  return user_id ?? tenant ?? model
}

export function whoText(limit: Pick<Limit, 'scope'> & Partial<Limit>): string {
  const name = nameOf(limit)
  return name == null ? SCOPES[limit.scope] : `${limit.scope} ${name}`
}

/** Whose limit 'user:ann' is. */
export function ofWho(who: string): Pick<Limit, 'scope'> & Partial<Limit> {
  const [, scope, name] = /^(user|tenant|model):(.*)$/s.exec(who) ?? []
  return scope ? { scope: scope as LimitScope, [NAMES[scope as keyof typeof NAMES]]: name } : { scope: 'global' }
}

/** 'USD spent a day'. */
export function whatText(field: LimitField): string {
  for (const [what, fields] of GROUPS) {
    const per = fields.find(([name]) => name === field)?.[1]
    if (per) return fields.length > 1 ? `${what} ${per}` : what
  }
  return field
}

/** '$3.20 of $10.00'; part: how much of it is used, 0 to 1. */
export function useText({ limit_name, most, used }: LimitUse): { words: string; part: number } {
  const amount = limit_name.endsWith('usd') ? usd : number
  const all = Number(most)
  if (all === 0) return { words: Number(used) === 0 ? 'none allowed' : `${amount(used)}, and none allowed`, part: 1 }
  return { words: `${amount(used)} of ${amount(most)}`, part: Math.min(1, Number(used) / all) }
}

/** Whether what it leaves open is as a default says. */
export const inherits = (scope: LimitScope) => scope === 'user' || scope === 'tenant'

/** value: as it is typed, too. */
export function limitText(value: number | string | null, scope: LimitScope, field?: LimitField): string {
  if (value === null || value === '') return inherits(scope) ? 'as the default' : 'no limit'
  const n = Number(value)
  if (n === -1) return 'no limit'
  return Number.isNaN(n) ? String(value) : (field?.endsWith('usd') ? usd : number)(n)
}

/** '40 a day', 'else as the default': those of a group that are set, and what counts otherwise. */
export function groupTexts(limit: Limit, fields: (typeof GROUPS)[number][1]): string[] {
  const texts = fields
    .filter(([field]) => limit[field] !== null)
    .map(([field, per]) => limitText(limit[field], limit.scope, field) + (fields.length > 1 ? ` ${per}` : ''))
  const rest = limitText(null, limit.scope)
  if (texts.length === 0) return [rest]
  return texts.length < fields.length && inherits(limit.scope) ? [...texts, `else ${rest}`] : texts
}

/** 'Videos in work: 3 → 5', or '' if it stays. */
export function changeText(what: string, before: string, after: string): string {
  return before === after ? '' : `${what}: ${before} → ${after}`
}
