/*
 * http.c
 *	  libcurl's multi handle on a private poller, inside a constant WaitEventSet.
 *
 * Waiting.  libcurl reports its sockets and its timer through callbacks.  The
 * sockets go into a poller of our own (an epoll), whose descriptor is one of
 * the three members of a wait set made once: latch, postmaster death, poller.
 * So a wait sees latches, barriers and sockets alike, and costs nothing per
 * socket.
 *
 * Callbacks only touch malloc'd memory and return codes: no palloc, no ereport.
 * A longjmp through libcurl's frames would corrupt the multi handle.  The sink
 * and the source of a stream run there too.  Header values are made ASCII before
 * they go anywhere else.  A callback that fails to keep track marks the engine
 * broken: a session then creates a new one, a worker exits with an error and is
 * restarted.
 *
 * Signals are blocked wherever libcurl may start a resolver thread, which
 * inherits the mask: PostgreSQL's handlers must never run on it.  That is
 * wherever libcurl's state machine runs, but not when a handle is set up, added
 * or removed: adding one only sets a timer.
 *
 * Idle connections are kept for 25 s, and stay in the poller.  libcurl stops
 * watching a socket after each exchange and starts again with the next; for
 * sockets that we opened (OnOpenSocket) this costs no system call.  One that
 * reports something while idle, because the peer has closed it, is removed
 * (IsIdle).
 *
 * Sent or not.  OnBeforeRequest is called when connection and TLS are up and the
 * request is about to be written.  What fails before is NOT_SENT, after it LOST.
 *
 * A body is sent once.  libcurl resends a request on a new connection when a
 * reused one turns out dead (Curl_retry_request), and a submit would be paid for
 * twice.  It announces each sending to OnBeforeRequest, which rejects the second
 * one of a request with a body; a streamed body cannot be rewound.  The exchange
 * is then LOST.  To make this rare, the connection is checked just before a body
 * goes out on it (IsHungUp; newer libcurl checks an idle one only once a second):
 * if the peer has hung up, nothing was sent, and the request starts afresh on a
 * new connection.
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
 * Addresses are judged when a socket is opened, after DNS (OnOpenSocket), by
 * the filter in the spec.  Redirects are never followed here: a copy follows its
 * own, and judges each.
 *
 * Off: proxies except vibevideo.proxy, netrc, signals, SSLKEYLOGFILE, protocols
 * other than http and https, and Expect: 100-continue (except for S3).
 *
 * HTTP/2 is used over TLS where server and libcurl have it.  A request, unless it
 * is a stream, waits for a connection that is being set up rather than open
 * another one.
 *
 * Handles go back to the engine's pool, except those of streams, which have large
 * buffers.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/poll.h>
#include <time.h>

#include "miscadmin.h"
#include "storage/fd.h"

#include "compat.h"
#include "guc.h"
#include "http.h"
#include "poller.h"

/* QUICK_EXIT (7.87): a cancelled lookup is abandoned, not waited for */
#if LIBCURL_VERSION_NUM < 0x075700
#error "vibevideo needs libcurl 7.87 or newer"
#endif

#define STREAM_BUFFER (512 * 1024) /* libcurl's buffer for a streamed body: half the size costs a third more CPU */
#define IDLE_CONNECTION_AGE 25L	   /* s; less than the idle timeouts of common servers */
#define EXPECT_PATIENCE_MS 200L	   /* then the body is sent anyway */
#define MAX_WAIT_MS 500			   /* while requests run, so that a stall shows as a late return */
#define STALL_MS 100			   /* a longer gap is a stall */
#define NO_DEADLINE PG_INT64_MAX

/* Requests in order of arrival.  Each is in at most one queue: its host's, or the engine's of done ones. */
typedef struct RequestQueue
{
	HttpRequest *head;
	HttpRequest *tail;
} RequestQueue;

/* A server, by name and port: see "One host". */
typedef struct HttpHost
{
	struct HttpHost *next; /* in engine->hosts */
	int users;			   /* requests that point here */
	int begun;			   /* how many of them are in the multi handle */
	RequestQueue waiting;  /* the others */
	char name[];		   /* as the URL has it */
} HttpHost;

/*
 * A socket that we opened for libcurl, and have to close.  libcurl stops
 * watching it after each exchange and starts again with the next; meanwhile it
 * stays in the poller.
 */
