/*
 * wire.c
 *	  Shared by the protocol files: describing an exchange, text from the
 *	  network, building URLs, dates.
 */
#include "wire.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DIGITS "0123456789"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define ALNUM LETTERS DIGITS
#define HEX "0123456789abcdefABCDEF"
#define MASK "***"

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

/* a longer Retry-After is cut to this */
#define MAX_RETRY_AFTER (24 * 60 * 60)

/* how much of a body is searched to find out who wrote it */
#define SNIFF_BYTES 2048

/* how much of a plain text body is shown */
#define EXCERPT_BYTES 200

/*----------
 * How an exchange ended
 *----------
 */

const char *
WireFailureType(const HttpReply *reply)
{
	switch (reply->outcome)
	{
		case HTTP_NOT_SENT:
			return "connect_failed";
		case HTTP_FORBIDDEN:
			return "address_refused";
		case HTTP_LOST:
			return reply->timed_out ? "timeout" : "connection_lost";
		case HTTP_TOO_LARGE:
			return reply->timed_out ? "timeout" : "response_too_large";
		case HTTP_CANCELLED:
			return reply->timed_out ? "timeout" : "cancelled";
		case HTTP_ANSWERED:
			break;
	}
	return "bad_response";
}

bool
WireIsUnreached(const HttpReply *reply)
{
	return reply->outcome == HTTP_NOT_SENT || reply->outcome == HTTP_LOST;
}

bool
WireIsGatewayStatus(int status)
{
	return status >= 502 && status <= 504;
}

static const char *
FailureWords(HttpOutcome outcome)
{
	switch (outcome)
	{
		case HTTP_NOT_SENT:
			return "could not connect";
		case HTTP_FORBIDDEN:
			return "connections to this address are not allowed";
		case HTTP_LOST:
			return "the connection broke before the answer was complete";
		case HTTP_TOO_LARGE:
			return "the answer is too large";
		case HTTP_CANCELLED:
			return "the request was aborted";
		case HTTP_ANSWERED:
			break;
	}
	return "no usable answer";
}

static bool
ContainsWord(const char *text, size_t len, const char *word)
{
	size_t word_len = strlen(word);

	for (size_t i = 0; i + word_len <= len; i++)
	{
		if (strncasecmp(text + i, word, word_len) == 0)
			return true;
	}
	return false;
}

/* S3's answers, for example, which begin like a page, too */
static bool
IsXml(const HttpReply *reply, const char *text, size_t len)
{
	static const char *const beginnings[] = {"<?xml", "<Error>", "<Error "};

	if (ContainsWord(reply->content_type, strlen(reply->content_type), "xml"))
		return true;
	for (size_t i = 0; i < lengthof(beginnings); i++)
	{
		size_t n = strlen(beginnings[i]);

		if (len >= n && memcmp(text, beginnings[i], n) == 0)
			return true;
	}
	return false;
}

bool
WireIsHtml(const HttpReply *reply)
{
	size_t len = reply->body_len < SNIFF_BYTES ? reply->body_len : SNIFF_BYTES;
	size_t start = 0;

	if (ContainsWord(reply->content_type, strlen(reply->content_type), "html"))
		return true;
	while (start < len && reply->body[start] != '\0' && strchr(" \t\r\n", reply->body[start]) != NULL)
		start++;
	if (start == len || reply->body[start] != '<')
		return false;
	return !IsXml(reply, reply->body + start, len - start) || ContainsWord(reply->body, len, "<html");
}

static bool
ContainsAny(const char *text, size_t len, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		if (ContainsWord(text, len, words[i]))
			return true;
	}
	return false;
}

/*
 * What libcurl says of a TLS handshake that gets plain http for an answer (with
 * OpenSSL 3, OpenSSL 3.2 and GnuTLS), and what servers say of plain http where
 * they expect a handshake: nginx, Go and Apache in an HTTP 400.  Others, Envoy
 * and Node.js among them, just close the connection.
 */
