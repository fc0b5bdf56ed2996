
-------------------------------------------------------------------------------
-- Models and the account at fal.ai
-------------------------------------------------------------------------------

CREATE TABLE vibevideo_internal.fal_listing (
	endpoint text COLLATE pg_catalog."C" PRIMARY KEY,
	status text NOT NULL CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['listed', 'deprecated', 'gone'])),
	since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	read_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE vibevideo_internal.fal_listing IS 'whether fal.ai lists models, when it was last asked';

CREATE TABLE vibevideo_internal.fal_balance (
	only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
	usd numeric NOT NULL,
	read_at timestamptz NOT NULL
);
COMMENT ON TABLE vibevideo_internal.fal_balance IS 'what is left of the account at fal.ai, when it was last asked';

-- The models that new jobs may be sent to: attached, or allowed to rows.
CREATE FUNCTION vibevideo_internal.sent_endpoints()
RETURNS SETOF text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	SELECT DISTINCT x.endpoint
	FROM (SELECT coalesce((SELECT b.model FROM vibevideo.binding b), current_setting('vibevideo.model')) AS endpoint
		  UNION ALL SELECT m.endpoint FROM vibevideo.model m WHERE m.allowed) x
	WHERE vibevideo_internal.is_endpoint(x.endpoint) ORDER BY 1 LIMIT 1000;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.sent_endpoints() IS 'the models that new jobs may be sent to; owner only';

-- fal.ai leaves a model that is gone out, or says nothing of it but its id.
CREATE FUNCTION vibevideo_internal.listing_of(endpoint text, said jsonb)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce((SELECT CASE WHEN m.v #>> '{metadata,status}' = 'deprecated' THEN 'deprecated' WHEN jsonb_typeof(m.v -> 'metadata') = 'object' THEN 'listed' END
					 FROM jsonb_array_elements(said -> 'models') AS m(v) WHERE m.v ->> 'endpoint_id' = listing_of.endpoint LIMIT 1), 'gone');
END;
COMMENT ON FUNCTION vibevideo_internal.listing_of(text, jsonb) IS 'whether fal.ai lists a model: listed, deprecated or gone; owner only';

-- NULL if the answer says so of all that were asked for, else why not.
CREATE FUNCTION vibevideo_internal.models_fault(said jsonb, why text)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN why IS NOT NULL THEN why
			WHEN jsonb_typeof(said -> 'models') IS DISTINCT FROM 'array' THEN 'the answer has no list of models'
			WHEN said -> 'has_more' = 'true' THEN 'the answer is not complete' END;
COMMENT ON FUNCTION vibevideo_internal.models_fault(jsonb, text) IS 'why an answer about models cannot be used, null if it can; owner only';

CREATE FUNCTION vibevideo_internal.models_query(endpoints text[])
RETURNS text[] LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN ARRAY['limit', '50'] || (SELECT array_agg(p.word ORDER BY e.nth, p.nth) FROM unnest(endpoints) WITH ORDINALITY AS e(id, nth)
								CROSS JOIN LATERAL unnest(ARRAY['endpoint_id', e.id]) WITH ORDINALITY AS p(word, nth));
COMMENT ON FUNCTION vibevideo_internal.models_query(text[]) IS 'the query for models by their ids; owner only';

