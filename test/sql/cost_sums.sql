-- vibevideo.costs is what a sum over all jobs that ever were says, whatever
-- happens to them, and nobody reads ended jobs for it.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;

CREATE TABLE deleted (LIKE vibevideo.job);
CREATE FUNCTION count_all() RETURNS TABLE (user_id text, day date, model text, submits bigint, active bigint, videos bigint,
										   reserved_usd numeric, settled_usd numeric) LANGUAGE sql STABLE AS $$
	SELECT j.requested_by, (j.created_at AT TIME ZONE 'UTC')::date, j.model, count(*) FILTER (WHERE NOT j.orphan),
		   count(*) FILTER (WHERE there AND vibevideo.is_active(j.state)), count(*) FILTER (WHERE j.billed),
		   coalesce(sum(j.cost_usd) FILTER (WHERE there AND vibevideo.is_active(j.state) AND NOT j.billed), 0),
		   coalesce(sum(j.cost_usd) FILTER (WHERE j.billed), 0)
	FROM (SELECT true AS there, x.* FROM vibevideo.job x UNION ALL SELECT false, d.* FROM deleted d) j GROUP BY 1, 2, 3;
$$;
-- what was taken back may leave a row of zeros
CREATE FUNCTION differences() RETURNS bigint LANGUAGE sql STABLE AS $$
	WITH wanted AS (
		SELECT 'day', c.* FROM count_all() c
		UNION ALL
		SELECT 'month', user_id, date_trunc('month', day)::date, NULL, sum(submits)::bigint, sum(active)::bigint, sum(videos)::bigint,
			   sum(reserved_usd), sum(settled_usd) FROM count_all() GROUP BY 2, 3
		UNION ALL
		SELECT 'all', NULL, day, model, sum(submits)::bigint, sum(active)::bigint, sum(videos)::bigint, sum(reserved_usd), sum(settled_usd)
		FROM count_all() GROUP BY 3, 4
	), found AS (
		SELECT 'day', c.* FROM vibevideo.costs c UNION ALL SELECT 'month', m.user_id, m.month, NULL, m.submits, m.active, m.videos, m.reserved_usd, m.settled_usd
		FROM vibevideo.costs_by_month m
		UNION ALL SELECT 'all', NULL, d.* FROM vibevideo.costs_by_day d
	)
	SELECT count(*) FROM ((TABLE wanted EXCEPT TABLE found) UNION ALL (TABLE found EXCEPT TABLE wanted)) d
	WHERE (d.submits, d.active, d.videos, d.reserved_usd, d.settled_usd) <> (0, 0, 0, 0, 0);
$$;

-- a thousand things that can happen
SELECT setseed(0.5);
CREATE FUNCTION happen(what int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	any_job constant bigint = (SELECT job_id FROM vibevideo.job ORDER BY random() LIMIT 1);
	active constant bigint = (SELECT job_id FROM vibevideo.job WHERE vibevideo.is_active(state) ORDER BY random() LIMIT 1);
	ended constant bigint = (SELECT job_id FROM vibevideo.job WHERE NOT vibevideo.is_active(state) ORDER BY random() LIMIT 1);
	somebody constant text = (ARRAY['ann', 'bob', NULL])[1 + trunc(3 * random())];
	some_model constant text = (ARRAY['fal-ai/minimax/video-01', 'acme/unknown'])[1 + trunc(2 * random())];
BEGIN
	CASE
	WHEN what < 30 THEN
		INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, orphan, created_at)
		VALUES ('deleted'::regclass, gen_random_uuid(), (ARRAY['pending', 'submitting', 'queued'])[1 + trunc(3 * random())], some_model, '{}',
				somebody, random() < 0.1, now() - trunc(40 * random()) * interval '1 day');
	WHEN what < 34 THEN
		-- as the restore of an older dump has them
		INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, orphan, created_at, media_url, cost_usd, next_at)
		VALUES ('deleted'::regclass, gen_random_uuid(), (ARRAY['completed', 'failed', 'cancelled'])[1 + trunc(3 * random())], some_model, '{}',
				somebody, random() < 0.1, now() - trunc(40 * random()) * interval '1 day', CASE WHEN random() < 0.5 THEN 'http://media' END,
				CASE WHEN random() < 0.9 THEN 0.25 END, NULL);
	WHEN what < 40 THEN
		UPDATE vibevideo.job SET state = 'generating', next_at = now() + interval '1 hour' WHERE job_id = active AND state NOT IN ('generating', 'processing');
	WHEN what < 50 THEN
		UPDATE vibevideo.job SET state = 'processing', media_url = 'http://media' WHERE job_id = active;
	WHEN what < 62 THEN
		UPDATE vibevideo.job SET state = CASE WHEN media_url IS NULL THEN 'cancelled' WHEN random() < 0.7 THEN 'completed' ELSE 'failed' END,
			next_at = NULL, completed_at = now() WHERE job_id = active;
	WHEN what < 68 THEN
		UPDATE vibevideo.job SET state = 'failed', next_at = NULL, completed_at = now() WHERE job_id = active;
	WHEN what < 73 THEN
		-- the video is copied again, an orphan's as the row's
		UPDATE vibevideo.job SET state = 'processing', orphan = false, next_at = now(), completed_at = NULL
		WHERE job_id = ended AND state = 'failed' AND media_url IS NOT NULL;
	WHEN what < 76 THEN
		UPDATE vibevideo.job SET cost_usd = CASE WHEN random() < 0.8 THEN 1.25 END WHERE job_id = any_job;
	WHEN what < 79 THEN
		UPDATE vibevideo.job SET requested_by = somebody WHERE job_id = any_job;
	WHEN what < 81 THEN
		UPDATE vibevideo.job SET model = some_model, created_at = created_at - interval '1 day' WHERE job_id = any_job;
	WHEN what < 83 THEN
		UPDATE vibevideo.job SET media_url = CASE WHEN media_url IS NULL THEN 'http://media' END WHERE job_id = any_job;
	WHEN what < 85 THEN
		UPDATE vibevideo.job SET unsettled = (ARRAY[NULL, false, true])[1 + trunc(3 * random())] WHERE job_id = any_job;
	WHEN what < 88 THEN
		WITH d AS (DELETE FROM vibevideo.job WHERE job_id = any_job RETURNING *) INSERT INTO deleted SELECT * FROM d;
	WHEN what < 90 THEN
		WITH d AS (DELETE FROM vibevideo.job WHERE job_id % 20 = any_job % 20 AND completed_at IS NOT NULL RETURNING *) INSERT INTO deleted SELECT * FROM d;
	WHEN what < 96 THEN
		PERFORM vibevideo_internal.add_costs(1 + trunc(20 * random())::int);
	WHEN what < 98 THEN
		-- undone
		BEGIN
			PERFORM happen(trunc(90 * random())::int);
			RAISE EXCEPTION 'no';
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	ELSE
		-- as the worker settles what was inserted
		UPDATE vibevideo.job SET unsettled = NULL WHERE unsettled AND state = ANY (ARRAY['completed', 'failed', 'cancelled']);
	END CASE;
