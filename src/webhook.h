/*
 * webhook.h
 *	  fal's calls when a job is done, and the keys they are checked with.
 */
#ifndef VIBEVIDEO_WEBHOOK_H
#define VIBEVIDEO_WEBHOOK_H

#include "http.h"

/*
 * In the worker.  Once a turn: fetch fal's keys when they are wanted and old;
 * the request's owner is NULL.  WebhookKeysDone takes it when it is done
 * (freed here), and stores the keys in a transaction of its caller's.
 */
extern void WebhookFetchKeys(HttpEngine *engine);
extern bool WebhookTakeKeys(HttpRequest *request); /* true: there are keys to store */
extern void WebhookStoreKeys(void);

#endif /* VIBEVIDEO_WEBHOOK_H */
