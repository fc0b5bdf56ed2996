
-------------------------------------------------------------------------------
-- What became of jobs: counts that outlive them
-------------------------------------------------------------------------------

/*
 * The trigger job_changed notes each step of a job in vibevideo.tally, one row a
 * step, in the transaction that takes it.  An insert waits for nobody, not even
 * for a prepared transaction, and costs the same for the last job of a transaction
 * as for the first.  (A row to be updated would have as many versions as the
 * transaction ends jobs, all of which the next has to pass over.)  The worker adds
 * these rows to the rollup every few seconds: it alone writes there.
 *
 * Each step is noted once in the life of a job, but an end, since a video that
 * was made may be copied again.  So money is counted where fal has made the
 * video, time where a step of that kind ends:
 *
 *	submitted	a job was made
 *	accepted	fal has it: wait
 *	rendered	its video is made, and paid for: render, settled_usd
 *	completed	its video is stored: copy, total, bytes
 *	failed		returned_usd, if no video was made
 *	cancelled	the same
 *
 * The rollup has five levels, by the length of their periods in seconds: 0, all
 * time; 60 and 300, kept for 14 days; 3600 and 86400, days of UTC, kept for
 * vibevideo.rollup_retention.  Each has every step of its time, so that thinning
 * one changes no other, a chart reads no more periods than it shows, give or take,
 * and level 0, which nothing is ever taken from, has counters that only grow.
 */

-- src/histogram.c: bucket i counts what took no longer than bound i and longer
-- than the one before, the last one everything beyond.
CREATE FUNCTION vibevideo.histogram_bounds()
RETURNS int[] LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_histogram_bounds';
COMMENT ON FUNCTION vibevideo.histogram_bounds() IS
	'upper bounds, in seconds and inclusive, of a histogram''s buckets; one more bucket has what is beyond; owner only';
CREATE FUNCTION vibevideo.histogram_note(histogram bigint[], ms bigint)
RETURNS bigint[] LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_histogram_note';
COMMENT ON FUNCTION vibevideo.histogram_note(bigint[], bigint) IS 'a histogram with one duration more; owner only';
CREATE FUNCTION vibevideo.histogram_add(a bigint[], b bigint[])
RETURNS bigint[] LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_histogram_add';
COMMENT ON FUNCTION vibevideo.histogram_add(bigint[], bigint[]) IS 'the sum of two histograms, either of which may be NULL; owner only';
CREATE FUNCTION vibevideo.percentile(histogram bigint[], fraction double precision)
RETURNS double precision LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_percentile';
COMMENT ON FUNCTION vibevideo.percentile(bigint[], double precision) IS
	'seconds within which this fraction of a histogram''s durations lie, interpolated within a bucket; owner only';
CREATE AGGREGATE vibevideo.histogram(ms bigint) (
	SFUNC = vibevideo.histogram_note, STYPE = bigint[], COMBINEFUNC = vibevideo.histogram_add, PARALLEL = SAFE);
COMMENT ON AGGREGATE vibevideo.histogram(bigint) IS 'the histogram of durations; owner only';
CREATE AGGREGATE vibevideo.histogram_sum(histogram bigint[]) (
	SFUNC = vibevideo.histogram_add, STYPE = bigint[], COMBINEFUNC = vibevideo.histogram_add, PARALLEL = SAFE);
COMMENT ON AGGREGATE vibevideo.histogram_sum(bigint[]) IS 'the sum of histograms; owner only';

CREATE TABLE vibevideo.tally (
	tally_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	outcome text NOT NULL,
	orphan boolean NOT NULL,
	model text NOT NULL,
	error_code text,
	ms bigint,
	total_ms bigint,
	bytes bigint,
	usd numeric
);
COMMENT ON TABLE vibevideo.tally IS 'steps of jobs that are not yet in the rollup, one row each';
COMMENT ON COLUMN vibevideo.tally.tally_id IS 'the order in which they are taken';
COMMENT ON COLUMN vibevideo.tally.at IS 'when the step was taken';
COMMENT ON COLUMN vibevideo.tally.outcome IS 'which step: as in vibevideo.rollup';
COMMENT ON COLUMN vibevideo.tally.orphan IS 'the job''s transaction was rolled back after it was sent';
COMMENT ON COLUMN vibevideo.tally.model IS 'the job''s model';
COMMENT ON COLUMN vibevideo.tally.error_code IS 'why it failed; NULL for other steps';
COMMENT ON COLUMN vibevideo.tally.ms IS 'how long what ended with this step took: wait, render or copy; NULL if that is not known';
COMMENT ON COLUMN vibevideo.tally.total_ms IS 'how long all of it took, when it is completed';
COMMENT ON COLUMN vibevideo.tally.bytes IS 'what was copied';
COMMENT ON COLUMN vibevideo.tally.usd IS 'what was settled with step rendered, or returned with one of the others';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.tally', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.tally_tally_id_seq', '');

