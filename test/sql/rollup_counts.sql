-- What is counted as jobs begin and end: vibevideo_internal.tally, rollup, typical, backlog
-- and series, without network or worker
\pset format unaligned
\pset null -
SET timezone = 'UTC';
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (id int PRIMARY KEY, prompt text);
INSERT INTO vibelogs SELECT i, 'a cat' FROM generate_series(1, 1000) i;
-- no worker may ever find it unpaused: it would fold and look, too
BEGIN;
SELECT vibevideo.attach('vibelogs');
SELECT vibevideo.pause('all');
COMMIT;

-- all that was counted, whatever is folded by now
CREATE VIEW counted AS
SELECT r.outcome, r.model, r.error_class AS class, r.orphan, sum(r.n) AS n, sum(r.wait_ms) AS wait, sum(r.render_ms) AS render,
	   sum(r.copy_ms) AS copy, sum(r.total_ms) AS total, sum(r.bytes) AS bytes, trim_scale(sum(r.settled_usd)) AS settled,
	   trim_scale(sum(r.returned_usd)) AS returned
FROM vibevideo.rollup r WHERE r.seconds = 0
GROUP BY r.outcome, r.model, r.error_class, r.orphan
ORDER BY array_position(ARRAY['submitted', 'accepted', 'rendered', 'completed', 'failed', 'cancelled'], r.outcome), r.model, r.error_class, r.orphan;
CREATE FUNCTION forget() RETURNS void LANGUAGE sql BEGIN ATOMIC
	DELETE FROM vibevideo.job;
	DELETE FROM vibevideo_internal.tally;
	DELETE FROM vibevideo_internal.rollup_level;
END;

-------------------------------------------------------------------------------
-- The steps of a job, each in a transaction of its own
-------------------------------------------------------------------------------
SELECT count(*) FROM vibevideo_submit_batch(ARRAY(SELECT generate_series(1, 8)));
SELECT status FROM vibevideo_cancel(8);
-- what moves nothing is no step
UPDATE vibevideo.job SET tries = tries + 1, error = 'later' WHERE state = 'pending';
UPDATE vibevideo.job SET state = 'submitting' WHERE state = 'pending';
UPDATE vibevideo.job SET state = 'failed', error_code = 'forbidden', next_at = NULL, completed_at = now() WHERE vibelog_id = '7';
UPDATE vibevideo.job SET state = 'queued', request_id = 'r' || vibelog_id, submitted_at = created_at + interval '3 s' WHERE state = 'submitting';
UPDATE vibevideo.job SET state = 'generating' WHERE state = 'queued';
UPDATE vibevideo.job SET state = 'failed', error_code = 'content_policy_violation', next_at = NULL, completed_at = now() WHERE vibelog_id = '6';
UPDATE vibevideo.job SET state = 'cancelled', next_at = NULL, completed_at = now() WHERE vibelog_id = '5';
UPDATE vibevideo.job SET state = 'processing', media_url = 'https://fal.media/v', generated_at = submitted_at + interval '100 s' WHERE state = 'generating';
UPDATE vibevideo.job SET state = 'completed', bytes_done = 1000, next_at = NULL, completed_at = generated_at + interval '7 s' WHERE vibelog_id IN ('1', '2');
UPDATE vibevideo.job SET state = 'failed', error_code = 'NoSuchBucket', next_at = NULL, completed_at = now() WHERE vibelog_id IN ('3', '4');
SELECT * FROM counted;
-- a video that was made is copied again: that ends twice, and costs nothing; it may fail once more
SELECT status FROM vibevideo_retry(3);
SELECT vibevideo.redrive('NoSuchBucket');
UPDATE vibevideo.job SET state = 'completed', bytes_done = 500, next_at = NULL, completed_at = generated_at + interval '1 s' WHERE vibelog_id = '3';
UPDATE vibevideo.job SET state = 'failed', error_code = 'stalled', next_at = NULL, completed_at = now() WHERE vibelog_id = '4';
SELECT outcome, class, n, copy, bytes, settled, returned FROM counted WHERE outcome IN ('rendered', 'completed', 'failed');
-- what is deleted was there
CREATE TABLE before AS SELECT * FROM counted;
DELETE FROM vibevideo.job WHERE vibelog_id::int < 5;
SELECT vibevideo_internal.fold_tallies(7), vibevideo_internal.fold_tallies(1000), vibevideo_internal.fold_tallies(1000);
DELETE FROM vibevideo.job;
(TABLE before EXCEPT TABLE counted) UNION ALL (TABLE counted EXCEPT TABLE before);
SELECT count(*) FROM vibevideo_internal.tally;
SELECT sum(settled_usd) = (SELECT sum(c.settled_usd) FROM vibevideo.costs c) AS as_in_costs FROM vibevideo.rollup WHERE seconds = 86400;

