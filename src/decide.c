/*
 * decide.c
 *	  vibevideo_cancel and vibevideo_retry: what people decide about a job.
 *
 * Both only write rows.  What has to be told to fal is told by the worker
 * after commit, so that a rollback takes the decision back.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "job.h"
#include "publicapi.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(vibevideo_cancel);
PG_FUNCTION_INFO_V1(vibevideo_retry);

/*----------
 * vibevideo_cancel(vibelog_id) returns vibevideo.video
 *
 * A job that was not sent is cancelled at once and costs nothing.  One at fal
 * is cancelled there by the next poll; if fal is faster the video is paid and
 * therefore kept.  One that is being copied is left alone for the same reason.
 *----------
 */
Datum
vibevideo_cancel(PG_FUNCTION_ARGS)
{
	char *vibelog_id = ApiKeyArgument(fcinfo);
	Binding binding;
	int64 job_id;
	Datum video;

	vibelog_id = ApiBegin(&binding, vibelog_id, true);
	job_id = JobFindActive(&binding, vibelog_id);
	if (job_id != 0 && JobRequestCancel(job_id))
	{
		JobSyncRow(&binding, job_id);
		ShmemWakeAtCommit();
	}
	if (job_id == 0)
		job_id = JobFindLatest(&binding, vibelog_id);
	video = job_id ? JobDescribe(job_id) : JobDescribeNone(vibelog_id);
	SPI_finish();
	PG_RETURN_DATUM(video);
}

/* What retrying means depends on how far the job got. */
static int64
Retry(const Binding *binding, char *vibelog_id, Job *job, bool active)
{
	JobNew new = {.vibelog_id = vibelog_id};
	int64 job_id;

	/* waiting: now.  In doubt: a person decides that it was lost.  Else it is under way. */
	if (active && !JobGiveUpUnknown(job->job_id))
	{
		JobSendNow(job->job_id);
		return job->job_id;
	}
	/* paid and rendered, only the copy failed: nothing is paid again */
	if (strcmp(job->state, "failed") == 0 && job->media_url != NULL)
	{
		JobCopyAgain(job->job_id);
		return job->job_id;
	}
	if (strcmp(job->state, "completed") == 0)
		return job->job_id;
	new.user = ApiRequestingUser();
	JobBuildInputs(binding, &new, 1);
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

	vibelog_id = ApiBegin(&binding, vibelog_id, true);
	job_id = JobFindActive(&binding, vibelog_id);
	active = (job_id != 0);
	if (!active)
		job_id = JobFindLatest(&binding, vibelog_id);
	if (job_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_VIBEVIDEO_NOT_FOUND),
				 errmsg("row %s has no video to try again", vibelog_id),
				 errhint("Ask for one with vibevideo_submit.")));
	job = JobRead(job_id, CurrentMemoryContext);
	/* each statement sees what others have committed: it may have been deleted meanwhile */
	if (job == NULL)
		ApiLostRace(vibelog_id);
	job_id = Retry(&binding, vibelog_id, job, active);
	JobSyncRow(&binding, job_id);
	ShmemWakeAtCommit();
	ApiAccepted(vibelog_id);
	video = JobDescribe(job_id);
	SPI_finish();
	PG_RETURN_DATUM(video);
}