CREATE TABLE vibevideo.rollup_level (
	seconds int NOT NULL,
	at timestamptz NOT NULL,
	outcome text COLLATE pg_catalog."C" NOT NULL CHECK (outcome OPERATOR(pg_catalog.=) ANY (ARRAY[
		'submitted', 'accepted', 'rendered', 'completed', 'failed', 'cancelled'])),
	model text COLLATE pg_catalog."C" NOT NULL,
	error_class text COLLATE pg_catalog."C" NOT NULL,
	orphan boolean NOT NULL,
	n bigint NOT NULL,
	wait_ms bigint NOT NULL,
	render_ms bigint NOT NULL,
	copy_ms bigint NOT NULL,
	total_ms bigint NOT NULL,
	bytes bigint NOT NULL,
	settled_usd numeric NOT NULL,
	returned_usd numeric NOT NULL,
	wait bigint[],
	render bigint[],
	copy bigint[],
	total bigint[],
	PRIMARY KEY (outcome, at, model, error_class, orphan, seconds)
) PARTITION BY LIST (seconds);
COMMENT ON TABLE vibevideo.rollup_level IS 'steps of jobs by period, model and the like, as far as they are added up; view vibevideo.rollup has all';
-- a table each, so that what is read together lies together
CREATE TABLE vibevideo.rollup_ever PARTITION OF vibevideo.rollup_level FOR VALUES IN (0) WITH (fillfactor = 50);
COMMENT ON TABLE vibevideo.rollup_ever IS 'part of vibevideo.rollup_level: all time, nothing is taken away from it';
CREATE TABLE vibevideo.rollup_minute PARTITION OF vibevideo.rollup_level FOR VALUES IN (60);
COMMENT ON TABLE vibevideo.rollup_minute IS 'part of vibevideo.rollup_level: minutes';
CREATE TABLE vibevideo.rollup_minutes PARTITION OF vibevideo.rollup_level FOR VALUES IN (300);
COMMENT ON TABLE vibevideo.rollup_minutes IS 'part of vibevideo.rollup_level: five minutes each';
CREATE TABLE vibevideo.rollup_hour PARTITION OF vibevideo.rollup_level FOR VALUES IN (3600);
COMMENT ON TABLE vibevideo.rollup_hour IS 'part of vibevideo.rollup_level: hours';
CREATE TABLE vibevideo.rollup_day PARTITION OF vibevideo.rollup_level FOR VALUES IN (86400);
COMMENT ON TABLE vibevideo.rollup_day IS 'part of vibevideo.rollup_level: days of UTC';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.rollup_ever', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.rollup_minute', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.rollup_minutes', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.rollup_hour', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.rollup_day', '');

-- The beginning of the period of so many seconds that a time is in: hours and days
-- are of UTC, weeks begin on a Monday.
CREATE FUNCTION vibevideo.period(seconds int, at timestamptz)
RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN seconds = 0 THEN '-infinity' ELSE date_bin(seconds * interval '1 second', at, '2001-01-01 00:00:00+00') END;
COMMENT ON FUNCTION vibevideo.period(int, timestamptz) IS 'the beginning of the period that a time is in; owner only';

-- What is added up, and what is still to be: so that nothing is late.
CREATE VIEW vibevideo.rollup WITH (security_invoker = true) AS
SELECT r.seconds, r.at, r.outcome, r.model, r.error_class, r.orphan, r.n, r.wait_ms, r.render_ms, r.copy_ms, r.total_ms, r.bytes,
	   r.settled_usd, r.returned_usd, r.wait, r.render, r.copy, r.total
