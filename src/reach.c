/*
 * reach.c
 *	  Whether fal and Storage can be reached, asked for by an operator.
 *
 * A service that answers has its circuit breaker closed at once.  One that does
 * not keeps the wait that it has: to ask often must not make it longer.  What is
 * asked changes nothing there: the state of a request that does not exist, and
 * the bucket; of an S3 endpoint its root, without a key.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "call.h"
#include "guc.h"
#include "ownerror.h"
#include "rowguard.h"
#include "secret.h"
#include "shmem.h"
#include "statement.h"
#include "wire.h"

PG_FUNCTION_INFO_V1(vibevideo_reach);

/* the API's roles have 8 s for a call, and there are two services */
#define ASK_MS 3000
#define MAX_ANSWER (64 * 1024)
#define NO_REQUEST "00000000-0000-0000-0000-000000000000"

typedef struct Answer
{
	bool asked;
	bool outage;
	char *detail;
} Answer;

static Answer
NotAsked(const char *why)
{
	return (Answer){false, false, pstrdup(why)};
}

/*
 * What is asked is made up, or is asked without a key: such a status is the usual
 * answer, and no error.
 */
typedef struct Usual
{
	int status; /* 0: none */
	const char *words;
} Usual;

static char *
AnsweredWith(int status, Usual usual)
{
	if (status == usual.status)
		return psprintf("it answers (HTTP %d, since it was asked %s)", status, usual.words);
	if (status == 401 || status == 403)
		return psprintf("it answers, but rejects the key (HTTP %d)", status);
	return psprintf("it answers (HTTP %d)", status);
}

static Answer
Finish(HttpEngine *engine, HttpRequest *request, Usual usual, bool (*is_outage)(const HttpReply *reply))
{
	const HttpReply *reply;
	char words[300];
	Answer answer = {.asked = true};

	if (request == NULL)
		return NotAsked("could not build the request: see check_config");
	HttpFinish(engine, request, NULL);
	reply = HttpReplyOf(request);
	answer.outage = is_outage(reply);
	WireDescribe(reply, words, sizeof(words));
	answer.detail = answer.outage ? pstrdup(words) : AnsweredWith(reply->status, usual);
	HttpFree(request);
	return answer;
}

static Answer
AskFal(void)
{
	char key[SECRET_SIZE];
	HttpEngine *engine;
	HttpRequest *request;

	if (!SecretRead(SECRET_FAL, key, sizeof(key), NULL))
		return NotAsked("there is no key");
	engine = HttpBackendEngine();
	request = CallFal(engine, FAL_CALL_STATUS, key, vv_model, NO_REQUEST, NULL);
	SecretWipe(key, sizeof(key));
	return Finish(engine, request, (Usual){404, "about a request that does not exist"}, FalIsOutage);
}

/* An S3 endpoint refuses what is not signed: that is an answer. */
static Answer
AskS3(void)
{
	HttpEngine *engine = HttpBackendEngine();
	Call call;

	CallInit(&call, HTTP_GET, vv_poll_timeout, MAX_ANSWER, NULL);
	(void) CallBase(vv_storage_url, call.url, sizeof(call.url));
	return Finish(engine, CallSend(&call, engine), (Usual){403, "without a key"}, StorageIsOutage);
}

static Answer
AskSupabase(void)
{
	char key[SECRET_SIZE];
	HttpEngine *engine;
	HttpRequest *request;

	if (!SecretRead(SECRET_STORAGE, key, sizeof(key), NULL))
		return NotAsked("there is no key");
	engine = HttpBackendEngine();
	request = CallBucket(engine, key, StorageFirstForm(key), NULL);
	SecretWipe(key, sizeof(key));
	return Finish(engine, request, (Usual){0, NULL}, StorageIsOutage);
}

static Answer
AskStorage(void)
{
	if (vv_storage_kind == STORAGE_KIND_NONE)
		return NotAsked("vibevideo.storage_kind is none");
	if (vv_storage_url[0] == '\0')
		return NotAsked("vibevideo.storage_url is not set");
	return vv_storage_kind == STORAGE_KIND_S3 ? AskS3() : AskSupabase();
}

/* within ASK_MS, if no shorter time is set */
static Answer
AskInTime(Service service)
{
	int nest = NewGUCNestLevel();
	Answer answer;

	if (vv_poll_timeout > ASK_MS)
		(void) set_config_option("vibevideo.poll_timeout", CppAsString2(ASK_MS), PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	answer = service == SERVICE_FAL ? AskFal() : AskStorage();
	AtEOXact_GUC(false, nest);
	return answer;
}

static Answer
Ask(Service service)
{
	Answer answer = RowGuardIsWriting() ? NotAsked("a row of the app is being written") : AskInTime(service);

	if (answer.asked && !answer.outage)
	{
		(void) ShmemServiceReport(service, false);
		ShmemWakeWorker(MyDatabaseId);
		if (service == SERVICE_FAL)
		{
			ShmemProbeAtCommit(SERVICE_ACCOUNT);
			ShmemWakeAtCommit();
		}
	}
	return answer;
}

/*----------
 * vibevideo_internal.reach(service text, OUT was_down boolean, OUT answers boolean,
 *				   OUT detail text, OUT next_probe_at timestamptz)
 *----------
 */
Datum
vibevideo_reach(PG_FUNCTION_ARGS)
{
	Service service = strcmp(text_to_cstring(PG_GETARG_TEXT_PP(0)), "fal.ai") == 0 ? SERVICE_FAL : SERVICE_STORAGE;
	TimestampTz was_until = ShmemServiceUntil(service);
	TimestampTz until;
	TupleDesc desc;
	Answer answer;
	Datum values[4];
	bool nulls[4] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "vibevideo: return type must be a row type");
	StatementConnect();
	answer = Ask(service);
	values[2] = SPI_datumTransfer(CStringGetTextDatum(answer.detail), false, -1);
	SPI_finish();
	until = ShmemServiceUntil(service);
	values[0] = BoolGetDatum(was_until != 0);
	nulls[1] = !answer.asked;
	values[1] = BoolGetDatum(!answer.outage);
	nulls[3] = (until == 0);
	values[3] = TimestampTzGetDatum(until);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
