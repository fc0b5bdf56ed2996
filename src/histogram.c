/*
 * histogram.c
 *	  Histograms of durations: arrays of bigint with fixed bounds.
 *
 * In C since a chart adds up some hundred thousand of them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"

#include "compat.h"
#include "ownerror.h"

PG_FUNCTION_INFO_V1(vibevideo_histogram_bounds);
PG_FUNCTION_INFO_V1(vibevideo_histogram_note);
PG_FUNCTION_INFO_V1(vibevideo_histogram_add);
PG_FUNCTION_INFO_V1(vibevideo_percentile);

/* seconds; histograms are stored, so these are for ever */
static const int32 bounds[] = {1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1200, 1800, 3600, 7200};

#define BUCKETS (lengthof(bounds) + 1) /* the last one has what is beyond */

Datum
vibevideo_histogram_bounds(PG_FUNCTION_ARGS)
{
	Datum values[lengthof(bounds)];

	for (int i = 0; i < lengthof(bounds); i++)
		values[i] = Int32GetDatum(bounds[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(values, lengthof(bounds), INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

static int64 *
Counts(ArrayType *histogram)
{
	if (ARR_NDIM(histogram) != 1 || ARR_DIMS(histogram)[0] != BUCKETS || ARR_HASNULL(histogram) ||
		ARR_ELEMTYPE(histogram) != INT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("this is not a histogram of %d buckets", (int) BUCKETS)));
	return (int64 *) ARR_DATA_PTR(histogram);
}

static ArrayType *
NewHistogram(void)
{
	Size size = ARR_OVERHEAD_NONULLS(1) + BUCKETS * sizeof(int64);
	ArrayType *histogram = palloc0(size);

	SET_VARSIZE(histogram, size);
	histogram->ndim = 1;
	histogram->elemtype = INT8OID;
	ARR_DIMS(histogram)
	[0] = BUCKETS;
	ARR_LBOUND(histogram)
	[0] = 1;
	return histogram;
}

/* The first argument, to be changed: in an aggregate its state, otherwise a copy. */
static ArrayType *
ToBeChanged(FunctionCallInfo fcinfo)
{
	if (AggCheckCallContext(fcinfo, NULL))
		return PG_GETARG_ARRAYTYPE_P(0);
	return PG_GETARG_ARRAYTYPE_P_COPY(0);
}

static int
BucketOf(int64 ms)
{
	int i = 0;

	while (i < lengthof(bounds) && ms > (int64) bounds[i] * 1000)
		i++;
	return i;
}

Datum
vibevideo_histogram_note(PG_FUNCTION_ARGS)
{
	ArrayType *histogram;

	/* NULL stays NULL, so that nothing makes no histogram */
	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	histogram = PG_ARGISNULL(0) ? NewHistogram() : ToBeChanged(fcinfo);
	Counts(histogram)[BucketOf(PG_GETARG_INT64(1))]++;
	PG_RETURN_ARRAYTYPE_P(histogram);
}

Datum
vibevideo_histogram_add(PG_FUNCTION_ARGS)
{
	ArrayType *sum;
	int64 *to;
	const int64 *from;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(PG_ARGISNULL(0) ? 1 : 0));
	}
	sum = ToBeChanged(fcinfo);
	to = Counts(sum);
	from = Counts(PG_GETARG_ARRAYTYPE_P(1));
	for (int i = 0; i < BUCKETS; i++)
		to[i] += from[i];
	PG_RETURN_ARRAYTYPE_P(sum);
}

/*----------
 * vibevideo.percentile(histogram bigint[], fraction double precision)
 *
 * As if a bucket's durations were spread evenly over it.  Of the last bucket
 * only its beginning is known.  NULL if there are none.
 *----------
 */
Datum
vibevideo_percentile(PG_FUNCTION_ARGS)
{
	const int64 *counts = Counts(PG_GETARG_ARRAYTYPE_P(0));
	float8 fraction = PG_GETARG_FLOAT8(1);
	float8 left = 0;
	int i = 0;
	float8 from;

	if (!(fraction >= 0 && fraction <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a fraction must be between 0 and 1")));
	for (int b = 0; b < BUCKETS; b++)
		left += counts[b];
	if (left == 0)
		PG_RETURN_NULL();
	left *= fraction;
	while (i < BUCKETS - 1 && (left > counts[i] || counts[i] == 0))
		left -= counts[i++];
	from = i == 0 ? 0 : bounds[i - 1];
	if (i == BUCKETS - 1)
		PG_RETURN_FLOAT8(from);
	PG_RETURN_FLOAT8(from + (bounds[i] - from) * left / counts[i]);
}
