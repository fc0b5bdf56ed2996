/*
 * kqueue.c
 *	  A kqueue on top of epoll, so that the kqueue variant of poller.c can be
 *	  compiled and run on Linux.
 *
 * As strict as the BSDs where it matters: a filter each for reading and
 * writing, ENOENT for one that is not there, EBADF for a socket that is not,
 * and a closed socket's filters are gone.  Of one thread only.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/event.h>

typedef struct Knote
{
	struct Knote *next;
	int kq;
	int fd;
	uint32_t wanted; /* EPOLLIN, EPOLLOUT */
} Knote;

static Knote *knotes;

static Knote **
Find(int kq, int fd)
{
	Knote **link = &knotes;

	while (*link && ((*link)->kq != kq || (*link)->fd != fd))
		link = &(*link)->next;
	return link;
}

static void
Drop(Knote **link)
{
	Knote *gone = *link;

	*link = gone->next;
	free(gone);
}

int
kqueue(void)
{
	int kq = epoll_create1(0);

	/* of an earlier one that was closed and had this number */
	for (Knote **link = &knotes; *link;)
		if ((*link)->kq == kq)
			Drop(link);
		else
			link = &(*link)->next;
	return kq;
}

static int
Control(int kq, int op, int fd, uint32_t wanted)
{
	struct epoll_event event = {.events = wanted | (wanted & EPOLLIN ? EPOLLRDHUP : 0), .data.fd = fd};

	return epoll_ctl(kq, op, fd, &event) == 0 ? 0 : errno;
}

static uint32_t
EventsOf(short filter)
{
	return filter == EVFILT_READ ? EPOLLIN : EPOLLOUT;
}

static int
Add(int kq, int fd, uint32_t filter)
{
	Knote **link = Find(kq, fd);
	int error;

	if (*link)
	{
		error = Control(kq, EPOLL_CTL_MOD, fd, (*link)->wanted | filter);
		if (error == 0)
			(*link)->wanted |= filter;
		if (error != ENOENT)
			return error;
		Drop(link);
	}
	error = Control(kq, EPOLL_CTL_ADD, fd, filter);
	if (error == 0)
	{
		Knote *new = malloc(sizeof(Knote));

		if (new == NULL)
			abort();
		*new = (Knote){.next = knotes, .kq = kq, .fd = fd, .wanted = filter};
		knotes = new;
	}
	return error;
}

static int
Delete(int kq, int fd, uint32_t filter)
{
	Knote **link = Find(kq, fd);
	uint32_t left;
	int error;

	if (*link == NULL || !((*link)->wanted & filter))
		return ENOENT;
	left = (*link)->wanted & ~filter;
	error = Control(kq, left ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, fd, left);
	if (error != 0 || left == 0)
		Drop(link);
	else
		(*link)->wanted = left;
	return error;
}

static int
Apply(int kq, const struct kevent *change)
{
	if (change->filter != EVFILT_READ && change->filter != EVFILT_WRITE)
		return EINVAL;
	if (change->flags & EV_DELETE)
		return Delete(kq, (int) change->ident, EventsOf(change->filter));
	if (change->flags & EV_ADD)
		return Add(kq, (int) change->ident, EventsOf(change->filter));
	return EINVAL;
}

static int
Tell(struct kevent *events, int n, const struct epoll_event *ready, short filter, bool ended)
{
	events[n] = (struct kevent){.ident = (uintptr_t) ready->data.fd, .filter = filter};
	if (ended)
		events[n].flags = EV_EOF;
	if (ready->events & EPOLLERR)
		events[n].fflags = ECONNRESET;
	return n + 1;
}

static int
Collect(int kq, struct kevent *events, int nevents, int timeout)
{
	struct epoll_event ready[64];
	int most = nevents / 2 < 64 ? nevents / 2 : 64;
	int nready = epoll_wait(kq, ready, most, timeout);
	int n = 0;

	if (nready < 0)
		return -1;
	for (int i = 0; i < nready; i++)
	{
		Knote *knote = *Find(kq, ready[i].data.fd);
		uint32_t what = ready[i].events;
		bool dead = (what & (EPOLLERR | EPOLLHUP)) != 0;

		if (knote == NULL)
			abort();
		if ((knote->wanted & EPOLLIN) && (dead || (what & (EPOLLIN | EPOLLRDHUP))))
			n = Tell(events, n, &ready[i], EVFILT_READ, dead || (what & EPOLLRDHUP));
		if ((knote->wanted & EPOLLOUT) && (dead || (what & EPOLLOUT)))
			n = Tell(events, n, &ready[i], EVFILT_WRITE, dead);
	}
	return n;
}

int
kevent(int kq, const struct kevent *changes, int nchanges,
	   struct kevent *events, int nevents, const struct timespec *timeout)
{
	int n = 0;

	for (int i = 0; i < nchanges; i++)
	{
		int error = Apply(kq, &changes[i]);

		if (error == 0 && !(changes[i].flags & EV_RECEIPT))
			continue;
		if (n == nevents)
		{
			errno = error;
			return -1;
		}
		events[n] = changes[i];
		events[n].flags = EV_ERROR;
		events[n++].data = error;
	}
	if (n > 0 || nevents == 0)
		return n;
	return Collect(kq, events, nevents, timeout ? (int) (timeout->tv_sec * 1000 + timeout->tv_nsec / 1000000) : -1);
}
