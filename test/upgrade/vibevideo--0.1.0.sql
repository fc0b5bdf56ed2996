/* sql/schema.sql: types, tables and how a job is told to people */
\echo Use "CREATE EXTENSION vibevideo" to load this file. \quit

-- Everything that fal and Storage send is UTF-8; a database that cannot hold
-- it would turn a foreign text into an error of ours.
DO $$
BEGIN
	IF pg_catalog.current_setting('server_encoding') OPERATOR(pg_catalog.<>) 'UTF8' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'feature_not_supported',
			MESSAGE = pg_catalog.format('vibevideo needs a database with encoding UTF8, not %s',
										pg_catalog.current_setting('server_encoding')),
			HINT = 'Create the database with ENCODING ''UTF8''.';
	END IF;
END
$$;

-- The schema may be there already, from a dump or an earlier installation, but
-- it must be nobody else's: its owner could drop and replace what is in it,
-- and a function there could be a better match for a call of ours than ours.
DO $$
DECLARE
	stranger text;
BEGIN
	SELECT pg_catalog.format('it belongs to %s', r.rolname) INTO stranger
	FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
	WHERE n.nspname OPERATOR(pg_catalog.=) 'vibevideo' AND NOT r.rolsuper;
	IF NOT FOUND THEN
		SELECT pg_catalog.format('it holds %s', o.name) INTO stranger
		FROM (SELECT p.oid::pg_catalog.regprocedure::text, p.pronamespace FROM pg_catalog.pg_proc p
			  UNION ALL
			  SELECT t.oid::pg_catalog.regtype::text, t.typnamespace FROM pg_catalog.pg_type t
			  UNION ALL
			  SELECT x.oid::pg_catalog.regoperator::text, x.oprnamespace FROM pg_catalog.pg_operator x) AS o(name, namespace)
		JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.namespace
		WHERE n.nspname OPERATOR(pg_catalog.=) 'vibevideo' LIMIT 1;
	END IF;
	IF stranger IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = 'vibevideo does not use the schema vibevideo that is there',
			DETAIL = pg_catalog.concat('Only a superuser''s empty one is safe, but ', stranger, '.'),
			HINT = 'Drop or rename it, or move what is in it and ALTER SCHEMA vibevideo OWNER TO a superuser.';
	END IF;
END
$$;

-------------------------------------------------------------------------------
-- Types and tables.  src/README.md tells the state machine.
-------------------------------------------------------------------------------

-- What the public functions return: one row of the app, seen as a video.
CREATE TYPE vibevideo.video AS (
	vibelog_id text,
	status text,
	request_id text,
	video_url text,
	message text,
	queue_position int,
	progress real,
	attempt int,
	error_code text,
	error text,
	submitted_at timestamptz,
	updated_at timestamptz,
	completed_at timestamptz
);
COMMENT ON TYPE vibevideo.video IS 'a video as the app sees it; message is what a person should read';

