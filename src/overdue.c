/*
 * overdue.c
 *	  The end of jobs whose time is over.
 *
 * Every job becomes final.  At job_timeout the usual steps cancel it at fal, or
 * give it up; but they act on answers, and there may be none: no key, a service
 * that is down, a list that cannot be read.  So this is the last word, some time
 * later, whatever anybody has answered.
 *
 * Left alone are a lost submit under unknown_policy manual, which waits for a
 * person, and jobs that wait for their turn in a queue that moves.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "guc.h"
#include "overdue.h"
#include "ownerror.h"
#include "statement.h"

#define MAX_GRACE_MS 3600000 /* for the usual steps to come to an end of their own */
#define LOOK_MS 60000
#define AWAY_MS 180000 /* without a look: nothing was done for the jobs meanwhile */

/* One that somebody has claimed gets its answer first. */
static Statement end_overdue = {
	"UPDATE vibevideo.job j SET state = r.new_state, next_at = NULL, completed_at = $1,"
	" lease = nextval('vibevideo.lease_seq'), leased_by = NULL, error_code = r.error_code, error = r.error,"
	/* nobody knows what fal has done */
	" held_usd = CASE WHEN r.old_state = ANY (ARRAY['submit_unknown', 'queued', 'generating']) THEN COALESCE(j.cost_usd, 0) END"
	" FROM (SELECT k.job_id, k.state AS old_state,"
	" CASE WHEN k.state = 'submit_unknown' AND (k.orphan OR k.cancel_requested_at IS NOT NULL)"
	" THEN 'cancelled' ELSE 'failed' END AS new_state,"
	" CASE k.state WHEN 'submit_unknown' THEN 'submit_lost' ELSE 'job_timeout' END AS error_code,"
	" CASE k.state WHEN 'submit_unknown' THEN 'its answer was lost, and what became of it could not be found out in time'"
	" WHEN 'pending' THEN 'it could not be sent in time'"
	" WHEN 'processing' THEN 'the video could not be stored in time'"
	" ELSE 'fal.ai has neither finished nor cancelled it in time' END AS error"
	/* state by state, so that finished jobs are not read */
	" FROM vibevideo.job k WHERE k.job_id = ANY ("
	"ARRAY(SELECT a.job_id FROM vibevideo.job a WHERE a.state = 'pending' AND a.created_at < $2)"
	" || ARRAY(SELECT a.job_id FROM vibevideo.job a WHERE a.state = 'submit_unknown' AND a.created_at < $2)"
	" || ARRAY(SELECT a.job_id FROM vibevideo.job a WHERE a.state = ANY (ARRAY['queued', 'generating']) AND a.created_at < $2)"
	" || ARRAY(SELECT a.job_id FROM vibevideo.job a WHERE a.state = 'processing' AND a.created_at < $2))"
	" AND (k.leased_by IS NULL OR k.next_at <= $1) AND ("
	"k.state = 'pending' AND k.created_at < $2 AND NOT EXISTS (SELECT FROM vibevideo.job a"
	" WHERE a.state = ANY (ARRAY['queued', 'generating']) AND a.sent_at >= $2)"
	" OR k.state = 'submit_unknown' AND COALESCE(k.sent_at, k.created_at) < $2"
	" AND ($3 OR k.orphan OR k.cancel_requested_at IS NOT NULL)"
	" OR k.state = ANY (ARRAY['queued', 'generating']) AND COALESCE(k.submitted_at, k.created_at) < $2"
	" OR k.state = 'processing' AND COALESCE(k.generated_at, k.created_at) < $2)"
	" FOR NO KEY UPDATE SKIP LOCKED) r"
	" WHERE j.job_id = r.job_id"
	" RETURNING j.job_id, r.old_state, r.new_state, r.error"};

static void
End(TimestampTz now, int64 age_ms)
{
	Args args = {0};
	uint64 n;

	ArgTime(&args, now);
	ArgTime(&args, TimestampTzPlusMilliseconds(now, -age_ms));
	ArgBool(&args, vv_unknown_policy != UNKNOWN_MANUAL);
	n = StatementRun(&end_overdue, &args);
	for (uint64 i = 0; i < n; i++)
		ereport(LOG,
				(errmsg("vibevideo job %lld: %s -> %s: %s", (long long) ResultInt(i, 1, 0),
						ResultText(i, 2), ResultText(i, 3), ResultText(i, 4))));
}

/* Nobody is ended for the time that we were away, or paused. */
void
OverdueEnd(TimestampTz now)
{
	static TimestampTz since = 0;
	static TimestampTz looked = 0;
	static TimestampTz ended = 0;
	int64 timeout_ms = (int64) vv_job_timeout * 1000;
	int64 grace_ms = Min(timeout_ms, MAX_GRACE_MS);

	if (looked == 0 || TimestampDifferenceExceeds(looked, now, AWAY_MS))
		since = now;
	looked = now;
	if (vv_job_timeout == 0 || now < TimestampTzPlusMilliseconds(since, grace_ms) ||
		now < TimestampTzPlusMilliseconds(ended, Min(grace_ms, LOOK_MS)))
		return;
	End(now, timeout_ms + grace_ms);
	ended = now;
}
