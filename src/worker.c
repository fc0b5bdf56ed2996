/*
 * worker.c
 *	  The worker of one database: sends, follows and copies.
 *
 * A turn: wait for sockets and the latch; advance the requests; record what has
 * ended, many jobs in one transaction; when woken, when something falls due or
 * when a task has made room, look for work and claim it, if possible in the same
 * transaction.  No transaction is open while we wait or use the network.
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
 * worker that finds leases at its start knows that its predecessor crashed with
 * these jobs.  From the second time on a job is a suspect ("quarantined"): the
 * usual claims pass over it, and one suspect at a time is tried alone, after
 * waits of 5 s to 1 hour; while it is, a crash counts for no other job.  Any step
 * that is recorded sets crashes to 0.  Submits are not counted: when their sender
 * dies they become submit_unknown first.
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

#include "call.h"
#include "chore.h"
#include "compat.h"
#include "copy.h"
#include "guc.h"
#include "http.h"
#include "identity.h"
#include "index.h"
#include "input.h"
#include "job.h"
#include "journal.h"
#include "overdue.h"
#include "polling.h"
#include "reconcile.h"
#include "rowguard.h"
#include "rowsync.h"
#include "secret.h"
#include "settle.h"
#include "shmem.h"
#include "statement.h"
#include "stray.h"
#include "submit.h"
#include "task.h"
#include "version.h"
#include "webhook.h"
#include "worker.h"

#define LOOK_AT_LEAST_MS 60000 /* a missed wake-up delays work by no more */
#define LOOK_AT_MOST_MS 250	   /* for due work that somebody else has locked */
#define PROGRESS_MS 1000
#define ROWS_A_TURN 500
#define PRUNE_A_TURN 1000
#define DRAIN_MS 3000		/* at shutdown: for answers to submits in flight, and again for recording */
#define COPY_LEASE_MS 60000 /* renewed with each progress report */
#define JOURNAL_MS 1000		/* while a transaction with submits is still open */
#define MAX_RECONCILES 4
#define RECONCILE_LEASE_MS 900000 /* it may read many pages */
#define MAX_ERRORS 5
#define BATCH_PART 4 /* a batch is ready when one in so many tasks is over */
#define BATCH_MS 3
#define MAX_RECORD_ERRORS 20 /* some minutes: then the outcome is given up */
#define BACKLOG 8			 /* with so many requests in flight the next commit follows soon */

typedef struct Worker
{
	HttpEngine *engine;
	Task **tasks;
	int ntasks;
	int nstarted; /* how many of them; the claims of the others are not committed */
	int capacity;
	int count[TASK_COPY + 1];
	int leaving[TASK_COPY + 1]; /* how many of these are being recorded */
	TimestampTz look_at;
	TimestampTz progress_at;
	TimestampTz idle_since; /* 0 while there is work */
	TimestampTz prune_at;
	bool recovered;			 /* what a crashed predecessor left behind has been dealt with */
	bool read_journal;		 /* a transaction with submits may have ended */
	bool store_keys;		 /* fal's webhook keys have arrived */
	bool reconcile_now;		 /* a webhook came in for an unknown request */
	bool one_by_one;		 /* recording several jobs at once has failed */
	int errors;				 /* in a row */
	TimestampTz batch_since; /* since when something waits to be recorded, 0 if nothing does */
	bool has_fal_key;
	bool has_storage_key;
	char fal_key[SECRET_SIZE];
	char storage_key[SECRET_SIZE];
} Worker;

/*
 * The kinds of work on the database.  Only recording an outcome may wait for
 * somebody's lock; everything else is tried again later.
 */
typedef enum WorkKind
{
	WORK_RECORD,
	WORK_KEYS,
	WORK_STRAYS,
	WORK_STORE_KEYS,
	WORK_SETTLE,
	WORK_RECONCILE_NOW,
	WORK_OVERDUE,
	WORK_DUE,
	WORK_EXPIRE,
	WORK_SUBMITS,
	WORK_POLLS,
	WORK_LOST,
	WORK_COPIES,
	WORK_SUSPECTS,
	WORK_PRUNE,
	WORK_KINDS
} WorkKind;

#define LOCK_LIMIT "2s" /* where nothing shorter is set */
#define SHORT "50ms"

