/*
 * test_fal.c
 *	  fal's queue protocol.  Bodies are those of fal's pages and of captures.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "fal.h"

#define ID "019e161b-386c-7d33-8106-f2de1a3ff595"
#define BASE "https://queue.fal.run"
#define URLS "\"request_id\":\"" ID "\",\"response_url\":\"" BASE "/fal-ai/minimax/requests/" ID "\"," \
			 "\"status_url\":\"" BASE "/fal-ai/minimax/requests/" ID "/status\"," \
			 "\"cancel_url\":\"" BASE "/fal-ai/minimax/requests/" ID "/cancel\""
#define QUEUED "{\"status\":\"IN_QUEUE\"," URLS ",\"logs\":null,\"metrics\":{},\"queue_position\":3}"
#define LOCKED "{\"detail\":\"User is locked. Reason: Exhausted balance. Top up your balance at " \
			   "fal.ai/dashboard/billing.\"}"
#define NO_USER "{\"detail\":\"No user found for Key ID and Secret\"}"
#define MISSING "{\"detail\":[{\"loc\":[\"body\",\"prompt\"],\"msg\":\"Field required\",\"type\":\"missing\"," \
				"\"input\":{\"a\":1}}]}"
#define POLICY "{\"detail\":[{\"loc\":[\"body\",\"prompt\"],\"msg\":\"Flagged\",\"type\":" \
			   "\"content_policy_violation\",\"categories\":[\"violence\"]}]}"
#define NGINX_502 HTML("502 Bad Gateway")

/* 2026-11-24 02:04:42 GMT */
#define NOW ((time_t) 1795485882)

/* Who wrote a 5xx decides, and for 502 to 504 fal's headers. */
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
		{"too large", NO_ANSWER(HTTP_TOO_LARGE), false},
		{"our address filter", NO_ANSWER(HTTP_FORBIDDEN), false},
		{"ended by us", NO_ANSWER(HTTP_CANCELLED), false},
		{"good", ANSWER(200, QUEUED), false},
		{"fal's 500", ANSWER(500, "{\"detail\":\"Internal Server Error\"}"), false},
		{"fal's 500, by header", ANSWER(500, "", .fal_request_id = ID), false},
		{"fal's 504, by header", ANSWER(504, "", .fal_error_type = "startup_timeout"), false},
		{"a 502 page", ANSWER(502, NGINX_502), true},
		{"a 503 with a detail", ANSWER(503, "{\"detail\":\"no healthy upstream\"}"), true},
		{"a gateway's 404", ANSWER(404, HTML("404 Not Found")), false},
		{"429", ANSWER(429, ""), false},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
		CheckTrue("outage", cases[i].name, FalIsOutage(&cases[i].reply) == cases[i].outage);
	for (int status = 500; status <= 599; status++)
	{
		HttpReply page = ANSWER(0, HTML("error code: 1016"));
		char name[32];

		page.status = status;
		(void) snprintf(name, sizeof(name), "a page, %d", status);
		CheckTrue("outage", name, FalIsOutage(&page));
	}
}

