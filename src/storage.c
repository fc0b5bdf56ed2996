/*
 * storage.c
 *	  Supabase Storage's protocol: requests and replies as pure functions.
 *
 * Storage's REST routes answer HTTP 400 to nearly everything; the real status
 * is the string "statusCode" in the body, the exact reason its "code"
 * (supabase/storage, src/http/error-handler.ts and src/internal/errors).  So a
 * body is judged by code, statusCode and error, in this order; HTTP's own
 * status counts where a gateway answered, or a TUS or S3 route.
 */
#include "storage.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "json.h"
#include "wire.h"

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

/* characters of a bucket's name and of a key's segment (storage/limits.ts) */
#define NAME_CHARS ALNUM "_!.*'() &$=@;:+,?-"

/* "less than 101 characters" (storage/limits.ts) */
#define MAX_BUCKET_NAME 100

/* S3's limit, which Storage's backends share */
#define MAX_KEY 1024

/* sb_secret_… and sb_publishable_…; anything else is treated as a JWT */
#define OPAQUE_KEY_PREFIX "sb_"
#define PUBLISHABLE_KEY_PREFIX "sb_publishable_"

/* of a JWT's claims; a longer segment is none that names a role of Storage's */
#define MAX_CLAIMS 4096

static const char HintSize[] =
	"Raise the bucket's file_size_limit, and on a self-hosted server FILE_SIZE_LIMIT (50 MiB by default).";
static const char HintProxySize[] =
	"A proxy in front of Storage limits the size of uploads (client_max_body_size in nginx); raise it, or let vibevideo.storage_url bypass the proxy.";
static const char HintBucket[] =
	"Create the bucket, or set vibevideo.storage_bucket to one that exists.";
static const char HintRights[] =
	"vibevideo.storage_key must be the current service_role key of this project: a key that is expired, from another project or of the anon role is rejected.";
static const char HintKeyForm[] =
	"Only the gateway accepts keys that begin with sb_: point vibevideo.storage_url at the gateway, or use the legacy service_role JWT.";
static const char HintSecretKey[] =
	"Store the service_role key, or a secret key (sb_secret_...): with this one, row-level security hides the bucket and rejects every upload.";
static const char HintKeyKind[] =
	"A Storage key is the service_role JWT or begins with sb_secret_; access_key_id:secret is for vibevideo.storage_kind = 's3' only.";
static const char HintType[] =
	"Add video/* to the bucket's allowed_mime_types: models deliver video/mp4, video/quicktime, video/webm or video/x-matroska. With gif in vibevideo.accept, add image/gif.";
static const char HintBaseUrl[] =
	"Check vibevideo.storage_url: it ends in /storage/v1 if it points to a gateway, but not if it points to the storage server itself.";
static const char HintReadOnly[] =
	"Storage's database is read-only: its disk may be full, or it is a standby.";
static const char HintS3Key[] =
	"Check vibevideo.storage_key (access_key_id:secret) and vibevideo.storage_region; behind a proxy, the signed host must be the one that Storage sees.";
static const char HintRedirect[] =
	"Redirects are not followed, because the key must not reach another host: set vibevideo.storage_url to the final address.";

/*----------
 * Reading a reply
 *----------
 */

typedef struct StorageBody
{
	bool is_json;
	char code[65];
	char status[8];
	char error[65];
	char message[513];
} StorageBody;

/* what an answer means, by its code */
typedef struct Meaning
{
	const char *code; /* Storage's, or ours if it has none */
	StorageOutcome outcome;
	const char *hint;
} Meaning;

