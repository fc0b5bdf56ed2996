
-------------------------------------------------------------------------------
-- Limits
-------------------------------------------------------------------------------

/*
 * The triggers of vibevideo.job keep the books, so every way into the table is
 * covered: job_changing notes the price, job_changed takes the job's share after
 * an INSERT (so that ON CONFLICT DO NOTHING takes nothing) and gives it back at
 * its end, jobs_deleted after a DELETE.  Too much raises PT429 or PT402, except
 * for an attempt that began by itself, where the job fails instead.  Rows that a
 * restore copies in are passed over (their created_at is not this transaction's).
 * An orphan was sent, so it counts: the worker, which makes it, has it take its
 * share even beyond a limit (take_orphans_share), and until it has, each new job
 * counts what the journal knows (sent_for_nobody).  What is held beyond a limit, in
 * slots with numbers from 1000001 and tills in which something is missing, must be
 * there once more before anybody else gets anything.
 *
 * A submit holds its transaction open while it talks to fal, so nothing here
 * may make one submit wait for another.  A limit of n is n slots, rows that a
 * submit takes with SKIP LOCKED: two submits never want the same one, and what
 * an open transaction has taken nobody else can take.  A slot is free when its
 * day is in the past: those of a day free themselves at midnight, an active
 * job's has day infinity.  What may be spent in an hour, a day or a month, and how
 * many videos requested in an hour or a month, are budgets, kept in up to 256 tills
 * each, of which each is good for a multiple of the cheapest price, or of one video;
 * what one lacks is gathered from others, and what comes back goes into one that
 * nobody holds, or into a new one.  All this is unlogged and only repeats what
 * vibevideo.job says.  It is made from that when it is first wanted: by the first
 * submit of a user, the first after a limit or the cheapest price was changed, the
 * first after a crash, a restore or a failover; and by a process of its own, whose
 * transaction is short (make_limits_apart).  Only where there is none to be had a
 * submit makes it itself, and others wait for its end.
 * Without a row in vibevideo.limit nothing of this is touched.
 *
 * That tills are right follows from what no transaction may break, and needs no
 * lock that two share: used in all tills of a budget, less what is due (of each job
 * in share_due, what share_taken says less what share_due says), is what the jobs
 * say.  A submit adds its share to tills and notes it in share_taken.  A job that
 * ends, or costs something else, takes the note and changes the tills by the
 * difference; if somebody holds the note (who makes the tills anew, or settles what
 * is due), it only says in share_due what would be right, and who next wants
 * something of the budget settles that.  Who makes the tills drops all that nobody
 * holds, and fills new ones with what the jobs say, less what the others hold and is
 * not due: in one snapshot, so that whoever commits later changes both sides alike.
 *
 * Locks are taken in one order, the user's first, then the tenant's, the model's and
 * the global ones, and none but those is waited for.  What ends a job writes only the
 * job's own slots.
 */

-- Whose day it is: limits and costs are by days of UTC.
CREATE FUNCTION vibevideo_internal.today()
RETURNS date LANGUAGE sql STABLE
RETURN (now() AT TIME ZONE 'UTC')::date;
COMMENT ON FUNCTION vibevideo_internal.today() IS 'the day of UTC that limits and costs count by; owner only';

CREATE TABLE vibevideo.limit (
	scope text NOT NULL DEFAULT 'user' CHECK (scope OPERATOR(pg_catalog.=) ANY (ARRAY[
		'global', 'default', 'user', 'default_tenant', 'tenant', 'model'])),
	user_id text,
	max_active int CHECK (max_active OPERATOR(pg_catalog.>=) -1 AND max_active OPERATOR(pg_catalog.<=) 10000),
	submits_per_day int CHECK (submits_per_day OPERATOR(pg_catalog.>=) -1 AND submits_per_day OPERATOR(pg_catalog.<=) 100000),
	spend_per_day_usd numeric(12, 4) CHECK (spend_per_day_usd OPERATOR(pg_catalog.>=) -1),
	tenant text,
	model text,
	submits_per_hour int CHECK (submits_per_hour OPERATOR(pg_catalog.>=) -1 AND submits_per_hour OPERATOR(pg_catalog.<=) 10000000),
	submits_per_month int CHECK (submits_per_month OPERATOR(pg_catalog.>=) -1 AND submits_per_month OPERATOR(pg_catalog.<=) 10000000),
	spend_per_hour_usd numeric(12, 4) CHECK (spend_per_hour_usd OPERATOR(pg_catalog.>=) -1),
	spend_per_month_usd numeric(12, 4) CHECK (spend_per_month_usd OPERATOR(pg_catalog.>=) -1),
	who text COLLATE pg_catalog."C" PRIMARY KEY GENERATED ALWAYS AS
		(CASE scope WHEN 'user' THEN 'user:' OPERATOR(pg_catalog.||) user_id WHEN 'tenant' THEN 'tenant:' OPERATOR(pg_catalog.||) tenant
		 WHEN 'model' THEN 'model:' OPERATOR(pg_catalog.||) model ELSE scope END) STORED,
	CHECK ((scope OPERATOR(pg_catalog.=) 'user') OPERATOR(pg_catalog.=) (user_id IS NOT NULL)),
	CHECK ((scope OPERATOR(pg_catalog.=) 'tenant') OPERATOR(pg_catalog.=) (tenant IS NOT NULL)),
	CHECK ((scope OPERATOR(pg_catalog.=) 'model') OPERATOR(pg_catalog.=) (model IS NOT NULL))
);
COMMENT ON TABLE vibevideo.limit IS
	'how much may be requested: scope global counts everybody together, model all videos of a model, default each user that has no row of scope user, default_tenant the same of tenants';
COMMENT ON COLUMN vibevideo.limit.scope IS 'global: everybody together; default: each user without a row of scope user; user: the one in user_id; default_tenant and tenant: the same of tenants; model: all videos of the one in model';
COMMENT ON COLUMN vibevideo.limit.user_id IS 'as in vibevideo.job.requested_by: the JWT''s sub, or what the table''s user_column says; NULL unless scope is user';
COMMENT ON COLUMN vibevideo.limit.max_active IS 'most active videos at a time, those being copied included (jobs at fal.ai have a setting of this name); NULL: the default''s limit, in default, default_tenant, model and global none; -1: unlimited, whatever the default; 0: no videos';
COMMENT ON COLUMN vibevideo.limit.submits_per_day IS 'most videos requested in a day of UTC, without failed and cancelled ones that cost nothing; NULL, -1 and 0 as for max_active';
COMMENT ON COLUMN vibevideo.limit.spend_per_day_usd IS 'most USD that the videos of a day of UTC can cost, active ones included; NULL, -1 and 0 as for max_active';
COMMENT ON COLUMN vibevideo.limit.tenant IS 'as in vibevideo.job.tenant: what the table''s tenant_column says; NULL unless scope is tenant';
COMMENT ON COLUMN vibevideo.limit.model IS 'fal.ai''s endpoint id; NULL unless scope is model';
COMMENT ON COLUMN vibevideo.limit.submits_per_hour IS 'the same as submits_per_day of an hour; NULL, -1 and 0 as for max_active';
COMMENT ON COLUMN vibevideo.limit.submits_per_month IS 'the same as submits_per_day of a calendar month of UTC; NULL, -1 and 0 as for max_active';
COMMENT ON COLUMN vibevideo.limit.spend_per_hour_usd IS 'most USD that the videos of an hour can cost; NULL, -1 and 0 as for max_active';
COMMENT ON COLUMN vibevideo.limit.spend_per_month_usd IS 'most USD that the videos of a calendar month of UTC can cost; NULL, -1 and 0 as for max_active';
COMMENT ON COLUMN vibevideo.limit.who IS 'scope and whom it is for as one key: global, default, default_tenant, or user:, tenant: or model: and which';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.limit', '');

-- A slot is free if its day is in the past.
CREATE UNLOGGED TABLE vibevideo_internal.slot (
	who text COLLATE pg_catalog."C" NOT NULL,
	kind text COLLATE pg_catalog."C" NOT NULL CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY['active', 'submits'])),
	n int NOT NULL,
	day date NOT NULL DEFAULT '-infinity',
	job_id bigint,
	PRIMARY KEY (who, kind, n)
) WITH (fillfactor = 70);
COMMENT ON TABLE vibevideo_internal.slot IS 'one row for each unit of a limit: which job has it; made anew from vibevideo.job when lost';
CREATE INDEX slot_free ON vibevideo_internal.slot (who, kind, day);
CREATE INDEX slot_job ON vibevideo_internal.slot (job_id) WHERE job_id IS NOT NULL;

