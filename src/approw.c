/*
 * approw.c
 *	  Everything that reads or writes the app's rows.
 *
 * Statements on the app's table run as the caller or as the table's owner, along
 * that role's search path: so every name in them is qualified, and so is every
 * operator, written or implied.
 *
 * The trigger job_changing sets row_dirty when something that the row shows has
 * changed: shown status, request id, video URL, error.  Whoever changed the job
 * writes the row.  A call and a poll pass do so in the same transaction; they
 * announce it to the trigger by row_next_at = infinity, so that the job is not
 * marked and unmarked, and mark it if the write fails.  The worker writes marked
 * rows after the transaction that recorded the jobs has committed, so that no
 * trigger can undo a recorded outcome; only where no code of the app can run and
 * nobody has locked the table (AppRowsAreSimple) does it write them in that very
 * transaction.
 *
 * Rows are written together in one subtransaction, and one by one if that fails:
 *
 * - Errors of triggers and constraints are noted in row_error, and the row is
 *	  tried again after 1, 2, 4 .. 64 s.
 * - In the worker a write has 2 s, and all rows of a turn 200 ms: the rest stays
 *	  due, and answers from the network are read in between.
 * - A row that somebody has locked is tried again after a second, never waited
 *	  for.  Nothing is written if nothing would change, so that subscribers see
 *	  each state once.
 * - The row shows its newest job.  A write that was postponed may be an older
 *	  attempt's by then (find_dirty): then only its video counts, if no newer
 *	  attempt has one.
 * - video_url and video_generated_at are never cleared: a failed second attempt
 *	  leaves the first video.  If the row is gone, there is nothing to write.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/rls.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "approw.h"
#include "guc.h"
#include "identity.h"
#include "realtime.h"
#include "statement.h"

#define MAX_INPUT_BYTES (1024 * 1024)
#define ROW_TIMEOUT_MS 2000 /* for the app's triggers, in the worker */
#define SYNC_BUDGET_MS 200	/* for all rows of one turn, in the worker */
#define ROWS_TOGETHER 500

static bool in_worker = false; /* our own worker: pg_cron's background workers are clients */

void
AppRowInWorker(void)
{
	in_worker = true;
}

/*----------
 * Reading
 *----------
 */

/* The text converted back to the key's type: a parameter, never part of the statement. */
static Datum
KeyDatum(const Binding *binding, const char *vibelog_id)
{
	Oid input;
	Oid param;

	getTypeInputInfo(binding->id_type, &input, &param);
	return OidInputFunctionCall(input, (char *) vibelog_id, param, -1);
}

static uint64
RunOnRow(const Binding *binding, Statement *statement, const char *sql, const char *vibelog_id)
{
	Args args = {0};

	ArgDatum(&args, binding->id_type, KeyDatum(binding, vibelog_id), false);
	return StatementRunOnApp(statement, sql, &args, 1);
}

static void
ReportMissingRow(const Binding *binding, const char *vibelog_id, bool for_update)
{
	/* the primary message becomes HTTP's reason phrase: no key in it */
	ereport(ERROR,
			(errcode(ERRCODE_VIBEVIDEO_NOT_FOUND),
			 errmsg("there is no row with this key"),
			 for_update
				 ? errdetail("Table %s has no row with key \"%s\" that the current role may update.", binding->relation, vibelog_id)
				 : errdetail("Table %s has no row with key \"%s\" that the current role may see.", binding->relation, vibelog_id),
			 errhint("Row-level security decides for which rows a role can request videos.")));
}

/*
 * The key is read back from the row: with some collations 'ABC' finds 'abc', and
 * must not become a separate job.
 *
 * With any locking clause, even the weakest, RLS applies the UPDATE policies as
 * well.  FOR KEY SHARE does not conflict with our own writes to that row, so a
 * job is always locked before the app's row, and there is no deadlock.
 */
static Statement see_row;
static Statement check_row;

