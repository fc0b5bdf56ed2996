/*
 * record.c
 *	  The worker records what has ended, many jobs in one transaction.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "job.h"
#include "reconcile.h"
#include "record.h"
#include "workload.h"

#define BATCH_PART 4 /* a batch is ready when one in so many tasks is over */
#define BATCH_MS 3

/* Over, and due to be recorded. */
static bool
IsToRecord(const Task *task, TimestampTz now)
{
	return TaskIsOver(task) && task->record_at <= now;
}

/*
 * Recording many jobs in one commit is cheaper, but a single job should not wait
 * long: record when a good part of the tasks has ended, or after a moment.
 */
bool
RecordIsReady(TimestampTz now)
{
	int over = 0;

	for (int i = 0; i < vv_worker.ntasks; i++)
		over += IsToRecord(vv_worker.tasks[i], now);
	if (over == 0)
	{
		vv_worker.one_by_one = false;
		vv_worker.batch_since = 0;
		return false;
	}
	if (vv_worker.batch_since == 0)
		vv_worker.batch_since = now;
	return over * BATCH_PART >= vv_worker.ntasks ||
		now >= TimestampTzPlusMilliseconds(vv_worker.batch_since, BATCH_MS);
}

/* The job's row is locked, or recording failed: there is time until the lease ends. */
static void
RecordLater(Task *task, TimestampTz now)
{
	task->record_at = TimestampTzPlusMilliseconds(now, 250 << Min(task->record_tries, 6));
	task->record_tries++;
}

/* If a job was not recorded although the lease is ours, somebody has locked its row. */
static void
PutOffHeld(Task **batch, bool *recorded, int n, TimestampTz now)
{
	for (int i = 0; i < n; i++)
		if (!recorded[i] && JobHoldsLease(batch[i]->job->job_id, batch[i]->job->lease))
		{
			RecordLater(batch[i], now);
			batch[i]->record_errors = 0;
		}
		else
			recorded[i] = true;
}

void
RecordFree(void)
{
	for (int i = vv_worker.ntasks - 1; i >= 0; i--)
		if (vv_worker.tasks[i]->recorded)
			WorkloadDrop(i);
}

/*
 * After an error record the jobs one by one, so that one that cannot be recorded
 * does not block the others.
 */
static void
RecordOver(void *arg)
{
	Batch *batch = arg;
	JobUpdate *updates = palloc(sizeof(JobUpdate) * vv_worker.ntasks);

	batch->tasks = MemoryContextAlloc(vv_worker.turn_context, sizeof(Task *) * vv_worker.ntasks);
	batch->recorded = MemoryContextAllocZero(vv_worker.turn_context, sizeof(bool) * vv_worker.ntasks);
	vv_worker.batch_since = 0;
	for (int i = 0; i < vv_worker.ntasks && (batch->n == 0 || !vv_worker.one_by_one); i++)
	{
		Task *task = vv_worker.tasks[i];

		if (!IsToRecord(task, batch->now))
			continue;
		/* if this raises an error, another job comes next */
		if (vv_worker.one_by_one)
			RecordLater(task, batch->now);
		if (task->undecided)
		{
			ReconcileDecide(task);
			/* it may wait for submits whose transactions have ended but are not settled */
			vv_worker.read_journal = true;
		}
		batch->tasks[batch->n] = task;
		updates[batch->n++] = task->update;
		vv_worker.leaving[task->kind]++;
	}
	JobRecord(updates, batch->n, batch->recorded);
	PutOffHeld(batch->tasks, batch->recorded, batch->n, batch->now);
}

/*
 * An error undoes the recording and nothing else; then jobs are recorded alone.
 * A lock is no reason to give an outcome up, however long somebody holds it.
 */
void
RecordBatch(Batch *batch)
{
	Chore *chore = &vv_chores[WORK_RECORD];

	if (ChoreRun(chore, RecordOver, batch))
		return;
	if (vv_worker.one_by_one && batch->n > 0 && !ChoreErrorPasses(chore->sqlerrcode))
		batch->tasks[0]->record_errors++;
	vv_worker.one_by_one = true;
	batch->n = 0;
	memset(vv_worker.leaving, 0, sizeof(vv_worker.leaving));
}
