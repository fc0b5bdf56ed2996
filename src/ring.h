/*
 * ring.h
 *	  A bounded buffer: bytes come out in the order in which they went in.
 *
 * Pure; uses malloc, since it is filled and emptied under libcurl.
 */
#ifndef VIBEVIDEO_RING_H
#define VIBEVIDEO_RING_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Ring
{
	char *data;
	size_t size;
	size_t first; /* position of the oldest byte */
	size_t used;
} Ring;

/* false: out of memory */
extern bool RingInit(Ring *ring, size_t size);
/* to a larger size, keeping its bytes; false: out of memory, and nothing has changed */
extern bool RingGrow(Ring *ring, size_t size);
extern void RingFree(Ring *ring);

extern size_t RingRoom(const Ring *ring);
/* len must not exceed the room */
extern void RingPut(Ring *ring, const char *data, size_t len);
/* removes the oldest bytes, at most len; returns how many */
extern size_t RingRead(Ring *ring, char *out, size_t len);
/* the same, without a copy */
extern size_t RingDrop(Ring *ring, size_t len);
/* the oldest bytes as far as they are contiguous; all, if nothing was ever removed */
extern const char *RingPeek(const Ring *ring, size_t *len);

#endif /* VIBEVIDEO_RING_H */
