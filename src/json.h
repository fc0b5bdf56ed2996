/*
 * json.h
 *	  Picking values by path out of JSON that came from the network.
 *
 * Built on Postgres' own parser (common/jsonapi.h).  Nothing here throws on
 * bad input: malformed, too long, too deep or wrongly encoded JSON makes the
 * pick fail.  All text is UTF-8, whatever the database's encoding is.
 */
#ifndef VIBEVIDEO_JSON_H
#define VIBEVIDEO_JSON_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_MAX_DEPTH 256
#define JSON_MAX_LENGTH (4 * 1024 * 1024)

typedef enum JsonKind
{
	JSON_ABSENT,
	JSON_NULL,
	JSON_STRING,
	JSON_NUMBER,
	JSON_BOOL,
	JSON_ARRAY, /* present; its members have their own paths */
	JSON_OBJECT
} JsonKind;

/*
 * One value to look for.  A path is dotted, an array index in brackets:
 * "video.url", "detail[0].type"; "" is the whole document.  The caller gives
 * the buffer for the text; longer text is cut at a character boundary and
 * flagged.  Of duplicate names in an object the last one counts, as in jsonb.
 * What text cannot hold (\u0000, half a surrogate pair) becomes U+FFFD.
 */
typedef struct JsonWant
{
	const char *path;
	char *text;		 /* unescaped, NUL-terminated; "" unless scalar */
	size_t size;	 /* of text, at least 1; 0 when not wanted */
	JsonKind kind;	 /* out */
	bool truncated;	 /* out */
	const char *raw; /* out: its JSON text within the document, or NULL */
	size_t raw_len;	 /* out */
} JsonWant;

/* the text at a path, for a buffer of fixed size */
#define WANT(path_, member) \
	{ \
		.path = (path_), .text = (member), .size = sizeof(member) \
	}

/* Fill in every want; false when the text is not a JSON document at all. */
extern bool JsonPick(const char *json, size_t len, JsonWant *wants, int nwants);

/* is passed the JSON text of one element; false: stop */
typedef bool (*JsonVisit)(const char *raw, size_t raw_len, void *arg);

/*
 * Visit the elements of the array at path; false when there is no such array
 * or the text is not a JSON document, which may become known only after some
 * visits.
 */
extern bool JsonEach(const char *json, size_t len, const char *path, JsonVisit visit, void *arg);

/* a value that a search has come to */
#define JSON_PATH_SIZE 256
typedef struct JsonPlace
{
	const char *path; /* may be cut */
	const char *name; /* of the field; "" in an array, or if no path can have it */
	int depth;		  /* 0 is the document */
	JsonKind kind;
	const char *raw;
	size_t raw_len;
} JsonPlace;

/* false: stop */
typedef bool (*JsonFind)(const JsonPlace *place, void *arg);

/*
 * Visit the values of a document, to max_depth levels and max_values in all, not
 * counting numbers and the like: those within a value before it, the document
 * itself last.  False when the text is not a JSON document.
 */
extern bool JsonSearch(const char *json, size_t len, int max_depth, int max_values, JsonFind visit, void *arg);

/*
 * A document as clients read it that are less strict: without a byte order mark,
 * and with U+FFFD for each byte that is not UTF-8.  out has room for 3 * len bytes;
 * returns how many there are.
 */
extern size_t JsonRepair(const char *json, size_t len, char *out);

/* can jsonb hold these escapes?  For a raw value from a document that JsonPick accepted */
extern bool JsonFitsJsonb(const char *json, size_t len);

#endif /* VIBEVIDEO_JSON_H */
