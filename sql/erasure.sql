
-------------------------------------------------------------------------------
-- Erasing videos
-------------------------------------------------------------------------------

/*
 * What is to be erased.  A row lives until it is done, and then becomes a receipt.
 * In steps, since whoever queues it must not wait for anybody:
 *
 *	row		a job whose row is gone, or shows another video.  The worker looks whether that
 *			is true of all rows: what cannot be undone is not done on a trigger's word.  Then
 *			it is a
 *	job		all that a job has left, and leaves yet.  The worker cancels an active one, and
 *			when it has ended puts the following in its place
 *	storage	a file in a bucket
 *	fal		what fal.ai keeps of a request: its input, output, and files
 *
 * The last two need the job's row no more.
 */
CREATE TABLE vibevideo.erasure (
	erasure_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	what text COLLATE pg_catalog."C" NOT NULL CHECK (what OPERATOR(pg_catalog.=) ANY (ARRAY['row', 'job', 'storage', 'fal'])),
	job_id bigint NOT NULL,
	bucket text COLLATE pg_catalog."C",
	object_key text COLLATE pg_catalog."C",
	request_id text COLLATE pg_catalog."C",
	reason text NOT NULL CHECK (reason OPERATOR(pg_catalog.=) ANY (ARRAY['operator', 'row', 'version'])),
	asked_by text,
	queued_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	next_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	tries int NOT NULL DEFAULT 0,
	error_code text,
	error text,
	stuck boolean NOT NULL DEFAULT false,
	token uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	CHECK (CASE what WHEN 'storage' THEN bucket IS NOT NULL AND object_key IS NOT NULL WHEN 'fal' THEN request_id IS NOT NULL ELSE true END)
);
COMMENT ON TABLE vibevideo.erasure IS 'what is to be erased, and is not yet: written by vibevideo.erase, and when rows are deleted or have newer videos; the worker takes a row out when it is done';
COMMENT ON COLUMN vibevideo.erasure.erasure_id IS 'grows with each row';
COMMENT ON COLUMN vibevideo.erasure.what IS 'row: as job, unless a row of the table bears its request id; job: all that a job leaves, when it has ended; storage: a file in a bucket; fal: what fal.ai keeps of a request';
COMMENT ON COLUMN vibevideo.erasure.job_id IS 'the job, which may be gone';
COMMENT ON COLUMN vibevideo.erasure.bucket IS 'the bucket of a file; NULL: it is none';
COMMENT ON COLUMN vibevideo.erasure.object_key IS 'the file''s name in it; NULL: it is none';
COMMENT ON COLUMN vibevideo.erasure.request_id IS 'fal.ai''s id of the request, of a row the one that it bore; NULL: it is none';
COMMENT ON COLUMN vibevideo.erasure.reason IS 'operator: vibevideo.erase was called; row: the row was deleted, with attach(on_delete => ''erase''); version: the row has newer videos, with attach(keep_versions => ...)';
COMMENT ON COLUMN vibevideo.erasure.asked_by IS 'who asked for it, as in vibevideo.audit; NULL: nobody, or it is not known';
COMMENT ON COLUMN vibevideo.erasure.queued_at IS 'when it was asked for';
COMMENT ON COLUMN vibevideo.erasure.next_at IS 'when it is tried next; make it now() to have it tried at once';
COMMENT ON COLUMN vibevideo.erasure.tries IS 'how often it was tried';
COMMENT ON COLUMN vibevideo.erasure.error_code IS 'what was wrong the last time, for programs: no_key, internal, or as of a job; NULL: nothing, or it was not tried';
COMMENT ON COLUMN vibevideo.erasure.error IS 'the same in words, and what to do; NULL: nothing';
COMMENT ON COLUMN vibevideo.erasure.stuck IS 'only a person can help; it is tried again all the same';
COMMENT ON COLUMN vibevideo.erasure.token IS 'the Idempotency-Key that fal.ai is sent: the same until there is an answer';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.erasure', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.erasure_erasure_id_seq', '');
CREATE INDEX erasure_due ON vibevideo.erasure (what, next_at);
CREATE INDEX erasure_job ON vibevideo.erasure (job_id);
CREATE UNIQUE INDEX erasure_file ON vibevideo.erasure (bucket, object_key) WHERE what OPERATOR(pg_catalog.=) 'storage';
CREATE UNIQUE INDEX erasure_request ON vibevideo.erasure (request_id) WHERE what OPERATOR(pg_catalog.=) 'fal';

