/*
 * transfer.c
 *	  One copy: media in, Storage out, through a bounded ring.
 *
 * The download's sink fills the ring, the upload's source empties it; the
 * side that gets ahead is paused, so memory is the ring's whatever the
 * video's size.  Sink and source run under libcurl: they touch only the Copy
 * (malloc'd) and leave a reason in it when they give up.  CopyPump, called
 * between turns, does everything else.
 *
 * An upload is ended by its last byte only after the download has ended well;
 * until then Storage has nothing to show, so half a file is never visible.
 *
 * A large file goes by a resumable upload, in parts: a request each, all fed
 * from the one download.  Its address is in the job before the first part is
 * sent, so that the next try, whoever makes it, asks Storage how much it has
 * and the media host for the rest.  Only a strong ETag lets two tries make one
 * file; without it, or when the host answers anything but the very rest of the
 * very file, the upload starts over.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "call.h"
#include "guc.h"
#include "hosts.h"
#include "media.h"
#include "secret.h"
#include "shmem.h"
#include "storage.h"
#include "transfer.h"
#include "wire.h"

#define RING_SIZE (2 * 1024 * 1024)
#define RING_ROOM (512 * 1024) /* a paused download goes on when so much is free: libcurl's buffer */
/* of a video of unknown length: whether a part is the last one shows only behind its end */
#define PART_RING_SIZE (STORAGE_TUS_PART + RING_SIZE)
#define MAX_REDIRECTS 5
#define MAX_ERROR_BODY (64 * 1024)
#define OBJECT_KEY_SIZE 1024
#define FINISHING_PATIENCE 5
#define MAX_RESTARTS 3
#define MEASURE_MS 500		 /* shorter spans say little of a speed */
#define REPORT_GOOD_MS 30000 /* well below a lease: after a longer sleep it may be lost */

struct Copy
{
	HttpRequest *get; /* NULL before and after */
	HttpRequest *put;
	char *ring;
	size_t ring_size;
	size_t first; /* where the oldest byte is */
	size_t used;
	int64 received;
	int64 total; /* as announced, -1 unknown */
	int64 cap;
	bool whole;			 /* the download ended well */
	bool judged;		 /* what is downloaded is what we want, and the upload has begun */
	bool counting;		 /* ... but its length is needed first: it is only read to its end */
	int64 counted;		 /* what an earlier download came to, -1: there was none */
	int64 base;			 /* what Storage had already */
	int64 from;			 /* the download began here: at base, or before it for the meter */
	bool in_parts;		 /* something before Storage takes it only so */
	bool tus;			 /* resumable; then upload_url is "" until it is created */
	StorageTusCall call; /* what put is */
	bool seeking;		 /* ... or, if so: the question for the object */
	bool deferred;		 /* Storage does not know the length yet */
	bool declared;		 /* this part tells it */
	bool reported;		 /* upload_url is in the job, whose lease was ours then */
	TimestampTz reported_at;
	int64 offset;	 /* Storage surely has so much */
	int64 part_left; /* what this request may still send */
	int restarts;
	int redirects;
	MediaMeter meter;	 /* sees what is downloaded, if that goes on where it stands */
	const char *failure; /* set by a callback: static text of a code */
	int64 moved_before;	 /* received + sent when we last looked */
	int64 sent;
	TimestampTz moved_at;
	int64 paced_received; /* when the time began in which it has to be fast enough */
	int64 paced_sent;
	TimestampTz paced_at;
	int64 measured; /* sent at measured_at, -1 at first */
	TimestampTz measured_at;
	int64 rate; /* bytes a second of late, 0 unknown */
	TimestampTz started_at;
	StorageKeyForm form;
	char storage_key[SECRET_SIZE];
	char url[FAL_URL_SIZE];
	char type[129]; /* what Storage is told it is */
	int kind;		/* settings may change under way: these hold for the whole copy */
	char bucket[129];
	char video_url[FAL_URL_SIZE];
	char object_key[OBJECT_KEY_SIZE];
	char upload_url[FAL_URL_SIZE];
	char etag[sizeof(((HttpReply *) NULL)->etag)]; /* "" if it is not strong */
	unsigned char state[MEDIA_STATE_SIZE];		   /* the meter's, for a report */
};

/* what Storage made of the key last time: sb_ keys differ by gateway */
static StorageKeyForm known_form;
static bool form_is_known = false;

/*----------
 * Under libcurl
 *----------
 */

/* Bytes of the file from position at: how many of them are before position to? */
static size_t
CountBefore(int64 to, int64 at, size_t len)
{
	return to <= at ? 0 : (size_t) Min(to - at, (int64) len);
}

/* The meter has seen what it has seen, but a gap it cannot jump. */
static void
Measure(Copy *copy, int64 at, const char *data, size_t len)
{
	size_t seen = CountBefore(copy->meter.bytes, at, len);

	if (at <= copy->meter.bytes)
		MediaMeterAdd(&copy->meter, data + seen, len - seen);
}

/* Of what has come just now, the bytes that need not go to Storage: it has them, or only their number is wanted. */
static size_t
CountUnwanted(const Copy *copy, size_t len)
{
	if (copy->counting)
		return len;
	return copy->judged ? CountBefore(copy->base, copy->received, len) : 0;
}

