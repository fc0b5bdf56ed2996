
-------------------------------------------------------------------------------
-- What became of jobs: counts that outlive them
-------------------------------------------------------------------------------

/*
 * The trigger job_changed notes each step of a job in vibevideo_internal.tally, one row a
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
 *	delivered_less	... and is less than was asked for
 *	failed		returned_usd, if nothing was billed
 *	cancelled	the same
 *	settled		it has cost more than was counted (settled_usd), or less (returned_usd)
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
'Returns the upper bounds, in seconds and inclusive, of a histogram''s buckets; one more bucket counts what is
  beyond the last. Raises no errors.
For viewers, operators and service_role.';
CREATE FUNCTION vibevideo_internal.histogram_note(histogram bigint[], ms bigint)
RETURNS bigint[] LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_histogram_note';
COMMENT ON FUNCTION vibevideo_internal.histogram_note(bigint[], bigint) IS 'a histogram with one duration more; owner only';
CREATE FUNCTION vibevideo_internal.histogram_add(a bigint[], b bigint[])
RETURNS bigint[] LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_histogram_add';
COMMENT ON FUNCTION vibevideo_internal.histogram_add(bigint[], bigint[]) IS 'the sum of two histograms, either of which may be NULL; owner only';
CREATE FUNCTION vibevideo.percentile(histogram bigint[], fraction double precision)
RETURNS double precision LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_percentile';
COMMENT ON FUNCTION vibevideo.percentile(bigint[], double precision) IS
'Reads a percentile from a histogram of vibevideo.rollup.
histogram: counts by bucket, as vibevideo.histogram_sum returns them.
fraction: from 0 to 1; 0.5 is the median.
Returns the seconds within which this fraction of the durations lie, interpolated within a bucket; NULL if
  nothing is counted.
Errors: 22023 not a histogram, or not a fraction.
For viewers, operators and service_role.';
CREATE AGGREGATE vibevideo_internal.histogram(ms bigint) (
	SFUNC = vibevideo_internal.histogram_note, STYPE = bigint[], COMBINEFUNC = vibevideo_internal.histogram_add, PARALLEL = SAFE);
COMMENT ON AGGREGATE vibevideo_internal.histogram(bigint) IS 'the histogram of durations; owner only';
CREATE AGGREGATE vibevideo.histogram_sum(histogram bigint[]) (
	SFUNC = vibevideo_internal.histogram_add, STYPE = bigint[], COMBINEFUNC = vibevideo_internal.histogram_add, PARALLEL = SAFE);
COMMENT ON AGGREGATE vibevideo.histogram_sum(bigint[]) IS
'Adds up histograms of vibevideo.rollup.
histogram: counts by bucket; NULL counts as none.
Returns the sum; NULL if there are none.
Errors: 22023 not a histogram.
For viewers, operators and service_role.';

CREATE TABLE vibevideo_internal.tally (
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
COMMENT ON TABLE vibevideo_internal.tally IS 'steps of jobs that are not yet in the rollup, one row each';
COMMENT ON COLUMN vibevideo_internal.tally.tally_id IS 'the order in which they are taken';
COMMENT ON COLUMN vibevideo_internal.tally.at IS 'when the step was taken';
COMMENT ON COLUMN vibevideo_internal.tally.outcome IS 'which step: as in vibevideo.rollup';
COMMENT ON COLUMN vibevideo_internal.tally.orphan IS 'the job''s transaction was rolled back after it was sent';
COMMENT ON COLUMN vibevideo_internal.tally.model IS 'the job''s model';
COMMENT ON COLUMN vibevideo_internal.tally.error_code IS 'why it failed; NULL for other steps';
COMMENT ON COLUMN vibevideo_internal.tally.ms IS 'how long what ended with this step took: wait, render or copy; NULL if that is not known';
COMMENT ON COLUMN vibevideo_internal.tally.total_ms IS 'how long all of it took, when it is completed';
COMMENT ON COLUMN vibevideo_internal.tally.bytes IS 'what was copied';
COMMENT ON COLUMN vibevideo_internal.tally.usd IS 'what was settled with step rendered, or returned with failed or cancelled; with settled how much more the job has cost, less if it is negative';
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.tally', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.tally_tally_id_seq', '');

CREATE TABLE vibevideo_internal.rollup_level (
	seconds int NOT NULL,
	at timestamptz NOT NULL,
	outcome text COLLATE pg_catalog."C" NOT NULL CHECK (outcome OPERATOR(pg_catalog.=) ANY (ARRAY[
		'submitted', 'accepted', 'rendered', 'completed', 'failed', 'cancelled', 'settled', 'delivered_less'])),
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
COMMENT ON TABLE vibevideo_internal.rollup_level IS 'steps of jobs by period, model and the like, as far as they are added up; view vibevideo.rollup has all';
-- a table each, so that what is read together lies together
CREATE TABLE vibevideo_internal.rollup_ever PARTITION OF vibevideo_internal.rollup_level FOR VALUES IN (0) WITH (fillfactor = 50);
COMMENT ON TABLE vibevideo_internal.rollup_ever IS 'part of vibevideo_internal.rollup_level: all time, nothing is taken away from it';
CREATE TABLE vibevideo_internal.rollup_minute PARTITION OF vibevideo_internal.rollup_level FOR VALUES IN (60);
COMMENT ON TABLE vibevideo_internal.rollup_minute IS 'part of vibevideo_internal.rollup_level: minutes';
CREATE TABLE vibevideo_internal.rollup_minutes PARTITION OF vibevideo_internal.rollup_level FOR VALUES IN (300);
COMMENT ON TABLE vibevideo_internal.rollup_minutes IS 'part of vibevideo_internal.rollup_level: five minutes each';
CREATE TABLE vibevideo_internal.rollup_hour PARTITION OF vibevideo_internal.rollup_level FOR VALUES IN (3600);
COMMENT ON TABLE vibevideo_internal.rollup_hour IS 'part of vibevideo_internal.rollup_level: hours';
CREATE TABLE vibevideo_internal.rollup_day PARTITION OF vibevideo_internal.rollup_level FOR VALUES IN (86400);
COMMENT ON TABLE vibevideo_internal.rollup_day IS 'part of vibevideo_internal.rollup_level: days of UTC';
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.rollup_ever', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.rollup_minute', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.rollup_minutes', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.rollup_hour', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.rollup_day', '');

-- The beginning of the period of so many seconds that a time is in: hours and days
-- are of UTC, weeks begin on a Monday.
CREATE FUNCTION vibevideo_internal.period(seconds int, at timestamptz)
RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN seconds = 0 THEN '-infinity' ELSE date_bin(seconds * interval '1 second', at, '2001-01-01 00:00:00+00') END;
COMMENT ON FUNCTION vibevideo_internal.period(int, timestamptz) IS 'the beginning of the period that a time is in; owner only';

-- What is added up, and what is still to be: so that nothing is late.
CREATE VIEW vibevideo.rollup AS
SELECT r.seconds, r.at, r.outcome, r.model, r.error_class, r.orphan, r.n, r.wait_ms, r.render_ms, r.copy_ms, r.total_ms, r.bytes,
	   r.settled_usd, r.returned_usd, r.wait, r.render, r.copy, r.total
FROM vibevideo_internal.rollup_level r
UNION ALL
SELECT l.seconds, vibevideo_internal.period(l.seconds, t.at), t.outcome COLLATE pg_catalog."C", t.model COLLATE pg_catalog."C",
	   coalesce(vibevideo.error_class(t.error_code), '') COLLATE pg_catalog."C", t.orphan, count(*),
	   coalesce(sum(t.ms) FILTER (WHERE t.outcome = 'accepted'), 0)::bigint,
	   coalesce(sum(t.ms) FILTER (WHERE t.outcome = 'rendered'), 0)::bigint,
	   coalesce(sum(t.ms) FILTER (WHERE t.outcome = 'completed'), 0)::bigint,
	   coalesce(sum(t.total_ms), 0)::bigint, coalesce(sum(t.bytes), 0)::bigint,
	   coalesce(sum(t.usd) FILTER (WHERE t.outcome = 'rendered' OR t.outcome = 'settled' AND t.usd > 0), 0),
	   coalesce(sum(abs(t.usd)) FILTER (WHERE t.outcome <> 'rendered' AND NOT (t.outcome = 'settled' AND t.usd > 0)), 0),
	   vibevideo_internal.histogram(t.ms) FILTER (WHERE t.outcome = 'accepted'),
	   vibevideo_internal.histogram(t.ms) FILTER (WHERE t.outcome = 'rendered'),
	   vibevideo_internal.histogram(t.ms) FILTER (WHERE t.outcome = 'completed'),
	   vibevideo_internal.histogram(t.total_ms)
FROM vibevideo_internal.tally t CROSS JOIN (VALUES (0), (60), (300), (3600), (86400)) AS l(seconds)
GROUP BY 1, 2, 3, 4, 5, 6;
COMMENT ON VIEW vibevideo.rollup IS
	'how many jobs took which step, how long it took and what it cost, by period, model and class of error; choose one length of '
	'periods (seconds), and add up: what is new may be in a row of its own';
COMMENT ON COLUMN vibevideo.rollup.seconds IS 'length of the period, in seconds: 60, 300, 3600, 86400, or 0 for all time; each has everything';
COMMENT ON COLUMN vibevideo.rollup.at IS 'beginning of the period, -infinity for all time; days are of UTC';
COMMENT ON COLUMN vibevideo.rollup.outcome IS 'the step: submitted, accepted (by fal.ai), rendered, completed, failed or cancelled; or settled, when what it has cost became known later; or delivered_less, a completed one whose video is less than was asked for';
COMMENT ON COLUMN vibevideo.rollup.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.rollup.error_class IS 'of failed jobs, as vibevideo.error_class says it; empty for others';
COMMENT ON COLUMN vibevideo.rollup.orphan IS 'the jobs'' transactions were rolled back after they were sent';
COMMENT ON COLUMN vibevideo.rollup.n IS 'how many; a job whose copy failed and was made again has ended twice, and may be settled more than once, every other step is taken once';
COMMENT ON COLUMN vibevideo.rollup.wait_ms IS 'sum of milliseconds from the request until fal.ai had accepted it; with step accepted, else 0';
COMMENT ON COLUMN vibevideo.rollup.render_ms IS 'sum of milliseconds from then until the video was made, fal.ai''s queue included; with step rendered, else 0';
COMMENT ON COLUMN vibevideo.rollup.copy_ms IS 'sum of milliseconds from then until it was stored; with step completed, else 0';
COMMENT ON COLUMN vibevideo.rollup.total_ms IS 'sum of milliseconds from the request until the video was there; with step completed, else 0';
COMMENT ON COLUMN vibevideo.rollup.bytes IS 'sum of bytes copied; with step completed, else 0';
COMMENT ON COLUMN vibevideo.rollup.settled_usd IS 'what videos have cost, in USD, with step rendered, and with settled what they have cost more; else 0';
COMMENT ON COLUMN vibevideo.rollup.returned_usd IS 'price of jobs that ended without being billed, in USD, with steps failed and cancelled, and with settled what jobs have cost less; else 0';
COMMENT ON COLUMN vibevideo.rollup.wait IS 'histogram of what wait_ms is the sum of: how many in each bucket, whose bounds vibevideo.histogram_bounds() returns; NULL if there is nothing in it';
COMMENT ON COLUMN vibevideo.rollup.render IS 'histogram of what render_ms is the sum of; NULL if there is nothing in it';
COMMENT ON COLUMN vibevideo.rollup.copy IS 'histogram of what copy_ms is the sum of; NULL if there is nothing in it';
COMMENT ON COLUMN vibevideo.rollup.total IS 'histogram of what total_ms is the sum of; NULL if there is nothing in it';

/*
 * vibevideo_internal.fold_tallies(most) - adds so many tallies to the rollup, the oldest
 * first; returns how many.  The worker calls it; waits for nobody who inserts.
 */
