/*
 * media.c
 *	  Measures a video's bytes as they pass: its SHA-256, and what its structure
 *	  says (container.c).
 */
#include "media.h"

#include <string.h>

/*----------
 * The meter
 *----------
 */
void
MediaMeterInit(MediaMeter *meter)
{
	memset(meter, 0, sizeof(*meter));
	(void) SHA256_Init(&meter->hash);
	ContainerInit(&meter->container);
}

void
MediaMeterAdd(MediaMeter *meter, const void *data, size_t len)
{
	(void) SHA256_Update(&meter->hash, data, len);
	ContainerAdd(&meter->container, data, len);
	meter->bytes += (int64_t) len;
}

void
MediaMeterHash(const MediaMeter *meter, unsigned char sha256[32])
{
	SHA256_CTX hash = meter->hash;

	(void) SHA256_Final(sha256, &hash);
}

const Kind *
MediaMeterKind(const MediaMeter *meter)
{
	const Container *container = &meter->container;

	if (container->form == CONTAINER_BLOCKS)
		return container->complete && container->images < 2 ? &kind_still_gif : NULL;
	return container->has_sound && !container->has_picture ? &kind_sound : NULL;
}

/*----------
 * Saving and loading
 *----------
 */
#define STATE_VERSION 3
#define HEAD_SIZE (1 + 8)
#define HASH_SIZE (8 * 4 + SHA256_CBLOCK)
#define CHECK_SIZE 8 /* at the end: over the rest, and the ETag */
#define BODY_SIZE (MEDIA_STATE_SIZE - CHECK_SIZE)

/* of the container: each field, and in how many bytes it is saved */
#define FIELDS(X) \
	X(form, 1) \
	X(part, 1) \
	X(over, 1) \
	X(complete, 1) \
	X(open, 1) \
	X(has_movie, 1) \
	X(has_data, 1) \
	X(has_picture, 1) \
	X(has_sound, 1) \
	X(is_control, 1) \
	X(depth, 1) \
	X(place[0], 1) \
	X(place[1], 1) \
	X(place[2], 1) \
	X(ends[0], 8) \
	X(ends[1], 8) \
	X(ends[2], 8) \
	X(skip, 8) \
	X(body_end, 8) \
	X(have, 1) \
	X(need, 1) \
	X(scale, 4) \
	X(duration_ms, 8) \
	X(played_ms, 8) \
	X(images, 1) \
	X(delay, 2)

#define SIZE_OF(field, len) +len
#define SAVE(field, len) at = SaveNumber(at, (uint64_t) container->field, len);
#define LOAD(field, len) container->field = LoadNumber(at, len);

_Static_assert(HEAD_SIZE + HASH_SIZE + CONTAINER_HEAD FIELDS(SIZE_OF) == BODY_SIZE, "a place for everything");

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
	uint64_t number = 0;

	for (size_t i = 0; i < len; i++)
		number = number << 8 | *(*at)++;
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
	const Container *container = &meter->container;
	unsigned char *at = state;
	unsigned char sha256[32];

	memset(state, 0, MEDIA_STATE_SIZE);
	at = SaveNumber(at, STATE_VERSION, 1);
	at = SaveNumber(at, (uint64_t) meter->bytes, 8);
	for (int i = 0; i < 8; i++)
		at = SaveNumber(at, meter->hash.h[i], 4);
	memcpy(at, meter->hash.data, meter->hash.num);
	at += SHA256_CBLOCK;
	memcpy(at, container->head, CONTAINER_HEAD);
	at += CONTAINER_HEAD;
	FIELDS(SAVE)
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
LoadContainer(const unsigned char **at, Container *container)
{
	memcpy(container->head, *at, CONTAINER_HEAD);
	*at += CONTAINER_HEAD;
	FIELDS(LOAD)
	return ContainerIsValid(container);
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
			meter->container.at = (uint64_t) meter->bytes;
			if (LoadContainer(&at, &meter->container))
				return true;
		}
	}
	MediaMeterInit(meter);
	return false;
}
