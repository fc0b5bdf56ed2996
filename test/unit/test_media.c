/*
 * test_media.c
 *	  How long a video plays.  The boxes are written out, so that what is read
 *	  can be counted.
 */
#include "check.h"

#include <string.h>

#include "media.h"

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
			MediaProbe probe;

			MediaProbeInit(&probe);
			for (size_t at = 0; at < cases[i].len; at += piece)
				MediaProbeFeed(&probe, (const unsigned char *) cases[i].bytes + at,
							   piece < cases[i].len - at ? piece : cases[i].len - at);
			CheckNumber(cases[i].name, "duration", probe.duration_ms, cases[i].duration_ms);
		}
	}
}
