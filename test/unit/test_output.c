/*
 * test_output.c
 *	  Which file of an output is the video, whatever else is in it.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "output.h"

#define A "https://x/a.mp4"
#define B "https://x/b.mp4"
#define GIF "https://x/a.gif"
#define BARE "https://x/signed?token=1" /* its name says nothing */

typedef struct Case
{
	const char *json;
	const char *url; /* or "" */
	OutputKind kind;
	const char *wrong; /* a part of it, or NULL */
} Case;

static void
Check(const Case *cases, size_t count)
{
	static OutputFile file;

	for (size_t i = 0; i < count; i++)
	{
		char fields[300];
		const char *wrong;
		bool found = OutputFind(cases[i].json, strlen(cases[i].json), &file, &wrong, fields, sizeof(fields));

		CheckNumber(cases[i].json, "found", found, cases[i].url[0] != '\0');
		CheckText(cases[i].json, "url", file.url, cases[i].url);
		CheckNumber(cases[i].json, "kind", file.kind, cases[i].kind);
		CheckNumber(cases[i].json, "has something wrong", wrong != NULL, cases[i].wrong != NULL);
		if (wrong != NULL && cases[i].wrong != NULL)
			CheckPart(cases[i].json, "what is wrong", wrong, cases[i].wrong);
	}
}

/* the first named video, but not what it was made of, nor what goes with it */
static void
TestChoice(void)
{
	static const Case cases[] = {
		{"{\"output\":{\"url\":\"" A "\"},\"source_video_url\":\"" B "\"}", A, OUTPUT_VIDEO, NULL},
		{"{\"source_video\":{\"url\":\"" B "\"},\"output\":{\"url\":\"" A "\"}}", A, OUTPUT_VIDEO, NULL},
		{"{\"original_video\":{\"url\":\"" B "\"},\"upscaled_video\":{\"url\":\"" A "\"}}", A, OUTPUT_VIDEO, NULL},
		{"{\"mask_video\":{\"url\":\"" B "\"},\"result\":{\"url\":\"" A "\"}}", A, OUTPUT_VIDEO, NULL},
		{"{\"preview_video\":{\"url\":\"" B "\"},\"output\":{\"video\":{\"url\":\"" A "\"}}}", A, OUTPUT_VIDEO, NULL},
		{"{\"thumbnails\":[\"" B "\"],\"final\":\"" A "\"}", A, OUTPUT_VIDEO, NULL},
		{"{\"params\":{\"video_url\":\"" B "\"},\"out\":\"" A "\"}", A, OUTPUT_VIDEO, NULL},
		{"{\"prompt\":\"" B "\",\"logs\":[\"" B "\",{\"message\":\"" B "\"}]}", "", OUTPUT_UNSAID, NULL},
		{"{\"logs\":[\"" B "\"],\"logo_video\":\"" A "\"}", A, OUTPUT_VIDEO, NULL},
		{"{\"original_video\":{\"url\":\"" A "\"}}", A, OUTPUT_VIDEO, NULL},
		{"{\"preview_video\":\"" BARE "\"}", BARE, OUTPUT_UNSAID, NULL},
		{"{\"preview_video\":\"" BARE "\",\"clip\":\"" A "\"}", A, OUTPUT_VIDEO, NULL},
		{"{\"a\":\"" A "\",\"b\":{\"video\":\"" BARE "\"}}", A, OUTPUT_VIDEO, NULL},
		{"{\"outputs\":{\"9\":{\"gifs\":[{\"filename\":\"b.mp4\",\"type\":\"temp\",\"url\":\"" B "\"}]},"
		 "\"14\":{\"gifs\":[{\"filename\":\"a.mp4\",\"type\":\"output\",\"url\":\"" A "\"}]}}}",
		 A, OUTPUT_VIDEO, NULL},
		{"{\"video\":{\"url\":\"" B "\"},\"video\":{\"url\":\"" A "\"}}", A, OUTPUT_VIDEO, NULL},
		{"{\"video\":{\"url\":\"" A "\"},\"video\":null}", A, OUTPUT_VIDEO, NULL},
		{"{\"video\":[\"" A "\",\"" B "\"],\"videos\":[\"" B "\"]}", A, OUTPUT_VIDEO, NULL},
		{"{\"video_url\":\"" B "\",\"videos\":[\"" B "\"],\"video\":\"" A "\"}", A, OUTPUT_VIDEO, NULL},
	};

	Check(cases, lengthof(cases));
}

