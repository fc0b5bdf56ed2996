/*
 * look.c
 *	  The worker's look for work: what is due, claimed as far as there is room.
 *
 * The worker looks at least once a minute, and at most four times a second for what
 * somebody else holds.  It checks first what is due, and claims only those kinds;
 * a kind without room is skipped until one of its tasks ends, one whose service
 * is down until its breaker allows it.  While somebody calls vibevideo_poll() in
 * time (within 2.5 poll intervals), a due poll is left to them for one interval.
 * A submit that its caller has sent only announces when its first poll falls due
 * (ShmemExpectAtCommit): a worker that will be awake by then sleeps on.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "access.h"
#include "call.h"
#include "costs.h"
#include "erase.h"
#include "errand.h"
#include "guc.h"
#include "index.h"
#include "input.h"
#include "journal.h"
#include "look.h"
#include "overdue.h"
#include "polling.h"
#include "reconcile.h"
#include "rollup.h"
#include "settle.h"
#include "shmem.h"
#include "stray.h"
#include "webhook.h"
#include "workload.h"

#define LOOK_AT_LEAST_MS 60000 /* a missed wake-up delays work by no more */
#define LOOK_AT_MOST_MS 250	   /* for due work that somebody else has locked */
#define PRUNE_A_TURN 1000
#define PRUNE_MS 600000
#define FOLD_A_TURN 5000
#define FOLD_MS 10000
#define COSTS_A_TURN 2000
#define MINUTE_MS 60000
#define AGAIN_MS 1000	/* what was not done to its end */
#define JOURNAL_MS 1000 /* while a transaction with submits is still open */
#define MAX_RECONCILES 4
#define RECONCILE_LEASE_MS 900000 /* it may read many pages */
#define MAX_RECORD_ERRORS 20	  /* some minutes: then the outcome is given up */

void
LookSoon(void)
{
	vv_worker.look_at = 0;
}

/*----------
 * Room and claims
 *----------
 */

/* How many more bytes of inputs may be read: a request keeps its input until it is answered. */
static int64
InputRoom(void)
{
	int64 room = INPUT_BYTES;

	for (int i = 0; i < vv_worker.ntasks; i++)
		if (vv_worker.tasks[i]->kind == TASK_SUBMIT && !TaskIsOver(vv_worker.tasks[i]))
			room -= vv_worker.tasks[i]->job->input_bytes;
	return room;
}

static int
SubmitRoom(void)
{
	return InputRoom() > 0 ? CallMaxConcurrent() - WorkloadBusy(TASK_SUBMIT) : 0;
}

/* We lost the job and claimed it again: two copies must not write to one upload. */
static void
EndOlderCopy(int64 job_id)
{
	for (int i = 0; i < vv_worker.ntasks; i++)
	{
		Task *task = vv_worker.tasks[i];

		if (task->kind == TASK_COPY && !TaskIsOver(task) && task->job->job_id == job_id)
			WorkloadReturn(task);
	}
}

static int
ClaimJobs(TaskKind kind, int max, TimestampTz due_before, TimestampTz lease_until, Job **jobs)
{
	switch (kind)
	{
		case TASK_SUBMIT:
			return JobClaimSubmits(max, InputRoom(), due_before, lease_until, CurrentMemoryContext, jobs);
		case TASK_RECONCILE:
			return JobClaimReconciles(max, due_before, lease_until, CurrentMemoryContext, jobs);
		case TASK_POLL:
			return JobClaimPolls(max, due_before, lease_until, CurrentMemoryContext, jobs);
		case TASK_COPY:
			return JobClaimCopies(max, due_before, lease_until, CurrentMemoryContext, jobs);
	}
	return 0;
}

static const char *
KeyFor(TaskKind kind)
{
	if (kind == TASK_COPY)
		return vv_worker.has_storage_key ? vv_worker.storage_key : NULL;
	return vv_worker.fal_key;
}

/* Claimed jobs become tasks, each with its own memory context. */
static void
AddTasks(TaskKind kind, Job **jobs, int n)
{
	for (int i = 0; i < n; i++)
	{
		MemoryContext mcxt = TaskContext(TopMemoryContext);

		if (kind == TASK_COPY)
			EndOlderCopy(jobs[i]->job_id);
		WorkloadAdd(TaskCreate(kind, JobCopy(jobs[i], mcxt), mcxt, vv_worker.engine, KeyFor(kind)));
	}
}

