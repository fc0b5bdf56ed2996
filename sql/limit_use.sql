
-------------------------------------------------------------------------------
-- What is used of limits
-------------------------------------------------------------------------------

-- Each number of each limit that counts: what a user's or a tenant's leaves open is as the
-- default says.
CREATE VIEW vibevideo_internal.limits_in_force AS
SELECT x.who, split_part(CASE x.who WHEN 'default' THEN 'user' WHEN 'default_tenant' THEN 'tenant' ELSE x.who END, ':', 1) AS scope, x.is_default,
	   k.nth, k.limit_name, k.span, k.limit_name LIKE 'spend%' AS is_usd, nullif(coalesce(k.own, k.by_default), -1) AS most
FROM (SELECT l.who, l.scope LIKE 'default%' AS is_default, l AS own, d AS by_default
	  FROM vibevideo.limit l
	  LEFT JOIN vibevideo.limit d ON d.who = CASE l.scope WHEN 'user' THEN 'default' WHEN 'tenant' THEN 'default_tenant' END) x
CROSS JOIN LATERAL (VALUES
	(1, 'max_active', 'active', (x.own).max_active::numeric, (x.by_default).max_active::numeric),
	(2, 'submits_per_hour', 'hour', (x.own).submits_per_hour, (x.by_default).submits_per_hour),
	(3, 'submits_per_day', 'day', (x.own).submits_per_day, (x.by_default).submits_per_day),
	(4, 'submits_per_month', 'month', (x.own).submits_per_month, (x.by_default).submits_per_month),
	(5, 'spend_per_hour_usd', 'hour', (x.own).spend_per_hour_usd, (x.by_default).spend_per_hour_usd),
	(6, 'spend_per_day_usd', 'day', (x.own).spend_per_day_usd, (x.by_default).spend_per_day_usd),
	(7, 'spend_per_month_usd', 'month', (x.own).spend_per_month_usd, (x.by_default).spend_per_month_usd)) AS k(nth, limit_name, span, own, by_default)
WHERE nullif(coalesce(k.own, k.by_default), -1) IS NOT NULL;
COMMENT ON VIEW vibevideo_internal.limits_in_force IS 'each number of each limit that counts; owner only';

/*
 * vibevideo_internal.all_used(wanted) - what everybody has used, for all in one go: what
 * used_of says of one budget, and how many jobs are active.  wanted: of whom and in which
 * span, as 'user day'; what nobody wants is not read.  Like used_of it reads the jobs of an
 * hour, and of a day or a month sums, and what has not ended or is not added up.
 */