static size_t
TakeMedia(void *arg, const char *data, size_t len)
{
	Copy *copy = arg;
	size_t unwanted = CountUnwanted(copy, len);
	size_t wanted = len - unwanted;
	size_t last;
	size_t piece;

	/* before we know that it is the rest, it may be the whole from the start */
	if (copy->received - (copy->judged ? 0 : copy->from) + (int64) len > copy->cap)
	{
		copy->failure = "video_too_large";
		return HTTP_ABORT;
	}
	if (wanted > copy->ring_size - copy->used)
		return HTTP_PAUSE;
	last = (copy->first + copy->used) % copy->ring_size;
	piece = Min(wanted, copy->ring_size - last);
	memcpy(copy->ring + last, data + unwanted, piece);
	memcpy(copy->ring, data + unwanted + piece, wanted - piece);
	copy->used += wanted;
	if (copy->judged)
		Measure(copy, copy->received, data, len);
	copy->received += len;
	return len;
}

/* What may be sent now: the file's last byte only when the download has ended well. */
static size_t
CountReady(const Copy *copy)
{
	int64 ready = Min((int64) copy->used, copy->part_left);

	if (!copy->whole && copy->total >= 0)
		ready = Min(ready, copy->total - 1 - copy->sent);
	return Max(ready, 0);
}

static size_t
GiveMedia(void *arg, char *data, size_t len)
{
	Copy *copy = arg;
	size_t ready = CountReady(copy);
	size_t piece;

	if (ready == 0)
		return copy->whole || copy->part_left == 0 ? 0 : HTTP_PAUSE;
	len = Min(len, ready);
	piece = Min(len, copy->ring_size - copy->first);
	memcpy(data, copy->ring + copy->first, piece);
	memcpy(data + piece, copy->ring, len - piece);
	copy->first = (copy->first + len) % copy->ring_size;
	copy->used -= len;
	copy->sent += len;
	copy->part_left -= len;
	return len;
}

/*----------
 * Making and ending
 *----------
 */
static void
FreeCopy(Copy *copy)
{
	if (copy->get)
		HttpFree(copy->get);
	if (copy->put)
		HttpFree(copy->put);
	SecretWipe(copy->storage_key, sizeof(copy->storage_key));
	free(copy->ring);
	free(copy);
}

static Copy *
CopyCreate(const char *storage_key)
{
	Copy *copy = calloc(1, sizeof(Copy));

	if (copy == NULL)
		return NULL;
	copy->ring = malloc(RING_SIZE);
	if (copy->ring == NULL)
	{
		FreeCopy(copy);
		return NULL;
	}
	copy->ring_size = RING_SIZE;
	copy->total = copy->counted = -1;
	MediaMeterInit(&copy->meter);
	copy->part_left = INT64_MAX;
	copy->cap = (int64) vv_max_video_size * 1024;
	copy->measured = -1;
	copy->started_at = copy->moved_at = copy->measured_at = copy->paced_at = GetCurrentTimestamp();
	copy->form = form_is_known ? known_form : StorageFirstForm(storage_key);
	strlcpy(copy->storage_key, storage_key, sizeof(copy->storage_key));
	return copy;
}

/* Is this an upload that a later try may go on with? */
static bool
HasOwnUpload(const Copy *copy)
{
	return copy->tus && copy->judged && copy->upload_url[0] != '\0';
}

static void
KeepState(Task *task)
{
	Job *job = task->job;

	if (!HasOwnUpload(task->copy))
		return;
	job->upload_state = MemoryContextAlloc(task->mcxt, MEDIA_STATE_SIZE);
	job->upload_state_len = MEDIA_STATE_SIZE;
	MediaMeterSave(&task->copy->meter, task->copy->etag, job->upload_state);
	task->update.upload_state = job->upload_state;
}

void
CopyEnd(Task *task)
{
	if (task->copy == NULL)
		return;
	KeepState(task);
	FreeCopy(task->copy);
	task->copy = NULL;
}

/* Both sides end, and the job gets its next try (limit 1: none). */
static bool
GiveUp(Task *task, int limit, const char *code, const char *error)
{
	Copy *copy = task->copy;

	/* a bad line is no reason to stop as long as each try gets further */
	if (copy && copy->base > 0 && copy->offset > copy->base)
		task->job->tries = 0;
	TaskRetry(task, limit, code, error, -1);
	CopyEnd(task);
	return true;
}

static bool
GiveUpOnReply(Task *task, int limit, const char *code, const char *what, const HttpReply *reply)
{
	char error[512];

	if (reply->outcome == HTTP_ANSWERED)
		snprintf(error, sizeof(error), "%s: HTTP %d", what, reply->status);
	else
		snprintf(error, sizeof(error), "%s: %s", what, reply->error);
	return GiveUp(task, limit, code, error);
}

/*----------
 * Download
 *----------
 */
static bool JudgeAndUpload(Task *task, const HttpReply *reply);
static bool AskTus(Task *task);
static bool FinishIfDone(Task *task);

static HostVerdict
JudgeMediaUrl(const char *url, char *error, size_t size)
{
	char why[200];
	HostVerdict verdict = HostsJudgeUrl(vv_media_hosts, url, why, sizeof(why));

	if (verdict == HOST_DENIED)
		snprintf(error, size, "the video's address is not allowed by vibevideo.media_hosts: %s", why);
	return verdict;
}

void
CopyKeepUrl(Task *task, const char *url)
{
	char error[400];

	if (JudgeMediaUrl(url, error, sizeof(error)) == HOST_DENIED)
		TaskFail(task, "media_host_denied", error);
	else
		TaskUpdate(task, "completed")->video_url = url;
}

