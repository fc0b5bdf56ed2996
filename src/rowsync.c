/*
 * rowsync.c
 *	  Brings the app's rows up to their jobs: rows and marks together.
 *
 * The job is the truth; the row is written after it.  A call and a poll pass do so
 * in the same transaction; they announce it to the trigger job_changing by
 * row_next_at = infinity, so that the job is not marked and unmarked, and mark it
 * if the write fails.  The worker writes marked rows after the transaction that
 * recorded the jobs has committed, so that no code of the app's can undo or delay
 * a recorded outcome.
 *
 * Rows are written together in one subtransaction, and one by one if that fails:
 *
 * - Errors of triggers and constraints are noted in row_error, and the row is
 *	  tried again after 1, 2, 4 .. 64 s.
 * - In the worker all rows of a turn have 200 ms: the rest stays due, and answers
 *	  from the network are read in between.
 * - A row that somebody has locked is tried again after a second.
 * - If a row does not show what was written, the job stays dirty, and row_error
 *	  names what may have undone it.
 * - If the job's row is not under its key, it is looked for by its request id, and
 *	  the job follows it (rekey.h).  If it is gone, there is nothing to write.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "ownerror.h"
#include "realtime.h"
#include "rekey.h"
#include "rowguard.h"
#include "rowsync.h"
#include "rowwrite.h"
#include "statement.h"
#include "tablefit.h"
#include "wire.h"

#define SYNC_BUDGET_MS 200 /* for all rows of one turn, in the worker */
#define FEW_LOCKED_TRIES 3 /* some seconds: while row-level security is forced, it may be that */
#define MOST_LOST_TRIES 10 /* some minutes: then a row that is not the job's is not waited for */

typedef enum SyncResult
{
	SYNC_DONE,	/* the row shows the job, or is not there */
	SYNC_LATER, /* the worker writes it, and nothing is wrong */
	SYNC_FAILED
} SyncResult;

/* 1, 2, 4 ... 64 seconds: a failing trigger is retried, not hammered */
static int64
RowBackoffMs(int tries)
{
	return (int64) 1000 << Min(tries, 6);
}

static void
BroadcastChange(const Binding *binding, DirtyJob *dirty)
{
	RowOutcome outcome;
	char *error;

	if (!binding->realtime || !RealtimeIsAvailable(binding->owner))
		return;
	error = RowWriteOne(RowWriteBroadcast, binding, dirty, &outcome);
	if (error == NULL)
		return;
	ereport(LOG,
			(errmsg("vibevideo job %lld: realtime.send failed and is not called for a minute: %s",
					(long long) dirty->job_id, error)));
	RealtimePause();
}

/* While row-level security is forced on the owner, a row that is not found may exist all the same. */
static bool
MayBeHidden(const Binding *binding)
{
	return TableFitHasPolicies(binding, binding->owner);
}

static Statement name_code = {
	"SELECT string_agg(x.name, ', ' ORDER BY x.name) FROM ("
	"SELECT format('trigger %I', t.tgname) FROM pg_trigger t WHERE t.tgrelid = ANY ("
	"ARRAY(SELECT $1::oid UNION SELECT p.relid FROM pg_partition_tree($1) p UNION SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = $1))"
	" AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND (t.tgtype & 16) <> 0"
	" UNION SELECT format('rule %I', r.rulename) FROM pg_rewrite r WHERE r.ev_class = $1 AND r.ev_type = '2') x(name)"};

/* why a row that was written does not show it */
static char *
UnshownError(const Binding *binding)
{
	Args args = {0};
	char *names;

	ArgRelation(&args, binding->relid);
	StatementRun(&name_code, &args);
	names = ResultText(0, 1);
	return psprintf("the row does not show what was written into it; what may undo that on its table: %s",
					names ? names : "nothing that is known");
}

/* What a row that somebody may have taken away from its job is waited for. */
static void
MarkLost(DirtyJob *dirty, const char *error)
{
	DirtyMarkOne(dirty, dirty->tries < MOST_LOST_TRIES, error, RowBackoffMs(dirty->tries));
}

/* NULL while it may just be locked */
static const char *
LockedError(const Binding *binding, const DirtyJob *dirty)
{
	return dirty->tries >= FEW_LOCKED_TRIES && MayBeHidden(binding)
		? "the row is locked, or row-level security keeps the table's owner from updating it"
		: NULL;
}

static Statement find_older = {
	"SELECT 1 FROM vibevideo.job j JOIN vibevideo.job p ON p.relation = j.relation AND p.vibelog_id = j.vibelog_id"
	" WHERE j.job_id = $1 AND p.request_id = $2 AND NOT p.orphan"};