CREATE TABLE vibevideo.receipt (
	receipt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	job_id bigint NOT NULL,
	what text NOT NULL,
	name text NOT NULL,
	answer text NOT NULL CHECK (answer OPERATOR(pg_catalog.=) ANY (ARRAY['deleted', 'gone'])),
	http_status int NOT NULL,
	reason text NOT NULL,
	asked_by text,
	queued_at timestamptz NOT NULL,
	done_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	tries int NOT NULL
);
COMMENT ON TABLE vibevideo.receipt IS 'what was erased, one row a file or request, without its content; kept until you delete it';
COMMENT ON COLUMN vibevideo.receipt.receipt_id IS 'grows with each row';
COMMENT ON COLUMN vibevideo.receipt.job_id IS 'the job, which may be gone';
COMMENT ON COLUMN vibevideo.receipt.what IS 'storage: a file in a bucket; fal: what fal.ai kept of a request';
COMMENT ON COLUMN vibevideo.receipt.name IS 'bucket and name of the file, or fal.ai''s id of the request';
COMMENT ON COLUMN vibevideo.receipt.answer IS 'deleted, as Storage or fal.ai said; or gone: it was not there any more';
COMMENT ON COLUMN vibevideo.receipt.http_status IS 'the answer''s HTTP status';
COMMENT ON COLUMN vibevideo.receipt.reason IS 'as in vibevideo.erasure';
COMMENT ON COLUMN vibevideo.receipt.asked_by IS 'who asked for it, as in vibevideo.audit; NULL: nobody, or it is not known';
COMMENT ON COLUMN vibevideo.receipt.queued_at IS 'when it was asked for';
COMMENT ON COLUMN vibevideo.receipt.done_at IS 'when the answer came';
COMMENT ON COLUMN vibevideo.receipt.tries IS 'how many requests that took';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.receipt', '');
SELECT pg_catalog.pg_extension_config_dump('vibevideo.receipt_receipt_id_seq', '');
CREATE INDEX receipt_job ON vibevideo.receipt (job_id);

-- What retention has deleted the jobs of, where it is to go with its row.
CREATE TABLE vibevideo.past_video (
	job_id bigint NOT NULL,
	bucket text COLLATE pg_catalog."C" NOT NULL,
	object_key text COLLATE pg_catalog."C" NOT NULL,
	request_id text COLLATE pg_catalog."C" NOT NULL,
	relation regclass NOT NULL,
	vibelog_id text COLLATE pg_catalog."C" NOT NULL,
	was_shown boolean NOT NULL,
	PRIMARY KEY (job_id, object_key)
);
COMMENT ON TABLE vibevideo.past_video IS 'files of jobs that retention has deleted, kept with attach(on_delete => ...) or (keep_versions => ...) only, since they are to be erased some day';
COMMENT ON COLUMN vibevideo.past_video.job_id IS 'the job, which is gone';
COMMENT ON COLUMN vibevideo.past_video.bucket IS 'the bucket of the file';
COMMENT ON COLUMN vibevideo.past_video.object_key IS 'the file''s name in it';
COMMENT ON COLUMN vibevideo.past_video.request_id IS 'fal.ai''s id of the request';
COMMENT ON COLUMN vibevideo.past_video.relation IS 'the table of its row';
COMMENT ON COLUMN vibevideo.past_video.vibelog_id IS 'the row''s key, as text';
COMMENT ON COLUMN vibevideo.past_video.was_shown IS 'it was the row''s video; false: nobody knows whether there is such a file, or it was an orphan''s';
SELECT pg_catalog.pg_extension_config_dump('vibevideo.past_video', '');
CREATE INDEX past_video_row ON vibevideo.past_video (relation, vibelog_id);
CREATE INDEX past_video_request ON vibevideo.past_video (request_id);

