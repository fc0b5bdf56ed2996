/*
 * call.h
 *	  Builds and starts requests to fal and Storage.
 */
#ifndef VIBEVIDEO_CALL_H
#define VIBEVIDEO_CALL_H

#include "fal.h"
#include "http.h"
#include "storage.h"

/* Maximum number of concurrent requests of one kind to fal's queue: a job that would only wait for the host is claimed later. */
extern int CallMaxConcurrent(void);

/* how long a request may wait for its host; leases last longer */
#define CALL_WAIT_MS 20000

/* storage_url and friends without trailing slashes */
extern const char *CallBase(const char *url, char *out, size_t size);

/*----------
 * A request being built, on the caller's stack: CallInit, then url, headers
 * and other fields of spec, finally CallSend.
 *----------
 */
#define CALL_HEADERS 10
#define CALL_TEXT_SIZE 12288 /* fits the key twice, and Upload-Metadata */

typedef struct Call
{
	HttpSpec spec; /* its url and headers point to the fields below */
	char url[FAL_URL_SIZE];
	char sigv4[100];
	const char *headers[CALL_HEADERS + 1];
	int nheaders;
	char text[CALL_TEXT_SIZE]; /* of the headers */
	size_t used;
	bool good; /* no error so far */
} Call;

/* timeout_ms 0: none */
extern void CallInit(Call *call, HttpMethod method, int timeout_ms, size_t max_response, void *owner);
/* it is not sent unless good is true */
extern void CallCheck(Call *call, bool good);
extern void CallHeader(Call *call, const char *format, ...) pg_attribute_printf(2, 3);
extern void CallStorageKey(Call *call, const char *key, StorageKeyForm form);
/* signs it for S3, but for its body; key is as curl takes it, id:secret */
extern void CallS3Key(Call *call, const char *key, const char *region);
/* NULL when it cannot be sent; copies of the key are wiped */
extern HttpRequest *CallSend(Call *call, HttpEngine *engine);

/*----------
 * All return NULL when the request cannot even be built; owner is for
 * HttpOwner.
 *----------
 */
extern HttpRequest *CallFalSubmit(HttpEngine *engine, const char *key, const char *model,
								  const char *input, void *owner);
extern HttpRequest *CallFal(HttpEngine *engine, FalCall what, const char *key, const char *model,
							const char *request_id, void *owner);
/* one page of the account's requests to a model since then (Unix time) */
extern HttpRequest *CallFalList(HttpEngine *engine, const char *key, const char *model,
								int64 since, const char *cursor, void *owner);
/* what else the platform API says, see FalPlatformUrl; it may wait for its host for any time */
extern HttpRequest *CallFalPlatform(HttpEngine *engine, const char *key, const char *what, const char *const *query, int n);
/* vibevideo.webhook_url, as fal would, but not signed: a check with this number */
extern HttpRequest *CallWebhook(HttpEngine *engine, uint64 number, HttpAddressFilter accepts);
extern HttpRequest *CallBucket(HttpEngine *engine, const char *key, StorageKeyForm form, void *owner);
/* the next two need no key: how large may a file be for this Storage, and an object as browsers ask for it */
extern HttpRequest *CallStorageLimit(HttpEngine *engine, void *owner);
extern HttpRequest *CallPublicObject(HttpEngine *engine, const char *object_key, void *owner);
/* deletes a file; form is of no matter for S3 */
extern HttpRequest *CallStorageDelete(HttpEngine *engine, const char *key, StorageKeyForm form, const char *bucket, const char *object_key);
/* deletes what fal keeps of a request; with the key of scope ADMIN.  The same token again is answered the same for a while. */
extern HttpRequest *CallFalErase(HttpEngine *engine, const char *key, const char *request_id, const char *token);

#endif /* VIBEVIDEO_CALL_H */
