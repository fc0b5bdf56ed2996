/*
 * platform.c
 *	  What fal.ai's platform API says of a model, asked for by an operator.
 *
 * The answer is passed on as text: what it means, and what becomes of it, is the
 * business of the SQL that asks.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "call.h"
#include "json.h"
#include "ownerror.h"
#include "rowguard.h"
#include "secret.h"
#include "statement.h"
#include "wire.h"

PG_FUNCTION_INFO_V1(vibevideo_platform);

typedef struct Said
{
	char *body; /* JSON; NULL: there is none */
	char *why;	/* there is none */
} Said;

static Said
Read(const HttpReply *reply)
{
	Said said = {0};
	char words[300];

	if (reply->status != 200)
	{
		WireDescribe(reply, words, sizeof(words));
		said.why = pstrdup(words);
	}
	else if (!JsonPick(reply->body, reply->body_len, NULL, 0))
		said.why = pstrdup("the answer is not JSON");
	else
	{
		char *body = pnstrdup(reply->body, reply->body_len);

		said.body = pg_any_to_server(body, (int) reply->body_len, PG_UTF8);
	}
	return said;
}

static Said
Ask(FalPlatform what, const char *endpoint)
{
	char key[SECRET_SIZE];
	HttpEngine *engine;
	HttpRequest *request;
	Said said;

	if (RowGuardIsWriting())
		return (Said){NULL, pstrdup("a row of the app is being written")};
	if (!SecretRead(SECRET_FAL, key, sizeof(key), NULL))
		return (Said){NULL, pstrdup("there is no key")};
	engine = HttpBackendEngine();
	request = CallFalPlatform(engine, what, key, endpoint);
	SecretWipe(key, sizeof(key));
	if (request == NULL)
		return (Said){NULL, pstrdup("could not build the request: see check_config")};
	HttpFinish(engine, request, NULL);
	said = Read(HttpReplyOf(request));
	HttpFree(request);
	return said;
}

/*----------
 * vibevideo_internal.platform(what text, endpoint text, OUT body text, OUT why text)
 *
 * what: pricing, or model.
 *----------
 */
Datum
vibevideo_platform(PG_FUNCTION_ARGS)
{
	FalPlatform what = strcmp(text_to_cstring(PG_GETARG_TEXT_PP(0)), "pricing") == 0 ? FAL_PLATFORM_PRICING : FAL_PLATFORM_MODEL;
	char *endpoint = text_to_cstring(PG_GETARG_TEXT_PP(1));
	TupleDesc desc;
	Datum values[2];
	bool nulls[2];
	Said said;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "vibevideo: return type must be a row type");
	StatementConnect();
	said = Ask(what, endpoint);
	nulls[0] = (said.body == NULL);
	nulls[1] = (said.why == NULL);
	values[0] = nulls[0] ? (Datum) 0 : SPI_datumTransfer(CStringGetTextDatum(said.body), false, -1);
	values[1] = nulls[1] ? (Datum) 0 : SPI_datumTransfer(CStringGetTextDatum(said.why), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
