/*
 * test_breaker.c
 *	  The circuit breaker, as a story told step by step.
 */
#include "breaker.h"
#include "check.h"

typedef enum Act
{
	START, /* a request starts */
	GOOD,  /* one ends well */
	BAD,   /* one fails */
	HURRY, /* somebody asks for a probe */
	LOOK   /* nothing happens */
} Act;

typedef struct Step
{
	int64_t at;
	Act act;
	int times;
	bool open;	/* after it (BAD and GOOD tell) */
	int allows; /* of 10 wanted, at that moment */
} Step;

static const struct
{
	const char *name;
	Step steps[12];
} stories[] =
	{
		{"closed lets everything through", {{0, LOOK, 1, false, 10}, {0, START, 10, false, 10}, {5, GOOD, 10, false, 10}}},
		{"failures below the threshold", {{0, BAD, BREAKER_THRESHOLD - 1, false, 10}}},
		{"a success starts the count afresh", {{0, BAD, BREAKER_THRESHOLD - 1, false, 10}, {1, GOOD, 1, false, 10}, {2, BAD, BREAKER_THRESHOLD - 1, false, 10}, {3, BAD, 1, true, 0}}},
		{"opens, waits, lets one probe", {{1000, BAD, BREAKER_THRESHOLD, true, 0}, {1000 + BREAKER_FIRST_MS - 1, LOOK, 1, true, 0}, {1000 + BREAKER_FIRST_MS, LOOK, 1, true, 1}, {1000 + BREAKER_FIRST_MS, START, 1, true, 0}, {1000 + BREAKER_FIRST_MS + 50, GOOD, 1, false, 10}}},
		{"what was under way when it opened tells nothing", {{0, BAD, BREAKER_THRESHOLD, true, 0}, {10, BAD, 50, true, 0}, {BREAKER_FIRST_MS, LOOK, 1, true, 1}}},
		{"a failed probe doubles the wait", {{0, BAD, BREAKER_THRESHOLD, true, 0}, {2000, START, 1, true, 0}, {2100, BAD, 1, true, 0}, {2100 + 2 * BREAKER_FIRST_MS - 1, LOOK, 1, true, 0}, {2100 + 2 * BREAKER_FIRST_MS, LOOK, 1, true, 1}, {6100, START, 1, true, 0}, {6200, BAD, 1, true, 0}, {6200 + 4 * BREAKER_FIRST_MS - 1, LOOK, 1, true, 0}, {6200 + 4 * BREAKER_FIRST_MS, LOOK, 1, true, 1}}},
		{"a probe that never reports does not keep it open", {{0, BAD, BREAKER_THRESHOLD, true, 0}, {2000, START, 1, true, 0}, {2000 + 59999, LOOK, 1, true, 0}, {2000 + 60000, LOOK, 1, true, 1}}},
		{"hurried, it lets a probe through at once", {{1000, BAD, BREAKER_THRESHOLD, true, 0}, {1001, HURRY, 1, true, 1}, {1002, START, 1, true, 0}, {1003, GOOD, 1, false, 10}}},
		{"a probe that was hurried is the only one", {{1000, BAD, BREAKER_THRESHOLD, true, 0}, {1001, HURRY, 1, true, 1}, {1002, START, 1, true, 0}, {1003, HURRY, 1, true, 0}, {4000, HURRY, 1, true, 0}}},
		{"it is hurried once in two seconds", {{1000, BAD, BREAKER_THRESHOLD, true, 0}, {1001, HURRY, 1, true, 1}, {1002, START, 1, true, 0}, {1003, BAD, 1, true, 0}, {1004, HURRY, 9, true, 0}, {1000 + BREAKER_FIRST_MS, LOOK, 1, true, 0}, {1001 + BREAKER_FIRST_MS, LOOK, 1, true, 1}}},
		{"to hurry one that is closed changes nothing", {{1000, HURRY, 9, false, 10}, {1001, BAD, BREAKER_THRESHOLD, true, 0}}},
		{"to hurry never delays", {{1000, BAD, BREAKER_THRESHOLD, true, 0}, {1000 + BREAKER_FIRST_MS - 1, HURRY, 1, true, 1}, {1000 + BREAKER_FIRST_MS, HURRY, 1, true, 1}, {1000 + BREAKER_FIRST_MS, LOOK, 1, true, 1}}},
		{"an early success closes it at once", {{0, BAD, BREAKER_THRESHOLD, true, 0}, {100, GOOD, 1, false, 10}, {200, BAD, BREAKER_THRESHOLD - 1, false, 10}, {300, BAD, 1, true, 0}, {300 + BREAKER_FIRST_MS, LOOK, 1, true, 1}}},
};

