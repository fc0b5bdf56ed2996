/*
 * approw.h
 *	  Everything that reads or writes the app's rows.
 *
 * The job is the truth; the row is written after it, in a subtransaction, as
 * the table's owner.  Whatever the app's triggers do, a paid job is never lost.
 */
#ifndef VIBEVIDEO_APPROW_H
#define VIBEVIDEO_APPROW_H

#include "postgres.h"

#include "binding.h"
#include "job.h"

/* this process is the worker: the app's code must not hold it up */
extern void AppRowInWorker(void);

/* ERROR unless the current user may see the row, or with lock, update it; returns the key as it is in the row */
extern char *AppRowCheck(const Binding *binding, const char *vibelog_id, bool lock);
/*
 * The model's input for a row, and the user whose video it is if the table has a
 * column for that (otherwise user is left as it is).  The caller has become the
 * table's owner; sql comes from AppRowInputSql.
 */
extern char *AppRowInputSql(const Binding *binding);
extern void AppRowReadInput(const Binding *binding, const char *sql, JobNew *job);

/* write the rows of dirty jobs, as many as time allows */
extern void AppRowWriteDirty(const Binding *binding, int max);
/* write the rows of jobs recorded with row_written; returns how many could not be written yet */
extern int AppRowWriteMany(const Binding *binding, const int64 *job_ids, int n);
/* the same for one job; false: an error of the app's code, and the worker will try again */
extern bool AppRowWriteOne(const Binding *binding, int64 job_id);
/* may the worker write rows in the transaction that records the jobs? */
extern bool AppRowsAreSimple(const Binding *binding);
/* JobRecord, which also writes the rows of jobs that changed their state */
extern void AppRowRecord(const Binding *binding, JobUpdate *updates, int n, bool *recorded);
/* rows without a job become failed; returns how many */
extern uint64 AppRowFail(const Binding *binding, Datum keys);

#endif /* VIBEVIDEO_APPROW_H */
