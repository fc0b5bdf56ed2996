
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
 * slots and tills with numbers from 1000001, must be there once more before
 * anybody else gets anything.
 *
 * A submit holds its transaction open while it talks to fal, so nothing here
 * may make one submit wait for another.  A limit of n is n slots, rows that a
 * submit takes with SKIP LOCKED: two submits never want the same one, and what
 * an open transaction has taken nobody else can take.  A slot is free when its
 * day is in the past: those of a day free themselves at midnight, an active
 * job's has day infinity.  A budget is kept in up to 256 tills, each good for a
 * multiple of the cheapest price; what one lacks is gathered from others, and
 * what comes back goes into one that nobody holds, or into a new one, numbered
 * from 1000001.  Slots and tills are unlogged and only repeat what vibevideo.job
 * says.  They are made from it when they are first wanted: by the first submit
 * of a user, the first after a limit or a price was changed (triggers delete
 * them), the first after a crash, a restore or a failover.  Only then may another
 * submit of the same user wait.  Without a row in vibevideo.limit nothing of this
 * is touched.
 *
 * Locks are taken in one order, the user's before the global ones, and none
 * but those is waited for.  What ends a job writes only the job's own slots.
 */

-- Whose day it is: limits and costs are by days of UTC.
CREATE FUNCTION vibevideo_internal.today()
RETURNS date LANGUAGE sql STABLE
RETURN (now() AT TIME ZONE 'UTC')::date;
COMMENT ON FUNCTION vibevideo_internal.today() IS 'the day of UTC that limits and costs count by; owner only';

CREATE TABLE vibevideo.limit (
	scope text NOT NULL DEFAULT 'user' CHECK (scope OPERATOR(pg_catalog.=) ANY (ARRAY['global', 'default', 'user'])),
	user_id text,
	max_active int CHECK (max_active OPERATOR(pg_catalog.>=) -1 AND max_active OPERATOR(pg_catalog.<=) 10000),
	submits_per_day int CHECK (submits_per_day OPERATOR(pg_catalog.>=) -1 AND submits_per_day OPERATOR(pg_catalog.<=) 100000),
	spend_per_day_usd numeric(12, 4) CHECK (spend_per_day_usd OPERATOR(pg_catalog.>=) -1),
	who text COLLATE pg_catalog."C" PRIMARY KEY GENERATED ALWAYS AS
		(CASE scope WHEN 'user' THEN 'user:' OPERATOR(pg_catalog.||) user_id ELSE scope END) STORED,
	CHECK ((scope OPERATOR(pg_catalog.=) 'user') OPERATOR(pg_catalog.=) (user_id IS NOT NULL))
);
COMMENT ON TABLE vibevideo.limit IS
	'how much may be requested: scope global counts everybody together, default each user that has no row of scope user';
COMMENT ON COLUMN vibevideo.limit.scope IS 'global: everybody together; default: each user without a row of scope user; user: the one in user_id';
COMMENT ON COLUMN vibevideo.limit.user_id IS 'as in vibevideo.job.requested_by: the JWT''s sub, or what the table''s user_column says; NULL unless scope is user';
COMMENT ON COLUMN vibevideo.limit.max_active IS 'most active videos at a time, those being copied included (jobs at fal.ai have a setting of this name); NULL: the default''s limit, in default and global none; -1: unlimited, whatever the default; 0: no videos';
COMMENT ON COLUMN vibevideo.limit.submits_per_day IS 'most videos requested in a day of UTC, without failed and cancelled ones that cost nothing; NULL, -1 and 0 as for max_active';
COMMENT ON COLUMN vibevideo.limit.spend_per_day_usd IS 'most USD that the videos of a day of UTC can cost, active ones included; NULL, -1 and 0 as for max_active';
COMMENT ON COLUMN vibevideo.limit.who IS 'scope and user_id as one key: global, default, or user: and the user_id';
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

-- What was used on another day does not count.
CREATE UNLOGGED TABLE vibevideo_internal.till (
	who text COLLATE pg_catalog."C" NOT NULL,
	n bigint NOT NULL,
	day date NOT NULL DEFAULT '-infinity',
	used numeric NOT NULL DEFAULT 0,
	noted numeric,
	PRIMARY KEY (who, n)
) WITH (fillfactor = 70);
COMMENT ON TABLE vibevideo_internal.till IS 'a day''s budget in parts (tills), so that submits need not wait for each other: what is used of each; made anew from vibevideo.job when lost';
-- Whose slots and tills are made.  Those that a submit holds while a limit changes
-- stay, so that they do not say it.
CREATE UNLOGGED TABLE vibevideo_internal.counted (
	who text COLLATE pg_catalog."C" NOT NULL,
	kind text COLLATE pg_catalog."C" NOT NULL CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY['active', 'submits', 'spend'])),
	PRIMARY KEY (who, kind)
);
COMMENT ON TABLE vibevideo_internal.counted IS 'whose slots and tills are made, and need not be made anew from vibevideo.job';
-- Money that comes back goes into a till of its own if all others are held.
CREATE SEQUENCE vibevideo_internal.refund_seq START 1000001;

