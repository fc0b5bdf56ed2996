/*
 * rowguard.c
 *	  The app's code, while its rows are written or reported: as the table's
 *	  owner, in a subtransaction, and for so long.
 *
 * An update of a row runs more of the app's code than triggers.  Whatever it does,
 * a paid job is never lost, and it gains no rights.
 *
 * - In the worker a write has 2 s.
 * - In the worker all constraints are immediate; where a client's are deferred the
 *	  row is left to the worker.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "identity.h"
#include "rowguard.h"
#include "subtransaction.h"
#include "wire.h"

#define ROW_ERROR_BYTES 400 /* of what the app's objects say */
#define ROW_CODE_BYTES 200	/* of where they say it */
#define ROW_TIMEOUT_MS 2000 /* for the app's triggers, in the worker */
#define ROW_LOCK_MS 250		/* of it, for somebody's lock; or the lock that a row waited for is still held: */
#define ROW_LOCK_AGAIN_MS 20

static bool in_worker = false;	/* our own worker: pg_cron's background workers are clients */
static bool limit_time = false; /* is the app's code cut short? */
static int lock_ms = ROW_LOCK_MS;

void
RowGuardInWorker(void)
{
	in_worker = true;
	limit_time = true;
}

void
RowGuardLimitTime(bool limit)
{
	limit_time = limit || in_worker;
}

bool
RowGuardIsInWorker(void)
{
	return in_worker;
}

bool
RowGuardIsTimed(void)
{
	return limit_time;
}

void
RowGuardForgetLocks(void)
{
	lock_ms = ROW_LOCK_MS;
}

/*----------
 * What is being written
 *----------
 */

/* Rows that a statement of ours is writing or reporting, while the app's code may run. */
typedef struct Writing
{
	struct Writing *outer; /* of whose write a trigger has led to this one */
	Oid relid;
	const char *const *keys;
	int n;
	bool has_rules;
	bool has_triggers;
} Writing;

static Writing *writing = NULL;

bool
RowGuardIsWriting(void)
{
	return writing != NULL;
}

bool
RowGuardIsBeingWritten(const Binding *binding, const char *vibelog_id)
{
	for (const Writing *w = writing; w; w = w->outer)
		for (int i = 0; w->relid == binding->relid && i < w->n; i++)
			if (strcmp(w->keys[i], vibelog_id) == 0)
				return true;
	return false;
}

uint64
RowGuardAnnounce(const Binding *binding, uint64 (*step)(const Binding *binding, Datum arg), Datum arg)
{
	Writing rows = {writing, binding->relid, NULL, 0};
	uint64 n = 0;

	writing = &rows;
	PG_TRY();
	{
		n = step(binding, arg);
	}
	PG_FINALLY();
	{
		writing = rows.outer;
	}
	PG_END_TRY();
	return n;
}

/* What the app has on its table that may change what is written. */
static void
FindCode(const Binding *binding)
{
	Relation relation = relation_open(binding->relid, RowExclusiveLock);

	writing->has_rules = (relation->rd_rules != NULL);
	/* partitions and children have triggers of their own */
	writing->has_triggers = (relation->rd_rel->relkind != RELKIND_RELATION || relation->rd_rel->relhassubclass);
	for (int i = 0; relation->trigdesc && i < relation->trigdesc->numtriggers; i++)
		writing->has_triggers |= !relation->trigdesc->triggers[i].tgisinternal;
	relation_close(relation, NoLock);
}

bool
RowGuardHasRules(void)
{
	return writing->has_rules;
}

bool
RowGuardHasTriggers(void)
{
	return writing->has_triggers;
}

/*----------
 * How long it may take, and what its errors mean
 *----------
 */

/*
 * A timeout of our own, not the statement's: one that a trigger has led to
 * inside of another keeps the other's, and a client has his besides.  A
 * trigger that catches the cancel is cancelled again.
 */
static TimeoutId row_timeout = MAX_TIMEOUTS;
static bool row_is_timed = false;
static volatile sig_atomic_t row_time_is_up = false;

static void
RowTimeIsUp(void)
{
	row_time_is_up = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* false: it is not limited, or an outer one has the earlier deadline */
static bool
StartRowTime(void)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ROW_TIMEOUT_MS);

	if (!limit_time || row_is_timed)
		return false;
	if (row_timeout == MAX_TIMEOUTS)
		row_timeout = RegisterTimeout(USER_TIMEOUT, RowTimeIsUp);
	row_is_timed = true;
	row_time_is_up = false;
	enable_timeout_every(row_timeout, end, ROW_TIMEOUT_MS / 4);
	return true;
}

/* Whether it was up is still to be known. */
static void
EndRowTime(void)
{
	disable_timeout(row_timeout, false);
	/* at the very end, perhaps */
	if (row_time_is_up)
		QueryCancelPending = false;
	row_is_timed = false;
}

