-- Plans and acts: what a filter finds, what is done, what is skipped and why
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (id int PRIMARY KEY, prompt text);
CREATE TABLE other (id int PRIMARY KEY, prompt text);
INSERT INTO vibelogs SELECT i FROM generate_series(1, 99) i;
SELECT vibevideo.attach('vibelogs');
-- the worker leaves these jobs alone
SELECT vibevideo.pause('all');
INSERT INTO vibevideo.price_rule (endpoint, valid_from, unit_price_usd)
VALUES ('acme/fine', '2001-01-01', 5), ('acme/cheap', '2001-01-01', 0.25), ('acme/unknown', '2001-01-01', NULL);
RESET client_min_messages;

CREATE FUNCTION job(key text, state text, requested_by text DEFAULT 'ann', model text DEFAULT 'acme/cheap', error_code text DEFAULT NULL,
					media_url text DEFAULT NULL, age interval DEFAULT '1 h', tries int DEFAULT 0, orphan boolean DEFAULT false, attempt int DEFAULT 1)
RETURNS bigint LANGUAGE sql AS $$
	INSERT INTO vibevideo.job (relation, vibelog_id, state, requested_by, model, input, error_code, error, media_url, tries, orphan, attempt,
							   created_at, updated_at, row_dirty, row_bears, request_id, next_at, completed_at)
	VALUES ('vibelogs', key, state, requested_by, model, jsonb_build_object('prompt', 'Kite number ' || key), error_code, error_code, media_url, tries,
			orphan, attempt, now() - age - interval '10 min', now() - age, false, '-', CASE WHEN state <> 'pending' THEN 'request ' || key || '-' || attempt END,
			CASE WHEN state NOT IN ('completed', 'failed', 'cancelled') THEN now() + interval '1 h' END,
			CASE WHEN state IN ('completed', 'failed', 'cancelled') THEN now() - age END)
	RETURNING job_id
$$;
-- plan and act in one, as a script would: what was planned, and what was done
CREATE FUNCTION plan_and_act(action text, filter jsonb, max_jobs int DEFAULT 1000, OUT planned text, OUT skipped jsonb, OUT more text, OUT done text, OUT but jsonb)
LANGUAGE plpgsql AS $$
DECLARE
	p record;
	a record;
BEGIN
	SELECT * INTO p FROM vibevideo.plan(action, filter, max_jobs);
	planned = format('%s jobs, %s users, %s USD', p.jobs, p.users, trim_scale(p.cost_usd));
	skipped = p.why;
	more = p.more;
	IF p.token IS NOT NULL THEN
		SELECT * INTO a FROM vibevideo.act(p.token, p.confirm);
		done = format('%s jobs, %s users, %s USD', a.jobs, a.users, trim_scale(a.cost_usd));
		but = a.why;
	END IF;
END
$$;
CREATE VIEW states AS SELECT vibelog_id AS key, string_agg(state || coalesce(' ' || error_code, ''), ', ' ORDER BY job_id) AS jobs FROM vibevideo.job GROUP BY 1 ORDER BY vibelog_id::int;

-------------------------------------------------------------------------------
-- Filters
-------------------------------------------------------------------------------
-- what is refused
SELECT vibevideo.plan('delete', '{}');
SELECT vibevideo.plan(NULL, '{}');
SELECT vibevideo.plan('cancel', NULL);
SELECT vibevideo.plan('cancel', '[]');
SELECT vibevideo.plan('cancel', '{"stat": "failed", "usr": "ann", "a\nb": 1}');
SELECT vibevideo.plan('cancel', '{"state": "fialed"}');
SELECT vibevideo.plan('cancel', '{"status": ["failed", "pending"]}');
SELECT vibevideo.plan('cancel', '{"class": "errors"}');
SELECT vibevideo.plan('cancel', '{"state": 7}');
SELECT vibevideo.plan('cancel', '{"user": ["ann", 7]}');
SELECT vibevideo.plan('cancel', '{"user_id": 7}');
SELECT vibevideo.plan('cancel', '{"key": "1", "vibelog_id": "1"}');
SELECT vibevideo.plan('cancel', '{"model": {"is": "x"}}');
SELECT vibevideo.plan('cancel', '{"job_id": "one"}');
SELECT vibevideo.plan('cancel', '{"job_id": [1, -2]}');
SELECT vibevideo.plan('cancel', '{"job_id": 1.5}');
SELECT vibevideo.plan('cancel', '{"attempts": "2"}');
SELECT vibevideo.plan('cancel', '{"cost": true}');
SELECT vibevideo.plan('cancel', '{"orphan": "yes"}');
SELECT vibevideo.plan('cancel', '{"paid_not_stored": 1}');
SELECT vibevideo.plan('cancel', '{"since": "some time ago"}');
SELECT vibevideo.plan('cancel', '{"until": 5}');
SELECT vibevideo.plan('cancel', '{"prompt": ["x"]}');
SELECT vibevideo.plan('cancel', '{}', -1);
SELECT vibevideo.plan('cancel', '{}', 100001);
SELECT vibevideo.plan('cancel', '{}', NULL);
SELECT vibevideo.redrive(since => '178000000 years');