CREATE FUNCTION vibevideo_internal.models_asks(INOUT state jsonb, OUT what text, OUT query text[], OUT admin boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF state -> 'todo' IS NULL THEN
		state = jsonb_build_object('todo', coalesce((SELECT jsonb_agg(e.id) FROM vibevideo_internal.sent_endpoints() AS e(id)), '[]'));
	END IF;
	query = (SELECT vibevideo_internal.models_query(array_agg(e.id)) FROM vibevideo_internal.next_endpoints(state) AS e(id) HAVING count(*) > 0);
	what = CASE WHEN query IS NOT NULL THEN 'models' END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.models_asks(jsonb) IS 'errand models: asks whether fal.ai still lists the models; owner only';

CREATE FUNCTION vibevideo_internal.models_hears(state jsonb, status int, said jsonb, why text)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	fault constant text = vibevideo_internal.models_fault(said, why);
	asked constant text[] = ARRAY(SELECT e.id FROM vibevideo_internal.next_endpoints(state) AS e(id));
	rest jsonb;
BEGIN
	IF fault IS NOT NULL THEN
		RAISE EXCEPTION '%', fault;
	END IF;
	INSERT INTO vibevideo_internal.fal_listing AS l (endpoint, status)
	SELECT e.id, vibevideo_internal.listing_of(e.id, said) FROM unnest(asked) AS e(id)
	ON CONFLICT ON CONSTRAINT fal_listing_pkey DO UPDATE SET read_at = EXCLUDED.read_at, status = EXCLUDED.status,
		since = CASE WHEN l.status = EXCLUDED.status THEN l.since ELSE EXCLUDED.since END;
	rest = (SELECT jsonb_agg(t.id ORDER BY t.nth) FROM jsonb_array_elements(state -> 'todo') WITH ORDINALITY AS t(id, nth) WHERE t.nth > cardinality(asked));
	RETURN CASE WHEN rest IS NOT NULL THEN jsonb_build_object('todo', rest) END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.models_hears(jsonb, int, jsonb, text) IS 'errand models: notes which models fal.ai lists; owner only';
INSERT INTO vibevideo_internal.errand (name, every) VALUES ('models', '1 day');

CREATE FUNCTION vibevideo_internal.balance_asks(INOUT state jsonb, OUT what text, OUT query text[], OUT admin boolean)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT balance_asks.state, 'billing', ARRAY['expand', 'credits'], true;
END;
COMMENT ON FUNCTION vibevideo_internal.balance_asks(jsonb) IS 'errand balance: asks what is left of the account; owner only';

-- NULL if it cannot be read.
CREATE FUNCTION vibevideo_internal.read_balance(said jsonb)
RETURNS numeric LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN jsonb_typeof(said #> '{credits,current_balance}') = 'number' AND coalesce(upper(said #>> '{credits,currency}'), 'USD') = 'USD'
				AND abs((said #>> '{credits,current_balance}')::numeric) < 1000000000000
			THEN trim_scale((said #>> '{credits,current_balance}')::numeric) END;
COMMENT ON FUNCTION vibevideo_internal.read_balance(jsonb) IS 'the balance as fal.ai says it, in USD; owner only';

CREATE FUNCTION vibevideo_internal.balance_hears(state jsonb, status int, said jsonb, why text)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	left_usd constant numeric = vibevideo_internal.read_balance(said);
BEGIN
	IF why IS NOT NULL OR left_usd IS NULL THEN
		RAISE EXCEPTION '%', coalesce(why, 'the answer has no balance in USD');
	END IF;
	INSERT INTO vibevideo_internal.fal_balance AS b (usd, read_at) VALUES (left_usd, now())
	ON CONFLICT ON CONSTRAINT fal_balance_pkey DO UPDATE SET usd = EXCLUDED.usd, read_at = EXCLUDED.read_at;
	-- somebody has paid something in: the next submit need not wait for its turn to try
	IF left_usd > 0 AND (SELECT a.since IS NOT NULL FROM vibevideo_internal.account_wait() a) THEN
		PERFORM vibevideo_internal.hurry();
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.balance_hears(jsonb, int, jsonb, text) IS 'errand balance: notes what is left of the account; owner only';
INSERT INTO vibevideo_internal.errand (name, every) VALUES ('balance', '1 hour');

-- How long a balance lasts if as much is spent as in the last seven days; NULL: for ever.
CREATE FUNCTION vibevideo_internal.lasts(usd numeric)
RETURNS interval LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	spent constant numeric = (SELECT sum(c.settled_usd) FROM vibevideo.costs_by_day c
							  WHERE c.day > vibevideo_internal.today() - 7);
BEGIN
	RETURN CASE WHEN spent > 0 THEN interval '1 day' * least(greatest(usd, 0) * 7 / spent, 36500)::float8 END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.lasts(numeric) IS 'how long a balance lasts at the last week''s rate, null for ever; owner only';

CREATE FUNCTION vibevideo_internal.shown_balance(usd numeric)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN format('%s USD are left at fal.ai%s', trim_scale(round(usd, 2)),
			  CASE WHEN usd <= 0 THEN ': it takes no new jobs'
				   WHEN vibevideo_internal.lasts(usd) IS NULL THEN ''
				   ELSE format(', which last for %s as it was spent in the last 7 days', vibevideo_internal.span(vibevideo_internal.lasts(usd))) END);
COMMENT ON FUNCTION vibevideo_internal.shown_balance(numeric) IS 'what is left of the account, in words; owner only';

-- Which models fal.ai lists, and what is left there.
CREATE FUNCTION vibevideo_internal.check_fal()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	topup constant text = 'Top up at https://fal.ai/dashboard/billing.';
	asked constant text[] = ARRAY(SELECT e.id FROM vibevideo_internal.sent_endpoints() AS e(id) LIMIT 20);
	said record;
	body jsonb;
	fault text;
	gone text;
	old text;
	usd numeric;
BEGIN
	SELECT p.status, p.body, p.why INTO said FROM vibevideo_internal.platform('models', vibevideo_internal.models_query(asked)) p;
	BEGIN
		body = said.body::jsonb;
		fault = vibevideo_internal.models_fault(body, said.why);
	EXCEPTION WHEN data_exception OR statement_too_complex OR program_limit_exceeded THEN
		fault = SQLERRM;
	END;
	SELECT string_agg(e.id, ', ') FILTER (WHERE l.status = 'gone'), string_agg(e.id, ', ') FILTER (WHERE l.status = 'deprecated') INTO gone, old
	FROM unnest(asked) AS e(id) CROSS JOIN LATERAL (SELECT vibevideo_internal.listing_of(e.id, body) AS status) l WHERE fault IS NULL;
	RETURN NEXT CASE
		WHEN fault = 'there is no key' THEN vibevideo_internal.not_checked('fal_models', 'fal_key')
		-- the key is rejected, or nothing can be reached
		WHEN fault IS NOT NULL AND (SELECT p.status FROM vibevideo_internal.probe('queue') p) <> 'ok' THEN vibevideo_internal.not_checked('fal_models', 'queue')
		WHEN fault IS NOT NULL THEN vibevideo_internal.line('fal_models', 'warn', format('fal.ai does not say which models it lists: %s', fault),
			'That is asked of vibevideo.fal_api_url, where lost submits are looked up as well.')
		WHEN gone IS NOT NULL THEN vibevideo_internal.line('fal_models', 'fail', format('fal.ai does not list %s (any more)', gone),
			'Models are renamed, and end: look at https://fal.ai/models, then attach the table with another, or disallow it in vibevideo.model.')
		WHEN old IS NOT NULL THEN vibevideo_internal.line('fal_models', 'warn', format('fal.ai calls %s deprecated', old),
			'Look at https://fal.ai/models for what takes its place.')
		ELSE vibevideo_internal.line('fal_models', 'ok', format('fal.ai lists %s', array_to_string(asked, ', '))) END;

	SELECT p.status, p.body, p.why INTO said FROM vibevideo_internal.platform('billing', ARRAY['expand', 'credits'], true) p;
	BEGIN
		usd = vibevideo_internal.read_balance(said.body::jsonb);
		fault = coalesce(said.why, CASE WHEN usd IS NULL THEN 'the answer has no balance in USD' END);
	EXCEPTION WHEN data_exception OR statement_too_complex OR program_limit_exceeded THEN
		fault = SQLERRM;
	END;
	RETURN NEXT CASE
		WHEN (SELECT a.since IS NOT NULL FROM vibevideo_internal.account_wait() a) AND (usd > 0) IS NOT TRUE
		THEN vibevideo_internal.line('balance', 'fail', 'the balance at fal.ai is used up: new videos wait, without using up tries',
									 topup || ' SELECT * FROM vibevideo.probe_now() sends one at once; the others follow.')
		WHEN fault = 'there is no key' THEN vibevideo_internal.line('balance', 'ok', 'not known: that takes a key of scope ADMIN')
		WHEN fault IS NOT NULL THEN vibevideo_internal.line('balance', 'warn', format('fal.ai does not say what is left: %s', fault),
															'Look at fal.ai''s dashboard whether the key is there, and of scope ADMIN.')
		WHEN usd <= 0 THEN vibevideo_internal.line('balance', 'fail', vibevideo_internal.shown_balance(usd), topup)
		WHEN vibevideo_internal.lasts(usd) < interval '1 day' THEN vibevideo_internal.line('balance', 'warn', vibevideo_internal.shown_balance(usd), topup)
		ELSE vibevideo_internal.line('balance', 'ok', vibevideo_internal.shown_balance(usd)) END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_fal() IS 'part of check_config: which models fal.ai lists, and what is left of the account there; owner only';

-- What has changed at fal.ai, as it was last read.
CREATE FUNCTION vibevideo_internal.needs_of_fal()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most constant int = vibevideo_internal.most();
	sends constant boolean = (SELECT NOT b.paused FROM vibevideo.binding b);
	r record;
	c record;
	waits boolean = false;
BEGIN
	FOR r IN SELECT a.since, a.until, a.probed FROM vibevideo_internal.account_wait() a WHERE a.since IS NOT NULL AND vibevideo_internal.rests_by() IS NULL LOOP
		SELECT count(*) AS jobs, max(x.job_id) AS job_id INTO c
		FROM (SELECT p.job_id FROM vibevideo.job p WHERE p.state = 'pending' AND sends LIMIT most) x;
		waits = c.jobs > 0;
		CONTINUE WHEN NOT waits;
		RETURN NEXT vibevideo_internal.need('balance', r.since, 'account at fal.ai',
			format('The balance at fal.ai is used up: %s, without using up tries. Top up at https://fal.ai/dashboard/billing. This sends one at once; '
				   'if fal.ai takes it the others follow.', CASE c.jobs WHEN 1 THEN 'a job waits' ELSE to_char(c.jobs, 'FM999,999,999') || ' jobs wait' END),
			'SELECT * FROM vibevideo.probe_now();', c.jobs, c.job_id, c.jobs = most);
	END LOOP;
	FOR r IN SELECT b.usd, b.read_at FROM vibevideo_internal.fal_balance b
			 WHERE NOT waits AND b.read_at > now() - interval '1 day' AND (b.usd <= 0 OR vibevideo_internal.lasts(b.usd) < interval '1 day')
	LOOP
		RETURN NEXT vibevideo_internal.need('balance', r.read_at, 'account at fal.ai',
			format('%s. Top up at https://fal.ai/dashboard/billing.', vibevideo_internal.shown_balance(r.usd)),
			'SELECT * FROM vibevideo.health(true) WHERE check_name = ''balance'';');
	END LOOP;
	FOR r IN SELECT l.endpoint, l.since FROM vibevideo_internal.fal_listing l
			 WHERE l.status = 'gone' AND l.endpoint IN (SELECT e.id FROM vibevideo_internal.sent_endpoints() AS e(id)) ORDER BY l.since LIMIT 20
	LOOP
		RETURN NEXT vibevideo_internal.need('model_gone', r.since, 'model ' || r.endpoint,
			'fal.ai does not list it any more: videos of it may fail, or wait for long. Attach the table with another model, or disallow this one.',
			'SELECT * FROM vibevideo.health(true) WHERE check_name = ''models'';');
	END LOOP;
	FOR r IN SELECT p.endpoint, p.valid_from, p.unit, trim_scale(p.unit_price_usd) AS usd, coalesce(p.old_unit, p.unit) AS old_unit, trim_scale(p.old_price_usd) AS old_usd,
					EXISTS (SELECT FROM vibevideo.price_rule x WHERE x.endpoint = p.endpoint AND x.source = 'operator') AS ours
			 FROM vibevideo_internal.price_changes p
			 WHERE p.nth = 1 AND p.seen_at IS NULL AND (p.unit_price_usd <> p.old_price_usd OR p.unit <> p.old_unit) ORDER BY p.valid_from LIMIT 20
	LOOP
		RETURN NEXT vibevideo_internal.need('price_changed', r.valid_from, 'price of ' || r.endpoint,
			format('fal.ai''s price has changed from %s to %s USD%s. %s This takes the line away.', r.old_usd, r.usd,
				   CASE WHEN r.unit = r.old_unit THEN format(' (unit: %s)', r.unit) ELSE format(' (unit: %s instead of %s)', r.unit, r.old_unit) END,
				   CASE WHEN r.ours THEN 'An operator''s rule goes before it: look whether that is still right.'
						WHEN vibevideo_internal.price_unit(r.unit) <> vibevideo_internal.price_unit(r.old_unit) THEN 'Look whether estimates are still right, and set_price where not.'
						ELSE 'Estimates follow it.' END),
			format('UPDATE vibevideo.fal_price SET seen_at = now() WHERE endpoint = %L;', r.endpoint));
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_fal() IS 'part of the inbox: prices, models and the balance at fal.ai; owner only';
