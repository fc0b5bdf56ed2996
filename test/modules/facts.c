/*
 * facts.c
 *	  A program: prints what the meter says of a file, as JSON.
 *
 *	  facts FILE PIECE
 *
 * The file passes in pieces of so many bytes, and between them the meter goes
 * through a state, as if another process went on; 0: in one piece.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "media.h"

#define ETAG "\"etag\""

static void
Die(const char *what)
{
	perror(what);
	exit(1);
}

static unsigned char *
ReadFile(const char *name, size_t *len)
{
	FILE *file = fopen(name, "rb");
	unsigned char *bytes;

	if (file == NULL || fseek(file, 0, SEEK_END) != 0)
		Die(name);
	*len = (size_t) ftell(file);
	rewind(file);
	bytes = malloc(*len > 0 ? *len : 1);
	if (bytes == NULL || fread(bytes, 1, *len, file) != *len)
		Die(name);
	fclose(file);
	return bytes;
}

static void
HandOver(MediaMeter *meter)
{
	unsigned char state[MEDIA_STATE_SIZE];

	MediaMeterSave(meter, ETAG, state);
	memset(meter, 0xff, sizeof(*meter));
	if (!MediaMeterLoad(meter, ETAG, state, sizeof(state)))
		Die("the state");
}

static void
PrintNumber(const char *name, int64_t number)
{
	if (number < 0)
		printf("\"%s\": null, ", name);
	else
		printf("\"%s\": %" PRId64 ", ", name, number);
}

static void
PrintAnswer(const char *name, MediaAnswer answer)
{
	static const char *const words[] = {[MEDIA_UNKNOWN] = "null", [MEDIA_NO] = "0", [MEDIA_YES] = "1"};

	printf("\"%s\": %s, ", name, words[answer]);
}

static void
Print(const MediaMeter *meter)
{
	int64_t wanted;
	MediaFacts facts;

	MediaMeterFacts(meter, true, &facts);
	printf("{");
	PrintNumber("width", facts.width);
	PrintNumber("height", facts.height);
	PrintNumber("milli_rate", facts.milli_rate);
	PrintNumber("duration_ms", facts.duration_ms);
	printf("\"video_codec\": \"%s\", \"audio_codec\": \"%s\", ", facts.video_codec, facts.audio_codec);
	PrintAnswer("has_audio", facts.has_audio);
	PrintAnswer("faststart", facts.faststart);
	PrintAnswer("has_c2pa", facts.has_c2pa);
	printf("\"end\": %d, \"kind\": \"%s\"}\n", ContainerJudgeEnd(&meter->container, &wanted),
		   MediaMeterKind(meter) != NULL ? MediaMeterKind(meter)->name : "");
}

int
main(int argc, char **argv)
{
	size_t len;
	size_t piece;
	unsigned char *bytes;
	MediaMeter meter;

	if (argc != 3)
		return 2;
	bytes = ReadFile(argv[1], &len);
	piece = (size_t) strtoul(argv[2], NULL, 10);
	MediaMeterInit(&meter);
	if (piece == 0)
		MediaMeterAdd(&meter, bytes, len);
	else
		for (size_t at = 0; at < len; at += piece)
		{
			MediaMeterAdd(&meter, bytes + at, piece < len - at ? piece : len - at);
			HandOver(&meter);
		}
	Print(&meter);
	free(bytes);
	return 0;
}
