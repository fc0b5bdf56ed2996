/*
 * watch.h
 *	  Whether a copy moves, and how fast.
 */
#ifndef VIBEVIDEO_WATCH_H
#define VIBEVIDEO_WATCH_H

#include "download.h"
#include "upload.h"

typedef struct WatchClock
{
	TimestampTz started_at;
	TimestampTz moved_at;
	int64 moved; /* received + sent, then */
} WatchClock;

/* How much there was when the time began in which it has to be fast enough. */
typedef struct WatchPace
{
	TimestampTz since;
	int64 received;
	int64 sent;
} WatchPace;

typedef struct WatchSpeed
{
	TimestampTz measured_at;
	int64 measured; /* sent by then, -1 at first */
	int64 rate;		/* bytes a second of late, 0 unknown */
} WatchSpeed;

typedef struct Watch
{
	WatchClock clock;
	WatchPace pace;
	WatchSpeed speed;
} Watch;

extern void WatchInit(Watch *watch);
/* a copy that stands still, is too slow or takes too long is over */
extern void WatchCheck(Watch *watch, const Download *download, const Upload *upload);
/* bytes a second that go out of late, 0 unknown */
extern int64 WatchRate(Watch *watch, const Flow *flow, TimestampTz now);

#endif /* VIBEVIDEO_WATCH_H */
