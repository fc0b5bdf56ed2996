/*
 * test_track.c
 *	  What a film's tracks say: names of codecs, sizes, rates, fragments.  Films of
 *	  ffmpeg's are in test/t/290_facts.pl; here are those that it does not make.
 */
#include "check.h"

#include <string.h>

#include "media.h"

#define ETAG "\"etag\""
#define BYTES(bytes) (bytes), sizeof(bytes) - 1

/* a film under way: boxes are opened and closed, and in between bytes are put into it */
typedef struct Film
{
	unsigned char bytes[4000];
	size_t len;
	size_t open[8]; /* where the boxes begin that are open */
	int depth;
} Film;

static void
Put(Film *film, const char *bytes, size_t len)
{
	memcpy(film->bytes + film->len, bytes, len);
	film->len += len;
}

static void
PutZeros(Film *film, size_t len)
{
	memset(film->bytes + film->len, 0, len);
	film->len += len;
}

static void
Put32(Film *film, uint32_t number)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		film->bytes[film->len++] = (unsigned char) (number >> shift);
}

static void
Open(Film *film, const char *type)
{
	film->open[film->depth++] = film->len;
	Put32(film, 0);
	Put(film, type, 4);
}

static void
Close(Film *film)
{
	size_t end = film->len;

	film->len = film->open[--film->depth];
	Put32(film, (uint32_t) (end - film->len));
	film->len = end;
}

static void
PutBox(Film *film, const char *type, const char *body, size_t len)
{
	Open(film, type);
	Put(film, body, len);
	Close(film);
}

static void
PutTrackHeader(Film *film, uint32_t id, const char *matrix)
{
	Open(film, "tkhd");
	PutZeros(film, 12);
	Put32(film, id);
	PutZeros(film, 24);
	Put(film, matrix, 36);
	PutZeros(film, 8);
	Close(film);
}

#define UPRIGHT "\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\0\0"
#define TURNED "\0\0\0\0\0\1\0\0\0\0\0\0\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\0\0"

/* a picture of 64 by 48, with a box in its sample entry */
static void
PutPicture(Film *film, const char *type, const char *box, const char *body, size_t len)
{
	Open(film, type);
	PutZeros(film, 24);
	Put(film, BYTES("\0\x40\0\x30"));
	PutZeros(film, 50);
	PutBox(film, box, body, len);
	Close(film);
}

static void
PutSound(Film *film, const char *type, const char *box, const char *body, size_t len)
{
	Open(film, type);
	PutZeros(film, 28);
	PutBox(film, box, body, len);
	Close(film);
}

typedef struct Entry
{
	const char *type;
	const char *box;
	const char *body;
	size_t len;
} Entry;

static const Entry avc = {"avc1", "avcC", BYTES("\1\x64\0\x1f\xff")};

static void
OpenTrack(Film *film, uint32_t id, const char *handler, const char *matrix)
{
	Open(film, "trak");
	PutTrackHeader(film, id, matrix);
	Open(film, "mdia");
	Open(film, "mdhd");
	PutZeros(film, 12);
	Put32(film, 1000);
	Put32(film, 0);
	Close(film);
	Open(film, "hdlr");
	PutZeros(film, 8);
	Put(film, handler, 4);
	PutZeros(film, 12);
	Close(film);
}

/* its description, and so many samples of 40 ticks */
static void
PutTables(Film *film, bool is_picture, const Entry *entry, uint32_t samples)
{
	Open(film, "minf");
	Open(film, "stbl");
	Open(film, "stsd");
	PutZeros(film, 4);
	Put32(film, 1);
	(is_picture ? PutPicture : PutSound)(film, entry->type, entry->box, entry->body, entry->len);
	Close(film);
	Open(film, "stts");
	PutZeros(film, 4);
	Put32(film, samples > 0 ? 1 : 0);
	if (samples > 0)
	{
		Put32(film, samples);
		Put32(film, 40);
	}
	Close(film);
	Close(film);
	Close(film);
}

