/*
 * hook.h
 *	  Does the address that fal.ai is to call lead to vibevideo_webhook?
 *
 * Pure: no libcurl, no Postgres, no allocation.
 */
#ifndef VIBEVIDEO_HOOK_H
#define VIBEVIDEO_HOOK_H

#include "reply.h"

/* request id of a call that is a check of ours, followed by a number in hex */
#define HOOK_CHECK_ID "vibevideo-check-"
/* its body, which no JSON library would write the same way */
#define HOOK_CHECK_BODY "{ \"check\" : [1.0, 1e3],\n\t\"a\":\"\\u00e4\" }"

typedef enum HookVerdict
{
	HOOK_OURS,	 /* our own refusal of a call that is not signed */
	HOOK_WRONG,	 /* something else answers */
	HOOK_UNKNOWN /* nothing does, which may be so from here only */
} HookVerdict;

typedef struct HookReport
{
	HookVerdict verdict;
	char detail[512]; /* what follows the address in a sentence, for people */
	const char *hint; /* NULL if it is ours */
} HookReport;

/* what a call of this URL with a bad signature was answered */
extern void HookJudge(const HttpReply *reply, const char *url, HookReport *report);

/* the number in a check's request id; 0 if it is none */
extern uint64_t HookCheckNumber(const char *request_id);

/* a URL without what may be secret: its query, and who logs in */
extern void HookShowUrl(const char *url, char *out, size_t size);

#endif /* VIBEVIDEO_HOOK_H */
