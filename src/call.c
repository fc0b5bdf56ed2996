/*
 * call.c
 *	  Requests to fal and Storage.
 */
#include "postgres.h"

#include "call.h"
#include "guc.h"
#include "secret.h"

#define MAX_FAL_ANSWER (1024 * 1024)
#define MAX_LIST_ANSWER (1024 * 1024) /* what json.c takes */
#define MAX_STORAGE_ANSWER (64 * 1024)
#define BASE_SIZE 1024

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
CallMostAtOnce(void)
{
	return vv_max_host_requests > 0 ? Min(vv_max_requests, vv_max_host_requests) : vv_max_requests;
}

HttpRequest *
CallFalSubmit(HttpEngine *engine, const char *key, const char *model, const char *input, void *owner)
{
	char base[BASE_SIZE];
	char url[FAL_URL_SIZE];
	char auth[SECRET_SIZE];
	char start_timeout[64];
	char old_timeout[64];
	const char *headers[7];
	int n = 0;
	HttpSpec spec = {0};
	HttpRequest *request = NULL;

	if (!FalSubmitUrl(CallBase(vv_fal_queue_url, base, sizeof(base)), model,
					  vv_webhook_url[0] ? vv_webhook_url : NULL, url, sizeof(url)) ||
		!FalAuthHeader(key, auth, sizeof(auth)))
		return NULL;
	headers[n++] = auth;
	headers[n++] = "Content-Type: application/json";
	headers[n++] = "Accept: application/json";
	if (vv_no_retry)
		headers[n++] = "X-Fal-No-Retry: 1";
	if (vv_start_timeout > 0)
	{
		snprintf(start_timeout, sizeof(start_timeout), "X-Fal-Request-Start-Timeout: %d", vv_start_timeout);
		headers[n++] = start_timeout;
		/* its older name, which fal's own clients still send; the new one wins */
		snprintf(old_timeout, sizeof(old_timeout), "X-Fal-Request-Timeout: %d", vv_start_timeout);
		headers[n++] = old_timeout;
	}
	headers[n] = NULL;

	spec.method = HTTP_POST;
	spec.url = url;
	spec.outside = true;
	spec.wait_limit = CALL_WAIT_MS;
	spec.headers = headers;
	spec.body = input;
	spec.body_len = strlen(input);
	spec.max_response = MAX_FAL_ANSWER;
	spec.connect_timeout = Min(vv_connect_timeout, vv_submit_timeout);
	spec.timeout = vv_submit_timeout;
	spec.owner = owner;
	request = HttpStart(engine, &spec);
	SecretWipe(auth, sizeof(auth));
	return request;
}

HttpRequest *
CallFal(HttpEngine *engine, FalCall call, const char *key, const char *model,
		const char *request_id, int timeout_ms, void *owner)
{
	char base[BASE_SIZE];
	char url[FAL_URL_SIZE];
	char auth[SECRET_SIZE];
	const char *headers[] = {auth, "Accept: application/json", NULL};
	HttpSpec spec = {0};
	HttpRequest *request;

	/* a job that somebody has made or changed by hand may lack it */
	if (request_id == NULL ||
		!FalRequestUrl(CallBase(vv_fal_queue_url, base, sizeof(base)), model, request_id, call,
					   url, sizeof(url)) ||
		!FalAuthHeader(key, auth, sizeof(auth)))
		return NULL;
	spec.method = (call == FAL_CALL_CANCEL) ? HTTP_PUT : HTTP_GET;
	spec.url = url;
	spec.outside = true;
	spec.wait_limit = CALL_WAIT_MS;
	spec.headers = headers;
	spec.max_response = MAX_FAL_ANSWER;
	spec.connect_timeout = Min(vv_connect_timeout, timeout_ms);
	spec.timeout = timeout_ms;
	spec.owner = owner;
	request = HttpStart(engine, &spec);
	SecretWipe(auth, sizeof(auth));
	return request;
}

HttpRequest *
CallFalList(HttpEngine *engine, const char *key, const char *model, int64 since,
			const char *cursor, void *owner)
{
	char base[BASE_SIZE];
	char url[FAL_URL_SIZE];
	char auth[SECRET_SIZE];
	char start[32];
	time_t seconds = (time_t) since;
	struct tm utc;
	const char *headers[] = {auth, "Accept: application/json", NULL};
	HttpSpec spec = {0};
	HttpRequest *request;

	if (gmtime_r(&seconds, &utc) == NULL ||
		strftime(start, sizeof(start), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0 ||
		!FalListUrl(CallBase(vv_fal_api_url, base, sizeof(base)), model, start, cursor, url, sizeof(url)) ||
		!FalAuthHeader(key, auth, sizeof(auth)))
		return NULL;
	spec.method = HTTP_GET;
	spec.url = url;
	spec.outside = true;
	spec.wait_limit = CALL_WAIT_MS;
	spec.headers = headers;
	spec.max_response = MAX_LIST_ANSWER;
	spec.connect_timeout = Min(vv_connect_timeout, vv_poll_timeout);
	spec.timeout = vv_poll_timeout;
	spec.owner = owner;
	request = HttpStart(engine, &spec);
	SecretWipe(auth, sizeof(auth));
	return request;
}

int
CallStorageHeaders(const char *key, StorageKeyForm form, char bearer[STORAGE_HEADER_SIZE],
				   char apikey[STORAGE_HEADER_SIZE], const char *headers[3])
{
	int n = 0;

	snprintf(apikey, STORAGE_HEADER_SIZE, "apikey: %s", key);
	headers[n++] = apikey;
	if (form != STORAGE_KEY_APIKEY)
	{
		snprintf(bearer, STORAGE_HEADER_SIZE, "Authorization: Bearer %s", key);
		headers[n++] = bearer;
	}
	headers[n] = NULL;
	return n;
}

HttpRequest *
CallBucket(HttpEngine *engine, const char *key, StorageKeyForm form, void *owner)
{
	char base[BASE_SIZE];
	char url[FAL_URL_SIZE];
	char bearer[STORAGE_HEADER_SIZE];
	char apikey[STORAGE_HEADER_SIZE];
	const char *headers[3];
	HttpSpec spec = {0};
	HttpRequest *request;

	if (!StorageUrl(CallBase(vv_storage_url, base, sizeof(base)), STORAGE_BUCKET, vv_storage_bucket, NULL,
					url, sizeof(url)))
		return NULL;
	CallStorageHeaders(key, form, bearer, apikey, headers);
	spec.method = HTTP_GET;
	spec.url = url;
	spec.headers = headers;
	spec.max_response = MAX_STORAGE_ANSWER;
	spec.connect_timeout = vv_connect_timeout;
	spec.timeout = vv_poll_timeout;
	spec.owner = owner;
	request = HttpStart(engine, &spec);
	SecretWipe(bearer, sizeof(bearer));
	SecretWipe(apikey, sizeof(apikey));
	return request;
}
