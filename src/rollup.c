/*
 * rollup.c
 *	  Counts of what became of jobs, which outlive them.
 *
 * What is counted, and why by an insert each, is said in sql/rollup.sql.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "rollup.h"
#include "statement.h"

RollupStep
RollupStepOf(const char *outcome, const char *model, bool orphan)
{
	return (RollupStep){.outcome = outcome, .model = model, .orphan = orphan, .ms = -1, .total_ms = -1, .bytes = -1};
}

static Statement note_step = {
	"INSERT INTO vibevideo_internal.tally (outcome, model, orphan, error_code, ms, total_ms, bytes, usd)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"};

static void
ArgCount(Args *args, int64 count)
{
	ArgDatum(args, INT8OID, Int64GetDatum(count), count < 0);
}

void
RollupNote(const RollupStep *step)
{
	Args args = {0};

	ArgText(&args, step->outcome);
	ArgText(&args, step->model);
	ArgBool(&args, step->orphan);
	ArgText(&args, step->error_code);
	ArgCount(&args, step->ms);
	ArgCount(&args, step->total_ms);
	ArgCount(&args, step->bytes);
	ArgDatum(&args, NUMERICOID, step->usd, !step->has_usd);
	StatementRun(&note_step, &args);
}

/*----------
 * The worker's part
 *----------
 */
static Statement fold_tallies = {
	"SELECT vibevideo_internal.fold_tallies($1)"};

int64
RollupFold(int max)
{
	return StatementRunBounded(&fold_tallies, max);
}

static Statement thin_rollup = {
	"SELECT vibevideo_internal.thin_rollup($1)"};

int64
RollupThin(int max)
{
	return StatementRunBounded(&thin_rollup, max);
}

static Statement sample_backlog = {
	"SELECT vibevideo_internal.sample_backlog()"};

void
RollupSample(void)
{
	StatementRun(&sample_backlog, NULL);
}

static Statement refresh_typical = {
	"SELECT vibevideo_internal.refresh_typical()"};

void
RollupRefresh(void)
{
	StatementRun(&refresh_typical, NULL);
}
