/*
 * copy.h
 *	  One copy: media in, Storage out, with bounded memory.
 */
#ifndef VIBEVIDEO_COPY_H
#define VIBEVIDEO_COPY_H

#include "task.h"

typedef struct Copy Copy;

/* nothing is copied: the row gets fal's own address, if media may come from there */
extern void CopyKeepUrl(Task *task, const char *url);
/* the task is over if it could not even start */
extern void CopyStart(Task *task);
/* one of its requests is done: it is freed here */
extern void CopyAdvance(Task *task, HttpRequest *request);
/* after every turn of the engine: wakes paused sides, starts the upload, sees that it moves */
extern void CopyPump(Task *task);
/* both sides, if there are any; what the next try can use goes into the job and the task's update */
extern void CopyEnd(Task *task);
extern void CopyProgress(Copy *copy, TimestampTz now, JobProgress *progress);
/* waits for its upload to be known to the job, and its lease to be confirmed */
extern bool CopyWantsReport(const Copy *copy);
extern void CopyReported(Copy *copy, TimestampTz at);

#endif /* VIBEVIDEO_COPY_H */
