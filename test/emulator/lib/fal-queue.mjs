// The queue's HTTP routes: submit, status, status stream, result, cancel
// (fal.ai/docs …/model-apis/inference/queue and …/common-parameters).
import { promptOf } from './fal-behaviour.mjs';
import { applyAfter, applyBefore } from './fal-faults.mjs';
import { readBody, sendJson, sleep } from './fal-http.mjs';
import { createRequestId } from './fal-jobs.mjs';
import { checkKey } from './fal-keys.mjs';
import { logsOf, queuedBody, resultReply, statusReply } from './fal-views.mjs';

const TRUE_WORDS = new Set(['1', 'true', 'yes']);
const STREAM_CHECK_MS = 50;

const LOCKED = 'User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing.';

/**
 * Splits a path as the clients' app-id rule does: an optional namespace, owner
 * and app, and whatever follows. `full` marks a subpath before /requests/.
 */
export function parsePath(path, method) {
  const trimmed = method === 'GET' && path.endsWith('/') ? path.slice(0, -1) : path;
  const parts = trimmed.split('/').slice(1);
  const baseLength = parts[0] === 'workflows' || parts[0] === 'comfy' ? 3 : 2;
  if (parts.length < baseLength || parts.slice(0, baseLength).includes('')) return null;
  const base = parts.slice(0, baseLength).join('/');
  const rest = parts.slice(baseLength);
  const at = rest.indexOf('requests');
  if (at < 0 || at + 1 >= rest.length) return { base, sub: rest.join('/'), id: null };
  return { base, sub: rest.slice(0, at).join('/'), id: rest[at + 1], tail: rest.slice(at + 2).join('/'), full: at > 0 };
}

/** What a request is, for counting and for faults, from its target alone. */
export function operationOf(target, method) {
  if (!target) return 'other';
  if (target.id === null) return method === 'POST' ? 'submit' : 'other';
  switch (target.tail) {
    case 'status': return 'status';
    case 'status/stream': return 'stream';
    case 'cancel': return 'cancel';
    case '':
    case 'response': return 'result';
    default: return 'other';
  }
}

export async function serveQueue(context, exchange) {
  const { req, res, op, target } = exchange;
  const raw = await readBody(req);
  const { input, parseError } = parseInput(raw, op);
  const job = target?.id ? findJob(context, target) : null;
  const fault = context.faults.take(op, aboutRequest(target, job, input));
  if (fault && await applyBefore(fault, { req, res, connections: context.connections })) {
    if (job && op === 'cancel') job.counts.cancel_refused += 1;
    return;
  }
  const reply = await answer(context, { ...exchange, input, parseError, job });
  if (!reply) return;
  reply.headers = { 'x-fal-request-id': reply.requestId ?? createRequestId(), ...reply.headers };
  if (reply.delay > 0) await sleep(reply.delay);
  if (fault && applyAfter(fault, reply, { req, res, connections: context.connections })) return;
  sendJson(res, reply.status, reply.body, reply.headers);
}

function aboutRequest(target, job, input) {
  const endpoint = job?.endpoint ?? (target ? endpointOf(target) : '');
  return { requestId: target?.id, endpoint, prompt: promptOf(job ? job.input : input) };
}

function endpointOf({ base, sub }) {
  return sub ? `${base}/${sub}` : base;
}

/** Any body is accepted at submit; what cannot be parsed fails at the result. */
function parseInput(raw, op) {
  if (op !== 'submit' || raw.length === 0) return { input: null };
  try {
    return { input: JSON.parse(raw.toString('utf8')) };
  } catch {
    return { input: null, parseError: true };
  }
}

/** Jobs are found under their own owner/app only. */
function findJob({ jobs }, { base, id }) {
  const job = jobs.byId.get(id);
  return job && job.base === base ? job : null;
}

async function answer(context, exchange) {
  const { req, op, target } = exchange;
  const settings = context.rules.default;
  const refused = checkKey(req.headers.authorization, context);
  if (refused) return { status: 401, body: { detail: refused } };
  if (!target) return { status: 404, body: { detail: 'Not Found' } };
  if (op === 'submit') return submit(context, exchange);
  if (!allowedRoute(exchange, settings)) return notAllowed(exchange);
  const job = exchange.job && !context.jobs.isGone(exchange.job) ? exchange.job : null;
  if (exchange.job) exchange.job.counts[op] += 1;
  switch (op) {
    case 'status': return status(context, exchange, job);
    case 'stream': return stream(context, exchange, job);
    case 'result': return result(exchange, job);
    default: return cancel(context, job);
  }
}

/** Captures answer 405 to full-id paths and to /response; docs show both. */
function allowedRoute({ req, op, target }, { lenient_paths: lenient }) {
  if (op === 'other') return false;
  if (req.method !== (op === 'cancel' ? 'PUT' : 'GET')) return false;
  return lenient || (!target.full && target.tail !== 'response');
}

