/*
 * test_hook.c
 *	  What answers at the webhook's URL.  The answers are those of PostgREST 17,
 *	  Kong 2.8, the Envoy configuration of self-hosted Supabase, and libcurl 7.88.
 */
#include "check.h"

#include <string.h>

#include "hook.h"

#define ERROR_BODY(code, message) "{\"code\":\"" code "\",\"details\":null,\"hint\":null,\"message\":\"" message "\"}"

static const struct
{
	const char *name;
	HttpReply reply;
	HookVerdict verdict;
	const char *detail;
	const char *hint; /* a part of it */
} cases[] = {
	{"ours", ANSWER(401, ERROR_BODY("PT401", "not accepted")), HOOK_OURS, "answers as vibevideo_webhook", NULL},
	{"ours, its status lost on the way", ANSWER(500, ERROR_BODY("PT401", "not accepted")), HOOK_OURS, "answers as vibevideo_webhook", NULL},
	{"another function's PT401", ANSWER(401, ERROR_BODY("PT401", "who are you")), HOOK_WRONG, "a gateway wants a key before it lets the call through (HTTP 401: who are you)", "without a key"},
	{"?apikey=", ANSWER(400, ERROR_BODY("PGRST100", "\\\"failed to parse filter (sb_publishable_abcdefghijklmnopqrstuv_12345678)\\\" (line 1, column 1)")), HOOK_WRONG,
	 "PostgREST takes the query of the URL for a filter, as it does with every POST (HTTP 400, PGRST100: \"failed to parse filter (***)\" (line 1, column 1))", "Leave ?apikey=... out."},
	{"a stale schema cache", ANSWER(404, ERROR_BODY("PGRST202", "Could not find the function public.vibevideo_webhook(check) in the schema cache")), HOOK_WRONG,
	 "PostgREST does not know the function vibevideo_webhook (HTTP 404, PGRST202: Could not find the function public.vibevideo_webhook(check) in the schema cache)",
	 "NOTIFY pgrst, 'reload schema'."},
	{"another schema", ANSWER(406, ERROR_BODY("PGRST106", "Invalid schema: api")), HOOK_WRONG, "PostgREST does not expose the schema that the call names (HTTP 406, PGRST106: Invalid schema: api)", "db-schemas"},
	{"the gateway's prefix, and no gateway", ANSWER(404, ERROR_BODY("PGRST125", "Invalid path specified in request URL")), HOOK_WRONG,
	 "PostgREST answers, but the path is not that of a function (HTTP 404, PGRST125: Invalid path specified in request URL)", "/rest/v1"},
	{"a table's path", ANSWER(404, ERROR_BODY("PGRST205", "Could not find the table 'public.x' in the schema cache")), HOOK_WRONG,
	 "PostgREST answers, but the path is not that of a function (HTTP 404, PGRST205: Could not find the table 'public.x' in the schema cache)", "/rpc/vibevideo_webhook"},
	{"no anonymous role", ANSWER(401, ERROR_BODY("PGRST302", "Anonymous access is disabled")), HOOK_WRONG,
	 "PostgREST lets nobody in without a token (HTTP 401, PGRST302: Anonymous access is disabled)", "db-anon-role"},
	{"a token that is none", ANSWER(401, ERROR_BODY("PGRST301", "Expected 3 parts in JWT; got 1")), HOOK_WRONG,
	 "PostgREST rejects the token that comes with the call (HTTP 401, PGRST301: Expected 3 parts in JWT; got 1)", "Authorization"},
	{"no database", ANSWER(503, ERROR_BODY("PGRST001", "Database client error. Retrying the connection.")), HOOK_WRONG,
	 "PostgREST has no connection to its database (HTTP 503, PGRST001: Database client error. Retrying the connection.)", "PostgREST's log"},
	{"no rights", ANSWER(401, ERROR_BODY("42501", "permission denied for function vibevideo_webhook")), HOOK_WRONG,
	 "the role of the call may not execute vibevideo_webhook (HTTP 401, 42501: permission denied for function vibevideo_webhook)", "grant_api_roles()"},
	{"a dropped function", ANSWER(404, ERROR_BODY("42883", "function public.vibevideo_webhook(json) does not exist")), HOOK_WRONG,
	 "PostgREST knows a function vibevideo_webhook that is gone (HTTP 404, 42883: function public.vibevideo_webhook(json) does not exist)", "NOTIFY pgrst"},
	{"another error of the database", ANSWER(500, ERROR_BODY("57014", "canceling statement due to statement timeout")), HOOK_WRONG,
	 "it does not answer properly (HTTP 500: canceling statement due to statement timeout)", "logs"},
	{"Kong, no key", ANSWER(401, "{\"message\":\"No API key found in request\"}"), HOOK_WRONG,
	 "a gateway wants a key before it lets the call through (HTTP 401: No API key found in request)", "route without a key"},
	{"Envoy, no key", ANSWER(401, "Unauthorized", .content_type = "text/plain"), HOOK_WRONG,
	 "a gateway wants a key before it lets the call through (HTTP 401: Unauthorized)", "Edge Function"},
	{"a code that is a number", ANSWER(401, "{\"code\":401,\"message\":\"Missing authorization header\"}"), HOOK_WRONG,
	 "a gateway wants a key before it lets the call through (HTTP 401: Missing authorization header)", "Edge Function"},
	{"a firewall", ANSWER(403, HTML("403 Forbidden")), HOOK_WRONG, "a gateway does not let the call through (HTTP 403 from a gateway (HTML, nginx))", "key"},
	{"no route", ANSWER(404, "{\"message\":\"no Route matched with those values\"}"), HOOK_WRONG, "nothing answers at this path (HTTP 404: no Route matched with those values)", "path"},
	{"GET only", ANSWER(405, ""), HOOK_WRONG, "it takes no POST (HTTP 405 with an empty body)", "path"},
	{"takes anything", ANSWER(200, "{\"ok\":true}"), HOOK_WRONG, "it takes a call that is not signed, so it is not vibevideo_webhook (HTTP 200 with an unrecognized body)", "status and body"},
	{"to https", ANSWER(301, "", .location = "https://me:secret@app.example/hook?apikey=secret"), HOOK_WRONG, "it redirects (https://app.example/hook)", "where it redirects to"},
	{"nowhere", ANSWER(302, ""), HOOK_WRONG, "it redirects (HTTP 302 with an empty body)", "where it redirects to"},
	{"down", ANSWER(502, HTML("502 Bad Gateway")), HOOK_WRONG, "it does not answer properly (HTTP 502 from a gateway (HTML, nginx))", "logs"},
	{"a secret and control characters", ANSWER(500, "{\"message\":\"Bearer eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.abcdefghij\\n\\u001bx\"}"), HOOK_WRONG,
	 "it does not answer properly (HTTP 500: Bearer *** x)", "logs"},
	{"no name", NO_ANSWER(HTTP_NOT_SENT, .error = "Could not resolve host: app.example"), HOOK_UNKNOWN, "it gave this server no answer (Could not resolve host: app.example)", "only this server"},
	{"too slow", NO_ANSWER(HTTP_LOST, .timed_out = true, .error = "Operation timed out after 5001 milliseconds with 0 bytes received"), HOOK_UNKNOWN,
	 "it gave this server no answer (Operation timed out after 5001 milliseconds with 0 bytes received)", "firewall"},
	{"a bad certificate", NO_ANSWER(HTTP_NOT_SENT, .error = "SSL certificate problem: unable to get local issuer certificate"), HOOK_WRONG,
	 "its certificate is not accepted (SSL certificate problem: unable to get local issuer certificate)", "vibevideo.ca_file"},
	{"no TLS", NO_ANSWER(HTTP_NOT_SENT, .error = "OpenSSL/3.0.17: error:0A00010B:SSL routines::wrong version number"), HOOK_WRONG,
	 "it does not speak what the URL begins with (OpenSSL/3.0.17: error:0A00010B:SSL routines::wrong version number)", "http://"},
};

