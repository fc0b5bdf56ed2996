/*
 * batch.c
 *	  vibevideo_submit_batch: many rows at once, nothing sent before the commit.
 *
 * Keys are handled in chunks: rows are checked and read one by one, and written
 * by one statement for each chunk.  If their inputs are large, the jobs of a
 * chunk are inserted in several steps.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "approw.h"
#include "input.h"
#include "job.h"
#include "ownerror.h"
#include "publicapi.h"
#include "rowsync.h"
#include "shmem.h"
#include "statement.h"
#include "submit.h"
#include "whose.h"

PG_FUNCTION_INFO_V1(vibevideo_submit_batch);

#define CHUNK 500

/* Has each row of a chunk an active job? */
static bool
AllHaveJobs(const int64 *job_ids, int n)
{
	for (int i = 0; i < n; i++)
		if (job_ids[i] == 0)
			return false;
	return true;
}

/*
 * Inserts the jobs whose inputs fit into one step, and returns how many they
 * are.  Frees the memory that it needed.
 */
static int
InsertSome(const Binding *binding, JobNew *jobs, int n, int64 *inserted, int *ninserted)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "vibevideo inputs", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(mcxt);
	int built;

	StatementConnect();
	built = InputBuild(binding, jobs, n);
	*ninserted += JobInsertMany(binding, jobs, built, inserted + *ninserted);
	SPI_finish();
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(mcxt);
	return built;
}

/* Insert jobs for the rows that have no active one, and write these rows. */
static void
InsertMissing(const Binding *binding, char **vibelog_ids, int64 *job_ids, int n)
{
	JobNew *jobs = palloc(sizeof(JobNew) * n);
	int64 *inserted = palloc(sizeof(int64) * n);
	char *user = ApiRequestingUser();
	int nnew = 0;
	int ninserted = 0;
	int unwritten;

	for (int i = 0; i < n; i++)
		if (job_ids[i] == 0)
			jobs[nnew++] = (JobNew){.vibelog_id = vibelog_ids[i], .user = user};
	for (int done = 0; done < nnew;)
		done += InsertSome(binding, jobs + done, nnew - done, inserted, &ninserted);
	unwritten = ninserted > 0 ? RowSyncMany(binding, inserted, ninserted) : 0;
	if (unwritten > 0)
	{
		const char *cause = RowSyncCause(inserted, ninserted);

		ereport(WARNING,
				(errmsg_plural("could not write %d row yet", "could not write %d rows yet", unwritten, unwritten),
				 errdetail("The jobs themselves are safe; the worker will write the rows as soon as it can.%s", cause)));
	}
}

/* The active ones, and those that have ended and are returned all the same; 0 where a new one is to be made. */
static void
FindJobs(const Binding *binding, char **vibelog_ids, int64 *job_ids, int n)
{
	JobFindActiveMany(binding, vibelog_ids, n, job_ids);
	for (int i = 0; i < n; i++)
		if (job_ids[i] == 0)
			job_ids[i] = SubmitFindEnded(binding, vibelog_ids[i]);
}

/*----------
 * A batch
 *----------
 */
typedef struct Batch
{
	Binding binding;
	MemoryContext mcxt; /* outlives a chunk */
	char **keys;		/* as asked for */
	int n;
	char **sorted;	/* the same, each once */
	int64 *job_ids; /* theirs */
	int nsorted;
	Tuplestorestate *result;
} Batch;

/* The keys become those that the rows have; ERROR for a row that the caller may not update. */
static void
CheckChunk(Batch *batch, int from, int n)
{
	for (int i = from; i < from + n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ApiCheckKey(batch->keys[i]);
		batch->keys[i] = MemoryContextStrdup(batch->mcxt, AppRowCheck(&batch->binding, batch->keys[i], true));
	}
}

static void
SubmitChunk(Batch *batch, int from, int n)
{
	const Binding *binding = &batch->binding;
	char **vibelog_ids = batch->sorted + from;
	int64 *job_ids = batch->job_ids + from;

	WhoseSettle(binding, vibelog_ids, n);
	FindJobs(binding, vibelog_ids, job_ids, n);
	if (AllHaveJobs(job_ids, n))
		return;
	InsertMissing(binding, vibelog_ids, job_ids, n);
	FindJobs(binding, vibelog_ids, job_ids, n);
	/* another call was faster: the unique index made us wait for its commit */
	for (int i = 0; i < n; i++)
		if (job_ids[i] == 0)
			ApiLostRace(vibelog_ids[i]);
}