-- what is found, by each key
SELECT job('1', 'pending'), job('2', 'queued', 'ben'), job('3', 'generating', 'ben', 'acme/fine'), job('4', 'submit_unknown'),
	   job('5', 'processing', media_url => 'https://fal.media/5'), job('6', 'completed', media_url => 'https://fal.media/6', age => '2 h'),
	   job('7', 'failed', 'ann', error_code => 'internal_error', age => '3 h'), job('8', 'failed', 'ben', 'acme/fine', 'EntityTooLarge', 'https://fal.media/8'),
	   job('9', 'cancelled', 'cyd', age => '4 h'), job('10', 'failed', 'cyd', error_code => 'orphaned', media_url => 'https://fal.media/10', orphan => true),
	   job('11', 'failed', NULL, error_code => 'submit_lost', attempt => 4), job('12', 'submitting'), job('13', 'failed', error_code => 'content_policy_violation');
CREATE FUNCTION found(filter jsonb, newest_first boolean DEFAULT true) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(j.vibelog_id, ' ' ORDER BY x.nth)
	FROM vibevideo_internal.filter_jobs(vibevideo_internal.read_filter(filter), newest_first, 100, 10000) f CROSS JOIN unnest(f.job_ids) WITH ORDINALITY AS x(job_id, nth)
	JOIN vibevideo.job j ON j.job_id = x.job_id
$$;
SELECT f.filter, found(f.filter) FROM unnest(ARRAY[
	'{}', '{"state": "failed"}', '{"state": ["pending", "failed"]}', '{"state": []}', '{"status": "queued"}', '{"status": ["queued", "completed"], "state": ["pending", "failed"]}',
	'{"error_code": "internal_error"}', '{"error_code": ["internal_error", "EntityTooLarge"]}', '{"class": "storage"}', '{"class": ["policy", "storage"]}',
	'{"model": "acme/fine"}', '{"user": "ben"}', '{"user": ["ben", "cyd"], "state": "failed"}', '{"key": "7"}', '{"key": 7}', '{"key": ["7", 8, "77"]}', '{"key": "7", "state": "queued"}',
	'{"request_id": "request 6-1"}', '{"job_id": "1"}', '{"vibelog_id": ["7", 8]}', '{"user_id": "ben"}', '{"job_id": [1, 2, 999]}', '{"since": "90 minutes"}', '{"until": "90 minutes"}', '{"since": "210 minutes", "until": "90 minutes"}',
	'{"since": "tomorrow"}', '{"until": "infinity"}', '{"since": "2020-01-01 00:00Z"}', '{"attempts": 2}', '{"attempts": 3.5}', '{"cost": 1}', '{"cost": 0.25, "state": "failed"}',
	'{"orphan": true}', '{"orphan": false, "state": "failed"}', '{"paid_not_stored": true}', '{"paid_not_stored": true, "state": "completed"}', '{"paid_not_stored": false, "state": "failed"}',
	'{"prompt": "number 1"}', '{"prompt": "KITE NUMBER 7"}', '{"prompt": "100%"}', '{"user": null, "state": "pending"}', '{"user": "ann'' OR true --"}', '{"key": "\"; DROP TABLE job"}',
	'{"model": "$1"}']::jsonb[]) f(filter);
