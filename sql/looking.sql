
-------------------------------------------------------------------------------
-- Looking: what people see
-------------------------------------------------------------------------------

/*
 * Each public function here is for viewers and begins with
 * vibevideo_internal.require.  None reads the history: it reads sums, and jobs by
 * indexes, of which it looks at a bounded part; what may be more than that says so.
 */

-- So many rows are read for one figure at most.
CREATE FUNCTION vibevideo_internal.most()
RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 100000;
COMMENT ON FUNCTION vibevideo_internal.most() IS 'how many jobs are counted at most for a figure that people look at; owner only';

-- Refuses a number of rows that is not one.
CREATE FUNCTION vibevideo_internal.check_most(name text, most int, highest int)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF most IS NULL OR most NOT BETWEEN 1 AND highest THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('%s must be a number from 1 to %s', name, highest);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_most(text, int, int) IS 'refuses a number of rows that is not one: 22023; owner only';

-- Refuses a time that is not one.
CREATE FUNCTION vibevideo_internal.check_since(since timestamptz)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF since IS NULL OR NOT isfinite(since) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'since must be a time',
			HINT = 'For example now() - interval ''1 day''.';
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_since(timestamptz) IS 'refuses a time that is not one: 22023; owner only';

-------------------------------------------------------------------------------
-- Jobs
-------------------------------------------------------------------------------

CREATE TYPE vibevideo.job_row AS (
	job_id bigint,
	vibelog_id text,
	status text,
	state text,
	message text,
	why text,
	waits_for text,
	waits_until timestamptz,
	estimate interval,
	model text,
	user_id text,
	attempt int,
	tries int,
	error_code text,
	error_class text,
	error text,
	row_error text,
	orphan boolean,
	paid_not_stored boolean,
	cost_usd numeric,
	queue_position int,
	progress real,
	created_at timestamptz,
	submitted_at timestamptz,
	generated_at timestamptz,
	completed_at timestamptz,
	updated_at timestamptz,
	forgotten_at timestamptz,
	waited interval,
	rendered interval,
	copied interval,
	request_id text,
	video_url text,
	prompt text
);
COMMENT ON TYPE vibevideo.job_row IS 'a job in a list';
COMMENT ON COLUMN vibevideo.job_row.job_id IS 'the job''s number';
COMMENT ON COLUMN vibevideo.job_row.vibelog_id IS 'the key of its row';
COMMENT ON COLUMN vibevideo.job_row.status IS 'as the app sees it';
COMMENT ON COLUMN vibevideo.job_row.state IS 'its inner state';
COMMENT ON COLUMN vibevideo.job_row.message IS 'what the app''s user should read';
COMMENT ON COLUMN vibevideo.job_row.why IS 'what holds it now, for operators; NULL when it has ended and its row shows that';
COMMENT ON COLUMN vibevideo.job_row.waits_for IS 'the same for programs: a code of vibevideo.why';
COMMENT ON COLUMN vibevideo.job_row.waits_until IS 'until when, if that is known';
COMMENT ON COLUMN vibevideo.job_row.estimate IS 'how long it may still take until the video is there';
COMMENT ON COLUMN vibevideo.job_row.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.job_row.user_id IS 'who requested it, NULL where nobody is known';
COMMENT ON COLUMN vibevideo.job_row.attempt IS 'which attempt of its row it is';
COMMENT ON COLUMN vibevideo.job_row.tries IS 'failed tries of its phase in a row';
COMMENT ON COLUMN vibevideo.job_row.error_code IS 'what is wrong, for programs';
COMMENT ON COLUMN vibevideo.job_row.error_class IS 'what kind of trouble that is';
COMMENT ON COLUMN vibevideo.job_row.error IS 'the words of fal.ai, Storage or vibevideo that belong to error_code, cut at 500 characters';
COMMENT ON COLUMN vibevideo.job_row.row_error IS 'why its row could not be written, cut at 500 characters';
COMMENT ON COLUMN vibevideo.job_row.orphan IS 'its transaction was rolled back after it was sent';
COMMENT ON COLUMN vibevideo.job_row.paid_not_stored IS 'its video was made, and given up before it was stored';
COMMENT ON COLUMN vibevideo.job_row.cost_usd IS 'what it has cost, in USD, or until that is known can cost at most; NULL if that is not known';
COMMENT ON COLUMN vibevideo.job_row.queue_position IS 'how many are ahead of it in fal.ai''s queue';
COMMENT ON COLUMN vibevideo.job_row.progress IS 'how much of the video is copied, from 0 to 1';
COMMENT ON COLUMN vibevideo.job_row.created_at IS 'when it was requested';
COMMENT ON COLUMN vibevideo.job_row.submitted_at IS 'when fal.ai accepted it';
COMMENT ON COLUMN vibevideo.job_row.generated_at IS 'when its video was made';
COMMENT ON COLUMN vibevideo.job_row.completed_at IS 'when it ended';
COMMENT ON COLUMN vibevideo.job_row.updated_at IS 'when what its row shows changed last';
COMMENT ON COLUMN vibevideo.job_row.forgotten_at IS 'when an operator said that its failure is dealt with; NULL if nobody did';
COMMENT ON COLUMN vibevideo.job_row.waited IS 'how long it took, or has taken so far, until fal.ai accepted it';
COMMENT ON COLUMN vibevideo.job_row.rendered IS 'how long from then on until the video was made, fal.ai''s queue included';
COMMENT ON COLUMN vibevideo.job_row.copied IS 'how long from then on until it was stored, or given up';
COMMENT ON COLUMN vibevideo.job_row.request_id IS 'fal.ai''s id of the request';
COMMENT ON COLUMN vibevideo.job_row.video_url IS 'the video in Storage';
COMMENT ON COLUMN vibevideo.job_row.prompt IS 'the beginning of the prompt, for callers that may see inputs';

-- A job as it is listed.
CREATE FUNCTION vibevideo_internal.list_job(j vibevideo.job, see_input boolean)
RETURNS vibevideo.job_row LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT ROW((j).job_id, (j).vibelog_id, vibevideo_internal.shown_status((j).state), (j).state, vibevideo_internal.job_message(j),
		(x.r).sentence, (x.r).code, (x.r).until, (x.r).estimate, (j).model, (j).requested_by, (j).attempt, (j).tries,
		(j).error_code, vibevideo.error_class((j).error_code), left((j).error, 500), left((j).row_error, 500), (j).orphan,
		(j).state = 'failed' AND (j).media_url IS NOT NULL, (j).cost_usd,
		CASE WHEN (j).state IN ('queued', 'generating') THEN (j).queue_position END, vibevideo_internal.job_progress(j),
		(j).created_at, (j).submitted_at, (j).generated_at, (j).completed_at, (j).updated_at, (j).forgotten_at,
		coalesce((j).submitted_at, (j).completed_at, clock_timestamp()) - (j).created_at,
		coalesce((j).generated_at, (j).completed_at, clock_timestamp()) - (j).submitted_at,
		coalesce((j).completed_at, clock_timestamp()) - (j).generated_at,
		(j).request_id, (j).video_url,
		CASE WHEN see_input THEN left(coalesce((j).input ->> 'prompt', (j).input::text), 200) END)::vibevideo.job_row
	-- once, and only for those that wait
	FROM (SELECT CASE WHEN vibevideo.is_active((j).state) OR (j).row_dirty THEN vibevideo_internal.reason_of((j).job_id) END AS r OFFSET 0) x;
END;
COMMENT ON FUNCTION vibevideo_internal.list_job(vibevideo.job, boolean) IS 'a job as vibevideo.job_row; owner only';

CREATE TYPE vibevideo.job_page AS (
	jobs vibevideo.job_row[],
	next jsonb,
	bound text,
	as_of timestamptz,
	filter jsonb
);
COMMENT ON TYPE vibevideo.job_page IS 'a part of a list of jobs';
COMMENT ON COLUMN vibevideo.job_page.jobs IS 'unfinished jobs, newest first, then those that have ended, the last one first';
COMMENT ON COLUMN vibevideo.job_page.next IS 'what to pass as after, to continue; NULL if there are no more';
COMMENT ON COLUMN vibevideo.job_page.bound IS 'why the list ends here: max_jobs, or time, if looking for more would have taken too long; NULL if these are all';
COMMENT ON COLUMN vibevideo.job_page.as_of IS 'when it was made';
COMMENT ON COLUMN vibevideo.job_page.filter IS 'what these match: what to pass as filter, to continue';

-- Where a list goes on, as its page before said.  JavaScript rounds large numbers up.
CREATE FUNCTION vibevideo_internal.read_after(after jsonb)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = ISO AS $$
DECLARE
	most constant numeric = 9223372036854775807;
BEGIN
	IF after IS NULL OR jsonb_typeof(after) = 'null' THEN
		RETURN NULL;
	ELSIF jsonb_typeof(after) = 'object' AND after - 'ended' - 'job_id' = '{}' AND after ->> 'job_id' ~ '^[0-9]{1,19}$'
		  AND (NOT after ? 'ended' OR jsonb_typeof(after -> 'ended') = 'string')
	THEN
		RETURN after || jsonb_build_object('job_id', least((after ->> 'job_id')::numeric, most))
			|| CASE WHEN after ? 'ended' THEN jsonb_build_object('ended', (after ->> 'ended')::timestamptz) ELSE '{}' END;
	END IF;
	RAISE invalid_parameter_value;
EXCEPTION WHEN data_exception THEN
	RAISE EXCEPTION USING
		ERRCODE = 'invalid_parameter_value',
		MESSAGE = 'after does not say where a list goes on',
		HINT = 'It must be next of the page before, or null for the first page.';
END
$$;
COMMENT ON FUNCTION vibevideo_internal.read_after(jsonb) IS 'where a list of jobs goes on, checked: 22023; owner only';

CREATE FUNCTION vibevideo.list_jobs(filter jsonb DEFAULT '{}', after jsonb DEFAULT NULL, max_jobs int DEFAULT 50)
RETURNS vibevideo.job_page LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	page vibevideo.job_page;
	ids bigint[];
	see_input boolean;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	PERFORM vibevideo_internal.check_most('max_jobs', max_jobs, 1000);
	SELECT c.see_input INTO see_input FROM vibevideo_internal.caller() c;
	SELECT x.job_ids, x.next, x.bound INTO ids, page.next, page.bound
	FROM vibevideo_internal.filter_jobs(vibevideo_internal.read_filter(filter), true, max_jobs, 60, vibevideo_internal.read_after(after)) x;
	page.jobs = (SELECT coalesce(array_agg(vibevideo_internal.list_job(j, see_input) ORDER BY n.nth), '{}')
				 FROM unnest(ids) WITH ORDINALITY AS n(job_id, nth) JOIN vibevideo.job j ON j.job_id = n.job_id);
	page.as_of = clock_timestamp();
	page.filter = filter;
	RETURN page;
END
$$;
COMMENT ON FUNCTION vibevideo.list_jobs(jsonb, jsonb, int) IS
'Lists the jobs that match a filter, page by page: active ones, newest first, then those that have ended, the last
  one first. It looks for about 60 ms; where it stopped, the next page goes on.
filter: as of vibevideo.plan, {} for all: what is listed is what a plan would take; default: all.
after: next of the page before; default: the first page.
max_jobs: how many at most, 1 to 1000; default: 50.
Returns a vibevideo.job_page.
Errors: 22023 a bad filter, after or max_jobs; 42501 not a viewer, or the filter has prompt and the caller may not
  see prompts.
For viewers and operators.';

CREATE TYPE vibevideo.job_step AS (
	step text,
	at timestamptz,
	took interval
);
COMMENT ON TYPE vibevideo.job_step IS 'a step of a job, and how long what came before it took';
COMMENT ON COLUMN vibevideo.job_step.step IS 'requested, sent, accepted, rendered, its final state, or now';
COMMENT ON COLUMN vibevideo.job_step.at IS 'when';
COMMENT ON COLUMN vibevideo.job_step.took IS 'how long since the step before';

CREATE TYPE vibevideo.job_event AS (
	at timestamptz,
	state text,
	error_code text,
	detail text
);
COMMENT ON TYPE vibevideo.job_event IS 'a change of a job''s state';
COMMENT ON COLUMN vibevideo.job_event.at IS 'when';
COMMENT ON COLUMN vibevideo.job_event.state IS 'the inner state it came to';
COMMENT ON COLUMN vibevideo.job_event.error_code IS 'what was wrong then';
COMMENT ON COLUMN vibevideo.job_event.detail IS 'its words, or the request''s id';

CREATE FUNCTION vibevideo_internal.request_url(model text, request_id text)
RETURNS text LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'vibevideo_request_url';
COMMENT ON FUNCTION vibevideo_internal.request_url(text, text) IS 'fal.ai''s address of a request''s result; NULL if there is none; owner only';