static void
TestSubmit(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		FalSubmitOutcome outcome;
		const char *type;
		const char *message; /* part of it */
	} cases[] = {
		{"accepted", ANSWER(200, QUEUED), FAL_SUBMIT_ACCEPTED, "", ""},
		{"accepted, 202", ANSWER(202, "{\"request_id\":\"" ID "\"}"), FAL_SUBMIT_ACCEPTED, "", ""},
		{"accepted, id in the header only", ANSWER(200, "garbage", .fal_request_id = ID), FAL_SUBMIT_ACCEPTED, "", ""},
		{"accepted, useless id in the body", ANSWER(200, "{\"request_id\":\"../x\"}", .fal_request_id = ID),
		 FAL_SUBMIT_ACCEPTED, "", ""},
		{"200 without id", ANSWER(200, "{\"status\":\"IN_QUEUE\"}"), FAL_SUBMIT_UNKNOWN, "bad_response", ""},
		{"200, empty", ANSWER(200, ""), FAL_SUBMIT_UNKNOWN, "bad_response", "empty body"},
		{"200, HTML", ANSWER(200, HTML("Welcome"), .content_type = "text/html"), FAL_SUBMIT_UNKNOWN, "bad_response", "HTML"},
		{"200, cut", ANSWER(200, "{\"request_id\":\"019e161b"), FAL_SUBMIT_UNKNOWN, "bad_response", ""},
		{"200, id is a number", ANSWER(200, "{\"request_id\":12}"), FAL_SUBMIT_UNKNOWN, "bad_response", ""},
		{"200, bad id in the header", ANSWER(200, "{}", .fal_request_id = "a/b"), FAL_SUBMIT_UNKNOWN, "bad_response", ""},

		{"not sent", NO_ANSWER(HTTP_NOT_SENT), FAL_SUBMIT_NOT_SENT, "connect_failed", ""},
		{"connect timeout", NO_ANSWER(HTTP_NOT_SENT, .timed_out = true), FAL_SUBMIT_NOT_SENT, "connect_failed", ""},
		{"forbidden", NO_ANSWER(HTTP_FORBIDDEN), FAL_SUBMIT_REFUSED, "address_refused", ""},
		{"lost", NO_ANSWER(HTTP_LOST), FAL_SUBMIT_UNKNOWN, "connection_lost", ""},
		{"lost after the headers", NO_ANSWER(HTTP_LOST, .status = 503), FAL_SUBMIT_UNKNOWN, "connection_lost", ""},
		{"timeout", NO_ANSWER(HTTP_LOST, .timed_out = true), FAL_SUBMIT_UNKNOWN, "timeout", ""},
		{"too large", NO_ANSWER(HTTP_TOO_LARGE, .status = 200), FAL_SUBMIT_UNKNOWN, "response_too_large", ""},
		{"cancelled", NO_ANSWER(HTTP_CANCELLED), FAL_SUBMIT_UNKNOWN, "cancelled", ""},

		{"429", ANSWER(429, "{\"detail\":\"Too many waiting\"}", .retry_after = "30"), FAL_SUBMIT_BACKOFF, "http_429", "Too many"},
		{"408", ANSWER(408, ""), FAL_SUBMIT_BACKOFF, "http_408", ""},
		{"425", ANSWER(425, ""), FAL_SUBMIT_BACKOFF, "http_425", ""},
		{"503 of a gateway", ANSWER(503, HTML("503 Service Temporarily Unavailable")), FAL_SUBMIT_BACKOFF, "http_503", "HTML"},
		{"503 of fal", ANSWER(503, "{\"detail\":\"x\",\"error_type\":\"runner_disconnected\"}"), FAL_SUBMIT_BACKOFF,
		 "runner_disconnected", ""},

		{"400", ANSWER(400, "{\"detail\":\"bad header\",\"error_type\":\"bad_request\"}", .fal_error_type = "bad_request"),
		 FAL_SUBMIT_REFUSED, "bad_request", "bad header"},
		{"400, type in the header", ANSWER(400, "", .fal_error_type = "bad_request"), FAL_SUBMIT_REFUSED, "bad_request", ""},
		{"400, bare", ANSWER(400, ""), FAL_SUBMIT_REFUSED, "http_400", ""},
		{"401", ANSWER(401, NO_USER), FAL_SUBMIT_REFUSED, "unauthorized", "No user found for Key ID and Secret"},
		{"403, no money", ANSWER(403, LOCKED), FAL_SUBMIT_BACKOFF, "balance", "Exhausted balance"},
		{"403, top up", ANSWER(403, "{\"detail\":\"User is locked. Reason: TOP_UP.\"}"), FAL_SUBMIT_BACKOFF, "balance", "TOP_UP"},
		{"403, locked otherwise", ANSWER(403, "{\"detail\":\"User is locked. Reason: Terms of service.\"}"), FAL_SUBMIT_REFUSED, "forbidden", "Terms"},
		{"403, of something else", ANSWER(403, "{\"detail\":\"Exhausted balance\"}"), FAL_SUBMIT_REFUSED, "forbidden", "Exhausted"},
		{"402 without money", ANSWER(402, LOCKED), FAL_SUBMIT_REFUSED, "http_402", "Exhausted balance"},
		{"404", ANSWER(404, "{\"detail\":\"Application not found\"}"), FAL_SUBMIT_REFUSED, "not_found", "Application"},
		{"404, HTML", ANSWER(404, HTML("404 Not Found")), FAL_SUBMIT_REFUSED, "not_found", ""},
		{"405", ANSWER(405, "{\"detail\":\"Method Not Allowed\"}"), FAL_SUBMIT_REFUSED, "method_not_allowed", ""},
		{"409", ANSWER(409, ""), FAL_SUBMIT_REFUSED, "http_409", ""},
		{"422", ANSWER(422, MISSING), FAL_SUBMIT_REFUSED, "missing", "prompt: Field required"},
		{"422, string", ANSWER(422, "{\"detail\":\"wrong\"}"), FAL_SUBMIT_REFUSED, "validation_error", "wrong"},
		{"301", ANSWER(301, "", .location = "https://elsewhere/"), FAL_SUBMIT_REFUSED, "redirected", ""},
		{"307", ANSWER(307, "", .fal_request_id = ID), FAL_SUBMIT_REFUSED, "redirected", ""},

		{"500, bare", ANSWER(500, ""), FAL_SUBMIT_UNKNOWN, "gateway_5xx", ""},
		{"500, HTML", ANSWER(500, HTML("500")), FAL_SUBMIT_UNKNOWN, "gateway_5xx", ""},
		{"500, JSON that says nothing", ANSWER(500, "{\"message\":\"oops\"}"), FAL_SUBMIT_UNKNOWN, "gateway_5xx", "oops"},
		{"500, null detail", ANSWER(500, "{\"detail\":null}"), FAL_SUBMIT_UNKNOWN, "gateway_5xx", ""},
		{"500 of fal, retryable kind", ANSWER(500, "{\"detail\":\"x\",\"error_type\":\"internal_error\"}"), FAL_SUBMIT_BACKOFF,
		 "internal_error", ""},
		{"500 of fal, kind in the header", ANSWER(500, "", .fal_error_type = "runner_server_error"), FAL_SUBMIT_BACKOFF,
		 "runner_server_error", ""},
		{"500 of fal, hint yes", ANSWER(500, "{\"detail\":\"x\"}", .fal_retryable = "true"), FAL_SUBMIT_BACKOFF, "http_500", ""},
		{"500 of fal, hint no", ANSWER(500, "{\"detail\":\"x\",\"error_type\":\"internal_error\"}", .fal_needs_retry = "0"),
		 FAL_SUBMIT_REFUSED, "internal_error", ""},
		{"500 of fal, unknown kind", ANSWER(500, "{\"detail\":\"x\"}"), FAL_SUBMIT_REFUSED, "http_500", "x"},
		{"500 of fal, id only", ANSWER(500, "", .fal_request_id = ID), FAL_SUBMIT_REFUSED, "http_500", ""},
		{"501, bare", ANSWER(501, ""), FAL_SUBMIT_UNKNOWN, "gateway_5xx", ""},
		{"520, bare", ANSWER(520, HTML("520")), FAL_SUBMIT_UNKNOWN, "gateway_5xx", ""},
		{"502 of a gateway", ANSWER(502, NGINX_502, .content_type = "text/html"), FAL_SUBMIT_UNKNOWN, "gateway_5xx",
		 "HTTP 502 from a gateway (HTML, nginx)"},
		{"504 of a gateway", ANSWER(504, HTML("504 Gateway Time-out")), FAL_SUBMIT_UNKNOWN, "gateway_5xx", ""},
		{"504, empty", ANSWER(504, ""), FAL_SUBMIT_UNKNOWN, "gateway_5xx", ""},
		{"502 of fal", ANSWER(502, "{\"detail\":\"x\",\"error_type\":\"runner_incomplete_response\"}"), FAL_SUBMIT_BACKOFF,
		 "runner_incomplete_response", ""},
		{"504 of fal", ANSWER(504, "{\"detail\":\"x\",\"error_type\":\"startup_timeout\"}"), FAL_SUBMIT_BACKOFF,
		 "startup_timeout", ""},
		{"504 of fal, HTML with id", ANSWER(504, HTML("504"), .fal_request_id = ID), FAL_SUBMIT_BACKOFF, "http_504", ""},
		{"504, our start timeout", ANSWER(504, "{\"detail\":\"Request timed out\",\"error_type\":\"request_timeout\"}", .fal_timeout_type = "user", .fal_error_type = "request_timeout"),
		 FAL_SUBMIT_REFUSED, "start_timeout", "Request timed out"},
		{"100", ANSWER(100, ""), FAL_SUBMIT_UNKNOWN, "bad_response", ""},
		{"no status", ANSWER(0, ""), FAL_SUBMIT_UNKNOWN, "bad_response", ""},
		{"999", ANSWER(999, ""), FAL_SUBMIT_UNKNOWN, "gateway_5xx", ""},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		FalSubmit out;

		FalJudgeSubmit(&cases[i].reply, NOW, &out);
		CheckNumber(cases[i].name, "submit", out.outcome, cases[i].outcome);
		CheckText(cases[i].name, "type", out.error.type, cases[i].type);
		CheckPart(cases[i].name, "message", out.error.message, cases[i].message);
		CheckText(cases[i].name, "id", out.request_id, out.outcome == FAL_SUBMIT_ACCEPTED ? ID : "");
		CheckNumber(cases[i].name, "has a message", out.error.message[0] != '\0', out.outcome != FAL_SUBMIT_ACCEPTED);
	}
}

static void
TestSubmitDetails(void)
{
	static const HttpReply accepted = ANSWER(200, QUEUED);
	static const HttpReply limited = ANSWER(429, "", .retry_after = "30", .fal_needs_retry = "1");
	static const HttpReply secret = ANSWER(400, "{\"detail\":\"bad header Authorization: Key id:s3cret\\u0007\"}");
	char long_id[400];
	HttpReply too_long = ANSWER(200, "");
	FalSubmit out;

	FalJudgeSubmit(&accepted, NOW, &out);
	CheckNumber("accepted", "queue position", out.queue_position, 3);
	CheckNumber("accepted", "retry after", out.error.retry_after, -1);

	FalJudgeSubmit(&limited, NOW, &out);
	CheckNumber("limited", "retry after", out.error.retry_after, 30);
	CheckNumber("limited", "hint", out.error.retryable, FAL_HINT_YES);
	CheckNumber("limited", "http", out.error.http, 429);
	CheckNumber("limited", "queue position", out.queue_position, -1);

	FalJudgeSubmit(&secret, NOW, &out);
	CheckText("secret", "message", out.error.message, "bad header Authorization: Key ***");

	/* a cut id is not an id */
	snprintf(long_id, sizeof(long_id), "{\"request_id\":\"%0200d\"}", 1);
	too_long.body = long_id;
	too_long.body_len = strlen(long_id);
	FalJudgeSubmit(&too_long, NOW, &out);
	CheckNumber("id too long", "submit", out.outcome, FAL_SUBMIT_UNKNOWN);
	memset(too_long.fal_request_id, 'a', sizeof(too_long.fal_request_id) - 1);
	FalJudgeSubmit(&too_long, NOW, &out);
	CheckNumber("header id too long", "submit", out.outcome, FAL_SUBMIT_UNKNOWN);
}

