/* sql/schema.sql: types, tables and how a job is shown to people */
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

-- Schema vibevideo may be there already, from a dump or an earlier installation,
-- but it must be nobody else's: its owner could drop and replace what is in it,
-- and a function there could be a better match for a call of ours than ours.
-- vibevideo_internal and vibevideo_page come and go with the extension: one that is
-- there is not ours.
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
	SELECT n.nspname INTO stranger FROM pg_catalog.pg_namespace n
	WHERE n.nspname OPERATOR(pg_catalog.=) 'vibevideo_internal' OR n.nspname OPERATOR(pg_catalog.=) 'vibevideo_page';
	IF FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_schema',
			MESSAGE = pg_catalog.format('schema %s exists already', stranger),
			DETAIL = 'It is not vibevideo''s, which makes one of its own and takes it along when it is dropped.',
			HINT = 'Drop or rename it.';
	END IF;
END
$$;

-- People write vibevideo. and see what is made for them.  Nobody gets USAGE on this
-- one: whatever others may run is bound to what it names when it is made.
CREATE SCHEMA vibevideo_internal;
COMMENT ON SCHEMA vibevideo_internal IS
	'what vibevideo itself calls and keeps; for nobody else, and may change with any version';

-------------------------------------------------------------------------------
-- Types and tables.  src/README.md describes the state machine.
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
	completed_at timestamptz,
	estimate_seconds int,
	waits_for text
);
COMMENT ON TYPE vibevideo.video IS 'a video as the app sees it; message is what a person should read';
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

-- What holds a job: see why.sql.
CREATE TYPE vibevideo_internal.reason AS (
	code text,
	sentence text,
	until timestamptz,
	ahead int,
	estimate interval,
	message text
);
COMMENT ON TYPE vibevideo_internal.reason IS 'why a job waits: sentence is for operators, message for its user, if the job is pending or rendering and its state does not say it all';

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
	paused boolean NOT NULL DEFAULT false,
	attached_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	-- a copy is paused by nobody: see vibevideo_internal.pause_cause
	pause_scope text CHECK (pause_scope OPERATOR(pg_catalog.=) ANY (ARRAY['sending', 'all'])),
	paused_by text,
	paused_at timestamptz,
	pause_reason text,
	tenant_column name,
	model_column name,
	meta_column name,
	on_delete text CHECK (on_delete OPERATOR(pg_catalog.=) 'erase'),
	keep_versions int CHECK (keep_versions OPERATOR(pg_catalog.>) 0)
);
COMMENT ON TABLE vibevideo.binding IS 'the app''s table and the columns vibevideo reads; written by vibevideo.attach';
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
SELECT pg_catalog.pg_extension_config_dump('vibevideo.binding', '');

-- What we know of models but their prices, and which a row may name.  Rows of the app's own are kept by pg_dump, and so is
-- one of ours that was changed: it is the app's from then on.
CREATE TABLE vibevideo.model (
	endpoint text COLLATE pg_catalog."C" PRIMARY KEY,
	max_prompt int CHECK (max_prompt OPERATOR(pg_catalog.>) 0),
	needs_image boolean NOT NULL DEFAULT false,
	usual_seconds int CHECK (usual_seconds OPERATOR(pg_catalog.>) 0),
	builtin boolean NOT NULL DEFAULT false,
	changed_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	input_schema jsonb CHECK (pg_catalog.jsonb_typeof(input_schema) OPERATOR(pg_catalog.=) 'object'),
	check_input text NOT NULL DEFAULT 'warn' CHECK (check_input OPERATOR(pg_catalog.=) ANY (ARRAY['off', 'warn', 'refuse'])),
	allowed boolean NOT NULL DEFAULT false,
	label text
);
COMMENT ON TABLE vibevideo.model IS 'limits of models, and which of them rows may name; an endpoint without a row has none';
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
INSERT INTO vibevideo.model (endpoint, max_prompt, needs_image, builtin) VALUES
	('fal-ai/minimax/video-01', 2000, false, true),
	('fal-ai/minimax/video-01-director', 2000, false, true),
	('fal-ai/minimax/video-01-live', 2000, false, true),
	('fal-ai/minimax/video-01/image-to-video', 2000, true, true),
	('fal-ai/minimax/video-01-live/image-to-video', 2000, true, true),
	('fal-ai/minimax/video-01-director/image-to-video', 2000, true, true);