-- with storage_kind none the video is made and there at once, and not copied
SELECT forget();
SELECT count(*) FROM vibevideo_submit_batch('{1}');
UPDATE vibevideo.job SET state = 'queued', request_id = 'r1', submitted_at = created_at;
UPDATE vibevideo.job SET state = 'completed', media_url = 'https://fal.media/v', video_url = 'https://fal.media/v', bytes_total = 1000,
	generated_at = created_at + interval '60 s', next_at = NULL, completed_at = created_at + interval '60 s';
SELECT outcome, n, render, copy, total, bytes, settled FROM counted;

-- a lost submit that is found was accepted, one that was not sent is sent once more, one that is given up never was
SELECT forget();
SELECT count(*) FROM vibevideo_submit_batch('{1, 2, 3}');
UPDATE vibevideo.job SET state = 'submitting', sent_at = created_at;
UPDATE vibevideo.job SET state = 'submit_unknown';
SELECT status FROM vibevideo.job j, vibevideo.resolve(j.job_id, '019e161b-386c-7d33-8106-f2de1a3ff595') WHERE j.vibelog_id = '1';
SELECT status FROM vibevideo.job j, vibevideo.resolve(j.job_id, 'not_sent') WHERE j.vibelog_id = '2';
SELECT r.attempt FROM vibevideo.job j, vibevideo.retry(j.job_id) r WHERE j.vibelog_id = '3';
SELECT outcome, class, n, wait, returned FROM counted;

-- an attempt that starts by itself, over a limit, ends as it begins
SELECT forget();
INSERT INTO vibevideo.limit (scope, max_active) VALUES ('global', 0);
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, renders) VALUES ('vibelogs', 1, 'pending', 'acme/model', '{}', 2);
SELECT * FROM counted;
-- one that is refused, or rolled back, has not begun
SELECT count(*) FROM vibevideo_submit_batch('{2}');
DELETE FROM vibevideo.limit WHERE true;
BEGIN;
SELECT count(*) FROM vibevideo_submit_batch('{2}');
SELECT outcome, model, n FROM counted;
ROLLBACK;
SELECT outcome, model, n FROM counted;

-- an orphan that was made after all costs, and is the row's when it is copied
SELECT forget();
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, orphan, created_at, submitted_at, request_id)
SELECT 'vibelogs', '1', 'queued', 'fal-ai/minimax/video-01', '{"prompt": "a cat"}', true, now() - interval '1 min', now() - interval '1 min', 'r1';
UPDATE vibevideo.job SET state = 'failed', error_code = 'orphaned', media_url = 'https://fal.media/v', generated_at = submitted_at + interval '30 s',
	next_at = NULL, completed_at = now();
SELECT status FROM vibevideo.job j, vibevideo.retry(j.job_id);
UPDATE vibevideo.job SET state = 'completed', bytes_done = 10, next_at = NULL, generated_at = created_at, completed_at = created_at;
SELECT outcome, class, orphan, n, render, settled, returned FROM counted;