CREATE TYPE vibevideo.job_details AS (
	job vibevideo.job_row,
	relation text,
	input jsonb,
	sent_at timestamptz,
	next_at timestamptz,
	cancel_requested_at timestamptz,
	error text,
	row_error text,
	row_dirty boolean,
	timeline vibevideo.job_step[],
	events vibevideo.job_event[],
	attempts vibevideo.job_row[],
	fal_url text,
	media_url text,
	media_type text,
	bucket text,
	object_key text,
	bytes_done bigint,
	bytes_total bigint,
	bytes_per_second bigint,
	sha256 text,
	duration_ms bigint,
	more boolean,
	cost_estimated_usd numeric,
	cost_source text,
	billable_units numeric,
	held_usd numeric,
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
);
COMMENT ON TYPE vibevideo.job_details IS 'all there is to know of a job';
COMMENT ON COLUMN vibevideo.job_details.job IS 'as in a list';
COMMENT ON COLUMN vibevideo.job_details.relation IS 'the table of its row, a number if that is gone; NULL if the job has lost its row';
COMMENT ON COLUMN vibevideo.job_details.input IS 'what the model is sent, for callers that may see inputs';
COMMENT ON COLUMN vibevideo.job_details.sent_at IS 'when its submit was begun';
COMMENT ON COLUMN vibevideo.job_details.next_at IS 'when it is acted on next or, while a process has it, when that claim expires; NULL when it has ended';
COMMENT ON COLUMN vibevideo.job_details.cancel_requested_at IS 'when its cancel was requested';
COMMENT ON COLUMN vibevideo.job_details.error IS 'the words that belong to error_code, whole';
COMMENT ON COLUMN vibevideo.job_details.row_error IS 'why its row could not be written, whole';
COMMENT ON COLUMN vibevideo.job_details.row_dirty IS 'its row is still to be written';
COMMENT ON COLUMN vibevideo.job_details.timeline IS 'its steps, with how long each took';
COMMENT ON COLUMN vibevideo.job_details.events IS 'its changes of state, the last 200';
COMMENT ON COLUMN vibevideo.job_details.attempts IS 'all jobs of the same row, newest first, at most 20';
COMMENT ON COLUMN vibevideo.job_details.fal_url IS 'fal.ai''s address of the request, which wants the API key';
COMMENT ON COLUMN vibevideo.job_details.media_url IS 'the video at fal.ai, for as long as fal.ai keeps it';
COMMENT ON COLUMN vibevideo.job_details.media_type IS 'its type, as fal.ai says';
COMMENT ON COLUMN vibevideo.job_details.bucket IS 'the bucket that videos are stored in now';
COMMENT ON COLUMN vibevideo.job_details.object_key IS 'the video''s name in the bucket';
COMMENT ON COLUMN vibevideo.job_details.bytes_done IS 'how many bytes of the video are copied';
COMMENT ON COLUMN vibevideo.job_details.bytes_total IS 'how many bytes it has; NULL if that is not known';
COMMENT ON COLUMN vibevideo.job_details.bytes_per_second IS 'how many bytes are copied in a second, just now';
COMMENT ON COLUMN vibevideo.job_details.sha256 IS 'the file''s hash, in hexadecimal';
COMMENT ON COLUMN vibevideo.job_details.duration_ms IS 'the video''s length, in milliseconds';
COMMENT ON COLUMN vibevideo.job_details.more IS 'there are more events or attempts than these';
COMMENT ON COLUMN vibevideo.job_details.cost_estimated_usd IS 'what it could cost at most when it was requested, in USD';
COMMENT ON COLUMN vibevideo.job_details.cost_source IS 'how it is known what it has cost, as in vibevideo.jobs; NULL until it is settled, or if nothing was billed';
COMMENT ON COLUMN vibevideo.job_details.billable_units IS 'how many units fal.ai says that it bills; NULL if it does not say';
COMMENT ON COLUMN vibevideo.job_details.held_usd IS 'what budgets still hold for it though it has ended, in USD; NULL: nothing';
COMMENT ON COLUMN vibevideo.job_details.width IS 'how wide the picture is as it is shown, in pixels; NULL if that is not known';
COMMENT ON COLUMN vibevideo.job_details.height IS 'how high it is, likewise';
COMMENT ON COLUMN vibevideo.job_details.fps IS 'how many pictures it shows in a second';
COMMENT ON COLUMN vibevideo.job_details.video_codec IS 'how the picture is coded, as browsers name it';
COMMENT ON COLUMN vibevideo.job_details.has_audio IS 'whether it has sound; NULL if that is not known';
COMMENT ON COLUMN vibevideo.job_details.audio_codec IS 'how the sound is coded; NULL if there is none';
COMMENT ON COLUMN vibevideo.job_details.faststart IS 'whether it can be played while it arrives';
COMMENT ON COLUMN vibevideo.job_details.has_c2pa IS 'whether it has Content Credentials; NULL if its format has no place for them';
COMMENT ON COLUMN vibevideo.job_details.bit_rate IS 'its bits for each second that it plays';
COMMENT ON COLUMN vibevideo.job_details.delivered_less IS 'in which it is less than was asked for; NULL if in nothing that is known';
COMMENT ON COLUMN vibevideo.job_details.erased_at IS 'since when it is erased; NULL: it is not';

CREATE FUNCTION vibevideo.job_detail(job_id bigint)
RETURNS vibevideo.job_details LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most_events constant int = 200;
	most_attempts constant int = 20;
	see_input boolean;
	j vibevideo.job;
	d vibevideo.job_details;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	IF job_id IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'job_id must not be null';
	END IF;
	SELECT c.see_input INTO see_input FROM vibevideo_internal.caller() c;
	SELECT x.* INTO j FROM vibevideo.job x WHERE x.job_id = job_detail.job_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = format('there is no job %s', job_id);
	END IF;
	d.job = vibevideo_internal.list_job(j, see_input);
	d.relation = j.relation;
	d.input = CASE WHEN see_input THEN j.input END;
	d.sent_at = j.sent_at;
	d.next_at = j.next_at;
	d.cancel_requested_at = j.cancel_requested_at;
	d.error = j.error;
	d.row_error = j.row_error;
	d.row_dirty = j.row_dirty;
	d.timeline = (SELECT array_agg(ROW(t.step, t.at, t.took)::vibevideo.job_step ORDER BY t.at, t.nth)
				  FROM (SELECT s.*, s.at - lag(s.at) OVER (ORDER BY s.at, s.nth) AS took
				  FROM (VALUES (1, 'requested', j.created_at), (2, 'sent', j.sent_at), (3, 'accepted', j.submitted_at),
							   (4, 'rendered', j.generated_at), (5, j.state, j.completed_at),
							   (6, 'now', CASE WHEN j.completed_at IS NULL THEN greatest(clock_timestamp(), j.updated_at) END)) AS s(nth, step, at)
				  WHERE s.at IS NOT NULL) t);
	d.events = (SELECT coalesce(array_agg(ROW(e.at, e.state, e.error_code, e.detail)::vibevideo.job_event ORDER BY e.event_id), '{}')
				FROM (SELECT x.* FROM vibevideo.event x WHERE x.job_id = j.job_id ORDER BY x.event_id DESC LIMIT most_events) e);
	d.attempts = (SELECT coalesce(array_agg(vibevideo_internal.list_job(a, see_input) ORDER BY a.job_id DESC), '{}')
				  FROM (SELECT x.* FROM vibevideo.job x WHERE x.relation = j.relation AND x.vibelog_id = j.vibelog_id
						ORDER BY x.job_id DESC LIMIT most_attempts) a);
	d.more = cardinality(d.events) = most_events OR cardinality(d.attempts) = most_attempts;
	d.fal_url = vibevideo_internal.request_url(j.model, j.request_id);
	d.media_url = j.media_url;
	d.media_type = j.media_type;
	d.bucket = CASE WHEN j.object_key IS NOT NULL THEN current_setting('vibevideo.storage_bucket') END;
	d.object_key = j.object_key;
	d.bytes_done = j.bytes_done;
	d.bytes_total = j.bytes_total;
	d.bytes_per_second = j.bytes_per_second;
	d.sha256 = encode(j.sha256, 'hex');
	d.duration_ms = j.duration_ms;
	d.cost_estimated_usd = j.cost_estimated_usd;
	d.cost_source = j.cost_source;
	d.billable_units = j.billable_units;
	d.held_usd = j.held_usd;
	d.width = j.width;
	d.height = j.height;
	d.fps = j.fps;
	d.video_codec = j.video_codec;
	d.has_audio = j.has_audio;
	d.audio_codec = j.audio_codec;
	d.faststart = j.faststart;
	d.has_c2pa = j.has_c2pa;
	d.bit_rate = j.bit_rate;
	d.delivered_less = j.delivered_less;
	d.erased_at = j.erased_at;
	RETURN d;
END
$$;
COMMENT ON FUNCTION vibevideo.job_detail(bigint) IS
'Returns all there is to know of a job, a vibevideo.job_details: steps with durations, events, input, the other
  attempts of its row, addresses. The input is NULL for callers that may not see prompts.
job_id: the job''s number.
Errors: PT404 no such job; 22004 it is null; 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- What needs a person
-------------------------------------------------------------------------------

CREATE TYPE vibevideo.inbox_row AS (
	kind text,
	since timestamptz,
	subject text,
	sentence text,
	action text,
	jobs int,
	job_id bigint,
	more boolean
);
COMMENT ON TYPE vibevideo.inbox_row IS 'something that needs a person';
COMMENT ON COLUMN vibevideo.inbox_row.kind IS
	'copy, paused, outage, check, account, budget, balance, model_gone, price_changed, ledger, lost_submit, given_up, dead_letter, orphan_video, quarantined, unwritten_row, no_table, no_row, erasure, or unread';
COMMENT ON COLUMN vibevideo.inbox_row.since IS 'since when, of several jobs the first; NULL if that is not known';
COMMENT ON COLUMN vibevideo.inbox_row.subject IS 'what it is about: a job and its row, several jobs, a check, a setting';
COMMENT ON COLUMN vibevideo.inbox_row.sentence IS 'what is the matter';
COMMENT ON COLUMN vibevideo.inbox_row.action IS 'what to do, as a statement; of several things the one that changes nothing yet';
COMMENT ON COLUMN vibevideo.inbox_row.jobs IS 'how many jobs; NULL if it is not about jobs';
COMMENT ON COLUMN vibevideo.inbox_row.job_id IS 'the job, or the last one of several; NULL if it is not about jobs';
COMMENT ON COLUMN vibevideo.inbox_row.more IS 'there are more than these: not all were looked at';

CREATE FUNCTION vibevideo_internal.need(kind text, since timestamptz, subject text, sentence text, action text, jobs bigint DEFAULT NULL,
										job_id bigint DEFAULT NULL, more boolean DEFAULT false)
RETURNS vibevideo.inbox_row LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN ROW(kind, since, subject, sentence, action, jobs, job_id, coalesce(more, false))::vibevideo.inbox_row;
COMMENT ON FUNCTION vibevideo_internal.need(text, timestamptz, text, text, text, bigint, bigint, boolean) IS 'makes a line of the inbox; owner only';

-- What a line is about: one job and its row, or several.
CREATE FUNCTION vibevideo_internal.about_jobs(jobs bigint, job_id bigint, more boolean)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN jobs > 1 THEN format('%s%s jobs', CASE WHEN more THEN 'more than ' END, to_char(jobs, 'FM999,999,999'))
			ELSE (SELECT format('job %s, row %s', j.job_id, vibevideo_internal.shown(j.vibelog_id))
				  FROM vibevideo.job j WHERE j.job_id = about_jobs.job_id) END;
COMMENT ON FUNCTION vibevideo_internal.about_jobs(bigint, bigint, boolean) IS 'what a line of the inbox is about; owner only';

-- A table in a statement that may be broken into lines at its spaces: by its name, if
-- that is as plain as most are, else by its number.
CREATE FUNCTION vibevideo_internal.table_literal(name text)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN format('''%s''', CASE WHEN name COLLATE "C" ~ '^[A-Za-z0-9_."-]{1,70}$' THEN name ELSE to_regclass(name)::oid::text END);
COMMENT ON FUNCTION vibevideo_internal.table_literal(text) IS 'a table in a statement; owner only';

-- A statement that plans an action, to be broken into lines at its spaces: no string
-- in the filter has any.
CREATE FUNCTION vibevideo_internal.plan_call(action text, filter jsonb)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN format('SELECT * FROM vibevideo.plan(%L, %L);', action, jsonb_strip_nulls(filter));
COMMENT ON FUNCTION vibevideo_internal.plan_call(text, jsonb) IS 'a statement that plans an action; owner only';

