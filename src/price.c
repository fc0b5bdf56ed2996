/*
 * price.c
 *	  What a job costs, as its triggers keep it.
 *
 * A job costs what its model costs for its input at the time when it was made.
 * That is the most that it can cost, which is reserved.  What it has cost is
 * settled when fal says what it bills, when its video's duration is known, and
 * when it ends (settled_cost in sql/prices.sql); fal's bill may correct it still
 * later.  The limits (sql/limits.sql) and the rollup follow.  Until then budgets
 * hold what fal may yet bill for a job that has ended (held_usd).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "price.h"
#include "rollup.h"
#include "statement.h"

/*----------
 * Amounts
 *----------
 */
static Datum
Zero(void)
{
	return NumericGetDatum(int64_to_numeric(0));
}

/* 0 if it is null */
static Datum
Amount(Row row, const char *name)
{
	bool isnull;
	Datum value = RowColumn(row, name, &isnull);

	return isnull ? Zero() : value;
}

static bool
IsPositive(Datum amount)
{
	return DatumGetBool(DirectFunctionCall2(numeric_gt, amount, Zero()));
}

/*----------
 * Before
 *----------
 */

static bool
HasBill(Row row)
{
	char *source = RowText(row, "cost_source");

	return source && strcmp(source, "bill") == 0;
}

/* fal has made the video, or says that it bills something without one. */
static bool
IsBilled(Row row)
{
	return RowHas(row, "media_url") || IsPositive(Amount(row, HasBill(row) ? "cost_usd" : "billable_units"));
}

static HeapTuple
Set(Row row, const char *name, Datum value, bool isnull)
{
	int column = SPI_fnumber(row.desc, name);

	return heap_modify_tuple_by_cols(row.tuple, row.desc, 1, &column, &value, &isnull);
}

/* Nothing is held but for what has ended, is not billed, and of which no bill has spoken. */
static HeapTuple
KeepHeld(Row row)
{
	if (RowHas(row, "held_usd") && (!RowIsFinal(row) || IsBilled(row) || HasBill(row)))
		return Set(row, "held_usd", (Datum) 0, true);
	return row.tuple;
}

HeapTuple
PriceMarkBilled(Row row)
{
	bool billed = IsBilled(row);

	if (RowHas(row, "billed") && RowIsTrue(row, "billed") == billed)
		return row.tuple;
	return Set(row, "billed", BoolGetDatum(billed), false);
}

static Statement read_price = {
	"SELECT vibevideo_internal.most_cost($1, $2, $3)"};

/* null if that is not known */
static HeapTuple
NotePrice(Row new)
{
	char *model = RowText(new, "model");
	Args args = {0};
	bool isnull;
	Datum input = RowColumn(new, "input", &isnull);
	Datum price;

	/* without a model or an input the insert fails, but only after this trigger */
	if (model == NULL || isnull)
		return new.tuple;
	ArgText(&args, model);
	ArgDatum(&args, JSONBOID, input, false);
	ArgTime(&args, RowNumber(new, "created_at"));
	StatementRun(&read_price, &args);
	price = ResultDatum(0, 1, &isnull);
	return Set(new, "cost_usd", price, isnull);
}

HeapTuple
PriceNew(Row new)
{
	bool isnull;
	Datum cost;

	if (!RowHas(new, "cost_usd"))
		new.tuple = NotePrice(new);
	cost = RowColumn(new, "cost_usd", &isnull);
	if (!RowHas(new, "cost_estimated_usd") && !isnull)
		new.tuple = Set(new, "cost_estimated_usd", cost, false);
	new.tuple = PriceMarkBilled(new);
	/* one that is restored from a dump of an older version */
	if (RowIsFinal(new) && !RowIsTrue(new, "billed"))
		new.tuple = Set(new, "cost_usd", Zero(), false);
	return new.tuple;
}

/* Has anything come that settles what it has cost? */
static bool
CanBeSettled(Row old, Row new)
{
	if (HasBill(new) || RowAmountDiffers(old, new, "cost_usd"))
		return false;
	return (RowIsFinal(new) && !RowIsFinal(old)) || RowHas(new, "media_url") != RowHas(old, "media_url") ||
		RowAmountDiffers(old, new, "billable_units") ||
		(RowHas(new, "media_url") && RowHas(new, "duration_ms") != RowHas(old, "duration_ms"));
}

static void
ArgColumn(Args *args, Row row, const char *name, Oid type)
{
	bool isnull;
	Datum value = RowColumn(row, name, &isnull);

	ArgDatum(args, type, value, isnull);
}