UPDATE vibevideo.job SET tenant = 'red' WHERE vibelog_id IN ('2', '7');
SELECT found('{"tenant": "red"}'), found('{"tenant": ["red", "blue"], "state": "failed"}'), found('{"tenant": "blue"}');
SELECT found('{"attempts": 1e300}'), found('{"attempts": -1e300, "state": "failed"}'), found('{"cost": -1e300, "state": "failed"}');
SELECT found('{}', false) AS oldest_first;

-- page by page it is the same, whichever way
CREATE FUNCTION pages(filter jsonb, newest_first boolean, most int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	page record;
	at jsonb;
	all_ids bigint[] = '{}';
BEGIN
	LOOP
		SELECT * INTO page FROM vibevideo_internal.filter_jobs(vibevideo_internal.read_filter(filter), newest_first, most, 10000, at);
		all_ids = all_ids || page.job_ids;
		at = page.next;
		EXIT WHEN at IS NULL;
		ASSERT page.bound = 'max_jobs' AND cardinality(page.job_ids) = most, page::text;
	END LOOP;
	RETURN (SELECT string_agg(j.vibelog_id, ' ' ORDER BY x.nth) FROM unnest(all_ids) WITH ORDINALITY AS x(job_id, nth) JOIN vibevideo.job j ON j.job_id = x.job_id);
END
$$;
SELECT f.filter, w.newest_first, bool_and(pages(f.filter, w.newest_first, n) IS NOT DISTINCT FROM found(f.filter, w.newest_first)) AS same
FROM unnest(ARRAY['{}', '{"state": "failed"}', '{"user": "ann"}', '{"key": ["1", "2", "7", "8"]}', '{"state": "pending"}', '{"since": "150 minutes"}']::jsonb[]) f(filter),
	 unnest(ARRAY[true, false]) w(newest_first), generate_series(1, 14) n GROUP BY 1, 2 ORDER BY 1, 2;
-- out of time: it says so, and can go on from there
BEGIN;
SELECT count(job(i::text, 'completed', CASE WHEN i = 700 THEN 'rare' ELSE 'many' END)) FROM generate_series(100, 900) i;
CREATE FUNCTION looks(filter jsonb, OUT looks int, OUT hits text) LANGUAGE plpgsql AS $$
DECLARE
	page record;
	at jsonb;
BEGIN
	looks = 0;
	LOOP
		SELECT * INTO page FROM vibevideo_internal.filter_jobs(vibevideo_internal.read_filter(filter), true, 10, 0, at);
		looks = looks + 1;
		hits = coalesce(hits, '') || page.job_ids::text;
		at = page.next;
		EXIT WHEN at IS NULL;
		ASSERT page.bound = 'time', page::text;
	END LOOP;
END
$$;
UPDATE vibevideo.job SET attempt = 2 WHERE requested_by = 'rare';
SELECT looks > 1 AS several_looks, replace(hits, '{}', '') ~ '^{[0-9]+}$' AS found_it FROM looks('{"attempts": 2, "state": "completed"}');
-- but where there is an index of what is looked for, one look is enough
SELECT looks, hits ~ '^{[0-9]+}$' AS found_it FROM looks('{"user": "rare"}');
SELECT looks FROM looks('{"user": "rare", "job_id": [1, 2]}');
SELECT p.more IS NOT NULL AS more, p.jobs FROM vibevideo.plan('forget_error', '{"state": "failed"}', 2) p;
ROLLBACK;

-------------------------------------------------------------------------------
-- What each action does to which job
-------------------------------------------------------------------------------
SELECT action, key, (SELECT p.examples -> 0 ->> 'does' FROM vibevideo.plan(action, jsonb_build_object('key', key)) p) AS does,
	   (SELECT string_agg(k, '') FROM vibevideo.plan(action, jsonb_build_object('key', key)) p CROSS JOIN jsonb_object_keys(p.why) k) AS or_why_not,
	   (SELECT trim_scale(p.cost_usd) FROM vibevideo.plan(action, jsonb_build_object('key', key)) p) AS usd
FROM unnest(ARRAY['cancel', 'retry', 'resolve_not_sent', 'forget_error']) action, generate_series(1, 13) key ORDER BY action, key;
-- a job that is due may still wait, as for a service that is down
BEGIN;
UPDATE vibevideo.job SET next_at = now() - interval '1 h', tries = 0 WHERE vibelog_id = '1';
SELECT p.jobs, p.examples -> 0 ->> 'does' AS does, p.why, a.jobs AS sent FROM vibevideo.plan('retry', '{"key": "1"}') p CROSS JOIN LATERAL vibevideo.act(p.token) a;
ROLLBACK;
-- without a state: those that it is for
SELECT action, jobs, users, trim_scale(cost_usd) AS usd, confirm, unpriced, skipped, why, more
FROM unnest(ARRAY['cancel', 'retry', 'resolve_not_sent', 'forget_error']) action CROSS JOIN LATERAL vibevideo.plan(action, '{}') ORDER BY action;
SELECT jsonb_pretty(examples) FROM vibevideo.plan('retry', '{"key": "8"}');
-- a price that is not known counts as 0, and is counted
UPDATE vibevideo.job SET model = 'acme/unknown' WHERE vibelog_id = '7';
SELECT jobs, trim_scale(cost_usd) AS usd, unpriced FROM vibevideo.plan('retry', '{"state": "failed"}');
UPDATE vibevideo.job SET model = 'acme/cheap' WHERE vibelog_id = '7';
-- so many at most: the newest or, with since, the oldest
SELECT p.jobs, p.more, string_agg(e ->> 'key', ' ' ORDER BY n) AS keys
FROM (VALUES ('{"state": "failed"}'::jsonb), ('{"state": "failed", "since": "1 day"}')) f(filter) CROSS JOIN LATERAL vibevideo.plan('forget_error', filter, 2) p
	 CROSS JOIN jsonb_array_elements(p.examples) WITH ORDINALITY AS x(e, n) GROUP BY f.filter, p.jobs, p.more ORDER BY f.filter;
SELECT jobs, token, more FROM vibevideo.plan('forget_error', '{}', 0);

BEGIN;
SELECT * FROM plan_and_act('cancel', '{}');
SELECT * FROM states;
SELECT cancel_requested_at IS NOT NULL AS asked, next_at < now() AS due FROM vibevideo.job WHERE vibelog_id = '2';
ROLLBACK;
BEGIN;
SELECT * FROM plan_and_act('cancel', '{"user": "ben"}');
SELECT * FROM plan_and_act('cancel', '{"user": "ben"}');
ROLLBACK;
BEGIN;
SELECT * FROM plan_and_act('retry', '{"state": ["failed", "cancelled", "pending"]}');
SELECT * FROM states;
SELECT vibelog_id, attempt, trim_scale(cost_usd) AS cost_usd, row_bears, row_dirty, requested_by FROM vibevideo.job WHERE job_id > 13 ORDER BY 1;
-- each row has a newer job now
SELECT * FROM plan_and_act('retry', '{"state": ["failed", "cancelled"]}');
ROLLBACK;
BEGIN;
SELECT * FROM plan_and_act('retry', '{"error_code": ["submit_lost"]}');
ROLLBACK;
BEGIN;
UPDATE vibevideo.job SET cancel_requested_at = now() WHERE vibelog_id = '4';
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, row_dirty) VALUES ('vibelogs', '14', 'submit_unknown', 'acme/cheap', '{}', now(), false);
SELECT * FROM plan_and_act('resolve_not_sent', '{}');
SELECT * FROM states WHERE key IN ('4', '14');
ROLLBACK;
BEGIN;
SELECT * FROM plan_and_act('forget_error', '{"class": ["policy", "storage"]}');
SELECT vibelog_id, state, error_code, forgotten_at IS NOT NULL AS forgotten FROM vibevideo.jobs WHERE state = 'failed' ORDER BY job_id;
SELECT * FROM plan_and_act('forget_error', '{}');
-- what fails again is shown again
SELECT * FROM plan_and_act('retry', '{"key": "8"}');
SELECT state, forgotten_at FROM vibevideo.job WHERE vibelog_id = '8';
ROLLBACK;
BEGIN;
-- jobs of a table that is not attached, or is gone, are only copied
UPDATE vibevideo.job SET relation = 'other' WHERE vibelog_id IN ('7', '8', '13');
UPDATE vibevideo.job SET relation = NULL WHERE vibelog_id = '13';
SELECT * FROM plan_and_act('retry', '{}');
ROLLBACK;

