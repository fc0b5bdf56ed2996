/*
 * hosts.c
 *	  Where a video may come from, and which addresses are public.
 *
 * URLs are split by libcurl, which also fetches them: such filters are
 * bypassed where two parsers read one URL differently.  libcurl turns odd
 * spellings of IPv4 addresses (0x7f.1, 2130706433) into the usual one before
 * we look, and the address that a name resolves to is judged where the socket
 * is opened.
 */
#include "hosts.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

/* a DNS name has at most 253 characters (RFC 1035 3.1) */
#define HOST_SIZE 256

/* longest sensible entry: scheme, name, port */
#define ENTRY_SIZE 300

/*----------
 * URLs
 *----------
 */

typedef struct Origin
{
	char scheme[8];
	char host[HOST_SIZE]; /* lower case, no trailing dot; IPv6 in brackets */
	char port[6];
} Origin;

static bool
CopyLower(char *out, size_t size, const char *text)
{
	size_t len = strlen(text);

	if (len >= size)
		return false;
	for (size_t i = 0; i <= len; i++)
		out[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char) (text[i] + 32) : text[i];
	return true;
}

/* one part of a URL in lower case; false when it is absent or too long */
static bool
GetPart(CURLU *url, CURLUPart part, unsigned int flags, char *out, size_t size)
{
	char *text = NULL;
	bool found = curl_url_get(url, part, &text, flags) == CURLUE_OK && text != NULL;
	bool copied = found && CopyLower(out, size, text);

	curl_free(text);
	return copied;
}

static bool
UrlHas(CURLU *url, CURLUPart part)
{
	char *text = NULL;
	bool found = curl_url_get(url, part, &text, 0) == CURLUE_OK && text != NULL;

	curl_free(text);
	return found;
}

static CURLU *
ParseUrl(const char *text)
{
	CURLU *url = curl_url();

	if (url != NULL && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK)
		return url;
	curl_url_cleanup(url);
	return NULL;
}

/* a DNS name, an IPv4 address or a bracketed IPv6 address */
static bool
HostIsPlain(const char *host)
{
	size_t len = strlen(host);

	if (host[0] == '[')
		return len > 2 && strspn(host + 1, DIGITS "abcdef:.") == len - 2 && host[len - 1] == ']';
	return len > 0 && host[0] != '.' && strspn(host, LOWER DIGITS ".-_") == len;
}

/* NULL on success, else what is wrong with it */
static const char *
ReadOrigin(CURLU *url, Origin *origin)
{
	size_t len;

	if (!GetPart(url, CURLUPART_SCHEME, 0, origin->scheme, sizeof(origin->scheme)) ||
		(strcmp(origin->scheme, "https") != 0 && strcmp(origin->scheme, "http") != 0))
		return "the scheme is neither https nor http";
	if (UrlHas(url, CURLUPART_USER) || UrlHas(url, CURLUPART_PASSWORD))
		return "it contains credentials";
	if (UrlHas(url, CURLUPART_ZONEID) ||
		!GetPart(url, CURLUPART_HOST, 0, origin->host, sizeof(origin->host)))
		return "the host is invalid";
	if (!GetPart(url, CURLUPART_PORT, CURLU_DEFAULT_PORT, origin->port, sizeof(origin->port)))
		return "the port is invalid";

	/* "host." is the same name, written as fully qualified */
	len = strlen(origin->host);
	if (len > 1 && origin->host[len - 1] == '.')
		origin->host[len - 1] = '\0';
	return HostIsPlain(origin->host) ? NULL : "the host is invalid";
}

static const char *
ParseOrigin(const char *text, Origin *origin)
{
	CURLU *url = ParseUrl(text);
	const char *wrong = url != NULL ? ReadOrigin(url, origin) : "it is not a URL";

	curl_url_cleanup(url);
	return wrong;
}

static bool
OriginsAreEqual(const Origin *a, const Origin *b)
{
	return strcmp(a->scheme, b->scheme) == 0 && strcmp(a->host, b->host) == 0 &&
		strcmp(a->port, b->port) == 0;
}

static bool
OriginIsPublicHttps(const Origin *origin)
{
	return strcmp(origin->scheme, "https") == 0 && strcmp(origin->port, "443") == 0;
}

/*----------
 * The list
 *----------
 */

