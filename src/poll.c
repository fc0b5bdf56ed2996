/*
 * poll.c
 *	  vibevideo_poll, and the steps that it shares with the worker: polling
 *	  the status, fetching the result, cancelling.
 *
 * fal's status is not monotonic (a running request may return to the queue, and
 * the job stays generating), and COMPLETED does not mean success: the result's
 * HTTP status decides.  No answer ever moves a job backward.  A cancel that fal
 * refuses is repeated with each poll, which then also asks for the status: a
 * video that gets finished is kept.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "backoff.h"
#include "call.h"
#include "copy.h"
#include "guc.h"
#include "json.h"
#include "kind.h"
#include "ownerror.h"
#include "polling.h"
#include "publicapi.h"
#include "rowguard.h"
#include "rowsync.h"
#include "secret.h"
#include "shmem.h"
#include "state.h"
#include "statement.h"
#include "wire.h"

PG_FUNCTION_INFO_V1(vibevideo_poll);

#define FEW_AT_ONCE 64 /* requests in flight at first, and how many are added */
#define PATIENCE_MS 2
/*
 * "No such request" may be fal's own lag, or a gateway's error, and ends a job
 * that is paid for: believe it when status and result have said it so often,
 * with pauses that double from the first.
 */
#define GONE_LIMIT 4
#define GONE_PAUSE 30 /* s; some minutes in all */

int
PollLeaseMs(void)
{
	/* status, result and cancel may follow one another */
	return 3 * (CALL_WAIT_MS + vv_poll_timeout) + 30000;
}

static void
StartCall(Task *task, FalCall call)
{
	task->call = call;
	task->http = CallFal(task->engine, call, task->key, task->job->model, task->job->request_id, task);
	if (task->http)
		ShmemServiceStart(SERVICE_FAL);
	else
		TaskRetry(task, 0, "bad_request",
				  "could not build the request: check vibevideo.fal_queue_url and the API key", -1);
}

/* What is to be cancelled is looked at before: fal may bill what it has begun. */
void
PollStart(Task *task)
{
	bool begun = strcmp(task->job->state, "generating") == 0;

	task->may_be_billed = true;
	StartCall(task, task->job->cancel_requested_at && begun ? FAL_CALL_CANCEL : FAL_CALL_STATUS);
}

static bool
IsToBeCancelled(const Task *task)
{
	return task->job->cancel_requested_at && !task->cancel_refused;
}

/* poll again later: less often the older the job is */
static void
KeepPolling(Task *task, const char *state, int queue_position)
{
	TaskAdvance(task, state, PollDelayMs(JobAgeMs(task->job), (int64) vv_poll_interval * 1000, TaskChance()));
	task->update.queue_position = queue_position;
}

static void
RetryOrGiveUp(Task *task, const FalError *error)
{
	if (JobIsOverdue(task->job))
		TaskFail(task, error->type, error->message);
	else
		TaskRetry(task, 0, error->type, error->message, error->retry_after);
}

/* fal neither finishes it nor stops it, or has finished it and does not hand it out. */
static void
FailOverdue(Task *task, const char *what, const char *words)
{
	char message[600];

	snprintf(message, sizeof(message), "not finished after %d s (vibevideo.job_timeout); %s: %.400s", vv_job_timeout, what, words);
	TaskFail(task, "job_timeout", message);
}

static void
FailNotStopped(Task *task, const FalError *error)
{
	FailOverdue(task, "fal.ai did not cancel it", error->message);
}

/* Of the same error: others do not count. */
static void
CountSame(Task *task, const FalError *error)
{
	if (task->job->error_code == NULL || strcmp(task->job->error_code, error->type) != 0)
		task->job->tries = 0;
}

static void
RetryUnreadable(Task *task, const FalError *error)
{
	CountSame(task, error);
	TaskRetry(task, vv_max_tries, error->type, error->message, -1);
}

