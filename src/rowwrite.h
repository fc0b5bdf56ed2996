/*
 * rowwrite.h
 *	  Writes jobs into the app's rows.
 */
#ifndef VIBEVIDEO_ROWWRITE_H
#define VIBEVIDEO_ROWWRITE_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "binding.h"
#include "dirty.h"

typedef enum RowOutcome
{
	ROW_WRITTEN,
	ROW_SAME,
	ROW_LOCKED,
	ROW_GONE,
	ROW_OTHER,	/* the row with that key is not the job's */
	ROW_UNSHOWN /* written, and does not show it */
} RowOutcome;

typedef struct RowStep
{
	RowOutcome (*each)(const Binding *binding, DirtyJob *dirty);
	DirtyJob **dirty;
	int n;
	TimestampTz until; /* no further row is started after this; 0: no limit */
	int done;
	RowOutcome *outcomes;
} RowStep;

/* what can be done with a row: it is written, ... */
extern RowOutcome RowWrite(const Binding *binding, DirtyJob *dirty);
/* ... the key of the job's row is found, if that is not what it was: what the row bears tells; ... */
extern RowOutcome RowWriteFindHome(const Binding *binding, DirtyJob *dirty);
/* ... or subscribers of Supabase Realtime get the new status of a row that was written */
extern RowOutcome RowWriteBroadcast(const Binding *binding, DirtyJob *dirty);

/* one of these with each of some rows, or with one; NULL, or an error as from RowGuardRun */
extern char *RowWriteStep(const Binding *binding, RowStep *step);
extern char *RowWriteOne(RowOutcome (*each)(const Binding *, DirtyJob *), const Binding *binding, DirtyJob *dirty,
						 RowOutcome *outcome);

/* rows without a job become failed; returns how many */
extern uint64 RowWriteFailed(const Binding *binding, Datum keys);

#endif /* VIBEVIDEO_ROWWRITE_H */
