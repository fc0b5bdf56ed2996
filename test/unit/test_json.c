/*
 * test_json.c
 *	  Picking values out of JSON.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

#define DOC "{\"video\": {\"url\":\"https://a/b\", \"size\" : 12.5e3, \"ok\":true, \"none\":null}, " \
			"\"detail\":[{\"type\":\"first\",\"loc\":[\"body\",\"prompt\"]},{\"type\":\"second\"}], " \
			"\"a\":{\"b\":{\"c\":[[1,2],[3]]}}, \"e\":{}, \"l\":[], \"v\\u0069deo2\":\"escaped name\", " \
			"\"x.y\":[\"dotted\"], \"\":\"nameless\", \"q\\\"\\\\\":\"quoted\", \"dup\":1, \"dup\":\"two\"}"

static void
TestPaths(void)
{
	static const struct
	{
		const char *path;
		JsonKind kind;
		const char *text;
		const char *raw;
	} cases[] = {
		{"video", JSON_OBJECT, "", NULL},
		{"video.url", JSON_STRING, "https://a/b", "\"https://a/b\""},
		{"video.size", JSON_NUMBER, "12.5e3", "12.5e3"},
		{"video.ok", JSON_BOOL, "true", "true"},
		{"video.none", JSON_NULL, "", "null"},
		{"video.missing", JSON_ABSENT, "", NULL},
		{"vide", JSON_ABSENT, "", NULL},
		{"video.ur", JSON_ABSENT, "", NULL},
		{"video.urls", JSON_ABSENT, "", NULL},
		{"url", JSON_ABSENT, "", NULL},
		{"detail", JSON_ARRAY, "", NULL},
		{"detail[0]", JSON_OBJECT, "", "{\"type\":\"first\",\"loc\":[\"body\",\"prompt\"]}"},
		{"detail[0].type", JSON_STRING, "first", "\"first\""},
		{"detail[1].type", JSON_STRING, "second", "\"second\""},
		{"detail[0].loc[1]", JSON_STRING, "prompt", "\"prompt\""},
		{"detail[2]", JSON_ABSENT, "", NULL},
		{"detail.type", JSON_ABSENT, "", NULL},
		{"a.b.c[0][1]", JSON_NUMBER, "2", "2"},
		{"a.b.c[1][0]", JSON_NUMBER, "3", "3"},
		{"a.b.c[1]", JSON_ARRAY, "", "[3]"},
		{"a.b.c", JSON_ARRAY, "", "[[1,2],[3]]"},
		{"e", JSON_OBJECT, "", "{}"},
		{"l", JSON_ARRAY, "", "[]"},
		{"video2", JSON_STRING, "escaped name", NULL},
		{"x.y", JSON_ABSENT, "", NULL},
		{"[0]", JSON_ABSENT, "", NULL},
		{"q\"\\", JSON_STRING, "quoted", NULL},
		{"dup", JSON_STRING, "two", "\"two\""},
		{"", JSON_OBJECT, "", DOC},
	};
	JsonWant wants[lengthof(cases)];
	char texts[lengthof(cases)][64];

	memset(wants, 0, sizeof(wants));
	for (size_t i = 0; i < lengthof(cases); i++)
	{
		wants[i].path = cases[i].path;
		wants[i].text = texts[i];
		wants[i].size = sizeof(texts[i]);
	}
	CheckTrue("paths", "document is read", JsonPick(DOC, strlen(DOC), wants, lengthof(wants)));
	for (size_t i = 0; i < lengthof(cases); i++)
	{
		CheckNumber(cases[i].path, "kind", wants[i].kind, cases[i].kind);
		CheckText(cases[i].path, "text", texts[i], cases[i].text);
		if (cases[i].raw != NULL)
		{
			CheckNumber(cases[i].path, "raw length", (int64_t) wants[i].raw_len, (int64_t) strlen(cases[i].raw));
			CheckTrue(cases[i].path, "raw text", strncmp(wants[i].raw, cases[i].raw, wants[i].raw_len) == 0);
		}
	}
}

static void
TestRoots(void)
{
	static const struct
	{
		const char *json;
		JsonKind kind;
		const char *text;
	} cases[] = {
		{" \"a\\u00e9\\n\\/\" ", JSON_STRING, "a\303\251\n/"},
		{"\t-1.5e+10\n", JSON_NUMBER, "-1.5e+10"},
		{"true", JSON_BOOL, "true"},
		{"null", JSON_NULL, ""},
		{"[]", JSON_ARRAY, ""},
		{" {} ", JSON_OBJECT, ""},
		{"\"\\ud83d\\ude00!\"", JSON_STRING, "\360\237\230\200!"},
		{"\"\360\237\230\200\"", JSON_STRING, "\360\237\230\200"},
		{"\"\\ud83d\"", JSON_STRING, "\357\277\275"},
		{"\"\\ud83dx\"", JSON_STRING, "\357\277\275x"},
		{"\"\\ud83d\\u0041\"", JSON_STRING, "\357\277\275A"},
		{"\"\\ude00\"", JSON_STRING, "\357\277\275"},
		{"\"a\\u0000b\"", JSON_STRING, "a\357\277\275b"},
		{"\"\\\\\\\"\\b\\f\\r\\t\"", JSON_STRING, "\\\"\b\f\r\t"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		char text[64];
		JsonWant want = {.path = "", .text = text, .size = sizeof(text)};

		CheckTrue(cases[i].json, "is read", JsonPick(cases[i].json, strlen(cases[i].json), &want, 1));
		CheckNumber(cases[i].json, "kind", want.kind, cases[i].kind);
		CheckText(cases[i].json, "text", text, cases[i].text);
	}
}

static void
TestRefused(void)
{
	static const char *const cases[] = {
		"",
		" ",
		"{",
		"}",
		"{\"a\":1",
		"{\"a\":1,}",
		"[1,]",
		"{a:1}",
		"{'a':1}",
		"nul",
		"01",
		"1 2",
		"\"a",
		"\"\\x\"",
		"\"\\u12g4\"",
		"\"\\u12\"",
		"\"a\nb\"",
		"\"\377\"",
		"\"\303\"",
		"\"\300\200\"",
		"\"\355\240\200\"",
		"\"\364\220\200\200\"",
		"<html></html>",
		"{\"a\":\303}",
		"NaN",
		"{\"a\" 1}",
		"{} {}",
		"[1}",
		"\"\\",
		"\"\\\303\251\"",
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		char text[8] = "old";
		JsonWant want = {.path = "a", .text = text, .size = sizeof(text), .kind = JSON_BOOL};

		CheckTrue(cases[i], "is refused", !JsonPick(cases[i], strlen(cases[i]), &want, 1));
		CheckNumber(cases[i], "kind", want.kind, JSON_ABSENT);
		CheckText(cases[i], "text", text, "");
	}
	CheckTrue("no body", "is refused", !JsonPick(NULL, 0, NULL, 0));
	CheckTrue("NUL in string", "is refused", !JsonPick("\"a\0b\"", 5, NULL, 0));
	CheckTrue("NUL after escape", "is refused", !JsonPick("\"a\\\0b\"", 6, NULL, 0));
	CheckTrue("not NUL-terminated", "stops at len", JsonPick("[1]]]]", 3, NULL, 0));
	CheckTrue("number at the end", "stops at len", JsonPick("123", 2, NULL, 0));
}

static void
TestCutting(void)
{
	static const struct
	{
		const char *json;
		size_t size;
		const char *text;
		bool truncated;
	} cases[] = {
		{"\"abc\"", 4, "abc", false},
		{"\"abcd\"", 4, "abc", true},
		{"\"ab\303\251\"", 4, "ab", true},
		{"\"ab\303\251\"", 5, "ab\303\251", false},
		{"\"ab\\u00e9\"", 4, "ab", true},
		{"\"\\ud83d\\ude00\"", 4, "", true},
		{"\"abc\"", 1, "", true},
		{"12345", 4, "123", true},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		char text[16];
		JsonWant want = {.path = "", .text = text, .size = cases[i].size};

		CheckTrue(cases[i].json, "is read", JsonPick(cases[i].json, strlen(cases[i].json), &want, 1));
		CheckText(cases[i].json, "text", text, cases[i].text);
		CheckNumber(cases[i].json, "truncated", want.truncated, cases[i].truncated);
	}
}

static void
TestLimits(void)
{
	size_t len = JSON_MAX_LENGTH;
	char *json = malloc(len + 2);
	JsonWant want = {.path = ""};

	memset(json, '[', JSON_MAX_DEPTH + 1);
	memset(json + JSON_MAX_DEPTH + 1, ']', JSON_MAX_DEPTH + 1);
	CheckTrue("nesting", "one too deep", !JsonPick(json, 2 * (JSON_MAX_DEPTH + 1), &want, 1));
	CheckTrue("nesting", "deepest", JsonPick(json + 1, (size_t) 2 * JSON_MAX_DEPTH, &want, 1));

	memset(json, ' ', len + 2);
	json[0] = '1';
	CheckTrue("length", "longest", JsonPick(json, len, &want, 1));
	CheckTrue("length", "one too long", !JsonPick(json, len + 1, &want, 1));

	/* brackets in strings are no nesting */
	memset(json, '[', 100);
	json[0] = json[99] = '"';
	json[50] = '\\';
	json[51] = '"';
	CheckTrue("nesting", "in a string", JsonPick(json, 100, &want, 1));
	free(json);
}

