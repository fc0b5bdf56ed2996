/*
 * platform.c
 *	  Questions to fal.ai's platform API that belong to no job.
 *
 * An operator's call asks here and waits; what the worker asks is in errand.c.  The
 * answer is passed on as text: what it means, and what becomes of it, is the
 * business of the SQL that asks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "call.h"
#include "json.h"
#include "ownerror.h"
#include "platform.h"
#include "rowguard.h"
#include "secret.h"
#include "statement.h"
#include "wire.h"

PG_FUNCTION_INFO_V1(vibevideo_platform);

PlatformAnswer
PlatformNoAnswer(const char *why)
{
	return (PlatformAnswer){.why = pstrdup(why)};
}

PlatformAnswer
PlatformRead(const HttpReply *reply)
{
	PlatformAnswer answer = {.status = reply->status};
	char words[300];

	if (reply->status != 200 || reply->outcome != HTTP_ANSWERED)
	{
		WireDescribe(reply, words, sizeof(words));
		answer.why = pstrdup(words);
	}
	else if (!JsonPick(reply->body, reply->body_len, NULL, 0))
		answer.why = pstrdup("the answer is not JSON");
	else
	{
		char *body = pnstrdup(reply->body, reply->body_len);

		answer.body = pg_any_to_server(body, (int) reply->body_len, PG_UTF8);
	}
	return answer;
}

void
PlatformSetQuery(PlatformQuestion *question, Datum array)
{
	Datum *texts;
	bool *nulls;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &texts, &nulls, &question->n);
	question->query = palloc0(sizeof(char *) * (question->n + 1));
	for (int i = 0; i < question->n; i++)
		question->query[i] = nulls[i] ? pstrdup("") : TextDatumGetCString(texts[i]);
}

bool
PlatformKey(bool admin, char *key, size_t size)
{
	return SecretRead(admin ? SECRET_FAL_ADMIN : SECRET_FAL, key, size, NULL);
}

HttpRequest *
PlatformAsk(HttpEngine *engine, const PlatformQuestion *question, const char *key)
{
	return CallFalPlatform(engine, key, question->what, (const char *const *) question->query, question->n);
}

/* in a session, which waits for the answer */
static PlatformAnswer
AskAndWait(const PlatformQuestion *question)
{
	char key[SECRET_SIZE];
	HttpEngine *engine;
	HttpRequest *request;
	PlatformAnswer answer;

	if (RowGuardIsWriting())
		return PlatformNoAnswer("a row of the app is being written");
	if (!PlatformKey(question->admin, key, sizeof(key)))
		return PlatformNoAnswer("there is no key");
	engine = HttpBackendEngine();
	request = PlatformAsk(engine, question, key);
	SecretWipe(key, sizeof(key));
	if (request == NULL)
		return PlatformNoAnswer(PLATFORM_NOT_BUILT);
	HttpFinish(engine, request, NULL);
	answer = PlatformRead(HttpReplyOf(request));
	HttpFree(request);
	return answer;
}

/*----------
 * vibevideo_internal.platform(what text, query text[], admin bool, OUT status int,
 *							   OUT body text, OUT why text)
 *----------
 */
Datum
vibevideo_platform(PG_FUNCTION_ARGS)
{
	PlatformQuestion question = {.what = text_to_cstring(PG_GETARG_TEXT_PP(0)), .admin = PG_GETARG_BOOL(2)};
	TupleDesc desc;
	Datum values[3];
	bool nulls[3];
	PlatformAnswer answer;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "vibevideo: return type must be a row type");
	PlatformSetQuery(&question, PG_GETARG_DATUM(1));
	StatementConnect();
	answer = AskAndWait(&question);
	nulls[0] = (answer.status == 0);
	nulls[1] = (answer.body == NULL);
	nulls[2] = (answer.why == NULL);
	values[0] = Int32GetDatum(answer.status);
	values[1] = nulls[1] ? (Datum) 0 : SPI_datumTransfer(CStringGetTextDatum(answer.body), false, -1);
	values[2] = nulls[2] ? (Datum) 0 : SPI_datumTransfer(CStringGetTextDatum(answer.why), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
