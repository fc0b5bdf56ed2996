/*
 * stray.h
 *	  Jobs whose table is not attached, or gone.
 */
#ifndef VIBEVIDEO_STRAY_H
#define VIBEVIDEO_STRAY_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "binding.h"

/*
 * For the worker, in a transaction: the log names such jobs, when something
 * else is attached and once an hour; those that were not sent and have no
 * table any more are cancelled.
 */
extern void StrayLook(const Binding *binding, TimestampTz now);

#endif /* VIBEVIDEO_STRAY_H */
