
-------------------------------------------------------------------------------
-- Prices
-------------------------------------------------------------------------------

/*
 * A job's price comes from a rule: of its endpoint's rules those count that are
 * valid and whose applies the input contains.  An operator's go before all others,
 * then the one that asks for most, then fal.ai's before a built-in one, then the
 * newest.  The rule says what a unit costs, and where the input says how many units
 * are asked for.
 *
 * A video may cost a little more than was asked for, since files play longer by a
 * frame, or by the end of an audio track, and fal.ai bills what was made: the
 * allowance is reserved as well.  When it is made, what it has cost is settled
 * (settled_cost), and the rest goes back to the budgets (limits.sql).
 */
CREATE TABLE vibevideo.price_rule (
	endpoint text COLLATE pg_catalog."C" NOT NULL,
	source text COLLATE pg_catalog."C" NOT NULL DEFAULT 'operator'
		CHECK (source OPERATOR(pg_catalog.=) ANY (ARRAY['built-in', 'fal', 'operator'])),
	applies jsonb NOT NULL DEFAULT '{}',
	valid_from timestamptz NOT NULL DEFAULT pg_catalog.now(),
	unit text NOT NULL DEFAULT 'video'
		CHECK (unit OPERATOR(pg_catalog.=) ANY (ARRAY['video', 'second', 'image', 'megapixel', 'custom'])),
	unit_price_usd numeric CHECK (unit_price_usd OPERATOR(pg_catalog.>=) 0 AND unit_price_usd OPERATOR(pg_catalog.<=) 100000),
	quantity jsonpath,
	quantity_default numeric CHECK (quantity_default OPERATOR(pg_catalog.>) 0 AND quantity_default OPERATOR(pg_catalog.<=) 1000000),
	allowance numeric NOT NULL DEFAULT 0 CHECK (allowance OPERATOR(pg_catalog.>=) 0 AND allowance OPERATOR(pg_catalog.<=) 1000000),
	note text,
	changed_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	-- how much of the input it asks for
	keys int NOT NULL GENERATED ALWAYS AS (pg_catalog.jsonb_array_length(pg_catalog.jsonb_path_query_array(applies, '$.keyvalue()'))) STORED,
	PRIMARY KEY (endpoint, source, applies, valid_from)
);
COMMENT ON TABLE vibevideo.price_rule IS 'what videos cost: rules by endpoint, of which the one that asks for most of the input counts; an operator''s go before all others';
COMMENT ON COLUMN vibevideo.price_rule.endpoint IS 'fal.ai''s endpoint id, as fal-ai/minimax/video-01';
COMMENT ON COLUMN vibevideo.price_rule.source IS 'who says so: built-in, vibevideo, which nobody changes; fal, its price list; operator';
COMMENT ON COLUMN vibevideo.price_rule.applies IS 'what an input must contain: an object of single values, or of [] or {} for a list or an object of any content; {} is any input';
COMMENT ON COLUMN vibevideo.price_rule.valid_from IS 'jobs that are requested from then on cost so much, until a newer rule with the same source and applies';
COMMENT ON COLUMN vibevideo.price_rule.unit IS 'what is paid for: video, second, image, megapixel or custom';
COMMENT ON COLUMN vibevideo.price_rule.unit_price_usd IS 'what one of these costs, in USD; NULL: it is not known';
COMMENT ON COLUMN vibevideo.price_rule.quantity IS 'where the input says how many there will be, a JSON path to a number or a text such as "8s"; NULL: it says nothing of it';
COMMENT ON COLUMN vibevideo.price_rule.quantity_default IS 'how many there are if the input says nothing that can be read; NULL: one if the unit is video, else the price is not known';
COMMENT ON COLUMN vibevideo.price_rule.allowance IS 'how many units more may be billed than the input says';
COMMENT ON COLUMN vibevideo.price_rule.note IS 'where the price comes from, for people; NULL: nothing';
COMMENT ON COLUMN vibevideo.price_rule.changed_at IS 'when the rule was made or last changed';
COMMENT ON COLUMN vibevideo.price_rule.keys IS 'how much of the input it asks for: the number of keys in applies';

