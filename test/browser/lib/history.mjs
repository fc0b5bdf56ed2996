// Thirty days of jobs that have ended, and what triggers and worker would have made of
// them: costs, counts and the backlog. Inserted as a restore does it, past the triggers.

import { literal } from './sql.mjs'

const AS_A_RESTORE = `SET session_replication_role = replica;
  SELECT pg_replication_origin_create('seed') WHERE NOT EXISTS (SELECT FROM pg_replication_origin WHERE roname = 'seed');
  SELECT pg_replication_origin_session_setup('seed')`
const AS_USUAL = 'SELECT pg_replication_origin_session_reset(); SET session_replication_role = DEFAULT'

const USERS = 400

/** Of n: at even times, more at day than at night; one in 23 has failed, one in 50 was cancelled. */
const JOBS = (count, film) => `
  INSERT INTO vibevideo.job (relation, vibelog_id, requested_by, model, input, request_id, state, next_at, row_dirty, row_bears, unsettled, cost_usd,
    error_code, error, media_url, video_url, object_key, bytes_done, bytes_total, duration_ms, created_at, sent_at, submitted_at, generated_at,
      completed_at, updated_at)
  SELECT 'public.vibelogs'::regclass, gen_random_uuid(), 'user-' || (n * n) % ${USERS}, x.model,
    jsonb_build_object('prompt', format('video %s of a cat that runs after the sun', n)), gen_random_uuid(), x.state, NULL, false, NULL, NULL,
    CASE x.model WHEN 'fal-ai/minimax/video-01' THEN 0.5 WHEN 'fal-ai/veo3' THEN 0.75 ELSE 1.4 END,
    CASE WHEN x.state = 'failed' THEN x.error_code END, CASE WHEN x.state = 'failed' THEN 'what was said about ' || n END,
    CASE WHEN x.state = 'completed' THEN 'https://v3.fal.media/files/b/' || n || '.mp4' END,
    CASE WHEN x.state = 'completed' THEN ${literal(film)} END,
    CASE WHEN x.state = 'completed' THEN n || '.mp4' END, x.bytes, x.bytes, CASE WHEN x.state = 'completed' THEN 6000 END,
    x.ended - x.waited - x.rendered - x.copied, x.ended - x.rendered - x.copied - interval '0.4 s', x.ended - x.rendered - x.copied,
    CASE WHEN x.state = 'completed' THEN x.ended - x.copied END, x.ended, x.ended
  FROM generate_series(1, ${count}::bigint) n CROSS JOIN LATERAL (SELECT
    now() - interval '2 hours' - interval '29 days' * power((n * 7919 % ${count})::float8 / ${count}, 1.1) - interval '20 minutes' * sin(n) AS ended,
    CASE WHEN n % 23 = 0 THEN 'failed' WHEN n % 50 = 0 THEN 'cancelled' ELSE 'completed' END AS state,
    (ARRAY['fal-ai/minimax/video-01', 'fal-ai/minimax/video-01', 'fal-ai/veo3', 'fal-ai/kling-video/v2/master/text-to-video'])[n % 4 + 1] AS model,
    (ARRAY['content_policy_violation', 'value_error', 'timeout', 'upload_failed', 'http_402', 'downstream_service_error',
      'http_500'])[n / 23 % 7 + 1] AS error_code,
    interval '1 second' * (1 + n % 37) AS waited, interval '1 second' * (60 + (n * 31) % 140) AS rendered, interval '1 second' * (2 + n % 9) AS copied,
    CASE WHEN n % 23 <> 0 AND n % 50 <> 0 THEN 2000000 + n % 900000 END AS bytes) x`

const OF_HISTORY = "j.unsettled IS NULL AND j.completed_at < now() - interval '1 hour'"

const COSTS = `
  INSERT INTO vibevideo.past_costs (user_id, day, model, submits, videos, settled_usd)
  SELECT j.requested_by, (j.created_at AT TIME ZONE 'UTC')::date, j.model, count(*), count(*) FILTER (WHERE j.billed),
    coalesce(sum(j.cost_usd) FILTER (WHERE j.billed), 0)
  FROM vibevideo.job j WHERE ${OF_HISTORY} GROUP BY 1, 2, 3`

const ms = (from, to) => `(extract(epoch FROM ${to} - ${from}) * 1000)::bigint`
const TALLIES = `
  INSERT INTO vibevideo_internal.tally (at, outcome, orphan, model, error_code, ms, total_ms, bytes, usd)
  SELECT s.at, s.outcome, false, j.model, s.error_code, s.ms, s.total_ms, s.bytes, s.usd
  FROM vibevideo.job j CROSS JOIN LATERAL (VALUES
    (j.created_at, 'submitted', NULL, NULL::bigint, NULL::bigint, NULL::bigint, NULL::numeric),
    (j.submitted_at, 'accepted', NULL, ${ms('j.created_at', 'j.submitted_at')}, NULL, NULL, NULL),
    (j.generated_at, 'rendered', NULL, ${ms('j.submitted_at', 'j.generated_at')}, NULL, NULL, j.cost_usd),
    (j.completed_at, j.state, j.error_code, CASE WHEN j.state = 'completed' THEN ${ms('j.generated_at', 'j.completed_at')} END,
      CASE WHEN j.state = 'completed' THEN ${ms('j.created_at', 'j.completed_at')} END, j.bytes_done, CASE WHEN j.state <> 'completed' THEN j.cost_usd END))
    AS s(at, outcome, error_code, ms, total_ms, bytes, usd)
  WHERE ${OF_HISTORY} AND s.at IS NOT NULL`

/** The most of each period: hours for thirty days, minutes for one. */
const BACKLOG = `
  INSERT INTO vibevideo.backlog (seconds, at, pending, submitting, submit_unknown, queued, generating, processing, idle)
  SELECT l.seconds, g.at, (8 + 7 * sin(extract(epoch FROM g.at) / 13000))::int, 1, (extract(epoch FROM g.at)::bigint / 3600 % 29 = 0)::int,
    (20 + 15 * sin(extract(epoch FROM g.at) / 27000))::int, 10, (2 + 2 * sin(extract(epoch FROM g.at) / 5000))::int, false
  FROM (VALUES (60, interval '1 day'), (300, interval '4 days'), (3600, interval '30 days'), (86400, interval '30 days')) AS l(seconds, length)
  CROSS JOIN LATERAL generate_series(vibevideo_internal.period(l.seconds, now() - l.length), now() - l.seconds * interval '1 second',
    l.seconds * interval '1 second') AS g(at)
  ON CONFLICT DO NOTHING`

/** film: the address that all of them have. */
export async function addHistory(world, count, film) {
  if (count === 0) return
  const { db } = world
  await db.run(AS_A_RESTORE)
  await db.run(JOBS(count, film))
  await db.run(AS_USUAL)
  await db.run(COSTS)
  await db.run(TALLIES)
  while (Number(await db.value('SELECT vibevideo_internal.fold_tallies(100000)')) > 0);
  await db.run(BACKLOG)
  await db.run('SELECT vibevideo_internal.refresh_typical()')
  await db.run('ANALYZE vibevideo.job')
}
