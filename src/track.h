/*
 * track.h
 *	  What a video's tracks say: how large the picture is, how fast it moves, and
 *	  how both are coded.
 *
 * Pure: no libcurl, no Postgres, no allocation.
 */
#ifndef VIBEVIDEO_TRACK_H
#define VIBEVIDEO_TRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum TrackKind
{
	TRACK_OTHER, /* or not known so far */
	TRACK_PICTURE,
	TRACK_SOUND
} TrackKind;

#define TRACK_CODEC 24	/* bytes of its name, enough for each that is known */
#define TRACK_CONFIG 16 /* bytes of its description, of which no more are read */

typedef struct Track
{
	TrackKind kind;
	uint32_t id;		   /* MP4: which fragments name */
	uint32_t scale;		   /* ticks in a second */
	uint32_t sample_ticks; /* MP4: of a sample in a fragment that does not say it */
	uint64_t ticks;		   /* of all samples */
	uint64_t samples;	   /* pictures, or pieces of sound */
	uint32_t width;		   /* as it is coded; after TrackEnd as it is shown */
	uint32_t height;
	uint32_t shape_width; /* MP4: of each of its points; Matroska: of the picture as it is to be shown; 0: as it is coded */
	uint32_t shape_height;
	uint32_t shape_unit; /* Matroska's DisplayUnit */
	bool is_turned;		 /* by 90 degrees, either way */
	uint8_t codec_len;
	uint8_t config_len;
	unsigned char codec[TRACK_CODEC]; /* MP4: type of the sample entry; Matroska: CodecID */
	unsigned char config[TRACK_CONFIG];
} Track;

#define TRACK_MOST_POINTS 100000 /* a wider or higher picture is not believed */

extern bool TrackIsValid(const Track *track);

/* bodies of MP4's boxes, from their first byte; what is too short says nothing */
extern void TrackReadHeader(Track *track, const unsigned char *body, size_t len);
extern void TrackReadEntry(Track *track, const unsigned char *body, size_t len);
extern void TrackReadConfig(Track *track, uint32_t type, const unsigned char *body, size_t len);
extern void TrackSetCodec(Track *track, const unsigned char *name, size_t len);
extern void TrackSetConfig(Track *track, const unsigned char *bytes, size_t len);
/* so many samples of so many ticks each */
extern void TrackCount(Track *track, uint64_t samples, uint64_t ticks);

/* All of it was read: shapes and turns are worked into its size. */
extern void TrackEndBoxes(Track *track);
extern void TrackEndElements(Track *track);

/* -1: not known */
extern int64_t TrackPlayedMs(const Track *track);
/* pictures in 1000 seconds, -1: not known */
extern int64_t TrackMilliRate(const Track *track);
/* the codec as browsers name it, as avc1.64001f; "" if that is not known */
#define TRACK_NAME 64
extern void TrackName(const Track *track, char name[TRACK_NAME]);

#endif /* VIBEVIDEO_TRACK_H */
