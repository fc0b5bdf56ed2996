// A poll pass over a hundred due jobs must not care for a million finished ones.
import { RUNS, scaled } from '../lib/config.mjs';
import { addJobs, addRows, settle, withDatabase } from '../lib/postgres.mjs';
import { seconds } from '../lib/servers.mjs';
import { median, show, times } from '../lib/stats.mjs';

export const about = 'poll pass beside a long history';

const DUE = 100;
const PASSES = 20;
const FINISHED = {
  state: "'completed'", next_at: 'NULL', completed_at: 'now()', video_url: "'https://example.invalid/' || n", bytes_done: '1000000', bytes_total: '1000000',
};

async function prepare(session, finished) {
  await session.query('SELECT * FROM vibevideo_poll()');
  if (finished > 0) await addJobs(session, 1, finished, FINISHED);
  await addRows(session, finished + 1, DUE);
  await addJobs(session, finished + 1, DUE, { state: "'generating'", next_at: "now() + interval '1 h'" });
  await settle(session);
}

const MAKE_DUE = "UPDATE vibevideo.job SET next_at = now() - interval '1 min' WHERE state = 'generating'";

/** The median of some passes, in milliseconds. */
async function passes(session) {
  const all = [];
  for (let n = 0; n < PASSES; n += 1) {
    await session.query(MAKE_DUE);
    all.push(1000 * (await seconds(async () => {
      const checked = (await session.value('SELECT * FROM vibevideo_poll()')).split('\t')[0];
      if (Number(checked) !== DUE) throw new Error(`${checked} jobs were checked`);
    })));
  }
  return median(all);
}

/** The plans of the statements that look for work, as they ran. */
async function plans(session) {
  await session.query(MAKE_DUE);
  await session.query(`LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
    SET auto_explain.log_analyze = on; SET auto_explain.log_timing = off; SET auto_explain.log_level = notice`);
  await session.query('SELECT * FROM vibevideo_poll()');
  const wanted = session.notices.split('NOTICE:').filter((plan) => /LockRows/.test(plan) && /Query Text: SELECT j\.job_id/.test(plan));
  await session.query('SET auto_explain.log_min_duration = -1');
  return wanted.map((plan) => plan.replace(/^[\s\S]*?(?=Limit )/, '').trimEnd());
}

export async function run(report, world) {
  const finished = scaled(1000000, 20000);
  const settings = { 'vibevideo.fal_queue_url': world.nginx.url, 'vibevideo.poll_interval': '1h', 'vibevideo.retention': 0 };
  await withDatabase('history_long', settings, (long) => withDatabase('history_none', settings, async (none) => {
    await prepare(long, finished);
    await prepare(none, 0);
    const ours = [];
    const without = [];
    await passes(long);
    await passes(none);
    for (let n = 0; n < RUNS; n += 1) {
      ours.push(await passes(long));
      without.push(await passes(none));
    }
    const ratio = median(ours) / median(without);
    report.row({
      what: `poll pass, ${finished.toLocaleString('en-US')} finished jobs beside ${DUE} due, against an empty history`,
      ours: show(ours, 'ms'), peer: show(without, 'ms'), ratio: times(ratio), target: '≤ 1.2 ×', met: ratio <= 1.2,
    });
    report.plan(`How the pass finds its ${DUE} jobs among ${(finished + DUE).toLocaleString('en-US')}`, (await plans(long))[0] ?? 'not seen');
  }));
}
