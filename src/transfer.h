/*
 * transfer.h
 *	  One copy: media in, Storage out, through a bounded ring.
 */
#ifndef VIBEVIDEO_TRANSFER_H
#define VIBEVIDEO_TRANSFER_H

#include "task.h"

/* nothing is copied: the row gets fal's own address, if media may come from there */
extern void CopyKeepUrl(Task *task, const char *url);
/* false: could not even start; task->update says why */
extern bool CopyStart(HttpEngine *engine, Task *task, const char *storage_key);
/* one of its requests is done (it is freed here); true: the task is over */
extern bool CopyAdvance(HttpEngine *engine, Task *task, HttpRequest *request);
/* after every turn of the engine: wake paused sides, start the upload; true: over */
extern bool CopyPump(HttpEngine *engine, Task *task);
extern void CopyProgress(Copy *copy, TimestampTz now, JobProgress *progress);
/* waits for its upload to be known to the job, and its lease to be confirmed */
extern bool CopyWantsReport(const Copy *copy);
extern void CopyReported(Copy *copy, TimestampTz at);
/* what the next try can use of what this one has read goes into the job and the task's update */
extern void CopyKeepState(Task *task);
extern void CopyFree(Copy *copy);

#endif /* VIBEVIDEO_TRANSFER_H */
