/*
 * apart.c
 *	  Makes the slots and tills of limits in a transaction of its own.
 *
 * Whoever makes them has others wait for its commit, since nobody sees them
 * before.  A submit must not: its transaction is open while it talks to fal.ai,
 * and as long as its client pleases.  So it has a process make them that commits
 * at once, and waits for that.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "apart.h"
#include "compat.h"
#include "identity.h"
#include "ownerror.h"
#include "process.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(vibevideo_make_limits_apart);

#define PATIENCE_MS 2000
#define SLOT_WAIT_MS 20
#define LOCK_LIMIT "1s"
#define MAX_NAMES 3
#define MAX_TRIES 3

/* whose limits: the user, the tenant and the model, in shared memory one after another, each NULL or ended by 0 */
typedef struct Request
{
	bool made; /* that was done, and is committed */
	bool isnull[MAX_NAMES];
	char names[FLEXIBLE_ARRAY_MEMBER];
} Request;

/*----------
 * The process
 *----------
 */
static Statement make_limits = {
	"SELECT vibevideo_internal.make_limits($1, $2, $3)"};

static Statement know_counters = {
	"SELECT vibevideo_internal.know_counters()"};

static void
MakeLimits(const Request *request)
{
	const char *name = request->names;
	Args args = {0};

	for (int i = 0; i < MAX_NAMES; i++)
	{
		ArgText(&args, request->isnull[i] ? NULL : name);
		name += request->isnull[i] ? 0 : strlen(name) + 1;
	}
	StatementConnect();
	StatementRun(&make_limits, &args);
	StatementRun(&know_counters, NULL);
	SPI_finish();
}

void
VibevideoApartMain(Datum arg)
{
	dsm_segment *segment;
	Request *request;
	Oid dboid;

	memcpy(&dboid, MyBgworkerEntry->bgw_extra, sizeof(dboid));
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	IdentityOfWorker();
	SetConfigOption("lock_timeout", LOCK_LIMIT, PGC_SUSET, PGC_S_SESSION);
	segment = dsm_attach(DatumGetUInt32(arg));
	/* who asked has not waited */
	if (!segment)
		proc_exit(0);
	request = dsm_segment_address(segment);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, make_limits.sql);
	MakeLimits(request);
	PopActiveSnapshot();
	CommitTransactionCommand();
	request->made = true;
	proc_exit(0);
}

/*----------
 * Who asks for it
 *----------
 */
static dsm_segment *
WriteRequest(FunctionCallInfo fcinfo)
{
	char *names[MAX_NAMES];
	Size size = offsetof(Request, names);
	dsm_segment *segment;
	Request *request;
	char *name;

	for (int i = 0; i < MAX_NAMES; i++)
	{
		names[i] = PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
		size += names[i] ? strlen(names[i]) + 1 : 0;
	}
	segment = dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (!segment)
		return NULL;
	request = dsm_segment_address(segment);
	request->made = false;
	name = request->names;
	for (int i = 0; i < MAX_NAMES; i++)
	{
		request->isnull[i] = !names[i];
		if (names[i])
			name = stpcpy(name, names[i]) + 1;
	}
	return segment;
}

/* Until something happens, or so many milliseconds have passed. */
static void
Wait(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static long
MsUntil(TimestampTz until)
{
	return Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until), 1000);
}

/* NULL: no slot is free, of as many as max_worker_processes says */
static BackgroundWorkerHandle *
Start(dsm_segment *segment, TimestampTz until)
{
	BackgroundWorker maker;
	BackgroundWorkerHandle *handle;

	ProcessDescribe(&maker, "VibevideoApartMain", "vibevideo limits");
	maker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));
	maker.bgw_notify_pid = MyProcPid;
	memcpy(maker.bgw_extra, &MyDatabaseId, sizeof(MyDatabaseId));
	while (!RegisterDynamicBackgroundWorker(&maker, &handle))
	{
		if (MsUntil(until) <= 0)
			return NULL;
		Wait(SLOT_WAIT_MS);
	}
	return handle;
}

static bool
HasEnded(BackgroundWorkerHandle *handle, TimestampTz until)
{
	pid_t pid;

	while (GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED)
	{
		if (MsUntil(until) <= 0)
			return false;
		Wait(MsUntil(until));
	}
	return true;
}

static bool
MadeWithin(FunctionCallInfo fcinfo, TimestampTz until)
{
	dsm_segment *segment = WriteRequest(fcinfo);
	BackgroundWorkerHandle *handle;
	bool made;

	if (!segment)
		return false;
	handle = Start(segment, until);
	made = handle && HasEnded(handle, until) && ((Request *) dsm_segment_address(segment))->made;
	dsm_detach(segment);
	return made;
}

/*
 * vibevideo_internal.make_limits_apart(requested_by text, tenant text, model text, tries int)
 * returns boolean: false if the caller has to do it itself.  Then it has locks for which the
 * next process would wait, and that one for nothing.  A transaction whose snapshot would not
 * show what was made begins again: if it made them itself it could hold up others for ever.
 */
Datum
vibevideo_make_limits_apart(PG_FUNCTION_ARGS)
{
	static uint64 gave_up_in = 0;
	uint64 transaction = U64FromFullTransactionId(GetTopFullTransactionId());
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PATIENCE_MS);
	bool made;

	if (gave_up_in == transaction)
		PG_RETURN_BOOL(false);
	made = PG_GETARG_INT32(MAX_NAMES) <= MAX_TRIES && MadeWithin(fcinfo, until);
	if (made && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update"),
				 errdetail("What is used of limits was counted a moment ago, and this transaction does not see it."),
				 errhint("Run the whole transaction again.")));
	if (!made)
		gave_up_in = transaction;
	PG_RETURN_BOOL(made);
}
