// Does the emulator bill as fal.ai does? Prices, events, usage, balance and models
// of the platform API, and sums that are exact to the billionth of a dollar.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { asNumber, asText, divide, multiply, nano, sum } from '../emulator/lib/fal-money.mjs';
import { contains } from '../emulator/lib/fal-prices.mjs';

const EMULATOR = fileURLToPath(new URL('../emulator/fal.mjs', import.meta.url));
const KEY = 'test-id:test-secret';
const ADMIN = 'admin-id:admin-secret';
const VIDEO = 'fal-ai/minimax/video-01';
const HAILUO = 'fal-ai/minimax/hailuo-2.3/standard/text-to-video';
const KLING = 'fal-ai/kling-video/v3/pro/text-to-video';
const VEO = 'fal-ai/veo3.1';
const LTX = 'fal-ai/ltx-2/text-to-video/fast';
const LOCKED = { detail: 'User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing.' };
const HOUR_MS = 3600000;

let emulator;

before(async () => { emulator = await startEmulator('--key', KEY, '--admin-key', ADMIN); });
after(() => emulator.stop());
beforeEach(async () => {
  await ctl('reset');
  await ctl('default', { queue_ms: 1, run_ms: 1 });
});

// ---------------------------------------------------------------- helpers

async function startEmulator(...args) {
  const child = spawn(process.execPath, [EMULATOR, '--exit-with-stdin', ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  return { ...JSON.parse(line), stop: () => { child.kill('SIGTERM'); return exited; } };
}

async function control(path, body, origin = emulator.url) {
  const answer = await fetch(`${origin}/_ctl/${path}`, body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) });
  return { status: answer.status, json: await answer.json() };
}

async function ctl(path, body = {}, origin = emulator.url) {
  const { status, json } = await control(path, body, origin);
  assert.equal(status, 200, JSON.stringify(json));
  return json;
}

const bill = async () => (await control('bill')).json;

async function call(method, path, { body, key = KEY, origin = emulator.url, ...more } = {}) {
  const headers = { 'content-type': 'application/json', ...(key !== null && { authorization: `Key ${key}` }) };
  const answer = await fetch(origin + path, { method, headers, body: body && JSON.stringify(body), ...more });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, text, json: JSON.parse(text) };
}

/** What an admin reads. */
async function read(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) [value].flat().forEach((one) => query.append(name, one));
  const answer = await call('GET', `/v1/${path}?${query}`, { key: ADMIN });
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

const events = async (parameters) => (await read('models/billing-events', parameters)).billing_events;

