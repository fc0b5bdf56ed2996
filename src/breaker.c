/*
 * breaker.c
 *	  Circuit breaker.
 */
#include "breaker.h"

/* a probe that never reports must not keep it open forever */
#define PROBE_MS 60000

int
BreakerAllows(const Breaker *breaker, int64_t now, int wanted)
{
	if (breaker->until == 0)
		return wanted;
	if (now < breaker->until)
		return 0;
	return wanted < 1 ? wanted : 1;
}

void
BreakerNoteStart(Breaker *breaker, int64_t now)
{
	if (breaker->until == 0)
		return;
	breaker->probing = true;
	breaker->until = now + PROBE_MS;
}

void
BreakerHurry(Breaker *breaker, int64_t now)
{
	int64_t at = now;

	if (breaker->until <= now || breaker->probing)
		return;
	if (breaker->hurried_at != 0 && breaker->hurried_at + BREAKER_FIRST_MS > now)
		at = breaker->hurried_at + BREAKER_FIRST_MS;
	if (at >= breaker->until)
		return;
	breaker->hurried_at = breaker->until = at;
}

bool
BreakerReport(Breaker *breaker, bool success, int threshold, int64_t now)
{
	if (success)
	{
		*breaker = (Breaker){0};
		return false;
	}
	breaker->failures++;
	if (breaker->until != 0)
	{
		/* requests that were running when it opened say nothing new */
		if (!breaker->probing)
			return true;
		breaker->delay *= 2;
		if (breaker->delay > BREAKER_MAX_MS)
			breaker->delay = BREAKER_MAX_MS;
	}
	else
	{
		if (breaker->failures < threshold)
			return false;
		breaker->delay = BREAKER_FIRST_MS;
		breaker->opened_at = now;
	}
	breaker->probing = false;
	breaker->until = now + breaker->delay;
	return true;
}