const char *
WireSchemeHint(const HttpReply *reply, const char *url)
{
	static const char *const no_tls[] = {"wrong version number", "packet length too long", "unexpected TLS packet"};
	static const char *const wants_tls[] = {"plain HTTP request was sent to HTTPS port", "HTTP request to an HTTPS server",
											"plain HTTP to an SSL-enabled server port"};
	static const char *const closed[] = {"Empty reply from server", "HTTP/0.9"};
	size_t error_len = strlen(reply->error);

	if (strncasecmp(url, "https:", 6) == 0)
		return reply->outcome != HTTP_ANSWERED && ContainsAny(reply->error, error_len, no_tls, lengthof(no_tls))
			? "That port speaks plain http: begin the URL with http://, or name the port that speaks https."
			: NULL;
	if (reply->outcome == HTTP_ANSWERED)
		return reply->status == 400 && ContainsAny(reply->body, reply->body_len < SNIFF_BYTES ? reply->body_len : SNIFF_BYTES, wants_tls, lengthof(wants_tls))
			? "That port speaks https: begin the URL with https://."
			: NULL;
	return ContainsAny(reply->error, error_len, closed, lengthof(closed))
		? "If that port speaks https, begin the URL with https://."
		: NULL;
}

/* the product named in the error page, which helps to find the hop */
static const char *
HopName(const HttpReply *reply)
{
	static const char *const names[] = {"cloudflare", "nginx", "kong", "envoy", "haproxy", "varnish"};
	size_t len = reply->body_len < SNIFF_BYTES ? reply->body_len : SNIFF_BYTES;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (ContainsWord(reply->body, len, names[i]))
			return names[i];
	}
	return NULL;
}

/* the body's first bytes as ASCII, since its encoding is unknown */
static void
Excerpt(const HttpReply *reply, char *out, size_t size)
{
	size_t len = reply->body_len;

	if (len > EXCERPT_BYTES)
		len = EXCERPT_BYTES;
	if (len > size - 1)
		len = size - 1;
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) reply->body[i];

		out[i] = c == '\0' ? ' ' : c < 0x80 ? (char) c
											: '?';
	}
	out[len] = '\0';
	WireClean(out);
}

void
WireDescribe(const HttpReply *reply, char *out, size_t size)
{
	char text[EXCERPT_BYTES + 1];
	const char *hop;

	if (reply->outcome != HTTP_ANSWERED)
	{
		WireCopy(out, size, reply->error);
		WireClean(out);
		if (out[0] == '\0')
			WireCopy(out, size, FailureWords(reply->outcome));
		return;
	}

	if (WireIsHtml(reply))
	{
		hop = HopName(reply);
		if (hop != NULL)
			(void) snprintf(out, size, "HTTP %d from a gateway (HTML, %s)", reply->status, hop);
		else
			(void) snprintf(out, size, "HTTP %d from a gateway (HTML)", reply->status);
		return;
	}

	Excerpt(reply, text, sizeof(text));
	if (text[0] == '\0')
		(void) snprintf(out, size, "HTTP %d with an empty body", reply->status);
	else if (text[0] == '{' || text[0] == '[')
		(void) snprintf(out, size, "HTTP %d with an unrecognized body", reply->status);
	else
		(void) snprintf(out, size, "HTTP %d: %s", reply->status, text);
}

/*----------
 * Text
 *----------
 */

