// The worker after 200,000 requests, half of them submits, half polls; and
// what it holds open while a request hangs.
import { scaled } from '../lib/config.mjs';
import { addRows, memory, sleep, until, withDatabase, workerPid } from '../lib/postgres.mjs';
import { ours as backlog } from './queue.mjs';

export const about = 'the worker after 200,000 requests, and during a hanging one';

const ROUNDS = 20;

async function requests(report, world) {
  const count = scaled(10000, 500);
  const settings = { 'vibevideo.fal_queue_url': world.nginx.url, 'vibevideo.poll_interval': '1h' };
  await withDatabase('soak', settings, async (session) => {
    const sizes = [];
    let good = 0;
    for (let n = 0; n < ROUNDS; n += 2) {
      good += (await backlog(session, count)).good;
      await session.query("UPDATE vibevideo.job SET next_at = now() - interval '1 min'; SELECT vibevideo.wake()");
      await until(session, "SELECT NOT EXISTS (SELECT FROM vibevideo.job WHERE state IN ('queued', 'generating') AND next_at < now())");
      await until(session, 'SELECT NOT EXISTS (SELECT FROM vibevideo.job WHERE leased_by IS NOT NULL)');
      good += Number(await session.value("SELECT count(*) FROM vibevideo.job WHERE state = 'generating'"));
      sizes.push(memory(await workerPid(session)));
    }
    // by the most of each half: from round to round it goes up and down, as plans and caches are made anew
    const most = (some) => Math.max(...some.map((s) => s.anonymous)) / 1024;
    const first = most(sizes.slice(0, sizes.length / 2));
    const second = most(sizes.slice(sizes.length / 2));
    const half = ((count * ROUNDS) / 2).toLocaleString('en-US');
    report.row({
      what: `the worker's private memory, the most of the second ${half} requests against that of the first ${half}`,
      ours: `${second.toFixed(1)} MiB, ${((100 * good) / count / ROUNDS).toFixed(2)} % good`, peer: `${first.toFixed(1)} MiB`,
      ratio: `${second >= first ? '+' : ''}${(second - first).toFixed(2)} MiB`, target: 'flat (≤ 1 MiB)', met: second - first <= 1,
    });
    report.note(`The worker's private memory, each ${(2 * count).toLocaleString('en-US')} requests: ${sizes.map((s) => (s.anonymous / 1024).toFixed(1)).join(', ')} MiB.`);
  });
}

async function hanging(report, world) {
  const time = scaled(60000, 5000);
  await world.fal.control('POST', '/default', { submit_ms: time, hold: 'queue' });
  const settings = { 'vibevideo.fal_queue_url': world.fal.url, 'vibevideo.poll_interval': '1h', 'vibevideo.submit_timeout': '120s' };
  await withDatabase('hanging', settings, async (session) => {
    await addRows(session, 1, 1);
    await session.query('SELECT vibevideo_submit_batch(ARRAY[1::bigint])');
    const pid = await workerPid(session);
    await until(session, "SELECT EXISTS (SELECT FROM vibevideo.job WHERE state = 'submitting')");
    let samples = 0;
    let held = 0;
    const end = Date.now() + time - 1000;
    await sleep(200);
    while (Date.now() < end) {
      const seen = await session.value(`SELECT (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR xact_start IS NOT NULL)::int,
        (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid AND l.locktype <> 'virtualxid')
        FROM pg_stat_activity a WHERE pid = ${pid}`);
      samples += 1;
      held += seen === '0\t0' ? 0 : 1;
      await sleep(100);
    }
    await until(session, "SELECT state = 'queued' FROM vibevideo.job", { seconds: 30 });
    report.row({
      what: `the worker's transactions, snapshots and locks during a request of ${Math.round(time / 1000)} s, looked at ${samples} times`,
      ours: `held ${held} times`, target: 'none', met: held === 0 && samples > 0,
    });
  });
  await world.fal.control('POST', '/reset');
}

export async function run(report, world) {
  await requests(report, world);
  await hanging(report, world);
}
