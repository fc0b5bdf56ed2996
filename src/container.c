/*
 * container.c
 *	  Walks through a file's structure as its bytes pass: where it ends, how
 *	  long it plays, whether there is anything to see.
 *
 * An MP4 file is a sequence of boxes: size, type, body (ISO/IEC 14496-12,
 * 4.2), of which some consist of boxes.  The movie, moov, is at the file's start
 * or after all samples.  Its header mvhd (8.2.2) has the duration, but not that
 * of a file in fragments, which may have it in mehd (8.8.2); without that, its
 * fragments' samples are added up (8.8.7, 8.8.8).  A track's handler (8.4.3) says
 * whether it is a picture or sound; what else it says, track.c reads.
 *
 * Matroska and WebM are a sequence of elements (RFC 8794): id, size, body.  The
 * segment is nearly all of it.  In a stream, the sizes of the segment and its
 * clusters may be unknown: then each element in them is read.
 *
 * A GIF is a sequence of blocks: images, and extensions, one of which has an
 * image's delay (GIF89a, 20 to 27), until the trailer.
 *
 * Bodies are skipped without being kept, tables are read row by row, and a file
 * of any size takes a few bytes here.  Something odd within a box or element only
 * ends the reading of that: its own end is known.
 */
#include "container.h"

#include <string.h>

#include "kind.h"

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

#define BOX_HEAD 8
#define LARGE_BOX_HEAD 16 /* with a size of 64 bits */
#define FULL_BOX_HEAD 4	  /* version and flags */
#define HANDLER_BYTES 12
#define NUMBER_BYTES 8 /* at most, in an element */
#define SCREEN_BYTES 13
#define IMAGE_BYTES 9
#define CONTROL_BYTES 4
#define OWNER_BYTES 16
#define TRACK_HEADER_BYTES 84 /* 12 more with times of 64 bits */
#define SAMPLE_BYTES 28
#define PICTURE_BYTES 78 /* of a picture's entry, up to its boxes */
#define CONFIG_BYTES 48	 /* at most; what matters is there */
#define TIME_BYTES 8

/* which fields a fragment's header, and a run, have (8.8.7, 8.8.8) */
#define HAS_OFFSET 0x1
#define HAS_DESCRIPTION 0x2
#define HAS_FIRST_FLAGS 0x4
#define HAS_DEFAULT 0x8
#define HAS_DURATIONS 0x100
#define HAS_FIELDS 0xf00

#define BOX(a, b, c, d) ((uint32_t) (a) << 24 | (b) << 16 | (c) << 8 | (d))
#define ANY_ID 0
#define CLUSTER 0x1f43b675
#define TRACK_TYPE 0x83
#define SAMPLE_DURATION 0x23e383 /* in nanoseconds */
#define CODEC_ID 0x86
#define CODEC_PRIVATE 0x63a2
#define PIXEL_WIDTH 0xb0
#define PIXEL_HEIGHT 0xba
#define DISPLAY_WIDTH 0x54b0
#define DISPLAY_HEIGHT 0x54ba
#define DISPLAY_UNIT 0x54b2

