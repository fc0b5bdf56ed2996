/*
 * publicapi.c
 *	  What the public functions have in common.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "approw.h"
#include "guc.h"
#include "publicapi.h"
#include "statement.h"
#include "wire.h"

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
	StatementBegin();
	BindingRequire(binding, for_update);
	return AppRowCheck(binding, vibelog_id, for_update);
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
ApiLostRace(const char *vibelog_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("another call just finished a job of row %s", vibelog_id),
			 errhint("Try again.")));
}

/*----------
 * A row of the app, seen as a video
 *----------
 */
pg_noreturn static void
JobVanished(int64 job_id)
{
	elog(ERROR, "vibevideo: job %lld vanished", (long long) job_id);
}

/* the composite in the first column, copied out of SPI's memory */
static Datum
FirstVideo(void)
{
	bool isnull;
	Datum value = ResultDatum(0, 1, &isnull);

	return SPI_datumTransfer(value, false, -1);
}

static Statement describe = {
	"SELECT vibevideo.describe(j) FROM vibevideo.job j WHERE j.job_id = $1"};

Datum
ApiDescribe(int64 job_id)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	if (StatementRun(&describe, &args) == 0)
		JobVanished(job_id);
	return FirstVideo();
}

static Statement describe_none = {
	"SELECT ROW($1, NULL, NULL, NULL, 'No video has been asked for', NULL, NULL, NULL, NULL, NULL,"
	" NULL, NULL, NULL)::vibevideo.video"};

Datum
ApiDescribeNone(const char *vibelog_id)
{
	Args args = {0};

	ArgText(&args, vibelog_id);
	StatementRun(&describe_none, &args);
	return FirstVideo();
}

static Statement describe_many = {
	"SELECT x.nth, (SELECT vibevideo.describe(j) FROM vibevideo.job j WHERE j.job_id = x.job_id)"
	" FROM unnest($1) WITH ORDINALITY AS x(job_id, nth)"};

void
ApiDescribeMany(Tuplestorestate *store, const int64 *job_ids, int n)
{
	HeapTupleData *tuples = palloc0(sizeof(HeapTupleData) * n);
	Args args = {0};
	uint64 found;

	ArgInt8s(&args, job_ids, n);
	found = StatementRun(&describe_many, &args);
	for (uint64 i = 0; i < found; i++)
	{
		bool isnull;
		HeapTupleData *tuple = &tuples[ResultInt(i, 1, 1) - 1];
		Datum video = ResultDatum(i, 2, &isnull);

		if (isnull)
			continue;
		tuple->t_data = DatumGetHeapTupleHeader(video);
		tuple->t_len = HeapTupleHeaderGetDatumLength(tuple->t_data);
	}
	for (int i = 0; i < n; i++)
	{
		if (tuples[i].t_data == NULL)
			JobVanished(job_ids[i]);
		tuplestore_puttuple(store, &tuples[i]);
	}
}

/*----------
 * What PostgREST is told of the answer
 *
 * It reads these settings after the call and before the commit.  When the call
 * raises it does not: an error's status comes from its SQLSTATE, and it has no
 * headers of ours.
 *----------
 */

/* called by a trigger of another request, that one's answer is not ours to set */
static bool
AnswerIsOurs(void)
{
	const char *path = GetConfigOption("request.path", true, false);

	return path == NULL || path[0] == '\0' || strstr(path, "rpc/vibevideo_") != NULL;
}

static void
SetForTransaction(const char *setting, const char *value)
{
	(void) set_config_option(setting, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* Is there an object key of that name, in any case?  A value may be called so as well. */
static bool
HasHeader(const char *headers, const char *name)
{
	char *quoted = psprintf("\"%s\"", name);

	for (const char *p = headers; (p = strcasestr(p, quoted)) != NULL;)
	{
		p += strlen(quoted);
		if (p[strspn(p, " \t\r\n")] == ':')
			return true;
	}
	return false;
}

/*
 * response.headers is a JSON array of objects with one key each, to which a
 * pre-request function or a trigger may have added.  What is there stays.
 */
static void
AddHeader(const char *name, const char *value)
{
	const char *headers = GetConfigOption("response.headers", true, false);
	int len = headers ? strlen(headers) : 0;
	int start = headers ? strspn(headers, " \t\r\n") : 0;
	bool is_first;

	while (len > start && strchr(" \t\r\n", headers[len - 1]))
		len--;
	if (len == start)
	{
		headers = "[]";
		start = 0;
		len = 2;
	}
	/* somebody's mistake, which PostgREST reports better */
	if (len < 2 || headers[start] != '[' || headers[len - 1] != ']' || HasHeader(headers, name))
		return;
	is_first = (start + 1 + strspn(headers + start + 1, " \t\r\n") == len - 1);
	SetForTransaction("response.headers",
					  psprintf("%.*s%s{\"%s\": \"%s\"}]", len - 1, headers, is_first ? "" : ", ", name, value));
}

/*
 * 202: come back later, and where.  The URL is relative to the one that was
 * asked for: PostgREST does not know under which prefix a gateway has it.
 */
void
ApiAccepted(const char *vibelog_id)
{
	char url[64 + 3 * MAX_KEY_BYTES] = "../rpc/vibevideo_status?vibelog_id=";

	if (!AnswerIsOurs())
		return;
	SetForTransaction("response.status", "202");
	if (vibelog_id && WireAppendEncoded(url, sizeof(url), vibelog_id, ""))
		AddHeader("Location", url);
	AddHeader("Retry-After", psprintf("%d", vv_poll_interval));
}

void
ApiRefusedByFal(void)
{
	if (AnswerIsOurs())
		SetForTransaction("response.status", "502");
}
