// Rows of the functions that the database has for this page; see "Functions for looking" in the manual.

export type State =
  | 'pending'
  | 'submitting'
  | 'submit_unknown'
  | 'queued'
  | 'generating'
  | 'processing'
  | 'completed'
  | 'failed'
  | 'cancelled'

/** timestamptz, as JSON has it. */
export type Time = string
/** interval, as PostgreSQL writes it. */
export type Interval = string

export interface Me {
  user_id: string | null
  name: string
  note: string | null
  level: 'viewer' | 'operator' | 'owner' | null
  see_input: boolean
  hint: string | null
  server_time: Time
  version: string | null
  confirm_over_usd: number | null
  storage_public_url: string | null
}

export interface Overview {
  as_of: Time
  waiting: number
  at_fal: number
  copying: number
  more: boolean
  oldest_waiting_job_id: number | null
  oldest_waiting_since: Time | null
  oldest_waiting_why: string | null
  done_today: number
  failed_today: number
  cancelled_today: number
  last_completed_at: Time | null
  idle_since: Time | null
  spent_today_usd: number
  reserved_today_usd: number
  budget_usd: number | null
  left_usd: number | null
  worker: 'running' | 'slow' | 'idle' | 'down'
  worker_detail: string
  fal_down_until: Time | null
  storage_down_until: Time | null
  paused: string | null
  needs_you: number
  needs_you_by_kind: Record<string, number>
}

export interface InboxRow {
  kind: string
  since: Time | null
  subject: string
  sentence: string
  action: string
  jobs: number | null
  job_id: number | null
  more: boolean
}

export interface JobRow {
  job_id: number
  vibelog_id: string
  status: string
  state: State
  message: string | null
  why: string | null
  waits_for: string | null
  waits_until: Time | null
  estimate: Interval | null
  model: string
  user_id: string | null
  attempt: number
  tries: number
  error_code: string | null
  error_class: string | null
  error: string | null
  row_error: string | null
  orphan: boolean
  paid_not_stored: boolean
  cost_usd: number | null
  queue_position: number | null
  progress: number | null
  created_at: Time
  submitted_at: Time | null
  generated_at: Time | null
  completed_at: Time | null
  updated_at: Time
  waited: Interval | null
  rendered: Interval | null
  copied: Interval | null
  request_id: string | null
  video_url: string | null
  prompt: string | null
}

/** Where a list goes on; opaque. */
export type Cursor = Record<string, unknown>

export interface JobPage {
  jobs: JobRow[]
  next: Cursor | null
  bound: 'max_jobs' | 'time' | null
  as_of: Time
  filter: unknown
}

export interface JobStep {
  step: string
  at: Time
  took: Interval | null
}

export interface JobEvent {
  at: Time
  state: string
  error_code: string | null
  detail: string | null
}

export interface JobDetails {
  job: JobRow
  relation: string | null
  input: unknown
  sent_at: Time | null
  next_at: Time | null
  cancel_requested_at: Time | null
  error: string | null
  row_error: string | null
  row_dirty: boolean
  timeline: JobStep[]
  events: JobEvent[]
  attempts: JobRow[]
  fal_url: string | null
  media_url: string | null
  media_type: string | null
  bucket: string | null
  object_key: string | null
  bytes_done: number | null
  bytes_total: number | null
  bytes_per_second: number | null
  sha256: string | null
  duration_ms: number | null
  more: boolean
  cost_estimated_usd: number | null
  cost_source: 'units' | 'duration' | 'estimate' | 'bill' | null
  billable_units: number | null
  held_usd: number | null
}

export interface ErrorGroup {
  error_class: string | null
  error_code: string
  model: string
  jobs: number
  first_at: Time
  last_at: Time
  trend: number[]
  example_job_id: number
  example: string | null
  more: boolean
}

export interface UserRow {
  user_id: string | null
  active: number
  submits_today: number
  videos_today: number
  spent_today_usd: number
  reserved_usd: number
  submits: number
  videos: number
  spent_usd: number
  share: number | null
  max_active: number | null
  submits_per_day: number | null
  spend_per_day_usd: number | null
  more: boolean
}

export interface SeriesRow {
  at: Time
  label: string
  value: number | null
}

