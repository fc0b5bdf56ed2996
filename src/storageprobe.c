/*
 * storageprobe.c
 *	  What check_config asks Storage: the key, the bucket, how large a file may
 *	  be, and whether browsers get one.
 *
 * All of it is asked before money is spent: each of these makes every copy fail.
 */
#include "postgres.h"

#include "call.h"
#include "guc.h"
#include "hosts.h"
#include "kind.h"
#include "secret.h"
#include "statement.h"
#include "storageprobe.h"
#include "wire.h"

/* no object of ours is named like this: they are all in folders */
#define NO_OBJECT "vibevideo-check"

static const char not_needed[] = "not needed: vibevideo.storage_kind is none";

/*----------
 * The key
 *----------
 */
static Finding
JudgeKey(const char *key, const char *source)
{
	StorageKey read;

	if (vv_storage_kind == STORAGE_KIND_S3)
		return strchr(key, ':') ? Ok(psprintf("found a key in %s", source))
								: Bad(psprintf("the key in %s is not of the form access_key_id:secret", source),
									  "An S3 endpoint takes that form; a service_role JWT or an sb_secret_ key is for vibevideo.storage_kind = 'supabase'.");
	StorageReadKey(key, &read);
	if (read.fault)
		return Bad(psprintf("the key in %s cannot store files: %s", source, read.fault), read.hint);
	if (read.type == STORAGE_KEY_IS_SECRET)
		return Ok(psprintf("found a secret key in %s", source));
	return Ok(psprintf("found a key in %s, %s%s", source, read.role[0] ? "of role " : "which names no role", read.role));
}

Finding
StorageProbeKey(void)
{
	char key[SECRET_SIZE];
	const char *source;
	Finding finding;

	if (vv_storage_kind == STORAGE_KIND_NONE)
		return Ok(pstrdup(not_needed));
	if (!SecretRead(SECRET_STORAGE, key, sizeof(key), &source))
		return Bad(pstrdup("no Storage key"), SecretHint(SECRET_STORAGE));
	finding = JudgeKey(key, source);
	SecretWipe(key, sizeof(key));
	return finding;
}

/*----------
 * The bucket
 *----------
 */

/* Whoever has another role's key may be kept from seeing the bucket. */
static const char *
BucketHint(const StorageReply *reply, const char *key)
{
	StorageKey read;

	if (reply->outcome == STORAGE_AUTH)
		return StorageKeyHint(key);
	StorageReadKey(key, &read);
	if (strcmp(reply->code, "NoSuchBucket") == 0 && read.type == STORAGE_KEY_IS_JWT && strcmp(read.role, "service_role") != 0)
		return psprintf("Create the bucket, or store the service_role key: row-level security may hide it from %s%s.",
						read.role[0] ? "role " : "a key without a role", read.role);
	return reply->hint ? reply->hint : "Check vibevideo.storage_url and the key.";
}

/* Asks for the bucket, with the key in the form that the gateway accepts; false: could not build the request. */
static bool
AskForBucket(const char *key, StorageBucket *bucket)
{
	HttpEngine *engine = HttpBackendEngine();
	StorageKeyForm form = StorageFirstForm(key);

	do
	{
		HttpRequest *request = CallBucket(engine, key, form, NULL);
		const char *scheme;

		if (request == NULL)
			return false;
		HttpFinish(engine, request, NULL);
		StorageJudgeBucket(HttpReplyOf(request), bucket);
		scheme = WireSchemeHint(HttpReplyOf(request), vv_storage_url);
		if (scheme)
			bucket->reply.hint = scheme;
		HttpFree(request);
	} while (bucket->reply.outcome == STORAGE_AUTH && StorageNextForm(key, &form));
	return true;
}

typedef struct BucketAnswer
{
	const char *told_by; /* the line that says why it was not, or what is wrong with the answer; NULL: all is well */
	Finding finding;	 /* of line bucket, if told_by is that one */
	StorageBucket bucket;
} BucketAnswer;

static void
Tell(BucketAnswer *answer, Finding finding)
{
	answer->told_by = "bucket";
	answer->finding = finding;
}

static void
ReadBucketWithKey(BucketAnswer *answer, const char *key)
{
	StorageReply *reply = &answer->bucket.reply;
	StorageKey read;

	StorageReadKey(key, &read);
	if (read.fault)
	{
		answer->told_by = "storage_key";
		return;
	}
	if (!AskForBucket(key, &answer->bucket))
		Tell(answer, Bad(pstrdup("could not build the request"), "Check vibevideo.storage_url, vibevideo.storage_bucket and the key for stray characters."));
	else if (reply->outcome != STORAGE_DONE)
		Tell(answer, Bad(psprintf("Storage: %s (%s)", reply->message, reply->code), BucketHint(reply, key)));
}

static const char *
UrlHint(void)
{
	if (vv_storage_kind == STORAGE_KIND_S3)
		return "Set vibevideo.storage_url to the address of the S3 endpoint, without the bucket.";
	return "Set vibevideo.storage_url (with /storage/v1 behind a gateway), its key and vibevideo.storage_bucket.";
}

