/*
 * worker.c
 *	  The worker of one database: sends, follows and copies.
 *
 * A turn: wait for sockets and the latch; advance the requests; record what has
 * ended, many jobs in one transaction; when woken, when something falls due or
 * when a task has made room, look for work and claim it, if possible in the same
 * transaction.  No transaction is open while we wait or use the network.
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

#include "chore.h"
#include "compat.h"
#include "copy.h"
#include "erase.h"
#include "errand.h"
#include "guc.h"
#include "http.h"
#include "identity.h"
#include "job.h"
#include "look.h"
#include "ownerror.h"
#include "record.h"
#include "rowguard.h"
#include "rowsync.h"
#include "shmem.h"
#include "statement.h"
#include "submit.h"
#include "task.h"
#include "version.h"
#include "webhook.h"
#include "worker.h"
#include "workload.h"

#define PROGRESS_MS 1000
#define ROWS_A_TURN 500
#define DRAIN_MS 3000 /* at shutdown: for answers to submits in flight, and again for recording */
#define MAX_ERRORS 5
#define BACKLOG 8 /* with so many requests in flight the next commit follows soon */

#define LOCK_LIMIT "2s" /* where nothing shorter is set */

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
 * A turn's work on the database
 *----------
 */

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

	OpenTransaction(vv_worker.count[TASK_SUBMIT] + vv_worker.count[TASK_POLL] < BACKLOG);
	if (BindingLoad(&binding))
		RowSyncDirty(&binding, ROWS_A_TURN);
	CloseTransaction();
}

