-- Viewers and operators: who gets in, what they may, and what the audit keeps
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
CREATE ROLE anon;
CREATE ROLE authenticated;
CREATE ROLE service_role BYPASSRLS;
CREATE ROLE authenticator LOGIN NOINHERIT;
GRANT anon, authenticated, service_role TO authenticator;
CREATE ROLE vv_grafana LOGIN;
CREATE ROLE "vv_Support's" LOGIN;
CREATE ROLE vv_team;
CREATE ROLE vv_member LOGIN IN ROLE vv_team;
CREATE ROLE vv_deputy LOGIN IN ROLE service_role;
CREATE ROLE vv_customer LOGIN IN ROLE authenticated;
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (id int PRIMARY KEY, prompt text);
INSERT INTO vibelogs VALUES (1, 'a secret wish');
SELECT vibevideo.attach('vibelogs');
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, next_at, completed_at, error_code, error, row_dirty, created_at)
VALUES ('vibelogs', '1', 'failed', 'fal-ai/minimax/video-01', '{"prompt": "a secret wish"}', 'ann', NULL, now(), 'internal_error', 'it broke', false, now() - interval '1 h');
INSERT INTO vibevideo_internal.tally (outcome, orphan, model, error_code) VALUES ('failed', false, 'fal-ai/minimax/video-01', 'internal_error');
RESET client_min_messages;

-------------------------------------------------------------------------------
-- Giving and taking
-------------------------------------------------------------------------------

-- the rights alone give columns, but not what people read
GRANT USAGE ON SCHEMA vibevideo TO vv_grafana;
GRANT SELECT ON vibevideo.jobs TO vv_grafana;
SET ROLE vv_grafana;
SELECT job_id, state, error FROM vibevideo.jobs;
SELECT job_id, message FROM vibevideo.jobs;
SELECT * FROM vibevideo.why(1);
RESET ROLE;

SELECT vibevideo.grant_access('vv_grafana', 'viewer');
SELECT vibevideo.grant_access('"vv_Support''s"', 'operator', see_input => true);
SELECT vibevideo.grant_access('vv_team', 'operator');
SELECT role, level, see_input, granted_by = session_user AS by_me FROM vibevideo.access ORDER BY role;

-- a viewer reads, and sees no input
SET ROLE vv_grafana;
SELECT job_id, vibelog_id, status, message, requested_by FROM vibevideo.jobs;
SELECT waits_for, why, waits_until, estimate FROM vibevideo.jobs;
SELECT code FROM vibevideo.why(1);
SELECT count(*) FROM (SELECT to_jsonb(j) AS j FROM vibevideo.jobs j) x WHERE x.j::text LIKE '%secret%';
SELECT user_id, model, submits FROM vibevideo.costs;
SELECT name, value, advice FROM vibevideo.settings WHERE name IN ('vibevideo.max_tries', 'vibevideo.storage_url');
SELECT count(*) > 0 AS models FROM vibevideo.model;
SELECT count(*) AS limits FROM vibevideo.limit;
SELECT pid FROM vibevideo.worker_info() LIMIT 0;
SELECT sum(n) > 0 AS counted, vibevideo.percentile(vibevideo.histogram_sum(total), 0.5) FROM vibevideo.rollup WHERE seconds = 0 AND outcome = 'failed';
SELECT vibevideo.error_class('internal_error'), cardinality(vibevideo.histogram_bounds()) AS bounds;
SELECT label, sum(value) FROM vibevideo.series('failed', now() - interval '1 hour', '1 minute') GROUP BY label;
SELECT (SELECT count(*) FROM vibevideo.backlog) + (SELECT count(*) FROM vibevideo.typical) >= 0 AS reads;
-- and no more
SELECT count(*) FROM vibevideo.job;
SELECT count(*) FROM vibevideo.event;
SELECT count(*) FROM vibevideo_internal.tally;
SELECT count(*) FROM vibevideo.audit;
SELECT vibevideo.cancel(1);
SELECT vibevideo.pause();
SELECT vibevideo.grant_access('vv_grafana', 'operator');
UPDATE vibevideo.limit SET max_active = -1 WHERE true;
RESET ROLE;