char *
AppRowCheck(const Binding *binding, const char *vibelog_id, bool lock)
{
	char *sql = psprintf("SELECT %s::pg_catalog.text FROM %s WHERE %s OPERATOR(pg_catalog.=) $1%s",
						 binding->id_column, binding->relation, binding->id_column,
						 lock ? " FOR KEY SHARE" : "");
	char *key;

	if (RunOnRow(binding, lock ? &check_row : &see_row, sql, vibelog_id) == 0)
		ReportMissingRow(binding, vibelog_id, lock);
	key = ResultKeepText(0, 1);
	SPI_freetuptable(SPI_tuptable);
	return key;
}

/* The model's input: from the app's input function, or from two columns. */
char *
AppRowInputSql(const Binding *binding)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (binding->input_function)
		appendStringInfo(&sql, "SELECT %s(t)::pg_catalog.text", binding->input_function);
	else if (binding->image_column)
		appendStringInfo(&sql,
						 "SELECT (pg_catalog.jsonb_build_object('prompt', t.%s::pg_catalog.text)"
						 " OPERATOR(pg_catalog.||) CASE WHEN t.%s::pg_catalog.text OPERATOR(pg_catalog.<>) ''"
						 " THEN pg_catalog.jsonb_build_object('image_url', t.%s::pg_catalog.text)"
						 " ELSE '{}' END)::pg_catalog.text",
						 binding->prompt_column, binding->image_column, binding->image_column);
	else
		appendStringInfo(&sql,
						 "SELECT pg_catalog.jsonb_build_object('prompt', t.%s::pg_catalog.text)::pg_catalog.text",
						 binding->prompt_column);
	if (binding->user_column)
		appendStringInfo(&sql, ", t.%s::pg_catalog.text", binding->user_column);
	appendStringInfo(&sql, " FROM %s t WHERE t.%s OPERATOR(pg_catalog.=) $1",
					 binding->relation, binding->id_column);
	return sql.data;
}

static Statement read_input;

void
AppRowReadInput(const Binding *binding, const char *sql, JobNew *job)
{
	char *user = NULL;

	if (RunOnRow(binding, &read_input, sql, job->vibelog_id) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("owner of table %s cannot see row \"%s\"", binding->relation, job->vibelog_id),
				 errdetail("Row-level security is forced on the owner."),
				 errhint("Give the owner a policy, or run ALTER TABLE ... NO FORCE ROW LEVEL SECURITY.")));
	job->input = ResultKeepText(0, 1);
	if (binding->user_column)
		user = ResultKeepText(0, 2);
	if (user)
		job->user = user;
	SPI_freetuptable(SPI_tuptable);
	if (job->input == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input function %s returned null for row \"%s\"",
						binding->input_function ? binding->input_function : "", job->vibelog_id)));
	if (strlen(job->input) > MAX_INPUT_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input for row \"%s\" is larger than %d bytes", job->vibelog_id, MAX_INPUT_BYTES),
				 errhint("Pass images and other media by URL.")));
}

/*----------
 * What a row should show
 *----------
 */
#define SHOWN_COLUMNS 5 /* status, request id, URL, time of completion, error */

typedef struct DirtyJob
{
	int64 job_id;
	char *vibelog_id;
	Datum values[SHOWN_COLUMNS];
	bool nulls[SHOWN_COLUMNS];
	int tries;
	bool marked; /* row_dirty was set */
} DirtyJob;

static const Oid shown_types[SHOWN_COLUMNS] = {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID};

/* clang-format off */
/* of job j, with the values of job n: the row's newest, or j itself */
#define DIRTY_COLUMNS(n) \
	"SELECT j.job_id, j.vibelog_id, vibevideo.shown_status(" n ".state), " n ".request_id," \
	" COALESCE(" n ".video_url, j.video_url)," \
	" COALESCE(CASE WHEN " n ".state = 'completed' THEN " n ".completed_at END," \
	" CASE WHEN j.state = 'completed' THEN j.completed_at END)," \
	" CASE WHEN " n ".state = 'failed' THEN " n ".error" \
	" WHEN " n ".state = 'submit_unknown' THEN vibevideo.job_message(" n ") END," \
	" j.row_tries, j.row_dirty"
/* clang-format on */