-- a job that a dump brings back has been counted where it was made, and one that was made as finished is counted here
SELECT forget();
INSERT INTO vibevideo.job (vibelog_id, state, model, input, created_at, completed_at, next_at, media_url)
VALUES ('1', 'completed', 'acme/model', '{}', now() - interval '1 day', now(), NULL, 'https://fal.media/v');
SELECT * FROM counted;
INSERT INTO vibevideo.job (vibelog_id, state, model, input, completed_at, next_at) VALUES ('2', 'cancelled', 'acme/model', '{}', now(), NULL);
SELECT outcome, model, n FROM counted;

-- and so has what replication brings
SELECT forget();
SELECT count(*) FROM vibevideo_submit_batch('{1, 2}');
SELECT pg_replication_origin_create('elsewhere') > 0 AS made;
SELECT pg_replication_origin_session_setup('elsewhere');
SET session_replication_role = replica;
UPDATE vibevideo.job SET state = 'failed', error_code = 'timeout', next_at = NULL, completed_at = now() WHERE vibelog_id = '1';
INSERT INTO vibevideo.job (vibelog_id, state, model, input) VALUES ('3', 'pending', 'acme/model', '{}');
SELECT pg_replication_origin_session_reset();
SET session_replication_role = DEFAULT;
UPDATE vibevideo.job SET state = 'failed', error_code = 'timeout', next_at = NULL, completed_at = now() WHERE vibelog_id = '2';
SELECT outcome, class, n FROM counted;
SELECT pg_replication_origin_drop('elsewhere');

-------------------------------------------------------------------------------
-- Histograms
-------------------------------------------------------------------------------
SELECT vibevideo.histogram_bounds();
-- a bound belongs to its bucket
SELECT vibevideo_internal.histogram(ms) FROM unnest('{0, 1000, 1001, 2000, 7200000, 7200001, 9000000000, NULL}'::bigint[]) ms;
SELECT vibevideo_internal.histogram(ms) FROM unnest('{NULL}'::bigint[]) ms;
SELECT array_agg(vibevideo_internal.histogram_note(NULL, b * 1000) = array_cat(array_fill(0::bigint, ARRAY[n::int - 1]), array_cat('{1}'::bigint[], array_fill(0::bigint, ARRAY[24 - n::int]))))
FROM unnest(vibevideo.histogram_bounds()) WITH ORDINALITY AS u(b, n);
SELECT vibevideo.histogram_sum(h) FROM (SELECT vibevideo_internal.histogram_note(NULL, ms) AS h FROM generate_series(0, 10000, 500) ms UNION ALL SELECT NULL) x;
-- neither the one nor the other is changed
WITH x AS MATERIALIZED (SELECT vibevideo_internal.histogram_note(NULL, 1) AS a, vibevideo_internal.histogram_note(NULL, 5000) AS b)
SELECT vibevideo_internal.histogram_add(a, b), vibevideo_internal.histogram_note(a, 1), vibevideo_internal.histogram_add(a, NULL) = a AS same, a, b FROM x;
SELECT p, vibevideo.percentile(h, p) FROM (SELECT vibevideo_internal.histogram(ms) AS h FROM generate_series(2010, 3000, 10) ms) x, unnest('{0, 0.01, 0.5, 0.95, 1}'::float8[]) p;
SELECT p, vibevideo.percentile(h, p) FROM (SELECT vibevideo_internal.histogram(ms) AS h FROM unnest('{500, 500, 250000, 9000000}'::int[]) ms) x, unnest('{0, 0.25, 0.5, 0.6, 0.75, 0.76, 1}'::float8[]) p;
SELECT vibevideo.percentile(NULL, 0.5), vibevideo.percentile(array_fill(0::bigint, ARRAY[24]), 0.5);
SELECT vibevideo.percentile('{1, 2}', 0.5);
SELECT vibevideo.percentile(vibevideo_internal.histogram_note(NULL, 1), 'NaN');
SELECT vibevideo_internal.histogram_add('{}', vibevideo_internal.histogram_note(NULL, 1));
SELECT vibevideo_internal.histogram_note(array_fill(NULL::bigint, ARRAY[24]), 1);

