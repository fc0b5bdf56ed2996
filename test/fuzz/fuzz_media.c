/*
 * fuzz_media.c
 *	  Any bytes of a video, and any state that a copy is said to have left.
 */
#include "fuzz.h"

#include "media.h"

#define ETAG "\"etag\""
#define CHECK_AT (MEDIA_STATE_SIZE - 8)

static void
Sniff(const uint8_t *data, size_t size)
{
	const Kind *kind = KindSniff(data, size);
	char *list = CopyInput(data, size);
	char why[100] = "";

	MUST(kind != NULL && kind->name != NULL);
	MUST((kind->type != NULL) == (kind->ending != NULL) && (kind->type != NULL) == (kind->class != KIND_OTHER));
	MUST(kind->class == KIND_OTHER || size >= KIND_MIN_BYTES);
	MUST(KindListIsValid(list, why, sizeof(why)) == (why[0] == '\0'));
	MUST(!KindIsAccepted(list, KIND_OTHER));
	free(list);
}

static void
MustBeName(const char *name)
{
	MustBeClean(name, TRACK_NAME);
	MUST(strpbrk(name, " \"'<>&\\,;") == NULL);
}

static void
MustBeSane(const MediaFacts *facts)
{
	MUST((facts->width == -1 && facts->height == -1) || (facts->width > 0 && facts->height > 0));
	MUST(facts->width <= TRACK_MOST_POINTS && facts->height <= TRACK_MOST_POINTS);
	MUST(facts->milli_rate == -1 || (facts->milli_rate > 0 && facts->milli_rate <= 1000000));
	MUST(facts->duration_ms >= -1);
	MUST(facts->has_audio != MEDIA_NO || facts->audio_codec[0] == '\0');
	MustBeName(facts->video_codec);
	MustBeName(facts->audio_codec);
}

/* the same bytes tell the same, whole and in pieces between which the meter is set down */
static void
Measure(const uint8_t *data, size_t size, size_t piece)
{
	MediaMeter whole;
	MediaMeter meter;
	unsigned char state[MEDIA_STATE_SIZE];
	unsigned char a[32];
	unsigned char b[32];
	int64_t wanted;
	int64_t wanted_again;
	MediaFacts facts;
	MediaFacts facts_again;

	MediaMeterInit(&whole);
	MediaMeterAdd(&whole, data, size);
	MediaMeterInit(&meter);
	for (size_t at = 0; at < size; at += piece)
	{
		MediaMeterAdd(&meter, data + at, Min(piece, size - at));
		MediaMeterSave(&meter, ETAG, state);
		memset(&meter, 0xff, sizeof(meter));
		MUST(MediaMeterLoad(&meter, ETAG, state, sizeof(state)));
	}
	MUST(whole.bytes == (int64_t) size && meter.bytes == whole.bytes);
	MUST(whole.container.duration_ms >= -1 && meter.container.duration_ms == whole.container.duration_ms);
	MediaMeterFacts(&whole, true, &facts);
	MediaMeterFacts(&meter, true, &facts_again);
	MUST(memcmp(&facts, &facts_again, sizeof(facts)) == 0);
	MustBeSane(&facts);
	MUST(ContainerIsValid(&whole.container) && MediaMeterKind(&whole) == MediaMeterKind(&meter));
	MUST(ContainerJudgeEnd(&whole.container, &wanted) == ContainerJudgeEnd(&meter.container, &wanted_again));
	MUST(wanted == wanted_again && (wanted == -1 || wanted > whole.bytes));
	MediaMeterHash(&whole, a);
	MediaMeterHash(&meter, b);
	MUST(memcmp(a, b, sizeof(a)) == 0);
}

/* a state that is believed, be it right or not, can be gone on with */
static void
Resume(const uint8_t *data, size_t size)
{
	unsigned char state[MEDIA_STATE_SIZE] = {0};
	unsigned char sha256[32];
	MediaMeter meter;
	MediaFacts facts;

	if (!MediaMeterLoad(&meter, ETAG, data, size))
		MUST(meter.bytes == 0);
	/* whoever can write it can make its check right */
	memcpy(state, data, Min(size, CHECK_AT));
	MediaMeterInit(&meter);
	MediaMeterAdd(&meter, state, CHECK_AT);
	MediaMeterAdd(&meter, ETAG, strlen(ETAG));
	MediaMeterHash(&meter, sha256);
	memcpy(state + CHECK_AT, sha256, MEDIA_STATE_SIZE - CHECK_AT);
	if (!MediaMeterLoad(&meter, ETAG, state, sizeof(state)))
		return;
	MUST(meter.bytes >= 0);
	MediaMeterAdd(&meter, data, size);
	MediaMeterAdd(&meter, data, size);
	MediaMeterHash(&meter, sha256);
	MediaMeterFacts(&meter, false, &facts);
	MustBeName(facts.video_codec);
	MustBeName(facts.audio_codec);
	(void) ContainerJudgeEnd(&meter.container, &(int64_t){0});
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Sniff(data, size);
	Measure(data, size, size > 0 ? 1 + data[size - 1] : 1);
	Resume(data, size);
	return 0;
}
