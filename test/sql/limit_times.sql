-- Limits of an hour, a day and a month; of users, tenants, models and all together:
-- what each counts, in which order they are looked at, and what they say.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (id bigint PRIMARY KEY, prompt text);
SELECT FROM vibevideo.attach('vibelogs', model => 'acme/a');
SELECT vibevideo.pause('all');
SELECT FROM vibevideo.set_price('acme/a', 0.5);
SELECT FROM vibevideo.set_price('acme/b', 2);
RESET client_min_messages;
\pset tuples_only on
\pset format unaligned

-- what is refused, without its times
CREATE FUNCTION make(id int, who text DEFAULT 'ann', tenant text DEFAULT NULL, model text DEFAULT 'acme/a', at timestamptz DEFAULT now()) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, tenant, created_at) VALUES ('vibelogs', id, 'pending', model, '{}', who, tenant, at);
	RETURN 'made';
EXCEPTION WHEN SQLSTATE 'PT429' OR SQLSTATE 'PT402' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE, SQLERRM, detail, regexp_replace(hint, '(\d+ (d|h|min) ?)+|\d{4}-\d\d-\d\d \d\d:\d\d', '#', 'g'));
END
$$;
CREATE FUNCTION done(id int, cost numeric DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	UPDATE vibevideo.job SET state = 'processing', media_url = 'http://127.0.0.1/x.mp4', generated_at = now() WHERE vibelog_id = id::text;
	UPDATE vibevideo.job SET state = 'completed', next_at = NULL, completed_at = now() WHERE vibelog_id = id::text;
	UPDATE vibevideo.job SET cost_usd = cost, cost_source = 'bill' WHERE vibelog_id = id::text AND cost IS NOT NULL;
$$;
CREATE FUNCTION failed(id int) RETURNS void LANGUAGE sql AS $$
	UPDATE vibevideo.job SET state = 'failed', error_code = 'x', next_at = NULL, completed_at = now() WHERE vibelog_id = id::text;
$$;
CREATE VIEW used AS
SELECT t.who, t.kind, trim_scale(sum(t.used)) AS used, trim_scale(vibevideo_internal.used_of(t.who, t.kind, vibevideo_internal.begin_of(t.kind, now()))) AS by_jobs
FROM vibevideo_internal.till t
WHERE t.begins >= vibevideo_internal.begin_of(t.kind, now())
  AND EXISTS (SELECT FROM vibevideo_internal.limits_for(substring(t.who, '^user:(.*)'), substring(t.who, '^tenant:(.*)'), substring(t.who, '^model:(.*)')) l
			  CROSS JOIN LATERAL vibevideo_internal.budgets(l) b WHERE l.who = t.who AND b.kind = t.kind)
GROUP BY 1, 2 ORDER BY 1, 2;

-- each of them
SELECT (vibevideo.set_limit('default', NULL, -1, -1, -1, submits_per_hour => 2)).who;
SELECT make(1), make(2), make(3);
SELECT failed(1);
SELECT make(3), make(4);
SELECT * FROM used;
SELECT (vibevideo.set_limit('default', NULL, -1, -1, -1, submits_per_month => 3)).who;
SELECT make(4), make(5);
SELECT * FROM used;
SELECT (vibevideo.set_limit('default', NULL, -1, -1, -1, spend_per_hour_usd => 1.75)).who;
SELECT make(5);
SELECT done(2, 0.25);
SELECT make(5);
SELECT * FROM used;
SELECT (vibevideo.set_limit('default', NULL, -1, -1, -1, spend_per_month_usd => 2.4)).who;
SELECT make(6), make(7);
SELECT done(3), done(4, 0.1);
SELECT make(7), make(8);
SELECT * FROM used;
-- a month counts what has ended and is gone, and is added up or not
DELETE FROM vibevideo.job WHERE vibelog_id IN ('2', '3');
SELECT vibevideo_internal.add_costs(1);
DELETE FROM vibevideo_internal.counted WHERE true;
SELECT make(8);
SELECT * FROM used;
SELECT vibevideo_internal.add_costs(1000) > 0;
DELETE FROM vibevideo_internal.counted WHERE true;
SELECT make(8);
SELECT * FROM used;
-- an earlier time counts no more
SELECT (vibevideo.set_limit('default', NULL, -1, -1, -1, 1, 1, 0.5, 0.5)).who;
SELECT make(20, 'old', at => now() - interval '40 days');
SELECT make(21, 'old'), make(22, 'old');
UPDATE vibevideo_internal.till SET begins = begins - interval '1 hour' WHERE who = 'user:old' AND kind LIKE '%hour';
SELECT make(22, 'old');
UPDATE vibevideo_internal.till SET begins = begins - interval '31 days' WHERE who = 'user:old' AND kind LIKE 'submits%';
SELECT make(22, 'old');
UPDATE vibevideo_internal.till SET begins = begins - interval '31 days' WHERE who = 'user:old';
SELECT make(22, 'old');

-- the user's, then the tenant's, then the model's, then everybody's
DELETE FROM vibevideo.limit WHERE true;
SELECT (vibevideo.set_limit('user', 'bob', 1, NULL, NULL)).who, (vibevideo.set_limit('tenant', NULL, NULL, 2, NULL, tenant => 'acme')).who,
	   (vibevideo.set_limit('default_tenant', NULL, NULL, NULL, 1)).who, (vibevideo.set_limit('model', NULL, NULL, NULL, 2, model => 'acme/b')).who,
	   (vibevideo.set_limit('global', NULL, 6, NULL, NULL)).who;
DELETE FROM vibevideo.job WHERE true;
SELECT make(30, 'bob', 'acme'), make(31, 'bob', 'acme'), make(31, 'cat', 'acme'), make(32, 'cat', 'acme');
SELECT make(32, NULL, 'other'), make(33, 'cat', 'other', 'acme/b');
SELECT make(34, 'dan', NULL, 'acme/b'), make(35, 'dan'), make(36, 'dan'), make(37, 'dan');
SELECT * FROM used;
SELECT who, kind, count(*) FILTER (WHERE day >= vibevideo_internal.today()) AS taken FROM vibevideo_internal.slot GROUP BY 1, 2 ORDER BY 1, 2;
-- a tenant's costs of the month
SELECT done(30, 0.4), done(31);
SELECT vibevideo_internal.add_costs(1000) > 0;
SELECT tenant, submits, videos, trim_scale(settled_usd) FROM vibevideo.tenant_costs;
SELECT (vibevideo.set_limit('tenant', NULL, NULL, NULL, -1, spend_per_month_usd => 1, tenant => 'acme')).who;
SELECT make(40, 'eve', 'acme');
SELECT * FROM used WHERE who = 'tenant:acme';
SELECT failed(32), failed(35);
SELECT vibelog_id, (vibevideo.retry_cost(job_id)).reason FROM vibevideo.job WHERE vibelog_id IN ('32', '35') ORDER BY 1;
UPDATE vibevideo.job SET tenant = 'acme' WHERE vibelog_id = '32';
SELECT vibelog_id, (vibevideo.retry_cost(job_id)).reason FROM vibevideo.job WHERE vibelog_id = '32';
-- a limit must say whom it is for
INSERT INTO vibevideo.limit (scope) VALUES ('tenant');
INSERT INTO vibevideo.limit (scope, model, user_id) VALUES ('model', 'acme/a', 'ann');
INSERT INTO vibevideo.limit (scope, tenant) VALUES ('global', 'acme');
SELECT vibevideo.set_limit('model', NULL, 1, NULL, NULL);
SELECT vibevideo.set_limit('global', NULL, 1, NULL, NULL, tenant => 'acme');
SELECT vibevideo.set_limit('global', NULL, 1, NULL, NULL, submits_per_hour => -2);
SELECT vibevideo.set_limit('somebody', NULL, 1, NULL, NULL);
SELECT vibevideo.delete_limit('tenant', tenant => 'acme'), vibevideo.delete_limit('tenant', tenant => 'acme'), vibevideo.delete_limit('model', model => 'acme/b');
SELECT scope, user_id, tenant, model, max_active FROM vibevideo_internal.shown_limits();
SELECT check_name, status, detail FROM vibevideo_internal.check_limits();

SET client_min_messages = error;
DROP VIEW used;
DROP FUNCTION make(int, text, text, text, timestamptz), done(int, numeric), failed(int);
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP TABLE vibelogs CASCADE;