static DirtyJob *
ReadDirty(uint64 row)
{
	DirtyJob *dirty = palloc0(sizeof(DirtyJob));

	dirty->job_id = ResultInt(row, 1, 0);
	dirty->vibelog_id = ResultText(row, 2);
	for (int i = 0; i < SHOWN_COLUMNS; i++)
	{
		Datum value = ResultDatum(row, i + 3, &dirty->nulls[i]);

		if (!dirty->nulls[i])
			dirty->values[i] = datumCopy(value, shown_types[i] == TIMESTAMPTZOID, shown_types[i] == TIMESTAMPTZOID ? 8 : -1);
	}
	dirty->tries = (int) ResultInt(row, 8, 0);
	dirty->marked = ResultBool(row, 9);
	return dirty;
}

static DirtyJob **
ReadAllDirty(int n)
{
	DirtyJob **dirty = palloc(sizeof(DirtyJob *) * (n + 1));

	for (int i = 0; i < n; i++)
		dirty[i] = ReadDirty(i);
	return dirty;
}

/*
 * A write that was put off may belong to an older attempt by now: the row shows
 * the newest attempt, except that an older one's video stays if it has none.
 */
static Statement find_dirty = {
	DIRTY_COLUMNS("n") " FROM (SELECT d.* FROM vibevideo.job d"
					   " WHERE d.row_dirty AND d.row_next_at <= $1"
					   /* IS TRUE keeps the planner from using the index on relation, which holds all jobs */
					   " AND (d.relation = $3) IS TRUE"
					   " ORDER BY d.row_next_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) j"
					   " JOIN vibevideo.job n ON n.job_id = (SELECT max(k.job_id) FROM vibevideo.job k"
					   " WHERE k.relation = j.relation AND k.vibelog_id = j.vibelog_id AND NOT k.orphan)"
					   " FOR NO KEY UPDATE OF n SKIP LOCKED"};

static DirtyJob **
FindDirty(const Binding *binding, TimestampTz now, int max, int *n)
{
	Args args = {0};

	ArgTime(&args, now);
	ArgInt4(&args, max);
	ArgRelation(&args, binding->relid);
	*n = (int) StatementRun(&find_dirty, &args);
	return ReadAllDirty(*n);
}

static Statement find_dirty_many = {
	DIRTY_COLUMNS("j") " FROM vibevideo.job j WHERE j.job_id = ANY ($1) AND (j.relation = $2) IS TRUE AND NOT j.orphan"};

static DirtyJob **
FindDirtyMany(const Binding *binding, const int64 *job_ids, int n, int *found)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	ArgRelation(&args, binding->relid);
	*found = (int) StatementRun(&find_dirty_many, &args);
	return ReadAllDirty(*found);
}

static Statement find_dirty_one = {
	DIRTY_COLUMNS("j") " FROM vibevideo.job j WHERE j.job_id = $1 FOR NO KEY UPDATE OF j"};

/* NULL if there is no such job */
static DirtyJob *
FindDirtyOne(int64 job_id)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	return StatementRun(&find_dirty_one, &args) == 0 ? NULL : ReadDirty(0);
}

/*----------
 * Marking jobs: is the row written, and if not, when is it tried again?
 *----------
 */
static Statement mark_one = {
	"UPDATE vibevideo.job j SET row_dirty = $2, row_error = $3, row_tries = $4, row_next_at = $5 WHERE j.job_id = $1"};

static void
MarkOne(const DirtyJob *dirty, bool still_dirty, const char *error, int64 wait_ms)
{
	Args args = {0};

	ArgInt8(&args, dirty->job_id);
	ArgBool(&args, still_dirty);
	ArgText(&args, error);
	ArgInt4(&args, still_dirty ? dirty->tries + 1 : 0);
	ArgTime(&args, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_ms));
	StatementRun(&mark_one, &args);
}

/* jobs whose rows were written without an error */
static Statement mark_written = {
	"UPDATE vibevideo.job j SET row_dirty = false, row_error = NULL, row_tries = 0, row_next_at = $2"
	" WHERE j.job_id = ANY ($1)"};

static void
MarkWritten(const int64 *job_ids, int n)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	ArgTime(&args, GetCurrentTimestamp());
	StatementRun(&mark_written, &args);
}

static Statement mark_dirty = {
	"UPDATE vibevideo.job j SET row_dirty = true, row_next_at = $2 WHERE j.job_id = ANY ($1)"};

