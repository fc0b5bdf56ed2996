-- The rules of Supabase's database linter, restated.  A fresh installation and
-- an attached table give it nothing to say, and each rule can find something.
-- Members of extensions are looked at, too, which the linter itself leaves out.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
DROP SCHEMA IF EXISTS vibevideo;
CREATE ROLE anon;
CREATE ROLE authenticated;
CREATE ROLE service_role BYPASSRLS;
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email text);
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE SET search_path = '' AS $$ SELECT NULL::uuid $$;
CREATE SCHEMA storage;
CREATE TABLE storage.buckets (id text PRIMARY KEY, public boolean);
CREATE TABLE storage.objects (id int PRIMARY KEY, bucket_id text REFERENCES storage.buckets);
CREATE INDEX ON storage.objects (bucket_id);
ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
RESET client_min_messages;

-------------------------------------------------------------------------------
-- The rules
-------------------------------------------------------------------------------
CREATE SCHEMA lint;

-- what PostgREST shows; what is ours or the app's
CREATE VIEW lint.exposed AS SELECT n.oid, n.nspname FROM pg_namespace n WHERE n.nspname IN ('public', 'graphql_public');
CREATE VIEW lint.looked_at AS SELECT n.oid, n.nspname FROM pg_namespace n WHERE n.nspname IN ('public', 'graphql_public', 'vibevideo', 'vibevideo_internal');
CREATE VIEW lint.relation AS
SELECT c.*, format('%s.%s', l.nspname, c.relname) AS name, l.nspname IN (SELECT nspname FROM lint.exposed) AS is_exposed,
	   ARRAY(SELECT r.rolname FROM pg_roles r WHERE r.rolname IN ('anon', 'authenticated') AND has_table_privilege(r.oid, c.oid, 'SELECT')) AS readers
FROM pg_class c JOIN lint.looked_at l ON l.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f');
CREATE VIEW lint.policy AS
SELECT p.*, c.name AS table_name, c.relrowsecurity,
	   coalesce(pg_get_expr(p.polqual, p.polrelid), '') AS using_text, coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '') AS check_text
