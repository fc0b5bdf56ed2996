-- Operating: schedule without pg_cron, the offline parts of check_config, reset_stuck
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;

-- pg_cron is not in this database
SELECT vibevideo.schedule();
SET cron.database_name = 'elsewhere';
SELECT regexp_replace(detail, current_database(), 'here') AS detail, status, hint FROM vibevideo_internal.check_cron();
DO $$
DECLARE
	hint text;
BEGIN
	PERFORM vibevideo.schedule('5 minutes');
EXCEPTION WHEN feature_not_supported THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RAISE NOTICE '%', replace(hint, current_database(), 'here');
END
$$;
RESET cron.database_name;
SELECT vibevideo.unschedule();

-- what cron cannot say
SELECT vibevideo.schedule(NULL);
SELECT vibevideo.schedule('0');
SELECT vibevideo.schedule('-10 seconds');
SELECT vibevideo.schedule('0.5 seconds');
SELECT vibevideo.schedule('90 seconds');
SELECT vibevideo.schedule('1 hour');
SELECT vibevideo.schedule('1 month');

-- the attached table
SELECT * FROM vibevideo_internal.check_table();
CREATE TABLE vibelogs (id int PRIMARY KEY, content text, picture text, updated_at timestamptz DEFAULT now());
CREATE FUNCTION make_input(vibelogs) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
SELECT vibevideo.attach('vibelogs', image_column => 'picture', input_function => 'make_input');
SELECT check_name, status, hint FROM vibevideo_internal.check_table();
SELECT * FROM vibevideo_internal.check_api() WHERE check_name = 'api';
BEGIN;
DROP INDEX idx_vibelogs_video_request_id;
DROP FUNCTION make_input(vibelogs);
ALTER TABLE vibelogs DROP CONSTRAINT vibelogs_video_generation_status_check, DROP COLUMN picture,
	ALTER COLUMN video_url TYPE int USING NULL;
SELECT * FROM vibevideo_internal.check_table() WHERE status <> 'ok';
ALTER TABLE vibelogs ADD CONSTRAINT mine CHECK (video_generation_status <> 'cancelled');
SELECT * FROM vibevideo_internal.check_table() WHERE check_name = 'constraint';
CREATE ROLE vv_owner;
ALTER TABLE vibelogs OWNER TO vv_owner;
ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT * FROM vibevideo_internal.check_table() WHERE check_name = 'row_security';
DROP TABLE vibelogs;
SELECT check_name, status, detail, replace(hint, (SELECT relation::oid::text FROM vibevideo.binding), '...') AS hint FROM vibevideo_internal.check_table();
SELECT vibevideo.reset_stuck();
ROLLBACK;

-- jobs that need attention; never committed, so that no worker takes them.  Line
-- overdue depends on what the worker is doing: see 274_doctor.pl.
SELECT * FROM vibevideo_internal.check_jobs() WHERE check_name <> 'overdue';
BEGIN;
INSERT INTO vibevideo.job (vibelog_id, state, model, input, next_at, media_url, completed_at, row_dirty, row_error) VALUES
	('1', 'queued', 'm/n', '{}', now() - interval '2 minutes', NULL, NULL, false, NULL),
	('2', 'submit_unknown', 'm/n', '{}', 'infinity', NULL, NULL, false, NULL),
	('3', 'failed', 'm/n', '{}', NULL, 'http://media', now(), true, 'the row is locked');
SELECT check_name, status, regexp_replace(detail, '[0-9]+ (s|min|h|d) ago|just now', '... ago') AS detail, hint FROM vibevideo_internal.check_jobs() WHERE check_name <> 'overdue';
ROLLBACK;

-- rows without a job behind them
BEGIN;
INSERT INTO vibelogs (id, video_generation_status, updated_at) VALUES
	(1, 'queued', now() - interval '2 hours'), (2, 'generating', now() - interval '2 hours'),
	(3, 'processing', NULL), (4, 'queued', now()), (5, 'completed', now() - interval '2 hours'),
	(6, NULL, now() - interval '2 hours'), (7, 'generating', now() - interval '2 hours'),
	(8, 'processing', now() - interval '2 hours');
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, row_dirty)
SELECT 'vibelogs', j.id, j.state, 'm/n', '{}', j.next_at, false FROM (VALUES
	('2', 'queued', 'infinity'::timestamptz), ('7', 'failed', NULL), ('7', 'completed', NULL), ('8', 'failed', NULL),
	('8', 'generating', 'infinity')) AS j(id, state, next_at);
SELECT vibevideo.reset_stuck();
SELECT id, video_generation_status, video_generation_error FROM vibelogs ORDER BY id;
-- written anew by the worker
SELECT vibelog_id, state, row_dirty FROM vibevideo.job ORDER BY job_id;
SELECT vibevideo.reset_stuck();
SELECT vibevideo.reset_stuck('0');
SELECT id, video_generation_status FROM vibelogs WHERE id = 4;
ROLLBACK;
-- without updated_at the age cannot be told
BEGIN;
ALTER TABLE vibelogs DROP COLUMN updated_at;
INSERT INTO vibelogs (id, video_generation_status) VALUES (1, 'queued');
SELECT vibevideo.reset_stuck('1 day');
ROLLBACK;
-- a key with an order of its own, which is not that of our index
BEGIN;
SELECT vibevideo.detach();
CREATE TABLE words (id text COLLATE "de-x-icu" PRIMARY KEY, prompt text);
SELECT vibevideo.attach('words');
INSERT INTO words (id, video_generation_status) VALUES ('no job', 'queued'), ('job', 'queued');
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, row_dirty) VALUES
	('words', 'job', 'failed', 'm/n', '{}', NULL, false);
SELECT vibevideo.reset_stuck('0');
SELECT id, video_generation_status FROM words ORDER BY id COLLATE "C";
ROLLBACK;
SELECT vibevideo.reset_stuck('-1 hour');
SELECT vibevideo.reset_stuck(NULL);
SELECT vibevideo.detach();
SELECT vibevideo.reset_stuck();

DROP EXTENSION vibevideo;
DROP TABLE vibelogs CASCADE;
