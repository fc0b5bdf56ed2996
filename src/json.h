/*
 * json.h
 *	  Picking values by path out of JSON that came from the network.
 *
 * Built on Postgres' own parser (common/jsonapi.h).  Nothing here throws on
 * bad input: malformed, too deep or wrongly encoded JSON makes the pick fail.
 */
#ifndef VIBEVIDEO_JSON_H
#define VIBEVIDEO_JSON_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_MAX_DEPTH 32

typedef enum JsonKind
{
	JSON_ABSENT,
	JSON_NULL,
	JSON_STRING,
	JSON_NUMBER,
	JSON_BOOL,
	JSON_ARRAY,					/* present; its members have paths of their own */
	JSON_OBJECT
} JsonKind;

/*
 * One value to look for.  A path is dotted, an array index in brackets:
 * "video.url", "detail[0].type".  The caller gives the buffer for the text;
 * longer text is cut at a character boundary and flagged.
 */
typedef struct JsonWant
{
	const char *path;
	char	   *text;			/* unescaped, NUL-terminated; "" unless scalar */
	size_t		size;			/* of text, at least 1; 0 when not wanted */
	JsonKind	kind;			/* out */
	bool		truncated;		/* out */
} JsonWant;

/* Fill in every want; false when the text is not a JSON document at all. */
extern bool JsonPick(const char *json, size_t len, JsonWant *wants, int nwants);

#endif							/* VIBEVIDEO_JSON_H */