static void
CloseTrack(Film *film)
{
	Close(film);
	Close(film);
}

static void
OpenMovie(Film *film)
{
	memset(film, 0, sizeof(*film));
	PutBox(film, "ftyp", BYTES("isom\0\0\2\0"));
	Open(film, "moov");
	Open(film, "mvhd");
	PutZeros(film, 12);
	Put32(film, 1000);
	PutZeros(film, 80);
	Close(film);
}

static void
CloseMovie(Film *film)
{
	Close(film);
	PutBox(film, "mdat", BYTES("abc"));
}

/* in pieces, which must say the same as the whole */
static void
Read(const Film *film, MediaFacts *facts)
{
	unsigned char state[MEDIA_STATE_SIZE];
	MediaFacts again;
	MediaMeter meter;

	MediaMeterInit(&meter);
	MediaMeterAdd(&meter, film->bytes, film->len);
	MediaMeterFacts(&meter, true, facts);
	for (size_t piece = 1; piece < 100; piece += 7)
	{
		MediaMeterInit(&meter);
		for (size_t at = 0; at < film->len; at += piece)
		{
			MediaMeterAdd(&meter, film->bytes + at, piece < film->len - at ? piece : film->len - at);
			MediaMeterSave(&meter, ETAG, state);
			CheckTrue("in pieces", "taken up", MediaMeterLoad(&meter, ETAG, state, sizeof(state)));
		}
		MediaMeterFacts(&meter, true, &again);
		CheckTrue("in pieces", "the same", memcmp(&again, facts, sizeof(again)) == 0);
	}
}