static void
Tell(const char *name, const Step *steps)
{
	Breaker breaker = {0};

	for (const Step *step = steps; step->times > 0; step++)
	{
		bool open = breaker.until != 0;

		for (int i = 0; i < step->times; i++)
			switch (step->act)
			{
				case START:
					BreakerNoteStart(&breaker, step->at);
					break;
				case GOOD:
					open = BreakerReport(&breaker, true, BREAKER_THRESHOLD, step->at);
					break;
				case BAD:
					open = BreakerReport(&breaker, false, BREAKER_THRESHOLD, step->at);
					break;
				case HURRY:
					BreakerHurry(&breaker, step->at);
					break;
				case LOOK:
					break;
			}
		CheckNumber(name, "open", open, step->open);
		CheckNumber(name, "requests allowed", BreakerAllows(&breaker, step->at, 10), step->allows);
		CheckNumber(name, "requests allowed of none", BreakerAllows(&breaker, step->at, 0), 0);
	}
}

/* Down for a day: the waits grow to the limit and stay there. */
static void
TestLongOutage(void)
{
	Breaker breaker = {0};
	int64_t now = 0;
	int64_t wait = 0;

	for (int i = 0; i < BREAKER_THRESHOLD; i++)
		BreakerReport(&breaker, false, BREAKER_THRESHOLD, now);
	for (int probes = 0; probes < 300; probes++)
	{
		int64_t last = wait;

		wait = breaker.until - now;
		CheckTrue("long outage", "waits grow and are limited", wait >= last && wait <= BREAKER_MAX_MS);
		now = breaker.until;
		CheckNumber("long outage", "one probe", BreakerAllows(&breaker, now, 10), 1);
		BreakerNoteStart(&breaker, now);
		BreakerReport(&breaker, false, BREAKER_THRESHOLD, now);
	}
	CheckNumber("long outage", "the last wait", wait, BREAKER_MAX_MS);
	BreakerNoteStart(&breaker, breaker.until);
	CheckTrue("long outage", "one success ends it", !BreakerReport(&breaker, true, BREAKER_THRESHOLD, now));
	CheckNumber("long outage", "everything is allowed", BreakerAllows(&breaker, now, 10), 10);
}

/* What a single refusal is enough for. */
static void
TestThreshold(void)
{
	Breaker breaker = {0};

	CheckTrue("threshold of one", "it opens at once", BreakerReport(&breaker, false, 1, 1000));
	CheckTrue("threshold of one", "others that were under way change nothing", BreakerReport(&breaker, false, 1, 1001));
	CheckNumber("threshold of one", "its wait", breaker.until, 1000 + BREAKER_FIRST_MS);
	CheckTrue("threshold of one", "and a success closes it", !BreakerReport(&breaker, true, 1, 1002));
	CheckNumber("threshold of one", "everything is allowed", BreakerAllows(&breaker, 1003, 10), 10);
}

void
TestBreaker(void)
{
	for (size_t i = 0; i < lengthof(stories); i++)
		Tell(stories[i].name, stories[i].steps);
	TestLongOutage();
	TestThreshold();
}
