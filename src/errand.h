/*
 * errand.h
 *	  The worker's errands: what it asks fal.ai's platform API for no job.
 *
 * Choosing and ending need a transaction and a connected SPI.
 */
#ifndef VIBEVIDEO_ERRAND_H
#define VIBEVIDEO_ERRAND_H

#include "http.h"

/* is none under way? */
extern bool ErrandMayBegin(void);
/* chooses the one that is due, if any */
extern void ErrandChoose(void);
/* asks what was chosen, once that is committed */
extern void ErrandBegin(HttpEngine *engine);
/* true if the request, which is done, was an errand's */
extern bool ErrandTake(HttpRequest *request);
extern bool ErrandIsAnswered(void);
/* hands the answer on */
extern void ErrandEnd(void);
/* does a budget wait for the bill, which is read without any other work?  As of the last time that one was chosen. */
extern bool ErrandIsAwaited(void);
/* drops what was chosen and not begun, or answered and not handed on */
extern void ErrandForget(void);

#endif /* VIBEVIDEO_ERRAND_H */