/* what is walked into, and what is collected, there */
static const struct
{
	ContainerPlace in;
	uint32_t id;
	ContainerPlace into;
	ContainerPart part; /* with IN_FILE */
	size_t least;		/* of it: a smaller one is skipped */
	size_t most;		/* ... is collected */
} Known[] = {
	{IN_FILE, BOX('m', 'o', 'o', 'v'), IN_MOVIE, PART_HEAD, 0, 0},
	{IN_FILE, BOX('m', 'o', 'o', 'f'), IN_FRAGMENT, PART_HEAD, 0, 0},
	{IN_FILE, BOX('u', 'u', 'i', 'd'), IN_FILE, PART_OWNER, OWNER_BYTES, OWNER_BYTES},
	{IN_MOVIE, BOX('m', 'v', 'h', 'd'), IN_FILE, PART_MOVIE_HEADER, FULL_BOX_HEAD, FULL_BOX_HEAD},
	{IN_MOVIE, BOX('m', 'v', 'e', 'x'), IN_EXTENDS, PART_HEAD, 0, 0},
	{IN_EXTENDS, BOX('m', 'e', 'h', 'd'), IN_FILE, PART_EXTENDS_HEADER, FULL_BOX_HEAD, FULL_BOX_HEAD},
	{IN_EXTENDS, BOX('t', 'r', 'e', 'x'), IN_FILE, PART_DEFAULTS, FULL_BOX_HEAD + 12, FULL_BOX_HEAD + 12},
	{IN_MOVIE, BOX('t', 'r', 'a', 'k'), IN_TRACK, PART_HEAD, 0, 0},
	{IN_TRACK, BOX('t', 'k', 'h', 'd'), IN_FILE, PART_TRACK_HEADER, TRACK_HEADER_BYTES, TRACK_HEADER_BYTES},
	{IN_TRACK, BOX('m', 'd', 'i', 'a'), IN_MEDIA, PART_HEAD, 0, 0},
	{IN_MEDIA, BOX('m', 'd', 'h', 'd'), IN_FILE, PART_MEDIA_HEADER, FULL_BOX_HEAD, FULL_BOX_HEAD},
	{IN_MEDIA, BOX('h', 'd', 'l', 'r'), IN_FILE, PART_HANDLER, HANDLER_BYTES, HANDLER_BYTES},
	{IN_MEDIA, BOX('m', 'i', 'n', 'f'), IN_MEDIA_INFO, PART_HEAD, 0, 0},
	{IN_MEDIA_INFO, BOX('s', 't', 'b', 'l'), IN_TABLES, PART_HEAD, 0, 0},
	{IN_TABLES, BOX('s', 't', 's', 'd'), IN_FILE, PART_SAMPLES, FULL_BOX_HEAD + 4, FULL_BOX_HEAD + 4},
	{IN_TABLES, BOX('s', 't', 't', 's'), IN_FILE, PART_TIMES, FULL_BOX_HEAD + 4, FULL_BOX_HEAD + 4},
	{IN_SAMPLES, ANY_ID, IN_FILE, PART_SAMPLE, SAMPLE_BYTES, SAMPLE_BYTES},
	{IN_SAMPLE, BOX('a', 'v', 'c', 'C'), IN_FILE, PART_CONFIG, 1, CONFIG_BYTES},
	{IN_SAMPLE, BOX('h', 'v', 'c', 'C'), IN_FILE, PART_CONFIG, 1, CONFIG_BYTES},
	{IN_SAMPLE, BOX('a', 'v', '1', 'C'), IN_FILE, PART_CONFIG, 1, CONFIG_BYTES},
	{IN_SAMPLE, BOX('v', 'p', 'c', 'C'), IN_FILE, PART_CONFIG, 1, CONFIG_BYTES},
	{IN_SAMPLE, BOX('e', 's', 'd', 's'), IN_FILE, PART_CONFIG, 1, CONFIG_BYTES},
	{IN_SAMPLE, BOX('p', 'a', 's', 'p'), IN_FILE, PART_CONFIG, 1, CONFIG_BYTES},
	{IN_SAMPLE, BOX('w', 'a', 'v', 'e'), IN_SAMPLE, PART_HEAD, 0, 0},
	{IN_FRAGMENT, BOX('t', 'r', 'a', 'f'), IN_RUNS, PART_HEAD, 0, 0},
	{IN_RUNS, BOX('t', 'f', 'h', 'd'), IN_FILE, PART_RUNS, FULL_BOX_HEAD + 4, FULL_BOX_HEAD + 20},
	{IN_RUNS, BOX('t', 'r', 'u', 'n'), IN_FILE, PART_RUN, FULL_BOX_HEAD + 4, FULL_BOX_HEAD + 4},
	{IN_FILE, 0x18538067, IN_SEGMENT, PART_HEAD, 0, 0},
	{IN_SEGMENT, 0x1549a966, IN_INFO, PART_HEAD, 0, 0},
	{IN_INFO, 0x2ad7b1, IN_FILE, PART_SCALE, 1, NUMBER_BYTES},
	{IN_INFO, 0x4489, IN_FILE, PART_DURATION, 1, NUMBER_BYTES},
	{IN_SEGMENT, 0x1654ae6b, IN_TRACKS, PART_HEAD, 0, 0},
	{IN_TRACKS, 0xae, IN_ENTRY, PART_HEAD, 0, 0},
	{IN_ENTRY, TRACK_TYPE, IN_FILE, PART_NUMBER, 1, NUMBER_BYTES},
	{IN_ENTRY, SAMPLE_DURATION, IN_FILE, PART_NUMBER, 1, NUMBER_BYTES},
	{IN_ENTRY, CODEC_ID, IN_FILE, PART_TEXT, 1, TRACK_CODEC},
	{IN_ENTRY, CODEC_PRIVATE, IN_FILE, PART_TEXT, 1, TRACK_CONFIG},
	{IN_ENTRY, 0xe0, IN_PICTURE, PART_HEAD, 0, 0},
	{IN_PICTURE, PIXEL_WIDTH, IN_FILE, PART_NUMBER, 1, NUMBER_BYTES},
	{IN_PICTURE, PIXEL_HEIGHT, IN_FILE, PART_NUMBER, 1, NUMBER_BYTES},
	{IN_PICTURE, DISPLAY_WIDTH, IN_FILE, PART_NUMBER, 1, NUMBER_BYTES},
	{IN_PICTURE, DISPLAY_HEIGHT, IN_FILE, PART_NUMBER, 1, NUMBER_BYTES},
	{IN_PICTURE, DISPLAY_UNIT, IN_FILE, PART_NUMBER, 1, NUMBER_BYTES},
};

static uint64_t
ReadBigEndian(const unsigned char *bytes, size_t len)
{
	uint64_t number = 0;

	for (size_t i = 0; i < len; i++)
		number = number << 8 | bytes[i];
	return number;
}

static ContainerPlace
Place(const Container *container)
{
	return container->depth > 0 ? (ContainerPlace) container->place[container->depth - 1] : IN_FILE;
}

/* where what contains the next head ends */
static uint64_t
Limit(const Container *container)
{
	return container->depth > 0 ? container->ends[container->depth - 1] : CONTAINER_NO_END;
}

static void
Collect(Container *container, ContainerPart part, size_t size)
{
	container->part = part;
	container->have = 0;
	container->need = size;
}