-------------------------------------------------------------------------------
-- Levels: each has everything, folded or not, thinned or not
-------------------------------------------------------------------------------
SELECT forget();
SELECT setseed(0.5);
INSERT INTO vibevideo_internal.tally (at, outcome, orphan, model, error_code, ms, total_ms, bytes, usd)
SELECT now() - random() ^ 3 * interval '500 days', o.outcome, random() < 0.1, 'acme/' || ceil(random() * 4),
	   CASE o.outcome WHEN 'failed' THEN (ARRAY['content_policy_violation', 'image_too_small', 'NoSuchBucket', 'job_timeout', 'what'])[ceil(random() * 5)] END,
	   CASE WHEN o.outcome IN ('accepted', 'rendered', 'completed') AND random() < 0.9 THEN (random() ^ 4 * 10000000)::bigint END,
	   CASE o.outcome WHEN 'completed' THEN (random() ^ 4 * 10000000)::bigint END,
	   CASE o.outcome WHEN 'completed' THEN (random() * 1e9)::bigint END,
	   CASE WHEN o.outcome IN ('rendered', 'failed', 'cancelled') AND random() < 0.9 THEN (random() * 5)::numeric(10, 4) END
FROM generate_series(1, 1200) i, LATERAL (SELECT (ARRAY['submitted', 'accepted', 'rendered', 'completed', 'failed', 'cancelled'])[1 + i % 6] AS outcome) o;
CREATE TABLE noted AS TABLE vibevideo_internal.tally;
-- what the sums of a level should be, by their tallies, since a time
CREATE FUNCTION should_be(since timestamptz) RETURNS jsonb LANGUAGE sql BEGIN ATOMIC
	SELECT jsonb_object_agg(concat_ws(' ', outcome, model, class, orphan), to_jsonb(x) - '{outcome,model,class,orphan}'::text[]) FROM (
		SELECT t.outcome, t.model, coalesce(vibevideo.error_class(t.error_code), '') AS class, t.orphan, count(*) AS n,
			   coalesce(sum(t.ms) FILTER (WHERE t.outcome = 'accepted'), 0) AS wait_ms,
			   coalesce(sum(t.ms) FILTER (WHERE t.outcome = 'rendered'), 0) AS render_ms,
			   coalesce(sum(t.ms) FILTER (WHERE t.outcome = 'completed'), 0) AS copy_ms,
			   coalesce(sum(t.total_ms), 0) AS total_ms, coalesce(sum(t.bytes), 0) AS bytes,
			   coalesce(sum(t.usd) FILTER (WHERE t.outcome = 'rendered'), 0) AS settled_usd,
			   coalesce(sum(t.usd) FILTER (WHERE t.outcome <> 'rendered'), 0) AS returned_usd,
			   (SELECT array_agg((SELECT count(*) FROM noted u
								  WHERE u.outcome = t.outcome AND u.model = t.model AND u.orphan = t.orphan AND u.at >= since
									AND coalesce(vibevideo.error_class(u.error_code), '') = coalesce(vibevideo.error_class(max(t.error_code)), '')
									AND u.ms <= 1000::bigint * b.upper AND u.ms > 1000::bigint * b.lower) ORDER BY b.lower)
				FROM (SELECT lag(x.upper, 1, -1) OVER (ORDER BY x.upper) AS lower, x.upper
					  FROM unnest(vibevideo.histogram_bounds() || 1000000000) AS x(upper)) b
				WHERE t.outcome IN ('accepted', 'rendered', 'completed') AND count(t.ms) > 0) AS buckets
		FROM noted t WHERE t.at >= since GROUP BY 1, 2, 3, 4) x;
