/*
 * decide.c
 *	  vibevideo_cancel and vibevideo_retry: what users decide about a job.
 *
 * Both only write rows.  The worker contacts fal after the commit, so that a
 * rollback undoes the decision.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "access.h"
#include "input.h"
#include "job.h"
#include "ownerror.h"
#include "publicapi.h"
#include "rowguard.h"
#include "rowsync.h"
#include "shmem.h"
#include "state.h"
#include "statement.h"
#include "subtransaction.h"
#include "wire.h"

PG_FUNCTION_INFO_V1(vibevideo_cancel);
PG_FUNCTION_INFO_V1(vibevideo_retry);

#define MAX_LOOKS 5 /* at jobs that others change meanwhile */

/* false: the job is no longer in a state for it */
static bool
Decide(Statement *decision, int64 job_id)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	ArgTime(&args, GetCurrentTimestamp());
	return StatementRun(decision, &args) == 1;
}

/*
 * A claimed job keeps its lease: its holder may be about to record the request's
 * id.  A job at fal is due a day ago, since the worker leaves polls that just
 * fell due to vibevideo_poll for a while.
 */
static Statement request_cancel = {
	"UPDATE vibevideo.job j SET cancel_requested_at = COALESCE(j.cancel_requested_at, $2),"
	" state = CASE WHEN j.state = 'pending' THEN 'cancelled' ELSE j.state END,"
	" completed_at = CASE WHEN j.state = 'pending' THEN $2 END,"
	/* what it waited for is no reason of its end */
	" error_code = CASE WHEN j.state <> 'pending' THEN j.error_code END,"
	" error = CASE WHEN j.state <> 'pending' THEN j.error END,"
	" next_at = CASE WHEN j.state = 'pending' THEN NULL"
	" WHEN j.leased_by IS NULL THEN $2 - '1 day'::interval ELSE j.next_at END"
	" WHERE j.job_id = $1"
	" AND j.state = ANY (ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating'])"};

static bool
RequestCancel(int64 job_id)
{
	return Decide(&request_cancel, job_id);
}

/*
 * The row's active job, its cancel asked for if it can be.  We may have waited
 * for whoever had that job, and found it ended: then another attempt may have
 * taken its place, which nobody asked for any more.
 */
static int64
CancelActive(const Binding *binding, const char *vibelog_id)
{
	int64 seen = 0;
	int64 job_id;

	while ((job_id = JobFindActive(binding, vibelog_id)) != 0 && job_id != seen)
	{
		if (RequestCancel(job_id))
		{
			RowSyncOne(binding, job_id);
			ShmemWakeAtCommit();
			break;
		}
		seen = job_id;
	}
	return job_id;
}

/*----------
 * vibevideo_cancel(vibelog_id) returns vibevideo.video
 *
 * A job that was not sent is cancelled at once and costs nothing.  A job at fal
 * is cancelled there by the next poll; if fal finishes first, the video is paid
 * for and therefore kept.  So is a video that is being copied.
 *----------
 */
Datum
vibevideo_cancel(PG_FUNCTION_ARGS)
{
	char *vibelog_id = ApiKeyArgument(fcinfo);
	Binding binding;
	int64 job_id;
	Datum video;

	ApiRequireWritable(fcinfo);
	vibelog_id = ApiConnect(&binding, vibelog_id, true);
	job_id = CancelActive(&binding, vibelog_id);
	if (job_id == 0)
		job_id = JobFindLatest(&binding, vibelog_id);
	video = job_id ? ApiDescribe(job_id) : ApiDescribeNone(vibelog_id);
	SPI_finish();
	PG_RETURN_DATUM(video);
}

static Statement send_now = {
	"UPDATE vibevideo.job j SET state = 'pending', next_at = $2, tries = 0,"
	" lease = nextval('vibevideo.lease_seq'), error_code = NULL, error = NULL"
	" WHERE j.job_id = $1"
	" AND j.state = 'pending'"};

/* Whoever asks for it may know that fal is back. */
static bool
SendNow(int64 job_id)
{
	if (!Decide(&send_now, job_id))
		return false;
	ShmemProbeAtCommit(SERVICE_FAL);
	return true;
}

static Statement give_up_unknown = {
	"UPDATE vibevideo.job j SET state = 'failed', next_at = NULL, completed_at = $2,"
	" lease = nextval('vibevideo.lease_seq'), leased_by = NULL, error_code = 'submit_lost',"
	" error = 'its answer was lost; given up in favour of a new attempt', held_usd = COALESCE(j.cost_usd, 0)"
	" WHERE j.job_id = $1 AND j.state = 'submit_unknown'"};

