/*
 * ring.h
 *	  A bounded buffer: bytes come out in the order in which they went in.
 *
 * Pure; allocates by malloc, since it is filled and emptied under libcurl.
 */
#ifndef VIBEVIDEO_RING_H
#define VIBEVIDEO_RING_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Ring
{
	char *data;
	size_t size;
	size_t first; /* where the oldest byte is */
	size_t used;
} Ring;

/* false: no memory */
extern bool RingInit(Ring *ring, size_t size);
/* to a larger one, with what is in it; false: no memory, and it is as it was */
extern bool RingGrow(Ring *ring, size_t size);
extern void RingFree(Ring *ring);

extern size_t RingRoom(const Ring *ring);
/* len must not be more than there is room */
extern void RingPut(Ring *ring, const char *data, size_t len);
/* the oldest bytes, at most len: how many */
extern size_t RingTake(Ring *ring, char *out, size_t len);
/* the same without looking at them */
extern size_t RingDrop(Ring *ring, size_t len);
/* the oldest bytes as far as they lie in one piece; of a ring of which nothing was taken, all */
extern const char *RingPeek(const Ring *ring, size_t *len);

#endif /* VIBEVIDEO_RING_H */
