/*
 * test_backoff.c
 *	  When to try again, as a table.
 */
#include "backoff.h"
#include "check.h"

static const struct
{
	const char *name;
	int tries;
	int64_t base;
	int64_t max;
	int64_t floor;
	double chance;
	int64_t wanted;
} backoffs[] =
	{
		{"first, least", 1, 2000, 600000, -1, 0.0, 0},
		{"first, half", 1, 2000, 600000, -1, 0.5, 1000},
		{"first, most", 1, 2000, 600000, -1, 0.9999999, 1999},
		{"second doubles", 2, 2000, 600000, -1, 0.5, 2000},
		{"third doubles again", 3, 2000, 600000, -1, 0.5, 4000},
		{"ninth", 9, 2000, 600000, -1, 0.5, 256000},
		{"the last below the limit", 9, 2000, 512000, -1, 0.5, 256000},
		{"tenth is limited", 10, 2000, 600000, -1, 0.5, 300000},
		{"base above the limit", 1, 5000, 1000, -1, 0.5, 500},
		{"no try yet counts as the first", 0, 2000, 600000, -1, 0.5, 1000},
		{"negative tries as well", -5, 2000, 600000, -1, 0.5, 1000},
		{"many tries do not overflow", 1000000, 2000, 600000, -1, 0.5, 300000},
		{"nor do wide limits", 1000000, 600000, 86400000, -1, 0.5, 43200000},
		{"smallest base", 1, 10, 600000, -1, 0.5, 5},
		{"what the server asked for is kept", 1, 2000, 600000, 30000, 0.0, 30000},
		{"with a tenth of jitter on top", 1, 2000, 600000, 30000, 0.5, 30100},
		{"of the doubled base", 5, 2000, 600000, 30000, 0.5, 31600},
		{"zero is an answer, too", 1, 2000, 600000, 0, 0.5, 100},
		{"the limit does not undercut the server", 10, 2000, 60000, 3600000, 0.0, 3600000},
};

static const struct
{
	const char *name;
	int64_t age;
	int64_t interval;
	double chance;
	int64_t wanted;
} polls[] =
	{
		{"a new job at the interval", 0, 10000, 0.5, 10000},
		{"20 % less", 0, 10000, 0.0, 8000},
		{"nearly 20 % more", 0, 10000, 0.99999, 11999},
		{"still the interval", 100000, 10000, 0.5, 10000},
		{"grows with the age", 300000, 10000, 0.5, 30000},
		{"to six times", 600000, 10000, 0.5, 60000},
		{"and no more", 86400000, 10000, 0.5, 60000},
		{"nor with jitter", 86400000, 10000, 0.99999, 71999},
		{"a clock that went back", -5000, 10000, 0.5, 10000},
		{"short interval", 0, 1000, 0.5, 1000},
		{"long interval", 86400000, 3600000, 0.5, 8640000},
		{"oldest, longest", INT64_MAX / 2, 3600000, 0.5, 21600000},
};

static void
TestBackoffProperties(void)
{
	for (int tries = 1; tries < 70; tries++)
	{
		int64_t last = -1;

		for (int percent = 0; percent < 100; percent++)
		{
			int64_t wait = BackoffMs(tries, 2000, 600000, -1, percent / 100.0);
			int64_t asked = BackoffMs(tries, 2000, 600000, 5000, percent / 100.0);

			CheckTrue("backoff", "is never negative nor above the limit", wait >= 0 && wait <= 600000);
			CheckTrue("backoff", "grows with the chance", wait >= last);
			CheckTrue("backoff", "never undercuts the server", asked >= 5000 && asked <= 5000 + 60000);
			last = wait;
		}
		CheckTrue("backoff", "the most is never less than one try before",
				  BackoffMs(tries + 1, 2000, 600000, -1, 0.99) >= BackoffMs(tries, 2000, 600000, -1, 0.99));
	}
}

void
TestBackoff(void)
{
	for (size_t i = 0; i < lengthof(backoffs); i++)
		CheckNumber(backoffs[i].name, "the wait",
					BackoffMs(backoffs[i].tries, backoffs[i].base, backoffs[i].max, backoffs[i].floor, backoffs[i].chance),
					backoffs[i].wanted);
	for (size_t i = 0; i < lengthof(polls); i++)
		CheckNumber(polls[i].name, "the poll's delay",
					PollDelayMs(polls[i].age, polls[i].interval, polls[i].chance), polls[i].wanted);
	TestBackoffProperties();
}
