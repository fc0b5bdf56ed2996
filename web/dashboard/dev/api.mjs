// Plays the database's functions for the page, as far as looking and clicking needs it.

import { ago, CHECKS, INBOX, MODELS, makeJob, SETTINGS, span, USERS, WORKER } from './data.mjs'

const TOTAL = 2000
const jobs = Array.from({ length: TOTAL }, (_, nth) => makeJob(TOTAL - nth, TOTAL))
const FIELDS = [
  'max_active',
  ...['hour', 'day', 'month'].flatMap((per) => [`submits_per_${per}`, `spend_per_${per}_usd`]),
]
const NOTHING = Object.fromEntries([...FIELDS, 'user_id', 'tenant', 'model'].map((name) => [name, null]))
const limit = (given) => ({ ...NOTHING, ...given })
const isOf = (a, b) => ['scope', 'user_id', 'tenant', 'model'].every((key) => (a[key] ?? null) === (b[key] ?? null))
const state = {
  paused: null,
  limits: [
    limit({ scope: 'global', spend_per_day_usd: 200, spend_per_month_usd: 3000 }),
    limit({ scope: 'model', model: MODELS[1], spend_per_month_usd: 1000 }),
    limit({ scope: 'tenant', tenant: 'acme', submits_per_month: 500 }),
    limit({ scope: 'default', max_active: 3, submits_per_hour: 10, submits_per_day: 20, spend_per_day_usd: 5 }),
    limit({ scope: 'user', user_id: USERS[0], max_active: 10, submits_per_day: -1 }),
  ],
}

/** Some of each, the fullest first. */
function limitUse() {
  const end = { hour: 3_600_000, day: 86_400_000, month: 31 * 86_400_000 }
  const who = (l) => [l.scope, l.user_id ?? l.tenant ?? l.model].filter(Boolean).join(':')
  return state.limits
    .flatMap((l, n) =>
      FIELDS.filter((f) => l[f] > 0).map((f, k) => {
        const used = Math.round(l[f] * Math.min(1, (n + 2 * k + 1) / 5) * 100) / 100
        return {
          who: who(l).replace('default', 'user:someone'),
          limit_name: f,
          most: l[f],
          used,
          remaining: l[f] - used,
          resets_at: f === 'max_active' ? null : new Date(Date.now() + end[f.split('_')[2]]).toISOString(),
          held: k === 1 ? used / 4 : 0,
        }
      }),
    )
    .sort((a, b) => a.remaining / a.most - b.remaining / b.most)
}

export class Refusal extends Error {
  constructor(status, code, message, hint = null) {
    super(message)
    Object.assign(this, { status, code, hint })
  }
}

const has = (filter, key, value) =>
  filter[key] === undefined || [].concat(filter[key]).map(String).includes(String(value))
const matches = (f, job) =>
  has(f, 'state', job.state) &&
  has(f, 'status', job.status) &&
  has(f, 'job_id', job.job_id) &&
  has(f, 'error_code', job.error_code) &&
  has(f, 'class', job.error_class) &&
  has(f, 'user', job.user_id) &&
  has(f, 'model', job.model) &&
  has(f, 'key', job.vibelog_id) &&
  has(f, 'orphan', job.orphan) &&
  has(f, 'paid_not_stored', job.paid_not_stored)

function listJobs({ filter = {}, after = null, max_jobs = 50 }) {
  const found = jobs.filter((job) => matches(filter, job) && (!after || job.job_id < after.job_id))
  const page = found.slice(0, max_jobs)
  const more = found.length > page.length
  return {
    jobs: page,
    next: more ? { job_id: page.at(-1).job_id } : null,
    bound: more ? 'max_jobs' : null,
    as_of: new Date().toISOString(),
    filter,
  }
}

function overview() {
  const n = (...states) => jobs.filter((job) => states.includes(job.state)).length
  return {
    as_of: new Date().toISOString(),
    waiting: n('pending', 'submitting', 'submit_unknown'),
    at_fal: n('queued', 'generating'),
    copying: n('processing'),
    more: false,
    oldest_waiting_job_id: 1990,
    oldest_waiting_since: ago(1500),
    oldest_waiting_why: jobs.find((j) => j.state === 'pending')?.why,
    done_today: 412,
    failed_today: 0,
    cancelled_today: 3,
    last_completed_at: ago(130),
    idle_since: null,
    spent_today_usd: 34.5,
    reserved_today_usd: 4,
    budget_usd: 200,
    left_usd: 161.5,
    worker: 'running',
    worker_detail: 'process 4711, last turn 1 second ago',
    fal_down_until: null,
    storage_down_until: null,
    paused: state.paused,
    needs_you: INBOX.length,
    needs_you_by_kind: { lost_submit: 1, dead_letter: 1, check: 1 },
  }
}

