/*
 * media.h
 *	  How long a video plays, read from its bytes as they go by.
 */
#ifndef VIBEVIDEO_MEDIA_H
#define VIBEVIDEO_MEDIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts as MediaProbeInit left it; the file's bytes are then fed in any pieces. */
typedef struct MediaProbe
{
	bool over;		/* found, or it is of no use to go on */
	bool in_movie;	/* the box that begins here is one of moov's */
	bool in_header; /* head is of mvhd's body, otherwise of a box */
	uint64_t skip;	/* bytes until then */
	size_t have;	/* of head */
	size_t need;	/* ... */
	unsigned char head[32];
	int64_t duration_ms; /* -1 until known */
} MediaProbe;

extern void MediaProbeInit(MediaProbe *probe);
extern void MediaProbeFeed(MediaProbe *probe, const unsigned char *bytes, size_t len);

#endif /* VIBEVIDEO_MEDIA_H */