static int
MarkDirty(const int64 *job_ids, int n)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	ArgTime(&args, GetCurrentTimestamp());
	return (int) StatementRun(&mark_dirty, &args);
}

/* jobs of a table that is not attached now: their rows are written once it is */
static Statement mark_elsewhere = {
	"UPDATE vibevideo.job j SET row_dirty = true WHERE j.job_id = ANY ($1)"
	" AND (j.relation = $2) IS NOT TRUE AND NOT j.orphan"};

static void
MarkElsewhere(const Binding *binding, const int64 *job_ids, int n)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	ArgRelation(&args, binding->relid);
	StatementRun(&mark_elsewhere, &args);
}

/*----------
 * Writing rows
 *----------
 */
typedef enum RowOutcome
{
	ROW_WRITTEN,
	ROW_SAME,
	ROW_LOCKED,
	ROW_GONE
} RowOutcome;

static Statement lock_row;
static Statement look_at_row;

/* Why a statement did not change a row. */
static RowOutcome
WhyUnchanged(const Binding *binding, const char *vibelog_id)
{
	char *lock = psprintf("SELECT 1 FROM %s WHERE %s OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE SKIP LOCKED",
						  binding->relation, binding->id_column);
	char *look = psprintf("SELECT 1 FROM %s WHERE %s OPERATOR(pg_catalog.=) $1",
						  binding->relation, binding->id_column);

	if (RunOnRow(binding, &lock_row, lock, vibelog_id) > 0)
		return ROW_SAME;
	return RunOnRow(binding, &look_at_row, look, vibelog_id) == 0 ? ROW_GONE : ROW_LOCKED;
}

/*
 * What is written into row t, and the condition that it differs: only a real
 * change updates a row, so that subscribers see each status once.
 */
/* clang-format off */
#define SET_ROW(status, request_id, url, generated_at, error) \
	" SET video_generation_status = " status ", video_request_id = " request_id "," \
	" video_url = COALESCE(" url ", t.video_url)," \
	" video_generated_at = COALESCE(" generated_at ", t.video_generated_at), video_generation_error = " error
/* IS DISTINCT FROM would look up its = along the search path */
#define DIFFERS(a, b) \
	"COALESCE(" a " OPERATOR(pg_catalog.<>) " b ", (" a " IS NULL) OPERATOR(pg_catalog.<>) (" b " IS NULL))"
#define ROW_DIFFERS(status, request_id, url, generated_at, error) \
	" AND (" DIFFERS("t.video_generation_status", status) " OR " DIFFERS("t.video_request_id", request_id) \
	" OR " DIFFERS("t.video_url", "COALESCE(" url ", t.video_url)") \
	" OR " DIFFERS("t.video_generated_at", "COALESCE(" generated_at ", t.video_generated_at)") \
	" OR " DIFFERS("t.video_generation_error", error) ")"

/* Names to fill in: table, key, key, table, key.  The statement itself locks the row, so it never waits for one. */
#define WRITE_ROW \
	"UPDATE %s t" SET_ROW("$2", "$3", "$4", "$5", "$6") \
	" WHERE t.%s OPERATOR(pg_catalog.=)" \
	" (SELECT k.%s FROM %s k WHERE k.%s OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE SKIP LOCKED)" \
	ROW_DIFFERS("$2", "$3", "$4", "$5", "$6")

/* Names to fill in: table, key, table, key, key.  Returns the ordinal numbers of the rows that it changed. */
#define WRITE_ROWS \
	"UPDATE %s t" SET_ROW("x.status", "x.request_id", "x.url", "x.generated_at", "x.error") \
	" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)," \
	" pg_catalog.unnest($5), pg_catalog.unnest($6)) WITH ORDINALITY" \
	" AS x(key, status, request_id, url, generated_at, error, nth)" \
	" CROSS JOIN LATERAL (SELECT k.%s AS key FROM %s k WHERE k.%s OPERATOR(pg_catalog.=) x.key" \
	" FOR NO KEY UPDATE SKIP LOCKED) l" \
	" WHERE t.%s OPERATOR(pg_catalog.=) l.key" \
	ROW_DIFFERS("x.status", "x.request_id", "x.url", "x.generated_at", "x.error") \
	" RETURNING x.nth"
/* clang-format on */

static Statement write_row;

