/*
 * fal.c
 *	  fal.ai's queue protocol: requests and replies as pure functions.
 *
 * What fal's pages, clients and captures say about each answer is cited by
 * name: "queue" is fal.ai/docs/documentation/model-apis/inference/queue,
 * "request errors" is .../model-apis/request-errors, "errors" is
 * .../model-apis/errors.
 *
 * Two rules apply everywhere.  Decisions depend on status code, header and
 * machine-readable field, never on the text of a message, except that nothing but
 * its words tells an account without money from a key without rights.  And when in doubt,
 * the customer's money comes first: a POST that may have arrived is not sent
 * again, a result that may still come is not given up.
 */
#include "fal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "json.h"
#include "objection.h"
#include "wire.h"

#define DIGITS "0123456789"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define ALNUM LETTERS DIGITS
#define BLANKS " \t\r\n\v\f"

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

/*----------
 * Reading a reply
 *----------
 */

/* everything in fal's bodies that is not model output */
typedef struct FalBody
{
	bool is_json;
	JsonKind detail_kind;
	JsonKind error_kind;
	bool has_status_url;
	char detail[1025];	  /* platform errors: a string */
	char detail_type[65]; /* model errors: the first of an array */
	char detail_msg[1025];
	char detail_field[65];
	char error_type[65];
	char error[1025];
	char api_type[65]; /* api.fal.ai: an object */
	char api_message[1025];
	char message[1025];
	char words[1025]; /* whatever own apps say in detail, error or errors */
	bool has_error;	  /* ... in one of the last two */
	char status[33];
	char request_id[FAL_ID_SIZE];
	char queue_position[16];
} FalBody;

/* what one value says: a string, or an object with one */
static bool
ReadWords(const char *raw, size_t raw_len, char *out, size_t size)
{
	static const char *const paths[] = {"", "message", "msg", "error", "detail", "description"};

	for (size_t i = 0; i < lengthof(paths); i++)
	{
		JsonWant want = {.path = paths[i], .text = out, .size = size};

		if (JsonPick(raw, raw_len, &want, 1) && want.kind == JSON_STRING && out[0] != '\0')
			return true;
	}
	out[0] = '\0';
	return false;
}

typedef struct WordsList
{
	char *out;
	size_t size;
} WordsList;

static bool
AppendWords(const char *raw, size_t raw_len, void *arg)
{
	const WordsList *list = arg;
	char words[1025];

	if (!ReadWords(raw, raw_len, words, sizeof(words)))
		return true;
	return (list->out[0] == '\0' || WireAppend(list->out, list->size, "; ")) &&
		WireAppend(list->out, list->size, words);
}

/* as JSON, when it has no form that we know */
static void
CopyRaw(const JsonWant *place, char *out, size_t size)
{
	size_t len = place->raw_len < size ? place->raw_len : size - 1;

	while (len > 0 && len < place->raw_len && ((unsigned char) place->raw[len] & 0xc0) == 0x80)
		len--;
	memcpy(out, place->raw, len);
	out[len] = '\0';
}

/* is there anything but empty texts, zeros, false and null? */
static bool
FindContent(const JsonPlace *place, void *arg)
{
	bool *has_content = arg;

	if (place->kind == JSON_STRING)
		*has_content |= place->raw_len > 2;
	else if (place->kind == JSON_NUMBER)
		*has_content |= strspn(place->raw, "-0.eE") < place->raw_len;
	else if (place->kind == JSON_BOOL)
		*has_content |= place->raw[0] == 't';
	return !*has_content;
}

/* own apps of fal's customers have no form of error in common */
static void
ReadOwnWords(const JsonWant *place, char *out, size_t size)
{
	WordsList list = {out, size};
	bool has_content = false;

	out[0] = '\0';
	if (place->kind == JSON_ARRAY)
		(void) JsonEach(place->raw, place->raw_len, "", AppendWords, &list);
	else if (place->kind == JSON_OBJECT || place->kind == JSON_STRING)
		(void) ReadWords(place->raw, place->raw_len, out, size);
	if (out[0] != '\0' || (place->kind != JSON_ARRAY && place->kind != JSON_OBJECT))
		return;
	(void) JsonSearch(place->raw, place->raw_len, JSON_MAX_DEPTH, INT_MAX, FindContent, &has_content);
	if (has_content)
		CopyRaw(place, out, size);
}

/* of detail, error and errors the first that says anything */
static void
ReadErrorWords(const JsonWant *const places[3], FalBody *body)
{
	char words[sizeof(body->words)];

	for (int i = 0; i < 3; i++)
	{
		ReadOwnWords(places[i], words, sizeof(words));
		if (words[0] == '\0')
			continue;
		body->has_error |= i > 0;
		if (body->words[0] == '\0')
			WireCopy(body->words, sizeof(body->words), words);
	}
}

