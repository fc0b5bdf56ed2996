/*
 * submit.h
 *	  Sending a job to fal: in the caller's transaction or by the worker.
 */
#ifndef VIBEVIDEO_SUBMIT_H
#define VIBEVIDEO_SUBMIT_H

#include "task.h"

/* post the job; the task is over if that could not be built */
extern void SubmitStart(Task *task);
/* what the answer means for the job: fills in task->update, frees the request */
extern void SubmitFinish(Task *task, HttpRequest *request);
/* we stop waiting for the answer: nobody knows what became of it */
extern void SubmitAbandon(Task *task);

#endif /* VIBEVIDEO_SUBMIT_H */