function findJob(id) {
  const job = jobs.find((one) => one.job_id === id)
  if (!job) throw new Refusal(404, 'PT404', `there is no job ${id}`)
  return job
}

function details({ job_id }) {
  const job = findJob(job_id)
  const steps = [
    ['requested', job.created_at, null],
    ['sent', job.created_at, 0],
    ['accepted', job.submitted_at, 2],
    ['rendered', job.generated_at, 140],
    [job.completed_at ? job.state : 'now', job.completed_at ?? new Date().toISOString(), 6],
  ]
  return {
    job,
    relation: 'public.vibelogs',
    input: { prompt: job.prompt, duration: 6, nested: { b: 1, a: [1, 2] } },
    sent_at: job.created_at,
    next_at: job.completed_at ? null : ago(-12),
    cancel_requested_at: null,
    error: job.error,
    row_error: null,
    row_dirty: false,
    timeline: steps
      .filter((s) => s[1])
      .map(([step, at, took]) => ({ step, at, took: took === null ? null : span(took) })),
    events: [
      ['submitting', null, null],
      ['queued', null, job.request_id],
      ['generating', null, null],
      ['processing', 'http_503', 'upstream connect error <b>bold</b>'],
      [job.state, job.error_code, job.error],
    ].map(([s, code, detail], n) => ({ at: ago(300 - n * 40), state: s, error_code: code, detail })),
    attempts: job.attempt > 1 ? [job, findJob(job_id - 1)] : [job],
    fal_url: `https://queue.fal.run/${job.model}/requests/${job.request_id}`,
    media_url: 'https://v3.fal.media/files/elephant/abc.mp4',
    media_type: 'video/mp4',
    bucket: 'videos',
    object_key: `${job.vibelog_id}/${job.request_id}.mp4`,
    bytes_done: 11_800_000,
    bytes_total: 19_000_000,
    bytes_per_second: 976_000,
    sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    duration_ms: 5640,
    cost_estimated_usd: 0.5,
    cost_source: job.completed_at ? 'units' : null,
    held_usd: null,
    billable_units: job.completed_at ? 5.6 : null,
    more: false,
  }
}

function plan({ action, filter, max_jobs }) {
  const found = jobs.filter(
    (job) =>
      matches(filter, job) &&
      (filter.state || filter.job_id || job.state === (action === 'cancel' ? 'generating' : 'failed')),
  )
  const right = found
    .filter((job) => (action === 'cancel' ? !job.completed_at : job.state === 'failed'))
    .slice(0, max_jobs)
  const cost = action === 'retry' ? right.filter((j) => !j.paid_not_stored).length * 0.5 : 0
  return [
    {
      token: right.length > 0 ? '00000000-0000-4000-8000-000000000001' : null,
      jobs: right.length,
      users: new Set(right.map((j) => j.user_id)).size,
      cost_usd: cost,
      confirm: cost > 10 ? `spend ${cost.toFixed(2)}` : null,
      unpriced: 0,
      skipped: found.length - right.length + 5,
      why: { completed: found.length - right.length, superseded: 4, orphan: 1 },
      more: right.length === max_jobs ? 'max_jobs' : null,
      expires_at: ago(-600),
      examples: right.slice(0, 10).map((j) => ({
        job_id: j.job_id,
        key: j.vibelog_id,
        does: action === 'cancel' ? 'cancel' : j.paid_not_stored ? 'copy' : 'render',
        cost_usd: j.paid_not_stored ? 0 : 0.5,
      })),
    },
  ]
}

function series({ metric, since, step }) {
  const [n, unit] = step.split(' ')
  const stride = Number(n) * { minute: 60, hour: 3600 }[unit.replace(/s$/, '')] * 1000
  const rows = []
  const labels =
    metric === 'backlog' ? ['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing'] : MODELS
  for (let at = Math.ceil(Date.parse(since) / stride) * stride; at <= Date.now(); at += stride) {
    labels.forEach((label, k) => {
      const wave = 4 + 3 * Math.sin(at / 5e6 + k) + (metric.endsWith('p95') ? 6 : 0)
      rows.push({
        at: new Date(at).toISOString(),
        label,
        value:
          k > 3
            ? null
            : metric === 'spend_usd'
              ? wave / 2
              : metric === 'failed'
                ? Math.round(wave / 5)
                : Math.round(wave * 3),
      })
    })
  }
  return rows
}

