/*
 * worker.c
 *	  The worker of one database: sends, follows and copies.
 *
 * A turn: wait for sockets and the latch; move every request that can; record
 * what ended, many jobs in one transaction; when woken, when something falls
 * due or when a task made room, look for work and claim it in another short
 * transaction.  No transaction is open while we wait or talk to the network.
 *
 * It looks at least once a minute, and at most four times a second for what
 * somebody else holds.  It checks first what is due, and claims only those kinds;
 * a kind without room is skipped until one of its tasks ends, one whose service
 * is down until its breaker allows it.  While somebody calls vibevideo_poll() in
 * time (within 2.5 poll intervals), a due poll is left to them for one interval.
 * A submit that its caller has sent only announces when its first poll falls due
 * (ShmemExpectAtCommit): a worker that will be awake by then sleeps on.
 *
 * A claim leaves leased_by on the job, an orderly end takes it off again: a
 * worker that finds leases at its start knows that its predecessor crashed.
 *
 * SIGTERM ends it in an orderly way, after the turn: it waits up to 3 s for
 * answers to submits, releases everything else and all submits of which nothing
 * was sent, and records, for up to 3 s if somebody holds jobs.  The last
 * transactions do not wait for a standby, which may itself be shutting down.  Exit
 * code 0 is a retirement, 1 means "start me again".
 *
 * An error in one of its own transactions aborts that and drops the claims in it;
 * requests in flight continue.  Recording then goes one by one, so that a job
 * that cannot be recorded does not block the others.  The sixth error in a row, or
 * one outside a transaction, ends the worker.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "commands/dbcommands.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "approw.h"
#include "call.h"
#include "compat.h"
#include "copy.h"
#include "guc.h"
#include "http.h"
#include "identity.h"
#include "index.h"
#include "input.h"
#include "job.h"
#include "journal.h"
#include "polling.h"
#include "reconcile.h"
#include "secret.h"
#include "settle.h"
#include "shmem.h"
#include "statement.h"
#include "submit.h"
#include "task.h"
#include "version.h"
#include "webhook.h"
#include "worker.h"

#define LOOK_AT_LEAST_MS 60000 /* a missed wake-up costs no more */
#define LOOK_AT_MOST_MS 250	   /* due work that somebody else holds */
#define PROGRESS_MS 1000
#define ROWS_A_TURN 500
#define PRUNE_A_TURN 1000
#define DRAIN_MS 3000		/* at shutdown, for answers to submits in the air, and again to record what there is */
#define COPY_LEASE_MS 60000 /* renewed with each progress report */
#define JOURNAL_MS 1000		/* a transaction with submits is still open */
#define MAX_RECONCILES 4
#define RECONCILE_LEASE_MS 900000 /* it may read many pages */
#define MAX_ERRORS 5
#define BATCH_PART 4 /* a batch is ready when this part of the tasks is over */
#define BATCH_MS 3
#define MAX_RECORD_ERRORS 20 /* some minutes: then nobody waits for its outcome any more */
#define BACKLOG 8			 /* so many requests in the air will soon have a commit of their own */

typedef struct Worker
{
	HttpEngine *engine;
	Task **tasks;
	int ntasks;
	int nstarted; /* of them; the others' claims are not committed */
	int capacity;
	int count[TASK_COPY + 1];
	int leaving[TASK_COPY + 1]; /* of them, being recorded */
	TimestampTz look_at;
	TimestampTz progress_at;
	TimestampTz idle_since; /* 0 while there is work */
	TimestampTz prune_at;
	bool read_journal;		 /* somebody's transaction ended */
	bool store_keys;		 /* fal's webhook keys have arrived */
	bool one_by_one;		 /* recording many at once has failed */
	int errors;				 /* in a row */
	TimestampTz batch_since; /* something waits to be recorded, 0 if not */
	bool has_fal_key;
	bool has_storage_key;
	char fal_key[SECRET_SIZE];
	char storage_key[SECRET_SIZE];
} Worker;

