/*
 * look.h
 *	  The worker's look for work.
 */
#ifndef VIBEVIDEO_LOOK_H
#define VIBEVIDEO_LOOK_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "binding.h"
#include "job.h"

/* One look for work, and its result. */
typedef struct Look
{
	const Binding *binding;
	TimestampTz now;
	int64 grace_ms; /* for so long a due poll is left to vibevideo_poll */
	JobDue due;
	bool emptied;	/* all due jobs of a kind were claimed: due has to be read again */
	bool settled;	/* the table now has what the journal had */
	bool unsettled; /* ... except for transactions that are open */
} Look;

/* in the next turn */
extern void LookSoon(void);
/* while vibevideo_poll() is called often enough, due polls are left to it for so long */
extern int64 LookPollGraceMs(void);
/* in a transaction: settle, claim, prune, and find out what is due next */
extern void LookForWork(Look *look);
/* the second half of a look, after its commit */
extern void LookFinish(const Look *look, bool acting);
extern bool LookIsDue(TimestampTz at, TimestampTz now);

#endif /* VIBEVIDEO_LOOK_H */
