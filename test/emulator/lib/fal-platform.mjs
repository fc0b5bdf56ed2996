// What is not the queue: the key set for webhooks and the request history of
// the platform API (api.fal.ai/v1/models/requests/by-endpoint).
import { applyAfter, applyBefore } from './fal-faults.mjs';
import { sendJson } from './fal-http.mjs';
import { checkKey } from './fal-keys.mjs';
import { resultReply } from './fal-views.mjs';

const PAGE = 50;

export async function serveJwks(context, exchange) {
  await servePlatform(context, exchange, 'jwks', () => ({ status: 200, body: context.signing.jwks() }));
}

export async function serveList(context, exchange) {
  await servePlatform(context, exchange, 'list', () => {
    const refused = checkKey(exchange.req.headers.authorization, context);
    // The platform API has its own error form, unlike the queue.
    if (refused) return { status: 401, body: { error: { type: 'authorization_error', message: refused } } };
    return { status: 200, body: listRequests(context, exchange) };
  });
}

/** act's answer, to a GET or another method, with the faults that there are for op. */
export async function servePlatform(context, { req, res }, op, act, { method = 'GET', about = {} } = {}) {
  req.resume();
  const fault = context.faults.take(op, about);
  if (fault && await applyBefore(fault, { req, res, connections: context.connections })) return;
  if (req.method !== method) {
    sendJson(res, 405, { detail: 'Method Not Allowed' }, { allow: method });
    return;
  }
  const answer = act();
  if (fault && applyAfter(fault, answer, { req, res, connections: context.connections })) return;
  sendJson(res, answer.status, answer.body, { date: new Date(Date.now() + context.rules.default.clock_ms).toUTCString() });
}

/** Oldest first. The cursor is a plain offset: opaque to the caller anyway. */
function listRequests(context, { query, origin }) {
  const wanted = chooseJobs(context, query);
  const from = Number(query.get('cursor') ?? 0);
  const to = from + Math.min(100, Number(query.get('limit') ?? PAGE));
  const expanded = (query.get('expand') ?? '').split(',').includes('payloads');
  return {
    items: wanted.slice(from, to).map((job) => itemOf(job, origin, expanded)),
    next_cursor: to < wanted.length ? String(to) : null,
    has_more: to < wanted.length,
  };
}

function chooseJobs({ jobs, rules }, query) {
  const { list_in_flight: inFlight, list_delay_ms: delay } = rules.default;
  const endpoints = new Set(query.getAll('endpoint_id').flatMap((text) => text.split(',')));
  const ids = new Set(query.getAll('request_id').flatMap((text) => text.split(',')));
  const start = query.get('start') ? Date.parse(query.get('start')) : -Infinity;
  const end = query.get('end') ? Date.parse(query.get('end')) : Infinity;
  const visibleUntil = Date.now() - delay;
  return [...jobs.byId.values()].filter((job) => {
    const since = job.finishedAt ?? (inFlight ? job.acceptedAt : Infinity);
    return since <= visibleUntil && sentAt(job) >= start && sentAt(job) <= end
      && (endpoints.size === 0 || endpoints.has(job.endpoint)) && (ids.size === 0 || ids.has(job.id));
  });
}

function byItsClock(job, ms) {
  return ms === null ? null : ms + job.behaviour.clock_ms;
}

function sentAt(job) {
  return byItsClock(job, job.acceptedAt);
}

function itemOf(job, origin, expanded) {
  const done = job.state === 'COMPLETED';
  const item = {
    request_id: job.id,
    endpoint_id: job.endpoint,
    sent_at: isoOf(sentAt(job)),
    started_at: isoOf(byItsClock(job, job.startedAt)),
    ended_at: isoOf(byItsClock(job, job.finishedAt)),
    status_code: done ? job.outcome.http : null,
    duration: done && job.startedAt !== null ? (job.finishedAt - job.startedAt) / 1000 : null,
  };
  if (!expanded) return item;
  return { ...item, json_input: job.input, json_output: done ? resultReply(job, origin).body : null };
}

function isoOf(ms) {
  return ms === null ? null : new Date(ms).toISOString();
}
