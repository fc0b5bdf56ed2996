
-------------------------------------------------------------------------------
-- Costs
-------------------------------------------------------------------------------

/*
 * What a job has cost is settled when it ends: the trigger job_changing takes the
 * mark unsettled off it, and job_changed notes its costs in new_costs, from where
 * the worker adds them to past_costs.  So the costs are what these two say and
 * what the jobs with the mark cost, of which each has a partial index: nobody
 * reads the history, and it may be deleted.
 *
 * A note is a row of its own, so that nobody waits for a sum that another has
 * changed and not committed.  What changes in a job that has ended takes its costs
 * back and notes the new ones; a copy that is made again takes them back until it
 * ends.  A job that is inserted when it has ended already, as by the restore of
 * an older dump, keeps the mark until the worker settles it.
 */

CREATE TABLE vibevideo.past_costs (
	user_id text COLLATE pg_catalog."C" NOT NULL,
	day date NOT NULL,
	model text COLLATE pg_catalog."C" NOT NULL,
	submits bigint NOT NULL,
	videos bigint NOT NULL,
	settled_usd numeric NOT NULL,
	PRIMARY KEY (user_id, day, model)
);
COMMENT ON TABLE vibevideo.past_costs IS 'costs of jobs that have ended, be they still in vibevideo.job or not; user_id is empty where nobody is known';
COMMENT ON COLUMN vibevideo.past_costs.user_id IS 'whose jobs; empty where nobody is known';
COMMENT ON COLUMN vibevideo.past_costs.day IS 'the day of UTC on which they were requested';
COMMENT ON COLUMN vibevideo.past_costs.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.past_costs.submits IS 'how many jobs, without orphans';
COMMENT ON COLUMN vibevideo.past_costs.videos IS 'how many videos fal.ai has rendered, orphans'' included';
COMMENT ON COLUMN vibevideo.past_costs.settled_usd IS 'price of these videos, in USD';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.past_costs', '');
CREATE INDEX past_costs_day ON vibevideo.past_costs (day);

CREATE TABLE vibevideo_internal.new_costs (
	note_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	user_id text COLLATE pg_catalog."C" NOT NULL,
	day date NOT NULL,
	model text COLLATE pg_catalog."C" NOT NULL,
	submits bigint NOT NULL,
	videos bigint NOT NULL,
	settled_usd numeric NOT NULL,
	tenant text COLLATE pg_catalog."C" NOT NULL DEFAULT ''
);
COMMENT ON TABLE vibevideo_internal.new_costs IS 'notes of costs that are still to be added to vibevideo.past_costs; what was taken back is negative';
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.new_costs', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.new_costs_note_id_seq', '');

CREATE TABLE vibevideo.tenant_costs (
	tenant text COLLATE pg_catalog."C" NOT NULL,
	day date NOT NULL,
	submits bigint NOT NULL,
	videos bigint NOT NULL,
	settled_usd numeric NOT NULL,
	PRIMARY KEY (tenant, day)
);
COMMENT ON TABLE vibevideo.tenant_costs IS 'the same by tenant, of all users and models together, where the table has a tenant_column';
COMMENT ON COLUMN vibevideo.tenant_costs.tenant IS 'whose jobs: what the table''s tenant_column says';
COMMENT ON COLUMN vibevideo.tenant_costs.day IS 'the day of UTC on which they were requested';
COMMENT ON COLUMN vibevideo.tenant_costs.submits IS 'how many jobs, without orphans';
COMMENT ON COLUMN vibevideo.tenant_costs.videos IS 'how many videos fal.ai has rendered, orphans'' included';
COMMENT ON COLUMN vibevideo.tenant_costs.settled_usd IS 'what these have cost, in USD';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.tenant_costs', '');
CREATE INDEX tenant_costs_day ON vibevideo.tenant_costs (day);

