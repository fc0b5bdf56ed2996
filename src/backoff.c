/*
 * backoff.c
 *	  Retry and poll schedules.
 */
#include "backoff.h"

int64_t
BackoffMs(int tries, int64_t base_ms, int64_t max_ms, int64_t floor_ms, double chance)
{
	int64_t ceiling = base_ms;
	int64_t wait;

	for (int i = 1; i < tries && ceiling < max_ms; i++)
		ceiling *= 2;
	if (ceiling > max_ms)
		ceiling = max_ms;
	wait = (int64_t) (chance * (double) ceiling);

	/* jitter on top of the server's Retry-After, else all that got it return at once */
	if (floor_ms >= 0)
		wait = floor_ms + wait / 10;
	return wait;
}

int64_t
PollDelayMs(int64_t age_ms, int64_t interval_ms, double chance)
{
	int64_t delay = age_ms / 10;

	if (delay < interval_ms)
		delay = interval_ms;
	if (delay > interval_ms * 6)
		delay = interval_ms * 6;
	return (int64_t) ((double) delay * (0.8 + 0.4 * chance));
}