END
$$;
CREATE FUNCTION happenings(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	what int;
BEGIN
	FOR i IN 1 .. n LOOP
		what = trunc(100 * random());
		PERFORM happen(what);
		IF differences() > 0 THEN
			RETURN format('costs are wrong after step %s, which was %s', i, what);
		END IF;
	END LOOP;
	RETURN format('%s steps', n);
END
$$;
SELECT happenings(1000);
-- of each kind there were some
SELECT count(DISTINCT state) FROM vibevideo.job;
SELECT count(*) > 30 AS deleted, count(*) FILTER (WHERE unsettled) > 0 AS unsettled FROM deleted;
SELECT count(*) > 0 AS notes FROM vibevideo_internal.new_costs;
SELECT count(*) > 0 AS active, count(*) FILTER (WHERE NOT vibevideo.is_active(state)) > 0 AS ended FROM vibevideo_internal.open_costs;

-- the worker adds all of it up, and nothing changes
UPDATE vibevideo.job SET unsettled = NULL WHERE unsettled AND state = ANY (ARRAY['completed', 'failed', 'cancelled']);
SELECT vibevideo_internal.add_costs(100000) > 0 AS added, vibevideo_internal.add_costs(100000) AS again;
SELECT differences();
-- nor when its sums are made anew
CREATE VIEW sums_now AS SELECT m.user_id, m.month AS since, NULL AS model, m.submits, m.active, m.videos, m.reserved_usd, m.settled_usd
FROM vibevideo.costs_by_month m UNION ALL SELECT NULL, c.* FROM vibevideo.costs_by_day c;
CREATE TABLE sums AS TABLE sums_now;
SELECT vibevideo_internal.sum_past_costs();
SELECT count(*) FROM (TABLE sums EXCEPT TABLE sums_now) d;
-- who takes old ones away takes them out of the sums
DELETE FROM vibevideo.past_costs WHERE day < now() - interval '20 days';
SELECT count(*) FROM (SELECT user_id, month, sum(settled_usd) FROM vibevideo.costs_by_month GROUP BY 1, 2 HAVING sum(submits) > 0
					  EXCEPT SELECT user_id, date_trunc('month', day)::date, sum(settled_usd) FROM vibevideo.costs GROUP BY 1, 2) d;
TRUNCATE vibevideo.past_costs;
SELECT (SELECT count(*) FROM vibevideo_internal.past_costs_by_month), (SELECT count(*) FROM vibevideo_internal.past_costs_by_day);

DROP FUNCTION happenings, happen, differences, count_all;
SET client_min_messages = error;
DROP TABLE deleted, sums;
DROP VIEW sums_now;
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