static bool
GiveUpUnknown(int64 job_id)
{
	return Decide(&give_up_unknown, job_id);
}

/* An orphan is nobody's until then: it becomes the row's newest attempt. */
static Statement copy_again = {
	"UPDATE vibevideo.job j SET state = 'processing', next_at = $2, tries = 0, crashes = 0,"
	" orphan = false, cancel_requested_at = NULL, row_bears = CASE WHEN j.orphan THEN $3 ELSE j.row_bears END,"
	" attempt = CASE WHEN j.orphan THEN 1 + (SELECT COALESCE(max(p.attempt), 0) FROM vibevideo.job p"
	" WHERE p.relation = j.relation AND NOT p.orphan AND p.vibelog_id = j.vibelog_id) ELSE j.attempt END,"
	/* restart the copy's timeout */
	" generated_at = $2, completed_at = NULL, error_code = NULL, error = NULL, forgotten_at = NULL"
	" WHERE j.job_id = $1 AND j.state = 'failed'"
	" AND j.media_url IS NOT NULL AND j.erased_at IS NULL"};

/* A row's newest job is the one with the highest number. */
static Statement renumber = {
	"WITH next AS (SELECT nextval('vibevideo.job_id_seq') AS job_id FROM vibevideo.job j WHERE j.job_id = $1"
	" AND EXISTS (SELECT FROM vibevideo.job k WHERE k.relation = j.relation AND k.vibelog_id = j.vibelog_id"
	" AND NOT k.orphan AND k.job_id > $1)),"
	" events AS (UPDATE vibevideo.event e SET job_id = n.job_id FROM next n WHERE e.job_id = $1),"
	" slots AS (UPDATE vibevideo_internal.slot s SET job_id = n.job_id FROM next n WHERE s.job_id = $1),"
	" items AS (UPDATE vibevideo.fal_usage u SET job_id = n.job_id FROM next n WHERE u.job_id = $1),"
	" erasures AS (UPDATE vibevideo.erasure e SET job_id = n.job_id FROM next n WHERE e.job_id = $1)"
	" UPDATE vibevideo.job j SET job_id = n.job_id FROM next n WHERE j.job_id = $1 RETURNING j.job_id"};

typedef struct CopyStep
{
	int64 job_id; /* before and after */
	const char *bears;
	bool done;
} CopyStep;

static void
RunCopyStep(void *arg)
{
	CopyStep *copy = arg;
	Args args = {0};
	Args number = {0};

	ArgInt8(&args, copy->job_id);
	ArgTime(&args, GetCurrentTimestamp());
	ArgText(&args, copy->bears);
	if (StatementRun(&copy_again, &args) != 1)
		return;
	ArgInt8(&number, copy->job_id);
	if (StatementRun(&renumber, &number) > 0)
		copy->job_id = ResultInt(0, 1, 0);
	copy->done = true;
}

/*
 * False if the video is not to be had, or the row has an active job, or gets one
 * just now.  The job may get a new number.  bears is what the row bears that an
 * orphan is given to, BEARS_UNKNOWN if that is not known.
 */
static bool
CopyAgain(int64 *job_id, const char *bears)
{
	CopyStep copy = {*job_id, bears, false};

	if (!SubtransactionRunUnlessTaken(RunCopyStep, &copy))
		return false;
	*job_id = copy.job_id;
	if (copy.done)
		ShmemProbeAtCommit(SERVICE_STORAGE);
	return copy.done;
}

/* Of the videos that were made for a row the newest, if it is an orphan's. */
#define NEWEST_IS_ORPHAN \
	"SELECT o.job_id FROM vibevideo.job o" \
	" WHERE o.relation = $2 AND o.vibelog_id = $1 AND o.orphan AND o.state = 'failed' AND o.media_url IS NOT NULL AND o.erased_at IS NULL" \
	" AND NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.relation = $2 AND k.vibelog_id = $1" \
	" AND NOT k.orphan AND k.media_url IS NOT NULL AND k.job_id > o.job_id)"

static Statement find_orphan = {NEWEST_IS_ORPHAN " LIMIT 1"};

static bool
HasOrphan(const Binding *binding, const char *vibelog_id)
{
	Args args = {0};

	ArgText(&args, vibelog_id);
	ArgRelation(&args, binding->relid);
	return StatementRun(&find_orphan, &args) > 0;
}

