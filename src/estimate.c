/*
 * estimate.c
 *	  vibevideo_estimate: what a video of a row would cost.
 *
 * The input is built as for a submit, so that what a submit would refuse is
 * refused here as well, and nothing is guessed.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"

#include "input.h"
#include "ownerror.h"
#include "publicapi.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(vibevideo_estimate);

static Statement estimate = {
	"SELECT vibevideo_internal.estimate($1, $2::jsonb)"};

/*----------
 * vibevideo_estimate(vibelog_id) returns vibevideo.estimated
 *----------
 */
Datum
vibevideo_estimate(PG_FUNCTION_ARGS)
{
	char *vibelog_id = ApiKeyArgument(fcinfo);
	Binding binding;
	JobNew job = {0};
	Args args = {0};
	bool isnull;
	Datum result;

	job.vibelog_id = ApiConnect(&binding, vibelog_id, false);
	InputBuild(&binding, &job, 1);
	ArgText(&args, job.model);
	ArgText(&args, job.input);
	StatementRun(&estimate, &args);
	result = SPI_datumTransfer(ResultDatum(0, 1, &isnull), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
