-- What a job has cost: reserved when it is made, settled when it is known, and
-- what is not used goes back to the budgets; vibevideo_internal.settled_cost.
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (id bigint PRIMARY KEY, prompt text, owner text);
SELECT FROM vibevideo.attach('vibelogs', model => 'acme/second', user_column => 'owner');
SELECT vibevideo.pause('all');
RESET client_min_messages;
\pset tuples_only on
SELECT FROM vibevideo.set_price('acme/second', 0.1, 'second', quantity => '$.duration', allowance => 0.1);
SELECT FROM vibevideo.set_price('acme/video', 0.5);
SELECT FROM vibevideo.set_price('acme/units', 0.07, 'custom', quantity => '$.n');
INSERT INTO vibevideo.price_rule (endpoint, source, valid_from, unit, unit_price_usd, quantity, quantity_default)
VALUES ('acme/fal', 'fal', '2026-01-01', 'second', 0.14, '$.duration', 5);
INSERT INTO vibevideo.fal_price (endpoint, valid_from, unit, unit_price_usd) VALUES ('acme/fal', '2026-01-01', 'seconds', 0.14);

-- what settles it
SELECT n, what, trim_scale(s.cost_usd), s.cost_source FROM (VALUES
	(1, 'nothing', 'acme/second', '{"duration": 5}'::jsonb, false, NULL::numeric, NULL::bigint),
	(2, 'what was asked for', 'acme/second', '{"duration": 5}', true, NULL, NULL),
	(3, 'about as long as asked for', 'acme/second', '{"duration": 5}', true, NULL, 5042),
	(4, 'shorter', 'acme/second', '{"duration": 10}', true, NULL, 6040),
	(5, 'longer', 'acme/second', '{"duration": "5s"}', true, NULL, 7500),
	(6, 'how long nobody had said', 'acme/second', '{}', true, NULL, 3000),
	(7, 'that nobody ever says', 'acme/second', '{}', true, NULL, NULL),
	(8, 'a video is a video', 'acme/video', '{"duration": 10}', true, NULL, 3000),
	(9, 'no units are nothing', 'acme/video', '{}', true, 0, 3000),
	(10, 'an operator does not go by units', 'acme/video', '{}', true, 3, NULL),
	(11, 'but where his price is one of units', 'acme/units', '{"n": 1}', true, 3, NULL),
	(12, 'fal.ai''s units at its base price', 'acme/fal', '{"duration": 5}', true, 6.5, 5000),
	(13, 'which may be billed without a video', 'acme/fal', '{"duration": 5}', false, 1, NULL),
	(14, 'or not', 'acme/fal', '{"duration": 5}', false, 0, NULL),
	(15, 'nothing is known of it', 'acme/unknown', '{}', true, 4, 5000)) AS c(n, what, endpoint, input, rendered, units, duration_ms)
CROSS JOIN LATERAL vibevideo_internal.settled_cost(c.endpoint, c.input, now(), c.rendered, c.units, c.duration_ms) s ORDER BY n;

-- what the budgets hold, and what the costs say
CREATE FUNCTION books() RETURNS TABLE (held text, reserved text, settled text, videos bigint) LANGUAGE sql AS $$
	SELECT (SELECT string_agg(format('%s %s', t.who, trim_scale(t.used)), ', ' ORDER BY t.who)
			FROM (SELECT x.who, sum(x.used) AS used FROM vibevideo_internal.till x WHERE x.kind = 'spend_day' AND x.begins >= date_trunc('day', now(), 'UTC') GROUP BY 1) t),
		   trim_scale(sum(c.reserved_usd))::text, trim_scale(sum(c.settled_usd))::text, sum(c.videos)::bigint
	FROM vibevideo.costs c;
$$;
CREATE FUNCTION make(id int, input jsonb, who text DEFAULT 'ann', model text DEFAULT 'acme/second') RETURNS void LANGUAGE sql AS $$
	INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by) VALUES ('vibelogs', id, 'pending', model, input, who);