static Worker worker;
static MemoryContext turn_context; /* what outlives a transaction, but not the turn */
static volatile sig_atomic_t in_transaction = false;
static volatile sig_atomic_t in_commit = false;

/*----------
 * Signals and transactions
 *----------
 */

/*
 * We end in good order, at the end of the turn: locks and the app's triggers
 * hold us up for two seconds at most.  Only a commit may wait longer, for a
 * standby that is not there: that one ends at once.
 */
static void
HandleTerm(SIGNAL_ARGS)
{
	int save_errno = errno;

	if (in_commit)
		CompatDie();
	else
	{
		ShutdownRequestPending = true;
		SetLatch(MyLatch);
	}
	errno = save_errno;
}

static void
Begin(bool durable)
{
	in_transaction = true;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (durable)
		ForceSyncCommit();
	else
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	StatementBegin();
}

static void
Commit(void)
{
	SPI_finish();
	PopActiveSnapshot();
	in_commit = true;
	CommitTransactionCommand();
	in_commit = false;
	in_transaction = false;
	/* without it autovacuum never learns of our rows */
	pgstat_report_stat(false);
}

/*
 * Is our extension here, in the version this library was made for?  The lock
 * keeps DROP EXTENSION out until the transaction ends; looking again after it
 * was granted catches one that was faster.
 */
static bool
ExtensionIsHere(void)
{
	Oid oid = get_extension_oid("vibevideo", true);
	static bool warned = false;
	char *version;

	if (!OidIsValid(oid))
		return false;
	LockDatabaseObject(ExtensionRelationId, oid, 0, AccessShareLock);
	if (get_extension_oid("vibevideo", true) != oid)
		return false;
	version = VersionOfSql();
	if (version == NULL)
		return false;
	if (VersionIsOurs(version))
	{
		warned = false;
		return true;
	}
	if (!warned)
		ereport(WARNING,
				(errmsg("vibevideo library is version %s, the extension in this database %s", VIBEVIDEO_VERSION, version),
				 errhint("ALTER EXTENSION vibevideo UPDATE; the worker is paused until then.")));
	warned = true;
	return false;
}

/*----------
 * Tasks
 *----------
 */
static void
AddTask(Task *task)
{
	if (worker.ntasks == worker.capacity)
	{
		worker.capacity = Max(64, worker.capacity * 2);
		worker.tasks = worker.tasks
			? repalloc(worker.tasks, sizeof(Task *) * worker.capacity)
			: MemoryContextAlloc(TopMemoryContext, sizeof(Task *) * worker.capacity);
	}
	worker.tasks[worker.ntasks++] = task;
	worker.count[task->kind]++;
}

static void
DropTask(int i)
{
	Task *task = worker.tasks[i];

	worker.count[task->kind]--;
	worker.tasks[i] = worker.tasks[--worker.ntasks];
	worker.nstarted = Min(worker.nstarted, worker.ntasks);
	CopyEnd(task);
	TaskFree(task);
}

static void
LookSoon(void)
{
	worker.look_at = 0;
}

static void
StartTask(Task *task)
{
	switch (task->kind)
	{
		case TASK_SUBMIT:
			SubmitStart(task);
			break;
		case TASK_RECONCILE:
			ReconcileStart(task);
			break;
		case TASK_POLL:
			PollStart(task);
			break;
		case TASK_COPY:
			CopyStart(task);
			break;
	}
}

/*----------
 * Looking for work
 *----------
 */

/* Tasks of a kind whose outcome is not yet being recorded. */
static int
Busy(TaskKind kind)
{
	return worker.count[kind] - worker.leaving[kind];
}

/* How much more of inputs may be taken into memory: a request holds its own until it is answered. */
static int64
InputRoom(void)
{
	int64 room = INPUT_BYTES;

	for (int i = 0; i < worker.ntasks; i++)
		if (worker.tasks[i]->kind == TASK_SUBMIT && !TaskIsOver(worker.tasks[i]))
			room -= worker.tasks[i]->job->input_bytes;
	return room;
}

static int
SubmitRoom(void)
{
	return InputRoom() > 0 ? CallMaxConcurrent() - Busy(TASK_SUBMIT) : 0;
}

