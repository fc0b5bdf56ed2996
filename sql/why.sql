
-------------------------------------------------------------------------------
-- Why a job waits
-------------------------------------------------------------------------------

/*
 * Of a job that has not ended one thing is told that holds it now: the first of
 * those below that is true, in the order in which it would have to be put right.
 * Nobody needs to know of a limit while the database is paused.  Limits of users
 * (vibevideo.limit) are not among them: they refuse a job, and none waits for one.
 *
 * What operators read is in sentence, what users read in message.  Both are made
 * here, side by side, and the second names no server, setting, limit or cause that
 * its reader could do nothing about.
 */

CREATE FUNCTION vibevideo_internal.because(code text, sentence text, message text DEFAULT NULL, until timestamptz DEFAULT NULL,
										   ahead int DEFAULT NULL, estimate interval DEFAULT NULL)
RETURNS vibevideo_internal.reason LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN ROW(code, sentence, until, ahead, CASE WHEN estimate < interval '0' THEN interval '0' ELSE estimate END, message)::vibevideo_internal.reason;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.because(text, text, text, timestamptz, int, interval) IS
	'makes a reason, whose estimate is not negative; owner only';

-- A time of today without its date, in the session's time zone.
CREATE FUNCTION vibevideo_internal.clock(at timestamptz)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN isfinite(at) THEN to_char(at, CASE WHEN at::date = now()::date THEN 'HH24:MI:SS' ELSE 'YYYY-MM-DD HH24:MI:SS' END) ELSE at::text END;
COMMENT ON FUNCTION vibevideo_internal.clock(timestamptz) IS 'a time for people, with its date if that is not today''s; owner only';

-- 20 s, 4 min, 3 h, 5 d; with a second one from the first to that, as 2 to 4 min.
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

-- What is left of a usual time, NULL if it is over.
CREATE FUNCTION vibevideo_internal.still(rest interval)
RETURNS interval LANGUAGE sql IMMUTABLE
RETURN CASE WHEN rest > interval '0' THEN rest END;
COMMENT ON FUNCTION vibevideo_internal.still(interval) IS 'what is left, NULL if nothing is; owner only';

-- How many, of what is counted to 1,001 at most.
CREATE FUNCTION vibevideo_internal.many(n bigint)
RETURNS text LANGUAGE sql STABLE
RETURN CASE WHEN n > 1000 THEN 'more than 1,000' ELSE to_char(n, 'FM9,999') END;
COMMENT ON FUNCTION vibevideo_internal.many(bigint) IS 'how many, for people, of what is counted to 1001; owner only';

-- For users: how many come before them.
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

-- How a lost submit comes to an end, if it is not found.
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

-- What somebody else said, on one line that is not too long.
CREATE FUNCTION vibevideo_internal.quoted(words text)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN length(words) > 200 THEN rtrim(left(translate(words, E'\n\r\t', '   '), 200)) || ' ...' ELSE translate(words, E'\n\r\t', '   ') END;
COMMENT ON FUNCTION vibevideo_internal.quoted(text) IS 'somebody''s words on one line, cut; owner only';

-- After what it is tried again; a job may wait for a later time without an error.
CREATE FUNCTION vibevideo_internal.after_error(words text, error_code text, error text)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN concat_ws(', ', words, 'after ' || nullif(concat_ws(': ', error_code, error), ''));
COMMENT ON FUNCTION vibevideo_internal.after_error(text, text, text) IS 'the words, with the error that came before, if there was one; owner only';

/*
 * vibevideo_internal.submit_line(most) - the order in which pending jobs are sent.
 *
 * jobs: the first ones, at most so many; NULL if more users than that wait.
 * turns: which of its user's each is.
 * whole: whether these are all.  waiting: how many there are, at most one more
 * than that.  room: how many vibevideo.max_active lets go now, NULL for any.
 * Reads of each user as many as may be among the first, so that the cost depends
 * on users, not on the backlog.
 */
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

-- Keeps the line for a second, so that a list of jobs, or many callers, cost one.
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

-- Where the worker looks for a key, for who has none.
CREATE FUNCTION vibevideo_internal.key_places(environment text, setting text, secret text)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN concat_ws(', ', CASE WHEN secret <> '' AND vibevideo_internal.has_vault() THEN format('Vault (secret "%s")', secret) END,
				 format('the server''s environment (%s)', environment)) || format(' or the setting %s', setting);
COMMENT ON FUNCTION vibevideo_internal.key_places(text, text, text) IS 'where a key is looked for; owner only';

/*
 * vibevideo_internal.find_reason(job_id) - what holds a job now.  NULL if there is no such
 * job.  Called by reason_of, which remembers it.
 */
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
