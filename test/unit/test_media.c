/*
 * test_media.c
 *	  What a video's bytes tell, in one go and by several processes.  The boxes
 *	  are written out, so that what is read can be counted.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "media.h"

#define ETAG "\"etag\""
#define CHECK_AT (MEDIA_STATE_SIZE - 8)

#define FTYP "\0\0\0\x14" \
			 "ftypisom\0\0\2\0mp41"
#define MOOV "\0\0\0\x74moov"
#define MVHD0 "\0\0\0\x6cmvhd\0\0\0\0\0\0\0\0\0\0\0\0"
#define MVHD1 "\0\0\0\x78mvhd\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define UDTA "\0\0\0\x0cudtaabcd"
#define MDAT "\0\0\0\x10mdatmvhdmoov"
#define LARGE_MDAT "\0\0\0\1mdat\0\0\0\0\0\0\0\x14" \
				   "moov"
#define SCALE "\0\0\3\xe8" /* 1000 */

#define FILE_OF(bytes) (bytes), sizeof(bytes) - 1

/* set down and taken up again, as if by another process */
static void
HandOver(const char *name, MediaMeter *meter)
{
	unsigned char state[MEDIA_STATE_SIZE];

	MediaMeterSave(meter, ETAG, state);
	memset(meter, 0xff, sizeof(*meter));
	CheckTrue(name, "taken up", MediaMeterLoad(meter, ETAG, state, sizeof(state)));
}

/* in pieces, which must read the same as the whole */
static void
Read(const char *name, const char *bytes, size_t len, size_t piece, bool hand_over, MediaMeter *meter)
{
	MediaMeterInit(meter);
	for (size_t at = 0; at < len; at += piece)
	{
		MediaMeterAdd(meter, bytes + at, piece < len - at ? piece : len - at);
		if (hand_over)
			HandOver(name, meter);
	}
}

static void
CheckHash(const char *name, const MediaMeter *meter, const char *wanted)
{
	unsigned char sha256[32];
	char hex[65];

	MediaMeterHash(meter, sha256);
	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", sha256[i]);
	CheckText(name, "hash", hex, wanted);
}