CREATE FUNCTION vibevideo_internal.all_used(wanted text[])
RETURNS TABLE (who text, span text, jobs numeric, usd numeric, held_jobs numeric, held_usd numeric) LANGUAGE sql STABLE ROWS 1000
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
BEGIN ATOMIC
	WITH since AS (
		SELECT date_trunc('day', now(), 'UTC') AS day, date_trunc('month', now(), 'UTC') AS month,
			   vibevideo_internal.today() AS today, date_trunc('month', vibevideo_internal.today()::timestamp)::date AS first_day
	), job AS (
		SELECT a.requested_by, a.tenant, a.model, a.created_at, true AS is_active, false AS of_hour, a.cost_usd, NULL::numeric AS held_usd
		FROM vibevideo_internal.active_jobs a
		UNION ALL
		SELECT e.requested_by, e.tenant, e.model, e.created_at, false, false, e.cost_usd, NULL
		FROM vibevideo.job e WHERE e.unsettled AND e.state = ANY (ARRAY['completed', 'failed', 'cancelled']) AND e.billed
		UNION ALL
		SELECT h.requested_by, h.tenant, h.model, h.created_at, false, false, h.held_usd, h.held_usd
		FROM vibevideo.job h WHERE h.held_usd IS NOT NULL
		UNION ALL
		SELECT j.requested_by, j.tenant, j.model, j.created_at, false, true, vibevideo_internal.counted_usd(j), j.held_usd
		FROM vibevideo.job j
		WHERE wanted && ARRAY['global hour', 'model hour', 'tenant hour', 'user hour'] AND j.created_at >= date_trunc('hour', now(), 'UTC')
		  AND vibevideo_internal.counts(j)
	), part AS (
		SELECT ARRAY['global', 'user:' || j.requested_by, 'tenant:' || j.tenant, 'model:' || j.model] AS whose,
			   CASE WHEN j.of_hour THEN ARRAY['hour']
					ELSE ARRAY[CASE WHEN j.is_active THEN 'active' END, CASE WHEN j.created_at >= s.day THEN 'day' END,
							   CASE WHEN j.created_at >= s.month THEN 'month' END] END AS spans,
			   1 AS jobs, coalesce(j.cost_usd, 0) AS usd, (j.held_usd IS NOT NULL)::int AS held_jobs, coalesce(j.held_usd, 0) AS held_usd
		FROM job j CROSS JOIN since s
		UNION ALL
		SELECT ARRAY['global', 'user:' || nullif(n.user_id, ''), 'tenant:' || nullif(n.tenant, ''), 'model:' || n.model],
			   ARRAY[CASE WHEN n.day >= s.today THEN 'day' END, 'month'], n.videos, n.settled_usd, 0, 0
		FROM vibevideo_internal.new_costs n JOIN since s ON n.day >= s.first_day
		UNION ALL
		SELECT ARRAY['global', 'model:' || d.model], ARRAY[CASE WHEN d.day >= s.today THEN 'day' END, 'month'], d.videos, d.settled_usd, 0, 0
		FROM vibevideo_internal.past_costs_by_day d JOIN since s ON d.day >= s.first_day
		UNION ALL
		SELECT ARRAY['tenant:' || t.tenant], ARRAY[CASE WHEN t.day >= s.today THEN 'day' END, 'month'], t.videos, t.settled_usd, 0, 0
		FROM vibevideo.tenant_costs t JOIN since s ON t.day >= s.first_day WHERE wanted && ARRAY['tenant day', 'tenant month']
	), piece AS (
		SELECT w.who COLLATE "C" AS who, t.span, p.jobs, p.usd, p.held_jobs, p.held_usd
		FROM part p CROSS JOIN LATERAL unnest(p.whose) AS w(who) CROSS JOIN LATERAL unnest(p.spans) AS t(span)
		WHERE split_part(w.who, ':', 1) || ' ' || t.span = ANY (wanted)
		UNION ALL
		SELECT 'user:' || p.user_id, 'day', p.videos, p.settled_usd, 0, 0
		FROM vibevideo.past_costs p JOIN since s ON p.day >= s.today WHERE wanted && ARRAY['user day'] AND p.user_id <> ''
		UNION ALL
		SELECT 'user:' || m.user_id, 'month', m.videos, m.settled_usd, 0, 0
		FROM vibevideo_internal.past_costs_by_month m JOIN since s ON m.month >= s.first_day WHERE wanted && ARRAY['user month'] AND m.user_id <> ''
	)
	SELECT p.who, p.span, sum(p.jobs), sum(p.usd), sum(p.held_jobs), sum(p.held_usd) FROM piece p GROUP BY p.who, p.span;
END;
COMMENT ON FUNCTION vibevideo_internal.all_used(text[]) IS 'what is used of limits by everybody who has used something; owner only';

