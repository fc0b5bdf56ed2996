// The control API under /_ctl: scripting of behaviour and faults, and the
// ledger that tests compare with what the program under test believes.
import { checkFields } from './fal-behaviour.mjs';
import { controlBilling } from './fal-billing-control.mjs';
import { readBody, sendJson } from './fal-http.mjs';
import { isBilled } from './fal-jobs.mjs';
import { mediaHash, mediaSize, mediaUrl } from './fal-media.mjs';
import { asInteger, asText } from './fal-money.mjs';
import { strangerBody, webhookBody } from './fal-webhook.mjs';

export async function serveControl(context, { req, res, path, query }) {
  try {
    const raw = await readBody(req);
    const body = raw.length ? JSON.parse(raw.toString('utf8')) : {};
    const answer = await control(context, `${req.method} ${path.slice('/_ctl'.length)}`, body, query);
    if (answer === undefined) sendJson(res, 404, { error: 'no such control route' });
    else sendJson(res, 200, answer);
  } catch (error) {
    sendJson(res, 400, { error: error.message });
  }
}

async function control(context, route, body, query) {
  const job = /^(GET|POST) \/job\/(.+)$/.exec(route);
  if (job) return job[1] === 'GET' ? showJobs(context, job[2], query) : commandJobs(context, job[2], body);
  switch (route) {
    case 'POST /default':
      return setDefault(context, body);
    case 'GET /default':
      return context.rules.default;
    case 'POST /reset':
      context.reset();
      return { ok: true };
    case 'POST /rule':
      return { id: context.rules.add(body) };
    case 'POST /fault':
      return { id: context.faults.add(body) };
    case 'GET /fault':
      return context.faults.describe();
    case 'POST /clear':
      return clear(context, body.what ?? 'faults');
    case 'GET /ledger':
      return ledger(context, query);
    case 'POST /webhook':
      return sendWebhook(context, body);
    case 'POST /keys':
      context.signing.command(body.action ?? 'rotate');
      return context.signing.jwks();
    default:
      return controlBilling(context, route, body, query);
  }
}

/** Account settings and behaviour in one object; keys and seed go elsewhere. */
function setDefault(context, { keys, admin_keys: adminKeys, seed, ...change }) {
  checkFields(change);
  if (keys !== undefined) context.keys = keys;
  if (adminKeys !== undefined) context.adminKeys = adminKeys;
  if (seed !== undefined) context.faults.seed(seed);
  context.rules.setDefault(change);
  context.jobs.pump();
  return context.rules.default;
}

function clear(context, what) {
  if (what === 'faults') context.faults.clear();
  else if (what === 'rules') context.rules.clear();
  else throw new Error(`cannot clear ${what}`);
  return { ok: true };
}

function jobsNamed({ jobs }, id) {
  if (id === '*') return [...jobs.byId.values()];
  const job = jobs.byId.get(id);
  if (!job) throw new Error(`no job ${id}`);
  return [job];
}

async function showJobs(context, id, query) {
  const shown = await Promise.all(jobsNamed(context, id).map((job) => describeJob(job, query)));
  return id === '*' ? shown : shown[0];
}

/** "*" commands every job, to release a whole batch at once. */
async function commandJobs(context, id, body) {
  const jobs = jobsNamed(context, id);
  for (const job of jobs) context.jobs.command(job, body);
  return id === '*' ? { jobs: jobs.length } : describeJob(jobs[0], new URLSearchParams('sha=0'));
}

async function sendWebhook(context, { request_id: id, url, status, forge, timestamp, payload, user_id: userId }) {
  const job = context.jobs.byId.get(id);
  const body = job?.state === 'COMPLETED' ? webhookBody(job) : strangerBody(id, status ?? 'OK', payload);
  if (status !== undefined) body.status = status;
  if (payload !== undefined) body.payload = payload;
  const target = url ?? job?.webhookUrl;
  if (!target) throw new Error('no url: neither given nor known from the job');
  const answered = await context.webhooks.send(target, body, { forge, timestamp, userId });
  context.webhooks.log.push({ request_id: id, url: target, status: body.status, tries: 1, delivered: answered >= 200 && answered < 300, last_status: answered });
  return { http: answered, body };
}

/** ?jobs=0 leaves the jobs out; ?sha=0 leaves out hashes not yet known. */
async function ledger(context, query) {
  const jobs = [];
  if (query.get('jobs') !== '0') {
    for (const job of context.jobs.byId.values()) jobs.push(await describeJob(job, query));
  }
  return {
    accepted: context.jobs.accepted,
    waiting: context.jobs.waiting.size,
    running: context.jobs.running,
    jobs,
    requests: context.traffic.requests,
    connections: context.connections.count,
    max_in_flight: context.traffic.maxInFlight,
    media_with_authorization: context.traffic.mediaWithAuthorization,
    list_calls: context.traffic.requests.list,
    webhooks: context.webhooks.log,
  };
}

async function describeJob(job, query) {
  const hasMedia = job.outcome?.kind === 'ok' && !['none', 'data_uri'].includes(job.behaviour.output);
  const hasBytes = job.outcome?.kind === 'ok' && job.behaviour.output !== 'none';
  return {
    request_id: job.id,
    gateway_request_id: job.gatewayId,
    endpoint: job.endpoint,
    input: job.input,
    headers: job.headers,
    webhook_url: job.webhookUrl,
    accepted_at: job.acceptedAt,
    started_at: job.startedAt,
    finished_at: job.finishedAt,
    state: job.state,
    attempt: job.attempt,
    outcome: job.outcome?.kind ?? null,
    http: job.outcome?.http ?? null,
    billed: isBilled(job),
    billable_units: job.bill ? asText(job.bill.units) : null,
    cost_nano_usd: job.bill ? asInteger(job.bill.total) : 0,
    cancel_requested_at: job.cancelRequestedAt,
    cancelled: job.cancelled !== null,
    media_url: hasMedia ? mediaUrl(job, job.origin) : null,
    media_bytes: hasBytes ? mediaSize(job) : null,
    media_sha256: hasBytes && query.get('sha') !== '0' ? await mediaHash(job) : null,
    counts: job.counts,
    range_starts: job.rangeStarts,
  };
}
