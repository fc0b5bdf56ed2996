/*
 * download.h
 *	  A copy's way in: the video from its host into the flow.
 */
#ifndef VIBEVIDEO_DOWNLOAD_H
#define VIBEVIDEO_DOWNLOAD_H

#include "flow.h"
#include "hosts.h"
#include "task.h"

typedef struct Download
{
	Task *task;
	Flow *flow;
	HttpRequest *request; /* NULL before and after */
	int redirects;
	char url[FAL_URL_SIZE];
	char etag[sizeof(((HttpReply *) NULL)->etag)]; /* the file's; "" if it is not strong */
} Download;

/* may a video come from there?  error says why not */
extern HostVerdict DownloadJudgeUrl(const char *url, char *error, size_t size);

extern void DownloadInit(Download *download, Task *task, Flow *flow);
/* from flow->from: its rest, if it is still the file of that ETag, or else the whole */
extern void DownloadStart(Download *download);
/* its request is done: flow->whole if it ended well, and is the whole of what it announced */
extern void DownloadAdvance(Download *download, const HttpReply *reply);

/* is enough here to see what it is? */
extern bool DownloadIsReady(const Download *download);
/* is it a video, and small enough?  If not the task is over; type is what Storage is told, if it came from its start */
extern void DownloadJudge(const Download *download, const HttpReply *reply, char *type, size_t size);

#endif /* VIBEVIDEO_DOWNLOAD_H */