static const Meaning Meanings[] = {
	/* the object exists by now, perhaps from our own lost try; upsert will do */
	{"KeyAlreadyExists", STORAGE_RETRY, NULL},
	{"ResourceAlreadyExists", STORAGE_RETRY, NULL},
	{"EntityTooLarge", STORAGE_FATAL, HintSize},
	{"NoSuchBucket", STORAGE_FATAL, HintBucket},
	{"NoSuchKey", STORAGE_FATAL, NULL},
	{"AccessDenied", STORAGE_FATAL, HintRights},
	{"InvalidJWT", STORAGE_FATAL, HintRights},
	{"InvalidMimeType", STORAGE_FATAL, HintType},
	{"InvalidKey", STORAGE_FATAL, NULL},
	{"InvalidRequest", STORAGE_FATAL, NULL},
	{"ResourceLocked", STORAGE_RETRY, NULL},
	{"LockTimeout", STORAGE_RETRY, NULL},
	{"DatabaseTimeout", STORAGE_RETRY, NULL},
	{"DatabaseReadOnly", STORAGE_RETRY, HintReadOnly},
	{"SlowDown", STORAGE_RETRY, NULL},
	{"InternalError", STORAGE_RETRY, NULL},
	/* S3's (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html) */
	{"SignatureDoesNotMatch", STORAGE_FATAL, HintS3Key},
	{"InvalidAccessKeyId", STORAGE_FATAL, HintS3Key},
	{"RequestTimeout", STORAGE_RETRY, NULL},
	{"ServiceUnavailable", STORAGE_RETRY, NULL},
	/* ours */
	{"Unauthorized", STORAGE_AUTH, HintKeyForm},
	{"NotFound", STORAGE_FATAL, HintBaseUrl},
};

/* older releases have no code and put it into "error" (statusCode, error, code) */
static const struct
{
	int status;
	const char *error;
	const char *code;
} OldWords[] = {
	{404, "Bucket not found", "NoSuchBucket"},
	{404, "not_found", "NoSuchKey"},
	{503, "acquiring_lock_timeout", "LockTimeout"},
};

static const struct
{
	int status;
	const char *code;
} Statuses[] = {
	{401, "Unauthorized"},
	{403, "AccessDenied"},
	{404, "NotFound"},
	{409, "KeyAlreadyExists"},
	{413, "EntityTooLarge"},
	{415, "InvalidMimeType"},
	{423, "ResourceLocked"},
	{429, "SlowDown"},
	{500, "InternalError"},
	{544, "DatabaseTimeout"},
};

static void
ReadErrorBody(const HttpReply *reply, StorageBody *body)
{
	JsonWant wants[] = {
		{.path = "code", .text = body->code, .size = sizeof(body->code)},
		{.path = "statusCode", .text = body->status, .size = sizeof(body->status)},
		{.path = "error", .text = body->error, .size = sizeof(body->error)},
		{.path = "message", .text = body->message, .size = sizeof(body->message)},
	};

	body->is_json = JsonPick(reply->body, reply->body_len, wants, (int) lengthof(wants));
}

/* the real status: the body's, or else HTTP's */
static int
RealStatus(const HttpReply *reply, const StorageBody *body)
{
	int64_t status = WireNumber(body->status);

	return status >= 100 && status <= 999 ? (int) status : reply->status;
}

static const Meaning *
MeaningOf(const char *code)
{
	for (size_t i = 0; i < lengthof(Meanings); i++)
	{
		if (strcmp(Meanings[i].code, code) == 0)
			return &Meanings[i];
	}
	return NULL;
}

/* a code for an answer without one, or NULL */
static const char *
CodeByStatus(int status, const char *error)
{
	for (size_t i = 0; i < lengthof(OldWords); i++)
	{
		if (OldWords[i].status == status && strcmp(OldWords[i].error, error) == 0)
			return OldWords[i].code;
	}
	for (size_t i = 0; i < lengthof(Statuses); i++)
	{
		if (Statuses[i].status == status)
			return Statuses[i].code;
	}
	return NULL;
}

/* for codes and statuses in none of the tables */
static StorageOutcome
OutcomeByStatus(int status)
{
	switch (status)
	{
		case 401:
			return STORAGE_AUTH;
		case 408:
		case 409:
		case 423:
		case 425:
		case 429:
			return STORAGE_RETRY;
		default:
			return status >= 300 && status <= 499 ? STORAGE_FATAL : STORAGE_RETRY;
	}
}

/*
 * Was the key not understood, as opposed to not allowed?  Both answers share
 * their codes (InvalidRequest, AccessDenied) with others, so only the text
 * distinguishes them; it has been the same for years.
 */