static void
TestUrls(void)
{
	static const struct
	{
		const char *url;
		const char *shown;
	} urls[] = {
		{"https://a.example/rest/v1/rpc/vibevideo_webhook", "https://a.example/rest/v1/rpc/vibevideo_webhook"},
		{"https://a.example/f?apikey=secret", "https://a.example/f"},
		{"https://a.example/f#secret", "https://a.example/f"},
		{"http://me:secret@a.example:8000/f@g?h", "http://a.example:8000/f@g"},
		{"http://a.example/f?me@g", "http://a.example/f"},
		{"/relative?x", "/relative"},
		{"", ""},
	};
	char shown[100];

	for (size_t i = 0; i < lengthof(urls); i++)
	{
		HookShowUrl(urls[i].url, shown, sizeof(shown));
		CheckText("hook", urls[i].url, shown, urls[i].shown);
	}
	HookShowUrl("http://me:secret@a.example/", shown, 10);
	CheckText("hook", "a small buffer", shown, "http://a.");
}

void
TestHook(void)
{
	HookReport report;

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		HookJudge(&cases[i].reply, "https://a.example/hook", &report);
		CheckNumber(cases[i].name, "verdict", report.verdict, cases[i].verdict);
		CheckText(cases[i].name, "detail", report.detail, cases[i].detail);
		CheckTrue(cases[i].name, "a hint, unless it is ours", (report.hint == NULL) == (report.verdict == HOOK_OURS));
		if (report.hint && cases[i].hint)
			CheckPart(cases[i].name, "hint", report.hint, cases[i].hint);
	}
	HookJudge(&(const HttpReply) ANSWER(400, HTML("400 The plain HTTP request was sent to HTTPS port")), "http://a.example/hook", &report);
	CheckText("TLS", "detail", report.detail, "it does not speak what the URL begins with (HTTP 400 from a gateway (HTML, nginx))");
	CheckPart("TLS", "hint", report.hint, "https://");
	CheckNumber("hook", "a check's number", (int64_t) HookCheckNumber(HOOK_CHECK_ID "00ff"), 255);
	CheckNumber("hook", "no check", (int64_t) HookCheckNumber("019e161b-386c-7d33-8106-f2de1a3ff595"), 0);
	CheckNumber("hook", "a check without a number", (int64_t) HookCheckNumber(HOOK_CHECK_ID), 0);
	TestUrls();
}