static bool
StartDownload(Task *task)
{
	Copy *copy = task->copy;
	char error[400];
	char range[64];
	char if_range[sizeof(copy->etag) + 16];
	const char *headers[] = {range, if_range, NULL};
	HttpSpec spec = {0};
	HostVerdict verdict = JudgeMediaUrl(copy->url, error, sizeof(error));

	if (verdict == HOST_DENIED)
		return !GiveUp(task, 1, "media_host_denied", error);
	spec.method = HTTP_GET;
	spec.url = copy->url;
	if (copy->from > 0)
	{
		snprintf(range, sizeof(range), "range: bytes=%lld-", (long long) copy->from);
		snprintf(if_range, sizeof(if_range), "if-range: %s", copy->etag);
		spec.headers = headers;
	}
	spec.max_response = MAX_ERROR_BODY;
	spec.connect_timeout = vv_connect_timeout;
	spec.public_only = (verdict == HOST_PUBLIC);
	spec.outside = true;
	spec.sink = TakeMedia;
	spec.stream_arg = copy;
	spec.owner = task;
	copy->get = HttpStart(task->engine, &spec);
	if (copy->get == NULL)
		return !GiveUp(task, vv_max_tries, "bad_media_url", "the download could not be set up");
	return true;
}

/* The key in Storage: the app's key, made harmless, and fal's unguessable id. */
static void
MakeObjectKey(const Job *job, char *out)
{
	char prefix[129];
	size_t n = 0;

	for (const char *p = job->vibelog_id; *p && n < sizeof(prefix) - 1; p++)
		prefix[n++] = ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
					   (*p >= '0' && *p <= '9') || *p == '-' || *p == '_')
			? *p
			: '_';
	prefix[n] = '\0';
	snprintf(out, OBJECT_KEY_SIZE, "%s/%s.mp4", n ? prefix : "_", job->request_id);
}

/* Where it goes, and what its address will be, before a byte is moved. */
static bool
FixTarget(Copy *copy)
{
	char base[1024];

	copy->kind = vv_storage_kind;
	strlcpy(copy->bucket, vv_storage_bucket, sizeof(copy->bucket));
	return StorageUrl(CallBase(vv_storage_public_url[0] ? vv_storage_public_url : vv_storage_url, base, sizeof(base)),
					  copy->kind == STORAGE_KIND_S3 ? STORAGE_S3 : STORAGE_PUBLIC, copy->bucket,
					  copy->object_key, copy->video_url, sizeof(copy->video_url));
}

/* Did an earlier try leave an upload that may be gone on with? */
static bool
HasUpload(const Task *task)
{
	char base[1024];

	return task->copy->kind == STORAGE_KIND_SUPABASE && vv_resumable_threshold >= 0 && task->job->upload_url &&
		StorageTusOwns(CallBase(vv_storage_url, base, sizeof(base)), task->job->upload_url);
}

static bool
Begin(Task *task, const char *storage_key)
{
	if (task->job->media_url == NULL || task->job->request_id == NULL)
		return !GiveUp(task, 1, "no_video", "the job does not say where its video is");
	if (vv_storage_kind == STORAGE_KIND_NONE)
	{
		/* it was not yet so when fal was done, or a retry */
		CopyKeepUrl(task, task->job->media_url);
		return false;
	}
	if (vv_storage_url[0] == '\0')
		return !GiveUp(task, 0, "storage_not_configured", "vibevideo.storage_url is not set");
	if (storage_key == NULL)
		return !GiveUp(task, 0, "storage_not_configured", "no Storage key is configured");
	task->copy = CopyCreate(storage_key);
	if (task->copy == NULL)
		return !GiveUp(task, 0, "out_of_memory", "no memory for a copy");
	strlcpy(task->copy->url, task->job->media_url, sizeof(task->copy->url));
	MakeObjectKey(task->job, task->copy->object_key);
	if (!FixTarget(task->copy))
		return !GiveUp(task, vv_max_tries, "bad_storage_url",
					   "the video's address could not be built: check vibevideo.storage_url, storage_public_url and storage_bucket");
	return HasUpload(task) ? AskTus(task) : StartDownload(task);
}

void
CopyStart(Task *task)
{
	(void) Begin(task, task->key);
}

/* From the start, or with an upload kept in the job from where that is. */
static bool
Restart(Task *task)
{
	char key[SECRET_SIZE];
	int restarts = task->copy->restarts + 1;
	bool in_parts = task->copy->in_parts;
	int64 counted = task->copy->counted;

	if (restarts > MAX_RESTARTS)
		return GiveUp(task, vv_max_tries, "upload_moved", "the upload had to start over again and again");
	strlcpy(key, task->copy->storage_key, sizeof(key));
	CopyEnd(task);
	if (Begin(task, key))
	{
		task->copy->restarts = restarts;
		task->copy->in_parts = in_parts;
		task->copy->counted = counted;
	}
	SecretWipe(key, sizeof(key));
	return task->copy == NULL;
}

/* The video's length is known now: it is downloaded again, and uploaded. */
static bool
StartCounted(Task *task)
{
	task->copy->counted = task->copy->received;
	return Restart(task);
}

static bool
StartOver(Task *task)
{
	task->job->upload_url = NULL;
	return Restart(task);
}

static bool
FollowRedirect(Task *task, const HttpReply *reply)
{
	Copy *copy = task->copy;
	char next[FAL_URL_SIZE];

	if (++copy->redirects > MAX_REDIRECTS ||
		!HostsResolveRedirect(copy->url, reply->location, next, sizeof(next)))
		return GiveUpOnReply(task, vv_max_tries, "bad_redirect", "the video's address redirects badly", reply);
	strlcpy(copy->url, next, sizeof(copy->url));
	return !StartDownload(task);
}