/* types and names say what a file is, if they say anything */
static void
TestWords(void)
{
	static const Case cases[] = {
		{"{\"o\":{\"url\":\"" A "\",\"content_type\":\"application/mp4\"}}", A, OUTPUT_VIDEO, NULL},
		{"{\"o\":{\"url\":\"" A "\",\"content_type\":\"text/plain\"}}", A, OUTPUT_VIDEO, NULL},
		{"{\"o\":{\"url\":\"" A "\",\"content_type\":\"application/force-download\"}}", A, OUTPUT_VIDEO, NULL},
		{"{\"o\":{\"url\":\"" A "\",\"content_type\":\"image/png\"}}", "", OUTPUT_UNSAID, NULL},
		{"{\"o\":{\"url\":\"" A "\",\"content_type\":\"audio/mp4\"}}", "", OUTPUT_UNSAID, NULL},
		{"{\"o\":{\"content_type\":\"mp4\",\"url\":\"" BARE "\"}}", BARE, OUTPUT_VIDEO, NULL},
		{"{\"o\":{\"url\":\"" BARE "\",\"mime_type\":\"video/mp4\"}}", BARE, OUTPUT_VIDEO, NULL},
		{"{\"o\":{\"url\":\"" BARE "\",\"contentType\":\"video/webm\"}}", BARE, OUTPUT_VIDEO, NULL},
		{"{\"o\":[{\"type\":\"image\",\"url\":\"" BARE "&i\"},{\"type\":\"video\",\"url\":\"" BARE "\"}]}", BARE, OUTPUT_VIDEO, NULL},
		{"{\"o\":{\"type\":\"file\",\"content_type\":\"video/mp4\",\"uri\":\"" BARE "\"}}", BARE, OUTPUT_VIDEO, NULL},
		{"{\"o\":{\"content_type\":\"video/mp4\",\"type\":\"image\",\"url\":\"" BARE "\"}}", BARE, OUTPUT_VIDEO, NULL},
		{"{\"o\":{\"url\":\"" BARE "\",\"fileName\":\"a.MOV\"}}", BARE, OUTPUT_VIDEO, NULL},
		{"{\"o\":{\"url\":\"" BARE "\"}}", "", OUTPUT_UNSAID, NULL},
		{"{\"o\":{\"video\":{\"url\":\"" BARE "\"}}}", BARE, OUTPUT_UNSAID, NULL},
		{"{\"o\":{\"videos\":[[\"" BARE "\"]]}}", BARE, OUTPUT_UNSAID, NULL},
		{"{\"final_video_urls\":[\"" BARE "\"]}", BARE, OUTPUT_UNSAID, NULL},
		{"{\"video_page\":\"" BARE "\"}", "", OUTPUT_UNSAID, NULL},
		{"{\"video_thumbnail\":\"https://x/a.jpg\",\"clip_video\":\"https://x/b.PNG?c\"}", "", OUTPUT_UNSAID, NULL},
		{"{\"video\":{\"url\":\"https://x/a.png\"}}", "https://x/a.png", OUTPUT_OTHER, NULL},
		{"{\"video\":{\"url\":\"https://x/a.png\"},\"clip\":\"" A "\"}", A, OUTPUT_VIDEO, NULL},
	};

	Check(cases, lengthof(cases));
}

/* taken when there is no video; whether it is accepted is asked later */
static void
TestGifs(void)
{
	static const Case cases[] = {
		{"{\"image\":{\"url\":\"" BARE "\",\"content_type\":\"image/gif\"}}", BARE, OUTPUT_GIF, NULL},
		{"{\"gifs\":[\"" GIF "\"],\"images\":[\"https://x/a.png\"]}", GIF, OUTPUT_GIF, NULL},
		{"{\"video\":{\"url\":\"" GIF "\"}}", GIF, OUTPUT_GIF, NULL},
		{"{\"video\":{\"url\":\"" GIF "\"},\"clips\":[\"" A "\"]}", A, OUTPUT_VIDEO, NULL},
		{"{\"gif\":\"" GIF "\",\"preview_video\":\"" BARE "\"}", BARE, OUTPUT_UNSAID, NULL},
		{"{\"preview\":\"https://x/b.gif\",\"gif\":\"" GIF "\"}", GIF, OUTPUT_GIF, NULL},
		{"{\"input\":{\"image_url\":\"" GIF "\"}}", "", OUTPUT_UNSAID, NULL},
	};

	Check(cases, lengthof(cases));
}

