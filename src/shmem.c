/*
 * shmem.c
 *	  The shared table of databases and their workers.
 *
 * One LWLock guards it all: it is held for microseconds, once per submitting
 * transaction and once per turn of a worker.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "cluster.h"
#include "guc.h"
#include "ownerror.h"
#include "shmem.h"

#define REQUEST_MS 10000

typedef struct SharedState
{
	LWLock *lock;		  /* for this table */
	LWLock *journal_lock; /* see journal.c */
	int launcher_pid;
	bool no_process; /* the launcher found none free for a worker */
	bool started_as_standby;
	uint64 cluster_number; /* see cluster.c */
	int nslots;
	DatabaseSlot slots[FLEXIBLE_ARRAY_MEMBER];
} SharedState;

static SharedState *shared = NULL;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static Size
SharedSize(void)
{
	return add_size(offsetof(SharedState, slots),
					mul_size(vv_max_databases, sizeof(DatabaseSlot)));
}

static void
RequestShmem(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(SharedSize());
	RequestNamedLWLockTranche("vibevideo", 2);
}

static void
StartupShmem(void)
{
	bool found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("vibevideo", SharedSize(), &found);
	if (!found)
	{
		memset(shared, 0, SharedSize());
		shared->lock = &(GetNamedLWLockTranche("vibevideo"))[0].lock;
		shared->journal_lock = &(GetNamedLWLockTranche("vibevideo"))[1].lock;
		shared->nslots = vv_max_databases;
	}
	LWLockRelease(AddinShmemInitLock);
	if (!found)
	{
		struct stat st;

		/* promotion removes the file, so a later restart finds none */
		shared->started_as_standby = (stat("standby.signal", &st) == 0);
		ClusterMakeDirectory();
		shared->cluster_number = ClusterNumberAtStart();
	}
}

void
ShmemInit(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = RequestShmem;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = StartupShmem;
}

LWLock *
ShmemJournalLock(void)
{
	return shared->journal_lock;
}

/* The slot of a database, NULL if it has none.  Caller holds the lock. */
static DatabaseSlot *
FindSlot(Oid dboid)
{
	for (int i = 0; i < shared->nslots; i++)
		if (shared->slots[i].dboid == dboid)
			return &shared->slots[i];
	return NULL;
}

static DatabaseSlot *
FindUnusedSlot(void)
{
	DatabaseSlot *slot = FindSlot(InvalidOid);

	/* reuse one without a worker and without work: it only holds old times */
	for (int i = 0; slot == NULL && i < shared->nslots; i++)
		if (!shared->slots[i].wanted && shared->slots[i].worker_pid == 0)
			slot = &shared->slots[i];
	return slot;
}

/* ... created if needed; NULL only when all are in use. */
static DatabaseSlot *
ClaimSlot(Oid dboid)
{
	DatabaseSlot *slot = FindSlot(dboid);

	if (slot == NULL && (slot = FindUnusedSlot()) != NULL)
	{
		memset(slot, 0, sizeof(*slot));
		slot->dboid = dboid;
	}
	return slot;
}

typedef enum SlotUse
{
	SLOT_READ,
	SLOT_CHANGE,
	SLOT_CLAIM /* created if there is none yet */
} SlotUse;

/* The slot, NULL if there is none; either way the table is locked until UnlockSlots. */
static DatabaseSlot *
LockSlot(Oid dboid, SlotUse use)
{
	LWLockAcquire(shared->lock, use == SLOT_READ ? LW_SHARED : LW_EXCLUSIVE);
	return use == SLOT_CLAIM ? ClaimSlot(dboid) : FindSlot(dboid);
}

static void
UnlockSlots(void)
{
	LWLockRelease(shared->lock);
}

static void
WakePid(int pid)
{
	PGPROC *proc = pid ? BackendPidGetProc(pid) : NULL;

	if (proc)
		SetLatch(&proc->procLatch);
}

