/*
 * exchange.h
 *	  One HTTP exchange: its request, and what has become of it.  Only for the
 *	  engine: http.c and what it is made of.
 *
 * Neither throws nor pallocs.
 */
#ifndef VIBEVIDEO_EXCHANGE_H
#define VIBEVIDEO_EXCHANGE_H

#include "multi.h"
#include "reply.h"
#include "request.h"

struct HttpRequest
{
	/* created once, kept when the request returns to the engine's pool */
	HttpEngine *engine;
	Multi *multi; /* the engine's */
	CURL *easy;

	/* everything from here on belongs to one exchange */
	HttpRequest *next; /* in engine->requests, or in engine->pool */
	HttpRequest *prev;
	struct RequestQueue *queue; /* NULL: in none */
	HttpRequest *next_queued;
	struct curl_slist *headers;
	struct HttpHost *host; /* NULL: without a limit */
	int64 waiting_since;   /* ms, see MultiNow */
	int wait_limit;
	int timeout;		 /* ms, 0: none */
	int connect_timeout; /* ms */
	int64 begun_at;		 /* in engine->attended */
	int64 moved_at;		 /* the round in which something was last sent or received */
	bool running;		 /* not done */
	bool begun;			 /* in the multi handle */
	bool waiting;		 /* not yet in the multi handle, but in the host's queue */
	bool sent;			 /* libcurl was about to write the request */
	bool given;			 /* the source has given bytes, which cannot be had again */
	bool forbidden;		 /* blocked by our address filter */
	bool aborted;		 /* by sink or source */
	bool closed;		 /* the connection was closed before an answer; libcurl wanted to resend it */
	bool stale;			 /* not sent: the connection was closed before, or is not to be shared */
	bool afresh;		 /* ... and this is the second start, on a new connection */
	bool late;			 /* its timeout has expired */
	bool headed;		 /* its answer has begun */
	bool too_large;
	HttpAddressFilter accepts;
	bool proxied;
	bool send_paused;
	bool recv_paused;
	char *body; /* what we send */
	size_t body_len;
	char *answer; /* what we got */
	size_t answer_len;
	size_t answer_size;
	size_t max_response;
	HttpSink sink;
	HttpSource source;
	void *stream_arg;
	void *owner;
	HttpReply reply;
	char errbuf[CURL_ERROR_SIZE];
};

extern void ExchangeInit(void); /* once, after libcurl's own */

/* with a handle that can be used for many exchanges, one at a time; NULL when there is no memory */
extern HttpRequest *ExchangeCreate(HttpEngine *engine, Multi *multi);
extern void ExchangeFree(HttpRequest *request);

/* false when there is no memory, or libcurl rejects the URL */
extern bool ExchangeSetUp(HttpRequest *request, const HttpSpec *spec);
/* status and length, once there are any */
extern void ExchangeReadInfo(HttpRequest *request);
/* fills in the reply; rc is what libcurl says about it */
extern void ExchangeJudge(HttpRequest *request, CURLcode rc);
/* frees what SetUp and the answer took */
extern void ExchangeEnd(HttpRequest *request);

#endif /* VIBEVIDEO_EXCHANGE_H */
