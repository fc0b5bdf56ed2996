/*
 * rowsync.h
 *	  Brings the app's rows up to their jobs.
 */
#ifndef VIBEVIDEO_ROWSYNC_H
#define VIBEVIDEO_ROWSYNC_H

#include "postgres.h"

#include "binding.h"
#include "job.h"

/* write dirty jobs into the app's rows, as many as time allows */
extern void RowSyncDirty(const Binding *binding, int max);
/* write the rows of jobs recorded with row_written; returns how many could not be written yet */
extern int RowSyncMany(const Binding *binding, const int64 *job_ids, int n);
/* why one of these rows could not be written, as a sentence that follows another; empty if that is not known */
extern char *RowSyncCause(const int64 *job_ids, int n);
/* the same for one job; false: an error of the app's code, and the worker will try again */
extern bool RowSyncOne(const Binding *binding, int64 job_id);
/* JobRecord, and the rows of those that moved are written in this transaction; returns how many could not be written yet */
extern int RowSyncRecord(const Binding *binding, JobUpdate *updates, int n, bool *recorded);

#endif /* VIBEVIDEO_ROWSYNC_H */
