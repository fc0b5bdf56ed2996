/*
 * media.c
 *	  Learns from a video's bytes as they pass: whether it is a video, its
 *	  SHA-256, how long it plays, and whether all of it is here.
 *
 * An MP4 file is a sequence of boxes: size, type, body (ISO/IEC 14496-12,
 * 4.2).  The movie header mvhd (8.2.2) has the duration; it is a box within
 * moov, which is at the file's start or after all samples.  A fragmented file
 * has none there, but may have it in mehd (8.8.2), within mvex, within moov.
 * Bodies are skipped without being kept, and a file of any size takes a few
 * bytes here.  Matroska and WebM are a sequence of elements (RFC 8794), of which
 * the segment is nearly all; we read no duration from it.
 *
 * Either form says where it ends, so that a file that was cut is noticed.
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

/* how a file can begin; QuickTime's need no ftyp */
static MediaForm
FormOf(const unsigned char *head)
{
	static const char *const types[] = {"ftyp", "styp", "moov", "mdat", "wide", "free", "skip", "pnot"};
	static const unsigned char ebml[] = {0x1a, 0x45, 0xdf, 0xa3};

	if (memcmp(head, ebml, sizeof(ebml)) == 0)
		return MEDIA_FORM_ELEMENTS;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (memcmp(head + 4, types[i], 4) == 0)
			return MEDIA_FORM_BOXES;
	return MEDIA_FORM_OTHER;
}

/*----------
 * What is it?
 *----------
 */
static const MediaKind Mp4 = {"MP4 video", "video/mp4", "mp4", true};
static const MediaKind QuickTime = {"QuickTime video", "video/quicktime", "mov", true};
static const MediaKind WebM = {"WebM video", "video/webm", "webm", true};
static const MediaKind Matroska = {"Matroska video", "video/x-matroska", "mkv", true};
static const MediaKind Empty = {"empty file", NULL, NULL, false};
static const MediaKind Text = {"text", NULL, NULL, false};
static const MediaKind Unknown = {"file of an unknown kind", NULL, NULL, false};

/* by the brand in ftyp: what else is made of boxes */
static const struct
{
	char brand[5]; /* its beginning */
	MediaKind kind;
} Brands[] = {
	{"qt  ", {"QuickTime video", "video/quicktime", "mov", true}},
	{"avi", {"AVIF image", NULL, NULL, true}},
	{"hei", {"HEIC image", NULL, NULL, true}},
	{"hev", {"HEIC image", NULL, NULL, true}},
	{"mif1", {"HEIF image", NULL, NULL, true}},
	{"msf1", {"HEIF image", NULL, NULL, true}},
	{"crx ", {"CR3 image", NULL, NULL, true}},
	{"M4A ", {"M4A audio file", NULL, NULL, true}},
	{"M4B ", {"M4B audio book", NULL, NULL, true}},
	{"M4P ", {"M4P audio file", NULL, NULL, true}},
	{"F4A ", {"F4A audio file", NULL, NULL, true}},
	{"F4B ", {"F4B audio book", NULL, NULL, true}},
};

static const struct
{
	size_t at;
	const char *bytes;
	size_t len;
	MediaKind kind;
} Magics[] = {
	{0, "\x89PNG", 4, {"PNG image", NULL, NULL, true}},
	{0, "GIF8", 4, {"GIF image", NULL, NULL, true}},
	{0, "\xff\xd8\xff", 3, {"JPEG image", NULL, NULL, true}},
	{8, "WEBP", 4, {"WebP image", NULL, NULL, true}},
	{8, "AVI ", 4, {"AVI video", NULL, NULL, true}},
	{8, "WAVE", 4, {"WAV audio file", NULL, NULL, true}},
	{0, "ID3", 3, {"MP3 audio file", NULL, NULL, true}},
	{0, "OggS", 4, {"Ogg file", NULL, NULL, true}},
	{0, "fLaC", 4, {"FLAC audio file", NULL, NULL, true}},
	{0, "%PDF", 4, {"PDF document", NULL, NULL, true}},
	{0, "PK\3\4", 4, {"ZIP archive", NULL, NULL, true}},
	{0, "glTF", 4, {"glTF model", NULL, NULL, true}},
};

