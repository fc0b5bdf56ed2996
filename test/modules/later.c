/*
 * later.c
 *	  For LD_PRELOAD in tests: the clock is so many seconds ahead as VIBETEST_LATER says.
 *
 * libfaketime does not do for PostgreSQL 15: its postmaster forks in a signal handler
 * while it is in select(), where that library has no effect, also not for the child.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long ahead;

/* the environment may be moved away later */
__attribute__((constructor)) static void
ReadAhead(void)
{
	const char *seconds = getenv("VIBETEST_LATER");

	ahead = seconds ? atoll(seconds) : 0;
}

int
clock_gettime(clockid_t clock, struct timespec *out)
{
	int result = (int) syscall(SYS_clock_gettime, clock, out);

	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		out->tv_sec += ahead;
	return result;
}

int
gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	struct timespec now;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &now);
	out->tv_sec = now.tv_sec;
	out->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *out)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (out)
		*out = now.tv_sec;
	return now.tv_sec;
}
