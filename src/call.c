/*
 * call.c
 *	  Requests to fal and Storage.
 */
#include "postgres.h"

#include <stdarg.h>

#include "call.h"
#include "guc.h"
#include "hook.h"
#include "json.h"
#include "secret.h"

#define MAX_FAL_ANSWER (1024 * 1024)
#define MAX_FAL_RESULT JSON_MAX_LENGTH /* the model's output, which may have large fields */
#define MAX_STORAGE_ANSWER (64 * 1024)
#define BASE_SIZE 1024
#define WEBHOOK_TIMEOUT_MS 5000

const char *
CallBase(const char *url, char *out, size_t size)
{
	size_t len = strlcpy(out, url ? url : "", size);

	len = Min(len, size - 1);
	while (len > 0 && out[len - 1] == '/')
		out[--len] = '\0';
	return out;
}

int
CallMaxConcurrent(void)
{
	return vv_max_host_requests > 0 ? Min(vv_max_requests, vv_max_host_requests) : vv_max_requests;
}

/*----------
 * Building a request
 *----------
 */
void
CallInit(Call *call, HttpMethod method, int timeout_ms, size_t max_response, void *owner)
{
	memset(&call->spec, 0, sizeof(call->spec));
	call->spec.method = method;
	call->spec.url = call->url;
	call->spec.headers = call->headers;
	call->spec.max_response = max_response;
	call->spec.connect_timeout = timeout_ms > 0 ? Min(vv_connect_timeout, timeout_ms) : vv_connect_timeout;
	call->spec.timeout = timeout_ms;
	call->spec.owner = owner;
	call->url[0] = '\0';
	call->headers[0] = NULL;
	call->nheaders = 0;
	call->used = 0;
	call->good = true;
}

void
CallCheck(Call *call, bool good)
{
	call->good = call->good && good;
}

void
CallHeader(Call *call, const char *format, ...)
{
	size_t room = sizeof(call->text) - call->used;
	char *header = call->text + call->used;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(header, room, format, args);
	va_end(args);
	if (len < 0 || (size_t) len >= room || call->nheaders == CALL_HEADERS)
	{
		call->good = false;
		return;
	}
	call->used += len + 1;
	call->headers[call->nheaders++] = header;
	call->headers[call->nheaders] = NULL;
}

void
CallStorageKey(Call *call, const char *key, StorageKeyForm form)
{
	CallHeader(call, "apikey: %s", key);
	if (form != STORAGE_KEY_APIKEY)
		CallHeader(call, "Authorization: Bearer %s", key);
}

void
CallS3Key(Call *call, const char *key, const char *region)
{
	CallHeader(call, "x-amz-content-sha256: UNSIGNED-PAYLOAD");
	snprintf(call->sigv4, sizeof(call->sigv4), "aws:amz:%s:s3", region);
	call->spec.sigv4 = call->sigv4;
	call->spec.userpwd = key;
}

/* Common part of all requests to fal that need the key. */
static void
FalKey(Call *call, const char *key)
{
	char auth[SECRET_SIZE];

	call->spec.outside = true;
	call->spec.wait_limit = CALL_WAIT_MS;
	CallCheck(call, FalAuthHeader(key, auth, sizeof(auth)));
	if (call->good)
		CallHeader(call, "%s", auth);
	SecretWipe(auth, sizeof(auth));
	CallHeader(call, "Accept: application/json");
}

HttpRequest *
CallSend(Call *call, HttpEngine *engine)
{
	HttpRequest *request = call->good ? HttpStart(engine, &call->spec) : NULL;

	SecretWipe(call->text, call->used);
	return request;
}

/*----------
 * The requests
 *----------
 */
HttpRequest *
CallFalSubmit(HttpEngine *engine, const char *key, const char *model, const char *input, void *owner)
{
	Call call;
	char base[BASE_SIZE];

	CallInit(&call, HTTP_POST, vv_submit_timeout, MAX_FAL_ANSWER, owner);
	CallCheck(&call, FalSubmitUrl(CallBase(vv_fal_queue_url, base, sizeof(base)), model, vv_webhook_url[0] ? vv_webhook_url : NULL, call.url, sizeof(call.url)));
	call.spec.body = input;
	call.spec.body_len = strlen(input);
	call.spec.alone = true; /* one broken connection puts no more than one in doubt */
	FalKey(&call, key);
	CallHeader(&call, "Content-Type: application/json");
	if (vv_no_retry)
		CallHeader(&call, "X-Fal-No-Retry: 1");
	if (vv_start_timeout > 0)
	{
		CallHeader(&call, "X-Fal-Request-Start-Timeout: %d", vv_start_timeout);
		/* its older name, which fal's own clients still send; the new one takes precedence */
		CallHeader(&call, "X-Fal-Request-Timeout: %d", vv_start_timeout);
	}
	return CallSend(&call, engine);
}

HttpRequest *
CallFal(HttpEngine *engine, FalCall what, const char *key, const char *model, const char *request_id, void *owner)
{
	Call call;
	char base[BASE_SIZE];

	/* a job that was inserted or changed by hand may lack it */
	if (request_id == NULL)
		return NULL;
	CallInit(&call, what == FAL_CALL_CANCEL ? HTTP_PUT : HTTP_GET, vv_poll_timeout,
			 what == FAL_CALL_RESULT ? MAX_FAL_RESULT : MAX_FAL_ANSWER, owner);
	CallCheck(&call, FalRequestUrl(CallBase(vv_fal_queue_url, base, sizeof(base)), model, request_id, what, call.url, sizeof(call.url)));
	FalKey(&call, key);
	return CallSend(&call, engine);
}

