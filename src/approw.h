/*
 * approw.h
 *	  Everything that reads or writes the app's rows.
 *
 * The job is the truth; its row is written after it, in a subtransaction, as
 * the table's owner.  Whatever the app's triggers do, a paid job is never lost
 * to them.
 */
#ifndef VIBEVIDEO_APPROW_H
#define VIBEVIDEO_APPROW_H

#include "postgres.h"

#include "binding.h"
#include "job.h"

/* this process is the worker: nothing of the app's may hold it up */
extern void AppRowInWorker(void);

/* ERROR unless the current user may see, or if lock update, the row; its key as the row has it */
extern char *AppRowCheck(const Binding *binding, const char *vibelog_id, bool lock);
/*
 * The model's input for a row, and whose video that is where the rows say so
 * (otherwise user stays as it is).  As the table's owner, whom the caller has
 * become; sql is AppRowInputSql's.
 */
extern char *AppRowInputSql(const Binding *binding);
extern void AppRowReadInput(const Binding *binding, const char *sql, JobNew *job);

/* write dirty jobs into the app's rows, as many as time allows */
extern void AppRowWriteDirty(const Binding *binding, int max);
/* the rows of jobs that were recorded with row_written; how many could not be written yet */
extern int AppRowWriteMany(const Binding *binding, const int64 *job_ids, int n);
/* the same for one job, at once; false: a failure of the app's triggers is left to the worker */
extern bool AppRowWriteOne(const Binding *binding, int64 job_id);
/* may the worker do so in the transaction that records the jobs? */
extern bool AppRowsAreSimple(const Binding *binding);
/* JobRecord, and the rows of those that moved are written in this transaction */
extern void AppRowRecord(const Binding *binding, JobUpdate *updates, int n, bool *recorded);
/* rows that no job is behind become failed; how many did */
extern uint64 AppRowFail(const Binding *binding, Datum keys);

#endif /* VIBEVIDEO_APPROW_H */
