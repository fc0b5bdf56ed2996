/*
 * hook.c
 *	  Does the address that fal.ai is to call lead to vibevideo_webhook?
 *
 * check_config calls it with a bad signature.  Only our function refuses that
 * with PT401; whatever else answers is named, by PostgREST's error codes (its
 * documentation, "Errors") or by the HTTP status of a hop in front of it.
 */
#include "hook.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "wire.h"

#define SEE_MANUAL "See Webhooks in doc/guide.md."
#define WITHOUT_KEY "Give the gateway a route without a key to this one function, or call an Edge Function that adds the key. " SEE_MANUAL

typedef struct Explanation
{
	const char *code; /* how it begins */
	int status;		  /* 0: any */
	const char *detail;
	const char *hint;
} Explanation;

/* the first that fits */
static const Explanation of_postgrest[] = {
	{"PGRST100", 0, "PostgREST takes the query of the URL for a filter, as it does with every POST", "Leave ?apikey=... out. " WITHOUT_KEY},
	{"PGRST202", 0, "PostgREST does not know the function vibevideo_webhook",
	 "NOTIFY pgrst, 'reload schema'. If that does not help, PostgREST is connected to another database or does not expose schema public, "
	 "or something in front of it drops the call's Content-Type."},
	{"PGRST106", 0, "PostgREST does not expose the schema that the call names", "Add public to PostgREST's db-schemas; send no Content-Profile."},
	{"PGRST125", 0, "PostgREST answers, but the path is not that of a function",
	 "PostgREST's own path is /rpc/vibevideo_webhook; a Supabase gateway puts /rest/v1 in front of it."},
	{"PGRST205", 0, "PostgREST answers, but the path is not that of a function",
	 "PostgREST's own path is /rpc/vibevideo_webhook; a Supabase gateway puts /rest/v1 in front of it."},
	{"PGRST302", 0, "PostgREST lets nobody in without a token", "Set PostgREST's db-anon-role to anon, or call an Edge Function that adds a key. " SEE_MANUAL},
	{"PGRST30", 0, "PostgREST rejects the token that comes with the call", "Send no Authorization header, or the anon key of this project. " SEE_MANUAL},
	{"PGRST00", 0, "PostgREST has no connection to its database", "See PostgREST's log."},
	{"42501", 0, "the role of the call may not execute vibevideo_webhook",
	 "SELECT vibevideo.grant_api_roles(). fal.ai is to call as anon, so no key but the anon or publishable one may come with the call."},
	{"42883", 0, "PostgREST knows a function vibevideo_webhook that is gone", "NOTIFY pgrst, 'reload schema'."},
};

static const Explanation of_others[] = {
	{NULL, 401, "a gateway wants a key before it lets the call through", WITHOUT_KEY},
	{NULL, 403, "a gateway does not let the call through", WITHOUT_KEY},
	{NULL, 404, "nothing answers at this path", "Check host and path of vibevideo.webhook_url, and the gateway's routes. " SEE_MANUAL},
	{NULL, 405, "it takes no POST", "Check host and path of vibevideo.webhook_url. " SEE_MANUAL},
};

static const Explanation of_networks[] = {
	{"certificate", 0, "its certificate is not accepted",
	 "fal.ai will not accept it either, unless it is only this server that does not know the CA: set vibevideo.ca_file then."},
	{"", 0, "it gave this server no answer", "If only this server cannot reach it, as behind NAT, nothing is wrong. Otherwise check name, port and firewall."},
};

static void
Report(HookReport *report, HookVerdict verdict, const char *detail, const char *said, const char *hint)
{
	report->verdict = verdict;
	report->hint = hint;
	(void) snprintf(report->detail, sizeof(report->detail), said[0] ? "%s (%s)" : "%s", detail, said);
}

/* https or http, where the port speaks the other one; false: it does not look like that */
static bool
JudgeScheme(const HttpReply *reply, const char *url, HookReport *report)
{
	const char *hint = WireSchemeHint(reply, url);
	char said[300];

	if (hint == NULL)
		return false;
	WireDescribe(reply, said, sizeof(said));
	Report(report, HOOK_WRONG, "it does not speak what the URL begins with", said, hint);
	return true;
}

