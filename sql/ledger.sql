
-------------------------------------------------------------------------------
-- The ledger: what jobs cost, held against fal.ai's bill
-------------------------------------------------------------------------------

/*
 * fal.ai bills each output with an item, which appears some minutes later.  They are
 * read again and again for days, so that late ones are found, and kept in fal_usage.
 * An item has no number: it is known by its time, endpoint and request, and by which
 * of those that share these it is.  One that is read again changes its row, if
 * anything, so that the rows are always what fal.ai says at last.
 *
 * An item belongs to the job with its request id; without one to the only job that
 * fits it.  When the job has ended the bill wins: the job costs what its items say,
 * ours_usd keeps what we had thought.  Of a job that is not there any more past_unbilled
 * says whose it was, and the difference goes to new_costs.
 *
 * What is left is explained by nobody: items without a job, and jobs without an item.
 * The sums by day are kept by a trigger, so that nobody reads the history.
 */

CREATE TABLE vibevideo.fal_usage (
	event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL,
	endpoint text COLLATE pg_catalog."C" NOT NULL,
	request_id text COLLATE pg_catalog."C",
	nth int NOT NULL,
	units numeric,
	unit_price_usd numeric,
	percent_discount numeric,
	cost_usd numeric NOT NULL,
	auth_method text,
	seen_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	job_id bigint,
	user_id text COLLATE pg_catalog."C",
	tenant text COLLATE pg_catalog."C",
	requested_on date,
	ours_usd numeric,
	is_first boolean NOT NULL DEFAULT false,
	booked_usd numeric,
	booked_at timestamptz,
	-- it is a job's, which does not cost yet what it says
	due boolean NOT NULL DEFAULT false,
	explained_at timestamptz,
	explained_by text,
	note text
);
COMMENT ON TABLE vibevideo.fal_usage IS 'the items of fal.ai''s bill, and which job each is for; kept as long as vibevideo.rollup_retention';
COMMENT ON COLUMN vibevideo.fal_usage.event_id IS 'grows with each row';
COMMENT ON COLUMN vibevideo.fal_usage.at IS 'the time that fal.ai gives it; its day of UTC is its day in the ledger';
COMMENT ON COLUMN vibevideo.fal_usage.endpoint IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.fal_usage.request_id IS 'fal.ai''s id of the request; NULL if the item names none';
COMMENT ON COLUMN vibevideo.fal_usage.nth IS 'which of the items with the same time, endpoint and request it is, from 1; 0: no item, but what vibevideo.explain_usage says of a job without one';
COMMENT ON COLUMN vibevideo.fal_usage.units IS 'how many units are billed; NULL if the item does not say';
COMMENT ON COLUMN vibevideo.fal_usage.unit_price_usd IS 'what a unit costs before the discount, in USD; NULL if the item does not say';
COMMENT ON COLUMN vibevideo.fal_usage.percent_discount IS 'the discount; NULL: none';
COMMENT ON COLUMN vibevideo.fal_usage.cost_usd IS 'what fal.ai bills, in USD';
COMMENT ON COLUMN vibevideo.fal_usage.auth_method IS 'with which of the account''s keys the request was made, as fal.ai calls it; NULL if the item does not say';
COMMENT ON COLUMN vibevideo.fal_usage.seen_at IS 'when it was first read';
COMMENT ON COLUMN vibevideo.fal_usage.job_id IS 'the job that it is for; NULL: none is known';
COMMENT ON COLUMN vibevideo.fal_usage.user_id IS 'whose job that is; NULL if nobody is known, or until booked_at';
COMMENT ON COLUMN vibevideo.fal_usage.tenant IS 'whose user that is, as vibevideo.job says; NULL if there is no tenant, or until booked_at';
COMMENT ON COLUMN vibevideo.fal_usage.requested_on IS 'the day of UTC on which that job was requested, to which its costs belong; NULL until booked_at';
COMMENT ON COLUMN vibevideo.fal_usage.ours_usd IS 'what the job had cost by our books, before this item, in USD; 0 for a further item of a job; NULL if that was not known, or until booked_at';
COMMENT ON COLUMN vibevideo.fal_usage.is_first IS 'it is the first item of its job';
COMMENT ON COLUMN vibevideo.fal_usage.booked_usd IS 'what of it is among the costs, in USD; NULL until booked_at';
COMMENT ON COLUMN vibevideo.fal_usage.booked_at IS 'since when the job costs what its items say; NULL: it has not ended, or there is no job';
COMMENT ON COLUMN vibevideo.fal_usage.due IS 'it is to be booked: as soon as the job has ended';
COMMENT ON COLUMN vibevideo.fal_usage.explained_at IS 'when vibevideo.explain_usage was called for it; NULL: never';
COMMENT ON COLUMN vibevideo.fal_usage.explained_by IS 'by whom, as in vibevideo.audit; NULL: by nobody';
COMMENT ON COLUMN vibevideo.fal_usage.note IS 'what was said of it then; NULL: nothing';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.fal_usage', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.fal_usage_event_id_seq', '');
CREATE UNIQUE INDEX fal_usage_item ON vibevideo.fal_usage (at, endpoint, (COALESCE(request_id, '')), nth);
CREATE INDEX fal_usage_request ON vibevideo.fal_usage (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX fal_usage_job ON vibevideo.fal_usage (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX fal_usage_due ON vibevideo.fal_usage (job_id) WHERE due;
CREATE INDEX fal_usage_unmatched ON vibevideo.fal_usage (event_id) WHERE job_id IS NULL AND explained_at IS NULL;
CREATE INDEX fal_usage_unmatched_at ON vibevideo.fal_usage (at) WHERE job_id IS NULL AND explained_at IS NULL;

-- jobs that the bill has not spoken of; all are, where it is not read
CREATE INDEX job_unbilled ON vibevideo.job ((COALESCE(generated_at, completed_at)))
	WHERE billed AND (cost_source OPERATOR(pg_catalog.=) 'bill') IS NOT TRUE;

-- what budgets hold until the bill has spoken
CREATE INDEX job_held ON vibevideo.job (completed_at) WHERE held_usd IS NOT NULL;

-- How far the bill has been read.  There is no row before the first time.
CREATE TABLE vibevideo_internal.bill_state (
	only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
	covered_from timestamptz,
	read_at timestamptz,
	-- our keys, as fal.ai calls them
	keys text[] NOT NULL DEFAULT '{}',
	failing_since timestamptz,
	status int,
	why text
);
COMMENT ON TABLE vibevideo_internal.bill_state IS
	'how far fal.ai''s bill has been read: what appeared by read_at is known for all days since covered_from; since when, and why, reading fails';
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.bill_state', '');

-- Jobs that retention has deleted without an item.
CREATE TABLE vibevideo_internal.past_unbilled (
	job_id bigint PRIMARY KEY,
	request_id text COLLATE pg_catalog."C" NOT NULL,
	model text COLLATE pg_catalog."C" NOT NULL,
	user_id text COLLATE pg_catalog."C",
	tenant text COLLATE pg_catalog."C",
	requested_on date NOT NULL,
	at timestamptz NOT NULL,
	billed boolean NOT NULL,
	cost_usd numeric
);
COMMENT ON TABLE vibevideo_internal.past_unbilled IS 'jobs that are gone, and that fal.ai had not billed until then; billed: our books say that they cost';
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.past_unbilled', '');
CREATE INDEX past_unbilled_request ON vibevideo_internal.past_unbilled (request_id);
CREATE INDEX past_unbilled_at ON vibevideo_internal.past_unbilled (at) WHERE billed;

-- Sums of fal_usage, kept by its triggers as those of past_costs.
CREATE TABLE vibevideo_internal.usage_by_day (
	day date NOT NULL,
	model text COLLATE pg_catalog."C" NOT NULL,
	items bigint NOT NULL,
	jobs bigint NOT NULL,
	fal_usd numeric NOT NULL,
	ours_usd numeric NOT NULL,
	explained_usd numeric NOT NULL,
	corrected bigint NOT NULL,
	without_job bigint NOT NULL,
	open bigint NOT NULL,
	open_usd numeric NOT NULL,
	due bigint NOT NULL,
	PRIMARY KEY (day, model)
);
COMMENT ON TABLE vibevideo_internal.usage_by_day IS 'vibevideo.fal_usage by day of UTC and model; open: items without a job that nobody has explained';
CREATE INDEX usage_by_day_open ON vibevideo_internal.usage_by_day (day) WHERE open OPERATOR(pg_catalog.>) 0;

-- What one item adds to the sums of its day.
CREATE FUNCTION vibevideo_internal.sums_of(u vibevideo.fal_usage)
RETURNS vibevideo_internal.usage_by_day LANGUAGE sql IMMUTABLE
RETURN ROW(((u).at AT TIME ZONE 'UTC')::date, (u).endpoint, CASE WHEN (u).nth > 0 THEN 1 ELSE 0 END, (u).is_first::int, (u).cost_usd,
		   COALESCE((u).ours_usd, 0),
		   CASE WHEN (u).booked_at IS NOT NULL OR (u).explained_at IS NOT NULL THEN (u).cost_usd - COALESCE((u).ours_usd, 0) ELSE 0 END,
		   ((u).booked_at IS NOT NULL AND (u).cost_usd IS DISTINCT FROM (u).ours_usd)::int,
		   ((u).job_id IS NULL)::int,
		   ((u).job_id IS NULL AND (u).explained_at IS NULL)::int,
		   CASE WHEN (u).job_id IS NULL AND (u).explained_at IS NULL THEN (u).cost_usd ELSE 0 END,
		   (u).due::int)::vibevideo_internal.usage_by_day;
COMMENT ON FUNCTION vibevideo_internal.sums_of(vibevideo.fal_usage) IS 'what an item adds to the sums of its day; owner only';

CREATE FUNCTION vibevideo_internal.usage_changed()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changes constant text = concat_ws(' UNION ALL ',
		CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN 'SELECT -1 AS sign, vibevideo_internal.sums_of(o) AS s FROM old_rows o' END,
		CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN 'SELECT 1 AS sign, vibevideo_internal.sums_of(n) AS s FROM new_rows n' END);
BEGIN
	IF TG_OP = 'TRUNCATE' THEN
		TRUNCATE vibevideo_internal.usage_by_day;
		RETURN NULL;
	END IF;
	EXECUTE format('INSERT INTO vibevideo_internal.usage_by_day AS d '
				   'SELECT n.* FROM (SELECT (c.s).day, (c.s).model, sum(c.sign * (c.s).items), sum(c.sign * (c.s).jobs), sum(c.sign * (c.s).fal_usd), '
				   'sum(c.sign * (c.s).ours_usd), sum(c.sign * (c.s).explained_usd), sum(c.sign * (c.s).corrected), '
				   'sum(c.sign * (c.s).without_job), sum(c.sign * (c.s).open), sum(c.sign * (c.s).open_usd), sum(c.sign * (c.s).due) '
				   'FROM (SELECT x.sign, x.s FROM (%s) x OFFSET 0) c GROUP BY 1, 2) '
				   'AS n (day, model, items, jobs, fal_usd, ours_usd, explained_usd, corrected, without_job, open, open_usd, due) '
				   -- what changes no sum locks none
				   'WHERE (n.items, n.jobs, n.fal_usd, n.ours_usd, n.explained_usd, n.corrected, n.without_job, n.open, n.open_usd, n.due) '
				   '<> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0) ORDER BY 1, 2 '
				   'ON CONFLICT (day, model) DO UPDATE SET items = d.items + EXCLUDED.items, jobs = d.jobs + EXCLUDED.jobs, '
				   'fal_usd = d.fal_usd + EXCLUDED.fal_usd, ours_usd = d.ours_usd + EXCLUDED.ours_usd, '
				   'explained_usd = d.explained_usd + EXCLUDED.explained_usd, corrected = d.corrected + EXCLUDED.corrected, '
				   'without_job = d.without_job + EXCLUDED.without_job, open = d.open + EXCLUDED.open, '
				   'open_usd = d.open_usd + EXCLUDED.open_usd, due = d.due + EXCLUDED.due', changes);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.usage_changed() IS 'trigger: keeps the sums of vibevideo.fal_usage';
CREATE TRIGGER usage_inserted AFTER INSERT ON vibevideo.fal_usage REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.usage_changed();
CREATE TRIGGER usage_updated AFTER UPDATE ON vibevideo.fal_usage REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.usage_changed();
CREATE TRIGGER usage_deleted AFTER DELETE ON vibevideo.fal_usage REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.usage_changed();
CREATE TRIGGER usage_truncated AFTER TRUNCATE ON vibevideo.fal_usage
	FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.usage_changed();

-- Makes these sums anew.
CREATE FUNCTION vibevideo_internal.sum_usage()
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	DELETE FROM vibevideo_internal.usage_by_day d WHERE d.day IS NOT NULL;
	INSERT INTO vibevideo_internal.usage_by_day
	SELECT (c.s).day, (c.s).model, sum((c.s).items), sum((c.s).jobs), sum((c.s).fal_usd), sum((c.s).ours_usd), sum((c.s).explained_usd),
		   sum((c.s).corrected), sum((c.s).without_job), sum((c.s).open), sum((c.s).open_usd), sum((c.s).due)
	FROM (SELECT vibevideo_internal.sums_of(u) AS s FROM vibevideo.fal_usage u OFFSET 0) c GROUP BY 1, 2;
END;
COMMENT ON FUNCTION vibevideo_internal.sum_usage() IS 'makes the sums of vibevideo.fal_usage anew; owner only';

-------------------------------------------------------------------------------
-- Reading the bill
-------------------------------------------------------------------------------

-- A number of an item, exact to a millionth of a millionth; NULL if it has none.
CREATE FUNCTION vibevideo_internal.bill_number(item jsonb, name text)
RETURNS numeric LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	n numeric;
BEGIN
	IF coalesce(jsonb_typeof(item -> name), 'null') = 'null' THEN
		RETURN NULL;
	ELSIF jsonb_typeof(item -> name) = 'number' THEN
		n = (item -> name)::numeric;
		IF abs(n) < 1e18 THEN
			RETURN trim_scale(round(n, 12));
		END IF;
	END IF;
	RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('%s is no number that can be', name);
END
$$;
COMMENT ON FUNCTION vibevideo_internal.bill_number(jsonb, text) IS 'a number of an item of the bill: 22023; owner only';

-- An item as fal.ai sends it.  The whole number of billionths is exact, what is
-- computed from it is the rest.
CREATE FUNCTION vibevideo_internal.bill_item(item jsonb)
RETURNS vibevideo.fal_usage LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	u vibevideo.fal_usage;
BEGIN
	u.endpoint = item ->> 'endpoint_id';
	u.request_id = nullif(item ->> 'request_id', '');
	IF vibevideo_internal.is_endpoint(u.endpoint) IS NOT TRUE THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'endpoint_id is no fal.ai model';
	ELSIF u.request_id !~ '^[!-~]{1,200}$' THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'request_id is no id';
	ELSIF item ->> 'timestamp' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,12})?)?(Z|[+-][0-9]{2}:?[0-9]{2})$' IS NOT TRUE THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'timestamp is no time';
	END IF;
	u.at = (item ->> 'timestamp')::timestamptz;
	u.units = vibevideo_internal.bill_number(item, 'output_units');
	u.unit_price_usd = vibevideo_internal.bill_number(item, 'unit_price');
	u.percent_discount = vibevideo_internal.bill_number(item, 'percent_discount');
	u.cost_usd = trim_scale(coalesce(vibevideo_internal.bill_number(item, 'cost_estimate_nano_usd') / 1000000000,
									 vibevideo_internal.bill_number(item, 'cost_total'),
									 round(u.units * u.unit_price_usd * (100 - coalesce(u.percent_discount, 0)) / 100, 12)));
	IF u.cost_usd IS NULL OR abs(u.cost_usd) >= 1000000000 THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'it does not say what it costs';
	END IF;
	u.auth_method = left(item ->> 'auth_method', 200);
	RETURN u;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.bill_item(jsonb) IS 'an item of the bill, as fal.ai sends it: 22023; owner only';

