/*
 * polling.h
 *	  Following jobs at fal: status, result, and giving up on a job.
 */
#ifndef VIBEVIDEO_POLLING_H
#define VIBEVIDEO_POLLING_H

#include "task.h"

/* how long a claimed poll may take before somebody else may ask */
extern int PollLeaseMs(void);
/* ask about the job; the task is over if that could not be built */
extern void PollStart(Task *task);
/* the request is done (it is freed here); unless the task is over it asks on */
extern void PollAdvance(Task *task, HttpRequest *request);

#endif /* VIBEVIDEO_POLLING_H */