static const MediaKind *
KindByBrand(const unsigned char *brand)
{
	for (size_t i = 0; i < sizeof(Brands) / sizeof(Brands[0]); i++)
		if (memcmp(brand, Brands[i].brand, strlen(Brands[i].brand)) == 0)
			return &Brands[i].kind;
	return &Mp4;
}

/* ftyp need not be the first box; QuickTime has none */
static const MediaKind *
KindOfBoxes(const unsigned char *bytes, size_t len)
{
	size_t at = 0;

	while (len - at >= MEDIA_MIN_BYTES)
	{
		uint64_t size = ReadBigEndian(bytes + at, 4);
		const unsigned char *type = bytes + at + 4;

		if (memcmp(type, "ftyp", 4) == 0)
			return size >= MEDIA_MIN_BYTES ? KindByBrand(type + 4) : &Unknown;
		if (memcmp(type, "styp", 4) == 0)
			return &Mp4;
		if (memcmp(type, "free", 4) != 0 && memcmp(type, "skip", 4) != 0)
			return &QuickTime;
		if (size < BOX_HEAD || size > len - at)
			break;
		at += (size_t) size;
	}
	return &Mp4;
}

/* the header's DocType (RFC 8794 11.2.4), which is near the beginning */
static const MediaKind *
KindOfElements(const unsigned char *bytes, size_t len)
{
	static const unsigned char webm[] = {0x42, 0x82, 0x84, 'w', 'e', 'b', 'm'};

	for (size_t at = 4; at + sizeof(webm) <= len && at < 128; at++)
		if (memcmp(bytes + at, webm, sizeof(webm)) == 0)
			return &WebM;
	return &Matroska;
}

static bool
LooksLikeText(const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] < 0x20 && memchr("\t\r\n\f", bytes[i], 4) == NULL)
			return false;
	return true;
}

const MediaKind *
MediaSniff(const unsigned char *bytes, size_t len)
{
	if (len == 0)
		return &Empty;
	if (len >= MEDIA_MIN_BYTES)
	{
		MediaForm form = FormOf(bytes);

		if (form == MEDIA_FORM_BOXES)
			return KindOfBoxes(bytes, len);
		if (form == MEDIA_FORM_ELEMENTS)
			return KindOfElements(bytes, len);
		for (size_t i = 0; i < sizeof(Magics) / sizeof(Magics[0]); i++)
			if (memcmp(bytes + Magics[i].at, Magics[i].bytes, Magics[i].len) == 0)
				return &Magics[i].kind;
	}
	return LooksLikeText(bytes, len) ? &Text : &Unknown;
}

/*----------
 * The probe
 *----------
 */

