/*
 * kind.c
 *	  What a file is, by its first bytes, and which kinds are accepted.
 *
 * MP4 and QuickTime files are made of boxes: size, type, body (ISO/IEC 14496-12,
 * 4.2); the brand in ftyp tells them from images and sounds, which are made of
 * boxes, too.  WebM and Matroska differ in the DocType of their EBML header (RFC
 * 8794, 11.2.4).
 */
#include "kind.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

#define BOX_HEAD 8
#define HEADER_BYTES 128 /* an EBML header has hardly more */
#define TS_PACKET 188

#define MP4 "video/mp4", "mp4", true
#define QUICKTIME "video/quicktime", "mov", true
#define NEITHER NULL, NULL, true

static const Kind Mp4 = {"MP4 video", KIND_VIDEO, MP4};
static const Kind QuickTime = {"QuickTime video", KIND_VIDEO, QUICKTIME};
static const Kind WebM = {"WebM video", KIND_VIDEO, "video/webm", "webm", true};
static const Kind Matroska = {"Matroska video", KIND_VIDEO, "video/x-matroska", "mkv", true};
static const Kind TransportStream = {"MPEG transport stream", KIND_OTHER, NEITHER};
static const Kind Empty = {"empty file", KIND_OTHER, NULL, NULL, false};
static const Kind Markup = {"HTML or XML text", KIND_OTHER, NULL, NULL, false};
static const Kind Json = {"JSON text", KIND_OTHER, NULL, NULL, false};
static const Kind Text = {"text", KIND_OTHER, NULL, NULL, false};
static const Kind Unknown = {"unknown kind", KIND_OTHER, NULL, NULL, false};

const Kind kind_sound = {"sound without a picture", KIND_OTHER, NEITHER};
const Kind kind_still_gif = {"GIF image that does not move", KIND_OTHER, NEITHER};

const char *const kind_endings[] = {"mp4", "webm", "mov", "mkv", "gif", NULL};

/* by the brand in ftyp: what else is made of boxes */
static const struct
{
	char brand[5]; /* its beginning */
	Kind kind;
} Brands[] = {
	{"qt  ", {"QuickTime video", KIND_VIDEO, QUICKTIME}},
	{"avi", {"AVIF image", KIND_OTHER, NEITHER}},
	{"hei", {"HEIC image", KIND_OTHER, NEITHER}},
	{"hev", {"HEIC image", KIND_OTHER, NEITHER}},
	{"mif1", {"HEIF image", KIND_OTHER, NEITHER}},
	{"msf1", {"HEIF image", KIND_OTHER, NEITHER}},
	{"crx ", {"CR3 image", KIND_OTHER, NEITHER}},
	{"M4A ", {"M4A audio file", KIND_OTHER, NEITHER}},
	{"M4B ", {"M4B audio book", KIND_OTHER, NEITHER}},
	{"M4P ", {"M4P audio file", KIND_OTHER, NEITHER}},
	{"F4A ", {"F4A audio file", KIND_OTHER, NEITHER}},
	{"F4B ", {"F4B audio book", KIND_OTHER, NEITHER}},
};

