/*
 * submit.c
 *	  vibevideo_submit, vibevideo_status, and sending a job to fal.
 *
 * The one rule: a POST that may have reached fal is never resent without a
 * decision.  SubmitFinish is the only place that turns an answer, or the lack of
 * one, into the job's next state.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "approw.h"
#include "call.h"
#include "guc.h"
#include "input.h"
#include "job.h"
#include "journal.h"
#include "publicapi.h"
#include "secret.h"
#include "shmem.h"
#include "statement.h"
#include "submit.h"
#include "whose.h"

PG_FUNCTION_INFO_V1(vibevideo_submit);
PG_FUNCTION_INFO_V1(vibevideo_status);

/*----------
 * The exchange with fal
 *----------
 */
void
SubmitStart(Task *task)
{
	ShmemServiceStart(SERVICE_FAL);
	task->http = CallFalSubmit(task->engine, task->key, task->job->model, task->job->input, task);
	/* the request has a copy */
	pfree(task->job->input);
	task->job->input = NULL;
	if (task->http == NULL)
		TaskFail(task, "bad_request",
				 "could not build the request: check vibevideo.fal_queue_url, the model's name and the API key");
}

void
SubmitFinish(Task *task, HttpRequest *request)
{
	FalSubmit *answer = MemoryContextAlloc(task->mcxt, sizeof(FalSubmit));

	FalJudgeSubmit(HttpReplyOf(request), time(NULL), answer);
	task->excused = ShmemServiceReport(SERVICE_FAL, HttpReplyOf(request));
	task->submit = answer->outcome;
	HttpFree(request);
	task->http = NULL;
	switch (answer->outcome)
	{
		case FAL_SUBMIT_ACCEPTED:
			TaskAdvance(task, "queued", (int64) vv_poll_interval * 1000);
			task->update.request_id = answer->request_id;
			task->update.queue_position = answer->queue_position;
			break;
		case FAL_SUBMIT_NOT_SENT:
		case FAL_SUBMIT_BACKOFF:
			TaskRetry(task, vv_max_tries, answer->error.type, answer->error.message,
					  answer->error.retry_after);
			break;
		case FAL_SUBMIT_REFUSED:
			TaskFail(task, answer->error.type, answer->error.message);
			break;
		case FAL_SUBMIT_UNKNOWN:
			TaskAdvance(task, "submit_unknown", 1000);
			task->update.error_code = answer->error.type;
			task->update.error = answer->error.message;
			break;
	}
}

void
SubmitAbandon(Task *task)
{
	TaskAdvance(task, "submit_unknown", 0);
	task->update.error_code = "answer_lost";
	task->update.error = "the worker was stopped before fal.ai answered";
}

/* The row's active job, or a new one in this state. */
static int64
FindOrInsert(const Binding *binding, char *vibelog_id, const char *state,
			 bool *is_new)
{
	int64 job_id = JobFindActive(binding, vibelog_id);
	JobNew new = {.vibelog_id = vibelog_id};

	*is_new = false;
	if (job_id == 0 && AppRowIsBeingWritten(binding, vibelog_id))
		job_id = JobFindLatest(binding, vibelog_id);
	if (job_id != 0)
		return job_id;
	new.user = ApiRequestingUser();
	InputBuild(binding, &new, 1);
	job_id = JobInsert(binding, &new, state);
	*is_new = (job_id != 0);
	/* another call was faster: the unique index made us wait for its commit */
	if (job_id == 0)
		job_id = JobFindActive(binding, vibelog_id);
	if (job_id == 0)
		ApiLostRace(vibelog_id);
	return job_id;
}

static void
ReadFalKey(char key[SECRET_SIZE])
{
	if (!SecretRead(SECRET_FAL, key, SECRET_SIZE, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no fal.ai API key is configured"),
				 errdetail("There is no Vault secret \"%s\", and neither FAL_KEY in the server's environment nor vibevideo.fal_key is set.",
						   vv_fal_key_secret),
				 errhint("Run SELECT vault.create_secret('<id>:<secret>', '%s') or ALTER SYSTEM SET vibevideo.fal_key.",
						 vv_fal_key_secret)));
}

/* If cancelled before anything was sent, as during the DNS lookup, the rollback undoes everything. */
static void
Exchange(Task *task)
{
	HttpRequest *request = task->http;
	volatile bool sent = false;

	PG_TRY();
	{
		HttpFinish(task->engine, request, &sent);
	}
	PG_CATCH();
	{
		if (!sent)
			JournalAnswer(task->job, FAL_SUBMIT_NOT_SENT, NULL);
		PG_RE_THROW();
	}
	PG_END_TRY();
	SubmitFinish(task, request);
}

