-- Schema vibevideo holds what people use; all else is in vibevideo_internal, and
-- for nobody but the extension's owner.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE ROLE anon;
CREATE ROLE authenticated;
CREATE ROLE service_role BYPASSRLS;

CREATE VIEW objects AS
SELECT n.nspname AS schema, o.kind, o.name COLLATE "C" AS name, o.comment,
	   EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
			   WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'e' AND e.extname = 'vibevideo') AS member
FROM (SELECT 'pg_proc'::regclass AS classid, p.oid, p.pronamespace AS namespace, 'function' AS kind,
			 format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) AS name, obj_description(p.oid, 'pg_proc') AS comment
	  FROM pg_proc p
	  UNION ALL
	  SELECT 'pg_class'::regclass, c.oid, c.relnamespace,
			 CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'relation' END,
			 c.relname, obj_description(c.oid, 'pg_class')
	  FROM pg_class c WHERE c.relkind NOT IN ('i', 'I', 'c')
	  UNION ALL
	  SELECT 'pg_type'::regclass, t.oid, t.typnamespace, 'type', t.typname, obj_description(t.oid, 'pg_type')
	  FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
	  WHERE coalesce(c.relkind, 'c') = 'c' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
	  UNION ALL
	  SELECT 'pg_operator'::regclass, x.oid, x.oprnamespace, 'operator', x.oprname, NULL FROM pg_operator x
) AS o(classid, oid, namespace, kind, name, comment)
JOIN pg_namespace n ON n.oid = o.namespace;

CREATE VIEW granted AS
SELECT o.name COLLATE "C" AS on, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END COLLATE "C" AS to,
	   string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS rights
FROM (SELECT n.oid, 'schema', n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner)) FROM pg_namespace n
	  UNION ALL
	  SELECT p.pronamespace, p.proname, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)) FROM pg_proc p
	  UNION ALL
	  SELECT c.relnamespace, c.relname, c.relowner, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
	  FROM pg_class c WHERE c.relkind NOT IN ('i', 'I', 'c')
) AS o(namespace, name, owner, acl)
CROSS JOIN aclexplode(o.acl) AS a
WHERE o.namespace = to_regnamespace('vibevideo_internal') AND a.grantee <> o.owner
GROUP BY 1, 2 ORDER BY 1, 2;

-- default privileges that give everything away
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC, anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
CREATE EXTENSION vibevideo;

-- what vibevideo. is completed to: each is for people, and in the manual
SELECT kind, name FROM objects WHERE schema = 'vibevideo' ORDER BY 1, 2;
SELECT kind, name AS lacks_a_comment FROM objects WHERE schema = 'vibevideo' AND comment IS NULL AND kind <> 'sequence' ORDER BY 1, 2;
-- what is neither there nor in vibevideo_internal
SELECT kind, name FROM objects WHERE schema NOT IN ('vibevideo', 'vibevideo_internal') AND member ORDER BY 1, 2;
-- and there is a lot in the latter, with comments and ours
SELECT kind, count(*) > CASE kind WHEN 'function' THEN 50 ELSE 0 END AS some FROM objects WHERE schema = 'vibevideo_internal' GROUP BY 1 ORDER BY 1;
SELECT kind, name FROM objects WHERE schema = 'vibevideo_internal' AND (NOT member OR comment IS NULL AND kind <> 'sequence') ORDER BY 1, 2;

-------------------------------------------------------------------------------
-- Rights
-------------------------------------------------------------------------------
-- no more than what the view of jobs calls
SELECT * FROM granted;
-- and it would be seen
GRANT USAGE ON SCHEMA vibevideo_internal TO PUBLIC, authenticated;
GRANT SELECT ON vibevideo_internal.fal_account TO service_role;
GRANT UPDATE ON SEQUENCE vibevideo_internal.refund_seq TO anon;
GRANT EXECUTE ON FUNCTION vibevideo_internal.probe(text) TO PUBLIC;
SELECT * FROM granted;
-- which is taken back
SELECT vibevideo.grant_api_roles();
SELECT * FROM granted;

-------------------------------------------------------------------------------
-- What others may use works for them, without USAGE
-------------------------------------------------------------------------------
INSERT INTO vibevideo.job (vibelog_id, state, model, input, requested_by, cost_usd, tries, error, queue_position, bytes_done, bytes_total, bytes_per_second, leased_by)
SELECT s.n, s.state, 'a/b', '{}', 'ann', 0.5, s.tries, s.error, s.position, s.done, s.total, s.rate, CASE WHEN s.rate > 0 THEN 1 END
FROM (VALUES (1, 'pending', 0, NULL, NULL, NULL, NULL, NULL), (2, 'pending', 2, 'busy', NULL, NULL, NULL, NULL), (3, 'submit_unknown', 0, NULL, NULL, NULL, NULL, NULL),
			 (4, 'queued', 0, NULL, 3, NULL, NULL, NULL), (5, 'generating', 0, NULL, NULL, NULL, NULL, NULL),
			 (6, 'processing', 0, NULL, NULL, 1000000, 4000000, 500000), (7, 'completed', 0, NULL, NULL, NULL, NULL, NULL),
			 (8, 'failed', 0, 'no', NULL, NULL, NULL, NULL)) AS s(n, state, tries, error, position, done, total, rate);

-- who may call what of ours, if it is not in schema public
SELECT r.rolname, p.oid::regprocedure AS function
FROM pg_proc p JOIN pg_roles r ON r.rolname IN ('anon', 'authenticated', 'service_role')
WHERE p.pronamespace IN ('vibevideo'::regnamespace, 'vibevideo_internal'::regnamespace) AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
ORDER BY 1, p.oid::regprocedure::text COLLATE "C";

SET ROLE service_role;
SELECT vibelog_id, status, message, queue_position, progress, seconds_left FROM vibevideo.jobs ORDER BY job_id;
SELECT submits, active, reserved_usd FROM vibevideo.costs;
SELECT (vibevideo.describe(j)).message FROM vibevideo.job j WHERE j.vibelog_id = '6';
-- the planner leaves a function as it is whose argument would be computed several times
EXPLAIN (COSTS OFF, VERBOSE) SELECT vibevideo.describe(CASE WHEN random() < 2 THEN j END) FROM vibevideo.job j;
SELECT (vibevideo.describe(CASE WHEN random() < 2 THEN j END)).message FROM vibevideo.job j WHERE j.vibelog_id = '6';
PREPARE shown(text) AS SELECT j.status, vibevideo.is_active(j.state) FROM vibevideo.jobs j WHERE j.vibelog_id = $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE shown('3');
RESET plan_cache_mode;
-- by name it is not there for them
SELECT vibevideo_internal.shown_status('pending');
SELECT count(*) FROM vibevideo_internal.slot;
SELECT nextval('vibevideo_internal.refund_seq');
SET ROLE authenticated;
SELECT vibevideo_internal.shown_status('pending');
SELECT (NULL::vibevideo.video).status;
SET ROLE anon;
SELECT vibevideo_internal.today();
RESET ROLE;

ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM PUBLIC, anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM anon, authenticated, service_role;
DEALLOCATE shown;
DELETE FROM vibevideo.job;
SET client_min_messages = warning;
DROP EXTENSION vibevideo;
-- the inner schema goes along
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'vibevideo%';
DROP SCHEMA vibevideo;
DROP VIEW objects, granted;
DROP ROLE anon, authenticated, service_role;
