/*
 * subtransaction.h
 *	  A step that may fail without the rest.
 */
#ifndef VIBEVIDEO_SUBTRANSACTION_H
#define VIBEVIDEO_SUBTRANSACTION_H

#include "postgres.h"

/*
 * NULL if all went well; otherwise the error, in the current memory context, and
 * nothing of step has happened in the database.  FATAL errors are not caught;
 * cancels are, and the caller says with ReThrowError what is not for it.
 */
extern ErrorData *SubtransactionRun(void (*step)(void *arg), void *arg);

/* false if a unique index said that somebody was faster; other errors are thrown again */
extern bool SubtransactionRunUnlessTaken(void (*step)(void *arg), void *arg);

#endif /* VIBEVIDEO_SUBTRANSACTION_H */
