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
 * code of the app's, of which an update runs more than triggers, can undo or
 * delay a recorded outcome.
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
 * - What is written must then be in the row: RETURNING tells, and where there are
 *	  triggers or rules a look afterwards.  Otherwise the job stays dirty, and
 *	  row_error names what may have undone it.
 * - Only the job's own row is written: one that bears what row_bears says, or the
 *	  job's request id.  If it is not under the job's key, it is looked for by its
 *	  request id, and the job follows it (rekey.h).
 * - In the worker all constraints are immediate; where a client's are deferred the
 *	  row is left to the worker.
 * - The row shows its newest job.  A write that was postponed may be an older
 *	  attempt's by then (find_dirty): then only its video counts, if no newer
 *	  attempt has one.
 * - video_url and video_generated_at are never cleared: a failed second attempt
 *	  leaves the first video.  If the row is gone, there is nothing to write.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
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
#include "rekey.h"
#include "statement.h"
#include "wire.h"
#include "tablefit.h"

#define MAX_INPUT_BYTES (1024 * 1024)
#define ROW_ERROR_BYTES 400 /* of what the app's objects say */
#define ROW_TIMEOUT_MS 2000 /* for the app's triggers, in the worker */
#define ROW_LOCK_MS 250		/* of it, for somebody's lock; or the lock that a row waited for is still held: */
#define ROW_LOCK_AGAIN_MS 20
#define SYNC_BUDGET_MS 200 /* for all rows of one turn, in the worker */
#define ROWS_TOGETHER 500

static bool in_worker = false;	/* our own worker: pg_cron's background workers are clients */
static bool limit_time = false; /* is the app's code cut short? */
static int lock_ms = ROW_LOCK_MS;

void
AppRowInWorker(void)
{
	in_worker = true;
	limit_time = true;
}

void
AppRowLimitTime(bool limit)
{
	limit_time = limit || in_worker;
}

/*----------
 * What is being written
 *----------
 */

/* Rows that a statement of ours is writing or reporting, while the app's code may run. */
typedef struct Writing
{
	struct Writing *outer; /* of whose write a trigger has led to this one */
	Oid relid;
	const char *const *keys;
	int n;
	bool has_rules;
	bool has_triggers;
} Writing;

static Writing *writing = NULL;

bool
AppRowIsWriting(void)
{
	return writing != NULL;
}

bool
AppRowIsBeingWritten(const Binding *binding, const char *vibelog_id)
{
	for (const Writing *w = writing; w; w = w->outer)
		for (int i = 0; w->relid == binding->relid && i < w->n; i++)
			if (strcmp(w->keys[i], vibelog_id) == 0)
				return true;
	return false;
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
				 ? errdetail("Table %s has no row with key \"%s\" that the current role may update.", binding->relation, WireShown(vibelog_id))
				 : errdetail("Table %s has no row with key \"%s\" that the current role may see.", binding->relation, WireShown(vibelog_id)),
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

	TableFitKey(binding);
	TableFitCaller(binding, lock);
	if (RunOnRow(binding, lock ? &check_row : &see_row, sql, vibelog_id) == 0)
		ReportMissingRow(binding, vibelog_id, lock);
	key = ResultKeepText(0, 1);
	SPI_freetuptable(SPI_tuptable);
	return key;
}

/* what row t bears */
/* clang-format off */
#define BEARS(t) \
	"CASE WHEN " t ".video_request_id IS NOT NULL THEN " t ".video_request_id::pg_catalog.text" \
	" WHEN " t ".video_generation_status IS NOT NULL THEN '" BEARS_STATUS "' ELSE '" BEARS_NOTHING "' END"
/* clang-format on */

static Statement read_bears;

void
AppRowsBear(const Binding *binding, char **vibelog_ids, int n, char **bears)
{
	char *sql = psprintf("SELECT x.nth, " BEARS("t") " FROM ROWS FROM (pg_catalog.unnest($1)) WITH ORDINALITY AS x(key, nth)"
													 " JOIN %s t ON t.%s OPERATOR(pg_catalog.=) x.key",
						 binding->relation, binding->id_column);
	ArrayColumn keys = ArrayColumnNew(n);
	Args args = {0};
	Identity saved;
	uint64 found;

	TableFitRow(binding);
	for (int i = 0; i < n; i++)
		keys.values[i] = KeyDatum(binding, vibelog_ids[i]);
	ArgArray(&args, keys, n, binding->id_type);
	IdentityBecomeTableOwner(binding->owner, &saved);
	found = StatementRunOnApp(&read_bears, sql, &args, 0);
	IdentityResume(&saved);
	memset(bears, 0, sizeof(char *) * n);
	for (uint64 i = 0; i < found; i++)
		bears[ResultInt(i, 1, 1) - 1] = ResultText(i, 2);
	SPI_freetuptable(SPI_tuptable);
}

