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
/* in a client, too, the app's triggers may take only so long from now on */
extern void AppRowLimitTime(bool limit);

/* ERROR unless the current user may see the row, or with lock, update it; returns the key as it is in the row */
extern char *AppRowCheck(const Binding *binding, const char *vibelog_id, bool lock);
/* what the rows with these keys bear, as the table's owner sees them; NULL if it sees none */
extern void AppRowsBear(const Binding *binding, char **vibelog_ids, int n, char **bears);
/* the key of the only row that bears a request id; NULL if there is none, or more */
extern char *AppRowHome(const Binding *binding, const char *request_id);
/*
 * The model's input for a row, and the user whose video it is if the table has a
 * column for that (otherwise user is left as it is).  The caller has become the
 * table's owner; sql comes from AppRowInputSql.
 */
extern char *AppRowInputSql(const Binding *binding);
extern void AppRowReadInput(const Binding *binding, const char *sql, JobNew *job);

/*
 * Is this process inside a write of rows, or in what a trigger of theirs has
 * called?  Then nothing may go over the network.  A submit or retry of a row
 * that is itself being written starts no new attempt: it would be paid for each
 * time that the attempt before it shows.
 */
extern bool AppRowIsWriting(void);
extern bool AppRowIsBeingWritten(const Binding *binding, const char *vibelog_id);

/* write dirty jobs into the app's rows, as many as time allows */
extern void AppRowWriteDirty(const Binding *binding, int max);
/* write the rows of jobs recorded with row_written; returns how many could not be written yet */
extern int AppRowWriteMany(const Binding *binding, const int64 *job_ids, int n);
/* the same for one job; false: an error of the app's code, and the worker will try again */
extern bool AppRowWriteOne(const Binding *binding, int64 job_id);
/* JobRecord, and the rows of those that moved are written in this transaction; returns how many could not be written yet */
extern int AppRowRecord(const Binding *binding, JobUpdate *updates, int n, bool *recorded);
/* rows without a job become failed; returns how many */
extern uint64 AppRowFail(const Binding *binding, Datum keys);

#endif /* VIBEVIDEO_APPROW_H */