static void
ReadFalBody(const HttpReply *reply, FalBody *body)
{
	JsonWant wants[] = {
		{.path = "detail", .text = body->detail, .size = sizeof(body->detail)},
		{.path = "error", .text = body->error, .size = sizeof(body->error)},
		{.path = "status_url"},
		{.path = "request_id", .text = body->request_id, .size = sizeof(body->request_id)},
		{.path = "errors"},
		WANT("detail[0].type", body->detail_type),
		WANT("detail[0].msg", body->detail_msg),
		WANT("detail[0].loc[1]", body->detail_field),
		WANT("error_type", body->error_type),
		WANT("error.type", body->api_type),
		WANT("error.message", body->api_message),
		WANT("message", body->message),
		WANT("status", body->status),
		WANT("queue_position", body->queue_position),
	};

	memset(body, 0, sizeof(*body));
	body->is_json = JsonPick(reply->body, reply->body_len, wants, (int) lengthof(wants));
	body->detail_kind = wants[0].kind;
	body->error_kind = wants[1].kind;
	body->has_status_url = wants[2].kind == JSON_STRING;
	if (wants[3].kind != JSON_STRING || wants[3].truncated)
		body->request_id[0] = '\0';
	ReadErrorWords((const JsonWant *[]){&wants[0], &wants[1], &wants[4]}, body);
}

static bool
HasDetail(const FalBody *body)
{
	return body->detail_kind == JSON_STRING || body->detail_kind == JSON_ARRAY ||
		body->detail_kind == JSON_OBJECT;
}

/* does the body name an error, in any of fal's formats? */
static bool
BodyNamesError(const FalBody *body)
{
	return HasDetail(body) || body->error_type[0] != '\0';
}

/* does the body say anything for people? */
static bool
HasWords(const FalBody *body)
{
	return HasDetail(body) || body->words[0] != '\0' || body->message[0] != '\0';
}

/* a reply of fal's queue, as opposed to one of a gateway in front of it */
static bool
IsFromFal(const HttpReply *reply, const FalBody *body)
{
	return reply->fal_request_id[0] != '\0' || reply->fal_error_type[0] != '\0' ||
		BodyNamesError(body);
}

static bool
IsServerError(int status)
{
	return status >= 500 && status <= 599;
}

bool
FalIsOutage(const HttpReply *reply)
{
	FalBody body;

	if (reply->outcome != HTTP_ANSWERED)
		return WireIsUnreached(reply);
	if (!IsServerError(reply->status) || reply->fal_request_id[0] != '\0' || reply->fal_error_type[0] != '\0')
		return false;
	if (WireIsGatewayStatus(reply->status))
		return true;
	ReadFalBody(reply, &body);
	return !BodyNamesError(&body);
}

static bool
IsSuccess(const HttpReply *reply)
{
	return reply->outcome == HTTP_ANSWERED && reply->status >= 200 && reply->status <= 299;
}

/* X-Fal-Request-Timeout-Type: user; the start deadline that we had set ourselves */
static bool
IsStartTimeout(const HttpReply *reply)
{
	return reply->status == 504 && strcasecmp(reply->fal_timeout_type, "user") == 0;
}

static int
QueuePosition(const FalBody *body)
{
	int64_t position = WireNumber(body->queue_position);

	return position <= INT32_MAX ? (int) position : -1;
}

/*----------
 * Errors
 *----------
 */

static FalHint
HintOf(const char *header)
{
	static const char *const yes[] = {"true", "1", "yes"};
	static const char *const no[] = {"false", "0", "no"};

	for (size_t i = 0; i < lengthof(yes); i++)
	{
		if (strcasecmp(header, yes[i]) == 0)
			return FAL_HINT_YES;
		if (strcasecmp(header, no[i]) == 0)
			return FAL_HINT_NO;
	}
	return FAL_HINT_NONE;
}

/* what the status alone says; NULL when fal's own error type is better */
static const char *
TypeByStatus(const HttpReply *reply)
{
	if (reply->status >= 300 && reply->status <= 399)
		return "redirected";
	if (IsStartTimeout(reply))
		return "start_timeout";
	switch (reply->status)
	{
		case 401:
			return "unauthorized";
		case 403:
			return "forbidden";
		case 404:
			return "not_found";
		case 405:
			return "method_not_allowed";
		default:
			return NULL;
	}
}

/* for a status whose body does not name an error */
static const char *
TypeByDefault(int status)
{
	switch (status)
	{
		case 422:
			return "validation_error";
		case 499:
			return "client_cancelled";
		default:
			return NULL;
	}
}

static void
SetErrorType(FalError *error, const char *type)
{
	WireCopyWord(error->type, sizeof(error->type), type);
}

static const char *
FirstText(const char *const texts[], size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		if (texts[i] != NULL && texts[i][0] != '\0')
			return texts[i];
	}
	return NULL;
}

static void
ReadErrorType(FalError *error, const HttpReply *reply, const FalBody *body)
{
	const char *const types[] = {
		TypeByStatus(reply),
		/* "errors": a model's 422 says what is wrong per field */
		reply->status == 422 ? body->detail_type : NULL,
		body->error_type,
		reply->fal_error_type,
		body->detail_type,
		body->api_type,
		TypeByDefault(reply->status),
	};
	const char *type = FirstText(types, lengthof(types));

	if (type != NULL)
		SetErrorType(error, type);
	else
		(void) snprintf(error->type, sizeof(error->type), "http_%d", reply->status);
}

static void
SetErrorMessage(FalError *error, const char *message)
{
	WireCopy(error->message, sizeof(error->message), message);
	WireClean(error->message);
}