-- Finds a day's jobs; as good as free to keep, since jobs come in that order.
CREATE INDEX job_created ON vibevideo.job USING brin (created_at);

-- Refuses a user_column that is not there; NULL is none.
CREATE FUNCTION vibevideo_internal.check_user_column(relation regclass, user_column name)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	fits boolean;
	found_type text;
BEGIN
	IF user_column IS NULL THEN
		RETURN;
	END IF;
	SELECT vibevideo_internal.names_user(a.atttypid), format_type(a.atttypid, a.atttypmod) INTO fits, found_type
	FROM pg_attribute a
	WHERE a.attrelid = check_user_column.relation AND a.attname = check_user_column.user_column
	  AND a.attnum > 0 AND NOT a.attisdropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('table %s has no column "%s"', relation, user_column),
			HINT = 'Check user_column. Names are case-sensitive here.';
	ELSIF NOT fits THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datatype_mismatch',
			MESSAGE = format('column "%s" of %s has type %s', user_column, relation, found_type),
			HINT = 'user_column must hold a single value, as a uuid, a text or a number.';
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_user_column(regclass, name) IS 'refuses a user_column that is not there or cannot name a user; owner only';

-- The limits that count for a user, NULL where there is none: the user's own,
-- then everybody's.  A job that nobody is known for only counts for the latter.
CREATE FUNCTION vibevideo_internal.limits_for(requested_by text, OUT who text, OUT max_active int, OUT submits_per_day int,
											  OUT spend_per_day_usd numeric)
RETURNS SETOF record LANGUAGE plpgsql STABLE ROWS 2 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	SELECT 'user:' || limits_for.requested_by, nullif(coalesce(u.max_active, d.max_active), -1),
		   nullif(coalesce(u.submits_per_day, d.submits_per_day), -1),
		   nullif(coalesce(u.spend_per_day_usd, d.spend_per_day_usd), -1)
	INTO who, max_active, submits_per_day, spend_per_day_usd
	FROM (SELECT l.* FROM vibevideo.limit l WHERE l.who = 'user:' || limits_for.requested_by) u
	FULL JOIN (SELECT l.* FROM vibevideo.limit l WHERE l.who = 'default') d ON true;
	IF FOUND AND requested_by IS NOT NULL THEN
		RETURN NEXT;
	END IF;
	SELECT l.who, nullif(l.max_active, -1), nullif(l.submits_per_day, -1), nullif(l.spend_per_day_usd, -1)
	INTO who, max_active, submits_per_day, spend_per_day_usd
	FROM vibevideo.limit l WHERE l.who = 'global';
	IF FOUND THEN
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.limits_for(text) IS 'the limits that count for a user; owner only';

-- The jobs that count for a limit already when its slots or tills are made:
-- active ones, or today's that cost something, orphans included.  Those of this
-- transaction take their share themselves.
CREATE FUNCTION vibevideo_internal.counted_jobs(who text, kind text)
RETURNS SETOF vibevideo.job LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	name constant text = CASE WHEN who <> 'global' THEN substr(who, length('user:') + 1) END;
BEGIN
	IF kind = 'active' THEN
		RETURN QUERY SELECT j.* FROM vibevideo.job j
		WHERE vibevideo.is_active(j.state)
		  AND j.created_at <> now() AND (name IS NULL OR j.requested_by = name);
	ELSE
		RETURN QUERY SELECT j.* FROM vibevideo.job j
		WHERE j.created_at >= vibevideo_internal.today()::timestamp AT TIME ZONE 'UTC' AND (j.billed OR vibevideo.is_active(j.state))
		  AND j.created_at <> now() AND (name IS NULL OR j.requested_by = name);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.counted_jobs(text, text) IS 'the jobs that count for a limit when it is first used; owner only';

-- What was rolled back after its POST and is not an orphan yet.  The journal
-- knows of it before the worker does, so that a client who is quick cannot have
-- more than one that is slow.
CREATE FUNCTION vibevideo_internal.sent_for_nobody(user_id text, OUT jobs int, OUT usd numeric)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_sent_for_nobody';
COMMENT ON FUNCTION vibevideo_internal.sent_for_nobody(text) IS
	'submits of a user, NULL for everybody''s, that were rolled back and are not settled: how many, and their prices; owner only';

-- Has a job ended that counted for a limit of this kind?
CREATE FUNCTION vibevideo_internal.counts_no_more(j vibevideo.job, kind text)
RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN NOT vibevideo.is_active((j).state) AND (kind = 'active' OR NOT (j).billed);
COMMENT ON FUNCTION vibevideo_internal.counts_no_more(vibevideo.job, text) IS 'whether a job has ended that counted for a limit; owner only';

/*
 * vibevideo_internal.make_slots(who, kind, most) - makes the slots that are missing, and
 * those of a limit that is not counted all anew.  What a submit or whoever ends a
 * job holds at the moment is left as it is, and nobody is waited for but another
 * maker.
 */
