// From the statement that asks for work until it begins: ours on the wire, at
// a server that notes when it came; graphile-worker's in its task function.
// Both clients are node's pg, both clocks the system's monotonic one.
import { RUNS, WORK, scaled } from '../lib/config.mjs';
import { addRows, sleep, withDatabase } from '../lib/postgres.mjs';
import { median, percent, quantile, show, times } from '../lib/stats.mjs';

export const about = 'enqueue until the request is on the wire';

const GAP_MS = 20;
const now = () => Number(process.hrtime.bigint()) / 1e6;
const jitter = () => sleep(GAP_MS * (0.5 + Math.random()));

async function stamps(world) {
  const text = await (await fetch(`${world.sink.url}/stamps`)).text();
  return new Map(text.trim().split('\n').filter(Boolean).map((line) => {
    const [, n, us] = /^video (\d+) (\d+)$/.exec(line);
    return [Number(n), Number(us) / 1000];
  }));
}

async function ours(world, client, from, count) {
  const asked = [];
  for (let id = from; id < from + count; id += 1) {
    const start = now();
    await client.query('SELECT vibevideo_submit_batch(ARRAY[$1::bigint])', [id]);
    asked.push({ id, start, committed: now() });
    await jitter();
  }
  await sleep(300);
  const seen = await stamps(world);
  const found = asked.filter(({ id }) => seen.has(id));
  return {
    total: found.map(({ id, start }) => seen.get(id) - start),
    afterCommit: found.map(({ id, committed }) => seen.get(id) - committed),
    good: found.length,
  };
}

/** A worker as its README starts one, in this process. */
async function startGraphile(pool) {
  const { run: runWorker, Logger } = await import('graphile-worker');
  const began = new Map();
  const runner = await runWorker({
    pgPool: pool, concurrency: 10, noHandleSignals: true, logger: new Logger(() => () => {}),
    taskList: { start: async ({ n }) => { began.set(n, now()); } },
  });
  return { runner, began };
}

async function theirs({ began }, client, from, count) {
  const asked = [];
  for (let n = from; n < from + count; n += 1) {
    const start = now();
    await client.query("SELECT graphile_worker.add_job('start', json_build_object('n', $1::int))", [n]);
    asked.push({ n, start });
    await jitter();
  }
  await sleep(300);
  const found = asked.filter(({ n }) => began.has(n));
  return { total: found.map(({ n, start }) => began.get(n) - start), good: found.length };
}

export async function run(report, world) {
  if (!world.npm) return report.absent('enqueue until the request is on the wire, against graphile-worker', 'npm could not install it');
  const { default: pg } = await import('pg');
  const count = scaled(300, 20);
  const settings = { 'vibevideo.fal_queue_url': `${world.sink.url}/fal`, 'vibevideo.poll_interval': '1h' };
  return withDatabase('wire', settings, async (session) => {
    const connection = { host: WORK, user: 'postgres', database: 'wire' };
    const client = new pg.Client(connection);
    const pool = new pg.Pool(connection);
    await client.connect();
    const graphile = await startGraphile(pool);
    await addRows(session, 1, count * RUNS + 20);
    await ours(world, client, count * RUNS + 1, 20);
    await theirs(graphile, client, count * RUNS + 1, 20);
    const runs = [];
    for (let n = 0; n < RUNS; n += 1) {
      runs.push({ ours: await ours(world, client, 1 + n * count, count), theirs: await theirs(graphile, client, 1 + n * count, count) });
    }
    await graphile.runner.stop();
    await pool.end();
    await client.end();
    for (const [name, q] of [['p50', 0.5], ['p99', 0.99]]) {
      const mine = runs.map((r) => quantile(r.ours.total, q));
      const their = runs.map((r) => quantile(r.theirs.total, q));
      const success = (of) => percent(runs.reduce((sum, r) => sum + of(r).good, 0), count * RUNS);
      report.row({
        what: `${name} from the enqueueing statement to the POST on the wire, against graphile-worker's add_job to start`,
        ours: `${show(mine, 'ms')}, ${success((r) => r.ours)}`, peer: `${show(their, 'ms')}, ${success((r) => r.theirs)}`,
        ratio: times(median(mine) / median(their)), target: 'lower', met: median(mine) < median(their),
      });
    }
    const after = runs.map((r) => quantile(r.ours.afterCommit, 0.5));
    report.note(`Counted from the moment the enqueueing client has its commit, the POST is on the wire after ${show(after, 'ms')} (p50), `
      + `${show(runs.map((r) => quantile(r.ours.afterCommit, 0.99)), 'ms')} (p99).`);
  });
}
