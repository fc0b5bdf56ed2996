/*
 * chore.h
 *	  One kind of the worker's work on the database, and its troubles.
 *
 * Chores share a transaction, since a commit is dear, but nothing else: each
 * runs in a subtransaction, waits for a lock no longer than it may, and when it
 * fails only that chore is undone and waits for another try.
 */
#ifndef VIBEVIDEO_CHORE_H
#define VIBEVIDEO_CHORE_H

#include "postgres.h"
#include "datatype/timestamp.h"

typedef struct Chore
{
	const char *name;		/* for the log */
	const char *lock_limit; /* as lock_timeout takes it; NULL: the session's */
	int failures;			/* in a row */
	int sqlerrcode;			/* of the last one */
	TimestampTz not_before;
} Chore;

/* false: it has failed, and shall be left alone for a while */
extern bool ChoreMayRun(const Chore *chore, TimestampTz now);
/* false if step ended in an error: then nothing of it has happened */
extern bool ChoreRun(Chore *chore, void (*step)(void *arg), void *arg);
/* the trouble is somebody's lock, or a cancel: it says nothing about the work itself */
extern bool ChoreErrorPasses(int sqlerrcode);

#endif /* VIBEVIDEO_CHORE_H */
