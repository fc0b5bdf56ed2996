/*
 * breaker.h
 *	  Circuit breaker: while a service is down, jobs wait instead of failing.
 *
 * Five consecutive failures open it for 2 s.  Then one request may start, the
 * probe, which blocks others for up to a minute.  If it fails the wait doubles,
 * up to 5 minutes; any good answer closes it.  Whoever cannot wait may hurry it,
 * once in 2 s.
 *
 * Pure: plain data, the caller supplies the time (ms, any epoch).
 */
#ifndef VIBEVIDEO_BREAKER_H
#define VIBEVIDEO_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define BREAKER_THRESHOLD 5 /* consecutive failures that open that of a service that does not answer */
#define BREAKER_FIRST_MS 2000
#define BREAKER_MAX_MS 300000

typedef struct Breaker
{
	int failures;  /* in a row */
	bool probing;  /* the one request that may probe is running */
	int64_t delay; /* while open, ms */
	int64_t until; /* no request before this; 0 while closed */
	int64_t opened_at;
	int64_t hurried_at; /* 0: never */
} Breaker;

/*
 * How many requests may start: all that are wanted while closed, none while
 * open, one when it is time to probe.
 */
extern int BreakerAllows(const Breaker *breaker, int64_t now, int wanted);
/* a request starts: while open it is the probe, and blocks others for a while */
extern void BreakerNoteStart(Breaker *breaker, int64_t now);
/* somebody asks for a request now: the next one may start at once, or as soon as it may be hurried again */
extern void BreakerHurry(Breaker *breaker, int64_t now);
/* how a request ended; threshold: so many failures in a row open it; true if it is open now */
extern bool BreakerReport(Breaker *breaker, bool success, int threshold, int64_t now);

#endif /* VIBEVIDEO_BREAKER_H */
