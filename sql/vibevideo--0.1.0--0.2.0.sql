/* sql/vibevideo--0.1.0--0.2.0.sql: brings 0.1.0 over to 0.2.0 */
\echo Use "ALTER EXTENSION vibevideo UPDATE TO '0.2.0'" to load this file. \quit

-- test/t/007_upgrade.pl compares what this makes with a fresh 0.2.0.

-------------------------------------------------------------------------------
-- Names
-------------------------------------------------------------------------------

-- Indexes, defaults, views and functions with a parsed body follow.
ALTER TABLE vibevideo.job RENAME COLUMN ghost TO orphan;
ALTER VIEW vibevideo.jobs RENAME COLUMN ghost TO orphan;
ALTER TABLE vibevideo.binding RENAME COLUMN resting TO paused;
ALTER FUNCTION vibevideo.rests(vibevideo.binding) RENAME TO is_paused;
-- an argument cannot be renamed in place
DROP FUNCTION vibevideo.redrive(text, interval, int);

-------------------------------------------------------------------------------
-- Functions whose text names them
-------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION vibevideo.binding_copied()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NEW.attached_at <> now() THEN
		NEW.paused = true;
		RAISE WARNING USING
			MESSAGE = 'vibevideo is paused: this database is a copy of the one its jobs belong to',
			HINT = 'To continue with them here, SELECT vibevideo.resume().';
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION vibevideo.binding_copied() IS 'trigger: jobs that come from a dump are paused until vibevideo.resume()';

CREATE OR REPLACE FUNCTION vibevideo.detach(force boolean DEFAULT false)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	attached regclass;
	paused boolean;
	active bigint;
BEGIN
	LOCK TABLE vibevideo.binding IN SHARE ROW EXCLUSIVE MODE;
	SELECT b.relation, vibevideo.is_paused(b) INTO attached, paused FROM vibevideo.binding b;
	IF NOT FOUND THEN
		RAISE NOTICE 'no table is attached';
		RETURN false;
	END IF;

	SELECT count(*) INTO active FROM vibevideo.job j
	WHERE j.state <> ALL (ARRAY['completed', 'failed', 'cancelled']);
	IF active > 0 AND force IS NOT TRUE THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_in_use',
			MESSAGE = format('%s has active jobs', attached),
			DETAIL = format('Active jobs: %s.', active),
			HINT = 'Wait for them, cancel them with vibevideo_cancel, or SELECT vibevideo.detach(force => true).';
	END IF;
	IF active > 0 AND paused THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'this is a restored or copied database, whose jobs would go on when a table is attached again',
			DETAIL = format('Active jobs: %s. The original may work on them too.', active),
			HINT = 'DELETE FROM vibevideo.job if they shall not, SELECT vibevideo.resume() if they shall.';
	END IF;
	DELETE FROM vibevideo.binding b WHERE b.only_one;
	RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION vibevideo.resolve(job bigint, verdict text)
RETURNS vibevideo.video LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	j vibevideo.job;
BEGIN
	SELECT x.* INTO j FROM vibevideo.job x WHERE x.job_id = resolve.job FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = format('there is no job %s', job);
	END IF;
	IF j.state <> 'submit_unknown' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT409',
			MESSAGE = format('job %s is not in doubt: it is %s', job, j.state),
			HINT = 'Only a job in state submit_unknown can be resolved.';
	END IF;
	IF verdict IS NULL OR verdict !~ '^[A-Za-z0-9_-]{1,128}$' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the verdict must be fal''s request id or not_sent';
	END IF;
	IF verdict <> 'not_sent' AND EXISTS (SELECT FROM vibevideo.job x WHERE x.request_id = verdict) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT409',
			MESSAGE = format('another job has request id %s', verdict);
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
	PERFORM vibevideo.wake();
	RETURN vibevideo.describe(j);
END
$$;

CREATE FUNCTION vibevideo.redrive(error_code text DEFAULT NULL, since interval DEFAULT '1 day', max_jobs int DEFAULT 100)
RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	j vibevideo.job;
	started int = 0;
