/*
 * track.c
 *	  What a video's tracks say: how large the picture is, how fast it moves, and
 *	  how both are coded.
 *
 * container.c finds the places.  Here is what is in them: of MP4, the track's
 * header (ISO/IEC 14496-12, 8.3.2), its sample entry (8.5.2) and what the codec
 * puts into that; of Matroska, CodecID and CodecPrivate (RFC 9559).
 *
 * Browsers ask for a codec by its name and how it is used, as avc1.64001f (RFC
 * 6381, and of each codec its own document).  A name without that is one as well:
 * it is what is left where the file does not say more.
 */
#include "track.h"

#include <stdio.h>
#include <string.h>

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

#define TYPE(a, b, c, d) ((uint32_t) (a) << 24 | (b) << 16 | (c) << 8 | (d))

/* places in bodies */
#define MATRIX_AT 40 /* of tkhd; 12 later with times of 64 bits */
#define SIZE_AT 24	 /* of a picture's sample entry */
#define MOST_MS (INT64_MAX / 1000)

static uint32_t
Read16(const unsigned char *bytes)
{
	return (uint32_t) bytes[0] << 8 | bytes[1];
}

static uint32_t
Read32(const unsigned char *bytes)
{
	return Read16(bytes) << 16 | Read16(bytes + 2);
}

bool
TrackIsValid(const Track *track)
{
	return track->kind <= TRACK_SOUND && track->codec_len <= TRACK_CODEC && track->config_len <= TRACK_CONFIG;
}

/*----------
 * Reading
 *----------
 */

/* Its id, and the matrix: (a b u, c d v, x y w), of which a turn by 90 degrees has no a and d, but b and c. */
void
TrackReadHeader(Track *track, const unsigned char *body, size_t len)
{
	bool is_long = body[0] == 1;
	const unsigned char *matrix = body + MATRIX_AT + (is_long ? 12 : 0);

	if (len < MATRIX_AT + (is_long ? 12 : 0) + 20)
		return;
	track->id = Read32(body + (is_long ? 20 : 12));
	track->is_turned = Read32(matrix) == 0 && Read32(matrix + 16) == 0 && Read32(matrix + 4) != 0 && Read32(matrix + 12) != 0;
}

void
TrackReadEntry(Track *track, const unsigned char *body, size_t len)
{
	if (track->kind != TRACK_PICTURE || len < SIZE_AT + 4)
		return;
	track->width = Read16(body + SIZE_AT);
	track->height = Read16(body + SIZE_AT + 2);
}

void
TrackSetCodec(Track *track, const unsigned char *name, size_t len)
{
	track->codec_len = (uint8_t) (len < TRACK_CODEC ? len : TRACK_CODEC);
	memcpy(track->codec, name, track->codec_len);
}

void
TrackSetConfig(Track *track, const unsigned char *bytes, size_t len)
{
	track->config_len = (uint8_t) (len < TRACK_CONFIG ? len : TRACK_CONFIG);
	memcpy(track->config, bytes, track->config_len);
}

/* A descriptor of MPEG-4 (ISO/IEC 14496-1, 8.3): its tag, and its length in bytes of 7 bits.  false: it is another one. */
static bool
SkipHead(const unsigned char **at, const unsigned char *end, unsigned char tag)
{
	if (*at >= end || **at != tag)
		return false;
	(*at)++;
	for (int i = 0; i < 4 && *at < end; i++)
		if ((*(*at)++ & 0x80) == 0)
			return true;
	return false;
}

/* esds: what kind of object it is and, of AAC, which kind of that: both become the config */
static void
ReadDescriptors(Track *track, const unsigned char *body, size_t len)
{
	const unsigned char *at = body + 4;
	const unsigned char *end = body + len;
	unsigned char config[3] = {0};
	size_t have = 1;

	if (len < 4 || !SkipHead(&at, end, 3) || end - at < 3)
		return;
	/* id and flags; then what the flags announce: another id, an address, a clock's id */
	if (at[2] & 0x40)
		return;
	at += 3 + (at[2] & 0x80 ? 2 : 0) + (at[2] & 0x20 ? 2 : 0);
	if (at > end || !SkipHead(&at, end, 4) || end - at < 13)
		return;
	config[0] = at[0];
	at += 13;
	if (SkipHead(&at, end, 5))
		for (; have < sizeof(config) && at < end; have++)
			config[have] = *at++;
	TrackSetConfig(track, config, have);
}

