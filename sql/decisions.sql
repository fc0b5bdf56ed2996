/* sql/decisions.sql: what an operator decides about one job, and pausing */

-- Each of these begins by requiring an operator, and ends by noting the act: see
-- access.sql.

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
	-- a misspelt not_sent must not become the id of a request that there is not; another
	-- form of id would have to come from fal.ai itself
	IF verdict IS NULL OR verdict <> 'not_sent' AND verdict !~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$'
		AND NOT EXISTS (SELECT FROM vibevideo_internal.lost_look l CROSS JOIN LATERAL jsonb_array_elements(l.candidates) AS c(request)
						WHERE l.job_id = resolve.job AND c.request ->> 'request_id' = verdict)
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the verdict must be fal.ai''s request id or not_sent',
			HINT = 'A request id is a UUID, as fal.ai''s dashboard and vibevideo.lost() show it; not_sent means that fal.ai has no such request.';
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
'Decides what became of a lost submit, a job in state submit_unknown.
job: its job_id in vibevideo.jobs.
verdict: the request id that fal.ai''s dashboard shows for it, a UUID, or that of one of its candidates in
  vibevideo.lost(); or ''not_sent'' if fal.ai has no such request: then it is sent again, or cancelled if that was
  requested.
Returns the job as vibevideo.video.
Errors: PT404 no such job; PT409 it is not a lost submit, or another job has this request id; 22023 the
  verdict is neither; 22004 an argument is null; 42501 not an operator.
For operators.';

CREATE FUNCTION vibevideo.cancel(job bigint)
RETURNS vibevideo.video LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_cancel_job';
COMMENT ON FUNCTION vibevideo.cancel(bigint) IS
'Cancels a job, whatever became of its row and table, or the attempt that has just followed it.
job: its job_id in vibevideo.jobs.
Returns the job as vibevideo.video: cancelled at once if it was not sent, else as soon as fal.ai has been
  told. One that has ended or is being copied is returned as it is, with a notice that says so, and which job
  of its row has not ended.
Errors: PT404 no such job; 55000 this database is a copy; 42501 not an operator.
For operators.';

-- What vibevideo_retry does, with the input that the job had.
CREATE FUNCTION vibevideo.retry(job bigint)
RETURNS vibevideo.video LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'vibevideo_retry_job';
COMMENT ON FUNCTION vibevideo.retry(bigint) IS
'Tries again to make a job''s video, with the input it had, whatever became of its row and table. A rendered
  video is only copied, a job that waits is sent now; a lost submit, and one that ended without a video, is a
  new attempt, which is paid for.
job: its job_id in vibevideo.jobs.
Returns the job, or the new one, as vibevideo.video. If the table is gone, the new one has no row. Where there is
  nothing to do, as for one that fal.ai has, a notice says so.
Errors: PT404 no such job; PT402, PT429 its user is over a limit; 55000 this database is a copy; 42501 not an
  operator.
For operators.';

-- One service, fal.ai or Storage: whether it was taken to be down, whether it answers,
-- what it said, and until when it is left alone.
CREATE FUNCTION vibevideo_internal.reach(service text, OUT was_down boolean, OUT answers boolean, OUT detail text, OUT next_probe_at timestamptz)
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'vibevideo_reach';
COMMENT ON FUNCTION vibevideo_internal.reach(text) IS
	'asks fal.ai or Storage whether it answers, and closes its circuit breaker if it does; owner only';

-- What is asked changes nothing there.  A service that does not answer keeps the
-- wait it has.
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
'Asks fal.ai and Storage over the network whether they answer, for at most 3 seconds each, and lets jobs go at
  once to one that does.
Returns a row for each:
service: fal.ai or Storage.
was_down: whether its circuit breaker was open.
answers: whether it answers; NULL if it was not asked.
detail: what it said, or why it was not asked.
next_probe_at: until when it is left alone; NULL if it is not.
Errors: 42501 not an operator.
For operators.';

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
					 ('vibevideo_internal.new_costs_note_id_seq', (SELECT max(n.note_id) FROM vibevideo_internal.new_costs n)),
					 ('vibevideo.fal_usage_event_id_seq', (SELECT max(u.event_id) FROM vibevideo.fal_usage u)),
					 ('vibevideo.erasure_erasure_id_seq', (SELECT max(e.erasure_id) FROM vibevideo.erasure e)),
					 ('vibevideo.receipt_receipt_id_seq', (SELECT max(r.receipt_id) FROM vibevideo.receipt r)),
					 ('vibevideo_internal.refund_seq', greatest((SELECT max(t.n) FROM vibevideo_internal.till t), (SELECT max(l.n) FROM vibevideo_internal.slot l), (SELECT max(d.n) FROM vibevideo_internal.share_due d)))) AS s(sequence, most)
	LOOP
		IF used.most > coalesce(used.last, 0) THEN
			PERFORM setval(used.sequence, used.most);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.advance_sequences() IS 'part of resume: advances sequences past what the tables hold; owner only';

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
'Pauses this database until vibevideo.resume(), and notes who did so and since when. Calls of the app are still
  accepted, and wait.
scope: sending stops only the sending of new jobs, all stops polls, copies and writes of rows as well;
  default: sending.
reason: for whoever meets the pause; default: none.
Returns false, and changes nothing, if it was paused so already, is a copy, or no table is attached.
Errors: 22023 another scope; 42501 not an operator.
For operators.';

-- A database that was restored or copied holds jobs that the original works on
-- too: until this is called nothing is sent from here.
CREATE FUNCTION vibevideo.resume()
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	cause text;
	copied boolean;
BEGIN
	PERFORM vibevideo_internal.require('operator');
	SELECT vibevideo_internal.pause_cause(b) INTO cause FROM vibevideo.binding b;
	-- whatever has brought the rows here may have left sequences behind, and may not have
	-- fired the triggers of past_costs; to look for that is to read all jobs
	copied = EXISTS (SELECT FROM vibevideo.binding b WHERE vibevideo_internal.is_copy(b));
	IF copied OR vibevideo_internal.sequences_behind() THEN
		PERFORM vibevideo_internal.advance_sequences();
	END IF;
	IF copied THEN
		PERFORM vibevideo_internal.sum_past_costs();
		PERFORM vibevideo_internal.sum_usage();
	END IF;
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
'Ends a pause, and says that this database, if it was restored or copied, is the one that works on its jobs:
  the original must not do so any more.
Advances sequences that are behind their tables, as after logical replication.
Returns whether it was paused.
Errors: 42501 not an operator.
For operators.';
