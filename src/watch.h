/*
 * watch.h
 *	  Whether a copy makes progress, and how fast.
 */
#ifndef VIBEVIDEO_WATCH_H
#define VIBEVIDEO_WATCH_H

#include "download.h"
#include "upload.h"

typedef struct WatchClock
{
	TimestampTz started_at;
	TimestampTz moved_at;
	int64 moved; /* received + sent at that time */
} WatchClock;

/* Where the copy was when the current measuring period began. */
typedef struct WatchPace
{
	TimestampTz since;
	int64 received;
	int64 sent;
} WatchPace;

typedef struct WatchSpeed
{
	TimestampTz measured_at;
	int64 measured; /* sent at that time, -1 at first */
	int64 rate;		/* recent bytes per second, 0 if unknown */
} WatchSpeed;

typedef struct Watch
{
	WatchClock clock;
	WatchPace pace;
	WatchSpeed speed;
} Watch;

extern void WatchInit(Watch *watch);
/* ends a copy that has stalled, is too slow or takes too long */
extern void WatchCheck(Watch *watch, const Download *download, const Upload *upload);
/* recent upload speed in bytes per second, 0 if unknown */
extern int64 WatchRate(Watch *watch, const Flow *flow, TimestampTz now);

#endif /* VIBEVIDEO_WATCH_H */
