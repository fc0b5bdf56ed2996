/* sql/decisions.sql: what an operator decides about one job, and pausing */

-- Each of these begins by requiring an operator, and ends by noting the act: see
-- access.sql.

/*
 * vibevideo.resolve(job, verdict) - settles a submit whose answer was lost.
 *
 * job: job_id of a job in state submit_unknown (view vibevideo.jobs).
 * verdict: the request id that fal's dashboard shows for it, or 'not_sent' to
 * say that fal has no such request; it is sent again then, or is cancelled if
 * that was requested.
 * Returns the job as vibevideo.video.  Errors: PT404 no such job, PT409 it is
 * not a lost submit, or another job has that request id; 22023 not an id;
 * 22004 the job is null; 42501 not an operator.
 */
CREATE FUNCTION vibevideo.resolve(job bigint, verdict text)
RETURNS vibevideo.video LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	j vibevideo.job;
BEGIN
	PERFORM vibevideo_internal.require('operator');
	IF job IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'job must not be null';
	END IF;
	SELECT x.* INTO j FROM vibevideo.job x WHERE x.job_id = resolve.job FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = format('there is no job %s', job);
	END IF;
	IF j.state <> 'submit_unknown' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PT409',
			MESSAGE = format('job %s is not a lost submit', job),
			DETAIL = format('It is %s.', j.state),
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
			MESSAGE = 'another job has this request id',
			DETAIL = format('It is request %s.', verdict);
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
	PERFORM vibevideo_internal.note_act('resolve', jsonb_build_object('job', job, 'verdict', verdict), 1,
										CASE WHEN j.state = 'pending' THEN j.cost_usd END, jsonb_build_object('state', j.state));
	PERFORM vibevideo.wake();
	RETURN vibevideo.describe(j);
END
$$;
COMMENT ON FUNCTION vibevideo.resolve(bigint, text) IS
	'settles a job in state submit_unknown by fal''s request id or ''not_sent''; PT404, PT409, 22023; for operators';

/*
 * vibevideo.cancel(job) - cancels a job, whatever became of its row and table.
 *
 * job: job_id (view vibevideo.jobs).
 * Returns the job as vibevideo.video: cancelled at once if it was not sent, else
 * as soon as fal has been told; a finished one, and one that is being copied, is
 * returned as it is.  Errors: PT404 no such job, 22004 it is null, 55000 the
 * database is a copy, 42501 not an operator.
 */
CREATE FUNCTION vibevideo.cancel(job bigint)
RETURNS vibevideo.video LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_cancel_job';
COMMENT ON FUNCTION vibevideo.cancel(bigint) IS
	'cancels a job by its number, without its row or table; PT404 no such job; for operators';

/*
 * vibevideo.retry(job) - tries again to make a job's video, whatever became of
 * its row and table.
 *
 * job: job_id (view vibevideo.jobs).
 * What vibevideo_retry does, with the input that the job had: a video that was
 * rendered is only copied again, a job that waits is sent now, a lost submit is
 * given up in favour of a new attempt, and everything else that ended without a
 * video is a new attempt, which is paid for.  If its table is gone the new job is
 * of no table, and its video is only in Storage.
 * Returns the job, or the new one, as vibevideo.video.  Errors: PT404 no such
 * job, 22004 it is null, PT429 and PT402 its user is over a limit, 55000 the
 * database is a copy, 42501 not an operator.
 */
CREATE FUNCTION vibevideo.retry(job bigint)
RETURNS vibevideo.video LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_retry_job';
COMMENT ON FUNCTION vibevideo.retry(bigint) IS
	'tries a job again by its number, without its row or table; a video that was made is only copied; PT404 no such job; for operators';

-- One service, fal.ai or Storage: whether it was taken to be down, whether it answers,
-- what it said, and until when it is left alone.
CREATE FUNCTION vibevideo_internal.reach(service text, OUT was_down boolean, OUT answers boolean, OUT detail text, OUT next_probe_at timestamptz)
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'vibevideo_reach';
COMMENT ON FUNCTION vibevideo_internal.reach(text) IS
	'asks fal.ai or Storage whether it answers, and closes its circuit breaker if it does; owner only';

/*
 * vibevideo.probe_now() - asks fal.ai and Storage whether they answer, and lets
 * jobs go to one that does at once, however long its circuit breaker was to stay
 * open.  A service that does not answer keeps the wait it has.
 *
 * Over the network, within this call, for at most 3 s each; what is asked changes
 * nothing there.  Returns a row for each service: was_down, whether it was left
 * alone before; answers, null if it was not asked; detail, what it said or why not;
 * next_probe_at, until when it is left alone, null if it is not.
 * Errors: 42501 not an operator.
 */
CREATE FUNCTION vibevideo.probe_now()
RETURNS TABLE (service text, was_down boolean, answers boolean, detail text, next_probe_at timestamptz)
LANGUAGE plpgsql VOLATILE ROWS 2 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	outcome jsonb = '{}';
BEGIN
	PERFORM vibevideo_internal.require('operator');
	FOREACH service IN ARRAY ARRAY['fal.ai', 'Storage'] LOOP
		SELECT r.was_down, r.answers, r.detail, r.next_probe_at INTO was_down, answers, detail, next_probe_at
		FROM vibevideo_internal.reach(service) r;
		outcome = outcome || jsonb_build_object(service, jsonb_build_object('was_down', was_down, 'answers', answers, 'detail', detail));
		RETURN NEXT;
	END LOOP;
	PERFORM vibevideo_internal.note_act('probe_now', outcome => outcome);
