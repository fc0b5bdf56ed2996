/*
 * request.h
 *	  What is asked of an HTTP exchange, as plain data.  How it ended: reply.h.
 */
#ifndef VIBEVIDEO_REQUEST_H
#define VIBEVIDEO_REQUEST_H

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
	HTTP_HEAD,
	HTTP_OPTIONS,
	HTTP_DELETE
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
	bool alone;				   /* on a connection that nothing else was or will be sent on, by HTTP/1.1 */
	int wait_limit;			   /* ms to wait for the host; after that it is not started any more; 0: no limit */
	HttpSink sink;			   /* NULL: the body goes into the reply */
	HttpSource source;		   /* body of a PUT or PATCH; NULL: none */
	int64_t source_size;	   /* -1: unknown, sent chunked */
	void *stream_arg;
	const char *sigv4;	 /* sign with AWS SigV4: "aws:amz:region:s3", needs userpwd */
	const char *userpwd; /* "access key id:secret" */
	void *owner;		 /* the caller's, see HttpOwner */
} HttpSpec;

#endif /* VIBEVIDEO_REQUEST_H */
