/*
 * test_objection.c
 *	  Which of a model's words about its input the app's user may read.
 */
#include "check.h"

#include <string.h>

#include "objection.h"

static void
Check(const char *field, const char *said, const char *wanted)
{
	char out[301];

	ObjectionMake(out, sizeof(out), field, said);
	CheckText(said, field, out, wanted);
}

/* As fal's models, and Pydantic in front of them, say it. */
static void
TestPlain(void)
{
	static const char *const said[] = {
		"must be at most 2000 characters",
		"field required",
		"Field required",
		"ensure this value has at most 2000 characters",
		"String should have at most 2000 characters",
		"Input should be '16:9', '9:16' or '1:1'",
		"Input should be greater than or equal to 5",
		"value is not a valid enumeration member; permitted: '5', '10'",
		"The content could not be processed because it contained material flagged by a content checker.",
		"Image must be at least 300x300 pixels, but is 120x80 (ratio < 1:2.5).",
		"Failed to download the file. Please check if the URL is accessible and try again.",
		"Unsupported format. Supported are .jpg, .png and image/webp, e.g. jpg/png/webp.",
		"Could not detect a face. Use a photo of one person, i.e. a portrait; try at 14:05.",
		"Das Bild ist zu klein: h\303\266chstens 5 MB. \346\226\207\345\255\227",
	};
	char with_field[400];

	for (size_t i = 0; i < lengthof(said); i++)
	{
		Check("", said[i], said[i]);
		strcpy(with_field, "prompt: ");
		strcat(with_field, said[i]);
		Check("prompt", said[i], with_field);
	}
	Check("aspect_ratio", "not supported", "aspect_ratio: not supported");
	/* what is no field's name is left out */
	Check("0", "field required", "field required");
	Check("body.prompt", "field required", "field required");
	Check("Key: value", "field required", "field required");
	Check("a_field_whose_name_is_longer_than_any_model_has_one", "field required", "field required");
}

static void
TestWithheld(void)
{
	static const char *const said[] = {
		"",
		"...",
		"422",
		"Could not load image from https://cdn.example.com/a.png",
		"Could not load image from url cdn.example.com",
		"see fal.ai",
		"see FAL.AI.",
		"b\303\274cher.example has it not",
		"cat.png is not an image",
		"accepted.Try again",
		"10.0.0.1 refused it",
		"at 10.0.0.1:8080",
		"upstream redis:6379 is down",
		"worker-7:80 is down",
		"fe80:0:0:0:1 is down",
		"::1 is down",
		"host queue is unknown",
		"listen on port 5432",
		"Connection refused",
		"502 Bad Gateway",
		"Internal Server Error",
		"503 Service Unavailable",
		"<html><body>oh</body></html>",
		"</p> oh",
		"nginx/1.25.3",
		"/usr/lib/python3/dist-packages",
		"File \"/app/main\", line 3",
		"Traceback (most recent call last)",
		"ValueException: no",
		"{\"detail\": \"x\"}",
		"C:\\model\\x",
		"ask ops@example",
		"set vibevideo to 1",
		"Authorization: Bearer abc",
		"your API key is wrong",
		"key *** unknown",
		"request 019e161b-386c-7d33-8106-f2de1a3ff595 not found",
		"token aaaaaaaaaaaaaaaaaaaaaaaa1",
		"token aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"missing in a/b/c/d",
		"null",
	};
	char long_text[1300];

	for (size_t i = 0; i < lengthof(said); i++)
		Check("prompt", said[i], "");
	memset(long_text, 'a', sizeof(long_text));
	for (size_t i = 9; i < sizeof(long_text); i += 10)
		long_text[i] = ' ';
	long_text[sizeof(long_text) - 1] = '\0';
	Check("prompt", long_text, "");
}

static void
TestCut(void)
{
	char out[20];

	ObjectionMake(out, sizeof(out), "prompt", "h\303\266chstens h\303\266chstens");
	CheckText("cut", "at a character", out, "prompt: h\303\266chstens ");
	ObjectionMake(out, 11, "prompt", "h\303\266chstens");
	CheckText("cut", "not within one", out, "prompt: h");
	/* what would be cut off is looked at, too */
	ObjectionMake(out, sizeof(out), "prompt", "not at all accepted by example.com");
	CheckText("cut", "all of it counts", out, "");
}

void
TestObjection(void)
{
	TestPlain();
	TestWithheld();
	TestCut();
}