static int
CompareKeys(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static void
DescribeChunk(Batch *batch, int from, int n)
{
	int64 *job_ids = palloc(sizeof(int64) * n);

	for (int i = 0; i < n; i++)
	{
		char **found = bsearch(&batch->keys[from + i], batch->sorted, batch->nsorted, sizeof(char *), CompareKeys);

		job_ids[i] = batch->job_ids[found - batch->sorted];
	}
	ApiDescribeMany(batch->result, job_ids, n);
}

/*
 * Two batches may wait for each other's jobs of the same rows: never both at
 * once, if all take rows in the same order.
 */
static void
SortKeys(Batch *batch)
{
	batch->sorted = palloc(sizeof(char *) * batch->n);
	batch->job_ids = palloc0(sizeof(int64) * batch->n);
	memcpy(batch->sorted, batch->keys, sizeof(char *) * batch->n);
	qsort(batch->sorted, batch->n, sizeof(char *), CompareKeys);
	for (int i = 0; i < batch->n; i++)
		if (i == 0 || strcmp(batch->sorted[i], batch->sorted[batch->nsorted - 1]) != 0)
			batch->sorted[batch->nsorted++] = batch->sorted[i];
}

/* The memory that a chunk takes, SPI's results included, is free again after it. */
static void
InChunks(Batch *batch, int n, void (*step)(Batch *batch, int from, int n))
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "vibevideo chunk", ALLOCSET_DEFAULT_SIZES);

	for (int from = 0; from < n; from += CHUNK)
	{
		MemoryContext outer = MemoryContextSwitchTo(mcxt);

		StatementConnect();
		step(batch, from, Min(CHUNK, n - from));
		SPI_finish();
		MemoryContextSwitchTo(outer);
		MemoryContextReset(mcxt);
	}
	MemoryContextDelete(mcxt);
}

/*
 * The array's elements as text; ERROR if it, or one of them, is null.
 */
static char **
ReadKeyArray(FunctionCallInfo fcinfo, int *n)
{
	ArrayType *ids;
	Oid output;
	bool is_varlena;
	int16 len;
	bool byval;
	char align;
	Datum *values;
	bool *nulls;
	char **keys;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("vibelog_ids must not be null")));
	ids = PG_GETARG_ARRAYTYPE_P(0);
	get_typlenbyvalalign(ARR_ELEMTYPE(ids), &len, &byval, &align);
	deconstruct_array(ids, ARR_ELEMTYPE(ids), len, byval, align, &values, &nulls, n);
	getTypeOutputInfo(ARR_ELEMTYPE(ids), &output, &is_varlena);
	keys = palloc(sizeof(char *) * (*n + 1));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("vibelog_ids must not contain nulls")));
		keys[i] = OidOutputFunctionCall(output, values[i]);
	}
	return keys;
}

/*----------
 * vibevideo_submit_batch(vibelog_ids[]) returns setof vibevideo.video: only
 * writes rows; the worker posts the jobs after the commit.
 *----------
 */
Datum
vibevideo_submit_batch(PG_FUNCTION_ARGS)
{
	Batch batch = {0};

	batch.keys = ReadKeyArray(fcinfo, &batch.n);
	ApiRequireWritable(fcinfo);
	InitMaterializedSRF(fcinfo, 0);
	batch.result = ((ReturnSetInfo *) fcinfo->resultinfo)->setResult;
	StatementConnect();
	BindingRequire(&batch.binding, true);
	batch.mcxt = CurrentMemoryContext;
	InChunks(&batch, batch.n, CheckChunk);
	if (batch.n > 0)
		SortKeys(&batch);
	InChunks(&batch, batch.nsorted, SubmitChunk);
	InChunks(&batch, batch.n, DescribeChunk);
	SPI_finish();
	ApiAccepted(NULL);
	ShmemWakeAtCommit();
	return (Datum) 0;
}
