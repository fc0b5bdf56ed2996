-- The states of a job, wherever they are spelled: in the table, in SQL and in C
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;
CREATE TABLE states AS
SELECT m.match[1] AS state, m.position::int
FROM pg_constraint c, regexp_matches(pg_get_constraintdef(c.oid), '''(\w+)''', 'g') WITH ORDINALITY AS m(match, position)
WHERE c.conrelid = 'vibevideo.job'::regclass AND c.conname = 'job_state_check';
SELECT s.state, vibevideo.is_active(s.state), vibevideo_internal.shown_status(s.state) FROM states s ORDER BY s.position;

-- Every list of them, and where it stands.  The active ones: in is_active, and
-- in the index, which could not have it from there.
CREATE VIEW texts AS
SELECT i.type || ' ' || regexp_replace(i.identity, '\mvibevideo(_internal)?\.', '', 'g') AS object, o.text
FROM (SELECT 'pg_proc'::regclass AS classid, p.oid, pg_get_functiondef(p.oid) AS text
	  FROM pg_proc p WHERE p.pronamespace IN ('vibevideo'::regnamespace, 'vibevideo_internal'::regnamespace) AND p.prokind <> 'a'
	  UNION ALL
	  SELECT 'pg_class'::regclass, x.indexrelid, pg_get_indexdef(x.indexrelid)
	  FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid WHERE c.relnamespace IN ('vibevideo'::regnamespace, 'vibevideo_internal'::regnamespace)
	  UNION ALL
	  SELECT 'pg_class'::regclass, c.oid, pg_get_viewdef(c.oid)
	  FROM pg_class c WHERE c.relnamespace IN ('vibevideo'::regnamespace, 'vibevideo_internal'::regnamespace) AND c.relkind = 'v'
	  UNION ALL
	  SELECT 'pg_constraint'::regclass, c.oid, pg_get_constraintdef(c.oid)
	  FROM pg_constraint c WHERE c.connamespace IN ('vibevideo'::regnamespace, 'vibevideo_internal'::regnamespace)) o,
	 pg_identify_object(o.classid, o.oid, 0) i;
CREATE VIEW lists AS
SELECT DISTINCT t.object, w.words
FROM texts t, regexp_matches(t.text, '(?:ARRAY\[|IN\s*\(|''\{)([^])}]*)', 'g') AS list(match),
	 LATERAL (SELECT array_agg(s.state ORDER BY s.position) AS words, count(*) = count(s.state) AND count(*) > 1 AS only_states
			  FROM regexp_matches(list.match[1], '''+(\w+)''+', 'g') AS word(match) LEFT JOIN states s ON s.state = word.match[1]) w
WHERE w.only_states;
SELECT array_to_string(l.words, ' ') AS list, string_agg(l.object, ', ' ORDER BY l.object COLLATE "C") AS stands_in
FROM lists l GROUP BY l.words ORDER BY array_to_string(l.words, ' ') COLLATE "C";
-- the planner sees through is_active and finds that index
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
	RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query;
END
$$;
SELECT substring(p, 'Index.*') AS plan FROM plan('SELECT j.* FROM vibevideo.job j WHERE vibevideo.is_active(j.state) AND NOT j.orphan') p WHERE p ~ 'Index';

-- What the trigger, which is C, does with a move from each to each: refused,
-- or made, with or without the app's row to be written.
CREATE FUNCTION move(old text, new text, media text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	dirty boolean;
BEGIN
	INSERT INTO vibevideo.job (vibelog_id, state, model, input, media_url, row_dirty) VALUES ('1', old, 'm/n', '{}', media, false);
	UPDATE vibevideo.job SET state = new RETURNING row_dirty INTO dirty;
	DELETE FROM vibevideo.job;
	RETURN CASE WHEN dirty THEN 'shown' ELSE 'made' END;
EXCEPTION WHEN data_exception THEN
	RETURN 'refused';
END
$$;
CREATE TABLE moves AS
SELECT a.state AS old, a.position AS old_position, b.state AS new, b.position AS new_position, move(a.state, b.state) AS answer
FROM states a CROSS JOIN states b;
SELECT old, string_agg(new, ' ' ORDER BY new_position) AS may_become FROM moves
WHERE old <> new AND answer <> 'refused' GROUP BY old, old_position ORDER BY old_position;
SELECT move('failed', 'processing', 'https://m.example/v.mp4'), move('completed', 'processing', 'https://m.example/v.mp4'),
	   move('cancelled', 'processing', 'https://m.example/v.mp4');
-- final are those that are not active
SELECT s.state AS differs FROM states s
WHERE vibevideo.is_active(s.state) <> EXISTS (SELECT FROM moves m WHERE m.old = s.state AND m.new <> s.state AND m.answer <> 'refused');
-- the row shows what shown_status says, and words of its own while in doubt
SELECT m.old, m.new, m.answer AS differs FROM moves m
WHERE m.answer <> 'refused'
  AND (m.answer = 'shown') <> (vibevideo_internal.shown_status(m.old) <> vibevideo_internal.shown_status(m.new)
							   OR m.old <> m.new AND 'submit_unknown' IN (m.old, m.new));
DROP VIEW lists, texts;
DROP TABLE moves, states;
DROP FUNCTION move, plan;
