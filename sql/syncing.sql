
-------------------------------------------------------------------------------
-- Prices of fal.ai
-------------------------------------------------------------------------------

/*
 * fal.ai has one price of one unit for each endpoint: what the input asks for only
 * changes how many units are billed.  So its prices are kept apart from the rules, which
 * estimate: a base price is what billed units cost, and
 *
 * - where there are built-in rules, which know what an input does to the price, their
 *   prices follow the base price, as rules with source fal: by how much it has changed
 *   since it was first known.  While it has not changed there is nothing to say.
 * - where there is an operator's rule nothing is done: it is for them to say.
 * - where there is no rule the base price is the rule, as far as its unit says what an
 *   input will cost.
 */
CREATE TABLE vibevideo.fal_price (
	endpoint text COLLATE pg_catalog."C" NOT NULL,
	valid_from timestamptz NOT NULL DEFAULT pg_catalog.now(),
	unit text NOT NULL,
	unit_price_usd numeric NOT NULL CHECK (unit_price_usd OPERATOR(pg_catalog.>=) 0 AND unit_price_usd OPERATOR(pg_catalog.<=) 100000),
	seen_at timestamptz,
	PRIMARY KEY (endpoint, valid_from)
);
COMMENT ON TABLE vibevideo.fal_price IS 'fal.ai''s price list, as far as it was read: a row each price and each change; estimates come from vibevideo.price_rule';
COMMENT ON COLUMN vibevideo.fal_price.endpoint IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.fal_price.valid_from IS 'when this price was first read';
COMMENT ON COLUMN vibevideo.fal_price.unit IS 'what is billed, in fal.ai''s word, as seconds';
COMMENT ON COLUMN vibevideo.fal_price.unit_price_usd IS 'what one of these costs, in USD; resolution, sound and the like change how many are billed';
COMMENT ON COLUMN vibevideo.fal_price.seen_at IS 'when somebody took its line out of the inbox, by setting this; NULL: nobody has';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.fal_price', '');

-- Before the first price that was read it is taken for that.
CREATE FUNCTION vibevideo_internal.base_price(endpoint text, at timestamptz)
RETURNS numeric LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT p.unit_price_usd FROM vibevideo.fal_price p WHERE p.endpoint = base_price.endpoint
	ORDER BY p.valid_from <= base_price.at DESC, CASE WHEN p.valid_from <= base_price.at THEN p.valid_from END DESC, p.valid_from LIMIT 1;
END;
COMMENT ON FUNCTION vibevideo_internal.base_price(text, timestamptz) IS 'what fal.ai billed a unit at then, null if that is not known; owner only';

-- fal.ai's word for a unit as one of ours.
CREATE FUNCTION vibevideo_internal.price_unit(word text)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN coalesce(substring(lower(btrim(word)) FROM '^(video|second|image|megapixel)s?$'), 'custom');
COMMENT ON FUNCTION vibevideo_internal.price_unit(text) IS 'what unit of vibevideo.price_rule a word of fal.ai''s means; owner only';

-- The only built-in rule of a model that costs the same whatever is asked for: then its
-- price was the base price.
CREATE FUNCTION vibevideo_internal.flat_price(endpoint text, unit text)
RETURNS numeric LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT max(r.unit_price_usd) FROM vibevideo.price_rule r WHERE r.endpoint = flat_price.endpoint AND r.source = 'built-in'
	HAVING count(*) = 1 AND bool_and(r.keys = 0 AND r.unit = vibevideo_internal.price_unit(flat_price.unit));
END;
COMMENT ON FUNCTION vibevideo_internal.flat_price(text, text) IS 'the built-in price of a model that has one only, in this unit; owner only';

-- Each price of fal.ai's beside the one before it.
CREATE VIEW vibevideo_internal.price_changes AS
SELECT p.endpoint, p.valid_from, p.unit, p.unit_price_usd, p.seen_at, lag(p.unit) OVER w AS old_unit,
	   coalesce(lag(p.unit_price_usd) OVER w, vibevideo_internal.flat_price(p.endpoint, p.unit)) AS old_price_usd,
	   first_value(p.unit) OVER w AS first_unit,
	   coalesce(vibevideo_internal.flat_price(p.endpoint, p.unit), first_value(p.unit_price_usd) OVER w) AS first_price_usd,
	   row_number() OVER (PARTITION BY p.endpoint ORDER BY p.valid_from DESC) AS nth
FROM vibevideo.fal_price p
WINDOW w AS (PARTITION BY p.endpoint ORDER BY p.valid_from);
COMMENT ON VIEW vibevideo_internal.price_changes IS 'vibevideo.fal_price with what was known before: just before, and at first; nth counts from the newest';

