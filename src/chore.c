/*
 * chore.c
 *	  One kind of the worker's work on the database, and its troubles.
 *
 * Housekeeping never waits.  A chore that meets somebody's lock, or fails in any
 * other way, is undone alone and tried again after 250 ms, then less and less
 * often, at least every 32 s; the others go their way.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "chore.h"

#define RETRY_FIRST_MS 250
#define RETRY_MOST_SHIFT 7 /* 32 s */

bool
ChoreMayRun(const Chore *chore, TimestampTz now)
{
	return chore->failures == 0 || chore->not_before <= now;
}

bool
ChoreErrorPasses(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE || sqlerrcode == ERRCODE_QUERY_CANCELED;
}

static void
NoteSuccess(Chore *chore)
{
	chore->failures = 0;
	chore->sqlerrcode = 0;
}

/* The error that is being caught. */
static void
NoteFailure(Chore *chore)
{
	ErrorData *edata = CopyErrorData();
	int64 wait_ms = (int64) RETRY_FIRST_MS << Min(chore->failures, RETRY_MOST_SHIFT);

	FlushErrorState();
	chore->failures++;
	chore->sqlerrcode = edata->sqlerrcode;
	chore->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_ms);
	ereport(LOG,
			(errmsg("vibevideo put off \"%s\" for %lld ms: %s (SQLSTATE %s)", chore->name, (long long) wait_ms,
					edata->message, unpack_sql_state(edata->sqlerrcode)),
			 edata->context ? errcontext("%s", edata->context) : 0));
	FreeErrorData(edata);
}

static void
RunStep(const Chore *chore, void (*step)(void *arg), void *arg)
{
	int nest = NewGUCNestLevel();

	if (chore->lock_limit)
		(void) set_config_option("lock_timeout", chore->lock_limit, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	step(arg);
	AtEOXact_GUC(false, nest);
}

bool
ChoreRun(Chore *chore, void (*step)(void *arg), void *arg)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		RunStep(chore, step, arg);
		ReleaseCurrentSubTransaction();
		NoteSuccess(chore);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(mcxt);
		NoteFailure(chore);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
	return chore->failures == 0;
}
