/*
 * wire.h
 *	  Shared by the protocol files: describing an exchange, text from the
 *	  network, building URLs, dates.
 *
 * Pure: no Postgres, no allocation, and of libcurl only its parser of dates.
 */
#ifndef VIBEVIDEO_WIRE_H
#define VIBEVIDEO_WIRE_H

#include <time.h>

#include "reply.h"

/* our error type for an exchange that was not HTTP_ANSWERED */
extern const char *WireFailureType(const HttpReply *reply);

/*
 * Did no service answer?  What we ended ourselves does not count.  A 5xx is judged
 * by who wrote it: see FalIsOutage and StorageIsOutage.
 */
extern bool WireIsUnreached(const HttpReply *reply);
/* a 502, 503 or 504: what a gateway says when it cannot reach who is behind it (RFC 9110 15.6) */
extern bool WireIsGatewayStatus(int status);

/*
 * Describes a reply whose body has no message: the transport error, or which
 * hop seems to have answered.  Clean, never "".
 */
extern void WireDescribe(const HttpReply *reply, char *out, size_t size);

/* what to do when https met a port of plain http, or the other way round: static text; NULL: nothing looks like that */
extern const char *WireSchemeHint(const HttpReply *reply, const char *url);

/* a page for browsers, so not from the API but from a hop in front of it */
extern bool WireIsHtml(const HttpReply *reply);

/*
 * Make valid UTF-8 text safe for a log line and a table: control characters
 * become spaces, runs of spaces become one, and what looks like a secret
 * becomes "***".
 */
extern void WireClean(char *text);

/* a UTF-8 character of so many bytes that a terminal acts on, or that moves what is written beside it */
extern bool WireIsControl(const char *character, size_t len);

/*
 * A key or a user in a text for people.  Callers make keys up, so what a reader
 * of lines, a terminal or a browser would act on is escaped, and the key is cut.
 * WireShown(text) has room of its own, for as long as the enclosing block.
 */
#define WIRE_SHOWN_BYTES 100
#define WireShown(text) WireShow((char[WIRE_SHOWN_BYTES]){0}, text)

extern const char *WireShow(char out[WIRE_SHOWN_BYTES], const char *text);

/* copy, truncated at a UTF-8 character boundary */
extern void WireCopy(char *out, size_t size, const char *text);

/*
 * Copy a machine word from outside: anything but letters, digits and "_.-:"
 * becomes '_', and the words that we say of a job's fate get a prefix.
 */
extern void WireCopyWord(char *out, size_t size, const char *word);

/* append to a NUL-terminated buffer; if it does not fit: false, and nothing is appended */
extern bool WireAppend(char *out, size_t size, const char *text);

/* the same, percent-encoding all but RFC 3986's unreserved characters and those in keep */
extern bool WireAppendEncoded(char *out, size_t size, const char *text, const char *keep);

/* an http(s) URL that a path can be appended to */
extern bool WireBaseUrlIsValid(const char *base);

/* a whole decimal number from 0 to INT64_MAX; -1 when text is anything else */
extern int64_t WireNumber(const char *text);

/* Unix time of an HTTP-date (RFC 9110 5.6.7: three forms, all in GMT); -1 if it is not one */
extern int64_t WireDate(const char *text);
/* seconds to wait according to Retry-After (RFC 9110 10.2.3: seconds or HTTP-date), a day at most; -1 if none */
extern int WireRetryAfter(const char *header, time_t now);

#endif /* VIBEVIDEO_WIRE_H */
