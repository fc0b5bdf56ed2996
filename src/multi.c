/*
 * multi.c
 *	  libcurl's multi handle, with its sockets in a poller.
 *
 * libcurl reports its sockets and its timer through callbacks.  The sockets go
 * into a poller (an epoll), whose descriptor the engine waits for, so that
 * waiting costs nothing per socket.  Nothing in this file pallocs or throws,
 * since most of it runs under libcurl.  A callback that fails to keep track
 * marks the handle broken.
 *
 * Idle connections stay in the poller.  libcurl stops watching a socket after
 * each exchange and starts again with the next; for sockets that we opened
 * (MultiOpenSocket) this costs no system call.  One that reports something
 * while idle, because the peer has closed it, is removed (IsIdle).
 */
#include "postgres.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/poll.h>
#include <time.h>
#include <unistd.h>

#include "multi.h"
#include "poller.h"

int64
MultiNow(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*----------
 * Callbacks
 *----------
 */
static int
OnTimer(CURLM *handle, long timeout_ms, void *arg)
{
	Multi *multi = arg;

	multi->timer_armed = (timeout_ms >= 0);
	if (multi->timer_armed)
		multi->timer_at = MultiNow() + timeout_ms;
	return 0;
}

/* NULL if we did not open it: libcurl has others, for its resolver threads. */
static MultiSocket *
FindSocket(Multi *multi, int fd)
{
	return fd < multi->nsockets && multi->sockets[fd].open ? &multi->sockets[fd] : NULL;
}

/* Out of memory it stays unknown, which only costs speed. */
static void
RememberSocket(Multi *multi, int fd)
{
	if (fd >= multi->nsockets)
	{
		int room = Max(multi->nsockets * 2, fd + 1);
		MultiSocket *larger = realloc(multi->sockets, sizeof(MultiSocket) * room);

		if (larger == NULL)
			return;
		memset(larger + multi->nsockets, 0, sizeof(MultiSocket) * (room - multi->nsockets));
		multi->sockets = larger;
		multi->nsockets = room;
	}
	multi->sockets[fd] = (MultiSocket){.open = true};
}

int
MultiOpenSocket(Multi *multi, const struct curl_sockaddr *address)
{
	int fd;

#ifdef SOCK_CLOEXEC
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
	fd = socket(address->family, address->socktype, address->protocol);
	if (fd >= 0)
		(void) fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
	if (fd >= 0)
		RememberSocket(multi, fd);
	return fd;
}

/* The poller forgets it automatically. */
int
MultiCloseSocket(void *arg, curl_socket_t fd)
{
	MultiSocket *socket = FindSocket(arg, fd);

	if (socket)
		socket->open = false;
	return close(fd);
}

static bool
Watch(Multi *multi, int fd, bool known, int what)
{
	return PollerSet(multi->poller, fd, known, (what & CURL_POLL_IN) != 0, (what & CURL_POLL_OUT) != 0);
}

static int
OnSocket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	Multi *multi = arg;
	MultiSocket *socket = FindSocket(multi, fd);

	if (socket)
	{
		socket->wanted = (what == CURL_POLL_REMOVE) ? 0 : what;
		if (socket->wanted != 0 && socket->wanted != socket->watched)
		{
			multi->broken |= !Watch(multi, fd, socket->watched != 0, what);
			socket->watched = what;
		}
		return 0;
	}
	if (what == CURL_POLL_REMOVE)
		PollerRemove(multi->poller, fd);
	else
		multi->broken |= !Watch(multi, fd, known != NULL, what);
	curl_multi_assign(multi->handle, fd, what == CURL_POLL_REMOVE ? NULL : multi);
	return 0;
}

/* An event on an idle connection means that the peer has closed it, or that a paused one has data. */
static bool
IsIdle(Multi *multi, int fd)
{
	MultiSocket *socket = FindSocket(multi, fd);

	if (socket == NULL || socket->wanted != 0)
		return false;
	PollerRemove(multi->poller, fd);
	socket->watched = 0;
	return true;
}

