/*
 * secret.h
 *	  API keys: where they come from.  They are read when needed, copied only
 *	  into request headers, and wiped.
 */
#ifndef VIBEVIDEO_SECRET_H
#define VIBEVIDEO_SECRET_H

#include "postgres.h"

typedef enum SecretKind
{
	SECRET_FAL,
	SECRET_FAL_ADMIN, /* fal's bill and balance; sent to nothing but the platform API */
	SECRET_STORAGE
} SecretKind;

#define SECRET_SIZE 4096

/*
 * Vault first, then the server's environment, then the setting.  Needs a
 * transaction and a connected SPI.  False if there is none; source (may be
 * NULL) says where it was found, for check_config.
 */
extern bool SecretRead(SecretKind kind, char *out, size_t size, const char **source);
/* sentences for who has none: where it is not, and how to put it there.  Vault is named where it is asked. */
extern char *SecretAbsence(SecretKind kind);
extern char *SecretHint(SecretKind kind);
extern void SecretWipe(char *secret, size_t size);

#endif /* VIBEVIDEO_SECRET_H */