/* due_at: 0 for at once.  A later time does not wake a worker that will be awake by then. */
static void
WakeWith(Oid dboid, int requests, TimestampTz due_at)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CLAIM);
	int pid = 0;

	if (slot)
	{
		slot->wanted = true;
		slot->requests |= requests;
		if (due_at == 0)
			slot->poke = true;
		else if (slot->due_at == 0 || due_at < slot->due_at)
			slot->due_at = due_at;
		if (slot->worker_pid == 0)
			pid = shared->launcher_pid;
		else if (due_at < slot->planned_at || due_at == 0)
			pid = slot->worker_pid;
	}
	UnlockSlots();
	WakePid(pid);
}

void
ShmemWakeWorker(Oid dboid)
{
	WakeWith(dboid, 0, 0);
}

/* Anyone can trigger these requests: once in a while is enough. */
void
ShmemRequestWork(Oid dboid, WorkerRequest request)
{
	TimestampTz now = GetCurrentTimestamp();
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CLAIM);
	bool too_soon = slot == NULL ||
		(slot->requested_at[request - 1] != 0 && !TimestampDifferenceExceeds(slot->requested_at[request - 1], now, REQUEST_MS));

	if (!too_soon)
		slot->requested_at[request - 1] = now;
	UnlockSlots();
	if (!too_soon)
		WakeWith(dboid, request, 0);
}

bool
ShmemFetchRequest(Oid dboid, WorkerRequest request)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CHANGE);
	bool asked = false;

	if (slot)
	{
		asked = (slot->requests & request) != 0;
		slot->requests &= ~request;
	}
	UnlockSlots();
	return asked;
}

void
ShmemNotePoll(Oid dboid)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CHANGE);

	if (slot)
		slot->last_poll_at = GetCurrentTimestamp();
	UnlockSlots();
}

void
ShmemNoteCheck(Oid dboid, uint64 number)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CLAIM);

	if (slot)
		slot->last_check = number;
	UnlockSlots();
}

bool
ShmemReadSlot(Oid dboid, DatabaseSlot *copy)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_READ);

	if (slot)
		*copy = *slot;
	UnlockSlots();
	return slot != NULL;
}

/* A worker that exits late must not erase its successor: clear only our own entry. */
static void
WorkerDetach(int code, Datum arg)
{
	DatabaseSlot *slot = LockSlot(DatumGetObjectId(arg), SLOT_CHANGE);

	if (slot && slot->worker_pid == MyProcPid)
		slot->worker_pid = 0;
	UnlockSlots();
}

void
ShmemWorkerAttach(Oid dboid)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CLAIM);
	int other = slot ? slot->worker_pid : 0;
	int launcher = shared->launcher_pid;

	if (slot && other == 0)
	{
		slot->worker_pid = MyProcPid;
		slot->started_at = slot->heartbeat_at = GetCurrentTimestamp();
		slot->starts++;
		slot->poke = false;
		slot->due_at = slot->planned_at = 0;
		slot->keys_known = false;
		slot->copies = 0;
	}
	UnlockSlots();
	WakePid(launcher); /* it may start the next one now */

	if (slot == NULL)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("more databases use vibevideo than vibevideo.max_databases (%d)", vv_max_databases),
				 errhint("Raise vibevideo.max_databases and restart the server.")));
	if (other != 0)
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("vibevideo worker %d is already running in this database", other)));
	before_shmem_exit(WorkerDetach, ObjectIdGetDatum(dboid));
}

bool
ShmemWorkerTurn(Oid dboid)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CHANGE);
	bool poked = false;

	if (slot)
	{
		slot->heartbeat_at = GetCurrentTimestamp();
		poked = slot->poke;
		slot->poke = false;
	}
	UnlockSlots();
	return poked;
}

void
ShmemWorkerNoteKeys(Oid dboid, bool has_fal_key, bool has_storage_key)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CHANGE);

	if (slot)
	{
		slot->keys_known = true;
		slot->has_fal_key = has_fal_key;
		slot->has_storage_key = has_storage_key;
	}
	UnlockSlots();
}

TimestampTz
ShmemWorkerPlan(Oid dboid, TimestampTz look_at, int copies)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CHANGE);

	if (slot)
	{
		slot->copies = copies;
		if (slot->due_at != 0 && slot->due_at < look_at)
			look_at = slot->due_at;
		slot->due_at = 0;
		slot->planned_at = look_at;
	}
	UnlockSlots();
	return look_at;
}

/*
 * The worker has nothing to do.  False when work has arrived meanwhile:
 * whoever brought it saw our pid and woke us, not the launcher.
 */