/* Its requests are ended; if it is a submit, nothing of it was sent. */
static void
GiveBack(Task *task)
{
	if (task->http)
		HttpFree(task->http);
	task->http = NULL;
	TaskRelease(task);
	CopyEnd(task);
}

/* Somebody took the job away and we have it again: two copies must not feed one upload. */
static void
EndOlderCopy(int64 job_id)
{
	for (int i = 0; i < worker.ntasks; i++)
	{
		Task *task = worker.tasks[i];

		if (task->kind == TASK_COPY && !TaskIsOver(task) && task->job->job_id == job_id)
			GiveBack(task);
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
		return worker.has_storage_key ? worker.storage_key : NULL;
	return worker.fal_key;
}

/* Claimed jobs become tasks; each lives in a context of its own.  True if there may be more. */
static bool
Claim(TaskKind kind, int room, TimestampTz due_before, int lease_ms)
{
	Job **jobs;
	int n;

	if (room <= 0)
		return true;
	jobs = palloc(sizeof(Job *) * room);
	n = ClaimJobs(kind, room, due_before, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), lease_ms), jobs);
	for (int i = 0; i < n; i++)
	{
		MemoryContext mcxt = TaskContext(TopMemoryContext);

		if (kind == TASK_COPY)
			EndOlderCopy(jobs[i]->job_id);
		AddTask(TaskCreate(kind, JobCopy(jobs[i], mcxt), mcxt, worker.engine, KeyFor(kind)));
	}
	pfree(jobs);
	return n == room;
}

/* While somebody calls vibevideo_poll() in time, the rhythm is theirs. */
static int64
PollGraceMs(void)
{
	DatabaseSlot slot;
	int64 interval = (int64) vv_poll_interval * 1000;

	if (!ShmemReadSlot(MyDatabaseId, &slot) || slot.last_poll_at == 0 ||
		TimestampDifferenceExceeds(slot.last_poll_at, GetCurrentTimestamp(), (int) Min(interval * 5 / 2, INT_MAX)))
		return 0;
	return interval;
}

static void
ReadKeys(void)
{
	worker.has_fal_key = SecretRead(SECRET_FAL, worker.fal_key, SECRET_SIZE, NULL);
	worker.has_storage_key = SecretRead(SECRET_STORAGE, worker.storage_key, SECRET_SIZE, NULL);
}

/* The earlier of two times, of which 0 means never; not before floor. */
static TimestampTz
Earlier(TimestampTz a, TimestampTz b, TimestampTz floor)
{
	if (b != 0 && b < floor)
		b = floor;
	return (a == 0 || (b != 0 && b < a)) ? b : a;
}

/*
 * A kind that has no room left is looked at when one of its tasks ends, a
 * service that is down when it may be tried again.
 */
static void
PlanNextLook(TimestampTz now, const JobDue *due, int64 grace_ms)
{
	TimestampTz fal = ShmemServiceUntil(SERVICE_FAL);
	TimestampTz soonest = TimestampTzPlusMilliseconds(now, LOOK_AT_MOST_MS);
	TimestampTz next = TimestampTzPlusMilliseconds(now, LOOK_AT_LEAST_MS);

	if (worker.has_fal_key && SubmitRoom() > 0)
		next = Earlier(next, due->submit, Max(soonest, fal));
	if (worker.has_fal_key && Busy(TASK_RECONCILE) < MAX_RECONCILES)
		next = Earlier(next, due->unknown, Max(soonest, fal));
	if (worker.has_fal_key && Busy(TASK_POLL) < CallMaxConcurrent() && due->poll != 0)
		next = Earlier(next, TimestampTzPlusMilliseconds(due->poll, grace_ms), Max(soonest, fal));
	if (Busy(TASK_COPY) < vv_max_transfers)
		next = Earlier(next, due->copy, Max(soonest, ShmemServiceUntil(SERVICE_STORAGE)));
	next = Earlier(next, due->expiry, soonest);
	next = Earlier(next, due->row, soonest);
	if (worker.read_journal)
		next = Earlier(next, TimestampTzPlusMilliseconds(now, JOURNAL_MS), soonest);
	worker.look_at = next;
}