static TimestampTz
LeaseUntil(TaskKind kind)
{
	int ms = 0;

	switch (kind)
	{
		case TASK_SUBMIT:
			ms = vv_submit_timeout + 60000;
			break;
		case TASK_RECONCILE:
			ms = RECONCILE_LEASE_MS;
			break;
		case TASK_POLL:
			ms = PollLeaseMs();
			break;
		case TASK_COPY:
			ms = COPY_LEASE_MS;
			break;
	}
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
}

/* True if more may be due. */
static bool
Claim(TaskKind kind, int room, TimestampTz due_before)
{
	Job **jobs;
	int n;

	if (room <= 0)
		return true;
	jobs = palloc(sizeof(Job *) * room);
	n = ClaimJobs(kind, room, due_before, LeaseUntil(kind), jobs);
	AddTasks(kind, jobs, n);
	pfree(jobs);
	return n == room;
}

/* Is a job that may crash us under way? */
static bool
IsTryingSuspect(void)
{
	for (int i = 0; i < vv_worker.ntasks; i++)
		if (JobIsSuspect(vv_worker.tasks[i]->job) && !TaskIsOver(vv_worker.tasks[i]))
			return true;
	return false;
}

static const struct
{
	TaskKind kind;
	Service service;
	int nstates;
	char *states[2];
} suspects[] = {
	{TASK_POLL, SERVICE_FAL, 2, {"queued", "generating"}},
	{TASK_RECONCILE, SERVICE_FAL, 1, {"submit_unknown"}},
	{TASK_COPY, SERVICE_STORAGE, 1, {"processing"}},
};

/* One at a time, so that a crash can be blamed on it. */
static void
ClaimOneSuspect(TimestampTz due_before)
{
	for (int i = 0; i < lengthof(suspects); i++)
	{
		Job *job;

		if (suspects[i].service == SERVICE_FAL && !vv_worker.has_fal_key)
			continue;
		if (ShmemServiceAllows(suspects[i].service, 1) == 0)
			continue;
		if (JobClaimSuspect((char **) suspects[i].states, suspects[i].nstates, due_before,
							LeaseUntil(suspects[i].kind), CurrentMemoryContext, &job) == 0)
			continue;
		AddTasks(suspects[i].kind, &job, 1);
		return;
	}
}

int64
LookPollGraceMs(void)
{
	DatabaseSlot slot;
	int64 interval = (int64) vv_poll_interval * 1000;

	if (!ShmemReadSlot(MyDatabaseId, &slot) || slot.last_poll_at == 0 ||
		TimestampDifferenceExceeds(slot.last_poll_at, GetCurrentTimestamp(), (int) Min(interval * 5 / 2, INT_MAX)))
		return 0;
	return interval;
}

/*----------
 * When to look again
 *----------
 */

/* The earlier of two times, but b not before floor; 0 means never. */
static TimestampTz
Earlier(TimestampTz a, TimestampTz b, TimestampTz floor)
{
	if (b != 0 && b < floor)
		b = floor;
	return (a == 0 || (b != 0 && b < a)) ? b : a;
}

/* The earliest time for work of a kind that is due: not while its service is down, or after it failed. */
static TimestampTz
SoonestFor(WorkKind kind, TimestampTz now, TimestampTz service_until)
{
	TimestampTz soonest = Max(TimestampTzPlusMilliseconds(now, LOOK_AT_MOST_MS), service_until);

	return vv_chores[kind].failures > 0 ? Max(soonest, vv_chores[kind].not_before) : soonest;
}

/*
 * Without room for more tasks of a kind we look again when one of them ends, and
 * while a service is down when it may be tried again.
 */
