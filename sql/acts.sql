
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