static bool
IsDue(TimestampTz at, TimestampTz now)
{
	return at != 0 && at <= now;
}

/*
 * Submits whose sender is gone.  Ours may outlive their leases, when the clock is
 * set or somebody holds their rows, but what they come to is known or will be.
 */
static int
ExpireSubmits(TimestampTz now)
{
	int64 *ours = palloc(sizeof(int64) * (worker.ntasks + 1));
	int n = 0;

	for (int i = 0; i < worker.ntasks; i++)
		if (worker.tasks[i]->kind == TASK_SUBMIT && worker.tasks[i]->record_errors < MAX_RECORD_ERRORS)
			ours[n++] = worker.tasks[i]->job->job_id;
	return JobExpireSubmits(now, false, ours, n);
}

/*
 * What is due and there is room for, as long as its service is not down.  True
 * if a kind was emptied: then something else of it falls due next.
 */
static bool
ClaimDue(const JobDue *due, TimestampTz now, int64 grace_ms)
{
	TimestampTz polls_before = TimestampTzPlusMilliseconds(now, -grace_ms);
	bool emptied = false;

	if (IsDue(due->expiry, now))
		emptied |= ExpireSubmits(now) > 0;
	if (worker.has_fal_key && IsDue(due->submit, now))
		emptied |= !Claim(TASK_SUBMIT, ShmemServiceAllows(SERVICE_FAL, SubmitRoom()), now,
						  vv_submit_timeout + 60000);
	if (worker.has_fal_key && IsDue(due->poll, polls_before))
		emptied |= !Claim(TASK_POLL,
						  ShmemServiceAllows(SERVICE_FAL, CallMaxConcurrent() - Busy(TASK_POLL)), polls_before,
						  PollLeaseMs());
	if (worker.has_fal_key && IsDue(due->unknown, now))
		emptied |= !Claim(TASK_RECONCILE, MAX_RECONCILES - Busy(TASK_RECONCILE), now,
						  RECONCILE_LEASE_MS);
	if (IsDue(due->copy, now))
		emptied |= !Claim(TASK_COPY,
						  ShmemServiceAllows(SERVICE_STORAGE, vv_max_transfers - Busy(TASK_COPY)), now, COPY_LEASE_MS);
	return emptied;
}

static void
Prune(TimestampTz now)
{
	if (now < worker.prune_at)
		return;
	/* a full batch means that there is more */
	worker.prune_at = TimestampTzPlusMilliseconds(now, JobPrune(PRUNE_A_TURN) > 0 ? 1000 : 600000);
}

/*----------
 * Recording
 *----------
 */

/* Over, and it is time to (try to) record it. */
static bool
IsToRecord(const Task *task, TimestampTz now)
{
	return TaskIsOver(task) && task->record_at <= now;
}

/*
 * Recording many jobs in one commit is cheaper, but a lone one is not to wait:
 * go ahead when a good part of what runs has ended, or after a moment.
 */
static bool
IsBatchReady(TimestampTz now)
{
	int over = 0;

	for (int i = 0; i < worker.ntasks; i++)
		over += IsToRecord(worker.tasks[i], now);
	if (over == 0)
	{
		worker.one_by_one = false;
		worker.batch_since = 0;
		return false;
	}
	if (worker.batch_since == 0)
		worker.batch_since = now;
	return over * BATCH_PART >= worker.ntasks ||
		now >= TimestampTzPlusMilliseconds(worker.batch_since, BATCH_MS);
}

/* Its job's row is held, or it could not be recorded: the lease gives us some time. */
static void
RecordLater(Task *task, TimestampTz now)
{
	task->record_at = TimestampTzPlusMilliseconds(now, 250 << Min(task->record_tries, 6));
	task->record_tries++;
}

/* What was not recorded though its lease is ours has its row held by somebody. */
static void
PutOffHeld(Task **batch, bool *recorded, int n, TimestampTz now)
{
	for (int i = 0; i < n; i++)
		if (!recorded[i] && JobHoldsLease(batch[i]->job->job_id, batch[i]->job->lease))
		{
			RecordLater(batch[i], now);
			batch[i]->record_errors = 0;
		}
		else
			recorded[i] = true;
}