function lost() {
  return jobs
    .filter((job) => job.state === 'submit_unknown')
    .map((job, nth) => ({
      job,
      sent_at: job.created_at,
      looked_at: ago(60),
      next_look_at: ago(-30),
      complete: nth === 1,
      policy: nth === 0 ? 'manual' : 'fail_when_absent',
      acts_at: nth === 0 ? null : ago(-1200),
      outcome:
        nth === 0
          ? 'nothing happens until somebody decides'
          : "it fails if fal.ai's list shows no trace of it, and nothing is sent again",
      more: false,
      fal_url: 'https://fal.ai/dashboard/requests',
      candidates:
        nth === 0
          ? [
              {
                request_id: '764cabcf-b745-4b3e-ae38-1200304cf45b',
                at: job.created_at,
                seconds: 0.4,
                input: 'same',
                why: 'there are two of them',
                fal_url: 'https://queue.fal.run/x',
              },
              {
                request_id: '9f3a7c21-0000-4b3e-ae38-1200304cf45c',
                at: ago(1400),
                seconds: -71.2,
                input: 'contains',
                why: 'it was sent before',
                fal_url: null,
              },
            ]
          : nth === 1
            ? []
            : null,
    }))
}

const errors = () =>
  [
    [
      'content_policy_violation',
      'policy',
      31,
      'The content could not be processed because it was flagged by a content checker.',
    ],
    ['internal_error', 'provider', 12, '<img src=x onerror=alert(1)> Internal Server Error'],
    ['EntityTooLarge', 'storage', 4, 'The object exceeded the maximum allowed size'],
  ].map(([error_code, error_class, n, example], k) => ({
    error_class,
    error_code,
    model: MODELS[k % 2],
    jobs: n,
    first_at: ago(86400 * 9),
    last_at: ago(400 * (k + 1)),
    trend: Array.from({ length: 12 }, (_, i) => (i * (k + 2) * 7) % 5),
    example_job_id: 1900 + k,
    example,
    more: k === 0,
  }))

const users = () =>
  USERS.map((user_id, k) => ({
    user_id,
    active: [3, 2, 0, 0][k],
    submits_today: 14 - k * 3,
    videos_today: 12 - k * 3,
    spent_today_usd: 6 - k,
    reserved_usd: k === 0 ? 1.5 : 0,
    submits: 300 - k * 40,
    videos: 280 - k * 40,
    spent_usd: 140 - k * 20,
    share: 0.5 - k * 0.12,
    max_active: k === 3 ? null : 3,
    submits_per_day: k === 0 ? null : 20,
    spend_per_day_usd: 5,
    more: false,
  }))

const audit = ({ after }) => ({
  rows: Array.from({ length: 50 }, (_, n) => (after?.audit_id ?? 120) - n - 1)
    .filter((id) => id > 0)
    .map((audit_id) => ({
      audit_id,
      at: ago((120 - audit_id) * 4000),
      who: `${USERS[audit_id % 3]} (authenticated)`,
      action: ['act: retry', 'update limit', 'pause', 'cancel'][audit_id % 4],
      arguments: { state: ['failed'], was: [{ max_active: 3 }], is: [{ max_active: 5 }] },
      jobs: audit_id % 4 === 0 ? 34 : null,
      cost_usd: audit_id % 4 === 0 ? 17 : null,
      outcome: { skipped: 2, why: { superseded: 2 } },
    })),
  next: (after?.audit_id ?? 120) > 51 ? { audit_id: (after?.audit_id ?? 120) - 50 } : null,
})

function setLimit(given) {
  const numbers = Object.entries(given).filter(([name, value]) => FIELDS.includes(name) && value !== null)
  for (const [name, value] of numbers) {
    if (!(value >= -1 && value <= 10000))
      throw new Refusal(400, '22023', `${name} must be -1 or a number from 0 to 10000`)
  }
  const read = Object.fromEntries(numbers.map(([name, value]) => [name, Number(value)]))
  state.limits = [...state.limits.filter((l) => !isOf(l, given)), limit({ ...given, ...read })]
  return null
}

