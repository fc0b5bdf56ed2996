/*
 * index.h
 *	  Builds the index of a table that was too large to index while attaching it.
 */
#ifndef VIBEVIDEO_INDEX_H
#define VIBEVIDEO_INDEX_H

#include "postgres.h"

/* starts the process that builds it; call outside a transaction */
extern void IndexEnsure(void);
extern PGDLLEXPORT void VibevideoIndexMain(Datum arg);

#endif /* VIBEVIDEO_INDEX_H */