static void
FreeRecorded(void)
{
	for (int i = worker.ntasks - 1; i >= 0; i--)
		if (worker.tasks[i]->recorded)
			DropTask(i);
}

/* What is over, to be recorded in one transaction and then looked at again. */
typedef struct Batch
{
	Task **tasks;
	bool *recorded;
	int n;
} Batch;

/*
 * After an error one by one, so that one that cannot be recorded does not keep
 * the others from it.
 */
static void
RecordOver(Batch *batch, const Binding *binding, TimestampTz now)
{
	JobUpdate *updates = palloc(sizeof(JobUpdate) * worker.ntasks);
	bool with_rows = (binding != NULL && !worker.one_by_one && AppRowsAreSimple(binding));

	batch->tasks = MemoryContextAlloc(turn_context, sizeof(Task *) * worker.ntasks);
	batch->recorded = MemoryContextAllocZero(turn_context, sizeof(bool) * worker.ntasks);
	worker.batch_since = 0;
	for (int i = 0; i < worker.ntasks && (batch->n == 0 || !worker.one_by_one); i++)
	{
		Task *task = worker.tasks[i];

		if (!IsToRecord(task, now))
			continue;
		/* should this end in an error, it is another's turn next */
		if (worker.one_by_one)
		{
			RecordLater(task, now);
			task->record_errors++;
		}
		if (task->undecided)
		{
			ReconcileDecide(task);
			/* it waits for submits whose transactions are over and not settled */
			worker.read_journal = true;
		}
		batch->tasks[batch->n] = task;
		updates[batch->n++] = task->update;
		worker.leaving[task->kind]++;
	}
	if (with_rows)
		AppRowRecord(binding, updates, batch->n, batch->recorded);
	else
		JobRecord(updates, batch->n, batch->recorded);
	PutOffHeld(batch->tasks, batch->recorded, batch->n, now);
}

/*----------
 * A turn's work on the database
 *----------
 */

/* Settle, claim, prune, and find out when to look again. */
static void
Look(const Binding *binding, TimestampTz now, int64 grace_ms, JobDue *due)
{
	ReadKeys();
	if (worker.store_keys)
		WebhookStoreKeys();
	if (worker.read_journal)
		worker.read_journal = SettleJournal(binding);
	if (ShmemFetchRequest(MyDatabaseId, WORKER_RECONCILE))
		ReconcileNow();
	JobNextDue(binding, due);
	if (ClaimDue(due, now, grace_ms))
		JobNextDue(binding, due);
	Prune(now);
}

/*
 * A transaction of its own: whatever the app's triggers do, what was recorded
 * is safe.  In a backlog it is not made durable, since the next one follows at
 * once, and a row that a crash takes back is still due; else subscribers, who
 * are told what is on disk, want to hear of it now.
 */
static void
SyncRows(void)
{
	Binding binding;

	Begin(worker.count[TASK_SUBMIT] + worker.count[TASK_POLL] < BACKLOG);
	if (BindingLoad(&binding))
		AppRowWriteDirty(&binding, ROWS_A_TURN);
	Commit();
}

static void
StartTasks(void)
{
	while (worker.nstarted < worker.ntasks)
		StartTask(worker.tasks[worker.nstarted++]);
}

/* The rest of a look, after its commit. */
static void
FinishLook(const Binding *binding, bool acting, bool settled, TimestampTz now, int64 grace_ms, const JobDue *due)
{
	worker.store_keys = false;
	/* what the journal said is in the table now, durably */
	if (settled)
		JournalForget();
	PlanNextLook(now, due, grace_ms);
	if (JobIsAnythingDue(due) || worker.read_journal)
		worker.idle_since = 0;
	else if (worker.idle_since == 0)
		worker.idle_since = now;
	if (acting && binding->build_index)
		IndexEnsure();
}