static Statement read_home;

/* the only row that bears it; NULL if there is none, or more */
static char *
ReadHome(const Binding *binding, const char *request_id)
{
	char *sql = psprintf("SELECT t.%s::pg_catalog.text FROM %s t WHERE t.video_request_id OPERATOR(pg_catalog.=) $1 LIMIT 2",
						 binding->id_column, binding->relation);
	Args args = {0};

	ArgText(&args, request_id);
	return StatementRunOnApp(&read_home, sql, &args, 0) == 1 ? ResultText(0, 1) : NULL;
}

char *
AppRowHome(const Binding *binding, const char *request_id)
{
	Identity saved;
	char *home;

	IdentityBecomeTableOwner(binding->owner, &saved);
	home = ReadHome(binding, request_id);
	IdentityResume(&saved);
	return home;
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
	appendStringInfoString(&sql, ", " BEARS("t"));
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
				 errmsg("owner of table %s cannot see row \"%s\"", binding->relation, WireShown(job->vibelog_id)),
				 errdetail("Row-level security is forced on the owner."),
				 errhint("Give the owner a policy, or run ALTER TABLE ... NO FORCE ROW LEVEL SECURITY.")));
	job->input = ResultKeepText(0, 1);
	job->bears = ResultKeepText(0, 2);
	if (binding->user_column)
		user = ResultKeepText(0, 3);
	if (user)
		job->user = user;
	SPI_freetuptable(SPI_tuptable);
	if (job->input == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input function %s returned null for row \"%s\"",
						binding->input_function ? binding->input_function : "", WireShown(job->vibelog_id))));
	if (strlen(job->input) > MAX_INPUT_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input for row \"%s\" is larger than %d bytes", WireShown(job->vibelog_id), MAX_INPUT_BYTES),
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
	int64 newest_id; /* of its row: what the row is to show */
	char *vibelog_id;
	char *bears;	 /* only a row that bears this, or what it is to show, is its row */
	char *bears_now; /* ... from now on; NULL if that stays */
	char *found;	 /* what a look at the row has found it to bear; NULL if it shows the job */
	char *home;		 /* the key of the row that bears it, if that is not vibelog_id */
	Datum values[SHOWN_COLUMNS];
	bool nulls[SHOWN_COLUMNS];
	int tries;
	bool marked; /* row_dirty was set */
} DirtyJob;

static const Oid shown_types[SHOWN_COLUMNS] = {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID};

/* clang-format off */
/* of job j, with the values of job n: the row's newest, or j itself */
#define DIRTY_COLUMNS(n, bears) \
	"SELECT j.job_id, j.vibelog_id, vibevideo.shown_status(" n ".state), " n ".request_id," \
	" COALESCE(" n ".video_url, j.video_url)," \
	" COALESCE(CASE WHEN " n ".state = 'completed' THEN " n ".completed_at END," \
	" CASE WHEN j.state = 'completed' THEN j.completed_at END)," \
	" CASE WHEN " n ".state = 'failed' THEN " n ".error" \
	" WHEN " n ".state = 'submit_unknown' THEN vibevideo.job_message(" n ") END," \
	" j.row_tries, j.row_dirty, " n ".job_id, " bears
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
	dirty->newest_id = ResultInt(row, 10, 0);
	dirty->bears = ResultText(row, 11);
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
	DIRTY_COLUMNS("n", "CASE WHEN n.row_dirty OR n.row_bears = '" BEARS_UNKNOWN "' THEN n.row_bears ELSE COALESCE(n.request_id, '" BEARS_STATUS "') END") " FROM (SELECT d.* FROM vibevideo.job d"
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
	DIRTY_COLUMNS("j", "COALESCE(j.row_bears, j.request_id, '" BEARS_STATUS "')") " FROM vibevideo.job j WHERE j.job_id = ANY ($1) AND (j.relation = $2) IS TRUE AND NOT j.orphan"};

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
	DIRTY_COLUMNS("j", "COALESCE(j.row_bears, j.request_id, '" BEARS_STATUS "')") " FROM vibevideo.job j WHERE j.job_id = $1 AND (j.relation = $2) IS TRUE AND NOT j.orphan FOR NO KEY UPDATE OF j"};