static bool
StartsWith(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/*
 * How many bytes at text look like a credential?  Services echo headers in
 * error messages, and those messages end up in rows that users read.
 */
static size_t
SecretLength(const char *text)
{
	size_t len;

	/* JSON Web Tokens (RFC 7519), Supabase's sb_secret_… and sb_publishable_… */
	if (StartsWith(text, "eyJ") || StartsWith(text, "sb_"))
	{
		len = strspn(text, ALNUM "_.-");
		return len >= 20 ? len : 0;
	}

	/* fal's <uuid>:<hex> */
	len = strspn(text, HEX "-");
	if (len >= 32 && text[len] == ':')
	{
		size_t tail = strspn(text + len + 1, HEX);

		return tail >= 16 ? len + 1 + tail : 0;
	}
	return 0;
}

/* like SecretLength, for what follows the name of an authentication scheme */
static size_t
CredentialLength(const char *text)
{
	size_t len = strcspn(text, " '\"<>");

	/* ordinary words, such as "Key ID", are kept */
	return len >= 20 || (len >= 3 && memchr(text, ':', len) != NULL) ? len : 0;
}

static char *
Mask(char *text, size_t secret_len)
{
	memcpy(text, MASK, strlen(MASK));
	memmove(text + strlen(MASK), text + secret_len, strlen(text + secret_len) + 1);
	return text + strlen(MASK);
}

static void
MaskSecrets(char *text)
{
	char *p = text;
	bool word_start = true;

	while (*p != '\0')
	{
		size_t scheme = StartsWith(p, "Bearer ") ? 7 : StartsWith(p, "Key ") ? 4
																			 : 0;
		size_t len = 0;

		if (word_start && scheme > 0 && (len = CredentialLength(p + scheme)) > 0)
			p += scheme;
		else if (word_start)
			len = SecretLength(p);

		if (len > 0)
		{
			p = Mask(p, len);
			word_start = false;
			continue;
		}
		word_start = strchr(ALNUM, *p) == NULL;
		p++;
	}
}

/* the bytes of the character at text, which is UTF-8 or, cut off, less */
static size_t
CharacterLength(const char *text)
{
	size_t len = 1;

	while (len < 4 && ((unsigned char) text[len] & 0xc0) == 0x80)
		len++;
	return len;
}

/* a character's number if people must not be sent it as it is, 0 if they may */
static unsigned
ControlNumber(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *) text;
	unsigned number = 0;

	if (len == 1)
		return p[0] < 0x20 || p[0] == 0x7f ? p[0] : 0;
	if (len == 2 && (p[0] & 0xe0) == 0xc0)
		number = (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
	if (len == 3 && (p[0] & 0xf0) == 0xe0)
		number = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
	/* C1 controls; separators of lines, and what turns the direction of writing */
	if ((number >= 0x80 && number < 0xa0) || (number >= 0x2028 && number <= 0x202e) || (number >= 0x2066 && number <= 0x2069))
		return number;
	return 0;
}

bool
WireIsControl(const char *character, size_t len)
{
	return ControlNumber(character, len) != 0;
}

void
WireClean(char *text)
{
	char *out = text;
	size_t len;

	for (const char *p = text; *p != '\0'; p += len)
	{
		len = CharacterLength(p);
		if (*p != ' ' && ControlNumber(p, len) == 0)
		{
			memmove(out, p, len);
			out += len;
		}
		else if (out > text && out[-1] != ' ')
			*out++ = ' ';
	}
	if (out > text && out[-1] == ' ')
		out--;
	*out = '\0';
	MaskSecrets(text);
}

static void
ShowCharacter(char out[8], const char *text, size_t len)
{
	unsigned number = ControlNumber(text, len);

	if (number == 0)
		(void) snprintf(out, 8, "%.*s", (int) len, text);
	else if (number == '\r' || number == '\n' || number == '\t')
		(void) snprintf(out, 8, "\\%c", number == '\r' ? 'r' : number == '\n' ? 'n'
																			  : 't');
	else
		(void) snprintf(out, 8, "\\u%04x", number & 0xffff);
}

const char *
WireShow(char out[WIRE_SHOWN_BYTES], const char *text)
{
	char shown[8];
	size_t len;

	out[0] = '\0';
	for (; *text != '\0'; text += len)
	{
		len = CharacterLength(text);
		ShowCharacter(shown, text, len);
		if (!WireAppend(out, WIRE_SHOWN_BYTES - strlen("..."), shown))
		{
			(void) WireAppend(out, WIRE_SHOWN_BYTES, "...");
			break;
		}
	}
	return out;
}

void
WireCopy(char *out, size_t size, const char *text)
{
	size_t len = strlen(text);

	if (len >= size)
	{
		len = size - 1;
		/* step back from the middle of a character */
		while (len > 0 && ((unsigned char) text[len] & 0xc0) == 0x80)
			len--;
	}
	memmove(out, text, len);
	out[len] = '\0';
}

/* our words for a job's fate, on which something is done */
static bool
IsReserved(const char *word)
{
	static const char *const ours[] = {"answer_lost", "submit_lost", "rolled_back", "orphaned", "fal_down",
									   "fal_busy", "limit", "paused", "quarantined", "job_timeout"};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strcmp(word, ours[i]) == 0)
			return true;
	return false;
}