-- The attached table: at most one row.
CREATE TABLE vibevideo.binding (
	only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
	relation regclass NOT NULL,
	id_column name NOT NULL,
	id_type regtype NOT NULL,
	prompt_column name NOT NULL,
	image_column name,
	model text,
	input_function text,
	user_column name,
	realtime boolean NOT NULL DEFAULT false,
	build_index boolean NOT NULL DEFAULT false,
	-- the cluster and database that may act on the jobs: see vibevideo.resume
	system_identifier bigint NOT NULL,
	database_oid oid NOT NULL,
	timeline int NOT NULL,
	resting boolean NOT NULL DEFAULT false,
	attached_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE vibevideo.binding IS 'the app''s table and the columns vibevideo reads; written by vibevideo.attach';
COMMENT ON COLUMN vibevideo.binding.input_function IS 'schema-qualified name of a function of the row that returns the model''s input as jsonb';
COMMENT ON COLUMN vibevideo.binding.user_column IS 'column that says whose video it is, for the limits; otherwise the JWT''s sub';
COMMENT ON COLUMN vibevideo.binding.realtime IS 'changes are also sent through Supabase Realtime''s realtime.send, where it exists';
COMMENT ON COLUMN vibevideo.binding.resting IS 'this is a copy of the database the jobs belong to: nothing is sent until vibevideo.resume()';
COMMENT ON COLUMN vibevideo.binding.build_index IS 'the table was too big to index under attach''s lock: the worker builds it CONCURRENTLY';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.binding', '');

-- What we know of models; rows of the app's own are kept by pg_dump.
CREATE TABLE vibevideo.model (
	endpoint text COLLATE pg_catalog."C" PRIMARY KEY,
	max_prompt int CHECK (max_prompt OPERATOR(pg_catalog.>) 0),
	needs_image boolean NOT NULL DEFAULT false,
	price_usd numeric(10, 4) CHECK (price_usd OPERATOR(pg_catalog.>=) 0),
	usual_seconds int CHECK (usual_seconds OPERATOR(pg_catalog.>) 0),
	builtin boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE vibevideo.model IS 'limits and list prices of models; an endpoint without a row has no limits';
COMMENT ON COLUMN vibevideo.model.price_usd IS 'of one video; an unknown price counts as 0';
COMMENT ON COLUMN vibevideo.model.usual_seconds IS 'how long a video usually takes; only told to whoever is over a limit';
INSERT INTO vibevideo.model (endpoint, max_prompt, needs_image, price_usd, builtin) VALUES
	('fal-ai/minimax/video-01', 2000, false, 0.5, true),
	('fal-ai/minimax/video-01-director', 2000, false, 0.5, true),
	('fal-ai/minimax/video-01-live', 2000, false, 0.5, true),
	('fal-ai/minimax/video-01/image-to-video', 2000, true, 0.5, true),
	('fal-ai/minimax/video-01-live/image-to-video', 2000, true, 0.5, true),
	('fal-ai/minimax/video-01-director/image-to-video', 2000, true, 0.5, true);
SELECT pg_catalog.pg_extension_config_dump('vibevideo.model', 'WHERE NOT builtin');

CREATE SEQUENCE vibevideo.job_id_seq;
SELECT pg_catalog.pg_extension_config_dump('vibevideo.job_id_seq', '');

-- Fencing tokens: every claim takes a new one, and only its holder may record.
CREATE SEQUENCE vibevideo.lease_seq CACHE 32;
SELECT pg_catalog.pg_extension_config_dump('vibevideo.lease_seq', '');

-- One row an attempt: at most one POST of it is ever accepted by fal.
-- Whatever text is in an index has collation C: another order in a newer C
-- library would let two active jobs of a row pass.
CREATE TABLE vibevideo.job (
	job_id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('vibevideo.job_id_seq'),
	relation regclass,
	vibelog_id text COLLATE pg_catalog."C" NOT NULL,
	attempt int NOT NULL DEFAULT 1,
	-- attempts in a row that we started by ourselves, this one included
	renders int NOT NULL DEFAULT 1,
	-- its transaction was rolled back: it is here to be cancelled at fal
	ghost boolean NOT NULL DEFAULT false,
	state text NOT NULL CHECK (state OPERATOR(pg_catalog.=) ANY (ARRAY[
		'pending', 'submitting', 'submit_unknown', 'queued', 'generating',
		'processing', 'completed', 'failed', 'cancelled'])),
	priority smallint NOT NULL DEFAULT 0,
	requested_by text COLLATE pg_catalog."C",
	model text NOT NULL,
	input jsonb NOT NULL,
	request_id text COLLATE pg_catalog."C",
	queue_position int,
	-- scheduling: due at next_at; a claim moves it to the end of its lease
	next_at timestamptz DEFAULT pg_catalog.now(),
	lease bigint NOT NULL DEFAULT 0,
	leased_by int,
	tries int NOT NULL DEFAULT 0,
	crashes int NOT NULL DEFAULT 0,
	cancel_requested_at timestamptz,
	-- the copy
	media_url text,
	media_type text,
	object_key text,
	-- a resumable upload under way, which bytes its beginning is made of, and
	-- the hash and the duration as far as they are known
	upload_url text,
	media_etag text,
	upload_state bytea,
	bytes_done bigint,
	bytes_total bigint,
	-- how fast it goes just now, null between tries
	bytes_per_second bigint,
	sha256 bytea,
	duration_ms bigint,
	video_url text,
	-- what happened
	error_code text,
	error text,
	-- the model's list price when it was asked for; fal bills what it has rendered
	cost_usd numeric(10, 4),
	billed boolean GENERATED ALWAYS AS (media_url IS NOT NULL) STORED,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	sent_at timestamptz,
	submitted_at timestamptz,
	generated_at timestamptz,
	completed_at timestamptz,
	updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	-- the app's row follows the job: true until it has been written
	row_dirty boolean NOT NULL DEFAULT true,
	row_tries int NOT NULL DEFAULT 0,
	row_next_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	row_error text
) WITH (fillfactor = 80);
COMMENT ON TABLE vibevideo.job IS 'one row an attempt to make a video; view vibevideo.jobs is made for reading';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.job', '');

-- A vibelog has one active job: this index, not a check, keeps double clicks apart.
CREATE UNIQUE INDEX job_active ON vibevideo.job (relation, vibelog_id)
	WHERE NOT ghost AND state OPERATOR(pg_catalog.=) ANY (ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing']);
CREATE UNIQUE INDEX job_request ON vibevideo.job (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX job_vibelog ON vibevideo.job (relation, vibelog_id, job_id);
-- What is due, a kind each.  None of them holds a finished job, so that the
-- cost of a pass depends on work, not on history.
CREATE INDEX job_pending ON vibevideo.job (next_at) WHERE state OPERATOR(pg_catalog.=) 'pending';
CREATE INDEX job_submitting ON vibevideo.job (next_at) WHERE state OPERATOR(pg_catalog.=) 'submitting';
CREATE INDEX job_unknown ON vibevideo.job (next_at) WHERE state OPERATOR(pg_catalog.=) 'submit_unknown';
CREATE INDEX job_fair ON vibevideo.job ((COALESCE(requested_by, '')), priority DESC, next_at)
	WHERE state OPERATOR(pg_catalog.=) 'pending';
CREATE INDEX job_poll_due ON vibevideo.job (next_at)
	WHERE state OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'generating']);
CREATE INDEX job_copy_due ON vibevideo.job (next_at)
	WHERE state OPERATOR(pg_catalog.=) 'processing';
CREATE INDEX job_row_due ON vibevideo.job (row_next_at) WHERE row_dirty;
-- what retention takes, oldest first
CREATE INDEX job_finished ON vibevideo.job (completed_at) WHERE next_at IS NULL;

-- What happened to a job, for people.
CREATE TABLE vibevideo.event (
	event_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	job_id bigint NOT NULL,
	at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	state text NOT NULL,
	error_code text,
	detail text,
	PRIMARY KEY (job_id, event_id)
);
COMMENT ON TABLE vibevideo.event IS 'one row a state change of a job; kept as long as the job';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.event', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.event_event_id_seq', '');

-- What we learned of our account at fal: the keys that sign its webhooks, and
-- who we are.  A cache, so pg_dump leaves it out.
CREATE TABLE vibevideo.fal_account (
	only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
	keys bytea,
	fetched_at timestamptz,
	user_id text
);
COMMENT ON TABLE vibevideo.fal_account IS 'fal''s webhook keys (32 bytes each) and our user id there; a cache';

-- Before: guards the state machine against every writer, ours included, keeps
-- the history, notes the price, and marks the app's row for rewriting whenever
-- something it shows has changed.  After: limits, and news for who listens.
CREATE FUNCTION vibevideo.job_changing()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'vibevideo_job_changing';
COMMENT ON FUNCTION vibevideo.job_changing() IS
	'trigger: refuses backward moves, keeps the history, notes the price, marks the app''s row for rewriting';
CREATE FUNCTION vibevideo.job_changed()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'vibevideo_job_changed';
COMMENT ON FUNCTION vibevideo.job_changed() IS
	'trigger: a new job takes its share of the limits, one that ended gives back; tells a new status on channel vibevideo';
CREATE TRIGGER job_changing BEFORE INSERT OR UPDATE ON vibevideo.job FOR EACH ROW
	EXECUTE FUNCTION vibevideo.job_changing();
CREATE TRIGGER job_changed AFTER INSERT OR UPDATE ON vibevideo.job FOR EACH ROW
	EXECUTE FUNCTION vibevideo.job_changed();

-------------------------------------------------------------------------------
-- How a job is told to people
-------------------------------------------------------------------------------

-- These are bound to what they name when they are made (RETURN, not a string),
-- so no search_path can change them, and without a SET they can be inlined.

-- The status the app sees: inner states show as queued.
CREATE FUNCTION vibevideo.shown_status(state text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN state = ANY (ARRAY['pending', 'submitting', 'submit_unknown'])
			THEN 'queued' ELSE state END;
COMMENT ON FUNCTION vibevideo.shown_status(text) IS 'the app''s status for a job''s inner state';

-- How long a copy still takes, at the speed it goes just now.
CREATE FUNCTION vibevideo.seconds_left(j vibevideo.job)
RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((j).bytes_total - (j).bytes_done) / nullif((j).bytes_per_second, 0);
COMMENT ON FUNCTION vibevideo.seconds_left(vibevideo.job) IS 'how long a copy still takes, null if that is not known';

-- One sentence a person can read.
CREATE FUNCTION vibevideo.job_message(j vibevideo.job)
RETURNS text LANGUAGE sql STABLE
RETURN CASE
	WHEN (j).cancel_requested_at IS NOT NULL AND (j).state <> ALL (ARRAY['processing', 'completed', 'failed', 'cancelled'])
		THEN 'Cancelling'
	WHEN (j).state = 'pending' AND (j).tries > 0
		THEN format('Waiting to be sent again (try %s): %s', (j).tries + 1, (j).error)
	WHEN (j).state = 'pending' AND (j).error IS NOT NULL THEN format('Waiting to be sent: %s', (j).error)
	WHEN (j).state = 'pending' THEN 'Waiting to be sent'
	WHEN (j).state = 'submitting' THEN 'Being sent'
	WHEN (j).state = 'submit_unknown'
		THEN 'The provider''s answer was lost; nothing is sent again until it is known whether it has the job'
	WHEN (j).state = 'queued' AND (j).queue_position > 0
		THEN format('Video queued, %s ahead of you', (j).queue_position)
	WHEN (j).state = 'queued' THEN 'Video queued'
	WHEN (j).state = 'generating' AND (j).queue_position IS NOT NULL
		THEN format('The provider restarted the job, %s ahead of you', (j).queue_position)
	WHEN (j).state = 'generating' THEN 'AI is generating'
	WHEN (j).state = 'processing' AND (j).tries > 0 AND (j).error IS NOT NULL
		THEN format('Copying the video, try %s: %s', (j).tries + 1, (j).error)
	WHEN (j).state = 'processing' AND (j).bytes_done > 0 AND vibevideo.seconds_left(j) >= 0
		THEN format('Copying %s %%, %s, %s left', least(100, (j).bytes_done * 100 / (j).bytes_total),
					CASE WHEN (j).bytes_per_second >= 1000000 THEN format('%s MB/s', round((j).bytes_per_second / 1e6))
						 ELSE format('%s kB/s', ceil((j).bytes_per_second / 1e3)) END,
					CASE WHEN vibevideo.seconds_left(j) < 100 THEN format('%s s', vibevideo.seconds_left(j) + 1)
						 ELSE format('%s min', ceil(vibevideo.seconds_left(j) / 60.0)) END)
	WHEN (j).state = 'processing' AND (j).bytes_done > 0 AND (j).bytes_total > 0
		THEN format('Copying %s %%', least(100, (j).bytes_done * 100 / (j).bytes_total))
	WHEN (j).state = 'processing' AND (j).bytes_done > 0
		THEN format('Copying, %s so far', pg_size_pretty((j).bytes_done))
	WHEN (j).state = 'processing' THEN 'Copying the video'
	WHEN (j).state = 'completed' THEN 'Your video is ready'
	WHEN (j).state = 'failed' THEN format('Failed: %s', (j).error)
	WHEN (j).state = 'cancelled' THEN 'Cancelled'
END;
COMMENT ON FUNCTION vibevideo.job_message(vibevideo.job) IS 'what a person should read about a job';

-- A job as the public functions return it.
CREATE FUNCTION vibevideo.describe(j vibevideo.job)
RETURNS vibevideo.video LANGUAGE sql STABLE
RETURN ROW(
	(j).vibelog_id,
	vibevideo.shown_status((j).state),
	(j).request_id,
	(j).video_url,
	vibevideo.job_message(j),
	CASE WHEN (j).state = ANY (ARRAY['queued', 'generating']) THEN (j).queue_position END,
	CASE WHEN (j).state = 'completed' THEN 1
		 WHEN (j).state = 'processing' AND (j).bytes_total > 0
		 THEN least(1, coalesce((j).bytes_done, 0)::real / (j).bytes_total)
	END::real,
	(j).attempt,
	(j).error_code,
	(j).error,
	(j).submitted_at,
	(j).updated_at,
	(j).completed_at)::vibevideo.video;
COMMENT ON FUNCTION vibevideo.describe(vibevideo.job) IS 'a job as vibevideo.video';

-- For dashboards.  security_invoker: reading it needs rights on vibevideo.job.
CREATE VIEW vibevideo.jobs WITH (security_invoker = true) AS
SELECT j.job_id, v.vibelog_id, v.status, j.state, v.request_id, v.video_url, v.message,
	   v.queue_position, v.progress, v.attempt, v.error_code, v.error,
	   j.model, j.tries, j.next_at, j.bytes_done, j.bytes_total, j.media_url, j.requested_by,
	   j.ghost, j.created_at, j.sent_at, v.submitted_at, j.generated_at, v.updated_at, v.completed_at,
	   j.row_dirty, j.row_error, j.cost_usd, j.billed, j.bytes_per_second, vibevideo.seconds_left(j) AS seconds_left,
	   j.duration_ms, j.object_key
FROM vibevideo.job j CROSS JOIN LATERAL vibevideo.describe(j) v;
COMMENT ON VIEW vibevideo.jobs IS 'one row a job, newest state, for dashboards';

-------------------------------------------------------------------------------
-- Order of sending
-------------------------------------------------------------------------------

-- Which jobs are sent next: higher priority first, within it the users take
-- turns, and each user's oldest first.  The users are found by hopping through
-- the index, so that the cost depends on them, not on the backlog; the planner,
-- which may think the table empty, is told to use it.  No more than
-- vibevideo.max_active leaves room for.
CREATE FUNCTION vibevideo.next_submits(most int, due_before timestamptz)
RETURNS SETOF bigint LANGUAGE plpgsql STABLE ROWS 64
SET search_path = pg_catalog, pg_temp SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
	IF current_setting('vibevideo.max_active')::int > 0 THEN
		most = least(most, vibevideo.room_at_fal());
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
		SELECT j.job_id, j.priority, j.next_at, row_number() OVER (ORDER BY j.priority DESC, j.next_at) AS turn
		FROM vibevideo.job j
		WHERE j.state = 'pending' AND coalesce(j.requested_by, '') = u.name AND j.next_at <= due_before
		  AND j.cancel_requested_at IS NULL
		ORDER BY j.priority DESC, j.next_at LIMIT most) c
	WHERE u.name IS NOT NULL
	ORDER BY c.priority DESC, c.turn, c.next_at LIMIT most;
END
$$;
COMMENT ON FUNCTION vibevideo.next_submits(int, timestamptz) IS 'jobs to send next, by priority, then users in turn; owner only';

-------------------------------------------------------------------------------
-- Inner functions in C
-------------------------------------------------------------------------------

-- Wakes (or has started) this database's worker when the transaction commits.
CREATE FUNCTION vibevideo.wake()
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_wake';
COMMENT ON FUNCTION vibevideo.wake() IS 'wakes the background worker at commit; owner only';

-- This database's worker as shared memory knows it; no row while none was wanted.
CREATE FUNCTION vibevideo.worker_info(OUT pid int, OUT started_at timestamptz, OUT heartbeat_at timestamptz,
									  OUT last_poll_at timestamptz, OUT starts bigint, OUT failures bigint,
									  OUT fal_down_until timestamptz, OUT storage_down_until timestamptz)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_worker_info';
COMMENT ON FUNCTION vibevideo.worker_info() IS 'the background worker of this database; owner only';

-- Which cluster, database and timeline this is: what vibevideo.binding remembers.
CREATE FUNCTION vibevideo.identity(OUT system_identifier bigint, OUT database_oid oid, OUT timeline int)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_identity';
COMMENT ON FUNCTION vibevideo.identity() IS 'the cluster''s system identifier (in a copy that was started a number of its own), this database and the timeline; owner only';

-- Is this a copy, or was it put to rest?
CREATE FUNCTION vibevideo.rests(b vibevideo.binding)
RETURNS boolean LANGUAGE sql VOLATILE
RETURN (b).resting OR ((b).system_identifier, (b).database_oid, (b).timeline) IS DISTINCT FROM
	(SELECT (i.system_identifier, i.database_oid, i.timeline) FROM vibevideo.identity() i);
COMMENT ON FUNCTION vibevideo.rests(vibevideo.binding) IS 'whether nothing is done here until vibevideo.resume(); owner only';

-- One network probe for check_config: what is fal_key, queue, bucket.
CREATE FUNCTION vibevideo.probe(what text, OUT status text, OUT detail text, OUT hint text)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_probe';
COMMENT ON FUNCTION vibevideo.probe(text) IS 'asks fal or Storage for check_config; owner only';

-------------------------------------------------------------------------------
-- The public functions
-------------------------------------------------------------------------------

/*
 * vibevideo.create_api(id_type) - creates the public functions that take a
 * key, or gives them another key type.
 *
 * They live in public under fixed names, without overloads, because that is
 * how PostgREST finds them, and they are members of the extension.  A function
 * that has the right type already is left alone.  Access rights are set before
 * a function joins the extension, so that pg_dump sees them as its own.
 *
 * id_type: uuid, bigint, integer or text.
 * Errors: 22023 another type; 42723 a foreign function has one of the names;
 * 2BP01 something depends on a function that must be replaced; 42501 the
 * caller is not a superuser and a function has to be created.
 * Called by the install script and by the trigger on vibevideo.binding, which
 * pg_restore fires too.  Owner only.
 */
CREATE FUNCTION vibevideo.create_api(id_type regtype)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	errors constant text =
		'Errors: PT404 no such row or not visible; 42501 the row may not be changed by the caller; '
		'22004 the key is null; 55000 vibevideo is not configured or no table is attached. '
		'For authenticated (row-level security decides which rows) and service_role.';
	extension_oid constant oid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'vibevideo');
	extension_owner constant name = (SELECT r.rolname FROM pg_extension e JOIN pg_roles r ON r.oid = e.extowner
									 WHERE e.extname = 'vibevideo');
	api record;
	foreign_function regprocedure;
	old_function regprocedure;
	created_function regprocedure;
	created regprocedure[] = '{}';
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
			 'Asks for a video of one row of the attached table: sends it to fal.ai and returns at once, with the request id. '
			 'vibelog_id: the row''s key. Returns the video; while a job is active that job, so that asking twice never pays twice. '
			 'Also 22023: the prompt is missing, too long or otherwise unusable. ' || errors),
			('vibevideo_submit_batch', 'vibelog_ids', true, 'SETOF vibevideo.video', 'VOLATILE',
			 'Asks for videos of many rows: only notes the jobs, without network; the background worker sends them after commit. '
			 'vibelog_ids: the rows'' keys. Returns a video a row, in the order given. '
			 'Also 22023: a prompt is missing, too long or otherwise unusable. ' || errors),
			('vibevideo_status', 'vibelog_id', false, 'vibevideo.video', 'STABLE',
			 'Tells how far the video of one row is; message is made for people. No network, no writes. '
			 'vibelog_id: the row''s key. Returns the video; status is null if none was ever asked for. ' || errors),
			('vibevideo_cancel', 'vibelog_id', false, 'vibevideo.video', 'VOLATILE',
			 'Cancels the active job of one row, here and at fal.ai. '
			 'vibelog_id: the row''s key. Returns the video; a finished one is returned as it is. ' || errors),
			('vibevideo_retry', 'vibelog_id', false, 'vibevideo.video', 'VOLATILE',
			 'Tries again to make the video of a row whose last job failed or was cancelled. '
			 'vibelog_id: the row''s key. Returns the video; while a job is active that job. '
			 'Also 22023: the prompt is missing, too long or otherwise unusable. ' || errors)
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
	NOTIFY pgrst, 'reload schema';
END
$$;
COMMENT ON FUNCTION vibevideo.create_api(regtype) IS
	'(re)creates the public functions for a key type: uuid, bigint, integer or text; owner only';

-- One pass over what is due; independent of the key's type.
CREATE FUNCTION public.vibevideo_poll(OUT checked int, OUT advanced int, OUT finished int, OUT failed int)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'vibevideo_poll';
COMMENT ON FUNCTION public.vibevideo_poll() IS
	'Asks fal.ai about the jobs that are due and moves them on; made to be called by pg_cron every few seconds. '
	'Returns how many jobs were checked, advanced, finished and failed in this pass. '
	'Errors: 25006 on a standby. For service_role and the owner.';

/*
 * public.vibevideo_webhook(json) - fal.ai calls it when a job is done.
 *
 * The argument has no name, so that PostgREST hands over the raw body, byte for
 * byte; the signature is in the request's headers.  Trusted by signature only.
 * Returns {"ok": true}.  Errors: PT401 not signed by fal.ai for our account in
 * the last five minutes, PT404 a request of no job of ours, PT413 larger than
 * 1 MB.  For anon.
 */
CREATE FUNCTION public.vibevideo_webhook(json)
RETURNS json LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'vibevideo_webhook';
COMMENT ON FUNCTION public.vibevideo_webhook(json) IS
	'Called by fal.ai when a job is done; only wakes the poll of that job. Trusted by its signature alone. '
	'Errors: PT401 not accepted, PT404 not known, PT413 too large. For anon.';