/* as many bytes as there are bits up to the first that is set, 9 if none is */
static size_t
LengthByFirst(unsigned char first)
{
	size_t len = 1;

	for (; len <= 8 && (first & 0x80) == 0; first = (unsigned char) (first << 1))
		len++;
	return len;
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

/* 0, too, means unknown: such is the header of a fragmented file */
static void
SetDuration(MediaProbe *probe, uint64_t duration, size_t len)
{
	uint64_t unknown = len == 8 ? UINT64_MAX : UINT32_MAX;
	int64_t duration_ms = InMilliseconds(duration, unknown, probe->timescale);

	if (duration > 0 && duration_ms >= 0)
		probe->duration_ms = duration_ms;
}

static void
Next(MediaProbe *probe, uint64_t end)
{
	probe->what = MEDIA_HEAD_BOX;
	probe->have = 0;
	probe->need = probe->form == MEDIA_FORM_ELEMENTS ? 1 : BOX_HEAD;
	probe->skip = end > probe->at ? end - probe->at : 0;
}

/* version, flags, then created, modified, timescale and duration, in 32 or 64 bits */
static void
ReadMovieHeader(MediaProbe *probe)
{
	const unsigned char *body = probe->head + FULL_BOX_HEAD;
	size_t len = probe->head[0] == 1 ? 8 : 4;

	if (probe->have == FULL_BOX_HEAD && probe->head[0] <= 1)
	{
		probe->need = FULL_BOX_HEAD + 3 * len + 4;
		return;
	}
	if (probe->head[0] <= 1)
	{
		probe->timescale = (uint32_t) ReadBigEndian(body + 2 * len, 4);
		SetDuration(probe, ReadBigEndian(body + 2 * len + 4, len), len);
	}
	Next(probe, probe->body_end);
}

/* version, flags, then the duration with all fragments */
static void
ReadExtendsHeader(MediaProbe *probe)
{
	size_t len = probe->head[0] == 1 ? 8 : 4;

	if (probe->have == FULL_BOX_HEAD && probe->head[0] <= 1)
	{
		probe->need = FULL_BOX_HEAD + len;
		return;
	}
	if (probe->head[0] <= 1)
		SetDuration(probe, ReadBigEndian(probe->head + FULL_BOX_HEAD, len), len);
	Next(probe, probe->body_end);
}

static bool
TypeIs(const MediaProbe *probe, const char *type)
{
	return memcmp(probe->head + 4, type, 4) == 0;
}

static void
ReadBody(MediaProbe *probe, MediaHead what, uint64_t end)
{
	probe->what = what;
	probe->body_end = end;
	probe->have = 0;
	probe->need = FULL_BOX_HEAD;
}

static void
EnterBoxOfMovie(MediaProbe *probe, uint64_t start, uint64_t end)
{
	bool extends = start < probe->extends_end;

	if (!extends && TypeIs(probe, "mvhd"))
		ReadBody(probe, MEDIA_HEAD_MOVIE, end);
	else if (extends && TypeIs(probe, "mehd"))
		ReadBody(probe, MEDIA_HEAD_EXTENDS, end);
	else if (!extends && TypeIs(probe, "mvex"))
	{
		probe->fragmented = true;
		probe->extends_end = end;
		Next(probe, 0);
	}
	else
		Next(probe, end);
}

static void
EnterBox(MediaProbe *probe, uint64_t start, uint64_t end)
{
	if (start < probe->movie_end)
		EnterBoxOfMovie(probe, start, end);
	else if (TypeIs(probe, "moov"))
	{
		probe->has_movie = true;
		probe->movie_end = end;
		Next(probe, 0);
	}
	else
	{
		probe->has_data |= TypeIs(probe, "mdat") || TypeIs(probe, "moof");
		Next(probe, end);
	}
}

/* some writers leave other bytes after the last box */
static bool
TypeIsPlausible(const MediaProbe *probe)
{
	for (int i = 4; i < 8; i++)
		if (probe->head[i] < 0x20 || (probe->head[i] > 0x7e && probe->head[i] != 0xa9))
			return false;
	return true;
}

static void
ReadBoxHead(MediaProbe *probe)
{
	uint64_t size = ReadBigEndian(probe->head, 4);
	uint64_t start = probe->at - probe->have;

	if (size == 1 && probe->have == BOX_HEAD)
	{
		probe->need = LARGE_BOX_HEAD;
		return;
	}
	if (probe->have == LARGE_BOX_HEAD)
		size = ReadBigEndian(probe->head + BOX_HEAD, 8);

	/* 0 means up to the file's end */
	if (size < probe->have || size > INT64_MAX - start || !TypeIsPlausible(probe))
	{
		probe->has_data |= size == 0 && TypeIs(probe, "mdat");
		probe->over = true;
	}
	else
		EnterBox(probe, start, start + size);
}

/* an element: its id and its size, each as long as its first byte says (RFC 8794 4) */
static void
ReadElementHead(MediaProbe *probe)
{
	static const unsigned char segment[] = {0x18, 0x53, 0x80, 0x67};
	size_t id = LengthByFirst(probe->head[0]);
	size_t len;
	uint64_t size;

	probe->over = id > 4;
	if (probe->over || (probe->need = id + 1) > probe->have)
		return;
	len = LengthByFirst(probe->head[id]);
	probe->over = len > 8;
	if (probe->over || (probe->need = id + len) > probe->have)
		return;

	/* what follows the segment is not the video */
	probe->over = probe->has_movie;
	size = ReadBigEndian(probe->head + id, len) & ((UINT64_C(1) << 7 * len) - 1);
	if (id == sizeof(segment) && memcmp(probe->head, segment, id) == 0)
		probe->has_movie = probe->has_data = true;
	/* all bits set: unknown, as in a stream */
	probe->over |= size == (UINT64_C(1) << 7 * len) - 1;
	if (!probe->over)
		Next(probe, probe->at + size);
}

static void FeedProbe(MediaProbe *probe, const unsigned char *bytes, size_t len);

static void
ReadForm(MediaProbe *probe)
{
	unsigned char head[BOX_HEAD];

	memcpy(head, probe->head, sizeof(head));
	probe->form = FormOf(head);
	probe->over = probe->form == MEDIA_FORM_OTHER;
	if (probe->over)
		return;
	probe->at = 0;
	Next(probe, 0);
	FeedProbe(probe, head, sizeof(head));
}

static void
ReadHead(MediaProbe *probe)
{
	if (probe->form == MEDIA_FORM_NEW)
		ReadForm(probe);
	else if (probe->form == MEDIA_FORM_ELEMENTS)
		ReadElementHead(probe);
	else if (probe->what == MEDIA_HEAD_MOVIE)
		ReadMovieHeader(probe);
	else if (probe->what == MEDIA_HEAD_EXTENDS)
		ReadExtendsHeader(probe);
	else
		ReadBoxHead(probe);
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
			probe->at += n;
		}
		else
		{
			n = probe->need - probe->have < len ? probe->need - probe->have : len;
			memcpy(probe->head + probe->have, bytes, n);
			probe->have += n;
			probe->at += n;
			if (probe->have == probe->need)
				ReadHead(probe);
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

MediaEnd
MediaMeterEnd(const MediaMeter *meter, int64_t *wanted)
{
	const MediaProbe *probe = &meter->probe;
	uint64_t end = probe->at + probe->skip;

	*wanted = -1;
	if (probe->form != MEDIA_FORM_BOXES && probe->form != MEDIA_FORM_ELEMENTS)
		return MEDIA_END_UNKNOWN;
	if (!probe->over && end < probe->movie_end)
		end = probe->movie_end;
	if (!probe->over && end > probe->at && end <= INT64_MAX)
	{
		*wanted = (int64_t) end;
		return MEDIA_END_CUT;
	}
	/* without these it cannot be played */
	if (!probe->has_movie || !probe->has_data)
		return MEDIA_END_CUT;
	if (probe->over || probe->have > 0 || probe->fragmented)
		return MEDIA_END_UNKNOWN;
	return MEDIA_END_WHOLE;
}

/*----------
 * Saving and loading
 *----------
 */
#define STATE_VERSION 2
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
	at = SaveNumber(at, probe->form, 1);
	at = SaveNumber(at, probe->what, 1);
	at = SaveNumber(at, probe->over | probe->has_movie << 1 | probe->has_data << 2 | probe->fragmented << 3, 1);
	at = SaveNumber(at, probe->skip, 8);
	at = SaveNumber(at, probe->movie_end, 8);
	at = SaveNumber(at, probe->extends_end, 8);
	at = SaveNumber(at, probe->body_end, 8);
	at = SaveNumber(at, probe->have, 1);
	at = SaveNumber(at, probe->need, 1);
	memcpy(at, probe->head, sizeof(probe->head));
	at = SaveNumber(at + sizeof(probe->head), probe->timescale, 4);
	at = SaveNumber(at, (uint64_t) probe->duration_ms, 8);
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
	unsigned int flags;

	probe->form = (MediaForm) LoadNumber(at, 1);
	probe->what = (MediaHead) LoadNumber(at, 1);
	flags = (unsigned int) LoadNumber(at, 1);
	probe->over = flags & 1;
	probe->has_movie = flags >> 1 & 1;
	probe->has_data = flags >> 2 & 1;
	probe->fragmented = flags >> 3 & 1;
	probe->skip = LoadNumber(at, 8);
	probe->movie_end = LoadNumber(at, 8);
	probe->extends_end = LoadNumber(at, 8);
	probe->body_end = LoadNumber(at, 8);
	probe->have = LoadNumber(at, 1);
	probe->need = LoadNumber(at, 1);
	memcpy(probe->head, *at, sizeof(probe->head));
	*at += sizeof(probe->head);
	probe->timescale = (uint32_t) LoadNumber(at, 4);
	probe->duration_ms = (int64_t) LoadNumber(at, 8);
	return probe->form <= MEDIA_FORM_OTHER && probe->what <= MEDIA_HEAD_EXTENDS &&
		probe->duration_ms >= -1 && probe->need <= sizeof(probe->head) &&
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
			meter->probe.at = (uint64_t) meter->bytes;
			if (LoadProbe(&at, &meter->probe))
				return true;
		}
	}
	MediaMeterInit(meter);
	return false;
}
