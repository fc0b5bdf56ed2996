/*
 * task.h
 *	  One claimed job on its way through one phase, and what becomes of it.
 */
#ifndef VIBEVIDEO_TASK_H
#define VIBEVIDEO_TASK_H

#include "fal.h"
#include "http.h"
#include "job.h"

typedef enum TaskKind
{
	TASK_SUBMIT,
	TASK_RECONCILE,
	TASK_POLL,
	TASK_COPY
} TaskKind;

typedef struct Task
{
	TaskKind kind;
	FalCall call;			 /* TASK_POLL: what was asked */
	FalSubmitOutcome submit; /* TASK_SUBMIT: what it came to */
	Job *job;
	MemoryContext mcxt; /* holds the task, its job and its update's texts */
	HttpEngine *engine; /* where its requests run */
	const char *key;	/* its service's, of whoever made the task; NULL: there is none */
	int nth;			/* its place in a poll pass */
	HttpRequest *http;	/* NULL between requests and in copies */
	bool has_status_error;
	FalError status_error; /* what a COMPLETED status carried */
	bool cancel_refused;   /* TASK_POLL: then the status was asked for instead */
	FalError cancel_error;
	bool excused;			 /* the service is down: this try does not count */
	bool got_further;		 /* ... than the one before it: tries are counted from here */
	struct Copy *copy;		 /* TASK_COPY */
	struct Listing *listing; /* TASK_RECONCILE */
	bool undecided;			 /* ... read: ReconcileDecide makes the update */
	bool recorded;			 /* the update is in the table, or its lease is lost */
	int record_tries;		 /* how often that failed */
	int record_errors;		 /* ... in a row by an error, not because its row was held */
	TimestampTz record_at;	 /* not before */
	JobUpdate update;		 /* filled in when the task is done */
} Task;

/* a context of its own for a task that is about to be claimed */
extern MemoryContext TaskContext(MemoryContext parent);
/* the key is not copied: it is the one that its owner has at each step */
extern Task *TaskCreate(TaskKind kind, Job *job, MemoryContext mcxt, HttpEngine *engine, const char *key);
/* ends its request and frees it all; a copy has been ended before */
extern void TaskFree(Task *task);

/* its update waits to be recorded, or to be decided and recorded: a step that leaves it so was the last */
extern bool TaskIsOver(const Task *task);

/*
 * How a task ends: each fills in task->update.  Texts are copied.
 */
extern JobUpdate *TaskUpdate(Task *task, const char *state); /* no error, not due */
extern void TaskAdvance(Task *task, const char *state, int64 wait_ms);
extern void TaskFail(Task *task, const char *code, const char *error);
/* the same, but a new attempt is made if fal's error allows it and attempts are left */
extern void TaskFailAtFal(Task *task, const FalError *error);
/* try again after a backoff; limit 0: for as long as the job may live, else max_tries-like */
extern void TaskRetry(Task *task, int limit, const char *code, const char *error, int retry_after);
/* give the claim back untouched */
extern void TaskRelease(Task *task);

extern double TaskChance(void);

#endif /* VIBEVIDEO_TASK_H */