void
TrackReadConfig(Track *track, uint32_t type, const unsigned char *body, size_t len)
{
	if (type == TYPE('e', 's', 'd', 's'))
		ReadDescriptors(track, body, len);
	else if (type == TYPE('v', 'p', 'c', 'C') && len > 4)
		/* version and flags go first */
		TrackSetConfig(track, body + 4, len - 4);
	else if (type == TYPE('p', 'a', 's', 'p') && len >= 8)
	{
		track->shape_width = Read32(body);
		track->shape_height = Read32(body + 4);
	}
	else if (type != TYPE('v', 'p', 'c', 'C') && type != TYPE('p', 'a', 's', 'p'))
		TrackSetConfig(track, body, len);
}

/* A file may say anything: what it adds up to is not believed beyond some point. */
void
TrackCount(Track *track, uint64_t samples, uint64_t ticks)
{
	if (track->ticks <= UINT64_MAX / 2 && ticks <= UINT32_MAX && samples <= UINT32_MAX && track->samples <= UINT64_MAX / 2 &&
		samples * ticks <= UINT64_MAX / 4)
	{
		track->samples += samples;
		track->ticks += samples * ticks;
	}
}

/*----------
 * The picture's size
 *----------
 */
static uint32_t
Scale(uint32_t number, uint32_t by, uint32_t of)
{
	double scaled = (double) number * by / of + 0.5;

	return scaled <= TRACK_MOST_POINTS ? (uint32_t) scaled : 0;
}

/* Points that are not square are made so by making the picture wider or higher, as browsers do. */
void
TrackEndBoxes(Track *track)
{
	uint32_t across = track->shape_width;
	uint32_t down = track->shape_height;
	uint32_t width = track->width;

	if (across > down && down > 0)
		track->width = Scale(track->width, across, down);
	else if (across < down && across > 0)
		track->height = Scale(track->height, down, across);
	if (track->is_turned)
	{
		width = track->width;
		track->width = track->height;
		track->height = width;
	}
}

/* DisplayWidth and DisplayHeight: in points, or (unit 3) as a proportion; other units say nothing of a screen's points */
void
TrackEndElements(Track *track)
{
	uint32_t across = track->shape_width;
	uint32_t down = track->shape_height;

	if (track->shape_unit == 3 && across > 0 && down > 0)
		track->width = Scale(track->height, across, down);
	else if (track->shape_unit == 0)
	{
		track->width = across > 0 ? across : track->width;
		track->height = down > 0 ? down : track->height;
	}
}

/*----------
 * Time
 *----------
 */
int64_t
TrackPlayedMs(const Track *track)
{
	uint64_t seconds;

	if (track->scale == 0 || track->ticks == 0)
		return -1;
	seconds = track->ticks / track->scale;
	if (seconds >= MOST_MS)
		return -1;
	return (int64_t) (seconds * 1000 + track->ticks % track->scale * 1000 / track->scale);
}

int64_t
TrackMilliRate(const Track *track)
{
	double rate;

	if (track->scale == 0 || track->ticks == 0 || track->samples == 0)
		return -1;
	rate = (double) track->samples * track->scale * 1000 / (double) track->ticks;
	return rate >= 1 && rate <= 1000 * 1000 ? (int64_t) (rate + 0.5) : -1;
}

/*----------
 * The codec's name
 *----------
 */

/* ISO/IEC 14496-15: profile, what it is compatible with, level */
static void
NameAvc(const unsigned char *config, char *name)
{
	(void) snprintf(name, TRACK_NAME, ".%02x%02x%02x", config[1], config[2], config[3]);
}

/* The same, annex E: profile, compatible ones with their bits in reverse, tier and level, constraints up to the last that is set */
static void
NameHevc(const unsigned char *config, char *name)
{
	static const char *const spaces[] = {"", "A", "B", "C"};
	uint32_t compatible = Read32(config + 2);
	uint32_t reverse = 0;
	int constraints = 6;
	int len;

	for (int i = 0; i < 32; i++)
		reverse |= (compatible >> i & 1) << (31 - i);
	len = snprintf(name, TRACK_NAME, ".%s%d.%X.%c%d", spaces[config[1] >> 6], config[1] & 0x1f, (unsigned) reverse,
				   config[1] & 0x20 ? 'H' : 'L', config[12]);
	while (constraints > 0 && config[5 + constraints] == 0)
		constraints--;
	for (int i = 0; i < constraints; i++)
		len += snprintf(name + len, TRACK_NAME - (size_t) len, ".%X", config[6 + i]);
}

/* its own binding to ISO files, 5: profile, level, tier, bits */
static void
NameAv1(const unsigned char *config, char *name)
{
	int bits = config[2] & 0x40 ? (config[2] & 0x20 ? 12 : 10) : 8;

	(void) snprintf(name, TRACK_NAME, ".%d.%02d%c.%02d", config[1] >> 5, config[1] & 0x1f, config[2] & 0x80 ? 'H' : 'M', bits);
}

