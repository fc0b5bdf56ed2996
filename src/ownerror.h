/*
 * ownerror.h
 *	  Errors of ours on their way to whoever has called us, and our words for
 *	  some of PostgreSQL's.
 */
#ifndef VIBEVIDEO_OWNERROR_H
#define VIBEVIDEO_OWNERROR_H

#include "postgres.h"

/* What code that includes this throws is ours: every file that calls ereport or elog does. */
#define OWN_ERROR_DOMAIN "vibevideo"
#undef TEXTDOMAIN
#define TEXTDOMAIN OWN_ERROR_DOMAIN

/* from then on an error leaves each function of ours in SQL or PL/pgSQL as it leaves a statement by OwnErrorLeave */
extern void OwnErrorInit(void);

/*
 * In a PG_CATCH: what the error that is being handled becomes when it leaves a
 * statement on our tables.  One of ours is thrown from here, with the CONTEXT of
 * here, and so is one of PostgreSQL's that we have words for.  Otherwise this
 * returns, and the caller throws the error again as it is.  mcxt is for the copy.
 */
extern void OwnErrorLeave(MemoryContext mcxt);
/* the same for statements that run the app's code: only what we have words for */
extern void OwnErrorReword(MemoryContext mcxt);

/* ERROR if the transaction is read-only; call is what the caller has called */
extern void OwnErrorIfReadOnly(const char *call);

/*
 * In a PG_CATCH around call's wait for the network, for at most ms, which is what
 * that setting says: if statement_timeout or somebody has cancelled the wait, an
 * error in our words is thrown, with this detail.  Otherwise it returns.
 */
extern void OwnErrorIfCancelled(MemoryContext mcxt, const char *call, const char *detail, const char *setting, int ms);
/* was it statement_timeout, as PostgreSQL says it? */
extern bool OwnErrorIsTimeout(const ErrorData *edata);

#endif /* VIBEVIDEO_OWNERROR_H */
