/*
 * batch.c
 *	  vibevideo_submit_batch: many rows at once, nothing sent before the commit.
 *
 * Keys are worked off in chunks: what is asked of each row is asked row by
 * row, what is written is written by one statement a chunk.  Jobs are inserted
 * in more than one go if their inputs are large.
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
#include "publicapi.h"
#include "shmem.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(vibevideo_submit_batch);

#define CHUNK 500

/* The jobs of a chunk's rows: the active ones, and 0 for those that have none. */
static bool
AllHaveJobs(const int64 *job_ids, int n)
{
	for (int i = 0; i < n; i++)
		if (job_ids[i] == 0)
			return false;
	return true;
}

/*
 * As many of the jobs as have inputs for one go; how many.  What that takes of
 * memory is free again afterwards.
 */
static int
InsertSome(const Binding *binding, JobNew *jobs, int n, int64 *inserted, int *ninserted)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "vibevideo inputs", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(mcxt);
	int built;

	StatementBegin();
	built = InputBuild(binding, jobs, n);
	*ninserted += JobInsertMany(binding, jobs, built, inserted + *ninserted);
	SPI_finish();
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(mcxt);
	return built;
}

/* New jobs for rows that have no active one, and their rows written. */
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
	unwritten = ninserted > 0 ? AppRowWriteMany(binding, inserted, ninserted) : 0;
	if (unwritten > 0)
		ereport(WARNING,
				(errmsg_plural("%d video's row could not be written yet", "%d videos' rows could not be written yet",
							   unwritten, unwritten),
				 errdetail("The jobs themselves are safe; the worker writes the rows as soon as it can.")));
}

/* What it takes of memory, SPI's results included, is free again afterwards. */
static void
PutChunk(const Binding *binding, char **vibelog_ids, int n, ReturnSetInfo *rsinfo)
{
	int64 *job_ids;

	StatementBegin();
	job_ids = palloc(sizeof(int64) * n);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ApiCheckKey(vibelog_ids[i]);
		vibelog_ids[i] = AppRowCheck(binding, vibelog_ids[i], true);
	}
	JobFindActiveMany(binding, vibelog_ids, n, job_ids);
	if (!AllHaveJobs(job_ids, n))
	{
		InsertMissing(binding, vibelog_ids, job_ids, n);
		JobFindActiveMany(binding, vibelog_ids, n, job_ids);
		/* somebody was faster: the unique index made us wait for its commit */
		for (int i = 0; i < n; i++)
			if (job_ids[i] == 0)
				ApiLostRace(vibelog_ids[i]);
	}
	ApiDescribeMany(rsinfo->setResult, job_ids, n);
	SPI_finish();
}

/*
 * The array's elements as text; ERROR if it, or one of them, is null.
 */
static char **
ReadKeys(FunctionCallInfo fcinfo, int *n)
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
					 errmsg("vibelog_ids must not hold nulls")));
		keys[i] = OidOutputFunctionCall(output, values[i]);
	}
	return keys;
}

/*----------
 * vibevideo_submit_batch(vibelog_ids[]) returns setof vibevideo.video: only
 * writes rows, the worker posts them after commit.
 *----------
 */
Datum
vibevideo_submit_batch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int n;
	char **keys = ReadKeys(fcinfo, &n);
	Binding binding;
	MemoryContext mcxt;

	InitMaterializedSRF(fcinfo, 0);
	StatementBegin();
	BindingRequire(&binding, true);
	mcxt = AllocSetContextCreate(CurrentMemoryContext, "vibevideo batch", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < n; i += CHUNK)
	{
		MemoryContext outer = MemoryContextSwitchTo(mcxt);

		PutChunk(&binding, keys + i, Min(CHUNK, n - i), rsinfo);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(mcxt);
	}
	SPI_finish();
	ApiAccepted(NULL);
	ShmemWakeAtCommit();
	return (Datum) 0;
}