/* no answer, or half of one */
static void
JudgeSilence(const HttpReply *reply, HookReport *report)
{
	char said[300];
	const Explanation *found = of_networks;

	WireDescribe(reply, said, sizeof(said));
	while (strstr(said, found->code) == NULL)
		found++;
	/* what the network is at fault for may be different from where fal.ai is */
	Report(report, found->code[0] ? HOOK_WRONG : HOOK_UNKNOWN, found->detail, said, found->hint);
}

/* an error of PostgREST's; false: it is none */
static bool
JudgeCode(const HttpReply *reply, const char *code, const char *message, HookReport *report)
{
	char said[300];

	if (strcmp(code, "PT401") == 0 && strcmp(message, "not accepted") == 0)
	{
		Report(report, HOOK_OURS, "answers as vibevideo_webhook", "", NULL);
		return true;
	}
	(void) snprintf(said, sizeof(said), "HTTP %d, %s: %s", reply->status, code, message);
	WireClean(said);
	for (size_t i = 0; i < sizeof(of_postgrest) / sizeof(of_postgrest[0]); i++)
		if (strncmp(code, of_postgrest[i].code, strlen(of_postgrest[i].code)) == 0)
		{
			Report(report, HOOK_WRONG, of_postgrest[i].detail, said, of_postgrest[i].hint);
			return true;
		}
	return false;
}

static void
JudgeStatus(const HttpReply *reply, const char *message, HookReport *report)
{
	char said[300];
	char target[300];

	if (message[0])
		(void) snprintf(said, sizeof(said), "HTTP %d: %s", reply->status, message);
	else
		WireDescribe(reply, said, sizeof(said));
	WireClean(said);
	for (size_t i = 0; i < sizeof(of_others) / sizeof(of_others[0]); i++)
		if (reply->status == of_others[i].status)
		{
			Report(report, HOOK_WRONG, of_others[i].detail, said, of_others[i].hint);
			return;
		}
	if (reply->status / 100 == 2)
		Report(report, HOOK_WRONG, "it takes a call that is not signed, so it is not vibevideo_webhook", said,
			   "Let the URL lead to the function; whatever passes the call on has to return the function's status and body. " SEE_MANUAL);
	else if (reply->status / 100 == 3)
	{
		HookShowUrl(reply->location, target, sizeof(target));
		Report(report, HOOK_WRONG, "it redirects", target[0] ? target : said, "Set vibevideo.webhook_url to where it redirects to.");
	}
	else
		Report(report, HOOK_WRONG, "it does not answer properly", said, "See the logs of what answers there, a gateway or PostgREST.");
}

void
HookJudge(const HttpReply *reply, const char *url, HookReport *report)
{
	char code[32] = "";
	char message[200] = "";
	JsonWant wants[] = {WANT("code", code), WANT("message", message)};

	if (JudgeScheme(reply, url, report))
		return;
	if (reply->outcome != HTTP_ANSWERED)
	{
		JudgeSilence(reply, report);
		return;
	}
	if (!JsonPick(reply->body, reply->body_len, wants, 2) || wants[0].kind != JSON_STRING || !JudgeCode(reply, code, message, report))
		JudgeStatus(reply, message, report);
}

void
HookShowUrl(const char *url, char *out, size_t size)
{
	const char *host = url + strcspn(url, ":/?#");
	const char *at;
	size_t len;

	out[0] = '\0';
	if (strncmp(host, "://", 3) == 0)
	{
		host += 3;
		at = memchr(host, '@', strcspn(host, "/?#"));
		if (at)
		{
			(void) snprintf(out, size, "%.*s", (int) (host - url), url);
			url = at + 1;
		}
	}
	len = strlen(out);
	(void) snprintf(out + len, size - len, "%.*s", (int) strcspn(url, "?#"), url);
	WireClean(out);
}

uint64_t
HookCheckNumber(const char *request_id)
{
	size_t prefix = strlen(HOOK_CHECK_ID);

	return strncmp(request_id, HOOK_CHECK_ID, prefix) == 0 ? strtoull(request_id + prefix, NULL, 16) : 0;
}