static void
RetryGone(Task *task, const FalError *error)
{
	CountSame(task, error);
	TaskRetry(task, GONE_LIMIT, error->type, error->message, GONE_PAUSE << Min(task->job->tries, GONE_LIMIT));
}

/* A cancel that was requested, or our own because of job_timeout. */
static void
EndAsCancelled(Task *task)
{
	char message[100];

	if (task->job->cancel_requested_at)
	{
		TaskUpdate(task, "cancelled");
		return;
	}
	snprintf(message, sizeof(message), "not finished after %d s (vibevideo.job_timeout); cancelled at fal.ai",
			 vv_job_timeout);
	TaskFail(task, "job_timeout", message);
}

static void
AfterStatus(Task *task, const HttpReply *reply)
{
	FalStatus status;

	FalJudgeStatus(reply, time(NULL), &status);
	task->may_be_billed = (status.state != FAL_STATE_QUEUED);
	if (IsToBeCancelled(task) && status.state != FAL_STATE_COMPLETED)
	{
		StartCall(task, FAL_CALL_CANCEL);
		return;
	}
	switch (status.state)
	{
		case FAL_STATE_COMPLETED:
			task->has_status_error = status.has_error;
			task->status_error = status.error;
			StartCall(task, FAL_CALL_RESULT);
			break;
		case FAL_STATE_QUEUED:
		case FAL_STATE_RUNNING:
			if (task->cancel_refused && JobIsOverdue(task->job))
				FailNotStopped(task, &task->cancel_error);
			else if (task->cancel_refused)
				RetryOrGiveUp(task, &task->cancel_error);
			else if (JobIsOverdue(task->job))
				StartCall(task, FAL_CALL_CANCEL);
			else
				/* if it is queued again fal has started it over, but its status does not go back */
				KeepPolling(task, status.state == FAL_STATE_RUNNING ? "generating" : task->job->state,
							status.state == FAL_STATE_QUEUED ? Max(status.queue_position, 0) : -1);
			break;
		case FAL_STATE_GONE:
			if (task->cancel_refused)
				EndAsCancelled(task);
			else
				StartCall(task, FAL_CALL_RESULT);
			break;
		case FAL_STATE_DENIED:
		case FAL_STATE_RETRY:
			RetryOrGiveUp(task, &status.error);
			break;
	}
}

/* Is this failure the effect of our own cancel, whose answer was lost? */
static bool
IsOwnCancel(const Task *task, const FalError *error)
{
	return task->job->cancel_requested_at ||
		(JobIsOverdue(task->job) && strcmp(error->type, "client_cancelled") == 0);
}

/* An output, not a gateway's page, that is not JSON. */
static bool
IsUnreadable(const HttpReply *reply, const FalResult *result)
{
	return reply->outcome == HTTP_ANSWERED && reply->status >= 200 && reply->status <= 299 && reply->body_len > 0 &&
		strcmp(result->error.type, "bad_response") == 0 && !WireIsHtml(reply);
}

/* An output that is not read strictly is read as fal's own clients read it. */
static FalResult *
ReadResult(Task *task, const HttpReply *reply)
{
	const FalError *error = task->has_status_error ? &task->status_error : NULL;
	FalResult *result = MemoryContextAlloc(task->mcxt, sizeof(FalResult));

	FalJudgeResult(reply, error, time(NULL), result);
	if (IsUnreadable(reply, result))
	{
		HttpReply repaired = *reply;
		char *body = MemoryContextAlloc(task->mcxt, 3 * reply->body_len);

		repaired.body = body;
		repaired.body_len = JsonRepair(reply->body, reply->body_len, body);
		FalJudgeResult(&repaired, error, time(NULL), result);
		pfree(body);
	}
	return result;
}