static Statement settled_cost = {
	"SELECT s.cost_usd, s.cost_source FROM vibevideo_internal.settled_cost($1, $2, $3, $4, $5, $6) s"};

static HeapTuple
Settle(Row new)
{
	int columns[] = {SPI_fnumber(new.desc, "cost_usd"), SPI_fnumber(new.desc, "cost_source")};
	Args args = {0};
	Datum values[2];
	bool nulls[2];

	ArgColumn(&args, new, "model", TEXTOID);
	ArgColumn(&args, new, "input", JSONBOID);
	ArgTime(&args, RowNumber(new, "created_at"));
	ArgBool(&args, RowHas(new, "media_url"));
	ArgColumn(&args, new, "billable_units", NUMERICOID);
	ArgColumn(&args, new, "duration_ms", INT8OID);
	StatementRun(&settled_cost, &args);
	for (int i = 0; i < 2; i++)
		values[i] = ResultDatum(0, i + 1, &nulls[i]);
	return heap_modify_tuple_by_cols(new.tuple, new.desc, 2, columns, values, nulls);
}

HeapTuple
PriceSettle(Row old, Row new)
{
	if (CanBeSettled(old, new))
		new.tuple = Settle(new);
	new.tuple = KeepHeld(new);
	return PriceMarkBilled(new);
}

/*----------
 * After: limits
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

static void
RunWithJob(Statement *statement, Row job)
{
	Args args = {0};

	ArgJob(&args, job);
	StatementRun(statement, &args);
}

static Statement take_share = {
	"SELECT vibevideo_internal.take_share($1)"};

void
PriceTakeShare(Row new)
{
	if (HasLimits())
		RunWithJob(&take_share, new);
}

static Statement free_slots = {
	"SELECT vibevideo_internal.free_slots($1)"};

static Statement take_late_slot = {
	"SELECT vibevideo_internal.take_late_slot($1)"};

static Statement spend = {
	"SELECT vibevideo_internal.spend($1, $2, $3, $4)"};

/* as in sql/limits.sql */
static bool
Counts(Row row)
{
	return RowIsTrue(row, "billed") || RowHas(row, "held_usd") || !RowIsFinal(row);
}

static void
Spend(Row old, Row new)
{
	Args args = {0};

	ArgJob(&args, new);
	ArgColumn(&args, old, RowHas(old, "held_usd") ? "held_usd" : "cost_usd", NUMERICOID);
	ArgBool(&args, Counts(old));
	ArgBool(&args, RowIsFinal(old));
	StatementRun(&spend, &args);
}

/* An attempt that began by itself over a limit: it has failed from the beginning, and has taken nothing. */
static bool
HasTakenNothing(Row old, Row new)
{
	char *code = RowText(new, "error_code");

	return code && strcmp(code, "limit") == 0 && RowIsNew(old);
}

static void
FollowLimits(Row old, Row new)
{
	bool ends = RowIsFinal(new) && !RowIsFinal(old);
	bool begins = Counts(new) && !Counts(old);
	bool stops = Counts(old) && !Counts(new);
	bool differs = RowAmountDiffers(old, new, "cost_usd") || RowAmountDiffers(old, new, "held_usd");
	/* it may yet cost something else, which takes a note of what it has taken */
	bool resumes = RowIsFinal(old) && !RowIsFinal(new);

	if (!(ends || begins || stops || differs || resumes) || !HasLimits())
		return;
	if (ends || stops)
		RunWithJob(&free_slots, new);
	if (begins && RowIsFinal(new))
		RunWithJob(&take_late_slot, new);
	if (!HasTakenNothing(old, new))
		Spend(old, new);
}

/*----------
 * After: the rollup
 *----------
 */

/* What is counted when the video is made says how much it was then: a change is a step of its own. */
static void
CountChange(Row old, Row new)
{
	Datum was = RowIsTrue(old, "billed") ? Amount(old, "cost_usd") : Zero();
	Datum is = RowIsTrue(new, "billed") ? Amount(new, "cost_usd") : Zero();
	RollupStep step = RollupStepOf("settled", RowText(new, "model"), RowIsTrue(new, "orphan"));

	if (RowHas(new, "media_url") && !RowHas(old, "media_url"))
		return;
	if (DatumGetBool(DirectFunctionCall2(numeric_eq, was, is)))
		return;
	step.usd = DirectFunctionCall2(numeric_sub, is, was);
	step.has_usd = true;
	RollupNote(&step);
}

void
PriceFollow(Row old, Row new)
{
	FollowLimits(old, new);
	CountChange(old, new);
}