FROM pg_policy p JOIN lint.relation c ON c.oid = p.polrelid;
CREATE VIEW lint.function AS
SELECT p.*, format('%s.%s(%s)', l.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name, x.lanname,
	   l.nspname IN (SELECT nspname FROM lint.exposed) AS is_exposed
FROM pg_proc p JOIN lint.looked_at l ON l.oid = p.pronamespace JOIN pg_language x ON x.oid = p.prolang;

CREATE VIEW lint.finding AS
SELECT f.rule, f.object COLLATE "C" AS object FROM (
	-- a foreign key whose columns no index begins with
	SELECT '0001 unindexed_foreign_keys', format('%s.%s', c.name, k.conname)
	FROM pg_constraint k JOIN lint.relation c ON c.oid = k.conrelid
	WHERE k.contype = 'f' AND NOT EXISTS (
		SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND (string_to_array(i.indkey::text, ' ')::int2[])[1:cardinality(k.conkey)] @> k.conkey)
	UNION ALL
	-- a view that shows auth.users to the API
	SELECT '0002 auth_users_exposed', v.name
	FROM lint.relation v WHERE v.relkind IN ('v', 'm') AND v.is_exposed AND v.readers <> '{}' AND EXISTS (
		SELECT FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
		WHERE r.ev_class = v.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass('auth.users'))
	UNION ALL
	-- a policy that asks who it is for each row anew
	SELECT '0003 auth_rls_initplan', format('%s.%s', p.table_name, p.polname)
	FROM lint.policy p
	WHERE p.relrowsecurity AND regexp_replace(p.using_text || ' ' || p.check_text,
		'SELECT\s+(auth\.(uid|jwt|role|email)\(\)|current_setting\([^()]*\))', '', 'gi') ~* 'auth\.(uid|jwt|role|email)\(\)|current_setting\('
	UNION ALL
	SELECT '0004 no_primary_key', c.name
	FROM lint.relation c WHERE c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
	UNION ALL
	-- members of the extension are used by its worker, which has not run here
	SELECT '0005 unused_index', format('%s.%s', c.name, s.indexrelname)
	FROM pg_stat_user_indexes s JOIN pg_index i ON i.indexrelid = s.indexrelid JOIN lint.relation c ON c.oid = i.indrelid
	WHERE s.idx_scan = 0 AND NOT i.indisunique AND c.is_exposed
	UNION ALL
	SELECT DISTINCT '0006 multiple_permissive_policies', format('%s: %s and %s', a.table_name, a.polname, b.polname)
	FROM lint.policy a JOIN lint.policy b ON b.polrelid = a.polrelid AND b.polname > a.polname
	WHERE a.polpermissive AND b.polpermissive AND (a.polcmd = b.polcmd OR '*' IN (a.polcmd, b.polcmd))
	  AND (a.polroles && b.polroles OR 0 = ANY (a.polroles) OR 0 = ANY (b.polroles))
	UNION ALL
	SELECT '0007 policy_exists_rls_disabled', format('%s.%s', p.table_name, p.polname) FROM lint.policy p WHERE NOT p.relrowsecurity
	UNION ALL
	SELECT '0008 rls_enabled_no_policy', c.name
	FROM lint.relation c WHERE c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
	UNION ALL
	SELECT '0009 duplicate_index', format('%s: %s', min(c.name), string_agg(x.relname, ', ' ORDER BY x.relname))
	FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN lint.relation c ON c.oid = i.indrelid
	GROUP BY i.indrelid, regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX \S+ ', '') HAVING count(*) > 1
	UNION ALL
	-- a view of which the API's roles read what they have no rights on
	SELECT '0010 security_definer_view', v.name
	FROM lint.relation v
	WHERE v.relkind = 'v' AND v.readers <> '{}' AND NOT coalesce(v.reloptions && '{security_invoker=on,security_invoker=true,security_invoker=1}', false)
	UNION ALL
	-- a body that is text, read when it runs, under whatever search_path there is
	SELECT '0011 function_search_path_mutable', f.name
	FROM lint.function f
	WHERE f.lanname NOT IN ('c', 'internal') AND f.prosqlbody IS NULL
	  AND NOT EXISTS (SELECT FROM unnest(f.proconfig) s WHERE s LIKE 'search_path=%')
	UNION ALL
	SELECT '0013 rls_disabled_in_public', c.name FROM lint.relation c WHERE c.is_exposed AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
	UNION ALL
	SELECT '0014 extension_in_public', e.extname FROM pg_extension e WHERE e.extnamespace IN (SELECT oid FROM lint.exposed)
	UNION ALL
	SELECT '0015 rls_references_user_metadata', format('%s.%s', p.table_name, p.polname)
	FROM lint.policy p WHERE p.using_text || p.check_text LIKE '%user_metadata%'
	UNION ALL
	SELECT '0016 materialized_view_in_api', c.name FROM lint.relation c WHERE c.is_exposed AND c.relkind = 'm' AND c.readers <> '{}'
	UNION ALL
	SELECT '0017 foreign_table_in_api', c.name FROM lint.relation c WHERE c.is_exposed AND c.relkind = 'f' AND c.readers <> '{}'
	UNION ALL
	-- types that keep pg_upgrade from its work
	SELECT '0018 unsupported_reg_types', format('%s.%s', c.name, a.attname)
	FROM pg_attribute a JOIN lint.relation c ON c.oid = a.attrelid
	WHERE c.relkind IN ('r', 'p', 'm') AND a.attnum > 0 AND NOT a.attisdropped
	  AND a.atttypid IN ('regproc'::regtype, 'regprocedure'::regtype, 'regoper'::regtype, 'regoperator'::regtype,
						 'regconfig'::regtype, 'regdictionary'::regtype, 'regnamespace'::regtype, 'regcollation'::regtype)
	UNION ALL
	SELECT '0022 extension_versions_outdated', e.extname
	FROM pg_extension e JOIN pg_available_extensions a ON a.name = e.extname WHERE e.extversion <> a.default_version
	UNION ALL
	SELECT '0023 sensitive_columns_exposed', format('%s.%s', c.name, a.attname)
	FROM pg_attribute a JOIN lint.relation c ON c.oid = a.attrelid
	WHERE c.is_exposed AND c.readers <> '{}' AND NOT c.relrowsecurity AND a.attnum > 0 AND NOT a.attisdropped
	  AND a.attname ~* '(password|secret|token|api_?key|private_?key)'
	UNION ALL
	-- a policy that lets everybody write
	SELECT '0024 permissive_rls_policy', format('%s.%s', p.table_name, p.polname)
	FROM lint.policy p
	WHERE p.polpermissive AND p.polcmd <> 'r' AND (p.using_text = 'true' OR p.check_text = 'true')
	UNION ALL
	-- a public bucket needs no policy to be read, and should not have one to be listed
	SELECT '0025 public_bucket_allows_listing', b.id
	FROM storage.buckets b
	WHERE b.public AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = 'storage.objects'::regclass AND p.polcmd IN ('r', '*')
							   AND pg_get_expr(p.polqual, p.polrelid) LIKE '%' || quote_literal(b.id) || '%')
	UNION ALL
	-- relations of an extension, which its user did not mean to show
	SELECT CASE r WHEN 'anon' THEN '0026' ELSE '0027' END || ' graphql_exposed_to_' || r, c.name
	FROM lint.relation c, unnest(c.readers) r
	WHERE EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
	UNION ALL
	SELECT CASE r.rolname WHEN 'anon' THEN '0028 anon' ELSE '0029 authenticated' END || '_security_definer_function', f.name
	FROM lint.function f JOIN pg_roles r ON r.rolname IN ('anon', 'authenticated')
	WHERE f.is_exposed AND f.prosecdef AND has_function_privilege(r.oid, f.oid, 'EXECUTE')
) AS f(rule, object);