static void
TestStatus(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		FalState state;
		bool has_error;
		const char *type;
	} cases[] = {
		{"queued", ANSWER(202, QUEUED), FAL_STATE_QUEUED, false, ""},
		{"running", ANSWER(202, "{\"status\":\"IN_PROGRESS\"," URLS ",\"logs\":[],\"metrics\":{}}"), FAL_STATE_RUNNING, false, ""},
		{"completed", ANSWER(200, "{\"status\":\"COMPLETED\"," URLS ",\"logs\":null,\"metrics\":{\"inference_time\":126.7}}"),
		 FAL_STATE_COMPLETED, false, ""},
		{"completed, null error", ANSWER(200, "{\"status\":\"COMPLETED\",\"error\":null,\"error_type\":null}"),
		 FAL_STATE_COMPLETED, false, ""},
		{"completed, failed", ANSWER(200, "{\"status\":\"COMPLETED\",\"error\":\"Request timed out\",\"error_type\":\"request_timeout\"}"),
		 FAL_STATE_COMPLETED, true, "request_timeout"},
		{"completed, error without type", ANSWER(200, "{\"status\":\"COMPLETED\",\"error\":\"x\"}"), FAL_STATE_COMPLETED, true,
		 "request_failed"},
		{"completed, type without error", ANSWER(200, "{\"status\":\"COMPLETED\",\"error_type\":\"client_cancelled\"}"),
		 FAL_STATE_COMPLETED, true, "client_cancelled"},
		{"completed with 202", ANSWER(202, "{\"status\":\"COMPLETED\"}"), FAL_STATE_COMPLETED, false, ""},
		{"queued with 200", ANSWER(200, QUEUED), FAL_STATE_QUEUED, false, ""},
		{"unknown word", ANSWER(200, "{\"status\":\"FAILED\"}"), FAL_STATE_RETRY, false, "unknown_status"},
		{"CANCELED", ANSWER(200, "{\"status\":\"CANCELED\"}"), FAL_STATE_RETRY, false, "unknown_status"},
		{"no word", ANSWER(200, "{}"), FAL_STATE_RETRY, false, "bad_response"},
		{"HTML with 200", ANSWER(200, HTML("x")), FAL_STATE_RETRY, false, "bad_response"},
		{"empty", ANSWER(200, ""), FAL_STATE_RETRY, false, "bad_response"},
		{"gone", ANSWER(404, "{\"status\":\"NOT_FOUND\"}"), FAL_STATE_GONE, false, "not_found"},
		{"gone, detail", ANSWER(404, "{\"detail\":\"Request not found\"}"), FAL_STATE_GONE, false, "not_found"},
		{"404, HTML", ANSWER(404, HTML("404 Not Found")), FAL_STATE_RETRY, false, "not_found"},
		{"404, empty", ANSWER(404, ""), FAL_STATE_RETRY, false, "not_found"},
		{"405", ANSWER(405, "{\"detail\":\"Method Not Allowed\"}"), FAL_STATE_RETRY, false, "method_not_allowed"},
		{"401", ANSWER(401, NO_USER), FAL_STATE_DENIED, false, "unauthorized"},
		{"403", ANSWER(403, LOCKED), FAL_STATE_DENIED, false, "forbidden"},
		{"429", ANSWER(429, ""), FAL_STATE_RETRY, false, "http_429"},
		{"500", ANSWER(500, "{\"detail\":\"x\"}"), FAL_STATE_RETRY, false, "http_500"},
		{"502", ANSWER(502, NGINX_502), FAL_STATE_RETRY, false, "http_502"},
		{"302", ANSWER(302, ""), FAL_STATE_RETRY, false, "redirected"},
		{"lost", NO_ANSWER(HTTP_LOST), FAL_STATE_RETRY, false, "connection_lost"},
		{"not sent", NO_ANSWER(HTTP_NOT_SENT), FAL_STATE_RETRY, false, "connect_failed"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		FalStatus out;

		FalJudgeStatus(&cases[i].reply, NOW, &out);
		CheckNumber(cases[i].name, "state", out.state, cases[i].state);
		CheckNumber(cases[i].name, "has error", out.has_error, cases[i].has_error);
		CheckText(cases[i].name, "type", out.error.type, cases[i].type);
		CheckNumber(cases[i].name, "has a message", out.error.message[0] != '\0', cases[i].type[0] != '\0');
	}
}

#define MP4 "https://v3b.fal.media/files/b/0a99d90a/x_output.mp4"