$$;
CREATE FUNCTION step(id int, state text, set_what text DEFAULT 'tries = 0') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('UPDATE vibevideo.job SET state = %L, %s WHERE vibelog_id = %L', state, set_what, id);
END
$$;
INSERT INTO vibevideo.limit (scope, spend_per_day_usd, submits_per_day) VALUES ('default', 3, 4), ('global', 100, NULL);
SELECT make(1, $${"duration": 10}$$), make(2, $${"duration": 5}$$);
SELECT * FROM books();
-- a budget holds what a video can cost, and not more of what it has cost
SELECT step(1, 'processing', $$media_url = 'http://127.0.0.1/1.mp4', generated_at = now()$$);
SELECT * FROM books();
SELECT vibelog_id, trim_scale(cost_estimated_usd), trim_scale(cost_usd), cost_source, billed FROM vibevideo.job ORDER BY 1;
SELECT step(1, 'completed', 'duration_ms = 6040, next_at = NULL, completed_at = now()');
SELECT * FROM books();
SELECT step(2, 'failed', $$error_code = 'x', next_at = NULL, completed_at = now()$$);
SELECT * FROM books();
SELECT vibelog_id, trim_scale(cost_estimated_usd), trim_scale(cost_usd), cost_source, billed FROM vibevideo.job ORDER BY 1;
-- one that fal.ai bills though it failed
SELECT make(3, '{"duration": 5}');
SELECT step(3, 'failed', $$error_code = 'x', billable_units = 5, next_at = NULL, completed_at = now()$$);
SELECT * FROM books();
-- its bill comes later, and is what counts; of a job that had cost nothing too
UPDATE vibevideo.job SET cost_usd = 0.61, cost_source = 'bill' WHERE vibelog_id = '1';
UPDATE vibevideo.job SET cost_usd = 0.3, cost_source = 'bill' WHERE vibelog_id = '2';
UPDATE vibevideo.job SET cost_usd = 0, cost_source = 'bill' WHERE vibelog_id = '3';
SELECT * FROM books();
SELECT vibelog_id, trim_scale(cost_usd), cost_source, billed FROM vibevideo.job ORDER BY 1;
-- and nothing settles it any more
UPDATE vibevideo.job SET duration_ms = 99000, billable_units = 7 WHERE vibelog_id IN ('1', '2');
SELECT vibelog_id, trim_scale(cost_usd), cost_source FROM vibevideo.job ORDER BY 1;
-- it counts for the day again, more than there is if need be
SELECT kind, count(*) FILTER (WHERE day >= vibevideo_internal.today()) AS taken, count(*) AS slots FROM vibevideo_internal.slot WHERE who = 'user:ann' GROUP BY 1;
UPDATE vibevideo.job SET cost_usd = 5, cost_source = 'bill' WHERE vibelog_id = '2';
SELECT * FROM books();
\set VERBOSITY terse
SELECT make(4, '{"duration": 1}');
\set VERBOSITY default
-- tills that are made anew say the same
DELETE FROM vibevideo_internal.counted WHERE true;
UPDATE vibevideo.job SET cost_usd = 0.2, cost_source = 'bill' WHERE vibelog_id = '2';
SELECT make(4, '{"duration": 1}');
SELECT * FROM books();
-- also of an active one, which was there before them
DELETE FROM vibevideo_internal.counted WHERE who = 'global';
SELECT make(5, '{"duration": 1}', 'ben');
SELECT who, vibelog_id, trim_scale(used) FROM vibevideo_internal.share_taken JOIN vibevideo.job USING (job_id) ORDER BY 1, 2;
SELECT step(4, 'processing', $$media_url = 'http://127.0.0.1/4.mp4', generated_at = now()$$);
SELECT who, vibelog_id, trim_scale(used) FROM vibevideo_internal.share_taken JOIN vibevideo.job USING (job_id) ORDER BY 1, 2;
SELECT step(4, 'completed', 'duration_ms = 2000, next_at = NULL, completed_at = now()');
SELECT who, vibelog_id, trim_scale(used) FROM vibevideo_internal.share_taken JOIN vibevideo.job USING (job_id) ORDER BY 1, 2;
SELECT * FROM books();
-- deleted before it was made
DELETE FROM vibevideo.job WHERE vibelog_id = '5';
SELECT * FROM books();
-- what was cancelled when fal.ai may have begun stays in the budgets, and costs nothing
SELECT make(6, '{"duration": 9}', 'cat');
SELECT step(6, 'cancelled', 'held_usd = cost_usd, next_at = NULL, completed_at = now()');
SELECT * FROM books();
SELECT trim_scale(cost_usd), cost_source, billed, trim_scale(held_usd) FROM vibevideo.job WHERE vibelog_id = '6';
SELECT kind, count(*) FROM vibevideo_internal.slot WHERE who = 'user:cat' AND day >= vibevideo_internal.today() GROUP BY 1;
-- also when they are made anew
DELETE FROM vibevideo_internal.counted WHERE true;
SELECT make(7, '{"duration": 9}', 'cat');
SELECT * FROM books();
-- so that nobody passes them by that
SELECT step(7, 'cancelled', 'held_usd = cost_usd, next_at = NULL, completed_at = now()');
SELECT make(8, '{"duration": 9}', 'cat');
SELECT step(8, 'cancelled', 'held_usd = cost_usd, next_at = NULL, completed_at = now()');
\set VERBOSITY terse
SELECT make(9, '{"duration": 9}', 'cat');
\set VERBOSITY default
-- until the bill says what it costs
UPDATE vibevideo.job SET cost_usd = 0.2, cost_source = 'bill' WHERE vibelog_id = '6';
UPDATE vibevideo.job SET cost_usd = 0, cost_source = 'bill' WHERE vibelog_id = '7';
SELECT * FROM books();
SELECT kind, count(*) FROM vibevideo_internal.slot WHERE who = 'user:cat' AND day >= vibevideo_internal.today() GROUP BY 1;
-- or that it costs nothing, six hours later
SELECT vibevideo_internal.release_held(10);
-- whatever clock said when that was
INSERT INTO vibevideo_internal.bill_state (covered_from, read_at) VALUES (now() - interval '1 day', now() + interval '1 day');
SELECT vibevideo_internal.release_held(10);
UPDATE vibevideo_internal.bill_state SET read_at = now() WHERE only_one;
UPDATE vibevideo.job SET completed_at = now() - interval '5 hours 59 minutes' WHERE vibelog_id = '8';
SELECT vibevideo_internal.release_held(10);
UPDATE vibevideo.job SET completed_at = now() - interval '6 hours 1 minute' WHERE vibelog_id = '8';
INSERT INTO vibevideo.fal_usage (at, endpoint, nth, cost_usd, job_id) SELECT now(), model, 1, 0.1, job_id FROM vibevideo.job WHERE vibelog_id = '8';
SELECT vibevideo_internal.release_held(10) AS has_an_item;
DELETE FROM vibevideo.fal_usage WHERE true;
SELECT vibevideo_internal.release_held(10);
SELECT * FROM books();
DELETE FROM vibevideo_internal.bill_state WHERE true;
-- or their time is over; nothing is held of what is billed, or active, or was deleted
SELECT make(10, '{"duration": 1}', 'dan'), make(11, '{"duration": 1}', 'dan'), make(12, '{"duration": 1}', 'dan');
SELECT step(10, 'cancelled', 'held_usd = cost_usd, next_at = NULL, completed_at = now()'), step(11, 'queued', 'held_usd = 1'),
	step(12, 'failed', $$held_usd = 1, media_url = 'http://127.0.0.1/12.mp4', generated_at = now(), error_code = 'x', next_at = NULL, completed_at = now()$$);