/*
 * One short transaction: what ended is recorded, and what fell due or what
 * there is room for now is claimed.  Only when that is committed may anything
 * leave this machine.  false: the extension is gone.
 */
static bool
Work(bool recording, bool looking)
{
	TimestampTz now = GetCurrentTimestamp();
	int64 grace_ms = PollGraceMs();
	JobDue due = {0};
	Batch batch = {0};
	Binding binding;
	bool bound;
	bool acting = false;
	bool settled = false;

	Begin(true); /* a claim that a crash takes back would be sent a second time */
	if (!ExtensionIsHere())
	{
		Commit();
		return false;
	}
	bound = BindingLoad(&binding);
	if (recording)
		RecordOver(&batch, bound ? &binding : NULL, now);
	if (looking)
	{
		/* without a table, or in a copy of the database, the jobs rest */
		acting = bound && BindingMayAct(&binding);
		settled = acting && worker.read_journal;
		if (acting)
			Look(&binding, now, grace_ms, &due);
		else
			worker.read_journal = false; /* it keeps */
	}
	Commit();

	for (int i = 0; i < batch.n; i++)
		batch.tasks[i]->recorded = batch.recorded[i];
	if (looking)
		FinishLook(&binding, acting, settled, now, grace_ms, &due);
	StartTasks();
	FreeRecorded();
	memset(worker.leaving, 0, sizeof(worker.leaving));
	if (!looking)
		LookSoon();
	if (IsDue(due.row, GetCurrentTimestamp()) || (recording && !looking))
		SyncRows();
	return true;
}

static bool
IsCopying(const Task *task)
{
	return task->kind == TASK_COPY && task->copy && !TaskIsOver(task);
}

static bool
IsReportWanted(TimestampTz now)
{
	if (worker.count[TASK_COPY] == 0)
		return false;
	if (TimestampDifferenceExceeds(worker.progress_at, now, PROGRESS_MS))
		return true;
	for (int i = 0; i < worker.ntasks; i++)
		if (IsCopying(worker.tasks[i]) && CopyWantsReport(worker.tasks[i]->copy))
			return true;
	return false;
}

/* Bytes copied, and the leases of copies renewed.  A lost lease ends the copy. */
static bool
ReportProgress(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool here;

	if (!IsReportWanted(now))
		return true;
	worker.progress_at = now;
	Begin(true);
	here = ExtensionIsHere();
	for (int i = worker.ntasks - 1; here && i >= 0; i--)
	{
		Task *task = worker.tasks[i];
		JobProgress progress;

		if (!IsCopying(task))
			continue;
		CopyProgress(task->copy, now, &progress);
		if (!JobRecordProgress(task->job->job_id, task->job->lease, &progress,
							   TimestampTzPlusMilliseconds(now, COPY_LEASE_MS)))
			DropTask(i);
	}
	Commit();
	for (int i = 0; here && i < worker.ntasks; i++)
		if (IsCopying(worker.tasks[i]))
		{
			CopyReported(worker.tasks[i]->copy, now);
			CopyPump(worker.tasks[i]);
		}
	return here;
}

/*----------
 * The turn
 *----------
 */
static void
AdvanceTask(Task *task, HttpRequest *request)
{
	switch (task->kind)
	{
		case TASK_SUBMIT:
			SubmitFinish(task, request);
			break;
		case TASK_RECONCILE:
			ReconcileAdvance(task, request);
			break;
		case TASK_POLL:
			PollAdvance(task, request);
			break;
		case TASK_COPY:
			CopyAdvance(task, request);
			break;
	}
}

/* Those that wait for their host for too long, or at all: nothing of them was sent. */
static void
GiveBackWaiting(bool all)
{
	if (HttpWaiting(worker.engine) == 0)
		return;
	for (int i = 0; i < worker.ntasks; i++)
	{
		Task *task = worker.tasks[i];

		if (task->http && (all ? HttpIsWaiting(task->http) : HttpIsLate(task->http)))
			GiveBack(task);
	}
}

