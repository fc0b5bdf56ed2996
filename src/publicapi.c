/*
 * publicapi.c
 *	  What the public functions have in common.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "publicapi.h"

#define MAX_KEY_BYTES 512

char *
ApiKeyArgument(FunctionCallInfo fcinfo)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid output;
	bool is_varlena;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("vibelog_id must not be null")));
	if (!OidIsValid(type))
		elog(ERROR, "vibevideo: the argument's type is not known");
	getTypeOutputInfo(type, &output, &is_varlena);
	return OidOutputFunctionCall(output, PG_GETARG_DATUM(0));
}

void
ApiCheckKey(const char *key)
{
	if (strlen(key) > MAX_KEY_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("vibelog_id is longer than %d bytes", MAX_KEY_BYTES)));
}

char *
ApiBegin(Binding *binding, const char *vibelog_id, bool for_update)
{
	ApiCheckKey(vibelog_id);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "vibevideo: SPI_connect failed");
	JobRequireBinding(binding, for_update);
	return JobCheckRow(binding, vibelog_id, for_update);
}

char *
ApiRequestingUser(void)
{
	const char *claims = GetConfigOption("request.jwt.claims", true, false);
	Datum args[1];
	Oid types[1] = {TEXTOID};
	bool isnull;
	Datum sub;

	/* once set in a pooled session it reads back as an empty string */
	if (claims == NULL || claims[0] == '\0')
		return NULL;
	args[0] = CStringGetTextDatum(claims);
	if (SPI_execute_with_args("SELECT ($1::pg_catalog.jsonb) OPERATOR(pg_catalog.->>) 'sub'",
							  1, types, args, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		return NULL;
	sub = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? NULL : TextDatumGetCString(sub);
}

void
ApiSetHttpStatus(const char *status)
{
	const char *path = GetConfigOption("request.path", true, false);

	/* called by a trigger of another request, that one's answer is not ours to set */
	if (path && path[0] && strstr(path, "rpc/vibevideo_") == NULL)
		return;
	(void) set_config_option("response.status", status, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}
