/*
 * reconcile.h
 *	  Finding out what became of a submit whose answer was lost.
 */
#ifndef VIBEVIDEO_RECONCILE_H
#define VIBEVIDEO_RECONCILE_H

#include "task.h"

/* ask fal's platform API; false: not asked, ReconcileDecide is next */
extern bool ReconcileStart(HttpEngine *engine, Task *task, const char *key);
/* a page is here (freed); true: the list is read, ReconcileDecide is next */
extern bool ReconcileAdvance(HttpEngine *engine, Task *task, HttpRequest *request, const char *key);
/* in a transaction: adopt a request, wait on, or follow vibevideo.unknown_policy */
extern void ReconcileDecide(Task *task);
/* in a transaction: all jobs in doubt are looked up at once */
extern void ReconcileNow(void);

#endif /* VIBEVIDEO_RECONCILE_H */
