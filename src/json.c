/*
 * json.c
 *	  Picking values by path out of JSON that came from the network.
 *
 * Postgres' parser walks the document and we keep track of the current path.
 * It does not unescape strings: the backend's version would convert them to
 * the database's encoding, which can throw, and would mix encodings within one
 * string.  We unescape the raw token ourselves, always to UTF-8.  So the
 * parser allocates nothing but its own small struct, and nothing that a
 * caller's visit function does, including throwing, can harm it.
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"

#include "json.h"

/* names longer than this are never looked for */
#define NAME_SIZE 64

/* an escape that has no meaning in text: NUL or half a surrogate pair */
#define NOT_TEXT ((pg_wchar) -1)

/* semantic actions return success since 16, and nothing before */
#if PG_VERSION_NUM >= 160000
#define ACTION static JsonParseErrorType
#define ACTION_DONE return JSON_SUCCESS
#else
#define ACTION static void
#define ACTION_DONE return
#endif

/* a value on the path from the root to the parser's position */
typedef struct PathStep
{
	const char *start;	  /* of the value's text */
	int index;			  /* in its array, -1 for an object's field */
	char name[NAME_SIZE]; /* of the field, "" if no path can name it */
} PathStep;

typedef struct Walk
{
	JsonLexContext *lex;
	int depth; /* number of steps */
	PathStep steps[JSON_MAX_DEPTH];
	int next_index[JSON_MAX_DEPTH + 1]; /* per container */

	/* JsonPick */
	JsonWant *wants;
	int nwants;

	/* JsonEach */
	const char *array_path;
	bool array_found;
	JsonVisit visit;

	/* JsonSearch */
	int max_depth;
	int values_left;
	JsonFind find;

	void *arg; /* of visit or find */
} Walk;

/*----------
 * Before parsing
 *----------
 */

/*
 * Is it safe to parse this?  The parser reads strings as UTF-8 without
 * checking and recurses for each level of nesting.
 */
static bool
PreScan(const char *json, size_t len)
{
	bool in_string = false;
	int depth = 0;

	if (len == 0 || len > JSON_MAX_LENGTH)
		return false;

	for (size_t i = 0; i < len;)
	{
		const unsigned char *s = (const unsigned char *) json + i;
		size_t char_len = 1;

		if (*s == '\0')
			return false;
		if (*s >= 0x80)
		{
			char_len = (size_t) pg_utf_mblen(s);
			if (char_len > len - i || !pg_utf8_islegal(s, (int) char_len))
				return false;
		}
		else if (in_string)
		{
			/* skip the escaped character, which has no meaning here */
			if (*s == '\\' && i + 1 < len && s[1] != '\0' && s[1] < 0x80)
				char_len = 2;
			else if (*s == '"')
				in_string = false;
		}
		else if (*s == '"')
			in_string = true;
		else if (*s == '{' || *s == '[')
		{
			if (++depth > JSON_MAX_DEPTH)
				return false;
		}
		else if (*s == '}' || *s == ']')
			depth--;
		i += char_len;
	}
	return true;
}

/*----------
 * Strings
 *----------
 */

