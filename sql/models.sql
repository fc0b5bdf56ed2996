
-------------------------------------------------------------------------------
-- Models that rows may name
-------------------------------------------------------------------------------

/*
 * With attach(model_column => ...) a row may name its model.  What the app's user has
 * written there is believed only if it is the attached model or one that is allowed in
 * vibevideo.model; ChooseModel in input.c decides.
 */

-- What an endpoint's videos cost, as people say it: the least, of the rules that can
-- count.  One does not if another goes before it whatever the input is.
CREATE FUNCTION vibevideo_internal.price_words(endpoint text)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH newest AS (
		SELECT DISTINCT ON (r.source, r.applies) r.source, r.applies, r.keys, r.unit, r.unit_price_usd
		FROM vibevideo.price_rule r
		WHERE r.endpoint = price_words.endpoint AND r.valid_from <= now()
		ORDER BY r.source, r.applies, r.valid_from DESC
	), counting AS (
		SELECT n.keys, n.unit, n.unit_price_usd FROM newest n
		WHERE NOT EXISTS (SELECT FROM newest o
						  WHERE n.source <> 'operator' AND o.source = 'operator' AND n.applies @> o.applies
							 OR n.source = 'built-in' AND o.source = 'fal' AND n.applies = o.applies)
	)
	SELECT format('%s%s USD %s %s', CASE WHEN count(DISTINCT (c.unit, c.unit_price_usd)) > 1 THEN 'from ' END,
				  trim_scale(min(c.unit_price_usd) FILTER (WHERE c.unit = u.unit)),
				  CASE u.unit WHEN 'image' THEN 'an' ELSE 'a' END, CASE u.unit WHEN 'custom' THEN 'unit' ELSE u.unit END)
	FROM counting c
	-- prices of different units cannot be compared: that of most inputs is told
	CROSS JOIN (SELECT k.unit FROM counting k WHERE k.unit_price_usd IS NOT NULL ORDER BY k.keys, k.unit_price_usd LIMIT 1) u
	GROUP BY u.unit;
END;
COMMENT ON FUNCTION vibevideo_internal.price_words(text) IS 'what videos of a model cost, in words, null if that is not known; owner only';

-- The attached model, or what it would be, and those that are allowed if rows have a
-- choice.
CREATE FUNCTION vibevideo_internal.offered_models(OUT endpoint text, OUT label text, OUT price text, OUT usual_seconds int, OUT needs_image boolean,
												  OUT max_prompt int, OUT is_default boolean)
RETURNS SETOF record LANGUAGE sql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT o.endpoint, coalesce(nullif(m.label, ''), o.endpoint), vibevideo_internal.price_words(o.endpoint),
		   coalesce(ceil(extract(epoch FROM t.total_p50))::int, m.usual_seconds), coalesce(m.needs_image, false), m.max_prompt, o.is_default
	FROM (SELECT coalesce((SELECT b.model FROM vibevideo.binding b), current_setting('vibevideo.model')) COLLATE "C" AS attached) d
	CROSS JOIN LATERAL (SELECT d.attached AS endpoint, true AS is_default
						UNION ALL SELECT a.endpoint, false FROM vibevideo.binding b CROSS JOIN vibevideo.model a
						WHERE b.model_column IS NOT NULL AND a.allowed AND a.endpoint <> d.attached) o
	LEFT JOIN vibevideo.model m ON m.endpoint = o.endpoint
	LEFT JOIN vibevideo.typical t ON t.model = o.endpoint
	ORDER BY 7 DESC, 2, 1;
END;
COMMENT ON FUNCTION vibevideo_internal.offered_models() IS 'the models that rows may name, the attached one first; owner only';

CREATE FUNCTION vibevideo.set_model(endpoint text, allowed boolean DEFAULT NULL, label text DEFAULT NULL, max_prompt int DEFAULT NULL,
									needs_image boolean DEFAULT NULL, usual_seconds int DEFAULT NULL, check_input text DEFAULT NULL)
RETURNS vibevideo.model LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changed vibevideo.model;
BEGIN
	PERFORM vibevideo_internal.require('operator');
	PERFORM vibevideo_internal.check_endpoint(endpoint);
	IF max_prompt < 0 OR usual_seconds < 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'max_prompt and usual_seconds must be positive',
			HINT = '0 says that nothing is known of it, NULL leaves it as it is.';
	ELSIF check_input NOT IN ('off', 'warn', 'refuse') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'check_input must be off, warn or refuse';
	ELSIF length(label) > 200 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'label must not be longer than 200 characters';
	END IF;
	INSERT INTO vibevideo.model AS m (endpoint, allowed, label, max_prompt, needs_image, usual_seconds, check_input)
	VALUES (set_model.endpoint, coalesce(set_model.allowed, false), nullif(set_model.label, ''), nullif(set_model.max_prompt, 0),
			coalesce(set_model.needs_image, false), nullif(set_model.usual_seconds, 0), coalesce(set_model.check_input, 'warn'))
	ON CONFLICT ON CONSTRAINT model_pkey DO UPDATE SET
		allowed = coalesce(set_model.allowed, m.allowed),
		label = vibevideo_internal.option(set_model.label, m.label),
		max_prompt = CASE WHEN set_model.max_prompt IS NULL THEN m.max_prompt ELSE nullif(set_model.max_prompt, 0) END,
		needs_image = coalesce(set_model.needs_image, m.needs_image),
		usual_seconds = CASE WHEN set_model.usual_seconds IS NULL THEN m.usual_seconds ELSE nullif(set_model.usual_seconds, 0) END,
		check_input = coalesce(set_model.check_input, m.check_input)
	RETURNING m.* INTO changed;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION vibevideo.set_model(text, boolean, text, int, boolean, int, text) IS
'Says what is known of a model, and whether rows may name it; the audit has what it was. What is not named, or is NULL,
  stays as it is. Jobs that are there keep their model.
endpoint: fal.ai''s id of the model.
allowed: whether rows may name it in the table''s model_column; default: as it is, at first false.
label: what the app calls it; an empty string: its endpoint; default: as it is.
max_prompt: longest prompt, in characters; 0: no limit is known; default: as it is.
needs_image: whether a row without an image is rejected; default: as it is, at first false.
usual_seconds: how many seconds a video usually takes; 0: not known; default: as it is.
check_input: what a submit does whose input does not fit the schema: off, warn or refuse; default: as it is, at first
  warn.
Returns the model, a row of vibevideo.model.
Errors: 22023 no such id can be, or a bad argument; 42501 not an operator.
For operators.';
