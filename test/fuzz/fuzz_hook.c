/*
 * fuzz_hook.c
 *	  Any response to a call of the webhook's own URL.
 */
#include "fuzz.h"

#include "hook.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	HttpReply reply;
	HookReport report;
	char *text = CopyInput(data, size);
	char shown[64];

	ReadReply(data, size, &reply);
	HookJudge(&reply, size % 2 ? "https://a.example/" : "http://a.example/", &report);
	MustBeClean(report.detail, sizeof(report.detail));
	MUST((report.hint == NULL) == (report.verdict == HOOK_OURS));
	MUST(report.verdict != HOOK_OURS || reply.outcome == HTTP_ANSWERED);
	free((void *) reply.body);

	(void) HookCheckNumber(text);
	HookShowUrl(text, shown, sizeof(shown));
	MUST(strpbrk(shown, "?#") == NULL);
	free(text);
	return 0;
}
