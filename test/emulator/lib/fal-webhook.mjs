// Webhooks: Ed25519-signed POSTs with retries, and the JWKS that verifies them
// (fal.ai/docs …/inference/webhooks).
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import { createRequestId } from './fal-jobs.mjs';
import { resultReply } from './fal-views.mjs';

// First attempt 15 s, later ones 120 s; redirects are a permanent failure.
const FIRST_TIMEOUT_MS = 15000;
const LATER_TIMEOUT_MS = 120000;
const MAX_BACKOFF_MS = 10000;
const STALE_SECONDS = 400; // more than the 300 s a verifier allows
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

export function privateKeyFromSeed(seed) {
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' });
}

export function publicJwk(privateKey) {
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  return { kty: 'OKP', crv: 'Ed25519', x };
}

export function signedText(requestId, userId, timestamp, body) {
  const digest = createHash('sha256').update(body).digest('hex');
  return `${requestId}\n${userId}\n${timestamp}\n${digest}`;
}

export function signWebhook(privateKey, { requestId, userId, timestamp, body }) {
  return sign(null, Buffer.from(signedText(requestId, userId, timestamp, body)), privateKey).toString('hex');
}

export class SigningKeys {
  constructor(seed) {
    this.seed = seed;
    this.reset();
  }

  reset() {
    this.generation = 0;
    this.current = this.#derive('0');
    this.previous = null;
    this.foreign = false;
    this.stranger = this.#derive('stranger');
  }

  #derive(name) {
    return privateKeyFromSeed(createHash('sha256').update(`fal emulator ${this.seed} ${name}`).digest());
  }

  command(action) {
    switch (action) {
      case 'rotate':
        this.previous = this.current;
        this.generation += 1;
        this.current = this.#derive(String(this.generation));
        break;
      case 'drop_old':
        this.previous = null;
        break;
      case 'foreign':
        this.foreign = true;
        break;
      default:
        throw new Error(`unknown action ${action}`);
    }
  }

  /** The set is unordered and no key is identified: a verifier has to try them all. */
  jwks() {
    const keys = [];
    if (this.foreign) keys.push({ kty: 'RSA', n: 'AQAB', e: 'AQAB' });
    if (this.previous) keys.push(publicJwk(this.previous));
    keys.push(publicJwk(this.current));
    return { keys };
  }
}

export class Webhooks {
  constructor({ keys, userId }) {
    this.keys = keys;
    this.userId = userId;
    this.agents = {
      'http:': new http.Agent({ keepAlive: true, maxSockets: 64 }),
      'https:': new https.Agent({ keepAlive: true, maxSockets: 64, rejectUnauthorized: false }),
    };
    this.clear();
  }

  clear() {
    this.epoch = Symbol('epoch');
    this.log = [];
  }

  /** Delivers for a completed job, and again for each scripted duplicate. */
  async deliver(job) {
    if (!job.webhookUrl || job.gone) return;
    const { webhook } = job.behaviour;
    const { epoch } = this;
    if (webhook.delay_ms > 0) await pause(webhook.delay_ms);
    for (let copy = 0; copy <= webhook.duplicates; copy += 1) {
      if (this.epoch !== epoch) return;
      const entry = { request_id: job.id, url: job.webhookUrl, status: webhookBody(job).status, tries: 0, delivered: false, last_status: null };
      this.log.push(entry);
      await this.#deliverOnce(job, entry, epoch);
    }
  }

  async #deliverOnce(job, entry, epoch) {
    const { webhook } = job.behaviour;
    for (let retry = 0; retry <= webhook.max_retries; retry += 1) {
      if (retry > 0) await pause(Math.min(MAX_BACKOFF_MS, webhook.retry_ms * 2 ** (retry - 1)));
      if (this.epoch !== epoch) return;
      entry.tries += 1;
      const usual = retry === 0 ? FIRST_TIMEOUT_MS : LATER_TIMEOUT_MS;
      entry.last_status = await this.send(job.webhookUrl, webhookBody(job), {
        forge: webhook.forge, timeoutMs: webhook.timeout_ms ?? usual,
      });
      entry.delivered = entry.last_status >= 200 && entry.last_status < 300;
      if (entry.delivered || (entry.last_status >= 300 && entry.last_status < 400)) return;
    }
  }

  /** One POST now; resolves to the HTTP status, or 0 without an answer. */
  async send(url, value, { forge = false, timestamp, userId = this.userId, timeoutMs = FIRST_TIMEOUT_MS } = {}) {
    const body = Buffer.from(JSON.stringify(value));
    const headers = this.#headers(value.request_id, body, { forge, timestamp, userId });
    const sent = forge === 'body' ? Buffer.concat([body, Buffer.from(' ')]) : body;
    return this.#post(url, sent, headers, timeoutMs);
  }

  #headers(requestId, body, { forge, timestamp, userId }) {
    const headers = { 'content-type': 'application/json' };
    if (forge === 'unsigned') return headers;
    const now = Math.floor(Date.now() / 1000);
    const stamp = String(timestamp ?? (forge === 'timestamp' ? now - STALE_SECONDS : now));
    const key = forge === true || forge === 'signature' ? this.keys.stranger : this.keys.current;
    return {
      ...headers,
      'x-fal-webhook-request-id': requestId,
      'x-fal-webhook-user-id': forge === 'user_id' ? 'someone-else' : userId,
      'x-fal-webhook-timestamp': stamp,
      'x-fal-webhook-signature': signWebhook(key, { requestId, userId, timestamp: stamp, body }),
    };
  }

  #post(url, body, headers, timeoutMs) {
    return new Promise((resolve) => {
      let request;
      try {
        const { protocol } = new URL(url);
        const client = protocol === 'https:' ? https : http;
        request = client.request(url, {
          method: 'POST', agent: this.agents[protocol], timeout: timeoutMs, headers: { ...headers, 'content-length': body.length },
        });
      } catch {
        resolve(0);
        return;
      }
      request.on('timeout', () => request.destroy());
      request.on('error', () => resolve(0));
      request.on('response', (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      request.end(body);
    });
  }
}

/** Key order as captured: alphabetical. The payload is what the result shows. */
export function webhookBody(job) {
  const reply = resultReply(job, job.origin);
  const ok = reply.status === 200;
  const body = {};
  if (!ok) body.error = `Invalid status code: ${reply.status}`;
  body.gateway_request_id = job.gatewayId;
  body.payload = job.behaviour.webhook.payload_null ? null : reply.body;
  if (body.payload === null) body.payload_error = 'Response payload is not JSON serializable.';
  body.request_id = job.id;
  body.status = ok ? 'OK' : 'ERROR';
  return body;
}

/** A hook for a request nobody submitted here: another customer's, say. */
export function strangerBody(requestId, status, payload) {
  return { gateway_request_id: createRequestId(), payload: payload ?? null, request_id: requestId, status };
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
