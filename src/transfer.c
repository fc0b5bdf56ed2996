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
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "call.h"
#include "guc.h"
#include "hosts.h"
#include "secret.h"
#include "shmem.h"
#include "storage.h"
#include "transfer.h"

#define RING_SIZE (1024 * 1024)
#define RING_ROOM (256 * 1024) /* a paused download goes on when so much is free */
#define MAX_REDIRECTS 5
#define MAX_ERROR_BODY (64 * 1024)
#define OBJECT_KEY_SIZE 1024
#define FINISHING_PATIENCE 5

struct Copy
{
	HttpRequest *get; /* NULL before and after */
	HttpRequest *put;
	char *ring;
	size_t first; /* where the oldest byte is */
	size_t used;
	int64 received;
	int64 total; /* as announced, -1 unknown */
	int64 cap;
	bool whole; /* the download ended well */
	bool put_started;
	int redirects;
	EVP_MD_CTX *hash;
	unsigned char sha256[32];
	const char *failure; /* set by a callback: static text of a code */
	int64 moved_before;	 /* received + sent when we last looked */
	int64 sent;
	TimestampTz moved_at;
	TimestampTz started_at;
	StorageKeyForm form;
	char storage_key[SECRET_SIZE];
	char url[FAL_URL_SIZE];
	char type[129]; /* what Storage is told it is */
	int kind;		/* settings may change under way: these hold for the whole copy */
	char bucket[129];
	char video_url[FAL_URL_SIZE];
	char object_key[OBJECT_KEY_SIZE];
};

/* what Storage made of the key last time: sb_ keys differ by gateway */
static StorageKeyForm known_form;
static bool form_is_known = false;

/*----------
 * Under libcurl
 *----------
 */
static size_t
TakeMedia(void *arg, const char *data, size_t len)
{
	Copy *copy = arg;
	size_t last;
	size_t piece;

	if (copy->received + (int64) len > copy->cap)
	{
		copy->failure = "video_too_large";
		return HTTP_ABORT;
	}
	if (len > RING_SIZE - copy->used)
		return HTTP_PAUSE;
	last = (copy->first + copy->used) % RING_SIZE;
	piece = Min(len, RING_SIZE - last);
	memcpy(copy->ring + last, data, piece);
	memcpy(copy->ring, data + piece, len - piece);
	copy->used += len;
	copy->received += len;
	if (EVP_DigestUpdate(copy->hash, data, len) != 1)
	{
		copy->failure = "hash_failed";
		return HTTP_ABORT;
	}
	return len;
}

static size_t
GiveMedia(void *arg, char *data, size_t len)
{
	Copy *copy = arg;
	size_t piece;

	if (copy->used == 0)
		return copy->whole ? 0 : HTTP_PAUSE;
	len = Min(len, copy->used);
	piece = Min(len, RING_SIZE - copy->first);
	memcpy(data, copy->ring + copy->first, piece);
	memcpy(data + piece, copy->ring, len - piece);
	copy->first = (copy->first + len) % RING_SIZE;
	copy->used -= len;
	copy->sent += len;
	return len;
}

/*----------
 * Making and ending
 *----------
 */
void
CopyFree(Copy *copy)
{
	if (copy->get)
		HttpFree(copy->get);
	if (copy->put)
		HttpFree(copy->put);
	EVP_MD_CTX_free(copy->hash);
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
	copy->hash = EVP_MD_CTX_new();
	if (copy->ring == NULL || copy->hash == NULL ||
		EVP_DigestInit_ex(copy->hash, EVP_sha256(), NULL) != 1)
	{
		CopyFree(copy);
		return NULL;
	}
	copy->total = -1;
	copy->cap = (int64) vv_max_video_size * 1024;
	copy->started_at = copy->moved_at = GetCurrentTimestamp();
	copy->form = form_is_known ? known_form : StorageFirstForm(storage_key);
	strlcpy(copy->storage_key, storage_key, sizeof(copy->storage_key));
	return copy;
}

