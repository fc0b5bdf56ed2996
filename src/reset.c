/*
 * reset.c
 *	  What vibevideo.reset_stuck does to the app's rows without a job.
 *
 * The operator calls it, but the table's triggers, constraints and generated
 * columns are the owner's code and run with the owner's rights.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"

#include "rowwrite.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(vibevideo_fail_rows);

/*----------
 * vibevideo_internal.fail_rows(keys text[]) returns bigint: how many
 *----------
 */
Datum
vibevideo_fail_rows(PG_FUNCTION_ARGS)
{
	Binding binding;
	uint64 n;

	StatementConnect();
	BindingRequire(&binding, false);
	n = RowWriteFailed(&binding, PG_GETARG_DATUM(0));
	SPI_finish();
	PG_RETURN_INT64((int64) n);
}
