-- View vibevideo.limit_use: what is used of each limit, which is what submits are judged by.
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

CREATE FUNCTION make(id int, who text, tenant text DEFAULT NULL, model text DEFAULT 'acme/a', at timestamptz DEFAULT now()) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, tenant, created_at) VALUES ('vibelogs', id, 'pending', model, '{}', who, tenant, at);
	RETURN 'made';
EXCEPTION WHEN SQLSTATE 'PT429' OR SQLSTATE 'PT402' THEN
	RETURN SQLSTATE;
END
$$;
CREATE FUNCTION done(id int, cost numeric DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	UPDATE vibevideo.job SET state = 'processing', media_url = 'http://127.0.0.1/x.mp4', generated_at = now() WHERE vibelog_id = id::text AND state = 'pending';
	UPDATE vibevideo.job SET state = 'completed', next_at = NULL, completed_at = now() WHERE vibelog_id = id::text AND state = 'processing';
	UPDATE vibevideo.job SET cost_usd = cost, cost_source = 'bill' WHERE vibelog_id = id::text AND state = 'completed' AND cost IS NOT NULL;
$$;
CREATE FUNCTION cancelled(id int) RETURNS void LANGUAGE sql AS $$
	UPDATE vibevideo.job SET state = 'submitting' WHERE vibelog_id = id::text AND state = 'pending';
	UPDATE vibevideo.job SET state = 'generating', request_id = 'r' || id WHERE vibelog_id = id::text AND state = 'submitting';
	UPDATE vibevideo.job SET state = 'cancelled', next_at = NULL, completed_at = now(), held_usd = cost_usd WHERE vibelog_id = id::text AND state = 'generating';
$$;
CREATE VIEW shown AS SELECT u.who, u.limit_name, u.most, u.used, u.remaining, u.held FROM vibevideo.limit_use u;

-- without limits there is nothing
SELECT make(1, 'ann', 'red'), make(2, 'ann', 'red'), make(3, 'bob'), make(4, NULL, 'red', 'acme/b');
SELECT count(*) FROM vibevideo.limit_use;

-- each number of a limit is a line; -1 and what is not limited are none
SELECT (vibevideo.set_limit('global', NULL, 10, 20, 30, 40, 50, 60, 70)).who;
SELECT * FROM shown;
SELECT u.limit_name, u.resets_at = date_trunc(s.span, now(), 'UTC') + ('1 ' || s.span)::interval
FROM vibevideo.limit_use u CROSS JOIN LATERAL (SELECT substring(u.limit_name, '_per_([a-z]+)') AS span) s;
SELECT (vibevideo.set_limit('global', NULL, NULL, -1, 30)).who;
SELECT * FROM shown;
SELECT (vibevideo.set_limit('model', NULL, 0, NULL, 100, model => 'acme/b')).who;
SELECT (vibevideo.set_limit('user', 'nobody', 5, NULL, NULL)).who;
SELECT (vibevideo.set_limit('user', 'bob', -1, NULL, NULL)).who;
SELECT (vibevideo.set_limit('default', NULL, 3, 2, NULL)).who;
SELECT (vibevideo.set_limit('tenant', NULL, NULL, 1, NULL, tenant => 'red')).who;
SELECT (vibevideo.set_limit('default_tenant', NULL, 9, NULL, NULL)).who;
SELECT * FROM shown;

-- what has ended, at another price than expected; what is cancelled may yet be billed; what is gone counts
SELECT done(1), done(2, 0.25), cancelled(3);
SELECT * FROM shown;
SELECT vibevideo_internal.add_costs(1000) > 0;
DELETE FROM vibevideo.job WHERE vibelog_id IN ('1', '2');
SELECT * FROM shown;
UPDATE vibevideo.job SET held_usd = NULL WHERE vibelog_id = '3';
SELECT * FROM shown WHERE who IN ('global', 'user:bob');

-- more than there is
UPDATE vibevideo.job SET cost_usd = 31, cost_source = 'bill', billed = true WHERE vibelog_id = '3';
SELECT * FROM shown WHERE who = 'global';
DELETE FROM vibevideo.limit WHERE true;

-- of a default the 100 who have used the most, of each of its limits
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, tenant)
SELECT 'vibelogs', 1000 + n, 'pending', CASE WHEN n <= 10 THEN 'acme/b' ELSE 'acme/a' END, '{}', 'u' || n % 120, 't' || n % 110 FROM generate_series(1, 360) n;
INSERT INTO vibevideo.limit (scope, max_active, spend_per_day_usd) VALUES ('default', 5, 10), ('default_tenant', 50, 100);
SELECT split_part(who, ':', 1), limit_name, count(*), min(used), max(used) FROM vibevideo.limit_use GROUP BY 1, 2 ORDER BY 1, 2;
SELECT who, limit_name, used FROM vibevideo.limit_use WHERE who LIKE 'user:%' AND limit_name LIKE 'spend%' LIMIT 12;
-- one of them with a limit of his own is always there
INSERT INTO vibevideo.limit (user_id, max_active) VALUES ('u99', 4);
SELECT who, limit_name, most, used FROM vibevideo.limit_use WHERE who = 'user:u99';
SELECT split_part(who, ':', 1), limit_name, count(*) FROM vibevideo.limit_use GROUP BY 1, 2 ORDER BY 1, 2;
DELETE FROM vibevideo.limit WHERE true;
DELETE FROM vibevideo.job WHERE true;