static void
ReadErrorMessage(FalError *error, const HttpReply *reply, const FalBody *body)
{
	const char *const texts[] = {
		body->detail,
		body->detail_msg,
		body->error,
		body->api_message,
		body->words,
		body->message,
	};
	const char *text = FirstText(texts, lengthof(texts));
	char with_field[sizeof(body->detail_field) + sizeof(body->detail_msg) + 2];

	/* "Field required" helps only with the field's name */
	if (text == body->detail_msg && body->detail_field[0] != '\0')
	{
		(void) snprintf(with_field, sizeof(with_field), "%s: %s", body->detail_field, text);
		text = with_field;
	}

	if (text != NULL)
		SetErrorMessage(error, text);
	if (error->message[0] == '\0')
		WireDescribe(reply, error->message, sizeof(error->message));
}

/* "errors": only a model's 422 has a list of what is wrong with which field */
static void
ReadObjection(FalError *error, const HttpReply *reply, const FalBody *body)
{
	char said[sizeof(body->detail_msg)];

	if (reply->status != 422 || body->detail_kind != JSON_ARRAY)
		return;
	WireCopy(said, sizeof(said), body->detail_msg);
	WireClean(said);
	ObjectionMake(error->objection, sizeof(error->objection), body->detail_field, said);
}

static void
ClearError(FalError *error)
{
	memset(error, 0, sizeof(*error));
	error->retry_after = -1;
}

static void
ReadError(FalError *error, const HttpReply *reply, const FalBody *body, time_t now)
{
	ClearError(error);
	error->http = reply->status;
	error->retry_after = WireRetryAfter(reply->retry_after, now);
	/* two spellings are documented; the newer one takes precedence */
	error->retryable = HintOf(reply->fal_needs_retry);
	if (error->retryable == FAL_HINT_NONE)
		error->retryable = HintOf(reply->fal_retryable);
	ReadErrorType(error, reply, body);
	ReadErrorMessage(error, reply, body);
	ReadObjection(error, reply, body);
}

/* an exchange that did not end with an answer */
static void
ReadTransportError(FalError *error, const HttpReply *reply)
{
	ClearError(error);
	error->http = reply->status;
	SetErrorType(error, WireFailureType(reply));
	WireDescribe(reply, error->message, sizeof(error->message));
}

/*
 * Which kinds of errors allow a new render.  "request errors" calls the runner
 * and timeout kinds retryable, and the client kinds not; the rest is from
 * "errors".  A trailing '*' stands for any ending.
 */
static const struct
{
	const char *type;
	bool again;
} ErrorKinds[] = {
	{"runner_*", true},
	{"internal_error", true},
	{"internal_server_error", true},
	{"generation_timeout", true},
	{"startup_timeout", true},
	{"request_timeout", true},
	{"downstream_service_error", true},
	{"downstream_service_unavailable", true},
	{"start_timeout", false}, /* our own deadline; nothing has run */
	{"client_*", false},
	{"content_policy_violation", false},
	{"validation_error", false},
	{"no_media_generated", false},
};

static bool
KindMatches(const char *pattern, const char *type)
{
	size_t len = strlen(pattern);

	if (pattern[len - 1] == '*')
		return strncmp(type, pattern, len - 1) == 0;
	return strcmp(type, pattern) == 0;
}

/* yes or no for known kinds, none for others */
static FalHint
KindAllowsAgain(const char *type)
{
	for (size_t i = 0; i < lengthof(ErrorKinds); i++)
	{
		if (KindMatches(ErrorKinds[i].type, type))
			return ErrorKinds[i].again ? FAL_HINT_YES : FAL_HINT_NO;
	}
	return FAL_HINT_NONE;
}

bool
FalErrorAllowsNewAttempt(const FalError *error)
{
	FalHint hint = error->retryable;

	if (hint == FAL_HINT_NONE)
		hint = KindAllowsAgain(error->type);
	if (hint == FAL_HINT_NONE)
		return IsServerError(error->http);
	return hint == FAL_HINT_YES;
}

/*----------
 * Submit
 *----------
 */

/* a 2xx: fal has the job, if we can read its id */
static void
JudgeAccepted(const HttpReply *reply, const FalBody *body, time_t now, FalSubmit *out)
{
	/* a valid id is shorter than the buffers; a truncated one fills them */
	const char *id = FalRequestIdIsValid(body->request_id) ? body->request_id
		: FalRequestIdIsValid(reply->fal_request_id) &&
			strlen(reply->fal_request_id) < sizeof(reply->fal_request_id) - 1
		? reply->fal_request_id
		: NULL;

	if (id != NULL)
	{
		out->outcome = FAL_SUBMIT_ACCEPTED;
		WireCopy(out->request_id, sizeof(out->request_id), id);
		out->queue_position = QueuePosition(body);
		return;
	}
	out->outcome = FAL_SUBMIT_UNKNOWN;
	ReadError(&out->error, reply, body, now);
	SetErrorType(&out->error, "bad_response");
}

/* a 5xx other than 503: did fal itself reject the job, or did a gateway lose the answer? */
static FalSubmitOutcome
JudgeServerError(const HttpReply *reply, const FalBody *body, FalError *error)
{
	FalHint again = error->retryable;

	if (!IsFromFal(reply, body))
	{
		SetErrorType(error, "gateway_5xx");
		return FAL_SUBMIT_UNKNOWN;
	}
	if (IsStartTimeout(reply))
		return FAL_SUBMIT_REFUSED;
	if (reply->status == 502 || reply->status == 504)
		return FAL_SUBMIT_BACKOFF;

	if (again == FAL_HINT_NONE)
		again = KindAllowsAgain(error->type);
	return again == FAL_HINT_YES ? FAL_SUBMIT_BACKOFF : FAL_SUBMIT_REFUSED;
}