SELECT vibelog_id, trim_scale(held_usd) FROM vibevideo.job WHERE requested_by = 'dan' ORDER BY job_id;
SELECT * FROM books();
SELECT step(11, 'cancelled', 'held_usd = cost_usd, next_at = NULL, completed_at = now()');
DELETE FROM vibevideo.job WHERE vibelog_id = '11';
SELECT * FROM books();
UPDATE vibevideo.job SET created_at = date_trunc('month', now(), 'UTC') - interval '1 s' WHERE vibelog_id = '10';
SELECT vibevideo_internal.release_held(10);

-- the bill of a job that is gone is in the budgets, too
INSERT INTO vibevideo_internal.bill_state (covered_from, read_at) VALUES (now() - interval '1 day', now());
UPDATE vibevideo.job SET request_id = 'r-12' WHERE vibelog_id = '12';
DELETE FROM vibevideo.job WHERE vibelog_id = '12';
SELECT * FROM books();
INSERT INTO vibevideo.fal_usage (at, endpoint, request_id, nth, cost_usd, job_id, due) SELECT now(), p.model, p.request_id, 1, 0.7, p.job_id, true FROM vibevideo_internal.past_unbilled p WHERE p.request_id = 'r-12';
SELECT vibevideo_internal.book_usage(10);
SELECT * FROM books();
-- and that of one of which nothing is left stops nobody
INSERT INTO vibevideo.fal_usage (at, endpoint, request_id, nth, cost_usd, job_id, due) VALUES (now(), 'acme/second', 'r-99', 1, 0.1, 99999, true);
SELECT vibevideo_internal.book_usage(10);
SELECT user_id, settled_usd FROM vibevideo.costs WHERE user_id IS NULL;
-- pages of a bill that go round, or say that there are more and not where
SELECT (vibevideo_internal.next_page('{"has_more": true, "next_cursor": "b"}', '{}')).cursor;
SELECT vibevideo_internal.next_page('{"has_more": true, "next_cursor": "b"}', (vibevideo_internal.next_page('{"has_more": true, "next_cursor": "b"}', '{}')).seen);
SELECT vibevideo_internal.next_page('{"has_more": true}', '{}');
SELECT (vibevideo_internal.next_page('{"has_more": false, "next_cursor": "b"}', '{}')).cursor IS NULL AS is_the_end;
-- an orphan takes its share from the time in which it was requested, and is not
-- forgotten by who is making the tills
SELECT make(13, '{"duration": 4}', 'eve', 'acme/video');
UPDATE vibevideo.job SET created_at = created_at - interval '40 days' WHERE vibelog_id = '13';
SELECT vibevideo_internal.take_orphans_share(j) FROM vibevideo.job j WHERE vibelog_id = '13';
SELECT * FROM books();
DELETE FROM vibevideo_internal.counted WHERE who = 'user:eve';
UPDATE vibevideo.job SET created_at = now() WHERE vibelog_id = '13';
SELECT vibevideo_internal.take_orphans_share(j) FROM vibevideo.job j WHERE vibelog_id = '13';
SELECT who, trim_scale(used), most FROM vibevideo_internal.till WHERE who = 'user:eve' AND most = 0;