static Chore chores[WORK_KINDS] = {
	[WORK_RECORD] = {.name = "recording"},
	[WORK_KEYS] = {.name = "reading keys", .lock_limit = SHORT},
	[WORK_STRAYS] = {.name = "looking for strays", .lock_limit = SHORT},
	[WORK_STORE_KEYS] = {.name = "storing webhook keys", .lock_limit = SHORT},
	[WORK_SETTLE] = {.name = "settling the journal", .lock_limit = SHORT},
	[WORK_RECONCILE_NOW] = {.name = "hurrying lost submits", .lock_limit = SHORT},
	[WORK_OVERDUE] = {.name = "ending what is overdue", .lock_limit = SHORT},
	[WORK_DUE] = {.name = "looking for what is due", .lock_limit = SHORT},
	[WORK_EXPIRE] = {.name = "expiring submits", .lock_limit = SHORT},
	[WORK_SUBMITS] = {.name = "claiming submits", .lock_limit = SHORT},
	[WORK_POLLS] = {.name = "claiming polls", .lock_limit = SHORT},
	[WORK_LOST] = {.name = "claiming lost submits", .lock_limit = SHORT},
	[WORK_COPIES] = {.name = "claiming copies", .lock_limit = SHORT},
	[WORK_SUSPECTS] = {.name = "claiming a suspect", .lock_limit = SHORT},
	[WORK_PRUNE] = {.name = "removing old jobs", .lock_limit = SHORT},
};

static Worker worker;
static MemoryContext turn_context; /* outlives a transaction, but not the turn */
static volatile sig_atomic_t in_transaction = false;
static volatile sig_atomic_t in_commit = false;

/*----------
 * Signals and transactions
 *----------
 */

/*
 * We end in an orderly way, at the end of the turn: locks and the app's triggers
 * delay us by two seconds at most.  Only a commit can take longer, when it waits
 * for a standby that is gone: then we end at once.
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
OpenTransaction(bool durable)
{
	in_transaction = true;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (durable)
		ForceSyncCommit();
	else
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	StatementConnect();
}

static void
CloseTransaction(void)
{
	SPI_finish();
	PopActiveSnapshot();
	in_commit = true;
	CommitTransactionCommand();
	in_commit = false;
	in_transaction = false;
	/* without this autovacuum does not notice our changes */
	pgstat_report_stat(false);
}

/*
 * Does the extension exist, with the version of this library?  The lock blocks
 * DROP EXTENSION until the transaction ends; the second look catches one that was
 * faster.
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
				(errmsg("vibevideo is paused: its library has version %s, its SQL in this database version %s",
						VIBEVIDEO_VERSION, version),
				 errhint("Run ALTER EXTENSION vibevideo UPDATE or, if the library is the older one, restart the server with the new one.")));
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
CountBusy(TaskKind kind)
{
	return worker.count[kind] - worker.leaving[kind];
}

/* How many more bytes of inputs may be read: a request keeps its input until it is answered. */
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
	return InputRoom() > 0 ? CallMaxConcurrent() - CountBusy(TASK_SUBMIT) : 0;
}

/* Ends its requests and its claim; nothing of a submit must have been sent. */
static void
ReturnClaim(Task *task)
{
	if (task->http)
		HttpFree(task->http);
	task->http = NULL;
	TaskRelease(task);
	CopyEnd(task);
}

