/*
 * copy.h
 *	  One copy: from the media host to Storage, with bounded memory.
 */
#ifndef VIBEVIDEO_COPY_H
#define VIBEVIDEO_COPY_H

#include "task.h"

typedef struct Copy Copy;

/* no copy: the row gets fal's own address, if vibevideo.media_hosts allows it */
extern void CopyKeepUrl(Task *task, const char *url);
/* if it could not even start, the task is over */
extern void CopyStart(Task *task);
/* handles one of its requests that is done, and frees it */
extern void CopyAdvance(Task *task, HttpRequest *request);
/* after every HttpWait: resumes paused sides, starts the upload, checks for progress */
extern void CopyPump(Task *task);
/* ends both sides, if any; saves what the next try can use into the job and the task's update */
extern void CopyEnd(Task *task);
extern void CopyProgress(Copy *copy, TimestampTz now, JobProgress *progress);
/* waits until its upload is saved in the job, and its lease confirmed */
extern bool CopyWantsReport(const Copy *copy);
extern void CopyReported(Copy *copy, TimestampTz at);

#endif /* VIBEVIDEO_COPY_H */