bool
ShmemWorkerRetire(Oid dboid)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CHANGE);
	bool retired = false;

	if (slot && !slot->poke && slot->due_at == 0)
	{
		slot->wanted = false;
		slot->crashes = 0;
		slot->worker_pid = 0;
		slot->retired_pid = MyProcPid;
		retired = true;
	}
	UnlockSlots();
	return retired;
}

static void
LauncherDetach(int code, Datum arg)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (shared->launcher_pid == MyProcPid)
		shared->launcher_pid = 0;
	LWLockRelease(shared->lock);
}

void
ShmemLauncherAttach(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher_pid = MyProcPid;
	LWLockRelease(shared->lock);
	before_shmem_exit(LauncherDetach, 0);
}

/* Request a worker for a database, whether it has the extension or not; false: no slot is free yet. */
bool
ShmemLauncherWant(Oid dboid)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CLAIM);

	if (slot)
		slot->wanted = true;
	UnlockSlots();
	return slot != NULL;
}

void
ShmemLauncherNoteRoom(bool has_room)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->no_process = !has_room;
	LWLockRelease(shared->lock);
}

const char *
ShmemWorkerAbsence(Oid dboid, TimestampTz *restart_at, bool *cannot_start)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_READ);
	bool has_worker = (slot && slot->worker_pid != 0);
	bool has_launcher = (shared->launcher_pid != 0);
	bool has_room = (slot || FindUnusedSlot());
	bool is_wanted = (slot && slot->wanted);
	bool has_process = !shared->no_process;

	*restart_at = is_wanted && slot->not_before > GetCurrentTimestamp() ? slot->not_before : 0;
	UnlockSlots();
	*cannot_start = !has_worker && (!has_launcher || !has_room || (is_wanted && *restart_at == 0 && !has_process));
	if (has_worker)
		return NULL;
	if (!has_launcher)
		return "vibevideo's launcher is not running";
	if (!has_room)
		return "vibevideo.max_databases other databases have one";
	if (!is_wanted)
		return "nothing has asked for it, as SELECT vibevideo.wake() does";
	if (*restart_at != 0)
		return "it has ended";
	return has_process ? "it is being started" : "no background process is free for it (max_worker_processes)";
}

int
ShmemLaunchOrders(LaunchOrder *orders, int max, TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	int n = 0;

	*next = 0;
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots; i++)
	{
		DatabaseSlot *slot = &shared->slots[i];

		if (!OidIsValid(slot->dboid) || !slot->wanted || slot->worker_pid != 0)
			continue;
		if (slot->not_before <= now)
		{
			if (n < max)
				orders[n++] = (LaunchOrder){slot->dboid, slot->crashes};
		}
		else if (*next == 0 || slot->not_before < *next)
			*next = slot->not_before;
	}
	LWLockRelease(shared->lock);
	return n;
}

/*
 * A worker has exited.  One that retired may be needed again by now, at once;
 * any other is restarted, later each time.
 */
void
ShmemWorkerEnded(Oid dboid, int pid, bool started, int backoff_ms)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CHANGE);

	if (slot && slot->wanted && slot->worker_pid == 0 && (pid == 0 || slot->retired_pid != pid))
	{
		TimestampTz now = GetCurrentTimestamp();

		/* one that ran for a minute resets the count */
		if (started && TimestampDifferenceExceeds(slot->started_at, now, 60000))
			slot->crashes = 0;
		slot->crashes++;
		slot->failures++;
		slot->not_before = TimestampTzPlusMilliseconds(now, backoff_ms);
	}
	UnlockSlots();
}

void
ShmemForget(Oid dboid)
{
	DatabaseSlot *slot = LockSlot(dboid, SLOT_CHANGE);

	if (slot && slot->worker_pid == 0)
		slot->dboid = InvalidOid;
	UnlockSlots();
}

int
ShmemDatabases(Oid *dboids, int max)
{
	int n = 0;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots && n < max; i++)
		if (OidIsValid(shared->slots[i].dboid))
			dboids[n++] = shared->slots[i].dboid;
	LWLockRelease(shared->lock);
	return n;
}

bool
ShmemStartedAsStandby(void)
{
	return shared->started_as_standby;
}