/* NULL if there is no such job, or it has no row here */
static DirtyJob *
FindDirtyOne(const Binding *binding, int64 job_id)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	ArgRelation(&args, binding->relid);
	return StatementRun(&find_dirty_one, &args) == 0 ? NULL : ReadDirty(0);
}

/*----------
 * Marking jobs: is the row written, and if not, when is it tried again?
 *----------
 */
static Statement mark_one = {
	"UPDATE vibevideo.job j SET row_dirty = $2, row_error = $3, row_tries = $4, row_next_at = $5,"
	" row_bears = COALESCE($6, j.row_bears) WHERE j.job_id = $1"};

static void
MarkOne(const DirtyJob *dirty, bool still_dirty, const char *error, int64 wait_ms)
{
	Args args = {0};

	ArgInt8(&args, dirty->job_id);
	ArgBool(&args, still_dirty);
	ArgText(&args, error);
	ArgInt4(&args, still_dirty ? dirty->tries + 1 : 0);
	ArgTime(&args, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_ms));
	ArgText(&args, dirty->bears_now);
	StatementRun(&mark_one, &args);
}

/* jobs whose rows were written without an error */
static Statement mark_written = {
	"UPDATE vibevideo.job j SET row_dirty = false, row_error = NULL, row_tries = 0, row_next_at = $2, row_bears = NULL"
	" WHERE j.job_id = ANY ($1)"};

static void
MarkWritten(const int64 *job_ids, int n)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	ArgTime(&args, GetCurrentTimestamp());
	StatementRun(&mark_written, &args);
}

/* but an orphan has no row, nor has a job that lost it: nobody would ever unmark them */
static Statement mark_dirty = {
	"UPDATE vibevideo.job j SET row_dirty = true, row_next_at = $2"
	" WHERE j.job_id = ANY ($1) AND NOT j.orphan AND j.relation IS NOT NULL"};

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
	" AND j.relation <> $2 AND NOT j.orphan"};

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
	ROW_GONE,
	ROW_OTHER,	/* the row with that key is not the job's */
	ROW_UNSHOWN /* written, and does not show it */
} RowOutcome;

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

/* The row is the job's: it bears what it was last seen to bear, or what it is to show. */
#define ROW_MATCHES(row, bears, request_id) \
	"(" bears " OPERATOR(pg_catalog.=) '" BEARS_UNKNOWN "' OR CASE WHEN " row ".video_request_id IS NOT NULL" \
	" THEN " row ".video_request_id OPERATOR(pg_catalog.=) " bears \
	" OR COALESCE(" row ".video_request_id OPERATOR(pg_catalog.=) " request_id ", false)" \
	" WHEN " row ".video_generation_status IS NOT NULL" \
	" THEN " bears " OPERATOR(pg_catalog.=) '" BEARS_STATUS "' OR " request_id " IS NULL" \
	" ELSE " bears " OPERATOR(pg_catalog.=) '" BEARS_NOTHING "' END)"

/*
 * Row t shows what was written.  A trigger may have its own URL or words for an
 * error, but not keep the old ones.
 */
#define ROW_SHOWS(status, request_id, url, generated_at, error, old_url, old_error) \
	"((NOT " DIFFERS("t.video_generation_status", status) " AND NOT " DIFFERS("t.video_request_id", request_id) \
	" AND (" url " IS NULL OR t.video_url OPERATOR(pg_catalog.=) " url \
	" OR t.video_url IS NOT NULL AND " DIFFERS("t.video_url", old_url) ")" \
	" AND (" generated_at " IS NULL OR t.video_generated_at IS NOT NULL)" \
	" AND (NOT " DIFFERS("t.video_generation_error", error) " OR " error " IS NOT NULL" \
	" AND t.video_generation_error IS NOT NULL AND " DIFFERS("t.video_generation_error", old_error) ")) IS TRUE)"