-- An error code that may stand in a statement; NULL for what somebody has made up.
CREATE FUNCTION vibevideo_internal.plain_code(error_code text)
RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE WHEN error_code ~ '^[A-Za-z0-9_.-]{1,40}$' THEN error_code END;
COMMENT ON FUNCTION vibevideo_internal.plain_code(text) IS 'an error code that may stand in a statement, or NULL; owner only';

-- The database: is it a copy, or paused?
CREATE FUNCTION vibevideo_internal.needs_of_database()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	b vibevideo.binding;
BEGIN
	SELECT x.* INTO b FROM vibevideo.binding x;
	IF vibevideo_internal.is_copy(b) THEN
		RETURN NEXT vibevideo_internal.need('copy', b.paused_at, 'database',
			format('Nothing is sent, asked, copied or written here: %s. Resume only the one that is to continue.', vibevideo_internal.pause_cause(b)),
			'SELECT vibevideo.resume();');
	ELSIF b.paused THEN
		RETURN NEXT vibevideo_internal.need('paused', b.paused_at, 'database',
			format(CASE b.pause_scope WHEN 'sending' THEN 'New videos wait: %s.' ELSE 'Nothing is sent, asked, copied or written: %s.' END,
				   vibevideo_internal.pause_cause(b)), 'SELECT vibevideo.resume();');
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_database() IS 'part of the inbox: the database; owner only';

-- fal.ai and Storage: a short time without an answer passes by itself.  While nobody
-- waits for it nobody asks a service whether it is there again.
CREATE FUNCTION vibevideo_internal.needs_of_services()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	patience constant interval = '3 minutes';
	most constant int = vibevideo_internal.most();
	now constant timestamptz = clock_timestamp();
	sends constant boolean = (SELECT NOT b.paused FROM vibevideo.binding b);
	w record;
	s record;
	c record;
BEGIN
	IF vibevideo_internal.rests_by() IS NOT NULL THEN
		RETURN;
	END IF;
	SELECT i.* INTO w FROM vibevideo.worker_info() i;
	FOR s IN
		SELECT x.* FROM (VALUES ('fal.ai', w.fal_down_since, w.fal_down_until, w.fal_is_probed),
								('Storage', CASE WHEN current_setting('vibevideo.storage_kind') <> 'none' THEN w.storage_down_since END,
								 w.storage_down_until, w.storage_is_probed)) AS x(name, since, until, probed)
		WHERE x.since < now - patience
	LOOP
		IF s.name = 'Storage' THEN
			SELECT count(*) AS jobs, max(x.job_id) AS job_id INTO c
			FROM (SELECT j.job_id FROM vibevideo.job j WHERE j.state = 'processing' LIMIT most) x;
		ELSE
			SELECT count(*) AS jobs, max(x.job_id) AS job_id INTO c
			FROM (SELECT p.job_id FROM vibevideo.job p WHERE p.state = 'pending' AND sends
				  UNION ALL SELECT j.job_id FROM vibevideo.job j WHERE j.state IN ('queued', 'generating') LIMIT most) x;
		END IF;
		CONTINUE WHEN c.jobs = 0;
		RETURN NEXT vibevideo_internal.need('outage', s.since, 'connection to ' || s.name,
			format('%s has not answered for %s: %s, without using up tries; %s. This asks at once, and lets them go if it answers.', s.name,
				   vibevideo_internal.span(now - s.since), CASE c.jobs WHEN 1 THEN 'a job waits' ELSE to_char(c.jobs, 'FM999,999,999') || ' jobs wait' END,
				   CASE WHEN s.probed THEN 'it is being probed' WHEN s.until <= now THEN 'the next request is a probe'
						ELSE format('the next probe is in %s', vibevideo_internal.span(s.until - now)) END),
			'SELECT * FROM vibevideo.probe_now();', c.jobs, c.job_id, c.jobs = most);
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_services() IS 'part of the inbox: fal.ai or Storage has not answered for minutes; owner only';

-- Checks that fail, of those that ask nobody over the network.  What they say of jobs
-- and of a pause has lines of its own.  check_config is the owner's alone; health
-- looks at jobs only where it may use the network.  Whoever holds a lock on the app's
-- table, as during a migration, is not waited for.
CREATE FUNCTION vibevideo_internal.needs_of_checks()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '20ms' AS $$
DECLARE
	part text;
BEGIN
	FOREACH part IN ARRAY ARRAY['preload', 'keys', 'worker', 'table', 'api', 'cron', 'limits', 'ledger', 'overdue', 'sequences'] LOOP
		BEGIN
			RETURN QUERY EXECUTE format(
				'SELECT n.* FROM vibevideo_internal.%I() l, vibevideo_internal.need(''check'', NULL, l.check_name, concat_ws(''. '', l.detail, l.hint), '
				'format(''SELECT * FROM vibevideo.health(%%s) WHERE check_name = %%L;'', CASE l.check_name WHEN ''overdue'' THEN ''true'' END, l.check_name)) n '
				'WHERE l.status = ''fail'' AND l.check_name NOT IN (''identity'', ''paused'')', 'check_' || part);
		EXCEPTION
			WHEN lock_not_available THEN
				RETURN NEXT vibevideo_internal.need('unread', NULL, part, 'Somebody holds a lock on what this looks at; look again when that is over.',
													'SELECT * FROM vibevideo.inbox();', more => true);
			WHEN OTHERS THEN
				RETURN NEXT vibevideo_internal.need('check', NULL, part, format('It cannot be checked: %s', SQLERRM),
													'SELECT * FROM vibevideo.health();');
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_checks() IS 'part of the inbox: checks that fail, without those over the network; owner only';

-- Money: today's budget, and whether fal.ai takes our requests.
CREATE FUNCTION vibevideo_internal.needs_of_money()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	nearly constant numeric = 0.8;
	most constant int = 1000;
	codes constant text[] = ARRAY['unauthorized', 'forbidden', 'http_402'];
	b record;
	c record;
BEGIN
	FOR b IN SELECT v.* FROM vibevideo.limit l
			 CROSS JOIN LATERAL (VALUES ('day', nullif(l.spend_per_day_usd, -1), 'today''s budget'), ('month', nullif(l.spend_per_month_usd, -1), 'this month''s budget')) AS v(period, most, name)
			 WHERE l.scope = 'global' AND v.most IS NOT NULL LOOP
		SELECT coalesce(sum(x.settled_usd), 0) AS spent, coalesce(sum(x.reserved_usd), 0) AS reserved INTO c
		FROM vibevideo.costs_by_day x WHERE x.day >= (date_trunc(b.period, now(), 'UTC') AT TIME ZONE 'UTC')::date;
		IF c.spent + c.reserved >= nearly * b.most THEN
			RETURN NEXT vibevideo_internal.need('budget', NULL, b.name,
				format('%s of %s USD are used up: %s spent, %s reserved for videos in the making or that fal.ai may yet bill. It begins anew at %s 00:00 UTC.',
					   trim_scale(c.spent + c.reserved), trim_scale(b.most), trim_scale(c.spent), trim_scale(c.reserved),
					   to_char(date_trunc(b.period, now(), 'UTC') AT TIME ZONE 'UTC' + ('1 ' || b.period)::interval, 'YYYY-MM-DD')),
				format('UPDATE vibevideo.limit SET spend_per_%s_usd = %s WHERE scope = ''global'';', b.period, trim_scale(greatest(2 * b.most, 1))));
		END IF;
	END LOOP;
	SELECT count(*) AS jobs, min(f.completed_at) AS since, max(f.job_id) AS job_id, (array_agg(f.error_code))[1] AS error_code,
		   (array_agg(f.error))[1] AS error INTO c
	-- not if the row has a newer job: somebody has tried again; nor orphans, which nobody can
	FROM (SELECT j.job_id, j.completed_at, j.error_code, j.error FROM vibevideo.job j
		  WHERE (j.state = 'failed') IS TRUE AND j.error_code COLLATE pg_catalog."C" = ANY (codes) AND j.next_at IS NULL
			AND j.completed_at > now() - interval '1 hour' AND j.forgotten_at IS NULL AND NOT j.orphan
			AND NOT EXISTS (SELECT FROM vibevideo.job n
							WHERE n.relation = j.relation AND n.vibelog_id = j.vibelog_id AND NOT n.orphan AND n.job_id > j.job_id)
		  ORDER BY j.completed_at DESC LIMIT most) f;
	IF c.jobs > 0 THEN
		RETURN NEXT vibevideo_internal.need('account', c.since, 'account at fal.ai',
			format('fal.ai has refused %s%s of the last hour (%s: %s). Look at key and balance there.',
				   CASE c.jobs WHEN most THEN 'more than ' END, CASE c.jobs WHEN 1 THEN 'a request' ELSE to_char(c.jobs, 'FM999,999,999') || ' requests' END, c.error_code, vibevideo_internal.quoted(c.error)),
			vibevideo_internal.plan_call('retry', '{"class": "balance", "since": "1h"}'), c.jobs, c.job_id, c.jobs = most);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_money() IS 'part of the inbox: the budget, and fal.ai''s refusals; owner only';

-- Submits whose answer was lost.  The worker finds most of them by itself, and ends
-- those that are to be cancelled: a person is needed if the policy leaves it to one,
-- or if it takes long.
CREATE FUNCTION vibevideo_internal.needs_of_lost_submits()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	patience constant interval = '5 minutes';
	unknown_after constant interval = current_setting('vibevideo.unknown_after');
	manual constant boolean = current_setting('vibevideo.unknown_policy') = 'manual';
	now constant timestamptz = clock_timestamp();
	most constant int = 1000;
	l record;
	j record;
BEGIN
	SELECT count(*) AS jobs, min(x.sent_at) AS since, min(x.job_id) AS first_id, max(x.job_id) AS job_id INTO l
	FROM (SELECT s.job_id, s.sent_at
		  FROM (SELECT y.job_id, coalesce(y.sent_at, y.created_at) AS sent_at, y.tries, y.orphan OR y.cancel_requested_at IS NOT NULL AS cancelled
				FROM vibevideo.job y WHERE y.state = 'submit_unknown' LIMIT vibevideo_internal.most()) s
		  WHERE CASE WHEN s.cancelled THEN s.sent_at < now - greatest(patience, unknown_after)
					 ELSE manual AND s.tries > 0 OR s.sent_at < now - patience END LIMIT most) x;
	IF l.jobs > 0 THEN
		SELECT x.tries, CASE WHEN x.leased_by IS NULL THEN x.next_at END AS next_at, x.sent_at, vibevideo_internal.quoted(x.error) AS error,
			   x.orphan OR x.cancel_requested_at IS NOT NULL AS cancelled INTO j
		FROM vibevideo.job x WHERE x.job_id = l.first_id;
		RETURN NEXT vibevideo_internal.need('lost_submit', l.since, vibevideo_internal.about_jobs(l.jobs, l.job_id, l.jobs = most),
			format('The answer of fal.ai was lost, and nobody knows whether it renders and charges. %s: %s; %s. This lists what fal.ai has that may be '
				   'it. If you know, SELECT vibevideo.resolve(%s, ''its request id''), or ''not_sent'' if fal.ai has none; that sends it again, and '
				   'pays twice if fal.ai has it after all.',
				   CASE l.jobs WHEN 1 THEN 'It' ELSE format('The first, job %s', l.first_id) END, vibevideo_internal.lost_looks(j.tries, j.next_at),
				   CASE WHEN j.cancelled THEN concat_ws(': ', 'it is to be cancelled, and ends once fal.ai''s list has been read', j.error)
						ELSE vibevideo_internal.lost_ends(j.sent_at, j.error) END,
				   CASE l.jobs WHEN 1 THEN l.job_id::text ELSE 'job_id' END),
			'SELECT (l.job).job_id, l.looked_at, l.complete, l.outcome, l.acts_at, l.candidates FROM vibevideo.lost() l;',
			l.jobs, l.job_id, l.jobs = most);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_lost_submits() IS 'part of the inbox: lost submits; owner only';