/* Of each kind the first one counts: it is what players show. */
static void
EndTrack(Container *container)
{
	Track *track = &container->track;

	if (container->form == CONTAINER_BOXES)
		TrackEndBoxes(track);
	else
		TrackEndElements(track);
	if (track->kind == TRACK_PICTURE && container->picture.kind == TRACK_OTHER)
		container->picture = *track;
	else if (track->kind == TRACK_SOUND && container->sound.kind == TRACK_OTHER)
		container->sound = *track;
}

static void
WalkOut(Container *container)
{
	ContainerPlace place = Place(container);

	container->depth--;
	if (place == IN_TRACK || place == IN_ENTRY)
		EndTrack(container);
}

/* The next head is there, or where there is room for one. */
static void
Next(Container *container, uint64_t end)
{
	size_t least = container->form == CONTAINER_BOXES ? BOX_HEAD : 2;
	uint64_t start = end > container->at ? end : container->at;

	while (container->depth > 0 && Limit(container) < start + least)
	{
		if (Limit(container) > start)
			start = Limit(container);
		WalkOut(container);
	}
	Collect(container, PART_HEAD, least);
	container->skip = start - container->at;
}

/* may there be tracks in it that are not seen if it is skipped? */
static bool
HasTracks(ContainerPlace place)
{
	return place == IN_MOVIE || place == IN_TRACK || place == IN_MEDIA || place == IN_SEGMENT || place == IN_TRACKS || place == IN_ENTRY;
}

/* This is not understood: go on behind what contains it, and may contain more than was seen. */
static void
Leave(Container *container)
{
	if (HasTracks(Place(container)))
	{
		container->is_odd = true;
		container->has_picture = true;
		container->has_data |= container->form == CONTAINER_ELEMENTS;
	}
	if (Limit(container) == CONTAINER_NO_END)
		container->over = true;
	else
		Next(container, Limit(container));
}

static void
WalkInto(Container *container, ContainerPlace place, uint64_t start, uint64_t end)
{
	if (container->depth == CONTAINER_DEPTH)
	{
		Next(container, end);
		return;
	}
	if (place == IN_MOVIE || place == IN_SEGMENT)
		container->has_movie = true;
	if (place == IN_EXTENDS)
	{
		container->open = true;
		container->duration_ms = -1;
	}
	if (place == IN_TRACK || place == IN_ENTRY)
		memset(&container->track, 0, sizeof(container->track));
	if (place == IN_RUNS)
		container->of_run = TRACK_OTHER;
	container->place[container->depth] = place;
	container->ends[container->depth++] = end;
	Next(container, start);
}

/* of two movies the first one is played */
static bool
IsSecondMovie(const Container *container, ContainerPlace place)
{
	return (place == IN_MOVIE || place == IN_SEGMENT) && container->has_movie;
}

/* As much of it as is wanted; of a number that is too long, nothing. */
static bool
CollectBody(Container *container, size_t nth, uint64_t end)
{
	uint64_t size = end - container->at;

	if (size < Known[nth].least || (size > Known[nth].most && Known[nth].most == NUMBER_BYTES && container->form == CONTAINER_ELEMENTS))
		return false;
	Collect(container, Known[nth].part, size < Known[nth].most ? (size_t) size : Known[nth].most);
	container->body_end = end;
	return true;
}

/* a box or element that ends there */
static void
Enter(Container *container, uint32_t id, uint64_t end)
{
	for (size_t i = 0; i < lengthof(Known); i++)
	{
		if (Known[i].in != Place(container) || (Known[i].id != id && Known[i].id != ANY_ID))
			continue;
		if (Known[i].into != IN_FILE && !IsSecondMovie(container, Known[i].into))
		{
			WalkInto(container, Known[i].into, container->at, end);
			return;
		}
		if (Known[i].into == IN_FILE && CollectBody(container, i, end))
		{
			container->id = id;
			return;
		}
	}
	Next(container, end);
}

/*----------
 * Boxes
 *----------
 */

/* all bits set: unknown, by the standard; 0 as well: such is the header of a file in fragments */
static void
SetDuration(Container *container, uint64_t duration, uint64_t unknown)
{
	uint64_t scale = container->scale;
	uint64_t seconds;

	if (scale == 0 || duration == unknown || duration == 0)
		return;
	seconds = duration / scale;
	if (seconds <= INT64_MAX / 1000 - 1)
		container->duration_ms = (int64_t) (seconds * 1000 + duration % scale * 1000 / scale);
}

/* the size of the numbers in a box of that version; if all of its first so many are to be read, are they? */
static bool
HasNumbers(Container *container, size_t *len, size_t numbers, size_t more)
{
	size_t size;

	*len = container->head[0] == 1 ? 8 : 4;
	size = FULL_BOX_HEAD + numbers * *len + more;
	if (container->have == size)
		return true;
	if (container->head[0] <= 1 && container->have < size && container->body_end >= container->at + size - container->have)
		container->need = size;
	else
		Next(container, container->body_end);
	return false;
}

