/*
 * launcher.c
 *	  The supervisor of workers: one per cluster.
 *
 * It starts a worker in each database once after the server's start (without
 * the extension, or without work, the worker exits at once), and later wherever
 * a commit requested one; at most four are starting at once.  It also forgets
 * dropped databases, and removes their journal files.  Workers are registered
 * without restart: the launcher restarts them itself, after 1, 2, 4 .. s, 5
 * minutes at most, so that a job that crashes its worker does not do so every
 * second.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "guc.h"
#include "journal.h"
#include "ownerror.h"
#include "process.h"
#include "shmem.h"
#include "worker.h"

#define MAX_STARTING 4 /* workers that are starting at once: slots are scarce */
#define RESTART_FIRST_MS 1000
#define RESTART_MAX_MS 300000
#define IDLE_LOOK_MS 60000

typedef struct Child
{
	Oid dboid; /* InvalidOid: free */
	BackgroundWorkerHandle *handle;
	bool started;
	int pid; /* 0 until it is known to be running */
	int crashes;
} Child;

static Child *children;
static Oid *to_visit = NULL; /* databases not visited since the server's start */
static int nto_visit = 0;
static bool warned_no_slots = false;

void
LauncherRegister(void)
{
	BackgroundWorker worker;

	ProcessDescribe(&worker, "VibevideoLauncherMain", "vibevideo launcher");
	worker.bgw_restart_time = 5;
	RegisterBackgroundWorker(&worker);
}

/* Does it allow connections, and may it have work? */
static bool
IsOpen(Form_pg_database db)
{
	return db->datallowconn && !db->datistemplate;
}

static void
VisitLater(Form_pg_database db, void *arg)
{
	if (!IsOpen(db))
		return;
	to_visit = to_visit
		? repalloc(to_visit, sizeof(Oid) * (nto_visit + 1))
		: MemoryContextAlloc(TopMemoryContext, sizeof(Oid) * (nto_visit + 1));
	to_visit[nto_visit++] = db->oid;
}

/* There may be more databases than slots: the next one is visited when a slot is free. */
static void
VisitMore(void)
{
	while (nto_visit > 0 && ShmemLauncherWant(to_visit[nto_visit - 1]))
		nto_visit--;
}

static void
VisitDatabases(void (*visit)(Form_pg_database db, void *arg), void *arg)
{
	Relation rel;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
		visit((Form_pg_database) GETSTRUCT(tuple), arg);
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
}

typedef struct Lookup
{
	Oid dboid;
	bool exists;
	bool open;
} Lookup;

static void
NoteDatabase(Form_pg_database db, void *arg)
{
	Lookup *lookup = arg;

	if (db->oid != lookup->dboid)
		return;
	lookup->exists = true;
	lookup->open = IsOpen(db);
}

static Lookup
LookUpDatabase(Oid dboid)
{
	Lookup lookup = {dboid};

	VisitDatabases(NoteDatabase, &lookup);
	return lookup;
}

static Child *
FindChild(Oid dboid)
{
	for (int i = 0; i < vv_max_databases; i++)
		if (children[i].dboid == dboid)
			return &children[i];
	return NULL;
}

static int
CountStarting(void)
{
	int n = 0;

	for (int i = 0; i < vv_max_databases; i++)
		if (OidIsValid(children[i].dboid) && !children[i].started)
			n++;
	return n;
}

static int
RestartDelayMs(int crashes)
{
	return Min(RESTART_FIRST_MS << Min(crashes, 10), RESTART_MAX_MS);
}

/* Notice workers that have started or exited. */
static void
ReapChildren(void)
{
	for (int i = 0; i < vv_max_databases; i++)
	{
		Child *child = &children[i];
		pid_t pid;
		BgwHandleStatus status;

		if (!OidIsValid(child->dboid))
			continue;
		status = GetBackgroundWorkerPid(child->handle, &pid);
		if (status == BGWH_STARTED)
		{
			child->started = true;
			child->pid = pid;
		}
		else if (status == BGWH_STOPPED)
		{
			pfree(child->handle);
			if (LookUpDatabase(child->dboid).open)
				ShmemWorkerEnded(child->dboid, child->pid, child->started, RestartDelayMs(child->crashes));
			else
				ShmemForget(child->dboid);
			child->dboid = InvalidOid;
		}
	}
}

/* false: no slot is free */
static bool
StartChild(const LaunchOrder *order)
{
	Child *child = FindChild(InvalidOid);
	BackgroundWorker worker;

	if (child == NULL)
		return false;
	ProcessDescribe(&worker, "VibevideoWorkerMain", "vibevideo worker");
	worker.bgw_main_arg = ObjectIdGetDatum(order->dboid);
	worker.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&worker, &child->handle))
		return false;
	child->dboid = order->dboid;
	child->crashes = order->crashes;
	child->started = false;
	child->pid = 0;
	return true;
}

/* milliseconds until the next check */
static long
StartWanted(void)
{
	LaunchOrder orders[MAX_STARTING];
	TimestampTz next;
	int n = ShmemLaunchOrders(orders, MAX_STARTING, &next);
	long wait = IDLE_LOOK_MS;

	if (next != 0)
		wait = Min(wait, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next) + 1);
	for (int i = 0; i < n; i++)
	{
		/* a worker that has started sets our latch, and then there is room for the next */
		if (FindChild(orders[i].dboid) != NULL || CountStarting() >= MAX_STARTING)
			continue;
		if (!StartChild(&orders[i]))
		{
			if (!warned_no_slots)
				ereport(WARNING,
						(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						 errmsg("vibevideo found no free background worker slot"),
						 errhint("Raise max_worker_processes. vibevideo keeps trying.")));
			warned_no_slots = true;
			ShmemLauncherNoteRoom(false);
			return Min(wait, 5000);
		}
		warned_no_slots = false;
		ShmemLauncherNoteRoom(true);
	}
	return wait;
}

static void
ForgetDropped(void)
{
	Oid *dboids = palloc(sizeof(Oid) * vv_max_databases);
	int n = ShmemDatabases(dboids, vv_max_databases);

	for (int i = 0; i < n; i++)
		if (!LookUpDatabase(dboids[i]).open)
			ShmemForget(dboids[i]);
	pfree(dboids);
}

/*
 * Drop what sessions of dropped databases have left in the journal.  The
 * database is looked up after its file was found: the file cannot belong to a
 * session of a database created meanwhile, even if it has the same OID.
 */
static void
ForgetJournals(void)
{
	MemoryContext mcxt = AllocSetContextCreate(TopMemoryContext, "vibevideo journal files", ALLOCSET_SMALL_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(mcxt);
	JournalFile *files;
	int n = JournalFiles(&files);
	Lookup database = {InvalidOid};

	for (int i = 0; i < n; i++)
	{
		if (files[i].dboid != database.dboid)
			database = LookUpDatabase(files[i].dboid);
		if (database.exists)
			continue;
		StartTransactionCommand();
		JournalDrop(&files[i]);
		CommitTransactionCommand();
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(mcxt);
}

void
VibevideoLauncherMain(Datum arg)
{
	/* die(), since the default handler throws inside the signal handler */
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	ShmemLauncherAttach();

	children = MemoryContextAllocZero(TopMemoryContext, sizeof(Child) * vv_max_databases);
	VisitDatabases(VisitLater, NULL);

	for (;;)
	{
		long wait;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		CompatServeProcess();
		ReapChildren();
		ForgetDropped();
		ForgetJournals();
		VisitMore();
		wait = StartWanted();
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, wait,
						 PG_WAIT_EXTENSION);
	}
}