typedef enum EntryKind
{
	ENTRY_HOST,	 /* name: this host */
	ENTRY_BELOW, /* name: ".domain", hosts with this ending */
	ENTRY_ORIGIN
} EntryKind;

typedef struct Entry
{
	EntryKind kind;
	char name[HOST_SIZE];
	Origin origin;
} Entry;

/* the next entry's text, without surrounding blanks; false at the end of the list */
static bool
NextEntry(const char **list, char *out, size_t size, bool *fits)
{
	static const char blank[] = " \t\r\n";
	const char *start;
	size_t len;

	if (*list == NULL)
		return false;
	start = *list + strspn(*list, blank);
	len = strcspn(start, ",");
	*list = start[len] == ',' ? start + len + 1 : NULL;
	while (len > 0 && strchr(blank, start[len - 1]) != NULL)
		len--;

	*fits = len < size;
	if (*fits)
	{
		memcpy(out, start, len);
		out[len] = '\0';
	}
	return true;
}

/* scheme://host:port and nothing else, since anything else would be ignored */
static const char *
ReadOriginEntry(const char *text, Origin *origin)
{
	const char *host = strstr(text, "://") + 3;

	if (strpbrk(host, "/?#") != NULL)
		return "nothing may follow the host and port";
	return ParseOrigin(text, origin);
}

/* NULL on success, else what is wrong with it */
static const char *
ReadEntry(const char *text, Entry *entry)
{
	size_t len;

	if (text[0] == '\0')
		return "an entry is empty";
	if (strstr(text, "://") != NULL)
	{
		entry->kind = ENTRY_ORIGIN;
		return ReadOriginEntry(text, &entry->origin);
	}

	entry->kind = strncmp(text, "*.", 2) == 0 ? ENTRY_BELOW : ENTRY_HOST;
	if (!CopyLower(entry->name, sizeof(entry->name), entry->kind == ENTRY_BELOW ? text + 1 : text))
		return "the name is too long";
	len = strlen(entry->name);
	if (len > 1 && entry->name[len - 1] == '.')
		entry->name[len - 1] = '\0';
	if (!HostIsPlain(entry->kind == ENTRY_BELOW ? entry->name + 1 : entry->name))
		return "it is not a host, *.domain or scheme://host:port";
	return NULL;
}

static bool
EndsWith(const char *text, const char *suffix)
{
	size_t len = strlen(text);
	size_t suffix_len = strlen(suffix);

	return len > suffix_len && strcmp(text + len - suffix_len, suffix) == 0;
}

static bool
EntryMatches(const Entry *entry, const Origin *origin)
{
	switch (entry->kind)
	{
		case ENTRY_HOST:
			return strcmp(entry->name, origin->host) == 0;
		case ENTRY_BELOW:
			return EndsWith(origin->host, entry->name);
		case ENTRY_ORIGIN:
			return OriginsAreEqual(&entry->origin, origin);
	}
	return false;
}

static void
Explain(char *why, size_t why_size, const char *what, const char *detail)
{
	if (why != NULL && why_size > 0)
		(void) snprintf(why, why_size, "%s%s%s", what, detail != NULL ? ": " : "",
						detail != NULL ? detail : "");
}

HostVerdict
HostsJudgeUrl(const char *list, const char *url, char *why, size_t why_size)
{
	Origin origin;
	const char *wrong = ParseOrigin(url, &origin);
	char text[ENTRY_SIZE];
	bool fits;
	bool listed = false;

	Explain(why, why_size, "", NULL);
	if (wrong != NULL)
	{
		Explain(why, why_size, wrong, NULL);
		return HOST_DENIED;
	}

	while (NextEntry(&list, text, sizeof(text), &fits))
	{
		Entry entry;

		if (!fits || ReadEntry(text, &entry) != NULL || !EntryMatches(&entry, &origin))
			continue;
		if (entry.kind == ENTRY_ORIGIN)
			return HOST_EXACT;
		listed = true;
	}

	if (!listed)
		Explain(why, why_size, "the host is not in vibevideo.media_hosts", origin.host);
	else if (!OriginIsPublicHttps(&origin))
		Explain(why, why_size, "only https on port 443 is allowed for this host", origin.host);
	else
		return HOST_PUBLIC;
	return HOST_DENIED;
}