CREATE FUNCTION vibevideo_internal.fold_tallies(most int)
RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	folded int;
BEGIN
	WITH taken AS (
		DELETE FROM vibevideo_internal.tally t WHERE t.tally_id = ANY (ARRAY(
			SELECT x.tally_id FROM vibevideo_internal.tally x ORDER BY x.tally_id LIMIT most FOR UPDATE SKIP LOCKED))
		RETURNING t.*
	), steps AS (
		SELECT vibevideo_internal.period(60, t.at) AS at, t.outcome, t.model, coalesce(vibevideo.error_class(t.error_code), '') AS error_class,
			   t.orphan, count(*) AS n,
			   sum(t.ms) FILTER (WHERE t.outcome = 'accepted') AS wait_ms, sum(t.ms) FILTER (WHERE t.outcome = 'rendered') AS render_ms,
			   sum(t.ms) FILTER (WHERE t.outcome = 'completed') AS copy_ms, sum(t.total_ms) AS total_ms, sum(t.bytes) AS bytes,
			   sum(t.usd) FILTER (WHERE t.outcome = 'rendered' OR t.outcome = 'settled' AND t.usd > 0) AS settled_usd,
			   sum(abs(t.usd)) FILTER (WHERE t.outcome <> 'rendered' AND NOT (t.outcome = 'settled' AND t.usd > 0)) AS returned_usd,
			   vibevideo_internal.histogram(t.ms) FILTER (WHERE t.outcome = 'accepted') AS wait,
			   vibevideo_internal.histogram(t.ms) FILTER (WHERE t.outcome = 'rendered') AS render,
			   vibevideo_internal.histogram(t.ms) FILTER (WHERE t.outcome = 'completed') AS copy,
			   vibevideo_internal.histogram(t.total_ms) AS total
		FROM taken t GROUP BY 1, 2, 3, 4, 5
	), added AS (
		INSERT INTO vibevideo_internal.rollup_level AS r (seconds, at, outcome, model, error_class, orphan, n, wait_ms, render_ms, copy_ms,
														  total_ms, bytes, settled_usd, returned_usd, wait, render, copy, total)
		SELECT l.seconds, vibevideo_internal.period(l.seconds, s.at), s.outcome, s.model, s.error_class, s.orphan, sum(s.n),
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
			wait = vibevideo_internal.histogram_add(r.wait, EXCLUDED.wait), render = vibevideo_internal.histogram_add(r.render, EXCLUDED.render),
			copy = vibevideo_internal.histogram_add(r.copy, EXCLUDED.copy), total = vibevideo_internal.histogram_add(r.total, EXCLUDED.total))
	SELECT count(*) INTO folded FROM taken;
	RETURN folded;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.fold_tallies(int) IS 'adds tallies to the rollup, at most so many; returns how many; owner only';

