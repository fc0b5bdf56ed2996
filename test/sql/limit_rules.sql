-- vibevideo.limit, vibevideo.costs and vibevideo.max_active, without network
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (id int PRIMARY KEY, prompt text, owner text);
INSERT INTO vibelogs SELECT i, 'a cat', CASE WHEN i <= 100 THEN 'ann' ELSE 'bob' END FROM generate_series(1, 200) i;
SELECT vibevideo.attach('vibelogs', user_column => 'owners');
SELECT vibevideo.attach('vibelogs', user_column => 'owner');

-- a call as an app sees it: what it says instead of raising it
CREATE FUNCTION try(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE 'SELECT count(*) FROM ' || call;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN format(E'%s %s\n%s\n%s', SQLSTATE, SQLERRM, detail,
				  regexp_replace(regexp_replace(hint, '\d{4}-\d\d-\d\d', 'DAY'), 'in \d+ h \d+ min', 'in H h MI min'));
END
$$;
CREATE FUNCTION ask(first int, last int DEFAULT NULL) RETURNS text LANGUAGE sql
RETURN try(format('vibevideo_submit_batch(ARRAY(SELECT generate_series(%s, %s)))', first, coalesce(last, first)));
-- what limits hold, and what is really so
CREATE VIEW taken AS
SELECT s.who, count(*) FILTER (WHERE s.kind = 'active') AS slots, count(*) FILTER (WHERE s.kind = 'active' AND s.job_id IS NOT NULL) AS active,
	   count(*) FILTER (WHERE s.kind = 'submits' AND s.day = vibevideo_internal.today()) AS submits,
	   (SELECT sum(t.used) FROM vibevideo_internal.till t WHERE t.who = s.who AND t.kind = 'spend_day' AND t.begins >= date_trunc('day', now(), 'UTC')) AS spent
FROM vibevideo_internal.slot s GROUP BY s.who ORDER BY s.who COLLATE "C";

-- without limits nothing is counted
SELECT ask(1, 5);
SELECT count(*) FROM vibevideo_internal.slot;
SELECT requested_by, cost_usd, billed, count(*) FROM vibevideo.job GROUP BY 1, 2, 3;

-- what makes a limit
\set VERBOSITY terse
INSERT INTO vibevideo.limit (max_active) VALUES (1);
INSERT INTO vibevideo.limit (scope, user_id) VALUES ('global', 'ann');
INSERT INTO vibevideo.limit (scope) VALUES ('everybody');
INSERT INTO vibevideo.limit (scope, max_active) VALUES ('global', -2);
INSERT INTO vibevideo.limit (scope, max_active) VALUES ('global', 10001);
\set VERBOSITY default

-- active jobs: those from before count
INSERT INTO vibevideo.limit (scope, max_active) VALUES ('default', 7);
SELECT ask(6);
SELECT ask(7);
SELECT ask(8);
SELECT * FROM taken;
-- asking again for an active one is not asking for more
SELECT ask(7);
-- another user has a limit of his own, one nobody knows has none
SELECT ask(101, 107), ask(108);
UPDATE vibelogs SET owner = NULL WHERE id = 200;
SELECT ask(200);
-- a batch is all or nothing
SELECT status FROM vibevideo_cancel(1);
SELECT status FROM vibevideo_cancel(2);
SELECT ask(8, 10);
SELECT count(*) FROM vibevideo.job WHERE vibelog_id IN ('8', '9', '10');
SELECT ask(8, 9);
SELECT * FROM taken;
-- a retry is a new attempt
SELECT try('vibevideo_retry(1)');
SELECT status FROM vibevideo_cancel(3);
SELECT try('vibevideo_retry(1)');
SELECT * FROM taken;
-- a user's row comes before the default, -1 is no limit, 0 is none at all
INSERT INTO vibevideo.limit (user_id, max_active) VALUES ('ann', 9), ('bob', 0);
SELECT ask(10, 11), ask(12), ask(109);
UPDATE vibevideo.limit SET max_active = -1 WHERE user_id = 'ann';
SELECT ask(12, 20);
UPDATE vibevideo.limit SET max_active = NULL WHERE user_id = 'ann';
SELECT ask(21);
-- lowered: nobody is let in until enough have ended
DELETE FROM vibevideo.limit WHERE user_id = 'bob';
UPDATE vibevideo.limit SET max_active = 5 WHERE scope = 'default';
SELECT ask(109);
SELECT count(*) FROM (SELECT vibevideo_cancel(i) FROM generate_series(101, 102) i) c;
SELECT ask(109);
SELECT status FROM vibevideo_cancel(103);
SELECT ask(109), ask(110);
SELECT * FROM taken WHERE who = 'user:bob';
-- deleting a job gives its place back
DELETE FROM vibevideo.job WHERE vibelog_id = '109';
SELECT ask(110), ask(111);
-- when one is usually done
UPDATE vibevideo.model SET usual_seconds = 100 WHERE endpoint = 'fal-ai/minimax/video-01';
SELECT regexp_replace(ask(111), '\d+ seconds', 'N seconds');
UPDATE vibevideo.model SET usual_seconds = NULL WHERE endpoint = 'fal-ai/minimax/video-01';
DELETE FROM vibevideo.limit WHERE true;
DELETE FROM vibevideo.job WHERE true;
SELECT count(*) FROM vibevideo_internal.slot;

-- submits a day: a cancelled one that cost nothing does not count, one that was made does
INSERT INTO vibevideo.limit (user_id, submits_per_day) VALUES ('ann', 3);
SELECT ask(1, 3);
SELECT ask(4);
SELECT status FROM vibevideo_cancel(1);
SELECT ask(4);
UPDATE vibevideo.job SET state = 'completed', media_url = 'http://media', next_at = NULL, completed_at = now() WHERE vibelog_id = '4';
SELECT ask(5);
UPDATE vibevideo.job SET state = 'failed', media_url = 'http://media', next_at = NULL, completed_at = now() WHERE vibelog_id = '3';
SELECT ask(5);
-- a copy that is made again takes nothing
SELECT status FROM vibevideo_retry(3);
SELECT ask(5);
UPDATE vibevideo.job SET state = 'failed', next_at = NULL, completed_at = now() WHERE vibelog_id = '2';
SELECT ask(5);
-- yesterday's do not count, be they from before or after the slots were made
UPDATE vibevideo_internal.slot SET day = day - 1 WHERE kind = 'submits' AND day = vibevideo_internal.today();
SELECT ask(6, 8), ask(9);
UPDATE vibevideo.job SET created_at = created_at - interval '1 day' WHERE vibelog_id::int < 8;
UPDATE vibevideo.limit SET submits_per_day = 2 WHERE user_id = 'ann';
SELECT ask(9), ask(10);
DELETE FROM vibevideo.limit WHERE true;
DELETE FROM vibevideo.job WHERE true;
DELETE FROM vibevideo_internal.new_costs WHERE true;
DELETE FROM vibevideo.past_costs WHERE true;

-- money
INSERT INTO vibevideo.limit (user_id, spend_per_day_usd) VALUES ('ann', 2.2);
SELECT ask(1, 4);
SELECT ask(5);
SELECT status FROM vibevideo_cancel(1);
UPDATE vibevideo.job SET state = 'completed', media_url = 'http://media', next_at = NULL, completed_at = now() WHERE vibelog_id IN ('2', '3');
SELECT user_id, day = vibevideo_internal.today() AS today, model, submits, active, videos, reserved_usd, settled_usd FROM vibevideo.costs;
SELECT ask(1), ask(5);
-- a dearer model, an odd price, one without a price
INSERT INTO vibevideo.price_rule (endpoint, unit_price_usd) VALUES ('fal-ai/dear', 1.3), ('fal-ai/odd', 0.07), ('fal-ai/unknown', NULL);
UPDATE vibevideo.limit SET spend_per_day_usd = 4 WHERE user_id = 'ann';
UPDATE vibevideo.binding SET model = 'fal-ai/dear' WHERE only_one;
SELECT ask(5), ask(6);
UPDATE vibevideo.binding SET model = 'fal-ai/odd' WHERE only_one;
SELECT ask(6, 15), ask(16);
SELECT sum(t.used), count(*) FROM vibevideo_internal.till t WHERE t.who = 'user:ann' AND t.kind = 'spend_day' AND t.begins >= date_trunc('day', now(), 'UTC');
UPDATE vibevideo.binding SET model = 'fal-ai/unknown' WHERE only_one;
SELECT ask(17);
SELECT * FROM vibevideo_internal.check_limits();
SELECT status FROM vibevideo_cancel(5);
SELECT sum(t.used) FROM vibevideo_internal.till t WHERE t.who = 'user:ann' AND t.kind = 'spend_day' AND t.begins >= date_trunc('day', now(), 'UTC');
UPDATE vibevideo.binding SET model = 'fal-ai/dear' WHERE only_one;
SELECT ask(5), ask(18);
UPDATE vibevideo.binding SET model = NULL WHERE only_one;
DELETE FROM vibevideo.limit WHERE true;
-- costs outlive the jobs
SELECT user_id, model, submits, active, videos, reserved_usd, settled_usd FROM vibevideo.costs ORDER BY model COLLATE "C";
DELETE FROM vibevideo.job WHERE state IN ('completed', 'cancelled');
SELECT user_id, model, submits, active, videos, reserved_usd, settled_usd FROM vibevideo.costs ORDER BY model COLLATE "C";
DELETE FROM vibevideo.job WHERE true;
SELECT user_id, model, submits, active, videos, reserved_usd, settled_usd FROM vibevideo.costs ORDER BY model COLLATE "C";
CREATE ROLE service_role BYPASSRLS;
CREATE ROLE authenticated;
SELECT vibevideo.grant_api_roles();
SET ROLE service_role;
SELECT count(*) FROM vibevideo.costs;
SET ROLE authenticated;
SELECT count(*) FROM vibevideo.costs;
RESET ROLE;
DELETE FROM vibevideo_internal.new_costs WHERE true;
DELETE FROM vibevideo.past_costs WHERE true;

-- all users together: how much is nobody's business
INSERT INTO vibevideo.limit (scope, max_active, submits_per_day, spend_per_day_usd) VALUES ('global', 3, 4, 2.5);
SELECT ask(1, 2), ask(101), ask(102);
UPDATE vibevideo.limit SET max_active = NULL WHERE scope = 'global';
SELECT ask(102), ask(103);
UPDATE vibevideo.limit SET submits_per_day = NULL WHERE scope = 'global';
SELECT ask(103), ask(200);
-- the user's own is looked at first
INSERT INTO vibevideo.limit (scope, max_active) VALUES ('default', 2);
SELECT ask(3);
DELETE FROM vibevideo.limit WHERE true;
DELETE FROM vibevideo.job WHERE true;

-- attempts that start by themselves fail quietly; redrive passes over
INSERT INTO vibevideo.limit (scope, max_active) VALUES ('default', 1);
SELECT ask(1);
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, renders)
VALUES ('vibelogs', 2, 'pending', 'fal-ai/minimax/video-01', '{}', 'ann', 2);
SELECT state, error_code, error, next_at FROM vibevideo.job WHERE vibelog_id = '2';
SELECT * FROM taken;
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, completed_at, next_at)
VALUES ('vibelogs', 3, 'failed', 'fal-ai/minimax/video-01', '{}', 'ann', now(), NULL),
	   ('vibelogs', 103, 'failed', 'fal-ai/minimax/video-01', '{}', 'bob', now(), NULL);
