/*
 * sink.c
 *	  A server that costs next to nothing: it throws uploads away inside the
 *	  kernel, answers as Storage would, and notes when a submit arrives.
 *
 *	sink [PORT]		prints its port, serves 127.0.0.1 until it is killed
 *
 * POST or PUT, any path		200 {"Key": ..., "Id": ...} once the body is over
 * POST .../upload/resumable	201 with a Location; PATCH and HEAD of that: TUS
 * POST /fal/...				200 {"request_id": ...}; the prompt is remembered with the
 *								monotonic clock's time, in microseconds
 * GET /stamps					those, a line each, and forgets them
 *
 * One thread, level-triggered epoll.  Made for well-behaved clients.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_SIZE 16384
#define MAX_STAMPS 100000
#define MAX_UPLOADS 65536

enum State
{
	HEAD,
	BODY,
	CHUNK_HEAD,
	CHUNK_BODY,
	CHUNK_END,
	TRAILER
};

struct Conn
{
	int fd;
	enum State state;
	char buf[HEAD_SIZE]; /* what was read and not yet used */
	size_t used;
	long long left;		/* of the body or chunk */
	long long received; /* of the body */
	char method[8];
	char path[1024];
	char host[256];
	long long upload_offset;
	long long arrived_us;
};

static struct
{
	long long us;
	char prompt[32];
} stamps[MAX_STAMPS];
static int nstamps = 0;
static long long offsets[MAX_UPLOADS];
static unsigned uploads = 0;

static long long
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void
use(struct Conn *conn, size_t n)
{
	conn->used -= n;
	memmove(conn->buf, conn->buf + n, conn->used);
}

static void
send_all(int fd, const char *data, size_t len)
{
	while (len > 0)
	{
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n > 0)
		{
			data += n;
			len -= n;
		}
		else if (errno != EAGAIN && errno != EINTR)
			return;
	}
}

static void
answer(struct Conn *conn, const char *status, const char *headers, const char *body)
{
	char out[4096];
	int len = snprintf(out, sizeof(out),
					   "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n%s",
					   status, strlen(body), headers, body);

	send_all(conn->fd, out, len);
}

static void
answer_stamps(struct Conn *conn)
{
	char *out = malloc((size_t) nstamps * 64 + 1);
	char head[100];
	size_t len = 0;

	for (int i = 0; i < nstamps; i++)
		len += sprintf(out + len, "%s %lld\n", stamps[i].prompt, stamps[i].us);
	send_all(conn->fd, head, snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len));
	send_all(conn->fd, out, len);
	free(out);
	nstamps = 0;
}

/* a submit: its body is still in the buffer */
static void
take_submit(struct Conn *conn, const char *body, size_t len)
{
	static unsigned n = 0;
	char answer_body[200];
	const char *prompt = memmem(body, len, "\"prompt\"", 8);

	if (prompt && nstamps < MAX_STAMPS)
	{
		stamps[nstamps].us = conn->arrived_us;
		sscanf(prompt, "\"prompt\" : \"%31[^\"]", stamps[nstamps].prompt);
		nstamps++;
	}
	snprintf(answer_body, sizeof(answer_body),
			 "{\"request_id\": \"%08x-%04x-4000-8000-%012x\", \"status\": \"IN_QUEUE\", \"queue_position\": 0}",
			 (unsigned) getpid(), 0, ++n);
	answer(conn, "200 OK", "", answer_body);
}

static bool
begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static void
finish(struct Conn *conn)
{
	char headers[1024];
	unsigned id = 0;
	const char *resumable = strstr(conn->path, "/upload/resumable");

	conn->state = HEAD;
	if (resumable)
		sscanf(resumable, "/upload/resumable/%u", &id);
	if (strcmp(conn->method, "GET") == 0)
		answer_stamps(conn);
	else if (resumable && strcmp(conn->method, "POST") == 0)
	{
		id = ++uploads % MAX_UPLOADS;
		offsets[id] = conn->received;
		snprintf(headers, sizeof(headers),
				 "Tus-Resumable: 1.0.0\r\nUpload-Offset: %lld\r\nLocation: http://%s%.*s/upload/resumable/%u\r\n",
				 offsets[id], conn->host, (int) (resumable - conn->path), conn->path, id);
		answer(conn, "201 Created", headers, "");
	}
	else if (resumable && strcmp(conn->method, "PATCH") == 0)
	{
		offsets[id % MAX_UPLOADS] = conn->upload_offset + conn->received;
		snprintf(headers, sizeof(headers), "Tus-Resumable: 1.0.0\r\nUpload-Offset: %lld\r\n",
				 offsets[id % MAX_UPLOADS]);
		answer(conn, "204 No Content", headers, "");
	}
	else if (resumable)
	{
		snprintf(headers, sizeof(headers), "Tus-Resumable: 1.0.0\r\nUpload-Offset: %lld\r\n",
				 offsets[id % MAX_UPLOADS]);
		answer(conn, "200 OK", headers, "");
	}
	else
		answer(conn, "200 OK", "", "{\"Key\": \"videos/bench.mp4\", \"Id\": \"00000000-0000-4000-8000-000000000000\"}");
}

