/*
 * publicapi.h
 *	  What the public functions have in common.
 */
#ifndef VIBEVIDEO_PUBLICAPI_H
#define VIBEVIDEO_PUBLICAPI_H

#include "postgres.h"
#include "fmgr.h"
#include "utils/tuplestore.h"

#include "binding.h"
#include "compat.h"

/* the first argument as text: its type is the attached table's key */
extern char *ApiKeyArgument(FunctionCallInfo fcinfo);
extern void ApiCheckKey(const char *key);
/* connect SPI, load the binding, see that the caller has rights on the row: its key, as the row has it */
extern char *ApiBegin(Binding *binding, const char *vibelog_id, bool for_update);
/* who asks, for limits and fairness: the JWT's subject, NULL if nobody */
extern char *ApiRequestingUser(void);
/* ERROR: there was an active job, but its end was faster than we */
pg_noreturn extern void ApiLostRace(const char *vibelog_id);
/* vibevideo.video of a job, in the memory context above SPI's */
extern Datum ApiDescribe(int64 job_id);
extern Datum ApiDescribeNone(const char *vibelog_id); /* of a row that has no job */
/* ... of many, in this order, into a result */
extern void ApiDescribeMany(Tuplestorestate *store, const int64 *job_ids, int n);
/*
 * What PostgREST shall answer; everybody else may ignore it.  202 with Location
 * (unless NULL: many rows) and Retry-After; 502 when fal took no job.
 */
extern void ApiAccepted(const char *vibelog_id);
extern void ApiRefusedByFal(void);

#endif /* VIBEVIDEO_PUBLICAPI_H */
