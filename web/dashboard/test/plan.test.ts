import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Limit, LimitUse, Plan, State } from '../src/api/types'
import { costFacts } from '../src/lib/cost-text'
import { usd, utcEnd } from '../src/lib/format'
import {
  changeText,
  FIELDS,
  GROUPS,
  groupTexts,
  limitText,
  ofWho,
  useText,
  whatText,
  whoText,
} from '../src/lib/limit-text'
import {
  actSentence,
  costText,
  exampleCost,
  planBound,
  planSentence,
  retryLabel,
  skippedLines,
} from '../src/lib/plan-text'
import { readStatement } from '../src/lib/statement'

const plan = (change: Partial<Plan>): Plan => ({
  token: 't',
  jobs: 34,
  users: 12,
  cost_usd: 17,
  confirm: 'spend 17.00',
  unpriced: 0,
  skipped: 0,
  why: {},
  examples: [],
  more: null,
  expires_at: null,
  ...change,
})

describe('a plan', () => {
  test('says how many, of how many, for how much', () => {
    assert.equal(planSentence('retry', plan({})), 'Retry 34 jobs of 12 users. About $17.00.')
    assert.equal(planSentence('cancel', plan({ jobs: 1, users: 1, cost_usd: 0 })), 'Cancel 1 job of 1 user. Free.')
    assert.equal(
      planSentence('resolve_not_sent', plan({ jobs: 1, users: 1 })),
      'Send 1 job of 1 user again. About $17.00.',
    )
    assert.match(planSentence('retry', plan({ jobs: 0 })), /nothing to do/)
  })
  test('says what it cannot price', () => {
    assert.equal(costText({ cost_usd: 0, unpriced: 3 }), '3 new renders of unknown price')
    assert.equal(costText({ cost_usd: 1, unpriced: 1 }), 'About $1.00, and 1 new render of unknown price')
    const example = { job_id: 1, does: 'render', cost_usd: 0 }
    assert.equal(exampleCost(example, { unpriced: 1 }), 'unknown', 'a price that nobody knows is not free')
    assert.equal(exampleCost(example, { unpriced: 0 }), 'free')
    assert.equal(exampleCost({ ...example, does: 'copy' }, { unpriced: 1 }), 'free')
    assert.equal(exampleCost({ ...example, cost_usd: 1.4 }, { unpriced: 1 }), '$1.40')
  })
  test('says that there is more', () => {
    assert.equal(planBound(plan({})), null)
    assert.match(planBound(plan({ more: 'max_jobs', jobs: 1000 })) ?? '', /first 1,000/)
    assert.match(planBound(plan({ more: 'time' })) ?? '', /may be more/)
  })
  test('says what is passed over and why, the most first, in one and in many', () => {
    assert.deepEqual(skippedLines({ orphan: 1, completed: 12, superseded: 0, new_reason: 2 }), [
      '12 are done',
      '2: new_reason',
      '1 has no saved row',
    ])
  })
})

test('an act says what was done and spent', () => {
  assert.equal(
    actSentence('retry', { jobs: 29, users: 3, cost_usd: 11.5, skipped: 5, why: {} }),
    '29 jobs started again. That spends about $11.50.',
  )
  assert.equal(actSentence('cancel', { jobs: 1, users: 1, cost_usd: 0, skipped: 0, why: {} }), '1 job cancelled.')
})

test('a retry says what it costs', () => {
  const cost = (change: object) => ({ copies: false, cost_usd: 0.5, allowed: true, reason: null, ...change })
  assert.equal(retryLabel(cost({ copies: true, cost_usd: 0 }), 'failed'), 'Retry: free, only the copy')
  assert.equal(retryLabel(cost({}), 'failed'), 'Retry: pays about $0.50')
  assert.equal(retryLabel(cost({ cost_usd: null }), 'failed'), 'Retry: a new render, price unknown')
  assert.equal(retryLabel(cost({ cost_usd: 0 }), 'pending'), 'Send now: costs no more than waiting')
})

describe('a statement of the inbox', () => {
  test('that plans', () => {
    assert.deepEqual(
      readStatement(`SELECT * FROM vibevideo.plan('retry', '{"error_code": "it''s", "since": "7d"}');`),
      {
        kind: 'plan',
        action: 'retry',
        filter: { error_code: ["it's"], since: '7d' },
      },
    )
  })
  test('about one job', () => {
    assert.deepEqual(readStatement('SELECT vibevideo.retry(17);'), { kind: 'retry', jobId: 17 })
    assert.deepEqual(readStatement('SELECT vibevideo.cancel(17);'), { kind: 'cancel', jobId: 17 })
    assert.deepEqual(readStatement('SELECT * FROM vibevideo.job_detail(17);'), { kind: 'show', jobId: 17 })
    assert.deepEqual(readStatement('SELECT vibevideo.resume();'), { kind: 'resume' })
  })
  test('that the page does not do', () => {
    for (const sql of [
      'UPDATE vibevideo.limit SET x = 1;',
      `SELECT * FROM vibevideo.plan('drop', '{}');`,
      `SELECT * FROM vibevideo.plan('retry', '{');`,
      'SELECT vibevideo.retry(1); DROP TABLE x;',
      // parts of a filter that are not known, or dropped, would leave one that matches more
      `SELECT * FROM vibevideo.plan('retry', '{"region": "eu", "error_code": "x"}');`,
      `SELECT * FROM vibevideo.plan('retry', '{"error_code": ["x", ""]}');`,
      `SELECT * FROM vibevideo.plan('retry', '{"cost": "dear"}');`,
      `SELECT * FROM vibevideo.plan('retry', 'null');`,
    ]) {
      assert.equal(readStatement(sql).kind, 'sql', sql)
    }
  })
})

