/*
 * objection.h
 *	  Which of a model's words about its input the app's user may read.
 *
 * Pure: no Postgres, no allocation.
 */
#ifndef VIBEVIDEO_OBJECTION_H
#define VIBEVIDEO_OBJECTION_H

#include <stdbool.h>
#include <stddef.h>

/* is the text free of names and words of infrastructure? */
extern bool ObjectionIsPlain(const char *text);

/*
 * "field: words", cut, or the words alone if there is no field that reads like
 * one; "" if not all of it is plain.  words must be clean (WireClean).
 */
extern void ObjectionMake(char *out, size_t size, const char *field, const char *words);

#endif /* VIBEVIDEO_OBJECTION_H */