uint64
ShmemClusterIdentifier(void)
{
	return shared->cluster_number != 0 ? shared->cluster_number : GetSystemIdentifier();
}

static int64
NowMs(void)
{
	return (int64) GetCurrentTimestamp() / 1000;
}

int
ShmemServiceAllows(Service service, int wanted)
{
	DatabaseSlot slot;

	if (!ShmemReadSlot(MyDatabaseId, &slot))
		return wanted;
	return BreakerAllows(&slot.breakers[service], NowMs(), wanted);
}

TimestampTz
ShmemServiceUntil(Service service)
{
	DatabaseSlot slot;

	if (!ShmemReadSlot(MyDatabaseId, &slot))
		return 0;
	return (TimestampTz) slot.breakers[service].until * 1000;
}

void
ShmemServiceStart(Service service)
{
	DatabaseSlot *slot = LockSlot(MyDatabaseId, SLOT_CLAIM);

	if (slot)
		BreakerNoteStart(&slot->breakers[service], NowMs());
	UnlockSlots();
}

static const struct
{
	const char *down;
	const char *up;
} turns[SERVICES] = {
	[SERVICE_FAL] = {"vibevideo considers fal.ai down; jobs will wait", "vibevideo can reach fal.ai again"},
	[SERVICE_STORAGE] = {"vibevideo considers Storage down; jobs will wait", "vibevideo can reach Storage again"},
	[SERVICE_ACCOUNT] = {"fal.ai takes no more jobs, since the balance there is used up; new ones will wait", "fal.ai takes jobs again"},
};

bool
ShmemServiceReport(Service service, bool outage)
{
	DatabaseSlot *slot = LockSlot(MyDatabaseId, SLOT_CLAIM);
	bool was_open = false;
	bool open = false;

	if (slot)
	{
		was_open = (slot->breakers[service].until != 0);
		open = BreakerReport(&slot->breakers[service], !outage, service == SERVICE_ACCOUNT ? 1 : BREAKER_THRESHOLD, NowMs());
	}
	UnlockSlots();
	if (open != was_open)
		ereport(LOG, (errmsg("%s", open ? turns[service].down : turns[service].up)));
	return open;
}

static void
HurryBreakers(const bool *services)
{
	DatabaseSlot *slot = LockSlot(MyDatabaseId, SLOT_CHANGE);

	for (int i = 0; slot && i < lengthof(slot->breakers); i++)
		if (services[i])
			BreakerHurry(&slot->breakers[i], NowMs());
	UnlockSlots();
}

static bool wake_pending = false;
static TimestampTz expected_at = 0;	 /* 0: nothing is */
static bool probe_pending[SERVICES]; /* by Service */

static void
WakeAtXactEnd(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			/* nothing reports when a prepared transaction is committed: have a worker that looks regularly */
		case XACT_EVENT_PREPARE:
			if (probe_pending[SERVICE_FAL] || probe_pending[SERVICE_STORAGE] || probe_pending[SERVICE_ACCOUNT])
				HurryBreakers(probe_pending);
			if (wake_pending)
				ShmemWakeWorker(MyDatabaseId);
			else if (expected_at != 0)
				WakeWith(MyDatabaseId, 0, expected_at);
			break;
		case XACT_EVENT_ABORT:
			break;
		default:
			return;
	}
	wake_pending = false;
	expected_at = 0;
	memset(probe_pending, 0, sizeof(probe_pending));
}

static void
RegisterWake(void)
{
	static bool registered = false;

	/* once per process: registering in each transaction would leak */
	if (!registered)
		RegisterXactCallback(WakeAtXactEnd, NULL);
	registered = true;
}

void
ShmemWakeAtCommit(void)
{
	RegisterWake();
	wake_pending = true;
}

void
ShmemProbeAtCommit(Service service)
{
	RegisterWake();
	probe_pending[service] = true;
	/* whoever asks for a submit may know that there is money again */
	if (service == SERVICE_FAL)
		probe_pending[SERVICE_ACCOUNT] = true;
}

void
ShmemExpectAtCommit(TimestampTz due_at)
{
	RegisterWake();
	if (expected_at == 0 || due_at < expected_at)
		expected_at = due_at;
}