const day = (n) => ago(86_400 * n).slice(0, 10)
let unmatched = [
  {
    kind: 'item',
    day: day(1),
    at: ago(86_400),
    model: 'acme/another-program',
    usd: 0.9,
    event_id: 17,
    request_id: '764cabcf-b745-4b3e-ae38-1200304cf45b',
    job_id: null,
    auth_method: 'Other Key',
    reason: 'of another program on the account: none of our jobs was billed to this key',
  },
]

const ledger = () => ({
  detail: "fal.ai's bill was last read 4 min ago",
  hint: null,
  covered_from: ago(86_400 * 40),
  read_at: ago(240),
  failing_since: null,
  days: Array.from({ length: 12 }, (_, n) => ({
    day: day(n),
    model: MODELS[n % 2],
    ours_usd: 12.5 + n,
    fal_usd: 12.75 + n,
    difference_usd: 0.25,
    explained_usd: 0.25,
    jobs: 25 + n,
    items: 25 + n,
    corrected: 1,
    jobs_without_item: 0,
    items_without_job: 0,
    closed: n > 1,
  })),
  more_days: false,
  unmatched,
  more_unmatched: false,
})

export const RPC = {
  me: () => [
    {
      note: 'Ann',
      hint: null,
      user_id: USERS[0],
      name: `${USERS[0]} (authenticated)`,
      level: process.env.LEVEL === 'none' ? null : (process.env.LEVEL ?? 'operator'),
      see_input: true,
      version: '0.2.0',
      server_time: new Date().toISOString(),
      confirm_over_usd: 10,
      storage_public_url: null,
    },
  ],
  overview,
  inbox: () => (process.env.CALM ? [] : INBOX),
  list_jobs: listJobs,
  job: details,
  plan,
  lost,
  errors,
  users,
  series,
  audit,
  find: ({ q }) => ({
    ...listJobs({ filter: {} }),
    jobs: jobs
      .filter(
        (j) =>
          String(j.job_id) === q || j.vibelog_id === q || j.request_id === q || j.user_id === q || j.error_code === q,
      )
      .slice(0, 20),
    next: null,
    bound: null,
  }),
  retry_cost: ({ job_id }) => {
    const j = findJob(job_id)
    return [
      {
        copies: j.paid_not_stored,
        cost_usd: j.paid_not_stored ? 0 : 0.5,
        allowed: ['failed', 'cancelled', 'pending'].includes(j.state),
        reason: 'it is done',
      },
    ]
  },
  act: () => [{ jobs: 29, users: 3, cost_usd: 11.5, skipped: 2, why: { busy: 1, limit: 1 } }],
  cancel: () => ({}),
  retry: () => ({}),
  resolve: () => ({}),
  pause: ({ scope, reason }) => {
    state.paused = `${scope === 'all' ? 'paused by' : 'sending was paused by'} ann at 2026-11-29 14:05:11+00: ${reason}`
    return true
  },
  resume: () => {
    state.paused = null
    return true
  },
  probe_now: () => [
    { service: 'fal.ai', was_down: false, answers: true, detail: 'HTTP 200', next_probe_at: null },
    { service: 'Storage', was_down: true, answers: false, detail: 'connection refused', next_probe_at: ago(-60) },
  ],
  health: () => CHECKS,
  worker: () => [WORKER],
  settings: () => SETTINGS,
  limits: () => state.limits,
  limit_use: () => limitUse(),
  set_limit: setLimit,
  delete_limit: (given) => {
    state.limits = state.limits.filter((l) => !isOf(l, given))
    return null
  },
  prices: () =>
    MODELS.map((endpoint, k) => ({
      endpoint,
      source: k === 0 ? 'built-in' : 'operator',
      applies: k === 1 ? { resolution: '4k', voice_ids: [] } : {},
      valid_from: ago(4000),
      unit: k === 1 ? 'second' : 'video',
      unit_price_usd: [0.5, 0.168][k] ?? null,
      quantity: k === 1 ? '$."duration"' : null,
      quantity_default: k === 1 ? 5 : null,
      allowance: k === 1 ? 0.1 : 0,
      note: null,
      changed_at: ago(4000),
      keys: k === 1 ? 2 : 0,
    })),
  set_price: () => null,
  delete_price: () => 1,
  ledger,
  explain_usage: () => {
    unmatched = []
    return 1
  },
}