-- The files that a job may have left in Storage.  Of a copy that has failed the last answer
-- may have been lost, and the file be there: its name is made as src/upload.c does.  The
-- bucket may have been another one then; the URL says it.
CREATE FUNCTION vibevideo_internal.files_of(j vibevideo.job, OUT bucket text, OUT object_key text)
RETURNS SETOF record LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(CASE WHEN right((j).video_url, length(k.name) + 1) = '/' || k.name
						 THEN substring(left((j).video_url, - length(k.name) - 1) FROM '/([^/%]+)$') END,
					current_setting('vibevideo.storage_bucket')), k.name
	FROM (SELECT (j).object_key AS name WHERE (j).object_key IS NOT NULL
		  UNION ALL
		  SELECT coalesce(nullif(regexp_replace(encode(substr(convert_to((j).vibelog_id, 'UTF8'), 1, 128), 'escape') COLLATE "C",
												'\\(?:\\|[0-7]{3})|[^A-Za-z0-9_-]', '_', 'g'), ''), '_') || '/' || (j).request_id || '.' || e.ending
		  FROM unnest(ARRAY['mp4', 'webm', 'mov', 'mkv', 'gif']) AS e(ending)
		  WHERE (j).object_key IS NULL AND (j).media_url IS NOT NULL AND (j).request_id IS NOT NULL
			AND (j).state <> 'completed') k;
END;
COMMENT ON FUNCTION vibevideo_internal.files_of(vibevideo.job) IS 'the files that a job may have left in Storage; owner only';

-- Retention deletes this job: what it has left is still to go with its row.
CREATE FUNCTION vibevideo_internal.keep_for_erasing(j vibevideo.job)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO vibevideo.past_video (job_id, bucket, object_key, request_id, relation, vibelog_id, was_shown)
	SELECT (j).job_id, f.bucket, f.object_key, (j).request_id, (j).relation, (j).vibelog_id, (j).state = 'completed' AND NOT (j).orphan
	FROM vibevideo.binding b CROSS JOIN vibevideo_internal.files_of(j) f
	WHERE b.relation = (j).relation AND (b.on_delete IS NOT NULL OR b.keep_versions IS NOT NULL)
	  AND (j).erased_at IS NULL AND (j).request_id IS NOT NULL
	ON CONFLICT DO NOTHING;
END;
COMMENT ON FUNCTION vibevideo_internal.keep_for_erasing(vibevideo.job) IS 'part of retention: what a job has left; owner only';

-- The same of a job that is gone.
CREATE FUNCTION vibevideo_internal.erase_past(e vibevideo.erasure)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO vibevideo.erasure (what, job_id, bucket, object_key, reason, asked_by, queued_at)
	SELECT 'storage', p.job_id, p.bucket, p.object_key, (e).reason, (e).asked_by, (e).queued_at
	FROM vibevideo.past_video p WHERE p.job_id = (e).job_id
	ON CONFLICT DO NOTHING;
	INSERT INTO vibevideo.erasure (what, job_id, request_id, reason, asked_by, queued_at)
	SELECT DISTINCT 'fal', p.job_id, p.request_id, (e).reason, (e).asked_by, (e).queued_at
	FROM vibevideo.past_video p WHERE p.job_id = (e).job_id
	ON CONFLICT DO NOTHING;
	DELETE FROM vibevideo.past_video p WHERE p.job_id = (e).job_id;
	DELETE FROM vibevideo.erasure x WHERE x.erasure_id = (e).erasure_id;
END;
COMMENT ON FUNCTION vibevideo_internal.erase_past(vibevideo.erasure) IS 'puts what a deleted job has left in its place among what is to be erased; owner only';

-- Cancels an active job as vibevideo.cancel does, unless it is being copied: then it ends soon.
CREATE FUNCTION vibevideo_internal.cancel_to_erase(job bigint)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	UPDATE vibevideo.job j SET cancel_requested_at = now(),
		state = CASE WHEN j.state = 'pending' THEN 'cancelled' ELSE j.state END,
		completed_at = CASE WHEN j.state = 'pending' THEN now() END,
		error_code = CASE WHEN j.state <> 'pending' THEN j.error_code END,
		error = CASE WHEN j.state <> 'pending' THEN j.error END,
		next_at = CASE WHEN j.state = 'pending' THEN NULL WHEN j.leased_by IS NULL THEN now() - interval '1 day' ELSE j.next_at END
	WHERE j.job_id = cancel_to_erase.job AND j.cancel_requested_at IS NULL
	  AND vibevideo.is_active(j.state) AND j.state <> 'processing';
END;
COMMENT ON FUNCTION vibevideo_internal.cancel_to_erase(bigint) IS 'cancels a job whose video is to be erased, if it can be; owner only';

