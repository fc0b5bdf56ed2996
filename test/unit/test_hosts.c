/*
 * test_hosts.c
 *	  Hosts and addresses.
 */
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "hosts.h"

#define LIST "fal.media, *.fal.media ,storage.googleapis.com, http://127.0.0.1:9000, https://minio.local:8443, http://[::1]:9000"

static void
TestJudgeUrl(void)
{
	static const struct
	{
		const char *url;
		HostVerdict verdict;
	} cases[] = {
		{"https://fal.media/a.mp4", HOST_PUBLIC},
		{"https://v3b.fal.media/files/b/x.mp4", HOST_PUBLIC},
		{"https://a.b.fal.media/", HOST_PUBLIC},
		{"https://V3.FAL.media/", HOST_PUBLIC},
		{"HTTPS://fal.media", HOST_PUBLIC},
		{"https://fal.media./a", HOST_PUBLIC},
		{"https://fal.media:443/a", HOST_PUBLIC},
		{"https://fal.media/a?b=c#d", HOST_PUBLIC},
		{"https://storage.googleapis.com/falserverless/x.mp4", HOST_PUBLIC},
		{"http://127.0.0.1:9000/a.mp4", HOST_EXACT},
		{"https://minio.local:8443/x", HOST_EXACT},
		{"http://[::1]:9000/x", HOST_EXACT},
		{"http://0x7f.1:9000/a.mp4", HOST_EXACT}, /* the same, spelled oddly */

		{"http://fal.media/a.mp4", HOST_DENIED},
		{"https://fal.media:8443/", HOST_DENIED},
		{"https://evilfal.media/", HOST_DENIED},
		{"https://fal.media.evil.com/", HOST_DENIED},
		{"https://x.storage.googleapis.com/", HOST_DENIED},
		{"https://fal.media@evil.com/", HOST_DENIED},
		{"https://evil.com@fal.media/", HOST_DENIED},
		{"https://u:p@fal.media/", HOST_DENIED},
		{"https://evil.com#.fal.media/", HOST_DENIED},
		{"https://evil.com?.fal.media/", HOST_DENIED},
		{"https://evil.com\\.fal.media/", HOST_DENIED},
		{"https://evil.com/.fal.media/", HOST_DENIED},
		{"https://.fal.media/", HOST_DENIED},
		{"https://fal%2emedia.evil/", HOST_DENIED},
		{"https://127.0.0.1:9000/", HOST_DENIED},
		{"http://127.0.0.1/", HOST_DENIED},
		{"http://127.0.0.1:9001/", HOST_DENIED},
		{"http://minio.local:8443/x", HOST_DENIED},
		{"http://2130706433/", HOST_DENIED},
		{"http://[::1%25lo]:9000/", HOST_DENIED},
		{"file:///etc/passwd", HOST_DENIED},
		{"ftp://fal.media/", HOST_DENIED},
		{"gopher://fal.media/", HOST_DENIED},
		{"data:video/mp4;base64,AAAA", HOST_DENIED},
		{"fal.media/a.mp4", HOST_DENIED},
		{"//fal.media/a.mp4", HOST_DENIED},
		{"", HOST_DENIED},
		{"https://", HOST_DENIED},
		{"https:///", HOST_DENIED},
		{"https://fal.media:0x1bb/", HOST_DENIED},
		{"https://fal.media:99999/", HOST_DENIED},
		{"https://fal.media /", HOST_DENIED},
		{" https://fal.media/", HOST_DENIED},
		{"https://fal.m\303\251dia/", HOST_DENIED},
		{"https://fal.media\r\nHost: x/", HOST_DENIED},
	};
	char why[128];

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		CheckNumber("url", cases[i].url, HostsJudgeUrl(LIST, cases[i].url, why, sizeof(why)), cases[i].verdict);
		CheckNumber(cases[i].url, "has a reason", why[0] != '\0', cases[i].verdict == HOST_DENIED);
	}
	CheckNumber("url", "no reason wanted", HostsJudgeUrl(LIST, "https://x/", NULL, 0), HOST_DENIED);
	CheckNumber("url", "empty list", HostsJudgeUrl("", "https://fal.media/", NULL, 0), HOST_DENIED);
	CheckNumber("url", "broken entries are passed over", HostsJudgeUrl(",*,x y,fal.media", "https://fal.media/", NULL, 0), HOST_PUBLIC);
	CheckNumber("url", "exact wins", HostsJudgeUrl("fal.media,https://fal.media", "https://fal.media/", NULL, 0), HOST_EXACT);
}

