-- The functions of the dashboard, as PostgREST and generators of types see them: a
-- page that is older than the database calls them by these names.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;
\pset format unaligned
\pset tuples_only on

-- arguments, with defaults
SELECT format('%s(%s)', p.proname, pg_get_function_arguments(p.oid)) FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND (p.proname LIKE 'vibevideo\_admin\_%' OR p.proname = 'vibevideo_dashboard') ORDER BY p.proname COLLATE "C";

-- results
SELECT format('%s: %s', p.proname, pg_get_function_result(p.oid)) FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND (p.proname LIKE 'vibevideo\_admin\_%' OR p.proname = 'vibevideo_dashboard') ORDER BY p.proname COLLATE "C";

-- the rows in them, and in those
WITH RECURSIVE t(oid) AS (
	SELECT coalesce(nullif(y.typelem, 0), y.oid) FROM pg_proc p CROSS JOIN LATERAL unnest(p.proallargtypes || p.prorettype) u(type) JOIN pg_type y ON y.oid = u.type
	WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'vibevideo\_admin\_%'
	UNION
	SELECT coalesce(nullif(y.typelem, 0), y.oid) FROM t JOIN pg_type x ON x.oid = t.oid JOIN pg_attribute a ON a.attrelid = x.typrelid AND a.attnum > 0
	JOIN pg_type y ON y.oid = a.atttypid
)
SELECT format('%s: %s', c.oid::regclass, string_agg(format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum))
FROM t JOIN pg_class c ON c.reltype = t.oid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY c.oid ORDER BY c.oid::regclass::text COLLATE "C";

DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
