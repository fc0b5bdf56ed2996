/*
 * exchange.c
 *	  One HTTP exchange: sets up a handle of libcurl for it, and takes part in it
 *	  through libcurl's callbacks.
 *
 * Nothing in this file pallocs or throws: a longjmp through libcurl's frames
 * would corrupt the multi handle.  The sink and the source of a stream run here
 * too.  Header values are made ASCII before they go anywhere else.
 *
 * Sent or not.  OnBeforeRequest is called when connection and TLS are up and the
 * request is about to be written.  What fails before is NOT_SENT, after it LOST.
 *
 * A submit has a connection of its own (spec->alone), by HTTP/1.1, opened for
 * it and closed after it.  On one that is shared or kept, others decide its fate:
 * when an HTTP/2 connection dies, all the submits on it are in doubt, and a server
 * that ends a connection after so many requests, or restarts, may do so just as
 * the next request arrives.
 *
 * A body is sent once.  libcurl resends a request on a new connection when a
 * reused one turns out dead or its stream was refused (Curl_retry_request).  A
 * submit would be paid for twice, and what a source has given is gone.  libcurl
 * announces each sending to OnBeforeRequest, which rejects the second one then;
 * the exchange is LOST.  To make this rare, a kept connection is checked just
 * before a body goes out on it (MultiIsHungUp; newer libcurl checks an idle one
 * only once a second): if the peer has hung up, nothing was sent, and the engine
 * starts the request afresh on a new connection.
 *
 * An answer goes to whoever asked.  libcurl up to 7.88 puts a request on any
 * connection in use to a host that has an HTTP/2 one as well, even on one that
 * speaks HTTP/1.1 (ConnectionExists: "Multiplexed connection found"): behind
 * another request, whose answer it may then get.  A host has both when it gives
 * HTTP/1.1 to some connections, or asks for it (HTTP_1_1_REQUIRED), and when a
 * submit is under way.  So what is alone asks for TLS in other words than the
 * rest, since libcurl shares no connection then, and a used connection that
 * speaks HTTP/1.1 over TLS is left (MustLeave) where HTTP/2 is spoken at all.
 *
 * Addresses are judged when a socket is opened, after DNS (OnOpenSocket), by
 * the filter in the spec.  Redirects are never followed here: a copy follows its
 * own, and judges each.
 *
 * Off: proxies except vibevideo.proxy, netrc, signals, protocols other than http
 * and https, and Expect: 100-continue (except for S3).
 *
 * Other idle connections are kept for 25 s.  HTTP/2 is used over TLS where server
 * and libcurl have it.  A request, unless it is a stream, waits for a connection
 * that is being set up rather than open another one.
 */
#include "postgres.h"

#include <openssl/ssl.h>

#include "exchange.h"
#include "guc.h"

/* QUICK_EXIT (7.87): a cancelled lookup is abandoned, not waited for */
#if LIBCURL_VERSION_NUM < 0x075700
#error "vibevideo needs libcurl 7.87 or newer"
#endif

#define STREAM_BUFFER (512 * 1024) /* libcurl's buffer for a streamed body: half the size costs a third more CPU */
#define IDLE_CONNECTION_AGE 25L	   /* s; less than the idle timeouts of common servers */
#define EXPECT_PATIENCE_MS 200L	   /* then the body is sent anyway */

static const char *default_ca_file = NULL; /* libcurl's built-in default */
static bool speaks_http2 = false;

/* It is libcurl that needs the library; with another one there is no such function. */
#pragma weak SSL_get0_alpn_selected

void
ExchangeInit(void)
{
	curl_version_info_data *libcurl = curl_version_info(CURLVERSION_NOW);

	default_ca_file = libcurl->cainfo;
	/* only where we can tell which connections may be shared: see the head of this file */
	speaks_http2 = (libcurl->features & CURL_VERSION_HTTP2) && SSL_get0_alpn_selected != NULL &&
		libcurl->ssl_version && strncmp(libcurl->ssl_version, "OpenSSL/", strlen("OpenSSL/")) == 0;
}

/*----------
 * Callbacks
 *----------
 */

