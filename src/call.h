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

/* All return NULL when the request cannot even be built; owner is for HttpOwner. */
extern HttpRequest *CallFalSubmit(HttpEngine *engine, const char *key, const char *model,
								  const char *input, void *owner);
extern HttpRequest *CallFal(HttpEngine *engine, FalCall call, const char *key, const char *model,
							const char *request_id, int timeout_ms, void *owner);
/* the account's requests to a model since then (Unix time), a page of them */
extern HttpRequest *CallFalList(HttpEngine *engine, const char *key, const char *model,
								int64 since, const char *cursor, void *owner);
extern HttpRequest *CallBucket(HttpEngine *engine, const char *key, StorageKeyForm form, void *owner);

/* authorization headers for Storage in the given form, at most two and a NULL */
#define STORAGE_HEADER_SIZE 4200
extern int CallStorageHeaders(const char *key, StorageKeyForm form,
							  char bearer[STORAGE_HEADER_SIZE], char apikey[STORAGE_HEADER_SIZE],
							  const char *headers[3]);
/* storage_url and friends without trailing slashes */
extern const char *CallBase(const char *url, char *out, size_t size);

#endif /* VIBEVIDEO_CALL_H */
