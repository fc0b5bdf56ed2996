/*
 * watch.c
 *	  Whether a copy makes progress, and how fast.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "guc.h"
#include "watch.h"

#define FINISHING_PATIENCE 5
#define MEASURE_MS 500 /* shorter intervals give no reliable speed */

void
WatchInit(Watch *watch)
{
	TimestampTz now = GetCurrentTimestamp();

	memset(watch, 0, sizeof(*watch));
	watch->clock.started_at = watch->clock.moved_at = now;
	watch->pace.since = now;
	watch->speed.measured_at = now;
	watch->speed.measured = -1;
}

/* Both sides count: one may be done, or wait for the other.  Storage's own work has no speed. */
static bool
IsTooSlow(WatchPace *pace, const Flow *flow, TimestampTz now, bool finishing)
{
	int64 least = (int64) vv_low_speed_limit * 1024 * vv_stall_timeout;
	int64 received = flow->received - flow->from;
	int64 sent = flow->sent - flow->stored;
	bool slow;

	if (!finishing && !TimestampDifferenceExceeds(pace->since, now, vv_stall_timeout * 1000))
		return false;
	slow = !finishing && received - pace->received < least && sent - pace->sent < least;
	pace->received = received;
	pace->sent = sent;
	pace->since = now;
	return slow;
}

/* Everything has been sent; what is left is Storage's work. */
static bool
IsFinishing(const Flow *flow, const Upload *upload)
{
	return (flow->whole && flow->ring.used == 0) || (upload->request && flow->part_left == 0);
}

static void
FailAsStalled(const Upload *upload, int patience)
{
	const Flow *flow = upload->flow;
	bool uploading = (upload->request != NULL);
	char error[120];

	if (uploading && flow->part_left == 0)
		snprintf(error, sizeof(error), "Storage did not answer for %d s", patience);
	else if (flow->whole || (uploading && flow->ring.used > 0))
		snprintf(error, sizeof(error), "the upload made no progress for %d s", patience);
	else
		snprintf(error, sizeof(error), "the download made no progress for %d s", patience);
	TaskRetry(upload->task, vv_max_tries, "stalled", error, -1);
}

static void
FailAsSlow(Task *task)
{
	char error[120];

	snprintf(error, sizeof(error), "the copy was slower than %d kB/s for %d s", vv_low_speed_limit, vv_stall_timeout);
	TaskRetry(task, vv_max_tries, "too_slow", error, -1);
}

void
WatchCheck(Watch *watch, const Download *download, const Upload *upload)
{
	WatchClock *clock = &watch->clock;
	const Flow *flow = upload->flow;
	TimestampTz now = GetCurrentTimestamp();
	bool finishing = IsFinishing(flow, upload);
	/* after the last byte Storage still has work to do, more for a larger file */
	int patience = vv_stall_timeout * (finishing ? FINISHING_PATIENCE : 1);

	if (clock->moved != flow->received + flow->sent)
	{
		clock->moved = flow->received + flow->sent;
		clock->moved_at = now;
	}
	/* a download that waits for its turn at the host has not started */
	if (download->request && HttpIsWaiting(download->request))
		clock->moved_at = watch->pace.since = clock->started_at = now;
	if (TimestampDifferenceExceeds(clock->moved_at, now, patience * 1000))
		FailAsStalled(upload, patience);
	else if (IsTooSlow(&watch->pace, flow, now, finishing))
		FailAsSlow(upload->task);
	else if (TimestampDifferenceMilliseconds(clock->started_at, now) > (int64) vv_copy_timeout * 1000)
		TaskRetry(upload->task, vv_max_tries, "copy_timeout", "the copy took longer than vibevideo.copy_timeout", -1);
}

/* The latest measurement counts for half: neither jumpy nor stale. */
int64
WatchRate(Watch *watch, const Flow *flow, TimestampTz now)
{
	WatchSpeed *speed = &watch->speed;
	long ms = TimestampDifferenceMilliseconds(speed->measured_at, now);
	int64 since = speed->measured < 0 ? flow->stored : speed->measured;
	int64 rate;

	if (ms < MEASURE_MS)
		return speed->rate;
	rate = Max(flow->sent - since, 0) * 1000 / ms;
	speed->rate = speed->rate > 0 ? (speed->rate + rate) / 2 : rate;
	speed->measured = flow->sent;
	speed->measured_at = now;
	return speed->rate;
}
