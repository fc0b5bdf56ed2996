/*
 * test_storage.c
 *	  Supabase Storage's protocol.  Bodies were recorded from supabase/storage
 *	  v1.70.6.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "storage.h"

#define ERROR(status, error, message, code) "{\"statusCode\":\"" status "\",\"error\":\"" error \
											"\",\"message\":\"" message "\",\"code\":\"" code "\"}"
/* as releases before the codes answered */
#define OLD_ERROR(status, error, message) "{\"statusCode\":\"" status "\",\"error\":\"" error \
										  "\",\"message\":\"" message "\"}"

#define BUCKET "{\"id\":\"videos\",\"name\":\"videos\",\"owner\":\"\",\"public\":false,\"file_size_limit\":20971520," \
			   "\"allowed_mime_types\":[\"video/mp4\",\"video/*\"],\"created_at\":\"2026-11-24T02:04:42.269Z\"}"
#define OPEN_BUCKET "{\"id\":\"open\",\"name\":\"open\",\"public\":true,\"file_size_limit\":null,\"allowed_mime_types\":null}"
#define INFO "{\"id\":\"fa72659c-edff-4cdd-a140-5c5cc6f886ec\",\"name\":\"u1/chunked.mp4\",\"bucket_id\":\"videos\"," \
			 "\"size\":10485760,\"content_type\":\"video/mp4\",\"etag\":\"\\\"e57bf6f2d685d5454964fda1e124ddea\\\"\",\"metadata\":{}}"
#define NO_KEY ERROR("404", "not_found", "Object not found", "NoSuchKey")
#define NO_BUCKET ERROR("404", "Bucket not found", "Bucket not found", "NoSuchBucket")

static void
TestOutage(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		bool outage;
	} cases[] = {
		{"not sent", NO_ANSWER(HTTP_NOT_SENT), true},
		{"lost", NO_ANSWER(HTTP_LOST), true},
		{"ended by us", NO_ANSWER(HTTP_CANCELLED), false},
		{"good", ANSWER(200, "{\"Key\":\"a\"}"), false},
		{"a limit", ANSWER(400, "{\"statusCode\":\"413\"}"), false},
		{"Storage's own 500", ANSWER(500, "{\"statusCode\":\"500\",\"error\":\"Internal\",\"message\":\"x\"}"), false},
		{"Storage's 544", ANSWER(544, "{\"statusCode\":\"544\",\"error\":\"DatabaseTimeout\",\"message\":\"x\"}"), false},
		{"S3's 500", ANSWER(500, "<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>"), false},
		{"Kong's 500", ANSWER(500, "{\"message\":\"An unexpected error occurred\"}"), true},
		{"empty 500", ANSWER(500, ""), true},
		{"502", ANSWER(502, ""), true},
		{"503 page", ANSWER(503, HTML("Service Unavailable")), true},
		{"520", ANSWER(520, HTML("520")), true},
		{"524", ANSWER(524, "error code: 524"), true},
		{"530", ANSWER(530, "error code: 1033"), true},
		{"413", ANSWER(413, ""), false},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
		CheckTrue("outage", cases[i].name, StorageIsOutage(&cases[i].reply) == cases[i].outage);
}