async function submit(endpoint = VIDEO, input = {}, options = {}) {
  const answer = await call('POST', `/${endpoint}`, { body: { prompt: 'a red fox', ...input }, ...options });
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

async function until(what, ask) {
  for (const deadline = Date.now() + 10000; Date.now() < deadline;) {
    const answer = await ask();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`gave up waiting for ${what}`);
}

async function stateOf({ status_url: url }) {
  return (await call('GET', new URL(url).pathname)).json.status;
}

const running = (job) => until('its start', async () => (await stateOf(job)) === 'IN_PROGRESS');
const done = (job) => until('its end', async () => (await stateOf(job)) === 'COMPLETED');

/** The result's answer, when it is there. */
async function resultOf(job) {
  await done(job);
  return call('GET', new URL(job.response_url).pathname);
}

async function render(endpoint, input, options) {
  const job = await submit(endpoint, input, options);
  const result = await resultOf(job);
  return { id: job.request_id, result, units: result.headers.get('x-fal-billable-units') };
}

/** Past events, oldest first, at so many minutes after a time. */
async function foreign(endpoint, units, minutes, from = Date.now() - HOUR_MS) {
  const made = [];
  for (const minute of minutes) made.push(await ctl('bill', { endpoint, units, timestamp: new Date(from + minute * 60000).toISOString() }));
  return made;
}

function assertError(answer, status, type, message) {
  assert.equal(answer.status, status, answer.text);
  assert.deepEqual(Object.keys(answer.json), ['error']);
  assert.equal(answer.json.error.type, type);
  assert.match(answer.json.error.message, message);
}

// ---------------------------------------------------------------- numbers

describe('money', () => {
  test('decimals are read and written exactly', () => {
    for (const [text, billionths] of [['0.112', 112000000n], ['3.008', 3008000000n], ['0', 0n], ['24.5', 24500000000n], ['-1.5', -1500000000n], [1e-7, 100n], ['1e3', 1000000000000n]]) {
      assert.equal(nano(text), billionths);
      assert.equal(nano(asText(billionths)), billionths);
    }
    assert.deepEqual([asText(3008000000n), asText(-5n), asText(2000000000n)], ['3.008', '-0.000000005', '2']);
    for (const wrong of ['', '1,5', '.5', 'NaN', null, '0.0000000001', '0x10']) assert.throws(() => nano(wrong), /decimal/);
  });

  test('products are to the nearest billionth, sums lose nothing', () => {
    assert.equal(multiply(nano('3.008'), nano('0.03')), nano('0.09024'));
    assert.deepEqual([divide(5n, 2n), divide(-5n, 2n), divide(4n, 3n), divide(5n, -2n)], [3n, -3n, 1n, -3n]);
    assert.equal(asText(sum(Array.from({ length: 1000 }, () => nano('0.1')))), '100');
    assert.equal(asNumber(nano('99999.123456789')), 99999.123456789);
    assert.throws(() => asNumber(nano('123456789.123456789')), /not exact/);
  });

  test('containment is that of jsonb', () => {
    for (const [whole, part, is] of [[{ a: 1 }, {}, true], [{ a: 1, b: { c: [1, { d: 2 }] } }, { b: { c: [{ d: 2 }] } }, true], [{ a: '10' }, { a: 10 }, false],
      [{ a: [1, 2] }, { a: [2, 1, 1] }, true], [{ a: null }, { a: null }, true], [{}, { a: null }, false], [{ a: [1] }, { a: { 0: 1 } }, false]]) {
      assert.equal(contains(whole, part), is, JSON.stringify([whole, part]));
    }
  });
});

// ---------------------------------------------------------------- prices

describe('prices', () => {
  test('are listed by id, repeated or separated by commas', async () => {
    const { json, status } = await call('GET', `/v1/models/pricing?endpoint_id=${VIDEO},${KLING}&endpoint_id=${HAILUO}&endpoint_id=${VIDEO}`);
    assert.equal(status, 200);
    assert.deepEqual(json, {
      prices: [
        { endpoint_id: VIDEO, unit_price: 0.5, unit: 'videos', currency: 'USD' },
        { endpoint_id: KLING, unit_price: 0.14, unit: 'seconds', currency: 'USD' },
        { endpoint_id: HAILUO, unit_price: 0.28, unit: 'videos', currency: 'USD' },
      ],
      next_cursor: null,
      has_more: false,
    });
  });

  test('need a key, an id, at most 50 of them, and known ones', async () => {
    const ask = (query, options) => call('GET', `/v1/models/pricing${query}`, options);
    assertError(await ask(`?endpoint_id=${VIDEO}`, { key: null }), 401, 'authorization_error', /header format/);
    assertError(await ask(`?endpoint_id=${VIDEO}`, { key: 'no:body' }), 401, 'authorization_error', /No user/);
    assert.equal((await ask(`?endpoint_id=${VIDEO}`, { key: ADMIN })).status, 200);
    assertError(await ask(''), 400, 'validation_error', /endpoint_id is required/);
    assertError(await ask(`?endpoint_id=${VIDEO},fal-ai/none`), 404, 'not_found', /fal-ai\/none/);
    await ctl('price', { endpoint: '*', unit: 'videos', unit_price: 1 });
    const many = (n) => `?endpoint_id=${Array.from({ length: n }, (_, i) => `fal-ai/m${i}`).join(',')}`;
    assert.equal((await ask(many(50))).json.prices.length, 50);
    assertError(await ask(many(51)), 400, 'validation_error', /at most 50/);
    assertError(await call('GET', `/v1/models/billing-events${many(51)}`, { key: ADMIN }), 400, 'validation_error', /at most 50/);
  });

  // [endpoint, input, what fal's page says it costs, units at the base price]
  const cases = [
    [VIDEO, {}, '0.5', '1'],
    [HAILUO, {}, '0.28', '1'],
    [HAILUO, { duration: '6' }, '0.28', '1'],
    [HAILUO, { duration: '10' }, '0.56', '2'],
    ['fal-ai/minimax/hailuo-2.3/pro/text-to-video', { duration: '10' }, '0.49', '1'],
    [KLING, { duration: '5', generate_audio: false }, '0.56', '4'],
    [KLING, { duration: '10', generate_audio: true }, '1.68', '12'],
    [KLING, {}, '0.84', '6'], // sound is on unless it is turned off
    [VEO, { duration: '8s', generate_audio: false }, '1.6', '8'],
    [VEO, { duration: '4s' }, '1.6', '8'],
    [VEO, { resolution: '4k' }, '4.8', '24'],
    [VEO, { resolution: '4k', generate_audio: false }, '3.2', '16'],
    [LTX, {}, '0.2002', '5.005'],
    [LTX, { resolution: '2160p' }, '0.8008', '20.02'],
  ];
  for (const [endpoint, input, dollars, units] of cases) {
    test(`${endpoint} ${JSON.stringify(input)}: $${dollars}`, async () => {
      assert.equal((await render(endpoint, input)).units, units);
      const { total_nano_usd: total, events: [event] } = await bill();
      assert.deepEqual([asText(BigInt(total)), event.output_units], [dollars, units]);
    });
  }

  test('of seconds of the film as made', async () => {
    await ctl('rule', { behaviour: { media: { duration_ms: 3008 } } });
    await ctl('price', { endpoint: 'fal-ai/any', unit: 'seconds', unit_price: 0.03, quantity: 'delivered' });
    assert.equal((await render('fal-ai/any', { duration: 3 })).units, '3.008');
    assert.equal((await bill()).total_nano_usd, 90240000);
  });

  test('of a file of the test, by its movie header', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'fal-billing-'));
    t.after(() => rm(folder, { recursive: true }));
    const header = Buffer.alloc(108);
    header.write('\0\0\0\x6cmvhd', 'latin1');
    header.writeUInt32BE(600, 20);
    header.writeUInt32BE(4500, 24);
    await writeFile(join(folder, 'film.mp4'), header);
    await ctl('default', { media: { file: join(folder, 'film.mp4') } });
    assert.equal((await render(LTX)).units, '7.5');
  });

  test('tiers: the one that names most, then the last; thirds are made whole again', async () => {
    await ctl('price', {
      endpoint: 'fal-ai/any', unit: 'seconds', unit_price: '0.03', quantity: { input: 'options.length', default: '2.5' },
      tiers: [{ applies: { a: 1 }, unit_price: '0.1' }, { applies: { a: 1, b: { c: 2 } }, unit_price: '0.2', quantity: 1 }, { applies: { b: {} }, unit_price: '0.3' }],
    });
    const price = async (input) => {
      await render('fal-ai/any', input);
      return asText(BigInt((await bill()).events.at(-1).total_nano_usd));
    };
    assert.equal(await price({}), '0.075');
    assert.equal(await price({ options: { length: '4s' } }), '0.12');
    assert.equal(await price({ a: 1, options: { length: 7 } }), '0.7');
    assert.equal(await price({ a: 1, b: { c: 2 } }), '0.2');
    assert.equal(await price({ a: 1, b: {} }), '0.75');
    assert.equal(await price({ options: { length: [9] } }), '0.075');
  });

  test('the one in force when it is made counts; several are set at once or none', async () => {
    await ctl('default', { hold: 'run' });
    const job = await submit();
    await running(job);
    await ctl('price', { prices: [{ endpoint: VIDEO, unit: 'videos', unit_price: '0.000000001' }, { endpoint: 'fal-ai/x', unit: 'units', unit_price: 2 }] });
    await ctl(`job/${job.request_id}`, { action: 'finish' });
    assert.equal((await bill()).total_nano_usd, 1);
    for (const [wrong, message] of [[{ endpoint: 'fal-ai/x' }, /unit of/], [{ endpoint: 'fal-ai/x', unit: 'units' }, /unit_price of/], [{ endpoint: 'x', unit: 'u', unit_prise: 1 }, /unknown field/],
      [{ endpoint: 'x', unit: 'u', unit_price: -1 }, /negative/], [{ endpoint: 'x', unit: 'u', unit_price: 0, tiers: [{ applies: { a: 1 }, unit_price: 1 }] }, /cost nothing/],
      [{ endpoint: 'x', unit: 'u', unit_price: 1, tiers: [{ applies: 1 }] }, /applies/], [{ endpoint: 'x', unit: 'u', unit_price: 1, quantity: { default: 1 } }, /no input/]]) {
      const { status, json } = await control('price', { prices: [{ endpoint: 'fal-ai/x', unit: 'units', unit_price: 3 }, wrong] });
      assert.equal(status, 400);
      assert.match(json.error, message);
    }
    assert.equal((await control('price')).json['fal-ai/x'].unit_price, 2);
    await ctl('price', { endpoint: 'fal-ai/x', unit_price: null });
    assert.equal((await call('GET', '/v1/models/pricing?endpoint_id=fal-ai/x')).status, 404);
  });

  test('an endpoint without one is free, and one unit', async () => {
    assert.equal((await render('fal-ai/none')).units, '1');
    const { total_nano_usd: total, by_endpoint: byEndpoint } = await bill();
    assert.deepEqual([total, byEndpoint], [0, { 'fal-ai/none': { events: 1, output_units: '1', total_nano_usd: 0 } }]);
  });
});