/* every one within KIND_MIN_BYTES */
static const struct
{
	size_t at;
	const char *bytes;
	size_t len;
	Kind kind;
} Magics[] = {
	{0, "GIF87a", 6, {"GIF image", KIND_GIF, "image/gif", "gif", true}},
	{0, "GIF89a", 6, {"GIF image", KIND_GIF, "image/gif", "gif", true}},
	{0, "\x89PNG", 4, {"PNG image", KIND_OTHER, NEITHER}},
	{0, "\xff\xd8\xff", 3, {"JPEG image", KIND_OTHER, NEITHER}},
	{8, "WEBP", 4, {"WebP image", KIND_OTHER, NEITHER}},
	{0, "II*\0", 4, {"TIFF image", KIND_OTHER, NEITHER}},
	{0, "MM\0*", 4, {"TIFF image", KIND_OTHER, NEITHER}},
	{4, "jP  ", 4, {"JPEG 2000 image", KIND_OTHER, NEITHER}},
	{4, "JXL ", 4, {"JPEG XL image", KIND_OTHER, NEITHER}},
	{8, "AVI ", 4, {"AVI video", KIND_OTHER, NEITHER}},
	{0, "FLV\1", 4, {"FLV video", KIND_OTHER, NEITHER}},
	{0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11", 8, {"Windows Media file", KIND_OTHER, NEITHER}},
	{0, "\0\0\1\xba", 4, {"MPEG program stream", KIND_OTHER, NEITHER}},
	{8, "WAVE", 4, {"WAV audio file", KIND_OTHER, NEITHER}},
	{0, "ID3", 3, {"MP3 audio file", KIND_OTHER, NEITHER}},
	{0, "OggS", 4, {"Ogg file", KIND_OTHER, NEITHER}},
	{0, "fLaC", 4, {"FLAC audio file", KIND_OTHER, NEITHER}},
	{0, "%PDF", 4, {"PDF document", KIND_OTHER, NEITHER}},
	{0, "PK\3\4", 4, {"ZIP archive", KIND_OTHER, NEITHER}},
	{0, "\x1f\x8b\x08", 3, {"gzip archive", KIND_OTHER, NEITHER}},
	{0, "glTF", 4, {"glTF model", KIND_OTHER, NEITHER}},
};

/* boxes that the first ones can be; QuickTime's need no ftyp */
static const char *const Fillers[] = {"free", "skip", "uuid", "junk"};
static const char *const Movies[] = {"moov", "mdat", "wide", "pnot", "pict", "PICT"};
static const char *const Brandings[] = {"ftyp", "styp"};

static bool
TypeIsAny(const unsigned char *type, const char *const types[], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(type, types[i], 4) == 0)
			return true;
	return false;
}

bool
KindIsBox(const unsigned char *head)
{
	return TypeIsAny(head + 4, Fillers, lengthof(Fillers)) || TypeIsAny(head + 4, Movies, lengthof(Movies)) ||
		TypeIsAny(head + 4, Brandings, lengthof(Brandings));
}

/*----------
 * Boxes
 *----------
 */
static const Kind *
KindByBrand(const unsigned char *brand)
{
	for (size_t i = 0; i < lengthof(Brands); i++)
		if (memcmp(brand, Brands[i].brand, strlen(Brands[i].brand)) == 0)
			return &Brands[i].kind;
	return &Mp4;
}

/* ftyp need not be the first box; QuickTime has none.  NULL: these are no boxes. */
static const Kind *
KindOfBoxes(const unsigned char *bytes, size_t len)
{
	size_t at = 0;

	while (len - at >= KIND_MIN_BYTES)
	{
		const unsigned char *type = bytes + at + 4;
		uint64_t size = (uint64_t) bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];

		if (memcmp(type, "ftyp", 4) == 0)
			return size >= KIND_MIN_BYTES ? KindByBrand(type + 4) : &Unknown;
		if (memcmp(type, "styp", 4) == 0)
			return &Mp4;
		if (TypeIsAny(type, Movies, lengthof(Movies)))
			return &QuickTime;
		if (!TypeIsAny(type, Fillers, lengthof(Fillers)))
			return at > 0 ? &Unknown : NULL;
		if (size < BOX_HEAD || size > len - at)
			break;
		at += (size_t) size;
	}
	/* what follows is too far away to be seen */
	return &Mp4;
}

/*----------
 * Elements
 *----------
 */

bool
KindIsElement(const unsigned char *head)
{
	return memcmp(head, "\x1a\x45\xdf\xa3", 4) == 0;
}

