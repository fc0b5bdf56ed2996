/*
 * whose.h
 *	  Which job belongs to which row.
 */
#ifndef VIBEVIDEO_WHOSE_H
#define VIBEVIDEO_WHOSE_H

#include "postgres.h"

#include "binding.h"

/*
 * Before anything is done about rows' jobs: from now on, in this transaction,
 * the jobs under their keys are theirs.  Their rows are locked against deletion.
 */
extern void WhoseSettle(const Binding *binding, char **vibelog_ids, int n);
/* the row's newest job, without changing anything, 0 if it has none; strayed: under another key */
extern int64 WhoseNewest(const Binding *binding, char *vibelog_id, bool *strayed);

#endif /* VIBEVIDEO_WHOSE_H */