/* What was agreed on in the handshake (ALPN); false: nothing, without TLS. */
static bool
Agreed(CURL *easy, bool *http2)
{
	struct curl_tlssessioninfo *tls = NULL;
	const unsigned char *name = NULL;
	unsigned int len = 0;

	if (!speaks_http2 || curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &tls) != CURLE_OK || tls == NULL ||
		tls->backend != CURLSSLBACKEND_OPENSSL || tls->internals == NULL)
		return false;
	SSL_get0_alpn_selected(tls->internals, &name, &len);
	*http2 = (len == 2 && memcmp(name, "h2", 2) == 0);
	return true;
}

/* There may be a request on it that has no answer yet: see the head of this file. */
static bool
MustLeave(HttpRequest *request, int local_port)
{
	bool used = MultiUse(request->multi, local_port);
	bool http2;

	if (!Agreed(request->easy, &http2))
		return false;
	request->multi->has_http2 |= http2;
	return used && !http2 && request->multi->has_http2;
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

	if (request->sent && (request->body_len > 0 || request->given))
	{
		request->closed = true;
		return CURL_PREREQFUNC_ABORT;
	}
	if (MustLeave(request, local_port) ||
		((request->body_len > 0 || request->source) && MultiIsHungUp(request->multi, local_port)))
	{
		request->stale = true;
		return CURL_PREREQFUNC_ABORT;
	}
	request->sent = true;
	request->moved_at = request->multi->round;
	return CURL_PREREQFUNC_OK;
}

/* Checks the resolved address, which no trick with the URL can disguise. */
static curl_socket_t
OnOpenSocket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	HttpRequest *request = arg;

	/* with a proxy, this is the proxy's address, which the operator has chosen */
	if (request->accepts && !request->proxied && !request->accepts(&address->addr))
	{
		request->forbidden = true;
		return CURL_SOCKET_BAD;
	}
	return MultiOpenSocket(request->multi, address);
}

/* Bytes from outside end up in tables and logs: keep what is safe in any encoding. */
static void
MakeAscii(char *text)
{
	for (; *text; text++)
		if ((unsigned char) *text < 0x20 || (unsigned char) *text > 0x7e)
			*text = '?';
}

static const char *
TrimHeaderValue(const char *value, size_t *len)
{
	while (*len > 0 && (*value == ' ' || *value == '\t'))
		value++, (*len)--;
	while (*len > 0 && strchr("\r\n \t", value[*len - 1]) != NULL)
		(*len)--;
	return value;
}

static void
CopyHeaderValue(const char *value, size_t len, char *out, size_t size)
{
	value = TrimHeaderValue(value, &len);
	if (len >= size)
		len = size - 1;
	memcpy(out, value, len);
	out[len] = '\0';
	MakeAscii(out);
}

/* A URL leads elsewhere if it is cut, or if a letter in it is replaced. */
static void
CopyHeaderUrl(const char *value, size_t len, char *out, size_t size)
{
	size_t used = 0;

	value = TrimHeaderValue(value, &len);
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) value[i];
		bool encode = c > 0x7e;

		if (used + (encode ? 3 : 1) >= size)
		{
			used = 0;
			break;
		}
		if (encode)
			used += (size_t) sprintf(out + used, "%%%02X", c);
		else
			out[used++] = (char) c;
	}
	out[used] = '\0';
	MakeAscii(out);
}

#define REPLY_FIELD(f) offsetof(HttpReply, f), sizeof(((HttpReply *) NULL)->f), CopyHeaderValue
#define REPLY_URL(f) offsetof(HttpReply, f), sizeof(((HttpReply *) NULL)->f), CopyHeaderUrl

static const struct
{
	const char *name;
	size_t offset;
	size_t size;
	void (*copy)(const char *value, size_t len, char *out, size_t size);
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
		{"x-fal-billable-units:", REPLY_FIELD(fal_billable_units)},
		{"location:", REPLY_URL(location)},
		{"upload-offset:", REPLY_FIELD(upload_offset)},
		{"upload-length:", REPLY_FIELD(upload_length)},
		{"upload-metadata:", REPLY_FIELD(upload_metadata)},
		{"tus-max-size:", REPLY_FIELD(tus_max_size)},
		{"content-range:", REPLY_FIELD(content_range)},
		{"etag:", REPLY_FIELD(etag)},
};