/* Both sides end, and the job gets its next try (limit 1: none). */
static bool
GiveUp(Task *task, int limit, const char *code, const char *error)
{
	if (task->copy)
		CopyFree(task->copy);
	task->copy = NULL;
	TaskRetry(task, limit, code, error, -1);
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
static bool JudgeMedia(Task *task, const HttpReply *reply);
static bool StartUpload(HttpEngine *engine, Task *task);

static bool
StartDownload(HttpEngine *engine, Task *task)
{
	Copy *copy = task->copy;
	char why[200];
	char error[400];
	HttpSpec spec = {0};
	HostVerdict verdict = HostsJudgeUrl(vv_media_hosts, copy->url, why, sizeof(why));

	if (verdict == HOST_DENIED)
	{
		snprintf(error, sizeof(error), "the video's address is not allowed by vibevideo.media_hosts: %s", why);
		return !GiveUp(task, 1, "media_host_denied", error);
	}
	spec.method = HTTP_GET;
	spec.url = copy->url;
	spec.max_response = MAX_ERROR_BODY;
	spec.connect_timeout = vv_connect_timeout;
	spec.public_only = (verdict == HOST_PUBLIC);
	spec.sink = TakeMedia;
	spec.stream_arg = copy;
	spec.owner = task;
	copy->get = HttpStart(engine, &spec);
	if (copy->get == NULL)
		return !GiveUp(task, vv_max_attempts, "bad_media_url", "the download could not be set up");
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

bool
CopyStart(HttpEngine *engine, Task *task, const char *storage_key)
{
	if (task->job->media_url == NULL || task->job->request_id == NULL)
		return !GiveUp(task, 1, "no_video", "the job does not say where its video is");
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
		return !GiveUp(task, vv_max_attempts, "bad_storage_url",
					   "the video's address could not be built: check vibevideo.storage_url, storage_public_url and storage_bucket");
	return StartDownload(engine, task);
}

static bool
FollowRedirect(HttpEngine *engine, Task *task, const HttpReply *reply)
{
	Copy *copy = task->copy;
	char next[FAL_URL_SIZE];

	if (++copy->redirects > MAX_REDIRECTS ||
		!HostsResolveRedirect(copy->url, reply->location, next, sizeof(next)))
		return GiveUpOnReply(task, vv_max_attempts, "bad_redirect", "the video's address redirects badly", reply);
	strlcpy(copy->url, next, sizeof(copy->url));
	return !StartDownload(engine, task);
}

static bool
AfterDownload(HttpEngine *engine, Task *task, HttpRequest *request)
{
	Copy *copy = task->copy;
	const HttpReply *reply = HttpReplyOf(request);
	bool over = false;

	copy->get = NULL;
	if (copy->failure && strcmp(copy->failure, "video_too_large") == 0)
		over = GiveUp(task, 1, copy->failure, "the video is larger than vibevideo.max_video_size");
	else if (copy->failure)
		over = GiveUp(task, vv_max_attempts, copy->failure, "the video could not be hashed");
	else if (reply->outcome == HTTP_FORBIDDEN)
		over = GiveUp(task, 1, "media_host_denied", "the video's host has a private address");
	else if (reply->outcome == HTTP_ANSWERED && reply->status >= 300 && reply->status < 400)
		over = FollowRedirect(engine, task, reply);
	else if (reply->outcome != HTTP_ANSWERED || reply->status < 200 || reply->status > 299)
		over = GiveUpOnReply(task, vv_max_attempts,
							 reply->status == 404 || reply->status == 410 ? "media_gone" : "download_failed",
							 "the video could not be downloaded", reply);
	else if (copy->received < MEDIA_SNIFF_BYTES)
		over = GiveUp(task, vv_max_attempts, "not_a_video", "what fal.ai delivered is empty");
	else if (EVP_DigestFinal_ex(copy->hash, copy->sha256, NULL) != 1)
		over = GiveUp(task, vv_max_attempts, "hash_failed", "the video could not be hashed");
	else
	{
		copy->whole = true;
		/* a small one is here before anybody could start its upload */
		if (!copy->put_started)
			over = !JudgeMedia(task, reply) || !StartUpload(engine, task);
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
StartPut(HttpEngine *engine, Task *task, const HttpSpec *spec)
{
	ShmemServiceStart(SERVICE_STORAGE);
	task->copy->put = HttpStart(engine, spec);
	task->copy->put_started = (task->copy->put != NULL);
	if (!task->copy->put_started)
		return !GiveUp(task, vv_max_attempts, "upload_failed", "the upload could not be set up");
	return true;
}

static bool
StartS3Upload(HttpEngine *engine, Task *task)
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
		return !GiveUp(task, Min(vv_max_attempts, 3), "length_unknown",
					   "the video came without Content-Length, which S3 needs");
	if (!StorageUrl(CallBase(vv_storage_url, base, sizeof(base)), STORAGE_S3, copy->bucket,
					copy->object_key, url, sizeof(url)))
		return !GiveUp(task, vv_max_attempts, "bad_storage_url",
					   "the upload's address could not be built: check vibevideo.storage_url and storage_bucket");
	snprintf(type, sizeof(type), "content-type: %s", copy->type);
	snprintf(sigv4, sizeof(sigv4), "aws:amz:%s:s3", vv_storage_region);
	spec.method = HTTP_PUT;
	spec.url = url;
	spec.headers = headers;
	spec.max_response = MAX_ERROR_BODY;
	spec.connect_timeout = vv_connect_timeout;
	spec.source = GiveMedia;
	spec.source_size = copy->total;
	spec.stream_arg = copy;
	spec.sigv4 = sigv4;
	spec.userpwd = copy->storage_key;
	spec.owner = task;
	return StartPut(engine, task, &spec);
}

static bool
StartUpload(HttpEngine *engine, Task *task)
{
	Copy *copy = task->copy;
	char base[1024];
	char url[FAL_URL_SIZE];
	char type[160];
	char bearer[STORAGE_HEADER_SIZE];
	char apikey[STORAGE_HEADER_SIZE];
	const char *auth[3];
	const char *headers[8];
	int nauth;
	int n = 0;
	bool started;
	HttpSpec spec = {0};

	if (copy->kind == STORAGE_KIND_S3)
		return StartS3Upload(engine, task);
	if (!StorageUrl(CallBase(vv_storage_url, base, sizeof(base)), STORAGE_UPLOAD, copy->bucket,
					copy->object_key, url, sizeof(url)))
		return !GiveUp(task, vv_max_attempts, "bad_storage_url",
					   "the upload's address could not be built: check vibevideo.storage_url and storage_bucket");
	snprintf(type, sizeof(type), "content-type: %s", copy->type);
	nauth = CallStorageHeaders(copy->storage_key, copy->form, bearer, apikey, auth);
	while (n < nauth)
	{
		headers[n] = auth[n];
		n++;
	}
	headers[n++] = type;
	headers[n++] = "cache-control: max-age=3600";
	headers[n++] = "x-upsert: true";
	headers[n] = NULL;

	spec.method = HTTP_PUT;
	spec.url = url;
	spec.headers = headers;
	spec.max_response = MAX_ERROR_BODY;
	spec.connect_timeout = vv_connect_timeout;
	spec.source = GiveMedia;
	spec.source_size = copy->total;
	spec.stream_arg = copy;
	spec.owner = task;
	started = StartPut(engine, task, &spec);
	SecretWipe(bearer, sizeof(bearer));
	SecretWipe(apikey, sizeof(apikey));
	return started;
}

/* The first bytes and the headers are here: is it a video, and small enough? */
static bool
JudgeMedia(Task *task, const HttpReply *reply)
{
	Copy *copy = task->copy;
	char error[300];

	if (reply->content_length > copy->cap)
	{
		snprintf(error, sizeof(error), "the video has %lld bytes, more than vibevideo.max_video_size",
				 (long long) reply->content_length);
		return !GiveUp(task, 1, "video_too_large", error);
	}
	if (MediaType(copy, reply, copy->type, sizeof(copy->type)) == NULL)
	{
		snprintf(error, sizeof(error), "what fal.ai delivered is not a video (content type \"%s\")", reply->content_type);
		return !GiveUp(task, vv_max_attempts, "not_a_video", error);
	}
	copy->total = reply->content_length;
	return true;
}

static void
Complete(Task *task)
{
	Copy *copy = task->copy;
	JobUpdate *update = TaskUpdate(task, "completed");
	unsigned char *sha256 = MemoryContextAlloc(task->mcxt, sizeof(copy->sha256));

	memcpy(sha256, copy->sha256, sizeof(copy->sha256));
	update->sha256 = sha256;
	update->video_url = MemoryContextStrdup(task->mcxt, copy->video_url);
	update->object_key = MemoryContextStrdup(task->mcxt, copy->object_key);
	update->bytes_done = update->bytes_total = copy->received;
}

/* The gateway did not take the key in this form: start over with the next. */
static bool
TryNextForm(HttpEngine *engine, Task *task, const StorageReply *answer)
{
	StorageKeyForm form = task->copy->form;
	char key[SECRET_SIZE];
	bool started;

	if (!StorageNextForm(task->copy->storage_key, &form))
		return GiveUp(task, vv_max_attempts, answer->code, answer->message);
	strlcpy(key, task->copy->storage_key, sizeof(key));
	known_form = form;
	form_is_known = true;
	CopyFree(task->copy);
	task->copy = NULL;
	started = CopyStart(engine, task, key);
	SecretWipe(key, sizeof(key));
	return !started;
}

static bool
AfterUpload(HttpEngine *engine, Task *task, HttpRequest *request)
{
	Copy *copy = task->copy;
	StorageReply answer;

	if (copy->kind == STORAGE_KIND_S3)
		StorageJudgeS3(HttpReplyOf(request), &answer);
	else
		StorageJudgeUpload(HttpReplyOf(request), &answer);
	task->excused = ShmemServiceReport(SERVICE_STORAGE, HttpReplyOf(request));
	HttpFree(request);
	copy->put = NULL;
	switch (answer.outcome)
	{
		case STORAGE_DONE:
			if (!copy->whole || copy->used > 0)
				return GiveUp(task, vv_max_attempts, "upload_short",
							  "Storage answered before it had the whole video");
			Complete(task);
			CopyFree(copy);
			task->copy = NULL;
			return true;
		case STORAGE_AUTH:
			return TryNextForm(engine, task, &answer);
		case STORAGE_RETRY:
			return GiveUp(task, vv_max_attempts, answer.code, answer.message);
		case STORAGE_FATAL:
			/* an operator can raise a limit or make a bucket meanwhile: few tries, not none */
			return GiveUp(task, Min(vv_max_attempts, 3), answer.code, answer.message);
	}
	return true;
}

bool
CopyAdvance(HttpEngine *engine, Task *task, HttpRequest *request)
{
	if (request == task->copy->get)
		return AfterDownload(engine, task, request);
	return AfterUpload(engine, task, request);
}

/*----------
 * Between turns
 *----------
 */
static bool
CheckClock(Task *task)
{
	Copy *copy = task->copy;
	TimestampTz now = GetCurrentTimestamp();
	int64 moved = copy->received + copy->sent;
	int patience = vv_stall_timeout;
	char error[120];

	if (moved != copy->moved_before)
	{
		copy->moved_before = moved;
		copy->moved_at = now;
	}
	/* after the last byte Storage has work of its own, the more the larger the file */
	if (copy->whole && copy->used == 0)
		patience *= FINISHING_PATIENCE;
	if (TimestampDifferenceExceeds(copy->moved_at, now, patience * 1000))
	{
		snprintf(error, sizeof(error), "%s moved no byte for %d s",
				 copy->used > 0 || copy->whole ? "the upload" : "the download", patience);
		return !GiveUp(task, vv_max_attempts, "stalled", error);
	}
	if (TimestampDifferenceMilliseconds(copy->started_at, now) > (int64) vv_copy_timeout * 1000)
		return !GiveUp(task, vv_max_attempts, "copy_timeout", "the copy took longer than vibevideo.copy_timeout");
	return true;
}

bool
CopyPump(HttpEngine *engine, Task *task)
{
	Copy *copy = task->copy;

	if (!copy->put_started && copy->get && copy->received >= MEDIA_SNIFF_BYTES)
	{
		if (!JudgeMedia(task, HttpReplyOf(copy->get)) || !StartUpload(engine, task))
			return true;
	}
	if (copy->get && RING_SIZE - copy->used >= RING_ROOM)
		HttpResume(copy->get);
	if (copy->put && (copy->used > 0 || copy->whole))
		HttpResume(copy->put);
	return !CheckClock(task);
}

void
CopyProgress(const Copy *copy, int64 *done, int64 *total)
{
	*done = copy->sent;
	*total = copy->total;
}
