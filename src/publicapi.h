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
/*
 * Connect SPI, load the binding, check the caller's rights on the row; returns
 * the key as it is in the row.  For an update the jobs under that key are then
 * the row's.
 */
extern char *ApiConnect(Binding *binding, const char *vibelog_id, bool for_update);
/* the user, for limits and fairness: the JWT's subject; NULL if there is none */
extern char *ApiRequestingUser(void);
/* ERROR: there was an active job, but it ended before we could read it */
pg_noreturn extern void ApiLostRace(const char *vibelog_id);
/* a job as vibevideo.video, in the memory context above SPI's */
extern Datum ApiDescribe(int64 job_id);
extern Datum ApiDescribeAs(int64 job_id, const char *vibelog_id); /* whatever key the job has */
extern Datum ApiDescribeNone(const char *vibelog_id);			  /* for a row without a job */
/* many jobs, in this order, into a result set */
extern void ApiDescribeMany(Tuplestorestate *store, const int64 *job_ids, int n);
/*
 * The HTTP status with which PostgREST answers; without PostgREST they have no
 * effect.  202 with Location (not if vibelog_id is NULL: many rows) and
 * Retry-After; 502 if fal rejected the job.
 */
extern void ApiAccepted(const char *vibelog_id);
extern void ApiRejectedByFal(void);

typedef struct ApiHeader
{
	const char *name;
	const char *value;
} ApiHeader;

/* The answer's headers, in place of others with their names. */
extern void ApiSetHeaders(const ApiHeader *headers, int n);

#endif /* VIBEVIDEO_PUBLICAPI_H */
