-- What people look at: each column is explained, and texts fit a terminal's columns.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;

-- what the functions for viewers return, and the views
CREATE TEMPORARY VIEW shown AS
WITH RECURSIVE t(oid) AS (
	SELECT p.prorettype FROM pg_proc p
	WHERE p.oid = ANY (ARRAY['vibevideo.overview()', 'vibevideo.inbox()', 'vibevideo.list_jobs(jsonb, jsonb, int)', 'vibevideo.job_detail(bigint)',
							 'vibevideo.error_groups(timestamptz)', 'vibevideo.users(timestamptz, int)']::regprocedure[])
	UNION
	-- and what is in those
	SELECT coalesce(nullif(y.typelem, 0), y.oid) FROM t JOIN pg_type x ON x.oid = t.oid JOIN pg_attribute a ON a.attrelid = x.typrelid
	JOIN pg_type y ON y.oid = a.atttypid WHERE a.attnum > 0
)
SELECT c.oid::regclass AS relation, c.relkind, a.attnum, a.attname, col_description(c.oid, a.attnum) AS comment
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE a.attnum > 0 AND NOT a.attisdropped
  AND (c.reltype IN (SELECT oid FROM t) OR c.oid IN ('vibevideo.now'::regclass, 'vibevideo.today'::regclass, 'vibevideo.inbox'::regclass));
SELECT relation, relkind, count(*) AS columns FROM shown GROUP BY 1, 2 ORDER BY relation::text COLLATE "C";
SELECT relation, attname AS not_explained FROM shown WHERE comment IS NULL ORDER BY 1, 2;
-- none returns something that has no type of its own
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'vibevideo'::regnamespace
  AND p.proname IN ('overview', 'inbox', 'list_jobs', 'job_detail', 'error_groups', 'users') AND p.prorettype IN ('record'::regtype, 'jsonb'::regtype);

-- cut
SELECT w, vibevideo_internal.fit(t, w), length(vibevideo_internal.fit(t, w))
FROM (VALUES ('', 5), ('short', 5), ('longer', 5), ('a b', 2), ('漢字漢字', 8), ('漢字漢字', 7), ('漢字漢字', 6), ('a漢', 2), ('漢', 2), ('漢字', 2)) AS x(t, w);
SELECT vibevideo_internal.fit(E'line\nfeed\ttab\x1b[31m', 40), vibevideo_internal.fit(U&'\0085\009b\007f', 40);
-- marks above a character take no room, but there may be too many of them
SELECT length(vibevideo_internal.fit('e' || repeat(U&'\0301', 10) || 'nd', 10)), octet_length(vibevideo_internal.fit('e' || repeat(U&'\0301', 1000), 10)) <= 90;
SELECT vibevideo_internal.fit('x', 1);
SELECT vibevideo_internal.fit('x', 1001);

-- wrapped
SELECT vibevideo_internal.wrap(t, w)
FROM (VALUES ('', 5), ('one two three', 7), ('one two three', 8), ('one two', 7), ('onetwothree', 4), ('a onetwothree b', 4), ('  two  spaces', 6), ('trailing ', 8),
			 ('漢字 漢字漢', 5), (E'new\nline', 20), ('a b c d', 2)) AS x(t, w);
-- nothing is lost, and no line is wider than that
SELECT count(*) FILTER (WHERE replace(array_to_string(l.lines, ''), ' ', '') <> replace(l.t, ' ', '')) AS lost,
	   count(*) FILTER (WHERE EXISTS (SELECT FROM unnest(l.lines) x WHERE length(x) > l.w)) AS wide, count(*) > 400 AS many
FROM (SELECT t, w, vibevideo_internal.wrap(t, w) AS lines
	  FROM (SELECT string_agg(substr('ab  cde f', 1 + n * 7919 % 9, 1), '' ORDER BY n) AS t FROM generate_series(1, 200) s, generate_series(1, s) n GROUP BY s) a,
		   generate_series(2, 60, 20) w) l;

DROP VIEW shown;
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
