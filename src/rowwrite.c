/*
 * rowwrite.c
 *	  Writes jobs into the app's rows.
 *
 * - A row that somebody has locked is never waited for.  Nothing is written if
 *	  nothing would change, so that subscribers see each state once.
 * - What is written must then be in the row: RETURNING tells, and where there are
 *	  triggers or rules a look afterwards.
 * - Only the job's own row is written: one that bears what row_bears says, or the
 *	  job's request id.
 * - video_url and video_generated_at are never cleared: a failed second attempt
 *	  leaves the first video.  Nor is the meta_column, if the table was attached
 *	  with one, which is written with them.
 *
 * The statements run as the table's owner (see approw.c), in rowguard.c's care.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "approw.h"
#include "identity.h"
#include "realtime.h"
#include "rowguard.h"
#include "rowwrite.h"
#include "statement.h"

#define ROWS_TOGETHER 500

/*
 * What is written into row t, and the condition that it differs: only a real
 * change updates a row, so that subscribers see each status once.
 */
/* clang-format off */
#define SET_ROW(status, request_id, url, generated_at, error) \
	" SET video_generation_status = " status ", video_request_id = " request_id "," \
	" video_url = COALESCE(" url ", t.video_url)," \
	" video_generated_at = COALESCE(" generated_at ", t.video_generated_at), video_generation_error = " error "%s"
/* IS DISTINCT FROM would look up its = along the search path */
#define DIFFERS(a, b) \
	"COALESCE(" a " OPERATOR(pg_catalog.<>) " b ", (" a " IS NULL) OPERATOR(pg_catalog.<>) (" b " IS NULL))"
#define ROW_DIFFERS(status, request_id, url, generated_at, error) \
	" AND (" DIFFERS("t.video_generation_status", status) " OR " DIFFERS("t.video_request_id", request_id) \
	" OR " DIFFERS("t.video_url", "COALESCE(" url ", t.video_url)") \
	" OR " DIFFERS("t.video_generated_at", "COALESCE(" generated_at ", t.video_generated_at)") \
	" OR " DIFFERS("t.video_generation_error", error) "%s)"

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
 * The names to fill in: table, what sets the meta_column, columns that are shown
 * afterwards, key, table, key, key, whether the meta_column differs, and what it
 * returns.  The statement itself locks the row, so it never waits for one.
 */
#define WRITE_ROW \
	"UPDATE %s t" SET_ROW("$2", "$3", "$4", "$5", "$6") \
	" FROM (SELECT %s k.%s AS key FROM %s k" \
	" WHERE k.%s OPERATOR(pg_catalog.=) $1 AND " ROW_MATCHES("k", "$8", "$3") " FOR NO KEY UPDATE SKIP LOCKED) l" \
	" WHERE t.%s OPERATOR(pg_catalog.=) l.key" ROW_DIFFERS("$2", "$3", "$4", "$5", "$6") "%s"
#define RETURNING_SHOWN \
	" RETURNING " ROW_SHOWS("$2", "$3", "$4", "$5", "$6", "l.url", "l.error")

/* The same; it returns the ordinal numbers of the rows it has changed, and whether they show it. */
#define WRITE_ROWS \
	"UPDATE %s t" SET_ROW("x.status", "x.request_id", "x.url", "x.generated_at", "x.error") \
	" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)," \
	" pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) WITH ORDINALITY" \
	" AS x(key, status, request_id, url, generated_at, error, meta, bears, nth)" \
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
	"SELECT " ROW_MATCHES("t", "$8", "$3") ", " ROW_SHOWS("$2", "$3", "$4", "$5", "$6", old_url, old_error) ", " BEARS("t") \
	" FROM %s t WHERE t.%s OPERATOR(pg_catalog.=) $1%s"
/* clang-format on */

/* the part of a statement that sets the meta_column; "" if the table has none */
static char *
SetMeta(const Binding *binding, const char *value)
{
	const char *column = binding->meta_column;

	return column ? psprintf(", %s = COALESCE(%s, t.%s)", column, value, column) : "";
}

static char *
MetaDiffers(const Binding *binding, const char *value)
{
	const char *column = binding->meta_column;

	return column ? psprintf(" OR " DIFFERS("t.%s", "COALESCE(%s, t.%s)"), column, value, column, column, value, column) : "";
}