static void
PlanNextLook(TimestampTz now, const JobDue *due, int64 grace_ms)
{
	TimestampTz fal = ShmemServiceUntil(SERVICE_FAL);
	TimestampTz next = TimestampTzPlusMilliseconds(now, LOOK_AT_LEAST_MS);

	if (vv_worker.has_fal_key && SubmitRoom() > 0)
		next = Earlier(next, due->submit, SoonestFor(WORK_SUBMITS, now, Max(fal, ShmemServiceUntil(SERVICE_ACCOUNT))));
	if (vv_worker.has_fal_key && WorkloadBusy(TASK_RECONCILE) < MAX_RECONCILES)
		next = Earlier(next, due->unknown, SoonestFor(WORK_LOST, now, fal));
	if (vv_worker.has_fal_key && WorkloadBusy(TASK_POLL) < CallMaxConcurrent() && due->poll != 0)
		next = Earlier(next, TimestampTzPlusMilliseconds(due->poll, grace_ms), SoonestFor(WORK_POLLS, now, fal));
	if (WorkloadBusy(TASK_COPY) < vv_max_transfers)
		next = Earlier(next, due->copy, SoonestFor(WORK_COPIES, now, ShmemServiceUntil(SERVICE_STORAGE)));
	if (!IsTryingSuspect())
		next = Earlier(next, due->suspect, SoonestFor(WORK_SUSPECTS, now, 0));
	next = Earlier(next, due->expiry, SoonestFor(WORK_EXPIRE, now, 0));
	next = Earlier(next, due->row, SoonestFor(WORK_DUE, now, 0));
	if (vv_worker.fold_more)
		next = Earlier(next, vv_worker.fold_at, SoonestFor(WORK_FOLD, now, 0));
	next = Earlier(next, vv_worker.sample_at, SoonestFor(WORK_SAMPLE, now, 0));
	if (vv_worker.more_costs)
		next = Earlier(next, vv_worker.costs_at, SoonestFor(WORK_COSTS, now, 0));
	next = Earlier(next, vv_worker.deleted_at, SoonestFor(WORK_ERASE_ROWS, now, 0));
	next = Earlier(next, vv_worker.expand_at, SoonestFor(WORK_ERASE_JOBS, now, 0));
	if (EraseMayBegin())
		next = Earlier(next, vv_worker.erase_at, SoonestFor(WORK_ERASE, now, 0));
	if (vv_worker.read_journal)
		next = Earlier(next, TimestampTzPlusMilliseconds(now, JOURNAL_MS), SoonestFor(WORK_SETTLE, now, 0));
	for (int kind = 0; kind < WORK_KINDS; kind++)
		if (vv_chores[kind].failures > 0)
			next = Earlier(next, vv_chores[kind].not_before, SoonestFor(kind, now, 0));
	vv_worker.look_at = next;
}

bool
LookIsDue(TimestampTz at, TimestampTz now)
{
	return at != 0 && at <= now;
}

/*----------
 * Its kinds of work
 *----------
 */
static void
ReadApiKeys(void *look)
{
	vv_worker.has_fal_key = SecretRead(SECRET_FAL, vv_worker.fal_key, SECRET_SIZE, NULL);
	vv_worker.has_storage_key = SecretRead(SECRET_STORAGE, vv_worker.storage_key, SECRET_SIZE, NULL);
	ShmemWorkerNoteKeys(MyDatabaseId, vv_worker.has_fal_key, vv_worker.has_storage_key);
}

static void
FindDue(void *arg)
{
	Look *look = arg;

	JobNextDue(look->binding, &look->due);
}

/*
 * Submits whose sender is gone.  Ours may outlive their leases, when the clock was
 * set or their rows are locked, but we know their outcome, or will soon.
 */
static int
ExpireSubmits(TimestampTz now)
{
	int64 *ours = palloc(sizeof(int64) * (vv_worker.ntasks + 1));
	int n = 0;

	for (int i = 0; i < vv_worker.ntasks; i++)
		if (vv_worker.tasks[i]->kind == TASK_SUBMIT && vv_worker.tasks[i]->record_errors < MAX_RECORD_ERRORS)
			ours[n++] = vv_worker.tasks[i]->job->job_id;
	return JobExpireSubmits(now, false, ours, n);
}

static void
Expire(void *arg)
{
	Look *look = arg;

	look->emptied |= ExpireSubmits(look->now) > 0;
}

static void
ClaimSubmits(void *arg)
{
	Look *look = arg;

	look->emptied |= !Claim(TASK_SUBMIT, ShmemServiceAllows(SERVICE_ACCOUNT, ShmemServiceAllows(SERVICE_FAL, SubmitRoom())), look->now);
}

static void
ClaimPolls(void *arg)
{
	Look *look = arg;

	look->emptied |= !Claim(TASK_POLL, ShmemServiceAllows(SERVICE_FAL, CallMaxConcurrent() - WorkloadBusy(TASK_POLL)),
							TimestampTzPlusMilliseconds(look->now, -look->grace_ms));
}

static void
ClaimLost(void *arg)
{
	Look *look = arg;

	look->emptied |= !Claim(TASK_RECONCILE, MAX_RECONCILES - WorkloadBusy(TASK_RECONCILE), look->now);
}

