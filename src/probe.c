/*
 * probe.c
 *	  What vibevideo.check_config() checks about processes and services.
 *
 * By their grants only the owner can call these functions.  No result contains
 * a key.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "binding.h"
#include "call.h"
#include "finding.h"
#include "guc.h"
#include "hosts.h"
#include "ownerror.h"
#include "realtime.h"
#include "rowguard.h"
#include "secret.h"
#include "shmem.h"
#include "statement.h"
#include "storageprobe.h"
#include "version.h"
#include "webhookprobe.h"
#include "wire.h"

PG_FUNCTION_INFO_V1(vibevideo_wake);
PG_FUNCTION_INFO_V1(vibevideo_worker_info);
PG_FUNCTION_INFO_V1(vibevideo_account_wait);
PG_FUNCTION_INFO_V1(vibevideo_library_version);
PG_FUNCTION_INFO_V1(vibevideo_identity);
PG_FUNCTION_INFO_V1(vibevideo_probe);

/* no request has this id: a valid key gets "not found", an invalid one "unauthorized" */
#define PROBE_REQUEST_ID "00000000-0000-0000-0000-000000000000"

Datum
vibevideo_wake(PG_FUNCTION_ARGS)
{
	/* no VersionCheck: the update script calls this, and the worker checks the version itself */
	ShmemWakeAtCommit();
	PG_RETURN_VOID();
}

static Datum
MakeRow(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "vibevideo: return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

#define WORKER_COLUMNS 18

/* a row that is filled in from left to right */
typedef struct RowOut
{
	int n;
	Datum values[WORKER_COLUMNS];
	bool nulls[WORKER_COLUMNS];
} RowOut;

static void
Put(RowOut *row, Datum value, bool isnull)
{
	row->nulls[row->n] = isnull;
	row->values[row->n++] = value;
}

/* 0 is null */
static void
PutTime(RowOut *row, TimestampTz time)
{
	Put(row, TimestampTzGetDatum(time), time == 0);
}

static void
PutSlot(RowOut *row, const DatabaseSlot *slot, bool found)
{
	Put(row, Int32GetDatum(slot->worker_pid), slot->worker_pid == 0);
	PutTime(row, slot->started_at);
	PutTime(row, slot->heartbeat_at);
	PutTime(row, slot->last_poll_at);
	Put(row, Int64GetDatum((int64) slot->starts), !found);
	Put(row, Int64GetDatum((int64) slot->failures), !found);
	for (int i = 0; i <= SERVICE_STORAGE; i++)
		PutTime(row, (TimestampTz) slot->breakers[i].until * 1000);
	for (int i = 0; i <= SERVICE_STORAGE; i++)
		PutTime(row, slot->breakers[i].until == 0 ? 0 : (TimestampTz) slot->breakers[i].opened_at * 1000);
	for (int i = 0; i <= SERVICE_STORAGE; i++)
		Put(row, BoolGetDatum(slot->breakers[i].probing), !found);
	Put(row, BoolGetDatum(slot->has_fal_key), !slot->keys_known);
	Put(row, BoolGetDatum(slot->has_storage_key), !slot->keys_known);
	Put(row, Int32GetDatum(slot->copies), slot->worker_pid == 0);
}

Datum
vibevideo_worker_info(PG_FUNCTION_ARGS)
{
	DatabaseSlot slot = {0};
	RowOut row = {0};
	TimestampTz restart_at;
	const char *absence;
	bool cannot_start;
	bool found;

	/* with another version the worker is paused */
	VersionCheck();
	found = ShmemReadSlot(MyDatabaseId, &slot);
	PutSlot(&row, &slot, found);
	absence = ShmemWorkerAbsence(MyDatabaseId, &restart_at, &cannot_start);
	Put(&row, absence ? CStringGetTextDatum(absence) : (Datum) 0, absence == NULL);
	PutTime(&row, restart_at);
	Put(&row, BoolGetDatum(cannot_start), false);
	Assert(row.n == WORKER_COLUMNS);
	PG_RETURN_DATUM(MakeRow(fcinfo, row.values, row.nulls));
}

/*----------
 * vibevideo_internal.account_wait(OUT since timestamptz, OUT until timestamptz, OUT probed bool)
 *
 * Nulls unless submits wait for money at fal.ai.
 *----------
 */
Datum
vibevideo_account_wait(PG_FUNCTION_ARGS)
{
	DatabaseSlot slot = {0};
	RowOut row = {0};
	const Breaker *breaker = &slot.breakers[SERVICE_ACCOUNT];

	VersionCheck();
	(void) ShmemReadSlot(MyDatabaseId, &slot);
	PutTime(&row, breaker->until == 0 ? 0 : (TimestampTz) breaker->opened_at * 1000);
	PutTime(&row, (TimestampTz) breaker->until * 1000);
	Put(&row, BoolGetDatum(breaker->probing), breaker->until == 0);
	PG_RETURN_DATUM(MakeRow(fcinfo, row.values, row.nulls));
}

Datum
vibevideo_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(VIBEVIDEO_VERSION));
}

