/*
 * fuzz_hosts.c
 *	  An input is three lines: a host list, a URL and a Location; what follows
 *	  is an address.
 */
#include "fuzz.h"

#include <netinet/in.h>

#include "hosts.h"

#define FIXED_LIST "fal.media, *.fal.media, http://127.0.0.1:9000"

static void
JudgeUrls(const char *list, const char *url)
{
	char why[64];
	HostVerdict verdict;

	if (!HostsListIsValid(list, why, sizeof(why)))
		MUST(why[0] != '\0');
	MUST(HostsListHasDeadEntry(list, why, sizeof(why)) == (why[0] != '\0'));
	(void) HostsIsBareName(url);
	(void) HostsJudgeUrl(list, url, why, sizeof(why));

	verdict = HostsJudgeUrl(FIXED_LIST, url, why, sizeof(why));
	MUST((verdict == HOST_DENIED) == (why[0] != '\0'));
	if (verdict == HOST_EXACT)
		MUST(strncasecmp(url, "http:", 5) == 0);
	if (verdict == HOST_PUBLIC)
		MUST(strncasecmp(url, "https:", 6) == 0);
}

static void
Redirect(const char *from, const char *location)
{
	char to[512];
	char why[64];

	if (!HostsResolveRedirect(from, location, to, sizeof(to)))
		return;
	MUST(strlen(to) < sizeof(to));
	MUST(strchr(to, '#') == NULL);
	/* an http or https URL without credentials, or there would be another reason */
	MUST(HostsJudgeUrl("", to, why, sizeof(why)) == HOST_DENIED);
	MUST(strncmp(why, "the host is not in ", strlen("the host is not in ")) == 0);
}

static void
JudgeAddress(const char *bytes, size_t len)
{
	struct sockaddr_storage address;

	memset(&address, 0, sizeof(address));
	memcpy(&address, bytes, Min(len, sizeof(address)));
	address.ss_family = len % 2 == 0 ? AF_INET : AF_INET6;
	(void) HostsAddressIsPublic((struct sockaddr *) &address);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = CopyInput(data, size);
	char *rest = text;
	const char *list = TakeLine(&rest);
	const char *url = TakeLine(&rest);
	const char *location = TakeLine(&rest);

	JudgeUrls(list, url);
	Redirect(url, location);
	JudgeAddress(rest, size - Min((size_t) (rest - text), size));
	free(text);
	return 0;
}