/* version, flags, then created, modified, timescale and duration */
static void
ReadMovieHeader(Container *container)
{
	const unsigned char *body = container->head + FULL_BOX_HEAD;
	size_t len;

	if (!HasNumbers(container, &len, 3, 4))
		return;
	container->scale = (uint32_t) ReadBigEndian(body + 2 * len, 4);
	if (!container->open)
		SetDuration(container, ReadBigEndian(body + 2 * len + 4, len), len == 8 ? UINT64_MAX : UINT32_MAX);
	Next(container, container->body_end);
}

/* version, flags, then the duration with all fragments */
static void
ReadExtendsHeader(Container *container)
{
	size_t len;

	if (!HasNumbers(container, &len, 1, 0))
		return;
	SetDuration(container, ReadBigEndian(container->head + FULL_BOX_HEAD, len), len == 8 ? UINT64_MAX : UINT32_MAX);
	container->has_length = container->duration_ms >= 0;
	Next(container, container->body_end);
}

static void
ReadHandler(Container *container)
{
	switch (ReadBigEndian(container->head + 8, 4))
	{
		case BOX('v', 'i', 'd', 'e'):
		case BOX('a', 'u', 'x', 'v'):
		case BOX('p', 'i', 'c', 't'):
			container->has_picture = true;
			container->track.kind = TRACK_PICTURE;
			break;
		case BOX('s', 'o', 'u', 'n'):
			container->has_sound = true;
			container->track.kind = TRACK_SOUND;
			break;
		default:
			break;
	}
	Next(container, container->body_end);
}

/* Content Credentials have a box of their own, d8fec3d6-1b0e-483c-9297-5828877ec481 (C2PA 2.1, A.5.1). */
static void
ReadOwner(Container *container)
{
	container->has_c2pa |= memcmp(container->head, "\xd8\xfe\xc3\xd6\x1b\x0e\x48\x3c\x92\x97\x58\x28\x87\x7e\xc4\x81", OWNER_BYTES) == 0;
	Next(container, container->body_end);
}

static void
ReadTrackHeader(Container *container)
{
	size_t size = TRACK_HEADER_BYTES + (container->head[0] == 1 ? 12 : 0);

	if (container->have < size && container->body_end >= container->at + size - container->have)
	{
		container->need = size;
		return;
	}
	TrackReadHeader(&container->track, container->head, container->have);
	Next(container, container->body_end);
}

/* version, flags, then created, modified and timescale */
static void
ReadMediaHeader(Container *container)
{
	size_t len;

	if (!HasNumbers(container, &len, 2, 4))
		return;
	container->track.scale = (uint32_t) ReadBigEndian(container->head + FULL_BOX_HEAD + 2 * len, 4);
	Next(container, container->body_end);
}

/* How its samples are coded: the first way of several.  The boxes of a sound's entry are further behind in QuickTime's versions. */
static void
ReadSample(Container *container)
{
	Track *track = &container->track;
	uint64_t start = container->at;
	unsigned char type[4] = {container->id >> 24, container->id >> 16 & 0xff, container->id >> 8 & 0xff, container->id & 0xff};

	if (track->codec_len > 0 || track->kind == TRACK_OTHER)
	{
		Next(container, container->body_end);
		return;
	}
	TrackSetCodec(track, type, sizeof(type));
	TrackReadEntry(track, container->head, container->have);
	if (track->kind == TRACK_PICTURE)
		start += PICTURE_BYTES - SAMPLE_BYTES;
	else
		start += container->head[9] == 1 ? 16 : container->head[9] == 2 ? 36
																		: 0;
	WalkInto(container, IN_SAMPLE, start, container->body_end);
}

/* The next row of a table, if it has one and there is room for it. */
static void
NextRow(Container *container, ContainerPart part, uint64_t skip, size_t size)
{
	if (container->rows == 0 || container->body_end < container->at + skip + size)
	{
		Next(container, container->body_end);
		return;
	}
	Collect(container, part, size);
	container->skip = skip;
}

/* version and flags, then how many rows there are */
static void
ReadTimes(Container *container)
{
	container->rows = (uint32_t) ReadBigEndian(container->head + FULL_BOX_HEAD, 4);
	/* a table for all: this one is the track's */
	container->track.samples = container->track.ticks = 0;
	NextRow(container, PART_TIME, 0, TIME_BYTES);
}

static void
ReadTime(Container *container)
{
	TrackCount(&container->track, ReadBigEndian(container->head, 4), ReadBigEndian(container->head + 4, 4));
	container->rows--;
	NextRow(container, PART_TIME, 0, TIME_BYTES);
}

/*----------
 * Fragments
 *----------
 */
static Track *
TrackOfRun(Container *container)
{
	if (container->of_run == TRACK_PICTURE)
		return &container->picture;
	return container->of_run == TRACK_SOUND ? &container->sound : NULL;
}

static uint8_t
KindById(const Container *container, uint32_t id)
{
	if (container->picture.kind == TRACK_PICTURE && container->picture.id == id)
		return TRACK_PICTURE;
	return container->sound.kind == TRACK_SOUND && container->sound.id == id ? TRACK_SOUND : TRACK_OTHER;
}

/* version, flags, id, which description, ticks of a sample */
static void
ReadDefaults(Container *container)
{
	container->of_run = KindById(container, (uint32_t) ReadBigEndian(container->head + FULL_BOX_HEAD, 4));
	if (TrackOfRun(container) != NULL)
		TrackOfRun(container)->sample_ticks = (uint32_t) ReadBigEndian(container->head + FULL_BOX_HEAD + 8, 4);
	Next(container, container->body_end);
}

