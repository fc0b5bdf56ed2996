/*
 * erase.h
 *	  The worker erases videos: files in Storage, and what fal.ai keeps of requests.
 *
 * Choosing and ending need a transaction and a connected SPI.
 */
#ifndef VIBEVIDEO_ERASE_H
#define VIBEVIDEO_ERASE_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "binding.h"
#include "http.h"

/* may something be asked for, of Storage or of fal.ai? */
extern bool EraseMayBegin(void);
extern bool EraseIsUnderWay(void);
/*
 * What was noted when rows were deleted: it goes unless a row shows it.  Like the
 * next it returns when more is due, 0: nothing is.
 */
extern TimestampTz EraseLookForRows(const Binding *binding);
/* jobs whose turn it is: what each has left takes its place */
extern TimestampTz EraseExpand(void);
/* chooses what is due, if anything is and may be asked for; returns when the next is due, 0: none is */
extern TimestampTz EraseChoose(void);
/* asks for what was chosen, once that is committed */
extern void EraseBegin(HttpEngine *engine);
/* true if the request, which is done, was one of these */
extern bool EraseTake(HttpRequest *request);
extern bool EraseIsAnswered(void);
/* records the answer */
extern void EraseEnd(void);
/* drops what was chosen and not begun, or answered and not recorded: it is asked for again */
extern void EraseForget(void);

#endif /* VIBEVIDEO_ERASE_H */