-- a copy that has failed is made after all, and the file says what it costs
SELECT make(16, '{"duration": 1}', 'gil');
SELECT step(16, 'processing', $$media_url = 'http://127.0.0.1/16.mp4', generated_at = now()$$);
SELECT step(16, 'failed', $$error_code = 'x', next_at = NULL, completed_at = now()$$);
SELECT count(*) FROM vibevideo_internal.share_taken JOIN vibevideo.job USING (job_id) WHERE requested_by = 'gil';
SELECT step(16, 'processing', $$error_code = NULL, next_at = now(), completed_at = NULL$$);
SELECT step(16, 'completed', 'duration_ms = 3000, next_at = NULL, completed_at = now()');
SELECT trim_scale(cost_usd), cost_source FROM vibevideo.job WHERE vibelog_id = '16';
SELECT count(*) FROM vibevideo_internal.share_due;
SELECT * FROM books();

-- made anew in a transaction that has taken from them before
INSERT INTO vibevideo.limit (user_id, spend_per_day_usd, spend_per_month_usd, submits_per_day) VALUES ('fay', 9, 9, 9);
BEGIN;
SELECT make(20, '{"duration": 9}', 'fay');
DELETE FROM vibevideo_internal.counted WHERE who = 'user:fay';
SELECT make(21, '{"duration": 9}', 'fay');
COMMIT;
SELECT t.kind, sum(t.used) AS used, vibevideo_internal.used_of(t.who, t.kind, vibevideo_internal.begin_of(t.kind, now())) AS jobs FROM vibevideo_internal.till t WHERE t.who = 'user:fay' GROUP BY t.who, t.kind ORDER BY 1;
SELECT kind, count(*) FROM vibevideo_internal.slot WHERE who = 'user:fay' AND day >= vibevideo_internal.today() GROUP BY 1;

-- the counts of all time, of which none goes down
SELECT outcome, n, trim_scale(settled_usd) AS settled, trim_scale(returned_usd) AS returned FROM vibevideo.rollup WHERE seconds = 0 AND model = 'acme/second' AND outcome <> 'submitted' ORDER BY 1;
SELECT sum(r.settled_usd) - sum(r.returned_usd) FILTER (WHERE r.outcome = 'settled') = (SELECT sum(c.settled_usd) FROM vibevideo.costs c) AS same
FROM vibevideo.rollup r WHERE r.seconds = 0;
SELECT sum(value)::numeric(10, 2) FROM vibevideo.series('spend_usd');

SET client_min_messages = error;
DROP FUNCTION books(), make(int, jsonb, text, text), step(int, text, text);
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP TABLE vibelogs CASCADE;
