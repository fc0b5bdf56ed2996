/*
 * chore.c
 *	  One kind of the worker's work on the database, and its troubles.
 *
 * Housekeeping never waits.  A chore that meets somebody's lock, or fails in any
 * other way, is undone alone and tried again after 250 ms, then less and less
 * often, at least every 32 s; the others go their way.
 */
#include "postgres.h"

#include "utils/guc.h"
#include "utils/timestamp.h"

#include "chore.h"
#include "ownerror.h"
#include "subtransaction.h"

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

static void
NoteFailure(Chore *chore, const ErrorData *error)
{
	int64 wait_ms = (int64) RETRY_FIRST_MS << Min(chore->failures, RETRY_MOST_SHIFT);

	chore->failures++;
	chore->sqlerrcode = error->sqlerrcode;
	chore->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_ms);
	ereport(LOG,
			(errmsg("vibevideo put off \"%s\" for %lld ms: %s (SQLSTATE %s)", chore->name, (long long) wait_ms,
					error->message, unpack_sql_state(error->sqlerrcode)),
			 error->context ? errcontext("%s", error->context) : 0));
}

/* a step of a chore, under the chore's lock limit */
typedef struct LimitedStep
{
	const char *lock_limit;
	void (*step)(void *arg);
	void *arg;
} LimitedStep;

static void
RunLimited(void *arg)
{
	const LimitedStep *limited = arg;
	int nest = NewGUCNestLevel();

	if (limited->lock_limit)
		(void) set_config_option("lock_timeout", limited->lock_limit, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	limited->step(limited->arg);
	AtEOXact_GUC(false, nest);
}

bool
ChoreRun(Chore *chore, void (*step)(void *arg), void *arg)
{
	ErrorData *error = SubtransactionRun(RunLimited, &(LimitedStep){chore->lock_limit, step, arg});

	if (error == NULL)
	{
		NoteSuccess(chore);
		return true;
	}
	NoteFailure(chore, error);
	FreeErrorData(error);
	return false;
}
