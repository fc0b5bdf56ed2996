/*
 * webhook.h
 *	  fal's calls when a job is done, and the keys that verify them.
 */
#ifndef VIBEVIDEO_WEBHOOK_H
#define VIBEVIDEO_WEBHOOK_H

#include "http.h"

/*
 * In the worker.  Once a turn: fetch fal's keys if they are needed and old; the
 * request's owner is NULL.  When it is done, pass it to WebhookReadKeys, which
 * frees it, and call WebhookStoreKeys in a transaction.
 */
extern void WebhookFetchKeys(HttpEngine *engine);
extern bool WebhookReadKeys(HttpRequest *request); /* true: there are keys to store */
extern void WebhookStoreKeys(void);

#endif /* VIBEVIDEO_WEBHOOK_H */
