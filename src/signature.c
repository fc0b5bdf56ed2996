/*
 * signature.c
 *	  fal's webhook signatures.
 *
 * The signed message is request id, user id, timestamp and the lower-case hex
 * SHA-256 of the raw body, joined by newlines (fal.ai/docs: webhooks, "verify
 * your webhook").  There is no key id: every key of the JWKS is tried.
 */
#include <openssl/evp.h>
#include <string.h>

#include "json.h"
#include "signature.h"

#define MAX_HEADER 256

static int
HexDigit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool
ReadHex(const char *hex, unsigned char *out, size_t size)
{
	if (strlen(hex) != size * 2)
		return false;
	for (size_t i = 0; i < size; i++)
	{
		int high = HexDigit(hex[2 * i]);
		int low = HexDigit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (unsigned char) (high << 4 | low);
	}
	return true;
}

static int
Base64UrlDigit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-' || c == '+')
		return 62;
	if (c == '_' || c == '/')
		return 63;
	return -1;
}

/* RFC 4648 section 5, padding optional: exactly size bytes, or false. */
static bool
ReadBase64Url(const char *text, unsigned char *out, size_t size)
{
	unsigned int bits = 0;
	int nbits = 0;
	size_t n = 0;

	for (; *text && *text != '='; text++)
	{
		int digit = Base64UrlDigit(*text);

		if (digit < 0)
			return false;
		bits = (bits << 6 | (unsigned int) digit) & 0xffffff;
		nbits += 6;
		if (nbits >= 8)
		{
			if (n == size)
				return false;
			nbits -= 8;
			out[n++] = (unsigned char) (bits >> nbits & 0xff);
		}
	}
	return n == size && strspn(text, "=") == strlen(text);
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
	/* the docs promise only x; if the others are there they must be ours */
	if ((wants[0].kind == JSON_STRING && strcmp(kty, "OKP") != 0) ||
		(wants[1].kind == JSON_STRING && strcmp(crv, "Ed25519") != 0))
		return true;
	if (ReadBase64Url(x, keys->key[keys->n], SIGNATURE_KEY_BYTES))
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

/* false when libcrypto fails, which is as good as a wrong signature */
static bool
BuildText(const SignedMessage *message, char *out, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char hash[32];
	char hex[65];
	unsigned int hash_len = sizeof(hash);
	size_t need = strlen(message->request_id) + strlen(message->user_id) + strlen(message->timestamp) + 3 + 64;

	if (need >= size || EVP_Digest(message->body, message->body_len, hash, &hash_len, EVP_sha256(), NULL) != 1)
		return false;
	for (int i = 0; i < 32; i++)
	{
		hex[2 * i] = digits[hash[i] >> 4];
		hex[2 * i + 1] = digits[hash[i] & 15];
	}
	hex[64] = '\0';
	out[0] = '\0';
	strcat(out, message->request_id);
	strcat(out, "\n");
	strcat(out, message->user_id);
	strcat(out, "\n");
	strcat(out, message->timestamp);
	strcat(out, "\n");
	strcat(out, hex);
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