FROM vibevideo.rollup_level r
UNION ALL
SELECT l.seconds, vibevideo.period(l.seconds, t.at), t.outcome COLLATE pg_catalog."C", t.model COLLATE pg_catalog."C",
	   coalesce(vibevideo.error_class(t.error_code), '') COLLATE pg_catalog."C", t.orphan, count(*),
	   coalesce(sum(t.ms) FILTER (WHERE t.outcome = 'accepted'), 0)::bigint,
	   coalesce(sum(t.ms) FILTER (WHERE t.outcome = 'rendered'), 0)::bigint,
	   coalesce(sum(t.ms) FILTER (WHERE t.outcome = 'completed'), 0)::bigint,
	   coalesce(sum(t.total_ms), 0)::bigint, coalesce(sum(t.bytes), 0)::bigint,
	   coalesce(sum(t.usd) FILTER (WHERE t.outcome = 'rendered'), 0),
	   coalesce(sum(t.usd) FILTER (WHERE t.outcome <> 'rendered'), 0),
	   vibevideo.histogram(t.ms) FILTER (WHERE t.outcome = 'accepted'),
	   vibevideo.histogram(t.ms) FILTER (WHERE t.outcome = 'rendered'),
	   vibevideo.histogram(t.ms) FILTER (WHERE t.outcome = 'completed'),
	   vibevideo.histogram(t.total_ms)
FROM vibevideo.tally t CROSS JOIN (VALUES (0), (60), (300), (3600), (86400)) AS l(seconds)
GROUP BY 1, 2, 3, 4, 5, 6;
COMMENT ON VIEW vibevideo.rollup IS
	'how many jobs took which step, how long it took and what it cost, by period, model and class of error; choose one length of '
	'periods (seconds), and add up: what is new may be in a row of its own';
COMMENT ON COLUMN vibevideo.rollup.seconds IS 'length of the period: 60, 300, 3600, 86400, or 0 for all time; each has everything';
COMMENT ON COLUMN vibevideo.rollup.at IS 'beginning of the period, -infinity for all time; days are of UTC';
COMMENT ON COLUMN vibevideo.rollup.outcome IS 'the step: submitted, accepted (by fal.ai), rendered, completed, failed or cancelled';
COMMENT ON COLUMN vibevideo.rollup.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.rollup.error_class IS 'of failed jobs, as vibevideo.error_class says it; empty for others';
COMMENT ON COLUMN vibevideo.rollup.orphan IS 'the jobs'' transactions were rolled back after they were sent';
COMMENT ON COLUMN vibevideo.rollup.n IS 'how many; a job whose copy failed and was made again has ended twice, every other step is taken once';
COMMENT ON COLUMN vibevideo.rollup.wait_ms IS 'sum of milliseconds from the request until fal.ai had accepted it; with step accepted';
COMMENT ON COLUMN vibevideo.rollup.render_ms IS 'sum of milliseconds from then until the video was made, fal.ai''s queue included; with step rendered';
COMMENT ON COLUMN vibevideo.rollup.copy_ms IS 'sum of milliseconds from then until it was stored; with step completed';
COMMENT ON COLUMN vibevideo.rollup.total_ms IS 'sum of milliseconds from the request until the video was there; with step completed';
COMMENT ON COLUMN vibevideo.rollup.bytes IS 'sum of bytes copied; with step completed';
COMMENT ON COLUMN vibevideo.rollup.settled_usd IS 'list price of videos that were made; with step rendered';
COMMENT ON COLUMN vibevideo.rollup.returned_usd IS 'list price of jobs that ended without a video; with steps failed and cancelled';
COMMENT ON COLUMN vibevideo.rollup.wait IS 'histogram of what wait_ms is the sum of: how many in each bucket; vibevideo.histogram_bounds() are the buckets'' bounds';
COMMENT ON COLUMN vibevideo.rollup.render IS 'histogram of what render_ms is the sum of';
COMMENT ON COLUMN vibevideo.rollup.copy IS 'histogram of what copy_ms is the sum of';
COMMENT ON COLUMN vibevideo.rollup.total IS 'histogram of what total_ms is the sum of';

/*
 * vibevideo.fold_tallies(most) - adds so many tallies to the rollup, the oldest
 * first; returns how many.  The worker calls it; waits for nobody who inserts.
 */
