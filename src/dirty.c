/*
 * dirty.c
 *	  Jobs whose rows are to be written: what each row should show, and the marks.
 *
 * The trigger job_changing sets row_dirty when something that the row shows has
 * changed: shown status, request id, video URL, error.  Whoever changed the job
 * writes the row (rowsync.c), and unmarks it.
 *
 * - The row shows its newest job.  A write that was postponed may be an older
 *	  attempt's by then (find_dirty): then only its video counts, if no newer
 *	  attempt has one.
 * - An error is noted in row_error, and row_next_at says when the row is tried
 *	  again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/datum.h"
#include "utils/timestamp.h"

#include "dirty.h"
#include "statement.h"

const Oid shown_types[SHOWN_COLUMNS] = {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, JSONBOID};

/* clang-format off */
/* looked up once a statement, so that no row pays for a column that the table has not */
#define HAS_META "(SELECT b.meta_column IS NOT NULL FROM vibevideo.binding b)"
/* of job j, with the values of job n: the row's newest, or j itself */
#define DIRTY_COLUMNS(n, bears) \
	"SELECT j.job_id, j.vibelog_id, vibevideo_internal.shown_status(" n ".state), " n ".request_id," \
	" COALESCE(CASE WHEN " n ".erased_at IS NULL THEN " n ".video_url END, CASE WHEN j.erased_at IS NULL THEN j.video_url END)," \
	" COALESCE(CASE WHEN " n ".state = 'completed' THEN " n ".completed_at END," \
	" CASE WHEN j.state = 'completed' THEN j.completed_at END)," \
	" CASE WHEN " n ".state = ANY (ARRAY['failed', 'submit_unknown']) THEN vibevideo_internal.shown_error(" n ") END," \
	" CASE WHEN " HAS_META " THEN COALESCE(CASE WHEN " n ".state = 'completed' THEN vibevideo_internal.video_meta(" n ") END," \
	" CASE WHEN j.state = 'completed' THEN vibevideo_internal.video_meta(j) END) END," \
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
	dirty->tries = (int) ResultInt(row, 9, 0);
	dirty->marked = ResultBool(row, 10);
	dirty->newest_id = ResultInt(row, 11, 0);
	dirty->bears = ResultText(row, 12);
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
/* clang-format off */
static Statement find_dirty = {
	DIRTY_COLUMNS("n", BEARS_NOW_OF("n"))
	" FROM (SELECT d.* FROM vibevideo.job d"
	" WHERE d.row_dirty AND d.row_next_at <= $1"
	/* IS TRUE keeps the planner from using the index on relation, which holds all jobs */
	" AND (d.relation = $3) IS TRUE"
	" ORDER BY d.row_next_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) j"
	" JOIN vibevideo.job n ON n.job_id = (SELECT max(k.job_id) FROM vibevideo.job k"
	" WHERE k.relation = j.relation AND k.vibelog_id = j.vibelog_id AND NOT k.orphan)"
	" FOR NO KEY UPDATE OF n SKIP LOCKED"};
/* clang-format on */

DirtyJob **
DirtyFind(const Binding *binding, TimestampTz now, int max, int *n)
{
	Args args = {0};

	ArgTime(&args, now);
	ArgInt4(&args, max);
	ArgRelation(&args, binding->relid);
	*n = (int) StatementRun(&find_dirty, &args);
	return ReadAllDirty(*n);
}

/* clang-format off */
#define OWN_COLUMNS DIRTY_COLUMNS("j", "COALESCE(j.row_bears, j.request_id, '" BEARS_STATUS "')")
/* clang-format on */

static Statement find_dirty_many = {
	OWN_COLUMNS " FROM vibevideo.job j WHERE j.job_id = ANY ($1) AND (j.relation = $2) IS TRUE AND NOT j.orphan"};

DirtyJob **
DirtyFindMany(const Binding *binding, const int64 *job_ids, int n, int *found)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	ArgRelation(&args, binding->relid);
	*found = (int) StatementRun(&find_dirty_many, &args);
	return ReadAllDirty(*found);
}

static Statement find_dirty_one = {
	OWN_COLUMNS " FROM vibevideo.job j WHERE j.job_id = $1 AND (j.relation = $2) IS TRUE AND NOT j.orphan FOR NO KEY UPDATE OF j"};

DirtyJob *
DirtyFindOne(const Binding *binding, int64 job_id)
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

void
DirtyMarkOne(const DirtyJob *dirty, bool still_dirty, const char *error, int64 wait_ms)
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

static Statement mark_written = {
	"UPDATE vibevideo.job j SET row_dirty = false, row_error = NULL, row_tries = 0, row_next_at = $2, row_bears = NULL"
	" WHERE j.job_id = ANY ($1)"};

void
DirtyMarkWritten(const int64 *job_ids, int n)
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

int
DirtyMarkMany(const int64 *job_ids, int n)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	ArgTime(&args, GetCurrentTimestamp());
	return (int) StatementRun(&mark_dirty, &args);
}

static Statement mark_elsewhere = {
	"UPDATE vibevideo.job j SET row_dirty = true WHERE j.job_id = ANY ($1)"
	" AND j.relation <> $2 AND NOT j.orphan"};

void
DirtyMarkElsewhere(const Binding *binding, const int64 *job_ids, int n)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	ArgRelation(&args, binding->relid);
	StatementRun(&mark_elsewhere, &args);
}
