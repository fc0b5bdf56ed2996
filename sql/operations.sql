
-------------------------------------------------------------------------------
-- Operating: the poll's schedule, the state of things, repairs
-------------------------------------------------------------------------------

-- pg_cron is only reached through EXECUTE, so that none of this needs it.

CREATE FUNCTION vibevideo.schedule(every interval DEFAULT '10 seconds')
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
COMMENT ON FUNCTION vibevideo.schedule(interval) IS
'Has pg_cron call vibevideo_poll() in this database, as job vibevideo_poll. Call it again to change the
  interval.
every: 1 to 59 seconds, or 1 to 59 whole minutes; default: 10 seconds. pg_cron before 1.5 knows no seconds,
  and calls it every minute then.
Returns what was scheduled.
Errors: 0A000 pg_cron is not installed in this database; 22023 cron cannot do that interval.
For the extension''s owner, who becomes the job''s.';

CREATE FUNCTION vibevideo.unschedule()
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	removed bigint = 0;
BEGIN
	IF EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
		EXECUTE 'SELECT count(cron.unschedule(j.jobid)) FROM cron.job j WHERE j.jobname = $1 AND j.database = $2'
		INTO removed USING 'vibevideo_poll', current_database();
	END IF;
	IF removed = 0 THEN
		RAISE NOTICE 'no poll is scheduled in this database';
	END IF;
	RETURN removed > 0;
END
$$;
COMMENT ON FUNCTION vibevideo.unschedule() IS
'Undoes vibevideo.schedule. Call it before DROP EXTENSION, since pg_cron keeps its jobs.
Returns whether there was anything to undo.
Errors: 42501 the job is another role''s.
For the extension''s owner.';

-- One line of check_config.
CREATE TYPE vibevideo_internal.check_line AS (check_name text, status text, detail text, hint text);
COMMENT ON TYPE vibevideo_internal.check_line IS 'a line of vibevideo.check_config; status is ok, warn or fail';
COMMENT ON COLUMN vibevideo_internal.check_line.check_name IS 'what was checked';
COMMENT ON COLUMN vibevideo_internal.check_line.status IS 'ok, warn or fail';
COMMENT ON COLUMN vibevideo_internal.check_line.detail IS 'what was found';
COMMENT ON COLUMN vibevideo_internal.check_line.hint IS 'what to do; NULL if it is ok';
CREATE FUNCTION vibevideo_internal.line(check_name text, status text, detail text, hint text DEFAULT NULL)
RETURNS vibevideo_internal.check_line LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN ROW(check_name, status, detail, hint)::vibevideo_internal.check_line;
COMMENT ON FUNCTION vibevideo_internal.line(text, text, text, text) IS 'makes a line of check_config; owner only';

-- One cause, one finding: a line that cannot be checked, or would say the same again,
-- is ok and names the line that reports it.
CREATE FUNCTION vibevideo_internal.not_checked(check_name text, told_by text)
RETURNS vibevideo_internal.check_line LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN ROW(check_name, 'ok', format('not checked: see line %s', told_by), NULL)::vibevideo_internal.check_line;
COMMENT ON FUNCTION vibevideo_internal.not_checked(text, text) IS 'makes a line of check_config that another one speaks for; owner only';

-- How long ago, for people.
CREATE FUNCTION vibevideo_internal.ago(moment timestamptz)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN moment IS NULL THEN 'never'
			WHEN clock_timestamp() - moment < interval '1 second' THEN 'just now'
			ELSE vibevideo_internal.span(clock_timestamp() - moment) || ' ago' END;
COMMENT ON FUNCTION vibevideo_internal.ago(timestamptz) IS 'how long ago, for people; owner only';

-- Has the server loaded a library at its start?
CREATE FUNCTION vibevideo_internal.is_preloaded(library text)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN current_setting('shared_preload_libraries') ~ format('(^|[ ,/"])%s([ ,."]|$)', library);
COMMENT ON FUNCTION vibevideo_internal.is_preloaded(text) IS 'whether the server has loaded a library at its start; owner only';

-- The library.  Where it was not loaded none of its functions can be called.
CREATE FUNCTION vibevideo_internal.check_preload()
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

-- The worker and who polls.
CREATE FUNCTION vibevideo_internal.check_worker()
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
COMMENT ON FUNCTION vibevideo_internal.check_worker() IS 'part of check_config: the worker and who polls; owner only';

-- The app's table.
CREATE FUNCTION vibevideo_internal.check_table()
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
COMMENT ON FUNCTION vibevideo_internal.check_table() IS 'part of check_config: the attached table; owner only';

-- The public functions and who may call them.
CREATE FUNCTION vibevideo_internal.check_api()
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
COMMENT ON FUNCTION vibevideo_internal.check_api() IS 'part of check_config: the public functions and their rights; owner only';

-- fal.ai, Storage and Realtime, as seen from here; and whether they are left alone.
CREATE FUNCTION vibevideo_internal.check_services()
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

-- The API keys, for who asks nobody over the network.
CREATE FUNCTION vibevideo_internal.check_keys()
RETURNS SETOF vibevideo_internal.check_line LANGUAGE sql VOLATILE ROWS 3 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT k.name, p.status, p.detail, p.hint
	FROM (VALUES (1, 'fal_key'), (2, 'fal_admin_key'), (3, 'storage_key')) AS k(nth, name) CROSS JOIN LATERAL vibevideo_internal.probe(k.name) p ORDER BY k.nth;
END;
COMMENT ON FUNCTION vibevideo_internal.check_keys() IS 'part of check_config: whether there are API keys; owner only';

-- pg_cron and its job, whatever that is called.
CREATE FUNCTION vibevideo_internal.check_cron()
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
COMMENT ON FUNCTION vibevideo_internal.check_cron() IS 'part of check_config: pg_cron and its job; owner only';

-- Jobs that nobody takes up, though they are due and nothing holds them that another
-- line reports, or that is as it should be: a pause, a service that is down, a key
-- that is missing, no place under vibevideo.max_active.
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

-- Jobs that need somebody's attention.
CREATE FUNCTION vibevideo_internal.check_jobs()
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
COMMENT ON FUNCTION vibevideo_internal.check_jobs() IS 'part of check_config: jobs that need attention; owner only';

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

-- Limits and prices.
CREATE FUNCTION vibevideo_internal.check_limits()
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
COMMENT ON FUNCTION vibevideo_internal.check_limits() IS 'part of check_config: limits and prices; owner only';

-- What it writes, to try whether a broadcast arrives, does not stay.
CREATE FUNCTION vibevideo.check_config()
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
COMMENT ON FUNCTION vibevideo.check_config() IS
'Checks whether everything is as it has to be. Asks fal.ai and Storage over the network, and changes nothing.
Returns a row for each thing. One cause is one row that is not ok: what depends on it is ok and names it.
check_name: what was checked.
status: ok, warn or fail.
detail: what was found.
hint: what to do; NULL if it is ok.
Raises no errors: what cannot be checked is a row that says so.
For the extension''s owner.';

-- The rows with these keys become failed, with the rights of the table's owner.
CREATE FUNCTION vibevideo_internal.fail_rows(keys text[])
RETURNS bigint LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'vibevideo_fail_rows';
COMMENT ON FUNCTION vibevideo_internal.fail_rows(text[]) IS 'part of reset_stuck: makes rows of the app failed, as the table''s owner; owner only';

-- The rows are left over from an older app, or were written by somebody else.  The
-- table's triggers run with its owner's rights.
CREATE FUNCTION vibevideo.reset_stuck(older_than interval DEFAULT '1 hour')
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
