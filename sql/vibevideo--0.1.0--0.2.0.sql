/* sql/vibevideo--0.1.0--0.2.0.sql: brings 0.1.0 over to 0.2.0 */
\echo Use "ALTER EXTENSION vibevideo UPDATE TO '0.2.0'" to load this file. \quit

-- test/t/007_upgrade.pl compares what this makes with a fresh 0.2.0.

-- In the order in which others read them, so as to wait for them: the binding
-- comes before jobs, a view before its tables, and limits and prices before what
-- their triggers delete.
LOCK TABLE vibevideo.binding, vibevideo.costs, vibevideo.jobs, vibevideo.job, vibevideo.limit, vibevideo.model, vibevideo.slot,
	vibevideo.till IN ACCESS EXCLUSIVE MODE;

-------------------------------------------------------------------------------
-- Schema vibevideo_internal
-------------------------------------------------------------------------------

DO $$
DECLARE
	stranger text;
BEGIN
	SELECT n.nspname INTO stranger FROM pg_namespace n WHERE n.nspname IN ('vibevideo_internal', 'vibevideo_page');
	IF FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_schema',
			MESSAGE = format('schema %s exists already', stranger),
			DETAIL = 'It is not vibevideo''s, which makes one of its own and takes it along when it is dropped.',
			HINT = 'Drop or rename it.';
	END IF;
END
$$;
CREATE SCHEMA vibevideo_internal;
COMMENT ON SCHEMA vibevideo_internal IS
	'what vibevideo itself calls and keeps; for nobody else, and may change with any version';

-- All functions but those that people call.  What names one in a string is
-- replaced below, before it runs.
DO $$
DECLARE
	stay constant text[] = ARRAY['attach', 'check_config', 'create_api', 'describe', 'detach', 'grant_api_roles', 'redrive', 'reset_stuck',
								 'resolve', 'resume', 'schedule', 'unschedule', 'wake', 'worker_info'];
	moved regprocedure;
BEGIN
	FOR moved IN
		SELECT p.oid FROM pg_proc p
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'vibevideo'
		WHERE p.pronamespace = 'vibevideo'::regnamespace AND p.proname <> ALL (stay)
	LOOP
		EXECUTE format('ALTER FUNCTION %s SET SCHEMA vibevideo_internal', moved);
	END LOOP;
END
$$;
ALTER TYPE vibevideo.check_line SET SCHEMA vibevideo_internal;
-- Tables that pg_dump saves stay where a dump of 0.1.0 names them.
ALTER TABLE vibevideo.fal_account SET SCHEMA vibevideo_internal;
ALTER TABLE vibevideo.slot SET SCHEMA vibevideo_internal;
ALTER TABLE vibevideo.till SET SCHEMA vibevideo_internal;
ALTER SEQUENCE vibevideo.refund_seq SET SCHEMA vibevideo_internal;

-------------------------------------------------------------------------------
-- Names
-------------------------------------------------------------------------------

-- Indexes, defaults, views and functions with a parsed body follow.
ALTER TABLE vibevideo.job RENAME COLUMN ghost TO orphan;
ALTER VIEW vibevideo.jobs RENAME COLUMN ghost TO orphan;
ALTER TABLE vibevideo.binding RENAME COLUMN resting TO paused;
ALTER FUNCTION vibevideo_internal.rests(vibevideo.binding) RENAME TO is_copy;
DO $$
BEGIN
	-- since PostgreSQL 18 a NOT NULL has a name, made from the column's
	IF EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = 'vibevideo.job'::regclass AND c.conname = 'job_ghost_not_null') THEN
		ALTER TABLE vibevideo.job RENAME CONSTRAINT job_ghost_not_null TO job_orphan_not_null;
		ALTER TABLE vibevideo.binding RENAME CONSTRAINT binding_resting_not_null TO binding_paused_not_null;
	END IF;
END
$$;
-- an argument cannot be renamed in place
DROP FUNCTION vibevideo.redrive(text, interval, int);
-- nor can one be added
DROP FUNCTION vibevideo.attach(regclass, name, name, name, text, text, name, boolean);
DROP FUNCTION vibevideo_internal.take_slot(text, text, int, bigint);
DROP FUNCTION vibevideo_internal.release(vibevideo.job);
DROP FUNCTION vibevideo_internal.limits_for(text);
DROP FUNCTION vibevideo_internal.counted_jobs(text, text);
DROP FUNCTION vibevideo_internal.till_room(vibevideo_internal.till, numeric, numeric, date);
DROP FUNCTION vibevideo_internal.take_budget(text, numeric, numeric);
DROP FUNCTION vibevideo_internal.next_day();
DROP FUNCTION vibevideo_internal.check_user_column(regclass, name);
-- nor may what others were granted on these: now it takes vibevideo.grant_access
DROP FUNCTION vibevideo.resolve(bigint, text);
DROP FUNCTION vibevideo.resume();

-------------------------------------------------------------------------------
-- As before, but calls what has moved
-------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION vibevideo_internal.status_check(relation regclass, OUT present boolean, OUT refusing name, OUT refused text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	nonsense constant text = 'no status of vibevideo';
	constr record;
	rejected text[];
BEGIN
	present = false;
	FOR constr IN
		SELECT c.conname, pg_get_expr(c.conbin, c.conrelid) AS expression
		FROM pg_constraint c
		JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attname = 'video_generation_status' AND NOT a.attisdropped
		WHERE c.conrelid = status_check.relation AND c.contype = 'c' AND c.conkey = ARRAY[a.attnum]
		  -- what PostgreSQL itself provides leaves no trace here
		  AND NOT EXISTS (SELECT FROM pg_depend d
						  WHERE d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
							AND d.refclassid NOT IN ('pg_class'::regclass, 'pg_collation'::regclass))
		  AND NOT EXISTS (SELECT FROM regexp_matches(c.conbin::text, ':(?:funcid|opfuncid) ([0-9]+)', 'g') AS called(id)
						  LEFT JOIN pg_proc p ON p.oid = called.id[1]::oid
						  WHERE p.provolatile IS DISTINCT FROM 'i')
		ORDER BY c.conname
	LOOP
		EXECUTE format('SELECT array_agg(s.video_generation_status ORDER BY s.position) '
					   'FROM unnest($1) WITH ORDINALITY AS s(video_generation_status, position) WHERE NOT (%s)',
					   constr.expression)
		INTO rejected USING vibevideo_internal.statuses() || nonsense;
		IF rejected = ARRAY[nonsense] THEN
			present = true;
		ELSIF rejected && vibevideo_internal.statuses() THEN
			refusing = constr.conname;
			refused = array_to_string(array_remove(rejected, nonsense), ', ');
			RETURN;
		END IF;
	END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION vibevideo_internal.check_api()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	-- without a table they are what they were for the last one
	key_type constant regtype = coalesce((SELECT b.id_type FROM vibevideo.binding b),
										 (SELECT p.proargtypes[0]::regtype FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
										  WHERE n.nspname = 'public' AND p.proname = 'vibevideo_submit' AND p.pronargs = 1
										  ORDER BY p.oid LIMIT 1), 'uuid'::regtype);
	expected constant text[] = ARRAY[format('vibevideo_submit(%s)', key_type), format('vibevideo_submit_batch(%s[])', key_type),
									 format('vibevideo_status(%s)', key_type), format('vibevideo_cancel(%s)', key_type),
									 format('vibevideo_retry(%s)', key_type), 'vibevideo_poll()', 'vibevideo_webhook(json)'];
	faults text;
	roles text;
BEGIN
	SELECT string_agg(f, ', ') INTO faults FROM unnest(expected) f WHERE to_regprocedure('public.' || f) IS NULL;
	RETURN NEXT CASE WHEN faults IS NULL THEN vibevideo_internal.line('api', 'ok', format('key type %s', key_type))
					 ELSE vibevideo_internal.line('api', 'fail', format('missing in schema public: %s', faults),
							  format('SELECT vibevideo.create_api(%L).', key_type)) END;

	SELECT string_agg(r.rolname, ', ' ORDER BY r.rolname) INTO roles
	FROM pg_roles r WHERE r.rolname IN ('anon', 'authenticated', 'service_role');
	SELECT string_agg(wrong.line, '; ' ORDER BY wrong.line) INTO faults
	FROM (SELECT format('%s %s call %s', r.rolname, CASE WHEN r.may THEN 'may' ELSE 'may not' END,
						string_agg(r.function, ', ' ORDER BY r.position)) AS line
		  FROM (SELECT r.rolname, f.function, f.position,
					   has_function_privilege(r.oid, to_regprocedure('public.' || f.function), 'EXECUTE') AS may,
					   CASE f.function WHEN 'vibevideo_poll()' THEN r.rolname = 'service_role'
									   WHEN 'vibevideo_webhook(json)' THEN r.rolname = 'anon'
									   ELSE r.rolname <> 'anon' END AS should
				FROM pg_roles r CROSS JOIN unnest(expected) WITH ORDINALITY AS f(function, position)
				WHERE r.rolname IN ('anon', 'authenticated', 'service_role') AND NOT r.rolsuper) r
		  WHERE r.may <> r.should
		  GROUP BY r.rolname, r.may) wrong;
	RETURN NEXT CASE WHEN roles IS NULL
					 THEN vibevideo_internal.line('grants', 'ok', 'roles anon, authenticated and service_role do not exist here')
					 WHEN faults IS NULL THEN vibevideo_internal.line('grants', 'ok', format('right for %s', roles))
					 ELSE vibevideo_internal.line('grants', 'fail', faults, 'SELECT vibevideo.grant_api_roles().') END;
END
$$;

-- Whether limits of users can bind anybody: NULL if they can, else why not.  Users
-- are known by a column of the table, or by the JWTs of PostgREST; what the latest
-- jobs say counts more than who might call.
CREATE FUNCTION vibevideo_internal.why_nobody_is_known()
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
BEGIN ATOMIC
	SELECT CASE WHEN latest.jobs = 100 AND latest.unknown = 100
				THEN 'none of the last 100 videos was requested by a known user, and the table has no user_column'
				WHEN latest.jobs = latest.unknown AND nullif(current_setting('request.jwt.claims', true), '') IS NULL
					 AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname IN ('authenticator', 'authenticated'))
					 AND NOT EXISTS (SELECT FROM pg_db_role_setting s, unnest(s.setconfig) AS x(entry)
									 WHERE x.entry ~ '^(request|pgrst|app\.settings)\.jwt')
				THEN 'the table has no user_column, and nobody comes here with a JWT' END
	FROM vibevideo.binding b
	CROSS JOIN (SELECT count(*) AS jobs, count(*) FILTER (WHERE l.requested_by IS NULL) AS unknown
				FROM (SELECT j.requested_by FROM vibevideo.job j ORDER BY j.job_id DESC LIMIT 100) l) latest
	WHERE b.user_column IS NULL;
END;
COMMENT ON FUNCTION vibevideo_internal.why_nobody_is_known() IS 'why limits of users bind nobody, NULL if they may; owner only';

CREATE OR REPLACE FUNCTION vibevideo_internal.check_limits()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	limits record;
	nobody constant text = vibevideo_internal.why_nobody_is_known();
	wanted text;
	kinds text;
	price vibevideo.estimated;
BEGIN
	SELECT count(*) AS n, count(*) FILTER (WHERE l.scope = 'global') AS global, count(*) FILTER (WHERE l.scope = 'default') AS usual,
		   count(*) FILTER (WHERE l.scope = 'user') AS users, count(*) FILTER (WHERE l.scope = 'model') AS models,
		   count(*) FILTER (WHERE l.scope = 'default_tenant') AS each_tenant, count(*) FILTER (WHERE l.scope = 'tenant') AS tenants,
		   bool_or(greatest(l.max_active, l.submits_per_hour, l.submits_per_day, l.submits_per_month, l.spend_per_hour_usd, l.spend_per_day_usd,
							l.spend_per_month_usd) >= 0) FILTER (WHERE l.scope IN ('default', 'user')) AS of_users,
		   bool_or(greatest(l.spend_per_hour_usd, l.spend_per_day_usd, l.spend_per_month_usd) >= 0)
			   FILTER (WHERE l.scope NOT IN ('default', 'user') OR nobody IS NULL) AS spend
	INTO limits FROM vibevideo.limit l;
	kinds = CASE WHEN limits.n = 0 THEN 'none is set'
			ELSE concat_ws(', ', CASE WHEN limits.global > 0 THEN 'for all users together' END, CASE WHEN limits.usual > 0 THEN 'for each user' END,
						   CASE WHEN limits.users > 0 THEN format('for some by name: %s', limits.users) END,
						   CASE WHEN limits.each_tenant > 0 THEN 'for each tenant' END,
						   CASE WHEN limits.tenants > 0 THEN format('for some tenants: %s', limits.tenants) END,
						   CASE WHEN limits.models > 0 THEN format('for some models: %s', limits.models) END) END;
	RETURN NEXT CASE WHEN limits.of_users AND nobody IS NOT NULL
					 THEN vibevideo_internal.line('limits', 'warn', format('%s; limits of users bind nobody, since %s', kinds, nobody),
							  'SELECT vibevideo.attach(..., user_column => ''...'') names the column that says whose a row is; a limit with scope '
							  'global counts all videos.')
					 ELSE vibevideo_internal.line('limits', 'ok', kinds) END;
	IF limits.each_tenant + limits.tenants > 0 AND NOT EXISTS (SELECT FROM vibevideo.binding b WHERE b.tenant_column IS NOT NULL) THEN
		RETURN NEXT vibevideo_internal.line('tenants', 'warn', 'limits of tenants bind nobody, since the table has no tenant_column',
			'SELECT vibevideo.attach(..., tenant_column => ''...'') names the column that says which tenant a row is of.');
	END IF;
	IF limits.spend THEN
		FOR wanted IN SELECT o.endpoint FROM vibevideo_internal.offered_models() o LOOP
			price = vibevideo_internal.estimate(wanted, '{}');
			CONTINUE WHEN price.cost_usd IS NOT NULL;
			RETURN NEXT vibevideo_internal.line('price', 'warn',
				format('spending is limited, but the price of %s is not known%s; %s', wanted,
					   CASE WHEN price.unit_price_usd IS NOT NULL
							THEN format(' unless the input says how many %s', vibevideo_internal.units(NULL, price.unit)) END,
					   CASE WHEN current_setting('vibevideo.unknown_price') = 'refuse' THEN 'without one, videos are refused'
							ELSE 'an unknown price counts as 0' END),
				format('SELECT vibevideo.set_price(%L, ...) says what a video costs.', wanted));
		END LOOP;
	END IF;
END
$$;

CREATE OR REPLACE FUNCTION vibevideo.check_config()
RETURNS TABLE (check_name text, status text, detail text, hint text)
LANGUAGE plpgsql VOLATILE ROWS 30 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	part text;
	told_by text;
BEGIN
	FOREACH part IN ARRAY ARRAY['preload', 'worker', 'table', 'api', 'services', 'fal', 'cron', 'jobs', 'limits', 'ledger'] LOOP
		IF told_by IS NOT NULL THEN
			RETURN QUERY SELECT l.* FROM vibevideo_internal.not_checked(part, told_by) l;
			CONTINUE;
		END IF;
		BEGIN
			FOR check_name, status, detail, hint IN
				EXECUTE format('SELECT l.check_name, l.status, l.detail, l.hint FROM vibevideo_internal.%I() l', 'check_' || part)
			LOOP
				RETURN NEXT;
				told_by = coalesce(told_by, CASE WHEN part = 'preload' AND status <> 'ok' THEN check_name END);
			END LOOP;
		EXCEPTION WHEN OTHERS THEN
			check_name = part;
			status = 'fail';
			detail = SQLERRM;
			hint = format('SELECT * FROM vibevideo_internal.check_%s() shows the whole error.', part);
			RETURN NEXT;
		END;
	END LOOP;
END
$$;

-------------------------------------------------------------------------------
-- Tables
-------------------------------------------------------------------------------

-- A built-in row that was corrected is the app's.
ALTER TABLE vibevideo.model ADD COLUMN changed_at timestamptz;
ALTER TABLE vibevideo.model ALTER COLUMN changed_at SET DEFAULT pg_catalog.now();
-- tills are no longer made for prices
DROP TRIGGER price_changed ON vibevideo.model;
DROP FUNCTION vibevideo_internal.price_changed();
UPDATE vibevideo.model m SET changed_at = now(), builtin = m.builtin AND (m.max_prompt, m.needs_image, m.usual_seconds)
	IS NOT DISTINCT FROM (2000, m.endpoint LIKE '%/image-to-video', NULL::int)
WHERE m.endpoint IS NOT NULL;
ALTER TABLE vibevideo.model ALTER COLUMN changed_at SET NOT NULL;

ALTER TABLE vibevideo.job ALTER COLUMN billed DROP EXPRESSION;

-- Costs are exact.  Both types are stored alike, and ALTER TABLE would want to have every
-- function dropped that takes a job.
UPDATE pg_catalog.pg_attribute a SET atttypmod = -1 WHERE a.attrelid = 'vibevideo.job'::regclass AND a.attname = 'cost_usd';

ALTER TABLE vibevideo.model
	ADD COLUMN input_schema jsonb CHECK (pg_catalog.jsonb_typeof(input_schema) OPERATOR(pg_catalog.=) 'object'),
	ADD COLUMN check_input text CHECK (check_input OPERATOR(pg_catalog.=) ANY (ARRAY['off', 'warn', 'refuse'])),
	ADD COLUMN allowed boolean,
	ADD COLUMN label text;
ALTER TABLE vibevideo.model ALTER COLUMN check_input SET DEFAULT 'warn', ALTER COLUMN allowed SET DEFAULT false;
UPDATE vibevideo.model m SET check_input = 'warn', allowed = false WHERE m.endpoint IS NOT NULL;
ALTER TABLE vibevideo.model ALTER COLUMN check_input SET NOT NULL, ALTER COLUMN allowed SET NOT NULL;

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

-------------------------------------------------------------------------------
-- Whether a video is what was asked for
-------------------------------------------------------------------------------

-- A number in an input, which may be a text with a unit: "8s"; NULL if it is none, or not a sensible one.
CREATE FUNCTION vibevideo_internal.said_number(value jsonb)
RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT v.n FROM (SELECT CASE jsonb_typeof(value)
							WHEN 'number' THEN (value #>> '{}')::numeric
							WHEN 'string' THEN substring(value #>> '{}' FROM '^\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*[A-Za-z]*\s*$')::numeric END AS n) v
	WHERE v.n > 0 AND v.n <= 1000000;
END;
COMMENT ON FUNCTION vibevideo_internal.said_number(jsonb) IS 'a number that an input says, NULL if it says none; owner only';

-- How many seconds an input asks for: where its price is by the second, the rule knows
-- the place, else models agree on a few names.  What a model does without being asked
-- is not known here.
CREATE FUNCTION vibevideo_internal.asked_seconds(endpoint text, input jsonb, at timestamptz)
RETURNS numeric LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r vibevideo.price_rule = vibevideo_internal.rule_for(endpoint, input, at);
BEGIN
	r.quantity_default = NULL;
	RETURN coalesce(CASE WHEN r.unit = 'second' THEN vibevideo_internal.quantity_in(r, input) END,
					vibevideo_internal.said_number(input->'duration'), vibevideo_internal.said_number(input->'seconds'),
					vibevideo_internal.said_number(input->'num_frames')
					/ coalesce(vibevideo_internal.said_number(input->'frames_per_second'), vibevideo_internal.said_number(input->'fps')));
END
$$;
COMMENT ON FUNCTION vibevideo_internal.asked_seconds(text, jsonb, timestamptz) IS 'how long a video an input asks for, NULL if it does not say; owner only';

-- The same of its picture: the lengths of its short and its long side, the latter NULL
-- if the input names lines, as 1080p.
CREATE FUNCTION vibevideo_internal.asked_sides(input jsonb, OUT short numeric, OUT long numeric)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	said constant text = lower(left(coalesce(input->>'resolution', input->>'size'), 100));
	sides constant text[] = regexp_match(said, '^\s*([0-9]{2,5})\s*[x*]\s*([0-9]{2,5})\s*$');
	width numeric = coalesce(sides[1]::numeric, vibevideo_internal.said_number(input->'width'));
	height numeric = coalesce(sides[2]::numeric, vibevideo_internal.said_number(input->'height'));
BEGIN
	short = coalesce(substring(said FROM '^\s*([0-9]{3,4})p\s*$')::numeric, CASE WHEN said = '4k' THEN 2160 END);
	IF short IS NULL AND width IS NOT NULL AND height IS NOT NULL THEN
		short = least(width, height);
		long = greatest(width, height);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.asked_sides(jsonb) IS 'how large a picture an input asks for, NULL if it does not say; owner only';

/*
 * vibevideo_internal.delivered_less(endpoint, input, at, duration_ms, width, height, fps, has_audio) -
 * in which the video is less than its input asked for, as {"duration_ms": {"asked": 10000,
 * "got": 6040}}; null if in nothing, or nothing that is known.  Models round: to whole
 * pictures, to multiples of 16 or 32 points.  So it is less only from some 5 % on.  It
 * raises no errors, since the end of a job depends on it.
 */
CREATE FUNCTION vibevideo_internal.delivered_less(endpoint text, input jsonb, at timestamptz, duration_ms bigint, width int, height int,
												  fps numeric, has_audio boolean)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	enough constant numeric = 0.95;
	seconds constant numeric = vibevideo_internal.asked_seconds(endpoint, input, at);
	asked_fps constant numeric = coalesce(vibevideo_internal.said_number(input->'fps'), vibevideo_internal.said_number(input->'frames_per_second'));
	aspect constant numeric[] = regexp_match(left(input->>'aspect_ratio', 20), '^\s*([0-9]{1,4})\s*[:/]\s*([0-9]{1,4})\s*$');
	sides record;
	less jsonb = '{}';
BEGIN
	IF duration_ms < seconds * 1000 * enough - 100 THEN
		less = less || jsonb_build_object('duration_ms', jsonb_build_object('asked', round(seconds * 1000), 'got', duration_ms));
	END IF;
	SELECT s.short, s.long INTO sides FROM vibevideo_internal.asked_sides(input) s;
	IF least(width, height) < sides.short * enough OR greatest(width, height) < sides.long * enough THEN
		less = less || jsonb_build_object('resolution', jsonb_build_object(
			'asked', CASE WHEN sides.long IS NULL THEN sides.short || 'p' ELSE format('%sx%s', sides.long, sides.short) END, 'got', format('%sx%s', width, height)));
	END IF;
	IF aspect[1] > 0 AND aspect[2] > 0 AND width > 0 AND height > 0
	   AND abs(width * aspect[2] / (height * aspect[1]) - 1) > 1 - enough
	THEN
		less = less || jsonb_build_object('aspect_ratio', jsonb_build_object('asked', format('%s:%s', aspect[1], aspect[2]), 'got', format('%s:%s', width, height)));
	END IF;
	IF fps < asked_fps * enough THEN
		less = less || jsonb_build_object('fps', jsonb_build_object('asked', asked_fps, 'got', fps));
	END IF;
	IF NOT has_audio AND 'true' IN (input->'generate_audio', input->'enable_audio', input->'with_audio', input->'audio') THEN
		less = less || jsonb_build_object('has_audio', jsonb_build_object('asked', true, 'got', false));
	END IF;
	RETURN nullif(less, '{}');
END
$$;
COMMENT ON FUNCTION vibevideo_internal.delivered_less(text, jsonb, timestamptz, bigint, int, int, numeric, boolean) IS
	'in which a video is less than was asked for, NULL if in nothing; owner only';

-- What was corrected, or added, is an operator's rule from now on, also for what is
-- under way.
INSERT INTO vibevideo.price_rule (endpoint, valid_from, unit_price_usd, note)
SELECT m.endpoint, '2000-01-01 00:00+00', CASE WHEN m.price_usd > 100000 THEN 100000 ELSE m.price_usd END, 'price_usd of vibevideo 0.1.0'
FROM vibevideo.model m WHERE vibevideo_internal.is_endpoint(m.endpoint)
  AND m.price_usd IS DISTINCT FROM (SELECT r.unit_price_usd FROM vibevideo.price_rule r WHERE r.endpoint = m.endpoint AND r.applies = '{}' AND r.unit = 'video');
ALTER TABLE vibevideo.model DROP COLUMN price_usd;
COMMENT ON TABLE vibevideo.model IS 'limits of models, and which of them rows may name; an endpoint without a row has none';

-------------------------------------------------------------------------------
-- Errands
-------------------------------------------------------------------------------

/*
 * vibevideo_internal.platform(what, query, admin) - asks fal.ai's platform API, which says more than
 * what becomes of jobs.
 * what: pricing, models, usage, billing-events or billing; src/fal.c has the paths.
 * query: names and values in turn.
 * admin: with the key of scope ADMIN.
 * Returns HTTP's status, NULL if there was no answer, and the answer as text or why there
 * is none.
 */
CREATE FUNCTION vibevideo_internal.platform(what text, query text[], admin boolean DEFAULT false, OUT status int, OUT body text, OUT why text)
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'vibevideo_platform';
COMMENT ON FUNCTION vibevideo_internal.platform(text, text[], boolean) IS 'asks fal.ai''s platform API, over the network; why there is no answer; owner only';

-- The same as jsonb, or an error; about: of what.
CREATE FUNCTION vibevideo_internal.ask_platform(what text, query text[], about text, admin boolean DEFAULT false)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	said record;
BEGIN
	SELECT p.body, p.why INTO said FROM vibevideo_internal.platform(what, query, admin) p;
	IF said.why IS NULL THEN
		BEGIN
			RETURN said.body::jsonb;
		EXCEPTION WHEN data_exception OR statement_too_complex OR program_limit_exceeded THEN
			said.why = 'the answer cannot be read: ' || SQLERRM;
		END;
	END IF;
	RAISE EXCEPTION USING
		ERRCODE = 'connection_exception',
		MESSAGE = format('fal.ai does not say anything of %s', vibevideo_internal.shown(about)),
		DETAIL = said.why;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.ask_platform(text, text[], text, boolean) IS 'what fal.ai''s platform API says of something: 08000; owner only';

/*
 * What the worker asks the platform API by itself, now and then.  An errand NAME is a row
 * here and two functions in vibevideo_internal:
 *
 *	NAME_asks(INOUT state jsonb, OUT what text, OUT query text[], OUT admin boolean)
 *		the next question, as platform takes it, and the state that its answer needs, which
 *		may be left out; what is NULL if there is nothing to ask, and then it is called
 *		again a minute later
 *	NAME_hears(state jsonb, status int, said jsonb, why text) RETURNS jsonb
 *		the answer, or why there is none: does something about it, and returns the state
 *		for the next question of the same errand, which follows at once, or NULL, the
 *		end.  An error undoes what it did, and the question is asked again later.
 *
 * state is {} at first.  After three failures in a row it is {} again, so that what has
 * gone wrong half-way, like a page that is not there any more, is begun anew.
 */
CREATE TABLE vibevideo_internal.errand (
	name text COLLATE pg_catalog."C" PRIMARY KEY,
	every interval NOT NULL,
	next_at timestamptz NOT NULL DEFAULT pg_catalog.now() OPERATOR(pg_catalog.+) '1 hour',
	tries int NOT NULL DEFAULT 0,
	error text,
	done_at timestamptz,
	state jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE vibevideo_internal.errand IS 'what the worker asks fal.ai''s platform API now and then: every, next_at; tries that failed in a row and the last error; when it was last done to its end; state between its questions';

-- When an errand is tried again that has failed so often: after a minute, two, four...
CREATE FUNCTION vibevideo_internal.errand_patience(e vibevideo_internal.errand)
RETURNS interval LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN least(e.every, interval '1 minute' * (1 << least(e.tries, 9)));
COMMENT ON FUNCTION vibevideo_internal.errand_patience(vibevideo_internal.errand) IS 'when an errand is tried again; owner only';

-- Its time is put off before it is asked: an answer that never comes delays it, too.
CREATE FUNCTION vibevideo_internal.next_errand(with_admin boolean, OUT name text, OUT what text, OUT query text[], OUT admin boolean)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	e vibevideo_internal.errand;
	asked jsonb;
BEGIN
	FOR e IN SELECT x.* FROM vibevideo_internal.errand x WHERE x.next_at <= now() ORDER BY x.next_at LOOP
		e.state = CASE WHEN e.tries > 0 AND e.tries % 3 = 0 THEN '{}' ELSE e.state END;
		BEGIN
			EXECUTE format('SELECT to_jsonb(a) -> ''state'', a.what, a.query, coalesce(a.admin, false) FROM vibevideo_internal.%I($1) a', e.name || '_asks')
			INTO asked, what, query, admin USING e.state;
			CONTINUE WHEN what IS NULL OR admin AND NOT with_admin;
			name = e.name;
			e.state = coalesce(asked, e.state);
		EXCEPTION WHEN OTHERS THEN
			what = NULL;
			UPDATE vibevideo_internal.errand x SET error = SQLERRM WHERE x.name = e.name;
		END;
		UPDATE vibevideo_internal.errand x
		SET tries = e.tries + 1, next_at = now() + vibevideo_internal.errand_patience(e), state = e.state
		WHERE x.name = e.name;
		EXIT WHEN next_errand.name IS NOT NULL;
	END LOOP;
	IF name IS NULL THEN
		what = NULL;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.next_errand(boolean) IS 'the errand that is due, which is not due any more then, and what it asks; owner only';

CREATE FUNCTION vibevideo_internal.errand_done(name text, status int, body text, why text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	e vibevideo_internal.errand;
	next jsonb;
BEGIN
	SELECT x.* INTO e FROM vibevideo_internal.errand x WHERE x.name = errand_done.name FOR UPDATE;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	EXECUTE format('SELECT vibevideo_internal.%I($1, $2, $3, $4)', e.name || '_hears') INTO next USING e.state, status, body::jsonb, why;
	UPDATE vibevideo_internal.errand x
	SET tries = 0, error = NULL, state = coalesce(next, '{}'), done_at = CASE WHEN next IS NULL THEN now() ELSE e.done_at END,
		next_at = CASE WHEN next IS NULL THEN now() + e.every ELSE now() END
	WHERE x.name = e.name;
EXCEPTION WHEN OTHERS THEN
	UPDATE vibevideo_internal.errand x SET error = left(SQLERRM, 1000) WHERE x.name = errand_done.name;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.errand_done(text, int, text, text) IS 'hands the answer to an errand on, or why there is none; owner only';

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

-------------------------------------------------------------------------------
-- What is new, or reads differently
-------------------------------------------------------------------------------

ALTER TABLE vibevideo.binding ADD COLUMN pause_scope text, ADD COLUMN paused_by text, ADD COLUMN paused_at timestamptz,
	ADD COLUMN pause_reason text, ADD COLUMN tenant_column name, ADD COLUMN model_column name, ADD COLUMN meta_column name,
	ADD COLUMN on_delete text CHECK (on_delete OPERATOR(pg_catalog.=) 'erase'),
	ADD COLUMN keep_versions int CHECK (keep_versions OPERATOR(pg_catalog.>) 0),
	ADD CHECK (pause_scope OPERATOR(pg_catalog.=) ANY (ARRAY['sending', 'all']));
-- null: the rows of jobs that are there bear what the job says, unless they are
-- still to be written
ALTER TABLE vibevideo.job ADD COLUMN row_bears text COLLATE pg_catalog."C";
ALTER TABLE vibevideo.job ALTER COLUMN row_bears SET DEFAULT '?';
-- before the first UPDATE: the trigger looks at these
ALTER TABLE vibevideo.job ADD COLUMN forgotten_at timestamptz, ADD COLUMN objection text, ADD COLUMN earlier_position int, ADD COLUMN earlier_at timestamptz;
-- null: costs of the jobs that are there are in past_costs, and those of active
-- ones are taken back by the trigger
ALTER TABLE vibevideo.job ADD COLUMN unsettled boolean;
ALTER TABLE vibevideo.job ALTER COLUMN unsettled SET DEFAULT true;
ALTER TABLE vibevideo.job ADD COLUMN cost_estimated_usd numeric,
	ADD COLUMN cost_source text CHECK (cost_source OPERATOR(pg_catalog.=) ANY (ARRAY['units', 'duration', 'estimate', 'bill'])),
	ADD COLUMN billable_units numeric,
	ADD COLUMN tenant text COLLATE pg_catalog."C",
	ADD COLUMN held_usd numeric,
	ADD COLUMN width int, ADD COLUMN height int, ADD COLUMN fps numeric, ADD COLUMN video_codec text, ADD COLUMN has_audio boolean,
	ADD COLUMN audio_codec text, ADD COLUMN faststart boolean, ADD COLUMN has_c2pa boolean, ADD COLUMN bit_rate bigint, ADD COLUMN delivered_less jsonb,
	ADD COLUMN erased_at timestamptz;
CREATE INDEX past_costs_day ON vibevideo.past_costs (day);
COMMENT ON TABLE vibevideo.past_costs IS 'costs of jobs that have ended, be they still in vibevideo.job or not; user_id is empty where nobody is known';
INSERT INTO vibevideo.past_costs AS p (user_id, day, model, submits, videos, settled_usd)
SELECT coalesce(j.requested_by, ''), (j.created_at AT TIME ZONE 'UTC')::date, j.model, count(*) FILTER (WHERE NOT j.orphan),
	   count(*) FILTER (WHERE j.billed), coalesce(sum(j.cost_usd) FILTER (WHERE j.billed), 0)
FROM vibevideo.job j GROUP BY 1, 2, 3
ON CONFLICT (user_id, day, model) DO UPDATE SET submits = p.submits + EXCLUDED.submits,
	videos = p.videos + EXCLUDED.videos, settled_usd = p.settled_usd + EXCLUDED.settled_usd;
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
UPDATE vibevideo.job SET row_bears = CASE WHEN row_dirty THEN '?' END, unsettled = true
WHERE row_dirty OR state = ANY (ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing']);
CREATE INDEX job_unsettled ON vibevideo.job (job_id)
	WHERE unsettled AND state OPERATOR(pg_catalog.=) ANY (ARRAY['completed', 'failed', 'cancelled']);
-- For people.  None of them has an unfinished job, so that they cost nothing until a
-- job ends.
CREATE INDEX job_user ON vibevideo.job (requested_by, completed_at, job_id) WHERE next_at IS NULL AND requested_by IS NOT NULL;
CREATE INDEX job_error ON vibevideo.job (error_code COLLATE pg_catalog."C", completed_at, job_id) INCLUDE (model, state, forgotten_at)
	WHERE error_code IS NOT NULL AND next_at IS NULL;
CREATE INDEX job_paid ON vibevideo.job (completed_at) WHERE state OPERATOR(pg_catalog.=) 'failed' AND media_url IS NOT NULL;
CREATE INDEX job_orphan ON vibevideo.job (completed_at, job_id) WHERE orphan AND next_at IS NULL;
CREATE INDEX job_row_error ON vibevideo.job (updated_at) WHERE row_error IS NOT NULL;
CREATE INDEX job_failed ON vibevideo.job (completed_at) WHERE state OPERATOR(pg_catalog.=) 'failed';
CREATE INDEX job_suspect ON vibevideo.job (next_at) WHERE crashes OPERATOR(pg_catalog.>=) 2 AND next_at IS NOT NULL;
ALTER INDEX vibevideo.job_created SET (autosummarize = on);


COMMENT ON FUNCTION vibevideo_internal.job_changed() IS
	'trigger: a new job takes its share of the limits, one that ended gives back; counts steps in vibevideo_internal.tally; reports a new status on channel vibevideo';

-- All states, in the order a job goes through them.
CREATE FUNCTION vibevideo_internal.states()
RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
RETURN ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing', 'completed', 'failed', 'cancelled'];
COMMENT ON FUNCTION vibevideo_internal.states() IS 'the inner states of a job; owner only';

CREATE OR REPLACE FUNCTION vibevideo_internal.check_attachable(relation regclass)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
	kind text;
BEGIN
	SELECT c.relkind, c.relpersistence, c.relispartition, c.relrowsecurity, c.relforcerowsecurity, c.relowner,
		   n.nspname, o.rolname AS owner, o.rolsuper OR o.rolbypassrls AS owner_bypasses,
		   (SELECT i.inhparent::regclass FROM pg_inherits i WHERE i.inhrelid = c.oid LIMIT 1) AS parent
	INTO t
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
	WHERE c.oid = check_attachable.relation;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_table',
			MESSAGE = format('there is no table %s', coalesce(relation::text, 'NULL')),
			HINT = 'Name the app''s table, as in SELECT vibevideo.attach(''public.vibelogs'').';
	END IF;
	IF t.nspname IN ('pg_catalog', 'information_schema', 'pg_toast') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = format('%s belongs to PostgreSQL and cannot be attached', relation),
			HINT = 'Attach a table of the app.';
	ELSIF t.nspname IN ('vibevideo', 'vibevideo_internal') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('%s belongs to vibevideo itself and cannot be attached', relation),
			HINT = 'Attach a table of the app.';
	END IF;
	IF t.relkind NOT IN ('r', 'p') THEN
		kind = CASE t.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
			   WHEN 'S' THEN 'a sequence' WHEN 'c' THEN 'a composite type' ELSE 'an index' END;
		RAISE EXCEPTION USING
			ERRCODE = 'wrong_object_type',
			MESSAGE = format('%s is %s, not a table', relation, kind),
			DETAIL = 'vibevideo adds columns and writes a video''s status into the row itself.',
			HINT = CASE WHEN t.relkind IN ('v', 'm') THEN 'Attach the table the view reads.'
				   WHEN t.relkind = 'f' THEN 'Attach the table on the server that holds it.'
				   ELSE 'Attach a table of the app.' END;
	END IF;
	IF t.relpersistence = 't' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'feature_not_supported',
			MESSAGE = format('%s is a temporary table', relation),
			DETAIL = 'The background worker could not see its rows.',
			HINT = 'Attach a permanent table.';
	END IF;
	IF t.relispartition THEN
		RAISE EXCEPTION USING
			ERRCODE = 'wrong_object_type',
			MESSAGE = format('%s is a partition of %s', relation, t.parent),
			HINT = format('Attach the parent: SELECT vibevideo.attach(%L).', t.parent);
	END IF;
	IF NOT pg_has_role(current_user, t.relowner, 'USAGE') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = format('must be owner of table %s to attach it', relation),
			HINT = format('Call vibevideo.attach as %I or as a superuser.', t.owner);
	END IF;
	IF t.relrowsecurity AND t.relforcerowsecurity AND NOT t.owner_bypasses THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('row-level security of %s is forced on its owner %I', relation, t.owner),
			DETAIL = 'The background worker writes rows as the table''s owner, and the policies could hide them from it.',
			HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY; or ALTER ROLE %I BYPASSRLS.', relation, t.owner);
	END IF;
END
$$;

CREATE FUNCTION vibevideo.is_active(state text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN state = ANY (ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing']);
COMMENT ON FUNCTION vibevideo.is_active(text) IS
'Says whether a job in this inner state has not ended.
state: as in vibevideo.jobs.state.
Returns false for an unknown state, NULL for NULL. Raises no errors.
For viewers, operators and service_role.';

CREATE FUNCTION vibevideo.error_class(error_code text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN error_code IS NULL THEN NULL
	WHEN error_code = ANY (ARRAY['content_policy_violation']) THEN 'policy'
	WHEN error_code = ANY (ARRAY['unauthorized', 'forbidden', 'http_402', 'balance']) THEN 'balance'
	WHEN error_code = ANY (ARRAY['limit', 'fal_busy']) THEN 'limit'
	WHEN error_code = ANY (ARRAY['job_timeout', 'start_timeout', 'timeout', 'stalled', 'too_slow', 'copy_timeout',
		'startup_timeout', 'request_timeout', 'generation_timeout']) THEN 'time'
	WHEN error_code = ANY (ARRAY['storage_not_configured', 'bad_storage_url', 'upload_failed', 'upload_short', 'upload_moved',
		'upload_expired', 'video_too_large']) THEN 'storage'
	WHEN error_code = ANY (ARRAY['bad_request', 'cancelled', 'client_cancelled', 'client_disconnected', 'address_refused',
		'media_host_denied', 'rolled_back', 'orphaned', 'table_gone', 'row_gone', 'paused', 'quarantined',
		'out_of_memory']) THEN 'other'
	WHEN error_code = ANY (ARRAY['answer_lost', 'submit_lost', 'fal_down', 'not_found', 'method_not_allowed', 'redirected',
		'path_not_found', 'request_failed', 'no_video', 'unsupported_output', 'not_ready', 'already_completed',
		'unknown_status', 'gateway_5xx', 'bad_response', 'connect_failed', 'connection_lost', 'response_too_large',
		'bad_media_url', 'bad_redirect', 'media_gone', 'download_failed', 'not_a_video', 'internal_error',
		'internal_server_error', 'downstream_service_error', 'downstream_service_unavailable',
		'concurrent_requests_limit']) THEN 'provider'
	WHEN error_code ~ '^(runner_|remote_|http_)' THEN 'provider'
	WHEN error_code = ANY (ARRAY['validation_error', 'no_media_generated', 'image_load_error', 'file_download_error',
		'face_detection_error', 'file_too_large', 'greater_than', 'greater_than_equal', 'less_than', 'less_than_equal',
		'multiple_of', 'one_of', 'feature_not_supported', 'invalid_archive', 'missing', 'extra_forbidden', 'enum',
		'literal_error', 'json_invalid', 'assertion_error']) THEN 'input'
	WHEN error_code ~ '^(value_error|type_error|archive_file_count_|unsupported_(audio|image|video)_format)'
		OR error_code ~ '_(type|parsing|mismatch|too_(long|short|small|large))$' THEN 'input'
	WHEN error_code COLLATE "C" ~ '^[A-Z]' THEN 'storage'
	ELSE 'other' END;
COMMENT ON FUNCTION vibevideo.error_class(text) IS
'Says what kind of trouble an error code means.
error_code: as in vibevideo.jobs.error_code.
Returns policy, input, balance, provider, storage, time, limit or other (also for an unknown code); NULL for
  NULL. Raises no errors.
For viewers, operators and service_role.';

-------------------------------------------------------------------------------
-- What a user reads, and why a job waits
-------------------------------------------------------------------------------

ALTER TYPE vibevideo.video ADD ATTRIBUTE estimate_seconds int, ADD ATTRIBUTE waits_for text;

CREATE TYPE vibevideo_internal.reason AS (
	code text,
	sentence text,
	until timestamptz,
	ahead int,
	estimate interval,
	message text
);
COMMENT ON TYPE vibevideo_internal.reason IS 'why a job waits: sentence is for operators, message for its user, if the job is pending or rendering and its state does not say it all';

CREATE FUNCTION vibevideo_internal.reason_of(job_id bigint)
RETURNS vibevideo_internal.reason LANGUAGE c STABLE STRICT COST 10000 AS 'MODULE_PATHNAME', 'vibevideo_reason_of';
COMMENT ON FUNCTION vibevideo_internal.reason_of(bigint) IS 'what holds a job now; NULL if there is no such job';

CREATE FUNCTION vibevideo_internal.shown_error(j vibevideo.job)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE
	WHEN (j).state = 'submit_unknown'
		THEN 'The provider''s answer was lost; nothing is sent again until it is known whether it has the job'
	WHEN (j).state = 'cancelled' THEN CASE WHEN (j).error_code IS NOT NULL THEN 'It was cancelled' END
	WHEN (j).state = 'failed' THEN CASE
		WHEN (j).error_code = 'submit_lost' THEN 'The provider''s answer was lost, and it shows no trace of the video'
		WHEN (j).generated_at IS NOT NULL THEN CASE vibevideo.error_class((j).error_code)
			WHEN 'time' THEN 'The video was made, but it took too long to save it' ELSE 'The video was made, but could not be saved' END
		ELSE CASE vibevideo.error_class((j).error_code)
			WHEN 'policy' THEN 'The provider rejects this content' || coalesce(' (' || (j).objection || ')', '')
			WHEN 'input' THEN 'The provider cannot use this input' || coalesce(' (' || (j).objection || ')', '')
			WHEN 'balance' THEN 'The provider takes no requests of this service at the moment'
			WHEN 'provider' THEN 'The provider could not make the video'
			WHEN 'time' THEN 'The video took too long'
			WHEN 'limit' THEN 'No new attempt was made, since a limit is reached'
			ELSE 'The video could not be made' END END
	WHEN (j).error_code IS NULL OR (j).state = 'completed' THEN NULL
	WHEN (j).state = 'processing' THEN 'The video cannot be saved at the moment'
	WHEN (j).error_code = 'paused' THEN 'Sending is paused'
	WHEN (j).error_code = ANY (ARRAY['http_429', 'http_503', 'concurrent_requests_limit']) THEN 'The provider is busy'
	WHEN (j).error_code = ANY (ARRAY['fal_down', 'connect_failed', 'connection_lost', 'timeout', 'gateway_5xx'])
		THEN 'The provider cannot be reached at the moment'
	ELSE CASE vibevideo.error_class((j).error_code)
		WHEN 'limit' THEN 'Others are ahead of it'
		WHEN 'balance' THEN 'The provider takes no requests of this service at the moment'
		WHEN 'other' THEN 'Something went wrong'
		ELSE 'The provider has a problem at the moment' END
END;
COMMENT ON FUNCTION vibevideo_internal.shown_error(vibevideo.job) IS 'what is wrong with a job, in words for the app''s user; NULL if nothing is';

CREATE OR REPLACE FUNCTION vibevideo_internal.job_message(j vibevideo.job)
RETURNS text LANGUAGE sql STABLE
RETURN CASE
	WHEN (j).cancel_requested_at IS NOT NULL AND vibevideo.is_active((j).state) AND (j).state <> 'processing'
		THEN 'Cancelling'
	WHEN (j).state = 'pending' THEN coalesce((vibevideo_internal.reason_of((j).job_id)).message, 'Waiting to be sent')
	WHEN (j).state = 'submitting' THEN 'Being sent'
	WHEN (j).state = 'submit_unknown' THEN vibevideo_internal.shown_error(j)
	WHEN (j).state = 'queued' AND (j).queue_position > 0
		THEN format('Video queued, %s ahead of you', to_char((j).queue_position, 'FM999,999,999'))
	WHEN (j).state = 'queued' THEN 'Video queued'
	WHEN (j).state = 'generating' AND (j).queue_position IS NOT NULL
		THEN format('The provider restarted the job, %s ahead of you', to_char((j).queue_position, 'FM999,999,999'))
	-- any other reason is one of ours, and fal goes on without us
	WHEN (j).state = 'generating' AND (vibevideo_internal.reason_of((j).job_id)).code = 'rendering'
		THEN coalesce((vibevideo_internal.reason_of((j).job_id)).message, 'AI is generating')
	WHEN (j).state = 'generating' THEN 'AI is generating'
	WHEN (j).state = 'processing' AND (j).leased_by IS NULL AND (j).tries > 0
		THEN format('Your video is made and waits to be copied (try %s)', (j).tries + 1)
	WHEN (j).state = 'processing' AND (j).leased_by IS NULL THEN 'Your video is made and waits to be copied'
	WHEN (j).state = 'processing' AND (j).bytes_done > 0 AND (j).bytes_total > 0 AND vibevideo_internal.seconds_left(j) >= 0
		THEN format('Copying %s %%, %s, %s left', least(100, (j).bytes_done * 100 / (j).bytes_total),
					CASE WHEN (j).bytes_per_second >= 1000000 THEN format('%s MB/s', round((j).bytes_per_second / 1e6))
						 ELSE format('%s kB/s', ceil((j).bytes_per_second / 1e3)) END,
					CASE WHEN vibevideo_internal.seconds_left(j) < 100 THEN format('%s s', vibevideo_internal.seconds_left(j) + 1)
						 ELSE format('%s min', ceil(vibevideo_internal.seconds_left(j) / 60.0)) END)
	WHEN (j).state = 'processing' AND (j).bytes_done > 0 AND (j).bytes_total > 0
		THEN format('Copying %s %%', least(100, (j).bytes_done * 100 / (j).bytes_total))
	WHEN (j).state = 'processing' AND (j).bytes_done > 0
		THEN format('Copying, %s so far', pg_size_pretty((j).bytes_done))
	WHEN (j).state = 'processing' THEN 'Copying the video'
	WHEN (j).state = 'completed' AND (j).erased_at IS NOT NULL THEN 'Your video was deleted'
	WHEN (j).state = 'completed' THEN 'Your video is ready'
	WHEN (j).state = 'failed'
		THEN format('Failed: %s%s', lower(left(vibevideo_internal.shown_error(j), 1)), substr(vibevideo_internal.shown_error(j), 2))
	WHEN (j).state = 'cancelled' THEN 'Cancelled'
END;
COMMENT ON FUNCTION vibevideo_internal.job_message(vibevideo.job) IS 'what a person should read about a job';

CREATE FUNCTION vibevideo_internal.job_progress(j vibevideo.job)
RETURNS real LANGUAGE sql IMMUTABLE
RETURN CASE WHEN (j).state = 'completed' THEN 1
			WHEN (j).state = 'processing' AND (j).bytes_total > 0 THEN least(1, coalesce((j).bytes_done, 0)::real / (j).bytes_total)
	   END::real;
COMMENT ON FUNCTION vibevideo_internal.job_progress(vibevideo.job) IS 'how much of the video is copied, from 0 to 1; NULL if that is not known';

CREATE OR REPLACE FUNCTION vibevideo.describe(j vibevideo.job)
RETURNS vibevideo.video LANGUAGE sql STABLE
RETURN ROW(
	(j).vibelog_id,
	vibevideo_internal.shown_status((j).state),
	(j).request_id,
	CASE WHEN (j).erased_at IS NULL THEN (j).video_url END,
	vibevideo_internal.job_message(j),
	CASE WHEN (j).state = ANY (ARRAY['queued', 'generating']) THEN (j).queue_position END,
	vibevideo_internal.job_progress(j),
	(j).attempt,
	(j).error_code,
	CASE WHEN (j).error_code IS NOT NULL OR (j).state = ANY (ARRAY['submit_unknown', 'failed']) THEN vibevideo_internal.shown_error(j) END,
	(j).submitted_at,
	(j).updated_at,
	(j).completed_at,
	CASE WHEN vibevideo.is_active((j).state)
		 THEN ceil(extract(epoch FROM (vibevideo_internal.reason_of((j).job_id)).estimate))::int END,
	CASE WHEN vibevideo.is_active((j).state) THEN (vibevideo_internal.reason_of((j).job_id)).code END)::vibevideo.video;
COMMENT ON FUNCTION vibevideo.describe(vibevideo.job) IS
'Shows a job as the functions for the app return it.
j: a row of vibevideo.job.
Returns it as vibevideo.video. Raises no errors.
For viewers, operators and service_role.';

-- What the row of a video gets to know of it, where the table has a column for that.
-- The type is that of the stored file, which is named after it; fal.ai's word may differ.
CREATE FUNCTION vibevideo_internal.video_meta(j vibevideo.job)
RETURNS jsonb LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN jsonb_build_object(
	'width', (j).width, 'height', (j).height, 'fps', (j).fps, 'duration_ms', (j).duration_ms,
	'video_codec', (j).video_codec, 'has_audio', (j).has_audio, 'audio_codec', (j).audio_codec,
	'faststart', (j).faststart, 'has_c2pa', (j).has_c2pa,
	'bytes', (j).bytes_total, 'bit_rate', (j).bit_rate, 'sha256', encode((j).sha256, 'hex'),
	'content_type', CASE substring((j).object_key FROM '[^.]+$')
						WHEN 'mp4' THEN 'video/mp4' WHEN 'webm' THEN 'video/webm' WHEN 'mov' THEN 'video/quicktime'
						WHEN 'mkv' THEN 'video/x-matroska' WHEN 'gif' THEN 'image/gif' ELSE (j).media_type END,
	'ai_generated', true);
COMMENT ON FUNCTION vibevideo_internal.video_meta(vibevideo.job) IS
	'what is known of a stored video, for the app''s row; owner only';

CREATE OR REPLACE VIEW vibevideo.jobs AS
SELECT j.job_id, j.vibelog_id COLLATE pg_catalog."default" AS vibelog_id, vibevideo_internal.shown_status(j.state) AS status, j.state,
	   j.request_id COLLATE pg_catalog."default" AS request_id, j.video_url,
	   vibevideo_internal.job_message(j) AS message,
	   CASE WHEN j.state IN ('queued', 'generating') THEN j.queue_position END AS queue_position,
	   vibevideo_internal.job_progress(j) AS progress, j.attempt, j.error_code, j.error,
	   j.model, j.tries, j.next_at, j.bytes_done, j.bytes_total, j.media_url, j.requested_by,
	   j.orphan, j.created_at, j.sent_at, j.submitted_at, j.generated_at, j.updated_at, j.completed_at,
	   j.row_dirty, j.row_error, j.cost_usd::numeric(10, 4) AS cost_usd, j.billed, j.bytes_per_second, vibevideo_internal.seconds_left(j) AS seconds_left,
	   j.duration_ms, j.object_key, j.forgotten_at,
	   CASE WHEN vibevideo.is_active(j.state) OR j.row_dirty THEN (vibevideo_internal.reason_of(j.job_id)).code END AS waits_for,
	   CASE WHEN vibevideo.is_active(j.state) OR j.row_dirty THEN (vibevideo_internal.reason_of(j.job_id)).sentence END AS why,
	   CASE WHEN vibevideo.is_active(j.state) OR j.row_dirty THEN (vibevideo_internal.reason_of(j.job_id)).until END AS waits_until,
	   CASE WHEN vibevideo.is_active(j.state) THEN (vibevideo_internal.reason_of(j.job_id)).estimate END AS estimate,
	   j.cost_estimated_usd, j.cost_source, j.billable_units, j.tenant, j.held_usd,
	   j.width, j.height, j.fps, j.video_codec, j.has_audio, j.audio_codec, j.faststart, j.has_c2pa, j.bit_rate,
	   j.delivered_less, j.erased_at
FROM vibevideo.job j;
COMMENT ON VIEW vibevideo.jobs IS 'one row a job, newest state, for dashboards';
COMMENT ON COLUMN vibevideo.jobs.job_id IS 'the job''s number';
COMMENT ON COLUMN vibevideo.jobs.vibelog_id IS 'the key of its row, as text';
COMMENT ON COLUMN vibevideo.jobs.status IS 'what the app sees: queued, generating, processing, completed, failed or cancelled';
COMMENT ON COLUMN vibevideo.jobs.state IS 'its inner state: as status or, of what the app sees as queued, pending, submitting or submit_unknown';
COMMENT ON COLUMN vibevideo.jobs.request_id IS 'fal.ai''s id of the request; NULL until fal.ai has accepted it';
COMMENT ON COLUMN vibevideo.jobs.video_url IS 'the video''s public URL; NULL until it is stored';
COMMENT ON COLUMN vibevideo.jobs.message IS 'what the app''s user should read';
COMMENT ON COLUMN vibevideo.jobs.queue_position IS 'how many requests are ahead at fal.ai; NULL if that is not known, or it is not there';
COMMENT ON COLUMN vibevideo.jobs.progress IS 'how much of the video is copied, from 0 to 1; NULL if it is not being copied, or its size is not known';
COMMENT ON COLUMN vibevideo.jobs.attempt IS 'which attempt of its row this is, from 1';
COMMENT ON COLUMN vibevideo.jobs.error_code IS 'what is wrong, for programs, perhaps only for a while; NULL if nothing is';
COMMENT ON COLUMN vibevideo.jobs.error IS 'the words of fal.ai, Storage or vibevideo that belong to error_code; the app''s user gets others; NULL if nothing is wrong';
COMMENT ON COLUMN vibevideo.jobs.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.jobs.tries IS 'how many tries of its phase (sending, following, copying) have failed; of a lost submit, how often it was looked up';
COMMENT ON COLUMN vibevideo.jobs.next_at IS 'when it is due next or, while a process has claimed it, when that lease ends; NULL when it has ended';
COMMENT ON COLUMN vibevideo.jobs.bytes_done IS 'how many bytes are copied; NULL until the copy has begun';
COMMENT ON COLUMN vibevideo.jobs.bytes_total IS 'how many bytes the file has; NULL if that is not known';
COMMENT ON COLUMN vibevideo.jobs.media_url IS 'where fal.ai has the file; NULL until it is rendered';
COMMENT ON COLUMN vibevideo.jobs.requested_by IS 'whose job it is: the JWT''s sub, or what the table''s user_column says; NULL if nobody is known';
COMMENT ON COLUMN vibevideo.jobs.orphan IS 'its transaction was rolled back after it was sent: it is here to be cancelled at fal.ai';
COMMENT ON COLUMN vibevideo.jobs.created_at IS 'when it was requested';
COMMENT ON COLUMN vibevideo.jobs.sent_at IS 'when it was last sent to fal.ai; NULL if it was not';
COMMENT ON COLUMN vibevideo.jobs.submitted_at IS 'when fal.ai accepted it; NULL until then';
COMMENT ON COLUMN vibevideo.jobs.generated_at IS 'when it was seen that fal.ai had rendered it, or since when that video is copied anew; NULL until then';
COMMENT ON COLUMN vibevideo.jobs.updated_at IS 'when it last changed, but for the progress of a copy';
COMMENT ON COLUMN vibevideo.jobs.completed_at IS 'when it ended, successfully or not; NULL until then';
COMMENT ON COLUMN vibevideo.jobs.row_dirty IS 'the app''s row does not show the job yet';
COMMENT ON COLUMN vibevideo.jobs.row_error IS 'why the row could not be written; NULL: nothing is wrong';
COMMENT ON COLUMN vibevideo.jobs.cost_usd IS 'what it has cost, in USD, rounded; the most that it can cost until that is settled, 0 if it has ended and is not billed; NULL if that is not known';
COMMENT ON COLUMN vibevideo.jobs.billed IS 'fal.ai has rendered the video, or billed something for it; never NULL';
COMMENT ON COLUMN vibevideo.jobs.bytes_per_second IS 'how many bytes are copied in a second, just now; NULL when no copy runs';
COMMENT ON COLUMN vibevideo.jobs.seconds_left IS 'how many seconds the copy still takes at that speed; NULL when none runs, or the size is not known';
COMMENT ON COLUMN vibevideo.jobs.duration_ms IS 'how long the video plays, in milliseconds, as the file says; NULL if it does not say, or until it was read';
COMMENT ON COLUMN vibevideo.jobs.object_key IS 'where the file is in the bucket; NULL until it is stored';
COMMENT ON COLUMN vibevideo.jobs.forgotten_at IS 'since when its failure is no longer shown as something to deal with; NULL: it is shown';
COMMENT ON COLUMN vibevideo.jobs.waits_for IS 'what holds it now: a code of vibevideo.why; NULL when it has ended and its row shows that';
COMMENT ON COLUMN vibevideo.jobs.why IS 'the same as a sentence for operators; NULL when waits_for is';
COMMENT ON COLUMN vibevideo.jobs.waits_until IS 'until when; NULL if that is not known';
COMMENT ON COLUMN vibevideo.jobs.estimate IS 'how long it may still take until the video is there; NULL if nobody can tell';
COMMENT ON COLUMN vibevideo.jobs.cost_estimated_usd IS 'what it could cost at most by the price when it was made, in USD; NULL if that was not known';
COMMENT ON COLUMN vibevideo.jobs.cost_source IS 'where cost_usd comes from: units, what fal.ai said that it bills; duration, how long the video plays; estimate, what was asked for; bill, fal.ai''s bill; NULL until it is settled, or if nothing was billed';
COMMENT ON COLUMN vibevideo.jobs.billable_units IS 'how many units fal.ai bills for it, as it said with the result; NULL if it did not';
COMMENT ON COLUMN vibevideo.jobs.tenant IS 'whose job it is besides its user: what the table''s tenant_column says; NULL if there is none';
COMMENT ON COLUMN vibevideo.jobs.held_usd IS 'what budgets still hold for it though it has ended, in USD: fal.ai may yet bill what it had begun; NULL: nothing';
COMMENT ON COLUMN vibevideo.jobs.width IS 'how wide the picture is as it is shown, in pixels: turned, and with square ones; NULL if the file does not say, or until it was read';
COMMENT ON COLUMN vibevideo.jobs.height IS 'how high it is, likewise; NULL if the file does not say, or until it was read';
COMMENT ON COLUMN vibevideo.jobs.fps IS 'how many pictures it shows in a second, on the average; NULL if the file does not say, or until it was read';
COMMENT ON COLUMN vibevideo.jobs.video_codec IS 'how the picture is coded, as browsers name it: avc1.64001f; NULL if the file does not say, or until it was read';
COMMENT ON COLUMN vibevideo.jobs.has_audio IS 'whether it has sound; NULL if that is not known, or until it was read';
COMMENT ON COLUMN vibevideo.jobs.audio_codec IS 'how the sound is coded, likewise: mp4a.40.2; NULL if there is none, or it is not known';
COMMENT ON COLUMN vibevideo.jobs.faststart IS 'whether it can be played while it arrives, since what describes it is before its data; NULL if that is not known, or until it was read';
COMMENT ON COLUMN vibevideo.jobs.has_c2pa IS 'whether it has Content Credentials (C2PA), which say how it was made; NULL if its format has no place for them, or until it was read';
COMMENT ON COLUMN vibevideo.jobs.bit_rate IS 'its bits for each second that it plays, on the average; NULL if its duration is not known, or until it was read';
COMMENT ON COLUMN vibevideo.jobs.delivered_less IS 'in which the video is less than its input asked for, with what was asked and what came: {"duration_ms": {"asked": 10000, "got": 6040}}; NULL if in nothing that is known';
COMMENT ON COLUMN vibevideo.jobs.erased_at IS 'since when its video is erased: vibevideo.receipt says what was, vibevideo.erasure what is still to be; NULL: it is not';

DROP FUNCTION vibevideo.worker_info();
CREATE FUNCTION vibevideo.worker_info(OUT pid int, OUT started_at timestamptz, OUT heartbeat_at timestamptz,
									  OUT last_poll_at timestamptz, OUT starts bigint, OUT failures bigint,
									  OUT fal_down_until timestamptz, OUT storage_down_until timestamptz,
									  OUT fal_down_since timestamptz, OUT storage_down_since timestamptz,
									  OUT fal_is_probed boolean, OUT storage_is_probed boolean,
									  OUT has_fal_key boolean, OUT has_storage_key boolean,
									  OUT copies int, OUT absence text, OUT restart_at timestamptz,
									  OUT cannot_start boolean)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_worker_info';
COMMENT ON FUNCTION vibevideo.worker_info() IS
'Shows this database''s background worker, as shared memory knows it.
Returns one row:
pid: its process; NULL if it is not running.
started_at, heartbeat_at, last_poll_at: when it was started, when it last took its turn, and when anybody last
  called vibevideo_poll(); NULL for never.
starts, failures: how often it was started, and has failed, since the server started; NULL if this database
  has had none.
fal_down_until, storage_down_until: until when fal.ai and Storage are left alone by their circuit breakers;
  NULL if they are not.
fal_down_since, storage_down_since: since when; NULL if they are not.
fal_is_probed, storage_is_probed: whether one request is trying just now whether they answer again.
has_fal_key, has_storage_key: whether it has found the API keys; NULL if it has not looked yet.
copies: how many copies run; NULL without a worker.
absence: why there is no worker, in words; NULL if there is one.
restart_at: when it is started again; NULL if that is not planned.
cannot_start: whether something keeps it from starting.
Errors: 55000 library and extension are of different versions.
For viewers, operators and service_role.';

-- Since when and until when submits wait since fal.ai's account has no money left;
-- nulls if they do not.
CREATE FUNCTION vibevideo_internal.account_wait(OUT since timestamptz, OUT until timestamptz, OUT probed boolean)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_account_wait';
COMMENT ON FUNCTION vibevideo_internal.account_wait() IS 'since when and until when submits wait for money at fal.ai, nulls if they do not; owner only';

CREATE FUNCTION vibevideo_internal.because(code text, sentence text, message text DEFAULT NULL, until timestamptz DEFAULT NULL,
										   ahead int DEFAULT NULL, estimate interval DEFAULT NULL)
RETURNS vibevideo_internal.reason LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN ROW(code, sentence, until, ahead, CASE WHEN estimate < interval '0' THEN interval '0' ELSE estimate END, message)::vibevideo_internal.reason;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.because(text, text, text, timestamptz, int, interval) IS
	'makes a reason, whose estimate is not negative; owner only';

CREATE FUNCTION vibevideo_internal.clock(at timestamptz)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN isfinite(at) THEN to_char(at, CASE WHEN at::date = now()::date THEN 'HH24:MI:SS' ELSE 'YYYY-MM-DD HH24:MI:SS' END) ELSE at::text END;
COMMENT ON FUNCTION vibevideo_internal.clock(timestamptz) IS 'a time for people, with its date if that is not today''s; owner only';

CREATE FUNCTION vibevideo_internal.span(length interval, to_length interval DEFAULT NULL)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT CASE WHEN to_length IS NULL OR n.low = n.high THEN '' WHEN n.low = 0 THEN 'up to ' ELSE n.low || ' to ' END
		   || n.high || CASE n.unit WHEN 1 THEN ' s' WHEN 60 THEN ' min' WHEN 3600 THEN ' h' ELSE ' d' END
	FROM (SELECT s.unit, round(s.low / s.unit) AS low, greatest(round(s.high / s.unit), 1) AS high
		  FROM (SELECT r.low, r.high, CASE WHEN r.high < 100 THEN 1 WHEN r.high < 6000 THEN 60 WHEN r.high < 172800 THEN 3600 ELSE 86400 END AS unit
				FROM (SELECT greatest(extract(epoch FROM length), 0) AS low,
							 greatest(extract(epoch FROM coalesce(to_length, length)), 0) AS high) r) s) n
	WHERE length IS NOT NULL;
END;
COMMENT ON FUNCTION vibevideo_internal.span(interval, interval) IS 'how long, or from how long to how long, for people; owner only';

CREATE OR REPLACE FUNCTION vibevideo_internal.ago(moment timestamptz)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN moment IS NULL THEN 'never'
			WHEN clock_timestamp() - moment < interval '1 second' THEN 'just now'
			ELSE vibevideo_internal.span(clock_timestamp() - moment) || ' ago' END;

CREATE FUNCTION vibevideo_internal.still(rest interval)
RETURNS interval LANGUAGE sql IMMUTABLE
RETURN CASE WHEN rest > interval '0' THEN rest END;
COMMENT ON FUNCTION vibevideo_internal.still(interval) IS 'what is left, NULL if nothing is; owner only';

CREATE FUNCTION vibevideo_internal.many(n bigint)
RETURNS text LANGUAGE sql STABLE
RETURN CASE WHEN n > 1000 THEN 'more than 1,000' ELSE to_char(n, 'FM9,999') END;
COMMENT ON FUNCTION vibevideo_internal.many(bigint) IS 'how many, for people, of what is counted to 1001; owner only';

CREATE FUNCTION vibevideo_internal.ahead_of_you(n bigint)
RETURNS text LANGUAGE sql STABLE
RETURN CASE WHEN n = 0 THEN 'Waiting to be sent, you are next' WHEN n > 0 THEN format('Waiting to be sent, %s ahead of you', vibevideo_internal.many(n))
			ELSE 'Waiting to be sent' END;
COMMENT ON FUNCTION vibevideo_internal.ahead_of_you(bigint) IS 'what a user reads who waits behind so many, NULL if that is not known; owner only';

-- How often fal.ai's list has been read for a lost submit, and when it is next: at no
-- time means now.
CREATE FUNCTION vibevideo_internal.lost_looks(tries int, next_at timestamptz)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN format('%s, %s', CASE tries WHEN 0 THEN 'not looked up yet' WHEN 1 THEN 'looked up once' ELSE format('looked up %s times', tries) END,
			  CASE WHEN next_at IS NULL THEN 'and now again' ELSE format('next at %s', vibevideo_internal.clock(next_at)) END);
COMMENT ON FUNCTION vibevideo_internal.lost_looks(int, timestamptz) IS 'how often a lost submit was looked up, and when it is next; owner only';

CREATE FUNCTION vibevideo_internal.lost_ends(sent_at timestamptz, error text)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	policy constant text = current_setting('vibevideo.unknown_policy');
	acts_at constant timestamptz = sent_at + current_setting('vibevideo.unknown_after')::interval;
BEGIN
	RETURN CASE WHEN policy = 'manual' THEN 'it waits for a decision: SELECT vibevideo.resolve(job_id, ...)'
				WHEN policy = 'resubmit' THEN 'if it is not found, unknown_policy resubmit has it sent again at once'
				WHEN acts_at > clock_timestamp() THEN format('if it is not found, unknown_policy %s acts at %s', policy, vibevideo_internal.clock(acts_at))
				ELSE concat_ws(': ', format('unknown_policy %s acts once fal.ai''s list has been read', policy), error) END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.lost_ends(timestamptz, text) IS 'how a lost submit comes to an end; owner only';

CREATE FUNCTION vibevideo_internal.quoted(words text)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN length(words) > 200 THEN rtrim(left(translate(words, E'\n\r\t', '   '), 200)) || ' ...' ELSE translate(words, E'\n\r\t', '   ') END;
COMMENT ON FUNCTION vibevideo_internal.quoted(text) IS 'somebody''s words on one line, cut; owner only';

-- After what it is tried again; a job may wait for a later time without an error.
CREATE FUNCTION vibevideo_internal.after_error(words text, error_code text, error text)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN concat_ws(', ', words, 'after ' || nullif(concat_ws(': ', error_code, error), ''));
COMMENT ON FUNCTION vibevideo_internal.after_error(text, text, text) IS 'the words, with the error that came before, if there was one; owner only';

CREATE FUNCTION vibevideo_internal.submit_line(most int, OUT jobs bigint[], OUT turns int[], OUT whole boolean, OUT waiting int, OUT room int)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
	due constant timestamptz = clock_timestamp();
	users text[];
	of_each int;
	seen record;
BEGIN
	room = vibevideo_internal.room_at_fal();
	SELECT count(*) INTO waiting
	FROM (SELECT FROM vibevideo.job j WHERE j.state = 'pending' AND j.next_at <= due LIMIT most + 1) x;
	WITH RECURSIVE hop AS (
		(SELECT coalesce(j.requested_by, '') AS name FROM vibevideo.job j
		 WHERE j.state = 'pending' ORDER BY coalesce(j.requested_by, '') LIMIT 1)
		UNION ALL
		SELECT (SELECT coalesce(j.requested_by, '') FROM vibevideo.job j
				WHERE j.state = 'pending' AND coalesce(j.requested_by, '') > h.name
				ORDER BY coalesce(j.requested_by, '') LIMIT 1)
		FROM hop h WHERE h.name IS NOT NULL
	)
	SELECT array_agg(f.name) FILTER (WHERE f.name IS NOT NULL) INTO users FROM (SELECT h.name FROM hop h LIMIT most + 1) f;
	whole = false;
	IF cardinality(users) > most THEN
		RETURN;
	END IF;
	of_each = ceil(most::numeric / greatest(cardinality(users), 1));
	LOOP
		SELECT coalesce(array_agg(c.job_id ORDER BY c.priority DESC, c.turn, c.next_at, c.job_id), '{}') AS jobs,
			   array_agg(c.turn::int ORDER BY c.priority DESC, c.turn, c.next_at, c.job_id) AS turns, count(*) AS n,
			   count(*) FILTER (WHERE c.turn = of_each) AS cut,
			   -- a user who is cut off has more that come before others' last
			   coalesce(max(c.priority) FILTER (WHERE c.turn = of_each) > min(c.priority), false) AS more_come_first
		INTO seen
		FROM unnest(users) AS u(name) CROSS JOIN LATERAL (
			SELECT j.job_id, j.priority, j.next_at, row_number() OVER (ORDER BY j.priority DESC, j.next_at ROWS UNBOUNDED PRECEDING) AS turn
			FROM vibevideo.job j
			WHERE j.state = 'pending' AND coalesce(j.requested_by, '') = u.name AND j.next_at <= due AND j.cancel_requested_at IS NULL
			ORDER BY j.priority DESC, j.next_at LIMIT of_each) c;
		EXIT WHEN seen.cut = 0 OR of_each >= most OR seen.n >= most AND NOT seen.more_come_first;
		of_each = least(of_each * 4, most);
	END LOOP;
	whole = seen.cut = 0 AND seen.n <= most;
	jobs = seen.jobs[1:most];
	turns = seen.turns[1:most];
END
$$;
COMMENT ON FUNCTION vibevideo_internal.submit_line(int) IS 'the order in which pending jobs are sent: the first of them; owner only';

CREATE FUNCTION vibevideo_internal.place_in_line(job_id bigint, OUT place int, OUT turn int, OUT waiting int, OUT room int)
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'vibevideo_place_in_line';
COMMENT ON FUNCTION vibevideo_internal.place_in_line(bigint) IS
	'where a pending job is in the order of sending: 1002 beyond 1001, NULL if unknown; which of its user''s it is; how many wait; room at fal.ai; owner only';

-- Is Supabase Vault here?  A "vault" that some user has made is not read, so the
-- owner must be a superuser.  src/owner.c is the same.
CREATE FUNCTION vibevideo_internal.has_vault()
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			   JOIN pg_roles o ON o.oid = c.relowner JOIN pg_roles s ON s.oid = n.nspowner
			   WHERE n.nspname = 'vault' AND c.relname = 'decrypted_secrets' AND o.rolsuper AND s.rolsuper);
COMMENT ON FUNCTION vibevideo_internal.has_vault() IS 'whether keys are looked for in Supabase Vault; owner only';

CREATE FUNCTION vibevideo_internal.key_places(environment text, setting text, secret text)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN concat_ws(', ', CASE WHEN secret <> '' AND vibevideo_internal.has_vault() THEN format('Vault (secret "%s")', secret) END,
				 format('the server''s environment (%s)', environment)) || format(' or the setting %s', setting);
COMMENT ON FUNCTION vibevideo_internal.key_places(text, text, text) IS 'where a key is looked for; owner only';

CREATE FUNCTION vibevideo_internal.find_reason(job_id bigint)
RETURNS vibevideo_internal.reason LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	patience constant interval = '2 minutes';
	trouble constant text = 'Waiting to be sent: this service has a problem at the moment';
	now constant timestamptz = clock_timestamp();
	j record;
	b vibevideo.binding;
	w record;
	account record;
	line record;
	alive boolean;
	follows boolean;
	copies boolean;
	most int;
	ahead int;
	moved int;
	elapsed interval;
	left_over interval;
	try text;
	again text;
BEGIN
	SELECT x.state, vibevideo.is_active(x.state) AS active, x.orphan, x.relation, x.model, x.requested_by, x.priority, x.tries,
		   x.crashes, x.error_code, CASE WHEN x.error IS NOT NULL THEN vibevideo_internal.quoted(x.error) END AS error, x.next_at, x.leased_by,
		   x.cancel_requested_at, x.queue_position, x.earlier_position, x.earlier_at, x.sent_at, x.submitted_at, x.generated_at,
		   x.completed_at, x.updated_at, x.bytes_done, x.bytes_total, x.bytes_per_second, vibevideo_internal.seconds_left(x) AS seconds_left,
		   x.row_dirty, CASE WHEN x.row_error IS NOT NULL THEN vibevideo_internal.quoted(x.row_error) END AS row_error, x.row_next_at, x.row_tries,
		   coalesce(t.render_p50, m.usual_seconds * interval '1 second') AS render_p50, t.render_p90,
		   coalesce(t.copy_p50, interval '0') AS copy_p50,
		   coalesce(t.total_p50, m.usual_seconds * interval '1 second') AS total_p50
	INTO j
	FROM vibevideo.job x
	LEFT JOIN vibevideo.typical t ON t.model = x.model LEFT JOIN vibevideo.model m ON m.endpoint = x.model
	WHERE x.job_id = find_reason.job_id;
	IF NOT FOUND THEN
		RETURN NULL;
	ELSIF NOT j.active AND NOT j.row_dirty THEN
		RETURN vibevideo_internal.because('ended', concat_ws(': ', format('it has ended: %s at %s', j.state, vibevideo_internal.clock(j.completed_at)),
			CASE WHEN j.state <> 'completed' THEN nullif(concat_ws(': ', j.error_code, j.error), '') END));
	END IF;
	follows = j.state IN ('queued', 'generating');
	copies = j.state = 'processing';

	-- the database
	IF pg_is_in_recovery() THEN
		RETURN vibevideo_internal.because('standby', 'this server is a standby, its primary works on the jobs');
	END IF;
	SELECT y.* INTO b FROM vibevideo.binding y;
	IF NOT FOUND THEN
		RETURN vibevideo_internal.because('detached', 'no table is attached: SELECT vibevideo.attach(...)', 'Waiting to be sent: sending is paused');
	ELSIF b.paused AND b.pause_scope IS DISTINCT FROM 'sending' OR vibevideo_internal.is_copy(b) THEN
		RETURN vibevideo_internal.because(CASE WHEN b.paused_by IS NOT NULL OR b.paused AND b.paused_at IS NULL THEN 'paused' ELSE 'copy' END,
										  vibevideo_internal.pause_cause(b), 'Waiting to be sent: sending is paused');
	ELSIF b.paused AND j.state = 'pending' THEN
		RETURN vibevideo_internal.because('paused', vibevideo_internal.pause_cause(b), 'Waiting to be sent: sending is paused');
	END IF;
	IF NOT j.active THEN
		RETURN vibevideo_internal.because('row', CASE
			WHEN j.relation IS DISTINCT FROM b.relation THEN format('its row is not written: table %s is not attached', coalesce(j.relation::text, '?'))
			WHEN j.row_error IS NOT NULL THEN format('its row is not written: %s; next try at %s', j.row_error, vibevideo_internal.clock(j.row_next_at))
			WHEN j.row_tries > 0 THEN format('its row is locked by another transaction; next try at %s', vibevideo_internal.clock(j.row_next_at))
			ELSE 'its row is about to be written' END, until => j.row_next_at);
	END IF;

	-- who works on it: a caller's vibevideo_poll only polls
	SELECT i.* INTO w FROM vibevideo.worker_info() i;
	SELECT a.* INTO account FROM vibevideo_internal.account_wait() a;
	alive = w.pid IS NOT NULL AND coalesce(w.heartbeat_at, w.started_at) > now - patience;
	IF NOT alive AND j.state <> 'submitting' AND NOT (follows AND coalesce(w.last_poll_at > now - patience, false)) THEN
		RETURN vibevideo_internal.because('worker', CASE
			WHEN w.pid IS NOT NULL THEN format('the background worker, process %s, has not moved since %s', w.pid, vibevideo_internal.clock(w.heartbeat_at))
			WHEN w.restart_at IS NOT NULL THEN format('the background worker is not running: %s; it is started again at %s', w.absence, vibevideo_internal.clock(w.restart_at))
			ELSE format('the background worker is not running: %s', w.absence) END,
			CASE WHEN w.pid IS NOT NULL OR w.cannot_start OR w.restart_at > now + interval '10 s' THEN trouble END,
			until => w.restart_at);
	ELSIF copies AND current_setting('vibevideo.storage_kind') <> 'none' AND current_setting('vibevideo.storage_url') = '' THEN
		RETURN vibevideo_internal.because('no_storage', 'vibevideo.storage_url is not set');
	ELSIF copies AND NOT w.has_storage_key AND current_setting('vibevideo.storage_kind') <> 'none' THEN
		RETURN vibevideo_internal.because('no_key', format('no Storage key in %s',
			vibevideo_internal.key_places('SUPABASE_SERVICE_ROLE_KEY', 'vibevideo.storage_key', current_setting('vibevideo.storage_key_secret'))));
	ELSIF NOT copies AND j.state <> 'submitting' AND NOT w.has_fal_key THEN
		RETURN vibevideo_internal.because('no_key', format('no fal.ai API key in %s',
			vibevideo_internal.key_places('FAL_KEY', 'vibevideo.fal_key', current_setting('vibevideo.fal_key_secret'))), trouble);
	END IF;

	-- a service that is down, unless its turn comes later anyway
	IF (j.state = 'pending' OR follows) AND w.fal_down_until IS NOT NULL AND j.next_at <= greatest(w.fal_down_until, now) THEN
		RETURN vibevideo_internal.because('fal_down', format('fal.ai has been unreachable since %s; %s', vibevideo_internal.clock(w.fal_down_since),
			CASE WHEN w.fal_is_probed THEN 'it is being probed' WHEN w.fal_down_until <= now THEN 'the next request is a probe'
				 ELSE format('next probe in %s', vibevideo_internal.span(w.fal_down_until - now)) END),
			'Waiting to be sent: the provider cannot be reached at the moment', until => w.fal_down_until);
	ELSIF j.state = 'pending' AND account.until IS NOT NULL AND j.next_at <= greatest(account.until, now) THEN
		RETURN vibevideo_internal.because('balance', format('the balance at fal.ai is used up, since %s; %s', vibevideo_internal.clock(account.since),
			CASE WHEN account.probed THEN 'one submit tries whether it is still so' WHEN account.until <= now THEN 'the next submit tries whether it is still so'
				 ELSE format('the next submit tries in %s whether it is still so', vibevideo_internal.span(account.until - now)) END),
			trouble, until => account.until);
	ELSIF copies AND w.storage_down_until IS NOT NULL AND j.leased_by IS NULL AND j.next_at <= greatest(w.storage_down_until, now) THEN
		RETURN vibevideo_internal.because('storage_down', format('Storage has been unreachable since %s; %s', vibevideo_internal.clock(w.storage_down_since),
			CASE WHEN w.storage_is_probed THEN 'it is being probed' WHEN w.storage_down_until <= now THEN 'the next request is a probe'
				 ELSE format('next probe in %s', vibevideo_internal.span(w.storage_down_until - now)) END), until => w.storage_down_until);
	END IF;

	-- the job itself
	try = CASE WHEN j.tries = 0 THEN 'next try' WHEN follows THEN format('try %s', j.tries + 1)
			   ELSE format('try %s of %s', j.tries + 1, current_setting('vibevideo.max_tries')) END;
	again = 'Waiting to be sent';
	IF j.tries > 0 OR j.error_code IS NOT NULL THEN
		SELECT concat_ws(': ', CASE WHEN j.tries > 0 THEN format('Waiting to be sent again (try %s)', j.tries + 1) ELSE again END,
						 lower(left(e.words, 1)) || substr(e.words, 2))
		INTO again FROM vibevideo.job x CROSS JOIN LATERAL (SELECT vibevideo_internal.shown_error(x) AS words) e
		WHERE x.job_id = find_reason.job_id;
	END IF;
	IF j.crashes >= 2 THEN
		RETURN vibevideo_internal.because('quarantine', format('set aside, since the worker crashed %s times while it had this job: %s', j.crashes,
			CASE WHEN j.leased_by IS NOT NULL THEN 'it is being tried alone' ELSE format('tried alone at %s', vibevideo_internal.clock(j.next_at)) END),
			until => CASE WHEN j.leased_by IS NULL THEN j.next_at END);
	ELSIF j.cancel_requested_at IS NOT NULL AND NOT copies THEN
		RETURN vibevideo_internal.because('cancel', concat_ws('; ', format('a cancel is on its way since %s', vibevideo_internal.clock(j.cancel_requested_at)),
			CASE WHEN j.state = 'submitting' THEN 'fal.ai has not answered the submit yet'
				 WHEN j.state = 'submit_unknown' THEN format('first it has to be found out whether fal.ai has the job: %s', j.error)
				 WHEN j.tries > 0 THEN vibevideo_internal.after_error(format('%s at %s', try, vibevideo_internal.clock(j.next_at)), j.error_code, j.error) END),
			until => CASE WHEN j.leased_by IS NULL AND j.next_at > now THEN j.next_at END);
	ELSIF j.state = 'submitting' THEN
		RETURN vibevideo_internal.because('sending', format('being sent since %s', vibevideo_internal.clock(j.sent_at)), estimate => j.total_p50);
	ELSIF j.state = 'submit_unknown' THEN
		RETURN vibevideo_internal.because('lost', format('the answer to its submit was lost: %s; %s',
			vibevideo_internal.lost_looks(j.tries, CASE WHEN j.leased_by IS NULL THEN j.next_at END),
			vibevideo_internal.lost_ends(j.sent_at, j.error)), until => CASE WHEN j.leased_by IS NULL THEN j.next_at END);
	ELSIF j.leased_by IS NULL AND j.next_at > now AND (j.error_code IS NOT NULL OR NOT follows) THEN
		RETURN vibevideo_internal.because('backoff', vibevideo_internal.after_error(format('%s at %s', try, vibevideo_internal.clock(j.next_at)), j.error_code, j.error),
			again, until => j.next_at,
			-- somebody may have put it off for ever, by hand
			estimate => CASE WHEN NOT isfinite(j.next_at) THEN NULL WHEN copies THEN j.next_at - now + j.copy_p50
							 WHEN j.state = 'pending' THEN j.next_at - now + j.total_p50 END);
	ELSIF j.state = 'pending' THEN
		most = current_setting('vibevideo.max_active');
		SELECT l.* INTO line FROM vibevideo_internal.place_in_line(find_reason.job_id) l;
		ahead = line.place - 1;
		-- the line may be a second old
		IF most > 0 AND line.room < coalesce(line.place, 1002) THEN
			RETURN vibevideo_internal.because('max_active', format('%s of %s that wait for one of %s places at fal.ai (vibevideo.max_active)',
				CASE WHEN ahead <= 1000 THEN to_char(line.place, 'FM9,999th') ELSE 'one' END,
				vibevideo_internal.many(line.waiting), most),
				vibevideo_internal.ahead_of_you(ahead), ahead => ahead,
				estimate => CASE WHEN ahead <= 1000 THEN j.render_p50 * (line.place::float8 / most) + j.total_p50 END);
		ELSIF ahead > 0 OR line.place IS NULL AND line.waiting > 1 THEN
			RETURN vibevideo_internal.because('turn', concat_ws(', ',
				CASE WHEN line.place IS NULL THEN 'waits for its turn: users take turns, and more than 1,000 users wait'
					 ELSE format('waits for its turn: %s ahead', vibevideo_internal.many(ahead)) END,
				CASE WHEN line.turn = 1 THEN 'none of them of its own user' WHEN line.turn > 1 THEN format('%s of them of its own user', vibevideo_internal.many(line.turn - 1)) END),
				vibevideo_internal.ahead_of_you(ahead), ahead => ahead, estimate => j.total_p50);
		END IF;
		RETURN vibevideo_internal.because('next', concat_ws('; ', 'it is sent next',
			CASE WHEN j.next_at < now - interval '1 minute' THEN format('due since %s: the server log may say why it is not', vibevideo_internal.clock(j.next_at)) END),
			CASE WHEN j.tries > 0 THEN again ELSE 'Waiting to be sent' END, ahead => 0, estimate => j.total_p50);
	ELSIF copies AND j.leased_by IS NOT NULL THEN
		RETURN vibevideo_internal.because('copying', concat_ws(', ',
			CASE WHEN j.bytes_done > 0 AND j.bytes_total > 0 THEN format('copying: %s %% of %s', least(100, j.bytes_done * 100 / j.bytes_total), pg_size_pretty(j.bytes_total))
				 WHEN j.bytes_done > 0 THEN format('copying: %s so far', pg_size_pretty(j.bytes_done)) ELSE 'its copy has begun' END,
			CASE WHEN j.bytes_per_second > 0 THEN pg_size_pretty(j.bytes_per_second) || '/s' END,
			CASE WHEN j.seconds_left >= 0 THEN format('%s left', vibevideo_internal.span((j.seconds_left + 1) * interval '1 second')) END,
			CASE WHEN j.tries > 0 THEN vibevideo_internal.after_error(try, j.error_code, j.error) END),
			until => now + j.seconds_left * interval '1 second',
			estimate => coalesce(j.seconds_left * interval '1 second', vibevideo_internal.still(j.copy_p50 - (now - j.generated_at))));
	ELSIF copies THEN
		most = current_setting('vibevideo.max_transfers');
		SELECT count(*) INTO ahead FROM (
			SELECT FROM vibevideo.job x WHERE x.state = 'processing' AND x.next_at < j.next_at LIMIT 1001) x;
		IF w.copies >= most THEN
			RETURN vibevideo_internal.because('copy_slots', format('all %s copies run that vibevideo.max_transfers allows; %s ahead', most, vibevideo_internal.many(ahead)),
				ahead => ahead, estimate => CASE WHEN ahead <= 1000 THEN j.copy_p50 * (1 + (ahead + 1)::float8 / most) END);
		END IF;
		RETURN vibevideo_internal.because('next', concat_ws('; ', 'its copy begins next',
			CASE WHEN j.next_at < now - interval '1 minute' THEN format('due since %s: the server log may say why it does not', vibevideo_internal.clock(j.next_at)) END),
			ahead => ahead, estimate => j.copy_p50);
	END IF;

	-- fal.ai
	elapsed = now - j.submitted_at;
	try = CASE WHEN j.error_code IS NOT NULL THEN format('the last answer was %s: %s', j.error_code, j.error) END;
	left_over = coalesce(vibevideo_internal.still(j.render_p50 - elapsed), vibevideo_internal.still(j.render_p90 - elapsed)) + j.copy_p50;
	IF j.state = 'queued' THEN
		moved = j.earlier_position - j.queue_position;
		IF moved > 0 AND j.updated_at > j.earlier_at THEN
			left_over = (j.updated_at - j.earlier_at) * (j.queue_position::float8 / moved) + j.render_p50 + j.copy_p50;
		END IF;
		RETURN vibevideo_internal.because('fal_queue', concat_ws('; ',
			CASE WHEN j.queue_position > 0 THEN format('in fal.ai''s queue, %s ahead', to_char(j.queue_position, 'FM999,999,999'))
				 WHEN j.queue_position = 0 THEN 'next in fal.ai''s queue' ELSE 'in fal.ai''s queue' END,
			CASE WHEN moved > 0 THEN format('it moved %s in the last %s', to_char(moved, 'FM999,999,999'), vibevideo_internal.span(j.updated_at - j.earlier_at))
				 WHEN moved = 0 AND j.updated_at > j.earlier_at + interval '1 minute'
				 THEN format('it has not moved in the last %s', vibevideo_internal.span(j.updated_at - j.earlier_at)) END, try),
			ahead => j.queue_position, estimate => left_over);
	END IF;
	RETURN vibevideo_internal.because('rendering', concat_ws('; ',
		CASE WHEN elapsed > j.render_p90 THEN format('rendering for longer than usual: accepted by fal.ai %s ago', vibevideo_internal.span(elapsed))
			 ELSE format('rendering, accepted by fal.ai %s ago', vibevideo_internal.span(elapsed)) END,
		CASE WHEN j.render_p50 IS NOT NULL THEN format('usually %s with this model', vibevideo_internal.span(j.render_p50, j.render_p90)) END,
		CASE WHEN j.queue_position IS NOT NULL THEN format('fal.ai has started it over, %s ahead', to_char(j.queue_position, 'FM999,999,999')) END, try),
		CASE WHEN elapsed > j.render_p90 THEN 'AI is generating, which takes longer than usual' END,
		ahead => j.queue_position, estimate => left_over);
END
$$;
COMMENT ON FUNCTION vibevideo_internal.find_reason(bigint) IS 'what holds a job now, found anew; NULL if there is no such job; owner only';

CREATE FUNCTION vibevideo.why(job_id bigint)
RETURNS TABLE (code text, sentence text, until timestamptz, ahead int, estimate interval)
LANGUAGE plpgsql STABLE ROWS 1 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r vibevideo_internal.reason;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	IF job_id IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'job_id must not be null';
	END IF;
	r = vibevideo_internal.reason_of(why.job_id);
	IF r.code IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = format('there is no job %s', job_id);
	END IF;
	RETURN QUERY SELECT r.code, r.sentence, r.until, r.ahead, r.estimate;
END
$$;
COMMENT ON FUNCTION vibevideo.why(bigint) IS
'Says why a job waits: the one thing that holds it now.
job_id: as in vibevideo.jobs.
Returns one row:
code: what it is, for programs.
sentence: the same, for operators.
until: until when; NULL if that is not known.
ahead: how many jobs are ahead of it, 1001 for more than 1000 of ours; NULL if none can be, or that is not
  known.
estimate: how long it may still take until the video is there; NULL if nobody can tell.
Errors: PT404 no such job; 22004 it is null; 42501 not a viewer.
For viewers and operators.';

CREATE OR REPLACE FUNCTION vibevideo_internal.next_submits(most int, due_before timestamptz)
RETURNS SETOF bigint LANGUAGE plpgsql STABLE ROWS 64
SET search_path = pg_catalog, pg_temp SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
	IF current_setting('vibevideo.max_active')::int > 0 THEN
		most = least(most, vibevideo_internal.room_at_fal());
	END IF;
	RETURN QUERY
	WITH RECURSIVE users AS (
		(SELECT coalesce(j.requested_by, '') AS name FROM vibevideo.job j
		 WHERE j.state = 'pending' ORDER BY coalesce(j.requested_by, '') LIMIT 1)
		UNION ALL
		SELECT (SELECT coalesce(j.requested_by, '') FROM vibevideo.job j
				WHERE j.state = 'pending' AND coalesce(j.requested_by, '') > u.name
				ORDER BY coalesce(j.requested_by, '') LIMIT 1)
		FROM users u WHERE u.name IS NOT NULL
	)
	SELECT c.job_id
	FROM users u CROSS JOIN LATERAL (
		SELECT j.job_id, j.priority, j.next_at, row_number() OVER (ORDER BY j.priority DESC, j.next_at ROWS UNBOUNDED PRECEDING) AS turn
		FROM vibevideo.job j
		WHERE j.state = 'pending' AND coalesce(j.requested_by, '') = u.name AND j.next_at <= due_before
		  AND j.cancel_requested_at IS NULL
		ORDER BY j.priority DESC, j.next_at LIMIT most) c
	WHERE u.name IS NOT NULL
	ORDER BY c.priority DESC, c.turn, c.next_at LIMIT most;
END
$$;

-- As grant_api_roles gives them, but only on what is new.
DO $$
DECLARE
	new constant text = 'vibevideo_internal.reason_of(bigint), vibevideo_internal.shown_error(vibevideo.job), '
		'vibevideo_internal.job_progress(vibevideo.job), vibevideo.worker_info(), vibevideo_internal.because(text, '
		'text, text, timestamptz, int, interval), vibevideo_internal.clock(timestamptz), '
		'vibevideo_internal.span(interval, interval), vibevideo_internal.still(interval), '
		'vibevideo_internal.many(bigint), vibevideo_internal.ahead_of_you(bigint), '
		'vibevideo_internal.lost_ends(timestamptz, text), vibevideo_internal.quoted(text), vibevideo_internal.after_error(text, text, text), '
		'vibevideo_internal.submit_line(int), vibevideo_internal.place_in_line(bigint), '
		'vibevideo_internal.key_places(text, text, text), vibevideo_internal.find_reason(bigint), vibevideo.why(bigint)';
	everybody constant text = concat_ws(', ', 'PUBLIC',
										(SELECT string_agg(quote_ident(r.rolname), ', ') FROM pg_roles r
										 WHERE r.rolname IN ('anon', 'authenticated', 'service_role')));
BEGIN
	EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', new, everybody);
	IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'service_role') THEN
		GRANT EXECUTE ON FUNCTION vibevideo_internal.reason_of(bigint), vibevideo_internal.shown_error(vibevideo.job), vibevideo_internal.job_progress(vibevideo.job)
			TO service_role;
	END IF;
END
$$;

-------------------------------------------------------------------------------
-- Functions that read differently
-------------------------------------------------------------------------------

CREATE FUNCTION vibevideo_internal.library_version()
RETURNS text LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'vibevideo_library_version';
COMMENT ON FUNCTION vibevideo_internal.library_version() IS 'the version of the library that is loaded; owner only';

CREATE FUNCTION vibevideo_internal.shown(name text)
RETURNS text LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_shown';
COMMENT ON FUNCTION vibevideo_internal.shown(text) IS 'a key as texts show it: cut, and control characters escaped; owner only';

CREATE OR REPLACE FUNCTION vibevideo.create_api(id_type regtype)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	errors constant text =
		E'Errors: PT404 there is no such row, or the caller may not see it; 22004 the key is null; 42501 the caller lacks rights on\n'
		'  the table; 55000 no table is attached, or vibevideo cannot work with it as it is';
	change_errors constant text =
		E', or is paused; 40001 somebody else changed the row''s job at this very moment: try again';
	who_may constant text = E'.\nFor authenticated, whose row-level security decides which rows, and service_role.';
	submit_errors constant text = errors || change_errors ||
		E';\n  22023 the prompt or image is missing, the prompt is too long, or the input cannot be used; PT422 the row names a\n'
		'  model that is not offered; PT402, PT429 a limit is reached' || who_may;
	extension_oid constant oid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'vibevideo');
	extension_owner constant name = (SELECT r.rolname FROM pg_extension e JOIN pg_roles r ON r.oid = e.extowner
									 WHERE e.extname = 'vibevideo');
	api record;
	foreign_function regprocedure;
	old_function regprocedure;
	created_function regprocedure;
	created regprocedure[] = '{}';
	grants text[] = '{}';
	command text;
	dependents text;
BEGIN
	IF id_type IS NULL OR id_type NOT IN ('uuid'::regtype, 'bigint'::regtype, 'integer'::regtype, 'text'::regtype) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('vibevideo cannot use keys of type %s', coalesce(id_type::text, 'NULL')),
			HINT = 'The key may be uuid, bigint, integer or text.';
	END IF;

	FOR api IN
		SELECT f.name, f.argument, f.result, f.volatility, f.description,
			   CASE WHEN f.many THEN t.typarray ELSE t.oid END::regtype AS argument_type
		FROM (VALUES
			('vibevideo_submit', 'vibelog_id', false, 'vibevideo.video', 'VOLATILE',
			 E'Asks for a video of one row of the attached table: sends it to fal.ai and returns at once, with the request id.\n'
			 'vibelog_id: the row''s key.\n'
			 'Returns the video. While the row has an active job that is that job, so that a double click never pays twice. After it\n'
			 '  has ended, a call makes a new attempt, which is paid for; with vibevideo.resubmit_completed off, not if the video is\n'
			 '  completed. If fal.ai refuses it, the video''s status is failed.\n' || submit_errors),
			('vibevideo_submit_batch', 'vibelog_ids', true, 'SETOF vibevideo.video', 'VOLATILE',
			 E'Asks for videos of many rows: only notes the jobs, without network; the background worker sends them after the commit.\n'
			 'vibelog_ids: the rows'' keys.\n'
			 'Returns a video for each, in the same order; which of them are new, and paid for, is as in vibevideo_submit.\n' || submit_errors),
			('vibevideo_status', 'vibelog_id', false, 'vibevideo.video', 'STABLE',
			 E'Reports how far the video of one row is; its message is made for people. No network, no writes.\n'
			 'vibelog_id: the row''s key.\n'
			 'Returns the video; its status is null if none was ever requested.\n' || errors || who_may),
			('vibevideo_estimate', 'vibelog_id', false, 'vibevideo.estimated', 'STABLE',
			 E'Says what a video of one row would cost at most, as it is now. No network, no writes.\n'
			 'vibelog_id: the row''s key.\n'
			 'Returns the estimate; its cost_usd is null if the price is not known.\n' || errors ||
			 E';\n  22023 the prompt or image is missing, the prompt is too long, or the input cannot be used; PT422 the row names a\n'
			 '  model that is not offered' || who_may),
			('vibevideo_cancel', 'vibelog_id', false, 'vibevideo.video', 'VOLATILE',
			 E'Cancels the active job of one row, here and at fal.ai.\n'
			 'vibelog_id: the row''s key.\n'
			 'Returns the video; one that has ended or is being copied is returned as it is.\n' || errors || change_errors || who_may),
			('vibevideo_retry', 'vibelog_id', false, 'vibevideo.video', 'VOLATILE',
			 E'Tries again to make the video of a row whose last job failed or was cancelled.\n'
			 'vibelog_id: the row''s key.\n'
			 'Returns the video. One that was rendered is only copied again, even if the transaction that asked for it was rolled back;\n'
			 '  anything else is a new attempt, which is paid for, a lost submit too. A job that waits is sent now.\n' || submit_errors)
		) AS f(name, argument, many, result, volatility, description)
		JOIN pg_type t ON t.oid = id_type
	LOOP
		SELECT p.oid::regprocedure INTO foreign_function
		FROM pg_proc p
		WHERE p.pronamespace = 'public'::regnamespace AND p.proname = api.name
		  AND NOT EXISTS (SELECT FROM pg_depend d
						  WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
							AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = extension_oid
							AND d.deptype = 'e')
		ORDER BY p.oid LIMIT 1;
		IF FOUND THEN
			RAISE EXCEPTION USING
				ERRCODE = 'duplicate_function',
				MESSAGE = format('function %s is in the way of vibevideo''s own', foreign_function),
				DETAIL = 'The public functions of vibevideo must not be overloaded, or PostgREST cannot tell them apart.',
				HINT = 'Drop or rename that function, then try again.';
		END IF;
		CONTINUE WHEN to_regprocedure(format('public.%I(%s)', api.name, api.argument_type)) IS NOT NULL;

		IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
			RAISE EXCEPTION USING
				ERRCODE = 'insufficient_privilege',
				MESSAGE = format('only a superuser can create vibevideo''s public functions for key type %s', id_type),
				HINT = 'Call vibevideo.attach as a superuser.';
		END IF;
		FOR old_function IN
			SELECT p.oid::regprocedure FROM pg_proc p
			WHERE p.pronamespace = 'public'::regnamespace AND p.proname = api.name
		LOOP
			grants = grants || ARRAY(
				SELECT format('GRANT EXECUTE ON FUNCTION public.%I(%s) TO %I%s', api.name, api.argument_type, r.rolname,
							  CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' END)
				FROM pg_proc p CROSS JOIN aclexplode(p.proacl) AS x JOIN pg_roles r ON r.oid = x.grantee
				WHERE p.oid = old_function AND x.grantee <> p.proowner
				  AND r.rolname NOT IN ('anon', 'authenticated', 'service_role'));
			EXECUTE format('ALTER EXTENSION vibevideo DROP FUNCTION %s', old_function);
			BEGIN
				EXECUTE format('DROP FUNCTION %s', old_function);
			EXCEPTION WHEN dependent_objects_still_exist THEN
				GET STACKED DIAGNOSTICS dependents = PG_EXCEPTION_DETAIL;
				RAISE EXCEPTION USING
					ERRCODE = 'dependent_objects_still_exist',
					MESSAGE = format('function %s cannot get key type %s because other objects depend on it',
									 old_function, id_type),
					DETAIL = dependents,
					HINT = 'Drop these objects, try again, then create them anew for the new type.';
			END;
		END LOOP;
		EXECUTE format('CREATE FUNCTION public.%I(%I %s) RETURNS %s LANGUAGE c %s SECURITY INVOKER PARALLEL UNSAFE AS %L, %L',
					   api.name, api.argument, api.argument_type, api.result, api.volatility,
					   '$libdir/vibevideo', api.name);
		created_function = format('public.%I(%s)', api.name, api.argument_type)::regprocedure;
		EXECUTE format('COMMENT ON FUNCTION %s IS %L', created_function, api.description);
		IF current_user <> extension_owner THEN
			EXECUTE format('ALTER FUNCTION %s OWNER TO %I', created_function, extension_owner);
		END IF;
		created = created || created_function;
	END LOOP;
	IF cardinality(created) = 0 THEN
		RETURN;
	END IF;

	PERFORM vibevideo.grant_api_roles();
	-- What the install script creates is a member by itself.
	FOREACH created_function IN ARRAY created LOOP
		IF NOT EXISTS (SELECT FROM pg_depend d
					   WHERE d.classid = 'pg_proc'::regclass AND d.objid = created_function
						 AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = extension_oid
						 AND d.deptype = 'e')
		THEN
			EXECUTE format('ALTER EXTENSION vibevideo ADD FUNCTION %s', created_function);
		END IF;
	END LOOP;
	-- what an operator had granted: not the extension's own, so that pg_dump keeps it
	FOREACH command IN ARRAY grants LOOP
		EXECUTE command;
	END LOOP;
	NOTIFY pgrst, 'reload schema';
END
$$;

-- Do the jobs belong to another cluster, database or timeline?  A standby has no
-- timeline of its own, but follows its primary's.  Without a binding there is no
-- other to belong to.
CREATE FUNCTION vibevideo_internal.is_elsewhere(b vibevideo.binding)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	i record;
BEGIN
	IF b.system_identifier IS NULL THEN
		RETURN false;
	END IF;
	i = vibevideo_internal.identity();
	RETURN (b.system_identifier, b.database_oid, b.timeline) IS DISTINCT FROM (i.system_identifier, i.database_oid, coalesce(i.timeline, b.timeline));
END
$$;
COMMENT ON FUNCTION vibevideo_internal.is_elsewhere(vibevideo.binding) IS
	'whether jobs belong to another cluster, database or timeline; owner only';

CREATE OR REPLACE FUNCTION vibevideo_internal.is_copy(b vibevideo.binding)
RETURNS boolean LANGUAGE sql VOLATILE
RETURN (b).paused AND (b).pause_scope IS NULL OR vibevideo_internal.is_elsewhere(b);
COMMENT ON FUNCTION vibevideo_internal.is_copy(vibevideo.binding) IS
	'whether this database is a copy, or was paused by hand: nothing is taken here until vibevideo.resume(); owner only';

CREATE FUNCTION vibevideo_internal.pause_cause(b vibevideo.binding)
RETURNS text LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET datestyle = ISO
BEGIN ATOMIC
	SELECT nullif(concat_ws('; ',
		   CASE WHEN (b).paused_by IS NOT NULL
				THEN concat_ws(': ', format(CASE (b).pause_scope WHEN 'sending' THEN 'sending was paused by %s at %s' ELSE 'paused by %s since %s' END,
											vibevideo_internal.shown((b).paused_by), date_trunc('second', (b).paused_at)),
							   vibevideo_internal.shown((b).pause_reason))
				WHEN (b).paused AND (b).pause_scope IS NULL AND (b).paused_at IS NULL THEN 'paused by an UPDATE of vibevideo.binding' END,
		   CASE WHEN (b).paused AND (b).pause_scope IS NULL AND (b).paused_at IS NOT NULL OR vibevideo_internal.is_elsewhere(b)
				THEN 'this is a restored or copied database, whose original may still work on the same jobs' END), '');
END;
COMMENT ON FUNCTION vibevideo_internal.pause_cause(vibevideo.binding) IS
	'who has paused this database, or its sending, since when and why, or that it is a copy; NULL if it is not paused; owner only';

CREATE OR REPLACE FUNCTION vibevideo_internal.binding_copied()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NEW.attached_at <> now() THEN
		NEW.paused = true;
		NEW.pause_scope = NULL;
		NEW.paused_by = NULL;
		NEW.paused_at = now();
		NEW.pause_reason = NULL;
		RAISE WARNING USING
			MESSAGE = 'vibevideo is paused: this database is a copy of the one its jobs belong to',
			HINT = 'To continue with them here, SELECT vibevideo.resume().';
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.binding_copied() IS 'trigger: jobs that come from a dump are paused until vibevideo.resume()';

CREATE OR REPLACE FUNCTION vibevideo_internal.resolve_input_function(relation regclass, wanted text)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	parts text[];
	candidate record;
BEGIN
	BEGIN
		parts = parse_ident(wanted);
	EXCEPTION WHEN invalid_parameter_value THEN
		parts = '{}';
	END;
	IF cardinality(parts) = 1 THEN
		parts = (SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
				 WHERE c.oid = resolve_input_function.relation) || parts;
	ELSIF cardinality(parts) <> 2 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_name',
			MESSAGE = format('"%s" is not the name of a function', wanted),
			HINT = 'Write input_function as schema.name or name, without parentheses.';
	END IF;

	-- the best candidate, to say what is wrong with it
	SELECT format('%I.%I', n.nspname, p.proname) AS name, pg_get_function_identity_arguments(p.oid) AS arguments,
		   coalesce(pg_get_function_result(p.oid), 'nothing') AS result,
		   p.prokind = 'f' AND NOT p.proretset AND p.pronargs = 1 AND p.proargtypes[0] = c.reltype
		   AND p.prorettype = 'jsonb'::regtype AS fits
	INTO candidate
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
	JOIN pg_class c ON c.oid = resolve_input_function.relation
	WHERE n.nspname = parts[1] AND p.proname = parts[2]
	ORDER BY fits DESC, p.oid LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_function',
			MESSAGE = format('there is no function %I.%I', parts[1], parts[2]),
			HINT = format('CREATE FUNCTION %I.%I(%s) RETURNS jsonb first; if it is in another schema write schema.name.',
						  parts[1], parts[2], relation);
	END IF;
	IF NOT candidate.fits THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_function_definition',
			MESSAGE = format('function %s cannot make a model''s input', candidate.name),
			DETAIL = format('Wanted %s(%s) returning jsonb, found %s(%s) returning %s.',
							candidate.name, relation, candidate.name, candidate.arguments, candidate.result),
			HINT = 'It must take one argument of the table''s row type and return one jsonb.';
	END IF;
	RETURN candidate.name;
END
$$;

CREATE OR REPLACE FUNCTION vibevideo_internal.add_columns(relation regclass, big boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	statuses constant text = (SELECT string_agg(quote_literal(s), ', ') FROM unnest(vibevideo_internal.statuses()) s);
	actions text[] = '{}';
	wanted record;
	has record;
	checks record;
	foreign_values text;
BEGIN
	FOR wanted IN SELECT c.name, c.type FROM vibevideo_internal.row_columns() c LOOP
		SELECT format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, a.attgenerated <> '' AS generated,
			   a.atttypid = wanted.type
			   OR wanted.type = 'text'::regtype AND a.atttypid = 'varchar'::regtype AND a.atttypmod = -1 AS fits
		INTO has
		FROM pg_attribute a
		WHERE a.attrelid = add_columns.relation AND a.attname = wanted.name AND NOT a.attisdropped;
		IF NOT FOUND THEN
			actions = actions || format('ADD COLUMN %I %s', wanted.name, wanted.type);
		ELSIF NOT has.fits THEN
			RAISE EXCEPTION USING
				ERRCODE = 'datatype_mismatch',
				MESSAGE = format('column "%s" of %s has type %s, vibevideo needs %s', wanted.name, relation, has.type, wanted.type),
				HINT = format('ALTER TABLE %s ALTER COLUMN %I TYPE %s, or rename the column so that attach adds its own.',
							  relation, wanted.name, wanted.type);
		ELSIF has.attnotnull THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_table_definition',
				MESSAGE = format('column "%s" of %s is NOT NULL', wanted.name, relation),
				DETAIL = 'It is null while there is nothing to report.',
				HINT = format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL.', relation, wanted.name);
		ELSIF has.generated THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_table_definition',
				MESSAGE = format('column "%s" of %s is a generated column', wanted.name, relation),
				DETAIL = 'vibevideo has to write it.',
				HINT = 'Rename the column so that attach adds its own.';
		END IF;
	END LOOP;

	SELECT s.present, s.refusing, s.refused INTO checks FROM vibevideo_internal.status_check(relation) s;
	IF checks.refusing IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('CHECK constraint %I of %s refuses video_generation_status %s',
							 checks.refusing, relation, checks.refused),
			HINT = format('ALTER TABLE %s DROP CONSTRAINT %I; attach adds one that takes %s.',
						  relation, checks.refusing, array_to_string(vibevideo_internal.statuses(), ', '));
	END IF;
	IF NOT checks.present
	   -- one that could not be judged may have the name
	   AND NOT EXISTS (SELECT FROM pg_constraint c
					   WHERE c.conrelid = add_columns.relation
						 AND c.conname = vibevideo_internal.derived_name(relation, '', '_video_generation_status_check'))
	THEN
		IF EXISTS (SELECT FROM pg_attribute a
				   WHERE a.attrelid = add_columns.relation AND a.attname = 'video_generation_status' AND NOT a.attisdropped)
		THEN
			-- Even a NOT VALID constraint would refuse later updates of such
			-- rows.  This reads the table, but only under ACCESS SHARE.
			EXECUTE format('SELECT string_agg(quote_literal(s), '', '' ORDER BY s) FROM ('
						   'SELECT DISTINCT video_generation_status::text AS s FROM %s '
						   'WHERE video_generation_status <> ALL ($1) LIMIT 5) d', relation)
			INTO foreign_values USING vibevideo_internal.statuses();
			IF foreign_values IS NOT NULL THEN
				RAISE EXCEPTION USING
					ERRCODE = 'check_violation',
					MESSAGE = format('rows of %s have a video_generation_status vibevideo does not know', relation),
					DETAIL = format('Found %s.', foreign_values),
					HINT = format('UPDATE these rows to NULL or to one of %s.', array_to_string(vibevideo_internal.statuses(), ', '));
			END IF;
		END IF;
		actions = actions || format('ADD CONSTRAINT %I CHECK (video_generation_status IN (%s))%s',
									vibevideo_internal.derived_name(relation, '', '_video_generation_status_check'), statuses,
									CASE WHEN big THEN ' NOT VALID' END);
	END IF;

	IF cardinality(actions) > 0 THEN
		EXECUTE format('ALTER TABLE %s %s', relation, array_to_string(actions, ', '));
	END IF;
END
$$;

CREATE OR REPLACE FUNCTION vibevideo_internal.add_index(relation regclass, big boolean)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	index_name constant name = vibevideo_internal.derived_name(relation, 'idx_', '_video_request_id');
	namesake record;
BEGIN
	IF vibevideo_internal.request_index(relation) IS NOT NULL THEN
		RETURN false;
	END IF;

	SELECT c.oid::regclass AS relation, i.indrelid = add_index.relation AND NOT i.indisvalid AS leftover INTO namesake
	FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
	WHERE c.relname = index_name
	  AND c.relnamespace = (SELECT t.relnamespace FROM pg_class t WHERE t.oid = add_index.relation);
	IF FOUND AND namesake.leftover IS NOT TRUE THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_table',
			MESSAGE = format('relation %s is in the way of an index', namesake.relation),
			DETAIL = format('vibevideo wants to run: %s', vibevideo_internal.index_command(relation)),
			HINT = 'Rename that relation, then attach again.';
	END IF;

	IF NOT big THEN
		IF namesake.leftover THEN
			EXECUTE format('DROP INDEX %s', namesake.relation);
		END IF;
		EXECUTE vibevideo_internal.index_command(relation);
		RETURN false;
	ELSIF EXISTS (SELECT FROM pg_class c WHERE c.oid = add_index.relation AND c.relkind = 'p') THEN
		RAISE NOTICE USING
			MESSAGE = format('the index on video_request_id of %s has to be made by hand', relation),
			DETAIL = 'PostgreSQL cannot build the index of a partitioned table without blocking writes, and this one is big. '
					 'vibevideo itself works without it.',
			HINT = format('CREATE INDEX %I ON ONLY %s (video_request_id) WHERE video_request_id IS NOT NULL; then CREATE INDEX '
						  'CONCURRENTLY on each partition and ALTER INDEX ... ATTACH PARTITION.', index_name, relation);
		RETURN false;
	END IF;
	RAISE NOTICE USING
		MESSAGE = format('the background worker builds index %I, without blocking', index_name),
		DETAIL = format('Table %s is too big to index it here, under a lock.', relation),
		HINT = 'SELECT * FROM vibevideo.check_config() shows when it is there.';
	RETURN true;
END
$$;

CREATE FUNCTION vibevideo_internal.names_user(type oid)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT t.typcategory NOT IN ('A', 'C')
		   AND coalesce(nullif(t.typbasetype, 0), t.oid) NOT IN ('json'::regtype, 'jsonb'::regtype, 'bytea'::regtype)
	FROM pg_type t WHERE t.oid = names_user.type;
END;
COMMENT ON FUNCTION vibevideo_internal.names_user(oid) IS 'whether a column of this type can say whose video it is; owner only';

-- A model is named by a text, or one of a list of them.
CREATE FUNCTION vibevideo_internal.names_model(type oid)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT t.typcategory IN ('S', 'E') FROM pg_type t WHERE t.oid = names_model.type;
END;
COMMENT ON FUNCTION vibevideo_internal.names_model(oid) IS 'whether a column of this type can name a model; owner only';

-- Refuses a column that an option names and that is not there, or of a type that cannot
-- name a user or a tenant, or a model, or hold what is known of a video; NULL is none.
CREATE FUNCTION vibevideo_internal.check_naming_column(relation regclass, name name, option text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	fits boolean;
	found_type text;
BEGIN
	IF name IS NULL THEN
		RETURN;
	END IF;
	SELECT CASE option WHEN 'model_column' THEN vibevideo_internal.names_model(a.atttypid)
					   WHEN 'meta_column' THEN coalesce(nullif(t.typbasetype, 0), t.oid) = 'jsonb'::regtype AND a.attgenerated = ''
					   ELSE vibevideo_internal.names_user(a.atttypid) END,
		   format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attgenerated <> '' THEN ', generated' ELSE '' END INTO fits, found_type
	FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
	WHERE a.attrelid = check_naming_column.relation AND a.attname = check_naming_column.name
	  AND a.attnum > 0 AND NOT a.attisdropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('table %s has no column "%s"', relation, name),
			HINT = format('Check %s. Names are case-sensitive here.', option);
	ELSIF NOT fits THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datatype_mismatch',
			MESSAGE = format('column "%s" of %s has type %s', name, relation, found_type),
			HINT = CASE option WHEN 'model_column' THEN 'model_column must be a text or an enum; a row names its model there, or leaves it null.'
				   WHEN 'meta_column' THEN 'meta_column must be an ordinary column of type jsonb, which vibevideo writes.'
				   ELSE format('%s must hold a single value, as a uuid, a text or a number.', option) END;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_naming_column(regclass, name, text) IS 'refuses a column that is not there, or cannot hold what its option says; owner only';

CREATE FUNCTION vibevideo_internal.guess_prompt(relation regclass, id_column name)
RETURNS name LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	prompt_names constant name[] = '{prompt,text,content,body,caption,description}';
	prompt name;
BEGIN
	SELECT a.attname INTO prompt
	FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
	WHERE a.attrelid = guess_prompt.relation AND a.attnum > 0 AND NOT a.attisdropped
	  AND a.attname = ANY (prompt_names) AND t.typcategory = 'S' AND a.attname <> guess_prompt.id_column
	ORDER BY array_position(prompt_names, a.attname) LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('table %s has no text column that looks like a prompt', relation),
			DETAIL = format('Looked for %s.', array_to_string(prompt_names, ', ')),
			HINT = 'Name the column with prompt_column => ''...''.';
	END IF;
	RETURN prompt;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.guess_prompt(regclass, name) IS 'the text column that looks like a prompt; owner only';

CREATE FUNCTION vibevideo_internal.column_faults(b vibevideo.binding)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT string_agg(CASE WHEN a.attname IS NULL THEN format('%I is missing', wanted.name)
						   ELSE format('%I has type %s', wanted.name, format_type(a.atttypid, a.atttypmod)) END, ', ' ORDER BY wanted.name)
	FROM (SELECT c.name, c.type, NULL::"char" AS category FROM vibevideo_internal.row_columns() c
		  UNION ALL VALUES ((b).id_column, (b).id_type, NULL::"char"),
						   -- a function takes what it wants out of the row
						   (CASE WHEN (b).input_function IS NULL THEN (b).prompt_column END, NULL::regtype, 'S'::"char"),
						   (CASE WHEN (b).input_function IS NULL THEN (b).image_column END, NULL::regtype, 'S'::"char"),
						   ((b).user_column, NULL::regtype, NULL::"char"),
						   ((b).tenant_column, NULL::regtype, NULL::"char"),
						   ((b).model_column, NULL::regtype, NULL::"char"),
						   ((b).meta_column, 'jsonb'::regtype, NULL::"char")) AS wanted(name, type, category)
	LEFT JOIN pg_attribute a ON a.attrelid = (b).relation AND a.attname = wanted.name AND NOT a.attisdropped
	LEFT JOIN pg_type t ON t.oid = a.atttypid
	WHERE wanted.name IS NOT NULL
	  AND (a.attname IS NULL OR t.typcategory <> wanted.category
		   OR wanted.name IN ((b).user_column, (b).tenant_column) AND NOT vibevideo_internal.names_user(a.atttypid)
		   OR wanted.name = (b).model_column AND NOT vibevideo_internal.names_model(a.atttypid)
		   -- a domain may refuse a value: that is the row's own trouble
		   OR coalesce(nullif(CASE WHEN wanted.name <> (b).id_column THEN t.typbasetype END, 0), a.atttypid) <> wanted.type
			  AND NOT (wanted.type = 'text'::regtype AND a.atttypid = 'varchar'::regtype));
END;
COMMENT ON FUNCTION vibevideo_internal.column_faults(vibevideo.binding) IS
	'columns of the attached table that are missing or have another type, NULL if none; owner only';

CREATE FUNCTION vibevideo_internal.owner_lacks(b vibevideo.binding, OUT owner name, OUT lacking text, OUT remedy text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT o.rolname, string_agg(format('%s on %s', missing.what, missing.place), ', '),
		   string_agg(format('GRANT %s ON %s TO %I;', missing.what, missing.place, o.rolname), ' ')
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
	CROSS JOIN (SELECT array_agg(r.name) || (b).meta_column AS names FROM vibevideo_internal.row_columns() r) written
	LEFT JOIN pg_proc p ON p.oid = to_regprocedure((b).input_function || format('(%s)', c.oid::regclass))
	LEFT JOIN pg_namespace f ON f.oid = p.pronamespace
	LEFT JOIN LATERAL (
		SELECT 'USAGE' AS what, format('SCHEMA %I', n.nspname) AS place WHERE NOT has_schema_privilege(o.oid, n.oid, 'USAGE')
		UNION ALL
		SELECT 'SELECT', c.oid::regclass::text
		WHERE NOT has_table_privilege(o.oid, c.oid, 'SELECT')
		  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
					  AND ((b).input_function IS NOT NULL
						   OR a.attname = ANY (written.names || ARRAY[(b).id_column, (b).prompt_column, (b).image_column, (b).user_column, (b).tenant_column,
																	   (b).model_column]))
					  AND NOT has_column_privilege(o.oid, c.oid, a.attnum, 'SELECT'))
		UNION ALL
		SELECT 'UPDATE', c.oid::regclass::text
		WHERE NOT has_table_privilege(o.oid, c.oid, 'UPDATE')
		  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
					  AND a.attname = ANY (written.names) AND NOT has_column_privilege(o.oid, c.oid, a.attnum, 'UPDATE'))
		UNION ALL
		SELECT 'USAGE', format('SCHEMA %I', f.nspname)
		WHERE f.oid <> n.oid AND NOT has_schema_privilege(o.oid, f.oid, 'USAGE')
		UNION ALL
		SELECT 'EXECUTE', format('FUNCTION %s', p.oid::regprocedure)
		WHERE p.oid IS NOT NULL AND NOT has_function_privilege(o.oid, p.oid, 'EXECUTE')
	) missing ON true
	WHERE c.oid = (b).relation AND missing.what IS NOT NULL
	GROUP BY o.rolname;
END;
COMMENT ON FUNCTION vibevideo_internal.owner_lacks(vibevideo.binding) IS
	'rights on the attached table that its owner lacks, and the GRANTs that give them; owner only';

CREATE FUNCTION vibevideo_internal.options(b vibevideo.binding)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN format('key %I (%s), prompt from %I%s%s%s%s%s%s%s%s%s%s', (b).id_column, (b).id_type, (b).prompt_column,
			  ', image from ' || quote_ident((b).image_column), ', model ' || (b).model,
			  ', a row''s model from ' || quote_ident((b).model_column), ', input from ' || (b).input_function,
			  ', user from ' || quote_ident((b).user_column), ', tenant from ' || quote_ident((b).tenant_column),
			  ', what is known of a video to ' || quote_ident((b).meta_column), CASE WHEN (b).realtime THEN ', reported to Realtime' END,
			  CASE WHEN (b).on_delete = 'erase' THEN ', videos of deleted rows are erased' END,
			  ', at most ' || (b).keep_versions || ' kept of each row');
COMMENT ON FUNCTION vibevideo_internal.options(vibevideo.binding) IS 'what the table was attached with, for people; owner only';

CREATE FUNCTION vibevideo_internal.option_changes(before vibevideo.binding, after vibevideo.binding)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT string_agg(format('%s: %s -> %s', o.name, coalesce(o.before, 'none'), coalesce(o.after, 'none')), ', ' ORDER BY o.nth)
	FROM (VALUES (1, 'id_column', (before).id_column::text, (after).id_column::text),
				 (2, 'prompt_column', (before).prompt_column::text, (after).prompt_column::text),
				 (3, 'image_column', (before).image_column::text, (after).image_column::text),
				 (4, 'model', (before).model, (after).model),
				 (5, 'input_function', (before).input_function, (after).input_function),
				 (6, 'user_column', (before).user_column::text, (after).user_column::text),
				 (7, 'realtime', (before).realtime::text, (after).realtime::text),
				 (8, 'model_column', (before).model_column::text, (after).model_column::text),
				 (9, 'tenant_column', (before).tenant_column::text, (after).tenant_column::text),
				 (10, 'meta_column', (before).meta_column::text, (after).meta_column::text),
				 (11, 'on_delete', (before).on_delete, (after).on_delete),
				 (12, 'keep_versions', (before).keep_versions::text, (after).keep_versions::text)) AS o(nth, name, before, after)
	WHERE o.before IS DISTINCT FROM o.after;
END;
COMMENT ON FUNCTION vibevideo_internal.option_changes(vibevideo.binding, vibevideo.binding) IS
	'which options differ, for people, NULL if none; owner only';

CREATE FUNCTION vibevideo_internal.option(named text, before text)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN named IS NULL THEN before ELSE nullif(named, '') END;
COMMENT ON FUNCTION vibevideo_internal.option(text, text) IS 'an option of attach: as named, none if empty, else as before; owner only';

CREATE FUNCTION vibevideo_internal.check_kept_column(relation regclass, column_name name, option text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF column_name IS NOT NULL
	   AND NOT EXISTS (SELECT FROM pg_attribute a
					   WHERE a.attrelid = check_kept_column.relation AND a.attname = check_kept_column.column_name
						 AND a.attnum > 0 AND NOT a.attisdropped)
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('table %s has no column "%s"', relation, column_name),
			DETAIL = format('It is %s from when a table was attached before.', option),
			HINT = format('Name the column that takes its place with %s => ''...'', or %s => '''' to do without.', option, option);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_kept_column(regclass, name, text) IS
	'refuses a column that an earlier attach named and that is gone; owner only';

CREATE FUNCTION vibevideo_internal.column_option(relation regclass, named name, before name, option text)
RETURNS name LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	chosen constant name = vibevideo_internal.option(named, before);
BEGIN
	IF named IS NULL THEN
		PERFORM vibevideo_internal.check_kept_column(relation, chosen, option);
	END IF;
	PERFORM vibevideo_internal.check_naming_column(relation, chosen, option);
	RETURN chosen;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.column_option(regclass, name, name, text) IS 'a column that an option of attach names, or named before, checked; owner only';

CREATE FUNCTION vibevideo_internal.other_tables(OUT name text, OUT gone boolean, OUT active bigint, OUT unwritten bigint, OUT examples text)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
BEGIN ATOMIC
	-- tables with active jobs are found by hopping through their index: most have one
	WITH RECURSIVE tables (relation) AS (
		(SELECT j.relation FROM vibevideo.job j WHERE NOT j.orphan AND vibevideo.is_active(j.state) ORDER BY j.relation LIMIT 1)
		UNION ALL
		SELECT (SELECT j.relation FROM vibevideo.job j
				WHERE NOT j.orphan AND vibevideo.is_active(j.state) AND j.relation > t.relation ORDER BY j.relation LIMIT 1)
		FROM tables t WHERE t.relation IS NOT NULL
	), other AS (
		SELECT t.relation, j.job_id, true AS active
		FROM tables t JOIN vibevideo.job j ON j.relation = t.relation
		WHERE NOT j.orphan AND vibevideo.is_active(j.state)
		  AND NOT EXISTS (SELECT FROM vibevideo.binding b JOIN pg_class c ON c.oid = b.relation WHERE b.relation = t.relation)
		UNION ALL
		SELECT j.relation, j.job_id, false
		FROM vibevideo.job j
		WHERE j.row_dirty AND NOT vibevideo.is_active(j.state) AND NOT j.orphan AND j.relation IS NOT NULL
		  AND NOT EXISTS (SELECT FROM vibevideo.binding b JOIN pg_class c ON c.oid = b.relation WHERE b.relation = j.relation)
	)
	SELECT o.relation::text, c.oid IS NULL, count(*) FILTER (WHERE o.active), count(*) FILTER (WHERE NOT o.active),
		   array_to_string((array_agg(o.job_id ORDER BY o.active DESC, o.job_id))[1:5], ', ')
	FROM other o LEFT JOIN pg_class c ON c.oid = o.relation
	GROUP BY o.relation, c.oid ORDER BY c.oid IS NULL, o.relation;
END;
COMMENT ON FUNCTION vibevideo_internal.other_tables() IS
	'unfinished jobs of tables that are not attached, or gone; owner only';

CREATE FUNCTION vibevideo_internal.adopt_jobs(former regclass, relation regclass)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	moved bigint;
	active bigint;
	left_behind bigint;
	id_type constant regtype = (SELECT b.id_type FROM vibevideo.binding b);
	like_a_key constant text = CASE id_type WHEN 'uuid'::regtype THEN '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
									WHEN 'text'::regtype THEN '' ELSE '^-?[0-9]+$' END;
BEGIN
	IF EXISTS (SELECT FROM vibevideo.job j WHERE j.relation = former AND j.vibelog_id !~ like_a_key) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datatype_mismatch',
			MESSAGE = format('jobs of %s have keys that are not of type %s', former, id_type),
			HINT = 'A table takes over the jobs of one whose rows it has, under the same keys.';
	END IF;
	WITH adopted AS (
		UPDATE vibevideo.job j SET relation = adopt_jobs.relation
		WHERE j.relation = former AND former <> adopt_jobs.relation
		  AND NOT (vibevideo.is_active(j.state) AND NOT j.orphan
				   AND EXISTS (SELECT FROM vibevideo.job k
							   WHERE k.relation = adopt_jobs.relation AND k.vibelog_id = j.vibelog_id AND NOT k.orphan
								 AND vibevideo.is_active(k.state)))
		RETURNING j.state, j.orphan)
	SELECT count(*), count(*) FILTER (WHERE vibevideo.is_active(a.state) AND NOT a.orphan) INTO moved, active FROM adopted a;
	UPDATE vibevideo.past_video p SET relation = adopt_jobs.relation WHERE p.relation = former AND former <> adopt_jobs.relation;
	-- what was written since the rows were copied is not in these: they are taken as they are
	UPDATE vibevideo.job j SET row_dirty = true, row_tries = 0, row_error = NULL, row_next_at = now(), row_bears = '?'
	WHERE j.job_id IN (SELECT max(k.job_id) FROM vibevideo.job k
					   WHERE k.relation = adopt_jobs.relation AND NOT k.orphan GROUP BY k.vibelog_id);
	RAISE NOTICE USING
		MESSAGE = format('%s takes over the jobs of %s', relation, former),
		DETAIL = format('Jobs: %s, active ones among them: %s. Its rows are brought up to date by the worker.', moved, active);
	SELECT count(*) INTO left_behind FROM vibevideo.job j WHERE j.relation = former AND former <> adopt_jobs.relation;
	IF left_behind > 0 THEN
		RAISE WARNING USING
			MESSAGE = format('some jobs of %s are not taken over', former),
			DETAIL = format('Jobs whose row has another active one: %s.', left_behind),
			HINT = 'Attach with the same arguments again when these have ended.';
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.adopt_jobs(regclass, regclass) IS
	'part of attach: makes the jobs of a table those of the one that takes its place; owner only';

-- Rows were deleted whose videos are to be erased: notes their jobs, in the same
-- transaction.  A key alone names no row's jobs: see src/whose.c, whose rule this is.  Whether
-- another row shows what this one bore, the worker sees: here others' rows are not to be read.
-- Nothing here may keep anybody from deleting rows, nor wait.  In a copy nothing is noted.  Another
-- timeline alone makes none: a standby that was promoted takes deletes at once, and the
-- worker tells a copy from it.
CREATE FUNCTION vibevideo_internal.rows_deleted()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	b vibevideo.binding;
	n bigint = 0;
BEGIN
	SELECT x.* INTO b FROM vibevideo.binding x WHERE x.relation = TG_RELID AND x.on_delete = 'erase';
	IF NOT FOUND OR b.paused AND b.pause_scope IS NULL
	   OR EXISTS (SELECT FROM vibevideo_internal.identity() i
				  WHERE (i.system_identifier, i.database_oid) IS DISTINCT FROM (b.system_identifier, b.database_oid))
	THEN
		RETURN NULL;
	END IF;
	-- this runs as the extension's owner, so nothing may be cast by what others have made
	IF (SELECT count(*) FROM pg_attribute a
		WHERE a.attrelid = TG_RELID AND a.attnum > 0 AND NOT a.attisdropped
		  AND (a.attname = b.id_column AND a.atttypid = b.id_type
			   OR a.attname IN ('video_request_id', 'video_generation_status') AND a.atttypid IN ('text'::regtype, 'varchar'::regtype))) < 3
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datatype_mismatch',
			MESSAGE = format('columns of %s are gone, or have other types than when it was attached', TG_RELID::regclass);
	END IF;
	IF TG_OP = 'TRUNCATE' THEN
		INSERT INTO vibevideo.erasure (what, job_id, reason, asked_by)
		SELECT 'row', j.job_id, 'row', c.name
		FROM vibevideo.job j CROSS JOIN vibevideo_internal.caller() c
		WHERE j.relation = TG_RELID AND j.erased_at IS NULL
		UNION ALL
		SELECT DISTINCT 'row', p.job_id, 'row', c.name
		FROM vibevideo.past_video p CROSS JOIN vibevideo_internal.caller() c
		WHERE p.relation = TG_RELID;
	ELSE
		EXECUTE format('INSERT INTO vibevideo.erasure (what, job_id, request_id, reason, asked_by) '
					   'SELECT DISTINCT ''row'', j.job_id, CASE WHEN r.bears NOT IN ('''', ''-'') THEN r.bears END, ''row'', c.name '
					   'FROM (SELECT d.%I::text COLLATE "C" AS key, '
					   'coalesce(d.video_request_id::text, CASE WHEN d.video_generation_status IS NULL THEN '''' ELSE ''-'' END) COLLATE "C" AS bears '
					   'FROM vibevideo_deleted d) r CROSS JOIN vibevideo_internal.caller() c '
					   'LEFT JOIN LATERAL (SELECT n.job_id, n.row_bears = ''?'' OR r.bears = coalesce(n.request_id, ''-'') OR n.row_dirty AND n.row_bears = r.bears '
					   'OR EXISTS (SELECT FROM vibevideo.job p WHERE p.request_id = r.bears AND p.relation = $1 AND p.vibelog_id = r.key AND NOT p.orphan) '
					   'OR EXISTS (SELECT FROM vibevideo.past_video p WHERE p.request_id = r.bears AND p.relation = $1 AND p.vibelog_id = r.key) AS is_theirs '
					   'FROM vibevideo.job n WHERE n.relation = $1 AND n.vibelog_id = r.key AND NOT n.orphan ORDER BY n.job_id DESC LIMIT 1) newest ON true '
					   -- those under its key, if they are its own
					   'CROSS JOIN LATERAL (SELECT x.job_id FROM vibevideo.job x '
					   'WHERE x.relation = $1 AND x.vibelog_id = r.key AND x.erased_at IS NULL AND (newest.is_theirs OR newest.job_id IS NULL) '
					   'UNION ALL SELECT p.job_id FROM vibevideo.past_video p WHERE p.relation = $1 AND p.vibelog_id = r.key '
					   'AND (newest.is_theirs OR newest.job_id IS NULL AND r.bears IN (SELECT q.request_id FROM vibevideo.past_video q '
					   'WHERE q.relation = $1 AND q.vibelog_id = r.key)) '
					   -- what it bears, under another key: its own once, or a row's that it is a copy of.  Only the newest there: that
					   -- one's own row shows it, and an older one's shows the newest
					   'UNION ALL SELECT x.job_id FROM vibevideo.job s JOIN vibevideo.job x ON x.relation = s.relation AND x.vibelog_id = s.vibelog_id AND x.job_id <= s.job_id '
					   'WHERE s.request_id = r.bears AND newest.is_theirs IS NOT TRUE AND NOT s.orphan AND NOT s.row_dirty AND s.relation = $1 AND s.vibelog_id <> r.key '
					   'AND x.erased_at IS NULL AND NOT EXISTS (SELECT FROM vibevideo.job w WHERE w.relation = $1 AND w.vibelog_id = s.vibelog_id AND NOT w.orphan AND w.job_id > s.job_id) '
					   'UNION ALL SELECT s.job_id FROM vibevideo.job s '
					   'WHERE s.request_id = r.bears AND newest.is_theirs IS NOT TRUE AND NOT s.orphan AND s.relation IS NULL '
					   'AND s.erased_at IS NULL AND NOT EXISTS (SELECT FROM vibevideo.job w WHERE w.relation IS NULL AND w.vibelog_id = s.vibelog_id AND NOT w.orphan AND w.job_id > s.job_id) '
					   'UNION ALL SELECT p.job_id FROM vibevideo.past_video s JOIN vibevideo.past_video p ON p.relation = s.relation AND p.vibelog_id = s.vibelog_id AND p.job_id <= s.job_id '
					   'WHERE s.request_id = r.bears AND newest.is_theirs IS NOT TRUE AND s.relation = $1 AND s.vibelog_id <> r.key '
					   'AND NOT EXISTS (SELECT FROM vibevideo.past_video w WHERE w.relation = $1 AND w.vibelog_id = s.vibelog_id AND w.job_id > s.job_id) '
					   'AND NOT EXISTS (SELECT FROM vibevideo.job w WHERE w.relation = $1 AND w.vibelog_id = s.vibelog_id AND NOT w.orphan)) j',
					   b.id_column)
		USING TG_RELID::regclass;
	END IF;
	GET DIAGNOSTICS n = ROW_COUNT;
	IF n > 0 THEN
		PERFORM vibevideo.wake();
	END IF;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING USING
		MESSAGE = 'the videos of these rows are not erased: vibevideo could not note them',
		DETAIL = SQLERRM;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.rows_deleted() IS
	'trigger of the app''s table: notes what is to be erased of rows that were deleted';

-- The triggers that see a table's rows go, by name; fires: they are there, and do so.
CREATE FUNCTION vibevideo_internal.delete_triggers(relation regclass, OUT name name, OUT definition text, OUT is_there boolean, OUT fires boolean)
RETURNS SETOF record LANGUAGE sql STABLE ROWS 2 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT w.name, w.definition, g.tgfoid IS NOT NULL, coalesce(g.tgfoid = 'vibevideo_internal.rows_deleted'::regproc AND g.tgenabled IN ('O', 'A'), false)
	FROM (VALUES ('vibevideo_row_deleted'::name, 'AFTER DELETE ON %s REFERENCING OLD TABLE AS vibevideo_deleted'),
				 ('vibevideo_truncated', 'AFTER TRUNCATE ON %s')) AS w(name, definition)
	LEFT JOIN pg_trigger g ON g.tgrelid = delete_triggers.relation AND g.tgname = w.name;
END;
COMMENT ON FUNCTION vibevideo_internal.delete_triggers(regclass) IS 'the triggers of the app''s table that on_delete => erase takes; owner only';

-- Makes or drops them.  What a publisher has deleted was noted there, so they do not fire
-- for what replication brings.  They go with the extension.
CREATE FUNCTION vibevideo_internal.watch_deletes(relation regclass, wanted boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	g record;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = watch_deletes.relation) THEN
		RETURN;
	END IF;
	FOR g IN SELECT t.* FROM vibevideo_internal.delete_triggers(relation) t WHERE t.fires IS DISTINCT FROM wanted OR t.is_there IS DISTINCT FROM wanted LOOP
		IF g.is_there THEN
			EXECUTE format('DROP TRIGGER %I ON %s', g.name, relation);
		END IF;
		IF wanted THEN
			EXECUTE format('CREATE TRIGGER %I ' || g.definition || ' FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.rows_deleted()', g.name, relation);
			EXECUTE format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION vibevideo', g.name, relation);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.watch_deletes(regclass, boolean) IS 'makes or drops the triggers that on_delete => erase takes; owner only';

CREATE FUNCTION vibevideo.attach(relation regclass, id_column name DEFAULT NULL, prompt_column name DEFAULT NULL,
								 image_column name DEFAULT NULL, model text DEFAULT NULL,
								 input_function text DEFAULT NULL, user_column name DEFAULT NULL,
								 realtime boolean DEFAULT NULL, adopt regclass DEFAULT NULL, model_column name DEFAULT NULL,
								 tenant_column name DEFAULT NULL, meta_column name DEFAULT NULL, on_delete text DEFAULT NULL, keep_versions int DEFAULT NULL)
RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	small_enough constant bigint = 64 * 1024 * 1024;
	lock_timeout_before constant text = current_setting('lock_timeout');
	locking text = 'vibevideo.binding';
	before vibevideo.binding;
	after vibevideo.binding;
	same boolean;
	lacks record;
	changes text;
	big boolean;
	build boolean;
	unfinished record;
BEGIN
	IF lock_timeout_before = '0' THEN
		PERFORM set_config('lock_timeout', '5s', true);
	END IF;

	BEGIN
		-- one attach or detach at a time
		LOCK TABLE vibevideo.binding IN SHARE ROW EXCLUSIVE MODE;
		PERFORM vibevideo_internal.check_attachable(relation);
		locking = relation::text;
		EXECUTE format('LOCK TABLE %s IN ACCESS SHARE MODE', relation);

		SELECT b.* INTO before FROM vibevideo.binding b;
		IF before.relation <> relation AND before.relation IS DISTINCT FROM adopt
		   AND EXISTS (SELECT FROM pg_class c WHERE c.oid = before.relation)
		THEN
			RAISE EXCEPTION USING
				ERRCODE = 'object_not_in_prerequisite_state',
				MESSAGE = format('table %s is attached already', before.relation),
				DETAIL = 'One table of a database can be attached at a time.',
				HINT = format('If %s takes its place, with its rows: attach it with adopt => %L. Otherwise SELECT vibevideo.detach() '
							  'first; it keeps columns, rows and jobs.', relation, before.relation);
		END IF;
		same = coalesce(before.relation = relation OR before.relation = adopt, false);

		after.id_column = vibevideo_internal.option(id_column, before.id_column);
		IF id_column IS NULL
		   AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = attach.relation AND a.attname = before.id_column
						   AND a.attnum > 0 AND NOT a.attisdropped)
		THEN
			after.id_column = NULL;
		END IF;
		SELECT k.id_column, k.id_type INTO after.id_column, after.id_type FROM vibevideo_internal.key_column(relation, after.id_column) k;
		after.input_function = vibevideo_internal.option(input_function, before.input_function);
		IF after.input_function IS NOT NULL THEN
			after.input_function = vibevideo_internal.resolve_input_function(relation, after.input_function);
		END IF;
		after.prompt_column = vibevideo_internal.option(prompt_column, before.prompt_column);
		IF prompt_column IS NULL AND same AND after.input_function IS NULL THEN
			PERFORM vibevideo_internal.check_kept_column(relation, after.prompt_column, 'prompt_column');
		ELSIF prompt_column IS NULL AND NOT same
		   AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = attach.relation AND a.attname = before.prompt_column
						   AND a.attnum > 0 AND NOT a.attisdropped)
		THEN
			after.prompt_column = NULL;
		END IF;
		IF after.prompt_column IS NULL THEN
			after.prompt_column = vibevideo_internal.guess_prompt(relation, after.id_column);
		END IF;
		after.image_column = vibevideo_internal.option(image_column, before.image_column);
		IF image_column IS NULL AND after.input_function IS NULL THEN
			PERFORM vibevideo_internal.check_kept_column(relation, after.image_column, 'image_column');
		END IF;
		after.user_column = vibevideo_internal.option(user_column, before.user_column);
		IF user_column IS NULL THEN
			PERFORM vibevideo_internal.check_kept_column(relation, after.user_column, 'user_column');
		END IF;
		-- a function takes what it wants out of the row
		IF after.input_function IS NULL OR prompt_column IS NOT NULL THEN
			PERFORM vibevideo_internal.check_text_column(relation, after.prompt_column, 'prompt_column');
		END IF;
		IF after.image_column IS NOT NULL AND (after.input_function IS NULL OR image_column IS NOT NULL) THEN
			PERFORM vibevideo_internal.check_text_column(relation, after.image_column, 'image_column');
		END IF;
		PERFORM vibevideo_internal.check_naming_column(relation, after.user_column, 'user_column');
		after.tenant_column = vibevideo_internal.column_option(relation, tenant_column, before.tenant_column, 'tenant_column');
		after.model_column = vibevideo_internal.column_option(relation, model_column, before.model_column, 'model_column');
		after.meta_column = vibevideo_internal.column_option(relation, meta_column, before.meta_column, 'meta_column');
		after.model = vibevideo_internal.option(model, before.model);
		IF after.model !~ '^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$' OR octet_length(after.model) > 256 THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = format('"%s" is not a model of fal', left(after.model, 100)),
				HINT = 'A model is named by its endpoint id, as fal-ai/minimax/video-01.';
		END IF;
		after.realtime = coalesce(realtime, before.realtime, false);
		after.on_delete = nullif(vibevideo_internal.option(on_delete, before.on_delete), 'keep');
		IF after.on_delete <> 'erase' THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = 'on_delete must be keep or erase';
		END IF;
		after.keep_versions = CASE WHEN keep_versions IS NULL THEN before.keep_versions ELSE nullif(keep_versions, 0) END;
		IF after.keep_versions < 0 THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = 'keep_versions must be a number, or 0 for all';
		END IF;

		big = vibevideo_internal.relation_bytes(relation) > small_enough;
		PERFORM vibevideo_internal.add_columns(relation, big);
		build = vibevideo_internal.add_index(relation, big);
		PERFORM vibevideo_internal.watch_deletes(relation, after.on_delete IS NOT NULL);
		IF before.relation <> relation THEN
			PERFORM vibevideo_internal.watch_deletes(before.relation, false);
		END IF;

		INSERT INTO vibevideo.binding AS b (relation, id_column, id_type, prompt_column, image_column, model,
											input_function, user_column, tenant_column, model_column, meta_column, on_delete, keep_versions, realtime, build_index,
											system_identifier, database_oid, timeline)
		SELECT attach.relation, after.id_column, after.id_type, after.prompt_column, after.image_column, after.model,
			   after.input_function, after.user_column, after.tenant_column, after.model_column, after.meta_column, after.on_delete, after.keep_versions, after.realtime, build, i.system_identifier, i.database_oid, i.timeline
		FROM vibevideo_internal.identity() i
		ON CONFLICT (only_one) DO UPDATE SET
			relation = EXCLUDED.relation, id_column = EXCLUDED.id_column, id_type = EXCLUDED.id_type,
			prompt_column = EXCLUDED.prompt_column, image_column = EXCLUDED.image_column, model = EXCLUDED.model,
			input_function = EXCLUDED.input_function, user_column = EXCLUDED.user_column, tenant_column = EXCLUDED.tenant_column,
			model_column = EXCLUDED.model_column, meta_column = EXCLUDED.meta_column, on_delete = EXCLUDED.on_delete, keep_versions = EXCLUDED.keep_versions, realtime = EXCLUDED.realtime, build_index = EXCLUDED.build_index
		WHERE b.only_one
		RETURNING b.* INTO after;
		SELECT l.* INTO lacks FROM vibevideo_internal.owner_lacks(after) l;
		IF lacks.lacking IS NOT NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'object_not_in_prerequisite_state',
				MESSAGE = format('the owner of %s, %I, lacks rights', relation, lacks.owner),
				DETAIL = format('Rows are read and written as the table''s owner, who lacks %s.', lacks.lacking),
				HINT = lacks.remedy;
		END IF;
		IF adopt IS NOT NULL THEN
			PERFORM vibevideo_internal.adopt_jobs(adopt, relation);
		END IF;
	EXCEPTION WHEN lock_not_available THEN
		RAISE EXCEPTION USING
			ERRCODE = 'lock_not_available',
			MESSAGE = format('could not lock %s within %s', locking,
							 CASE lock_timeout_before WHEN '0' THEN '5s' ELSE lock_timeout_before END),
			DETAIL = 'Another transaction is using it. Nothing was changed.',
			HINT = 'Try again when long transactions have ended (see pg_stat_activity), or with a longer lock_timeout.';
	END;
	PERFORM set_config('lock_timeout', lock_timeout_before, true);
	IF after.realtime THEN
		PERFORM vibevideo_internal.publish(relation);
	END IF;

	changes = vibevideo_internal.option_changes(before, after);
	IF before.only_one AND changes IS NOT NULL THEN
		RAISE NOTICE USING
			MESSAGE = 'options have changed',
			DETAIL = changes;
	END IF;
	IF before.relation IS DISTINCT FROM relation THEN
		SELECT count(*) AS own INTO unfinished FROM vibevideo.job j
		WHERE j.relation = attach.relation AND (vibevideo.is_active(j.state) OR j.row_dirty);
		IF unfinished.own > 0 THEN
			RAISE NOTICE USING
				MESSAGE = format('unfinished jobs of %s continue', relation),
				DETAIL = format('Unfinished jobs: %s.', unfinished.own);
		END IF;
		FOR unfinished IN SELECT o.* FROM vibevideo_internal.other_tables() o LOOP
			RAISE WARNING USING
				MESSAGE = CASE WHEN unfinished.gone THEN 'a table that was dropped has unfinished jobs'
							   ELSE format('table %s, which is not attached, has unfinished jobs', unfinished.name) END,
				DETAIL = format('Active: %s, and ended but not shown in their rows: %s. No row of theirs is written any more.',
								unfinished.active, unfinished.unwritten),
				HINT = format('If %s takes its place, with its rows: SELECT vibevideo.attach(%L, adopt => %L). To cancel one: '
							  'SELECT vibevideo.cancel(job_id).', relation, relation, unfinished.name);
		END LOOP;
	END IF;
	PERFORM vibevideo_internal.note_act('attach', jsonb_build_object('relation', relation, 'options', vibevideo_internal.options(after), 'adopt', adopt),
										outcome => jsonb_build_object('changes', CASE WHEN before.only_one THEN changes END));
	PERFORM vibevideo.wake();
	NOTIFY pgrst, 'reload schema';
	RETURN format('%s is attached: %s', relation, vibevideo_internal.options(after));
END
$$;
COMMENT ON FUNCTION vibevideo.attach(regclass, name, name, name, text, text, name, boolean, regclass, name, name, name, text, int) IS
'Makes a table of the app the one whose rows become videos, and adds the columns about them where they are
  missing.
Call it again at any time to change options: one that is not named, or is NULL, stays as it is; an empty
  string resets it to its default.
relation: the table, which may be partitioned.
id_column: the column that identifies a row, unique and not null, of type uuid, bigint, integer or text;
  default: the primary key, if it has one column.
prompt_column: the text column with the prompt; default: the first of prompt, text, content, body, caption and
  description.
image_column: the text column with an image''s URL, for models that take one; default: none.
model: fal.ai''s endpoint id, as fal-ai/minimax/video-01, of rows that name none; default: the setting
  vibevideo.model.
input_function: name of a function of the row that returns the model''s whole input as jsonb, looked for in the
  table''s schema unless it is qualified; default: none.
user_column: the column that says whose video it is, for the limits; default: the sub of the caller''s JWT.
realtime: true adds the table to publication supabase_realtime and sends changes through realtime.send, where
  these exist; default: false.
adopt: another table that this one takes the place of, with the same rows: its jobs become this one''s. A
  dropped table is given by its number, as check_config shows it; default: none.
model_column: the text or enum column in which a row may name its model: the attached one, or one that is allowed in
  vibevideo.model; default: none, all rows have the attached one.
tenant_column: the column that says which tenant''s video it is, for the limits; default: none.
meta_column: the jsonb column that gets what is known of a video, in the same write as its URL: width, height,
  fps, duration_ms, video_codec, has_audio, audio_codec, faststart, has_c2pa, bytes, bit_rate, sha256,
  content_type, ai_generated; default: none.
on_delete: erase erases the videos of rows that are deleted, in Storage and at fal.ai, after the commit; keep
  leaves them; default: keep.
keep_versions: when a video is stored, so many of its row stay, that one included, and older ones are erased; 0
  for all; default: all.
Returns a sentence that says what is attached, with which options. Waits for locks as long as lock_timeout
  says, 5 seconds if that is 0.
Errors: 42P01, 42809, 42501, 0A000 this cannot be attached; 42P16 no single key, or a column of ours is NOT
  NULL or generated; 42703 no such column; 42804 a column has the wrong type; 42602, 42883, 42P13 the input
  function cannot be used; 22023 not a model''s name, or not what on_delete or keep_versions may be; 23514 rows have a status that vibevideo does not know;
  55000 another table is attached, a constraint forbids our statuses, row-level security is forced, or the
  table''s owner lacks rights; 42P07, 42723 a name is taken; 2BP01 something depends on the functions for the
  app; 55P03 a lock could not be had.
For the extension''s owner, who must also own the table.';

CREATE OR REPLACE FUNCTION vibevideo.detach(force boolean DEFAULT false)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	lock_timeout_before constant text = current_setting('lock_timeout');
	b vibevideo.binding;
	cause text;
	active bigint;
BEGIN
	LOCK TABLE vibevideo.binding IN SHARE ROW EXCLUSIVE MODE;
	SELECT x.* INTO b FROM vibevideo.binding x;
	IF NOT FOUND THEN
		RAISE NOTICE 'no table is attached';
		RETURN false;
	END IF;
	cause = vibevideo_internal.pause_cause(b);

	SELECT count(*) INTO active FROM vibevideo.job j
	WHERE vibevideo.is_active(j.state);
	IF active > 0 AND force IS NOT TRUE THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_in_use',
			MESSAGE = format('%s has active jobs', b.relation),
			DETAIL = format('Active jobs: %s.', active),
			HINT = 'Wait for them, cancel them with SELECT vibevideo.cancel(job_id), or SELECT vibevideo.detach(force => true). A '
				   'table that takes this one''s place needs no detach: attach it with adopt => ''...''.';
	END IF;
	IF active > 0 AND cause IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'vibevideo is paused, and its jobs would continue when a table is attached again',
			DETAIL = format('Active jobs: %s; %s.', active, cause),
			HINT = 'To drop them, DELETE FROM vibevideo.job; to continue with them here, SELECT vibevideo.resume().';
	END IF;
	IF lock_timeout_before = '0' THEN
		PERFORM set_config('lock_timeout', '5s', true);
	END IF;
	BEGIN
		PERFORM vibevideo_internal.watch_deletes(b.relation, false);
	EXCEPTION WHEN lock_not_available THEN
		RAISE EXCEPTION USING
			ERRCODE = 'lock_not_available',
			MESSAGE = format('could not lock %s within %s', b.relation, CASE lock_timeout_before WHEN '0' THEN '5s' ELSE lock_timeout_before END),
			DETAIL = 'Another transaction is using it. Nothing was changed.',
			HINT = 'Try again when long transactions have ended (see pg_stat_activity), or with a longer lock_timeout.';
	END;
	PERFORM set_config('lock_timeout', lock_timeout_before, true);
	DELETE FROM vibevideo.binding x WHERE x.only_one;
	PERFORM vibevideo_internal.note_act('detach', jsonb_build_object('relation', b.relation, 'options', vibevideo_internal.options(b), 'force', force),
										outcome => jsonb_build_object('active', active));
	IF active > 0 THEN
		RAISE WARNING USING
			MESSAGE = 'active jobs are paused until a table is attached',
			DETAIL = format('Active jobs: %s. Their rows are written only if that is %s again, or a table that adopts its jobs.',
							active, b.relation),
			HINT = format('SELECT vibevideo.attach(%L), or attach the table that takes its place with adopt => %L.', b.relation, b.relation);
	END IF;
	IF (b.image_column, b.model, b.input_function, b.user_column, b.tenant_column, b.model_column, b.meta_column)
	   IS DISTINCT FROM (NULL::name, NULL::text, NULL::text, NULL::name, NULL::name, NULL::name, NULL::name)
	   OR b.realtime OR b.on_delete IS NOT NULL OR b.keep_versions IS NOT NULL
	THEN
		RAISE NOTICE USING
			MESSAGE = 'the options of the table are forgotten',
			DETAIL = format('They were: %s.', vibevideo_internal.options(b));
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION vibevideo.detach(boolean) IS
'Forgets the app''s table and the options it was attached with. Its columns and rows stay, and so do all jobs.
force: true detaches although jobs are active. They are paused until the table is attached again, or one that
  adopts its jobs; default: false.
Returns whether a table was attached.
Errors: 55006 jobs are active; 55000 they are, and force is true, but this database is paused; 55P03 the table,
  attached with on_delete => erase, could not be locked, for which it waits as attach does.
For the extension''s owner.';

CREATE FUNCTION vibevideo.resolve(job bigint, verdict text)
RETURNS vibevideo.video LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	j vibevideo.job;
BEGIN
	PERFORM vibevideo_internal.require('operator');
	IF job IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'job must not be null';
	END IF;
	SELECT x.* INTO j FROM vibevideo.job x WHERE x.job_id = resolve.job FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = format('there is no job %s', job);
	END IF;
	IF j.state <> 'submit_unknown' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT409',
			MESSAGE = format('job %s is not a lost submit', job),
			DETAIL = format('It is %s.', j.state),
			HINT = 'Only a job in state submit_unknown can be resolved.';
	END IF;
	-- a misspelt not_sent must not become the id of a request that there is not; another
	-- form of id would have to come from fal.ai itself
	IF verdict IS NULL OR verdict <> 'not_sent' AND verdict !~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$'
		AND NOT EXISTS (SELECT FROM vibevideo_internal.lost_look l CROSS JOIN LATERAL jsonb_array_elements(l.candidates) AS c(request)
						WHERE l.job_id = resolve.job AND c.request ->> 'request_id' = verdict)
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the verdict must be fal.ai''s request id or not_sent',
			HINT = 'A request id is a UUID, as fal.ai''s dashboard and vibevideo.lost() show it; not_sent means that fal.ai has no such request.';
	END IF;
	IF verdict <> 'not_sent' AND EXISTS (SELECT FROM vibevideo.job x WHERE x.request_id = verdict) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT409',
			MESSAGE = 'another job has this request id',
			DETAIL = format('It is request %s.', verdict);
	END IF;

	UPDATE vibevideo.job x SET
		state = CASE WHEN verdict <> 'not_sent' THEN 'queued'
					 WHEN x.orphan OR x.cancel_requested_at IS NOT NULL THEN 'cancelled'
					 ELSE 'pending' END,
		request_id = nullif(verdict, 'not_sent'),
		submitted_at = CASE WHEN verdict <> 'not_sent' THEN coalesce(x.sent_at, now()) END,
		next_at = CASE WHEN verdict <> 'not_sent' OR NOT (x.orphan OR x.cancel_requested_at IS NOT NULL) THEN now() END,
		completed_at = CASE WHEN verdict = 'not_sent' AND (x.orphan OR x.cancel_requested_at IS NOT NULL) THEN now() END,
		tries = 0, error_code = NULL, error = NULL,
		lease = nextval('vibevideo.lease_seq'), leased_by = NULL
	WHERE x.job_id = resolve.job
	RETURNING x.* INTO j;
	PERFORM vibevideo_internal.note_act('resolve', jsonb_build_object('job', job, 'verdict', verdict), 1,
										CASE WHEN j.state = 'pending' THEN j.cost_usd END, jsonb_build_object('state', j.state));
	PERFORM vibevideo.wake();
	RETURN vibevideo.describe(j);
END
$$;
COMMENT ON FUNCTION vibevideo.resolve(bigint, text) IS
'Decides what became of a lost submit, a job in state submit_unknown.
job: its job_id in vibevideo.jobs.
verdict: the request id that fal.ai''s dashboard shows for it, a UUID, or that of one of its candidates in
  vibevideo.lost(); or ''not_sent'' if fal.ai has no such request: then it is sent again, or cancelled if that was
  requested.
Returns the job as vibevideo.video.
Errors: PT404 no such job; PT409 it is not a lost submit, or another job has this request id; 22023 the
  verdict is neither; 22004 an argument is null; 42501 not an operator.
For operators.';


CREATE FUNCTION vibevideo.cancel(job bigint)
RETURNS vibevideo.video LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_cancel_job';
COMMENT ON FUNCTION vibevideo.cancel(bigint) IS
'Cancels a job, whatever became of its row and table, or the attempt that has just followed it.
job: its job_id in vibevideo.jobs.
Returns the job as vibevideo.video: cancelled at once if it was not sent, else as soon as fal.ai has been
  told. One that has ended or is being copied is returned as it is, with a notice that says so, and which job
  of its row has not ended.
Errors: PT404 no such job; 55000 this database is a copy; 42501 not an operator.
For operators.';

CREATE FUNCTION vibevideo.retry(job bigint)
RETURNS vibevideo.video LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_retry_job';
COMMENT ON FUNCTION vibevideo.retry(bigint) IS
'Tries again to make a job''s video, with the input it had, whatever became of its row and table. A rendered
  video is only copied, a job that waits is sent now; a lost submit, and one that ended without a video, is a
  new attempt, which is paid for.
job: its job_id in vibevideo.jobs.
Returns the job, or the new one, as vibevideo.video. If the table is gone, the new one has no row. Where there is
  nothing to do, as for one that fal.ai has, a notice says so.
Errors: PT404 no such job; PT402, PT429 its user is over a limit; 55000 this database is a copy; 42501 not an
  operator.
For operators.';

-- One service, fal.ai or Storage: whether it was taken to be down, whether it answers,
-- what it said, and until when it is left alone.
CREATE FUNCTION vibevideo_internal.reach(service text, OUT was_down boolean, OUT answers boolean, OUT detail text, OUT next_probe_at timestamptz)
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'vibevideo_reach';
COMMENT ON FUNCTION vibevideo_internal.reach(text) IS
	'asks fal.ai or Storage whether it answers, and closes its circuit breaker if it does; owner only';

-- What is asked changes nothing there.  A service that does not answer keeps the
-- wait it has.
CREATE FUNCTION vibevideo.probe_now()
RETURNS TABLE (service text, was_down boolean, answers boolean, detail text, next_probe_at timestamptz)
LANGUAGE plpgsql VOLATILE ROWS 2 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	outcome jsonb = '{}';
BEGIN
	PERFORM vibevideo_internal.require('operator');
	FOREACH service IN ARRAY ARRAY['fal.ai', 'Storage'] LOOP
		SELECT r.was_down, r.answers, r.detail, r.next_probe_at INTO was_down, answers, detail, next_probe_at
		FROM vibevideo_internal.reach(service) r;
		outcome = outcome || jsonb_build_object(service, jsonb_build_object('was_down', was_down, 'answers', answers, 'detail', detail));
		RETURN NEXT;
	END LOOP;
	PERFORM vibevideo_internal.note_act('probe_now', outcome => outcome);
END
$$;
COMMENT ON FUNCTION vibevideo.probe_now() IS
'Asks fal.ai and Storage over the network whether they answer, for at most 3 seconds each, and lets jobs go at
  once to one that does.
Returns a row for each:
service: fal.ai or Storage.
was_down: whether its circuit breaker was open.
answers: whether it answers; NULL if it was not asked.
detail: what it said, or why it was not asked.
next_probe_at: until when it is left alone; NULL if it is not.
Errors: 42501 not an operator.
For operators.';

CREATE FUNCTION vibevideo_internal.sequences_behind()
RETURNS boolean LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce((SELECT max(j.job_id) FROM vibevideo.job j) > (SELECT s.last_value FROM vibevideo.job_id_seq s), false);
END;
COMMENT ON FUNCTION vibevideo_internal.sequences_behind() IS 'whether job numbers would be given a second time; owner only';

CREATE FUNCTION vibevideo_internal.advance_sequences()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	used record;
BEGIN
	FOR used IN
		SELECT s.sequence, s.most, pg_sequence_last_value(s.sequence) AS last
		FROM (VALUES ('vibevideo.job_id_seq'::regclass, (SELECT max(j.job_id) FROM vibevideo.job j)),
					 ('vibevideo.lease_seq', (SELECT max(j.lease) FROM vibevideo.job j)),
					 ('vibevideo.event_event_id_seq', (SELECT max(e.event_id) FROM vibevideo.event e)),
					 ('vibevideo_internal.tally_tally_id_seq', (SELECT max(t.tally_id) FROM vibevideo_internal.tally t)),
					 ('vibevideo.audit_audit_id_seq', (SELECT max(a.audit_id) FROM vibevideo.audit a)),
					 ('vibevideo_internal.new_costs_note_id_seq', (SELECT max(n.note_id) FROM vibevideo_internal.new_costs n)),
					 ('vibevideo.fal_usage_event_id_seq', (SELECT max(u.event_id) FROM vibevideo.fal_usage u)),
					 ('vibevideo.erasure_erasure_id_seq', (SELECT max(e.erasure_id) FROM vibevideo.erasure e)),
					 ('vibevideo.receipt_receipt_id_seq', (SELECT max(r.receipt_id) FROM vibevideo.receipt r)),
					 ('vibevideo_internal.refund_seq', greatest((SELECT max(t.n) FROM vibevideo_internal.till t), (SELECT max(l.n) FROM vibevideo_internal.slot l), (SELECT max(d.n) FROM vibevideo_internal.share_due d)))) AS s(sequence, most)
	LOOP
		IF used.most > coalesce(used.last, 0) THEN
			PERFORM setval(used.sequence, used.most);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.advance_sequences() IS 'part of resume: advances sequences past what the tables hold; owner only';

CREATE FUNCTION vibevideo.pause(scope text DEFAULT 'sending', reason text DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	who constant text = vibevideo_internal.require('operator');
BEGIN
	IF scope IS NULL OR scope NOT IN ('sending', 'all') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the scope of a pause must be sending or all',
			HINT = 'A reason comes second: SELECT vibevideo.pause(''all'', ''new disk'').';
	END IF;
	UPDATE vibevideo.binding b SET paused = true, pause_scope = scope, paused_by = who, paused_at = now(), pause_reason = reason
	WHERE b.only_one AND b.pause_scope IS DISTINCT FROM scope AND NOT vibevideo_internal.is_copy(b);
	IF FOUND THEN
		PERFORM vibevideo_internal.note_act('pause', jsonb_build_object('scope', scope, 'reason', reason));
		PERFORM vibevideo.wake();
		RETURN true;
	END IF;
	IF NOT EXISTS (SELECT FROM vibevideo.binding b) THEN
		RAISE NOTICE 'no table is attached';
	END IF;
	RETURN false;
END
$$;
COMMENT ON FUNCTION vibevideo.pause(text, text) IS
'Pauses this database until vibevideo.resume(), and notes who did so and since when. Calls of the app are still
  accepted, and wait.
scope: sending stops only the sending of new jobs, all stops polls, copies and writes of rows as well;
  default: sending.
reason: for whoever meets the pause; default: none.
Returns false, and changes nothing, if it was paused so already, is a copy, or no table is attached.
Errors: 22023 another scope; 42501 not an operator.
For operators.';

CREATE FUNCTION vibevideo.resume()
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	cause text;
	copied boolean;
BEGIN
	PERFORM vibevideo_internal.require('operator');
	SELECT vibevideo_internal.pause_cause(b) INTO cause FROM vibevideo.binding b;
	-- whatever has brought the rows here may have left sequences behind, and may not have
	-- fired the triggers of past_costs; to look for that is to read all jobs
	copied = EXISTS (SELECT FROM vibevideo.binding b WHERE vibevideo_internal.is_copy(b));
	IF copied OR vibevideo_internal.sequences_behind() THEN
		PERFORM vibevideo_internal.advance_sequences();
	END IF;
	IF copied THEN
		PERFORM vibevideo_internal.sum_past_costs();
		PERFORM vibevideo_internal.sum_usage();
	END IF;
	UPDATE vibevideo.binding b SET
		paused = false, pause_scope = NULL, paused_by = NULL, paused_at = NULL, pause_reason = NULL,
		system_identifier = i.system_identifier, database_oid = i.database_oid, timeline = i.timeline
	FROM vibevideo_internal.identity() i
	WHERE b.only_one;
	PERFORM vibevideo_internal.note_act('resume', jsonb_build_object('cause', cause));
	PERFORM vibevideo.wake();
	RETURN cause IS NOT NULL;
END
$$;
COMMENT ON FUNCTION vibevideo.resume() IS
'Ends a pause, and says that this database, if it was restored or copied, is the one that works on its jobs:
  the original must not do so any more.
Advances sequences that are behind their tables, as after logical replication.
Returns whether it was paused.
Errors: 42501 not an operator.
For operators.';

-- Limits of hours and months, tenants and models
ALTER TABLE vibevideo.limit DROP COLUMN who, DROP CONSTRAINT limit_scope_check;
ALTER TABLE vibevideo.limit ADD CONSTRAINT limit_scope_check CHECK (scope OPERATOR(pg_catalog.=) ANY (ARRAY[
		'global', 'default', 'user', 'default_tenant', 'tenant', 'model']));
ALTER TABLE vibevideo.limit ADD COLUMN tenant text, ADD COLUMN model text,
	ADD COLUMN submits_per_hour int CHECK (submits_per_hour OPERATOR(pg_catalog.>=) -1 AND submits_per_hour OPERATOR(pg_catalog.<=) 10000000),
	ADD COLUMN submits_per_month int CHECK (submits_per_month OPERATOR(pg_catalog.>=) -1 AND submits_per_month OPERATOR(pg_catalog.<=) 10000000),
	ADD COLUMN spend_per_hour_usd numeric(12, 4) CHECK (spend_per_hour_usd OPERATOR(pg_catalog.>=) -1),
	ADD COLUMN spend_per_month_usd numeric(12, 4) CHECK (spend_per_month_usd OPERATOR(pg_catalog.>=) -1);
ALTER TABLE vibevideo.limit ADD COLUMN who text COLLATE pg_catalog."C" PRIMARY KEY GENERATED ALWAYS AS
		(CASE scope WHEN 'user' THEN 'user:' OPERATOR(pg_catalog.||) user_id WHEN 'tenant' THEN 'tenant:' OPERATOR(pg_catalog.||) tenant
		 WHEN 'model' THEN 'model:' OPERATOR(pg_catalog.||) model ELSE scope END) STORED,
	ADD CHECK ((scope OPERATOR(pg_catalog.=) 'tenant') OPERATOR(pg_catalog.=) (tenant IS NOT NULL)),
	ADD CHECK ((scope OPERATOR(pg_catalog.=) 'model') OPERATOR(pg_catalog.=) (model IS NOT NULL));
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
DROP TABLE vibevideo_internal.till;
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

SELECT vibevideo_internal.sum_past_costs();

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
CREATE OR REPLACE FUNCTION vibevideo_internal.jobs_deleted()
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

-- Unfinished jobs, each found by the partial index of its state, so that nobody
-- reads the others for them.
CREATE VIEW vibevideo_internal.active_jobs AS
SELECT p.job_id, p.relation, p.vibelog_id, p.orphan, p.state, p.requested_by, p.model, p.next_at, p.billed, p.cost_usd, p.created_at,
	   p.cancel_requested_at, p.updated_at, p.crashes, p.tenant
FROM vibevideo.job p WHERE p.state = 'pending'
UNION ALL
SELECT s.job_id, s.relation, s.vibelog_id, s.orphan, s.state, s.requested_by, s.model, s.next_at, s.billed, s.cost_usd, s.created_at,
	   s.cancel_requested_at, s.updated_at, s.crashes, s.tenant
FROM vibevideo.job s WHERE s.state = 'submitting'
UNION ALL
SELECT u.job_id, u.relation, u.vibelog_id, u.orphan, u.state, u.requested_by, u.model, u.next_at, u.billed, u.cost_usd, u.created_at,
	   u.cancel_requested_at, u.updated_at, u.crashes, u.tenant
FROM vibevideo.job u WHERE u.state = 'submit_unknown'
UNION ALL
SELECT q.job_id, q.relation, q.vibelog_id, q.orphan, q.state, q.requested_by, q.model, q.next_at, q.billed, q.cost_usd, q.created_at,
	   q.cancel_requested_at, q.updated_at, q.crashes, q.tenant
FROM vibevideo.job q WHERE q.state = ANY (ARRAY['queued', 'generating'])
UNION ALL
SELECT c.job_id, c.relation, c.vibelog_id, c.orphan, c.state, c.requested_by, c.model, c.next_at, c.billed, c.cost_usd, c.created_at,
	   c.cancel_requested_at, c.updated_at, c.crashes, c.tenant
FROM vibevideo.job c WHERE c.state = 'processing';
COMMENT ON VIEW vibevideo_internal.active_jobs IS 'unfinished jobs; owner only';

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
ALTER VIEW vibevideo.costs RESET (security_invoker);
CREATE OR REPLACE VIEW vibevideo.costs AS
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

CREATE OR REPLACE FUNCTION vibevideo_internal.publish(relation regclass)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	command constant text = format('ALTER PUBLICATION supabase_realtime ADD TABLE %s', relation);
BEGIN
	IF NOT EXISTS (SELECT FROM pg_publication p WHERE p.pubname = 'supabase_realtime') THEN
		RAISE NOTICE USING
			MESSAGE = 'there is no publication supabase_realtime in this database',
			DETAIL = 'Only Supabase has it. Changes are reported through NOTIFY vibevideo in any case.',
			HINT = format('Once there is one: %s.', command);
		RETURN;
	ELSIF EXISTS (SELECT FROM pg_publication p JOIN pg_class c ON c.oid = publish.relation
				  WHERE p.pubname = 'supabase_realtime'
					AND (p.puballtables
						 OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid)
						 OR EXISTS (SELECT FROM pg_publication_namespace n WHERE n.pnpubid = p.oid AND n.pnnspid = c.relnamespace)))
	THEN
		RETURN;
	ELSIF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = publish.relation AND c.relreplident = 'f')
		  AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
						  WHERE i.indrelid = publish.relation AND i.indisvalid
							AND (i.indisprimary AND c.relreplident = 'd' OR i.indisreplident AND c.relreplident = 'i'))
	THEN
		-- every update of it would fail
		RAISE NOTICE USING
			MESSAGE = format('%s was not added to publication supabase_realtime: it has no replica identity', relation),
			HINT = format('Give it a primary key, or ALTER TABLE %s REPLICA IDENTITY USING INDEX ..., then: %s.', relation, command);
		RETURN;
	END IF;
	BEGIN
		EXECUTE command;
	EXCEPTION WHEN insufficient_privilege THEN
		RAISE NOTICE USING
			MESSAGE = format('%s was not added to publication supabase_realtime: %s', relation, SQLERRM),
			HINT = format('As the publication''s owner: %s.', command);
	END;
END
$$;

CREATE OR REPLACE FUNCTION vibevideo.schedule(every interval DEFAULT '10 seconds')
RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres AS $$
DECLARE
	job constant text = 'vibevideo_poll';
	command constant text = 'SELECT public.vibevideo_poll()';
	seconds constant numeric = extract(epoch FROM every);
	cron_database constant text = nullif(current_setting('cron.database_name', true), '');
	cron_schedule text;
BEGIN
	IF seconds BETWEEN 1 AND 59 AND seconds = trunc(seconds) THEN
		cron_schedule = trunc(seconds) || ' seconds';
	ELSIF seconds = 60 THEN
		cron_schedule = '* * * * *';
	ELSIF seconds BETWEEN 120 AND 3540 AND seconds % 60 = 0 THEN
		cron_schedule = format('*/%s * * * *', trunc(seconds / 60));
	ELSE
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('cron cannot do something every %s', coalesce(every::text, 'NULL')),
			HINT = 'Use 1 to 59 seconds, or 1 to 59 whole minutes.';
	END IF;

	IF NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'feature_not_supported',
			MESSAGE = 'pg_cron is not installed in this database',
			DETAIL = 'Without it the background worker alone follows the jobs, which is enough as long as it runs.',
			HINT = CASE WHEN cron_database <> current_database()
				   THEN format('cron.database_name is %s. There, run SELECT cron.schedule_in_database(%L, %L, %L, %L).',
							   cron_database, job, cron_schedule, command, current_database())
				   ELSE 'CREATE EXTENSION pg_cron in the database named by cron.database_name; the server must have it in '
						'shared_preload_libraries.' END;
	END IF;

	BEGIN
		EXECUTE 'SELECT cron.schedule($1, $2, $3)' USING job, cron_schedule, command;
	EXCEPTION WHEN invalid_parameter_value THEN
		IF seconds >= 60 THEN
			RAISE;
		END IF;
		RAISE NOTICE USING
			MESSAGE = format('this version of pg_cron cannot run a job every %s, the poll runs every minute', cron_schedule),
			DETAIL = 'The background worker polls in between.',
			HINT = 'pg_cron 1.5 and later know seconds.';
		cron_schedule = '* * * * *';
		EXECUTE 'SELECT cron.schedule($1, $2, $3)' USING job, cron_schedule, command;
	END;
	RETURN format('%s: %s', job, cron_schedule);
END
$$;

-- One cause, one finding: a line that cannot be checked, or would say the same again,
-- is ok and names the line that reports it.
CREATE FUNCTION vibevideo_internal.not_checked(check_name text, told_by text)
RETURNS vibevideo_internal.check_line LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN ROW(check_name, 'ok', format('not checked: see line %s', told_by), NULL)::vibevideo_internal.check_line;
COMMENT ON FUNCTION vibevideo_internal.not_checked(text, text) IS 'makes a line of check_config that another one speaks for; owner only';

-- Has the server loaded a library at its start?
CREATE FUNCTION vibevideo_internal.is_preloaded(library text)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN current_setting('shared_preload_libraries') ~ format('(^|[ ,/"])%s([ ,."]|$)', library);
COMMENT ON FUNCTION vibevideo_internal.is_preloaded(text) IS 'whether the server has loaded a library at its start; owner only';

CREATE OR REPLACE FUNCTION vibevideo_internal.check_preload()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	ours constant text = (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'vibevideo');
	version text;
BEGIN
	IF NOT vibevideo_internal.is_preloaded('vibevideo') THEN
		RETURN NEXT vibevideo_internal.line('preload', 'fail', 'vibevideo is not in shared_preload_libraries: there is no background worker',
											'Add it to the list in postgresql.conf, keep what is there, and restart the server.');
		RETURN NEXT vibevideo_internal.not_checked('version', 'preload');
		RETURN;
	END IF;
	RETURN NEXT vibevideo_internal.line('preload', 'ok', 'vibevideo is in shared_preload_libraries');
	version = vibevideo_internal.library_version();
	RETURN NEXT CASE WHEN version = ours
					 THEN vibevideo_internal.line('version', 'ok', format('library and extension are version %s', ours))
					 ELSE vibevideo_internal.line('version', 'fail',
							  format('the library is version %s, the extension in this database %s: vibevideo is paused', version, ours),
							  'ALTER EXTENSION vibevideo UPDATE; or, if the library is the older one, restart the server with the new one.') END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_preload() IS 'part of check_config: is the library preloaded, and of the right version; owner only';

-- The line that says why nothing is done here on purpose, NULL if jobs are worked on.
CREATE FUNCTION vibevideo_internal.rests_by()
RETURNS text LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT CASE WHEN pg_is_in_recovery() THEN 'worker'
				WHEN b.relation IS NULL THEN 'table'
				WHEN vibevideo_internal.is_copy(b) THEN 'identity'
				WHEN b.paused AND b.pause_scope = 'all' THEN 'paused' END
	FROM (SELECT true AS only_one) one LEFT JOIN vibevideo.binding b USING (only_one);
END;
COMMENT ON FUNCTION vibevideo_internal.rests_by() IS 'which line of check_config says why no job is worked on here, NULL if they are; owner only';

CREATE OR REPLACE FUNCTION vibevideo_internal.check_worker()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	patience constant interval = '2 minutes';
	rests_by constant text = vibevideo_internal.rests_by();
	b vibevideo.binding;
	work boolean;
	w record;
	alive boolean;
	starting boolean;
BEGIN
	SELECT x.* INTO b FROM vibevideo.binding x;
	-- what the worker itself takes for work
	work = EXISTS (SELECT FROM vibevideo_internal.active_jobs a WHERE a.state <> 'pending' OR b.paused IS NOT TRUE)
		OR EXISTS (SELECT FROM vibevideo.job j JOIN pg_class c ON c.oid = j.relation WHERE j.row_dirty AND j.relation = b.relation);
	SELECT i.* INTO w FROM vibevideo.worker_info() i;
	alive = w.pid IS NOT NULL AND coalesce(w.heartbeat_at, w.started_at) > clock_timestamp() - patience;
	-- one that was told to end comes back a second later
	starting = w.absence = 'it is being started' OR w.restart_at <= clock_timestamp() + interval '2 seconds';
	RETURN NEXT CASE
		WHEN pg_is_in_recovery() THEN vibevideo_internal.line('worker', 'ok', 'none on a standby: that of its primary works on the jobs')
		WHEN alive THEN vibevideo_internal.line('worker', 'ok',
			format('process %s, last turn %s, starts: %s, failures: %s', w.pid, vibevideo_internal.ago(w.heartbeat_at), w.starts, w.failures))
		WHEN w.pid IS NOT NULL THEN vibevideo_internal.line('worker', 'warn',
			format('process %s is slow: last turn %s', w.pid, vibevideo_internal.ago(w.heartbeat_at)),
			format('See what it waits for in pg_stat_activity; SELECT pg_terminate_backend(%s) starts it anew.', w.pid))
		WHEN NOT work THEN vibevideo_internal.line('worker', 'ok', 'not running: there is no work for it')
		WHEN rests_by IS NOT NULL THEN vibevideo_internal.line('worker', 'ok', format('not running: jobs wait, see line %s', rests_by))
		WHEN starting THEN vibevideo_internal.line('worker', 'ok', 'it is being started')
		ELSE vibevideo_internal.line('worker', 'fail',
			format('there is work, but no background worker runs: %s', concat_ws('; it is started again at ', w.absence, date_trunc('second', w.restart_at))),
			CASE WHEN w.absence LIKE '%(max_worker_processes)%' THEN 'Raise max_worker_processes, and restart the server.'
				 WHEN w.absence LIKE '%vibevideo.max_databases%' THEN 'Raise vibevideo.max_databases, and restart the server.'
				 WHEN w.absence LIKE '%vibevideo.wake()%' THEN 'SELECT vibevideo.wake().'
				 ELSE 'The server log says why.' END) END;

	RETURN NEXT CASE
		WHEN pg_is_in_recovery() THEN vibevideo_internal.not_checked('rhythm', 'worker')
		WHEN w.last_poll_at > clock_timestamp() - patience
		THEN vibevideo_internal.line('rhythm', 'ok', format('vibevideo_poll() was called %s', vibevideo_internal.ago(w.last_poll_at)))
		WHEN alive THEN vibevideo_internal.line('rhythm', 'ok', 'the background worker polls automatically')
		WHEN NOT work THEN vibevideo_internal.line('rhythm', 'ok', 'there is nothing to poll')
		ELSE vibevideo_internal.line('rhythm', 'ok', format('nobody asks fal.ai about the jobs: see line %s', coalesce(rests_by, 'worker'))) END;
END
$$;

CREATE OR REPLACE FUNCTION vibevideo_internal.check_table()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	b vibevideo.binding;
	t record;
	faults text;
	lacks record;
	checks record;
	columns name[];
	namesake name;
	again text;
	offered bigint;
BEGIN
	SELECT x.* INTO b FROM vibevideo.binding x;
	IF NOT FOUND THEN
		RETURN NEXT vibevideo_internal.line('table', 'fail', 'no table is attached',
			coalesce((SELECT format('SELECT vibevideo.attach(%L): jobs of it wait for that.', o.name) FROM vibevideo_internal.other_tables() o
					  WHERE NOT o.gone LIMIT 1), 'SELECT vibevideo.attach(''public.vibelogs'').'));
		RETURN;
	END IF;
	SELECT c.relkind = 'p' AS partitioned, c.relforcerowsecurity AND c.relrowsecurity AND NOT (o.rolsuper OR o.rolbypassrls) AS hidden,
		   o.rolname AS owner, o.rolsuper AS super, CASE WHEN c.relispartition THEN pg_partition_root(c.oid) END AS root INTO t
	FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner WHERE c.oid = b.relation;
	IF NOT FOUND THEN
		RETURN NEXT vibevideo_internal.line('table', 'fail',
											'the attached table has been dropped',
											format('Attach the table that takes its place, with adopt => ''%s'' if that has its rows, or SELECT '
												   'vibevideo.detach(). SELECT vibevideo.cancel(job_id) or vibevideo.retry(job_id) works without '
												   'table and row.', b.relation::oid));
		RETURN;
	END IF;
	RETURN NEXT CASE WHEN t.root IS NOT NULL
					 THEN vibevideo_internal.line('table', 'fail',
							  format('%s has become a partition of %s: rows in other partitions are not found', b.relation, t.root),
							  format('SELECT vibevideo.attach(%L, adopt => %L).', t.root, b.relation))
					 ELSE vibevideo_internal.line('table', 'ok',
							  concat_ws('; none: ', format('%s, %s', b.relation, vibevideo_internal.options(b)),
										nullif(concat_ws(', ', CASE WHEN b.image_column IS NULL THEN 'image_column' END,
														 CASE WHEN b.model IS NULL THEN 'model' END,
														 CASE WHEN b.input_function IS NULL THEN 'input_function' END,
														 CASE WHEN b.user_column IS NULL THEN 'user_column' END,
														 CASE WHEN b.tenant_column IS NULL THEN 'tenant_column' END,
														 CASE WHEN b.model_column IS NULL THEN 'model_column' END,
														 CASE WHEN b.meta_column IS NULL THEN 'meta_column' END,
														 CASE WHEN NOT b.realtime THEN 'realtime' END), ''))) END;
	again = format('SELECT vibevideo.attach(%L) again; name what has changed, other options stay.', b.relation);

	IF vibevideo_internal.is_copy(b) THEN
		RETURN NEXT vibevideo_internal.line('identity', 'fail', vibevideo_internal.pause_cause(b), 'To continue with the jobs here, SELECT vibevideo.resume().');
	ELSE
		RETURN NEXT vibevideo_internal.line('identity', 'ok', 'the jobs belong to this database');
		RETURN NEXT CASE WHEN b.paused
						 THEN vibevideo_internal.line('paused', 'warn', vibevideo_internal.pause_cause(b), 'SELECT vibevideo.resume() when the reason is gone.')
						 ELSE vibevideo_internal.line('paused', 'ok', 'not paused') END;
	END IF;

	faults = vibevideo_internal.column_faults(b);
	RETURN NEXT CASE WHEN faults IS NULL THEN vibevideo_internal.line('columns', 'ok', 'all there')
					 ELSE vibevideo_internal.line('columns', 'fail', faults, again) END;
	SELECT coalesce(array_agg(a.attname), '{}') INTO columns FROM pg_attribute a
	WHERE a.attrelid = b.relation AND a.attnum > 0 AND NOT a.attisdropped;

	SELECT s.present, s.refusing, s.refused INTO checks FROM vibevideo_internal.status_check(b.relation) s;
	namesake = (SELECT c.conname FROM pg_constraint c
				WHERE c.conrelid = b.relation AND c.conname = vibevideo_internal.derived_name(b.relation, '', '_video_generation_status_check'));
	RETURN NEXT CASE WHEN 'video_generation_status' <> ALL (columns)
					 THEN vibevideo_internal.not_checked('constraint', 'columns')
					 WHEN checks.refusing IS NOT NULL
					 THEN vibevideo_internal.line('constraint', 'fail', format('%I refuses status %s', checks.refusing, checks.refused),
							  format('ALTER TABLE %s DROP CONSTRAINT %I, then attach again.', b.relation, checks.refusing))
					 WHEN NOT checks.present
					 THEN vibevideo_internal.line('constraint', 'warn', 'no CHECK guards video_generation_status',
							  -- attach adds none beside one of its name
							  CASE WHEN namesake IS NULL THEN again
								   ELSE format('ALTER TABLE %s DROP CONSTRAINT %I, then attach again.', b.relation, namesake) END)
					 ELSE vibevideo_internal.line('constraint', 'ok', 'a CHECK guards video_generation_status') END;

	namesake = (SELECT c.relname FROM pg_class c JOIN pg_class r ON r.relnamespace = c.relnamespace
				WHERE r.oid = b.relation AND c.relname = vibevideo_internal.derived_name(b.relation, 'idx_', '_video_request_id'));
	RETURN NEXT CASE WHEN 'video_request_id' <> ALL (columns)
					 THEN vibevideo_internal.not_checked('index', 'columns')
					 WHEN vibevideo_internal.request_index(b.relation) IS NOT NULL
					 THEN vibevideo_internal.line('index', 'ok', vibevideo_internal.request_index(b.relation)::text)
					 WHEN b.build_index
					 THEN vibevideo_internal.line('index', 'warn', 'the background worker has not built the index on video_request_id yet',
							  'Wait; long transactions delay it. Or run yourself: ' || vibevideo_internal.index_command(b.relation, true))
					 ELSE vibevideo_internal.line('index', 'warn', 'video_request_id has no valid index',
							  CASE WHEN namesake IS NOT NULL THEN format('Drop or rename %I, which has its name; then attach again.', namesake)
								   WHEN t.partitioned THEN 'Run, which blocks writes: ' || vibevideo_internal.index_command(b.relation)
								   ELSE 'Run: ' || vibevideo_internal.index_command(b.relation, true) END) END;

	SELECT l.* INTO lacks FROM vibevideo_internal.owner_lacks(b) l;
	RETURN NEXT CASE WHEN lacks.lacking IS NOT NULL
					 THEN vibevideo_internal.line('row_security', 'fail', format('the table''s owner %I lacks %s', t.owner, lacks.lacking), lacks.remedy)
					 WHEN t.hidden
					 THEN vibevideo_internal.line('row_security', 'fail', format('row-level security is forced on the table''s owner %I', t.owner),
							  format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY; or ALTER ROLE %I BYPASSRLS.', b.relation, t.owner))
					 ELSE vibevideo_internal.line('row_security', 'ok', format('the worker writes as %I', t.owner)) END;

	IF b.on_delete = 'erase' THEN
		faults = (SELECT string_agg(g.name, ', ') FROM vibevideo_internal.delete_triggers(b.relation) g WHERE NOT g.fires);
		RETURN NEXT CASE WHEN faults IS NULL AND vibevideo_internal.key_source('vibevideo.fal_admin_key') IS NULL
						 THEN vibevideo_internal.line('on_delete', 'warn', 'the videos of rows that are deleted are erased in Storage, but not what fal.ai keeps, which takes a key of scope ADMIN',
								  'Create one at fal.ai/dashboard/keys and store it as fal_admin_key, id:secret.')
						 WHEN faults IS NULL
						 THEN vibevideo_internal.line('on_delete', 'ok', 'the videos of rows that are deleted are erased')
						 ELSE vibevideo_internal.line('on_delete', 'fail', format('the videos of rows that are deleted are not erased: %s has lost, or does not fire, %s', b.relation, faults),
								  format('SELECT vibevideo.attach(%L) makes them again.', b.relation)) END;
	END IF;

	IF b.model_column IS NOT NULL THEN
		offered = (SELECT count(*) FROM vibevideo_internal.offered_models());
		RETURN NEXT CASE WHEN offered > 1
						 THEN vibevideo_internal.line('models', 'ok', format('rows have the choice of %s models', offered))
						 ELSE vibevideo_internal.line('models', 'warn', format('a row may name its model in %I, but there is no choice', b.model_column),
								  'SELECT vibevideo.set_model(''...'', allowed => true) offers another one.') END;
	END IF;

	-- what others can have a superuser run
	SELECT string_agg(format('%I', r.rolname), ', ' ORDER BY r.rolname) INTO faults
	FROM pg_roles r
	WHERE t.super AND NOT r.rolsuper
	  AND (has_table_privilege(r.oid, b.relation, 'TRIGGER')
		   OR EXISTS (SELECT FROM pg_proc p WHERE p.proowner = r.oid
					  AND (p.oid = to_regproc(b.input_function)
						   OR p.oid IN (SELECT g.tgfoid FROM pg_trigger g WHERE g.tgrelid = b.relation))));
	RETURN NEXT CASE WHEN faults IS NOT NULL
					 THEN vibevideo_internal.line('owner', 'warn',
							  format('triggers and input function run with the rights of %I, a superuser, and can be made or changed by %s', t.owner, faults),
							  format('ALTER TABLE %s OWNER TO an ordinary role, on Supabase postgres.', b.relation))
					 ELSE vibevideo_internal.line('owner', 'ok', format('triggers and input function run with the rights of %I', t.owner)) END;

	IF b.input_function IS NOT NULL THEN
		BEGIN
			PERFORM vibevideo_internal.resolve_input_function(b.relation, b.input_function);
			RETURN NEXT vibevideo_internal.line('input_function', 'ok', b.input_function);
		EXCEPTION WHEN OTHERS THEN
			RETURN NEXT vibevideo_internal.line('input_function', 'fail', SQLERRM, again);
		END;
	ELSIF b.image_column IS NULL THEN
		RETURN QUERY SELECT l.* FROM vibevideo_internal.offered_models() o
			CROSS JOIN LATERAL vibevideo_internal.line('image_column', CASE WHEN o.is_default THEN 'fail' ELSE 'warn' END,
				format('model %s needs an image, and the table was attached without a column for one', o.endpoint),
				format('SELECT vibevideo.attach(%L, image_column => ''...''), or %s.', b.relation,
					   CASE WHEN o.is_default THEN 'attach it with another model'
							ELSE format('SELECT vibevideo.set_model(%L, allowed => false)', o.endpoint) END)) l
			WHERE o.needs_image;
	END IF;
END
$$;

CREATE OR REPLACE FUNCTION vibevideo_internal.check_services()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	what text;
	answer vibevideo_internal.check_line;
	-- the first line of each that is not ok
	fal_told text;
	storage_told text;
	anon constant oid = (SELECT r.oid FROM pg_roles r WHERE r.rolname = 'anon');
	hook constant regprocedure = to_regprocedure('public.vibevideo_webhook(json)');
	w record;
BEGIN
	FOREACH what IN ARRAY ARRAY['fal_key', 'queue', 'fal_admin_key', 'storage_key', 'bucket', 'bucket_public', 'bucket_size', 'public_url',
								'media_hosts', 'webhook', 'broadcasts'] LOOP
		BEGIN
			SELECT what, p.status, p.detail, p.hint INTO answer FROM vibevideo_internal.probe(what) p;
		EXCEPTION WHEN OTHERS THEN
			answer = vibevideo_internal.line(what, 'fail', SQLERRM,
											 format('SELECT * FROM vibevideo_internal.probe(%L) shows the whole error.', what));
		END;
		IF answer.status <> 'ok' THEN
			fal_told = coalesce(fal_told, CASE WHEN what IN ('fal_key', 'queue') THEN what END);
			storage_told = coalesce(storage_told, CASE WHEN what IN ('storage_key', 'bucket') THEN what END);
			IF what = 'webhook' AND hook IS NULL THEN
				answer = vibevideo_internal.not_checked(what, 'api');
			ELSIF what = 'webhook' AND NOT has_function_privilege(anon, hook, 'EXECUTE') THEN
				answer = vibevideo_internal.not_checked(what, 'grants');
			END IF;
		END IF;
		RETURN NEXT answer;
	END LOOP;

	SELECT i.fal_down_until AS fal, CASE WHEN current_setting('vibevideo.storage_kind') <> 'none' THEN i.storage_down_until END AS storage INTO w
	FROM vibevideo.worker_info() i;
	RETURN NEXT CASE
		WHEN w.fal IS NULL AND w.storage IS NULL THEN vibevideo_internal.line('breaker', 'ok', 'no service is left alone')
		WHEN (w.fal IS NULL OR fal_told IS NOT NULL) AND (w.storage IS NULL OR storage_told IS NOT NULL)
		THEN vibevideo_internal.line('breaker', 'ok', format('jobs wait for %s',
				 concat_ws(' and ', CASE WHEN w.fal IS NOT NULL THEN format('fal.ai: see line %s', fal_told) END,
						   CASE WHEN w.storage IS NOT NULL THEN format('Storage: see line %s', storage_told) END)))
		ELSE vibevideo_internal.line('breaker', 'warn',
				 format('%s could not be reached: jobs wait, without using up tries; next probe %s',
						concat_ws(' and ', CASE WHEN w.fal IS NOT NULL THEN 'fal.ai' END, CASE WHEN w.storage IS NOT NULL THEN 'Storage' END),
						date_trunc('second', least(w.fal, w.storage))),
				 'SELECT * FROM vibevideo.probe_now() asks at once, and lets jobs go to what answers; the server log says what happened.') END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_services() IS 'part of check_config: fal.ai, Storage, Realtime, our own webhook_url; owner only';

COMMENT ON FUNCTION vibevideo_internal.probe(text) IS 'asks fal.ai, Storage, Realtime or our own webhook_url for check_config; owner only';

-- The API keys, for who asks nobody over the network.
CREATE FUNCTION vibevideo_internal.check_keys()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE sql VOLATILE ROWS 3 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT k.name, p.status, p.detail, p.hint
	FROM (VALUES (1, 'fal_key'), (2, 'fal_admin_key'), (3, 'storage_key')) AS k(nth, name) CROSS JOIN LATERAL vibevideo_internal.probe(k.name) p ORDER BY k.nth;
END;
COMMENT ON FUNCTION vibevideo_internal.check_keys() IS 'part of check_config: whether there are API keys; owner only';

CREATE OR REPLACE FUNCTION vibevideo_internal.check_cron()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	version constant text = (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'pg_cron');
	cron_database constant text = nullif(current_setting('cron.database_name', true), '');
	job record;
	run record;
BEGIN
	IF version IS NULL THEN
		RETURN NEXT vibevideo_internal.line('pg_cron', 'ok',
											CASE WHEN cron_database <> current_database()
											THEN format('not in this database but in %s; a job there may call vibevideo_poll() here',
											cron_database)
											ELSE 'not installed; the background worker follows the jobs alone' END);
		RETURN;
	END IF;
	EXECUTE 'SELECT j.jobid, j.schedule, j.active, j.username FROM cron.job j '
			'WHERE (j.jobname = $1 OR j.command ~ ''\mvibevideo_poll\M'') AND j.database = $2 '
			'ORDER BY j.active DESC, (j.jobname = $1) IS TRUE DESC, j.jobid LIMIT 1'
	INTO job USING 'vibevideo_poll', current_database();
	IF job.jobid IS NULL THEN
		RETURN NEXT vibevideo_internal.line('pg_cron', 'ok',
											format('version %s, no job calls vibevideo_poll(); the background worker follows the jobs alone', version));
		RETURN;
	ELSIF NOT job.active THEN
		RETURN NEXT vibevideo_internal.line('pg_cron', 'warn',
											format('version %s, job %s is not active', version, job.jobid),
											format('SELECT cron.alter_job(%s, active => true).', job.jobid));
		RETURN;
	ELSIF NOT vibevideo_internal.is_preloaded('pg_cron') THEN
		RETURN NEXT vibevideo_internal.line('pg_cron', 'warn',
											format('version %s, job %s never runs: pg_cron is not in shared_preload_libraries', version, job.jobid),
											'Add it to the list in postgresql.conf, keep what is there, and restart the server.');
		RETURN;
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = job.username) THEN
		RETURN NEXT vibevideo_internal.line('pg_cron', 'fail',
											format('version %s, job %s belongs to role %I, which is gone: pg_cron may run no job at all',
											version, job.jobid, job.username),
											'SELECT vibevideo.unschedule(), then vibevideo.schedule() as the role that is to own it.');
		RETURN;
	END IF;
	-- the last one that has ended; those that a restart of the server has ended say nothing
	EXECUTE 'SELECT d.status, d.return_message FROM cron.job_run_details d '
			'WHERE d.jobid = $1 AND d.status IN (''succeeded'', ''failed'') AND d.return_message IS DISTINCT FROM ''server restarted'' '
			'ORDER BY d.runid DESC LIMIT 1'
	INTO run USING job.jobid;
	IF run.status = 'failed' THEN
		RETURN NEXT vibevideo_internal.line('pg_cron', 'warn',
											format('version %s, job %s failed: %s', version, job.jobid, btrim(run.return_message, E' \n')),
											CASE WHEN run.return_message ~* 'connect'
											THEN 'See cron.job_run_details. pg_cron connects to cron.host, which pg_hba.conf must allow, unless '
												 'cron.use_background_workers is on.'
											ELSE 'See cron.job_run_details.' END);
		RETURN;
	END IF;
	RETURN NEXT vibevideo_internal.line('pg_cron', 'ok', format('version %s, job %s: %s', version, job.jobid, job.schedule));
END
$$;

-- Jobs that nobody takes up, though they are due.
CREATE FUNCTION vibevideo_internal.check_overdue()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	now constant timestamptz = clock_timestamp();
	late constant timestamptz = now - interval '1 minute';
	rests_by constant text = vibevideo_internal.rests_by();
	max_active constant int = current_setting('vibevideo.max_active');
	-- polls are left to who calls vibevideo_poll() for so long
	poll_interval constant interval = current_setting('vibevideo.poll_interval');
	told_by text;
	w record;
	fal boolean;
	storage boolean;
	sending boolean;
	begun_at timestamptz;
	due record;
BEGIN
	SELECT l.check_name INTO told_by FROM vibevideo_internal.check_worker() l WHERE l.status <> 'ok' LIMIT 1;
	told_by = coalesce(rests_by, told_by);
	IF told_by IS NOT NULL THEN
		RETURN NEXT vibevideo_internal.not_checked('overdue', told_by);
		RETURN;
	END IF;
	SELECT i.* INTO w FROM vibevideo.worker_info() i;
	fal = w.fal_down_until IS NULL AND w.has_fal_key IS NOT FALSE;
	storage = w.storage_down_until IS NULL
		AND (current_setting('vibevideo.storage_kind') = 'none'
			 OR w.has_storage_key IS NOT FALSE AND current_setting('vibevideo.storage_url') <> '');
	-- a place that has just become free is not taken yet
	sending = fal AND NOT (SELECT b.paused FROM vibevideo.binding b) AND (SELECT a.since IS NULL FROM vibevideo_internal.account_wait() a)
		AND (max_active = 0
			 OR vibevideo_internal.room_at_fal() > 0
				AND NOT EXISTS (SELECT FROM vibevideo.job j WHERE j.next_at IS NULL AND j.completed_at > late)
				AND NOT EXISTS (SELECT FROM vibevideo.job j WHERE j.state = 'processing' AND j.generated_at > late));
	-- before that nobody worked on them
	begun_at = greatest(w.started_at, (SELECT max(a.at) FROM vibevideo.audit a WHERE a.at > late AND a.action IN ('resume', 'attach')));

	SELECT count(*) AS jobs, min(x.since) AS oldest, count(*) FILTER (WHERE x.state = 'processing') AS copies INTO due
	-- what has to come first is due since yesterday, which says nothing
	FROM (SELECT a.state, greatest(a.next_at, a.cancel_requested_at) AS since FROM vibevideo_internal.active_jobs a
		  WHERE a.next_at < late AND a.crashes < 2 AND (a.cancel_requested_at IS NOT NULL OR a.next_at > a.updated_at - interval '12 hours')) x
	WHERE CASE x.state WHEN 'pending' THEN sending AND x.since < late WHEN 'processing' THEN storage AND x.since < late
					   WHEN 'queued' THEN fal AND x.since < late - poll_interval WHEN 'generating' THEN fal AND x.since < late - poll_interval END;
	RETURN NEXT CASE WHEN due.jobs = 0 THEN vibevideo_internal.line('overdue', 'ok', 'no job waits longer than a minute for its turn')
					 WHEN begun_at > now - interval '10 seconds'
					 THEN vibevideo_internal.line('overdue', 'ok', 'work on the jobs has just begun')
					 ELSE vibevideo_internal.line('overdue', CASE WHEN due.oldest < now - interval '10 minutes' THEN 'fail' ELSE 'warn' END,
							  format('jobs that wait for their turn: %s, the oldest was due %s', due.jobs, vibevideo_internal.ago(due.oldest)),
							  format('The server log may say what holds them up; if it is only that there are many, raise %s.',
									 concat_ws(' and ', CASE WHEN due.copies < due.jobs THEN 'vibevideo.max_requests' END,
											   CASE WHEN due.copies > 0 THEN 'vibevideo.max_transfers' END)))
					 END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_overdue() IS 'part of check_config: jobs that nobody takes up; owner only';

-- The numbers of jobs.
CREATE FUNCTION vibevideo_internal.check_sequences()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN NEXT CASE WHEN NOT vibevideo_internal.sequences_behind() THEN vibevideo_internal.line('sequences', 'ok', 'ahead of all jobs')
					 -- a copy is resumed anyway
					 WHEN vibevideo_internal.rests_by() = 'identity' THEN vibevideo_internal.not_checked('sequences', 'identity')
					 ELSE vibevideo_internal.line('sequences', 'fail', 'jobs have higher numbers than their sequence: new ones cannot be made',
							  'SELECT vibevideo.resume() advances the sequences; they do not come along with logical replication.') END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_sequences() IS 'part of check_config: the numbers of jobs; owner only';

-- Has its row a newer job?  Then nobody needs this one.
CREATE FUNCTION vibevideo_internal.is_superseded(j vibevideo.job)
RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM vibevideo.job n
			   WHERE n.relation = (j).relation AND n.vibelog_id = (j).vibelog_id AND NOT n.orphan AND n.job_id > (j).job_id);
COMMENT ON FUNCTION vibevideo_internal.is_superseded(vibevideo.job) IS 'whether the row of a job has a newer one; owner only';

CREATE OR REPLACE FUNCTION vibevideo_internal.check_jobs()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	week constant timestamptz = clock_timestamp() - interval '7 days';
	attached constant regclass = (SELECT b.relation FROM vibevideo.binding b);
	jobs bigint;
	oldest timestamptz;
	example text;
	other text;
	again boolean;
	told_by text;
BEGIN
	RETURN QUERY SELECT l.* FROM vibevideo_internal.check_overdue() l;

	SELECT count(*), min(j.created_at) INTO jobs, oldest FROM vibevideo.job j WHERE j.state = 'submit_unknown';
	RETURN NEXT CASE WHEN jobs = 0 THEN vibevideo_internal.line('submit_unknown', 'ok', 'no lost submits')
					 ELSE vibevideo_internal.line('submit_unknown', 'warn', format('lost submits: %s, the oldest from %s', jobs, vibevideo_internal.ago(oldest)),
							  CASE current_setting('vibevideo.unknown_policy')
							  WHEN 'manual' THEN 'They are looked for at fal.ai; one that is not found waits for you, since vibevideo.unknown_policy is manual. '
							  WHEN 'resubmit' THEN 'They are sent again without looking for them first, since vibevideo.unknown_policy is resubmit. '
							  ELSE 'They are looked for at fal.ai and never sent again blindly; vibevideo.unknown_policy says how that ends. ' END
							  || 'Or look in fal.ai''s dashboard, then SELECT vibevideo.resolve(job_id, ''request id'') or, if it '
							  'is not there, vibevideo.resolve(job_id, ''not_sent'').') END;

	SELECT count(*), vibevideo_internal.shown(max(j.vibelog_id)) INTO jobs, example FROM vibevideo.job j
	WHERE (j.state = 'failed') IS TRUE AND j.error_code COLLATE pg_catalog."C" = 'submit_lost' AND j.next_at IS NULL AND j.sent_at IS NOT NULL
	  AND j.request_id IS NULL AND j.forgotten_at IS NULL AND j.completed_at > week AND NOT vibevideo_internal.is_superseded(j);
	RETURN NEXT CASE WHEN jobs = 0 THEN vibevideo_internal.line('submit_lost', 'ok', 'no submit was given up as lost in the last 7 days')
					 ELSE vibevideo_internal.line('submit_lost', 'warn', format('submits given up as lost in the last 7 days: %s, one for %s', jobs, example),
							  'fal.ai showed no trace of them, and nothing was sent again; vibevideo_retry makes a new attempt.') END;

	SELECT count(*), vibevideo_internal.shown(max(j.vibelog_id)) INTO jobs, example FROM vibevideo.job j
	WHERE j.state = 'failed' AND j.media_url IS NOT NULL AND j.forgotten_at IS NULL AND j.completed_at > week
	  AND NOT vibevideo_internal.is_superseded(j);
	RETURN NEXT CASE WHEN jobs = 0 THEN vibevideo_internal.line('dead_letters', 'ok', 'no finished video was given up in the last 7 days')
					 ELSE vibevideo_internal.line('dead_letters', 'warn', format('videos made but given up in the last 7 days: %s, one for %s',
															 jobs, example),
							  'vibevideo.jobs says why in error, and media_url where fal.ai still has them; fix the cause, then '
							  'vibevideo.retry(job_id), or vibevideo_retry of the row, which copies such a video without a new render.') END;

	-- rows of other tables are in the next line
	SELECT count(*), max(x.row_error), bool_or(x.again) INTO jobs, example, again
	FROM (SELECT j.row_error, true AS again FROM vibevideo.job j
		  WHERE j.row_dirty AND j.row_error IS NOT NULL AND (j.relation IS NULL OR j.relation = attached)
		  UNION ALL
		  SELECT j.row_error, false FROM vibevideo.job j
		  WHERE j.row_error IS NOT NULL AND NOT j.row_dirty AND j.updated_at > week AND j.relation = attached
			AND j.row_error <> 'the row no longer exists') x;
	IF jobs > 0 THEN
		SELECT l.check_name INTO told_by FROM vibevideo_internal.check_table() l
		WHERE l.status = 'fail' AND l.check_name IN ('table', 'columns', 'constraint', 'row_security') LIMIT 1;
	END IF;
	RETURN NEXT CASE WHEN jobs = 0 THEN vibevideo_internal.line('unwritten_rows', 'ok', 'every row could be written')
					 WHEN told_by IS NOT NULL
					 THEN vibevideo_internal.line('unwritten_rows', 'ok', format('rows of the app that could not be written: %s; see line %s', jobs, told_by))
					 ELSE vibevideo_internal.line('unwritten_rows', 'warn', format('rows of the app that could not be written: %s, because %s', jobs, example),
							  'Fix what the error says (triggers, constraints, rights of the table''s owner); '
							  || CASE WHEN again THEN 'they are tried again.' ELSE 'SELECT vibevideo.reset_stuck(''0'') tries them again.' END)
					 END;

	SELECT string_agg(format('%s %s: %s active, %s ended but not shown in their rows (jobs %s)',
							 CASE WHEN o.gone THEN 'dropped table' ELSE 'table' END, o.name, o.active, o.unwritten, o.examples), '; '),
		   max(o.name), count(*), bool_and(attached IS NULL OR o.name = attached::text)
	INTO example, other, jobs, again FROM vibevideo_internal.other_tables() o;
	RETURN NEXT CASE WHEN jobs = 0 THEN vibevideo_internal.line('other_tables', 'ok', 'all unfinished jobs are of the attached table')
					 -- no table is attached, or it was dropped
					 WHEN again THEN vibevideo_internal.line('other_tables', 'ok', 'see line table; unfinished jobs of ' || example)
					 ELSE vibevideo_internal.line('other_tables', 'warn', 'unfinished jobs of tables that are not attached: ' || example,
							  format('If the attached table takes the place of one of them, with its rows: SELECT vibevideo.attach(..., adopt '
									 '=> %L). SELECT vibevideo.cancel(job_id) or vibevideo.retry(job_id) works without table and row.', other))
					 END;

	RETURN QUERY SELECT l.* FROM vibevideo_internal.check_sequences() l;
END
$$;

COMMENT ON FUNCTION vibevideo.check_config() IS
'Checks whether everything is as it has to be. Asks fal.ai and Storage over the network, and changes nothing.
Returns a row for each thing. One cause is one row that is not ok: what depends on it is ok and names it.
check_name: what was checked.
status: ok, warn or fail.
detail: what was found.
hint: what to do; NULL if it is ok.
Raises no errors: what cannot be checked is a row that says so.
For the extension''s owner.';

CREATE OR REPLACE FUNCTION vibevideo.reset_stuck(older_than interval DEFAULT '1 hour')
RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	running constant text[] = ARRAY['queued', 'generating', 'processing'];
	b vibevideo.binding;
	faults text;
	stuck text;
	without_job text[];
	failed bigint;
	with_job bigint;
BEGIN
	IF older_than IS NULL OR older_than < interval '0' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'older_than must be an interval of 0 or more',
			HINT = 'For example SELECT vibevideo.reset_stuck(''1 hour'').';
	END IF;
	-- an empty table can be made a view (until PostgreSQL 15), whose functions would run as the caller
	SELECT x.* INTO b FROM vibevideo.binding x JOIN pg_class c ON c.oid = x.relation AND c.relkind IN ('r', 'p');
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'no table is attached',
			HINT = 'SELECT vibevideo.attach(''public.vibelogs'') first.';
	END IF;
	faults = vibevideo_internal.column_faults(b);
	IF faults IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('table %s is not as it was attached', b.relation),
			DETAIL = format('Columns: %s.', faults),
			HINT = format('SELECT vibevideo.attach(%L) again; name what has changed, other options stay.', b.relation);
	END IF;

	stuck = 't.video_generation_status = ANY ($1)';
	IF EXISTS (SELECT FROM pg_attribute a
			   WHERE a.attrelid = b.relation AND a.attname = 'updated_at' AND NOT a.attisdropped
				 AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype))
	THEN
		stuck = stuck || ' AND coalesce(t.updated_at <= now() - $2, true)';
	END IF;

	EXECUTE format('SELECT array_agg(t.%I::text) FROM %s AS t '
				   'WHERE %s AND NOT EXISTS (SELECT FROM vibevideo.job j '
				   'WHERE j.relation = $3 AND j.vibelog_id = t.%I::text COLLATE "C" AND NOT j.orphan) '
				   -- its key was changed, and its job has not followed it yet
				   'AND NOT EXISTS (SELECT FROM vibevideo.job j '
				   'WHERE j.request_id = t.video_request_id::text COLLATE "C" AND NOT j.orphan)',
				   b.id_column, b.relation, stuck, b.id_column)
	INTO without_job USING running, older_than, b.relation;
	failed = coalesce(vibevideo_internal.fail_rows(without_job), 0);
	-- somebody may have submitted one of them meanwhile
	UPDATE vibevideo.job j SET row_dirty = true, row_tries = 0, row_next_at = now(),
		row_bears = CASE WHEN j.row_dirty OR j.row_bears = '?' THEN j.row_bears ELSE coalesce(j.request_id, '-') END
	WHERE j.relation = b.relation AND j.vibelog_id = ANY (without_job);

	EXECUTE format('UPDATE vibevideo.job AS j SET row_dirty = true, row_tries = 0, row_next_at = now(), '
				   'row_bears = CASE WHEN j.row_bears = ''?'' THEN ''?'' ELSE coalesce(j.request_id, ''-'') END WHERE j.job_id IN ('
				   'SELECT max(k.job_id) FROM %s AS t '
				   'JOIN vibevideo.job k ON k.relation = $3 AND k.vibelog_id = t.%I::text COLLATE "C" AND NOT k.orphan WHERE %s '
				   'GROUP BY k.vibelog_id '
				   'HAVING bool_and(NOT vibevideo.is_active(k.state) AND NOT k.row_dirty))',
				   b.relation, b.id_column, stuck)
	USING running, older_than, b.relation;
	GET DIAGNOSTICS with_job = ROW_COUNT;
	IF failed + with_job > 0 THEN
		PERFORM vibevideo_internal.note_act('reset_stuck', jsonb_build_object('older_than', older_than), (failed + with_job)::int);
	END IF;
	IF with_job > 0 THEN
		PERFORM vibevideo.wake();
	END IF;
	RETURN failed + with_job;
END
$$;
COMMENT ON FUNCTION vibevideo.reset_stuck(interval) IS
'Fixes rows of the app that say queued, generating or processing but have no active job. One without any job
  becomes failed; one whose last job has ended is written anew, by the worker.
older_than: only rows whose updated_at, if the table has it, is older than this or null; default: 1 hour.
Returns how many rows.
Errors: 22023 a negative interval, or none; 55000 no table is attached, or its columns have changed.
For the extension''s owner, who must be able to write the table.';

CREATE OR REPLACE FUNCTION vibevideo.grant_api_roles()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	users constant text = (SELECT string_agg(quote_ident(r.rolname), ', ') FROM pg_roles r
						   WHERE r.rolname IN ('authenticated', 'service_role'));
	service constant text = (SELECT quote_ident(r.rolname) FROM pg_roles r WHERE r.rolname = 'service_role');
	anonymous constant text = (SELECT quote_ident(r.rolname) FROM pg_roles r WHERE r.rolname = 'anon');
	anybody constant text = nullif(concat_ws(', ', anonymous, users), '');
	everybody constant text = concat_ws(', ', 'PUBLIC',
										(SELECT string_agg(quote_ident(r.rolname), ', ') FROM pg_roles r
										 WHERE r.rolname IN ('anon', 'authenticated', 'service_role')));
	api record;
	may record;
BEGIN
	IF NOT pg_has_role((SELECT e.extowner FROM pg_extension e WHERE e.extname = 'vibevideo'), 'USAGE') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = 'only the owner of extension vibevideo can set its access rights';
	END IF;

	EXECUTE format('REVOKE ALL ON SCHEMA vibevideo, vibevideo_internal, vibevideo_page FROM %s CASCADE', everybody);
	EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA vibevideo, vibevideo_internal FROM %s CASCADE', everybody);
	EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA vibevideo, vibevideo_internal FROM %s CASCADE', everybody);
	EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA vibevideo, vibevideo_internal FROM %s CASCADE', everybody);
	FOR api IN
		SELECT p.oid::regprocedure AS signature
		FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'vibevideo'
		WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'vibevideo\_admin\_%'
	LOOP
		EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s CASCADE', api.signature, everybody);
	END LOOP;
	IF users IS NOT NULL THEN
		EXECUTE format('GRANT USAGE ON SCHEMA vibevideo TO %s', users);
	END IF;
	IF anybody IS NOT NULL THEN
		EXECUTE format('GRANT USAGE ON SCHEMA vibevideo_page TO %s', anybody);
		EXECUTE format('GRANT USAGE ON TYPE vibevideo_page."text/html" TO %s', anybody);
	END IF;
	FOR may IN SELECT r.privilege, r.objects FROM vibevideo_internal.rights() r WHERE r.guarded AND users IS NOT NULL LOOP
		EXECUTE format('GRANT %s ON %s TO %s', may.privilege, may.objects, users);
	END LOOP;
	IF service IS NOT NULL THEN
		-- A view reads with its reader's rights, and calls with them, which takes no USAGE.
		-- What marks the roles of vibevideo.access is not for it.
		EXECUTE format('GRANT SELECT ON vibevideo.job, vibevideo.past_costs TO %s', service);
		FOR may IN SELECT r.privilege, r.objects FROM vibevideo_internal.rights() r
				   WHERE NOT r.guarded AND r.objects <> 'FUNCTION vibevideo_internal.caller()'
		LOOP
			EXECUTE format('GRANT %s ON %s TO %s', may.privilege, may.objects, service);
		END LOOP;
	END IF;

	FOR api IN
		SELECT p.oid::regprocedure AS signature,
			   CASE p.proname WHEN 'vibevideo_poll' THEN service
							  WHEN 'vibevideo_webhook' THEN anonymous
							  WHEN 'vibevideo_dashboard' THEN anybody
							  ELSE users END AS callers
		FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
		WHERE p.pronamespace = 'public'::regnamespace AND l.lanname = 'c' AND p.prosrc = p.proname
		  AND p.proname IN ('vibevideo_submit', 'vibevideo_submit_batch', 'vibevideo_status',
							'vibevideo_estimate', 'vibevideo_cancel', 'vibevideo_retry', 'vibevideo_poll', 'vibevideo_webhook', 'vibevideo_dashboard',
							'vibevideo_models')
	LOOP
		EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s CASCADE', api.signature, everybody);
		IF api.callers IS NOT NULL THEN
			EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', api.signature, api.callers);
		END IF;
	END LOOP;
END
$$;

-- create_api comments on what it creates only
DO $$
DECLARE
	key constant regtype = coalesce((SELECT b.id_type FROM vibevideo.binding b), 'uuid'::regtype);
	errors constant text =
		E'Errors: PT404 there is no such row, or the caller may not see it; 22004 the key is null; 42501 the caller lacks rights on\n'
		'  the table; 55000 no table is attached, or vibevideo cannot work with it as it is';
	change_errors constant text =
		E', or is paused; 40001 somebody else changed the row''s job at this very moment: try again';
	who_may constant text = E'.\nFor authenticated, whose row-level security decides which rows, and service_role.';
	submit_errors constant text = errors || change_errors ||
		E';\n  22023 the prompt or image is missing, the prompt is too long, or the input cannot be used; PT422 the row names a\n'
		'  model that is not offered; PT402, PT429 a limit is reached' || who_may;
	api record;
BEGIN
	FOR api IN SELECT f.name, f.description FROM (VALUES
		('vibevideo_submit(%s)',
		 E'Asks for a video of one row of the attached table: sends it to fal.ai and returns at once, with the request id.\n'
		 'vibelog_id: the row''s key.\n'
		 'Returns the video. While the row has an active job that is that job, so that a double click never pays twice. After it\n'
		 '  has ended, a call makes a new attempt, which is paid for; with vibevideo.resubmit_completed off, not if the video is\n'
		 '  completed. If fal.ai refuses it, the video''s status is failed.\n' || submit_errors),
		('vibevideo_submit_batch(%s[])',
		 E'Asks for videos of many rows: only notes the jobs, without network; the background worker sends them after the commit.\n'
		 'vibelog_ids: the rows'' keys.\n'
		 'Returns a video for each, in the same order; which of them are new, and paid for, is as in vibevideo_submit.\n' || submit_errors),
		('vibevideo_status(%s)',
		 E'Reports how far the video of one row is; its message is made for people. No network, no writes.\n'
		 'vibelog_id: the row''s key.\n'
		 'Returns the video; its status is null if none was ever requested.\n' || errors || who_may),
		('vibevideo_cancel(%s)',
		 E'Cancels the active job of one row, here and at fal.ai.\n'
		 'vibelog_id: the row''s key.\n'
		 'Returns the video; one that has ended or is being copied is returned as it is.\n' || errors || change_errors || who_may),
		('vibevideo_retry(%s)',
		 E'Tries again to make the video of a row whose last job failed or was cancelled.\n'
		 'vibelog_id: the row''s key.\n'
		 'Returns the video. One that was rendered is only copied again, even if the transaction that asked for it was rolled back;\n'
		 '  anything else is a new attempt, which is paid for, a lost submit too. A job that waits is sent now.\n' || submit_errors)) AS f(name, description)
	LOOP
		EXECUTE format('COMMENT ON FUNCTION public.%s IS %L', format(api.name, key), api.description);
	END LOOP;
END
$$;

CREATE FUNCTION vibevideo_internal.sent_for_nobody(user_id text, OUT jobs int, OUT usd numeric)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_sent_for_nobody';
COMMENT ON FUNCTION vibevideo_internal.sent_for_nobody(text) IS
	'submits of a user, NULL for everybody''s, that were rolled back and are not settled: how many, and their prices; owner only';

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

CREATE FUNCTION vibevideo_internal.counts(j vibevideo.job)
RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN (j).billed OR (j).held_usd IS NOT NULL OR vibevideo.is_active((j).state);
COMMENT ON FUNCTION vibevideo_internal.counts(vibevideo.job) IS 'whether a job counts for budgets; owner only';

CREATE FUNCTION vibevideo_internal.counted_usd(j vibevideo.job)
RETURNS numeric LANGUAGE sql IMMUTABLE
RETURN coalesce((j).held_usd, (j).cost_usd);
COMMENT ON FUNCTION vibevideo_internal.counted_usd(vibevideo.job) IS 'what a job counts as in budgets, in USD; owner only';

CREATE FUNCTION vibevideo_internal.counts_no_more(j vibevideo.job, kind text)
RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN NOT vibevideo.is_active((j).state) AND (kind = 'active' OR NOT vibevideo_internal.counts(j));
COMMENT ON FUNCTION vibevideo_internal.counts_no_more(vibevideo.job, text) IS 'whether a job has ended that counted for a limit; owner only';

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

-- The key is made of scope and user_id: without this an error would be about column
-- who, which nobody wrote.
CREATE OR REPLACE FUNCTION vibevideo_internal.limit_changing()
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

CREATE OR REPLACE FUNCTION vibevideo_internal.limit_changed()
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
DROP TRIGGER limit_changed ON vibevideo.limit;
CREATE CONSTRAINT TRIGGER limit_changed AFTER INSERT OR UPDATE OR DELETE ON vibevideo.limit
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.limit_changed();

CREATE FUNCTION vibevideo_internal.model_changing()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		IF NEW.changed_at <> now() THEN
			DELETE FROM vibevideo.model m WHERE m.endpoint = NEW.endpoint AND m.builtin;
		END IF;
	ELSIF NEW IS DISTINCT FROM OLD THEN
		NEW.builtin = false;
		NEW.changed_at = now();
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.model_changing() IS
	'trigger: a built-in row that is changed is the app''s, and one that a dump brings back takes the place of ours';

-------------------------------------------------------------------------------
-- What became of jobs
-------------------------------------------------------------------------------

-- src/histogram.c: bucket i counts what took no longer than bound i and longer
-- than the one before, the last one everything beyond.
CREATE FUNCTION vibevideo.histogram_bounds()
RETURNS int[] LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_histogram_bounds';
COMMENT ON FUNCTION vibevideo.histogram_bounds() IS
'Returns the upper bounds, in seconds and inclusive, of a histogram''s buckets; one more bucket counts what is
  beyond the last. Raises no errors.
For viewers, operators and service_role.';
CREATE FUNCTION vibevideo_internal.histogram_note(histogram bigint[], ms bigint)
RETURNS bigint[] LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_histogram_note';
COMMENT ON FUNCTION vibevideo_internal.histogram_note(bigint[], bigint) IS 'a histogram with one duration more; owner only';
CREATE FUNCTION vibevideo_internal.histogram_add(a bigint[], b bigint[])
RETURNS bigint[] LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_histogram_add';
COMMENT ON FUNCTION vibevideo_internal.histogram_add(bigint[], bigint[]) IS 'the sum of two histograms, either of which may be NULL; owner only';
CREATE FUNCTION vibevideo.percentile(histogram bigint[], fraction double precision)
RETURNS double precision LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_percentile';
COMMENT ON FUNCTION vibevideo.percentile(bigint[], double precision) IS
'Reads a percentile from a histogram of vibevideo.rollup.
histogram: counts by bucket, as vibevideo.histogram_sum returns them.
fraction: from 0 to 1; 0.5 is the median.
Returns the seconds within which this fraction of the durations lie, interpolated within a bucket; NULL if
  nothing is counted.
Errors: 22023 not a histogram, or not a fraction.
For viewers, operators and service_role.';
CREATE AGGREGATE vibevideo_internal.histogram(ms bigint) (
	SFUNC = vibevideo_internal.histogram_note, STYPE = bigint[], COMBINEFUNC = vibevideo_internal.histogram_add, PARALLEL = SAFE);
COMMENT ON AGGREGATE vibevideo_internal.histogram(bigint) IS 'the histogram of durations; owner only';
CREATE AGGREGATE vibevideo.histogram_sum(histogram bigint[]) (
	SFUNC = vibevideo_internal.histogram_add, STYPE = bigint[], COMBINEFUNC = vibevideo_internal.histogram_add, PARALLEL = SAFE);
COMMENT ON AGGREGATE vibevideo.histogram_sum(bigint[]) IS
'Adds up histograms of vibevideo.rollup.
histogram: counts by bucket; NULL counts as none.
Returns the sum; NULL if there are none.
Errors: 22023 not a histogram.
For viewers, operators and service_role.';

CREATE TABLE vibevideo_internal.tally (
	tally_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	outcome text NOT NULL,
	orphan boolean NOT NULL,
	model text NOT NULL,
	error_code text,
	ms bigint,
	total_ms bigint,
	bytes bigint,
	usd numeric
);
COMMENT ON TABLE vibevideo_internal.tally IS 'steps of jobs that are not yet in the rollup, one row each';
COMMENT ON COLUMN vibevideo_internal.tally.tally_id IS 'the order in which they are taken';
COMMENT ON COLUMN vibevideo_internal.tally.at IS 'when the step was taken';
COMMENT ON COLUMN vibevideo_internal.tally.outcome IS 'which step: as in vibevideo.rollup';
COMMENT ON COLUMN vibevideo_internal.tally.orphan IS 'the job''s transaction was rolled back after it was sent';
COMMENT ON COLUMN vibevideo_internal.tally.model IS 'the job''s model';
COMMENT ON COLUMN vibevideo_internal.tally.error_code IS 'why it failed; NULL for other steps';
COMMENT ON COLUMN vibevideo_internal.tally.ms IS 'how long what ended with this step took: wait, render or copy; NULL if that is not known';
COMMENT ON COLUMN vibevideo_internal.tally.total_ms IS 'how long all of it took, when it is completed';
COMMENT ON COLUMN vibevideo_internal.tally.bytes IS 'what was copied';
COMMENT ON COLUMN vibevideo_internal.tally.usd IS 'what was settled with step rendered, or returned with failed or cancelled; with settled how much more the job has cost, less if it is negative';
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.tally', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.tally_tally_id_seq', '');

CREATE TABLE vibevideo_internal.rollup_level (
	seconds int NOT NULL,
	at timestamptz NOT NULL,
	outcome text COLLATE pg_catalog."C" NOT NULL CHECK (outcome OPERATOR(pg_catalog.=) ANY (ARRAY[
		'submitted', 'accepted', 'rendered', 'completed', 'failed', 'cancelled', 'settled', 'delivered_less'])),
	model text COLLATE pg_catalog."C" NOT NULL,
	error_class text COLLATE pg_catalog."C" NOT NULL,
	orphan boolean NOT NULL,
	n bigint NOT NULL,
	wait_ms bigint NOT NULL,
	render_ms bigint NOT NULL,
	copy_ms bigint NOT NULL,
	total_ms bigint NOT NULL,
	bytes bigint NOT NULL,
	settled_usd numeric NOT NULL,
	returned_usd numeric NOT NULL,
	wait bigint[],
	render bigint[],
	copy bigint[],
	total bigint[],
	PRIMARY KEY (outcome, at, model, error_class, orphan, seconds)
) PARTITION BY LIST (seconds);
COMMENT ON TABLE vibevideo_internal.rollup_level IS 'steps of jobs by period, model and the like, as far as they are added up; view vibevideo.rollup has all';
-- a table each, so that what is read together lies together
CREATE TABLE vibevideo_internal.rollup_ever PARTITION OF vibevideo_internal.rollup_level FOR VALUES IN (0) WITH (fillfactor = 50);
COMMENT ON TABLE vibevideo_internal.rollup_ever IS 'part of vibevideo_internal.rollup_level: all time, nothing is taken away from it';
CREATE TABLE vibevideo_internal.rollup_minute PARTITION OF vibevideo_internal.rollup_level FOR VALUES IN (60);
COMMENT ON TABLE vibevideo_internal.rollup_minute IS 'part of vibevideo_internal.rollup_level: minutes';
CREATE TABLE vibevideo_internal.rollup_minutes PARTITION OF vibevideo_internal.rollup_level FOR VALUES IN (300);
COMMENT ON TABLE vibevideo_internal.rollup_minutes IS 'part of vibevideo_internal.rollup_level: five minutes each';
CREATE TABLE vibevideo_internal.rollup_hour PARTITION OF vibevideo_internal.rollup_level FOR VALUES IN (3600);
COMMENT ON TABLE vibevideo_internal.rollup_hour IS 'part of vibevideo_internal.rollup_level: hours';
CREATE TABLE vibevideo_internal.rollup_day PARTITION OF vibevideo_internal.rollup_level FOR VALUES IN (86400);
COMMENT ON TABLE vibevideo_internal.rollup_day IS 'part of vibevideo_internal.rollup_level: days of UTC';
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.rollup_ever', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.rollup_minute', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.rollup_minutes', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.rollup_hour', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo_internal.rollup_day', '');

-- The beginning of the period of so many seconds that a time is in: hours and days
-- are of UTC, weeks begin on a Monday.
CREATE FUNCTION vibevideo_internal.period(seconds int, at timestamptz)
RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN seconds = 0 THEN '-infinity' ELSE date_bin(seconds * interval '1 second', at, '2001-01-01 00:00:00+00') END;
COMMENT ON FUNCTION vibevideo_internal.period(int, timestamptz) IS 'the beginning of the period that a time is in; owner only';

-- What is added up, and what is still to be: so that nothing is late.
CREATE VIEW vibevideo.rollup AS
SELECT r.seconds, r.at, r.outcome, r.model, r.error_class, r.orphan, r.n, r.wait_ms, r.render_ms, r.copy_ms, r.total_ms, r.bytes,
	   r.settled_usd, r.returned_usd, r.wait, r.render, r.copy, r.total
FROM vibevideo_internal.rollup_level r
UNION ALL
SELECT l.seconds, vibevideo_internal.period(l.seconds, t.at), t.outcome COLLATE pg_catalog."C", t.model COLLATE pg_catalog."C",
	   coalesce(vibevideo.error_class(t.error_code), '') COLLATE pg_catalog."C", t.orphan, count(*),
	   coalesce(sum(t.ms) FILTER (WHERE t.outcome = 'accepted'), 0)::bigint,
	   coalesce(sum(t.ms) FILTER (WHERE t.outcome = 'rendered'), 0)::bigint,
	   coalesce(sum(t.ms) FILTER (WHERE t.outcome = 'completed'), 0)::bigint,
	   coalesce(sum(t.total_ms), 0)::bigint, coalesce(sum(t.bytes), 0)::bigint,
	   coalesce(sum(t.usd) FILTER (WHERE t.outcome = 'rendered' OR t.outcome = 'settled' AND t.usd > 0), 0),
	   coalesce(sum(abs(t.usd)) FILTER (WHERE t.outcome <> 'rendered' AND NOT (t.outcome = 'settled' AND t.usd > 0)), 0),
	   vibevideo_internal.histogram(t.ms) FILTER (WHERE t.outcome = 'accepted'),
	   vibevideo_internal.histogram(t.ms) FILTER (WHERE t.outcome = 'rendered'),
	   vibevideo_internal.histogram(t.ms) FILTER (WHERE t.outcome = 'completed'),
	   vibevideo_internal.histogram(t.total_ms)
FROM vibevideo_internal.tally t CROSS JOIN (VALUES (0), (60), (300), (3600), (86400)) AS l(seconds)
GROUP BY 1, 2, 3, 4, 5, 6;
COMMENT ON VIEW vibevideo.rollup IS
	'how many jobs took which step, how long it took and what it cost, by period, model and class of error; choose one length of '
	'periods (seconds), and add up: what is new may be in a row of its own';
COMMENT ON COLUMN vibevideo.rollup.seconds IS 'length of the period, in seconds: 60, 300, 3600, 86400, or 0 for all time; each has everything';
COMMENT ON COLUMN vibevideo.rollup.at IS 'beginning of the period, -infinity for all time; days are of UTC';
COMMENT ON COLUMN vibevideo.rollup.outcome IS 'the step: submitted, accepted (by fal.ai), rendered, completed, failed or cancelled; or settled, when what it has cost became known later; or delivered_less, a completed one whose video is less than was asked for';
COMMENT ON COLUMN vibevideo.rollup.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.rollup.error_class IS 'of failed jobs, as vibevideo.error_class says it; empty for others';
COMMENT ON COLUMN vibevideo.rollup.orphan IS 'the jobs'' transactions were rolled back after they were sent';
COMMENT ON COLUMN vibevideo.rollup.n IS 'how many; a job whose copy failed and was made again has ended twice, and may be settled more than once, every other step is taken once';
COMMENT ON COLUMN vibevideo.rollup.wait_ms IS 'sum of milliseconds from the request until fal.ai had accepted it; with step accepted, else 0';
COMMENT ON COLUMN vibevideo.rollup.render_ms IS 'sum of milliseconds from then until the video was made, fal.ai''s queue included; with step rendered, else 0';
COMMENT ON COLUMN vibevideo.rollup.copy_ms IS 'sum of milliseconds from then until it was stored; with step completed, else 0';
COMMENT ON COLUMN vibevideo.rollup.total_ms IS 'sum of milliseconds from the request until the video was there; with step completed, else 0';
COMMENT ON COLUMN vibevideo.rollup.bytes IS 'sum of bytes copied; with step completed, else 0';
COMMENT ON COLUMN vibevideo.rollup.settled_usd IS 'what videos have cost, in USD, with step rendered, and with settled what they have cost more; else 0';
COMMENT ON COLUMN vibevideo.rollup.returned_usd IS 'price of jobs that ended without being billed, in USD, with steps failed and cancelled, and with settled what jobs have cost less; else 0';
COMMENT ON COLUMN vibevideo.rollup.wait IS 'histogram of what wait_ms is the sum of: how many in each bucket, whose bounds vibevideo.histogram_bounds() returns; NULL if there is nothing in it';
COMMENT ON COLUMN vibevideo.rollup.render IS 'histogram of what render_ms is the sum of; NULL if there is nothing in it';
COMMENT ON COLUMN vibevideo.rollup.copy IS 'histogram of what copy_ms is the sum of; NULL if there is nothing in it';
COMMENT ON COLUMN vibevideo.rollup.total IS 'histogram of what total_ms is the sum of; NULL if there is nothing in it';

/*
 * vibevideo_internal.fold_tallies(most) - adds so many tallies to the rollup, the oldest
 * first; returns how many.  The worker calls it; waits for nobody who inserts.
 */
CREATE FUNCTION vibevideo_internal.fold_tallies(most int)
RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	folded int;
BEGIN
	WITH taken AS (
		DELETE FROM vibevideo_internal.tally t WHERE t.tally_id = ANY (ARRAY(
			SELECT x.tally_id FROM vibevideo_internal.tally x ORDER BY x.tally_id LIMIT most FOR UPDATE SKIP LOCKED))
		RETURNING t.*
	), steps AS (
		SELECT vibevideo_internal.period(60, t.at) AS at, t.outcome, t.model, coalesce(vibevideo.error_class(t.error_code), '') AS error_class,
			   t.orphan, count(*) AS n,
			   sum(t.ms) FILTER (WHERE t.outcome = 'accepted') AS wait_ms, sum(t.ms) FILTER (WHERE t.outcome = 'rendered') AS render_ms,
			   sum(t.ms) FILTER (WHERE t.outcome = 'completed') AS copy_ms, sum(t.total_ms) AS total_ms, sum(t.bytes) AS bytes,
			   sum(t.usd) FILTER (WHERE t.outcome = 'rendered' OR t.outcome = 'settled' AND t.usd > 0) AS settled_usd,
			   sum(abs(t.usd)) FILTER (WHERE t.outcome <> 'rendered' AND NOT (t.outcome = 'settled' AND t.usd > 0)) AS returned_usd,
			   vibevideo_internal.histogram(t.ms) FILTER (WHERE t.outcome = 'accepted') AS wait,
			   vibevideo_internal.histogram(t.ms) FILTER (WHERE t.outcome = 'rendered') AS render,
			   vibevideo_internal.histogram(t.ms) FILTER (WHERE t.outcome = 'completed') AS copy,
			   vibevideo_internal.histogram(t.total_ms) AS total
		FROM taken t GROUP BY 1, 2, 3, 4, 5
	), added AS (
		INSERT INTO vibevideo_internal.rollup_level AS r (seconds, at, outcome, model, error_class, orphan, n, wait_ms, render_ms, copy_ms,
														  total_ms, bytes, settled_usd, returned_usd, wait, render, copy, total)
		SELECT l.seconds, vibevideo_internal.period(l.seconds, s.at), s.outcome, s.model, s.error_class, s.orphan, sum(s.n),
			   coalesce(sum(s.wait_ms), 0), coalesce(sum(s.render_ms), 0), coalesce(sum(s.copy_ms), 0), coalesce(sum(s.total_ms), 0),
			   coalesce(sum(s.bytes), 0), coalesce(sum(s.settled_usd), 0), coalesce(sum(s.returned_usd), 0),
			   vibevideo.histogram_sum(s.wait), vibevideo.histogram_sum(s.render), vibevideo.histogram_sum(s.copy),
			   vibevideo.histogram_sum(s.total)
		FROM steps s CROSS JOIN (VALUES (0), (60), (300), (3600), (86400)) AS l(seconds)
		GROUP BY 1, 2, 3, 4, 5, 6
		ON CONFLICT (outcome, at, model, error_class, orphan, seconds) DO UPDATE SET
			n = r.n + EXCLUDED.n, wait_ms = r.wait_ms + EXCLUDED.wait_ms, render_ms = r.render_ms + EXCLUDED.render_ms,
			copy_ms = r.copy_ms + EXCLUDED.copy_ms, total_ms = r.total_ms + EXCLUDED.total_ms, bytes = r.bytes + EXCLUDED.bytes,
			settled_usd = r.settled_usd + EXCLUDED.settled_usd, returned_usd = r.returned_usd + EXCLUDED.returned_usd,
			wait = vibevideo_internal.histogram_add(r.wait, EXCLUDED.wait), render = vibevideo_internal.histogram_add(r.render, EXCLUDED.render),
			copy = vibevideo_internal.histogram_add(r.copy, EXCLUDED.copy), total = vibevideo_internal.histogram_add(r.total, EXCLUDED.total))
	SELECT count(*) INTO folded FROM taken;
	RETURN folded;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.fold_tallies(int) IS 'adds tallies to the rollup, at most so many; returns how many; owner only';

-- How many jobs there are in each state, once a minute: the most of each period.
CREATE TABLE vibevideo.backlog (
	seconds int NOT NULL,
	at timestamptz NOT NULL,
	pending int NOT NULL,
	submitting int NOT NULL,
	submit_unknown int NOT NULL,
	queued int NOT NULL,
	generating int NOT NULL,
	processing int NOT NULL,
	idle boolean NOT NULL,
	PRIMARY KEY (seconds, at)
);
COMMENT ON TABLE vibevideo.backlog IS 'unfinished jobs by state, orphans included: the most that were seen in a period; the worker looks once a minute';
COMMENT ON COLUMN vibevideo.backlog.seconds IS 'length of the period, in seconds: 60, 300, 3600 or 86400';
COMMENT ON COLUMN vibevideo.backlog.at IS 'beginning of the period; days are of UTC';
COMMENT ON COLUMN vibevideo.backlog.pending IS 'waiting to be sent; 100000 stands for as many or more, here and in the other columns';
COMMENT ON COLUMN vibevideo.backlog.submitting IS 'being sent';
COMMENT ON COLUMN vibevideo.backlog.submit_unknown IS 'lost submits';
COMMENT ON COLUMN vibevideo.backlog.queued IS 'in fal.ai''s queue';
COMMENT ON COLUMN vibevideo.backlog.generating IS 'being rendered';
COMMENT ON COLUMN vibevideo.backlog.processing IS 'waiting to be copied, or being copied';
COMMENT ON COLUMN vibevideo.backlog.idle IS 'nothing was left when it was last looked at, so that no more need be seen until there is a row again';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.backlog', '');

/*
 * vibevideo_internal.sample_backlog() - notes how many jobs there are in each state, unless
 * there are none and that is known.  Counts by the indexes of unfinished jobs,
 * whatever the planner thinks of a table that grows fast.  Only the worker calls it.
 */
CREATE FUNCTION vibevideo_internal.sample_backlog()
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most constant int = 100000;
	b vibevideo.backlog;
BEGIN
	SELECT count(*) INTO b.pending FROM (SELECT FROM vibevideo.job j WHERE j.state = 'pending' LIMIT most) x;
	SELECT count(*) INTO b.submitting FROM (SELECT FROM vibevideo.job j WHERE j.state = 'submitting' LIMIT most) x;
	SELECT count(*) INTO b.submit_unknown FROM (SELECT FROM vibevideo.job j WHERE j.state = 'submit_unknown' LIMIT most) x;
	SELECT count(*) FILTER (WHERE x.state = 'queued'), count(*) FILTER (WHERE x.state = 'generating') INTO b.queued, b.generating
	FROM (SELECT j.state FROM vibevideo.job j WHERE j.state IN ('queued', 'generating') LIMIT most) x;
	SELECT count(*) INTO b.processing FROM (SELECT FROM vibevideo.job j WHERE j.state = 'processing' LIMIT most) x;
	b.idle = b.pending + b.submitting + b.submit_unknown + b.queued + b.generating + b.processing = 0;
	IF b.idle AND coalesce((SELECT x.idle FROM vibevideo.backlog x WHERE x.seconds = 60 ORDER BY x.at DESC LIMIT 1), true) THEN
		RETURN;
	END IF;
	INSERT INTO vibevideo.backlog AS x (seconds, at, pending, submitting, submit_unknown, queued, generating, processing, idle)
	SELECT l.seconds, vibevideo_internal.period(l.seconds, clock_timestamp()), b.pending, b.submitting, b.submit_unknown, b.queued, b.generating,
		   b.processing, b.idle
	FROM (VALUES (60), (300), (3600), (86400)) AS l(seconds)
	ON CONFLICT (seconds, at) DO UPDATE SET
		pending = greatest(x.pending, EXCLUDED.pending), submitting = greatest(x.submitting, EXCLUDED.submitting),
		submit_unknown = greatest(x.submit_unknown, EXCLUDED.submit_unknown), queued = greatest(x.queued, EXCLUDED.queued),
		generating = greatest(x.generating, EXCLUDED.generating), processing = greatest(x.processing, EXCLUDED.processing),
		idle = EXCLUDED.idle;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.sample_backlog() IS 'notes how many jobs there are in each state; owner only';

/*
 * vibevideo_internal.thin_rollup(most) - takes away minutes that are older than 14 days, and
 * hours and days that are older than vibevideo.rollup_retention, at most so many
 * of each; returns how many.  It reads no more than it takes, and what somebody has
 * locked stays for later.
 */
CREATE FUNCTION vibevideo_internal.thin_rollup(most int)
RETURNS int LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	-- so that the index, which begins with them, finds what is old
	outcomes constant text[] = ARRAY['submitted', 'accepted', 'rendered', 'completed', 'failed', 'cancelled', 'settled', 'delivered_less'];
	kept constant interval = nullif(extract(epoch FROM current_setting('vibevideo.rollup_retention')::interval), 0) * interval '1 second';
	level record;
	n int;
	thinned int = 0;
BEGIN
	FOR level IN SELECT l.* FROM (VALUES (60, interval '14 days'), (300, interval '14 days'), (3600, kept), (86400, kept)) AS l(seconds, kept) WHERE l.kept IS NOT NULL LOOP
		DELETE FROM vibevideo_internal.rollup_level r
		USING (SELECT x.outcome, x.at, x.model, x.error_class, x.orphan FROM vibevideo_internal.rollup_level x
			   WHERE x.seconds = level.seconds AND x.outcome = ANY (outcomes) AND x.at < now() - level.kept
			   LIMIT most FOR UPDATE SKIP LOCKED) o
		WHERE r.seconds = level.seconds AND r.outcome = o.outcome AND r.at = o.at AND r.model = o.model
		  AND r.error_class = o.error_class AND r.orphan = o.orphan;
		GET DIAGNOSTICS n = ROW_COUNT;
		thinned = thinned + n;
		DELETE FROM vibevideo.backlog b
		USING (SELECT x.at FROM vibevideo.backlog x WHERE x.seconds = level.seconds AND x.at < now() - level.kept
			   LIMIT most FOR UPDATE SKIP LOCKED) o
		WHERE b.seconds = level.seconds AND b.at = o.at;
		GET DIAGNOSTICS n = ROW_COUNT;
		thinned = thinned + n;
	END LOOP;
	RETURN thinned;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.thin_rollup(int) IS 'takes old periods away from the rollup, at most so many of each length; returns how many; owner only';

-- How long videos usually take.  It can be made anew, so pg_dump leaves it out.
CREATE TABLE vibevideo.typical (
	model text COLLATE pg_catalog."C" PRIMARY KEY,
	n bigint NOT NULL,
	wait_p50 interval,
	wait_p90 interval,
	render_p50 interval,
	render_p90 interval,
	copy_p50 interval,
	total_p50 interval,
	total_p90 interval,
	updated_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE vibevideo.typical IS 'how long videos of a model usually take: percentiles of the last 14 days; NULL where nothing is known';
COMMENT ON COLUMN vibevideo.typical.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.typical.n IS 'how many videos were made in the last 14 days';
COMMENT ON COLUMN vibevideo.typical.wait_p50 IS 'half of the jobs were accepted by fal.ai within that time of the request; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.wait_p90 IS 'nine of ten jobs were accepted by fal.ai within that time of the request; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.render_p50 IS 'half of the videos were made within that time after that, fal.ai''s queue included; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.render_p90 IS 'nine of ten videos were made within that time after that, fal.ai''s queue included; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.copy_p50 IS 'half of the videos were stored within that time after they were made; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.total_p50 IS 'half of the videos were there within that time of the request; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.total_p90 IS 'nine of ten videos were there within that time of the request; NULL: not known';
COMMENT ON COLUMN vibevideo.typical.updated_at IS 'when the worker last looked';

-- From the hours, so that the cost depends on models, not on jobs.
CREATE FUNCTION vibevideo_internal.refresh_typical()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	WITH recent AS (
		SELECT r.model, sum(r.n) FILTER (WHERE r.outcome = 'rendered') AS n,
			   vibevideo.histogram_sum(r.wait) AS wait, vibevideo.histogram_sum(r.render) AS render,
			   vibevideo.histogram_sum(r.copy) AS copy, vibevideo.histogram_sum(r.total) AS total
		FROM vibevideo.rollup r
		WHERE r.seconds = 3600 AND r.outcome IN ('accepted', 'rendered', 'completed') AND r.at > now() - interval '14 days' AND NOT r.orphan
		GROUP BY r.model
	), gone AS (
		DELETE FROM vibevideo.typical t WHERE NOT EXISTS (SELECT FROM recent r WHERE r.model = t.model)
	)
	INSERT INTO vibevideo.typical AS t (model, n, wait_p50, wait_p90, render_p50, render_p90, copy_p50, total_p50, total_p90, updated_at)
	SELECT r.model, coalesce(r.n, 0), p.*, now()
	FROM recent r CROSS JOIN LATERAL (SELECT
		vibevideo.percentile(r.wait, 0.5) * interval '1 second', vibevideo.percentile(r.wait, 0.9) * interval '1 second',
		vibevideo.percentile(r.render, 0.5) * interval '1 second', vibevideo.percentile(r.render, 0.9) * interval '1 second',
		vibevideo.percentile(r.copy, 0.5) * interval '1 second',
		vibevideo.percentile(r.total, 0.5) * interval '1 second', vibevideo.percentile(r.total, 0.9) * interval '1 second') p
	ON CONFLICT (model) DO UPDATE SET n = EXCLUDED.n, wait_p50 = EXCLUDED.wait_p50, wait_p90 = EXCLUDED.wait_p90,
		render_p50 = EXCLUDED.render_p50, render_p90 = EXCLUDED.render_p90, copy_p50 = EXCLUDED.copy_p50,
		total_p50 = EXCLUDED.total_p50, total_p90 = EXCLUDED.total_p90, updated_at = EXCLUDED.updated_at;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.refresh_typical() IS 'writes vibevideo.typical anew from the rollup; owner only';

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

-- Where the steps of a series begin, and the length of the periods that make them:
-- as long as possible, since a chart of many models reads one row of each.
CREATE FUNCTION vibevideo_internal.steps(since timestamptz, step interval, OUT first timestamptz, OUT stride interval, OUT seconds int)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres AS $$
DECLARE
	most constant int = 2000;
	length constant numeric = extract(epoch FROM step);
	reach int;
	days numeric;
	unit int;
BEGIN
	IF since IS NULL OR NOT isfinite(since) OR since < '2001-01-01 00:00:00+00' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('a series cannot begin at %s', coalesce(since::text, 'NULL')),
			HINT = 'Take a time such as now() - interval ''1 day''.';
	ELSIF length IS NULL OR length < 60 OR length % 60 <> 0 OR length > 36500 * 86400.0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('a step cannot be %s', coalesce(step::text, 'NULL')),
			HINT = 'Use whole minutes, for example ''5 minutes'' or ''1 day''.';
	END IF;
	seconds = CASE WHEN length % 86400 = 0 THEN 86400 WHEN length % 3600 = 0 THEN 3600 WHEN length % 300 = 0 THEN 300 ELSE 60 END;
	reach = CASE seconds WHEN 3600 THEN 50 WHEN 300 THEN 4 WHEN 60 THEN 2 END;
	stride = length * interval '1 second';
	first = date_bin(stride, since, '2001-01-01 00:00:00+00');
	days = extract(epoch FROM now() - first) / 86400;
	IF days > reach + length / 86400 OR days * 86400 / length > most THEN
		unit = CASE WHEN days > 50 THEN 86400 WHEN days > 4 THEN 3600 WHEN days > 2 THEN 300 ELSE 60 END;
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('a series cannot have %s steps of %s', ceil(days * 86400 / length), step),
			DETAIL = format('It can have %s, and go back 2 days, 4 with multiples of 5 minutes, 50 with whole hours.', most),
			HINT = format('Take a step of %s, for example, or a later beginning.',
						  justify_hours(unit * ceil(days * 86400 / (most - 1) / unit) * interval '1 second'));
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.steps(timestamptz, interval) IS 'part of series: where its steps begin, and which periods make them; owner only';

CREATE FUNCTION vibevideo.series(metric text, since timestamptz DEFAULT now() - interval '1 day', step interval DEFAULT '5 minutes')
RETURNS TABLE (at timestamptz, label text, value double precision) LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1000
SET search_path = pg_catalog, pg_temp SET random_page_cost = 1 SET max_parallel_workers_per_gather = 0 SET work_mem = '16MB' SET jit = off AS $$
DECLARE
	counts constant text[] = ARRAY['submitted', 'completed', 'failed', 'cancelled', 'delivered_less', 'errors', 'spend_usd'];
	percentiles constant text[] = ARRAY['wait_p50', 'wait_p95', 'render_p50', 'render_p95', 'copy_p50', 'copy_p95', 'total_p50', 'total_p95'];
	monday constant timestamptz = '2001-01-01 00:00:00+00';
	model constant text = coalesce((SELECT b.model FROM vibevideo.binding b), current_setting('vibevideo.model'));
	first timestamptz;
	stride interval;
	level int;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	IF metric IS NULL OR metric <> ALL (counts || percentiles || ARRAY['backlog']) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('there is no metric "%s"', coalesce(metric, 'NULL')),
			HINT = format('There are %s and backlog.', array_to_string(counts || percentiles, ', '));
	END IF;
	SELECT s.first, s.stride, s.seconds INTO first, stride, level FROM vibevideo_internal.steps(since, step) s;

	IF metric = 'backlog' THEN
		RETURN QUERY
		WITH found AS (
			SELECT date_bin(stride, b.at, monday) AS at, max(b.pending) AS pending, max(b.submitting) AS submitting,
				   max(b.submit_unknown) AS submit_unknown, max(b.queued) AS queued, max(b.generating) AS generating,
				   max(b.processing) AS processing
			FROM vibevideo.backlog b WHERE b.seconds = level AND b.at >= first GROUP BY 1
		)
		SELECT g.at, s.label, CASE WHEN f.at IS NOT NULL THEN s.value WHEN k.idle THEN 0 END::double precision
		FROM generate_series(first, now(), stride) AS g(at) LEFT JOIN found f ON f.at = g.at
		LEFT JOIN LATERAL (SELECT b.idle FROM vibevideo.backlog b WHERE f.at IS NULL AND b.seconds = level AND b.at < g.at
						   ORDER BY b.at DESC LIMIT 1) k ON true
		CROSS JOIN LATERAL (VALUES ('processing', f.processing), ('generating', f.generating), ('queued', f.queued),
								   ('submit_unknown', f.submit_unknown), ('submitting', f.submitting), ('pending', f.pending)) AS s(label, value)
		ORDER BY 1, 2;
	ELSIF metric = ANY (percentiles) THEN
		RETURN QUERY
		WITH found AS (
			SELECT date_bin(stride, r.at, monday) AS at, r.model AS label,
				   vibevideo.percentile(vibevideo.histogram_sum(CASE split_part(metric, '_p', 1)
						WHEN 'wait' THEN r.wait WHEN 'render' THEN r.render WHEN 'copy' THEN r.copy ELSE r.total END),
										split_part(metric, '_p', 2)::double precision / 100) AS value
			FROM vibevideo.rollup r
			WHERE r.seconds = level AND r.at >= first AND NOT r.orphan
			  AND r.outcome = CASE split_part(metric, '_p', 1) WHEN 'wait' THEN 'accepted' WHEN 'render' THEN 'rendered' ELSE 'completed' END
			GROUP BY 1, 2
		)
		SELECT g.at, l.label, f.value
		FROM generate_series(first, now(), stride) AS g(at)
		CROSS JOIN (SELECT x.label FROM found x UNION SELECT model) l LEFT JOIN found f ON f.at = g.at AND f.label = l.label
		ORDER BY 1, 2;
	ELSE
		RETURN QUERY
		WITH found AS (
			SELECT date_bin(stride, r.at, monday) AS at, CASE metric WHEN 'errors' THEN r.error_class ELSE r.model END AS label,
				   sum(CASE metric WHEN 'spend_usd' THEN r.settled_usd - r.returned_usd ELSE r.n END)::double precision AS value
			FROM vibevideo.rollup r
			WHERE r.seconds = level AND r.at >= first AND (metric = 'spend_usd' OR NOT r.orphan)
			  AND r.outcome = ANY (CASE metric WHEN 'spend_usd' THEN ARRAY['rendered', 'settled'] WHEN 'errors' THEN ARRAY['failed'] ELSE ARRAY[metric] END)
			GROUP BY 1, 2
		)
		SELECT g.at, l.label, coalesce(f.value, 0)
		FROM generate_series(first, now(), stride) AS g(at)
		CROSS JOIN (SELECT x.label FROM found x
					UNION SELECT unnest(CASE metric WHEN 'errors' THEN ARRAY['policy', 'input', 'balance', 'provider', 'storage', 'time', 'limit', 'other']
										ELSE ARRAY[model] END)) l
		LEFT JOIN found f ON f.at = g.at AND f.label = l.label
		ORDER BY 1, 2;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.series(text, timestamptz, interval) IS
'Returns a number for each step of time and each label, for charts.
metric: submitted, completed, failed, cancelled, delivered_less (completed ones whose video is less than was
  asked for; jobs, without orphans), spend_usd (what rendered videos have cost, in USD), wait_p50, wait_p95 and the same of render, copy and total (seconds), labelled by model;
  errors (failed jobs), labelled by class of error; backlog (the most unfinished jobs), labelled by state.
since: a moment in the first step; default: a day ago.
step: length of a step, whole minutes. With whole days it goes back as far as anything is known, with whole
  hours 50 days, with multiples of 5 minutes 4 days, else 2 days; default: 5 minutes.
at: when a step begins, counted from a Monday, midnight UTC.
label: the model (that of the attached table always), class or state.
value: 0 where nothing was counted; NULL where nothing is known, as for a percentile of nothing, or the
  backlog while no worker looked.
Errors: 22023 no such metric, a bad step, or more than 2000 steps; 42501 not a viewer.
For viewers and operators.';

-- The last two weeks' jobs, if they are not too many: the worker adds them to the
-- rollup by and by.
INSERT INTO vibevideo_internal.tally (at, outcome, orphan, model, error_code, ms, total_ms, bytes, usd)
SELECT s.at, s.outcome, j.orphan, j.model, s.error_code, greatest(s.ms, 0), greatest(s.total_ms, 0), s.bytes, s.usd
FROM (SELECT x.* FROM vibevideo.job x WHERE x.next_at IS NULL AND x.completed_at > now() - interval '14 days'
	  ORDER BY x.completed_at DESC LIMIT 25000) j
CROSS JOIN LATERAL (VALUES
	('submitted', j.created_at, NULL, NULL::bigint, NULL::bigint, NULL::bigint, NULL::numeric),
	('accepted', j.submitted_at, NULL, (extract(epoch FROM j.submitted_at - j.created_at) * 1000)::bigint, NULL, NULL, NULL),
	('rendered', CASE WHEN j.billed THEN coalesce(j.generated_at, j.completed_at) END, NULL,
	 (extract(epoch FROM j.generated_at - j.submitted_at) * 1000)::bigint, NULL, NULL, j.cost_usd),
	(j.state, j.completed_at, CASE j.state WHEN 'failed' THEN j.error_code END,
	 CASE WHEN j.state = 'completed' AND j.bytes_done IS NOT NULL THEN (extract(epoch FROM j.completed_at - j.generated_at) * 1000)::bigint END,
	 CASE j.state WHEN 'completed' THEN (extract(epoch FROM j.completed_at - j.created_at) * 1000)::bigint END,
	 CASE j.state WHEN 'completed' THEN j.bytes_done END,
	 CASE WHEN j.state <> 'completed' AND NOT j.billed THEN j.cost_usd END)) AS s(outcome, at, error_code, ms, total_ms, bytes, usd)
WHERE s.at IS NOT NULL
ORDER BY s.at;

-------------------------------------------------------------------------------
-- Triggers
-------------------------------------------------------------------------------

CREATE TRIGGER model_changing BEFORE INSERT OR UPDATE ON vibevideo.model
	FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.model_changing();
ALTER TABLE vibevideo.model ENABLE ALWAYS TRIGGER model_changing;
-- What a job has cost is settled, from now on; until then it is what it can cost at most.
-- One that has ended and is not billed costs nothing.
ALTER TABLE vibevideo.job DISABLE TRIGGER USER;
UPDATE vibevideo.job j SET cost_usd = 0 WHERE j.state IN ('failed', 'cancelled') AND NOT j.billed AND j.cost_usd <> 0;
ALTER TABLE vibevideo.job ENABLE TRIGGER USER;
ALTER TABLE vibevideo.job ENABLE ALWAYS TRIGGER job_changing, ENABLE ALWAYS TRIGGER job_changed, ENABLE ALWAYS TRIGGER jobs_deleted;
ALTER TABLE vibevideo.limit ENABLE ALWAYS TRIGGER limit_changed;

-- The limits, anew
CREATE OR REPLACE FUNCTION vibevideo_internal.limits_for(requested_by text, tenant text DEFAULT NULL, model text DEFAULT NULL)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.version_of(who text, OUT version bigint[], OUT seen_from xid8)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT array_agg(coalesce(v.version, 0) ORDER BY w.nth), max(v.seen_from)
	FROM unnest(ARRAY[version_of.who, CASE split_part(version_of.who, ':', 1) WHEN 'user' THEN 'default' WHEN 'tenant' THEN 'default_tenant' END])
		 WITH ORDINALITY AS w(who, nth)
	LEFT JOIN vibevideo_internal.limit_version v ON v.who = w.who;
END;
COMMENT ON FUNCTION vibevideo_internal.version_of(text) IS 'the versions of a limit and of its default, and since when all transactions see them; owner only';

-- The budgets among them, in the order in which they are looked at.
CREATE OR REPLACE FUNCTION vibevideo_internal.budgets(l vibevideo.limit)
RETURNS TABLE (kind text, most numeric) LANGUAGE sql IMMUTABLE ROWS 2 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT b.kind, b.most
	FROM (VALUES (1, 'submits_hour', l.submits_per_hour::numeric), (2, 'submits_month', l.submits_per_month::numeric),
				 (3, 'spend_hour', l.spend_per_hour_usd), (4, 'spend_day', l.spend_per_day_usd), (5, 'spend_month', l.spend_per_month_usd)) AS b(n, kind, most)
	WHERE b.most IS NOT NULL ORDER BY b.n;
END;
COMMENT ON FUNCTION vibevideo_internal.budgets(vibevideo.limit) IS 'the budgets among limits, by kind; owner only';

-- The beginning of the hour, day or month of a kind of budget that a time is in.
CREATE OR REPLACE FUNCTION vibevideo_internal.begin_of(kind text, at timestamptz)
RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN date_trunc(split_part(kind, '_', 2), at, 'UTC');
COMMENT ON FUNCTION vibevideo_internal.begin_of(text, timestamptz) IS 'the beginning of the time of a budget that a moment is in; owner only';

-- What a job counts for in a budget of this kind.
CREATE OR REPLACE FUNCTION vibevideo_internal.share(kind text, cost numeric, counts boolean)
RETURNS numeric LANGUAGE sql IMMUTABLE
RETURN CASE WHEN NOT counts THEN 0 WHEN kind LIKE 'submits%' THEN 1 ELSE coalesce(cost, 0) END;
COMMENT ON FUNCTION vibevideo_internal.share(text, numeric, boolean) IS 'what a job counts for in a budget; owner only';

-- Is it a job of this user, tenant or model, or of everybody?
CREATE OR REPLACE FUNCTION vibevideo_internal.is_of(who text, requested_by text, tenant text, model text)
RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN who = 'global' OR coalesce(who = 'user:' || requested_by, false) OR coalesce(who = 'tenant:' || tenant, false) OR who = 'model:' || model;
COMMENT ON FUNCTION vibevideo_internal.is_of(text, text, text, text) IS 'whether a job counts for a limit; owner only';

-- The jobs that count for a limit already when its slots or tills are made:
-- active ones, or those since then that cost or may cost something, orphans included.  Those of
-- this transaction take their share themselves, but for those before the one that asks, which
-- have taken it.
CREATE OR REPLACE FUNCTION vibevideo_internal.counted_jobs(who text, since timestamptz DEFAULT NULL, asking bigint DEFAULT NULL)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.used_of(who text, kind text, since timestamptz, asking bigint DEFAULT NULL)
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

-- For this version and size of a till, and not to be made once more?
CREATE OR REPLACE FUNCTION vibevideo_internal.is_made(c vibevideo_internal.counted, version bigint[], share numeric)
RETURNS boolean LANGUAGE sql STABLE
RETURN ((c).version, (c).share) IS NOT DISTINCT FROM (version, share) AND ((c).again_from <= pg_snapshot_xmin(pg_current_snapshot())) IS NOT TRUE;
COMMENT ON FUNCTION vibevideo_internal.is_made(vibevideo_internal.counted, bigint[], numeric) IS 'whether slots or tills are made as they should be; owner only';

/*
 * vibevideo_internal.begin_making(who, kind, version, share) - notes for which version of a
 * limit slots or tills are made; false if somebody has done it meanwhile, who is waited for.
 */
CREATE OR REPLACE FUNCTION vibevideo_internal.begin_making(who text, kind text, version bigint[], share numeric)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.drop_slots(who text, kind text)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.make_slots(who text, kind text, version bigint[], most int, asking bigint)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.take_slot(who text, kind text, most int, job_id bigint, beyond int DEFAULT 0)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.till_room(t vibevideo_internal.till, begins timestamptz)
RETURNS numeric LANGUAGE sql IMMUTABLE
RETURN (t).most - CASE WHEN (t).begins >= begins THEN (t).used ELSE 0 END;
COMMENT ON FUNCTION vibevideo_internal.till_room(vibevideo_internal.till, timestamptz) IS 'what is left in a till, a part of a budget; owner only';

-- How much each till of a budget is good for: a multiple of the cheapest price, of the
-- models in vibevideo.model or with an operator's price, so that with one price none of
-- it is left over.
CREATE OR REPLACE FUNCTION vibevideo_internal.till_share(kind text, most numeric)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.make_tills(who text, kind text, version bigint[], share numeric, most numeric, asking bigint)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.drop_tills(who text, kind text, OUT noted bigint[])
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
CREATE OR REPLACE FUNCTION vibevideo_internal.unmade(l vibevideo.limit)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.make_limits(requested_by text, tenant text, model text, asking bigint DEFAULT NULL)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.know_counters()
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
CREATE OR REPLACE FUNCTION vibevideo_internal.note_share(job_id bigint, who text, kind text, begins timestamptz, used numeric)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.take_budget(who text, kind text, most numeric, cost numeric)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.over_limit(who text, limit_name text, most numeric, used text, sql_state text, message text,
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
CREATE OR REPLACE FUNCTION vibevideo_internal.budget_name(kind text)
RETURNS text LANGUAGE sql IMMUTABLE
RETURN split_part(kind, '_', 1) || '_per_' || split_part(kind, '_', 2) || CASE WHEN kind LIKE 'spend%' THEN '_usd' ELSE '' END;
COMMENT ON FUNCTION vibevideo_internal.budget_name(text) IS 'the column of vibevideo.limit that is a budget of this kind; owner only';

-- Whether a budget counts for a job, and nothing may be spent that is not known.
CREATE OR REPLACE FUNCTION vibevideo_internal.refuses_unknown_price(requested_by text, tenant text DEFAULT NULL, model text DEFAULT NULL)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN current_setting('vibevideo.unknown_price') = 'refuse'
	AND EXISTS (SELECT FROM vibevideo_internal.limits_for(requested_by, tenant, model) x
				WHERE coalesce(x.spend_per_hour_usd, x.spend_per_day_usd, x.spend_per_month_usd) IS NOT NULL);
COMMENT ON FUNCTION vibevideo_internal.refuses_unknown_price(text, text, text) IS 'whether a video is refused whose price is not known; owner only';

-- When the limits of an hour, a day or a month begin anew, for people.
CREATE OR REPLACE FUNCTION vibevideo_internal.next_time(kind text)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.reserve_budget(j vibevideo.job, who text, kind text, most numeric, held_jobs int, held_usd numeric)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.make_limits_apart(requested_by text, tenant text, model text, tries int)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.reserve(j vibevideo.job)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.take_orphans_share(j vibevideo.job)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.take_share(j vibevideo.job)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.put_back(who text, kind text, amount numeric, begins timestamptz)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.change_used(who text, kind text, amount numeric, begins timestamptz)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.settle_due(who text, kind text)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.free_slots(ended vibevideo.job)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.take_late_slot(j vibevideo.job)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.change_share(j vibevideo.job, who text, kind text, was numeric, share numeric, had_ended boolean)
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
CREATE OR REPLACE FUNCTION vibevideo_internal.spend(j vibevideo.job, was numeric, counted boolean, had_ended boolean)
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

-------------------------------------------------------------------------------
-- Who may look and act, and what was done
-------------------------------------------------------------------------------

/*
 * Levels: viewer may look, operator may also act on jobs; neither may change
 * settings, tables or rights.  The functions for them run as the extension's
 * owner, so each one begins with vibevideo_internal.require(level), which judges the
 * role of the session: see src/access.c.
 */

-- Roles, by name, so that a dump can be restored where they are still to be made.
CREATE TABLE vibevideo.access (
	role text COLLATE pg_catalog."C" PRIMARY KEY,
	level text NOT NULL CHECK (level OPERATOR(pg_catalog.=) ANY (ARRAY['viewer', 'operator'])),
	see_input boolean NOT NULL DEFAULT false,
	granted_by text NOT NULL,
	granted_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE vibevideo.access IS
	'roles that may look at jobs or act on them; written by vibevideo.grant_access: a row alone, without the rights granted with it, gives nothing';
COMMENT ON COLUMN vibevideo.access.role IS 'the role''s name; one that was dropped keeps its row, another of that name gets nothing by it';
COMMENT ON COLUMN vibevideo.access.level IS 'viewer or operator';
COMMENT ON COLUMN vibevideo.access.see_input IS 'prompts and inputs are shown, too';
COMMENT ON COLUMN vibevideo.access.granted_by IS 'who called vibevideo.grant_access last';
COMMENT ON COLUMN vibevideo.access.granted_at IS 'when that was';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.access', '');

CREATE TABLE vibevideo.operator (
	user_id text COLLATE pg_catalog."C" PRIMARY KEY,
	level text NOT NULL DEFAULT 'operator' CHECK (level OPERATOR(pg_catalog.=) ANY (ARRAY['viewer', 'operator'])),
	see_input boolean NOT NULL DEFAULT false,
	note text,
	added_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE vibevideo.operator IS
	'people who may look or act with a JWT, through PostgREST; service_role is an operator without a row here';
COMMENT ON COLUMN vibevideo.operator.user_id IS 'the JWT''s sub';
COMMENT ON COLUMN vibevideo.operator.level IS 'viewer or operator';
COMMENT ON COLUMN vibevideo.operator.see_input IS 'prompts and inputs are shown, too';
COMMENT ON COLUMN vibevideo.operator.note IS 'a name, for people; NULL: none';
COMMENT ON COLUMN vibevideo.operator.added_at IS 'since when';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.operator', '');

CREATE FUNCTION vibevideo_internal.caller(OUT name text, OUT level text, OUT see_input boolean, OUT user_id text, OUT hint text)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'vibevideo_caller';
COMMENT ON FUNCTION vibevideo_internal.caller() IS
	'who the session is, for the audit, with which level (viewer, operator, owner, or null), whether inputs are shown, whose JWT it has, '
	'and what to do if it has no level; owner only';

/*
 * vibevideo_internal.require(level) - the first statement of each function for viewers
 * and operators.  Returns the caller's name.  Errors: 42501 below that level.
 */
CREATE FUNCTION vibevideo_internal.require(level text)
RETURNS text LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'vibevideo_require';
COMMENT ON FUNCTION vibevideo_internal.require(text) IS
	'the caller''s name, or 42501 if this is not a viewer, operator or owner, whichever is asked for; owner only';

CREATE FUNCTION vibevideo_internal.require_to_read(level text)
RETURNS text LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'vibevideo_require_to_read';
COMMENT ON FUNCTION vibevideo_internal.require_to_read(text) IS
	'the same in a function that works in a read-only transaction; owner only';

-------------------------------------------------------------------------------
-- The audit
-------------------------------------------------------------------------------

CREATE TABLE vibevideo.audit (
	audit_id bigint GENERATED ALWAYS AS IDENTITY,
	at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	who text NOT NULL,
	action text NOT NULL,
	arguments jsonb NOT NULL DEFAULT '{}',
	jobs int,
	cost_usd numeric,
	outcome jsonb NOT NULL DEFAULT '{}',
	-- not the number alone: a restore adds rows, for the tables that it fills, before
	-- it sets the sequence
	PRIMARY KEY (at, audit_id)
);
COMMENT ON TABLE vibevideo.audit IS
	'what operators and the owner did; rows are added only, and pruned after vibevideo.audit_retention';
COMMENT ON COLUMN vibevideo.audit.audit_id IS 'grows with each row';
COMMENT ON COLUMN vibevideo.audit.at IS 'when it was done';
COMMENT ON COLUMN vibevideo.audit.who IS 'the JWT''s sub or the login role and, in parentheses, the role it acted in if that is another';
COMMENT ON COLUMN vibevideo.audit.action IS 'the function''s name, or the table''s and what was done to it';
COMMENT ON COLUMN vibevideo.audit.arguments IS 'what it was called with: a job, a filter, a scope; or the first rows that were changed';
COMMENT ON COLUMN vibevideo.audit.jobs IS 'how many jobs it changed; NULL for an act that is not about jobs';
COMMENT ON COLUMN vibevideo.audit.cost_usd IS 'what it spends at most, in USD; NULL: nothing';
COMMENT ON COLUMN vibevideo.audit.outcome IS 'what came of it: what was skipped and why, who had planned it';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.audit', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.audit_audit_id_seq', '');

-- Only retention may take rows away, and nobody may change one.
CREATE FUNCTION vibevideo_internal.audit_changing()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	kept constant interval = current_setting('vibevideo.audit_retention');
BEGIN
	IF TG_OP = 'DELETE' AND kept > '0' AND OLD.at < now() - kept THEN
		RETURN OLD;
	END IF;
	RAISE EXCEPTION USING
		ERRCODE = 'insufficient_privilege',
		MESSAGE = 'rows of vibevideo.audit cannot be changed',
		DETAIL = 'Only those older than vibevideo.audit_retention can be deleted, which the background worker does.';
END
$$;
COMMENT ON FUNCTION vibevideo_internal.audit_changing() IS 'trigger: keeps everybody from changing the audit, and from deleting what is to be kept';
CREATE TRIGGER audit_changing BEFORE UPDATE OR DELETE ON vibevideo.audit
	FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.audit_changing();
CREATE TRIGGER audit_truncating BEFORE TRUNCATE ON vibevideo.audit
	FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.audit_changing();
ALTER TABLE vibevideo.audit ENABLE ALWAYS TRIGGER audit_changing, ENABLE ALWAYS TRIGGER audit_truncating;

-- Notes an act of whoever the session is.
CREATE FUNCTION vibevideo_internal.note_act(action text, arguments jsonb DEFAULT '{}', jobs int DEFAULT NULL, cost_usd numeric DEFAULT NULL,
											outcome jsonb DEFAULT '{}')
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO vibevideo.audit (who, action, arguments, jobs, cost_usd, outcome)
	SELECT c.name, note_act.action, coalesce(jsonb_strip_nulls(note_act.arguments), '{}'), note_act.jobs, note_act.cost_usd,
		   coalesce(jsonb_strip_nulls(note_act.outcome), '{}')
	FROM vibevideo_internal.caller() c;
END;
COMMENT ON FUNCTION vibevideo_internal.note_act(text, jsonb, int, numeric, jsonb) IS 'notes an act in vibevideo.audit; owner only';

-- Tables that decide about money and rights: one row a statement, with the first
-- ten rows that it changed.  Whoever was given rights on such a table has none on
-- the audit.
CREATE FUNCTION vibevideo_internal.audit_table()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changed bigint;
	was jsonb;
	is_now jsonb;
BEGIN
	IF TG_OP IN ('UPDATE', 'DELETE') THEN
		SELECT count(*), jsonb_agg(x.r) FILTER (WHERE x.nth <= 10) INTO changed, was
		FROM (SELECT to_jsonb(o) AS r, row_number() OVER () AS nth FROM old_rows o) x;
	END IF;
	IF TG_OP IN ('INSERT', 'UPDATE') THEN
		SELECT count(*), jsonb_agg(x.r) FILTER (WHERE x.nth <= 10) INTO changed, is_now
		FROM (SELECT to_jsonb(n) AS r, row_number() OVER () AS nth FROM new_rows n) x;
	END IF;
	IF changed > 0 OR TG_OP = 'TRUNCATE' THEN
		PERFORM vibevideo_internal.note_act(
			CASE WHEN TG_TABLE_NAME <> 'access' THEN format('%s %s', lower(TG_OP), TG_TABLE_NAME)
				 WHEN TG_OP IN ('INSERT', 'UPDATE') THEN 'grant_access' ELSE 'revoke_access' END,
			jsonb_build_object('rows', changed, 'was', was, 'is', is_now));
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.audit_table() IS 'trigger: notes in vibevideo.audit who changed limits, prices, operators and access, and how';
DO $$
DECLARE
	audited name;
BEGIN
	FOREACH audited IN ARRAY ARRAY['limit', 'model', 'price_rule', 'operator', 'access'] LOOP
		EXECUTE format('CREATE TRIGGER audit_insert AFTER INSERT ON vibevideo.%I REFERENCING NEW TABLE AS new_rows '
					   'FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.audit_table()', audited);
		EXECUTE format('CREATE TRIGGER audit_update AFTER UPDATE ON vibevideo.%I REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows '
					   'FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.audit_table()', audited);
		EXECUTE format('CREATE TRIGGER audit_delete AFTER DELETE ON vibevideo.%I REFERENCING OLD TABLE AS old_rows '
					   'FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.audit_table()', audited);
		EXECUTE format('CREATE TRIGGER audit_truncate AFTER TRUNCATE ON vibevideo.%I '
					   'FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.audit_table()', audited);
		EXECUTE format('ALTER TABLE vibevideo.%I ENABLE ALWAYS TRIGGER audit_insert, ENABLE ALWAYS TRIGGER audit_update, '
					   'ENABLE ALWAYS TRIGGER audit_delete, ENABLE ALWAYS TRIGGER audit_truncate', audited);
	END LOOP;
END
$$;

-------------------------------------------------------------------------------
-- Settings
-------------------------------------------------------------------------------

-- What would be better than a setting's value; NULL if it is fine.
CREATE FUNCTION vibevideo_internal.setting_advice(name text, setting text)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres AS $$
DECLARE
	-- of numbers in the setting's base unit
	number constant numeric = CASE WHEN setting ~ '^-?[0-9]+([.][0-9]+)?$' THEN setting::numeric END;
	other constant jsonb = (SELECT jsonb_object_agg(s.name, s.setting) FROM pg_settings s WHERE s.name LIKE 'vibevideo.%');
	limited record;
	-- as vibevideo_internal.has_vault, which viewers cannot call
	vault constant boolean = EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
									 JOIN pg_roles o ON o.oid = c.relowner JOIN pg_roles s ON s.oid = n.nspowner
									 WHERE n.nspname = 'vault' AND c.relname = 'decrypted_secrets' AND o.rolsuper AND s.rolsuper);
BEGIN
	CASE name
	WHEN 'vibevideo.submit_timeout' THEN
		SELECT r.rolname, c.value INTO limited
		FROM pg_roles r CROSS JOIN LATERAL unnest(r.rolconfig) AS x(entry)
		CROSS JOIN LATERAL (SELECT substr(x.entry, length('statement_timeout=') + 1) AS value) c
		WHERE r.rolname IN ('anon', 'authenticated', 'service_role', 'authenticator') AND x.entry LIKE 'statement\_timeout=%'
		  AND c.value !~ '^0+[^0-9]*$' AND number >= 1000 * extract(epoch FROM (CASE WHEN c.value ~ '^[0-9]+$' THEN c.value || ' ms' ELSE c.value END)::interval)
		ORDER BY r.rolname LIMIT 1;
		IF FOUND THEN
			RETURN format('make it shorter than the statement_timeout of %s, %s: otherwise that ends the call first, and its submit is lost',
						  limited.rolname, limited.value);
		END IF;
	WHEN 'vibevideo.connect_timeout' THEN
		IF number >= (other ->> 'vibevideo.submit_timeout')::numeric THEN
			RETURN 'make it shorter than vibevideo.submit_timeout, which includes it';
		END IF;
	WHEN 'vibevideo.fal_key', 'vibevideo.fal_admin_key', 'vibevideo.storage_key' THEN
		IF setting <> '' THEN
			RETURN format('keep it in %s, where no file of settings has it', CASE WHEN vault THEN 'Vault or in the server''s environment' ELSE 'the server''s environment' END);
		END IF;
	WHEN 'vibevideo.fal_queue_url', 'vibevideo.fal_api_url' THEN
		IF setting LIKE 'http://%' THEN
			RETURN 'use https: the key goes there in plain text';
		END IF;
	WHEN 'vibevideo.fal_jwks_url' THEN
		IF setting LIKE 'http://%' THEN
			RETURN 'use https: whoever can replace the public keys on their way can forge webhooks';
		END IF;
	WHEN 'vibevideo.storage_url' THEN
		IF setting = '' AND other ->> 'vibevideo.storage_kind' <> 'none' THEN
			RETURN 'set it, or vibevideo.storage_kind to none: no video can be stored';
		END IF;
	WHEN 'vibevideo.media_hosts' THEN
		IF setting LIKE '%http://%' THEN
			RETURN 'take entries with http:// out: they are for tests';
		END IF;
	WHEN 'vibevideo.unknown_policy' THEN
		IF setting = 'resubmit' THEN
			RETURN 'resubmit_when_absent looks first: this one pays twice for every lost submit that did arrive';
		ELSIF setting = 'manual' THEN
			RETURN 'any other value ends a lost submit without a person';
		END IF;
	WHEN 'vibevideo.job_timeout' THEN
		IF number = 0 THEN
			RETURN 'set one: a job that fal.ai never finishes would be followed for ever';
		END IF;
	WHEN 'vibevideo.backoff_base' THEN
		IF number > 1000 * (other ->> 'vibevideo.backoff_max')::numeric THEN
			RETURN 'make it shorter than vibevideo.backoff_max';
		END IF;
	WHEN 'vibevideo.retention' THEN
		IF number = 0 THEN
			RETURN 'set one: the table of jobs grows for ever';
		END IF;
	WHEN 'vibevideo.audit_retention' THEN
		IF number > 0 AND (number < (other ->> 'vibevideo.retention')::numeric OR other ->> 'vibevideo.retention' = '0') THEN
			RETURN 'keep it at least as long as vibevideo.retention: jobs would outlive what is known of who acted on them';
		END IF;
	ELSE
	END CASE;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.setting_advice(text, text) IS 'what would be better than a setting''s value, null if it is fine; owner only';

-- Where a key is found; the function itself looks at who asks.
CREATE FUNCTION vibevideo_internal.key_source(name text)
RETURNS text LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'vibevideo_key_source';
COMMENT ON FUNCTION vibevideo_internal.key_source(text) IS 'where a key is found: Vault, the server''s environment or the setting; NULL if there is none, or for who may not read all settings';

-- pg_settings reads with the rights of whoever asks: PostgreSQL hides the file, and
-- settings for superusers, from others.  Those of the keys are in no list of it.
CREATE VIEW vibevideo.settings WITH (security_invoker = true) AS
SELECT s.name, s.value, s.default_value, s.source, s.file,
	   nullif(concat_ws('; ',
			  CASE WHEN s.pending_restart THEN 'restart the server: the value in its file is another' END,
			  CASE WHEN s.source IN ('session', 'client', 'user', 'database user')
				   THEN 'set it in the configuration file or for the database: the worker does not see this value' END,
			  vibevideo_internal.setting_advice(s.name, s.setting)), '') AS advice,
	   s.meaning
FROM (SELECT p.name, current_setting(p.name) AS value, p.boot_val AS default_value, p.source,
			 p.sourcefile || ':' || p.sourceline AS file, p.pending_restart, p.setting, p.short_desc AS meaning
	  FROM pg_catalog.pg_settings p WHERE p.name LIKE 'vibevideo.%'
	  UNION ALL
	  SELECT k.name, CASE WHEN k.source IS NOT NULL THEN '********' ELSE k.setting END, '', k.source, NULL, false, k.setting, k.meaning
	  FROM (SELECT n.name, n.meaning, CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting(n.name) END AS setting,
				   vibevideo_internal.key_source(n.name) AS source
			FROM (VALUES ('vibevideo.fal_key', 'fal.ai API key'), ('vibevideo.fal_admin_key', 'fal.ai API key of scope ADMIN'),
						 ('vibevideo.storage_key', 'Storage key')) AS n(name, meaning)) k) s
ORDER BY s.name;
COMMENT ON VIEW vibevideo.settings IS 'each setting of vibevideo in force in this session, where it comes from, and what would be better';
COMMENT ON COLUMN vibevideo.settings.name IS 'the setting';
COMMENT ON COLUMN vibevideo.settings.value IS 'with its unit; asterisks for a key, NULL for one that the reader may not know of';
COMMENT ON COLUMN vibevideo.settings.default_value IS 'in the setting''s base unit';
COMMENT ON COLUMN vibevideo.settings.source IS 'as in pg_settings: default, configuration file, database, session and so on; of a key Vault, the server''s environment or the setting, NULL if there is none or the reader may not know of it';
COMMENT ON COLUMN vibevideo.settings.file IS 'file and line, for those who may read all settings; NULL if it is in none, or for a key';
COMMENT ON COLUMN vibevideo.settings.advice IS 'what would be better; NULL if it is fine';
COMMENT ON COLUMN vibevideo.settings.meaning IS 'what it is for';

-------------------------------------------------------------------------------
-- Rights of a level
-------------------------------------------------------------------------------

-- What vibevideo.grant_access grants; an operator gets a viewer's as well.  What is
-- guarded begins with vibevideo_internal.require, so that it may be granted to API roles,
-- for people in vibevideo.operator.
CREATE FUNCTION vibevideo_internal.rights()
RETURNS TABLE (level text, privilege text, objects text, guarded boolean)
LANGUAGE sql IMMUTABLE ROWS 10 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	VALUES ('viewer', 'USAGE', 'SCHEMA vibevideo', false),
		   ('viewer', 'SELECT', 'vibevideo.jobs, vibevideo.costs, vibevideo.costs_by_month, vibevideo.costs_by_day, vibevideo.tenant_costs, vibevideo.ledger, vibevideo.unmatched, vibevideo.fal_usage, vibevideo.erasure, vibevideo.receipt, vibevideo.limit_use, vibevideo.settings, '
			'vibevideo.model, vibevideo.price_rule, vibevideo.fal_price, vibevideo.limit, vibevideo.rollup, vibevideo.backlog, vibevideo.typical, vibevideo.now, vibevideo.today, '
			'vibevideo.inbox, vibevideo.overview, vibevideo.errors, vibevideo.users', false),
		   ('viewer', 'EXECUTE', 'FUNCTION vibevideo.overview(), vibevideo.inbox(), vibevideo.list_jobs(jsonb, jsonb, int), '
			'vibevideo.job_detail(bigint), vibevideo.error_groups(timestamptz), vibevideo.users(timestamptz, int)', true),
		   -- views of these
		   ('viewer', 'EXECUTE', 'FUNCTION vibevideo_internal.now_lines(), vibevideo_internal.today_lines(), '
			'vibevideo_internal.inbox_lines(), vibevideo_internal.overview_lines(), vibevideo_internal.error_lines(), '
			'vibevideo_internal.user_lines(), vibevideo_internal.limit_use_lines()', false),
		   ('viewer', 'EXECUTE', 'FUNCTION vibevideo.show_job(bigint), vibevideo.show_jobs(jsonb, int), vibevideo.show_check(boolean)', true),
		   ('operator', 'EXECUTE', 'FUNCTION vibevideo.show_plan(text, jsonb, int), vibevideo.show_audit(int)', true),
		   -- a view calls these with the rights of whoever reads it
		   ('viewer', 'EXECUTE', 'FUNCTION vibevideo.describe(vibevideo.job), vibevideo_internal.job_message(vibevideo.job), '
			'vibevideo_internal.shown_error(vibevideo.job), vibevideo_internal.job_progress(vibevideo.job), vibevideo_internal.reason_of(bigint), '
			'vibevideo.is_active(text), vibevideo_internal.shown_status(text), vibevideo_internal.seconds_left(vibevideo.job), '
			'vibevideo_internal.setting_advice(text, text), vibevideo_internal.key_source(text), vibevideo.worker_info(), vibevideo.error_class(text), vibevideo_internal.period(int, timestamptz), '
			'vibevideo_internal.histogram(bigint), vibevideo.histogram_sum(bigint[]), vibevideo.histogram_bounds(), '
			'vibevideo.percentile(bigint[], double precision)', false),
		   ('viewer', 'EXECUTE', 'FUNCTION vibevideo.series(text, timestamptz, interval), vibevideo.why(bigint)', true),
		   ('viewer', 'EXECUTE', 'FUNCTION vibevideo.me(), vibevideo.find(text, int), vibevideo.lost(int), vibevideo.retry_cost(bigint), vibevideo.estimate(text, jsonb), '
			'vibevideo.health(boolean), vibevideo_internal.shown_limits(), vibevideo_internal.shown_limit_use(), vibevideo_internal.shown_prices(), '
			'vibevideo_internal.shown_settings(), vibevideo_internal.shown_worker(), vibevideo_internal.shown_ledger(int)', true),
		   ('viewer', 'EXECUTE', 'FUNCTION public.vibevideo_admin_me(), public.vibevideo_admin_overview(), public.vibevideo_admin_inbox(), '
			'public.vibevideo_admin_list_jobs(jsonb, jsonb, int), public.vibevideo_admin_find(text, int), public.vibevideo_admin_job(bigint), '
			'public.vibevideo_admin_errors(timestamptz), public.vibevideo_admin_users(timestamptz, int), '
			'public.vibevideo_admin_series(text, timestamptz, interval), public.vibevideo_admin_lost(int), public.vibevideo_admin_retry_cost(bigint), '
			'public.vibevideo_admin_health(boolean), public.vibevideo_admin_worker(), public.vibevideo_admin_limits(), '
			'public.vibevideo_admin_limit_use(), public.vibevideo_admin_prices(), public.vibevideo_admin_settings(), public.vibevideo_admin_estimate(text, jsonb), '
			'public.vibevideo_admin_ledger(int)', true),
		   -- the mark that tells this role from another of its name
		   ('viewer', 'EXECUTE', 'FUNCTION vibevideo_internal.caller()', false),
		   ('operator', 'SELECT', 'vibevideo.audit', false),
		   ('operator', 'EXECUTE', 'FUNCTION vibevideo.cancel(bigint), vibevideo.retry(bigint), vibevideo.resolve(bigint, text), '
			'vibevideo.pause(text, text), vibevideo.resume(), vibevideo.probe_now(), vibevideo.plan(text, jsonb, int), '
			'vibevideo.act(uuid, text), vibevideo.redrive(text, interval, int, text)', true),
		   ('operator', 'EXECUTE', 'FUNCTION vibevideo.audit(jsonb, int), vibevideo.set_limit(text, text, int, int, numeric, int, int, numeric, numeric, text, text), '
			'vibevideo.delete_limit(text, text, text, text), vibevideo.set_price(text, numeric, text, jsonb, jsonpath, numeric, numeric, timestamptz, text), '
			'vibevideo.delete_price(text, jsonb), vibevideo.sync_schema(text), vibevideo.sync_prices(), vibevideo.set_model(text, boolean, text, int, boolean, int, text), '
			'vibevideo.sync_usage(interval), vibevideo.explain_usage(text, text), vibevideo.erase(bigint)', true),
		   ('operator', 'EXECUTE', 'FUNCTION public.vibevideo_admin_plan(text, jsonb, int), public.vibevideo_admin_act(uuid, text), '
			'public.vibevideo_admin_cancel(bigint), public.vibevideo_admin_retry(bigint), public.vibevideo_admin_resolve(bigint, text), '
			'public.vibevideo_admin_pause(text, text), public.vibevideo_admin_resume(), public.vibevideo_admin_probe_now(), '
			'public.vibevideo_admin_audit(jsonb, int), public.vibevideo_admin_set_limit(text, text, int, int, numeric, int, int, numeric, numeric, text, text), '
			'public.vibevideo_admin_delete_limit(text, text, text, text), public.vibevideo_admin_set_price(text, numeric, text, jsonb, jsonpath, numeric, numeric, timestamptz, text), '
			'public.vibevideo_admin_delete_price(text, jsonb), public.vibevideo_admin_explain_usage(text, text)', true);
END;
COMMENT ON FUNCTION vibevideo_internal.rights() IS 'the rights of viewers and operators, as GRANT takes them; owner only';

-- Both ways: grant_access takes all away first, and revoke_access no more than that.
CREATE FUNCTION vibevideo_internal.take_rights(who regrole)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT x.privilege, x.objects FROM vibevideo_internal.rights() x LOOP
		EXECUTE format('REVOKE %s ON %s FROM %s CASCADE', r.privilege, r.objects, who);
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.take_rights(regrole) IS 'revokes what vibevideo.grant_access grants; owner only';

CREATE FUNCTION vibevideo.grant_access(who regrole, level text, see_input boolean DEFAULT false)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	role_name constant text = (SELECT r.rolname FROM pg_roles r WHERE r.oid = grant_access.who);
	r record;
BEGIN
	PERFORM vibevideo_internal.require('owner');
	IF role_name IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = 'there is no such role';
	ELSIF role_name IN ('anon', 'authenticated', 'service_role') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('%s is a role of the API', role_name),
			HINT = CASE role_name WHEN 'service_role' THEN 'It is an operator already.'
				   ELSE 'People who come with a JWT go into table vibevideo.operator, by its sub.' END;
	END IF;
	IF level IS NULL OR level NOT IN ('viewer', 'operator') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the level must be viewer or operator',
			HINT = format('For example SELECT vibevideo.grant_access(%L, ''viewer'').', quote_ident(role_name));
	END IF;
	PERFORM vibevideo_internal.take_rights(who);
	FOR r IN SELECT x.privilege, x.objects FROM vibevideo_internal.rights() x WHERE x.level IN ('viewer', grant_access.level) LOOP
		EXECUTE format('GRANT %s ON %s TO %s', r.privilege, r.objects, who);
	END LOOP;
	INSERT INTO vibevideo.access AS a (role, level, see_input, granted_by)
	SELECT role_name, grant_access.level, coalesce(grant_access.see_input, false), c.name FROM vibevideo_internal.caller() c
	ON CONFLICT (role) DO UPDATE SET level = EXCLUDED.level, see_input = EXCLUDED.see_input,
		granted_by = EXCLUDED.granted_by, granted_at = EXCLUDED.granted_at;
END
$$;
COMMENT ON FUNCTION vibevideo.grant_access(regrole, text, boolean) IS
'Lets a role, and those that inherit from it, look at jobs, or act on them as well. Call it again to change
  that.
who: the role, which is none of the API''s.
level: viewer or operator.
see_input: true shows it prompts and inputs as well; default: false.
Returns nothing.
Errors: 22023 another level, or a role of the API (its people go into table vibevideo.operator); 42704 no such
  role; 42501 not the extension''s owner.
For the extension''s owner.';

CREATE FUNCTION vibevideo.revoke_access(who regrole)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('owner');
	DELETE FROM vibevideo.access a
	USING pg_roles r WHERE r.oid = revoke_access.who AND a.role = r.rolname;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	PERFORM vibevideo_internal.take_rights(who);
	RETURN true;
END
$$;
COMMENT ON FUNCTION vibevideo.revoke_access(regrole) IS
'Takes back what vibevideo.grant_access gave a role.
who: the role.
Returns false if it had nothing.
Errors: 42704 no such role; 42501 not the extension''s owner.
For the extension''s owner.';

-------------------------------------------------------------------------------
-- Erasing videos
-------------------------------------------------------------------------------

/*
 * What is to be erased.  A row lives until it is done, and then becomes a receipt.
 * In steps, since whoever queues it must not wait for anybody:
 *
 *	row		a job whose row is gone, or shows another video.  The worker looks whether that
 *			is true of all rows: what cannot be undone is not done on a trigger's word.  Then
 *			it is a
 *	job		all that a job has left, and leaves yet.  The worker cancels an active one, and
 *			when it has ended puts the following in its place
 *	storage	a file in a bucket
 *	fal		what fal.ai keeps of a request: its input, output, and files
 *
 * The last two need the job's row no more.
 */
CREATE TABLE vibevideo.erasure (
	erasure_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	what text COLLATE pg_catalog."C" NOT NULL CHECK (what OPERATOR(pg_catalog.=) ANY (ARRAY['row', 'job', 'storage', 'fal'])),
	job_id bigint NOT NULL,
	bucket text COLLATE pg_catalog."C",
	object_key text COLLATE pg_catalog."C",
	request_id text COLLATE pg_catalog."C",
	reason text NOT NULL CHECK (reason OPERATOR(pg_catalog.=) ANY (ARRAY['operator', 'row', 'version'])),
	asked_by text,
	queued_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	next_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	tries int NOT NULL DEFAULT 0,
	error_code text,
	error text,
	stuck boolean NOT NULL DEFAULT false,
	token uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	CHECK (CASE what WHEN 'storage' THEN bucket IS NOT NULL AND object_key IS NOT NULL WHEN 'fal' THEN request_id IS NOT NULL ELSE true END)
);
COMMENT ON TABLE vibevideo.erasure IS 'what is to be erased, and is not yet: written by vibevideo.erase, and when rows are deleted or have newer videos; the worker takes a row out when it is done';
COMMENT ON COLUMN vibevideo.erasure.erasure_id IS 'grows with each row';
COMMENT ON COLUMN vibevideo.erasure.what IS 'row: as job, unless a row of the table bears its request id; job: all that a job leaves, when it has ended; storage: a file in a bucket; fal: what fal.ai keeps of a request';
COMMENT ON COLUMN vibevideo.erasure.job_id IS 'the job, which may be gone';
COMMENT ON COLUMN vibevideo.erasure.bucket IS 'the bucket of a file; NULL: it is none';
COMMENT ON COLUMN vibevideo.erasure.object_key IS 'the file''s name in it; NULL: it is none';
COMMENT ON COLUMN vibevideo.erasure.request_id IS 'fal.ai''s id of the request, of a row the one that it bore; NULL: it is none';
COMMENT ON COLUMN vibevideo.erasure.reason IS 'operator: vibevideo.erase was called; row: the row was deleted, with attach(on_delete => ''erase''); version: the row has newer videos, with attach(keep_versions => ...)';
COMMENT ON COLUMN vibevideo.erasure.asked_by IS 'who asked for it, as in vibevideo.audit; NULL: nobody, or it is not known';
COMMENT ON COLUMN vibevideo.erasure.queued_at IS 'when it was asked for';
COMMENT ON COLUMN vibevideo.erasure.next_at IS 'when it is tried next; make it now() to have it tried at once';
COMMENT ON COLUMN vibevideo.erasure.tries IS 'how often it was tried';
COMMENT ON COLUMN vibevideo.erasure.error_code IS 'what was wrong the last time, for programs: no_key, internal, or as of a job; NULL: nothing, or it was not tried';
COMMENT ON COLUMN vibevideo.erasure.error IS 'the same in words, and what to do; NULL: nothing';
COMMENT ON COLUMN vibevideo.erasure.stuck IS 'only a person can help; it is tried again all the same';
COMMENT ON COLUMN vibevideo.erasure.token IS 'the Idempotency-Key that fal.ai is sent: the same until there is an answer';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.erasure', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.erasure_erasure_id_seq', '');
CREATE INDEX erasure_due ON vibevideo.erasure (what, next_at);
CREATE INDEX erasure_job ON vibevideo.erasure (job_id);
CREATE UNIQUE INDEX erasure_file ON vibevideo.erasure (bucket, object_key) WHERE what OPERATOR(pg_catalog.=) 'storage';
CREATE UNIQUE INDEX erasure_request ON vibevideo.erasure (request_id) WHERE what OPERATOR(pg_catalog.=) 'fal';

CREATE TABLE vibevideo.receipt (
	receipt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	job_id bigint NOT NULL,
	what text NOT NULL,
	name text NOT NULL,
	answer text NOT NULL CHECK (answer OPERATOR(pg_catalog.=) ANY (ARRAY['deleted', 'gone'])),
	http_status int NOT NULL,
	reason text NOT NULL,
	asked_by text,
	queued_at timestamptz NOT NULL,
	done_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	tries int NOT NULL
);
COMMENT ON TABLE vibevideo.receipt IS 'what was erased, one row a file or request, without its content; kept until you delete it';
COMMENT ON COLUMN vibevideo.receipt.receipt_id IS 'grows with each row';
COMMENT ON COLUMN vibevideo.receipt.job_id IS 'the job, which may be gone';
COMMENT ON COLUMN vibevideo.receipt.what IS 'storage: a file in a bucket; fal: what fal.ai kept of a request';
COMMENT ON COLUMN vibevideo.receipt.name IS 'bucket and name of the file, or fal.ai''s id of the request';
COMMENT ON COLUMN vibevideo.receipt.answer IS 'deleted, as Storage or fal.ai said; or gone: it was not there any more';
COMMENT ON COLUMN vibevideo.receipt.http_status IS 'the answer''s HTTP status';
COMMENT ON COLUMN vibevideo.receipt.reason IS 'as in vibevideo.erasure';
COMMENT ON COLUMN vibevideo.receipt.asked_by IS 'who asked for it, as in vibevideo.audit; NULL: nobody, or it is not known';
COMMENT ON COLUMN vibevideo.receipt.queued_at IS 'when it was asked for';
COMMENT ON COLUMN vibevideo.receipt.done_at IS 'when the answer came';
COMMENT ON COLUMN vibevideo.receipt.tries IS 'how many requests that took';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.receipt', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.receipt_receipt_id_seq', '');
CREATE INDEX receipt_job ON vibevideo.receipt (job_id);

-- What retention has deleted the jobs of, where it is to go with its row.
CREATE TABLE vibevideo.past_video (
	job_id bigint NOT NULL,
	bucket text COLLATE pg_catalog."C" NOT NULL,
	object_key text COLLATE pg_catalog."C" NOT NULL,
	request_id text COLLATE pg_catalog."C" NOT NULL,
	relation regclass NOT NULL,
	vibelog_id text COLLATE pg_catalog."C" NOT NULL,
	was_shown boolean NOT NULL,
	PRIMARY KEY (job_id, object_key)
);
COMMENT ON TABLE vibevideo.past_video IS 'files of jobs that retention has deleted, kept with attach(on_delete => ...) or (keep_versions => ...) only, since they are to be erased some day';
COMMENT ON COLUMN vibevideo.past_video.job_id IS 'the job, which is gone';
COMMENT ON COLUMN vibevideo.past_video.bucket IS 'the bucket of the file';
COMMENT ON COLUMN vibevideo.past_video.object_key IS 'the file''s name in it';
COMMENT ON COLUMN vibevideo.past_video.request_id IS 'fal.ai''s id of the request';
COMMENT ON COLUMN vibevideo.past_video.relation IS 'the table of its row';
COMMENT ON COLUMN vibevideo.past_video.vibelog_id IS 'the row''s key, as text';
COMMENT ON COLUMN vibevideo.past_video.was_shown IS 'it was the row''s video; false: nobody knows whether there is such a file, or it was an orphan''s';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.past_video', '');
CREATE INDEX past_video_row ON vibevideo.past_video (relation, vibelog_id);
CREATE INDEX past_video_request ON vibevideo.past_video (request_id);

-- The files that a job may have left in Storage.  Of a copy that has failed the last answer
-- may have been lost, and the file be there: its name is made as src/upload.c does.  The
-- bucket may have been another one then; the URL says it.
CREATE FUNCTION vibevideo_internal.files_of(j vibevideo.job, OUT bucket text, OUT object_key text)
RETURNS SETOF record LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(CASE WHEN right((j).video_url, length(k.name) + 1) = '/' || k.name
						 THEN substring(left((j).video_url, - length(k.name) - 1) FROM '/([^/%]+)$') END,
					current_setting('vibevideo.storage_bucket')), k.name
	FROM (SELECT (j).object_key AS name WHERE (j).object_key IS NOT NULL
		  UNION ALL
		  SELECT coalesce(nullif(regexp_replace(encode(substr(convert_to((j).vibelog_id, 'UTF8'), 1, 128), 'escape') COLLATE "C",
												'\\(?:\\|[0-7]{3})|[^A-Za-z0-9_-]', '_', 'g'), ''), '_') || '/' || (j).request_id || '.' || e.ending
		  FROM unnest(ARRAY['mp4', 'webm', 'mov', 'mkv', 'gif']) AS e(ending)
		  WHERE (j).object_key IS NULL AND (j).media_url IS NOT NULL AND (j).request_id IS NOT NULL
			AND (j).state <> 'completed') k;
END;
COMMENT ON FUNCTION vibevideo_internal.files_of(vibevideo.job) IS 'the files that a job may have left in Storage; owner only';

-- Retention deletes this job: what it has left is still to go with its row.
CREATE FUNCTION vibevideo_internal.keep_for_erasing(j vibevideo.job)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO vibevideo.past_video (job_id, bucket, object_key, request_id, relation, vibelog_id, was_shown)
	SELECT (j).job_id, f.bucket, f.object_key, (j).request_id, (j).relation, (j).vibelog_id, (j).state = 'completed' AND NOT (j).orphan
	FROM vibevideo.binding b CROSS JOIN vibevideo_internal.files_of(j) f
	WHERE b.relation = (j).relation AND (b.on_delete IS NOT NULL OR b.keep_versions IS NOT NULL)
	  AND (j).erased_at IS NULL AND (j).request_id IS NOT NULL
	ON CONFLICT DO NOTHING;
END;
COMMENT ON FUNCTION vibevideo_internal.keep_for_erasing(vibevideo.job) IS 'part of retention: what a job has left; owner only';

-- The same of a job that is gone.
CREATE FUNCTION vibevideo_internal.erase_past(e vibevideo.erasure)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO vibevideo.erasure (what, job_id, bucket, object_key, reason, asked_by, queued_at)
	SELECT 'storage', p.job_id, p.bucket, p.object_key, (e).reason, (e).asked_by, (e).queued_at
	FROM vibevideo.past_video p WHERE p.job_id = (e).job_id
	ON CONFLICT DO NOTHING;
	INSERT INTO vibevideo.erasure (what, job_id, request_id, reason, asked_by, queued_at)
	SELECT DISTINCT 'fal', p.job_id, p.request_id, (e).reason, (e).asked_by, (e).queued_at
	FROM vibevideo.past_video p WHERE p.job_id = (e).job_id
	ON CONFLICT DO NOTHING;
	DELETE FROM vibevideo.past_video p WHERE p.job_id = (e).job_id;
	DELETE FROM vibevideo.erasure x WHERE x.erasure_id = (e).erasure_id;
END;
COMMENT ON FUNCTION vibevideo_internal.erase_past(vibevideo.erasure) IS 'puts what a deleted job has left in its place among what is to be erased; owner only';

-- Cancels an active job as vibevideo.cancel does, unless it is being copied: then it ends soon.
CREATE FUNCTION vibevideo_internal.cancel_to_erase(job bigint)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	UPDATE vibevideo.job j SET cancel_requested_at = now(),
		state = CASE WHEN j.state = 'pending' THEN 'cancelled' ELSE j.state END,
		completed_at = CASE WHEN j.state = 'pending' THEN now() END,
		error_code = CASE WHEN j.state <> 'pending' THEN j.error_code END,
		error = CASE WHEN j.state <> 'pending' THEN j.error END,
		next_at = CASE WHEN j.state = 'pending' THEN NULL WHEN j.leased_by IS NULL THEN now() - interval '1 day' ELSE j.next_at END
	WHERE j.job_id = cancel_to_erase.job AND j.cancel_requested_at IS NULL
	  AND vibevideo.is_active(j.state) AND j.state <> 'processing';
END;
COMMENT ON FUNCTION vibevideo_internal.cancel_to_erase(bigint) IS 'cancels a job whose video is to be erased, if it can be; owner only';

-- A job that has ended: what is to be erased of it.  Fal.ai may yet render one that it has
-- not spoken of since it was cancelled, or given up: an hour later there is more to erase.
-- Storage may yet finish an upload whose answer we have not waited for.
CREATE FUNCTION vibevideo_internal.erase_ended(j vibevideo.job, e vibevideo.erasure)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO vibevideo.erasure (what, job_id, bucket, object_key, reason, asked_by, queued_at, next_at)
	SELECT 'storage', (j).job_id, f.bucket, f.object_key, (e).reason, (e).asked_by, (e).queued_at,
		   greatest(now(), CASE WHEN (j).state <> 'completed' THEN (j).completed_at + interval '5 minutes' END)
	FROM vibevideo_internal.files_of(j) f
	ON CONFLICT DO NOTHING;
	INSERT INTO vibevideo.erasure (what, job_id, request_id, reason, asked_by, queued_at, next_at)
	SELECT 'fal', (j).job_id, (j).request_id, (e).reason, (e).asked_by, (e).queued_at,
		   CASE WHEN (j).held_usd IS NULL THEN now() ELSE now() + interval '1 hour' END
	WHERE (j).request_id IS NOT NULL
	ON CONFLICT DO NOTHING;
	UPDATE vibevideo.job x SET erased_at = now(), updated_at = now(),
		forgotten_at = CASE WHEN x.state = 'failed' THEN coalesce(x.forgotten_at, now()) END
	WHERE x.job_id = (j).job_id;
	DELETE FROM vibevideo.erasure x WHERE x.erasure_id = (e).erasure_id;
END;
COMMENT ON FUNCTION vibevideo_internal.erase_ended(vibevideo.job, vibevideo.erasure) IS 'puts what a job has left in the place of the job among what is to be erased; owner only';

-- A row has another video: of the older ones so many stay as attach was told.  Browsers show
-- the old one for a while.
CREATE FUNCTION vibevideo_internal.erase_older(relation regclass, key text)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH video AS (
		SELECT j.job_id, j.state = 'completed' AS was_shown FROM vibevideo.job j
		WHERE j.relation = erase_older.relation AND j.vibelog_id = erase_older.key AND NOT j.orphan
		  AND NOT vibevideo.is_active(j.state) AND j.media_url IS NOT NULL AND j.erased_at IS NULL
		UNION
		SELECT p.job_id, p.was_shown FROM vibevideo.past_video p
		WHERE p.relation = erase_older.relation AND p.vibelog_id = erase_older.key)
	INSERT INTO vibevideo.erasure (what, job_id, reason, next_at)
	SELECT 'row', v.job_id, 'version', now() + interval '1 minute'
	FROM vibevideo.binding b
	CROSS JOIN LATERAL (SELECT n.job_id FROM video n WHERE n.was_shown ORDER BY n.job_id DESC LIMIT 1 OFFSET b.keep_versions - 1) oldest
	JOIN video v ON v.job_id < oldest.job_id
	WHERE b.relation = erase_older.relation AND b.keep_versions IS NOT NULL
	  AND NOT EXISTS (SELECT FROM vibevideo.erasure e WHERE e.job_id = v.job_id);
END;
COMMENT ON FUNCTION vibevideo_internal.erase_older(regclass, text) IS 'part of the guard: what is to be erased of a row whose new video is stored; owner only';

-- May the row of a job still show it, since its newer one is not written there?
CREATE FUNCTION vibevideo_internal.is_shown(job bigint)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN EXISTS (SELECT FROM (SELECT j.relation, j.vibelog_id FROM vibevideo.job j WHERE j.job_id = is_shown.job
							UNION ALL
							SELECT p.relation, p.vibelog_id FROM vibevideo.past_video p WHERE p.job_id = is_shown.job) o
			   JOIN vibevideo.job n ON n.relation = o.relation AND n.vibelog_id = o.vibelog_id
			   WHERE NOT n.orphan AND n.job_id > is_shown.job AND n.row_dirty);
COMMENT ON FUNCTION vibevideo_internal.is_shown(bigint) IS 'whether a job''s row may show it though there is a newer one; owner only';

-- Rows of the app that are due, with each request id that no row may bear any more, if their
-- videos are to go: what the deleted row bore, and the job's own.  No row bears an orphan's,
-- so of that key says which row must be gone.
CREATE FUNCTION vibevideo_internal.erasures_of_rows(relation regclass, OUT erasure_id bigint, OUT request_id text, OUT key text)
RETURNS SETOF record LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH due AS MATERIALIZED (
		SELECT e.erasure_id, e.job_id, e.request_id FROM vibevideo.erasure e WHERE e.what = 'row' AND e.next_at <= now()
		ORDER BY e.next_at LIMIT 500 FOR UPDATE SKIP LOCKED)
	SELECT d.erasure_id, d.request_id, NULL::text FROM due d
	UNION
	SELECT d.erasure_id, j.request_id, CASE WHEN j.orphan AND j.relation = erasures_of_rows.relation THEN j.vibelog_id END
	FROM due d JOIN vibevideo.job j ON j.job_id = d.job_id
	UNION
	SELECT d.erasure_id, p.request_id, NULL FROM due d JOIN vibevideo.past_video p ON p.job_id = d.job_id;
END;
COMMENT ON FUNCTION vibevideo_internal.erasures_of_rows(regclass) IS 'part of the worker''s erasing: rows, and what tells whether they are back; owner only';

-- These were looked for: the jobs of those that are there stay, the others go.
CREATE FUNCTION vibevideo_internal.rows_looked_for(looked bigint[], there bigint[])
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	DELETE FROM vibevideo.erasure x WHERE x.erasure_id = ANY (there) AND x.what = 'row';
	UPDATE vibevideo.erasure x SET what = 'job', request_id = NULL WHERE x.erasure_id = ANY (looked) AND x.what = 'row';
END;
COMMENT ON FUNCTION vibevideo_internal.rows_looked_for(bigint[], bigint[]) IS 'part of the worker''s erasing: what became of rows; owner only';

-- Jobs that are to be erased and due, so many that nothing else waits long: active ones are
-- cancelled, and looked at again soon.  What somebody holds is left for later, and one that
-- fails keeps no other from its turn.
CREATE FUNCTION vibevideo_internal.expand_erasures()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	e vibevideo.erasure;
	j vibevideo.job;
BEGIN
	FOR e IN SELECT x.* FROM vibevideo.erasure x WHERE x.what = 'job' AND x.next_at <= now()
			 ORDER BY x.next_at LIMIT 50 FOR UPDATE SKIP LOCKED
	LOOP
		BEGIN
			SELECT x.* INTO j FROM vibevideo.job x WHERE x.job_id = e.job_id FOR UPDATE SKIP LOCKED;
			IF FOUND AND j.erased_at IS NOT NULL AND e.reason <> 'operator' THEN
				DELETE FROM vibevideo.erasure x WHERE x.erasure_id = e.erasure_id;
			ELSIF e.reason = 'version' AND vibevideo_internal.is_shown(e.job_id) THEN
				UPDATE vibevideo.erasure x SET next_at = now() + interval '10 seconds' WHERE x.erasure_id = e.erasure_id;
			ELSIF FOUND AND NOT vibevideo.is_active(j.state) THEN
				PERFORM vibevideo_internal.erase_ended(j, e);
			ELSIF FOUND OR EXISTS (SELECT FROM vibevideo.job x WHERE x.job_id = e.job_id) THEN
				PERFORM vibevideo_internal.cancel_to_erase(j.job_id);
				UPDATE vibevideo.erasure x SET next_at = now() + interval '2 seconds' WHERE x.erasure_id = e.erasure_id;
			ELSE
				PERFORM vibevideo_internal.erase_past(e);
			END IF;
		EXCEPTION WHEN OTHERS THEN
			UPDATE vibevideo.erasure x SET tries = x.tries + 1, (error_code, error) = ('internal', left(SQLERRM, 1000)),
				stuck = SQLSTATE NOT IN ('55P03', '40P01', '40001'), next_at = now() + interval '1 minute' * least(x.tries + 1, 60)
			WHERE x.erasure_id = e.erasure_id;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.expand_erasures() IS 'part of the worker''s erasing: jobs, as they end; owner only';

/*
 * vibevideo_internal.next_erasure(service, lacks) - what the worker asks a service for next.
 * Its time is put off before: an answer that never comes delays it, too.
 * service: storage or fal.  lacks: why nothing can be asked for there, NULL if it can.
 */
CREATE FUNCTION vibevideo_internal.next_erasure(service text, lacks text, OUT erasure_id bigint, OUT bucket text, OUT object_key text,
												OUT request_id text, OUT token text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF lacks IS NOT NULL THEN
		UPDATE vibevideo.erasure x SET (error_code, error) = ('no_key', lacks), stuck = true, next_at = now() + interval '10 minutes'
		WHERE x.erasure_id IN (SELECT d.erasure_id FROM vibevideo.erasure d WHERE d.what = service AND d.next_at <= now()
							   ORDER BY d.next_at LIMIT 1000 FOR UPDATE SKIP LOCKED);
		RETURN;
	END IF;
	UPDATE vibevideo.erasure x SET tries = x.tries + 1,
		next_at = now() + least(interval '1 hour', interval '30 seconds' * (1 << least(x.tries, 7)))
	WHERE x.erasure_id = (SELECT d.erasure_id FROM vibevideo.erasure d WHERE d.what = service AND d.next_at <= now()
						  ORDER BY d.next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
	RETURNING x.erasure_id, x.bucket, x.object_key, x.request_id, x.token::text
	INTO next_erasure.erasure_id, next_erasure.bucket, next_erasure.object_key, next_erasure.request_id, next_erasure.token;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.next_erasure(text, text) IS 'what is to be erased next, which is not due any more then; owner only';

/*
 * vibevideo_internal.erasure_done(id, answer, status, code, error, stuck, again) - records what
 * came of it.  answer: deleted, gone, or NULL for neither.  again: at once, since it was
 * asked for in a form that is not understood.  A row that somebody has deleted is let be.
 */
CREATE FUNCTION vibevideo_internal.erasure_done(id bigint, answer text, status int, code text, error text, stuck boolean, again boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF answer IS NULL THEN
		UPDATE vibevideo.erasure x SET error_code = code, error = left(erasure_done.error, 1000), stuck = erasure_done.stuck,
			token = CASE WHEN status > 0 THEN gen_random_uuid() ELSE x.token END,
			next_at = CASE WHEN again THEN now() ELSE x.next_at END
		WHERE x.erasure_id = id;
	ELSE
		WITH done AS (DELETE FROM vibevideo.erasure x WHERE x.erasure_id = id RETURNING x.*)
		INSERT INTO vibevideo.receipt (job_id, what, name, answer, http_status, reason, asked_by, queued_at, tries)
		SELECT d.job_id, d.what, coalesce(d.bucket || '/' || d.object_key, d.request_id), erasure_done.answer, status, d.reason, d.asked_by, d.queued_at, d.tries
		FROM done d;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.erasure_done(bigint, text, int, text, text, boolean, boolean) IS 'records what came of a request that something be erased; owner only';

CREATE FUNCTION vibevideo.erase(job bigint)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	who constant text = vibevideo_internal.require('operator');
	was text;
	added int;
BEGIN
	IF job IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'job must not be null';
	END IF;
	PERFORM vibevideo_internal.require_to_act();
	SELECT x.state INTO was FROM vibevideo.job x WHERE x.job_id = erase.job;
	IF NOT FOUND AND NOT EXISTS (SELECT FROM vibevideo.past_video p WHERE p.job_id = erase.job) THEN
		RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = format('there is no job %s', job);
	END IF;
	INSERT INTO vibevideo.erasure (what, job_id, reason, asked_by)
	SELECT 'job', erase.job, 'operator', who
	WHERE NOT EXISTS (SELECT FROM vibevideo.erasure x WHERE x.job_id = erase.job AND x.what = 'job');
	GET DIAGNOSTICS added = ROW_COUNT;
	PERFORM vibevideo_internal.note_act('erase', jsonb_build_object('job', job), added, outcome => jsonb_build_object('state', was));
	PERFORM vibevideo.wake();
	RETURN added > 0;
END
$$;
COMMENT ON FUNCTION vibevideo.erase(bigint) IS
'Erases the video of a job: its file in Storage, and what fal.ai keeps of its request (input, output and its files),
  which takes an API key of scope ADMIN. The worker does it after the commit, and tries until it is done: table
  vibevideo.receipt says what was done, vibevideo.erasure what is still to do. An active job is cancelled, and
  what it leaves is erased when it has ended. The app''s row stays as it is, and so does the job, with its input.
job: its job_id in vibevideo.jobs.
Returns false if that was asked for already, and is still to begin.
Errors: PT404 no such job; 22004 it is null; 55000 this database is a copy; 42501 not an operator.
For operators.';


-------------------------------------------------------------------------------
-- Acting on many jobs: a plan says what would be done, an act does just that
-------------------------------------------------------------------------------

-- A filter of jobs with a type for each key; what was not named is null.  Its
-- fields are the keys, but for status, which is a set of states.
CREATE TYPE vibevideo_internal.job_filter AS (
	job_id bigint[],
	request_id text[],
	key text[],
	state text[],
	error_code text[],
	class text[],
	model text[],
	"user" text[],
	since timestamptz,
	until timestamptz,
	attempts int,
	cost numeric,
	orphan boolean,
	paid_not_stored boolean,
	prompt text,
	tenant text[]
);
COMMENT ON TYPE vibevideo_internal.job_filter IS 'a filter of jobs, checked; made by vibevideo_internal.read_filter';

-- The strings of one key, NULL if it is not there.
CREATE FUNCTION vibevideo_internal.filter_strings(filter jsonb, name text, known text[] DEFAULT NULL)
RETURNS text[] LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	value constant jsonb = CASE jsonb_typeof(filter -> name) WHEN 'array' THEN filter -> name ELSE jsonb_build_array(filter -> name) END;
	strings text[];
	stranger text;
BEGIN
	IF NOT filter ? name THEN
		RETURN NULL;
	END IF;
	IF EXISTS (SELECT FROM jsonb_array_elements(value) e
			   WHERE jsonb_typeof(e) <> 'string' AND NOT (name IN ('key', 'vibelog_id') AND jsonb_typeof(e) = 'number'))
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('filter key "%s" must be a string or an array of strings', name);
	END IF;
	strings = ARRAY(SELECT e FROM jsonb_array_elements_text(value) e);
	SELECT s INTO stranger FROM unnest(strings) s WHERE s <> ALL (known) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('filter key "%s" has a value that does not exist', name),
			DETAIL = format('It is "%s".', vibevideo_internal.shown(stranger)),
			HINT = format('Known are: %s.', array_to_string(known, ', '));
	END IF;
	RETURN strings;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.filter_strings(jsonb, text, text[]) IS 'the strings of a filter''s key, which must be among those known; 22023; owner only';

-- One value of a type, NULL if it is not there.
CREATE FUNCTION vibevideo_internal.filter_value(filter jsonb, name text, type text)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF filter ? name AND jsonb_typeof(filter -> name) <> type THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('filter key "%s" must be a %s', name, type);
	END IF;
	RETURN filter -> name;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.filter_value(jsonb, text, text) IS 'the value of a filter''s key, which must have this type; 22023; owner only';

-- A moment, or an age: '2026-11-28 13:00Z', 'yesterday', '2 hours'.
CREATE FUNCTION vibevideo_internal.filter_time(filter jsonb, name text)
RETURNS timestamptz LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = ISO AS $$
DECLARE
	value constant text = vibevideo_internal.filter_value(filter, name, 'string') #>> '{}';
BEGIN
	RETURN value::timestamptz;
EXCEPTION WHEN data_exception THEN
	BEGIN
		RETURN now() - value::interval;
	EXCEPTION WHEN data_exception THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('filter key "%s" is no time', name),
			HINT = 'For example "2026-11-28 13:00Z", or "2 hours" for two hours ago.';
	END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.filter_time(jsonb, text) IS 'the moment that a filter''s key names, or how long ago; 22023; owner only';

/*
 * vibevideo_internal.read_filter(filter) - checks a filter of jobs as people write it.
 *
 * Errors: 22023 not an object, a key that does not exist, a value of another type;
 * 42501 a prompt is looked for by somebody who may not see inputs.
 */
CREATE FUNCTION vibevideo_internal.read_filter(filter jsonb)
RETURNS vibevideo_internal.job_filter LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	known constant text[] = ARRAY['job_id', 'request_id', 'key', 'vibelog_id', 'state', 'status', 'error_code', 'class', 'model', 'user',
								  'user_id', 'tenant', 'since', 'until', 'attempts', 'cost', 'orphan', 'paid_not_stored', 'prompt'];
	states constant text[] = vibevideo_internal.states();
	f vibevideo_internal.job_filter;
	status text[];
	strangers text;
BEGIN
	IF filter IS NULL OR jsonb_typeof(filter) <> 'object' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'a filter must be a JSON object',
			HINT = format('Its keys may be: %s.', array_to_string(known, ', '));
	END IF;
	SELECT string_agg(format('"%s"', vibevideo_internal.shown(k)), ', ' ORDER BY k) INTO strangers FROM jsonb_object_keys(filter) k WHERE k <> ALL (known);
	IF strangers IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the filter has keys that do not exist',
			DETAIL = format('They are: %s.', strangers),
			HINT = format('Known are: %s.', array_to_string(known, ', '));
	END IF;
	filter = jsonb_strip_nulls(filter);
	-- as columns of lists are named
	IF filter ?& ARRAY['key', 'vibelog_id'] OR filter ?& ARRAY['user', 'user_id'] THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the filter has two keys for the same',
			DETAIL = 'vibelog_id is another name of key, user_id of user.';
	END IF;

	IF filter ? 'job_id' THEN
		IF jsonb_typeof(filter -> 'job_id') <> 'array' THEN
			filter = filter || jsonb_build_object('job_id', jsonb_build_array(filter -> 'job_id'));
		END IF;
		-- JavaScript has large ones as strings
		IF EXISTS (SELECT FROM jsonb_array_elements(filter -> 'job_id') e
				   WHERE jsonb_typeof(e) <> ALL (ARRAY['number', 'string']) OR e #>> '{}' !~ '^[0-9]{1,18}$')
		THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = 'filter key "job_id" must be a number or an array of numbers';
		END IF;
		f.job_id = ARRAY(SELECT e::bigint FROM jsonb_array_elements_text(filter -> 'job_id') e);
	END IF;
	f.request_id = vibevideo_internal.filter_strings(filter, 'request_id');
	f.key = vibevideo_internal.filter_strings(filter, CASE WHEN filter ? 'key' THEN 'key' ELSE 'vibelog_id' END);
	f.state = vibevideo_internal.filter_strings(filter, 'state', states);
	status = vibevideo_internal.filter_strings(filter, 'status', vibevideo_internal.statuses());
	IF status IS NOT NULL THEN
		f.state = ARRAY(SELECT s FROM unnest(coalesce(f.state, states)) s WHERE vibevideo_internal.shown_status(s) = ANY (status));
	END IF;
	f.error_code = vibevideo_internal.filter_strings(filter, 'error_code');
	f.class = vibevideo_internal.filter_strings(filter, 'class', ARRAY['policy', 'input', 'balance', 'provider', 'storage', 'time', 'limit', 'other']);
	f.model = vibevideo_internal.filter_strings(filter, 'model');
	f."user" = vibevideo_internal.filter_strings(filter, CASE WHEN filter ? 'user' THEN 'user' ELSE 'user_id' END);
	f.tenant = vibevideo_internal.filter_strings(filter, 'tenant');
	f.since = vibevideo_internal.filter_time(filter, 'since');
	f.until = vibevideo_internal.filter_time(filter, 'until');
	f.attempts = CASE WHEN filter ? 'attempts'
					  THEN greatest(0, least(ceil((vibevideo_internal.filter_value(filter, 'attempts', 'number') #>> '{}')::numeric), 2147483647)) END;
	f.cost = vibevideo_internal.filter_value(filter, 'cost', 'number') #>> '{}';
	f.orphan = vibevideo_internal.filter_value(filter, 'orphan', 'boolean') #>> '{}';
	f.paid_not_stored = vibevideo_internal.filter_value(filter, 'paid_not_stored', 'boolean') #>> '{}';
	IF f.paid_not_stored THEN
		-- so that their index is used
		f.state = ARRAY(SELECT s FROM unnest(coalesce(f.state, states)) s WHERE s = 'failed');
	END IF;
	f.prompt = vibevideo_internal.filter_value(filter, 'prompt', 'string') #>> '{}';
	-- to find out which jobs match is to read them
	IF f.prompt IS NOT NULL AND NOT (SELECT c.see_input FROM vibevideo_internal.caller() c) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = 'permission denied to look for a prompt',
			DETAIL = 'Only those who may see prompts can.',
			HINT = 'The owner of extension vibevideo can give access with see_input.';
	END IF;
	RETURN f;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.read_filter(jsonb) IS
	'a filter of jobs, checked: keys, types and values; 22023, and 42501 for prompt without see_input; owner only';

/*
 * vibevideo_internal.filter_sql(f) - the condition that a filter is for a job j, as SQL.
 * The values are not in it: it takes the filter as its first parameter.  States
 * are, since only then PostgreSQL knows which partial index to use: as we spell
 * them ourselves.
 */
CREATE FUNCTION vibevideo_internal.filter_sql(f vibevideo_internal.job_filter)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT concat_ws(' AND ', 'true',
		CASE WHEN (f).job_id IS NOT NULL THEN 'j.job_id = ANY (($1).job_id)' END,
		CASE WHEN (f).request_id IS NOT NULL THEN 'j.request_id = ANY (($1).request_id)' END,
		CASE WHEN (f).key IS NOT NULL THEN 'j.vibelog_id = ANY (($1).key)' END,
		CASE WHEN (f).state IS NOT NULL THEN
			(SELECT format('j.state = ANY (%L::text[])', array_agg(s))
			 FROM unnest(vibevideo_internal.states()) s WHERE s = ANY ((f).state)) END,
		CASE WHEN (f).error_code IS NOT NULL THEN 'j.error_code = ANY (($1).error_code)' END,
		CASE WHEN (f).class IS NOT NULL THEN 'vibevideo.error_class(j.error_code) = ANY (($1).class)' END,
		CASE WHEN (f).model IS NOT NULL THEN 'j.model = ANY (($1).model)' END,
		CASE WHEN (f)."user" IS NOT NULL THEN 'j.requested_by = ANY (($1)."user")' END,
		CASE WHEN (f).tenant IS NOT NULL THEN 'j.tenant = ANY (($1).tenant)' END,
		CASE WHEN (f).since IS NOT NULL THEN 'coalesce(j.completed_at, j.created_at) >= ($1).since' END,
		CASE WHEN (f).until IS NOT NULL THEN 'coalesce(j.completed_at, j.created_at) <= ($1).until' END,
		CASE WHEN (f).attempts IS NOT NULL THEN 'j.attempt >= ($1).attempts' END,
		CASE WHEN (f).cost IS NOT NULL THEN 'j.cost_usd >= ($1).cost' END,
		CASE WHEN (f).orphan IS NOT NULL THEN 'j.orphan = ($1).orphan' END,
		CASE WHEN (f).paid_not_stored IS NOT NULL THEN '(j.state = ''failed'' AND j.media_url IS NOT NULL) = ($1).paid_not_stored' END,
		CASE WHEN (f).prompt IS NOT NULL THEN
			'strpos(lower(coalesce(j.input ->> ''prompt'', j.input::text)), lower(($1).prompt)) > 0' END);
END;
COMMENT ON FUNCTION vibevideo_internal.filter_sql(vibevideo_internal.job_filter) IS 'a filter''s condition for a job j; its first parameter is the filter; owner only';

-- The jobs under these keys, whichever table they are of: it hops from table to
-- table, of which there are few.
CREATE FUNCTION vibevideo_internal.jobs_of_keys(keys text[])
RETURNS SETOF bigint LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
BEGIN ATOMIC
	WITH RECURSIVE tables AS (
		(SELECT j.relation FROM vibevideo.job j WHERE j.relation IS NOT NULL ORDER BY j.relation LIMIT 1)
		UNION ALL
		SELECT (SELECT j.relation FROM vibevideo.job j WHERE j.relation > t.relation ORDER BY j.relation LIMIT 1)
		FROM tables t WHERE t.relation IS NOT NULL
	)
	SELECT j.job_id FROM tables t JOIN vibevideo.job j ON j.relation = t.relation WHERE j.vibelog_id = ANY (keys)
	UNION ALL
	SELECT j.job_id FROM vibevideo.job j WHERE j.relation IS NULL AND j.vibelog_id = ANY (keys);
END;
COMMENT ON FUNCTION vibevideo_internal.jobs_of_keys(text[]) IS 'the jobs of rows with these keys, of whatever table; owner only';

-- Those of filter_jobs that are active: in order of their numbers, beyond that one.
-- The partial indexes have them in another order, so it reads all of them.  If there
-- are more than so many (look) it walks along the numbers instead, from the first
-- active one, until it has found enough or the clock says so; beyond becomes where it
-- stopped.
CREATE FUNCTION vibevideo_internal.filter_active(f vibevideo_internal.job_filter, states text[], newest_first boolean, most int, look int, until timestamptz,
												 INOUT beyond bigint, OUT job_ids bigint[], OUT bound text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
	direction constant text = CASE WHEN newest_first THEN 'DESC' ELSE 'ASC' END;
	past constant text = CASE WHEN newest_first THEN '<' ELSE '>' END;
	matches constant text = vibevideo_internal.filter_sql(f);
	-- a prompt may be long, and takes as long to be read
	step int = CASE WHEN f.prompt IS NULL THEN 1000 ELSE 10 END;
	began timestamptz;
	lowest bigint;
	arms text;
	found bigint[];
	looked int;
	last_id bigint;
BEGIN
	SELECT string_agg(format('(SELECT j.job_id, (%s) IS TRUE AND j.job_id %s $2 AS ok FROM vibevideo.job j WHERE j.state = %L)', matches, past, s), ' UNION ALL ')
	INTO arms FROM unnest(states) s;
	EXECUTE format('SELECT coalesce(array_agg(x.job_id ORDER BY x.job_id %s) FILTER (WHERE x.ok), ''{}''), count(*) FROM (SELECT u.* FROM (%s) u LIMIT $3) x',
				   direction, arms)
	INTO job_ids, looked USING f, beyond, look;
	IF looked < look THEN
		IF cardinality(job_ids) > most THEN
			bound = 'max_jobs';
			job_ids = job_ids[1:most];
			beyond = coalesce(job_ids[most], beyond);
		END IF;
		RETURN;
	END IF;

	job_ids = '{}';
	SELECT CASE WHEN count(*) < vibevideo_internal.most() THEN min(a.job_id) ELSE 0 END INTO lowest
	FROM (SELECT x.job_id FROM vibevideo_internal.active_jobs x LIMIT vibevideo_internal.most()) a;
	LOOP
		began = clock_timestamp();
		EXECUTE format('SELECT coalesce(array_agg(x.job_id ORDER BY x.job_id %1$s) FILTER (WHERE x.ok), ''{}''), count(*), %2$s(x.job_id) '
					   'FROM (SELECT j.job_id, (j.state = ANY (%3$L::text[]) AND %4$s) IS TRUE AS ok FROM vibevideo.job j '
					   'WHERE j.job_id %5$s $2 AND j.job_id >= $4 ORDER BY j.job_id %1$s LIMIT $3) x',
					   direction, CASE WHEN newest_first THEN 'min' ELSE 'max' END, states, matches, past)
		INTO found, looked, last_id USING f, beyond, step, lowest;
		job_ids = job_ids || found;
		IF cardinality(job_ids) > most THEN
			bound = 'max_jobs';
			job_ids = job_ids[1:most];
			beyond = coalesce(job_ids[most], beyond);
			EXIT;
		END IF;
		EXIT WHEN looked < step;
		beyond = last_id;
		IF clock_timestamp() >= until THEN
			bound = 'time';
			EXIT;
		END IF;
		step = CASE WHEN clock_timestamp() - began < interval '10 ms' THEN least(step * 2, 20000) ELSE greatest(step / 2, 5) END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.filter_active(vibevideo_internal.job_filter, text[], boolean, int, int, timestamptz, bigint) IS
	'part of filter_jobs: active jobs that match, found until a time if there are many; owner only';

-- The error codes of jobs that have ended, at most so many: it hops from code to code
-- through the index.
CREATE FUNCTION vibevideo_internal.error_codes(most int)
RETURNS SETOF text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
BEGIN ATOMIC
	WITH RECURSIVE hop AS (
		(SELECT j.error_code AS code, 1 AS nth FROM vibevideo.job j WHERE j.error_code IS NOT NULL AND j.next_at IS NULL
		 ORDER BY j.error_code COLLATE pg_catalog."C" LIMIT 1)
		UNION ALL
		SELECT (SELECT j.error_code FROM vibevideo.job j WHERE j.error_code COLLATE pg_catalog."C" > h.code AND j.next_at IS NULL
				ORDER BY j.error_code COLLATE pg_catalog."C" LIMIT 1),
			   h.nth + 1
		FROM hop h WHERE h.code IS NOT NULL AND h.nth < most
	)
	SELECT h.code FROM hop h WHERE h.code IS NOT NULL;
END;
COMMENT ON FUNCTION vibevideo_internal.error_codes(int) IS 'the error codes that ended jobs have, at most so many; owner only';

-- Those of these classes, NULL if there are too many.
CREATE FUNCTION vibevideo_internal.codes_of(classes text[])
RETURNS text[] LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT CASE WHEN count(*) <= 500 THEN coalesce(array_agg(c.code) FILTER (WHERE vibevideo.error_class(c.code) = ANY (classes)), '{}') END
	FROM vibevideo_internal.error_codes(501) AS c(code);
END;
COMMENT ON FUNCTION vibevideo_internal.codes_of(text[]) IS 'the error codes of these classes that jobs have, NULL for too many; owner only';

/*
 * vibevideo_internal.ended_sql(f, states, newest_first, codes) - where filter_ended walks:
 * jobs j that have ended, in order of their ends.  Parameters: the filter, where to
 * begin ($2, $3), how many ($4), the error codes ($5).
 *
 * What a filter says of one of these is repeated as a condition, so that there is an
 * index of only the jobs that it leaves: by user, by error code, of failed ones, of
 * orphans, of videos paid for and not stored.  Of several users or codes each has
 * its own walk.
 */
CREATE FUNCTION vibevideo_internal.ended_sql(f vibevideo_internal.job_filter, states text[], newest_first boolean, codes text[])
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT CASE WHEN w.keys IS NULL THEN format('vibevideo.job j WHERE %s', w.walk)
				ELSE format('(SELECT DISTINCT u FROM unnest(%1$s) u) AS k(key) CROSS JOIN LATERAL '
							'(SELECT j.* FROM vibevideo.job j WHERE %2$s = k.key AND %3$s) j ORDER BY j.completed_at %4$s, j.job_id %4$s LIMIT $4',
							w.keys, w.key, w.walk, w.direction) END
	FROM (SELECT d.direction,
				 CASE WHEN codes IS NOT NULL THEN '$5' WHEN (f)."user" IS NOT NULL THEN '($1)."user"' END AS keys,
				 CASE WHEN codes IS NOT NULL THEN 'j.error_code COLLATE pg_catalog."C"' ELSE 'j.requested_by' END AS key,
				 -- one of them, so that there is one index to choose
				 concat_ws(' AND ',
					CASE WHEN codes IS NOT NULL OR (f)."user" IS NOT NULL THEN NULL
						 WHEN (f).paid_not_stored THEN 'j.state = ''failed'' AND j.media_url IS NOT NULL'
						 WHEN (f).orphan THEN 'j.orphan'
						 WHEN states = ARRAY['failed'] THEN 'j.state = ''failed''' END,
					format('j.next_at IS NULL AND (j.completed_at, j.job_id) %1$s ($2, $3) AND j.completed_at >= coalesce(($1).since, ''-infinity'') '
						   'AND j.completed_at <= coalesce(($1).until, ''infinity'') ORDER BY j.completed_at %2$s, j.job_id %2$s LIMIT $4',
						   CASE WHEN newest_first THEN '<' ELSE '>' END, d.direction)) AS walk
		  FROM (SELECT CASE WHEN newest_first THEN 'DESC' ELSE 'ASC' END AS direction) d) w;
END;
COMMENT ON FUNCTION vibevideo_internal.ended_sql(vibevideo_internal.job_filter, text[], boolean, text[]) IS
	'part of filter_ended: where it walks, along which index; owner only';

-- Those of filter_jobs that have ended: in order of their ends, beyond that one.  It
-- walks along an index, in steps that grow while they are quick, until it has found
-- enough or the clock says so; at and beyond become where it stopped.
CREATE FUNCTION vibevideo_internal.filter_ended(f vibevideo_internal.job_filter, states text[], newest_first boolean, most int, until timestamptz,
												INOUT at timestamptz, INOUT beyond bigint, OUT job_ids bigint[], OUT bound text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
	direction constant text = CASE WHEN newest_first THEN 'DESC' ELSE 'ASC' END;
	codes constant text[] = CASE WHEN f.error_code IS NOT NULL THEN f.error_code WHEN f.class IS NOT NULL THEN vibevideo_internal.codes_of(f.class) END;
	command constant text = format(
		'SELECT coalesce(array_agg(x.job_id ORDER BY x.completed_at %2$s, x.job_id %2$s) FILTER (WHERE x.ok), ''{}''), count(*), '
		'(array_agg(x.completed_at ORDER BY x.completed_at %3$s, x.job_id %3$s))[1], '
		'(array_agg(x.job_id ORDER BY x.completed_at %3$s, x.job_id %3$s))[1] '
		'FROM (SELECT j.job_id, j.completed_at, (%1$s AND j.state = ANY (%4$L::text[])) IS TRUE AS ok FROM %5$s) x',
		vibevideo_internal.filter_sql(f), direction, CASE WHEN newest_first THEN 'ASC' ELSE 'DESC' END, states,
		vibevideo_internal.ended_sql(f, states, newest_first, codes));
	-- a prompt may be long, and takes as long to be read
	step int = CASE WHEN f.prompt IS NULL THEN 200 ELSE 10 END;
	began timestamptz;
	found bigint[];
	looked int;
	last_at timestamptz;
	last_id bigint;
BEGIN
	job_ids = '{}';
	LOOP
		began = clock_timestamp();
		EXECUTE command INTO found, looked, last_at, last_id USING f, at, beyond, step, codes;
		job_ids = job_ids || found;
		IF cardinality(job_ids) > most THEN
			bound = 'max_jobs';
			job_ids = job_ids[1:most];
			IF most > 0 THEN
				SELECT j.completed_at, j.job_id INTO at, beyond FROM vibevideo.job j WHERE j.job_id = job_ids[most];
			END IF;
			EXIT;
		END IF;
		EXIT WHEN looked < step;
		at = last_at;
		beyond = last_id;
		IF clock_timestamp() >= until THEN
			bound = 'time';
			EXIT;
		END IF;
		step = CASE WHEN clock_timestamp() - began < interval '10 ms' THEN least(step * 2, 20000) ELSE greatest(step / 2, 5) END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.filter_ended(vibevideo_internal.job_filter, text[], boolean, int, timestamptz, timestamptz, bigint) IS
	'part of filter_jobs: jobs that have ended and match, found until a time; owner only';

/*
 * vibevideo_internal.filter_jobs(f, newest_first, most, max_ms, after) - the numbers of
 * jobs that match a filter; for lists, and for plans.
 *
 * f: what vibevideo_internal.read_filter returns.
 * newest_first: active jobs by number, newest first, then the others by their
 * ends, newest first; or all that the other way round.
 * most: so many at most.
 * max_ms: stops looking about then.  Filters by number, request or key, and those
 * that leave few jobs between since and until, are answered by an index.
 * after: next of the call before, to continue there.
 * bound: null if these are all, else max_jobs or time, whatever stopped it.
 * next: where it stopped; null if there is nothing more to look at.
 */
CREATE FUNCTION vibevideo_internal.filter_jobs(f vibevideo_internal.job_filter, newest_first boolean, most int, max_ms int, after jsonb DEFAULT NULL,
											   OUT job_ids bigint[], OUT bound text, OUT next jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	jobs_a_ms constant int = 300;
	until constant timestamptz = clock_timestamp() + max_ms * interval '1 ms';
	first_id constant bigint = CASE WHEN newest_first THEN 9223372036854775807 ELSE 0 END;
	first_at constant timestamptz = CASE WHEN newest_first THEN 'infinity' ELSE '-infinity' END;
	wanted constant text[] = coalesce(f.state, vibevideo_internal.states());
	active constant text[] = ARRAY(SELECT s FROM unnest(vibevideo_internal.states()) s WHERE s = ANY (wanted) AND vibevideo.is_active(s));
	ended constant text[] = ARRAY(SELECT s FROM unnest(vibevideo_internal.states()) s WHERE s = ANY (wanted) AND NOT vibevideo.is_active(s));
	parts text[] = CASE WHEN newest_first THEN ARRAY['active', 'ended'] ELSE ARRAY['ended', 'active'] END;
	part text;
	found record;
BEGIN
	job_ids = '{}';
	IF f.job_id IS NOT NULL OR f.request_id IS NOT NULL OR f.key IS NOT NULL THEN
		EXECUTE format('SELECT array_agg(x.job_id ORDER BY x.job_id %1$s) FROM (SELECT j.job_id FROM vibevideo.job j '
					   'WHERE %2$s AND %3$s AND j.job_id %4$s $2 ORDER BY j.job_id %1$s LIMIT $3) x',
					   CASE WHEN newest_first THEN 'DESC' ELSE 'ASC' END, vibevideo_internal.filter_sql(f),
					   CASE WHEN f.job_id IS NULL AND f.request_id IS NULL
							THEN 'j.job_id = ANY (ARRAY(SELECT k FROM vibevideo_internal.jobs_of_keys(($1).key) k))' ELSE 'true' END,
					   CASE WHEN newest_first THEN '<' ELSE '>' END)
		INTO job_ids USING f, coalesce((after ->> 'job_id')::bigint, first_id), most::bigint + 1;
		job_ids = coalesce(job_ids, '{}');
		IF cardinality(job_ids) > most THEN
			bound = 'max_jobs';
			job_ids = job_ids[1:most];
			next = jsonb_build_object('job_id', coalesce(job_ids[most], first_id));
		END IF;
		RETURN;
	END IF;

	IF after IS NOT NULL AND after ? 'ended' <> (parts[1] = 'ended') THEN
		parts = parts[2:2];
	END IF;
	FOREACH part IN ARRAY parts LOOP
		IF part = 'active' AND cardinality(active) > 0 THEN
			SELECT x.* INTO found FROM vibevideo_internal.filter_active(f, active, newest_first, most - cardinality(job_ids),
				CASE WHEN f.prompt IS NULL THEN greatest(max_ms, 1) * jobs_a_ms ELSE 0 END, until, coalesce((after ->> 'job_id')::bigint, first_id)) x;
			job_ids = job_ids || found.job_ids;
			IF found.bound IS NOT NULL THEN
				bound = found.bound;
				next = jsonb_build_object('job_id', found.beyond);
				RETURN;
			END IF;
		ELSIF part = 'ended' AND cardinality(ended) > 0 THEN
			SELECT x.* INTO found FROM vibevideo_internal.filter_ended(f, ended, newest_first, most - cardinality(job_ids), until,
				coalesce((after ->> 'ended')::timestamptz, first_at), coalesce((after ->> 'job_id')::bigint, first_id)) x;
			job_ids = job_ids || found.job_ids;
			IF found.bound IS NOT NULL THEN
				bound = found.bound;
				next = jsonb_build_object('ended', found.at, 'job_id', found.beyond);
				RETURN;
			END IF;
		END IF;
		after = NULL;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.filter_jobs(vibevideo_internal.job_filter, boolean, int, int, jsonb) IS
	'numbers of jobs that match a filter, and whether that is all; within about so many milliseconds; owner only';

-------------------------------------------------------------------------------
-- Plans
-------------------------------------------------------------------------------

-- What a plan found, until it is carried out.  It lives ten minutes: a crash may
-- take it away.
CREATE UNLOGGED TABLE vibevideo_internal.planned (
	token uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
	action text NOT NULL,
	filter jsonb NOT NULL,
	-- each job, whose it is, and the most it may cost
	job_ids bigint[] NOT NULL,
	users text[] NOT NULL,
	costs numeric[] NOT NULL,
	cost_usd numeric NOT NULL,
	made_by text NOT NULL,
	made_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	used_by text,
	used_at timestamptz
);
COMMENT ON TABLE vibevideo_internal.planned IS 'plans of vibevideo.plan, for vibevideo.act; kept for an hour';

-- An action is judged and done by the same conditions, which therefore are pieces of
-- SQL: about a job j, and a filter in $1.

/*
 * What an action does to a job: cancel, send (now, one that waits), copy (again, a
 * video that was made), render (a new one, paid for), drop (a lost submit that was
 * to be cancelled), forget.
 */
CREATE FUNCTION vibevideo_internal.deed_sql(action text)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE action
	WHEN 'cancel' THEN $sql$'cancel'$sql$
	WHEN 'forget_error' THEN $sql$'forget'$sql$
	WHEN 'resolve_not_sent' THEN $sql$CASE WHEN j.orphan OR j.cancel_requested_at IS NOT NULL THEN 'drop' ELSE 'render' END$sql$
	WHEN 'retry' THEN $sql$CASE WHEN j.state = 'pending' THEN 'send' WHEN j.state = 'failed' AND j.media_url IS NOT NULL AND j.erased_at IS NULL THEN 'copy' ELSE 'render' END$sql$
END;
COMMENT ON FUNCTION vibevideo_internal.deed_sql(text) IS 'what an action of vibevideo.plan does to a job j, as SQL; owner only';

-- What that may cost, at today's price; a lost submit has one already.
CREATE FUNCTION vibevideo_internal.cost_sql(action text)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN format($sql$CASE WHEN %s = 'render' THEN greatest(%s, coalesce(vibevideo_internal.most_cost(j.model, j.input), 0)) ELSE 0 END$sql$,
			  vibevideo_internal.deed_sql(action), CASE action WHEN 'resolve_not_sent' THEN 'j.cost_usd' ELSE '0' END);
COMMENT ON FUNCTION vibevideo_internal.cost_sql(text) IS 'what an action of vibevideo.plan may cost for a job j, as SQL; owner only';

-- Why an action is not for a job; NULL if it is.  Fal may have a lost submit after
-- all: whoever pays for that again names its error code.
CREATE FUNCTION vibevideo_internal.why_not_sql(action text)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE action
	WHEN 'cancel' THEN $sql$CASE
		WHEN NOT vibevideo.is_active(j.state) THEN 'ended'
		WHEN j.state = 'processing' THEN 'copying'
		WHEN j.cancel_requested_at IS NOT NULL THEN 'cancelling' END$sql$
	WHEN 'resolve_not_sent' THEN $sql$CASE
		WHEN j.state <> 'submit_unknown' THEN 'not_lost' END$sql$
	WHEN 'forget_error' THEN $sql$CASE
		WHEN j.state <> 'failed' THEN 'not_failed'
		WHEN j.forgotten_at IS NOT NULL THEN 'forgotten' END$sql$
	WHEN 'retry' THEN $sql$CASE
		WHEN j.orphan THEN 'orphan'
		WHEN j.state = 'pending' AND j.cancel_requested_at IS NULL THEN NULL
		WHEN j.state = 'submit_unknown' THEN 'lost'
		WHEN vibevideo.is_active(j.state) THEN 'active'
		WHEN j.state = 'completed' THEN 'completed'
		WHEN EXISTS (SELECT FROM vibevideo.job n
					 WHERE n.relation = j.relation AND n.vibelog_id = j.vibelog_id AND NOT n.orphan AND n.job_id > j.job_id) THEN 'superseded'
		WHEN j.state = 'failed' AND j.media_url IS NOT NULL AND j.erased_at IS NULL THEN NULL
		WHEN j.error_code = 'submit_lost' AND NOT coalesce('submit_lost' = ANY (($1).error_code), false) THEN 'submit_lost'
		WHEN NOT EXISTS (SELECT FROM vibevideo.binding b JOIN pg_class c ON c.oid = b.relation WHERE b.relation = j.relation) THEN 'no_table' END$sql$
END;
COMMENT ON FUNCTION vibevideo_internal.why_not_sql(text) IS 'why an action of vibevideo.plan is not for a job j, null if it is, as SQL; owner only';

-- Sums of {"reason": number}.
CREATE FUNCTION vibevideo_internal.add_reasons(a jsonb, b jsonb)
RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(jsonb_object_agg(s.reason, s.n), '{}')
	FROM (SELECT e.key AS reason, sum(e.value::numeric) AS n
		  FROM (SELECT * FROM jsonb_each(coalesce(a, '{}')) UNION ALL SELECT * FROM jsonb_each(coalesce(b, '{}'))) e GROUP BY e.key) s;
END;
COMMENT ON FUNCTION vibevideo_internal.add_reasons(jsonb, jsonb) IS 'adds up how many jobs were skipped for which reason; owner only';

-- The words that confirm a cost: in whole cents, never less than it is.
CREATE FUNCTION vibevideo_internal.confirmation(cost_usd numeric)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN 'spend ' || to_char(ceil(cost_usd * 100) / 100, 'FM999999999990.00');
COMMENT ON FUNCTION vibevideo_internal.confirmation(numeric) IS 'what confirms an act that costs so much; owner only';

CREATE FUNCTION vibevideo.plan(action text, filter jsonb, max_jobs int DEFAULT 1000)
RETURNS TABLE (token uuid, jobs int, users int, cost_usd numeric, confirm text, unpriced int, skipped int, why jsonb, examples jsonb,
			   more text, expires_at timestamptz)
LANGUAGE plpgsql VOLATILE ROWS 1 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	who constant text = vibevideo_internal.require('operator');
	most_ms constant int = 2000;
	began constant timestamptz = clock_timestamp();
	actions constant text[] = ARRAY['cancel', 'retry', 'resolve_not_sent', 'forget_error'];
	f vibevideo_internal.job_filter;
	hit record;
	position jsonb;
	judged record;
	ids bigint[] = '{}';
	owners text[] = '{}';
	costs numeric[] = '{}';
BEGIN
	IF action IS NULL OR action <> ALL (actions) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('the action must be one of %s', array_to_string(actions, ', '));
	ELSIF max_jobs IS NULL OR max_jobs NOT BETWEEN 1 AND 100000 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'max_jobs must be a number from 1 to 100000';
	END IF;
	f = vibevideo_internal.read_filter(filter);
	IF f.state IS NULL AND f.job_id IS NULL AND f.request_id IS NULL AND f.key IS NULL THEN
		f.state = CASE action WHEN 'cancel' THEN ARRAY(SELECT s FROM unnest(vibevideo_internal.states()) s WHERE vibevideo.is_active(s) AND s <> 'processing')
							  WHEN 'resolve_not_sent' THEN ARRAY['submit_unknown'] ELSE ARRAY['failed'] END;
	END IF;

	why = '{}';
	LOOP
		SELECT x.* INTO hit FROM vibevideo_internal.filter_jobs(f, f.since IS NULL, max_jobs - cardinality(ids),
			greatest(0, most_ms - (1000 * extract(epoch FROM clock_timestamp() - began))::int), position) x;
		EXECUTE format('SELECT coalesce(array_agg(c.job_id ORDER BY c.nth) FILTER (WHERE c.reason IS NULL), ''{}'') AS ids, '
					   'coalesce(array_agg(c.owner ORDER BY c.nth) FILTER (WHERE c.reason IS NULL), ''{}'') AS owners, '
					   'coalesce(array_agg(c.cost ORDER BY c.nth) FILTER (WHERE c.reason IS NULL), ''{}'') AS costs, '
					   '(SELECT jsonb_object_agg(r.reason, r.n) FROM (SELECT s.reason, count(*) AS n '
					   'FROM unnest(array_agg(c.reason) FILTER (WHERE c.reason IS NOT NULL)) s(reason) GROUP BY s.reason) r) AS why '
					   'FROM (SELECT j.job_id, n.nth, coalesce(j.requested_by, '''') AS owner, %s AS reason, %s AS cost '
					   'FROM unnest($2) WITH ORDINALITY AS n(job_id, nth) JOIN vibevideo.job j ON j.job_id = n.job_id) c',
					   vibevideo_internal.why_not_sql(action), vibevideo_internal.cost_sql(action))
		INTO judged USING f, hit.job_ids;
		ids = ids || judged.ids;
		owners = owners || judged.owners;
		costs = costs || judged.costs;
		why = vibevideo_internal.add_reasons(why, judged.why);
		more = hit.bound;
		position = hit.next;
		EXIT WHEN position IS NULL OR more = 'time' OR cardinality(ids) >= max_jobs;
		IF clock_timestamp() - began > most_ms * interval '1 ms' THEN
			more = 'time';
			EXIT;
		END IF;
	END LOOP;

	jobs = cardinality(ids);
	users = (SELECT count(DISTINCT o) FROM unnest(owners) o);
	EXECUTE format('SELECT count(*) FROM vibevideo.job j WHERE j.job_id = ANY ($1) AND %s = ''render'' '
				   'AND vibevideo_internal.most_cost(j.model, j.input) IS NULL',
				   vibevideo_internal.deed_sql(action))
	INTO unpriced USING ids;
	cost_usd = (SELECT coalesce(sum(c), 0) FROM unnest(costs) c);
	skipped = (SELECT coalesce(sum(e.value::int), 0) FROM jsonb_each_text(why) e);
	EXECUTE format('SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(''job_id'', j.job_id, ''key'', j.vibelog_id, ''state'', j.state, '
				   '''user'', j.requested_by, ''model'', j.model, ''error_code'', j.error_code, ''does'', %s, ''cost_usd'', $2[x.nth], '
				   '''prompt'', CASE WHEN $3 THEN left(coalesce(j.input ->> ''prompt'', j.input::text), 200) END)) ORDER BY x.nth), ''[]'') '
				   'FROM unnest($1) WITH ORDINALITY AS x(job_id, nth) JOIN vibevideo.job j ON j.job_id = x.job_id', vibevideo_internal.deed_sql(action))
	INTO examples USING ids[1:10], costs, (SELECT c.see_input FROM vibevideo_internal.caller() c);
	DELETE FROM vibevideo_internal.planned p WHERE p.token IN (
		SELECT o.token FROM vibevideo_internal.planned o WHERE o.made_at < clock_timestamp() - interval '1 hour' FOR UPDATE SKIP LOCKED);
	IF jobs > 0 THEN
		INSERT INTO vibevideo_internal.planned AS p (action, filter, job_ids, users, costs, cost_usd, made_by)
		VALUES (plan.action, jsonb_strip_nulls(to_jsonb(f)), ids, owners, costs, plan.cost_usd, who)
		RETURNING p.token, p.made_at + interval '10 minutes' INTO token, expires_at;
		IF cost_usd > current_setting('vibevideo.confirm_over_usd')::numeric THEN
			confirm = vibevideo_internal.confirmation(cost_usd);
		END IF;
	END IF;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION vibevideo.plan(text, jsonb, int) IS
'Says what an action would do to the jobs that match a filter, and what it would cost. Changes nothing:
  vibevideo.act does it.
action: cancel; retry (a rendered video is only copied, a job that waits is sent now, anything else is a new
  attempt, which is paid for); resolve_not_sent (sends lost submits again); or forget_error (no longer shows
  failures as something to deal with).
filter: a JSON object, as {"state": "failed", "class": "provider", "since": "1 hour"}. Without state, status,
  job_id, request_id and key it looks at active jobs to cancel, lost submits to resolve, and failed jobs
  otherwise.
max_jobs: so many at most, 1 to 100000, the newest or, with since, the oldest; default: 1000.
Returns one row:
token: for vibevideo.act; NULL if there is nothing to do.
jobs, users: how many jobs would be changed, and of how many users.
cost_usd: what it would cost at most, in USD.
confirm: the words that vibevideo.act wants to hear; NULL if it costs no more than vibevideo.confirm_over_usd.
unpriced: how many new renders have no known price, and count as 0.
skipped, why: how many jobs match but are passed over, and how many of them for which reason.
examples: the first ten jobs that would be changed.
more: why there may be others that match, max_jobs or time (after two seconds); NULL if these are all.
expires_at: until when the token is good, ten minutes from now; NULL without one.
Errors: 22023 a bad action, filter or max_jobs; 42501 not an operator, or the filter has prompt and the caller
  may not see prompts.
For operators.';

-------------------------------------------------------------------------------
-- Acts
-------------------------------------------------------------------------------

-- ERROR 55000 if this database is a copy of the one that the jobs belong to.
CREATE FUNCTION vibevideo_internal.require_to_act()
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_require_to_act';
COMMENT ON FUNCTION vibevideo_internal.require_to_act() IS 'refuses in a database that is a copy: 55000; owner only';

-- What has just been made due may be tried at once, also at a service that is down.
CREATE FUNCTION vibevideo_internal.hurry()
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_hurry';
COMMENT ON FUNCTION vibevideo_internal.hurry() IS 'at commit, lets one request through to a service that is taken to be down; owner only';

/*
 * vibevideo_internal.do_deed(p, deed) - one deed of a plan, to those of its jobs for which it
 * is still right, and may cost no more; as one statement.  What somebody else holds
 * is passed over, as by the worker.  Returns the jobs that it was done to, and what
 * they cost.
 */
CREATE FUNCTION vibevideo_internal.do_deed(p vibevideo_internal.planned, deed text, OUT done bigint[], OUT cost_usd numeric)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	f constant vibevideo_internal.job_filter = jsonb_populate_record(NULL::vibevideo_internal.job_filter, p.filter);
	-- still as the plan had it, and held by nobody else at the moment
	right_jobs constant text = format(
		'SELECT j.*, %4$s AS price FROM unnest(($2).job_ids, ($2).users, ($2).costs) AS x(job_id, owner, cost) '
		'JOIN vibevideo.job j ON j.job_id = x.job_id WHERE coalesce(j.requested_by, '''') = x.owner AND %1$s AND %2$s IS NULL AND %3$s = $3 AND %4$s <= x.cost ORDER BY j.job_id FOR NO KEY UPDATE OF j SKIP LOCKED',
		vibevideo_internal.filter_sql(f), vibevideo_internal.why_not_sql(p.action), vibevideo_internal.deed_sql(p.action), vibevideo_internal.cost_sql(p.action));
	change constant text = CASE deed
		-- a claimed job keeps its lease: its holder may be about to record the request's id
		WHEN 'cancel' THEN 'cancel_requested_at = now(), state = CASE WHEN w.state = ''pending'' THEN ''cancelled'' ELSE w.state END, '
			'completed_at = CASE WHEN w.state = ''pending'' THEN now() END, '
			'error_code = CASE WHEN w.state <> ''pending'' THEN w.error_code END, error = CASE WHEN w.state <> ''pending'' THEN w.error END, '
			'next_at = CASE WHEN w.state = ''pending'' THEN NULL WHEN w.leased_by IS NULL THEN now() - interval ''1 day'' ELSE w.next_at END'
		WHEN 'send' THEN 'next_at = now(), tries = 0, lease = nextval(''vibevideo.lease_seq''), error_code = NULL, error = NULL'
		WHEN 'copy' THEN 'state = ''processing'', next_at = now(), tries = 0, crashes = 0, cancel_requested_at = NULL, generated_at = now(), '
			'completed_at = NULL, error_code = NULL, error = NULL, forgotten_at = NULL'
		WHEN 'drop' THEN 'state = ''cancelled'', next_at = NULL, completed_at = now(), tries = 0, error_code = NULL, error = NULL, '
			'lease = nextval(''vibevideo.lease_seq''), leased_by = NULL'
		WHEN 'forget' THEN 'forgotten_at = now()'
		WHEN 'render' THEN CASE p.action WHEN 'resolve_not_sent' THEN 'state = ''pending'', next_at = now(), tries = 0, error_code = NULL, '
			'error = NULL, lease = nextval(''vibevideo.lease_seq''), leased_by = NULL' END END;
	command text;
BEGIN
	IF change IS NOT NULL THEN
		command = format('WITH done AS (UPDATE vibevideo.job w SET %s WHERE w.job_id = ANY (ARRAY(SELECT r.job_id FROM (%s) r)) '
						 'RETURNING w.job_id, CASE WHEN $3 = ''render'' THEN w.cost_usd END AS cost) ', change, right_jobs);
	ELSE
		-- the price is the one that was compared, whatever is committed meanwhile
		command = format('WITH r AS MATERIALIZED (%s), '
			'made AS (INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, tenant, priority, attempt, row_bears, cost_usd) '
			'SELECT r.relation, r.vibelog_id, ''pending'', r.model, r.input, r.requested_by, r.tenant, r.priority, r.attempt + 1, '
			'CASE WHEN r.row_dirty OR r.row_bears = ''?'' THEN r.row_bears ELSE coalesce(r.request_id, ''-'') END, '
			'CASE WHEN vibevideo_internal.most_cost(r.model, r.input) IS NOT NULL THEN r.price END '
			'FROM r ON CONFLICT DO NOTHING RETURNING relation, vibelog_id, cost_usd), '
			-- grouped, since a join would be planned for few
			'done AS (SELECT max(b.job_id) AS job_id, max(b.cost_usd) AS cost FROM (SELECT r.relation, r.vibelog_id, r.job_id, NULL AS cost_usd, false AS made FROM r '
			'UNION ALL SELECT m.relation, m.vibelog_id, NULL, m.cost_usd, true FROM made m) b GROUP BY b.relation, b.vibelog_id '
			'HAVING bool_or(b.made)) ', right_jobs);
	END IF;
	EXECUTE command || 'SELECT coalesce(array_agg(d.job_id), ''{}''), coalesce(sum(d.cost), 0) FROM done d'
	INTO done, cost_usd USING f, p, deed;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.do_deed(vibevideo_internal.planned, text) IS
	'part of act: does one thing to those jobs of a plan for which it is still right; owner only';

/*
 * vibevideo_internal.do_deeds(p, deed) - the same, and where it meets a limit of a user, a
 * row that has got another job just now, or somebody's lock, in ever smaller parts,
 * down to one job, then in larger ones again: only these are passed over.  Whoever is
 * over a limit is so with all further jobs of the plan that cost as much, and whose
 * unknown price is refused with all others of which it is not known.
 */
CREATE FUNCTION vibevideo_internal.do_deeds(p vibevideo_internal.planned, deed text, OUT done bigint[], OUT cost_usd numeric, OUT over_limit bigint[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	part vibevideo_internal.planned = p;
	nth int = 1;
	size int = cardinality(p.job_ids);
	locked int = 0;
	d record;
	hit record;
	detail text;
BEGIN
	done = '{}';
	over_limit = '{}';
	cost_usd = 0;
	WHILE nth <= cardinality(p.job_ids) LOOP
		part.job_ids = p.job_ids[nth : nth + size - 1];
		part.users = p.users[nth : nth + size - 1];
		part.costs = p.costs[nth : nth + size - 1];
		BEGIN
			SELECT x.done, x.cost_usd INTO d FROM vibevideo_internal.do_deed(part, deed) x;
			done = done || d.done;
			cost_usd = cost_usd + d.cost_usd;
			nth = nth + size;
			size = least(size * 2, cardinality(p.job_ids));
			CONTINUE;
		EXCEPTION WHEN SQLSTATE 'PT429' OR SQLSTATE 'PT402' OR unique_violation OR lock_not_available THEN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
			IF SQLSTATE = '55P03' THEN
				locked = locked + 1;
				IF locked = 3 THEN
					PERFORM set_config('lock_timeout', '10ms', true);
				END IF;
			ELSIF SQLSTATE LIKE 'PT%' AND size = 1 THEN
				SELECT coalesce(array_agg(x.job_id ORDER BY x.n) FILTER (WHERE x.over), '{}') AS over,
					   coalesce(array_agg(x.job_id ORDER BY x.n) FILTER (WHERE NOT x.over), '{}') AS job_ids,
					   coalesce(array_agg(x.owner ORDER BY x.n) FILTER (WHERE NOT x.over), '{}') AS users,
					   coalesce(array_agg(x.cost ORDER BY x.n) FILTER (WHERE NOT x.over), '{}') AS costs
				INTO hit
				FROM (SELECT u.*, (u.owner = p.users[nth] OR detail LIKE 'Limit % of all users together %')
								  AND CASE WHEN SQLSTATE = 'PT429' THEN true WHEN detail LIKE 'Limit %' THEN u.cost >= p.costs[nth]
									  ELSE (SELECT vibevideo_internal.most_cost(j.model, j.input) IS NULL FROM vibevideo.job j WHERE j.job_id = u.job_id) END AS over
					  FROM unnest(p.job_ids, p.users, p.costs) WITH ORDINALITY AS u(job_id, owner, cost, n) WHERE u.n >= nth) x;
				over_limit = over_limit || hit.over;
				p.job_ids = hit.job_ids;
				p.users = hit.users;
				p.costs = hit.costs;
				nth = 1;
				CONTINUE;
			END IF;
		END;
		IF size = 1 THEN
			nth = nth + 1;
		END IF;
		size = greatest(size / 4, 1);
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.do_deeds(vibevideo_internal.planned, text) IS
	'part of act: does one thing to the jobs of a plan, all at once or, where that meets a limit or a lock, in parts; owner only';

CREATE FUNCTION vibevideo.act(token uuid, confirm text DEFAULT NULL)
RETURNS TABLE (jobs int, users int, cost_usd numeric, skipped int, why jsonb)
LANGUAGE plpgsql VOLATILE ROWS 1 SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
	who constant text = vibevideo_internal.require('operator');
	p vibevideo_internal.planned;
	f vibevideo_internal.job_filter;
	deed text;
	part record;
	done bigint[] = '{}';
	over_limit bigint[] = '{}';
BEGIN
	PERFORM vibevideo_internal.require_to_act();
	BEGIN
		SELECT x.* INTO p FROM vibevideo_internal.planned x WHERE x.token = act.token FOR UPDATE NOWAIT;
	EXCEPTION WHEN lock_not_available THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT409',
			MESSAGE = 'another call is carrying out this plan';
	END;
	IF act.token IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'there is nothing to do: a plan without jobs has no token',
			HINT = 'Its columns skipped and why say which jobs match and are passed over.';
	ELSIF p.token IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT404',
			MESSAGE = 'there is no such plan',
			HINT = 'A plan is good for ten minutes, unless there is a crash. SELECT * FROM vibevideo.plan(...) makes one.';
	ELSIF p.used_at IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT410',
			MESSAGE = 'this plan has been carried out',
			DETAIL = format('%s did so %s.', p.used_by, vibevideo_internal.ago(p.used_at)),
			HINT = 'Make another: the jobs may have changed.';
	ELSIF p.made_at < clock_timestamp() - interval '10 minutes' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT410',
			MESSAGE = 'this plan is older than ten minutes',
			DETAIL = format('It was made %s.', vibevideo_internal.ago(p.made_at)),
			HINT = 'Make another: the jobs may have changed.';
	ELSIF p.cost_usd > current_setting('vibevideo.confirm_over_usd')::numeric
		  AND confirm IS DISTINCT FROM vibevideo_internal.confirmation(p.cost_usd)
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT428',
			MESSAGE = format('this may cost %s USD, and is not confirmed', trim_scale(p.cost_usd)),
			HINT = format('If that is what you want, call it with confirm => %L.', vibevideo_internal.confirmation(p.cost_usd));
	END IF;
	UPDATE vibevideo_internal.planned x SET used_at = clock_timestamp(), used_by = who WHERE x.token = p.token;

	cost_usd = 0;
	FOREACH deed IN ARRAY CASE p.action WHEN 'retry' THEN ARRAY['send', 'copy', 'render'] WHEN 'resolve_not_sent' THEN ARRAY['drop', 'render']
							   WHEN 'cancel' THEN ARRAY['cancel'] ELSE ARRAY['forget'] END LOOP
		SELECT d.done, d.cost_usd, d.over_limit INTO part FROM vibevideo_internal.do_deeds(p, deed) d;
		done = done || part.done;
		cost_usd = cost_usd + part.cost_usd;
		over_limit = over_limit || part.over_limit;
	END LOOP;

	f = jsonb_populate_record(f, p.filter);
	jobs = cardinality(done);
	users = (SELECT count(DISTINCT coalesce(j.requested_by, '')) FROM vibevideo.job j WHERE j.job_id = ANY (done));
	skipped = cardinality(p.job_ids) - jobs;
	EXECUTE format('SELECT coalesce(jsonb_object_agg(r.reason, r.n), ''{}'') FROM (SELECT s.reason, count(*) AS n FROM ('
				   'SELECT CASE WHEN j.job_id IS NULL THEN ''gone'' WHEN %1$s IS NOT NULL THEN %1$s '
				   'WHEN (%2$s AND coalesce(j.requested_by, '''') = x.owner) IS NOT TRUE THEN ''changed'' WHEN %3$s > x.cost THEN ''price'' '
				   'WHEN x.job_id = ANY ($4) THEN ''limit'' ELSE ''busy'' END AS reason '
				   'FROM unnest(($2).job_ids, ($2).users, ($2).costs) AS x(job_id, owner, cost) LEFT JOIN vibevideo.job j ON j.job_id = x.job_id '
				   'WHERE x.job_id <> ALL ($3)) s GROUP BY s.reason) r',
				   vibevideo_internal.why_not_sql(p.action), vibevideo_internal.filter_sql(f), vibevideo_internal.cost_sql(p.action))
	INTO why USING f, p, done, over_limit;
	-- not every operator may see prompts
	PERFORM vibevideo_internal.note_act('act: ' || p.action, CASE WHEN p.filter ? 'prompt' THEN p.filter || '{"prompt": "***"}' ELSE p.filter END, jobs, cost_usd,
										jsonb_build_object('skipped', skipped, 'why', why, 'planned_by', p.made_by, 'planned_jobs', cardinality(p.job_ids),
														   'planned_usd', p.cost_usd));
	IF p.action = 'retry' THEN
		PERFORM vibevideo_internal.hurry();
	END IF;
	PERFORM vibevideo.wake();
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION vibevideo.act(uuid, text) IS
'Does what a plan of vibevideo.plan said: to no other jobs, and only to those that still match, for which it is
  still right and that cost no more than planned. Their users'' limits hold.
token: the plan''s, of whichever operator; good for ten minutes, and once; a call that is rolled back has not
  used it.
confirm: the words that the plan returned in its column confirm, as ''spend 34.50'', if it may cost more than
  vibevideo.confirm_over_usd; default: none.
Returns one row:
jobs, users: how many jobs were changed, and of how many users.
cost_usd: what that spends at most, in USD.
skipped, why: how many jobs of the plan were passed over, and how many of them for which reason.
Errors: PT404 no such plan; 22023 no token, which is how a plan of nothing is returned; PT409 another call is carrying it out; PT410 it is too old, or was carried out;
  PT428 it is not confirmed; 55000 this database is a copy; 42501 not an operator.
For operators.';

CREATE FUNCTION vibevideo.redrive(error_code text DEFAULT NULL, since interval DEFAULT '1 day', max_jobs int DEFAULT 100,
								  confirm text DEFAULT NULL)
RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	planned uuid;
	from_then_on timestamptz;
BEGIN
	PERFORM vibevideo_internal.require('operator');
	BEGIN
		from_then_on = now() - since;
	EXCEPTION WHEN data_exception THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'since is out of range',
			HINT = 'Take an interval such as ''1 day'', or NULL for all failed jobs.';
	END;
	SELECT p.token INTO planned
	FROM vibevideo.plan('retry', jsonb_build_object('state', 'failed', 'error_code', error_code, 'since', from_then_on), max_jobs) p;
	RETURN CASE WHEN planned IS NULL THEN 0 ELSE (SELECT a.jobs FROM vibevideo.act(planned, redrive.confirm) a) END;
END
$$;
COMMENT ON FUNCTION vibevideo.redrive(text, interval, int, text) IS
'Tries failed jobs again, many at once: vibevideo.plan to retry, and its vibevideo.act. Rendered videos are
  only copied, anything else is a new attempt, which is paid for.
error_code: only jobs with this one; default: NULL, which is all but lost submits (submit_lost).
since: only jobs that failed within this time; default: 1 day.
max_jobs: so many at most, 1 to 100000, the oldest first; default: 100.
confirm: the words that confirm what it may cost, as ''spend 34.50'', if that is more than
  vibevideo.confirm_over_usd; default: none.
Returns how many jobs were started.
Errors: PT428 it is not confirmed; 22023 a bad max_jobs; 55000 this database is a copy; 42501 not an operator.
For operators.';

-------------------------------------------------------------------------------
-- Comments on what is not made above
-------------------------------------------------------------------------------

COMMENT ON FUNCTION vibevideo.wake() IS
'Wakes this database''s background worker, or has it started, when the transaction commits.
Returns nothing. Raises no errors.
For the extension''s owner.';
COMMENT ON FUNCTION vibevideo.create_api(regtype) IS
'Creates the functions for the app in schema public for a type of key, or gives them another one.
  vibevideo.attach calls it.
id_type: uuid, bigint, integer or text.
Returns nothing.
Errors: 22023 another type; 42723 a function of yours has the name of one; 2BP01 something depends on one that
  has to be replaced; 42501 only a superuser can create them.
For the extension''s owner.';
COMMENT ON FUNCTION public.vibevideo_poll() IS
'Asks fal.ai about the jobs that are due and moves them on; made to be called by pg_cron every few seconds. The
  background worker does the same.
Returns one row of counts, all 0 while there is nothing to do or the database is paused:
checked: jobs that were asked about.
advanced: those whose state has changed.
finished: those that fal.ai has finished.
failed: those that have failed.
It stops after vibevideo.poll_timeout, or after vibevideo.poll_batch_size jobs.
Errors: 25006 this is a standby; 55000 library and extension are of different versions.
For service_role and the owner.';
COMMENT ON FUNCTION public.vibevideo_webhook(json) IS
'Called by fal.ai when a job is done; only makes that job due for a poll.
Its argument, which has no name so that PostgREST passes on the raw body, is what fal.ai sends: at most 1 MB.
  Only the signature in the headers is trusted.
Returns {"ok": true}.
Errors: PT401 not signed by fal.ai for our account in the last five minutes; PT404 no job has this request;
  PT413 too large.
For anon.';
COMMENT ON FUNCTION vibevideo.schedule(interval) IS
'Has pg_cron call vibevideo_poll() in this database, as job vibevideo_poll. Call it again to change the
  interval.
every: 1 to 59 seconds, or 1 to 59 whole minutes; default: 10 seconds. pg_cron before 1.5 knows no seconds,
  and calls it every minute then.
Returns what was scheduled.
Errors: 0A000 pg_cron is not installed in this database; 22023 cron cannot do that interval.
For the extension''s owner, who becomes the job''s.';
COMMENT ON FUNCTION vibevideo.unschedule() IS
'Undoes vibevideo.schedule. Call it before DROP EXTENSION, since pg_cron keeps its jobs.
Returns whether there was anything to undo.
Errors: 42501 the job is another role''s.
For the extension''s owner.';
COMMENT ON FUNCTION vibevideo.grant_api_roles() IS
'Sets the rights of PUBLIC, anon, authenticated and service_role on everything of vibevideo. Call it again
  after creating one of these roles.
Returns nothing.
Errors: 42501 not the extension''s owner.
For the extension''s owner.';
COMMENT ON COLUMN vibevideo.video.vibelog_id IS 'the row''s key, as text';
COMMENT ON COLUMN vibevideo.video.status IS 'queued, generating, processing, completed, failed or cancelled; NULL if no video was ever requested';
COMMENT ON COLUMN vibevideo.video.request_id IS 'fal.ai''s id of the request; NULL until fal.ai has accepted it';
COMMENT ON COLUMN vibevideo.video.video_url IS 'the video''s public URL; NULL until it is stored, and once it is erased';
COMMENT ON COLUMN vibevideo.video.message IS 'one sentence about its state, for the app''s user; never NULL';
COMMENT ON COLUMN vibevideo.video.queue_position IS 'how many requests are ahead at fal.ai; NULL if that is not known, or it is not there';
COMMENT ON COLUMN vibevideo.video.progress IS 'how much of the video is copied, from 0 to 1; NULL if it is not being copied, or its size is not known';
COMMENT ON COLUMN vibevideo.video.attempt IS 'which attempt of the row this is, from 1; NULL if there is none';
COMMENT ON COLUMN vibevideo.video.error_code IS 'what is wrong, for programs, perhaps only for a while; NULL if nothing is';
COMMENT ON COLUMN vibevideo.video.error IS 'what is wrong, for the app''s user; NULL if nothing is';
COMMENT ON COLUMN vibevideo.video.submitted_at IS 'when fal.ai accepted it; NULL until then';
COMMENT ON COLUMN vibevideo.video.updated_at IS 'when the job last changed; NULL if there is none';
COMMENT ON COLUMN vibevideo.video.completed_at IS 'when the job ended, successfully or not; NULL until then';
COMMENT ON COLUMN vibevideo.video.estimate_seconds IS 'how many seconds it may still take until the video is there; NULL if nobody can tell';
COMMENT ON COLUMN vibevideo.video.waits_for IS 'what holds it now, for programs: a code of vibevideo.why; NULL when it has ended';
COMMENT ON COLUMN vibevideo.binding.only_one IS 'always true, so that there is one row at most';
COMMENT ON COLUMN vibevideo.binding.relation IS 'the app''s table';
COMMENT ON COLUMN vibevideo.binding.id_column IS 'the column that identifies a row';
COMMENT ON COLUMN vibevideo.binding.id_type IS 'that column''s type, which is the argument''s of the functions for the app';
COMMENT ON COLUMN vibevideo.binding.prompt_column IS 'the column with the prompt, not read if there is an input_function';
COMMENT ON COLUMN vibevideo.binding.image_column IS 'the column with an image''s URL; NULL: none';
COMMENT ON COLUMN vibevideo.binding.model IS 'fal.ai''s endpoint id, of rows that name none; NULL: the setting vibevideo.model';
COMMENT ON COLUMN vibevideo.binding.input_function IS 'schema-qualified name of a function of the row that returns the model''s input as jsonb; NULL: the input is made from the two columns';
COMMENT ON COLUMN vibevideo.binding.user_column IS 'the column that says whose video it is, for the limits; NULL: the sub of the caller''s JWT';
COMMENT ON COLUMN vibevideo.binding.realtime IS 'changes are also sent through Supabase Realtime''s realtime.send, where it exists';
COMMENT ON COLUMN vibevideo.binding.build_index IS 'the table was too big to index under attach''s lock: the worker builds it CONCURRENTLY';
COMMENT ON COLUMN vibevideo.binding.system_identifier IS 'the cluster that works on the jobs; elsewhere this is a copy, which is paused until vibevideo.resume()';
COMMENT ON COLUMN vibevideo.binding.database_oid IS 'the database of that cluster';
COMMENT ON COLUMN vibevideo.binding.timeline IS 'the cluster''s timeline';
COMMENT ON COLUMN vibevideo.binding.paused IS 'nothing is sent until vibevideo.resume(): by vibevideo.pause(), or since this is a copy of the database the jobs belong to';
COMMENT ON COLUMN vibevideo.binding.attached_at IS 'when a table was attached; attaching it again does not change that';
COMMENT ON COLUMN vibevideo.binding.pause_scope IS 'what vibevideo.pause() has stopped: sending, or all work; NULL if it has not, or in a copy';
COMMENT ON COLUMN vibevideo.binding.paused_by IS 'who called vibevideo.pause(); NULL if nobody has, or in a copy';
COMMENT ON COLUMN vibevideo.binding.paused_at IS 'since when it is paused; NULL if it is not';
COMMENT ON COLUMN vibevideo.binding.pause_reason IS 'the reason that vibevideo.pause() was given; NULL: none';
COMMENT ON COLUMN vibevideo.binding.tenant_column IS 'the column that says which tenant''s video it is, for the limits; NULL: none';
COMMENT ON COLUMN vibevideo.binding.model_column IS 'the column in which a row names its model; NULL: none, all have the attached one';
COMMENT ON COLUMN vibevideo.binding.meta_column IS 'the jsonb column that gets what is known of a video, with its URL; NULL: none';
COMMENT ON COLUMN vibevideo.binding.on_delete IS 'erase: the videos of rows that are deleted are erased; NULL: they stay';
COMMENT ON COLUMN vibevideo.binding.keep_versions IS 'how many videos of a row stay when a newer one is stored, that included; NULL: all';
COMMENT ON COLUMN vibevideo.model.endpoint IS 'fal.ai''s endpoint id, as fal-ai/minimax/video-01';
COMMENT ON COLUMN vibevideo.model.max_prompt IS 'longest prompt, in characters; NULL: no limit is known';
COMMENT ON COLUMN vibevideo.model.needs_image IS 'a row without an image is rejected';
COMMENT ON COLUMN vibevideo.model.usual_seconds IS 'how many seconds a video usually takes, until vibevideo.typical knows; also for the hint over a limit; NULL: not known';
COMMENT ON COLUMN vibevideo.model.builtin IS 'shipped with the extension and not changed since; pg_dump leaves it out';
COMMENT ON COLUMN vibevideo.model.changed_at IS 'when the row was made or last changed';
COMMENT ON COLUMN vibevideo.model.input_schema IS 'what its input must be, as JSON Schema; references lead to places within it; NULL: not known';
COMMENT ON COLUMN vibevideo.model.check_input IS 'what a submit does whose input does not fit input_schema: off, nothing; warn, send it with a warning; refuse, raise an error and send nothing';
COMMENT ON COLUMN vibevideo.model.allowed IS 'rows may name it in the table''s model_column; they may always name the attached one';
COMMENT ON COLUMN vibevideo.model.label IS 'what the app calls it, in vibevideo_models(); NULL: its endpoint';
COMMENT ON COLUMN vibevideo.job.job_id IS 'the job''s number';
COMMENT ON COLUMN vibevideo.job.relation IS 'the table of its row; NULL if the row is gone or has got another key, or the job never had one';
COMMENT ON COLUMN vibevideo.job.vibelog_id IS 'the row''s key, as text';
COMMENT ON COLUMN vibevideo.job.attempt IS 'which attempt of the row this is, from 1';
COMMENT ON COLUMN vibevideo.job.renders IS 'how many attempts in a row, this one included, were made for one request: those after the first were started automatically';
COMMENT ON COLUMN vibevideo.job.orphan IS 'its transaction was rolled back after it was sent: it is here to be cancelled at fal.ai';
COMMENT ON COLUMN vibevideo.job.state IS 'its inner state: pending, submitting, submit_unknown, queued, generating, processing, completed, failed or cancelled';
COMMENT ON COLUMN vibevideo.job.priority IS 'higher ones are sent first; 0 unless somebody has changed it';
COMMENT ON COLUMN vibevideo.job.requested_by IS 'whose job it is: the JWT''s sub, or what the table''s user_column says; NULL if nobody is known';
COMMENT ON COLUMN vibevideo.job.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.job.input IS 'what the model is sent';
COMMENT ON COLUMN vibevideo.job.request_id IS 'fal.ai''s id of the request; NULL until fal.ai has accepted it';
COMMENT ON COLUMN vibevideo.job.queue_position IS 'how many requests are ahead at fal.ai; NULL if that is not known, or it is not there';
COMMENT ON COLUMN vibevideo.job.next_at IS 'when it is due next or, while a process has claimed it, when that lease ends; NULL when it has ended';
COMMENT ON COLUMN vibevideo.job.lease IS 'fencing token: the number of its newest claim; only the holder of that may record an outcome';
COMMENT ON COLUMN vibevideo.job.leased_by IS 'the process, by its pid, that has claimed it; NULL: none';
COMMENT ON COLUMN vibevideo.job.tries IS 'how many tries of its phase (sending, following, copying) have failed; of a lost submit, how often it was looked up';
COMMENT ON COLUMN vibevideo.job.crashes IS 'how often the worker has crashed while it had this job, since an outcome was recorded; from 2 on it is tried alone';
COMMENT ON COLUMN vibevideo.job.cancel_requested_at IS 'when somebody asked to cancel it; NULL: nobody has';
COMMENT ON COLUMN vibevideo.job.media_url IS 'where fal.ai has the file; NULL until it is rendered';
COMMENT ON COLUMN vibevideo.job.media_type IS 'the file''s content type as fal.ai says it; NULL if it does not, or until it is rendered';
COMMENT ON COLUMN vibevideo.job.object_key IS 'where the file is in the bucket; NULL until it is stored';
COMMENT ON COLUMN vibevideo.job.upload_url IS 'Storage''s URL of an upload in parts that is under way; NULL: none is';
COMMENT ON COLUMN vibevideo.job.media_etag IS 'the file''s ETag when that upload began: its parts are of one file; NULL: not known';
COMMENT ON COLUMN vibevideo.job.upload_state IS 'hash and structure of the bytes that this upload has so far, for the try that resumes it; NULL: none';
COMMENT ON COLUMN vibevideo.job.bytes_done IS 'how many bytes are copied; NULL until the copy has begun';
COMMENT ON COLUMN vibevideo.job.bytes_total IS 'how many bytes the file has; NULL if that is not known';
COMMENT ON COLUMN vibevideo.job.bytes_per_second IS 'how many bytes are copied in a second, just now; NULL when no copy runs';
COMMENT ON COLUMN vibevideo.job.sha256 IS 'SHA-256 of the stored file, 32 bytes; NULL until it is stored';
COMMENT ON COLUMN vibevideo.job.duration_ms IS 'how long the video plays, in milliseconds, as the file says; NULL if it does not say, or until it was read';
COMMENT ON COLUMN vibevideo.job.video_url IS 'the video''s public URL; NULL until it is stored';
COMMENT ON COLUMN vibevideo.job.error_code IS 'what is wrong, for programs, perhaps only for a while; NULL if nothing is';
COMMENT ON COLUMN vibevideo.job.error IS 'what is wrong, in the words of fal.ai, Storage or vibevideo, for operators; NULL if nothing is';
COMMENT ON COLUMN vibevideo.job.cost_usd IS 'what it has cost, in USD; the most that it can cost until that is settled, 0 if it has ended and is not billed; NULL if that is not known';
COMMENT ON COLUMN vibevideo.job.billed IS 'fal.ai has rendered the video, or billed something for it; never NULL';
COMMENT ON COLUMN vibevideo.job.created_at IS 'when it was requested';
COMMENT ON COLUMN vibevideo.job.sent_at IS 'when it was last sent to fal.ai; NULL if it was not';
COMMENT ON COLUMN vibevideo.job.submitted_at IS 'when fal.ai accepted it; NULL until then';
COMMENT ON COLUMN vibevideo.job.generated_at IS 'when it was seen that fal.ai had rendered it, or since when that video is copied anew; NULL until then';
COMMENT ON COLUMN vibevideo.job.completed_at IS 'when it ended, successfully or not; NULL until then';
COMMENT ON COLUMN vibevideo.job.updated_at IS 'when it last changed, but for the progress of a copy';
COMMENT ON COLUMN vibevideo.job.row_dirty IS 'the app''s row does not show the job yet';
COMMENT ON COLUMN vibevideo.job.row_tries IS 'how often writing the row has failed since the job last changed';
COMMENT ON COLUMN vibevideo.job.row_next_at IS 'when the row is to be written, if row_dirty';
COMMENT ON COLUMN vibevideo.job.row_error IS 'why the row could not be written; NULL: nothing is wrong';
COMMENT ON COLUMN vibevideo.job.row_bears IS 'what the row was last seen to bear, which tells it from another with its key: a request id, - a status without one, empty neither, ? not known; NULL: what the job says';
COMMENT ON COLUMN vibevideo.job.forgotten_at IS 'since when its failure is no longer shown as something to deal with; NULL: it is shown';
COMMENT ON COLUMN vibevideo.job.objection IS 'what the model objects to in the input, in its words, if the app''s user may read them; NULL: nothing';
COMMENT ON COLUMN vibevideo.job.earlier_position IS 'its place in fal.ai''s queue at earlier_at, which shows how fast it moves; NULL if it is not there';
COMMENT ON COLUMN vibevideo.job.earlier_at IS 'a moment 5 to 10 minutes ago while it is in fal.ai''s queue, or when it came there; NULL if it is not there';
COMMENT ON COLUMN vibevideo.job.unsettled IS 'what it costs is not among the sums yet: it is active, or had ended when it was inserted; NULL once it is';
COMMENT ON COLUMN vibevideo.job.cost_estimated_usd IS 'what it could cost at most by the price when it was made, in USD; NULL if that was not known';
COMMENT ON COLUMN vibevideo.job.cost_source IS 'where cost_usd comes from: units, what fal.ai said that it bills; duration, how long the video plays; estimate, what was asked for; bill, fal.ai''s bill; NULL until it is settled, or if nothing was billed';
COMMENT ON COLUMN vibevideo.job.billable_units IS 'how many units fal.ai bills for it, as it said with the result; NULL if it did not';
COMMENT ON COLUMN vibevideo.job.tenant IS 'whose job it is besides its user: what the table''s tenant_column says; NULL if there is none';
COMMENT ON COLUMN vibevideo.job.held_usd IS 'what budgets still hold for it though it has ended, in USD: fal.ai may yet bill what it had begun; NULL: nothing';
COMMENT ON COLUMN vibevideo.job.width IS 'how wide the picture is as it is shown, in pixels: turned, and with square ones; NULL if the file does not say, or until it was read';
COMMENT ON COLUMN vibevideo.job.height IS 'how high it is, likewise; NULL if the file does not say, or until it was read';
COMMENT ON COLUMN vibevideo.job.fps IS 'how many pictures it shows in a second, on the average; NULL if the file does not say, or until it was read';
COMMENT ON COLUMN vibevideo.job.video_codec IS 'how the picture is coded, as browsers name it: avc1.64001f; NULL if the file does not say, or until it was read';
COMMENT ON COLUMN vibevideo.job.has_audio IS 'whether it has sound; NULL if that is not known, or until it was read';
COMMENT ON COLUMN vibevideo.job.audio_codec IS 'how the sound is coded, likewise: mp4a.40.2; NULL if there is none, or it is not known';
COMMENT ON COLUMN vibevideo.job.faststart IS 'whether it can be played while it arrives, since what describes it is before its data; NULL if that is not known, or until it was read';
COMMENT ON COLUMN vibevideo.job.has_c2pa IS 'whether it has Content Credentials (C2PA), which say how it was made; NULL if its format has no place for them, or until it was read';
COMMENT ON COLUMN vibevideo.job.bit_rate IS 'its bits for each second that it plays, on the average; NULL if its duration is not known, or until it was read';
COMMENT ON COLUMN vibevideo.job.delivered_less IS 'in which the video is less than its input asked for, with what was asked and what came: {"duration_ms": {"asked": 10000, "got": 6040}}; NULL if in nothing that is known';
COMMENT ON COLUMN vibevideo.job.erased_at IS 'since when its video is erased: vibevideo.receipt says what was, vibevideo.erasure what is still to be; NULL: it is not';
COMMENT ON COLUMN vibevideo.event.event_id IS 'grows with each row';
COMMENT ON COLUMN vibevideo.event.job_id IS 'the job';
COMMENT ON COLUMN vibevideo.event.at IS 'when its state changed';
COMMENT ON COLUMN vibevideo.event.state IS 'the state that it came into';
COMMENT ON COLUMN vibevideo.event.error_code IS 'the job''s error_code then; NULL: none';
COMMENT ON COLUMN vibevideo.event.detail IS 'the job''s error then, or else fal.ai''s request id; NULL: neither';
COMMENT ON COLUMN vibevideo_internal.check_line.check_name IS 'what was checked';
COMMENT ON COLUMN vibevideo_internal.check_line.status IS 'ok, warn or fail';
COMMENT ON COLUMN vibevideo_internal.check_line.detail IS 'what was found';
COMMENT ON COLUMN vibevideo_internal.check_line.hint IS 'what to do; NULL if it is ok';
COMMENT ON COLUMN vibevideo.past_costs.user_id IS 'whose jobs; empty where nobody is known';
COMMENT ON COLUMN vibevideo.past_costs.day IS 'the day of UTC on which they were requested';
COMMENT ON COLUMN vibevideo.past_costs.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.past_costs.submits IS 'how many jobs, without orphans';
COMMENT ON COLUMN vibevideo.past_costs.videos IS 'how many videos fal.ai has rendered, orphans'' included';
COMMENT ON COLUMN vibevideo.past_costs.settled_usd IS 'price of these videos, in USD';

-------------------------------------------------------------------------------
-- Looking: what people see
-------------------------------------------------------------------------------

/*
 * Each public function here is for viewers and begins with
 * vibevideo_internal.require.  None reads the history: it reads sums, and jobs by
 * indexes, of which it looks at a bounded part; what may be more than that says so.
 */

-- So many rows are read for one figure at most.
CREATE FUNCTION vibevideo_internal.most()
RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 100000;
COMMENT ON FUNCTION vibevideo_internal.most() IS 'how many jobs are counted at most for a figure that people look at; owner only';

-- Refuses a number of rows that is not one.
CREATE FUNCTION vibevideo_internal.check_most(name text, most int, highest int)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF most IS NULL OR most NOT BETWEEN 1 AND highest THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('%s must be a number from 1 to %s', name, highest);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_most(text, int, int) IS 'refuses a number of rows that is not one: 22023; owner only';

-- Refuses a time that is not one.
CREATE FUNCTION vibevideo_internal.check_since(since timestamptz)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF since IS NULL OR NOT isfinite(since) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'since must be a time',
			HINT = 'For example now() - interval ''1 day''.';
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_since(timestamptz) IS 'refuses a time that is not one: 22023; owner only';

-------------------------------------------------------------------------------
-- Jobs
-------------------------------------------------------------------------------

CREATE TYPE vibevideo.job_row AS (
	job_id bigint,
	vibelog_id text,
	status text,
	state text,
	message text,
	why text,
	waits_for text,
	waits_until timestamptz,
	estimate interval,
	model text,
	user_id text,
	attempt int,
	tries int,
	error_code text,
	error_class text,
	error text,
	row_error text,
	orphan boolean,
	paid_not_stored boolean,
	cost_usd numeric,
	queue_position int,
	progress real,
	created_at timestamptz,
	submitted_at timestamptz,
	generated_at timestamptz,
	completed_at timestamptz,
	updated_at timestamptz,
	forgotten_at timestamptz,
	waited interval,
	rendered interval,
	copied interval,
	request_id text,
	video_url text,
	prompt text
);
COMMENT ON TYPE vibevideo.job_row IS 'a job in a list';
COMMENT ON COLUMN vibevideo.job_row.job_id IS 'the job''s number';
COMMENT ON COLUMN vibevideo.job_row.vibelog_id IS 'the key of its row';
COMMENT ON COLUMN vibevideo.job_row.status IS 'as the app sees it';
COMMENT ON COLUMN vibevideo.job_row.state IS 'its inner state';
COMMENT ON COLUMN vibevideo.job_row.message IS 'what the app''s user should read';
COMMENT ON COLUMN vibevideo.job_row.why IS 'what holds it now, for operators; NULL when it has ended and its row shows that';
COMMENT ON COLUMN vibevideo.job_row.waits_for IS 'the same for programs: a code of vibevideo.why';
COMMENT ON COLUMN vibevideo.job_row.waits_until IS 'until when, if that is known';
COMMENT ON COLUMN vibevideo.job_row.estimate IS 'how long it may still take until the video is there';
COMMENT ON COLUMN vibevideo.job_row.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.job_row.user_id IS 'who requested it, NULL where nobody is known';
COMMENT ON COLUMN vibevideo.job_row.attempt IS 'which attempt of its row it is';
COMMENT ON COLUMN vibevideo.job_row.tries IS 'failed tries of its phase in a row';
COMMENT ON COLUMN vibevideo.job_row.error_code IS 'what is wrong, for programs';
COMMENT ON COLUMN vibevideo.job_row.error_class IS 'what kind of trouble that is';
COMMENT ON COLUMN vibevideo.job_row.error IS 'the words of fal.ai, Storage or vibevideo that belong to error_code, cut at 500 characters';
COMMENT ON COLUMN vibevideo.job_row.row_error IS 'why its row could not be written, cut at 500 characters';
COMMENT ON COLUMN vibevideo.job_row.orphan IS 'its transaction was rolled back after it was sent';
COMMENT ON COLUMN vibevideo.job_row.paid_not_stored IS 'its video was made, and given up before it was stored';
COMMENT ON COLUMN vibevideo.job_row.cost_usd IS 'what it has cost, in USD, or until that is known can cost at most; NULL if that is not known';
COMMENT ON COLUMN vibevideo.job_row.queue_position IS 'how many are ahead of it in fal.ai''s queue';
COMMENT ON COLUMN vibevideo.job_row.progress IS 'how much of the video is copied, from 0 to 1';
COMMENT ON COLUMN vibevideo.job_row.created_at IS 'when it was requested';
COMMENT ON COLUMN vibevideo.job_row.submitted_at IS 'when fal.ai accepted it';
COMMENT ON COLUMN vibevideo.job_row.generated_at IS 'when its video was made';
COMMENT ON COLUMN vibevideo.job_row.completed_at IS 'when it ended';
COMMENT ON COLUMN vibevideo.job_row.updated_at IS 'when what its row shows changed last';
COMMENT ON COLUMN vibevideo.job_row.forgotten_at IS 'when an operator said that its failure is dealt with; NULL if nobody did';
COMMENT ON COLUMN vibevideo.job_row.waited IS 'how long it took, or has taken so far, until fal.ai accepted it';
COMMENT ON COLUMN vibevideo.job_row.rendered IS 'how long from then on until the video was made, fal.ai''s queue included';
COMMENT ON COLUMN vibevideo.job_row.copied IS 'how long from then on until it was stored, or given up';
COMMENT ON COLUMN vibevideo.job_row.request_id IS 'fal.ai''s id of the request';
COMMENT ON COLUMN vibevideo.job_row.video_url IS 'the video in Storage';
COMMENT ON COLUMN vibevideo.job_row.prompt IS 'the beginning of the prompt, for callers that may see inputs';

-- A job as it is listed.
CREATE FUNCTION vibevideo_internal.list_job(j vibevideo.job, see_input boolean)
RETURNS vibevideo.job_row LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT ROW((j).job_id, (j).vibelog_id, vibevideo_internal.shown_status((j).state), (j).state, vibevideo_internal.job_message(j),
		(x.r).sentence, (x.r).code, (x.r).until, (x.r).estimate, (j).model, (j).requested_by, (j).attempt, (j).tries,
		(j).error_code, vibevideo.error_class((j).error_code), left((j).error, 500), left((j).row_error, 500), (j).orphan,
		(j).state = 'failed' AND (j).media_url IS NOT NULL, (j).cost_usd,
		CASE WHEN (j).state IN ('queued', 'generating') THEN (j).queue_position END, vibevideo_internal.job_progress(j),
		(j).created_at, (j).submitted_at, (j).generated_at, (j).completed_at, (j).updated_at, (j).forgotten_at,
		coalesce((j).submitted_at, (j).completed_at, clock_timestamp()) - (j).created_at,
		coalesce((j).generated_at, (j).completed_at, clock_timestamp()) - (j).submitted_at,
		coalesce((j).completed_at, clock_timestamp()) - (j).generated_at,
		(j).request_id, (j).video_url,
		CASE WHEN see_input THEN left(coalesce((j).input ->> 'prompt', (j).input::text), 200) END)::vibevideo.job_row
	-- once, and only for those that wait
	FROM (SELECT CASE WHEN vibevideo.is_active((j).state) OR (j).row_dirty THEN vibevideo_internal.reason_of((j).job_id) END AS r OFFSET 0) x;
END;
COMMENT ON FUNCTION vibevideo_internal.list_job(vibevideo.job, boolean) IS 'a job as vibevideo.job_row; owner only';

CREATE TYPE vibevideo.job_page AS (
	jobs vibevideo.job_row[],
	next jsonb,
	bound text,
	as_of timestamptz,
	filter jsonb
);
COMMENT ON TYPE vibevideo.job_page IS 'a part of a list of jobs';
COMMENT ON COLUMN vibevideo.job_page.jobs IS 'unfinished jobs, newest first, then those that have ended, the last one first';
COMMENT ON COLUMN vibevideo.job_page.next IS 'what to pass as after, to continue; NULL if there are no more';
COMMENT ON COLUMN vibevideo.job_page.bound IS 'why the list ends here: max_jobs, or time, if looking for more would have taken too long; NULL if these are all';
COMMENT ON COLUMN vibevideo.job_page.as_of IS 'when it was made';
COMMENT ON COLUMN vibevideo.job_page.filter IS 'what these match: what to pass as filter, to continue';

/*
 * vibevideo.list_jobs(filter, after, max_jobs) - jobs that match a filter, page by
 * page: unfinished ones, newest first, then those that have ended, the last one
 * first.
 *
 * filter: as of vibevideo.plan: what is listed is what a plan would take.
 * after: next of the page before.
 * max_jobs: 1 to 1000.
 * It looks for about 60 ms, and says so if there may be more: next continues where
 * it stopped, be it that nothing was found yet.
 * Errors: 22023 a bad filter or number; 42501 not a viewer, or a prompt is looked
 * for by one who may not see inputs.
 */
-- Where a list goes on, as its page before said.  JavaScript rounds large numbers up.
CREATE FUNCTION vibevideo_internal.read_after(after jsonb)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = ISO AS $$
DECLARE
	most constant numeric = 9223372036854775807;
BEGIN
	IF after IS NULL OR jsonb_typeof(after) = 'null' THEN
		RETURN NULL;
	ELSIF jsonb_typeof(after) = 'object' AND after - 'ended' - 'job_id' = '{}' AND after ->> 'job_id' ~ '^[0-9]{1,19}$'
		  AND (NOT after ? 'ended' OR jsonb_typeof(after -> 'ended') = 'string')
	THEN
		RETURN after || jsonb_build_object('job_id', least((after ->> 'job_id')::numeric, most))
			|| CASE WHEN after ? 'ended' THEN jsonb_build_object('ended', (after ->> 'ended')::timestamptz) ELSE '{}' END;
	END IF;
	RAISE invalid_parameter_value;
EXCEPTION WHEN data_exception THEN
	RAISE EXCEPTION USING
		ERRCODE = 'invalid_parameter_value',
		MESSAGE = 'after does not say where a list goes on',
		HINT = 'It must be next of the page before, or null for the first page.';
END
$$;
COMMENT ON FUNCTION vibevideo_internal.read_after(jsonb) IS 'where a list of jobs goes on, checked: 22023; owner only';

CREATE FUNCTION vibevideo.list_jobs(filter jsonb DEFAULT '{}', after jsonb DEFAULT NULL, max_jobs int DEFAULT 50)
RETURNS vibevideo.job_page LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	page vibevideo.job_page;
	ids bigint[];
	see_input boolean;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	PERFORM vibevideo_internal.check_most('max_jobs', max_jobs, 1000);
	SELECT c.see_input INTO see_input FROM vibevideo_internal.caller() c;
	SELECT x.job_ids, x.next, x.bound INTO ids, page.next, page.bound
	FROM vibevideo_internal.filter_jobs(vibevideo_internal.read_filter(filter), true, max_jobs, 60, vibevideo_internal.read_after(after)) x;
	page.jobs = (SELECT coalesce(array_agg(vibevideo_internal.list_job(j, see_input) ORDER BY n.nth), '{}')
				 FROM unnest(ids) WITH ORDINALITY AS n(job_id, nth) JOIN vibevideo.job j ON j.job_id = n.job_id);
	page.as_of = clock_timestamp();
	page.filter = filter;
	RETURN page;
END
$$;
COMMENT ON FUNCTION vibevideo.list_jobs(jsonb, jsonb, int) IS
'Lists the jobs that match a filter, page by page: active ones, newest first, then those that have ended, the last
  one first. It looks for about 60 ms; where it stopped, the next page goes on.
filter: as of vibevideo.plan, {} for all: what is listed is what a plan would take; default: all.
after: next of the page before; default: the first page.
max_jobs: how many at most, 1 to 1000; default: 50.
Returns a vibevideo.job_page.
Errors: 22023 a bad filter, after or max_jobs; 42501 not a viewer, or the filter has prompt and the caller may not
  see prompts.
For viewers and operators.';

CREATE TYPE vibevideo.job_step AS (
	step text,
	at timestamptz,
	took interval
);
COMMENT ON TYPE vibevideo.job_step IS 'a step of a job, and how long what came before it took';
COMMENT ON COLUMN vibevideo.job_step.step IS 'requested, sent, accepted, rendered, its final state, or now';
COMMENT ON COLUMN vibevideo.job_step.at IS 'when';
COMMENT ON COLUMN vibevideo.job_step.took IS 'how long since the step before';

CREATE TYPE vibevideo.job_event AS (
	at timestamptz,
	state text,
	error_code text,
	detail text
);
COMMENT ON TYPE vibevideo.job_event IS 'a change of a job''s state';
COMMENT ON COLUMN vibevideo.job_event.at IS 'when';
COMMENT ON COLUMN vibevideo.job_event.state IS 'the inner state it came to';
COMMENT ON COLUMN vibevideo.job_event.error_code IS 'what was wrong then';
COMMENT ON COLUMN vibevideo.job_event.detail IS 'its words, or the request''s id';

CREATE FUNCTION vibevideo_internal.request_url(model text, request_id text)
RETURNS text LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'vibevideo_request_url';
COMMENT ON FUNCTION vibevideo_internal.request_url(text, text) IS 'fal.ai''s address of a request''s result; NULL if there is none; owner only';

CREATE TYPE vibevideo.job_details AS (
	job vibevideo.job_row,
	relation text,
	input jsonb,
	sent_at timestamptz,
	next_at timestamptz,
	cancel_requested_at timestamptz,
	error text,
	row_error text,
	row_dirty boolean,
	timeline vibevideo.job_step[],
	events vibevideo.job_event[],
	attempts vibevideo.job_row[],
	fal_url text,
	media_url text,
	media_type text,
	bucket text,
	object_key text,
	bytes_done bigint,
	bytes_total bigint,
	bytes_per_second bigint,
	sha256 text,
	duration_ms bigint,
	more boolean,
	cost_estimated_usd numeric,
	cost_source text,
	billable_units numeric,
	held_usd numeric,
	width int,
	height int,
	fps numeric,
	video_codec text,
	has_audio boolean,
	audio_codec text,
	faststart boolean,
	has_c2pa boolean,
	bit_rate bigint,
	delivered_less jsonb,
	erased_at timestamptz
);
COMMENT ON TYPE vibevideo.job_details IS 'all there is to know of a job';
COMMENT ON COLUMN vibevideo.job_details.job IS 'as in a list';
COMMENT ON COLUMN vibevideo.job_details.relation IS 'the table of its row, a number if that is gone; NULL if the job has lost its row';
COMMENT ON COLUMN vibevideo.job_details.input IS 'what the model is sent, for callers that may see inputs';
COMMENT ON COLUMN vibevideo.job_details.sent_at IS 'when its submit was begun';
COMMENT ON COLUMN vibevideo.job_details.next_at IS 'when it is acted on next or, while a process has it, when that claim expires; NULL when it has ended';
COMMENT ON COLUMN vibevideo.job_details.cancel_requested_at IS 'when its cancel was requested';
COMMENT ON COLUMN vibevideo.job_details.error IS 'the words that belong to error_code, whole';
COMMENT ON COLUMN vibevideo.job_details.row_error IS 'why its row could not be written, whole';
COMMENT ON COLUMN vibevideo.job_details.row_dirty IS 'its row is still to be written';
COMMENT ON COLUMN vibevideo.job_details.timeline IS 'its steps, with how long each took';
COMMENT ON COLUMN vibevideo.job_details.events IS 'its changes of state, the last 200';
COMMENT ON COLUMN vibevideo.job_details.attempts IS 'all jobs of the same row, newest first, at most 20';
COMMENT ON COLUMN vibevideo.job_details.fal_url IS 'fal.ai''s address of the request, which wants the API key';
COMMENT ON COLUMN vibevideo.job_details.media_url IS 'the video at fal.ai, for as long as fal.ai keeps it';
COMMENT ON COLUMN vibevideo.job_details.media_type IS 'its type, as fal.ai says';
COMMENT ON COLUMN vibevideo.job_details.bucket IS 'the bucket that videos are stored in now';
COMMENT ON COLUMN vibevideo.job_details.object_key IS 'the video''s name in the bucket';
COMMENT ON COLUMN vibevideo.job_details.bytes_done IS 'how many bytes of the video are copied';
COMMENT ON COLUMN vibevideo.job_details.bytes_total IS 'how many bytes it has; NULL if that is not known';
COMMENT ON COLUMN vibevideo.job_details.bytes_per_second IS 'how many bytes are copied in a second, just now';
COMMENT ON COLUMN vibevideo.job_details.sha256 IS 'the file''s hash, in hexadecimal';
COMMENT ON COLUMN vibevideo.job_details.duration_ms IS 'the video''s length, in milliseconds';
COMMENT ON COLUMN vibevideo.job_details.more IS 'there are more events or attempts than these';
COMMENT ON COLUMN vibevideo.job_details.cost_estimated_usd IS 'what it could cost at most when it was requested, in USD';
COMMENT ON COLUMN vibevideo.job_details.cost_source IS 'how it is known what it has cost, as in vibevideo.jobs; NULL until it is settled, or if nothing was billed';
COMMENT ON COLUMN vibevideo.job_details.billable_units IS 'how many units fal.ai says that it bills; NULL if it does not say';
COMMENT ON COLUMN vibevideo.job_details.held_usd IS 'what budgets still hold for it though it has ended, in USD; NULL: nothing';
COMMENT ON COLUMN vibevideo.job_details.width IS 'how wide the picture is as it is shown, in pixels; NULL if that is not known';
COMMENT ON COLUMN vibevideo.job_details.height IS 'how high it is, likewise';
COMMENT ON COLUMN vibevideo.job_details.fps IS 'how many pictures it shows in a second';
COMMENT ON COLUMN vibevideo.job_details.video_codec IS 'how the picture is coded, as browsers name it';
COMMENT ON COLUMN vibevideo.job_details.has_audio IS 'whether it has sound; NULL if that is not known';
COMMENT ON COLUMN vibevideo.job_details.audio_codec IS 'how the sound is coded; NULL if there is none';
COMMENT ON COLUMN vibevideo.job_details.faststart IS 'whether it can be played while it arrives';
COMMENT ON COLUMN vibevideo.job_details.has_c2pa IS 'whether it has Content Credentials; NULL if its format has no place for them';
COMMENT ON COLUMN vibevideo.job_details.bit_rate IS 'its bits for each second that it plays';
COMMENT ON COLUMN vibevideo.job_details.delivered_less IS 'in which it is less than was asked for; NULL if in nothing that is known';
COMMENT ON COLUMN vibevideo.job_details.erased_at IS 'since when it is erased; NULL: it is not';

/*
 * vibevideo.job_detail(job_id) - all there is to know of a job.
 *
 * input is null for callers that may not see inputs.
 * Errors: PT404 no such job; 42501 not a viewer.
 */
CREATE FUNCTION vibevideo.job_detail(job_id bigint)
RETURNS vibevideo.job_details LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most_events constant int = 200;
	most_attempts constant int = 20;
	see_input boolean;
	j vibevideo.job;
	d vibevideo.job_details;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	IF job_id IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'job_id must not be null';
	END IF;
	SELECT c.see_input INTO see_input FROM vibevideo_internal.caller() c;
	SELECT x.* INTO j FROM vibevideo.job x WHERE x.job_id = job_detail.job_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = format('there is no job %s', job_id);
	END IF;
	d.job = vibevideo_internal.list_job(j, see_input);
	d.relation = j.relation;
	d.input = CASE WHEN see_input THEN j.input END;
	d.sent_at = j.sent_at;
	d.next_at = j.next_at;
	d.cancel_requested_at = j.cancel_requested_at;
	d.error = j.error;
	d.row_error = j.row_error;
	d.row_dirty = j.row_dirty;
	d.timeline = (SELECT array_agg(ROW(t.step, t.at, t.took)::vibevideo.job_step ORDER BY t.at, t.nth)
				  FROM (SELECT s.*, s.at - lag(s.at) OVER (ORDER BY s.at, s.nth) AS took
				  FROM (VALUES (1, 'requested', j.created_at), (2, 'sent', j.sent_at), (3, 'accepted', j.submitted_at),
							   (4, 'rendered', j.generated_at), (5, j.state, j.completed_at),
							   (6, 'now', CASE WHEN j.completed_at IS NULL THEN greatest(clock_timestamp(), j.updated_at) END)) AS s(nth, step, at)
				  WHERE s.at IS NOT NULL) t);
	d.events = (SELECT coalesce(array_agg(ROW(e.at, e.state, e.error_code, e.detail)::vibevideo.job_event ORDER BY e.event_id), '{}')
				FROM (SELECT x.* FROM vibevideo.event x WHERE x.job_id = j.job_id ORDER BY x.event_id DESC LIMIT most_events) e);
	d.attempts = (SELECT coalesce(array_agg(vibevideo_internal.list_job(a, see_input) ORDER BY a.job_id DESC), '{}')
				  FROM (SELECT x.* FROM vibevideo.job x WHERE x.relation = j.relation AND x.vibelog_id = j.vibelog_id
						ORDER BY x.job_id DESC LIMIT most_attempts) a);
	d.more = cardinality(d.events) = most_events OR cardinality(d.attempts) = most_attempts;
	d.fal_url = vibevideo_internal.request_url(j.model, j.request_id);
	d.media_url = j.media_url;
	d.media_type = j.media_type;
	d.bucket = CASE WHEN j.object_key IS NOT NULL THEN current_setting('vibevideo.storage_bucket') END;
	d.object_key = j.object_key;
	d.bytes_done = j.bytes_done;
	d.bytes_total = j.bytes_total;
	d.bytes_per_second = j.bytes_per_second;
	d.sha256 = encode(j.sha256, 'hex');
	d.duration_ms = j.duration_ms;
	d.cost_estimated_usd = j.cost_estimated_usd;
	d.cost_source = j.cost_source;
	d.billable_units = j.billable_units;
	d.held_usd = j.held_usd;
	d.width = j.width;
	d.height = j.height;
	d.fps = j.fps;
	d.video_codec = j.video_codec;
	d.has_audio = j.has_audio;
	d.audio_codec = j.audio_codec;
	d.faststart = j.faststart;
	d.has_c2pa = j.has_c2pa;
	d.bit_rate = j.bit_rate;
	d.delivered_less = j.delivered_less;
	d.erased_at = j.erased_at;
	RETURN d;
END
$$;
COMMENT ON FUNCTION vibevideo.job_detail(bigint) IS
'Returns all there is to know of a job, a vibevideo.job_details: steps with durations, events, input, the other
  attempts of its row, addresses. The input is NULL for callers that may not see prompts.
job_id: the job''s number.
Errors: PT404 no such job; 22004 it is null; 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- What needs a person
-------------------------------------------------------------------------------

CREATE TYPE vibevideo.inbox_row AS (
	kind text,
	since timestamptz,
	subject text,
	sentence text,
	action text,
	jobs int,
	job_id bigint,
	more boolean
);
COMMENT ON TYPE vibevideo.inbox_row IS 'something that needs a person';
COMMENT ON COLUMN vibevideo.inbox_row.kind IS
	'copy, paused, outage, check, account, budget, balance, model_gone, price_changed, ledger, lost_submit, given_up, dead_letter, orphan_video, quarantined, unwritten_row, no_table, no_row, erasure, or unread';
COMMENT ON COLUMN vibevideo.inbox_row.since IS 'since when, of several jobs the first; NULL if that is not known';
COMMENT ON COLUMN vibevideo.inbox_row.subject IS 'what it is about: a job and its row, several jobs, a check, a setting';
COMMENT ON COLUMN vibevideo.inbox_row.sentence IS 'what is the matter';
COMMENT ON COLUMN vibevideo.inbox_row.action IS 'what to do, as a statement; of several things the one that changes nothing yet';
COMMENT ON COLUMN vibevideo.inbox_row.jobs IS 'how many jobs; NULL if it is not about jobs';
COMMENT ON COLUMN vibevideo.inbox_row.job_id IS 'the job, or the last one of several; NULL if it is not about jobs';
COMMENT ON COLUMN vibevideo.inbox_row.more IS 'there are more than these: not all were looked at';

CREATE FUNCTION vibevideo_internal.need(kind text, since timestamptz, subject text, sentence text, action text, jobs bigint DEFAULT NULL,
										job_id bigint DEFAULT NULL, more boolean DEFAULT false)
RETURNS vibevideo.inbox_row LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN ROW(kind, since, subject, sentence, action, jobs, job_id, coalesce(more, false))::vibevideo.inbox_row;
COMMENT ON FUNCTION vibevideo_internal.need(text, timestamptz, text, text, text, bigint, bigint, boolean) IS 'makes a line of the inbox; owner only';

-- What a line is about: one job and its row, or several.
CREATE FUNCTION vibevideo_internal.about_jobs(jobs bigint, job_id bigint, more boolean)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN jobs > 1 THEN format('%s%s jobs', CASE WHEN more THEN 'more than ' END, to_char(jobs, 'FM999,999,999'))
			ELSE (SELECT format('job %s, row %s', j.job_id, vibevideo_internal.shown(j.vibelog_id))
				  FROM vibevideo.job j WHERE j.job_id = about_jobs.job_id) END;
COMMENT ON FUNCTION vibevideo_internal.about_jobs(bigint, bigint, boolean) IS 'what a line of the inbox is about; owner only';

-- A table in a statement that may be broken into lines at its spaces: by its name, if
-- that is as plain as most are, else by its number.
CREATE FUNCTION vibevideo_internal.table_literal(name text)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN format('''%s''', CASE WHEN name COLLATE "C" ~ '^[A-Za-z0-9_."-]{1,70}$' THEN name ELSE to_regclass(name)::oid::text END);
COMMENT ON FUNCTION vibevideo_internal.table_literal(text) IS 'a table in a statement; owner only';

-- A statement that plans an action, to be broken into lines at its spaces: no string
-- in the filter has any.
CREATE FUNCTION vibevideo_internal.plan_call(action text, filter jsonb)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN format('SELECT * FROM vibevideo.plan(%L, %L);', action, jsonb_strip_nulls(filter));
COMMENT ON FUNCTION vibevideo_internal.plan_call(text, jsonb) IS 'a statement that plans an action; owner only';

-- An error code that may stand in a statement; NULL for what somebody has made up.
CREATE FUNCTION vibevideo_internal.plain_code(error_code text)
RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE WHEN error_code ~ '^[A-Za-z0-9_.-]{1,40}$' THEN error_code END;
COMMENT ON FUNCTION vibevideo_internal.plain_code(text) IS 'an error code that may stand in a statement, or NULL; owner only';

-- The database: is it a copy, or paused?
CREATE FUNCTION vibevideo_internal.needs_of_database()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	b vibevideo.binding;
BEGIN
	SELECT x.* INTO b FROM vibevideo.binding x;
	IF vibevideo_internal.is_copy(b) THEN
		RETURN NEXT vibevideo_internal.need('copy', b.paused_at, 'database',
			format('Nothing is sent, asked, copied or written here: %s. Resume only the one that is to continue.', vibevideo_internal.pause_cause(b)),
			'SELECT vibevideo.resume();');
	ELSIF b.paused THEN
		RETURN NEXT vibevideo_internal.need('paused', b.paused_at, 'database',
			format(CASE b.pause_scope WHEN 'sending' THEN 'New videos wait: %s.' ELSE 'Nothing is sent, asked, copied or written: %s.' END,
				   vibevideo_internal.pause_cause(b)), 'SELECT vibevideo.resume();');
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_database() IS 'part of the inbox: the database; owner only';

-- fal.ai and Storage: a short time without an answer passes by itself.  While nobody
-- waits for it nobody asks a service whether it is there again.
CREATE FUNCTION vibevideo_internal.needs_of_services()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	patience constant interval = '3 minutes';
	most constant int = vibevideo_internal.most();
	now constant timestamptz = clock_timestamp();
	sends constant boolean = (SELECT NOT b.paused FROM vibevideo.binding b);
	w record;
	s record;
	c record;
BEGIN
	IF vibevideo_internal.rests_by() IS NOT NULL THEN
		RETURN;
	END IF;
	SELECT i.* INTO w FROM vibevideo.worker_info() i;
	FOR s IN
		SELECT x.* FROM (VALUES ('fal.ai', w.fal_down_since, w.fal_down_until, w.fal_is_probed),
								('Storage', CASE WHEN current_setting('vibevideo.storage_kind') <> 'none' THEN w.storage_down_since END,
								 w.storage_down_until, w.storage_is_probed)) AS x(name, since, until, probed)
		WHERE x.since < now - patience
	LOOP
		IF s.name = 'Storage' THEN
			SELECT count(*) AS jobs, max(x.job_id) AS job_id INTO c
			FROM (SELECT j.job_id FROM vibevideo.job j WHERE j.state = 'processing' LIMIT most) x;
		ELSE
			SELECT count(*) AS jobs, max(x.job_id) AS job_id INTO c
			FROM (SELECT p.job_id FROM vibevideo.job p WHERE p.state = 'pending' AND sends
				  UNION ALL SELECT j.job_id FROM vibevideo.job j WHERE j.state IN ('queued', 'generating') LIMIT most) x;
		END IF;
		CONTINUE WHEN c.jobs = 0;
		RETURN NEXT vibevideo_internal.need('outage', s.since, 'connection to ' || s.name,
			format('%s has not answered for %s: %s, without using up tries; %s. This asks at once, and lets them go if it answers.', s.name,
				   vibevideo_internal.span(now - s.since), CASE c.jobs WHEN 1 THEN 'a job waits' ELSE to_char(c.jobs, 'FM999,999,999') || ' jobs wait' END,
				   CASE WHEN s.probed THEN 'it is being probed' WHEN s.until <= now THEN 'the next request is a probe'
						ELSE format('the next probe is in %s', vibevideo_internal.span(s.until - now)) END),
			'SELECT * FROM vibevideo.probe_now();', c.jobs, c.job_id, c.jobs = most);
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_services() IS 'part of the inbox: fal.ai or Storage has not answered for minutes; owner only';

-- Checks that fail, of those that ask nobody over the network.  What they say of jobs
-- and of a pause has lines of its own.  check_config is the owner's alone; health
-- looks at jobs only where it may use the network.  Whoever holds a lock on the app's
-- table, as during a migration, is not waited for.
CREATE FUNCTION vibevideo_internal.needs_of_checks()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '20ms' AS $$
DECLARE
	part text;
BEGIN
	FOREACH part IN ARRAY ARRAY['preload', 'keys', 'worker', 'table', 'api', 'cron', 'limits', 'ledger', 'overdue', 'sequences'] LOOP
		BEGIN
			RETURN QUERY EXECUTE format(
				'SELECT n.* FROM vibevideo_internal.%I() l, vibevideo_internal.need(''check'', NULL, l.check_name, concat_ws(''. '', l.detail, l.hint), '
				'format(''SELECT * FROM vibevideo.health(%%s) WHERE check_name = %%L;'', CASE l.check_name WHEN ''overdue'' THEN ''true'' END, l.check_name)) n '
				'WHERE l.status = ''fail'' AND l.check_name NOT IN (''identity'', ''paused'')', 'check_' || part);
		EXCEPTION
			WHEN lock_not_available THEN
				RETURN NEXT vibevideo_internal.need('unread', NULL, part, 'Somebody holds a lock on what this looks at; look again when that is over.',
													'SELECT * FROM vibevideo.inbox();', more => true);
			WHEN OTHERS THEN
				RETURN NEXT vibevideo_internal.need('check', NULL, part, format('It cannot be checked: %s', SQLERRM),
													'SELECT * FROM vibevideo.health();');
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_checks() IS 'part of the inbox: checks that fail, without those over the network; owner only';

-- Money: today's budget, and whether fal.ai takes our requests.
CREATE FUNCTION vibevideo_internal.needs_of_money()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	nearly constant numeric = 0.8;
	most constant int = 1000;
	codes constant text[] = ARRAY['unauthorized', 'forbidden', 'http_402'];
	b record;
	c record;
BEGIN
	FOR b IN SELECT v.* FROM vibevideo.limit l
			 CROSS JOIN LATERAL (VALUES ('day', nullif(l.spend_per_day_usd, -1), 'today''s budget'), ('month', nullif(l.spend_per_month_usd, -1), 'this month''s budget')) AS v(period, most, name)
			 WHERE l.scope = 'global' AND v.most IS NOT NULL LOOP
		SELECT coalesce(sum(x.settled_usd), 0) AS spent, coalesce(sum(x.reserved_usd), 0) AS reserved INTO c
		FROM vibevideo.costs_by_day x WHERE x.day >= (date_trunc(b.period, now(), 'UTC') AT TIME ZONE 'UTC')::date;
		IF c.spent + c.reserved >= nearly * b.most THEN
			RETURN NEXT vibevideo_internal.need('budget', NULL, b.name,
				format('%s of %s USD are used up: %s spent, %s reserved for videos in the making or that fal.ai may yet bill. It begins anew at %s 00:00 UTC.',
					   trim_scale(c.spent + c.reserved), trim_scale(b.most), trim_scale(c.spent), trim_scale(c.reserved),
					   to_char(date_trunc(b.period, now(), 'UTC') AT TIME ZONE 'UTC' + ('1 ' || b.period)::interval, 'YYYY-MM-DD')),
				format('UPDATE vibevideo.limit SET spend_per_%s_usd = %s WHERE scope = ''global'';', b.period, trim_scale(greatest(2 * b.most, 1))));
		END IF;
	END LOOP;
	SELECT count(*) AS jobs, min(f.completed_at) AS since, max(f.job_id) AS job_id, (array_agg(f.error_code))[1] AS error_code,
		   (array_agg(f.error))[1] AS error INTO c
	-- not if the row has a newer job: somebody has tried again; nor orphans, which nobody can
	FROM (SELECT j.job_id, j.completed_at, j.error_code, j.error FROM vibevideo.job j
		  WHERE (j.state = 'failed') IS TRUE AND j.error_code COLLATE pg_catalog."C" = ANY (codes) AND j.next_at IS NULL
			AND j.completed_at > now() - interval '1 hour' AND j.forgotten_at IS NULL AND NOT j.orphan
			AND NOT EXISTS (SELECT FROM vibevideo.job n
							WHERE n.relation = j.relation AND n.vibelog_id = j.vibelog_id AND NOT n.orphan AND n.job_id > j.job_id)
		  ORDER BY j.completed_at DESC LIMIT most) f;
	IF c.jobs > 0 THEN
		RETURN NEXT vibevideo_internal.need('account', c.since, 'account at fal.ai',
			format('fal.ai has refused %s%s of the last hour (%s: %s). Look at key and balance there.',
				   CASE c.jobs WHEN most THEN 'more than ' END, CASE c.jobs WHEN 1 THEN 'a request' ELSE to_char(c.jobs, 'FM999,999,999') || ' requests' END, c.error_code, vibevideo_internal.quoted(c.error)),
			vibevideo_internal.plan_call('retry', '{"class": "balance", "since": "1h"}'), c.jobs, c.job_id, c.jobs = most);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_money() IS 'part of the inbox: the budget, and fal.ai''s refusals; owner only';

-- Submits whose answer was lost.  The worker finds most of them by itself, and ends
-- those that are to be cancelled: a person is needed if the policy leaves it to one,
-- or if it takes long.
CREATE FUNCTION vibevideo_internal.needs_of_lost_submits()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	patience constant interval = '5 minutes';
	unknown_after constant interval = current_setting('vibevideo.unknown_after');
	manual constant boolean = current_setting('vibevideo.unknown_policy') = 'manual';
	now constant timestamptz = clock_timestamp();
	most constant int = 1000;
	l record;
	j record;
BEGIN
	SELECT count(*) AS jobs, min(x.sent_at) AS since, min(x.job_id) AS first_id, max(x.job_id) AS job_id INTO l
	FROM (SELECT s.job_id, s.sent_at
		  FROM (SELECT y.job_id, coalesce(y.sent_at, y.created_at) AS sent_at, y.tries, y.orphan OR y.cancel_requested_at IS NOT NULL AS cancelled
				FROM vibevideo.job y WHERE y.state = 'submit_unknown' LIMIT vibevideo_internal.most()) s
		  WHERE CASE WHEN s.cancelled THEN s.sent_at < now - greatest(patience, unknown_after)
					 ELSE manual AND s.tries > 0 OR s.sent_at < now - patience END LIMIT most) x;
	IF l.jobs > 0 THEN
		SELECT x.tries, CASE WHEN x.leased_by IS NULL THEN x.next_at END AS next_at, x.sent_at, vibevideo_internal.quoted(x.error) AS error,
			   x.orphan OR x.cancel_requested_at IS NOT NULL AS cancelled INTO j
		FROM vibevideo.job x WHERE x.job_id = l.first_id;
		RETURN NEXT vibevideo_internal.need('lost_submit', l.since, vibevideo_internal.about_jobs(l.jobs, l.job_id, l.jobs = most),
			format('The answer of fal.ai was lost, and nobody knows whether it renders and charges. %s: %s; %s. This lists what fal.ai has that may be '
				   'it. If you know, SELECT vibevideo.resolve(%s, ''its request id''), or ''not_sent'' if fal.ai has none; that sends it again, and '
				   'pays twice if fal.ai has it after all.',
				   CASE l.jobs WHEN 1 THEN 'It' ELSE format('The first, job %s', l.first_id) END, vibevideo_internal.lost_looks(j.tries, j.next_at),
				   CASE WHEN j.cancelled THEN concat_ws(': ', 'it is to be cancelled, and ends once fal.ai''s list has been read', j.error)
						ELSE vibevideo_internal.lost_ends(j.sent_at, j.error) END,
				   CASE l.jobs WHEN 1 THEN l.job_id::text ELSE 'job_id' END),
			'SELECT (l.job).job_id, l.looked_at, l.complete, l.outcome, l.acts_at, l.candidates FROM vibevideo.lost() l;',
			l.jobs, l.job_id, l.jobs = most);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_lost_submits() IS 'part of the inbox: lost submits; owner only';

-- Failed jobs that only a person can do something about: those that were given up as
-- lost, or that the worker crashed with, and videos that were paid for and not
-- stored.  Not if the row has a newer job, or an operator has said that it is dealt
-- with.  A line each kind and error.
CREATE FUNCTION vibevideo_internal.needs_of_failures()
RETURNS SETOF vibevideo.inbox_row LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
BEGIN ATOMIC
	WITH paid AS (
		SELECT CASE WHEN j.orphan THEN 'orphan_video' ELSE 'dead_letter' END AS kind, j.job_id, j.relation, j.vibelog_id, j.error_code,
			   j.error, j.completed_at
		FROM vibevideo.job j
		WHERE j.state = 'failed' AND j.media_url IS NOT NULL AND j.forgotten_at IS NULL
		ORDER BY j.completed_at DESC LIMIT 2000
	), lost AS (
		SELECT 'given_up' AS kind, j.job_id, j.relation, j.vibelog_id, j.error_code, j.error, j.completed_at
		FROM vibevideo.job j
		WHERE (j.state = 'failed') IS TRUE AND j.error_code COLLATE pg_catalog."C" = 'submit_lost' AND j.next_at IS NULL
		  AND j.completed_at > now() - interval '7 days' AND j.media_url IS NULL AND j.forgotten_at IS NULL
		ORDER BY j.completed_at DESC LIMIT 2000
	), crashed AS (
		SELECT 'quarantined' AS kind, j.job_id, j.relation, j.vibelog_id, j.error_code, j.error, j.completed_at
		FROM vibevideo.job j
		WHERE (j.state = 'failed') IS TRUE AND j.error_code COLLATE pg_catalog."C" = 'quarantined' AND j.next_at IS NULL
		  AND j.completed_at > now() - interval '7 days' AND j.media_url IS NULL AND j.forgotten_at IS NULL
		ORDER BY j.completed_at DESC LIMIT 2000
	), failed AS (
		SELECT p.*, '{"paid_not_stored": true}' AS filter, (SELECT count(*) = 2000 FROM paid) AS more FROM paid p
		UNION ALL SELECT l.*, '{"error_code": "submit_lost"}', (SELECT count(*) = 2000 FROM lost) FROM lost l
		UNION ALL SELECT c.*, '{"error_code": "quarantined"}', (SELECT count(*) = 2000 FROM crashed) FROM crashed c
	), open AS (
		SELECT f.* FROM failed f
		WHERE NOT EXISTS (SELECT FROM vibevideo.job n
						  WHERE n.relation = f.relation AND n.vibelog_id = f.vibelog_id AND NOT n.orphan AND n.job_id > f.job_id)
	), grouped AS (
		SELECT o.kind, o.error_code, count(*) AS jobs, min(o.completed_at) AS since, max(o.job_id) AS job_id,
			   (array_agg(o.error ORDER BY o.job_id DESC))[1] AS error, bool_or(o.more) AS more
		FROM open o GROUP BY o.kind, o.error_code
	)
	SELECT n.*
	FROM grouped g
	CROSS JOIN LATERAL (SELECT concat_ws(': ', g.error_code, vibevideo_internal.quoted(g.error)) AS cause,
							   vibevideo_internal.plain_code(g.error_code) AS code) t
	CROSS JOIN LATERAL vibevideo_internal.need(g.kind, g.since, vibevideo_internal.about_jobs(g.jobs, g.job_id, g.more),
		CASE g.kind
		WHEN 'dead_letter' THEN
			format('Rendered and paid for, but not stored (%s). Fix the cause; then it is only copied again, as long as fal.ai keeps the file.',
				   t.cause)
		WHEN 'orphan_video' THEN
			format('Rendered and paid for, though the transaction that had requested it was rolled back (%s). A retry gives the video to the row.',
				   t.cause)
		WHEN 'given_up' THEN
			format('Its answer was lost, and fal.ai''s list shows no trace of it; nothing was sent again (%s). A retry is a new render.', t.cause)
		ELSE format('The worker crashed while it had this job, and does not touch it any more (%s).', t.cause) END,
		CASE WHEN g.jobs = 1 THEN format('SELECT vibevideo.retry(%s);', g.job_id)
			 WHEN g.kind = 'orphan_video' THEN
				vibevideo_internal.plan_call('forget_error',
											 jsonb_build_object('orphan', true, 'paid_not_stored', true, 'error_code', t.code))
			 WHEN g.kind = 'dead_letter' THEN vibevideo_internal.plan_call('retry', jsonb_build_object('paid_not_stored', true, 'error_code', t.code))
			 ELSE vibevideo_internal.plan_call('retry', jsonb_build_object('error_code', t.code, 'since', '7d')) END,
		g.jobs, g.job_id, g.more) n
	UNION ALL
	SELECT n.*
	FROM (SELECT f.filter FROM failed f WHERE f.more EXCEPT SELECT o.filter FROM open o) u
	CROSS JOIN LATERAL vibevideo_internal.need('unread', NULL, 'failures',
		'The last 2,000 of a kind need nobody, since their rows have newer jobs; those before them were not looked at.',
		format('SELECT * FROM vibevideo.list_jobs(%L);', u.filter), more => true) n;
END;
COMMENT ON FUNCTION vibevideo_internal.needs_of_failures() IS
	'part of the inbox: lost submits that were given up, quarantined jobs, videos that were paid for and not stored; owner only';

-- Rows: those that cannot be written, and jobs without one.
CREATE FUNCTION vibevideo_internal.needs_of_rows()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most constant int = 1000;
	most_errors constant int = 20;
	b vibevideo.binding;
	r record;
BEGIN
	SELECT x.* INTO b FROM vibevideo.binding x;
	FOR r IN
		SELECT count(*) AS jobs, min(x.updated_at) AS since, max(x.job_id) AS job_id, x.row_error, bool_or(x.row_dirty) AS again,
			   sum(count(*)) OVER () >= most OR count(*) OVER () > most_errors AS more
		FROM (SELECT y.* FROM (
				(SELECT j.job_id, j.updated_at, j.row_error, true AS row_dirty FROM vibevideo.job j
				 WHERE j.row_dirty AND j.row_error IS NOT NULL LIMIT most)
				UNION ALL
				-- those that are not tried any more
				(SELECT j.job_id, j.updated_at, j.row_error, false FROM vibevideo.job j
				 WHERE j.row_error IS NOT NULL AND NOT j.row_dirty AND j.relation IS NOT NULL AND j.row_error <> 'the row no longer exists'
				   AND j.updated_at > now() - interval '7 days' LIMIT most)) y LIMIT most) x
		GROUP BY x.row_error ORDER BY min(x.updated_at) LIMIT most_errors
	LOOP
		RETURN NEXT vibevideo_internal.need('unwritten_row', r.since, vibevideo_internal.about_jobs(r.jobs, r.job_id, r.more),
			format('%s: %s. Fix what that says%s', CASE r.jobs WHEN 1 THEN 'Its row does not show the job' ELSE 'Their rows do not show the jobs' END,
				   vibevideo_internal.quoted(r.row_error),
				   CASE WHEN r.again THEN '; it is tried again automatically.' ELSE ', then retry.' END),
			CASE WHEN r.again THEN format('SELECT * FROM vibevideo.job_detail(%s);', r.job_id) ELSE 'SELECT vibevideo.reset_stuck(''0'');' END,
			r.jobs, r.job_id, r.more);
	END LOOP;

	FOR r IN SELECT o.* FROM vibevideo_internal.other_tables() o LIMIT 20 LOOP
		RETURN NEXT vibevideo_internal.need('no_table', NULL,
			format('%s %s', CASE WHEN r.gone THEN 'dropped table' ELSE 'table' END, vibevideo_internal.shown(r.name)),
			format('It is not attached, and has jobs: %s active, %s ended but not shown by their rows (jobs %s). If the attached '
				   'table has taken its place, with its rows, it can take the jobs over.', r.active, r.unwritten, r.examples),
			CASE WHEN b.relation IS NULL THEN format('SELECT vibevideo.attach(%s);', vibevideo_internal.table_literal(r.name))
				 ELSE format('SELECT vibevideo.attach(%s, adopt => %s);', vibevideo_internal.table_literal(b.relation::text),
							 vibevideo_internal.table_literal(r.name)) END,
			r.active + r.unwritten, split_part(r.examples, ',', 1)::bigint);
	END LOOP;

	SELECT count(*) AS jobs, min(x.created_at) AS since, max(x.job_id) AS job_id, array_agg(x.job_id) AS ids INTO r
	FROM (SELECT a.job_id, a.created_at FROM vibevideo_internal.active_jobs a WHERE a.relation IS NULL AND NOT a.orphan LIMIT most) x;
	IF r.jobs > 0 THEN
		RETURN NEXT vibevideo_internal.need('no_row', r.since, vibevideo_internal.about_jobs(r.jobs, r.job_id, r.jobs = most),
			'Its row is gone, and it is followed to its end all the same, since it may be paid for.',
			CASE WHEN r.jobs = 1 THEN format('SELECT vibevideo.cancel(%s);', r.job_id)
				 ELSE vibevideo_internal.plan_call('cancel', jsonb_build_object('job_id', r.ids[1:10])) END, r.jobs, r.job_id, r.jobs = most);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_rows() IS 'part of the inbox: rows that cannot be written, jobs without row or table; owner only';

-- What is to be erased and does not go.  A service that is down for a while needs nobody.
CREATE FUNCTION vibevideo_internal.needs_of_erasures()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
	most constant int = vibevideo_internal.most();
	r record;
BEGIN
	FOR r IN SELECT x.what, x.error_code, count(*) AS n, min(x.queued_at) AS since, max(x.job_id) AS job_id, max(x.error) AS error, count(*) = most AS more
			 FROM (SELECT y.* FROM vibevideo.erasure y
				   WHERE y.error_code IS NOT NULL AND (y.stuck OR y.queued_at < now() - interval '1 hour')
					  -- where the app's table cannot be read, nobody has an error to write
					  OR y.what = 'row' AND y.next_at < now() - interval '1 hour' AND EXISTS (SELECT FROM vibevideo.binding b WHERE NOT b.paused)
				   LIMIT most) x
			 GROUP BY x.what, x.error_code ORDER BY 4 LIMIT 20
	LOOP
		RETURN NEXT vibevideo_internal.need('erasure', r.since,
			CASE r.what WHEN 'fal' THEN 'what fal.ai keeps' WHEN 'storage' THEN 'files in Storage' ELSE 'videos of rows' END,
			format('%s cannot be erased: %s It is tried again at least once an hour.',
				   CASE WHEN r.n > 1 THEN to_char(r.n, 'FM999,999,999') || ' of them' ELSE 'One of them' END,
				   rtrim(coalesce(r.error, 'whether rows show them cannot be read: vibevideo.check_config() says why'), ' .') || '.'),
			format('SELECT * FROM vibevideo.erasure WHERE %s;', coalesce(format('error_code = %L', vibevideo_internal.plain_code(r.error_code)), format('what = %L', r.what))),
			NULL, r.job_id, r.more);
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_erasures() IS 'part of the inbox: what is to be erased and cannot be; owner only';

-- The inbox, without a guard: a second is enough for what can be read by indexes, and
-- what is not read by then is said.
CREATE FUNCTION vibevideo_internal.needs()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	until constant timestamptz = clock_timestamp() + interval '1 second';
	parts constant text[] = ARRAY['database', 'services', 'money', 'fal', 'ledger', 'lost_submits', 'failures', 'rows', 'erasures', 'checks'];
	part text;
BEGIN
	FOREACH part IN ARRAY parts LOOP
		IF clock_timestamp() > until THEN
			RETURN NEXT vibevideo_internal.need('unread', NULL, part, 'There was no time to look at this; look again, or when the server has less to do.',
												'SELECT * FROM vibevideo.inbox();', more => true);
			CONTINUE;
		END IF;
		RETURN QUERY EXECUTE format('SELECT n.* FROM vibevideo_internal.%I() n', 'needs_of_' || part);
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs() IS 'what needs a person; owner only';

/*
 * vibevideo.inbox() - what needs a person, each with what to do about it, as a
 * statement that can be pasted; no row if nothing does.
 *
 * Several jobs with the same trouble are one line, whose statement makes a plan:
 * it says what it would do, and changes nothing.  Nobody is asked over the network.
 * Errors: 42501 not a viewer.
 */
CREATE FUNCTION vibevideo.inbox()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql VOLATILE ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY SELECT n.* FROM vibevideo_internal.needs() n;
END
$$;
COMMENT ON FUNCTION vibevideo.inbox() IS
'Returns what needs a person, vibevideo.inbox_row, each with what to do about it as a statement that can be pasted; no
  row if nothing does. Jobs with the same trouble are one row, whose statement only makes a plan. Asks nobody over
  the network.
Errors: 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- Overview
-------------------------------------------------------------------------------

CREATE TYPE vibevideo.overview_row AS (
	as_of timestamptz,
	waiting int,
	at_fal int,
	copying int,
	more boolean,
	oldest_waiting_job_id bigint,
	oldest_waiting_since timestamptz,
	oldest_waiting_why text,
	done_today bigint,
	failed_today bigint,
	cancelled_today bigint,
	last_completed_at timestamptz,
	idle_since timestamptz,
	spent_today_usd numeric,
	reserved_today_usd numeric,
	budget_usd numeric,
	left_usd numeric,
	worker text,
	worker_detail text,
	fal_down_until timestamptz,
	storage_down_until timestamptz,
	paused text,
	needs_you int,
	needs_you_by_kind jsonb
);
COMMENT ON TYPE vibevideo.overview_row IS 'how things are';
COMMENT ON COLUMN vibevideo.overview_row.as_of IS 'when it was made';
COMMENT ON COLUMN vibevideo.overview_row.waiting IS 'jobs that fal.ai does not have yet, as far as is known; here and below, orphans are counted, too';
COMMENT ON COLUMN vibevideo.overview_row.at_fal IS 'jobs that wait or are rendered at fal.ai';
COMMENT ON COLUMN vibevideo.overview_row.copying IS 'videos that are being copied, or wait for that';
COMMENT ON COLUMN vibevideo.overview_row.more IS 'one of these three is larger than it says: no more than 100000 were counted';
COMMENT ON COLUMN vibevideo.overview_row.oldest_waiting_job_id IS 'of those that wait the one with the lowest number';
COMMENT ON COLUMN vibevideo.overview_row.oldest_waiting_since IS 'since when it waits';
COMMENT ON COLUMN vibevideo.overview_row.oldest_waiting_why IS 'what holds it';
COMMENT ON COLUMN vibevideo.overview_row.done_today IS 'videos stored since midnight UTC';
COMMENT ON COLUMN vibevideo.overview_row.failed_today IS 'jobs failed since then';
COMMENT ON COLUMN vibevideo.overview_row.cancelled_today IS 'jobs cancelled since then';
COMMENT ON COLUMN vibevideo.overview_row.last_completed_at IS 'when a video was stored last; NULL if none was, as far as that is known';
COMMENT ON COLUMN vibevideo.overview_row.idle_since IS 'since when there has been no unfinished job; NULL while there is one';
COMMENT ON COLUMN vibevideo.overview_row.spent_today_usd IS 'price, in USD, of videos requested since midnight UTC that were made';
COMMENT ON COLUMN vibevideo.overview_row.reserved_today_usd IS 'price, in USD, of those that are still to be made';
COMMENT ON COLUMN vibevideo.overview_row.budget_usd IS 'how many USD all users together may spend a day (vibevideo.limit); NULL if that is not limited';
COMMENT ON COLUMN vibevideo.overview_row.left_usd IS 'how many USD of it are left today';
COMMENT ON COLUMN vibevideo.overview_row.worker IS 'running, slow, idle (not running: nothing to do, or nothing may be done, as in a pause), or down';
COMMENT ON COLUMN vibevideo.overview_row.worker_detail IS 'the same as a sentence';
COMMENT ON COLUMN vibevideo.overview_row.fal_down_until IS 'fal.ai could not be reached, and is tried again then; NULL if all is well';
COMMENT ON COLUMN vibevideo.overview_row.storage_down_until IS 'the same of Storage';
COMMENT ON COLUMN vibevideo.overview_row.paused IS 'who has paused what, since when and why, or that this is a copy; NULL if nothing is paused';
COMMENT ON COLUMN vibevideo.overview_row.needs_you IS 'how many lines vibevideo.inbox() has';
COMMENT ON COLUMN vibevideo.overview_row.needs_you_by_kind IS 'how many of each kind';

-- When a video was stored last: among the last to end, else to the minute.
CREATE FUNCTION vibevideo_internal.last_completed()
RETURNS timestamptz LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
BEGIN ATOMIC
	SELECT coalesce((SELECT max(e.completed_at) FROM (SELECT j.state, j.completed_at FROM vibevideo.job j WHERE j.next_at IS NULL
													  ORDER BY j.completed_at DESC LIMIT 500) e WHERE e.state = 'completed'),
					(SELECT max(r.at) FROM vibevideo_internal.rollup_level r WHERE r.seconds = 60 AND r.outcome = 'completed'));
END;
COMMENT ON FUNCTION vibevideo_internal.last_completed() IS 'when a video was stored last; owner only';

/*
 * vibevideo.overview() - how things are, in one row: what is in work, what became
 * of today's, money, the worker, and how much needs a person.
 *
 * Errors: 42501 not a viewer.
 */
CREATE FUNCTION vibevideo.overview()
RETURNS vibevideo.overview_row LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
	most constant int = vibevideo_internal.most();
	patience constant interval = '2 minutes';
	o vibevideo.overview_row;
	b vibevideo.binding;
	w record;
	waits record;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	SELECT x.* INTO b FROM vibevideo.binding x;
	o.as_of = clock_timestamp();

	SELECT count(*) AS n, min(x.job_id) AS oldest INTO waits
	FROM (SELECT p.job_id FROM vibevideo.job p WHERE p.state = 'pending'
		  UNION ALL SELECT s.job_id FROM vibevideo.job s WHERE s.state = 'submitting'
		  UNION ALL SELECT u.job_id FROM vibevideo.job u WHERE u.state = 'submit_unknown' LIMIT most) x;
	o.waiting = waits.n;
	SELECT count(*) INTO o.at_fal FROM (SELECT FROM vibevideo.job j WHERE j.state IN ('queued', 'generating') LIMIT most) x;
	SELECT count(*) INTO o.copying FROM (SELECT FROM vibevideo.job j WHERE j.state = 'processing' LIMIT most) x;
	o.more = most IN (o.waiting, o.at_fal, o.copying);
	SELECT j.job_id, j.created_at, (vibevideo_internal.reason_of(j.job_id)).sentence
	INTO o.oldest_waiting_job_id, o.oldest_waiting_since, o.oldest_waiting_why
	FROM vibevideo.job j WHERE j.job_id = waits.oldest;

	SELECT coalesce(sum(r.n) FILTER (WHERE r.outcome = 'completed'), 0), coalesce(sum(r.n) FILTER (WHERE r.outcome = 'failed'), 0),
		   coalesce(sum(r.n) FILTER (WHERE r.outcome = 'cancelled'), 0)
	INTO o.done_today, o.failed_today, o.cancelled_today
	FROM vibevideo.rollup r
	WHERE r.seconds = 86400 AND r.at = vibevideo_internal.today()::timestamp AT TIME ZONE 'UTC'
	  AND r.outcome IN ('completed', 'failed', 'cancelled') AND NOT r.orphan;
	o.last_completed_at = vibevideo_internal.last_completed();
	IF o.waiting + o.at_fal + o.copying = 0 THEN
		o.idle_since = coalesce((SELECT j.completed_at FROM vibevideo.job j WHERE j.next_at IS NULL AND j.completed_at IS NOT NULL
								 ORDER BY j.completed_at DESC LIMIT 1), b.attached_at);
	END IF;

	SELECT coalesce(sum(c.settled_usd), 0), coalesce(sum(c.reserved_usd), 0) INTO o.spent_today_usd, o.reserved_today_usd
	FROM vibevideo.costs_by_day c WHERE c.day = vibevideo_internal.today();
	o.budget_usd = (SELECT nullif(l.spend_per_day_usd, -1) FROM vibevideo.limit l WHERE l.scope = 'global');
	o.left_usd = CASE WHEN o.budget_usd IS NOT NULL THEN greatest(0, o.budget_usd - o.spent_today_usd - o.reserved_today_usd) END;

	SELECT i.* INTO w FROM vibevideo.worker_info() i;
	o.worker = CASE WHEN w.pid IS NULL AND (o.idle_since IS NOT NULL OR vibevideo_internal.rests_by() IS NOT NULL) THEN 'idle' WHEN w.pid IS NULL THEN 'down'
					WHEN coalesce(w.heartbeat_at, w.started_at) > o.as_of - patience THEN 'running' ELSE 'slow' END;
	o.worker_detail = CASE o.worker WHEN 'idle' THEN 'not running: ' || CASE WHEN o.idle_since IS NULL THEN 'no job is worked on here' ELSE 'there is no work for it' END
		WHEN 'down' THEN concat_ws('; ', concat_ws(': ', 'not running', w.absence), 'it is started again at ' || vibevideo_internal.clock(w.restart_at))
		ELSE format('process %s, last turn %s', w.pid, vibevideo_internal.ago(coalesce(w.heartbeat_at, w.started_at))) END;
	o.fal_down_until = w.fal_down_until;
	o.storage_down_until = w.storage_down_until;
	o.paused = vibevideo_internal.pause_cause(b);

	SELECT coalesce(sum(k.n), 0), coalesce(jsonb_object_agg(k.kind, k.n), '{}') INTO o.needs_you, o.needs_you_by_kind
	FROM (SELECT n.kind, count(*) AS n FROM vibevideo_internal.needs() n GROUP BY n.kind) k;
	RETURN o;
END
$$;
COMMENT ON FUNCTION vibevideo.overview() IS
'Returns how things are in one row, a vibevideo.overview_row: active jobs, what became of today''s, money, the worker, a
  pause, and how much needs a person.
Errors: 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- Errors
-------------------------------------------------------------------------------

CREATE TYPE vibevideo.error_group AS (
	error_class text,
	error_code text,
	model text,
	jobs bigint,
	first_at timestamptz,
	last_at timestamptz,
	trend int[],
	example_job_id bigint,
	example text,
	more boolean
);
COMMENT ON TYPE vibevideo.error_group IS 'jobs that failed with the same error of the same model';
COMMENT ON COLUMN vibevideo.error_group.error_class IS 'what kind of trouble it is';
COMMENT ON COLUMN vibevideo.error_group.error_code IS 'the error, for programs';
COMMENT ON COLUMN vibevideo.error_group.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.error_group.jobs IS 'how many jobs failed with it since then, orphans included, without those that an operator has forgotten';
COMMENT ON COLUMN vibevideo.error_group.first_at IS 'when it was first seen among the jobs that are kept';
COMMENT ON COLUMN vibevideo.error_group.last_at IS 'when it was last seen';
COMMENT ON COLUMN vibevideo.error_group.trend IS 'how many in each twelfth of the time since then, the last one is now';
COMMENT ON COLUMN vibevideo.error_group.example_job_id IS 'the last job with it';
COMMENT ON COLUMN vibevideo.error_group.example IS 'its words, cut at 500 characters';
COMMENT ON COLUMN vibevideo.error_group.more IS 'not all failed jobs of that time were counted: only the last 10000 of each error_code or, where there are more than 200 codes, only those of the last 1000 failures and 200 others';

/*
 * vibevideo.error_groups(since) - what went wrong since then, by error and model, the
 * most frequent first.
 *
 * Errors: 22023 not a time; 42501 not a viewer.
 */
CREATE FUNCTION vibevideo.error_groups(since timestamptz DEFAULT now() - interval '1 day')
RETURNS SETOF vibevideo.error_group LANGUAGE plpgsql STABLE ROWS 20 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
	most constant int = 10000;
	parts constant int = 12;
	most_codes constant int = 200;
	most_recent constant int = 1000;
	-- the beginnings of the parts
	bounds timestamptz[];
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	PERFORM vibevideo_internal.check_since(since);
	bounds = ARRAY(SELECT since + p * ((now() - since) / parts) FROM generate_series(0, parts - 1) p);
	RETURN QUERY
	-- if somebody makes up very many codes, those of the last failures are not lost among them
	WITH found AS (
		SELECT c.code FROM vibevideo_internal.error_codes(most_codes + 1) AS c(code)
	), known AS (
		SELECT f.code FROM found f
		UNION
		SELECT r.error_code FROM (SELECT j.error_code FROM vibevideo.job j
								  WHERE j.state = 'failed' AND j.completed_at >= since ORDER BY j.completed_at DESC LIMIT most_recent) r
		WHERE r.error_code IS NOT NULL
	), part AS (
		-- what is forgotten is looked at, too, and not counted
		SELECT h.code, f.model, width_bucket(f.completed_at, bounds) AS nth, count(*) AS looked, count(f.open_id) AS n,
			   max(f.completed_at) FILTER (WHERE f.open_id IS NOT NULL) AS last_at, min(f.completed_at) FILTER (WHERE f.open_id IS NOT NULL) AS first_at,
			   max(f.open_id) AS job_id
		FROM known h CROSS JOIN LATERAL (
			SELECT j.model, j.completed_at, CASE WHEN j.forgotten_at IS NULL THEN j.job_id END AS open_id FROM vibevideo.job j
			WHERE j.error_code COLLATE pg_catalog."C" = h.code AND j.next_at IS NULL AND (j.state = 'failed') IS TRUE AND j.completed_at >= since
			ORDER BY j.completed_at DESC LIMIT most) f
		GROUP BY 1, 2, 3
	), grouped AS (
		SELECT p.code, p.model, sum(p.n)::bigint AS jobs, min(p.first_at) AS first_at, max(p.last_at) AS last_at, max(p.job_id) AS job_id,
			   sum(sum(p.looked)) OVER (PARTITION BY p.code) >= most OR (SELECT count(*) > most_codes FROM found) AS more
		FROM part p GROUP BY p.code, p.model
	)
	SELECT vibevideo.error_class(g.code), g.code, g.model, g.jobs,
		   -- the first ever: among the oldest with this code
		   coalesce((SELECT min(o.completed_at) FROM (
						SELECT j.model, j.completed_at FROM vibevideo.job j
						WHERE j.error_code COLLATE pg_catalog."C" = g.code AND j.next_at IS NULL AND (j.state = 'failed') IS TRUE
						ORDER BY j.completed_at LIMIT most) o WHERE o.model = g.model), g.first_at),
		   g.last_at,
		   ARRAY(SELECT coalesce(p.n, 0)::int FROM generate_series(1, parts) s
				 LEFT JOIN part p ON p.code = g.code AND p.model = g.model AND p.nth = s ORDER BY s),
		   g.job_id, left(x.error, 500), g.more
	FROM grouped g LEFT JOIN vibevideo.job x ON x.job_id = g.job_id
	WHERE g.jobs > 0
	ORDER BY g.jobs DESC, g.code, g.model;
END
$$;
COMMENT ON FUNCTION vibevideo.error_groups(timestamptz) IS
'Returns what went wrong, vibevideo.error_group: failed jobs by class, error and model, the most frequent first, with
  first and last time, trend and example. What an operator has forgotten (vibevideo.plan) is left out.
since: failed since then; default: a day ago.
Errors: 22023 since is not a time; 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- Users
-------------------------------------------------------------------------------

CREATE TYPE vibevideo.user_row AS (
	user_id text,
	active bigint,
	submits_today bigint,
	videos_today bigint,
	spent_today_usd numeric,
	reserved_usd numeric,
	submits bigint,
	videos bigint,
	spent_usd numeric,
	share real,
	max_active int,
	submits_per_day int,
	spend_per_day_usd numeric,
	more boolean,
	bound text
);
COMMENT ON TYPE vibevideo.user_row IS 'what a user has in work, has requested and spent';
COMMENT ON COLUMN vibevideo.user_row.user_id IS 'who, NULL for jobs of which nobody knows that';
COMMENT ON COLUMN vibevideo.user_row.active IS 'unfinished jobs, orphans included';
COMMENT ON COLUMN vibevideo.user_row.submits_today IS 'videos requested since midnight UTC';
COMMENT ON COLUMN vibevideo.user_row.videos_today IS 'those of them that are made';
COMMENT ON COLUMN vibevideo.user_row.spent_today_usd IS 'their price, in USD';
COMMENT ON COLUMN vibevideo.user_row.reserved_usd IS 'price, in USD, of unfinished jobs whose video is not made yet';
COMMENT ON COLUMN vibevideo.user_row.submits IS 'videos requested since the day of UTC that was asked for';
COMMENT ON COLUMN vibevideo.user_row.videos IS 'those of them that are made';
COMMENT ON COLUMN vibevideo.user_row.spent_usd IS 'their price, in USD';
COMMENT ON COLUMN vibevideo.user_row.share IS 'which part of what all users have spent since then, from 0 to 1; NULL if nobody has spent anything';
COMMENT ON COLUMN vibevideo.user_row.max_active IS 'the limit that counts for the user (vibevideo.limit), NULL if there is none; also of the following two';
COMMENT ON COLUMN vibevideo.user_row.submits_per_day IS 'videos requested a day';
COMMENT ON COLUMN vibevideo.user_row.spend_per_day_usd IS 'how many USD may be spent a day';
COMMENT ON COLUMN vibevideo.user_row.more IS 'there are more users, and one of them may belong before this one';
COMMENT ON COLUMN vibevideo.user_row.bound IS 'why the list ends where it does: most, if there may be more users; NULL if these are all; the same in each row';

-- What users have requested and spent in a time, by whole days of UTC: of those with
-- the most to spend in the months that it touches, which is at least as much, the
-- ones with the most.  beyond: nobody else has spent more than that.
CREATE FUNCTION vibevideo_internal.spenders(first_day date, most int)
RETURNS TABLE (user_id text, beyond numeric) LANGUAGE sql STABLE ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
BEGIN ATOMIC
	WITH months AS (
		SELECT c.user_id, sum(c.settled_usd) AS usd, sum(c.submits) AS submits
		FROM (SELECT p.user_id, p.settled_usd, p.submits FROM vibevideo_internal.past_costs_by_month p
			  WHERE p.month >= date_trunc('month', first_day::timestamp)::date
			  UNION ALL
			  SELECT n.user_id, n.settled_usd, n.submits FROM vibevideo_internal.new_costs n
			  WHERE n.day >= date_trunc('month', first_day::timestamp)::date) c
		GROUP BY c.user_id ORDER BY 2 DESC, 3 DESC, 1 LIMIT most + 1
	)
	SELECT m.user_id, (SELECT x.usd FROM months x ORDER BY x.usd DESC, x.submits DESC, x.user_id OFFSET most) FROM months m;
END;
COMMENT ON FUNCTION vibevideo_internal.spenders(date, int) IS 'part of users: who may have spent the most since a day; owner only';

/*
 * vibevideo.users(since, most) - what users have in work, have requested and spent:
 * those with the most in work first, then those who have spent the most.
 *
 * since: the day of UTC that it is in counts whole.
 * most: 1 to 1000.
 * Errors: 22023 a bad time or number; 42501 not a viewer.
 */
CREATE FUNCTION vibevideo.users(since timestamptz DEFAULT now() - interval '30 days', most int DEFAULT 50)
RETURNS SETOF vibevideo.user_row LANGUAGE plpgsql STABLE ROWS 50 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	first_day date;
	candidates int;
	today constant date = vibevideo_internal.today();
	total numeric;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	PERFORM vibevideo_internal.check_since(since);
	PERFORM vibevideo_internal.check_most('most', most, 1000);
	candidates = 2 * most;
	first_day = (since AT TIME ZONE 'UTC')::date;
	total = (SELECT sum(p.settled_usd) FROM vibevideo_internal.past_costs_by_day p WHERE p.day >= first_day);
	total = coalesce(total, 0) + (SELECT coalesce(sum(n.settled_usd), 0) FROM vibevideo_internal.new_costs n WHERE n.day >= first_day);
	RETURN QUERY
	WITH working AS (
		SELECT o.user_id, sum(o.active)::bigint AS active, sum(o.reserved_usd) AS reserved_usd,
			   sum(o.submits) FILTER (WHERE o.day = today) AS submits_today, sum(o.videos) FILTER (WHERE o.day = today) AS videos_today,
			   sum(o.settled_usd) FILTER (WHERE o.day = today) AS spent_today,
			   sum(o.submits) FILTER (WHERE o.day >= first_day) AS submits, sum(o.videos) FILTER (WHERE o.day >= first_day) AS videos,
			   sum(o.settled_usd) FILTER (WHERE o.day >= first_day) AS spent, row_number() OVER (ORDER BY sum(o.active) DESC, o.user_id) AS nth
		FROM (SELECT x.* FROM vibevideo_internal.open_costs x LIMIT vibevideo_internal.most()) o GROUP BY o.user_id
	), spender AS (
		SELECT s.user_id, s.beyond FROM vibevideo_internal.spenders(first_day, candidates) s
	), candidate AS (
		SELECT s.user_id FROM spender s UNION SELECT w.user_id FROM working w WHERE w.nth <= candidates
	), past AS (
		SELECT p.user_id, sum(p.submits) AS submits, sum(p.videos) AS videos, sum(p.settled_usd) AS spent,
			   sum(p.submits) FILTER (WHERE p.day = today) AS submits_today, sum(p.videos) FILTER (WHERE p.day = today) AS videos_today,
			   sum(p.settled_usd) FILTER (WHERE p.day = today) AS spent_today
		FROM (SELECT c.user_id, c.day, c.submits, c.videos, c.settled_usd
			  FROM candidate k JOIN vibevideo.past_costs c ON c.user_id = k.user_id AND c.day >= first_day
			  UNION ALL
			  -- read once: there are many while the worker does not add them up
			  SELECT n.user_id, n.day, n.submits, n.videos, n.settled_usd
			  FROM vibevideo_internal.new_costs n WHERE n.user_id IN (SELECT k.user_id FROM candidate k) AND n.day >= first_day) p
		GROUP BY p.user_id
	), figures AS (
		SELECT k.user_id, coalesce(w.active, 0) AS active, coalesce(p.submits_today, 0) + coalesce(w.submits_today, 0) AS submits_today,
			   coalesce(p.videos_today, 0) + coalesce(w.videos_today, 0) AS videos_today,
			   coalesce(p.spent_today, 0) + coalesce(w.spent_today, 0) AS spent_today, coalesce(w.reserved_usd, 0) AS reserved_usd,
			   coalesce(p.submits, 0) + coalesce(w.submits, 0) AS submits, coalesce(p.videos, 0) + coalesce(w.videos, 0) AS videos,
			   coalesce(p.spent, 0) + coalesce(w.spent, 0) AS spent
		FROM candidate k LEFT JOIN working w USING (user_id) LEFT JOIN past p USING (user_id)
	)
	SELECT nullif(f.user_id, ''), f.active, f.submits_today::bigint, f.videos_today::bigint, f.spent_today, f.reserved_usd,
		   f.submits::bigint, f.videos::bigint, f.spent,
		   (f.spent / nullif(total + (SELECT coalesce(sum(w.spent), 0) FROM working w), 0))::real,
		   l.max_active, l.submits_per_day, l.spend_per_day_usd,
		   coalesce(f.active = 0 AND f.spent < (SELECT max(s.beyond) FROM spender s), false)
			   OR (SELECT count(*) FROM working) > candidates AND f.active <= (SELECT min(w.active) FROM working w WHERE w.nth <= candidates)
			   OR coalesce((SELECT sum(w.active) FROM working w) >= vibevideo_internal.most(), false),
		   CASE WHEN f.found > users.most OR (SELECT max(s.beyond) FROM spender s) IS NOT NULL
					 OR (SELECT sum(w.active) FROM working w) >= vibevideo_internal.most() THEN 'most' END
	FROM (SELECT x.*, count(*) OVER () AS found FROM figures x WHERE x.active > 0 OR x.submits > 0 OR x.videos > 0
		  ORDER BY x.active DESC, x.spent DESC, x.submits DESC, x.user_id LIMIT most) f
	LEFT JOIN LATERAL (SELECT y.* FROM vibevideo_internal.limits_for(nullif(f.user_id, '')) y WHERE y.who <> 'global') l ON true
	ORDER BY f.active DESC, f.spent DESC, f.submits DESC, f.user_id;
END
$$;
COMMENT ON FUNCTION vibevideo.users(timestamptz, int) IS
'Returns what users have in work, have requested and spent, and their limits, vibevideo.user_row: those with the most
  in work first, then those who have spent the most.
since: requested since then, the day of UTC that it is in counts whole; default: 30 days ago.
most: how many users at most, 1 to 1000; default: 50.
Errors: 22023 since is not a time, or a bad most; 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- psql: views that fit 80 columns.  sql/console.sql shows them.
-------------------------------------------------------------------------------

CREATE FUNCTION vibevideo_internal.fit(words text, width int)
RETURNS text LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_fit';
COMMENT ON FUNCTION vibevideo_internal.fit(text, int) IS 'a text on one line that is no wider than so many columns of a terminal; owner only';
CREATE FUNCTION vibevideo_internal.wrap(words text, width int)
RETURNS text[] LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_wrap';
COMMENT ON FUNCTION vibevideo_internal.wrap(text, int) IS 'a text in lines that are no wider than so many columns of a terminal; owner only';

-- Nothing of a text but its beginning stands at the beginning of a line: what somebody
-- else has written is not to look like a statement of ours.
CREATE FUNCTION vibevideo_internal.hang(words text)
RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(array_agg(CASE WHEN w.nth > 1 THEN '  ' || w.line ELSE w.line END ORDER BY w.nth), '{}')
	FROM unnest(vibevideo_internal.wrap(words, 76)) WITH ORDINALITY AS w(line, nth);
END;
COMMENT ON FUNCTION vibevideo_internal.hang(text) IS 'a text in lines of at most 78 columns, all but the first indented; owner only';

-- An inner state in a word.
CREATE FUNCTION vibevideo_internal.short_state(state text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE state WHEN 'pending' THEN 'waiting' WHEN 'submitting' THEN 'sending' WHEN 'submit_unknown' THEN 'lost' WHEN 'queued' THEN 'at fal'
	WHEN 'generating' THEN 'rendering' WHEN 'processing' THEN 'copying' WHEN 'completed' THEN 'done' ELSE state END;
COMMENT ON FUNCTION vibevideo_internal.short_state(text) IS 'an inner state in a word of at most 9 letters; owner only';

-- The 40 that are oldest.  What the numbers need is taken from the reasons.
CREATE FUNCTION vibevideo_internal.now_lines()
RETURNS TABLE (job bigint, "row" text, state text, why text, due text) LANGUAGE plpgsql STABLE ROWS 40 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY
	SELECT j.job_id, vibevideo_internal.fit(j.vibelog_id, 10), vibevideo_internal.short_state(j.state),
		   vibevideo_internal.fit(coalesce((j.r).sentence, ''), 34 - greatest(0, max(length(j.job_id::text)) OVER () - 8)),
		   CASE WHEN j.leased_by IS NOT NULL THEN 'busy'
				WHEN (j.r).until IS NULL AND (j.r).code NOT IN ('next', 'sending', 'lost', 'cancel', 'backoff', 'fal_queue', 'rendering') THEN ''
				WHEN coalesce((j.r).until, j.next_at) <= clock_timestamp() THEN 'now'
				WHEN NOT isfinite(coalesce((j.r).until, j.next_at)) THEN 'never'
				ELSE vibevideo_internal.fit(vibevideo_internal.span(coalesce((j.r).until, j.next_at) - clock_timestamp()), 6) END
	FROM (SELECT x.job_id, x.vibelog_id, x.state, x.next_at, x.leased_by, vibevideo_internal.reason_of(x.job_id) AS r
		  FROM vibevideo.job x
		  WHERE x.job_id = ANY (ARRAY(SELECT a.job_id FROM (SELECT y.job_id FROM vibevideo_internal.active_jobs y LIMIT vibevideo_internal.most()) a
									  ORDER BY a.job_id LIMIT 40))
		  OFFSET 0) j
	ORDER BY j.job_id;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.now_lines() IS 'lines of view vibevideo.now; for viewers';
CREATE VIEW vibevideo.now AS SELECT n.job, n."row", n.state, n.why, n.due FROM vibevideo_internal.now_lines() n;
COMMENT ON VIEW vibevideo.now IS 'the 40 oldest unfinished jobs, for psql''s \watch; 80 columns wide';
COMMENT ON COLUMN vibevideo.now.job IS 'the job''s number';
COMMENT ON COLUMN vibevideo.now."row" IS 'the key of its row, cut';
COMMENT ON COLUMN vibevideo.now.state IS 'waiting, sending, lost, at fal, rendering or copying';
COMMENT ON COLUMN vibevideo.now.why IS 'what holds it, cut; vibevideo.why(job) has all of it';
COMMENT ON COLUMN vibevideo.now.due IS 'when it is acted on next: in so much time, now, never, or busy: somebody is at it; empty if nobody knows';

-- Figures of today, by model.
CREATE FUNCTION vibevideo_internal.today_lines()
RETURNS TABLE (model text, asked bigint, done bigint, failed bigint, active bigint, usd numeric)
LANGUAGE plpgsql STABLE ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY
	WITH costs AS (
		SELECT c.model, sum(c.submits) AS asked, sum(c.active) AS active, sum(c.settled_usd) AS usd
		FROM (SELECT d.model, d.submits, d.active, d.settled_usd FROM vibevideo.costs_by_day d
			  WHERE d.day = vibevideo_internal.today()) c GROUP BY c.model
	), steps AS (
		SELECT r.model, sum(r.n) FILTER (WHERE r.outcome = 'completed') AS done, sum(r.n) FILTER (WHERE r.outcome = 'failed') AS failed
		FROM vibevideo.rollup r
		WHERE r.seconds = 86400 AND r.at = vibevideo_internal.today()::timestamp AT TIME ZONE 'UTC'
		  AND r.outcome IN ('completed', 'failed') AND NOT r.orphan
		GROUP BY r.model
	), models AS (
		SELECT coalesce(c.model, s.model) AS model, coalesce(c.asked, 0)::bigint AS asked, coalesce(s.done, 0)::bigint AS done,
			   coalesce(s.failed, 0)::bigint AS failed, coalesce(c.active, 0)::bigint AS active, coalesce(c.usd, 0) AS usd
		FROM costs c FULL JOIN steps s ON s.model = c.model
	)
	SELECT x.model, x.asked, x.done, x.failed, x.active, round(x.usd, 2)
	FROM ((SELECT 1 AS part, vibevideo_internal.fit(m.model, 27) AS model, m.asked, m.done, m.failed, m.active, m.usd FROM models m
		   ORDER BY m.asked DESC, m.done DESC, m.model LIMIT 30)
		  UNION ALL
		  SELECT 2, 'all', coalesce(sum(m.asked), 0)::bigint, coalesce(sum(m.done), 0)::bigint, coalesce(sum(m.failed), 0)::bigint,
				 coalesce(sum(m.active), 0)::bigint, coalesce(sum(m.usd), 0) FROM models m) x
	ORDER BY x.part, x.asked DESC, x.done DESC, x.model;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.today_lines() IS 'lines of view vibevideo.today; for viewers';
CREATE VIEW vibevideo.today AS SELECT t.model, t.asked, t.done, t.failed, t.active, t.usd FROM vibevideo_internal.today_lines() t;
COMMENT ON VIEW vibevideo.today IS 'the day so far, from midnight UTC, by model and together; 80 columns wide';
COMMENT ON COLUMN vibevideo.today.model IS 'fal.ai''s endpoint id, cut';
COMMENT ON COLUMN vibevideo.today.asked IS 'videos requested today';
COMMENT ON COLUMN vibevideo.today.done IS 'videos stored today, whenever they were requested';
COMMENT ON COLUMN vibevideo.today.failed IS 'jobs failed today, whenever they were requested';
COMMENT ON COLUMN vibevideo.today.active IS 'those requested today that have not ended';
COMMENT ON COLUMN vibevideo.today.usd IS 'price, in USD, of those requested today that are made';

-- The inbox in lines: what is the matter, then the statement, which may be copied out
-- of several lines.  What is the matter may quote a key or an error in which somebody
-- has written a statement: of that all lines but the first are indented, and the first
-- begins with our words.
CREATE FUNCTION vibevideo_internal.inbox_lines()
RETURNS TABLE ("needs you" text) LANGUAGE plpgsql VOLATILE ROWS 30 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	n vibevideo.inbox_row;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	FOR n IN SELECT x.* FROM vibevideo_internal.needs() x LOOP
		RETURN QUERY SELECT l FROM unnest(
			vibevideo_internal.hang(concat_ws(': ', concat_ws(', since ', upper(left(n.subject, 1)) || substr(n.subject, 2),
													  -- of a pause the sentence says it
													  CASE WHEN n.kind <> 'paused' THEN to_char(n.since, 'YYYY-MM-DD HH24:MIOF') END), n.sentence))
			-- as it is shown in psql
			|| vibevideo_internal.wrap(regexp_replace(regexp_replace(n.action, '^SELECT [*] FROM vibevideo[.]plan[(]', 'SELECT * FROM vibevideo.show_plan('),
													  '^SELECT [*] FROM vibevideo[.]job_detail[(]', 'SELECT * FROM vibevideo.show_job('), 78)
			|| ''::text) l;
	END LOOP;
	IF NOT FOUND THEN
		"needs you" = 'Nothing needs you.';
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.inbox_lines() IS 'lines of view vibevideo.inbox; for viewers';
CREATE VIEW vibevideo.inbox AS SELECT i."needs you" FROM vibevideo_internal.inbox_lines() i;
COMMENT ON VIEW vibevideo.inbox IS 'vibevideo.inbox() in lines; 80 columns wide';
COMMENT ON COLUMN vibevideo.inbox."needs you" IS 'what needs a person, its lines but the first indented, then the statement that does something about it, then an empty line';

-------------------------------------------------------------------------------
-- psql: what does not fit a table, in lines
-------------------------------------------------------------------------------

-- A label, and beside it a text in lines; none for no text.
CREATE FUNCTION vibevideo_internal.labelled(label text, words text)
RETURNS text[] LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(array_agg(rpad(CASE w.nth WHEN 1 THEN label ELSE '' END, 11) || w.line ORDER BY w.nth), '{}')
	FROM unnest(vibevideo_internal.wrap(words, 67)) WITH ORDINALITY AS w(line, nth) WHERE words <> '';
END;
COMMENT ON FUNCTION vibevideo_internal.labelled(text, text) IS 'a label of at most 10 letters and a text, in lines for psql; owner only';

CREATE FUNCTION vibevideo_internal.whole_time(at timestamptz)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN to_char(at, 'YYYY-MM-DD HH24:MI:SS TZ');
COMMENT ON FUNCTION vibevideo_internal.whole_time(timestamptz) IS 'a time with date and time zone, for people; owner only';

-- What a job costs, and how that is known.
CREATE FUNCTION vibevideo_internal.cost_words(j vibevideo.job_details)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN (j).cost_source IS NULL AND vibevideo.is_active(((j).job).state)
			THEN coalesce(trim_scale(((j).job).cost_usd) || ' USD at most', 'not known')
			ELSE coalesce(trim_scale(((j).job).cost_usd) || ' USD', 'not known')
				 || CASE (j).cost_source WHEN 'bill' THEN ', as fal.ai has billed it' WHEN 'units' THEN ', as fal.ai says that it bills'
										 WHEN 'duration' THEN ', by the length of the stored video'
										 WHEN 'estimate' THEN ', as estimated by what was asked for'
										 ELSE CASE WHEN ((j).job).cost_usd = 0 THEN ', nothing was billed' ELSE '' END END
				 || coalesce('; it could have cost ' || trim_scale(nullif((j).cost_estimated_usd, ((j).job).cost_usd)), '') END;
COMMENT ON FUNCTION vibevideo_internal.cost_words(vibevideo.job_details) IS 'what a job costs, in words for psql; owner only';

CREATE FUNCTION vibevideo.show_job(job_id bigint)
RETURNS TABLE (line text) LANGUAGE plpgsql STABLE ROWS 40 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	d vibevideo.job_details;
	j vibevideo.job_row;
	e vibevideo.job_event;
	a vibevideo.job_row;
	s vibevideo.job_step;
	lines text[];
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	SELECT x.* INTO d FROM vibevideo.job_detail(show_job.job_id) x;
	j = d.job;
	lines = vibevideo_internal.hang(format('Job %s, row %s of %s, attempt %s: %s', j.job_id, j.vibelog_id, coalesce(d.relation, 'no table'), j.attempt, j.state))
		|| ''::text
		|| vibevideo_internal.labelled('why', (vibevideo_internal.reason_of(j.job_id)).sentence)
		-- which its end has named, unless it is long
		|| vibevideo_internal.labelled('error', CASE WHEN vibevideo.is_active(j.state) OR d.row_dirty OR length(d.error) > 200
													 THEN concat_ws(': ', j.error_code, d.error) END)
		|| vibevideo_internal.labelled('row error', d.row_error)
		|| vibevideo_internal.labelled('users read', j.message)
		|| vibevideo_internal.labelled('forgotten', vibevideo_internal.whole_time(j.forgotten_at))
		|| vibevideo_internal.labelled('user', j.user_id)
		|| vibevideo_internal.labelled('model', j.model)
		|| vibevideo_internal.labelled('costs', vibevideo_internal.cost_words(d))
		|| vibevideo_internal.labelled('held', trim_scale(d.held_usd) || ' USD, which fal.ai may yet bill')
		|| vibevideo_internal.labelled('request', j.request_id)
		|| vibevideo_internal.labelled('at fal.ai', d.fal_url)
		|| vibevideo_internal.labelled('made', d.media_url)
		|| vibevideo_internal.labelled('stored', coalesce(j.video_url, d.bucket || '/' || d.object_key))
		|| vibevideo_internal.labelled('erased', vibevideo_internal.whole_time(d.erased_at))
		|| vibevideo_internal.labelled('input', d.input::text);
	FOREACH s IN ARRAY d.timeline LOOP
		lines = lines || vibevideo_internal.labelled(s.step, concat_ws(', ', vibevideo_internal.whole_time(s.at), vibevideo_internal.span(s.took) || ' later'));
	END LOOP;
	IF cardinality(d.events) > 0 THEN
		lines = lines || ''::text || 'History:'::text;
	END IF;
	FOREACH e IN ARRAY d.events LOOP
		lines = lines || vibevideo_internal.labelled(to_char(e.at, 'HH24:MI:SS'), concat_ws(': ', e.state, e.error_code, e.detail));
	END LOOP;
	IF cardinality(d.attempts) > 0 THEN
		lines = lines || ''::text || 'Attempts:'::text;
	END IF;
	FOREACH a IN ARRAY d.attempts LOOP
		lines = lines || vibevideo_internal.labelled(a.attempt::text, concat_ws(', ', format('job %s', a.job_id), a.state, a.error_code,
																				  vibevideo_internal.whole_time(a.created_at)));
	END LOOP;
	IF d.more THEN
		lines = lines || 'There are more changes of state or attempts than these.'::text;
	END IF;
	RETURN QUERY SELECT l FROM unnest(lines) l;
END
$$;
COMMENT ON FUNCTION vibevideo.show_job(bigint) IS
'Shows what vibevideo.job_detail returns, for psql: in lines of at most 78 columns.
job_id: the job''s number.
Returns lines:
line: one of them.
Errors: PT404 no such job; 22004 it is null; 42501 not a viewer.
For viewers and operators.';

CREATE FUNCTION vibevideo.show_jobs(filter jsonb DEFAULT '{}', max_jobs int DEFAULT 20)
RETURNS TABLE (job bigint, "row" text, state text, "user" text, age text, what text)
LANGUAGE plpgsql STABLE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	page vibevideo.job_page;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	page = vibevideo.list_jobs(filter, max_jobs => max_jobs);
	RETURN QUERY
	SELECT j.job_id, vibevideo_internal.fit(j.vibelog_id, 10), vibevideo_internal.short_state(j.state), vibevideo_internal.fit(coalesce(j.user_id, ''), 10),
		   vibevideo_internal.fit(vibevideo_internal.span(clock_timestamp() - j.created_at), 6),
		   vibevideo_internal.fit(coalesce(j.why, j.error_code, ''), 20 - greatest(0, max(length(j.job_id::text)) OVER () - 8))
	FROM unnest(page.jobs) WITH ORDINALITY j ORDER BY j.ordinality;
	IF page.next IS NOT NULL THEN
		RETURN QUERY SELECT NULL::bigint, '…', '', '', '', 'and more'::text;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.show_jobs(jsonb, int) IS
'Shows what vibevideo.list_jobs returns, for psql: a table 80 columns wide.
filter: as of vibevideo.plan, {} for all; default: all.
max_jobs: how many at most, 1 to 1000; default: 20. A last row says that there are more.
Returns a row for each job:
job, row, user: its number, its row''s key and its user, cut.
state: as in view vibevideo.now; or done, failed, cancelled.
age: how long ago it was requested.
what: what holds it, or the error that it ended with, cut.
Errors: 22023 a bad filter or max_jobs; 42501 not a viewer, or the filter has prompt and the caller may not see
  prompts.
For viewers and operators.';

-- What is to be pasted is not broken inside of a string.
CREATE FUNCTION vibevideo.show_plan(action text, filter jsonb, max_jobs int DEFAULT 1000)
RETURNS TABLE (line text) LANGUAGE plpgsql VOLATILE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	p record;
	x jsonb;
	lines text[];
BEGIN
	PERFORM vibevideo_internal.require('operator');
	SELECT y.* INTO p FROM vibevideo.plan(action, filter, max_jobs) y;
	lines = vibevideo_internal.hang(CASE WHEN p.token IS NULL THEN format('%s: there is nothing to do.', action)
		ELSE format('%s: %s of %s, for %s USD at most.', action, vibevideo_internal.how_many(p.jobs, 'job'),
					vibevideo_internal.how_many(p.users, 'user'), trim_scale(p.cost_usd)) END);
	IF p.unpriced > 0 THEN
		lines = lines || vibevideo_internal.hang(format('The price of %s is not known, and counts as 0.', vibevideo_internal.how_many(p.unpriced, 'new render')));
	END IF;
	IF p.skipped > 0 THEN
		lines = lines || vibevideo_internal.hang(format('Passed over, though they match: %s.',
			(SELECT string_agg(format('%s %s', e.value, e.key), ', ' ORDER BY e.key) FROM jsonb_each_text(p.why) e)));
	END IF;
	IF p.more IS NOT NULL THEN
		lines = lines || vibevideo_internal.hang(format('There may be others that match: the plan was bounded by %s.', p.more));
	END IF;
	IF p.token IS NOT NULL THEN
		lines = lines || ''::text;
		FOR x IN SELECT e.value FROM jsonb_array_elements(p.examples) e LOOP
			lines = lines || vibevideo_internal.labelled(x ->> 'does', concat_ws(', ', format('job %s', x ->> 'job_id'), format('row %s', x ->> 'key'), x ->> 'state',
				x ->> 'error_code', x ->> 'user', format('%s USD', trim_scale((x ->> 'cost_usd')::numeric)), x ->> 'prompt'));
		END LOOP;
		IF p.jobs > jsonb_array_length(p.examples) THEN
			lines = lines || vibevideo_internal.labelled('...', format('and %s', vibevideo_internal.how_many(p.jobs - jsonb_array_length(p.examples), 'other')));
		END IF;
		lines = lines || ''::text || format('Nothing is changed yet. Until %s this does it:', to_char(p.expires_at, 'HH24:MI:SS TZ'))
			|| CASE WHEN p.confirm IS NULL THEN ARRAY[format('SELECT * FROM vibevideo.act(%L);', p.token)]
					ELSE ARRAY[format('SELECT * FROM vibevideo.act(%L,', p.token), format('  %L);', p.confirm)] END;
	END IF;
	RETURN QUERY SELECT l FROM unnest(lines) l;
END
$$;
COMMENT ON FUNCTION vibevideo.show_plan(text, jsonb, int) IS
'Makes a plan, as vibevideo.plan does, and shows it for psql: in lines of at most 78 columns, of which the last is
  the statement that carries it out.
action: as of vibevideo.plan.
filter: as of vibevideo.plan.
max_jobs: as of vibevideo.plan; default: 1000.
Returns lines:
line: one of them.
Errors: 22023 a bad action, filter or max_jobs; 42501 not an operator, or the filter has prompt and the caller
  may not see prompts.
For operators.';

CREATE FUNCTION vibevideo.show_check(network boolean DEFAULT false)
RETURNS TABLE (line text) LANGUAGE plpgsql VOLATILE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c record;
	fine int = 0;
	lines text[] = '{}';
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	FOR c IN SELECT h.* FROM vibevideo.health(network) h LOOP
		IF c.status = 'ok' THEN
			fine = fine + 1;
		ELSE
			lines = lines || vibevideo_internal.hang(format('%s: %s: %s', c.status, c.check_name, c.detail))
				|| CASE WHEN c.hint <> '' THEN vibevideo_internal.hang(c.hint) ELSE '{}' END || ''::text;
		END IF;
	END LOOP;
	lines = lines || format('%s fine.', CASE fine WHEN 1 THEN '1 check is' ELSE fine || ' checks are' END);
	RETURN QUERY SELECT l FROM unnest(lines) l;
END
$$;
COMMENT ON FUNCTION vibevideo.show_check(boolean) IS
'Shows what vibevideo.health returns, for psql: in lines of at most 78 columns, what is not ok with its hint.
network: true asks fal.ai and Storage as well, and counts, which takes an operator; default: false.
Returns lines:
line: one of them.
Errors: 42501 not a viewer, or with network not an operator.
For viewers and operators.';

CREATE FUNCTION vibevideo.show_audit(max_rows int DEFAULT 20)
RETURNS TABLE (line text) LANGUAGE plpgsql STABLE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r vibevideo.audit;
	lines text[] = '{}';
BEGIN
	PERFORM vibevideo_internal.require_to_read('operator');
	FOREACH r IN ARRAY (vibevideo.audit(max_rows => max_rows)).rows LOOP
		lines = lines || vibevideo_internal.hang(concat_ws(', ', vibevideo_internal.whole_time(r.at), r.who))
			|| vibevideo_internal.labelled('', concat_ws(', ', r.action, vibevideo_internal.how_many(r.jobs, 'job'), trim_scale(r.cost_usd) || ' USD'))
			|| vibevideo_internal.labelled('', nullif(left(r.arguments::text, 500), '{}')) || ''::text;
	END LOOP;
	RETURN QUERY SELECT l FROM unnest(lines) l;
END
$$;
COMMENT ON FUNCTION vibevideo.show_audit(int) IS
'Shows the last acts of vibevideo.audit, for psql: in lines of at most 78 columns.
max_rows: how many acts at most, 1 to 1000; default: 20.
Returns lines:
line: one of them.
Errors: 22023 a bad max_rows; 42501 not an operator.
For operators.';

-- The overview, a line a figure.
CREATE FUNCTION vibevideo_internal.overview_lines()
RETURNS TABLE (what text, "is" text) LANGUAGE plpgsql VOLATILE ROWS 15 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	o vibevideo.overview_row;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	o = vibevideo.overview();
	RETURN QUERY
	SELECT CASE w.nth WHEN 1 THEN x.what ELSE '' END, w.line
	FROM (VALUES
		(1, 'needs you', CASE WHEN o.needs_you = 0 THEN 'nothing' ELSE format('%s (TABLE vibevideo.inbox): %s', o.needs_you,
			(SELECT string_agg(e.key, ', ' ORDER BY e.key) FROM jsonb_each(o.needs_you_by_kind) e)) END),
		(2, 'paused', o.paused),
		(3, 'worker', concat_ws(': ', o.worker, o.worker_detail)),
		(4, 'fal.ai', 'cannot be reached, is tried at ' || vibevideo_internal.whole_time(o.fal_down_until)),
		(5, 'Storage', 'cannot be reached, is tried at ' || vibevideo_internal.whole_time(o.storage_down_until)),
		(6, 'in work', format('%s waiting, %s at fal.ai, %s copying%s', o.waiting, o.at_fal, o.copying, CASE WHEN o.more THEN ', or more' ELSE '' END)),
		(7, 'oldest', CASE WHEN o.oldest_waiting_job_id IS NOT NULL
						   THEN format('job %s, since %s: %s', o.oldest_waiting_job_id, vibevideo_internal.whole_time(o.oldest_waiting_since), o.oldest_waiting_why) END),
		(8, 'idle', 'since ' || vibevideo_internal.whole_time(o.idle_since)),
		(9, 'today', format('%s done, %s failed, %s cancelled', o.done_today, o.failed_today, o.cancelled_today)),
		(10, 'last done', vibevideo_internal.whole_time(o.last_completed_at)),
		(11, 'USD today', format('%s spent, %s reserved%s', trim_scale(o.spent_today_usd), trim_scale(o.reserved_today_usd),
								 ', ' || trim_scale(o.left_usd) || ' left of ' || trim_scale(o.budget_usd)))
	) AS x(nth, what, words) CROSS JOIN LATERAL unnest(vibevideo_internal.wrap(x.words, 64)) WITH ORDINALITY AS w(line, nth)
	ORDER BY x.nth, w.nth;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.overview_lines() IS 'lines of view vibevideo.overview; for viewers';
CREATE VIEW vibevideo.overview AS SELECT o.what, o."is" FROM vibevideo_internal.overview_lines() o;
COMMENT ON VIEW vibevideo.overview IS 'vibevideo.overview() in lines; 80 columns wide';
COMMENT ON COLUMN vibevideo.overview.what IS 'what it is about';
COMMENT ON COLUMN vibevideo.overview."is" IS 'how that is';

CREATE FUNCTION vibevideo_internal.error_lines()
RETURNS TABLE (error text, model text, jobs bigint, last text, job bigint) LANGUAGE plpgsql STABLE ROWS 20 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY
	SELECT vibevideo_internal.fit(g.error_code, 24), vibevideo_internal.fit(g.model, 20), g.jobs,
		   vibevideo_internal.fit(vibevideo_internal.span(clock_timestamp() - g.last_at), 6), g.example_job_id
	FROM vibevideo.error_groups() g ORDER BY g.jobs DESC, g.last_at DESC LIMIT 40;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.error_lines() IS 'lines of view vibevideo.errors; for viewers';
CREATE VIEW vibevideo.errors AS SELECT e.error, e.model, e.jobs, e.last, e.job FROM vibevideo_internal.error_lines() e;
COMMENT ON VIEW vibevideo.errors IS 'what went wrong in the last day, the most frequent first, as vibevideo.error_groups() has it; 80 columns wide';
COMMENT ON COLUMN vibevideo.errors.error IS 'the error code, cut';
COMMENT ON COLUMN vibevideo.errors.model IS 'fal.ai''s endpoint id, cut';
COMMENT ON COLUMN vibevideo.errors.jobs IS 'how many jobs failed with it';
COMMENT ON COLUMN vibevideo.errors.last IS 'how long ago the last one did';
COMMENT ON COLUMN vibevideo.errors.job IS 'that job: vibevideo.show_job(job) shows it';

CREATE FUNCTION vibevideo_internal.user_lines()
RETURNS TABLE ("user" text, active bigint, today bigint, usd numeric, "30 days" bigint, "30 days usd" numeric) LANGUAGE plpgsql STABLE ROWS 40 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY
	SELECT vibevideo_internal.fit(coalesce(u.user_id, ''), 24), u.active, u.submits_today, round(u.spent_today_usd, 2), u.submits, round(u.spent_usd, 2)
	FROM vibevideo.users(most => 40) u;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.user_lines() IS 'lines of view vibevideo.users; for viewers';
CREATE VIEW vibevideo.users AS SELECT u."user", u.active, u.today, u.usd, u."30 days", u."30 days usd" FROM vibevideo_internal.user_lines() u;
COMMENT ON VIEW vibevideo.users IS 'the 40 users with the most in work, then those who have spent the most, as vibevideo.users() has them; 80 columns wide';
COMMENT ON COLUMN vibevideo.users."user" IS 'who, cut; empty where nobody is known';
COMMENT ON COLUMN vibevideo.users.active IS 'unfinished jobs';
COMMENT ON COLUMN vibevideo.users.today IS 'videos requested today';
COMMENT ON COLUMN vibevideo.users.usd IS 'price, in USD, of those that are made';
COMMENT ON COLUMN vibevideo.users."30 days" IS 'videos requested in 30 days';
COMMENT ON COLUMN vibevideo.users."30 days usd" IS 'price, in USD, of those that are made';

DO $$
DECLARE
	new constant text = 'vibevideo_internal.most(), vibevideo_internal.check_most(text, int, int), '
		'vibevideo_internal.check_since(timestamptz), vibevideo_internal.list_job(vibevideo.job, boolean), '
		'vibevideo.list_jobs(jsonb, jsonb, int), vibevideo_internal.request_url(text, text), '
		'vibevideo.job_detail(bigint), '
		'vibevideo_internal.need(text, timestamptz, text, text, text, bigint, bigint, boolean), '
		'vibevideo_internal.about_jobs(bigint, bigint, boolean), vibevideo_internal.table_literal(text), '
		'vibevideo_internal.plan_call(text, jsonb), vibevideo_internal.plain_code(text), '
		'vibevideo_internal.needs_of_database(), vibevideo_internal.needs_of_services(), vibevideo_internal.needs_of_checks(), '
		'vibevideo_internal.needs_of_money(), vibevideo_internal.needs_of_lost_submits(), '
		'vibevideo_internal.needs_of_failures(), vibevideo_internal.needs_of_rows(), vibevideo_internal.needs(), '
		'vibevideo.inbox(), vibevideo_internal.last_completed(), vibevideo.overview(), '
		'vibevideo.error_groups(timestamptz), vibevideo_internal.spenders(date, int), '
		'vibevideo.users(timestamptz, int), vibevideo_internal.fit(text, int), '
		'vibevideo_internal.wrap(text, int), vibevideo_internal.hang(text), vibevideo_internal.short_state(text), '
		'vibevideo_internal.now_lines(), vibevideo_internal.today_lines(), vibevideo_internal.inbox_lines(), '
		'vibevideo_internal.read_after(jsonb), vibevideo_internal.labelled(text, text), '
		'vibevideo_internal.whole_time(timestamptz), vibevideo_internal.how_many(numeric, text), '
		'vibevideo.show_job(bigint), vibevideo.show_jobs(jsonb, int), vibevideo.show_plan(text, jsonb, int), '
		'vibevideo.show_check(boolean), vibevideo.show_audit(int), vibevideo_internal.overview_lines(), '
		'vibevideo_internal.error_lines(), vibevideo_internal.user_lines()';
	everybody constant text = concat_ws(', ', 'PUBLIC',
										(SELECT string_agg(quote_ident(r.rolname), ', ') FROM pg_roles r
										 WHERE r.rolname IN ('anon', 'authenticated', 'service_role')));
BEGIN
	EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', new, everybody);
	EXECUTE format('REVOKE ALL ON vibevideo.now, vibevideo.today, vibevideo.inbox, vibevideo.overview, vibevideo.errors, '
				   'vibevideo.users FROM %s', everybody);
	IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'service_role') THEN
		GRANT EXECUTE ON FUNCTION vibevideo_internal.now_lines(), vibevideo_internal.today_lines(), vibevideo_internal.inbox_lines(),
			vibevideo_internal.overview_lines(), vibevideo_internal.error_lines(), vibevideo_internal.user_lines() TO service_role;
		GRANT SELECT ON vibevideo.now, vibevideo.today, vibevideo.inbox, vibevideo.overview, vibevideo.errors, vibevideo.users TO service_role;
	END IF;
END
$$;

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

-------------------------------------------------------------------------------
-- The dashboard
-------------------------------------------------------------------------------

/*
 * People on the dashboard come through PostgREST: they call the functions of schema
 * public at the end of this file, which hand on what the guarded ones answer.  First
 * the page, then those that only the dashboard needs; operators with psql may call
 * them as well.
 */

-- PostgREST knows by a type's name what a function returns, and casts to it with the
-- caller's rights.  In a schema of the app there may be one of that name.
CREATE SCHEMA vibevideo_page;
COMMENT ON SCHEMA vibevideo_page IS 'the type by which PostgREST knows that the dashboard is a page';
CREATE DOMAIN vibevideo_page."text/html" AS text;
COMMENT ON DOMAIN vibevideo_page."text/html" IS 'a page for browsers';

CREATE FUNCTION public.vibevideo_dashboard(apikey text DEFAULT NULL)
RETURNS vibevideo_page."text/html" LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'vibevideo_dashboard';
COMMENT ON FUNCTION public.vibevideo_dashboard(text) IS
'The dashboard''s page, for browsers, which get it from PostgREST by GET. It holds no data: whoever it lets in calls
  the functions vibevideo_admin_... with a JWT.
apikey: what a gateway wants to see in the URL, the publishable key; nothing is done with it; default: none.
Returns HTML, with headers that restrict what the page may do.
Errors: PT404 vibevideo.dashboard is off; 58P01 the page''s file is not installed; XX001 the file is not the one
  that belongs to vibevideo.
For anon, who needs no rights on anything else.';

-- It judges nobody: whoever has no access reads that, and nothing else.
CREATE FUNCTION vibevideo.me(OUT user_id text, OUT name text, OUT note text, OUT level text, OUT see_input boolean, OUT hint text,
							 OUT server_time timestamptz, OUT version text, OUT confirm_over_usd numeric, OUT storage_public_url text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	SELECT c.user_id, c.name, c.level, c.see_input, c.hint INTO user_id, name, level, see_input, hint FROM vibevideo_internal.caller() c;
	server_time = clock_timestamp();
	IF level IS NULL THEN
		RETURN;
	END IF;
	note = (SELECT o.note FROM vibevideo.operator o WHERE o.user_id = me.user_id);
	version = vibevideo_internal.library_version();
	confirm_over_usd = current_setting('vibevideo.confirm_over_usd');
	storage_public_url = coalesce(nullif(current_setting('vibevideo.storage_public_url'), ''), current_setting('vibevideo.storage_url'));
END
$$;
COMMENT ON FUNCTION vibevideo.me() IS
'Says who the caller is, and may do.
Returns one row:
user_id: the JWT''s sub; NULL without a JWT, or if it is not believed.
name: as in the audit.
note: the name that vibevideo.operator has; NULL if it has none.
level: viewer, operator or owner; NULL if the caller has no access.
see_input: whether prompts and inputs are shown.
hint: what to do if the caller has no access; NULL otherwise.
server_time: the database''s clock.
version: of vibevideo; NULL without access, as are all below.
confirm_over_usd: an act that may cost more than this, in USD, has to be confirmed.
storage_public_url: where browsers find the videos.
Raises no errors.
For viewers and operators, whose level it tells; others read that they have none.';

-------------------------------------------------------------------------------
-- One search box
-------------------------------------------------------------------------------

-- The jobs that have this number, or are of a row with this key.
CREATE FUNCTION vibevideo_internal.jobs_numbered(q text)
RETURNS jsonb LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
BEGIN ATOMIC
	SELECT jsonb_build_object('job_id', jsonb_agg(n.job_id))
	FROM (SELECT j.job_id FROM vibevideo.job j WHERE j.job_id = ltrim(q, '#')::bigint
		  UNION
		  (SELECT k.job_id FROM vibevideo_internal.jobs_of_keys(ARRAY[q]) k(job_id) ORDER BY k.job_id DESC LIMIT 1000)) n
	HAVING count(*) > 0;
END;
COMMENT ON FUNCTION vibevideo_internal.jobs_numbered(text) IS 'part of find: a filter of the jobs with this number, or whose rows have this key; owner only';

-- What each is tried as, the first that finds something; of those that find nothing
-- the one that was not looked through.
CREATE FUNCTION vibevideo.find(q text, max_jobs int DEFAULT 20)
RETURNS vibevideo.job_page LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	wanted constant text = btrim(q, E' \t\r\n');
	most_letters constant int = 1000;
	filter jsonb;
	page vibevideo.job_page;
	unread vibevideo.job_page;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	PERFORM vibevideo_internal.check_most('max_jobs', max_jobs, 1000);
	IF wanted IS NULL OR length(wanted) NOT BETWEEN 1 AND most_letters THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('q must be a text of 1 to %s characters', most_letters),
			HINT = 'It may be a job''s number, a row''s key, a request id, a user, an error code, or words of a prompt.';
	END IF;
	FOREACH filter IN ARRAY ARRAY[
		CASE WHEN wanted ~ '^#?[0-9]{1,18}$' THEN vibevideo_internal.jobs_numbered(wanted) END,
		jsonb_build_object('request_id', wanted),
		jsonb_build_object('key', CASE WHEN wanted = lower(wanted) THEN to_jsonb(wanted) ELSE jsonb_build_array(wanted, lower(wanted)) END),
		jsonb_build_object('user', wanted),
		jsonb_build_object('error_code', wanted),
		CASE WHEN (SELECT c.see_input FROM vibevideo_internal.caller() c) THEN jsonb_build_object('prompt', wanted) END]
	LOOP
		CONTINUE WHEN filter IS NULL;
		page = vibevideo.list_jobs(filter, max_jobs => max_jobs);
		IF cardinality(page.jobs) > 0 THEN
			RETURN page;
		ELSIF page.bound IS NOT NULL THEN
			unread = page;
		END IF;
	END LOOP;
	RETURN CASE WHEN unread.filter IS NOT NULL THEN unread ELSE page END;
END
$$;
COMMENT ON FUNCTION vibevideo.find(text, int) IS
'Finds jobs by whatever somebody has at hand.
q: a job''s number, a row''s key, a request id, a user or an error code, whole, or words of a prompt if the caller
  may see prompts. What finds something first counts, in this order.
max_jobs: so many at most, 1 to 1000; default: 20.
Returns a part of a list, as vibevideo.list_jobs does, which continues it with its filter and its next.
Errors: 22023 an empty or too long q, a bad max_jobs; 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- Lost submits
-------------------------------------------------------------------------------

-- What fal.ai's list of requests showed when it was last read for a lost submit.  The
-- worker writes it; it is not dumped: it will look again.
CREATE TABLE vibevideo_internal.lost_look (
	job_id bigint PRIMARY KEY,
	looked_at timestamptz NOT NULL,
	complete boolean NOT NULL,
	candidates jsonb NOT NULL
);
COMMENT ON TABLE vibevideo_internal.lost_look IS 'which of fal.ai''s requests may be a lost submit; made anew at each look';
CREATE INDEX lost_look_age ON vibevideo_internal.lost_look (looked_at);

CREATE FUNCTION vibevideo_internal.requests_url(model text, start text)
RETURNS text LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'vibevideo_requests_url';
COMMENT ON FUNCTION vibevideo_internal.requests_url(text, text) IS
	'fal.ai''s address of the requests to a model from a time on; NULL if there is none; owner only';

-- What happens to a lost submit if nobody decides, and not before when.
CREATE FUNCTION vibevideo_internal.lost_fate(j vibevideo.job, OUT policy text, OUT acts_at timestamptz, OUT outcome text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	again constant boolean = (j).renders < current_setting('vibevideo.max_renders')::int;
BEGIN
	policy = CASE WHEN (j).orphan OR (j).cancel_requested_at IS NOT NULL THEN 'cancel' ELSE current_setting('vibevideo.unknown_policy') END;
	acts_at = CASE policy WHEN 'manual' THEN NULL WHEN 'resubmit' THEN (j).next_at
			  ELSE greatest((j).sent_at + current_setting('vibevideo.unknown_after')::interval, (j).next_at) END;
	outcome = CASE
		WHEN policy = 'manual' THEN 'nothing happens until somebody decides'
		WHEN policy = 'cancel' THEN 'it ends as cancelled if fal.ai''s list shows no trace of it'
		WHEN policy = 'resubmit' AND again THEN 'a new attempt is sent, without looking whether fal.ai has this one, too'
		WHEN policy = 'resubmit' THEN 'it fails: there have been vibevideo.max_renders attempts'
		WHEN policy = 'resubmit_when_absent' AND again THEN 'a new attempt is sent if fal.ai''s list shows no trace of this one'
		ELSE 'it fails if fal.ai''s list shows no trace of it, and nothing is sent again' END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.lost_fate(vibevideo.job) IS 'what becomes of a lost submit by itself, and when; owner only';

CREATE FUNCTION vibevideo.lost(max_jobs int DEFAULT 100)
RETURNS TABLE (job vibevideo.job_row, sent_at timestamptz, looked_at timestamptz, next_look_at timestamptz, complete boolean, policy text,
			   acts_at timestamptz, outcome text, candidates jsonb, fal_url text, more boolean)
LANGUAGE plpgsql STABLE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most constant int = 10000;
	see_input boolean;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	PERFORM vibevideo_internal.check_most('max_jobs', max_jobs, 1000);
	SELECT c.see_input INTO see_input FROM vibevideo_internal.caller() c;
	RETURN QUERY
	WITH known AS MATERIALIZED (
		SELECT x.job_id FROM vibevideo.job x WHERE x.state = 'submit_unknown' LIMIT most
	)
	SELECT vibevideo_internal.list_job(j, see_input), j.sent_at, l.looked_at, CASE WHEN j.leased_by IS NULL THEN j.next_at END,
		   l.complete, f.policy, f.acts_at, f.outcome,
		   CASE WHEN l.job_id IS NOT NULL THEN (
				-- what has become another job's since is none of them any more
				SELECT coalesce(jsonb_agg(c.request || jsonb_build_object('fal_url', vibevideo_internal.request_url(j.model, c.request ->> 'request_id'))
										  ORDER BY c.nth), '[]')
				FROM jsonb_array_elements(l.candidates) WITH ORDINALITY AS c(request, nth)
				WHERE NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.request_id = c.request ->> 'request_id')) END,
		   vibevideo_internal.requests_url(j.model, to_char(coalesce(j.sent_at, j.created_at) AT TIME ZONE 'UTC' - interval '2 minutes',
														   'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
		   (SELECT count(*) FROM known) > max_jobs
	FROM (SELECT k.job_id FROM known k ORDER BY k.job_id LIMIT max_jobs) n
	JOIN vibevideo.job j ON j.job_id = n.job_id
	-- of an earlier submit of the same job it says nothing
	LEFT JOIN vibevideo_internal.lost_look l ON l.job_id = j.job_id AND l.looked_at > j.sent_at
	CROSS JOIN LATERAL vibevideo_internal.lost_fate(j) f
	WHERE j.state = 'submit_unknown'
	ORDER BY j.job_id;
END
$$;
COMMENT ON FUNCTION vibevideo.lost(int) IS
'Lists lost submits, the oldest first, with the requests of fal.ai''s list that may be them.
max_jobs: so many at most, 1 to 1000; default: 100.
Returns a row for each:
job: as in a list, a vibevideo.job_row.
sent_at: when it was sent.
looked_at, next_look_at: when fal.ai''s list was read for it last, and is read next; NULL if it was not yet, or is
  being read now.
complete: whether that list was complete, so that it proves that a request is not there; NULL if it was not read.
policy: what happens if nobody decides: vibevideo.unknown_policy, or cancel for one that is to be cancelled.
acts_at: when that happens at the earliest; NULL if it does not.
outcome: the same as a sentence.
candidates: an array of requests that no other job has, the nearest in time first, each with request_id, at (when
  fal.ai accepted it), seconds (how long after the submit, by fal.ai''s clock), input (same, contains or differs),
  why (why it was not taken for this job) and fal_url (of its result, which wants the API key); NULL if fal.ai''s
  list was not read yet.
fal_url: the list itself, which wants the API key.
more: there are more lost submits than these.
Errors: 22023 a bad max_jobs; 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- What a retry would do
-------------------------------------------------------------------------------

-- Which limit another such job would be over now, as far as the jobs tell; NULL for none.
CREATE FUNCTION vibevideo_internal.limit_in_the_way(j vibevideo.job, cost numeric)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	l vibevideo.limit;
	b record;
	whose text;
	used numeric;
BEGIN
	IF cost IS NULL AND vibevideo_internal.refuses_unknown_price(j.requested_by, j.tenant, j.model) THEN
		RETURN 'spending is limited';
	END IF;
	FOR l IN SELECT x.* FROM vibevideo_internal.limits_for(j.requested_by, j.tenant, j.model) x LOOP
		whose = CASE split_part(l.who, ':', 1) WHEN 'global' THEN 'all users together' WHEN 'tenant' THEN 'its tenant' WHEN 'model' THEN 'its model' ELSE 'its user' END;
		IF l.max_active <= (SELECT count(*) FROM (SELECT FROM vibevideo_internal.active_jobs a
							WHERE vibevideo_internal.is_of(l.who, a.requested_by, a.tenant, a.model) LIMIT l.max_active) n)
		THEN
			RETURN format('limit max_active of %s is reached', whose);
		END IF;
		FOR b IN SELECT 'submits_day' AS kind, l.submits_per_day AS most WHERE l.submits_per_day IS NOT NULL
				 UNION ALL SELECT x.kind, x.most FROM vibevideo_internal.budgets(l) x LOOP
			used = vibevideo_internal.used_of(l.who, b.kind, vibevideo_internal.begin_of(b.kind, now()));
			IF b.kind LIKE 'submits%' AND used >= b.most THEN
				RETURN format('limit %s of %s is reached', vibevideo_internal.budget_name(b.kind), whose);
			ELSIF b.kind LIKE 'spend%' AND cost > 0 AND used + cost > b.most THEN
				RETURN format('it is over %s budget of %s', CASE b.kind WHEN 'spend_hour' THEN 'this hour''s' WHEN 'spend_day' THEN 'today''s' ELSE 'this month''s' END, whose);
			END IF;
		END LOOP;
	END LOOP;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.limit_in_the_way(vibevideo.job, numeric) IS 'which limit another such job would be over, null for none; owner only';

-- Says what RetryJob in decide.c would do.
CREATE FUNCTION vibevideo.retry_cost(job_id bigint, OUT copies boolean, OUT cost_usd numeric, OUT allowed boolean, OUT reason text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	j vibevideo.job;
	price numeric;
	other bigint;
	limited text;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	IF job_id IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'job_id must not be null';
	END IF;
	SELECT x.* INTO j FROM vibevideo.job x WHERE x.job_id = retry_cost.job_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = format('there is no job %s', job_id);
	END IF;
	other = (SELECT min(a.job_id) FROM vibevideo.job a
			 WHERE a.relation = j.relation AND a.vibelog_id = j.vibelog_id AND NOT a.orphan AND vibevideo.is_active(a.state) AND a.job_id <> j.job_id);
	copies = j.state = 'failed' AND j.media_url IS NOT NULL AND j.erased_at IS NULL AND other IS NULL;
	cost_usd = 0;
	allowed = false;
	IF EXISTS (SELECT FROM vibevideo.binding b WHERE vibevideo_internal.is_copy(b)) THEN
		reason = 'nothing is done here: this database is a copy';
	ELSIF other IS NOT NULL AND NOT vibevideo.is_active(j.state) THEN
		reason = format('job %s of the same row is active', other);
	ELSIF copies THEN
		allowed = true;
		reason = 'its video was rendered, and is only copied again';
	ELSIF j.state = 'pending' THEN
		allowed = true;
		reason = 'it is sent now, at the price it has already';
	ELSIF j.state = 'completed' THEN
		reason = 'its video is stored';
	ELSIF vibevideo.is_active(j.state) AND j.state <> 'submit_unknown' THEN
		reason = 'it is active';
	ELSIF other IS NOT NULL THEN
		allowed = true;
		reason = format('it is given up as lost, since job %s of the same row is active', other);
	ELSE
		price = vibevideo_internal.most_cost(j.model, j.input);
		cost_usd = price;
		-- a lost submit makes room for another when it is given up
		limited = CASE WHEN j.state <> 'submit_unknown' THEN vibevideo_internal.limit_in_the_way(j, price) END;
		allowed = limited IS NULL;
		reason = concat_ws(', but ', CASE WHEN j.state = 'submit_unknown'
										  THEN 'it is given up as lost, and a new attempt is paid for; if fal.ai has it after all, so is that'
										  ELSE 'a new attempt is paid for' END,
						   nullif(concat_ws(', and ', CASE WHEN price IS NULL THEN 'its price is not known' END, limited), ''));
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.retry_cost(bigint) IS
'Says what vibevideo.retry would do with a job, and what that would cost. Changes nothing.
job_id: the job''s number.
Returns one row:
copies: its video was rendered, and would only be copied again.
cost_usd: what a new attempt costs at most, in USD; 0 if there would be none, NULL if it is not known.
allowed: whether it would do anything, as far as can be told.
reason: what it would do, or why not.
Errors: PT404 no such job; 22004 it is null; 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- Health
-------------------------------------------------------------------------------

-- It takes some milliseconds, and a second at most, whoever holds what it looks at.
-- Jobs are not counted: what needs a person among them is in the inbox, which reads a
-- bounded part.
CREATE FUNCTION vibevideo_internal.local_checks()
RETURNS TABLE (check_name text, status text, detail text, hint text)
LANGUAGE plpgsql VOLATILE ROWS 25 SET search_path = pg_catalog, pg_temp SET lock_timeout = '20ms' AS $$
DECLARE
	until constant timestamptz = clock_timestamp() + interval '1 second';
	part text;
BEGIN
	FOREACH part IN ARRAY ARRAY['preload', 'worker', 'table', 'api', 'keys', 'cron', 'limits', 'ledger', 'sequences'] LOOP
		check_name = part;
		status = 'warn';
		hint = 'SELECT * FROM vibevideo.health(true) takes all the time it needs; that is for operators.';
		IF clock_timestamp() > until THEN
			detail = 'there was no time to look at this';
			RETURN NEXT;
			CONTINUE;
		END IF;
		BEGIN
			RETURN QUERY EXECUTE format('SELECT l.check_name, l.status, l.detail, l.hint FROM vibevideo_internal.%I() l', 'check_' || part);
		EXCEPTION
			WHEN lock_not_available THEN
				detail = 'somebody holds a lock on what this looks at';
				RETURN NEXT;
			WHEN OTHERS THEN
				status = 'fail';
				detail = SQLERRM;
				hint = format('SELECT * FROM vibevideo_internal.check_%s() shows the whole error.', part);
				RETURN NEXT;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.local_checks() IS 'what check_config looks at without the network and without jobs, within a second; owner only';

CREATE FUNCTION vibevideo.health(network boolean DEFAULT false)
RETURNS TABLE (check_name text, status text, detail text, hint text)
LANGUAGE plpgsql VOLATILE ROWS 30 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	IF network THEN
		PERFORM vibevideo_internal.require('operator');
		RETURN QUERY SELECT c.check_name, c.status, c.detail, c.hint FROM vibevideo.check_config() c;
	ELSE
		RETURN QUERY SELECT c.check_name, c.status, c.detail, c.hint FROM vibevideo_internal.local_checks() c;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.health(boolean) IS
'Reports whether everything is as it has to be, as far as that can be seen without asking anybody and without
  counting jobs, which is for vibevideo.inbox. It takes a second at most, and says what it has not looked at.
network: true asks fal.ai and Storage as well, and counts, as vibevideo.check_config does; that takes an operator;
  default: false.
Returns a row for each thing:
check_name, status: what it is, and ok, warn or fail.
detail, hint: what was found, and what to do about it; NULL if it is ok.
Errors: 42501 not a viewer, or with network not an operator.
For viewers and operators.';

-------------------------------------------------------------------------------
-- The audit, limits, prices
-------------------------------------------------------------------------------

CREATE TYPE vibevideo.audit_page AS (
	rows vibevideo.audit[],
	next jsonb
);
COMMENT ON TYPE vibevideo.audit_page IS 'a part of the audit';
COMMENT ON COLUMN vibevideo.audit_page.rows IS 'rows of vibevideo.audit, the last one first';
COMMENT ON COLUMN vibevideo.audit_page.next IS 'what to pass as after, to continue; NULL if there are no more';

CREATE FUNCTION vibevideo.audit(after jsonb DEFAULT NULL, max_rows int DEFAULT 50)
RETURNS vibevideo.audit_page LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	page vibevideo.audit_page;
	last_at timestamptz = 'infinity';
	last_id bigint = 0;
BEGIN
	PERFORM vibevideo_internal.require_to_read('operator');
	PERFORM vibevideo_internal.check_most('max_rows', max_rows, 1000);
	IF jsonb_typeof(after) <> 'null' THEN
		BEGIN
			last_at = after ->> 'at';
			last_id = after ->> 'audit_id';
			IF last_at IS NULL OR last_id IS NULL THEN
				RAISE invalid_parameter_value;
			END IF;
		EXCEPTION WHEN data_exception THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = 'after does not say where the audit goes on',
				HINT = 'It must be next of the part before, or null for the first part.';
		END;
	END IF;
	page.rows = ARRAY(SELECT a FROM vibevideo.audit a WHERE (a.at, a.audit_id) < (last_at, last_id)
					  ORDER BY a.at DESC, a.audit_id DESC LIMIT max_rows + 1);
	IF cardinality(page.rows) > max_rows THEN
		page.rows = page.rows[1:max_rows];
		page.next = jsonb_build_object('at', (page.rows[max_rows]).at, 'audit_id', (page.rows[max_rows]).audit_id);
	END IF;
	RETURN page;
END
$$;
COMMENT ON FUNCTION vibevideo.audit(jsonb, int) IS
'Shows what operators and the owner did, the last act first.
after: next of the part before, to continue there; default: NULL, which is the beginning.
max_rows: so many at most, 1 to 1000; default: 50.
Returns a part of the audit, a vibevideo.audit_page.
Errors: 22023 a bad after or max_rows; 42501 not an operator.
For operators.';

-- Refuses a scope that names no limit, with whom it is for.
CREATE FUNCTION vibevideo_internal.check_scope(scope text, user_id text, tenant text, model text)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	given record;
BEGIN
	PERFORM vibevideo_internal.check_limit_scope(coalesce(scope, ''), 'invalid_parameter_value');
	FOR given IN SELECT v.* FROM (VALUES ('user', 'user_id', user_id), ('tenant', 'tenant', tenant), ('model', 'model', model)) AS v(scope, name, value) LOOP
		IF scope = given.scope AND (given.value IS NULL OR length(given.value) NOT BETWEEN 1 AND 500) THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = format('the limit of a %s needs %s', given.scope, given.name);
		ELSIF scope <> given.scope AND given.value IS NOT NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = format('limit %s is of no %s', scope, given.scope),
				HINT = format('Leave %s null.', given.name);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_scope(text, text, text, text) IS 'refuses a scope that names no limit: 22023; owner only';

-- Refuses a limit that is not one.
CREATE FUNCTION vibevideo_internal.check_limit(name text, value numeric, most numeric)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF value <> -1 AND value NOT BETWEEN 0 AND most THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('%s must be -1 or a number from 0 to %s', name, most),
			HINT = '-1 is unlimited, 0 allows nothing; NULL is what the default limit says or, in default and global, unlimited.';
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_limit(text, numeric, numeric) IS 'refuses a limit that is not one: 22023; owner only';

-- The table's triggers note it in the audit, with what was and is.
CREATE FUNCTION vibevideo.set_limit(scope text, user_id text, max_active int, submits_per_day int, spend_per_day_usd numeric,
									submits_per_hour int DEFAULT NULL, submits_per_month int DEFAULT NULL, spend_per_hour_usd numeric DEFAULT NULL,
									spend_per_month_usd numeric DEFAULT NULL, tenant text DEFAULT NULL, model text DEFAULT NULL)
RETURNS vibevideo.limit LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changed vibevideo.limit;
BEGIN
	PERFORM vibevideo_internal.require('operator');
	PERFORM vibevideo_internal.check_scope(scope, user_id, tenant, model);
	PERFORM vibevideo_internal.check_limit('max_active', max_active, 10000),
			vibevideo_internal.check_limit('submits_per_hour', submits_per_hour, 10000000),
			vibevideo_internal.check_limit('submits_per_day', submits_per_day, 100000),
			vibevideo_internal.check_limit('submits_per_month', submits_per_month, 10000000),
			vibevideo_internal.check_limit('spend_per_hour_usd', spend_per_hour_usd, 10000000),
			vibevideo_internal.check_limit('spend_per_day_usd', spend_per_day_usd, 10000000),
			vibevideo_internal.check_limit('spend_per_month_usd', spend_per_month_usd, 10000000);
	INSERT INTO vibevideo.limit AS l (scope, user_id, tenant, model, max_active, submits_per_hour, submits_per_day, submits_per_month,
									  spend_per_hour_usd, spend_per_day_usd, spend_per_month_usd)
	VALUES (set_limit.scope, set_limit.user_id, set_limit.tenant, set_limit.model, set_limit.max_active, set_limit.submits_per_hour,
			set_limit.submits_per_day, set_limit.submits_per_month, set_limit.spend_per_hour_usd, set_limit.spend_per_day_usd, set_limit.spend_per_month_usd)
	ON CONFLICT (who) DO UPDATE SET max_active = EXCLUDED.max_active, submits_per_hour = EXCLUDED.submits_per_hour,
		submits_per_day = EXCLUDED.submits_per_day, submits_per_month = EXCLUDED.submits_per_month, spend_per_hour_usd = EXCLUDED.spend_per_hour_usd,
		spend_per_day_usd = EXCLUDED.spend_per_day_usd, spend_per_month_usd = EXCLUDED.spend_per_month_usd
	WHERE (l.max_active, l.submits_per_hour, l.submits_per_day, l.submits_per_month, l.spend_per_hour_usd, l.spend_per_day_usd, l.spend_per_month_usd)
		  IS DISTINCT FROM (EXCLUDED.max_active, EXCLUDED.submits_per_hour, EXCLUDED.submits_per_day, EXCLUDED.submits_per_month,
							EXCLUDED.spend_per_hour_usd, EXCLUDED.spend_per_day_usd, EXCLUDED.spend_per_month_usd);
	SELECT l.* INTO changed FROM vibevideo.limit l
	WHERE l.scope = set_limit.scope AND (l.user_id, l.tenant, l.model) IS NOT DISTINCT FROM (set_limit.user_id, set_limit.tenant, set_limit.model);
	RETURN changed;
END
$$;
COMMENT ON FUNCTION vibevideo.set_limit(text, text, int, int, numeric, int, int, numeric, numeric, text, text) IS
'Sets a limit, all of it. It counts from the next submit on; the audit has what it was.
scope: global for all users together, default for each user without a limit of his own, user; default_tenant and
  tenant, the same of tenants; or model, for all videos of a model.
user_id: whose limit it is, for scope user; else NULL.
max_active: active videos at a time, up to 10000; -1: unlimited; 0: none; NULL: as the default limit, or unlimited in
  default, default_tenant, model and global.
submits_per_day: videos requested in a day of UTC, up to 100000; -1, 0 and NULL as above.
spend_per_day_usd: what a day''s videos may cost, in USD; -1, 0 and NULL as above.
submits_per_hour: videos requested in an hour, up to 10000000; default: NULL.
submits_per_month: videos requested in a calendar month of UTC, up to 10000000; default: NULL.
spend_per_hour_usd: what an hour''s videos may cost, in USD; default: NULL.
spend_per_month_usd: what a month''s videos may cost, in USD; default: NULL.
tenant: whose limit it is, for scope tenant; default: NULL.
model: fal.ai''s id of the model, for scope model; default: NULL.
Returns the limit, a row of vibevideo.limit.
Errors: 22023 another scope, a user, tenant or model that does not fit it, a bad number; 42501 not an operator.
For operators.';

CREATE FUNCTION vibevideo.delete_limit(scope text, user_id text DEFAULT NULL, tenant text DEFAULT NULL, model text DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('operator');
	PERFORM vibevideo_internal.check_scope(scope, user_id, tenant, model);
	DELETE FROM vibevideo.limit l
	WHERE l.scope = delete_limit.scope AND (l.user_id, l.tenant, l.model) IS NOT DISTINCT FROM (delete_limit.user_id, delete_limit.tenant, delete_limit.model);
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION vibevideo.delete_limit(text, text, text, text) IS
'Takes a limit away. The audit has what it was.
scope: global, default, user, default_tenant, tenant or model.
user_id: whose limit it is, for scope user; default: NULL.
tenant: whose limit it is, for scope tenant; default: NULL.
model: fal.ai''s id of the model, for scope model; default: NULL.
Returns false if there was none.
Errors: 22023 another scope, or whom it is for does not fit it; 42501 not an operator.
For operators.';

CREATE FUNCTION vibevideo.set_price(endpoint text, unit_price_usd numeric, unit text DEFAULT 'video', applies jsonb DEFAULT '{}', quantity jsonpath DEFAULT NULL,
									quantity_default numeric DEFAULT NULL, allowance numeric DEFAULT 0, valid_from timestamptz DEFAULT now(), note text DEFAULT NULL)
RETURNS vibevideo.price_rule LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changed vibevideo.price_rule;
BEGIN
	PERFORM vibevideo_internal.require('operator');
	PERFORM vibevideo_internal.check_endpoint(endpoint);
	IF unit_price_usd NOT BETWEEN 0 AND 100000 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'unit_price_usd must be a number from 0 to 100000',
			HINT = 'NULL says that the price is not known.';
	ELSIF unit IS NULL OR unit NOT IN ('video', 'second', 'image', 'megapixel', 'custom') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'unit must be video, second, image, megapixel or custom';
	ELSIF quantity_default <= 0 OR quantity_default > 1000000 OR allowance IS NULL OR allowance NOT BETWEEN 0 AND 1000000 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'quantity_default and allowance must be numbers up to 1000000';
	ELSIF applies IS NULL OR valid_from IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'applies and valid_from must not be null';
	ELSIF unit <> 'video' AND quantity IS NULL AND quantity_default IS NULL AND unit_price_usd IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('the rule does not say how many %s there will be', vibevideo_internal.units(NULL, unit)),
			HINT = 'Set quantity to where the input says it, as ''$.duration'', or quantity_default, or both.';
	END IF;
	INSERT INTO vibevideo.price_rule AS r (endpoint, source, applies, valid_from, unit, unit_price_usd, quantity, quantity_default, allowance, note)
	VALUES (set_price.endpoint, 'operator', set_price.applies, set_price.valid_from, set_price.unit, set_price.unit_price_usd, set_price.quantity,
			set_price.quantity_default, set_price.allowance, set_price.note)
	ON CONFLICT ON CONSTRAINT price_rule_pkey DO UPDATE SET unit = EXCLUDED.unit, unit_price_usd = EXCLUDED.unit_price_usd, quantity = EXCLUDED.quantity,
		quantity_default = EXCLUDED.quantity_default, allowance = EXCLUDED.allowance, note = EXCLUDED.note
	RETURNING r.* INTO changed;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION vibevideo.set_price(text, numeric, text, jsonb, jsonpath, numeric, numeric, timestamptz, text) IS
'Sets what videos of a model cost: a rule in vibevideo.price_rule that goes before those of fal.ai and vibevideo. It
  counts for jobs that are requested from valid_from on; the audit has what it was.
endpoint: fal.ai''s id of the model.
unit_price_usd: what a unit costs, in USD; NULL: not known.
unit: video, second, image, megapixel or custom; default: video.
applies: what an input must contain for this rule to count, as {"resolution": "4k"}; default: {}, which is any input.
quantity: where the input says how many units there will be, as ''$.duration''; default: nowhere.
quantity_default: how many there are if it does not; default: one video, of all else that is not known.
allowance: how many units more may be billed than the input says; default: none.
valid_from: since when, or from when on, it counts; default: now.
note: for people; default: none.
Returns the rule, a row of vibevideo.price_rule.
Errors: 22023 no such id can be, a bad price, unit or number; 22004 applies or valid_from is null; 23514 another rule may
  count for the same input, and neither asks for more of it; 42501 not an operator.
For operators.';

CREATE FUNCTION vibevideo.delete_price(endpoint text, applies jsonb DEFAULT '{}')
RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	gone int;
BEGIN
	PERFORM vibevideo_internal.require('operator');
	IF endpoint IS NULL OR applies IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'endpoint and applies must not be null';
	END IF;
	DELETE FROM vibevideo.price_rule r
	WHERE r.endpoint = delete_price.endpoint AND r.applies = delete_price.applies AND r.source = 'operator';
	GET DIAGNOSTICS gone = ROW_COUNT;
	RETURN gone;
END
$$;
COMMENT ON FUNCTION vibevideo.delete_price(text, jsonb) IS
'Takes the rules of vibevideo.set_price for a model away, so that those of fal.ai or vibevideo count again. The audit has
  what they were.
endpoint: fal.ai''s id of the model.
applies: as it was set; default: {}.
Returns how many there were, with all their times.
Errors: 22004 an argument is null; 42501 not an operator.
For operators.';

CREATE FUNCTION vibevideo_internal.shown_limits()
RETURNS SETOF vibevideo.limit LANGUAGE plpgsql STABLE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY SELECT l.* FROM vibevideo.limit l
	ORDER BY array_position(ARRAY['global', 'model', 'default_tenant', 'tenant', 'default', 'user'], l.scope), l.user_id, l.tenant, l.model LIMIT 1000;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.shown_limits() IS 'vibevideo.limit, at most 1000 rows; for viewers';

CREATE FUNCTION vibevideo_internal.shown_limit_use()
RETURNS SETOF vibevideo.limit_use LANGUAGE plpgsql STABLE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY SELECT u.* FROM vibevideo.limit_use u ORDER BY u.most = 0, u.remaining / nullif(u.most, 0), u.used DESC, u.who, u.limit_name LIMIT 1000;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.shown_limit_use() IS 'vibevideo.limit_use, at most 1000 rows; for viewers';

CREATE FUNCTION vibevideo_internal.shown_prices()
RETURNS SETOF vibevideo.price_rule LANGUAGE plpgsql STABLE ROWS 50 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY SELECT r.* FROM vibevideo.price_rule r
		ORDER BY r.endpoint, r.source = 'operator' DESC, r.source = 'fal' DESC, r.keys, r.applies, r.valid_from DESC LIMIT 1000;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.shown_prices() IS 'vibevideo.price_rule, at most 1000 rows; for viewers';

-- It runs as the owner, who reads more than a viewer may: not where settings stand,
-- nor what PostgreSQL keeps for superusers, nor whether there is a key.
CREATE FUNCTION vibevideo_internal.shown_settings()
RETURNS SETOF vibevideo.settings LANGUAGE plpgsql STABLE ROWS 50 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	hidden constant text[] = ARRAY['vibevideo.ca_file', 'vibevideo.fal_key_secret', 'vibevideo.fal_admin_key_secret', 'vibevideo.storage_key_secret'];
	keys constant text[] = ARRAY['vibevideo.fal_key', 'vibevideo.fal_admin_key', 'vibevideo.storage_key'];
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY SELECT s.name, CASE WHEN s.name <> ALL (keys) THEN s.value END, s.default_value, CASE WHEN s.name <> ALL (keys) THEN s.source END, NULL::text,
		CASE WHEN s.name <> ALL (keys) THEN s.advice END, s.meaning
	FROM vibevideo.settings s WHERE s.name <> ALL (hidden);
END
$$;
COMMENT ON FUNCTION vibevideo_internal.shown_settings() IS 'vibevideo.settings, as a viewer reads it; for viewers';

CREATE TYPE vibevideo_internal.ledger_page AS (
	detail text,
	hint text,
	covered_from timestamptz,
	read_at timestamptz,
	failing_since timestamptz,
	days vibevideo.ledger[],
	more_days boolean,
	unmatched vibevideo.unmatched[],
	more_unmatched boolean
);
COMMENT ON TYPE vibevideo_internal.ledger_page IS 'what public.vibevideo_admin_ledger returns';

-- Another program on the account may have made many items, and a bill that is not shown
-- any more leaves many jobs: of both the last ones are read.  A day of which not all
-- jobs were read is left out, unless it is this one.
CREATE FUNCTION vibevideo_internal.shown_ledger(days int DEFAULT 30)
RETURNS vibevideo_internal.ledger_page LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most_jobs constant int = 5000;
	most_days constant int = 500;
	most constant int = 100;
	today constant date = vibevideo_internal.today();
	since date;
	jobs vibevideo_internal.unbilled[];
	last_at timestamptz;
	page vibevideo_internal.ledger_page;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	PERFORM vibevideo_internal.check_most('days', days, 366);
	since = today - days + 1;
	SELECT b.covered_from, b.read_at, b.failing_since INTO page.covered_from, page.read_at, page.failing_since FROM vibevideo_internal.bill_state b;
	SELECT c.detail, c.hint INTO page.detail, page.hint FROM vibevideo_internal.check_ledger() c;
	IF vibevideo_internal.key_source('vibevideo.fal_admin_key') IS NULL THEN
		page.detail = 'fal.ai''s bill is not read: there is no API key of scope ADMIN';
		page.hint = vibevideo_internal.bill_remedy(401);
	END IF;

	jobs = ARRAY(SELECT b FROM vibevideo_internal.last_unbilled(most_jobs) b);
	page.more_days = cardinality(jobs) = most_jobs;
	IF page.more_days THEN
		since = greatest(since, least(today, ((jobs[most_jobs]).at AT TIME ZONE 'UTC')::date + 1));
	END IF;
	page.days = ARRAY(SELECT l FROM vibevideo_internal.ledger_since(since, jobs) l LIMIT most_days + 1);
	page.more_days = page.more_days OR cardinality(page.days) > most_days;
	page.days = page.days[1:most_days];

	-- the view has them from a time on that leaves only so many
	last_at = (SELECT x.at FROM (SELECT unnest(vibevideo_internal.last_unmatched(most + 1)) AS at
								 UNION ALL SELECT b.at FROM unnest(jobs[1:most + 1]) b) x ORDER BY x.at DESC OFFSET most LIMIT 1);
	page.unmatched = ARRAY(SELECT u FROM vibevideo.unmatched u WHERE u.at >= coalesce(last_at, '-infinity') ORDER BY u.at DESC, u.event_id DESC LIMIT most + 1);
	page.more_unmatched = cardinality(page.unmatched) > most;
	page.unmatched = page.unmatched[1:most];
	RETURN page;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.shown_ledger(int) IS 'vibevideo.ledger and vibevideo.unmatched, their last rows, and whether the bill is read: 22023; for viewers';

CREATE TYPE vibevideo_internal.worker_row AS (
	pid int,
	started_at timestamptz,
	heartbeat_at timestamptz,
	last_poll_at timestamptz,
	starts bigint,
	failures bigint,
	fal_down_until timestamptz,
	storage_down_until timestamptz,
	fal_down_since timestamptz,
	storage_down_since timestamptz,
	fal_is_probed boolean,
	storage_is_probed boolean,
	has_fal_key boolean,
	has_storage_key boolean,
	copies int,
	absence text,
	restart_at timestamptz,
	cannot_start boolean
);
COMMENT ON TYPE vibevideo_internal.worker_row IS 'what vibevideo.worker_info returns';

CREATE FUNCTION vibevideo_internal.shown_worker()
RETURNS vibevideo_internal.worker_row LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w vibevideo_internal.worker_row;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	SELECT i.* INTO w FROM vibevideo.worker_info() i;
	RETURN w;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.shown_worker() IS 'vibevideo.worker_info; for viewers';

-------------------------------------------------------------------------------
-- For PostgREST
-------------------------------------------------------------------------------

-- Each hands on to a function that judges who calls, with the caller's own rights.
CREATE FUNCTION public.vibevideo_admin_me(OUT user_id text, OUT name text, OUT note text, OUT level text, OUT see_input boolean, OUT hint text, OUT server_time timestamptz,
										   OUT version text, OUT confirm_over_usd numeric, OUT storage_public_url text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo.me() x;
END;
CREATE FUNCTION public.vibevideo_admin_overview()
RETURNS vibevideo.overview_row LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.overview();
CREATE FUNCTION public.vibevideo_admin_inbox()
RETURNS SETOF vibevideo.inbox_row LANGUAGE sql VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo.inbox() x;
END;
CREATE FUNCTION public.vibevideo_admin_list_jobs(filter jsonb DEFAULT '{}', after jsonb DEFAULT NULL, max_jobs int DEFAULT 50)
RETURNS vibevideo.job_page LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.list_jobs(filter, after, max_jobs);
CREATE FUNCTION public.vibevideo_admin_find(q text, max_jobs int DEFAULT 20)
RETURNS vibevideo.job_page LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.find(q, max_jobs);
CREATE FUNCTION public.vibevideo_admin_job(job_id bigint)
RETURNS vibevideo.job_details LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.job_detail(job_id);
CREATE FUNCTION public.vibevideo_admin_errors(since timestamptz DEFAULT now() - interval '1 day')
RETURNS SETOF vibevideo.error_group LANGUAGE sql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo.error_groups(since) x;
END;
CREATE FUNCTION public.vibevideo_admin_users(since timestamptz DEFAULT now() - interval '30 days', most int DEFAULT 50)
RETURNS SETOF vibevideo.user_row LANGUAGE sql STABLE ROWS 50 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo.users(since, most) x;
END;
CREATE FUNCTION public.vibevideo_admin_series(metric text, since timestamptz DEFAULT now() - interval '1 day', step interval DEFAULT '5 minutes')
RETURNS TABLE (at timestamptz, label text, value double precision) LANGUAGE sql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo.series(metric, since, step) x;
END;
CREATE FUNCTION public.vibevideo_admin_lost(max_jobs int DEFAULT 100)
RETURNS TABLE (job vibevideo.job_row, sent_at timestamptz, looked_at timestamptz, next_look_at timestamptz, complete boolean, policy text,
			   acts_at timestamptz, outcome text, candidates jsonb, fal_url text, more boolean) LANGUAGE sql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo.lost(max_jobs) x;
END;
CREATE FUNCTION public.vibevideo_admin_retry_cost(job_id bigint, OUT copies boolean, OUT cost_usd numeric, OUT allowed boolean, OUT reason text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo.retry_cost(job_id) x;
END;
CREATE FUNCTION public.vibevideo_admin_health(network boolean DEFAULT false)
RETURNS TABLE (check_name text, status text, detail text, hint text) LANGUAGE sql VOLATILE ROWS 30 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo.health(network) x;
END;
CREATE FUNCTION public.vibevideo_admin_worker()
RETURNS vibevideo_internal.worker_row LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo_internal.shown_worker();
CREATE FUNCTION public.vibevideo_admin_limits()
RETURNS SETOF vibevideo.limit LANGUAGE sql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo_internal.shown_limits() x;
END;
CREATE FUNCTION public.vibevideo_admin_limit_use()
RETURNS SETOF vibevideo.limit_use LANGUAGE sql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo_internal.shown_limit_use() x;
END;
CREATE FUNCTION public.vibevideo_admin_prices()
RETURNS SETOF vibevideo.price_rule LANGUAGE sql STABLE ROWS 50 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo_internal.shown_prices() x;
END;
CREATE FUNCTION public.vibevideo_admin_settings()
RETURNS SETOF vibevideo.settings LANGUAGE sql STABLE ROWS 50 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo_internal.shown_settings() x;
END;
CREATE FUNCTION public.vibevideo_admin_ledger(days int DEFAULT 30)
RETURNS vibevideo_internal.ledger_page LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo_internal.shown_ledger(days);
CREATE FUNCTION public.vibevideo_admin_plan(action text, filter jsonb, max_jobs int DEFAULT 1000)
RETURNS TABLE (token uuid, jobs int, users int, cost_usd numeric, confirm text, unpriced int, skipped int, why jsonb, examples jsonb,
			   more text, expires_at timestamptz) LANGUAGE sql VOLATILE ROWS 1 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo.plan(action, filter, max_jobs) x;
END;
CREATE FUNCTION public.vibevideo_admin_act(token uuid, confirm text DEFAULT NULL)
RETURNS TABLE (jobs int, users int, cost_usd numeric, skipped int, why jsonb) LANGUAGE sql VOLATILE ROWS 1 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo.act(token, confirm) x;
END;
CREATE FUNCTION public.vibevideo_admin_cancel(job_id bigint)
RETURNS vibevideo.video LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.cancel(job_id);
CREATE FUNCTION public.vibevideo_admin_retry(job_id bigint)
RETURNS vibevideo.video LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.retry(job_id);
CREATE FUNCTION public.vibevideo_admin_resolve(job_id bigint, verdict text)
RETURNS vibevideo.video LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.resolve(job_id, verdict);
CREATE FUNCTION public.vibevideo_admin_pause(scope text DEFAULT 'sending', reason text DEFAULT NULL)
RETURNS boolean LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.pause(scope, reason);
CREATE FUNCTION public.vibevideo_admin_resume()
RETURNS boolean LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.resume();
CREATE FUNCTION public.vibevideo_admin_probe_now()
RETURNS TABLE (service text, was_down boolean, answers boolean, detail text, next_probe_at timestamptz) LANGUAGE sql VOLATILE ROWS 2 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT x.* FROM vibevideo.probe_now() x;
END;
CREATE FUNCTION public.vibevideo_admin_audit(after jsonb DEFAULT NULL, max_rows int DEFAULT 50)
RETURNS vibevideo.audit_page LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.audit(after, max_rows);
CREATE FUNCTION public.vibevideo_admin_set_limit(scope text, user_id text, max_active int, submits_per_day int, spend_per_day_usd numeric,
												 submits_per_hour int DEFAULT NULL, submits_per_month int DEFAULT NULL,
												 spend_per_hour_usd numeric DEFAULT NULL, spend_per_month_usd numeric DEFAULT NULL,
												 tenant text DEFAULT NULL, model text DEFAULT NULL)
RETURNS vibevideo.limit LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.set_limit(scope, user_id, max_active, submits_per_day, spend_per_day_usd, submits_per_hour, submits_per_month,
						   spend_per_hour_usd, spend_per_month_usd, tenant, model);
CREATE FUNCTION public.vibevideo_admin_delete_limit(scope text, user_id text DEFAULT NULL, tenant text DEFAULT NULL, model text DEFAULT NULL)
RETURNS boolean LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.delete_limit(scope, user_id, tenant, model);
CREATE FUNCTION public.vibevideo_admin_set_price(endpoint text, unit_price_usd numeric, unit text DEFAULT 'video', applies jsonb DEFAULT '{}',
												 quantity jsonpath DEFAULT NULL, quantity_default numeric DEFAULT NULL, allowance numeric DEFAULT 0,
												 valid_from timestamptz DEFAULT now(), note text DEFAULT NULL)
RETURNS vibevideo.price_rule LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.set_price(endpoint, unit_price_usd, unit, applies, quantity, quantity_default, allowance, valid_from, note);
CREATE FUNCTION public.vibevideo_admin_delete_price(endpoint text, applies jsonb DEFAULT '{}')
RETURNS int LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.delete_price(endpoint, applies);
CREATE FUNCTION public.vibevideo_admin_estimate(endpoint text, input jsonb)
RETURNS vibevideo.estimated LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.estimate(endpoint, input);
CREATE FUNCTION public.vibevideo_admin_explain_usage(what text, note text)
RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN vibevideo.explain_usage(what, note);

COMMENT ON FUNCTION public.vibevideo_admin_limits() IS
'Lists limits: for all users together, for models, for tenants and users, and at most 1000 of single ones.
Returns rows of vibevideo.limit.
Errors: 42501 not a viewer.
For viewers and operators.';
COMMENT ON FUNCTION public.vibevideo_admin_limit_use() IS
'Lists how much of each limit is used, those first of which the smallest part is left; those that allow nothing come
  last. Of a default, of each of its limits the 100 users, or tenants, who have used the most; at most 1000 in all.
Returns rows of vibevideo.limit_use.
Errors: 42501 not a viewer.
For viewers and operators.';
COMMENT ON FUNCTION public.vibevideo_admin_prices() IS
'Lists the rules for prices, by model; at most 1000.
Returns rows of vibevideo.price_rule.
Errors: 42501 not a viewer.
For viewers and operators.';
COMMENT ON FUNCTION public.vibevideo_admin_settings() IS
'Lists the settings in force, as a viewer may see them, and what would be better.
Returns rows of vibevideo.settings.
Errors: 42501 not a viewer.
For viewers and operators.';
COMMENT ON FUNCTION public.vibevideo_admin_ledger(int) IS
'Shows our books against fal.ai''s bill, by day and model, what has no counterpart, and whether the bill is read.
days: so many days of UTC, with this one, 1 to 366; default: 30.
Returns one row:
detail, hint: whether the bill is read, and what to do if it is not; hint is NULL if nothing is to be done.
covered_from, read_at: which time has been read, NULL if none was yet.
failing_since: since when fal.ai does not show it; NULL if it does.
days: rows of vibevideo.ledger, the last day first, at most 500.
more_days: there are more in this time, as where thousands of jobs are without an item.
unmatched: rows of vibevideo.unmatched, the last one first, at most 100; of all days.
more_unmatched: there are more.
Errors: 22023 a bad days; 42501 not a viewer.
For viewers and operators.';
-- the others are explained as what they call
DO $$
DECLARE
	f record;
BEGIN
	FOR f IN
		SELECT p.oid::regprocedure AS function,
			   -- the argument of some has another name, and everybody who calls these is a viewer or operator
			   CASE WHEN i.called ~ '^vibevideo[.](cancel|retry|resolve)[(]' THEN replace(d.explained, E'\njob: ', E'\njob_id: ')
					ELSE replace(d.explained, 'For viewers, operators and service_role.', 'For viewers and operators.') END AS explained
		FROM (VALUES
			('vibevideo_admin_me()', 'vibevideo.me()'),
			('vibevideo_admin_overview()', 'vibevideo.overview()'),
			('vibevideo_admin_inbox()', 'vibevideo.inbox()'),
			('vibevideo_admin_list_jobs(jsonb, jsonb, int)', 'vibevideo.list_jobs(jsonb, jsonb, int)'),
			('vibevideo_admin_find(text, int)', 'vibevideo.find(text, int)'),
			('vibevideo_admin_job(bigint)', 'vibevideo.job_detail(bigint)'),
			('vibevideo_admin_errors(timestamptz)', 'vibevideo.error_groups(timestamptz)'),
			('vibevideo_admin_users(timestamptz, int)', 'vibevideo.users(timestamptz, int)'),
			('vibevideo_admin_series(text, timestamptz, interval)', 'vibevideo.series(text, timestamptz, interval)'),
			('vibevideo_admin_lost(int)', 'vibevideo.lost(int)'),
			('vibevideo_admin_retry_cost(bigint)', 'vibevideo.retry_cost(bigint)'),
			('vibevideo_admin_health(boolean)', 'vibevideo.health(boolean)'),
			('vibevideo_admin_worker()', 'vibevideo.worker_info()'),
			('vibevideo_admin_plan(text, jsonb, int)', 'vibevideo.plan(text, jsonb, int)'),
			('vibevideo_admin_act(uuid, text)', 'vibevideo.act(uuid, text)'),
			('vibevideo_admin_cancel(bigint)', 'vibevideo.cancel(bigint)'),
			('vibevideo_admin_retry(bigint)', 'vibevideo.retry(bigint)'),
			('vibevideo_admin_resolve(bigint, text)', 'vibevideo.resolve(bigint, text)'),
			('vibevideo_admin_pause(text, text)', 'vibevideo.pause(text, text)'),
			('vibevideo_admin_resume()', 'vibevideo.resume()'),
			('vibevideo_admin_probe_now()', 'vibevideo.probe_now()'),
			('vibevideo_admin_audit(jsonb, int)', 'vibevideo.audit(jsonb, int)'),
			('vibevideo_admin_set_limit(text, text, int, int, numeric, int, int, numeric, numeric, text, text)', 'vibevideo.set_limit(text, text, int, int, numeric, int, int, numeric, numeric, text, text)'),
			('vibevideo_admin_delete_limit(text, text, text, text)', 'vibevideo.delete_limit(text, text, text, text)'),
			('vibevideo_admin_set_price(text, numeric, text, jsonb, jsonpath, numeric, numeric, timestamptz, text)', 'vibevideo.set_price(text, numeric, text, jsonb, jsonpath, numeric, numeric, timestamptz, text)'),
			('vibevideo_admin_delete_price(text, jsonb)', 'vibevideo.delete_price(text, jsonb)'),
			('vibevideo_admin_estimate(text, jsonb)', 'vibevideo.estimate(text, jsonb)'),
			('vibevideo_admin_explain_usage(text, text)', 'vibevideo.explain_usage(text, text)')) AS i(function, called)
		JOIN pg_proc p ON p.oid = to_regprocedure('public.' || i.function)
		CROSS JOIN LATERAL (SELECT obj_description(to_regprocedure(i.called), 'pg_proc') AS explained) d
	LOOP
		EXECUTE format('COMMENT ON FUNCTION %s IS %L', f.function, f.explained);
	END LOOP;
END
$$;

DO $$
DECLARE
	new constant text = 'public.vibevideo_dashboard(text), vibevideo.me(), vibevideo_internal.jobs_numbered(text), vibevideo.find(text, int), '
		'vibevideo_internal.requests_url(text, text), vibevideo_internal.lost_fate(vibevideo.job), vibevideo.lost(int), '
		'vibevideo_internal.limit_in_the_way(vibevideo.job, numeric), vibevideo.retry_cost(bigint), vibevideo_internal.local_checks(), '
		'vibevideo.health(boolean), vibevideo.audit(jsonb, int), vibevideo_internal.check_scope(text, text, text, text), '
		'vibevideo_internal.check_limit(text, numeric, numeric), vibevideo.set_limit(text, text, int, int, numeric, int, int, numeric, numeric, text, text), '
		'vibevideo.delete_limit(text, text, text, text), vibevideo.set_price(text, numeric, text, jsonb, jsonpath, numeric, numeric, timestamptz, text), '
		'vibevideo.delete_price(text, jsonb), vibevideo.estimate(text, jsonb), vibevideo_internal.shown_limits(), vibevideo_internal.shown_limit_use(), '
		'vibevideo_internal.shown_prices(), vibevideo_internal.shown_settings(), vibevideo_internal.shown_worker(), '
		'public.vibevideo_admin_me(), public.vibevideo_admin_overview(), public.vibevideo_admin_inbox(), '
		'public.vibevideo_admin_list_jobs(jsonb, jsonb, int), public.vibevideo_admin_find(text, int), '
		'public.vibevideo_admin_job(bigint), public.vibevideo_admin_errors(timestamptz), '
		'public.vibevideo_admin_users(timestamptz, int), public.vibevideo_admin_series(text, timestamptz, interval), '
		'public.vibevideo_admin_lost(int), public.vibevideo_admin_retry_cost(bigint), public.vibevideo_admin_health(boolean), '
		'public.vibevideo_admin_worker(), public.vibevideo_admin_limits(), public.vibevideo_admin_limit_use(), public.vibevideo_admin_prices(), '
		'public.vibevideo_admin_settings(), public.vibevideo_admin_plan(text, jsonb, int), '
		'public.vibevideo_admin_act(uuid, text), public.vibevideo_admin_cancel(bigint), public.vibevideo_admin_retry(bigint), '
		'public.vibevideo_admin_resolve(bigint, text), public.vibevideo_admin_pause(text, text), '
		'public.vibevideo_admin_resume(), public.vibevideo_admin_probe_now(), public.vibevideo_admin_audit(jsonb, int), '
		'public.vibevideo_admin_set_limit(text, text, int, int, numeric, int, int, numeric, numeric, text, text), public.vibevideo_admin_delete_limit(text, text, text, text), '
		'public.vibevideo_admin_set_price(text, numeric, text, jsonb, jsonpath, numeric, numeric, timestamptz, text), '
		'public.vibevideo_admin_delete_price(text, jsonb), public.vibevideo_admin_estimate(text, jsonb), '
		'vibevideo_internal.shown_ledger(int), public.vibevideo_admin_ledger(int), public.vibevideo_admin_explain_usage(text, text)';
	anybody constant text = (SELECT string_agg(quote_ident(r.rolname), ', ') FROM pg_roles r
							 WHERE r.rolname IN ('anon', 'authenticated', 'service_role'));
	everybody constant text = concat_ws(', ', 'PUBLIC', anybody);
BEGIN
	EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', new, everybody);
	EXECUTE format('REVOKE ALL ON vibevideo_internal.lost_look FROM %s', everybody);
	EXECUTE format('REVOKE ALL ON SCHEMA vibevideo_page FROM %s', everybody);
	IF anybody IS NOT NULL THEN
		EXECUTE format('GRANT USAGE ON SCHEMA vibevideo_page TO %s', anybody);
		EXECUTE format('GRANT USAGE ON TYPE vibevideo_page."text/html" TO %s', anybody);
		EXECUTE format('GRANT EXECUTE ON FUNCTION public.vibevideo_dashboard(text) TO %s', anybody);
	END IF;
END
$$;

-- 0.1.0 marked orphans at times, which have no row to be written.
UPDATE vibevideo.job SET row_dirty = false WHERE orphan AND row_dirty;

-------------------------------------------------------------------------------
-- New functions for the app
-------------------------------------------------------------------------------

DO $$
DECLARE
	key constant regtype = (SELECT p.proargtypes[0]::regtype FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proname = 'vibevideo_status');
	users constant text = (SELECT string_agg(quote_ident(r.rolname), ', ') FROM pg_roles r WHERE r.rolname IN ('authenticated', 'service_role'));
	stranger regprocedure;
BEGIN
	SELECT p.oid INTO stranger FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proname IN ('vibevideo_estimate', 'vibevideo_models');
	IF FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_function',
			MESSAGE = format('function %s is in the way of vibevideo''s own', stranger),
			HINT = 'Drop or rename it.';
	END IF;
	EXECUTE format('CREATE FUNCTION public.vibevideo_estimate(vibelog_id %s) RETURNS vibevideo.estimated LANGUAGE c STABLE SECURITY INVOKER PARALLEL UNSAFE '
				   'AS ''$libdir/vibevideo'', ''vibevideo_estimate''', key);
	EXECUTE format('COMMENT ON FUNCTION public.vibevideo_estimate(%s) IS %L', key,
		E'Says what a video of one row would cost at most, as it is now. No network, no writes.\n'
		'vibelog_id: the row''s key.\n'
		'Returns the estimate; its cost_usd is null if the price is not known.\n'
		'Errors: PT404 there is no such row, or the caller may not see it; 22004 the key is null; 42501 the caller lacks rights on\n'
		'  the table; 55000 no table is attached, or vibevideo cannot work with it as it is;\n'
		'  22023 the prompt or image is missing, the prompt is too long, or the input cannot be used; PT422 the row names a\n'
		'  model that is not offered.\n'
		'For authenticated, whose row-level security decides which rows, and service_role.');
	EXECUTE format('REVOKE ALL ON FUNCTION public.vibevideo_estimate(%s) FROM %s', key,
				   concat_ws(', ', 'PUBLIC', (SELECT quote_ident(r.rolname) FROM pg_roles r WHERE r.rolname = 'anon'), users));
	IF users IS NOT NULL THEN
		EXECUTE format('GRANT EXECUTE ON FUNCTION public.vibevideo_estimate(%s) TO %s', key, users);
	END IF;
END
$$;

CREATE FUNCTION public.vibevideo_models()
RETURNS TABLE (endpoint text, label text, price text, usual_seconds int, needs_image boolean, max_prompt int, is_default boolean)
LANGUAGE c STABLE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'vibevideo_models';
COMMENT ON FUNCTION public.vibevideo_models() IS
'Lists the models that a row may name in the table''s model_column: the attached one, which a row has that names none,
  and those that an operator has allowed. Without a model_column there is only the attached one. No network, no writes.
Returns a row for each, the attached one first, the others by label:
endpoint: what to write into the column.
label: what to call it.
price: what it costs, in words, as from 0.084 USD a second; NULL if that is not known.
usual_seconds: how many seconds a video usually takes; NULL if that is not known.
needs_image: whether a row must have an image.
max_prompt: longest prompt, in characters; NULL if no limit is known.
is_default: whether it is the attached one.
Errors: 55000 no table is attached; 42P01 it was dropped.
For authenticated and service_role.';
DO $$
DECLARE
	users constant text = (SELECT string_agg(quote_ident(r.rolname), ', ') FROM pg_roles r WHERE r.rolname IN ('authenticated', 'service_role'));
BEGIN
	EXECUTE format('REVOKE ALL ON FUNCTION public.vibevideo_models() FROM %s',
				   concat_ws(', ', 'PUBLIC', (SELECT quote_ident(r.rolname) FROM pg_roles r WHERE r.rolname = 'anon'), users));
	IF users IS NOT NULL THEN
		EXECUTE format('GRANT EXECUTE ON FUNCTION public.vibevideo_models() TO %s', users);
	END IF;
END
$$;

-------------------------------------------------------------------------------
-- Rights
-------------------------------------------------------------------------------

-- As grant_api_roles gives them, but only on what is new: what it sets pg_dump
-- takes for granted afterwards, and an operator may have granted more.
DO $$
DECLARE
	new constant text = 'vibevideo.is_active(text), vibevideo_internal.library_version(), vibevideo.redrive(text, interval, int, text), '
		'vibevideo_internal.shown(text), vibevideo_internal.names_user(oid), vibevideo_internal.guess_prompt(regclass, name), '
		'vibevideo_internal.column_faults(vibevideo.binding), vibevideo_internal.owner_lacks(vibevideo.binding), '
		'vibevideo_internal.options(vibevideo.binding), vibevideo_internal.option_changes(vibevideo.binding, vibevideo.binding), '
		'vibevideo_internal.option(text, text), vibevideo_internal.check_kept_column(regclass, name, text), vibevideo_internal.other_tables(), '
		'vibevideo_internal.adopt_jobs(regclass, regclass), vibevideo.cancel(bigint), vibevideo.retry(bigint), vibevideo_internal.sequences_behind(), '
		'vibevideo_internal.advance_sequences(), vibevideo.attach(regclass, name, name, name, text, text, name, boolean, regclass, name, name, name, text, int), '
		'vibevideo_internal.rows_deleted(), vibevideo_internal.delete_triggers(regclass), vibevideo_internal.watch_deletes(regclass, boolean), '
		'vibevideo_internal.video_meta(vibevideo.job), vibevideo_internal.said_number(jsonb), '
		'vibevideo_internal.asked_seconds(text, jsonb, timestamptz), vibevideo_internal.asked_sides(jsonb), '
		'vibevideo_internal.delivered_less(text, jsonb, timestamptz, bigint, int, int, numeric, boolean), vibevideo_internal.sent_for_nobody(text), vibevideo_internal.take_slot(text, text, int, bigint, int), '
		'vibevideo_internal.take_orphans_share(vibevideo.job), vibevideo_internal.put_back(text, text, numeric, timestamptz), '
		'vibevideo_internal.settle_due(text, text), vibevideo_internal.drop_slots(text, text), vibevideo_internal.note_share(bigint, text, text, timestamptz, numeric), vibevideo_internal.version_of(text), vibevideo_internal.know_counters(), vibevideo_internal.new_version(text), vibevideo_internal.is_made(vibevideo_internal.counted, bigint[], numeric), vibevideo_internal.begin_making(text, text, bigint[], numeric), vibevideo_internal.till_share(text, numeric), '
		'vibevideo_internal.unmade(vibevideo.limit), vibevideo_internal.make_limits(text, text, text, bigint), vibevideo_internal.make_limits_apart(text, text, text, int), '
		'vibevideo_internal.change_share(vibevideo.job, text, text, numeric, numeric, boolean), '
		'vibevideo_internal.change_used(text, text, numeric, timestamptz), vibevideo_internal.free_slots(vibevideo.job), '
		'vibevideo_internal.take_late_slot(vibevideo.job), vibevideo_internal.spend(vibevideo.job, numeric, boolean, boolean), '
		'vibevideo_internal.base_price(text, timestamptz), '
		'vibevideo_internal.settled_cost(text, jsonb, timestamptz, boolean, numeric, bigint), '
		'vibevideo_internal.model_changing(), '
		'vibevideo_internal.check_naming_column(regclass, name, text), vibevideo_internal.limits_for(text, text, text), vibevideo_internal.budgets(vibevideo.limit), vibevideo_internal.begin_of(text, timestamptz), '
		'vibevideo_internal.share(text, numeric, boolean), vibevideo_internal.is_of(text, text, text, text), vibevideo_internal.counted_jobs(text, timestamptz, bigint), '
		'vibevideo_internal.used_of(text, text, timestamptz, bigint), vibevideo_internal.till_room(vibevideo_internal.till, timestamptz), '
		'vibevideo_internal.drop_tills(text, text), vibevideo_internal.take_budget(text, text, numeric, numeric), vibevideo_internal.budget_name(text), '
		'vibevideo_internal.next_time(text), vibevideo_internal.reserve_budget(vibevideo.job, text, text, numeric, int, numeric), '
		'vibevideo_internal.check_limit_scope(text, text), vibevideo_internal.column_option(regclass, name, name, text), vibevideo_internal.settle_gone(vibevideo_internal.past_unbilled, numeric), vibevideo_internal.counts(vibevideo.job), vibevideo_internal.counted_usd(vibevideo.job), vibevideo_internal.cost_words(vibevideo.job_details), vibevideo_internal.release_held(int), vibevideo_internal.is_among(text, text[]), '
		'vibevideo_internal.counts_no_more(vibevideo.job, text), vibevideo_internal.limit_changing(), vibevideo_internal.make_slots(text, text, bigint[], int, bigint), vibevideo_internal.make_tills(text, text, bigint[], numeric, numeric, bigint), '
		'vibevideo.pause(text, text), vibevideo_internal.pause_cause(vibevideo.binding), '
		'vibevideo.error_class(text), vibevideo.histogram_bounds(), vibevideo_internal.histogram_note(bigint[], bigint), '
		'vibevideo_internal.histogram_add(bigint[], bigint[]), vibevideo.percentile(bigint[], double precision), '
		'vibevideo_internal.histogram(bigint), vibevideo.histogram_sum(bigint[]), vibevideo_internal.period(int, timestamptz), '
		'vibevideo_internal.fold_tallies(int), vibevideo_internal.sample_backlog(), vibevideo_internal.thin_rollup(int), vibevideo_internal.refresh_typical(), '
		'vibevideo_internal.steps(timestamptz, interval), vibevideo.series(text, timestamptz, interval), '
		'vibevideo.resolve(bigint, text), vibevideo.resume(), vibevideo_internal.caller(), vibevideo_internal.require(text), vibevideo_internal.require_to_read(text), '
		'vibevideo_internal.reach(text), vibevideo.probe_now(), '
		'vibevideo_internal.note_act(text, jsonb, int, numeric, jsonb), vibevideo_internal.audit_changing(), vibevideo_internal.audit_table(), '
		'vibevideo_internal.setting_advice(text, text), vibevideo_internal.key_source(text), vibevideo_internal.rights(), vibevideo_internal.take_rights(regrole), '
		'vibevideo.grant_access(regrole, text, boolean), vibevideo.revoke_access(regrole), vibevideo_internal.states(), '
		'vibevideo_internal.filter_strings(jsonb, text, text[]), vibevideo_internal.filter_value(jsonb, text, text), vibevideo_internal.filter_time(jsonb, text), '
		'vibevideo_internal.read_filter(jsonb), vibevideo_internal.filter_sql(vibevideo_internal.job_filter), vibevideo_internal.jobs_of_keys(text[]), '
		'vibevideo_internal.filter_active(vibevideo_internal.job_filter, text[], boolean, int, int, timestamptz, bigint), '
		'vibevideo_internal.filter_ended(vibevideo_internal.job_filter, text[], boolean, int, timestamptz, timestamptz, bigint), '
		'vibevideo_internal.filter_jobs(vibevideo_internal.job_filter, boolean, int, int, jsonb), vibevideo_internal.deed_sql(text), vibevideo_internal.cost_sql(text), '
		'vibevideo_internal.why_not_sql(text), vibevideo_internal.add_reasons(jsonb, jsonb), vibevideo_internal.confirmation(numeric), vibevideo.plan(text, jsonb, int), '
		'vibevideo_internal.check_keys(), vibevideo_internal.lost_looks(int, timestamptz), vibevideo_internal.require_to_act(), vibevideo_internal.hurry(), vibevideo_internal.do_deed(vibevideo_internal.planned, text), '
		'vibevideo_internal.do_deeds(vibevideo_internal.planned, text), vibevideo.act(uuid, text), '
		'vibevideo_internal.past_costs_changed(), vibevideo_internal.sum_past_costs(), vibevideo_internal.add_costs(int), vibevideo_internal.check_overdue(), '
		'vibevideo_internal.not_checked(text, text), vibevideo_internal.is_preloaded(text), vibevideo_internal.rests_by(), vibevideo_internal.has_vault(), '
		'vibevideo_internal.is_elsewhere(vibevideo.binding), vibevideo_internal.is_superseded(vibevideo.job), vibevideo_internal.why_nobody_is_known(), '
		'vibevideo_internal.check_sequences(), vibevideo_internal.codes_of(text[]), vibevideo_internal.error_codes(int), vibevideo_internal.ended_sql(vibevideo_internal.job_filter, text[], boolean, text[]), '
		'vibevideo_internal.price_rule_changing(), vibevideo_internal.price_rule_changed(), vibevideo_internal.refuses_unknown_price(text, text, text), vibevideo_internal.quantity_in(vibevideo.price_rule, jsonb), '
		'vibevideo_internal.rule_for(text, jsonb, timestamptz), vibevideo_internal.units(numeric, text), vibevideo_internal.estimate(text, jsonb), '
		'vibevideo_internal.most_cost(text, jsonb, timestamptz), vibevideo_internal.shown_value(jsonb), vibevideo_internal.is_of_type(jsonb, text), '
		'vibevideo_internal.schema_number(jsonb, text), vibevideo_internal.fits_pattern(text, text), vibevideo_internal.objection_to_value(jsonb, jsonb), '
		'vibevideo_internal.schema_target(jsonb, text), vibevideo_internal.objection_to(jsonb, jsonb, jsonb, text, int, int), '
		'vibevideo_internal.is_endpoint(text), vibevideo_internal.check_endpoint(text), vibevideo_internal.objection_to_input(text, jsonb), vibevideo_internal.platform(text, text[], boolean), vibevideo_internal.ask_platform(text, text[], text, boolean), '
		'vibevideo_internal.errand_patience(vibevideo_internal.errand), vibevideo_internal.next_errand(boolean), vibevideo_internal.errand_done(text, int, text, text), '
		'vibevideo_internal.price_unit(text), vibevideo_internal.flat_price(text, text), '
		'vibevideo_internal.follow_price(text), vibevideo_internal.read_price(jsonb), vibevideo_internal.note_prices(jsonb, jsonb), '
		'vibevideo_internal.priced_endpoints(), vibevideo_internal.next_endpoints(jsonb), vibevideo_internal.prices_asks(jsonb), '
		'vibevideo_internal.prices_said(jsonb, int, jsonb, text), vibevideo_internal.prices_hears(jsonb, int, jsonb, text), '
		'vibevideo_internal.account_wait(), vibevideo_internal.sent_endpoints(), vibevideo_internal.listing_of(text, jsonb), vibevideo_internal.models_fault(jsonb, text), '
		'vibevideo_internal.models_query(text[]), vibevideo_internal.models_asks(jsonb), vibevideo_internal.models_hears(jsonb, int, jsonb, text), '
		'vibevideo_internal.balance_asks(jsonb), vibevideo_internal.read_balance(jsonb), vibevideo_internal.balance_hears(jsonb, int, jsonb, text), '
		'vibevideo_internal.lasts(numeric), vibevideo_internal.shown_balance(numeric), vibevideo_internal.check_fal(), vibevideo_internal.needs_of_fal(), '
		'vibevideo.sync_schema(text), vibevideo.sync_prices(), vibevideo_internal.names_model(oid), '
		'vibevideo_internal.price_words(text), vibevideo_internal.offered_models(), '
		'vibevideo.set_model(text, boolean, text, int, boolean, int, text), '
		'vibevideo_internal.sums_of(vibevideo.fal_usage), vibevideo_internal.usage_changed(), vibevideo_internal.sum_usage(), '
		'vibevideo_internal.bill_number(jsonb, text), vibevideo_internal.bill_item(jsonb), vibevideo_internal.bill_items(jsonb, jsonb), '
		'vibevideo_internal.lock_bill(), vibevideo_internal.match_usage(), vibevideo_internal.settle_by_bill(bigint, numeric), '
		'vibevideo_internal.book_usage(int), vibevideo_internal.take_usage(jsonb, jsonb), vibevideo_internal.bill_was_read(timestamptz, timestamptz), '
		'vibevideo_internal.bill_query(timestamptz, text), vibevideo_internal.next_page(jsonb, text[]), vibevideo_internal.usage_asks(jsonb), '
		'vibevideo_internal.usage_hears(jsonb, int, jsonb, text), vibevideo_internal.bill_remedy(int), vibevideo.sync_usage(interval), '
		'vibevideo.explain_usage(text, text), vibevideo_internal.check_ledger(), vibevideo_internal.needs_of_ledger(), '
		'vibevideo_internal.last_unbilled(int), vibevideo_internal.last_unmatched(int), vibevideo_internal.ledger_since(date, vibevideo_internal.unbilled[]), '
		'vibevideo.erase(bigint), vibevideo_internal.files_of(vibevideo.job), vibevideo_internal.cancel_to_erase(bigint), '
		'vibevideo_internal.erase_ended(vibevideo.job, vibevideo.erasure), vibevideo_internal.erase_older(regclass, text), vibevideo_internal.keep_for_erasing(vibevideo.job), vibevideo_internal.erase_past(vibevideo.erasure), vibevideo_internal.is_shown(bigint), vibevideo_internal.erasures_of_rows(regclass), vibevideo_internal.rows_looked_for(bigint[], bigint[]), vibevideo_internal.expand_erasures(), vibevideo_internal.next_erasure(text, text), '
		'vibevideo_internal.erasure_done(bigint, text, int, text, text, boolean, boolean), vibevideo_internal.needs_of_erasures(), '
		'vibevideo_internal.all_used(text[]), vibevideo_internal.limit_use_lines()';
	everybody constant text = concat_ws(', ', 'PUBLIC',
										(SELECT string_agg(quote_ident(r.rolname), ', ') FROM pg_roles r
										 WHERE r.rolname IN ('anon', 'authenticated', 'service_role')));
	may record;
BEGIN
	EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', new, everybody);
	EXECUTE format('REVOKE ALL ON SCHEMA vibevideo_internal FROM %s', everybody);
	EXECUTE format('REVOKE ALL ON vibevideo_internal.counted, vibevideo_internal.limit_version, vibevideo_internal.share_taken, vibevideo_internal.share_due, vibevideo_internal.tally, vibevideo_internal.rollup_level, vibevideo_internal.rollup_ever, vibevideo_internal.rollup_minute, '
				   'vibevideo_internal.rollup_minutes, vibevideo_internal.rollup_hour, vibevideo_internal.rollup_day, vibevideo.rollup, vibevideo.backlog, '
				   'vibevideo.typical, vibevideo.price_rule, vibevideo.tenant_costs, vibevideo_internal.till, vibevideo.fal_price, vibevideo_internal.price_changes, vibevideo_internal.errand, '
				   'vibevideo_internal.fal_listing, vibevideo_internal.fal_balance FROM %s', everybody);
	EXECUTE format('REVOKE ALL ON SEQUENCE vibevideo_internal.tally_tally_id_seq FROM %s', everybody);
	EXECUTE format('REVOKE ALL ON vibevideo.access, vibevideo.operator, vibevideo.audit, vibevideo.settings, vibevideo_internal.planned FROM %s',
				   everybody);
	EXECUTE format('REVOKE ALL ON vibevideo_internal.new_costs, vibevideo_internal.past_costs_by_month, vibevideo_internal.past_costs_by_day, vibevideo_internal.open_costs, vibevideo_internal.active_jobs, '
				   'vibevideo.costs_by_month, vibevideo.costs_by_day FROM %s', everybody);
	EXECUTE format('REVOKE ALL ON vibevideo.fal_usage, vibevideo.ledger, vibevideo.unmatched, vibevideo_internal.bill_state, '
				   'vibevideo_internal.past_unbilled, vibevideo_internal.usage_by_day, vibevideo_internal.here_without_item, vibevideo_internal.gone_without_item, '
				   'vibevideo_internal.without_item, vibevideo_internal.unbilled FROM %s', everybody);
	EXECUTE format('REVOKE ALL ON vibevideo.erasure, vibevideo.receipt, vibevideo.past_video FROM %s', everybody);
	EXECUTE format('REVOKE ALL ON vibevideo.limit_use, vibevideo_internal.limits_in_force FROM %s', everybody);
	EXECUTE format('REVOKE ALL ON SEQUENCE vibevideo.audit_audit_id_seq, vibevideo_internal.new_costs_note_id_seq, vibevideo.fal_usage_event_id_seq, '
				   'vibevideo.erasure_erasure_id_seq, vibevideo.receipt_receipt_id_seq FROM %s', everybody);
	FOR may IN SELECT r.privilege, r.objects, users.rolname FROM vibevideo_internal.rights() r
			   CROSS JOIN (SELECT u.rolname FROM pg_roles u WHERE u.rolname IN ('authenticated', 'service_role')) users
			   WHERE r.guarded
	LOOP
		EXECUTE format('GRANT %s ON %s TO %I', may.privilege, may.objects, may.rolname);
	END LOOP;
	IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'service_role') THEN
		GRANT EXECUTE ON FUNCTION vibevideo.is_active(text), vibevideo.error_class(text), vibevideo_internal.setting_advice(text, text), vibevideo_internal.key_source(text),
			vibevideo.worker_info(), vibevideo_internal.period(int, timestamptz), vibevideo_internal.histogram(bigint),
			vibevideo.histogram_sum(bigint[]), vibevideo.histogram_bounds(), vibevideo.percentile(bigint[], double precision),
			vibevideo_internal.limit_use_lines() TO service_role;
		GRANT SELECT ON vibevideo.costs_by_month, vibevideo.costs_by_day, vibevideo.ledger, vibevideo.limit_use, vibevideo.unmatched, vibevideo.fal_usage, vibevideo.erasure, vibevideo.receipt, vibevideo.audit, vibevideo.settings, vibevideo.model, vibevideo.price_rule, vibevideo.fal_price, vibevideo.limit,
			vibevideo.rollup, vibevideo.backlog, vibevideo.typical, vibevideo.tenant_costs TO service_role;
	END IF;
END
$$;

-- the worker has left: it continues when this is committed
SELECT vibevideo.wake();