/* After the commit: frees what was recorded, and starts what was claimed. */
static void
AfterWork(const Look *look, const Batch *batch, bool recording, bool looking, bool acting)
{
	for (int i = 0; i < batch->n; i++)
		batch->tasks[i]->recorded = batch->recorded[i];
	if (looking)
		LookFinish(look, acting);
	WorkloadStart();
	RecordFree();
	memset(vv_worker.leaving, 0, sizeof(vv_worker.leaving));
	if (!looking)
		LookSoon();
	if (LookIsDue(look->due.row, GetCurrentTimestamp()) || (recording && !looking))
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
	Look look = {.binding = &binding, .now = now, .grace_ms = LookPollGraceMs()};
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
		RecordBatch(&batch);
	if (looking)
	{
		/* with no table attached, or in a copy of the database, the jobs are paused */
		acting = OidIsValid(binding.relid) && BindingMayAct(&binding);
		if (acting)
			LookForWork(&look);
		else
		{
			vv_worker.read_journal = vv_worker.store_keys = false; /* what they stand for is kept */
			ErrandForget();
			EraseForget();
			vv_worker.deleted_at = vv_worker.expand_at = vv_worker.erase_at = 0; /* it is not due here */
		}
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
	if (vv_worker.count[TASK_COPY] == 0)
		return false;
	if (TimestampDifferenceExceeds(vv_worker.progress_at, now, PROGRESS_MS))
		return true;
	for (int i = 0; i < vv_worker.ntasks; i++)
		if (IsCopying(vv_worker.tasks[i]) && CopyWantsReport(vv_worker.tasks[i]->copy))
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
	vv_worker.progress_at = now;
	OpenTransaction(true);
	here = ExtensionIsHere();
	for (int i = vv_worker.ntasks - 1; here && i >= 0; i--)
	{
		Task *task = vv_worker.tasks[i];
		JobProgress progress;

		if (!IsCopying(task))
			continue;
		CopyProgress(task->copy, now, &progress);
		if (!JobRecordProgress(task->job->job_id, task->job->lease, &progress,
							   TimestampTzPlusMilliseconds(now, COPY_LEASE_MS)))
			WorkloadDrop(i);
	}
	CloseTransaction();
	for (int i = 0; here && i < vv_worker.ntasks; i++)
		if (IsCopying(vv_worker.tasks[i]))
		{
			CopyReported(vv_worker.tasks[i]->copy, now);
			CopyPump(vv_worker.tasks[i]);
		}
	return here;
}

/*----------
 * The turn
 *----------
 */
/* Tasks that wait for a connection to their host, for too long or at all: nothing of them was sent. */
static void
ReturnWaiting(bool all)
{
	if (HttpWaiting(vv_worker.engine) == 0)
		return;
	for (int i = 0; i < vv_worker.ntasks; i++)
	{
		Task *task = vv_worker.tasks[i];

		if (task->http && (all ? HttpIsWaiting(task->http) : HttpIsLate(task->http)))
			WorkloadReturn(task);
	}
}

static void
MoveRequests(void)
{
	HttpRequest *request;

	while ((request = HttpNextDone(vv_worker.engine)) != NULL)
	{
		if (HttpOwner(request))
			WorkloadAdvance(HttpOwner(request), request);
		else if (!ErrandTake(request) && !EraseTake(request) && WebhookReadKeys(request))
			vv_worker.store_keys = true;
	}
	for (int i = 0; i < vv_worker.ntasks; i++)
		if (IsCopying(vv_worker.tasks[i]))
			CopyPump(vv_worker.tasks[i]);
	ReturnWaiting(false);
}

static long
WaitMs(TimestampTz now)
{
	long wait = TimestampDifferenceMilliseconds(now, vv_worker.look_at);

	for (int i = 0; i < vv_worker.ntasks; i++)
		if (TaskIsOver(vv_worker.tasks[i]))
			wait = Min(wait, Max(vv_worker.batch_since ? 1 : 0, TimestampDifferenceMilliseconds(now, vv_worker.tasks[i]->record_at)));
	if (vv_worker.count[TASK_COPY] > 0 || HttpWaiting(vv_worker.engine) > 0)
		wait = Min(wait, PROGRESS_MS);
	if (vv_worker.idle_since != 0 && vv_worker_idle_timeout > 0)
		wait = Min(wait, TimestampDifferenceMilliseconds(now, TimestampTzPlusMilliseconds(vv_worker.idle_since, (int64) vv_worker_idle_timeout * 1000)));
	return wait;
}

/* A job sent by its caller wakes us only if we would miss its first poll. */
static void
PlanSleep(void)
{
	TimestampTz look_at = ShmemWorkerPlan(MyDatabaseId, vv_worker.look_at, vv_worker.count[TASK_COPY]);

	if (look_at < vv_worker.look_at)
		vv_worker.idle_since = 0;
	vv_worker.look_at = look_at;
}

static void
ShowActivity(void)
{
	char text[120];

	if (vv_worker.ntasks == 0)
	{
		pgstat_report_activity(STATE_IDLE, "waiting for work");
		return;
	}
	snprintf(text, sizeof(text), "sending %d, polling %d, copying %d",
			 vv_worker.count[TASK_SUBMIT], vv_worker.count[TASK_POLL] + vv_worker.count[TASK_RECONCILE],
			 vv_worker.count[TASK_COPY]);
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
	for (int i = 0; i < vv_worker.ntasks; i++)
		if (vv_worker.tasks[i]->kind == TASK_SUBMIT && !TaskIsOver(vv_worker.tasks[i]))
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
		HttpWait(vv_worker.engine, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until));
		MoveRequests();
	}
	for (int i = 0; i < vv_worker.ntasks; i++)
	{
		Task *task = vv_worker.tasks[i];

		if (TaskIsOver(task))
			continue;
		if (task->kind == TASK_SUBMIT && HttpIsSent(task->http))
			SubmitAbandon(task);
		else
			WorkloadReturn(task);
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
		for (int i = 0; i < vv_worker.ntasks; i++)
			vv_worker.tasks[i]->record_at = 0;
		until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DRAIN_MS);
	}
	SetConfigOption("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION);
	/* after an error we come back and record one by one; locked jobs are waited for, but not for long */
	while (vv_worker.ntasks > 0)
	{
		int before = vv_worker.ntasks;

		if (!Work(true, false))
			break;
		if (vv_worker.ntasks < before)
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
	vv_worker.recovered = true;
	vv_worker.read_journal = true;
}

/* One turn of the loop. */
static void
Turn(void)
{
	TimestampTz now;
	bool recording;
	bool looking;

	CHECK_FOR_INTERRUPTS();
	MemoryContextReset(vv_worker.turn_context);
	if (CompatServeProcess())
	{
		HttpEngineResize(vv_worker.engine, 2 * vv_max_requests + 2 * vv_max_transfers);
		vv_worker.errand_at = 0; /* a setting may have sent for one */
		LookSoon();
	}
	if (ShutdownRequestPending)
		ShutDown();
	if (!vv_worker.recovered)
		Recover();
	if (ShmemWorkerTurn(MyDatabaseId))
	{
		vv_worker.read_journal = true;
		LookSoon();
	}
	now = GetCurrentTimestamp();
	WebhookFetchKeys(vv_worker.engine);
	recording = RecordIsReady(now);
	/* recording makes room for new tasks, but after an error jobs are recorded alone */
	looking = now >= vv_worker.look_at || (vv_worker.store_keys && ChoreMayRun(&vv_chores[WORK_STORE_KEYS], now)) ||
		(ErrandIsAnswered() && ChoreMayRun(&vv_chores[WORK_ERRAND_DONE], now)) ||
		(EraseIsAnswered() && ChoreMayRun(&vv_chores[WORK_ERASE_DONE], now)) || (recording && !vv_worker.one_by_one);
	if ((recording || looking) && !Work(recording, looking))
		Retire();
	if (!ReportProgress())
		Retire();
	if (vv_worker.ntasks == 0 && vv_worker.idle_since != 0 && vv_worker_idle_timeout > 0 &&
		TimestampDifferenceExceeds(vv_worker.idle_since, now, vv_worker_idle_timeout * 1000))
		Retire();
	ShowActivity();
	PlanSleep();
	HttpWait(vv_worker.engine, WaitMs(GetCurrentTimestamp()));
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

	if (!passes && (!in_transaction || ++vv_worker.errors > MAX_ERRORS))
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
	while (vv_worker.ntasks > vv_worker.nstarted)
		WorkloadDrop(vv_worker.ntasks - 1);
	memset(vv_worker.leaving, 0, sizeof(vv_worker.leaving));
	vv_worker.one_by_one |= !passes;
	vv_worker.read_journal = true;
	vv_worker.look_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 500 * Max(vv_worker.errors, 1));
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
	vv_worker.turn_context = AllocSetContextCreate(TopMemoryContext, "vibevideo turn", ALLOCSET_DEFAULT_SIZES);

	vv_worker.engine = HttpEngineCreate(2 * vv_max_requests + 2 * vv_max_transfers);

	for (;;)
	{
		PG_TRY();
		{
			Turn();
			vv_worker.errors = 0;
		}
		PG_CATCH();
		{
			SurviveError();
		}
		PG_END_TRY();
	}
}