static Statement find_equal_orphan = {
	NEWEST_IS_ORPHAN " AND o.model = $3 AND o.input = $4::jsonb"
					 " AND ($5 IS NULL OR o.requested_by IS NULL OR o.requested_by = $5)"
					 " ORDER BY o.job_id DESC LIMIT 1"};

/*
 * An orphan whose video the row may have, since it was paid for; 0 if there is
 * none.  What was asked for, and by whom, must be what would be asked for now:
 * the row may have another text since, or be another row with the same key.
 */
static int64
FindOrphan(const Binding *binding, char *vibelog_id, char **bears)
{
	JobNew now = {.vibelog_id = vibelog_id, .user = ApiRequestingUser()};
	Args args = {0};

	if (!HasOrphan(binding, vibelog_id))
		return 0;
	InputBuild(binding, &now, 1);
	*bears = now.bears;
	ArgText(&args, vibelog_id);
	ArgRelation(&args, binding->relid);
	ArgText(&args, now.model);
	ArgText(&args, now.input);
	ArgText(&args, now.user);
	StatementRun(&find_equal_orphan, &args);
	return ResultFirstInt();
}

/*----------
 * What retrying means depends on how far the job got.  Each returns the job that
 * it came to, 0 if the row's jobs have changed while we waited for one of them.
 *----------
 */
static int64
NewAttempt(const Binding *binding, char *vibelog_id)
{
	JobNew new = {.vibelog_id = vibelog_id, .user = ApiRequestingUser()};

	InputBuild(binding, &new, 1);
	return JobInsert(binding, &new, "pending");
}

/* In doubt: a person decides that it was lost.  Waiting: now.  Else it is under way. */
static int64
RetryActive(const Binding *binding, char *vibelog_id, int64 job_id)
{
	if (GiveUpUnknown(job_id))
		return NewAttempt(binding, vibelog_id);
	return SendNow(job_id) ? job_id : 0;
}

static int64
CopyOr0(int64 job_id, const char *bears)
{
	return CopyAgain(&job_id, bears) ? job_id : 0;
}

static int64
RetryEnded(const Binding *binding, char *vibelog_id, int64 job_id)
{
	char *bears = NULL;
	int64 orphan = FindOrphan(binding, vibelog_id, &bears);
	Job *job = job_id ? JobRead(job_id, CurrentMemoryContext) : NULL;

	if (orphan != 0)
		return CopyOr0(orphan, bears);
	if (job_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_VIBEVIDEO_NOT_FOUND),
				 errmsg("there is no video to retry"),
				 errdetail("No video has been requested for row \"%s\".", WireShown(vibelog_id)),
				 errhint("Request one with vibevideo_submit.")));
	/* each statement sees what others have committed: it may have been deleted meanwhile */
	if (job == NULL)
		return 0;
	/* paid and rendered, only the copy failed: nothing is paid again */
	if (strcmp(job->state, "failed") == 0 && job->media_url != NULL)
		return CopyOr0(job_id, NULL);
	if (strcmp(job->state, "completed") == 0 && job->erased_at == 0)
		return job_id;
	return NewAttempt(binding, vibelog_id);
}

/* Until it has come to something (decided), or one that is under way is all there is to be had. */
static int64
Retry(const Binding *binding, char *vibelog_id, bool *decided)
{
	int64 seen = 0;

	for (int look = 0; look < MAX_LOOKS; look++)
	{
		int64 active = JobFindActive(binding, vibelog_id);
		int64 job_id = active ? active : JobFindLatest(binding, vibelog_id);
		int64 retried;

		*decided = false;
		/* a trigger asks, whenever we write what has become of the try before */
		if (job_id != 0 && (RowGuardIsBeingWritten(binding, vibelog_id) || (active && job_id == seen)))
			return job_id;
		retried = active ? RetryActive(binding, vibelog_id, active) : RetryEnded(binding, vibelog_id, job_id);
		*decided = (retried != 0);
		if (*decided)
			return retried;
		seen = job_id;
	}
	ApiLostRace(vibelog_id);
}

/*----------
 * vibevideo_retry(vibelog_id) returns vibevideo.video
 *----------
 */
