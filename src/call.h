/*
 * call.h
 *	  The requests we make of fal and Storage: pure protocol put onto the wire.
 */
#ifndef VIBEVIDEO_CALL_H
#define VIBEVIDEO_CALL_H

#include "fal.h"
#include "http.h"
#include "storage.h"

/* Most of one kind to fal's queue at once: a claim that would only wait for the host is left to be made later. */
extern int CallMostAtOnce(void);

/* a request may wait so long for its host; leases last longer */
#define CALL_WAIT_MS 20000

/* storage_url and friends without trailing slashes */
extern const char *CallBase(const char *url, char *out, size_t size);

/*----------
 * A request in the making, on its maker's stack: CallInit, then url, headers
 * and what else spec shall say, at last CallSend.
 *----------
 */
#define CALL_HEADERS 10
#define CALL_TEXT_SIZE 12288 /* the key twice, and Upload-Metadata */

typedef struct Call
{
	HttpSpec spec; /* its url and headers are these */
	char url[FAL_URL_SIZE];
	const char *headers[CALL_HEADERS + 1];
	int nheaders;
	char text[CALL_TEXT_SIZE]; /* of the headers */
	size_t used;
	bool good; /* so far it can be made */
} Call;

/* timeout_ms 0: none */
extern void CallInit(Call *call, HttpMethod method, int timeout_ms, size_t max_response, void *owner);
/* what has to be true for it to be sent */
extern void CallCheck(Call *call, bool good);
extern void CallHeader(Call *call, const char *format, ...) pg_attribute_printf(2, 3);
extern void CallStorageKey(Call *call, const char *key, StorageKeyForm form);
/* NULL when it cannot be made; the key's copies are wiped */
extern HttpRequest *CallSend(Call *call, HttpEngine *engine);

/*----------
 * All return NULL when the request cannot even be made; owner is for HttpOwner.
 *----------
 */
extern HttpRequest *CallFalSubmit(HttpEngine *engine, const char *key, const char *model,
								  const char *input, void *owner);
extern HttpRequest *CallFal(HttpEngine *engine, FalCall what, const char *key, const char *model,
							const char *request_id, void *owner);
/* the account's requests to a model since then (Unix time), a page of them */
extern HttpRequest *CallFalList(HttpEngine *engine, const char *key, const char *model,
								int64 since, const char *cursor, void *owner);
extern HttpRequest *CallBucket(HttpEngine *engine, const char *key, StorageKeyForm form, void *owner);

#endif /* VIBEVIDEO_CALL_H */