-- How many jobs there are in each state, once a minute: the most of each period.
CREATE TABLE vibevideo.backlog (
	seconds int NOT NULL,
	at timestamptz NOT NULL,
	pending int NOT NULL,
	submitting int NOT NULL,
	submit_unknown int NOT NULL,
	queued int NOT NULL,
	generating int NOT NULL,
	processing int NOT NULL,
	idle boolean NOT NULL,
	PRIMARY KEY (seconds, at)
);
COMMENT ON TABLE vibevideo.backlog IS 'unfinished jobs by state, orphans included: the most that were seen in a period; the worker looks once a minute';
COMMENT ON COLUMN vibevideo.backlog.seconds IS 'length of the period, in seconds: 60, 300, 3600 or 86400';
COMMENT ON COLUMN vibevideo.backlog.at IS 'beginning of the period; days are of UTC';
COMMENT ON COLUMN vibevideo.backlog.pending IS 'waiting to be sent; 100000 stands for as many or more, here and in the other columns';
COMMENT ON COLUMN vibevideo.backlog.submitting IS 'being sent';
COMMENT ON COLUMN vibevideo.backlog.submit_unknown IS 'lost submits';
COMMENT ON COLUMN vibevideo.backlog.queued IS 'in fal.ai''s queue';
COMMENT ON COLUMN vibevideo.backlog.generating IS 'being rendered';
COMMENT ON COLUMN vibevideo.backlog.processing IS 'waiting to be copied, or being copied';
COMMENT ON COLUMN vibevideo.backlog.idle IS 'nothing was left when it was last looked at, so that no more need be seen until there is a row again';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.backlog', '');

