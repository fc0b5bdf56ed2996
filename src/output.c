/*
 * output.c
 *	  Where the video is in a model's output.
 */
#include "output.h"

#include <string.h>
#include <strings.h>

#include "json.h"
#include "wire.h"

#define BLANKS " \t\r\n\v\f"

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

void
OutputClear(OutputFile *file)
{
	file->url[0] = '\0';
	file->content_type[0] = '\0';
	file->file_size = -1;
}

/* what ends the host of a URL; a blank in the host would be invalid */
static size_t
AuthorityLength(const char *url)
{
	const char *host = strstr(url, "://");

	if (strncasecmp(url, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0)
		return 0;
	host += 3;
	return (size_t) (host - url) + strcspn(host, "/?#");
}

/*
 * Models make URLs of file names.  Blanks and letters beyond ASCII are encoded
 * as in a redirect, except in the host; control characters are not accepted.
 */
static bool
EncodeUrl(const char *url, char *out, size_t size)
{
	size_t authority = AuthorityLength(url);

	for (size_t i = 0; url[i] != '\0'; i++)
	{
		unsigned char c = (unsigned char) url[i];

		if (c < 0x20 || c == 0x7f || (i < authority && (c == 0x20 || c > 0x7f)))
			return false;
	}
	out[0] = '\0';
	return authority > 0 && WireAppendEncoded(out, size, url, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}");
}

const char output_is_data[] = "the model's output is a data: URI, not a file: turn off sync_mode in its input";

static const char *
TrimBlanks(char *text)
{
	size_t len;

	text += strspn(text, BLANKS);
	for (len = strlen(text); len > 0 && strchr(BLANKS, text[len - 1]) != NULL;)
		text[--len] = '\0';
	return text;
}

/* one place in the output: an object with a url, or the url itself; wrong: what is the matter with it */
static bool
ReadFile(const JsonWant *place, OutputFile *out, const char **wrong)
{
	bool bare = place->kind == JSON_STRING;
	char url[FAL_URL_SIZE];
	char file_size[24];
	JsonWant wants[] = {
		{.path = bare ? "" : "url", .text = url, .size = sizeof(url)},
		WANT("content_type", out->content_type),
		WANT("file_size", file_size),
	};

	if (!JsonPick(place->raw, place->raw_len, wants, (int) lengthof(wants)) ||
		wants[0].kind != JSON_STRING)
		url[0] = '\0';
	out->file_size = WireNumber(file_size);
	WireClean(out->content_type);
	if (strncasecmp(TrimBlanks(url), "data:", 5) == 0)
		*wrong = output_is_data;
	else if (url[0] != '\0' && *wrong == NULL)
		*wrong = "the model's output is not a usable http(s) URL";
	return !wants[0].truncated && EncodeUrl(TrimBlanks(url), out->url, sizeof(out->url));
}

/*
 * The model's output is passed through without an envelope.  Nearly all video
 * models answer {"video": {"url": ...}}; the other places are from the output
 * types of @fal-ai/client, most common first.
 */
bool
OutputRead(const char *json, size_t len, OutputFile *file, const char **wrong)
{
	JsonWant places[] = {
		{.path = "video"},
		{.path = "video[0]"},
		{.path = "video_url"},
		{.path = "videos[0]"},
		{.path = "preview_video"},
	};

	(void) JsonPick(json, len, places, (int) lengthof(places));
	for (size_t i = 0; i < lengthof(places); i++)
	{
		if (places[i].kind != JSON_STRING && places[i].kind != JSON_OBJECT)
			continue;
		if (ReadFile(&places[i], file, wrong))
			return true;
	}
	return false;
}

/*
 * Workflows, Comfy graphs and own apps name their outputs as they like, and wrap
 * them.  There a file is what fal's File type makes of it, an object with a url,
 * or a bare URL; the best one counts, and of equal ones the first.
 */
#define SEARCH_DEPTH 10
#define SEARCH_VALUES 10000

typedef enum OutputRank
{
	OUTPUT_NONE,
	OUTPUT_FILE,
	OUTPUT_NAMED /* it stands below a name with "video" in it */
} OutputRank;

typedef struct Search
{
	OutputFile *best;
	OutputRank rank;  /* of best */
	OutputFile found; /* room for the next */
	bool cut;		  /* the text is not complete, nor need its objects be */
	char fields[300]; /* of the whole output, for people */
} Search;

/* does the name in a path or URL end like a video's? */
static bool
EndsLikeVideo(const char *name)
{
	static const char *const endings[] = {".mp4", ".webm", ".mov", ".mkv", ".m4v"};
	const char *scheme = strstr(name, "://");
	size_t len = scheme != NULL ? strcspn(name, "?#") : strlen(name);

	for (size_t i = 0; i < lengthof(endings); i++)
	{
		size_t ending = strlen(endings[i]);

		if (len > ending && strncasecmp(name + len - ending, endings[i], ending) == 0)
			return true;
	}
	return false;
}

/* a stated type decides, if it states anything; otherwise the names do */
static bool
FileIsVideo(const char *raw, size_t raw_len, const OutputFile *file)
{
	char name[256];
	char filename[256];
	JsonWant wants[] = {WANT("file_name", name), WANT("filename", filename)};

	if (strncasecmp(file->content_type, "video/", 6) == 0)
		return true;
	if (file->content_type[0] != '\0' && strstr(file->content_type, "octet-stream") == NULL)
		return false;
	(void) JsonPick(raw, raw_len, wants, (int) lengthof(wants));
	return EndsLikeVideo(file->url) || EndsLikeVideo(name) || EndsLikeVideo(filename);
}

/* is any of a path's names like this, or does it at least begin so? */
static bool
PathNames(const char *path, const char *word, bool begin)
{
	size_t len = strlen(word);

	for (const char *p = path; *p != '\0'; p++)
		if ((!begin || p == path || p[-1] == '.') && strncasecmp(p, word, len) == 0)
			return true;
	return false;
}

static OutputRank
RankPath(const char *path)
{
	/* some apps return what they were given as well */
	if (PathNames(path, "input", true) || PathNames(path, "request", true) || PathNames(path, "argument", true))
		return OUTPUT_NONE;
	return PathNames(path, "video", false) ? OUTPUT_NAMED : OUTPUT_FILE;
}

/* its file's url is read with the object that it is in */
static bool
IsUrlOfFile(const char *path)
{
	size_t len = strlen(path);

	return strcmp(path, "url") == 0 || (len > 4 && strcmp(path + len - 4, ".url") == 0);
}

static void
AddField(Search *search, const char *path)
{
	if (path[0] == '\0' || strpbrk(path, ".[") != NULL)
		return;
	if (search->fields[0] == '\0' || WireAppend(search->fields, sizeof(search->fields), ", "))
		(void) WireAppend(search->fields, sizeof(search->fields), path);
}

static bool
FindOutput(const char *path, JsonKind kind, const char *raw, size_t raw_len, void *arg)
{
	Search *search = arg;
	JsonWant place = {.kind = kind, .raw = raw, .raw_len = raw_len};
	OutputRank rank = RankPath(path);
	const char *wrong = NULL;

	AddField(search, path);
	if ((kind != JSON_STRING && kind != JSON_OBJECT) || rank <= search->rank ||
		(kind == JSON_STRING && !search->cut && IsUrlOfFile(path)) ||
		!ReadFile(&place, &search->found, &wrong) ||
		!FileIsVideo(raw, raw_len, &search->found))
		return true;
	*search->best = search->found;
	search->rank = rank;
	return true;
}

bool
OutputSearch(const char *json, size_t len, bool cut, OutputFile *file, char *fields, size_t fields_size)
{
	Search search = {.best = file, .cut = cut};

	(void) JsonSearch(json, len, SEARCH_DEPTH, SEARCH_VALUES, FindOutput, &search);
	WireCopy(fields, fields_size, search.fields);
	return search.rank != OUTPUT_NONE;
}

bool
OutputHasData(const char *json, size_t len)
{
	static const char start[] = "\"data:";

	for (size_t i = 0; i + sizeof(start) - 1 <= len; i++)
		if (memcmp(json + i, start, sizeof(start) - 1) == 0)
			return true;
	return false;
}