SELECT vibevideo.redrive();
SELECT vibelog_id, state FROM vibevideo.job WHERE vibelog_id IN ('3', '103') ORDER BY job_id;
-- an orphan counts for nothing, unless it was made after all
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, orphan)
VALUES ('vibelogs', 104, 'queued', 'fal-ai/minimax/video-01', '{}', 'bob', true);
SELECT count(*) FROM vibevideo_internal.slot WHERE who = 'user:bob' AND job_id IS NOT NULL;
SELECT submits, active, videos, reserved_usd, settled_usd FROM vibevideo.costs WHERE user_id = 'bob';
UPDATE vibevideo.job SET state = 'failed', media_url = 'http://media', next_at = NULL, completed_at = now() WHERE vibelog_id = '104';
SELECT submits, active, videos, reserved_usd, settled_usd FROM vibevideo.costs WHERE user_id = 'bob';
DELETE FROM vibevideo.limit WHERE true;
DELETE FROM vibevideo.job WHERE true;

-- vibevideo.max_active: room at fal
SELECT vibevideo_internal.room_at_fal();
SET vibevideo.max_active = 2;
SELECT vibevideo_internal.room_at_fal(), vibevideo_internal.room_at_fal(true);
SELECT ask(1, 2), ask(101);
SELECT vibevideo_internal.room_at_fal(), vibevideo_internal.room_at_fal(true);
SELECT array_agg(j.vibelog_id) FROM vibevideo_internal.next_submits(10, now()) n JOIN vibevideo.job j ON j.job_id = n;
UPDATE vibevideo.job SET state = 'queued' WHERE vibelog_id = '1';
SELECT array_agg(j.vibelog_id) FROM vibevideo_internal.next_submits(10, now()) n JOIN vibevideo.job j ON j.job_id = n;
UPDATE vibevideo.job SET state = 'generating' WHERE vibelog_id = '1';
UPDATE vibevideo.job SET state = 'submitting' WHERE vibelog_id = '101';
SELECT vibevideo_internal.room_at_fal(), count(*) FROM vibevideo_internal.next_submits(10, now());
RESET vibevideo.max_active;
SELECT count(*) FROM vibevideo_internal.next_submits(10, now());

-- a session that has counted goes on after the extension was made anew
DROP VIEW taken;
DROP EXTENSION vibevideo;
CREATE EXTENSION vibevideo;
SELECT vibevideo.attach('vibelogs', user_column => 'owner');
INSERT INTO vibevideo.limit (user_id, max_active) VALUES ('ann', 1);
SELECT ask(1);
SELECT ask(2) ~ 'PT429';

DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP FUNCTION try, ask;
DROP TABLE vibelogs;
DROP ROLE service_role, authenticated;