/*
 * vibevideo_internal.sample_backlog() - notes how many jobs there are in each state, unless
 * there are none and that is known.  Counts by the indexes of unfinished jobs,
 * whatever the planner thinks of a table that grows fast.  Only the worker calls it.
 */
CREATE FUNCTION vibevideo_internal.sample_backlog()
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most constant int = 100000;
	b vibevideo.backlog;
BEGIN
	SELECT count(*) INTO b.pending FROM (SELECT FROM vibevideo.job j WHERE j.state = 'pending' LIMIT most) x;
	SELECT count(*) INTO b.submitting FROM (SELECT FROM vibevideo.job j WHERE j.state = 'submitting' LIMIT most) x;
	SELECT count(*) INTO b.submit_unknown FROM (SELECT FROM vibevideo.job j WHERE j.state = 'submit_unknown' LIMIT most) x;
	SELECT count(*) FILTER (WHERE x.state = 'queued'), count(*) FILTER (WHERE x.state = 'generating') INTO b.queued, b.generating
	FROM (SELECT j.state FROM vibevideo.job j WHERE j.state IN ('queued', 'generating') LIMIT most) x;
	SELECT count(*) INTO b.processing FROM (SELECT FROM vibevideo.job j WHERE j.state = 'processing' LIMIT most) x;
	b.idle = b.pending + b.submitting + b.submit_unknown + b.queued + b.generating + b.processing = 0;
	IF b.idle AND coalesce((SELECT x.idle FROM vibevideo.backlog x WHERE x.seconds = 60 ORDER BY x.at DESC LIMIT 1), true) THEN
		RETURN;
	END IF;
	INSERT INTO vibevideo.backlog AS x (seconds, at, pending, submitting, submit_unknown, queued, generating, processing, idle)
	SELECT l.seconds, vibevideo_internal.period(l.seconds, clock_timestamp()), b.pending, b.submitting, b.submit_unknown, b.queued, b.generating,
		   b.processing, b.idle
	FROM (VALUES (60), (300), (3600), (86400)) AS l(seconds)
	ON CONFLICT (seconds, at) DO UPDATE SET
		pending = greatest(x.pending, EXCLUDED.pending), submitting = greatest(x.submitting, EXCLUDED.submitting),
		submit_unknown = greatest(x.submit_unknown, EXCLUDED.submit_unknown), queued = greatest(x.queued, EXCLUDED.queued),
		generating = greatest(x.generating, EXCLUDED.generating), processing = greatest(x.processing, EXCLUDED.processing),
		idle = EXCLUDED.idle;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.sample_backlog() IS 'notes how many jobs there are in each state; owner only';

