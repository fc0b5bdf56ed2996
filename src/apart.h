/*
 * apart.h
 *	  Makes the slots and tills of limits in a transaction of its own.
 */
#ifndef VIBEVIDEO_APART_H
#define VIBEVIDEO_APART_H

#include "postgres.h"

extern PGDLLEXPORT void VibevideoApartMain(Datum arg);

#endif /* VIBEVIDEO_APART_H */