-- Sums of past_costs, which its triggers keep, in a restore too; in one without
-- triggers, and in logical replication, vibevideo.resume makes them anew.
CREATE TABLE vibevideo_internal.past_costs_by_month (
	month date NOT NULL,
	user_id text COLLATE pg_catalog."C" NOT NULL,
	submits bigint NOT NULL,
	videos bigint NOT NULL,
	settled_usd numeric NOT NULL,
	PRIMARY KEY (month, user_id)
);
COMMENT ON TABLE vibevideo_internal.past_costs_by_month IS 'vibevideo.past_costs by month, of all models together';
CREATE TABLE vibevideo_internal.past_costs_by_day (
	day date NOT NULL,
	model text COLLATE pg_catalog."C" NOT NULL,
	submits bigint NOT NULL,
	videos bigint NOT NULL,
	settled_usd numeric NOT NULL,
	PRIMARY KEY (day, model)
);
COMMENT ON TABLE vibevideo_internal.past_costs_by_day IS 'vibevideo.past_costs of all users together';

CREATE FUNCTION vibevideo_internal.past_costs_changed()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changes constant text = concat_ws(' UNION ALL ',
		CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN 'SELECT -1 AS sign, o.* FROM old_rows o' END,
		CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN 'SELECT 1 AS sign, n.* FROM new_rows n' END);
BEGIN
	IF TG_OP = 'TRUNCATE' THEN
		TRUNCATE vibevideo_internal.past_costs_by_month, vibevideo_internal.past_costs_by_day;
		RETURN NULL;
	END IF;
	EXECUTE format('INSERT INTO vibevideo_internal.past_costs_by_month AS p (month, user_id, submits, videos, settled_usd) '
				   'SELECT date_trunc(''month'', c.day::timestamp)::date, c.user_id, sum(c.sign * c.submits), sum(c.sign * c.videos), '
				   'sum(c.sign * c.settled_usd) FROM (%s) c GROUP BY 1, 2 '
				   'ON CONFLICT (month, user_id) DO UPDATE SET submits = p.submits + EXCLUDED.submits, '
				   'videos = p.videos + EXCLUDED.videos, settled_usd = p.settled_usd + EXCLUDED.settled_usd', changes);
	EXECUTE format('INSERT INTO vibevideo_internal.past_costs_by_day AS p (day, model, submits, videos, settled_usd) '
				   'SELECT c.day, c.model, sum(c.sign * c.submits), sum(c.sign * c.videos), '
				   'sum(c.sign * c.settled_usd) FROM (%s) c GROUP BY 1, 2 '
				   'ON CONFLICT (day, model) DO UPDATE SET submits = p.submits + EXCLUDED.submits, '
				   'videos = p.videos + EXCLUDED.videos, settled_usd = p.settled_usd + EXCLUDED.settled_usd', changes);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.past_costs_changed() IS 'trigger: keeps the sums of vibevideo.past_costs';
CREATE TRIGGER past_costs_inserted AFTER INSERT ON vibevideo.past_costs REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.past_costs_changed();
CREATE TRIGGER past_costs_updated AFTER UPDATE ON vibevideo.past_costs REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.past_costs_changed();
CREATE TRIGGER past_costs_deleted AFTER DELETE ON vibevideo.past_costs REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.past_costs_changed();
CREATE TRIGGER past_costs_truncated AFTER TRUNCATE ON vibevideo.past_costs
	FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.past_costs_changed();

-- Makes these sums anew.
CREATE FUNCTION vibevideo_internal.sum_past_costs()
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	DELETE FROM vibevideo_internal.past_costs_by_month m WHERE m.month IS NOT NULL;
	DELETE FROM vibevideo_internal.past_costs_by_day d WHERE d.day IS NOT NULL;
	INSERT INTO vibevideo_internal.past_costs_by_month (month, user_id, submits, videos, settled_usd)
	SELECT date_trunc('month', p.day::timestamp)::date, p.user_id, sum(p.submits), sum(p.videos), sum(p.settled_usd)
	FROM vibevideo.past_costs p GROUP BY 1, 2;
	INSERT INTO vibevideo_internal.past_costs_by_day (day, model, submits, videos, settled_usd)
	SELECT p.day, p.model, sum(p.submits), sum(p.videos), sum(p.settled_usd) FROM vibevideo.past_costs p GROUP BY 1, 2;