-- From fal.ai's pages of the models, of November 2026; they count for jobs of any age.
INSERT INTO vibevideo.price_rule (endpoint, source, applies, valid_from, unit, unit_price_usd, quantity, quantity_default, allowance, note)
SELECT e.endpoint, 'built-in', r.applies::jsonb, '2000-01-01 00:00+00', r.unit, r.usd, r.quantity::jsonpath, r.usual, CASE r.unit WHEN 'second' THEN 0.1 ELSE 0 END,
	   'fal.ai''s page of the model, of November 2026'
FROM (VALUES
	('minimax/video-01', ARRAY['', '/image-to-video', '-director', '-director/image-to-video', '-live', '-live/image-to-video']),
	('minimax/hailuo-2.3/standard', ARRAY['/text-to-video', '/image-to-video']),
	('minimax/hailuo-2.3/pro', ARRAY['/text-to-video', '/image-to-video']),
	('kling-video/v3/pro', ARRAY['/text-to-video', '/image-to-video']),
	('kling-video/v3/standard', ARRAY['/text-to-video', '/image-to-video']),
	('veo3.1', ARRAY['', '/image-to-video']),
	('ltx-2', ARRAY['/text-to-video', '/image-to-video']),
	('ltx-2/fast', ARRAY['/text-to-video/fast', '/image-to-video/fast'])) AS f(family, endpoints)
CROSS JOIN LATERAL (SELECT 'fal-ai/' || regexp_replace(f.family, '^ltx-2/fast$', 'ltx-2') || u AS endpoint FROM unnest(f.endpoints) u) e
JOIN (VALUES
	('minimax/video-01', '{}', 'video', 0.5, NULL, NULL::int),
	('minimax/hailuo-2.3/standard', '{}', 'video', 0.28, NULL, NULL),
	('minimax/hailuo-2.3/standard', '{"duration": "10"}', 'video', 0.56, NULL, NULL),
	('minimax/hailuo-2.3/standard', '{"duration": 10}', 'video', 0.56, NULL, NULL),
	('minimax/hailuo-2.3/pro', '{}', 'video', 0.49, NULL, NULL),
	('kling-video/v3/pro', '{}', 'second', 0.168, '$.duration', 5),
	('kling-video/v3/pro', '{"generate_audio": false}', 'second', 0.112, '$.duration', 5),
	('kling-video/v3/pro', '{"voice_ids": []}', 'second', 0.196, '$.duration', 5),
	('kling-video/v3/pro', '{"voice_ids": [], "generate_audio": false}', 'second', 0.112, '$.duration', 5),
	('kling-video/v3/standard', '{}', 'second', 0.126, '$.duration', 5),
	('kling-video/v3/standard', '{"generate_audio": false}', 'second', 0.084, '$.duration', 5),
	('kling-video/v3/standard', '{"voice_ids": []}', 'second', 0.154, '$.duration', 5),
	('kling-video/v3/standard', '{"voice_ids": [], "generate_audio": false}', 'second', 0.084, '$.duration', 5),
	('veo3.1', '{}', 'second', 0.4, '$.duration', 8),
	('veo3.1', '{"generate_audio": false}', 'second', 0.2, '$.duration', 8),
	('veo3.1', '{"resolution": "4k"}', 'second', 0.6, '$.duration', 8),
	('veo3.1', '{"resolution": "4k", "generate_audio": false}', 'second', 0.4, '$.duration', 8),
	('ltx-2', '{}', 'second', 0.06, '$.duration', 6),
	('ltx-2', '{"resolution": "1440p"}', 'second', 0.12, '$.duration', 6),
	('ltx-2', '{"resolution": "2160p"}', 'second', 0.24, '$.duration', 6),
	('ltx-2/fast', '{}', 'second', 0.04, '$.duration', 6),
	('ltx-2/fast', '{"resolution": "1440p"}', 'second', 0.08, '$.duration', 6),
	('ltx-2/fast', '{"resolution": "2160p"}', 'second', 0.16, '$.duration', 6)) AS r(family, applies, unit, usd, quantity, usual) ON r.family = f.family;
SELECT pg_catalog.pg_extension_config_dump('vibevideo.price_rule', 'WHERE source OPERATOR(pg_catalog.<>) ''built-in''');