static bool
AfterDownload(Task *task, HttpRequest *request)
{
	Copy *copy = task->copy;
	const HttpReply *reply = HttpReplyOf(request);
	bool over = false;

	copy->get = NULL;
	if (copy->failure)
		over = GiveUp(task, 1, copy->failure, "the video is larger than vibevideo.max_video_size");
	else if (reply->outcome == HTTP_FORBIDDEN)
		over = GiveUp(task, 1, "media_host_denied", "the video's host has a private address");
	else if (reply->outcome == HTTP_ANSWERED && reply->status >= 300 && reply->status < 400)
		over = FollowRedirect(task, reply);
	else if (reply->outcome == HTTP_ANSWERED && copy->from > 0 && (reply->status == 412 || reply->status == 416))
		over = StartOver(task);
	else if (reply->outcome != HTTP_ANSWERED || reply->status < 200 || reply->status > 299)
		over = GiveUpOnReply(task, vv_max_tries,
							 reply->status == 404 || reply->status == 410 ? "media_gone" : "download_failed",
							 "the video could not be downloaded", reply);
	else if (copy->received < MEDIA_SNIFF_BYTES)
		over = GiveUp(task, vv_max_tries, "not_a_video", "what fal.ai delivered is empty");
	else
	{
		copy->whole = true;
		/* a small one is here before anybody could start its upload */
		if (!copy->judged)
			(void) JudgeAndUpload(task, reply);
		else if (copy->counting)
			(void) StartCounted(task);
		else if (copy->total >= 0 && copy->received != copy->total)
			(void) GiveUp(task, vv_max_tries, "download_failed", "the video has not the length that was announced");
		else
			(void) FinishIfDone(task);
		over = (task->copy == NULL);
	}
	HttpFree(request);
	return over;
}

/*----------
 * Upload
 *----------
 */

/* What we tell Storage: one plain type, or NULL if this is no video. */
static const char *
MediaType(Copy *copy, const HttpReply *reply, char *bare, size_t size)
{
	const char *kind;

	StorageBareType(reply->content_type, bare, size);
	/* nothing was taken out yet: the first bytes still stand at the start */
	if (!MediaSniff((unsigned char *) copy->ring, Min(copy->used, MEDIA_SNIFF_BYTES), &kind))
		return NULL;
	if (strncmp(bare, "video/", 6) == 0)
		return bare;
	if (bare[0] == '\0' || strcmp(bare, "application/octet-stream") == 0 ||
		strcmp(bare, "binary/octet-stream") == 0 || strcmp(bare, "application/mp4") == 0)
	{
		snprintf(bare, size, "video/%s", kind);
		return bare;
	}
	return NULL;
}

static bool
GiveUpOnTarget(Task *task)
{
	return GiveUp(task, vv_max_tries, "bad_storage_url",
				  "the upload's address could not be built: check vibevideo.storage_url and storage_bucket");
}

/* What all requests to Storage have in common; size is of the body that is streamed, -1 if that is open. */
static void
FillStorageSpec(HttpSpec *spec, Task *task, HttpMethod method, const char *url, const char *const *headers, int64 size)
{
	spec->method = method;
	spec->url = url;
	spec->headers = headers;
	spec->max_response = MAX_ERROR_BODY;
	spec->connect_timeout = vv_connect_timeout;
	if (method == HTTP_PUT || method == HTTP_PATCH)
	{
		spec->source = GiveMedia;
		spec->source_size = size;
		spec->stream_arg = task->copy;
	}
	spec->owner = task;
}

static bool
StartPut(Task *task, const HttpSpec *spec)
{
	ShmemServiceStart(SERVICE_STORAGE);
	task->copy->put = HttpStart(task->engine, spec);
	if (task->copy->put == NULL)
		return !GiveUp(task, vv_max_tries, "upload_failed", "the upload could not be set up");
	return true;
}

static bool
StartS3Upload(Task *task)
{
	Copy *copy = task->copy;
	char base[1024];
	char url[FAL_URL_SIZE];
	char type[160];
	char sigv4[100];
	const char *headers[] = {type, "cache-control: max-age=3600", "x-amz-content-sha256: UNSIGNED-PAYLOAD", NULL};
	HttpSpec spec = {0};

	/* S3 takes no body of unknown length (its chunked form would have to be signed) */
	if (copy->total < 0)
	{
		copy->counting = true;
		copy->used = 0;
		return true;
	}
	if (!StorageUrl(CallBase(vv_storage_url, base, sizeof(base)), STORAGE_S3, copy->bucket,
					copy->object_key, url, sizeof(url)))
		return !GiveUpOnTarget(task);
	snprintf(type, sizeof(type), "content-type: %s", copy->type);
	snprintf(sigv4, sizeof(sigv4), "aws:amz:%s:s3", vv_storage_region);
	FillStorageSpec(&spec, task, HTTP_PUT, url, headers, copy->total);
	spec.sigv4 = sigv4;
	spec.userpwd = copy->storage_key;
	return StartPut(task, &spec);
}

/* A request that carries the key, and more headers (NULL-terminated, or NULL for none). */
static bool
StartWithKey(Task *task, HttpMethod method, const char *url, const char *const *more, int64 size)
{
	Copy *copy = task->copy;
	char bearer[STORAGE_HEADER_SIZE];
	char apikey[STORAGE_HEADER_SIZE];
	const char *auth[3];
	const char *headers[10];
	int n = CallStorageHeaders(copy->storage_key, copy->form, bearer, apikey, auth);
	bool started;
	HttpSpec spec = {0};

	memcpy(headers, auth, sizeof(auth[0]) * n);
	while (more && *more)
		headers[n++] = *more++;
	headers[n] = NULL;
	FillStorageSpec(&spec, task, method, url, headers, size);
	started = StartPut(task, &spec);
	SecretWipe(bearer, sizeof(bearer));
	SecretWipe(apikey, sizeof(apikey));
	return started;
}

