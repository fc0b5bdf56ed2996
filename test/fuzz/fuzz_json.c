/*
 * fuzz_json.c
 *	  Any bytes as JSON.
 */
#include "fuzz.h"

#include "json.h"

static bool
Visit(const char *raw, size_t raw_len, void *arg)
{
	int *visits = arg;
	JsonWant want = {.path = ""};

	/* what may be visited before an error is found is well-formed in itself */
	MUST(JsonPick(raw, raw_len, &want, 1));
	MUST(want.raw == raw && want.raw_len == raw_len);
	return ++*visits < 10;
}

static bool
Find(const JsonPlace *place, void *arg)
{
	JsonWant want = {.path = ""};
	size_t path_len = strlen(place->path);
	size_t name_len = strlen(place->name);

	MUST(path_len < JSON_PATH_SIZE && place->depth >= 0 && place->depth <= 5);
	MUST(path_len < name_len || path_len == JSON_PATH_SIZE - 1 || strcmp(place->path + path_len - name_len, place->name) == 0);
	MUST(JsonPick(place->raw, place->raw_len, &want, 1));
	MUST(want.kind == place->kind && want.raw_len == place->raw_len);
	return Visit(place->raw, place->raw_len, arg);
}

static void
Repair(const char *json, size_t size)
{
	char *out = malloc(3 * size + 1);
	size_t len = JsonRepair(json, size, out);

	MUST(len <= 3 * size);
	out[len] = '\0';
	for (size_t i = 0; i < len; i += strlen(out + i) + 1)
		MUST(pg_encoding_verifymbstr(PG_UTF8, out + i, (int) strlen(out + i)) == (int) strlen(out + i));
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char texts[8][12];
	JsonWant wants[] = {
		{.path = ""},
		{.path = "a"},
		{.path = "a.b"},
		{.path = "a[0]"},
		{.path = "[1].a"},
		{.path = "a[0][1].b.c"},
		{.path = "detail[0].type"},
		{.path = "video.url"},
	};
	char *json = malloc(size > 0 ? size : 1);
	int visits = 0;
	bool is_json;

	StaticAssertStmt(lengthof(wants) == lengthof(texts), "a text for each want");
	memcpy(json, data, size);
	for (size_t i = 0; i < lengthof(wants); i++)
	{
		wants[i].text = texts[i];
		wants[i].size = i == 1 ? 1 : sizeof(texts[i]);
	}

	is_json = JsonPick(json, size, wants, lengthof(wants));
	MUST(is_json == (wants[0].kind != JSON_ABSENT));
	for (size_t i = 0; i < lengthof(wants); i++)
	{
		size_t len = strnlen(texts[i], wants[i].size);

		MUST(len < wants[i].size);
		MUST(pg_encoding_verifymbstr(PG_UTF8, texts[i], (int) len) == (int) len);
		MUST((wants[i].raw != NULL) == (wants[i].kind != JSON_ABSENT));
		if (wants[i].raw != NULL)
		{
			JsonWant again = {.path = ""};

			MUST(wants[i].raw >= json && wants[i].raw_len > 0 &&
				 wants[i].raw + wants[i].raw_len <= json + size);
			MUST(JsonPick(wants[i].raw, wants[i].raw_len, &again, 1));
			MUST(again.kind == wants[i].kind && again.raw_len == wants[i].raw_len);
			(void) JsonFitsJsonb(wants[i].raw, wants[i].raw_len);
		}
	}
	MUST(!JsonEach(json, size, "a", Visit, &visits) || wants[1].kind != JSON_ABSENT);
	(void) JsonEach(json, size, "", Visit, &visits);
	visits = 0;
	MUST(JsonSearch(json, size, 5, 20, Find, &visits) == is_json);
	Repair(json, size);
	free(json);
	return 0;
}
