/*
 * fuzz_fal.c
 *	  Any response from fal, or from whatever answers in its place.
 */
#include "fuzz.h"

#include "fal.h"
#include "objection.h"
#include "wire.h"

#define NOW ((time_t) 1795485882)

static void
MustBeError(const FalError *error)
{
	MUST(error->type[0] != '\0' && error->message[0] != '\0');
	MustBeClean(error->type, sizeof(error->type));
	MustBeClean(error->message, sizeof(error->message));
	MUST(error->retry_after >= -1);
	/* the app's user reads it */
	MustBeClean(error->objection, sizeof(error->objection));
	MUST(error->objection[0] == '\0' || (error->http == 422 && strstr(error->objection, "http") == NULL));
	(void) FalErrorAllowsNewAttempt(error);
}

static bool
Visit(const FalListItem *item, void *arg)
{
	const HttpReply *reply = arg;

	MUST(FalRequestIdIsValid(item->request_id));
	MUST(item->input == NULL || (item->input >= reply->body && item->input_len > 0 && item->input + item->input_len <= reply->body + reply->body_len));
	return true;
}

static void
JudgeSubmit(const HttpReply *reply)
{
	bool answered = reply->outcome == HTTP_ANSWERED;
	bool success = answered && reply->status >= 200 && reply->status <= 299;
	FalSubmit out;

	FalJudgeSubmit(reply, NOW, &out);
	if (out.outcome == FAL_SUBMIT_ACCEPTED)
	{
		MUST(success && FalRequestIdIsValid(out.request_id));
		return;
	}
	MustBeError(&out.error);

	/* what the customer's money depends on */
	if (out.outcome == FAL_SUBMIT_NOT_SENT)
		MUST(reply->outcome == HTTP_NOT_SENT);
	if (out.outcome == FAL_SUBMIT_BACKOFF)
		MUST(answered && reply->status >= 400);
	if (success)
		MUST(out.outcome == FAL_SUBMIT_UNKNOWN);
	if (reply->outcome == HTTP_LOST || reply->outcome == HTTP_TOO_LARGE || reply->outcome == HTTP_CANCELLED)
		MUST(out.outcome == FAL_SUBMIT_UNKNOWN);
}

static void
JudgeOthers(const HttpReply *reply)
{
	static const FalError status_error = {.http = 200, .type = "x", .message = "y", .retry_after = -1};
	FalStatus status;
	FalResult result;
	FalCancel cancel;

	(void) FalIsOutage(reply);
	FalJudgeStatus(reply, NOW, &status);
	if (status.has_error || status.state >= FAL_STATE_GONE)
		MustBeError(&status.error);

	for (int i = 0; i < 2; i++)
	{
		FalJudgeResult(reply, i == 0 ? NULL : &status_error, NOW, &result);
		MUST((result.outcome == FAL_RESULT_VIDEO) == (result.video.url[0] != '\0'));
		MustBeClean(result.video.url, sizeof(result.video.url));
		MustBeClean(result.video.content_type, sizeof(result.video.content_type));
		MUST(strspn(result.billable_units, "0123456789.") == strlen(result.billable_units));
		if (result.outcome != FAL_RESULT_VIDEO)
			MustBeError(&result.error);
	}

	FalJudgeCancel(reply, NOW, &cancel);
	if (cancel.outcome != FAL_CANCEL_ACCEPTED)
		MustBeError(&cancel.error);
}

/* the body's first lines as endpoint, id and key */
static void
BuildRequests(const HttpReply *reply)
{
	char *text = CopyInput((const uint8_t *) reply->body, reply->body_len);
	char *rest = text;
	const char *endpoint = TakeLine(&rest);
	const char *id = TakeLine(&rest);
	const char *key = TakeLine(&rest);
	char out[300];

	if (FalSubmitUrl("https://queue.fal.run", endpoint, id, out, sizeof(out)))
	{
		MUST(FalEndpointIsValid(endpoint));
		MustBeClean(out, sizeof(out));
		MUST(strchr(out, ' ') == NULL && strchr(out, '#') == NULL);
	}
	if (FalRequestUrl(key, endpoint, id, FAL_CALL_CANCEL, out, sizeof(out)))
		MustBeClean(out, sizeof(out));
	if (FalPlatformUrl("https://api.fal.ai/v1", "usage", (const char *[]){"endpoint_id", endpoint, "cursor", id, key, id}, 6, out, sizeof(out)))
	{
		MUST(FalEndpointIsValid(endpoint));
		MustBeClean(out, sizeof(out));
		MUST(strchr(out, ' ') == NULL && strchr(out, '#') == NULL);
	}
	if (FalAuthHeader(key, out, sizeof(out)))
		MustBeClean(out, sizeof(out));
	(void) WireRetryAfter(key, NOW);
	MUST(WireDate(key) >= -1);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	HttpReply reply;
	char cursor[32];

	ReadReply(data, size, &reply);
	JudgeSubmit(&reply);
	JudgeOthers(&reply);
	(void) FalReadList(reply.body, reply.body_len, Visit, &reply, cursor, sizeof(cursor));
	BuildRequests(&reply);
	free((char *) reply.body);
	return 0;
}