-- Failed jobs that only a person can do something about: those that were given up as
-- lost, or that the worker crashed with, and videos that were paid for and not
-- stored.  Not if the row has a newer job, or an operator has said that it is dealt
-- with.  A line each kind and error.
CREATE FUNCTION vibevideo_internal.needs_of_failures()
RETURNS SETOF vibevideo.inbox_row LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
BEGIN ATOMIC
	WITH paid AS (
		SELECT CASE WHEN j.orphan THEN 'orphan_video' ELSE 'dead_letter' END AS kind, j.job_id, j.relation, j.vibelog_id, j.error_code,
			   j.error, j.completed_at
		FROM vibevideo.job j
		WHERE j.state = 'failed' AND j.media_url IS NOT NULL AND j.forgotten_at IS NULL
		ORDER BY j.completed_at DESC LIMIT 2000
	), lost AS (
		SELECT 'given_up' AS kind, j.job_id, j.relation, j.vibelog_id, j.error_code, j.error, j.completed_at
		FROM vibevideo.job j
		WHERE (j.state = 'failed') IS TRUE AND j.error_code COLLATE pg_catalog."C" = 'submit_lost' AND j.next_at IS NULL
		  AND j.completed_at > now() - interval '7 days' AND j.media_url IS NULL AND j.forgotten_at IS NULL
		ORDER BY j.completed_at DESC LIMIT 2000
	), crashed AS (
		SELECT 'quarantined' AS kind, j.job_id, j.relation, j.vibelog_id, j.error_code, j.error, j.completed_at
		FROM vibevideo.job j
		WHERE (j.state = 'failed') IS TRUE AND j.error_code COLLATE pg_catalog."C" = 'quarantined' AND j.next_at IS NULL
		  AND j.completed_at > now() - interval '7 days' AND j.media_url IS NULL AND j.forgotten_at IS NULL
		ORDER BY j.completed_at DESC LIMIT 2000
	), failed AS (
		SELECT p.*, '{"paid_not_stored": true}' AS filter, (SELECT count(*) = 2000 FROM paid) AS more FROM paid p
		UNION ALL SELECT l.*, '{"error_code": "submit_lost"}', (SELECT count(*) = 2000 FROM lost) FROM lost l
		UNION ALL SELECT c.*, '{"error_code": "quarantined"}', (SELECT count(*) = 2000 FROM crashed) FROM crashed c
	), open AS (
		SELECT f.* FROM failed f
		WHERE NOT EXISTS (SELECT FROM vibevideo.job n
						  WHERE n.relation = f.relation AND n.vibelog_id = f.vibelog_id AND NOT n.orphan AND n.job_id > f.job_id)
	), grouped AS (
		SELECT o.kind, o.error_code, count(*) AS jobs, min(o.completed_at) AS since, max(o.job_id) AS job_id,
			   (array_agg(o.error ORDER BY o.job_id DESC))[1] AS error, bool_or(o.more) AS more
		FROM open o GROUP BY o.kind, o.error_code
	)
	SELECT n.*
	FROM grouped g
	CROSS JOIN LATERAL (SELECT concat_ws(': ', g.error_code, vibevideo_internal.quoted(g.error)) AS cause,
							   vibevideo_internal.plain_code(g.error_code) AS code) t
	CROSS JOIN LATERAL vibevideo_internal.need(g.kind, g.since, vibevideo_internal.about_jobs(g.jobs, g.job_id, g.more),
		CASE g.kind
		WHEN 'dead_letter' THEN
			format('Rendered and paid for, but not stored (%s). Fix the cause; then it is only copied again, as long as fal.ai keeps the file.',
				   t.cause)
		WHEN 'orphan_video' THEN
			format('Rendered and paid for, though the transaction that had requested it was rolled back (%s). A retry gives the video to the row.',
				   t.cause)
		WHEN 'given_up' THEN
			format('Its answer was lost, and fal.ai''s list shows no trace of it; nothing was sent again (%s). A retry is a new render.', t.cause)
		ELSE format('The worker crashed while it had this job, and does not touch it any more (%s).', t.cause) END,
		CASE WHEN g.jobs = 1 THEN format('SELECT vibevideo.retry(%s);', g.job_id)
			 WHEN g.kind = 'orphan_video' THEN
				vibevideo_internal.plan_call('forget_error',
											 jsonb_build_object('orphan', true, 'paid_not_stored', true, 'error_code', t.code))
			 WHEN g.kind = 'dead_letter' THEN vibevideo_internal.plan_call('retry', jsonb_build_object('paid_not_stored', true, 'error_code', t.code))
			 ELSE vibevideo_internal.plan_call('retry', jsonb_build_object('error_code', t.code, 'since', '7d')) END,
		g.jobs, g.job_id, g.more) n
	UNION ALL
	SELECT n.*
	FROM (SELECT f.filter FROM failed f WHERE f.more EXCEPT SELECT o.filter FROM open o) u
	CROSS JOIN LATERAL vibevideo_internal.need('unread', NULL, 'failures',
		'The last 2,000 of a kind need nobody, since their rows have newer jobs; those before them were not looked at.',
		format('SELECT * FROM vibevideo.list_jobs(%L);', u.filter), more => true) n;
END;
COMMENT ON FUNCTION vibevideo_internal.needs_of_failures() IS
	'part of the inbox: lost submits that were given up, quarantined jobs, videos that were paid for and not stored; owner only';

-- Rows: those that cannot be written, and jobs without one.
CREATE FUNCTION vibevideo_internal.needs_of_rows()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	most constant int = 1000;
	most_errors constant int = 20;
	b vibevideo.binding;
	r record;
BEGIN
	SELECT x.* INTO b FROM vibevideo.binding x;
	FOR r IN
		SELECT count(*) AS jobs, min(x.updated_at) AS since, max(x.job_id) AS job_id, x.row_error, bool_or(x.row_dirty) AS again,
			   sum(count(*)) OVER () >= most OR count(*) OVER () > most_errors AS more
		FROM (SELECT y.* FROM (
				(SELECT j.job_id, j.updated_at, j.row_error, true AS row_dirty FROM vibevideo.job j
				 WHERE j.row_dirty AND j.row_error IS NOT NULL LIMIT most)
				UNION ALL
				-- those that are not tried any more
				(SELECT j.job_id, j.updated_at, j.row_error, false FROM vibevideo.job j
				 WHERE j.row_error IS NOT NULL AND NOT j.row_dirty AND j.relation IS NOT NULL AND j.row_error <> 'the row no longer exists'
				   AND j.updated_at > now() - interval '7 days' LIMIT most)) y LIMIT most) x
		GROUP BY x.row_error ORDER BY min(x.updated_at) LIMIT most_errors
	LOOP
		RETURN NEXT vibevideo_internal.need('unwritten_row', r.since, vibevideo_internal.about_jobs(r.jobs, r.job_id, r.more),
			format('%s: %s. Fix what that says%s', CASE r.jobs WHEN 1 THEN 'Its row does not show the job' ELSE 'Their rows do not show the jobs' END,
				   vibevideo_internal.quoted(r.row_error),
				   CASE WHEN r.again THEN '; it is tried again automatically.' ELSE ', then retry.' END),
			CASE WHEN r.again THEN format('SELECT * FROM vibevideo.job_detail(%s);', r.job_id) ELSE 'SELECT vibevideo.reset_stuck(''0'');' END,
			r.jobs, r.job_id, r.more);
	END LOOP;

	FOR r IN SELECT o.* FROM vibevideo_internal.other_tables() o LIMIT 20 LOOP
		RETURN NEXT vibevideo_internal.need('no_table', NULL,
			format('%s %s', CASE WHEN r.gone THEN 'dropped table' ELSE 'table' END, vibevideo_internal.shown(r.name)),
			format('It is not attached, and has jobs: %s active, %s ended but not shown by their rows (jobs %s). If the attached '
				   'table has taken its place, with its rows, it can take the jobs over.', r.active, r.unwritten, r.examples),
			CASE WHEN b.relation IS NULL THEN format('SELECT vibevideo.attach(%s);', vibevideo_internal.table_literal(r.name))
				 ELSE format('SELECT vibevideo.attach(%s, adopt => %s);', vibevideo_internal.table_literal(b.relation::text),
							 vibevideo_internal.table_literal(r.name)) END,
			r.active + r.unwritten, split_part(r.examples, ',', 1)::bigint);
	END LOOP;

	SELECT count(*) AS jobs, min(x.created_at) AS since, max(x.job_id) AS job_id, array_agg(x.job_id) AS ids INTO r
	FROM (SELECT a.job_id, a.created_at FROM vibevideo_internal.active_jobs a WHERE a.relation IS NULL AND NOT a.orphan LIMIT most) x;
	IF r.jobs > 0 THEN
		RETURN NEXT vibevideo_internal.need('no_row', r.since, vibevideo_internal.about_jobs(r.jobs, r.job_id, r.jobs = most),
			'Its row is gone, and it is followed to its end all the same, since it may be paid for.',
			CASE WHEN r.jobs = 1 THEN format('SELECT vibevideo.cancel(%s);', r.job_id)
				 ELSE vibevideo_internal.plan_call('cancel', jsonb_build_object('job_id', r.ids[1:10])) END, r.jobs, r.job_id, r.jobs = most);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_rows() IS 'part of the inbox: rows that cannot be written, jobs without row or table; owner only';

-- What is to be erased and does not go.  A service that is down for a while needs nobody.
CREATE FUNCTION vibevideo_internal.needs_of_erasures()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
	most constant int = vibevideo_internal.most();
	r record;
BEGIN
	FOR r IN SELECT x.what, x.error_code, count(*) AS n, min(x.queued_at) AS since, max(x.job_id) AS job_id, max(x.error) AS error, count(*) = most AS more
			 FROM (SELECT y.* FROM vibevideo.erasure y
				   WHERE y.error_code IS NOT NULL AND (y.stuck OR y.queued_at < now() - interval '1 hour')
					  -- where the app's table cannot be read, nobody has an error to write
					  OR y.what = 'row' AND y.next_at < now() - interval '1 hour' AND EXISTS (SELECT FROM vibevideo.binding b WHERE NOT b.paused)
				   LIMIT most) x
			 GROUP BY x.what, x.error_code ORDER BY 4 LIMIT 20
	LOOP
		RETURN NEXT vibevideo_internal.need('erasure', r.since,
			CASE r.what WHEN 'fal' THEN 'what fal.ai keeps' WHEN 'storage' THEN 'files in Storage' ELSE 'videos of rows' END,
			format('%s cannot be erased: %s It is tried again at least once an hour.',
				   CASE WHEN r.n > 1 THEN to_char(r.n, 'FM999,999,999') || ' of them' ELSE 'One of them' END,
				   rtrim(coalesce(r.error, 'whether rows show them cannot be read: vibevideo.check_config() says why'), ' .') || '.'),
			format('SELECT * FROM vibevideo.erasure WHERE %s;', coalesce(format('error_code = %L', vibevideo_internal.plain_code(r.error_code)), format('what = %L', r.what))),
			NULL, r.job_id, r.more);
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs_of_erasures() IS 'part of the inbox: what is to be erased and cannot be; owner only';

-- The inbox, without a guard: a second is enough for what can be read by indexes, and
-- what is not read by then is said.
CREATE FUNCTION vibevideo_internal.needs()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	until constant timestamptz = clock_timestamp() + interval '1 second';
	parts constant text[] = ARRAY['database', 'services', 'money', 'fal', 'ledger', 'lost_submits', 'failures', 'rows', 'erasures', 'checks'];
	part text;
BEGIN
	FOREACH part IN ARRAY parts LOOP
		IF clock_timestamp() > until THEN
			RETURN NEXT vibevideo_internal.need('unread', NULL, part, 'There was no time to look at this; look again, or when the server has less to do.',
												'SELECT * FROM vibevideo.inbox();', more => true);
			CONTINUE;
		END IF;
		RETURN QUERY EXECUTE format('SELECT n.* FROM vibevideo_internal.%I() n', 'needs_of_' || part);
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.needs() IS 'what needs a person; owner only';

CREATE FUNCTION vibevideo.inbox()
RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql VOLATILE ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY SELECT n.* FROM vibevideo_internal.needs() n;
END
$$;
COMMENT ON FUNCTION vibevideo.inbox() IS
'Returns what needs a person, vibevideo.inbox_row, each with what to do about it as a statement that can be pasted; no
  row if nothing does. Jobs with the same trouble are one row, whose statement only makes a plan. Asks nobody over
  the network.
Errors: 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- Overview
-------------------------------------------------------------------------------

