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
#include "utils/timestamp.h"

#include "approw.h"
#include "input.h"
#include "job.h"
#include "publicapi.h"
#include "shmem.h"
#include "state.h"
#include "statement.h"
#include "wire.h"

PG_FUNCTION_INFO_V1(vibevideo_cancel);
PG_FUNCTION_INFO_V1(vibevideo_retry);

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
	" next_at = CASE WHEN j.state = 'pending' THEN NULL"
	" WHEN j.leased_by IS NULL THEN $2 - '1 day'::interval ELSE j.next_at END"
	" WHERE j.job_id = $1"
	" AND j.state = ANY (ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating'])"};

static bool
RequestCancel(int64 job_id)
{
	return Decide(&request_cancel, job_id);
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

	vibelog_id = ApiConnect(&binding, vibelog_id, true);
	job_id = JobFindActive(&binding, vibelog_id);
	if (job_id != 0 && RequestCancel(job_id))
	{
		AppRowWriteOne(&binding, job_id);
		ShmemWakeAtCommit();
	}
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

static bool
SendNow(int64 job_id)
{
	return Decide(&send_now, job_id);
}

static Statement give_up_unknown = {
	"UPDATE vibevideo.job j SET state = 'failed', next_at = NULL, completed_at = $2,"
	" lease = nextval('vibevideo.lease_seq'), leased_by = NULL, error_code = 'submit_lost',"
	" error = 'its answer was lost; given up in favour of a new attempt'"
	" WHERE j.job_id = $1 AND j.state = 'submit_unknown'"};

static bool
GiveUpUnknown(int64 job_id)
{
	return Decide(&give_up_unknown, job_id);
}

static Statement copy_again = {
	"UPDATE vibevideo.job j SET state = 'processing', next_at = $2, tries = 0, crashes = 0,"
	/* restart the copy's timeout */
	" generated_at = $2, completed_at = NULL, error_code = NULL, error = NULL"
	" WHERE j.job_id = $1 AND j.state = 'failed'"
	" AND j.media_url IS NOT NULL"};

static bool
CopyAgain(int64 job_id)
{
	return Decide(&copy_again, job_id);
}

/* What retrying means depends on how far the job got. */
static int64
Retry(const Binding *binding, char *vibelog_id, Job *job, bool active)
{
	JobNew new = {.vibelog_id = vibelog_id};
	int64 job_id;

	/* a trigger asks, whenever we write what became of the attempt before */
	if (AppRowIsBeingWritten(binding, vibelog_id))
		return job->job_id;
	/* pending: send it now.  Lost submit: the user decides that fal does not have it.  Otherwise it is running. */
	if (active && !GiveUpUnknown(job->job_id))
	{
		SendNow(job->job_id);
		return job->job_id;
	}
	/* the video was rendered and only the copy failed: nothing is paid for again */
	if (strcmp(job->state, "failed") == 0 && job->media_url != NULL)
	{
		CopyAgain(job->job_id);
		return job->job_id;
	}
	if (strcmp(job->state, "completed") == 0)
		return job->job_id;
	new.user = ApiRequestingUser();
	InputBuild(binding, &new, 1);
	job_id = JobInsert(binding, &new, "pending");
	return job_id ? job_id : JobFindActive(binding, vibelog_id);
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
	int64 job_id;
	Job *job;
	bool active;
	Datum video;

	vibelog_id = ApiConnect(&binding, vibelog_id, true);
	job_id = JobFindActive(&binding, vibelog_id);
	active = (job_id != 0);
	if (!active)
		job_id = JobFindLatest(&binding, vibelog_id);
	if (job_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_VIBEVIDEO_NOT_FOUND),
				 errmsg("there is no video to retry"),
				 errdetail("No video has been requested for row \"%s\".", WireShown(vibelog_id)),
				 errhint("Request one with vibevideo_submit.")));
	job = JobRead(job_id, CurrentMemoryContext);
	/* each statement has its own snapshot: the job may have been deleted meanwhile */
	if (job == NULL)
		ApiLostRace(vibelog_id);
	job_id = Retry(&binding, vibelog_id, job, active);
	AppRowWriteOne(&binding, job_id);
	ShmemWakeAtCommit();
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

