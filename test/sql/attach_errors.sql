-- vibevideo.attach: what it refuses, and how it says so
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;

-- not a table of the app's
SELECT vibevideo.attach('nowhere');
SELECT vibevideo.attach(NULL);
SELECT vibevideo.attach('pg_catalog.pg_class');
SELECT vibevideo.attach('information_schema.sql_features');
SELECT vibevideo.attach('vibevideo.job');
SELECT vibevideo.attach('vibevideo_internal.slot');
CREATE TABLE vibelogs (id uuid PRIMARY KEY, content text);
CREATE VIEW a_view AS SELECT * FROM vibelogs;
SELECT vibevideo.attach('a_view');
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM vibelogs;
SELECT vibevideo.attach('a_matview');
CREATE FOREIGN DATA WRAPPER a_wrapper;
CREATE SERVER a_server FOREIGN DATA WRAPPER a_wrapper;
CREATE FOREIGN TABLE a_foreign_table (id uuid, content text) SERVER a_server;
SELECT vibevideo.attach('a_foreign_table');
CREATE SEQUENCE a_sequence;
SELECT vibevideo.attach('a_sequence');
SELECT vibevideo.attach('vibelogs_pkey');
CREATE TEMP TABLE a_temp_table (id uuid PRIMARY KEY, content text);
SELECT vibevideo.attach('a_temp_table');
CREATE TABLE parts (id uuid PRIMARY KEY, content text) PARTITION BY HASH (id);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0);
SELECT vibevideo.attach('parts_0');

-- the key
CREATE TABLE no_key (id uuid, content text);
SELECT vibevideo.attach('no_key');
CREATE TABLE two_keys (a uuid, b int, c bigint UNIQUE NOT NULL, content text, PRIMARY KEY (a, b));
SELECT vibevideo.attach('two_keys');
SELECT vibevideo.attach('two_keys', id_column => 'a');
SELECT vibevideo.attach('two_keys', id_column => 'nothing');
CREATE TABLE maybe_null (id uuid PRIMARY KEY, slug text UNIQUE, late int NOT NULL UNIQUE DEFERRABLE,
						 part int NOT NULL, content text);
CREATE UNIQUE INDEX ON maybe_null (part) WHERE part > 0;
SELECT vibevideo.attach('maybe_null', id_column => 'slug');
SELECT vibevideo.attach('maybe_null', id_column => 'late');
SELECT vibevideo.attach('maybe_null', id_column => 'part');
CREATE TABLE small_key (id smallint PRIMARY KEY, content text);
SELECT vibevideo.attach('small_key');
CREATE TABLE varchar_key (id varchar(10) PRIMARY KEY, content text);
SELECT vibevideo.attach('varchar_key');
CREATE DOMAIN a_key AS uuid;
CREATE TABLE domain_key (id a_key PRIMARY KEY, content text);
SELECT vibevideo.attach('domain_key');

-- prompt, image, model
CREATE TABLE no_prompt (id text PRIMARY KEY, prompt jsonb, content int, words text);
SELECT vibevideo.attach('no_prompt');
SELECT vibevideo.attach('no_prompt', prompt_column => 'Words');
SELECT vibevideo.attach('no_prompt', prompt_column => 'content');
SELECT vibevideo.attach('no_prompt', prompt_column => 'words', image_column => 'picture');
SELECT vibevideo.attach('no_prompt', prompt_column => 'words', image_column => 'prompt');
SELECT vibevideo.attach('vibelogs', model => 'minimax');
SELECT vibevideo.attach('vibelogs', model => 'fal-ai/../minimax');
SELECT vibevideo.attach('vibelogs', model => 'https://queue.fal.run/fal-ai/minimax');
SELECT vibevideo.attach('vibelogs', model => 'fal-ai/minimax/video-01?x=1');
SELECT vibevideo.attach('vibelogs', model => E'fal-ai/minimax\n/video-01');