BEGIN
	FOR j IN
		SELECT x.* FROM vibevideo.job x
		WHERE x.state = 'failed' AND NOT x.orphan AND x.completed_at > now() - since
		  AND (redrive.error_code IS NULL OR x.error_code = redrive.error_code)
		  AND NOT EXISTS (SELECT FROM vibevideo.job n
						  WHERE n.relation = x.relation AND n.vibelog_id = x.vibelog_id AND NOT n.orphan AND n.job_id > x.job_id)
		ORDER BY x.completed_at LIMIT max_jobs
		FOR UPDATE OF x SKIP LOCKED
	LOOP
		IF j.media_url IS NOT NULL THEN
			UPDATE vibevideo.job x SET state = 'processing', next_at = now(), tries = 0, crashes = 0,
				generated_at = now(), completed_at = NULL, error_code = NULL, error = NULL
			WHERE x.job_id = j.job_id;
		ELSE
			BEGIN
				INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, priority, attempt)
				VALUES (j.relation, j.vibelog_id, 'pending', j.model, j.input, j.requested_by, j.priority, j.attempt + 1)
				ON CONFLICT DO NOTHING;
			EXCEPTION WHEN SQLSTATE 'PT429' OR SQLSTATE 'PT402' THEN
				-- its user is over a limit: another's turn
				CONTINUE;
			END;
		END IF;
		started = started + 1;
	END LOOP;
	PERFORM vibevideo.wake();
	RETURN started;
END
$$;
COMMENT ON FUNCTION vibevideo.redrive(text, interval, int) IS
	'tries failed jobs again, copies without a new render where one exists; returns how many; owner only';

CREATE OR REPLACE FUNCTION vibevideo.resume()
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	was_paused boolean;
BEGIN
	SELECT vibevideo.is_paused(b) INTO was_paused FROM vibevideo.binding b;
	UPDATE vibevideo.binding b SET
		paused = false, system_identifier = i.system_identifier, database_oid = i.database_oid, timeline = i.timeline
	FROM vibevideo.identity() i
	WHERE b.only_one;
	PERFORM vibevideo.wake();
	RETURN coalesce(was_paused, false);
END
$$;
COMMENT ON FUNCTION vibevideo.resume() IS
	'lets a restored or copied database act on its jobs; false when it was not paused; owner only';

CREATE OR REPLACE FUNCTION vibevideo.counted_jobs(who text, kind text)
RETURNS SETOF vibevideo.job LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	active constant text[] = ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing'];
	name constant text = CASE WHEN who <> 'global' THEN substr(who, length('user:') + 1) END;
BEGIN
	IF kind = 'active' THEN
		RETURN QUERY SELECT j.* FROM vibevideo.job j
		WHERE j.state IN ('pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing')
		  AND NOT j.orphan AND j.created_at <> now() AND (name IS NULL OR j.requested_by = name);
	ELSE
		RETURN QUERY SELECT j.* FROM vibevideo.job j
		WHERE j.created_at >= vibevideo.today()::timestamp AT TIME ZONE 'UTC' AND (j.billed OR j.state = ANY (active))
		  AND NOT j.orphan AND j.created_at <> now() AND (name IS NULL OR j.requested_by = name);
	END IF;
END
$$;

CREATE OR REPLACE FUNCTION vibevideo.jobs_deleted()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	j vibevideo.job;
BEGIN
	INSERT INTO vibevideo.past_costs AS p (user_id, day, model, submits, videos, settled_usd)
	SELECT coalesce(g.requested_by, ''), (g.created_at AT TIME ZONE 'UTC')::date, g.model,
		   count(*) FILTER (WHERE NOT g.orphan), count(*) FILTER (WHERE g.billed),
		   coalesce(sum(g.cost_usd) FILTER (WHERE g.billed), 0)
	FROM gone g GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
	ON CONFLICT (user_id, day, model) DO UPDATE SET submits = p.submits + EXCLUDED.submits,
		videos = p.videos + EXCLUDED.videos, settled_usd = p.settled_usd + EXCLUDED.settled_usd;
	FOR j IN SELECT g.* FROM gone g WHERE NOT g.orphan AND g.state <> ALL (ARRAY['completed', 'failed', 'cancelled']) LOOP
		PERFORM vibevideo.release(j);
	END LOOP;
	RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION vibevideo.check_table()
RETURNS SETOF vibevideo.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	b vibevideo.binding;
	t record;
	faults text;
	checks record;
	again text;