/* whose runs follow: flags, id, and what the flags announce */
static void
ReadRuns(Container *container)
{
	uint32_t flags = (uint32_t) ReadBigEndian(container->head, 4);
	size_t at = FULL_BOX_HEAD + 4 + (flags & HAS_OFFSET ? 8 : 0) + (flags & HAS_DESCRIPTION ? 4 : 0);

	container->of_run = KindById(container, (uint32_t) ReadBigEndian(container->head + FULL_BOX_HEAD, 4));
	if (TrackOfRun(container) != NULL)
		container->run_ticks = TrackOfRun(container)->sample_ticks;
	if (flags & HAS_DEFAULT && container->have >= at + 4)
		container->run_ticks = (uint32_t) ReadBigEndian(container->head + at, 4);
	Next(container, container->body_end);
}

/* It does not say how long all of it is: as long as the longer of its tracks has been so far. */
static void
EndRun(Container *container)
{
	int64_t picture_ms = TrackPlayedMs(&container->picture);
	int64_t sound_ms = TrackPlayedMs(&container->sound);

	if (container->open && !container->has_length)
		container->duration_ms = picture_ms > sound_ms ? picture_ms : sound_ms;
}

/* of a row of a run: 4 for each field that it has */
static size_t
RowBytes(uint32_t fields)
{
	size_t bytes = 0;

	for (uint32_t field = HAS_DURATIONS; field <= HAS_FIELDS; field <<= 1)
		bytes += fields & field ? 4 : 0;
	return bytes > 0 ? bytes : 4;
}

/* so many samples, and which of their fields follow for each: the duration is the first */
static void
ReadRun(Container *container)
{
	uint32_t flags = (uint32_t) ReadBigEndian(container->head, 4);
	Track *track = TrackOfRun(container);

	container->rows = (uint32_t) ReadBigEndian(container->head + FULL_BOX_HEAD, 4);
	if (track == NULL || (flags & HAS_DURATIONS) == 0)
	{
		if (track != NULL && container->run_ticks > 0)
			TrackCount(track, container->rows, container->run_ticks);
		EndRun(container);
		Next(container, container->body_end);
		return;
	}
	container->id = flags & HAS_FIELDS;
	NextRow(container, PART_RUN_SAMPLE, (flags & HAS_OFFSET ? 4 : 0) + (flags & HAS_FIRST_FLAGS ? 4 : 0), RowBytes(container->id));
}

static void
ReadRunSample(Container *container)
{
	if (TrackOfRun(container) != NULL)
		TrackCount(TrackOfRun(container), 1, ReadBigEndian(container->head, 4));
	container->rows--;
	NextRow(container, PART_RUN_SAMPLE, 0, RowBytes(container->id));
	if (container->part != PART_RUN_SAMPLE)
		EndRun(container);
}

static bool
TypeIsPlausible(const Container *container)
{
	for (int i = 4; i < 8; i++)
		if (container->head[i] < 0x20 || (container->head[i] > 0x7e && container->head[i] != 0xa9))
			return false;
	return true;
}

/* Some writers leave other bytes, even texts, after the last box: only boxes that are known to be there count. */
static bool
IsBehindFile(const Container *container, uint32_t type)
{
	static const uint32_t others[] = {BOX('m', 'o', 'o', 'f'), BOX('m', 'f', 'r', 'a'), BOX('s', 'i', 'd', 'x'),
									  BOX('u', 'd', 't', 'a'), BOX('m', 'e', 't', 'a'), BOX('e', 'm', 's', 'g')};

	if (container->depth > 0 || !container->has_movie || !container->has_data || container->open || KindIsBox(container->head))
		return false;
	for (size_t i = 0; i < lengthof(others); i++)
		if (type == others[i])
			return false;
	return true;
}

/* The first data is there: can it be played as it arrives? */
static void
SetData(Container *container, bool is_described)
{
	if (!container->has_data)
		container->is_late = !is_described;
	container->has_data = true;
}

/* size 0: up to the file's end */
static void
EnterLastBox(Container *container, uint32_t type)
{
	if (type == BOX('m', 'd', 'a', 't'))
		SetData(container, container->has_movie);
	if (type == BOX('m', 'o', 'o', 'v') && !container->has_movie)
		WalkInto(container, IN_MOVIE, container->at, CONTAINER_NO_END);
	else
		container->over = true;
}

static void
ReadBoxHead(Container *container)
{
	uint64_t size = ReadBigEndian(container->head, 4);
	uint32_t type = (uint32_t) ReadBigEndian(container->head + 4, 4);
	uint64_t start = container->at - container->have;

	if (size == 1 && container->have == BOX_HEAD && Limit(container) >= start + LARGE_BOX_HEAD)
	{
		container->need = LARGE_BOX_HEAD;
		return;
	}
	if (container->have == LARGE_BOX_HEAD)
		size = ReadBigEndian(container->head + BOX_HEAD, 8);

	if (IsBehindFile(container, type))
		container->over = true;
	else if (size == 0 && container->depth == 0)
		EnterLastBox(container, type);
	else if (size < container->have || size > Limit(container) - start || !TypeIsPlausible(container))
		Leave(container);
	else
	{
		if (container->depth == 0 && type == BOX('m', 'd', 'a', 't'))
			SetData(container, container->has_movie);
		Enter(container, type, start + size);
	}
}