static RowOutcome
WriteRow(const Binding *binding, const DirtyJob *dirty)
{
	char *update = psprintf(WRITE_ROW, binding->relation, binding->id_column, binding->id_column, binding->relation,
							binding->id_column);
	Args args = {0};

	ArgDatum(&args, binding->id_type, KeyDatum(binding, dirty->vibelog_id), false);
	for (int i = 0; i < SHOWN_COLUMNS; i++)
		ArgDatum(&args, shown_types[i], dirty->values[i], dirty->nulls[i]);
	return StatementRunOnApp(&write_row, update, &args, 0) > 0 ? ROW_WRITTEN
															   : WhyUnchanged(binding, dirty->vibelog_id);
}

static Statement write_rows;

/* With one statement; rows that it did not change, such as those of two jobs, follow one by one. */
static void
WriteRows(const Binding *binding, DirtyJob **dirty, int n, RowOutcome *outcomes)
{
	char *update = psprintf(WRITE_ROWS, binding->relation, binding->id_column, binding->relation, binding->id_column,
							binding->id_column);
	bool *written = palloc0(sizeof(bool) * n);
	ArrayColumn keys = ArrayColumnNew(n);
	Args args = {0};
	uint64 found;

	for (int i = 0; i < n; i++)
		keys.values[i] = KeyDatum(binding, dirty[i]->vibelog_id);
	ArgArray(&args, keys, n, binding->id_type);
	for (int c = 0; c < SHOWN_COLUMNS; c++)
	{
		ArrayColumn column = ArrayColumnNew(n);

		for (int i = 0; i < n; i++)
		{
			column.values[i] = dirty[i]->values[c];
			column.nulls[i] = dirty[i]->nulls[c];
		}
		ArgArray(&args, column, n, shown_types[c]);
	}
	found = StatementRunOnApp(&write_rows, update, &args, 0);
	for (uint64 i = 0; i < found; i++)
		written[ResultInt(i, 1, 1) - 1] = true;
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < n; i++)
		outcomes[i] = written[i] ? ROW_WRITTEN : WriteRow(binding, dirty[i]);
}

/* Subscribers of Supabase Realtime get the new status of a row that was written. */
static RowOutcome
BroadcastRow(const Binding *binding, const DirtyJob *dirty)
{
	RealtimeSend(dirty->vibelog_id, TextDatumGetCString(dirty->values[0]),
				 dirty->nulls[1] ? NULL : TextDatumGetCString(dirty->values[1]));
	return ROW_WRITTEN;
}

/*----------
 * As the table's owner, in a subtransaction: the app's code runs here
 *----------
 */
typedef struct RowStep
{
	RowOutcome (*each)(const Binding *binding, const DirtyJob *dirty);
	DirtyJob **dirty;
	int n;
	TimestampTz until; /* no further row is started after this; 0: no limit */
	int done;
	RowOutcome *outcomes;
} RowStep;

static void
RunStep(const Binding *binding, RowStep *step)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext mcxt = AllocSetContextCreate(outer, "vibevideo row", ALLOCSET_DEFAULT_SIZES);
	bool together = (step->each == WriteRow && step->n > 1 && OidIsValid(get_array_type(binding->id_type)));

	while (step->done < step->n && (step->until == 0 || step->done == 0 || GetCurrentTimestamp() <= step->until))
	{
		int n = together ? Min(ROWS_TOGETHER, step->n - step->done) : 1;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(mcxt);
		if (together)
			WriteRows(binding, step->dirty + step->done, n, step->outcomes + step->done);
		else
			step->outcomes[step->done] = step->each(binding, step->dirty[step->done]);
		step->done += n;
		MemoryContextSwitchTo(outer);
		MemoryContextReset(mcxt);
	}
	MemoryContextDelete(mcxt);
}

/*
 * Cancel and shutdown end a client's whole statement; any other error belongs to
 * this row.  In the worker, which is cancelled only by its row timeout, all of
 * them do.
 */
static bool
IsInterrupt(int sqlerrcode)
{
	if (in_worker)
		return ProcDiePending;
	return sqlerrcode == ERRCODE_QUERY_CANCELED ||
		ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION;
}

