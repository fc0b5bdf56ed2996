// Is the emulator honest? The official client runs against it, and every row
// of the queue's wire contract that HTTP can reach is checked field by field.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHash, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ApiError, createFalClient } from '@fal-ai/client';
import { privateKeyFromSeed, publicJwk, signWebhook } from '../emulator/lib/fal-webhook.mjs';

const EMULATOR = fileURLToPath(new URL('../emulator/fal.mjs', import.meta.url));
const KEY = 'test-id:test-secret';
const ENDPOINT = 'fal-ai/minimax/video-01';
const BASE = '/fal-ai/minimax';
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

let emulator;
let hooks;

before(async () => {
  emulator = await startEmulator('--key', KEY);
  hooks = await startReceiver();
});

after(async () => {
  await emulator.stop();
  hooks.server.close();
  hooks.server.closeAllConnections();
});

beforeEach(async () => {
  await ctl('reset');
  hooks.received.length = 0;
  hooks.answers.length = 0;
});

// ---------------------------------------------------------------- helpers

async function startEmulator(...args) {
  const child = spawn(process.execPath, [EMULATOR, '--exit-with-stdin', ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const ready = JSON.parse(line);
  return { ...ready, child, exited, stop: () => { child.kill('SIGTERM'); return exited; } };
}

/** Receives webhooks; answers are taken from a list, then 200. */
async function startReceiver() {
  const received = [];
  const answers = [];
  const server = http.createServer(async (req, res) => {
    const chunks = await req.toArray();
    received.push({ headers: req.headers, body: Buffer.concat(chunks), path: req.url });
    res.writeHead(answers.shift() ?? 200, { location: '/moved' }).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, received, answers, url: `http://127.0.0.1:${server.address().port}/hook?token=a%20b` };
}

async function ctl(path, body = {}) {
  const answer = await fetch(`${emulator.url}/_ctl/${path}`, { method: 'POST', body: JSON.stringify(body) });
  const value = await answer.json();
  assert.equal(answer.status, 200, JSON.stringify(value));
  return value;
}

async function ledger() {
  return (await fetch(`${emulator.url}/_ctl/ledger`)).json();
}

async function jobOf(id) {
  return (await fetch(`${emulator.url}/_ctl/job/${id}`)).json();
}

/** A raw request; text, JSON and headers are all looked at by the tests. */
async function call(method, path, { body, headers = {}, key = KEY, origin = emulator.url, redirect = 'manual', signal } = {}) {
  const authorization = key === null ? {} : { authorization: `Key ${key}` };
  const answer = await fetch(origin + path, {
    method,
    headers: { 'content-type': 'application/json', ...authorization, ...headers },
    body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
    redirect,
    signal,
  });
  const text = await answer.text();
  let json;
  try { json = JSON.parse(text); } catch { json = undefined; }
  return { status: answer.status, headers: answer.headers, text, json };
}

async function submit(input = { prompt: 'a red fox' }, { path = `/${ENDPOINT}`, ...options } = {}) {
  const answer = await call('POST', path, { body: input, ...options });
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

const statusOf = (id, query = '') => call('GET', `${BASE}/requests/${id}/status${query}`);
const resultOf = (id) => call('GET', `${BASE}/requests/${id}`);
const cancelOf = (id) => call('PUT', `${BASE}/requests/${id}/cancel`);

/** Asks again until the answer is truthy; fails with what was awaited. */
async function until(what, ask, timeoutMs = 5000) {
  const deadline = Date.now() + timeoutMs;
  while (Date.now() < deadline) {
    const answer = await ask();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`gave up waiting for ${what}`);
}

const completed = (id) => until(`completion of ${id}`, async () => {
  const answer = await statusOf(id);
  return answer.status === 200 && answer;
});

const running = (id) => until(`start of ${id}`, async () => (await statusOf(id)).json.status === 'IN_PROGRESS');

const hookCount = (count) => until(`${count} webhooks`, async () => hooks.received.length >= count);

/** Fast jobs by default, so that the table does not take long. */
async function quick(behaviour = {}) {
  await ctl('default', { queue_ms: 1, run_ms: 1, ...behaviour });
}

function urlsOf(id, base = BASE, origin = emulator.url) {
  const url = `${origin}${base}/requests/${id}`;
  return { request_id: id, response_url: url, status_url: `${url}/status`, cancel_url: `${url}/cancel` };
}

function assertJson(answer, status, body) {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.headers.get('content-type'), /^application\/json/);
  assert.ok(answer.headers.get('x-fal-request-id'), 'x-fal-request-id is on every reply of the queue');
  if (body !== undefined) assert.deepEqual(answer.json, body);
}

/** Own verification, as a receiver would write it; not the emulator's code. */
function verifyHook({ headers, body }, jwks) {
  const names = ['request-id', 'user-id', 'timestamp'];
  const digest = createHash('sha256').update(body).digest('hex');
  const text = [...names.map((name) => headers[`x-fal-webhook-${name}`]), digest].join('\n');
  const signature = Buffer.from(headers['x-fal-webhook-signature'], 'hex');
  return jwks.keys.filter((key) => key.kty === 'OKP').some((key) => (
    verify(null, Buffer.from(text), createPublicKey({ key, format: 'jwk' }), signature)));
}

const fetchJwks = async () => (await fetch(`${emulator.url}/.well-known/jwks.json`)).json();

function createClient({ credentials = KEY, seen = [] } = {}) {
  return createFalClient({
    credentials,
    suppressLocalCredentialsWarning: true,
    requestMiddleware: async (request) => {
      seen.push(`${request.method} ${request.url}`);
      return { ...request, url: request.url.replace(/^https:\/\/(queue\.)?fal\.run/, emulator.url) };
    },
  });
}

// ---------------------------------------------------------- official client

describe('official client', () => {
  test('subscribe sees the states, the logs, the output and the request id', async () => {
    const seen = [];
    const states = [];
    await ctl('default', { queue_ms: 100, run_ms: 100 });
    const { data, requestId } = await createClient({ seen }).subscribe(ENDPOINT, {
      input: { prompt: 'a red fox' }, logs: true, pollInterval: 20, onQueueUpdate: (update) => states.push(update),
    });
    assert.deepEqual([...new Set(states.map(({ status }) => status))], ['IN_QUEUE', 'IN_PROGRESS', 'COMPLETED']);
    assert.ok(states.at(-1).logs.length > 0);
    assert.match(requestId, UUID_V7);
    assert.match(data.video.url, new RegExp(`^${emulator.url}/files/b/[0-9a-f]{8}/${requestId}_output\\.mp4$`));
    const targets = [...new Set(seen.map((line) => line.replace(requestId, 'ID').replace('https://queue.fal.run', '').toLowerCase()))];
    assert.deepEqual(targets, [`post /${ENDPOINT}`, `get ${BASE}/requests/id/status?logs=1`, `get ${BASE}/requests/id`]);
  });

  test('queue.submit, status, result and the headers it sends', async () => {
    const { queue } = createClient();
    await ctl('default', { hold: 'queue', queue_position: 4, queue_ms: 0 });
    const submitted = await queue.submit(ENDPOINT, { input: { prompt: 'x' }, hint: 'warm', startTimeout: 30 });
    assert.deepEqual(submitted, {
      status: 'IN_QUEUE', ...urlsOf(submitted.request_id), logs: null, metrics: {}, queue_position: 4,
    });
    const { headers, input } = await jobOf(submitted.request_id);
    assert.deepEqual(input, { prompt: 'x' });
    assert.equal(headers.authorization, 'present');
    assert.equal(headers['x-fal-queue-priority'], 'normal');
    assert.equal(headers['x-fal-runner-hint'], 'warm');
    assert.equal(headers['x-fal-request-timeout'], '30');
    assert.equal((await queue.status(ENDPOINT, { requestId: submitted.request_id })).status, 'IN_QUEUE');
    await ctl(`job/${submitted.request_id}`, { action: 'finish' });
    const done = await queue.status(ENDPOINT, { requestId: submitted.request_id, logs: true });
    assert.equal(done.status, 'COMPLETED');
    assert.ok(Array.isArray(done.logs));
    const { data } = await queue.result(ENDPOINT, { requestId: submitted.request_id });
    assert.equal(data.video.file_size, 100000);
  });

  test('cancel before and after completion', async () => {
    const { queue } = createClient();
    await ctl('default', { hold: 'queue' });
    const { request_id: requestId } = await queue.submit(ENDPOINT, { input: { prompt: 'x' } });
    await queue.cancel(ENDPOINT, { requestId });
    assert.equal((await jobOf(requestId)).cancelled, true);
    await assert.rejects(queue.cancel(ENDPOINT, { requestId }), (error) => (
      error instanceof ApiError && error.status === 400 && error.body.status === 'ALREADY_COMPLETED'));
  });

  test('streamStatus yields every state and ends by itself', async () => {
    const { queue } = createClient();
    const { request_id: requestId } = await queue.submit(ENDPOINT, { input: { prompt: 'x' } });
    const stream = await queue.streamStatus(ENDPOINT, { requestId, logs: true });
    const states = [];
    for await (const event of stream) states.push(event.status);
    assert.deepEqual([...new Set(states)], ['IN_QUEUE', 'IN_PROGRESS', 'COMPLETED']);
    assert.equal((await stream.done()).status, 'COMPLETED');
  });

  test('errors surface as ApiError with status and body', async () => {
    await quick();
    const good = createClient();
    const shows = (status, check) => (error) => {
      assert.ok(error instanceof ApiError, `${error}`);
      assert.equal(error.status, status);
      return check(error.body.detail);
    };
    await assert.rejects(createClient({ credentials: 'wrong:key' }).queue.submit(ENDPOINT, { input: {} }), shows(401, (detail) => /No user found/.test(detail)));
    await ctl('default', { locked: true });
    await assert.rejects(good.queue.submit(ENDPOINT, { input: { prompt: 'x' } }), shows(403, (detail) => /Exhausted balance/.test(detail)));
    await ctl('default', { locked: false });
    await assert.rejects(good.queue.result(ENDPOINT, { requestId: 'nobody' }), shows(404, (detail) => detail === 'Request not found'));
    await assert.rejects(good.subscribe(ENDPOINT, { input: {}, pollInterval: 10 }), (error) => (
      shows(422, (detail) => detail[0].type === 'missing')(error) && error.fieldErrors[0].loc[1] === 'prompt'));
  });

  test('transient 5xx are retried, for both submit and status', async () => {
    const { queue } = createClient();
    await ctl('fault', { on: 'submit', fault: { kind: 'gateway', status: 503 } });
    await ctl('fault', { on: 'status', fault: { kind: 'http', status: 500, body: '{}' } });
    const { request_id: requestId } = await queue.submit(ENDPOINT, { input: { prompt: 'x' } });
    assert.match((await queue.status(ENDPOINT, { requestId })).status, /^(IN_|COMPLETED)/);
    const { accepted, requests } = await ledger();
    assert.deepEqual([accepted, requests.submit, requests.status], [1, 2, 2]);
  });

  test('a submit whose answer is lost is sent again: two renders for one call', async () => {
    await ctl('fault', { on: 'submit', fault: { kind: 'reset_after' } });
    const { request_id: second } = await createClient().queue.submit(ENDPOINT, { input: { prompt: 'twice' } });
    const { accepted, jobs } = await ledger();
    assert.equal(accepted, 2);
    assert.equal(jobs[1].request_id, second);
    assert.deepEqual(jobs.map(({ input }) => input.prompt), ['twice', 'twice']);
  });

  test('a webhook arrives for webhookUrl and is signed by a published key', async () => {
    await quick();
    const { request_id: id } = await createClient().queue.submit(ENDPOINT, { input: { prompt: 'x' }, webhookUrl: hooks.url });
    await hookCount(1);
    assert.equal((await jobOf(id)).webhook_url, hooks.url);
    assert.equal(hooks.received[0].path, '/hook?token=a%20b');
    assert.ok(verifyHook(hooks.received[0], await fetchJwks()));
  });
});

// ------------------------------------------------------------- table of rows

describe('rows 1-10: access and submit', () => {
  const malformed = "Invalid Key Authorization header format. Expected '<key_id>:<key_secret>'.";
  for (const [name, authorization] of [['absent', undefined], ['without secret', 'Key abc'], ['as Bearer', `Bearer ${KEY}`], ['empty', 'Key ']]) {
    test(`row 1: key ${name} gives 401`, async () => {
      const headers = authorization === undefined ? {} : { authorization };
      assertJson(await call('POST', `/${ENDPOINT}`, { body: {}, key: null, headers }), 401, { detail: malformed });
      assertJson(await call('GET', `${BASE}/requests/x/status`, { key: null, headers }), 401, { detail: malformed });
    });
  }

  test('row 2: unknown key gives 401 on every queue route', async () => {
    const { request_id: id } = await submit();
    for (const [method, path] of [['POST', `/${ENDPOINT}`], ['GET', `${BASE}/requests/${id}`], ['GET', `${BASE}/requests/${id}/status`], ['PUT', `${BASE}/requests/${id}/cancel`]]) {
      assertJson(await call(method, path, { key: 'other:key' }), 401, { detail: 'No user found for Key ID and Secret' });
    }
  });

  test('row 3: locked account gives 403 and no job', async () => {
    await ctl('default', { locked: true });
    assertJson(await call('POST', `/${ENDPOINT}`, { body: { prompt: 'x' } }), 403, {
      detail: 'User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing.',
    });
    assert.equal((await ledger()).accepted, 0);
  });

  test('row 4: unknown application gives 404', async () => {
    await ctl('default', { unknown_app: '^fal-ai/nothing' });
    assertJson(await call('POST', '/fal-ai/nothing/x', { body: {} }), 404, { detail: 'Application not found' });
    assertJson(await call('POST', '/fal-ai/something/x', { body: {} }), 200);
  });

  test('row 5: start timeout must be a number above 0.1; the new name wins', async () => {
    const start = 'x-fal-request-start-timeout';
    const old = 'x-fal-request-timeout';
    for (const headers of [{ [start]: 'soon' }, { [start]: '0.1' }, { [start]: '-1' }, { [old]: 'x' }, { [start]: 'x', [old]: '30' }]) {
      const answer = await call('POST', `/${ENDPOINT}`, { body: {}, headers });
      assertJson(answer, 400);
      assert.equal(answer.headers.get('x-fal-error-type'), 'bad_request');
      assert.equal(answer.json.error_type, 'bad_request');
    }
    assertJson(await call('POST', `/${ENDPOINT}`, { body: {}, headers: { [start]: '0.2', [old]: 'x' } }), 200);
  });

  test('row 6: queue length guard gives 429 only when more wait', async () => {
    await ctl('default', { hold: 'queue' });
    await submit();
    assertJson(await call('POST', `/${ENDPOINT}?fal_max_queue_length=1`, { body: {} }), 200);
    assertJson(await call('POST', `/${ENDPOINT}?fal_max_queue_length=1`, { body: {} }), 429);
    assert.equal((await ledger()).accepted, 2);
  });

  for (const [name, body] of [['good input', { prompt: 'x' }], ['empty body', undefined], ['bad input', { prompt: 7 }], ['not JSON', '{"prompt":'], ['a JSON array', [1]]]) {
    test(`row 7: submit accepts ${name}`, async () => {
      await ctl('default', { hold: 'queue' });
      const answer = await call('POST', `/${ENDPOINT}`, { body });
      const id = answer.json.request_id;
      assert.match(id, UUID_V7);
      assertJson(answer, 200, { status: 'IN_QUEUE', ...urlsOf(id), logs: null, metrics: {}, queue_position: 0 });
      assert.equal(answer.headers.get('x-fal-request-id'), id);
    });
  }

  test('row 7: unknown subpath and namespaces keep owner and app in the URLs', async () => {
    for (const [path, base] of [['/fal-ai/minimax/video-01/text-to-video', BASE], ['/workflows/me/flow/x', '/workflows/me/flow'], ['/comfy/me/flow', '/comfy/me/flow'], ['/fal-ai/veo3', '/fal-ai/veo3']]) {
      const job = await submit({}, { path });
      assert.equal(job.status_url, urlsOf(job.request_id, base).status_url);
      assertJson(await call('GET', `${base}/requests/${job.request_id}/status`), 202);
    }
  });

  test('row 7: URLs use the Host of the request', async () => {
    const origin = emulator.url.replace('127.0.0.1', 'localhost');
    const { request_id: id, status_url: url } = await submit({ prompt: 'x' }, { origin });
    assert.equal(url, `${origin}${BASE}/requests/${id}/status`);
  });

  test('row 8: the same body twice is two jobs', async () => {
    const [first, second] = [await submit(), await submit()];
    assert.notEqual(first.request_id, second.request_id);
    assert.equal((await ledger()).accepted, 2);
  });

  for (const [kind, accepted] of [['drop_before', 0], ['reset_before', 0], ['drop_after', 1], ['reset_after', 1]]) {
    test(`row 9: ${kind} accepts ${accepted} job`, async () => {
      await ctl('fault', { on: 'submit', fault: { kind } });
      await assert.rejects(call('POST', `/${ENDPOINT}`, { body: {} }), TypeError);
      assert.equal((await ledger()).accepted, accepted);
      assertJson(await call('POST', `/${ENDPOINT}`, { body: {} }), 200);
    });
  }

  for (const [kind, accepted] of [['hang', 0], ['hang_after', 1]]) {
    test(`row 9: ${kind} never answers and accepts ${accepted} job`, async () => {
      await ctl('fault', { on: 'submit', fault: { kind } });
      await assert.rejects(call('POST', `/${ENDPOINT}`, { body: {}, signal: AbortSignal.timeout(150) }), { name: 'TimeoutError' });
      assert.equal((await ledger()).accepted, accepted);
    });
  }

  for (const status of [502, 503, 504]) {
    test(`row 10: gateway ${status} is HTML of nginx without a request id`, async () => {
      await ctl('fault', { on: 'submit', fault: { kind: 'gateway', status } });
      await ctl('fault', { on: 'submit', fault: { kind: 'gateway_after', status } });
      for (const accepted of [0, 1]) {
        const answer = await call('POST', `/${ENDPOINT}`, { body: {} });
        assert.equal(answer.status, status);
        assert.match(answer.headers.get('content-type'), /^text\/html/);
        assert.equal(answer.headers.get('x-fal-request-id'), null);
        assert.match(answer.text, /nginx/);
        assert.equal((await ledger()).accepted, accepted);
      }
    });
  }
});

describe('rows 11-19: status', () => {
  test('row 11: queued is 202 with the current position, counting down', async () => {
    await ctl('default', { queue_ms: 300, queue_position: 3 });
    const { request_id: id, queue_position: first } = await submit();
    assert.equal(first, 3);
    const answer = await statusOf(id);
    assertJson(answer, 202, { status: 'IN_QUEUE', ...urlsOf(id), logs: null, metrics: {}, queue_position: answer.json.queue_position });
    const positions = new Set();
    await until('the position to reach 0', async () => {
      const { json } = await statusOf(id);
      positions.add(json.queue_position);
      return json.queue_position === 0;
    });
    assert.ok(positions.has(1) && positions.has(2), [...positions].join());
  });

  test('row 11: without a script the position is the number of jobs ahead', async () => {
    await ctl('default', { hold: 'queue' });
    const first = await submit();
    const second = await submit();
    assert.equal(second.queue_position, 1);
    await cancelOf(first.request_id);
    assert.equal((await statusOf(second.request_id)).json.queue_position, 0);
  });

  test('row 12: running is 202 without a position', async () => {
    await quick({ hold: 'run' });
    const { request_id: id } = await submit();
    await running(id);
    assertJson(await statusOf(id), 202, { status: 'IN_PROGRESS', ...urlsOf(id), logs: null, metrics: {} });
    assertJson(await call('GET', `${BASE}/requests/${id}/status/`), 202);
  });

  test('row 13: completed is 200 with the inference time', async () => {
    await quick({ run_ms: 60 });
    const { request_id: id } = await submit();
    const { json } = await completed(id);
    const time = json.metrics.inference_time;
    assert.ok(time >= 0.055 && time < 5, `${time}`);
    assertJson(await statusOf(id), 200, { status: 'COMPLETED', ...urlsOf(id), logs: null, metrics: { inference_time: time } });
  });

  test('row 14: an infrastructure failure shows error and error_type', async () => {
    await quick({ outcome: 'infra', error_type: 'request_timeout' });
    const { request_id: id } = await submit();
    const { json } = await completed(id);
    assertJson(await statusOf(id), 200, {
      status: 'COMPLETED', ...urlsOf(id), logs: null, metrics: json.metrics, error: 'Request timed out', error_type: 'request_timeout',
    });
  });

  for (const shown of [false, true]) {
    test(`row 15: a model 4xx ${shown ? 'shows' : 'hides'} its error when told so`, async () => {
      await quick({ outcome: 'validation', status_error: shown });
      const { json } = await completed((await submit()).request_id);
      assert.equal('error' in json, shown);
      assert.equal('error_type' in json, shown);
    });
  }

  test('row 16: unknown, expired and other application give 404', async () => {
    await quick();
    const { request_id: id } = await submit();
    await completed(id);
    const missing = { status: 'NOT_FOUND' };
    assertJson(await statusOf('019e161b-386c-7d33-8106-f2de1a3ff595'), 404, missing);
    assertJson(await call('GET', `/fal-ai/veo3/requests/${id}/status`), 404, missing);
    await ctl(`job/${id}`, { action: 'expire' });
    assertJson(await statusOf(id), 404, missing);
  });

  test('row 16: a result expires by its own clock', async () => {
    await quick({ retention_ms: 100 });
    const { request_id: id } = await submit();
    await completed(id);
    await until('expiry', async () => (await statusOf(id)).status === 404);
    assertJson(await resultOf(id), 404, { detail: 'Request not found' });
  });

  for (const [query, shown] of [['?logs=1', true], ['?logs=true', true], ['?logs=0', false], ['?logs=false', false], ['', false]]) {
    test(`row 17: status${query} ${shown ? 'has' : 'has no'} logs`, async () => {
      await quick({ hold: 'run' });
      const { request_id: id } = await submit();
      await running(id);
      const { logs } = (await statusOf(id, query)).json;
      if (!shown) assert.equal(logs, null);
      else {
        assert.equal(typeof logs[0].message, 'string');
        assert.ok(!Number.isNaN(Date.parse(logs[0].timestamp)));
      }
    });
  }

  for (const tail of ['', '/status', '/response']) {
    test(`row 18: the full-id path with "${tail}" is 405, unless lenient`, async () => {
      await quick();
      const { request_id: id } = await submit();
      await completed(id);
      const path = tail === '/response' ? `${BASE}/requests/${id}${tail}` : `/${ENDPOINT}/requests/${id}${tail}`;
      const answer = await call('GET', path);
      assertJson(answer, 405, { detail: 'Method Not Allowed' });
      assert.equal(answer.headers.get('allow'), 'POST');
      await ctl('default', { lenient_paths: true });
      assertJson(await call('GET', path), 200);
    });
  }

  test('row 19: the stream sends changes and comments, then closes', async () => {
    await ctl('default', { sse_comment_ms: 20, queue_ms: 100, run_ms: 100 });
    const { request_id: id } = await submit();
    const answer = await call('GET', `${BASE}/requests/${id}/status/stream?logs=1`, { headers: { accept: 'application/json' } });
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get('content-type'), /^text\/event-stream/);
    const parts = answer.text.split('\n\n').filter(Boolean);
    assert.ok(parts.some((part) => part.startsWith(':')));
    const events = parts.filter((part) => part.startsWith('data: ')).map((part) => JSON.parse(part.slice(6)));
    assert.deepEqual([...new Set(events.map(({ status }) => status))], ['IN_QUEUE', 'IN_PROGRESS', 'COMPLETED']);
    assert.deepEqual({ ...events.at(-1), logs: 0 }, { ...(await statusOf(id)).json, logs: 0 });
    assertJson(await call('GET', `${BASE}/requests/none/status/stream`), 404, { status: 'NOT_FOUND' });
  });
});

describe('rows 20-29: result', () => {
  test('row 20: queued and running give 400', async () => {
    await ctl('default', { hold: 'queue' });
    const { request_id: id } = await submit();
    assertJson(await resultOf(id), 400, { detail: 'Request is still in progress', ...urlsOf(id) });
    await quick({ hold: 'run' });
    const { request_id: other } = await submit();
    await running(other);
    assertJson(await resultOf(other), 400, { detail: 'Request is still in progress', ...urlsOf(other) });
  });

  test('rows 21 and 29: the bare output, the same each time', async () => {
    await quick({ media: { bytes: 4321 } });
    const { request_id: id } = await submit();
    await completed(id);
    const answer = await resultOf(id);
    assertJson(answer, 200, {
      video: { url: `${emulator.url}/files/b/${id.slice(-8)}/${id}_output.mp4`, content_type: 'video/mp4', file_name: 'output.mp4', file_size: 4321 },
    });
    assert.equal(answer.headers.get('x-fal-request-id'), id);
    assert.equal(answer.headers.get('x-fal-billable-units'), '1');
    assert.equal((await resultOf(id)).text, answer.text);
    assertJson(await call('GET', `${BASE}/requests/${id}/`), 200);
  });

  const shapes = {
    video: ({ video }) => video.url,
    video_array: ({ video: [first] }) => first.url,
    video_url: ({ video_url: url }) => url,
    video_url_object: ({ video_url: { url } }) => url,
    videos: ({ videos: [first] }) => first.url,
    preview_video: ({ preview_video: { url } }) => url,
    custom: ({ deep: [{ link }] }) => link,
  };
  for (const [output, find] of Object.entries(shapes)) {
    test(`row 21: output shape ${output}`, async () => {
      await quick({ output, result: { deep: [{ link: '{{media_url}}' }] } });
      const { request_id: id } = await submit();
      await completed(id);
      assert.equal(find((await resultOf(id)).json), (await jobOf(id)).media_url);
    });
  }

  test('row 21: data URI and no output', async () => {
    await quick({ output: 'data_uri', media: { bytes: 1000 } });
    const { request_id: id } = await submit();
    await completed(id);
    const [head, data] = (await resultOf(id)).json.video.url.split(',');
    assert.equal(head, 'data:video/mp4;base64');
    assert.equal(sha256(Buffer.from(data, 'base64')), (await jobOf(id)).media_sha256);
    await ctl('default', { output: 'none' });
    const { request_id: other } = await submit();
    await completed(other);
    assert.equal((await jobOf(other)).media_url, null);
    assert.doesNotMatch((await resultOf(other)).text, /http/);
  });

  for (const [size, check] of [[false, (file) => !('file_size' in file)], ['null', (file) => file.file_size === null], [7, (file) => file.file_size === 7]]) {
    test(`row 21: file_size ${size}`, async () => {
      await quick({ media: { file_size: size } });
      const { request_id: id } = await submit();
      await completed(id);
      const { video } = (await resultOf(id)).json;
      assert.ok(check(video), JSON.stringify(video));
    });
  }

  const long = 'x'.repeat(2001);
  const invalid = [
    ['prompt missing', ENDPOINT, {}, { loc: ['body', 'prompt'], msg: 'Field required', type: 'missing', input: {} }],
    ['prompt too long', ENDPOINT, { prompt: long }, {
      loc: ['body', 'prompt'], msg: 'String should have at most 2000 characters', type: 'string_too_long', input: long, ctx: { max_length: 2000 },
    }],
    ['prompt a number', ENDPOINT, { prompt: 7 }, { loc: ['body', 'prompt'], msg: 'Input should be a valid string', type: 'string_type', input: 7 }],
    ['image missing', `${ENDPOINT}/image-to-video`, { prompt: 'x' }, { loc: ['body', 'image_url'], msg: 'Field required', type: 'missing', input: { prompt: 'x' } }],
    ['broken JSON', ENDPOINT, '{"prompt":', { loc: ['body'], msg: 'JSON decode error', type: 'json_invalid', input: {} }],
  ];
  for (const [name, endpoint, input, problem] of invalid) {
    test(`row 22: ${name} gives 422 at the result`, async () => {
      await quick();
      const { request_id: id } = await submit(input, { path: `/${endpoint}` });
      await completed(id);
      const answer = await resultOf(id);
      assertJson(answer, 422, { detail: [problem] });
      assert.equal(answer.headers.get('x-fal-billable-units'), '0');
      assert.equal(answer.headers.get('x-fal-needs-retry'), '0');
      assert.equal((await jobOf(id)).billed, false);
    });
  }

  test('row 22: exactly 2000 characters pass, counted as characters', async () => {
    await quick();
    const { request_id: id } = await submit({ prompt: '🦊'.repeat(2000) });
    await completed(id);
    assertJson(await resultOf(id), 200);
  });

  test('row 23: the policy word gives content_policy_violation', async () => {
    await quick();
    const input = { prompt: 'a forbidden-policy-word here' };
    const { request_id: id } = await submit(input);
    await completed(id);
    const answer = await resultOf(id);
    assertJson(answer, 422);
    const [problem] = answer.json.detail;
    assert.deepEqual([problem.type, problem.loc, problem.input], ['content_policy_violation', ['body', 'prompt'], input]);
    assert.ok(problem.categories.length > 0 && problem.url.startsWith('https://'));
    assert.equal(answer.headers.get('x-fal-retryable'), 'false');
    assert.equal(answer.headers.get('x-fal-billable-units'), '0');
  });

  test('row 24: an unknown subpath gives 404 at the result only', async () => {
    await quick();
    const { request_id: id } = await submit({ prompt: 'x' }, { path: `/${ENDPOINT}/text-to-video` });
    await completed(id);
    const answer = await resultOf(id);
    assertJson(answer, 404, { detail: 'Path /video-01/text-to-video not found' });
    assert.equal(answer.headers.get('x-fal-billable-units'), '0');
  });

  for (const [type, status] of [['runner_server_error', 500], ['runner_incomplete_response', 502], ['runner_disconnected', 503], ['startup_timeout', 504]]) {
    test(`row 25: ${type} gives ${status}`, async () => {
      await quick({ outcome: 'infra', error_type: type });
      const { request_id: id } = await submit();
      await completed(id);
      const answer = await resultOf(id);
      assertJson(answer, status);
      assert.equal(answer.json.error_type, type);
      assert.equal(typeof answer.json.detail, 'string');
      assert.equal(answer.headers.get('x-fal-error-type'), type);
    });
  }

  test('row 26: a start timeout that passes in the queue gives 504 of type user', async () => {
    await ctl('default', { hold: 'queue' });
    const { request_id: id } = await submit({ prompt: 'x' }, { headers: { 'x-fal-request-start-timeout': '0.15' } });
    assert.equal((await completed(id)).json.error_type, 'request_timeout');
    const answer = await resultOf(id);
    assertJson(answer, 504, { detail: 'Request timed out', error_type: 'request_timeout' });
    assert.equal(answer.headers.get('x-fal-request-timeout-type'), 'user');
    assert.equal(answer.headers.get('x-fal-error-type'), 'request_timeout');
    const { billed, started_at: started } = await jobOf(id);
    assert.deepEqual([billed, started], [false, null]);
  });

  test('row 27: one transient 504 at a finished result, then the result', async () => {
    await quick();
    const { request_id: id } = await submit();
    await completed(id);
    await ctl('fault', { on: 'result', request_id: id, fault: { kind: 'gateway', status: 504 } });
    const first = await resultOf(id);
    assert.equal(first.status, 504);
    assert.equal(first.headers.get('x-fal-request-id'), null);
    assertJson(await resultOf(id), 200);
  });

  test('row 28: an unknown request gives 404 with a detail', async () => {
    assertJson(await resultOf('019e161b-386c-7d33-8106-f2de1a3ff595'), 404, { detail: 'Request not found' });
  });
});

describe('rows 30-38: cancel, requeue, concurrency', () => {
  for (const [mode, status, body] of [['202', 202, { status: 'CANCELLATION_REQUESTED' }], ['200ok', 200, { status: 'OK' }]]) {
    test(`rows 30 and 34: a queued job is cancelled with ${status} and never runs`, async () => {
      await ctl('default', { hold: 'queue', cancel_mode: mode });
      const { request_id: id } = await submit();
      assertJson(await cancelOf(id), status, body);
      const { json } = await completed(id);
      assert.equal(json.error_type, 'client_cancelled');
      assertJson(await resultOf(id), 499);
      const { started_at: started, billed, cancelled } = await jobOf(id);
      assert.deepEqual([started, billed, cancelled], [null, false, true]);
    });
  }

  test('row 31: a running job may ignore the cancellation and finish', async () => {
    await quick({ run_ms: 100, cancel_mode: 'ignore' });
    const { request_id: id } = await submit();
    await running(id);
    assertJson(await cancelOf(id), 202, { status: 'CANCELLATION_REQUESTED' });
    await completed(id);
    assertJson(await resultOf(id), 200);
    const { billed, cancelled, cancel_requested_at: at } = await jobOf(id);
    assert.deepEqual([billed, cancelled, at !== null], [true, false, true]);
  });

  test('rows 31 and 35: a running job that stops gives 499', async () => {
    await quick({ hold: 'run' });
    const { request_id: id } = await submit();
    await running(id);
    assertJson(await cancelOf(id), 202, { status: 'CANCELLATION_REQUESTED' });
    await completed(id);
    const answer = await resultOf(id);
    assertJson(answer, 499);
    assert.equal(answer.json.error_type, 'client_cancelled');
    assert.equal(answer.headers.get('x-fal-error-type'), 'client_cancelled');
  });

  test('row 32: a completed job cannot be cancelled', async () => {
    await quick();
    const { request_id: id } = await submit();
    await completed(id);
    assertJson(await cancelOf(id), 400, { status: 'ALREADY_COMPLETED' });
    assertJson(await resultOf(id), 200);
  });

  test('row 33: cancelling an unknown job gives 404, by another method 405', async () => {
    assertJson(await cancelOf('nobody'), 404, { status: 'NOT_FOUND' });
    const answer = await call('POST', `${BASE}/requests/nobody/cancel`);
    assertJson(answer, 405, { detail: 'Method Not Allowed' });
    assert.equal(answer.headers.get('allow'), 'PUT');
  });

  test('row 34: second mode, a cancelled queued job is gone', async () => {
    await ctl('default', { hold: 'queue', after_cancel: '404' });
    const { request_id: id } = await submit();
    await cancelOf(id);
    assertJson(await statusOf(id), 404, { status: 'NOT_FOUND' });
    assertJson(await resultOf(id), 404, { detail: 'Request not found' });
  });

  test('row 36: a requeued job goes back to IN_QUEUE under the same id', async () => {
    await ctl('default', { requeue: 2, queue_ms: 40, run_ms: 40 });
    const { request_id: id } = await submit({ prompt: 'x' }, { path: `/${ENDPOINT}?fal_webhook=${encodeURIComponent(hooks.url)}` });
    const states = [];
    await until('completion', async () => {
      const { status } = (await statusOf(id)).json;
      if (states.at(-1) !== status) states.push(status);
      return status === 'COMPLETED';
    });
    const cycle = ['IN_QUEUE', 'IN_PROGRESS'];
    assert.deepEqual(states, [...cycle, ...cycle, ...cycle, 'COMPLETED']);
    assert.equal((await jobOf(id)).attempt, 3);
    await hookCount(1);
    const body = JSON.parse(hooks.received[0].body);
    assert.equal(body.request_id, id);
    assert.notEqual(body.gateway_request_id, id);
  });

  test('row 36: the tenth attempt is the last', async () => {
    await quick({ requeue: 50 });
    const { request_id: id } = await submit();
    assert.equal((await completed(id)).json.error_type, 'runner_disconnected');
    assert.equal((await jobOf(id)).attempt, 10);
  });

  test('row 37: X-Fal-No-Retry fails at the first attempt', async () => {
    await quick({ requeue: 3 });
    const { request_id: id } = await submit({ prompt: 'x' }, { headers: { 'x-fal-no-retry': '1' } });
    await completed(id);
    assertJson(await resultOf(id), 503);
    assert.equal((await jobOf(id)).attempt, 1);
  });

  test('row 38: over the account concurrency jobs wait, none is refused', async () => {
    await quick({ account_concurrency: 2, hold: 'run' });
    const ids = [];
    for (let n = 0; n < 4; n += 1) ids.push((await submit()).request_id);
    await until('two to run', async () => (await ledger()).running === 2);
    assert.equal((await statusOf(ids[2])).json.status, 'IN_QUEUE');
    assert.equal((await statusOf(ids[3])).json.queue_position, 1);
    await ctl(`job/${ids[0]}`, { action: 'finish' });
    await running(ids[2]);
    assert.equal((await statusOf(ids[3])).json.status, 'IN_QUEUE');
  });
});

describe('rows 39-42: webhooks', () => {
  const withHook = () => ({ path: `/${ENDPOINT}?fal_webhook=${encodeURIComponent(hooks.url)}` });
  const firstHook = async () => { await hookCount(1); return JSON.parse(hooks.received[0].body); };

  test('row 39: success carries the output and four headers', async () => {
    await quick();
    const { request_id: id } = await submit({ prompt: 'x' }, withHook());
    const body = await firstHook();
    assert.deepEqual(Object.keys(body), ['gateway_request_id', 'payload', 'request_id', 'status']);
    assert.deepEqual(body, { gateway_request_id: id, payload: (await resultOf(id)).json, request_id: id, status: 'OK' });
    const { headers } = hooks.received[0];
    assert.match(headers['content-type'], /^application\/json/);
    assert.equal(headers['x-fal-webhook-request-id'], id);
    assert.equal(headers['x-fal-webhook-user-id'], 'user-1');
    assert.match(headers['x-fal-webhook-timestamp'], /^\d{10}$/);
    assert.match(headers['x-fal-webhook-signature'], /^[0-9a-f]{128}$/);
  });

  test('row 40: failure carries the status code and the error body', async () => {
    await quick();
    const { request_id: id } = await submit({}, withHook());
    const body = await firstHook();
    assert.deepEqual(body, {
      error: 'Invalid status code: 422', gateway_request_id: id, payload: (await resultOf(id)).json, request_id: id, status: 'ERROR',
    });
  });

  test('row 40: a null payload comes with payload_error', async () => {
    await quick({ webhook: { payload_null: true }, outcome: 'not_found_path' });
    await submit({}, withHook());
    const body = await firstHook();
    assert.equal(body.payload, null);
    assert.equal(typeof body.payload_error, 'string');
    assert.equal(body.error, 'Invalid status code: 404');
  });

  test('row 41: 4xx and 5xx are tried again with a valid signature, until 2xx', async () => {
    await quick({ webhook: { retry_ms: 5 } });
    hooks.answers.push(500, 404);
    const { request_id: id } = await submit({ prompt: 'x' }, withHook());
    await until('delivery', async () => (await ledger()).webhooks[0]?.delivered);
    assert.equal(hooks.received.length, 3);
    const jwks = await fetchJwks();
    assert.ok(hooks.received.every((hook) => verifyHook(hook, jwks)));
    const [entry] = (await ledger()).webhooks;
    assert.deepEqual([entry.request_id, entry.status, entry.tries], [id, 'OK', 3]);
  });

  test('row 41: a redirect ends the delivery, duplicates come on demand', async () => {
    await quick({ webhook: { retry_ms: 1, duplicates: 1 } });
    hooks.answers.push(302);
    await submit({ prompt: 'x' }, withHook());
    await until('both copies', async () => (await ledger()).webhooks[1]?.delivered);
    const { webhooks } = await ledger();
    assert.deepEqual(webhooks.map(({ tries, last_status: status }) => [tries, status]), [[1, 302], [1, 200]]);
    assert.ok(hooks.received.every(({ path }) => path !== '/moved'));
  });

  test('row 42: a rotated key is published beside the old one, wrong one first', async () => {
    await quick();
    const before = await fetchJwks();
    assert.equal(before.keys.length, 1);
    assert.deepEqual(Object.keys(before.keys[0]), ['kty', 'crv', 'x']);
    assert.equal(Buffer.from(before.keys[0].x, 'base64url').length, 32);
    await ctl('keys', { action: 'rotate' });
    await submit({ prompt: 'x' }, withHook());
    await hookCount(1);
    const jwks = await fetchJwks();
    assert.deepEqual(jwks.keys[0], before.keys[0]);
    assert.equal(verifyHook(hooks.received[0], before), false);
    assert.equal(verifyHook(hooks.received[0], { keys: [jwks.keys[1]] }), true);
  });

  for (const forge of [true, 'body', 'user_id']) {
    test(`forged hook (${forge}) does not verify`, async () => {
      await quick({ webhook: { forge } });
      await submit({ prompt: 'x' }, withHook());
      await hookCount(1);
      assert.equal(verifyHook(hooks.received[0], await fetchJwks()), false);
    });
  }

  test('a hook sent by control may be old, unsigned or about a stranger', async () => {
    const send = (over) => ctl('webhook', { request_id: 'stranger', url: hooks.url, ...over });
    assert.equal((await send({ timestamp: 1700000000 })).http, 200);
    await send({ forge: 'unsigned' });
    await send({ status: 'ERROR' });
    const [old, unsigned, error] = hooks.received;
    assert.equal(old.headers['x-fal-webhook-timestamp'], '1700000000');
    assert.ok(verifyHook(old, await fetchJwks()));
    assert.equal(unsigned.headers['x-fal-webhook-signature'], undefined);
    assert.equal(JSON.parse(error.body).status, 'ERROR');
  });

  test('signature test vector', () => {
    const key = privateKeyFromSeed(Buffer.from(Array.from({ length: 32 }, (_, n) => n)));
    assert.equal(publicJwk(key).x, 'A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg');
    const body = Buffer.from('{"status":"OK"}');
    assert.equal(sha256(body), '3d23d39a30bb7323f8ccfd64c52cf286138fba4f83e78f7edcf66703b7c23aaa');
    const signature = signWebhook(key, { requestId: 'req-1', userId: 'user-1', timestamp: '1700000000', body });
    assert.equal(signature, 'dacc79a55c73b33e12c2b25f38e1e287a4b8789d206cf7fa2a0bdecf2b6b22245ec042bfbea08b72b37d6f3ae83f3143ab930ba0fd1609d489c28c41429e8b05');
    const headers = { 'x-fal-webhook-request-id': 'req-1', 'x-fal-webhook-user-id': 'user-1', 'x-fal-webhook-timestamp': '1700000000', 'x-fal-webhook-signature': signature };
    assert.ok(verifyHook({ headers, body }, { keys: [publicJwk(key)] }));
    assert.equal(verifyHook({ headers, body }, { keys: [generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })] }), false);
  });
});

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}

