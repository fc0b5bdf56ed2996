/*
 * copy.c
 *	  One copy: connects the download (download.c) and the upload (upload.c, or
 *	  resumable.c in parts) through the bytes between them (flow.c).
 *
 * A step of either side ends the task, or leaves in flow->next what the copy
 * has to do; Conclude does it after the step, so that nobody uses a copy that
 * is freed.  Sink and source run under libcurl and touch only the flow;
 * CopyPump, called between turns, does everything else.
 *
 * The upload starts when the first bytes look like a video: 1 kB if the length
 * was announced, otherwise 1 MB, since a file that ends before that has a
 * known length after all.  Where it goes, and with which key, is fixed when a copy
 * starts, or restarts, whatever settings change meanwhile.
 *
 * S3 accepts no body without a length, and its multipart uploads would leave
 * parts behind that nobody sees and everybody pays for.  So a download of unknown
 * length is first read to its end and discarded (flow->counting); a second one is
 * uploaded with the length of the first.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "copy.h"
#include "download.h"
#include "flow.h"
#include "guc.h"
#include "resumable.h"
#include "upload.h"
#include "watch.h"

#define RING_SIZE (2 * 1024 * 1024)
#define RING_ROOM (512 * 1024) /* a paused download continues when this much is free: libcurl's buffer */
/* for a video of unknown length: only what follows shows that a part is not the last one */
#define PART_RING_SIZE (STORAGE_TUS_PART + RING_SIZE)
#define MAX_RESTARTS 3

/* What survives a restart. */
typedef struct CopyHistory
{
	int restarts;
	UploadWay way;
	int64 counted; /* length that an earlier download had, -1: there was none */
} CopyHistory;

struct Copy
{
	Task *task;
	Flow flow;
	Download download;
	Upload upload;
	Resumable resumable;
	CopyHistory history;
	Watch watch;
};

/*----------
 * Starting and ending
 *----------
 */
void
CopyKeepUrl(Task *task, const char *url)
{
	char error[400];

	if (DownloadJudgeUrl(url, error, sizeof(error)) == HOST_DENIED)
		TaskFail(task, "media_host_denied", error);
	else
		TaskUpdate(task, "completed")->video_url = url;
}

static void
Free(Task *task)
{
	Copy *copy = task->copy;

	if (copy->download.request)
		HttpFree(copy->download.request);
	if (copy->upload.request)
		HttpFree(copy->upload.request);
	UploadWipe(&copy->upload);
	FlowFree(&copy->flow);
	free(copy);
	task->copy = NULL;
}

void
CopyEnd(Task *task)
{
	if (task->copy == NULL)
		return;
	ResumableKeepState(&task->copy->resumable);
	Free(task);
}

/* malloc'd, since libcurl's callbacks write into it; if there is no memory, the task is over. */
static Copy *
Create(Task *task, const CopyHistory *history)
{
	Copy *copy = calloc(1, sizeof(Copy));

	if (copy == NULL || !FlowInit(&copy->flow, RING_SIZE, (int64) vv_max_video_size * 1024))
	{
		free(copy);
		TaskRetry(task, 0, "out_of_memory", "out of memory for the copy", -1);
		return NULL;
	}
	copy->task = task;
	copy->history = *history;
	WatchInit(&copy->watch);
	DownloadInit(&copy->download, task, &copy->flow);
	UploadInit(&copy->upload, task, &copy->flow, task->key);
	copy->upload.way = history->way;
	ResumableInit(&copy->resumable, &copy->upload, &copy->download);
	return copy;
}

/* Is there anything to copy, and a place to copy it to?  If not, the task is over. */
static void
CheckWork(Task *task)
{
	if (task->job->media_url == NULL || task->job->request_id == NULL)
		TaskRetry(task, 1, "no_video", "the job has no address for its video", -1);
	else if (vv_storage_kind == STORAGE_KIND_NONE)
		/* the setting was changed after fal was done, or this is a retry */
		CopyKeepUrl(task, task->job->media_url);
	else if (vv_storage_url[0] == '\0')
		TaskRetry(task, 0, "storage_not_configured", "vibevideo.storage_url is not set", -1);
	else if (task->key == NULL)
		TaskRetry(task, 0, "storage_not_configured", "no Storage key is configured", -1);
}