-- an operator acts
SET ROLE "vv_Support's";
SELECT status, message FROM vibevideo.cancel(1);
SELECT attempt, status FROM vibevideo.retry(1);
SELECT vibevideo.pause('sending', 'a look');
SELECT vibevideo.resume();
SELECT vibevideo.resolve(1, 'not_sent');
SELECT action, jobs, outcome FROM vibevideo.audit ORDER BY at DESC LIMIT 1;
-- and no more
SELECT count(*) FROM vibevideo.job;
DELETE FROM vibevideo.audit WHERE true;
INSERT INTO vibevideo.audit (who, action) VALUES ('somebody', 'else');
SELECT vibevideo_internal.note_act('nothing');
SELECT level, see_input FROM vibevideo_internal.caller();
SELECT vibevideo.attach('vibelogs');
SELECT vibevideo.detach(true);
UPDATE vibevideo.price_rule SET unit_price_usd = 0 WHERE true;
INSERT INTO vibevideo.operator (user_id) VALUES ('me');
SELECT vibevideo.grant_access('vv_grafana', 'operator');
RESET ROLE;

-- who inherits from an operator is one; who does not, is none
SET SESSION AUTHORIZATION vv_member;
SELECT status FROM vibevideo.cancel(2);
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION vv_deputy;
SELECT status FROM vibevideo.cancel(2);
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION vv_customer;
SELECT status FROM vibevideo.cancel(2);
RESET SESSION AUTHORIZATION;

-- another level, and none
SELECT vibevideo.grant_access('vv_team', 'viewer', true);
SELECT role, level, see_input FROM vibevideo.access WHERE role = 'vv_team';
SET ROLE vv_member;
SELECT vibevideo.cancel(2);
SELECT count(*) FROM vibevideo.jobs;
RESET ROLE;
SELECT vibevideo.revoke_access('vv_team');
SELECT vibevideo.revoke_access('vv_team');
SET ROLE vv_member;
SELECT count(*) FROM vibevideo.jobs;
RESET ROLE;
SELECT vibevideo.revoke_access('vv_grafana');
SELECT vibevideo.revoke_access('"vv_Support''s"');
SELECT count(*) FROM pg_class c CROSS JOIN aclexplode(c.relacl) x WHERE c.relnamespace::regnamespace::text LIKE 'vibevideo%' AND x.grantee::regrole::text ~ 'vv_';
SELECT count(*) FROM pg_proc p CROSS JOIN aclexplode(p.proacl) x WHERE p.pronamespace::regnamespace::text LIKE 'vibevideo%' AND x.grantee::regrole::text ~ 'vv_';

-- a role of the same name is another
SELECT vibevideo.grant_access('vv_grafana', 'operator', true);
DROP OWNED BY vv_grafana;
DROP ROLE vv_grafana;
SELECT role, level FROM vibevideo.access;
CREATE ROLE vv_grafana LOGIN IN ROLE authenticated;
GRANT SELECT ON ALL TABLES IN SCHEMA vibevideo TO vv_grafana;
SET SESSION AUTHORIZATION vv_grafana;
SELECT vibevideo.cancel(2);
RESET SESSION AUTHORIZATION;
SELECT vibevideo.revoke_access('vv_grafana');

-- what it refuses
SELECT vibevideo.grant_access('vv_grafana', 'admin');
SELECT vibevideo.grant_access('vv_grafana', NULL);
SELECT vibevideo.grant_access('no_such_role', 'viewer');
SELECT vibevideo.grant_access(NULL, 'viewer');
SELECT vibevideo.grant_access('authenticated', 'viewer');
SELECT vibevideo.grant_access('service_role', 'operator');

