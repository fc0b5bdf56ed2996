-- The sentences that users and operators read, and the order of sending that some
-- of them tell.  test/t/271_why.pl brings each reason about.
\pset format unaligned
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;

-- how long, how many
SELECT i AS length, vibevideo_internal.span(i) FROM unnest(ARRAY['-1 s', '0', '0.4 s', '99 s', '100 s', '5999 s', '100 min', '47 h', '48 h', '40 d', NULL]::interval[]) i;
SELECT vibevideo_internal.span('2 min', '4 min'), vibevideo_internal.span('20 s', '4 min'), vibevideo_internal.span('50 min', '5 h'), vibevideo_internal.span('61 s', '62 s'), vibevideo_internal.span('2 min', NULL);
SELECT n, vibevideo_internal.many(n), vibevideo_internal.ahead_of_you(n) FROM unnest(ARRAY[0, 1, 999, 1000, 1001, 5000, NULL]) n;
SELECT vibevideo_internal.quoted(E'one\r\ntwo\tthree'), length(vibevideo_internal.quoted(repeat('x', 201))), vibevideo_internal.quoted(repeat('x', 200)) = repeat('x', 200) AS whole,
	   vibevideo_internal.quoted(NULL) IS NULL AS none;
SELECT e.code, e.error, vibevideo_internal.after_error('next try', e.code, e.error) FROM (VALUES (NULL, NULL), ('http_503', NULL), ('http_503', 'Overloaded')) AS e(code, error);
SELECT vibevideo_internal.still('1 s'), vibevideo_internal.still('0'), vibevideo_internal.still('-1 s');
SELECT vibevideo_internal.clock(date_trunc('day', now()) + interval '13 h 2 min 3.9 s'), vibevideo_internal.clock('2020-02-03 04:05:06');
SELECT * FROM vibevideo_internal.because('x', 'y', estimate => '-1 s');

-- what is wrong, for users: every class of a job that failed, before and after its
-- video was made, and of one that goes on
CREATE FUNCTION job(state text, error_code text, more jsonb DEFAULT '{}') RETURNS vibevideo.job LANGUAGE sql STABLE
	RETURN jsonb_populate_record(NULL::vibevideo.job, jsonb_build_object('job_id', 1, 'state', state, 'error_code', error_code, 'tries', 0,
																		   'error', 'http://10.0.0.1:5432/', 'objection', 'prompt: is rude') || more);
SELECT vibevideo.error_class(c.code) AS class, c.code, vibevideo_internal.shown_error(job('failed', c.code)) AS failed,
	   vibevideo_internal.shown_error(job('failed', c.code, '{"generated_at": "2020-01-01"}')) AS made,
	   vibevideo_internal.shown_error(job('pending', c.code)) AS waits, vibevideo_internal.shown_error(job('processing', c.code)) AS copied
FROM unnest(ARRAY['content_policy_violation', 'value_error', 'forbidden', 'runner_disconnected', 'upload_failed', 'job_timeout', 'limit', 'out_of_memory',
				  'submit_lost', 'paused', 'fal_busy', 'fal_down', 'http_429', 'quarantined', 'something_new', NULL]) WITH ORDINALITY AS c(code, n) ORDER BY c.n;
SELECT vibevideo_internal.shown_error(job('failed', 'value_error', '{"objection": null}')) AS no_objection;
SELECT s AS state, vibevideo_internal.shown_error(job(s, 'timeout')) AS error, vibevideo_internal.shown_error(job(s, NULL)) AS none
FROM unnest(ARRAY['submitting', 'submit_unknown', 'queued', 'generating', 'completed', 'cancelled']) s;

-- messages; a job that is in no table has no reason
SELECT c.more, vibevideo_internal.job_message(job(c.state, NULL, c.more)) AS message
FROM (VALUES (1, 'pending', '{}'::jsonb), (2, 'pending', '{"cancel_requested_at": "2020-01-01"}'), (3, 'submitting', '{}'), (4, 'submit_unknown', '{}'),
			 (5, 'queued', '{}'), (6, 'queued', '{"queue_position": 0}'), (7, 'queued', '{"queue_position": 1204}'), (8, 'generating', '{}'),
			 (9, 'generating', '{"queue_position": 3}'), (10, 'processing', '{}'), (11, 'processing', '{"tries": 2}'), (12, 'processing', '{"leased_by": 1}'),
			 (13, 'processing', '{"leased_by": 1, "bytes_done": 12000000}'), (14, 'processing', '{"leased_by": 1, "bytes_done": 62, "bytes_total": 100}'),
			 (15, 'processing', '{"leased_by": 1, "bytes_done": 62000000, "bytes_total": 100000000, "bytes_per_second": 12000000}'),
			 (16, 'processing', '{"leased_by": 1, "bytes_done": 1, "bytes_total": 100000000, "bytes_per_second": 900, "cancel_requested_at": "2020-01-01"}'),
			 (17, 'completed', '{}'), (18, 'failed', '{}'), (19, 'cancelled', '{}')) AS c(n, state, more) ORDER BY c.n;