/*
 * vibevideo_internal.bill_items(body, carry) - the items of a page, newest first.  Those
 * that share time, endpoint and request are counted; carry has the counts of the page
 * before for its last time, with which this one may go on.
 */
CREATE FUNCTION vibevideo_internal.bill_items(body jsonb, INOUT carry jsonb, OUT items vibevideo.fal_usage[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	most constant int = 10000;
	item jsonb;
	u vibevideo.fal_usage;
	k int;
	at text;
	what text;
BEGIN
	items = '{}';
	IF jsonb_typeof(body -> 'billing_events') IS DISTINCT FROM 'array' OR jsonb_array_length(body -> 'billing_events') > most THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'this is no page of fal.ai''s bill',
			DETAIL = format('It has no array billing_events of at most %s items.', most);
	END IF;
	BEGIN
		FOR item IN SELECT e.v FROM jsonb_array_elements(body -> 'billing_events') WITH ORDINALITY AS e(v, nth) ORDER BY e.nth LOOP
			u = vibevideo_internal.bill_item(item);
			items = array_append(items, u);
		END LOOP;
	EXCEPTION WHEN data_exception THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'fal.ai''s bill cannot be read',
			DETAIL = format('%s: %s.', SQLERRM, vibevideo_internal.shown_value(item));
	END;
	FOR k IN SELECT g FROM generate_subscripts(items, 1) g ORDER BY (items[g]).at DESC, g LOOP
		u = items[k];
		at = extract(epoch FROM u.at);
		what = concat_ws(' ', u.endpoint, u.request_id);
		IF carry ->> 'at' IS DISTINCT FROM at THEN
			carry = jsonb_build_object('at', at);
		END IF;
		u.nth = coalesce((carry ->> what)::int, 0) + 1;
		carry = carry || jsonb_build_object(what, u.nth);
		items[k] = u;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.bill_items(jsonb, jsonb) IS 'the items of a page of the bill: 22023; owner only';

-- One reads at a time.
CREATE FUNCTION vibevideo_internal.lock_bill()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	INSERT INTO vibevideo_internal.bill_state (only_one) VALUES (true) ON CONFLICT DO NOTHING;
	PERFORM FROM vibevideo_internal.bill_state b WHERE b.only_one FOR UPDATE;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.lock_bill() IS 'lets nobody else read the bill until the transaction ends; owner only';

-- The job of each item: by its request, which may have been another item's before.  New
-- items come first, then those of before, since a job may become known later.
CREATE FUNCTION vibevideo_internal.match_usage()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most constant int = 5000;
	-- fal.ai shows an item with an id by then
	delay constant interval = '6 hours';
	before constant interval = '1 minute';
	behind constant interval = '2 minutes';
BEGIN
	WITH unmatched AS MATERIALIZED (
		SELECT u.event_id, u.request_id FROM vibevideo.fal_usage u
		WHERE u.job_id IS NULL AND u.explained_at IS NULL ORDER BY u.event_id DESC LIMIT most
	), found AS (
		SELECT x.event_id, coalesce(
				   (SELECT j.job_id FROM vibevideo.job j WHERE j.request_id = x.request_id),
				   (SELECT p.job_id FROM vibevideo_internal.past_unbilled p WHERE p.request_id = x.request_id LIMIT 1),
				   (SELECT o.job_id FROM vibevideo.fal_usage o WHERE o.request_id = x.request_id AND o.job_id IS NOT NULL LIMIT 1)) AS job_id
		FROM unmatched x WHERE x.request_id IS NOT NULL
	)
	UPDATE vibevideo.fal_usage u SET job_id = f.job_id, due = true FROM found f WHERE u.event_id = f.event_id AND f.job_id IS NOT NULL;

	-- An item without a request: the only job of about that time and price, if it is the
	-- only such item.
	WITH nameless AS MATERIALIZED (
		SELECT u.event_id, u.at, u.endpoint, u.cost_usd, round(u.units * u.unit_price_usd, 12) AS full_usd FROM vibevideo.fal_usage u
		WHERE u.job_id IS NULL AND u.explained_at IS NULL AND u.request_id IS NULL AND u.at < now() - delay
		ORDER BY u.event_id DESC LIMIT most
	), pairs AS (
		SELECT n.event_id, j.job_id, count(*) OVER (PARTITION BY n.event_id) AS jobs, count(*) OVER (PARTITION BY j.job_id) AS items
		FROM nameless n JOIN vibevideo.job j
			ON j.billed AND (j.cost_source = 'bill') IS NOT TRUE AND j.model = n.endpoint AND NOT vibevideo.is_active(j.state)
			AND coalesce(j.generated_at, j.completed_at) BETWEEN n.at - before AND n.at + behind
			AND (j.cost_usd IS NULL OR j.cost_usd = n.cost_usd OR j.cost_usd = n.full_usd)
		WHERE NOT EXISTS (SELECT FROM vibevideo.fal_usage d WHERE d.job_id = j.job_id)
	)
	UPDATE vibevideo.fal_usage u SET job_id = p.job_id, due = true FROM pairs p WHERE u.event_id = p.event_id AND p.jobs = 1 AND p.items = 1;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.match_usage() IS 'finds the jobs of items of the bill; owner only';

-- The bill has said what a job costs.
CREATE FUNCTION vibevideo_internal.settle_by_bill(job_id bigint, usd numeric)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	UPDATE vibevideo.job j SET cost_usd = settle_by_bill.usd, cost_source = 'bill'
	WHERE j.job_id = settle_by_bill.job_id AND (j.cost_usd, j.cost_source) IS DISTINCT FROM (settle_by_bill.usd, 'bill');
END;
COMMENT ON FUNCTION vibevideo_internal.settle_by_bill(bigint, numeric) IS 'makes a job cost what the bill says; owner only';

-- The same of a job that is gone.
CREATE FUNCTION vibevideo_internal.settle_gone(p vibevideo_internal.past_unbilled, usd numeric)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	j vibevideo.job;
BEGIN
	INSERT INTO vibevideo_internal.new_costs (user_id, tenant, day, model, submits, videos, settled_usd)
	SELECT coalesce(p.user_id, ''), coalesce(p.tenant, ''), p.requested_on, p.model, 0, (NOT p.billed AND usd <> 0)::int, usd - coalesce(p.cost_usd, 0);
	j.job_id = p.job_id;
	j.model = p.model;
	j.requested_by = p.user_id;
	j.tenant = p.tenant;
	j.state = 'completed';
	j.orphan = false;
	j.billed = p.billed OR usd <> 0;
	j.cost_usd = usd;
	-- as much as is known of when
	j.created_at = p.requested_on::timestamp AT TIME ZONE 'UTC';
	PERFORM vibevideo_internal.spend(j, p.cost_usd, p.billed, true);
	IF j.billed AND NOT p.billed THEN
		PERFORM vibevideo_internal.take_late_slot(j);
	END IF;
	IF usd <> coalesce(p.cost_usd, 0) THEN
		INSERT INTO vibevideo_internal.tally (outcome, orphan, model, usd) VALUES ('settled', false, p.model, usd - coalesce(p.cost_usd, 0));
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.settle_gone(vibevideo_internal.past_unbilled, numeric) IS 'makes a job that was deleted cost what the bill says; owner only';

/*
 * vibevideo_internal.book_usage(most) - makes jobs cost what their items say, as many as
 * that; returns how many cost something else than before.  A job that has not ended, or
 * that somebody holds, is left for later.
 */
CREATE FUNCTION vibevideo_internal.book_usage(most int)
RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	bill record;
	j vibevideo.job;
	p vibevideo_internal.past_unbilled;
	corrected bigint = 0;
	-- what the rows say in the end, one element a job
	jobs bigint[] = '{}';
	ours numeric[] = '{}';
	users text[] = '{}';
	tenants text[] = '{}';
	days date[] = '{}';
BEGIN
	FOR bill IN
		SELECT d.job_id, (SELECT trim_scale(sum(u.cost_usd)) FROM vibevideo.fal_usage u WHERE u.job_id = d.job_id) AS usd,
			   w.booked_usd, w.user_id, w.tenant, w.requested_on, i.endpoint, i.day
		FROM (SELECT DISTINCT x.job_id FROM vibevideo.fal_usage x WHERE x.due ORDER BY x.job_id LIMIT most) d
		LEFT JOIN LATERAL (SELECT sum(u.booked_usd) AS booked_usd, max(u.user_id) AS user_id, max(u.tenant) AS tenant, max(u.requested_on) AS requested_on
						   FROM vibevideo.fal_usage u WHERE u.job_id = d.job_id AND u.booked_at IS NOT NULL) w ON true
		LEFT JOIN LATERAL (SELECT max(u.endpoint) AS endpoint, (min(u.at) AT TIME ZONE 'UTC')::date AS day
						   FROM vibevideo.fal_usage u WHERE u.job_id = d.job_id) i ON true
		ORDER BY d.job_id
	LOOP
		SELECT x.* INTO j FROM vibevideo.job x WHERE x.job_id = bill.job_id FOR NO KEY UPDATE SKIP LOCKED;
		IF FOUND THEN
			CONTINUE WHEN vibevideo.is_active(j.state);
			PERFORM vibevideo_internal.settle_by_bill(bill.job_id, bill.usd);
			p.cost_usd = CASE WHEN j.billed THEN j.cost_usd ELSE 0 END;
			p.user_id = j.requested_by;
			p.tenant = j.tenant;
			p.requested_on = (j.created_at AT TIME ZONE 'UTC')::date;
		ELSIF EXISTS (SELECT FROM vibevideo.job x WHERE x.job_id = bill.job_id) THEN
			CONTINUE;
		ELSE
			DELETE FROM vibevideo_internal.past_unbilled x WHERE x.job_id = bill.job_id RETURNING x.* INTO p;
			IF NOT FOUND THEN
				p = ROW(bill.job_id, '', bill.endpoint, bill.user_id, bill.tenant, coalesce(bill.requested_on, bill.day), now(), true, bill.booked_usd);
			END IF;
			p.cost_usd = CASE WHEN p.billed THEN p.cost_usd ELSE 0 END;
			PERFORM vibevideo_internal.settle_gone(p, bill.usd);
		END IF;
		corrected = corrected + (bill.usd IS DISTINCT FROM p.cost_usd)::int;
		jobs = array_append(jobs, bill.job_id);
		ours = array_append(ours, p.cost_usd);
		users = array_append(users, p.user_id);
		tenants = array_append(tenants, p.tenant);
		days = array_append(days, p.requested_on);
	END LOOP;
	UPDATE vibevideo.fal_usage u SET due = false, booked_usd = u.cost_usd, booked_at = coalesce(u.booked_at, now()), user_id = b.user_id, tenant = b.tenant,
		requested_on = b.requested_on,
		is_first = u.is_first OR coalesce(u.event_id = b.first_id, false),
		ours_usd = CASE WHEN u.booked_at IS NOT NULL THEN u.ours_usd WHEN u.event_id = b.first_id THEN b.ours_usd ELSE 0 END
	FROM (SELECT x.job_id, x.ours_usd, x.user_id, x.tenant, x.requested_on,
				 (SELECT CASE WHEN NOT bool_or(f.is_first) THEN min(f.event_id) END FROM vibevideo.fal_usage f WHERE f.job_id = x.job_id) AS first_id
		  FROM unnest(jobs, ours, users, tenants, days) AS x(job_id, ours_usd, user_id, tenant, requested_on)) b
	WHERE u.job_id = b.job_id AND u.due;
	RETURN corrected;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.book_usage(int) IS 'makes jobs cost what their items of the bill say; returns how many cost something else than before; owner only';

/*
 * vibevideo_internal.take_usage(body, carry) - takes over a page of the bill: new items,
 * what has changed in others, whose they are, and what the jobs cost then.  Retention is
 * served on the way.
 */
CREATE FUNCTION vibevideo_internal.take_usage(body jsonb, INOUT carry jsonb DEFAULT '{}', OUT items bigint, OUT added bigint, OUT corrected bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most constant int = 5000;
	most_keys constant int = 20;
	kept constant interval = current_setting('vibevideo.rollup_retention');
	page vibevideo.fal_usage[];
BEGIN
	SELECT b.carry, b.items INTO carry, page FROM vibevideo_internal.bill_items(body, take_usage.carry) b;
	items = cardinality(page);
	PERFORM vibevideo_internal.lock_bill();
	-- what fal.ai says now counts: a correction too
	UPDATE vibevideo.fal_usage u SET units = p.units, unit_price_usd = p.unit_price_usd, percent_discount = p.percent_discount, cost_usd = p.cost_usd,
		auth_method = coalesce(p.auth_method, u.auth_method), due = u.due OR u.job_id IS NOT NULL AND u.cost_usd <> p.cost_usd
	FROM unnest(page) p
	WHERE u.at = p.at AND u.endpoint = p.endpoint AND coalesce(u.request_id, '') = coalesce(p.request_id, '') AND u.nth = p.nth
	  AND (u.units, u.unit_price_usd, u.percent_discount, u.cost_usd, u.auth_method)
		  IS DISTINCT FROM (p.units, p.unit_price_usd, p.percent_discount, p.cost_usd, coalesce(p.auth_method, u.auth_method));
	INSERT INTO vibevideo.fal_usage (at, endpoint, request_id, nth, units, unit_price_usd, percent_discount, cost_usd, auth_method)
	SELECT p.at, p.endpoint, p.request_id, p.nth, p.units, p.unit_price_usd, p.percent_discount, p.cost_usd, p.auth_method
	FROM unnest(page) p
	WHERE NOT EXISTS (SELECT FROM vibevideo.fal_usage u
					  WHERE u.at = p.at AND u.endpoint = p.endpoint AND coalesce(u.request_id, '') = coalesce(p.request_id, '') AND u.nth = p.nth)
	ORDER BY p.at, p.nth;
	GET DIAGNOSTICS added = ROW_COUNT;
	PERFORM vibevideo_internal.match_usage();
	UPDATE vibevideo_internal.bill_state b
	SET keys = ARRAY(SELECT k.k FROM (SELECT unnest(b.keys) UNION SELECT u.auth_method FROM vibevideo.fal_usage u WHERE u.due) k(k)
					 WHERE k.k IS NOT NULL ORDER BY k.k LIMIT most_keys)
	WHERE b.only_one AND cardinality(b.keys) < most_keys
	  AND EXISTS (SELECT FROM vibevideo.fal_usage u WHERE u.due AND u.auth_method <> ALL (b.keys));
	corrected = vibevideo_internal.book_usage(most);
	IF kept > '0' THEN
		DELETE FROM vibevideo.fal_usage u WHERE u.event_id = ANY (ARRAY(
			SELECT o.event_id FROM vibevideo.fal_usage o WHERE o.at < now() - kept ORDER BY o.at LIMIT most));
		DELETE FROM vibevideo_internal.past_unbilled p WHERE p.job_id = ANY (ARRAY(
			SELECT o.job_id FROM vibevideo_internal.past_unbilled o WHERE o.at < now() - kept AND o.billed ORDER BY o.at LIMIT most));
	END IF;
	DELETE FROM vibevideo_internal.usage_by_day d WHERE d.day < now() - kept AND d.items = 0 AND d.jobs = 0 AND d.without_job = 0;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.take_usage(jsonb, jsonb) IS 'takes over a page of fal.ai''s bill: 22023; owner only';

/*
 * vibevideo_internal.release_held(most) - has budgets hold no more what fal.ai has not
 * billed in six hours, as far as the bill was read, and what no budget's time is left
 * for; at most so many jobs; returns how many.
 */
CREATE FUNCTION vibevideo_internal.release_held(most int)
RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	late constant interval = '6 hours';
	bill vibevideo_internal.bill_state;
	released bigint;
BEGIN
	SELECT b.* INTO bill FROM vibevideo_internal.bill_state b;
	UPDATE vibevideo.job j SET held_usd = NULL
	WHERE j.job_id = ANY (ARRAY(
		SELECT h.job_id FROM vibevideo.job h
		WHERE h.held_usd IS NOT NULL
		  -- a clock may have been ahead
		  AND (h.completed_at >= bill.covered_from AND h.completed_at < least(bill.read_at, clock_timestamp()) - late OR h.created_at < date_trunc('month', now(), 'UTC'))
		  -- it has an item, which is booked next
		  AND NOT EXISTS (SELECT FROM vibevideo.fal_usage u WHERE u.job_id = h.job_id)
		ORDER BY h.completed_at LIMIT most FOR NO KEY UPDATE SKIP LOCKED));
	GET DIAGNOSTICS released = ROW_COUNT;
	RETURN released;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.release_held(int) IS 'has budgets hold no more what fal.ai will not bill; returns how many jobs; owner only';

-- Everything that fal.ai showed at that moment, back to since, has been taken over.
CREATE FUNCTION vibevideo_internal.bill_was_read(since timestamptz, at timestamptz)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	-- an item that fal.ai shows later than that may be missed
	overlap constant interval = '6 hours';
	longest constant interval = '80 days';
	-- the others follow with what is pruned
	most constant int = 1000;
BEGIN
	UPDATE vibevideo_internal.bill_state b SET
		covered_from = CASE WHEN b.covered_from IS NULL OR bill_was_read.since > b.read_at - overlap THEN bill_was_read.since
							ELSE least(b.covered_from, bill_was_read.since) END,
		read_at = greatest(b.read_at, bill_was_read.at)
	WHERE b.only_one
	  -- a short look does not count as reading, unless nothing longer is possible
	  AND (b.covered_from IS NULL OR bill_was_read.since <= b.read_at - overlap OR bill_was_read.since < bill_was_read.at - longest);
	UPDATE vibevideo_internal.bill_state b SET failing_since = NULL, status = NULL, why = NULL
	WHERE b.only_one AND b.failing_since < clock_timestamp();
	PERFORM vibevideo_internal.release_held(most);
END
$$;
COMMENT ON FUNCTION vibevideo_internal.bill_was_read(timestamptz, timestamptz) IS 'notes how far the bill has been read; owner only';

-------------------------------------------------------------------------------
-- Asking for it
-------------------------------------------------------------------------------

-- A page of the bill, as platform takes the question.
CREATE FUNCTION vibevideo_internal.bill_query(since timestamptz, cursor text)
RETURNS text[] LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN ARRAY['expand', 'auth_method', 'limit', '1000', 'start', to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')]
	   || CASE WHEN cursor IS NOT NULL THEN ARRAY['cursor', cursor] ELSE '{}' END;
COMMENT ON FUNCTION vibevideo_internal.bill_query(timestamptz, text) IS 'what is asked for a page of the bill; owner only';

-- Where the bill goes on after this page; NULL if it does not.  Pages that have been read
-- are noted by their cursors, since those that go round would be counted again and again.
CREATE FUNCTION vibevideo_internal.next_page(page jsonb, INOUT seen text[], OUT cursor text)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	most constant int = 1000;
	mark text;
BEGIN
	IF page -> 'has_more' IS DISTINCT FROM 'true' THEN
		RETURN;
	END IF;
	cursor = nullif(page ->> 'next_cursor', '');
	seen = coalesce(seen, '{}');
	mark = encode(sha256(convert_to(cursor, 'UTF8')), 'hex');
	IF cursor IS NULL OR mark = ANY (seen) OR cardinality(seen) >= most THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the pages of the bill do not come to an end';
	END IF;
	seen = seen || mark;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.next_page(jsonb, text[]) IS 'the cursor of the next page of the bill: 22023; owner only';

-- Regularly: an errand of the worker's, see errands.sql.  Days are read again and again,
-- since items may be late, and from before the last time, since that may be long ago.
INSERT INTO vibevideo_internal.errand (name, every, next_at) VALUES ('usage', '10 minutes', pg_catalog.now());

CREATE FUNCTION vibevideo_internal.usage_asks(INOUT state jsonb, OUT what text, OUT query text[], OUT admin boolean)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	now constant timestamptz = clock_timestamp();
	read_at constant timestamptz = (SELECT b.read_at FROM vibevideo_internal.bill_state b);
BEGIN
	IF NOT state ? 'since' THEN
		state = jsonb_build_object('began_at', now, 'since', date_trunc('second', greatest(least(now - interval '3 days', read_at - interval '1 day'),
																						   now - interval '89 days')));
	END IF;
	what = 'billing-events';
	query = vibevideo_internal.bill_query((state ->> 'since')::timestamptz, state ->> 'cursor');
	admin = true;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.usage_asks(jsonb) IS 'the errand that reads fal.ai''s bill: what it asks; owner only';

-- That it cannot be read is noted, and is no reason to ask more often.
CREATE FUNCTION vibevideo_internal.usage_hears(state jsonb, status int, said jsonb, why text)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	carry jsonb;
	follows record;
	problem text = why;
BEGIN
	IF problem IS NULL THEN
		BEGIN
			SELECT n.* INTO follows FROM vibevideo_internal.next_page(said, ARRAY(SELECT jsonb_array_elements_text(state -> 'seen'))) n;
			SELECT t.carry INTO carry FROM vibevideo_internal.take_usage(said, coalesce(state -> 'carry', '{}')) t;
		EXCEPTION
			WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
				RAISE;
			-- whatever it is must not go unseen
			WHEN OTHERS THEN
				GET STACKED DIAGNOSTICS problem = PG_EXCEPTION_DETAIL;
				problem = concat_ws(': ', SQLERRM, nullif(problem, ''));
		END;
	END IF;
	IF problem IS NOT NULL THEN
		PERFORM vibevideo_internal.lock_bill();
		UPDATE vibevideo_internal.bill_state b
		SET failing_since = coalesce(b.failing_since, now()), status = usage_hears.status, why = left(problem, 500) WHERE b.only_one;
	ELSIF follows.cursor IS NOT NULL THEN
		RETURN state || jsonb_build_object('cursor', follows.cursor, 'carry', carry, 'seen', follows.seen);
	ELSE
		PERFORM vibevideo_internal.bill_was_read((state ->> 'since')::timestamptz, (state ->> 'began_at')::timestamptz);
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.usage_hears(jsonb, int, jsonb, text) IS 'the errand that reads fal.ai''s bill: takes over a page; owner only';

-- What to do when fal.ai does not show its bill.
CREATE FUNCTION vibevideo_internal.bill_remedy(status int)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE status WHEN 401 THEN 'Create a new key of scope ADMIN at fal.ai/dashboard/keys and store it as fal_admin_key, id:secret.'
				   WHEN 403 THEN 'The key must be one of scope ADMIN: create one at fal.ai/dashboard/keys and store it as fal_admin_key, id:secret.'
				   WHEN 200 THEN 'Its form may have changed: look for a newer version of vibevideo.'
				   ELSE 'Check the network and vibevideo.fal_api_url; it is tried again.' END;
COMMENT ON FUNCTION vibevideo_internal.bill_remedy(int) IS 'what to do when the bill is not shown; owner only';

CREATE FUNCTION vibevideo.sync_usage(since interval DEFAULT '3 days', OUT items bigint, OUT added bigint, OUT corrected bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	most constant int = 100;
	began_at constant timestamptz = clock_timestamp();
	from_time timestamptz;
	pages jsonb[] = '{}';
	page jsonb;
	said record;
	carry jsonb = '{}';
	taken record;
	cursor text;
	seen text[];
BEGIN
	PERFORM vibevideo_internal.require('operator');
	IF since IS NULL OR since < interval '0' OR since > interval '89 days' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'since must be an interval of up to 89 days',
			HINT = 'fal.ai shows the bill of 90 days.';
	END IF;
	from_time = date_trunc('second', began_at - since);
	-- nobody waits for a lock while fal.ai is asked
	LOOP
		SELECT p.status, p.body, p.why INTO said
		FROM vibevideo_internal.platform('billing-events', vibevideo_internal.bill_query(from_time, cursor), true) p;
		IF said.why IS NULL THEN
			BEGIN
				page = said.body::jsonb;
			EXCEPTION WHEN data_exception OR statement_too_complex OR program_limit_exceeded THEN
				said.why = 'the answer cannot be read: ' || SQLERRM;
			END;
		END IF;
		IF said.why IS NOT NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'connection_exception',
				MESSAGE = 'fal.ai does not show its bill',
				DETAIL = said.why,
				HINT = vibevideo_internal.bill_remedy(CASE said.why WHEN 'there is no key' THEN 401 ELSE said.status END);
		END IF;
		pages = array_append(pages, page);
		SELECT n.cursor, n.seen INTO cursor, seen FROM vibevideo_internal.next_page(page, seen) n;
		EXIT WHEN cursor IS NULL;
		IF cardinality(pages) = most THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = 'the bill is too long to be read at once',
				HINT = 'Name a shorter interval; the background worker reads one that is as long, page by page.';
		END IF;
	END LOOP;
	items = 0;
	added = 0;
	corrected = 0;
	FOREACH page IN ARRAY pages LOOP
		SELECT t.* INTO taken FROM vibevideo_internal.take_usage(page, carry) t;
		carry = taken.carry;
		items = items + taken.items;
		added = added + taken.added;
		corrected = corrected + taken.corrected;
	END LOOP;
	PERFORM vibevideo_internal.bill_was_read(from_time, began_at);
END
$$;
COMMENT ON FUNCTION vibevideo.sync_usage(interval) IS
'Reads fal.ai''s bill now, into vibevideo.fal_usage: jobs cost then what it says. The background worker does so every ten
  minutes. A request over the network for each thousand items.
since: how far back; default: 3 days; at most 89 days.
Returns one row:
items: how many items were read.
added: how many of them were new.
corrected: how many jobs cost something else than before.
Errors: 22023 no such interval, too long a bill, or no bill; 08000 fal.ai does not show it; 42501 not an operator.
For operators.';

-------------------------------------------------------------------------------
-- The ledger
-------------------------------------------------------------------------------

-- Jobs that cost by our books, and that no item is for: those that are there, and gone.
CREATE VIEW vibevideo_internal.here_without_item AS
SELECT j.job_id, j.request_id, j.model, COALESCE(j.generated_at, j.completed_at) AS at, COALESCE(j.cost_usd, 0) AS usd, false AS gone
FROM vibevideo.job j
WHERE j.billed AND (j.cost_source = 'bill') IS NOT TRUE AND NOT EXISTS (SELECT FROM vibevideo.fal_usage u WHERE u.job_id = j.job_id);
COMMENT ON VIEW vibevideo_internal.here_without_item IS 'part of without_item: jobs that are there; owner only';
CREATE VIEW vibevideo_internal.gone_without_item AS
SELECT p.job_id, p.request_id, p.model, p.at, COALESCE(p.cost_usd, 0) AS usd, true AS gone
FROM vibevideo_internal.past_unbilled p
WHERE p.billed AND NOT EXISTS (SELECT FROM vibevideo.fal_usage u WHERE u.job_id = p.job_id);
COMMENT ON VIEW vibevideo_internal.gone_without_item IS 'part of without_item: jobs that were deleted; owner only';
CREATE VIEW vibevideo_internal.without_item AS
SELECT h.job_id, h.request_id, h.model, h.at, h.usd, h.gone FROM vibevideo_internal.here_without_item h
UNION ALL
SELECT g.job_id, g.request_id, g.model, g.at, g.usd, g.gone FROM vibevideo_internal.gone_without_item g;
COMMENT ON VIEW vibevideo_internal.without_item IS 'jobs that cost and that no item of fal.ai''s bill is for; owner only';

-- As far as the bill has been read.
CREATE VIEW vibevideo_internal.unbilled AS
SELECT b.job_id, b.request_id, b.model, b.at, b.usd, b.gone
FROM vibevideo_internal.bill_state s JOIN vibevideo_internal.without_item b ON b.at >= s.covered_from AND b.at < s.read_at;
COMMENT ON VIEW vibevideo_internal.unbilled IS 'jobs that cost and that fal.ai has not billed; owner only';

-- The last of them, however many there are: each part is read from its index's end.
CREATE FUNCTION vibevideo_internal.last_unbilled(most int)
RETURNS SETOF vibevideo_internal.unbilled LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
	bill vibevideo_internal.bill_state;
BEGIN
	SELECT b.* INTO bill FROM vibevideo_internal.bill_state b;
	RETURN QUERY
	SELECT x.job_id, x.request_id, x.model, x.at, x.usd, x.gone
	FROM ((SELECT h.* FROM vibevideo_internal.here_without_item h WHERE h.at >= bill.covered_from AND h.at < bill.read_at ORDER BY h.at DESC LIMIT most)
		  UNION ALL
		  (SELECT g.* FROM vibevideo_internal.gone_without_item g WHERE g.at >= bill.covered_from AND g.at < bill.read_at ORDER BY g.at DESC LIMIT most)) x
	ORDER BY x.at DESC LIMIT most;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.last_unbilled(int) IS 'the last jobs that cost and that fal.ai has not billed, so many at most; owner only';

/*
 * vibevideo.ledger - what jobs have cost by our books, and by fal.ai's bill.  An item that
 * corrects our books explains its difference.  A day is over for the bill six hours after
 * its end, when fal.ai has shown even late items.
 */
CREATE VIEW vibevideo.ledger AS
SELECT d.day, d.model,
	   sum(d.ours_usd) AS ours_usd, sum(d.fal_usd) AS fal_usd, sum(d.fal_usd - d.ours_usd) AS difference_usd, sum(d.explained_usd) AS explained_usd,
	   sum(d.jobs)::bigint AS jobs, sum(d.items)::bigint AS items, sum(d.corrected)::bigint AS corrected,
	   sum(d.unbilled)::bigint AS jobs_without_item, sum(d.without_job)::bigint AS items_without_job,
	   COALESCE(s.read_at >= ((d.day + 1)::timestamp AT TIME ZONE 'UTC') + interval '6 hours'
				AND s.covered_from <= d.day::timestamp AT TIME ZONE 'UTC', false)
	   AND sum(d.open + d.due + d.unbilled) = 0 AS closed
FROM (SELECT u.day, u.model, u.ours_usd, u.fal_usd, u.explained_usd, u.jobs, u.items, u.corrected, 0 AS unbilled, u.without_job, u.open, u.due
	  FROM vibevideo_internal.usage_by_day u WHERE u.items > 0 OR u.jobs > 0 OR u.without_job > 0
	  UNION ALL
	  SELECT (b.at AT TIME ZONE 'UTC')::date, b.model, b.usd, 0, 0, 1, 0, 0, 1, 0, 0, 0 FROM vibevideo_internal.unbilled b) d
LEFT JOIN vibevideo_internal.bill_state s ON true
GROUP BY d.day, d.model, s.read_at, s.covered_from;
COMMENT ON VIEW vibevideo.ledger IS 'what jobs cost by our books and by fal.ai''s bill, by day of UTC and model; empty until the bill has been read';
COMMENT ON COLUMN vibevideo.ledger.day IS 'the day of UTC of the item; of a job without one that on which its video was made';
COMMENT ON COLUMN vibevideo.ledger.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.ledger.ours_usd IS 'what the jobs had cost by our books before the bill corrected them, in USD; a cost that was not known counts as 0';
COMMENT ON COLUMN vibevideo.ledger.fal_usd IS 'what fal.ai bills, in USD';
COMMENT ON COLUMN vibevideo.ledger.difference_usd IS 'fal_usd less ours_usd, in USD';
COMMENT ON COLUMN vibevideo.ledger.explained_usd IS 'as much of it as is explained, in USD: by items that have corrected the books, and by vibevideo.explain_usage';
COMMENT ON COLUMN vibevideo.ledger.jobs IS 'how many jobs cost by our books or by the bill';
COMMENT ON COLUMN vibevideo.ledger.items IS 'how many items the bill has';
COMMENT ON COLUMN vibevideo.ledger.corrected IS 'how many of them say something else than our books did';
COMMENT ON COLUMN vibevideo.ledger.jobs_without_item IS 'how many jobs cost by our books and are not on the bill, as far as it was read';
COMMENT ON COLUMN vibevideo.ledger.items_without_job IS 'how many items are of no job, explained or not';
COMMENT ON COLUMN vibevideo.ledger.closed IS 'the day is over, fal.ai has had six hours to show its items, they were read, and no difference is without an explanation';

-- The same of days from one on, where somebody has read the jobs that are not billed.
CREATE FUNCTION vibevideo_internal.ledger_since(since date, unbilled vibevideo_internal.unbilled[])
RETURNS SETOF vibevideo.ledger LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
BEGIN ATOMIC
	SELECT d.day, d.model, sum(d.ours_usd), sum(d.fal_usd), sum(d.fal_usd - d.ours_usd), sum(d.explained_usd), sum(d.jobs)::bigint, sum(d.items)::bigint,
		   sum(d.corrected)::bigint, sum(d.unbilled)::bigint, sum(d.without_job)::bigint,
		   coalesce(s.read_at >= ((d.day + 1)::timestamp AT TIME ZONE 'UTC') + interval '6 hours'
					AND s.covered_from <= d.day::timestamp AT TIME ZONE 'UTC', false)
		   AND sum(d.open + d.due + d.unbilled) = 0
	FROM (SELECT u.day, u.model, u.ours_usd, u.fal_usd, u.explained_usd, u.jobs, u.items, u.corrected, 0 AS unbilled, u.without_job, u.open, u.due
		  FROM vibevideo_internal.usage_by_day u WHERE u.day >= since AND (u.items > 0 OR u.jobs > 0 OR u.without_job > 0)
		  UNION ALL
		  SELECT t.day, b.model, b.usd, 0, 0, 1, 0, 0, 1, 0, 0, 0
		  FROM unnest(unbilled) b CROSS JOIN LATERAL (SELECT (b.at AT TIME ZONE 'UTC')::date AS day) t WHERE t.day >= since) d
	LEFT JOIN vibevideo_internal.bill_state s ON true
	GROUP BY d.day, d.model, s.read_at, s.covered_from ORDER BY d.day DESC, d.model;
END;
COMMENT ON FUNCTION vibevideo_internal.ledger_since(date, vibevideo_internal.unbilled[]) IS 'vibevideo.ledger of days from one on, with these jobs without an item; owner only';

-- What may be the reason is said, if there is one to be seen.
CREATE VIEW vibevideo.unmatched AS
SELECT 'item' AS kind, (u.at AT TIME ZONE 'UTC')::date AS day, u.at, u.endpoint AS model, u.cost_usd AS usd, u.event_id, u.request_id, l.job_id, u.auth_method,
	   CASE WHEN l.job_id IS NOT NULL
			THEN 'perhaps of the submit whose answer was lost, see job_id'
			WHEN u.auth_method <> ALL (s.keys)
			THEN 'of another program on the account: none of our jobs was billed to this key'
			WHEN u.request_id IS NULL AND u.at > s.read_at - interval '6 hours'
			THEN 'it names no request: a job is looked for when fal.ai has had six hours to show the items that do'
			WHEN u.request_id IS NULL
			THEN 'it names no request, and not exactly one job of that minute and price is without an item'
			WHEN u.seen_at > pg_catalog.clock_timestamp() - interval '1 hour'
			THEN 'new: its job may yet become known, as one whose transaction was rolled back'
			ELSE 'no job here has this request: of another program on the account, or of a job that this database has lost' END AS reason
FROM vibevideo.fal_usage u
LEFT JOIN vibevideo_internal.bill_state s ON true
LEFT JOIN LATERAL (
	SELECT x.job_id FROM (
		SELECT j.job_id FROM vibevideo.job j
		WHERE j.state = 'submit_unknown' AND j.model = u.endpoint AND j.sent_at BETWEEN u.at - interval '1 hour' AND u.at + interval '1 minute'
		UNION ALL
		SELECT j.job_id FROM vibevideo.job j
		WHERE (j.state = 'failed') IS TRUE AND j.error_code COLLATE pg_catalog."C" = 'submit_lost' AND j.next_at IS NULL AND j.request_id IS NULL
		  AND j.completed_at BETWEEN u.at - interval '1 hour' AND u.at + interval '2 days'
		  AND j.model = u.endpoint AND j.sent_at BETWEEN u.at - interval '1 hour' AND u.at + interval '1 minute') x LIMIT 1) l ON true
WHERE u.job_id IS NULL AND u.explained_at IS NULL
UNION ALL
SELECT 'job', (b.at AT TIME ZONE 'UTC')::date, b.at, b.model, b.usd, NULL, b.request_id, b.job_id, NULL,
	   CASE WHEN b.at > s.read_at - interval '6 hours' THEN 'new: fal.ai may take hours to show its item'
			WHEN b.gone THEN 'fal.ai does not bill it, or has shown its item late: the job was deleted meanwhile, see vibevideo.retention'
			ELSE 'fal.ai does not bill it, or to another account: the key may have been another then' END
FROM vibevideo_internal.unbilled b
LEFT JOIN vibevideo_internal.bill_state s ON true;
COMMENT ON VIEW vibevideo.unmatched IS 'items of fal.ai''s bill without a job, and jobs without an item, that nobody has explained, and what may be the reason';
COMMENT ON COLUMN vibevideo.unmatched.kind IS 'item: fal.ai bills what no job is known for; job: our books have a job that fal.ai does not bill';
COMMENT ON COLUMN vibevideo.unmatched.day IS 'its day of UTC in vibevideo.ledger';
COMMENT ON COLUMN vibevideo.unmatched.at IS 'the item''s time, or when the job''s video was made';
COMMENT ON COLUMN vibevideo.unmatched.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.unmatched.usd IS 'what the item bills, or the job costs by our books, in USD';
COMMENT ON COLUMN vibevideo.unmatched.event_id IS 'the item, in vibevideo.fal_usage; NULL for a job';
COMMENT ON COLUMN vibevideo.unmatched.request_id IS 'fal.ai''s id of the request; NULL if the item names none';
COMMENT ON COLUMN vibevideo.unmatched.job_id IS 'the job, or of an item a lost submit that may be its; NULL: none';
COMMENT ON COLUMN vibevideo.unmatched.auth_method IS 'with which of the account''s keys the request was made, as fal.ai calls it; NULL if it does not say';
COMMENT ON COLUMN vibevideo.unmatched.reason IS 'what may be the reason, in words';

-- The times of the last items in it, from their index's end.
CREATE FUNCTION vibevideo_internal.last_unmatched(most int)
RETURNS timestamptz[] LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
RETURN ARRAY(SELECT u.at FROM vibevideo.fal_usage u WHERE u.job_id IS NULL AND u.explained_at IS NULL ORDER BY u.at DESC LIMIT most);
COMMENT ON FUNCTION vibevideo_internal.last_unmatched(int) IS 'the times of the last items that are of no job and explained by nobody, so many at most; owner only';

CREATE FUNCTION vibevideo.explain_usage(what text, note text)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
	who constant text = vibevideo_internal.require('operator');
	explained bigint;
	usd numeric;
	b vibevideo_internal.unbilled;
BEGIN
	IF what IS NULL OR note IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'what and note must not be null';
	ELSIF btrim(note) = '' OR length(note) > 1000 THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'note must say something, in up to 1000 characters';
	END IF;
	PERFORM vibevideo_internal.lock_bill();
	WITH those AS (
		UPDATE vibevideo.fal_usage u SET explained_at = now(), explained_by = who, note = explain_usage.note
		WHERE u.job_id IS NULL AND u.explained_at IS NULL
		  AND (u.request_id = what OR u.event_id = CASE WHEN what ~ '^[0-9]{1,18}$' THEN what::bigint END)
		RETURNING u.cost_usd)
	SELECT count(*), sum(t.cost_usd) INTO explained, usd FROM those t;
	IF explained = 0 THEN
		SELECT x.* INTO b FROM vibevideo_internal.unbilled x WHERE x.request_id = what LIMIT 1;
		IF NOT FOUND THEN
			RAISE EXCEPTION USING
				ERRCODE = 'PT404',
				MESSAGE = 'no item or job of that name is without an explanation',
				DETAIL = format('Looked for: %s.', vibevideo_internal.shown(what)),
				HINT = 'vibevideo.unmatched shows what is, with event_id and request_id.';
		END IF;
		-- as if fal.ai had billed nothing
		INSERT INTO vibevideo.fal_usage (at, endpoint, request_id, nth, cost_usd, job_id, due, explained_at, explained_by, note)
		VALUES (b.at, b.model, b.request_id, 0, 0, b.job_id, true, now(), who, explain_usage.note);
		PERFORM vibevideo_internal.book_usage(5000);
		explained = 1;
		usd = -b.usd;
	END IF;
	PERFORM vibevideo_internal.note_act('explain_usage', jsonb_build_object('what', what, 'note', note), NULL, NULL,
										jsonb_build_object('items', explained, 'usd', usd));
	RETURN explained;
END
$$;
COMMENT ON FUNCTION vibevideo.explain_usage(text, text) IS
'Says what a difference between our books and fal.ai''s bill is, so that its day can be closed: an item that is of no
  job, or a job that fal.ai does not bill, which costs nothing from then on.
what: its event_id in vibevideo.unmatched, as text, or its request_id.
note: why, in up to 1000 characters.
Returns how many items were explained; 1 for a job.
Errors: PT404 nothing of that is unmatched; 22004 an argument is null; 22023 no note; 42501 not an operator.
For operators.';

-------------------------------------------------------------------------------
-- Whether it closes
-------------------------------------------------------------------------------

CREATE FUNCTION vibevideo_internal.check_ledger()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	now constant timestamptz = clock_timestamp();
	s vibevideo_internal.bill_state;
	has_key constant boolean = vibevideo_internal.key_source('vibevideo.fal_admin_key') IS NOT NULL;
BEGIN
	SELECT b.* INTO s FROM vibevideo_internal.bill_state b;
	RETURN NEXT CASE
		WHEN NOT has_key THEN vibevideo_internal.line('ledger', 'ok', 'fal.ai''s bill is not read: see line fal_admin_key')
		WHEN s.failing_since IS NOT NULL
		THEN vibevideo_internal.line('ledger', CASE WHEN s.status IN (401, 403) THEN 'fail' WHEN s.failing_since < now - interval '1 hour' THEN 'warn' ELSE 'ok' END,
									 format('fal.ai does not show its bill, for %s: %s', vibevideo_internal.span(now - s.failing_since), vibevideo_internal.quoted(s.why)),
									 vibevideo_internal.bill_remedy(s.status))
		WHEN s.read_at IS NULL THEN vibevideo_internal.line('ledger', 'ok', 'fal.ai''s bill has not been read yet')
		-- while nothing happens the worker rests, and nobody reads
		WHEN s.read_at < now - interval '1 day' AND EXISTS (SELECT FROM vibevideo.job j WHERE j.next_at IS NULL AND j.completed_at > s.read_at)
		THEN vibevideo_internal.line('ledger', 'warn', format('fal.ai''s bill was last read %s', vibevideo_internal.ago(s.read_at)),
									 'The background worker reads it: see line worker. SELECT * FROM vibevideo.sync_usage() reads it now.')
		ELSE vibevideo_internal.line('ledger', 'ok', format('fal.ai''s bill was last read %s', vibevideo_internal.ago(s.read_at))) END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_ledger() IS 'part of check_config: whether fal.ai''s bill is read; owner only';

-- Days that are over and have a difference that nobody has explained.
CREATE FUNCTION vibevideo_internal.needs_of_ledger()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most_days constant int = 5;
	most constant int = 10000;
	tolerance constant numeric = current_setting('vibevideo.ledger_tolerance_usd');
	bill vibevideo_internal.bill_state;
	over date;
	d record;
BEGIN
	SELECT b.* INTO bill FROM vibevideo_internal.bill_state b;
	over = (bill.read_at - interval '30 hours') AT TIME ZONE 'UTC';
	FOR d IN
		SELECT x.day, sum(x.open) AS items, sum(x.jobs) AS jobs, sum(x.open_usd) AS open_usd, sum(x.unbilled_usd) AS unbilled_usd, count(*) OVER () AS days
		FROM (SELECT u.day, u.open, u.open_usd, 0 AS jobs, 0 AS unbilled_usd FROM vibevideo_internal.usage_by_day u WHERE u.open > 0
			  UNION ALL
			  (SELECT (b.at AT TIME ZONE 'UTC')::date, 0, 0, 1, b.usd
			   FROM vibevideo_internal.last_unbilled(most) b)) x
		WHERE x.day <= over
		GROUP BY x.day HAVING sum(abs(x.open_usd)) + sum(x.unbilled_usd) > tolerance
		ORDER BY x.day DESC LIMIT most_days
	LOOP
		RETURN NEXT vibevideo_internal.need('ledger', d.day::timestamp AT TIME ZONE 'UTC', format('bill of %s', d.day),
			format('Our books and fal.ai''s bill differ: %s. Say what it is with vibevideo.explain_usage.',
				   concat_ws('; ',
							 CASE WHEN d.items > 0 THEN format('%s USD are billed for %s of no job', trim_scale(d.open_usd), vibevideo_internal.how_many(d.items, 'item')) END,
							 CASE WHEN d.jobs > 0 THEN format('%s of %s USD %s not billed', vibevideo_internal.how_many(d.jobs, 'job'), trim_scale(d.unbilled_usd),
															  CASE WHEN d.jobs = 1 THEN 'is' ELSE 'are' END) END)),
			format('SELECT * FROM vibevideo.unmatched WHERE day = ''%s'';', d.day), more => d.days > most_days);
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_ledger() IS 'part of the inbox: days on which our books and fal.ai''s bill differ; owner only';
