/*
 * media.h
 *	  What a video's bytes say as they pass: whether it is one, its SHA-256, and
 *	  how long it plays.
 *
 * Pure but for libcrypto.
 */
#ifndef VIBEVIDEO_MEDIA_H
#define VIBEVIDEO_MEDIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* EVP cannot tell its state; these functions, which it stands on, can */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

/* do these first bytes look like a video we store? name gets "mp4" or "webm" */
#define MEDIA_SNIFF_BYTES 12
extern bool MediaSniff(const unsigned char *bytes, size_t len, const char **name);

typedef struct MediaProbe
{
	bool over;		/* found, or it is of no use to go on */
	bool in_movie;	/* the box that begins here is one of moov's */
	bool in_header; /* head is of mvhd's body, otherwise of a box */
	uint64_t skip;	/* bytes until then */
	size_t have;	/* of head */
	size_t need;	/* ... */
	unsigned char head[32];
	int64_t duration_ms; /* -1 until known */
} MediaProbe;

/* Starts as MediaMeterInit left it; the file's bytes are then added in any pieces. */
typedef struct MediaMeter
{
	int64_t bytes; /* seen so far */
	SHA256_CTX hash;
	MediaProbe probe;
} MediaMeter;

extern void MediaMeterInit(MediaMeter *meter);
extern void MediaMeterAdd(MediaMeter *meter, const void *data, size_t len);
/* of what was seen so far */
extern void MediaMeterHash(const MediaMeter *meter, unsigned char sha256[32]);

/*
 * A meter as a few bytes, for another process to go on with.  The ETag says of
 * which file; load is false, and the meter as new, if they are not sound or of
 * another one.
 */
#define MEDIA_STATE_SIZE 166
extern void MediaMeterSave(const MediaMeter *meter, const char *etag, unsigned char state[MEDIA_STATE_SIZE]);
extern bool MediaMeterLoad(MediaMeter *meter, const char *etag, const unsigned char *state, size_t len);

#endif /* VIBEVIDEO_MEDIA_H */