typedef struct HttpSocket
{
	bool open;
	int wanted;	 /* CURL_POLL_IN, _OUT, both or 0: an idle connection */
	int watched; /* what is set in the poller */
	int port;	 /* at our own end, 0: not known yet */
} HttpSocket;

struct HttpRequest
{
	/* created once, kept when the request returns to the engine's pool */
	HttpEngine *engine;
	CURL *easy;

	/* everything from here on belongs to one exchange */
	HttpRequest *next; /* in engine->requests, or in engine->pool */
	HttpRequest *prev;
	RequestQueue *queue; /* NULL: in none */
	HttpRequest *next_queued;
	struct curl_slist *headers;
	HttpHost *host;		 /* NULL: without a limit */
	int64 waiting_since; /* ms, see MonotonicMs */
	int wait_limit;
	int timeout;		 /* ms, 0: none */
	int connect_timeout; /* ms */
	int64 begun_at;		 /* in engine->attended */
	int64 moved_at;		 /* the round in which something was last sent or received */
	bool running;		 /* not done */
	bool begun;			 /* in the multi handle */
	bool waiting;		 /* not yet in the multi handle, but in the host's queue */
	bool sent;			 /* libcurl was about to write the request */
	bool forbidden;		 /* blocked by our address filter */
	bool aborted;		 /* by sink or source */
	bool closed;		 /* the connection was closed before an answer; libcurl wanted to resend it */
	bool stale;			 /* the connection was closed before anything was sent */
	bool afresh;		 /* ... and this is the second start, on a new connection */
	bool late;			 /* its timeout has expired */
	bool too_large;
	HttpAddressFilter accepts;
	bool proxied;
	bool send_paused;
	bool recv_paused;
	char *body; /* what we send */
	size_t body_len;
	char *answer; /* what we got */
	size_t answer_len;
	size_t answer_size;
	size_t max_response;
	HttpSink sink;
	HttpSource source;
	void *stream_arg;
	void *owner;
	HttpReply reply;
	char errbuf[CURL_ERROR_SIZE];
};

struct HttpEngine
{
	CURLM *multi;
	int poller;
	WaitEventSet *wait_set;
	bool timer_armed;
	int64 timer_at;		 /* ms, see MonotonicMs */
	int64 attended;		 /* ms in which we looked: see "Timeouts" */
	int64 looked_at;	 /* ms, see MonotonicMs; when we did last */
	int64 next_deadline; /* in attended; no request's is earlier */
	int64 round;		 /* so often sockets were served */
	bool broken;		 /* a callback failed: state unknown, start over */
	int running;
	int waiting;
	HttpHost *hosts;
	HttpSocket *sockets; /* by descriptor */
	int nsockets;		 /* capacity of sockets */
	int max_pool;
	int npool;
	HttpRequest *pool; /* idle handles: creating one costs more than a request */
	HttpRequest *requests;
	RequestQueue done;
};

static uint32 wait_event = 0;
static const char *default_ca_file = NULL; /* libcurl's built-in default */

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

static int64
MonotonicMs(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*----------
 * Callbacks: no palloc, no ereport
 *----------
 */
static int
OnTimer(CURLM *multi, long timeout_ms, void *arg)
{
	HttpEngine *engine = arg;

	engine->timer_armed = (timeout_ms >= 0);
	if (engine->timer_armed)
		engine->timer_at = MonotonicMs() + timeout_ms;
	return 0;
}

/* NULL if we did not open it: libcurl has others, for its resolver threads. */
static HttpSocket *
FindSocket(HttpEngine *engine, int fd)
{
	return fd < engine->nsockets && engine->sockets[fd].open ? &engine->sockets[fd] : NULL;
}

/* Out of memory it stays unknown, which only costs speed. */
static void
RememberSocket(HttpEngine *engine, int fd)
{
	if (fd >= engine->nsockets)
	{
		int room = Max(engine->nsockets * 2, fd + 1);
		HttpSocket *larger = realloc(engine->sockets, sizeof(HttpSocket) * room);

		if (larger == NULL)
			return;
		memset(larger + engine->nsockets, 0, sizeof(HttpSocket) * (room - engine->nsockets));
		engine->sockets = larger;
		engine->nsockets = room;
	}
	engine->sockets[fd] = (HttpSocket){.open = true};
}

/* The poller forgets it automatically. */
static int
OnCloseSocket(void *arg, curl_socket_t fd)
{
	HttpSocket *socket = FindSocket(arg, fd);

	if (socket)
		socket->open = false;
	return close(fd);
}

static bool
Watch(HttpEngine *engine, int fd, bool known, int what)
{
	return PollerSet(engine->poller, fd, known, (what & CURL_POLL_IN) != 0, (what & CURL_POLL_OUT) != 0);
}

static int
OnSocket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	HttpEngine *engine = arg;
	HttpSocket *socket = FindSocket(engine, fd);

	if (socket)
	{
		socket->wanted = (what == CURL_POLL_REMOVE) ? 0 : what;
		if (socket->wanted != 0 && socket->wanted != socket->watched)
		{
			engine->broken |= !Watch(engine, fd, socket->watched != 0, what);
			socket->watched = what;
		}
		return 0;
	}
	if (what == CURL_POLL_REMOVE)
		PollerRemove(engine->poller, fd);
	else
		engine->broken |= !Watch(engine, fd, known != NULL, what);
	curl_multi_assign(engine->multi, fd, what == CURL_POLL_REMOVE ? NULL : engine);
	return 0;
}