/* its own binding: profile, level, bits */
static void
NameVp(const unsigned char *config, char *name)
{
	(void) snprintf(name, TRACK_NAME, ".%02d.%02d.%02d", config[0], config[1], config[2] >> 4);
}

/* WebM's CodecPrivate of VP9: triples of id, length 1 and value; only all three make a name */
static void
NameVp9(const unsigned char *config, char *name)
{
	unsigned char values[4] = {0};

	for (int i = 0; i < 9; i += 3)
		if (config[i] >= 1 && config[i] <= 3 && config[i + 1] == 1)
			values[config[i]] = config[i + 2];
	if (values[2] > 0 && values[3] > 0)
		(void) snprintf(name, TRACK_NAME, "vp09.%02d.%02d.%02d", values[1], values[2], values[3]);
}

/* the kind of object, and of AAC its own kind: 5 bits, or if these are all set 6 more */
static void
NameObject(const unsigned char *config, char *name)
{
	int kind = config[1] >> 3;

	if (kind == 31)
		kind = 32 + ((config[1] & 7) << 3 | config[2] >> 5);
	if (config[0] == 0x40 && kind > 0)
		(void) snprintf(name, TRACK_NAME, ".40.%d", kind);
	else
		(void) snprintf(name, TRACK_NAME, ".%02x", config[0]);
}

/* Matroska's CodecPrivate of AAC */
static void
NameAac(const unsigned char *config, char *name)
{
	if (config[0] >> 3 > 0 && config[0] >> 3 < 31)
		(void) snprintf(name, TRACK_NAME, ".40.%d", config[0] >> 3);
}

/* more: writes what follows the name, from so many bytes of the config; or, at its beginning, another name */
static const struct
{
	const char *codec;
	const char *name;
	void (*more)(const unsigned char *config, char *name);
	size_t bytes;
} Codecs[] = {
	{"avc1", "avc1", NameAvc, 4},
	{"avc3", "avc3", NameAvc, 4},
	{"V_MPEG4/ISO/AVC", "avc1", NameAvc, 4},
	{"hvc1", "hvc1", NameHevc, 13},
	{"hev1", "hev1", NameHevc, 13},
	{"V_MPEGH/ISO/HEVC", "hvc1", NameHevc, 13},
	{"av01", "av01", NameAv1, 3},
	{"V_AV1", "av01", NameAv1, 3},
	{"vp08", "vp08", NameVp, 3},
	{"vp09", "vp09", NameVp, 3},
	{"V_VP8", "vp8", NULL, 0},
	{"V_VP9", "vp9", NameVp9, 9},
	{"mp4v", "mp4v", NameObject, 1},
	{"V_MPEG4/ISO/ASP", "mp4v.20", NULL, 0},
	{"V_THEORA", "theora", NULL, 0},
	{"mp4a", "mp4a", NameObject, 1},
	{"A_AAC", "mp4a", NameAac, 1},
	{".mp3", "mp3", NULL, 0},
	{"A_MPEG/L3", "mp3", NULL, 0},
	{"Opus", "opus", NULL, 0},
	{"A_OPUS", "opus", NULL, 0},
	{"A_VORBIS", "vorbis", NULL, 0},
	{"fLaC", "flac", NULL, 0},
	{"A_FLAC", "flac", NULL, 0},
	{"A_AC3", "ac-3", NULL, 0},
	{"A_EAC3", "ec-3", NULL, 0},
};

/* What is not known keeps the file's word for it, if that is one. */
static void
NameUnknown(const Track *track, char *name)
{
	size_t len = track->codec_len;

	while (len > 0 && (track->codec[len - 1] == ' ' || track->codec[len - 1] == '\0'))
		len--;
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = track->codec[i];

		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c > 0 && strchr("/_-.", c))))
			return;
	}
	memcpy(name, track->codec, len);
	name[len] = '\0';
}

void
TrackName(const Track *track, char name[TRACK_NAME])
{
	unsigned char config[TRACK_CONFIG] = {0};
	size_t len;

	name[0] = '\0';
	memcpy(config, track->config, track->config_len);
	for (size_t i = 0; i < lengthof(Codecs); i++)
	{
		char more[TRACK_NAME] = "";

		len = strlen(Codecs[i].codec);
		if (track->codec_len != len || memcmp(track->codec, Codecs[i].codec, len) != 0)
			continue;
		if (Codecs[i].more != NULL && track->config_len >= Codecs[i].bytes)
			Codecs[i].more(config, more);
		(void) snprintf(name, TRACK_NAME, "%s%s", more[0] == '.' || more[0] == '\0' ? Codecs[i].name : "", more);
		return;
	}
	NameUnknown(track, name);
}
