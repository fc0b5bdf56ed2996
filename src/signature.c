/*
 * signature.c
 *	  fal's webhook signatures.
 *
 * The signed message is request id, user id, timestamp and the lower-case hex
 * SHA-256 of the raw body, joined by newlines (fal.ai/docs: webhooks, "verify
 * your webhook").  There is no key id: every key of the JWKS is tried.
 */
#include "signature.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

#define MAX_HEADER 256
#define KEY_DIGITS 43 /* 32 bytes in base64 */

/* libcrypto accepts nothing but digits here, but any number of them */
static bool
ReadHex(const char *hex, unsigned char *out, size_t size)
{
	return strlen(hex) == size * 2 && OPENSSL_hexstr2buf_ex(out, size, NULL, hex, '\0') == 1;
}

/*
 * A key's bytes in the base64 of RFC 4648 section 5, padding optional.
 * libcrypto knows standard base64 only, skips blanks, and counts padding as
 * bytes.
 */
static bool
ReadBase64Key(const char *text, unsigned char key[SIGNATURE_KEY_BYTES])
{
	unsigned char digits[KEY_DIGITS + 2];
	unsigned char bytes[SIGNATURE_KEY_BYTES + 1];
	size_t len = strspn(text, ALNUM "-_+/");

	if (len != KEY_DIGITS || text[len + strspn(text + len, "=")] != '\0')
		return false;
	for (size_t i = 0; i < len; i++)
		digits[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/'
														  : (unsigned char) text[i];
	memcpy(digits + len, "=", 2);
	if (EVP_DecodeBlock(bytes, digits, KEY_DIGITS + 1) != sizeof(bytes))
		return false;
	memcpy(key, bytes, SIGNATURE_KEY_BYTES);
	return true;
}

static bool
ReadKey(const char *raw, size_t raw_len, void *arg)
{
	SignatureKeys *keys = arg;
	char kty[16];
	char crv[16];
	char x[64];
	JsonWant wants[] = {
		{.path = "kty", .text = kty, .size = sizeof(kty)},
		{.path = "crv", .text = crv, .size = sizeof(crv)},
		{.path = "x", .text = x, .size = sizeof(x)},
	};

	if (!JsonPick(raw, raw_len, wants, 3) || wants[2].kind != JSON_STRING || wants[2].truncated)
		return true;
	/* the docs promise only x; if the others are there, they must match */
	if ((wants[0].kind == JSON_STRING && strcmp(kty, "OKP") != 0) ||
		(wants[1].kind == JSON_STRING && strcmp(crv, "Ed25519") != 0))
		return true;
	if (ReadBase64Key(x, keys->key[keys->n]))
		keys->n++;
	return keys->n < SIGNATURE_MAX_KEYS;
}

bool
SignatureReadJwks(const char *json, size_t len, SignatureKeys *keys)
{
	keys->n = 0;
	return JsonEach(json, len, "keys", ReadKey, keys);
}

static bool
IsHeader(const char *value)
{
	return value && value[0] && strlen(value) <= MAX_HEADER && strpbrk(value, "\r\n") == NULL;
}

bool
SignatureIsFresh(const SignedMessage *message, int64_t now)
{
	int64_t at = 0;
	const char *p = message->timestamp;

	if (!IsHeader(message->request_id) || !IsHeader(message->user_id) ||
		!IsHeader(message->timestamp) || !IsHeader(message->signature) ||
		strlen(message->timestamp) > 12)
		return false;
	for (; *p; p++)
	{
		if (*p < '0' || *p > '9')
			return false;
		at = at * 10 + (*p - '0');
	}
	return at >= now - SIGNATURE_TOLERANCE_S && at <= now + SIGNATURE_TOLERANCE_S;
}

/* false when libcrypto fails, which counts as a wrong signature */
static bool
BuildText(const SignedMessage *message, char *out, size_t size)
{
	unsigned char hash[32];
	unsigned int hash_len = sizeof(hash);
	int len;

	if (EVP_Digest(message->body, message->body_len, hash, &hash_len, EVP_sha256(), NULL) != 1)
		return false;
	len = snprintf(out, size, "%s\n%s\n%s\n", message->request_id, message->user_id, message->timestamp);
	if (len < 0 || (size_t) len + 2 * sizeof(hash) >= size)
		return false;
	/* libcrypto writes capitals only */
	for (size_t i = 0; i < sizeof(hash); i++)
		(void) snprintf(out + len + 2 * i, 3, "%02x", hash[i]);
	return true;
}

static bool
VerifyBy(const unsigned char *key, const unsigned char *signature, const char *text)
{
	EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, SIGNATURE_KEY_BYTES);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool valid = pkey != NULL && ctx != NULL &&
		EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
		EVP_DigestVerify(ctx, signature, SIGNATURE_BYTES, (const unsigned char *) text, strlen(text)) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return valid;
}

bool
SignatureIsValid(const SignedMessage *message, const SignatureKeys *keys)
{
	unsigned char signature[SIGNATURE_BYTES];
	char text[3 * MAX_HEADER + 80];

	if (!ReadHex(message->signature, signature, sizeof(signature)) || !BuildText(message, text, sizeof(text)))
		return false;
	for (int i = 0; i < keys->n; i++)
		if (VerifyBy(keys->key[i], signature, text))
			return true;
	return false;
}