static void
TestUpload(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		StorageOutcome outcome;
		const char *code;
		const char *message; /* part of it */
		const char *hint;	 /* part of it; NULL: none */
	} cases[] = {
		{"done", ANSWER(200, "{\"Key\":\"videos/u1/job1.mp4\",\"Id\":\"990700bd-2844-4746-b0f4-5d53c6b8620d\"}"),
		 STORAGE_DONE, "", "", NULL},
		{"done, no Id", ANSWER(200, "{\"Key\":\"videos/u1/signed.mp4\"}"), STORAGE_DONE, "", "", NULL},
		{"TUS created", ANSWER(201, "", .location = "http://x"), STORAGE_DONE, "", "", NULL},
		{"TUS part", ANSWER(204, "", .upload_offset = "6291456"), STORAGE_DONE, "", "", NULL},
		{"200, HTML", ANSWER(200, HTML("Login")), STORAGE_RETRY, "bad_response", "HTML, nginx), not from Storage", "storage_url"},
		{"200, empty", ANSWER(200, ""), STORAGE_RETRY, "bad_response", "empty", "storage_url"},
		{"200, no key", ANSWER(200, "{}"), STORAGE_RETRY, "bad_response", "", "storage_url"},

		{"duplicate", ANSWER(400, ERROR("409", "Duplicate", "The resource already exists", "KeyAlreadyExists")),
		 STORAGE_RETRY, "KeyAlreadyExists", "already exists", NULL},
		{"duplicate, older", ANSWER(400, ERROR("409", "Duplicate", "x", "ResourceAlreadyExists")), STORAGE_RETRY,
		 "ResourceAlreadyExists", "", NULL},
		{"duplicate, oldest", ANSWER(400, OLD_ERROR("409", "Duplicate", "x")), STORAGE_RETRY, "KeyAlreadyExists", "", NULL},
		{"too large", ANSWER(400, ERROR("413", "Payload too large", "The object exceeded the maximum allowed size", "EntityTooLarge")),
		 STORAGE_FATAL, "EntityTooLarge", "exceeded the maximum", "file_size_limit"},
		{"too large, old", ANSWER(400, OLD_ERROR("413", "Payload too large", "x")), STORAGE_FATAL, "EntityTooLarge", "", "file_size_limit"},
		{"too large, proxy", ANSWER(413, HTML("413 Request Entity Too Large")), STORAGE_FATAL, "EntityTooLarge",
		 "HTTP 413 from a gateway (HTML, nginx), not from Storage", "client_max_body_size"},
		{"too large, TUS", ANSWER(413, "Maximum size exceeded"), STORAGE_FATAL, "EntityTooLarge", "HTTP 413: Maximum size exceeded",
		 "file_size_limit"},
		{"no bucket", ANSWER(400, NO_BUCKET), STORAGE_FATAL, "NoSuchBucket", "Bucket not found", "Create the bucket"},
		{"no bucket, old", ANSWER(400, OLD_ERROR("404", "Bucket not found", "Bucket not found")), STORAGE_FATAL, "NoSuchBucket",
		 "", "Create the bucket"},
		{"expired", ANSWER(400, ERROR("403", "Unauthorized", "\\\"exp\\\" claim timestamp check failed", "AccessDenied")),
		 STORAGE_FATAL, "AccessDenied", "\"exp\" claim", "service_role"},
		{"wrong signature", ANSWER(400, ERROR("403", "Unauthorized", "signature verification failed", "AccessDenied")),
		 STORAGE_FATAL, "AccessDenied", "signature", "service_role"},
		{"malformed JWT", ANSWER(400, ERROR("403", "Unauthorized", "JWS Protected Header is invalid", "AccessDenied")),
		 STORAGE_FATAL, "AccessDenied", "", "service_role"},
		{"RLS", ANSWER(400, ERROR("403", "Unauthorized", "new row violates row-level security policy", "AccessDenied")),
		 STORAGE_FATAL, "AccessDenied", "row-level", "service_role"},
		{"RLS, old", ANSWER(400, OLD_ERROR("403", "Unauthorized", "new row violates")), STORAGE_FATAL, "AccessDenied", "", "service_role"},
		{"not a JWT", ANSWER(400, ERROR("403", "Unauthorized", "Invalid Compact JWS", "AccessDenied")), STORAGE_AUTH,
		 "AccessDenied", "Invalid Compact JWS", "sb_"},
		{"no authorization", ANSWER(400, ERROR("400", "Error", "headers must have required property 'authorization'", "InvalidRequest")),
		 STORAGE_AUTH, "InvalidRequest", "authorization", "sb_"},
		{"401 of a gateway", ANSWER(401, "{\"message\":\"Invalid API key\"}"), STORAGE_AUTH, "Unauthorized", "Invalid API key", "sb_"},
		{"other bad request", ANSWER(400, ERROR("400", "Error", "x", "InvalidRequest")), STORAGE_FATAL, "InvalidRequest", "x", NULL},
		{"wrong type", ANSWER(400, ERROR("415", "invalid_mime_type", "mime type text/plain is not supported", "InvalidMimeType")),
		 STORAGE_FATAL, "InvalidMimeType", "text/plain", "allowed_mime_types"},
		{"invalid key", ANSWER(400, ERROR("400", "InvalidKey", "Invalid key: u1/a\\\\b#c.mp4", "InvalidKey")), STORAGE_FATAL,
		 "InvalidKey", "u1/a\\b#c.mp4", NULL},
		{"invalid token", ANSWER(400, ERROR("400", "InvalidJWT", "Invalid Compact JWSX", "InvalidJWT")), STORAGE_FATAL, "InvalidJWT",
		 "", "service_role"},
		{"locked", ANSWER(400, ERROR("423", "x", "x", "ResourceLocked")), STORAGE_RETRY, "ResourceLocked", "", NULL},
		{"lock timeout, old", ANSWER(400, OLD_ERROR("503", "acquiring_lock_timeout", "x")), STORAGE_RETRY, "LockTimeout", "", NULL},
		{"database timeout", ANSWER(544, ERROR("544", "x", "x", "DatabaseTimeout")), STORAGE_RETRY, "DatabaseTimeout", "", NULL},
		{"read-only", ANSWER(400, ERROR("503", "x", "x", "DatabaseReadOnly")), STORAGE_RETRY, "DatabaseReadOnly", "", "disk"},
		{"slow down", ANSWER(429, ERROR("429", "too_many_connections", "Too many connections issued to the database", "SlowDown")),
		 STORAGE_RETRY, "SlowDown", "", NULL},
		{"internal", ANSWER(500, ERROR("500", "Internal", "Internal Server Error", "InternalError")), STORAGE_RETRY, "InternalError", "", NULL},
		{"code beats status", ANSWER(400, ERROR("500", "x", "x", "EntityTooLarge")), STORAGE_FATAL, "EntityTooLarge", "", "file_size_limit"},
		{"unknown code, statusCode counts", ANSWER(400, ERROR("503", "x", "x", "NewCode")), STORAGE_RETRY, "NewCode", "", NULL},
		{"unknown code, 4xx", ANSWER(400, ERROR("400", "x", "x", "NewCode")), STORAGE_FATAL, "NewCode", "", NULL},
		{"statusCode as number", ANSWER(404, "{\"message\":\"Route POST:/nothing not found\",\"error\":\"Not Found\",\"statusCode\":404}"),
		 STORAGE_FATAL, "NotFound", "Route", "storage_url"},
		{"no route at the gateway", ANSWER(404, "{\"message\":\"no Route matched with those values\"}"), STORAGE_FATAL, "NotFound", "",
		 "storage_url"},
		{"502", ANSWER(502, HTML("502 Bad Gateway")), STORAGE_RETRY, "http_502", "gateway", NULL},
		{"503", ANSWER(503, "{\"message\":\"name resolution failed\"}"), STORAGE_RETRY, "http_503", "name resolution failed", NULL},
		{"504", ANSWER(504, ""), STORAGE_RETRY, "http_504", "empty", NULL},
		{"408", ANSWER(408, ""), STORAGE_RETRY, "http_408", "", NULL},
		{"TUS conflict", ANSWER(409, "Upload-Offset conflict"), STORAGE_RETRY, "KeyAlreadyExists", "Upload-Offset conflict", NULL},
		{"TUS expired", ANSWER(410, "gone"), STORAGE_FATAL, "http_410", "", NULL},
		{"redirect", ANSWER(308, "", .location = "https://x"), STORAGE_FATAL, "Redirected", "", "Redirects"},
		{"not sent", NO_ANSWER(HTTP_NOT_SENT, .error = "Could not resolve host: kong"), STORAGE_RETRY, "connect_failed", "kong", NULL},
		{"lost", NO_ANSWER(HTTP_LOST), STORAGE_RETRY, "connection_lost", "", NULL},
		{"timeout", NO_ANSWER(HTTP_LOST, .timed_out = true), STORAGE_RETRY, "timeout", "", NULL},
		{"forbidden", NO_ANSWER(HTTP_FORBIDDEN), STORAGE_FATAL, "address_refused", "", NULL},
		{"cancelled", NO_ANSWER(HTTP_CANCELLED), STORAGE_RETRY, "cancelled", "", NULL},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		StorageReply out;

		StorageJudgeUpload(&cases[i].reply, &out);
		CheckNumber(cases[i].name, "outcome", out.outcome, cases[i].outcome);
		CheckText(cases[i].name, "code", out.code, cases[i].code);
		CheckPart(cases[i].name, "message", out.message, cases[i].message);
		CheckNumber(cases[i].name, "has a message", out.message[0] != '\0', out.outcome != STORAGE_DONE);
		if (cases[i].hint != NULL)
			CheckPart(cases[i].name, "hint", out.hint != NULL ? out.hint : "", cases[i].hint);
		else
			CheckTrue(cases[i].name, "has no hint", out.hint == NULL);
	}
}