/*
 * The names to fill in: table, columns that are shown afterwards, key, table,
 * key, key, and what it returns.  The statement itself locks the row, so it
 * never waits for one.
 */
#define WRITE_ROW \
	"UPDATE %s t" SET_ROW("$2", "$3", "$4", "$5", "$6") \
	" FROM (SELECT %s k.%s AS key FROM %s k" \
	" WHERE k.%s OPERATOR(pg_catalog.=) $1 AND " ROW_MATCHES("k", "$7", "$3") " FOR NO KEY UPDATE SKIP LOCKED) l" \
	" WHERE t.%s OPERATOR(pg_catalog.=) l.key" ROW_DIFFERS("$2", "$3", "$4", "$5", "$6") "%s"
#define RETURNING_SHOWN \
	" RETURNING " ROW_SHOWS("$2", "$3", "$4", "$5", "$6", "l.url", "l.error")

/* The same; it returns the ordinal numbers of the rows it has changed, and whether they show it. */
#define WRITE_ROWS \
	"UPDATE %s t" SET_ROW("x.status", "x.request_id", "x.url", "x.generated_at", "x.error") \
	" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)," \
	" pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)) WITH ORDINALITY" \
	" AS x(key, status, request_id, url, generated_at, error, bears, nth)" \
	" CROSS JOIN LATERAL (SELECT %s k.%s AS key FROM %s k" \
	" WHERE k.%s OPERATOR(pg_catalog.=) x.key AND " ROW_MATCHES("k", "x.bears", "x.request_id") \
	" FOR NO KEY UPDATE SKIP LOCKED) l" \
	" WHERE t.%s OPERATOR(pg_catalog.=) l.key" \
	ROW_DIFFERS("x.status", "x.request_id", "x.url", "x.generated_at", "x.error") \
	" RETURNING x.nth, %s"
#define ROWS_SHOWN \
	ROW_SHOWS("x.status", "x.request_id", "x.url", "x.generated_at", "x.error", "l.url", "l.error")

/* what a row that a trigger may change must not show afterwards */
#define OLD_COLUMNS "k.video_url AS url, k.video_generation_error AS error,"

/* Table, key, and how to lock it: is it the job's, does it show it, and what does it bear? */
#define LOOK_AT_ROW(old_url, old_error) \
	"SELECT " ROW_MATCHES("t", "$7", "$3") ", " ROW_SHOWS("$2", "$3", "$4", "$5", "$6", old_url, old_error) ", " BEARS("t") \
	" FROM %s t WHERE t.%s OPERATOR(pg_catalog.=) $1%s"
/* clang-format on */

static void
ArgsOfRow(const Binding *binding, const DirtyJob *dirty, Args *args)
{
	ArgDatum(args, binding->id_type, KeyDatum(binding, dirty->vibelog_id), false);
	for (int i = 0; i < SHOWN_COLUMNS; i++)
		ArgDatum(args, shown_types[i], dirty->values[i], dirty->nulls[i]);
	ArgText(args, dirty->bears);
}

/* What a look at the row has found, as the write's outcome. */
static RowOutcome
JudgeLook(DirtyJob *dirty)
{
	if (ResultBool(0, 1) && ResultBool(0, 2))
		return ROW_SAME;
	dirty->found = MemoryContextStrdup(GetMemoryChunkContext(dirty), ResultText(0, 3));
	return ResultBool(0, 1) ? ROW_UNSHOWN : ROW_OTHER;
}

static Statement look_afterwards;

/* A trigger that fires after it, or a rule, may have changed it back: it must be something that was not there. */
static RowOutcome
LookAfterwards(const Binding *binding, DirtyJob *dirty)
{
	char *sql = psprintf(LOOK_AT_ROW("NULL::pg_catalog.text", "NULL::pg_catalog.text"), binding->relation,
						 binding->id_column, "");
	Args args = {0};

	ArgsOfRow(binding, dirty, &args);
	if (StatementRunOnApp(&look_afterwards, sql, &args, 0) == 0)
		return ROW_GONE;
	return JudgeLook(dirty) == ROW_UNSHOWN ? ROW_UNSHOWN : ROW_WRITTEN;
}

static Statement lock_row;
static Statement look_at_row;