static void
MoveRequests(void)
{
	HttpRequest *request;

	while ((request = HttpNextDone(worker.engine)) != NULL)
	{
		if (HttpOwner(request))
			AdvanceTask(HttpOwner(request), request);
		else if (WebhookTakeKeys(request))
			worker.store_keys = true;
	}
	for (int i = 0; i < worker.ntasks; i++)
		if (IsCopying(worker.tasks[i]))
			CopyPump(worker.tasks[i]);
	GiveBackWaiting(false);
}

static long
WaitMs(TimestampTz now)
{
	long wait = TimestampDifferenceMilliseconds(now, worker.look_at);

	for (int i = 0; i < worker.ntasks; i++)
		if (TaskIsOver(worker.tasks[i]))
			wait = Min(wait, Max(worker.batch_since ? 1 : 0, TimestampDifferenceMilliseconds(now, worker.tasks[i]->record_at)));
	if (worker.count[TASK_COPY] > 0 || HttpWaiting(worker.engine) > 0)
		wait = Min(wait, PROGRESS_MS);
	if (worker.idle_since != 0 && vv_worker_idle_timeout > 0)
		wait = Min(wait, TimestampDifferenceMilliseconds(now, TimestampTzPlusMilliseconds(worker.idle_since, (int64) vv_worker_idle_timeout * 1000)));
	return wait;
}

/* A job that was sent by its caller wakes us only if we would sleep through its first poll. */
static void
PlanSleep(void)
{
	TimestampTz look_at = ShmemWorkerPlan(MyDatabaseId, worker.look_at);

	if (look_at < worker.look_at)
		worker.idle_since = 0;
	worker.look_at = look_at;
}

static void
ShowActivity(void)
{
	char text[120];

	if (worker.ntasks == 0)
	{
		pgstat_report_activity(STATE_IDLE, "waiting for work");
		return;
	}
	snprintf(text, sizeof(text), "sending %d, asking about %d, copying %d",
			 worker.count[TASK_SUBMIT], worker.count[TASK_POLL] + worker.count[TASK_RECONCILE],
			 worker.count[TASK_COPY]);
	pgstat_report_activity(STATE_RUNNING, text);
}

/*----------
 * Beginning and end
 *----------
 */
static void
Leave(void)
{
	if (!ShmemWorkerRetire(MyDatabaseId))
		proc_exit(1); /* work came in just now: the launcher starts anew */
	proc_exit(0);
}

static bool
SubmitsInTheAir(void)
{
	for (int i = 0; i < worker.ntasks; i++)
		if (worker.tasks[i]->kind == TASK_SUBMIT && !TaskIsOver(worker.tasks[i]))
			return true;
	return false;
}

/* Answers to submits are worth a short wait, everything else is given back. */
static void
ReleaseAll(void)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DRAIN_MS);

	GiveBackWaiting(true);
	while (SubmitsInTheAir() && GetCurrentTimestamp() < until)
	{
		HttpWait(worker.engine, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until));
		MoveRequests();
	}
	for (int i = 0; i < worker.ntasks; i++)
	{
		Task *task = worker.tasks[i];

		if (TaskIsOver(task))
			continue;
		if (task->kind == TASK_SUBMIT && HttpIsSent(task->http))
			SubmitAbandon(task);
		else
			GiveBack(task);
	}
}

/*
 * Asked to end: everything is recorded or given back.  The last transaction does not wait for standbys, which may be
 * what is being shut down.
 */
static void
EndInOrder(void)
{
	static TimestampTz until = 0;

	if (until == 0)
	{
		ReleaseAll();
		for (int i = 0; i < worker.ntasks; i++)
			worker.tasks[i]->record_at = 0;
		until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DRAIN_MS);
	}
	SetConfigOption("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION);
	/* an error in here brings us back, one by one then; jobs that somebody holds are waited for, but not for long */
	while (worker.ntasks > 0)
	{
		int before = worker.ntasks;

		if (!Work(true, false))
			break;
		if (worker.ntasks < before)
			continue;
		if (GetCurrentTimestamp() >= until)
			break;
		(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 50, PG_WAIT_EXTENSION);
	}
	proc_exit(1); /* wanted: the launcher starts a new one unless the server ends */
}

