// Scripted faults: which request is hit, and what happens to it.
import { checkKnown } from './fal-behaviour.mjs';
import { sendText, sleep } from './fal-http.mjs';

const FIELDS = ['on', 'times', 'skip', 'request_id', 'prompt', 'endpoint', 'probability', 'fault'];
const POINTS = ['any', 'submit', 'status', 'stream', 'result', 'cancel', 'media', 'jwks', 'list', 'erase', 'other',
  'models', 'pricing', 'billing_events', 'usage', 'account'];
const KINDS = ['delay', 'http', 'gateway', 'redirect', 'not_found', 'drop_before', 'reset_before', 'hang', // before it is acted on
  'gateway_after', 'drop_after', 'reset_after', 'hang_after', 'garbage', 'empty', 'html200', 'wrong_type',
  'body', 'content_type', 'etag', 'lie_length', 'no_length', 'no_range', 'slow', 'stall', 'truncate', 'wrong_range']; // of media
const KIND_FIELDS = ['kind', 'after', 'alone', 'body', 'bytes', 'bytes_per_s', 'content_type', 'delta', 'headers', 'location', 'ms', 'reset', 'status',
  'text', 'then', 'value'];

// Official Python clients retry a 502/503/504 only when the body names nginx
// and x-fal-request-id is missing (fal-ai/fal, fal_client/client.py).
const GATEWAY_TEXT = { 500: 'Internal Server Error', 502: 'Bad Gateway', 503: 'Service Temporarily Unavailable', 504: 'Gateway Time-out' };

/** Small seeded generator (mulberry32), so probabilities repeat from run to run. */
export function createRandom(seed) {
  let state = Number(seed) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export class Faults {
  constructor(seed) {
    this.seed(seed);
    this.clear();
  }

  seed(seed) {
    this.random = createRandom(seed);
  }

  clear() {
    this.list = [];
    this.nextId = 1;
  }

  add(spec) {
    for (const name of Object.keys(spec)) checkKnown('field', name, FIELDS);
    const points = String(spec.on ?? 'any').split('|');
    for (const point of points) checkKnown('value of on', point, POINTS);
    checkFault(spec.fault);
    const entry = {
      id: this.nextId++,
      on: new Set(points),
      times: spec.times ?? 1,
      skip: spec.skip ?? 0,
      requestId: spec.request_id,
      prompt: spec.prompt === undefined ? null : new RegExp(spec.prompt),
      endpoint: spec.endpoint === undefined ? null : new RegExp(spec.endpoint),
      probability: spec.probability ?? 1,
      fault: spec.fault,
      hits: 0,
    };
    this.list.push(entry);
    return entry.id;
  }

  /** The fault this request meets, or null; spends one use of it. */
  take(op, about) {
    for (const entry of this.list) {
      if (entry.times === 0 || !matches(entry, op, about)) continue;
      if (entry.skip > 0) {
        entry.skip -= 1;
        continue;
      }
      if (entry.probability < 1 && this.random() >= entry.probability) continue;
      if (entry.times > 0) entry.times -= 1;
      entry.hits += 1;
      return entry.fault;
    }
    return null;
  }

  describe() {
    return this.list.map(({ id, on, times, skip, fault, hits }) => ({ id, on: [...on].join('|'), times, skip, fault, hits }));
  }
}

function checkFault(fault) {
  if (!fault?.kind) throw new Error(`fault.kind is missing; known are: ${KINDS.join(', ')}`);
  checkKnown('kind', fault.kind, KINDS);
  for (const name of Object.keys(fault)) checkKnown('field of a fault', name, KIND_FIELDS);
  if (fault.then) checkFault(fault.then);
}

function matches(entry, op, about) {
  if (!entry.on.has('any') && !entry.on.has(op)) return false;
  if (entry.requestId !== undefined && entry.requestId !== about.requestId) return false;
  if (entry.prompt && !entry.prompt.test(about.prompt ?? '')) return false;
  if (entry.endpoint && !entry.endpoint.test(about.endpoint ?? '')) return false;
  return true;
}

/** Before the action: true when the request has been handled and nothing is left to do. */
export async function applyBefore(fault, { req, res, connections }) {
  switch (fault.kind) {
    case 'delay':
      await sleep(fault.ms ?? 0);
      return fault.then ? applyBefore(fault.then, { req, res, connections }) : false;
    case 'http':
      if (!fault.after) sendFixed(res, fault);
      return !fault.after;
    case 'gateway':
      sendGateway(res, fault.status);
      return true;
    case 'redirect':
      sendText(res, fault.status ?? 302, 'text/plain', '', { location: fault.location });
      return true;
    case 'not_found':
      sendText(res, 404, 'application/json', '{"detail":"Not Found"}');
      return true;
    case 'drop_before':
      connections.cut(req);
      return true;
    case 'reset_before':
      connections.cut(req, true);
      return true;
    case 'hang':
      return true;
    default:
      return false;
  }
}

/** After the action: true when the fault has replaced the normal answer. */
export function applyAfter(fault, reply, { req, res, connections }) {
  const effective = fault.kind === 'delay' && fault.then ? fault.then : fault;
  switch (effective.kind) {
    case 'http':
      sendFixed(res, effective);
      return true;
    case 'gateway_after':
      sendGateway(res, effective.status);
      return true;
    case 'drop_after':
      connections.cut(req);
      return true;
    case 'reset_after':
      connections.cut(req, true);
      return true;
    case 'hang_after':
      return true;
    case 'garbage':
      sendText(res, 200, 'application/json', '{"status": "IN_PRO', reply.headers);
      return true;
    case 'empty':
      sendText(res, 200, 'application/json', '', reply.headers);
      return true;
    case 'html200':
      sendText(res, 200, 'text/html', '<html><body>Please sign in</body></html>');
      return true;
    case 'wrong_type':
      sendText(res, reply.status, 'text/plain', JSON.stringify(reply.body), reply.headers);
      return true;
    default:
      return false;
  }
}

export function sendGateway(res, status = 502) {
  const title = `${status} ${GATEWAY_TEXT[status] ?? 'Error'}`;
  const html = `<html>\r\n<head><title>${title}</title></head>\r\n<body>\r\n<center><h1>${title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n`;
  sendText(res, status, 'text/html', html);
}

function sendFixed(res, { status = 500, body = '', headers = {} }) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  sendText(res, status, 'application/json', text, headers);
}