/*
 * "User is locked. Reason: Exhausted balance. Top up your balance at ...", as many
 * have seen it, or "Reason: TOP_UP."
 */
static bool
IsWithoutMoney(const HttpReply *reply, const FalBody *body)
{
	return reply->status == 403 && body->detail_kind == JSON_STRING &&
		strncmp(body->detail, "User is locked", strlen("User is locked")) == 0 &&
		(strstr(body->detail, "Exhausted balance") != NULL || strstr(body->detail, "TOP_UP") != NULL);
}

static FalSubmitOutcome
JudgeNotAccepted(const HttpReply *reply, const FalBody *body, FalError *error)
{
	switch (reply->status)
	{
		case 408:
		case 425:
		case 429:
		case 503:
			return FAL_SUBMIT_BACKOFF;
		default:
			break;
	}
	if (reply->status >= 300 && reply->status <= 499)
		return FAL_SUBMIT_REFUSED;
	if (reply->status >= 500)
		return JudgeServerError(reply, body, error);

	/* an informational or missing status is not a final answer */
	SetErrorType(error, "bad_response");
	return FAL_SUBMIT_UNKNOWN;
}

static FalSubmitOutcome
JudgeUnanswered(HttpOutcome outcome)
{
	switch (outcome)
	{
		case HTTP_NOT_SENT:
			return FAL_SUBMIT_NOT_SENT;
		case HTTP_FORBIDDEN:
			return FAL_SUBMIT_REFUSED;
		default:
			return FAL_SUBMIT_UNKNOWN;
	}
}

void
FalJudgeSubmit(const HttpReply *reply, time_t now, FalSubmit *out)
{
	FalBody body;

	memset(out, 0, sizeof(*out));
	out->queue_position = -1;
	ClearError(&out->error);

	if (reply->outcome != HTTP_ANSWERED)
	{
		out->outcome = JudgeUnanswered(reply->outcome);
		ReadTransportError(&out->error, reply);
		return;
	}

	ReadFalBody(reply, &body);
	if (IsSuccess(reply))
	{
		JudgeAccepted(reply, &body, now, out);
		return;
	}
	ReadError(&out->error, reply, &body, now);
	out->no_money = IsWithoutMoney(reply, &body);
	if (out->no_money)
	{
		SetErrorType(&out->error, "balance");
		out->outcome = FAL_SUBMIT_BACKOFF;
		return;
	}
	out->outcome = JudgeNotAccepted(reply, &body, &out->error);
}

/*----------
 * Status
 *----------
 */

/*
 * The word in the body decides.  The page pairs 202 with queued and running
 * and 200 with completed, but any 2xx will do.
 */
static void
JudgeStatusWord(const HttpReply *reply, const FalBody *body, time_t now, FalStatus *out)
{
	static const struct
	{
		const char *word;
		FalState state;
	} words[] = {
		{"IN_QUEUE", FAL_STATE_QUEUED},
		{"IN_PROGRESS", FAL_STATE_RUNNING},
		{"COMPLETED", FAL_STATE_COMPLETED},
	};

	for (size_t i = 0; i < lengthof(words); i++)
	{
		if (strcasecmp(body->status, words[i].word) != 0)
			continue;
		out->state = words[i].state;
		out->queue_position = QueuePosition(body);
		if (out->state == FAL_STATE_COMPLETED &&
			(body->error[0] != '\0' || body->error_kind == JSON_OBJECT ||
			 body->error_type[0] != '\0'))
		{
			out->has_error = true;
			ReadError(&out->error, reply, body, now);
			if (strcmp(out->error.type, "http_200") == 0)
				SetErrorType(&out->error, "request_failed");
		}
		return;
	}

	/* fal has no FAILED or CANCELED, for example */
	ReadError(&out->error, reply, body, now);
	SetErrorType(&out->error, body->status[0] != '\0' ? "unknown_status" : "bad_response");
	if (body->status[0] != '\0')
		SetErrorMessage(&out->error, body->status);
}

static FalState
JudgeStatusRefusal(const HttpReply *reply, const FalBody *body)
{
	switch (reply->status)
	{
		case 401:
		case 403:
			return FAL_STATE_DENIED;
		case 404:
			/* a gateway's 404 page knows nothing about our job */
			return strcmp(body->status, "NOT_FOUND") == 0 || HasDetail(body)
				? FAL_STATE_GONE
				: FAL_STATE_RETRY;
		default:
			return FAL_STATE_RETRY;
	}
}

void
FalJudgeStatus(const HttpReply *reply, time_t now, FalStatus *out)
{
	FalBody body;

	memset(out, 0, sizeof(*out));
	out->state = FAL_STATE_RETRY;
	out->queue_position = -1;
	ClearError(&out->error);

	if (reply->outcome != HTTP_ANSWERED)
	{
		ReadTransportError(&out->error, reply);
		return;
	}

	ReadFalBody(reply, &body);
	if (IsSuccess(reply))
	{
		JudgeStatusWord(reply, &body, now, out);
		return;
	}
	out->state = JudgeStatusRefusal(reply, &body);
	ReadError(&out->error, reply, &body, now);
}

/*----------
 * Result
 *----------
 */