// ---------------------------------------------------------------- what is billed

describe('what is billed', () => {
  test('an output, whether anybody asks about it or not', async () => {
    const job = await submit();
    await until('an event', async () => (await bill()).events.length > 0);
    const [event] = (await bill()).events;
    assert.deepEqual([event.request_id, event.total_nano_usd, event.foreign], [job.request_id, 500000000, false]);
    const shown = (await control(`job/${job.request_id}`)).json;
    assert.deepEqual([shown.billed, shown.billable_units, shown.cost_nano_usd], [true, '1', 500000000]);
  });

  test('no failure of the server, and no 422 unless it is said', async () => {
    await ctl('rule', { prompt: 'server', behaviour: { outcome: 'infra' } });
    await ctl('rule', { prompt: 'charged', behaviour: { outcome: 'policy', billing: { failed_units: '0.4' } } });
    await ctl('rule', { prompt: 'whole', behaviour: { outcome: 'validation', billing: { failed_units: 'full' } } });
    const seen = {};
    for (const prompt of ['server', 'forbidden-policy-word', '', 'charged', 'whole']) seen[prompt] = (await render(HAILUO, { prompt: prompt || null, duration: '10' })).units;
    assert.deepEqual(seen, { server: null, 'forbidden-policy-word': '0', '': '0', charged: '0.4', whole: '2' });
    assert.deepEqual((await bill()).events.map(({ total_nano_usd: total }) => total), [112000000, 560000000]);
  });

  test('a cancel while it is rendered, in full or as it is said; none in the queue', async () => {
    await ctl('default', { hold: 'queue' });
    const queued = await submit();
    await ctl('default', { hold: 'run' });
    const jobs = [await submit()];
    for (const units of [0, '0.5']) {
      await ctl('default', { billing: { cancelled_units: units } });
      jobs.push(await submit());
    }
    await Promise.all(jobs.map(running));
    for (const job of [queued, ...jobs]) {
      assert.equal((await call('PUT', new URL(job.cancel_url).pathname)).status, 202);
      await done(job);
    }
    assert.deepEqual((await bill()).events.map(({ request_id: id, output_units: units }) => [id, units]), [[jobs[0].request_id, '1'], [jobs[2].request_id, '0.5']]);
    assert.deepEqual(await Promise.all([queued, ...jobs].map(async ({ request_id: id }) => (await control(`job/${id}`)).json.billed)), [false, true, false, true]);
  });

  test('other units than asked for, and a header that is missing or says something else', async () => {
    await ctl('rule', { times: 1, behaviour: { billing: { units: '3.008' } } });
    await ctl('rule', { times: 1, behaviour: { billing: { header: false } } });
    await ctl('rule', { times: 1, behaviour: { billing: { header: 'many' } } });
    assert.deepEqual([(await render()).units, (await render()).units, (await render()).units], ['3.008', null, 'many']);
    assert.deepEqual((await bill()).events.map(({ output_units: units }) => units), ['3.008', '1', '1']);
    for (const wrong of [{ units: 'full' }, { failed_units: -1 }, { cancelled_units: null }, { unit: 1 }]) {
      assert.equal((await control('rule', { behaviour: { billing: wrong } })).status, 400, JSON.stringify(wrong));
    }
  });

  test('sums are exact: a thousand of a tenth, with a discount that has thirds', async () => {
    await ctl('account', { discount: '33.333333333' });
    for (let n = 0; n < 1000; n += 1) await ctl('bill', { endpoint: VIDEO, units: '0.2' });
    const { total_nano_usd: total, by_endpoint: { [VIDEO]: all } } = await bill();
    assert.deepEqual([total, all], [66666667000, { events: 1000, output_units: '200', total_nano_usd: 66666667000 }]);
    const { summary: [item] } = await read('models/usage', { expand: 'summary' });
    assert.deepEqual([item.quantity, item.cost_subtotal, item.cost_discount, item.cost_total], [200, 100, 33.333333, 66.666667]);
  });
});

