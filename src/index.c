/*
 * index.c
 *	  Builds the index of a large attached table, without blocking its writers.
 *
 * CREATE INDEX CONCURRENTLY waits for other transactions and commits several
 * times, which neither attach() nor the worker may do: a process of its own
 * runs it, asked for by binding.build_index, and ends.  It first drops what an
 * earlier try left, and finally validates the CHECK (as the table's owner) and
 * clears build_index.  The worker starts it, at most once a minute.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "parser/parser.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "binding.h"
#include "identity.h"
#include "index.h"
#include "ownerror.h"
#include "process.h"

#define RETRY_MS 60000
#define MAX_COMMANDS 3

/* The commands to run, each outside a transaction block. */
#define COMMANDS_SQL \
	"SELECT format('DROP INDEX CONCURRENTLY %I.%I', n.nspname, c.relname)" \
	" FROM vibevideo.binding b" \
	" JOIN pg_index i ON i.indrelid = b.relation AND NOT i.indisvalid" \
	" JOIN pg_class c ON c.oid = i.indexrelid" \
	" AND c.relname = vibevideo_internal.derived_name(b.relation, 'idx_', '_video_request_id')" \
	" JOIN pg_namespace n ON n.oid = c.relnamespace" \
	" UNION ALL" \
	" SELECT vibevideo_internal.index_command(b.relation, true) FROM vibevideo.binding b" \
	" WHERE b.build_index AND vibevideo_internal.request_index(b.relation) IS NULL" \
	" UNION ALL" \
	" SELECT format('ALTER TABLE %s VALIDATE CONSTRAINT %I', b.relation, k.conname)" \
	" FROM vibevideo.binding b JOIN pg_constraint k ON k.conrelid = b.relation" \
	" AND k.conname = vibevideo_internal.derived_name(b.relation, '', '_video_generation_status_check')" \
	" WHERE NOT k.convalidated"

static void
StartStep(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
CommitStep(void)
{
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
}

static void
RunSql(const char *sql)
{
	if (SPI_connect() != SPI_OK_CONNECT || SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "vibevideo: could not run \"%s\"", sql);
}

static int
ReadCommands(MemoryContext mcxt, char *commands[MAX_COMMANDS], Oid *owner)
{
	Binding binding;
	int n = 0;

	StartStep();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "vibevideo: could not connect to SPI");
	if (BindingLoad(&binding))
	{
		*owner = binding.owner;
		SPI_execute(COMMANDS_SQL, true, 0);
		n = (int) Min(SPI_processed, MAX_COMMANDS);
		for (int i = 0; i < n; i++)
			commands[i] = MemoryContextStrdup(mcxt, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	}
	SPI_finish();
	CommitStep();
	return n;
}

/*
 * As if a client had sent it, which commands that commit require.  VALIDATE runs
 * as the table's owner, since the CHECK may call the owner's code; CREATE INDEX
 * switches to the owner on its own.
 */
static void
RunTopLevel(const char *sql, Oid owner, MemoryContext mcxt)
{
	Identity saved;
	RawStmt *raw;
	PlannedStmt *statement;

	pgstat_report_activity(STATE_RUNNING, sql);
	StartStep();
	/* the command outlives the transactions that it commits */
	MemoryContextSwitchTo(mcxt);
	raw = linitial_node(RawStmt, pg_parse_query(sql));
	statement = makeNode(PlannedStmt);
	statement->commandType = CMD_UTILITY;
	statement->canSetTag = true;
	statement->utilityStmt = raw->stmt;
	statement->stmt_location = raw->stmt_location;
	statement->stmt_len = raw->stmt_len;
	if (IsA(raw->stmt, AlterTableStmt))
		IdentityBecomeTableOwner(owner, &saved);
	ProcessUtility(statement, sql, false, PROCESS_UTILITY_TOPLEVEL, NULL, NULL, None_Receiver, NULL);
	if (IsA(raw->stmt, AlterTableStmt))
		IdentityResume(&saved);
	CommitStep();
	ereport(LOG, (errmsg("vibevideo ran: %s", sql)));
}

void
VibevideoIndexMain(Datum arg)
{
	char *commands[MAX_COMMANDS];
	MemoryContext mcxt;
	Oid owner = InvalidOid;
	int n;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	IdentityOfWorker();
	/* it waits for all open transactions, however long, but blocks nobody who reads or writes */
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_SESSION);
	mcxt = AllocSetContextCreate(TopMemoryContext, "vibevideo index", ALLOCSET_SMALL_SIZES);
	n = ReadCommands(mcxt, commands, &owner);
	for (int i = 0; i < n; i++)
		RunTopLevel(commands[i], owner, mcxt);
	StartStep();
	RunSql("UPDATE vibevideo.binding SET build_index = false WHERE build_index");
	SPI_finish();
	CommitStep();
	proc_exit(0);
}

/* Called by the worker while build_index is set: one try a minute. */
void
IndexEnsure(void)
{
	static BackgroundWorkerHandle *handle = NULL;
	static TimestampTz started_at = 0;
	BackgroundWorker builder;
	MemoryContext old;
	pid_t pid;

	if (handle && GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED)
		return;
	if (started_at != 0 && !TimestampDifferenceExceeds(started_at, GetCurrentTimestamp(), RETRY_MS))
		return;
	if (handle)
		pfree(handle);
	handle = NULL;
	started_at = GetCurrentTimestamp();
	ProcessDescribe(&builder, "VibevideoIndexMain", "vibevideo index builder");
	builder.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	/* the handle must outlive this turn */
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (!RegisterDynamicBackgroundWorker(&builder, &handle))
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("vibevideo found no free background worker slot to build its index"),
				 errhint("Raise max_worker_processes; vibevideo will keep trying.")));
	MemoryContextSwitchTo(old);
}
