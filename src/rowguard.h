/*
 * rowguard.h
 *	  The app's code, while its rows are written or reported.
 */
#ifndef VIBEVIDEO_ROWGUARD_H
#define VIBEVIDEO_ROWGUARD_H

#include "postgres.h"

#include "binding.h"

/* this process is the worker: the app's code must not hold it up */
extern void RowGuardInWorker(void);
extern bool RowGuardIsInWorker(void);
/* in a client, too, the app's triggers may take only so long from now on */
extern void RowGuardLimitTime(bool limit);
extern bool RowGuardIsTimed(void);
/* what was seen locked may be free by now */
extern void RowGuardForgetLocks(void);
/* from now on no constraint of the transaction is deferred */
extern void RowGuardDeferNothing(void);

/*
 * Is this process inside a write of rows, or in what a trigger of theirs has
 * called?  Then nothing may go over the network.  A submit or retry of a row
 * that is itself being written starts no new attempt: it would be paid for each
 * time that the attempt before it shows.
 */
extern bool RowGuardIsWriting(void);
extern bool RowGuardIsBeingWritten(const Binding *binding, const char *vibelog_id);

/*
 * The step, which writes or reports the rows with these keys, as the table's
 * owner.  NULL, or the error that the app's code raised: then the step is rolled
 * back.
 */
extern char *RowGuardRun(const Binding *binding, const char *const *keys, int n,
						 void (*step)(const Binding *binding, void *arg), void *arg);
/* the error means that the row is left to the worker, and nothing is wrong */
extern bool RowGuardIsDeferred(const char *error);
/* in such a step: what the table has that may change what is written */
extern bool RowGuardHasRules(void);
extern bool RowGuardHasTriggers(void);
/* a step that writes rows without a job; nothing of it is guarded, but that rows are being written is known */
extern uint64 RowGuardAnnounce(const Binding *binding, uint64 (*step)(const Binding *binding, Datum arg), Datum arg);

#endif /* VIBEVIDEO_ROWGUARD_H */
