/*
 * reconcile.h
 *	  Finding out what became of a submit whose answer was lost.
 */
#ifndef VIBEVIDEO_RECONCILE_H
#define VIBEVIDEO_RECONCILE_H

#include "task.h"

/* ask fal's platform API; the task is over if that is of no use or could not be done: ReconcileDecide is next */
extern void ReconcileStart(Task *task);
/* a page is here (freed); the task is over when the list is read: ReconcileDecide is next */
extern void ReconcileAdvance(Task *task, HttpRequest *request);
/* in a transaction: adopt a request, wait on, or follow vibevideo.unknown_policy */
extern void ReconcileDecide(Task *task);
/* in a transaction: all jobs in doubt are looked up at once */
extern void ReconcileNow(void);

#endif /* VIBEVIDEO_RECONCILE_H */
