/*
 * costs.c
 *	  What jobs have cost, by user and day.
 *
 * How costs are kept is said in sql/costs.sql; the trigger of vibevideo.job
 * notes them (guard.c), the worker adds them up.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "costs.h"
#include "state.h"
#include "statement.h"

static Statement note_costs = {
	"INSERT INTO vibevideo_internal.new_costs (user_id, day, model, submits, videos, settled_usd, tenant)"
	" VALUES (COALESCE($1, ''), ($2 AT TIME ZONE 'UTC')::date, $3, $4, $5, COALESCE($6 * $5, 0), COALESCE($7, ''))"};

static void
Note(const JobCosts *costs, int sign)
{
	Args args = {0};

	ArgText(&args, costs->user);
	ArgTime(&args, costs->created_at);
	ArgText(&args, costs->model);
	ArgInt8(&args, costs->orphan ? 0 : sign);
	ArgInt8(&args, costs->billed ? sign : 0);
	ArgDatum(&args, NUMERICOID, costs->usd, !(costs->billed && costs->has_usd));
	ArgText(&args, costs->tenant);
	StatementRun(&note_costs, &args);
}

void
CostsNote(const JobCosts *costs)
{
	Note(costs, 1);
}

void
CostsTakeBack(const JobCosts *costs)
{
	Note(costs, -1);
}

/*----------
 * The worker's part
 *----------
 */

/* To update them is enough: the trigger does the rest. */
static Statement settle = {
	"UPDATE vibevideo.job j SET unsettled = NULL WHERE j.job_id = ANY (ARRAY("
	"SELECT u.job_id FROM vibevideo.job u WHERE u.unsettled AND u.state = ANY (" FINAL_STATES ")"
	" ORDER BY u.job_id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED))"};

int64
CostsSettle(int max)
{
	Args args = {0};

	ArgInt4(&args, max);
	return (int64) StatementRun(&settle, &args);
}

static Statement release_held = {
	"SELECT vibevideo_internal.release_held($1)"};

int64
CostsRelease(int max)
{
	return StatementRunBounded(&release_held, max);
}

static Statement add_costs = {
	"SELECT vibevideo_internal.add_costs($1)"};

int64
CostsAdd(int max)
{
	return StatementRunBounded(&add_costs, max);
}
