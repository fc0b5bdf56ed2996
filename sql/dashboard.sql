
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
