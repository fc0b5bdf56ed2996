-- vibevideo.attach and detach: what they do to the app's table
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;

-- what vibevideo has added to a table
CREATE VIEW added_columns AS
SELECT a.attrelid::regclass AS relation, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull
FROM pg_attribute a
WHERE a.attname LIKE 'video\_%' AND a.attnum > 0
  AND a.attrelid IN (SELECT c.oid FROM pg_class c
					 WHERE c.relkind IN ('r', 'p') AND c.relnamespace::regnamespace::text NOT LIKE 'vibevideo%')
ORDER BY a.attrelid, a.attnum;
CREATE VIEW added_objects AS
SELECT c.conrelid::regclass AS relation, c.conname::text COLLATE "C" AS name, c.convalidated AS valid, pg_get_constraintdef(c.oid) AS definition
FROM pg_constraint c WHERE c.contype = 'c' AND pg_get_constraintdef(c.oid) LIKE '%video\_generation\_status%'
UNION ALL
SELECT i.indrelid::regclass, i.indexrelid::regclass::text, i.indisvalid, pg_get_indexdef(i.indexrelid)
FROM pg_index i WHERE pg_get_indexdef(i.indexrelid) LIKE '%video\_request\_id%'
ORDER BY 1, 2;

CREATE TABLE vibelogs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), content text, body text);
INSERT INTO vibelogs (content) VALUES ('a cat'), ('a dog');
SELECT vibevideo.attach('vibelogs');
SELECT * FROM added_columns;
SELECT * FROM added_objects;
SELECT count(*), count(video_generation_status) FROM vibelogs;

-- only our statuses, and none
\set VERBOSITY terse
INSERT INTO vibelogs (content, video_generation_status)
SELECT 'a bird', s FROM unnest(ARRAY['queued', 'generating', 'processing', 'completed', 'failed', 'cancelled', NULL]) s;
INSERT INTO vibelogs (content, video_generation_status) VALUES ('a bird', 'pending');
\set VERBOSITY default

-- again: nothing to do
CREATE TEMP TABLE before AS SELECT xmin::text AS version FROM pg_class WHERE oid = 'vibelogs'::regclass;
SELECT vibevideo.attach('vibelogs');
SELECT version = (SELECT xmin::text FROM pg_class WHERE oid = 'vibelogs'::regclass) AS untouched FROM before;
DROP TABLE before;

-- again with options: those that are not named stay
CREATE FUNCTION make_input(vibelogs) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('prompt', $1.body) $$;
CREATE FUNCTION make_input(int) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
SELECT vibevideo.attach('vibelogs', prompt_column => 'body', image_column => 'content',
						model => 'fal-ai/minimax/video-01/image-to-video', input_function => 'make_input');
SELECT relation, id_column, id_type, prompt_column, image_column, model, input_function, build_index FROM vibevideo.binding;
SELECT vibevideo.attach('vibelogs', input_function => 'public.make_input');
SELECT relation, id_column, id_type, prompt_column, image_column, model, input_function, build_index FROM vibevideo.binding;

-- a lock_timeout of the session's is left as it was
BEGIN;
SELECT vibevideo.attach('vibelogs') IS NOT NULL AS attached;
SHOW lock_timeout;
SET LOCAL lock_timeout = '1min';
SELECT vibevideo.attach('vibelogs') IS NOT NULL AS attached;
SHOW lock_timeout;
COMMIT;

-- another table
CREATE TABLE other (id uuid PRIMARY KEY, prompt varchar(100), description text);
SELECT vibevideo.attach('other');
SELECT vibevideo.detach();
SELECT vibevideo.detach();
SELECT vibevideo.attach('other');
SELECT count(*) FROM added_columns WHERE relation = 'vibelogs'::regclass;

-- active jobs keep it attached
BEGIN;
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, row_dirty)
VALUES ('other', '1', 'queued', 'm/n', '{}', 'infinity', false), ('other', '2', 'completed', 'm/n', '{}', NULL, false),
	   ('vibelogs', '1', 'queued', 'm/n', '{}', 'infinity', false);
SAVEPOINT attached;
SELECT vibevideo.detach();
ROLLBACK TO attached;
SELECT vibevideo.detach(force => true);
SELECT count(*) FROM vibevideo.job;
SELECT vibevideo.attach('vibelogs');
ROLLBACK;

