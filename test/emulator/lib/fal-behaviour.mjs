// How a job behaves: defaults, rules that override them, and the outcome that
// follows from the input itself.
import { nano } from './fal-money.mjs';

export const BASE_BEHAVIOUR = Object.freeze({
  queue_ms: 50,
  run_ms: 100,
  queue_position: null, // requests ahead at first; null = the real number waiting
  hold: null, // "queue" | "run": stay there until released through /_ctl/job
  outcome: 'ok', // ok | validation | policy | infra | not_found_path
  error_type: null,
  http: null,
  detail: null, // replaces the detail of a failing outcome
  validate: true, // look at the input and the subpath as the model would
  status_error: false, // does status carry error/error_type for app 4xx
  requeue: 0,
  cancel_mode: '202,stop', // "202" | "200ok", and for a running job "stop" | "ignore"
  cancel_stop_ms: 0, // how long a running job continues after the stop signal
  after_cancel: 'completed', // completed | 404
  output: 'video',
  result: null,
  submit_ms: 0,
  status_ms: 0,
  result_ms: 0,
  cancel_ms: 0,
  result_status_ms: 0, // added to both status and result
  retention_ms: null,
  media_retention_ms: null,
  urls_origin: null, // a different origin in the three returned URLs
  response_suffix: false, // response_url ends in /response, as in older samples
  sse_comment_ms: 15000,
  // grain: of a film that ffmpeg renders, 0 to 100; some megabytes from about 60 on. duration_ms: what a film of random bytes says of itself
  media: { file: null, bytes: 100000, duration_ms: 5005, grain: 0, movie_last: false, content_type: 'video/mp4', file_size: true, base: null, url: null, redirect: null },
  webhook: { duplicates: 0, delay_ms: 0, forge: false, payload_null: false, retry_ms: 200, max_retries: 31, timeout_ms: null },
  // units: billed for an output, null: by its price. Of a 422, and of a cancel while it runs: so many, or "full". header: of units at
  // the result, false: none, or this text. delay_ms: until its event appears, null: the account's
  billing: { units: null, failed_units: 0, cancelled_units: 'full', header: true, delay_ms: null },
  account_concurrency: 0, // 0 = no limit
  locked: false, // so is an account whose balance has run out
  unknown_app: null, // regular expression
  lenient_paths: false,
  list_in_flight: false,
  list_delay_ms: 0,
  clock_ms: 0, // how far fal's clock is ahead, in the list and its Date
});

const MAX_PROMPT = 2000;
const POLICY_WORD = 'forbidden-policy-word';
const POLICY_URL = 'https://docs.fal.ai/errors#content_policy_violation';

// Subpaths of fal-ai/minimax as published in fal-js endpoints.ts. Anything
// else is accepted at submit and answered 404 at the result.
const MINIMAX_SUBS = [
  /^video-01(-director|-live)?(\/image-to-video)?$/,
  /^video-01-subject-reference$/,
  /^hailuo-[^/]+(\/.+)?$/,
];

const NESTED = ['media', 'webhook', 'billing'];

export function mergeBehaviour(base, over = {}) {
  const nested = Object.fromEntries(NESTED.map((name) => [name, { ...base[name], ...over[name] }]));
  return { ...base, ...over, ...nested };
}

const VALUES = {
  hold: [null, 'queue', 'run'],
  outcome: ['ok', 'validation', 'policy', 'infra', 'not_found_path'],
  after_cancel: ['completed', '404'],
};

/** What is misspelt would silently test nothing, so it is rejected. */
export function checkKnown(what, name, known) {
  if (!known.includes(name)) throw new Error(`unknown ${what} ${name}; known are: ${known.join(', ')}`);
}

export function checkFields(change, known = BASE_BEHAVIOUR) {
  for (const [name, value] of Object.entries(change)) {
    checkKnown('field', name, Object.keys(known));
    if (known === BASE_BEHAVIOUR && name in VALUES) checkKnown(name, value, VALUES[name]);
    if (known === BASE_BEHAVIOUR && NESTED.includes(name)) checkFields(value, known[name]);
    if (known === BASE_BEHAVIOUR.billing && /units$/.test(name)) checkUnits(name, value);
  }
}

function checkUnits(name, value) {
  const word = name === 'units' ? null : 'full';
  if (value !== word && nano(value, name) < 0n) throw new Error(`${name} must not be negative`);
}

export class Rules {
  constructor(initial = {}) {
    checkFields(initial);
    this.initial = mergeBehaviour(BASE_BEHAVIOUR, initial);
    this.reset();
  }

  reset() {
    this.default = this.initial;
    this.clear();
  }

  clear() {
    this.list = [];
    this.nextId = 1;
  }

  setDefault(change) {
    this.default = mergeBehaviour(this.default, change);
  }

  add(spec) {
    for (const name of Object.keys(spec)) checkKnown('field', name, ['prompt', 'endpoint', 'times', 'behaviour']);
    const { prompt, endpoint, times = -1, behaviour = {} } = spec;
    checkFields(behaviour);
    const rule = {
      id: this.nextId++,
      prompt: prompt === undefined ? null : new RegExp(prompt),
      endpoint: endpoint === undefined ? null : new RegExp(endpoint),
      times,
      behaviour,
    };
    this.list.push(rule);
    return rule.id;
  }