bool
HostsListIsValid(const char *list, char *why, size_t why_size)
{
	char text[ENTRY_SIZE];
	bool fits;

	Explain(why, why_size, "", NULL);
	if (list[strspn(list, " \t\r\n")] == '\0')
		return true; /* nothing is allowed */

	while (NextEntry(&list, text, sizeof(text), &fits))
	{
		Entry entry;
		const char *wrong = fits ? ReadEntry(text, &entry) : "an entry is too long";

		if (wrong == NULL)
			continue;
		Explain(why, why_size, wrong, fits && text[0] != '\0' ? text : NULL);
		return false;
	}
	return true;
}

/* Newer libcurl encodes them, older rejects them: no valid Location has them. */
static bool
HasControls(const char *text)
{
	for (; *text; text++)
		if ((unsigned char) *text < ' ' || *text == 0x7f)
			return true;
	return false;
}

bool
HostsResolveRedirect(const char *from, const char *location, char *out, size_t size)
{
	CURLU *url = ParseUrl(from);
	Origin origin;
	char *text = NULL;
	size_t len;
	bool resolved;

	/* blanks in a Location are encoded, as libcurl itself does when it follows */
	resolved = url != NULL && ReadOrigin(url, &origin) == NULL && location[0] != '\0' &&
		!HasControls(location) &&
		curl_url_set(url, CURLUPART_URL, location, CURLU_URLENCODE) == CURLUE_OK &&
		curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
		ReadOrigin(url, &origin) == NULL &&
		curl_url_get(url, CURLUPART_URL, &text, 0) == CURLUE_OK;

	if (resolved)
	{
		len = strlen(text);
		resolved = len < size;
		if (resolved)
			memcpy(out, text, len + 1);
	}
	curl_free(text);
	curl_url_cleanup(url);
	return resolved;
}

/*----------
 * Addresses
 *----------
 */

typedef struct Range
{
	uint8_t prefix[16];
	int bits;
} Range;

/*
 * IPv4 addresses that are not public: RFC 6890's registry and later additions.
 * A server that fetches from these fetches from its own network.
 */
static const Range SpecialV4[] = {
	{{0}, 8},				  /* "this network", RFC 1122 */
	{{10}, 8},				  /* private, RFC 1918 */
	{{100, 64}, 10},		  /* carrier-grade NAT, RFC 6598 */
	{{127}, 8},				  /* loopback, RFC 1122 */
	{{168, 63, 129, 16}, 32}, /* Azure's host agent, on each of its machines */
	{{169, 254}, 16},		  /* link-local and cloud metadata, RFC 3927 */
	{{172, 16}, 12},		  /* private, RFC 1918 */
	{{192, 0, 0}, 24},		  /* protocol assignments, RFC 6890 */
	{{192, 0, 2}, 24},		  /* documentation, RFC 5737 */
	{{192, 88, 99}, 24},	  /* 6to4 relays, RFC 7526 */
	{{192, 168}, 16},		  /* private, RFC 1918 */
	{{198, 18}, 15},		  /* benchmarking, RFC 2544 */
	{{198, 51, 100}, 24},	  /* documentation, RFC 5737 */
	{{203, 0, 113}, 24},	  /* documentation, RFC 5737 */
	{{224}, 4},				  /* multicast, RFC 5771 */
	{{240}, 4},				  /* reserved and broadcast, RFC 1112 */
};

/*
 * IPv6: only 2000::/3 is allocated as global unicast (RFC 4291), which
 * excludes loopback, unique local (RFC 4193), link-local, site-local and
 * multicast.  Within it, these are special.
 */
