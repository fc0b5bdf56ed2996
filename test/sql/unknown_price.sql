-- A price that is not known, with and without vibevideo.unknown_price
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
CREATE EXTENSION vibevideo;
\pset format unaligned

-- what a statement says instead of raising it
CREATE FUNCTION try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE command;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END
$$;
CREATE TABLE vibelogs (id int PRIMARY KEY, prompt text, model_input jsonb DEFAULT '{}', owner text DEFAULT 'ann');
INSERT INTO vibelogs SELECT i, 'a cat' FROM generate_series(1, 30) i;
CREATE FUNCTION input_of(v vibelogs) RETURNS jsonb LANGUAGE sql IMMUTABLE RETURN v.model_input || jsonb_build_object('prompt', v.prompt);
SELECT vibevideo.attach('vibelogs', user_column => 'owner', input_function => 'input_of', model => 'acme/second');
-- the worker leaves these jobs alone
SELECT vibevideo.pause('all');
RESET client_min_messages;
-- by default it counts as 0, with a warning
SELECT FROM vibevideo.set_price('acme/second', 0.1, 'second', quantity => '$.duration');
UPDATE vibelogs SET model_input = '{"duration": "auto"}' WHERE id = 8;
UPDATE vibelogs SET model_input = '{"duration": "5s"}' WHERE id = 9;
SELECT cost_usd, why FROM vibevideo_estimate(8);
INSERT INTO vibevideo.limit (scope, spend_per_day_usd) VALUES ('default', 4);
SELECT * FROM vibevideo_internal.check_limits() WHERE check_name = 'price';
SELECT try('SELECT vibevideo_submit_batch(''{8}'')');
SELECT cost_usd FROM vibevideo.job;
-- or is refused
SET vibevideo.unknown_price = 'refuse';
SELECT * FROM vibevideo_internal.check_limits() WHERE check_name = 'price';
SELECT try('SELECT vibevideo_submit_batch(''{9,10}'')'), try('SELECT vibevideo_submit_batch(''{9}'')');
SELECT vibelog_id, cost_usd FROM vibevideo.job ORDER BY vibelog_id;
-- nor by an attempt that begins by itself, nor by an operator
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, renders) VALUES ('vibelogs', 11, 'pending', 'acme/second', '{}', 'ann', 2);
SELECT state, error_code, error, cost_usd FROM vibevideo.job WHERE vibelog_id = '11';
BEGIN;
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, completed_at, next_at, error_code)
SELECT 'vibelogs', i, 'failed', 'acme/second', i.input, 'ann', now(), NULL, 'x' FROM (VALUES (20, '{}'::jsonb), (21, '{"duration": 2}'), (22, '{}'), (23, '{"duration": 3}')) AS i(i, input);
-- the worker, which would settle them, must not hold them when they are to be retried
UPDATE vibevideo.job SET unsettled = NULL WHERE error_code = 'x';
COMMIT;
SELECT r.* FROM vibevideo.job j CROSS JOIN LATERAL vibevideo.retry_cost(j.job_id) r WHERE j.vibelog_id IN ('20', '21') ORDER BY j.vibelog_id;
SELECT p.jobs, p.unpriced, trim_scale(p.cost_usd) AS cost_usd, a.jobs AS done, trim_scale(a.cost_usd) AS spent, a.why
FROM vibevideo.plan('retry', '{"error_code": "x"}') p CROSS JOIN LATERAL vibevideo.act(p.token) a;
SELECT vibelog_id, cost_usd FROM vibevideo.job WHERE state = 'pending' AND vibelog_id::int >= 20 ORDER BY vibelog_id;
RESET vibevideo.unknown_price;
SELECT r.* FROM vibevideo.job j CROSS JOIN LATERAL vibevideo.retry_cost(j.job_id) r WHERE j.vibelog_id = '20';
SELECT p.jobs, p.unpriced, trim_scale(p.cost_usd) AS cost_usd, a.jobs AS done, trim_scale(a.cost_usd) AS spent, a.why
FROM vibevideo.plan('retry', '{"key": ["20", "22"]}') p CROSS JOIN LATERAL vibevideo.act(p.token) a;
SELECT vibelog_id, cost_usd FROM vibevideo.job WHERE state = 'pending' AND vibelog_id IN ('20', '22') ORDER BY vibelog_id;
-- without a budget nobody asks
SET vibevideo.unknown_price = 'refuse';
UPDATE vibevideo.limit SET spend_per_day_usd = -1, max_active = 50 WHERE scope = 'default';
SELECT try('SELECT vibevideo_submit_batch(''{10}'')');
RESET vibevideo.unknown_price;
SET vibevideo.unknown_price = 'maybe';

SET client_min_messages = error;
DROP FUNCTION try(text);
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP TABLE vibelogs CASCADE;
