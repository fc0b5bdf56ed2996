/*
 * publicapi.c
 *	  What the public functions have in common.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "approw.h"
#include "guc.h"
#include "json.h"
#include "publicapi.h"
#include "statement.h"
#include "whose.h"
#include "wire.h"

PG_FUNCTION_INFO_V1(vibevideo_shown);

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
		elog(ERROR, "vibevideo: could not determine the type of vibelog_id");
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

/*----------
 * vibevideo_internal.shown(name text) returns text
 *
 * How texts of the scripts name what callers may have made up.
 *----------
 */
Datum
vibevideo_shown(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(CStringGetTextDatum(WireShown(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
}

char *
ApiConnect(Binding *binding, const char *vibelog_id, bool for_update)
{
	char *key;

	ApiCheckKey(vibelog_id);
	StatementConnect();
	BindingRequire(binding, for_update);
	key = AppRowCheck(binding, vibelog_id, for_update);
	if (for_update)
		WhoseSettle(binding, &key, 1);
	return key;
}

static Statement read_subject = {
	"SELECT $1::jsonb ->> 'sub'"};

char *
ApiRequestingUser(void)
{
	const char *claims = GetConfigOption("request.jwt.claims", true, false);
	Args args = {0};

	/* in a pooled session that has set it once it is an empty string */
	if (claims == NULL || claims[0] == '\0')
		return NULL;
	ArgText(&args, claims);
	return StatementRun(&read_subject, &args) == 1 ? ResultText(0, 1) : NULL;
}

void
ApiLostRace(const char *vibelog_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("another call has just finished the job of row \"%s\"", WireShown(vibelog_id)),
			 errhint("Try again.")));
}

/*----------
 * A row of the app as vibevideo.video
 *----------
 */
pg_noreturn static void
ReportMissingJob(int64 job_id)
{
	elog(ERROR, "vibevideo: could not find job %lld", (long long) job_id);
}

/* the composite value in the first column, copied out of SPI's memory */
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
		ReportMissingJob(job_id);
	return FirstVideo();
}

/* under the key that its row has now */
static Statement describe_as = {
	"SELECT vibevideo.describe(jsonb_populate_record(j, jsonb_build_object('vibelog_id', $2)))"
	" FROM vibevideo.job j WHERE j.job_id = $1"};

Datum
ApiDescribeAs(int64 job_id, const char *vibelog_id)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	ArgText(&args, vibelog_id);
	if (StatementRun(&describe_as, &args) == 0)
		ReportMissingJob(job_id);
	return FirstVideo();
}

static Statement describe_none = {
	"SELECT ROW($1, NULL, NULL, NULL, 'No video has been requested', NULL, NULL, NULL, NULL, NULL,"
	" NULL, NULL, NULL, NULL, NULL)::vibevideo.video"};

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
			ReportMissingJob(job_ids[i]);
		tuplestore_puttuple(store, &tuples[i]);
	}
}

/*----------
 * Status and headers of PostgREST's answer
 *
 * PostgREST reads these settings after the call and before the commit, but not
 * after an error: then the status comes from the SQLSTATE, and our headers are
 * not sent.
 *----------
 */

/* when a trigger of another request calls us, the answer to that request is not ours to set */
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

static bool
VisitHeader(const char *raw, size_t raw_len, void *all_objects)
{
	*(bool *) all_objects &= (raw[0] == '{');
	return true;
}

/* Anything else is somebody's mistake, which PostgREST reports better than we could. */
static bool
IsListOfObjects(const char *headers)
{
	bool all_objects = true;

	return JsonEach(headers, strlen(headers), "", VisitHeader, &all_objects) && all_objects;
}

/*
 * The headers and one more; no row if they have that header already, in upper or
 * lower case.  This uses json, since jsonb rejects some numbers and escapes.
 */
static Statement add_header = {
	"SELECT json_agg(header)::text"
	" FROM (SELECT value FROM json_array_elements($1::json) UNION ALL SELECT json_build_object($2, $3)) AS h (header)"
	" HAVING count(*) FILTER (WHERE header::text COLLATE \"C\" ~* ('^[{][[:space:]]*\"' || $2 || '\"[[:space:]]*:')) = 1"};

/* NULL if the headers have it already */
static char *
WithHeader(const char *headers, const char *name, const char *value)
{
	Args args = {0};

	ArgText(&args, headers);
	ArgText(&args, name);
	ArgText(&args, value);
	return StatementRun(&add_header, &args) == 1 ? ResultText(0, 1) : NULL;
}

/*
 * response.headers is a JSON array of objects with one key each.  A pre-request
 * function or a trigger may have set some: these stay.
 */
static void
AddHeader(const char *name, const char *value)
{
	const char *headers = GetConfigOption("response.headers", true, false);

	if (headers == NULL || headers[strspn(headers, " \t\r\n")] == '\0')
		headers = "[]";
	if (!IsListOfObjects(headers))
		return;
	StatementConnect();
	headers = WithHeader(headers, name, value);
	if (headers)
		SetForTransaction("response.headers", headers);
	SPI_finish();
}

/* as add_header; what is there with one of the names, in upper or lower case, makes room */
static Statement set_headers = {
	"SELECT json_agg(h.header)::text FROM ("
	"SELECT o.header FROM json_array_elements($1::json) AS o (header)"
	" WHERE NOT EXISTS (SELECT FROM json_object_keys(o.header) k JOIN unnest($2) u ON lower(k) = lower(u))"
	" UNION ALL SELECT json_build_object(n.name, n.value) FROM unnest($2, $3) AS n (name, value)) AS h"};

void
ApiSetHeaders(const ApiHeader *headers, int n)
{
	const char *there = GetConfigOption("response.headers", true, false);
	char **names = palloc(n * sizeof(char *));
	char **values = palloc(n * sizeof(char *));
	Args args = {0};

	for (int i = 0; i < n; i++)
	{
		names[i] = pstrdup(headers[i].name);
		values[i] = pstrdup(headers[i].value);
	}
	if (there == NULL || there[strspn(there, " \t\r\n")] == '\0')
		there = "[]";
	if (!IsListOfObjects(there))
		return;
	StatementConnect();
	ArgText(&args, there);
	ArgTexts(&args, names, n);
	ArgTexts(&args, values, n);
	StatementRun(&set_headers, &args);
	SetForTransaction("response.headers", ResultText(0, 1));
	SPI_finish();
}

/*
 * 202: come back later, and where.  The URL is relative to the request's: not
 * even PostgREST knows under which prefix a gateway publishes it.
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
ApiRejectedByFal(void)
{
	if (AnswerIsOurs())
		SetForTransaction("response.status", "502");
}