/* What a crashed forerunner left. */
static void
Recover(void)
{
	Binding binding;

	Begin(true);
	if (!ExtensionIsHere())
	{
		Commit();
		Leave();
	}
	if (BindingLoad(&binding) && BindingMayAct(&binding))
	{
		JobExpireSubmits(GetCurrentTimestamp(), true, NULL, 0);
		JobRecoverLeases();
	}
	worker.read_journal = true;
	ereport(LOG, (errmsg("vibevideo worker started for database \"%s\"", get_database_name(MyDatabaseId))));
	Commit();
}

/* One turn of the loop. */
static void
Turn(void)
{
	TimestampTz now;
	bool recording;
	bool looking;

	CHECK_FOR_INTERRUPTS();
	MemoryContextReset(turn_context);
	if (CompatServeProcess())
	{
		HttpEngineResize(worker.engine, 2 * vv_max_requests + 2 * vv_max_transfers);
		LookSoon();
	}
	if (ShutdownRequestPending)
		EndInOrder();
	if (ShmemWorkerTurn(MyDatabaseId))
	{
		worker.read_journal = true;
		LookSoon();
	}
	now = GetCurrentTimestamp();
	WebhookFetchKeys(worker.engine);
	recording = IsBatchReady(now);
	/* what is recorded makes room, unless it has to go alone */
	looking = now >= worker.look_at || worker.store_keys || (recording && !worker.one_by_one);
	if ((recording || looking) && !Work(recording, looking))
		Leave();
	if (!ReportProgress())
		Leave();
	if (worker.ntasks == 0 && worker.idle_since != 0 && vv_worker_idle_timeout > 0 &&
		TimestampDifferenceExceeds(worker.idle_since, now, vv_worker_idle_timeout * 1000))
		Leave();
	ShowActivity();
	PlanSleep();
	HttpWait(worker.engine, WaitMs(GetCurrentTimestamp()));
	MoveRequests();
}

/*
 * A transaction of ours failed.  The requests in the air have nothing to do
 * with it, and some are paid for: go on with them.  An error that comes again
 * and again, or from outside a transaction, ends the worker, and the launcher
 * starts a new one.
 */
static void
SurviveError(void)
{
	if (!in_transaction || ++worker.errors > MAX_ERRORS)
		PG_RE_THROW();
	HOLD_INTERRUPTS();
	EmitErrorReport();
	AbortCurrentTransaction();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	in_transaction = in_commit = false;
	MemoryContextSwitchTo(TopMemoryContext);
	FlushErrorState();
	RESUME_INTERRUPTS();

	/* claims that were rolled back are nobody's */
	while (worker.ntasks > worker.nstarted)
		DropTask(worker.ntasks - 1);
	memset(worker.leaving, 0, sizeof(worker.leaving));
	worker.one_by_one = true;
	worker.read_journal = true;
	worker.look_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 500 * worker.errors);
}

void
VibevideoWorkerMain(Datum arg)
{
	Oid dboid = DatumGetObjectId(arg);

	pqsignal(SIGTERM, HandleTerm);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	ShmemWorkerAttach(MyDatabaseId);
	pgstat_report_appname("vibevideo worker");
	IdentityOfWorker();
	/* a lock somebody holds on the app's table must not stop the rest for long */
	SetConfigOption("lock_timeout", "2s", PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_read_only", "off", PGC_USERSET, PGC_S_SESSION);
	/* our own triggers have to run */
	SetConfigOption("session_replication_role", "origin", PGC_SUSET, PGC_S_SESSION);
	AppRowInWorker();
	turn_context = AllocSetContextCreate(TopMemoryContext, "vibevideo turn", ALLOCSET_DEFAULT_SIZES);

	Recover();
	worker.engine = HttpEngineCreate(2 * vv_max_requests + 2 * vv_max_transfers);

	for (;;)
	{
		PG_TRY();
		{
			Turn();
			worker.errors = 0;
		}
		PG_CATCH();
		{
			SurviveError();
		}
		PG_END_TRY();
	}
}