static const char *
header(struct Conn *conn, const char *name)
{
	size_t len = strlen(name);

	for (char *line = strstr(conn->buf, "\r\n"); line; line = strstr(line + 2, "\r\n"))
		if (strncasecmp(line + 2, name, len) == 0)
			return line + 2 + len + strspn(line + 2 + len, " ");
	return NULL;
}

/* false: more is needed */
static bool
take_head(struct Conn *conn)
{
	char *end = memmem(conn->buf, conn->used, "\r\n\r\n", 4);
	const char *value;

	if (end == NULL)
		return false;
	end[2] = '\0';
	conn->arrived_us = now_us();
	conn->received = 0;
	conn->path[0] = conn->method[0] = conn->host[0] = '\0';
	sscanf(conn->buf, "%7s %1023s", conn->method, conn->path);
	value = header(conn, "content-length:");
	conn->left = value ? atoll(value) : 0;
	value = header(conn, "upload-offset:");
	conn->upload_offset = value ? atoll(value) : 0;
	value = header(conn, "host:");
	if (value)
		sscanf(value, "%255s", conn->host);
	if (header(conn, "expect: 100"))
		send_all(conn->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	if (begins(conn->path, "/fal/"))
	{
		size_t size = end + 4 - conn->buf + conn->left;

		if (conn->used < size)
		{
			end[2] = '\r';
			return false;
		}
		take_submit(conn, end + 4, conn->left);
		use(conn, size);
		return true;
	}
	conn->state = header(conn, "transfer-encoding: chunked") ? CHUNK_HEAD : BODY;
	use(conn, end + 4 - conn->buf);
	return true;
}

static bool
take_chunk_head(struct Conn *conn)
{
	char *end = memmem(conn->buf, conn->used, "\r\n", 2);

	if (end == NULL)
		return false;
	conn->left = strtoll(conn->buf, NULL, 16);
	conn->state = conn->left > 0 ? CHUNK_BODY : TRAILER;
	use(conn, end + 2 - conn->buf);
	return true;
}

/* the end of a chunk, or of them all */
static bool
take_line_end(struct Conn *conn)
{
	if (conn->used < 2)
		return false;
	use(conn, 2);
	if (conn->state == TRAILER)
		finish(conn);
	else
		conn->state = CHUNK_HEAD;
	return true;
}

/* what of a body is in the buffer */
static bool
take_body(struct Conn *conn)
{
	size_t n = (long long) conn->used < conn->left ? conn->used : (size_t) conn->left;

	use(conn, n);
	conn->left -= n;
	conn->received += n;
	if (conn->left > 0)
		return false;
	if (conn->state == BODY)
		finish(conn);
	else
		conn->state = CHUNK_END;
	return true;
}

static bool
step(struct Conn *conn)
{
	switch (conn->state)
	{
		case HEAD:
			return take_head(conn);
		case CHUNK_HEAD:
			return take_chunk_head(conn);
		case CHUNK_END:
		case TRAILER:
			return take_line_end(conn);
		case BODY:
		case CHUNK_BODY:
			return take_body(conn);
	}
	return false;
}

/* false: the connection is over */
static bool
serve(struct Conn *conn)
{
	ssize_t n;

	/* a body is dropped in the kernel; chunk heads are read in small bites */
	if ((conn->state == BODY || conn->state == CHUNK_BODY) && conn->used == 0)
	{
		n = recv(conn->fd, NULL, conn->left < (1 << 20) ? conn->left : (1 << 20), MSG_TRUNC);
		if (n > 0)
		{
			conn->left -= n;
			conn->received += n;
		}
	}
	else
	{
		n = recv(conn->fd, conn->buf + conn->used,
				 conn->state == HEAD ? sizeof(conn->buf) - 1 - conn->used : 16, 0);
		if (n > 0)
			conn->used += n;
	}
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	conn->buf[conn->used] = '\0';
	while (step(conn))
		conn->buf[conn->used] = '\0';
	return conn->used < sizeof(conn->buf) - 1;
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0)};
	socklen_t size = sizeof(address);
	struct epoll_event event = {.events = EPOLLIN};
	int one = 1;
	int server = socket(AF_INET, SOCK_STREAM, 0);
	int poll = epoll_create1(0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(server, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(server, 4096) != 0)
	{
		perror("sink");
		return 1;
	}
	getsockname(server, (struct sockaddr *) &address, &size);
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	epoll_ctl(poll, EPOLL_CTL_ADD, server, &event);
	for (;;)
	{
		struct epoll_event events[64];
		int n = epoll_wait(poll, events, 64, -1);

		for (int i = 0; i < n; i++)
		{
			struct Conn *conn = events[i].data.ptr;

			if (conn == NULL)
			{
				conn = calloc(1, sizeof(*conn));
				conn->fd = accept4(server, NULL, NULL, SOCK_NONBLOCK);
				setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
				event.data.ptr = conn;
				epoll_ctl(poll, EPOLL_CTL_ADD, conn->fd, &event);
			}
			else if (!serve(conn))
			{
				close(conn->fd);
				free(conn);
			}
		}
	}
}
