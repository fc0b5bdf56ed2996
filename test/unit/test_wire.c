/*
 * test_wire.c
 *	  Text from the network, pieces of URLs, dates.
 */
#include "check.h"

#include <string.h>

#include "wire.h"

/* 2026-11-24 02:04:42 GMT */
#define NOW ((time_t) 1795485882)
#define HEX32 "0123456789abcdef0123456789abcdef"
#define JWT "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.Y4c-0WjSa_vS7fx4BWBsBKXOKeN6"

static void
TestClean(void)
{
	static const struct
	{
		const char *text;
		const char *clean;
	} cases[] = {
		{"", ""},
		{"  a\r\n\tb\001c \177 ", "a b c"},
		{"caf\303\251 \302\205\302\237x", "caf\303\251 x"},
		{"a\342\200\256b\342\200\250", "a b"},
		{"No user found for Key ID and Secret", "No user found for Key ID and Secret"},
		{"Invalid Key Authorization header format. Expected '<key_id>:<key_secret>'.",
		 "Invalid Key Authorization header format. Expected '<key_id>:<key_secret>'."},
		{"got Authorization: Key abc:def!", "got Authorization: Key ***"},
		{"Bearer " JWT " refused", "Bearer *** refused"},
		{"token " JWT, "token ***"},
		{"'sb_secret_abcdefghijklmnopqrstuv_12345678'", "'***'"},
		{"key 01234567-89ab-cdef-0123-456789abcdef:" HEX32 " unknown", "key *** unknown"},
		{"request 019e161b-386c-7d33-8106-f2de1a3ff595 not found",
		 "request 019e161b-386c-7d33-8106-f2de1a3ff595 not found"},
		{"eyJ sb_ Key Bearer ", "eyJ sb_ Key Bearer"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		char text[256];

		strcpy(text, cases[i].text);
		WireClean(text);
		CheckText("clean", cases[i].text, text, cases[i].clean);
	}
}

static void
TestShow(void)
{
	static const struct
	{
		const char *text;
		const char *shown;
	} cases[] = {
		{"", ""},
		{"d9428888-122b-11e1-b85c-61cd3cbb3210", "d9428888-122b-11e1-b85c-61cd3cbb3210"},
		{"a 'b' \"c\" \\ %s caf\303\251 \360\237\230\200", "a 'b' \"c\" \\ %s caf\303\251 \360\237\230\200"},
		{"a\r\nb\tc\001\033[31m\177", "a\\r\\nb\\tc\\u0001\\u001b[31m\\u007f"},
		{"\302\205\302\237\302\240", "\\u0085\\u009f\302\240"},
		{"\342\200\250 \342\200\256 \342\201\251 \342\202\254", "\\u2028 \\u202e \\u2069 \342\202\254"},
		/* cut off by somebody */
		{"a\342\200", "a\342\200"},
	};
	char text[512];
	const char *shown;

	for (size_t i = 0; i < lengthof(cases); i++)
		CheckText("show", cases[i].text, WireShown(cases[i].text), cases[i].shown);

	memset(text, 'k', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	shown = WireShown(text);
	CheckNumber("show", "a long one is cut", strlen(shown), WIRE_SHOWN_BYTES - 1);
	CheckText("show", "and says so", shown + WIRE_SHOWN_BYTES - 5, "k...");
	for (size_t i = 0; i + 1 < sizeof(text); i += 2)
		memcpy(text + i, "\303\251", 2);
	text[200] = '\0';
	shown = WireShown(text);
	CheckText("show", "between characters", shown + strlen(shown) - 5, "\303\251...");
	memset(text, '\n', 200);
	shown = WireShown(text);
	CheckText("show", "and between escapes", shown + strlen(shown) - 5, "\\n...");
}

static void
TestCopy(void)
{
	char out[4];

	WireCopy(out, sizeof(out), "abc");
	CheckText("copy", "fits", out, "abc");
	WireCopy(out, sizeof(out), "abcd");
	CheckText("copy", "cut", out, "abc");
	WireCopy(out, sizeof(out), "ab\303\251");
	CheckText("copy", "cut at a character", out, "ab");
	WireCopy(out, sizeof(out), "\360\237\230\200");
	CheckText("copy", "nothing fits", out, "");
	WireCopyWord(out, sizeof(out), "a b");
	CheckText("copy word", "blank", out, "a_b");
	{
		char word[20];

		WireCopyWord(word, sizeof(word), "limit");
		CheckText("copy word", "one of ours", word, "remote_limit");
		WireCopyWord(word, sizeof(word), "limits");
		CheckText("copy word", "like one of ours", word, "limits");
		WireCopyWord(word, 10, "submit_lost");
		CheckText("copy word", "one of ours, cut", word, "remote_su");
	}
}

static void
TestDescribe(void)
{
	static const struct
	{
		HttpReply reply;
		const char *type;
		const char *words;
	} cases[] = {
		{ANSWER(502, HTML("502 Bad Gateway"), .content_type = "text/html"), NULL, "HTTP 502 from a gateway (HTML, nginx)"},
		{ANSWER(503, "\n <!doctype html><p>busy"), NULL, "HTTP 503 from a gateway (HTML)"},
		{ANSWER(500, ""), NULL, "HTTP 500 with an empty body"},
		{ANSWER(500, "{\"x\":1}"), NULL, "HTTP 500 with an unrecognized body"},
		{ANSWER(409, "Upload-Offset conflict\n"), NULL, "HTTP 409: Upload-Offset conflict"},
		{ANSWER(404, "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>"), NULL,
		 "HTTP 404: <?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>"},
		{ANSWER(404, " <Error><Code>NoSuchKey</Code></Error>"), NULL, "HTTP 404: <Error><Code>NoSuchKey</Code></Error>"},
		{ANSWER(404, "<fault>x</fault>", .content_type = "application/xml"), NULL, "HTTP 404: <fault>x</fault>"},
		{ANSWER(404, "<fault>x</fault>"), NULL, "HTTP 404 from a gateway (HTML)"},
		{ANSWER(502, "<?xml version=\"1.0\"?><!DOCTYPE html><html lang=\"en\">", .content_type = "application/xhtml+xml"), NULL,
		 "HTTP 502 from a gateway (HTML)"},
		{ANSWER(502, "<?xml version=\"1.0\"?><!DOCTYPE html><HTML lang=\"en\">"), NULL, "HTTP 502 from a gateway (HTML)"},
		{ANSWER(500, "<"), NULL, "HTTP 500 from a gateway (HTML)"},
		{ANSWER(500, "a\0b\377"), NULL, "HTTP 500: a b?"},
		{NO_ANSWER(HTTP_NOT_SENT, .error = "Could not resolve host: x"), "connect_failed", "Could not resolve host: x"},
		{NO_ANSWER(HTTP_NOT_SENT, .timed_out = true, .error = " \n"), "connect_failed", "could not connect"},
		{NO_ANSWER(HTTP_FORBIDDEN), "address_refused", "connections to this address are not allowed"},
		{NO_ANSWER(HTTP_LOST), "connection_lost", "the connection broke before the answer was complete"},
		{NO_ANSWER(HTTP_LOST, .timed_out = true, .error = "Timeout\nwas reached"), "timeout", "Timeout was reached"},
		{NO_ANSWER(HTTP_TOO_LARGE), "response_too_large", "the answer is too large"},
		{NO_ANSWER(HTTP_CANCELLED), "cancelled", "the request was aborted"},
		{NO_ANSWER(HTTP_CANCELLED, .timed_out = true), "timeout", "the request was aborted"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		char words[256];

		WireDescribe(&cases[i].reply, words, sizeof(words));
		CheckText("describe", "words", words, cases[i].words);
		if (cases[i].type != NULL)
			CheckText("describe", "type", WireFailureType(&cases[i].reply), cases[i].type);
	}
}

static void
TestSchemes(void)
{
	static const struct
	{
		const char *url;
		HttpReply reply;
		const char *hint; /* part of it; NULL: none */
	} cases[] = {
		/* libcurl 7.88 with OpenSSL 3.0, libcurl 8.14 with 3.5, libcurl with GnuTLS, of a port that speaks http */
		{"https://a", NO_ANSWER(HTTP_NOT_SENT, .error = "OpenSSL/3.0.19: error:0A00010B:SSL routines::wrong version number"), "plain http"},
		{"HTTPS://a", NO_ANSWER(HTTP_NOT_SENT, .error = "TLS connect error: error:0A0000C6:SSL routines::packet length too long"), "plain http"},
		{"https://a", NO_ANSWER(HTTP_NOT_SENT, .error = "gnutls_handshake() failed: An unexpected TLS packet was received."), "plain http"},
		{"https://a", NO_ANSWER(HTTP_NOT_SENT, .error = "SSL certificate problem: self-signed certificate"), NULL},
		{"https://a", NO_ANSWER(HTTP_NOT_SENT, .error = "Could not resolve host: a"), NULL},
		{"https://a", NO_ANSWER(HTTP_LOST, .error = "Empty reply from server"), NULL},
		{"https://a", ANSWER(400, HTML("400 The plain HTTP request was sent to HTTPS port")), NULL},
		/* nginx, Go and Apache, of a port that speaks https; Envoy and Node.js say nothing */
		{"http://a", ANSWER(400, HTML("400 The plain HTTP request was sent to HTTPS port")), "begin the URL with https://"},
		{"http://a", ANSWER(400, "Client sent an HTTP request to an HTTPS server.\n"), "begin the URL with https://"},
		{"http://a", ANSWER(400, "<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />"), "begin the URL with https://"},
		{"http://a", NO_ANSWER(HTTP_LOST, .error = "Empty reply from server"), "If that port speaks https"},
		{"http://a", NO_ANSWER(HTTP_LOST, .error = "Received HTTP/0.9 when not allowed"), "If that port speaks https"},
		{"http://a", ANSWER(400, "{\"message\":\"bad request\"}"), NULL},
		{"http://a", ANSWER(400, ""), NULL},
		{"http://a", ANSWER(500, HTML("The plain HTTP request was sent to HTTPS port")), NULL},
		{"http://a", NO_ANSWER(HTTP_NOT_SENT, .error = "Connection refused"), NULL},
		{"http://a", NO_ANSWER(HTTP_LOST, .timed_out = true), NULL},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		const char *hint = WireSchemeHint(&cases[i].reply, cases[i].url);

		CheckNumber("scheme", cases[i].url, hint != NULL, cases[i].hint != NULL);
		if (hint != NULL && cases[i].hint != NULL)
			CheckPart("scheme", cases[i].url, hint, cases[i].hint);
	}
}

static void
TestNumbers(void)
{
	static const struct
	{
		const char *text;
		int64_t number;
	} cases[] = {
		{"0", 0},
		{"42", 42},
		{"9223372036854775807", INT64_MAX},
		{"9223372036854775808", -1},
		{"", -1},
		{"-1", -1},
		{"1.5", -1},
		{"1e3", -1},
		{" 1", -1},
		{"1 ", -1},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
		CheckNumber("number", cases[i].text, WireNumber(cases[i].text), cases[i].number);
}

static void
TestBases(void)
{
	static const struct
	{
		const char *base;
		bool valid;
	} cases[] = {
		{"https://queue.fal.run", true},
		{"http://kong:8000/storage/v1", true},
		{"HTTPS://x", true},
		{"http://[::1]:8000", true},
		{"", false},
		{"queue.fal.run", false},
		{"ftp://x", false},
		{"https://", false},
		{"https:///x", false},
		{"https://x/", false},
		{"https://x?y", false},
		{"https://x#y", false},
		{"https://u@x", false},
		{"https://x y", false},
		{"https://x\n", false},
		{"https://x\303\251", false},
		{"https://:80", false},
	};
	char out[8] = "ab";

	for (size_t i = 0; i < lengthof(cases); i++)
		CheckNumber("base", cases[i].base, WireBaseUrlIsValid(cases[i].base), cases[i].valid);

	CheckTrue("append", "too long", !WireAppend(out, sizeof(out), "123456"));
	CheckTrue("append encoded", "too long", !WireAppendEncoded(out, sizeof(out), "12 4", ""));
	CheckText("append", "nothing", out, "ab");
	CheckTrue("append", "just fits", WireAppend(out, sizeof(out), "12345"));
	CheckText("append", "just fits", out, "ab12345");
}

static void
TestRetryAfter(void)
{
	static const struct
	{
		const char *header;
		int seconds;
	} cases[] = {
		{"", -1},
		{"0", 0},
		{"30", 30},
		{" 30 ", 30},
		{"86401", 86400},
		{"99999999999999999999", 86400},
		{"-5", -1},
		{"1.5", -1},
		{"30s", -1},
		{"soon", -1},
		{"Tue, 24 Nov 2026 02:05:42 GMT", 60},
		{"Tuesday, 24-Nov-26 02:05:42 GMT", 60},
		{"Tue Nov 24 02:05:42 2026", 60},
		{"Mon, 23 Nov 2026 02:05:42 GMT", 0},
		{"Sun, 06 Nov 1994 08:49:37 GMT", 0},
		{"Wed, 25 Nov 2026 02:04:41 GMT", 86399},
		{"Thu, 24 Nov 2050 02:05:42 GMT", 86400},
		{"Tue, 24 Foo 2026 02:05:42 GMT", -1},
		{"Tue, 24 Nov 2026", -1},
		{"Tue, 99 Nov 2026 02:05:42 GMT", -1},
		{"Tue, 24 anF 2026 02:05:42 GMT", -1},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
		CheckNumber("retry after", cases[i].header, WireRetryAfter(cases[i].header, NOW), cases[i].seconds);
	CheckNumber("retry after", "leap year", WireRetryAfter("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800 - 5), 5);
}

static void
TestDate(void)
{
	static const struct
	{
		const char *text;
		int64_t seconds;
	} cases[] = {
		{"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
		{"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
		{"Sun Nov  6 08:49:37 1994", 784111777},
		{"Thu, 01 Jan 1970 00:00:01 GMT", 1},
		{"Fri, 31 Dec 2100 23:59:59 GMT", 4133980799},

		/* what libcurl takes for dates, and HTTP does not */
		{"Sun, 06 Nov 1994 09:49:37 +0100", -1},
		{"Sun, 06 Nov 1994 08:49:37", -1},
		{"Sun, 06 Nov 1994 08:49 GMT", -1},
		{"06 Nov 1994 08:49:37 GMT", -1},
		{"GMT 1994 Nov 06 08:49:37", -1},
		{"Sun, 06 Nov 1994 08:49:37 GMT;", -1},
		{"Sun, 06 Nov 1994 08:49:37 GMT GMT", -1},
		{"06 Nov 1994", -1},
		{"19941106", -1},

		/* the shape of one */
		{"Sun, 06 Nov 1994 24:00:00 GMT", -1},
		{"Sun, 06 Nov 1994 08:60:00 GMT", -1},
		{"Sun, 00 Nov 1994 08:49:37 GMT", -1},
		{"Sun, 32 Nov 1994 08:49:37 GMT", -1},
		{"Sun, 06 November 1994 08:49:37 GMT", -1},
		{"Foo, 06 Nov 1994 08:49:37 GMT", -1},
		{"Tue, 01 Jan 1901 00:00:00 GMT", -1},

		{"", -1},
		{" ", -1},
		{"GMT", -1},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
		CheckNumber("date", cases[i].text, WireDate(cases[i].text), cases[i].seconds);
}

void
TestWire(void)
{
	TestClean();
	TestShow();
	TestCopy();
	TestDescribe();
	TestSchemes();
	TestNumbers();
	TestBases();
	TestRetryAfter();
	TestDate();
}