-------------------------------------------------------------------------------
-- Attaching the app's table
-------------------------------------------------------------------------------

-- Keeps the public functions in step with the attached key.  pg_restore copies
-- rows into vibevideo.binding, so this is also how they get their type back.
CREATE FUNCTION vibevideo.binding_changed()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo.create_api(NEW.id_type);
	PERFORM vibevideo.grant_api_roles();
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo.binding_changed() IS
	'trigger: gives the public functions the attached key''s type and the API roles their rights';
CREATE TRIGGER binding_changed AFTER INSERT OR UPDATE ON vibevideo.binding
	FOR EACH ROW EXECUTE FUNCTION vibevideo.binding_changed();
ALTER TABLE vibevideo.binding ENABLE ALWAYS TRIGGER binding_changed;

-- A row that attach has not just made comes from a dump.  Into another database
-- or not: what was done since then is not in it, and would be done again.
CREATE FUNCTION vibevideo.binding_copied()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NEW.attached_at <> now() THEN
		NEW.resting = true;
		RAISE WARNING USING
			MESSAGE = 'vibevideo rests: this database is a copy of the one its jobs belong to',
			HINT = 'If it shall go on with them, SELECT vibevideo.resume().';
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION vibevideo.binding_copied() IS 'trigger: jobs that come from a dump rest until vibevideo.resume()';
CREATE TRIGGER binding_copied BEFORE INSERT ON vibevideo.binding
	FOR EACH ROW EXECUTE FUNCTION vibevideo.binding_copied();
ALTER TABLE vibevideo.binding ENABLE ALWAYS TRIGGER binding_copied;

-- The statuses an app can see, in the order a row goes through them.
CREATE FUNCTION vibevideo.statuses()
RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
RETURN ARRAY['queued', 'generating', 'processing', 'completed', 'failed', 'cancelled'];
COMMENT ON FUNCTION vibevideo.statuses() IS 'the values of video_generation_status; owner only';

-- The columns vibevideo writes, with their types.
CREATE FUNCTION vibevideo.row_columns(OUT name name, OUT type regtype)
RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 5 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT c.name::name, c.type::regtype
	FROM (VALUES ('video_generation_status', 'text'), ('video_request_id', 'text'), ('video_url', 'text'),
				 ('video_generated_at', 'timestamp with time zone'), ('video_generation_error', 'text')) AS c(name, type);
END;
COMMENT ON FUNCTION vibevideo.row_columns() IS 'the columns of the app''s table that vibevideo writes; owner only';

-- A name made from a table's, cut to what PostgreSQL allows without losing its
-- ends.
CREATE FUNCTION vibevideo.derived_name(relation regclass, prefix text, suffix text)
RETURNS name LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	base text = (SELECT c.relname FROM pg_class c WHERE c.oid = derived_name.relation);
BEGIN
	WHILE octet_length(base) > 63 - octet_length(prefix || suffix) LOOP
		base = left(base, -1);
	END LOOP;
	RETURN prefix || base || suffix;
END
$$;
COMMENT ON FUNCTION vibevideo.derived_name(regclass, text, text) IS
	'prefix, table name and suffix as one name of at most 63 bytes; owner only';

-- Size in bytes of a table's rows, its partitions and children included.
CREATE FUNCTION vibevideo.relation_bytes(relation regclass)
RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH RECURSIVE tree(oid) AS (
		SELECT relation_bytes.relation::oid
		UNION ALL
		SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
	)
	SELECT coalesce(sum(pg_relation_size(t.oid)), 0)::bigint FROM tree t;
END;
COMMENT ON FUNCTION vibevideo.relation_bytes(regclass) IS 'bytes of a table with its partitions; owner only';

-- The valid index that finds a row by its request id, or NULL.
CREATE FUNCTION vibevideo.request_index(relation regclass)
RETURNS regclass LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
BEGIN ATOMIC
	SELECT i.indexrelid::regclass
	FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
	WHERE i.indrelid = request_index.relation AND a.attname = 'video_request_id' AND i.indisvalid AND i.indisready
	  AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = '(video_request_id IS NOT NULL)')
	ORDER BY i.indexrelid LIMIT 1;
END;
COMMENT ON FUNCTION vibevideo.request_index(regclass) IS 'the valid index on video_request_id, or NULL; owner only';

-- The command that makes that index: attach runs it on small tables, the worker
-- on big ones, without blocking writes.
CREATE FUNCTION vibevideo.index_command(relation regclass, online boolean DEFAULT false)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN format('CREATE INDEX %s%I ON %s (video_request_id) WHERE video_request_id IS NOT NULL',
			  CASE WHEN online THEN 'CONCURRENTLY ' END,
			  vibevideo.derived_name(relation, 'idx_', '_video_request_id'), relation);
COMMENT ON FUNCTION vibevideo.index_command(regclass, boolean) IS
	'the command that makes the index on video_request_id; owner only';

-- Refuses what cannot be the app's table.
CREATE FUNCTION vibevideo.check_attachable(relation regclass)
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
	ELSIF t.nspname = 'vibevideo' THEN
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
COMMENT ON FUNCTION vibevideo.check_attachable(regclass) IS 'refuses what cannot be the app''s table; owner only';

-- Finds the column that identifies a row, and its type.
CREATE FUNCTION vibevideo.key_column(relation regclass, wanted name, OUT id_column name, OUT id_type regtype)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	keys name[];
	column_number smallint;
	column_not_null boolean;
BEGIN
	IF wanted IS NULL THEN
		SELECT array_agg(a.attname ORDER BY k.position) INTO keys
		FROM pg_index i
		CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(attnum, position)
		JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
		WHERE i.indrelid = key_column.relation AND i.indisprimary AND k.position <= i.indnkeyatts;
		IF keys IS NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_table_definition',
				MESSAGE = format('table %s has no primary key', relation),
				HINT = 'Add one, or name a column that is unique and not null with id_column => ''...''.';
		ELSIF cardinality(keys) > 1 THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_table_definition',
				MESSAGE = format('the primary key of %s has %s columns', relation, cardinality(keys)),
				DETAIL = format('It consists of %s.', array_to_string(keys, ', ')),
				HINT = 'Name a single column that is unique and not null with id_column => ''...''.';
		END IF;
		id_column = keys[1];
	ELSE
		id_column = wanted;
	END IF;

	SELECT a.atttypid, a.attnum, a.attnotnull INTO id_type, column_number, column_not_null
	FROM pg_attribute a
	WHERE a.attrelid = key_column.relation AND a.attname = key_column.id_column AND a.attnum > 0 AND NOT a.attisdropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('table %s has no column "%s"', relation, id_column),
			HINT = 'Check id_column; without it the primary key''s column is taken. Names are case-sensitive here.';
	END IF;
	IF NOT column_not_null
	   OR NOT EXISTS (SELECT FROM pg_index i
					  WHERE i.indrelid = key_column.relation AND i.indisunique AND i.indisvalid AND i.indimmediate
						AND i.indnkeyatts = 1 AND i.indkey[0] = column_number AND i.indpred IS NULL)
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_table_definition',
			MESSAGE = format('column "%s" does not identify a row of %s', id_column, relation),
			DETAIL = CASE WHEN column_not_null
						  THEN 'No valid, non-deferrable, non-partial unique index has it as its only column.'
						  ELSE 'It may be null.' END,
			HINT = 'Take the primary key, or make the column UNIQUE and NOT NULL.';
	END IF;
	IF id_type NOT IN ('uuid'::regtype, 'bigint'::regtype, 'integer'::regtype, 'text'::regtype) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datatype_mismatch',
			MESSAGE = format('column "%s" of %s has type %s', id_column, relation, id_type),
			HINT = 'The key may be uuid, bigint, integer or text; domains cannot be used.';
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.key_column(regclass, name) IS 'the column that identifies a row, and its type; owner only';