CREATE TYPE vibevideo.overview_row AS (
	as_of timestamptz,
	waiting int,
	at_fal int,
	copying int,
	more boolean,
	oldest_waiting_job_id bigint,
	oldest_waiting_since timestamptz,
	oldest_waiting_why text,
	done_today bigint,
	failed_today bigint,
	cancelled_today bigint,
	last_completed_at timestamptz,
	idle_since timestamptz,
	spent_today_usd numeric,
	reserved_today_usd numeric,
	budget_usd numeric,
	left_usd numeric,
	worker text,
	worker_detail text,
	fal_down_until timestamptz,
	storage_down_until timestamptz,
	paused text,
	needs_you int,
	needs_you_by_kind jsonb
);
COMMENT ON TYPE vibevideo.overview_row IS 'how things are';
COMMENT ON COLUMN vibevideo.overview_row.as_of IS 'when it was made';
COMMENT ON COLUMN vibevideo.overview_row.waiting IS 'jobs that fal.ai does not have yet, as far as is known; here and below, orphans are counted, too';
COMMENT ON COLUMN vibevideo.overview_row.at_fal IS 'jobs that wait or are rendered at fal.ai';
COMMENT ON COLUMN vibevideo.overview_row.copying IS 'videos that are being copied, or wait for that';
COMMENT ON COLUMN vibevideo.overview_row.more IS 'one of these three is larger than it says: no more than 100000 were counted';
COMMENT ON COLUMN vibevideo.overview_row.oldest_waiting_job_id IS 'of those that wait the one with the lowest number';
COMMENT ON COLUMN vibevideo.overview_row.oldest_waiting_since IS 'since when it waits';
COMMENT ON COLUMN vibevideo.overview_row.oldest_waiting_why IS 'what holds it';
COMMENT ON COLUMN vibevideo.overview_row.done_today IS 'videos stored since midnight UTC';
COMMENT ON COLUMN vibevideo.overview_row.failed_today IS 'jobs failed since then';
COMMENT ON COLUMN vibevideo.overview_row.cancelled_today IS 'jobs cancelled since then';
COMMENT ON COLUMN vibevideo.overview_row.last_completed_at IS 'when a video was stored last; NULL if none was, as far as that is known';
COMMENT ON COLUMN vibevideo.overview_row.idle_since IS 'since when there has been no unfinished job; NULL while there is one';
COMMENT ON COLUMN vibevideo.overview_row.spent_today_usd IS 'price, in USD, of videos requested since midnight UTC that were made';
COMMENT ON COLUMN vibevideo.overview_row.reserved_today_usd IS 'price, in USD, of those that are still to be made';
COMMENT ON COLUMN vibevideo.overview_row.budget_usd IS 'how many USD all users together may spend a day (vibevideo.limit); NULL if that is not limited';
COMMENT ON COLUMN vibevideo.overview_row.left_usd IS 'how many USD of it are left today';
COMMENT ON COLUMN vibevideo.overview_row.worker IS 'running, slow, idle (not running: nothing to do, or nothing may be done, as in a pause), or down';
COMMENT ON COLUMN vibevideo.overview_row.worker_detail IS 'the same as a sentence';
COMMENT ON COLUMN vibevideo.overview_row.fal_down_until IS 'fal.ai could not be reached, and is tried again then; NULL if all is well';
COMMENT ON COLUMN vibevideo.overview_row.storage_down_until IS 'the same of Storage';
COMMENT ON COLUMN vibevideo.overview_row.paused IS 'who has paused what, since when and why, or that this is a copy; NULL if nothing is paused';
COMMENT ON COLUMN vibevideo.overview_row.needs_you IS 'how many lines vibevideo.inbox() has';
COMMENT ON COLUMN vibevideo.overview_row.needs_you_by_kind IS 'how many of each kind';

-- When a video was stored last: among the last to end, else to the minute.
CREATE FUNCTION vibevideo_internal.last_completed()
RETURNS timestamptz LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
BEGIN ATOMIC
	SELECT coalesce((SELECT max(e.completed_at) FROM (SELECT j.state, j.completed_at FROM vibevideo.job j WHERE j.next_at IS NULL
													  ORDER BY j.completed_at DESC LIMIT 500) e WHERE e.state = 'completed'),
					(SELECT max(r.at) FROM vibevideo_internal.rollup_level r WHERE r.seconds = 60 AND r.outcome = 'completed'));
END;
COMMENT ON FUNCTION vibevideo_internal.last_completed() IS 'when a video was stored last; owner only';

CREATE FUNCTION vibevideo.overview()
RETURNS vibevideo.overview_row LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
	most constant int = vibevideo_internal.most();
	patience constant interval = '2 minutes';
	o vibevideo.overview_row;
	b vibevideo.binding;
	w record;
	waits record;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	SELECT x.* INTO b FROM vibevideo.binding x;
	o.as_of = clock_timestamp();

	SELECT count(*) AS n, min(x.job_id) AS oldest INTO waits
	FROM (SELECT p.job_id FROM vibevideo.job p WHERE p.state = 'pending'
		  UNION ALL SELECT s.job_id FROM vibevideo.job s WHERE s.state = 'submitting'
		  UNION ALL SELECT u.job_id FROM vibevideo.job u WHERE u.state = 'submit_unknown' LIMIT most) x;
	o.waiting = waits.n;
	SELECT count(*) INTO o.at_fal FROM (SELECT FROM vibevideo.job j WHERE j.state IN ('queued', 'generating') LIMIT most) x;
	SELECT count(*) INTO o.copying FROM (SELECT FROM vibevideo.job j WHERE j.state = 'processing' LIMIT most) x;
	o.more = most IN (o.waiting, o.at_fal, o.copying);
	SELECT j.job_id, j.created_at, (vibevideo_internal.reason_of(j.job_id)).sentence
	INTO o.oldest_waiting_job_id, o.oldest_waiting_since, o.oldest_waiting_why
	FROM vibevideo.job j WHERE j.job_id = waits.oldest;

	SELECT coalesce(sum(r.n) FILTER (WHERE r.outcome = 'completed'), 0), coalesce(sum(r.n) FILTER (WHERE r.outcome = 'failed'), 0),
		   coalesce(sum(r.n) FILTER (WHERE r.outcome = 'cancelled'), 0)
	INTO o.done_today, o.failed_today, o.cancelled_today
	FROM vibevideo.rollup r
	WHERE r.seconds = 86400 AND r.at = vibevideo_internal.today()::timestamp AT TIME ZONE 'UTC'
	  AND r.outcome IN ('completed', 'failed', 'cancelled') AND NOT r.orphan;
	o.last_completed_at = vibevideo_internal.last_completed();
	IF o.waiting + o.at_fal + o.copying = 0 THEN
		o.idle_since = coalesce((SELECT j.completed_at FROM vibevideo.job j WHERE j.next_at IS NULL AND j.completed_at IS NOT NULL
								 ORDER BY j.completed_at DESC LIMIT 1), b.attached_at);
	END IF;

	SELECT coalesce(sum(c.settled_usd), 0), coalesce(sum(c.reserved_usd), 0) INTO o.spent_today_usd, o.reserved_today_usd
	FROM vibevideo.costs_by_day c WHERE c.day = vibevideo_internal.today();
	o.budget_usd = (SELECT nullif(l.spend_per_day_usd, -1) FROM vibevideo.limit l WHERE l.scope = 'global');
	o.left_usd = CASE WHEN o.budget_usd IS NOT NULL THEN greatest(0, o.budget_usd - o.spent_today_usd - o.reserved_today_usd) END;

	SELECT i.* INTO w FROM vibevideo.worker_info() i;
	o.worker = CASE WHEN w.pid IS NULL AND (o.idle_since IS NOT NULL OR vibevideo_internal.rests_by() IS NOT NULL) THEN 'idle' WHEN w.pid IS NULL THEN 'down'
					WHEN coalesce(w.heartbeat_at, w.started_at) > o.as_of - patience THEN 'running' ELSE 'slow' END;
	o.worker_detail = CASE o.worker WHEN 'idle' THEN 'not running: ' || CASE WHEN o.idle_since IS NULL THEN 'no job is worked on here' ELSE 'there is no work for it' END
		WHEN 'down' THEN concat_ws('; ', concat_ws(': ', 'not running', w.absence), 'it is started again at ' || vibevideo_internal.clock(w.restart_at))
		ELSE format('process %s, last turn %s', w.pid, vibevideo_internal.ago(coalesce(w.heartbeat_at, w.started_at))) END;
	o.fal_down_until = w.fal_down_until;
	o.storage_down_until = w.storage_down_until;
	o.paused = vibevideo_internal.pause_cause(b);

	SELECT coalesce(sum(k.n), 0), coalesce(jsonb_object_agg(k.kind, k.n), '{}') INTO o.needs_you, o.needs_you_by_kind
	FROM (SELECT n.kind, count(*) AS n FROM vibevideo_internal.needs() n GROUP BY n.kind) k;
	RETURN o;
END
$$;
COMMENT ON FUNCTION vibevideo.overview() IS
'Returns how things are in one row, a vibevideo.overview_row: active jobs, what became of today''s, money, the worker, a
  pause, and how much needs a person.
Errors: 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- Errors
-------------------------------------------------------------------------------

CREATE TYPE vibevideo.error_group AS (
	error_class text,
	error_code text,
	model text,
	jobs bigint,
	first_at timestamptz,
	last_at timestamptz,
	trend int[],
	example_job_id bigint,
	example text,
	more boolean
);
COMMENT ON TYPE vibevideo.error_group IS 'jobs that failed with the same error of the same model';
COMMENT ON COLUMN vibevideo.error_group.error_class IS 'what kind of trouble it is';
COMMENT ON COLUMN vibevideo.error_group.error_code IS 'the error, for programs';
COMMENT ON COLUMN vibevideo.error_group.model IS 'fal.ai''s endpoint id';
COMMENT ON COLUMN vibevideo.error_group.jobs IS 'how many jobs failed with it since then, orphans included, without those that an operator has forgotten';
COMMENT ON COLUMN vibevideo.error_group.first_at IS 'when it was first seen among the jobs that are kept';
COMMENT ON COLUMN vibevideo.error_group.last_at IS 'when it was last seen';
COMMENT ON COLUMN vibevideo.error_group.trend IS 'how many in each twelfth of the time since then, the last one is now';
COMMENT ON COLUMN vibevideo.error_group.example_job_id IS 'the last job with it';
COMMENT ON COLUMN vibevideo.error_group.example IS 'its words, cut at 500 characters';
COMMENT ON COLUMN vibevideo.error_group.more IS 'not all failed jobs of that time were counted: only the last 10000 of each error_code or, where there are more than 200 codes, only those of the last 1000 failures and 200 others';

CREATE FUNCTION vibevideo.error_groups(since timestamptz DEFAULT now() - interval '1 day')
RETURNS SETOF vibevideo.error_group LANGUAGE plpgsql STABLE ROWS 20 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
	most constant int = 10000;
	parts constant int = 12;
	most_codes constant int = 200;
	most_recent constant int = 1000;
	-- the beginnings of the parts
	bounds timestamptz[];
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	PERFORM vibevideo_internal.check_since(since);
	bounds = ARRAY(SELECT since + p * ((now() - since) / parts) FROM generate_series(0, parts - 1) p);
	RETURN QUERY
	-- if somebody makes up very many codes, those of the last failures are not lost among them
	WITH found AS (
		SELECT c.code FROM vibevideo_internal.error_codes(most_codes + 1) AS c(code)
	), known AS (
		SELECT f.code FROM found f
		UNION
		SELECT r.error_code FROM (SELECT j.error_code FROM vibevideo.job j
								  WHERE j.state = 'failed' AND j.completed_at >= since ORDER BY j.completed_at DESC LIMIT most_recent) r
		WHERE r.error_code IS NOT NULL
	), part AS (
		-- what is forgotten is looked at, too, and not counted
		SELECT h.code, f.model, width_bucket(f.completed_at, bounds) AS nth, count(*) AS looked, count(f.open_id) AS n,
			   max(f.completed_at) FILTER (WHERE f.open_id IS NOT NULL) AS last_at, min(f.completed_at) FILTER (WHERE f.open_id IS NOT NULL) AS first_at,
			   max(f.open_id) AS job_id
		FROM known h CROSS JOIN LATERAL (
			SELECT j.model, j.completed_at, CASE WHEN j.forgotten_at IS NULL THEN j.job_id END AS open_id FROM vibevideo.job j
			WHERE j.error_code COLLATE pg_catalog."C" = h.code AND j.next_at IS NULL AND (j.state = 'failed') IS TRUE AND j.completed_at >= since
			ORDER BY j.completed_at DESC LIMIT most) f
		GROUP BY 1, 2, 3
	), grouped AS (
		SELECT p.code, p.model, sum(p.n)::bigint AS jobs, min(p.first_at) AS first_at, max(p.last_at) AS last_at, max(p.job_id) AS job_id,
			   sum(sum(p.looked)) OVER (PARTITION BY p.code) >= most OR (SELECT count(*) > most_codes FROM found) AS more
		FROM part p GROUP BY p.code, p.model
	)
	SELECT vibevideo.error_class(g.code), g.code, g.model, g.jobs,
		   -- the first ever: among the oldest with this code
		   coalesce((SELECT min(o.completed_at) FROM (
						SELECT j.model, j.completed_at FROM vibevideo.job j
						WHERE j.error_code COLLATE pg_catalog."C" = g.code AND j.next_at IS NULL AND (j.state = 'failed') IS TRUE
						ORDER BY j.completed_at LIMIT most) o WHERE o.model = g.model), g.first_at),
		   g.last_at,
		   ARRAY(SELECT coalesce(p.n, 0)::int FROM generate_series(1, parts) s
				 LEFT JOIN part p ON p.code = g.code AND p.model = g.model AND p.nth = s ORDER BY s),
		   g.job_id, left(x.error, 500), g.more
	FROM grouped g LEFT JOIN vibevideo.job x ON x.job_id = g.job_id
	WHERE g.jobs > 0
	ORDER BY g.jobs DESC, g.code, g.model;