static bool
IsKeyFormError(const StorageBody *body)
{
	return strcmp(body->message, "headers must have required property 'authorization'") == 0 ||
		strcmp(body->message, "Invalid Compact JWS") == 0;
}

/*----------
 * Judging
 *----------
 */

static void
SetReply(StorageReply *out, StorageOutcome outcome, const char *code, const char *hint)
{
	out->outcome = outcome;
	WireCopyWord(out->code, sizeof(out->code), code);
	out->hint = hint;
}

static void
JudgeTransport(const HttpReply *reply, StorageReply *out)
{
	SetReply(out, reply->outcome == HTTP_FORBIDDEN ? STORAGE_FATAL : STORAGE_RETRY,
			 WireFailureType(reply), NULL);
	WireDescribe(reply, out->message, sizeof(out->message));
}

/* Words of Storage's own: a sentence if there is one, else what it calls the error. */
static bool
CopyOwnWords(const HttpReply *reply, const StorageBody *body, char *out, size_t size)
{
	if (body->message[0] != '\0')
		WireCopy(out, size, body->message);
	else if (body->error[0] != '\0')
		WireCopy(out, size, body->error);
	else if (body->code[0] != '\0')
		(void) snprintf(out, size, "HTTP %d, %s", reply->status, body->code);
	else
		return false;
	WireClean(out);
	return out[0] != '\0';
}

static void
SetMessage(const HttpReply *reply, const StorageBody *body, StorageReply *out)
{
	if (!CopyOwnWords(reply, body, out->message, sizeof(out->message)))
		WireDescribe(reply, out->message, sizeof(out->message));
	if (out->in_front || WireIsHtml(reply))
		(void) WireAppend(out->message, sizeof(out->message), ", not from Storage");
}

/*
 * Is this Storage's own limit?  Its REST routes send statusCode, S3's a Code, and
 * TUS one of two sentences (@tus/utils 0.7, constants.ts).
 */
static bool
IsOwnLimit(const HttpReply *reply, const StorageBody *body)
{
	static const char *const sentences[] = {"Maximum size exceeded", "upload's size exceeded"};

	if (body->is_json)
		return body->status[0] != '\0';
	for (size_t i = 0; i < lengthof(sentences); i++)
	{
		size_t len = strlen(sentences[i]);

		if (reply->body_len >= len && memcmp(reply->body, sentences[i], len) == 0)
			return true;
	}
	return body->code[0] != '\0';
}

/* 413: too large; 411: without a length */
static bool
IsLimitInFront(const HttpReply *reply, const StorageBody *body)
{
	return (reply->status == 411 || reply->status == 413) && !IsOwnLimit(reply, body);
}

static void
JudgeError(const HttpReply *reply, const StorageBody *body, StorageReply *out)
{
	int status = RealStatus(reply, body);
	const Meaning *meaning = MeaningOf(body->code);
	const char *code = meaning != NULL ? NULL : CodeByStatus(status, body->error);
	char http_code[16];

	out->in_front = IsLimitInFront(reply, body);
	SetMessage(reply, body, out);

	if (IsKeyFormError(body))
		code = "Unauthorized";
	if (code != NULL)
		meaning = MeaningOf(code);
	if (reply->status >= 300 && reply->status <= 399)
		SetReply(out, STORAGE_FATAL, "Redirected", HintRedirect);
	else if (meaning != NULL)
		SetReply(out, meaning->outcome, meaning->code, meaning->hint);
	else
	{
		(void) snprintf(http_code, sizeof(http_code), "http_%d", status);
		SetReply(out, OutcomeByStatus(status), http_code, NULL);
	}

	/* people know Storage's own code better than ours */
	if (body->code[0] != '\0')
		WireCopyWord(out->code, sizeof(out->code), body->code);
	if (out->in_front && out->hint == HintSize)
		out->hint = HintProxySize;
}

/* a 2xx that cannot be from Storage: a login page, for example */
static void
JudgeBadResponse(const HttpReply *reply, const StorageBody *body, StorageReply *out)
{
	SetReply(out, STORAGE_RETRY, "bad_response", HintBaseUrl);
	SetMessage(reply, body, out);
}

