-- attach(tenant_column => ...): which tenant a row is of, and what that limits.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (id bigint PRIMARY KEY, prompt text, "the team" text, owner text, tags text[]);
SELECT vibevideo.attach('vibelogs', tenant_column => 'team');
SELECT vibevideo.attach('vibelogs', tenant_column => 'tags');
SELECT vibevideo.attach('vibelogs', tenant_column => 'the team');
SELECT vibevideo.pause('all');
SELECT tenant_column, user_column FROM vibevideo.binding;
INSERT INTO vibevideo.limit (scope, submits_per_day) VALUES ('default_tenant', 2);
INSERT INTO vibevideo.limit (scope, tenant, submits_per_day) VALUES ('tenant', 'large', 3);
SELECT check_name, status, detail FROM vibevideo_internal.check_limits() WHERE check_name IN ('limits', 'tenants');
INSERT INTO vibelogs (id, prompt, "the team") SELECT i, 'p' || i, CASE i % 4 WHEN 0 THEN 'large' WHEN 1 THEN 'small' WHEN 2 THEN '' END FROM generate_series(1, 20) i;
-- one by one and many at once; without a tenant there is no limit
SELECT count(*) FROM vibevideo_submit_batch(ARRAY[1, 2, 3, 4, 5, 6, 7, 8]);
\set VERBOSITY terse
SELECT vibevideo_submit_batch(ARRAY[9]);
SELECT count(*) FROM vibevideo_submit_batch(ARRAY[10, 11, 12]);
SELECT vibevideo_submit_batch(ARRAY[14, 16]);
\set VERBOSITY default
SELECT tenant, count(*), string_agg(vibelog_id, ' ' ORDER BY job_id) AS keys FROM vibevideo.jobs GROUP BY 1 ORDER BY 1;
-- it is the row's at the moment of the submit
UPDATE vibelogs SET "the team" = 'new' WHERE id = 13;
SELECT count(*) FROM vibevideo_submit_batch(ARRAY[13]);
UPDATE vibelogs SET "the team" = 'small' WHERE id = 13;
SELECT tenant FROM vibevideo.jobs WHERE vibelog_id = '13';
-- another attempt of it is of the same tenant
UPDATE vibevideo.job SET state = 'failed', error_code = 'x', next_at = NULL, completed_at = now() WHERE vibelog_id IN ('4', '8');
SELECT (vibevideo.retry(j.job_id)).status FROM vibevideo.job j WHERE j.vibelog_id = '4';
SELECT p.jobs, a.jobs, a.why FROM vibevideo.plan('retry', '{"key": "8"}') p CROSS JOIN LATERAL vibevideo.act(p.token) a;
SELECT vibelog_id, attempt, state, tenant FROM vibevideo.jobs WHERE vibelog_id IN ('4', '8') ORDER BY 1, 2;
UPDATE vibelogs SET "the team" = repeat('x', 513) WHERE id = 17;
SELECT vibevideo_submit_batch(ARRAY[17]);
-- the column is watched as the others are
ALTER TABLE vibelogs RENAME "the team" TO team;
SELECT vibevideo_submit_batch(ARRAY[18]);
SELECT vibevideo.attach('vibelogs');
SELECT vibevideo.attach('vibelogs', tenant_column => 'team');
SELECT count(*) FROM vibevideo_submit_batch(ARRAY[18]);
SELECT vibevideo.attach('vibelogs', tenant_column => '');
SELECT check_name, status, detail FROM vibevideo_internal.check_limits() WHERE check_name = 'tenants';
SET client_min_messages = error;
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP TABLE vibelogs CASCADE;
