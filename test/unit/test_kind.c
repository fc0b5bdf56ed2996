/*
 * test_kind.c
 *	  What files are by their first bytes, and the list of what is accepted.
 */
#include "check.h"

#include "kind.h"

#define FILE_OF(bytes) (bytes), sizeof(bytes) - 1

static void
TestSniff(void)
{
	static const struct
	{
		const char *bytes;
		size_t len;
		const char *ending; /* NULL: it is neither video nor GIF */
		const char *name;
	} cases[] = {
		{FILE_OF("\0\0\0\040ftypisom"), "mp4", "MP4 video"},
		{FILE_OF("\0\0\0\040ftypM4V "), "mp4", "MP4 video"},
		{FILE_OF("\0\0\0\040ftyphvc1"), "mp4", "MP4 video"},
		{FILE_OF("\0\0\0\024ftypqt  "), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\010wide\0\0\0\010mdat"), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\040mdat\1\2\3\4"), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\1mdat\0\0\0\0"), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\040moovmvhd"), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\024pnot\0\0\0\0"), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\010junk\0\0\0\010moovmvhd"), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\010free\0\0\0\024ftypisom"), "mp4", "MP4 video"},
		{FILE_OF("\0\0\0\014skipabcd\0\0\0\024ftypqt  "), "mov", "QuickTime video"},
		{FILE_OF("\0\0\0\014uuidabcd\0\0\0\024ftypisom"), "mp4", "MP4 video"},
		{FILE_OF("\0\0\0\014freeabcd\0\0\0\024ftypavif"), NULL, "AVIF image"},
		{FILE_OF("\0\0\0\014freeabcd\0\0\0\024moofmfhd"), NULL, "unknown kind"},
		{FILE_OF("\0\0\1\0freeabcd"), "mp4", "MP4 video"},
		{FILE_OF("\0\0\0\030styp\0\0\0\0"), "mp4", "MP4 video"},
		{FILE_OF("\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\x82\x84webm"), "webm", "WebM video"},
		{FILE_OF("\x1a\x45\xdf\xa3\x9f\x42\x82\x88webm\0\0\0\0"), "webm", "WebM video"},
		{FILE_OF("\x1a\x45\xdf\xa3\x9f\x42\x82\1\0\0\0\0\0\0\4webm"), "webm", "WebM video"},
		{FILE_OF("\x1a\x45\xdf\xa3\x9f\x42\x82\1\0\0\0\0\0"), "mkv", "Matroska video"},
		{FILE_OF("\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\x82\x88matroska"), "mkv", "Matroska video"},
		{FILE_OF("GIF89a\1\0\1\0\0\0"), "gif", "GIF image"},
		{FILE_OF("GIF87a\1\0\1\0\0\0"), "gif", "GIF image"},
		{FILE_OF("\0\0\0\040ftypavif"), NULL, "AVIF image"},
		{FILE_OF("\0\0\0\040ftypavis"), NULL, "AVIF image"},
		{FILE_OF("\0\0\0\040ftypheic"), NULL, "HEIC image"},
		{FILE_OF("\0\0\0\040ftypmif1"), NULL, "HEIF image"},
		{FILE_OF("\0\0\0\040ftypM4A "), NULL, "M4A audio file"},
		{FILE_OF("\0\0\0\040ftypM4B "), NULL, "M4B audio book"},
		{FILE_OF("\0\0\0\007ftypisom"), NULL, "unknown kind"},
		{FILE_OF("\0\0\0\040ftypis"), NULL, "unknown kind"},
		{FILE_OF("\0\0\0\014jP  \r\n\x87\n"), NULL, "JPEG 2000 image"},
		{FILE_OF("<html><body>"), NULL, "HTML or XML text"},
		{FILE_OF("\xef\xbb\xbf\r\n<!doctype html>"), NULL, "HTML or XML text"},
		{FILE_OF("{\"detail\":\"x"), NULL, "JSON text"},
		{FILE_OF("Not Found, sorry"), NULL, "text"},
		{FILE_OF("\211PNG\r\n\032\n\0\0\0\015"), NULL, "PNG image"},
		{FILE_OF("GIF88a\1\0\1\0\0\0"), NULL, "unknown kind"},
		{FILE_OF("RIFF\0\0\0\0WEBP"), NULL, "WebP image"},
		{FILE_OF("RIFF\0\0\0\0AVI "), NULL, "AVI video"},
		{FILE_OF("\x1f\x8b\x08\0\0\0\0\0\0\0\0\0"), NULL, "gzip archive"},
		{FILE_OF("short"), NULL, "text"},
		{FILE_OF("GIF89a"), NULL, "text"},
		{"", 0, NULL, "empty file"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		const Kind *kind = KindSniff((const unsigned char *) cases[i].bytes, cases[i].len);

		CheckText("sniff", "kind", kind->name, cases[i].name);
		CheckText(cases[i].name, "ending", kind->ending ? kind->ending : "", cases[i].ending ? cases[i].ending : "");
		CheckNumber(cases[i].name, "has a type", kind->type != NULL, cases[i].ending != NULL);
		CheckNumber(cases[i].name, "has a class", kind->class != KIND_OTHER, cases[i].ending != NULL);
	}
}

/* packets of 188 bytes, each of which begins with the same byte */
static void
TestTransportStream(void)
{
	unsigned char bytes[KIND_SNIFF_BYTES] = {0};

	bytes[0] = bytes[188] = 0x47;
	CheckText("two packets", "kind", KindSniff(bytes, sizeof(bytes))->name, "MPEG transport stream");
	CheckText("one packet", "kind", KindSniff(bytes, 188)->name, "unknown kind");
}

static void
TestList(void)
{
	static const struct
	{
		const char *list;
		bool is_valid;
		bool has_gif;
		const char *why;
	} cases[] = {
		{"video", true, false, ""},
		{"video,gif", true, true, ""},
		{" GIF ,\tVideo ", true, true, ""},
		{"video, video", true, false, ""},
		{"gif", false, true, "must contain \"video\""},
		{"", false, false, "are \"video\" and \"gif\""},
		{"video,", false, false, "are \"video\" and \"gif\""},
		{"video gif", false, false, "are \"video\" and \"gif\""},
		{"video, webp", false, false, "are \"video\" and \"gif\""},
		{"videos", false, false, "are \"video\" and \"gif\""},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		char why[100] = "";

		CheckNumber(cases[i].list, "valid", KindListIsValid(cases[i].list, why, sizeof(why)), cases[i].is_valid);
		CheckPart(cases[i].list, "why not", why, cases[i].why);
		CheckNumber(cases[i].list, "has gif", KindIsAccepted(cases[i].list, KIND_GIF), cases[i].has_gif);
		CheckTrue(cases[i].list, "never has anything else", !KindIsAccepted(cases[i].list, KIND_OTHER));
	}
	CheckTrue("video", "has video", KindIsAccepted("video", KIND_VIDEO));
	CheckTrue("gif", "has no video", !KindIsAccepted("gif", KIND_VIDEO));
}

void
TestKind(void)
{
	TestSniff();
	TestTransportStream();
	TestList();
}