-------------------------------------------------------------------------------
-- They hold
-------------------------------------------------------------------------------
-- with default privileges that give everything away, as Supabase's did
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
CREATE EXTENSION vibevideo;
SELECT * FROM lint.finding ORDER BY 1, 2;
CREATE TABLE public.vibelogs (id uuid PRIMARY KEY, user_id uuid, content text);
ALTER TABLE public.vibelogs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.vibelogs TO authenticated USING (user_id = (SELECT auth.uid()));
SELECT vibevideo.attach('public.vibelogs');
-- somebody looks for a request, so that the index is used
SET enable_seqscan = off;
SELECT count(*) FROM public.vibelogs WHERE video_request_id = 'r';
RESET enable_seqscan;
SELECT pg_stat_force_next_flush();
SELECT * FROM lint.finding ORDER BY 1, 2;
-- and with those that give nothing away
DROP EXTENSION vibevideo;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON FUNCTIONS FROM anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM anon, authenticated, service_role;
CREATE EXTENSION vibevideo;
SELECT vibevideo.attach('public.vibelogs');
SELECT * FROM lint.finding ORDER BY 1, 2;

-------------------------------------------------------------------------------
-- And each of them finds something
-------------------------------------------------------------------------------
CREATE TABLE public.bad (id int, key regproc, ref uuid REFERENCES public.vibelogs, api_key text);
GRANT SELECT ON public.bad TO anon;
CREATE INDEX bad_a ON public.bad (id);
CREATE INDEX bad_b ON public.bad (id);
CREATE TABLE public.policies (id int PRIMARY KEY, by uuid);
CREATE POLICY disabled ON public.policies USING (by IS NULL);
CREATE TABLE public.no_policy (id int PRIMARY KEY);
ALTER TABLE public.no_policy ENABLE ROW LEVEL SECURITY;
CREATE POLICY slow ON public.vibelogs AS RESTRICTIVE USING (user_id = auth.uid());
CREATE POLICY more ON public.vibelogs FOR SELECT TO authenticated USING (user_id IS NULL);
CREATE POLICY everybody ON public.vibelogs FOR DELETE TO service_role USING (true);
CREATE POLICY meta ON public.vibelogs AS RESTRICTIVE FOR SELECT TO service_role
	USING ((SELECT current_setting('request.jwt.claims', true))::jsonb->'user_metadata' IS NOT NULL);
CREATE VIEW public.people AS SELECT email FROM auth.users;
GRANT SELECT ON public.people TO authenticated;
CREATE MATERIALIZED VIEW public.copied AS SELECT 1 AS a;
GRANT SELECT ON public.copied TO anon;
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE public.far (a int) SERVER nowhere;
GRANT SELECT ON public.far TO anon;
CREATE FUNCTION public.lax() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN 1; END';
CREATE FUNCTION vibevideo.lax() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION vibevideo_internal.lax() RETURNS int LANGUAGE sql AS 'SELECT 1';
INSERT INTO storage.buckets VALUES ('videos', true);
CREATE POLICY list ON storage.objects FOR SELECT USING (bucket_id = 'videos');
GRANT SELECT ON vibevideo.job TO anon, authenticated;
UPDATE pg_extension SET extnamespace = 'public'::regnamespace WHERE extname = 'vibevideo';
UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'vibevideo';
SELECT * FROM lint.finding ORDER BY 1, 2;
UPDATE pg_extension SET extnamespace = 'vibevideo'::regnamespace, extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'vibevideo')
WHERE extname = 'vibevideo';

SET client_min_messages = warning;
DROP FUNCTION vibevideo.lax(), vibevideo_internal.lax();
DROP TABLE public.bad, public.policies, public.no_policy, public.vibelogs CASCADE;
DROP FUNCTION public.lax();
DROP VIEW public.people;
DROP MATERIALIZED VIEW public.copied;
DROP FOREIGN DATA WRAPPER nothing CASCADE;
DROP EXTENSION vibevideo;
DROP SCHEMA lint, auth, storage, vibevideo CASCADE;
DROP ROLE anon, authenticated, service_role;
