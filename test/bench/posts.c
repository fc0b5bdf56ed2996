/*
 * posts.c
 *	  The least that a client built on libcurl has to do: one POST after the
 *	  other over one connection that is kept alive.
 *
 *	posts URL KEY COUNT [CA]		prints each one's microseconds, or "failed"
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static size_t
ignore(char *data, size_t size, size_t n, void *arg)
{
	(void) data;
	(void) arg;
	return size * n;
}

static double
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int
main(int argc, char **argv)
{
	CURL *easy = curl_easy_init();
	struct curl_slist *headers = NULL;
	char text[1024];

	if (argc < 4 || argc > 5 || easy == NULL)
		return 1;
	snprintf(text, sizeof(text), "Authorization: Key %s", argv[2]);
	headers = curl_slist_append(headers, text);
	headers = curl_slist_append(headers, "Content-Type: application/json");
	headers = curl_slist_append(headers, "Accept: application/json");
	curl_easy_setopt(easy, CURLOPT_URL, argv[1]);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	if (argc == 5)
		curl_easy_setopt(easy, CURLOPT_CAINFO, argv[4]);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, ignore);
	for (int i = 0; i < atoi(argv[3]); i++)
	{
		double start = now_us();
		long status = 0;

		snprintf(text, sizeof(text), "{\"prompt\": \"video %d\"}", i);
		curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, text);
		if (curl_easy_perform(easy) == CURLE_OK)
			curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		if (status == 200)
			printf("%.0f\n", now_us() - start);
		else
			printf("failed\n");
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(easy);
	return 0;
}