static void
ClaimCopies(void *arg)
{
	Look *look = arg;

	look->emptied |= !Claim(TASK_COPY, ShmemServiceAllows(SERVICE_STORAGE, vv_max_transfers - WorkloadBusy(TASK_COPY)),
							look->now);
}

static void
ClaimSuspect(void *arg)
{
	Look *look = arg;

	ClaimOneSuspect(look->now);
}

/* there may be more to prune */
static TimestampTz
NextPrune(TimestampTz now, int64 pruned)
{
	return TimestampTzPlusMilliseconds(now, pruned > 0 ? AGAIN_MS : PRUNE_MS);
}

static void
Prune(void *arg)
{
	Look *look = arg;

	vv_worker.prune_at = NextPrune(look->now, CostsRelease(PRUNE_A_TURN) + JobPrune(PRUNE_A_TURN));
}

/* What waits a little is added up at once. */
static void
AddCosts(void *arg)
{
	Look *look = arg;
	bool more = (CostsSettle(PRUNE_A_TURN) == PRUNE_A_TURN);

	vv_worker.more_costs = (CostsAdd(COSTS_A_TURN) == COSTS_A_TURN || more);
	vv_worker.costs_at = TimestampTzPlusMilliseconds(look->now, vv_worker.more_costs ? AGAIN_MS : FOLD_MS);
}

static void
PruneAudit(void *arg)
{
	Look *look = arg;

	vv_worker.prune_audit_at = NextPrune(look->now, AccessPruneAudit(PRUNE_A_TURN));
}

/* Another step of the same errand follows at once. */
static void
EndErrand(void *look)
{
	ErrandEnd();
	vv_worker.errand_at = 0;
}

static void
ChooseErrand(void *arg)
{
	Look *look = arg;

	ErrandChoose();
	vv_worker.errand_at = TimestampTzPlusMilliseconds(look->now, MINUTE_MS);
}

static void
EndErasure(void *look)
{
	EraseEnd();
}

static void
LookForDeletedRows(void *arg)
{
	Look *look = arg;

	vv_worker.deleted_at = EraseLookForRows(look->binding);
}

static void
ExpandErasures(void *look)
{
	vv_worker.expand_at = EraseExpand();
}

static void
ChooseErasure(void *look)
{
	vv_worker.erase_at = EraseChoose();
}

/*
 * What a typical video takes is of interest when there is a new one, but not each
 * time; a new worker does not know what its predecessor has added.
 */
static void
Fold(void *arg)
{
	Look *look = arg;
	int64 folded = RollupFold(FOLD_A_TURN);

	vv_worker.typical_is_fresh &= folded == 0;
	if (!vv_worker.typical_is_fresh && look->now >= vv_worker.refresh_at)
	{
		RollupRefresh();
		vv_worker.typical_is_fresh = true;
		vv_worker.refresh_at = TimestampTzPlusMilliseconds(look->now, MINUTE_MS);
	}
	vv_worker.fold_more = (folded == FOLD_A_TURN);
	vv_worker.fold_at = TimestampTzPlusMilliseconds(look->now, vv_worker.fold_more ? AGAIN_MS : FOLD_MS);
}

static void
Sample(void *arg)
{
	Look *look = arg;

	RollupSample();
	/* the next whole minute */
	vv_worker.sample_at = (look->now / (MINUTE_MS * INT64CONST(1000)) + 1) * (MINUTE_MS * INT64CONST(1000));
}

static void
Thin(void *arg)
{
	Look *look = arg;

	vv_worker.thin_at = NextPrune(look->now, RollupThin(PRUNE_A_TURN));
}

static void
LookForStrays(void *arg)
{
	Look *look = arg;

	StrayLook(look->binding, look->now);
}

static void
StoreWebhookKeys(void *look)
{
	WebhookStoreKeys();
}

static void
Settle(void *arg)
{
	Look *look = arg;

	look->unsettled = SettleJournal(look->binding);
}

static void
HurryLost(void *look)
{
	ReconcileNow();
}

static void
EndOverdue(void *arg)
{
	Look *look = arg;

	OverdueEnd(look->now);
}