/*----------
 * Elements
 *----------
 */

/* as many bytes as there are bits up to the first that is set, 9 if none is */
static size_t
LengthByFirst(unsigned char first)
{
	size_t len = 1;

	for (; len <= 8 && (first & 0x80) == 0; first = (unsigned char) (first << 1))
		len++;
	return len;
}

/* Is this much of the head there?  It is collected if there can be as much. */
static bool
HasHead(Container *container, size_t size)
{
	if (container->have >= size)
		return true;
	container->need = size;
	if (Limit(container) < container->at + size - container->have)
		Leave(container);
	return false;
}

/* its end is not known: that of a stream's segment, or cluster */
static void
EnterOpenElement(Container *container, uint32_t id)
{
	container->open = true;
	if (id == CLUSTER && Place(container) == IN_SEGMENT)
		/* what it has is read as if the segment had it */
		Next(container, container->at);
	else if (container->depth == 0)
		Enter(container, id, CONTAINER_NO_END);
	else
		Leave(container);
}

/* an element: its id and its size, each as long as its first byte says (RFC 8794 4) */
static void
ReadElementHead(Container *container)
{
	size_t id_len = LengthByFirst(container->head[0]);
	size_t len;
	uint32_t id;
	uint64_t size;

	if (id_len > 4)
	{
		Leave(container);
		return;
	}
	if (!HasHead(container, id_len + 1))
		return;
	len = LengthByFirst(container->head[id_len]);
	if (len > 8)
	{
		Leave(container);
		return;
	}
	if (!HasHead(container, id_len + len))
		return;

	/* what follows the segment is not the video */
	container->over = container->depth == 0 && container->has_movie;
	if (container->over)
		return;
	id = (uint32_t) ReadBigEndian(container->head, id_len);
	size = ReadBigEndian(container->head + id_len, len) & ((UINT64_C(1) << 7 * len) - 1);
	if (id == CLUSTER && Place(container) == IN_SEGMENT)
		SetData(container, container->has_picture || container->has_sound);
	/* all bits set: unknown, as in a stream */
	if (size == (UINT64_C(1) << 7 * len) - 1)
		EnterOpenElement(container, id);
	else if (size > Limit(container) - container->at)
		Leave(container);
	else
		Enter(container, id, container->at + size);
}

static double
ReadFloat(const unsigned char *bytes, size_t len)
{
	uint64_t bits = ReadBigEndian(bytes, len);
	uint32_t short_bits = (uint32_t) bits;
	double number = 0;
	float short_number;

	if (len == sizeof(number))
		memcpy(&number, &bits, sizeof(number));
	else if (len == sizeof(short_number))
	{
		memcpy(&short_number, &short_bits, sizeof(short_number));
		number = (double) short_number;
	}
	return number;
}

/* in units of so many nanoseconds; the standard has no unknown one */
static void
SetElementDuration(Container *container, double duration)
{
	double ms = duration * container->scale / 1e6;

	if (ms >= 1 && ms < 1e15)
		container->duration_ms = (int64_t) (ms + 0.5);
}

static void
ReadScale(Container *container)
{
	uint64_t scale = ReadBigEndian(container->head, container->have);
	uint32_t before = container->scale;

	if (scale > 0 && scale <= UINT32_MAX)
	{
		container->scale = (uint32_t) scale;
		if (container->duration_ms > 0)
			SetElementDuration(container, (double) container->duration_ms / before * 1e6);
	}
	Next(container, container->body_end);
}

static void
SetTrackType(Container *container, uint64_t type)
{
	/* video, or video and audio in one */
	container->has_picture |= type == 1 || type == 3;
	container->has_sound |= type == 2;
	container->track.kind = type == 1 || type == 3 ? TRACK_PICTURE : type == 2 ? TRACK_SOUND
																			   : TRACK_OTHER;
}

/* what a track says in a number */
static void
ReadNumber(Container *container)
{
	uint64_t number = ReadBigEndian(container->head, container->have);
	uint32_t points = number <= UINT32_MAX ? (uint32_t) number : 0;
	Track *track = &container->track;

	switch (container->id)
	{
		case TRACK_TYPE:
			SetTrackType(container, number);
			break;
		case SAMPLE_DURATION:
			track->scale = 1000000000;
			track->samples = track->ticks = 0;
			TrackCount(track, 1, number);
			break;
		case PIXEL_WIDTH:
			track->width = points;
			break;
		case PIXEL_HEIGHT:
			track->height = points;
			break;
		case DISPLAY_WIDTH:
			track->shape_width = points;
			break;
		case DISPLAY_HEIGHT:
			track->shape_height = points;
			break;
		default:
			track->shape_unit = points;
			break;
	}
	Next(container, container->body_end);
}

static void
ReadText(Container *container)
{
	if (container->id == CODEC_ID)
		TrackSetCodec(&container->track, container->head, container->have);
	else
		TrackSetConfig(&container->track, container->head, container->have);
	Next(container, container->body_end);
}