END;
COMMENT ON FUNCTION vibevideo_internal.sum_past_costs() IS 'makes the sums of vibevideo.past_costs anew; owner only';

/*
 * vibevideo_internal.add_costs(most) - adds so many notes to past_costs, the oldest first;
 * returns how many.  The worker calls it; it waits for nobody who ends a job.
 */
CREATE FUNCTION vibevideo_internal.add_costs(most int)
RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	added int;
BEGIN
	WITH taken AS (
		DELETE FROM vibevideo_internal.new_costs n WHERE n.note_id = ANY (ARRAY(
			SELECT x.note_id FROM vibevideo_internal.new_costs x ORDER BY x.note_id LIMIT most FOR UPDATE SKIP LOCKED))
		RETURNING n.*
	), summed AS (
		INSERT INTO vibevideo.past_costs AS p (user_id, day, model, submits, videos, settled_usd)
		SELECT t.user_id, t.day, t.model, sum(t.submits), sum(t.videos), sum(t.settled_usd) FROM taken t GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
		ON CONFLICT (user_id, day, model) DO UPDATE SET submits = p.submits + EXCLUDED.submits,
			videos = p.videos + EXCLUDED.videos, settled_usd = p.settled_usd + EXCLUDED.settled_usd
	), by_tenant AS (
		INSERT INTO vibevideo.tenant_costs AS c (tenant, day, submits, videos, settled_usd)
		SELECT t.tenant, t.day, sum(t.submits), sum(t.videos), sum(t.settled_usd) FROM taken t WHERE t.tenant <> '' GROUP BY 1, 2 ORDER BY 1, 2
		ON CONFLICT (tenant, day) DO UPDATE SET submits = c.submits + EXCLUDED.submits,
			videos = c.videos + EXCLUDED.videos, settled_usd = c.settled_usd + EXCLUDED.settled_usd)
	SELECT count(*) INTO added FROM taken;
	RETURN added;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.add_costs(int) IS 'adds noted costs to vibevideo.past_costs, at most so many; returns how many; owner only';

-- What is deleted without having been settled.
CREATE FUNCTION vibevideo_internal.jobs_deleted()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	j vibevideo.job;
	cost numeric;
	had_ended boolean;
BEGIN
	INSERT INTO vibevideo_internal.new_costs (user_id, tenant, day, model, submits, videos, settled_usd)
	SELECT coalesce(g.requested_by, ''), coalesce(g.tenant, ''), (g.created_at AT TIME ZONE 'UTC')::date, g.model,
		   count(*) FILTER (WHERE NOT g.orphan), count(*) FILTER (WHERE g.billed),
		   coalesce(sum(g.cost_usd) FILTER (WHERE g.billed), 0)
	FROM gone g WHERE g.unsettled GROUP BY 1, 2, 3, 4;
	-- fal.ai's bill may yet speak of them
	IF EXISTS (SELECT FROM vibevideo_internal.bill_state b) THEN
		INSERT INTO vibevideo_internal.past_unbilled (job_id, request_id, model, user_id, tenant, requested_on, at, billed, cost_usd)
		SELECT g.job_id, g.request_id, g.model, g.requested_by, g.tenant, (g.created_at AT TIME ZONE 'UTC')::date,
			   coalesce(g.generated_at, g.completed_at, g.updated_at), g.billed, g.cost_usd
		FROM gone g
		WHERE g.request_id IS NOT NULL AND g.cost_source IS DISTINCT FROM 'bill' AND (g.billed OR g.updated_at > now() - interval '7 days')
		ON CONFLICT DO NOTHING;
	END IF;
	FOR j IN SELECT g.* FROM gone g WHERE vibevideo.is_active(g.state) OR g.held_usd IS NOT NULL LOOP
		cost = vibevideo_internal.counted_usd(j);
		had_ended = NOT vibevideo.is_active(j.state);
		j.state = 'cancelled';
		j.cost_usd = CASE WHEN j.billed THEN j.cost_usd ELSE 0 END;
		j.held_usd = NULL;
		PERFORM vibevideo_internal.free_slots(j);
		PERFORM vibevideo_internal.spend(j, cost, true, had_ended);
	END LOOP;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.jobs_deleted() IS 'trigger: keeps the costs of deleted jobs, and gives back what active and held ones had taken';