// ---------------------------------------------------------------- events

describe('billing events', () => {
  test('have the fields of fal.ai, numbers that are exact, newest first', async () => {
    await ctl('default', { media: { duration_ms: 3008 } });
    const { id: older } = await render(LTX);
    await ctl('account', { discount: 10 });
    const { id: newer } = await render(KLING, { duration: '7' });
    const [first, second] = await events();
    assert.match(first.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(first, {
      request_id: newer, endpoint_id: KLING, timestamp: first.timestamp, output_units: 8.4, unit_price: 0.14, percent_discount: 10,
      cost_subtotal: 1.176, cost_discount: 0.1176, cost_total: 1.0584, cost_estimate_nano_usd: 1058400000,
    });
    assert.deepEqual(second, {
      request_id: older, endpoint_id: LTX, timestamp: second.timestamp, output_units: 3.008, unit_price: 0.04, percent_discount: null,
      cost_subtotal: 0.12032, cost_discount: 0, cost_total: 0.12032, cost_estimate_nano_usd: 120320000,
    });
    assert.equal((await events({ expand: 'auth_method' }))[0].auth_method, 'Production Key');
  });

  test('are for admins', async () => {
    for (const path of ['models/billing-events', 'models/usage', 'account/billing']) {
      assertError(await call('GET', `/v1/${path}`), 403, 'authorization_error', /ADMIN/);
      assertError(await call('GET', `/v1/${path}`, { key: 'no:body' }), 401, 'authorization_error', /No user/);
      assertError(await call('GET', `/v1/${path}`, { key: null }), 401, 'authorization_error', /header format/);
      const answer = await call('POST', `/v1/${path}`, { key: ADMIN });
      assert.deepEqual([answer.status, answer.headers.get('allow')], [405, 'GET']);
    }
    await submit(VIDEO, {}, { key: ADMIN });
    await ctl('default', { keys: [], admin_keys: [] });
    assert.equal((await call('GET', '/v1/models/usage', { key: 'any:key' })).status, 200, 'where there is no key, any is');
  });

  test('are chosen by time, endpoint and request', async () => {
    const from = Date.UTC(2026, 10, 1);
    const made = await foreign(VIDEO, 1, [0, 1, 2], from);
    await foreign(HAILUO, 1, [3], from);
    const at = (minute) => new Date(from + minute * 60000).toISOString();
    const found = async (parameters) => (await events({ start: '2026-11-01', end: '2026-11-02', ...parameters })).map(({ timestamp }) => (Date.parse(timestamp) - from) / 60000);
    assert.deepEqual(await found({}), [3, 2, 1, 0]);
    assert.deepEqual(await found({ start: at(1), end: at(3) }), [2, 1], 'the end is not in it');
    assert.deepEqual(await found({ start: '2026-11-01T00:01:00', end: '2026-11-01T04:02:00+04:00' }), [1]);
    assert.deepEqual(await found({ endpoint_id: HAILUO }), [3]);
    assert.deepEqual(await found({ endpoint_id: [HAILUO, VIDEO] }), [3, 2, 1, 0]);
    assert.deepEqual(await found({ request_id: `${made[0].request_id},${made[2].request_id}` }), [2, 0]);
    assert.deepEqual(await found({ request_id: made[0].request_id, endpoint_id: HAILUO }), []);
    assert.deepEqual(await events(), [], 'a day, if nothing is said');
    const ask = (query) => call('GET', `/v1/models/billing-events?${query}`, { key: ADMIN });
    assertError(await ask('start=2026-08-01&end=2026-11-01'), 400, 'validation_error', /90 days/);
    assert.equal((await ask('start=2026-08-03&end=2026-11-01')).status, 200);
    assertError(await ask('start=2026-11-02&end=2026-11-01'), 400, 'validation_error', /before/);
    for (const wrong of ['start=yesterday', 'end=2026-13-01', 'limit=0', 'limit=10001', 'limit=x', 'cursor=x', 'expand=everything']) {
      assertError(await ask(wrong), 400, 'validation_error', new RegExp(wrong.split('=')[0]));
    }
  });

  test('come in pages, which new ones do not shift', async () => {
    const from = Date.now() - HOUR_MS;
    const made = await foreign(VIDEO, 1, [0, 1, 1, 1, 2, 3, 4], from);
    const ids = [];
    let cursor;
    for (let page = 0; page < 4; page += 1) {
      const answer = await read('models/billing-events', { limit: 2, ...(cursor && { cursor }) });
      ids.push(...answer.billing_events.map(({ request_id: id }) => id));
      assert.deepEqual([answer.has_more, answer.next_cursor === null], [page < 3, page === 3]);
      cursor = answer.next_cursor;
      await foreign(VIDEO, 1, [10 + page], from);
    }
    assert.deepEqual(ids, made.map(({ request_id: id }) => id).reverse());
    assert.equal((await events()).length, 11);
    await ctl('account', { max_page: 3 });
    const short = await read('models/billing-events', { limit: 10000 });
    assert.deepEqual([short.billing_events.length, short.has_more], [3, true]);
  });

  test('appear some time after the output, the bill has them at once', async () => {
    await ctl('account', { event_delay_ms: HOUR_MS, balance: 10 });
    const { id } = await render();
    await ctl('bill', { endpoint: VIDEO, delay_ms: 0, request_id: 'early' });
    assert.deepEqual((await events()).map((event) => event.request_id), ['early']);
    assert.equal((await read('models/usage', { expand: 'summary' })).summary[0].quantity, 1);
    const whole = await bill();
    assert.deepEqual([whole.total_nano_usd, whole.balance_nano_usd], [1000000000, 9000000000]);
    assert.deepEqual(whole.events.map(({ visible }) => visible), [false, true]);
    await ctl('account', { event_delay_ms: 0 });
    assert.deepEqual((await events()).map((event) => event.request_id).sort(), [id, 'early'].sort());
    await ctl('default', { billing: { delay_ms: HOUR_MS } });
    await render();
    assert.equal((await events()).length, 2, 'or of one job only');
  });

  test('tell the time by the clock of fal.ai', async () => {
    await ctl('default', { clock_ms: -48 * HOUR_MS });
    await render();
    const [{ timestamp }] = await events();
    assert.ok(Date.parse(timestamp) < Date.now() - 47 * HOUR_MS);
    await ctl('default', { clock_ms: 0 });
    assert.deepEqual(await events(), []);
  });

  test('fail on demand', async () => {
    await ctl('fault', { on: 'billing_events', fault: { kind: 'http', status: 429, body: { error: { type: 'rate_limited', message: 'slow down' } } } });
    assertError(await call('GET', '/v1/models/billing-events', { key: ADMIN }), 429, 'rate_limited', /slow/);
    assert.deepEqual(await events(), []);
    const { requests } = (await control('ledger')).json;
    assert.deepEqual([requests.billing_events, requests.submit], [2, 0]);
  });
});

// ---------------------------------------------------------------- payloads

describe('payloads', () => {
  async function erase(id, { key = ADMIN, token } = {}) {
    const headers = { authorization: `Key ${key}`, ...(token && { 'idempotency-key': token }) };
    const answer = await fetch(`${emulator.url}/v1/models/requests/${id}/payloads`, { method: 'DELETE', headers });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, text, json: JSON.parse(text) };
  }

  test('go with their files, for an admin, once', async () => {
    const { id } = await render();
    assertError(await erase(id, { key: KEY }), 403, 'authorization_error', /ADMIN/);
    const { status, json } = await erase(id, { token: 'a' });
    assert.equal(status, 200);
    assert.equal(json.cdn_delete_results.length, 1);
    const [{ link, exception }] = json.cdn_delete_results;
    assert.equal(exception, null);
    assert.equal((await fetch(link)).status, 404);
    assert.deepEqual((await erase(id, { token: 'a' })).json, json, 'the same token has the same answer');
    assertError(await erase(id, { token: 'b' }), 404, 'not_found', /not found/);
    assertError(await erase('none'), 404, 'not_found', /not found/);
    assert.equal((await call('GET', `/v1/models/requests/${id}/payloads`, { key: ADMIN })).status, 405);
  });
});

