/*
 * models.c
 *	  vibevideo_models: the models that a row may name.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/tuplestore.h"

#include "binding.h"
#include "ownerror.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(vibevideo_models);

static Statement list_models = {
	"SELECT o.endpoint, o.label, o.price, o.usual_seconds, o.needs_image, o.max_prompt, o.is_default"
	" FROM vibevideo_internal.offered_models() o"};

/*----------
 * vibevideo_models() returns table: without a column for it rows have no choice,
 * and there is the attached one only
 *----------
 */
Datum
vibevideo_models(PG_FUNCTION_ARGS)
{
	Tuplestorestate *result;
	Binding binding;
	uint64 found;

	InitMaterializedSRF(fcinfo, 0);
	result = ((ReturnSetInfo *) fcinfo->resultinfo)->setResult;
	StatementConnect();
	BindingRequire(&binding, false);
	found = StatementRead(&list_models, NULL);
	for (uint64 i = 0; i < found; i++)
		tuplestore_puttuple(result, SPI_tuptable->vals[i]);
	SPI_finish();
	return (Datum) 0;
}