/*
 * vibevideo_internal.thin_rollup(most) - takes away minutes that are older than 14 days, and
 * hours and days that are older than vibevideo.rollup_retention, at most so many
 * of each; returns how many.  It reads no more than it takes, and what somebody has
 * locked stays for later.
 */
CREATE FUNCTION vibevideo_internal.thin_rollup(most int)
RETURNS int LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	-- so that the index, which begins with them, finds what is old
	outcomes constant text[] = ARRAY['submitted', 'accepted', 'rendered', 'completed', 'failed', 'cancelled', 'settled', 'delivered_less'];
	kept constant interval = nullif(extract(epoch FROM current_setting('vibevideo.rollup_retention')::interval), 0) * interval '1 second';
	level record;
	n int;
	thinned int = 0;
BEGIN
	FOR level IN SELECT l.* FROM (VALUES (60, interval '14 days'), (300, interval '14 days'), (3600, kept), (86400, kept)) AS l(seconds, kept) WHERE l.kept IS NOT NULL LOOP
		DELETE FROM vibevideo_internal.rollup_level r
		USING (SELECT x.outcome, x.at, x.model, x.error_class, x.orphan FROM vibevideo_internal.rollup_level x
			   WHERE x.seconds = level.seconds AND x.outcome = ANY (outcomes) AND x.at < now() - level.kept
			   LIMIT most FOR UPDATE SKIP LOCKED) o
		WHERE r.seconds = level.seconds AND r.outcome = o.outcome AND r.at = o.at AND r.model = o.model
		  AND r.error_class = o.error_class AND r.orphan = o.orphan;
		GET DIAGNOSTICS n = ROW_COUNT;
		thinned = thinned + n;
		DELETE FROM vibevideo.backlog b
		USING (SELECT x.at FROM vibevideo.backlog x WHERE x.seconds = level.seconds AND x.at < now() - level.kept
			   LIMIT most FOR UPDATE SKIP LOCKED) o
		WHERE b.seconds = level.seconds AND b.at = o.at;
		GET DIAGNOSTICS n = ROW_COUNT;
		thinned = thinned + n;
	END LOOP;
	RETURN thinned;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.thin_rollup(int) IS 'takes old periods away from the rollup, at most so many of each length; returns how many; owner only';

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
COMMENT ON COLUMN vibevideo.typical.n IS 'how many videos were made in the last 14 days';
COMMENT ON COLUMN vibevideo.typical.wait_p50 IS 'half of the jobs were accepted by fal.ai within that time of the request; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.wait_p90 IS 'nine of ten jobs were accepted by fal.ai within that time of the request; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.render_p50 IS 'half of the videos were made within that time after that, fal.ai''s queue included; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.render_p90 IS 'nine of ten videos were made within that time after that, fal.ai''s queue included; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.copy_p50 IS 'half of the videos were stored within that time after they were made; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.total_p50 IS 'half of the videos were there within that time of the request; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.total_p90 IS 'nine of ten videos were there within that time of the request; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.updated_at IS 'when the worker last looked';

