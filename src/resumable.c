/*
 * resumable.c
 *	  A copy's upload in parts, and how a later try resumes it.
 *
 * POST creates the upload, then each part is a PATCH of 6 MiB or the rest, all
 * fed from the one download, which the ring pauses between them.  An unknown
 * length is deferred: a part is sent once one byte more than it has arrived, or
 * the download has ended, and the last part then declares the length, if need be
 * with no bytes.  So each has a Content-Length, and all but the last have the
 * size that Storage's S3 backend insists on.  A smaller file is uploaded this way
 * when a proxy has rejected it in one piece.
 *
 * The upload's address and the ETag are in the job before the first part is sent:
 * the worker reports at once (CopyWantsReport), and CopyReported lets the part
 * go.  The report also confirms the lease; no part starts on a confirmation that
 * is older than 30 s, so a worker that slept through its lease sends no more than
 * the part it was at.  This lets the next try, in whichever process, resume:
 *
 *	  ResumableQuery	HEAD: how much has Storage?  All: done, if the object
 *						exists (a Storage that crashed on the last byte never
 *						creates it).  Nothing: the download keeps the upload.
 *						Upload gone, another bucket, no strong ETag: a new
 *						upload.  423 and 5xx: the next try
 *	  Resume			requests the rest of the file from its host (Range,
 *						If-Range), or from the meter's position if that is
 *						before it
 *	  ResumableFits		accepts only 206 with exactly the rest of a file of that
 *						length and ETag; for the whole file (200)
 *						ResumableCheckLength starts a new upload; anything else
 *						starts over
 *	  ResumablePump		sends the next part
 *
 * 409, or an offset that is not what we sent, repeats the HEAD, up to three times
 * a try.  A broken connection ends the try; Storage keeps what it received of the
 * part.
 *
 * With an S3 backend Storage drops an upload some time after its creation, however
 * busy it is (410).  A copy that takes longer goes on in one piece, from its
 * beginning; if that is not accepted, or takes longer than a try may last, it
 * fails as upload_expired.
 *
 * An upload's id is the last segment of Location, appended to our own base:
 * proxies get Location wrong, and a key must not follow it.  For the same reason
 * an address in the job is only used below that base.
 *
 * Hash and duration are taken by a meter, whose state (media.c) goes into the
 * job with each report and at the end of a try.  The next try continues it if its
 * checksum, over state and ETag, is right: what Storage has is measured and not
 * sent, what the meter has seen is sent and not measured.  Otherwise the download
 * starts at Storage's offset, and sha256 stays null.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "kind.h"
#include "resumable.h"

#define REPORT_GOOD_MS 30000 /* well below a lease: after a longer delay the lease may be lost */

void
ResumableInit(Resumable *resumable, Upload *upload, Download *download)
{
	memset(resumable, 0, sizeof(*resumable));
	resumable->task = upload->task;
	resumable->flow = upload->flow;
	resumable->upload = upload;
	resumable->download = download;
}

/*----------
 * Requests
 *----------
 */

/* size: of the part */
static void
InitTus(Resumable *resumable, Call *call, StorageTusCall what, int64 size)
{
	static const HttpMethod methods[] = {
		[STORAGE_TUS_CREATE] = HTTP_POST,
		[STORAGE_TUS_HEAD] = HTTP_HEAD,
		[STORAGE_TUS_PATCH] = HTTP_PATCH,
	};

	resumable->active = true;
	resumable->call = what;
	resumable->flow->part_left = size;
	UploadInitCall(resumable->upload, call, methods[what], size);
	CallHeader(call, "tus-resumable: 1.0.0");
}

void
ResumableQuery(Resumable *resumable)
{
	Call call;

	InitTus(resumable, &call, STORAGE_TUS_HEAD, 0);
	strlcpy(call.url, resumable->task->job->upload_url, sizeof(call.url));
	UploadSend(resumable->upload, &call);
}

void
ResumableCreate(Resumable *resumable)
{
	const UploadTarget *target = &resumable->upload->target;
	int64 total = resumable->flow->total;
	Call call;
	char metadata[2048];

	InitTus(resumable, &call, STORAGE_TUS_CREATE, 0);
	CallCheck(&call, StorageTusRoot(target->base, call.url, sizeof(call.url)) && StorageTusMetadata(target->bucket, target->object_key, target->type, metadata, sizeof(metadata)));
	resumable->deferred = (total < 0);
	if (resumable->deferred)
		CallHeader(&call, "upload-defer-length: 1");
	else
		CallHeader(&call, "upload-length: %lld", (long long) total);
	if (call.good)
		CallHeader(&call, "upload-metadata: %s", metadata);
	CallHeader(&call, "x-upsert: true");
	UploadSend(resumable->upload, &call);
}