/* An event on an idle connection means that the peer has closed it, or that a paused one has data. */
static bool
IsIdle(HttpEngine *engine, int fd)
{
	HttpSocket *socket = FindSocket(engine, fd);

	if (socket == NULL || socket->wanted != 0)
		return false;
	PollerRemove(engine->poller, fd);
	socket->watched = 0;
	return true;
}

static int
LocalPort(int fd)
{
	union
	{
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} name;
	socklen_t len = sizeof(name);

	if (getsockname(fd, &name.any, &len) != 0)
		return 0;
	return ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
}

/* Has the peer closed the connection with this local port? */
static bool
IsHungUp(HttpEngine *engine, int port)
{
	for (int fd = 0; fd < engine->nsockets; fd++)
	{
		HttpSocket *known = FindSocket(engine, fd);
		struct pollfd look = {.fd = fd, .events = POLLRDHUP};

		if (known == NULL)
			continue;
		if (known->port == 0)
			known->port = LocalPort(fd);
		if (known->port == port)
			return poll(&look, 1, 0) > 0;
	}
	return false;
}

/*
 * The last moment at which nothing of the request has left this machine.  A
 * second call means that libcurl is about to resend it.  Newer libcurl checks
 * an idle connection only once a second: one that was closed since would
 * swallow a request, whose fate is then unknown.
 */
static int
OnBeforeRequest(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	HttpRequest *request = arg;

	if (request->sent && request->body_len > 0)
	{
		request->closed = true;
		return CURL_PREREQFUNC_ABORT;
	}
	if ((request->body_len > 0 || request->source) && IsHungUp(request->engine, local_port))
	{
		request->stale = true;
		return CURL_PREREQFUNC_ABORT;
	}
	request->sent = true;
	request->moved_at = request->engine->round;
	return CURL_PREREQFUNC_OK;
}

/* Checks the resolved address, which no trick with the URL can disguise. */
static curl_socket_t
OnOpenSocket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	HttpRequest *request = arg;
	int fd;

	/* with a proxy, this is the proxy's address, which the operator has chosen */
	if (request->accepts && !request->proxied && !request->accepts(&address->addr))
	{
		request->forbidden = true;
		return CURL_SOCKET_BAD;
	}
#ifdef SOCK_CLOEXEC
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
	fd = socket(address->family, address->socktype, address->protocol);
	if (fd >= 0)
		(void) fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
	if (fd >= 0)
		RememberSocket(request->engine, fd);
	return fd;
}

/* Bytes from outside end up in tables and logs: keep what is safe in any encoding. */
static void
MakeAscii(char *text)
{
	for (; *text; text++)
		if ((unsigned char) *text < 0x20 || (unsigned char) *text > 0x7e)
			*text = '?';
}

static void
CopyHeaderValue(const char *value, size_t len, char *out, size_t size)
{
	while (len > 0 && (*value == ' ' || *value == '\t'))
		value++, len--;
	while (len > 0 && (value[len - 1] == '\r' || value[len - 1] == '\n' || value[len - 1] == ' ' || value[len - 1] == '\t'))
		len--;
	if (len >= size)
		len = size - 1;
	memcpy(out, value, len);
	out[len] = '\0';
	MakeAscii(out);
}

#define REPLY_FIELD(f) offsetof(HttpReply, f), sizeof(((HttpReply *) NULL)->f)

