/*
 * signature.h
 *	  fal's webhook signatures: Ed25519 over the raw body, keys from a JWKS.
 *
 * Pure: libcrypto on the caller's buffers, no Postgres state, no network.
 */
#ifndef VIBEVIDEO_SIGNATURE_H
#define VIBEVIDEO_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGNATURE_KEY_BYTES 32
#define SIGNATURE_BYTES 64
#define SIGNATURE_MAX_KEYS 16
#define SIGNATURE_TOLERANCE_S 300 /* fal's docs: five minutes */

typedef struct SignatureKeys
{
	int n;
	unsigned char key[SIGNATURE_MAX_KEYS][SIGNATURE_KEY_BYTES];
} SignatureKeys;

/* The four X-Fal-Webhook-* headers, as received; NULL when absent. */
typedef struct SignedMessage
{
	const char *request_id;
	const char *user_id;
	const char *timestamp;
	const char *signature;
	const char *body;
	size_t body_len;
} SignedMessage;

/* public keys of a JWKS; other entries are skipped; false if it is not a JWKS */
extern bool SignatureReadJwks(const char *json, size_t len, SignatureKeys *keys);

/* complete, well-formed and fresh?  now is Unix time */
extern bool SignatureIsFresh(const SignedMessage *message, int64_t now);

/* signed by any of the keys? */
extern bool SignatureIsValid(const SignedMessage *message, const SignatureKeys *keys);

#endif /* VIBEVIDEO_SIGNATURE_H */
