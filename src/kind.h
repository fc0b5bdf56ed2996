/*
 * kind.h
 *	  What a file is, by its first bytes, and which kinds are accepted.
 *
 * Pure: no libcurl, no Postgres, no allocation.
 */
#ifndef VIBEVIDEO_KIND_H
#define VIBEVIDEO_KIND_H

#include <stdbool.h>
#include <stddef.h>

/* what a file can be accepted as */
typedef enum KindClass
{
	KIND_OTHER,
	KIND_VIDEO,
	KIND_GIF
} KindClass;

typedef struct Kind
{
	const char *name; /* for people */
	KindClass class;
	const char *type;	/* content type, NULL for KIND_OTHER */
	const char *ending; /* of its name */
	bool certain;		/* not a page or a text that a server gives in place of a file */
} Kind;

/* of the first bytes; a shorter file is nothing */
#define KIND_SNIFF_BYTES 1024
#define KIND_MIN_BYTES 12
extern const Kind *KindSniff(const unsigned char *bytes, size_t len);

/* of the first 8 bytes: does the file consist of boxes, or of elements? */
extern bool KindIsBox(const unsigned char *head);
extern bool KindIsElement(const unsigned char *head);

/* what turns out to be these only when all of it has passed */
extern const Kind kind_sound;
extern const Kind kind_still_gif;

/* the endings of stored files, up to a NULL, the usual one first */
extern const char *const kind_endings[];

/* list is vibevideo.accept: comma-separated words */
extern bool KindListIsValid(const char *list, char *why, size_t why_size);
extern bool KindIsAccepted(const char *list, KindClass class);

#endif /* VIBEVIDEO_KIND_H */