static void
DescribeNoVideo(const FalBody *body, const char *fields, FalError *error)
{
	char message[sizeof(error->message)];
	const char *words = FirstText((const char *[]){body->detail, body->words, body->message}, 3);

	if (words != NULL && HasDetail(body))
		return; /* ReadError has taken it */
	if (words != NULL)
		(void) snprintf(message, sizeof(message), "the model's output contains no video: %.900s", words);
	else if (fields[0] != '\0')
		(void) snprintf(message, sizeof(message), "the model's output contains no video, but has the fields: %s", fields);
	else
		(void) snprintf(message, sizeof(message), "the model's output contains no video");
	SetErrorMessage(error, message);
}

/* a status object instead of the output: the job has not finished yet */
static bool
IsUnfinished(const FalBody *body)
{
	return strcasecmp(body->status, "IN_QUEUE") == 0 || strcasecmp(body->status, "IN_PROGRESS") == 0;
}

static void
JudgeNoOutput(const FalBody *body, const char *wrong, const char *fields, FalResult *out)
{
	if (IsUnfinished(body))
	{
		out->outcome = FAL_RESULT_NOT_READY;
		SetErrorType(&out->error, "not_ready");
		return;
	}

	out->outcome = FAL_RESULT_FAILED;
	if (wrong != NULL)
	{
		SetErrorType(&out->error, "unsupported_output");
		SetErrorMessage(&out->error, wrong);
	}
	else if (body->error_type[0] == '\0')
	{
		SetErrorType(&out->error, "no_video");
		DescribeNoVideo(body, fields, &out->error);
	}
}

/* a file beside an error or a status is not the output, unless it is where the output has it */
static bool
IsOutput(const FalBody *body, const OutputFile *file)
{
	return file->in_place || (!body->has_error && body->error_type[0] == '\0' && !IsUnfinished(body));
}

static void
JudgeOutput(const HttpReply *reply, const FalBody *body, time_t now, FalResult *out)
{
	char fields[300];
	const char *wrong = NULL;

	if (OutputFind(reply->body, reply->body_len, &out->video, &wrong, fields, sizeof(fields)) && IsOutput(body, &out->video))
	{
		out->outcome = FAL_RESULT_VIDEO;
		return;
	}
	OutputClear(&out->video);
	ReadError(&out->error, reply, body, now);
	JudgeNoOutput(body, wrong, fields, out);
}

/*
 * Of an output that is too large to be read, what came of it: the video may be
 * in it.  If not, it will not be there the next time either.
 */
static void
JudgeBeginning(const HttpReply *reply, FalResult *out)
{
	size_t len = reply->body_len;
	char fields[300];
	const char *wrong;

	/* not within a character */
	while (len > 0 && (unsigned char) reply->body[len - 1] >= 0x80)
		len--;
	if (OutputFind(reply->body, len, &out->video, &wrong, fields, sizeof(fields)))
	{
		out->outcome = FAL_RESULT_VIDEO;
		return;
	}
	ReadTransportError(&out->error, reply);
	if (WireIsHtml(reply))
		return;
	out->outcome = FAL_RESULT_FAILED;
	if (wrong == NULL && OutputHasData(reply->body, reply->body_len))
		wrong = output_is_data;
	if (wrong != NULL)
	{
		SetErrorType(&out->error, "unsupported_output");
		SetErrorMessage(&out->error, wrong);
	}
	else
		SetErrorMessage(&out->error, "the model's output is too large to be read, and has no video at its beginning");
}

/*
 * An endpoint id with a wrong subpath is accepted at submit and answered here
 * with 404 {"detail": "Path /x not found"} (fal's apps.py).  A forgotten
 * request is a 404 with a detail, too, so here, and only here, the text has to
 * decide: the first is the customer's mistake, the second is not.
 */
static bool
IsPathNotFound(const FalBody *body)
{
	static const char prefix[] = "Path /";

	return strncmp(body->detail, prefix, sizeof(prefix) - 1) == 0;
}

/* the stored reply of a model or of fal's runner, replayed */
static FalResultOutcome
JudgeResultError(const HttpReply *reply, const FalBody *body, const FalError *status_error,
				 FalError *error)
{
	bool named = BodyNamesError(body) || (body->is_json && reply->fal_error_type[0] != '\0');

	switch (reply->status)
	{
		case 400:
			if (body->error_type[0] == '\0' && reply->fal_error_type[0] == '\0' &&
				(body->request_id[0] != '\0' || body->has_status_url))
			{
				SetErrorType(error, "not_ready");
				return FAL_RESULT_NOT_READY;
			}
			named = named || HasWords(body);
			break;
		case 401:
		case 403:
			return FAL_RESULT_DENIED;
		case 404:
			if (!body->is_json)
				return FAL_RESULT_RETRY;
			if (!IsPathNotFound(body))
				return FAL_RESULT_GONE;
			SetErrorType(error, "path_not_found");
			return FAL_RESULT_FAILED;
		case 405:
		case 408:
		case 425:
		case 429:
			return FAL_RESULT_RETRY;
		case 422:
		case 499:
			return FAL_RESULT_FAILED;
		default:
			break;
	}

	/*
	 * A bare 5xx for a finished job comes from a gateway and is temporary
	 * (clips were lost by treating it as final), unless the status had said
	 * that the job failed.
	 */
	if (IsServerError(reply->status) && !named && status_error != NULL)
	{
		*error = *status_error;
		return FAL_RESULT_FAILED;
	}
	return reply->status >= 400 && named ? FAL_RESULT_FAILED : FAL_RESULT_RETRY;
}

