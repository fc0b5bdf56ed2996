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
	bool readable; /* or at end of file */
	bool writable;
	bool failed; /* with an error, or the peer hung up */
} PollerEvent;

#define POLLER_MAX_EVENTS 128 /* events reported by one PollerWait */

/* a descriptor that is itself readable while a socket in it is ready, or -1 */
extern int PollerCreate(void);
extern void PollerClose(int poller);

/*
 * Sets what to wait for, replacing what was set before. known: this socket has
 * been added already; a wrong guess costs a system call.
 */
extern bool PollerSet(int poller, int fd, bool known, bool readable, bool writable);
/* harmless for one that is closed or was never added */
extern void PollerRemove(int poller, int fd);

/* does not wait; returns the number of events, one per socket, or -1 */
extern int PollerWait(int poller, PollerEvent events[POLLER_MAX_EVENTS]);

#endif /* VIBEVIDEO_POLLER_H */
