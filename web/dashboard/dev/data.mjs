// Jobs of all kinds, made up; some with words that somebody means harm with.

export const NOW = Date.now()
export const ago = (seconds) => new Date(NOW - seconds * 1000).toISOString()
const span = (seconds) => {
  const s = Math.max(0, Math.round(seconds))
  const two = (n) => String(n).padStart(2, '0')
  const clock = `${two(Math.floor((s % 86400) / 3600))}:${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}`
  return s >= 86400 ? `${Math.floor(s / 86400)} days ${clock}` : clock
}

const USERS = [
  '7d3c5e1a-0f4b-4c3d-9a58-2b1c6d7e8f90',
  '1f0e9c3b-77aa-4a0e-8b57-30d1c7d1a001',
  'c0ffee00-1111-4222-8333-444455556666',
  null,
]
const MODELS = ['fal-ai/minimax/video-01', 'fal-ai/kling-video/v3/pro/image-to-video']
const PROMPTS = [
  'A paper boat sails down a rainy gutter at dusk, neon reflections, slow dolly shot',
  '<img src=x onerror=alert(1)><script>alert(2)</script> a fox',
  'مرحبا بالعالم، قطة تعزف على البيانو تحت ضوء القمر',
  'ein_sehr_langes_wort_ohne_jede_luecke_'.repeat(6),
  'Timelapse of a cactus flowering in the desert',
]
const ERRORS = [
  [
    'content_policy_violation',
    'policy',
    'The content could not be processed because it was flagged by a content checker.',
  ],
  ['internal_error', 'provider', 'Internal Server Error'],
  ['EntityTooLarge', 'storage', 'The object exceeded the maximum allowed size'],
  [
    'http_402',
    'balance',
    'User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing.',
  ],
]
const STATES = ['pending', 'generating', 'queued', 'processing', 'submit_unknown', 'submitting']
const WHY = {
  pending: ['3rd of 12 that wait for one of 20 places at fal.ai (vibevideo.max_active)', 'max_active'],
  generating: ['rendering, accepted by fal.ai 3 min ago; usually 2 to 4 min with this model', 'rendering'],
  queued: ["in fal.ai's queue, 1,204 ahead; it moved 310 in the last 10 min", 'fal_queue'],
  processing: ['copying: 62 % of 19 MB, 976 kB/s, 8 s left', 'copying'],
  submit_unknown: [
    'the answer to its submit was lost: looked up 4 times, next at 14:05:11; if it is not found, unknown_policy fail_when_absent acts at 14:35:11',
    'lost',
  ],
  submitting: ['being sent since 14:05:11', 'sending'],
}

function endOf(state, id) {
  if (state === 'completed')
    return {
      status: 'completed',
      video_url: id % 7 === 0 ? 'http://127.0.0.1:8787/none.mp4' : 'http://127.0.0.1:8787/film.mp4',
      message: 'Your video is ready',
    }
  const [error_code, error_class, error] = ERRORS[id % ERRORS.length]
  if (state === 'failed')
    return {
      status: 'failed',
      error_code,
      error_class,
      error,
      message: 'The provider rejects this content',
      paid_not_stored: error_code === 'EntityTooLarge',
    }
  return {
    status: 'cancelled',
    error_code: 'cancelled',
    error_class: 'other',
    error: 'by its user',
    message: 'It was cancelled',
  }
}