/*
 * X-Fal-Billable-Units: how many of the model's units fal bills, with an output
 * and with a refusal (fal.ai/docs, "Model errors").  What is not a plain decimal
 * number, as 5 or 1.25, of a size that can be is as good as none.
 */
static void
ReadBillableUnits(const char *value, char *out, size_t size)
{
	size_t whole = strspn(value, "0123456789");
	size_t fraction = value[whole] == '.' ? strspn(value + whole + 1, "0123456789") : 0;
	size_t len = whole + (value[whole] == '.' ? 1 + fraction : 0);

	out[0] = '\0';
	if (value[len] != '\0' || whole < 1 || whole > 9 || fraction > 9 || (len > whole && fraction == 0) || len >= size)
		return;
	memcpy(out, value, len + 1);
}

void
FalJudgeResult(const HttpReply *reply, const FalError *status_error, time_t now, FalResult *out)
{
	FalBody body;

	memset(out, 0, sizeof(*out));
	out->outcome = FAL_RESULT_RETRY;
	OutputClear(&out->video);
	ClearError(&out->error);
	ReadBillableUnits(reply->fal_billable_units, out->billable_units, sizeof(out->billable_units));

	if (reply->outcome != HTTP_ANSWERED)
	{
		ReadTransportError(&out->error, reply);
		if (reply->outcome == HTTP_TOO_LARGE && reply->status == 200 && reply->body_len > 0)
			JudgeBeginning(reply, out);
		return;
	}

	ReadFalBody(reply, &body);
	if (IsSuccess(reply) && body.is_json)
	{
		JudgeOutput(reply, &body, now, out);
		return;
	}
	ReadError(&out->error, reply, &body, now);
	if (IsSuccess(reply))
		SetErrorType(&out->error, "bad_response");
	else
		out->outcome = JudgeResultError(reply, &body, status_error, &out->error);
}

/*----------
 * Cancel
 *----------
 */

static FalCancelOutcome
JudgeCancelRefusal(const HttpReply *reply, const FalBody *body)
{
	switch (reply->status)
	{
		case 400:
			return strcmp(body->status, "ALREADY_COMPLETED") == 0
				? FAL_CANCEL_TOO_LATE
				: FAL_CANCEL_RETRY;
		case 401:
		case 403:
			return FAL_CANCEL_DENIED;
		case 404:
			return strcmp(body->status, "NOT_FOUND") == 0 || HasDetail(body)
				? FAL_CANCEL_GONE
				: FAL_CANCEL_RETRY;
		default:
			return FAL_CANCEL_RETRY;
	}
}

void
FalJudgeCancel(const HttpReply *reply, time_t now, FalCancel *out)
{
	FalBody body;

	memset(out, 0, sizeof(*out));
	ClearError(&out->error);

	if (reply->outcome != HTTP_ANSWERED)
	{
		out->outcome = FAL_CANCEL_RETRY;
		ReadTransportError(&out->error, reply);
		return;
	}

	/*
	 * Pages disagree about the body of a success, so none is required; but if
	 * there is one it must be JSON, or else it was not fal that answered.
	 * Cancelling again does no harm.
	 */
	out->outcome = FAL_CANCEL_ACCEPTED;
	if (IsSuccess(reply) && (reply->body_len == 0 || JsonPick(reply->body, reply->body_len, NULL, 0)))
		return;

	ReadFalBody(reply, &body);
	if (IsSuccess(reply))
	{
		out->outcome = FAL_CANCEL_RETRY;
		ReadError(&out->error, reply, &body, now);
		SetErrorType(&out->error, "bad_response");
		return;
	}
	out->outcome = JudgeCancelRefusal(reply, &body);
	ReadError(&out->error, reply, &body, now);
	if (out->outcome == FAL_CANCEL_TOO_LATE)
		SetErrorType(&out->error, "already_completed");
}

/*----------
 * Erasing
 *----------
 */

/* stops at a file that is left */
static bool
VisitErasedFile(const char *raw, size_t raw_len, void *arg)
{
	FalErase *out = arg;
	char words[200];
	JsonWant exception = WANT("exception", words);

	if (raw[0] == '{' && JsonPick(raw, raw_len, &exception, 1) && (exception.kind == JSON_NULL || exception.kind == JSON_ABSENT))
		return true;
	out->outcome = FAL_ERASE_RETRY;
	SetErrorType(&out->error, "bad_response");
	SetErrorMessage(&out->error, words[0] != '\0' ? words : "fal.ai could not delete a file");
	return false;
}

static void
JudgeErased(const HttpReply *reply, const FalBody *body, time_t now, FalErase *out)
{
	JsonWant results = {.path = "cdn_delete_results"};

	if (JsonPick(reply->body, reply->body_len, &results, 1) && results.kind == JSON_ARRAY)
	{
		(void) JsonEach(reply->body, reply->body_len, "cdn_delete_results", VisitErasedFile, out);
		return;
	}
	out->outcome = FAL_ERASE_RETRY;
	ReadError(&out->error, reply, body, now);
	SetErrorType(&out->error, "bad_response");
}

/* "Not Found" alone is what a server says that has no such path */
static bool
SaysThatRequestIsGone(const FalBody *body)
{
	return body->api_type[0] != '\0' || (HasDetail(body) && strcmp(body->detail, "Not Found") != 0);
}