/* a video that is of no use is not replaced by what goes with it */
static void
TestWrong(void)
{
	static const Case cases[] = {
		{"{\"video\":{\"url\":\"data:video/mp4;base64,AAAA\"}}", "", OUTPUT_UNSAID, "sync_mode"},
		{"{\"o\":{\"clip\":{\"url\":\"data:video/mp4;base64,AAAA\"}}}", "", OUTPUT_UNSAID, "sync_mode"},
		{"{\"o\":{\"video\":\"data:application/octet-stream;base64,AAAA\"}}", "", OUTPUT_UNSAID, "sync_mode"},
		{"{\"video\":{\"url\":\"data:video/mp4;base64,AAAA\"},\"source_video\":\"" B "\",\"gif\":\"" GIF "\"}", "", OUTPUT_UNSAID, "sync_mode"},
		{"{\"video\":{\"url\":\"data:video/mp4;base64,AAAA\"},\"video_url\":\"" A "\"}", A, OUTPUT_VIDEO, "sync_mode"},
		{"{\"images\":[{\"url\":\"data:image/png;base64,AAAA\"}],\"seed\":1}", "", OUTPUT_UNSAID, NULL},
		{"{\"video\":\"/tmp/a.mp4\"}", "", OUTPUT_UNSAID, "not a usable"},
		{"{\"o\":{\"video\":\"/tmp/a.mp4\"}}", "", OUTPUT_UNSAID, "not a usable"},
		{"{\"o\":{\"name\":\"/tmp/a.mp4\"}}", "", OUTPUT_UNSAID, NULL},
		{"{\"video\":\"\",\"o\":{\"video\":null}}", "", OUTPUT_UNSAID, NULL},
	};

	Check(cases, lengthof(cases));
}

/* the beginning of an output that is cut: what is there counts */
static void
TestCut(void)
{
	static const Case cases[] = {
		{"{\"video\":{\"url\":\"" BARE "\"},\"mask\":\"AAAA", BARE, OUTPUT_UNSAID, NULL},
		{"{\"o\":[{\"content_type\":\"video/mp4\",\"url\":\"" BARE "\",\"mask\":\"AAAA", BARE, OUTPUT_VIDEO, NULL},
		{"{\"a\":{\"url\":\"" B "\",\"b\":{\"video\":{\"url\":\"" A "\",\"c\":[", A, OUTPUT_VIDEO, NULL},
		{"{\"input\":{\"video_url\":\"" A "\"},\"log\":\"A", "", OUTPUT_UNSAID, NULL},
		{"{\"video\":{\"url\":\"" A, "", OUTPUT_UNSAID, NULL},
	};

	Check(cases, lengthof(cases));
}

static void
TestDetails(void)
{
	static const struct
	{
		const char *size;
		int64_t file_size;
	} sizes[] = {{"7", 7}, {"7.0", 7}, {"7.00", 7}, {"\"7\"", 7}, {"7.5", -1}, {"7e3", -1}, {"0", -1}, {"-1", -1}, {"null", -1}, {"{}", -1}, {"\"7.\"", 7}};
	static OutputFile file;
	const char *wrong;
	char fields[300];
	char json[2000];

	for (size_t i = 0; i < lengthof(sizes); i++)
	{
		snprintf(json, sizeof(json), "{\"video\":{\"file_size\":%s,\"url\":\"" A "\"}}", sizes[i].size);
		CheckTrue(json, "found", OutputFind(json, strlen(json), &file, &wrong, fields, sizeof(fields)));
		CheckNumber(json, "size", file.file_size, sizes[i].file_size);
		CheckTrue(json, "is in its place", file.in_place);
	}
	snprintf(json, sizeof(json), "{\"o\":{\"type\":\"output\",\"filename\":\"a.mp4\",\"url\":\"" A "\"}}");
	CheckTrue("Comfy", "found", OutputFind(json, strlen(json), &file, &wrong, fields, sizeof(fields)));
	CheckText("Comfy", "content type", file.content_type, "");
	CheckTrue("Comfy", "is not in the usual place", !file.in_place);
	CheckText("Comfy", "fields", fields, "o");
}

/* numbers do not count for the length of the search */
static void
TestLong(void)
{
	static char json[1000000];
	static OutputFile file;
	size_t len = 0;
	const char *wrong;
	char fields[300];

	len += (size_t) snprintf(json, sizeof(json), "{\"keypoints\":[0");
	for (int i = 0; i < 200000; i++)
		len += (size_t) snprintf(json + len, sizeof(json) - len, ",%d", i % 10);
	len += (size_t) snprintf(json + len, sizeof(json) - len, "],\"points\":[[]");
	for (int i = 0; i < 90000; i++)
		len += (size_t) snprintf(json + len, sizeof(json) - len, ",[]");
	(void) snprintf(json + len, sizeof(json) - len, "],\"clip\":\"" A "\"}");
	CheckTrue("long", "found", OutputFind(json, strlen(json), &file, &wrong, fields, sizeof(fields)));
	CheckText("long", "url", file.url, A);
	CheckText("long", "fields", fields, "keypoints, points, clip");
}

void
TestOutput(void)
{
	TestChoice();
	TestWords();
	TestGifs();
	TestWrong();
	TestCut();
	TestDetails();
	TestLong();
}
