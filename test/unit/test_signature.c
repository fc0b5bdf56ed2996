/*
 * test_signature.c
 *	  Webhook signatures.  The key is that of RFC 8032 7.1's first test, the
 *	  signature was made with openssl's command line.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "signature.h"

#define NOW 1795485882 /* 2026-11-24 02:04:42 GMT */
#define KEY "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define KEY_USUAL "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define OTHER_KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define SIGNATURE "3ead3d96ab4f5fe63d776c466f0154700ad930f48e7bb347fec51bc852980baf" \
				  "804633d3e8544e69090a246cd3b705b4c071b0055a719d4b7be5f91c2398b202"
#define BODY "{\"status\":\"OK\"}"

static const SignedMessage Good = {"req-1", "user-1", "1795485882", SIGNATURE, BODY, sizeof(BODY) - 1};

static SignatureKeys
Keys(const char *jwks)
{
	SignatureKeys keys;

	CheckTrue(jwks, "is a JWKS", SignatureReadJwks(jwks, strlen(jwks), &keys));
	return keys;
}

static void
TestKeys(void)
{
	static const struct
	{
		const char *x;
		int n;
	} cases[] = {
		{KEY, 1},
		{KEY_USUAL, 1},
		{KEY "=", 1},
		{KEY "==", 1},
		{"", 0},
		{"=", 0},
		{KEY "A", 0},
		{KEY "=A", 0},
		{KEY " ", 0},
		{" " KEY, 0},
		{KEY "\\n", 0},
		{KEY "-", 0},
		{"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHUR", 0},
		{"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHU=o", 0},
		{"11qYAYKxCrfVS_7TyWQHOg 7hcvPapiMlrwIaaPcHUR", 0},
		{"11qYAYKxCrfVS_7TyWQHOg.7hcvPapiMlrwIaaPcHUR", 0},
		{"11qYAYKxCrfVS_7TyWQHOg\\u00e47hcvPapiMlrwIaaPcHUR", 0},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		char jwks[200];
		SignatureKeys keys;

		snprintf(jwks, sizeof(jwks), "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"}]}", cases[i].x);
		keys = Keys(jwks);
		CheckNumber(cases[i].x, "keys", keys.n, cases[i].n);
		CheckNumber(cases[i].x, "verifies", SignatureIsValid(&Good, &keys), cases[i].n);
	}
}

static void
TestJwks(void)
{
	SignatureKeys keys = Keys("{\"keys\":[{\"x\":\"" OTHER_KEY "\"},{\"x\":7},{},{\"kty\":\"RSA\",\"x\":\"" KEY "\"},"
							  "{\"crv\":\"X25519\",\"x\":\"" KEY "\"}]}");

	CheckNumber("foreign keys", "keys", keys.n, 1);
	CheckTrue("foreign keys", "do not verify", !SignatureIsValid(&Good, &keys));
	keys = Keys("{\"keys\":[{\"x\":\"" OTHER_KEY "\"},{\"x\":\"" KEY "\"}]}");
	CheckNumber("the second key", "keys", keys.n, 2);
	CheckTrue("the second key", "verifies", SignatureIsValid(&Good, &keys));
	keys = Keys("{\"keys\":[]}");
	CheckTrue("no key", "does not verify", !SignatureIsValid(&Good, &keys));
	CheckTrue("a list", "is no JWKS", !SignatureReadJwks("[]", 2, &keys));
	CheckTrue("nothing", "is no JWKS", !SignatureReadJwks("", 0, &keys));
}

static void
TestSignatures(void)
{
	static const struct
	{
		const char *name;
		SignedMessage message;
		bool valid;
	} cases[] = {
		{"as sent", {"req-1", "user-1", "1795485882", SIGNATURE, BODY, sizeof(BODY) - 1}, true},
		{"another request", {"req-2", "user-1", "1795485882", SIGNATURE, BODY, sizeof(BODY) - 1}, false},
		{"another user", {"req-1", "user-2", "1795485882", SIGNATURE, BODY, sizeof(BODY) - 1}, false},
		{"another time", {"req-1", "user-1", "1795485883", SIGNATURE, BODY, sizeof(BODY) - 1}, false},
		{"cut body", {"req-1", "user-1", "1795485882", SIGNATURE, BODY, sizeof(BODY) - 2}, false},
		{"no signature", {"req-1", "user-1", "1795485882", "", BODY, sizeof(BODY) - 1}, false},
		{"too long", {"req-1", "user-1", "1795485882", SIGNATURE "00", BODY, sizeof(BODY) - 1}, false},
		{"separated", {"req-1", "user-1", "1795485882", "3e:ad:3d", BODY, sizeof(BODY) - 1}, false},
	};
	SignatureKeys keys = Keys("{\"keys\":[{\"x\":\"" KEY "\"}]}");
	char other[sizeof(SIGNATURE)];
	SignedMessage message = Good;

	for (size_t i = 0; i < lengthof(cases); i++)
		CheckNumber(cases[i].name, "valid", SignatureIsValid(&cases[i].message, &keys), cases[i].valid);

	message.signature = other;
	memcpy(other, SIGNATURE, sizeof(other));
	other[1] = 'E';
	CheckTrue("capitals", "valid", SignatureIsValid(&message, &keys));
	for (size_t i = 0; i < sizeof(other) - 1; i++)
	{
		static const char wrongs[] = "0gG: -";

		memcpy(other, SIGNATURE, sizeof(other));
		for (size_t w = 0; w < sizeof(wrongs) - 1; w++)
		{
			other[i] = wrongs[w] == SIGNATURE[i] ? '1' : wrongs[w];
			CheckTrue("a wrong digit", "invalid", !SignatureIsValid(&message, &keys));
		}
	}
	/* separators in place of digits, which libcrypto would pass over */
	memset(other, ':', sizeof(other) - 1);
	memcpy(other, SIGNATURE, 4);
	CheckTrue("separators", "invalid", !SignatureIsValid(&message, &keys));
}

static void
TestFresh(void)
{
	SignedMessage message = Good;
	char header[258];

	CheckTrue("now", "fresh", SignatureIsFresh(&Good, NOW));
	CheckTrue("five minutes later", "fresh", SignatureIsFresh(&Good, NOW + 300));
	CheckTrue("five minutes sooner", "fresh", SignatureIsFresh(&Good, NOW - 300));
	CheckTrue("later", "not fresh", !SignatureIsFresh(&Good, NOW + 301));
	CheckTrue("sooner", "not fresh", !SignatureIsFresh(&Good, NOW - 301));
	message.timestamp = "1795485882 ";
	CheckTrue("a blank", "not fresh", !SignatureIsFresh(&message, NOW));
	message = Good;
	message.user_id = NULL;
	CheckTrue("no user", "not fresh", !SignatureIsFresh(&message, NOW));
	memset(header, 'a', sizeof(header) - 1);
	header[sizeof(header) - 1] = '\0';
	message.user_id = header;
	CheckTrue("a long header", "not fresh", !SignatureIsFresh(&message, NOW));
	header[sizeof(header) - 2] = '\0';
	CheckTrue("the longest header", "fresh", SignatureIsFresh(&message, NOW));
}

void
TestSignature(void)
{
	TestKeys();
	TestJwks();
	TestSignatures();
	TestFresh();
}