/* Post a job that was just inserted, wait for fal's answer, and record it. */
static const char *
PostNow(const Binding *binding, int64 job_id, const char *key)
{
	MemoryContext mcxt = TaskContext(CurrentMemoryContext);
	Task *task = TaskCreate(TASK_SUBMIT, JobRead(job_id, mcxt), mcxt, HttpBackendEngine(), key);
	const char *state;

	/* from here on a rollback does not undo everything: the journal keeps what it cannot */
	JournalIntent(task->job);
	SubmitStart(task);
	if (TaskIsOver(task))
		task->submit = FAL_SUBMIT_REFUSED;
	else
		Exchange(task);
	JournalAnswer(task->job, task->submit, task->update.request_id);
	task->update.row_written = true;
	if (JobRecord(&task->update, 1, NULL) != 1)
		elog(ERROR, "vibevideo: job %lld was claimed by another process while it was sent", (long long) job_id);
	state = pstrdup(task->update.state);
	if (AppRowWriteOne(binding, job_id) && strcmp(state, "queued") == 0)
		ShmemExpectAtCommit(task->update.next_at);
	else
		ShmemWakeAtCommit();
	TaskFree(task);
	return state;
}

static Statement count_room = {
	"SELECT vibevideo.room_at_fal(true)"};

/* Does vibevideo.max_active allow one more, after those already waiting? */
static bool
FalHasRoom(void)
{
	if (vv_max_active == 0)
		return true;
	StatementRun(&count_room, NULL);
	return ResultFirstInt() > 0;
}

static Statement note_reason = {
	"UPDATE vibevideo.job j SET error_code = $2, error = $3 WHERE j.job_id = $1"};

/* why a job that was not sent yet is waiting */
static void
NoteReason(int64 job_id, const char *error_code, const char *error)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	ArgText(&args, error_code);
	ArgText(&args, error);
	StatementRun(&note_reason, &args);
}

/*----------
 * vibevideo_submit(vibelog_id) returns vibevideo.video
 *----------
 */
Datum
vibevideo_submit(PG_FUNCTION_ARGS)
{
	char *vibelog_id = ApiKeyArgument(fcinfo);
	char key[SECRET_SIZE];
	Binding binding;
	int64 job_id;
	bool is_new;
	bool has_room;
	bool send_now;
	bool refused = false;
	Datum video;

	vibelog_id = ApiConnect(&binding, vibelog_id, true);
	ReadFalKey(key);
	/* while fal is down the worker sends it later: the caller need not wait for a timeout */
	has_room = FalHasRoom();
	send_now = (has_room && !AppRowIsWriting() && ShmemServiceAllows(SERVICE_FAL, 1) > 0);
	job_id = FindOrInsert(&binding, vibelog_id, send_now ? "submitting" : "pending", &is_new);
	if (is_new)
	{
		if (!send_now)
		{
			if (!has_room)
				NoteReason(job_id, "fal_busy", "others are ahead of it");
			else if (!AppRowIsWriting())
				NoteReason(job_id, "fal_down", "fal.ai cannot be reached at the moment");
			AppRowWriteOne(&binding, job_id);
			ShmemWakeAtCommit();
		}
		else
			refused = (strcmp(PostNow(&binding, job_id, key), "failed") == 0);
	}
	if (refused)
		ApiRejectedByFal();
	else
		ApiAccepted(vibelog_id);
	SecretWipe(key, sizeof(key));
	video = ApiDescribe(job_id);
	SPI_finish();
	PG_RETURN_DATUM(video);
}

/*----------
 * vibevideo_status(vibelog_id) returns vibevideo.video
 *----------
 */
Datum
vibevideo_status(PG_FUNCTION_ARGS)
{
	char *vibelog_id = ApiKeyArgument(fcinfo);
	Binding binding;
	bool strayed;
	int64 job_id;
	Datum video;

	vibelog_id = ApiConnect(&binding, vibelog_id, false);
	job_id = WhoseNewest(&binding, vibelog_id, &strayed);
	if (job_id == 0)
		video = ApiDescribeNone(vibelog_id);
	else
		video = strayed ? ApiDescribeAs(job_id, vibelog_id) : ApiDescribe(job_id);
	SPI_finish();
	PG_RETURN_DATUM(video);
}