-- Refuses a column that is not there or holds no text; option is the argument
-- of attach that named it.
CREATE FUNCTION vibevideo.check_text_column(relation regclass, column_name name, option text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	category "char";
	found_type text;
BEGIN
	SELECT t.typcategory, format_type(a.atttypid, a.atttypmod) INTO category, found_type
	FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
	WHERE a.attrelid = check_text_column.relation AND a.attname = check_text_column.column_name
	  AND a.attnum > 0 AND NOT a.attisdropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('table %s has no column "%s"', relation, column_name),
			HINT = format('Check %s. Names are case-sensitive here.', option);
	END IF;
	IF category <> 'S' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datatype_mismatch',
			MESSAGE = format('column "%s" of %s has type %s', column_name, relation, found_type),
			HINT = format('%s must name a text column; input_function can make the input out of anything.', option);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.check_text_column(regclass, name, text) IS
	'refuses a column that is not there or holds no text; owner only';

-- Resolves input_function to its qualified name.  Without a schema it is
-- looked for beside the table: the caller's search_path plays no part.
CREATE FUNCTION vibevideo.resolve_input_function(relation regclass, wanted text)
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

	-- the best candidate, to tell what is wrong with it
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
COMMENT ON FUNCTION vibevideo.resolve_input_function(regclass, text) IS
	'the qualified name of a function of the row that returns jsonb; owner only';

/*
 * vibevideo.status_check(relation, OUT present, OUT refusing, OUT refused) -
 * looks at the CHECK constraints on video_generation_status alone.  present:
 * one of them takes our statuses and nothing else.  refusing, refused: the
 * first one that refuses a status of ours, and which.  A constraint that calls
 * functions of the app is not judged: they would run with the caller's rights.
 * Nor is one that calls PostgreSQL's own, unless they are immutable: others can
 * run a text as a statement.
 */
CREATE FUNCTION vibevideo.status_check(relation regclass, OUT present boolean, OUT refusing name, OUT refused text)
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
		INTO rejected USING vibevideo.statuses() || nonsense;
		IF rejected = ARRAY[nonsense] THEN
			present = true;
		ELSIF rejected && vibevideo.statuses() THEN
			refusing = constr.conname;
			refused = array_to_string(array_remove(rejected, nonsense), ', ');
			RETURN;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo.status_check(regclass) IS 'what the table''s CHECK constraints say to our statuses; owner only';

-- Adds the columns and the CHECK constraint that are missing, in one ALTER
-- TABLE that reads no row of a big table; no ALTER TABLE if nothing is missing.
CREATE FUNCTION vibevideo.add_columns(relation regclass, big boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	statuses constant text = (SELECT string_agg(quote_literal(s), ', ') FROM unnest(vibevideo.statuses()) s);
	actions text[] = '{}';
	wanted record;
	has record;
	checks record;
	foreign_values text;
BEGIN
	FOR wanted IN SELECT c.name, c.type FROM vibevideo.row_columns() c LOOP
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
				DETAIL = 'It is null while there is nothing to tell.',
				HINT = format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL.', relation, wanted.name);
		ELSIF has.generated THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_table_definition',
				MESSAGE = format('column "%s" of %s is a generated column', wanted.name, relation),
				DETAIL = 'vibevideo has to write it.',
				HINT = 'Rename the column so that attach adds its own.';
		END IF;
	END LOOP;

	SELECT s.present, s.refusing, s.refused INTO checks FROM vibevideo.status_check(relation) s;
	IF checks.refusing IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('CHECK constraint %I of %s refuses video_generation_status %s',
							 checks.refusing, relation, checks.refused),
			HINT = format('ALTER TABLE %s DROP CONSTRAINT %I; attach adds one that takes %s.',
						  relation, checks.refusing, array_to_string(vibevideo.statuses(), ', '));
	END IF;
	IF NOT checks.present
	   -- one that could not be judged may have the name
	   AND NOT EXISTS (SELECT FROM pg_constraint c
					   WHERE c.conrelid = add_columns.relation
						 AND c.conname = vibevideo.derived_name(relation, '', '_video_generation_status_check'))
	THEN
		IF EXISTS (SELECT FROM pg_attribute a
				   WHERE a.attrelid = add_columns.relation AND a.attname = 'video_generation_status' AND NOT a.attisdropped)
		THEN
			-- Even a NOT VALID constraint would refuse later updates of such
			-- rows.  This reads the table, but only under ACCESS SHARE.
			EXECUTE format('SELECT string_agg(quote_literal(s), '', '' ORDER BY s) FROM ('
						   'SELECT DISTINCT video_generation_status::text AS s FROM %s '
						   'WHERE video_generation_status <> ALL ($1) LIMIT 5) d', relation)
			INTO foreign_values USING vibevideo.statuses();
			IF foreign_values IS NOT NULL THEN
				RAISE EXCEPTION USING
					ERRCODE = 'check_violation',
					MESSAGE = format('rows of %s have a video_generation_status vibevideo does not know', relation),
					DETAIL = format('Found %s.', foreign_values),
					HINT = format('UPDATE these rows to NULL or to one of %s.', array_to_string(vibevideo.statuses(), ', '));
			END IF;
		END IF;
		actions = actions || format('ADD CONSTRAINT %I CHECK (video_generation_status IN (%s))%s',
									vibevideo.derived_name(relation, '', '_video_generation_status_check'), statuses,
									CASE WHEN big THEN ' NOT VALID' END);
	END IF;

	IF cardinality(actions) > 0 THEN
		EXECUTE format('ALTER TABLE %s %s', relation, array_to_string(actions, ', '));
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.add_columns(regclass, boolean) IS 'adds the missing columns and the status CHECK; owner only';

-- Makes the index on video_request_id unless it is there; true if that is left
-- to the worker.
CREATE FUNCTION vibevideo.add_index(relation regclass, big boolean)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	index_name constant name = vibevideo.derived_name(relation, 'idx_', '_video_request_id');
	namesake record;
BEGIN
	IF vibevideo.request_index(relation) IS NOT NULL THEN
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
			DETAIL = format('vibevideo wants to run: %s', vibevideo.index_command(relation)),
			HINT = 'Rename that relation, then attach again.';
	END IF;

	IF NOT big THEN
		IF namesake.leftover THEN
			EXECUTE format('DROP INDEX %s', namesake.relation);
		END IF;
		EXECUTE vibevideo.index_command(relation);
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
		HINT = 'SELECT * FROM vibevideo.check_config() tells when it is there.';
	RETURN true;
END
$$;
COMMENT ON FUNCTION vibevideo.add_index(regclass, boolean) IS
	'makes the index on video_request_id; true if the worker has to; owner only';

/*
 * vibevideo.attach(relation, ...) - makes relation the table whose rows become
 * videos, and gives it the columns that tell about them.  Says what it did.
 *
 * relation: a table or partitioned table of the app.
 * id_column: a unique column that is not null; default the primary key's.  Its
 * type, uuid, bigint, integer or text, is the public functions' argument type.
 * prompt_column: default the first text column among prompt, text, content,
 * body, caption and description.
 * image_column: column with an image's URL, for models that want one.
 * model: fal endpoint id, as fal-ai/minimax/video-01; default setting
 * vibevideo.model.
 * input_function: name of a function of the row that returns the model's whole
 * input as jsonb; without a schema it is looked for in the table's.
 * user_column: column that says whose video it is, for vibevideo.limit; default
 * is the sub of the caller's JWT.
 * realtime: add the table to publication supabase_realtime, where it exists, and
 * tell each change to realtime.send.
 *
 * Adds video_generation_status (with a CHECK), video_request_id (with an
 * index), video_url, video_generated_at and video_generation_error where they
 * are missing.  No row is rewritten; on a table over 64 MB none is even read
 * under a lock that blocks: the CHECK stays NOT VALID and the worker builds the
 * index.  Attaching again is allowed at any time and replaces all options by
 * those given.  A lock is waited for as long as lock_timeout says, 5 s if that
 * is 0.
 *
 * Errors: 42P01, 42809, 42501, 0A000 not a table that can be attached; 42P16 no
 * single key, or a column of ours is NOT NULL or generated; 42703 no such
 * column; 42804 wrong type of a column; 42602, 42883, 42P13 unusable input_function;
 * 22023 bad model; 23514, 55000 statuses of ours are refused or foreign ones in
 * use; 55000 another table is attached, or forced row-level security; 42P07,
 * 42723 a name is taken; 2BP01 something depends on the public functions; 55P03
 * a lock could not be had.
 * For the extension's owner, who must also own the table.
 */
CREATE FUNCTION vibevideo.attach(relation regclass, id_column name DEFAULT NULL, prompt_column name DEFAULT NULL,
								 image_column name DEFAULT NULL, model text DEFAULT NULL,
								 input_function text DEFAULT NULL, user_column name DEFAULT NULL,
								 realtime boolean DEFAULT false)
RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	small_enough constant bigint = 64 * 1024 * 1024;
	prompt_names constant name[] = '{prompt,text,content,body,caption,description}';
	lock_timeout_before constant text = current_setting('lock_timeout');
	locking text = 'vibevideo.binding';
	attached regclass;
	big boolean;
	key record;
	prompt name = prompt_column;
	function_name text;
	build_index boolean;
	unfinished record;
BEGIN
	IF lock_timeout_before = '0' THEN
		PERFORM set_config('lock_timeout', '5s', true);
	END IF;

	BEGIN
		-- one attach or detach at a time
		LOCK TABLE vibevideo.binding IN SHARE ROW EXCLUSIVE MODE;
		PERFORM vibevideo.check_attachable(relation);
		locking = relation::text;
		EXECUTE format('LOCK TABLE %s IN ACCESS SHARE MODE', relation);

		SELECT b.relation INTO attached FROM vibevideo.binding b;
		IF attached <> relation AND EXISTS (SELECT FROM pg_class c WHERE c.oid = attached) THEN
			RAISE EXCEPTION USING
				ERRCODE = 'object_not_in_prerequisite_state',
				MESSAGE = format('table %s is attached already', attached),
				DETAIL = 'One table of a database can be attached at a time.',
				HINT = 'SELECT vibevideo.detach() first; it keeps columns, rows and jobs.';
		END IF;

		SELECT k.id_column, k.id_type INTO key FROM vibevideo.key_column(relation, id_column) k;
		IF prompt IS NULL THEN
			SELECT a.attname INTO prompt
			FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
			WHERE a.attrelid = attach.relation AND a.attnum > 0 AND NOT a.attisdropped
			  AND a.attname = ANY (prompt_names) AND t.typcategory = 'S' AND a.attname <> key.id_column
			ORDER BY array_position(prompt_names, a.attname) LIMIT 1;
			IF NOT FOUND THEN
				RAISE EXCEPTION USING
					ERRCODE = 'undefined_column',
					MESSAGE = format('table %s has no text column that looks like a prompt', relation),
					DETAIL = format('Looked for %s.', array_to_string(prompt_names, ', ')),
					HINT = 'Name the column with prompt_column => ''...''.';
			END IF;
		END IF;
		PERFORM vibevideo.check_text_column(relation, prompt, 'prompt_column');
		IF image_column IS NOT NULL THEN
			PERFORM vibevideo.check_text_column(relation, image_column, 'image_column');
		END IF;
		IF model !~ '^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$' OR octet_length(model) > 256 THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = format('"%s" is not a model of fal', left(model, 100)),
				HINT = 'A model is named by its endpoint id, as fal-ai/minimax/video-01.';
		END IF;
		IF input_function IS NOT NULL THEN
			function_name = vibevideo.resolve_input_function(relation, input_function);
		END IF;
		PERFORM vibevideo.check_user_column(relation, user_column);

		big = vibevideo.relation_bytes(relation) > small_enough;
		PERFORM vibevideo.add_columns(relation, big);
		build_index = vibevideo.add_index(relation, big);

		INSERT INTO vibevideo.binding AS b (relation, id_column, id_type, prompt_column, image_column, model,
											input_function, user_column, realtime, build_index,
											system_identifier, database_oid, timeline)
		SELECT attach.relation, key.id_column, key.id_type, prompt, attach.image_column, attach.model,
			   function_name, attach.user_column, coalesce(attach.realtime, false), build_index, i.system_identifier, i.database_oid, i.timeline
		FROM vibevideo.identity() i
		ON CONFLICT (only_one) DO UPDATE SET
			relation = EXCLUDED.relation, id_column = EXCLUDED.id_column, id_type = EXCLUDED.id_type,
			prompt_column = EXCLUDED.prompt_column, image_column = EXCLUDED.image_column, model = EXCLUDED.model,
			input_function = EXCLUDED.input_function, user_column = EXCLUDED.user_column, realtime = EXCLUDED.realtime,
			build_index = EXCLUDED.build_index
		WHERE b.only_one;
	EXCEPTION WHEN lock_not_available THEN
		RAISE EXCEPTION USING
			ERRCODE = 'lock_not_available',
			MESSAGE = format('could not lock %s within %s', locking,
							 CASE lock_timeout_before WHEN '0' THEN '5s' ELSE lock_timeout_before END),
			DETAIL = 'Another transaction is using it. Nothing was changed.',
			HINT = 'Try again when long transactions have ended (see pg_stat_activity), or with a longer lock_timeout.';
	END;
	PERFORM set_config('lock_timeout', lock_timeout_before, true);
	IF realtime THEN
		PERFORM vibevideo.publish(relation);
	END IF;

	IF attached IS DISTINCT FROM relation THEN
		SELECT count(*) FILTER (WHERE j.relation = attach.relation) AS own,
			   count(*) FILTER (WHERE j.relation IS DISTINCT FROM attach.relation) AS others
		INTO unfinished FROM vibevideo.job j
		WHERE j.state <> ALL (ARRAY['completed', 'failed', 'cancelled']) OR j.row_dirty;
		IF unfinished.own > 0 THEN
			RAISE NOTICE USING
				MESSAGE = format('unfinished jobs of %s go on', relation),
				DETAIL = format('Unfinished jobs: %s.', unfinished.own);
		END IF;
		IF unfinished.others > 0 THEN
			RAISE NOTICE USING
				MESSAGE = 'unfinished jobs of another table go on, but its rows are not written any more',
				DETAIL = format('Unfinished jobs: %s.', unfinished.others),
				HINT = 'To cancel them, attach their table again. If it was dropped, delete those that are pending from '
					   'vibevideo.job: they would be sent.';
		END IF;
	END IF;
	PERFORM vibevideo.wake();
	NOTIFY pgrst, 'reload schema';
	RETURN format('%s is attached: key %I (%s), prompt from %I%s%s%s%s%s', relation, key.id_column, key.id_type, prompt,
				  ', image from ' || quote_ident(image_column), ', model ' || model, ', input from ' || function_name,
				  ', user from ' || quote_ident(user_column), CASE WHEN realtime THEN ', told to Realtime' END);
END
$$;
COMMENT ON FUNCTION vibevideo.attach(regclass, name, name, name, text, text, name, boolean) IS
	'binds the app''s table and adds the columns about its videos; call it again to change the options; owner only';

/*
 * vibevideo.detach(force) - vibevideo forgets the app's table.  Its columns and
 * rows and all jobs stay; attaching it again goes on where it was.
 *
 * force: detach although jobs are active; they rest until a table is attached.
 * Returns whether a table was attached.
 * Errors: 55006 jobs are active; 55000 so they are, in a copy that rests.  Owner
 * only.
 */
CREATE FUNCTION vibevideo.detach(force boolean DEFAULT false)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	attached regclass;
	rests boolean;
	active bigint;
BEGIN
	LOCK TABLE vibevideo.binding IN SHARE ROW EXCLUSIVE MODE;
	SELECT b.relation, vibevideo.rests(b) INTO attached, rests FROM vibevideo.binding b;
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
	IF active > 0 AND rests THEN
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
COMMENT ON FUNCTION vibevideo.detach(boolean) IS
	'forgets the app''s table, keeps its columns, rows and jobs; force: although jobs are active; owner only';
/* sql/decisions.sql: what an operator decides about jobs */

/*
 * vibevideo.resolve(job, verdict) - settles a submit whose answer was lost.
 *
 * job: job_id of a job in state submit_unknown (view vibevideo.jobs).
 * verdict: the request id that fal's dashboard shows for it, or 'not_sent' to
 * say that fal has no such request; it is sent again then, or is cancelled if
 * that was asked for.
 * Returns the job as vibevideo.video.  Errors: PT404 no such job, PT409 it is
 * not in doubt, or another job has that request id; 22023 not an id.
 * Owner only.
 */
CREATE FUNCTION vibevideo.resolve(job bigint, verdict text)
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
					 WHEN x.ghost OR x.cancel_requested_at IS NOT NULL THEN 'cancelled'
					 ELSE 'pending' END,
		request_id = nullif(verdict, 'not_sent'),
		submitted_at = CASE WHEN verdict <> 'not_sent' THEN coalesce(x.sent_at, now()) END,
		next_at = CASE WHEN verdict <> 'not_sent' OR NOT (x.ghost OR x.cancel_requested_at IS NOT NULL) THEN now() END,
		completed_at = CASE WHEN verdict = 'not_sent' AND (x.ghost OR x.cancel_requested_at IS NOT NULL) THEN now() END,
		tries = 0, error_code = NULL, error = NULL,
		lease = nextval('vibevideo.lease_seq'), leased_by = NULL
	WHERE x.job_id = resolve.job
	RETURNING x.* INTO j;
	PERFORM vibevideo.wake();
	RETURN vibevideo.describe(j);
END
$$;
COMMENT ON FUNCTION vibevideo.resolve(bigint, text) IS
	'settles a job in state submit_unknown by fal''s request id or ''not_sent''; PT404, PT409, 22023; owner only';

/*
 * vibevideo.redrive(error_code, since, most) - tries failed jobs again.
 *
 * error_code: only these, NULL for all.  since: only those that failed since.
 * most: at most so many, the oldest first.
 * A video that was rendered is only copied again; everything else is a new
 * attempt, and paid for as such.  Rows that have a newer job are left alone.
 * Returns how many jobs were started.  Owner only.
 */
CREATE FUNCTION vibevideo.redrive(error_code text DEFAULT NULL, since interval DEFAULT '1 day', most int DEFAULT 100)
RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	j vibevideo.job;
	started int = 0;
BEGIN
	FOR j IN
		SELECT x.* FROM vibevideo.job x
		WHERE x.state = 'failed' AND NOT x.ghost AND x.completed_at > now() - since
		  AND (redrive.error_code IS NULL OR x.error_code = redrive.error_code)
		  AND NOT EXISTS (SELECT FROM vibevideo.job n
						  WHERE n.relation = x.relation AND n.vibelog_id = x.vibelog_id AND NOT n.ghost AND n.job_id > x.job_id)
		ORDER BY x.completed_at LIMIT most
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

/*
 * vibevideo.resume() - says that this database may act on its jobs.
 *
 * A database that was restored or copied holds jobs that the original works
 * on too; until this call nothing is sent from here.  Call it on the one that
 * goes on.  Returns false when nothing was resting.  Owner only.
 */
CREATE FUNCTION vibevideo.resume()
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	rested boolean;
BEGIN
	SELECT vibevideo.rests(b) INTO rested FROM vibevideo.binding b;
	UPDATE vibevideo.binding b SET
		resting = false, system_identifier = i.system_identifier, database_oid = i.database_oid, timeline = i.timeline
	FROM vibevideo.identity() i
	WHERE b.only_one;
	PERFORM vibevideo.wake();
	RETURN coalesce(rested, false);
END
$$;
COMMENT ON FUNCTION vibevideo.resume() IS
	'lets a restored or copied database act on its jobs; false when it was not resting; owner only';

-------------------------------------------------------------------------------
-- Limits and costs
-------------------------------------------------------------------------------

/*
 * A submit holds its transaction open while it talks to fal, so nothing here
 * may make one submit wait for another.  A limit of n is n slots, rows that a
 * submit takes with SKIP LOCKED: two submits never want the same one, and what
 * an open transaction has taken nobody else can take.  A budget is kept in up
 * to 256 tills, each good for a part of it.  Slots and tills only repeat what
 * vibevideo.job says, and are made from it when they are first wanted: by the
 * first submit of a user, the first after a limit was changed, the first after
 * a crash, a restore or a failover.  Only then may another submit of the same
 * user wait.  Without a row in vibevideo.limit nothing of this is touched.
 *
 * Locks are taken in one order, the user's before the global ones, and none
 * but those is waited for.  What ends a job writes only the job's own slots.
 */

-- Whose day it is: limits and costs are by days of UTC.
CREATE FUNCTION vibevideo.today()
RETURNS date LANGUAGE sql STABLE
RETURN (now() AT TIME ZONE 'UTC')::date;
COMMENT ON FUNCTION vibevideo.today() IS 'the day of UTC that limits and costs count by; owner only';

CREATE TABLE vibevideo.limit (
	scope text NOT NULL DEFAULT 'user' CHECK (scope OPERATOR(pg_catalog.=) ANY (ARRAY['global', 'default', 'user'])),
	user_id text,
	max_active int CHECK (max_active OPERATOR(pg_catalog.>=) -1 AND max_active OPERATOR(pg_catalog.<=) 10000),
	submits_per_day int CHECK (submits_per_day OPERATOR(pg_catalog.>=) -1 AND submits_per_day OPERATOR(pg_catalog.<=) 100000),
	spend_per_day_usd numeric(12, 4) CHECK (spend_per_day_usd OPERATOR(pg_catalog.>=) -1),
	who text COLLATE pg_catalog."C" PRIMARY KEY GENERATED ALWAYS AS
		(CASE scope WHEN 'user' THEN 'user:' OPERATOR(pg_catalog.||) user_id ELSE scope END) STORED,
	CHECK ((scope OPERATOR(pg_catalog.=) 'user') OPERATOR(pg_catalog.=) (user_id IS NOT NULL))
);
COMMENT ON TABLE vibevideo.limit IS
	'how much may be asked for: scope global counts everybody together, default each user that has no row of scope user';
COMMENT ON COLUMN vibevideo.limit.user_id IS 'as in vibevideo.job.requested_by: the JWT''s sub, or what attach(user_column => ...) names';
COMMENT ON COLUMN vibevideo.limit.max_active IS 'videos in work at a time; NULL: the default''s; -1: no limit; 0: none at all';
COMMENT ON COLUMN vibevideo.limit.submits_per_day IS 'videos asked for in a day of UTC, without failed and cancelled ones that cost nothing; NULL, -1 and 0 as above';
COMMENT ON COLUMN vibevideo.limit.spend_per_day_usd IS 'list prices (vibevideo.model) of a day''s videos, those in work included; NULL, -1 and 0 as above';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.limit', '');

-- A slot is free if its day is in the past.
CREATE UNLOGGED TABLE vibevideo.slot (
	who text COLLATE pg_catalog."C" NOT NULL,
	kind text COLLATE pg_catalog."C" NOT NULL CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY['active', 'submits'])),
	n int NOT NULL,
	day date NOT NULL DEFAULT '-infinity',
	job_id bigint,
	PRIMARY KEY (who, kind, n)
) WITH (fillfactor = 70);
COMMENT ON TABLE vibevideo.slot IS 'one row for each unit of a limit: which job has it; made anew from vibevideo.job when lost';
CREATE INDEX slot_free ON vibevideo.slot (who, kind, day);
CREATE INDEX slot_job ON vibevideo.slot (job_id) WHERE job_id IS NOT NULL;