/* An older version of the job's row, that the app has put back: it is what an older attempt has left. */
static bool
IsOlderVersion(const DirtyJob *dirty)
{
	Args args = {0};

	if (!BearsRequest(dirty->found))
		return false;
	ArgInt8(&args, dirty->job_id);
	ArgText(&args, dirty->found);
	return StatementRun(&find_older, &args) > 0;
}

/* The row with the job's key is not its row, or there is none: it follows its row to where that is. */
static SyncResult
SyncLost(const Binding *binding, DirtyJob *dirty, RowOutcome outcome)
{
	if (RowWriteOne(RowWriteFindHome, binding, dirty, &(RowOutcome){ROW_GONE}) == NULL && dirty->home)
	{
		if (!RekeyExchange(binding, dirty->vibelog_id, dirty->home, false))
			DirtyMarkOne(dirty, true, NULL, RowBackoffMs(0));
		return SYNC_LATER;
	}
	if (outcome == ROW_OTHER && IsOlderVersion(dirty))
	{
		dirty->bears_now = dirty->found;
		DirtyMarkOne(dirty, true, NULL, RowBackoffMs(0));
		return SYNC_LATER;
	}
	if (outcome == ROW_OTHER)
		MarkLost(dirty, "the row with its key does not bear what was written for this job: it is another row, or has been changed");
	else if (MayBeHidden(binding))
	{
		DirtyMarkOne(dirty, true, "the row does not exist, or row-level security hides it from the table's owner", RowBackoffMs(dirty->tries));
		return SYNC_FAILED;
	}
	else if (dirty->bears && strcmp(dirty->bears, BEARS_STATUS) == 0)
		MarkLost(dirty, "the row no longer exists, or its key was changed before it had a request id");
	else
		DirtyMarkOne(dirty, false, "the row no longer exists", 0);
	return SYNC_DONE;
}

static SyncResult
SyncFailed(const Binding *binding, DirtyJob *dirty, const char *error)
{
	ereport(LOG,
			(errmsg("vibevideo job %lld: could not write row \"%s\" of table %s: %s",
					(long long) dirty->job_id, WireShown(dirty->vibelog_id), binding->relation, error)));
	DirtyMarkOne(dirty, true, error, RowBackoffMs(dirty->tries));
	return SYNC_FAILED;
}

static void
MarkShown(const DirtyJob *dirty)
{
	int64 job_ids[] = {dirty->job_id, dirty->newest_id};

	DirtyMarkWritten(job_ids, lengthof(job_ids));
}

static SyncResult
SyncOne(const Binding *binding, DirtyJob *dirty)
{
	RowOutcome outcome = ROW_LOCKED;
	char *error = RowWriteOne(RowWrite, binding, dirty, &outcome);

	if (RowGuardIsDeferred(error))
	{
		DirtyMarkOne(dirty, true, NULL, 0);
		return SYNC_LATER;
	}
	if (error)
		return SyncFailed(binding, dirty, error);
	switch (outcome)
	{
		case ROW_UNSHOWN:
			dirty->bears_now = dirty->found;
			return SyncFailed(binding, dirty, UnshownError(binding));
		case ROW_GONE:
		case ROW_OTHER:
			return SyncLost(binding, dirty, outcome);
		case ROW_LOCKED:
			DirtyMarkOne(dirty, true, LockedError(binding, dirty), RowBackoffMs(0));
			return SYNC_FAILED;
		case ROW_WRITTEN:
			BroadcastChange(binding, dirty);
			break;
		case ROW_SAME:
			break;
	}
	if (dirty->marked)
		MarkShown(dirty);
	return SYNC_DONE;
}

/* In the worker the remaining rows stay due: answers from the network must be read in time. */
static TimestampTz
SyncUntil(void)
{
	return RowGuardIsInWorker() ? TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SYNC_BUDGET_MS) : 0;
}

static void
SyncOneByOne(const Binding *binding, DirtyJob **dirty, int n, int *unwritten)
{
	TimestampTz until = SyncUntil();

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		*unwritten += (SyncOne(binding, dirty[i]) == SYNC_FAILED);
		if (until != 0 && GetCurrentTimestamp() > until)
			break;
	}
}

static bool
IsShown(RowOutcome outcome)
{
	return outcome == ROW_WRITTEN || outcome == ROW_SAME;
}

static void
MarkClean(const RowStep *step)
{
	int64 *clean = palloc(sizeof(int64) * 2 * step->n);
	int n = 0;

	for (int i = 0; i < step->done; i++)
		if (step->dirty[i]->marked && IsShown(step->outcomes[i]))
		{
			clean[n++] = step->dirty[i]->job_id;
			if (step->dirty[i]->newest_id != step->dirty[i]->job_id)
				clean[n++] = step->dirty[i]->newest_id;
		}
	if (n > 0)
		DirtyMarkWritten(clean, n);
}