static void
TestLists(void)
{
	static const struct
	{
		const char *list;
		bool valid;
	} cases[] = {
		{LIST, true},
		{"", true},
		{"  ", true},
		{"localhost", true},
		{"10.0.0.1", true},
		{"https://x", true},
		{"*.x", true},
		{"http://[fd00::1]:80", true},
		{"FAL.media.", true},
		{",", false},
		{"a,", false},
		{",a", false},
		{"a,,b", false},
		{"*", false},
		{"*.", false},
		{"*a.b", false},
		{"a.*", false},
		{"a:80", false},
		{"a b", false},
		{"a/b", false},
		{"https://x/y", false},
		{"https://x/", false},
		{"https://u@x", false},
		{"https://x?y", false},
		{"ftp://x", false},
		{"https://*.x", false},
		{"://x", false},
		{"https://", false},
		{"http://x:0x50", false},
		{".x", false},
		{"[]", false},
		{"\303\251.com", false},
		{"[::1", false},
	};
	char why[128];
	char long_list[1000];

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		CheckNumber("list", cases[i].list, HostsListIsValid(cases[i].list, why, sizeof(why)), cases[i].valid);
		CheckNumber(cases[i].list, "has a reason", why[0] != '\0', !cases[i].valid);
	}
	memset(long_list, 'a', sizeof(long_list));
	long_list[270] = '\0';
	CheckTrue("list", "name too long", !HostsListIsValid(long_list, why, sizeof(why)));
	long_list[270] = 'a';
	long_list[sizeof(long_list) - 1] = '\0';
	CheckTrue("list", "entry too long", !HostsListIsValid(long_list, NULL, 0));
}

/* an entry that names an origin, however the two are spelled */
static void
TestOrigins(void)
{
	static const struct
	{
		const char *entry;
		const char *url;
		HostVerdict verdict;
	} cases[] = {
		{"https://queue.fal.run", "https://queue.fal.run/x/y?z", HOST_EXACT},
		{"https://a", "https://A:443/", HOST_EXACT},
		{"https://A:443", "https://a/", HOST_EXACT},
		{"http://a:80", "http://a", HOST_EXACT},
		{"http://a", "http://a:80", HOST_EXACT},
		{"https://a.", "https://a", HOST_EXACT},
		{"https://a", "https://a./", HOST_EXACT},
		{"https://a", "http://a", HOST_DENIED},
		{"https://a", "https://b", HOST_DENIED},
		{"https://a", "https://a:444", HOST_DENIED},
		{"https://a", "https://u@a/", HOST_DENIED},
		{"https://a", "https://a.b/", HOST_DENIED},
		{"https://a.b", "https://a/", HOST_DENIED},
		{"ftp://a", "ftp://a", HOST_DENIED},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
		CheckNumber(cases[i].entry, cases[i].url, HostsJudgeUrl(cases[i].entry, cases[i].url, NULL, 0), cases[i].verdict);
}

static bool
AddressIsPublic(const char *text)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr_in v4 = {.sin_family = AF_INET};

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		return HostsAddressIsPublic((const struct sockaddr *) &v4);
	CheckNumber(text, "is an address", inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
	return HostsAddressIsPublic((const struct sockaddr *) &v6);
}

static void
TestAddresses(void)
{
	static const char *const public[] = {
		"1.1.1.1",
		"8.8.8.8",
		"9.255.255.255",
		"11.0.0.0",
		"100.63.255.255",
		"100.128.0.0",
		"126.255.255.255",
		"128.0.0.0",
		"169.253.255.255",
		"169.255.0.0",
		"172.15.255.255",
		"172.32.0.0",
		"192.0.1.0",
		"192.167.255.255",
		"192.169.0.0",
		"198.17.255.255",
		"198.20.0.0",
		"203.0.114.0",
		"223.255.255.255",
		"168.63.129.17",
		"2606:4700:4700::1111",
		"2001:4860:4860::8888",
		"2a00::1",
		"2400:cb00::1",
		"2001:200::1",
		"::ffff:8.8.8.8",
		"64:ff9b::8.8.8.8",
	};
	static const char *const special[] = {
		"0.0.0.0",
		"0.255.255.255",
		"10.0.0.1",
		"10.255.255.255",
		"100.64.0.0",
		"100.127.255.255",
		"127.0.0.1",
		"127.255.255.255",
		"169.254.169.254",
		"172.16.0.0",
		"172.31.255.255",
		"192.0.0.1",
		"192.0.2.1",
		"192.88.99.1",
		"192.168.0.1",
		"198.18.0.1",
		"198.19.255.255",
		"198.51.100.1",
		"203.0.113.1",
		"224.0.0.1",
		"239.255.255.255",
		"240.0.0.1",
		"255.255.255.255",
		"168.63.129.16",
		"::",
		"::1",
		"::127.0.0.1",
		"::8.8.8.8",
		"fe80::1",
		"febf::1",
		"fec0::1",
		"fc00::1",
		"fdff::1",
		"ff02::1",
		"100::1",
		"2001::1",
		"2001:2::1",
		"2001:10::1",
		"2001:20::1",
		"2001:1ff::1",
		"2001:db8::1",
		"2002:7f00:1::",
		"2002:808:808::1",
		"3fff::1",
		"3fff:fff::1",
		"4000::1",
		"5f00::1",
		"64:ff9b:1::8.8.8.8",
		"64:ff9b::1:8.8.8.8",
		"::ffff:127.0.0.1",
		"::ffff:10.0.0.1",
		"::ffff:169.254.169.254",
		"64:ff9b::127.0.0.1",
		"64:ff9b::10.0.0.1",
		"::fffe:8.8.8.8",
	};
	struct sockaddr_un local = {.sun_family = AF_UNIX};

	for (size_t i = 0; i < lengthof(public); i++)
		CheckTrue("address", public[i], AddressIsPublic(public[i]));
	for (size_t i = 0; i < lengthof(special); i++)
		CheckTrue("special address", special[i], !AddressIsPublic(special[i]));
	CheckTrue("special address", "unix", !HostsAddressIsPublic((const struct sockaddr *) &local));
}

static void
TestDeadEntries(void)
{
	static const struct
	{
		const char *list;
		const char *why; /* NULL: a video may come from each of them */
	} cases[] = {
		{"fal.media, *.fal.media, storage.googleapis.com", NULL},
		{"", NULL},
		{"*.com", NULL},
		{"1.1.1.1", NULL},
		{"[2606:4700:4700::1111]", NULL},
		{"http://127.0.0.1:9000, https://10.0.0.5, http://minio:9000, https://media.internal", NULL},
		{"localhost.example.com, internal.example.com, local.fal.media", NULL},
		{"10.0.0.5", "10.0.0.5: it is not a public address"},
		{"fal.media, 127.0.0.1", "127.0.0.1: it is not a public address"},
		{"fal.media,192.168.1.9 , 10.0.0.1", "192.168.1.9: it is not a public address"},
		{"169.254.169.254", "169.254.169.254: it is not a public address"},
		{"[::1]", "[::1]: it is not a public address"},
		{"[fd00::1]", "[fd00::1]: it is not a public address"},
		{"[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]: it is not a public address"},
		{"minio", "minio: no public host has such a name"},
		{"LOCALHOST", "LOCALHOST: no public host has such a name"},
		{"media.localhost", "media.localhost: no public host has such a name"},
		{"media.internal", "media.internal: no public host has such a name"},
		{"nas.local", "nas.local: no public host has such a name"},
		{"nas.home.arpa", "nas.home.arpa: no public host has such a name"},
		{"*.internal", "*.internal: no public host has such a name"},
		{"*.media.internal", "*.media.internal: no public host has such a name"},
	};
	static const struct
	{
		const char *url;
		bool bare;
	} urls[] = {
		{"http://kong:8000/storage/v1", true},
		{"http://KONG", true},
		{"http://kong.", true},
		{"http://localhost:8000", false},
		{"http://127.0.0.1:8000", false},
		{"http://[::1]:8000", false},
		{"https://files.example.org/storage/v1", false},
		{"ftp://kong", false},
		{"", false},
	};
	char why[100];

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		CheckTrue(cases[i].list, "is valid", HostsListIsValid(cases[i].list, why, sizeof(why)));
		CheckNumber(cases[i].list, "has a dead entry", HostsListHasDeadEntry(cases[i].list, why, sizeof(why)), cases[i].why != NULL);
		CheckText(cases[i].list, "why", why, cases[i].why != NULL ? cases[i].why : "");
	}
	for (size_t i = 0; i < lengthof(urls); i++)
		CheckNumber(urls[i].url, "has a bare name", HostsIsBareName(urls[i].url), urls[i].bare);
}