/* Nobody looks at the file, so what it is called has to decide. */
static void
KeepUrl(Task *task, const OutputFile *file)
{
	if (file->kind == OUTPUT_OTHER)
		TaskFail(task, "not_a_video", "the model's output has a file of a kind that is not accepted where the video should be");
	else if (file->kind == OUTPUT_GIF && !KindIsAccepted(vv_accept, KIND_GIF))
		TaskFail(task, "not_a_video", "the model's output has a GIF image and no video; vibevideo.accept does not list it");
	else
		CopyKeepUrl(task, file->url);
}

static void
AfterResult(Task *task, const HttpReply *reply)
{
	FalResult *result = ReadResult(task, reply);

	switch (result->outcome)
	{
		case FAL_RESULT_VIDEO:
			/* no row wants it, but the operator sees that it was paid for, and can fetch it */
			if (task->job->orphan)
				TaskFail(task, "orphaned", "its transaction was rolled back, but fal.ai had finished the video before the cancel");
			else if (vv_storage_kind == STORAGE_KIND_NONE)
				KeepUrl(task, &result->video);
			else
				TaskAdvance(task, "processing", 0);
			task->update.media_url = result->video.url;
			task->update.media_type = result->video.content_type[0] ? result->video.content_type : NULL;
			task->update.bytes_total = result->video.file_size;
			break;
		case FAL_RESULT_NOT_READY:
			if (JobIsOverdue(task->job))
				FailOverdue(task, "fal.ai does not hand out its result", result->error.message);
			else
				KeepPolling(task, task->job->state, task->job->queue_position);
			break;
		case FAL_RESULT_FAILED:
		case FAL_RESULT_GONE:
			if (IsOwnCancel(task, &result->error))
				EndAsCancelled(task);
			else if (result->outcome == FAL_RESULT_FAILED)
			{
				task->may_be_billed = false;
				TaskFailAtFal(task, &result->error);
			}
			else
				RetryGone(task, &result->error);
			break;
		case FAL_RESULT_DENIED:
		case FAL_RESULT_RETRY:
			if (IsUnreadable(reply, result))
				RetryUnreadable(task, &result->error);
			else
				RetryOrGiveUp(task, &result->error);
			break;
	}
	if ((result->outcome == FAL_RESULT_VIDEO || result->outcome == FAL_RESULT_FAILED) && result->billable_units[0] != '\0')
		task->update.billable_units = result->billable_units;
}

/* Would it be refused again?  The rest is tried until overdue.c ends the job. */
static bool
IsLastingRefusal(const HttpReply *reply)
{
	return reply->outcome == HTTP_ANSWERED && reply->status >= 400 && reply->status <= 499 &&
		reply->status != 401 && reply->status != 403 && reply->status != 408 && reply->status != 425 &&
		reply->status != 429;
}

/* fal may never accept it, but the job continues and may be done: poll it as if no cancel had been requested. */
static void
AfterCancelRefused(Task *task, const HttpReply *reply, const FalError *error)
{
	if (task->job->cancel_requested_at && reply->outcome == HTTP_ANSWERED)
	{
		task->cancel_refused = true;
		task->cancel_error = *error;
		StartCall(task, FAL_CALL_STATUS);
	}
	else if (JobIsOverdue(task->job) && IsLastingRefusal(reply))
		FailNotStopped(task, error);
	else
		TaskRetry(task, 0, error->type, error->message, error->retry_after);
}

/* The answer to a cancel. */
static void
AfterCancel(Task *task, const HttpReply *reply)
{
	FalCancel cancel;

	FalJudgeCancel(reply, time(NULL), &cancel);
	switch (cancel.outcome)
	{
		case FAL_CANCEL_TOO_LATE:
			/* it has finished just now: it is paid for, so keep it */
			StartCall(task, FAL_CALL_RESULT);
			break;
		case FAL_CANCEL_RETRY:
		case FAL_CANCEL_DENIED:
			AfterCancelRefused(task, reply, &cancel.error);
			break;
		case FAL_CANCEL_ACCEPTED:
		case FAL_CANCEL_GONE:
			EndAsCancelled(task);
			break;
	}
}

