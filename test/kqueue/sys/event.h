/*
 * sys/event.h
 *	  As much of kqueue's interface as poller.c uses, for systems without it.
 */
#ifndef VIBEVIDEO_TEST_EVENT_H
#define VIBEVIDEO_TEST_EVENT_H

#include <stdint.h>
#include <time.h>

struct kevent
{
	uintptr_t ident;
	short filter;
	unsigned short flags;
	unsigned int fflags;
	intptr_t data;
	void *udata;
};

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_RECEIPT 0x0040
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

#define EV_SET(event, ident_, filter_, flags_, fflags_, data_, udata_) \
	(*(event) = (struct kevent){.ident = (uintptr_t) (ident_), .filter = (filter_), .flags = (flags_), .fflags = (fflags_), .data = (data_), .udata = (void *) (udata_)})

extern int kqueue(void);
extern int kevent(int kq, const struct kevent *changes, int nchanges,
				  struct kevent *events, int nevents, const struct timespec *timeout);

#endif /* VIBEVIDEO_TEST_EVENT_H */