CREATE TRIGGER jobs_deleted AFTER DELETE ON vibevideo.job REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.jobs_deleted();
ALTER TABLE vibevideo.job ENABLE ALWAYS TRIGGER jobs_deleted;

-- What the jobs cost whose costs are not settled: the active ones, those that were
-- inserted when they had ended, and those for which budgets hold something.
CREATE VIEW vibevideo_internal.open_costs AS
SELECT coalesce(j.requested_by, '') AS user_id, (j.created_at AT TIME ZONE 'UTC')::date AS day, j.model, j.state,
	   (NOT j.orphan)::int AS submits,
	   vibevideo.is_active(j.state)::int AS active,
	   j.billed::int AS videos,
	   CASE WHEN NOT j.billed AND vibevideo.is_active(j.state) THEN coalesce(j.cost_usd, 0) ELSE 0 END AS reserved_usd,
	   CASE WHEN j.billed THEN coalesce(j.cost_usd, 0) ELSE 0 END AS settled_usd
FROM (SELECT a.requested_by, a.created_at, a.model, a.state, a.orphan, a.billed, a.cost_usd FROM vibevideo_internal.active_jobs a
	  UNION ALL
	  SELECT e.requested_by, e.created_at, e.model, e.state, e.orphan, e.billed, e.cost_usd FROM vibevideo.job e
	  WHERE e.unsettled AND e.state = ANY (ARRAY['completed', 'failed', 'cancelled'])) j
UNION ALL
SELECT coalesce(h.requested_by, ''), (h.created_at AT TIME ZONE 'UTC')::date, h.model, h.state, 0, 0, 0, h.held_usd, 0
FROM vibevideo.job h WHERE h.held_usd IS NOT NULL;
COMMENT ON VIEW vibevideo_internal.open_costs IS 'jobs whose costs are not settled, and what they cost; owner only';

/*
 * vibevideo.costs - what was requested and what it cost, by user, day and model.
 * reserved_usd is for active jobs and for what may yet be billed, settled_usd for
 * videos that were made, at the price of the time.  An orphan was not requested, as
 * far as anybody knows, but it is active, and costs.  These read with their owner's
 * rights, as vibevideo.jobs does.
 */
CREATE VIEW vibevideo.costs AS
SELECT nullif(c.user_id, '') AS user_id, c.day, c.model,
	   sum(c.submits)::bigint AS submits, sum(c.active)::bigint AS active, sum(c.videos)::bigint AS videos,
	   sum(c.reserved_usd) AS reserved_usd, sum(c.settled_usd) AS settled_usd
FROM (SELECT o.user_id, o.day, o.model, o.submits, o.active, o.videos, o.reserved_usd, o.settled_usd FROM vibevideo_internal.open_costs o
	  UNION ALL
	  SELECT n.user_id, n.day, n.model, n.submits, 0, n.videos, 0, n.settled_usd FROM vibevideo_internal.new_costs n
	  UNION ALL
	  SELECT p.user_id, p.day, p.model, p.submits, 0, p.videos, 0, p.settled_usd FROM vibevideo.past_costs p) c
GROUP BY c.user_id, c.day, c.model;
COMMENT ON VIEW vibevideo.costs IS 'videos requested and what they cost, by user, day of UTC and model';
COMMENT ON COLUMN vibevideo.costs.user_id IS 'whose jobs: the JWT''s sub, or what the table''s user_column says; NULL where nobody is known';
COMMENT ON COLUMN vibevideo.costs.day IS 'the day of UTC on which they were requested';
COMMENT ON COLUMN vibevideo.costs.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.costs.submits IS 'how many jobs, without orphans';
COMMENT ON COLUMN vibevideo.costs.active IS 'how many active jobs, orphans included';
COMMENT ON COLUMN vibevideo.costs.videos IS 'how many videos fal.ai has rendered, stored or not, orphans'' included';
COMMENT ON COLUMN vibevideo.costs.reserved_usd IS 'price of active jobs that are not rendered yet, and of ended ones that fal.ai may yet bill, in USD; a price that is not known counts as 0';
COMMENT ON COLUMN vibevideo.costs.settled_usd IS 'price of the rendered videos, in USD';