/*----------
 * Blocks
 *----------
 */

/* a table of colours follows, of 2 to 256 times 3 bytes, if its description says so */
static void
SkipColours(Container *container, unsigned char description, ContainerPart part, uint64_t more)
{
	container->skip = more;
	if (description & 0x80)
		container->skip += UINT64_C(3) << ((description & 7) + 1);
	Collect(container, part, 1);
}

/* As browsers play it: an image without a delay, or with hardly one, stays for a tenth of a second. */
static void
CountImage(Container *container)
{
	if (container->images < 2)
		container->images++;
	if (container->played_ms < INT64_MAX - UINT16_MAX * 10)
		container->played_ms += (container->delay < 2 ? 10 : container->delay) * 10;
	container->picture.scale = 1000;
	TrackCount(&container->picture, 1, (container->delay < 2 ? 10 : container->delay) * 10);
	container->delay = 0;
}

static void
ReadBlock(Container *container)
{
	switch (container->head[0])
	{
		case '!':
			Collect(container, PART_LABEL, 1);
			break;
		case ',':
			Collect(container, PART_IMAGE, IMAGE_BYTES);
			break;
		case ';':
			container->complete = container->over = true;
			container->has_movie = container->has_data = container->images > 0;
			if (container->images > 1)
				container->duration_ms = container->played_ms;
			break;
		case 0:
			/* some writers end a block twice */
			Collect(container, PART_BLOCK, 1);
			break;
		default:
			container->over = true;
			break;
	}
}

/* of a block's data: a series of pieces, the last of which is empty */
static void
ReadSize(Container *container)
{
	size_t size = container->head[0];

	if (size == 0)
		Collect(container, PART_BLOCK, 1);
	else if (container->is_control && size >= CONTROL_BYTES)
	{
		Collect(container, PART_CONTROL, CONTROL_BYTES);
		container->body_end = container->at + size;
	}
	else
	{
		container->skip = size;
		Collect(container, PART_SIZE, 1);
	}
}

/* flags, the delay (lower byte first), the transparent colour */
static void
ReadControl(Container *container)
{
	container->delay = container->head[1] | (uint32_t) container->head[2] << 8;
	container->skip = container->body_end - container->at;
	Collect(container, PART_SIZE, 1);
}

static void
ReadPartOfGif(Container *container)
{
	switch (container->part)
	{
		case PART_BLOCK:
			ReadBlock(container);
			break;
		case PART_LABEL:
			container->is_control = container->head[0] == 0xf9;
			Collect(container, PART_SIZE, 1);
			break;
		case PART_CONTROL:
			ReadControl(container);
			break;
		case PART_SIZE:
			ReadSize(container);
			break;
		case PART_IMAGE:
			CountImage(container);
			container->is_control = false;
			/* and how its pixels are coded, one byte */
			SkipColours(container, container->head[8], PART_SIZE, 1);
			break;
		default:
			container->picture.kind = TRACK_PICTURE;
			container->picture.width = container->head[6] | (uint32_t) container->head[7] << 8;
			container->picture.height = container->head[8] | (uint32_t) container->head[9] << 8;
			TrackSetCodec(&container->picture, (const unsigned char *) "gif", 3);
			SkipColours(container, container->head[10], PART_BLOCK, 0);
			break;
	}
}

/*----------
 * The walk
 *----------
 */
static ContainerForm
FormOf(const unsigned char *head)
{
	if (KindIsElement(head))
		return CONTAINER_ELEMENTS;
	if (KindIsBox(head))
		return CONTAINER_BOXES;
	return memcmp(head, "GIF8", 4) == 0 ? CONTAINER_BLOCKS : CONTAINER_OTHER;
}

static void
ReadForm(Container *container)
{
	unsigned char head[BOX_HEAD];

	memcpy(head, container->head, sizeof(head));
	container->form = FormOf(head);
	container->over = container->form == CONTAINER_OTHER;
	if (container->over)
		return;
	container->at = 0;
	if (container->form == CONTAINER_BLOCKS)
		Collect(container, PART_SCREEN, SCREEN_BYTES);
	else
		Next(container, 0);
	if (container->form == CONTAINER_ELEMENTS)
		container->scale = 1000000; /* unless it says something else */
	ContainerAdd(container, head, sizeof(head));
}

static void
ReadHead(Container *container)
{
	if (container->form == CONTAINER_BOXES)
		ReadBoxHead(container);
	else
		ReadElementHead(container);
}

static void
ReadPartOfMovie(Container *container)
{
	switch (container->part)
	{
		case PART_MOVIE_HEADER:
			ReadMovieHeader(container);
			break;
		case PART_EXTENDS_HEADER:
			ReadExtendsHeader(container);
			break;
		case PART_HANDLER:
			ReadHandler(container);
			break;
		case PART_OWNER:
			ReadOwner(container);
			break;
		case PART_TRACK_HEADER:
			ReadTrackHeader(container);
			break;
		case PART_MEDIA_HEADER:
			ReadMediaHeader(container);
			break;
		case PART_SAMPLES:
			WalkInto(container, IN_SAMPLES, container->at, container->body_end);
			break;
		case PART_SAMPLE:
			ReadSample(container);
			break;
		case PART_TIMES:
			ReadTimes(container);
			break;
		case PART_TIME:
			ReadTime(container);
			break;
		default: /* PART_CONFIG */
			TrackReadConfig(&container->track, container->id, container->head, container->have);
			Next(container, container->body_end);
			break;
	}
}

