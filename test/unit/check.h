/*
 * check.h
 *	  Counting checks: a failing one is printed and the program goes on.
 */
#ifndef VIBEVIDEO_CHECK_H
#define VIBEVIDEO_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "reply.h"

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

/* name: the case; what: the property of it */
extern void CheckTrue(const char *name, const char *what, bool got);
extern void CheckNumber(const char *name, const char *what, int64_t got, int64_t wanted);
extern void CheckText(const char *name, const char *what, const char *got, const char *wanted);
extern void CheckPart(const char *name, const char *what, const char *got, const char *wanted);

/* a complete answer; further members may follow */
#define ANSWER(status_, body_, ...) \
	{ \
		.outcome = HTTP_ANSWERED, .status = (status_), .body = (body_), \
		.body_len = sizeof(body_) - 1, .content_length = -1, __VA_ARGS__ \
	}

/* no complete answer; further members may follow */
#define NO_ANSWER(outcome_, ...) \
	{ \
		.outcome = (outcome_), .content_length = -1, __VA_ARGS__ \
	}

#define HTML(title) "<html>\r\n<head><title>" title "</title></head>\r\n<body>\r\n<center><h1>" title "</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"

extern void TestJson(void);
extern void TestFal(void);
extern void TestOutput(void);
extern void TestObjection(void);
extern void TestStorage(void);
extern void TestHosts(void);
extern void TestHook(void);
extern void TestWire(void);
extern void TestJobStates(void);
extern void TestBackoff(void);
extern void TestBreaker(void);
extern void TestKind(void);
extern void TestTrack(void);
extern void TestContainer(void);
extern void TestMedia(void);
extern void TestRing(void);
extern void TestFlow(void);
extern void TestPoller(void);
extern void TestSignature(void);

#endif /* VIBEVIDEO_CHECK_H */
