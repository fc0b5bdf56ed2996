/*
 * poller.c
 *	  epoll or kqueue, whichever the system has.
 *
 * Both are level-triggered here, and both forget a socket that is closed.  The
 * number may be in use again before we are told, so neither side's memory of
 * what is registered is taken for granted.
 */
#include "poller.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#if defined(__linux__) && !defined(VIBEVIDEO_USE_KQUEUE)

#include <sys/epoll.h>

int
PollerCreate(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

bool
PollerSet(int poller, int fd, bool known, bool readable, bool writable)
{
	struct epoll_event event;

	memset(&event, 0, sizeof(event));
	event.data.fd = fd;
	event.events = (readable ? EPOLLIN : 0) | (writable ? EPOLLOUT : 0);
	if (epoll_ctl(poller, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0)
		return true;
	if (errno == ENOENT)
		return epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0;
	return errno == EEXIST && epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event) == 0;
}

void
PollerRemove(int poller, int fd)
{
	(void) epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
}

int
PollerWait(int poller, PollerEvent events[POLLER_MOST])
{
	struct epoll_event ready[POLLER_MOST];
	int n = epoll_wait(poller, ready, POLLER_MOST, 0);

	for (int i = 0; i < n; i++)
	{
		events[i].fd = ready[i].data.fd;
		events[i].readable = (ready[i].events & EPOLLIN) != 0;
		events[i].writable = (ready[i].events & EPOLLOUT) != 0;
		events[i].failed = (ready[i].events & (EPOLLERR | EPOLLHUP)) != 0;
	}
	return n;
}

#else /* kqueue */

#include <sys/types.h>
#include <sys/event.h>
#include <sys/time.h>
#include <fcntl.h>

int
PollerCreate(void)
{
	int poller = kqueue();

	if (poller >= 0)
		(void) fcntl(poller, F_SETFD, FD_CLOEXEC);
	return poller;
}

/*
 * Reading and writing are a filter each.  What is not wanted is deleted even if
 * we do not know of it; that it was not there is no error.  EV_RECEIPT makes
 * kevent tell of each change, and of nothing else.
 */
bool
PollerSet(int poller, int fd, bool known, bool readable, bool writable)
{
	struct kevent changes[2];
	struct kevent receipts[2];
	int n;

	(void) known;
	EV_SET(&changes[0], fd, EVFILT_READ, (readable ? EV_ADD : EV_DELETE) | EV_RECEIPT, 0, 0, 0);
	EV_SET(&changes[1], fd, EVFILT_WRITE, (writable ? EV_ADD : EV_DELETE) | EV_RECEIPT, 0, 0, 0);
	n = kevent(poller, changes, 2, receipts, 2, NULL);
	if (n != 2)
		return false;
	for (int i = 0; i < n; i++)
	{
		bool wanted = (receipts[i].filter == EVFILT_READ) ? readable : writable;

		if (receipts[i].data != 0 && (wanted || receipts[i].data != ENOENT))
		{
			errno = (int) receipts[i].data;
			return false;
		}
	}
	return true;
}

void
PollerRemove(int poller, int fd)
{
	(void) PollerSet(poller, fd, true, false, false);
}

/* A socket's two filters come as two events; who reads them expects one. */
static PollerEvent *
EventOf(int fd, PollerEvent *events, int *n)
{
	for (int i = 0; i < *n; i++)
		if (events[i].fd == fd)
			return &events[i];
	memset(&events[*n], 0, sizeof(PollerEvent));
	events[*n].fd = fd;
	return &events[(*n)++];
}

int
PollerWait(int poller, PollerEvent events[POLLER_MOST])
{
	struct kevent ready[POLLER_MOST];
	struct timespec at_once = {0, 0};
	int nready = kevent(poller, NULL, 0, ready, POLLER_MOST, &at_once);
	int n = 0;

	if (nready < 0)
		return -1;
	for (int i = 0; i < nready; i++)
	{
		PollerEvent *event = EventOf((int) ready[i].ident, events, &n);

		/* EV_EOF: of reading the end, which is read; of writing a peer that takes no more */
		if (ready[i].filter == EVFILT_READ)
			event->readable = true;
		else
			event->writable = true;
		if ((ready[i].flags & EV_EOF) && (ready[i].filter == EVFILT_WRITE || ready[i].fflags != 0))
			event->failed = true;
	}
	return n;
}

#endif

void
PollerClose(int poller)
{
	close(poller);
}
