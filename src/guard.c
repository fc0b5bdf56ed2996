/*
 * guard.c
 *	  The triggers of vibevideo.job.
 *
 * They are in C because they run at every step of every job: the checks cost
 * less than starting a procedural language would.  They hold for everybody who
 * writes to the table, our statements and the operator's alike.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "costs.h"
#include "guc.h"
#include "job.h"
#include "ownerror.h"
#include "price.h"
#include "rollup.h"
#include "state.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(vibevideo_job_changing);
PG_FUNCTION_INFO_V1(vibevideo_job_changed);

#define MAX_NOTIFIED_ID 256 /* a payload must stay below 8000 bytes; a key has at most 512 */
#define FULL_QUEUE 0.9		/* beyond it: a queue that is full, because a listener does not read, makes commits fail */

/*
 * A change that replication brings has been checked, counted and told where it
 * was made.  The triggers fire in an apply worker all the same, since what the
 * app's own triggers do there is ours to guard.
 */
static bool
ComesFromElsewhere(void)
{
	return replorigin_session_origin != InvalidRepOriginId && !InLocalUserIdChange();
}

/* its costs are noted */
static bool
IsSettled(Row row)
{
	return !RowIsTrue(row, "unsettled");
}

/*----------
 * Before: the state machine, the history, the mark that the app's row is to be written
 *----------
 */
static bool
MayMove(Row old, const char *from, const char *to)
{
	bool no_media;

	/* a rendered video may be copied again: that costs nothing */
	if (strcmp(from, "failed") == 0 && strcmp(to, "processing") == 0)
	{
		(void) RowColumn(old, "media_url", &no_media);
		return !no_media && !RowHas(old, "erased_at");
	}
	/* an operator may decide to resend a lost submit */
	if (strcmp(from, "submit_unknown") == 0 && strcmp(to, "pending") == 0)
		return true;
	return !StateIsFinal(from) && StateRank(to) >= StateRank(from);
}

static Statement write_event = {
	"INSERT INTO vibevideo.event (job_id, state, error_code, detail) VALUES ($1, $2, $3, $4)"};

static void
WriteEvent(int64 job_id, const char *state, const char *error_code, const char *detail)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	ArgText(&args, state);
	ArgText(&args, error_code);
	ArgText(&args, detail);
	StatementRun(&write_event, &args);
}

static void
CheckMove(Row old, Row new)
{
	char *from = RowText(old, "state");
	char *to = RowText(new, "state");
	char *detail = RowText(new, "error");

	if (to == NULL || strcmp(from, to) == 0)
		return;
	if (!MayMove(old, from, to))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("vibevideo job %lld cannot go from state \"%s\" to \"%s\"", (long long) RowNumber(old, "job_id"), from, to)));
	WriteEvent(RowNumber(new, "job_id"), to, RowText(new, "error_code"),
			   detail ? detail : RowText(new, "request_id"));
}

static bool
IsWrittenByCaller(Row new)
{
	bool isnull;
	Datum at = RowColumn(new, "row_next_at", &isnull);

	return !isnull && TIMESTAMP_IS_NOEND(DatumGetTimestampTz(at));
}

/* Has anything changed that the app's row shows?  Most states share a status, but a lost submit has its own message. */
static bool
RowDiffers(Row old, Row new)
{
	char *from = RowText(old, "state");
	char *to = RowText(new, "state");

	if (to && strcmp(from, to) != 0 &&
		(strcmp(StateShown(from), StateShown(to)) != 0 || strcmp(from, "submit_unknown") == 0 ||
		 strcmp(to, "submit_unknown") == 0))
		return true;
	return RowTextDiffers(old, new, "request_id") || RowTextDiffers(old, new, "video_url") || RowTextDiffers(old, new, "error") ||
		RowTextDiffers(old, new, "error_code") || RowTextDiffers(old, new, "objection");
}