void
FalJudgeErase(const HttpReply *reply, time_t now, FalErase *out)
{
	FalBody body;

	memset(out, 0, sizeof(*out));
	ClearError(&out->error);
	out->outcome = FAL_ERASE_RETRY;
	if (reply->outcome != HTTP_ANSWERED)
	{
		ReadTransportError(&out->error, reply);
		return;
	}
	ReadFalBody(reply, &body);
	if (IsSuccess(reply))
	{
		out->outcome = FAL_ERASE_DONE;
		JudgeErased(reply, &body, now, out);
		return;
	}
	if (reply->status == 401 || reply->status == 403)
		out->outcome = FAL_ERASE_DENIED;
	else if (reply->status == 404 && SaysThatRequestIsGone(&body))
		out->outcome = FAL_ERASE_GONE;
	ReadError(&out->error, reply, &body, now);
}

/*----------
 * Request list
 *----------
 */

typedef struct ListWalk
{
	FalListVisit visit;
	void *arg;
} ListWalk;

static bool
VisitListItem(const char *raw, size_t raw_len, void *arg)
{
	const ListWalk *walk = arg;
	FalListItem item;
	char status_code[16];
	int64_t status;
	JsonWant wants[] = {
		{.path = "json_input"},
		WANT("request_id", item.request_id),
		WANT("sent_at", item.sent_at),
		WANT("ended_at", item.ended_at),
		WANT("status_code", status_code),
	};

	memset(&item, 0, sizeof(item));
	if (!JsonPick(raw, raw_len, wants, (int) lengthof(wants)) ||
		wants[1].truncated || !FalRequestIdIsValid(item.request_id))
		return true; /* not a request that could be polled */

	status = WireNumber(status_code);
	item.status_code = status >= 0 && status <= 999 ? (int) status : 0;

	/* other clients of the account may have sent input that jsonb cannot hold */
	if (wants[0].kind != JSON_ABSENT && wants[0].kind != JSON_NULL &&
		JsonFitsJsonb(wants[0].raw, wants[0].raw_len))
	{
		item.input = wants[0].raw;
		item.input_len = wants[0].raw_len;
	}
	return walk->visit(&item, walk->arg);
}

bool
FalReadList(const char *body, size_t len, FalListVisit visit, void *arg,
			char *cursor, size_t cursor_size)
{
	ListWalk walk = {visit, arg};
	JsonWant wants[] = {
		{.path = "next_cursor", .text = cursor, .size = cursor_size},
		{.path = "items"},
	};

	/* this also checks that the whole text is JSON before anything is visited */
	if (!JsonPick(body, len, wants, (int) lengthof(wants)) || wants[1].kind != JSON_ARRAY)
	{
		cursor[0] = '\0';
		return false;
	}
	if (wants[0].kind != JSON_STRING || wants[0].truncated)
		cursor[0] = '\0';
	return JsonEach(body, len, "items", VisitListItem, &walk);
}

/*----------
 * Building requests
 *----------
 */

bool
FalRequestIdIsValid(const char *id)
{
	size_t len = strlen(id);

	/* a leading dot could be "." or ".." */
	return len > 0 && len < FAL_ID_SIZE && id[0] != '.' && strspn(id, ALNUM "._-") == len;
}

/* a one-segment id, "<digits>-<app>", stands for owner and app */
static bool
IsLegacyId(const char *endpoint)
{
	size_t owner = strspn(endpoint, DIGITS);

	return owner > 0 && endpoint[owner] == '-' && endpoint[owner + 1] != '\0' &&
		endpoint[owner + 1 + strspn(endpoint + owner + 1, ALNUM "-")] == '\0';
}

static int
SegmentCount(const char *path)
{
	int count = 1;

	for (; *path != '\0'; path++)
		count += *path == '/';
	return count;
}

static bool
HasNamespace(const char *endpoint)
{
	return strncmp(endpoint, "workflows/", 10) == 0 || strncmp(endpoint, "comfy/", 6) == 0;
}

bool
FalEndpointIsValid(const char *endpoint)
{
	int segments;

	if (strlen(endpoint) >= FAL_PATH_SIZE)
		return false;

	for (const char *p = endpoint;; p++)
	{
		size_t len = strspn(p, ALNUM "._-");

		/* a leading dot could be "." or ".." */
		if (len == 0 || *p == '.')
			return false;
		p += len;
		if (*p == '\0')
			break;
		if (*p != '/')
			return false;
	}

	segments = SegmentCount(endpoint);
	if (segments == 1)
		return IsLegacyId(endpoint);
	return segments > (HasNamespace(endpoint) ? 2 : 1);
}

/* the endpoint as a path: a legacy id is split into its two segments */
static bool
EndpointPath(const char *endpoint, char *out, size_t size)
{
	if (size == 0 || !FalEndpointIsValid(endpoint))
		return false;
	out[0] = '\0';
	if (!WireAppend(out, size, endpoint))
		return false;
	if (SegmentCount(endpoint) == 1)
		out[strspn(out, DIGITS)] = '/';
	return true;
}

/* the rule of @fal-ai/client's utils.ts and fal_client's AppId */
bool
FalAppPath(const char *endpoint, char *out, size_t size)
{
	char path[FAL_PATH_SIZE];
	char *end = path;
	int segments;

	if (size == 0 || !EndpointPath(endpoint, path, sizeof(path)))
		return false;

	segments = HasNamespace(path) ? 3 : 2;
	for (;;)
	{
		end += strcspn(end, "/");
		if (--segments == 0 || *end == '\0')
			break;
		end++;
	}
	*end = '\0';

	out[0] = '\0';
	return WireAppend(out, size, path);
}

