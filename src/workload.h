/*
 * workload.h
 *	  What the files of the worker share: its tasks and what it knows between turns.
 */
#ifndef VIBEVIDEO_WORKLOAD_H
#define VIBEVIDEO_WORKLOAD_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "chore.h"
#include "http.h"
#include "secret.h"
#include "task.h"

#define COPY_LEASE_MS 60000 /* renewed with each progress report */

typedef struct Worker
{
	HttpEngine *engine;
	Task **tasks;
	int ntasks;
	int nstarted; /* how many of them; the claims of the others are not committed */
	int capacity;
	int count[TASK_COPY + 1];
	int leaving[TASK_COPY + 1]; /* how many of these are being recorded */
	TimestampTz look_at;
	TimestampTz progress_at;
	TimestampTz idle_since; /* 0 while there is work */
	TimestampTz prune_at;
	TimestampTz fold_at;
	TimestampTz refresh_at; /* not before */
	TimestampTz sample_at;
	TimestampTz thin_at;
	TimestampTz costs_at;
	TimestampTz prune_audit_at;
	TimestampTz errand_at;
	TimestampTz deleted_at;	 /* 0: no deleted row is to be looked for */
	TimestampTz expand_at;	 /* 0: no job is to be erased */
	TimestampTz erase_at;	 /* 0: nothing else is */
	bool recovered;			 /* what a crashed predecessor left behind has been dealt with */
	bool read_journal;		 /* a transaction with submits may have ended */
	bool store_keys;		 /* fal's webhook keys have arrived */
	bool more_costs;		 /* are to be added up */
	bool reconcile_now;		 /* a webhook came in for an unknown request */
	bool fold_more;			 /* more is to be added to the rollup */
	bool typical_is_fresh;	 /* nothing was added to the rollup since it was written */
	bool one_by_one;		 /* recording several jobs at once has failed */
	int errors;				 /* in a row */
	TimestampTz batch_since; /* since when something waits to be recorded, 0 if nothing does */
	bool has_fal_key;
	bool has_storage_key;
	char fal_key[SECRET_SIZE];
	char storage_key[SECRET_SIZE];
	MemoryContext turn_context; /* outlives a transaction, but not the turn */
} Worker;

extern Worker vv_worker;

/*
 * The kinds of work on the database.  Only recording an outcome may wait for
 * somebody's lock; everything else is tried again later.
 */
typedef enum WorkKind
{
	WORK_RECORD,
	WORK_KEYS,
	WORK_STRAYS,
	WORK_STORE_KEYS,
	WORK_SETTLE,
	WORK_RECONCILE_NOW,
	WORK_OVERDUE,
	WORK_DUE,
	WORK_EXPIRE,
	WORK_SUBMITS,
	WORK_POLLS,
	WORK_LOST,
	WORK_COPIES,
	WORK_SUSPECTS,
	WORK_PRUNE,
	WORK_FOLD,
	WORK_SAMPLE,
	WORK_THIN,
	WORK_COSTS,
	WORK_PRUNE_AUDIT,
	WORK_ERRAND_DONE,
	WORK_ERRAND,
	WORK_ERASE_DONE,
	WORK_ERASE_ROWS,
	WORK_ERASE_JOBS,
	WORK_ERASE,
	WORK_KINDS
} WorkKind;

extern Chore vv_chores[WORK_KINDS];

extern void WorkloadAdd(Task *task);
/* frees the task with this number; the last one takes its place */
extern void WorkloadDrop(int i);
/* starts those that are not started: their claims are committed */
extern void WorkloadStart(void);
extern void WorkloadAdvance(Task *task, HttpRequest *request);
/* ends its requests and its claim; nothing of a submit must have been sent */
extern void WorkloadReturn(Task *task);
/* tasks of a kind whose outcome is not yet being recorded */
extern int WorkloadBusy(TaskKind kind);

#endif /* VIBEVIDEO_WORKLOAD_H */