/* The message of the error that is being caught; interrupts are thrown again. */
static char *
CatchError(MemoryContext mcxt, ResourceOwner owner)
{
	ErrorData *edata;
	char *error;

	MemoryContextSwitchTo(mcxt);
	edata = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
	if (IsInterrupt(edata->sqlerrcode))
		ReThrowError(edata);
	error = psprintf("%s (SQLSTATE %s)", edata->message, unpack_sql_state(edata->sqlerrcode));
	FreeErrorData(edata);
	return error;
}

/* NULL, or the error that the app's code raised: then the step is rolled back */
static char *
RunStepGuarded(const Binding *binding, RowStep *step)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Identity saved;
	char *volatile error = NULL;

	/* a client has its own timeout; the worker must not hang in the app's trigger */
	if (in_worker)
		enable_timeout_after(STATEMENT_TIMEOUT, ROW_TIMEOUT_MS);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		IdentityBecomeTableOwner(binding->owner, &saved);
		RunStep(binding, step);
		IdentityResume(&saved);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(mcxt);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		error = CatchError(mcxt, owner);
	}
	PG_END_TRY();
	if (in_worker)
	{
		disable_timeout(STATEMENT_TIMEOUT, false);
		QueryCancelPending = false; /* it may have fired at the very end */
	}
	return error;
}

static char *
RunOneGuarded(RowOutcome (*each)(const Binding *, const DirtyJob *), const Binding *binding, DirtyJob *dirty,
			  RowOutcome *outcome)
{
	RowStep step = {.each = each, .dirty = &dirty, .n = 1, .outcomes = outcome};

	return RunStepGuarded(binding, &step);
}

/*----------
 * Rows and their jobs' marks together
 *----------
 */

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
	error = RunOneGuarded(BroadcastRow, binding, dirty, &outcome);
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
	return check_enable_rls(binding->relid, binding->owner, true) == RLS_ENABLED;
}

/* true when the row now shows the job, or is gone */
static bool
SyncOne(const Binding *binding, DirtyJob *dirty)
{
	RowOutcome outcome = ROW_LOCKED;
	char *error = RunOneGuarded(WriteRow, binding, dirty, &outcome);

	if (error)
	{
		ereport(LOG,
				(errmsg("vibevideo job %lld: could not write row \"%s\" of table %s: %s",
						(long long) dirty->job_id, dirty->vibelog_id, binding->relation, error)));
		MarkOne(dirty, true, error, RowBackoffMs(dirty->tries));
		return false;
	}
	if (outcome == ROW_WRITTEN)
		BroadcastChange(binding, dirty);
	if (outcome == ROW_LOCKED)
		MarkOne(dirty, true, NULL, RowBackoffMs(0));
	else if (outcome == ROW_GONE && MayBeHidden(binding))
	{
		MarkOne(dirty, true, "the row does not exist, or row-level security hides it from the table's owner", RowBackoffMs(dirty->tries));
		return false;
	}
	else if (outcome == ROW_GONE)
		MarkOne(dirty, false, "the row no longer exists", 0);
	else if (dirty->marked)
		MarkOne(dirty, false, NULL, 0);
	return outcome != ROW_LOCKED;
}

static void
SyncOneByOne(const Binding *binding, DirtyJob **dirty, int n, TimestampTz until, int *unwritten)
{
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		*unwritten += !SyncOne(binding, dirty[i]);
		if (until != 0 && GetCurrentTimestamp() > until)
			break;
	}
}

static void
MarkClean(const RowStep *step)
{
	int64 *clean = palloc(sizeof(int64) * step->n);
	int n = 0;

	for (int i = 0; i < step->done; i++)
		if (step->dirty[i]->marked && (step->outcomes[i] == ROW_WRITTEN || step->outcomes[i] == ROW_SAME))
			clean[n++] = step->dirty[i]->job_id;
	if (n > 0)
		MarkWritten(clean, n);
}

/*
 * All in one subtransaction, unless the app's code raises an error; returns how
 * many are done, 0 if they must be written one by one.
 */