SELECT pg_catalog.pg_extension_config_dump('vibevideo.model', 'WHERE NOT builtin');

-- A row that was not made in this transaction comes from a dump or a publisher:
-- what CREATE EXTENSION has put in its place makes room.
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
CREATE TRIGGER model_changing BEFORE INSERT OR UPDATE ON vibevideo.model
	FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.model_changing();
ALTER TABLE vibevideo.model ENABLE ALWAYS TRIGGER model_changing;

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
	orphan boolean NOT NULL DEFAULT false,
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
	-- the most that it could cost when it was asked for, then what it has cost; the
	-- guard keeps billed
	cost_usd numeric,
	billed boolean,
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
	row_error text,
	-- what the row was last seen to bear: its request id, '-' a status without
	-- one, '' neither, '?' not known, null what the job says; a row that bears
	-- anything else is another
	row_bears text COLLATE pg_catalog."C" DEFAULT '?',
	-- its failure is no longer shown as something to deal with
	forgotten_at timestamptz,
	-- the words of error that are meant for the app's user
	objection text,
	-- where it was in fal's queue 5 to 10 minutes ago, or when that was first known
	earlier_position int,
	earlier_at timestamptz,
	-- what it costs is not yet in new_costs, or past_costs; null once it is
	unsettled boolean DEFAULT true,
	-- the money: see settled_cost in prices.sql
	cost_estimated_usd numeric,
	cost_source text CHECK (cost_source OPERATOR(pg_catalog.=) ANY (ARRAY['units', 'duration', 'estimate', 'bill'])),
	billable_units numeric,
	-- a limit may count a tenant's
	tenant text COLLATE pg_catalog."C",
	-- budgets go on holding that: see "counts" in limits.sql
	held_usd numeric,
	-- what the file says of itself, read while it was copied
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
) WITH (fillfactor = 80);
COMMENT ON TABLE vibevideo.job IS 'one row an attempt to make a video; view vibevideo.jobs is made for reading';
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
SELECT pg_catalog.pg_extension_config_dump('vibevideo.job', '');

-- A vibelog has one active job: this index, not a check, keeps double clicks apart.
CREATE UNIQUE INDEX job_active ON vibevideo.job (relation, vibelog_id)
	WHERE NOT orphan AND state OPERATOR(pg_catalog.=) ANY (ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing']);
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
-- those that were there when the worker went down, twice: few, and tried alone
CREATE INDEX job_suspect ON vibevideo.job (next_at) WHERE crashes OPERATOR(pg_catalog.>=) 2 AND next_at IS NOT NULL;
CREATE INDEX job_row_due ON vibevideo.job (row_next_at) WHERE row_dirty;
-- what retention takes, oldest first
CREATE INDEX job_finished ON vibevideo.job (completed_at) WHERE next_at IS NULL;
-- those that had ended when they were inserted, until the worker has settled them
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
-- few, and what people look at most
CREATE INDEX job_failed ON vibevideo.job (completed_at) WHERE state OPERATOR(pg_catalog.=) 'failed';

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
COMMENT ON COLUMN vibevideo.event.event_id IS 'grows with each row';
COMMENT ON COLUMN vibevideo.event.job_id IS 'the job';
COMMENT ON COLUMN vibevideo.event.at IS 'when its state changed';
COMMENT ON COLUMN vibevideo.event.state IS 'the state that it came into';
COMMENT ON COLUMN vibevideo.event.error_code IS 'the job''s error_code then; NULL: none';
COMMENT ON COLUMN vibevideo.event.detail IS 'the job''s error then, or else fal.ai''s request id; NULL: neither';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.event', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.event_event_id_seq', '');

-- What we learned of our account at fal: the keys that sign its webhooks, and
-- who we are.  A cache, so pg_dump leaves it out.
CREATE TABLE vibevideo_internal.fal_account (
	only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
	keys bytea,
	fetched_at timestamptz,
	user_id text
);
COMMENT ON TABLE vibevideo_internal.fal_account IS 'fal''s webhook keys (32 bytes each) and our user id there; a cache';

