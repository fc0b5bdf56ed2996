
-------------------------------------------------------------------------------
-- The public functions
-------------------------------------------------------------------------------

/*
 * The functions for the app live in public under fixed names, without overloads,
 * because that is how PostgREST finds them, and they are members of the extension.
 * A function that has the right type already is left alone.  Access rights are set
 * before a function joins the extension, so that pg_dump sees them as its own.
 * Other roles keep the rights that they had on a function that is replaced.
 *
 * Called by the install script and by the trigger on vibevideo.binding, which
 * pg_restore fires too.
 */
CREATE FUNCTION vibevideo.create_api(id_type regtype)
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
COMMENT ON FUNCTION vibevideo.create_api(regtype) IS
'Creates the functions for the app in schema public for a type of key, or gives them another one.
  vibevideo.attach calls it.
id_type: uuid, bigint, integer or text.
Returns nothing.
Errors: 22023 another type; 42723 a function of yours has the name of one; 2BP01 something depends on one that
  has to be replaced; 42501 only a superuser can create them.
For the extension''s owner.';

-- One pass over what is due; independent of the key's type.
CREATE FUNCTION public.vibevideo_poll(OUT checked int, OUT advanced int, OUT finished int, OUT failed int)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'vibevideo_poll';
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

-- Of the models, not of a row; independent of the key's type.
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

CREATE FUNCTION public.vibevideo_webhook(json)
RETURNS json LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'vibevideo_webhook';
COMMENT ON FUNCTION public.vibevideo_webhook(json) IS
'Called by fal.ai when a job is done; only makes that job due for a poll.
Its argument, which has no name so that PostgREST passes on the raw body, is what fal.ai sends: at most 1 MB.
  Only the signature in the headers is trusted.
Returns {"ok": true}.
Errors: PT401 not signed by fal.ai for our account in the last five minutes; PT404 no job has this request;
  PT413 too large.
For anon.';