CREATE FUNCTION vibevideo_internal.make_slots(who text, kind text, most int)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	INSERT INTO vibevideo_internal.counted (who, kind) VALUES (make_slots.who, make_slots.kind) ON CONFLICT DO NOTHING;
	IF FOUND THEN
		DELETE FROM vibevideo_internal.slot s
		USING (SELECT x.who, x.kind, x.n FROM vibevideo_internal.slot x WHERE x.who = make_slots.who AND x.kind = make_slots.kind
			   FOR UPDATE SKIP LOCKED) u
		WHERE s.who = u.who AND s.kind = u.kind AND s.n = u.n;
	END IF;
	INSERT INTO vibevideo_internal.slot (who, kind, n, day, job_id)
	SELECT make_slots.who, make_slots.kind, coalesce(f.n, nextval('vibevideo_internal.refund_seq')),
		   CASE WHEN c.job_id IS NULL THEN '-infinity' WHEN make_slots.kind = 'active' THEN 'infinity' ELSE c.day END, c.job_id
	FROM (SELECT g AS n, row_number() OVER (ORDER BY g) AS nth FROM generate_series(1, most) g
		  WHERE NOT EXISTS (SELECT FROM vibevideo_internal.slot s WHERE s.who = make_slots.who AND s.kind = make_slots.kind AND s.n = g)) f
	FULL JOIN (SELECT row_number() OVER (ORDER BY j.job_id) AS nth, j.job_id, (j.created_at AT TIME ZONE 'UTC')::date AS day
			   FROM vibevideo_internal.counted_jobs(make_slots.who, make_slots.kind) j
			   WHERE NOT EXISTS (SELECT FROM vibevideo_internal.slot s
								 WHERE s.who = make_slots.who AND s.kind = make_slots.kind AND s.job_id = j.job_id)) c USING (nth)
	ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.make_slots(text, text, int) IS 'makes a limit''s slots from the jobs that count; owner only';

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
	ELSIF NOT EXISTS (SELECT FROM vibevideo_internal.counted c WHERE c.who = take_slot.who AND c.kind = take_slot.kind)
		  OR NOT EXISTS (SELECT FROM vibevideo_internal.slot s WHERE s.who = take_slot.who AND s.kind = take_slot.kind AND s.n = most)
	THEN
		PERFORM vibevideo_internal.make_slots(take_slot.who, take_slot.kind, most);
	END IF;
	beyond = beyond + (SELECT count(*) FROM vibevideo_internal.slot s
					   WHERE s.who = take_slot.who AND s.kind = take_slot.kind AND s.n > most AND s.day >= today
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
			free = free || ARRAY(SELECT f.n FROM vibevideo_internal.slot f JOIN vibevideo.job j ON j.job_id = f.job_id
								 WHERE f.who = take_slot.who AND f.kind = take_slot.kind AND f.day >= today AND f.n <= most
								   AND vibevideo_internal.counts_no_more(j, f.kind)
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

-- What is left in a till today.  Those of a budget are numbered from 1 and hold
-- share each, the last one the rest; all others only hold what came back, or what
-- had to be spent though there was none.  A transaction that began before midnight
-- finds tills of the day after today, and spends from these: no day comes back.
CREATE FUNCTION vibevideo_internal.till_room(t vibevideo_internal.till, share numeric, most numeric, today date)
RETURNS numeric LANGUAGE sql IMMUTABLE
RETURN greatest(0, least(share, most - ((t).n - 1) * share)) - CASE WHEN (t).day >= today THEN (t).used ELSE 0 END;
COMMENT ON FUNCTION vibevideo_internal.till_room(vibevideo_internal.till, numeric, numeric, date) IS 'what is left in a till, a part of a day''s budget; owner only';

-- An empty till with this number notes what of a job is in the others though it
-- has not taken it itself: they were made when it was active already, or it is an
-- orphan.
CREATE FUNCTION vibevideo_internal.counted_till(job_id bigint)
RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN 1000000000000 + job_id;
COMMENT ON FUNCTION vibevideo_internal.counted_till(bigint) IS 'the number of the till that notes what of a job was counted when the others were made; owner only';

-- A till with number 0 says that the others are to be made anew: a job that had ended
-- has got another cost, while somebody may have been making them.
CREATE FUNCTION vibevideo_internal.drop_outdated(who text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF EXISTS (SELECT FROM vibevideo_internal.till t WHERE t.who = drop_outdated.who AND t.n = 0) THEN
		DELETE FROM vibevideo_internal.counted c WHERE c.who = drop_outdated.who AND c.kind = 'spend';
		DELETE FROM vibevideo_internal.till t
		USING (SELECT x.who, x.n FROM vibevideo_internal.till x WHERE x.who = drop_outdated.who FOR UPDATE SKIP LOCKED) u
		WHERE t.who = u.who AND t.n = u.n;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.drop_outdated(text) IS 'drops a budget''s tills if they are to be made anew; owner only';

/*
 * vibevideo_internal.make_tills(who, share, most) - the same for a budget: what is spent
 * and not in a till that somebody holds fills the others one after another.
 */
CREATE FUNCTION vibevideo_internal.make_tills(who text, share numeric, most numeric)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	-- jobs of this day are in the table, even if this transaction is older
	day_made constant date = (clock_timestamp() AT TIME ZONE 'UTC')::date;
	spent numeric;
	filled numeric;
	missing record;
BEGIN
	INSERT INTO vibevideo_internal.counted (who, kind) VALUES (make_tills.who, 'spend') ON CONFLICT DO NOTHING;
	IF FOUND THEN
		DELETE FROM vibevideo_internal.till t
		USING (SELECT x.who, x.n FROM vibevideo_internal.till x WHERE x.who = make_tills.who FOR UPDATE SKIP LOCKED) u
		WHERE t.who = u.who AND t.n = u.n;
	END IF;
	spent = (SELECT coalesce(sum(j.cost_usd), 0) FROM vibevideo_internal.counted_jobs(make_tills.who, 'spend') j
			 WHERE j.created_at >= day_made::timestamp AT TIME ZONE 'UTC')
		-- what a till holds beyond its share would be forgotten
		- (SELECT coalesce(sum(CASE WHEN x.n > 1000000 THEN x.used
									ELSE least(x.used, x.used + vibevideo_internal.till_room(x, share, most, day_made)) END), 0) FROM vibevideo_internal.till x
		   WHERE x.who = make_tills.who AND x.day >= day_made);
	FOR missing IN SELECT g AS n, greatest(0, least(share, most - (g - 1) * share)) AS room, lead(g) OVER (ORDER BY g) AS next
			 FROM generate_series(1, ceil(most / share)::int) g
			 WHERE NOT EXISTS (SELECT FROM vibevideo_internal.till x WHERE x.who = make_tills.who AND x.n = g)
			 ORDER BY g
	LOOP
		filled = greatest(0, CASE WHEN missing.next IS NULL THEN spent ELSE least(missing.room, spent) END);
		spent = spent - filled;
		INSERT INTO vibevideo_internal.till (who, n, day, used) VALUES (make_tills.who, missing.n, day_made, filled) ON CONFLICT DO NOTHING;
	END LOOP;
	-- who settles one of these before our commit sees nothing that it could give back to
	INSERT INTO vibevideo_internal.till (who, n, day, used, noted)
	SELECT make_tills.who, vibevideo_internal.counted_till(j.job_id), day_made, 0, j.cost_usd
	FROM vibevideo_internal.counted_jobs(make_tills.who, 'spend') j
	WHERE vibevideo.is_active(j.state) AND j.cost_usd > 0 AND j.created_at >= day_made::timestamp AT TIME ZONE 'UTC'
	ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.make_tills(text, numeric, numeric) IS 'makes a budget''s tills from the jobs that count; owner only';

/*
 * vibevideo_internal.take_budget(who, most, cost) - takes a job's cost from a budget;
 * returns what is missing of it, 0 if nothing.
 *
 * A till is good for a multiple of the cheapest price, of the models in
 * vibevideo.model or with an operator's price, so that with one price none of it is
 * left over; what a till lacks is taken from others.
 */
CREATE FUNCTION vibevideo_internal.take_budget(who text, most numeric, cost numeric)
RETURNS numeric LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	most_tills constant int = 256;
	today constant date = vibevideo_internal.today();
	needed numeric = cost;
	first int;
	unit numeric;
	share numeric;
	tills int;
	t record;
BEGIN
	IF cost = 0 OR most = 0 THEN
		RETURN cost;
	END IF;
	unit = least(most, (SELECT min(r.unit_price_usd * (coalesce(r.quantity_default, 1) + r.allowance)) FROM vibevideo.price_rule r
						WHERE r.unit_price_usd > 0
						  AND (r.source = 'operator' OR EXISTS (SELECT FROM vibevideo.model m WHERE m.endpoint = r.endpoint))));
	share = unit * ceil(floor(most / unit) / most_tills);
	tills = ceil(most / share);
	IF NOT EXISTS (SELECT FROM vibevideo_internal.counted c WHERE c.who = take_budget.who AND c.kind = 'spend')
	   OR NOT EXISTS (SELECT FROM vibevideo_internal.till x WHERE x.who = take_budget.who AND x.n = tills)
	THEN
		PERFORM vibevideo_internal.make_tills(take_budget.who, share, most);
	END IF;

	-- any one that has enough
	first = ceil(random() * tills);
	SELECT x.n, needed AS room INTO t FROM vibevideo_internal.till x
	WHERE x.who = take_budget.who AND x.n = first
	  AND vibevideo_internal.till_room(x, share, most, today) >= needed
	FOR NO KEY UPDATE SKIP LOCKED;
	LOOP
		IF t.n IS NULL THEN
			-- the smallest that is enough, else the largest
			SELECT x.n, vibevideo_internal.till_room(x, share, most, today) AS room INTO t
			FROM vibevideo_internal.till x
			WHERE x.who = take_budget.who AND vibevideo_internal.till_room(x, share, most, today) > 0
			ORDER BY vibevideo_internal.till_room(x, share, most, today) >= needed DESC,
					 abs(vibevideo_internal.till_room(x, share, most, today) - needed), x.n
			LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
			EXIT WHEN NOT FOUND;
		END IF;
		UPDATE vibevideo_internal.till x
		SET day = greatest(x.day, today), used = CASE WHEN x.day >= today THEN x.used ELSE 0 END + least(needed, t.room)
		WHERE x.who = take_budget.who AND x.n = t.n;
		needed = needed - least(needed, t.room);
		EXIT WHEN needed = 0;
		t.n = NULL;
	END LOOP;
	RETURN needed;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.take_budget(text, numeric, numeric) IS
	'takes a job''s cost from a day''s budget, without waiting; returns what is missing; owner only';

-- Raises what the caller of a submit sees.  How much everybody together may
-- ask for is not revealed to a single user.
CREATE FUNCTION vibevideo_internal.over_limit(who text, limit_name text, most numeric, used text, sql_state text, message text,
											  come_back text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = sql_state,
		MESSAGE = message,
		DETAIL = CASE WHEN who = 'global' THEN format('Limit %s of all users together is reached.', limit_name)
				 ELSE format('Limit %s of user %s is %s, %s.', limit_name, vibevideo_internal.shown(substr(who, length('user:') + 1)),
							 trim_scale(most), used) END,
		HINT = come_back;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.over_limit(text, text, numeric, text, text, text, text) IS
	'raises PT429 or PT402 for a job that is over a limit; owner only';

-- Whether a budget counts for a user, and nothing may be spent that is not known.
CREATE FUNCTION vibevideo_internal.refuses_unknown_price(requested_by text)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN current_setting('vibevideo.unknown_price') = 'refuse'
	AND EXISTS (SELECT FROM vibevideo_internal.limits_for(requested_by) x WHERE x.spend_per_day_usd IS NOT NULL);
COMMENT ON FUNCTION vibevideo_internal.refuses_unknown_price(text) IS 'whether a video of a user is refused whose price is not known; owner only';

-- When a day's limits begin anew, for people.
CREATE FUNCTION vibevideo_internal.next_day()
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = ISO
RETURN format('Come back after %s 00:00 UTC, in %s.', vibevideo_internal.today() + 1,
			  to_char((vibevideo_internal.today() + 1)::timestamp AT TIME ZONE 'UTC' - now() + '59 s'::interval, 'FMHH24 "h" FMMI "min"'));
COMMENT ON FUNCTION vibevideo_internal.next_day() IS 'when a day''s limits begin anew; owner only';

/*
 * vibevideo_internal.reserve(job) - takes what a new job needs from every limit that
 * counts for it, the user's before the global ones; of each first a place, then one
 * of the day's, then money.  Errors: PT429 too many at a time or a day, PT402 too
 * expensive; DETAIL says which limit, HINT when to come back.
 */
CREATE FUNCTION vibevideo_internal.reserve(j vibevideo.job)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	today constant date = vibevideo_internal.today();
	cost constant numeric = coalesce(j.cost_usd, 0);
	l record;
	held record;
	missing numeric;
	spent numeric;
	next_end interval;
BEGIN
	IF j.cost_usd IS NULL AND vibevideo_internal.refuses_unknown_price(j.requested_by) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT402',
			MESSAGE = 'the price of this video is not known',
			DETAIL = format('Spending is limited, and no rule has a price of %s for this input: SELECT vibevideo.set_price(%L, ...).', j.model, j.model),
			HINT = 'Ask whoever runs this service.';
	END IF;
	FOR l IN SELECT x.* FROM vibevideo_internal.limits_for(j.requested_by) x LOOP
		SELECT n.* INTO held FROM vibevideo_internal.sent_for_nobody(CASE WHEN l.who <> 'global' THEN j.requested_by END) n;
		IF l.max_active IS NOT NULL AND NOT vibevideo_internal.take_slot(l.who, 'active', l.max_active, j.job_id, held.jobs) THEN
			SELECT min(coalesce(c.submitted_at, now()) + m.usual_seconds * interval '1 s' - now()) INTO next_end
			FROM vibevideo_internal.counted_jobs(l.who, 'active') c JOIN vibevideo.model m ON m.endpoint = c.model;
			PERFORM vibevideo_internal.over_limit(l.who, 'max_active', l.max_active, 'all in use', 'PT429', 'too many videos are active',
				CASE WHEN l.max_active = 0 THEN 'Ask whoever runs this service.'
				WHEN next_end > '0' THEN format('Come back when one of them is done, in about %s seconds.',
												ceil(extract(epoch FROM next_end)))
				ELSE 'Come back when one of them is done.' END);
		END IF;
		IF l.submits_per_day IS NOT NULL AND NOT vibevideo_internal.take_slot(l.who, 'submits', l.submits_per_day, j.job_id, held.jobs) THEN
			PERFORM vibevideo_internal.over_limit(l.who, 'submits_per_day', l.submits_per_day, 'all used up', 'PT429',
												  'no more videos can be requested today', vibevideo_internal.next_day());
		END IF;
		CONTINUE WHEN l.spend_per_day_usd IS NULL OR cost = 0;
		PERFORM vibevideo_internal.drop_outdated(l.who);
		PERFORM vibevideo_internal.settle_counted(l.who);
		-- the same with money: what is held beyond the limit must be there as well
		held.usd = held.usd + (SELECT coalesce(sum(t.used), 0) FROM vibevideo_internal.till t
							   WHERE t.who = l.who AND t.n > 1000000 AND t.day >= today AND t.used > 0);
		missing = vibevideo_internal.take_budget(l.who, l.spend_per_day_usd, cost + held.usd);
		IF missing = 0 AND held.usd > 0 THEN
			PERFORM vibevideo_internal.put_back(l.who, held.usd, (SELECT max(t.day) FROM vibevideo_internal.till t
																  WHERE t.who = l.who AND t.n <= 1000000));
		ELSIF missing > 0 THEN
			SELECT coalesce(sum(t.used), 0) - (cost + held.usd - missing) INTO spent
			FROM vibevideo_internal.till t WHERE t.who = l.who AND t.day >= today;
			PERFORM vibevideo_internal.over_limit(l.who, 'spend_per_day_usd', l.spend_per_day_usd, format('spent are %s, and this video costs %s', trim_scale(spent), trim_scale(cost)),
				'PT402', 'today''s budget does not allow this video',
				-- what is missing is held by submits that are under way and may yet fail
				CASE WHEN spent + cost <= l.spend_per_day_usd THEN 'Other requests are in progress; come back in a few seconds.'
				ELSE vibevideo_internal.next_day() END);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.reserve(vibevideo.job) IS
	'takes what a new job needs from every limit that counts for it; PT429, PT402; owner only';

/*
 * vibevideo_internal.take_orphans_share(job) - an orphan takes what it needs even over a
 * limit: it was sent.  Only from slots and tills that are there: those made
 * later are made from it, too.  Waits for nobody.
 */
CREATE FUNCTION vibevideo_internal.take_orphans_share(j vibevideo.job)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	today constant date = vibevideo_internal.today();
	l record;
	missing numeric;
BEGIN
	FOR l IN
		SELECT x.who, s.kind, s.most, s.until, x.spend_per_day_usd FROM vibevideo_internal.limits_for(j.requested_by) x
		CROSS JOIN LATERAL (VALUES ('active', x.max_active, 'infinity'::date), ('submits', x.submits_per_day, today)) AS s(kind, most, until)
	LOOP
		IF EXISTS (SELECT FROM vibevideo_internal.counted c WHERE c.who = l.who AND c.kind = l.kind)
		   AND EXISTS (SELECT FROM vibevideo_internal.slot s WHERE s.who = l.who AND s.kind = l.kind AND s.n = l.most)
		   AND NOT vibevideo_internal.take_slot(l.who, l.kind, l.most, j.job_id)
		THEN
			INSERT INTO vibevideo_internal.slot (who, kind, n, day, job_id)
			VALUES (l.who, l.kind, nextval('vibevideo_internal.refund_seq'), l.until, j.job_id);
		END IF;
		CONTINUE WHEN l.kind <> 'active' OR l.spend_per_day_usd IS NULL OR coalesce(j.cost_usd, 0) = 0
			OR NOT EXISTS (SELECT FROM vibevideo_internal.counted c WHERE c.who = l.who AND c.kind = 'spend');
		missing = vibevideo_internal.take_budget(l.who, l.spend_per_day_usd, j.cost_usd);
		-- it gives back no more than it has taken
		INSERT INTO vibevideo_internal.till (who, n, day, used, noted)
		VALUES (l.who, vibevideo_internal.counted_till(j.job_id), today, 0, j.cost_usd);
		IF missing > 0 THEN
			INSERT INTO vibevideo_internal.till (who, n, day, used) VALUES (l.who, nextval('vibevideo_internal.refund_seq'), today, missing);
		END IF;
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

-- Money comes back into a till that nobody else holds, else into one of its own.
CREATE FUNCTION vibevideo_internal.put_back(who text, usd numeric, day date)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE vibevideo_internal.till t SET used = t.used - usd
	WHERE t.who = put_back.who
	  AND t.n = (SELECT x.n FROM vibevideo_internal.till x
				 WHERE x.who = put_back.who AND x.day = put_back.day AND x.used >= usd
				 ORDER BY x.n LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED);
	IF NOT FOUND THEN
		INSERT INTO vibevideo_internal.till (who, n, day, used) VALUES (put_back.who, nextval('vibevideo_internal.refund_seq'), put_back.day, -usd);
	END IF;
	DELETE FROM vibevideo_internal.till t WHERE t.who = put_back.who AND t.n IN (
		SELECT x.n FROM vibevideo_internal.till x WHERE x.who = put_back.who AND x.n > 1000000 AND x.day < vibevideo_internal.today()
		LIMIT 1000 FOR UPDATE SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION vibevideo_internal.put_back(text, numeric, date) IS 'gives money back to a day''s budget, without waiting; owner only';

-- Less was spent on a day than its tills say, or more: that takes what there is not.
CREATE FUNCTION vibevideo_internal.change_spent(who text, usd numeric, day date)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF usd < 0 THEN
		PERFORM vibevideo_internal.put_back(change_spent.who, -usd, change_spent.day);
	ELSIF usd > 0 THEN
		INSERT INTO vibevideo_internal.till (who, n, day, used)
		VALUES (change_spent.who, nextval('vibevideo_internal.refund_seq'), change_spent.day, change_spent.usd);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.change_spent(text, numeric, date) IS 'adds to what was spent of a day''s budget, or takes from it, without waiting; owner only';

-- Of the jobs that were counted when a budget's tills were made, the costs have
-- changed of those that were settled before anybody could see these.
CREATE FUNCTION vibevideo_internal.settle_counted(who text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
BEGIN
	FOR t IN
		SELECT x.n, x.day, coalesce(j.cost_usd, 0) AS cost, x.noted, vibevideo.is_active(j.state) AS active
		FROM vibevideo_internal.till x JOIN vibevideo.job j ON j.job_id = x.n - vibevideo_internal.counted_till(0)
		WHERE x.who = settle_counted.who AND x.n > vibevideo_internal.counted_till(0)
		  AND (NOT vibevideo.is_active(j.state) OR coalesce(j.cost_usd, 0) <> x.noted)
		FOR UPDATE OF x SKIP LOCKED
	LOOP
		IF t.active THEN
			UPDATE vibevideo_internal.till x SET noted = t.cost WHERE x.who = settle_counted.who AND x.n = t.n;
		ELSE
			DELETE FROM vibevideo_internal.till x WHERE x.who = settle_counted.who AND x.n = t.n;
		END IF;
		IF t.day >= vibevideo_internal.today() THEN
			PERFORM vibevideo_internal.change_spent(settle_counted.who, t.cost - t.noted, t.day);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.settle_counted(text) IS
	'settles the costs of jobs that were settled while a budget''s tills were made; owner only';

-- Gives back the slots of a job that ended: its place among the active ones, and that
-- of the day too if it is not billed.  Waits for nobody: a slot that somebody
-- holds, since all are being made anew, is taken back by who needs one.
CREATE FUNCTION vibevideo_internal.free_slots(ended vibevideo.job)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	today constant date = vibevideo_internal.today();
BEGIN
	UPDATE vibevideo_internal.slot s SET day = '-infinity', job_id = NULL
	FROM (SELECT x.who, x.kind, x.n FROM vibevideo_internal.slot x WHERE x.job_id = ended.job_id AND x.n <= 1000000
			AND x.day >= today AND (x.kind = 'active' OR NOT ended.billed) FOR NO KEY UPDATE SKIP LOCKED) h
	WHERE s.who = h.who AND s.kind = h.kind AND s.n = h.n;
	DELETE FROM vibevideo_internal.slot s
	USING (SELECT x.who, x.kind, x.n FROM vibevideo_internal.slot x WHERE x.job_id = ended.job_id AND x.n > 1000000
			 AND (x.kind = 'active' OR NOT ended.billed OR x.day < today) FOR UPDATE SKIP LOCKED) h
	WHERE s.who = h.who AND s.kind = h.kind AND s.n = h.n;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.free_slots(vibevideo.job) IS 'gives back the slots of a job that ended; owner only';

-- fal.ai has billed a job that had ended and given back its place of the day.
CREATE FUNCTION vibevideo_internal.take_late_slot(j vibevideo.job)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO vibevideo_internal.slot (who, kind, n, day, job_id)
	SELECT c.who, c.kind, nextval('vibevideo_internal.refund_seq'), (j.created_at AT TIME ZONE 'UTC')::date, j.job_id
	FROM vibevideo_internal.counted c
	WHERE c.who = ANY (ARRAY['user:' || j.requested_by, 'global']) AND c.kind = 'submits'
	  AND (j.created_at AT TIME ZONE 'UTC')::date >= vibevideo_internal.today()
	  AND NOT EXISTS (SELECT FROM vibevideo_internal.slot s WHERE s.who = c.who AND s.kind = c.kind AND s.job_id = j.job_id);
END;
COMMENT ON FUNCTION vibevideo_internal.take_late_slot(vibevideo.job) IS 'has a job count as one of its day though it had ended as one that is not billed; owner only';

/*
 * vibevideo_internal.spend(job, was, had_ended) - a job costs something else than it did:
 * the difference goes back to today's budgets, or is taken from them and be it more
 * than there is.  Waits for nobody: while tills are made, settle_counted does it
 * afterwards or, for a job that had ended and was not noted, they are made anew.
 */
CREATE FUNCTION vibevideo_internal.spend(j vibevideo.job, was numeric, had_ended boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	day constant date = (j.created_at AT TIME ZONE 'UTC')::date;
	cost constant numeric = coalesce(j.cost_usd, 0);
	note constant bigint = vibevideo_internal.counted_till(j.job_id);
	ends constant boolean = NOT vibevideo.is_active(j.state);
	payer text;
	t record;
BEGIN
	IF day < vibevideo_internal.today() THEN
		RETURN;
	END IF;
	FOREACH payer IN ARRAY ARRAY['user:' || j.requested_by, 'global'] LOOP
		CONTINUE WHEN payer IS NULL;
		IF NOT EXISTS (SELECT FROM vibevideo_internal.counted c WHERE c.who = payer AND c.kind = 'spend') THEN
			IF had_ended THEN
				INSERT INTO vibevideo_internal.till (who, n, day) VALUES (payer, 0, day) ON CONFLICT DO NOTHING;
			END IF;
			CONTINUE;
		END IF;
		SELECT x.n, x.noted INTO t FROM vibevideo_internal.till x WHERE x.who = payer AND x.n = note FOR UPDATE SKIP LOCKED;
		IF NOT FOUND THEN
			-- they are about to be made anew, or were made without this orphan
			CONTINUE WHEN EXISTS (SELECT FROM vibevideo_internal.till x WHERE x.who = payer AND x.n = note) OR j.orphan AND NOT had_ended;
			PERFORM vibevideo_internal.change_spent(payer, cost - coalesce(was, 0), day);
			CONTINUE;
		END IF;
		IF ends THEN
			DELETE FROM vibevideo_internal.till x WHERE x.who = payer AND x.n = note;
		ELSE
			UPDATE vibevideo_internal.till x SET noted = cost WHERE x.who = payer AND x.n = note;
		END IF;
		PERFORM vibevideo_internal.change_spent(payer, cost - t.noted, day);
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.spend(vibevideo.job, numeric, boolean) IS 'takes from today''s budgets what a job costs more than before, or gives back what it costs less; owner only';

-- The key is made of scope and user_id: without this an error would be about column
-- who, which nobody wrote.
CREATE FUNCTION vibevideo_internal.limit_changing()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NEW.scope = 'user' AND NEW.user_id IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'check_violation',
			MESSAGE = 'a limit of scope user needs a user_id',
			HINT = 'Fill in user_id, or set scope to default, for each user without a limit of their own, or to global, for all together.';
	ELSIF NEW.scope IN ('global', 'default') AND NEW.user_id IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'check_violation',
			MESSAGE = format('a limit of scope %s has no user_id', NEW.scope),
			HINT = 'Leave out user_id, or set scope to user.';
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.limit_changing() IS 'trigger: refuses a limit whose user_id does not fit its scope';
CREATE TRIGGER limit_changing BEFORE INSERT OR UPDATE ON vibevideo.limit
	FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.limit_changing();

-- A limit that changes is counted anew, from the jobs, by the next submit.  All of
-- this waits for the commit, since submits could have none of what an open
-- transaction has deleted; what submits hold then is left to make_slots.  At a
-- commit there is nothing left of vibevideo.set_limit's rights.
CREATE FUNCTION vibevideo_internal.limit_changed()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changed constant text[] = ARRAY[CASE WHEN TG_OP <> 'INSERT' THEN OLD.who END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.who END];
BEGIN
	DELETE FROM vibevideo_internal.counted c WHERE c.who = ANY (changed) OR 'default' = ANY (changed) AND c.who <> 'global';
	DELETE FROM vibevideo_internal.slot s
	USING (SELECT x.who, x.kind, x.n FROM vibevideo_internal.slot x
		   WHERE x.who = ANY (changed) OR 'default' = ANY (changed) AND x.who <> 'global' FOR UPDATE SKIP LOCKED) u
	WHERE s.who = u.who AND s.kind = u.kind AND s.n = u.n;
	DELETE FROM vibevideo_internal.till t
	USING (SELECT x.who, x.n FROM vibevideo_internal.till x
		   WHERE x.who = ANY (changed) OR 'default' = ANY (changed) AND x.who <> 'global' FOR UPDATE SKIP LOCKED) u
	WHERE t.who = u.who AND t.n = u.n;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.limit_changed() IS 'trigger: has a changed limit counted anew';
CREATE CONSTRAINT TRIGGER limit_changed AFTER INSERT OR UPDATE OR DELETE ON vibevideo.limit
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.limit_changed();
ALTER TABLE vibevideo.limit ENABLE ALWAYS TRIGGER limit_changed;

-- Tills are made for the prices.
CREATE FUNCTION vibevideo_internal.price_changed()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM vibevideo_internal.counted c WHERE c.kind = 'spend';
	DELETE FROM vibevideo_internal.till t USING (SELECT x.who, x.n FROM vibevideo_internal.till x FOR UPDATE SKIP LOCKED) u
	WHERE t.who = u.who AND t.n = u.n;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.price_changed() IS 'trigger: has what was spent counted anew when a price has changed';
CREATE CONSTRAINT TRIGGER price_changed AFTER INSERT OR UPDATE OR DELETE ON vibevideo.price_rule
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.price_changed();
ALTER TABLE vibevideo.price_rule ENABLE ALWAYS TRIGGER price_changed;
-- and for which models there are
CREATE CONSTRAINT TRIGGER price_changed AFTER INSERT OR UPDATE OR DELETE ON vibevideo.model
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.price_changed();
ALTER TABLE vibevideo.model ENABLE ALWAYS TRIGGER price_changed;

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