void
PollAdvance(Task *task, HttpRequest *request)
{
	const HttpReply *reply = HttpReplyOf(request);

	task->http = NULL;
	task->excused = ShmemServiceReport(SERVICE_FAL, FalIsOutage(reply));
	switch (task->call)
	{
		case FAL_CALL_STATUS:
			AfterStatus(task, reply);
			break;
		case FAL_CALL_RESULT:
			AfterResult(task, reply);
			break;
		case FAL_CALL_CANCEL:
			AfterCancel(task, reply);
			break;
	}
	if (task->update.state && StateIsFinal(task->update.state))
		task->update.may_be_billed = task->may_be_billed && task->update.billable_units == NULL;
	HttpFree(request);
}

/*----------
 * vibevideo_poll(OUT checked, OUT advanced, OUT finished, OUT failed)
 *----------
 */
typedef struct PollPass
{
	HttpEngine *engine;
	const char *key;
	MemoryContext mcxt;
	Job **jobs;
	Task **tasks;		/* NULL before its first request and after its last */
	JobUpdate *updates; /* texts in mcxt */
	int njobs;
	int started;
	int over;
	int at_once;		  /* so many requests may be in flight */
	TimestampTz moved_at; /* when one ended, or at_once was raised */
	TimestampTz deadline;
} PollPass;

static void
EndTask(PollPass *pass, Task *task)
{
	pass->updates[task->nth] = task->update;
	pass->tasks[task->nth] = NULL;
	pfree(task);
	pass->over++;
}

/* no more than at_once: waiting in libcurl's queue would use up their timeouts */
static void
StartMore(PollPass *pass)
{
	while (pass->started < pass->njobs && HttpRunning(pass->engine) < pass->at_once)
	{
		int nth = pass->started++;
		Task *task = TaskCreate(TASK_POLL, pass->jobs[nth], pass->mcxt, pass->engine, pass->key);

		task->nth = nth;
		pass->tasks[nth] = task;
		PollStart(task);
		if (TaskIsOver(task))
			EndTask(pass, task);
	}
}

/*
 * More requests in flight than keep us busy would only fill the CPU's caches, so
 * the number grows only while we wait for answers.
 */
static void
HandleAnswers(PollPass *pass)
{
	TimestampTz now = GetCurrentTimestamp();
	HttpRequest *request;

	if (TimestampDifferenceExceeds(pass->moved_at, now, PATIENCE_MS))
	{
		pass->at_once = Min(pass->at_once + FEW_AT_ONCE, CallMaxConcurrent());
		pass->moved_at = now;
	}
	while ((request = HttpNextDone(pass->engine)) != NULL)
	{
		Task *task = HttpOwner(request);

		pass->moved_at = now;
		PollAdvance(task, request);
		if (TaskIsOver(task))
			EndTask(pass, task);
	}
}

/* until all tasks are over or time is up; the other jobs stay as they are, and due */
static void
RunPass(PollPass *pass)
{
	while (pass->over < pass->njobs && GetCurrentTimestamp() < pass->deadline)
	{
		CHECK_FOR_INTERRUPTS();
		StartMore(pass);
		HttpWait(pass->engine,
				 TimestampDifferenceMilliseconds(GetCurrentTimestamp(), pass->deadline));
		HandleAnswers(pass);
	}
	for (int i = 0; i < pass->njobs; i++)
		if (pass->tasks[i])
		{
			HttpFree(pass->tasks[i]->http);
			pass->tasks[i] = NULL;
		}
}