typedef struct Visits
{
	int count;
	int enough;
	char text[128];
} Visits;

static bool
Visit(const char *raw, size_t raw_len, void *arg)
{
	Visits *visits = arg;

	snprintf(visits->text + strlen(visits->text), sizeof(visits->text) - strlen(visits->text),
			 "%.*s;", (int) raw_len, raw);
	return ++visits->count != visits->enough;
}

static void
TestEach(void)
{
	static const struct
	{
		const char *json;
		const char *path;
		int enough;
		bool found;
		const char *visited;
	} cases[] = {
		{"{\"items\":[1, {\"a\":[2,3]} ,\"x\", null]}", "items", 0, true, "1;{\"a\":[2,3]};\"x\";null;"},
		{"{\"items\":[1,2,3]}", "items", 2, true, "1;2;"},
		{"{\"items\":[]}", "items", 0, true, ""},
		{"{\"items\":{}}", "items", 0, false, ""},
		{"{}", "items", 0, false, ""},
		{"[[1],[2, 3]]", "[1]", 0, true, "2;3;"},
		{"[1,2]", "", 0, true, "1;2;"},
		{"{\"a\":{\"items\":[1]}}", "items", 0, false, ""},
		{"{\"a\":{\"items\":[1]}}", "a.items", 0, true, "1;"},
		{"{\"items\":[1,", "items", 0, false, "1;"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		Visits visits = {.enough = cases[i].enough};

		CheckNumber(cases[i].json, "found", JsonEach(cases[i].json, strlen(cases[i].json), cases[i].path, Visit, &visits), cases[i].found);
		CheckText(cases[i].json, "visited", visits.text, cases[i].visited);
	}
}

typedef struct Finds
{
	int enough;
	char text[400];
} Finds;

static bool
Find(const JsonPlace *place, void *arg)
{
	Finds *finds = arg;
	size_t len = strlen(finds->text);

	snprintf(finds->text + len, sizeof(finds->text) - len, "%d %s %s=%.*s;", place->depth, place->name, place->path,
			 place->kind == JSON_OBJECT || place->kind == JSON_ARRAY ? 1 : (int) place->raw_len, place->raw);
	return finds->enough == 0 || --finds->enough > 0;
}

static void
TestSearch(void)
{
	static const struct
	{
		const char *json;
		int depth;
		int values;
		int enough;
		bool is_json;
		const char *found;
	} cases[] = {
		{" {\"a\":{\"b\":[1, \"x\" ]},\"c\":null} ", 9, 99, 0, true,
		 "3  a.b[0]=1;3  a.b[1]=\"x\";2 b a.b=[;1 a a={;1 c c=null;0  ={;"},
		{"{\"a\":{\"b\":[1]},\"c\":null}", 2, 99, 0, true, "2 b a.b=[;1 a a={;1 c c=null;0  ={;"},
		{"{\"a\":{\"b\":[1,2,true]},\"c\":\"x\"}", 9, 2, 0, true, "3  a.b[0]=1;3  a.b[1]=2;3  a.b[2]=true;2 b a.b=[;1 a a={;"},
		{"{\"a\":{\"b\":[1]},\"c\":null}", 9, 99, 1, true, "3  a.b[0]=1;"},
		{"{\"a.b\":1,\"[\":{\"c\":2}}", 9, 99, 0, true, "1  =1;2 c .c=2;1  ={;0  ={;"},
		{"7", 0, 1, 0, true, "0  =7;"},
		{"[1,", 9, 99, 0, false, "1  [0]=1;"},
		{"", 9, 99, 0, false, ""},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		Finds finds = {.enough = cases[i].enough};

		CheckNumber(cases[i].json, "is JSON", JsonSearch(cases[i].json, strlen(cases[i].json), cases[i].depth, cases[i].values, Find, &finds), cases[i].is_json);
		CheckText(cases[i].json, "found", finds.text, cases[i].found);
	}
}

static void
TestRepair(void)
{
	static const struct
	{
		const char *json;
		const char *repaired;
	} cases[] = {
		{"", ""},
		{"{\"a\":\"\xc3\xa4\"}", "{\"a\":\"\xc3\xa4\"}"},
		{"\xef\xbb\xbf{}", "{}"},
		{"\xef\xbb", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\"\xe4\"", "\"\xef\xbf\xbd\""},
		{"\xed\xa0\x80\xff", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		char out[40] = "";

		CheckNumber("repair", "length", JsonRepair(cases[i].json, strlen(cases[i].json), out), strlen(cases[i].repaired));
		CheckText("repair", "text", out, cases[i].repaired);
	}
}

static void
TestFitsJsonb(void)
{
	static const struct
	{
		const char *json;
		bool fits;
	} cases[] = {
		{"{\"a\":\"b\\u00e9\\n\\\\u0000\"}", true},
		{"\"\\ud83d\\ude00\"", true},
		{"\"\\ufffd\"", true},
		{"\"\\u0000\"", false},
		{"\"\\ud83d\"", false},
		{"\"\\ud83d\\n\"", false},
		{"\"\\ude00\\ud83d\"", false},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
		CheckNumber(cases[i].json, "fits jsonb", JsonFitsJsonb(cases[i].json, strlen(cases[i].json)), cases[i].fits);
}

void
TestJson(void)
{
	TestPaths();
	TestRoots();
	TestRefused();
	TestCutting();
	TestLimits();
	TestEach();
	TestSearch();
	TestRepair();
	TestFitsJsonb();
}
