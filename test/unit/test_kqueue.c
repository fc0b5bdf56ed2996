/*
 * test_kqueue.c
 *	  The kqueue variant of poller.c, under other names, through the same tests.
 */
#define VIBEVIDEO_USE_KQUEUE
#define PollerCreate KqueueCreate
#define PollerClose KqueueClose
#define PollerSet KqueueSet
#define PollerRemove KqueueRemove
#define PollerWait KqueueWait
#define TestPoller TestKqueue

#include "../../src/poller.c"
#include "test_poller.c"
