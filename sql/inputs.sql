
-------------------------------------------------------------------------------
-- Inputs
-------------------------------------------------------------------------------

/*
 * What a model says about its input is checked before it is sent, since fal.ai may
 * bill what it refuses: vibevideo.model.input_schema, in as much of JSON Schema as
 * models use.  A keyword that is not known here lets everything pass; so does what
 * would take too long, or go too deep.
 */

CREATE FUNCTION vibevideo_internal.how_many(n numeric, thing text)
RETURNS text LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
RETURN format('%s %s%s', to_char(n, 'FM999,999,999,990'), thing, CASE n WHEN 1 THEN '' ELSE 's' END);
COMMENT ON FUNCTION vibevideo_internal.how_many(numeric, text) IS 'so many things, for people; owner only';

-- Whether a text can be fal.ai's id of a model.
CREATE FUNCTION vibevideo_internal.is_endpoint(endpoint text)
RETURNS boolean LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN endpoint ~ '^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+$' AND length(endpoint) <= 200;
COMMENT ON FUNCTION vibevideo_internal.is_endpoint(text) IS 'whether a text can be fal.ai''s id of a model, null for null; owner only';

CREATE FUNCTION vibevideo_internal.check_endpoint(endpoint text)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF vibevideo_internal.is_endpoint(endpoint) IS NOT TRUE THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'endpoint must be fal.ai''s id of a model',
			HINT = 'For example fal-ai/minimax/video-01.';
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_endpoint(text) IS 'refuses what cannot be fal.ai''s id of a model: 22023; owner only';

-- A value, or a list of them, as people read it.
CREATE FUNCTION vibevideo_internal.shown_value(value jsonb)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN length(value::text) > 100 THEN left(value::text, 99) || '…' ELSE value::text END;
COMMENT ON FUNCTION vibevideo_internal.shown_value(jsonb) IS 'a value of a schema, cut; owner only';

CREATE FUNCTION vibevideo_internal.is_of_type(instance jsonb, type text)
RETURNS boolean LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE type
	WHEN 'integer' THEN jsonb_typeof(instance) = 'number' AND instance::numeric = trunc(instance::numeric)
	WHEN 'number' THEN jsonb_typeof(instance) = 'number'
	WHEN 'string' THEN jsonb_typeof(instance) = 'string'
	WHEN 'boolean' THEN jsonb_typeof(instance) = 'boolean'
	WHEN 'array' THEN jsonb_typeof(instance) = 'array'
	WHEN 'object' THEN jsonb_typeof(instance) = 'object'
	WHEN 'null' THEN jsonb_typeof(instance) = 'null'
	ELSE true END;
COMMENT ON FUNCTION vibevideo_internal.is_of_type(jsonb, text) IS 'whether a value is of a type of JSON Schema; of one that is not known everything is; owner only';

-- A number in a schema, NULL if it is none.
CREATE FUNCTION vibevideo_internal.schema_number(schema jsonb, keyword text)
RETURNS numeric LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN jsonb_typeof(schema -> keyword) = 'number' THEN (schema -> keyword)::numeric END;
COMMENT ON FUNCTION vibevideo_internal.schema_number(jsonb, text) IS 'a number of a schema; owner only';

-- One that cannot be read, or might take long (with references back, or assertions),
-- fits everything.
CREATE FUNCTION vibevideo_internal.fits_pattern(instance text, pattern text)
RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF pattern IS NULL OR length(pattern) > 500 OR pattern ~ '\\[1-9]|\(\?[=!<]|^\*\*\*' THEN
		RETURN true;
	END IF;
	RETURN instance ~ ('(?:' || pattern || ')');
EXCEPTION WHEN invalid_regular_expression THEN
	RETURN true;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.fits_pattern(text, text) IS 'whether a text matches the pattern of a schema; owner only';