#define S3_ERROR(code, message) "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?><Error xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" \
								"<Resource>videos/u1/x.mp4</Resource><Code>" code "</Code><Message>" message "</Message></Error>"

static void
TestS3(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		StorageOutcome outcome;
		const char *code;
		const char *message; /* all of it */
	} cases[] = {
		{"done", ANSWER(200, ""), STORAGE_DONE, "", ""},
		{"region", ANSWER(403, S3_ERROR("SignatureDoesNotMatch", "Check your key and signing method.")), STORAGE_FATAL,
		 "SignatureDoesNotMatch", "Check your key and signing method."},
		{"wrong key", ANSWER(403, S3_ERROR("AccessDenied", "Invalid Access Key")), STORAGE_FATAL, "AccessDenied", "Invalid Access Key"},
		{"no bucket", ANSWER(404, S3_ERROR("NoSuchBucket", "Bucket not found")), STORAGE_FATAL, "NoSuchBucket", "Bucket not found"},
		{"too large", ANSWER(413, S3_ERROR("EntityTooLarge", "The object exceeded")), STORAGE_FATAL, "EntityTooLarge", "The object exceeded"},
		{"no message", ANSWER(403, "<Error><Code>AccessDenied</Code></Error>"), STORAGE_FATAL, "AccessDenied", "HTTP 403, AccessDenied"},
		{"empty message", ANSWER(503, S3_ERROR("SlowDown", "")), STORAGE_RETRY, "SlowDown", "HTTP 503, SlowDown"},
		{"unknown code", ANSWER(400, "<Error><Code>XAmzNew</Code></Error>"), STORAGE_FATAL, "XAmzNew", "HTTP 400, XAmzNew"},
		{"no code", ANSWER(403, "<?xml version=\"1.0\"?><Error/>"), STORAGE_FATAL, "AccessDenied", "HTTP 403: <?xml version=\"1.0\"?><Error/>"},
		{"no body", ANSWER(403, ""), STORAGE_FATAL, "AccessDenied", "HTTP 403 with an empty body"},
		{"a gateway", ANSWER(404, "{\"message\":\"no Route matched with those values\"}"), STORAGE_FATAL, "NotFound",
		 "no Route matched with those values"},
		{"a page", ANSWER(413, HTML("413 Request Entity Too Large")), STORAGE_FATAL, "EntityTooLarge",
		 "HTTP 413 from a gateway (HTML, nginx), not from Storage"},
		{"lost", NO_ANSWER(HTTP_LOST), STORAGE_RETRY, "connection_lost", "the connection broke before the answer was complete"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		StorageReply out;

		StorageJudgeS3(&cases[i].reply, &out);
		CheckNumber(cases[i].name, "outcome", out.outcome, cases[i].outcome);
		CheckText(cases[i].name, "code", out.code, cases[i].code);
		CheckText(cases[i].name, "message", out.message, cases[i].message);
	}
}

/* Who rejects a body for its size decides whether parts of it may pass. */
static void
TestLimits(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		bool in_front;
		const char *message;
	} cases[] = {
		{"page", ANSWER(413, HTML("413 Request Entity Too Large"), .content_type = "text/html"), true,
		 "HTTP 413 from a gateway (HTML, nginx), not from Storage"},
		{"text", ANSWER(413, "Payload Too Large"), true, "HTTP 413: Payload Too Large, not from Storage"},
		{"nothing", ANSWER(413, ""), true, "HTTP 413 with an empty body, not from Storage"},
		{"Kong", ANSWER(413, "{\"message\":\"Request size limit exceeded\"}"), true, "Request size limit exceeded, not from Storage"},
		{"a code that is not Storage's", ANSWER(413, "{\"code\":413,\"error\":\"too large\"}"), true, "too large, not from Storage"},
		{"a list", ANSWER(413, "[1]"), true, "HTTP 413 with an unrecognized body, not from Storage"},
		{"without a length", ANSWER(411, "Length Required"), true, "HTTP 411: Length Required, not from Storage"},
		{"Storage", ANSWER(400, ERROR("413", "Payload too large", "The object exceeded the maximum allowed size", "EntityTooLarge")), false,
		 "The object exceeded the maximum allowed size"},
		{"Storage, real status", ANSWER(413, "{\"statusCode\":\"413\",\"error\":\"Payload too large\"}"), false, "Payload too large"},
		{"Storage, a number", ANSWER(413, "{\"statusCode\":413,\"message\":\"Request body is too large\"}"), false, "Request body is too large"},
		{"TUS, create", ANSWER(413, "Maximum size exceeded\n"), false, "HTTP 413: Maximum size exceeded"},
		{"TUS, part", ANSWER(413, "upload's size exceeded\n"), false, "HTTP 413: upload's size exceeded"},
		{"another error", ANSWER(404, HTML("404 Not Found")), false, "HTTP 404 from a gateway (HTML, nginx), not from Storage"},
		{"good", ANSWER(200, "{\"Key\":\"a\"}"), false, ""},
		{"lost", NO_ANSWER(HTTP_LOST, .status = 413), false, "the connection broke before the answer was complete"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		StorageReply out;

		StorageJudgeUpload(&cases[i].reply, &out);
		CheckTrue(cases[i].name, "who limits it", out.in_front == cases[i].in_front);
		CheckText(cases[i].name, "message", out.message, cases[i].message);
		if (cases[i].in_front && cases[i].reply.status == 413)
			CheckPart(cases[i].name, "hint", out.hint != NULL ? out.hint : "", "client_max_body_size");
	}
}

