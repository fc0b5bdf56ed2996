/*
 * rekey.h
 *	  Jobs whose row has another key than they were made with.
 */
#ifndef VIBEVIDEO_REKEY_H
#define VIBEVIDEO_REKEY_H

#include "postgres.h"

#include "binding.h"

/*
 * Whatever jobs are under one key go under the other, and the other way round;
 * their rows are to be written anew.  false: somebody has locked one of them,
 * and nothing has happened; wait: that cannot be.
 */
extern bool RekeyExchange(const Binding *binding, const char *a, const char *b, bool wait);
/* the row under this key is not that of its jobs, which is nowhere: they have none any more */
extern void RekeyLose(const Binding *binding, const char *key);
/* the row under this key is that of a job that has none */
extern void RekeyFind(const Binding *binding, int64 job_id, const char *key);

#endif /* VIBEVIDEO_REKEY_H */