Datum
vibevideo_retry(PG_FUNCTION_ARGS)
{
	char *vibelog_id = ApiKeyArgument(fcinfo);
	Binding binding;
	bool decided;
	int64 job_id;
	Datum video;

	ApiRequireWritable(fcinfo);
	vibelog_id = ApiConnect(&binding, vibelog_id, true);
	job_id = Retry(&binding, vibelog_id, &decided);
	if (decided)
	{
		RowSyncOne(&binding, job_id);
		ShmemWakeAtCommit();
	}
	ApiAccepted(vibelog_id);
	video = ApiDescribe(job_id);
	SPI_finish();
	PG_RETURN_DATUM(video);
}

/*----------
 * The operator's, by the job's number: row and table may be gone, and the
 * input is the one that the job had
 *----------
 */

/* The job that the argument names; ERROR if the caller is no operator, or this database may not act on it. */
static Job *
BeginOnJob(FunctionCallInfo fcinfo, Binding *binding)
{
	int64 job_id;
	Job *job;

	StatementConnect();
	(void) BindingLoad(binding);
	(void) AccessRequire(ACCESS_OPERATOR);
	BindingRequireToAct(binding);
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("job must not be null")));
	ApiRequireWritable(fcinfo);
	job_id = PG_GETARG_INT64(0);
	job = JobRead(job_id, CurrentMemoryContext);
	if (job == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_VIBEVIDEO_NOT_FOUND),
				 errmsg("there is no job %lld", (long long) job_id)));
	return job;
}

static Statement find_row_of_job = {
	"SELECT 1 FROM vibevideo.job j WHERE j.job_id = $1 AND j.relation = $2"};

static bool
IsOfTable(int64 job_id, const Binding *binding)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	ArgRelation(&args, BindingIsGone(binding) ? InvalidOid : binding->relid);
	return StatementRun(&find_row_of_job, &args) > 0;
}

static Statement note_decision = {
	"SELECT vibevideo_internal.note_act($1, jsonb_build_object('job', $2), $3, CASE WHEN $4 THEN j.cost_usd END,"
	" jsonb_build_object('job', j.job_id, 'state', j.state)) FROM vibevideo.job j WHERE j.job_id = $5"};

/* What an operator decided: about which job, what was done, and which job it came to. */
typedef struct Decision
{
	const char *action;
	int64 asked;
	int64 job_id;
	bool done;	 /* false: there was nothing to do */
	bool spends; /* on another render */
} Decision;

static void
NoteDecision(const Decision *decision)
{
	Args args = {0};

	ArgText(&args, decision->action);
	ArgInt8(&args, decision->asked);
	ArgInt4(&args, decision->done ? 1 : 0);
	ArgBool(&args, decision->spends);
	ArgInt8(&args, decision->job_id);
	StatementRun(&note_decision, &args);
}

static Statement find_another = {
	"SELECT j.job_id FROM vibevideo.job j JOIN vibevideo.job k ON k.job_id = $1"
	" AND j.vibelog_id = k.vibelog_id AND j.job_id <> k.job_id AND NOT j.orphan"
	" LEFT JOIN pg_class c ON c.oid = k.relation"
	" WHERE j.relation IS NOT DISTINCT FROM c.oid AND vibevideo.is_active(j.state)"};

static int64
RunForJob(Statement *statement, int64 job_id)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	StatementRun(statement, &args);
	return ResultFirstInt();
}

static int64
FindAnother(int64 job_id)
{
	return RunForJob(&find_another, job_id);
}

/* Who reads only that the call has returned would take it for done. */
static void
TellNothingDone(const Decision *decision)
{
	Job *job = JobRead(decision->asked, CurrentMemoryContext);
	int64 another = FindAnother(decision->asked);

	ereport(NOTICE,
			(errmsg("%s has done nothing: job %lld is in state %s", decision->action, (long long) decision->asked,
					job ? job->state : "deleted"),
			 another ? errhint("Its row has job %lld, which has not ended.", (long long) another) : 0));
}

static Datum
EndOnJob(const Decision *decision, const Binding *binding)
{
	int64 job_id = decision->job_id;
	Datum video;

	NoteDecision(decision);
	if (!decision->done)
		TellNothingDone(decision);
	if (IsOfTable(job_id, binding))
		RowSyncOne(binding, job_id);
	ShmemWakeAtCommit();
	video = ApiDescribe(job_id);
	SPI_finish();
	return video;
}