static void
Start(Task *task, const CopyHistory *history)
{
	CheckWork(task);
	if (!TaskIsOver(task))
		task->copy = Create(task, history);
	if (!TaskIsOver(task))
	{
		if (ResumableIsKept(&task->copy->resumable))
			ResumableQuery(&task->copy->resumable);
		else
			DownloadStart(&task->copy->download);
	}
	if (TaskIsOver(task))
		CopyEnd(task);
}

void
CopyStart(Task *task)
{
	const CopyHistory none = {.counted = -1};

	Start(task, &none);
}

/* From the beginning, or from where an upload saved in the job is. */
static void
Restart(Task *task)
{
	CopyHistory history = task->copy->history;

	if (++history.restarts > MAX_RESTARTS)
	{
		TaskRetry(task, vv_max_tries, "upload_moved", "the upload had to start over too many times", -1);
		return;
	}
	history.way = task->copy->upload.way;
	CopyEnd(task);
	task->got_further = false;
	Start(task, &history);
}

/* A meter that has not seen the end may know the tracks all the same. */
static const MediaFacts *
ReadFacts(const Copy *copy, int64 bytes)
{
	const MediaMeter *meter = &copy->flow.meter;
	MediaFacts *facts = MemoryContextAlloc(copy->task->mcxt, sizeof(MediaFacts));

	MediaMeterFacts(meter, meter->bytes == bytes, facts);
	return facts;
}

static void
Finish(Task *task)
{
	Copy *copy = task->copy;
	Flow *flow = &copy->flow;
	JobUpdate *update = TaskUpdate(task, "completed");
	int64 bytes = copy->resumable.active ? flow->total : flow->received;

	/* for part of a file it would be wrong */
	if (flow->meter.bytes == bytes)
	{
		unsigned char *sha256 = MemoryContextAlloc(task->mcxt, 32);

		MediaMeterHash(&flow->meter, sha256);
		update->sha256 = sha256;
	}
	update->video_url = MemoryContextStrdup(task->mcxt, copy->upload.target.video_url);
	update->object_key = MemoryContextStrdup(task->mcxt, copy->upload.target.object_key);
	update->bytes_done = update->bytes_total = bytes;
	update->duration_ms = flow->meter.container.duration_ms;
	update->facts = ReadFacts(copy, bytes);
	Free(task);
}

/* No step has ended it or decided on anything else so far. */
static bool
IsUnderWay(const Copy *copy)
{
	return !TaskIsOver(copy->task) && copy->flow.next == FLOW_CONTINUE;
}

/* Do what the step just made has decided. */
static void
Conclude(Task *task)
{
	if (!TaskIsOver(task))
		switch (task->copy->flow.next)
		{
			case FLOW_CONTINUE:
				return;
			case FLOW_FINISH:
				Finish(task);
				return;
			case FLOW_START_OVER:
				task->job->upload_url = NULL;
				Restart(task);
				break;
			case FLOW_RESTART:
				Restart(task);
				break;
		}
	if (TaskIsOver(task))
		CopyEnd(task);
}

/*----------
 * From the download to the upload
 *----------
 */

/* The download starts at the file's beginning: how long is the file? */
static void
ReadLength(Copy *copy, const HttpReply *reply)
{
	Flow *flow = &copy->flow;
	Download *download = &copy->download;
	int64 length = reply->content_length;

	if (length < 0)
		length = flow->whole ? flow->received - flow->from : copy->history.counted;
	ResumableCheckLength(&copy->resumable, length);
	flow->total = length;
	strlcpy(download->etag, StorageEtagIsStrong(reply->etag) ? reply->etag : "", sizeof(download->etag));
}

static void
StartUpload(Copy *copy)
{
	if (!copy->resumable.active)
	{
		if (ResumableIsWanted(&copy->resumable))
			ResumableCreate(&copy->resumable);
		else
			UploadStart(&copy->upload);
	}
	if (!TaskIsOver(copy->task) && copy->resumable.active && copy->flow.total < 0 &&
		!RingGrow(&copy->flow.ring, PART_RING_SIZE))
		TaskRetry(copy->task, 0, "out_of_memory", "out of memory for the copy", -1);
}

static void
RetryShort(Copy *copy, int64 wanted)
{
	char error[200];
	long long got = copy->flow.received;

	if (wanted >= 0)
		snprintf(error, sizeof(error), "the video is incomplete: %lld of %lld bytes arrived", got, (long long) wanted);
	else
		snprintf(error, sizeof(error), "the video is incomplete: it ends after %lld bytes", got);
	TaskRetry(copy->task, vv_max_tries, "download_failed", error, -1);
}