static void
TestResult(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		FalResultOutcome outcome;
		const char *type; /* or, for a video, its URL */
	} cases[] = {
		{"video", ANSWER(200, "{\"video\":{\"url\":\"" MP4 "\",\"content_type\":\"video/mp4\",\"file_name\":\"output.mp4\","
							  "\"file_size\":3096422}}"),
		 FAL_RESULT_VIDEO, MP4},
		{"video, url only", ANSWER(200, "{\"video\":{\"url\":\"" MP4 "\",\"content_type\":null},\"seed\":1}"), FAL_RESULT_VIDEO, MP4},
		{"video array", ANSWER(200, "{\"video\":[{\"url\":\"" MP4 "\"},{\"url\":\"http://b\"}]}"), FAL_RESULT_VIDEO, MP4},
		{"video_url", ANSWER(200, "{\"video_url\":\"" MP4 "\"}"), FAL_RESULT_VIDEO, MP4},
		{"video_url.url", ANSWER(200, "{\"video_url\":{\"url\":\"" MP4 "\"}}"), FAL_RESULT_VIDEO, MP4},
		{"videos", ANSWER(200, "{\"videos\":[{\"url\":\"" MP4 "\"}]}"), FAL_RESULT_VIDEO, MP4},
		{"preview", ANSWER(200, "{\"preview_video\":{\"url\":\"" MP4 "\"}}"), FAL_RESULT_VIDEO, MP4},
		{"order", ANSWER(200, "{\"preview_video\":{\"url\":\"http://p\"},\"video\":{\"url\":\"" MP4 "\"}}"), FAL_RESULT_VIDEO, MP4},
		{"fallback past null", ANSWER(200, "{\"video\":null,\"video_url\":\"" MP4 "\"}"), FAL_RESULT_VIDEO, MP4},
		{"plain http", ANSWER(200, "{\"video\":{\"url\":\"http://127.0.0.1:9000/a.mp4\"}}"), FAL_RESULT_VIDEO,
		 "http://127.0.0.1:9000/a.mp4"},
		{"data URI", ANSWER(200, "{\"video\":{\"url\":\"data:video/mp4;base64,AAAA\"}}"), FAL_RESULT_FAILED, "unsupported_output"},
		{"ftp", ANSWER(200, "{\"video\":{\"url\":\"ftp://x/y\"}}"), FAL_RESULT_FAILED, "unsupported_output"},
		{"blank in url", ANSWER(200, "{\"video\":{\"url\":\"https://x/a b.mp4?c=d e\"}}"), FAL_RESULT_VIDEO, "https://x/a%20b.mp4?c=d%20e"},
		{"letters in url", ANSWER(200, "{\"video\":{\"url\":\"https://x/\xc3\xa4\\u00e4%20%C3.mp4\"}}"), FAL_RESULT_VIDEO,
		 "https://x/%C3%A4%C3%A4%20%C3.mp4"},
		{"white space around url", ANSWER(200, "{\"video\":{\"url\":\" \\t" MP4 "\\r\\n\"}}"), FAL_RESULT_VIDEO, MP4},
		{"white space around bare url", ANSWER(200, "{\"video\":\"\\n" MP4 " \"}"), FAL_RESULT_VIDEO, MP4},
		{"blank in the host", ANSWER(200, "{\"video\":{\"url\":\"https://x y/a\"}}"), FAL_RESULT_FAILED, "unsupported_output"},
		{"letters in the host", ANSWER(200, "{\"video\":{\"url\":\"https://\xc3\xa4/a\"}}"), FAL_RESULT_FAILED, "unsupported_output"},
		{"only blanks", ANSWER(200, "{\"video\":{\"url\":\"  \"}}"), FAL_RESULT_FAILED, "unsupported_output"},
		{"newline in url", ANSWER(200, "{\"video\":{\"url\":\"https://x/a\\r\\nb\"}}"), FAL_RESULT_FAILED, "unsupported_output"},
		{"no video", ANSWER(200, "{\"images\":[{\"url\":\"https://x/y.png\"}]}"), FAL_RESULT_FAILED, "no_video"},
		{"empty url", ANSWER(200, "{\"video\":{\"url\":\"\"}}"), FAL_RESULT_FAILED, "no_video"},
		{"url is a number", ANSWER(200, "{\"video\":{\"url\":1}}"), FAL_RESULT_FAILED, "no_video"},
		{"not an object", ANSWER(200, "[]"), FAL_RESULT_FAILED, "no_video"},
		{"error with 200", ANSWER(200, "{\"detail\":\"x\",\"error_type\":\"internal_error\"}"), FAL_RESULT_FAILED, "internal_error"},
		{"status object", ANSWER(202, QUEUED), FAL_RESULT_NOT_READY, "not_ready"},
		{"status object with a file", ANSWER(200, "{\"status\":\"IN_PROGRESS\",\"preview\":\"" MP4 "\"}"), FAL_RESULT_NOT_READY, "not_ready"},
		{"2xx, HTML", ANSWER(200, HTML("x")), FAL_RESULT_RETRY, "bad_response"},
		{"2xx, cut", ANSWER(200, "{\"video\":{\"url\":\"https://v3"), FAL_RESULT_RETRY, "bad_response"},
		{"204", ANSWER(204, ""), FAL_RESULT_RETRY, "bad_response"},
		{"in progress", ANSWER(400, "{\"detail\":\"Request is still in progress\"," URLS "}"), FAL_RESULT_NOT_READY, "not_ready"},
		{"in progress, other words", ANSWER(400, "{\"detail\":\"wait\",\"status_url\":\"https://x\"}"), FAL_RESULT_NOT_READY, "not_ready"},
		{"400 with id and type", ANSWER(400, "{\"detail\":\"x\",\"error_type\":\"bad_request\"," URLS "}"), FAL_RESULT_FAILED,
		 "bad_request"},
		{"400 of a model", ANSWER(400, "{\"detail\":[{\"type\":\"downstream_service_error\",\"msg\":\"m\"}]}"), FAL_RESULT_FAILED,
		 "downstream_service_error"},
		{"400, those words only", ANSWER(400, "{\"detail\":\"Request is still in progress\"}"), FAL_RESULT_FAILED, "http_400"},
		{"400, bare", ANSWER(400, HTML("400 Bad Request")), FAL_RESULT_RETRY, "http_400"},
		{"401", ANSWER(401, NO_USER), FAL_RESULT_DENIED, "unauthorized"},
		{"403", ANSWER(403, LOCKED), FAL_RESULT_DENIED, "forbidden"},
		{"wrong path", ANSWER(404, "{\"detail\":\"Path /video-01/text-to-video not found\"}"), FAL_RESULT_FAILED, "path_not_found"},
		{"gone", ANSWER(404, "{\"detail\":\"Request not found\"}"), FAL_RESULT_GONE, "not_found"},
		{"gone, status form", ANSWER(404, "{\"status\":\"NOT_FOUND\"}"), FAL_RESULT_GONE, "not_found"},
		{"gone, not quite a path", ANSWER(404, "{\"detail\":\"path /x not found\"}"), FAL_RESULT_GONE, "not_found"},
		{"404, HTML", ANSWER(404, HTML("404 Not Found")), FAL_RESULT_RETRY, "not_found"},
		{"405", ANSWER(405, "{\"detail\":\"Method Not Allowed\"}"), FAL_RESULT_RETRY, "method_not_allowed"},
		{"408", ANSWER(408, "{\"detail\":\"x\"}"), FAL_RESULT_RETRY, "http_408"},
		{"429", ANSWER(429, "{\"detail\":\"x\"}"), FAL_RESULT_RETRY, "http_429"},
		{"422", ANSWER(422, MISSING), FAL_RESULT_FAILED, "missing"},
		{"policy", ANSWER(422, POLICY, .fal_retryable = "false"), FAL_RESULT_FAILED, "content_policy_violation"},
		{"422, string", ANSWER(422, "{\"detail\":\"x\"}"), FAL_RESULT_FAILED, "validation_error"},
		{"499", ANSWER(499, "{\"detail\":\"x\",\"error_type\":\"client_disconnected\"}"), FAL_RESULT_FAILED, "client_disconnected"},
		{"499, bare", ANSWER(499, ""), FAL_RESULT_FAILED, "client_cancelled"},
		{"500 of fal", ANSWER(500, "{\"detail\":\"x\",\"error_type\":\"runner_server_error\"}"), FAL_RESULT_FAILED, "runner_server_error"},
		{"500 of a model", ANSWER(500, "{\"detail\":[{\"type\":\"internal_server_error\",\"msg\":\"m\"}]}"), FAL_RESULT_FAILED,
		 "internal_server_error"},
		{"503 of fal, string", ANSWER(503, "{\"detail\":\"x\"}"), FAL_RESULT_FAILED, "http_503"},
		{"504, our start timeout", ANSWER(504, "{\"detail\":\"Request timed out\",\"error_type\":\"request_timeout\"}", .fal_timeout_type = "User"), FAL_RESULT_FAILED, "start_timeout"},
		{"502 of a gateway", ANSWER(502, NGINX_502), FAL_RESULT_RETRY, "http_502"},
		{"504 of a gateway", ANSWER(504, HTML("504 Gateway Time-out"), .fal_request_id = ID), FAL_RESULT_RETRY, "http_504"},
		{"500, bare JSON", ANSWER(500, "{\"message\":\"x\"}"), FAL_RESULT_RETRY, "http_500"},
		{"302", ANSWER(302, "{\"detail\":\"x\"}"), FAL_RESULT_RETRY, "redirected"},
		{"lost", NO_ANSWER(HTTP_LOST, .timed_out = true), FAL_RESULT_RETRY, "timeout"},
		{"too large", NO_ANSWER(HTTP_TOO_LARGE), FAL_RESULT_RETRY, "response_too_large"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		FalResult out;

		FalJudgeResult(&cases[i].reply, NULL, NOW, &out);
		CheckNumber(cases[i].name, "result", out.outcome, cases[i].outcome);
		CheckText(cases[i].name, "type or url", out.outcome == FAL_RESULT_VIDEO ? out.video.url : out.error.type, cases[i].type);
		CheckNumber(cases[i].name, "has url", out.video.url[0] != '\0', out.outcome == FAL_RESULT_VIDEO);
		CheckNumber(cases[i].name, "has a message", out.error.message[0] != '\0', out.outcome != FAL_RESULT_VIDEO);
	}
}

#define TIMES4(a) a a a a
#define DEEP(open, inner, close) TIMES4(TIMES4("" open open)) inner TIMES4(TIMES4(close close))
#define FILE_OF(url, type) "{\"url\":\"" url "\",\"content_type\":\"" type "\",\"file_name\":\"x\",\"file_size\":7}"
#define PNG FILE_OF("https://v3.fal.media/x.png", "image/png")

