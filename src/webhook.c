/*
 * webhook.c
 *	  vibevideo_webhook: fal reports that a job is done.
 *
 * Anybody can call it, so only the signature is trusted: four headers, at most
 * five minutes old, Ed25519 over the raw body, by any of the cached keys.  All of
 * fal's customers share these keys, so the user id must be ours, too; the first
 * genuine call for a job of ours reveals it.
 *
 * The payload is neither parsed nor stored.  A genuine call for a job of ours
 * makes it due now, one for an unknown request makes the worker look up all lost
 * submits, and the worker asks fal for the truth.  A caller that is rejected
 * learns nothing more than that.
 *
 * The worker fetches the keys from vibevideo.fal_jwks_url into
 * vibevideo_internal.fal_account: twice a day if there is a webhook_url, and when a
 * signature matches none of them, but at most once a minute.  Since anybody can
 * call, the worker is asked for keys, or for a look-up, at most every 10 seconds
 * (ShmemRequestWork).
 */
#include "postgres.h"

#include "access/detoast.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "call.h"
#include "compat.h"
#include "guc.h"
#include "hook.h"
#include "job.h"
#include "json.h"
#include "ownerror.h"
#include "publicapi.h"
#include "shmem.h"
#include "signature.h"
#include "statement.h"
#include "version.h"
#include "webhook.h"

PG_FUNCTION_INFO_V1(vibevideo_webhook);

#define MAX_BODY (1024 * 1024)
#define MAX_HEADERS (64 * 1024)
#define MAX_JWKS (64 * 1024)
#define KEYS_MAX_AGE_MS (24 * 3600 * 1000) /* fal's docs: cache for a day at most */
#define KEYS_MIN_AGE_MS 60000			   /* forged calls must not make us fetch them all the time */

#define ERRCODE_UNAUTHORIZED MAKE_SQLSTATE('P', 'T', '4', '0', '1')
#define ERRCODE_TOO_LARGE MAKE_SQLSTATE('P', 'T', '4', '1', '3')

/*----------
 * The call
 *----------
 */
typedef struct WebhookHeaders
{
	char request_id[FAL_ID_SIZE];
	char user_id[129];
	char timestamp[16];
	char signature[2 * SIGNATURE_BYTES + 1];
} WebhookHeaders;

/* PostgREST turns the message into the HTTP reason phrase. */
pg_noreturn static void
Reject(int code, const char *message)
{
	ereport(ERROR, (errcode(code), errmsg("%s", message)));
}

/* PostgREST passes the request's headers as JSON, with their names in lower case. */
static bool
ReadHeaders(WebhookHeaders *headers)
{
	const char *json = GetConfigOption("request.headers", true, false);
	JsonWant wants[] = {
		{.path = "x-fal-webhook-request-id", .text = headers->request_id, .size = sizeof(headers->request_id)},
		{.path = "x-fal-webhook-user-id", .text = headers->user_id, .size = sizeof(headers->user_id)},
		{.path = "x-fal-webhook-timestamp", .text = headers->timestamp, .size = sizeof(headers->timestamp)},
		{.path = "x-fal-webhook-signature", .text = headers->signature, .size = sizeof(headers->signature)},
	};

	if (json == NULL || strlen(json) > MAX_HEADERS || !JsonPick(json, strlen(json), wants, lengthof(wants)))
		return false;
	for (int i = 0; i < lengthof(wants); i++)
		if (wants[i].kind != JSON_STRING || wants[i].truncated)
			return false;
	return true;
}

/*
 * check_config calls us this way, to see whether calls arrive here, and as they
 * were sent.  Anybody could: then it would report trouble where there is none.
 */