/*
 * All in one subtransaction, unless the app's code raises an error; returns how
 * many are done, 0 if they must be written one by one.
 */
static int
SyncTogether(const Binding *binding, DirtyJob **dirty, int n, int *unwritten)
{
	RowStep step = {.each = RowWrite, .dirty = dirty, .n = n, .until = SyncUntil()};

	step.outcomes = palloc(sizeof(RowOutcome) * n);
	if (RowWriteStep(binding, &step) != NULL)
		return 0;
	MarkClean(&step);
	/* the others have marks of their own; it is the same again alone */
	for (int i = 0; i < step.done; i++)
		if (!IsShown(step.outcomes[i]))
			*unwritten += (SyncOne(binding, dirty[i]) == SYNC_FAILED);
		else if (step.outcomes[i] == ROW_WRITTEN)
			BroadcastChange(binding, dirty[i]);
	return step.done;
}

/* Rows that could not be written before come last, and go alone: how many others there are. */
static int
PutTriedLast(DirtyJob **dirty, int n)
{
	DirtyJob **tried = palloc(sizeof(DirtyJob *) * n);
	int nfresh = 0;
	int ntried = 0;

	for (int i = 0; i < n; i++)
		if (dirty[i]->tries > 0)
			tried[ntried++] = dirty[i];
		else
			dirty[nfresh++] = dirty[i];
	memcpy(dirty + nfresh, tried, sizeof(DirtyJob *) * ntried);
	return nfresh;
}

void
RowSyncDirty(const Binding *binding, int max)
{
	int n;
	DirtyJob **dirty = DirtyFind(binding, GetCurrentTimestamp(), max, &n);
	int nfresh = PutTriedLast(dirty, n);
	int unwritten = 0;
	bool well;

	RowGuardForgetLocks();
	if (RowGuardIsInWorker() && n > 0)
		RowGuardDeferNothing();
	well = (nfresh == 0 || SyncTogether(binding, dirty, nfresh, &unwritten) > 0);
	/* a poll pass leaves what goes wrong to the worker */
	if (RowGuardIsTimed() && !RowGuardIsInWorker())
		return;
	if (!well)
		SyncOneByOne(binding, dirty, nfresh, &unwritten);
	SyncOneByOne(binding, dirty + nfresh, n - nfresh, &unwritten);
}

int
RowSyncMany(const Binding *binding, const int64 *job_ids, int n)
{
	int found;
	DirtyJob **dirty = DirtyFindMany(binding, job_ids, n, &found);
	int unwritten = 0;

	if (found < n)
		DirtyMarkElsewhere(binding, job_ids, n);
	if (found == 0 || SyncTogether(binding, dirty, found, &unwritten) > 0)
		return unwritten;
	/* the worker writes such rows in a separate transaction */
	if (RowGuardIsTimed())
		return DirtyMarkMany(job_ids, n);
	SyncOneByOne(binding, dirty, found, &unwritten);
	return unwritten;
}

static Statement find_cause = {
	"SELECT j.vibelog_id, COALESCE(j.row_error, 'another transaction has it locked') FROM vibevideo.job j"
	" WHERE j.job_id = ANY ($1) AND j.row_dirty ORDER BY j.row_error IS NULL, j.job_id LIMIT 1"};

char *
RowSyncCause(const int64 *job_ids, int n)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	if (StatementRun(&find_cause, &args) == 0)
		return "";
	return psprintf(" Row \"%s\": %s.", WireShown(ResultText(0, 1)), ResultText(0, 2));
}

bool
RowSyncOne(const Binding *binding, int64 job_id)
{
	DirtyJob *dirty = DirtyFindOne(binding, job_id);
	SyncResult result = dirty ? SyncOne(binding, dirty) : SYNC_DONE;

	if (result == SYNC_FAILED)
	{
		const char *cause = RowSyncCause(&job_id, 1);

		ereport(WARNING,
				(errmsg("could not write row \"%s\" yet", WireShown(dirty->vibelog_id)),
				 errdetail("The job itself is safe; the worker will write the row as soon as it can.%s", cause)));
	}
	return result == SYNC_DONE;
}

int
RowSyncRecord(const Binding *binding, JobUpdate *updates, int n, bool *recorded)
{
	int64 *moved = palloc(sizeof(int64) * (n + 1));
	int nmoved = 0;

	for (int i = 0; i < n; i++)
		updates[i].row_written = (strcmp(updates[i].was, updates[i].state) != 0);
	(void) JobRecord(updates, n, recorded);
	for (int i = 0; i < n; i++)
		if (recorded[i] && updates[i].row_written)
			moved[nmoved++] = updates[i].job_id;
	return nmoved > 0 ? RowSyncMany(binding, moved, nmoved) : 0;
}