static int
SyncTogether(const Binding *binding, DirtyJob **dirty, int n, TimestampTz until, int *unwritten)
{
	RowStep step = {.each = WriteRow, .dirty = dirty, .n = n, .until = until};

	step.outcomes = palloc(sizeof(RowOutcome) * n);
	if (RunStepGuarded(binding, &step) != NULL)
		return 0;
	MarkClean(&step);
	/* a row that is locked or gone is marked in its own way, so it is tried once more, alone */
	for (int i = 0; i < step.done; i++)
		if (step.outcomes[i] == ROW_LOCKED || step.outcomes[i] == ROW_GONE)
			*unwritten += !SyncOne(binding, dirty[i]);
		else if (step.outcomes[i] == ROW_WRITTEN)
			BroadcastChange(binding, dirty[i]);
	return step.done;
}

void
AppRowWriteDirty(const Binding *binding, int max)
{
	TimestampTz now = GetCurrentTimestamp();
	/* the remaining rows stay due: answers from the network must be read in time */
	TimestampTz until = in_worker ? TimestampTzPlusMilliseconds(now, SYNC_BUDGET_MS) : 0;
	int n;
	DirtyJob **dirty = FindDirty(binding, now, max, &n);
	int unwritten = 0;

	if (n > 0 && SyncTogether(binding, dirty, n, until, &unwritten) == 0)
		SyncOneByOne(binding, dirty, n, until, &unwritten);
}

int
AppRowWriteMany(const Binding *binding, const int64 *job_ids, int n)
{
	int found;
	DirtyJob **dirty = FindDirtyMany(binding, job_ids, n, &found);
	int unwritten = 0;

	if (found < n)
		MarkElsewhere(binding, job_ids, n);
	if (found == 0 || SyncTogether(binding, dirty, found, 0, &unwritten) > 0)
		return unwritten;
	/* the worker writes such rows in a separate transaction */
	if (in_worker)
		return MarkDirty(job_ids, n);
	SyncOneByOne(binding, dirty, found, 0, &unwritten);
	return unwritten;
}

bool
AppRowWriteOne(const Binding *binding, int64 job_id)
{
	DirtyJob *dirty = FindDirtyOne(job_id);

	if (dirty == NULL || SyncOne(binding, dirty))
		return true;
	ereport(WARNING,
			(errmsg("could not write row \"%s\" yet", dirty->vibelog_id),
			 errdetail("The job itself is safe; the worker will write the row as soon as it can.")));
	return false;
}

/* Only if no code of the app runs then, and nobody has locked the table. */
bool
AppRowsAreSimple(const Binding *binding)
{
	Relation relation;
	bool simple;

	if (binding->realtime || !ConditionalLockRelationOid(binding->relid, RowExclusiveLock))
		return false;
	relation = try_relation_open(binding->relid, NoLock);
	if (relation == NULL)
		return false;
	simple = (relation->rd_rules == NULL);
	for (int i = 0; simple && relation->trigdesc && i < relation->trigdesc->numtriggers; i++)
		simple = relation->trigdesc->triggers[i].tgisinternal;
	relation_close(relation, NoLock);
	return simple;
}

void
AppRowRecord(const Binding *binding, JobUpdate *updates, int n, bool *recorded)
{
	int64 *moved = palloc(sizeof(int64) * (n + 1));
	int nmoved = 0;

	for (int i = 0; i < n; i++)
		updates[i].row_written = (strcmp(updates[i].was, updates[i].state) != 0);
	(void) JobRecord(updates, n, recorded);
	for (int i = 0; i < n; i++)
		if (recorded[i] && updates[i].row_written)
			moved[nmoved++] = updates[i].job_id;
	if (nmoved > 0)
		AppRowWriteMany(binding, moved, nmoved);
}

/*----------
 * Rows without a job
 *----------
 */
static Statement fail_rows;

uint64
AppRowFail(const Binding *binding, Datum keys)
{
	char *sql = psprintf("UPDATE %s AS t SET video_generation_status = 'failed',"
						 " video_generation_error = 'reset: no job was behind this status'"
						 " WHERE t.%s::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)",
						 binding->relation, binding->id_column);
	Args args = {0};
	Identity saved;
	uint64 n;

	ArgDatum(&args, TEXTARRAYOID, keys, false);
	IdentityBecomeTableOwner(binding->owner, &saved);
	n = StatementRunOnApp(&fail_rows, sql, &args, 0);
	IdentityResume(&saved);
	return n;
}