-- From the hours, so that the cost depends on models, not on jobs.
CREATE FUNCTION vibevideo_internal.refresh_typical()
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
COMMENT ON FUNCTION vibevideo_internal.refresh_typical() IS 'writes vibevideo.typical anew from the rollup; owner only';

-- Where the steps of a series begin, and the length of the periods that make them:
-- as long as possible, since a chart of many models reads one row of each.
CREATE FUNCTION vibevideo_internal.steps(since timestamptz, step interval, OUT first timestamptz, OUT stride interval, OUT seconds int)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres AS $$
DECLARE
	most constant int = 2000;
	length constant numeric = extract(epoch FROM step);
	reach int;
	days numeric;
	unit int;
BEGIN
	IF since IS NULL OR NOT isfinite(since) OR since < '2001-01-01 00:00:00+00' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('a series cannot begin at %s', coalesce(since::text, 'NULL')),
			HINT = 'Take a time such as now() - interval ''1 day''.';
	ELSIF length IS NULL OR length < 60 OR length % 60 <> 0 OR length > 36500 * 86400.0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('a step cannot be %s', coalesce(step::text, 'NULL')),
			HINT = 'Use whole minutes, for example ''5 minutes'' or ''1 day''.';
	END IF;
	seconds = CASE WHEN length % 86400 = 0 THEN 86400 WHEN length % 3600 = 0 THEN 3600 WHEN length % 300 = 0 THEN 300 ELSE 60 END;
	reach = CASE seconds WHEN 3600 THEN 50 WHEN 300 THEN 4 WHEN 60 THEN 2 END;
	stride = length * interval '1 second';
	first = date_bin(stride, since, '2001-01-01 00:00:00+00');
	days = extract(epoch FROM now() - first) / 86400;
	IF days > reach + length / 86400 OR days * 86400 / length > most THEN
		unit = CASE WHEN days > 50 THEN 86400 WHEN days > 4 THEN 3600 WHEN days > 2 THEN 300 ELSE 60 END;
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('a series cannot have %s steps of %s', ceil(days * 86400 / length), step),
			DETAIL = format('It can have %s, and go back 2 days, 4 with multiples of 5 minutes, 50 with whole hours.', most),
			HINT = format('Take a step of %s, for example, or a later beginning.',
						  justify_hours(unit * ceil(days * 86400 / (most - 1) / unit) * interval '1 second'));
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.steps(timestamptz, interval) IS 'part of series: where its steps begin, and which periods make them; owner only';