static void
TestNames(void)
{
	static const struct
	{
		bool is_picture;
		Entry entry;
		const char *name;
	} cases[] = {
		{true, {"avc1", "avcC", BYTES("\1\x64\0\x1f\xff")}, "avc1.64001f"},
		{true, {"avc3", "avcC", BYTES("\1\x42\xe0\x1e")}, "avc3.42e01e"},
		{true, {"avc1", "avcC", BYTES("\1\x64\0")}, "avc1"},
		{true, {"avc1", "xxxx", BYTES("\1\x64\0\x1f")}, "avc1"},
		{true, {"hvc1", "hvcC", BYTES("\1\1\x60\0\0\0\x90\0\0\0\0\0\x5d")}, "hvc1.1.6.L93.90"},
		{true, {"hev1", "hvcC", BYTES("\1\x22\x20\0\0\0\xb0\0\x23\0\0\0\x99")}, "hev1.2.4.H153.B0.0.23"},
		{true, {"hvc1", "hvcC", BYTES("\1\xe1\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")}, "hvc1.C1.FFFFFFFF.H255.FF.FF.FF.FF.FF.FF"},
		{true, {"hvc1", "hvcC", BYTES("\1\1\x60\0\0\0\0\0\0\0\0\0\x3c")}, "hvc1.1.6.L60"},
		{true, {"av01", "av1C", BYTES("\x81\x08\x0c\0")}, "av01.0.08M.08"},
		{true, {"av01", "av1C", BYTES("\x81\x2d\xcc\0")}, "av01.1.13H.10"},
		{true, {"av01", "av1C", BYTES("\x81\x4d\x6c\0")}, "av01.2.13M.12"},
		{true, {"vp09", "vpcC", BYTES("\1\0\0\0\2\x33\xa2\2\2\2\0\0")}, "vp09.02.51.10"},
		{true, {"vp09", "vpcC", BYTES("\1\0\0\0")}, "vp09"},
		{true, {"mp4v", "esds", BYTES("\0\0\0\0\3\x15\0\1\0\4\x0d\x20\x11\0\0\0\0\0\0\0\0\0\0\0")}, "mp4v.20"},
		{true, {"apch", "xxxx", BYTES("")}, "apch"},
		{true, {"raw ", "xxxx", BYTES("")}, "raw"},
		{true, {"a,c1", "xxxx", BYTES("")}, ""},
		{true, {"a\"c1", "xxxx", BYTES("")}, ""},
		{false, {"mp4a", "esds", BYTES("\0\0\0\0\3\x19\0\1\0\4\x11\x40\x15\0\0\0\0\0\0\0\0\0\0\0\5\2\x12\x10")}, "mp4a.40.2"},
		{false, {"mp4a", "esds", BYTES("\0\0\0\0\3\x80\x80\x80\x19\0\1\0\4\x80\x80\x80\x11\x40\x15\0\0\0\0\0\0\0\0\0\0\0\5\x80\x80\x80\2\x2b\x92")}, "mp4a.40.5"},
		{false, {"mp4a", "esds", BYTES("\0\0\0\0\3\x19\0\1\0\4\x11\x40\x15\0\0\0\0\0\0\0\0\0\0\0\5\2\xf9\x40")}, "mp4a.40.42"},
		{false, {"mp4a", "esds", BYTES("\0\0\0\0\3\x19\0\1\x80\0\0\4\x11\x6b\x15\0\0\0\0\0\0\0\0\0\0\0")}, "mp4a.6b"},
		{false, {"mp4a", "esds", BYTES("\0\0\0\0\3\x19\0\1\x40\3url\4\x11\x6b\x15\0\0\0\0\0\0\0\0\0\0\0")}, "mp4a"},
		{false, {"mp4a", "esds", BYTES("\0\0\0\0\3\xff\xff\xff\xff")}, "mp4a"},
		{false, {"mp4a", "esds", BYTES("\0\0\0\0\3")}, "mp4a"},
		{false, {"mp4a", "esds", BYTES("\0\0")}, "mp4a"},
		{false, {"mp4a", "wave", BYTES("\0\0\0\x24"
									   "esds\0\0\0\0\3\x19\0\1\0\4\x11\x40\x15\0\0\0\0\0\0\0\0\0\0\0\5\2\x12\x10\0\0\0\x08\0\0\0\0")},
		 "mp4a.40.2"},
		{false, {"Opus", "dOps", BYTES("\0\2")}, "opus"},
		{false, {"ac-3", "dac3", BYTES("\0\2")}, "ac-3"},
		{false, {".mp3", "xxxx", BYTES("")}, "mp3"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		Film film;
		MediaFacts facts;

		OpenMovie(&film);
		OpenTrack(&film, 1, cases[i].is_picture ? "vide" : "soun", UPRIGHT);
		PutTables(&film, cases[i].is_picture, &cases[i].entry, 25);
		CloseTrack(&film);
		CloseMovie(&film);
		Read(&film, &facts);
		CheckText(cases[i].name, "name", cases[i].is_picture ? facts.video_codec : facts.audio_codec, cases[i].name);
		CheckNumber(cases[i].name, "width", facts.width, cases[i].is_picture ? 64 : -1);
		CheckNumber(cases[i].name, "sound", facts.has_audio, cases[i].is_picture ? MEDIA_NO : MEDIA_YES);
	}
}

static void
TestShapes(void)
{
	static const struct
	{
		const char *name;
		const char *matrix;
		const char *shape;
		int width;
		int height;
	} cases[] = {
		{"upright", UPRIGHT, "\0\0\0\1\0\0\0\1", 64, 48},
		{"turned", TURNED, "\0\0\0\1\0\0\0\1", 48, 64},
		{"wide points", UPRIGHT, "\0\0\0\4\0\0\0\3", 85, 48},
		{"high points", UPRIGHT, "\0\0\0\3\0\0\0\4", 64, 64},
		{"wide points, turned", TURNED, "\0\0\0\2\0\0\0\1", 48, 128},
		{"points without a width", UPRIGHT, "\0\0\0\0\0\0\0\1", 64, 48},
		{"points without a height", UPRIGHT, "\0\0\0\1\0\0\0\0", 64, 48},
		{"points that are too wide", UPRIGHT, "\xff\xff\xff\xff\0\0\0\1", -1, -1},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		Entry entry = {"avc1", "pasp", cases[i].shape, 8};
		Film film;
		MediaFacts facts;

		OpenMovie(&film);
		OpenTrack(&film, 1, "vide", cases[i].matrix);
		PutTables(&film, true, &entry, 25);
		CloseTrack(&film);
		CloseMovie(&film);
		Read(&film, &facts);
		CheckNumber(cases[i].name, "width", facts.width, cases[i].width);
		CheckNumber(cases[i].name, "height", facts.height, cases[i].height);
		CheckNumber(cases[i].name, "rate", facts.milli_rate, 25000);
	}
}

/* trex: of track 1, 40 ticks; then fragments of so many rows of trun */
static void
TestFragments(void)
{
	static const struct
	{
		const char *name;
		const char *header; /* tfhd */
		size_t header_len;
		const char *run; /* trun */
		size_t run_len;
		int64_t duration_ms;
		int64_t rate;
	} cases[] = {
		{"the movie's duration of a sample", BYTES("\0\0\0\0\0\0\0\1"), BYTES("\0\0\0\0\0\0\0\5"), 200, 25000},
		{"the fragment's", BYTES("\0\0\0\x08\0\0\0\1\0\0\0\x14"), BYTES("\0\0\0\0\0\0\0\5"), 100, 50000},
		{"behind other fields", BYTES("\0\0\0\x0b\0\0\0\1abcdefgh\0\0\0\1\0\0\0\x14"), BYTES("\0\0\0\0\0\0\0\5"), 100, 50000},
		{"cut off", BYTES("\0\0\0\x0b\0\0\0\1abcdefgh\0\0\0\1\0"), BYTES("\0\0\0\0\0\0\0\5"), 200, 25000},
		{"each its own", BYTES("\0\0\0\0\0\0\0\1"), BYTES("\0\0\1\0\0\0\0\2\0\0\0\x0a\0\0\0\x1e"), 40, 50000},
		{"with other fields", BYTES("\0\0\0\0\0\0\0\1"), BYTES("\0\0\x0f\5\0\0\0\2abcdefgh\0\0\0\x0a----++++****\0\0\0\x1e----++++****"), 40, 50000},
		{"more rows than there are", BYTES("\0\0\0\0\0\0\0\1"), BYTES("\0\0\1\0\xff\xff\xff\xff\0\0\0\x0a\0\0\0\x1e"), 40, 50000},
		{"no rows", BYTES("\0\0\0\0\0\0\0\1"), BYTES("\0\0\1\0\0\0\0\0"), -1, -1},
		{"more samples than can be", BYTES("\0\0\0\x08\0\0\0\1\xff\xff\xff\xff"), BYTES("\0\0\0\0\xff\xff\xff\xff"), -1, -1},
		{"of another track", BYTES("\0\0\0\0\0\0\0\2"), BYTES("\0\0\0\0\0\0\0\5"), -1, -1},
		{"of a track without an end", BYTES("\0\0\0\0\0\0"), BYTES("\0\0\0\0\0\0\0\5"), -1, -1},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		Film film;
		MediaFacts facts;

		OpenMovie(&film);
		OpenTrack(&film, 1, "vide", UPRIGHT);
		PutTables(&film, true, &avc, 0);
		CloseTrack(&film);
		Open(&film, "mvex");
		PutBox(&film, "trex", BYTES("\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\x28\0\0\0\0\0\0\0\0"));
		Close(&film);
		Close(&film);
		Open(&film, "moof");
		Open(&film, "traf");
		PutBox(&film, "tfhd", cases[i].header, cases[i].header_len);
		PutBox(&film, "trun", cases[i].run, cases[i].run_len);
		Close(&film);
		CloseMovie(&film);
		Read(&film, &facts);
		CheckNumber(cases[i].name, "duration", facts.duration_ms, cases[i].duration_ms);
		CheckNumber(cases[i].name, "rate", facts.milli_rate, cases[i].rate);
	}
}

static void
TestTracks(void)
{
	static const Entry aac = {"mp4a", "esds", BYTES("\0\0\0\0\3\x19\0\1\0\4\x11\x40\x15\0\0\0\0\0\0\0\0\0\0\0\5\2\x12\x10")};
	static const Entry hevc = {"hvc1", "hvcC", BYTES("\1\1\x60\0\0\0\x90\0\0\0\0\0\x5d")};
	Film film;
	MediaFacts facts;

	OpenMovie(&film);
	OpenTrack(&film, 1, "soun", UPRIGHT);
	PutTables(&film, false, &aac, 10);
	CloseTrack(&film);
	OpenTrack(&film, 2, "vide", UPRIGHT);
	PutTables(&film, true, &avc, 10);
	CloseTrack(&film);
	OpenTrack(&film, 3, "vide", TURNED);
	PutTables(&film, true, &hevc, 10);
	CloseTrack(&film);
	CloseMovie(&film);
	Read(&film, &facts);
	CheckText("two pictures", "the first one counts", facts.video_codec, "avc1.64001f");
	CheckNumber("two pictures", "width", facts.width, 64);
	CheckText("two pictures", "sound", facts.audio_codec, "mp4a.40.2");
	CheckNumber("two pictures", "faststart", facts.faststart, MEDIA_YES);

	/* what is not understood may be a track */
	OpenMovie(&film);
	OpenTrack(&film, 1, "vide", UPRIGHT);
	PutTables(&film, true, &avc, 10);
	CloseTrack(&film);
	Put(&film, BYTES("\0\1\0\0trak\0\0\0\0"));
	CloseMovie(&film);
	Read(&film, &facts);
	CheckNumber("something odd", "width", facts.width, 64);
	CheckNumber("something odd", "sound", facts.has_audio, MEDIA_UNKNOWN);
}

static void
TestCodecOfElements(void)
{
	static const struct
	{
		const char *codec;
		const char *config;
		size_t len;
		const char *name;
	} cases[] = {
		{"V_VP9", BYTES("\1\1\0\2\1\x15\3\1\x08"), "vp09.00.21.08"},
		{"V_VP9", BYTES("\1\1\2\2\1\x33\3\1\x0a"), "vp09.02.51.10"},
		{"V_VP9", BYTES("\1\1\0\2\1\x15"), "vp9"},
		{"V_VP8", BYTES(""), "vp8"},
		{"V_MPEG4/ISO/AVC", BYTES("\1\x64\0\x1f"), "avc1.64001f"},
		{"V_MPEGH/ISO/HEVC", BYTES("\1\1\x60\0\0\0\x90\0\0\0\0\0\x5d"), "hvc1.1.6.L93.90"},
		{"A_AAC", BYTES("\x12\x10"), "mp4a.40.2"},
		{"A_AAC", BYTES(""), "mp4a"},
		{"A_EAC3", BYTES(""), "ec-3"},
		{"V_UNCOMPRESSED", BYTES(""), "V_UNCOMPRESSED"},
		{"A_PCM/INT/LIT", BYTES(""), "A_PCM/INT/LIT"},
		{"V_<b>", BYTES(""), ""},
		{"", BYTES(""), ""},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		Track track = {.kind = TRACK_PICTURE};
		char name[TRACK_NAME];

		TrackSetCodec(&track, (const unsigned char *) cases[i].codec, strlen(cases[i].codec));
		TrackSetConfig(&track, (const unsigned char *) cases[i].config, cases[i].len);
		TrackName(&track, name);
		CheckText(cases[i].codec, "name", name, cases[i].name);
	}
}

void
TestTrack(void)
{
	TestNames();
	TestShapes();
	TestFragments();
	TestTracks();
	TestCodecOfElements();
}
