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
#include "rollup.h"
#include "state.h"
#include "statement.h"
#include "version.h"

PG_FUNCTION_INFO_V1(vibevideo_job_changing);
PG_FUNCTION_INFO_V1(vibevideo_job_changed);

#define MAX_NOTIFIED_ID 256 /* a payload must stay below 8000 bytes; a key has at most 512 */
#define FULL_QUEUE 0.9		/* beyond it: a queue that is full, because a listener does not read, makes commits fail */

/*----------
 * Reading a row
 *----------
 */
typedef struct Row
{
	TupleDesc desc;
	HeapTuple tuple;
} Row;

static Datum
Column(Row row, const char *name, bool *isnull)
{
	int number = SPI_fnumber(row.desc, name);

	if (number <= 0)
	{
		/* most likely the table has another version */
		VersionCheck();
		elog(ERROR, "vibevideo: table vibevideo.job has no column \"%s\"", name);
	}
	return heap_getattr(row.tuple, number, row.desc, isnull);
}

/* NULL if it is null */
static char *
TextColumn(Row row, const char *name)
{
	bool isnull;
	Datum value = Column(row, name, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static bool
IsTrue(Row row, const char *name)
{
	bool isnull;
	Datum value = Column(row, name, &isnull);

	return !isnull && DatumGetBool(value);
}

static int64
NumberColumn(Row row, const char *name)
{
	bool isnull;
	Datum value = Column(row, name, &isnull);

	if (isnull)
		return 0;
	return SPI_gettypeid(row.desc, SPI_fnumber(row.desc, name)) == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value);
}

static bool
TextDiffers(Row a, Row b, const char *name)
{
	char *a_text = TextColumn(a, name);
	char *b_text = TextColumn(b, name);

	if (a_text == NULL || b_text == NULL)
		return a_text != b_text;
	return strcmp(a_text, b_text) != 0;
}

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
	return !IsTrue(row, "unsettled");
}

/* created by this transaction, not copied in by a restore */
static bool
IsNew(Row row)
{
	return NumberColumn(row, "created_at") == GetCurrentTransactionStartTimestamp();
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
		(void) Column(old, "media_url", &no_media);
		return !no_media;
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
	char *from = TextColumn(old, "state");
	char *to = TextColumn(new, "state");
	char *detail = TextColumn(new, "error");

	if (to == NULL || strcmp(from, to) == 0)
		return;
	if (!MayMove(old, from, to))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("vibevideo job %lld cannot go from state \"%s\" to \"%s\"", (long long) NumberColumn(old, "job_id"), from, to)));
	WriteEvent(NumberColumn(new, "job_id"), to, TextColumn(new, "error_code"),
			   detail ? detail : TextColumn(new, "request_id"));
}

static bool
IsWrittenByCaller(Row new)
{
	bool isnull;
	Datum at = Column(new, "row_next_at", &isnull);

	return !isnull && TIMESTAMP_IS_NOEND(DatumGetTimestampTz(at));
}

/* Has anything changed that the app's row shows?  Most states share a status, but a lost submit has its own message. */
static bool
RowDiffers(Row old, Row new)
{
	char *from = TextColumn(old, "state");
	char *to = TextColumn(new, "state");

	if (to && strcmp(from, to) != 0 &&
		(strcmp(StateShown(from), StateShown(to)) != 0 || strcmp(from, "submit_unknown") == 0 ||
		 strcmp(to, "submit_unknown") == 0))
		return true;
	return TextDiffers(old, new, "request_id") || TextDiffers(old, new, "video_url") || TextDiffers(old, new, "error") ||
		TextDiffers(old, new, "error_code") || TextDiffers(old, new, "objection");
}