/*
 * Cancel and shutdown end a client's whole statement; anything else is this
 * row's own trouble, and so is all that the worker, which only its row
 * timeout cancels, can catch.  When that is up, it is so for the outermost.
 */
static bool
IsInterrupt(int sqlerrcode)
{
	if (row_time_is_up)
		return ProcDiePending || row_is_timed;
	if (in_worker)
		return ProcDiePending;
	return sqlerrcode == ERRCODE_QUERY_CANCELED ||
		ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION;
}

/*
 * PostgreSQL queues no deferred trigger inside a security-restricted operation.
 * In the worker none is deferred; in a client they are what he says, so the row
 * is left to the worker.
 */
static char left_to_worker[] = "a trigger of the table is deferred";

bool
RowGuardIsDeferred(const char *error)
{
	return error == left_to_worker;
}

static bool
IsDeferredTrigger(const ErrorData *edata)
{
	return !in_worker && edata->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && edata->funcname &&
		strcmp(edata->funcname, "afterTriggerMarkEvents") == 0;
}

void
RowGuardDeferNothing(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	/* all of them, and immediate */
	AfterTriggerSetState(statement);
}

/*
 * The outermost of the app's functions, which is a trigger's: the last line of
 * the context but that of our own statement.  NULL if there is none.
 */
static const char *
FailedIn(char *context)
{
	char *ours = context ? strrchr(context, '\n') : NULL;
	const char *line;

	if (ours == NULL)
		return NULL;
	*ours = '\0';
	line = strrchr(context, '\n');
	return line ? line + 1 : context;
}

static char *
AddFailedIn(char *error, char *context)
{
	const char *code = FailedIn(context);
	char where[ROW_CODE_BYTES];

	if (code == NULL)
		return error;
	WireCopy(where, sizeof(where), code);
	WireClean(where);
	return psprintf("%s, in %s", error, where);
}

/* its message, and where it comes from; interrupts are thrown again */
static char *
ReadError(ErrorData *edata)
{
	char message[ROW_ERROR_BYTES];
	char *error;

	if (IsInterrupt(edata->sqlerrcode))
		ReThrowError(edata);
	if (edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		lock_ms = ROW_LOCK_AGAIN_MS;
	if (IsDeferredTrigger(edata))
		error = left_to_worker;
	else if (row_time_is_up)
		error = psprintf("the code that it runs, such as triggers, took longer than %d s (SQLSTATE %s)",
						 ROW_TIMEOUT_MS / 1000, unpack_sql_state(edata->sqlerrcode));
	else
	{
		WireCopy(message, sizeof(message), edata->message);
		WireClean(message);
		error = psprintf("%s (SQLSTATE %s)", message, unpack_sql_state(edata->sqlerrcode));
	}
	if (error != left_to_worker)
		error = AddFailedIn(error, edata->context);
	FreeErrorData(edata);
	return error;
}

/*
 * Somebody's lock that a trigger waits for is that row's trouble, and holds up
 * all other rows meanwhile.  The setting ends with the owner's search_path.
 */
static void
LimitLockWait(void)
{
	char limit[32];

	if (!limit_time || (LockTimeout > 0 && LockTimeout <= lock_ms))
		return;
	snprintf(limit, sizeof(limit), "%dms", lock_ms);
	(void) set_config_option("lock_timeout", limit, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

typedef struct GuardedStep
{
	const Binding *binding;
	void (*step)(const Binding *binding, void *arg);
	void *arg;
	Writing *rows;
	bool timed;
} GuardedStep;

static void
RunGuarded(void *arg)
{
	GuardedStep *guarded = arg;
	ErrorContextCallback *callers = error_context_stack;
	Identity saved;

	guarded->timed = StartRowTime();
	PG_TRY();
	{
		writing = guarded->rows;
		/* the context of an error is then what the row runs, and nothing of who called us */
		error_context_stack = NULL;
		IdentityBecomeTableOwner(guarded->binding->owner, &saved);
		LimitLockWait();
		FindCode(guarded->binding);
		guarded->step(guarded->binding, guarded->arg);
		IdentityResume(&saved);
	}
	PG_FINALLY();
	{
		error_context_stack = callers;
		writing = guarded->rows->outer;
		if (guarded->timed)
			EndRowTime();
	}
	PG_END_TRY();
}

char *
RowGuardRun(const Binding *binding, const char *const *keys, int n, void (*step)(const Binding *binding, void *arg), void *arg)
{
	Writing rows = {writing, binding->relid, keys, n};
	GuardedStep guarded = {binding, step, arg, &rows};
	ErrorData *edata = SubtransactionRun(RunGuarded, &guarded);
	char *error = edata ? ReadError(edata) : NULL;

	if (guarded.timed)
		row_time_is_up = false;
	return error;
}
