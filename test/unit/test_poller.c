/*
 * test_poller.c
 *	  Which sockets are ready: with pairs of them.
 */
#include "check.h"
#include "poller.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* a poller and a pair of sockets, of which mine is looked at */
typedef struct Scene
{
	int poller;
	int mine;
	int theirs;
} Scene;

static Scene
Begin(void)
{
	Scene scene = {PollerCreate(), -1, -1};
	int pair[2];

	CheckTrue("poller", "it is made", scene.poller >= 0);
	CheckTrue("poller", "it is closed on exec", (fcntl(scene.poller, F_GETFD) & FD_CLOEXEC) != 0);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0)
	{
		scene.mine = pair[0];
		scene.theirs = pair[1];
	}
	return scene;
}

static void
End(Scene scene)
{
	close(scene.mine);
	close(scene.theirs);
	PollerClose(scene.poller);
}

static void
Say(int fd, const char *what)
{
	CheckNumber("poller", "bytes that a socket took", write(fd, what, strlen(what)), (int64_t) strlen(what));
}

/* the descriptor itself, as a WaitEventSet looks at it */
static bool
IsReadable(int poller)
{
	struct timeval at_once = {0, 0};
	fd_set set;

	FD_ZERO(&set);
	FD_SET(poller, &set);
	return select(poller + 1, &set, NULL, NULL, &at_once) == 1;
}

/* "" or r, w, x of the one socket that may be ready; "?" if it is another or there are more */
static const char *
Ready(Scene scene)
{
	static char text[8];
	PollerEvent events[POLLER_MAX_EVENTS];
	bool readable = IsReadable(scene.poller);
	int n = PollerWait(scene.poller, events);

	CheckNumber("poller", "its descriptor is readable", readable, n > 0);
	if (n == 0)
		return "";
	if (n != 1 || events[0].fd != scene.mine)
		return "?";
	snprintf(text, sizeof(text), "%s%s%s", events[0].readable ? "r" : "", events[0].writable ? "w" : "",
			 events[0].failed ? "x" : "");
	return text;
}

static void
Set(Scene scene, bool known, bool readable, bool writable)
{
	CheckTrue("poller", "a socket is set", PollerSet(scene.poller, scene.mine, known, readable, writable));
}

static void
TestDirections(void)
{
	Scene scene = Begin();
	char text[8];

	CheckText("nothing set", "ready", Ready(scene), "");
	Set(scene, false, true, false);
	CheckText("for reading, nothing to read", "ready", Ready(scene), "");
	Say(scene.theirs, "x");
	CheckText("for reading, something to read", "ready", Ready(scene), "r");
	CheckText("level-triggered", "ready", Ready(scene), "r");
	Set(scene, true, false, true);
	CheckText("for writing instead", "ready", Ready(scene), "w");
	Set(scene, true, true, true);
	CheckText("for both", "ready", Ready(scene), "rw");
	CheckNumber("poller", "bytes read", read(scene.mine, text, sizeof(text)), 1);
	CheckText("for both, nothing to read", "ready", Ready(scene), "w");
	Set(scene, true, false, false);
	Say(scene.theirs, "y");
	CheckText("for neither", "ready", Ready(scene), "");
	Set(scene, true, true, false);
	CheckText("for reading again", "ready", Ready(scene), "r");
	PollerRemove(scene.poller, scene.mine);
	CheckText("removed", "ready", Ready(scene), "");
	PollerRemove(scene.poller, scene.mine);
	CheckText("removed twice", "ready", Ready(scene), "");
	Set(scene, false, true, true);
	CheckText("back", "ready", Ready(scene), "rw");
	End(scene);
}

/* The pipe full, then emptied by the other side. */
static void
TestFull(void)
{
	Scene scene = Begin();
	char block[4096] = {0};
	int64_t sent = 0;
	int64_t taken = 0;
	ssize_t n;

	CheckNumber("full", "it does not block", fcntl(scene.mine, F_SETFL, O_NONBLOCK), 0);
	while ((n = write(scene.mine, block, sizeof(block))) > 0)
		sent += n;
	Set(scene, false, true, true);
	CheckText("full", "ready", Ready(scene), "");
	while (taken < sent && (n = read(scene.theirs, block, sizeof(block))) > 0)
		taken += n;
	CheckText("emptied", "ready", Ready(scene), "w");
	End(scene);
}