/* everything but success; true when the reply is a 2xx for the caller to read */
static bool
JudgeCommon(const HttpReply *reply, StorageBody *body, StorageReply *out)
{
	memset(out, 0, sizeof(*out));
	if (reply->outcome != HTTP_ANSWERED)
	{
		JudgeTransport(reply, out);
		return false;
	}

	ReadErrorBody(reply, body);
	if (reply->status < 200 || reply->status > 299)
	{
		JudgeError(reply, body, out);
		return false;
	}
	out->outcome = STORAGE_DONE;
	return true;
}

void
StorageJudgeUpload(const HttpReply *reply, StorageReply *out)
{
	StorageBody body;
	JsonWant key = {.path = "Key"};

	if (!JudgeCommon(reply, &body, out))
		return;

	/* TUS: 201 when created, 204 for each part, both without a body */
	if (reply->body_len == 0 && (reply->status == 201 || reply->status == 204))
		return;
	if (!JsonPick(reply->body, reply->body_len, &key, 1) || key.kind != JSON_STRING)
		JudgeBadResponse(reply, &body, out);
}

/* the text of an XML element that has no children, "" if there is none */
static void
ReadElement(const HttpReply *reply, const char *name, char *out, size_t size)
{
	char open[32];
	size_t open_len = (size_t) snprintf(open, sizeof(open), "<%s>", name);
	const char *end = reply->body + reply->body_len;
	size_t len = 0;

	out[0] = '\0';
	for (const char *p = reply->body; (size_t) (end - p) > open_len; p++)
		if (memcmp(p, open, open_len) == 0)
		{
			for (p += open_len; p < end && *p != '<' && len + 1 < size; p++)
				out[len++] = (*p >= 0x20 && *p < 0x7f) ? *p : '?';
			out[len] = '\0';
			return;
		}
}

void
StorageJudgeS3(const HttpReply *reply, StorageReply *out)
{
	StorageBody body = {0};

	memset(out, 0, sizeof(*out));
	if (reply->outcome != HTTP_ANSWERED)
		JudgeTransport(reply, out);
	else if (reply->status >= 200 && reply->status <= 299)
		out->outcome = STORAGE_DONE;
	else
	{
		ReadElement(reply, "Code", body.code, sizeof(body.code));
		ReadElement(reply, "Message", body.message, sizeof(body.message));
		/* a gateway's */
		if (body.code[0] == '\0')
			ReadErrorBody(reply, &body);
		JudgeError(reply, &body, out);
	}
}

bool
StorageIsOutage(const HttpReply *reply)
{
	StorageBody body;

	if (reply->outcome != HTTP_ANSWERED)
		return WireIsUnreached(reply);
	if (reply->status < 500 || reply->status > 599)
		return false;
	if (WireIsGatewayStatus(reply->status))
		return true;
	ReadErrorBody(reply, &body);
	if (body.status[0] != '\0')
		return false;
	ReadElement(reply, "Code", body.code, sizeof(body.code));
	return body.code[0] == '\0';
}

/* TUS errors are plain text with real HTTP statuses; token errors are JSON as elsewhere */
void
StorageJudgeTus(StorageTusCall call, const HttpReply *reply, StorageTus *out)
{
	static const char no_bucket[] = "Bucket not found";
	StorageBody body;
	bool done;

	memset(out, 0, sizeof(*out));
	out->offset = out->length = -1;
	done = JudgeCommon(reply, &body, &out->reply);
	if (done && call == STORAGE_TUS_CREATE && reply->status == 201 && reply->location[0] != '\0')
		return;
	out->offset = WireNumber(reply->upload_offset);
	out->length = WireNumber(reply->upload_length);
	if (done && call != STORAGE_TUS_CREATE && out->offset >= 0)
		return;
	if (done)
	{
		JudgeBadResponse(reply, &body, &out->reply);
		return;
	}
	if (reply->outcome != HTTP_ANSWERED)
		return;
	if (call == STORAGE_TUS_CREATE)
	{
		if (reply->status == 404 && reply->body_len >= strlen(no_bucket) &&
			memcmp(reply->body, no_bucket, strlen(no_bucket)) == 0)
			SetReply(&out->reply, STORAGE_FATAL, "NoSuchBucket", HintBucket);
		return;
	}
	/* @tus/server 2.4: 410 for one that is older than TUS_URL_EXPIRY_MS, however busy (with the S3 backend only) */
	out->expired = (reply->status == 410);
	out->gone = (reply->status == 404 || out->expired);
	out->moved = (reply->status == 409);
	/* a new upload may be accepted where this one is not */
	if (out->gone || out->moved)
		SetReply(&out->reply, STORAGE_RETRY, out->gone ? "upload_gone" : "upload_moved", NULL);
}