#define TUS_VERSION "tus-resumable: 1.0.0"

/* size: of the part */
static bool
StartTus(Task *task, StorageTusCall call, const char *url,
		 const char *const *headers, int64 size)
{
	static const HttpMethod methods[] = {
		[STORAGE_TUS_CREATE] = HTTP_POST,
		[STORAGE_TUS_HEAD] = HTTP_HEAD,
		[STORAGE_TUS_PATCH] = HTTP_PATCH,
	};
	Copy *copy = task->copy;

	copy->call = call;
	copy->part_left = size;
	return StartWithKey(task, methods[call], url, headers, size);
}

/* Asks how much Storage has of an upload that an earlier try began. */
static bool
AskTus(Task *task)
{
	const char *headers[] = {TUS_VERSION, NULL};

	task->copy->tus = true;
	return StartTus(task, STORAGE_TUS_HEAD, task->job->upload_url, headers, 0);
}

/* Storage has all bytes of the upload: has it made an object of them? */
static bool
SeekObject(Task *task)
{
	Copy *copy = task->copy;
	char base[1024];
	char url[FAL_URL_SIZE];

	if (!StorageUrl(CallBase(vv_storage_url, base, sizeof(base)), STORAGE_INFO, copy->bucket,
					copy->object_key, url, sizeof(url)))
		return !GiveUpOnTarget(task);
	copy->seeking = true;
	return StartWithKey(task, HTTP_GET, url, NULL, 0);
}

static bool
CreateTus(Task *task)
{
	Copy *copy = task->copy;
	char base[1024];
	char url[FAL_URL_SIZE];
	char length[64] = "upload-defer-length: 1";
	char metadata[2048] = "upload-metadata: ";
	size_t name_len = strlen(metadata);
	const char *headers[] = {TUS_VERSION, length, metadata, "x-upsert: true", NULL};

	if (!StorageTusRoot(CallBase(vv_storage_url, base, sizeof(base)), url, sizeof(url)) ||
		!StorageTusMetadata(copy->bucket, copy->object_key, copy->type, metadata + name_len, sizeof(metadata) - name_len))
		return !GiveUpOnTarget(task);
	copy->tus = true;
	copy->deferred = (copy->total < 0);
	if (!copy->deferred)
		snprintf(length, sizeof(length), "upload-length: %lld", (long long) copy->total);
	return StartTus(task, STORAGE_TUS_CREATE, url, headers, 0);
}

/* The next part, as large as Storage wants it: only the last one may be smaller. */
static bool
StartPart(Task *task)
{
	Copy *copy = task->copy;
	char offset[64];
	char length[64];
	int64 size = copy->total < 0 ? STORAGE_TUS_PART : Min(STORAGE_TUS_PART, copy->total - copy->offset);
	bool declares = copy->deferred && copy->total >= 0;
	const char *headers[] = {TUS_VERSION, "content-type: application/offset+octet-stream", "x-upsert: true", offset,
							 declares ? length : NULL, NULL};

	snprintf(offset, sizeof(offset), "upload-offset: %lld", (long long) copy->offset);
	snprintf(length, sizeof(length), "upload-length: %lld", (long long) copy->total);
	copy->declared = declares;
	return StartTus(task, STORAGE_TUS_PATCH, copy->upload_url, headers, size);
}

static bool
StartUpload(Task *task)
{
	Copy *copy = task->copy;
	char base[1024];
	char url[FAL_URL_SIZE];
	char type[160];
	const char *headers[] = {type, "cache-control: max-age=3600", "x-upsert: true", NULL};

	if (copy->kind == STORAGE_KIND_S3)
		return StartS3Upload(task);
	if (vv_resumable_threshold >= 0 && (copy->in_parts || copy->total < 0 || copy->total > (int64) vv_resumable_threshold * 1024))
		return CreateTus(task);
	if (!StorageUrl(CallBase(vv_storage_url, base, sizeof(base)), STORAGE_UPLOAD, copy->bucket,
					copy->object_key, url, sizeof(url)))
		return !GiveUpOnTarget(task);
	snprintf(type, sizeof(type), "content-type: %s", copy->type);
	return StartWithKey(task, HTTP_PUT, url, headers, copy->total);
}

/* Is it a video, and small enough? */
static bool
JudgeMedia(Task *task, const HttpReply *reply)
{
	Copy *copy = task->copy;
	char error[300];

	if (copy->total > copy->cap)
	{
		snprintf(error, sizeof(error), "the video has %lld bytes, more than vibevideo.max_video_size",
				 (long long) copy->total);
		return !GiveUp(task, 1, "video_too_large", error);
	}
	if (copy->from == 0 && reply->status == 206)
		return !GiveUp(task, vv_max_tries, "download_failed", "the media host answered with a part of the video");
	if (copy->from == 0 && MediaType(copy, reply, copy->type, sizeof(copy->type)) == NULL)
	{
		snprintf(error, sizeof(error), "what fal.ai delivered is not a video (content type \"%s\")", reply->content_type);
		return !GiveUp(task, vv_max_tries, "not_a_video", error);
	}
	return true;
}

