/*
 * wire.h
 *	  What the protocol files share: words about an exchange, text that came
 *	  from the network, pieces of URLs.
 *
 * Pure: no libcurl, no Postgres, no allocation.
 */
#ifndef VIBEVIDEO_WIRE_H
#define VIBEVIDEO_WIRE_H

#include "reply.h"

/* our type word for an exchange that was not HTTP_ANSWERED */
extern const char *WireFailureType(const HttpReply *reply);

/*
 * One sentence about a reply whose body says nothing by itself: the transport
 * error, or which hop seems to have answered.  Clean, never "".
 */
extern void WireDescribe(const HttpReply *reply, char *out, size_t size);

/* a page made for browsers, that is: not from the API but from a hop before it */
extern bool WireIsHtml(const HttpReply *reply);

/*
 * Make valid UTF-8 text fit for a log line and a table: control characters
 * become spaces, runs of spaces one, and what looks like a secret "***".
 */
extern void WireClean(char *text);

/* copy, cut at a UTF-8 character boundary */
extern void WireCopy(char *out, size_t size, const char *text);

/* copy a machine word: anything but letters, digits and "_.-:" becomes '_' */
extern void WireCopyWord(char *out, size_t size, const char *word);

/* append to a NUL-terminated buffer; false, and nothing appended, when it does not fit */
extern bool WireAppend(char *out, size_t size, const char *text);

/* the same, percent-encoding all but RFC 3986's unreserved characters and those in keep */
extern bool WireAppendEncoded(char *out, size_t size, const char *text, const char *keep);

/* an http(s) URL that a path can be appended to */
extern bool WireBaseUrlIsValid(const char *base);

/* a whole decimal number from 0 to INT64_MAX; -1 when text is anything else */
extern int64_t WireNumber(const char *text);

#endif /* VIBEVIDEO_WIRE_H */
