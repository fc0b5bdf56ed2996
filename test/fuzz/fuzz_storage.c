/*
 * fuzz_storage.c
 *	  Any response from Supabase Storage, or from a gateway before it.
 */
#include "fuzz.h"

#include "storage.h"

static void
MustBeReply(const StorageReply *reply)
{
	MustBeClean(reply->code, sizeof(reply->code));
	MustBeClean(reply->message, sizeof(reply->message));
	if (reply->outcome != STORAGE_DONE)
		MUST(reply->code[0] != '\0' && reply->message[0] != '\0');
}

static void
Judge(const HttpReply *reply)
{
	bool success = reply->outcome == HTTP_ANSWERED && reply->status >= 200 && reply->status <= 299;
	StorageReply upload;
	StorageBucket bucket;
	StorageInfo info;

	(void) StorageIsOutage(reply);
	StorageJudgeUpload(reply, &upload);
	MustBeReply(&upload);
	MUST(success || upload.outcome != STORAGE_DONE);

	StorageJudgeBucket(reply, &bucket);
	MustBeReply(&bucket.reply);
	MUST(bucket.exists == (bucket.reply.outcome == STORAGE_DONE));
	MUST(bucket.size_limit >= -1);

	StorageJudgeInfo(reply, &info);
	MustBeReply(&info.reply);
	MUST(!info.exists || (success && info.reply.outcome == STORAGE_DONE));
	MUST(info.size >= -1);

	MUST((StorageJudgePublic(reply, &upload) == STORAGE_PUBLIC_NONE) == (reply->outcome != HTTP_ANSWERED));
	MustBeReply(&upload);
	MUST(upload.outcome != STORAGE_DONE);
	MUST(StorageTusMaxSize(reply) >= -1);

	for (StorageTusCall call = STORAGE_TUS_CREATE; call <= STORAGE_TUS_PATCH; call++)
	{
		StorageTus tus;

		StorageJudgeTus(call, reply, &tus);
		MustBeReply(&tus.reply);
		MUST(success || tus.reply.outcome != STORAGE_DONE);
		MUST(tus.offset >= -1 && tus.length >= -1);
		MUST(call == STORAGE_TUS_CREATE || tus.reply.outcome != STORAGE_DONE || tus.offset >= 0);
	}
}

/* the body's first lines as bucket, key and type */
static void
BuildUrls(const HttpReply *reply)
{
	char *text = CopyInput((const uint8_t *) reply->body, reply->body_len);
	char *rest = text;
	const char *bucket = TakeLine(&rest);
	const char *key = TakeLine(&rest);
	int64_t from;
	int64_t to;
	int64_t total;
	char out[300];

	for (StorageCall call = STORAGE_UPLOAD; call <= STORAGE_PUBLIC; call++)
	{
		if (!StorageUrl("http://kong:8000/storage/v1", call, bucket, key, out, sizeof(out)))
			continue;
		MustBeClean(out, sizeof(out));
		MUST(strpbrk(out, " ?#\\") == NULL && strstr(out, "/../") == NULL);
	}
	if (StorageTusUrl("http://kong:8000/storage/v1", key, out, sizeof(out)))
	{
		MustBeClean(out, sizeof(out));
		MUST(StorageTusOwns("http://kong:8000/storage/v1", out));
	}
	if (StorageTusMetadata(bucket, key, rest, out, sizeof(out)))
	{
		MustBeClean(out, sizeof(out));
		MUST(StorageTusIsFor(out, bucket));
	}
	if (StorageReadRange(rest, &from, &to, &total))
		MUST(from >= 0 && from <= to && to < total);
	(void) StorageEtagIsStrong(rest);
	free(text);
}

/* a JWT whose claims are the body, and the body itself, as keys */
static void
ReadKeys(const HttpReply *reply)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char *text = CopyInput((const uint8_t *) reply->body, reply->body_len);
	char *jwt = malloc(reply->body_len * 2 + 16);
	size_t len = 4;
	StorageKey key;

	memcpy(jwt, "eyJ.", len);
	for (size_t bit = 0; bit < reply->body_len * 8; bit += 6)
	{
		unsigned two = (unsigned char) text[bit / 8] << 8 | (unsigned char) text[bit / 8 + 1];

		jwt[len++] = digits[two >> (10 - bit % 8) & 63];
	}
	memcpy(jwt + len, ".x", sizeof(".x"));
	StorageReadKey(jwt, &key);
	MustBeClean(key.role, sizeof(key.role));
	MUST((key.fault == NULL) == (key.hint == NULL));
	StorageReadKey(text, &key);
	MustBeClean(key.role, sizeof(key.role));
	MUST(StorageKeyHint(text) != NULL);
	free(jwt);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	HttpReply reply;

	ReadReply(data, size, &reply);
	Judge(&reply);
	BuildUrls(&reply);
	ReadKeys(&reply);
	free((char *) reply.body);
	return 0;
}