static void
TestBucket(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		StorageOutcome outcome;
		bool exists;
		bool is_public;
		int64_t size_limit;
		bool allows_mp4;
		bool allows_gif;
	} cases[] = {
		{"limited", ANSWER(200, BUCKET), STORAGE_DONE, true, false, 20971520, true, false},
		{"open", ANSWER(200, OPEN_BUCKET), STORAGE_DONE, true, true, -1, true, true},
		{"wildcard", ANSWER(200, "{\"name\":\"b\",\"allowed_mime_types\":[\"image/png\",\"video/*\"]}"), STORAGE_DONE, true, false, -1, true, false},
		{"videos and GIFs", ANSWER(200, "{\"name\":\"b\",\"allowed_mime_types\":[\"Image/GIF\",\"video/mp4\",\"a/b\"]}"), STORAGE_DONE, true, false, -1, true, true},
		{"images", ANSWER(200, "{\"name\":\"b\",\"allowed_mime_types\":[\"image/*\"]}"), STORAGE_DONE, true, false, -1, false, true},
		{"everything", ANSWER(200, "{\"name\":\"b\",\"allowed_mime_types\":[\"*/*\"]}"), STORAGE_DONE, true, false, -1, true, true},
		{"images only", ANSWER(200, "{\"name\":\"b\",\"allowed_mime_types\":[\"image/png\"]}"), STORAGE_DONE, true, false, -1, false, false},
		{"empty list", ANSWER(200, "{\"name\":\"b\",\"allowed_mime_types\":[]}"), STORAGE_DONE, true, false, -1, true, true},
		{"missing", ANSWER(400, NO_BUCKET), STORAGE_FATAL, false, false, -1, false, false},
		{"denied", ANSWER(400, ERROR("403", "Unauthorized", "signature verification failed", "AccessDenied")), STORAGE_FATAL,
		 false, false, -1, false, false},
		{"HTML", ANSWER(200, HTML("x")), STORAGE_RETRY, false, false, -1, false, false},
		{"lost", NO_ANSWER(HTTP_LOST), STORAGE_RETRY, false, false, -1, false, false},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		StorageBucket out;

		StorageJudgeBucket(&cases[i].reply, &out);
		CheckNumber(cases[i].name, "outcome", out.reply.outcome, cases[i].outcome);
		CheckNumber(cases[i].name, "exists", out.exists, cases[i].exists);
		CheckNumber(cases[i].name, "is public", out.is_public, cases[i].is_public);
		CheckNumber(cases[i].name, "size limit", out.size_limit, cases[i].size_limit);
		CheckNumber(cases[i].name, "allows mp4", out.allows_mp4, cases[i].allows_mp4);
		CheckNumber(cases[i].name, "allows gif", out.allows_gif, cases[i].allows_gif);
	}
}

static void
TestInfo(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		StorageOutcome outcome;
		bool exists;
		int64_t size;
	} cases[] = {
		{"there", ANSWER(200, INFO), STORAGE_DONE, true, 10485760},
		{"size in metadata", ANSWER(200, "{\"name\":\"a\",\"metadata\":{\"size\":12}}"), STORAGE_DONE, true, 12},
		{"no size", ANSWER(200, "{\"name\":\"a\",\"size\":null}"), STORAGE_DONE, true, -1},
		{"missing", ANSWER(400, NO_KEY), STORAGE_DONE, false, -1},
		{"missing, old", ANSWER(400, OLD_ERROR("404", "not_found", "Object not found")), STORAGE_DONE, false, -1},
		{"no bucket", ANSWER(400, NO_BUCKET), STORAGE_FATAL, false, -1},
		{"no route", ANSWER(404, "{\"message\":\"Route GET:/x not found\",\"error\":\"Not Found\",\"statusCode\":404}"), STORAGE_FATAL,
		 false, -1},
		{"404, HTML", ANSWER(404, HTML("404 Not Found")), STORAGE_FATAL, false, -1},
		{"HTML", ANSWER(200, HTML("x")), STORAGE_RETRY, false, -1},
		{"lost", NO_ANSWER(HTTP_LOST), STORAGE_RETRY, false, -1},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		StorageInfo out;

		StorageJudgeInfo(&cases[i].reply, &out);
		CheckNumber(cases[i].name, "outcome", out.reply.outcome, cases[i].outcome);
		CheckNumber(cases[i].name, "exists", out.exists, cases[i].exists);
		CheckNumber(cases[i].name, "size", out.size, cases[i].size);
	}
}

static void
TestDelete(void)
{
	static const struct
	{
		const char *name;
		bool s3;
		HttpReply reply;
		StorageOutcome outcome;
		bool gone;
	} cases[] = {
		{"deleted", false, ANSWER(200, "{\"message\":\"Successfully deleted\"}"), STORAGE_DONE, false},
		{"not there", false, ANSWER(400, NO_KEY), STORAGE_DONE, true},
		{"not there, old", false, ANSWER(400, OLD_ERROR("404", "not_found", "Object not found")), STORAGE_DONE, true},
		{"no bucket", false, ANSWER(400, NO_BUCKET), STORAGE_FATAL, false},
		{"no route", false, ANSWER(404, "{\"message\":\"Route DELETE:/x not found\",\"error\":\"Not Found\",\"statusCode\":404}"), STORAGE_FATAL,
		 false},
		{"404, HTML", false, ANSWER(404, HTML("404 Not Found")), STORAGE_FATAL, false},
		{"200, HTML", false, ANSWER(200, HTML("Login")), STORAGE_RETRY, false},
		{"200, empty", false, ANSWER(200, ""), STORAGE_RETRY, false},
		{"denied", false, ANSWER(400, ERROR("403", "Unauthorized", "jwt expired", "AccessDenied")), STORAGE_FATAL, false},
		{"key form", false, ANSWER(401, "Unauthorized"), STORAGE_AUTH, false},
		{"503", false, ANSWER(503, HTML("Service Unavailable")), STORAGE_RETRY, false},
		{"lost", false, NO_ANSWER(HTTP_LOST), STORAGE_RETRY, false},
		{"S3: deleted", true, ANSWER(204, ""), STORAGE_DONE, false},
		{"S3: not there", true, ANSWER(404, "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>"), STORAGE_DONE, true},
		{"S3: no bucket", true, ANSWER(404, "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code></Error>"), STORAGE_FATAL, false},
		{"S3: denied", true, ANSWER(403, "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"), STORAGE_FATAL, false},
		{"S3: 404, HTML", true, ANSWER(404, HTML("404 Not Found")), STORAGE_FATAL, false},
		{"S3: lost", true, NO_ANSWER(HTTP_LOST), STORAGE_RETRY, false},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		StorageDelete out;

		StorageJudgeDelete(cases[i].s3, &cases[i].reply, &out);
		CheckNumber(cases[i].name, "outcome", out.reply.outcome, cases[i].outcome);
		CheckNumber(cases[i].name, "gone", out.gone, cases[i].gone);
	}
}

