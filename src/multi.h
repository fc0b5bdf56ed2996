/*
 * multi.h
 *	  libcurl's multi handle, with its sockets in a poller.  Only for the engine:
 *	  http.c and what it is made of.
 *
 * Neither throws nor pallocs.
 */
#ifndef VIBEVIDEO_MULTI_H
#define VIBEVIDEO_MULTI_H

#include <curl/curl.h>

/*
 * A socket that we opened for libcurl, and have to close.  libcurl stops
 * watching it after each exchange and starts again with the next; meanwhile it
 * stays in the poller.
 */
typedef struct MultiSocket
{
	bool open;
	int wanted;	 /* CURL_POLL_IN, _OUT, both or 0: an idle connection */
	int watched; /* what is set in the poller */
	int port;	 /* at our own end, 0: not known yet */
	bool used;	 /* a request has been sent on it */
} MultiSocket;

typedef struct Multi
{
	CURLM *handle;
	int poller; /* made and closed by the engine, which waits for it */
	bool timer_armed;
	int64 timer_at;		  /* ms, see MultiNow */
	int64 round;		  /* so often sockets were served */
	bool broken;		  /* a callback failed: state unknown, start over */
	bool has_http2;		  /* some server speaks it */
	MultiSocket *sockets; /* by descriptor */
	int nsockets;		  /* capacity of sockets */
} Multi;

/* ms of a clock that nobody sets */
extern int64 MultiNow(void);

/* false: no memory.  The rest of multi is zero, but for the poller; it must stay where it is. */
extern bool MultiCreate(Multi *multi, int max_connections);
extern void MultiResize(Multi *multi, int max_connections);
extern void MultiFree(Multi *multi); /* the poller stays open */

/* Let libcurl work on the sockets that are ready, and its timer; false if there may be more sockets. */
extern bool MultiServe(Multi *multi);
/* if the timer is armed */
extern long MultiMsToTimer(Multi *multi);

/* for the callbacks of an exchange */
extern int MultiOpenSocket(Multi *multi, const struct curl_sockaddr *address); /* -1: errno */
extern int MultiCloseSocket(void *multi, curl_socket_t fd);					   /* libcurl's callback */
/* Has the peer closed the connection with this local port? */
extern bool MultiIsHungUp(Multi *multi, int port);
/* Has it been used before?  It is from now on. */
extern bool MultiUse(Multi *multi, int port);

#endif /* VIBEVIDEO_MULTI_H */