-- What was used on another day does not count.
CREATE UNLOGGED TABLE vibevideo.till (
	who text COLLATE pg_catalog."C" NOT NULL,
	n bigint NOT NULL,
	day date NOT NULL DEFAULT '-infinity',
	used numeric NOT NULL DEFAULT 0,
	PRIMARY KEY (who, n)
) WITH (fillfactor = 70);
COMMENT ON TABLE vibevideo.till IS 'parts of a day''s budget and what is used of them; made anew from vibevideo.job when lost';
-- Money that comes back goes into a till of its own if all others are held.
CREATE SEQUENCE vibevideo.refund_seq START 1000001;

-- Costs of jobs that retention has removed.
CREATE TABLE vibevideo.past_costs (
	user_id text COLLATE pg_catalog."C" NOT NULL,
	day date NOT NULL,
	model text COLLATE pg_catalog."C" NOT NULL,
	submits bigint NOT NULL,
	videos bigint NOT NULL,
	settled_usd numeric NOT NULL,
	PRIMARY KEY (user_id, day, model)
);
COMMENT ON TABLE vibevideo.past_costs IS 'costs of jobs that are no longer in vibevideo.job; user_id is empty where nobody is known';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.past_costs', '');

-- Finds a day's jobs; as good as free to keep, since jobs come in that order.
CREATE INDEX job_created ON vibevideo.job USING brin (created_at);

/*
 * vibevideo.costs - what was asked for and what it cost, by user, day and model.
 * reserved_usd is for jobs in work, settled_usd for videos that were made, at
 * the list price of the time.  security_invoker: service_role may read it.
 */
CREATE VIEW vibevideo.costs WITH (security_invoker = true) AS
SELECT nullif(c.user_id, '') AS user_id, c.day, c.model,
	   sum(c.submits)::bigint AS submits, sum(c.active)::bigint AS active, sum(c.videos)::bigint AS videos,
	   sum(c.reserved_usd) AS reserved_usd, sum(c.settled_usd) AS settled_usd
FROM (SELECT coalesce(j.requested_by, '') AS user_id, (j.created_at AT TIME ZONE 'UTC')::date AS day, j.model,
			 (NOT j.ghost)::int AS submits,
			 (NOT j.ghost AND j.state <> ALL (ARRAY['completed', 'failed', 'cancelled']))::int AS active,
			 j.billed::int AS videos,
			 CASE WHEN NOT j.ghost AND NOT j.billed AND j.state <> ALL (ARRAY['completed', 'failed', 'cancelled'])
				  THEN coalesce(j.cost_usd, 0) ELSE 0 END AS reserved_usd,
			 CASE WHEN j.billed THEN coalesce(j.cost_usd, 0) ELSE 0 END AS settled_usd
	  FROM vibevideo.job j
	  UNION ALL
	  SELECT p.user_id, p.day, p.model, p.submits, 0, p.videos, 0, p.settled_usd FROM vibevideo.past_costs p) c
GROUP BY c.user_id, c.day, c.model;
COMMENT ON VIEW vibevideo.costs IS 'videos asked for and what they cost, by user, day of UTC and model';

-- Refuses a user_column that is not there; NULL is none.
CREATE FUNCTION vibevideo.check_user_column(relation regclass, user_column name)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF user_column IS NOT NULL
	   AND NOT EXISTS (SELECT FROM pg_attribute a
					   WHERE a.attrelid = check_user_column.relation AND a.attname = check_user_column.user_column
						 AND a.attnum > 0 AND NOT a.attisdropped)
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('table %s has no column "%s"', relation, user_column),
			HINT = 'Check user_column. Names are case-sensitive here.';
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.check_user_column(regclass, name) IS 'refuses a user_column that is not there; owner only';

-- The limits that count for a user, NULL where there is none: the user's own,
-- then everybody's.  A job that nobody is known for only counts for the latter.
CREATE FUNCTION vibevideo.limits_for(requested_by text, OUT who text, OUT max_active int, OUT submits_per_day int,
									 OUT spend_per_day_usd numeric)
RETURNS SETOF record LANGUAGE plpgsql STABLE ROWS 2 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	SELECT 'user:' || limits_for.requested_by, nullif(coalesce(u.max_active, d.max_active), -1),
		   nullif(coalesce(u.submits_per_day, d.submits_per_day), -1),
		   nullif(coalesce(u.spend_per_day_usd, d.spend_per_day_usd), -1)
	INTO who, max_active, submits_per_day, spend_per_day_usd
	FROM (SELECT l.* FROM vibevideo.limit l WHERE l.who = 'user:' || limits_for.requested_by) u
	FULL JOIN (SELECT l.* FROM vibevideo.limit l WHERE l.who = 'default') d ON true;
	IF FOUND AND requested_by IS NOT NULL THEN
		RETURN NEXT;
	END IF;
	SELECT l.who, nullif(l.max_active, -1), nullif(l.submits_per_day, -1), nullif(l.spend_per_day_usd, -1)
	INTO who, max_active, submits_per_day, spend_per_day_usd
	FROM vibevideo.limit l WHERE l.who = 'global';
	IF FOUND THEN
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.limits_for(text) IS 'the limits that count for a user; owner only';

-- The jobs that count for a limit already when its slots or tills are made:
-- active ones, or today's that cost something.  Those of this transaction take
-- their share themselves.
CREATE FUNCTION vibevideo.counted_jobs(who text, kind text)
RETURNS SETOF vibevideo.job LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	active constant text[] = ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing'];
	name constant text = CASE WHEN who <> 'global' THEN substr(who, length('user:') + 1) END;
BEGIN
	IF kind = 'active' THEN
		RETURN QUERY SELECT j.* FROM vibevideo.job j
		WHERE j.state IN ('pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing')
		  AND NOT j.ghost AND j.created_at <> now() AND (name IS NULL OR j.requested_by = name);
	ELSE
		RETURN QUERY SELECT j.* FROM vibevideo.job j
		WHERE j.created_at >= vibevideo.today()::timestamp AT TIME ZONE 'UTC' AND (j.billed OR j.state = ANY (active))
		  AND NOT j.ghost AND j.created_at <> now() AND (name IS NULL OR j.requested_by = name);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.counted_jobs(text, text) IS 'the jobs that count for a limit when it is first used; owner only';

-- Takes a slot for a job; false if there is none.  Looks at a few at random
-- first, so that many calls do not crowd at one.
CREATE FUNCTION vibevideo.take_slot(who text, kind text, most int, job_id bigint)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	today constant date = vibevideo.today();
	until constant date = CASE kind WHEN 'active' THEN 'infinity' ELSE today END;
	try int;
	place int;
BEGIN
	IF most = 0 THEN
		RETURN false;
	ELSIF NOT EXISTS (SELECT FROM vibevideo.slot s
					  WHERE s.who = take_slot.who AND s.kind = take_slot.kind AND s.n = most)
	THEN
		INSERT INTO vibevideo.slot (who, kind, n, day, job_id)
		SELECT take_slot.who, take_slot.kind, n, CASE WHEN c.job_id IS NULL THEN '-infinity' ELSE until END, c.job_id
		FROM generate_series(1, most) n
		FULL JOIN (SELECT row_number() OVER (ORDER BY j.job_id)::int AS n, j.job_id
				   FROM vibevideo.counted_jobs(take_slot.who, take_slot.kind) j) c USING (n)
		ON CONFLICT DO NOTHING;
	END IF;
	-- some are in use beyond a limit that was lowered: they count too
	IF EXISTS (SELECT FROM vibevideo.slot s WHERE s.who = take_slot.who AND s.kind = take_slot.kind AND s.n = most + 1)
	   AND (SELECT count(*) FROM vibevideo.slot s
			WHERE s.who = take_slot.who AND s.kind = take_slot.kind AND s.day >= today) >= most
	THEN
		RETURN false;
	END IF;
	FOREACH try IN ARRAY ARRAY[ceil(random() * most), ceil(random() * most), ceil(random() * most)]::int[] LOOP
		SELECT f.n INTO place FROM vibevideo.slot f
		WHERE f.who = take_slot.who AND f.kind = take_slot.kind AND f.n = try
		  -- IS TRUE keeps the planner off the other index
		  AND (f.day < today) IS TRUE
		FOR NO KEY UPDATE SKIP LOCKED;
		EXIT WHEN FOUND;
	END LOOP;
	IF place IS NULL THEN
		SELECT f.n INTO place FROM vibevideo.slot f
		WHERE f.who = take_slot.who AND f.kind = take_slot.kind AND f.day < today AND f.n <= most
		ORDER BY f.day LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
	END IF;
	UPDATE vibevideo.slot s SET day = until, job_id = take_slot.job_id
	WHERE s.who = take_slot.who AND s.kind = take_slot.kind AND s.n = place;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION vibevideo.take_slot(text, text, int, bigint) IS
	'takes one of a limit''s slots for a job, without waiting; false if there is none; owner only';