-------------------------------------------------------------------------------
-- What happens between plan and act
-------------------------------------------------------------------------------
CREATE TABLE plans (token uuid, confirm text);
CREATE FUNCTION plan(action text, filter jsonb) RETURNS TABLE (jobs int, usd numeric) LANGUAGE sql AS $$
	DELETE FROM vibevideo_internal.planned;
	DELETE FROM plans;
	WITH p AS (SELECT * FROM vibevideo.plan(action, filter)), i AS (INSERT INTO plans SELECT p.token, p.confirm FROM p)
	SELECT p.jobs, trim_scale(p.cost_usd) FROM p
$$;
PREPARE act AS SELECT a.jobs, a.users, trim_scale(a.cost_usd) AS usd, a.skipped, a.why FROM plans p CROSS JOIN LATERAL vibevideo.act(p.token, p.confirm) a;
-- jobs that have moved on, failed otherwise, were deleted, got another attempt
BEGIN;
SELECT * FROM plan('retry', '{"state": ["failed", "cancelled"], "error_code": ["internal_error", "content_policy_violation", "EntityTooLarge"]}');
UPDATE vibevideo.job SET error_code = 'other' WHERE vibelog_id = '7';
DELETE FROM vibevideo.job WHERE vibelog_id = '13';
SELECT job('8', 'pending', 'ben', attempt => 2);
EXECUTE act;
ROLLBACK;
BEGIN;
SELECT * FROM plan('cancel', '{"state": ["pending", "queued"]}');
UPDATE vibevideo.job SET state = 'submitting' WHERE vibelog_id = '1';
UPDATE vibevideo.job SET state = 'processing', media_url = 'https://fal.media/2' WHERE vibelog_id = '2';
EXECUTE act;
SELECT * FROM states WHERE key IN ('1', '2');
ROLLBACK;
-- prices: one that rises is not paid, one that falls is
BEGIN;
SELECT * FROM plan('retry', '{"key": ["7", "9", "13"]}');
UPDATE vibevideo.job SET model = 'acme/fine' WHERE vibelog_id = '7';
UPDATE vibevideo.price_rule SET unit_price_usd = 0.2 WHERE endpoint = 'acme/cheap';
EXECUTE act;
ROLLBACK;
BEGIN;
SELECT * FROM plan('retry', '{"key": ["7", "8", "9", "13"]}');
UPDATE vibevideo.price_rule SET unit_price_usd = 0.26 WHERE endpoint = 'acme/cheap';
EXECUTE act;
ROLLBACK;
BEGIN;
SELECT * FROM plan('resolve_not_sent', '{}');
UPDATE vibevideo.price_rule SET unit_price_usd = 0.26 WHERE endpoint = 'acme/cheap';
EXECUTE act;
ROLLBACK;
-- limits of users
BEGIN;
INSERT INTO vibevideo.limit (scope, user_id, submits_per_day, max_active) VALUES ('user', 'cyd', 0, NULL);
INSERT INTO vibevideo.limit (scope, user_id, spend_per_day_usd) VALUES ('user', 'ann', 0.3);
UPDATE vibevideo.job SET created_at = now() - interval '2 days' WHERE true;
SELECT * FROM plan_and_act('retry', '{"key": ["7", "8", "9", "13"]}');
SELECT * FROM states WHERE key IN ('7', '8', '9', '13');
ROLLBACK;

