/*
 * download.h
 *	  A copy's download: the video from its host into the flow.
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
	HttpRequest *request; /* NULL before its start and after its end */
	int redirects;
	char url[FAL_URL_SIZE];
	char etag[sizeof(((HttpReply *) NULL)->etag)]; /* the file's; "" if it is not strong */
} Download;

/* may a video come from this URL?  If not, error says why */
extern HostVerdict DownloadJudgeUrl(const char *url, char *error, size_t size);

extern void DownloadInit(Download *download, Task *task, Flow *flow);
/* from flow->from on, if it is still the file with that ETag, or else all of it */
extern void DownloadStart(Download *download);
/* its request is done: sets flow->whole if it ended well and complete */
extern void DownloadAdvance(Download *download, const HttpReply *reply);

/* has enough arrived to see what it is? */
extern bool DownloadIsReady(const Download *download);
/*
 * Is it a video, and small enough?  If not, the task is over.  The kind is known
 * if the download started at the file's beginning, otherwise NULL.
 */
extern const Kind *DownloadJudge(const Download *download, const HttpReply *reply);
/* it is of that kind: the task fails, or is retried if that may have been a fluke */
extern void DownloadRefuse(const Download *download, const Kind *kind, const char *content_type);

#endif /* VIBEVIDEO_DOWNLOAD_H */