/* of a status line: "HTTP/1.1 403 Forbidden", "HTTP/2 403" */
static int
ReadStatus(const char *line, size_t len)
{
	int status = 0;
	size_t i = 0;

	while (i < len && line[i] != ' ')
		i++;
	for (i++; i < len && line[i] >= '0' && line[i] <= '9' && status < 1000; i++)
		status = status * 10 + (line[i] - '0');
	return status;
}

/*
 * A server need not read a body that it rejects, and Storage leaves the rest of it
 * on a connection that it keeps alive: a later request there would wait for ever.
 */
static void
LeaveAfterRefusal(HttpRequest *request, int status)
{
	if (request->source && status >= 300)
		(void) curl_easy_setopt(request->easy, CURLOPT_FORBID_REUSE, 1L);
}

static size_t
OnHeader(char *data, size_t size, size_t nmemb, void *arg)
{
	HttpRequest *request = arg;
	size_t len = size * nmemb;

	request->moved_at = request->multi->round;
	/* a new status line: forget an interim (1xx) response */
	if (len > 5 && memcmp(data, "HTTP/", 5) == 0)
	{
		LeaveAfterRefusal(request, ReadStatus(data, len));
		request->headed = true;
		request->reply.status = 0;
		for (size_t i = 0; i < lengthof(wanted_headers); i++)
			((char *) &request->reply)[wanted_headers[i].offset] = '\0';
		return len;
	}
	for (size_t i = 0; i < lengthof(wanted_headers); i++)
	{
		size_t name_len = strlen(wanted_headers[i].name);

		if (len > name_len && pg_strncasecmp(data, wanted_headers[i].name, name_len) == 0)
		{
			wanted_headers[i].copy(data + name_len, len - name_len,
								   (char *) &request->reply + wanted_headers[i].offset,
								   wanted_headers[i].size);
			break;
		}
	}
	return len;
}

