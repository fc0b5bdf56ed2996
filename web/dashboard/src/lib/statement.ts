// A line of the inbox says what to do as a statement of SQL. Those that the page can do itself become buttons.

import type { Action } from '../api/types'
import { chips, type Filter, fromApi } from './filter'

export type Remedy =
  | { kind: 'plan'; action: Action; filter: Filter }
  | { kind: 'retry' | 'cancel' | 'show'; jobId: number }
  | { kind: 'resume' }
  | { kind: 'sql' }

const ACTIONS = ['cancel', 'retry', 'resolve_not_sent', 'forget_error']

function isAll(filter: Filter, asked: unknown): boolean {
  if (typeof asked !== 'object' || asked === null) return false
  const has = (key: string, value: unknown) => chips(filter).some((c) => c.key === key && c.value === String(value))
  return Object.entries(asked).every(([key, value]) => [value].flat().every((one) => has(key, one)))
}

/** What a statement of vibevideo.inbox() does. */
export function readStatement(statement: string): Remedy {
  const planned = /^SELECT \* FROM vibevideo\.plan\('(\w+)', '(.*)'\);$/s.exec(statement)
  if (planned && ACTIONS.includes(planned[1] as string)) {
    try {
      const asked: unknown = JSON.parse((planned[2] as string).replaceAll("''", "'"))
      const filter = fromApi(asked)
      // without a part that this page does not know it would match other jobs
      return isAll(filter, asked) ? { kind: 'plan', action: planned[1] as Action, filter } : { kind: 'sql' }
    } catch {
      return { kind: 'sql' }
    }
  }
  const one = /^SELECT vibevideo\.(retry|cancel)\((\d+)\);$/.exec(statement)
  if (one) return { kind: one[1] as 'retry' | 'cancel', jobId: Number(one[2]) }
  const shown = /^SELECT \* FROM vibevideo\.job_detail\((\d+)\);$/.exec(statement)
  if (shown) return { kind: 'show', jobId: Number(shown[1]) }
  return statement === 'SELECT vibevideo.resume();' ? { kind: 'resume' } : { kind: 'sql' }
}
