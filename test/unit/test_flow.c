/*
 * test_flow.c
 *	  The bytes of a copy: what Storage is given, and when.
 */
#include "check.h"

#include <string.h>

#include "flow.h"
#include "reply.h"

#define CAP 1000

/* a flow through a ring of 8 whose download has been judged */
static void
Start(Flow *flow, int64_t total)
{
	FlowInit(flow, 8, CAP);
	flow->total = total;
	FlowAccept(flow);
}

static void
CheckIn(const char *name, Flow *flow, const char *bytes, size_t wanted)
{
	CheckNumber(name, "what the sink says", FlowSink(flow, bytes, strlen(bytes)), wanted);
}

/* wanted NULL: a pause */
static void
CheckOut(const char *name, Flow *flow, size_t len, const char *wanted)
{
	char got[32] = "";
	size_t n = FlowSource(flow, got, len);

	CheckNumber(name, "what the source says", n, wanted ? strlen(wanted) : HTTP_PAUSE);
	CheckText(name, "what it gives", got, wanted ? wanted : "");
	CheckTrue(name, "ready if it has something to say", wanted || !FlowIsReady(flow));
}

static void
CheckHash(const char *name, const Flow *flow, const char *file)
{
	MediaMeter whole;
	unsigned char wanted[32];
	unsigned char got[32];

	MediaMeterInit(&whole);
	MediaMeterAdd(&whole, file, strlen(file));
	MediaMeterHash(&whole, wanted);
	MediaMeterHash(&flow->meter, got);
	CheckNumber(name, "measured", flow->meter.bytes, strlen(file));
	CheckTrue(name, "its hash", memcmp(got, wanted, sizeof(got)) == 0);
}

/* Storage must have nothing to show until the download has ended well. */
static void
TestLastByte(void)
{
	Flow flow;

	Start(&flow, 6);
	CheckOut("nothing is here", &flow, 9, NULL);
	CheckIn("all is here", &flow, "abcdef", 6);
	CheckOut("all is here", &flow, 9, "abcde");
	CheckOut("the last byte is kept", &flow, 9, NULL);
	flow.whole = true;
	CheckOut("it ended well", &flow, 9, "f");
	CheckOut("its end", &flow, 9, "");
	CheckHash("its end", &flow, "abcdef");
	FlowFree(&flow);
}

static void
TestPauses(void)
{
	Flow flow;

	Start(&flow, 20);
	CheckIn("fits", &flow, "abcdef", 6);
	CheckIn("no room", &flow, "ghi", HTTP_PAUSE);
	CheckNumber("no room", "received", flow.received, 6);
	CheckOut("makes room", &flow, 4, "abcd");
	CheckIn("has room", &flow, "ghi", 3);
	CheckOut("in order", &flow, 9, "efghi");
	FlowFree(&flow);
}

/* a request sends its part, then it ends */
static void
TestParts(void)
{
	Flow flow;

	Start(&flow, 20);
	flow.part_left = 3;
	CheckIn("a part", &flow, "abcdef", 6);
	CheckOut("a part", &flow, 9, "abc");
	CheckOut("its end", &flow, 9, "");
	flow.part_left = 3;
	CheckOut("the next", &flow, 2, "de");
	CheckOut("the next", &flow, 2, "f");
	CheckNumber("the next", "sent", flow.sent, 6);
	FlowFree(&flow);
}

static void
TestCap(void)
{
	Flow flow;

	FlowInit(&flow, 8, 10);
	flow.counting = true;
	CheckIn("up to the cap", &flow, "0123456789", 10);
	CheckTrue("up to the cap", "not too large", !flow.too_large);
	CheckIn("over the cap", &flow, "x", HTTP_ABORT);
	CheckTrue("over the cap", "too large", flow.too_large);
	FlowFree(&flow);
}

/* what was asked for as the rest may be the whole, until it is judged */
static void
TestCapOfRest(void)
{
	Flow flow;

	FlowInit(&flow, 8, 10);
	flow.stored = flow.sent = flow.from = flow.received = 8;
	CheckIn("the rest, or the whole", &flow, "abcde", 5);
	CheckTrue("the rest, or the whole", "not too large", !flow.too_large);
	FlowAccept(&flow);
	CheckIn("surely the rest", &flow, "f", HTTP_ABORT);
	FlowFree(&flow);
}

/* without room for them: their number is all that is wanted */
static void
TestCounting(void)
{
	Flow flow;

	Start(&flow, -1);
	CheckIn("before", &flow, "abcdef", 6);
	FlowCount(&flow);
	CheckIn("counted", &flow, "ghijklmnop", 10);
	CheckIn("counted", &flow, "qrstuvwxyz", 10);
	CheckNumber("counted", "received", flow.received, 26);
	CheckNumber("counted", "in the ring", flow.ring.used, 0);
	FlowFree(&flow);
}

