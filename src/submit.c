/*
 * submit.c
 *	  vibevideo_submit, vibevideo_status, and sending a job to fal.
 *
 * The one rule: a POST that may have reached fal is never resent without a
 * decision.  SubmitFinish is the only place that turns an answer, or the lack of
 * one, into the job's next state.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "call.h"
#include "compat.h"
#include "guc.h"
#include "input.h"
#include "job.h"
#include "journal.h"
#include "ownerror.h"
#include "publicapi.h"
#include "rowguard.h"
#include "rowsync.h"
#include "secret.h"
#include "shmem.h"
#include "statement.h"
#include "submit.h"
#include "whose.h"

PG_FUNCTION_INFO_V1(vibevideo_submit);
PG_FUNCTION_INFO_V1(vibevideo_status);

#define NOTHING_SENT "Nothing was sent to fal.ai."

/*----------
 * The exchange with fal
 *----------
 */
void
SubmitStart(Task *task)
{
	task->http = CallFalSubmit(task->engine, task->key, task->job->model, task->job->input, task);
	/* the request has a copy */
	pfree(task->job->input);
	task->job->input = NULL;
	if (task->http)
	{
		ShmemServiceStart(SERVICE_FAL);
		ShmemServiceStart(SERVICE_ACCOUNT);
	}
	else
		TaskFail(task, "bad_request",
				 "could not build the request: check vibevideo.fal_queue_url, the model's name and the API key");
}

/* An answer that decides nothing says nothing of the account either: its probe is repeated in a minute. */
static bool
ReportAccount(const FalSubmit *answer)
{
	if (!answer->no_money && answer->outcome != FAL_SUBMIT_ACCEPTED)
		return false;
	return ShmemServiceReport(SERVICE_ACCOUNT, answer->no_money);
}