-- A kind of budget is what is counted and in how long a time; begins: of the hour, day
-- or month in which it was used, what was used in an earlier one does not count.
CREATE UNLOGGED TABLE vibevideo_internal.till (
	who text COLLATE pg_catalog."C" NOT NULL,
	kind text COLLATE pg_catalog."C" NOT NULL CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY[
		'submits_hour', 'submits_month', 'spend_hour', 'spend_day', 'spend_month'])),
	n bigint NOT NULL,
	begins timestamptz NOT NULL,
	used numeric NOT NULL,
	-- how much it is good for, in each hour, day or month; 0 of what only came back, or had to be spent
	most numeric NOT NULL,
	PRIMARY KEY (who, kind, n)
) WITH (fillfactor = 70);
COMMENT ON TABLE vibevideo_internal.till IS 'budgets in parts (tills), so that submits need not wait for each other: what is used of each; made anew from vibevideo.job when lost';
-- What a job has taken of a budget; without a row, nothing.
CREATE UNLOGGED TABLE vibevideo_internal.share_taken (
	job_id bigint NOT NULL,
	who text COLLATE pg_catalog."C" NOT NULL,
	kind text COLLATE pg_catalog."C" NOT NULL,
	begins timestamptz NOT NULL,
	used numeric NOT NULL,
	PRIMARY KEY (job_id, who, kind)
) WITH (fillfactor = 70);
CREATE INDEX share_taken_budget ON vibevideo_internal.share_taken (who, kind, job_id);
COMMENT ON TABLE vibevideo_internal.share_taken IS 'what jobs have taken of budgets, until they end and longer where something was due: it is in the tills';
-- What it should have taken, the last row of a job: it could not be changed at the time.
CREATE UNLOGGED TABLE vibevideo_internal.share_due (
	who text COLLATE pg_catalog."C" NOT NULL,
	kind text COLLATE pg_catalog."C" NOT NULL,
	job_id bigint NOT NULL,
	n bigint NOT NULL,
	used numeric NOT NULL,
	PRIMARY KEY (who, kind, job_id, n)
);
COMMENT ON TABLE vibevideo_internal.share_due IS 'what jobs should have taken of budgets whose tills somebody was making: it is not in the tills';
-- Whose slots and tills are made, and for which version of the limit and size of a till.
CREATE UNLOGGED TABLE vibevideo_internal.counted (
	who text COLLATE pg_catalog."C" NOT NULL,
	kind text COLLATE pg_catalog."C" NOT NULL CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY[
		'active', 'submits', 'submits_hour', 'submits_month', 'spend_hour', 'spend_day', 'spend_month'])),
	version bigint[] NOT NULL,
	share numeric,
	first_till bigint,
	tills int,
	-- once more, when no transaction before this one is left
	again_from xid8,
	PRIMARY KEY (who, kind)
);
COMMENT ON TABLE vibevideo_internal.counted IS 'whose slots and tills are made, and for what: they are made anew from vibevideo.job if that has changed';
-- A limit that is deleted leaves a row, too: while there is none nobody counts.
CREATE UNLOGGED TABLE vibevideo_internal.limit_version (
	who text COLLATE pg_catalog."C" PRIMARY KEY,
	version bigint NOT NULL,
	-- transactions before this one may not have seen it
	seen_from xid8 NOT NULL
);
COMMENT ON TABLE vibevideo_internal.limit_version IS 'which version limits have';
-- Numbers tills, and slots beyond a limit.
CREATE SEQUENCE vibevideo_internal.refund_seq START 1000001;

-- Finds an hour's or a day's jobs; as good as free to keep, since jobs come in that order.
-- Without autosummarize it would find all since the last vacuum.
CREATE INDEX job_created ON vibevideo.job USING brin (created_at) WITH (autosummarize = on);

-- The limits that count for a job of a user, a tenant and a model, NULL where there is
-- none: in the order in which they are looked at.  Of whom nobody knows only the rest
-- counts.
CREATE FUNCTION vibevideo_internal.limits_for(requested_by text, tenant text DEFAULT NULL, model text DEFAULT NULL)
RETURNS SETOF vibevideo.limit LANGUAGE plpgsql STABLE ROWS 2 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	wanted constant text[] = ARRAY['user:' || requested_by, 'tenant:' || limits_for.tenant, 'model:' || limits_for.model, 'global'];
	defaults constant text[] = ARRAY['default', 'default_tenant'];
	key text;
	l vibevideo.limit;
	d vibevideo.limit;
BEGIN
	FOR i IN 1 .. 4 LOOP
		key = wanted[i];
		CONTINUE WHEN key IS NULL;
		SELECT x.* INTO l FROM vibevideo.limit x WHERE x.who = key;
		SELECT x.* INTO d FROM vibevideo.limit x WHERE x.who = defaults[i];
		CONTINUE WHEN l.who IS NULL AND d.who IS NULL;
		l.who = key;
		l.max_active = nullif(coalesce(l.max_active, d.max_active), -1);
		l.submits_per_hour = nullif(coalesce(l.submits_per_hour, d.submits_per_hour), -1);
		l.submits_per_day = nullif(coalesce(l.submits_per_day, d.submits_per_day), -1);
		l.submits_per_month = nullif(coalesce(l.submits_per_month, d.submits_per_month), -1);
		l.spend_per_hour_usd = nullif(coalesce(l.spend_per_hour_usd, d.spend_per_hour_usd), -1);
		l.spend_per_day_usd = nullif(coalesce(l.spend_per_day_usd, d.spend_per_day_usd), -1);
		l.spend_per_month_usd = nullif(coalesce(l.spend_per_month_usd, d.spend_per_month_usd), -1);
		RETURN NEXT l;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.limits_for(text, text, text) IS 'the limits that count for a user, a tenant and a model; owner only';

-- Which version of a limit is in force, its default's changes included.
CREATE FUNCTION vibevideo_internal.version_of(who text, OUT version bigint[], OUT seen_from xid8)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT array_agg(coalesce(v.version, 0) ORDER BY w.nth), max(v.seen_from)
	FROM unnest(ARRAY[version_of.who, CASE split_part(version_of.who, ':', 1) WHEN 'user' THEN 'default' WHEN 'tenant' THEN 'default_tenant' END])
		 WITH ORDINALITY AS w(who, nth)
	LEFT JOIN vibevideo_internal.limit_version v ON v.who = w.who;
END;
COMMENT ON FUNCTION vibevideo_internal.version_of(text) IS 'the versions of a limit and of its default, and since when all transactions see them; owner only';

-- The budgets among them, in the order in which they are looked at.
CREATE FUNCTION vibevideo_internal.budgets(l vibevideo.limit)
RETURNS TABLE (kind text, most numeric) LANGUAGE sql IMMUTABLE ROWS 2 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT b.kind, b.most
	FROM (VALUES (1, 'submits_hour', l.submits_per_hour::numeric), (2, 'submits_month', l.submits_per_month::numeric),
				 (3, 'spend_hour', l.spend_per_hour_usd), (4, 'spend_day', l.spend_per_day_usd), (5, 'spend_month', l.spend_per_month_usd)) AS b(n, kind, most)
	WHERE b.most IS NOT NULL ORDER BY b.n;
END;
COMMENT ON FUNCTION vibevideo_internal.budgets(vibevideo.limit) IS 'the budgets among limits, by kind; owner only';

-- The beginning of the hour, day or month of a kind of budget that a time is in.
CREATE FUNCTION vibevideo_internal.begin_of(kind text, at timestamptz)
RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN date_trunc(split_part(kind, '_', 2), at, 'UTC');
COMMENT ON FUNCTION vibevideo_internal.begin_of(text, timestamptz) IS 'the beginning of the time of a budget that a moment is in; owner only';

-- What a job counts for in a budget of this kind.
CREATE FUNCTION vibevideo_internal.share(kind text, cost numeric, counts boolean)
RETURNS numeric LANGUAGE sql IMMUTABLE
RETURN CASE WHEN NOT counts THEN 0 WHEN kind LIKE 'submits%' THEN 1 ELSE coalesce(cost, 0) END;
COMMENT ON FUNCTION vibevideo_internal.share(text, numeric, boolean) IS 'what a job counts for in a budget; owner only';

-- Is it a job of this user, tenant or model, or of everybody?
CREATE FUNCTION vibevideo_internal.is_of(who text, requested_by text, tenant text, model text)
RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN who = 'global' OR coalesce(who = 'user:' || requested_by, false) OR coalesce(who = 'tenant:' || tenant, false) OR who = 'model:' || model;
COMMENT ON FUNCTION vibevideo_internal.is_of(text, text, text, text) IS 'whether a job counts for a limit; owner only';

-- The jobs that count for a limit already when its slots or tills are made:
-- active ones, or those since then that cost or may cost something, orphans included.  Those of
-- this transaction take their share themselves, but for those before the one that asks, which
-- have taken it.
CREATE FUNCTION vibevideo_internal.counted_jobs(who text, since timestamptz DEFAULT NULL, asking bigint DEFAULT NULL)
RETURNS SETOF vibevideo.job LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF since IS NULL THEN
		RETURN QUERY SELECT j.* FROM vibevideo.job j
		WHERE vibevideo.is_active(j.state)
		  AND (j.created_at <> now() OR j.job_id < asking) AND vibevideo_internal.is_of(counted_jobs.who, j.requested_by, j.tenant, j.model);
	ELSE
		RETURN QUERY SELECT j.* FROM vibevideo.job j
		WHERE j.created_at >= counted_jobs.since AND (j.billed OR j.held_usd IS NOT NULL OR vibevideo.is_active(j.state))
		  AND (j.created_at <> now() OR j.job_id < asking) AND vibevideo_internal.is_of(counted_jobs.who, j.requested_by, j.tenant, j.model);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.counted_jobs(text, timestamptz, bigint) IS 'the jobs that count for a limit when it is first used; owner only';

-- What is used of a budget.  That of a day or a month is known from the sums of what has
-- ended, which need no history, the jobs that have not, and those that are held.
CREATE FUNCTION vibevideo_internal.used_of(who text, kind text, since timestamptz, asking bigint DEFAULT NULL)
RETURNS numeric LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	first_day constant date = (since AT TIME ZONE 'UTC')::date;
	counts constant boolean = kind LIKE 'submits%';
	past record;