/* We lost the job and claimed it again: two copies must not write to one upload. */
static void
EndOlderCopy(int64 job_id)
{
	for (int i = 0; i < worker.ntasks; i++)
	{
		Task *task = worker.tasks[i];

		if (task->kind == TASK_COPY && !TaskIsOver(task) && task->job->job_id == job_id)
			ReturnClaim(task);
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

/* Claimed jobs become tasks, each with its own memory context. */
static void
AddTasks(TaskKind kind, Job **jobs, int n)
{
	for (int i = 0; i < n; i++)
	{
		MemoryContext mcxt = TaskContext(TopMemoryContext);

		if (kind == TASK_COPY)
			EndOlderCopy(jobs[i]->job_id);
		AddTask(TaskCreate(kind, JobCopy(jobs[i], mcxt), mcxt, worker.engine, KeyFor(kind)));
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
	for (int i = 0; i < worker.ntasks; i++)
		if (JobIsSuspect(worker.tasks[i]->job) && !TaskIsOver(worker.tasks[i]))
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

		if (suspects[i].service == SERVICE_FAL && !worker.has_fal_key)
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

/* While vibevideo_poll() is called often enough, due polls are left to it for a while. */
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
ReadApiKeys(void *look)
{
	worker.has_fal_key = SecretRead(SECRET_FAL, worker.fal_key, SECRET_SIZE, NULL);
	worker.has_storage_key = SecretRead(SECRET_STORAGE, worker.storage_key, SECRET_SIZE, NULL);
}

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

	return chores[kind].failures > 0 ? Max(soonest, chores[kind].not_before) : soonest;
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

	if (worker.has_fal_key && SubmitRoom() > 0)
		next = Earlier(next, due->submit, SoonestFor(WORK_SUBMITS, now, fal));
	if (worker.has_fal_key && CountBusy(TASK_RECONCILE) < MAX_RECONCILES)
		next = Earlier(next, due->unknown, SoonestFor(WORK_LOST, now, fal));
	if (worker.has_fal_key && CountBusy(TASK_POLL) < CallMaxConcurrent() && due->poll != 0)
		next = Earlier(next, TimestampTzPlusMilliseconds(due->poll, grace_ms), SoonestFor(WORK_POLLS, now, fal));
	if (CountBusy(TASK_COPY) < vv_max_transfers)
		next = Earlier(next, due->copy, SoonestFor(WORK_COPIES, now, ShmemServiceUntil(SERVICE_STORAGE)));
	if (!IsTryingSuspect())
		next = Earlier(next, due->suspect, SoonestFor(WORK_SUSPECTS, now, 0));
	next = Earlier(next, due->expiry, SoonestFor(WORK_EXPIRE, now, 0));
	next = Earlier(next, due->row, SoonestFor(WORK_DUE, now, 0));
	if (worker.read_journal)
		next = Earlier(next, TimestampTzPlusMilliseconds(now, JOURNAL_MS), SoonestFor(WORK_SETTLE, now, 0));
	for (int kind = 0; kind < WORK_KINDS; kind++)
		if (chores[kind].failures > 0)
			next = Earlier(next, chores[kind].not_before, SoonestFor(kind, now, 0));
	worker.look_at = next;
}

static bool
IsDue(TimestampTz at, TimestampTz now)
{
	return at != 0 && at <= now;
}

/*
 * Submits whose sender is gone.  Ours may outlive their leases, when the clock was
 * set or their rows are locked, but we know their outcome, or will soon.
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

static void
FindDue(void *arg)
{
	Look *look = arg;

	JobNextDue(look->binding, &look->due);
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

	look->emptied |= !Claim(TASK_SUBMIT, ShmemServiceAllows(SERVICE_FAL, SubmitRoom()), look->now);
}

static void
ClaimPolls(void *arg)
{
	Look *look = arg;

	look->emptied |= !Claim(TASK_POLL, ShmemServiceAllows(SERVICE_FAL, CallMaxConcurrent() - CountBusy(TASK_POLL)),
							TimestampTzPlusMilliseconds(look->now, -look->grace_ms));
}

static void
ClaimLost(void *arg)
{
	Look *look = arg;

	look->emptied |= !Claim(TASK_RECONCILE, MAX_RECONCILES - CountBusy(TASK_RECONCILE), look->now);
}

static void
ClaimCopies(void *arg)
{
	Look *look = arg;

	look->emptied |= !Claim(TASK_COPY, ShmemServiceAllows(SERVICE_STORAGE, vv_max_transfers - CountBusy(TASK_COPY)),
							look->now);
}

static void
ClaimSuspect(void *arg)
{
	Look *look = arg;

	ClaimOneSuspect(look->now);
}

static void
Prune(void *arg)
{
	Look *look = arg;

	/* there may be more to prune */
	worker.prune_at = TimestampTzPlusMilliseconds(look->now, JobPrune(PRUNE_A_TURN) > 0 ? 1000 : 600000);
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
	int ntasks = worker.ntasks;

	if (!wanted || !ChoreMayRun(&chores[kind], look->now))
		return false;
	if (ChoreRun(&chores[kind], step, look))
		return true;
	/* their claims were rolled back */
	while (worker.ntasks > ntasks)
		DropTask(worker.ntasks - 1);
	return false;
}

/* Claims what is due, as far as there is room and its service is not down. */
static void
ClaimDue(Look *look)
{
	const JobDue *due = &look->due;

	Do(WORK_EXPIRE, IsDue(due->expiry, look->now), Expire, look);
	Do(WORK_SUBMITS, worker.has_fal_key && IsDue(due->submit, look->now), ClaimSubmits, look);
	Do(WORK_POLLS, worker.has_fal_key && IsDue(due->poll, TimestampTzPlusMilliseconds(look->now, -look->grace_ms)),
	   ClaimPolls, look);
	Do(WORK_LOST, worker.has_fal_key && IsDue(due->unknown, look->now), ClaimLost, look);
	Do(WORK_COPIES, IsDue(due->copy, look->now), ClaimCopies, look);
	Do(WORK_SUSPECTS, IsDue(due->suspect, look->now) && !IsTryingSuspect(), ClaimSuspect, look);
}

/*----------
 * Recording
 *----------
 */

/* Over, and due to be recorded. */
static bool
IsToRecord(const Task *task, TimestampTz now)
{
	return TaskIsOver(task) && task->record_at <= now;
}

/*
 * Recording many jobs in one commit is cheaper, but a single job should not wait
 * long: record when a good part of the tasks has ended, or after a moment.
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

/* The job's row is locked, or recording failed: there is time until the lease ends. */
static void
RecordLater(Task *task, TimestampTz now)
{
	task->record_at = TimestampTzPlusMilliseconds(now, 250 << Min(task->record_tries, 6));
	task->record_tries++;
}

/* If a job was not recorded although the lease is ours, somebody has locked its row. */
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

/* The tasks recorded in one transaction. */
typedef struct Batch
{
	TimestampTz now;
	Task **tasks;
	bool *recorded;
	int n;
} Batch;

/*
 * After an error record the jobs one by one, so that one that cannot be recorded
 * does not block the others.
 */
static void
RecordOver(void *arg)
{
	Batch *batch = arg;
	JobUpdate *updates = palloc(sizeof(JobUpdate) * worker.ntasks);

	batch->tasks = MemoryContextAlloc(turn_context, sizeof(Task *) * worker.ntasks);
	batch->recorded = MemoryContextAllocZero(turn_context, sizeof(bool) * worker.ntasks);
	worker.batch_since = 0;
	for (int i = 0; i < worker.ntasks && (batch->n == 0 || !worker.one_by_one); i++)
	{
		Task *task = worker.tasks[i];

		if (!IsToRecord(task, batch->now))
			continue;
		/* if this raises an error, another job comes next */
		if (worker.one_by_one)
			RecordLater(task, batch->now);
		if (task->undecided)
		{
			ReconcileDecide(task);
			/* it may wait for submits whose transactions have ended but are not settled */
			worker.read_journal = true;
		}
		batch->tasks[batch->n] = task;
		updates[batch->n++] = task->update;
		worker.leaving[task->kind]++;
	}
	JobRecord(updates, batch->n, batch->recorded);
	PutOffHeld(batch->tasks, batch->recorded, batch->n, batch->now);
}

/*
 * An error undoes the recording and nothing else; then jobs are recorded alone.
 * A lock is no reason to give an outcome up, however long somebody holds it.
 */
static void
Record(Batch *batch)
{
	Chore *chore = &chores[WORK_RECORD];

	if (ChoreRun(chore, RecordOver, batch))
		return;
	if (worker.one_by_one && batch->n > 0 && !ChoreErrorPasses(chore->sqlerrcode))
		batch->tasks[0]->record_errors++;
	worker.one_by_one = true;
	batch->n = 0;
	memset(worker.leaving, 0, sizeof(worker.leaving));
}

/*----------
 * A turn's work on the database
 *----------
 */

/* Settle, claim, prune, and find out what is due next. */
static void
LookForWork(Look *look)
{
	Do(WORK_KEYS, true, ReadApiKeys, look);
	Do(WORK_STRAYS, true, LookForStrays, look);
	if (Do(WORK_STORE_KEYS, worker.store_keys, StoreWebhookKeys, look))
		worker.store_keys = false;
	look->settled = Do(WORK_SETTLE, worker.read_journal, Settle, look);
	worker.reconcile_now |= ShmemFetchRequest(MyDatabaseId, WORKER_RECONCILE);
	if (Do(WORK_RECONCILE_NOW, worker.reconcile_now, HurryLost, look))
		worker.reconcile_now = false;
	Do(WORK_OVERDUE, true, EndOverdue, look);
	if (Do(WORK_DUE, true, FindDue, look))
		ClaimDue(look);
	if (look->emptied)
		Do(WORK_DUE, true, FindDue, look);
	Do(WORK_PRUNE, look->now >= worker.prune_at, Prune, look);
}

/*
 * In a separate transaction: whatever the app's triggers do, what was recorded is
 * safe.  In a backlog its commit is not flushed, since the next one follows at
 * once, and a row lost in a crash is still due.  Otherwise it is, since
 * subscribers are notified only after the flush.
 */
static void
SyncRows(void)
{
	Binding binding;

	OpenTransaction(worker.count[TASK_SUBMIT] + worker.count[TASK_POLL] < BACKLOG);
	if (BindingLoad(&binding))
		RowSyncDirty(&binding, ROWS_A_TURN);
	CloseTransaction();
}

static void
StartTasks(void)
{
	while (worker.nstarted < worker.ntasks)
		StartTask(worker.tasks[worker.nstarted++]);
}

/* The second half of a look, after its commit. */
static void
FinishLook(const Look *look, bool acting)
{
	/* the table now has what the journal had, and its commit is durable */
	if (look->settled)
	{
		JournalForget();
		worker.read_journal = look->unsettled;
	}
	PlanNextLook(look->now, &look->due, look->grace_ms);
	if (JobIsAnythingDue(&look->due) || worker.read_journal || chores[WORK_DUE].failures > 0)
		worker.idle_since = 0;
	else if (worker.idle_since == 0)
		worker.idle_since = look->now;
	if (acting && look->binding->build_index)
		IndexEnsure();
}

/* After the commit: frees what was recorded, and starts what was claimed. */
static void
AfterWork(const Look *look, const Batch *batch, bool recording, bool looking, bool acting)
{
	for (int i = 0; i < batch->n; i++)
		batch->tasks[i]->recorded = batch->recorded[i];
	if (looking)
		FinishLook(look, acting);
	StartTasks();
	FreeRecorded();
	memset(worker.leaving, 0, sizeof(worker.leaving));
	if (!looking)
		LookSoon();
	if (IsDue(look->due.row, GetCurrentTimestamp()) || (recording && !looking))
		SyncRows();
}

/*
 * One short transaction that records what has ended and claims what is due, as
 * far as there is room.  Nothing is sent before that is committed.  False if the
 * extension is gone.
 */
static bool
Work(bool recording, bool looking)
{
	TimestampTz now = GetCurrentTimestamp();
	Binding binding;
	Look look = {.binding = &binding, .now = now, .grace_ms = PollGraceMs()};
	Batch batch = {.now = now};
	bool acting = false;

	OpenTransaction(true); /* a claim lost in a crash would be sent a second time */
	if (!ExtensionIsHere())
	{
		CloseTransaction();
		return false;
	}
	(void) BindingLoad(&binding);
	if (recording)
		Record(&batch);
	if (looking)
	{
		/* with no table attached, or in a copy of the database, the jobs are paused */
		acting = OidIsValid(binding.relid) && BindingMayAct(&binding);
		if (acting)
			LookForWork(&look);
		else
			worker.read_journal = worker.store_keys = false; /* what they stand for is kept */
	}
	CloseTransaction();
	AfterWork(&look, &batch, recording, looking, acting);
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

/* Records how far copies are, and renews their leases.  A lost lease ends the copy. */
static bool
ReportProgress(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool here;

	if (!IsReportWanted(now))
		return true;
	worker.progress_at = now;
	OpenTransaction(true);
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
	CloseTransaction();
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

/* Tasks that wait for a connection to their host, for too long or at all: nothing of them was sent. */
static void
ReturnWaiting(bool all)
{
	if (HttpWaiting(worker.engine) == 0)
		return;
	for (int i = 0; i < worker.ntasks; i++)
	{
		Task *task = worker.tasks[i];

		if (task->http && (all ? HttpIsWaiting(task->http) : HttpIsLate(task->http)))
			ReturnClaim(task);
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
		else if (WebhookReadKeys(request))
			worker.store_keys = true;
	}
	for (int i = 0; i < worker.ntasks; i++)
		if (IsCopying(worker.tasks[i]))
			CopyPump(worker.tasks[i]);
	ReturnWaiting(false);
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

/* A job sent by its caller wakes us only if we would miss its first poll. */
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
	snprintf(text, sizeof(text), "sending %d, polling %d, copying %d",
			 worker.count[TASK_SUBMIT], worker.count[TASK_POLL] + worker.count[TASK_RECONCILE],
			 worker.count[TASK_COPY]);
	pgstat_report_activity(STATE_RUNNING, text);
}

/*----------
 * Start and end
 *----------
 */
static void
Retire(void)
{
	if (!ShmemWorkerRetire(MyDatabaseId))
		proc_exit(1); /* new work has arrived: the launcher starts another worker */
	proc_exit(0);
}

static bool
AreSubmitsInFlight(void)
{
	for (int i = 0; i < worker.ntasks; i++)
		if (worker.tasks[i]->kind == TASK_SUBMIT && !TaskIsOver(worker.tasks[i]))
			return true;
	return false;
}

/* Wait a short time for answers to submits, and return all other claims. */
static void
ReleaseAll(void)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DRAIN_MS);

	ReturnWaiting(true);
	while (AreSubmitsInFlight() && GetCurrentTimestamp() < until)
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
			ReturnClaim(task);
	}
}

/*
 * On a shutdown request every task is recorded or its claim returned.  The last
 * transactions do not wait for standbys, which may be shutting down as well.
 */
static void
ShutDown(void)
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
	/* after an error we come back and record one by one; locked jobs are waited for, but not for long */
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
	proc_exit(1); /* so that the launcher starts a new worker, unless the server is shutting down */
}