static const Range GlobalV6 = {{0x20}, 3};
static const Range SpecialV6[] = {
	{{0x20, 0x01, 0x00}, 23},		/* protocol assignments, RFC 2928; Teredo is in it */
	{{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation, RFC 3849 */
	{{0x20, 0x02}, 16},				/* 6to4, RFC 3056: leads to any IPv4 address */
	{{0x3f, 0xff}, 20},				/* documentation, RFC 9637 */
};

/* IPv6 addresses that stand for the IPv4 address in their last four bytes */
static const Range MappedV4 = {{[10] = 0xff, [11] = 0xff}, 96}; /* RFC 4291 2.5.5.2 */
static const Range Nat64 = {{0x00, 0x64, 0xff, 0x9b}, 96};		/* RFC 6052 2.1 */

static bool
InRange(const uint8_t *address, const Range *range)
{
	int bytes = range->bits / 8;
	int rest = range->bits % 8;
	uint8_t mask = (uint8_t) (0xff << (8 - rest));

	if (memcmp(address, range->prefix, (size_t) bytes) != 0)
		return false;
	return rest == 0 || (address[bytes] & mask) == (range->prefix[bytes] & mask);
}

static bool
InAnyRange(const uint8_t *address, const Range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		if (InRange(address, &ranges[i]))
			return true;
	}
	return false;
}

static bool
V4IsPublic(const uint8_t *address)
{
	return !InAnyRange(address, SpecialV4, lengthof(SpecialV4));
}

static bool
V6IsPublic(const uint8_t *address)
{
	/* on an IPv6-only network, DNS64 gives every IPv4 host such an address */
	if (InRange(address, &MappedV4) || InRange(address, &Nat64))
		return V4IsPublic(address + 12);
	return InRange(address, &GlobalV6) && !InAnyRange(address, SpecialV6, lengthof(SpecialV6));
}

bool
HostsAddressIsPublic(const struct sockaddr *addr)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	/* copied, because libcurl's buffer may be aligned for sockaddr only */
	switch (addr->sa_family)
	{
		case AF_INET:
			memcpy(&v4, addr, sizeof(v4));
			return V4IsPublic((const uint8_t *) &v4.sin_addr);
		case AF_INET6:
			memcpy(&v6, addr, sizeof(v6));
			return V6IsPublic(v6.sin6_addr.s6_addr);
		default:
			return false;
	}
}

/*----------
 * Hosts that are never public
 *----------
 */

/* a bracketed IPv6 or an IPv4 address; false: it is a name */
static bool
ReadAddress(const char *host, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *) out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) out;
	char text[HOST_SIZE];
	size_t len = strlen(host);

	memset(out, 0, sizeof(*out));
	if (host[0] == '[')
	{
		memcpy(text, host + 1, len - 2);
		text[len - 2] = '\0';
		v6->sin6_family = AF_INET6;
		return inet_pton(AF_INET6, text, &v6->sin6_addr) == 1;
	}
	v4->sin_family = AF_INET;
	return inet_pton(AF_INET, host, &v4->sin_addr) == 1;
}

/* Names that public DNS does not have, so that they lead to a private address or nowhere. */
static bool
NameIsPrivate(const char *name)
{
	static const char *const domains[] = {
		".localhost", ".test", ".invalid", /* RFC 6761 */
		".local",						   /* RFC 6762 */
		".home.arpa",					   /* RFC 8375 */
		".internal",					   /* reserved for private use by ICANN, 2024-07-29 */
	};

	for (size_t i = 0; i < lengthof(domains); i++)
		if (EndsWith(name, domains[i]))
			return true;
	return strchr(name, '.') == NULL;
}

static const char *
WhyDead(const Entry *entry)
{
	struct sockaddr_storage address;
	char below[HOST_SIZE + 1];

	if (entry->kind == ENTRY_ORIGIN)
		return NULL;
	if (entry->kind == ENTRY_BELOW)
	{
		(void) snprintf(below, sizeof(below), "x%s", entry->name);
		return NameIsPrivate(below) ? "no public host has such a name" : NULL;
	}
	if (ReadAddress(entry->name, &address))
		return HostsAddressIsPublic((struct sockaddr *) &address) ? NULL : "it is not a public address";
	return NameIsPrivate(entry->name) ? "no public host has such a name" : NULL;
}

bool
HostsListHasDeadEntry(const char *list, char *why, size_t why_size)
{
	char text[ENTRY_SIZE];
	bool fits;

	Explain(why, why_size, "", NULL);
	while (NextEntry(&list, text, sizeof(text), &fits))
	{
		Entry entry;
		const char *dead = fits && ReadEntry(text, &entry) == NULL ? WhyDead(&entry) : NULL;

		if (dead == NULL)
			continue;
		Explain(why, why_size, text, dead);
		return true;
	}
	return false;
}

bool
HostsIsBareName(const char *url)
{
	Origin origin;

	return ParseOrigin(url, &origin) == NULL && origin.host[0] != '[' && strchr(origin.host, '.') == NULL &&
		strcmp(origin.host, "localhost") != 0;
}