static void
ReadBucket(BucketAnswer *answer)
{
	char key[SECRET_SIZE];

	memset(answer, 0, sizeof(*answer));
	if (vv_storage_url[0] == '\0')
		Tell(answer, Bad(pstrdup("vibevideo.storage_url is not set"), UrlHint()));
	else if (!SecretRead(SECRET_STORAGE, key, sizeof(key), NULL))
		answer->told_by = "storage_key";
	else
		ReadBucketWithKey(answer, key);
	SecretWipe(key, sizeof(key));
}

static Finding
ToldBy(const char *line)
{
	return Ok(psprintf("not checked: see line %s", line));
}

/* Is there nothing to ask, whatever the line?  Without a URL line bucket says so. */
static bool
IsNotAsked(Finding *finding)
{
	if (vv_storage_kind == STORAGE_KIND_NONE)
		*finding = Ok(psprintf("%s, so that fal.ai's URL is kept", not_needed));
	else if (vv_storage_kind == STORAGE_KIND_S3 && vv_storage_url[0])
		*finding = Ok(psprintf("S3 at %s: not checked, the first copy will show", vv_storage_url));
	else
		return false;
	return true;
}

Finding
StorageProbeBucket(void)
{
	BucketAnswer answer;
	Finding finding;

	if (IsNotAsked(&finding))
		return finding;
	ReadBucket(&answer);
	if (answer.told_by)
		return strcmp(answer.told_by, "bucket") == 0 ? answer.finding : ToldBy(answer.told_by);
	if (!answer.bucket.allows_mp4)
		return Bad(psprintf("bucket \"%s\" does not accept video/mp4", vv_storage_bucket),
				   "Add video/* to its allowed MIME types.");
	if (!answer.bucket.allows_gif && KindIsAccepted(vv_accept, KIND_GIF))
		return Bad(psprintf("bucket \"%s\" does not accept image/gif, which vibevideo.accept lists", vv_storage_bucket),
				   "Add image/gif to its allowed MIME types.");
	return Ok(psprintf("bucket \"%s\" exists and accepts videos", vv_storage_bucket));
}

Finding
StorageProbeAccess(void)
{
	BucketAnswer answer;
	Finding finding;

	if (IsNotAsked(&finding))
		return finding;
	ReadBucket(&answer);
	if (answer.told_by)
		return ToldBy(answer.told_by);
	return answer.bucket.is_public ? Ok(psprintf("bucket \"%s\" is public", vv_storage_bucket))
								   : Warn(psprintf("bucket \"%s\" is private: browsers cannot open video_url as it is", vv_storage_bucket),
										  "Make it public, or hand out signed URLs.");
}

/*----------
 * How large a file may be
 *----------
 */

/* Recent videos of the models that are used here. */
typedef struct VideoSizes
{
	int64 videos;
	int64 larger; /* than the limit asked for */
	int64 largest;
} VideoSizes;

/* the last jobs only: it is about what is usual now, and the table may be long */
static Statement measure_videos = {
	"SELECT count(*), count(*) FILTER (WHERE v.bytes_total > $1), max(v.bytes_total)"
	" FROM (SELECT j.model, j.bytes_total FROM vibevideo.job j ORDER BY j.job_id DESC LIMIT 1000) v"
	" WHERE v.bytes_total > 0 AND v.model = ANY (ARRAY(SELECT o.endpoint FROM vibevideo_internal.offered_models() o))"};

static void
MeasureVideos(int64 limit, VideoSizes *sizes)
{
	Args args = {0};

	ArgInt8(&args, limit);
	StatementRun(&measure_videos, &args);
	sizes->videos = ResultInt(0, 1, 0);
	sizes->larger = ResultInt(0, 2, 0);
	sizes->largest = ResultInt(0, 3, 0);
}

/* what a limit has to do with them, to be appended to a sentence about it */
static char *
DescribeSizes(const VideoSizes *sizes)
{
	if (sizes->videos == 0)
		return pstrdup("");
	if (sizes->larger > 0)
		return psprintf("; %lld of the last %lld videos had more, up to %lld",
						(long long) sizes->larger, (long long) sizes->videos, (long long) sizes->largest);
	return psprintf("; the largest of the last %lld videos had %lld", (long long) sizes->videos, (long long) sizes->largest);
}

/* The server's own limit, FILE_SIZE_LIMIT; -1: it does not tell. */
static int64
AskForLimit(void)
{
	HttpEngine *engine = HttpBackendEngine();
	HttpRequest *request = CallStorageLimit(engine, NULL);
	int64 limit;

	if (request == NULL)
		return -1;
	HttpFinish(engine, request, NULL);
	limit = StorageTusMaxSize(HttpReplyOf(request));
	HttpFree(request);
	return limit;
}