static void
TestKeyForms(void)
{
	StorageKeyForm form = StorageFirstForm("eyJhbGciOi.x.y");

	CheckNumber("JWT", "first form", form, STORAGE_KEY_JWT);
	CheckTrue("JWT", "no next form", !StorageNextForm("eyJhbGciOi.x.y", &form));

	form = StorageFirstForm("sb_secret_x");
	CheckNumber("opaque", "first form", form, STORAGE_KEY_APIKEY);
	CheckTrue("opaque", "next form", StorageNextForm("sb_secret_x", &form));
	CheckNumber("opaque", "second form", form, STORAGE_KEY_BOTH);
	CheckTrue("opaque", "no third form", !StorageNextForm("sb_secret_x", &form));
}

/* a key as Supabase makes it, with other claims; the signature is not looked at */
#define JWT(claims) "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." claims ".c2ln"

static void
TestKeys(void)
{
	static const struct
	{
		const char *name;
		const char *key;
		StorageKeyType type;
		const char *role;
		const char *fault; /* part of it; NULL: none */
		const char *hint;  /* part of StorageKeyHint's */
	} cases[] = {
		{"service_role", JWT("eyJyb2xlIjoic2VydmljZV9yb2xlIiwiaXNzIjoic3VwYWJhc2UiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6NDEwMjQ0NDgwMH0"),
		 STORAGE_KEY_IS_JWT, "service_role", NULL, "current service_role key"},
		{"anon", JWT("eyJyb2xlIjoiYW5vbiIsImV4cCI6NDEwMjQ0NDgwMH0"), STORAGE_KEY_IS_JWT, "anon", "anon key", "row-level security"},
		{"a user's", JWT("eyJpc3MiOiJzdXBhYmFzZSIsInJvbGUiOiJhdXRoZW50aWNhdGVkIn0"), STORAGE_KEY_IS_JWT, "authenticated", "a user's", "row-level security"},
		{"a role of their own", JWT("eyJyb2xlIjoic3RvcmFnZV93cml0ZXIifQ"), STORAGE_KEY_IS_JWT, "storage_writer", NULL, "service_role"},
		{"no role", JWT("eyJzdWIiOiJ4In0"), STORAGE_KEY_IS_JWT, "", NULL, "service_role"},
		{"the role is a number", JWT("eyJyb2xlIjo3fQ"), STORAGE_KEY_IS_JWT, "", NULL, "service_role"},
		{"- and _ of base64url", JWT("eyJyb2xlIjoiYW5vbiIsInJvbGUyIjoiPz4_Pn5-fiJ9"), STORAGE_KEY_IS_JWT, "anon", "anon key", "row-level"},
		{"a line break", JWT("eyJyb2xlIjoiYW5vblxueCJ9"), STORAGE_KEY_IS_JWT, "anon_x", NULL, "service_role"},
		{"claims are a list", JWT("WyJyb2xlIiwiYW5vbiJd"), STORAGE_KEY_IS_UNKNOWN, "", "neither", "s3"},
		{"claims are no JSON", "not.a.jwt", STORAGE_KEY_IS_UNKNOWN, "", "neither", "s3"},
		{"claims are no base64", JWT("e"), STORAGE_KEY_IS_UNKNOWN, "", "neither", "s3"},
		{"no signature", "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.", STORAGE_KEY_IS_UNKNOWN, "", "neither", "s3"},
		{"two parts", "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9", STORAGE_KEY_IS_UNKNOWN, "", "neither", "s3"},
		{"four parts", JWT("eyJyb2xlIjoiYW5vbiJ9") ".x", STORAGE_KEY_IS_UNKNOWN, "", "neither", "s3"},
		{"with its scheme", "Bearer " JWT("eyJyb2xlIjoiYW5vbiJ9"), STORAGE_KEY_IS_UNKNOWN, "", "neither", "s3"},
		{"S3's", "access:secret", STORAGE_KEY_IS_UNKNOWN, "", "neither", "s3"},
		{"empty", "", STORAGE_KEY_IS_UNKNOWN, "", "neither", "s3"},
		{"secret", "sb_secret_x", STORAGE_KEY_IS_SECRET, "", NULL, "gateway"},
		{"publishable", "sb_publishable_x", STORAGE_KEY_IS_PUBLISHABLE, "", "publishable", "row-level security"},
	};
	char long_key[8192];
	StorageKey key;

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		StorageReadKey(cases[i].key, &key);
		CheckNumber(cases[i].name, "type", key.type, cases[i].type);
		CheckText(cases[i].name, "role", key.role, cases[i].role);
		CheckTrue(cases[i].name, "a fault has a hint", (key.fault != NULL) == (key.hint != NULL));
		if (cases[i].fault != NULL)
			CheckPart(cases[i].name, "fault", key.fault != NULL ? key.fault : "", cases[i].fault);
		else
			CheckTrue(cases[i].name, "no fault", key.fault == NULL);
		CheckPart(cases[i].name, "hint", StorageKeyHint(cases[i].key), cases[i].hint);
	}

	/* "{   ... }" in base64url, at and above the limit */
	memset(long_key, 'I', sizeof(long_key));
	memcpy(long_key, "eyJ.", 4);
	for (size_t len = 4090; len <= 4110; len++)
	{
		snprintf(long_key + 4 + len, sizeof(long_key) - 4 - len, ".x");
		StorageReadKey(long_key, &key);
		CheckNumber("long", "type", key.type, STORAGE_KEY_IS_UNKNOWN);
		long_key[4 + len] = 'I';
		long_key[5 + len] = 'I';
	}
}