/* Why a statement left a row alone.  One that is not locked, is the job's and does not show it is now ours. */
static RowOutcome
WhyUnchanged(const Binding *binding, DirtyJob *dirty)
{
	char *lock = psprintf(LOOK_AT_ROW("t.video_url", "t.video_generation_error"), binding->relation, binding->id_column,
						  " FOR NO KEY UPDATE SKIP LOCKED");
	char *look = psprintf("SELECT 1 FROM %s t WHERE t.%s OPERATOR(pg_catalog.=) $1", binding->relation, binding->id_column);
	Args args = {0};

	ArgsOfRow(binding, dirty, &args);
	if (StatementRunOnApp(&lock_row, lock, &args, 0) > 0)
		return JudgeLook(dirty);
	return RunOnRow(binding, &look_at_row, look, dirty->vibelog_id) == 0 ? ROW_GONE : ROW_LOCKED;
}

static Statement write_row;

/* ROW_SAME: it was left alone */
static RowOutcome
RunWrite(const Binding *binding, DirtyJob *dirty)
{
	char *update = psprintf(WRITE_ROW, binding->relation, OLD_COLUMNS, binding->id_column, binding->relation,
							binding->id_column, binding->id_column, writing->has_rules ? "" : RETURNING_SHOWN);
	Args args = {0};

	ArgsOfRow(binding, dirty, &args);
	if (StatementRunOnApp(&write_row, update, &args, 0) == 0)
		return ROW_SAME;
	if (writing->has_rules || (ResultBool(0, 1) && writing->has_triggers))
		return LookAfterwards(binding, dirty);
	if (ResultBool(0, 1))
		return ROW_WRITTEN;
	return LookAfterwards(binding, dirty) == ROW_GONE ? ROW_GONE : ROW_UNSHOWN;
}

static RowOutcome
WriteRow(const Binding *binding, DirtyJob *dirty)
{
	RowOutcome outcome = RunWrite(binding, dirty);

	if (outcome != ROW_SAME)
		return outcome;
	outcome = WhyUnchanged(binding, dirty);
	if (outcome != ROW_UNSHOWN)
		return outcome;
	/* nobody can have it locked now: what is still left alone is kept from being written */
	outcome = RunWrite(binding, dirty);
	if (outcome != ROW_SAME)
		return outcome;
	return WhyUnchanged(binding, dirty);
}

static Statement write_rows;

/* one array a column */
static void
ArgsOfRows(const Binding *binding, DirtyJob **dirty, int n, Args *args)
{
	ArrayColumn keys = ArrayColumnNew(n);
	char **bears = palloc(sizeof(char *) * n);

	for (int i = 0; i < n; i++)
	{
		keys.values[i] = KeyDatum(binding, dirty[i]->vibelog_id);
		bears[i] = dirty[i]->bears;
	}
	ArgArray(args, keys, n, binding->id_type);
	for (int c = 0; c < SHOWN_COLUMNS; c++)
	{
		ArrayColumn column = ArrayColumnNew(n);

		for (int i = 0; i < n; i++)
		{
			column.values[i] = dirty[i]->values[c];
			column.nulls[i] = dirty[i]->nulls[c];
		}
		ArgArray(args, column, n, shown_types[c]);
	}
	ArgTexts(args, bears, n);
}

/* By one statement; those that it left alone, as one whose row another of them has, one by one. */
static void
WriteRows(const Binding *binding, DirtyJob **dirty, int n, RowOutcome *outcomes)
{
	/* without triggers a row that was changed shows it */
	char *update = psprintf(WRITE_ROWS, binding->relation, writing->has_triggers ? OLD_COLUMNS : "", binding->id_column,
							binding->relation, binding->id_column, binding->id_column,
							writing->has_triggers ? ROWS_SHOWN : "true");
	bool *written = palloc0(sizeof(bool) * n);
	Args args = {0};
	uint64 found;

	ArgsOfRows(binding, dirty, n, &args);
	found = StatementRunOnApp(&write_rows, update, &args, 0);
	for (uint64 i = 0; i < found; i++)
		written[ResultInt(i, 1, 1) - 1] = ResultBool(i, 2);
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < n; i++)
		if (!written[i])
			outcomes[i] = WriteRow(binding, dirty[i]);
		else
			outcomes[i] = writing->has_triggers ? LookAfterwards(binding, dirty[i]) : ROW_WRITTEN;
}

