// vibevideo_submit in the call, against the least that libcurl needs and
// against pgsql-http, as one client sees it.
import { FAL_KEY, RUNS, scaled } from '../lib/config.mjs';
import { peers, pgbench, addRows, settle, withDatabase } from '../lib/postgres.mjs';
import { rawPosts } from '../lib/servers.mjs';
import { median, percent, show, times } from '../lib/stats.mjs';

export const about = 'vibevideo_submit: the time of the call';

// Settings, because pgbench takes what follows a colon for one of its variables.
const URL = "current_setting('bench.url')";
const HTTP_POST = `SELECT http_post(${URL}, '{"prompt": "video"}', 'application/json');`;
/** What an app does with it: the request id is kept, so it commits as ours does. */
const HTTP_KEPT = `UPDATE vibelogs SET video_generation_status = 'queued', video_request_id = (
  SELECT content::json->>'request_id' FROM http(('POST', ${URL}, ARRAY[http_header('Authorization', current_setting('bench.auth'))],
    'application/json', '{"prompt": "video"}')::http_request)) WHERE id = (SELECT -nextval('bench_kept'));`;

async function measure(session, from, count, target) {
  const ours = await pgbench(session.database, "SELECT vibevideo_submit(nextval('bench_ids'));", count);
  const good = Number(await session.value(`SELECT count(*) FROM vibevideo.job
    WHERE state = 'queued' AND request_id IS NOT NULL AND vibelog_id::bigint BETWEEN ${from} AND ${from + count - 1}`));
  const raw = await rawPosts(target.submitUrl, count);
  const result = { ours: median(ours), raw: median(raw.ms), good, failed: raw.failed };
  if (peers.http && target.plainHttp) result.http = median(await pgbench(session.database, HTTP_POST, count));
  if (peers.http) result.kept = median(await pgbench(session.database, HTTP_KEPT, count));
  return result;
}

async function against(report, name, target, count) {
  const settings = {
    'vibevideo.fal_queue_url': target.url, 'vibevideo.poll_interval': '1h', 'bench.url': target.submitUrl, 'bench.auth': `Key ${FAL_KEY}`,
  };
  await withDatabase('submit', settings, async (session) => {
    await session.query('CREATE SEQUENCE bench_ids; CREATE SEQUENCE bench_kept');
    await addRows(session, 1, count * RUNS);
    await addRows(session, -count * RUNS, count * RUNS);
    const runs = [];
    for (let run = 0; run < RUNS; run += 1) {
      await settle(session);
      runs.push(await measure(session, 1 + run * count, count, target));
    }
    const of = (key) => runs.map((r) => r[key]);
    const ours = median(of('ours'));
    const success = percent(of('good').reduce((a, b) => a + b), count * RUNS);
    const over = runs.map((r) => r.ours - r.raw);
    report.row({
      what: `\`vibevideo_submit\`, fal answers in ${name}, over raw libcurl keep-alive`,
      ours: `${show(of('ours'), 'ms')}, ${success}`, peer: show(of('raw'), 'ms'),
      ratio: `+${median(over).toFixed(2)} ms`, target: '≤ 1.5 ms over', met: median(over) <= 1.5,
    });
    if (!peers.http) return report.absent(`pgsql-http's \`http_post\`, fal answers in ${name}`, 'PGSQL_HTTP_SRC is not set');
    if (target.plainHttp) {
      report.row({
        what: `\`vibevideo_submit\`, fal answers in ${name}, against pgsql-http's \`http_post\` (keeps nothing)`,
        ours: show(of('ours'), 'ms'), peer: show(of('http'), 'ms'),
        ratio: times(ours / median(of('http'))), target: '≤ 1.0 ×', met: ours <= median(of('http')),
      });
    }
    return report.row({
      what: `the same, against pgsql-http with the answer's id kept in the row, committed`,
      ours: show(of('ours'), 'ms'), peer: show(of('kept'), 'ms'),
      ratio: times(ours / median(of('kept'))), target: '≤ 1.0 ×', met: ours <= median(of('kept')),
    });
  });
}

export async function run(report, world) {
  await against(report, '0 ms', { ...world.nginx, plainHttp: true }, scaled(1000, 20));
  await world.fal.control('POST', '/default', { submit_ms: 150, hold: 'queue' });
  // the emulator wants a key, which http_post cannot send
  await against(report, '150 ms', world.fal, scaled(50, 5));
  await world.fal.control('POST', '/reset');
}