/* outputs of workflows, Comfy graphs and own apps: no place is known */
static void
TestSearchedResult(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		const char *url; /* or "": the message is as follows */
		const char *message;
	} cases[] = {
		{"another name", ANSWER(200, "{\"output\":" FILE_OF(MP4, "video/mp4") "}"), MP4, ""},
		{"wrapped", ANSWER(200, "{\"output\":{\"video\":" FILE_OF(MP4, "video/mp4") "}}"), MP4, ""},
		{"a wrapped URL", ANSWER(200, "{\"data\":{\"video_url\":\"" MP4 "?x=1\"}}"), MP4 "?x=1", ""},
		{"a list of URLs", ANSWER(200, "{\"outputs\":[\"" MP4 "\"]}"), MP4, ""},
		{"a root that is a list", ANSWER(200, "[" PNG "," FILE_OF(MP4, "video/mp4") "]"), MP4, ""},
		{"a root that is a file", ANSWER(200, FILE_OF(MP4, "video/mp4")), MP4, ""},
		{"a root that is a URL", ANSWER(200, "\"" MP4 "\""), MP4, ""},
		{"a Comfy graph", ANSWER(200, "{\"outputs\":{\"9\":{\"images\":[" PNG "]},\"14\":{\"gifs\":[{\"filename\":\"a.mp4\",\"url\":\"https://v3.fal.media/14\"}]}}}"),
		 "https://v3.fal.media/14", ""},
		{"the second of videos", ANSWER(200, "{\"videos\":[null," FILE_OF(MP4, "video/mp4") "]}"), MP4, ""},
		{"by its type only", ANSWER(200, "{\"result\":" FILE_OF("https://v3.fal.media/x", "video/webm") "}"), "https://v3.fal.media/x", ""},
		{"by its ending only", ANSWER(200, "{\"result\":" FILE_OF("https://v3.fal.media/x.WEBM", "application/octet-stream") "}"), "https://v3.fal.media/x.WEBM", ""},
		{"a type that is not a video's", ANSWER(200, "{\"result\":" FILE_OF(MP4, "image/png") ",\"a\":1}"), "", "fields: result, a"},
		{"several: the named one", ANSWER(200, "{\"clip\":\"https://x/a.mp4\",\"final_video\":\"" MP4 "\",\"video2\":\"https://x/b.mp4\"}"), MP4, ""},
		{"several: the first", ANSWER(200, "{\"clips\":[\"" MP4 "\",\"https://x/b.mp4\"]}"), MP4, ""},
		{"beside the input", ANSWER(200, "{\"input\":{\"video_url\":\"https://x/a.mp4\"},\"out\":\"" MP4 "\"}"), MP4, ""},
		{"only the input", ANSWER(200, "{\"inputs\":{\"video_url\":\"https://x/a.mp4\"}}"), "", "contains no video, but has the fields: inputs"},
		{"beside an error", ANSWER(200, "{\"video\":null,\"error\":\"out of memory\",\"log\":\"https://x/a.mp4\"}"), "", "contains no video: out of memory"},
		{"beside no error", ANSWER(200, "{\"o\":\"" MP4 "\",\"error\":{\"code\":0,\"message\":\"\"},\"errors\":[ null, { } ]}"), MP4, ""},
		{"beside a detail", ANSWER(200, "{\"o\":\"" MP4 "\",\"detail\":\"high\"}"), MP4, ""},
		{"in its place beside an error", ANSWER(200, "{\"video\":\"" MP4 "\",\"error\":\"low quality\"}"), MP4, ""},
		{"a message", ANSWER(200, "{\"video\":null,\"message\":\"nothing moved\"}"), "", "contains no video: nothing moved"},
		{"errors", ANSWER(200, "{\"video\":null,\"errors\":[{\"message\":\"no face\"}]}"), "", "contains no video: no face"},
		{"an ending in the query", ANSWER(200, "{\"page\":\"https://x/a?b=c.mp4\"}"), "", "fields: page"},
		{"too deep", ANSWER(200, "{\"a\":" DEEP("[", "[\"" MP4 "\"]", "]") "}"), "", "fields: a"},
		{"beside something deep", ANSWER(200, "{\"a\":" DEEP("[", "7", "]") ",\"video\":\"" MP4 "\"}"), MP4, ""},
		{"nothing", ANSWER(200, "{}"), "", "the model's output contains no video"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		FalResult out;

		FalJudgeResult(&cases[i].reply, NULL, NOW, &out);
		CheckText(cases[i].name, "url", out.video.url, cases[i].url);
		CheckPart(cases[i].name, "message", out.error.message, cases[i].message);
		CheckNumber(cases[i].name, "result", out.outcome, cases[i].url[0] ? FAL_RESULT_VIDEO : FAL_RESULT_FAILED);
		CheckText(cases[i].name, "type", out.error.type, cases[i].url[0] ? "" : "no_video");
	}
}