// ---------------------------------------------------------------- usage

describe('usage', () => {
  const item = (endpoint, quantity, cost, unitPrice = cost / quantity, unit = 'videos') => ({
    endpoint_id: endpoint, unit, quantity, unit_price: unitPrice, percent_discount: null, cost_subtotal: cost, cost_discount: 0, cost_total: cost, cost, currency: 'USD',
  });

  test('adds up by time and endpoint, in order', async () => {
    const from = Date.UTC(2026, 10, 29, 10);
    await foreign(VIDEO, 1, [5.5, 5.9, 7], from);
    await foreign(HAILUO, 2, [5.2, 65], from);
    const range = { start: '2026-11-29T10:00:00Z', end: '2026-11-29T12:00:00Z' };
    assert.deepEqual(await read('models/usage', range), {
      time_series: [
        { bucket: '2026-11-29T10:05:00Z', results: [item(VIDEO, 2, 1), item(HAILUO, 2, 0.56)] },
        { bucket: '2026-11-29T10:07:00Z', results: [item(VIDEO, 1, 0.5)] },
        { bucket: '2026-11-29T11:05:00Z', results: [item(HAILUO, 2, 0.56)] },
      ],
      next_cursor: null,
      has_more: false,
    });
    const both = await read('models/usage', { ...range, timeframe: 'hour', expand: ['time_series', 'summary'], endpoint_id: VIDEO });
    assert.deepEqual(both.time_series, [{ bucket: '2026-11-29T10:00:00Z', results: [item(VIDEO, 3, 1.5)] }]);
    assert.deepEqual(both.summary, [item(VIDEO, 3, 1.5)]);
    const first = await read('models/usage', { ...range, limit: 2 });
    assert.deepEqual([first.time_series.length, first.has_more], [2, true]);
    const rest = await read('models/usage', { ...range, limit: 2, cursor: first.next_cursor });
    assert.deepEqual([rest.time_series.map(({ bucket }) => bucket), rest.has_more], [['2026-11-29T11:05:00Z'], false]);
  });

  for (const [timeframe, timezone, buckets] of [
    ['day', 'UTC', ['2026-10-25T00:00:00Z', '2026-10-26T00:00:00Z']],
    ['day', 'Europe/Berlin', ['2026-10-25T00:00:00+02:00', '2026-10-26T00:00:00+01:00']],
    ['day', 'America/New_York', ['2026-10-24T00:00:00-04:00', '2026-10-25T00:00:00-04:00']],
    ['hour', 'Asia/Kolkata', ['2026-10-25T04:00:00+05:30', '2026-10-26T05:00:00+05:30']],
    ['week', 'UTC', ['2026-10-19T00:00:00Z', '2026-10-26T00:00:00Z']],
    ['month', 'Asia/Tokyo', ['2026-10-01T00:00:00+09:00']],
  ]) {
    test(`by ${timeframe} in ${timezone}`, async () => {
      for (const timestamp of ['2026-10-24T23:00:00Z', '2026-10-26T00:00:00Z']) await ctl('bill', { endpoint: VIDEO, timestamp });
      if (timezone === 'UTC' && timeframe === 'day') await ctl('bill', { endpoint: VIDEO, timestamp: '2026-10-25T23:59:59.999Z' });
      const { time_series: series } = await read('models/usage', { start: '2026-10-24T12:00:00Z', end: '2026-10-26T12:00:00Z', timeframe, timezone });
      const found = series.map(({ bucket }) => bucket);
      assert.deepEqual(timezone === 'UTC' && timeframe === 'day' ? found.slice(1) : found, buckets);
    });
  }

  test('is widened to whole buckets, unless told otherwise', async () => {
    for (const timestamp of ['2026-11-03T01:00:00Z', '2026-11-03T12:00:00Z', '2026-11-03T23:00:00Z']) await ctl('bill', { endpoint: VIDEO, timestamp });
    const range = { start: '2026-11-03T11:00:00Z', end: '2026-11-03T13:00:00Z', timeframe: 'day', expand: 'summary' };
    assert.equal((await read('models/usage', range)).summary[0].quantity, 3);
    assert.equal((await read('models/usage', { ...range, bound_to_timeframe: false })).summary[0].quantity, 1);
  });

  test('keeps prices, discounts and keys apart', async () => {
    const ours = await render();
    assert.ok(ours.id);
    await ctl('bill', { endpoint: VIDEO });
    await ctl('account', { discount: 50 });
    await ctl('bill', { endpoint: VIDEO });
    await ctl('price', { endpoint: VIDEO, unit: 'videos', unit_price: '0.6' });
    await ctl('bill', { endpoint: VIDEO });
    const { summary } = await read('models/usage', { expand: 'summary,auth_method' });
    assert.deepEqual(summary.map((line) => [line.auth_method, line.unit_price, line.percent_discount, line.cost]), [
      ['Production Key', 0.5, null, 0.5], ['Other Key', 0.5, null, 0.5], ['Other Key', 0.5, 50, 0.25], ['Other Key', 0.6, 50, 0.3]]);
    assert.deepEqual((await read('models/usage', { expand: 'summary' })).summary.map(({ quantity }) => quantity), [2, 1, 1]);
    for (const wrong of ['expand=auth_method', 'timezone=Mars/Base', 'timeframe=year', 'start=x']) {
      assertError(await call('GET', `/v1/models/usage?${wrong}`, { key: ADMIN }), 400, 'validation_error', new RegExp(wrong.split('=')[0]));
    }
  });
});

