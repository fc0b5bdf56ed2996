// What people look at must not care for ten million finished jobs: each answer within
// a tenth of a second, also the first one of a session, which makes its plans.
import { RUNS, scaled } from '../lib/config.mjs';
import { addJobs, addRows, Session, settle, withDatabase } from '../lib/postgres.mjs';
import { seconds } from '../lib/servers.mjs';
import { median, show, times } from '../lib/stats.mjs';

export const about = 'what people look at, beside a long history';

const USERS = 50000;
const DAYS = 23;
const UNFINISHED = { pending: 1200, submitting: 10, submit_unknown: 15, queued: 900, generating: 290, processing: 10 };
const MOST_MS = 100;

/** The whole history, at even times; one in 25 has failed, with one of seven errors, one in 5,000 after its video was made. */
function finished(count) {
  const failed = 'n % 25 = 0';
  const made = `(NOT (${failed}) OR n % 5000 = 0)`;
  const ended = `now() - interval '${DAYS} days' * (1 - n / ${count}.0)`;
  return {
    state: `CASE WHEN ${failed} THEN 'failed' ELSE 'completed' END`, next_at: 'NULL',
    model: "CASE n % 3 WHEN 0 THEN 'fal-ai/minimax/video-01' WHEN 1 THEN 'fal-ai/veo3' ELSE 'fal-ai/kling-video/v2/master/text-to-video' END",
    requested_by: `'user-' || n % ${USERS}`, cost_usd: '0.5', unsettled: 'NULL',
    input: "format('{\"prompt\": \"video %s of a cat that runs after the sun\"}', n)::jsonb",
    error_code: `CASE WHEN ${failed} THEN (ARRAY['content_policy_violation', 'http_422', 'timeout', 'storage_unreachable',
      'unauthorized', 'downstream_service_error', 'http_500'])[n / 25 % 7 + 1] END`,
    error: `CASE WHEN ${failed} THEN 'what the server said about ' || n END`,
    media_url: `CASE WHEN ${made} THEN 'https://v3.fal.media/files/b/' || n || '.mp4' END`,
    video_url: `CASE WHEN NOT (${failed}) THEN 'https://example.invalid/' || n || '.mp4' END`,
    created_at: `${ended} - interval '4 min'`, submitted_at: `${ended} - interval '3 min'`,
    generated_at: `CASE WHEN ${made} THEN ${ended} - interval '5 s' END`, completed_at: ended, updated_at: ended,
  };
}

/** What triggers and worker would have made of it. */
const SUMS = `
  INSERT INTO vibevideo.past_costs (user_id, day, model, submits, videos, settled_usd)
  SELECT j.requested_by, (j.created_at AT TIME ZONE 'UTC')::date, j.model, count(*), count(*) FILTER (WHERE j.billed),
         coalesce(sum(j.cost_usd) FILTER (WHERE j.billed), 0)
  FROM vibevideo.job j WHERE j.unsettled IS NULL GROUP BY 1, 2, 3;
  INSERT INTO vibevideo_internal.rollup_level
    (seconds, at, outcome, model, error_class, orphan, n, wait_ms, render_ms, copy_ms, total_ms, bytes, settled_usd, returned_usd)
  SELECT l.seconds, vibevideo_internal.period(l.seconds, j.completed_at), j.state, j.model,
         coalesce(vibevideo.error_class(j.error_code), ''), j.orphan, count(*), 0, 0, 0, 0, 0, 0, 0
  FROM vibevideo.job j CROSS JOIN (VALUES (60), (300), (3600), (86400)) l(seconds)
  WHERE j.unsettled IS NULL GROUP BY 1, 2, 3, 4, 5, 6`;

async function prepare(session, count) {
  await session.query("SELECT vibevideo.pause('all', 'a benchmark')");
  await session.query('ALTER TABLE vibevideo.job SET (autovacuum_enabled = off)');
  const part = 1000000;
  for (let from = 1; from <= count; from += part) await addJobs(session, from, Math.min(part, count - from + 1), finished(count));
  let next = count + 1;
  for (const [state, n] of Object.entries(UNFINISHED)) {
    await addRows(session, next, n);
    await addJobs(session, next, n, {
      state: `'${state}'`, next_at: "now() + interval '1 h'", requested_by: "'user-' || n % 40", cost_usd: '0.5',
      queue_position: state === 'queued' ? 'n % 1000' : 'NULL', submitted_at: ['pending', 'submitting'].includes(state) ? 'NULL' : 'now()',
      sent_at: state === 'pending' ? 'NULL' : 'now()', generated_at: state === 'processing' ? 'now()' : 'NULL',
    });
    next += n;
  }
  await session.query(SUMS);
  await settle(session);
  await session.query('VACUUM ANALYZE');
}

const list = (filter) => `SELECT (p).bound, cardinality((p).jobs) FROM vibevideo.list_jobs('${filter}') p`;