/* Is it the very rest of the very file whose beginning Storage has? */
static bool
IsTheRest(Copy *copy, const HttpReply *reply)
{
	int64 from;
	int64 to;
	int64 total;

	if (reply->status != 206 || !StorageReadRange(reply->content_range, &from, &to, &total) ||
		from != copy->from || to != total - 1 || (copy->total >= 0 && copy->total != total) ||
		strcmp(reply->etag, copy->etag) != 0)
		return false;
	copy->total = total;
	return true;
}

/* The host sent the file from its start: take that, and upload it anew. */
static void
ForgetUpload(Task *task)
{
	Copy *copy = task->copy;

	task->job->upload_url = NULL;
	copy->upload_url[0] = '\0';
	copy->tus = copy->deferred = copy->reported = false;
	copy->received -= copy->from;
	copy->base = copy->from = copy->sent = copy->offset = 0;
	copy->paced_received = copy->paced_sent = 0;
	copy->part_left = INT64_MAX;
	MediaMeterInit(&copy->meter);
}

/* What has come so far stands at the ring's start, and is known now for what it is. */
static void
SettleRing(Copy *copy)
{
	size_t stored = CountBefore(copy->base, copy->from, copy->used);

	Measure(copy, copy->from, copy->ring, copy->used);
	copy->first = stored;
	copy->used -= stored;
	copy->judged = true;
}

/* It still stands at the ring's start. */
static bool
GrowRing(Task *task)
{
	char *larger = realloc(task->copy->ring, PART_RING_SIZE);

	if (larger == NULL)
		return !GiveUp(task, 0, "out_of_memory", "no memory for a copy");
	task->copy->ring = larger;
	task->copy->ring_size = PART_RING_SIZE;
	return true;
}

/* The first bytes and the headers are here.  false: over, or started anew. */
static bool
JudgeAndUpload(Task *task, const HttpReply *reply)
{
	Copy *copy = task->copy;
	bool rest = (copy->from > 0 && reply->status == 206);

	if (rest && !IsTheRest(copy, reply))
	{
		(void) StartOver(task);
		return false;
	}
	if (!rest)
	{
		int64 length = reply->content_length;

		if (length < 0)
			length = copy->whole ? copy->received - copy->from : copy->counted;
		/* an upload of which Storage has no byte yet must be as long as the file, and is only kept if so */
		if (copy->tus && (copy->base > 0 || (copy->total >= 0 && copy->total != length)))
			ForgetUpload(task);
		copy->total = length;
		strlcpy(copy->etag, StorageEtagIsStrong(reply->etag) ? reply->etag : "", sizeof(copy->etag));
	}
	if (!JudgeMedia(task, reply))
		return false;
	SettleRing(copy);
	if (!copy->tus && !StartUpload(task))
		return false;
	return !copy->tus || copy->total >= 0 || GrowRing(task);
}

/* How much must be here before the upload begins? */
static bool
IsReadyToJudge(const Copy *copy)
{
	const HttpReply *reply = HttpReplyOf(copy->get);
	int64 got = copy->received - copy->from;

	/* the rest was asked for, but it may be the whole */
	if (copy->from > 0 && reply->status == 206)
		return got > 0;
	/* one without a length may turn out to be small: then it has one after all */
	if (reply->content_length < 0)
		return got >= RING_SIZE / 2;
	return got >= MEDIA_SNIFF_BYTES;
}

static void
Complete(Task *task)
{
	Copy *copy = task->copy;
	JobUpdate *update = TaskUpdate(task, "completed");
	int64 bytes = copy->tus ? copy->total : copy->received;

	/* of a part it would be a lie */
	if (copy->meter.bytes == bytes)
	{
		unsigned char *sha256 = MemoryContextAlloc(task->mcxt, 32);

		MediaMeterHash(&copy->meter, sha256);
		update->sha256 = sha256;
	}
	update->video_url = MemoryContextStrdup(task->mcxt, copy->video_url);
	update->object_key = MemoryContextStrdup(task->mcxt, copy->object_key);
	update->bytes_done = update->bytes_total = bytes;
	update->duration_ms = copy->meter.probe.duration_ms;
}

static bool
Finish(Task *task)
{
	Complete(task);
	FreeCopy(task->copy);
	task->copy = NULL;
	return true;
}

/* Storage has all parts, and knows it; and what we read ended well. */
static bool
FinishIfDone(Task *task)
{
	Copy *copy = task->copy;

	if (!copy->tus || !copy->whole || copy->put || copy->deferred || copy->offset != copy->total)
		return false;
	return Finish(task);
}

/* The gateway did not take the key in this form: start over with the next. */
static bool
TryNextForm(Task *task, const StorageReply *answer)
{
	StorageKeyForm form = task->copy->form;

	if (!StorageNextForm(task->copy->storage_key, &form))
		return GiveUp(task, vv_max_tries, answer->code, answer->message);
	known_form = form;
	form_is_known = true;
	return Restart(task);
}

static bool
AfterFailure(Task *task, const StorageReply *answer)
{
	if (answer->outcome == STORAGE_AUTH)
		return TryNextForm(task, answer);
	/* an operator can raise a limit or make a bucket meanwhile: few tries, not none */
	return GiveUp(task, answer->outcome == STORAGE_FATAL ? Min(vv_max_tries, 3) : vv_max_tries,
				  answer->code, answer->message);
}