bool
FalSubmitUrl(const char *base, const char *endpoint, const char *webhook_url,
			 char *out, size_t size)
{
	char path[FAL_PATH_SIZE];

	if (size == 0 || !WireBaseUrlIsValid(base) || !EndpointPath(endpoint, path, sizeof(path)))
		return false;

	out[0] = '\0';
	if (!WireAppend(out, size, base) || !WireAppend(out, size, "/") ||
		!WireAppend(out, size, path))
		return false;
	if (webhook_url == NULL || webhook_url[0] == '\0')
		return true;
	return WireAppend(out, size, "?fal_webhook=") &&
		WireAppendEncoded(out, size, webhook_url, "");
}

bool
FalRequestUrl(const char *base, const char *endpoint, const char *request_id,
			  FalCall call, char *out, size_t size)
{
	static const char *const suffixes[] = {
		[FAL_CALL_STATUS] = "/status",
		[FAL_CALL_RESULT] = "",
		[FAL_CALL_CANCEL] = "/cancel",
	};
	char path[FAL_PATH_SIZE];

	if (size == 0 || !WireBaseUrlIsValid(base) || !FalRequestIdIsValid(request_id) ||
		!FalAppPath(endpoint, path, sizeof(path)))
		return false;

	out[0] = '\0';
	return WireAppend(out, size, base) && WireAppend(out, size, "/") &&
		WireAppend(out, size, path) && WireAppend(out, size, "/requests/") &&
		WireAppend(out, size, request_id) && WireAppend(out, size, suffixes[call]);
}

bool
FalListUrl(const char *base, const char *endpoint, const char *start,
		   const char *cursor, char *out, size_t size)
{
	char path[FAL_PATH_SIZE];

	if (size == 0 || !WireBaseUrlIsValid(base) || !EndpointPath(endpoint, path, sizeof(path)))
		return false;

	out[0] = '\0';
	if (!WireAppend(out, size, base) ||
		!WireAppend(out, size, "/models/requests/by-endpoint?expand=payloads&limit=50&endpoint_id=") ||
		!WireAppendEncoded(out, size, path, "") || !WireAppend(out, size, "&start=") ||
		!WireAppendEncoded(out, size, start, ""))
		return false;
	if (cursor[0] == '\0')
		return true;
	return WireAppend(out, size, "&cursor=") && WireAppendEncoded(out, size, cursor, "");
}

bool
FalEraseUrl(const char *base, const char *request_id, char *out, size_t size)
{
	if (size == 0 || !WireBaseUrlIsValid(base) || !FalRequestIdIsValid(request_id))
		return false;
	out[0] = '\0';
	return WireAppend(out, size, base) && WireAppend(out, size, "/models/requests/") &&
		WireAppendEncoded(out, size, request_id, "") && WireAppend(out, size, "/payloads");
}

/* https://fal.ai/docs/platform-apis/v1/..., November 2026 */
static const char *
PlatformPath(const char *what)
{
	static const struct
	{
		const char *what;
		const char *path;
	} paths[] = {
		{"pricing", "/models/pricing"},
		{"models", "/models"},
		{"usage", "/models/usage"},
		{"billing-events", "/models/billing-events"},
		{"billing", "/account/billing"},
	};

	for (size_t i = 0; i < lengthof(paths); i++)
		if (strcmp(what, paths[i].what) == 0)
			return paths[i].path;
	return NULL;
}

bool
FalPlatformUrl(const char *base, const char *what, const char *const *query, int n, char *out, size_t size)
{
	const char *path = PlatformPath(what);

	if (size == 0 || path == NULL || n % 2 != 0 || !WireBaseUrlIsValid(base))
		return false;

	out[0] = '\0';
	if (!WireAppend(out, size, base) || !WireAppend(out, size, path))
		return false;
	for (int i = 0; i < n; i += 2)
	{
		char endpoint[FAL_PATH_SIZE];
		const char *name = query[i];
		const char *value = query[i + 1];

		if (name[0] == '\0' || name[strspn(name, LETTERS "_")] != '\0')
			return false;
		if (strcmp(name, "endpoint_id") == 0)
		{
			if (!EndpointPath(value, endpoint, sizeof(endpoint)))
				return false;
			value = endpoint;
		}
		if (!WireAppend(out, size, i == 0 ? "?" : "&") || !WireAppend(out, size, name) ||
			!WireAppend(out, size, "=") || !WireAppendEncoded(out, size, value, ""))
			return false;
	}
	return true;
}

bool
FalAuthHeader(const char *key, char *out, size_t size)
{
	const char *end;
	int len;

	/* a stray newline makes fal answer "No user found" */
	key += strspn(key, BLANKS);
	for (end = key + strlen(key); end > key && strchr(BLANKS, end[-1]) != NULL;)
		end--;
	if (end == key)
		return false;

	for (const char *p = key; p < end; p++)
	{
		if (*p <= 0x20 || *p >= 0x7f)
			return false;
	}
	len = snprintf(out, size, "Authorization: Key %.*s", (int) (end - key), key);
	return len > 0 && (size_t) len < size;
}
