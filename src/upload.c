/*
 * upload.c
 *	  A copy's upload.
 *
 * The source sends the last byte only after the download has ended well (see
 * flow.c), so a finished request has sent all of the video or is an error.
 */
#include "postgres.h"

#include "guc.h"
#include "kind.h"
#include "shmem.h"
#include "upload.h"
#include "wire.h"

#define MAX_ERROR_BODY (64 * 1024)

/* the form of the key that Storage accepted last: for sb_ keys it depends on the gateway */
static StorageKeyForm known_form;
static bool form_is_known = false;

/*----------
 * Where it goes
 *----------
 */

/* The key in Storage: the row's key, made harmless, and fal's unguessable id. */
static void
MakeObjectKey(const Job *job, const char *ending, char *out, size_t size)
{
	char prefix[129];
	size_t n = 0;

	for (const char *p = job->vibelog_id; *p && n < sizeof(prefix) - 1; p++)
		prefix[n++] = ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
					   (*p >= '0' && *p <= '9') || *p == '-' || *p == '_')
			? *p
			: '_';
	prefix[n] = '\0';
	snprintf(out, size, "%s/%s.%s", n ? prefix : "_", job->request_id, ending);
}

static bool
NameTarget(UploadTarget *target, const Job *job, const char *ending)
{
	MakeObjectKey(job, ending, target->object_key, sizeof(target->object_key));
	return StorageUrl(target->public_base, target->kind == STORAGE_KIND_S3 ? STORAGE_S3 : STORAGE_PUBLIC,
					  target->bucket, target->object_key, target->video_url, sizeof(target->video_url));
}

static void
ReadTarget(UploadTarget *target)
{
	target->kind = vv_storage_kind;
	CallBase(vv_storage_url, target->base, sizeof(target->base));
	CallBase(vv_storage_public_url[0] ? vv_storage_public_url : vv_storage_url, target->public_base,
			 sizeof(target->public_base));
	strlcpy(target->region, vv_storage_region, sizeof(target->region));
	strlcpy(target->bucket, vv_storage_bucket, sizeof(target->bucket));
}

void
UploadInit(Upload *upload, Task *task, Flow *flow, const char *key)
{
	memset(upload, 0, sizeof(*upload));
	upload->task = task;
	upload->flow = flow;
	upload->form = form_is_known ? known_form : StorageFirstForm(key);
	strlcpy(upload->key, key, sizeof(upload->key));
	ReadTarget(&upload->target);
	UploadSetEnding(upload, kind_endings[0]);
}

void
UploadSetEnding(Upload *upload, const char *ending)
{
	Task *task = upload->task;

	if (!NameTarget(&upload->target, task->job, ending))
		TaskRetry(task, vv_max_tries, "bad_storage_url",
				  "could not build the video's address: check vibevideo.storage_url, storage_public_url and storage_bucket", -1);
}

void
UploadWipe(Upload *upload)
{
	SecretWipe(upload->key, sizeof(upload->key));
}

/*----------
 * For every request
 *----------
 */
void
UploadInitCall(Upload *upload, Call *call, HttpMethod method, int64 size)
{
	CallInit(call, method, 0, MAX_ERROR_BODY, upload->task);
	if (method == HTTP_PUT || method == HTTP_PATCH)
	{
		call->spec.source = FlowSource;
		call->spec.source_size = size;
		call->spec.stream_arg = upload->flow;
	}
	if (upload->target.kind == STORAGE_KIND_SUPABASE)
		CallStorageKey(call, upload->key, upload->form);
}

void
UploadAddress(const Upload *upload, Call *call, StorageCall what)
{
	const UploadTarget *target = &upload->target;

	CallCheck(call, StorageUrl(target->base, what, target->bucket, target->object_key, call->url, sizeof(call->url)));
}

void
UploadSend(Upload *upload, Call *call)
{
	bool good = call->good;

	upload->request = CallSend(call, upload->task->engine);
	if (upload->request)
		ShmemServiceStart(SERVICE_STORAGE);
	else if (!good)
		TaskRetry(upload->task, vv_max_tries, "bad_storage_url",
				  "could not build the upload's address: check vibevideo.storage_url and storage_bucket", -1);
	else
		TaskRetry(upload->task, vv_max_tries, "upload_failed", "could not set up the upload", -1);
}

void
UploadTakeAnswer(Upload *upload, const HttpReply *reply)
{
	upload->request = NULL;
	upload->retry_after = WireRetryAfter(reply->retry_after, time(NULL));
	upload->task->excused = ShmemServiceReport(SERVICE_STORAGE, StorageIsOutage(reply));
}