/*
 * Brings the rules with source fal of an endpoint up to its newest base price.  They are
 * compared with what they should be, not with what they were made from: so a rule that
 * is missing, or was made when there was no built-in one, is made good.
 */
CREATE FUNCTION vibevideo_internal.follow_price(endpoint text)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH base AS (
		SELECT c.* FROM vibevideo_internal.price_changes c WHERE c.endpoint = follow_price.endpoint AND c.nth = 1
	), wanted AS (
		SELECT r.applies, r.unit, trim_scale(round(r.unit_price_usd * b.unit_price_usd / nullif(b.first_price_usd, 0), 9)) AS usd, r.quantity,
			   r.quantity_default, r.allowance, b.unit_price_usd = b.first_price_usd AS known,
			   format('%s USD, by fal.ai''s price list: %s instead of %s', trim_scale(r.unit_price_usd), trim_scale(b.unit_price_usd), trim_scale(b.first_price_usd)) AS note
		FROM base b JOIN vibevideo.price_rule r ON r.endpoint = b.endpoint AND r.source = 'built-in'
		WHERE vibevideo_internal.price_unit(b.unit) = vibevideo_internal.price_unit(b.first_unit)
		UNION ALL
		SELECT '{}', u.unit, b.unit_price_usd, CASE WHEN u.unit = 'second' THEN '$.duration'::jsonpath END, NULL,
			   CASE WHEN u.unit = 'second' THEN 0.1 ELSE 0 END, false, format('fal.ai''s price list: %s USD, unit %s', trim_scale(b.unit_price_usd), b.unit)
		FROM base b CROSS JOIN LATERAL vibevideo_internal.price_unit(b.unit) AS u(unit)
		WHERE NOT EXISTS (SELECT FROM vibevideo.price_rule r WHERE r.endpoint = b.endpoint AND r.source <> 'fal')
	)
	INSERT INTO vibevideo.price_rule AS r (endpoint, source, applies, unit, unit_price_usd, quantity, quantity_default, allowance, note)
	SELECT follow_price.endpoint, 'fal', w.applies, w.unit, w.usd, w.quantity, w.quantity_default, w.allowance, w.note
	FROM wanted w
	LEFT JOIN LATERAL (SELECT f.unit, f.unit_price_usd, f.quantity::text AS quantity, f.quantity_default, f.allowance FROM vibevideo.price_rule f
					   WHERE f.endpoint = follow_price.endpoint AND f.source = 'fal' AND f.applies = w.applies AND f.valid_from <= now()
					   ORDER BY f.valid_from DESC LIMIT 1) f ON true
	WHERE w.usd IS NOT NULL AND CASE WHEN f.unit IS NULL THEN NOT w.known
									 ELSE (w.unit, w.usd, w.quantity::text, w.quantity_default, w.allowance) IS DISTINCT FROM
										  (f.unit, f.unit_price_usd, f.quantity, f.quantity_default, f.allowance) END
	ON CONFLICT ON CONSTRAINT price_rule_pkey DO UPDATE SET unit = EXCLUDED.unit, unit_price_usd = EXCLUDED.unit_price_usd,
		quantity = EXCLUDED.quantity, quantity_default = EXCLUDED.quantity_default, allowance = EXCLUDED.allowance, note = EXCLUDED.note;
END;
COMMENT ON FUNCTION vibevideo_internal.follow_price(text) IS 'brings the price rules of fal.ai for a model up to its price list; owner only';