int64_t
StorageTusMaxSize(const HttpReply *reply)
{
	if (reply->outcome != HTTP_ANSWERED || reply->status < 200 || reply->status > 299)
		return -1;
	return WireNumber(reply->tus_max_size);
}

static bool
VisitAllowedType(const char *raw, size_t raw_len, void *arg)
{
	StorageBucket *bucket = arg;
	char type[32];
	JsonWant want = {.path = "", .text = type, .size = sizeof(type)};
	bool everything;

	if (!JsonPick(raw, raw_len, &want, 1) || want.truncated)
		return true;
	everything = strcmp(type, "*/*") == 0 || strcmp(type, "*") == 0;
	bucket->allows_mp4 |= everything || strcasecmp(type, "video/mp4") == 0 || strcasecmp(type, "video/*") == 0;
	bucket->allows_gif |= everything || strcasecmp(type, "image/gif") == 0 || strcasecmp(type, "image/*") == 0;
	return !bucket->allows_mp4 || !bucket->allows_gif;
}

void
StorageJudgeBucket(const HttpReply *reply, StorageBucket *out)
{
	StorageBody body;
	char is_public[8];
	char limit[24];
	JsonWant wants[] = {
		{.path = "name"},
		{.path = "public", .text = is_public, .size = sizeof(is_public)},
		{.path = "file_size_limit", .text = limit, .size = sizeof(limit)},
		{.path = "allowed_mime_types[0]"},
	};

	memset(out, 0, sizeof(*out));
	out->size_limit = -1;
	if (!JudgeCommon(reply, &body, &out->reply))
		return;
	if (!JsonPick(reply->body, reply->body_len, wants, (int) lengthof(wants)) ||
		wants[0].kind != JSON_STRING)
	{
		JudgeBadResponse(reply, &body, &out->reply);
		return;
	}

	out->exists = true;
	out->is_public = strcmp(is_public, "true") == 0;
	out->size_limit = WireNumber(limit);
	/* no list, or an empty one, allows everything */
	out->allows_mp4 = out->allows_gif = wants[3].kind == JSON_ABSENT;
	if (!out->allows_mp4)
		(void) JsonEach(reply->body, reply->body_len, "allowed_mime_types", VisitAllowedType, out);
}

void
StorageJudgeInfo(const HttpReply *reply, StorageInfo *out)
{
	StorageBody body;
	char size[24];
	char old_size[24];
	JsonWant wants[] = {
		{.path = "size", .text = size, .size = sizeof(size)},
		{.path = "metadata.size", .text = old_size, .size = sizeof(old_size)},
		{.path = "name"},
	};

	memset(out, 0, sizeof(*out));
	out->size = -1;
	if (!JudgeCommon(reply, &body, &out->reply))
	{
		/* the call did succeed */
		if (strcmp(out->reply.code, "NoSuchKey") == 0)
			out->reply.outcome = STORAGE_DONE;
		return;
	}
	if (!JsonPick(reply->body, reply->body_len, wants, (int) lengthof(wants)) ||
		wants[2].kind != JSON_STRING)
	{
		JudgeBadResponse(reply, &body, &out->reply);
		return;
	}
	out->exists = true;
	out->size = WireNumber(wants[0].kind == JSON_NUMBER ? size : old_size);
}

