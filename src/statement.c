/*
 * statement.c
 *	  Running SQL: a statement owns its text, its types and its plan.
 *
 * Each is prepared once per session, with a generic plan for an index (see
 * PlanForIndexes).  Statements on our tables always run along one path, so only
 * an invalidation makes PostgreSQL plan them again.  It plans those on the app's
 * table again whenever the caller's path or role has changed, so PlanForIndexes
 * is called before each run.  Where the planner could still choose the index of
 * all jobs of a kind, IS TRUE hides the condition from it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "identity.h"
#include "ownerror.h"
#include "statement.h"

/*----------
 * Plans
 *----------
 */
pg_noreturn static void
ReportFailure(const char *sql, int rc)
{
	elog(ERROR, "vibevideo: could not run \"%s\": %s", sql, SPI_result_code_string(rc));
}

void
StatementConnect(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "vibevideo: could not connect to SPI");
}

/*
 * A plan that is kept may have been made while a table was still empty, when
 * reading all of it looks cheapest.  All our statements look for a few rows by
 * an index, so plan for that, now and whenever the plan is made anew.
 */
static void
PlanForIndexes(SPIPlanPtr plan)
{
	int nest = NewGUCNestLevel();
	CachedPlan *cached;

	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	/* without a usable index the cost is now so high that JIT would be used */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	cached = SPI_plan_get_cached_plan(plan);
	if (cached)
		ReleaseCachedPlan(cached, CurrentResourceOwner);
	AtEOXact_GUC(false, nest);
}

/*
 * A change of a function that was inlined twice over invalidates only the plan,
 * which SPI_plan_is_valid does not look at.
 */
static bool
IsPlanned(SPIPlanPtr plan)
{
	const CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));

	return source->is_valid && source->gplan && source->gplan->is_valid;
}

/* Is the plan for these types and this text?  An extension that was created again has other row types. */
static bool
HasPlanFor(const Statement *statement, const char *sql, const Args *args)
{
	return statement->plan && statement->nargs == args->n &&
		memcmp(statement->types, args->types, sizeof(Oid) * args->n) == 0 &&
		(statement->sql || strcmp(statement->text, sql) == 0);
}

/* An outdated plan is not freed: it may be running, and one of its triggers may have called us. */
static void
Prepare(Statement *statement, const char *sql, const Args *args)
{
	SPIPlanPtr plan = SPI_prepare_cursor(sql, args->n, (Oid *) args->types, CURSOR_OPT_GENERIC_PLAN);
	char *text;

	if (plan == NULL)
		ReportFailure(sql, SPI_result);
	SPI_keepplan(plan);
	/* the copy first: an error must not leave a text that is gone */
	text = statement->sql ? NULL : MemoryContextStrdup(TopMemoryContext, sql);
	if (statement->text)
		pfree(statement->text);
	statement->text = text;
	statement->nargs = args->n;
	memcpy(statement->types, args->types, sizeof(statement->types));
	statement->plan = plan;
	PlanForIndexes(plan);
}

static uint64
Execute(Statement *statement, const char *sql, const Args *args, bool read_only, long max)
{
	int rc = SPI_execute_plan(statement->plan, (Datum *) args->values, args->nulls, read_only, max);

	if (rc < 0)
		ReportFailure(sql, rc);
	return SPI_processed;
}