-- A job that has ended: what is to be erased of it.  Fal.ai may yet render one that it has
-- not spoken of since it was cancelled, or given up: an hour later there is more to erase.
-- Storage may yet finish an upload whose answer we have not waited for.
CREATE FUNCTION vibevideo_internal.erase_ended(j vibevideo.job, e vibevideo.erasure)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO vibevideo.erasure (what, job_id, bucket, object_key, reason, asked_by, queued_at, next_at)
	SELECT 'storage', (j).job_id, f.bucket, f.object_key, (e).reason, (e).asked_by, (e).queued_at,
		   greatest(now(), CASE WHEN (j).state <> 'completed' THEN (j).completed_at + interval '5 minutes' END)
	FROM vibevideo_internal.files_of(j) f
	ON CONFLICT DO NOTHING;
	INSERT INTO vibevideo.erasure (what, job_id, request_id, reason, asked_by, queued_at, next_at)
	SELECT 'fal', (j).job_id, (j).request_id, (e).reason, (e).asked_by, (e).queued_at,
		   CASE WHEN (j).held_usd IS NULL THEN now() ELSE now() + interval '1 hour' END
	WHERE (j).request_id IS NOT NULL
	ON CONFLICT DO NOTHING;
	UPDATE vibevideo.job x SET erased_at = now(), updated_at = now(),
		forgotten_at = CASE WHEN x.state = 'failed' THEN coalesce(x.forgotten_at, now()) END
	WHERE x.job_id = (j).job_id;
	DELETE FROM vibevideo.erasure x WHERE x.erasure_id = (e).erasure_id;
END;
COMMENT ON FUNCTION vibevideo_internal.erase_ended(vibevideo.job, vibevideo.erasure) IS 'puts what a job has left in the place of the job among what is to be erased; owner only';

-- A row has another video: of the older ones so many stay as attach was told.  Browsers show
-- the old one for a while.
CREATE FUNCTION vibevideo_internal.erase_older(relation regclass, key text)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH video AS (
		SELECT j.job_id, j.state = 'completed' AS was_shown FROM vibevideo.job j
		WHERE j.relation = erase_older.relation AND j.vibelog_id = erase_older.key AND NOT j.orphan
		  AND NOT vibevideo.is_active(j.state) AND j.media_url IS NOT NULL AND j.erased_at IS NULL
		UNION
		SELECT p.job_id, p.was_shown FROM vibevideo.past_video p
		WHERE p.relation = erase_older.relation AND p.vibelog_id = erase_older.key)
	INSERT INTO vibevideo.erasure (what, job_id, reason, next_at)
	SELECT 'row', v.job_id, 'version', now() + interval '1 minute'
	FROM vibevideo.binding b
	CROSS JOIN LATERAL (SELECT n.job_id FROM video n WHERE n.was_shown ORDER BY n.job_id DESC LIMIT 1 OFFSET b.keep_versions - 1) oldest
	JOIN video v ON v.job_id < oldest.job_id
	WHERE b.relation = erase_older.relation AND b.keep_versions IS NOT NULL
	  AND NOT EXISTS (SELECT FROM vibevideo.erasure e WHERE e.job_id = v.job_id);
END;
COMMENT ON FUNCTION vibevideo_internal.erase_older(regclass, text) IS 'part of the guard: what is to be erased of a row whose new video is stored; owner only';

-- May the row of a job still show it, since its newer one is not written there?
CREATE FUNCTION vibevideo_internal.is_shown(job bigint)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN EXISTS (SELECT FROM (SELECT j.relation, j.vibelog_id FROM vibevideo.job j WHERE j.job_id = is_shown.job
							UNION ALL
							SELECT p.relation, p.vibelog_id FROM vibevideo.past_video p WHERE p.job_id = is_shown.job) o
			   JOIN vibevideo.job n ON n.relation = o.relation AND n.vibelog_id = o.vibelog_id
			   WHERE NOT n.orphan AND n.job_id > is_shown.job AND n.row_dirty);
COMMENT ON FUNCTION vibevideo_internal.is_shown(bigint) IS 'whether a job''s row may show it though there is a newer one; owner only';

