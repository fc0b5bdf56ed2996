/*
 * fuzz.h
 *	  What the fuzzers share: reading their input, and what must always hold.
 */
#ifndef VIBEVIDEO_FUZZ_H
#define VIBEVIDEO_FUZZ_H

#include "postgres_fe.h"

#include "mb/pg_wchar.h"

#include "reply.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition) ((condition) ? (void) 0 : abort())

/* the input with a NUL after it; to be freed */
static inline char *
CopyInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

/* cut the first line off text; "" when nothing is left */
static inline char *
TakeLine(char **text)
{
	char *line = *text;
	size_t len = strcspn(line, "\n");

	*text = line + len + (line[len] == '\n');
	line[len] = '\0';
	return line;
}

/* what goes to a log or a table: UTF-8 without control characters */
static inline void
MustBeClean(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	MUST(len < size);
	MUST(pg_encoding_verifymbstr(PG_UTF8, text, (int) len) == (int) len);
	for (size_t i = 0; i < len; i++)
		MUST((unsigned char) text[i] >= 0x20 && text[i] != 0x7f);
}

/*
 * An input looks like a response: a line "<outcome> <status>", header lines
 * "name: value", an empty line and the body.  The body is a copy of its own
 * without a NUL, so that reading past its end is found; free(reply->body).
 */
static inline void
ReadReply(const uint8_t *data, size_t size, HttpReply *reply)
{
	const struct
	{
		const char *name;
		char *value;
		size_t size;
	} headers[] = {
		{"content-type", reply->content_type, sizeof(reply->content_type)},
		{"retry-after", reply->retry_after, sizeof(reply->retry_after)},
		{"x-fal-request-id", reply->fal_request_id, sizeof(reply->fal_request_id)},
		{"x-fal-error-type", reply->fal_error_type, sizeof(reply->fal_error_type)},
		{"x-fal-retryable", reply->fal_retryable, sizeof(reply->fal_retryable)},
		{"x-fal-needs-retry", reply->fal_needs_retry, sizeof(reply->fal_needs_retry)},
		{"x-fal-request-timeout-type", reply->fal_timeout_type, sizeof(reply->fal_timeout_type)},
		{"x-fal-billable-units", reply->fal_billable_units, sizeof(reply->fal_billable_units)},
		{"tus-max-size", reply->tus_max_size, sizeof(reply->tus_max_size)},
		{"error", reply->error, sizeof(reply->error)},
	};
	char *text = CopyInput(data, size);
	char *rest = text;
	char *line = TakeLine(&rest);
	char *body;

	memset(reply, 0, sizeof(*reply));
	reply->content_length = -1;
	reply->outcome = (HttpOutcome) (line[0] >= '0' && line[0] <= '5' ? line[0] - '0' : 0);
	if (line[0] != '\0')
		reply->status = (int) strtol(line + 1, NULL, 10);

	while (*(line = TakeLine(&rest)) != '\0')
	{
		for (size_t i = 0; i < lengthof(headers); i++)
		{
			size_t len = strlen(headers[i].name);

			/* like exchange.c, let nothing through that is not printable ASCII */
			if (strncmp(line, headers[i].name, len) == 0 && strncmp(line + len, ": ", 2) == 0 &&
				strspn(line, " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`"
							 "abcdefghijklmnopqrstuvwxyz{|}~") == strlen(line))
				snprintf(headers[i].value, headers[i].size, "%s", line + len + 2);
		}
	}

	reply->body_len = size - Min((size_t) (rest - text), size);
	body = malloc(reply->body_len > 0 ? reply->body_len : 1);
	memcpy(body, rest, reply->body_len);
	reply->body = body;
	free(text);
}

#endif /* VIBEVIDEO_FUZZ_H */
