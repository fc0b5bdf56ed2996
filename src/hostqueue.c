/*
 * hostqueue.c
 *	  Requests that wait for their host: first come, first served.
 *
 * A host is known while a request points to it.  Why a request waits, and how
 * long: see "One host" in http.c, which starts it.
 */
#include "postgres.h"

#include "guc.h"
#include "hostqueue.h"

/*----------
 * A queue
 *----------
 */
void
RequestQueuePut(RequestQueue *queue, HttpRequest *request)
{
	if (queue->tail)
		queue->tail->next_queued = request;
	else
		queue->head = request;
	queue->tail = request;
	request->queue = queue;
}

void
RequestQueueLeave(HttpRequest *request)
{
	RequestQueue *queue = request->queue;
	HttpRequest *before = NULL;

	if (queue == NULL)
		return;
	request->queue = NULL;
	for (HttpRequest **link = &queue->head; *link; before = *link, link = &(*link)->next_queued)
		if (*link == request)
		{
			*link = request->next_queued;
			if (queue->tail == request)
				queue->tail = before;
			request->next_queued = NULL;
			return;
		}
}

/*----------
 * The queue of a host
 *----------
 */
HttpHost *
HostQueueJoin(HostQueues *hosts, const char *url)
{
	const char *name = strstr(url, "://");
	size_t len;
	HttpHost *host;

	name = name ? name + 3 : url;
	len = strcspn(name, "/?#");
	for (host = hosts->first; host; host = host->next)
		if (pg_strncasecmp(host->name, name, len) == 0 && host->name[len] == '\0')
			break;
	if (host == NULL)
	{
		host = calloc(1, sizeof(HttpHost) + len + 1);
		if (host == NULL)
			return NULL;
		memcpy(host->name, name, len);
		host->next = hosts->first;
		hosts->first = host;
	}
	host->users++;
	return host;
}

void
HostQueueLeave(HostQueues *hosts, HttpHost *host)
{
	HttpHost **link = &hosts->first;

	if (--host->users > 0)
		return;
	while (*link != host)
		link = &(*link)->next;
	*link = host->next;
	free(host);
}

void
HostQueueAdd(HostQueues *hosts, HttpRequest *request)
{
	RequestQueuePut(&request->host->waiting, request);
	request->waiting = true;
	request->waiting_since = MultiNow();
	hosts->waiting++;
}

void
HostQueueRemove(HostQueues *hosts, HttpRequest *request)
{
	RequestQueueLeave(request);
	request->waiting = false;
	hosts->waiting--;
}

bool
HostQueueHasRoom(const HttpHost *host)
{
	return vv_max_host_requests == 0 || host->begun < vv_max_host_requests;
}