-- What is left in a till today.  Those of a budget are numbered from 1 and hold
-- share each, the last one the rest; all others only hold what came back.
CREATE FUNCTION vibevideo.till_room(t vibevideo.till, share numeric, most numeric, today date)
RETURNS numeric LANGUAGE sql IMMUTABLE
RETURN greatest(0, least(share, most - ((t).n - 1) * share)) - CASE WHEN (t).day = today THEN (t).used ELSE 0 END;
COMMENT ON FUNCTION vibevideo.till_room(vibevideo.till, numeric, numeric, date) IS 'what is left in a till; owner only';

/*
 * vibevideo.take_budget(who, most, cost) - takes a job's cost from a budget;
 * returns what is missing of it, 0 if nothing.
 *
 * A till is good for a multiple of the cheapest price, so that with one price
 * none of it is left over; what a till lacks is taken from others.
 */
CREATE FUNCTION vibevideo.take_budget(who text, most numeric, cost numeric)
RETURNS numeric LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	most_tills constant int = 256;
	today constant date = vibevideo.today();
	needed numeric = cost;
	first int;
	unit numeric;
	share numeric;
	tills int;
	t record;
BEGIN
	IF cost = 0 OR most = 0 THEN
		RETURN cost;
	END IF;
	unit = least(most, (SELECT min(m.price_usd) FROM vibevideo.model m WHERE m.price_usd > 0));
	share = unit * ceil(floor(most / unit) / most_tills);
	tills = ceil(most / share);
	IF NOT EXISTS (SELECT FROM vibevideo.till x WHERE x.who = take_budget.who AND x.n = tills) THEN
		-- what is spent fills them one after another
		INSERT INTO vibevideo.till (who, n, day, used)
		SELECT take_budget.who, n, today,
			   CASE WHEN n < tills THEN least(share, greatest(0, spent.usd - share * (n - 1)))
					ELSE greatest(0, spent.usd - share * (n - 1)) END
		FROM generate_series(1, tills) n,
			 (SELECT coalesce(sum(j.cost_usd), 0) AS usd FROM vibevideo.counted_jobs(take_budget.who, 'spend') j) spent
		ON CONFLICT DO NOTHING;
	END IF;

	-- any one that has enough
	first = ceil(random() * tills);
	SELECT x.n, needed AS room INTO t FROM vibevideo.till x
	WHERE x.who = take_budget.who AND x.n = first
	  AND vibevideo.till_room(x, share, most, today) >= needed
	FOR NO KEY UPDATE SKIP LOCKED;
	LOOP
		IF t.n IS NULL THEN
			-- the smallest that is enough, else the largest
			SELECT x.n, vibevideo.till_room(x, share, most, today) AS room INTO t
			FROM vibevideo.till x
			WHERE x.who = take_budget.who AND vibevideo.till_room(x, share, most, today) > 0
			ORDER BY vibevideo.till_room(x, share, most, today) >= needed DESC,
					 abs(vibevideo.till_room(x, share, most, today) - needed), x.n
			LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
			EXIT WHEN NOT FOUND;
		END IF;
		UPDATE vibevideo.till x
		SET day = today, used = CASE WHEN x.day = today THEN x.used ELSE 0 END + least(needed, t.room)
		WHERE x.who = take_budget.who AND x.n = t.n;
		needed = needed - least(needed, t.room);
		EXIT WHEN needed = 0;
		t.n = NULL;
	END LOOP;
	RETURN needed;
END
$$;
COMMENT ON FUNCTION vibevideo.take_budget(text, numeric, numeric) IS
	'takes a job''s cost from a day''s budget, without waiting; returns what is missing; owner only';

-- Raises what the caller of a submit sees.  How much everybody together may
-- ask for is not told to a single user.
CREATE FUNCTION vibevideo.over_limit(who text, limit_name text, most numeric, used text, sql_state text, message text,
									 come_back text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = sql_state,
		MESSAGE = message,
		DETAIL = CASE WHEN who = 'global' THEN format('Limit %s of all users together is reached.', limit_name)
				 ELSE format('Limit %s of user %s is %s, %s.', limit_name, substr(who, length('user:') + 1),
							 trim_scale(most), used) END,
		HINT = come_back;
END
$$;
COMMENT ON FUNCTION vibevideo.over_limit(text, text, numeric, text, text, text, text) IS
	'raises PT429 or PT402 for a job that is over a limit; owner only';

-- When a day's limits begin anew, for people.
CREATE FUNCTION vibevideo.next_day()
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = ISO
RETURN format('Come back after %s 00:00 UTC, in %s.', vibevideo.today() + 1,
			  to_char((vibevideo.today() + 1)::timestamp AT TIME ZONE 'UTC' - now() + '59 s'::interval, 'FMHH24 "h" FMMI "min"'));
COMMENT ON FUNCTION vibevideo.next_day() IS 'when a day''s limits begin anew; owner only';

/*
 * vibevideo.reserve(job) - takes what a new job needs from every limit that
 * counts for it.  Errors: PT429 too many at a time or a day, PT402 too
 * expensive; DETAIL tells which limit, HINT when to come back.
 */
CREATE FUNCTION vibevideo.reserve(j vibevideo.job)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	today constant date = vibevideo.today();
	cost constant numeric = coalesce(j.cost_usd, 0);
	l record;
	missing numeric;
	spent numeric;
	next_end interval;
BEGIN
	FOR l IN SELECT x.* FROM vibevideo.limits_for(j.requested_by) x LOOP
		IF l.max_active IS NOT NULL AND NOT vibevideo.take_slot(l.who, 'active', l.max_active, j.job_id) THEN
			SELECT min(coalesce(c.submitted_at, now()) + m.usual_seconds * interval '1 s' - now()) INTO next_end
			FROM vibevideo.counted_jobs(l.who, 'active') c JOIN vibevideo.model m ON m.endpoint = c.model;
			PERFORM vibevideo.over_limit(l.who, 'max_active', l.max_active, 'all in use', 'PT429', 'too many videos are in work',
				CASE WHEN l.max_active = 0 THEN 'Ask whoever runs this service.'
				WHEN next_end > '0' THEN format('Come back when one of them is done, in about %s seconds.',
												ceil(extract(epoch FROM next_end)))
				ELSE 'Come back when one of them is done.' END);
		END IF;
		IF l.submits_per_day IS NOT NULL AND NOT vibevideo.take_slot(l.who, 'submits', l.submits_per_day, j.job_id) THEN
			PERFORM vibevideo.over_limit(l.who, 'submits_per_day', l.submits_per_day, 'all used up', 'PT429',
										 'no more videos can be asked for today', vibevideo.next_day());
		END IF;
		missing = CASE WHEN l.spend_per_day_usd IS NULL THEN 0 ELSE vibevideo.take_budget(l.who, l.spend_per_day_usd, cost) END;
		IF missing > 0 THEN
			SELECT coalesce(sum(t.used), 0) - (cost - missing) INTO spent
			FROM vibevideo.till t WHERE t.who = l.who AND t.day = today;
			PERFORM vibevideo.over_limit(l.who, 'spend_per_day_usd', l.spend_per_day_usd, format('spent are %s', trim_scale(spent)),
				'PT402', format('a video for %s USD is over today''s budget', trim_scale(cost)),
				-- what is missing is held by submits that are under way and may yet fail
				CASE WHEN spent + cost <= l.spend_per_day_usd THEN 'Others are being asked for; come back in a few seconds.'
				ELSE vibevideo.next_day() END);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo.reserve(vibevideo.job) IS
	'takes what a new job needs from every limit that counts for it; PT429, PT402; owner only';

/*
 * vibevideo.take_share(job) - a new job takes its share of the limits.  An
 * attempt that we start by ourselves must not break the transaction that records
 * the one before: over a limit it has failed from the beginning.
 */
CREATE FUNCTION vibevideo.take_share(j vibevideo.job)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	detail text;
BEGIN
	IF j.renders = 1 THEN
		PERFORM vibevideo.reserve(j);
		RETURN;
	END IF;
	BEGIN
		PERFORM vibevideo.reserve(j);
	EXCEPTION WHEN SQLSTATE 'PT429' OR SQLSTATE 'PT402' THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		UPDATE vibevideo.job x SET state = 'failed', error_code = 'limit', next_at = NULL, completed_at = now(),
			error = format('no new attempt was made: %s. %s', SQLERRM, detail)
		WHERE x.job_id = j.job_id;
	END;
END
$$;
COMMENT ON FUNCTION vibevideo.take_share(vibevideo.job) IS 'a new job takes its share of the limits; PT429, PT402; owner only';

-- Gives back what a job that ended has taken: its place among the active ones,
-- and the rest too if fal made no video.  Waits for no submit: the slots are the
-- job's own, and money goes into a till that nobody else holds.
CREATE FUNCTION vibevideo.release(ended vibevideo.job)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	today constant date = vibevideo.today();
	payer text;
BEGIN
	UPDATE vibevideo.slot s SET day = '-infinity', job_id = NULL
	WHERE s.job_id = ended.job_id AND s.day >= today AND (s.kind = 'active' OR NOT ended.billed);

	IF ended.billed OR ended.cost_usd IS NULL OR ended.cost_usd = 0
	   OR (ended.created_at AT TIME ZONE 'UTC')::date <> today
	THEN
		RETURN;
	END IF;
	FOREACH payer IN ARRAY ARRAY['user:' || ended.requested_by, 'global'] LOOP
		CONTINUE WHEN NOT EXISTS (SELECT FROM vibevideo.till t WHERE t.who = payer);
		UPDATE vibevideo.till t SET used = t.used - ended.cost_usd
		WHERE t.who = payer
		  AND t.n = (SELECT x.n FROM vibevideo.till x
					 WHERE x.who = payer AND x.day = today AND x.used >= ended.cost_usd
					 ORDER BY x.n LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED);
		CONTINUE WHEN FOUND;
		INSERT INTO vibevideo.till (who, n, day, used)
		VALUES (payer, nextval('vibevideo.refund_seq'), today, -ended.cost_usd);
		DELETE FROM vibevideo.till t WHERE t.who = payer AND t.n IN (
			SELECT x.n FROM vibevideo.till x WHERE x.who = payer AND x.n > 1000000 AND x.day < today
			LIMIT 1000 FOR UPDATE SKIP LOCKED);
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo.release(vibevideo.job) IS 'gives back what a job that ended has taken from limits; owner only';

-- What is deleted, by retention or by hand, is kept as a sum.
CREATE FUNCTION vibevideo.jobs_deleted()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	j vibevideo.job;
BEGIN
	INSERT INTO vibevideo.past_costs AS p (user_id, day, model, submits, videos, settled_usd)
	SELECT coalesce(g.requested_by, ''), (g.created_at AT TIME ZONE 'UTC')::date, g.model,
		   count(*) FILTER (WHERE NOT g.ghost), count(*) FILTER (WHERE g.billed),
		   coalesce(sum(g.cost_usd) FILTER (WHERE g.billed), 0)
	FROM gone g GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
	ON CONFLICT (user_id, day, model) DO UPDATE SET submits = p.submits + EXCLUDED.submits,
		videos = p.videos + EXCLUDED.videos, settled_usd = p.settled_usd + EXCLUDED.settled_usd;
	FOR j IN SELECT g.* FROM gone g WHERE NOT g.ghost AND g.state <> ALL (ARRAY['completed', 'failed', 'cancelled']) LOOP
		PERFORM vibevideo.release(j);
	END LOOP;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo.jobs_deleted() IS 'trigger: keeps the costs of deleted jobs, and gives back what active ones had taken';
CREATE TRIGGER jobs_deleted AFTER DELETE ON vibevideo.job REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION vibevideo.jobs_deleted();

-- A limit that changes is counted anew, from the jobs, by the next submit.
CREATE FUNCTION vibevideo.limit_changed()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changed constant text[] = ARRAY[CASE WHEN TG_OP <> 'INSERT' THEN OLD.who END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.who END];
BEGIN
	DELETE FROM vibevideo.slot s WHERE s.who = ANY (changed) OR 'default' = ANY (changed) AND s.who <> 'global';
	DELETE FROM vibevideo.till t WHERE t.who = ANY (changed) OR 'default' = ANY (changed) AND t.who <> 'global';
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo.limit_changed() IS 'trigger: has a changed limit counted anew';
CREATE TRIGGER limit_changed AFTER INSERT OR UPDATE OR DELETE ON vibevideo.limit
	FOR EACH ROW EXECUTE FUNCTION vibevideo.limit_changed();

-- Tills are made for the prices.
CREATE FUNCTION vibevideo.price_changed()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM vibevideo.till t WHERE t.who IS NOT NULL;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo.price_changed() IS 'trigger: has what was spent counted anew when a price has changed';
CREATE TRIGGER price_changed AFTER INSERT OR UPDATE OR DELETE ON vibevideo.model
	FOR EACH STATEMENT EXECUTE FUNCTION vibevideo.price_changed();

/*
 * vibevideo.room_at_fal(behind) - how many jobs vibevideo.max_active lets us
 * send now, NULL if it sets no limit.  behind: after those that are due already.
 * Calls that are sending at this moment do not see each other.
 */
CREATE FUNCTION vibevideo.room_at_fal(behind boolean DEFAULT false)
RETURNS int LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	most constant int = current_setting('vibevideo.max_active');
	there int;
BEGIN
	IF most = 0 THEN
		RETURN NULL;
	END IF;
	SELECT count(*) INTO there FROM (
		(SELECT FROM vibevideo.job j WHERE j.state = 'submitting' LIMIT most)
		UNION ALL
		(SELECT FROM vibevideo.job j WHERE j.state IN ('queued', 'generating') LIMIT most)) j;
	IF behind AND there < most THEN
		there = there + (SELECT count(*) FROM (
			SELECT FROM vibevideo.job j WHERE j.state = 'pending' AND j.next_at <= clock_timestamp() LIMIT most) j);
	END IF;
	RETURN greatest(0, most - there);
END
$$;
COMMENT ON FUNCTION vibevideo.room_at_fal(boolean) IS
	'how many jobs vibevideo.max_active lets us send now, NULL for any; owner only';

-------------------------------------------------------------------------------
-- Telling others
-------------------------------------------------------------------------------

/*
 * vibevideo.publish(relation) - adds the app's table to the publication that
 * Supabase Realtime reads.  Says why if it does not; never fails for that.
 */
CREATE FUNCTION vibevideo.publish(relation regclass)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	command constant text = format('ALTER PUBLICATION supabase_realtime ADD TABLE %s', relation);
BEGIN
	IF NOT EXISTS (SELECT FROM pg_publication p WHERE p.pubname = 'supabase_realtime') THEN
		RAISE NOTICE USING
			MESSAGE = 'there is no publication supabase_realtime in this database',
			DETAIL = 'Only Supabase has it. Changes are told through NOTIFY vibevideo in any case.',
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
COMMENT ON FUNCTION vibevideo.publish(regclass) IS 'adds the app''s table to publication supabase_realtime, or says why not; owner only';

-------------------------------------------------------------------------------
-- Operating: the poll's schedule, the state of things, repairs
-------------------------------------------------------------------------------

-- pg_cron is only reached through EXECUTE, so that none of this needs it.

/*
 * vibevideo.schedule(every) - has pg_cron call vibevideo_poll() in this
 * database, as job vibevideo_poll.  Calling it again changes the interval.
 *
 * every: 1 to 59 seconds, or 1 to 59 whole minutes.
 * Returns what was scheduled.  pg_cron before 1.5 knows no seconds: then it is
 * every minute, and the background worker keeps the rhythm in between.
 * Errors: 0A000 pg_cron is not installed in this database; 22023 an interval
 * that cron cannot express.
 * For the extension's owner, who becomes the job's.
 */
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
			DETAIL = 'The background worker keeps the rhythm in between.',
			HINT = 'pg_cron 1.5 and later know seconds.';
		cron_schedule = '* * * * *';
		EXECUTE 'SELECT cron.schedule($1, $2, $3)' USING job, cron_schedule, command;
	END;
	RETURN format('%s: %s', job, cron_schedule);
END
$$;
COMMENT ON FUNCTION vibevideo.schedule(interval) IS
	'has pg_cron call vibevideo_poll(): every 1-59 seconds or 1-59 whole minutes; owner only';

/*
 * vibevideo.unschedule() - undoes vibevideo.schedule.  Call it before DROP
 * EXTENSION: pg_cron keeps its jobs.
 *
 * Returns whether there was anything to undo.
 * For the extension's owner; 42501 if the job is somebody else's.
 */
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
COMMENT ON FUNCTION vibevideo.unschedule() IS 'undoes vibevideo.schedule; owner only';

-- One line of check_config.
CREATE TYPE vibevideo.check_line AS (check_name text, status text, detail text, hint text);
COMMENT ON TYPE vibevideo.check_line IS 'a line of vibevideo.check_config; status is ok, warn or fail';
CREATE FUNCTION vibevideo.line(check_name text, status text, detail text, hint text DEFAULT NULL)
RETURNS vibevideo.check_line LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN ROW(check_name, status, detail, hint)::vibevideo.check_line;
COMMENT ON FUNCTION vibevideo.line(text, text, text, text) IS 'makes a line of check_config; owner only';

-- How long ago, for people.
CREATE FUNCTION vibevideo.ago(moment timestamptz)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres
RETURN CASE WHEN moment IS NULL THEN 'never'
			ELSE format('%s ago', date_trunc('second', greatest(clock_timestamp() - moment, '0'))) END;
COMMENT ON FUNCTION vibevideo.ago(timestamptz) IS 'how long ago, for people; owner only';

-- The library.
CREATE FUNCTION vibevideo.check_preload()
RETURNS SETOF vibevideo.check_line LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT (CASE WHEN current_setting('shared_preload_libraries') ~ '(^|[ ,/"])vibevideo([ ,."]|$)'
				 THEN vibevideo.line('preload', 'ok', 'vibevideo is in shared_preload_libraries')
				 ELSE vibevideo.line('preload', 'fail', 'vibevideo is not in shared_preload_libraries: there is no background worker',
									 'Add it to the list in postgresql.conf, keep what is there, and restart the server.') END).*;
END;
COMMENT ON FUNCTION vibevideo.check_preload() IS 'part of check_config: is the library preloaded; owner only';

-- The worker and who polls.
CREATE FUNCTION vibevideo.check_worker()
RETURNS SETOF vibevideo.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	patience constant interval = '2 minutes';
	w record;
	work boolean = EXISTS (SELECT FROM vibevideo.job j
						   WHERE j.state = ANY (ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating',
													  'processing'])
							  OR j.row_dirty);
	alive boolean;
	polled boolean;
