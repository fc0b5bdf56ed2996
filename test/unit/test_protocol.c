/*
 * test_protocol.c
 *	  The pure files, tested as an ordinary program.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed = 0;
static int failed = 0;

static bool
Count(bool ok)
{
	if (ok)
		passed++;
	else
		failed++;
	return ok;
}

void
CheckTrue(const char *name, const char *what, bool got)
{
	if (!Count(got))
		printf("FAILED %s: %s\n", name, what);
}

void
CheckNumber(const char *name, const char *what, int64_t got, int64_t wanted)
{
	if (!Count(got == wanted))
		printf("FAILED %s: %s is %lld, wanted %lld\n", name, what, (long long) got, (long long) wanted);
}

void
CheckText(const char *name, const char *what, const char *got, const char *wanted)
{
	if (!Count(strcmp(got, wanted) == 0))
		printf("FAILED %s: %s is \"%s\", wanted \"%s\"\n", name, what, got, wanted);
}

void
CheckPart(const char *name, const char *what, const char *got, const char *wanted)
{
	if (!Count(strstr(got, wanted) != NULL))
		printf("FAILED %s: %s is \"%s\", wanted \"%s\" in it\n", name, what, got, wanted);
}

int
main(void)
{
	TestJson();
	TestWire();
	TestFal();
	TestOutput();
	TestObjection();
	TestStorage();
	TestHosts();
	TestHook();
	TestJobStates();
	TestBackoff();
	TestBreaker();
	TestKind();
	TestTrack();
	TestContainer();
	TestMedia();
	TestRing();
	TestFlow();
	TestPoller();
	TestSignature();
	printf("%d passed, %d failed\n", passed, failed);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