CREATE VIEW vibevideo.costs_by_month AS
SELECT nullif(c.user_id, '') AS user_id, c.month,
	   sum(c.submits)::bigint AS submits, sum(c.active)::bigint AS active, sum(c.videos)::bigint AS videos,
	   sum(c.reserved_usd) AS reserved_usd, sum(c.settled_usd) AS settled_usd
FROM (SELECT o.user_id, date_trunc('month', o.day::timestamp)::date AS month, o.submits, o.active, o.videos, o.reserved_usd, o.settled_usd
	  FROM vibevideo_internal.open_costs o
	  UNION ALL
	  SELECT n.user_id, date_trunc('month', n.day::timestamp)::date, n.submits, 0, n.videos, 0, n.settled_usd FROM vibevideo_internal.new_costs n
	  UNION ALL
	  SELECT p.user_id, p.month, p.submits, 0, p.videos, 0, p.settled_usd FROM vibevideo_internal.past_costs_by_month p) c
GROUP BY c.user_id, c.month;
COMMENT ON VIEW vibevideo.costs_by_month IS 'vibevideo.costs by user and month, of all models together';
COMMENT ON COLUMN vibevideo.costs_by_month.user_id IS 'whose jobs: the JWT''s sub, or what the table''s user_column says; NULL where nobody is known';
COMMENT ON COLUMN vibevideo.costs_by_month.month IS 'the first day of the month of UTC in which they were requested';
COMMENT ON COLUMN vibevideo.costs_by_month.submits IS 'how many jobs, without orphans';
COMMENT ON COLUMN vibevideo.costs_by_month.active IS 'how many active jobs, orphans included';
COMMENT ON COLUMN vibevideo.costs_by_month.videos IS 'how many videos fal.ai has rendered, stored or not, orphans'' included';
COMMENT ON COLUMN vibevideo.costs_by_month.reserved_usd IS 'price of active jobs that are not rendered yet, and of ended ones that fal.ai may yet bill, in USD; a price that is not known counts as 0';
COMMENT ON COLUMN vibevideo.costs_by_month.settled_usd IS 'price of the rendered videos, in USD';

CREATE VIEW vibevideo.costs_by_day AS
SELECT c.day, c.model,
	   sum(c.submits)::bigint AS submits, sum(c.active)::bigint AS active, sum(c.videos)::bigint AS videos,
	   sum(c.reserved_usd) AS reserved_usd, sum(c.settled_usd) AS settled_usd
FROM (SELECT o.day, o.model, o.submits, o.active, o.videos, o.reserved_usd, o.settled_usd FROM vibevideo_internal.open_costs o
	  UNION ALL
	  SELECT n.day, n.model, n.submits, 0, n.videos, 0, n.settled_usd FROM vibevideo_internal.new_costs n
	  UNION ALL
	  SELECT p.day, p.model, p.submits, 0, p.videos, 0, p.settled_usd FROM vibevideo_internal.past_costs_by_day p) c
GROUP BY c.day, c.model;
COMMENT ON VIEW vibevideo.costs_by_day IS 'vibevideo.costs of all users together';
COMMENT ON COLUMN vibevideo.costs_by_day.day IS 'the day of UTC on which they were requested';
COMMENT ON COLUMN vibevideo.costs_by_day.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.costs_by_day.submits IS 'how many jobs, without orphans';
COMMENT ON COLUMN vibevideo.costs_by_day.active IS 'how many active jobs, orphans included';
COMMENT ON COLUMN vibevideo.costs_by_day.videos IS 'how many videos fal.ai has rendered, stored or not, orphans'' included';
COMMENT ON COLUMN vibevideo.costs_by_day.reserved_usd IS 'price of active jobs that are not rendered yet, and of ended ones that fal.ai may yet bill, in USD; a price that is not known counts as 0';
COMMENT ON COLUMN vibevideo.costs_by_day.settled_usd IS 'price of the rendered videos, in USD';