/* A row that is lost has left a word about that (rekey.c). */
static bool
HasLostRow(Row row)
{
	bool has_no_relation;

	(void) Column(row, "relation", &has_no_relation);
	return has_no_relation && TextColumn(row, "row_error") != NULL;
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
	char *bears = TextColumn(old, "row_bears");
	char *request_id;

	/* it was never written: whoever gives it a row says what that bears */
	if (IsTrue(old, "orphan"))
		return TextColumn(new, "row_bears");
	if (IsTrue(old, "row_dirty") || IsNew(old) || (bears && strcmp(bears, BEARS_UNKNOWN) == 0))
		return bears;
	request_id = TextColumn(old, "request_id");
	/* null is what the job says, as long as it still says that, and takes no room */
	if (request_id && !TextDiffers(old, new, "request_id"))
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
	Datum values[] = {BoolGetDatum(!IsTrue(new, "orphan") && !HasLostRow(new) && !IsWrittenByCaller(new)), Int32GetDatum(0),
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
	char *state = TextColumn(new, "state");
	bool settled = (state && StateIsFinal(state));
	Datum unsettled = BoolGetDatum(true);

	if (settled == IsSettled(new))
		return new.tuple;
	return heap_modify_tuple_by_cols(new.tuple, new.desc, 1, &column, &unsettled, &settled);
}

static Statement read_price = {
	"SELECT vibevideo_internal.most_cost($1, $2, $3)"};

/* A job costs what its model costs for that input at the time when it was made; null if that is not known. */
static HeapTuple
NotePrice(Row new)
{
	int column = SPI_fnumber(new.desc, "cost_usd");
	char *model = TextColumn(new, "model");
	bool has_input;
	bool isnull;
	Datum input = Column(new, "input", &isnull);
	Args args = {0};
	Datum price;

	has_input = !isnull;
	(void) Column(new, "cost_usd", &isnull);
	/* without a model or an input the insert fails, but only after this trigger */
	if (!isnull || model == NULL || !has_input)
		return new.tuple;
	ArgText(&args, model);
	ArgDatum(&args, JSONBOID, input, false);
	ArgTime(&args, NumberColumn(new, "created_at"));
	StatementRun(&read_price, &args);
	price = ResultDatum(0, 1, &isnull);
	return heap_modify_tuple_by_cols(new.tuple, new.desc, 1, &column, &price, &isnull);
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
		;
	else if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		new.tuple = NotePrice(new);
	else
	{
		CheckMove(old, new);
		if (RowDiffers(old, new) || IsWrittenByCaller(new))
			new.tuple = MarkRow(old, new);
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

static Statement find_limit = {
	"SELECT 1 FROM vibevideo.limit l LIMIT 1"};

static bool
HasLimits(void)
{
	return StatementRun(&find_limit, NULL) > 0;
}

/* The row as an argument; the OID of its type is not fixed. */
static void
ArgJob(Args *args, Row row)
{
	Oid type = get_rel_type_id(get_relname_relid("job", get_namespace_oid("vibevideo", false)));

	ArgDatum(args, type, heap_copy_tuple_as_datum(row.tuple, row.desc), false);
}

static Statement take_share = {
	"SELECT vibevideo_internal.take_share($1)"};

/* ERROR if that would exceed a limit */
static void
CountAgainstLimits(Row job)
{
	Args args = {0};

	ArgJob(&args, job);
	StatementRun(&take_share, &args);
}

static Statement release_share = {
	"SELECT vibevideo_internal.release($1)"};

static void
ReleaseFromLimits(Row job)
{
	Args args = {0};

	ArgJob(&args, job);
	StatementRun(&release_share, &args);
}

static JobCosts
CostsOf(Row row)
{
	bool isnull;
	Datum usd = Column(row, "cost_usd", &isnull);

	return (JobCosts){.user = TextColumn(row, "requested_by"),
					  .created_at = NumberColumn(row, "created_at"),
					  .model = TextColumn(row, "model"),
					  .orphan = IsTrue(row, "orphan"),
					  .billed = IsTrue(row, "billed"),
					  .usd = usd,
					  .has_usd = !isnull};
}

static bool
CostsDiffer(Row a, Row b)
{
	JobCosts of_a = CostsOf(a);
	JobCosts of_b = CostsOf(b);

	if (TextDiffers(a, b, "requested_by") || TextDiffers(a, b, "model") || of_a.created_at != of_b.created_at ||
		of_a.orphan != of_b.orphan || of_a.billed != of_b.billed || of_a.has_usd != of_b.has_usd)
		return true;
	return of_a.has_usd && !DatumGetBool(DirectFunctionCall2(numeric_eq, of_a.usd, of_b.usd));
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
	char *request_id = TextColumn(new, "request_id");

	if (!vv_notify || DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)) >= FULL_QUEUE)
		return;
	initStringInfo(&payload);
	appendStringInfoString(&payload, "{\"vibelog_id\" : ");
	escape_json(&payload, TextColumn(new, "vibelog_id"));
	appendStringInfoString(&payload, ", \"status\" : ");
	escape_json(&payload, StateShown(TextColumn(new, "state")));
	appendStringInfoString(&payload, ", \"request_id\" : ");
	if (request_id)
	{
		request_id[pg_mbcliplen(request_id, strlen(request_id), MAX_NOTIFIED_ID)] = '\0';
		escape_json(&payload, request_id);
	}
	else
		appendStringInfoString(&payload, "null");
	appendStringInfo(&payload, ", \"attempt\" : %d}", (int) NumberColumn(new, "attempt"));
	Async_Notify("vibevideo", payload.data);
}

/*----------
 * Counts
 *----------
 */
static bool
Has(Row row, const char *name)
{
	bool isnull;

	(void) Column(row, name, &isnull);
	return !isnull;
}

/* negative if either is not known; a clock that was set back makes it 0 */
static int64
MsBetween(Row row, const char *from, const char *to)
{
	bool no_from;
	bool no_to;
	Datum begin = Column(row, from, &no_from);
	Datum end = Column(row, to, &no_to);

	if (no_from || no_to)
		return -1;
	return Max(0, (DatumGetTimestampTz(end) - DatumGetTimestampTz(begin)) / 1000);
}

static RollupStep
StepOf(Row row, const char *outcome)
{
	return RollupStepOf(outcome, TextColumn(row, "model"), IsTrue(row, "orphan"));
}

static void
AddCost(RollupStep *step, Row row)
{
	bool isnull;

	step->usd = Column(row, "cost_usd", &isnull);
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
CountEnd(Row new, const char *state)
{
	RollupStep step = StepOf(new, state);

	if (strcmp(state, "completed") == 0)
	{
		/* with storage_kind none nothing is copied */
		if (Has(new, "bytes_done"))
		{
			step.ms = MsBetween(new, "generated_at", "completed_at");
			step.bytes = NumberColumn(new, "bytes_done");
		}
		step.total_ms = MsBetween(new, "created_at", "completed_at");
	}
	else if (!Has(new, "media_url"))
		AddCost(&step, new);
	if (strcmp(state, "failed") == 0)
		step.error_code = TextColumn(new, "error_code");
	RollupNote(&step);
}

/* The steps that a job has taken; old is NULL if it did not exist before. */
static void
CountSteps(const Row *old, Row new)
{
	char *state = TextColumn(new, "state");

	if (Has(new, "submitted_at") && !(old && Has(*old, "submitted_at")))
		CountAccepted(new);
	if (Has(new, "media_url") && !(old && Has(*old, "media_url")))
		CountRendered(new);
	if (StateIsFinal(state))
		CountEnd(new, state);
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
	char *state = TextColumn(new, "state");

	/* jobs restored from a dump are not new; orphans are counted, and take their share, when they are settled */
	if (IsTrue(new, "orphan") || !IsNew(new))
		return;
	CountNew(new);
	if (StateRank(state) == StateRank("pending") && HasLimits())
		CountAgainstLimits(new);
	/* a call that sends the job itself notifies once it has the request's id */
	if (strcmp(state, "submitting") != 0)
		NotifyListeners(new);
}

static void
AfterUpdate(Row old, Row new)
{
	char *from = TextColumn(old, "state");
	char *to = TextColumn(new, "state");

	SettleCosts(old, new);
	if (strcmp(from, to) == 0)
		return;
	CountSteps(&old, new);
	if (StateIsFinal(to) && HasLimits())
		ReleaseFromLimits(new);
	if (IsTrue(new, "orphan"))
		return;
	if (strcmp(StateShown(from), StateShown(to)) != 0 || (strcmp(from, "submitting") == 0 && IsNew(old)))
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
