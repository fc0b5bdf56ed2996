/*
 * fal.h
 *	  fal.ai's queue protocol: requests and replies as pure functions.
 *
 * No libcurl, no SPI, no allocation: everything works on the caller's
 * buffers, so that it can be unit-tested and fuzzed without a server.
 */
#ifndef VIBEVIDEO_FAL_H
#define VIBEVIDEO_FAL_H

#include <time.h>

#include "output.h"
#include "reply.h"

#define FAL_ID_SIZE 129 /* request id, with its NUL */
#define FAL_PATH_SIZE 257
#define FAL_UNITS_SIZE 21

/* Yes, no, or the provider did not say. */
typedef enum FalHint
{
	FAL_HINT_NONE,
	FAL_HINT_YES,
	FAL_HINT_NO
} FalHint;

/* What went wrong, as fal reports it. */
typedef struct FalError
{
	int http;			 /* HTTP status of the answer, 0 if none */
	char type[65];		 /* fal's error type, or one of ours; never "" on error */
	char message[1025];	 /* fal's own words, safe UTF-8 without control bytes */
	char objection[301]; /* what it objects to in the input, for the app's user (objection.h), or "" */
	FalHint retryable;	 /* X-Fal-Retryable / X-Fal-Needs-Retry */
	int retry_after;	 /* seconds from Retry-After, -1 if absent */
} FalError;

/*
 * Could fal not be reached, or did only a hop in front of it answer?  Those have
 * many statuses besides 502 to 504: 500, Cloudflare's 520 to 530.
 */
extern bool FalIsOutage(const HttpReply *reply);

/*----------
 * Submit.  Which answer means what, and where that leads:
 *
 *	ACCEPTED  any 2xx with a request id: queued
 *	NOT_SENT  DNS, connect or TLS failed before libcurl was about to write the
 *			  request: pending, after a backoff
 *	BACKOFF	  408, 425, 429, 503; with fal's mark also 502 and 504 (unless by our
 *			  own start timeout) and other 5xx of a type that fal calls
 *			  retryable: pending, after a backoff or Retry-After
 *			  403 that says that the balance is used up: pending, until fal
 *			  accepts one again
 *	REFUSED	  other 3xx and 4xx, fal's start timeout, 5xx with fal's mark that is
 *			  not retryable: failed
 *	UNKNOWN	  reset, timeout or cut answer after the request was begun, 5xx but
 *			  503 without the mark, a 2xx without an id, an answer that is too
 *			  large: submit_unknown
 *
 * fal's mark is the header x-fal-request-id or x-fal-error-type, or a body that
 * names an error in one of fal's formats.
 *----------
 */
typedef enum FalSubmitOutcome
{
	FAL_SUBMIT_ACCEPTED, /* fal has it and we know its request id */
	FAL_SUBMIT_NOT_SENT, /* definitely not at fal: may be sent again */
	FAL_SUBMIT_BACKOFF,	 /* not accepted; fal asks to try again later */
	FAL_SUBMIT_REFUSED,	 /* rejected for good: sending it again will not help */
	FAL_SUBMIT_UNKNOWN	 /* may or may not be at fal: never resend blindly */
} FalSubmitOutcome;

typedef struct FalSubmit
{
	FalSubmitOutcome outcome;
	char request_id[FAL_ID_SIZE];
	int queue_position; /* -1 if unknown */
	bool no_money;		/* BACKOFF, since the account's balance is used up */
	FalError error;
} FalSubmit;

extern void FalJudgeSubmit(const HttpReply *reply, time_t now, FalSubmit *out);

/*----------
 * Status
 *----------
 */
typedef enum FalState
{
	FAL_STATE_QUEUED,
	FAL_STATE_RUNNING,
	FAL_STATE_COMPLETED, /* not yet a success: the result decides */
	FAL_STATE_GONE,		 /* fal does not know the id (any more) */
	FAL_STATE_DENIED,	 /* key rejected: wait, do not fail the job */
	FAL_STATE_RETRY		 /* no usable answer: poll again later */
} FalState;

typedef struct FalStatus
{
	FalState state;
	int queue_position; /* -1 if unknown */
	bool has_error;		/* COMPLETED, but with an error */
	FalError error;
} FalStatus;

extern void FalJudgeStatus(const HttpReply *reply, time_t now, FalStatus *out);

/*----------
 * Result
 *----------
 */
typedef enum FalResultOutcome
{
	FAL_RESULT_VIDEO,	  /* video is set */
	FAL_RESULT_NOT_READY, /* 400 "still in progress": back to status polls */
	FAL_RESULT_FAILED,	  /* the model or fal failed permanently: see error */
	FAL_RESULT_GONE,	  /* 404: no longer kept by fal */
	FAL_RESULT_DENIED,	  /* key rejected */
	FAL_RESULT_RETRY	  /* transient: do not discard a result that is paid for */
} FalResultOutcome;