/* S3 answers 204 also for what is not there. */
void
StorageJudgeDelete(bool s3, const HttpReply *reply, StorageDelete *out)
{
	StorageBody body;
	JsonWant message = {.path = "message"};

	memset(out, 0, sizeof(*out));
	if (s3)
		StorageJudgeS3(reply, &out->reply);
	else if (JudgeCommon(reply, &body, &out->reply) &&
			 (!JsonPick(reply->body, reply->body_len, &message, 1) || message.kind != JSON_STRING))
		JudgeBadResponse(reply, &body, &out->reply);
	if (out->reply.outcome != STORAGE_DONE && strcmp(out->reply.code, "NoSuchKey") == 0)
	{
		out->reply.outcome = STORAGE_DONE;
		out->gone = true;
	}
}

StoragePublicAnswer
StorageJudgePublic(const HttpReply *reply, StorageReply *out)
{
	StorageBody body;

	/* whoever answers 2xx has a page for everything */
	if (JudgeCommon(reply, &body, out))
	{
		JudgeBadResponse(reply, &body, out);
		return STORAGE_PUBLIC_FOREIGN;
	}
	if (reply->outcome != HTTP_ANSWERED)
		return STORAGE_PUBLIC_NONE;
	if (reply->status >= 300 && reply->status <= 399)
		return STORAGE_PUBLIC_MOVED;
	if (strcmp(out->code, "NoSuchKey") == 0)
		return STORAGE_PUBLIC_KNOWN;
	return strcmp(out->code, "NoSuchBucket") == 0 ? STORAGE_PUBLIC_HIDDEN : STORAGE_PUBLIC_FOREIGN;
}

/*----------
 * Keys
 *----------
 */

#define BASE64_URL ALNUM "-_"

static bool
HasPrefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool
IsOpaqueKey(const char *key)
{
	return HasPrefix(key, OPAQUE_KEY_PREFIX);
}

/* A JWT is three base64url segments (RFC 7515 7.1); its claims are the second: how long are they?  0: it is none. */
static size_t
FindClaims(const char *key, const char **claims)
{
	size_t header = strspn(key, BASE64_URL);
	size_t len;
	size_t signature;

	if (header == 0 || key[header] != '.')
		return 0;
	*claims = key + header + 1;
	len = strspn(*claims, BASE64_URL);
	if (len == 0 || len > MAX_CLAIMS || (*claims)[len] != '.')
		return 0;
	signature = strspn(*claims + len + 1, BASE64_URL);
	return signature > 0 && (*claims)[len + 1 + signature] == '\0' ? len : 0;
}