/* the four hex digits after \u; the parser has checked that they are there */
static pg_wchar
HexDigits(const char *s)
{
	pg_wchar value = 0;

	for (int i = 0; i < 4; i++)
	{
		char c = s[i];

		value = value * 16 + (pg_wchar) (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return value;
}

/* decode the escape at s (just after the backslash), advancing it */
static pg_wchar
Unescape(const char **s, const char *end)
{
	static const char from[] = "bfnrt";
	static const char to[] = "\b\f\n\r\t";
	char c = *(*s)++;
	const char *simple = strchr(from, c);
	pg_wchar code;

	if (c != 'u')
		return (pg_wchar) (simple != NULL ? to[simple - from] : c);

	code = HexDigits(*s);
	*s += 4;
	if (is_utf16_surrogate_first(code) && end - *s >= 6 && (*s)[0] == '\\' && (*s)[1] == 'u')
	{
		pg_wchar second = HexDigits(*s + 2);

		if (is_utf16_surrogate_second(second))
		{
			*s += 6;
			return surrogate_pair_to_codepoint(code, second);
		}
	}
	if (code == 0 || is_utf16_surrogate_first(code) || is_utf16_surrogate_second(code))
		return NOT_TEXT;
	return code;
}

/*
 * Unescape a string token, quotes included; false when it had to be truncated.
 * An answer must not become unreadable because the service cut an emoji in
 * two, so what is not text is replaced, not rejected.
 */
static bool
CopyString(const char *token, size_t len, char *out, size_t size)
{
	const char *s = token + 1;
	const char *end = token + len - 1;
	size_t used = 0;
	bool fits = true;

	while (s < end)
	{
		unsigned char utf8[MAX_MULTIBYTE_CHAR_LEN] = {0};
		size_t char_len;

		if (*s == '\\')
		{
			pg_wchar code;

			s++;
			code = Unescape(&s, end);
			unicode_to_utf8(code == NOT_TEXT ? 0xFFFD : code, utf8);
			char_len = (size_t) pg_utf_mblen(utf8);
		}
		else
		{
			char_len = (size_t) pg_utf_mblen((const unsigned char *) s);
			memcpy(utf8, s, char_len);
			s += char_len;
		}
		if (used + char_len >= size)
		{
			fits = false;
			break;
		}
		memcpy(out + used, utf8, char_len);
		used += char_len;
	}
	out[used] = '\0';
	return fits;
}

static bool
CopyToken(const char *token, size_t len, char *out, size_t size)
{
	bool fits = len < size;

	if (!fits)
		len = size - 1;
	memcpy(out, token, len);
	out[len] = '\0';
	return fits;
}

/*----------
 * Paths and values
 *----------
 */

static JsonKind
KindOf(char first)
{
	switch (first)
	{
		case '{':
			return JSON_OBJECT;
		case '[':
			return JSON_ARRAY;
		case '"':
			return JSON_STRING;
		case 'n':
			return JSON_NULL;
		case 't':
		case 'f':
			return JSON_BOOL;
		default:
			return JSON_NUMBER;
	}
}

/* does path lead along the first nsteps steps, and no further? */
static bool
PathMatches(const Walk *walk, int nsteps, const char *path)
{
	const char *p = path;

	for (int i = 0; i < nsteps; i++)
	{
		const PathStep *step = &walk->steps[i];

		if (step->index >= 0)
		{
			char *end;

			if (*p != '[' || strtol(p + 1, &end, 10) != step->index || *end != ']')
				return false;
			p = end + 1;
		}
		else
		{
			size_t len = strlen(step->name);

			if (p != path && *p++ != '.')
				return false;
			if (len == 0 || strncmp(p, step->name, len) != 0)
				return false;
			p += len;
		}
	}
	return *p == '\0';
}

static void
Capture(JsonWant *want, const char *raw, size_t raw_len)
{
	want->kind = KindOf(*raw);
	want->raw = raw;
	want->raw_len = raw_len;
	want->truncated = false;
	if (want->size == 0)
		return;

	want->text[0] = '\0'; /* this replaces an earlier field of the same name */
	if (want->kind == JSON_STRING)
		want->truncated = !CopyString(raw, raw_len, want->text, want->size);
	else if (want->kind == JSON_NUMBER || want->kind == JSON_BOOL)
		want->truncated = !CopyToken(raw, raw_len, want->text, want->size);
}

static void
CaptureWanted(Walk *walk, const char *raw, size_t raw_len)
{
	for (int i = 0; i < walk->nwants; i++)
	{
		if (PathMatches(walk, walk->depth, walk->wants[i].path))
			Capture(&walk->wants[i], raw, raw_len);
	}
}

/* the first nsteps steps as a path */
static void
WritePath(const Walk *walk, int nsteps, char *path)
{
	size_t used = 0;

	path[0] = '\0';
	for (int i = 0; i < nsteps && used < JSON_PATH_SIZE; i++)
	{
		const PathStep *step = &walk->steps[i];
		size_t room = JSON_PATH_SIZE - used;

		if (step->index >= 0)
			used += (size_t) snprintf(path + used, room, "[%d]", step->index);
		else
			used += (size_t) snprintf(path + used, room, "%s%s", i > 0 ? "." : "", step->name);
	}
}

static void
FindValue(Walk *walk, const char *raw, size_t raw_len)
{
	char path[JSON_PATH_SIZE];
	JsonPlace place = {.path = path, .name = "", .depth = walk->depth, .kind = KindOf(*raw), .raw = raw, .raw_len = raw_len};

	if (walk->find == NULL || walk->depth > walk->max_depth)
		return;
	WritePath(walk, walk->depth, path);
	if (walk->depth > 0 && walk->steps[walk->depth - 1].index < 0)
		place.name = walk->steps[walk->depth - 1].name;
	/* there can be very many numbers */
	if ((place.kind == JSON_STRING || place.kind == JSON_ARRAY || place.kind == JSON_OBJECT) && walk->values_left-- <= 0)
		walk->find = NULL;
	else if (!walk->find(&place, walk->arg))
		walk->find = NULL; /* stop */
}

static void
ForgetWanted(JsonWant *wants, int nwants)
{
	for (int i = 0; i < nwants; i++)
	{
		wants[i].kind = JSON_ABSENT;
		wants[i].truncated = false;
		wants[i].raw = NULL;
		wants[i].raw_len = 0;
		if (wants[i].size > 0)
			wants[i].text[0] = '\0';
	}
}

/*----------
 * The parser's semantic actions
 *----------
 */

/*
 * The name of the field whose value the parser is about to read.  It does not
 * pass the name when it does not unescape, but it has just read `"name" :`,
 * and only escaped quotes can occur between the closing quote and the opening
 * one.
 */
static void
FieldName(const Walk *walk, char *name)
{
	const char *begin = walk->lex->input;
	const char *last = walk->lex->prev_token_terminator - 1;
	const char *first;

	while (last > begin && *last != '"')
		last--;
	first = last - 1;
	while (first > begin && (*first != '"' || first[-1] == '\\'))
		first--;

	/* dots and brackets mean something else in a path */
	if (!CopyString(first, (size_t) (last - first + 1), name, NAME_SIZE) ||
		strpbrk(name, ".[]") != NULL)
		name[0] = '\0';
}

static PathStep *
PushStep(Walk *walk)
{
	PathStep *step = &walk->steps[walk->depth++];

	Assert(walk->depth <= JSON_MAX_DEPTH); /* by PreScan */
	step->start = walk->lex->token_start;
	return step;
}

ACTION
FieldStart(void *state, char *fname pg_attribute_unused(), bool isnull pg_attribute_unused())
{
	Walk *walk = state;
	PathStep *step = PushStep(walk);

	step->index = -1;
	FieldName(walk, step->name);
	ACTION_DONE;
}

ACTION
FieldEnd(void *state, char *fname pg_attribute_unused(), bool isnull pg_attribute_unused())
{
	Walk *walk = state;
	const char *start = walk->steps[walk->depth - 1].start;
	size_t len = (size_t) (walk->lex->prev_token_terminator - start);

	CaptureWanted(walk, start, len);
	FindValue(walk, start, len);
	walk->depth--;
	ACTION_DONE;
}

ACTION
ArrayStart(void *state)
{
	Walk *walk = state;

	walk->next_index[walk->depth] = 0;
	if (walk->array_path != NULL && PathMatches(walk, walk->depth, walk->array_path))
		walk->array_found = true;
	ACTION_DONE;
}

ACTION
ElementStart(void *state, bool isnull pg_attribute_unused())
{
	Walk *walk = state;
	int index = walk->next_index[walk->depth]++;

	PushStep(walk)->index = index;
	ACTION_DONE;
}

ACTION
ElementEnd(void *state, bool isnull pg_attribute_unused())
{
	Walk *walk = state;
	const char *start = walk->steps[walk->depth - 1].start;
	size_t len = (size_t) (walk->lex->prev_token_terminator - start);

	CaptureWanted(walk, start, len);
	FindValue(walk, start, len);
	if (walk->visit != NULL && PathMatches(walk, walk->depth - 1, walk->array_path) &&
		!walk->visit(start, len, walk->arg))
		walk->visit = NULL; /* stop; before 16 there is no way to stop the parser */
	walk->depth--;
	ACTION_DONE;
}

static bool
Parse(const char *json, size_t len, Walk *walk)
{
	JsonSemAction actions = {
		.semstate = walk,
		.array_start = ArrayStart,
		.object_field_start = FieldStart,
		.object_field_end = FieldEnd,
		.array_element_start = ElementStart,
		.array_element_end = ElementEnd,
	};
	bool parsed;

	if (!PreScan(json, len))
		return false;

#if PG_VERSION_NUM >= 170000
	walk->lex = makeJsonLexContextCstringLen(NULL, json, len, PG_UTF8, false);
	parsed = pg_parse_json(walk->lex, &actions) == JSON_SUCCESS;
	freeJsonLexContext(walk->lex);
#else
	walk->lex = makeJsonLexContextCstringLen(unconstify(char *, json), (int) len, PG_UTF8, false);
	parsed = pg_parse_json(walk->lex, &actions) == JSON_SUCCESS;
	pfree(walk->lex);
#endif
	return parsed;
}

/*----------
 * Entry points
 *----------
 */

/* a document that was parsed, without the white space around it */
static const char *
Trim(const char *json, size_t *len)
{
	while (strchr(" \t\r\n", json[*len - 1]) != NULL)
		(*len)--;
	for (; strchr(" \t\r\n", *json) != NULL; (*len)--)
		json++;
	return json;
}

bool
JsonPick(const char *json, size_t len, JsonWant *wants, int nwants)
{
	Walk walk = {.wants = wants, .nwants = nwants};

	ForgetWanted(wants, nwants);
	if (!Parse(json, len, &walk))
	{
		ForgetWanted(wants, nwants);
		return false;
	}

	/* the root has no field or element action */
	json = Trim(json, &len);
	CaptureWanted(&walk, json, len);
	return true;
}

bool
JsonEach(const char *json, size_t len, const char *path, JsonVisit visit, void *arg)
{
	Walk walk = {.array_path = path, .visit = visit, .arg = arg};

	return Parse(json, len, &walk) && walk.array_found;
}

bool
JsonSearch(const char *json, size_t len, int max_depth, int max_values, JsonFind visit, void *arg)
{
	Walk walk = {.max_depth = max_depth, .values_left = max_values, .find = visit, .arg = arg};

	if (!Parse(json, len, &walk))
		return false;
	json = Trim(json, &len);
	FindValue(&walk, json, len);
	return true;
}

size_t
JsonRepair(const char *json, size_t len, char *out)
{
	static const char bom[] = "\xef\xbb\xbf";
	static const char replacement[] = "\xef\xbf\xbd";
	size_t used = 0;
	size_t i = len >= 3 && memcmp(json, bom, 3) == 0 ? 3 : 0;

	while (i < len)
	{
		const unsigned char *s = (const unsigned char *) json + i;
		size_t char_len = (size_t) pg_utf_mblen(s);

		if (char_len <= len - i && pg_utf8_islegal(s, (int) char_len))
			memcpy(out + used, s, char_len);
		else
		{
			memcpy(out + used, replacement, 3);
			used += 2;
			char_len = 1;
		}
		used += char_len;
		i += char_len;
	}
	return used;
}

/*
 * Look for \u0000 and unpaired surrogates, which are valid JSON but not valid
 * text in Postgres.  The rest is known to be well-formed.
 */
bool
JsonFitsJsonb(const char *json, size_t len)
{
	const char *end = json + len;

	while (json < end)
	{
		if (*json++ != '\\')
			continue;
		if (Unescape(&json, end) == NOT_TEXT)
			return false;
	}
	return true;
}
