-- Whatever people meet is explained where they meet it, in \df+, \d+ and \dconfig+:
-- each query finds what is not, of whatever kind, and is expected to find nothing.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE ROLE anon;
CREATE ROLE authenticated;
CREATE ROLE service_role BYPASSRLS;
CREATE EXTENSION vibevideo;

-- what people may call, with its comment as one line for each paragraph
CREATE VIEW functions AS
SELECT p.oid, p.oid::regprocedure::text COLLATE "C" AS name, p.pronargs, p.pronargdefaults, p.proargnames, p.proargmodes, p.prosrc,
	   regexp_replace(d.description, '\n +', ' ', 'g') AS comment
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace LEFT JOIN pg_description d ON d.classoid = 'pg_proc'::regclass AND d.objoid = p.oid
WHERE n.nspname = 'vibevideo' OR n.nspname = 'public' AND p.proname LIKE 'vibevideo\_%';

CREATE VIEW columns AS
SELECT format('%s.%s', c.oid::regclass, a.attname) COLLATE "C" AS name, a.attname, c.relkind, NOT a.attnotnull AND a.attgenerated = '' AS may_be_null, format_type(a.atttypid, NULL) AS type,
	   col_description(c.oid, a.attnum) AS comment
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = 'vibevideo' AND c.relkind IN ('r', 'p', 'v', 'm', 'c') AND a.attnum > 0 AND NOT a.attisdropped;
SELECT count(*) > 35 AS functions FROM functions;
SELECT count(*) > 200 AS columns FROM columns;

-------------------------------------------------------------------------------
-- Functions
-------------------------------------------------------------------------------
SELECT name AS lacks_a_comment FROM functions WHERE comment IS NULL ORDER BY 1;

-- each argument begins a paragraph, which says its default if there is one
SELECT f.name, a.name AS argument
FROM functions f CROSS JOIN LATERAL unnest(f.proargnames[1:f.pronargs]) WITH ORDINALITY AS a(name, nth)
WHERE a.name <> ''
  AND f.comment !~ ('(^|\n)' || a.name || ': [^\n]*' || CASE WHEN a.nth > f.pronargs - f.pronargdefaults THEN '\mdefault: ' ELSE '' END)
ORDER BY 1, a.nth;

-- and so does each column of the result, perhaps with others
SELECT f.name, a.name AS result
FROM functions f CROSS JOIN LATERAL unnest(f.proargnames, f.proargmodes) WITH ORDINALITY AS a(name, mode, nth)
WHERE a.mode IN ('o', 't') AND f.comment !~ ('\n(\w+, )*' || a.name || '(, \w+)*: ')
ORDER BY 1, a.nth;

SELECT name AS says_nothing_of_its_result FROM functions WHERE comment !~ '(^|\n)Returns ' ORDER BY 1;
SELECT name AS says_nothing_of_errors FROM functions WHERE comment !~ '(\nErrors: (PT\d{3}|[0-9A-Z]{5})|\mRaises no errors)' ORDER BY 1;

-- what it raises itself is among its errors
CREATE VIEW raised AS
SELECT f.name, f.comment, CASE WHEN m.condition ~ '^PT\d{3}$' THEN m.condition ELSE c.state END AS state, m.condition
FROM functions f CROSS JOIN LATERAL (SELECT x.found[1] AS condition FROM regexp_matches(f.prosrc, 'ERRCODE = ''(\w+)''', 'g') AS x(found)) m
LEFT JOIN (VALUES ('invalid_parameter_value', '22023'), ('null_value_not_allowed', '22004'), ('insufficient_privilege', '42501'), ('duplicate_function', '42723'),
				  ('dependent_objects_still_exist', '2BP01'), ('object_not_in_prerequisite_state', '55000'), ('object_in_use', '55006'),
				  ('lock_not_available', '55P03'), ('feature_not_supported', '0A000'), ('undefined_object', '42704'), ('connection_exception', '08000')) AS c(condition, state) USING (condition)
UNION ALL
SELECT f.name, f.comment, '42501', 'vibevideo_internal.require' FROM functions f WHERE f.prosrc ~ 'vibevideo_internal\.require\(';
SELECT count(*) > 40 AS raised FROM raised;
SELECT DISTINCT name, state, condition FROM raised WHERE state IS NULL OR comment !~ ('\nErrors: [^\n]*\m' || state || '\M') ORDER BY 1, 2;