describe('row 43: media', () => {
  let url;
  let bytes;

  async function produce(behaviour = {}) {
    await quick(behaviour);
    const { request_id: id } = await submit();
    await completed(id);
    const job = await jobOf(id);
    url = job.media_url;
    return job;
  }

  const get = async (headers = {}, options = {}) => {
    const answer = await fetch(url, { headers, ...options });
    bytes = Buffer.from(await answer.arrayBuffer());
    return answer;
  };

  test('row 43: live file has length, type, an MP4 head and the hash of the ledger', async () => {
    const job = await produce({ media: { bytes: 3000000 } });
    const answer = await get();
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-length'), '3000000');
    assert.equal(answer.headers.get('content-type'), 'video/mp4');
    assert.equal(bytes.subarray(4, 12).toString(), 'ftypisom');
    assert.deepEqual([bytes.length, sha256(bytes)], [job.media_bytes, job.media_sha256]);
    const other = await produce();
    assert.notEqual(other.media_sha256, job.media_sha256);
  });

  for (const [range, from, to] of [['bytes=0-9', 0, 10], ['bytes=40-59', 40, 60], ['bytes=99990-', 99990, 100000], ['bytes=-7', 99993, 100000], ['bytes=5-999999', 5, 100000]]) {
    test(`row 43: range ${range}`, async () => {
      await produce();
      await get();
      const whole = bytes;
      const answer = await get({ range });
      assert.equal(answer.status, 206);
      assert.equal(answer.headers.get('content-range'), `bytes ${from}-${to - 1}/100000`);
      assert.ok(bytes.equals(whole.subarray(from, to)));
    });
  }

  test('row 43: a range past the end gives 416, HEAD sends no body', async () => {
    await produce();
    assert.equal((await get({ range: 'bytes=100000-' })).status, 416);
    const head = await get({}, { method: 'HEAD' });
    assert.deepEqual([head.status, head.headers.get('content-length'), bytes.length], [200, '100000', 0]);
  });

  test('row 43: expired media give 404 while the result lives', async () => {
    const { request_id: id } = await produce();
    await ctl(`job/${id}`, { action: 'expire_media' });
    assert.equal((await get()).status, 404);
    assertJson(await resultOf(id), 200);
    await produce({ media_retention_ms: 1 });
    await until('expiry', async () => (await get()).status === 404);
  });

  test('row 43: a key sent along is counted', async () => {
    await produce();
    await get();
    assert.equal((await ledger()).media_with_authorization, 0);
    await get({ authorization: 'Key a:b' });
    assert.equal((await ledger()).media_with_authorization, 1);
  });

  test('other host, full override and redirect of the media URL', async () => {
    const { request_id: id } = await produce({ media: { base: 'http://media.test' } });
    assert.match((await resultOf(id)).json.video.url, /^http:\/\/media\.test\/files\/b\//);
    assert.equal((await produce({ media: { base: null, url: 'http://elsewhere.test/x' } })).media_url, 'http://elsewhere.test/x');
    const job = await produce({ media: { url: null, redirect: '{{media_url}}' } });
    const answer = await get({}, { redirect: 'manual' });
    assert.equal(answer.status, 302);
    await get();
    assert.equal(sha256(bytes), job.media_sha256);
  });

  for (const kind of ['truncate', 'lie_length', 'drop_before', 'reset_before', 'reset_after']) {
    test(`media fault ${kind} breaks the transfer, once`, async () => {
      const job = await produce();
      await ctl('fault', { on: 'media', fault: { kind, bytes: 500, delta: 10 } });
      await assert.rejects(get(), TypeError);
      await get();
      assert.equal(sha256(bytes), job.media_sha256);
    });
  }

  for (const fault of [{ kind: 'stall', bytes: 500 }, { kind: 'slow', bytes_per_s: 1000 }, { kind: 'hang' }]) {
    test(`media fault ${fault.kind} does not come to an end`, async () => {
      await produce();
      await ctl('fault', { on: 'media', fault });
      await assert.rejects(get({}, { signal: AbortSignal.timeout(150) }), { name: 'TimeoutError' });
    });
  }

  const replaced = [
    [{ kind: 'no_length' }, (a) => a.headers.get('content-length') === null && bytes.length === 100000],
    [{ kind: 'content_type', value: 'text/html' }, (a) => a.headers.get('content-type') === 'text/html' && bytes.length === 100000],
    [{ kind: 'body', text: 'not a video' }, () => bytes.toString() === 'not a video'],
    [{ kind: 'empty' }, (a) => a.status === 200 && bytes.length === 0],
    [{ kind: 'not_found' }, (a) => a.status === 404],
    [{ kind: 'http', status: 403, body: 'no' }, (a) => a.status === 403 && bytes.toString() === 'no'],
    [{ kind: 'gateway', status: 502 }, (a) => a.status === 502 && /nginx/.test(bytes.toString())],
  ];
  for (const [fault, check] of replaced) {
    test(`media fault ${fault.kind} replaces the answer`, async () => {
      await produce();
      await ctl('fault', { on: 'media', fault });
      const answer = await get();
      assert.ok(check(answer), `${answer.status} ${bytes.length}`);
    });
  }
});

describe('row 44: request history', () => {
  const list = async (query = '', options = {}) => call('GET', `/v1/models/requests/by-endpoint?${query}`, options);

  test('row 44: lists finished requests with payloads when asked', async () => {
    await quick();
    const { request_id: id } = await submit({ prompt: 'listed' });
    await completed(id);
    const plain = (await list(`endpoint_id=${ENDPOINT}`)).json;
    assert.deepEqual([plain.next_cursor, plain.has_more, plain.items.length], [null, false, 1]);
    assert.equal('json_input' in plain.items[0], false);
    const [item] = (await list(`endpoint_id=${ENDPOINT}&expand=payloads`)).json.items;
    assert.deepEqual(Object.keys(item), ['request_id', 'endpoint_id', 'sent_at', 'started_at', 'ended_at', 'status_code', 'duration', 'json_input', 'json_output']);
    assert.deepEqual([item.request_id, item.endpoint_id, item.status_code, item.json_input], [id, ENDPOINT, 200, { prompt: 'listed' }]);
    assert.deepEqual(item.json_output, (await resultOf(id)).json);
    assert.equal((await list('endpoint_id=fal-ai/other')).json.items.length, 0);
    assert.equal((await list(`start=${encodeURIComponent(new Date(Date.now() + 60000).toISOString())}`)).json.items.length, 0);
    assert.equal((await list('', { key: 'no:body' })).status, 401);
    assert.equal((await ledger()).list_calls, 5);
  });

  test('row 44: pages by cursor; running requests and fresh ones by switch', async () => {
    await quick({ hold: 'queue' });
    for (let n = 0; n < 3; n += 1) await submit({ prompt: `${n}` });
    assert.equal((await list()).json.items.length, 0);
    await ctl('default', { list_in_flight: true });
    const first = (await list('limit=2')).json;
    assert.deepEqual([first.items.length, first.has_more], [2, true]);
    const rest = (await list(`limit=2&cursor=${first.next_cursor}`)).json;
    assert.deepEqual([rest.items.length, rest.has_more, rest.items[0].status_code], [1, false, null]);
    await ctl('default', { list_delay_ms: 60000 });
    assert.equal((await list()).json.items.length, 0);
  });
});

// -------------------------------------------------------- control and process

describe('faults and control', () => {
  test('garbage, empty, html200, wrong_type and redirect answers', async () => {
    const { request_id: id } = await submit();
    const under = async (fault) => {
      await ctl('fault', { on: 'status', fault });
      return statusOf(id);
    };
    const garbage = await under({ kind: 'garbage' });
    assert.deepEqual([garbage.status, garbage.json], [200, undefined]);
    assert.equal((await under({ kind: 'empty' })).text, '');
    assert.match((await under({ kind: 'html200' })).headers.get('content-type'), /text\/html/);
    assert.match((await under({ kind: 'wrong_type' })).headers.get('content-type'), /text\/plain/);
    const moved = await under({ kind: 'redirect', status: 307, location: 'http://elsewhere.test/' });
    assert.deepEqual([moved.status, moved.headers.get('location')], [307, 'http://elsewhere.test/']);
  });

  test('times, skip, prompt and request_id choose the request', async () => {
    await ctl('fault', { on: 'submit', prompt: '^bad', times: 2, skip: 1, fault: { kind: 'http', status: 500, body: '{}' } });
    const codes = [];
    for (const prompt of ['bad', 'good', 'bad', 'bad', 'bad']) codes.push((await call('POST', `/${ENDPOINT}`, { body: { prompt } })).status);
    assert.deepEqual(codes, [200, 200, 500, 500, 200]);
    await ctl('default', { hold: 'queue' });
    const [hit, spared] = [await submit(), await submit()];
    await ctl('fault', { on: 'status|cancel', request_id: hit.request_id, times: -1, fault: { kind: 'http', status: 418, body: '{}' } });
    assert.deepEqual([(await statusOf(spared.request_id)).status, (await statusOf(hit.request_id)).status], [202, 418]);
    assert.deepEqual([(await cancelOf(hit.request_id)).status, (await resultOf(hit.request_id)).status], [418, 400]);
  });

  test('probability repeats with the seed', async () => {
    const run = async () => {
      await ctl('reset');
      await ctl('default', { seed: 42 });
      await ctl('fault', { on: 'result', times: -1, probability: 0.5, fault: { kind: 'http', status: 500, body: '{}' } });
      const codes = [];
      for (let n = 0; n < 24; n += 1) codes.push((await resultOf('x')).status);
      return codes;
    };
    const first = await run();
    assert.deepEqual(new Set(first), new Set([404, 500]));
    assert.deepEqual(await run(), first);
  });

  test('rules pick the behaviour of new jobs, first match, limited times', async () => {
    await quick();
    await ctl('rule', { prompt: 'fail', times: 1, behaviour: { outcome: 'infra', error_type: 'internal_error' } });
    await ctl('rule', { endpoint: 'veo', behaviour: { output: 'none' } });
    const ids = [(await submit({ prompt: 'fail' })).request_id, (await submit({ prompt: 'fail' })).request_id];
    for (const id of ids) await completed(id);
    assert.deepEqual([(await resultOf(ids[0])).status, (await resultOf(ids[1])).status], [500, 200]);
  });

  test('misspelt fields and unknown routes are refused', async () => {
    for (const [path, body] of [['default', { que_ms: 1 }], ['rule', { behaviour: { media: { byte: 1 } } }], ['fault', { fault: {} }]]) {
      assert.equal((await fetch(`${emulator.url}/_ctl/${path}`, { method: 'POST', body: JSON.stringify(body) })).status, 400);
    }
    assert.equal((await fetch(`${emulator.url}/_ctl/nothing`)).status, 404);
  });

  test('the ledger counts requests, in-flight maxima and hides the key', async () => {
    await quick({ hold: 'queue', status_ms: 100 });
    const { request_id: id } = await submit();
    await Promise.all([statusOf(id), statusOf(id), statusOf(id)]);
    const book = await ledger();
    assert.deepEqual([book.requests.submit, book.requests.status, book.max_in_flight.status], [1, 3, 3]);
    assert.equal(book.jobs[0].counts.status, 3);
    assert.ok(book.connections >= 1);
    assert.doesNotMatch(JSON.stringify(book), /test-secret/);
  });
});

describe('process', () => {
  test('ends with code 0 on SIGTERM, SIGINT and the end of stdin', async () => {
    const endings = [(child) => child.kill('SIGTERM'), (child) => child.kill('SIGINT'), (child) => child.stdin.end()];
    await Promise.all(endings.map(async (end) => {
      const started = await startEmulator();
      end(started.child);
      assert.deepEqual(await started.exited, [0, null]);
    }));
  });

  test('speaks HTTP/2 and HTTP/1.1 over TLS and returns https URLs', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'fal-tls-'));
    const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile,
      '-out', certFile, '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']);
    const secure = await startEmulator('--tls-cert', certFile, '--tls-key', keyFile);
    const ca = await readFile(certFile);
    const session = http2.connect(secure.url, { ca });
    try {
      const stream = session.request({ ':method': 'POST', ':path': `/${ENDPOINT}`, authorization: `Key ${KEY}`, 'content-type': 'application/json' });
      stream.end('{"prompt":"x"}');
      const chunks = await stream.setEncoding('utf8').toArray();
      const { status_url: url, request_id: id } = JSON.parse(chunks.join(''));
      assert.equal(url, urlsOf(id, BASE, secure.url).status_url);
      assert.equal(session.alpnProtocol, 'h2');
      const request = https.get(url, { ca, agent: false, headers: { authorization: `Key ${KEY}` } });
      const [answer] = await once(request, 'response');
      const body = JSON.parse((await answer.setEncoding('utf8').toArray()).join(''));
      assert.deepEqual([answer.httpVersion, body.status_url], ['1.1', url]);
    } finally {
      session.destroy();
      await secure.stop();
      await rm(folder, { recursive: true });
    }
  });

  test('renders a playable MP4 with ffmpeg, its progress in the logs', async (t) => {
    const found = await promisify(execFile)('ffmpeg', ['-version']).then(() => true, () => false);
    if (!found) { t.skip('ffmpeg is not installed'); return; }
    const studio = await startEmulator('--render', 'ffmpeg');
    try {
      const { request_id: id } = await submit({ prompt: "it's 100% {odd}: \\ text" }, { origin: studio.url });
      const status = () => call('GET', `${BASE}/requests/${id}/status?logs=1`, { origin: studio.url });
      const { json } = await until('the render', async () => { const answer = await status(); return answer.status === 200 && answer; }, 15000);
      assert.ok(json.logs.some(({ message }) => /frame 75 of 75/.test(message)));
      const job = await (await fetch(`${studio.url}/_ctl/job/${id}`)).json();
      assert.equal(job.outcome, 'ok');
      const bytes = Buffer.from(await (await fetch(job.media_url)).arrayBuffer());
      assert.deepEqual([bytes.length, sha256(bytes)], [job.media_bytes, job.media_sha256]);
      assert.equal(bytes.subarray(4, 8).toString(), 'ftyp');
      assert.ok(bytes.indexOf('moov') < bytes.indexOf('mdat'), 'faststart');
    } finally {
      await studio.stop();
    }
  });
});
