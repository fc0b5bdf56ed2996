/*
 * hostqueue.h
 *	  Requests that wait for their host.  Only for the engine: http.c and what
 *	  it is made of.
 */
#ifndef VIBEVIDEO_HOSTQUEUE_H
#define VIBEVIDEO_HOSTQUEUE_H

#include "exchange.h"

/* Requests in order of arrival.  Each is in at most one queue: its host's, or the engine's of done ones. */
typedef struct RequestQueue
{
	HttpRequest *head;
	HttpRequest *tail;
} RequestQueue;

/* A server, by name and port: see "One host" in http.c. */
typedef struct HttpHost
{
	struct HttpHost *next; /* in HostQueues */
	int users;			   /* requests that point here */
	int begun;			   /* how many of them are in the multi handle */
	RequestQueue waiting;  /* the others */
	char name[];		   /* as the URL has it */
} HttpHost;

typedef struct HostQueues
{
	HttpHost *first;
	int waiting; /* requests, at all hosts */
} HostQueues;

extern void RequestQueuePut(RequestQueue *queue, HttpRequest *request);
/* from any position; does nothing if it is in no queue */
extern void RequestQueueLeave(HttpRequest *request);

/* the URL's host has one more user; NULL when there is no memory */
extern HttpHost *HostQueueJoin(HostQueues *hosts, const char *url);
/* one less: the last one's is freed */
extern void HostQueueLeave(HostQueues *hosts, HttpHost *host);
extern void HostQueueAdd(HostQueues *hosts, HttpRequest *request);
extern void HostQueueRemove(HostQueues *hosts, HttpRequest *request);
/* may one more begin? */
extern bool HostQueueHasRoom(const HttpHost *host);

#endif /* VIBEVIDEO_HOSTQUEUE_H */