static uint64
ExecuteOurs(Statement *statement, const Args *args, bool read_only)
{
	MemoryContext mcxt = CurrentMemoryContext;
	volatile uint64 n = 0;

	PG_TRY();
	{
		n = Execute(statement, statement->sql, args, read_only, 0);
	}
	PG_CATCH();
	{
		OwnErrorLeave(mcxt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return n;
}

static uint64
Run(Statement *statement, const Args *args, bool read_only)
{
	static const Args none = {0};
	Identity saved;
	uint64 n;

	if (args == NULL)
		args = &none;
	IdentityBecomeExtensionOwner(&saved);
	if (!HasPlanFor(statement, statement->sql, args))
		Prepare(statement, statement->sql, args);
	/* the path is always the same: only an invalidation causes replanning */
	else if (!IsPlanned(statement->plan))
		PlanForIndexes(statement->plan);
	n = ExecuteOurs(statement, args, read_only);
	IdentityResume(&saved);
	return n;
}

uint64
StatementRun(Statement *statement, const Args *args)
{
	return Run(statement, args, false);
}

uint64
StatementRead(Statement *statement, const Args *args)
{
	return Run(statement, args, true);
}

/*
 * The plan cache replans when the search path or the current user has changed,
 * and notices that only at execution: so plan for indexes before each one.
 */
uint64
StatementRunOnApp(Statement *statement, const char *sql, const Args *args, long max)
{
	if (!HasPlanFor(statement, sql, args))
		Prepare(statement, sql, args);
	else
		PlanForIndexes(statement->plan);
	return Execute(statement, sql, args, false, max);
}

/*----------
 * Arguments
 *----------
 */
void
ArgDatum(Args *args, Oid type, Datum value, bool isnull)
{
	if (args->n >= MAX_ARGS)
		elog(ERROR, "vibevideo: a statement has more than %d arguments", MAX_ARGS);
	args->types[args->n] = type;
	args->values[args->n] = value;
	args->nulls[args->n++] = isnull ? 'n' : ' ';
}

void
ArgText(Args *args, const char *text)
{
	ArgDatum(args, TEXTOID, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

void
ArgInt4(Args *args, int32 number)
{
	ArgDatum(args, INT4OID, Int32GetDatum(number), false);
}

void
ArgInt8(Args *args, int64 number)
{
	ArgDatum(args, INT8OID, Int64GetDatum(number), false);
}

void
ArgBool(Args *args, bool value)
{
	ArgDatum(args, BOOLOID, BoolGetDatum(value), false);
}

void
ArgTime(Args *args, TimestampTz time)
{
	ArgDatum(args, TIMESTAMPTZOID, TimestampTzGetDatum(time), time == 0);
}

void
ArgRelation(Args *args, Oid relid)
{
	ArgDatum(args, REGCLASSOID, ObjectIdGetDatum(relid), !OidIsValid(relid));
}

Datum
BytesDatum(const void *bytes, int len)
{
	bytea *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), bytes, len);
	return PointerGetDatum(value);
}

void
ArgBytes(Args *args, const void *bytes, int len)
{
	ArgDatum(args, BYTEAOID, bytes ? BytesDatum(bytes, len) : (Datum) 0, bytes == NULL);
}

ArrayColumn
ArrayColumnNew(int n)
{
	ArrayColumn column = {palloc0(sizeof(Datum) * (n + 1)), palloc0(sizeof(bool) * (n + 1))};

	return column;
}

void
ArgArray(Args *args, ArrayColumn column, int n, Oid element)
{
	int dims[1] = {n};
	int lbs[1] = {1};
	int16 len;
	bool byval;
	char align;
	ArrayType *array;

	get_typlenbyvalalign(element, &len, &byval, &align);
	array = construct_md_array(column.values, column.nulls, n > 0 ? 1 : 0, dims, lbs, element, len, byval, align);
	ArgDatum(args, get_array_type(element), PointerGetDatum(array), false);
}

void
ArgTexts(Args *args, char **texts, int n)
{
	ArrayColumn column = ArrayColumnNew(n);

	for (int i = 0; i < n; i++)
	{
		column.nulls[i] = (texts[i] == NULL);
		if (texts[i])
			column.values[i] = CStringGetTextDatum(texts[i]);
	}
	ArgArray(args, column, n, TEXTOID);
}

void
ArgInt8s(Args *args, const int64 *numbers, int n)
{
	ArrayColumn column = ArrayColumnNew(n);

	for (int i = 0; i < n; i++)
		column.values[i] = Int64GetDatum(numbers[i]);
	ArgArray(args, column, n, INT8OID);
}

/*----------
 * Results
 *----------
 */
Datum
ResultDatum(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

char *
ResultText(uint64 row, int column)
{
	bool isnull;
	Datum value = ResultDatum(row, column, &isnull);

	if (isnull)
		return NULL;
	if (SPI_gettypeid(SPI_tuptable->tupdesc, column) == NAMEOID)
		return pstrdup(NameStr(*DatumGetName(value)));
	return TextDatumGetCString(value);
}

char *
KeepText(const char *text)
{
	char *kept = SPI_palloc(strlen(text) + 1);

	strcpy(kept, text);
	return kept;
}

char *
ResultKeepText(uint64 row, int column)
{
	char *text = ResultText(row, column);
	char *kept = text ? KeepText(text) : NULL;

	if (text)
		pfree(text);
	return kept;
}

int64
ResultInt(uint64 row, int column, int64 if_null)
{
	bool isnull;
	Datum value = ResultDatum(row, column, &isnull);

	if (isnull)
		return if_null;
	return SPI_gettypeid(SPI_tuptable->tupdesc, column) == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value);
}

TimestampTz
ResultTime(uint64 row, int column)
{
	bool isnull;
	Datum value = ResultDatum(row, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

bool
ResultBool(uint64 row, int column)
{
	bool isnull;
	Datum value = ResultDatum(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

Oid
ResultOid(uint64 row, int column)
{
	bool isnull;
	Datum value = ResultDatum(row, column, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

unsigned char *
ResultBytes(uint64 row, int column, size_t *len)
{
	bool isnull;
	Datum value = ResultDatum(row, column, &isnull);
	bytea *bytes;
	unsigned char *copy;

	*len = 0;
	if (isnull)
		return NULL;
	bytes = DatumGetByteaPP(value);
	*len = VARSIZE_ANY_EXHDR(bytes);
	copy = palloc(*len);
	memcpy(copy, VARDATA_ANY(bytes), *len);
	return copy;
}

int64
ResultFirstInt(void)
{
	return SPI_processed == 0 ? 0 : ResultInt(0, 1, 0);
}

int64
StatementRunBounded(Statement *statement, int max)
{
	Args args = {0};

	ArgInt4(&args, max);
	StatementRun(statement, &args);
	return ResultFirstInt();
}