-- A publisher's built-in rules are left out: there are ours.  A path without
-- wildcards and conditions takes no longer than reading the input, and one without
-- variables raises no errors.
CREATE FUNCTION vibevideo_internal.price_rule_changing()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF TG_OP <> 'DELETE' AND NEW.source = 'built-in' AND current_setting('session_replication_role') = 'replica' THEN
		RETURN NULL;
	ELSIF 'built-in' IN (CASE WHEN TG_OP <> 'INSERT' THEN OLD.source END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.source END) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'built-in price rules cannot be changed',
			HINT = 'Add a rule of your own, which goes before them; its unit_price_usd may be NULL, for a price that is not known.';
	ELSIF TG_OP = 'DELETE' THEN
		RETURN OLD;
	END IF;
	IF NOT vibevideo_internal.is_endpoint(NEW.endpoint) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'check_violation',
			MESSAGE = 'endpoint must be fal.ai''s id of a model',
			HINT = 'For example fal-ai/minimax/video-01.';
	ELSIF jsonb_typeof(NEW.applies) <> 'object' OR length(NEW.applies::text) > 1000
		  OR EXISTS (SELECT FROM jsonb_each(NEW.applies) e WHERE jsonb_typeof(e.value) IN ('array', 'object') AND e.value NOT IN ('[]', '{}'))
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'check_violation',
			MESSAGE = 'applies must be a JSON object of single values',
			DETAIL = 'A value may also be [] or {}, which any list or any object contains. It must not be longer than 1000 characters.',
			HINT = 'For example {"resolution": "4k"}; {} is for any input.';
	ELSIF NOT isfinite(NEW.valid_from) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'check_violation',
			MESSAGE = 'valid_from must be a point in time';
	ELSIF length(NEW.quantity::text) > 200
		  -- keys count as "
		  OR regexp_replace(NEW.quantity::text, '"(\\.|[^"\\])*"', '"', 'g')
			 !~ '^(strict )?(\$|\."|\[([0-9]+|last)\]|\.(size|floor|ceiling|abs|double)\(\)|[0-9]+(\.[0-9]+)?|[-+*/%() ])+$'
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'check_violation',
			MESSAGE = 'quantity must be a plain JSON path',
			DETAIL = 'It may have keys, numbers and arithmetic, but no wildcards, conditions or variables, and must not be longer than 200 characters.',
			HINT = 'For example $.duration, or $.num_frames / $.frames_per_second.';
	END IF;
	IF TG_OP = 'UPDATE' THEN
		NEW.changed_at = now();
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.price_rule_changing() IS 'trigger: refuses price rules that say nothing clear';
CREATE TRIGGER price_rule_changing BEFORE INSERT OR UPDATE OR DELETE ON vibevideo.price_rule
	FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.price_rule_changing();
ALTER TABLE vibevideo.price_rule ENABLE ALWAYS TRIGGER price_rule_changing;

/*
 * Two rules of one source that an input may both meet, neither of which asks for
 * more, would leave open what it costs, unless there is one for what both ask for.
 * A row that was not made in this transaction comes from a dump, one by one, or a
 * publisher, and was judged there.  Two such rules that are written at the same time
 * do not see each other; then the newer one counts.
 */
CREATE FUNCTION vibevideo_internal.price_rule_changed()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	tie record;
BEGIN
	IF TG_OP = 'INSERT' AND NEW.changed_at <> now() THEN
		RETURN NULL;
	END IF;
	SELECT a.endpoint, a.applies AS first, b.applies AS second INTO tie
	FROM vibevideo.price_rule a JOIN vibevideo.price_rule b USING (endpoint, source, keys)
	WHERE a.applies < b.applies AND a.keys > 0
	  AND (a.endpoint, a.source) IN ((OLD.endpoint, OLD.source), (NEW.endpoint, NEW.source))
	  AND NOT EXISTS (SELECT FROM jsonb_each(a.applies) x JOIN jsonb_each(b.applies) y USING (key) WHERE x.value <> y.value)
	  AND NOT EXISTS (SELECT FROM vibevideo.price_rule c WHERE c.endpoint = a.endpoint AND c.source = a.source
					  AND c.applies = a.applies || b.applies AND c.valid_from <= greatest(a.valid_from, b.valid_from))
	ORDER BY a.applies, b.applies LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'check_violation',
			MESSAGE = format('two price rules of %s may count for one input', tie.endpoint),
			DETAIL = format('An input may contain both %s and %s, and neither asks for more.', tie.first, tie.second),
			HINT = format('Add the rule for both first, or keep it: %s.', tie.first || tie.second);
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.price_rule_changed() IS 'trigger: refuses price rules of which two would count';
CREATE CONSTRAINT TRIGGER price_rule_changed AFTER INSERT OR UPDATE OR DELETE ON vibevideo.price_rule
	FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.price_rule_changed();

