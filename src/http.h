/*
 * http.h
 *	  Many HTTP exchanges at once on one libcurl multi handle.
 *
 * Owner of all that touches libcurl.  Callers hand in a spec, wait with
 * HttpWait, and take finished requests with HttpNextDone; nobody but http.c
 * runs under a libcurl callback, save the source and sink of a stream, which
 * must neither throw nor palloc.
 */
#ifndef VIBEVIDEO_HTTP_H
#define VIBEVIDEO_HTTP_H

#include <sys/socket.h>

#include "reply.h"

typedef struct HttpEngine HttpEngine;
typedef struct HttpRequest HttpRequest;

typedef enum HttpMethod
{
	HTTP_GET,
	HTTP_POST,
	HTTP_PUT,
	HTTP_PATCH, /* with a source only */
	HTTP_HEAD
} HttpMethod;

/* may a socket be opened to it?  Runs under a callback. */
typedef bool (*HttpAddressFilter)(const struct sockaddr *address);

typedef struct HttpSpec
{
	HttpMethod method;
	const char *url;
	const char *const *headers; /* NULL-terminated; NULL for none */
	const char *body;			/* of a POST, copied; sent to the server at most once */
	size_t body_len;
	size_t max_response;	   /* cap of a body that is not streamed */
	int connect_timeout;	   /* ms */
	int timeout;			   /* ms, the whole exchange; 0: none (streams watch themselves) */
	HttpAddressFilter accepts; /* rejects the others as not public; NULL: any will do */
	bool outside;			   /* by way of vibevideo.proxy, if that is set; under vibevideo.max_host_requests */
	int wait_limit;			   /* ms to wait for the host: later it is not begun any more; 0: none */
	HttpSink sink;			   /* NULL: the body goes into the reply */
	HttpSource source;		   /* of a PUT's or PATCH's body; NULL: there is none */
	int64_t source_size;	   /* -1: unknown, sent chunked */
	void *stream_arg;
	const char *sigv4;	 /* sign by AWS SigV4: "aws:amz:region:s3", with userpwd */
	const char *userpwd; /* "access key id:secret" */
	void *owner;		 /* the caller's, see HttpOwner */
} HttpSpec;

/* TopMemoryContext-free: lives as long as the process; throws only on lack of memory */
extern HttpEngine *HttpEngineCreate(int max_connections);
extern void HttpEngineResize(HttpEngine *engine, int max_connections);

/* NULL when the request could not even be set up (no memory, a URL libcurl refuses) */
extern HttpRequest *HttpStart(HttpEngine *engine, const HttpSpec *spec);
/* wait for sockets, latch or timeout (ms), then move everything that can */
extern void HttpWait(HttpEngine *engine, long timeout_ms);
extern HttpRequest *HttpNextDone(HttpEngine *engine);
extern int HttpRunning(HttpEngine *engine); /* those that wait for their host included */
extern int HttpWaiting(HttpEngine *engine); /* of them */

/* a request, before and after it is done */
extern void *HttpOwner(const HttpRequest *request);
extern const HttpReply *HttpReplyOf(HttpRequest *request); /* may be looked at early: status, type, length */
extern bool HttpIsWaiting(const HttpRequest *request);	   /* for its host: nothing was sent, no timeout runs */
extern bool HttpIsSent(const HttpRequest *request);		   /* or may be */
extern bool HttpIsLate(const HttpRequest *request);		   /* for longer than wait_limit: its owner has to free it */
extern void HttpResume(HttpRequest *request);			   /* after HTTP_PAUSE; not under a callback */
extern void HttpFree(HttpRequest *request);				   /* ends it first if it runs */

/* the engine of a client backend, kept for its connections; requests left by an error are swept */
extern HttpEngine *HttpBackendEngine(void);
/*
 * Wait in a backend until this request is done: cancel and terminate end the wait within a second, and the request.
 * Then *sent (unless NULL) says whether anything of it may have left.
 */
extern void HttpFinish(HttpEngine *engine, HttpRequest *request, volatile bool *sent);

#endif /* VIBEVIDEO_HTTP_H */