-- Before: guards the state machine against every writer, ours included, keeps
-- the history, notes the price, and marks the app's row for rewriting whenever
-- something it shows has changed.  After: limits, and news for who listens.
CREATE FUNCTION vibevideo_internal.job_changing()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'vibevideo_job_changing';
COMMENT ON FUNCTION vibevideo_internal.job_changing() IS
	'trigger: refuses backward moves, keeps the history, notes the price, marks the app''s row for rewriting';
CREATE FUNCTION vibevideo_internal.job_changed()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'vibevideo_job_changed';
COMMENT ON FUNCTION vibevideo_internal.job_changed() IS
	'trigger: a new job takes its share of the limits, one that ended gives back; counts steps in vibevideo_internal.tally; reports a new status on channel vibevideo';
CREATE TRIGGER job_changing BEFORE INSERT OR UPDATE ON vibevideo.job FOR EACH ROW
	EXECUTE FUNCTION vibevideo_internal.job_changing();
CREATE TRIGGER job_changed AFTER INSERT OR UPDATE ON vibevideo.job FOR EACH ROW
	EXECUTE FUNCTION vibevideo_internal.job_changed();
-- also under session_replication_role = replica, where an apply worker's triggers run
ALTER TABLE vibevideo.job ENABLE ALWAYS TRIGGER job_changing, ENABLE ALWAYS TRIGGER job_changed;

-------------------------------------------------------------------------------
-- How a job is shown to people
-------------------------------------------------------------------------------

-- These are bound to what they name when they are made (RETURN, not a string),
-- so no search_path can change them, and without a SET they can be inlined.