/* If that is cancelled, nothing has been recorded: the next pass asks again. */
static void
AskFal(PollPass *pass)
{
	PG_TRY();
	{
		RunPass(pass);
	}
	PG_CATCH();
	{
		OwnErrorIfCancelled(pass->mcxt, "vibevideo_poll", "Nothing was recorded, and the jobs are still due.",
							"vibevideo.poll_timeout", vv_poll_timeout);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
CountUpdate(const JobUpdate *update, int32 counts[4])
{
	counts[0]++;
	if (strcmp(update->was, update->state) == 0)
		return;
	counts[1]++;
	if (strcmp(update->state, "processing") == 0)
		counts[2]++;
	if (strcmp(update->state, "failed") == 0)
		counts[3]++;
}

/*
 * What fal said comes first.  The rows after it get as much time as in the worker,
 * which does the rest: a user who holds what a trigger needs must not hold up
 * everybody's jobs, which are locked until this transaction ends.
 */
static void
RecordPass(const Binding *binding, PollPass *pass, int n, int32 counts[4])
{
	bool *recorded = palloc0(sizeof(bool) * (n + 1));

	RowGuardLimitTime(true);
	PG_TRY();
	{
		/* then the rows of jobs that others have changed */
		if (RowSyncRecord(binding, pass->updates, n, recorded) == 0)
			RowSyncDirty(binding, vv_poll_batch_size);
	}
	PG_FINALLY();
	{
		RowGuardLimitTime(false);
	}
	PG_END_TRY();
	for (int i = 0; i < n; i++)
		if (recorded[i])
			CountUpdate(&pass->updates[i], counts);
}

/*
 * The jobs are locked, not leased: the caller's transaction stays open, so a lock
 * has the same effect, and each job is written once instead of twice.
 */
static void
PollDue(const Binding *binding, int32 counts[4])
{
	char key[SECRET_SIZE];
	PollPass pass = {0};
	int n = 0;

	if (!SecretRead(SECRET_FAL, key, sizeof(key), NULL))
		return; /* check_config reports it; a cron job need not fail each time */
	pass.mcxt = AllocSetContextCreate(CurrentMemoryContext, "vibevideo poll", ALLOCSET_DEFAULT_SIZES);
	pass.jobs = palloc(sizeof(Job *) * vv_poll_batch_size);
	pass.njobs = JobLockPolls(ShmemServiceAllows(SERVICE_FAL, vv_poll_batch_size), pass.mcxt, pass.jobs);
	pass.tasks = palloc0(sizeof(Task *) * (pass.njobs + 1));
	pass.updates = palloc0(sizeof(JobUpdate) * (pass.njobs + 1));
	pass.key = key;
	pass.at_once = Min(FEW_AT_ONCE, CallMaxConcurrent());
	pass.moved_at = GetCurrentTimestamp();
	pass.deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), vv_poll_timeout);
	if (pass.njobs > 0)
	{
		pass.engine = HttpBackendEngine();
		AskFal(&pass);
	}
	SecretWipe(key, sizeof(key));

	/* jobs without an answer in time have no update */
	for (int i = 0; i < pass.njobs; i++)
		if (pass.updates[i].state)
			pass.updates[n++] = pass.updates[i];
	RecordPass(binding, &pass, n, counts);
}

Datum
vibevideo_poll(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	int32 counts[4] = {0};
	Datum values[4];
	bool nulls[4] = {false};
	JobDue due;
	Binding binding;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "vibevideo: return type must be a row type");
	desc = BlessTupleDesc(desc);
	ApiRequireWritable(fcinfo);
	StatementConnect();
	/* a trigger's call inside our own write of a row asks nobody */
	if (!RowGuardIsWriting() && BindingLoad(&binding) && BindingMayAct(&binding))
	{
		PollDue(&binding, counts);
		ShmemNotePoll(MyDatabaseId);
		/* finished videos must be copied, and a worker that has ended is started again */
		JobNextDue(&binding, &due);
		if (JobIsAnythingDue(&due))
			ShmemWakeAtCommit();
	}
	SPI_finish();
	for (int i = 0; i < 4; i++)
		values[i] = Int32GetDatum(counts[i]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
