/*
 * index.h
 *	  The index of a table that was too big to index when it was attached.
 */
#ifndef VIBEVIDEO_INDEX_H
#define VIBEVIDEO_INDEX_H

#include "postgres.h"

/* have it built, by a process of its own; call outside a transaction */
extern void IndexEnsure(void);
extern PGDLLEXPORT void VibevideoIndexMain(Datum arg);

#endif /* VIBEVIDEO_INDEX_H */