static const struct
{
	const char *name;
	size_t offset;
	size_t size;
} wanted_headers[] =
	{
		{"content-type:", REPLY_FIELD(content_type)},
		{"date:", REPLY_FIELD(date)},
		{"retry-after:", REPLY_FIELD(retry_after)},
		{"x-fal-request-id:", REPLY_FIELD(fal_request_id)},
		{"x-fal-error-type:", REPLY_FIELD(fal_error_type)},
		{"x-fal-retryable:", REPLY_FIELD(fal_retryable)},
		{"x-fal-needs-retry:", REPLY_FIELD(fal_needs_retry)},
		{"x-fal-request-timeout-type:", REPLY_FIELD(fal_timeout_type)},
		{"location:", REPLY_FIELD(location)},
		{"upload-offset:", REPLY_FIELD(upload_offset)},
		{"upload-length:", REPLY_FIELD(upload_length)},
		{"upload-metadata:", REPLY_FIELD(upload_metadata)},
		{"content-range:", REPLY_FIELD(content_range)},
		{"etag:", REPLY_FIELD(etag)},
};

static size_t
OnHeader(char *data, size_t size, size_t nmemb, void *arg)
{
	HttpRequest *request = arg;
	size_t len = size * nmemb;

	request->moved_at = request->engine->round;
	/* a new status line: forget the headers of an interim (1xx) response */
	if (len > 5 && memcmp(data, "HTTP/", 5) == 0)
	{
		for (size_t i = 0; i < lengthof(wanted_headers); i++)
			((char *) &request->reply)[wanted_headers[i].offset] = '\0';
		return len;
	}
	for (size_t i = 0; i < lengthof(wanted_headers); i++)
	{
		size_t name_len = strlen(wanted_headers[i].name);

		if (len > name_len && pg_strncasecmp(data, wanted_headers[i].name, name_len) == 0)
		{
			CopyHeaderValue(data + name_len, len - name_len,
							(char *) &request->reply + wanted_headers[i].offset,
							wanted_headers[i].size);
			break;
		}
	}
	return len;
}

static void
ReadResponseInfo(HttpRequest *request)
{
	long status = 0;
	curl_off_t length = -1;

	curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(request->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	request->reply.status = (int) status;
	request->reply.content_length = length;
}

static bool
AppendAnswer(HttpRequest *request, const char *data, size_t len)
{
	if (len > request->max_response - request->answer_len)
	{
		request->too_large = true;
		return false;
	}
	if (request->answer_len + len > request->answer_size)
	{
		size_t size = Max(request->answer_size * 2, request->answer_len + len);
		char *grown = realloc(request->answer, Max(size, (size_t) 1024));

		if (grown == NULL)
			return false;
		request->answer = grown;
		request->answer_size = Max(size, (size_t) 1024);
	}
	memcpy(request->answer + request->answer_len, data, len);
	request->answer_len += len;
	return true;
}

static size_t
OnBody(char *data, size_t size, size_t nmemb, void *arg)
{
	HttpRequest *request = arg;
	size_t len = size * nmemb;
	size_t taken;

	request->moved_at = request->engine->round;
	if (request->reply.status == 0)
		ReadResponseInfo(request);
	if (request->sink == NULL || request->reply.status < 200 || request->reply.status > 299)
		return AppendAnswer(request, data, len) ? len : 0;

	taken = request->sink(request->stream_arg, data, len);
	if (taken == HTTP_PAUSE)
	{
		request->recv_paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (taken == HTTP_ABORT)
	{
		request->aborted = true;
		return 0;
	}
	return taken;
}

static size_t
OnSend(char *data, size_t size, size_t nmemb, void *arg)
{
	HttpRequest *request = arg;
	size_t len = size * nmemb;
	size_t given;

	/* a PUT without a body; a POST's body is not read through this */
	if (request->source == NULL)
		return 0;
	given = request->source(request->stream_arg, data, len);
	if (given == HTTP_PAUSE)
	{
		request->send_paused = true;
		return CURL_READFUNC_PAUSE;
	}
	if (given == HTTP_ABORT)
	{
		request->aborted = true;
		return CURL_READFUNC_ABORT;
	}
	return given;
}

/* libcurl wants to rewind the body, to resend the request */
static int
OnRewind(void *arg, curl_off_t offset, int origin)
{
	HttpRequest *request = arg;

	if (request->source == NULL)
		return CURL_SEEKFUNC_OK;
	request->closed = true;
	return CURL_SEEKFUNC_FAIL;
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
	default_ca_file = curl_version_info(CURLVERSION_NOW)->cainfo;
	done = true;
}

static CURLM *
CreateMulti(HttpEngine *engine, int max_connections)
{
	CURLM *multi = curl_multi_init();

	if (multi == NULL)
		return NULL;
	if (curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, OnSocket) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, engine) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, OnTimer) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_TIMERDATA, engine) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) max_connections) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) max_connections) != CURLM_OK)
	{
		curl_multi_cleanup(multi);
		return NULL;
	}
	return multi;
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
		curl_easy_cleanup(request->easy);
		free(request);
	}
	curl_multi_cleanup(engine->multi);
	UnmaskSignals(&saved);
	if (engine->wait_set)
		FreeWaitEventSet(engine->wait_set);
	PollerClose(engine->poller);
	ReleaseExternalFD();
	free(engine->sockets);
	free(engine);
}

