/*
 * http.c
 *	  The engine: many exchanges at once, waited for in a constant WaitEventSet.
 *
 * What is sent, and what becomes of the answer, is in exchange.c; libcurl's
 * sockets and timer are in multi.c, the queues of the hosts in hostqueue.c.
 *
 * Waiting.  The descriptor of multi.c's poller is one of the three members of a
 * wait set made once: latch, postmaster death, poller.  So a wait sees latches,
 * barriers and sockets alike, and costs nothing per socket.
 *
 * Errors are thrown only after libcurl has returned (see exchange.c).  When
 * multi.c has lost track of libcurl's sockets, HttpWait throws: a session then
 * creates a new engine, a worker exits with the error and is restarted.
 *
 * Signals are blocked wherever libcurl may start a resolver thread, which
 * inherits the mask: PostgreSQL's handlers must never run on it.  That is
 * wherever libcurl's state machine runs, but not when a handle is set up, added
 * or removed: adding one only sets a timer.
 *
 * Timeouts.  An answer is judged by what arrived, not by when we looked: a
 * process may be stopped, or wait for a lock, a trigger or a standby, while
 * answers come in.  libcurl checks its clock before its sockets, and would call
 * each of them timed out: a submit that fal has accepted would be in doubt.  So
 * libcurl gets no timeout for a whole exchange.  Ours only counts time in which
 * we look (engine->attended), and ends an exchange only after a round in which
 * nothing of it arrived.  The connect timeout stays libcurl's, which divides it
 * among addresses; what it ends because of a stall was not sent, and starts
 * afresh.
 *
 * One host.  A request to fal or to a video's host (name and port) above
 * vibevideo.max_host_requests is set up, but waits in its host's queue, where no
 * timeout runs, until others are done: first come, first served.  libcurl's own
 * limit would do the same with the timeouts running.  After wait_limit it is not
 * started any more: the worker releases its job, because the lease must not end
 * first; so it does with all that wait when it shuts down.  A download waits as
 * long as it takes: its lease is renewed, and stall_timeout does not count.
 * Requests to Storage never wait, since a download may be blocked on them.
 * Claims and poll passes take no more of a kind than the host may have, so few
 * requests wait here at all.
 *
 * Handles go back to the engine's pool, except those of streams, which have large
 * buffers and are not taken from it either.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>

#include "miscadmin.h"
#include "storage/fd.h"

#include "compat.h"
#include "exchange.h"
#include "guc.h"
#include "hostqueue.h"
#include "http.h"
#include "ownerror.h"
#include "poller.h"

#define MAX_WAIT_MS 500 /* while requests run, so that a stall shows as a late return */
#define STALL_MS 100	/* a longer gap is a stall */
#define NO_DEADLINE PG_INT64_MAX

struct HttpEngine
{
	Multi multi;
	WaitEventSet *wait_set;
	int64 attended;		 /* ms in which we looked: see "Timeouts" */
	int64 looked_at;	 /* ms, see MultiNow; when we did last */
	int64 next_deadline; /* in attended; no request's is earlier */
	int running;
	HostQueues hosts;
	int max_pool;
	int npool;
	HttpRequest *pool; /* idle handles: creating one costs more than a request */
	HttpRequest *requests;
	RequestQueue done;
};

static uint32 wait_event = 0;

/*----------
 * Signals off while libcurl may start threads
 *----------
 */
static void
MaskSignals(sigset_t *saved)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

