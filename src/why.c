/*
 * why.c
 *	  Why a job waits: remembers what find_reason() in why.sql has found.
 *
 * A row of vibevideo.jobs has several columns that come from one reason, and each
 * asks for it.  So the last one is kept for as long as the caller's query sees the
 * same data.  The order of sending is the same for all jobs, and costs as much as
 * there are users who wait; it is kept for a second, also for the queries after.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ownerror.h"
#include "statement.h"
#include "version.h"

PG_FUNCTION_INFO_V1(vibevideo_reason_of);
PG_FUNCTION_INFO_V1(vibevideo_place_in_line);

#define LINE_MS 1000
#define LINE_MOST 1001 /* as many as have 1000 ahead */

/*----------
 * vibevideo_internal.reason_of(job_id bigint) returns vibevideo_internal.reason
 *----------
 */

/* What a query sees: between two equal ones nothing has changed. */
typedef struct Moment
{
	TimestampTz statement_at;
	SubTransactionId subxact;
	TransactionId xmin;
	TransactionId xmax;
	uint32 xcnt;
	CommandId command;
} Moment;

static struct
{
	Moment moment;
	int64 job_id; /* 0: nothing is kept */
	Datum reason; /* 0 if there is no such job */
} last;

static Moment
ThisMoment(void)
{
	Snapshot snapshot = GetActiveSnapshot();

	return (Moment){GetCurrentStatementStartTimestamp(), GetCurrentSubTransactionId(), snapshot->xmin, snapshot->xmax,
					snapshot->xcnt, snapshot->curcid};
}

static bool
IsSameMoment(const Moment *a, const Moment *b)
{
	return a->statement_at == b->statement_at && a->subxact == b->subxact && a->xmin == b->xmin && a->xmax == b->xmax &&
		a->xcnt == b->xcnt && a->command == b->command;
}

static Statement find_reason = {
	"SELECT vibevideo_internal.find_reason($1)"};

static Statement tell_version = {
	"SELECT vibevideo_internal.because('version', $1)"};

/* Library and SQL may be of two versions; then the job's reason is nothing that we could read. */
static void
FindReason(int64 job_id)
{
	char *version = VersionOfSql();
	Args args = {0};

	if (version == NULL || VersionIsOurs(version))
	{
		ArgInt8(&args, job_id);
		StatementRead(&find_reason, &args);
		return;
	}
	ArgText(&args, psprintf("the library has version %s, the extension in this database %s: ALTER EXTENSION vibevideo UPDATE", VIBEVIDEO_VERSION, version));
	StatementRead(&tell_version, &args);
}

static void
Keep(const Moment *moment, int64 job_id)
{
	MemoryContext outer;
	bool isnull;
	Datum found = ResultDatum(0, 1, &isnull);

	last.job_id = 0;
	if (last.reason)
		pfree(DatumGetPointer(last.reason));
	last.reason = (Datum) 0;
	outer = MemoryContextSwitchTo(TopMemoryContext);
	if (!isnull)
		last.reason = datumCopy(found, false, -1);
	MemoryContextSwitchTo(outer);
	last.moment = *moment;
	last.job_id = job_id;
}

Datum
vibevideo_reason_of(PG_FUNCTION_ARGS)
{
	int64 job_id = PG_GETARG_INT64(0);
	Moment moment = ThisMoment();

	if (last.job_id != job_id || !IsSameMoment(&last.moment, &moment))
	{
		StatementConnect();
		FindReason(job_id);
		Keep(&moment, job_id);
		SPI_finish();
	}
	if (last.reason == (Datum) 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(datumCopy(last.reason, false, -1));
}

/*----------
 * vibevideo_internal.place_in_line(job_id bigint, OUT place int, OUT turn int, OUT waiting int, OUT room int)
 *----------
 */
static struct
{
	TimestampTz read_at;
	int64 jobs[LINE_MOST];	/* in the order of sending */
	int32 turns[LINE_MOST]; /* which of its user's each is */
	int n;
	bool whole;	  /* there are no others */
	bool unknown; /* there are too many users to tell */
	int waiting;
	int room; /* -1: no limit */
} line;

static Statement read_line = {
	"SELECT l.jobs, l.turns, l.whole, l.waiting, COALESCE(l.room, -1) FROM vibevideo_internal.submit_line($1) l"};

/* returns how many; -1 if the array is null */
static int
CopyArray(int column, void *to, size_t size)
{
	bool isnull;
	Datum value = ResultDatum(0, column, &isnull);
	ArrayType *array;
	int n;

	if (isnull)
		return -1;
	array = DatumGetArrayTypeP(value);
	n = Min(ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)), LINE_MOST);
	memcpy(to, ARR_DATA_PTR(array), size * n);
	return n;
}

static void
ReadLine(TimestampTz now)
{
	Args args = {0};
	int n;

	ArgInt4(&args, LINE_MOST);
	StatementRead(&read_line, &args);
	n = CopyArray(1, line.jobs, sizeof(int64));
	(void) CopyArray(2, line.turns, sizeof(int32));
	line.unknown = (n < 0);
	line.n = Max(n, 0);
	line.whole = ResultBool(0, 3);
	line.waiting = (int) ResultInt(0, 4, 0);
	line.room = (int) ResultInt(0, 5, -1);
	line.read_at = now;
}

/* from 1 on; 0 if it is not among them */
static int
FindPlace(int64 job_id)
{
	for (int i = 0; i < line.n; i++)
		if (line.jobs[i] == job_id)
			return i + 1;
	return 0;
}

/* place: LINE_MOST + 1 for all that come later, null if it is not known */
Datum
vibevideo_place_in_line(PG_FUNCTION_ARGS)
{
	int64 job_id = PG_GETARG_INT64(0);
	TimestampTz now = GetCurrentTimestamp();
	bool fresh = line.read_at != 0 && now >= line.read_at && !TimestampDifferenceExceeds(line.read_at, now, LINE_MS);
	int place = fresh ? FindPlace(job_id) : 0;
	Datum values[4];
	bool nulls[4];
	TupleDesc desc;

	/* one that has come since is not in it */
	if (!fresh || (place == 0 && line.whole))
	{
		StatementConnect();
		ReadLine(now);
		SPI_finish();
		place = FindPlace(job_id);
	}
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "vibevideo: return type must be a row type");
	values[0] = Int32GetDatum(place ? place : LINE_MOST + 1);
	nulls[0] = (place == 0 && (line.whole || line.unknown));
	values[1] = Int32GetDatum(place ? line.turns[place - 1] : 0);
	nulls[1] = (place == 0);
	values[2] = Int32GetDatum(line.waiting);
	nulls[2] = false;
	values[3] = Int32GetDatum(line.room);
	nulls[3] = (line.room < 0);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
