/*
 * output.c
 *	  Where the video is in a model's output.
 *
 * The output is passed through without an envelope.  Nearly all video models of
 * fal answer {"video": {"url": ...}}; some have it in other places, which are
 * known from the output types of @fal-ai/client.  Workflows, Comfy graphs and own
 * apps name their outputs as they like, and wrap them.  There a file is what
 * fal's File type makes of it, an object with a url, or a bare URL.  Everything
 * is ranked, the best counts, and of equal ones the first.
 *
 * What is found is only looked at here by what it is called.  A file that turns
 * out to be something else costs a download; one that is not found costs another
 * render.
 */
#include "output.h"

#include <string.h>
#include <strings.h>

#include "json.h"
#include "wire.h"

#define BLANKS " \t\r\n\v\f"

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

#define SEARCH_DEPTH 32
#define SEARCH_VALUES 100000

void
OutputClear(OutputFile *file)
{
	file->url[0] = '\0';
	file->content_type[0] = '\0';
	file->file_size = -1;
	file->kind = OUTPUT_UNSAID;
	file->in_place = false;
}

/*----------
 * URLs
 *----------
 */

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
static const char not_usable[] = "the model's output is not a usable http(s) URL";

static const char *
TrimBlanks(char *text)
{
	size_t len;

	text += strspn(text, BLANKS);
	for (len = strlen(text); len > 0 && strchr(BLANKS, text[len - 1]) != NULL;)
		text[--len] = '\0';
	return text;
}

/*----------
 * What a file is called
 *----------
 */
static bool
IsOneOf(const char *text, const char *const list[], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcasecmp(text, list[i]) == 0)
			return true;
	return false;
}

static bool
BeginsWith(const char *text, const char *start)
{
	return strncasecmp(text, start, strlen(start)) == 0;
}

static OutputKind
KindByType(const char *type)
{
	static const char *const videos[] = {"video", "mp4", "webm", "application/mp4", "application/x-matroska"};
	static const char *const others[] = {"image", "audio"};
	static const char *const classes[] = {"image/", "audio/", "model/", "font/"};

	if (BeginsWith(type, "video/") || IsOneOf(type, videos, lengthof(videos)))
		return OUTPUT_VIDEO;
	if (BeginsWith(type, "image/gif") || strcasecmp(type, "gif") == 0)
		return OUTPUT_GIF;
	for (size_t i = 0; i < lengthof(classes); i++)
		if (BeginsWith(type, classes[i]))
			return OUTPUT_OTHER;
	/* what servers call any file, or do not know */
	return IsOneOf(type, others, lengthof(others)) ? OUTPUT_OTHER : OUTPUT_UNSAID;
}

/* by the ending of the name in a path or URL */
static OutputKind
KindByName(const char *name)
{
	static const struct
	{
		const char *ending;
		OutputKind kind;
	} endings[] = {
		{".mp4", OUTPUT_VIDEO}, {".webm", OUTPUT_VIDEO}, {".mov", OUTPUT_VIDEO}, {".mkv", OUTPUT_VIDEO}, {".m4v", OUTPUT_VIDEO}, {".gif", OUTPUT_GIF}, {".png", OUTPUT_OTHER}, {".jpg", OUTPUT_OTHER}, {".jpeg", OUTPUT_OTHER}, {".webp", OUTPUT_OTHER}, {".avif", OUTPUT_OTHER}, {".mp3", OUTPUT_OTHER}, {".wav", OUTPUT_OTHER}, {".m4a", OUTPUT_OTHER}, {".flac", OUTPUT_OTHER}, {".json", OUTPUT_OTHER}, {".txt", OUTPUT_OTHER}, {".zip", OUTPUT_OTHER}};
	const char *scheme = strstr(name, "://");
	size_t len = scheme != NULL ? strcspn(name, "?#") : strlen(name);

	for (size_t i = 0; i < lengthof(endings); i++)
	{
		size_t ending = strlen(endings[i].ending);

		if (len > ending && strncasecmp(name + len - ending, endings[i].ending, ending) == 0)
			return endings[i].kind;
	}
	return OUTPUT_UNSAID;
}

/*----------
 * Where it is
 *----------
 */
typedef struct Spot
{
	int known;		 /* higher is more common; 0: not a place that fal's models have */
	bool is_given;	 /* some apps return what they were given as well */
	bool is_aside;	 /* ... or files that go with the video */
	bool is_named;	 /* it stands below a name with "video" in it */
	bool says_video; /* its own name says that it is one */
} Spot;

/* the places, most common last */
static const char *const Places[] = {"videos[0]", "video_url", "video[0]", "video"};

/* does a path have such a word, or a name that begins with it? */
static bool
PathHas(const char *path, const char *const words[], size_t count, bool begin)
{
	for (const char *p = path; *p != '\0'; p++)
		for (size_t i = 0; i < count; i++)
			if ((!begin || p == path || p[-1] == '.') && BeginsWith(p, words[i]))
				return true;
	return false;
}

