-- attach(realtime => true): the publication, and realtime.send
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (id int PRIMARY KEY, prompt text);
INSERT INTO vibelogs SELECT i, 'a cat' FROM generate_series(1, 20) i;
CREATE VIEW published AS
SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = 'supabase_realtime' ORDER BY 1, 2;

-- no Supabase
SELECT vibevideo.attach('vibelogs', realtime => true);
SET client_min_messages = error; -- wal_level
CREATE PUBLICATION supabase_realtime;
RESET client_min_messages;
-- only where it is asked for
SELECT vibevideo.attach('vibelogs', realtime => false);
SELECT * FROM published;
SELECT vibevideo.attach('vibelogs', realtime => true);
SELECT * FROM published;
-- again, and what stays
SELECT vibevideo.attach('vibelogs', realtime => true);
SELECT vibevideo.detach();
SELECT * FROM published;
-- a table whose updates would fail
CREATE TABLE keyless (id int NOT NULL UNIQUE, prompt text);
SELECT vibevideo.attach('keyless', id_column => 'id', realtime => true);
SELECT * FROM published;
ALTER TABLE keyless REPLICA IDENTITY USING INDEX keyless_id_key;
SELECT vibevideo.attach('keyless', id_column => 'id', realtime => true);
SELECT * FROM published;
SELECT vibevideo.detach();
DROP TABLE keyless;
-- a publication of a whole schema, or of everything
SET client_min_messages = error;
DROP PUBLICATION supabase_realtime;
CREATE PUBLICATION supabase_realtime FOR TABLES IN SCHEMA public;
RESET client_min_messages;
SELECT vibevideo.attach('vibelogs', realtime => true);
SET client_min_messages = error;
DROP PUBLICATION supabase_realtime;
CREATE PUBLICATION supabase_realtime FOR ALL TABLES;
RESET client_min_messages;
SELECT vibevideo.attach('vibelogs', realtime => true);
DROP PUBLICATION supabase_realtime;

-- broadcasts: by the owner of the app's table, as whom row-level security applies
\getenv abs_srcdir PG_ABS_SRCDIR
\set standin :abs_srcdir '/emulator/realtime.sql'
\set ECHO none
\i :standin
\set ECHO all
CREATE ROLE vv_app;
ALTER TABLE vibelogs OWNER TO vv_app;
GRANT USAGE ON SCHEMA realtime TO vv_app;
GRANT INSERT ON realtime.messages TO vv_app;
CREATE POLICY sends ON realtime.messages FOR INSERT TO vv_app WITH CHECK (topic = realtime.topic());
CREATE VIEW sent AS
SELECT topic, event, private, extension, payload - 'id' AS payload, payload ? 'id' AS has_id FROM realtime.messages ORDER BY inserted_at;
SELECT status FROM vibevideo_submit_batch(ARRAY[1]);
SELECT * FROM sent;
SELECT status FROM vibevideo_submit_batch(ARRAY[1]);
SELECT status FROM vibevideo_cancel(1);
SELECT * FROM sent;
-- as nobody else
DROP POLICY sends ON realtime.messages;
SELECT status FROM vibevideo_submit_batch(ARRAY[8]);
SELECT count(*) FROM sent;
CREATE POLICY sends ON realtime.messages FOR INSERT TO vv_app WITH CHECK (topic = realtime.topic());
-- not asked for
SELECT vibevideo.attach('vibelogs', realtime => false);
SELECT status FROM vibevideo_submit_batch(ARRAY[2]);
SELECT count(*) FROM sent;
SET client_min_messages = warning;
SELECT vibevideo.attach('vibelogs', realtime => true);
RESET client_min_messages;
-- not a function of that name that anybody made
CREATE ROLE vv_mallory;
ALTER SCHEMA realtime OWNER TO vv_mallory;
SELECT status FROM vibevideo_submit_batch(ARRAY[3]);
SELECT count(*) FROM sent;
DO $$ BEGIN EXECUTE format('ALTER SCHEMA realtime OWNER TO %I', current_user); END $$;
SELECT status FROM vibevideo_submit_batch(ARRAY[4]);
SELECT payload->>'vibelog_id' FROM sent;
-- never as a superuser
DO $$ BEGIN EXECUTE format('ALTER TABLE vibelogs OWNER TO %I', current_user); END $$;
SELECT status FROM vibevideo_submit_batch(ARRAY[5]);
SELECT payload->>'vibelog_id' FROM sent;
ALTER TABLE vibelogs OWNER TO vv_app;
-- an error breaks nothing, and it is left alone for a while
REVOKE USAGE ON SCHEMA realtime FROM vv_app;
SELECT status, error FROM vibevideo_submit_batch(ARRAY[6, 7]);
SELECT id, video_generation_status FROM vibelogs WHERE id IN (6, 7) ORDER BY id;
SELECT count(*) FROM vibevideo.job WHERE row_dirty;
GRANT USAGE ON SCHEMA realtime TO vv_app;
SELECT status FROM vibevideo_submit_batch(ARRAY[9]);
SELECT payload->>'vibelog_id' FROM sent;

DROP VIEW sent;
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP SCHEMA realtime CASCADE;
DROP TABLE vibelogs CASCADE;
DROP VIEW published;
DROP ROLE vv_app, vv_mallory, supabase_realtime_admin;