Datum
vibevideo_identity(PG_FUNCTION_ARGS)
{
	Datum values[3];
	bool nulls[3] = {false};

	/* callers are about to bind a table, to check the binding or to let it act */
	VersionCheck();
	values[0] = Int64GetDatum((int64) ShmemClusterIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	/* a standby has no timeline of its own, but follows its primary's */
	nulls[2] = RecoveryInProgress();
	values[2] = Int32GetDatum(nulls[2] ? 0 : (int32) GetWALInsertionTimeLine());
	PG_RETURN_DATUM(MakeRow(fcinfo, values, nulls));
}

static Finding
ProbeFalKey(void)
{
	char key[SECRET_SIZE];
	const char *source;
	bool found = SecretRead(SECRET_FAL, key, sizeof(key), &source);

	SecretWipe(key, sizeof(key));
	if (found)
		return Ok(psprintf("found a key in %s", source));
	return Bad(pstrdup("no fal.ai API key"), SecretHint(SECRET_FAL));
}

/* nothing but the bill and the balance is lost without one */
static Finding
ProbeFalAdminKey(void)
{
	char key[SECRET_SIZE];
	const char *source;
	bool found = SecretRead(SECRET_FAL_ADMIN, key, sizeof(key), &source);

	SecretWipe(key, sizeof(key));
	return Ok(found ? psprintf("found a key in %s", source) : pstrdup("no key of scope ADMIN: fal.ai's bill and balance are not read, and nothing is erased there"));
}

static Finding
ProbeQueue(void)
{
	char key[SECRET_SIZE];
	HttpEngine *engine;
	HttpRequest *request;
	FalStatus status;
	const char *scheme;
	int http;

	if (!SecretRead(SECRET_FAL, key, sizeof(key), NULL))
		return Ok(pstrdup("not checked: see line fal_key"));
	engine = HttpBackendEngine();
	request = CallFal(engine, FAL_CALL_STATUS, key, vv_model, PROBE_REQUEST_ID, NULL);
	SecretWipe(key, sizeof(key));
	if (request == NULL)
		return Bad(pstrdup("could not build the request"),
				   "Check vibevideo.fal_queue_url, vibevideo.model and the key for stray characters.");
	HttpFinish(engine, request, NULL);
	FalJudgeStatus(HttpReplyOf(request), time(NULL), &status);
	scheme = WireSchemeHint(HttpReplyOf(request), vv_fal_queue_url);
	http = HttpReplyOf(request)->status;
	HttpFree(request);
	switch (status.state)
	{
		case FAL_STATE_DENIED:
			return Bad(psprintf("%s answers, but rejects the key: %s", vv_fal_queue_url, status.error.message),
					   "Create a new key at fal.ai/dashboard/keys and store it as id:secret.");
		case FAL_STATE_RETRY:
			return Bad(http > 0 ? psprintf("%s does not answer properly (HTTP %d): %s", vv_fal_queue_url, http, status.error.message)
								: psprintf("%s does not answer: %s", vv_fal_queue_url, status.error.message),
					   scheme ? scheme : "Check the network, DNS and vibevideo.fal_queue_url; set vibevideo.ca_file if certificates are rejected.");
		default:
			return Ok(psprintf("%s answers and accepts the key", vv_fal_queue_url));
	}
}

static Finding
ProbeMediaHosts(void)
{
	char why[200];

	if (!HostsListIsValid(vv_media_hosts, why, sizeof(why)))
		return Bad(pstrdup(why), "Fix vibevideo.media_hosts.");
	if (vv_media_hosts[strspn(vv_media_hosts, " \t\r\n")] == '\0')
		return Bad(pstrdup("videos may come from nowhere: vibevideo.media_hosts is empty"),
				   "Set it to the hosts of fal.ai's CDN, or RESET it.");
	/* a proxy may reach what we may not */
	if (vv_proxy[0] == '\0' && HostsListHasDeadEntry(vv_media_hosts, why, sizeof(why)))
		return Bad(psprintf("no video can come from %s", why),
				   "Name scheme and port of a host in a private network, such as http://10.0.0.5:9000, in vibevideo.media_hosts.");
	if (strstr(vv_media_hosts, "http://") != NULL)
		return Warn(psprintf("videos may come over plain http: %s", vv_media_hosts),
					"Use that for tests only; remove the http:// entry in production.");
	return Ok(psprintf("videos may come from %s", vv_media_hosts));
}

/* of which row a broadcast is tried: policies may look at it */
static Statement find_newest_key = {
	"SELECT j.vibelog_id FROM vibevideo.job j WHERE j.relation = $1 ORDER BY j.job_id DESC LIMIT 1"};

static const char *
NewestKey(Oid relid)
{
	Args args = {0};

	ArgRelation(&args, relid);
	return StatementRun(&find_newest_key, &args) > 0 ? ResultText(0, 1) : "check";
}

static Finding
TryBroadcast(const Binding *binding)
{
	const char *owner = quote_identifier(GetUserNameFromId(binding->owner, false));
	char *lacks = RealtimeOwnerLacks(binding->owner);
	char *error;

	if (lacks)
		return Bad(psprintf("nothing is broadcast: the table's owner %s lacks %s", owner, lacks),
				   psprintf("GRANT %s TO %s;", lacks, owner));
	error = RealtimeTry(binding, NewestKey(binding->relid));
	if (error == NULL)
		return Ok(psprintf("%s can send through realtime.send", owner));
	if (RealtimeOwnerNeedsPolicy(binding->owner) && strstr(error, "(SQLSTATE 42501)"))
		return Bad(psprintf("nothing is broadcast, and realtime.send does not say so: %s", error),
				   psprintf("CREATE POLICY \"vibevideo sends\" ON realtime.messages FOR INSERT TO %s"
							" WITH CHECK (extension = 'broadcast' AND topic LIKE 'vibelog:%%');",
							owner));
	return Warn(psprintf("broadcasts do not arrive now: %s", error),
				"Realtime makes a partition of realtime.messages for each day while it runs; see its log.");
}

static Finding
ProbeBroadcasts(void)
{
	Binding binding;

	if (!BindingLoad(&binding) || !binding.realtime)
		return Ok(pstrdup("not asked for: the table is not attached with realtime => true"));
	switch (RealtimeLook(binding.owner))
	{
		case REALTIME_ABSENT:
			return Ok(pstrdup("there is no realtime.send in this database: changes of the row are all that subscribers get"));
		case REALTIME_FOREIGN:
			return Warn(pstrdup("nothing is broadcast: schema realtime does not belong to a superuser, as Supabase's does"),
						"If it is not Supabase's, attach with realtime => false.");
		case REALTIME_TOO_MUCH:
			return Warn(psprintf("nothing is broadcast: realtime.send would run with the rights of %s, a superuser",
								 quote_identifier(GetUserNameFromId(binding.owner, false))),
						psprintf("ALTER TABLE %s OWNER TO an ordinary role, on Supabase postgres.", binding.relation));
		case REALTIME_AVAILABLE:
			break;
	}
	if (XactReadOnly)
		return Ok(pstrdup("not checked: this transaction is read-only"));
	return TryBroadcast(&binding);
}

/* In the order of check_services(). */
static const struct
{
	const char *name;
	Finding (*probe)(void);
} probes[] = {
	{"fal_key", ProbeFalKey},
	{"queue", ProbeQueue},
	{"fal_admin_key", ProbeFalAdminKey},
	{"storage_key", StorageProbeKey},
	{"bucket", StorageProbeBucket},
	{"bucket_public", StorageProbeAccess},
	{"bucket_size", StorageProbeSize},
	{"public_url", StorageProbePublicUrl},
	{"media_hosts", ProbeMediaHosts},
	{"webhook", WebhookProbe},
	{"broadcasts", ProbeBroadcasts},
};

static Finding
Probe(const char *what)
{
	if (RowGuardIsWriting())
		return Warn(pstrdup("not asked: a row of the app is being written"), "Ask outside of the table's triggers.");
	for (int i = 0; i < lengthof(probes); i++)
		if (strcmp(probes[i].name, what) == 0)
			return probes[i].probe();
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized probe \"%s\"", what)));
}

Datum
vibevideo_probe(PG_FUNCTION_ARGS)
{
	char *what;
	Finding finding;
	Datum values[3] = {0};
	bool nulls[3] = {false};

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name of the probe must not be null")));
	what = text_to_cstring(PG_GETARG_TEXT_PP(0));
	StatementConnect();
	finding = Probe(what);
	values[0] = CStringGetTextDatum(finding.status);
	values[1] = CStringGetTextDatum(finding.detail);
	nulls[2] = (finding.hint == NULL);
	if (finding.hint)
		values[2] = CStringGetTextDatum(finding.hint);
	for (int i = 0; i < 3; i++)
		if (!nulls[i])
			values[i] = SPI_datumTransfer(values[i], false, -1);
	SPI_finish();
	PG_RETURN_DATUM(MakeRow(fcinfo, values, nulls));
}