END
$$;
COMMENT ON FUNCTION vibevideo.error_groups(timestamptz) IS
'Returns what went wrong, vibevideo.error_group: failed jobs by class, error and model, the most frequent first, with
  first and last time, trend and example. What an operator has forgotten (vibevideo.plan) is left out.
since: failed since then; default: a day ago.
Errors: 22023 since is not a time; 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- Users
-------------------------------------------------------------------------------

CREATE TYPE vibevideo.user_row AS (
	user_id text,
	active bigint,
	submits_today bigint,
	videos_today bigint,
	spent_today_usd numeric,
	reserved_usd numeric,
	submits bigint,
	videos bigint,
	spent_usd numeric,
	share real,
	max_active int,
	submits_per_day int,
	spend_per_day_usd numeric,
	more boolean,
	bound text
);
COMMENT ON TYPE vibevideo.user_row IS 'what a user has in work, has requested and spent';
COMMENT ON COLUMN vibevideo.user_row.user_id IS 'who, NULL for jobs of which nobody knows that';
COMMENT ON COLUMN vibevideo.user_row.active IS 'unfinished jobs, orphans included';
COMMENT ON COLUMN vibevideo.user_row.submits_today IS 'videos requested since midnight UTC';
COMMENT ON COLUMN vibevideo.user_row.videos_today IS 'those of them that are made';
COMMENT ON COLUMN vibevideo.user_row.spent_today_usd IS 'their price, in USD';
COMMENT ON COLUMN vibevideo.user_row.reserved_usd IS 'price, in USD, of unfinished jobs whose video is not made yet';
COMMENT ON COLUMN vibevideo.user_row.submits IS 'videos requested since the day of UTC that was asked for';
COMMENT ON COLUMN vibevideo.user_row.videos IS 'those of them that are made';
COMMENT ON COLUMN vibevideo.user_row.spent_usd IS 'their price, in USD';
COMMENT ON COLUMN vibevideo.user_row.share IS 'which part of what all users have spent since then, from 0 to 1; NULL if nobody has spent anything';
COMMENT ON COLUMN vibevideo.user_row.max_active IS 'the limit that counts for the user (vibevideo.limit), NULL if there is none; also of the following two';
COMMENT ON COLUMN vibevideo.user_row.submits_per_day IS 'videos requested a day';
COMMENT ON COLUMN vibevideo.user_row.spend_per_day_usd IS 'how many USD may be spent a day';
COMMENT ON COLUMN vibevideo.user_row.more IS 'there are more users, and one of them may belong before this one';
COMMENT ON COLUMN vibevideo.user_row.bound IS 'why the list ends where it does: most, if there may be more users; NULL if these are all; the same in each row';

-- What users have requested and spent in a time, by whole days of UTC: of those with
-- the most to spend in the months that it touches, which is at least as much, the
-- ones with the most.  beyond: nobody else has spent more than that.
CREATE FUNCTION vibevideo_internal.spenders(first_day date, most int)
RETURNS TABLE (user_id text, beyond numeric) LANGUAGE sql STABLE ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
BEGIN ATOMIC
	WITH months AS (
		SELECT c.user_id, sum(c.settled_usd) AS usd, sum(c.submits) AS submits
		FROM (SELECT p.user_id, p.settled_usd, p.submits FROM vibevideo_internal.past_costs_by_month p
			  WHERE p.month >= date_trunc('month', first_day::timestamp)::date
			  UNION ALL
			  SELECT n.user_id, n.settled_usd, n.submits FROM vibevideo_internal.new_costs n
			  WHERE n.day >= date_trunc('month', first_day::timestamp)::date) c
		GROUP BY c.user_id ORDER BY 2 DESC, 3 DESC, 1 LIMIT most + 1
	)
	SELECT m.user_id, (SELECT x.usd FROM months x ORDER BY x.usd DESC, x.submits DESC, x.user_id OFFSET most) FROM months m;
END;
COMMENT ON FUNCTION vibevideo_internal.spenders(date, int) IS 'part of users: who may have spent the most since a day; owner only';

CREATE FUNCTION vibevideo.users(since timestamptz DEFAULT now() - interval '30 days', most int DEFAULT 50)
RETURNS SETOF vibevideo.user_row LANGUAGE plpgsql STABLE ROWS 50 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	first_day date;
	candidates int;
	today constant date = vibevideo_internal.today();
	total numeric;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	PERFORM vibevideo_internal.check_since(since);
	PERFORM vibevideo_internal.check_most('most', most, 1000);
	candidates = 2 * most;
	first_day = (since AT TIME ZONE 'UTC')::date;
	total = (SELECT sum(p.settled_usd) FROM vibevideo_internal.past_costs_by_day p WHERE p.day >= first_day);
	total = coalesce(total, 0) + (SELECT coalesce(sum(n.settled_usd), 0) FROM vibevideo_internal.new_costs n WHERE n.day >= first_day);
	RETURN QUERY
	WITH working AS (
		SELECT o.user_id, sum(o.active)::bigint AS active, sum(o.reserved_usd) AS reserved_usd,
			   sum(o.submits) FILTER (WHERE o.day = today) AS submits_today, sum(o.videos) FILTER (WHERE o.day = today) AS videos_today,
			   sum(o.settled_usd) FILTER (WHERE o.day = today) AS spent_today,
			   sum(o.submits) FILTER (WHERE o.day >= first_day) AS submits, sum(o.videos) FILTER (WHERE o.day >= first_day) AS videos,
			   sum(o.settled_usd) FILTER (WHERE o.day >= first_day) AS spent, row_number() OVER (ORDER BY sum(o.active) DESC, o.user_id) AS nth
		FROM (SELECT x.* FROM vibevideo_internal.open_costs x LIMIT vibevideo_internal.most()) o GROUP BY o.user_id
	), spender AS (
		SELECT s.user_id, s.beyond FROM vibevideo_internal.spenders(first_day, candidates) s
	), candidate AS (
		SELECT s.user_id FROM spender s UNION SELECT w.user_id FROM working w WHERE w.nth <= candidates
	), past AS (
		SELECT p.user_id, sum(p.submits) AS submits, sum(p.videos) AS videos, sum(p.settled_usd) AS spent,
			   sum(p.submits) FILTER (WHERE p.day = today) AS submits_today, sum(p.videos) FILTER (WHERE p.day = today) AS videos_today,
			   sum(p.settled_usd) FILTER (WHERE p.day = today) AS spent_today
		FROM (SELECT c.user_id, c.day, c.submits, c.videos, c.settled_usd
			  FROM candidate k JOIN vibevideo.past_costs c ON c.user_id = k.user_id AND c.day >= first_day
			  UNION ALL
			  -- read once: there are many while the worker does not add them up
			  SELECT n.user_id, n.day, n.submits, n.videos, n.settled_usd
			  FROM vibevideo_internal.new_costs n WHERE n.user_id IN (SELECT k.user_id FROM candidate k) AND n.day >= first_day) p
		GROUP BY p.user_id
	), figures AS (
		SELECT k.user_id, coalesce(w.active, 0) AS active, coalesce(p.submits_today, 0) + coalesce(w.submits_today, 0) AS submits_today,
			   coalesce(p.videos_today, 0) + coalesce(w.videos_today, 0) AS videos_today,
			   coalesce(p.spent_today, 0) + coalesce(w.spent_today, 0) AS spent_today, coalesce(w.reserved_usd, 0) AS reserved_usd,
			   coalesce(p.submits, 0) + coalesce(w.submits, 0) AS submits, coalesce(p.videos, 0) + coalesce(w.videos, 0) AS videos,
			   coalesce(p.spent, 0) + coalesce(w.spent, 0) AS spent
		FROM candidate k LEFT JOIN working w USING (user_id) LEFT JOIN past p USING (user_id)
	)
	SELECT nullif(f.user_id, ''), f.active, f.submits_today::bigint, f.videos_today::bigint, f.spent_today, f.reserved_usd,
		   f.submits::bigint, f.videos::bigint, f.spent,
		   (f.spent / nullif(total + (SELECT coalesce(sum(w.spent), 0) FROM working w), 0))::real,
		   l.max_active, l.submits_per_day, l.spend_per_day_usd,
		   coalesce(f.active = 0 AND f.spent < (SELECT max(s.beyond) FROM spender s), false)
			   OR (SELECT count(*) FROM working) > candidates AND f.active <= (SELECT min(w.active) FROM working w WHERE w.nth <= candidates)
			   OR coalesce((SELECT sum(w.active) FROM working w) >= vibevideo_internal.most(), false),
		   CASE WHEN f.found > users.most OR (SELECT max(s.beyond) FROM spender s) IS NOT NULL
					 OR (SELECT sum(w.active) FROM working w) >= vibevideo_internal.most() THEN 'most' END
	FROM (SELECT x.*, count(*) OVER () AS found FROM figures x WHERE x.active > 0 OR x.submits > 0 OR x.videos > 0
		  ORDER BY x.active DESC, x.spent DESC, x.submits DESC, x.user_id LIMIT most) f
	LEFT JOIN LATERAL (SELECT y.* FROM vibevideo_internal.limits_for(nullif(f.user_id, '')) y WHERE y.who <> 'global') l ON true
	ORDER BY f.active DESC, f.spent DESC, f.submits DESC, f.user_id;
END
$$;
COMMENT ON FUNCTION vibevideo.users(timestamptz, int) IS
'Returns what users have in work, have requested and spent, and their limits, vibevideo.user_row: those with the most
  in work first, then those who have spent the most.
since: requested since then, the day of UTC that it is in counts whole; default: 30 days ago.
most: how many users at most, 1 to 1000; default: 50.
Errors: 22023 since is not a time, or a bad most; 42501 not a viewer.
For viewers and operators.';

-------------------------------------------------------------------------------
-- psql: views that fit 80 columns.  sql/console.sql shows them.
-------------------------------------------------------------------------------

CREATE FUNCTION vibevideo_internal.fit(words text, width int)
RETURNS text LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_fit';
COMMENT ON FUNCTION vibevideo_internal.fit(text, int) IS 'a text on one line that is no wider than so many columns of a terminal; owner only';
CREATE FUNCTION vibevideo_internal.wrap(words text, width int)
RETURNS text[] LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'vibevideo_wrap';
COMMENT ON FUNCTION vibevideo_internal.wrap(text, int) IS 'a text in lines that are no wider than so many columns of a terminal; owner only';

-- Nothing of a text but its beginning stands at the beginning of a line: what somebody
-- else has written is not to look like a statement of ours.
CREATE FUNCTION vibevideo_internal.hang(words text)
RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(array_agg(CASE WHEN w.nth > 1 THEN '  ' || w.line ELSE w.line END ORDER BY w.nth), '{}')
	FROM unnest(vibevideo_internal.wrap(words, 76)) WITH ORDINALITY AS w(line, nth);
END;
COMMENT ON FUNCTION vibevideo_internal.hang(text) IS 'a text in lines of at most 78 columns, all but the first indented; owner only';