static void
TestNames(void)
{
	static const struct
	{
		const char *name;
		bool as_bucket;
		bool as_key;
	} cases[] = {
		{"videos", true, true},
		{"my bucket", true, true},
		{"a.b-c_d!*'()&$=@;:+,?", true, true},
		{"u1/job 1.mp4", false, true},
		{"...", true, true},
		{".hidden", true, true},
		{"", false, false},
		{".", false, false},
		{"..", false, false},
		{"a/../b", false, false},
		{"a/.", false, false},
		{"/a", false, false},
		{"a/", false, false},
		{"a//b", false, false},
		{"a\\b", false, false},
		{"a#b", false, false},
		{"a%b", false, false},
		{"\360\237\230\200", false, false},
		{"a\nb", false, false},
		{"a[b]", false, false},
	};
	char long_name[1100];

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		CheckNumber(cases[i].name, "bucket name", StorageBucketNameIsValid(cases[i].name), cases[i].as_bucket);
		CheckNumber(cases[i].name, "key", StorageKeyIsValid(cases[i].name), cases[i].as_key);
	}

	memset(long_name, 'a', sizeof(long_name));
	long_name[1025] = '\0';
	CheckTrue("key", "too long", !StorageKeyIsValid(long_name));
	long_name[1024] = '\0';
	CheckTrue("key", "longest", StorageKeyIsValid(long_name));
	long_name[101] = '\0';
	CheckTrue("bucket", "too long", !StorageBucketNameIsValid(long_name));
	long_name[100] = '\0';
	CheckTrue("bucket", "longest", StorageBucketNameIsValid(long_name));
}

static void
TestStorageUrls(void)
{
	static const struct
	{
		StorageCall call;
		const char *bucket;
		const char *key;
		const char *url; /* NULL: refused */
	} cases[] = {
		{STORAGE_UPLOAD, "videos", "u1/job1.mp4", "http://kong:8000/storage/v1/object/videos/u1/job1.mp4"},
		{STORAGE_INFO, "videos", "u1/job1.mp4", "http://kong:8000/storage/v1/object/info/videos/u1/job1.mp4"},
		{STORAGE_PUBLIC, "my videos", "u 1/a+b?.mp4", "http://kong:8000/storage/v1/object/public/my%20videos/u%201/a%2Bb%3F.mp4"},
		{STORAGE_BUCKET, "videos", NULL, "http://kong:8000/storage/v1/bucket/videos"},
		{STORAGE_UPLOAD, "videos", NULL, NULL},
		{STORAGE_UPLOAD, "videos", "a/../b", NULL},
		{STORAGE_UPLOAD, "a/b", "c", NULL},
		{STORAGE_UPLOAD, "", "c", NULL},
	};
	char out[256];

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		CheckNumber(cases[i].bucket, "url is built", StorageUrl("http://kong:8000/storage/v1", cases[i].call, cases[i].bucket, cases[i].key, out, sizeof(out)), cases[i].url != NULL);
		if (cases[i].url != NULL)
		{
			CheckText(cases[i].bucket, "url", out, cases[i].url);
			CheckTrue(cases[i].bucket, "does not fit", !StorageUrl("http://kong:8000/storage/v1", cases[i].call, cases[i].bucket, cases[i].key, out, strlen(cases[i].url)));
		}
	}
	CheckTrue("base", "with slash", !StorageUrl("http://kong:8000/", STORAGE_UPLOAD, "a", "b", out, sizeof(out)));
}