export function makeJob(id, total) {
  const active = id > total - 14
  const state = active
    ? STATES[id % STATES.length]
    : ['completed', 'completed', 'completed', 'failed', 'completed', 'cancelled'][id % 6]
  const age = (total - id) * 97 + 20
  const job = {
    job_id: id,
    vibelog_id: `${String(id).padStart(8, '0')}-0f4b-4c3d-9a58-2b1c6d7e8f90`,
    status: 'queued',
    state,
    message: 'Waiting to be sent, 2 ahead of you',
    why: null,
    waits_for: null,
    waits_until: null,
    estimate: null,
    model: MODELS[id % 5 === 0 ? 1 : 0],
    user_id: USERS[id % USERS.length],
    attempt: id % 9 === 0 ? 2 : 1,
    tries: id % 8 === 0 ? 3 : 0,
    error_code: null,
    error_class: null,
    error: null,
    row_error: null,
    orphan: id % 40 === 0,
    paid_not_stored: false,
    cost_usd: id % 5 === 0 ? null : 0.5,
    queue_position: null,
    progress: state === 'processing' ? 0.62 : null,
    created_at: ago(age),
    submitted_at: state === 'pending' ? null : ago(age - 2),
    generated_at: null,
    completed_at: null,
    updated_at: ago(age / 2),
    waited: span(2),
    rendered: null,
    copied: null,
    request_id: state === 'pending' ? null : `764cabcf-b745-4b3e-ae38-${String(id).padStart(12, '0')}`,
    video_url: null,
    prompt: PROMPTS[id % PROMPTS.length],
  }
  if (active)
    return {
      ...job,
      why: WHY[state][0],
      waits_for: WHY[state][1],
      estimate: span(190),
      waits_until: state === 'pending' ? null : ago(-40),
    }
  const render = 120 + (id % 90)
  return {
    ...job,
    ...endOf(state, id),
    generated_at: ago(age - render),
    completed_at: ago(age - render - 6),
    rendered: span(render),
    copied: span(6),
  }
}

export const INBOX = [
  {
    kind: 'lost_submit',
    since: ago(1500),
    subject: '2 jobs',
    sentence:
      "The answer of fal.ai was lost, and nobody knows whether it renders and charges. Look in its dashboard: what is there is settled by vibevideo.resolve(job_id, 'its request id'), what is not can be sent again. Without you: vibevideo.unknown_policy fail_when_absent ends it.",
    action: `SELECT * FROM vibevideo.plan('resolve_not_sent', '{"job_id": [1996, 1990]}');`,
    jobs: 2,
    job_id: 1996,
    more: false,
  },
  {
    kind: 'dead_letter',
    since: ago(86400),
    subject: 'more than 500 jobs',
    sentence:
      'Rendered and paid for, but not stored (EntityTooLarge: The object exceeded the maximum allowed size). Mend the cause; then it is only copied again, as long as fal.ai keeps the file.',
    action: `SELECT * FROM vibevideo.plan('retry', '{"error_code": "EntityTooLarge", "paid_not_stored": true}');`,
    jobs: 500,
    job_id: 1902,
    more: true,
  },
  {
    kind: 'check',
    since: null,
    subject: 'worker',
    sentence: "The background worker is not running. SELECT vibevideo.wake(); see the server's log",
    action: `SELECT * FROM vibevideo.check_config() WHERE check_name = 'worker';`,
    jobs: null,
    job_id: null,
    more: false,
  },
]

export const CHECKS = [
  ['preload', 'ok', 'the library was loaded at server start', null],
  ['worker', 'ok', 'process 4711, last turn 1 second ago', null],
  [
    'bucket_size',
    'warn',
    'bucket videos takes files of 50 MB, vibevideo.max_video_size is 1 GB',
    "UPDATE storage.buckets SET file_size_limit = 1073741824 WHERE id = 'videos';",
  ],
  [
    'webhook',
    'fail',
    'calls of https://api.example/rest/v1/rpc/vibevideo_webhook do not arrive here: HTTP 401',
    'Give it a route without a key in the gateway, see the guide.',
  ],
  ['api', 'ok', 'the public functions exist', null],
].map(([check_name, status, detail, hint]) => ({ check_name, status, detail, hint }))

export const WORKER = {
  pid: 4711,
  started_at: ago(7200),
  heartbeat_at: ago(1),
  last_poll_at: ago(3),
  starts: 3,
  failures: 0,
  fal_down_until: null,
  storage_down_until: ago(-20),
  fal_down_since: null,
  storage_down_since: ago(400),
  has_fal_key: true,
  has_storage_key: true,
  copies: 2,
  absence: null,
  restart_at: null,
  cannot_start: false,
}

export const SETTINGS = [
  ['vibevideo.backoff_base', '2s', 'default', null, 'wait before the first retry'],
  [
    'vibevideo.fal_key',
    '********',
    'configuration file',
    "keep it in Vault or in the server's environment, where no file of settings has it",
    'fal.ai API key',
  ],
  ['vibevideo.unknown_policy', 'fail_when_absent', 'default', null, 'what to do with a lost submit'],
].map(([name, value, source, advice, meaning]) => ({
  name,
  value,
  default_value: '',
  source,
  file: null,
  advice,
  meaning,
}))

export { MODELS, span, USERS }