END;
CREATE FUNCTION is_so(level int, since timestamptz) RETURNS jsonb LANGUAGE sql BEGIN ATOMIC
	SELECT jsonb_object_agg(concat_ws(' ', outcome, model, class, orphan), to_jsonb(x) - '{outcome,model,class,orphan}'::text[]) FROM (
		SELECT r.outcome, r.model, r.error_class AS class, r.orphan, sum(r.n) AS n, sum(r.wait_ms) AS wait_ms, sum(r.render_ms) AS render_ms,
			   sum(r.copy_ms) AS copy_ms, sum(r.total_ms) AS total_ms, sum(r.bytes) AS bytes, sum(r.settled_usd) AS settled_usd,
			   sum(r.returned_usd) AS returned_usd,
			   vibevideo.histogram_sum(CASE r.outcome WHEN 'accepted' THEN r.wait WHEN 'rendered' THEN r.render ELSE r.copy END) AS buckets
		FROM vibevideo.rollup r WHERE r.seconds = level AND r.at >= since GROUP BY 1, 2, 3, 4) x;
END;
CREATE FUNCTION check_levels(kept interval) RETURNS TABLE (seconds int, groups bigint, as_it_should_be boolean) LANGUAGE sql
	BEGIN ATOMIC
		SELECT l.seconds, count(k.*), is_so(l.seconds, s.since) = should_be(s.since)
		FROM (VALUES (0, NULL), (60, interval '13 days'), (300, interval '13 days'), (3600, kept), (86400, kept)) AS l(seconds, kept)
		-- whole days, so that no period is cut
		CROSS JOIN LATERAL (SELECT CASE WHEN l.kept IS NULL THEN '-infinity' ELSE vibevideo_internal.period(86400, now() - l.kept) END AS since) s
		CROSS JOIN LATERAL jsonb_object_keys(is_so(l.seconds, s.since)) k
		GROUP BY l.seconds, s.since ORDER BY l.seconds;
	END;
