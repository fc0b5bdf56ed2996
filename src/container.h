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
	IN_MOVIE,	/* moov */
	IN_EXTENDS, /* mvex in it */
	IN_TRACK,	/* trak in it */
	IN_MEDIA,	/* mdia in that */
	IN_SEGMENT,
	IN_INFO,
	IN_TRACKS,
	IN_ENTRY
} ContainerPlace;

/* what is collected in head */
typedef enum ContainerPart
{
	PART_HEAD, /* of a box or element */
	PART_MOVIE_HEADER,
	PART_EXTENDS_HEADER,
	PART_HANDLER,
	PART_SCALE,
	PART_DURATION,
	PART_TRACK_TYPE,
	PART_SCREEN, /* GIF's header */
	PART_BLOCK,
	PART_LABEL,
	PART_CONTROL,
	PART_SIZE, /* of a sub-block */
	PART_IMAGE
} ContainerPart;

#define CONTAINER_DEPTH 3
#define CONTAINER_HEAD 32
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
	uint8_t depth;
	uint8_t place[CONTAINER_DEPTH]; /* ContainerPlace */
	uint64_t ends[CONTAINER_DEPTH];
	uint64_t at;	   /* the next byte's offset in the file */
	uint64_t skip;	   /* bytes to skip before head */
	uint64_t body_end; /* of what is collected */
	size_t have;	   /* of head */
	size_t need;	   /* ... */
	unsigned char head[CONTAINER_HEAD];
	uint32_t scale;		 /* MP4: of a second; Matroska: in nanoseconds */
	int64_t duration_ms; /* -1 until known */
	int64_t played_ms;	 /* GIF: of the images so far */
	uint32_t images;	 /* GIF: so many, 2 at most */
	uint32_t delay;		 /* GIF: of the next image, in 1/100 s */
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
