/*
 * polling.h
 *	  Following jobs at fal: status, result and cancel.
 */
#ifndef VIBEVIDEO_POLLING_H
#define VIBEVIDEO_POLLING_H

#include "task.h"

/* how long a claimed poll may take before another process may poll the job */
extern int PollLeaseMs(void);
/* poll the job; the task is over if the request could not be built */
extern void PollStart(Task *task);
/* the request is done, and is freed here; the next one is started unless the task is over */
extern void PollAdvance(Task *task, HttpRequest *request);

#endif /* VIBEVIDEO_POLLING_H */
