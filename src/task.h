/*
 * task.h
 *	  One claimed job in one phase, and its outcome.
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
	FalCall call;			 /* TASK_POLL: which call was made */
	FalSubmitOutcome submit; /* TASK_SUBMIT: its outcome */
	Job *job;
	MemoryContext mcxt; /* holds the task, its job and its update's texts */
	HttpEngine *engine; /* where its requests run */
	const char *key;	/* its service's API key, owned by the task's creator; NULL if there is none */
	int nth;			/* its place in a poll pass */
	HttpRequest *http;	/* NULL between requests and in copies */
	bool has_status_error;
	FalError status_error; /* the error in a COMPLETED status */
	bool cancel_refused;   /* TASK_POLL: so the status was polled instead */
	FalError cancel_error;
	bool may_be_billed;		 /* TASK_POLL: fal may have begun it, and has not said how it has ended */
	bool excused;			 /* the service is down: this try does not count */
	bool got_further;		 /* than the try before: tries are counted from here */
	struct Copy *copy;		 /* TASK_COPY */
	struct Listing *listing; /* TASK_RECONCILE */
	bool undecided;			 /* TASK_RECONCILE: the list is read, and ReconcileDecide fills in the update */
	bool recorded;			 /* the update is in the table, or the lease was lost */
	int record_tries;		 /* how often recording failed */
	int record_errors;		 /* how often in a row with an error, not because the row was locked */
	TimestampTz record_at;	 /* when to try recording again */
	JobUpdate update;		 /* filled in when the task is done */
} Task;

/* a memory context for a task that is about to be claimed */
extern MemoryContext TaskContext(MemoryContext parent);
/* the key is not copied, so that each step uses its owner's current one */
extern Task *TaskCreate(TaskKind kind, Job *job, MemoryContext mcxt, HttpEngine *engine, const char *key);
/* ends its request and frees everything; a copy must have been ended before */
extern void TaskFree(Task *task);

/* has its last step run?  Then its update waits to be recorded, or decided and recorded */
extern bool TaskIsOver(const Task *task);

/*
 * The ways in which a task ends: each fills in task->update.  Texts are copied.
 */
extern JobUpdate *TaskUpdate(Task *task, const char *state); /* without an error, and not due */
extern void TaskAdvance(Task *task, const char *state, int64 wait_ms);
extern void TaskFail(Task *task, const char *code, const char *error);
/* the same with an error of fal's */
extern void TaskFailBecause(Task *task, const FalError *error);
/* the same, but a new attempt follows if fal's error allows that and vibevideo.max_renders is not reached */
extern void TaskFailAtFal(Task *task, const FalError *error);
/* try again after a backoff, at most limit times; 0: until vibevideo.job_timeout */
extern void TaskRetry(Task *task, int limit, const char *code, const char *error, int retry_after);
/* return the claim, and leave the job as it was */
extern void TaskRelease(Task *task);

extern double TaskChance(void);

#endif /* VIBEVIDEO_TASK_H */
