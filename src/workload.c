/*
 * workload.c
 *	  The tasks that the worker has in hand, and its kinds of work.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "copy.h"
#include "polling.h"
#include "reconcile.h"
#include "submit.h"
#include "workload.h"

Worker vv_worker;

#define SHORT "50ms"

Chore vv_chores[WORK_KINDS] = {
	[WORK_RECORD] = {.name = "recording"},
	[WORK_KEYS] = {.name = "reading keys", .lock_limit = SHORT},
	[WORK_STRAYS] = {.name = "looking for strays", .lock_limit = SHORT},
	[WORK_STORE_KEYS] = {.name = "storing webhook keys", .lock_limit = SHORT},
	[WORK_SETTLE] = {.name = "settling the journal", .lock_limit = SHORT},
	[WORK_RECONCILE_NOW] = {.name = "hurrying lost submits", .lock_limit = SHORT},
	[WORK_OVERDUE] = {.name = "ending what is overdue", .lock_limit = SHORT},
	[WORK_DUE] = {.name = "looking for what is due", .lock_limit = SHORT},
	[WORK_EXPIRE] = {.name = "expiring submits", .lock_limit = SHORT},
	[WORK_SUBMITS] = {.name = "claiming submits", .lock_limit = SHORT},
	[WORK_POLLS] = {.name = "claiming polls", .lock_limit = SHORT},
	[WORK_LOST] = {.name = "claiming lost submits", .lock_limit = SHORT},
	[WORK_COPIES] = {.name = "claiming copies", .lock_limit = SHORT},
	[WORK_SUSPECTS] = {.name = "claiming a suspect", .lock_limit = SHORT},
	[WORK_PRUNE] = {.name = "removing old jobs", .lock_limit = SHORT},
	[WORK_FOLD] = {.name = "adding to the rollup", .lock_limit = SHORT},
	[WORK_SAMPLE] = {.name = "looking at the backlog", .lock_limit = SHORT},
	[WORK_THIN] = {.name = "thinning the rollup", .lock_limit = SHORT},
	[WORK_COSTS] = {.name = "adding up costs", .lock_limit = SHORT},
	[WORK_PRUNE_AUDIT] = {.name = "removing old rows of the audit", .lock_limit = SHORT},
	[WORK_ERRAND_DONE] = {.name = "ending an errand", .lock_limit = SHORT},
	[WORK_ERRAND] = {.name = "looking for an errand", .lock_limit = SHORT},
	[WORK_ERASE_DONE] = {.name = "recording that something is erased", .lock_limit = SHORT},
	[WORK_ERASE_ROWS] = {.name = "looking for deleted rows", .lock_limit = SHORT},
	[WORK_ERASE_JOBS] = {.name = "looking at jobs that are to be erased", .lock_limit = SHORT},
	[WORK_ERASE] = {.name = "looking for what is to be erased", .lock_limit = SHORT},
};

void
WorkloadAdd(Task *task)
{
	if (vv_worker.ntasks == vv_worker.capacity)
	{
		vv_worker.capacity = Max(64, vv_worker.capacity * 2);
		vv_worker.tasks = vv_worker.tasks
			? repalloc(vv_worker.tasks, sizeof(Task *) * vv_worker.capacity)
			: MemoryContextAlloc(TopMemoryContext, sizeof(Task *) * vv_worker.capacity);
	}
	vv_worker.tasks[vv_worker.ntasks++] = task;
	vv_worker.count[task->kind]++;
}

void
WorkloadDrop(int i)
{
	Task *task = vv_worker.tasks[i];

	vv_worker.count[task->kind]--;
	vv_worker.tasks[i] = vv_worker.tasks[--vv_worker.ntasks];
	vv_worker.nstarted = Min(vv_worker.nstarted, vv_worker.ntasks);
	CopyEnd(task);
	TaskFree(task);
}

static void
StartTask(Task *task)
{
	switch (task->kind)
	{
		case TASK_SUBMIT:
			SubmitStart(task);
			break;
		case TASK_RECONCILE:
			ReconcileStart(task);
			break;
		case TASK_POLL:
			PollStart(task);
			break;
		case TASK_COPY:
			CopyStart(task);
			break;
	}
}

void
WorkloadStart(void)
{
	while (vv_worker.nstarted < vv_worker.ntasks)
		StartTask(vv_worker.tasks[vv_worker.nstarted++]);
}

void
WorkloadAdvance(Task *task, HttpRequest *request)
{
	switch (task->kind)
	{
		case TASK_SUBMIT:
			SubmitFinish(task, request);
			break;
		case TASK_RECONCILE:
			ReconcileAdvance(task, request);
			break;
		case TASK_POLL:
			PollAdvance(task, request);
			break;
		case TASK_COPY:
			CopyAdvance(task, request);
			break;
	}
}

void
WorkloadReturn(Task *task)
{
	if (task->http)
		HttpFree(task->http);
	task->http = NULL;
	TaskRelease(task);
	CopyEnd(task);
}

int
WorkloadBusy(TaskKind kind)
{
	return vv_worker.count[kind] - vv_worker.leaving[kind];
}