// ---------------------------------------------------------------- balance

describe('balance', () => {
  test('is shown when asked for, and is used up', async () => {
    assert.deepEqual(await read('account/billing'), { username: 'vibevideo' });
    assert.deepEqual((await read('account/billing', { expand: 'credits' })).credits, { current_balance: 1000, currency: 'USD' });
    await ctl('account', { balance: '24.5', username: 'someone' });
    await render();
    assert.deepEqual(await read('account/billing', { expand: 'credits' }), { username: 'someone', credits: { current_balance: 24, currency: 'USD' } });
  });

  test('locks the account when it has run out, until it is topped up', async () => {
    await ctl('account', { balance: '0.6' });
    await ctl('default', { hold: 'queue' });
    const jobs = [await submit(), await submit()];
    for (const { request_id: id } of jobs) await ctl(`job/${id}`, { action: 'finish' });
    assert.equal((await read('account/billing', { expand: 'credits' })).credits.current_balance, -0.4, 'what runs is rendered and billed');
    const refused = await call('POST', `/${VIDEO}`, { body: { prompt: 'x' } });
    assert.deepEqual([refused.status, refused.json], [403, LOCKED]);
    assert.equal((await resultOf(jobs[0])).status, 200, 'and may be fetched');
    assert.equal((await control('ledger')).json.accepted, 2);
    await ctl('account', { top_up: 10 });
    await submit();
    assert.equal((await control('account')).json.balance, 9.6);
    await ctl('account', { balance: null });
    assert.equal((await control('account')).json.balance, null);
  });

  test('the command line sets it, reset gives it back', async (t) => {
    const other = await startEmulator('--balance', '0.5', '--default', '{"queue_ms": 1, "run_ms": 1}');
    t.after(() => other.stop());
    const { origin } = new URL(other.url);
    await ctl('bill', { endpoint: VIDEO }, origin);
    assert.equal((await call('POST', `/${VIDEO}`, { body: {}, origin })).status, 403);
    await ctl('reset', {}, origin);
    assert.equal((await call('POST', `/${VIDEO}`, { body: {}, origin })).status, 200);
  });

  test('misspelt settings are refused', async () => {
    for (const [path, body] of [['account', { ballance: 1 }], ['account', { balance: 'x' }], ['bill', { units: 1 }], ['bill', { endpoint: VIDEO, timestamp: 'x' }],
      ['bill', { endpoint: VIDEO, unit: 1 }], ['delist', { endpoint: VIDEO, as: 'gone' }], ['delist', { endpoint: VIDEO, az: 'bare' }], ['model', { endpoint: VIDEO, nam: 1 }], ['model', {}]]) {
      assert.equal((await control(path, body)).status, 400, JSON.stringify([path, body]));
    }
    assert.deepEqual((await bill()).events, []);
  });
});