/* The key of the job's row, if that is not what it was: what the row bears tells. */
static RowOutcome
FindHome(const Binding *binding, DirtyJob *dirty)
{
	char *home = dirty->nulls[1] ? NULL : ReadHome(binding, TextDatumGetCString(dirty->values[1]));

	if (home == NULL && BearsRequest(dirty->bears))
		home = ReadHome(binding, dirty->bears);
	if (home && strcmp(home, dirty->vibelog_id) != 0)
		dirty->home = MemoryContextStrdup(GetMemoryChunkContext(dirty), home);
	return dirty->home ? ROW_OTHER : ROW_GONE;
}

/* Subscribers of Supabase Realtime get the new status of a row that was written. */
static RowOutcome
BroadcastRow(const Binding *binding, DirtyJob *dirty)
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
	RowOutcome (*each)(const Binding *binding, DirtyJob *dirty);
	DirtyJob **dirty;
	int n;
	TimestampTz until; /* no further row is started after this; 0: no limit */
	int done;
	RowOutcome *outcomes;
} RowStep;

/* What the app has on its table that may change what is written. */
static void
FindCode(const Binding *binding)
{
	Relation relation = relation_open(binding->relid, RowExclusiveLock);

	writing->has_rules = (relation->rd_rules != NULL);
	/* partitions and children have triggers of their own */
	writing->has_triggers = (relation->rd_rel->relkind != RELKIND_RELATION || relation->rd_rel->relhassubclass);
	for (int i = 0; relation->trigdesc && i < relation->trigdesc->numtriggers; i++)
		writing->has_triggers |= !relation->trigdesc->triggers[i].tgisinternal;
	relation_close(relation, NoLock);
}

static void
RunStep(const Binding *binding, RowStep *step)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext mcxt = AllocSetContextCreate(outer, "vibevideo row", ALLOCSET_DEFAULT_SIZES);
	bool together;

	FindCode(binding);
	together = (step->each == WriteRow && step->n > 1 && !writing->has_rules);

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
 * A timeout of our own, not the statement's: one that a trigger has led to
 * inside of another keeps the other's, and a client has his besides.  A
 * trigger that catches the cancel is cancelled again.
 */
static TimeoutId row_timeout = MAX_TIMEOUTS;
static bool row_is_timed = false;
static volatile sig_atomic_t row_time_is_up = false;

static void
RowTimeIsUp(void)
{
	row_time_is_up = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* false: it is not limited, or an outer one has the earlier deadline */
static bool
StartRowTime(void)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ROW_TIMEOUT_MS);

	if (!limit_time || row_is_timed)
		return false;
	if (row_timeout == MAX_TIMEOUTS)
		row_timeout = RegisterTimeout(USER_TIMEOUT, RowTimeIsUp);
	row_is_timed = true;
	row_time_is_up = false;
	enable_timeout_every(row_timeout, end, ROW_TIMEOUT_MS / 4);
	return true;
}

/* Whether it was up is still to be known. */
static void
EndRowTime(void)
{
	disable_timeout(row_timeout, false);
	/* at the very end, perhaps */
	if (row_time_is_up)
		QueryCancelPending = false;
	row_is_timed = false;
}

/*
 * Cancel and shutdown end a client's whole statement; anything else is this
 * row's own trouble, and so is all that the worker, which only its row
 * timeout cancels, can catch.  When that is up, it is so for the outermost.
 */
static bool
IsInterrupt(int sqlerrcode)
{
	if (row_time_is_up)
		return ProcDiePending || row_is_timed;
	if (in_worker)
		return ProcDiePending;
	return sqlerrcode == ERRCODE_QUERY_CANCELED ||
		ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION;
}

/*
 * PostgreSQL queues no deferred trigger inside a security-restricted operation.
 * In the worker none is deferred; in a client they are what he says, so the row
 * is left to the worker.
 */
static char left_to_worker[] = "a trigger of the table is deferred";

static bool
IsDeferredTrigger(const ErrorData *edata)
{
	return !in_worker && edata->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && edata->funcname &&
		strcmp(edata->funcname, "afterTriggerMarkEvents") == 0;
}

static void
DeferNothing(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	/* all of them, and immediate */
	AfterTriggerSetState(statement);
}