CREATE FUNCTION vibevideo.series(metric text, since timestamptz DEFAULT now() - interval '1 day', step interval DEFAULT '5 minutes')
RETURNS TABLE (at timestamptz, label text, value double precision) LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1000
SET search_path = pg_catalog, pg_temp SET random_page_cost = 1 SET max_parallel_workers_per_gather = 0 SET work_mem = '16MB' SET jit = off AS $$
DECLARE
	counts constant text[] = ARRAY['submitted', 'completed', 'failed', 'cancelled', 'delivered_less', 'errors', 'spend_usd'];
	percentiles constant text[] = ARRAY['wait_p50', 'wait_p95', 'render_p50', 'render_p95', 'copy_p50', 'copy_p95', 'total_p50', 'total_p95'];
	monday constant timestamptz = '2001-01-01 00:00:00+00';
	model constant text = coalesce((SELECT b.model FROM vibevideo.binding b), current_setting('vibevideo.model'));
	first timestamptz;
	stride interval;
	level int;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	IF metric IS NULL OR metric <> ALL (counts || percentiles || ARRAY['backlog']) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('there is no metric "%s"', coalesce(metric, 'NULL')),
			HINT = format('There are %s and backlog.', array_to_string(counts || percentiles, ', '));
	END IF;
	SELECT s.first, s.stride, s.seconds INTO first, stride, level FROM vibevideo_internal.steps(since, step) s;

	IF metric = 'backlog' THEN
		RETURN QUERY
		WITH found AS (
			SELECT date_bin(stride, b.at, monday) AS at, max(b.pending) AS pending, max(b.submitting) AS submitting,
				   max(b.submit_unknown) AS submit_unknown, max(b.queued) AS queued, max(b.generating) AS generating,
				   max(b.processing) AS processing
			FROM vibevideo.backlog b WHERE b.seconds = level AND b.at >= first GROUP BY 1
		)
		SELECT g.at, s.label, CASE WHEN f.at IS NOT NULL THEN s.value WHEN k.idle THEN 0 END::double precision
		FROM generate_series(first, now(), stride) AS g(at) LEFT JOIN found f ON f.at = g.at
		LEFT JOIN LATERAL (SELECT b.idle FROM vibevideo.backlog b WHERE f.at IS NULL AND b.seconds = level AND b.at < g.at
						   ORDER BY b.at DESC LIMIT 1) k ON true
		CROSS JOIN LATERAL (VALUES ('processing', f.processing), ('generating', f.generating), ('queued', f.queued),
								   ('submit_unknown', f.submit_unknown), ('submitting', f.submitting), ('pending', f.pending)) AS s(label, value)
		ORDER BY 1, 2;
	ELSIF metric = ANY (percentiles) THEN
		RETURN QUERY
		WITH found AS (
			SELECT date_bin(stride, r.at, monday) AS at, r.model AS label,
				   vibevideo.percentile(vibevideo.histogram_sum(CASE split_part(metric, '_p', 1)
						WHEN 'wait' THEN r.wait WHEN 'render' THEN r.render WHEN 'copy' THEN r.copy ELSE r.total END),
										split_part(metric, '_p', 2)::double precision / 100) AS value
			FROM vibevideo.rollup r
			WHERE r.seconds = level AND r.at >= first AND NOT r.orphan
			  AND r.outcome = CASE split_part(metric, '_p', 1) WHEN 'wait' THEN 'accepted' WHEN 'render' THEN 'rendered' ELSE 'completed' END
			GROUP BY 1, 2
		)
		SELECT g.at, l.label, f.value
		FROM generate_series(first, now(), stride) AS g(at)
		CROSS JOIN (SELECT x.label FROM found x UNION SELECT model) l LEFT JOIN found f ON f.at = g.at AND f.label = l.label
		ORDER BY 1, 2;
	ELSE
		RETURN QUERY
		WITH found AS (
			SELECT date_bin(stride, r.at, monday) AS at, CASE metric WHEN 'errors' THEN r.error_class ELSE r.model END AS label,
				   sum(CASE metric WHEN 'spend_usd' THEN r.settled_usd - r.returned_usd ELSE r.n END)::double precision AS value
			FROM vibevideo.rollup r
			WHERE r.seconds = level AND r.at >= first AND (metric = 'spend_usd' OR NOT r.orphan)
			  AND r.outcome = ANY (CASE metric WHEN 'spend_usd' THEN ARRAY['rendered', 'settled'] WHEN 'errors' THEN ARRAY['failed'] ELSE ARRAY[metric] END)
			GROUP BY 1, 2
		)
		SELECT g.at, l.label, coalesce(f.value, 0)
		FROM generate_series(first, now(), stride) AS g(at)
		CROSS JOIN (SELECT x.label FROM found x
					UNION SELECT unnest(CASE metric WHEN 'errors' THEN ARRAY['policy', 'input', 'balance', 'provider', 'storage', 'time', 'limit', 'other']
										ELSE ARRAY[model] END)) l
		LEFT JOIN found f ON f.at = g.at AND f.label = l.label
		ORDER BY 1, 2;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.series(text, timestamptz, interval) IS
'Returns a number for each step of time and each label, for charts.
metric: submitted, completed, failed, cancelled, delivered_less (completed ones whose video is less than was
  asked for; jobs, without orphans), spend_usd (what rendered videos have cost, in USD), wait_p50, wait_p95 and the same of render, copy and total (seconds), labelled by model;
  errors (failed jobs), labelled by class of error; backlog (the most unfinished jobs), labelled by state.
since: a moment in the first step; default: a day ago.
step: length of a step, whole minutes. With whole days it goes back as far as anything is known, with whole
  hours 50 days, with multiples of 5 minutes 4 days, else 2 days; default: 5 minutes.
at: when a step begins, counted from a Monday, midnight UTC.
label: the model (that of the attached table always), class or state.
value: 0 where nothing was counted; NULL where nothing is known, as for a percentile of nothing, or the
  backlog while no worker looked.
Errors: 22023 no such metric, a bad step, or more than 2000 steps; 42501 not a viewer.
For viewers and operators.';