/* Storage has told how much it has of an upload that an earlier try began. */
static bool
Resume(Task *task, const StorageTus *answer)
{
	Copy *copy = task->copy;
	const char *etag = task->job->media_etag ? task->job->media_etag : "";

	if ((answer->length >= 0 && answer->offset > answer->length) ||
		(answer->offset > 0 && answer->offset != answer->length && !StorageEtagIsStrong(etag)))
		return StartOver(task);
	copy->base = copy->sent = copy->offset = answer->offset;
	copy->total = answer->length;
	copy->deferred = (answer->length < 0);
	strlcpy(copy->etag, etag, sizeof(copy->etag));
	strlcpy(copy->upload_url, task->job->upload_url, sizeof(copy->upload_url));
	copy->from = copy->base;
	/* without a byte in Storage all is read again */
	if (copy->base > 0 && task->job->upload_state &&
		MediaMeterLoad(&copy->meter, etag, task->job->upload_state, task->job->upload_state_len) &&
		copy->meter.bytes > 0)
		copy->from = Min(copy->base, copy->meter.bytes);
	copy->received = copy->paced_received = copy->from;
	copy->paced_sent = copy->sent;
	/* its last answer was lost, or nobody lived to record it */
	if (answer->offset > 0 && answer->offset == answer->length)
		return !SeekObject(task);
	return !StartDownload(task);
}

/* A Storage that went down with the last byte in its hands has all of them, and will never show them. */
static bool
AfterSeek(Task *task, const HttpReply *reply)
{
	StorageInfo info;

	StorageJudgeInfo(reply, &info);
	if (info.reply.outcome != STORAGE_DONE)
		return AfterFailure(task, &info.reply);
	if (info.exists && info.size == task->copy->total)
		return Finish(task);
	return StartOver(task);
}

static bool
AfterHead(Task *task, const StorageTus *answer, bool ours)
{
	StorageKeyForm form = task->copy->form;

	if (answer->reply.outcome == STORAGE_DONE)
		return ours ? Resume(task, answer) : StartOver(task);
	if (answer->gone)
		return StartOver(task);
	if (answer->reply.outcome == STORAGE_RETRY)
		return AfterFailure(task, &answer->reply);
	/* an answer to HEAD has no body to say what is wrong: other forms of the key, then a new upload will */
	if (StorageNextForm(task->copy->storage_key, &form))
		return TryNextForm(task, &answer->reply);
	return StartOver(task);
}

static bool
AfterCreate(Task *task, const StorageTus *answer, const char *location)
{
	Copy *copy = task->copy;
	char base[1024];

	if (answer->reply.outcome != STORAGE_DONE)
		return AfterFailure(task, &answer->reply);
	if (!StorageTusUrl(CallBase(vv_storage_url, base, sizeof(base)), location, copy->upload_url, sizeof(copy->upload_url)))
		return GiveUp(task, vv_max_tries, "bad_response", "Storage's answer names no upload");
	task->job->upload_url = MemoryContextStrdup(task->mcxt, copy->upload_url);
	task->job->media_etag = MemoryContextStrdup(task->mcxt, copy->etag);
	return false; /* the worker reports it, then CopyPump sends the first part */
}

static bool
AfterPart(Task *task, const StorageTus *answer)
{
	Copy *copy = task->copy;

	if (answer->gone)
		return StartOver(task);
	/* its idea of where we are counts */
	if (answer->moved || (answer->reply.outcome == STORAGE_DONE && answer->offset != copy->sent))
		return Restart(task);
	if (answer->reply.outcome != STORAGE_DONE)
		return AfterFailure(task, &answer->reply);
	copy->offset = answer->offset;
	copy->deferred = copy->deferred && !copy->declared;
	return FinishIfDone(task);
}

static bool
AfterTus(Task *task, HttpRequest *request)
{
	Copy *copy = task->copy;
	const HttpReply *reply = HttpReplyOf(request);
	StorageTus answer;
	bool over = true;

	copy->put = NULL;
	if (copy->seeking)
	{
		over = AfterSeek(task, reply);
		HttpFree(request);
		return over;
	}
	StorageJudgeTus(copy->call, reply, &answer);
	switch (copy->call)
	{
		case STORAGE_TUS_CREATE:
			over = AfterCreate(task, &answer, reply->location);
			break;
		case STORAGE_TUS_HEAD:
			over = AfterHead(task, &answer, StorageTusIsFor(reply->upload_metadata, copy->bucket));
			break;
		case STORAGE_TUS_PATCH:
			over = AfterPart(task, &answer);
			break;
	}
	HttpFree(request);
	return over;
}

/* A proxy that takes no large body, or none without a length, may take its parts. */
static bool
WantsParts(const Copy *copy, const HttpReply *reply)
{
	return copy->kind == STORAGE_KIND_SUPABASE && vv_resumable_threshold >= 0 && reply->outcome == HTTP_ANSWERED &&
		(reply->status == 411 || (reply->status == 413 && WireIsHtml(reply)));
}

static bool
AfterUpload(Task *task, HttpRequest *request)
{
	Copy *copy = task->copy;
	StorageReply answer;

	task->excused = ShmemServiceReport(SERVICE_STORAGE, HttpReplyOf(request));
	if (copy->tus)
		return AfterTus(task, request);
	if (copy->kind == STORAGE_KIND_S3)
		StorageJudgeS3(HttpReplyOf(request), &answer);
	else
		StorageJudgeUpload(HttpReplyOf(request), &answer);
	copy->in_parts = WantsParts(copy, HttpReplyOf(request));
	HttpFree(request);
	copy->put = NULL;
	if (copy->in_parts)
		return Restart(task);
	if (answer.outcome != STORAGE_DONE)
		return AfterFailure(task, &answer);
	if (!copy->whole || copy->used > 0)
		return GiveUp(task, vv_max_tries, "upload_short", "Storage answered before it had the whole video");
	return Finish(task);
}