HttpRequest *
CallFalList(HttpEngine *engine, const char *key, const char *model, int64 since, const char *cursor, void *owner)
{
	Call call;
	char base[BASE_SIZE];
	char start[32];
	time_t seconds = (time_t) since;
	struct tm utc;

	if (gmtime_r(&seconds, &utc) == NULL ||
		strftime(start, sizeof(start), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
		return NULL;
	CallInit(&call, HTTP_GET, vv_poll_timeout, MAX_FAL_ANSWER, owner);
	CallCheck(&call, FalListUrl(CallBase(vv_fal_api_url, base, sizeof(base)), model, start, cursor, call.url, sizeof(call.url)));
	FalKey(&call, key);
	return CallSend(&call, engine);
}

HttpRequest *
CallFalPlatform(HttpEngine *engine, const char *key, const char *what, const char *const *query, int n)
{
	Call call;
	char base[BASE_SIZE];

	CallInit(&call, HTTP_GET, vv_poll_timeout, MAX_FAL_RESULT, NULL);
	CallCheck(&call, FalPlatformUrl(CallBase(vv_fal_api_url, base, sizeof(base)), what, query, n, call.url, sizeof(call.url)));
	FalKey(&call, key);
	call.spec.wait_limit = 0;
	return CallSend(&call, engine);
}

HttpRequest *
CallWebhook(HttpEngine *engine, uint64 number, HttpAddressFilter accepts)
{
	Call call;

	CallInit(&call, HTTP_POST, WEBHOOK_TIMEOUT_MS, MAX_STORAGE_ANSWER, NULL);
	CallCheck(&call, strlcpy(call.url, vv_webhook_url, sizeof(call.url)) < sizeof(call.url));
	call.spec.body = HOOK_CHECK_BODY;
	call.spec.body_len = strlen(HOOK_CHECK_BODY);
	call.spec.outside = true;
	/* a connection that is there already has no address to accept */
	call.spec.alone = true;
	call.spec.accepts = accepts;
	CallHeader(&call, "Content-Type: application/json");
	CallHeader(&call, "X-Fal-Webhook-Request-Id: " HOOK_CHECK_ID "%llx", (unsigned long long) number);
	CallHeader(&call, "X-Fal-Webhook-User-Id: nobody");
	/* so old that the signature is not even looked at */
	CallHeader(&call, "X-Fal-Webhook-Timestamp: 0");
	CallHeader(&call, "X-Fal-Webhook-Signature: 00");
	return CallSend(&call, engine);
}

HttpRequest *
CallBucket(HttpEngine *engine, const char *key, StorageKeyForm form, void *owner)
{
	Call call;
	char base[BASE_SIZE];

	CallInit(&call, HTTP_GET, vv_poll_timeout, MAX_STORAGE_ANSWER, owner);
	CallCheck(&call, StorageUrl(CallBase(vv_storage_url, base, sizeof(base)), STORAGE_BUCKET, vv_storage_bucket, NULL, call.url, sizeof(call.url)));
	CallStorageKey(&call, key, form);
	return CallSend(&call, engine);
}

HttpRequest *
CallStorageLimit(HttpEngine *engine, void *owner)
{
	Call call;
	char base[BASE_SIZE];

	CallInit(&call, HTTP_OPTIONS, vv_poll_timeout, MAX_STORAGE_ANSWER, owner);
	CallCheck(&call, StorageTusRoot(CallBase(vv_storage_url, base, sizeof(base)), call.url, sizeof(call.url)));
	return CallSend(&call, engine);
}

HttpRequest *
CallPublicObject(HttpEngine *engine, const char *object_key, void *owner)
{
	Call call;
	char base[BASE_SIZE];

	CallInit(&call, HTTP_GET, vv_poll_timeout, MAX_STORAGE_ANSWER, owner);
	CallCheck(&call, StorageUrl(CallBase(vv_storage_public_url, base, sizeof(base)), STORAGE_PUBLIC, vv_storage_bucket, object_key, call.url, sizeof(call.url)));
	return CallSend(&call, engine);
}

HttpRequest *
CallStorageDelete(HttpEngine *engine, const char *key, StorageKeyForm form, const char *bucket, const char *object_key)
{
	Call call;
	char base[BASE_SIZE];
	bool s3 = (vv_storage_kind == STORAGE_KIND_S3);

	CallInit(&call, HTTP_DELETE, vv_poll_timeout, MAX_STORAGE_ANSWER, NULL);
	CallCheck(&call, StorageUrl(CallBase(vv_storage_url, base, sizeof(base)), s3 ? STORAGE_S3 : STORAGE_UPLOAD, bucket, object_key, call.url, sizeof(call.url)));
	if (s3)
		CallS3Key(&call, key, vv_storage_region);
	else
		CallStorageKey(&call, key, form);
	return CallSend(&call, engine);
}

HttpRequest *
CallFalErase(HttpEngine *engine, const char *key, const char *request_id, const char *token)
{
	Call call;
	char base[BASE_SIZE];

	CallInit(&call, HTTP_DELETE, vv_poll_timeout, MAX_FAL_ANSWER, NULL);
	CallCheck(&call, FalEraseUrl(CallBase(vv_fal_api_url, base, sizeof(base)), request_id, call.url, sizeof(call.url)));
	FalKey(&call, key);
	call.spec.wait_limit = 0;
	CallHeader(&call, "Idempotency-Key: %s", token);
	return CallSend(&call, engine);
}