-- A default has as many lines as there are users who have used something: of each of its
-- numbers those who have used the most.
CREATE FUNCTION vibevideo_internal.limit_use_lines()
RETURNS TABLE (who text, limit_name text, most numeric, used numeric, remaining numeric, resets_at timestamptz, held numeric)
LANGUAGE plpgsql STABLE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most_of_default constant int = 100;
	wanted constant text[] = ARRAY(SELECT DISTINCT f.scope || ' ' || f.span FROM vibevideo_internal.limits_in_force f);
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY
	WITH used AS MATERIALIZED (
		SELECT u.*, split_part(u.who, ':', 1) AS scope, o.who IS NOT NULL AS is_own
		FROM vibevideo_internal.all_used(wanted) u LEFT JOIN vibevideo.limit o ON o.who = u.who
	), line AS (
		SELECT f.who, f.nth, f.limit_name, f.span, f.most, CASE WHEN f.is_usd THEN u.usd ELSE u.jobs END AS used,
			   CASE WHEN f.is_usd THEN u.held_usd ELSE u.held_jobs END AS held, array_position(ARRAY['global', 'model', 'tenant', 'user'], f.scope) AS part
		FROM vibevideo_internal.limits_in_force f LEFT JOIN used u ON u.is_own AND u.who = f.who AND u.span = f.span
		WHERE NOT f.is_default
		UNION ALL
		SELECT u.who, f.nth, f.limit_name, f.span, f.most, u.used, u.held, array_position(ARRAY['tenant', 'user'], f.scope) + 4
		FROM vibevideo_internal.limits_in_force f
		CROSS JOIN LATERAL (
			SELECT x.who, CASE WHEN f.is_usd THEN x.usd ELSE x.jobs END AS used, CASE WHEN f.is_usd THEN x.held_usd ELSE x.held_jobs END AS held
			FROM used x
			WHERE NOT x.is_own AND x.scope = f.scope AND x.span = f.span AND CASE WHEN f.is_usd THEN x.usd ELSE x.jobs END > 0
			ORDER BY 2 DESC, 1 LIMIT most_of_default) u
		WHERE f.is_default
	)
	SELECT l.who, l.limit_name, trim_scale(l.most), trim_scale(coalesce(l.used, 0)), trim_scale(greatest(0, l.most - coalesce(l.used, 0))),
		   CASE WHEN l.span <> 'active' THEN (date_trunc(l.span, now(), 'UTC') AT TIME ZONE 'UTC' + ('1 ' || l.span)::interval) AT TIME ZONE 'UTC' END,
		   trim_scale(coalesce(l.held, 0))
	FROM line l
	ORDER BY l.part, CASE WHEN l.part <= 4 THEN l.who END, l.nth, l.used DESC, l.who;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.limit_use_lines() IS 'lines of view vibevideo.limit_use; for viewers';

CREATE VIEW vibevideo.limit_use AS
SELECT l.who, l.limit_name, l.most, l.used, l.remaining, l.resets_at, l.held FROM vibevideo_internal.limit_use_lines() l;
COMMENT ON VIEW vibevideo.limit_use IS
	'what is used of each limit in force, by what the jobs say; of a default, of each of its limits the 100 users, or tenants, who have used the most';
COMMENT ON COLUMN vibevideo.limit_use.who IS 'whose limit it is, as in vibevideo.limit.who; user: or tenant: and which also where a default counts for them';
COMMENT ON COLUMN vibevideo.limit_use.limit_name IS 'the column of vibevideo.limit: max_active, submits_per_hour and so on';
COMMENT ON COLUMN vibevideo.limit_use.most IS 'how much it is, videos or USD; what a user''s limit leaves open is as the default says';
COMMENT ON COLUMN vibevideo.limit_use.used IS 'how much of it is used: videos, or USD that are spent or reserved; more than most if it was lowered, or a video has cost more than expected';
COMMENT ON COLUMN vibevideo.limit_use.remaining IS 'how much is left; a video that costs more, or is one too many, is rejected with PT402 or PT429';
COMMENT ON COLUMN vibevideo.limit_use.resets_at IS 'when nothing of it is used any more: the end of the hour, day or month of UTC; NULL of max_active';
COMMENT ON COLUMN vibevideo.limit_use.held IS 'how much of what is used is for ended jobs that fal.ai may yet bill, as vibevideo.job.held_usd says; it comes back if fal.ai does not';