-- A price as fal.ai says it; NULL if it cannot be used, and then why.
CREATE FUNCTION vibevideo_internal.read_price(item jsonb, OUT usd numeric, OUT unit text, OUT why text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	-- the word may be of any case
	SELECT CASE WHEN r.why IS NULL THEN trim_scale((item -> 'unit_price')::numeric) END, r.unit, r.why
	FROM (SELECT u.unit, CASE WHEN item IS NULL THEN 'fal.ai has no price'
							  WHEN coalesce(upper(item ->> 'currency'), 'USD') <> 'USD' THEN 'the price is not in USD'
							  WHEN jsonb_typeof(item -> 'unit_price') IS DISTINCT FROM 'number' OR u.unit = '' THEN 'the price cannot be read'
							  WHEN (item ->> 'unit_price')::numeric NOT BETWEEN 0 AND 100000 THEN 'the price cannot be true' END AS why
		  FROM (SELECT lower(btrim(left(regexp_replace(coalesce(item ->> 'unit', ''), '[[:cntrl:]]', '', 'g'), 60))) AS unit) u) r;
END;
COMMENT ON FUNCTION vibevideo_internal.read_price(jsonb) IS 'a line of fal.ai''s price list, or why it cannot be used; owner only';

/*
 * vibevideo_internal.note_prices(endpoints, prices) - prices: lines of fal.ai's price list.  Writers
 * come one after another, so that each sees what the last has noted.
 */
CREATE FUNCTION vibevideo_internal.note_prices(endpoints jsonb, prices jsonb)
RETURNS TABLE (endpoint text, old_price_usd numeric, new_price_usd numeric, unit text, outcome text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	said record;
	old record;
	ours boolean;
BEGIN
	LOCK TABLE vibevideo.fal_price IN SHARE ROW EXCLUSIVE MODE;
	FOR endpoint IN SELECT e.id FROM jsonb_array_elements_text(note_prices.endpoints) AS e(id) ORDER BY 1 LOOP
		SELECT r.usd, r.unit, r.why INTO said
		FROM vibevideo_internal.read_price((SELECT i.v FROM jsonb_array_elements(note_prices.prices) AS i(v)
											WHERE i.v ->> 'endpoint_id' = note_prices.endpoint LIMIT 1)) r;
		SELECT c.unit_price_usd AS usd, c.unit INTO old FROM vibevideo_internal.price_changes c WHERE c.endpoint = note_prices.endpoint AND c.nth = 1;
		IF NOT FOUND THEN
			old.usd = vibevideo_internal.flat_price(note_prices.endpoint, said.unit);
		END IF;
		old_price_usd = old.usd;
		new_price_usd = coalesce(said.usd, old.usd);
		unit = CASE WHEN said.usd IS NULL THEN old.unit ELSE said.unit END;
		outcome = coalesce(said.why, CASE WHEN old.usd IS NULL THEN 'new' WHEN old.unit <> said.unit THEN 'another unit' WHEN old.usd <> said.usd THEN 'changed' ELSE 'the same' END);
		IF said.usd IS NOT NULL THEN
			IF old.unit IS NULL OR (old.usd, old.unit) IS DISTINCT FROM (said.usd, said.unit) THEN
				INSERT INTO vibevideo.fal_price AS p (endpoint, unit, unit_price_usd) VALUES (note_prices.endpoint, said.unit, said.usd)
				ON CONFLICT ON CONSTRAINT fal_price_pkey DO UPDATE SET unit = EXCLUDED.unit, unit_price_usd = EXCLUDED.unit_price_usd;
			END IF;
			PERFORM vibevideo_internal.follow_price(note_prices.endpoint);
			ours = EXISTS (SELECT FROM vibevideo.price_rule r WHERE r.endpoint = note_prices.endpoint AND r.source = 'operator');
			outcome = concat_ws('; ', outcome, CASE WHEN ours THEN 'an operator''s rule counts' END);
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.note_prices(jsonb, jsonb) IS 'notes what fal.ai says of prices, and brings its rules up to that; owner only';

-- The models whose prices are of interest: attached, known, or used of late.
CREATE FUNCTION vibevideo_internal.priced_endpoints()
RETURNS SETOF text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	SELECT DISTINCT x.endpoint
	FROM (SELECT coalesce((SELECT b.model FROM vibevideo.binding b), current_setting('vibevideo.model')) AS endpoint
		  UNION ALL SELECT m.endpoint FROM vibevideo.model m
		  UNION ALL SELECT c.model FROM vibevideo.costs_by_day c WHERE c.day > vibevideo_internal.today() - 30) x
	WHERE vibevideo_internal.is_endpoint(x.endpoint) ORDER BY 1 LIMIT 1000;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.priced_endpoints() IS 'the models whose prices are read; owner only';

/*
 * The questions: fal.ai answers for up to 50 endpoints at once, and with 404 if it does
 * not know one of them; then these are asked for one by one.  The state has those that
 * are still to be asked for, how many of them singly, and the lines of the price list.
 */
CREATE FUNCTION vibevideo_internal.next_endpoints(state jsonb)
RETURNS SETOF text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	-- they go into a URL
	SELECT x.id FROM (SELECT t.id, t.nth, sum(length(t.id) + 20) OVER (ORDER BY t.nth) AS length
					  FROM jsonb_array_elements_text(state -> 'todo') WITH ORDINALITY AS t(id, nth)) x
	WHERE x.nth = 1 OR coalesce((state ->> 'singly')::int, 0) = 0 AND x.nth <= 50 AND x.length < 5000
	ORDER BY x.nth;
END;
COMMENT ON FUNCTION vibevideo_internal.next_endpoints(jsonb) IS 'the models that are asked for next; owner only';

CREATE FUNCTION vibevideo_internal.prices_asks(INOUT state jsonb, OUT what text, OUT query text[], OUT admin boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF state -> 'todo' IS NULL THEN
		IF current_setting('vibevideo.sync_prices')::boolean IS NOT TRUE AND state -> 'now' IS NULL THEN
			RETURN;
		END IF;
		state = state || jsonb_build_object('todo', coalesce((SELECT jsonb_agg(e.id) FROM vibevideo_internal.priced_endpoints() AS e(id)), '[]'), 'said', '[]'::jsonb);
		state = state || jsonb_build_object('all', state -> 'todo');
	END IF;
	query = (SELECT array_agg(p.word ORDER BY e.nth, p.nth) FROM vibevideo_internal.next_endpoints(state) WITH ORDINALITY AS e(id, nth)
			 CROSS JOIN LATERAL unnest(ARRAY['endpoint_id', e.id]) WITH ORDINALITY AS p(word, nth));
	what = CASE WHEN query IS NOT NULL THEN 'pricing' END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.prices_asks(jsonb) IS 'errand prices: reads fal.ai''s price list; owner only';

-- The state after an answer.
CREATE FUNCTION vibevideo_internal.prices_said(state jsonb, status int, said jsonb, why text)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	asked constant int = (SELECT count(*) FROM vibevideo_internal.next_endpoints(state));
BEGIN
	IF status = 404 AND asked > 1 THEN
		RETURN state || jsonb_build_object('singly', asked);
	ELSIF (status = 404) IS NOT TRUE AND (why IS NOT NULL OR jsonb_typeof(said -> 'prices') IS DISTINCT FROM 'array') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'connection_exception',
			MESSAGE = 'fal.ai does not say its prices',
			DETAIL = coalesce(why, 'The answer has no list of prices.');
	END IF;
	RETURN state || jsonb_build_object(
		'todo', (SELECT coalesce(jsonb_agg(t.id ORDER BY t.nth), '[]') FROM jsonb_array_elements(state -> 'todo') WITH ORDINALITY AS t(id, nth) WHERE t.nth > asked),
		'singly', greatest(coalesce((state ->> 'singly')::int, 0) - 1, 0),
		'said', (state -> 'said') || coalesce(CASE WHEN why IS NULL THEN said -> 'prices' END, '[]'));
END
$$;
COMMENT ON FUNCTION vibevideo_internal.prices_said(jsonb, int, jsonb, text) IS 'what is still to be asked after an answer of fal.ai''s price list: 08000; owner only';

CREATE FUNCTION vibevideo_internal.prices_hears(state jsonb, status int, said jsonb, why text)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	state = vibevideo_internal.prices_said(state, status, said, why);
	IF state -> 'todo' <> '[]' THEN
		RETURN state;
	END IF;
	PERFORM vibevideo_internal.note_prices(state -> 'all', state -> 'said');
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.prices_hears(jsonb, int, jsonb, text) IS 'errand prices: notes fal.ai''s prices; owner only';
INSERT INTO vibevideo_internal.errand (name, every) VALUES ('prices', '1 day');

CREATE FUNCTION vibevideo.sync_prices()
RETURNS TABLE (endpoint text, old_price_usd numeric, new_price_usd numeric, unit text, outcome text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	state jsonb = '{"now": true}';
	what text;
	query text[];
	answer record;
	said jsonb;
BEGIN
	PERFORM vibevideo_internal.require('operator');
	LOOP
		SELECT a.state, a.what, a.query INTO state, what, query FROM vibevideo_internal.prices_asks(state) a;
		EXIT WHEN what IS NULL;
		SELECT p.status, p.body, p.why INTO answer FROM vibevideo_internal.platform(what, query) p;
		BEGIN
			said = answer.body::jsonb;
		EXCEPTION WHEN data_exception OR statement_too_complex OR program_limit_exceeded THEN
			answer.why = 'the answer cannot be read: ' || SQLERRM;
		END;
		state = vibevideo_internal.prices_said(state, answer.status, said, answer.why);
	END LOOP;
	RETURN QUERY SELECT n.* FROM vibevideo_internal.note_prices(state -> 'all', state -> 'said') n;
END
$$;
COMMENT ON FUNCTION vibevideo.sync_prices() IS
'Reads fal.ai''s price list for the attached model, those of vibevideo.model, and those of the last 30 days'' jobs, and
  keeps it in vibevideo.fal_price. Rules with source fal in vibevideo.price_rule follow a change; operators'' rules still
  go before them. A request over the network for 50 models. The worker does the same daily if vibevideo.sync_prices is on.
Returns a row for each model:
endpoint: fal.ai''s id of the model.
old_price_usd: what one unit cost as far as was known; NULL: it was not.
new_price_usd: what it costs; NULL: that is not known.
unit: what fal.ai calls the unit; NULL: it has said nothing yet.
outcome: new, changed, another unit, the same, or why fal.ai''s price cannot be used; and whether an operator''s rule counts.
Errors: 08000 fal.ai does not answer as it should: nothing is changed; 42501 not an operator.
For operators.';
