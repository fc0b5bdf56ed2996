/*
 * flow.c
 *	  The bytes of one copy.
 *
 * The sink fills the ring, the source empties it; the side that gets ahead is
 * paused, so memory is the ring's whatever the video's size.
 *
 * The file's last byte is sent only after the download has ended well: before
 * that the object does not exist, so half a file is never visible.
 */
#include "flow.h"

#include <string.h>

#include "reply.h"

bool
FlowInit(Flow *flow, size_t ring_size, int64_t cap)
{
	memset(flow, 0, sizeof(*flow));
	MediaMeterInit(&flow->meter);
	flow->cap = cap;
	flow->total = -1;
	flow->part_left = INT64_MAX;
	return RingInit(&flow->ring, ring_size);
}

void
FlowFree(Flow *flow)
{
	RingFree(&flow->ring);
}

/* Of len bytes from offset at, how many are before offset to? */
static size_t
CountBefore(int64_t to, int64_t at, size_t len)
{
	if (to <= at)
		return 0;
	return to - at < (int64_t) len ? (size_t) (to - at) : len;
}

/* Bytes that the meter has seen are skipped, but it cannot skip a gap. */
static void
Measure(Flow *flow, int64_t at, const char *data, size_t len)
{
	size_t seen = CountBefore(flow->meter.bytes, at, len);

	if (at <= flow->meter.bytes)
		MediaMeterAdd(&flow->meter, data + seen, len - seen);
}

/* How many of the bytes just received need not be uploaded: Storage has them, or only their number is wanted. */
static size_t
CountUnwanted(const Flow *flow, size_t len)
{
	if (flow->counting)
		return len;
	return flow->judged ? CountBefore(flow->stored, flow->received, len) : 0;
}

size_t
FlowSink(void *arg, const char *data, size_t len)
{
	Flow *flow = arg;
	size_t unwanted = CountUnwanted(flow, len);
	size_t wanted = len - unwanted;

	/* until it is known to be the rest, it may be the whole file */
	if (flow->received - (flow->judged ? 0 : flow->from) + (int64_t) len > flow->cap)
	{
		flow->too_large = true;
		return HTTP_ABORT;
	}
	if (wanted > RingRoom(&flow->ring))
		return HTTP_PAUSE;
	RingPut(&flow->ring, data + unwanted, wanted);
	if (flow->judged)
		Measure(flow, flow->received, data, len);
	flow->received += len;
	return len;
}

/* What may be sent now: the last byte only after the download has ended well. */
static size_t
CountReady(const Flow *flow)
{
	int64_t ready = flow->ring.used;

	if (ready > flow->part_left)
		ready = flow->part_left;
	if (!flow->whole && flow->total >= 0 && ready > flow->total - 1 - flow->sent)
		ready = flow->total - 1 - flow->sent;
	return ready > 0 ? (size_t) ready : 0;
}

/* Is the body of the current upload request complete? */
static bool
IsAtEnd(const Flow *flow)
{
	return flow->whole || flow->part_left == 0;
}

size_t
FlowSource(void *arg, char *data, size_t len)
{
	Flow *flow = arg;
	size_t ready = CountReady(flow);

	if (ready == 0)
		return IsAtEnd(flow) ? 0 : HTTP_PAUSE;
	len = RingRead(&flow->ring, data, len < ready ? len : ready);
	flow->sent += len;
	flow->part_left -= len;
	return len;
}

bool
FlowIsReady(const Flow *flow)
{
	return CountReady(flow) > 0 || IsAtEnd(flow);
}

void
FlowAccept(Flow *flow)
{
	size_t len;
	const char *data = RingPeek(&flow->ring, &len);

	Measure(flow, flow->from, data, len);
	RingDrop(&flow->ring, CountBefore(flow->stored, flow->from, len));
	flow->judged = true;
}

void
FlowCount(Flow *flow)
{
	RingDrop(&flow->ring, flow->ring.used);
	flow->counting = true;
}

void
FlowRewind(Flow *flow)
{
	flow->received -= flow->from;
	flow->from = flow->stored = flow->sent = 0;
	flow->part_left = INT64_MAX;
	MediaMeterInit(&flow->meter);
}

bool
FlowIsShort(const Flow *flow, int64_t stated, int64_t *wanted)
{
	ContainerEnd end = CONTAINER_END_UNKNOWN;

	*wanted = -1;
	if (flow->meter.bytes == flow->received)
		end = ContainerJudgeEnd(&flow->meter.container, wanted);
	if (end == CONTAINER_END_UNKNOWN && stated > flow->received)
		end = CONTAINER_END_CUT;
	/* more may follow what the file says of itself */
	if (end == CONTAINER_END_CUT && stated > *wanted && stated > flow->received)
		*wanted = stated;
	return end == CONTAINER_END_CUT;
}