HttpEngine *
HttpEngineCreate(int max_connections)
{
	HttpEngine *engine;
	sigset_t saved;

	InitLibcurl();
	engine = calloc(1, sizeof(HttpEngine));
	if (engine == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	engine->max_pool = max_connections;
	engine->next_deadline = NO_DEADLINE;
	engine->looked_at = MonotonicMs();
	engine->poller = PollerCreate();
	if (engine->poller < 0)
	{
		int save = errno;

		free(engine);
		errno = save;
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not create epoll descriptor: %m")));
	}
	MaskSignals(&saved);
	engine->multi = CreateMulti(engine, max_connections);
	UnmaskSignals(&saved);
	if (engine->multi == NULL)
	{
		PollerClose(engine->poller);
		free(engine);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not create libcurl multi handle")));
	}
	ReserveExternalFD();
	PG_TRY();
	{
		engine->wait_set = CompatCreateWaitEventSet(3);
		AddWaitEventToSet(engine->wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(engine->wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		AddWaitEventToSet(engine->wait_set, WL_SOCKET_READABLE, engine->poller, NULL, NULL);
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
	curl_multi_setopt(engine->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) max_connections);
	curl_multi_setopt(engine->multi, CURLMOPT_MAXCONNECTS, (long) max_connections);
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
	return engine->waiting;
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
BuildHeaders(HttpRequest *request, const HttpSpec *spec)
{
	/*
	 * Expect would cost a round trip, and proxies stall on it for a second.
	 * But libcurl 7.88 signs even a header that is removed this way.
	 */
	if (spec->sigv4 == NULL)
	{
		request->headers = curl_slist_append(NULL, "Expect:");
		if (request->headers == NULL)
			return false;
	}
	for (const char *const *header = spec->headers; header && *header; header++)
	{
		struct curl_slist *longer = curl_slist_append(request->headers, *header);

		if (longer == NULL)
			return false;
		request->headers = longer;
	}
	return true;
}

#define SET(option, value) \
	do \
	{ \
		if (curl_easy_setopt(easy, option, value) != CURLE_OK) \
			return false; \
	} while (0)

/* Options for every exchange of a handle: limits, and nothing from the environment. */
static bool
SetLastingOptions(HttpRequest *request)
{
	CURL *easy = request->easy;

	SET(CURLOPT_PRIVATE, request);
	SET(CURLOPT_ERRORBUFFER, request->errbuf);
	SET(CURLOPT_PROTOCOLS_STR, "https,http");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_USERAGENT, "vibevideo/" VIBEVIDEO_VERSION);
	SET(CURLOPT_MAXAGE_CONN, IDLE_CONNECTION_AGE);
	/* a libcurl without HTTP/2 rejects this, and uses 1.1 */
	(void) curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_PREREQFUNCTION, OnBeforeRequest);
	SET(CURLOPT_PREREQDATA, request);
	SET(CURLOPT_OPENSOCKETFUNCTION, OnOpenSocket);
	SET(CURLOPT_OPENSOCKETDATA, request);
	SET(CURLOPT_CLOSESOCKETFUNCTION, OnCloseSocket);
	SET(CURLOPT_CLOSESOCKETDATA, request->engine);
	SET(CURLOPT_HEADERFUNCTION, OnHeader);
	SET(CURLOPT_HEADERDATA, request);
	SET(CURLOPT_WRITEFUNCTION, OnBody);
	SET(CURLOPT_WRITEDATA, request);
	SET(CURLOPT_READFUNCTION, OnSend);
	SET(CURLOPT_READDATA, request);
	SET(CURLOPT_SEEKFUNCTION, OnRewind);
	SET(CURLOPT_SEEKDATA, request);
	return true;
}

static bool
SetOptions(HttpRequest *request, const HttpSpec *spec)
{
	CURL *easy = request->easy;
	bool stream = (spec->sink != NULL || spec->source != NULL);
	const char *ca_file = vv_ca_file && vv_ca_file[0] ? vv_ca_file : default_ca_file;

	SET(CURLOPT_URL, spec->url);
	SET(CURLOPT_FRESH_CONNECT, 0L);
	/* an empty one keeps libcurl from reading the environment */
	SET(CURLOPT_PROXY, request->proxied ? vv_proxy : "");
	SET(CURLOPT_HTTPHEADER, request->headers);
	/* that of the whole exchange is ours: see "Timeouts" */
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) spec->connect_timeout);
	/* always, since the handle may have been used with another setting */
	if (ca_file)
		SET(CURLOPT_CAINFO, ca_file);

	/*
	 * Wait for a pending HTTP/2 connection rather than open another one.  Over
	 * TLS it is known to be HTTP/2 after the handshake, over plain http only
	 * after the first answer, so that one slow request would hold up all
	 * others.
	 */
	SET(CURLOPT_PIPEWAIT, !stream && strncmp(spec->url, "https:", 6) == 0 ? 1L : 0L);
	if (spec->sink)
		SET(CURLOPT_BUFFERSIZE, (long) STREAM_BUFFER);
	if (spec->source)
		SET(CURLOPT_UPLOAD_BUFFERSIZE, (long) STREAM_BUFFER);
	/* only streams are signed, and their handles are not reused */
	if (spec->sigv4)
	{
		SET(CURLOPT_AWS_SIGV4, spec->sigv4);
		SET(CURLOPT_USERPWD, spec->userpwd);
		SET(CURLOPT_EXPECT_100_TIMEOUT_MS, EXPECT_PATIENCE_MS);
	}
	return true;
}