CREATE FUNCTION vibevideo.fold_tallies(most int)
RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	folded int;
BEGIN
	WITH taken AS (
		DELETE FROM vibevideo.tally t WHERE t.tally_id = ANY (ARRAY(
			SELECT x.tally_id FROM vibevideo.tally x ORDER BY x.tally_id LIMIT most FOR UPDATE SKIP LOCKED))
		RETURNING t.*
	), steps AS (
		SELECT vibevideo.period(60, t.at) AS at, t.outcome, t.model, coalesce(vibevideo.error_class(t.error_code), '') AS error_class,
			   t.orphan, count(*) AS n,
			   sum(t.ms) FILTER (WHERE t.outcome = 'accepted') AS wait_ms, sum(t.ms) FILTER (WHERE t.outcome = 'rendered') AS render_ms,
			   sum(t.ms) FILTER (WHERE t.outcome = 'completed') AS copy_ms, sum(t.total_ms) AS total_ms, sum(t.bytes) AS bytes,
			   sum(t.usd) FILTER (WHERE t.outcome = 'rendered') AS settled_usd, sum(t.usd) FILTER (WHERE t.outcome <> 'rendered') AS returned_usd,
			   vibevideo.histogram(t.ms) FILTER (WHERE t.outcome = 'accepted') AS wait,
			   vibevideo.histogram(t.ms) FILTER (WHERE t.outcome = 'rendered') AS render,
			   vibevideo.histogram(t.ms) FILTER (WHERE t.outcome = 'completed') AS copy,
			   vibevideo.histogram(t.total_ms) AS total
		FROM taken t GROUP BY 1, 2, 3, 4, 5
	), added AS (
		INSERT INTO vibevideo.rollup_level AS r (seconds, at, outcome, model, error_class, orphan, n, wait_ms, render_ms, copy_ms,
												 total_ms, bytes, settled_usd, returned_usd, wait, render, copy, total)
		SELECT l.seconds, vibevideo.period(l.seconds, s.at), s.outcome, s.model, s.error_class, s.orphan, sum(s.n),
			   coalesce(sum(s.wait_ms), 0), coalesce(sum(s.render_ms), 0), coalesce(sum(s.copy_ms), 0), coalesce(sum(s.total_ms), 0),
			   coalesce(sum(s.bytes), 0), coalesce(sum(s.settled_usd), 0), coalesce(sum(s.returned_usd), 0),
			   vibevideo.histogram_sum(s.wait), vibevideo.histogram_sum(s.render), vibevideo.histogram_sum(s.copy),
			   vibevideo.histogram_sum(s.total)
		FROM steps s CROSS JOIN (VALUES (0), (60), (300), (3600), (86400)) AS l(seconds)
		GROUP BY 1, 2, 3, 4, 5, 6
		ON CONFLICT (outcome, at, model, error_class, orphan, seconds) DO UPDATE SET
			n = r.n + EXCLUDED.n, wait_ms = r.wait_ms + EXCLUDED.wait_ms, render_ms = r.render_ms + EXCLUDED.render_ms,
			copy_ms = r.copy_ms + EXCLUDED.copy_ms, total_ms = r.total_ms + EXCLUDED.total_ms, bytes = r.bytes + EXCLUDED.bytes,
			settled_usd = r.settled_usd + EXCLUDED.settled_usd, returned_usd = r.returned_usd + EXCLUDED.returned_usd,
			wait = vibevideo.histogram_add(r.wait, EXCLUDED.wait), render = vibevideo.histogram_add(r.render, EXCLUDED.render),
			copy = vibevideo.histogram_add(r.copy, EXCLUDED.copy), total = vibevideo.histogram_add(r.total, EXCLUDED.total))
	SELECT count(*) INTO folded FROM taken;
	RETURN folded;
END
$$;
COMMENT ON FUNCTION vibevideo.fold_tallies(int) IS 'adds tallies to the rollup, at most so many; returns how many; owner only';

/*
 * vibevideo.thin_rollup(most) - takes away minutes that are older than 14 days, and
 * hours and days that are older than vibevideo.rollup_retention, at most so many
 * of each; returns how many.  It reads no more than it takes, and what somebody has
 * locked stays for later.
 */
CREATE FUNCTION vibevideo.thin_rollup(most int)
RETURNS int LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	-- so that the index, which begins with them, finds what is old
	outcomes constant text[] = ARRAY['submitted', 'accepted', 'rendered', 'completed', 'failed', 'cancelled'];
	kept constant interval = nullif(extract(epoch FROM current_setting('vibevideo.rollup_retention')::interval), 0) * interval '1 second';
	level record;
	n int;
	thinned int = 0;
BEGIN
	FOR level IN SELECT l.* FROM (VALUES (60, interval '14 days'), (300, interval '14 days'), (3600, kept), (86400, kept)) AS l(seconds, kept) WHERE l.kept IS NOT NULL LOOP
		DELETE FROM vibevideo.rollup_level r
		USING (SELECT x.outcome, x.at, x.model, x.error_class, x.orphan FROM vibevideo.rollup_level x
			   WHERE x.seconds = level.seconds AND x.outcome = ANY (outcomes) AND x.at < now() - level.kept
			   LIMIT most FOR UPDATE SKIP LOCKED) o
		WHERE r.seconds = level.seconds AND r.outcome = o.outcome AND r.at = o.at AND r.model = o.model
		  AND r.error_class = o.error_class AND r.orphan = o.orphan;
		GET DIAGNOSTICS n = ROW_COUNT;
		thinned = thinned + n;
	END LOOP;
	RETURN thinned;
