/*
 * resolver.c
 *	  For LD_PRELOAD in tests: hosts whose name ends in held.test are 127.0.0.1, but
 *	  not found while the file named by VIBETEST_HOLD exists.  Each lookup writes a line into
 *	  that named by VIBETEST_LOOKUPS: who looks it up, and with which signals.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (*Lookup)(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result);

/* all but those that cannot be blocked, and the C library's own */
static int
SignalsAreBlocked(void)
{
	sigset_t set;

	pthread_sigmask(SIG_BLOCK, NULL, &set);
	for (int number = 1; number < 32; number++)
		if (number != SIGKILL && number != SIGSTOP && !sigismember(&set, number))
			return 0;
	return 1;
}

static void
Note(void)
{
	FILE *file = fopen(getenv("VIBETEST_LOOKUPS"), "a");

	if (file == NULL)
		return;
	fprintf(file, "%s, signals %s\n", gettid() == getpid() ? "process" : "thread",
			SignalsAreBlocked() ? "blocked" : "open");
	fclose(file);
}

int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	Lookup real = (Lookup) dlsym(RTLD_NEXT, "getaddrinfo");

	if (node && strlen(node) >= 9 && strcmp(node + strlen(node) - 9, "held.test") == 0)
	{
		Note();
		while (access(getenv("VIBETEST_HOLD"), F_OK) == 0)
			(void) poll(NULL, 0, 20);
		node = "127.0.0.1";
	}
	return real(node, service, hints, result);
}