/* Until the answer begins, a handle that was used before has what it knows of the answer before. */
void
ExchangeReadInfo(HttpRequest *request)
{
	long status = 0;
	curl_off_t length = -1;

	if (!request->headed)
		return;
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

	request->moved_at = request->multi->round;
	if (request->reply.status == 0)
		ExchangeReadInfo(request);
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
	request->given |= (given > 0);
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
 * Setting up
 *----------
 */
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
	SET(CURLOPT_PREREQFUNCTION, OnBeforeRequest);
	SET(CURLOPT_PREREQDATA, request);
	SET(CURLOPT_OPENSOCKETFUNCTION, OnOpenSocket);
	SET(CURLOPT_OPENSOCKETDATA, request);
	SET(CURLOPT_CLOSESOCKETFUNCTION, MultiCloseSocket);
	SET(CURLOPT_CLOSESOCKETDATA, request->multi);
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

HttpRequest *
ExchangeCreate(HttpEngine *engine, Multi *multi)
{
	HttpRequest *request = calloc(1, sizeof(HttpRequest));

	if (request == NULL)
		return NULL;
	request->engine = engine;
	request->multi = multi;
	request->easy = curl_easy_init();
	if (request->easy && SetLastingOptions(request))
		return request;
	if (request->easy)
		curl_easy_cleanup(request->easy);
	free(request);
	return NULL;
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

/* A handle may have been used with other ones. */
static bool
SetConnection(HttpRequest *request, const HttpSpec *spec)
{
	CURL *easy = request->easy;
	bool stream = (spec->sink != NULL || spec->source != NULL);

	SET(CURLOPT_FRESH_CONNECT, spec->alone ? 1L : 0L);
	SET(CURLOPT_FORBID_REUSE, spec->alone ? 1L : 0L);
	/* nothing else gets on this connection: see the head of this file */
	SET(CURLOPT_SSLVERSION, spec->alone ? (long) CURL_SSLVERSION_TLSv1_2 : (long) CURL_SSLVERSION_DEFAULT);
	SET(CURLOPT_HTTP_VERSION, spec->alone || !speaks_http2 ? (long) CURL_HTTP_VERSION_1_1 : (long) CURL_HTTP_VERSION_2TLS);

	/*
	 * Wait for a pending HTTP/2 connection rather than open another one.  Over
	 * TLS it is known to be HTTP/2 after the handshake, over plain http only
	 * after the first answer, so that one slow request would hold up all
	 * others.
	 */
	SET(CURLOPT_PIPEWAIT, !stream && !spec->alone && strncmp(spec->url, "https:", 6) == 0 ? 1L : 0L);
	return true;
}

static bool
SetOptions(HttpRequest *request, const HttpSpec *spec)
{
	CURL *easy = request->easy;
	const char *ca_file = vv_ca_file && vv_ca_file[0] ? vv_ca_file : default_ca_file;

	SET(CURLOPT_URL, spec->url);
	/* an empty one keeps libcurl from reading the environment */
	SET(CURLOPT_PROXY, request->proxied ? vv_proxy : "");
	SET(CURLOPT_HTTPHEADER, request->headers);
	/* that of the whole exchange is ours: see http.c */
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) spec->connect_timeout);
	/* always, since the handle may have been used with another setting */
	if (ca_file)
		SET(CURLOPT_CAINFO, ca_file);
	if (spec->sink)
		SET(CURLOPT_BUFFERSIZE, (long) STREAM_BUFFER);
	if (spec->source)
		SET(CURLOPT_UPLOAD_BUFFERSIZE, (long) STREAM_BUFFER);
	/* always, since the handle may have been used for a request that was signed */
	SET(CURLOPT_AWS_SIGV4, spec->sigv4);
	SET(CURLOPT_USERPWD, spec->userpwd);
	if (spec->sigv4)
		SET(CURLOPT_EXPECT_100_TIMEOUT_MS, EXPECT_PATIENCE_MS);
	return true;
}

/* The first two also reset what an earlier exchange set in the handle. */
static bool
SetMethod(HttpRequest *request, const HttpSpec *spec)
{
	static const char *const custom[HTTP_DELETE + 1] = {[HTTP_PATCH] = "PATCH", [HTTP_OPTIONS] = "OPTIONS", [HTTP_DELETE] = "DELETE"};
	CURL *easy = request->easy;

	SET(CURLOPT_HTTPGET, 1L);
	SET(CURLOPT_CUSTOMREQUEST, custom[spec->method]);
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
	}
	else if (spec->method == HTTP_HEAD)
		SET(CURLOPT_NOBODY, 1L);
	return true;
}

bool
ExchangeSetUp(HttpRequest *request, const HttpSpec *spec)
{
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
	return CopyBody(request, spec) &&
		BuildHeaders(request, spec) &&
		SetConnection(request, spec) &&
		SetOptions(request, spec) &&
		SetMethod(request, spec);
}

/*----------
 * The end
 *----------
 */

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

/*
 * An upload was refused before all of it was read: the answer counts, although the
 * stream or the connection was ended right after it (RFC 9113 8.1), perhaps within
 * the answer's body.
 */
static bool
IsRefusedUpload(const HttpRequest *request)
{
	return request->source && request->reply.status >= 300 && !request->aborted && !request->too_large && !request->late;
}

void
ExchangeJudge(HttpRequest *request, CURLcode rc)
{
	if (request->begun)
		ExchangeReadInfo(request);
	request->reply.body = request->answer ? request->answer : "";
	request->reply.body_len = request->answer_len;
	if (rc == CURLE_OK || IsRefusedUpload(request))
		request->reply.outcome = HTTP_ANSWERED;
	else
		JudgeFailure(request, rc);
}

void
ExchangeEnd(HttpRequest *request)
{
	curl_slist_free_all(request->headers);
	free(request->body);
	free(request->answer);
}

void
ExchangeFree(HttpRequest *request)
{
	curl_easy_cleanup(request->easy);
	free(request);
}