void
WireCopyWord(char *out, size_t size, const char *word)
{
	size_t len = 0;

	if (IsReserved(word))
	{
		snprintf(out, size, "remote_%s", word);
		return;
	}
	for (; word[len] != '\0' && len < size - 1; len++)
		out[len] = strchr(ALNUM "_.-:", word[len]) != NULL ? word[len] : '_';
	out[len] = '\0';
}

int64_t
WireNumber(const char *text)
{
	int64_t number = 0;

	if (*text == '\0')
		return -1;
	for (; *text != '\0'; text++)
	{
		int digit = *text - '0';

		if (digit < 0 || digit > 9 || number > (INT64_MAX - digit) / 10)
			return -1;
		number = number * 10 + digit;
	}
	return number;
}

/*----------
 * URLs
 *----------
 */

bool
WireAppend(char *out, size_t size, const char *text)
{
	size_t used = strlen(out);
	size_t len = strlen(text);

	if (used + len >= size)
		return false;
	memcpy(out + used, text, len + 1);
	return true;
}

bool
WireAppendEncoded(char *out, size_t size, const char *text, const char *keep)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t used = strlen(out);
	size_t start = used;

	for (; *text != '\0'; text++)
	{
		unsigned char c = (unsigned char) *text;
		bool plain = strchr(ALNUM "-._~", *text) != NULL || strchr(keep, *text) != NULL;

		if (used + (plain ? 1 : 3) >= size)
		{
			out[start] = '\0';
			return false;
		}
		if (plain)
			out[used++] = *text;
		else
		{
			out[used++] = '%';
			out[used++] = digits[c >> 4];
			out[used++] = digits[c & 15];
		}
	}
	out[used] = '\0';
	return true;
}

bool
WireBaseUrlIsValid(const char *base)
{
	const char *host = strncasecmp(base, "https://", 8) == 0 ? base + 8
		: strncasecmp(base, "http://", 7) == 0				 ? base + 7
															 : NULL;

	if (host == NULL || *host == '\0' || *host == '/' || *host == ':')
		return false;

	/* no query or fragment to append into, no credentials, nothing unprintable */
	for (const char *p = host; *p != '\0'; p++)
	{
		if (*p <= 0x20 || *p >= 0x7f || strchr("?#@\\\"<>", *p) != NULL)
			return false;
	}
	return host[strlen(host) - 1] != '/';
}

/*----------
 * Dates, and Retry-After
 *----------
 */

/* A stands for letters, 0 for a digit, _ for a digit or a blank */
static bool
HasShape(const char *text, const char *shape)
{
	for (; *shape != '\0'; shape++)
	{
		size_t n;

		if (*shape == 'A')
			n = strspn(text, LETTERS);
		else if (*shape == '0')
			n = strspn(text, DIGITS) > 0;
		else if (*shape == '_')
			n = strspn(text, " " DIGITS) > 0;
		else
			n = *text == *shape;
		if (n == 0)
			return false;
		text += n;
	}
	return *text == '\0';
}

/* libcurl accepts far more than HTTP's dates: parts of a date, other time zones, plain numbers */
int64_t
WireDate(const char *text)
{
	static const char *const shapes[] = {
		"A, 00 A 0000 00:00:00 GMT", /* IMF-fixdate */
		"A, 00-A-00 00:00:00 GMT",	 /* RFC 850 */
		"A A _0 00:00:00 0000",		 /* asctime */
	};

	for (size_t i = 0; i < lengthof(shapes); i++)
	{
		if (HasShape(text, shapes[i]))
		{
			int64_t seconds = (int64_t) curl_getdate(text, NULL);

			return seconds < 0 ? -1 : seconds;
		}
	}
	return -1;
}

int
WireRetryAfter(const char *header, time_t now)
{
	size_t digits;
	int64_t seconds;

	header += strspn(header, " \t");
	digits = strspn(header, DIGITS);
	if (digits > 0)
	{
		if (header[digits + strspn(header + digits, " \t")] != '\0')
			return -1;
		seconds = digits > 9 ? MAX_RETRY_AFTER : strtol(header, NULL, 10);
	}
	else
	{
		seconds = WireDate(header);
		if (seconds < 0)
			return -1;
		seconds -= (int64_t) now;
	}
	if (seconds < 0)
		return 0;
	return seconds > MAX_RETRY_AFTER ? MAX_RETRY_AFTER : (int) seconds;
}
