/*
 * download.c
 *	  A copy's download.
 *
 * The first URL and every redirect, five at most, must be within
 * vibevideo.media_hosts; what arrives is judged by its first bytes.
 */
#include "postgres.h"

#include "call.h"
#include "download.h"
#include "guc.h"
#include "kind.h"
#include "wire.h"

#define MAX_REDIRECTS 5
#define MAX_ERROR_BODY (64 * 1024)
#define LENGTH_BYTES (1024 * 1024) /* without a length: a file that ends within this has a known one */

HostVerdict
DownloadJudgeUrl(const char *url, char *error, size_t size)
{
	char why[200];
	HostVerdict verdict = HostsJudgeUrl(vv_media_hosts, url, why, sizeof(why));

	if (verdict == HOST_DENIED)
		snprintf(error, size, "the video's address is not allowed by vibevideo.media_hosts: %s", why);
	return verdict;
}

void
DownloadInit(Download *download, Task *task, Flow *flow)
{
	memset(download, 0, sizeof(*download));
	download->task = task;
	download->flow = flow;
	strlcpy(download->url, task->job->media_url, sizeof(download->url));
}

void
DownloadStart(Download *download)
{
	Call call;
	char error[400];
	HostVerdict verdict = DownloadJudgeUrl(download->url, error, sizeof(error));

	if (verdict == HOST_DENIED)
	{
		TaskRetry(download->task, 1, "media_host_denied", error, -1);
		return;
	}
	CallInit(&call, HTTP_GET, 0, MAX_ERROR_BODY, download->task);
	strlcpy(call.url, download->url, sizeof(call.url));
	if (download->flow->from > 0)
	{
		CallHeader(&call, "range: bytes=%lld-", (long long) download->flow->from);
		CallHeader(&call, "if-range: %s", download->etag);
	}
	call.spec.accepts = (verdict == HOST_PUBLIC) ? HostsAddressIsPublic : NULL;
	call.spec.outside = true;
	call.spec.sink = FlowSink;
	call.spec.stream_arg = download->flow;
	download->request = CallSend(&call, download->task->engine);
	if (download->request == NULL)
		TaskRetry(download->task, vv_max_tries, "bad_media_url", "could not set up the download", -1);
}

static void
RetryOnReply(Download *download, const char *code, const char *what, const HttpReply *reply)
{
	char error[512];

	if (reply->outcome == HTTP_ANSWERED)
		snprintf(error, sizeof(error), "%s: HTTP %d", what, reply->status);
	else
		snprintf(error, sizeof(error), "%s: %s", what, reply->error);
	TaskRetry(download->task, vv_max_tries, code, error, WireRetryAfter(reply->retry_after, time(NULL)));
}

static void
FollowRedirect(Download *download, const HttpReply *reply)
{
	char next[FAL_URL_SIZE];

	if (++download->redirects > MAX_REDIRECTS ||
		!HostsResolveRedirect(download->url, reply->location, next, sizeof(next)))
	{
		RetryOnReply(download, "bad_redirect", "the video's address has an invalid redirect", reply);
		return;
	}
	strlcpy(download->url, next, sizeof(download->url));
	DownloadStart(download);
}

/* A page in place of the file may be a fluke, once; a file of another kind stays one. */
void
DownloadRefuse(const Download *download, const Kind *kind, const char *content_type)
{
	Task *task = download->task;
	const char *before = task->job->error_code;
	bool again = !kind->certain && (before == NULL || strcmp(before, "not_a_video") != 0);
	char type[200] = "";
	char error[500];

	if (content_type[0])
		snprintf(type, sizeof(type), " (content type \"%s\")", content_type);
	snprintf(error, sizeof(error), "fal.ai delivered a file of a kind that is not accepted: %s%s%s", kind->name, type,
			 kind->class == KIND_OTHER ? "" : "; vibevideo.accept does not list it");
	TaskRetry(task, again ? vv_max_tries : 1, "not_a_video", error, -1);
}

void
DownloadAdvance(Download *download, const HttpReply *reply)
{
	Task *task = download->task;
	Flow *flow = download->flow;
	bool answered = (reply->outcome == HTTP_ANSWERED);

	download->request = NULL;
	if (flow->too_large)
		TaskRetry(task, 1, "video_too_large", "the video is larger than vibevideo.max_video_size", -1);
	else if (reply->outcome == HTTP_FORBIDDEN)
		TaskRetry(task, 1, "media_host_denied", "the video's host has a private address", -1);
	else if (answered && reply->status >= 300 && reply->status < 400)
		FollowRedirect(download, reply);
	else if (answered && flow->from > 0 && (reply->status == 412 || reply->status == 416))
		flow->next = FLOW_START_OVER;
	else if (!answered || reply->status < 200 || reply->status > 299)
		RetryOnReply(download, reply->status == 404 || reply->status == 410 ? "media_gone" : "download_failed",
					 "the video could not be downloaded", reply);
	else if (flow->received == 0)
		DownloadRefuse(download, KindSniff(NULL, 0), "");
	else
		flow->whole = true;
}

/*----------
 * What is arriving?
 *----------
 */
bool
DownloadIsReady(const Download *download)
{
	const Flow *flow = download->flow;
	const HttpReply *reply;
	int64 got = flow->received - flow->from;

	if (download->request == NULL || flow->judged)
		return false;
	reply = HttpReplyOf(download->request);
	/* the rest was requested, but it may be the whole file */
	if (flow->from > 0 && reply->status == 206)
		return got > 0;
	return got >= (reply->content_length < 0 ? LENGTH_BYTES : KIND_SNIFF_BYTES);
}

/* The bytes decide: content types are often wrong. */
static const Kind *
ReadKind(const Download *download)
{
	size_t len;
	/* nothing was removed yet: the first bytes are still at the start */
	const char *bytes = RingPeek(&download->flow->ring, &len);

	return KindSniff((const unsigned char *) bytes, Min(len, KIND_SNIFF_BYTES));
}

const Kind *
DownloadJudge(const Download *download, const HttpReply *reply)
{
	const Flow *flow = download->flow;
	const Kind *kind = flow->from == 0 ? ReadKind(download) : NULL;
	char error[300];

	if (flow->total > flow->cap)
	{
		snprintf(error, sizeof(error), "the video has %lld bytes, more than vibevideo.max_video_size",
				 (long long) flow->total);
		TaskRetry(download->task, 1, "video_too_large", error, -1);
	}
	else if (flow->from == 0 && reply->status == 206)
		TaskRetry(download->task, vv_max_tries, "download_failed", "the media host returned only part of the video", -1);
	else if (kind != NULL && !KindIsAccepted(vv_accept, kind->class))
		DownloadRefuse(download, kind, reply->content_type);
	return kind;
}