-- the attached table is dropped: another may follow, or none
DROP TABLE other;
SELECT vibevideo.attach('vibelogs');
CREATE TABLE other (id uuid PRIMARY KEY, prompt text);
SELECT vibevideo.detach();
SELECT vibevideo.attach('other');
DROP TABLE other;
SELECT vibevideo.detach();

-- columns that are there already are taken as they are
CREATE TABLE older (
	id uuid PRIMARY KEY,
	caption text,
	video_url varchar,
	video_generation_status varchar CONSTRAINT mine CHECK (video_generation_status IN
		('queued', 'generating', 'processing', 'completed', 'failed', 'cancelled')),
	video_request_id text UNIQUE
);
SELECT vibevideo.attach('older');
SELECT * FROM added_columns WHERE relation = 'older'::regclass;
SELECT * FROM added_objects WHERE relation = 'older'::regclass;
SELECT vibevideo.detach();

-- a CHECK that calls a function of the app is not judged
CREATE FUNCTION is_status(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'called'; END $$;
CREATE TABLE guarded (id uuid PRIMARY KEY, content text, video_generation_status text CHECK (is_status(video_generation_status)));
SELECT vibevideo.attach('guarded');
SELECT * FROM added_objects WHERE relation = 'guarded'::regclass;
SELECT vibevideo.detach();

-- names that need quotes, or are as long as they can be
CREATE SCHEMA "My App";
CREATE TABLE "My App"."Vibe ""Logs""" ("The Id" uuid PRIMARY KEY, "Prompt %s" text);
SELECT vibevideo.attach('"My App"."Vibe ""Logs"""', prompt_column => 'Prompt %s');
SELECT * FROM added_objects WHERE relation = '"My App"."Vibe ""Logs"""'::regclass;
SELECT vibevideo.detach();
SELECT U&'\00e4' || repeat('x', 61) AS long_name \gset
CREATE TABLE :"long_name" (id uuid PRIMARY KEY, content text);
SELECT vibevideo.attach(:'long_name'::regclass) IS NOT NULL AS attached;
SELECT name FROM added_objects WHERE relation = :'long_name'::regclass;
-- its index is known although its definition is shown in quotes
SET quote_all_identifiers = on;
SELECT vibevideo.attach(:'long_name'::regclass) IS NOT NULL AS attached;
RESET quote_all_identifiers;
SELECT vibevideo.detach();

-- a partitioned table
CREATE TABLE parts (id uuid PRIMARY KEY, content text) PARTITION BY HASH (id);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT vibevideo.attach('parts');
SELECT relation, name, valid FROM added_objects WHERE relation::text LIKE 'parts%';
SELECT vibevideo.attach('parts') IS NOT NULL AS attached;
SELECT vibevideo.detach();

-- a big table: the CHECK stays NOT VALID, the index is left to the worker
CREATE TABLE big (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), content text);
ALTER TABLE big ALTER COLUMN content SET STORAGE PLAIN;
\set VERBOSITY terse
INSERT INTO big (content) SELECT repeat('x', 8000) FROM generate_series(1, 8300);
\set VERBOSITY default
BEGIN;
SELECT vibevideo.attach('big');
SELECT * FROM added_objects WHERE relation = 'big'::regclass;
SELECT build_index FROM vibevideo.binding;
SELECT check_name, status, hint FROM vibevideo_internal.check_table();
SELECT vibevideo_internal.index_command('big', online => true);
-- once it is there, nothing is left to do
CREATE INDEX idx_big_video_request_id ON big (video_request_id) WHERE video_request_id IS NOT NULL;
SELECT vibevideo.attach('big');
SELECT build_index FROM vibevideo.binding;
ROLLBACK;

-- DROP EXTENSION leaves the app's table alone
SELECT vibevideo.attach('vibelogs');
DROP EXTENSION vibevideo;
SELECT count(*) FROM added_columns WHERE relation = 'vibelogs'::regclass;
SELECT name, valid FROM added_objects WHERE relation = 'vibelogs'::regclass;
SELECT count(*), count(video_generation_status) FROM vibelogs;
SELECT proname FROM pg_proc WHERE proname LIKE 'vibevideo\_%';
CREATE EXTENSION vibevideo;
SELECT vibevideo.attach('vibelogs');

DROP EXTENSION vibevideo;
SET client_min_messages = warning;
DROP SCHEMA "My App" CASCADE;
DROP TABLE big, parts, :"long_name", guarded, older;
DROP FUNCTION is_status(text), make_input(int), make_input(vibelogs);
DROP TABLE vibelogs;
DROP SCHEMA vibevideo;
DROP VIEW added_columns, added_objects;
