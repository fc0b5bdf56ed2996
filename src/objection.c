/*
 * objection.c
 *	  Which of a model's words about its input the app's user may read.
 *
 * A model that rejects an input says what is wrong with which field, in words for
 * whoever wrote the input (fal.ai/docs: "errors", detail[].loc and .msg).  They are
 * the only words of a server that a user gets to read.  But they are free text:
 * one that names a host, an address, a path, a program or a key, or that looks
 * like a page or a trace, is withheld as a whole, since what is left of it would
 * not be what anybody has written.  A harmless text that is withheld costs little:
 * the user reads a general sentence, and the operator has the text.
 */
#include "objection.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "wire.h"

#define DIGITS "0123456789"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define KEY_CHARACTERS LETTERS DIGITS "-_+/="
#define FIELD_BYTES 40
#define KEY_BYTES 24	 /* a word with letters and digits of this length is a key or an id */
#define ANY_KEY_BYTES 40 /* one without, too */

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

static bool
IsDigit(char c)
{
	return c >= '0' && c <= '9';
}

/* in any alphabet */
static bool
IsLetter(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (unsigned char) c >= 0x80;
}

static bool
IsWordCharacter(char c)
{
	return IsLetter(c) || IsDigit(c);
}

/*----------
 * Words
 *----------
 */

/* anywhere, also within a word */
static const char *const fragments[] = {
	"http", "://", "www.", "localhost", "vibevideo", "traceback", "exception", "errno", "nginx", "cloudflare", "haproxy",
	"gateway", "proxy", "bearer", "api key", "api-key", "api_key", "apikey", "password", "secret", "***", "postgres",
	"server error", "service unavailable", "bad request", "stack trace", "::"};

/* as a word of its own */
static const char *const words[] = {
	"host", "hostname", "hosts", "port", "dns", "ssl", "tls", "socket", "connection", "server", "servers", "sql", "redis",
	"kubernetes", "docker", "upstream", "backend", "nullpointer", "null", "undefined", "errno", "env"};

static bool
IsWordAt(const char *text, const char *at, const char *word)
{
	size_t len = strlen(word);

	return strncasecmp(at, word, len) == 0 && (at == text || !IsWordCharacter(at[-1])) && !IsWordCharacter(at[len]);
}

static bool
NamesMachinery(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
	{
		for (size_t i = 0; i < lengthof(fragments); i++)
			if (strncasecmp(p, fragments[i], strlen(fragments[i])) == 0)
				return true;
		for (size_t i = 0; i < lengthof(words); i++)
			if (IsWordAt(text, p, words[i]))
				return true;
	}
	return false;
}

/*----------
 * Forms
 *----------
 */

/* markup, JSON, escapes, mail addresses, Windows' paths */
static bool
HasMarkup(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if (strchr("{}\\`@", *p) != NULL || (*p == '<' && (IsLetter(p[1]) || p[1] == '/' || p[1] == '!')))
			return true;
	return false;
}

/* "name.word": a host or a file; not "e.g.", "2.5" or the end of a sentence */
static bool
IsNameWithDot(const char *text, const char *dot)
{
	size_t n = 0;

	while (IsLetter(dot[1 + n]))
		n++;
	return dot > text && IsWordCharacter(dot[-1]) && n >= 2;
}

/* 10.0.0.1, and versions */
static bool
IsDottedNumber(const char *text, const char *dot)
{
	const char *end = dot + 1 + strspn(dot + 1, DIGITS);

	return dot > text && IsDigit(dot[-1]) && end > dot + 1 && *end == '.' && IsDigit(end[1]);
}

/* "redis:6379", not "16:9" or "14:05" */
static bool
IsPort(const char *text, const char *colon)
{
	const char *start = colon;

	if (!IsDigit(colon[1]))
		return false;
	while (start > text && (IsWordCharacter(start[-1]) || start[-1] == '-' || start[-1] == '_'))
		start--;
	return start < colon && strspn(start, DIGITS) < (size_t) (colon - start);
}

static bool
HasAddress(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if ((*p == '.' && (IsNameWithDot(text, p) || IsDottedNumber(text, p))) || (*p == ':' && IsPort(text, p)))
			return true;
	return false;
}

/* a word that is a path, an address of IPv6, or a key or id */
static bool
IsMachineWord(const char *word, size_t len)
{
	size_t slashes = 0;
	size_t colons = 0;
	size_t key = 0;
	bool digit = false;

	for (size_t i = 0; i < len; i++)
	{
		slashes += (word[i] == '/');
		colons += (word[i] == ':' && i + 1 < len);
		key = strchr(KEY_CHARACTERS, word[i]) != NULL ? key + 1 : 0;
		digit = key > 0 && (digit || IsDigit(word[i]));
		if (key >= ANY_KEY_BYTES || (key >= KEY_BYTES && digit))
			return true;
	}
	return slashes > 2 || colons > 2 || (len > 1 && (word[0] == '/' || word[0] == '~') && IsWordCharacter(word[1]));
}

static bool
HasMachineWord(const char *text)
{
	while (*text != '\0')
	{
		size_t len;

		text += strspn(text, " ()[]'\",;");
		len = strcspn(text, " ()[]'\",;");
		if (IsMachineWord(text, len))
			return true;
		text += len;
	}
	return false;
}

bool
ObjectionIsPlain(const char *text)
{
	return !NamesMachinery(text) && !HasMarkup(text) && !HasAddress(text) && !HasMachineWord(text);
}

/*----------
 * The sentence
 *----------
 */
static bool
IsFieldName(const char *field)
{
	size_t len = strspn(field, LETTERS DIGITS "_");

	return len > 0 && len <= FIELD_BYTES && field[len] == '\0' && !IsDigit(field[0]);
}

void
ObjectionMake(char *out, size_t size, const char *field, const char *words_said)
{
	char text[1200];
	bool has_letter = false;

	out[0] = '\0';
	for (const char *p = words_said; *p != '\0'; p++)
		has_letter |= IsLetter(*p);
	if (!has_letter || strlen(words_said) + FIELD_BYTES + 3 > sizeof(text))
		return;
	(void) snprintf(text, sizeof(text), "%s%s%s", IsFieldName(field) ? field : "", IsFieldName(field) ? ": " : "", words_said);
	if (ObjectionIsPlain(text))
		WireCopy(out, size, text);
}