SELECT * FROM check_levels('500 days');
SELECT vibevideo_internal.fold_tallies(700);
SELECT seconds, as_it_should_be FROM check_levels('500 days');
SELECT vibevideo_internal.fold_tallies(700);
SELECT count(*) FROM vibevideo_internal.tally;
SELECT seconds, as_it_should_be FROM check_levels('500 days');
-- each reads the periods that it is for, and no others
CREATE FUNCTION reads(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before constant jsonb = (SELECT jsonb_object_agg(t.relname, t.seq_tup_read + coalesce(t.idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables t WHERE t.schemaname IN ('vibevideo', 'vibevideo_internal'));
BEGIN
	EXECUTE query;
	RETURN (SELECT string_agg(t.relname, ' ' ORDER BY t.relname COLLATE "C") FROM pg_stat_xact_user_tables t
			WHERE t.schemaname IN ('vibevideo', 'vibevideo_internal') AND t.relname LIKE 'rollup%' AND t.seq_tup_read + coalesce(t.idx_tup_fetch, 0) > coalesce((before -> t.relname)::bigint, 0));
END
$$;
SELECT reads($$SELECT vibevideo.series('completed', now() - interval '400 days', '1 day')$$) AS days,
	   reads($$SELECT vibevideo.series('render_p95', now() - interval '40 days', '6 hours')$$) AS hours,
	   reads($$SELECT vibevideo.series('errors', now() - interval '3 days', '15 minutes')$$) AS minutes,
	   reads($$SELECT vibevideo.series('spend_usd', now() - interval '1 day', '1 minute')$$) AS minute,
	   reads($$SELECT vibevideo_internal.refresh_typical()$$) AS typical, reads($$SELECT sum(n) FROM vibevideo.rollup WHERE seconds = 0$$) AS ever;
-- old minutes go, then, beyond rollup_retention, old hours and days; all time stays
CREATE FUNCTION oldest() RETURNS TABLE (seconds int, days double precision) LANGUAGE sql BEGIN ATOMIC
	SELECT r.seconds, ceil(extract(epoch FROM now() - min(r.at)) / 86400) FROM vibevideo_internal.rollup_level r WHERE r.seconds > 0 GROUP BY 1 ORDER BY 1;
END;
SELECT vibevideo_internal.thin_rollup(100) <= 400 AS bounded;
SELECT seconds, as_it_should_be FROM check_levels('399 days');
DO $$ BEGIN WHILE vibevideo_internal.thin_rollup(1000) > 0 LOOP END LOOP; END $$;
SELECT seconds, days BETWEEN CASE WHEN seconds < 3600 THEN 10 ELSE 380 END AND CASE WHEN seconds < 3600 THEN 15 ELSE 401 END AS kept FROM oldest();
SELECT seconds, as_it_should_be FROM check_levels('398 days');
SET vibevideo.rollup_retention = '30d';
DO $$ BEGIN WHILE vibevideo_internal.thin_rollup(1000) > 0 LOOP END LOOP; END $$;
SELECT seconds, days <= 32 AS kept FROM oldest();
SELECT seconds, as_it_should_be FROM check_levels('28 days');
SET vibevideo.rollup_retention = 0;
SELECT vibevideo_internal.thin_rollup(1000);
RESET vibevideo.rollup_retention;

-------------------------------------------------------------------------------
-- What is typical
-------------------------------------------------------------------------------
SELECT forget();
INSERT INTO vibevideo_internal.tally (at, outcome, orphan, model, ms, total_ms)
SELECT now() - interval '1 day', o.outcome, false, m.model, o.ms * m.factor, CASE o.outcome WHEN 'completed' THEN 100000 * m.factor END
FROM (VALUES ('acme/slow', 10), ('acme/fast', 1)) AS m(model, factor),
	 (VALUES ('accepted', 1500), ('rendered', 61000), ('rendered', 100000), ('completed', 4000)) AS o(outcome, ms), generate_series(1, 10);
-- too old, and nobody's
INSERT INTO vibevideo_internal.tally (at, outcome, orphan, model, ms) VALUES (now() - interval '15 days', 'rendered', false, 'acme/gone', 1000),
	(now(), 'rendered', true, 'acme/fast', 1000000);
SELECT vibevideo_internal.refresh_typical();
SELECT model, n, wait_p50, wait_p90, render_p50, render_p90, copy_p50, total_p50, total_p90, updated_at = now() AS now FROM vibevideo.typical ORDER BY 1;
DELETE FROM vibevideo_internal.tally WHERE model = 'acme/slow';
INSERT INTO vibevideo_internal.tally (outcome, orphan, model, ms) VALUES ('accepted', false, 'acme/new', 500);
SELECT vibevideo_internal.fold_tallies(1000) > 0 AS folded, vibevideo_internal.refresh_typical();
SELECT model, n, wait_p50, render_p50, copy_p50, total_p90 FROM vibevideo.typical ORDER BY 1;

-------------------------------------------------------------------------------
-- The backlog
-------------------------------------------------------------------------------
SELECT forget();
SELECT vibevideo_internal.sample_backlog();
SELECT count(*) FROM vibevideo.backlog;
INSERT INTO vibevideo.job (vibelog_id, state, model, input, orphan)
SELECT i, s.state, 'acme/model', '{}', i = 1
FROM (VALUES ('pending', 1), ('submitting', 2), ('submit_unknown', 3), ('queued', 4), ('generating', 5), ('processing', 6), ('failed', 7)) AS s(state, n),
	 generate_series(1, s.n) i;
SELECT vibevideo_internal.sample_backlog();
SELECT DISTINCT pending, submitting, submit_unknown, queued, generating, processing, idle FROM vibevideo.backlog;
-- by the indexes of unfinished jobs
SELECT pg_stat_force_next_flush();
BEGIN;
SELECT vibevideo_internal.sample_backlog();
SELECT seq_scan, idx_scan > 0 AS by_index FROM pg_stat_xact_user_tables WHERE schemaname IN ('vibevideo', 'vibevideo_internal') AND relname = 'job';
COMMIT;
-- the most that was seen; the end of it is seen once
UPDATE vibevideo.job SET state = 'cancelled', next_at = NULL WHERE state IN ('queued', 'generating');
SELECT vibevideo_internal.sample_backlog();
DELETE FROM vibevideo.job;
SELECT vibevideo_internal.sample_backlog();
SELECT max(generating), bool_or(idle) FROM vibevideo.backlog WHERE seconds = 86400;
CREATE TABLE samples AS TABLE vibevideo.backlog;
SELECT vibevideo_internal.sample_backlog();
SELECT count(*) FROM (TABLE vibevideo.backlog EXCEPT TABLE samples) x;

-------------------------------------------------------------------------------
-- Series
-------------------------------------------------------------------------------
SELECT forget();
DELETE FROM vibevideo.backlog;
-- the middle of an hour, three hours ago, and a day before
CREATE FUNCTION t(back interval DEFAULT '0') RETURNS timestamptz LANGUAGE sql STABLE
	RETURN date_trunc('hour', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '3 hours' + interval '30 minutes' - back;
INSERT INTO vibevideo_internal.tally (at, outcome, orphan, model, error_code, ms, total_ms, usd)
SELECT t() + i * interval '1 second', o.outcome, false, 'acme/' || i % 2, o.code, o.ms, o.ms, o.usd
FROM (VALUES ('submitted', NULL, NULL::bigint, NULL::numeric), ('accepted', NULL, 2500, NULL), ('rendered', NULL, 50000, 0.25), ('completed', NULL, 4000, NULL),
			 ('failed', 'timeout', NULL, 0.5), ('failed', 'NoSuchBucket', NULL, NULL), ('cancelled', NULL, NULL, 0.5)) AS o(outcome, code, ms, usd),
	 generate_series(1, 30) i;
INSERT INTO vibevideo_internal.tally (at, outcome, orphan, model, error_code, ms, usd)
VALUES (t('1 day'), 'submitted', false, 'acme/1', NULL, NULL, NULL), (t(), 'failed', true, 'acme/1', 'orphaned', NULL, NULL),
	   (t(), 'rendered', true, 'acme/1', NULL, 1000000, 2);
CREATE FUNCTION shown(metric text, step interval, back interval DEFAULT '30 min') RETURNS TABLE (steps bigint, label text, shown text) LANGUAGE sql
	BEGIN ATOMIC
		SELECT count(*), s.label, string_agg(coalesce(s.value::text, '-'), ' ' ORDER BY s.at) FILTER (WHERE s.at <= t() + interval '30 min')
		FROM vibevideo.series(metric, t(back), step) s GROUP BY s.label ORDER BY s.label COLLATE "C";
	END;
SELECT m.metric, s.label, s.shown FROM unnest(ARRAY['submitted', 'completed', 'failed', 'cancelled', 'spend_usd', 'wait_p50', 'wait_p95', 'render_p50', 'render_p95',
	'copy_p50', 'copy_p95', 'total_p50', 'total_p95', 'errors']) WITH ORDINALITY AS m(metric, n), shown(m.metric, '1 hour') s ORDER BY m.n, s.label COLLATE "C";
-- folded it is the same, with other steps as well
CREATE TABLE unfolded AS SELECT m, step, s.label, s.shown FROM unnest(ARRAY['submitted', 'errors', 'render_p95', 'spend_usd']) m,
	unnest('{1 min, 5 min, 2 hours, 1 day}'::interval[]) step, shown(m, step, '1 day') s;
SELECT vibevideo_internal.fold_tallies(1000) > 0 AS folded;
SELECT count(*) FROM (SELECT m, step, s.label, s.shown FROM unnest(ARRAY['submitted', 'errors', 'render_p95', 'spend_usd']) m,
	unnest('{1 min, 5 min, 2 hours, 1 day}'::interval[]) step, shown(m, step, '1 day') s EXCEPT TABLE unfolded) x;
-- nothing is lost or added by the length of a step
SELECT step, sum(s.value) FROM unnest('{1 min, 3 min, 5 min, 20 min, 1 hour, 2 hours, 1 day, 3 days}'::interval[]) step, vibevideo.series('submitted', t('26 hours'), step) s
GROUP BY step ORDER BY step;
SELECT count(*) = count(DISTINCT at) AND bool_and(at = date_trunc('day', at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') AS whole_days,
	   count(*) BETWEEN 32 AND 33 AS a_month
FROM vibevideo.series('submitted', now() - interval '32 days', '1 day') WHERE label = 'acme/1';
-- steps are the same in any time zone, on the day that has 23 hours as well
SET timezone = 'Europe/Berlin';
SELECT count(DISTINCT at), max(extract(hour FROM at AT TIME ZONE 'UTC')) FROM vibevideo.series('submitted', date_trunc('day', now()) - interval '400 days', '1 day');
SET timezone = 'UTC';
-- the backlog: known, known to be none, unknown
INSERT INTO vibevideo.backlog (seconds, at, pending, submitting, submit_unknown, queued, generating, processing, idle)
SELECT l.seconds, vibevideo_internal.period(l.seconds, b.at), b.pending, 0, 0, 0, 1, 0, b.idle
FROM (VALUES (300), (3600)) AS l(seconds), (VALUES (t('2 hours'), 5, false), (t('1 hour'), 3, true)) AS b(at, pending, idle);
SELECT label, shown FROM shown('backlog', '1 hour', '3 hours') WHERE label IN ('pending', 'generating');
SELECT label, shown FROM shown('backlog', '20 minutes', '3 hours') WHERE label IN ('pending', 'generating');
-- what it does not take
SELECT * FROM vibevideo.series('nothing');
SELECT * FROM vibevideo.series(NULL);
SELECT * FROM vibevideo.series('submitted', NULL);
SELECT * FROM vibevideo.series('submitted', '-infinity');
SELECT * FROM vibevideo.series('submitted', now(), NULL);
SELECT * FROM vibevideo.series('submitted', now(), '30 seconds');
SELECT * FROM vibevideo.series('submitted', now(), '90 seconds');
SELECT * FROM vibevideo.series('submitted', now(), '-1 day');
SELECT * FROM vibevideo.series('submitted', now(), '100000 years');
SELECT count(*) > 1999 FROM vibevideo.series('submitted', now() - interval '1999 minutes', '1 minute');
SELECT * FROM vibevideo.series('submitted', now() - interval '2001 minutes', '1 minute');
SELECT * FROM vibevideo.series('submitted', now() - interval '3 days', '1 minute');
SELECT * FROM vibevideo.series('submitted', now() - interval '7 days', '15 minutes');
SELECT * FROM vibevideo.series('submitted', now() - interval '100 days', '1 hour');
SELECT count(*) FROM vibevideo.series('submitted', now() + interval '1 day', '1 hour');
-- what the hint says can be had
CREATE FUNCTION hinted(back interval) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
	step interval;
BEGIN
	PERFORM vibevideo.series('submitted', now() - back, '1 minute');
	RETURN 'no error';
EXCEPTION WHEN invalid_parameter_value THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	step = substring(hint, 'a step of (.*), for example');
	PERFORM vibevideo.series('submitted', now() - back, step);
	RETURN step;
END
$$;
SELECT back, hinted(back) FROM unnest('{1 day, 2001 minutes, 2 days, 47 hours, 3 days, 4 days, 5 days, 30 days, 50 days, 51 days, 400 days, 5000 days, 20 years}'::interval[]) back;

-- it is the owner's
CREATE ROLE nobody;
GRANT USAGE ON SCHEMA vibevideo TO nobody;
SET ROLE nobody;
SELECT * FROM vibevideo.series('submitted');
SELECT * FROM vibevideo.rollup;
SELECT * FROM vibevideo.typical;
RESET ROLE;

SET client_min_messages = warning;
DROP EXTENSION vibevideo CASCADE;
DROP SCHEMA vibevideo;
DROP FUNCTION t, hinted, reads;
DROP TABLE vibelogs, before, noted, samples, unfolded;
DROP ROLE nobody;