bool
UploadHasOtherForm(const Upload *upload)
{
	StorageKeyForm form = upload->form;

	return StorageNextForm(upload->key, &form);
}

/* Storage understood the key in none of its forms. */
static void
FailForKey(Upload *upload, const StorageReply *answer)
{
	char error[sizeof(answer->message) + 300];

	snprintf(error, sizeof(error), "%s. %s", answer->message, StorageKeyHint(upload->key));
	TaskRetry(upload->task, Min(vv_max_tries, FATAL_TRIES), answer->code, error, upload->retry_after);
}

/* The gateway did not accept the key in this form: start over with the next. */
void
UploadTryOtherForm(Upload *upload, const StorageReply *answer)
{
	StorageKeyForm form = upload->form;

	if (!StorageNextForm(upload->key, &form))
	{
		FailForKey(upload, answer);
		return;
	}
	known_form = form;
	form_is_known = true;
	upload->flow->next = FLOW_RESTART;
}

void
UploadFail(Upload *upload, const StorageReply *answer)
{
	int limit = answer->outcome == STORAGE_FATAL ? Min(vv_max_tries, FATAL_TRIES) : vv_max_tries;

	if (answer->outcome == STORAGE_AUTH)
		UploadTryOtherForm(upload, answer);
	else
		TaskRetry(upload->task, limit, answer->code, answer->message, upload->retry_after);
}

/*----------
 * The whole video in one request
 *----------
 */
static void
StartSupabase(Upload *upload)
{
	Call call;

	UploadInitCall(upload, &call, HTTP_PUT, upload->flow->total);
	CallHeader(&call, "content-type: %s", upload->target.type);
	CallHeader(&call, "cache-control: max-age=3600");
	CallHeader(&call, "x-upsert: true");
	UploadAddress(upload, &call, STORAGE_UPLOAD);
	UploadSend(upload, &call);
}

static void
StartS3(Upload *upload)
{
	Call call;

	/* S3 accepts no body of unknown length (its chunked form would have to be signed) */
	if (upload->flow->total < 0)
	{
		FlowCount(upload->flow);
		return;
	}
	UploadInitCall(upload, &call, HTTP_PUT, upload->flow->total);
	CallHeader(&call, "content-type: %s", upload->target.type);
	CallHeader(&call, "cache-control: max-age=3600");
	CallS3Key(&call, upload->key, upload->target.region);
	UploadAddress(upload, &call, STORAGE_S3);
	UploadSend(upload, &call);
}

void
UploadStart(Upload *upload)
{
	if (upload->target.kind == STORAGE_KIND_S3)
		StartS3(upload);
	else
		StartSupabase(upload);
}

/* S3 does not say what it has signed itself: with a wrong region or host, a right key looks wrong. */
static void
ExplainSignature(const UploadTarget *target, StorageReply *answer)
{
	const char *host = strstr(target->base, "://");
	char words[300];

	if (host == NULL || strcmp(answer->code, "SignatureDoesNotMatch") != 0)
		return;
	host += strlen("://");
	snprintf(words, sizeof(words), " It was signed for region \"%s\" and host \"%.*s\".", target->region,
			 (int) Min(strcspn(host, "/"), 200), host);
	(void) WireAppend(answer->message, sizeof(answer->message), words);
}

/*
 * A proxy that rejects a large body, or one without a length, may accept parts.
 * Storage itself may have a smaller limit for one piece (UPLOAD_FILE_SIZE_LIMIT_STANDARD):
 * that of parts has let it pass.
 */
static bool
WantsParts(const Upload *upload, const StorageReply *answer)
{
	if (upload->target.kind != STORAGE_KIND_SUPABASE || vv_resumable_threshold < 0)
		return false;
	return answer->in_front || (upload->way == UPLOAD_IN_ONE_PIECE && strcmp(answer->code, "EntityTooLarge") == 0);
}

void
UploadAdvance(Upload *upload, const HttpReply *reply)
{
	StorageReply answer;

	if (upload->target.kind == STORAGE_KIND_S3)
	{
		StorageJudgeS3(reply, &answer);
		ExplainSignature(&upload->target, &answer);
	}
	else
		StorageJudgeUpload(reply, &answer);
	if (WantsParts(upload, &answer))
	{
		upload->way = UPLOAD_IN_PARTS;
		upload->flow->next = FLOW_RESTART;
	}
	else if (answer.outcome != STORAGE_DONE)
		UploadFail(upload, &answer);
	else if (!upload->flow->whole || upload->flow->ring.used > 0)
		TaskRetry(upload->task, vv_max_tries, "upload_short", "Storage answered before it had the whole video", -1);
	else
		upload->flow->next = FLOW_FINISH;
}