export interface Candidate {
  request_id: string
  at: Time | null
  seconds: number | null
  input: 'same' | 'contains' | 'differs' | null
  why: string | null
  fal_url: string | null
}

export interface LostRow {
  job: JobRow
  sent_at: Time | null
  looked_at: Time | null
  next_look_at: Time | null
  complete: boolean | null
  policy: string
  acts_at: Time | null
  outcome: string
  candidates: Candidate[] | null
  fal_url: string | null
  more: boolean
}

export type Action = 'cancel' | 'retry' | 'resolve_not_sent' | 'forget_error'

export interface PlanExample {
  job_id: number
  key?: string
  state?: State
  user?: string
  model?: string
  error_code?: string
  does?: string
  cost_usd?: number
  prompt?: string
}

export interface Plan {
  token: string | null
  jobs: number
  users: number
  cost_usd: number
  confirm: string | null
  unpriced: number
  skipped: number
  why: Record<string, number>
  examples: PlanExample[]
  more: 'max_jobs' | 'time' | null
  expires_at: Time | null
}

export interface ActResult {
  jobs: number
  users: number
  cost_usd: number
  skipped: number
  why: Record<string, number>
}

export interface RetryCost {
  copies: boolean
  cost_usd: number | null
  allowed: boolean
  reason: string | null
}

export interface Check {
  check_name: string
  status: 'ok' | 'warn' | 'fail'
  detail: string | null
  hint: string | null
}

export interface Worker {
  pid: number | null
  started_at: Time | null
  heartbeat_at: Time | null
  last_poll_at: Time | null
  starts: number
  failures: number
  fal_down_until: Time | null
  storage_down_until: Time | null
  fal_down_since: Time | null
  storage_down_since: Time | null
  has_fal_key: boolean
  has_storage_key: boolean
  copies: number
  absence: string | null
  restart_at: Time | null
  cannot_start: boolean
}

export interface Probe {
  service: string
  was_down: boolean
  answers: boolean | null
  detail: string | null
  next_probe_at: Time | null
}

export type LimitScope = 'global' | 'default' | 'user' | 'default_tenant' | 'tenant' | 'model'
export type LimitField =
  | 'max_active'
  | `submits_per_${'hour' | 'day' | 'month'}`
  | `spend_per_${'hour' | 'day' | 'month'}_usd`

export interface Limit extends Record<LimitField, number | null> {
  scope: LimitScope
  user_id: string | null
  tenant: string | null
  model: string | null
}

export interface LimitUse {
  who: string
  limit_name: LimitField
  most: number
  used: number
  remaining: number
  resets_at: Time | null
  held: number
}

export type PriceUnit = 'video' | 'second' | 'image' | 'megapixel' | 'custom'

export interface PriceRule {
  endpoint: string
  source: 'built-in' | 'fal' | 'operator'
  applies: Record<string, unknown>
  valid_from: Time
  unit: PriceUnit
  unit_price_usd: number | null
  quantity: string | null
  quantity_default: number | null
  allowance: number
  note: string | null
  changed_at: Time
  keys: number
}

export interface LedgerDay {
  day: string
  model: string
  ours_usd: number
  fal_usd: number
  difference_usd: number
  explained_usd: number
  jobs: number
  items: number
  corrected: number
  jobs_without_item: number
  items_without_job: number
  closed: boolean
}

export interface Unmatched {
  kind: 'item' | 'job'
  day: string
  at: Time
  model: string
  usd: number
  event_id: number | null
  request_id: string | null
  job_id: number | null
  auth_method: string | null
  reason: string
}

export interface LedgerPage {
  detail: string
  hint: string | null
  covered_from: Time | null
  read_at: Time | null
  failing_since: Time | null
  days: LedgerDay[]
  more_days: boolean
  unmatched: Unmatched[]
  more_unmatched: boolean
}

export interface AuditRow {
  audit_id: number
  at: Time
  who: string
  action: string
  arguments: Record<string, unknown>
  jobs: number | null
  cost_usd: number | null
  outcome: Record<string, unknown>
}

export interface AuditPage {
  rows: AuditRow[]
  next: Cursor | null
}

export interface Setting {
  name: string
  value: string | null
  default_value: string | null
  source: string | null
  file: string | null
  advice: string | null
  meaning: string | null
}
