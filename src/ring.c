/*
 * ring.c
 *	  A bounded buffer.
 */
#include "ring.h"

#include <stdlib.h>
#include <string.h>

static size_t
Smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

bool
RingInit(Ring *ring, size_t size)
{
	ring->data = malloc(size);
	ring->size = ring->data ? size : 0;
	ring->first = ring->used = 0;
	return ring->data != NULL;
}

bool
RingGrow(Ring *ring, size_t size)
{
	Ring larger;

	if (!RingInit(&larger, size))
		return false;
	larger.used = RingRead(ring, larger.data, size);
	RingFree(ring);
	*ring = larger;
	return true;
}

void
RingFree(Ring *ring)
{
	free(ring->data);
	memset(ring, 0, sizeof(*ring));
}

size_t
RingRoom(const Ring *ring)
{
	return ring->size - ring->used;
}

void
RingPut(Ring *ring, const char *data, size_t len)
{
	size_t last = ring->first + ring->used;
	size_t piece;

	if (len == 0)
		return;
	last %= ring->size;
	piece = Smaller(len, ring->size - last);
	memcpy(ring->data + last, data, piece);
	memcpy(ring->data, data + piece, len - piece);
	ring->used += len;
}

size_t
RingRead(Ring *ring, char *out, size_t len)
{
	size_t piece;

	len = Smaller(len, ring->used);
	piece = Smaller(len, ring->size - ring->first);
	if (len > 0)
	{
		memcpy(out, ring->data + ring->first, piece);
		memcpy(out + piece, ring->data, len - piece);
	}
	return RingDrop(ring, len);
}

size_t
RingDrop(Ring *ring, size_t len)
{
	len = Smaller(len, ring->used);
	if (len > 0)
		ring->first = (ring->first + len) % ring->size;
	ring->used -= len;
	return len;
}

const char *
RingPeek(const Ring *ring, size_t *len)
{
	*len = Smaller(ring->used, ring->size - ring->first);
	return ring->data + ring->first;
}