BEGIN
	SELECT x.* INTO b FROM vibevideo.binding x;
	IF NOT FOUND THEN
		RETURN NEXT vibevideo.line('table', 'fail',
								   'no table is attached',
								   'SELECT vibevideo.attach(''public.vibelogs'').');
		RETURN;
	END IF;
	SELECT c.relforcerowsecurity AND c.relrowsecurity AND NOT (o.rolsuper OR o.rolbypassrls) AS hidden, o.rolname AS owner,
		   o.rolsuper AS super INTO t
	FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner WHERE c.oid = b.relation;
	IF NOT FOUND THEN
		RETURN NEXT vibevideo.line('table', 'fail',
								   'the attached table has been dropped',
								   'Attach the table that replaces it, or SELECT vibevideo.detach().');
		RETURN;
	END IF;
	RETURN NEXT vibevideo.line('table', 'ok',
							   format('%s, key %I (%s), prompt from %I', b.relation, b.id_column, b.id_type, b.prompt_column));
	again = format('Call vibevideo.attach(%L) again, with its options.', b.relation);

	IF vibevideo.is_paused(b) THEN
		RETURN NEXT vibevideo.line('identity', 'fail',
								   'this is a restored or copied database: its jobs are paused, since the original may work on them too',
								   'To continue with them here, SELECT vibevideo.resume().');
	ELSE
		RETURN NEXT vibevideo.line('identity', 'ok', 'the jobs belong to this database');
	END IF;

	SELECT string_agg(CASE WHEN a.attname IS NULL THEN format('%I is missing', wanted.name)
						   ELSE format('%I has type %s', wanted.name, format_type(a.atttypid, a.atttypmod)) END, ', ' ORDER BY wanted.name)
	INTO faults
	FROM (SELECT c.name, c.type FROM vibevideo.row_columns() c
		  UNION ALL VALUES (b.id_column, b.id_type), (b.prompt_column, NULL)
		  UNION ALL SELECT b.image_column, NULL WHERE b.image_column IS NOT NULL) AS wanted(name, type)
	LEFT JOIN pg_attribute a ON a.attrelid = b.relation AND a.attname = wanted.name AND NOT a.attisdropped
	WHERE a.attname IS NULL
	   OR a.atttypid <> wanted.type AND NOT (wanted.type = 'text'::regtype AND a.atttypid = 'varchar'::regtype);
	RETURN NEXT CASE WHEN faults IS NULL THEN vibevideo.line('columns', 'ok', 'all there')
					 ELSE vibevideo.line('columns', 'fail', faults, again) END;

	SELECT s.present, s.refusing, s.refused INTO checks FROM vibevideo.status_check(b.relation) s;
	RETURN NEXT CASE WHEN checks.refusing IS NOT NULL
					 THEN vibevideo.line('constraint', 'fail', format('%I refuses status %s', checks.refusing, checks.refused),
							  format('ALTER TABLE %s DROP CONSTRAINT %I, then attach again.', b.relation, checks.refusing))
					 WHEN NOT checks.present
					 THEN vibevideo.line('constraint', 'warn', 'no CHECK guards video_generation_status', again)
					 ELSE vibevideo.line('constraint', 'ok', 'a CHECK guards video_generation_status') END;

	RETURN NEXT CASE WHEN vibevideo.request_index(b.relation) IS NOT NULL
					 THEN vibevideo.line('index', 'ok', vibevideo.request_index(b.relation)::text)
					 WHEN b.build_index
					 THEN vibevideo.line('index', 'warn', 'the background worker has not built the index on video_request_id yet',
							  'Wait; long transactions delay it. Or run yourself: ' || vibevideo.index_command(b.relation, true))
					 ELSE vibevideo.line('index', 'warn', 'video_request_id has no valid index',
							  'Run: ' || vibevideo.index_command(b.relation, true)) END;

	RETURN NEXT CASE WHEN t.hidden
					 THEN vibevideo.line('row_security', 'fail', format('row-level security is forced on the table''s owner %I', t.owner),
							  format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY; or ALTER ROLE %I BYPASSRLS.', b.relation, t.owner))
					 ELSE vibevideo.line('row_security', 'ok', format('the worker writes as %I', t.owner)) END;

	-- what others can have a superuser run
	SELECT string_agg(format('%I', r.rolname), ', ' ORDER BY r.rolname) INTO faults
	FROM pg_roles r
	WHERE t.super AND NOT r.rolsuper
	  AND (has_table_privilege(r.oid, b.relation, 'TRIGGER')
		   OR EXISTS (SELECT FROM pg_proc p WHERE p.proowner = r.oid
					  AND (p.oid = to_regproc(b.input_function)
						   OR p.oid IN (SELECT g.tgfoid FROM pg_trigger g WHERE g.tgrelid = b.relation))));
	RETURN NEXT CASE WHEN faults IS NOT NULL
					 THEN vibevideo.line('owner', 'warn',
							  format('triggers and input function run with the rights of %I, a superuser, and can be made or changed by %s', t.owner, faults),
							  format('ALTER TABLE %s OWNER TO an ordinary role, on Supabase postgres.', b.relation))
					 ELSE vibevideo.line('owner', 'ok', format('triggers and input function run with the rights of %I', t.owner)) END;

	IF b.input_function IS NOT NULL THEN
		BEGIN
			PERFORM vibevideo.resolve_input_function(b.relation, b.input_function);
			RETURN NEXT vibevideo.line('input_function', 'ok', b.input_function);
		EXCEPTION WHEN OTHERS THEN
			RETURN NEXT vibevideo.line('input_function', 'fail', SQLERRM, again);
		END;
	END IF;
END
$$;

CREATE OR REPLACE FUNCTION vibevideo.reset_stuck(older_than interval DEFAULT '1 hour')
RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	running constant text[] = ARRAY['queued', 'generating', 'processing'];
	b vibevideo.binding;
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

	stuck = 't.video_generation_status = ANY ($1)';
	IF EXISTS (SELECT FROM pg_attribute a
			   WHERE a.attrelid = b.relation AND a.attname = 'updated_at' AND NOT a.attisdropped
				 AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype))
	THEN
		stuck = stuck || ' AND coalesce(t.updated_at <= now() - $2, true)';
	END IF;

	EXECUTE format('SELECT array_agg(t.%I::text) FROM %s AS t '
				   'WHERE %s AND NOT EXISTS (SELECT FROM vibevideo.job j '
				   'WHERE j.relation = $3 AND j.vibelog_id = t.%I::text COLLATE "C" AND NOT j.orphan)',
				   b.id_column, b.relation, stuck, b.id_column)
	INTO without_job USING running, older_than, b.relation;
	failed = coalesce(vibevideo.fail_rows(without_job), 0);
	-- somebody may have submitted one of them meanwhile
	UPDATE vibevideo.job j SET row_dirty = true, row_tries = 0, row_next_at = now()
	WHERE j.relation = b.relation AND j.vibelog_id = ANY (without_job);

	EXECUTE format('UPDATE vibevideo.job AS j SET row_dirty = true, row_tries = 0, row_next_at = now() WHERE j.job_id IN ('
				   'SELECT max(k.job_id) FROM %s AS t '
				   'JOIN vibevideo.job k ON k.relation = $3 AND k.vibelog_id = t.%I::text COLLATE "C" AND NOT k.orphan WHERE %s '
				   'GROUP BY k.vibelog_id '
				   'HAVING bool_and(k.state = ANY (ARRAY[''completed'', ''failed'', ''cancelled'']) AND NOT k.row_dirty))',
				   b.relation, b.id_column, stuck)
	USING running, older_than, b.relation;
	GET DIAGNOSTICS with_job = ROW_COUNT;
	IF with_job > 0 THEN
		PERFORM vibevideo.wake();
	END IF;
	RETURN failed + with_job;
END
$$;

-------------------------------------------------------------------------------
-- Rights
-------------------------------------------------------------------------------

-- As grant_api_roles gives them, but only to what is new: what it sets becomes
-- what pg_dump takes for granted, and an operator may have granted more.
DO $$
DECLARE
	everybody constant text = concat_ws(', ', 'PUBLIC',
										(SELECT string_agg(quote_ident(r.rolname), ', ') FROM pg_roles r
										 WHERE r.rolname IN ('anon', 'authenticated', 'service_role')));
BEGIN
	EXECUTE format('REVOKE ALL ON FUNCTION vibevideo.redrive(text, interval, int) FROM %s', everybody);
END
$$;
