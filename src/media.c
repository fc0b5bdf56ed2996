/*
 * media.c
 *	  Learns from a video's bytes as they pass: whether it is a video, its
 *	  SHA-256, and how long it plays.
 *
 * An MP4 file is a sequence of boxes: size, type, body (ISO/IEC 14496-12,
 * 4.2).  The movie header mvhd (8.2.2) has the duration; it is a box within
 * moov, which is at the file's start or after all samples.  So bodies are
 * skipped without being kept, and a file of any size takes a few bytes here.
 * Anything else ends the search; we read no duration from other formats.
 */
#include "media.h"

#include <string.h>

#define BOX_HEAD 8
#define LARGE_BOX_HEAD 16 /* with a size of 64 bits */
#define FULL_BOX_HEAD 4	  /* version and flags */

static uint64_t
ReadBigEndian(const unsigned char *bytes, size_t len)
{
	uint64_t number = 0;

	for (size_t i = 0; i < len; i++)
		number = number << 8 | bytes[i];
	return number;
}

bool
MediaSniff(const unsigned char *bytes, size_t len, const char **name)
{
	static const unsigned char ebml[] = {0x1a, 0x45, 0xdf, 0xa3}; /* RFC 8794 11.2.1 */

	if (len < MEDIA_SNIFF_BYTES)
		return false;

	if (memcmp(bytes + 4, "ftyp", 4) == 0)
	{
		*name = "mp4";
		return ReadBigEndian(bytes, 4) >= BOX_HEAD;
	}
	if (memcmp(bytes, ebml, sizeof(ebml)) == 0)
	{
		*name = "webm";
		return true;
	}
	return false;
}

/* all bits set: unknown, by the standard */
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
		probe->duration_ms = InMilliseconds(ReadBigEndian(body + 20, 8), UINT64_MAX, ReadBigEndian(body + 16, 4));
	else
		probe->duration_ms = InMilliseconds(ReadBigEndian(body + 12, 4), UINT32_MAX, ReadBigEndian(body + 8, 4));
	probe->over = true;
}

static void
ReadBoxHead(MediaProbe *probe)
{
	uint64_t size = ReadBigEndian(probe->head, 4);
	const unsigned char *type = probe->head + 4;

	if (size == 1 && probe->have == BOX_HEAD)
	{
		probe->need = LARGE_BOX_HEAD;
		return;
	}
	if (probe->have == LARGE_BOX_HEAD)
		size = ReadBigEndian(probe->head + BOX_HEAD, 8);

	if (probe->in_movie && memcmp(type, "mvhd", 4) == 0)
	{
		probe->in_header = true;
		probe->need = FULL_BOX_HEAD;
		probe->have = 0;
		return;
	}
	if (!probe->in_movie && memcmp(type, "moov", 4) == 0)
		probe->in_movie = true;
	else if (size < probe->have) /* 0 means up to the file's end */
		probe->over = true;
	else
		probe->skip = size - probe->have;
	probe->need = BOX_HEAD;
	probe->have = 0;
}

static void
FeedProbe(MediaProbe *probe, const unsigned char *bytes, size_t len)
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

/*----------
 * The meter
 *----------
 */
void
MediaMeterInit(MediaMeter *meter)
{
	memset(meter, 0, sizeof(*meter));
	(void) SHA256_Init(&meter->hash);
	meter->probe.need = BOX_HEAD;
	meter->probe.duration_ms = -1;
}

void
MediaMeterAdd(MediaMeter *meter, const void *data, size_t len)
{
	(void) SHA256_Update(&meter->hash, data, len);
	FeedProbe(&meter->probe, data, len);
	meter->bytes += (int64_t) len;
}

void
MediaMeterHash(const MediaMeter *meter, unsigned char sha256[32])
{
	SHA256_CTX hash = meter->hash;

	(void) SHA256_Final(sha256, &hash);
}

/*----------
 * Saving and loading
 *----------
 */
#define STATE_VERSION 1
#define CHECK_SIZE 8 /* at the end: over the rest, and the ETag */
#define BODY_SIZE (MEDIA_STATE_SIZE - CHECK_SIZE)