/* an error in any of the forms that own apps give it */
static void
TestOwnWords(void)
{
	static const struct
	{
		const char *body;
		const char *message;
	} cases[] = {
		{"{\"detail\":\"words\"}", "words"},
		{"{\"detail\":[\"some\",\"words\"]}", "some; words"},
		{"{\"detail\":{\"message\":\"words\",\"code\":7}}", "words"},
		{"{\"detail\":{\"error\":\"words\"}}", "words"},
		{"{\"detail\":{\"code\":7}}", "{\"code\":7}"},
		{"{\"errors\":[\"some\",{\"message\":\"words\"}]}", "some; words"},
		{"{\"errors\":[[7]]}", "[[7]]"},
		{"{\"errors\":{\"msg\":\"words\"}}", "words"},
		{"{\"error\":\"words\"}", "words"},
		{"{\"error\":{\"message\":\"words\"}}", "words"},
		{"{\"error\":[\"words\"]}", "words"},
		{"{\"message\":\"words\"}", "words"},
		{"{\"detail\":[ ],\"error\":{\"code\":0},\"errors\":[\"words\"]}", "words"},
		{"{\"errors\":[[false,-0.0,\"\",7]]}", "[[false,-0.0,\"\",7]]"},
		{"{\"errors\":[{\"fatal\":true}]}", "[{\"fatal\":true}]"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		HttpReply reply = {.outcome = HTTP_ANSWERED, .status = 400, .body = cases[i].body, .body_len = strlen(cases[i].body)};
		FalResult out;

		FalJudgeResult(&reply, NULL, NOW, &out);
		CheckNumber(cases[i].body, "a 400 is final", out.outcome, FAL_RESULT_FAILED);
		CheckText(cases[i].body, "message", out.error.message, cases[i].message);
		reply.status = 422;
		FalJudgeResult(&reply, NULL, NOW, &out);
		CheckText(cases[i].body, "message of a 422", out.error.message, cases[i].message);
	}
}

/* which words of fal's may be shown to the app's user: those about a field, in a 422 */
static void
TestObjections(void)
{
	static const struct
	{
		int status;
		const char *body;
		const char *objection;
	} cases[] = {
		{422, MISSING, "prompt: Field required"},
		{422, "{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"not like that\",\"type\":\"x\"}]}", "not like that"},
		{422, "{\"detail\":[{\"loc\":[\"body\",\"prompt\"],\"msg\":\"see example.com\",\"type\":\"x\"}]}", ""},
		{422, "{\"detail\":[{\"loc\":[\"body\",\"prompt\"],\"msg\":\" a\\nb \",\"type\":\"x\"}]}", "prompt: a b"},
		{422, "{\"detail\":\"wrong\"}", ""},
		{422, "wrong", ""},
		{422, "", ""},
		{422, "{\"error\":\"wrong\",\"message\":\"wrong\",\"error_type\":\"content_policy_violation\"}", ""},
		{400, MISSING, ""},
		{500, MISSING, ""},
		{401, MISSING, ""},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		HttpReply reply = {.outcome = HTTP_ANSWERED, .status = cases[i].status, .body = cases[i].body, .body_len = strlen(cases[i].body)};
		FalSubmit submit;
		FalResult result;

		FalJudgeSubmit(&reply, NOW, &submit);
		CheckText(cases[i].body, "objection to a submit", submit.error.objection, cases[i].objection);
		FalJudgeResult(&reply, NULL, NOW, &result);
		CheckText(cases[i].body, "objection in a result", result.error.objection, cases[i].objection);
	}
}

/* how many units fal says that it bills: a plain decimal number, or nothing */
static void
TestBillableUnits(void)
{
	static const struct
	{
		const char *header;
		const char *units;
	} cases[] = {
		{"", ""},
		{"0", "0"},
		{"1", "1"},
		{"6.25", "6.25"},
		{"0.000000001", "0.000000001"},
		{"999999999.999999999", "999999999.999999999"},
		{"1000000000", ""},
		{"0.0000000001", ""},
		{"1.", ""},
		{".5", ""},
		{"-1", ""},
		{"+1", ""},
		{"1e3", ""},
		{"1,5", ""},
		{"1 2", ""},
		{"0x10", ""},
		{"NaN", ""},
		{"Infinity", ""},
		{"1.2.3", ""},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		static const int statuses[] = {200, 422};

		for (size_t n = 0; n < lengthof(statuses); n++)
		{
			HttpReply reply = {.outcome = HTTP_ANSWERED, .status = statuses[n], .body = MISSING, .body_len = strlen(MISSING)};
			FalResult result;

			strcpy(reply.fal_billable_units, cases[i].header);
			FalJudgeResult(&reply, NULL, NOW, &result);
			CheckText(cases[i].header, "billable units", result.billable_units, cases[i].units);
		}
	}
}

/* an output that is larger than we read: what came of it counts */
static void
TestLargeResult(void)
{
	static const struct
	{
		const char *name;
		const char *body;
		FalResultOutcome outcome;
		const char *url; /* or the error's type */
	} cases[] = {
		{"beside the url", "{\"video\":{\"url\":\"" MP4 "\"},\"mask\":\"AAAA", FAL_RESULT_VIDEO, MP4},
		{"beside the url, in its object", "{\"video\":{\"url\":\"" MP4 "\",\"data\":\"AAAA", FAL_RESULT_VIDEO, MP4},
		{"cut in a letter", "{\"video\":{\"url\":\"" MP4 "\"},\"text\":\"\xe2\x82", FAL_RESULT_VIDEO, MP4},
		{"cut in the url", "{\"video\":{\"url\":\"https://v3b.fal.media/files/a.mp4", FAL_RESULT_FAILED, "response_too_large"},
		{"a data URI", "{\"video\":{\"url\":\"data:video/mp4;base64,AAAA", FAL_RESULT_FAILED, "unsupported_output"},
		{"a page", "<html>", FAL_RESULT_RETRY, "response_too_large"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		HttpReply reply = {.outcome = HTTP_TOO_LARGE, .status = 200, .body = cases[i].body, .body_len = strlen(cases[i].body)};
		FalResult out;

		FalJudgeResult(&reply, NULL, NOW, &out);
		CheckNumber(cases[i].name, "result", out.outcome, cases[i].outcome);
		CheckText(cases[i].name, "url or type", out.outcome == FAL_RESULT_VIDEO ? out.video.url : out.error.type, cases[i].url);
		CheckTrue(cases[i].name, "has a message", (out.error.message[0] != '\0') || out.outcome == FAL_RESULT_VIDEO);
	}
}

static void
TestResultDetails(void)
{
	static const HttpReply bare = ANSWER(504, HTML("504 Gateway Time-out"));
	static const HttpReply gone = ANSWER(404, "{\"detail\":\"Request not found\"}");
	static const HttpReply lost = NO_ANSWER(HTTP_LOST);
	static const FalError failed = {.http = 200, .type = "runner_disconnected", .message = "m", .retry_after = -1};
	HttpReply video = ANSWER(200, "{\"video\":{\"url\":\"" MP4 "\",\"content_type\":\"video/mp4\",\"file_size\":3096422}}");
	HttpReply unsized = ANSWER(200, "{\"video\":{\"url\":\"" MP4 "\",\"file_size\":null}}");
	char long_url[10000];
	FalResult out;

	FalJudgeResult(&video, &failed, NOW, &out);
	CheckNumber("video after an error", "result", out.outcome, FAL_RESULT_VIDEO);
	CheckText("video", "content type", out.video.content_type, "video/mp4");
	CheckNumber("video", "size", out.video.file_size, 3096422);
	FalJudgeResult(&unsized, NULL, NOW, &out);
	CheckText("unsized", "content type", out.video.content_type, "");
	CheckNumber("unsized", "size", out.video.file_size, -1);

	FalJudgeResult(&bare, &failed, NOW, &out);
	CheckNumber("bare 504 after an error", "result", out.outcome, FAL_RESULT_FAILED);
	CheckText("bare 504 after an error", "type", out.error.type, "runner_disconnected");
	FalJudgeResult(&gone, &failed, NOW, &out);
	CheckNumber("gone after an error", "result", out.outcome, FAL_RESULT_GONE);
	FalJudgeResult(&lost, &failed, NOW, &out);
	CheckNumber("lost after an error", "result", out.outcome, FAL_RESULT_RETRY);

	snprintf(long_url, sizeof(long_url), "{\"video\":{\"url\":\"https://x/%08182d\"}}", 1);
	video.body = long_url;
	video.body_len = strlen(long_url);
	FalJudgeResult(&video, NULL, NOW, &out);
	CheckNumber("8 kB of url", "result", out.outcome, FAL_RESULT_VIDEO);
	CheckNumber("8 kB of url", "length", strlen(out.video.url), 8192);

	snprintf(long_url, sizeof(long_url), "{\"video\":{\"url\":\"https://x/%08183d\"}}", 1);
	video.body = long_url;
	video.body_len = strlen(long_url);
	FalJudgeResult(&video, NULL, NOW, &out);
	CheckText("url too long", "type", out.error.type, "unsupported_output");
}

static void
TestCancel(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		FalCancelOutcome outcome;
	} cases[] = {
		{"requested", ANSWER(202, "{\"status\":\"CANCELLATION_REQUESTED\"}"), FAL_CANCEL_ACCEPTED},
		{"removed", ANSWER(200, "{\"status\":\"OK\"}"), FAL_CANCEL_ACCEPTED},
		{"success", ANSWER(200, "{\"success\":true}"), FAL_CANCEL_ACCEPTED},
		{"no body", ANSWER(204, ""), FAL_CANCEL_ACCEPTED},
		{"success, but a page", ANSWER(200, HTML("200")), FAL_CANCEL_RETRY},
		{"success, but cut", ANSWER(202, "{\"status\":\"CANCELLATION_REQ"), FAL_CANCEL_RETRY},
		{"too late", ANSWER(400, "{\"status\":\"ALREADY_COMPLETED\"}"), FAL_CANCEL_TOO_LATE},
		{"400", ANSWER(400, "{\"detail\":\"x\"}"), FAL_CANCEL_RETRY},
		{"gone", ANSWER(404, "{\"status\":\"NOT_FOUND\"}"), FAL_CANCEL_GONE},
		{"404, HTML", ANSWER(404, HTML("404")), FAL_CANCEL_RETRY},
		{"401", ANSWER(401, NO_USER), FAL_CANCEL_DENIED},
		{"403", ANSWER(403, LOCKED), FAL_CANCEL_DENIED},
		{"502", ANSWER(502, NGINX_502), FAL_CANCEL_RETRY},
		{"429", ANSWER(429, ""), FAL_CANCEL_RETRY},
		{"lost", NO_ANSWER(HTTP_LOST), FAL_CANCEL_RETRY},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		FalCancel out;

		FalJudgeCancel(&cases[i].reply, NOW, &out);
		CheckNumber(cases[i].name, "cancel", out.outcome, cases[i].outcome);
		CheckNumber(cases[i].name, "has a type", out.error.type[0] != '\0', out.outcome != FAL_CANCEL_ACCEPTED);
	}
}

static void
TestErase(void)
{
	static const struct
	{
		const char *name;
		HttpReply reply;
		FalEraseOutcome outcome;
	} cases[] = {
		{"done", ANSWER(200, "{\"cdn_delete_results\":[{\"link\":\"https://v3.fal.media/a.mp4\",\"exception\":null}]}"), FAL_ERASE_DONE},
		{"no files", ANSWER(200, "{\"cdn_delete_results\":[]}"), FAL_ERASE_DONE},
		{"a file is left", ANSWER(200, "{\"cdn_delete_results\":[{\"link\":\"a\",\"exception\":null},{\"link\":\"b\",\"exception\":\"x\"}]}"), FAL_ERASE_RETRY},
		{"a file is left, as an object", ANSWER(200, "{\"cdn_delete_results\":[{\"link\":\"a\",\"exception\":{\"type\":\"x\"}}]}"), FAL_ERASE_RETRY},
		{"not what it says", ANSWER(200, "{\"cdn_delete_results\":[1]}"), FAL_ERASE_RETRY},
		{"other JSON", ANSWER(200, "{}"), FAL_ERASE_RETRY},
		{"a page", ANSWER(200, HTML("200")), FAL_ERASE_RETRY},
		{"cut", ANSWER(200, "{\"cdn_delete_results\":[{\"link\":\"a\",\"exception\":null}"), FAL_ERASE_RETRY},
		{"gone", ANSWER(404, "{\"error\":{\"type\":\"not_found\",\"message\":\"Request not found\"}}"), FAL_ERASE_GONE},
		{"gone, in other words", ANSWER(404, "{\"detail\":\"Request not found\"}"), FAL_ERASE_GONE},
		{"no such path", ANSWER(404, "{\"detail\":\"Not Found\"}"), FAL_ERASE_RETRY},
		{"404, HTML", ANSWER(404, HTML("404")), FAL_ERASE_RETRY},
		{"401", ANSWER(401, "{\"error\":{\"type\":\"authorization_error\",\"message\":\"x\"}}"), FAL_ERASE_DENIED},
		{"403", ANSWER(403, "{\"error\":{\"type\":\"authorization_error\",\"message\":\"x\"}}"), FAL_ERASE_DENIED},
		{"429", ANSWER(429, ""), FAL_ERASE_RETRY},
		{"502", ANSWER(502, NGINX_502), FAL_ERASE_RETRY},
		{"lost", NO_ANSWER(HTTP_LOST), FAL_ERASE_RETRY},
	};
	char url[FAL_URL_SIZE];

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		FalErase out;
		bool erased;

		FalJudgeErase(&cases[i].reply, NOW, &out);
		erased = (out.outcome == FAL_ERASE_DONE);
		CheckNumber(cases[i].name, "erase", out.outcome, cases[i].outcome);
		CheckNumber(cases[i].name, "has a type", out.error.type[0] != '\0', !erased);
		CheckNumber(cases[i].name, "has words", out.error.message[0] != '\0', !erased);
	}
	CheckTrue("erase", "url", FalEraseUrl("https://api.fal.ai/v1", "01a-b", url, sizeof(url)));
	CheckText("erase", "url", url, "https://api.fal.ai/v1/models/requests/01a-b/payloads");
	CheckTrue("erase", "no id", !FalEraseUrl("https://api.fal.ai/v1", "a/../b", url, sizeof(url)));
	CheckTrue("erase", "does not fit", !FalEraseUrl("https://api.fal.ai/v1", "01a-b", url, 40));
}