static void
TestTus(void)
{
	static const struct
	{
		const char *name;
		StorageTusCall call;
		HttpReply reply;
		StorageOutcome outcome;
		const char *code;
		int64_t offset;
		int64_t length;
		bool gone;
		bool moved;
	} cases[] = {
		{"created", STORAGE_TUS_CREATE, ANSWER(201, "", .location = "http://x/upload/resumable/a"), STORAGE_DONE, "", -1, -1, false, false},
		{"created, no address", STORAGE_TUS_CREATE, ANSWER(201, ""), STORAGE_RETRY, "bad_response", -1, -1, false, false},
		{"created, a page", STORAGE_TUS_CREATE, ANSWER(200, HTML("Login")), STORAGE_RETRY, "bad_response", -1, -1, false, false},
		{"create, no bucket", STORAGE_TUS_CREATE, ANSWER(404, "Bucket not found"), STORAGE_FATAL, "NoSuchBucket", -1, -1, false, false},
		{"create, no route", STORAGE_TUS_CREATE, ANSWER(404, "nothing"), STORAGE_FATAL, "NotFound", -1, -1, false, false},
		{"create, too large", STORAGE_TUS_CREATE, ANSWER(413, "Maximum size exceeded\n"), STORAGE_FATAL, "EntityTooLarge", -1, -1, false, false},
		{"create, token", STORAGE_TUS_CREATE, ANSWER(400, ERROR("403", "Unauthorized", "Invalid Compact JWS", "AccessDenied")),
		 STORAGE_AUTH, "AccessDenied", -1, -1, false, false},
		{"create, lost", STORAGE_TUS_CREATE, NO_ANSWER(HTTP_LOST), STORAGE_RETRY, "connection_lost", -1, -1, false, false},
		{"head", STORAGE_TUS_HEAD, ANSWER(200, "", .upload_offset = "6291456", .upload_length = "10485760"), STORAGE_DONE, "", 6291456, 10485760, false, false},
		{"head, length deferred", STORAGE_TUS_HEAD, ANSWER(200, "", .upload_offset = "0"), STORAGE_DONE, "", 0, -1, false, false},
		{"head, no offset", STORAGE_TUS_HEAD, ANSWER(200, ""), STORAGE_RETRY, "bad_response", -1, -1, false, false},
		{"head, odd offset", STORAGE_TUS_HEAD, ANSWER(200, "", .upload_offset = "-5"), STORAGE_RETRY, "bad_response", -1, -1, false, false},
		{"head, unknown", STORAGE_TUS_HEAD, ANSWER(404, ""), STORAGE_RETRY, "upload_gone", -1, -1, true, false},
		{"head, expired", STORAGE_TUS_HEAD, ANSWER(410, ""), STORAGE_RETRY, "upload_gone", -1, -1, true, false},
		{"head, locked", STORAGE_TUS_HEAD, ANSWER(423, ""), STORAGE_RETRY, "ResourceLocked", -1, -1, false, false},
		{"head, key", STORAGE_TUS_HEAD, ANSWER(400, ""), STORAGE_FATAL, "http_400", -1, -1, false, false},
		{"part", STORAGE_TUS_PATCH, ANSWER(204, "", .upload_offset = "12582912"), STORAGE_DONE, "", 12582912, -1, false, false},
		{"part, other offset", STORAGE_TUS_PATCH, ANSWER(409, "Upload-Offset conflict\n"), STORAGE_RETRY, "upload_moved", -1, -1, false, true},
		{"part, expired", STORAGE_TUS_PATCH, ANSWER(410, "The file for this url no longer exists\n"), STORAGE_RETRY, "upload_gone", -1, -1, true, false},
		{"part, lock taken", STORAGE_TUS_PATCH, ANSWER(500, "Request aborted due to lock acquired"), STORAGE_RETRY, "InternalError", -1, -1, false, false},
		{"part, token expired", STORAGE_TUS_PATCH, ANSWER(400, ERROR("403", "Unauthorized", "\\\"exp\\\" claim timestamp check failed", "AccessDenied")),
		 STORAGE_FATAL, "AccessDenied", -1, -1, false, false},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		StorageTus out;

		StorageJudgeTus(cases[i].call, &cases[i].reply, &out);
		CheckNumber(cases[i].name, "outcome", out.reply.outcome, cases[i].outcome);
		CheckText(cases[i].name, "code", out.reply.code, cases[i].code);
		CheckNumber(cases[i].name, "has a message", out.reply.message[0] != '\0', out.reply.outcome != STORAGE_DONE);
		CheckNumber(cases[i].name, "offset", out.offset, cases[i].offset);
		CheckNumber(cases[i].name, "length", out.length, cases[i].length);
		CheckNumber(cases[i].name, "gone", out.gone, cases[i].gone);
		CheckNumber(cases[i].name, "expired", out.expired, cases[i].reply.status == 410 && cases[i].call != STORAGE_TUS_CREATE);
		CheckNumber(cases[i].name, "moved", out.moved, cases[i].moved);
	}
}

static void
TestTusMaxSize(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		int64_t size;
	} cases[] = {
		{"told", ANSWER(204, "", .tus_max_size = "52428800"), 52428800},
		{"by an old release", ANSWER(200, "", .tus_max_size = "1"), 1},
		{"not told", ANSWER(204, ""), -1},
		{"no number", ANSWER(204, "", .tus_max_size = "50 MB"), -1},
		{"no such route", ANSWER(404, "", .tus_max_size = "1"), -1},
		{"no answer", NO_ANSWER(HTTP_LOST, .status = 204, .tus_max_size = "1"), -1},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
		CheckNumber(cases[i].name, "size", StorageTusMaxSize(&cases[i].reply), cases[i].size);
}

static void
TestPublic(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		StoragePublicAnswer answer;
	} cases[] = {
		{"public bucket", ANSWER(400, NO_KEY), STORAGE_PUBLIC_KNOWN},
		{"public bucket, old", ANSWER(400, OLD_ERROR("404", "not_found", "Object not found")), STORAGE_PUBLIC_KNOWN},
		{"private bucket", ANSWER(400, NO_BUCKET), STORAGE_PUBLIC_HIDDEN},
		{"private bucket, old", ANSWER(400, OLD_ERROR("404", "Bucket not found", "Bucket not found")), STORAGE_PUBLIC_HIDDEN},
		{"redirect", ANSWER(301, "", .location = "https://x"), STORAGE_PUBLIC_MOVED},
		{"an app that answers everything", ANSWER(200, HTML("Welcome")), STORAGE_PUBLIC_FOREIGN},
		{"no route in Storage", ANSWER(404, "{\"message\":\"Route GET:/x not found\",\"error\":\"Not Found\",\"statusCode\":404}"), STORAGE_PUBLIC_FOREIGN},
		{"no route in the gateway", ANSWER(404, "{\"message\":\"no Route matched with those values\"}"), STORAGE_PUBLIC_FOREIGN},
		{"nginx", ANSWER(404, HTML("404 Not Found")), STORAGE_PUBLIC_FOREIGN},
		{"502", ANSWER(502, HTML("502 Bad Gateway")), STORAGE_PUBLIC_FOREIGN},
		{"lost", NO_ANSWER(HTTP_LOST), STORAGE_PUBLIC_NONE},
		{"refused", NO_ANSWER(HTTP_NOT_SENT, .error = "Connection refused"), STORAGE_PUBLIC_NONE},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		StorageReply out;

		CheckNumber(cases[i].name, "answer", StorageJudgePublic(&cases[i].reply, &out), cases[i].answer);
		CheckTrue(cases[i].name, "has a message", out.message[0] != '\0');
	}
}

