/*
 * media.c
 *	  How long a video plays, read from its bytes as they go by.
 *
 * An MP4 file is a row of boxes: size, type, body (ISO/IEC 14496-12, 4.2).  The
 * movie header mvhd (8.2.2) says how long all plays; it is a box within moov,
 * which stands at the file's start or behind all samples.  So bodies are
 * skipped without being kept, and a file of any size takes a few bytes here.
 * What is no such file ends the search; other formats have no duration for us.
 */
#include "media.h"

#include <string.h>

#define BOX_HEAD 8
#define LARGE_BOX_HEAD 16 /* with a size of 64 bits */
#define FULL_BOX_HEAD 4	  /* version and flags */

void
MediaProbeInit(MediaProbe *probe)
{
	memset(probe, 0, sizeof(*probe));
	probe->need = BOX_HEAD;
	probe->duration_ms = -1;
}

static uint64_t
ReadNumber(const unsigned char *bytes, size_t len)
{
	uint64_t number = 0;

	for (size_t i = 0; i < len; i++)
		number = number << 8 | bytes[i];
	return number;
}

/* all bits set: unknown, says the standard */
static int64_t
InMilliseconds(uint64_t duration, uint64_t unknown, uint64_t timescale)
{
	uint64_t seconds;

	if (timescale == 0 || duration == unknown)
		return -1;
	seconds = duration / timescale;
	if (seconds > INT64_MAX / 1000 - 1)
		return -1;
	return (int64_t) (seconds * 1000 + duration % timescale * 1000 / timescale);
}

/* version, flags, then created, modified, timescale and duration, in 32 or 64 bits */
static void
ReadMovieHeader(MediaProbe *probe)
{
	const unsigned char *body = probe->head + FULL_BOX_HEAD;

	if (probe->have == FULL_BOX_HEAD)
	{
		probe->need = FULL_BOX_HEAD + (probe->head[0] == 1 ? 28 : 16);
		probe->over = probe->head[0] > 1;
		return;
	}
	if (probe->head[0] == 1)
		probe->duration_ms = InMilliseconds(ReadNumber(body + 20, 8), UINT64_MAX, ReadNumber(body + 16, 4));
	else
		probe->duration_ms = InMilliseconds(ReadNumber(body + 12, 4), UINT32_MAX, ReadNumber(body + 8, 4));
	probe->over = true;
}

static void
ReadBoxHead(MediaProbe *probe)
{
	uint64_t size = ReadNumber(probe->head, 4);
	const unsigned char *type = probe->head + 4;

	if (size == 1 && probe->have == BOX_HEAD)
	{
		probe->need = LARGE_BOX_HEAD;
		return;
	}
	if (probe->have == LARGE_BOX_HEAD)
		size = ReadNumber(probe->head + BOX_HEAD, 8);

	if (probe->in_movie && memcmp(type, "mvhd", 4) == 0)
	{
		probe->in_header = true;
		probe->need = FULL_BOX_HEAD;
		probe->have = 0;
		return;
	}
	if (!probe->in_movie && memcmp(type, "moov", 4) == 0)
		probe->in_movie = true;
	else if (size < probe->have) /* 0 means: up to the file's end */
		probe->over = true;
	else
		probe->skip = size - probe->have;
	probe->need = BOX_HEAD;
	probe->have = 0;
}

void
MediaProbeFeed(MediaProbe *probe, const unsigned char *bytes, size_t len)
{
	while (len > 0 && !probe->over)
	{
		size_t n;

		if (probe->skip > 0)
		{
			n = probe->skip < len ? (size_t) probe->skip : len;
			probe->skip -= n;
		}
		else
		{
			n = probe->need - probe->have < len ? probe->need - probe->have : len;
			memcpy(probe->head + probe->have, bytes, n);
			probe->have += n;
			if (probe->have == probe->need && probe->in_header)
				ReadMovieHeader(probe);
			else if (probe->have == probe->need)
				ReadBoxHead(probe);
		}
		bytes += n;
		len -= n;
	}
}