test('what a job could cost, has cost, and how that is known', () => {
  const words = (state: State, cost_usd: number | null, rest: object) =>
    Object.fromEntries(
      costFacts({
        job: { state, cost_usd },
        cost_estimated_usd: 0.9,
        cost_source: null,
        billable_units: null,
        held_usd: null,
        ...rest,
      }),
    )
  const has = (cost: number | null, rest: object) => words('completed', cost, rest)['Has cost']?.replace('US', '')
  assert.deepEqual(Object.values(words('generating', 0.9, {})), [`${usd(0.9)} at most`, null, null])
  assert.deepEqual(Object.values(words('generating', null, { cost_estimated_usd: null })), ['not known', null, null])
  assert.equal(has(0.84, { cost_source: 'units', billable_units: 8.4 }), '$0.84, as fal.ai says it bills (8.4 units)')
  assert.equal(has(0.84, { cost_source: 'bill', billable_units: 8.4 }), '$0.84, as fal.ai has billed it')
  assert.equal(has(0.5, { cost_source: 'duration' }), '$0.50, by the length of the stored video')
  assert.equal(has(0.5, { cost_source: 'estimate' }), '$0.50, as estimated by what was asked for')
  assert.equal(has(0, {}), '$0.00, nothing was billed')
  assert.equal(has(null, {}), 'not known')
  assert.deepEqual(
    Object.values(words('completed', 0.5, { cost_estimated_usd: null })),
    [null, usd(0.5), null],
    'of 0.1.0',
  )
  assert.equal(words('cancelled', 0, { held_usd: 0.5 })['May cost'], `${usd(0.5)}, until fal.ai’s bill says`)
})

test('a group of limits: those that are set, and what counts otherwise', () => {
  const [[, inWork], [, requested], [, spent]] = GROUPS as [
    (typeof GROUPS)[number],
    (typeof GROUPS)[number],
    (typeof GROUPS)[number],
  ]
  const none = Object.fromEntries(FIELDS.map((field) => [field, null]))
  const limit = (given: object) => ({ ...none, ...given }) as unknown as Limit
  assert.deepEqual(groupTexts(limit({ scope: 'user' }), requested), ['as the default'])
  assert.deepEqual(groupTexts(limit({ scope: 'model' }), requested), ['no limit'])
  assert.deepEqual(groupTexts(limit({ scope: 'user', max_active: 5 }), inWork), ['5'])
  assert.deepEqual(groupTexts(limit({ scope: 'global', spend_per_month_usd: 99 }), spent), [`${usd(99)} a month`])
  assert.deepEqual(groupTexts(limit({ scope: 'tenant', submits_per_hour: 5, submits_per_day: -1 }), requested), [
    '5 an hour',
    'no limit a day',
    'else as the default',
  ])
  assert.deepEqual([...FIELDS].sort(), [
    'max_active',
    'spend_per_day_usd',
    'spend_per_hour_usd',
    'spend_per_month_usd',
    'submits_per_day',
    'submits_per_hour',
    'submits_per_month',
  ])
})

test('limits in words, as they were and as they are', () => {
  assert.equal(limitText(null, 'user'), 'as the default')
  assert.equal(limitText(null, 'global'), 'no limit')
  assert.equal(limitText(-1, 'user'), 'no limit')
  assert.equal(limitText(0, 'user'), '0', 'nobody takes it for no limit')
  assert.equal(limitText('abc', 'user'), 'abc', 'as it is typed')
  assert.equal(whoText({ scope: 'user', user_id: 'u' }), 'user u')
  assert.equal(whoText({ scope: 'model', user_id: null, tenant: null, model: 'm' }), 'model m')
  assert.equal(whoText({ scope: 'global' }), 'all users together')
  assert.equal(changeText('Videos', '3', '5'), 'Videos: 3 → 5')
  assert.equal(changeText('Videos', '3', '3'), '')
})

test('how much of a limit is used, in words', () => {
  const use = (given: Partial<LimitUse>) =>
    useText({
      who: 'global',
      limit_name: 'spend_per_day_usd',
      most: 10,
      used: 3.2,
      remaining: 6.8,
      resets_at: null,
      held: 0,
      ...given,
    })
  assert.deepEqual(use({}), { words: `${usd(3.2)} of ${usd(10)}`, part: 0.32 })
  assert.deepEqual(
    use({ limit_name: 'max_active', most: 3, used: 4 }),
    { words: '4 of 3', part: 1 },
    'never more than all of it',
  )
  assert.deepEqual(use({ limit_name: 'submits_per_day', most: 0, used: 0 }), { words: 'none allowed', part: 1 })
  assert.deepEqual(use({ limit_name: 'submits_per_day', most: 0, used: 2 }), { words: '2, and none allowed', part: 1 })
  assert.deepEqual(ofWho('user:a:b\nc'), { scope: 'user', user_id: 'a:b\nc' })
  assert.deepEqual(ofWho('model:fal-ai/x'), { scope: 'model', model: 'fal-ai/x' })
  assert.deepEqual(ofWho('global'), { scope: 'global' })
  assert.deepEqual(FIELDS.map(whatText), [
    'Videos in work',
    'Videos requested an hour',
    'Videos requested a day',
    'Videos requested a month',
    'USD spent an hour',
    'USD spent a day',
    'USD spent a month',
  ])
  assert.equal(whatText('what_is_new' as never), 'what_is_new')
  const now = new Date('2026-11-30T13:05:00Z')
  assert.equal(utcEnd(new Date('2026-12-01T00:00:00Z'), now), '00:00 UTC')
  assert.match(utcEnd(new Date('2027-01-01T00:00:00Z'), now), /1.*00:00 UTC$/)
})