/* A row that is lost has left a word about that (rekey.c). */
static bool
HasLostRow(Row row)
{
	bool has_no_relation;

	(void) RowColumn(row, "relation", &has_no_relation);
	return has_no_relation && RowText(row, "row_error") != NULL;
}

/*
 * What the row bears before it is written anew: what the job was, if the row
 * shows that.  While it does not, what it bore before stays, as it does for a
 * job that this transaction has made and not yet written into the row, or if
 * nothing is known of the row.
 */
static char *
RowBears(Row old, Row new)
{
	char *bears = RowText(old, "row_bears");
	char *request_id;

	/* it was never written: whoever gives it a row says what that bears */
	if (RowIsTrue(old, "orphan"))
		return RowText(new, "row_bears");
	if (RowIsTrue(old, "row_dirty") || RowIsNew(old) || (bears && strcmp(bears, BEARS_UNKNOWN) == 0))
		return bears;
	request_id = RowText(old, "request_id");
	/* null is what the job says, as long as it still says that, and takes no room */
	if (request_id && !RowTextDiffers(old, new, "request_id"))
		return NULL;
	return request_id ? request_id : BEARS_STATUS;
}

/*
 * Whoever changes the job and writes the row in the same transaction says so by
 * infinity.  An orphan's is not written, nor is that of a job without a row.
 */
static HeapTuple
MarkRow(Row old, Row new)
{
	int columns[] = {SPI_fnumber(new.desc, "row_dirty"), SPI_fnumber(new.desc, "row_tries"),
					 SPI_fnumber(new.desc, "row_next_at"), SPI_fnumber(new.desc, "updated_at"),
					 SPI_fnumber(new.desc, "row_bears")};
	char *bears = RowBears(old, new);
	Datum values[] = {BoolGetDatum(!RowIsTrue(new, "orphan") && !HasLostRow(new) && !IsWrittenByCaller(new)), Int32GetDatum(0),
					  TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()),
					  TimestampTzGetDatum(GetCurrentTimestamp()), bears ? CStringGetTextDatum(bears) : (Datum) 0};
	bool nulls[] = {false, false, false, false, bears == NULL};

	return heap_modify_tuple_by_cols(new.tuple, new.desc, lengthof(columns), columns, values, nulls);
}

/* The costs of what has ended are noted: SettleCosts does that. */
static HeapTuple
MarkSettled(Row new)
{
	int column = SPI_fnumber(new.desc, "unsettled");
	bool settled = RowIsFinal(new);
	Datum unsettled = BoolGetDatum(true);

	if (settled == IsSettled(new))
		return new.tuple;
	return heap_modify_tuple_by_cols(new.tuple, new.desc, 1, &column, &unsettled, &settled);
}

static TriggerData *
ReadTrigger(FunctionCallInfo fcinfo, Row *old, Row *new)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ||
		strcmp(RelationGetRelationName(trigger->tg_relation), "job") != 0)
		elog(ERROR, "vibevideo: not called as a trigger of vibevideo.job");
	old->desc = new->desc = RelationGetDescr(trigger->tg_relation);
	old->tuple = trigger->tg_trigtuple;
	new->tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	StatementConnect();
	return trigger;
}

Datum
vibevideo_job_changing(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Row old;
	Row new;
	TriggerData *trigger = ReadTrigger(fcinfo, &old, &new);
	HeapTuple given = new.tuple;
	HeapTuple result;

	if (ComesFromElsewhere())
	{
		/* in version 0.1.0 it was a generated column, which is not replicated */
		if (!RowHas(new, "billed"))
			new.tuple = PriceMarkBilled(new);
	}
	else if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		new.tuple = PriceNew(new);
	else
	{
		CheckMove(old, new);
		if (RowDiffers(old, new) || IsWrittenByCaller(new))
			new.tuple = MarkRow(old, new);
		new.tuple = PriceSettle(old, new);
		new.tuple = MarkSettled(new);
	}
	result = new.tuple;
	if (result != given)
	{
		/* it is in SPI's memory */
		MemoryContextSwitchTo(caller);
		result = heap_copytuple(result);
	}
	SPI_finish();
	return PointerGetDatum(result);
}

