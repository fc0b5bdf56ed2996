/*
 * test_container.c
 *	  What a file's structure tells, in one go and by several processes.  Boxes,
 *	  elements and blocks are written out, so that what is read can be counted.
 */
#include "check.h"

#include <string.h>

#include "media.h"

#define ETAG "\"etag\""
#define FILE_OF(bytes) (bytes), sizeof(bytes) - 1

/* boxes: 5005 units of 1/1000 s */
#define FTYP "\0\0\0\x14" \
			 "ftypisom\0\0\2\0mp41"
#define SCALE "\0\0\3\xe8"
#define PLAYED "\0\0\x13\x8d"
#define DATES "\0\0\0\0\0\0\0\0"
#define MVHD_OF(duration) "\0\0\0\x1cmvhd\0\0\0\0" DATES SCALE duration
#define MVHD MVHD_OF(PLAYED)
#define MVHD_NONE MVHD_OF("\0\0\0\0")
#define MVHD1_OF(scale, duration) "\0\0\0\x28mvhd\1\0\0\0" DATES DATES scale duration
#define MOOV "\0\0\0\x24moov" MVHD
#define MOOV_NONE "\0\0\0\x24moov" MVHD_NONE
#define UDTA "\0\0\0\x0cudtaabcd"
#define MDAT "\0\0\0\x10mdatmvhdmoov"
#define LARGE_MDAT "\0\0\0\1mdat\0\0\0\0\0\0\0\x14" \
				   "moov"
#define MEHD "\0\0\0\x10mehd\0\0\0\0" PLAYED
#define MEHD1 "\0\0\0\x14mehd\1\0\0\0\0\0\0\1\0\0\0\0"
#define MOOF "\0\0\0\x08moof"
#define TRAK_OF(type) "\0\0\0\x2ctrak\0\0\0\x24mdia\0\0\0\x1chdlr\0\0\0\0mhlr" type "abcdefgh"
#define SOUN TRAK_OF("soun")
#define VIDE TRAK_OF("vide")

/* elements: 2308 units of a millisecond */
#define EBML "\x1a\x45\xdf\xa3\x84\x42\x82\x81\x77"
#define SEGMENT "\x18\x53\x80\x67"
#define UNKNOWN "\1\xff\xff\xff\xff\xff\xff\xff"
#define INFO "\x15\x49\xa9\x66"
#define MILLISECONDS "\x2a\xd7\xb1\x83\x0f\x42\x40"
#define HALVES "\x2a\xd7\xb1\x83\x07\xa1\x20"
#define FLOAT "\x44\x89\x84\x45\x10\x40\0"
#define DOUBLE "\x44\x89\x88\x40\xa2\x08\0\0\0\0\0"
#define TRACKS "\x16\x54\xae\x6b"
#define ENTRY(type) "\xae\x83\x83\x81" type
#define CLUSTER "\x1f\x43\xb6\x75"
#define SIMPLE "\xa3\x84" \
			   "abcd"

/* blocks: an image of one point for 10/100 s */
#define SCREEN "GIF89a\1\0\1\0\x80\0\0" \
			   "abcdef"
#define CONTROL(delay) "!\xf9\4\0" delay "\0\0"
#define IMAGE ",\0\0\0\0\1\0\1\0\0\2\2xy\0"
#define LOOP "!\xff\x0bNETSCAPE2.0\3\1\0\0\0"
#define FRAME CONTROL("\x0a\0") IMAGE

typedef struct Case
{
	const char *name;
	const char *bytes;
	size_t len;
	ContainerEnd end; /* if the file ends here */
	int64_t wanted;
	int64_t duration_ms;
	const char *kind; /* what it turned out to be, "" if nothing special */
} Case;

#define WHOLE CONTAINER_END_WHOLE, -1
#define MAYBE CONTAINER_END_UNKNOWN, -1
#define CUT(wanted) CONTAINER_END_CUT, (wanted)
#define SOUND "sound without a picture"