/* The next part, of the size that Storage requires: only the last one may be smaller. */
static void
SendPart(Resumable *resumable)
{
	int64 total = resumable->flow->total;
	int64 size = total < 0 ? STORAGE_TUS_PART : Min(STORAGE_TUS_PART, total - resumable->offset);
	Call call;

	InitTus(resumable, &call, STORAGE_TUS_PATCH, size);
	strlcpy(call.url, resumable->url, sizeof(call.url));
	CallHeader(&call, "content-type: application/offset+octet-stream");
	CallHeader(&call, "x-upsert: true");
	CallHeader(&call, "upload-offset: %lld", (long long) resumable->offset);
	if (resumable->deferred && total >= 0)
		CallHeader(&call, "upload-length: %lld", (long long) total);
	UploadSend(resumable->upload, &call);
}

/* Storage has all bytes of the upload: has it created the object? */
static void
SeekObject(Resumable *resumable)
{
	Call call;

	resumable->seeking = true;
	UploadInitCall(resumable->upload, &call, HTTP_GET, 0);
	UploadAddress(resumable->upload, &call, STORAGE_INFO);
	UploadSend(resumable->upload, &call);
}

/*----------
 * A new upload
 *----------
 */
bool
ResumableIsWanted(const Resumable *resumable)
{
	const Upload *upload = resumable->upload;
	int64 total = resumable->flow->total;

	if (upload->target.kind != STORAGE_KIND_SUPABASE || vv_resumable_threshold < 0)
		return false;
	if (upload->way == UPLOAD_BY_SIZE)
		return total < 0 || total > (int64) vv_resumable_threshold * 1024;
	return upload->way == UPLOAD_IN_PARTS;
}

static void
AfterCreate(Resumable *resumable, const StorageTus *answer, const char *location)
{
	Task *task = resumable->task;

	if (answer->reply.outcome != STORAGE_DONE)
	{
		UploadFail(resumable->upload, &answer->reply);
		return;
	}
	if (!StorageTusUrl(resumable->upload->target.base, location, resumable->url, sizeof(resumable->url)))
	{
		TaskRetry(task, vv_max_tries, "bad_response", "Storage's answer has no upload address", -1);
		return;
	}
	/* the worker reports it, then the first part is sent */
	task->job->upload_url = MemoryContextStrdup(task->mcxt, resumable->url);
	task->job->media_etag = MemoryContextStrdup(task->mcxt, resumable->download->etag);
}

/*----------
 * Resuming the upload of an earlier try
 *----------
 */
bool
ResumableIsKept(const Resumable *resumable)
{
	const UploadTarget *target = &resumable->upload->target;
	const char *url = resumable->task->job->upload_url;

	return target->kind == STORAGE_KIND_SUPABASE && vv_resumable_threshold >= 0 && url && StorageTusOwns(target->base, url);
}

/* Where the download starts: nothing that Storage has is needed again, except by the meter. */
static int64
FindStart(Flow *flow, const Job *job, const char *etag)
{
	/* without a byte in Storage, everything is read again */
	if (flow->stored > 0 && job->upload_state &&
		MediaMeterLoad(&flow->meter, etag, job->upload_state, job->upload_state_len) &&
		flow->meter.bytes > 0)
		return Min(flow->stored, flow->meter.bytes);
	return flow->stored;
}

/* Storage has reported how much it has. */
static void
Resume(Resumable *resumable, const StorageTus *answer)
{
	Flow *flow = resumable->flow;
	const Job *job = resumable->task->job;
	const char *etag = job->media_etag ? job->media_etag : "";
	bool has_all = (answer->offset > 0 && answer->offset == answer->length);

	if ((answer->length >= 0 && answer->offset > answer->length) ||
		(answer->offset > 0 && !has_all && !StorageEtagIsStrong(etag)))
	{
		flow->next = FLOW_START_OVER;
		return;
	}
	strlcpy(resumable->url, job->upload_url, sizeof(resumable->url));
	resumable->offset = flow->stored = flow->sent = answer->offset;
	resumable->deferred = (answer->length < 0);
	flow->total = answer->length;
	strlcpy(resumable->download->etag, etag, sizeof(resumable->download->etag));
	flow->from = flow->received = FindStart(flow, job, etag);
	/* its last answer was lost, or the process crashed before recording it */
	if (has_all)
		SeekObject(resumable);
	else
		DownloadStart(resumable->download);
}

