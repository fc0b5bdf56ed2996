// The same backlog with one request in a hundred taking five seconds: what
// does that do to the others?  Both are timed until 98 % are accepted.
import { RUNS, scaled } from '../lib/config.mjs';
import { until, withDatabase } from '../lib/postgres.mjs';
import { median, percent, show, times } from '../lib/stats.mjs';
import { ours } from './queue.mjs';

export const about = 'queued submits while 1 % of them take 5 s';

async function backlog(session, url, count) {
  const enough = Math.floor(count * 0.98);
  await session.query(`ALTER SYSTEM SET vibevideo.fal_queue_url = '${url}'; SELECT pg_reload_conf()`);
  await session.query('SELECT pg_sleep(0.3)');
  const result = await ours(session, count, `SELECT count(*) >= ${enough} FROM vibevideo.job WHERE state = 'queued'`, 20);
  await until(session, "SELECT count(*) = 0 FROM vibevideo.job WHERE state IN ('pending', 'submitting')", { every: 100 });
  const good = Number(await session.value("SELECT count(DISTINCT request_id) FROM vibevideo.job WHERE state = 'queued'"));
  return { rate: enough / result.seconds, good };
}

async function measure(report, world) {
  const count = scaled(10000, 300);
  const settings = { 'vibevideo.poll_interval': '1h', 'vibevideo.submit_timeout': '60s' };
  await withDatabase('slow', settings, async (session) => {
    const plain = [];
    const mixed = [];
    for (let n = 0; n < RUNS; n += 1) {
      plain.push(await backlog(session, world.nginx.url, count));
      mixed.push(await backlog(session, world.nginx.mixedUrl, count));
    }
    const rate = (runs) => runs.map((r) => r.rate);
    const success = (runs) => percent(runs.reduce((sum, r) => sum + r.good, 0), count * RUNS);
    report.row({
      what: `the same with 1 % of the requests taking 5 s, against itself without (until 98 % are accepted)`,
      ours: `${show(rate(mixed), '/s')}, ${success(mixed)}`, peer: `${show(rate(plain), '/s')}, ${success(plain)}`,
      ratio: times(median(rate(mixed)) / median(rate(plain))), target: '≥ 0.9 ×', met: median(rate(mixed)) >= 0.9 * median(rate(plain)),
    });
  });
}

export async function run(report, world) {
  await world.fal.control('POST', '/default', { submit_ms: 5000, hold: 'queue' });
  await measure(report, world);
  await withDatabase('slow', {}, (session) => session.query('ALTER SYSTEM RESET vibevideo.fal_queue_url; SELECT pg_reload_conf()'));
  await world.fal.control('POST', '/reset');
}