PG_FUNCTION_INFO_V1(vibevideo_require_to_act);
PG_FUNCTION_INFO_V1(vibevideo_hurry);
PG_FUNCTION_INFO_V1(vibevideo_cancel_job);
PG_FUNCTION_INFO_V1(vibevideo_retry_job);

/*
 * Of no table if its own is gone: otherwise it would be cancelled unsent.  The
 * old job is locked, since no index keeps two of no table apart.
 */
static Statement insert_another = {
	"INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, tenant, priority, attempt, row_dirty,"
	" row_bears)"
	" SELECT c.oid, j.vibelog_id, 'pending', j.model, j.input, j.requested_by, j.tenant, j.priority,"
	" (SELECT max(p.attempt) FROM vibevideo.job p WHERE p.relation IS NOT DISTINCT FROM j.relation"
	" AND p.vibelog_id = j.vibelog_id) + 1, c.oid IS NOT NULL,"
	" " BEARS_NOW
	" FROM (SELECT k.* FROM vibevideo.job k WHERE k.job_id = $1 FOR NO KEY UPDATE) j"
	" LEFT JOIN pg_class c ON c.oid = j.relation"
	" ON CONFLICT DO NOTHING RETURNING job_id"};

/*
 * As CancelActive: if we have waited for whoever had the job, and it ended, the
 * attempt that followed is cancelled.  Nothing follows an orphan.
 */
static Decision
CancelJob(const Job *job)
{
	Decision cancel = {"cancel", job->job_id, job->job_id};
	bool may_be_followed = !StateIsFinal(job->state) && !job->orphan;
	int64 next;

	while (!(cancel.done = RequestCancel(cancel.job_id)) && may_be_followed && (next = FindAnother(cancel.job_id)) > cancel.job_id)
		cancel.job_id = next;
	return cancel;
}

/*----------
 * vibevideo.cancel(job) returns vibevideo.video
 *----------
 */
Datum
vibevideo_cancel_job(PG_FUNCTION_ARGS)
{
	Binding binding;
	Job *job = BeginOnJob(fcinfo, &binding);
	Decision cancel = CancelJob(job);

	PG_RETURN_DATUM(EndOnJob(&cancel, &binding));
}

/* The active one there is already, or a new one. */
static void
AnotherAttempt(Decision *retry)
{
	int64 another = FindAnother(retry->asked);

	if (another == 0)
	{
		another = RunForJob(&insert_another, retry->asked);
		retry->spends = (another != 0);
	}
	retry->done = retry->spends;
	retry->job_id = another ? another : FindAnother(retry->asked);
}

static void
RetryJob(const Job *job, Decision *retry)
{
	bool lost = GiveUpUnknown(job->job_id);

	retry->done = !lost && (SendNow(job->job_id) || CopyAgain(&retry->job_id, BEARS_UNKNOWN));
	if (lost || (!retry->done && StateIsFinal(job->state) && strcmp(job->state, "completed") != 0))
		AnotherAttempt(retry);
}

/* As in Retry: a trigger of the row that is being written starts no new try of it. */
static Datum
LeaveAsItIs(const Job *job, const Binding *binding)
{
	int64 latest = JobFindLatest(binding, job->vibelog_id);
	Datum video = ApiDescribe(latest ? latest : job->job_id);

	SPI_finish();
	return video;
}

/*----------
 * vibevideo.retry(job) returns vibevideo.video
 *----------
 */
Datum
vibevideo_retry_job(PG_FUNCTION_ARGS)
{
	Binding binding;
	Job *job = BeginOnJob(fcinfo, &binding);
	Decision retry = {"retry", job->job_id, job->job_id};

	if (RowGuardIsBeingWritten(&binding, job->vibelog_id) && IsOfTable(job->job_id, &binding))
		PG_RETURN_DATUM(LeaveAsItIs(job, &binding));
	RetryJob(job, &retry);
	PG_RETURN_DATUM(EndOnJob(&retry, &binding));
}

/*----------
 * For decisions on many jobs, which are made in SQL
 *----------
 */
Datum
vibevideo_require_to_act(PG_FUNCTION_ARGS)
{
	Binding binding;

	StatementConnect();
	(void) BindingLoad(&binding);
	BindingRequireToAct(&binding);
	SPI_finish();
	PG_RETURN_VOID();
}

Datum
vibevideo_hurry(PG_FUNCTION_ARGS)
{
	ShmemProbeAtCommit(SERVICE_FAL);
	ShmemProbeAtCommit(SERVICE_STORAGE);
	PG_RETURN_VOID();
}