-------------------------------------------------------------------------------
-- People with a JWT
-------------------------------------------------------------------------------
INSERT INTO vibevideo.operator (user_id, note) VALUES ('ann', 'Ann');
INSERT INTO vibevideo.operator (user_id, level) VALUES ('ben', 'viewer');
\set VERBOSITY terse
INSERT INTO vibevideo.operator (user_id, level) VALUES ('eve', 'owner');
\set VERBOSITY default

CREATE FUNCTION pg_temp.as_user(sub text, role text DEFAULT 'authenticated') RETURNS void LANGUAGE sql AS $$
	SELECT set_config('role', role, true), set_config('request.jwt.claims', json_build_object('sub', sub, 'role', role)::text, true)
$$;
SET SESSION AUTHORIZATION authenticator;
BEGIN; SELECT pg_temp.as_user('ann'); SELECT status FROM vibevideo.cancel(2); COMMIT;
BEGIN; SELECT pg_temp.as_user('ben'); SELECT status FROM vibevideo.cancel(2); COMMIT;
BEGIN; SELECT pg_temp.as_user('eve'); SELECT status FROM vibevideo.cancel(2); COMMIT;
BEGIN; SELECT pg_temp.as_user(NULL); SELECT status FROM vibevideo.cancel(2); COMMIT;
BEGIN; SELECT pg_temp.as_user('ann', 'anon'); SELECT status FROM vibevideo.cancel(2); COMMIT;
BEGIN; SELECT pg_temp.as_user(E'x\ny', 'authenticated'); SELECT status FROM vibevideo.cancel(2); COMMIT;
BEGIN; SELECT pg_temp.as_user(NULL, 'service_role'); SELECT status FROM vibevideo.cancel(2); SELECT who FROM vibevideo.audit ORDER BY at DESC LIMIT 1; COMMIT;
-- the claims of the request before are over
BEGIN; SET LOCAL ROLE authenticated; SELECT status FROM vibevideo.cancel(2); COMMIT;
RESET SESSION AUTHORIZATION;

-- a SQL role that forges claims
SET SESSION AUTHORIZATION vv_customer;
BEGIN; SELECT pg_temp.as_user('ann'); SELECT status FROM vibevideo.cancel(2); COMMIT;
BEGIN; SELECT pg_temp.as_user('ann', 'vv_customer'); SELECT status FROM vibevideo.cancel(2); COMMIT;
RESET SESSION AUTHORIZATION;

-------------------------------------------------------------------------------
-- The audit
-------------------------------------------------------------------------------
INSERT INTO vibevideo.limit (scope, max_active) VALUES ('global', 5), ('default', 2);
UPDATE vibevideo.limit SET max_active = 6 WHERE scope = 'global';
UPDATE vibevideo.limit SET max_active = 6 WHERE scope = 'nobody''s';
INSERT INTO vibevideo.limit (scope, max_active) VALUES ('global', 7) ON CONFLICT (who) DO UPDATE SET max_active = EXCLUDED.max_active;
DELETE FROM vibevideo.limit WHERE true;
TRUNCATE vibevideo.limit;
INSERT INTO vibevideo.limit (user_id, max_active) SELECT 'user ' || i, 1 FROM generate_series(1, 12) i;
DELETE FROM vibevideo.limit WHERE true;
SELECT unit_price_usd FROM vibevideo.set_price('fal-ai/minimax/video-01', 0.6);
UPDATE vibevideo.model SET max_prompt = 1999 WHERE endpoint = 'fal-ai/minimax/video-01';
SELECT action, arguments -> 'rows' AS rows, arguments -> 'was' -> 0 ->> 'max_active' AS was, arguments -> 'is' -> 0 ->> 'max_active' AS is,
	   jsonb_array_length(arguments -> 'is') AS shown