/* Storage has six bytes, the meter has seen three; the rest comes from there */
static void
Resume(Flow *flow)
{
	FlowInit(flow, 8, CAP);
	MediaMeterAdd(&flow->meter, "abc", 3);
	flow->total = 10;
	flow->stored = flow->sent = 6;
	flow->from = flow->received = 3;
}

static void
TestResuming(void)
{
	Flow flow;

	Resume(&flow);
	CheckIn("before it is judged", &flow, "de", 2);
	FlowAccept(&flow);
	CheckNumber("Storage has it", "in the ring", flow.ring.used, 0);
	CheckIn("the first that it has not", &flow, "fgh", 3);
	CheckOut("the first that it has not", &flow, 9, "gh");
	CheckIn("the end", &flow, "ij", 2);
	flow.whole = true;
	CheckOut("the end", &flow, 9, "ij");
	CheckHash("the end", &flow, "abcdefghij");
	FlowFree(&flow);
}

/* it may be judged when more is here than Storage has */
static void
TestResumingLate(void)
{
	Flow flow;

	Resume(&flow);
	CheckIn("before it is judged", &flow, "defgh", 5);
	FlowAccept(&flow);
	CheckOut("what Storage has not", &flow, 9, "gh");
	CheckHash("measured", &flow, "abcdefgh");
	FlowFree(&flow);
}

/* the rest was asked for, the host sent the whole */
static void
TestRewinding(void)
{
	Flow flow;

	Resume(&flow);
	CheckIn("before it is judged", &flow, "abcd", 4);
	FlowRewind(&flow);
	flow.total = 5;
	FlowAccept(&flow);
	CheckNumber("from the start", "received", flow.received, 4);
	CheckOut("from the start", &flow, 9, "abcd");
	CheckIn("from the start", &flow, "e", 1);
	flow.whole = true;
	CheckOut("from the start", &flow, 9, "e");
	CheckHash("from the start", &flow, "abcde");
	FlowFree(&flow);
}

/* the meter's state was lost: what it has not seen it cannot jump */
static void
TestGap(void)
{
	Flow flow;

	FlowInit(&flow, 8, CAP);
	flow.total = 10;
	flow.stored = flow.sent = flow.from = flow.received = 6;
	FlowAccept(&flow);
	CheckIn("a gap", &flow, "gh", 2);
	CheckOut("a gap", &flow, 9, "gh");
	CheckNumber("a gap", "measured", flow.meter.bytes, 0);
	FlowFree(&flow);
}

#define BOX_FILE "\0\0\0\x08wide\0\0\0\x08moov\0\0\0\x0cmdatabcd"

/* what ended well may still be half a file */
static void
CheckShort(const char *name, const char *bytes, size_t len, int64_t stated, bool is_short, int64_t wanted)
{
	Flow flow;
	int64_t got;

	FlowInit(&flow, 64, CAP);
	FlowAccept(&flow);
	CheckNumber(name, "received", FlowSink(&flow, bytes, len), len);
	CheckNumber(name, "short", FlowIsShort(&flow, stated, &got), is_short);
	CheckNumber(name, "wanted", got, wanted);
	FlowFree(&flow);
}

static void
TestShort(void)
{
	Flow flow;
	int64_t wanted;

	CheckShort("whole", BOX_FILE, 28, -1, false, -1);
	CheckShort("whole, whatever fal says", BOX_FILE, 28, 40, false, -1);
	CheckShort("cut", BOX_FILE, 27, -1, true, 28);
	CheckShort("cut, whatever fal says", BOX_FILE, 27, 27, true, 28);
	CheckShort("cut, and fal knows of more", BOX_FILE, 27, 40, true, 40);
	CheckShort("of an unknown form", "abcdef", 6, -1, false, -1);
	CheckShort("as long as fal says", "abcdef", 6, 6, false, -1);
	CheckShort("longer than fal says", "abcdef", 6, 5, false, -1);
	CheckShort("shorter than fal says", "abcdef", 6, 7, true, 7);

	/* the meter's state was lost */
	FlowInit(&flow, 8, CAP);
	flow.stored = flow.sent = flow.from = flow.received = 6;
	FlowAccept(&flow);
	CheckTrue("a rest as long as fal says", "is not short", !FlowIsShort(&flow, 6, &wanted));
	CheckTrue("a rest shorter than fal says", "is short", FlowIsShort(&flow, 7, &wanted));
	FlowFree(&flow);
}

void
TestFlow(void)
{
	TestLastByte();
	TestPauses();
	TestParts();
	TestCap();
	TestCapOfRest();
	TestCounting();
	TestResuming();
	TestResumingLate();
	TestRewinding();
	TestGap();
	TestShort();
}