SELECT s AS state, vibevideo_internal.job_progress(job(s, NULL, '{"bytes_done": 1, "bytes_total": 4}')), vibevideo_internal.job_progress(job(s, NULL, '{"bytes_done": 1}'))
FROM unnest(ARRAY['queued', 'processing', 'completed', 'failed']) s;

-- how a lost submit ends
SELECT vibevideo_internal.lost_ends(now() - interval '1 d', 'the list is too long');
SET vibevideo.unknown_policy = 'manual';
SELECT vibevideo_internal.lost_ends(now(), 'x');
SET vibevideo.unknown_policy = 'resubmit';
SELECT vibevideo_internal.lost_ends(now(), 'x');
SET vibevideo.unknown_policy = 'resubmit_when_absent';
SELECT regexp_replace(vibevideo_internal.lost_ends(now(), 'x'), '[-\d ]*\d\d:\d\d:\d\d', ' TIME');
RESET vibevideo.unknown_policy;

-- without a table nothing is done, and that is the reason
INSERT INTO vibevideo.job (vibelog_id, state, model, input) VALUES ('1', 'pending', 'm/n', '{}'), ('2', 'queued', 'm/n', '{}'), ('3', 'generating', 'm/n', '{}');
SELECT j.vibelog_id, w.* FROM vibevideo.job j, vibevideo.why(j.job_id) w ORDER BY 1;
SELECT vibelog_id, message, waits_for, why, waits_until, estimate FROM vibevideo.jobs ORDER BY 1;
SELECT * FROM vibevideo.why(NULL);
SELECT * FROM vibevideo.why(-1);
-- what is remembered is not older than what is there
BEGIN;
SELECT code FROM vibevideo.why((SELECT min(job_id) FROM vibevideo.job));
SELECT code FROM vibevideo.why((SELECT min(job_id) FROM vibevideo.job));
UPDATE vibevideo.job SET state = 'cancelled', next_at = NULL, completed_at = now();
UPDATE vibevideo.job SET row_dirty = false;
SELECT code FROM vibevideo.why((SELECT min(job_id) FROM vibevideo.job));
ROLLBACK;
SELECT code FROM vibevideo.why((SELECT min(job_id) FROM vibevideo.job));
DO $$
DECLARE
	id bigint = (SELECT min(job_id) FROM vibevideo.job);
BEGIN
	RAISE NOTICE '%', (vibevideo_internal.reason_of(id)).code;
	BEGIN
		UPDATE vibevideo.job SET state = 'cancelled', next_at = NULL, completed_at = now() WHERE job_id = id;
	UPDATE vibevideo.job SET row_dirty = false WHERE job_id = id;
		RAISE NOTICE '%', (vibevideo_internal.reason_of(id)).code;
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		RAISE NOTICE '%', (vibevideo_internal.reason_of(id)).code;
	END;
	UPDATE vibevideo.job SET state = 'cancelled', next_at = NULL, completed_at = now() WHERE job_id = id;
	UPDATE vibevideo.job SET row_dirty = false WHERE job_id = id;
	RAISE NOTICE '%', (vibevideo_internal.reason_of(id)).code;
END
$$;
DELETE FROM vibevideo.job;

-- the line is the order in which they are sent, however much of it is asked for
SELECT jobs, turns, whole, waiting, room FROM vibevideo_internal.submit_line(10);
INSERT INTO vibevideo.job (vibelog_id, state, model, input, requested_by, priority, next_at)
SELECT i, 'pending', 'm/n', '{}', CASE WHEN i % 9 > 0 THEN 'user ' || (i % 9) * (i % 5) END, (i % 11 = 0)::int - (i % 13 = 0)::int, now() - i * i % 1009 * interval '1 s'
FROM generate_series(1, 300) i;
INSERT INTO vibevideo.job (vibelog_id, state, model, input, requested_by, next_at) SELECT 'later ' || i, 'pending', 'm/n', '{}', 'user ' || i, now() + interval '1 h' FROM generate_series(1, 20) i;
SELECT count(*) AS lines, bool_and(l.jobs = n.jobs) AS same, bool_and(l.whole = (m.most >= 300)) AS whole, bool_and(l.waiting = least(m.most + 1, 300)) AS waiting,
	   bool_and(cardinality(l.turns) = cardinality(l.jobs)) AS turns
FROM generate_series(1, 310) AS m(most) CROSS JOIN LATERAL vibevideo_internal.submit_line(m.most) l
CROSS JOIN LATERAL (SELECT coalesce(array_agg(x.id ORDER BY x.n), '{}') AS jobs FROM vibevideo_internal.next_submits(m.most, clock_timestamp()) WITH ORDINALITY AS x(id, n)) n
-- fewer places than users
WHERE m.most >= 28;
SELECT jobs IS NULL AS unknown, whole, waiting FROM vibevideo_internal.submit_line(5);
-- places in it
SELECT count(*) AS places, bool_and(p.place = n.n) AS right, min(p.waiting) AS waiting, min(p.turn) AS first, max(p.turn) AS last
FROM vibevideo_internal.next_submits(1000, clock_timestamp()) WITH ORDINALITY AS n(id, n) CROSS JOIN LATERAL vibevideo_internal.place_in_line(n.id) p;
SELECT * FROM vibevideo_internal.place_in_line(-1);

SET client_min_messages = error;
DROP FUNCTION job;
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
