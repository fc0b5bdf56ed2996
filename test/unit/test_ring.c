/*
 * test_ring.c
 *	  A bounded buffer: what comes out, and in which order.
 */
#include "check.h"

#include <string.h>

#include "ring.h"

static void
CheckNext(const char *name, Ring *ring, size_t len, const char *wanted)
{
	char got[32] = "";
	size_t n = RingRead(ring, got, len);

	CheckNumber(name, "bytes", n, strlen(wanted));
	CheckText(name, "what came out", got, wanted);
}

static void
CheckPeek(const char *name, const Ring *ring, const char *wanted)
{
	size_t len;
	const char *bytes = RingPeek(ring, &len);

	CheckNumber(name, "bytes in one piece", len, strlen(wanted));
	CheckTrue(name, "the piece", memcmp(bytes, wanted, len) == 0);
}

/* a ring of 8 that holds "cdefghij", its end before its start */
static void
Wrap(Ring *ring)
{
	RingInit(ring, 8);
	RingPut(ring, "abcdef", 6);
	RingDrop(ring, 2);
	RingPut(ring, "ghij", 4);
}

static void
TestOrder(void)
{
	Ring ring;

	CheckTrue("order", "made", RingInit(&ring, 8));
	CheckNumber("empty", "room", RingRoom(&ring), 8);
	CheckNext("empty", &ring, 3, "");
	CheckPeek("empty", &ring, "");
	RingPut(&ring, "abcde", 5);
	CheckNumber("five in", "room", RingRoom(&ring), 3);
	CheckPeek("five in", &ring, "abcde");
	CheckNext("two out", &ring, 2, "ab");
	RingPut(&ring, "", 0);
	CheckNext("more than there is", &ring, 9, "cde");
	CheckNumber("all out", "room", RingRoom(&ring), 8);
	RingFree(&ring);
	CheckNumber("freed", "room", RingRoom(&ring), 0);
}

static void
TestWrapping(void)
{
	Ring ring;

	Wrap(&ring);
	CheckNumber("full", "room", RingRoom(&ring), 0);
	CheckPeek("full", &ring, "cdefgh");
	CheckNext("over the end", &ring, 7, "cdefghi");
	CheckNumber("dropped", "bytes", RingDrop(&ring, 5), 1);
	CheckNumber("dropped", "room", RingRoom(&ring), 8);
	RingFree(&ring);
}

static void
TestGrowth(void)
{
	Ring ring;

	Wrap(&ring);
	CheckTrue("grown", "made", RingGrow(&ring, 12));
	CheckNumber("grown", "room", RingRoom(&ring), 4);
	CheckPeek("grown", &ring, "cdefghij");
	RingPut(&ring, "klmn", 4);
	CheckNext("grown", &ring, 20, "cdefghijklmn");
	RingFree(&ring);
}

/* pieces of all lengths, for as long as it takes to meet each place of the ring */
static void
TestPieces(void)
{
	Ring ring;
	unsigned char put = 0;
	unsigned char taken = 0;
	bool same = true;

	RingInit(&ring, 13);
	for (size_t turn = 0; turn < 1000; turn++)
	{
		char bytes[13];
		size_t n = turn % 14 < RingRoom(&ring) ? turn % 14 : RingRoom(&ring);

		for (size_t i = 0; i < n; i++)
			bytes[i] = (char) put++;
		RingPut(&ring, bytes, n);
		n = RingRead(&ring, bytes, turn % 11);
		for (size_t i = 0; i < n; i++)
			same = same && (unsigned char) bytes[i] == taken++;
	}
	CheckTrue("pieces", "come out as they went in", same && taken != 0);
	RingFree(&ring);
}

void
TestRing(void)
{
	TestOrder();
	TestWrapping();
	TestGrowth();
	TestPieces();
}
