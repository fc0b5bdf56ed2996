// What a plan would do, and what an act has done, in sentences.

import type { Action, ActResult, Plan, PlanExample, RetryCost } from '../api/types'
import { count, number, usd } from './format'
import { REASONS } from './words'

export const ACTIONS: Record<
  Action,
  { label: string; verb: [before: string, after: string]; done: string; note: string }
> = {
  retry: {
    label: 'Retry',
    verb: ['Retry', ''],
    done: 'started again',
    note: 'A video that was rendered is only copied again, which is free. Anything else is a new render, and is paid for.',
  },
  cancel: {
    label: 'Cancel',
    verb: ['Cancel', ''],
    done: 'cancelled',
    note: 'This spends nothing. What fal.ai is rendering already may still be charged.',
  },
  resolve_not_sent: {
    label: 'Send again',
    verb: ['Send', ' again'],
    done: 'sent again',
    note: 'Do this only if fal.ai does not have them: what it has rendered all the same is paid for twice.',
  },
  forget_error: {
    label: 'Set aside',
    verb: ['Set aside', ''],
    done: 'set aside',
    note: 'They are no longer shown as something to deal with. The app’s users see them as before, and nothing is spent.',
  },
}

/** '12 are done', the most frequent reason first. */
export function skippedLines(why: Record<string, number>): string[] {
  return Object.entries(why)
    .filter(([, n]) => n > 0)
    .sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]))
    .map(([reason, n]) => {
      const words = REASONS[reason]
      return words ? `${number(n)} ${words[n === 1 ? 0 : 1]}` : `${number(n)}: ${reason}`
    })
}

export function costText(plan: Pick<Plan, 'cost_usd' | 'unpriced'>): string {
  const cost = Number(plan.cost_usd)
  const unknown = plan.unpriced > 0 ? `${count(plan.unpriced, 'new render')} of unknown price` : ''
  if (cost === 0) return unknown || 'Free'
  return `About ${usd(cost)}${unknown ? `, and ${unknown}` : ''}`
}

/** What one job of the plan costs: a new render without a known price is not free. */
export function exampleCost(example: PlanExample, plan: Pick<Plan, 'unpriced'>): string {
  if (Number(example.cost_usd) > 0) return usd(example.cost_usd)
  return example.does === 'render' && plan.unpriced > 0 ? 'unknown' : 'free'
}

/** 'Retry 3 jobs', 'Send 3 jobs again'. */
export function doing(action: Action, what: string): string {
  const [before, after] = ACTIONS[action].verb
  return `${before} ${what}${after}`
}

/** What the plan would do. */
export function planSentence(action: Action, plan: Plan): string {
  if (plan.jobs === 0) return 'There is nothing to do: no job matches for which this is right.'
  const of = `${count(plan.jobs, 'job')} of ${count(plan.users, 'user')}`
  return `${doing(action, of)}. ${costText(plan)}.`
}

export function planBound(plan: Plan): string | null {
  if (plan.more === 'max_jobs')
    return `Only the first ${number(plan.jobs)}: more match. Carry this out, then plan again.`
  if (plan.more === 'time') return 'Not all jobs were looked at: there may be more. Carry this out, then plan again.'
  return null
}

/** What was done. */
export function actSentence(action: Action, result: ActResult): string {
  const spent = Number(result.cost_usd) > 0 ? ` That spends about ${usd(result.cost_usd)}.` : ''
  return `${count(result.jobs, 'job')} ${ACTIONS[action].done}.${spent}`
}

/** What one retry costs, as it stands on its button. */
export function retryLabel(cost: RetryCost | null, state: string): string {
  const verb = state === 'pending' ? 'Send now' : 'Retry'
  if (!cost) return verb
  if (cost.copies) return `${verb}: free, only the copy`
  if (state === 'pending') return `${verb}: costs no more than waiting`
  if (cost.cost_usd == null) return `${verb}: a new render, price unknown`
  return Number(cost.cost_usd) === 0 ? `${verb}: free` : `${verb}: pays about ${usd(cost.cost_usd)}`
}