static void
ArgsOfRow(const Binding *binding, const DirtyJob *dirty, Args *args)
{
	ArgDatum(args, binding->id_type, AppRowKeyDatum(binding, dirty->vibelog_id), false);
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
	return AppRowRun(binding, &look_at_row, look, dirty->vibelog_id) == 0 ? ROW_GONE : ROW_LOCKED;
}

static Statement write_row;

/* ROW_SAME: it was left alone */
static RowOutcome
RunWrite(const Binding *binding, DirtyJob *dirty)
{
	char *update = psprintf(WRITE_ROW, binding->relation, SetMeta(binding, "$7"), OLD_COLUMNS, binding->id_column, binding->relation,
							binding->id_column, binding->id_column, MetaDiffers(binding, "$7"),
							RowGuardHasRules() ? "" : RETURNING_SHOWN);
	Args args = {0};

	ArgsOfRow(binding, dirty, &args);
	if (StatementRunOnApp(&write_row, update, &args, 0) == 0)
		return ROW_SAME;
	if (RowGuardHasRules() || (ResultBool(0, 1) && RowGuardHasTriggers()))
		return LookAfterwards(binding, dirty);
	if (ResultBool(0, 1))
		return ROW_WRITTEN;
	return LookAfterwards(binding, dirty) == ROW_GONE ? ROW_GONE : ROW_UNSHOWN;
}

RowOutcome
RowWrite(const Binding *binding, DirtyJob *dirty)
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
		keys.values[i] = AppRowKeyDatum(binding, dirty[i]->vibelog_id);
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
	char *update = psprintf(WRITE_ROWS, binding->relation, SetMeta(binding, "x.meta"), RowGuardHasTriggers() ? OLD_COLUMNS : "",
							binding->id_column, binding->relation, binding->id_column, binding->id_column, MetaDiffers(binding, "x.meta"),
							RowGuardHasTriggers() ? ROWS_SHOWN : "true");
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
			outcomes[i] = RowWrite(binding, dirty[i]);
		else
			outcomes[i] = RowGuardHasTriggers() ? LookAfterwards(binding, dirty[i]) : ROW_WRITTEN;
}

RowOutcome
RowWriteFindHome(const Binding *binding, DirtyJob *dirty)
{
	char *home = dirty->nulls[1] ? NULL : AppRowReadHome(binding, TextDatumGetCString(dirty->values[1]));

	if (home == NULL && BearsRequest(dirty->bears))
		home = AppRowReadHome(binding, dirty->bears);
	if (home && strcmp(home, dirty->vibelog_id) != 0)
		dirty->home = MemoryContextStrdup(GetMemoryChunkContext(dirty), home);
	return dirty->home ? ROW_OTHER : ROW_GONE;
}

RowOutcome
RowWriteBroadcast(const Binding *binding, DirtyJob *dirty)
{
	RealtimeSend(dirty->vibelog_id, TextDatumGetCString(dirty->values[0]),
				 dirty->nulls[1] ? NULL : TextDatumGetCString(dirty->values[1]));
	return ROW_WRITTEN;
}

/*----------
 * Under guard: the app's code runs here
 *----------
 */
static void
RunStep(const Binding *binding, void *arg)
{
	RowStep *step = arg;
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext mcxt = AllocSetContextCreate(outer, "vibevideo row", ALLOCSET_DEFAULT_SIZES);
	bool together = (step->each == RowWrite && step->n > 1 && !RowGuardHasRules());

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

static const char *const *
KeysOf(const RowStep *step)
{
	const char **keys = palloc(sizeof(char *) * (step->n + 1));

	for (int i = 0; i < step->n; i++)
		keys[i] = step->dirty[i]->vibelog_id;
	return keys;
}

char *
RowWriteStep(const Binding *binding, RowStep *step)
{
	return RowGuardRun(binding, KeysOf(step), step->n, RunStep, step);
}

char *
RowWriteOne(RowOutcome (*each)(const Binding *, DirtyJob *), const Binding *binding, DirtyJob *dirty,
			RowOutcome *outcome)
{
	RowStep step = {.each = each, .dirty = &dirty, .n = 1, .outcomes = outcome};

	return RowWriteStep(binding, &step);
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
						 " video_generation_error = 'Nothing was being done for this video; it can be requested again'"
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
RowWriteFailed(const Binding *binding, Datum keys)
{
	return RowGuardAnnounce(binding, RunFail, keys);
}