/* returns the number of bytes; out has room for as many as text has */
static size_t
DecodeBase64Url(const char *text, size_t len, char *out)
{
	char padded[MAX_CLAIMS + 4];
	size_t padding = (4 - len % 4) % 4;
	int decoded;

	for (size_t i = 0; i < len; i++)
		padded[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/'
														  : text[i];
	memset(padded + len, '=', padding);
	decoded = EVP_DecodeBlock((unsigned char *) out, (const unsigned char *) padded, (int) (len + padding));
	return decoded > (int) padding ? (size_t) decoded - padding : 0;
}

/* false: its claims are no JSON object */
static bool
ReadRole(const char *claims, size_t len, StorageKey *out)
{
	char json[MAX_CLAIMS + 4];
	char role[sizeof(out->role)];
	JsonWant wants[] = {
		{.path = ""},
		{.path = "role", .text = role, .size = sizeof(role)},
	};

	if (!JsonPick(json, DecodeBase64Url(claims, len, json), wants, (int) lengthof(wants)) ||
		wants[0].kind != JSON_OBJECT)
		return false;
	if (wants[1].kind == JSON_STRING)
		WireCopyWord(out->role, sizeof(out->role), role);
	return true;
}

static void
FindKeyFault(StorageKey *key)
{
	static const struct
	{
		StorageKeyType type;
		const char *role; /* NULL: any */
		const char *fault;
		const char *hint;
	} faults[] = {
		{STORAGE_KEY_IS_JWT, "anon", "it is the anon key, which may do what anybody may", HintSecretKey},
		{STORAGE_KEY_IS_JWT, "authenticated", "it is a user's key, of role authenticated", HintSecretKey},
		{STORAGE_KEY_IS_PUBLISHABLE, NULL, "it is a publishable key, which may do what anybody may", HintSecretKey},
		{STORAGE_KEY_IS_UNKNOWN, NULL, "it is neither a JWT nor begins with sb_secret_", HintKeyKind},
	};

	for (size_t i = 0; i < lengthof(faults); i++)
		if (faults[i].type == key->type && (faults[i].role == NULL || strcmp(faults[i].role, key->role) == 0))
		{
			key->fault = faults[i].fault;
			key->hint = faults[i].hint;
		}
}

void
StorageReadKey(const char *key, StorageKey *out)
{
	const char *claims;
	size_t len = FindClaims(key, &claims);

	memset(out, 0, sizeof(*out));
	if (HasPrefix(key, PUBLISHABLE_KEY_PREFIX))
		out->type = STORAGE_KEY_IS_PUBLISHABLE;
	else if (IsOpaqueKey(key))
		out->type = STORAGE_KEY_IS_SECRET;
	else
		out->type = len > 0 && ReadRole(claims, len, out) ? STORAGE_KEY_IS_JWT : STORAGE_KEY_IS_UNKNOWN;
	FindKeyFault(out);
}

const char *
StorageKeyHint(const char *key)
{
	StorageKey read;

	StorageReadKey(key, &read);
	if (read.hint != NULL)
		return read.hint;
	return read.type == STORAGE_KEY_IS_SECRET ? HintKeyForm : HintRights;
}

StorageKeyForm
StorageFirstForm(const char *key)
{
	return IsOpaqueKey(key) ? STORAGE_KEY_APIKEY : STORAGE_KEY_JWT;
}

bool
StorageNextForm(const char *key, StorageKeyForm *form)
{
	if (!IsOpaqueKey(key) || *form == STORAGE_KEY_BOTH)
		return false;
	*form = STORAGE_KEY_BOTH;
	return true;
}

/*----------
 * Names and URLs
 *----------
 */

bool
StorageBucketNameIsValid(const char *bucket)
{
	size_t len = strlen(bucket);

	return len > 0 && len <= MAX_BUCKET_NAME && strspn(bucket, NAME_CHARS) == len &&
		bucket[0] != ' ' && bucket[len - 1] != ' ' &&
		strcmp(bucket, ".") != 0 && strcmp(bucket, "..") != 0;
}

bool
StorageKeyIsValid(const char *key)
{
	if (strlen(key) > MAX_KEY)
		return false;

	for (const char *segment = key;; segment++)
	{
		size_t len = strspn(segment, NAME_CHARS);

		/* HTTP clients and gateways resolve dot segments and merge slashes */
		if (len == 0 || (len == 1 && segment[0] == '.') ||
			(len == 2 && segment[0] == '.' && segment[1] == '.'))
			return false;
		segment += len;
		if (*segment == '\0')
			return true;
		if (*segment != '/')
			return false;
	}
}

bool
StorageUrl(const char *base, StorageCall call, const char *bucket,
		   const char *key, char *out, size_t size)
{
	static const char *const routes[] = {
		[STORAGE_UPLOAD] = "/object/",
		[STORAGE_INFO] = "/object/info/",
		[STORAGE_BUCKET] = "/bucket/",
		[STORAGE_PUBLIC] = "/object/public/",
		[STORAGE_S3] = "/",
	};

	if (size == 0 || !WireBaseUrlIsValid(base) || !StorageBucketNameIsValid(bucket) ||
		(call != STORAGE_BUCKET && (key == NULL || !StorageKeyIsValid(key))))
		return false;

	out[0] = '\0';
	if (!WireAppend(out, size, base) || !WireAppend(out, size, routes[call]) ||
		!WireAppendEncoded(out, size, bucket, ""))
		return false;
	return call == STORAGE_BUCKET ||
		(WireAppend(out, size, "/") && WireAppendEncoded(out, size, key, "/"));
}

/*----------
 * Resumable uploads
 *----------
 */
#define TUS_ROUTE "/upload/resumable"

static bool
AppendBase64(char *out, size_t size, const char *text)
{
	size_t used = strlen(out);
	size_t len = strlen(text);

	if (used + (len + 2) / 3 * 4 >= size)
		return false;
	(void) EVP_EncodeBlock((unsigned char *) out + used, (const unsigned char *) text, (int) len);
	return true;
}

bool
StorageTusRoot(const char *base, char *out, size_t size)
{
	if (size == 0 || !WireBaseUrlIsValid(base))
		return false;
	out[0] = '\0';
	return WireAppend(out, size, base) && WireAppend(out, size, TUS_ROUTE);
}

bool
StorageTusUrl(const char *base, const char *location, char *out, size_t size)
{
	const char *slash = strrchr(location, '/');
	size_t len = slash ? strlen(slash + 1) : 0;

	/* the id is base64url */
	return len > 0 && strspn(slash + 1, BASE64_URL) == len &&
		StorageTusRoot(base, out, size) && WireAppend(out, size, slash);
}

bool
StorageTusOwns(const char *base, const char *url)
{
	char own[2048];

	return StorageTusUrl(base, url, own, sizeof(own)) && strcmp(own, url) == 0;
}

bool
StorageTusMetadata(const char *bucket, const char *key, const char *type, char *out, size_t size)
{
	if (size == 0 || !StorageBucketNameIsValid(bucket) || !StorageKeyIsValid(key))
		return false;
	out[0] = '\0';
	/* here cacheControl is a number of seconds */
	return WireAppend(out, size, "bucketName ") && AppendBase64(out, size, bucket) &&
		WireAppend(out, size, ",objectName ") && AppendBase64(out, size, key) &&
		WireAppend(out, size, ",contentType ") && AppendBase64(out, size, type) &&
		WireAppend(out, size, ",cacheControl ") && AppendBase64(out, size, "3600");
}

static bool
HasMetadata(const char *metadata, const char *name, const char *value)
{
	char pair[1500];
	size_t len;

	pair[0] = '\0';
	if (!WireAppend(pair, sizeof(pair), name) || !WireAppend(pair, sizeof(pair), " ") ||
		!AppendBase64(pair, sizeof(pair), value))
		return false;
	len = strlen(pair);
	for (const char *p = metadata; p != NULL; p = strchr(p, ','))
	{
		p += strspn(p, ", ");
		if (strncmp(p, pair, len) == 0 && (p[len] == ',' || p[len] == '\0'))
			return true;
	}
	return false;
}

bool
StorageTusIsFor(const char *metadata, const char *bucket)
{
	return metadata[0] == '\0' || HasMetadata(metadata, "bucketName", bucket);
}

bool
StorageTusNames(const char *metadata, const char *key)
{
	return HasMetadata(metadata, "objectName", key);
}

/* the number before mark; NULL if there is none */
static const char *
ReadRangeNumber(const char *text, char mark, int64_t *number)
{
	char digits[24];
	size_t len = strspn(text, "0123456789");

	if (len == 0 || len >= sizeof(digits) || text[len] != mark)
		return NULL;
	memcpy(digits, text, len);
	digits[len] = '\0';
	*number = WireNumber(digits);
	return *number >= 0 ? text + len + 1 : NULL;
}

bool
StorageReadRange(const char *content_range, int64_t *from, int64_t *to, int64_t *total)
{
	if (strncasecmp(content_range, "bytes ", 6) != 0)
		return false;
	content_range = ReadRangeNumber(content_range + 6, '-', from);
	if (content_range != NULL)
		content_range = ReadRangeNumber(content_range, '/', to);
	return content_range != NULL && ReadRangeNumber(content_range, '\0', total) != NULL &&
		*from <= *to && *to < *total;
}

bool
StorageEtagIsStrong(const char *etag)
{
	size_t len = strlen(etag);

	/* one that fills its buffer may be truncated */
	return len > 2 && len + 1 < sizeof(((HttpReply *) NULL)->etag) &&
		etag[0] == '"' && strchr(etag + 1, '"') == etag + len - 1;
}