static void
TestPeer(void)
{
	Scene scene = Begin();

	Set(scene, false, true, false);
	Say(scene.theirs, "last words");
	shutdown(scene.theirs, SHUT_WR);
	CheckText("the peer says no more", "ready", Ready(scene), "r");
	Set(scene, true, true, true);
	CheckText("but still listens", "ready", Ready(scene), "rw");
	close(scene.theirs);
	scene.theirs = -1;
	CheckText("the peer is gone", "ready", Ready(scene), "rwx");
	Set(scene, true, false, true);
	CheckText("the peer is gone, for writing", "ready", Ready(scene), "wx");
	Set(scene, true, true, false);
	CheckPart("the peer is gone, for reading", "ready", Ready(scene), "r");
	End(scene);
}

/* One side's memory is wrong: known, but the kernel has forgotten it, and the other way round. */
static void
TestMemory(void)
{
	Scene scene = Begin();
	Scene other = Begin();
	int number = scene.mine;

	Set(scene, false, true, false);
	Say(other.theirs, "x");
	/* closed without a word, and the number given to another socket at once */
	close(scene.mine);
	CheckText("closed", "ready", Ready(scene), "");
	CheckNumber("closed", "the number is given out again", dup2(other.mine, number), number);
	close(other.mine);
	other.mine = -1;
	CheckText("its number is another's", "ready", Ready(scene), "");
	Set(scene, true, true, false);
	CheckText("said to be known, but is not", "ready", Ready(scene), "r");
	Set(scene, false, false, true);
	CheckText("said to be new, but is not", "ready", Ready(scene), "w");
	close(scene.mine);
	PollerRemove(scene.poller, scene.mine);
	CheckText("closed, then removed", "ready", Ready(scene), "");
	CheckTrue("closed, then set", "it fails", !PollerSet(scene.poller, scene.mine, true, true, false));
	CheckNumber("closed, then set", "errno", errno, EBADF);
	End(other);
	End(scene);
}

/* A listening socket is readable when somebody knocks, and never writable. */
static void
TestListening(void)
{
	Scene scene = Begin();
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length = sizeof(address.sun_family);
	int client = socket(AF_UNIX, SOCK_STREAM, 0);

	close(scene.mine);
	scene.mine = socket(AF_UNIX, SOCK_STREAM, 0);
	/* without a path Linux gives it an abstract name */
	if (bind(scene.mine, (struct sockaddr *) &address, length) == 0 && listen(scene.mine, 1) == 0 &&
		getsockname(scene.mine, (struct sockaddr *) &address, (length = sizeof(address), &length)) == 0)
	{
		Set(scene, false, true, false);
		CheckText("nobody knocks", "ready", Ready(scene), "");
		CheckNumber("listening", "connect", connect(client, (struct sockaddr *) &address, length), 0);
		CheckText("somebody knocks", "ready", Ready(scene), "r");
		/* asking whether it is writable is no error */
		Set(scene, true, true, true);
		CheckPart("for both", "ready", Ready(scene), "r");
		Set(scene, true, true, false);
		CheckText("for reading again", "ready", Ready(scene), "r");
	}
	close(client);
	End(scene);
}

/* More at once than one wait tells: the rest comes with the next. */
static void
TestMany(void)
{
	enum
	{
		MANY = POLLER_MAX_EVENTS + 20
	};
	int poller = PollerCreate();
	int pairs[MANY][2];
	bool seen[MANY] = {false};
	int nseen = 0;
	PollerEvent events[POLLER_MAX_EVENTS];

	for (int i = 0; i < MANY; i++)
	{
		CheckNumber("many", "socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
		CheckTrue("many", "set", PollerSet(poller, pairs[i][0], false, true, true));
		Say(pairs[i][1], "x");
	}
	for (int round = 0; round < 2 * MANY && nseen < MANY; round++)
	{
		int n = PollerWait(poller, events);

		CheckTrue("many", "a wait tells some, and not too many", n > 0 && n <= POLLER_MAX_EVENTS);
		for (int e = 0; e < n; e++)
			for (int i = 0; i < MANY; i++)
				if (events[e].fd == pairs[i][0] && !seen[i])
				{
					seen[i] = true;
					nseen++;
					PollerRemove(poller, pairs[i][0]);
				}
	}
	CheckNumber("many", "each is told of", nseen, MANY);
	CheckNumber("many", "none is left", PollerWait(poller, events), 0);
	for (int i = 0; i < MANY; i++)
	{
		close(pairs[i][0]);
		close(pairs[i][1]);
	}
	PollerClose(poller);
}

void
TestPoller(void)
{
	PollerEvent events[POLLER_MAX_EVENTS];

	TestDirections();
	TestFull();
	TestPeer();
	TestMemory();
	TestListening();
	TestMany();
	CheckNumber("a poller that is none", "PollerWait", PollerWait(-1, events), -1);
	CheckTrue("a poller that is none", "PollerSet", !PollerSet(-1, 0, false, true, false));
}
