/*
 * task.c
 *	  All the ways in which a task can end.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "backoff.h"
#include "guc.h"
#include "task.h"

MemoryContext
TaskContext(MemoryContext parent)
{
	return AllocSetContextCreate(parent, "vibevideo task", ALLOCSET_SMALL_SIZES);
}

Task *
TaskCreate(TaskKind kind, Job *job, MemoryContext mcxt, HttpEngine *engine, const char *key)
{
	Task *task = MemoryContextAllocZero(mcxt, sizeof(Task));

	task->kind = kind;
	task->job = job;
	task->mcxt = mcxt;
	task->engine = engine;
	task->key = key;
	return task;
}

void
TaskFree(Task *task)
{
	Assert(task->copy == NULL);
	if (task->http)
		HttpFree(task->http);
	MemoryContextDelete(task->mcxt);
}

bool
TaskIsOver(const Task *task)
{
	return task->update.state != NULL || task->undecided;
}

double
TaskChance(void)
{
	return pg_prng_double(&pg_global_prng_state);
}

static TimestampTz
InMs(int64 wait_ms)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_ms);
}

JobUpdate *
TaskUpdate(Task *task, const char *state)
{
	JobUpdate *update = &task->update;

	memset(update, 0, sizeof(*update));
	update->job_id = task->job->job_id;
	update->lease = task->job->lease;
	update->was = task->job->state;
	update->was_error = task->job->error;
	update->cancel_seen = (task->job->cancel_requested_at != 0);
	update->state = state;
	update->queue_position = -1;
	update->bytes_done = -1;
	update->bytes_total = -1;
	update->duration_ms = -1;
	return update;
}

void
TaskAdvance(Task *task, const char *state, int64 wait_ms)
{
	TaskUpdate(task, state)->next_at = InMs(wait_ms);
}

void
TaskFail(Task *task, const char *code, const char *error)
{
	JobUpdate *update = TaskUpdate(task, "failed");

	update->tries = task->job->tries;
	update->error_code = MemoryContextStrdup(task->mcxt, code);
	update->error = MemoryContextStrdup(task->mcxt, error);
}

void
TaskFailBecause(Task *task, const FalError *error)
{
	TaskFail(task, error->type, error->message);
	if (error->objection[0] != '\0')
		task->update.objection = MemoryContextStrdup(task->mcxt, error->objection);
}

void
TaskFailAtFal(Task *task, const FalError *error)
{
	TaskFailBecause(task, error);
	task->update.again = !task->job->orphan && task->job->cancel_requested_at == 0 &&
		task->job->renders < vv_max_renders && FalErrorAllowsNewAttempt(error);
}

void
TaskRetry(Task *task, int limit, const char *code, const char *error, int retry_after)
{
	int tries = (task->got_further ? 0 : task->job->tries) + (task->excused ? 0 : 1);
	JobUpdate *update;

	/* an outage uses up no tries, but does not last longer than job_timeout, which polls check themselves */
	if ((limit > 0 && tries >= limit && !task->excused) ||
		(task->kind != TASK_POLL && JobIsOverdue(task->job)))
	{
		TaskFail(task, code, error);
		task->update.tries = tries;
		return;
	}
	/* a submit that definitely did not arrive becomes pending again; other jobs keep their state */
	update = TaskUpdate(task, task->kind == TASK_SUBMIT ? "pending" : task->job->state);
	update->tries = tries;
	update->queue_position = task->job->queue_position;
	update->error_code = MemoryContextStrdup(task->mcxt, code);
	update->error = MemoryContextStrdup(task->mcxt, error);
	update->next_at = InMs(BackoffMs(Max(tries, 1), vv_backoff_base, (int64) vv_backoff_max * 1000,
									 retry_after < 0 ? -1 : (int64) retry_after * 1000, TaskChance()));
}

void
TaskRelease(Task *task)
{
	/* a submit was not sent yet, so it becomes pending again */
	JobUpdate *update = TaskUpdate(task, task->kind == TASK_SUBMIT ? "pending" : task->job->state);

	update->tries = task->job->tries;
	update->queue_position = task->job->queue_position;
	update->error_code = task->job->error_code;
	update->error = task->job->error;
	update->next_at = InMs(0);
}