// ---------------------------------------------------------------- models

describe('models', () => {
  test('are found by id, words, category and status, in pages, without a key', async () => {
    const { json } = await call('GET', `/v1/models?endpoint_id=${VIDEO},fal-ai/none`, { key: null });
    assert.deepEqual([json.models.map(({ endpoint_id: id }) => id), json.next_cursor, json.has_more], [[VIDEO], null, false]);
    const [{ metadata, openapi }] = json.models;
    assert.deepEqual([metadata.display_name, metadata.category, metadata.status, metadata.tags, openapi], ['MiniMax Video 01', 'text-to-video', 'active', [], undefined]);
    assert.equal((await call('GET', '/v1/models', { key: 'no:body' })).status, 401);
    const kling = await read('models', { q: 'KLING', category: 'image-to-video', status: 'active' });
    assert.deepEqual(kling.models.map(({ endpoint_id: id }) => id), ['fal-ai/kling-video/v2.5-turbo/pro/image-to-video', 'fal-ai/kling-video/v3/pro/image-to-video']);
    const ids = [];
    for (let cursor = null, more = true; more;) {
      const page = await read('models', { limit: 5, ...(cursor && { cursor }) });
      ids.push(...page.models.map(({ endpoint_id: id }) => id));
      ({ next_cursor: cursor, has_more: more } = page);
    }
    assert.deepEqual(ids, [...new Set(ids)].sort());
    assert.ok(ids.length > 15 && ids.includes(VEO));
  });

  test('have an input schema', async () => {
    const { models: [{ openapi }] } = await read('models', { endpoint_id: HAILUO, expand: 'openapi-3.0' });
    const { $ref: reference } = openapi.paths[`/${HAILUO}`].post.requestBody.content['application/json'].schema;
    const schema = openapi.components.schemas[reference.split('/').at(-1)];
    assert.match(reference, /Input$/);
    assert.deepEqual([schema.required, schema.properties.duration.enum, schema.properties.prompt.maxLength], [['prompt'], ['6', '10'], 2000]);
    const { models } = await read('models', { expand: 'openapi-3.0' });
    for (const model of models) {
      const inputs = Object.keys(model.openapi.components.schemas).filter((name) => name.endsWith('Input'));
      assert.equal(inputs.length, 1, model.endpoint_id);
      const { properties } = model.openapi.components.schemas[inputs[0]];
      const dangling = [...JSON.stringify(model.openapi).matchAll(/#\/components\/schemas\/(\w+)/g)].filter(([, name]) => !model.openapi.components.schemas[name]);
      assert.deepEqual([Boolean(properties.prompt), dangling], [true, []]);
    }
  });

  test('come and go', async () => {
    const shown = async (endpoint) => (await read('models', { endpoint_id: endpoint })).models[0];
    const price = async (endpoint) => (await call('GET', `/v1/models/pricing?endpoint_id=${endpoint}`)).status;
    await ctl('delist', { endpoint: VIDEO });
    assert.deepEqual([await shown(VIDEO), await price(VIDEO)], [undefined, 404]);
    await ctl('delist', { endpoint: VIDEO, as: 'bare' });
    assert.deepEqual([await shown(VIDEO), await price(VIDEO)], [{ endpoint_id: VIDEO }, 404]);
    assert.ok((await read('models')).models.every(({ metadata }) => metadata));
    await ctl('delist', { endpoint: VIDEO, as: 'deprecated' });
    assert.deepEqual([(await shown(VIDEO)).metadata.status, await price(VIDEO)], ['deprecated', 200]);
    assert.deepEqual((await read('models', { status: 'deprecated' })).models.map(({ endpoint_id: id }) => id), [VIDEO]);
    await ctl('delist', { endpoint: VIDEO, as: null });
    assert.equal((await shown(VIDEO)).metadata.status, 'active');
    await ctl('model', { endpoint: 'bytedance/seedance-2.0', name: 'Seedance', properties: { prompt: { type: 'string' }, seed: { type: 'integer' } }, required: [] });
    const { models: [{ openapi }] } = await read('models', { endpoint_id: 'bytedance/seedance-2.0', expand: 'openapi-3.0' });
    assert.deepEqual(openapi.components.schemas.BytedanceSeedance20Input['x-fal-order-properties'], ['prompt', 'seed']);
    await ctl('price', { endpoint: 'workflows/me/flow', unit: 'compute seconds', unit_price: '0.00111' });
    assert.equal((await shown('workflows/me/flow')).metadata.display_name, 'workflows/me/flow');
    await ctl('reset');
    assert.equal(await shown('workflows/me/flow'), undefined);
  });
});
