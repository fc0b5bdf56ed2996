/*
 * container.h
 *	  Walks through a file's structure as its bytes pass.
 *
 * Pure: no libcurl, no Postgres, no allocation.
 */
#ifndef VIBEVIDEO_CONTAINER_H
#define VIBEVIDEO_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "track.h"

typedef enum ContainerForm
{
	CONTAINER_NEW,		/* too few bytes so far */
	CONTAINER_BOXES,	/* MP4, QuickTime */
	CONTAINER_ELEMENTS, /* Matroska, WebM */
	CONTAINER_BLOCKS,	/* GIF */
	CONTAINER_OTHER
} ContainerForm;

/* the boxes and elements that are walked into */
typedef enum ContainerPlace
{
	IN_FILE,
	IN_MOVIE,	   /* moov */
	IN_EXTENDS,	   /* mvex in it */
	IN_TRACK,	   /* trak in it */
	IN_MEDIA,	   /* mdia in that */
	IN_MEDIA_INFO, /* minf in that */
	IN_TABLES,	   /* stbl in that */
	IN_SAMPLES,	   /* stsd in that: its entries */
	IN_SAMPLE,	   /* an entry */
	IN_FRAGMENT,   /* moof */
	IN_RUNS,	   /* traf in it */
	IN_SEGMENT,
	IN_INFO,
	IN_TRACKS,
	IN_ENTRY,
	IN_PICTURE /* Video in it */
} ContainerPlace;

/* what is collected in head */
typedef enum ContainerPart
{
	PART_HEAD, /* of a box or element */
	PART_MOVIE_HEADER,
	PART_EXTENDS_HEADER,
	PART_HANDLER,
	PART_OWNER,		   /* uuid: whose box it is */
	PART_TRACK_HEADER, /* tkhd */
	PART_MEDIA_HEADER, /* mdhd */
	PART_SAMPLES,	   /* stsd, up to its first entry */
	PART_SAMPLE,	   /* an entry, up to its boxes */
	PART_CONFIG,	   /* a box in it */
	PART_TIMES,		   /* stts */
	PART_TIME,		   /* a row of that */
	PART_DEFAULTS,	   /* trex */
	PART_RUNS,		   /* tfhd */
	PART_RUN,		   /* trun */
	PART_RUN_SAMPLE,   /* a row of that */
	PART_SCALE,
	PART_DURATION,
	PART_NUMBER, /* of a track */
	PART_TEXT,
	PART_SCREEN, /* GIF's header */
	PART_BLOCK,
	PART_LABEL,
	PART_CONTROL,
	PART_SIZE, /* of a sub-block */
	PART_IMAGE
} ContainerPart;

#define CONTAINER_DEPTH 8
#define CONTAINER_HEAD 96
#define CONTAINER_NO_END ((uint64_t) INT64_MAX) /* as long as the file is */

typedef struct Container
{
	ContainerForm form;
	ContainerPart part;
	bool over;		  /* what follows is not read */
	bool complete;	  /* the form's own end was reached */
	bool open;		  /* it does not say where it ends: it could after any fragment */
	bool has_movie;	  /* moov, or a segment */
	bool has_data;	  /* mdat, or a cluster */
	bool has_picture; /* a track of that kind */
	bool has_sound;
	bool is_control; /* the extension at hand has an image's delay */
	bool is_odd;	 /* not all of what it says of its tracks was understood */
	bool is_late;	 /* its data is before what says what that is */
	bool has_length; /* MP4: it says how long all fragments are */
	bool has_c2pa;	 /* MP4: a box of Content Credentials */
	uint8_t depth;
	uint8_t place[CONTAINER_DEPTH]; /* ContainerPlace */
	uint64_t ends[CONTAINER_DEPTH];
	uint64_t at;	   /* the next byte's offset in the file */
	uint64_t skip;	   /* bytes to skip before head */
	uint64_t body_end; /* of what is collected */
	uint32_t id;	   /* ... if it is a number, a text or a config */
	uint32_t rows;	   /* of a table, still to be read */
	uint8_t of_run;	   /* TrackKind: whose fragment it is */
	size_t have;	   /* of head */
	size_t need;	   /* ... */
	unsigned char head[CONTAINER_HEAD];
	uint32_t scale;		 /* MP4: of a second; Matroska: in nanoseconds */
	int64_t duration_ms; /* -1 until known */
	int64_t played_ms;	 /* GIF: of the images so far */
	uint32_t images;	 /* GIF: so many, 2 at most */
	uint32_t delay;		 /* GIF: of the next image, in 1/100 s */
	uint32_t run_ticks;	 /* MP4: of a sample of this fragment's that does not say it */
	Track track;		 /* the one that is being read */
	Track picture;		 /* the first of its kind */
	Track sound;
} Container;

extern void ContainerInit(Container *container);
extern void ContainerAdd(Container *container, const unsigned char *bytes, size_t len);
/* could it be one that ContainerAdd has made? */
extern bool ContainerIsValid(const Container *container);

/* If the file ends here: is that where it should? */
typedef enum ContainerEnd
{
	CONTAINER_END_UNKNOWN,
	CONTAINER_END_WHOLE,
	CONTAINER_END_CUT
} ContainerEnd;

/* wanted: the length of the file by what it says itself, -1 if that is not known */
extern ContainerEnd ContainerJudgeEnd(const Container *container, int64_t *wanted);

#endif /* VIBEVIDEO_CONTAINER_H */