/* The object has the name that the try before gave it, by what it had downloaded. */
static void
KeepEnding(Upload *upload, const char *metadata)
{
	for (int i = 0; kind_endings[i]; i++)
	{
		UploadSetEnding(upload, kind_endings[i]);
		if (StorageTusNames(metadata, upload->target.object_key))
			return;
	}
	UploadSetEnding(upload, kind_endings[0]);
}

/*----------
 * An upload that is too old
 *----------
 */
static bool
LastTryEndedAs(const Resumable *resumable, const char *code)
{
	const char *last = resumable->task->job->error_code;

	return last && strcmp(last, code) == 0;
}

static void
FailExpired(Resumable *resumable, const char *why_not_whole)
{
	Task *task = resumable->task;
	char error[300];

	snprintf(error, sizeof(error), "Storage drops an upload in parts at a certain age, before all of this one is there; %s",
			 why_not_whole);
	task->got_further = false;
	TaskRetry(task, Min(vv_max_tries, FATAL_TRIES), "upload_expired",
			  LastTryEndedAs(resumable, "upload_expired") ? task->job->error : error, -1);
}

/*
 * It has expired while parts of it were sent.  Another one would, too: the copy
 * takes longer.  In one piece there is nothing to expire.
 */
static void
AfterExpiry(Resumable *resumable)
{
	Upload *upload = resumable->upload;

	if (upload->way == UPLOAD_IN_PARTS || LastTryEndedAs(resumable, "upload_expired"))
	{
		FailExpired(resumable, "in one piece it is not accepted");
		return;
	}
	upload->way = UPLOAD_IN_ONE_PIECE;
	resumable->flow->next = FLOW_START_OVER;
}

static void
AfterHead(Resumable *resumable, const StorageTus *answer, const char *metadata)
{
	bool ours = StorageTusIsFor(metadata, resumable->upload->target.bucket);

	KeepEnding(resumable->upload, metadata);
	if (answer->reply.outcome == STORAGE_DONE && ours)
		Resume(resumable, answer);
	/* it did not just lie around: a whole try was not enough */
	else if (answer->expired && LastTryEndedAs(resumable, "copy_timeout"))
		FailExpired(resumable, "in one piece it would not be there within vibevideo.copy_timeout");
	else if (answer->reply.outcome == STORAGE_DONE || answer->gone)
		resumable->flow->next = FLOW_START_OVER;
	else if (answer->reply.outcome == STORAGE_RETRY)
		UploadFail(resumable->upload, &answer->reply);
	/* an answer to HEAD has no body with the reason: try other forms of the key, then a new upload */
	else if (UploadHasOtherForm(resumable->upload))
		UploadTryOtherForm(resumable->upload, &answer->reply);
	else
		resumable->flow->next = FLOW_START_OVER;
}

/* A Storage that crashed on the last byte has all bytes, but will never create the object. */
static void
AfterSeek(Resumable *resumable, const HttpReply *reply)
{
	StorageInfo info;

	StorageJudgeInfo(reply, &info);
	if (info.reply.outcome != STORAGE_DONE)
		UploadFail(resumable->upload, &info.reply);
	else if (info.exists && info.size == resumable->flow->total)
		resumable->flow->next = FLOW_FINISH;
	else
		resumable->flow->next = FLOW_START_OVER;
}

/* Is it exactly the rest of the same file whose beginning Storage has? */
bool
ResumableFits(Resumable *resumable, const HttpReply *reply)
{
	Flow *flow = resumable->flow;
	int64 from;
	int64 to;
	int64 total;

	if (reply->status != 206 || !StorageReadRange(reply->content_range, &from, &to, &total) ||
		from != flow->from || to != total - 1 || (flow->total >= 0 && flow->total != total) ||
		strcmp(reply->etag, resumable->download->etag) != 0)
		return false;
	flow->total = total;
	return true;
}