  /** First matching rule over the default; without one, the shared default. */
  choose(endpoint, input) {
    const prompt = promptOf(input);
    const rule = this.list.find((r) => r.times !== 0
      && (!r.prompt || r.prompt.test(prompt)) && (!r.endpoint || r.endpoint.test(endpoint)));
    if (!rule) return this.default;
    if (rule.times > 0) rule.times -= 1;
    return mergeBehaviour(this.default, rule.behaviour);
  }
}

export function promptOf(input) {
  return typeof input?.prompt === 'string' ? input.prompt : '';
}

/** How a job will end: {kind, http, body, …}, decided at submit. */
export function planOutcome(job, parseError) {
  const { behaviour } = job;
  if (behaviour.outcome !== 'ok') return scriptedOutcome(job);
  if (!behaviour.validate) return { kind: 'ok', http: 200 };
  if (parseError) return invalid([problem(['body'], 'JSON decode error', 'json_invalid', {})]);
  if (!knownPath(job)) return pathNotFound(job);
  if (promptOf(job.input).includes(POLICY_WORD)) return policy(job);
  const problems = checkInput(job);
  return problems.length ? invalid(problems) : { kind: 'ok', http: 200 };
}

function scriptedOutcome(job) {
  const { outcome, detail } = job.behaviour;
  switch (outcome) {
    case 'validation': {
      const found = checkInput(job);
      return invalid(detail ?? (found.length ? found : [problem(['body', 'prompt'], 'Invalid input', 'value_error', job.input?.prompt ?? null)]));
    }
    case 'policy':
      return policy(job);
    case 'not_found_path':
      return pathNotFound(job);
    case 'infra':
      return infra(job.behaviour.error_type, job.behaviour.http, detail);
    default:
      throw new Error(`unknown outcome ${outcome}`);
  }
}

function knownPath({ base, sub }) {
  if (base !== 'fal-ai/minimax') return true;
  return MINIMAX_SUBS.some((pattern) => pattern.test(sub));
}

/** The checks of the published MiniMax schemas; other models take anything. */
function checkInput({ base, sub, input }) {
  if (!/^fal-ai\/minimax/.test(base)) return [];
  const fields = ['prompt'];
  if (/image-to-video$/.test(sub)) fields.push('image_url');
  if (/subject-reference$/.test(sub)) fields.push('subject_reference_image_url');
  const problems = fields
    .filter((field) => input?.[field] === undefined || input?.[field] === null)
    .map((field) => problem(['body', field], 'Field required', 'missing', input ?? {}));
  const prompt = input?.prompt;
  if (prompt !== undefined && prompt !== null && typeof prompt !== 'string') {
    problems.push(problem(['body', 'prompt'], 'Input should be a valid string', 'string_type', prompt));
  } else if ([...(prompt ?? '')].length > MAX_PROMPT) {
    problems.push({
      ...problem(['body', 'prompt'], `String should have at most ${MAX_PROMPT} characters`, 'string_too_long', prompt),
      ctx: { max_length: MAX_PROMPT },
    });
  }
  return problems;
}

function problem(loc, msg, type, input) {
  return { loc, msg, type, input };
}

function invalid(detail) {
  return { kind: 'validation', http: 422, body: { detail } };
}

function policy(job) {
  const detail = job.behaviour.detail ?? [{
    loc: ['body', 'prompt'],
    msg: 'The content could not be processed because it contained material flagged by a content checker.',
    type: 'content_policy_violation',
    url: POLICY_URL,
    input: job.input ?? {},
    categories: ['violence'],
  }];
  return { kind: 'policy', http: 422, body: { detail } };
}

function pathNotFound(job) {
  return { kind: 'not_found_path', http: 404, body: { detail: `Path /${job.sub} not found` } };
}

// fal.ai/docs …/model-apis/request-errors: status and type of each failure.
const INFRA = {
  request_timeout: [504, 'Request timed out'],
  startup_timeout: [504, 'Runner startup timed out'],
  runner_scheduling_failure: [503, 'Runner could not be scheduled'],
  runner_connection_timeout: [503, 'Runner connection timed out'],
  runner_disconnected: [503, 'Runner disconnected'],
  runner_connection_refused: [503, 'Runner refused the connection'],
  runner_connection_error: [503, 'Runner connection error'],
  runner_incomplete_response: [502, 'Runner sent an incomplete response'],
  runner_server_error: [500, 'Runner server error'],
  internal_error: [500, 'Internal error'],
  client_disconnected: [499, 'Client disconnected'],
  client_cancelled: [499, 'Client cancelled the request'],
};

export function infra(type, http, detail) {
  const errorType = type ?? 'runner_disconnected';
  const [usual, text] = INFRA[errorType] ?? [500, 'Internal error'];
  return { kind: 'infra', http: http ?? usual, errorType, body: { detail: detail ?? text, error_type: errorType } };
}

/** Start deadline passed while queued: E2E tests of fal expect the user type. */
export function startTimeout() {
  return { ...infra('request_timeout'), timeoutType: 'user' };
}

export function cancelled() {
  return { ...infra('client_cancelled'), kind: 'cancelled' };
}