static void
NoteCheck(const WebhookHeaders *headers, text *body)
{
	uint64 number = HookCheckNumber(headers->request_id);

	if (number != 0 && VARSIZE_ANY_EXHDR(body) == strlen(HOOK_CHECK_BODY) &&
		memcmp(VARDATA_ANY(body), HOOK_CHECK_BODY, strlen(HOOK_CHECK_BODY)) == 0)
		ShmemNoteCheck(MyDatabaseId, number);
}

static Statement read_keys = {
	"SELECT f.keys, f.fetched_at FROM vibevideo_internal.fal_account f"};

static void
ReadSignatureKeys(SignatureKeys *keys, TimestampTz *fetched_at)
{
	unsigned char *bytes;
	size_t len;

	keys->n = 0;
	*fetched_at = 0;
	if (StatementRun(&read_keys, NULL) == 0)
		return;
	bytes = ResultBytes(0, 1, &len);
	if (bytes)
	{
		keys->n = Min(len / SIGNATURE_KEY_BYTES, SIGNATURE_MAX_KEYS);
		memcpy(keys->key, bytes, keys->n * SIGNATURE_KEY_BYTES);
	}
	*fetched_at = ResultTime(0, 2);
}

static void
CheckCall(const WebhookHeaders *headers, text *body)
{
	SignedMessage message = {
		.request_id = headers->request_id,
		.user_id = headers->user_id,
		.timestamp = headers->timestamp,
		.signature = headers->signature,
		.body = VARDATA_ANY(body),
		.body_len = VARSIZE_ANY_EXHDR(body),
	};
	SignatureKeys keys;
	TimestampTz fetched_at;

	if (!SignatureIsFresh(&message, (int64) time(NULL)))
		Reject(ERRCODE_UNAUTHORIZED, "not accepted");
	ReadSignatureKeys(&keys, &fetched_at);
	if (SignatureIsValid(&message, &keys))
		return;
	/* fal may have new keys; it will repeat the call */
	if (fetched_at == 0 || TimestampDifferenceExceeds(fetched_at, GetCurrentTimestamp(), KEYS_MIN_AGE_MS))
		ShmemRequestWork(MyDatabaseId, WORKER_FETCH_KEYS);
	Reject(ERRCODE_UNAUTHORIZED, "not accepted");
}

static Statement find_other_user = {
	"SELECT 1 FROM vibevideo_internal.fal_account f WHERE f.user_id <> $1"};

/* all of fal's customers share the keys, so the account must be ours as well */
static bool
IsOurUser(const char *user_id)
{
	Args args = {0};

	ArgText(&args, user_id);
	return StatementRun(&find_other_user, &args) == 0;
}

static Statement learn_user = {
	"UPDATE vibevideo_internal.fal_account f SET user_id = $1 WHERE f.user_id IS NULL"};

/* The first genuine call for one of our jobs shows our user id at fal. */
static void
LearnUser(const char *user_id)
{
	Args args = {0};

	ArgText(&args, user_id);
	StatementRun(&learn_user, &args);
}

/*
 * Due a day ago, since the worker leaves polls that just fell due to
 * vibevideo_poll for a while.  A job that the worker is polling is polled again:
 * that answer may be older than the call.  A row locked by vibevideo_poll is
 * skipped, not waited for.
 */
static Statement poll_now = {
	"WITH due AS (UPDATE vibevideo.job j SET next_at = $2 - '1 day'::interval"
	" WHERE j.job_id = ANY (ARRAY(SELECT d.job_id FROM vibevideo.job d WHERE d.request_id = $1"
	" AND d.state = ANY (ARRAY['queued', 'generating']) FOR NO KEY UPDATE SKIP LOCKED)))"
	" SELECT 1 FROM vibevideo.job k WHERE k.request_id = $1"};

/* false: none of our jobs has this id */
static bool
PollNow(const char *request_id)
{
	Args args = {0};

	ArgText(&args, request_id);
	ArgTime(&args, GetCurrentTimestamp());
	return StatementRun(&poll_now, &args) > 0;
}

/*----------
 * vibevideo_webhook(json) returns json
 *----------
 */