/* Deal with what a crashed predecessor left behind.  Nothing is claimed before that has succeeded. */
static void
Recover(void)
{
	Binding binding;

	OpenTransaction(true);
	if (!ExtensionIsHere())
	{
		CloseTransaction();
		Retire();
	}
	(void) BindingLoad(&binding);
	if (OidIsValid(binding.relid) && BindingMayAct(&binding))
	{
		JobExpireSubmits(GetCurrentTimestamp(), true, NULL, 0);
		JobRecoverLeases();
	}
	ereport(LOG, (errmsg("vibevideo worker started for database \"%s\"", get_database_name(MyDatabaseId))));
	CloseTransaction();
	worker.recovered = true;
	worker.read_journal = true;
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
		ShutDown();
	if (!worker.recovered)
		Recover();
	if (ShmemWorkerTurn(MyDatabaseId))
	{
		worker.read_journal = true;
		LookSoon();
	}
	now = GetCurrentTimestamp();
	WebhookFetchKeys(worker.engine);
	recording = IsBatchReady(now);
	/* recording makes room for new tasks, but after an error jobs are recorded alone */
	looking = now >= worker.look_at || (worker.store_keys && ChoreMayRun(&chores[WORK_STORE_KEYS], now)) ||
		(recording && !worker.one_by_one);
	if ((recording || looking) && !Work(recording, looking))
		Retire();
	if (!ReportProgress())
		Retire();
	if (worker.ntasks == 0 && worker.idle_since != 0 && vv_worker_idle_timeout > 0 &&
		TimestampDifferenceExceeds(worker.idle_since, now, vv_worker_idle_timeout * 1000))
		Retire();
	ShowActivity();
	PlanSleep();
	HttpWait(worker.engine, WaitMs(GetCurrentTimestamp()));
	MoveRequests();
}

