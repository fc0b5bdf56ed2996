/*
 * media.h
 *	  Learns from a video's bytes as they pass: whether it is a video, its
 *	  SHA-256, and how long it plays.
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

/* do these first bytes look like a video we store? name gets "mp4" or "webm" */
#define MEDIA_SNIFF_BYTES 12
extern bool MediaSniff(const unsigned char *bytes, size_t len, const char **name);

typedef struct MediaProbe
{
	bool over;		/* found, or there is no use in reading on */
	bool in_movie;	/* the box that begins here is inside moov */
	bool in_header; /* head is the start of mvhd's body, otherwise of a box */
	uint64_t skip;	/* bytes to skip before that */
	size_t have;	/* of head */
	size_t need;	/* ... */
	unsigned char head[32];
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

/*
 * A meter as a few bytes, with which another process can continue.  The ETag
 * identifies the file; load returns false, and a new meter, if the bytes are
 * damaged or belong to another file.
 */
#define MEDIA_STATE_SIZE 166
extern void MediaMeterSave(const MediaMeter *meter, const char *etag, unsigned char state[MEDIA_STATE_SIZE]);
extern bool MediaMeterLoad(MediaMeter *meter, const char *etag, const unsigned char *state, size_t len);

#endif /* VIBEVIDEO_MEDIA_H */
