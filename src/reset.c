/*
 * reset.c
 *	  What vibevideo.reset_stuck does to rows of the app that no job is behind.
 *
 * The operator calls it, but the table's triggers, constraints and generated
 * columns are its owner's code and run with the owner's rights.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "identity.h"
#include "job.h"

PG_FUNCTION_INFO_V1(vibevideo_fail_rows);

/*----------
 * vibevideo.fail_rows(keys text[]) returns bigint: how many
 *----------
 */
Datum
vibevideo_fail_rows(PG_FUNCTION_ARGS)
{
	Datum args[1] = {PG_GETARG_DATUM(0)};
	Oid types[1] = {TEXTARRAYOID};
	Binding binding;
	Identity saved;
	char *sql;
	int rc;
	uint64 n;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "vibevideo: SPI_connect failed");
	JobRequireBinding(&binding, false);
	sql = psprintf("UPDATE %s AS t SET video_generation_status = 'failed',"
				   " video_generation_error = 'reset: no job was behind this status'"
				   " WHERE t.%s::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)",
				   binding.relation, binding.id_column);
	IdentityBecomeTableOwner(binding.owner, &saved);
	rc = SPI_execute_with_args(sql, 1, types, args, NULL, false, 0);
	if (rc != SPI_OK_UPDATE)
		elog(ERROR, "vibevideo: reset: %s", SPI_result_code_string(rc));
	n = SPI_processed;
	IdentityResume(&saved);
	SPI_finish();
	PG_RETURN_INT64((int64) n);
}