/* ERROR if there is no such job, or this database may not act on it */
static Job *
BeginOnJob(int64 job_id, Binding *binding)
{
	Job *job;

	StatementConnect();
	(void) BindingLoad(binding);
	BindingRequireToAct(binding);
	job = JobRead(job_id, CurrentMemoryContext);
	if (job == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_VIBEVIDEO_NOT_FOUND),
				 errmsg("there is no job %lld", (long long) job_id)));
	return job;
}

static Statement find_row_of_job = {
	"SELECT 1 FROM vibevideo.job j WHERE j.job_id = $1 AND j.relation = $2"};

/* Its row, if the attached table is the one it is in. */
static Datum
EndOnJob(int64 job_id, const Binding *binding)
{
	Args args = {0};
	Datum video;

	ArgInt8(&args, job_id);
	ArgRelation(&args, BindingIsGone(binding) ? InvalidOid : binding->relid);
	if (StatementRun(&find_row_of_job, &args) > 0)
		AppRowWriteOne(binding, job_id);
	ShmemWakeAtCommit();
	video = ApiDescribe(job_id);
	SPI_finish();
	return video;
}

PG_FUNCTION_INFO_V1(vibevideo_cancel_job);
PG_FUNCTION_INFO_V1(vibevideo_retry_job);

/*----------
 * vibevideo.cancel(job) returns vibevideo.video
 *----------
 */
Datum
vibevideo_cancel_job(PG_FUNCTION_ARGS)
{
	int64 job_id = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
	Binding binding;

	(void) BeginOnJob(job_id, &binding);
	(void) RequestCancel(job_id);
	PG_RETURN_DATUM(EndOnJob(job_id, &binding));
}

/*
 * Of no table if its own is gone: otherwise it would be cancelled unsent.  The
 * old job is locked, since no index keeps two of no table apart.
 */
static Statement insert_another = {
	"INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, priority, attempt, row_dirty,"
	" row_bears)"
	" SELECT c.oid, j.vibelog_id, 'pending', j.model, j.input, j.requested_by, j.priority,"
	" (SELECT max(p.attempt) FROM vibevideo.job p WHERE p.relation IS NOT DISTINCT FROM j.relation"
	" AND p.vibelog_id = j.vibelog_id) + 1, c.oid IS NOT NULL,"
	" CASE WHEN j.row_dirty THEN j.row_bears ELSE COALESCE(j.request_id, '" BEARS_STATUS "') END"
	" FROM (SELECT k.* FROM vibevideo.job k WHERE k.job_id = $1 FOR NO KEY UPDATE) j"
	" LEFT JOIN pg_class c ON c.oid = j.relation"
	" ON CONFLICT DO NOTHING RETURNING job_id"};

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

/* The active one there is already, or a new one. */
static int64
AnotherAttempt(int64 job_id)
{
	int64 another = FindAnother(job_id);

	if (another == 0)
		another = RunForJob(&insert_another, job_id);
	return another ? another : FindAnother(job_id);
}

/*----------
 * vibevideo.retry(job) returns vibevideo.video
 *----------
 */
Datum
vibevideo_retry_job(PG_FUNCTION_ARGS)
{
	int64 job_id = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
	Binding binding;
	Job *job = BeginOnJob(job_id, &binding);

	if (GiveUpUnknown(job_id))
		job_id = AnotherAttempt(job_id);
	else if (!SendNow(job_id) && !CopyAgain(job_id) && StateIsFinal(job->state) && strcmp(job->state, "completed") != 0)
		job_id = AnotherAttempt(job_id);
	PG_RETURN_DATUM(EndOnJob(job_id, &binding));
}