/* HTTPGET also resets what an earlier exchange set in the handle. */
static bool
SetMethod(HttpRequest *request, const HttpSpec *spec)
{
	CURL *easy = request->easy;

	SET(CURLOPT_HTTPGET, 1L);
	if (spec->method == HTTP_POST)
	{
		/* with POSTFIELDS the body is sent together with the headers */
		SET(CURLOPT_POSTFIELDS, request->body ? request->body : "");
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) spec->body_len);
		SET(CURLOPT_POST, 1L);
	}
	else if (spec->method == HTTP_PUT || spec->method == HTTP_PATCH)
	{
		SET(CURLOPT_UPLOAD, 1L);
		SET(CURLOPT_INFILESIZE_LARGE, spec->source ? (curl_off_t) spec->source_size : 0);
		/* handles of streams are not reused, so nothing has to reset this */
		if (spec->method == HTTP_PATCH)
			SET(CURLOPT_CUSTOMREQUEST, "PATCH");
	}
	else if (spec->method == HTTP_HEAD)
		SET(CURLOPT_NOBODY, 1L);
	return true;
}

static bool
CopyBody(HttpRequest *request, const HttpSpec *spec)
{
	if (spec->body_len == 0)
		return true;
	request->body = malloc(spec->body_len);
	if (request->body == NULL)
		return false;
	memcpy(request->body, spec->body, spec->body_len);
	request->body_len = spec->body_len;
	return true;
}

/* An idle handle, or a new one; NULL when there is no memory. */
static HttpRequest *
AcquireHandle(HttpEngine *engine)
{
	HttpRequest *request = engine->pool;

	if (request)
	{
		engine->pool = request->next;
		engine->npool--;
		memset((char *) request + offsetof(HttpRequest, next), 0, sizeof(HttpRequest) - offsetof(HttpRequest, next));
		return request;
	}
	request = calloc(1, sizeof(HttpRequest));
	if (request == NULL)
		return NULL;
	request->engine = engine;
	request->easy = curl_easy_init();
	if (request->easy && SetLastingOptions(request))
		return request;
	if (request->easy)
		curl_easy_cleanup(request->easy);
	free(request);
	return NULL;
}

