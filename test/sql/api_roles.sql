-- Who may call what: PUBLIC, anon, authenticated, service_role
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE ROLE vv_nobody;

CREATE VIEW function_rights AS
SELECT f.function,
	   (SELECT string_agg(r.rolname, ', ' ORDER BY r.rolname) FROM pg_roles r
		WHERE r.rolname IN ('vv_nobody', 'anon', 'authenticated', 'service_role')
		  AND has_function_privilege(r.oid, f.oid, 'EXECUTE')) COLLATE "C" AS callers
FROM (SELECT p.oid, format('%s.%s', p.pronamespace::regnamespace, p.proname) AS function FROM pg_proc p
	  WHERE p.pronamespace IN (to_regnamespace('vibevideo'), to_regnamespace('vibevideo_internal'))
		 OR p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'vibevideo\_%') f
ORDER BY 2, 1;
CREATE VIEW other_rights AS
SELECT o.object COLLATE "C" AS object, r.rolname, o.rights
FROM pg_roles r CROSS JOIN LATERAL (
	SELECT 'schema ' || n.nspname, concat_ws(', ', CASE WHEN has_schema_privilege(r.oid, n.oid, 'USAGE') THEN 'USAGE' END,
											 CASE WHEN has_schema_privilege(r.oid, n.oid, 'CREATE') THEN 'CREATE' END)
	FROM pg_namespace n WHERE n.nspname IN ('vibevideo', 'vibevideo_internal')
	UNION ALL
	SELECT CASE c.relkind WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' ELSE 'table ' END || c.oid::regclass,
		   CASE c.relkind WHEN 'S' THEN (SELECT string_agg(p, ', ') FROM unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) p
										 WHERE has_sequence_privilege(r.oid, c.oid, p))
		   ELSE (SELECT string_agg(p, ', ') FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
				 WHERE has_table_privilege(r.oid, c.oid, p)) END
	FROM pg_class c WHERE c.relnamespace IN (to_regnamespace('vibevideo'), to_regnamespace('vibevideo_internal')) AND c.relkind IN ('r', 'v', 'S')
) AS o(object, rights)
WHERE r.rolname IN ('vv_nobody', 'anon', 'authenticated', 'service_role') AND o.rights <> ''
ORDER BY 1, 2;

-- the roles are not there: nobody but the owner
CREATE EXTENSION vibevideo;
SELECT * FROM function_rights WHERE callers IS NOT NULL;
SELECT * FROM other_rights;
SELECT * FROM vibevideo_internal.check_api();

-- they are created later
CREATE ROLE anon;
CREATE ROLE authenticated;
SELECT vibevideo.grant_api_roles();
SELECT * FROM function_rights WHERE callers IS NOT NULL;
CREATE ROLE service_role BYPASSRLS;
SELECT * FROM vibevideo_internal.check_api();
SELECT vibevideo.grant_api_roles();
SELECT * FROM function_rights WHERE callers IS NOT NULL;
SELECT * FROM other_rights;
SELECT * FROM vibevideo_internal.check_api();

-- attach gives them to the functions it makes anew
CREATE TABLE vibelogs (id bigint PRIMARY KEY, content text);
SELECT vibevideo.attach('vibelogs');
SELECT * FROM function_rights WHERE callers IS NOT NULL;

-- strays are taken back, rights of other roles are kept
GRANT EXECUTE ON FUNCTION public.vibevideo_poll() TO anon WITH GRANT OPTION;
SET ROLE anon;
GRANT EXECUTE ON FUNCTION public.vibevideo_poll() TO authenticated;
RESET ROLE;
GRANT ALL ON vibevideo.job TO PUBLIC;
GRANT EXECUTE ON FUNCTION public.vibevideo_submit(bigint) TO vv_nobody;
SELECT check_name, status, hint FROM vibevideo_internal.check_api();
SELECT vibevideo.attach('vibelogs');
SELECT * FROM function_rights WHERE callers IS NOT NULL;
SELECT * FROM other_rights;
DROP EXTENSION vibevideo;

-- default privileges that give everything away
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC, anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
CREATE EXTENSION vibevideo;
SELECT vibevideo.attach('vibelogs');
SELECT * FROM function_rights WHERE callers IS NOT NULL;
SELECT * FROM other_rights;

-- the dashboard's view works for service_role alone
SET ROLE service_role;
SELECT count(*) FROM vibevideo.jobs;
SELECT vibevideo.attach('vibelogs');
SELECT count(*) FROM vibevideo.binding;
SET ROLE authenticated;
SELECT count(*) FROM vibevideo.jobs;
SELECT vibevideo_poll();
SET ROLE anon;
SELECT vibevideo_submit(1);
RESET ROLE;

-- default privileges that give nothing away
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM PUBLIC, anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON FUNCTIONS FROM anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;
DROP EXTENSION vibevideo;
CREATE EXTENSION vibevideo;
SELECT * FROM function_rights WHERE callers IS NOT NULL;
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;

DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP TABLE vibelogs;
DROP VIEW function_rights, other_rights;
DROP ROLE vv_nobody, anon, authenticated, service_role;