void
CopyAdvance(Task *task, HttpRequest *request)
{
	if (request == task->copy->get)
		(void) AfterDownload(task, request);
	else
		(void) AfterUpload(task, request);
}

/*----------
 * Between turns
 *----------
 */
/* Either side counts: one may be at its end, or wait for the other.  Storage's own work has no speed. */
static bool
IsTooSlow(Copy *copy, TimestampTz now, bool finishing)
{
	int64 least = (int64) vv_low_speed_limit * 1024 * vv_stall_timeout;
	bool slow;

	if (!finishing && !TimestampDifferenceExceeds(copy->paced_at, now, vv_stall_timeout * 1000))
		return false;
	slow = !finishing && copy->received - copy->paced_received < least && copy->sent - copy->paced_sent < least;
	copy->paced_received = copy->received;
	copy->paced_sent = copy->sent;
	copy->paced_at = now;
	return slow;
}

static bool
CheckClock(Task *task)
{
	Copy *copy = task->copy;
	TimestampTz now = GetCurrentTimestamp();
	int64 moved = copy->received + copy->sent;
	bool finishing = (copy->whole && copy->used == 0) || (copy->put && copy->part_left == 0);
	int patience = vv_stall_timeout;
	char error[120];

	if (moved != copy->moved_before)
	{
		copy->moved_before = moved;
		copy->moved_at = now;
	}
	/* a download that waits for its turn at the host has not begun */
	if (copy->get && HttpIsWaiting(copy->get))
		copy->moved_at = copy->paced_at = copy->started_at = now;
	/* after the last byte Storage has work of its own, the more the larger the file */
	if (finishing)
		patience *= FINISHING_PATIENCE;
	if (TimestampDifferenceExceeds(copy->moved_at, now, patience * 1000))
	{
		if (copy->put && copy->part_left == 0)
			snprintf(error, sizeof(error), "Storage gave no answer for %d s", patience);
		else
			snprintf(error, sizeof(error), "%s moved no byte for %d s",
					 copy->whole || (copy->put && copy->used > 0) ? "the upload" : "the download", patience);
		return !GiveUp(task, vv_max_tries, "stalled", error);
	}
	if (IsTooSlow(copy, now, finishing))
	{
		snprintf(error, sizeof(error), "the copy moved less than %d kB a second for %d s", vv_low_speed_limit, vv_stall_timeout);
		return !GiveUp(task, vv_max_tries, "too_slow", error);
	}
	if (TimestampDifferenceMilliseconds(copy->started_at, now) > (int64) vv_copy_timeout * 1000)
		return !GiveUp(task, vv_max_tries, "copy_timeout", "the copy took longer than vibevideo.copy_timeout");
	return true;
}

/* Is enough here for the next part?  Of one whose size is known what is not here will come. */
static bool
HasPart(const Copy *copy)
{
	return copy->whole || (copy->total >= 0 ? copy->used > 0 : copy->used > STORAGE_TUS_PART);
}

/* The next part, if it is time for it, and the job is still ours. */
static bool
PumpParts(Task *task)
{
	Copy *copy = task->copy;

	if (!copy->tus || !copy->judged || copy->put || copy->upload_url[0] == '\0' ||
		(copy->offset == copy->total && !copy->deferred))
		return true;
	if (TimestampDifferenceExceeds(copy->reported_at, GetCurrentTimestamp(), REPORT_GOOD_MS))
		copy->reported = false;
	if (!copy->reported || !HasPart(copy))
		return true;
	if (copy->whole)
		copy->total = copy->received;
	return StartPart(task);
}

void
CopyPump(Task *task)
{
	Copy *copy = task->copy;

	if (!copy->judged && copy->get && IsReadyToJudge(copy) &&
		!JudgeAndUpload(task, HttpReplyOf(copy->get)))
		return;
	if (!PumpParts(task))
		return;
	if (copy->get && copy->ring_size - copy->used >= RING_ROOM)
		HttpResume(copy->get);
	if (copy->put && (CountReady(copy) > 0 || copy->whole || copy->part_left == 0))
		HttpResume(copy->put);
	(void) CheckClock(task);
}

/* Half of it is the last span's: neither jumpy nor old. */
static void
MeasureRate(Copy *copy, TimestampTz now)
{
	long ms = TimestampDifferenceMilliseconds(copy->measured_at, now);
	int64 since = copy->measured < 0 ? copy->base : copy->measured;
	int64 rate;

	if (ms < MEASURE_MS)
		return;
	rate = Max(copy->sent - since, 0) * 1000 / ms;
	copy->rate = copy->rate > 0 ? (copy->rate + rate) / 2 : rate;
	copy->measured = copy->sent;
	copy->measured_at = now;
}

void
CopyProgress(Copy *copy, TimestampTz now, JobProgress *progress)
{
	bool has_upload = HasOwnUpload(copy);

	progress->done = copy->sent;
	progress->total = copy->total;
	MeasureRate(copy, now);
	progress->rate = copy->rate;
	progress->duration_ms = copy->meter.probe.duration_ms;
	progress->upload_url = has_upload ? copy->upload_url : NULL;
	progress->media_etag = has_upload ? copy->etag : NULL;
	progress->upload_state = has_upload ? copy->state : NULL;
	if (has_upload)
		MediaMeterSave(&copy->meter, copy->etag, copy->state);
}

bool
CopyWantsReport(const Copy *copy)
{
	return HasOwnUpload(copy) && !copy->reported;
}

void
CopyReported(Copy *copy, TimestampTz at)
{
	copy->reported = HasOwnUpload(copy);
	copy->reported_at = at;
}
