/*
 * media.h
 *	  Learns from a video's bytes as they pass: whether it is a video, its
 *	  SHA-256, how long it plays, and whether all of it is here.
 *
 * Pure but for libcrypto.
 */
#ifndef VIBEVIDEO_MEDIA_H
#define VIBEVIDEO_MEDIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* EVP cannot export its state; the functions that it is built on can */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

/* What a file is, by its bytes. */
typedef struct MediaKind
{
	const char *name;	/* for people */
	const char *type;	/* content type, NULL if it is not a video that we store */
	const char *ending; /* of its name */
	bool certain;		/* not a page or a text that a server gives in place of a file */
} MediaKind;

/* of the first bytes; a shorter file is nothing */
#define MEDIA_SNIFF_BYTES 1024
#define MEDIA_MIN_BYTES 12
extern const MediaKind *MediaSniff(const unsigned char *bytes, size_t len);

typedef enum MediaForm
{
	MEDIA_FORM_NEW, /* too few bytes so far */
	MEDIA_FORM_BOXES,
	MEDIA_FORM_ELEMENTS,
	MEDIA_FORM_OTHER
} MediaForm;

/* what is collected in head */
typedef enum MediaHead
{
	MEDIA_HEAD_BOX, /* or the head of an element */
	MEDIA_HEAD_MOVIE,
	MEDIA_HEAD_EXTENDS
} MediaHead;

typedef struct MediaProbe
{
	MediaForm form;
	MediaHead what;
	bool over;			  /* what follows is not read */
	bool has_movie;		  /* moov, or a segment */
	bool has_data;		  /* mdat or moof */
	bool fragmented;	  /* it could end after any fragment */
	uint64_t at;		  /* the next byte's offset in the file */
	uint64_t skip;		  /* bytes to skip before head */
	uint64_t movie_end;	  /* of the last moov, 0 before it */
	uint64_t extends_end; /* of its mvex */
	uint64_t body_end;	  /* of the box whose body is collected */
	size_t have;		  /* of head */
	size_t need;		  /* ... */
	unsigned char head[32];
	uint32_t timescale;
	int64_t duration_ms; /* -1 until known */
} MediaProbe;

/* Initialized by MediaMeterInit; the file's bytes are then added in pieces of any size. */
typedef struct MediaMeter
{
	int64_t bytes; /* seen so far */
	SHA256_CTX hash;
	MediaProbe probe;
} MediaMeter;

extern void MediaMeterInit(MediaMeter *meter);
extern void MediaMeterAdd(MediaMeter *meter, const void *data, size_t len);
/* of the bytes seen so far */
extern void MediaMeterHash(const MediaMeter *meter, unsigned char sha256[32]);

/* If the file ends here: is that where it should? */
typedef enum MediaEnd
{
	MEDIA_END_UNKNOWN,
	MEDIA_END_WHOLE,
	MEDIA_END_CUT
} MediaEnd;

/* wanted: the length of the file by what it says itself, -1 if that is not known */
extern MediaEnd MediaMeterEnd(const MediaMeter *meter, int64_t *wanted);

/*
 * A meter as a few bytes, with which another process can continue.  The ETag
 * identifies the file; load returns false, and a new meter, if the bytes are
 * damaged or belong to another file.
 */
#define MEDIA_STATE_SIZE 194
extern void MediaMeterSave(const MediaMeter *meter, const char *etag, unsigned char state[MEDIA_STATE_SIZE]);
extern bool MediaMeterLoad(MediaMeter *meter, const char *etag, const unsigned char *state, size_t len);

#endif /* VIBEVIDEO_MEDIA_H */