/* Handles of streams are not kept: they have large buffers. */
static void
ReleaseHandle(HttpRequest *request)
{
	HttpEngine *engine = request->engine;

	if (request->sink == NULL && request->source == NULL && engine->npool < engine->max_pool)
	{
		request->next = engine->pool;
		engine->pool = request;
		engine->npool++;
		return;
	}
	curl_easy_cleanup(request->easy);
	free(request);
}

/*----------
 * Queues
 *----------
 */
static void
PutLast(RequestQueue *queue, HttpRequest *request)
{
	if (queue->tail)
		queue->tail->next_queued = request;
	else
		queue->head = request;
	queue->tail = request;
	request->queue = queue;
}

/* from any position; does nothing if it is in no queue */
static void
LeaveQueue(HttpRequest *request)
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
 * Timeouts, see the head of this file
 *----------
 */

/* Count the time since we last looked; what exceeds the plan is a stall, which does not count. */
static void
Attend(HttpEngine *engine, long planned_ms)
{
	int64 now = MonotonicMs();

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

/* NULL when there is no memory. */
static HttpHost *
JoinHost(HttpEngine *engine, const char *url)
{
	const char *name = strstr(url, "://");
	size_t len;
	HttpHost *host;

	name = name ? name + 3 : url;
	len = strcspn(name, "/?#");
	for (host = engine->hosts; host; host = host->next)
		if (pg_strncasecmp(host->name, name, len) == 0 && host->name[len] == '\0')
			break;
	if (host == NULL)
	{
		host = calloc(1, sizeof(HttpHost) + len + 1);
		if (host == NULL)
			return NULL;
		memcpy(host->name, name, len);
		host->next = engine->hosts;
		engine->hosts = host;
	}
	host->users++;
	return host;
}

static void
LeaveHost(HttpEngine *engine, HttpHost *host)
{
	HttpHost **link = &engine->hosts;

	if (--host->users > 0)
		return;
	while (*link != host)
		link = &(*link)->next;
	*link = host->next;
	free(host);
}

static void
Enqueue(HttpRequest *request)
{
	PutLast(&request->host->waiting, request);
	request->waiting = true;
	request->waiting_since = MonotonicMs();
	request->engine->waiting++;
}

static void
EndWaiting(HttpRequest *request)
{
	LeaveQueue(request);
	request->waiting = false;
	request->engine->waiting--;
}

static bool
HasRoom(const HttpHost *host)
{
	return vv_max_host_requests == 0 || host->begun < vv_max_host_requests;
}

static bool
StartExchange(HttpRequest *request)
{
	if (curl_multi_add_handle(request->engine->multi, request->easy) != CURLM_OK)
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

	for (HttpRequest *request = host->waiting.head; request && HasRoom(host); request = next)
	{
		next = request->next_queued;
		if (HttpIsLate(request))
			continue;
		EndWaiting(request);
		if (!StartExchange(request))
			FinishRequest(request, CURLE_OUT_OF_MEMORY);
	}
}

static bool
StartOrQueue(HttpRequest *request, const HttpSpec *spec)
{
	if (spec->outside)
	{
		request->host = JoinHost(request->engine, spec->url);
		if (request->host == NULL)
			return false;
		/* the limit may have been raised meanwhile */
		if (request->host->waiting.head)
			StartThoseWaiting(request->host);
		if (!HasRoom(request->host))
		{
			Enqueue(request);
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
		EndWaiting(request);
	if (!request->begun)
		return;
	curl_multi_remove_handle(request->engine->multi, request->easy);
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
		MonotonicMs() - request->waiting_since > request->wait_limit;
}

HttpRequest *
HttpStart(HttpEngine *engine, const HttpSpec *spec)
{
	HttpRequest *request = AcquireHandle(engine);

	if (request)
	{
		LinkRequest(engine, request);
		request->accepts = spec->accepts;
		request->proxied = spec->outside && vv_proxy[0] != '\0';
		request->max_response = spec->max_response;
		request->sink = spec->sink;
		request->source = spec->source;
		request->stream_arg = spec->stream_arg;
		request->owner = spec->owner;
		request->wait_limit = spec->wait_limit;
		request->timeout = spec->timeout;
		request->connect_timeout = spec->connect_timeout;
		request->reply.content_length = -1;
		request->running = CopyBody(request, spec) &&
			BuildHeaders(request, spec) &&
			SetOptions(request, spec) &&
			SetMethod(request, spec) &&
			StartOrQueue(request, spec);
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

	LeaveQueue(request);
	UnlinkRequest(request);
	if (request->running)
		engine->running--;
	Stop(request);
	if (request->host)
		LeaveHost(engine, request->host);
	curl_slist_free_all(request->headers);
	free(request->body);
	free(request->answer);
	ReleaseHandle(request);
}

/* Only failures before OnBeforeRequest are definitely "not sent". */
static void
JudgeFailure(HttpRequest *request, CURLcode rc)
{
	HttpReply *reply = &request->reply;
	const char *why;

	reply->timed_out = request->late || rc == CURLE_OPERATION_TIMEDOUT;
	if (request->too_large)
		reply->outcome = HTTP_TOO_LARGE;
	else if (request->aborted)
		reply->outcome = HTTP_CANCELLED;
	else if (request->forbidden && !request->sent)
		reply->outcome = HTTP_FORBIDDEN;
	else
		reply->outcome = request->sent ? HTTP_LOST : HTTP_NOT_SENT;
	if (request->forbidden)
		why = "the host's address is not public";
	else if (request->too_large)
		why = "the answer is too large";
	else if (request->closed)
		why = "the server closed the connection without an answer";
	else if (request->stale)
		why = "the server closed the connection before anything was sent";
	else if (request->errbuf[0])
		why = request->errbuf;
	else
		why = curl_easy_strerror(rc);
	strlcpy(reply->error, why, sizeof(reply->error));
	MakeAscii(reply->error);
}

static void
FinishRequest(HttpRequest *request, CURLcode rc)
{
	HttpEngine *engine = request->engine;

	if (request->begun)
		ReadResponseInfo(request);
	request->reply.body = request->answer ? request->answer : "";
	request->reply.body_len = request->answer_len;
	if (rc == CURLE_OK)
		request->reply.outcome = HTTP_ANSWERED;
	else
		JudgeFailure(request, rc);
	request->running = false;
	engine->running--;
	Stop(request);
	PutLast(&engine->done, request);
}

/*
 * On a new connection: the one it was to go on is gone, which is believed once,
 * or connecting was cut by a stall.  Nothing was sent.
 */
static bool
StartAfresh(HttpRequest *request, CURLcode result)
{
	CURLM *multi = request->engine->multi;

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

	while ((message = curl_multi_info_read(engine->multi, &left)) != NULL)
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

static long
MillisecondsToTimer(HttpEngine *engine)
{
	return (long) Max(engine->timer_at - MonotonicMs(), 0);
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
		if (IsLate(request) && request->moved_at != engine->round)
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
ServeTimer(HttpEngine *engine)
{
	int running;

	if (!engine->timer_armed || MillisecondsToTimer(engine) > 0)
		return;
	engine->timer_armed = false;
	if (curl_multi_socket_action(engine->multi, CURL_SOCKET_TIMEOUT, 0, &running) != CURLM_OK)
		engine->broken = true;
}

/* Let libcurl work on the sockets that are ready; false if there may be more of these. */
static bool
ServeSockets(HttpEngine *engine)
{
	PollerEvent events[POLLER_MAX_EVENTS];
	int running;
	int n = PollerWait(engine->poller, events);

	for (int i = 0; i < n; i++)
	{
		int what;

		if (IsIdle(engine, events[i].fd))
			continue;
		what = (events[i].readable ? CURL_CSELECT_IN : 0) |
			(events[i].writable ? CURL_CSELECT_OUT : 0) |
			(events[i].failed ? CURL_CSELECT_ERR : 0);

		if (curl_multi_socket_action(engine->multi, events[i].fd, what, &running) != CURLM_OK)
			engine->broken = true;
	}
	return n < POLLER_MAX_EVENTS;
}

static void
Serve(HttpEngine *engine)
{
	sigset_t saved;
	bool all;

	MaskSignals(&saved);
	engine->round++;
	all = ServeSockets(engine);
	ServeTimer(engine);
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
	if (engine->timer_armed)
		timeout_ms = Min(timeout_ms, MillisecondsToTimer(engine));
	if (engine->running > engine->waiting)
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
	if (engine->broken)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("vibevideo lost track of libcurl's sockets")));
}

HttpRequest *
HttpNextDone(HttpEngine *engine)
{
	HttpRequest *request = engine->done.head;

	if (request)
		LeaveQueue(request);
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
		ReadResponseInfo(request);
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

	if (engine && engine->broken)
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
