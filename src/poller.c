/*
 * poller.c
 *	  Which of many sockets are ready: an epoll.
 *
 * It is level-triggered here, and forgets a socket that is closed.  Its number
 * may be reused before we learn of that, so we rely on neither side's record
 * of what is registered.
 */
#ifndef __linux__
#error "vibevideo needs Linux"
#endif

#include "poller.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

int
PollerCreate(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

void
PollerClose(int poller)
{
	close(poller);
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
PollerWait(int poller, PollerEvent events[POLLER_MAX_EVENTS])
{
	struct epoll_event ready[POLLER_MAX_EVENTS];
	int n = epoll_wait(poller, ready, POLLER_MAX_EVENTS, 0);

	for (int i = 0; i < n; i++)
	{
		events[i].fd = ready[i].data.fd;
		events[i].readable = (ready[i].events & EPOLLIN) != 0;
		events[i].writable = (ready[i].events & EPOLLOUT) != 0;
		events[i].failed = (ready[i].events & (EPOLLERR | EPOLLHUP)) != 0;
	}
	return n;
}