/* The message of the error that is being caught; interrupts are thrown again. */
static char *
CatchError(MemoryContext mcxt, ResourceOwner owner)
{
	char message[ROW_ERROR_BYTES];
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
	if (edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		lock_ms = ROW_LOCK_AGAIN_MS;
	if (IsDeferredTrigger(edata))
		error = left_to_worker;
	else if (row_time_is_up)
		error = psprintf("the code that it runs, such as triggers, took longer than %d s (SQLSTATE %s)",
						 ROW_TIMEOUT_MS / 1000, unpack_sql_state(edata->sqlerrcode));
	else
	{
		WireCopy(message, sizeof(message), edata->message);
		WireClean(message);
		error = psprintf("%s (SQLSTATE %s)", message, unpack_sql_state(edata->sqlerrcode));
	}
	FreeErrorData(edata);
	return error;
}

static const char *const *
KeysOf(const RowStep *step)
{
	const char **keys = palloc(sizeof(char *) * (step->n + 1));

	for (int i = 0; i < step->n; i++)
		keys[i] = step->dirty[i]->vibelog_id;
	return keys;
}

/*
 * Somebody's lock that a trigger waits for is that row's trouble, and holds up
 * all other rows meanwhile.  The setting ends with the owner's search_path.
 */
static void
LimitLockWait(void)
{
	char limit[32];

	if (!limit_time || (LockTimeout > 0 && LockTimeout <= lock_ms))
		return;
	snprintf(limit, sizeof(limit), "%dms", lock_ms);
	(void) set_config_option("lock_timeout", limit, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* NULL, or the error that the app's code raised: then the step is rolled back */
static char *
RunStepGuarded(const Binding *binding, RowStep *step)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Identity saved;
	Writing rows = {writing, binding->relid, KeysOf(step), step->n};
	char *volatile error = NULL;
	bool timed;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	timed = StartRowTime();
	PG_TRY();
	{
		writing = &rows;
		IdentityBecomeTableOwner(binding->owner, &saved);
		LimitLockWait();
		RunStep(binding, step);
		IdentityResume(&saved);
		writing = rows.outer;
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(mcxt);
		CurrentResourceOwner = owner;
		if (timed)
			EndRowTime();
	}
	PG_CATCH();
	{
		writing = rows.outer;
		if (timed)
			EndRowTime();
		error = CatchError(mcxt, owner);
	}
	PG_END_TRY();
	if (timed)
		row_time_is_up = false;
	return error;
}

static char *
RunOneGuarded(RowOutcome (*each)(const Binding *, DirtyJob *), const Binding *binding, DirtyJob *dirty,
			  RowOutcome *outcome)
{
	RowStep step = {.each = each, .dirty = &dirty, .n = 1, .outcomes = outcome};

	return RunStepGuarded(binding, &step);
}

/*----------
 * Rows and their jobs' marks together
 *----------
 */
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
	MarkOne(dirty, dirty->tries < MOST_LOST_TRIES, error, RowBackoffMs(dirty->tries));
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
	if (RunOneGuarded(FindHome, binding, dirty, &(RowOutcome){ROW_GONE}) == NULL && dirty->home)
	{
		if (!RekeyExchange(binding, dirty->vibelog_id, dirty->home, false))
			MarkOne(dirty, true, NULL, RowBackoffMs(0));
		return SYNC_LATER;
	}
	if (outcome == ROW_OTHER && IsOlderVersion(dirty))
	{
		dirty->bears_now = dirty->found;
		MarkOne(dirty, true, NULL, RowBackoffMs(0));
		return SYNC_LATER;
	}
	if (outcome == ROW_OTHER)
		MarkLost(dirty, "the row with its key does not bear what was written for this job: it is another row, or has been changed");
	else if (MayBeHidden(binding))
	{
		MarkOne(dirty, true, "the row does not exist, or row-level security hides it from the table's owner", RowBackoffMs(dirty->tries));
		return SYNC_FAILED;
	}
	else if (dirty->bears && strcmp(dirty->bears, BEARS_STATUS) == 0)
		MarkLost(dirty, "the row no longer exists, or its key was changed before it had a request id");
	else
		MarkOne(dirty, false, "the row no longer exists", 0);
	return SYNC_DONE;
}

static SyncResult
SyncFailed(const Binding *binding, DirtyJob *dirty, const char *error)
{
	ereport(LOG,
			(errmsg("vibevideo job %lld: could not write row \"%s\" of table %s: %s",
					(long long) dirty->job_id, WireShown(dirty->vibelog_id), binding->relation, error)));
	MarkOne(dirty, true, error, RowBackoffMs(dirty->tries));
	return SYNC_FAILED;
}

static void
MarkShown(const DirtyJob *dirty)
{
	int64 job_ids[] = {dirty->job_id, dirty->newest_id};

	MarkWritten(job_ids, lengthof(job_ids));
}

static SyncResult
SyncOne(const Binding *binding, DirtyJob *dirty)
{
	RowOutcome outcome = ROW_LOCKED;
	char *error = RunOneGuarded(WriteRow, binding, dirty, &outcome);

	if (error == left_to_worker)
	{
		MarkOne(dirty, true, NULL, 0);
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
			MarkOne(dirty, true, LockedError(binding, dirty), RowBackoffMs(0));
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
	return in_worker ? TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SYNC_BUDGET_MS) : 0;
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
		MarkWritten(clean, n);
}

/*
 * All in one subtransaction, unless the app's code raises an error; returns how
 * many are done, 0 if they must be written one by one.
 */
static int
SyncTogether(const Binding *binding, DirtyJob **dirty, int n, int *unwritten)
{
	RowStep step = {.each = WriteRow, .dirty = dirty, .n = n, .until = SyncUntil()};

	step.outcomes = palloc(sizeof(RowOutcome) * n);
	if (RunStepGuarded(binding, &step) != NULL)
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
AppRowWriteDirty(const Binding *binding, int max)
{
	int n;
	DirtyJob **dirty = FindDirty(binding, GetCurrentTimestamp(), max, &n);
	int nfresh = PutTriedLast(dirty, n);
	int unwritten = 0;
	bool well;

	lock_ms = ROW_LOCK_MS;
	if (in_worker && n > 0)
		DeferNothing();
	well = (nfresh == 0 || SyncTogether(binding, dirty, nfresh, &unwritten) > 0);
	/* a poll pass leaves what goes wrong to the worker */
	if (limit_time && !in_worker)
		return;
	if (!well)
		SyncOneByOne(binding, dirty, nfresh, &unwritten);
	SyncOneByOne(binding, dirty + nfresh, n - nfresh, &unwritten);
}

int
AppRowWriteMany(const Binding *binding, const int64 *job_ids, int n)
{
	int found;
	DirtyJob **dirty = FindDirtyMany(binding, job_ids, n, &found);
	int unwritten = 0;

	if (found < n)
		MarkElsewhere(binding, job_ids, n);
	if (found == 0 || SyncTogether(binding, dirty, found, &unwritten) > 0)
		return unwritten;
	/* the worker writes such rows in a separate transaction */
	if (limit_time)
		return MarkDirty(job_ids, n);
	SyncOneByOne(binding, dirty, found, &unwritten);
	return unwritten;
}

bool
AppRowWriteOne(const Binding *binding, int64 job_id)
{
	DirtyJob *dirty = FindDirtyOne(binding, job_id);
	SyncResult result = dirty ? SyncOne(binding, dirty) : SYNC_DONE;

	if (result == SYNC_FAILED)
		ereport(WARNING,
				(errmsg("could not write row \"%s\" yet", WireShown(dirty->vibelog_id)),
				 errdetail("The job itself is safe; the worker will write the row as soon as it can.")));
	return result == SYNC_DONE;
}

int
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
	return nmoved > 0 ? AppRowWriteMany(binding, moved, nmoved) : 0;
}

/*----------
 * Rows without a job
 *----------
 */
static Statement fail_rows;

static uint64
RunFail(const Binding *binding, Datum keys)
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

/* They have no job that a trigger's submit could be given: it may make one. */
uint64
AppRowFail(const Binding *binding, Datum keys)
{
	Writing rows = {writing, binding->relid, NULL, 0};
	uint64 n = 0;

	writing = &rows;
	PG_TRY();
	{
		n = RunFail(binding, keys);
	}
	PG_FINALLY();
	{
		writing = rows.outer;
	}
	PG_END_TRY();
	return n;
}
