
-------------------------------------------------------------------------------
-- Who may look and act, and what was done
-------------------------------------------------------------------------------

/*
 * Levels: viewer may look, operator may also act on jobs, and set limits and prices;
 * neither may change settings, other tables or rights.  The functions for them run as the extension's
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