/*
 * Before each of many submits the view says what becomes of it; and all that it says is what
 * used_of says.
 */
INSERT INTO vibevideo.limit (scope, max_active, submits_per_hour, submits_per_day, submits_per_month, spend_per_hour_usd, spend_per_day_usd, spend_per_month_usd) VALUES
	('default', 6, 14, 11, 12, 11.25, 12, 40), ('default_tenant', NULL, NULL, 40, NULL, 50, 30, NULL), ('global', 22, NULL, NULL, 120, NULL, NULL, 105);
INSERT INTO vibevideo.limit (scope, user_id, tenant, model, spend_per_day_usd) VALUES ('user', 'u1', NULL, NULL, 3.3), ('tenant', NULL, 't1', NULL, 8), ('model', NULL, NULL, 'acme/b', 45);
CREATE FUNCTION said_of(who text, tenant text, model text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce((SELECT CASE WHEN u.limit_name LIKE 'spend%' THEN 'PT402' ELSE 'PT429' END
					 FROM vibevideo.limit_use u
					 WHERE u.who IN ('user:' || said_of.who, 'tenant:' || said_of.tenant, 'model:' || said_of.model, 'global')
					   AND u.remaining < CASE WHEN u.limit_name NOT LIKE 'spend%' THEN 1 WHEN said_of.model = 'acme/b' THEN 2 ELSE 0.5 END
					 ORDER BY array_position(ARRAY['user', 'tenant', 'model', 'global'], split_part(u.who, ':', 1)),
							  array_position(ARRAY['max_active', 'submits_per_day', 'submits_per_hour', 'submits_per_month'], u.limit_name) LIMIT 1), 'made')
$$;
CREATE VIEW by_jobs AS
SELECT u.who, u.limit_name, u.used,
	   CASE u.limit_name WHEN 'max_active' THEN (SELECT count(*) FROM vibevideo_internal.active_jobs a WHERE vibevideo_internal.is_of(u.who, a.requested_by, a.tenant, a.model))
		ELSE (SELECT vibevideo_internal.used_of(u.who, k.kind, vibevideo_internal.begin_of(k.kind, now()))
			  FROM (SELECT regexp_replace(u.limit_name, '_per(_[a-z]+)(_usd)?', '\1') AS kind) k) END AS by_jobs
FROM vibevideo.limit_use u;
CREATE TABLE tried (id int, said text, became text);
DO $$
DECLARE
	who text;
	tenant text;
	model text;
	said text;
BEGIN
	FOR i IN 1 .. 160 LOOP
		who = 'u' || i * 7 % 23 % 6;
		tenant = 't' || i * 5 % 11 % 4;
		model = CASE WHEN i % 3 = 1 THEN 'acme/b' ELSE 'acme/a' END;
		said = said_of(who, tenant, model);
		INSERT INTO tried VALUES (i, said, make(i, who, tenant, model));
		COMMIT;
		-- some end: as expected, cheaper, dearer, cancelled, failed
		CASE i % 7
			WHEN 1 THEN PERFORM done(i - 3);
			WHEN 2 THEN PERFORM done(i - 5, 0.3);
			WHEN 3 THEN PERFORM done(i - 4, 2.2);
			WHEN 4 THEN PERFORM cancelled(i - 9);
			WHEN 5 THEN UPDATE vibevideo.job SET state = 'failed', error_code = 'x', next_at = NULL, completed_at = now() WHERE vibelog_id = (i - 1)::text AND state = 'pending';
			ELSE PERFORM vibevideo_internal.add_costs(1);
		END CASE;
		COMMIT;
		IF i % 10 = 0 AND EXISTS (SELECT FROM by_jobs b WHERE b.used <> b.by_jobs) THEN
			RAISE EXCEPTION 'after %: %', i, (SELECT json_agg(b) FROM by_jobs b WHERE b.used <> b.by_jobs);
		END IF;
	END LOOP;
END
$$;
SELECT * FROM tried WHERE said <> became ORDER BY id;
SELECT became, count(*) > 10 FROM tried GROUP BY 1 ORDER BY 1;

-- a price that fits to the cent, and does not
DELETE FROM vibevideo.limit WHERE true;
SELECT (vibevideo.set_limit('user', 'cent', NULL, NULL, 2.5)).who;
SELECT make(201, 'cent', model => 'acme/b');
SELECT remaining FROM vibevideo.limit_use;
SELECT make(202, 'cent'), make(203, 'cent');
SELECT remaining FROM vibevideo.limit_use;
SELECT done(201, 1.51);
SELECT remaining, make(203, 'cent') FROM vibevideo.limit_use;
SELECT done(202, 0.49);
SELECT remaining, make(203, 'cent'), make(204, 'cent') FROM vibevideo.limit_use;

-- who may read it
CREATE ROLE limits_viewer;
CREATE ROLE limits_nobody;
SELECT vibevideo.grant_access('limits_viewer', 'viewer');
SET ROLE limits_viewer;
SELECT who, limit_name, remaining FROM vibevideo.limit_use;
SELECT who, limit_name, remaining FROM public.vibevideo_admin_limit_use();
SET ROLE limits_nobody;
SELECT who FROM vibevideo.limit_use;
SELECT who FROM public.vibevideo_admin_limit_use();
RESET ROLE;
-- the page has those first of which the least is left
SELECT (vibevideo.set_limit('global', NULL, 400, NULL, 300)).who;
SELECT (vibevideo.set_limit('default', NULL, 0, NULL, NULL)).who;
SELECT (vibevideo.set_limit('model', NULL, 0, NULL, NULL, model => 'acme/c')).who;
SELECT who, limit_name, most FROM public.vibevideo_admin_limit_use() WHERE who IN ('user:cent', 'global', 'model:acme/c');
SELECT vibevideo.revoke_access('limits_viewer');
DROP ROLE limits_viewer, limits_nobody;
SET client_min_messages = error;
DROP VIEW shown, by_jobs;
DROP FUNCTION make(int, text, text, text, timestamptz), done(int, numeric), cancelled(int), said_of(text, text, text);
DROP TABLE tried;
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP TABLE vibelogs CASCADE;
