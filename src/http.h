/*
 * http.h
 *	  Many HTTP exchanges at once on one libcurl multi handle.
 *
 * Only http.c touches libcurl.  Callers pass a spec, wait with HttpWait, and
 * get finished requests from HttpNextDone.  Nothing outside http.c runs under
 * a libcurl callback except the source and sink of a stream, which must
 * neither throw nor palloc.
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
	size_t max_response;	   /* size limit of a body that is not streamed */
	int connect_timeout;	   /* ms */
	int timeout;			   /* ms in which HttpWait is called, for the whole exchange; 0: none (see watch.c for streams) */
	HttpAddressFilter accepts; /* others are rejected as not public; NULL: any is accepted */
	bool outside;			   /* through vibevideo.proxy, if that is set; limited by vibevideo.max_host_requests */
	int wait_limit;			   /* ms to wait for the host; after that it is not started any more; 0: no limit */
	HttpSink sink;			   /* NULL: the body goes into the reply */
	HttpSource source;		   /* body of a PUT or PATCH; NULL: none */
	int64_t source_size;	   /* -1: unknown, sent chunked */
	void *stream_arg;
	const char *sigv4;	 /* sign with AWS SigV4: "aws:amz:region:s3", needs userpwd */
	const char *userpwd; /* "access key id:secret" */
	void *owner;		 /* the caller's, see HttpOwner */
} HttpSpec;

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
