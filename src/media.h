/*
 * media.h
 *	  Measures a video's bytes as they pass.
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

#include "container.h"
#include "kind.h"

/* Initialized by MediaMeterInit; the file's bytes are then added in pieces of any size. */
typedef struct MediaMeter
{
	int64_t bytes; /* seen so far */
	SHA256_CTX hash;
	Container container;
} MediaMeter;

extern void MediaMeterInit(MediaMeter *meter);
extern void MediaMeterAdd(MediaMeter *meter, const void *data, size_t len);
/* of the bytes seen so far */
extern void MediaMeterHash(const MediaMeter *meter, unsigned char sha256[32]);
/* of the whole file: what it is instead of the moving picture that its first bytes promise, or NULL */
extern const Kind *MediaMeterKind(const MediaMeter *meter);

typedef enum MediaAnswer
{
	MEDIA_UNKNOWN,
	MEDIA_NO,
	MEDIA_YES
} MediaAnswer;

/* What the file says; numbers are -1, and texts empty, where it does not. */
typedef struct MediaFacts
{
	int64_t width; /* in points, as it is shown: turned, and with square points */
	int64_t height;
	int64_t milli_rate; /* pictures in 1000 seconds */
	int64_t duration_ms;
	char video_codec[TRACK_NAME]; /* as browsers name it */
	char audio_codec[TRACK_NAME];
	MediaAnswer has_audio;
	MediaAnswer faststart; /* it can be played as it arrives */
	MediaAnswer has_c2pa;  /* it has Content Credentials */
} MediaFacts;

/* is_whole: the bytes seen are all of it */
extern void MediaMeterFacts(const MediaMeter *meter, bool is_whole, MediaFacts *facts);

/*
 * A meter as a few bytes, with which another process can continue.  The ETag
 * identifies the file; load returns false, and a new meter, if the bytes are
 * damaged or belong to another file.
 */
#define MEDIA_STATE_SIZE 626
extern void MediaMeterSave(const MediaMeter *meter, const char *etag, unsigned char state[MEDIA_STATE_SIZE]);
extern bool MediaMeterLoad(MediaMeter *meter, const char *etag, const unsigned char *state, size_t len);

#endif /* VIBEVIDEO_MEDIA_H */