static int
LocalPort(int fd)
{
	union
	{
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} name;
	socklen_t len = sizeof(name);

	if (getsockname(fd, &name.any, &len) != 0)
		return 0;
	return ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
}

/* -1 if we did not open it */
static int
DescriptorOf(Multi *multi, int port)
{
	for (int fd = 0; fd < multi->nsockets; fd++)
	{
		MultiSocket *known = FindSocket(multi, fd);

		if (known == NULL)
			continue;
		if (known->port == 0)
			known->port = LocalPort(fd);
		if (known->port == port)
			return fd;
	}
	return -1;
}

bool
MultiIsHungUp(Multi *multi, int port)
{
	struct pollfd look = {.fd = DescriptorOf(multi, port), .events = POLLRDHUP};

	return look.fd >= 0 && poll(&look, 1, 0) > 0;
}

bool
MultiUse(Multi *multi, int port)
{
	int fd = DescriptorOf(multi, port);
	bool before = fd >= 0 && multi->sockets[fd].used;

	if (fd >= 0)
		multi->sockets[fd].used = true;
	return before;
}

/*----------
 * The handle
 *----------
 */
bool
MultiCreate(Multi *multi, int max_connections)
{
	CURLM *handle = curl_multi_init();

	if (handle == NULL)
		return false;
	if (curl_multi_setopt(handle, CURLMOPT_SOCKETFUNCTION, OnSocket) != CURLM_OK ||
		curl_multi_setopt(handle, CURLMOPT_SOCKETDATA, multi) != CURLM_OK ||
		curl_multi_setopt(handle, CURLMOPT_TIMERFUNCTION, OnTimer) != CURLM_OK ||
		curl_multi_setopt(handle, CURLMOPT_TIMERDATA, multi) != CURLM_OK ||
		curl_multi_setopt(handle, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX) != CURLM_OK ||
		curl_multi_setopt(handle, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) max_connections) != CURLM_OK ||
		curl_multi_setopt(handle, CURLMOPT_MAXCONNECTS, (long) max_connections) != CURLM_OK)
	{
		curl_multi_cleanup(handle);
		return false;
	}
	multi->handle = handle;
	return true;
}

void
MultiResize(Multi *multi, int max_connections)
{
	curl_multi_setopt(multi->handle, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) max_connections);
	curl_multi_setopt(multi->handle, CURLMOPT_MAXCONNECTS, (long) max_connections);
}

void
MultiFree(Multi *multi)
{
	curl_multi_cleanup(multi->handle);
	free(multi->sockets);
}

long
MultiMsToTimer(Multi *multi)
{
	return (long) Max(multi->timer_at - MultiNow(), 0);
}

static void
ServeTimer(Multi *multi)
{
	int running;

	if (!multi->timer_armed || MultiMsToTimer(multi) > 0)
		return;
	multi->timer_armed = false;
	if (curl_multi_socket_action(multi->handle, CURL_SOCKET_TIMEOUT, 0, &running) != CURLM_OK)
		multi->broken = true;
}

/* Let libcurl work on the sockets that are ready; false if there may be more of these. */
static bool
ServeSockets(Multi *multi)
{
	PollerEvent events[POLLER_MAX_EVENTS];
	int running;
	int n = PollerWait(multi->poller, events);

	for (int i = 0; i < n; i++)
	{
		int what;

		if (IsIdle(multi, events[i].fd))
			continue;
		what = (events[i].readable ? CURL_CSELECT_IN : 0) |
			(events[i].writable ? CURL_CSELECT_OUT : 0) |
			(events[i].failed ? CURL_CSELECT_ERR : 0);

		if (curl_multi_socket_action(multi->handle, events[i].fd, what, &running) != CURLM_OK)
			multi->broken = true;
	}
	return n < POLLER_MAX_EVENTS;
}

bool
MultiServe(Multi *multi)
{
	bool all;

	multi->round++;
	all = ServeSockets(multi);
	ServeTimer(multi);
	return all;
}