/* like output_video_url, or clip.videos[2] */
static bool
NameSaysVideo(const char *path)
{
	static const char *const suffixes[] = {"s", "_url", "_uri", "_file", "Url"};
	size_t len = strlen(path);

	while (len > 0 && path[len - 1] == ']')
		while (len > 0 && path[--len] != '[')
			;
	for (size_t i = 0; i < lengthof(suffixes); i++)
	{
		size_t suffix = strlen(suffixes[i]);

		if (len > suffix && strncasecmp(path + len - suffix, suffixes[i], suffix) == 0)
			len -= suffix;
	}
	return len >= 5 && strncasecmp(path + len - 5, "video", 5) == 0;
}

static Spot
ReadSpot(const char *path)
{
	static const char *const given[] = {"input", "request", "argument", "param", "prompt", "logs"};
	static const char *const aside[] = {"source", "original", "reference", "mask", "control", "condition", "preview", "thumb"};
	static const char *const named[] = {"video"};
	Spot spot = {
		.is_given = PathHas(path, given, lengthof(given), true),
		.is_aside = PathHas(path, aside, lengthof(aside), false),
		.is_named = PathHas(path, named, lengthof(named), false),
		.says_video = NameSaysVideo(path),
	};

	for (size_t i = 0; i < lengthof(Places); i++)
		if (strcmp(path, Places[i]) == 0)
			spot.known = (int) i + 1;
	return spot;
}

/* what a file is worth; videos before GIFs */
typedef enum Rank
{
	RANK_NONE,
	RANK_OTHER, /* where fal's models have the video, but called something else */
	RANK_GIF_ASIDE,
	RANK_GIF,
	RANK_UNSAID_ASIDE, /* only its place says that it is a video */
	RANK_ASIDE,
	RANK_UNSAID,
	RANK_FILE,
	RANK_NAMED,
	RANK_KNOWN /* and more for more common places */
} Rank;

static int
RankFile(const Spot *spot, OutputKind kind)
{
	if (spot->is_given)
		return RANK_NONE;
	switch (kind)
	{
		case OUTPUT_OTHER:
			return spot->known ? RANK_OTHER : RANK_NONE;
		case OUTPUT_GIF:
			return spot->is_aside ? RANK_GIF_ASIDE : RANK_GIF;
		case OUTPUT_VIDEO:
			if (spot->known)
				return RANK_KNOWN + spot->known;
			if (spot->is_aside)
				return RANK_ASIDE;
			return spot->is_named ? RANK_NAMED : RANK_FILE;
		case OUTPUT_UNSAID:
			break;
	}
	if (spot->known)
		return RANK_KNOWN + spot->known;
	if (!spot->says_video)
		return RANK_NONE;
	return spot->is_aside ? RANK_UNSAID_ASIDE : RANK_UNSAID;
}

/*----------
 * The search
 *----------
 */

/* a field of an object, as JSON */
typedef struct Field
{
	const char *raw;
	size_t len;
} Field;

/* the fields of one that may be a file; what fal's File type has, and what others call it */
typedef struct Parts
{
	Spot spot;
	Field url;
	Field type;
	Field name;
	Field size;
} Parts;

typedef struct Search
{
	OutputFile *best;
	int rank;		  /* of best */
	OutputFile found; /* room for the next */
	const char *wrong;
	char fields[300];			   /* of the whole output, for people */
	Parts parts[SEARCH_DEPTH + 2]; /* of the objects around the current value, by the depth of their fields */
} Search;

/* false: it had to be cut */
static bool
ReadField(const Field *field, char *text, size_t size)
{
	JsonWant want = {.path = "", .text = text, .size = size};

	text[0] = '\0';
	if (field->raw != NULL)
		(void) JsonPick(field->raw, field->len, &want, 1);
	return !want.truncated;
}

/* whole numbers, however they are written; fal has 0 for a size that it does not know */
static int64_t
ReadFileSize(const Field *field)
{
	char text[32];
	size_t digits;
	int64_t size;

	(void) ReadField(field, text, sizeof(text));
	digits = strspn(text, "0123456789");
	if (text[digits] == '.' && text[digits + 1 + strspn(text + digits + 1, "0")] == '\0')
		text[digits] = '\0';
	size = WireNumber(text);
	return size > 0 ? size : -1;
}

static OutputKind
KindOfFile(const Parts *parts, const OutputFile *file)
{
	char name[256];
	OutputKind by_type = KindByType(file->content_type);
	OutputKind by_url = KindByName(file->url);
	OutputKind by_name;

	if (by_type != OUTPUT_UNSAID)
		return by_type;
	by_name = ReadField(&parts->name, name, sizeof(name)) ? KindByName(name) : OUTPUT_UNSAID;
	return by_name == OUTPUT_VIDEO || by_url == OUTPUT_UNSAID ? by_name : by_url;
}

