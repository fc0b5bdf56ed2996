/*
 * http.h
 *	  Many HTTP exchanges at once on one libcurl multi handle.
 *
 * Callers pass a spec, wait with HttpWait, and get finished requests from
 * HttpNextDone.  No code of theirs runs under a libcurl callback except a
 * spec's address filter, sink and source, which must neither throw nor palloc.
 */
#ifndef VIBEVIDEO_HTTP_H
#define VIBEVIDEO_HTTP_H

#include "reply.h"
#include "request.h"

/* not in a memory context: lives as long as the process; throws when it cannot be set up */
extern HttpEngine *HttpEngineCreate(int max_connections);
extern void HttpEngineResize(HttpEngine *engine, int max_connections);

/* NULL when the request could not even be set up (no memory, a URL that libcurl rejects) */
extern HttpRequest *HttpStart(HttpEngine *engine, const HttpSpec *spec);
/* wait for sockets, latch or timeout (ms), then advance everything that can advance */
extern void HttpWait(HttpEngine *engine, long timeout_ms);
extern HttpRequest *HttpNextDone(HttpEngine *engine);
extern int HttpRunning(HttpEngine *engine); /* including those that wait for their host */
extern int HttpWaiting(HttpEngine *engine); /* number that wait for their host */

/* a request, before and after it is done */
extern void *HttpOwner(const HttpRequest *request);
extern const HttpReply *HttpReplyOf(HttpRequest *request); /* may be read early: status, type, length */
extern bool HttpIsWaiting(const HttpRequest *request);	   /* for its host: nothing was sent, no timeout is running */
extern bool HttpIsSent(const HttpRequest *request);		   /* or may have been */
extern bool HttpIsLate(const HttpRequest *request);		   /* has waited longer than wait_limit: its owner has to free it */
extern void HttpResume(HttpRequest *request);			   /* after HTTP_PAUSE; not under a callback */
extern void HttpFree(HttpRequest *request);				   /* aborts it first if it is running */

/* the engine of a client backend, kept for its connections; requests left by an error are freed */
extern HttpEngine *HttpBackendEngine(void);
/*
 * Wait in a backend until this request is done.  Cancel and terminate end the
 * wait, and the request, within a second; then *sent (unless NULL) says
 * whether any of it may have been sent.
 */
extern void HttpFinish(HttpEngine *engine, HttpRequest *request, volatile bool *sent);

#endif /* VIBEVIDEO_HTTP_H */