typedef struct Seen
{
	int count;
	int enough;
	char text[512];
} Seen;

static bool
SeeItem(const FalListItem *item, void *arg)
{
	Seen *seen = arg;
	size_t used = strlen(seen->text);

	snprintf(seen->text + used, sizeof(seen->text) - used, "%s|%s|%s|%d|%.*s\n", item->request_id, item->sent_at,
			 item->ended_at, item->status_code, (int) item->input_len, item->input != NULL ? item->input : "");
	return ++seen->count != seen->enough;
}

static void
TestList(void)
{
	static const struct
	{
		const char *name;
		const char *body;
		int enough;
		bool is_list;
		const char *seen;
		const char *cursor;
	} cases[] = {
		{"two", "{\"items\":[{\"request_id\":\"a1\",\"endpoint_id\":\"x\",\"sent_at\":\"2026-01-02T03:04:05Z\",\"ended_at\":null,"
				"\"status_code\":200,\"json_input\":{\"prompt\" : \"p\\u00e9\"},\"json_output\":{}},{\"request_id\":\"b2\",\"sent_at\":\"t\","
				"\"json_input\":null}],\"next_cursor\":\"c9\",\"has_more\":true}",
		 0, true,
		 "a1|2026-01-02T03:04:05Z||200|{\"prompt\" : \"p\\u00e9\"}\nb2|t||0|\n", "c9"},
		{"stop", "{\"items\":[{\"request_id\":\"a\"},{\"request_id\":\"b\"}],\"next_cursor\":null}", 1, true, "a|||0|\n", ""},
		{"bad ids skipped", "{\"items\":[{\"request_id\":\"../a\"},{},7,{\"request_id\":\"b\"}]}", 0, true, "b|||0|\n", ""},
		{"input jsonb cannot hold", "{\"items\":[{\"request_id\":\"a\",\"json_input\":{\"p\":\"\\u0000\"}}]}", 0, true, "a|||0|\n", ""},
		{"input as text", "{\"items\":[{\"request_id\":\"a\",\"json_input\":\"{}\"}]}", 0, true, "a|||0|\"{}\"\n", ""},
		{"empty", "{\"items\":[],\"next_cursor\":null}", 0, true, "", ""},
		{"no list", "{\"error\":{\"type\":\"x\",\"message\":\"y\"}}", 0, false, "", ""},
		{"items no array", "{\"items\":{},\"next_cursor\":\"c\"}", 0, false, "", ""},
		{"cut", "{\"items\":[{\"request_id\":\"a\"},", 0, false, "", ""},
		{"HTML", HTML("x"), 0, false, "", ""},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		Seen seen = {.enough = cases[i].enough};
		char cursor[16] = "old";

		CheckNumber(cases[i].name, "is a list", FalReadList(cases[i].body, strlen(cases[i].body), SeeItem, &seen, cursor, sizeof(cursor)), cases[i].is_list);
		CheckText(cases[i].name, "seen", seen.text, cases[i].seen);
		CheckText(cases[i].name, "cursor", cursor, cases[i].cursor);
	}
}

static void
TestEndpoints(void)
{
	static const struct
	{
		const char *endpoint;
		const char *app;	/* NULL: invalid */
		const char *submit; /* path, NULL: the endpoint itself */
	} cases[] = {
		{"fal-ai/minimax/video-01/image-to-video", "fal-ai/minimax", NULL},
		{"fal-ai/minimax", "fal-ai/minimax", NULL},
		{"fal-ai/veo3.1", "fal-ai/veo3.1", NULL},
		{"workflows/me/flow/x", "workflows/me/flow", NULL},
		{"workflows/me/flow", "workflows/me/flow", NULL},
		{"comfy/me/flow", "comfy/me/flow", NULL},
		{"12345-my-app", "12345/my-app", "12345/my-app"},
		{"workflows/me", NULL, NULL},
		{"comfy/x", NULL, NULL},
		{"minimax", NULL, NULL},
		{"123-", NULL, NULL},
		{"-app", NULL, NULL},
		{"", NULL, NULL},
		{"/a/b", NULL, NULL},
		{"a//b", NULL, NULL},
		{"a/b/", NULL, NULL},
		{"a/../b", NULL, NULL},
		{"a/./b", NULL, NULL},
		{"a/b?c", NULL, NULL},
		{"a/b#c", NULL, NULL},
		{"a/b c", NULL, NULL},
		{"a/%2e%2e", NULL, NULL},
		{"https://x/y", NULL, NULL},
		{"a/b\303\251", NULL, NULL},
		{"a/b\n", NULL, NULL},
	};
	char long_endpoint[FAL_PATH_SIZE + 2];
	char small[10];

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		const char *endpoint = cases[i].endpoint;
		bool valid = cases[i].app != NULL;
		char out[512];
		char wanted[512];

		CheckNumber(endpoint, "is valid", FalEndpointIsValid(endpoint), valid);
		CheckNumber(endpoint, "has app path", FalAppPath(endpoint, out, sizeof(out)), valid);
		if (valid)
			CheckText(endpoint, "app path", out, cases[i].app);
		CheckNumber(endpoint, "has submit url", FalSubmitUrl(BASE, endpoint, NULL, out, sizeof(out)), valid);
		if (valid)
		{
			snprintf(wanted, sizeof(wanted), BASE "/%s", cases[i].submit != NULL ? cases[i].submit : endpoint);
			CheckText(endpoint, "submit url", out, wanted);
		}
	}

	memset(long_endpoint, 'a', sizeof(long_endpoint));
	long_endpoint[1] = '/';
	long_endpoint[FAL_PATH_SIZE] = '\0';
	CheckTrue("endpoint", "too long", !FalEndpointIsValid(long_endpoint));
	long_endpoint[FAL_PATH_SIZE - 1] = '\0';
	CheckTrue("endpoint", "longest", FalEndpointIsValid(long_endpoint));
	CheckTrue("app path", "too small a buffer", !FalAppPath("fal-ai/minimax", small, sizeof(small)));
}

