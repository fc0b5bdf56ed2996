/*
 * reconcile.h
 *	  Finding out what became of a submit whose answer was lost.
 */
#ifndef VIBEVIDEO_RECONCILE_H
#define VIBEVIDEO_RECONCILE_H

#include "task.h"

/* query fal's platform API; the task is over if that is pointless or failed: ReconcileDecide is next */
extern void ReconcileStart(Task *task);
/* a page has arrived, and is freed here; the task is over after the last one: ReconcileDecide is next */
extern void ReconcileAdvance(Task *task, HttpRequest *request);
/* in a transaction: adopt a request, keep waiting, or apply vibevideo.unknown_policy */
extern void ReconcileDecide(Task *task);
/* in a transaction: make all lost submits due now */
extern void ReconcileNow(void);

#endif /* VIBEVIDEO_RECONCILE_H */