-- Rows of the app that are due, with each request id that no row may bear any more, if their
-- videos are to go: what the deleted row bore, and the job's own.  No row bears an orphan's,
-- so of that key says which row must be gone.
CREATE FUNCTION vibevideo_internal.erasures_of_rows(relation regclass, OUT erasure_id bigint, OUT request_id text, OUT key text)
RETURNS SETOF record LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH due AS MATERIALIZED (
		SELECT e.erasure_id, e.job_id, e.request_id FROM vibevideo.erasure e WHERE e.what = 'row' AND e.next_at <= now()
		ORDER BY e.next_at LIMIT 500 FOR UPDATE SKIP LOCKED)
	SELECT d.erasure_id, d.request_id, NULL::text FROM due d
	UNION
	SELECT d.erasure_id, j.request_id, CASE WHEN j.orphan AND j.relation = erasures_of_rows.relation THEN j.vibelog_id END
	FROM due d JOIN vibevideo.job j ON j.job_id = d.job_id
	UNION
	SELECT d.erasure_id, p.request_id, NULL FROM due d JOIN vibevideo.past_video p ON p.job_id = d.job_id;
END;
COMMENT ON FUNCTION vibevideo_internal.erasures_of_rows(regclass) IS 'part of the worker''s erasing: rows, and what tells whether they are back; owner only';

-- These were looked for: the jobs of those that are there stay, the others go.
CREATE FUNCTION vibevideo_internal.rows_looked_for(looked bigint[], there bigint[])
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	DELETE FROM vibevideo.erasure x WHERE x.erasure_id = ANY (there) AND x.what = 'row';
	UPDATE vibevideo.erasure x SET what = 'job', request_id = NULL WHERE x.erasure_id = ANY (looked) AND x.what = 'row';
END;
COMMENT ON FUNCTION vibevideo_internal.rows_looked_for(bigint[], bigint[]) IS 'part of the worker''s erasing: what became of rows; owner only';

-- Jobs that are to be erased and due, so many that nothing else waits long: active ones are
-- cancelled, and looked at again soon.  What somebody holds is left for later, and one that
-- fails keeps no other from its turn.
CREATE FUNCTION vibevideo_internal.expand_erasures()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	e vibevideo.erasure;
	j vibevideo.job;
BEGIN
	FOR e IN SELECT x.* FROM vibevideo.erasure x WHERE x.what = 'job' AND x.next_at <= now()
			 ORDER BY x.next_at LIMIT 50 FOR UPDATE SKIP LOCKED
	LOOP
		BEGIN
			SELECT x.* INTO j FROM vibevideo.job x WHERE x.job_id = e.job_id FOR UPDATE SKIP LOCKED;
			IF FOUND AND j.erased_at IS NOT NULL AND e.reason <> 'operator' THEN
				DELETE FROM vibevideo.erasure x WHERE x.erasure_id = e.erasure_id;
			ELSIF e.reason = 'version' AND vibevideo_internal.is_shown(e.job_id) THEN
				UPDATE vibevideo.erasure x SET next_at = now() + interval '10 seconds' WHERE x.erasure_id = e.erasure_id;
			ELSIF FOUND AND NOT vibevideo.is_active(j.state) THEN
				PERFORM vibevideo_internal.erase_ended(j, e);
			ELSIF FOUND OR EXISTS (SELECT FROM vibevideo.job x WHERE x.job_id = e.job_id) THEN
				PERFORM vibevideo_internal.cancel_to_erase(j.job_id);
				UPDATE vibevideo.erasure x SET next_at = now() + interval '2 seconds' WHERE x.erasure_id = e.erasure_id;
			ELSE
				PERFORM vibevideo_internal.erase_past(e);
			END IF;
		EXCEPTION WHEN OTHERS THEN
			UPDATE vibevideo.erasure x SET tries = x.tries + 1, (error_code, error) = ('internal', left(SQLERRM, 1000)),
				stuck = SQLSTATE NOT IN ('55P03', '40P01', '40001'), next_at = now() + interval '1 minute' * least(x.tries + 1, 60)
			WHERE x.erasure_id = e.erasure_id;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.expand_erasures() IS 'part of the worker''s erasing: jobs, as they end; owner only';

/*
 * vibevideo_internal.next_erasure(service, lacks) - what the worker asks a service for next.
 * Its time is put off before: an answer that never comes delays it, too.
 * service: storage or fal.  lacks: why nothing can be asked for there, NULL if it can.
 */