static void
TestUrls(void)
{
	static const struct
	{
		FalCall call;
		const char *url;
	} calls[] = {
		{FAL_CALL_STATUS, BASE "/fal-ai/minimax/requests/" ID "/status"},
		{FAL_CALL_RESULT, BASE "/fal-ai/minimax/requests/" ID},
		{FAL_CALL_CANCEL, BASE "/fal-ai/minimax/requests/" ID "/cancel"},
	};
	static const char *const bad_ids[] = {"", ".", "..", ".a", "a/b", "a?b", "a b", "a%2e", "a\n", "\303\251"};
	static const char endpoint[] = "fal-ai/minimax/video-01";
	char out[512];

	for (size_t i = 0; i < lengthof(calls); i++)
	{
		CheckTrue(calls[i].url, "built", FalRequestUrl(BASE, endpoint, ID, calls[i].call, out, sizeof(out)));
		CheckText(calls[i].url, "url", out, calls[i].url);
		CheckTrue(calls[i].url, "just fits", FalRequestUrl(BASE, endpoint, ID, calls[i].call, out, strlen(calls[i].url) + 1));
		CheckTrue(calls[i].url, "does not fit", !FalRequestUrl(BASE, endpoint, ID, calls[i].call, out, strlen(calls[i].url)));
	}
	for (size_t i = 0; i < lengthof(bad_ids); i++)
	{
		CheckTrue(bad_ids[i], "id is refused", !FalRequestIdIsValid(bad_ids[i]));
		CheckTrue(bad_ids[i], "no url", !FalRequestUrl(BASE, endpoint, bad_ids[i], FAL_CALL_RESULT, out, sizeof(out)));
	}
	CheckTrue("id", "is valid", FalRequestIdIsValid(ID));
	CheckTrue("base", "with slash", !FalRequestUrl(BASE "/", endpoint, ID, FAL_CALL_RESULT, out, sizeof(out)));

	CheckTrue("webhook", "built", FalSubmitUrl(BASE, endpoint, "https://x.y/rest/v1/rpc/f?apikey=a&t=b c", out, sizeof(out)));
	CheckText("webhook", "url", out, BASE "/fal-ai/minimax/video-01?fal_webhook="
										  "https%3A%2F%2Fx.y%2Frest%2Fv1%2Frpc%2Ff%3Fapikey%3Da%26t%3Db%20c");
	CheckTrue("webhook", "empty", FalSubmitUrl(BASE, endpoint, "", out, sizeof(out)));
	CheckText("webhook", "empty", out, BASE "/fal-ai/minimax/video-01");
	CheckTrue("webhook", "does not fit", !FalSubmitUrl(BASE, endpoint, "https://x", out, 60));
}

static void
TestPlatformUrls(void)
{
	static const struct
	{
		const char *what;
		const char *query[6];
		int n;
		const char *url; /* NULL: refused */
	} cases[] = {
		{"pricing", {"endpoint_id", "fal-ai/minimax/video-01"}, 2, BASE "/models/pricing?endpoint_id=fal-ai%2Fminimax%2Fvideo-01"},
		{"models", {"expand", "openapi-3.0", "endpoint_id", "fal-ai/veo3.1", "endpoint_id", "bytedance/x"}, 6, BASE "/models?expand=openapi-3.0&endpoint_id=fal-ai%2Fveo3.1&endpoint_id=bytedance%2Fx"},
		{"usage", {"start", "2026-11-30T00:00:00Z", "cursor", "a b&c=d"}, 4, BASE "/models/usage?start=2026-11-30T00%3A00%3A00Z&cursor=a%20b%26c%3Dd"},
		{"billing-events", {"cursor", ""}, 2, BASE "/models/billing-events?cursor="},
		{"billing", {NULL}, 0, BASE "/account/billing"},
		{"keys", {NULL}, 0, NULL},
		{"", {NULL}, 0, NULL},
		{"billing", {"expand"}, 1, NULL},
		{"billing", {"", "x"}, 2, NULL},
		{"billing", {"a=b&c", "x"}, 2, NULL},
		{"pricing", {"endpoint_id", ""}, 2, NULL},
		{"pricing", {"endpoint_id", "video-01"}, 2, NULL},
		{"pricing", {"endpoint_id", "a/b&c=d"}, 2, NULL},
		{"pricing", {"endpoint_id", "a/../b"}, 2, NULL},
		{"models", {"endpoint_id", "a/b", "endpoint_id", "a/b c"}, 4, NULL},
	};
	char out[512];

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		const char *url = cases[i].url;
		bool built = FalPlatformUrl(BASE, cases[i].what, cases[i].query, cases[i].n, out, sizeof(out));

		CheckTrue(cases[i].what, url ? "built" : "no url", built == (url != NULL));
		if (url == NULL)
			continue;
		CheckText(url, "url", out, url);
		CheckTrue(url, "just fits", FalPlatformUrl(BASE, cases[i].what, cases[i].query, cases[i].n, out, strlen(url) + 1));
		for (size_t size = 0; size <= strlen(url); size++)
			CheckTrue(url, "does not fit", !FalPlatformUrl(BASE, cases[i].what, cases[i].query, cases[i].n, out, size));
	}
	CheckTrue("base", "with slash", !FalPlatformUrl(BASE "/", "billing", NULL, 0, out, sizeof(out)));
}

static void
TestAuthHeader(void)
{
	static const struct
	{
		const char *key;
		const char *header; /* NULL: refused */
	} cases[] = {
		{"id:secret", "Authorization: Key id:secret"},
		{" \tid:secret\r\n", "Authorization: Key id:secret"},
		{"", NULL},
		{" \n", NULL},
		{"id: secret", NULL},
		{"id\r\nX: y", NULL},
		{"id\001", NULL},
		{"cl\303\251", NULL},
		{"0123456789012345678901234567890123456789012345", NULL},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		char out[64];

		CheckNumber(cases[i].key, "key is usable", FalAuthHeader(cases[i].key, out, sizeof(out)), cases[i].header != NULL);
		if (cases[i].header != NULL)
			CheckText(cases[i].key, "header", out, cases[i].header);
	}
}

static void
TestNewAttempts(void)
{
	static const struct
	{
		FalError error;
		bool again;
	} cases[] = {
		{{.type = "runner_disconnected", .http = 503}, true},
		{{.type = "runner_disconnected", .http = 200}, true},
		{{.type = "internal_error", .http = 500}, true},
		{{.type = "internal_server_error", .http = 500}, true},
		{{.type = "generation_timeout", .http = 504}, true},
		{{.type = "startup_timeout", .http = 504}, true},
		{{.type = "request_timeout", .http = 504}, true},
		{{.type = "start_timeout", .http = 504}, false},
		{{.type = "downstream_service_error", .http = 400}, true},
		{{.type = "downstream_service_unavailable", .http = 500}, true},
		{{.type = "content_policy_violation", .http = 422}, false},
		{{.type = "content_policy_violation", .http = 500}, false},
		{{.type = "validation_error", .http = 422}, false},
		{{.type = "client_cancelled", .http = 499}, false},
		{{.type = "client_disconnected", .http = 200}, false},
		{{.type = "path_not_found", .http = 404}, false},
		{{.type = "no_video", .http = 200}, false},
		{{.type = "unsupported_output", .http = 200}, false},
		{{.type = "http_500", .http = 500}, true},
		{{.type = "new_kind", .http = 503}, true},
		{{.type = "new_kind", .http = 422}, false},
		{{.type = "connection_lost", .http = 0}, false},
		{{.type = "content_policy_violation", .http = 422, .retryable = FAL_HINT_YES}, true},
		{{.type = "internal_error", .http = 500, .retryable = FAL_HINT_NO}, false},
	};
	static const struct
	{
		const char *needs_retry;
		const char *retryable;
		FalHint hint;
	} hints[] = {
		{"", "", FAL_HINT_NONE},
		{"1", "", FAL_HINT_YES},
		{"0", "", FAL_HINT_NO},
		{"", "True", FAL_HINT_YES},
		{"", "FALSE", FAL_HINT_NO},
		{"maybe", "", FAL_HINT_NONE},
		{"0", "true", FAL_HINT_NO},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
		CheckNumber(cases[i].error.type, "new attempt", FalErrorAllowsNewAttempt(&cases[i].error), cases[i].again);
	for (size_t i = 0; i < lengthof(hints); i++)
	{
		HttpReply reply = ANSWER(500, "{\"detail\":\"x\"}");
		FalResult out;

		strcpy(reply.fal_needs_retry, hints[i].needs_retry);
		strcpy(reply.fal_retryable, hints[i].retryable);
		FalJudgeResult(&reply, NULL, NOW, &out);
		CheckNumber(hints[i].needs_retry, "hint", out.error.retryable, hints[i].hint);
	}
}

void
TestFal(void)
{
	TestOutage();
	TestSubmit();
	TestSubmitDetails();
	TestStatus();
	TestResult();
	TestSearchedResult();
	TestOwnWords();
	TestObjections();
	TestBillableUnits();
	TestLargeResult();
	TestResultDetails();
	TestCancel();
	TestErase();
	TestList();
	TestEndpoints();
	TestUrls();
	TestPlatformUrls();
	TestAuthHeader();
	TestNewAttempts();
}