static void
UnmaskSignals(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

/*----------
 * Engine
 *----------
 */
static void
InitLibcurl(void)
{
	static bool done = false;
	sigset_t saved;
	CURLcode rc;

	if (done)
		return;
	/* libcurl would write TLS keys into the file that this names */
	unsetenv("SSLKEYLOGFILE");
	MaskSignals(&saved);
	rc = curl_global_init(CURL_GLOBAL_DEFAULT);
	UnmaskSignals(&saved);
	if (rc != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not initialize libcurl: %s", curl_easy_strerror(rc))));
	wait_event = CompatWaitEvent("VibevideoHttp");
	ExchangeInit();
	done = true;
}

static void
DestroyEngine(HttpEngine *engine)
{
	sigset_t saved;

	while (engine->requests)
		HttpFree(engine->requests);
	MaskSignals(&saved);
	while (engine->pool)
	{
		HttpRequest *request = engine->pool;

		engine->pool = request->next;
		ExchangeFree(request);
	}
	MultiFree(&engine->multi);
	UnmaskSignals(&saved);
	if (engine->wait_set)
		FreeWaitEventSet(engine->wait_set);
	PollerClose(engine->multi.poller);
	ReleaseExternalFD();
	free(engine);
}

HttpEngine *
HttpEngineCreate(int max_connections)
{
	HttpEngine *engine;
	sigset_t saved;
	bool created;

	InitLibcurl();
	engine = calloc(1, sizeof(HttpEngine));
	if (engine == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	engine->max_pool = max_connections;
	engine->next_deadline = NO_DEADLINE;
	engine->looked_at = MultiNow();
	engine->multi.poller = PollerCreate();
	if (engine->multi.poller < 0)
	{
		int save = errno;

		free(engine);
		errno = save;
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not create epoll descriptor: %m")));
	}
	MaskSignals(&saved);
	created = MultiCreate(&engine->multi, max_connections);
	UnmaskSignals(&saved);
	if (!created)
	{
		PollerClose(engine->multi.poller);
		free(engine);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not create libcurl multi handle")));
	}
	ReserveExternalFD();
	PG_TRY();
	{
		engine->wait_set = CompatCreateWaitEventSet(3);
		AddWaitEventToSet(engine->wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(engine->wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		AddWaitEventToSet(engine->wait_set, WL_SOCKET_READABLE, engine->multi.poller, NULL, NULL);
	}
	PG_CATCH();
	{
		/* out of descriptors, which must not leak with each call */
		DestroyEngine(engine);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return engine;
}

void
HttpEngineResize(HttpEngine *engine, int max_connections)
{
	MultiResize(&engine->multi, max_connections);
	engine->max_pool = max_connections;
}

int
HttpRunning(HttpEngine *engine)
{
	return engine->running;
}

int
HttpWaiting(HttpEngine *engine)
{
	return engine->hosts.waiting;
}

/*----------
 * One request
 *----------
 */
static void
LinkRequest(HttpEngine *engine, HttpRequest *request)
{
	request->next = engine->requests;
	if (engine->requests)
		engine->requests->prev = request;
	engine->requests = request;
}

static void
UnlinkRequest(HttpRequest *request)
{
	HttpEngine *engine = request->engine;

	if (request->prev)
		request->prev->next = request->next;
	else
		engine->requests = request->next;
	if (request->next)
		request->next->prev = request->prev;
}

static bool
IsStream(HttpSink sink, HttpSource source)
{
	return sink != NULL || source != NULL;
}

/*
 * An idle handle, or a new one; NULL when there is no memory.  A stream needs a
 * new one: while the connection that a handle used last is in use, as HTTP/2's
 * are, libcurl 7.88 refuses to give it a larger buffer.
 */
static HttpRequest *
AcquireHandle(HttpEngine *engine, const HttpSpec *spec)
{
	HttpRequest *request = engine->pool;

	if (request && !IsStream(spec->sink, spec->source))
	{
		engine->pool = request->next;
		engine->npool--;
		memset((char *) request + offsetof(HttpRequest, next), 0, sizeof(HttpRequest) - offsetof(HttpRequest, next));
		return request;
	}
	return ExchangeCreate(engine, &engine->multi);
}

/* Handles of streams are not kept: they have large buffers. */
static void
ReleaseHandle(HttpRequest *request)
{
	HttpEngine *engine = request->engine;

	if (!IsStream(request->sink, request->source) && engine->npool < engine->max_pool)
	{
		request->next = engine->pool;
		engine->pool = request;
		engine->npool++;
		return;
	}
	ExchangeFree(request);
}

/*----------
 * Timeouts, see the head of this file
 *----------
 */

/* Count the time since we last looked; what exceeds the plan is a stall, which does not count. */
static void
Attend(HttpEngine *engine, long planned_ms)
{
	int64 now = MultiNow();

	engine->attended += Min(now - engine->looked_at, planned_ms + STALL_MS);
	engine->looked_at = now;
}

static void
StartClock(HttpRequest *request)
{
	HttpEngine *engine = request->engine;

	Attend(engine, 0);
	request->begun_at = engine->attended;
	if (request->timeout > 0)
		engine->next_deadline = Min(engine->next_deadline, engine->attended + request->timeout);
}

static bool
IsLate(const HttpRequest *request)
{
	return request->begun && request->timeout > 0 &&
		request->engine->attended - request->begun_at >= request->timeout;
}

/* By our clock there is time left: libcurl's also counted a stall. */
static bool
IsCutByStall(const HttpRequest *request, CURLcode result)
{
	return result == CURLE_OPERATION_TIMEDOUT && !request->sent &&
		request->engine->attended - request->begun_at < request->connect_timeout;
}

/*----------
 * One host, see the head of this file
 *----------
 */
static void FinishRequest(HttpRequest *request, CURLcode rc);

static bool
StartExchange(HttpRequest *request)
{
	if (curl_multi_add_handle(request->multi->handle, request->easy) != CURLM_OK)
		return false;
	request->begun = true;
	StartClock(request);
	if (request->host)
		request->host->begun++;
	return true;
}

/* Oldest first, except those that are late: their lease may have expired. */
static void
StartThoseWaiting(HttpHost *host)
{
	HttpRequest *next;

	for (HttpRequest *request = host->waiting.head; request && HostQueueHasRoom(host); request = next)
	{
		next = request->next_queued;
		if (HttpIsLate(request))
			continue;
		HostQueueRemove(&request->engine->hosts, request);
		if (!StartExchange(request))
			FinishRequest(request, CURLE_OUT_OF_MEMORY);
	}
}

static bool
StartOrQueue(HttpRequest *request, const HttpSpec *spec)
{
	if (spec->outside)
	{
		request->host = HostQueueJoin(&request->engine->hosts, spec->url);
		if (request->host == NULL)
			return false;
		/* the limit may have been raised meanwhile */
		if (request->host->waiting.head)
			StartThoseWaiting(request->host);
		if (!HostQueueHasRoom(request->host))
		{
			HostQueueAdd(&request->engine->hosts, request);
			return true;
		}
	}
	return StartExchange(request);
}

/* Remove it from libcurl, or from its queue, for good. */
static void
Stop(HttpRequest *request)
{
	if (request->waiting)
		HostQueueRemove(&request->engine->hosts, request);
	if (!request->begun)
		return;
	curl_multi_remove_handle(request->multi->handle, request->easy);
	request->begun = false;
	if (request->host)
	{
		request->host->begun--;
		StartThoseWaiting(request->host);
	}
}

bool
HttpIsWaiting(const HttpRequest *request)
{
	return request->waiting;
}

bool
HttpIsSent(const HttpRequest *request)
{
	return request->sent;
}

bool
HttpIsLate(const HttpRequest *request)
{
	return request->waiting && request->wait_limit > 0 &&
		MultiNow() - request->waiting_since > request->wait_limit;
}

HttpRequest *
HttpStart(HttpEngine *engine, const HttpSpec *spec)
{
	HttpRequest *request = AcquireHandle(engine, spec);

	if (request)
	{
		LinkRequest(engine, request);
		request->running = ExchangeSetUp(request, spec) && StartOrQueue(request, spec);
	}
	if (request && !request->running)
	{
		HttpFree(request);
		return NULL;
	}
	if (request)
		engine->running++;
	return request;
}

void
HttpFree(HttpRequest *request)
{
	HttpEngine *engine = request->engine;

	RequestQueueLeave(request);
	UnlinkRequest(request);
	if (request->running)
		engine->running--;
	Stop(request);
	if (request->host)
		HostQueueLeave(&engine->hosts, request->host);
	ExchangeEnd(request);
	ReleaseHandle(request);
}

static void
FinishRequest(HttpRequest *request, CURLcode rc)
{
	HttpEngine *engine = request->engine;

	ExchangeJudge(request, rc);
	request->running = false;
	engine->running--;
	Stop(request);
	RequestQueuePut(&engine->done, request);
}

/*
 * On a new connection: the one it was to go on is gone, which is believed once,
 * or connecting was cut by a stall.  Nothing was sent.
 */
static bool
StartAfresh(HttpRequest *request, CURLcode result)
{
	CURLM *multi = request->multi->handle;

	if (!IsCutByStall(request, result))
	{
		if (!request->stale || request->afresh)
			return false;
		request->afresh = true;
	}
	request->stale = false;
	curl_multi_remove_handle(multi, request->easy);
	request->errbuf[0] = '\0';
	return curl_easy_setopt(request->easy, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK &&
		curl_multi_add_handle(multi, request->easy) == CURLM_OK;
}

static void
CollectDone(HttpEngine *engine)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(engine->multi.handle, &left)) != NULL)
	{
		char *request = NULL;
		CURLcode result = message->data.result; /* the message dies with the handle's removal */

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
		if (!StartAfresh((HttpRequest *) request, result))
			FinishRequest((HttpRequest *) request, result);
	}
}

/* Ends requests whose timeout has expired, unless something arrived in this round. */
static void
EndLate(HttpEngine *engine)
{
	HttpRequest *next;

	engine->next_deadline = NO_DEADLINE;
	for (HttpRequest *request = engine->requests; request; request = next)
	{
		next = request->next;
		if (!request->running || !request->begun || request->timeout == 0)
			continue;
		if (IsLate(request) && request->moved_at != engine->multi.round)
		{
			request->late = true;
			snprintf(request->errbuf, sizeof(request->errbuf), "%s within %d ms",
					 request->sent ? "no whole answer came" : "the connection was not made", request->timeout);
			FinishRequest(request, CURLE_OPERATION_TIMEDOUT);
		}
		else
			engine->next_deadline = Min(engine->next_deadline, request->begun_at + request->timeout);
	}
}

static void
Serve(HttpEngine *engine)
{
	sigset_t saved;
	bool all;

	MaskSignals(&saved);
	all = MultiServe(&engine->multi);
	CollectDone(engine);
	if (all && engine->attended >= engine->next_deadline)
		EndLate(engine);
	UnmaskSignals(&saved);
}

/* Not longer than libcurl, or a timeout of ours, allows. */
static long
PlanWait(HttpEngine *engine, long timeout_ms)
{
	if (engine->done.head)
		return 0;
	if (engine->multi.timer_armed)
		timeout_ms = Min(timeout_ms, MultiMsToTimer(&engine->multi));
	if (engine->running > engine->hosts.waiting)
		timeout_ms = Min(timeout_ms, MAX_WAIT_MS);
	if (engine->next_deadline != NO_DEADLINE)
		timeout_ms = Min(timeout_ms, Max(engine->next_deadline - engine->attended, 0));
	return Max(timeout_ms, 0);
}

void
HttpWait(HttpEngine *engine, long timeout_ms)
{
	WaitEvent event;

	/* what we did meanwhile */
	Attend(engine, 0);
	timeout_ms = PlanWait(engine, timeout_ms);
	if (WaitEventSetWait(engine->wait_set, timeout_ms, &event, 1, wait_event) == 1 &&
		(event.events & WL_LATCH_SET))
		ResetLatch(MyLatch);
	Attend(engine, timeout_ms);
	Serve(engine);
	if (engine->multi.broken)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("vibevideo lost track of libcurl's sockets")));
}

HttpRequest *
HttpNextDone(HttpEngine *engine)
{
	HttpRequest *request = engine->done.head;

	if (request)
		RequestQueueLeave(request);
	return request;
}

void *
HttpOwner(const HttpRequest *request)
{
	return request->owner;
}

const HttpReply *
HttpReplyOf(HttpRequest *request)
{
	if (request->begun)
		ExchangeReadInfo(request);
	return &request->reply;
}

void
HttpResume(HttpRequest *request)
{
	CURLcode rc;
	sigset_t saved;

	if (!request->running || !(request->send_paused || request->recv_paused))
		return;
	request->send_paused = request->recv_paused = false;
	MaskSignals(&saved);
	/* may call sink or source at once, which may pause it again, or abort it */
	rc = curl_easy_pause(request->easy, CURLPAUSE_CONT);
	if (rc != CURLE_OK)
		FinishRequest(request, rc);
	UnmaskSignals(&saved);
}

/*----------
 * In a client backend
 *----------
 */
HttpEngine *
HttpBackendEngine(void)
{
	static HttpEngine *engine = NULL;

	if (engine && engine->multi.broken)
	{
		HttpEngine *broken = engine;

		engine = NULL;
		DestroyEngine(broken);
	}
	if (engine == NULL)
		engine = HttpEngineCreate(vv_max_requests);
	/* requests left behind by an error */
	while (engine->requests)
		HttpFree(engine->requests);
	return engine;
}

void
HttpFinish(HttpEngine *engine, HttpRequest *request, volatile bool *sent)
{
	PG_TRY();
	{
		while (request->running)
		{
			CHECK_FOR_INTERRUPTS();
			HttpWait(engine, 1000);
		}
		(void) HttpNextDone(engine);
	}
	PG_CATCH();
	{
		if (sent)
			*sent = request->sent;
		HttpFree(request);
		PG_RE_THROW();
	}
	PG_END_TRY();
}