/*
 * One of our transactions failed.  The requests in flight have nothing to do with
 * it, and some are paid for, so continue with them.  An error that recurs several
 * times, or was raised outside a transaction, ends the worker, and the launcher
 * starts a new one.  What somebody's lock or a cancel has led to never does.
 */
static void
SurviveError(void)
{
	bool passes = ChoreErrorPasses(geterrcode());

	if (!passes && (!in_transaction || ++worker.errors > MAX_ERRORS))
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

	/* drop the tasks whose claims were rolled back */
	while (worker.ntasks > worker.nstarted)
		DropTask(worker.ntasks - 1);
	memset(worker.leaving, 0, sizeof(worker.leaving));
	worker.one_by_one |= !passes;
	worker.read_journal = true;
	worker.look_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 500 * Max(worker.errors, 1));
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
	SetConfigOption("lock_timeout", LOCK_LIMIT, PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_SUSET, PGC_S_SESSION);
	CompatDisableTransactionTimeout();
	/* rows are written as the table's owner: policies that hide them are no error */
	SetConfigOption("row_security", "on", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_read_only", "off", PGC_USERSET, PGC_S_SESSION);
	/* our own triggers have to run */
	SetConfigOption("session_replication_role", "origin", PGC_SUSET, PGC_S_SESSION);
	RowGuardInWorker();
	turn_context = AllocSetContextCreate(TopMemoryContext, "vibevideo turn", ALLOCSET_DEFAULT_SIZES);

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