static void
TestHash(void)
{
	static const char text[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
	char bytes[1000];
	MediaMeter meter;

	/* FIPS 180-4's examples, and a thousand bytes against sha256sum */
	MediaMeterInit(&meter);
	CheckHash("nothing", &meter, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	Read("abc", "abc", 3, 3, true, &meter);
	CheckHash("abc", &meter, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	memset(bytes, 'a', sizeof(bytes));
	for (size_t piece = 1; piece <= 130; piece++)
	{
		Read("two blocks", text, sizeof(text) - 1, piece, true, &meter);
		CheckHash("two blocks", &meter, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
		Read("many blocks", bytes, sizeof(bytes), piece, true, &meter);
		CheckHash("many blocks", &meter, "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3");
		CheckNumber("many blocks", "bytes", meter.bytes, sizeof(bytes));
	}
}

/* makes the check right again, so that what is behind it is put to the test */
static void
Amend(unsigned char *state)
{
	MediaMeter meter;
	unsigned char sha256[32];

	MediaMeterInit(&meter);
	MediaMeterAdd(&meter, state, CHECK_AT);
	MediaMeterAdd(&meter, ETAG, strlen(ETAG));
	MediaMeterHash(&meter, sha256);
	memcpy(state + CHECK_AT, sha256, MEDIA_STATE_SIZE - CHECK_AT);
}

static void
TestState(void)
{
	static const struct
	{
		const char *name;
		size_t at;
		unsigned char byte;
	} wrongs[] = {
		{"another version", 0, 1},
		{"a negative number of bytes", 1, 0x80},
		{"too many bytes", 1, 0x10},
		{"an unknown form", 105, 4},
		{"an unknown head", 106, 3},
		{"a head that is longer than it can be", 141, 33},
		{"more of a head than it has", 140, 32},
		{"a negative duration", 178, 0x80},
	};
	MediaMeter meter;
	MediaMeter other;
	unsigned char good[MEDIA_STATE_SIZE];
	unsigned char bad[MEDIA_STATE_SIZE + 1];

	Read("a state", "\0\0\0\x20"
					"ftyp01",
		 10, 10, false, &meter);
	MediaMeterSave(&meter, ETAG, good);
	CheckTrue("a state", "loads", MediaMeterLoad(&other, ETAG, good, sizeof(good)));
	CheckNumber("a state", "bytes", other.bytes, 10);
	CheckTrue("a state of another file", "refused", !MediaMeterLoad(&other, "\"other\"", good, sizeof(good)));
	CheckNumber("a state of another file", "bytes", other.bytes, 0);
	memcpy(bad, good, sizeof(good));
	CheckTrue("a state that is cut", "refused", !MediaMeterLoad(&other, ETAG, bad, sizeof(good) - 1));
	CheckTrue("a state that is too long", "refused", !MediaMeterLoad(&other, ETAG, bad, sizeof(good) + 1));
	CheckTrue("no state", "refused", !MediaMeterLoad(&other, ETAG, bad, 0));
	for (size_t i = 0; i < sizeof(good); i++)
	{
		bad[i] ^= 0x10;
		CheckTrue("a state with a wrong bit", "refused", !MediaMeterLoad(&other, ETAG, bad, sizeof(good)));
		bad[i] = good[i];
	}
	CheckNumber("a state with a wrong bit", "bytes", other.bytes, 0);
	for (size_t i = 0; i < lengthof(wrongs); i++)
	{
		memcpy(bad, good, sizeof(good));
		bad[wrongs[i].at] = wrongs[i].byte;
		Amend(bad);
		CheckTrue(wrongs[i].name, "refused", !MediaMeterLoad(&other, ETAG, bad, sizeof(good)));
		CheckHash(wrongs[i].name, &other, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	}
}

static void
TestSniff(void)
{
	static const struct
	{
		const char *bytes;
		size_t len;
		const char *ending; /* NULL: it is not a video */
		const char *name;
	} cases[] = {
		{FILE_OF("\0\0\0\040ftypisom"), "mp4", "MP4 video"},
		{FILE_OF("\0\0\0\040ftypM4V "), "mp4", "MP4 video"},
		{FILE_OF("\0\0\0\024ftypqt  "), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\010wide\0\0\0\010mdat"), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\040mdat\1\2\3\4"), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\040moovmvhd"), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\010free\0\0\0\024ftypisom"), "mp4", "MP4 video"},
		{FILE_OF("\0\0\0\014skipabcd\0\0\0\024ftypqt  "), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\014freeabcd\0\0\0\024ftypavif"), NULL, "AVIF image"},
		{FILE_OF("\0\0\1\0freeabcd"), "mp4", "MP4 video"},
		{FILE_OF("\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\x82\x84webm"), "webm", "WebM video"},
		{FILE_OF("\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\x82\x88matroska"), "mkv", "Matroska video"},
		{FILE_OF("\0\0\0\040ftypavif"), NULL, "AVIF image"},
		{FILE_OF("\0\0\0\040ftypavis"), NULL, "AVIF image"},
		{FILE_OF("\0\0\0\040ftypheic"), NULL, "HEIC image"},
		{FILE_OF("\0\0\0\040ftypmif1"), NULL, "HEIF image"},
		{FILE_OF("\0\0\0\040ftypM4A "), NULL, "M4A audio file"},
		{FILE_OF("\0\0\0\040ftypM4B "), NULL, "M4B audio book"},
		{FILE_OF("\0\0\0\007ftypisom"), NULL, "file of an unknown kind"},
		{FILE_OF("\0\0\0\040ftypis"), NULL, "file of an unknown kind"},
		{FILE_OF("<html><body>"), NULL, "text"},
		{FILE_OF("{\"detail\":\"x"), NULL, "text"},
		{FILE_OF("\211PNG\r\n\032\n\0\0\0\015"), NULL, "PNG image"},
		{FILE_OF("GIF89a\1\0\1\0\0\0"), NULL, "GIF image"},
		{FILE_OF("RIFF\0\0\0\0WEBP"), NULL, "WebP image"},
		{FILE_OF("short"), NULL, "text"},
		{"", 0, NULL, "empty file"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		const MediaKind *kind = MediaSniff((const unsigned char *) cases[i].bytes, cases[i].len);

		CheckText("sniff", "kind", kind->name, cases[i].name);
		CheckNumber(cases[i].name, "is a video", kind->type != NULL, cases[i].ending != NULL);
		CheckText(cases[i].name, "ending", kind->ending ? kind->ending : "", cases[i].ending ? cases[i].ending : "");
	}
}

#define MVEX "\0\0\0\x18mvex"
#define MEHD0 "\0\0\0\x10mehd\0\0\0\0"
#define EBML "\x1a\x45\xdf\xa3\x84\x42\x82\x81\x77"
#define SEGMENT "\x18\x53\x80\x67"
#define MVHD_FULL "\0\0\0\x1cmvhd\0\0\0\0\0\0\0\0\0\0\0\0" SCALE "\0\0\x13\x8d"
#define MOOV_FULL "\0\0\0\x24moov" MVHD_FULL

/* does the file end where it says? */
static void
TestEnd(void)
{
	static const struct
	{
		const char *name;
		const char *bytes;
		size_t len;
		MediaEnd end;
		int64_t wanted;
	} cases[] = {
		{"whole", FILE_OF(FTYP MOOV_FULL MDAT), MEDIA_END_WHOLE, -1},
		{"whole, moov last", FILE_OF(FTYP MDAT MOOV_FULL), MEDIA_END_WHOLE, -1},
		{"whole, QuickTime", FILE_OF("\0\0\0\x08wide" MDAT MOOV_FULL), MEDIA_END_WHOLE, -1},
		{"cut in mdat", FILE_OF(FTYP MOOV_FULL "\0\0\0\x10mdatmvh"), MEDIA_END_CUT, 72},
		{"cut in a large mdat", FILE_OF(FTYP MOOV_FULL "\0\0\0\1mdat\0\0\0\2\0\0\0\0abcd"), MEDIA_END_CUT, 56 + 8589934592},
		{"cut before moov", FILE_OF(FTYP MDAT), MEDIA_END_CUT, -1},
		{"cut before mdat", FILE_OF(FTYP MOOV_FULL), MEDIA_END_CUT, -1},
		{"cut in moov, between boxes", FILE_OF(FTYP MDAT "\0\0\0\x38moov" MVHD_FULL), MEDIA_END_CUT, 92},
		{"cut in moov, in a box", FILE_OF(FTYP MDAT "\0\0\0\x38moov" MVHD_FULL "\0\0\0\x10udta"), MEDIA_END_CUT, 92},
		{"cut in a box's head", FILE_OF(FTYP MDAT "\0\0\0"), MEDIA_END_CUT, -1},
		{"up to the end, moov first", FILE_OF(FTYP MOOV_FULL "\0\0\0\0mdatx"), MEDIA_END_UNKNOWN, -1},
		{"up to the end, no moov", FILE_OF(FTYP "\0\0\0\0mdatx"), MEDIA_END_CUT, -1},
		{"zeros behind it", FILE_OF(FTYP MOOV_FULL MDAT "\0\0\0\0\0\0\0\0\0"), MEDIA_END_UNKNOWN, -1},
		{"a few bytes behind it", FILE_OF(FTYP MOOV_FULL MDAT "\0\0\0"), MEDIA_END_UNKNOWN, -1},
		{"fragmented", FILE_OF(FTYP "\0\0\0\x2cmoov" MVHD_FULL "\0\0\0\x08mvex\0\0\0\x08moof" MDAT), MEDIA_END_UNKNOWN, -1},
		{"fragmented, cut in a fragment", FILE_OF(FTYP "\0\0\0\x2cmoov" MVHD_FULL "\0\0\0\x08mvex\0\0\0\x08moof\0\0\0\x09mdat"), MEDIA_END_CUT, 81},
		{"Matroska, whole", FILE_OF(EBML SEGMENT "\x84"
												 "abcd"),
		 MEDIA_END_WHOLE, -1},
		{"Matroska, size in 8 bytes", FILE_OF(EBML SEGMENT "\1\0\0\0\0\0\0\4"
														   "abcd"),
		 MEDIA_END_WHOLE, -1},
		{"Matroska, something behind it", FILE_OF(EBML SEGMENT "\x84"
															   "abcd\xec\x88"),
		 MEDIA_END_UNKNOWN, -1},
		{"Matroska, cut", FILE_OF(EBML SEGMENT "\x84"
											   "abc"),
		 MEDIA_END_CUT, 18},
		{"Matroska, cut at the segment", FILE_OF(EBML "\xec\x80" SEGMENT), MEDIA_END_CUT, -1},
		{"Matroska, live", FILE_OF(EBML SEGMENT "\1\xff\xff\xff\xff\xff\xff\xff"
												"abc"),
		 MEDIA_END_UNKNOWN, -1},
		{"Matroska, no element", FILE_OF(EBML "\0\0\0"), MEDIA_END_CUT, -1},
		{"another form", FILE_OF("RIFF\x10\0\0\0"
								 "AVI "),
		 MEDIA_END_UNKNOWN, -1},
		{"nothing", "", 0, MEDIA_END_UNKNOWN, -1},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		for (size_t piece = 1; piece <= cases[i].len + 1; piece++)
		{
			MediaMeter meter;
			int64_t wanted;

			Read(cases[i].name, cases[i].bytes, cases[i].len, piece, piece % 2 == 0, &meter);
			CheckNumber(cases[i].name, "end", MediaMeterEnd(&meter, &wanted), cases[i].end);
			CheckNumber(cases[i].name, "wanted", wanted, cases[i].wanted);
		}
	}
}

void
TestMedia(void)
{
	static const struct
	{
		const char *name;
		const char *bytes;
		size_t len;
		int64_t duration_ms;
	} cases[] = {
		{"at the start", FILE_OF(FTYP MOOV MVHD0 SCALE "\0\0\x13\x8d" MDAT), 5005},
		{"at the end", FILE_OF(FTYP MDAT MOOV MVHD0 SCALE "\0\0\x13\x8d"), 5005},
		{"behind a large box", FILE_OF(FTYP LARGE_MDAT MOOV MVHD0 SCALE "\0\0\x13\x8d"), 5005},
		{"not the first in moov", FILE_OF(FTYP MOOV UDTA MVHD0 SCALE "\0\0\x13\x8d"), 5005},
		{"another scale", FILE_OF(FTYP MOOV MVHD0 "\0\0\x5d\xc0\0\1\xd4\xc0"), 5000},
		{"64 bits", FILE_OF(FTYP MOOV MVHD1 SCALE "\0\0\0\1\0\0\0\0"), 4294967296},
		{"64 bits, unknown", FILE_OF(FTYP MOOV MVHD1 SCALE "\xff\xff\xff\xff\xff\xff\xff\xff"), -1},
		{"64 bits, too long", FILE_OF(FTYP MOOV MVHD1 "\0\0\0\1\xff\xff\xff\xff\xff\xff\xff\xfe"), -1},
		{"unknown", FILE_OF(FTYP MOOV MVHD0 SCALE "\xff\xff\xff\xff"), -1},
		{"no scale", FILE_OF(FTYP MOOV MVHD0 "\0\0\0\0\0\0\x13\x8d"), -1},
		{"another version", FILE_OF(FTYP MOOV "\0\0\0\x6cmvhd\2\0\0\0\0\0\0\0\0\0\0\0" SCALE "\0\0\x13\x8d"), -1},
		{"none", FILE_OF(FTYP MOOV MVHD0 SCALE "\0\0\0\0"), -1},
		{"fragmented", FILE_OF(FTYP "\0\0\0\x3cmoov\0\0\0\x1cmvhd\0\0\0\0\0\0\0\0\0\0\0\0" SCALE "\0\0\0\0" MVEX MEHD0 "\0\0\x13\x8d" MDAT), 5005},
		{"fragmented, 64 bits", FILE_OF(FTYP "\0\0\0\x40moov\0\0\0\x1cmvhd\0\0\0\0\0\0\0\0\0\0\0\0" SCALE "\0\0\0\0\0\0\0\x1cmvex\0\0\0\x14mehd\1\0\0\0\0\0\0\1\0\0\0\0"), 4294967296},
		{"fragmented, unknown", FILE_OF(FTYP "\0\0\0\x2cmoov\0\0\0\x1cmvhd\0\0\0\0\0\0\0\0\0\0\0\0" SCALE "\0\0\0\0\0\0\0\x08mvex" MDAT), -1},
		{"mehd outside of mvex", FILE_OF(FTYP MOOV "\0\0\0\x1cmvhd\0\0\0\0\0\0\0\0\0\0\0\0" SCALE "\0\0\0\0" MEHD0 "\0\0\x13\x8d"), -1},
		{"mvhd outside of moov", FILE_OF(FTYP "\0\0\0\x1cmvhd\0\0\0\0\0\0\0\0\0\0\0\0" SCALE "\0\0\x13\x8d"), -1},
		{"up to the end", FILE_OF(FTYP "\0\0\0\0mdat" MOOV MVHD0 SCALE "\0\0\x13\x8d"), -1},
		{"a box smaller than itself", FILE_OF(FTYP "\0\0\0\7free" MOOV MVHD0 SCALE "\0\0\x13\x8d"), -1},
		{"cut", FILE_OF(FTYP MOOV MVHD0 SCALE "\0\0\x13"), -1},
		{"Matroska", FILE_OF("\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\xf7\x81"), -1},
		{"nothing", "", 0, -1},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		/* in pieces of each size: what is split must read the same */
		for (size_t piece = 1; piece <= cases[i].len + 1; piece++)
		{
			MediaMeter meter;

			Read(cases[i].name, cases[i].bytes, cases[i].len, piece, false, &meter);
			CheckNumber(cases[i].name, "duration", meter.probe.duration_ms, cases[i].duration_ms);
			Read(cases[i].name, cases[i].bytes, cases[i].len, piece, true, &meter);
			CheckNumber(cases[i].name, "duration, handed over", meter.probe.duration_ms, cases[i].duration_ms);
		}
	}
	TestEnd();
	TestSniff();
	TestHash();
	TestState();
}
