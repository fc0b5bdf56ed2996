
-------------------------------------------------------------------------------
-- Who may call what
-------------------------------------------------------------------------------

-- Exactly the rights that they are meant to have, whatever default privileges left
-- behind.  A role that does not exist is passed over; those of other roles are not
-- touched.
CREATE FUNCTION vibevideo.grant_api_roles()
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
COMMENT ON FUNCTION vibevideo.grant_api_roles() IS
'Sets the rights of PUBLIC, anon, authenticated and service_role on everything of vibevideo. Call it again
  after creating one of these roles.
Returns nothing.
Errors: 42501 not the extension''s owner.
For the extension''s owner.';

-- Last: the public functions, and the rights on everything made above.
SELECT vibevideo.create_api('pg_catalog.uuid');
SELECT vibevideo.grant_api_roles();
SELECT pg_catalog.pg_notify('pgrst', 'reload schema');
