-- The public functions take the attached key's type
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;

CREATE VIEW api AS
SELECT p.proname AS name, pg_get_function_identity_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result,
	   p.provolatile AS v, p.proparallel AS par, p.proisstrict AS strict, p.prosecdef AS definer, l.lanname,
	   p.prosrc = p.proname AND p.probin = '$libdir/vibevideo' AS right_symbol,
	   EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
			   WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' AND e.extname = 'vibevideo') AS member,
	   obj_description(p.oid, 'pg_proc') IS NOT NULL AS comment
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'vibevideo\_%' AND p.proname !~ '^vibevideo_(admin_|dashboard$)' ORDER BY 1, 2;
CREATE VIEW functions AS SELECT name, arguments, member, comment FROM api;

SELECT * FROM api;

-- no index of ours depends on an order that a newer C library may change
SELECT i.indexrelid::regclass AS index FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid, unnest(i.indcollation) AS k(coll)
WHERE c.relnamespace IN ('vibevideo'::regnamespace, 'vibevideo_internal'::regnamespace) AND k.coll NOT IN (0, 'pg_catalog."C"'::regcollation);

CREATE TABLE uuids (id uuid PRIMARY KEY, content text);
CREATE TABLE bigints (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, content text);
CREATE TABLE ints (id serial PRIMARY KEY, content text);
CREATE TABLE texts (id int PRIMARY KEY, slug text UNIQUE NOT NULL, content text);

-- same type: the functions stay as they are
CREATE TEMP TABLE before AS SELECT oid, proname FROM pg_proc WHERE proname LIKE 'vibevideo\_%' AND proname !~ '^vibevideo_(admin_|dashboard$)';
SELECT vibevideo.attach('uuids');
SELECT count(*) FROM before NATURAL JOIN pg_proc;
SELECT vibevideo.detach();

SELECT vibevideo.attach('bigints');
SELECT * FROM functions;
SELECT vibevideo.detach();
SELECT vibevideo.attach('ints');
SELECT * FROM functions;
SELECT vibevideo.detach();
SELECT vibevideo.attach('texts', id_column => 'slug');
SELECT * FROM functions;
SELECT vibevideo.detach();

-- the key of the attached table grows
SELECT vibevideo.attach('ints');
ALTER TABLE ints ALTER COLUMN id TYPE bigint;
SELECT vibevideo.attach('ints');
SELECT * FROM functions WHERE name = 'vibevideo_submit';
SELECT vibevideo.detach();

-- an unusable type
SELECT vibevideo.create_api('smallint');
SELECT vibevideo.create_api(NULL);

-- something depends on a function
CREATE VIEW a_view AS SELECT vibevideo_status(1::bigint);
SELECT vibevideo.attach('uuids');
SELECT * FROM functions WHERE name = 'vibevideo_status';
SELECT count(*) FROM vibevideo.binding;
DROP VIEW a_view;

-- a function of the app has one of the names
CREATE FUNCTION vibevideo_submit(x int) RETURNS int LANGUAGE sql AS $$ SELECT x $$;
SELECT vibevideo.attach('uuids');
DROP FUNCTION vibevideo_submit(int);

-- a row that pg_restore copies brings the functions along, replica role or not
BEGIN;
SET LOCAL session_replication_role = replica;
COPY vibevideo.binding (only_one, relation, id_column, id_type, prompt_column, system_identifier, database_oid, timeline) FROM stdin;
t	uuids	id	uuid	content	1	1	1
\.
SELECT * FROM functions;
ROLLBACK;
SELECT name, arguments FROM functions WHERE name = 'vibevideo_submit';

-- a function that got lost comes back
SELECT vibevideo.attach('uuids');
ALTER EXTENSION vibevideo DROP FUNCTION vibevideo_retry(uuid);
DROP FUNCTION vibevideo_retry(uuid);
SELECT check_name, status, detail, hint FROM vibevideo_internal.check_api() WHERE check_name = 'api';
SELECT vibevideo.create_api('uuid');
SELECT * FROM functions WHERE name = 'vibevideo_retry';
SELECT check_name, status, detail, hint FROM vibevideo_internal.check_api() WHERE check_name = 'api';

-- only a superuser can make C functions
CREATE ROLE vv_other;
GRANT USAGE ON SCHEMA vibevideo TO vv_other;
GRANT EXECUTE ON FUNCTION vibevideo.create_api(regtype) TO vv_other;
SET ROLE vv_other;
SELECT vibevideo.create_api('uuid');
SELECT vibevideo.create_api('bigint');
RESET ROLE;

DROP EXTENSION vibevideo;
SELECT * FROM functions;
SET client_min_messages = warning;
DROP SCHEMA vibevideo;
DROP VIEW functions, api;
DROP TABLE before, uuids, bigints, ints, texts;
DROP ROLE vv_other;
