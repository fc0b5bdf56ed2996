/*
 * polling.h
 *	  Following jobs at fal: status, result, and giving up on a job.
 */
#ifndef VIBEVIDEO_POLLING_H
#define VIBEVIDEO_POLLING_H

#include "task.h"

/* how long a claimed poll may take before somebody else may ask */
extern int PollLeaseMs(void);
/* ask about the job; false: could not be asked, task->update says why */
extern bool PollStart(HttpEngine *engine, Task *task, const char *key);
/* the request is done (it is freed here); true: the task is over, false: it asks on */
extern bool PollAdvance(HttpEngine *engine, Task *task, HttpRequest *request, const char *key);

#endif /* VIBEVIDEO_POLLING_H */
