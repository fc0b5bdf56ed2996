/*
 * realtime.c
 *	  Broadcasts a row's new status through Supabase Realtime.
 *
 * Best effort: the row is the truth, and the function belongs to Realtime.  It
 * is called as the owner of the app's table, like the triggers of that table,
 * and only if a superuser owns its schema.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "realtime.h"

#define PAUSE_MS 60000

static TimestampTz paused_until = 0;

/* realtime.send(jsonb, text, text, boolean); InvalidOid if there is none */
static Oid
SenderOwner(Oid schema)
{
	Oid types[] = {JSONBOID, TEXTOID, TEXTOID, BOOLOID};

	return OwnerOfFunction(schema, "send", types, lengthof(types));
}

bool
RealtimeIsAvailable(Oid table_owner)
{
	Oid schema;
	Oid owner;

	if (paused_until != 0 && GetCurrentTimestamp() < paused_until)
		return false;
	schema = get_namespace_oid("realtime", true);
	if (!OidIsValid(schema) || !superuser_arg(OwnerOfSchema(schema)))
		return false;
	owner = SenderOwner(schema);
	/* only a superuser's function runs as a superuser */
	return OidIsValid(owner) && (superuser_arg(owner) || !superuser_arg(table_owner));
}

void
RealtimeSend(const char *vibelog_id, const char *status, const char *request_id)
{
	Oid types[] = {TEXTOID, TEXTOID, TEXTOID};
	Datum args[] = {CStringGetTextDatum(vibelog_id), CStringGetTextDatum(status),
					request_id ? CStringGetTextDatum(request_id) : (Datum) 0};
	int rc = SPI_execute_with_args("SELECT realtime.send(pg_catalog.jsonb_build_object('vibelog_id', $1, 'status', $2,"
								   " 'request_id', $3), 'status', 'vibelog:' OPERATOR(pg_catalog.||) $1, true)",
								   lengthof(types), types, args, request_id ? "   " : "  n", false, 0);

	if (rc < 0)
		elog(ERROR, "vibevideo: could not call realtime.send: %s", SPI_result_code_string(rc));
}

void
RealtimePause(void)
{
	paused_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PAUSE_MS);
}