static void
TestRedirects(void)
{
	static const struct
	{
		const char *from;
		const char *location;
		const char *to; /* NULL: refused */
	} cases[] = {
		{"https://a/b/c", "https://d/e", "https://d/e"},
		{"https://a/b/c", "/x", "https://a/x"},
		{"https://a/b/c", "x?y", "https://a/b/x?y"},
		{"https://a/b/c", "../x", "https://a/x"},
		{"https://a/b", "//d/e", "https://d/e"},
		{"https://a/b", "?q", "https://a/b?q"},
		{"https://a/b", "x y", "https://a/x%20y"},
		{"https://a/b", "/x#frag", "https://a/x"},
		{"https://a/b", "http://a/b", "http://a/b"},
		{"https://a/b", "ftp://a/b", NULL},
		{"https://a/b", "file:///etc/passwd", NULL},
		{"https://a/b", "javascript:alert(1)", NULL},
		{"https://a/b", "https://u:p@d/", NULL},
		{"https://a/b", "", NULL},
		{"https://a/b", "https://", NULL},
		{"ftp://a/b", "/x", NULL},
		{"x", "/x", NULL},
		{"https://a/b", "https://d/\r\nx", NULL},
	};
	char out[64];

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		bool resolved = HostsResolveRedirect(cases[i].from, cases[i].location, out, sizeof(out));

		CheckNumber("redirect", cases[i].location, resolved, cases[i].to != NULL);
		if (resolved && cases[i].to != NULL)
			CheckText("redirect", cases[i].location, out, cases[i].to);
	}
	CheckTrue("redirect", "just fits", HostsResolveRedirect("https://a/", "/bcd", out, sizeof("https://a/bcd")));
	CheckTrue("redirect", "does not fit", !HostsResolveRedirect("https://a/", "/bcd", out, sizeof("https://a/bcd") - 1));
}

void
TestHosts(void)
{
	TestJudgeUrl();
	TestLists();
	TestOrigins();
	TestAddresses();
	TestDeadEntries();
	TestRedirects();
}
