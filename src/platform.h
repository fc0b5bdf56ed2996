/*
 * platform.h
 *	  Questions to fal.ai's platform API that belong to no job.
 */
#ifndef VIBEVIDEO_PLATFORM_H
#define VIBEVIDEO_PLATFORM_H

#include "postgres.h"

#include "http.h"

/* see FalPlatformUrl */
typedef struct PlatformQuestion
{
	char *what;
	bool admin;	  /* with the key of scope ADMIN */
	char **query; /* names and values in turn */
	int n;
} PlatformQuestion;

/* One of body and why is NULL; both are in the current memory context. */
typedef struct PlatformAnswer
{
	int status; /* of HTTP; 0: there was no answer */
	char *body; /* JSON, in the server's encoding */
	char *why;	/* there is none */
} PlatformAnswer;

#define PLATFORM_NOT_BUILT "could not build the request: see check_config"

/* sets the names and values of a text[] */
extern void PlatformSetQuery(PlatformQuestion *question, Datum array);
/* needs a transaction and a connected SPI; false if there is none */
extern bool PlatformKey(bool admin, char *key, size_t size);
/* NULL if it cannot be built */
extern HttpRequest *PlatformAsk(HttpEngine *engine, const PlatformQuestion *question, const char *key);
/* ERROR if the body has characters that the server's encoding has not */
extern PlatformAnswer PlatformRead(const HttpReply *reply);
/* a request that was not made */
extern PlatformAnswer PlatformNoAnswer(const char *why);

#endif /* VIBEVIDEO_PLATFORM_H */