BEGIN
	SELECT i.* INTO w FROM vibevideo.worker_info() i;
	alive = w.pid IS NOT NULL AND coalesce(w.heartbeat_at, w.started_at) > clock_timestamp() - patience;
	IF alive THEN
		RETURN NEXT vibevideo.line('worker', 'ok',
								   format('process %s, last turn %s, started %s times, failed %s times', w.pid,
								   vibevideo.ago(w.heartbeat_at), w.starts, w.failures));
	ELSIF w.pid IS NOT NULL THEN
		RETURN NEXT vibevideo.line('worker', 'warn',
								   format('process %s is slow: last turn %s', w.pid, vibevideo.ago(w.heartbeat_at)),
								   format('See what it waits for in pg_stat_activity; SELECT pg_terminate_backend(%s) starts it anew.',
								   w.pid));
	ELSIF work THEN
		RETURN NEXT vibevideo.line('worker', 'fail',
								   'there is work, but no background worker runs',
								   'SELECT vibevideo.wake(); if that does not help, the server log tells why it cannot start '
								   '(max_worker_processes may be used up).');
	ELSE
		RETURN NEXT vibevideo.line('worker', 'ok', 'not running: there is no work for it');
	END IF;

	polled = coalesce(w.last_poll_at > clock_timestamp() - patience, false);
	IF alive OR polled OR NOT work THEN
		RETURN NEXT vibevideo.line('rhythm', 'ok',
								   CASE WHEN polled THEN format('vibevideo_poll() was called %s', vibevideo.ago(w.last_poll_at))
								   WHEN alive THEN 'the background worker polls by itself'
								   ELSE 'there is nothing to poll' END);
	ELSE
		RETURN NEXT vibevideo.line('rhythm', 'fail',
								   format('nobody asks fal.ai about the jobs; vibevideo_poll() was called %s',
								   vibevideo.ago(w.last_poll_at)),
								   'Get the worker running, or SELECT vibevideo.schedule().');
	END IF;

	IF w.fal_down_until IS NULL AND w.storage_down_until IS NULL THEN
		RETURN NEXT vibevideo.line('breaker', 'ok', 'fal.ai and Storage were in reach when last asked');
	ELSE
		RETURN NEXT vibevideo.line('breaker', 'warn',
								   format('%s could not be reached: jobs wait, without using up tries; next probe %s',
										  concat_ws(' and ', CASE WHEN w.fal_down_until IS NOT NULL THEN 'fal.ai' END,
													CASE WHEN w.storage_down_until IS NOT NULL THEN 'Storage' END),
										  date_trunc('second', least(w.fal_down_until, w.storage_down_until))),
								   'See the lines queue and bucket, and the server log.');
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.check_worker() IS 'part of check_config: the worker and who polls; owner only';

-- The app's table.
CREATE FUNCTION vibevideo.check_table()
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

	IF vibevideo.rests(b) THEN
		RETURN NEXT vibevideo.line('identity', 'fail',
								   'this is a restored or copied database: its jobs rest, since the original may work on them too',
								   'If this one shall go on: SELECT vibevideo.resume().');
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
COMMENT ON FUNCTION vibevideo.check_table() IS 'part of check_config: the attached table; owner only';

-- The public functions and who may call them.
CREATE FUNCTION vibevideo.check_api()
RETURNS SETOF vibevideo.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	key_type constant regtype = coalesce((SELECT b.id_type FROM vibevideo.binding b), 'uuid'::regtype);
	expected constant text[] = ARRAY[format('vibevideo_submit(%s)', key_type), format('vibevideo_submit_batch(%s[])', key_type),
									 format('vibevideo_status(%s)', key_type), format('vibevideo_cancel(%s)', key_type),
									 format('vibevideo_retry(%s)', key_type), 'vibevideo_poll()', 'vibevideo_webhook(json)'];
	faults text;
	roles text;
BEGIN
	SELECT string_agg(f, ', ') INTO faults FROM unnest(expected) f WHERE to_regprocedure('public.' || f) IS NULL;
	RETURN NEXT CASE WHEN faults IS NULL THEN vibevideo.line('api', 'ok', format('key type %s', key_type))
					 ELSE vibevideo.line('api', 'fail', format('missing in schema public: %s', faults),
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
					 THEN vibevideo.line('grants', 'ok', 'roles anon, authenticated and service_role do not exist here')
					 WHEN faults IS NULL THEN vibevideo.line('grants', 'ok', format('right for %s', roles))
					 ELSE vibevideo.line('grants', 'fail', faults, 'SELECT vibevideo.grant_api_roles().') END;
END
$$;
COMMENT ON FUNCTION vibevideo.check_api() IS 'part of check_config: the public functions and their rights; owner only';

-- fal.ai and Storage, as seen from here.
CREATE FUNCTION vibevideo.check_services()
RETURNS SETOF vibevideo.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	what text;
	answer record;
BEGIN
	FOREACH what IN ARRAY ARRAY['fal_key', 'queue', 'storage_key', 'bucket', 'bucket_public', 'bucket_size', 'media_hosts'] LOOP
		BEGIN
			SELECT p.status, p.detail, p.hint INTO answer FROM vibevideo.probe(what) p;
			RETURN NEXT vibevideo.line(what, answer.status, answer.detail, answer.hint);
		EXCEPTION WHEN OTHERS THEN
			RETURN NEXT vibevideo.line(what, 'fail',
									   SQLERRM,
									   format('SELECT * FROM vibevideo.probe(%L) shows the whole error.', what));
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo.check_services() IS 'part of check_config: fal.ai and Storage; owner only';

-- pg_cron and its job.
CREATE FUNCTION vibevideo.check_cron()
RETURNS SETOF vibevideo.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	version constant text = (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'pg_cron');
	cron_database constant text = nullif(current_setting('cron.database_name', true), '');
	job record;
	run record;
BEGIN
	IF version IS NULL THEN
		RETURN NEXT vibevideo.line('pg_cron', 'ok',
								   CASE WHEN cron_database <> current_database()
								   THEN format('not in this database but in %s; a job there may call vibevideo_poll() here',
								   cron_database)
								   ELSE 'not installed; the background worker follows the jobs alone' END);
		RETURN;
	END IF;
	EXECUTE 'SELECT j.jobid, j.schedule, j.active, j.username FROM cron.job j WHERE j.jobname = $1 AND j.database = $2 '
			'ORDER BY j.active DESC, j.jobid LIMIT 1'
	INTO job USING 'vibevideo_poll', current_database();
	IF job.jobid IS NULL THEN
		RETURN NEXT vibevideo.line('pg_cron', 'warn',
								   format('version %s, but no job calls vibevideo_poll()', version),
								   'SELECT vibevideo.schedule(); until then the background worker follows the jobs alone.');
		RETURN;
	ELSIF NOT job.active THEN
		RETURN NEXT vibevideo.line('pg_cron', 'warn',
								   format('version %s, job %s is not active', version, job.jobid),
								   format('SELECT cron.alter_job(%s, active => true).', job.jobid));
		RETURN;
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = job.username) THEN
		RETURN NEXT vibevideo.line('pg_cron', 'fail',
								   format('version %s, job %s belongs to role %I, which is gone: pg_cron may run no job at all',
								   version, job.jobid, job.username),
								   'SELECT vibevideo.unschedule(), then vibevideo.schedule() as the role that shall own it.');
		RETURN;
	END IF;
	EXECUTE 'SELECT d.status, d.return_message FROM cron.job_run_details d WHERE d.jobid = $1 ORDER BY d.runid DESC LIMIT 1'
	INTO run USING job.jobid;
	IF run.status = 'failed' THEN
		RETURN NEXT vibevideo.line('pg_cron', 'warn',
								   format('version %s, job %s failed: %s', version, job.jobid, btrim(run.return_message, E' \n')),
								   'See cron.job_run_details. pg_cron connects to cron.host, which pg_hba.conf must allow, unless '
								   'cron.use_background_workers is on.');
		RETURN;
	END IF;
	RETURN NEXT vibevideo.line('pg_cron', 'ok', format('version %s, job %s: %s', version, job.jobid, job.schedule));
