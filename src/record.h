/*
 * record.h
 *	  The worker records what has ended.
 */
#ifndef VIBEVIDEO_RECORD_H
#define VIBEVIDEO_RECORD_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "task.h"

/* The tasks recorded in one transaction. */
typedef struct Batch
{
	TimestampTz now;
	Task **tasks;
	bool *recorded;
	int n;
} Batch;

/* is it time to record what is over? */
extern bool RecordIsReady(TimestampTz now);
/* in a transaction; which jobs are recorded is true after its commit only */
extern void RecordBatch(Batch *batch);
/* after the commit: frees the tasks that are recorded */
extern void RecordFree(void);

#endif /* VIBEVIDEO_RECORD_H */