-- An inner state in a word.
CREATE FUNCTION vibevideo_internal.short_state(state text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE state WHEN 'pending' THEN 'waiting' WHEN 'submitting' THEN 'sending' WHEN 'submit_unknown' THEN 'lost' WHEN 'queued' THEN 'at fal'
	WHEN 'generating' THEN 'rendering' WHEN 'processing' THEN 'copying' WHEN 'completed' THEN 'done' ELSE state END;
COMMENT ON FUNCTION vibevideo_internal.short_state(text) IS 'an inner state in a word of at most 9 letters; owner only';

-- The 40 that are oldest.  What the numbers need is taken from the reasons.
CREATE FUNCTION vibevideo_internal.now_lines()
RETURNS TABLE (job bigint, "row" text, state text, why text, due text) LANGUAGE plpgsql STABLE ROWS 40 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY
	SELECT j.job_id, vibevideo_internal.fit(j.vibelog_id, 10), vibevideo_internal.short_state(j.state),
		   vibevideo_internal.fit(coalesce((j.r).sentence, ''), 34 - greatest(0, max(length(j.job_id::text)) OVER () - 8)),
		   CASE WHEN j.leased_by IS NOT NULL THEN 'busy'
				WHEN (j.r).until IS NULL AND (j.r).code NOT IN ('next', 'sending', 'lost', 'cancel', 'backoff', 'fal_queue', 'rendering') THEN ''
				WHEN coalesce((j.r).until, j.next_at) <= clock_timestamp() THEN 'now'
				WHEN NOT isfinite(coalesce((j.r).until, j.next_at)) THEN 'never'
				ELSE vibevideo_internal.fit(vibevideo_internal.span(coalesce((j.r).until, j.next_at) - clock_timestamp()), 6) END
	FROM (SELECT x.job_id, x.vibelog_id, x.state, x.next_at, x.leased_by, vibevideo_internal.reason_of(x.job_id) AS r
		  FROM vibevideo.job x
		  WHERE x.job_id = ANY (ARRAY(SELECT a.job_id FROM (SELECT y.job_id FROM vibevideo_internal.active_jobs y LIMIT vibevideo_internal.most()) a
									  ORDER BY a.job_id LIMIT 40))
		  OFFSET 0) j
	ORDER BY j.job_id;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.now_lines() IS 'lines of view vibevideo.now; for viewers';
CREATE VIEW vibevideo.now AS SELECT n.job, n."row", n.state, n.why, n.due FROM vibevideo_internal.now_lines() n;
COMMENT ON VIEW vibevideo.now IS 'the 40 oldest unfinished jobs, for psql''s \watch; 80 columns wide';
COMMENT ON COLUMN vibevideo.now.job IS 'the job''s number';
COMMENT ON COLUMN vibevideo.now."row" IS 'the key of its row, cut';
COMMENT ON COLUMN vibevideo.now.state IS 'waiting, sending, lost, at fal, rendering or copying';
COMMENT ON COLUMN vibevideo.now.why IS 'what holds it, cut; vibevideo.why(job) has all of it';
COMMENT ON COLUMN vibevideo.now.due IS 'when it is acted on next: in so much time, now, never, or busy: somebody is at it; empty if nobody knows';

-- Figures of today, by model.
CREATE FUNCTION vibevideo_internal.today_lines()
RETURNS TABLE (model text, asked bigint, done bigint, failed bigint, active bigint, usd numeric)
LANGUAGE plpgsql STABLE ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY
	WITH costs AS (
		SELECT c.model, sum(c.submits) AS asked, sum(c.active) AS active, sum(c.settled_usd) AS usd
		FROM (SELECT d.model, d.submits, d.active, d.settled_usd FROM vibevideo.costs_by_day d
			  WHERE d.day = vibevideo_internal.today()) c GROUP BY c.model
	), steps AS (
		SELECT r.model, sum(r.n) FILTER (WHERE r.outcome = 'completed') AS done, sum(r.n) FILTER (WHERE r.outcome = 'failed') AS failed
		FROM vibevideo.rollup r
		WHERE r.seconds = 86400 AND r.at = vibevideo_internal.today()::timestamp AT TIME ZONE 'UTC'
		  AND r.outcome IN ('completed', 'failed') AND NOT r.orphan
		GROUP BY r.model
	), models AS (
		SELECT coalesce(c.model, s.model) AS model, coalesce(c.asked, 0)::bigint AS asked, coalesce(s.done, 0)::bigint AS done,
			   coalesce(s.failed, 0)::bigint AS failed, coalesce(c.active, 0)::bigint AS active, coalesce(c.usd, 0) AS usd
		FROM costs c FULL JOIN steps s ON s.model = c.model
	)
	SELECT x.model, x.asked, x.done, x.failed, x.active, round(x.usd, 2)
	FROM ((SELECT 1 AS part, vibevideo_internal.fit(m.model, 27) AS model, m.asked, m.done, m.failed, m.active, m.usd FROM models m
		   ORDER BY m.asked DESC, m.done DESC, m.model LIMIT 30)
		  UNION ALL
		  SELECT 2, 'all', coalesce(sum(m.asked), 0)::bigint, coalesce(sum(m.done), 0)::bigint, coalesce(sum(m.failed), 0)::bigint,
				 coalesce(sum(m.active), 0)::bigint, coalesce(sum(m.usd), 0) FROM models m) x
	ORDER BY x.part, x.asked DESC, x.done DESC, x.model;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.today_lines() IS 'lines of view vibevideo.today; for viewers';
CREATE VIEW vibevideo.today AS SELECT t.model, t.asked, t.done, t.failed, t.active, t.usd FROM vibevideo_internal.today_lines() t;
COMMENT ON VIEW vibevideo.today IS 'the day so far, from midnight UTC, by model and together; 80 columns wide';
COMMENT ON COLUMN vibevideo.today.model IS 'fal.ai''s endpoint id, cut';
COMMENT ON COLUMN vibevideo.today.asked IS 'videos requested today';
COMMENT ON COLUMN vibevideo.today.done IS 'videos stored today, whenever they were requested';
COMMENT ON COLUMN vibevideo.today.failed IS 'jobs failed today, whenever they were requested';
COMMENT ON COLUMN vibevideo.today.active IS 'those requested today that have not ended';
COMMENT ON COLUMN vibevideo.today.usd IS 'price, in USD, of those requested today that are made';

-- The inbox in lines: what is the matter, then the statement, which may be copied out
-- of several lines.  What is the matter may quote a key or an error in which somebody
-- has written a statement: of that all lines but the first are indented, and the first
-- begins with our words.
CREATE FUNCTION vibevideo_internal.inbox_lines()
RETURNS TABLE ("needs you" text) LANGUAGE plpgsql VOLATILE ROWS 30 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	n vibevideo.inbox_row;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	FOR n IN SELECT x.* FROM vibevideo_internal.needs() x LOOP
		RETURN QUERY SELECT l FROM unnest(
			vibevideo_internal.hang(concat_ws(': ', concat_ws(', since ', upper(left(n.subject, 1)) || substr(n.subject, 2),
													  -- of a pause the sentence says it
													  CASE WHEN n.kind <> 'paused' THEN to_char(n.since, 'YYYY-MM-DD HH24:MIOF') END), n.sentence))
			-- as it is shown in psql
			|| vibevideo_internal.wrap(regexp_replace(regexp_replace(n.action, '^SELECT [*] FROM vibevideo[.]plan[(]', 'SELECT * FROM vibevideo.show_plan('),
													  '^SELECT [*] FROM vibevideo[.]job_detail[(]', 'SELECT * FROM vibevideo.show_job('), 78)
			|| ''::text) l;
	END LOOP;
	IF NOT FOUND THEN
		"needs you" = 'Nothing needs you.';
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.inbox_lines() IS 'lines of view vibevideo.inbox; for viewers';
CREATE VIEW vibevideo.inbox AS SELECT i."needs you" FROM vibevideo_internal.inbox_lines() i;
COMMENT ON VIEW vibevideo.inbox IS 'vibevideo.inbox() in lines; 80 columns wide';
COMMENT ON COLUMN vibevideo.inbox."needs you" IS 'what needs a person, its lines but the first indented, then the statement that does something about it, then an empty line';

-------------------------------------------------------------------------------
-- psql: what does not fit a table, in lines
-------------------------------------------------------------------------------

-- A label, and beside it a text in lines; none for no text.
CREATE FUNCTION vibevideo_internal.labelled(label text, words text)
RETURNS text[] LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(array_agg(rpad(CASE w.nth WHEN 1 THEN label ELSE '' END, 11) || w.line ORDER BY w.nth), '{}')
	FROM unnest(vibevideo_internal.wrap(words, 67)) WITH ORDINALITY AS w(line, nth) WHERE words <> '';
END;
COMMENT ON FUNCTION vibevideo_internal.labelled(text, text) IS 'a label of at most 10 letters and a text, in lines for psql; owner only';

CREATE FUNCTION vibevideo_internal.whole_time(at timestamptz)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN to_char(at, 'YYYY-MM-DD HH24:MI:SS TZ');
COMMENT ON FUNCTION vibevideo_internal.whole_time(timestamptz) IS 'a time with date and time zone, for people; owner only';

-- What a job costs, and how that is known.
CREATE FUNCTION vibevideo_internal.cost_words(j vibevideo.job_details)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN (j).cost_source IS NULL AND vibevideo.is_active(((j).job).state)
			THEN coalesce(trim_scale(((j).job).cost_usd) || ' USD at most', 'not known')
			ELSE coalesce(trim_scale(((j).job).cost_usd) || ' USD', 'not known')
				 || CASE (j).cost_source WHEN 'bill' THEN ', as fal.ai has billed it' WHEN 'units' THEN ', as fal.ai says that it bills'
										 WHEN 'duration' THEN ', by the length of the stored video'
										 WHEN 'estimate' THEN ', as estimated by what was asked for'
										 ELSE CASE WHEN ((j).job).cost_usd = 0 THEN ', nothing was billed' ELSE '' END END
				 || coalesce('; it could have cost ' || trim_scale(nullif((j).cost_estimated_usd, ((j).job).cost_usd)), '') END;
COMMENT ON FUNCTION vibevideo_internal.cost_words(vibevideo.job_details) IS 'what a job costs, in words for psql; owner only';

CREATE FUNCTION vibevideo.show_job(job_id bigint)
RETURNS TABLE (line text) LANGUAGE plpgsql STABLE ROWS 40 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	d vibevideo.job_details;
	j vibevideo.job_row;
	e vibevideo.job_event;
	a vibevideo.job_row;
	s vibevideo.job_step;
	lines text[];
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	SELECT x.* INTO d FROM vibevideo.job_detail(show_job.job_id) x;
	j = d.job;
	lines = vibevideo_internal.hang(format('Job %s, row %s of %s, attempt %s: %s', j.job_id, j.vibelog_id, coalesce(d.relation, 'no table'), j.attempt, j.state))
		|| ''::text
		|| vibevideo_internal.labelled('why', (vibevideo_internal.reason_of(j.job_id)).sentence)
		-- which its end has named, unless it is long
		|| vibevideo_internal.labelled('error', CASE WHEN vibevideo.is_active(j.state) OR d.row_dirty OR length(d.error) > 200
													 THEN concat_ws(': ', j.error_code, d.error) END)
		|| vibevideo_internal.labelled('row error', d.row_error)
		|| vibevideo_internal.labelled('users read', j.message)
		|| vibevideo_internal.labelled('forgotten', vibevideo_internal.whole_time(j.forgotten_at))
		|| vibevideo_internal.labelled('user', j.user_id)
		|| vibevideo_internal.labelled('model', j.model)
		|| vibevideo_internal.labelled('costs', vibevideo_internal.cost_words(d))
		|| vibevideo_internal.labelled('held', trim_scale(d.held_usd) || ' USD, which fal.ai may yet bill')
		|| vibevideo_internal.labelled('request', j.request_id)
		|| vibevideo_internal.labelled('at fal.ai', d.fal_url)
		|| vibevideo_internal.labelled('made', d.media_url)
		|| vibevideo_internal.labelled('stored', coalesce(j.video_url, d.bucket || '/' || d.object_key))
		|| vibevideo_internal.labelled('erased', vibevideo_internal.whole_time(d.erased_at))
		|| vibevideo_internal.labelled('input', d.input::text);
	FOREACH s IN ARRAY d.timeline LOOP
		lines = lines || vibevideo_internal.labelled(s.step, concat_ws(', ', vibevideo_internal.whole_time(s.at), vibevideo_internal.span(s.took) || ' later'));
	END LOOP;
	IF cardinality(d.events) > 0 THEN
		lines = lines || ''::text || 'History:'::text;
	END IF;
	FOREACH e IN ARRAY d.events LOOP
		lines = lines || vibevideo_internal.labelled(to_char(e.at, 'HH24:MI:SS'), concat_ws(': ', e.state, e.error_code, e.detail));
	END LOOP;
	IF cardinality(d.attempts) > 0 THEN
		lines = lines || ''::text || 'Attempts:'::text;
	END IF;
	FOREACH a IN ARRAY d.attempts LOOP
		lines = lines || vibevideo_internal.labelled(a.attempt::text, concat_ws(', ', format('job %s', a.job_id), a.state, a.error_code,
																				  vibevideo_internal.whole_time(a.created_at)));
	END LOOP;
	IF d.more THEN
		lines = lines || 'There are more changes of state or attempts than these.'::text;
	END IF;
	RETURN QUERY SELECT l FROM unnest(lines) l;
END
$$;
COMMENT ON FUNCTION vibevideo.show_job(bigint) IS
'Shows what vibevideo.job_detail returns, for psql: in lines of at most 78 columns.
job_id: the job''s number.
Returns lines:
line: one of them.
Errors: PT404 no such job; 22004 it is null; 42501 not a viewer.
For viewers and operators.';

CREATE FUNCTION vibevideo.show_jobs(filter jsonb DEFAULT '{}', max_jobs int DEFAULT 20)
RETURNS TABLE (job bigint, "row" text, state text, "user" text, age text, what text)
LANGUAGE plpgsql STABLE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	page vibevideo.job_page;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	page = vibevideo.list_jobs(filter, max_jobs => max_jobs);
	RETURN QUERY
	SELECT j.job_id, vibevideo_internal.fit(j.vibelog_id, 10), vibevideo_internal.short_state(j.state), vibevideo_internal.fit(coalesce(j.user_id, ''), 10),
		   vibevideo_internal.fit(vibevideo_internal.span(clock_timestamp() - j.created_at), 6),
		   vibevideo_internal.fit(coalesce(j.why, j.error_code, ''), 20 - greatest(0, max(length(j.job_id::text)) OVER () - 8))
	FROM unnest(page.jobs) WITH ORDINALITY j ORDER BY j.ordinality;
	IF page.next IS NOT NULL THEN
		RETURN QUERY SELECT NULL::bigint, '…', '', '', '', 'and more'::text;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo.show_jobs(jsonb, int) IS
'Shows what vibevideo.list_jobs returns, for psql: a table 80 columns wide.
filter: as of vibevideo.plan, {} for all; default: all.
max_jobs: how many at most, 1 to 1000; default: 20. A last row says that there are more.
Returns a row for each job:
job, row, user: its number, its row''s key and its user, cut.
state: as in view vibevideo.now; or done, failed, cancelled.
age: how long ago it was requested.
what: what holds it, or the error that it ended with, cut.
Errors: 22023 a bad filter or max_jobs; 42501 not a viewer, or the filter has prompt and the caller may not see
  prompts.
For viewers and operators.';

-- What is to be pasted is not broken inside of a string.
CREATE FUNCTION vibevideo.show_plan(action text, filter jsonb, max_jobs int DEFAULT 1000)
RETURNS TABLE (line text) LANGUAGE plpgsql VOLATILE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	p record;
	x jsonb;
	lines text[];
BEGIN
	PERFORM vibevideo_internal.require('operator');
	SELECT y.* INTO p FROM vibevideo.plan(action, filter, max_jobs) y;
	lines = vibevideo_internal.hang(CASE WHEN p.token IS NULL THEN format('%s: there is nothing to do.', action)
		ELSE format('%s: %s of %s, for %s USD at most.', action, vibevideo_internal.how_many(p.jobs, 'job'),
					vibevideo_internal.how_many(p.users, 'user'), trim_scale(p.cost_usd)) END);
	IF p.unpriced > 0 THEN
		lines = lines || vibevideo_internal.hang(format('The price of %s is not known, and counts as 0.', vibevideo_internal.how_many(p.unpriced, 'new render')));
	END IF;
	IF p.skipped > 0 THEN
		lines = lines || vibevideo_internal.hang(format('Passed over, though they match: %s.',
			(SELECT string_agg(format('%s %s', e.value, e.key), ', ' ORDER BY e.key) FROM jsonb_each_text(p.why) e)));
	END IF;
	IF p.more IS NOT NULL THEN
		lines = lines || vibevideo_internal.hang(format('There may be others that match: the plan was bounded by %s.', p.more));
	END IF;
	IF p.token IS NOT NULL THEN
		lines = lines || ''::text;
		FOR x IN SELECT e.value FROM jsonb_array_elements(p.examples) e LOOP
			lines = lines || vibevideo_internal.labelled(x ->> 'does', concat_ws(', ', format('job %s', x ->> 'job_id'), format('row %s', x ->> 'key'), x ->> 'state',
				x ->> 'error_code', x ->> 'user', format('%s USD', trim_scale((x ->> 'cost_usd')::numeric)), x ->> 'prompt'));
		END LOOP;
		IF p.jobs > jsonb_array_length(p.examples) THEN
			lines = lines || vibevideo_internal.labelled('...', format('and %s', vibevideo_internal.how_many(p.jobs - jsonb_array_length(p.examples), 'other')));
		END IF;
		lines = lines || ''::text || format('Nothing is changed yet. Until %s this does it:', to_char(p.expires_at, 'HH24:MI:SS TZ'))
			|| CASE WHEN p.confirm IS NULL THEN ARRAY[format('SELECT * FROM vibevideo.act(%L);', p.token)]
					ELSE ARRAY[format('SELECT * FROM vibevideo.act(%L,', p.token), format('  %L);', p.confirm)] END;
	END IF;
	RETURN QUERY SELECT l FROM unnest(lines) l;
END
$$;
COMMENT ON FUNCTION vibevideo.show_plan(text, jsonb, int) IS
'Makes a plan, as vibevideo.plan does, and shows it for psql: in lines of at most 78 columns, of which the last is
  the statement that carries it out.
action: as of vibevideo.plan.
filter: as of vibevideo.plan.
max_jobs: as of vibevideo.plan; default: 1000.
Returns lines:
line: one of them.
Errors: 22023 a bad action, filter or max_jobs; 42501 not an operator, or the filter has prompt and the caller
  may not see prompts.
For operators.';

CREATE FUNCTION vibevideo.show_check(network boolean DEFAULT false)
RETURNS TABLE (line text) LANGUAGE plpgsql VOLATILE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c record;
	fine int = 0;
	lines text[] = '{}';
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	FOR c IN SELECT h.* FROM vibevideo.health(network) h LOOP
		IF c.status = 'ok' THEN
			fine = fine + 1;
		ELSE
			lines = lines || vibevideo_internal.hang(format('%s: %s: %s', c.status, c.check_name, c.detail))
				|| CASE WHEN c.hint <> '' THEN vibevideo_internal.hang(c.hint) ELSE '{}' END || ''::text;
		END IF;
	END LOOP;
	lines = lines || format('%s fine.', CASE fine WHEN 1 THEN '1 check is' ELSE fine || ' checks are' END);
	RETURN QUERY SELECT l FROM unnest(lines) l;
END
$$;
COMMENT ON FUNCTION vibevideo.show_check(boolean) IS
'Shows what vibevideo.health returns, for psql: in lines of at most 78 columns, what is not ok with its hint.
network: true asks fal.ai and Storage as well, and counts, which takes an operator; default: false.
Returns lines:
line: one of them.
Errors: 42501 not a viewer, or with network not an operator.
For viewers and operators.';

CREATE FUNCTION vibevideo.show_audit(max_rows int DEFAULT 20)
RETURNS TABLE (line text) LANGUAGE plpgsql STABLE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r vibevideo.audit;
	lines text[] = '{}';
BEGIN
	PERFORM vibevideo_internal.require_to_read('operator');
	FOREACH r IN ARRAY (vibevideo.audit(max_rows => max_rows)).rows LOOP
		lines = lines || vibevideo_internal.hang(concat_ws(', ', vibevideo_internal.whole_time(r.at), r.who))
			|| vibevideo_internal.labelled('', concat_ws(', ', r.action, vibevideo_internal.how_many(r.jobs, 'job'), trim_scale(r.cost_usd) || ' USD'))
			|| vibevideo_internal.labelled('', nullif(left(r.arguments::text, 500), '{}')) || ''::text;
	END LOOP;
	RETURN QUERY SELECT l FROM unnest(lines) l;
END
$$;
COMMENT ON FUNCTION vibevideo.show_audit(int) IS
'Shows the last acts of vibevideo.audit, for psql: in lines of at most 78 columns.
max_rows: how many acts at most, 1 to 1000; default: 20.
Returns lines:
line: one of them.
Errors: 22023 a bad max_rows; 42501 not an operator.
For operators.';

-- The overview, a line a figure.
CREATE FUNCTION vibevideo_internal.overview_lines()
RETURNS TABLE (what text, "is" text) LANGUAGE plpgsql VOLATILE ROWS 15 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	o vibevideo.overview_row;
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	o = vibevideo.overview();
	RETURN QUERY
	SELECT CASE w.nth WHEN 1 THEN x.what ELSE '' END, w.line
	FROM (VALUES
		(1, 'needs you', CASE WHEN o.needs_you = 0 THEN 'nothing' ELSE format('%s (TABLE vibevideo.inbox): %s', o.needs_you,
			(SELECT string_agg(e.key, ', ' ORDER BY e.key) FROM jsonb_each(o.needs_you_by_kind) e)) END),
		(2, 'paused', o.paused),
		(3, 'worker', concat_ws(': ', o.worker, o.worker_detail)),
		(4, 'fal.ai', 'cannot be reached, is tried at ' || vibevideo_internal.whole_time(o.fal_down_until)),
		(5, 'Storage', 'cannot be reached, is tried at ' || vibevideo_internal.whole_time(o.storage_down_until)),
		(6, 'in work', format('%s waiting, %s at fal.ai, %s copying%s', o.waiting, o.at_fal, o.copying, CASE WHEN o.more THEN ', or more' ELSE '' END)),
		(7, 'oldest', CASE WHEN o.oldest_waiting_job_id IS NOT NULL
						   THEN format('job %s, since %s: %s', o.oldest_waiting_job_id, vibevideo_internal.whole_time(o.oldest_waiting_since), o.oldest_waiting_why) END),
		(8, 'idle', 'since ' || vibevideo_internal.whole_time(o.idle_since)),
		(9, 'today', format('%s done, %s failed, %s cancelled', o.done_today, o.failed_today, o.cancelled_today)),
		(10, 'last done', vibevideo_internal.whole_time(o.last_completed_at)),
		(11, 'USD today', format('%s spent, %s reserved%s', trim_scale(o.spent_today_usd), trim_scale(o.reserved_today_usd),
								 ', ' || trim_scale(o.left_usd) || ' left of ' || trim_scale(o.budget_usd)))
	) AS x(nth, what, words) CROSS JOIN LATERAL unnest(vibevideo_internal.wrap(x.words, 64)) WITH ORDINALITY AS w(line, nth)
	ORDER BY x.nth, w.nth;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.overview_lines() IS 'lines of view vibevideo.overview; for viewers';
CREATE VIEW vibevideo.overview AS SELECT o.what, o."is" FROM vibevideo_internal.overview_lines() o;
COMMENT ON VIEW vibevideo.overview IS 'vibevideo.overview() in lines; 80 columns wide';
COMMENT ON COLUMN vibevideo.overview.what IS 'what it is about';
COMMENT ON COLUMN vibevideo.overview."is" IS 'how that is';

CREATE FUNCTION vibevideo_internal.error_lines()
RETURNS TABLE (error text, model text, jobs bigint, last text, job bigint) LANGUAGE plpgsql STABLE ROWS 20 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY
	SELECT vibevideo_internal.fit(g.error_code, 24), vibevideo_internal.fit(g.model, 20), g.jobs,
		   vibevideo_internal.fit(vibevideo_internal.span(clock_timestamp() - g.last_at), 6), g.example_job_id
	FROM vibevideo.error_groups() g ORDER BY g.jobs DESC, g.last_at DESC LIMIT 40;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.error_lines() IS 'lines of view vibevideo.errors; for viewers';
CREATE VIEW vibevideo.errors AS SELECT e.error, e.model, e.jobs, e.last, e.job FROM vibevideo_internal.error_lines() e;
COMMENT ON VIEW vibevideo.errors IS 'what went wrong in the last day, the most frequent first, as vibevideo.error_groups() has it; 80 columns wide';
COMMENT ON COLUMN vibevideo.errors.error IS 'the error code, cut';
COMMENT ON COLUMN vibevideo.errors.model IS 'fal.ai''s endpoint id, cut';
COMMENT ON COLUMN vibevideo.errors.jobs IS 'how many jobs failed with it';
COMMENT ON COLUMN vibevideo.errors.last IS 'how long ago the last one did';
COMMENT ON COLUMN vibevideo.errors.job IS 'that job: vibevideo.show_job(job) shows it';

CREATE FUNCTION vibevideo_internal.user_lines()
RETURNS TABLE ("user" text, active bigint, today bigint, usd numeric, "30 days" bigint, "30 days usd" numeric) LANGUAGE plpgsql STABLE ROWS 40 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo_internal.require('viewer');
	RETURN QUERY
	SELECT vibevideo_internal.fit(coalesce(u.user_id, ''), 24), u.active, u.submits_today, round(u.spent_today_usd, 2), u.submits, round(u.spent_usd, 2)
	FROM vibevideo.users(most => 40) u;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.user_lines() IS 'lines of view vibevideo.users; for viewers';
CREATE VIEW vibevideo.users AS SELECT u."user", u.active, u.today, u.usd, u."30 days", u."30 days usd" FROM vibevideo_internal.user_lines() u;
COMMENT ON VIEW vibevideo.users IS 'the 40 users with the most in work, then those who have spent the most, as vibevideo.users() has them; 80 columns wide';
COMMENT ON COLUMN vibevideo.users."user" IS 'who, cut; empty where nobody is known';
COMMENT ON COLUMN vibevideo.users.active IS 'unfinished jobs';
COMMENT ON COLUMN vibevideo.users.today IS 'videos requested today';
COMMENT ON COLUMN vibevideo.users.usd IS 'price, in USD, of those that are made';
COMMENT ON COLUMN vibevideo.users."30 days" IS 'videos requested in 30 days';
COMMENT ON COLUMN vibevideo.users."30 days usd" IS 'price, in USD, of those that are made';