static void
TestTusUrls(void)
{
	static const char base[] = "http://kong:8000/storage/v1";
	static const struct
	{
		const char *location;
		const char *url; /* NULL: refused */
	} cases[] = {
		{"http://kong:8000/storage/v1/upload/resumable/dmlk_-9", "http://kong:8000/storage/v1/upload/resumable/dmlk_-9"},
		{"https://evil.example/upload/resumable/dmlk", "http://kong:8000/storage/v1/upload/resumable/dmlk"},
		{"/upload/resumable/dmlk", "http://kong:8000/storage/v1/upload/resumable/dmlk"},
		{"http://kong:8000/storage/v1/upload/resumable/", NULL},
		{"http://kong:8000/storage/v1/upload/resumable/..", NULL},
		{"http://kong:8000/storage/v1/upload/resumable/a?b", NULL},
		{"http://kong:8000/storage/v1/upload/resumable/a%2f", NULL},
		{"dmlk", NULL},
		{"", NULL},
	};
	char out[200];
	char small[20];

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		bool done = StorageTusUrl(base, cases[i].location, out, sizeof(out));

		CheckNumber(cases[i].location, "accepted", done, cases[i].url != NULL);
		if (done && cases[i].url != NULL)
			CheckText(cases[i].location, "url", out, cases[i].url);
	}
	CheckTrue("small", "does not fit", !StorageTusUrl(base, cases[0].location, small, sizeof(small)));
	CheckTrue("root", "made", StorageTusRoot(base, out, sizeof(out)));
	CheckText("root", "url", out, "http://kong:8000/storage/v1/upload/resumable");
	CheckTrue("own", "ours", StorageTusOwns(base, "http://kong:8000/storage/v1/upload/resumable/dmlk"));
	CheckTrue("other host", "not ours", !StorageTusOwns(base, "http://kong2:8000/storage/v1/upload/resumable/dmlk"));
	CheckTrue("other path", "not ours", !StorageTusOwns(base, "http://kong:8000/storage/v2/upload/resumable/dmlk"));
	CheckTrue("no id", "not ours", !StorageTusOwns(base, "http://kong:8000/storage/v1/upload/resumable"));
}

static void
TestTusMetadata(void)
{
	/* as supabase/storage was seen to tell it */
	static const char told[] = "bucketName dmlkZW9z,objectName dTEvdHVzLm1wNA==,contentType dmlkZW8vbXA0,cacheControl bWF4LWFnZT0zNjAw";
	char out[200];
	char small[40];
	char cut[200];

	CheckTrue("metadata", "made", StorageTusMetadata("videos", "u1/tus.mp4", "video/mp4", out, sizeof(out)));
	CheckText("metadata", "text", out,
			  "bucketName dmlkZW9z,objectName dTEvdHVzLm1wNA==,contentType dmlkZW8vbXA0,cacheControl MzYwMA==");
	CheckTrue("one, two and three bytes over", "made", StorageTusMetadata("a", "ab", "abc", out, sizeof(out)));
	CheckText("one, two and three bytes over", "text", out,
			  "bucketName YQ==,objectName YWI=,contentType YWJj,cacheControl MzYwMA==");
	for (size_t size = 1; size <= strlen(out); size++)
		CheckTrue("cut", "does not fit", !StorageTusMetadata("a", "ab", "abc", cut, size));
	CheckTrue("just fits", "made", StorageTusMetadata("a", "ab", "abc", cut, strlen(out) + 1));
	CheckTrue("small", "does not fit", !StorageTusMetadata("videos", "u1/tus.mp4", "video/mp4", small, sizeof(small)));
	CheckTrue("bad key", "refused", !StorageTusMetadata("videos", "../x", "video/mp4", out, sizeof(out)));
	CheckTrue("videos", "is for", StorageTusIsFor(told, "videos"));
	CheckTrue("not told", "is for", StorageTusIsFor("", "videos"));
	CheckTrue("second", "is for", StorageTusIsFor("objectName eA==, bucketName dmlkZW9z", "videos"));
	CheckTrue("video", "is not for", !StorageTusIsFor(told, "video"));
	CheckTrue("videosx", "is not for", !StorageTusIsFor(told, "videosx"));
	CheckTrue("another pair", "is not for", !StorageTusIsFor("objectName dmlkZW9z", "videos"));
	CheckTrue("object", "is named", StorageTusNames("bucketName dmlkZW9z,objectName eA==", "x"));
	CheckTrue("another object", "is not named", !StorageTusNames("bucketName eA==,objectName eHk=", "x"));
	CheckTrue("no object", "is not named", !StorageTusNames("", "x"));
}

static void
TestRanges(void)
{
	static const struct
	{
		const char *text;
		int64_t from; /* -1: refused */
		int64_t to;
		int64_t total;
	} cases[] = {
		{"bytes 6291456-10485759/10485760", 6291456, 10485759, 10485760},
		{"Bytes 0-0/1", 0, 0, 1},
		{"bytes 5-4/10", -1, 0, 0},
		{"bytes 5-10/10", -1, 0, 0},
		{"bytes 5-9/*", -1, 0, 0},
		{"bytes */10", -1, 0, 0},
		{"bytes 5-9/10 ", -1, 0, 0},
		{"bytes -9/10", -1, 0, 0},
		{"bytes 5-9", -1, 0, 0},
		{"items 5-9/10", -1, 0, 0},
		{"bytes 99999999999999999999-99999999999999999999/999999999999999999999", -1, 0, 0},
		{"", -1, 0, 0},
	};
	static const struct
	{
		const char *etag;
		bool strong;
	} etags[] = {{"\"abc\"", true}, {"W/\"abc\"", false}, {"\"\"", false}, {"\"", false}, {"abc", false}, {"\"a\"b\"", false}, {"", false}};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		int64_t from = -1;
		int64_t to = -1;
		int64_t total = -1;
		bool read = StorageReadRange(cases[i].text, &from, &to, &total);

		CheckNumber(cases[i].text, "read", read, cases[i].from >= 0);
		if (!read)
			continue;
		CheckNumber(cases[i].text, "from", from, cases[i].from);
		CheckNumber(cases[i].text, "to", to, cases[i].to);
		CheckNumber(cases[i].text, "total", total, cases[i].total);
	}
	for (size_t i = 0; i < lengthof(etags); i++)
		CheckNumber(etags[i].etag, "strong", StorageEtagIsStrong(etags[i].etag), etags[i].strong);
}

void
TestStorage(void)
{
	TestTus();
	TestTusMaxSize();
	TestPublic();
	TestTusUrls();
	TestTusMetadata();
	TestRanges();
	TestUpload();
	TestS3();
	TestLimits();
	TestBucket();
	TestInfo();
	TestDelete();
	TestOutage();
	TestKeys();
	TestKeyForms();
	TestNames();
	TestStorageUrls();
}
