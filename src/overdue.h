/*
 * overdue.h
 *	  The end of jobs whose time is over.
 */
#ifndef VIBEVIDEO_OVERDUE_H
#define VIBEVIDEO_OVERDUE_H

#include "postgres.h"
#include "datatype/timestamp.h"

/* In the worker, whenever it looks for work, in its transaction. */
extern void OverdueEnd(TimestampTz now);

#endif /* VIBEVIDEO_OVERDUE_H */