-------------------------------------------------------------------------------
-- Tokens and money
-------------------------------------------------------------------------------
SELECT vibevideo.act(NULL);
SELECT vibevideo.act('00000000-0000-0000-0000-000000000000');
SELECT job((20 + i)::text, 'failed', 'user ' || i, 'acme/fine', 'internal_error') FROM generate_series(1, 7) i;
SELECT token AS t, confirm FROM vibevideo.plan('retry', '{"model": "acme/fine", "error_code": "internal_error"}') \gset
\echo :confirm
\set VERBOSITY terse
SELECT vibevideo.act(:'t');
SELECT vibevideo.act(:'t', 'yes');
SELECT vibevideo.act(:'t', 'spend 35');
SELECT vibevideo.act(:'t', 'spend 36.00');
\set VERBOSITY default
BEGIN;
SELECT jobs, trim_scale(cost_usd) AS usd FROM vibevideo.act(:'t', :'confirm');
ROLLBACK;
SELECT jobs, trim_scale(cost_usd) AS usd FROM vibevideo.act(:'t', :'confirm');
\set VERBOSITY terse
SELECT vibevideo.act(:'t', :'confirm');
\set VERBOSITY default
SELECT token AS t FROM vibevideo.plan('cancel', '{"model": "acme/fine"}') \gset
UPDATE vibevideo_internal.planned SET made_at = made_at - interval '10 minutes';
SELECT vibevideo.act(:'t');
UPDATE vibevideo_internal.planned SET made_at = made_at - interval '1 hour';
SELECT jobs FROM vibevideo.plan('cancel', '{"model": "acme/fine"}');
SELECT vibevideo.act(:'t');
SELECT count(*) FROM vibevideo_internal.planned;
-- from which amount on it has to be confirmed
SET vibevideo.confirm_over_usd = 5;
SELECT key, confirm FROM (VALUES ('3'), ('8')) k(key) CROSS JOIN LATERAL vibevideo.plan('retry', jsonb_build_object('key', key));
SELECT job('40', 'failed', 'dan', 'acme/fine', 'internal_error');
SELECT confirm FROM vibevideo.plan('retry', '{"key": "40"}');
SET vibevideo.confirm_over_usd = 4.99;
SELECT confirm FROM vibevideo.plan('retry', '{"key": "40"}');
UPDATE vibevideo.price_rule SET unit_price_usd = 5.0001 WHERE endpoint = 'acme/fine';
SELECT confirm FROM vibevideo.plan('retry', '{"key": "40"}');
RESET vibevideo.confirm_over_usd;