END
$$;
COMMENT ON FUNCTION vibevideo.probe_now() IS
	'asks fal.ai and Storage whether they answer, over the network, and lets jobs go to one that does at once; for operators';

-- Do jobs have numbers that their sequence will give again?  It looks at the one
-- that every submit needs.
CREATE FUNCTION vibevideo_internal.sequences_behind()
RETURNS boolean LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce((SELECT max(j.job_id) FROM vibevideo.job j) > (SELECT s.last_value FROM vibevideo.job_id_seq s), false);
END;
COMMENT ON FUNCTION vibevideo_internal.sequences_behind() IS 'whether job numbers would be given a second time; owner only';

-- Logical replication brings rows, not the sequences their numbers are from.
CREATE FUNCTION vibevideo_internal.advance_sequences()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	used record;
BEGIN
	FOR used IN
		SELECT s.sequence, s.most, pg_sequence_last_value(s.sequence) AS last
		FROM (VALUES ('vibevideo.job_id_seq'::regclass, (SELECT max(j.job_id) FROM vibevideo.job j)),
					 ('vibevideo.lease_seq', (SELECT max(j.lease) FROM vibevideo.job j)),
					 ('vibevideo.event_event_id_seq', (SELECT max(e.event_id) FROM vibevideo.event e)),
					 ('vibevideo_internal.tally_tally_id_seq', (SELECT max(t.tally_id) FROM vibevideo_internal.tally t)),
					 ('vibevideo.audit_audit_id_seq', (SELECT max(a.audit_id) FROM vibevideo.audit a)),
					 ('vibevideo_internal.refund_seq', (SELECT max(t.n) FROM vibevideo_internal.till t))) AS s(sequence, most)
	LOOP
		IF used.most > coalesce(used.last, 0) THEN
			PERFORM setval(used.sequence, used.most);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.advance_sequences() IS 'part of resume: advances sequences past what the tables hold; owner only';

/*
 * vibevideo.pause(scope, reason) - stops work on the jobs of this database until
 * vibevideo.resume().
 *
 * scope: sending, so that what is new is noted and waits, while what fal has goes
 * on; or all, so that nothing is sent, asked, copied or written.  Calls of the app
 * are accepted in both.
 * reason: for whoever meets the pause.
 * Notes who has paused it and since when.  Returns false, and changes nothing,
 * when it was paused so already, is a copy, or no table is attached.
 * Errors: 22023 another scope; 42501 not an operator.
 */
CREATE FUNCTION vibevideo.pause(scope text DEFAULT 'sending', reason text DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	who constant text = vibevideo_internal.require('operator');
BEGIN
	IF scope IS NULL OR scope NOT IN ('sending', 'all') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the scope of a pause must be sending or all',
			HINT = 'A reason comes second: SELECT vibevideo.pause(''all'', ''new disk'').';
	END IF;
	UPDATE vibevideo.binding b SET paused = true, pause_scope = scope, paused_by = who, paused_at = now(), pause_reason = reason
	WHERE b.only_one AND b.pause_scope IS DISTINCT FROM scope AND NOT vibevideo_internal.is_copy(b);
	IF FOUND THEN
		PERFORM vibevideo_internal.note_act('pause', jsonb_build_object('scope', scope, 'reason', reason));
		PERFORM vibevideo.wake();
		RETURN true;
	END IF;
	IF NOT EXISTS (SELECT FROM vibevideo.binding b) THEN
		RAISE NOTICE 'no table is attached';
	END IF;
	RETURN false;
END
$$;
COMMENT ON FUNCTION vibevideo.pause(text, text) IS
	'stops sending, or all work on jobs, until vibevideo.resume(), and notes who did so and why; false when it was paused so already; 22023; for operators';

/*
 * vibevideo.resume() - says that this database may act on its jobs.
 *
 * A database that was restored or copied holds jobs that the original works
 * on too; until this call nothing is sent from here.  Call it on the one that
 * is to continue.  Sequences that are behind their tables, as after logical replication,
 * are advanced, paused or not.  Returns false when nothing was paused.  Errors:
 * 42501 not an operator.
 */
CREATE FUNCTION vibevideo.resume()
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	cause text;
BEGIN
	PERFORM vibevideo_internal.require('operator');
	SELECT vibevideo_internal.pause_cause(b) INTO cause FROM vibevideo.binding b;
	PERFORM vibevideo_internal.advance_sequences();
	UPDATE vibevideo.binding b SET
		paused = false, pause_scope = NULL, paused_by = NULL, paused_at = NULL, pause_reason = NULL,
		system_identifier = i.system_identifier, database_oid = i.database_oid, timeline = i.timeline
	FROM vibevideo_internal.identity() i
	WHERE b.only_one;
	PERFORM vibevideo_internal.note_act('resume', jsonb_build_object('cause', cause));
	PERFORM vibevideo.wake();
	RETURN cause IS NOT NULL;
END
$$;
COMMENT ON FUNCTION vibevideo.resume() IS
	'lets a paused database, or one that was restored or copied, act on its jobs, and advances its sequences; false when it was not paused; for operators';