/* Does one kind of work, if it is wanted and may be tried; true if it was done. */
static bool
Do(WorkKind kind, bool wanted, void (*step)(void *look), Look *look)
{
	int ntasks = vv_worker.ntasks;

	if (!wanted || !ChoreMayRun(&vv_chores[kind], look->now))
		return false;
	if (ChoreRun(&vv_chores[kind], step, look))
		return true;
	/* their claims were rolled back */
	while (vv_worker.ntasks > ntasks)
		WorkloadDrop(vv_worker.ntasks - 1);
	return false;
}

/* Claims what is due, as far as there is room and its service is not down. */
static void
ClaimDue(Look *look)
{
	const JobDue *due = &look->due;

	Do(WORK_EXPIRE, LookIsDue(due->expiry, look->now), Expire, look);
	Do(WORK_SUBMITS, vv_worker.has_fal_key && LookIsDue(due->submit, look->now), ClaimSubmits, look);
	Do(WORK_POLLS, vv_worker.has_fal_key && LookIsDue(due->poll, TimestampTzPlusMilliseconds(look->now, -look->grace_ms)),
	   ClaimPolls, look);
	Do(WORK_LOST, vv_worker.has_fal_key && LookIsDue(due->unknown, look->now), ClaimLost, look);
	Do(WORK_COPIES, LookIsDue(due->copy, look->now), ClaimCopies, look);
	Do(WORK_SUSPECTS, LookIsDue(due->suspect, look->now) && !IsTryingSuspect(), ClaimSuspect, look);
}

/*----------
 * The look
 *----------
 */
void
LookForWork(Look *look)
{
	Do(WORK_KEYS, true, ReadApiKeys, look);
	Do(WORK_STRAYS, true, LookForStrays, look);
	if (Do(WORK_STORE_KEYS, vv_worker.store_keys, StoreWebhookKeys, look))
		vv_worker.store_keys = false;
	look->settled = Do(WORK_SETTLE, vv_worker.read_journal, Settle, look);
	vv_worker.reconcile_now |= ShmemFetchRequest(MyDatabaseId, WORKER_RECONCILE);
	if (Do(WORK_RECONCILE_NOW, vv_worker.reconcile_now, HurryLost, look))
		vv_worker.reconcile_now = false;
	Do(WORK_OVERDUE, true, EndOverdue, look);
	if (Do(WORK_DUE, true, FindDue, look))
		ClaimDue(look);
	if (look->emptied)
		Do(WORK_DUE, true, FindDue, look);
	Do(WORK_PRUNE, look->now >= vv_worker.prune_at, Prune, look);
	Do(WORK_FOLD, look->now >= vv_worker.fold_at, Fold, look);
	Do(WORK_SAMPLE, look->now >= vv_worker.sample_at, Sample, look);
	Do(WORK_THIN, look->now >= vv_worker.thin_at, Thin, look);
	Do(WORK_COSTS, look->now >= vv_worker.costs_at, AddCosts, look);
	Do(WORK_PRUNE_AUDIT, look->now >= vv_worker.prune_audit_at, PruneAudit, look);
	Do(WORK_ERRAND_DONE, ErrandIsAnswered(), EndErrand, look);
	Do(WORK_ERRAND, ErrandMayBegin() && look->now >= vv_worker.errand_at, ChooseErrand, look);
	Do(WORK_ERASE_DONE, EraseIsAnswered(), EndErasure, look);
	Do(WORK_ERASE_ROWS, true, LookForDeletedRows, look);
	Do(WORK_ERASE_JOBS, true, ExpandErasures, look);
	Do(WORK_ERASE, EraseMayBegin(), ChooseErasure, look);
}

static bool
IsAnythingToErase(void)
{
	return vv_worker.deleted_at != 0 || vv_worker.expand_at != 0 || vv_worker.erase_at != 0 || EraseIsUnderWay();
}

void
LookFinish(const Look *look, bool acting)
{
	/* the table now has what the journal had, and its commit is durable */
	if (look->settled)
	{
		JournalForget();
		vv_worker.read_journal = look->unsettled;
	}
	if (acting)
	{
		ErrandBegin(vv_worker.engine);
		EraseBegin(vv_worker.engine);
	}
	PlanNextLook(look->now, &look->due, look->grace_ms);
	if (JobIsAnythingDue(&look->due) || IsAnythingToErase() || vv_worker.read_journal || vv_chores[WORK_DUE].failures > 0 || ErrandIsAwaited())
		vv_worker.idle_since = 0;
	else if (vv_worker.idle_since == 0)
		vv_worker.idle_since = look->now;
	if (acting && look->binding->build_index)
		IndexEnsure();
}