function notAllowed({ op, target }) {
  const right = op === 'cancel' && !target.full ? 'PUT' : 'POST';
  return { status: 405, headers: { allow: right }, body: { detail: 'Method Not Allowed' } };
}

function submit(context, exchange) {
  const { req, target, input, parseError, query, origin } = exchange;
  const endpoint = endpointOf(target);
  const behaviour = context.rules.choose(endpoint, input);
  if (behaviour.locked || context.billing.isExhausted()) return { status: 403, body: { detail: LOCKED } };
  if (behaviour.unknown_app && new RegExp(behaviour.unknown_app).test(endpoint)) {
    return { status: 404, body: { detail: 'Application not found' } };
  }
  const startTimeout = readStartTimeout(req.headers);
  if (Number.isNaN(startTimeout)) return badRequest('Start timeout must be a number of seconds greater than 0.1');
  const limit = query.get('fal_max_queue_length');
  if (limit !== null && context.jobs.waiting.size > Number(limit)) {
    return { status: 429, body: { detail: `Queue is longer than ${limit} requests` } };
  }
  const job = context.jobs.accept({
    request: {
      endpoint, base: target.base, sub: target.sub, input, origin,
      headers: visibleHeaders(req.headers), webhookUrl: query.get('fal_webhook'),
    },
    behaviour,
    startTimeoutMs: startTimeout === null ? null : startTimeout * 1000,
    noRetry: TRUE_WORDS.has(req.headers['x-fal-no-retry']?.toLowerCase()),
    parseError,
  });
  return { status: 200, requestId: job.id, body: queuedBody(job, origin, job.firstPosition), delay: behaviour.submit_ms };
}

function badRequest(detail) {
  return { status: 400, headers: { 'x-fal-error-type': 'bad_request' }, body: { detail, error_type: 'bad_request' } };
}

/** Seconds, null when not asked for, NaN when invalid; the new name takes precedence. */
function readStartTimeout(headers) {
  const text = headers['x-fal-request-start-timeout'] ?? headers['x-fal-request-timeout'];
  if (text === undefined) return null;
  const seconds = text.trim() === '' ? NaN : Number(text);
  return Number.isFinite(seconds) && seconds > 0.1 ? seconds : NaN;
}

function visibleHeaders(headers) {
  const shown = {};
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(':')) shown[name] = name === 'authorization' ? 'present' : value;
  }
  return shown;
}

function wantsLogs(query) {
  return TRUE_WORDS.has(query.get('logs')?.toLowerCase());
}

function status({ jobs }, { query, origin }, job) {
  if (!job) return { status: 404, body: { status: 'NOT_FOUND' } };
  const reply = statusReply(jobs, job, origin, wantsLogs(query));
  return { ...reply, requestId: job.id, delay: job.behaviour.status_ms + job.behaviour.result_status_ms };
}

function result({ origin }, job) {
  if (!job) return { status: 404, body: { detail: 'Request not found' } };
  const reply = resultReply(job, origin);
  return { ...reply, requestId: job.id, delay: job.behaviour.result_ms + job.behaviour.result_status_ms };
}

function cancel({ jobs }, job) {
  if (!job) return { status: 404, body: { status: 'NOT_FOUND' } };
  const wasQueued = job.state === 'IN_QUEUE';
  const delay = job.behaviour.cancel_ms;
  if (jobs.cancel(job) === 'completed') return { status: 400, requestId: job.id, body: { status: 'ALREADY_COMPLETED' }, delay };
  if (wasQueued && job.behaviour.cancel_mode.includes('200ok')) {
    return { status: 200, requestId: job.id, body: { status: 'OK' }, delay };
  }
  return { status: 202, requestId: job.id, body: { status: 'CANCELLATION_REQUESTED' }, delay };
}

/** One event per change, a comment line now and then, closed when completed. */
function stream({ jobs }, { res, query, origin }, job) {
  if (!job) return { status: 404, body: { status: 'NOT_FOUND' } };
  const withLogs = wantsLogs(query);
  res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', 'x-fal-request-id': job.id });
  let last = null;
  const show = () => {
    const mark = markOf(jobs, job, withLogs);
    if (mark === last || res.destroyed) return;
    last = mark;
    res.write(`data: ${JSON.stringify(statusReply(jobs, job, origin, withLogs).body)}\n\n`);
    if (job.state === 'COMPLETED') res.end();
  };
  const comment = setInterval(() => res.write(': ping\n\n'), job.behaviour.sse_comment_ms);
  const check = setInterval(show, STREAM_CHECK_MS);
  job.watchers ??= new Set();
  job.watchers.add(show);
  const stop = () => {
    clearInterval(comment);
    clearInterval(check);
    job.watchers.delete(show);
  };
  res.on('close', stop);
  res.on('finish', stop);
  show();
  return null;
}

function markOf(jobs, job, withLogs) {
  const detail = job.state === 'IN_QUEUE' ? jobs.position(job) : (withLogs ? logsOf(job).at(-1)?.timestamp : '');
  return `${job.state} ${job.attempt} ${detail}`;
}

