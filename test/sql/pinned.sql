-- No function of the extension looks anything up in its caller's search_path:
-- each one in SQL or PL/pgSQL is bound to what it names, or sets the path itself.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
DROP SCHEMA IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;

CREATE TEMPORARY VIEW members AS
SELECT p.oid::regprocedure AS function, l.lanname, p.prosqlbody IS NOT NULL AS bound,
	   (SELECT s FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=%') AS path, p.prosecdef,
	   p.prosrc, p.prorettype
FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'vibevideo'
JOIN pg_language l ON l.oid = p.prolang
-- an aggregate is nothing but functions
WHERE p.prokind <> 'a';

-- there are some of each language
SELECT lanname, count(*) > 5 AS some FROM members GROUP BY lanname ORDER BY lanname;

SELECT function, lanname, path FROM members
WHERE lanname <> 'c' AND NOT bound AND path IS DISTINCT FROM 'search_path=pg_catalog, pg_temp'
ORDER BY function::text COLLATE "C";

-- whoever sets it, sets it to the same
SELECT function, path FROM members
WHERE path <> 'search_path=pg_catalog, pg_temp'
ORDER BY function::text COLLATE "C";

-- what runs with its owner's rights judges first who calls, or is a trigger
SELECT function, prosrc ~ '\mvibevideo_internal\.require(_to_read)?\(''(viewer|operator)''\)' AS judges, prorettype = 'trigger'::regtype AS is_trigger
FROM members WHERE prosecdef ORDER BY function::text COLLATE "C";

-- and it would be seen
CREATE FUNCTION vibevideo.loose() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION vibevideo.elsewhere() RETURNS int LANGUAGE plpgsql SET search_path = public SECURITY DEFINER AS 'BEGIN RETURN 1; END';
ALTER EXTENSION vibevideo ADD FUNCTION vibevideo.loose();
ALTER EXTENSION vibevideo ADD FUNCTION vibevideo.elsewhere();
SELECT function, lanname, bound, path, prosecdef FROM members
WHERE lanname <> 'c' AND NOT bound AND path IS DISTINCT FROM 'search_path=pg_catalog, pg_temp'
ORDER BY function::text COLLATE "C";

DROP EXTENSION vibevideo CASCADE;