/*----------
 * After: limits, costs, counts and notifications
 *----------
 */

static JobCosts
CostsOf(Row row)
{
	bool isnull;
	Datum usd = RowColumn(row, "cost_usd", &isnull);

	return (JobCosts){.user = RowText(row, "requested_by"),
					  .tenant = RowText(row, "tenant"),
					  .created_at = RowNumber(row, "created_at"),
					  .model = RowText(row, "model"),
					  .orphan = RowIsTrue(row, "orphan"),
					  .billed = RowIsTrue(row, "billed"),
					  .usd = usd,
					  .has_usd = !isnull};
}

static bool
CostsDiffer(Row a, Row b)
{
	return RowTextDiffers(a, b, "requested_by") || RowTextDiffers(a, b, "tenant") || RowTextDiffers(a, b, "model") ||
		RowNumber(a, "created_at") != RowNumber(b, "created_at") || RowIsTrue(a, "orphan") != RowIsTrue(b, "orphan") ||
		RowIsTrue(a, "billed") != RowIsTrue(b, "billed") || RowAmountDiffers(a, b, "cost_usd");
}

/* Notes what a job that has ended has cost, and takes back what was noted before. */
static void
SettleCosts(Row old, Row new)
{
	JobCosts costs;

	if (IsSettled(old) && IsSettled(new) && !CostsDiffer(old, new))
		return;
	if (IsSettled(old))
	{
		costs = CostsOf(old);
		CostsTakeBack(&costs);
	}
	if (IsSettled(new))
	{
		costs = CostsOf(new);
		CostsNote(&costs);
	}
}

/* Listeners on channel vibevideo are notified of each status once, when it is committed. */
static void
NotifyListeners(Row new)
{
	StringInfoData payload;
	char *request_id = RowText(new, "request_id");

	if (!vv_notify || DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)) >= FULL_QUEUE)
		return;
	initStringInfo(&payload);
	appendStringInfoString(&payload, "{\"vibelog_id\" : ");
	escape_json(&payload, RowText(new, "vibelog_id"));
	appendStringInfoString(&payload, ", \"status\" : ");
	escape_json(&payload, StateShown(RowText(new, "state")));
	appendStringInfoString(&payload, ", \"request_id\" : ");
	if (request_id)
	{
		request_id[pg_mbcliplen(request_id, strlen(request_id), MAX_NOTIFIED_ID)] = '\0';
		escape_json(&payload, request_id);
	}
	else
		appendStringInfoString(&payload, "null");
	appendStringInfo(&payload, ", \"attempt\" : %d}", (int) RowNumber(new, "attempt"));
	Async_Notify("vibevideo", payload.data);
}

/*----------
 * Counts
 *----------
 */
/* negative if either is not known; a clock that was set back makes it 0 */
static int64
MsBetween(Row row, const char *from, const char *to)
{
	bool no_from;
	bool no_to;
	Datum begin = RowColumn(row, from, &no_from);
	Datum end = RowColumn(row, to, &no_to);

	if (no_from || no_to)
		return -1;
	return Max(0, (DatumGetTimestampTz(end) - DatumGetTimestampTz(begin)) / 1000);
}

static RollupStep
StepOf(Row row, const char *outcome)
{
	return RollupStepOf(outcome, RowText(row, "model"), RowIsTrue(row, "orphan"));
}

static void
AddCost(RollupStep *step, Row row)
{
	bool isnull;

	step->usd = RowColumn(row, "cost_usd", &isnull);
	step->has_usd = !isnull;
}

static void
CountAccepted(Row new)
{
	RollupStep step = StepOf(new, "accepted");

	step.ms = MsBetween(new, "created_at", "submitted_at");
	RollupNote(&step);
}