Datum
vibevideo_webhook(PG_FUNCTION_ARGS)
{
	WebhookHeaders headers;
	text *body;

	if (PG_ARGISNULL(0))
		Reject(ERRCODE_UNAUTHORIZED, "not accepted");
	if (toast_raw_datum_size(PG_GETARG_DATUM(0)) > MAX_BODY + VARHDRSZ)
		Reject(ERRCODE_TOO_LARGE, "too large");
	body = PG_GETARG_TEXT_PP(0);
	if (!ReadHeaders(&headers))
		Reject(ERRCODE_UNAUTHORIZED, "not accepted");
	NoteCheck(&headers, body);
	StatementConnect();
	VersionCheck();
	CheckCall(&headers, body);
	if (!IsOurUser(headers.user_id))
		Reject(ERRCODE_UNAUTHORIZED, "not accepted");
	/* not before it is known to be genuine: strangers learn nothing of this server */
	ApiRequireWritable(fcinfo);
	if (!PollNow(headers.request_id))
	{
		/* genuine, but unknown: perhaps a lost submit's */
		ShmemRequestWork(MyDatabaseId, WORKER_RECONCILE);
		Reject(ERRCODE_VIBEVIDEO_NOT_FOUND, "not known");
	}
	LearnUser(headers.user_id);
	ShmemWakeAtCommit();
	SPI_finish();
	PG_RETURN_DATUM(CStringGetTextDatum("{\"ok\":true}"));
}

/*----------
 * The keys, in the worker
 *----------
 */
static HttpRequest *fetching = NULL;
static SignatureKeys fetched;
static TimestampTz fetched_at = 0;
static bool keys_wanted = false;

void
WebhookFetchKeys(HttpEngine *engine)
{
	Call call;
	TimestampTz now = GetCurrentTimestamp();

	if (ShmemFetchRequest(MyDatabaseId, WORKER_FETCH_KEYS))
		keys_wanted = true;
	if (fetching || (fetched_at != 0 && !TimestampDifferenceExceeds(fetched_at, now, KEYS_MIN_AGE_MS)))
		return;
	if (!keys_wanted &&
		(vv_webhook_url[0] == '\0' ||
		 (fetched_at != 0 && !TimestampDifferenceExceeds(fetched_at, now, KEYS_MAX_AGE_MS / 2))))
		return;
	keys_wanted = false;
	fetched_at = now;
	CallInit(&call, HTTP_GET, vv_poll_timeout, MAX_JWKS, NULL);
	CallCheck(&call, strlcpy(call.url, vv_fal_jwks_url, sizeof(call.url)) < sizeof(call.url));
	call.spec.outside = true;
	fetching = CallSend(&call, engine);
}

bool
WebhookReadKeys(HttpRequest *request)
{
	const HttpReply *reply = HttpReplyOf(request);
	bool good = reply->outcome == HTTP_ANSWERED && reply->status == 200 &&
		SignatureReadJwks(reply->body, reply->body_len, &fetched) && fetched.n > 0;

	if (!good)
		ereport(LOG,
				(errmsg("could not read fal.ai's webhook keys from \"%s\": %s", vv_fal_jwks_url,
						reply->outcome == HTTP_ANSWERED ? psprintf("HTTP %d", reply->status) : reply->error)));
	HttpFree(request);
	fetching = NULL;
	return good;
}

static Statement store_keys = {
	"INSERT INTO vibevideo_internal.fal_account (keys, fetched_at) VALUES ($1, $2)"
	" ON CONFLICT (only_one) DO UPDATE SET keys = $1, fetched_at = $2"};

void
WebhookStoreKeys(void)
{
	Args args = {0};

	ArgBytes(&args, fetched.key, fetched.n * SIGNATURE_KEY_BYTES);
	ArgTime(&args, GetCurrentTimestamp());
	StatementRun(&store_keys, &args);
}