/* The download has ended well, but is it all of a video?  If it was cut at its source, or has nothing to see, the task is over. */
static void
CheckWhole(Copy *copy)
{
	Flow *flow = &copy->flow;
	int64 wanted;

	if (flow->total >= 0 && flow->received != flow->total)
		RetryShort(copy, flow->total);
	else if (FlowIsShort(flow, copy->task->job->bytes_total, &wanted))
		RetryShort(copy, wanted);
	else if (flow->meter.bytes == flow->received && MediaMeterKind(&flow->meter) != NULL)
		DownloadRefuse(&copy->download, MediaMeterKind(&flow->meter), "");
}

/* The first bytes and the headers have arrived. */
static void
Judge(Copy *copy, const HttpReply *reply)
{
	Flow *flow = &copy->flow;
	const Kind *kind;

	if (flow->from == 0 || reply->status != 206)
		ReadLength(copy, reply);
	else if (!ResumableFits(&copy->resumable, reply))
	{
		flow->next = FLOW_START_OVER;
		return;
	}
	kind = DownloadJudge(&copy->download, reply);
	if (TaskIsOver(copy->task))
		return;
	/* an upload that exists already has its name */
	if (kind != NULL && !copy->resumable.active)
	{
		copy->upload.target.type = kind->type;
		UploadSetEnding(&copy->upload, kind->ending);
	}
	FlowAccept(flow);
	if (flow->whole)
		CheckWhole(copy);
	if (!TaskIsOver(copy->task))
		StartUpload(copy);
}

static void
AfterDownload(Copy *copy, const HttpReply *reply)
{
	Flow *flow = &copy->flow;

	DownloadAdvance(&copy->download, reply);
	if (!flow->whole)
		return;
	/* a small one is complete before its upload could start */
	if (!flow->judged)
		Judge(copy, reply);
	else if (flow->counting)
	{
		/* the length is known now: download again, and upload */
		copy->history.counted = flow->received;
		flow->next = FLOW_RESTART;
	}
	else
	{
		CheckWhole(copy);
		if (!TaskIsOver(copy->task) && ResumableIsDone(&copy->resumable))
			flow->next = FLOW_FINISH;
	}
}

static void
AfterUpload(Copy *copy, const HttpReply *reply)
{
	UploadTakeAnswer(&copy->upload, reply);
	if (copy->resumable.active)
		ResumableAdvance(&copy->resumable, reply);
	else
		UploadAdvance(&copy->upload, reply);
}

void
CopyAdvance(Task *task, HttpRequest *request)
{
	Copy *copy = task->copy;

	if (request == copy->download.request)
		AfterDownload(copy, HttpReplyOf(request));
	else
		AfterUpload(copy, HttpReplyOf(request));
	HttpFree(request);
	Conclude(task);
}

/*----------
 * Between turns
 *----------
 */

/* Resume paused sides, if there is room or data again. */
static void
WakeSides(Copy *copy)
{
	if (copy->download.request && RingRoom(&copy->flow.ring) >= RING_ROOM)
		HttpResume(copy->download.request);
	if (copy->upload.request && FlowIsReady(&copy->flow))
		HttpResume(copy->upload.request);
}

void
CopyPump(Task *task)
{
	Copy *copy = task->copy;

	if (DownloadIsReady(&copy->download))
		Judge(copy, HttpReplyOf(copy->download.request));
	if (IsUnderWay(copy))
		ResumablePump(&copy->resumable);
	if (IsUnderWay(copy))
	{
		WakeSides(copy);
		WatchCheck(&copy->watch, &copy->download, &copy->upload);
	}
	Conclude(task);
}

/*----------
 * Reports
 *----------
 */

void
CopyProgress(Copy *copy, TimestampTz now, JobProgress *progress)
{
	memset(progress, 0, sizeof(*progress));
	progress->done = copy->flow.sent;
	/* fal's word stays: what the media host announces may be less */
	progress->total = copy->task->job->bytes_total > 0 ? copy->task->job->bytes_total : copy->flow.total;
	progress->rate = WatchRate(&copy->watch, &copy->flow, now);
	progress->duration_ms = copy->flow.meter.container.duration_ms;
	ResumableReport(&copy->resumable, progress);
}

bool
CopyWantsReport(const Copy *copy)
{
	return ResumableIsOwn(&copy->resumable) && !copy->resumable.reported;
}

void
CopyReported(Copy *copy, TimestampTz at)
{
	copy->resumable.reported = ResumableIsOwn(&copy->resumable);
	copy->resumable.reported_at = at;
}