BEGIN
	IF kind LIKE '%hour' THEN
		RETURN (SELECT coalesce(sum(vibevideo_internal.share(used_of.kind, coalesce(j.held_usd, j.cost_usd), true)), 0)
				FROM vibevideo_internal.counted_jobs(used_of.who, used_of.since, used_of.asking) j);
	END IF;
	IF who LIKE 'tenant:%' THEN
		SELECT sum(t.videos) AS videos, sum(t.settled_usd) AS usd INTO past FROM vibevideo.tenant_costs t
		WHERE t.tenant = substr(used_of.who, length('tenant:') + 1) AND t.day >= first_day;
	ELSIF who LIKE 'user:%' THEN
		SELECT sum(p.videos) AS videos, sum(p.settled_usd) AS usd INTO past FROM vibevideo.past_costs p
		WHERE p.user_id = substr(used_of.who, length('user:') + 1) AND p.day >= first_day;
	ELSE
		SELECT sum(d.videos) AS videos, sum(d.settled_usd) AS usd INTO past FROM vibevideo_internal.past_costs_by_day d
		WHERE d.day >= first_day AND (used_of.who = 'global' OR d.model = substr(used_of.who, length('model:') + 1));
	END IF;
	RETURN coalesce(CASE WHEN counts THEN past.videos ELSE past.usd END, 0)
		+ (SELECT coalesce(sum(CASE WHEN counts THEN n.videos ELSE n.settled_usd END), 0) FROM vibevideo_internal.new_costs n
		   WHERE n.day >= first_day AND vibevideo_internal.is_of(used_of.who, nullif(n.user_id, ''), nullif(n.tenant, ''), n.model))
		+ (SELECT coalesce(sum(vibevideo_internal.share(used_of.kind, j.cost_usd, true)), 0)
		   FROM vibevideo.job j WHERE j.unsettled AND (j.billed OR vibevideo.is_active(j.state)) AND j.created_at >= used_of.since
			 AND (j.created_at <> now() OR j.job_id < used_of.asking) AND vibevideo_internal.is_of(used_of.who, j.requested_by, j.tenant, j.model))
		+ (SELECT coalesce(sum(vibevideo_internal.share(used_of.kind, j.held_usd, true)), 0)
		   FROM vibevideo.job j WHERE j.held_usd IS NOT NULL AND j.created_at >= used_of.since
			 AND vibevideo_internal.is_of(used_of.who, j.requested_by, j.tenant, j.model));
END
$$;
COMMENT ON FUNCTION vibevideo_internal.used_of(text, text, timestamptz, bigint) IS 'what is used of a budget; owner only';

-- What was rolled back after its POST and is not an orphan yet.  The journal
-- knows of it before the worker does, so that a client who is quick cannot have
-- more than one that is slow.
CREATE FUNCTION vibevideo_internal.sent_for_nobody(user_id text, OUT jobs int, OUT usd numeric)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_sent_for_nobody';
COMMENT ON FUNCTION vibevideo_internal.sent_for_nobody(text) IS
	'submits of a user, NULL for everybody''s, that were rolled back and are not settled: how many, and their prices; owner only';

/*
 * Does a job count for budgets?  What has ended counts if it is billed, or held: fal.ai
 * may yet bill what we have cancelled, or given up, when it had begun.  That is held as
 * the most that it can cost, until the bill has spoken, or no budget's time is left that
 * it belongs to.  Otherwise submits and cancels in turns would pass every budget.
 */
CREATE FUNCTION vibevideo_internal.counts(j vibevideo.job)
RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN (j).billed OR (j).held_usd IS NOT NULL OR vibevideo.is_active((j).state);
COMMENT ON FUNCTION vibevideo_internal.counts(vibevideo.job) IS 'whether a job counts for budgets; owner only';

-- As what.
CREATE FUNCTION vibevideo_internal.counted_usd(j vibevideo.job)
RETURNS numeric LANGUAGE sql IMMUTABLE
RETURN coalesce((j).held_usd, (j).cost_usd);
COMMENT ON FUNCTION vibevideo_internal.counted_usd(vibevideo.job) IS 'what a job counts as in budgets, in USD; owner only';

-- Has a job ended that counted for a limit of this kind?
CREATE FUNCTION vibevideo_internal.counts_no_more(j vibevideo.job, kind text)
RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN NOT vibevideo.is_active((j).state) AND (kind = 'active' OR NOT vibevideo_internal.counts(j));
COMMENT ON FUNCTION vibevideo_internal.counts_no_more(vibevideo.job, text) IS 'whether a job has ended that counted for a limit; owner only';

-- For this version and size of a till, and not to be made once more?
CREATE FUNCTION vibevideo_internal.is_made(c vibevideo_internal.counted, version bigint[], share numeric)
RETURNS boolean LANGUAGE sql STABLE
RETURN ((c).version, (c).share) IS NOT DISTINCT FROM (version, share) AND ((c).again_from <= pg_snapshot_xmin(pg_current_snapshot())) IS NOT TRUE;
COMMENT ON FUNCTION vibevideo_internal.is_made(vibevideo_internal.counted, bigint[], numeric) IS 'whether slots or tills are made as they should be; owner only';

/*
 * vibevideo_internal.begin_making(who, kind, version, share) - notes for which version of a
 * limit slots or tills are made; false if somebody has done it meanwhile, who is waited for.
 */
CREATE FUNCTION vibevideo_internal.begin_making(who text, kind text, version bigint[], share numeric)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	-- looked for here, since even an UPDATE that changes nothing locks the row
	IF EXISTS (SELECT FROM vibevideo_internal.counted c WHERE c.who = begin_making.who AND c.kind = begin_making.kind
			   AND vibevideo_internal.is_made(c, begin_making.version, begin_making.share)) THEN
		RETURN false;
	END IF;
	-- who ends a job and has not seen the limit says nothing of it
	INSERT INTO vibevideo_internal.counted AS c (who, kind, version, share, again_from)
	SELECT begin_making.who, begin_making.kind, begin_making.version, begin_making.share,
		   CASE WHEN pg_snapshot_xmin(pg_current_snapshot()) < v.seen_from THEN v.seen_from END
	FROM vibevideo_internal.version_of(begin_making.who) v
	ON CONFLICT ON CONSTRAINT counted_pkey DO UPDATE SET version = EXCLUDED.version, share = EXCLUDED.share, again_from = EXCLUDED.again_from
	WHERE NOT vibevideo_internal.is_made(c, EXCLUDED.version, EXCLUDED.share);
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.begin_making(text, text, bigint[], numeric) IS 'notes that a limit''s slots or tills are made; false if they are; owner only';

-- What somebody holds at the moment is left as it is.
CREATE FUNCTION vibevideo_internal.drop_slots(who text, kind text)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	DELETE FROM vibevideo_internal.slot s
	WHERE s.ctid = ANY (ARRAY(SELECT x.ctid FROM vibevideo_internal.slot x WHERE x.who = drop_slots.who AND x.kind = drop_slots.kind FOR UPDATE SKIP LOCKED));
END;
COMMENT ON FUNCTION vibevideo_internal.drop_slots(text, text) IS 'drops of a limit''s slots what nobody holds; owner only';

/*
 * vibevideo_internal.make_slots(who, kind, version, most, asking) - makes a limit's slots anew.
 * What a submit or whoever ends a job holds at the moment is left as it is.
 */
CREATE FUNCTION vibevideo_internal.make_slots(who text, kind text, version bigint[], most int, asking bigint)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT vibevideo_internal.begin_making(make_slots.who, make_slots.kind, version, NULL) THEN
		RETURN;
	END IF;
	PERFORM vibevideo_internal.drop_slots(make_slots.who, make_slots.kind);
	INSERT INTO vibevideo_internal.slot (who, kind, n, day, job_id)
	SELECT make_slots.who, make_slots.kind, coalesce(f.n, nextval('vibevideo_internal.refund_seq')),
		   CASE WHEN c.job_id IS NULL THEN '-infinity' WHEN make_slots.kind = 'active' THEN 'infinity' ELSE c.day END, c.job_id
	FROM (SELECT g AS n, row_number() OVER (ORDER BY g) AS nth FROM generate_series(1, most) g
		  WHERE NOT EXISTS (SELECT FROM vibevideo_internal.slot s WHERE s.who = make_slots.who AND s.kind = make_slots.kind AND s.n = g)) f
	FULL JOIN (SELECT row_number() OVER (ORDER BY j.job_id) AS nth, j.job_id, (j.created_at AT TIME ZONE 'UTC')::date AS day
			   FROM vibevideo_internal.counted_jobs(make_slots.who, CASE WHEN make_slots.kind <> 'active' THEN date_trunc('day', now(), 'UTC') END, make_slots.asking) j
			   WHERE NOT EXISTS (SELECT FROM vibevideo_internal.slot s
								 WHERE s.who = make_slots.who AND s.kind = make_slots.kind AND s.job_id = j.job_id)) c USING (nth)
	ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.make_slots(text, text, bigint[], int, bigint) IS 'makes a limit''s slots from the jobs that count; owner only';

-- Takes a slot for a job; false if there is none.  So many more as are held by
-- those beyond the limit have to be free: of the jobs in the journal, those that
-- were sent for nobody (beyond); of the table those that had to be counted though
-- there was no room, or that a limit was lowered under.  Otherwise it looks at a
-- few at random first, so that many calls do not crowd at one.
CREATE FUNCTION vibevideo_internal.take_slot(who text, kind text, most int, job_id bigint, beyond int DEFAULT 0)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	today constant date = vibevideo_internal.today();
	until constant date = CASE kind WHEN 'active' THEN 'infinity' ELSE today END;
	try int;
	place int;
	free int[];
