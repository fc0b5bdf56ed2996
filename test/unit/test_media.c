/*
 * test_media.c
 *	  A video's bytes, measured in one go and by several processes.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "media.h"

#define ETAG "\"etag\""
#define CHECK_AT (MEDIA_STATE_SIZE - 8)

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
		{"another version", 0, 2},
		{"a negative number of bytes", 1, 0x80},
		{"too many bytes", 1, 0x10},
		{"an unknown form", 201, 5},
		{"an unknown part", 202, 40},
		{"deeper than it can be", 215, 9},
		{"an unknown place", 217, 40},
		{"an end that is too far away", 224, 0x80},
		{"more to skip than there can be", 288, 0x80},
		{"a body that ends too far away", 296, 0x80},
		{"more of a head than it has", 313, 96},
		{"a head that is longer than it can be", 314, 97},
		{"a negative duration", 319, 0x80},
		{"a negative time", 327, 0x80},
		{"a track of an unknown kind", 342, 3},
		{"a codec with too long a name", 392, 25},
		{"a codec that says too much of itself", 445, 17},
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

void
TestMedia(void)
{
	TestHash();
	TestState();
}
