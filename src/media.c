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
 * What it says of its tracks
 *----------
 */
static MediaAnswer
Answer(bool is_known, bool yes)
{
	if (!is_known)
		return MEDIA_UNKNOWN;
	return yes ? MEDIA_YES : MEDIA_NO;
}

static int64_t
Points(uint32_t points)
{
	return points > 0 && points <= TRACK_MOST_POINTS ? (int64_t) points : -1;
}

/* Which of its tracks are there is known once the movie was read, and all of it understood. */
void
MediaMeterFacts(const MediaMeter *meter, bool is_whole, MediaFacts *facts)
{
	const Container *container = &meter->container;
	const Track *picture = &container->picture;
	bool has_tracks = container->form == CONTAINER_BLOCKS ||
		(picture->kind == TRACK_PICTURE && !container->is_odd && (is_whole || container->has_data));

	memset(facts, 0, sizeof(*facts));
	facts->width = Points(picture->width);
	facts->height = Points(picture->height);
	if (facts->width < 0 || facts->height < 0)
		facts->width = facts->height = -1;
	facts->milli_rate = TrackMilliRate(picture);
	facts->duration_ms = container->duration_ms;
	TrackName(picture, facts->video_codec);
	TrackName(&container->sound, facts->audio_codec);
	facts->has_audio = Answer(has_tracks || container->has_sound, container->has_sound);
	facts->faststart = Answer(container->has_movie && container->has_data, !container->is_late);
	facts->has_c2pa = Answer(container->form == CONTAINER_BOXES && (is_whole || container->has_c2pa), container->has_c2pa);
}

/*----------
 * Saving and loading
 *----------
 */
#define STATE_VERSION 4
#define HEAD_SIZE (1 + 8)
#define HASH_SIZE (8 * 4 + SHA256_CBLOCK)
#define CHECK_SIZE 8 /* at the end: over the rest, and the ETag */
#define BODY_SIZE (MEDIA_STATE_SIZE - CHECK_SIZE)

/* of the container: each field, and in how many bytes it is saved */
#define TRACK_FIELDS(X, track) \
	X(track.kind, 1) \
	X(track.id, 4) \
	X(track.scale, 4) \
	X(track.sample_ticks, 4) \
	X(track.ticks, 8) \
	X(track.samples, 8) \
	X(track.width, 4) \
	X(track.height, 4) \
	X(track.shape_width, 4) \
	X(track.shape_height, 4) \
	X(track.shape_unit, 4) \
	X(track.is_turned, 1) \
	X(track.codec_len, 1) \
	X(track.config_len, 1)

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
	X(is_odd, 1) \
	X(is_late, 1) \
	X(has_length, 1) \
	X(has_c2pa, 1) \
	X(depth, 1) \
	X(place[0], 1) \
	X(place[1], 1) \
	X(place[2], 1) \
	X(place[3], 1) \
	X(place[4], 1) \
	X(place[5], 1) \
	X(place[6], 1) \
	X(place[7], 1) \
	X(ends[0], 8) \
	X(ends[1], 8) \
	X(ends[2], 8) \
	X(ends[3], 8) \
	X(ends[4], 8) \
	X(ends[5], 8) \
	X(ends[6], 8) \
	X(ends[7], 8) \
	X(skip, 8) \
	X(body_end, 8) \
	X(id, 4) \
	X(rows, 4) \
	X(of_run, 1) \
	X(have, 1) \
	X(need, 1) \
	X(scale, 4) \
	X(duration_ms, 8) \
	X(played_ms, 8) \
	X(images, 1) \
	X(delay, 2) \
	X(run_ticks, 4) \
	TRACK_FIELDS(X, track) \
	TRACK_FIELDS(X, picture) \
	TRACK_FIELDS(X, sound)

#define SIZE_OF(field, len) +len
#define SAVE(field, len) at = SaveNumber(at, (uint64_t) container->field, len);
#define LOAD(field, len) container->field = LoadNumber(at, len);

_Static_assert(HEAD_SIZE + HASH_SIZE + CONTAINER_HEAD + 3 * (TRACK_CODEC + TRACK_CONFIG) FIELDS(SIZE_OF) == BODY_SIZE,
			   "a place for everything");
_Static_assert(CONTAINER_DEPTH == 8, "all places are saved");

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

static unsigned char *
SaveBytes(unsigned char *at, const unsigned char *bytes, size_t len)
{
	memcpy(at, bytes, len);
	return at + len;
}

static void
LoadBytes(const unsigned char **at, unsigned char *bytes, size_t len)
{
	memcpy(bytes, *at, len);
	*at += len;
}

/* what is behind its fields */
static unsigned char *
SaveTexts(unsigned char *at, const Track *track)
{
	at = SaveBytes(at, track->codec, TRACK_CODEC);
	return SaveBytes(at, track->config, TRACK_CONFIG);
}

static void
LoadTexts(const unsigned char **at, Track *track)
{
	LoadBytes(at, track->codec, TRACK_CODEC);
	LoadBytes(at, track->config, TRACK_CONFIG);
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
	at = SaveBytes(at, container->head, CONTAINER_HEAD);
	FIELDS(SAVE)
	at = SaveTexts(at, &container->track);
	at = SaveTexts(at, &container->picture);
	(void) SaveTexts(at, &container->sound);
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
	LoadBytes(at, container->head, CONTAINER_HEAD);
	FIELDS(LOAD)
	LoadTexts(at, &container->track);
	LoadTexts(at, &container->picture);
	LoadTexts(at, &container->sound);
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