BEGIN
	IF most = 0 THEN
		RETURN false;
	END IF;
	beyond = beyond + (SELECT count(*) FROM vibevideo_internal.slot s
					   WHERE s.who = take_slot.who AND s.kind = take_slot.kind AND s.n > most AND s.day >= today
						 AND (s.kind <> 'active' OR EXISTS (SELECT FROM vibevideo.job j WHERE j.job_id = s.job_id))
						 AND NOT EXISTS (SELECT FROM vibevideo.job j WHERE j.job_id = s.job_id AND vibevideo_internal.counts_no_more(j, s.kind)));
	IF beyond = 0 THEN
		FOREACH try IN ARRAY ARRAY[ceil(random() * most), ceil(random() * most), ceil(random() * most)]::int[] LOOP
			SELECT f.n INTO place FROM vibevideo_internal.slot f
			WHERE f.who = take_slot.who AND f.kind = take_slot.kind AND f.n = try
			  -- IS TRUE keeps the planner off the other index
			  AND (f.day < today) IS TRUE
			FOR NO KEY UPDATE SKIP LOCKED;
			EXIT WHEN FOUND;
		END LOOP;
	END IF;
	IF place IS NULL THEN
		free = ARRAY(SELECT f.n FROM vibevideo_internal.slot f
					 WHERE f.who = take_slot.who AND f.kind = take_slot.kind AND f.day < today AND f.n <= most
					 ORDER BY f.day LIMIT beyond + 1 FOR NO KEY UPDATE SKIP LOCKED);
		IF cardinality(free) <= beyond THEN
			-- somebody held them when their jobs ended
			free = free || ARRAY(SELECT f.n FROM vibevideo_internal.slot f LEFT JOIN vibevideo.job j ON j.job_id = f.job_id
								 WHERE f.who = take_slot.who AND f.kind = take_slot.kind AND f.day >= today AND f.n <= most
								   AND (j.job_id IS NULL AND f.kind = 'active' OR vibevideo_internal.counts_no_more(j, f.kind))
								 ORDER BY f.n LIMIT beyond + 1 - cardinality(free) FOR NO KEY UPDATE OF f SKIP LOCKED);
		END IF;
		place = free[beyond + 1];
	END IF;
	UPDATE vibevideo_internal.slot s SET day = until, job_id = take_slot.job_id
	WHERE s.who = take_slot.who AND s.kind = take_slot.kind AND s.n = place;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.take_slot(text, text, int, bigint, int) IS
	'takes one of a limit''s slots for a job, without waiting; false if there is none; owner only';

-- What is left in a till, or what is missing.  A transaction that began before midnight
-- finds tills of the time after, and spends from these: no time comes back.
CREATE FUNCTION vibevideo_internal.till_room(t vibevideo_internal.till, begins timestamptz)
RETURNS numeric LANGUAGE sql IMMUTABLE
RETURN (t).most - CASE WHEN (t).begins >= begins THEN (t).used ELSE 0 END;
COMMENT ON FUNCTION vibevideo_internal.till_room(vibevideo_internal.till, timestamptz) IS 'what is left in a till, a part of a budget; owner only';

-- How much each till of a budget is good for: a multiple of the cheapest price, of the
-- models in vibevideo.model or with an operator's price, so that with one price none of
-- it is left over.
CREATE FUNCTION vibevideo_internal.till_share(kind text, most numeric)
RETURNS numeric LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT u.unit * ceil(floor(till_share.most / u.unit) / 256)
	FROM (SELECT CASE WHEN till_share.kind LIKE 'submits%' THEN 1
				 ELSE least(till_share.most, (SELECT min(r.unit_price_usd * (coalesce(r.quantity_default, 1) + r.allowance)) FROM vibevideo.price_rule r
											  WHERE r.unit_price_usd > 0
												AND (r.source = 'operator' OR EXISTS (SELECT FROM vibevideo.model m WHERE m.endpoint = r.endpoint)))) END AS unit) u
	WHERE u.unit > 0;
END;
COMMENT ON FUNCTION vibevideo_internal.till_share(text, numeric) IS 'how much a till of a budget is good for; NULL of a budget of 0; owner only';

/*
 * vibevideo_internal.make_tills(who, kind, version, share, most, asking) - the same for a
 * budget: those that somebody holds stay a part of it, and what is used and not in these
 * fills new ones one after another.
 */
CREATE FUNCTION vibevideo_internal.make_tills(who text, kind text, version bigint[], share numeric, most numeric, asking bigint)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	-- jobs of this time are in the table, even if this transaction is older
	since constant timestamptz = vibevideo_internal.begin_of(kind, clock_timestamp());
	noted bigint[];
	room numeric;
	used numeric;
BEGIN
	IF NOT vibevideo_internal.begin_making(make_tills.who, make_tills.kind, version, share) THEN
		RETURN;
	END IF;
	noted = vibevideo_internal.drop_tills(make_tills.who, make_tills.kind);
	-- in one statement, so that all is of one moment
	WITH notes AS (
		INSERT INTO vibevideo_internal.share_taken (job_id, who, kind, begins, used)
		SELECT n.job_id, make_tills.who, make_tills.kind, since, n.share
		FROM (SELECT j.job_id, j.created_at, vibevideo_internal.share(make_tills.kind, j.cost_usd, true) AS share
			  FROM vibevideo_internal.counted_jobs(make_tills.who, NULL, make_tills.asking) j
			  WHERE vibevideo_internal.share(make_tills.kind, j.cost_usd, true) > 0
			  UNION ALL
			  -- of one that has ended, too: a change that is not committed may be due to it
			  SELECT j.job_id, j.created_at, vibevideo_internal.share(make_tills.kind, vibevideo_internal.counted_usd(j), vibevideo_internal.counts(j))
			  FROM vibevideo.job j WHERE j.job_id = ANY (noted) AND NOT vibevideo.is_active(j.state)) n
		WHERE n.created_at >= since
		  -- looked for here, since a conflict waits for who is deleting it
		  AND NOT EXISTS (SELECT FROM vibevideo_internal.share_taken t
						  WHERE t.job_id = n.job_id AND t.who = make_tills.who AND t.kind = make_tills.kind)
		ON CONFLICT DO NOTHING)
	SELECT make_tills.most - coalesce(sum(x.most), 0),
		   vibevideo_internal.used_of(make_tills.who, make_tills.kind, since, make_tills.asking)
		   - coalesce(sum(x.used) FILTER (WHERE x.begins >= since), 0)
		   + (SELECT coalesce(sum(t.used - d.used), 0)
			  FROM vibevideo_internal.share_taken t
			  CROSS JOIN LATERAL (SELECT y.used FROM vibevideo_internal.share_due y
								  WHERE y.who = t.who AND y.kind = t.kind AND y.job_id = t.job_id ORDER BY y.n DESC LIMIT 1) d
			  WHERE t.who = make_tills.who AND t.kind = make_tills.kind AND t.begins >= since)
	INTO room, used
	FROM vibevideo_internal.till x WHERE x.who = make_tills.who AND x.kind = make_tills.kind;
	WITH made AS (
		INSERT INTO vibevideo_internal.till (who, kind, n, begins, used, most)
		SELECT make_tills.who, make_tills.kind, nextval('vibevideo_internal.refund_seq'), since,
			   greatest(0, least(g.most, used - (g.i - 1) * share)), g.most
		FROM (SELECT i, least(share, room - (i - 1) * share) AS most FROM generate_series(1, ceil(room / share)::int) i) g
		RETURNING n)
	UPDATE vibevideo_internal.counted c SET (first_till, tills) = (SELECT min(m.n), count(*) FROM made m)
	WHERE c.who = make_tills.who AND c.kind = make_tills.kind;
	-- those that are held are good for more than all of it, as after a limit was lowered
	INSERT INTO vibevideo_internal.till (who, kind, n, begins, used, most)
	SELECT make_tills.who, make_tills.kind, nextval('vibevideo_internal.refund_seq'), since, 0, room WHERE room < 0;
	-- more is used than there is, or less than those that are held say
	PERFORM vibevideo_internal.change_used(make_tills.who, make_tills.kind, CASE WHEN used < 0 THEN used ELSE greatest(0, used - greatest(0, room)) END, since);
END
$$;
COMMENT ON FUNCTION vibevideo_internal.make_tills(text, text, bigint[], numeric, numeric, bigint) IS 'makes a budget''s tills from the jobs that count; owner only';