-- who may call it is how the comment ends, and is right
CREATE ROLE looks;
CREATE ROLE acts;
SELECT vibevideo.grant_access('looks', 'viewer'), vibevideo.grant_access('acts', 'operator');
SELECT f.name, m.may, (regexp_match(f.comment, '\n([^\n]+)$'))[1] AS says
FROM functions f CROSS JOIN LATERAL (SELECT CASE
	WHEN has_function_privilege('anon', f.oid, 'EXECUTE') THEN 'anon'
	WHEN has_function_privilege('acts', f.oid, 'EXECUTE') THEN concat_ws(' and ',
		CASE WHEN has_function_privilege('looks', f.oid, 'EXECUTE') THEN 'viewers' END, 'operators')
	WHEN has_function_privilege('authenticated', f.oid, 'EXECUTE') THEN 'authenticated and service_role'
	WHEN has_function_privilege('service_role', f.oid, 'EXECUTE') THEN 'service_role and the owner'
	ELSE 'the extension''s owner' END
	-- operators come as authenticated and service_role, too
	|| CASE WHEN has_function_privilege('looks', f.oid, 'EXECUTE') AND has_function_privilege('service_role', f.oid, 'EXECUTE')
				 AND NOT has_function_privilege('authenticated', f.oid, 'EXECUTE') THEN ' and service_role' ELSE '' END AS may) m
WHERE regexp_replace((regexp_match(f.comment, '\n([^\n]+)$'))[1], ', (who|whose|which) [^,.]+,?', '') NOT IN
	(format('For %s.', m.may), format('For %s.', replace(m.may, 'viewers and operators and', 'viewers, operators and')))
   OR f.comment !~ '\n[^\n]+$'
ORDER BY 1;
SELECT vibevideo.revoke_access('looks'), vibevideo.revoke_access('acts');
DROP ROLE looks, acts;

-------------------------------------------------------------------------------
-- Tables, views and types
-------------------------------------------------------------------------------
SELECT c.oid::regclass AS lacks_a_comment FROM pg_class c
WHERE c.relnamespace = 'vibevideo'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND obj_description(c.oid, 'pg_class') IS NULL ORDER BY 1;
SELECT t.oid::regtype AS lacks_a_comment FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.typnamespace = 'vibevideo'::regnamespace AND coalesce(c.relkind, 'c') = 'c' AND t.typelem = 0 AND obj_description(t.oid, 'pg_type') IS NULL ORDER BY 1;

SELECT name AS lacks_a_comment FROM columns WHERE comment IS NULL ORDER BY 1;
-- what NULL means, if a table may have it, or a view shows such a column of a job
SELECT c.name AS says_nothing_of_null FROM columns c
WHERE c.comment !~ '\mNULL\M'
  AND (c.relkind IN ('r', 'p') AND c.may_be_null
	   OR c.name ~ '^vibevideo\.jobs\.' AND EXISTS (SELECT FROM columns j WHERE j.name = 'vibevideo.job.' || c.attname AND j.may_be_null))
ORDER BY 1;
-- the unit of a number
SELECT c.name, u.unit AS lacks_its_unit FROM columns c
JOIN (VALUES ('(^|_)usd$', 'USD'), ('(^|_)ms$', 'milliseconds'), ('(^|_)bytes(_|$)', 'bytes'), ('(^|_)seconds(_|$)', 'seconds')) AS u(names, unit)
	 ON c.attname ~ u.names AND c.type IN ('integer', 'bigint', 'numeric', 'double precision') AND c.comment !~ u.unit
ORDER BY 1;

-------------------------------------------------------------------------------
-- Settings
-------------------------------------------------------------------------------
SELECT count(*) > 40 AS settings FROM pg_settings WHERE name LIKE 'vibevideo.%';
SELECT s.name AS lacks_a_comment FROM vibevideo.settings s WHERE coalesce(s.meaning, '') = '' ORDER BY 1;
-- a value that is none of its kind
SELECT s.name, s.short_desc AS does_not_say_what_this_means, coalesce(nullif(s.min_val, ''), 'empty') AS value FROM pg_settings s
WHERE s.name LIKE 'vibevideo.%'
  AND (s.vartype = 'integer' AND s.min_val IN ('0', '-1') AND s.short_desc !~ ('[; ]' || s.min_val || ' means ')
	   OR s.vartype = 'string' AND s.boot_val = '' AND s.short_desc !~ '\mempty means ')
ORDER BY 1;
-- each of its values
SELECT s.name, v AS does_not_say_this_value FROM pg_settings s CROSS JOIN unnest(s.enumvals) AS v
WHERE s.name LIKE 'vibevideo.%' AND s.short_desc !~ ('\m' || v || '\M') ORDER BY 1, 2;

DROP VIEW raised, functions, columns;
SET client_min_messages = warning;
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP ROLE anon, authenticated, service_role;
