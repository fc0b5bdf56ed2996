/*
 * backoff.h
 *	  When to try again.  Pure: the caller supplies time and randomness.
 *
 * The bounds are backoff_base and backoff_max; a Retry-After gets up to a tenth of
 * the computed wait on top.  A poll is due after a tenth of the job's age.
 */
#ifndef VIBEVIDEO_BACKOFF_H
#define VIBEVIDEO_BACKOFF_H

#include <stdint.h>

/*
 * Milliseconds to wait before try number tries + 1 (tries have failed so far,
 * at least 1), with full jitter: anything from 0 to the base, doubled for each
 * try, so that jobs that failed together are not retried together.  floor_ms
 * is what the server asked for (Retry-After), -1 if nothing; the wait is never
 * shorter. chance is uniform in [0, 1).
 */
extern int64_t BackoffMs(int tries, int64_t base_ms, int64_t max_ms, int64_t floor_ms, double chance);

/*
 * Milliseconds until an active job is polled again: interval at first, growing
 * with its age to six times that, +-20 %.
 */
extern int64_t PollDelayMs(int64_t age_ms, int64_t interval_ms, double chance);

#endif /* VIBEVIDEO_BACKOFF_H */