-- Is anything still to come?  This is where SQL has it from; an index has to
-- spell it, and test/sql/states.sql compares.
CREATE FUNCTION vibevideo.is_active(state text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN state = ANY (ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing']);
COMMENT ON FUNCTION vibevideo.is_active(text) IS
'Says whether a job in this inner state has not ended.
state: as in vibevideo.jobs.state.
Returns false for an unknown state, NULL for NULL. Raises no errors.
For viewers, operators and service_role.';

-- All states, in the order a job goes through them.
CREATE FUNCTION vibevideo_internal.states()
RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
RETURN ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing', 'completed', 'failed', 'cancelled'];
COMMENT ON FUNCTION vibevideo_internal.states() IS 'the inner states of a job; owner only';

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

-- The status the app sees: inner states show as queued.
CREATE FUNCTION vibevideo_internal.shown_status(state text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN state = ANY (ARRAY['pending', 'submitting', 'submit_unknown'])
			THEN 'queued' ELSE state END;
COMMENT ON FUNCTION vibevideo_internal.shown_status(text) IS 'the app''s status for a job''s inner state';

-- How long a copy still takes, at the speed it goes just now.
CREATE FUNCTION vibevideo_internal.seconds_left(j vibevideo.job)
RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((j).bytes_total - (j).bytes_done) / nullif((j).bytes_per_second, 0);
COMMENT ON FUNCTION vibevideo_internal.seconds_left(vibevideo.job) IS 'how long a copy still takes, null if that is not known';

-- What kind of trouble an error code means, for sentences, series and metrics:
-- the codes of the manual, then fal's own types (fal.ai/docs: "Request error
-- types" and "Model errors", whose input errors may be Pydantic's), then
-- Storage's, which begin with a capital letter as S3's do.
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

-- What holds a job now (find_reason in why.sql); its last answer is remembered for
-- the other columns of a row.  It costs more than a sort, so that of a long list
-- it is called for the rows that are shown.
CREATE FUNCTION vibevideo_internal.reason_of(job_id bigint)
RETURNS vibevideo_internal.reason LANGUAGE c STABLE STRICT COST 10000 AS 'MODULE_PATHNAME', 'vibevideo_reason_of';
COMMENT ON FUNCTION vibevideo_internal.reason_of(bigint) IS 'what holds a job now; NULL if there is no such job';

-- What is wrong, for the app's user: a sentence for each kind of trouble, none of
-- which is a server's.  Only what the model objects to in the input is passed on
-- (src/objection.c).  It is long, and of few jobs: the SET keeps it out of the
-- statements that call it, which are compiled anew each time that they run.
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

-- One sentence a person can read.
CREATE FUNCTION vibevideo_internal.job_message(j vibevideo.job)
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

-- How far it is, from 0 to 1.
CREATE FUNCTION vibevideo_internal.job_progress(j vibevideo.job)
RETURNS real LANGUAGE sql IMMUTABLE
RETURN CASE WHEN (j).state = 'completed' THEN 1
			WHEN (j).state = 'processing' AND (j).bytes_total > 0 THEN least(1, coalesce((j).bytes_done, 0)::real / (j).bytes_total)
	   END::real;
COMMENT ON FUNCTION vibevideo_internal.job_progress(vibevideo.job) IS 'how much of the video is copied, from 0 to 1; NULL if that is not known';

-- A job as the public functions return it.
CREATE FUNCTION vibevideo.describe(j vibevideo.job)
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

-- For dashboards.  It reads vibevideo.job with its owner's rights, but has no inputs,
-- so that viewers can be given it alone.  Its columns are not those of describe, which
-- is called as a whole: what is not selected costs nothing.
CREATE VIEW vibevideo.jobs AS
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

-------------------------------------------------------------------------------
-- Order of sending
-------------------------------------------------------------------------------

-- Which jobs are sent next: higher priority first, within it the users take
-- turns, and each user's oldest first.  The users are found by hopping through
-- the index, so that the cost depends on them, not on the backlog; the planner,
-- which may think the table empty, is told to use it.  No more than
-- vibevideo.max_active leaves room for.
CREATE FUNCTION vibevideo_internal.next_submits(most int, due_before timestamptz)
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
COMMENT ON FUNCTION vibevideo_internal.next_submits(int, timestamptz) IS 'jobs to send next, by priority, then users in turn; owner only';

-------------------------------------------------------------------------------
-- Inner functions in C
-------------------------------------------------------------------------------

-- A key or a user in a text for people: cut, and control characters escaped.
CREATE FUNCTION vibevideo_internal.shown(name text)
RETURNS text LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_shown';
COMMENT ON FUNCTION vibevideo_internal.shown(text) IS 'a key as texts show it: cut, and control characters escaped; owner only';

-- Wakes (or has started) this database's worker when the transaction commits.
CREATE FUNCTION vibevideo.wake()
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_wake';
COMMENT ON FUNCTION vibevideo.wake() IS
'Wakes this database''s background worker, or has it started, when the transaction commits.
Returns nothing. Raises no errors.
For the extension''s owner.';

-- This database's worker as shared memory knows it, and why there is none.
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

-- The library's; the SQL's is in pg_extension.
CREATE FUNCTION vibevideo_internal.library_version()
RETURNS text LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'vibevideo_library_version';
COMMENT ON FUNCTION vibevideo_internal.library_version() IS 'the version of the library that is loaded; owner only';

-- Which cluster, database and timeline this is: what vibevideo.binding remembers.
CREATE FUNCTION vibevideo_internal.identity(OUT system_identifier bigint, OUT database_oid oid, OUT timeline int)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_identity';
COMMENT ON FUNCTION vibevideo_internal.identity() IS 'the cluster''s system identifier (in a copy that was started a number of its own), this database and the timeline; owner only';

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

-- May somebody else work on the same jobs?  Then nothing is done here, not even noted.
CREATE FUNCTION vibevideo_internal.is_copy(b vibevideo.binding)
RETURNS boolean LANGUAGE sql VOLATILE
RETURN (b).paused AND (b).pause_scope IS NULL OR vibevideo_internal.is_elsewhere(b);
COMMENT ON FUNCTION vibevideo_internal.is_copy(vibevideo.binding) IS
	'whether this database is a copy, or was paused by hand: nothing is taken here until vibevideo.resume(); owner only';

-- Why is it paused?  Whatever pauses a copy notes when, but nobody's name.
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

-- One question of check_config: what is fal_key, queue, webhook, as in check_services().
CREATE FUNCTION vibevideo_internal.probe(what text, OUT status text, OUT detail text, OUT hint text)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_probe';
COMMENT ON FUNCTION vibevideo_internal.probe(text) IS 'asks fal.ai, Storage, Realtime or our own webhook_url for check_config; owner only';