/* Is it better than what was found so far? */
static void
Consider(Search *search, const Parts *parts)
{
	OutputFile *file = &search->found;
	char text[FAL_URL_SIZE];
	const char *url;
	bool fits;
	int rank;

	if (parts->url.raw == NULL || parts->spot.is_given)
		return;
	fits = ReadField(&parts->url, text, sizeof(text));
	url = TrimBlanks(text);
	if (BeginsWith(url, "data:"))
	{
		if (parts->spot.known || parts->spot.says_video || BeginsWith(url, "data:video/"))
			search->wrong = output_is_data;
		return;
	}
	OutputClear(file);
	if (!fits || !EncodeUrl(url, file->url, sizeof(file->url)))
	{
		if (search->wrong == NULL && (parts->spot.known || parts->spot.says_video) && parts->url.len > 2)
			search->wrong = not_usable;
		return;
	}
	(void) ReadField(&parts->type, file->content_type, sizeof(file->content_type));
	WireClean(file->content_type);
	file->kind = KindOfFile(parts, file);
	if (strchr(file->content_type, '/') == NULL)
		file->content_type[0] = '\0';
	rank = RankFile(&parts->spot, file->kind);
	/* of an object's fields with one name the last counts */
	if (rank < search->rank || rank == RANK_NONE || (rank == search->rank && rank < RANK_KNOWN))
		return;
	file->file_size = ReadFileSize(&parts->size);
	file->in_place = parts->spot.known > 0;
	*search->best = *file;
	search->rank = rank;
}

/* the path of the object whose field this is */
static Spot
SpotOfParent(const JsonPlace *place)
{
	char path[JSON_PATH_SIZE];
	size_t len = strlen(place->path);
	size_t name = strlen(place->name);

	WireCopy(path, sizeof(path), place->path);
	if (len >= name && strcmp(path + len - name, place->name) == 0)
		path[len > name ? len - name - 1 : 0] = '\0';
	return ReadSpot(path);
}

/* Is it a field by which a file is described?  Then it is kept until the object ends. */
static bool
KeepPart(Search *search, const JsonPlace *place)
{
	static const char *const urls[] = {"url", "uri"};
	static const char *const types[] = {"content_type", "mime_type", "contentType", "mimeType", "type"};
	static const char *const names[] = {"file_name", "filename", "fileName"};
	Parts *parts = &search->parts[place->depth];
	Field field = {place->raw, place->raw_len};

	if (place->name[0] == '\0')
		return false;
	if (place->kind == JSON_STRING && IsOneOf(place->name, urls, lengthof(urls)))
	{
		parts->url = field;
		parts->spot = SpotOfParent(place);
		return true;
	}
	if (IsOneOf(place->name, types, lengthof(types)))
	{
		/* Comfy says by it whether a file is an output, or only temporary */
		if (parts->type.raw == NULL || strcmp(place->name, "type") != 0)
			parts->type = field;
	}
	else if (IsOneOf(place->name, names, lengthof(names)))
		parts->name = field;
	else if (strcmp(place->name, "file_size") == 0)
		parts->size = field;
	return false;
}

static void
AddFieldName(Search *search, const JsonPlace *place)
{
	if (place->depth != 1 || place->name[0] == '\0')
		return;
	if (search->fields[0] == '\0' || WireAppend(search->fields, sizeof(search->fields), ", "))
		(void) WireAppend(search->fields, sizeof(search->fields), place->name);
}

static void
EndObject(Search *search, int depth)
{
	Parts *parts = &search->parts[depth];

	if (parts->type.raw != NULL && parts->type.len == 6 && memcmp(parts->type.raw, "\"temp\"", 6) == 0)
		parts->spot.is_aside = true;
	Consider(search, parts);
}

static bool
VisitValue(const JsonPlace *place, void *arg)
{
	Search *search = arg;

	AddFieldName(search, place);
	if (place->kind == JSON_OBJECT)
		EndObject(search, place->depth + 1);
	if (place->kind == JSON_OBJECT || place->kind == JSON_ARRAY)
		memset(&search->parts[place->depth + 1], 0, sizeof(Parts));
	else if (!KeepPart(search, place) && place->kind == JSON_STRING)
	{
		Parts bare = {.spot = ReadSpot(place->path), .url = {place->raw, place->raw_len}};

		Consider(search, &bare);
	}
	return true;
}

bool
OutputFind(const char *json, size_t len, OutputFile *file, const char **wrong, char *fields, size_t fields_size)
{
	Search search = {.best = file, .rank = RANK_NONE};

	OutputClear(file);
	(void) JsonSearch(json, len, SEARCH_DEPTH, SEARCH_VALUES, VisitValue, &search);
	/* of a text that is cut, the objects that it is within */
	for (int depth = SEARCH_DEPTH + 1; depth > 0; depth--)
		EndObject(&search, depth);
	WireCopy(fields, fields_size, search.fields);
	*wrong = search.wrong;
	/* what goes with a video that is of no use does not replace it */
	if (search.rank != RANK_NONE && (search.wrong == NULL || search.rank >= RANK_UNSAID))
		return true;
	OutputClear(file);
	return false;
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