static const Case cases[] = {
	{"whole", FILE_OF(FTYP MOOV MDAT), WHOLE, 5005, ""},
	{"moov last", FILE_OF(FTYP MDAT MOOV), WHOLE, 5005, ""},
	{"QuickTime", FILE_OF("\0\0\0\x08wide" MDAT MOOV), WHOLE, 5005, ""},
	{"something before ftyp", FILE_OF("\0\0\0\x0cuuidabcd" FTYP MOOV MDAT), WHOLE, 5005, ""},
	{"a large box", FILE_OF(FTYP LARGE_MDAT MOOV), WHOLE, 5005, ""},
	{"mvhd last in moov", FILE_OF(FTYP "\0\0\0\x30moov" UDTA MVHD MDAT), WHOLE, 5005, ""},
	{"another scale", FILE_OF(FTYP "\0\0\0\x24moov\0\0\0\x1cmvhd\0\0\0\0" DATES "\0\0\x5d\xc0\0\1\xd4\xc0" MDAT), WHOLE, 5000, ""},
	{"64 bits", FILE_OF(FTYP "\0\0\0\x30moov" MVHD1_OF(SCALE, "\0\0\0\1\0\0\0\0") MDAT), WHOLE, 4294967296, ""},
	{"64 bits, unknown", FILE_OF(FTYP "\0\0\0\x30moov" MVHD1_OF(SCALE, "\xff\xff\xff\xff\xff\xff\xff\xff") MDAT), WHOLE, -1, ""},
	{"64 bits, too long", FILE_OF(FTYP "\0\0\0\x30moov" MVHD1_OF("\0\0\0\1", "\xff\xff\xff\xff\xff\xff\xff\xfe") MDAT), WHOLE, -1, ""},
	{"unknown duration", FILE_OF(FTYP "\0\0\0\x24moov" MVHD_OF("\xff\xff\xff\xff") MDAT), WHOLE, -1, ""},
	{"no duration", FILE_OF(FTYP MOOV_NONE MDAT), WHOLE, -1, ""},
	{"no scale", FILE_OF(FTYP "\0\0\0\x24moov\0\0\0\x1cmvhd\0\0\0\0" DATES "\0\0\0\0" PLAYED MDAT), WHOLE, -1, ""},
	{"another version", FILE_OF(FTYP "\0\0\0\x24moov\0\0\0\x1cmvhd\2\0\0\0" DATES SCALE PLAYED MDAT), WHOLE, -1, ""},
	{"mvhd is too short", FILE_OF(FTYP "\0\0\0\x1emoov\0\0\0\x16mvhd\0\0\0\0" DATES "\0\0" MDAT), WHOLE, -1, ""},
	{"mvhd is nearly nothing", FILE_OF(FTYP "\0\0\0\x12moov\0\0\0\x0amvhd\0\0" MDAT), WHOLE, -1, ""},
	{"mehd outside of mvex", FILE_OF(FTYP "\0\0\0\x34moov" MVHD_NONE MEHD MDAT), WHOLE, -1, ""},
	{"mvhd outside of moov", FILE_OF(FTYP MVHD), CUT(-1), -1, ""},
	{"two movies: the first plays", FILE_OF(FTYP MOOV MDAT FTYP "\0\0\0\x24moov" MVHD_OF("\0\0\0\7") MDAT), WHOLE, 5005, ""},

	/* in moov, whatever is odd is behind it over */
	{"zeros in moov, moov first", FILE_OF(FTYP "\0\0\0\x28moov" MVHD "\0\0\0\0" MDAT), WHOLE, 5005, ""},
	{"more zeros in moov", FILE_OF(FTYP "\0\0\0\x30moov" MVHD "\0\0\0\0\0\0\0\0\0\0\0\0" MDAT), WHOLE, 5005, ""},
	{"a box in moov that is too large", FILE_OF(FTYP "\0\0\0\x2cmoov" MVHD "\0\1\0\0udta" MDAT), WHOLE, 5005, ""},
	{"a box in moov that is too small", FILE_OF(FTYP "\0\0\0\x2cmoov" MVHD "\0\0\0\7udta" MDAT), WHOLE, 5005, ""},
	{"a large head in moov, without room", FILE_OF(FTYP "\0\0\0\x2cmoov" MVHD "\0\0\0\1udta" MDAT), WHOLE, 5005, ""},

	{"cut in mdat", FILE_OF(FTYP MOOV "\0\0\0\x10mdatmvh"), CUT(72), 5005, ""},
	{"cut in a large mdat", FILE_OF(FTYP MOOV "\0\0\0\1mdat\0\0\0\2\0\0\0\0abcd"), CUT(56 + 8589934592), 5005, ""},
	{"cut in mvhd", FILE_OF(FTYP MDAT "\0\0\0\x24moov\0\0\0\x1cmvhd\0\0\0\0" DATES SCALE "\0\0\x13"), CUT(72), -1, ""},
	{"cut before moov", FILE_OF(FTYP MDAT), CUT(-1), -1, ""},
	{"cut before mdat", FILE_OF(FTYP MOOV), CUT(-1), 5005, ""},
	{"cut in moov, between boxes", FILE_OF(FTYP MDAT "\0\0\0\x38moov" MVHD), CUT(92), 5005, ""},
	{"cut in moov, in a box", FILE_OF(FTYP MDAT "\0\0\0\x38moov" MVHD "\0\0\0\x10udta"), CUT(92), 5005, ""},
	{"cut in a box's head", FILE_OF(FTYP MDAT "\0\0\0"), CUT(-1), -1, ""},
	{"cut in the second mdat", FILE_OF(FTYP MOOV MDAT "\0\0\0\x10mdat"), CUT(88), 5005, ""},
	{"a box smaller than itself", FILE_OF(FTYP "\0\0\0\7free" MOOV MDAT), CUT(-1), -1, ""},
	{"mdat up to the end", FILE_OF(FTYP MOOV "\0\0\0\0mdatx"), MAYBE, 5005, ""},
	{"mdat up to the end, no moov", FILE_OF(FTYP "\0\0\0\0mdat" MOOV), CUT(-1), -1, ""},
	{"moov up to the end", FILE_OF(FTYP MDAT "\0\0\0\0moov" MVHD UDTA), MAYBE, 5005, ""},
	{"moov up to the end, cut", FILE_OF(FTYP MDAT "\0\0\0\0moov" MVHD "\0\0\0\x0cudta"), CUT(-1), 5005, ""},

	{"zeros behind it", FILE_OF(FTYP MOOV MDAT "\0\0\0\0\0\0\0\0\0"), MAYBE, 5005, ""},
	{"a few bytes behind it", FILE_OF(FTYP MOOV MDAT "\0\0\0"), MAYBE, 5005, ""},
	{"a text behind it", FILE_OF(FTYP MOOV MDAT "made by a camera"), MAYBE, 5005, ""},
	{"a box behind it, cut", FILE_OF(FTYP MOOV MDAT "\0\0\1\0freeabcd"), CUT(328), 5005, ""},

	{"fragments", FILE_OF(FTYP "\0\0\0\x3cmoov" MVHD_NONE "\0\0\0\x18mvex" MEHD MOOF MDAT), MAYBE, 5005, ""},
	{"fragments, 64 bits", FILE_OF(FTYP "\0\0\0\x40moov" MVHD_NONE "\0\0\0\x1cmvex" MEHD1 MOOF MDAT), MAYBE, 4294967296, ""},
	{"fragments, no duration", FILE_OF(FTYP "\0\0\0\x2cmoov" MVHD_NONE "\0\0\0\x08mvex" MOOF MDAT), MAYBE, -1, ""},
	{"fragments, the duration of the first", FILE_OF(FTYP "\0\0\0\x2cmoov" MVHD "\0\0\0\x08mvex" MDAT MOOF MDAT), MAYBE, -1, ""},
	{"fragments, mvex first", FILE_OF(FTYP "\0\0\0\x2cmoov\0\0\0\x08mvex" MVHD MOOF MDAT), MAYBE, -1, ""},
	{"fragments, cut in one", FILE_OF(FTYP "\0\0\0\x2cmoov" MVHD_NONE "\0\0\0\x08mvex" MOOF MDAT MOOF "\0\0\0\x09mdat"), CUT(-1), -1, ""},
	{"fragments, cut before the first data", FILE_OF(FTYP "\0\0\0\x2cmoov" MVHD_NONE "\0\0\0\x08mvex" MOOF), CUT(-1), -1, ""},

	{"a picture", FILE_OF(FTYP "\0\0\0\x50moov" MVHD VIDE MDAT), WHOLE, 5005, ""},
	{"a picture and sound", FILE_OF(FTYP "\0\0\0\x7cmoov" MVHD SOUN VIDE MDAT), WHOLE, 5005, ""},
	{"sound", FILE_OF(FTYP "\0\0\0\x50moov" MVHD SOUN MDAT), WHOLE, 5005, SOUND},
	{"sound and something odd", FILE_OF(FTYP "\0\0\0\x58moov" MVHD SOUN "\0\0\0\0\0\0\0\0" MDAT), WHOLE, 5005, ""},
	{"a time code", FILE_OF(FTYP "\0\0\0\x50moov" MVHD TRAK_OF("tmcd") MDAT), WHOLE, 5005, ""},

	{"Matroska", FILE_OF(EBML SEGMENT "\x98" INFO "\x8e" MILLISECONDS FLOAT CLUSTER "\x80"), WHOLE, 2308, ""},
	{"Matroska, sizes in 8 bytes", FILE_OF(EBML SEGMENT "\1\0\0\0\0\0\0\x23" INFO "\1\0\0\0\0\0\0\x12" MILLISECONDS DOUBLE CLUSTER "\x80"), WHOLE, 2308, ""},
	{"Matroska, the scale last", FILE_OF(EBML SEGMENT "\x98" INFO "\x8e" FLOAT HALVES CLUSTER "\x80"), WHOLE, 1154, ""},
	{"Matroska, no scale", FILE_OF(EBML SEGMENT "\x91" INFO "\x87" FLOAT CLUSTER "\x80"), WHOLE, 2308, ""},
	{"Matroska, scale 0", FILE_OF(EBML SEGMENT "\x95" INFO "\x8b\x2a\xd7\xb1\x80" FLOAT CLUSTER "\x80"), WHOLE, 2308, ""},
	{"Matroska, not a number", FILE_OF(EBML SEGMENT "\x91" INFO "\x87\x44\x89\x84\x7f\xc0\0\0" CLUSTER "\x80"), WHOLE, -1, ""},
	{"Matroska, below zero", FILE_OF(EBML SEGMENT "\x91" INFO "\x87\x44\x89\x84\xc5\x10\x40\0" CLUSTER "\x80"), WHOLE, -1, ""},
	{"Matroska, half a number", FILE_OF(EBML SEGMENT "\x8f" INFO "\x85\x44\x89\x82\x45\x10" CLUSTER "\x80"), WHOLE, -1, ""},
	{"Matroska, no cluster", FILE_OF(EBML SEGMENT "\x80"), CUT(-1), -1, ""},
	{"Matroska, something odd in it", FILE_OF(EBML SEGMENT "\x84\0\0\0\0"), WHOLE, -1, ""},
	{"Matroska, an element that is too large", FILE_OF(EBML SEGMENT "\x87" INFO "\x99\0\0"), WHOLE, -1, ""},
	{"Matroska, half a head at its end", FILE_OF(EBML SEGMENT "\x87" CLUSTER "\x80\x1a\x45"), WHOLE, -1, ""},
	{"Matroska, something behind it", FILE_OF(EBML SEGMENT "\x85" CLUSTER "\x80\xec\x88"), MAYBE, -1, ""},
	{"Matroska, cut", FILE_OF(EBML SEGMENT "\x98" INFO "\x8e" MILLISECONDS FLOAT), CUT(38), 2308, ""},
	{"Matroska, cut at the segment", FILE_OF(EBML "\xec\x80" SEGMENT), CUT(-1), -1, ""},
	{"Matroska, no element", FILE_OF(EBML "\0\0\0"), CUT(-1), -1, ""},

	{"stream", FILE_OF(EBML SEGMENT UNKNOWN CLUSTER "\x86" SIMPLE CLUSTER "\x86" SIMPLE), MAYBE, -1, ""},
	{"stream, sizes in a byte", FILE_OF(EBML SEGMENT "\xff" CLUSTER "\xff" SIMPLE SIMPLE CLUSTER "\xff" SIMPLE), MAYBE, -1, ""},
	{"stream, unknown clusters", FILE_OF(EBML SEGMENT UNKNOWN TRACKS "\x85" ENTRY("\1") CLUSTER UNKNOWN SIMPLE), MAYBE, -1, ""},
	{"stream, cut in a block", FILE_OF(EBML SEGMENT UNKNOWN CLUSTER UNKNOWN SIMPLE "\xa3\x84"
																				   "abc"),
	 CUT(-1), -1, ""},
	{"stream, cut in a head", FILE_OF(EBML SEGMENT UNKNOWN CLUSTER UNKNOWN SIMPLE "\xa3"), CUT(-1), -1, ""},
	{"stream, cut before its clusters", FILE_OF(EBML SEGMENT UNKNOWN TRACKS "\x85" ENTRY("\1")), CUT(-1), -1, ""},
	{"stream, a line's end behind it", FILE_OF(EBML SEGMENT UNKNOWN CLUSTER "\x86" SIMPLE "\n"), MAYBE, -1, ""},
	{"stream, zeros behind it", FILE_OF(EBML SEGMENT UNKNOWN CLUSTER "\x86" SIMPLE "\0\0\0"), MAYBE, -1, ""},
	{"a cluster of unknown size", FILE_OF(EBML SEGMENT "\x8b" CLUSTER "\xff" SIMPLE), MAYBE, -1, ""},
	{"other elements of unknown size", FILE_OF(EBML SEGMENT "\x8b" INFO "\xff" SIMPLE), MAYBE, -1, ""},

	{"Matroska, a picture", FILE_OF(EBML SEGMENT "\x8f" TRACKS "\x85" ENTRY("\1") CLUSTER "\x80"), WHOLE, -1, ""},
	{"Matroska, a picture and sound", FILE_OF(EBML SEGMENT "\x94" TRACKS "\x8a" ENTRY("\1") ENTRY("\2") CLUSTER "\x80"), WHOLE, -1, ""},
	{"Matroska, sound", FILE_OF(EBML SEGMENT "\x8f" TRACKS "\x85" ENTRY("\2") CLUSTER "\x80"), WHOLE, -1, SOUND},

	{"GIF", FILE_OF(SCREEN LOOP FRAME FRAME ";"), WHOLE, 200, ""},
	{"GIF, no delays", FILE_OF(SCREEN IMAGE IMAGE IMAGE ";"), WHOLE, 300, ""},
	{"GIF, hardly any delay", FILE_OF(SCREEN CONTROL("\1\0") IMAGE CONTROL("\2\0") IMAGE ";"), WHOLE, 120, ""},
	{"GIF, a delay for one image only", FILE_OF(SCREEN CONTROL("\0\1") IMAGE IMAGE ";"), WHOLE, 2660, ""},
	{"GIF, no table of colours", FILE_OF("GIF89a\1\0\1\0\7\0\0" FRAME FRAME ";"), WHOLE, 200, ""},
	{"GIF, a table for an image", FILE_OF(SCREEN FRAME ",\0\0\0\0\1\0\1\0\x81"
													   "abcdefghijkl"
													   "\2\2xy\0;"),
	 WHOLE, 200, ""},
	{"GIF, a longer control", FILE_OF(SCREEN "!\xf9\5\0\x14\0\0;\0" IMAGE IMAGE ";"), WHOLE, 300, ""},
	{"GIF, a shorter control", FILE_OF(SCREEN "!\xf9\1;\0" IMAGE IMAGE ";"), WHOLE, 200, ""},
	{"GIF, an empty control", FILE_OF(SCREEN "!\xf9\0" IMAGE IMAGE ";"), WHOLE, 200, ""},
	{"GIF, something behind it", FILE_OF(SCREEN FRAME FRAME ";;abc"), WHOLE, 200, ""},
	{"GIF, a block that ends twice", FILE_OF(SCREEN FRAME "\0\0" FRAME ";"), WHOLE, 200, ""},
	{"GIF, something odd", FILE_OF(SCREEN FRAME "x" FRAME ";"), MAYBE, -1, ""},
	{"GIF, nothing but something odd", FILE_OF(SCREEN "x"), CUT(-1), -1, ""},
	{"GIF, no end", FILE_OF(SCREEN FRAME FRAME), CUT(-1), -1, ""},
	{"GIF, cut in an image", FILE_OF(SCREEN FRAME ",\0\0\0\0\1\0\1\0\0\2\2x"), CUT(-1), -1, ""},
	{"GIF, cut in its colours", FILE_OF("GIF89a\1\0\1\0\x87\0\0abc"), CUT(-1), -1, ""},
	{"GIF, cut in its head", FILE_OF("GIF89a\1\0\1\0\x87\0"), CUT(-1), -1, ""},
	{"GIF, no image", FILE_OF(SCREEN ";"), CUT(-1), -1, "GIF image that does not move"},
	{"GIF, one image", FILE_OF(SCREEN FRAME ";"), WHOLE, -1, "GIF image that does not move"},

	{"another form", FILE_OF("RIFF\x10\0\0\0"
							 "AVI "),
	 MAYBE, -1, ""},
	{"too little", FILE_OF("\0\0\0\x14"
						   "fty"),
	 MAYBE, -1, ""},
	{"nothing", "", 0, MAYBE, -1, ""},
};

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
Read(const Case *file, size_t piece, bool hand_over)
{
	MediaMeter meter;
	int64_t wanted;
	const Kind *kind;

	MediaMeterInit(&meter);
	for (size_t at = 0; at < file->len; at += piece)
	{
		MediaMeterAdd(&meter, file->bytes + at, piece < file->len - at ? piece : file->len - at);
		if (hand_over)
			HandOver(file->name, &meter);
	}
	kind = MediaMeterKind(&meter);
	CheckNumber(file->name, "end", ContainerJudgeEnd(&meter.container, &wanted), file->end);
	CheckNumber(file->name, "wanted", wanted, file->wanted);
	CheckNumber(file->name, "duration", meter.container.duration_ms, file->duration_ms);
	CheckText(file->name, "kind", kind != NULL ? kind->name : "", file->kind);
}

void
TestContainer(void)
{
	for (size_t i = 0; i < lengthof(cases); i++)
	{
		for (size_t piece = 1; piece <= cases[i].len + 1; piece++)
		{
			Read(&cases[i], piece, false);
			Read(&cases[i], piece, true);
		}
	}
}
