/*
 * reply.h
 *	  How an HTTP exchange ended, as plain data, and how a streamed body is
 *	  passed on.
 *
 * exchange.c fills it, the protocol files (fal.c, storage.c) judge it, flow.c
 * streams.  It knows neither libcurl nor Postgres, so that these can be tested
 * and fuzzed as ordinary programs.
 */
#ifndef VIBEVIDEO_REPLY_H
#define VIBEVIDEO_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How far an exchange got.  The difference between NOT_SENT and LOST decides
 * whether a paid request may be sent again, so when in doubt it is LOST.
 */
typedef enum HttpOutcome
{
	HTTP_ANSWERED,	/* a complete response arrived */
	HTTP_NOT_SENT,	/* DNS, connect or TLS failed: no byte of the
								 * request left this machine */
	HTTP_LOST,		/* sent in whole or in part, no complete answer */
	HTTP_TOO_LARGE, /* the response exceeded its size cap */
	HTTP_FORBIDDEN, /* blocked by our own address filter */
	HTTP_CANCELLED	/* we aborted it ourselves */
} HttpOutcome;

typedef struct HttpReply
{
	HttpOutcome outcome;
	bool timed_out;	  /* because of one of our timeouts */
	int status;		  /* HTTP status; 0 unless headers arrived */
	const char *body; /* not NUL-terminated; may hold any byte */
	size_t body_len;
	int64_t content_length; /* as announced, -1 if not announced */

	/* response headers that decisions depend on; "" when absent, truncated when longer */
	char content_type[128];
	char date[40];
	char retry_after[64];
	char fal_request_id[128];
	char fal_error_type[64];
	char fal_retryable[8];
	char fal_needs_retry[8];
	char fal_timeout_type[16];
	char fal_billable_units[32];
	char location[8193];	/* a URL: bytes beyond ASCII are encoded; "" also when it is longer */
	char upload_offset[24]; /* TUS */
	char upload_length[24];
	char upload_metadata[512];
	char tus_max_size[24];
	char content_range[80];
	char etag[128];

	char error[256]; /* why there is no answer, for people */
} HttpReply;

/* What the sink and the source of a streamed body answer besides a number of bytes. */
#define HTTP_PAUSE ((size_t) -1) /* no room, or no data yet: call HttpResume later */
#define HTTP_ABORT ((size_t) -2) /* abort the request */

/* consumes len bytes of a 2xx body: all of them, or HTTP_PAUSE / HTTP_ABORT */
typedef size_t (*HttpSink)(void *arg, const char *data, size_t len);
/* provides up to len bytes of the request's body: 0 at its end, or HTTP_PAUSE / HTTP_ABORT */
typedef size_t (*HttpSource)(void *arg, char *data, size_t len);

#endif /* VIBEVIDEO_REPLY_H */
