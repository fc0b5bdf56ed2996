// A signed webhook until the app's row says "processing": the call, the
// worker's questions to fal, the row.  The emulator signs; a listener here
// stands for PostgREST.
import { createServer } from 'node:http';
import { RUNS, scaled } from '../lib/config.mjs';
import { Session, addRows, until, withDatabase } from '../lib/postgres.mjs';
import { median, percent, show } from '../lib/stats.mjs';

export const about = 'signed webhook until the row is processing';

function listen() {
  const calls = [];
  let wake = () => {};
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    calls.push({ headers: request.headers, body: Buffer.concat(chunks).toString('utf8') });
    response.writeHead(200).end();
    wake();
  });
  const next = async () => {
    while (calls.length === 0) await new Promise((resolve) => { wake = resolve; });
    return calls.shift();
  };
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve({ url: `http://127.0.0.1:${server.address().port}/`, next, close: () => server.close() }));
  });
}

const quote = (text) => `'${text.replaceAll("'", "''")}'`;

/** As PostgREST would: the headers as a setting, the raw body as the argument. */
function deliver(session, { headers, body }) {
  return session.query(`BEGIN; SELECT set_config('request.headers', ${quote(JSON.stringify(headers))}, true);
    SELECT vibevideo_webhook(${quote(body)}::json); COMMIT`);
}

async function one(session, watcher, hook, id) {
  await session.query(`SELECT vibevideo_submit(${id})`);
  const call = await hook.next();
  const start = process.hrtime.bigint();
  try {
    await deliver(session, call);
  } catch {
    await session.query('ROLLBACK');
    return null;
  }
  await until(watcher, `SELECT video_generation_status IN ('processing', 'completed') FROM vibelogs WHERE id = ${id}`, { every: 0, seconds: 10 });
  return Number(process.hrtime.bigint() - start) / 1e6;
}

export async function run(report, world) {
  const count = scaled(50, 5);
  await world.fal.control('POST', '/default', { queue_ms: 0, run_ms: 20, media: { bytes: 20000 } });
  const hook = await listen();
  const settings = {
    'vibevideo.fal_queue_url': world.fal.url, 'vibevideo.fal_api_url': `${world.fal.url}/v1`, 'vibevideo.fal_jwks_url': `${world.fal.url}/.well-known/jwks.json`,
    'vibevideo.webhook_url': hook.url, 'vibevideo.poll_interval': '1h', 'vibevideo.media_hosts': world.fal.url,
    'vibevideo.storage_url': world.sink.url,
  };
  await withDatabase('webhook', settings, async (session) => {
    const watcher = new Session('webhook');
    let id = 1;
    await addRows(session, 1, count * RUNS + 20);
    // the first call is refused: it makes the worker fetch fal's keys
    for (let tries = 0; (await one(session, watcher, hook, id++)) === null; tries += 1) {
      if (tries === 10) throw new Error('webhooks are not accepted');
      await session.query('SELECT pg_sleep(0.3)');
    }
    const runs = [];
    for (let run_ = 0; run_ < RUNS; run_ += 1) {
      const all = [];
      for (let n = 0; n < count; n += 1) all.push(await one(session, watcher, hook, id++));
      runs.push(all);
    }
    const medians = runs.map((all) => median(all.filter((ms) => ms !== null)));
    const good = runs.flat().filter((ms) => ms !== null).length;
    report.row({
      what: 'signed webhook until the row is `processing` (status and result asked of the emulator in between)',
      ours: `${show(medians, 'ms')}, ${percent(good, count * RUNS)}`, target: '≤ 50 ms median', met: median(medians) <= 50,
    });
    await watcher.close();
  });
  hook.close();
  await world.fal.control('POST', '/reset');
}
