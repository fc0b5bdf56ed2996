/*
 * hosts.h
 *	  Where a video may come from, and which addresses are public.
 *
 * Pure: URL splitting is libcurl's (CURLU), everything else works on buffers.
 */
#ifndef VIBEVIDEO_HOSTS_H
#define VIBEVIDEO_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

typedef enum HostVerdict
{
	HOST_DENIED, /* not in the list, or not a plain http(s) URL */
	HOST_PUBLIC, /* in the list: https only, public addresses only */
	HOST_EXACT	 /* an entry names exactly this scheme, host and port: plain http and private addresses are allowed */
} HostVerdict;

/*
 * list is vibevideo.media_hosts: comma-separated "host", "*.domain" (any depth
 * below, not the domain itself) or "scheme://host:port".  why (may be NULL) is
 * set to a short reason when denied.
 */
extern HostVerdict HostsJudgeUrl(const char *list, const char *url, char *why, size_t why_size);

/* is the list well-formed? If not, why says what is wrong; for the GUC check hook */
extern bool HostsListIsValid(const char *list, char *why, size_t why_size);

/*
 * Is there an entry that no video can ever come from, since without scheme and
 * port it stands for public addresses only?  why names it.
 */
extern bool HostsListHasDeadEntry(const char *list, char *why, size_t why_size);

/* is the host of this URL a name without a domain, which only a network of containers knows? */
extern bool HostsIsBareName(const char *url);

/* false for loopback, private, link-local, CGNAT, multicast, reserved, and IPv4-mapped ones of these */
extern bool HostsAddressIsPublic(const struct sockaddr *addr);

/* resolve a Location header against the URL it came from; false if not http(s) */
extern bool HostsResolveRedirect(const char *from, const char *location, char *out, size_t size);

#endif /* VIBEVIDEO_HOSTS_H */