END
$$;
COMMENT ON FUNCTION vibevideo.check_cron() IS 'part of check_config: pg_cron and its job; owner only';

-- Jobs that need somebody's attention.
CREATE FUNCTION vibevideo.check_jobs()
RETURNS SETOF vibevideo.check_line LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	jobs bigint;
	oldest timestamptz;
	example text;
BEGIN
	SELECT count(*), min(j.next_at) INTO jobs, oldest FROM vibevideo.job j
	WHERE j.state = ANY (ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing'])
	  AND j.next_at < clock_timestamp() - interval '1 minute';
	RETURN NEXT CASE WHEN jobs = 0 THEN vibevideo.line('overdue', 'ok', 'no job waits longer than a minute for its turn')
					 ELSE vibevideo.line('overdue', CASE WHEN oldest < clock_timestamp() - interval '10 minutes' THEN 'fail' ELSE 'warn' END,
							  format('jobs that wait for their turn: %s, the oldest was due %s', jobs, vibevideo.ago(oldest)),
							  'If worker and rhythm are ok, raise vibevideo.poll_batch_size or vibevideo.max_transfers.')
					 END;

	SELECT count(*), min(j.created_at) INTO jobs, oldest FROM vibevideo.job j WHERE j.state = 'submit_unknown';
	RETURN NEXT CASE WHEN jobs = 0 THEN vibevideo.line('submit_unknown', 'ok', 'no submit without an answer')
					 ELSE vibevideo.line('submit_unknown', 'warn', format('submits without an answer: %s, the oldest from %s', jobs, vibevideo.ago(oldest)),
							  'They are looked for at fal.ai and never sent again blindly; see vibevideo.unknown_policy. Or look in '
							  'fal.ai''s dashboard, then vibevideo_cancel and vibevideo_retry.') END;

	SELECT count(*), max(j.vibelog_id) INTO jobs, example FROM vibevideo.job j
	WHERE j.state = 'failed' AND j.generated_at IS NOT NULL AND j.updated_at > clock_timestamp() - interval '7 days';
	RETURN NEXT CASE WHEN jobs = 0 THEN vibevideo.line('dead_letters', 'ok', 'no finished video was given up in the last 7 days')
					 ELSE vibevideo.line('dead_letters', 'warn', format('videos made but given up in the last 7 days: %s, one for %s',
															 jobs, example),
							  'vibevideo.jobs tells why in error, and media_url where fal.ai still has them; mend the cause, then '
							  'vibevideo_retry.') END;

	SELECT count(*), max(j.row_error) INTO jobs, example FROM vibevideo.job j WHERE j.row_dirty AND j.row_error IS NOT NULL;
	RETURN NEXT CASE WHEN jobs = 0 THEN vibevideo.line('unwritten_rows', 'ok', 'every row could be written')
					 ELSE vibevideo.line('unwritten_rows', 'warn', format('rows of the app that could not be written: %s, because %s', jobs, example),
							  'Mend what the error says (triggers, constraints, rights of the table''s owner); they are tried again.')
					 END;
END
$$;
COMMENT ON FUNCTION vibevideo.check_jobs() IS 'part of check_config: jobs that need attention; owner only';

-- Limits and prices.
CREATE FUNCTION vibevideo.check_limits()
RETURNS SETOF vibevideo.check_line LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	limits record;
	wanted constant text = coalesce((SELECT b.model FROM vibevideo.binding b), current_setting('vibevideo.model'));
BEGIN
	SELECT count(*) AS n, count(*) FILTER (WHERE l.scope = 'global') AS global, count(*) FILTER (WHERE l.scope = 'default') AS usual,
		   count(*) FILTER (WHERE l.scope = 'user') AS users, bool_or(l.spend_per_day_usd >= 0) AS spend
	INTO limits FROM vibevideo.limit l;
	RETURN NEXT vibevideo.line('limits', 'ok',
							   CASE WHEN limits.n = 0 THEN 'none is set'
							   ELSE concat_ws(', ', CASE WHEN limits.global > 0 THEN 'for all users together' END,
							   CASE WHEN limits.usual > 0 THEN 'for each user' END,
							   CASE WHEN limits.users > 0 THEN format('for some by name: %s', limits.users) END) END);
	IF limits.spend AND NOT EXISTS (SELECT FROM vibevideo.model m WHERE m.endpoint = wanted AND m.price_usd > 0) THEN
		RETURN NEXT vibevideo.line('price', 'warn',
								   format('spending is limited, but the price of %s is not known and counts as 0', wanted),
								   format('INSERT INTO vibevideo.model (endpoint, price_usd) VALUES (%L, ...).', wanted));
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.check_limits() IS 'part of check_config: limits and prices; owner only';

/*
 * vibevideo.check_config() - tells whether everything is as it has to be, one
 * line a thing.  Asks fal.ai and Storage over the network; writes nothing.
 *
 * status is ok, warn or fail; every line that is not ok has a hint what to do.
 * It does not fail itself: what cannot be checked becomes a line.  Owner only.
 */
CREATE FUNCTION vibevideo.check_config()
RETURNS TABLE (check_name text, status text, detail text, hint text)
LANGUAGE plpgsql VOLATILE ROWS 30 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	part text;
BEGIN
	FOREACH part IN ARRAY ARRAY['preload', 'worker', 'table', 'api', 'services', 'cron', 'jobs', 'limits'] LOOP
		BEGIN
			RETURN QUERY EXECUTE format('SELECT l.check_name, l.status, l.detail, l.hint FROM vibevideo.%I() l', 'check_' || part);
		EXCEPTION WHEN OTHERS THEN
			check_name = part;
			status = 'fail';
			detail = SQLERRM;
			hint = format('SELECT * FROM vibevideo.check_%s() shows the whole error.', part);
			RETURN NEXT;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo.check_config() IS
	'tells whether everything is as it has to be, and what to do if not; owner only';

-- The rows with these keys become failed, with the rights of the table's owner.
CREATE FUNCTION vibevideo.fail_rows(keys text[])
RETURNS bigint LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'vibevideo_fail_rows';
COMMENT ON FUNCTION vibevideo.fail_rows(text[]) IS 'part of reset_stuck: makes rows of the app failed, as the table''s owner; owner only';

/*
 * vibevideo.reset_stuck(older_than) - mends rows of the app that say queued,
 * generating or processing although no active job is behind them: left over
 * from an older app, or written by somebody else.  A row without any job
 * becomes failed, so that it can be submitted again; one whose last job has
 * ended is written anew from that job, by the worker.  Rows with an active job
 * are not touched.  The table's triggers run with its owner's rights.
 *
 * older_than: only rows whose updated_at, if the table has such a column, is
 * older than that or null.
 * Returns how many rows.
 * Errors: 22023 a negative age or none; 55000 no table is attached.
 * For the extension's owner, who must be able to write the table.
 */
CREATE FUNCTION vibevideo.reset_stuck(older_than interval DEFAULT '1 hour')
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
				   'WHERE j.relation = $3 AND j.vibelog_id = t.%I::text COLLATE "C" AND NOT j.ghost)',
				   b.id_column, b.relation, stuck, b.id_column)
	INTO without_job USING running, older_than, b.relation;
	failed = coalesce(vibevideo.fail_rows(without_job), 0);
	-- somebody may have submitted one of them meanwhile
	UPDATE vibevideo.job j SET row_dirty = true, row_tries = 0, row_next_at = now()
	WHERE j.relation = b.relation AND j.vibelog_id = ANY (without_job);

	EXECUTE format('UPDATE vibevideo.job AS j SET row_dirty = true, row_tries = 0, row_next_at = now() WHERE j.job_id IN ('
				   'SELECT max(k.job_id) FROM %s AS t '
				   'JOIN vibevideo.job k ON k.relation = $3 AND k.vibelog_id = t.%I::text COLLATE "C" AND NOT k.ghost WHERE %s '
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
COMMENT ON FUNCTION vibevideo.reset_stuck(interval) IS
	'mends rows that say queued, generating or processing without an active job; returns how many; owner only';

-------------------------------------------------------------------------------
-- Who may call what
-------------------------------------------------------------------------------

/*
 * vibevideo.grant_api_roles() - gives PUBLIC, anon, authenticated and
 * service_role exactly the rights they are meant to have, whatever default
 * privileges left behind.  A role that does not exist is passed over: call this
 * again once it does.  Rights of other roles are not touched.
 *
 * Errors: 42501 the caller does not own the extension.  Owner only.
 */
CREATE FUNCTION vibevideo.grant_api_roles()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	users constant text = (SELECT string_agg(quote_ident(r.rolname), ', ') FROM pg_roles r
						   WHERE r.rolname IN ('authenticated', 'service_role'));
	service constant text = (SELECT quote_ident(r.rolname) FROM pg_roles r WHERE r.rolname = 'service_role');
	anonymous constant text = (SELECT quote_ident(r.rolname) FROM pg_roles r WHERE r.rolname = 'anon');
	everybody constant text = concat_ws(', ', 'PUBLIC',
										(SELECT string_agg(quote_ident(r.rolname), ', ') FROM pg_roles r
										 WHERE r.rolname IN ('anon', 'authenticated', 'service_role')));
	api record;
BEGIN
	IF NOT pg_has_role((SELECT e.extowner FROM pg_extension e WHERE e.extname = 'vibevideo'), 'USAGE') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = 'only the owner of extension vibevideo can set its access rights';
	END IF;

	EXECUTE format('REVOKE ALL ON SCHEMA vibevideo FROM %s CASCADE', everybody);
	EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA vibevideo FROM %s CASCADE', everybody);
	EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA vibevideo FROM %s CASCADE', everybody);
	EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA vibevideo FROM %s CASCADE', everybody);
	IF users IS NOT NULL THEN
		EXECUTE format('GRANT USAGE ON SCHEMA vibevideo TO %s', users);
	END IF;
	IF service IS NOT NULL THEN
		-- The view reads with its reader's rights.
		EXECUTE format('GRANT SELECT ON vibevideo.job, vibevideo.jobs, vibevideo.past_costs, vibevideo.costs TO %s', service);
		EXECUTE format('GRANT EXECUTE ON FUNCTION vibevideo.describe(vibevideo.job), vibevideo.job_message(vibevideo.job), '
					   'vibevideo.shown_status(text), vibevideo.seconds_left(vibevideo.job) TO %s', service);
	END IF;

	FOR api IN
		SELECT p.oid::regprocedure AS signature,
			   CASE p.proname WHEN 'vibevideo_poll' THEN service
							  WHEN 'vibevideo_webhook' THEN anonymous
							  ELSE users END AS callers
		FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
		WHERE p.pronamespace = 'public'::regnamespace AND l.lanname = 'c' AND p.prosrc = p.proname
		  AND p.proname IN ('vibevideo_submit', 'vibevideo_submit_batch', 'vibevideo_status',
							'vibevideo_cancel', 'vibevideo_retry', 'vibevideo_poll', 'vibevideo_webhook')
	LOOP
		EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s CASCADE', api.signature, everybody);
		IF api.callers IS NOT NULL THEN
			EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', api.signature, api.callers);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo.grant_api_roles() IS
	'sets the rights of PUBLIC, anon, authenticated and service_role on everything of vibevideo; call it again after '
	'creating one of these roles; owner only';

-- Last: the public functions, and the rights on everything made above.
SELECT vibevideo.create_api('pg_catalog.uuid');
SELECT vibevideo.grant_api_roles();
SELECT pg_catalog.pg_notify('pgrst', 'reload schema');