static void
CountRendered(Row new)
{
	RollupStep step = StepOf(new, "rendered");

	step.ms = MsBetween(new, "submitted_at", "generated_at");
	AddCost(&step, new);
	RollupNote(&step);
}

static void
CountLess(Row new)
{
	RollupStep step = StepOf(new, "delivered_less");

	if (RowHas(new, "delivered_less"))
		RollupNote(&step);
}

/* old is NULL if it did not exist before: then nothing of it was reserved */
static void
CountEnd(const Row *old, Row new, const char *state)
{
	RollupStep step = StepOf(new, state);

	if (strcmp(state, "completed") == 0)
	{
		/* with storage_kind none nothing is copied */
		if (RowHas(new, "bytes_done"))
		{
			step.ms = MsBetween(new, "generated_at", "completed_at");
			step.bytes = RowNumber(new, "bytes_done");
		}
		step.total_ms = MsBetween(new, "created_at", "completed_at");
		CountLess(new);
	}
	else if (old && !RowIsTrue(new, "billed"))
		AddCost(&step, *old);
	if (strcmp(state, "failed") == 0)
		step.error_code = RowText(new, "error_code");
	RollupNote(&step);
}

/* The steps that a job has taken; old is NULL if it did not exist before. */
static void
CountSteps(const Row *old, Row new)
{
	char *state = RowText(new, "state");

	if (RowHas(new, "submitted_at") && !(old && RowHas(*old, "submitted_at")))
		CountAccepted(new);
	if (RowHas(new, "media_url") && !(old && RowHas(*old, "media_url")))
		CountRendered(new);
	if (StateIsFinal(state))
		CountEnd(old, new, state);
}

static Statement erase_older = {
	"SELECT vibevideo_internal.erase_older($1, $2)"};

/* What the row's older videos come to, now that there is another one. */
static void
EraseOlder(Row new)
{
	bool isnull;
	Datum relation = RowColumn(new, "relation", &isnull);
	Args args = {0};

	if (isnull)
		return;
	ArgDatum(&args, REGCLASSOID, relation, false);
	ArgText(&args, RowText(new, "vibelog_id"));
	StatementRun(&erase_older, &args);
}

static void
CountNew(Row new)
{
	RollupStep step = StepOf(new, "submitted");

	RollupNote(&step);
	CountSteps(NULL, new);
}

static void
AfterInsert(Row new)
{
	char *state = RowText(new, "state");

	/* jobs restored from a dump are not new; orphans are counted, and take their share, when they are settled */
	if (RowIsTrue(new, "orphan") || !RowIsNew(new))
		return;
	CountNew(new);
	if (StateRank(state) == StateRank("pending"))
		PriceTakeShare(new);
	/* a call that sends the job itself notifies once it has the request's id */
	if (strcmp(state, "submitting") != 0)
		NotifyListeners(new);
}

static void
AfterUpdate(Row old, Row new)
{
	char *from = RowText(old, "state");
	char *to = RowText(new, "state");

	SettleCosts(old, new);
	PriceFollow(old, new);
	if (strcmp(from, to) == 0)
		return;
	CountSteps(&old, new);
	if (RowIsTrue(new, "orphan"))
		return;
	if (strcmp(to, "completed") == 0)
		EraseOlder(new);
	if (strcmp(StateShown(from), StateShown(to)) != 0 || (strcmp(from, "submitting") == 0 && RowIsNew(old)))
		NotifyListeners(new);
}

Datum
vibevideo_job_changed(PG_FUNCTION_ARGS)
{
	Row old;
	Row new;
	TriggerData *trigger = ReadTrigger(fcinfo, &old, &new);

	if (ComesFromElsewhere())
		;
	else if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		AfterInsert(new);
	else
		AfterUpdate(old, new);
	SPI_finish();
	return PointerGetDatum(NULL);
}
