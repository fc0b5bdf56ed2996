/*
 * dirty.h
 *	  Jobs whose rows are to be written.
 */
#ifndef VIBEVIDEO_DIRTY_H
#define VIBEVIDEO_DIRTY_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "binding.h"
#include "job.h"

#define SHOWN_COLUMNS 6 /* status, request id, URL, time of completion, error, what is known of the video */

typedef struct DirtyJob
{
	int64 job_id;
	int64 newest_id; /* of its row: what the row is to show */
	char *vibelog_id;
	char *bears;	 /* only a row that bears this, or what it is to show, is its row */
	char *bears_now; /* ... from now on; NULL if that stays */
	char *found;	 /* what a look at the row has found it to bear; NULL if it shows the job */
	char *home;		 /* the key of the row that bears it, if that is not vibelog_id */
	Datum values[SHOWN_COLUMNS];
	bool nulls[SHOWN_COLUMNS];
	int tries;
	bool marked; /* row_dirty was set */
} DirtyJob;

extern const Oid shown_types[SHOWN_COLUMNS];

/* those that are due, of the attached table, locked; or those with these ids, marked or not */
extern DirtyJob **DirtyFind(const Binding *binding, TimestampTz now, int max, int *n);
extern DirtyJob **DirtyFindMany(const Binding *binding, const int64 *job_ids, int n, int *found);
/* NULL if there is no such job, or it has no row here */
extern DirtyJob *DirtyFindOne(const Binding *binding, int64 job_id);

/* tried, and perhaps to be tried again */
extern void DirtyMarkOne(const DirtyJob *dirty, bool still_dirty, const char *error, int64 wait_ms);
/* jobs whose rows were written without an error */
extern void DirtyMarkWritten(const int64 *job_ids, int n);
/* jobs whose rows could not be written; returns how many have one */
extern int DirtyMarkMany(const int64 *job_ids, int n);
/* jobs of a table that is not attached now: their rows are written once it is */
extern void DirtyMarkElsewhere(const Binding *binding, const int64 *job_ids, int n);

#endif /* VIBEVIDEO_DIRTY_H */
