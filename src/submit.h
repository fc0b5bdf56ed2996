/*
 * submit.h
 *	  Sending a job to fal: in the caller's transaction or by the worker.
 */
#ifndef VIBEVIDEO_SUBMIT_H
#define VIBEVIDEO_SUBMIT_H

#include "task.h"

/* post the job; the task is over if the request could not be built */
extern void SubmitStart(Task *task);
/* decide what the answer means for the job: fills in task->update, frees the request */
extern void SubmitFinish(Task *task, HttpRequest *request);
/* stop waiting for the answer: the submit is lost */
extern void SubmitAbandon(Task *task);

/*
 * The job of a row without an active one that a submit returns instead of making
 * a new one, 0 if it makes one.
 */
extern int64 SubmitFindEnded(const Binding *binding, const char *vibelog_id);

#endif /* VIBEVIDEO_SUBMIT_H */
