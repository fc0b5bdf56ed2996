// The words that people read for the codes that the database uses.

import type { State } from '../api/types'

export type Tone = 'ok' | 'busy' | 'wait' | 'warn' | 'bad' | 'idle'

interface Word {
  label: string
  tone: Tone
}

export const STATES: Record<State, Word> = {
  pending: { label: 'Waiting to be sent', tone: 'wait' },
  submitting: { label: 'Being sent', tone: 'busy' },
  submit_unknown: { label: 'Answer lost', tone: 'warn' },
  queued: { label: 'In fal.ai’s queue', tone: 'wait' },
  generating: { label: 'Rendering', tone: 'busy' },
  processing: { label: 'Copying', tone: 'busy' },
  completed: { label: 'Done', tone: 'ok' },
  failed: { label: 'Failed', tone: 'bad' },
  cancelled: { label: 'Cancelled', tone: 'idle' },
}

export function stateWord(state: string): Word {
  // an address may have any word in it, also one that every object knows
  return Object.hasOwn(STATES, state) ? STATES[state as State] : { label: state, tone: 'idle' }
}

export function isActive(state: string): boolean {
  return !['completed', 'failed', 'cancelled'].includes(state)
}

export const CLASSES: Record<string, string> = {
  policy: 'Content policy',
  input: 'Input',
  balance: 'Key or balance',
  provider: 'fal.ai',
  storage: 'Storage',
  time: 'Took too long',
  limit: 'Limit',
  other: 'Other',
}

export function className(name: string): string {
  return (Object.hasOwn(CLASSES, name) && CLASSES[name]) || name
}

export const STEPS: Record<string, string> = {
  requested: 'Requested',
  sent: 'Sent to fal.ai',
  accepted: 'Accepted by fal.ai',
  rendered: 'Rendered',
  completed: 'Stored',
  failed: 'Failed',
  cancelled: 'Cancelled',
  now: 'Now',
}

export const NEEDS: Record<string, string> = {
  copy: 'This database is a copy',
  paused: 'Paused',
  outage: 'A service does not answer',
  check: 'A check fails',
  account: 'fal.ai refuses requests',
  budget: 'Today’s budget is nearly used up',
  balance: 'The balance at fal.ai is low',
  model_gone: 'fal.ai does not list a model',
  price_changed: 'fal.ai has changed a price',
  ledger: 'The bill does not close',
  lost_submit: 'fal.ai’s answer was lost',
  given_up: 'Given up after a lost answer',
  dead_letter: 'Paid for, not stored',
  orphan_video: 'A video without a saved row',
  quarantined: 'Set aside after crashes',
  unwritten_row: 'The app’s row does not show the result',
  no_table: 'Jobs of another table',
  no_row: 'The app’s row was deleted',
  erasure: 'Something cannot be erased',
  unread: 'Not looked at yet',
}

/** Why a plan or an act passes a job over, to follow a number: '12 are done already'. */
export const REASONS: Record<string, [one: string, many: string]> = {
  ended: ['has ended already', 'have ended already'],
  copying: ['is being copied already, and paid for', 'are being copied already, and paid for'],
  cancelling: ['is being cancelled already', 'are being cancelled already'],
  not_lost: ['has an answer from fal.ai', 'have an answer from fal.ai'],
  not_failed: ['has not failed', 'have not failed'],
  forgotten: ['was set aside before', 'were set aside before'],
  active: ['is still in work', 'are still in work'],
  completed: ['is done', 'are done'],
  orphan: ['has no saved row', 'have no saved row'],
  superseded: ['has a newer attempt', 'have newer attempts'],
  lost: ['has a lost answer: decide on it first', 'have a lost answer: decide on them first'],
  submit_lost: [
    'was given up after a lost answer, and may have been paid for: filter by submit_lost to retry it',
    'were given up after a lost answer, and may have been paid for: filter by submit_lost to retry them',
  ],
  no_table: ['is of a table that is not attached', 'are of a table that is not attached'],
  changed: ['has changed since the plan', 'have changed since the plan'],
  gone: ['was deleted since the plan', 'were deleted since the plan'],
  price: ['has become dearer since the plan', 'have become dearer since the plan'],
  limit: ['is over its user’s limit', 'are over their user’s limit'],
  busy: ['is held by somebody else at this moment', 'are held by somebody else at this moment'],
}

export const DEEDS: Record<string, string> = {
  cancel: 'cancelled',
  send: 'sent now',
  copy: 'only copied again',
  render: 'rendered again, and paid for',
  drop: 'cancelled',
  forget: 'set aside',
}