/** What is asked, and how one would ask the table itself, where one would. */
const QUESTIONS = [
  ['overview()', 'SELECT * FROM vibevideo.overview()', 'SELECT state, count(*) FROM vibevideo.job GROUP BY state'],
  ['inbox()', 'SELECT * FROM vibevideo.inbox()'],
  ['list_jobs, the first 50', list('{}')],
  ['failed ones of the last hour', list('{"state": "failed", "since": "1h"}')],
  ['of an error', list('{"error_code": "timeout"}')],
  ['of a class of errors', list('{"class": "storage"}')],
  ['of a user', list('{"user": "user-4711"}')],
  ['of a row', list('{"key": "4711"}'), "SELECT * FROM vibevideo.job WHERE vibelog_id = '4711'"],
  ['of a request', list('{"request_id": "00001267-0000-4000-8000-000000001267"}')],
  ['paid and not stored', list('{"paid_not_stored": true}')],
  ['with words in the prompt that each has', list('{"prompt": "after the sun"}')],
  ['with words in the prompt that none has', list('{"prompt": "zebra"}'), "SELECT * FROM vibevideo.job WHERE input::text LIKE '%zebra%' LIMIT 50"],
  ['job_detail', 'SELECT * FROM vibevideo.job_detail(4711)'],
  ['why of 50 that wait', "SELECT job_id, waits_for, why FROM vibevideo.jobs WHERE state = 'pending' ORDER BY job_id LIMIT 50"],
  ['error_groups() of a day', 'SELECT * FROM vibevideo.error_groups()',
    "SELECT model, error_code, count(*), min(completed_at), max(completed_at) FROM vibevideo.job WHERE state = 'failed' AND updated_at > now() - interval '1 day' GROUP BY 1, 2"],
  ['of 30 days', "SELECT * FROM vibevideo.error_groups(now() - interval '30 days')"],
  ['users() of 30 days', 'SELECT * FROM vibevideo.users()',
    "SELECT requested_by, count(*), sum(cost_usd) FROM vibevideo.job WHERE billed AND created_at > now() - interval '30 days' GROUP BY 1 ORDER BY 3 DESC LIMIT 50"],
  ['series of a day by 5 minutes', "SELECT * FROM vibevideo.series('failed', now() - interval '1 day', '5 minutes')"],
  ['view now', 'TABLE vibevideo.now'],
  ['view today', 'TABLE vibevideo.today'],
  ['costs of today', "SELECT sum(settled_usd) FROM vibevideo.costs_by_day WHERE day = (now() AT TIME ZONE 'UTC')::date",
    "SELECT sum(cost_usd) FROM vibevideo.job WHERE billed AND (created_at AT TIME ZONE 'UTC')::date = (now() AT TIME ZONE 'UTC')::date"],
  ['costs of the month, the ten users with the most', `SELECT user_id, settled_usd FROM vibevideo.costs_by_month
    WHERE month = date_trunc('month', now() AT TIME ZONE 'UTC')::date ORDER BY 2 DESC LIMIT 10`],
  ['a plan to retry what has failed today', `SELECT * FROM vibevideo.plan('retry', '{"state": "failed", "since": "1d"}', 100)`],
  ['the newest 50 of vibevideo.jobs', 'SELECT * FROM vibevideo.jobs ORDER BY job_id DESC LIMIT 50'],
];

const time = async (session, sql) => 1000 * (await seconds(() => session.query(sql)));

/** The first calls of sessions, and calls of one that has called before. */
async function measure(database, sql) {
  const first = [];
  const later = [];
  for (let n = 0; n < RUNS; n += 1) {
    const session = new Session(database);
    await session.query('SELECT 1');
    first.push(await time(session, sql));
    for (let again = 0; again < 5; again += 1) later.push(await time(session, sql));
    await session.close();
  }
  return { first, later };
}

export async function run(report) {
  const count = scaled(10000000, 20000);
  await withDatabase('look', { 'vibevideo.retention': 0, jit: 'off' }, async (session) => {
    await prepare(session, count);
    report.note(`${count.toLocaleString('en-US')} finished jobs of ${USERS.toLocaleString('en-US')} users in ${DAYS} days, `
      + `${Object.values(UNFINISHED).reduce((a, b) => a + b).toLocaleString('en-US')} unfinished; first: a session's first call`);
    for (const [name, sql, plain] of QUESTIONS) {
      await time(session, sql);
      const { first, later } = await measure('look', sql);
      const peer = plain ? await time(session, plain) : null;
      report.row({
        what: name, ours: `${show(later, 'ms')}, first ${show(first, 'ms')}`, peer: plain ? `${show([peer], 'ms')} (own query)` : '',
        ratio: plain ? times(median(later) / peer) : '', target: `≤ ${MOST_MS} ms`, met: median(first) <= MOST_MS && median(later) <= MOST_MS,
      });
    }
  });
}