static Finding
JudgeSize(int64 bucket_limit, int64 server_limit)
{
	bool by_bucket = bucket_limit >= 0 && (server_limit < 0 || bucket_limit <= server_limit);
	int64 limit = by_bucket ? bucket_limit : server_limit;
	int64 most = (int64) vv_max_video_size * 1024;
	VideoSizes sizes;

	MeasureVideos(limit >= 0 ? Min(limit, most) : most, &sizes);
	if (limit >= 0 && limit < most)
		return Warn(psprintf("%s accepts files up to %lld bytes, but vibevideo.max_video_size allows %lld%s",
							 by_bucket ? "the bucket" : "Storage", (long long) limit, (long long) most, DescribeSizes(&sizes)),
					by_bucket ? "Raise the bucket's limit (and Storage's FILE_SIZE_LIMIT), or lower vibevideo.max_video_size."
							  : "Raise FILE_SIZE_LIMIT of the Storage server and restart it, or lower vibevideo.max_video_size.");
	if (sizes.larger > 0)
		return Warn(psprintf("vibevideo.max_video_size allows %lld bytes%s", (long long) most, DescribeSizes(&sizes)),
					"Raise vibevideo.max_video_size: such a video is paid for and not stored.");
	if (limit < 0)
		return Ok(psprintf("the bucket has no limit of its own, and Storage does not tell its FILE_SIZE_LIMIT%s", DescribeSizes(&sizes)));
	return Ok(psprintf("files up to %lld bytes are accepted%s", (long long) limit, DescribeSizes(&sizes)));
}

Finding
StorageProbeSize(void)
{
	BucketAnswer answer;
	Finding finding;

	if (IsNotAsked(&finding))
		return finding;
	ReadBucket(&answer);
	if (answer.told_by)
		return ToldBy(answer.told_by);
	return JudgeSize(answer.bucket.size_limit, AskForLimit());
}

/*----------
 * Whether browsers get a file
 *----------
 */

/* Videos get URLs of the address that we use ourselves. */
static Finding
JudgeOwnUrl(void)
{
	if (HostsIsBareName(vv_storage_url))
		return Warn(psprintf("vibevideo.storage_public_url is not set: videos get URLs that begin with %s, whose host browsers do not know", vv_storage_url),
					"Set vibevideo.storage_public_url to the address of Storage as browsers reach it, such as https://supabase.example.org/storage/v1.");
	return Ok(psprintf("videos get URLs of %s, the same as vibevideo.storage_url", vv_storage_url));
}

static Finding
JudgePublicUrl(StoragePublicAnswer answer, const StorageReply *reply, const char *scheme)
{
	static const char check[] = "Check vibevideo.storage_public_url: it ends in /storage/v1 if it leads to a gateway.";
	BucketAnswer bucket;

	switch (answer)
	{
		case STORAGE_PUBLIC_KNOWN:
			return Ok(psprintf("browsers get files from %s", vv_storage_public_url));
		case STORAGE_PUBLIC_MOVED:
			return Warn(psprintf("%s redirects: %s", vv_storage_public_url, reply->message),
						"Set vibevideo.storage_public_url to the address that it leads to.");
		case STORAGE_PUBLIC_FOREIGN:
			return Bad(psprintf("%s does not answer as Storage does: %s", vv_storage_public_url, reply->message), scheme ? scheme : check);
		case STORAGE_PUBLIC_NONE:
			return Warn(psprintf("%s does not answer: %s", vv_storage_public_url, reply->message),
						scheme ? scheme : "Check vibevideo.storage_public_url. If browsers reach it and only this server cannot, all is well.");
		case STORAGE_PUBLIC_HIDDEN:
			break;
	}
	ReadBucket(&bucket);
	if (bucket.told_by)
		return ToldBy(bucket.told_by);
	if (!bucket.bucket.is_public)
		return ToldBy("bucket_public");
	return Bad(psprintf("Storage at %s has no public bucket \"%s\"", vv_storage_public_url, vv_storage_bucket),
			   "Check vibevideo.storage_public_url: it leads to another Storage than vibevideo.storage_url.");
}

Finding
StorageProbePublicUrl(void)
{
	HttpEngine *engine = HttpBackendEngine();
	HttpRequest *request;
	StorageReply reply;
	StoragePublicAnswer answer;
	const char *scheme;
	Finding finding;

	if (IsNotAsked(&finding))
		return finding;
	if (vv_storage_url[0] == '\0')
		return ToldBy("bucket");
	if (vv_storage_public_url[0] == '\0')
		return JudgeOwnUrl();
	request = CallPublicObject(engine, NO_OBJECT, NULL);
	if (request == NULL)
		return Bad(pstrdup("could not build a URL of the bucket"), "Check vibevideo.storage_public_url and vibevideo.storage_bucket for stray characters.");
	HttpFinish(engine, request, NULL);
	answer = StorageJudgePublic(HttpReplyOf(request), &reply);
	scheme = WireSchemeHint(HttpReplyOf(request), vv_storage_public_url);
	HttpFree(request);
	return JudgePublicUrl(answer, &reply, scheme);
}