-- input_function
CREATE FUNCTION as_text(vibelogs) RETURNS text LANGUAGE sql AS $$ SELECT '{}' $$;
CREATE FUNCTION of_nothing() RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
CREATE FUNCTION of_other(no_key) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
CREATE FUNCTION as_set(vibelogs) RETURNS SETOF jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
SELECT vibevideo.attach('vibelogs', input_function => 'nothing');
SELECT vibevideo.attach('vibelogs', input_function => 'nowhere.nothing');
SELECT vibevideo.attach('vibelogs', input_function => 'a.b.c');
SELECT vibevideo.attach('vibelogs', input_function => 'as_text');
SELECT vibevideo.attach('vibelogs', input_function => 'of_nothing');
SELECT vibevideo.attach('vibelogs', input_function => 'public.of_other');
SELECT vibevideo.attach('vibelogs', input_function => 'as_set');

-- columns of ours that mean something else
CREATE TABLE taken (id uuid PRIMARY KEY, content text, video_url int);
SELECT vibevideo.attach('taken');
ALTER TABLE taken DROP COLUMN video_url, ADD COLUMN video_generated_at timestamp;
SELECT vibevideo.attach('taken');
ALTER TABLE taken DROP COLUMN video_generated_at, ADD COLUMN video_request_id varchar(36);
SELECT vibevideo.attach('taken');
ALTER TABLE taken DROP COLUMN video_request_id, ADD COLUMN video_url text NOT NULL DEFAULT '';
SELECT vibevideo.attach('taken');
ALTER TABLE taken DROP COLUMN video_url, ADD COLUMN video_url text GENERATED ALWAYS AS (content) STORED;
SELECT vibevideo.attach('taken');
ALTER TABLE taken DROP COLUMN video_url,
	ADD COLUMN video_generation_status text CONSTRAINT mine CHECK (video_generation_status IN ('queued', 'completed', 'failed'));
SELECT vibevideo.attach('taken');
ALTER TABLE taken DROP CONSTRAINT mine;
INSERT INTO taken VALUES ('00000000-0000-0000-0000-000000000001', 'a', 'running'),
						 ('00000000-0000-0000-0000-000000000002', 'b', 'done'), ('00000000-0000-0000-0000-000000000003', 'c', NULL);
SELECT vibevideo.attach('taken');
DELETE FROM taken;
CREATE TABLE idx_taken_video_request_id (x int);
SELECT vibevideo.attach('taken');
DROP TABLE idx_taken_video_request_id;
-- none of this has left anything behind
SELECT attname FROM pg_attribute WHERE attrelid = 'taken'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;
SELECT count(*) FROM vibevideo.binding;
SHOW lock_timeout;

-- who
CREATE ROLE vv_owner;
CREATE ROLE vv_other;
ALTER TABLE vibelogs OWNER TO vv_owner;
SET ROLE vv_owner;
SELECT vibevideo.attach('vibelogs');
RESET ROLE;
GRANT USAGE ON SCHEMA vibevideo TO vv_other;
GRANT ALL ON ALL TABLES IN SCHEMA vibevideo TO vv_other;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA vibevideo TO vv_other;
SET ROLE vv_other;
SELECT vibevideo.attach('vibelogs');
RESET ROLE;
GRANT USAGE ON SCHEMA vibevideo_internal TO vv_other;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA vibevideo_internal TO vv_other;
SET ROLE vv_other;
SELECT vibevideo.attach('vibelogs');
SELECT vibevideo.grant_api_roles();
RESET ROLE;

-- row-level security that hides rows from the owner
ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY;
SELECT vibevideo.attach('vibelogs');
ALTER TABLE vibelogs FORCE ROW LEVEL SECURITY;
SELECT vibevideo.detach();
SELECT vibevideo.attach('vibelogs');
ALTER ROLE vv_owner BYPASSRLS;
SELECT vibevideo.attach('vibelogs');

-- another table is attached
SELECT vibevideo.attach('taken');

DROP EXTENSION vibevideo;
SET client_min_messages = warning;
DROP SCHEMA vibevideo;
DROP FOREIGN DATA WRAPPER a_wrapper CASCADE;
DROP TABLE vibelogs, no_key, two_keys, maybe_null, small_key, varchar_key, domain_key, no_prompt, taken, parts, a_temp_table CASCADE;
DROP FUNCTION of_nothing();
DROP DOMAIN a_key;
DROP SEQUENCE a_sequence;
DROP ROLE vv_owner, vv_other;