/*
 * vibevideo_internal.quantity_in(rule, input) - how many units an input asks for, as the
 * rule says; null if that cannot be known.  A text may have a unit: "8s".
 */
CREATE FUNCTION vibevideo_internal.quantity_in(r vibevideo.price_rule, input jsonb)
RETURNS numeric LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	found constant jsonb = CASE WHEN r.quantity IS NOT NULL THEN jsonb_path_query_first(input, r.quantity, '{}', true) END;
	n numeric;
BEGIN
	n = CASE jsonb_typeof(found)
		WHEN 'number' THEN found::numeric
		WHEN 'string' THEN substring(found #>> '{}' FROM '^\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*[A-Za-z]*\s*$')::numeric END;
	IF n > 0 THEN
		RETURN least(n, 1000000);
	END IF;
	RETURN coalesce(r.quantity_default, CASE WHEN r.unit = 'video' THEN 1 END);
END
$$;
COMMENT ON FUNCTION vibevideo_internal.quantity_in(vibevideo.price_rule, jsonb) IS 'how many units an input asks for, null if that is not known; owner only';

-- The rule that counts for an input, NULL if there is none.
CREATE FUNCTION vibevideo_internal.rule_for(endpoint text, input jsonb, at timestamptz)
RETURNS vibevideo.price_rule LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT r FROM vibevideo.price_rule r
	WHERE r.endpoint = rule_for.endpoint AND r.valid_from <= rule_for.at AND rule_for.input @> r.applies
	ORDER BY r.source = 'operator' DESC, r.keys DESC, r.source = 'fal' DESC, r.valid_from DESC, r.unit_price_usd DESC NULLS FIRST
	LIMIT 1;
END;
COMMENT ON FUNCTION vibevideo_internal.rule_for(text, jsonb, timestamptz) IS 'the price rule that counts for an input; owner only';

CREATE TYPE vibevideo.estimated AS (
	cost_usd numeric,
	unit text,
	unit_price_usd numeric,
	quantity numeric,
	allowance numeric,
	applies jsonb,
	source text,
	valid_from timestamptz,
	why text
);
COMMENT ON TYPE vibevideo.estimated IS 'what a video will cost, and by which rule of vibevideo.price_rule';
COMMENT ON COLUMN vibevideo.estimated.cost_usd IS 'what it costs at most, in USD; NULL: not known';
COMMENT ON COLUMN vibevideo.estimated.unit IS 'what is paid for: video, second, image, megapixel or custom; NULL if there is no rule';
COMMENT ON COLUMN vibevideo.estimated.unit_price_usd IS 'what one of these costs, in USD; NULL: not known';
COMMENT ON COLUMN vibevideo.estimated.quantity IS 'how many the input asks for; NULL: not known';
COMMENT ON COLUMN vibevideo.estimated.allowance IS 'how many more may be billed, which cost_usd includes; NULL if there is no rule';
COMMENT ON COLUMN vibevideo.estimated.applies IS 'what an input must contain for the rule to count; NULL if there is no rule';
COMMENT ON COLUMN vibevideo.estimated.source IS 'whose rule it is: built-in, fal or operator; NULL if there is none';
COMMENT ON COLUMN vibevideo.estimated.valid_from IS 'since when the rule counts; NULL if there is none';
COMMENT ON COLUMN vibevideo.estimated.why IS 'the same in words';

-- What a number of units is called, or without one the units.
CREATE FUNCTION vibevideo_internal.units(n numeric, unit text)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN concat_ws(' ', trim_scale(n), CASE unit WHEN 'custom' THEN 'unit' ELSE unit END || CASE WHEN n = 1 THEN '' ELSE 's' END);
COMMENT ON FUNCTION vibevideo_internal.units(numeric, text) IS 'a number of units of a price, in words; owner only';

CREATE FUNCTION vibevideo_internal.estimate(endpoint text, input jsonb)
RETURNS vibevideo.estimated LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r constant vibevideo.price_rule = vibevideo_internal.rule_for(endpoint, input, now());
	quantity constant numeric = vibevideo_internal.quantity_in(r, input);
	why constant text = CASE
		WHEN r.endpoint IS NULL THEN format('there is no price for %s', endpoint)
		WHEN r.unit_price_usd IS NULL THEN 'the price is not known'
		WHEN quantity IS NULL THEN format('the input does not say how many %s', vibevideo_internal.units(NULL, r.unit))
		WHEN r.unit = 'video' AND quantity = 1 THEN format('%s USD a video', trim_scale(r.unit_price_usd))
		ELSE format('%s at %s USD each%s', vibevideo_internal.units(quantity, r.unit), trim_scale(r.unit_price_usd),
					CASE WHEN r.allowance > 0 THEN format(', and up to %s more', trim_scale(r.allowance)) ELSE '' END) END;
BEGIN
	RETURN ROW(vibevideo_internal.most_cost(endpoint, input), r.unit, r.unit_price_usd, quantity, r.allowance, r.applies, r.source,
			   r.valid_from, why)::vibevideo.estimated;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.estimate(text, jsonb) IS 'what a job with this input will cost at most, and why; owner only';

-- The same for each new job.
CREATE FUNCTION vibevideo_internal.most_cost(endpoint text, input jsonb, at timestamptz DEFAULT now())
RETURNS numeric LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r constant vibevideo.price_rule = vibevideo_internal.rule_for(endpoint, input, at);
BEGIN
	RETURN trim_scale(r.unit_price_usd * (vibevideo_internal.quantity_in(r, input) + r.allowance));
END
$$;
COMMENT ON FUNCTION vibevideo_internal.most_cost(text, jsonb, timestamptz) IS 'what a job with this input costs at most, null if that is not known; owner only';

/*
 * vibevideo_internal.settled_cost(endpoint, input, at, rendered, units, duration_ms) - what a job
 * has cost, and how that is known.
 *
 * fal.ai's own word comes first: with the result it says how many of its units it
 * bills.  What one costs is its base price, in which resolution and the like are not
 * counted, or an operator's price of a unit (custom).  Else it is the seconds that the
 * video plays; as many as were asked for, if they differ by no more than files do.
 * Else it is what was asked for.  Nothing is billed without a video, unless fal.ai
 * says so.
 */
CREATE FUNCTION vibevideo_internal.settled_cost(endpoint text, input jsonb, at timestamptz, rendered boolean, units numeric, duration_ms bigint,
												OUT cost_usd numeric, OUT cost_source text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r vibevideo.price_rule;
	unit_usd numeric;
	asked numeric;
	seconds numeric;
BEGIN
	IF units = 0 OR NOT rendered AND units IS NULL THEN
		cost_usd = 0;
		cost_source = CASE WHEN units = 0 THEN 'units' END;
		RETURN;
	END IF;
	r = vibevideo_internal.rule_for(endpoint, input, at);
	IF units > 0 THEN
		unit_usd = CASE WHEN r.source IS DISTINCT FROM 'operator' THEN vibevideo_internal.base_price(endpoint, now())
						WHEN r.unit = 'custom' THEN r.unit_price_usd END;
		IF unit_usd IS NOT NULL THEN
			cost_usd = trim_scale(unit_usd * units);
			cost_source = 'units';
			RETURN;
		END IF;
	END IF;
	asked = vibevideo_internal.quantity_in(r, input);
	cost_source = 'estimate';
	IF r.unit = 'second' AND duration_ms IS NOT NULL THEN
		seconds = duration_ms / 1000.0;
		asked = CASE WHEN abs(seconds - asked) <= greatest(r.allowance, 0.1) THEN asked ELSE seconds END;
		cost_source = 'duration';
	END IF;
	cost_usd = trim_scale(r.unit_price_usd * asked);
END
$$;
COMMENT ON FUNCTION vibevideo_internal.settled_cost(text, jsonb, timestamptz, boolean, numeric, bigint) IS 'what a job has cost, null if that is not known, and how it is known; owner only';

CREATE FUNCTION vibevideo.estimate(endpoint text, input jsonb)
RETURNS vibevideo.estimated LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	IF endpoint IS NULL OR input IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'endpoint and input must not be null';
	END IF;
	RETURN vibevideo_internal.estimate(endpoint, input);
END
$$;
COMMENT ON FUNCTION vibevideo.estimate(text, jsonb) IS
'Says what a video will cost at most, and by which rule.
endpoint: fal.ai''s id of the model.
input: what the model is sent.
Returns the estimate; its cost_usd is NULL if the price is not known.
Errors: 22004 an argument is null; 42501 not a viewer.
For viewers and operators.';