static void
ReadPartOfFragment(Container *container)
{
	switch (container->part)
	{
		case PART_DEFAULTS:
			ReadDefaults(container);
			break;
		case PART_RUNS:
			ReadRuns(container);
			break;
		case PART_RUN:
			ReadRun(container);
			break;
		default:
			ReadRunSample(container);
			break;
	}
}

static void
ReadPartOfSegment(Container *container)
{
	switch (container->part)
	{
		case PART_SCALE:
			ReadScale(container);
			break;
		case PART_DURATION:
			SetElementDuration(container, ReadFloat(container->head, container->have));
			Next(container, container->body_end);
			break;
		case PART_NUMBER:
			ReadNumber(container);
			break;
		default:
			ReadText(container);
			break;
	}
}

static void
ReadPart(Container *container)
{
	if (container->part == PART_HEAD)
		ReadHead(container);
	else if (container->part <= PART_TIME)
		ReadPartOfMovie(container);
	else if (container->part <= PART_RUN_SAMPLE)
		ReadPartOfFragment(container);
	else if (container->part <= PART_TEXT)
		ReadPartOfSegment(container);
	else
		ReadPartOfGif(container);
}

void
ContainerInit(Container *container)
{
	memset(container, 0, sizeof(*container));
	container->need = BOX_HEAD;
	container->duration_ms = -1;
}

void
ContainerAdd(Container *container, const unsigned char *bytes, size_t len)
{
	while (len > 0 && !container->over)
	{
		size_t n;

		if (container->skip > 0)
		{
			n = container->skip < len ? (size_t) container->skip : len;
			container->skip -= n;
			container->at += n;
		}
		else
		{
			n = container->need - container->have < len ? container->need - container->have : len;
			memcpy(container->head + container->have, bytes, n);
			container->have += n;
			container->at += n;
			if (container->have == container->need)
			{
				if (container->form == CONTAINER_NEW)
					ReadForm(container);
				else
					ReadPart(container);
			}
		}
		bytes += n;
		len -= n;
	}
}

bool
ContainerIsValid(const Container *container)
{
	for (size_t i = 0; i < CONTAINER_DEPTH; i++)
		if (container->place[i] > IN_PICTURE || container->ends[i] > CONTAINER_NO_END)
			return false;
	return container->form <= CONTAINER_OTHER && container->part <= PART_IMAGE && container->depth <= CONTAINER_DEPTH &&
		container->skip <= CONTAINER_NO_END && container->body_end <= CONTAINER_NO_END && container->need <= CONTAINER_HEAD &&
		container->duration_ms >= -1 && container->played_ms >= 0 && (container->over || container->have < container->need) &&
		TrackIsValid(&container->track) && TrackIsValid(&container->picture) && TrackIsValid(&container->sound);
}

/*----------
 * What it says
 *----------
 */

/* what is under way, or what contains it */
static uint64_t
KnownEnd(const Container *container)
{
	uint64_t end = container->at + container->skip;

	/* a box that is read and is in no other */
	if (container->depth == 0 && container->form == CONTAINER_BOXES && container->part != PART_HEAD && container->body_end > end)
		end = container->body_end;
	if (container->depth > 0 && container->ends[0] != CONTAINER_NO_END && container->ends[0] > end)
		return container->ends[0];
	return end;
}

static bool
SaysItsEnd(const Container *container)
{
	return !container->open && container->form != CONTAINER_BLOCKS &&
		(container->depth == 0 || container->ends[0] != CONTAINER_NO_END);
}

/* is it at a place where nothing has to follow? */
static bool
IsBetweenParts(const Container *container)
{
	if (container->over)
		return true;
	if (container->skip > 0 || container->part != PART_HEAD)
		return false;
	/* a few bytes may follow the last box; the beginning of an element can be told from them */
	return container->have == 0 || container->form == CONTAINER_BOXES || LengthByFirst(container->head[0]) > 4;
}

ContainerEnd
ContainerJudgeEnd(const Container *container, int64_t *wanted)
{
	uint64_t end = KnownEnd(container);

	*wanted = -1;
	if (container->form == CONTAINER_NEW || container->form == CONTAINER_OTHER)
		return CONTAINER_END_UNKNOWN;
	if (container->complete)
		return container->has_data ? CONTAINER_END_WHOLE : CONTAINER_END_CUT;
	if (!container->over && end > container->at)
	{
		if (SaysItsEnd(container) && end < CONTAINER_NO_END)
			*wanted = (int64_t) end;
		return CONTAINER_END_CUT;
	}
	/* without these it cannot be played */
	if (container->form == CONTAINER_BLOCKS)
		return container->over && container->images > 0 ? CONTAINER_END_UNKNOWN : CONTAINER_END_CUT;
	if (!container->has_movie || !container->has_data || !IsBetweenParts(container))
		return CONTAINER_END_CUT;
	return container->over || container->have > 0 || !SaysItsEnd(container) ? CONTAINER_END_UNKNOWN : CONTAINER_END_WHOLE;
}