-- What somebody holds at the moment is left as it is.
CREATE FUNCTION vibevideo_internal.drop_tills(who text, kind text, OUT noted bigint[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM vibevideo_internal.till t
	WHERE t.ctid = ANY (ARRAY(SELECT x.ctid FROM vibevideo_internal.till x WHERE x.who = drop_tills.who AND x.kind = drop_tills.kind FOR UPDATE SKIP LOCKED));
	WITH gone AS (
		DELETE FROM vibevideo_internal.share_taken t
		WHERE t.ctid = ANY (ARRAY(SELECT x.ctid FROM vibevideo_internal.share_taken x WHERE x.who = drop_tills.who AND x.kind = drop_tills.kind FOR UPDATE SKIP LOCKED))
		RETURNING t.job_id)
	SELECT array_agg(g.job_id) INTO noted FROM gone g;
	-- what is due of notes that are still there stays due
	WITH gone AS (
		DELETE FROM vibevideo_internal.share_due d
		WHERE d.ctid = ANY (ARRAY(SELECT x.ctid FROM vibevideo_internal.share_due x
								  WHERE x.who = drop_tills.who AND x.kind = drop_tills.kind
									AND NOT EXISTS (SELECT FROM vibevideo_internal.share_taken t WHERE t.job_id = x.job_id AND t.who = x.who AND t.kind = x.kind)
								  FOR UPDATE OF x SKIP LOCKED))
		RETURNING d.job_id)
	SELECT noted || array_agg(g.job_id) INTO noted FROM gone g;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.drop_tills(text, text) IS 'drops of a budget''s tills what nobody holds; noted: the jobs of which there were notes; owner only';

-- The slots and tills of a limit that are not made, or for what it was before.
CREATE FUNCTION vibevideo_internal.unmade(l vibevideo.limit)
RETURNS TABLE (kind text, most numeric, share numeric, version bigint[]) LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT v.kind, v.most, v.share, o.version
	FROM (SELECT s.n, s.kind, s.most, NULL::numeric AS share
		  FROM (VALUES (1, 'active', l.max_active::numeric), (2, 'submits', l.submits_per_day::numeric)) AS s(n, kind, most)
		  UNION ALL
		  SELECT 3, b.kind, b.most, vibevideo_internal.till_share(b.kind, b.most) FROM vibevideo_internal.budgets(l) b) v
	CROSS JOIN vibevideo_internal.version_of(l.who) o
	WHERE v.most > 0
	  AND NOT EXISTS (SELECT FROM vibevideo_internal.counted c
					  WHERE c.who = l.who AND c.kind = v.kind AND vibevideo_internal.is_made(c, o.version, v.share))
	ORDER BY v.n, v.kind;
END;
COMMENT ON FUNCTION vibevideo_internal.unmade(vibevideo.limit) IS 'kinds of a limit whose slots or tills are to be made; owner only';

-- Makes them, for a job that asks, or for whom it may concern.
CREATE FUNCTION vibevideo_internal.make_limits(requested_by text, tenant text, model text, asking bigint DEFAULT NULL)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m record;
BEGIN
	FOR m IN SELECT l.who, u.kind, u.most, u.share, u.version
			 FROM vibevideo_internal.limits_for(make_limits.requested_by, make_limits.tenant, make_limits.model) l CROSS JOIN LATERAL vibevideo_internal.unmade(l) u LOOP
		IF m.share IS NULL THEN
			PERFORM vibevideo_internal.make_slots(m.who, m.kind, m.version, m.most::int, make_limits.asking);
		ELSE
			PERFORM vibevideo_internal.make_tills(m.who, m.kind, m.version, m.share, m.most, make_limits.asking);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.make_limits(text, text, text, bigint) IS 'makes the slots and tills that a job needs; owner only';

-- Without statistics the planner takes one index for as good as the other, and reads all
-- slots to find one: it has them as soon as there are many, not when autovacuum comes.
CREATE FUNCTION vibevideo_internal.know_counters()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t regclass;
BEGIN
	FOR t IN SELECT c.oid FROM pg_class c
			 WHERE c.oid IN ('vibevideo_internal.slot'::regclass, 'vibevideo_internal.till'::regclass, 'vibevideo_internal.share_taken'::regclass)
			   AND c.reltuples < 0 AND pg_relation_size(c.oid) > 65536 LOOP
		EXECUTE format('ANALYZE (SKIP_LOCKED) %s', t);
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.know_counters() IS 'has the planner know the slots and tills, once there are many; owner only';

-- Notes what a job has taken of a budget.
CREATE FUNCTION vibevideo_internal.note_share(job_id bigint, who text, kind text, begins timestamptz, used numeric)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO vibevideo_internal.share_taken AS t (job_id, who, kind, begins, used)
	VALUES (note_share.job_id, note_share.who, note_share.kind, note_share.begins, note_share.used)
	ON CONFLICT ON CONSTRAINT share_taken_pkey DO UPDATE SET begins = EXCLUDED.begins, used = EXCLUDED.used;
END;
COMMENT ON FUNCTION vibevideo_internal.note_share(bigint, text, text, timestamptz, numeric) IS 'notes what a job has taken of a budget; owner only';

/*
 * vibevideo_internal.take_budget(who, kind, most, cost) - takes a job's share from a budget;
 * returns what is missing of it, 0 if nothing.  What a till lacks is taken from others.
 */
CREATE FUNCTION vibevideo_internal.take_budget(who text, kind text, most numeric, cost numeric)
RETURNS numeric LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	since constant timestamptz = vibevideo_internal.begin_of(kind, now());
	needed numeric = cost;
	t record;
BEGIN
	IF cost = 0 OR most = 0 THEN
		RETURN cost;
	END IF;

	-- any one that has enough
	SELECT x.n, needed AS room INTO t FROM vibevideo_internal.till x
	WHERE x.who = take_budget.who AND x.kind = take_budget.kind
	  AND x.n = (SELECT c.first_till + floor(random() * c.tills)::int FROM vibevideo_internal.counted c WHERE c.who = take_budget.who AND c.kind = take_budget.kind)
	  AND vibevideo_internal.till_room(x, since) >= needed
	FOR NO KEY UPDATE SKIP LOCKED;
	LOOP
		IF t.n IS NULL THEN
			-- the smallest that is enough, else the largest
			SELECT x.n, vibevideo_internal.till_room(x, since) AS room INTO t
			FROM vibevideo_internal.till x
			WHERE x.who = take_budget.who AND x.kind = take_budget.kind AND vibevideo_internal.till_room(x, since) > 0
			ORDER BY vibevideo_internal.till_room(x, since) >= needed DESC, abs(vibevideo_internal.till_room(x, since) - needed), x.n
			LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
			EXIT WHEN NOT FOUND;
		END IF;
		UPDATE vibevideo_internal.till x
		SET begins = greatest(x.begins, since), used = CASE WHEN x.begins >= since THEN x.used ELSE 0 END + least(needed, t.room)
		WHERE x.who = take_budget.who AND x.kind = take_budget.kind AND x.n = t.n;
		needed = needed - least(needed, t.room);
		EXIT WHEN needed = 0;
		t.n = NULL;
	END LOOP;
	RETURN needed;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.take_budget(text, text, numeric, numeric) IS
	'takes a job''s share from a budget, without waiting; returns what is missing; owner only';

-- Raises what the caller of a submit sees.  How much others may ask for together is
-- not revealed to a single user.
CREATE FUNCTION vibevideo_internal.over_limit(who text, limit_name text, most numeric, used text, sql_state text, message text,
											  come_back text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = sql_state,
		MESSAGE = message,
		DETAIL = CASE split_part(who, ':', 1)
			WHEN 'global' THEN format('Limit %s of all users together is reached.', limit_name)
			WHEN 'tenant' THEN format('Limit %s of tenant %s is reached.', limit_name, vibevideo_internal.shown(substr(who, length('tenant:') + 1)))
			WHEN 'model' THEN format('Limit %s of model %s is reached.', limit_name, vibevideo_internal.shown(substr(who, length('model:') + 1)))
			ELSE format('Limit %s of user %s is %s, %s.', limit_name, vibevideo_internal.shown(substr(who, length('user:') + 1)),
						trim_scale(most), used) END,
		HINT = come_back;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.over_limit(text, text, numeric, text, text, text, text) IS
	'raises PT429 or PT402 for a job that is over a limit; owner only';

-- The name of the limit that is a budget of this kind.
CREATE FUNCTION vibevideo_internal.budget_name(kind text)
RETURNS text LANGUAGE sql IMMUTABLE
RETURN split_part(kind, '_', 1) || '_per_' || split_part(kind, '_', 2) || CASE WHEN kind LIKE 'spend%' THEN '_usd' ELSE '' END;
COMMENT ON FUNCTION vibevideo_internal.budget_name(text) IS 'the column of vibevideo.limit that is a budget of this kind; owner only';

-- Whether a budget counts for a job, and nothing may be spent that is not known.
CREATE FUNCTION vibevideo_internal.refuses_unknown_price(requested_by text, tenant text DEFAULT NULL, model text DEFAULT NULL)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN current_setting('vibevideo.unknown_price') = 'refuse'
	AND EXISTS (SELECT FROM vibevideo_internal.limits_for(requested_by, tenant, model) x
				WHERE coalesce(x.spend_per_hour_usd, x.spend_per_day_usd, x.spend_per_month_usd) IS NOT NULL);
COMMENT ON FUNCTION vibevideo_internal.refuses_unknown_price(text, text, text) IS 'whether a video is refused whose price is not known; owner only';

-- When the limits of an hour, a day or a month begin anew, for people.
CREATE FUNCTION vibevideo_internal.next_time(kind text)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT format('Come back after %s UTC, in %s.', to_char(n.begins AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),
				  concat_ws(' ', CASE WHEN n.minutes >= 1440 THEN n.minutes / 1440 || ' d' END,
							CASE WHEN next_time.kind NOT LIKE '%hour' THEN n.minutes % 1440 / 60 || ' h' END,
							CASE WHEN next_time.kind LIKE '%hour' THEN n.minutes ELSE n.minutes % 60 END || ' min'))
	FROM (SELECT x.begins, ceil(extract(epoch FROM x.begins - now()) / 60)::int AS minutes
		  FROM (SELECT (vibevideo_internal.begin_of(next_time.kind, now()) AT TIME ZONE 'UTC' + ('1 ' || split_part(next_time.kind, '_', 2))::interval)
					   AT TIME ZONE 'UTC' AS begins) x) n;
END;
COMMENT ON FUNCTION vibevideo_internal.next_time(text) IS 'when the limits of an hour, a day or a month begin anew; owner only';

/*
 * vibevideo_internal.reserve_budget(job, limit, kind, most, held_jobs, held_usd) - takes a
 * job's share of one budget.  What is held beyond it must be there as well: of the
 * journal, what was sent for nobody, and of the tills what had to be spent though there
 * was none.
 */
CREATE FUNCTION vibevideo_internal.reserve_budget(j vibevideo.job, who text, kind text, most numeric, held_jobs int, held_usd numeric)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	since constant timestamptz = vibevideo_internal.begin_of(kind, now());
	name constant text = vibevideo_internal.budget_name(kind);
	counts constant boolean = kind LIKE 'submits%';
	cost constant numeric = vibevideo_internal.share(kind, j.cost_usd, true);
	held numeric = CASE WHEN counts THEN held_jobs ELSE held_usd END;
	missing numeric;
	used numeric;
	-- of what is missing some is held by submits that are under way and may yet fail
	come_back text;
	used_up text;
BEGIN
	IF cost = 0 THEN
		RETURN;
	END IF;
	PERFORM vibevideo_internal.settle_due(reserve_budget.who, reserve_budget.kind);
	held = held + (SELECT coalesce(-sum(vibevideo_internal.till_room(t, since)), 0) FROM vibevideo_internal.till t
				   WHERE t.who = reserve_budget.who AND t.kind = reserve_budget.kind AND vibevideo_internal.till_room(t, since) < 0);
	missing = vibevideo_internal.take_budget(reserve_budget.who, reserve_budget.kind, most, cost + held);
	IF missing = 0 THEN
		PERFORM vibevideo_internal.note_share(j.job_id, reserve_budget.who, reserve_budget.kind, since, cost);
		IF held > 0 THEN
			PERFORM vibevideo_internal.put_back(reserve_budget.who, reserve_budget.kind, held,
				(SELECT max(t.begins) FROM vibevideo_internal.till t WHERE t.who = reserve_budget.who AND t.kind = reserve_budget.kind AND t.most > 0));
		END IF;
	ELSE
		SELECT coalesce(sum(t.used), 0) - (cost + held - missing) INTO used
		FROM vibevideo_internal.till t WHERE t.who = reserve_budget.who AND t.kind = reserve_budget.kind AND t.begins >= since;
		come_back = CASE WHEN cost > most THEN 'Ask whoever runs this service.'
						 WHEN used + cost <= most THEN 'Other requests are in progress; come back in a few seconds.' ELSE vibevideo_internal.next_time(kind) END;
		used_up = CASE WHEN counts THEN 'all used up' ELSE format('%s is spent or reserved, and this video costs %s', trim_scale(used), trim_scale(cost)) END;
		IF kind = 'submits_hour' THEN
			PERFORM vibevideo_internal.over_limit(reserve_budget.who, name, most, used_up, 'PT429', 'no more videos can be requested this hour', come_back);
		ELSIF kind = 'submits_month' THEN
			PERFORM vibevideo_internal.over_limit(reserve_budget.who, name, most, used_up, 'PT429', 'no more videos can be requested this month', come_back);
		ELSIF kind = 'spend_hour' THEN
			PERFORM vibevideo_internal.over_limit(reserve_budget.who, name, most, used_up, 'PT402', 'this hour''s budget does not allow this video', come_back);
		ELSIF kind = 'spend_day' THEN
			PERFORM vibevideo_internal.over_limit(reserve_budget.who, name, most, used_up, 'PT402', 'today''s budget does not allow this video', come_back);
		ELSE
			PERFORM vibevideo_internal.over_limit(reserve_budget.who, name, most, used_up, 'PT402', 'this month''s budget does not allow this video', come_back);
		END IF;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.reserve_budget(vibevideo.job, text, text, numeric, int, numeric) IS
	'takes a job''s share of a budget; PT429, PT402; owner only';

/*
 * vibevideo_internal.make_limits_apart(requested_by, tenant, model, tries) - the same in a
 * process and a transaction of its own, so that nobody waits for an open one; false if it
 * could not be had within two seconds, or this transaction would not see it, or has made
 * some itself, for which that process would wait.
 */
CREATE FUNCTION vibevideo_internal.make_limits_apart(requested_by text, tenant text, model text, tries int)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_make_limits_apart';
COMMENT ON FUNCTION vibevideo_internal.make_limits_apart(text, text, text, int) IS
	'makes the slots and tills that a job needs, in a short transaction; false if that was not possible; owner only';

/*
 * vibevideo_internal.reserve(job) - takes what a new job needs from every limit that
 * counts for it: the user's, the tenant's, the model's, then the global ones; of each
 * first a place, then one of the day's, of the hour's and of the month's, then money,
 * of the hour, the day and the month.  Errors: PT429 too many at a time or in some time,
 * PT402 too expensive; DETAIL says which limit, HINT when to come back.
 */
CREATE FUNCTION vibevideo_internal.reserve(j vibevideo.job)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	limits vibevideo.limit[];
	l vibevideo.limit;
	b record;
	held record;
	next_end interval;
	tries int = 0;
BEGIN
	IF j.cost_usd IS NULL AND vibevideo_internal.refuses_unknown_price(j.requested_by, j.tenant, j.model) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT402',
			MESSAGE = 'the price of this video is not known',
			DETAIL = format('Spending is limited, and no rule has a price of %s for this input: SELECT vibevideo.set_price(%L, ...).', j.model, j.model),
			HINT = 'Ask whoever runs this service.';
	END IF;
	LOOP
		limits = ARRAY(SELECT x FROM vibevideo_internal.limits_for(j.requested_by, j.tenant, j.model) x);
		EXIT WHEN NOT EXISTS (SELECT FROM unnest(limits) x CROSS JOIN LATERAL vibevideo_internal.unmade(x));
		-- again, if a limit was changed meanwhile; but not for ever: one of this transaction is seen by nobody else
		tries = tries + 1;
		IF NOT vibevideo_internal.make_limits_apart(j.requested_by, j.tenant, j.model, tries) THEN
			PERFORM vibevideo_internal.make_limits(j.requested_by, j.tenant, j.model, j.job_id);
			EXIT;
		END IF;
	END LOOP;
	FOREACH l IN ARRAY limits LOOP
		-- the journal knows whose they are, but not which tenant's and of which model
		SELECT n.* INTO held FROM vibevideo_internal.sent_for_nobody(CASE WHEN l.who LIKE 'user:%' THEN j.requested_by END) n;
		IF l.max_active IS NOT NULL AND NOT vibevideo_internal.take_slot(l.who, 'active', l.max_active, j.job_id, held.jobs) THEN
			SELECT min(coalesce(c.submitted_at, now()) + m.usual_seconds * interval '1 s' - now()) INTO next_end
			FROM vibevideo_internal.counted_jobs(l.who) c JOIN vibevideo.model m ON m.endpoint = c.model;
			PERFORM vibevideo_internal.over_limit(l.who, 'max_active', l.max_active, 'all in use', 'PT429', 'too many videos are active',
				CASE WHEN l.max_active = 0 THEN 'Ask whoever runs this service.'
				WHEN next_end > '0' THEN format('Come back when one of them is done, in about %s seconds.',
												ceil(extract(epoch FROM next_end)))
				ELSE 'Come back when one of them is done.' END);
		END IF;
		IF l.submits_per_day IS NOT NULL AND NOT vibevideo_internal.take_slot(l.who, 'submits', l.submits_per_day, j.job_id, held.jobs) THEN
			PERFORM vibevideo_internal.over_limit(l.who, 'submits_per_day', l.submits_per_day, 'all used up', 'PT429',
												  'no more videos can be requested today', vibevideo_internal.next_time('submits_day'));
		END IF;
		FOR b IN SELECT x.kind, x.most FROM vibevideo_internal.budgets(l) x LOOP
			PERFORM vibevideo_internal.reserve_budget(j, l.who, b.kind, b.most, held.jobs, held.usd);
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.reserve(vibevideo.job) IS
	'takes what a new job needs from every limit that counts for it; PT429, PT402; owner only';

/*
 * vibevideo_internal.take_orphans_share(job) - an orphan takes what it needs even over a
 * limit: it was sent.  Waits for nobody: where slots or tills are not made it leaves its
 * share beside them, for who is making them now; who does later drops that.
 */
CREATE FUNCTION vibevideo_internal.take_orphans_share(j vibevideo.job)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	today constant date = vibevideo_internal.today();
	l vibevideo.limit;
	s record;
	unmade text[];
	since timestamptz;
	share numeric;
BEGIN
	FOR l IN SELECT x.* FROM vibevideo_internal.limits_for(j.requested_by, j.tenant, j.model) x LOOP
		unmade = ARRAY(SELECT u.kind FROM vibevideo_internal.unmade(l) u);
		FOR s IN SELECT v.kind, v.most, v.until
				 FROM (VALUES ('active', l.max_active, 'infinity'::date), ('submits', l.submits_per_day, today)) AS v(kind, most, until)
				 WHERE v.most IS NOT NULL LOOP
			IF s.kind = ANY (unmade) OR NOT vibevideo_internal.take_slot(l.who, s.kind, s.most, j.job_id) THEN
				INSERT INTO vibevideo_internal.slot (who, kind, n, day, job_id)
				VALUES (l.who, s.kind, nextval('vibevideo_internal.refund_seq'), s.until, j.job_id);
			END IF;
		END LOOP;
		FOR s IN SELECT b.kind, b.most FROM vibevideo_internal.budgets(l) b LOOP
			share = vibevideo_internal.share(s.kind, j.cost_usd, true);
			since = vibevideo_internal.begin_of(s.kind, j.created_at);
			-- it belongs to the time in which it was requested, even if this transaction is as old
			CONTINUE WHEN share = 0 OR since < vibevideo_internal.begin_of(s.kind, clock_timestamp());
			PERFORM vibevideo_internal.note_share(j.job_id, l.who, s.kind, since, share);
			IF s.kind <> ALL (unmade) THEN
				share = vibevideo_internal.take_budget(l.who, s.kind, s.most, share);
			END IF;
			PERFORM vibevideo_internal.change_used(l.who, s.kind, share, since);
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.take_orphans_share(vibevideo.job) IS
	'what a submit that was rolled back takes from the limits, and be it more than there is; owner only';

/*
 * vibevideo_internal.take_share(job) - a new job takes its share of the limits.  An
 * attempt that we start by ourselves must not break the transaction that records
 * the one before: over a limit it has failed from the beginning.
 */
CREATE FUNCTION vibevideo_internal.take_share(j vibevideo.job)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	detail text;
BEGIN
	IF j.renders = 1 THEN
		PERFORM vibevideo_internal.reserve(j);
		RETURN;
	END IF;
	BEGIN
		PERFORM vibevideo_internal.reserve(j);
	EXCEPTION WHEN SQLSTATE 'PT429' OR SQLSTATE 'PT402' THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		-- it has taken nothing, so it costs nothing that could be given back
		UPDATE vibevideo.job x SET state = 'failed', error_code = 'limit', next_at = NULL, completed_at = now(), cost_usd = 0,
			error = format('no new attempt was made: %s. %s', SQLERRM, detail)
		WHERE x.job_id = j.job_id;
	END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.take_share(vibevideo.job) IS 'a new job takes its share of the limits; PT429, PT402; owner only';

-- What comes back goes into a till that nobody else holds, else into one of its own.
CREATE FUNCTION vibevideo_internal.put_back(who text, kind text, amount numeric, begins timestamptz)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE vibevideo_internal.till t SET used = t.used - amount
	WHERE t.who = put_back.who AND t.kind = put_back.kind
	  AND t.n = (SELECT x.n FROM vibevideo_internal.till x
				 WHERE x.who = put_back.who AND x.kind = put_back.kind AND x.begins = put_back.begins AND x.used >= amount
				 ORDER BY x.n LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED);
	IF NOT FOUND THEN
		INSERT INTO vibevideo_internal.till (who, kind, n, begins, used, most)
		VALUES (put_back.who, put_back.kind, nextval('vibevideo_internal.refund_seq'), put_back.begins, -amount, 0);
	END IF;
	DELETE FROM vibevideo_internal.till t WHERE t.ctid = ANY (ARRAY(
		SELECT x.ctid FROM vibevideo_internal.till x
		WHERE x.who = put_back.who AND x.kind = put_back.kind AND x.most = 0 AND x.begins < vibevideo_internal.begin_of(put_back.kind, now())
		LIMIT 1000 FOR UPDATE SKIP LOCKED));
END
$$;
COMMENT ON FUNCTION vibevideo_internal.put_back(text, text, numeric, timestamptz) IS 'gives something back to a budget, without waiting; owner only';

-- Less was used than a budget's tills say, or more: that takes what there is not.
CREATE FUNCTION vibevideo_internal.change_used(who text, kind text, amount numeric, begins timestamptz)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF amount < 0 THEN
		PERFORM vibevideo_internal.put_back(change_used.who, change_used.kind, -amount, change_used.begins);
	ELSIF amount > 0 THEN
		INSERT INTO vibevideo_internal.till (who, kind, n, begins, used, most)
		VALUES (change_used.who, change_used.kind, nextval('vibevideo_internal.refund_seq'), change_used.begins, change_used.amount, 0);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.change_used(text, text, numeric, timestamptz) IS 'adds to what was used of a budget, or takes from it, without waiting; owner only';

/*
 * vibevideo_internal.settle_due(who, kind) - does what whoever ended jobs, or gave them another
 * cost, had to leave.  The notes stay until their time is over, since a change that is
 * not committed may be due to them; what is not noted was counted when it had ended.
 */
CREATE FUNCTION vibevideo_internal.settle_due(who text, kind text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	j record;
	t record;
	is_noted boolean;
	is_due numeric;
	seen bigint[];
BEGIN
	FOR j IN SELECT DISTINCT x.job_id FROM vibevideo_internal.share_due x WHERE x.who = settle_due.who AND x.kind = settle_due.kind LOOP
		SELECT x.used, x.begins INTO t FROM vibevideo_internal.share_taken x
		WHERE x.job_id = j.job_id AND x.who = settle_due.who AND x.kind = settle_due.kind FOR UPDATE SKIP LOCKED;
		is_noted = FOUND;
		CONTINUE WHEN NOT is_noted AND EXISTS (SELECT FROM vibevideo_internal.share_taken x
											   WHERE x.job_id = j.job_id AND x.who = settle_due.who AND x.kind = settle_due.kind);
		SELECT array_agg(x.n), (array_agg(x.used ORDER BY x.n DESC))[1] INTO seen, is_due FROM vibevideo_internal.share_due x
		WHERE x.who = settle_due.who AND x.kind = settle_due.kind AND x.job_id = j.job_id;
		IF NOT is_noted THEN
			-- it was counted as one that had ended, and goes on
			PERFORM vibevideo_internal.note_share(x.job_id, settle_due.who, settle_due.kind, vibevideo_internal.begin_of(settle_due.kind, x.created_at), is_due)
			FROM vibevideo.job x WHERE x.job_id = j.job_id AND vibevideo.is_active(x.state);
		ELSIF is_due <> t.used THEN
			UPDATE vibevideo_internal.share_taken x SET used = is_due
			WHERE x.job_id = j.job_id AND x.who = settle_due.who AND x.kind = settle_due.kind;
			IF t.begins >= vibevideo_internal.begin_of(settle_due.kind, now()) THEN
				PERFORM vibevideo_internal.change_used(settle_due.who, settle_due.kind, is_due - t.used, t.begins);
			END IF;
		END IF;
		DELETE FROM vibevideo_internal.share_due d
		USING (SELECT x.n FROM vibevideo_internal.share_due x
			   WHERE x.who = settle_due.who AND x.kind = settle_due.kind AND x.job_id = j.job_id AND x.n = ANY (seen) FOR UPDATE SKIP LOCKED) u
		WHERE d.who = settle_due.who AND d.kind = settle_due.kind AND d.job_id = j.job_id AND d.n = u.n;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.settle_due(text, text) IS 'gives to a budget, or takes from it, what is due; owner only';

-- Gives back the slots of a job that ended: its place among the active ones, and that
-- of the day too if it does not count.  Waits for nobody: a slot that somebody
-- holds, since all are being made anew, is taken back by who needs one.
CREATE FUNCTION vibevideo_internal.free_slots(ended vibevideo.job)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	today constant date = vibevideo_internal.today();
	counts constant boolean = vibevideo_internal.counts(ended);
BEGIN
	UPDATE vibevideo_internal.slot s SET day = '-infinity', job_id = NULL
	FROM (SELECT x.who, x.kind, x.n FROM vibevideo_internal.slot x WHERE x.job_id = ended.job_id AND x.n <= 1000000
			AND x.day >= today AND (x.kind = 'active' OR NOT counts) FOR NO KEY UPDATE SKIP LOCKED) h
	WHERE s.who = h.who AND s.kind = h.kind AND s.n = h.n;
	DELETE FROM vibevideo_internal.slot s
	USING (SELECT x.who, x.kind, x.n FROM vibevideo_internal.slot x WHERE x.job_id = ended.job_id AND x.n > 1000000
			 AND (x.kind = 'active' OR NOT counts OR x.day < today) FOR UPDATE SKIP LOCKED) h
	WHERE s.who = h.who AND s.kind = h.kind AND s.n = h.n;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.free_slots(vibevideo.job) IS 'gives back the slots of a job that ended; owner only';

-- fal.ai has billed a job that had ended and given back its place of the day.
CREATE FUNCTION vibevideo_internal.take_late_slot(j vibevideo.job)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	INSERT INTO vibevideo_internal.slot (who, kind, n, day, job_id)
	SELECT c.who, c.kind, nextval('vibevideo_internal.refund_seq'), (j.created_at AT TIME ZONE 'UTC')::date, j.job_id
	FROM (SELECT l.who, 'submits' AS kind FROM vibevideo_internal.limits_for(j.requested_by, j.tenant, j.model) l WHERE l.submits_per_day IS NOT NULL) c
	WHERE (j.created_at AT TIME ZONE 'UTC')::date >= vibevideo_internal.today()
	  AND NOT EXISTS (SELECT FROM vibevideo_internal.slot s WHERE s.who = c.who AND s.kind = c.kind AND s.job_id = j.job_id);
END
$$;
COMMENT ON FUNCTION vibevideo_internal.take_late_slot(vibevideo.job) IS 'has a job count as one of its day though it had ended as one that is not billed; owner only';

/*
 * vibevideo_internal.change_share(job, who, kind, was, is, had_ended) - a job counts for
 * something else in a budget than it did.  Waits for nobody: what cannot be changed now
 * is due.
 */
CREATE FUNCTION vibevideo_internal.change_share(j vibevideo.job, who text, kind text, was numeric, share numeric, had_ended boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	begins constant timestamptz = vibevideo_internal.begin_of(kind, j.created_at);
	ends constant boolean = NOT vibevideo.is_active(j.state);
	is_due boolean = EXISTS (SELECT FROM vibevideo_internal.share_due d
							 WHERE d.who = change_share.who AND d.kind = change_share.kind AND d.job_id = j.job_id);
	taken numeric;
BEGIN
	IF NOT is_due THEN
		SELECT t.used INTO taken FROM vibevideo_internal.share_taken t
		WHERE t.job_id = j.job_id AND t.who = change_share.who AND t.kind = change_share.kind FOR UPDATE SKIP LOCKED;
		-- it has taken something: somebody holds the note of it, or is making it
		is_due = NOT FOUND AND (NOT had_ended AND was > 0
			OR EXISTS (SELECT FROM vibevideo_internal.share_taken t
					   WHERE t.job_id = j.job_id AND t.who = change_share.who AND t.kind = change_share.kind));
	END IF;
	IF is_due THEN
		INSERT INTO vibevideo_internal.share_due (who, kind, job_id, n, used)
		VALUES (change_share.who, change_share.kind, j.job_id, nextval('vibevideo_internal.refund_seq'), share);
		RETURN;
	END IF;
	IF ends THEN
		DELETE FROM vibevideo_internal.share_taken t
		WHERE t.job_id = j.job_id AND t.who = change_share.who AND t.kind = change_share.kind;
	ELSE
		PERFORM vibevideo_internal.note_share(j.job_id, change_share.who, change_share.kind, begins, share);
	END IF;
	PERFORM vibevideo_internal.change_used(change_share.who, change_share.kind, share - coalesce(taken, was), begins);
END
$$;
COMMENT ON FUNCTION vibevideo_internal.change_share(vibevideo.job, text, text, numeric, numeric, boolean) IS
	'changes what a job counts for in a budget, without waiting; owner only';

/*
 * vibevideo_internal.spend(job, was, counted, had_ended) - a job costs something else than
 * it did, or no longer counts, or does again: the difference goes back to the budgets of
 * its time, or is taken from them and be it more than there is.
 */
CREATE FUNCTION vibevideo_internal.spend(j vibevideo.job, was numeric, counted boolean, had_ended boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	b record;
BEGIN
	FOR b IN SELECT l.who, x.kind FROM vibevideo_internal.limits_for(j.requested_by, j.tenant, j.model) l CROSS JOIN LATERAL vibevideo_internal.budgets(l) x LOOP
		CONTINUE WHEN vibevideo_internal.begin_of(b.kind, j.created_at) < vibevideo_internal.begin_of(b.kind, now());
		PERFORM vibevideo_internal.change_share(j, b.who, b.kind, vibevideo_internal.share(b.kind, was, spend.counted),
			vibevideo_internal.share(b.kind, vibevideo_internal.counted_usd(j), vibevideo_internal.counts(j)), had_ended);
	END LOOP;
	-- of a time that is over, or of a limit that is no more
	IF NOT vibevideo.is_active(j.state) THEN
		DELETE FROM vibevideo_internal.share_taken t
		USING (SELECT x.who, x.kind FROM vibevideo_internal.share_taken x WHERE x.job_id = j.job_id
				 AND NOT EXISTS (SELECT FROM vibevideo_internal.share_due d WHERE d.who = x.who AND d.kind = x.kind AND d.job_id = x.job_id)
			   FOR UPDATE SKIP LOCKED) u
		WHERE t.job_id = j.job_id AND t.who = u.who AND t.kind = u.kind;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.spend(vibevideo.job, numeric, boolean, boolean) IS 'takes from budgets what a job costs more than before, or gives back what it costs less; owner only';

-- Refuses what is no scope of limits; a null is left to the column.
CREATE FUNCTION vibevideo_internal.check_limit_scope(scope text, sql_state text)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF scope NOT IN ('global', 'default', 'user', 'default_tenant', 'tenant', 'model') THEN
		RAISE EXCEPTION USING
			ERRCODE = sql_state,
			MESSAGE = 'the scope of a limit must be global, default, user, default_tenant, tenant or model';
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_limit_scope(text, text) IS 'refuses what is no scope of limits; owner only';

-- The key is made of scope and whom it is for: without this an error would be about
-- column who, which nobody wrote.
CREATE FUNCTION vibevideo_internal.limit_changing()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	wanted record;
BEGIN
	PERFORM vibevideo_internal.check_limit_scope(NEW.scope, 'check_violation');
	IF 'NaN' IN (NEW.spend_per_hour_usd, NEW.spend_per_day_usd, NEW.spend_per_month_usd) THEN
		RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'a limit must be a number';
	END IF;
	FOR wanted IN SELECT v.* FROM (VALUES ('user', 'user_id', NEW.user_id), ('tenant', 'tenant', NEW.tenant), ('model', 'model', NEW.model)) AS v(scope, name, value) LOOP
		IF NEW.scope = wanted.scope AND wanted.value IS NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'check_violation',
				MESSAGE = format('a limit of scope %s needs a %s', wanted.scope, wanted.name),
				HINT = CASE wanted.scope
					WHEN 'user' THEN 'Fill in user_id, or set scope to default, for each user without a limit of their own, or to global, for all together.'
					WHEN 'tenant' THEN 'Fill in tenant, or set scope to default_tenant, for each tenant without a limit of its own.'
					ELSE 'Fill in model, fal.ai''s endpoint id.' END;
		ELSIF NEW.scope <> wanted.scope AND wanted.value IS NOT NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'check_violation',
				MESSAGE = format('a limit of scope %s has no %s', NEW.scope, wanted.name),
				HINT = format('Leave out %s, or set scope to %s.', wanted.name, wanted.scope);
		END IF;
	END LOOP;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.limit_changing() IS 'trigger: refuses a limit whose user_id does not fit its scope';
CREATE TRIGGER limit_changing BEFORE INSERT OR UPDATE ON vibevideo.limit
	FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.limit_changing();

-- A default is everybody's.
CREATE FUNCTION vibevideo_internal.is_among(who text, changed text[])
RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN who = ANY (changed) OR who LIKE 'user:%' AND 'default' = ANY (changed) OR who LIKE 'tenant:%' AND 'default_tenant' = ANY (changed);
COMMENT ON FUNCTION vibevideo_internal.is_among(text, text[]) IS 'whether limits that have changed are this one''s; owner only';

-- A limit has another version.  A block of its own writes it, and so with the newest id of
-- a transaction that there is: whatever has an older one may not have seen the limit.
CREATE FUNCTION vibevideo_internal.new_version(who text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	own constant bigint = pg_current_xact_id()::text::bigint;
	newest bigint;
BEGIN
	BEGIN
		INSERT INTO vibevideo_internal.limit_version AS v (who, version, seen_from)
		VALUES (new_version.who, nextval('vibevideo_internal.refund_seq'), '0')
		ON CONFLICT ON CONSTRAINT limit_version_pkey DO UPDATE SET version = EXCLUDED.version
		RETURNING v.xmin::text::bigint INTO newest;
	EXCEPTION WHEN assert_failure THEN
		RAISE;
	END;
	-- a row has the lower half of the id
	newest = (own & ~4294967295) | newest;
	UPDATE vibevideo_internal.limit_version v SET seen_from = (newest + CASE WHEN newest < own THEN 4294967296 ELSE 0 END)::text::xid8
	WHERE v.who = new_version.who;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.new_version(text) IS 'gives a limit that has changed another version; owner only';

-- A limit that changes is counted anew, from the jobs, by the next submit, and of one
-- that is gone nothing is left.  This waits for the commit, since submits could have none
-- of what an open transaction has deleted.
CREATE FUNCTION vibevideo_internal.limit_changed()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changed constant text[] = ARRAY[CASE WHEN TG_OP <> 'INSERT' THEN OLD.who END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.who END];
	gone record;
BEGIN
	-- also where there is none any more: meanwhile nobody counts
	FOR gone IN SELECT DISTINCT u.who FROM unnest(changed) AS u(who) WHERE u.who IS NOT NULL ORDER BY 1 LOOP
		PERFORM vibevideo_internal.new_version(gone.who);
	END LOOP;
	FOR gone IN SELECT c.who, c.kind FROM vibevideo_internal.counted c
				WHERE c.who = ANY (changed) OR TG_OP = 'DELETE' AND vibevideo_internal.is_among(c.who, changed) FOR UPDATE SKIP LOCKED LOOP
		DELETE FROM vibevideo_internal.counted c WHERE c.who = gone.who AND c.kind = gone.kind;
		PERFORM vibevideo_internal.drop_slots(gone.who, gone.kind);
		PERFORM vibevideo_internal.drop_tills(gone.who, gone.kind);
	END LOOP;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.limit_changed() IS 'trigger: has a changed limit counted anew';
CREATE CONSTRAINT TRIGGER limit_changed AFTER INSERT OR UPDATE OR DELETE ON vibevideo.limit
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.limit_changed();
ALTER TABLE vibevideo.limit ENABLE ALWAYS TRIGGER limit_changed;

/*
 * vibevideo_internal.room_at_fal(behind) - how many jobs vibevideo.max_active lets us
 * send now, NULL if it sets no limit.  behind: after those that are due already.
 * Calls that are sending at this moment do not see each other.
 */
CREATE FUNCTION vibevideo_internal.room_at_fal(behind boolean DEFAULT false)
RETURNS int LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	most constant int = current_setting('vibevideo.max_active');
	there int;
BEGIN
	IF most = 0 THEN
		RETURN NULL;
	END IF;
	SELECT count(*) INTO there FROM (
		(SELECT FROM vibevideo.job j WHERE j.state = 'submitting' LIMIT most)
		UNION ALL
		(SELECT FROM vibevideo.job j WHERE j.state IN ('queued', 'generating') LIMIT most)) j;
	IF behind AND there < most THEN
		there = there + (SELECT count(*) FROM (
			SELECT FROM vibevideo.job j WHERE j.state = 'pending' AND j.next_at <= clock_timestamp() LIMIT most) j);
	END IF;
	RETURN greatest(0, most - there);
END
$$;
COMMENT ON FUNCTION vibevideo_internal.room_at_fal(boolean) IS
	'how many jobs vibevideo.max_active lets us send now, NULL for any; owner only';