static unsigned char *
SaveNumber(unsigned char *at, uint64_t number, size_t len)
{
	for (size_t i = len; i-- > 0; number >>= 8)
		at[i] = (unsigned char) number;
	return at + len;
}

static uint64_t
LoadNumber(const unsigned char **at, size_t len)
{
	uint64_t number = ReadBigEndian(*at, len);

	*at += len;
	return number;
}

static void
MakeCheck(const unsigned char *state, const char *etag, unsigned char sha256[32])
{
	SHA256_CTX hash;

	(void) SHA256_Init(&hash);
	(void) SHA256_Update(&hash, state, BODY_SIZE);
	(void) SHA256_Update(&hash, etag, strlen(etag));
	(void) SHA256_Final(sha256, &hash);
}

void
MediaMeterSave(const MediaMeter *meter, const char *etag, unsigned char state[MEDIA_STATE_SIZE])
{
	const MediaProbe *probe = &meter->probe;
	unsigned char *at = state;
	unsigned char sha256[32];

	memset(state, 0, MEDIA_STATE_SIZE);
	at = SaveNumber(at, STATE_VERSION, 1);
	at = SaveNumber(at, (uint64_t) meter->bytes, 8);
	for (int i = 0; i < 8; i++)
		at = SaveNumber(at, meter->hash.h[i], 4);
	memcpy(at, meter->hash.data, meter->hash.num);
	at += SHA256_CBLOCK;
	at = SaveNumber(at, probe->over, 1);
	at = SaveNumber(at, probe->in_movie, 1);
	at = SaveNumber(at, probe->in_header, 1);
	at = SaveNumber(at, probe->skip, 8);
	at = SaveNumber(at, probe->have, 1);
	at = SaveNumber(at, probe->need, 1);
	memcpy(at, probe->head, sizeof(probe->head));
	at = SaveNumber(at + sizeof(probe->head), (uint64_t) probe->duration_ms, 8);
	MakeCheck(state, etag, sha256);
	memcpy(state + BODY_SIZE, sha256, CHECK_SIZE);
}

static void
LoadHash(const unsigned char **at, MediaMeter *meter)
{
	SHA256_CTX *hash = &meter->hash;
	uint64_t bits = (uint64_t) meter->bytes * 8;

	for (int i = 0; i < 8; i++)
		hash->h[i] = (SHA_LONG) LoadNumber(at, 4);
	hash->Nl = (SHA_LONG) bits;
	hash->Nh = (SHA_LONG) (bits >> 32);
	hash->num = (unsigned int) (meter->bytes % SHA256_CBLOCK);
	memcpy(hash->data, *at, hash->num);
	*at += SHA256_CBLOCK;
}

static bool
LoadProbe(const unsigned char **at, MediaProbe *probe)
{
	probe->over = LoadNumber(at, 1) != 0;
	probe->in_movie = LoadNumber(at, 1) != 0;
	probe->in_header = LoadNumber(at, 1) != 0;
	probe->skip = LoadNumber(at, 8);
	probe->have = LoadNumber(at, 1);
	probe->need = LoadNumber(at, 1);
	memcpy(probe->head, *at, sizeof(probe->head));
	*at += sizeof(probe->head);
	probe->duration_ms = (int64_t) LoadNumber(at, 8);
	return probe->duration_ms >= -1 && probe->need <= sizeof(probe->head) &&
		(probe->over || probe->have < probe->need);
}

bool
MediaMeterLoad(MediaMeter *meter, const char *etag, const unsigned char *state, size_t len)
{
	const unsigned char *at = state;
	unsigned char sha256[32];

	MediaMeterInit(meter);
	if (len != MEDIA_STATE_SIZE)
		return false;
	MakeCheck(state, etag, sha256);
	if (memcmp(state + BODY_SIZE, sha256, CHECK_SIZE) == 0 && LoadNumber(&at, 1) == STATE_VERSION)
	{
		meter->bytes = (int64_t) LoadNumber(&at, 8);
		if (meter->bytes >= 0 && meter->bytes <= INT64_MAX / 8)
		{
			LoadHash(&at, meter);
			if (LoadProbe(&at, &meter->probe))
				return true;
		}
	}
	MediaMeterInit(meter);
	return false;
}