-- What a schema says against a value by itself, whatever is in it; NULL for nothing.
-- In OpenAPI 3.0 exclusiveMinimum is true or false, later it is a number.
CREATE FUNCTION vibevideo_internal.objection_to_value(instance jsonb, schema jsonb)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	types constant jsonb = CASE WHEN jsonb_typeof(schema -> 'type') = 'array' THEN schema -> 'type'
								WHEN jsonb_typeof(schema -> 'type') = 'string' THEN jsonb_build_array(schema -> 'type') END;
	n numeric;
	size int;
	least_n constant numeric = vibevideo_internal.schema_number(schema, 'minimum');
	most_n constant numeric = vibevideo_internal.schema_number(schema, 'maximum');
	above constant numeric = CASE WHEN schema -> 'exclusiveMinimum' = 'true' THEN least_n ELSE vibevideo_internal.schema_number(schema, 'exclusiveMinimum') END;
	below constant numeric = CASE WHEN schema -> 'exclusiveMaximum' = 'true' THEN most_n ELSE vibevideo_internal.schema_number(schema, 'exclusiveMaximum') END;
BEGIN
	IF types IS NOT NULL AND NOT EXISTS (SELECT FROM jsonb_array_elements_text(types) t WHERE vibevideo_internal.is_of_type(instance, t)) THEN
		RETURN format('must be of type %s', (SELECT string_agg(t, ' or ') FROM jsonb_array_elements_text(types) t));
	ELSIF schema ? 'const' AND instance <> schema -> 'const' THEN
		RETURN format('must be %s', vibevideo_internal.shown_value(schema -> 'const'));
	ELSIF jsonb_typeof(schema -> 'enum') = 'array' AND NOT EXISTS (SELECT FROM jsonb_array_elements(schema -> 'enum') e WHERE e = instance) THEN
		RETURN format('must be one of %s', (SELECT string_agg(vibevideo_internal.shown_value(e.v), ', ' ORDER BY e.nth)
											FROM jsonb_array_elements(schema -> 'enum') WITH ORDINALITY AS e(v, nth) WHERE e.nth <= 30));
	END IF;
	CASE jsonb_typeof(instance)
	WHEN 'number' THEN
		n = instance::numeric;
		IF n <= above THEN
			RETURN format('must be greater than %s', above);
		ELSIF n >= below THEN
			RETURN format('must be less than %s', below);
		ELSIF n < least_n THEN
			RETURN format('must be at least %s', least_n);
		ELSIF n > most_n THEN
			RETURN format('must be at most %s', most_n);
		ELSIF vibevideo_internal.schema_number(schema, 'multipleOf') > 0 AND abs(n) < 1e15
			  AND n % vibevideo_internal.schema_number(schema, 'multipleOf') <> 0 THEN
			RETURN format('must be a multiple of %s', schema ->> 'multipleOf');
		END IF;
	WHEN 'string' THEN
		size = length(instance #>> '{}');
		IF size < vibevideo_internal.schema_number(schema, 'minLength') THEN
			RETURN 'must have at least ' || vibevideo_internal.how_many(vibevideo_internal.schema_number(schema, 'minLength'), 'character');
		ELSIF size > vibevideo_internal.schema_number(schema, 'maxLength') THEN
			RETURN format('must have at most %s, and has %s', vibevideo_internal.how_many(vibevideo_internal.schema_number(schema, 'maxLength'), 'character'), size);
		ELSIF schema ? 'pattern' AND NOT vibevideo_internal.fits_pattern(instance #>> '{}', schema ->> 'pattern') THEN
			RETURN format('must match the pattern %s', vibevideo_internal.shown_value(schema -> 'pattern'));
		END IF;
	WHEN 'array' THEN
		size = jsonb_array_length(instance);
		IF size < vibevideo_internal.schema_number(schema, 'minItems') THEN
			RETURN 'must have at least ' || vibevideo_internal.how_many(vibevideo_internal.schema_number(schema, 'minItems'), 'item');
		ELSIF size > vibevideo_internal.schema_number(schema, 'maxItems') THEN
			RETURN format('must have at most %s, and has %s', vibevideo_internal.how_many(vibevideo_internal.schema_number(schema, 'maxItems'), 'item'), size);
		END IF;
	ELSE
		NULL;
	END CASE;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.objection_to_value(jsonb, jsonb) IS 'what a schema says against a value, whatever is in it; null for nothing; owner only';

-- What a reference within a document leads to, NULL if it leads nowhere.
CREATE FUNCTION vibevideo_internal.schema_target(root jsonb, reference text)
RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN reference = '#' THEN root
			WHEN starts_with(reference, '#/') THEN
				root #> (SELECT array_agg(replace(replace(p.part, '~1', '/'), '~0', '~') ORDER BY p.nth)
						 FROM string_to_table(substr(reference, 3), '/') WITH ORDINALITY AS p(part, nth)) END;
COMMENT ON FUNCTION vibevideo_internal.schema_target(jsonb, text) IS 'what a reference within a schema leads to; owner only';

/*
 * vibevideo_internal.objection_to(instance, schema, root, path, depth, budget) - the first
 * thing that a schema says against a value, beginning with where it is; null for
 * nothing.  The budget is how many values may yet be looked at: schemas may refer to
 * themselves.
 *
 * Of alternatives one has to fit, whether anyOf or oneOf: which of them the model
 * means is its own affair.
 */
CREATE FUNCTION vibevideo_internal.objection_to(instance jsonb, schema jsonb, root jsonb, path text, depth int, INOUT budget int, OUT objection text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	part record;
	alternatives jsonb;
	said text;
	fits boolean;
BEGIN
	budget = budget - 1;
	IF budget <= 0 OR depth > 50 OR jsonb_typeof(schema) <> 'object' OR instance = 'null' AND schema -> 'nullable' = 'true' THEN
		RETURN;
	ELSIF jsonb_typeof(schema -> '$ref') = 'string' THEN
		SELECT x.budget, x.objection INTO budget, objection
		FROM vibevideo_internal.objection_to(instance, vibevideo_internal.schema_target(root, schema ->> '$ref'), root, path, depth + 1, budget) x;
		RETURN;
	END IF;
	objection = nullif(concat_ws(' ', nullif(path, ''), vibevideo_internal.objection_to_value(instance, schema)), path);
	IF objection IS NOT NULL THEN
		RETURN;
	END IF;

	IF jsonb_typeof(schema -> 'allOf') = 'array' THEN
		FOR part IN SELECT a.s FROM jsonb_array_elements(schema -> 'allOf') AS a(s) LOOP
			SELECT x.budget, x.objection INTO budget, objection FROM vibevideo_internal.objection_to(instance, part.s, root, path, depth + 1, budget) x;
			IF objection IS NOT NULL THEN
				RETURN;
			END IF;
		END LOOP;
	END IF;
	FOREACH alternatives IN ARRAY ARRAY[schema -> 'anyOf', schema -> 'oneOf'] LOOP
		CONTINUE WHEN jsonb_typeof(alternatives) IS DISTINCT FROM 'array' OR jsonb_array_length(alternatives) = 0;
		fits = false;
		said = NULL;
		FOR part IN SELECT a.s FROM jsonb_array_elements(alternatives) AS a(s) LOOP
			SELECT x.budget, x.objection INTO budget, objection FROM vibevideo_internal.objection_to(instance, part.s, root, path, depth + 1, budget) x;
			fits = objection IS NULL;
			EXIT WHEN fits;
			-- null is one of them where a field may be left out, and nobody's mistake
			said = CASE WHEN part.s -> 'type' = '"null"' THEN said WHEN said IS NULL THEN objection
						ELSE concat_ws(' ', nullif(path, ''), 'is none of what it may be') END;
		END LOOP;
		objection = CASE WHEN NOT fits THEN coalesce(said, concat_ws(' ', nullif(path, ''), 'must be null')) END;
		IF objection IS NOT NULL THEN
			RETURN;
		END IF;
	END LOOP;

	IF jsonb_typeof(instance) = 'object' THEN
		IF jsonb_typeof(schema -> 'required') = 'array' THEN
			SELECT concat_ws('.', nullif(path, ''), r.name) || ' is missing' INTO objection
			FROM jsonb_array_elements_text(schema -> 'required') WITH ORDINALITY AS r(name, nth) WHERE NOT instance ? r.name ORDER BY r.nth LIMIT 1;
			IF objection IS NOT NULL THEN
				RETURN;
			END IF;
		END IF;
		IF jsonb_typeof(schema -> 'properties') = 'object' THEN
			FOR part IN SELECT p.key AS name, p.value AS s FROM jsonb_each(schema -> 'properties') p WHERE instance ? p.key LOOP
				SELECT x.budget, x.objection INTO budget, objection
				FROM vibevideo_internal.objection_to(instance -> part.name, part.s, root, concat_ws('.', nullif(path, ''), part.name), depth + 1, budget) x;
				EXIT WHEN objection IS NOT NULL OR budget <= 0;
			END LOOP;
		END IF;
	ELSIF jsonb_typeof(instance) = 'array' AND jsonb_typeof(schema -> 'items') = 'object' THEN
		FOR part IN SELECT e.v, e.nth - 1 AS nth FROM jsonb_array_elements(instance) WITH ORDINALITY AS e(v, nth) LOOP
			SELECT x.budget, x.objection INTO budget, objection
			FROM vibevideo_internal.objection_to(part.v, schema -> 'items', root, format('%s[%s]', path, part.nth), depth + 1, budget) x;
			EXIT WHEN objection IS NOT NULL OR budget <= 0;
		END LOOP;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.objection_to(jsonb, jsonb, jsonb, text, int, int) IS
	'the first thing that a schema says against a value, null for nothing; owner only';

-- What a model says against an input, NULL for nothing, or if nobody has told us.
CREATE FUNCTION vibevideo_internal.objection_to_input(endpoint text, input jsonb)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.objection FROM vibevideo.model m
	CROSS JOIN LATERAL vibevideo_internal.objection_to(objection_to_input.input, m.input_schema, m.input_schema, '', 0, 10000) x
	WHERE m.endpoint = objection_to_input.endpoint AND m.check_input <> 'off' AND m.input_schema IS NOT NULL;
END;
COMMENT ON FUNCTION vibevideo_internal.objection_to_input(text, jsonb) IS 'what a model says against an input, null for nothing; owner only';

CREATE FUNCTION vibevideo.sync_schema(endpoint text)
RETURNS vibevideo.model LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	listed jsonb;
	openapi jsonb;
	input jsonb;
	changed vibevideo.model;
BEGIN
	PERFORM vibevideo_internal.require('operator');
	PERFORM vibevideo_internal.check_endpoint(endpoint);
	listed = (SELECT m.v FROM jsonb_path_query(vibevideo_internal.ask_platform('models', ARRAY['expand', 'openapi-3.0', 'endpoint_id', endpoint], endpoint), '$.models[*]') AS m(v)
			  WHERE m.v ->> 'endpoint_id' = endpoint LIMIT 1);
	openapi = listed -> 'openapi';
	input = coalesce(jsonb_path_query_first(openapi, '$.paths.*.post.requestBody.content."application/json".schema'),
					 (SELECT jsonb_build_object('$ref', '#/components/schemas/' || k) FROM jsonb_object_keys(
						CASE WHEN jsonb_typeof(openapi #> '{components,schemas}') = 'object' THEN openapi #> '{components,schemas}' ELSE '{}' END) k
					  WHERE k LIKE '%Input' ORDER BY k LIMIT 1));
	IF listed IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT404',
			MESSAGE = 'fal.ai does not list this model',
			DETAIL = format('Model %s.', endpoint),
			HINT = 'Look for it at https://fal.ai/models: models are renamed, and end.';
	ELSIF jsonb_typeof(input) IS DISTINCT FROM 'object' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT404',
			MESSAGE = 'fal.ai does not say what the input of this model must be',
			DETAIL = format('Model %s.', endpoint),
			HINT = 'Fill in input_schema of vibevideo.model by hand.';
	END IF;
	INSERT INTO vibevideo.model AS m (endpoint, input_schema)
	VALUES (sync_schema.endpoint, input || jsonb_build_object('components', jsonb_build_object('schemas', openapi #> '{components,schemas}')))
	ON CONFLICT ON CONSTRAINT model_pkey DO UPDATE SET input_schema = EXCLUDED.input_schema
	RETURNING m.* INTO changed;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION vibevideo.sync_schema(text) IS
'Asks fal.ai what the input of a model must be, and keeps that in vibevideo.model, so that a submit which does not fit
  it warns, or is refused (check_input). One request over the network.
endpoint: fal.ai''s id of the model.
Returns the model, a row of vibevideo.model.
Errors: 22023 no such id can be; PT404 fal.ai does not list it, or says nothing of its input; 08000 fal.ai does not
  answer as it should; 42501 not an operator.
For operators.';