END
$$;
COMMENT ON FUNCTION vibevideo.thin_rollup(int) IS 'takes old periods away from the rollup, at most so many of each length; returns how many; owner only';

-- How long videos usually take.  It can be made anew, so pg_dump leaves it out.
CREATE TABLE vibevideo.typical (
	model text COLLATE pg_catalog."C" PRIMARY KEY,
	n bigint NOT NULL,
	wait_p50 interval,
	wait_p90 interval,
	render_p50 interval,
	render_p90 interval,
	copy_p50 interval,
	total_p50 interval,
	total_p90 interval,
	updated_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE vibevideo.typical IS 'how long videos of a model usually take: percentiles of the last 14 days; NULL where nothing is known';
COMMENT ON COLUMN vibevideo.typical.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.typical.n IS 'how many videos were made in that time';
COMMENT ON COLUMN vibevideo.typical.wait_p50 IS 'half of the jobs were accepted by fal.ai within that time of the request';
COMMENT ON COLUMN vibevideo.typical.wait_p90 IS 'nine of ten were';
COMMENT ON COLUMN vibevideo.typical.render_p50 IS 'half of the videos were made within that time from then on, fal.ai''s queue included';
COMMENT ON COLUMN vibevideo.typical.render_p90 IS 'nine of ten were';
COMMENT ON COLUMN vibevideo.typical.copy_p50 IS 'half of the videos were stored within that time after they were made';
COMMENT ON COLUMN vibevideo.typical.total_p50 IS 'half of the videos were there within that time of the request';
COMMENT ON COLUMN vibevideo.typical.total_p90 IS 'nine of ten were';
COMMENT ON COLUMN vibevideo.typical.updated_at IS 'when the worker last looked';

-- From the hours, so that the cost depends on models, not on jobs.
CREATE FUNCTION vibevideo.refresh_typical()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	WITH recent AS (
		SELECT r.model, sum(r.n) FILTER (WHERE r.outcome = 'rendered') AS n,
			   vibevideo.histogram_sum(r.wait) AS wait, vibevideo.histogram_sum(r.render) AS render,
			   vibevideo.histogram_sum(r.copy) AS copy, vibevideo.histogram_sum(r.total) AS total
		FROM vibevideo.rollup r
		WHERE r.seconds = 3600 AND r.outcome IN ('accepted', 'rendered', 'completed') AND r.at > now() - interval '14 days' AND NOT r.orphan
		GROUP BY r.model
	), gone AS (
		DELETE FROM vibevideo.typical t WHERE NOT EXISTS (SELECT FROM recent r WHERE r.model = t.model)
	)
	INSERT INTO vibevideo.typical AS t (model, n, wait_p50, wait_p90, render_p50, render_p90, copy_p50, total_p50, total_p90, updated_at)
	SELECT r.model, coalesce(r.n, 0), p.*, now()
	FROM recent r CROSS JOIN LATERAL (SELECT
		vibevideo.percentile(r.wait, 0.5) * interval '1 second', vibevideo.percentile(r.wait, 0.9) * interval '1 second',
		vibevideo.percentile(r.render, 0.5) * interval '1 second', vibevideo.percentile(r.render, 0.9) * interval '1 second',
		vibevideo.percentile(r.copy, 0.5) * interval '1 second',
		vibevideo.percentile(r.total, 0.5) * interval '1 second', vibevideo.percentile(r.total, 0.9) * interval '1 second') p
	ON CONFLICT (model) DO UPDATE SET n = EXCLUDED.n, wait_p50 = EXCLUDED.wait_p50, wait_p90 = EXCLUDED.wait_p90,
		render_p50 = EXCLUDED.render_p50, render_p90 = EXCLUDED.render_p90, copy_p50 = EXCLUDED.copy_p50,
		total_p50 = EXCLUDED.total_p50, total_p90 = EXCLUDED.total_p90, updated_at = EXCLUDED.updated_at;
END
$$;
COMMENT ON FUNCTION vibevideo.refresh_typical() IS 'writes vibevideo.typical anew from the rollup; owner only';