FROM vibevideo.audit WHERE action ~ 'limit|model|price' ORDER BY at;
-- whoever was given rights on a table is in it, without rights on the audit
GRANT USAGE ON SCHEMA vibevideo TO vv_member;
GRANT INSERT ON vibevideo.operator TO vv_member;
SET SESSION AUTHORIZATION vv_member;
INSERT INTO vibevideo.operator (user_id) VALUES ('friend');
RESET SESSION AUTHORIZATION;
SELECT regexp_replace(who, '^' || session_user, 'me') AS who, action, arguments - '{is,was,options,cause}'::text[] AS arguments, jobs, cost_usd, outcome
FROM vibevideo.audit WHERE action !~ 'limit|model' ORDER BY at;

-- the owner's are in it, too
UPDATE vibelogs SET video_generation_status = 'queued' WHERE id = 1;
SELECT vibevideo.reset_stuck('0');
SET client_min_messages = error;
SELECT vibevideo.detach(true);
SELECT vibevideo.attach('vibelogs', model => 'acme/other');
SELECT vibevideo.attach('vibelogs', model => 'acme/another');
RESET client_min_messages;
SELECT action, arguments, jobs, outcome FROM vibevideo.audit ORDER BY at DESC LIMIT 4;

-- nobody changes it; what is beyond retention may go
UPDATE vibevideo.audit SET who = 'nobody' WHERE true;
DELETE FROM vibevideo.audit WHERE true;
TRUNCATE vibevideo.audit;
SET session_replication_role = replica;
DELETE FROM vibevideo.audit WHERE true;
RESET session_replication_role;
INSERT INTO vibevideo.audit (at, who, action) VALUES (now() - interval '366 days', 'long gone', 'cancel'), (now() - interval '364 days', 'not yet', 'cancel');
DELETE FROM vibevideo.audit WHERE who = 'not yet';
DELETE FROM vibevideo.audit WHERE who = 'long gone';
SET vibevideo.audit_retention = 0;
DELETE FROM vibevideo.audit WHERE who = 'not yet';
RESET vibevideo.audit_retention;
BEGIN;
SELECT vibevideo.pause();
ROLLBACK;
SELECT count(*) FROM vibevideo.audit WHERE action = 'pause';

-------------------------------------------------------------------------------
-- Settings
-------------------------------------------------------------------------------
SET vibevideo.fal_key = 'id:secret';
SET vibevideo.retention = 0;
SET vibevideo.unknown_policy = 'resubmit';
SELECT name, value, source, advice FROM vibevideo.settings WHERE name IN ('vibevideo.fal_key', 'vibevideo.storage_key', 'vibevideo.retention', 'vibevideo.unknown_policy', 'vibevideo.audit_retention');
SELECT vibevideo_internal.setting_advice('vibevideo.fal_jwks_url', 'http://here');
ALTER ROLE authenticated SET statement_timeout = '5s';
SELECT advice FROM vibevideo.settings WHERE name = 'vibevideo.submit_timeout';
ALTER ROLE authenticated RESET statement_timeout;
RESET vibevideo.retention;
RESET vibevideo.unknown_policy;
SELECT count(*) > 40 AS many, bool_and(meaning <> '') AS explained, count(*) FILTER (WHERE file IS NOT NULL) > 0 AS files FROM vibevideo.settings;
REVOKE SELECT ON ALL TABLES IN SCHEMA vibevideo FROM vv_grafana;
SELECT vibevideo.grant_access('vv_grafana', 'viewer');
SET ROLE vv_grafana;
SELECT count(*) > 40 AS many, count(*) FILTER (WHERE file IS NOT NULL) AS files, count(*) FILTER (WHERE value LIKE '%secret%' OR value LIKE '%*%' AND name LIKE '%key') AS keys FROM vibevideo.settings;
RESET ROLE;

DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP TABLE vibelogs;
DROP ROLE anon, authenticated, service_role, authenticator, vv_grafana, "vv_Support's", vv_team, vv_member, vv_deputy, vv_customer;