-- redrive is both
SELECT vibevideo.redrive('no_such_code');
SELECT vibevideo.redrive(max_jobs => 0);
SELECT vibevideo.redrive('EntityTooLarge', '1 minute');
SELECT vibevideo.redrive('EntityTooLarge');
SELECT job((50 + i)::text, 'failed', 'user ' || i, 'acme/fine', 'internal_error') FROM generate_series(1, 3) i;
SELECT vibevideo.redrive('internal_error', max_jobs => 3);
SELECT vibevideo.redrive('internal_error', max_jobs => 3, confirm => 'spend 15.01');

-- what is known of it afterwards
SELECT action, arguments - 'since' AS arguments, jobs, trim_scale(cost_usd) AS usd, outcome - 'planned_by' AS outcome FROM vibevideo.audit WHERE action ~ '^act' ORDER BY at;

-- in a copy nothing is done
SELECT token AS t FROM vibevideo.plan('cancel', '{}') \gset
UPDATE vibevideo.binding SET paused = true, pause_scope = NULL, paused_by = NULL;
\set VERBOSITY terse
SELECT vibevideo.act(:'t');
\set VERBOSITY default

-------------------------------------------------------------------------------
-- Who may
-------------------------------------------------------------------------------
CREATE ROLE vv_sees;
CREATE ROLE vv_acts;
SELECT vibevideo.grant_access('vv_acts', 'operator');
SELECT vibevideo.grant_access('vv_sees', 'operator', true);
SET ROLE vv_acts;
SELECT examples -> 0 ? 'prompt' AS prompt FROM vibevideo.plan('cancel', '{"key": "1"}');
SELECT vibevideo.plan('cancel', '{"prompt": "kite"}');
SELECT vibevideo_internal.filter_jobs(NULL, true, 1, 1);
RESET ROLE;
SET ROLE vv_sees;
SELECT examples -> 0 ->> 'prompt' AS prompt FROM vibevideo.plan('cancel', '{"key": "1"}');
SELECT jobs > 0 AS some, token AS t FROM vibevideo.plan('cancel', '{"prompt": "kite"}') \gset
RESET ROLE;
UPDATE vibevideo.binding SET pause_scope = 'all', paused_by = 'me';
-- another operator may carry it out
SET ROLE vv_acts;
SELECT jobs FROM vibevideo.act(:'t');
RESET ROLE;

DROP VIEW states;
SET client_min_messages = warning;
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP FUNCTION job, plan_and_act, found, pages, plan;
DROP TABLE vibelogs, other, plans;
DROP ROLE vv_acts, vv_sees;