void
SubmitFinish(Task *task, HttpRequest *request)
{
	FalSubmit *answer = MemoryContextAlloc(task->mcxt, sizeof(FalSubmit));

	FalJudgeSubmit(HttpReplyOf(request), time(NULL), answer);
	task->excused = ShmemServiceReport(SERVICE_FAL, FalIsOutage(HttpReplyOf(request)));
	task->excused |= ReportAccount(answer);
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
			TaskFailBecause(task, &answer->error);
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

/*----------
 * Which job a submit is about
 *----------
 */
int64
SubmitFindEnded(const Binding *binding, const char *vibelog_id)
{
	/* our write of the row has led here: its trigger asks each time that something has become of the one before */
	if (RowGuardIsBeingWritten(binding, vibelog_id))
		return JobFindLatest(binding, vibelog_id);
	return vv_resubmit_completed ? 0 : JobFindCompleted(binding, vibelog_id);
}

/*
 * The job that fal refused last, and the statement that asked for it.  One that
 * names the call's columns, as (vibevideo_submit(id)).*, makes the call once for
 * each of them.
 */
static struct
{
	FullTransactionId xid;
	CommandId command; /* of the caller's snapshot: each statement that follows one of ours has a later */
	int64 job_id;
} refused;

static CommandId
CallersCommand(void)
{
	return ActiveSnapshotSet() ? GetActiveSnapshot()->curcid : InvalidCommandId;
}

static void
RememberRefused(CommandId command, int64 job_id)
{
	refused.xid = GetTopFullTransactionId();
	refused.command = command;
	refused.job_id = job_id;
}

/* 0 if it was another statement, or another row */
static int64
FindRefused(const Binding *binding, const char *vibelog_id, CommandId command)
{
	if (refused.job_id == 0 || !FullTransactionIdEquals(refused.xid, GetTopFullTransactionIdIfAny()) ||
		refused.command != command || JobFindLatest(binding, vibelog_id) != refused.job_id)
		return 0;
	return refused.job_id;
}

/* A submit on its way to its answer. */
typedef struct Submit
{
	int64 job_id;
	bool is_new;
	bool has_ended;	 /* a job that was there, and is not active */
	bool is_refused; /* by fal */
} Submit;

static bool
FindStanding(const Binding *binding, const char *vibelog_id, CommandId command, Submit *submit)
{
	submit->job_id = JobFindActive(binding, vibelog_id);
	if (submit->job_id != 0)
		return true;
	submit->job_id = FindRefused(binding, vibelog_id, command);
	submit->is_refused = (submit->job_id != 0);
	if (submit->job_id == 0)
		submit->job_id = SubmitFindEnded(binding, vibelog_id);
	submit->has_ended = (submit->job_id != 0);
	return submit->has_ended;
}

/* A new job in state; if somebody was faster, that one's. */
static void
Insert(const Binding *binding, char *vibelog_id, const char *state, Submit *submit)
{
	JobNew new = {.vibelog_id = vibelog_id, .user = ApiRequestingUser()};

	InputBuild(binding, &new, 1);
	submit->job_id = JobInsert(binding, &new, state);
	submit->is_new = (submit->job_id != 0);
	/* the unique index made us wait for its commit */
	if (submit->job_id == 0)
		submit->job_id = JobFindActive(binding, vibelog_id);
	if (submit->job_id == 0)
		ApiLostRace(vibelog_id);
}

static void
ReadFalKey(char key[SECRET_SIZE])
{
	if (!SecretRead(SECRET_FAL, key, SECRET_SIZE, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no fal.ai API key is configured"),
				 errdetail("%s", SecretAbsence(SECRET_FAL)),
				 errhint("%s", SecretHint(SECRET_FAL))));
}

/*
 * If cancelled before anything was sent, as during the DNS lookup, the rollback
 * undoes everything.  Otherwise it leaves an orphan, without an id.
 */
static void
Exchange(Task *task)
{
	MemoryContext mcxt = CurrentMemoryContext;
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
		OwnErrorIfCancelled(mcxt, "vibevideo_submit",
							sent ? "fal.ai had not answered yet: whether it has the request, the worker finds out." : NOTHING_SENT,
							"vibevideo.submit_timeout", vv_submit_timeout);
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
	if (RowSyncOne(binding, job_id) && strcmp(state, "queued") == 0)
		ShmemExpectAtCommit(task->update.next_at);
	else
		ShmemWakeAtCommit();
	TaskFree(task);
	return state;
}

static Statement count_room = {
	"SELECT vibevideo_internal.room_at_fal(true)"};

/* Does vibevideo.max_active allow one more, after those already waiting? */
static bool
FalHasRoom(void)
{
	if (vv_max_active == 0)
		return true;
	StatementRun(&count_room, NULL);
	return ResultFirstInt() > 0;
}

/* Why a call does not send its job itself. */
typedef struct Hindrance
{
	const char *code; /* NULL if it is nothing but the way it is called */
	const char *error;
} Hindrance;

/*
 * The one place that decides whether a call may use the network: what it leaves
 * alone the worker sends after the commit.  Not inside our own write of a row; not
 * in a transaction that may fail at its commit, through no fault of anybody,
 * since a POST cannot be taken back; not while that is paused; not before others;
 * and no caller waits for a timeout while fal is down, or for a refusal while there
 * is no money.
 */
static bool
MaySendNow(const Binding *binding, Hindrance *hindrance)
{
	*hindrance = (Hindrance){0};
	if (RowGuardIsWriting() || IsolationIsSerializable())
		return false;
	if (!BindingMaySend(binding))
		*hindrance = (Hindrance){"paused", "sending is paused"};
	else if (!FalHasRoom())
		*hindrance = (Hindrance){"fal_busy", "others are ahead of it"};
	else if (ShmemServiceAllows(SERVICE_FAL, 1) == 0)
		*hindrance = (Hindrance){"fal_down", "fal.ai cannot be reached at the moment"};
	else if (ShmemServiceAllows(SERVICE_ACCOUNT, 1) == 0)
		*hindrance = (Hindrance){"balance", "the balance at fal.ai is used up"};
	return hindrance->code == NULL;
}

static Statement note_reason = {
	"UPDATE vibevideo.job j SET error_code = $2, error = $3 WHERE j.job_id = $1"};

static void
NoteReason(int64 job_id, const Hindrance *hindrance)
{
	Args args = {0};

	if (hindrance->code == NULL)
		return;
	ArgInt8(&args, job_id);
	ArgText(&args, hindrance->code);
	ArgText(&args, hindrance->error);
	StatementRun(&note_reason, &args);
}

/* The worker sends it after the commit. */
static void
LeaveToWorker(const Binding *binding, int64 job_id, const Hindrance *hindrance)
{
	NoteReason(job_id, hindrance);
	RowSyncOne(binding, job_id);
	ShmemWakeAtCommit();
}

/*----------
 * vibevideo_submit(vibelog_id) returns vibevideo.video
 *----------
 */
static Datum
RunSubmit(char *vibelog_id)
{
	CommandId command = CallersCommand();
	char key[SECRET_SIZE];
	Binding binding;
	Hindrance hindrance;
	Submit submit = {0};
	bool send_now;
	Datum video;

	vibelog_id = ApiConnect(&binding, vibelog_id, true);
	ReadFalKey(key);
	if (!FindStanding(&binding, vibelog_id, command, &submit))
	{
		send_now = MaySendNow(&binding, &hindrance);
		Insert(&binding, vibelog_id, send_now ? "submitting" : "pending", &submit);
		if (submit.is_new && send_now)
			submit.is_refused = (strcmp(PostNow(&binding, submit.job_id, key), "failed") == 0);
		else if (submit.is_new)
			LeaveToWorker(&binding, submit.job_id, &hindrance);
		if (submit.is_refused)
			RememberRefused(command, submit.job_id);
	}
	if (submit.is_refused)
		ApiRejectedByFal();
	else if (!submit.has_ended)
		ApiAccepted(vibelog_id);
	SecretWipe(key, sizeof(key));
	video = ApiDescribe(submit.job_id);
	SPI_finish();
	return video;
}

static char *
AlreadySent(int sent)
{
	return psprintf(sent == 1 ? "This transaction has sent %d video to fal.ai already. If it is rolled back, that is cancelled there, which may come too late to be free."
							  : "This transaction has sent %d videos to fal.ai already. If it is rolled back, they are cancelled there, which may come too late to be free.",
					sent);
}

static char *
AddSentence(char *text, char *sentence)
{
	return text ? psprintf("%s %s", text, sentence) : sentence;
}

/*
 * What was sent before the error is not undone with it: whoever reads of one must
 * read of the other.  Who has cancelled a call asks whether anything was sent, and
 * for no advice.
 */
static void
TellWhatWasSent(MemoryContext mcxt)
{
	int sent = JournalSent();
	bool was_cancelled = (geterrcode() == ERRCODE_QUERY_CANCELED);
	ErrorData *error;

	if (sent == 0 && !was_cancelled)
		return;
	MemoryContextSwitchTo(mcxt);
	error = CopyErrorData();
	FlushErrorState();
	if (sent > 0)
		error->detail = AddSentence(error->detail, AlreadySent(sent));
	else if (error->detail == NULL)
		error->detail = NOTHING_SENT;
	if (sent > 0 && (!was_cancelled || error->hint || OwnErrorIsTimeout(error)))
		error->hint = AddSentence(error->hint, "vibevideo_submit_batch sends nothing before the transaction has committed.");
	ReThrowError(error);
}

Datum
vibevideo_submit(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum video;

	PG_TRY();
	{
		char *vibelog_id = ApiKeyArgument(fcinfo);

		ApiRequireWritable(fcinfo);
		video = RunSubmit(vibelog_id);
	}
	PG_CATCH();
	{
		TellWhatWasSent(caller);
		PG_RE_THROW();
	}
	PG_END_TRY();
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
