/*
 * poller.h
 *	  Which of many sockets are ready, behind one descriptor.
 *
 * Pure: it knows neither PostgreSQL nor libcurl, reports what went wrong in
 * errno, and may be called under libcurl's callbacks.
 */
#ifndef VIBEVIDEO_POLLER_H
#define VIBEVIDEO_POLLER_H

#include <stdbool.h>

typedef struct PollerEvent
{
	int fd;
	bool readable; /* or at its end */
	bool writable;
	bool failed; /* with an error, or hung up */
} PollerEvent;

#define POLLER_MOST 128 /* events that one PollerWait reports */

/* a descriptor that is readable itself while a socket in it is ready, or -1 */
extern int PollerCreate(void);
extern void PollerClose(int poller);

/*
 * What to look for, instead of what was before.  known: this socket is in
 * already; a wrong guess costs a system call.
 */
extern bool PollerSet(int poller, int fd, bool known, bool readable, bool writable);
/* also of one that is closed, or was never in */
extern void PollerRemove(int poller, int fd);

/* does not wait; one event a socket, and how many, or -1 */
extern int PollerWait(int poller, PollerEvent events[POLLER_MOST]);

#endif /* VIBEVIDEO_POLLER_H */