typedef struct FalResult
{
	FalResultOutcome outcome;
	OutputFile video;
	FalError error;
	char billable_units[FAL_UNITS_SIZE]; /* a decimal number, "" if fal does not say */
} FalResult;

/* status_error: the error in the status, or NULL; with one, a bare 5xx is final */
extern void FalJudgeResult(const HttpReply *reply, const FalError *status_error,
						   time_t now, FalResult *out);

/*----------
 * Cancel
 *----------
 */
typedef enum FalCancelOutcome
{
	FAL_CANCEL_ACCEPTED, /* any 2xx: removed, or a signal was sent */
	FAL_CANCEL_TOO_LATE, /* already completed: the video is paid for, keep it */
	FAL_CANCEL_GONE,	 /* fal does not know it */
	FAL_CANCEL_DENIED,
	FAL_CANCEL_RETRY
} FalCancelOutcome;

typedef struct FalCancel
{
	FalCancelOutcome outcome;
	FalError error;
} FalCancel;

extern void FalJudgeCancel(const HttpReply *reply, time_t now, FalCancel *out);

/*----------
 * Erasing what fal keeps of a request (platform API, DELETE
 * /models/requests/{id}/payloads): input and output, and the output's files.  It
 * tells of each file whether that went well.
 *----------
 */
typedef enum FalEraseOutcome
{
	FAL_ERASE_DONE,
	FAL_ERASE_GONE,	  /* fal does not know it (any more) */
	FAL_ERASE_DENIED, /* not with this key */
	FAL_ERASE_RETRY	  /* no usable answer, or a file is left */
} FalEraseOutcome;

typedef struct FalErase
{
	FalEraseOutcome outcome;
	FalError error;
} FalErase;

extern void FalJudgeErase(const HttpReply *reply, time_t now, FalErase *out);

/*----------
 * Request list (platform API, GET /models/requests/by-endpoint): visit is
 * called for each item, until it returns false.
 *----------
 */
typedef struct FalListItem
{
	char request_id[FAL_ID_SIZE];
	char sent_at[41]; /* ISO 8601, as sent by fal */
	char ended_at[41];
	int status_code;   /* 0 if absent */
	const char *input; /* json_input as raw JSON text, or NULL */
	size_t input_len;
} FalListItem;

typedef bool (*FalListVisit)(const FalListItem *item, void *arg);

/* false: not a list.  cursor is set to next_cursor or "". */
extern bool FalReadList(const char *body, size_t len, FalListVisit visit, void *arg,
						char *cursor, size_t cursor_size);

/*----------
 * Building requests
 *----------
 */

/* is this endpoint id safe to put into a URL? */
extern bool FalEndpointIsValid(const char *endpoint);
/* the owner/app part, used by every call except submit (fal's app-id rule) */
extern bool FalAppPath(const char *endpoint, char *out, size_t size);
/* fal's ids are opaque text, but only harmless ones may go into a URL */
extern bool FalRequestIdIsValid(const char *id);

typedef enum FalCall
{
	FAL_CALL_STATUS,
	FAL_CALL_RESULT,
	FAL_CALL_CANCEL
} FalCall;

/* base is the queue URL without trailing slash; false if it does not fit or is invalid */
extern bool FalSubmitUrl(const char *base, const char *endpoint, const char *webhook_url,
						 char *out, size_t size);
/* the platform API's list; start is ISO 8601, cursor "" for the first page */
extern bool FalListUrl(const char *base, const char *endpoint, const char *start,
					   const char *cursor, char *out, size_t size);
/*
 * What else the platform API says: what is pricing, models, usage, billing-events
 * or billing; query has n texts, names and values in turn, not encoded.  False for
 * another what, a strange name, or a value of endpoint_id that is no endpoint.
 */
extern bool FalPlatformUrl(const char *base, const char *what, const char *const *query, int n,
						   char *out, size_t size);
extern bool FalEraseUrl(const char *base, const char *request_id, char *out, size_t size);
extern bool FalRequestUrl(const char *base, const char *endpoint, const char *request_id,
						  FalCall call, char *out, size_t size);

/* "Authorization: Key …" from a key that may have surrounding white space; false if unusable */
extern bool FalAuthHeader(const char *key, char *out, size_t size);

/* may a job that failed with this error be rendered again in a new attempt? */
extern bool FalErrorAllowsNewAttempt(const FalError *error);

#endif /* VIBEVIDEO_FAL_H */