/* a DocType's size is one byte, as a rule; its text may be padded with zeros (RFC 8794 7.4) */
static const Kind *
KindOfElements(const unsigned char *bytes, size_t len)
{
	static const unsigned char doc_type[] = {0x42, 0x82};
	static const char webm[] = "webm";

	for (size_t at = 4; at + 7 <= len && at < HEADER_BYTES; at++)
	{
		const unsigned char *size = bytes + at + sizeof(doc_type);

		if (memcmp(bytes + at, doc_type, sizeof(doc_type)) != 0)
			continue;
		/* or it is written in eight bytes */
		if (*size == 0x01 && at + 14 <= len)
			size += 7;
		if (memcmp(size + 1, webm, 4) == 0)
			return &WebM;
	}
	return &Matroska;
}

/*----------
 * Everything
 *----------
 */
static const Kind *
KindOfText(const unsigned char *bytes, size_t len)
{
	size_t first = 0;

	for (size_t i = 0; i < len; i++)
		if (bytes[i] < 0x20 && memchr("\t\r\n\f", bytes[i], 4) == NULL)
			return &Unknown;
	if (len >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
		first = 3;
	while (first < len && bytes[first] <= 0x20)
		first++;
	if (first < len && bytes[first] == '<')
		return &Markup;
	return first < len && (bytes[first] == '{' || bytes[first] == '[') ? &Json : &Text;
}

const Kind *
KindSniff(const unsigned char *bytes, size_t len)
{
	const Kind *kind;

	if (len == 0)
		return &Empty;
	if (len < KIND_MIN_BYTES)
		return KindOfText(bytes, len);
	if (KindIsElement(bytes))
		return KindOfElements(bytes, len);
	kind = KindOfBoxes(bytes, len);
	if (kind != NULL)
		return kind;
	for (size_t i = 0; i < lengthof(Magics); i++)
		if (memcmp(bytes + Magics[i].at, Magics[i].bytes, Magics[i].len) == 0)
			return &Magics[i].kind;
	if (len > TS_PACKET && bytes[0] == 0x47 && bytes[TS_PACKET] == 0x47)
		return &TransportStream;
	return KindOfText(bytes, len);
}

/*----------
 * The list
 *----------
 */
static const struct
{
	const char *word;
	KindClass class;
} Words[] = {{"video", KIND_VIDEO}, {"gif", KIND_GIF}};

/* the next word of the list, without the blanks around it; false at the end */
static bool
NextWord(const char **list, const char **word, size_t *len)
{
	const char *end;

	if (*list == NULL)
		return false;
	*word = *list + strspn(*list, " \t\r\n");
	end = *word + strcspn(*word, ",");
	*list = *end == ',' ? end + 1 : NULL;
	while (end > *word && strchr(" \t\r\n", end[-1]) != NULL)
		end--;
	*len = (size_t) (end - *word);
	return true;
}

static KindClass
ClassOf(const char *word, size_t len)
{
	for (size_t i = 0; i < lengthof(Words); i++)
		if (strlen(Words[i].word) == len && strncasecmp(word, Words[i].word, len) == 0)
			return Words[i].class;
	return KIND_OTHER;
}

bool
KindListIsValid(const char *list, char *why, size_t why_size)
{
	const char *rest = list;
	const char *word;
	size_t len;

	while (NextWord(&rest, &word, &len))
		if (ClassOf(word, len) == KIND_OTHER)
		{
			(void) snprintf(why, why_size, "Words of the list are \"video\" and \"gif\".");
			return false;
		}
	/* a list of images only would refuse what has been paid for */
	if (KindIsAccepted(list, KIND_VIDEO))
		return true;
	(void) snprintf(why, why_size, "The list must contain \"video\".");
	return false;
}

bool
KindIsAccepted(const char *list, KindClass class)
{
	const char *word;
	size_t len;

	while (NextWord(&list, &word, &len))
		if (class != KIND_OTHER && ClassOf(word, len) == class)
			return true;
	return false;
}