CREATE FUNCTION vibevideo_internal.next_erasure(service text, lacks text, OUT erasure_id bigint, OUT bucket text, OUT object_key text,
												OUT request_id text, OUT token text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF lacks IS NOT NULL THEN
		UPDATE vibevideo.erasure x SET (error_code, error) = ('no_key', lacks), stuck = true, next_at = now() + interval '10 minutes'
		WHERE x.erasure_id IN (SELECT d.erasure_id FROM vibevideo.erasure d WHERE d.what = service AND d.next_at <= now()
							   ORDER BY d.next_at LIMIT 1000 FOR UPDATE SKIP LOCKED);
		RETURN;
	END IF;
	UPDATE vibevideo.erasure x SET tries = x.tries + 1,
		next_at = now() + least(interval '1 hour', interval '30 seconds' * (1 << least(x.tries, 7)))
	WHERE x.erasure_id = (SELECT d.erasure_id FROM vibevideo.erasure d WHERE d.what = service AND d.next_at <= now()
						  ORDER BY d.next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
	RETURNING x.erasure_id, x.bucket, x.object_key, x.request_id, x.token::text
	INTO next_erasure.erasure_id, next_erasure.bucket, next_erasure.object_key, next_erasure.request_id, next_erasure.token;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.next_erasure(text, text) IS 'what is to be erased next, which is not due any more then; owner only';

/*
 * vibevideo_internal.erasure_done(id, answer, status, code, error, stuck, again) - records what
 * came of it.  answer: deleted, gone, or NULL for neither.  again: at once, since it was
 * asked for in a form that is not understood.  A row that somebody has deleted is let be.
 */
CREATE FUNCTION vibevideo_internal.erasure_done(id bigint, answer text, status int, code text, error text, stuck boolean, again boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF answer IS NULL THEN
		UPDATE vibevideo.erasure x SET error_code = code, error = left(erasure_done.error, 1000), stuck = erasure_done.stuck,
			token = CASE WHEN status > 0 THEN gen_random_uuid() ELSE x.token END,
			next_at = CASE WHEN again THEN now() ELSE x.next_at END
		WHERE x.erasure_id = id;
	ELSE
		WITH done AS (DELETE FROM vibevideo.erasure x WHERE x.erasure_id = id RETURNING x.*)
		INSERT INTO vibevideo.receipt (job_id, what, name, answer, http_status, reason, asked_by, queued_at, tries)
		SELECT d.job_id, d.what, coalesce(d.bucket || '/' || d.object_key, d.request_id), erasure_done.answer, status, d.reason, d.asked_by, d.queued_at, d.tries
		FROM done d;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.erasure_done(bigint, text, int, text, text, boolean, boolean) IS 'records what came of a request that something be erased; owner only';

CREATE FUNCTION vibevideo.erase(job bigint)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	who constant text = vibevideo_internal.require('operator');
	was text;
	added int;
BEGIN
	IF job IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'job must not be null';
	END IF;
	PERFORM vibevideo_internal.require_to_act();
	SELECT x.state INTO was FROM vibevideo.job x WHERE x.job_id = erase.job;
	IF NOT FOUND AND NOT EXISTS (SELECT FROM vibevideo.past_video p WHERE p.job_id = erase.job) THEN
		RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = format('there is no job %s', job);
	END IF;
	INSERT INTO vibevideo.erasure (what, job_id, reason, asked_by)
	SELECT 'job', erase.job, 'operator', who
	WHERE NOT EXISTS (SELECT FROM vibevideo.erasure x WHERE x.job_id = erase.job AND x.what = 'job');
	GET DIAGNOSTICS added = ROW_COUNT;
	PERFORM vibevideo_internal.note_act('erase', jsonb_build_object('job', job), added, outcome => jsonb_build_object('state', was));
	PERFORM vibevideo.wake();
	RETURN added > 0;
END
$$;
COMMENT ON FUNCTION vibevideo.erase(bigint) IS
'Erases the video of a job: its file in Storage, and what fal.ai keeps of its request (input, output and its files),
  which takes an API key of scope ADMIN. The worker does it after the commit, and tries until it is done: table
  vibevideo.receipt says what was done, vibevideo.erasure what is still to do. An active job is cancelled, and
  what it leaves is erased when it has ended. The app''s row stays as it is, and so does the job, with its input.
job: its job_id in vibevideo.jobs.
Returns false if that was asked for already, and is still to begin.
Errors: PT404 no such job; 22004 it is null; 55000 this database is a copy; 42501 not an operator.
For operators.';