/* An upload is kept only while Storage has no byte of it and its length is the file's. */
void
ResumableCheckLength(Resumable *resumable, int64 length)
{
	Flow *flow = resumable->flow;

	if (!resumable->active || (flow->stored == 0 && (flow->total < 0 || flow->total == length)))
		return;
	resumable->task->job->upload_url = NULL;
	resumable->url[0] = '\0';
	resumable->active = resumable->deferred = resumable->reported = false;
	resumable->offset = 0;
	FlowRewind(flow);
}

/*----------
 * Parts
 *----------
 */

/* Is there enough for the next part?  If the file's size is known, the rest will arrive. */
static bool
HasPart(const Flow *flow)
{
	return flow->whole || (flow->total >= 0 ? flow->ring.used > 0 : flow->ring.used > STORAGE_TUS_PART);
}

void
ResumablePump(Resumable *resumable)
{
	Flow *flow = resumable->flow;

	if (!ResumableIsOwn(resumable) || resumable->upload->request ||
		(resumable->offset == flow->total && !resumable->deferred))
		return;
	if (TimestampDifferenceExceeds(resumable->reported_at, GetCurrentTimestamp(), REPORT_GOOD_MS))
		resumable->reported = false;
	if (!resumable->reported || !HasPart(flow))
		return;
	if (flow->whole)
		flow->total = flow->received;
	SendPart(resumable);
}

static void
AfterPart(Resumable *resumable, const StorageTus *answer)
{
	Flow *flow = resumable->flow;

	if (answer->expired)
		AfterExpiry(resumable);
	else if (answer->gone)
		flow->next = FLOW_START_OVER;
	/* its offset counts */
	else if (answer->moved || (answer->reply.outcome == STORAGE_DONE && answer->offset != flow->sent))
		flow->next = FLOW_RESTART;
	else if (answer->reply.outcome != STORAGE_DONE)
		UploadFail(resumable->upload, &answer->reply);
	else
	{
		resumable->offset = answer->offset;
		/* the part has declared it, if it was known by then */
		resumable->deferred = resumable->deferred && flow->total < 0;
		/* a bad connection is no reason to stop as long as each try makes progress */
		if (flow->stored > 0 && resumable->offset > flow->stored)
			resumable->task->got_further = true;
		if (ResumableIsDone(resumable))
			flow->next = FLOW_FINISH;
	}
}

bool
ResumableIsDone(const Resumable *resumable)
{
	const Flow *flow = resumable->flow;

	return resumable->active && flow->whole && resumable->upload->request == NULL && !resumable->deferred &&
		resumable->offset == flow->total;
}

void
ResumableAdvance(Resumable *resumable, const HttpReply *reply)
{
	StorageTus answer;

	if (resumable->seeking)
	{
		AfterSeek(resumable, reply);
		return;
	}
	StorageJudgeTus(resumable->call, reply, &answer);
	switch (resumable->call)
	{
		case STORAGE_TUS_CREATE:
			AfterCreate(resumable, &answer, reply->location);
			break;
		case STORAGE_TUS_HEAD:
			AfterHead(resumable, &answer, reply->upload_metadata);
			break;
		case STORAGE_TUS_PATCH:
			AfterPart(resumable, &answer);
			break;
	}
}

/*----------
 * For the next try
 *----------
 */
bool
ResumableIsOwn(const Resumable *resumable)
{
	return resumable->active && resumable->flow->judged && resumable->url[0] != '\0';
}

void
ResumableKeepState(const Resumable *resumable)
{
	Task *task = resumable->task;

	if (!ResumableIsOwn(resumable))
		return;
	task->job->upload_state = MemoryContextAlloc(task->mcxt, MEDIA_STATE_SIZE);
	task->job->upload_state_len = MEDIA_STATE_SIZE;
	MediaMeterSave(&resumable->flow->meter, resumable->download->etag, task->job->upload_state);
	task->update.upload_state = task->job->upload_state;
}

void
ResumableReport(Resumable *resumable, JobProgress *progress)
{
	if (!ResumableIsOwn(resumable))
		return;
	MediaMeterSave(&resumable->flow->meter, resumable->download->etag, resumable->state);
	progress->upload_url = resumable->url;
	progress->media_etag = resumable->download->etag;
	progress->upload_state = resumable->state;
}
