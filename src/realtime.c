/*
 * realtime.c
 *	  Broadcasts a row's new status through Supabase Realtime.
 *
 * Best effort: the row is the truth, and the function belongs to Realtime.  It
 * is called as the owner of the app's table, like the triggers of that table,
 * and only if a superuser owns its schema.
 *
 * The function makes a warning of each error, so that nobody notices one
 * (supabase/realtime 2.129.8, tenant_schema/realtime/functions/send.sql).  Its
 * table has row-level security, and is partitioned by the day.  Therefore
 * check_config tries what it does, as the same role.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "owner.h"
#include "ownerror.h"
#include "realtime.h"
#include "rowguard.h"

#define PAUSE_MS 60000

static TimestampTz paused_until = 0;

#define SENDER_ARGS \
	{ \
		JSONBOID, TEXTOID, TEXTOID, BOOLOID \
	}

/* realtime.send(jsonb, text, text, boolean); InvalidOid if there is none */
static Oid
SenderOwner(Oid schema)
{
	Oid types[] = SENDER_ARGS;

	return OwnerOfFunction(schema, "send", types, lengthof(types));
}

RealtimeState
RealtimeLook(Oid table_owner)
{
	Oid schema = get_namespace_oid("realtime", true);
	Oid owner = OidIsValid(schema) ? SenderOwner(schema) : InvalidOid;

	if (!OidIsValid(owner))
		return REALTIME_ABSENT;
	if (!superuser_arg(OwnerOfSchema(schema)))
		return REALTIME_FOREIGN;
	/* only a superuser's function runs as a superuser */
	return superuser_arg(owner) || !superuser_arg(table_owner) ? REALTIME_AVAILABLE : REALTIME_TOO_MUCH;
}

bool
RealtimeIsAvailable(Oid table_owner)
{
	if (paused_until != 0 && GetCurrentTimestamp() < paused_until)
		return false;
	return RealtimeLook(table_owner) == REALTIME_AVAILABLE;
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

/*----------
 * Trying it out
 *----------
 */
static void
Execute(const char *sql, const char *topic)
{
	Oid types[] = {TEXTOID};
	Datum args[] = {CStringGetTextDatum(topic)};
	int rc = SPI_execute_with_args(sql, lengthof(types), types, args, NULL, false, 0);

	if (rc < 0)
		elog(ERROR, "vibevideo: could not try a broadcast: %s", SPI_result_code_string(rc));
}

typedef struct Trial
{
	const char *vibelog_id;
	bool arrived;
} Trial;

/* What realtime.send does, without its handler of errors, and then itself. */
static void
Try(const Binding *binding, void *arg)
{
	Trial *trial = arg;
	char *topic = psprintf("vibelog:%s", trial->vibelog_id);

	/* policies read the topic there */
	Execute("SELECT pg_catalog.set_config('realtime.topic', $1, true)", topic);
	/* nothing keeps a superuser from sending, and the table's triggers may be anybody's */
	if (!superuser_arg(binding->owner))
		Execute("INSERT INTO realtime.messages (payload, event, topic, private, extension)"
				" VALUES (pg_catalog.jsonb_build_object('vibelog_id', $1), 'status', $1, true, 'broadcast')",
				topic);
	RealtimeSend(trial->vibelog_id, "queued", NULL);
	trial->arrived = true;
	/* only an error undoes a step */
	elog(ERROR, "vibevideo: the broadcast was a trial");
}

char *
RealtimeTry(const Binding *binding, const char *vibelog_id)
{
	Trial trial = {vibelog_id, false};
	char *volatile error = NULL;

	RowGuardLimitTime(true);
	PG_TRY();
	{
		error = RowGuardRun(binding, &vibelog_id, 1, Try, &trial);
	}
	PG_FINALLY();
	{
		RowGuardLimitTime(false);
	}
	PG_END_TRY();
	return trial.arrived ? NULL : error;
}

char *
RealtimeOwnerLacks(Oid table_owner)
{
	Oid types[] = SENDER_ARGS;
	Oid schema = get_namespace_oid("realtime", true);
	Oid messages = OidIsValid(schema) ? get_relname_relid("messages", schema) : InvalidOid;
	Oid sender = LookupFuncName(list_make2(makeString("realtime"), makeString("send")), lengthof(types), types, true);

	if (OidIsValid(schema) && CompatNamespaceAclCheck(schema, table_owner) != ACLCHECK_OK)
		return pstrdup("USAGE ON SCHEMA realtime");
	if (OidIsValid(sender) && CompatProcAclCheck(sender, table_owner) != ACLCHECK_OK)
		return pstrdup("EXECUTE ON FUNCTION realtime.send(jsonb, text, text, boolean)");
	if (OidIsValid(messages) && pg_class_aclcheck(messages, table_owner, ACL_INSERT) != ACLCHECK_OK)
		return pstrdup("INSERT ON realtime.messages");
	return NULL;
}

bool
RealtimeOwnerNeedsPolicy(Oid table_owner)
{
	Oid schema = get_namespace_oid("realtime", true);
	Oid messages = OidIsValid(schema) ? get_relname_relid("messages", schema) : InvalidOid;

	return OidIsValid(messages) && check_enable_rls(messages, table_owner, true) == RLS_ENABLED;
}
