/*
 * access.h
 *	  Who is an operator, and who may look.
 */
#ifndef VIBEVIDEO_ACCESS_H
#define VIBEVIDEO_ACCESS_H

#include "postgres.h"

/* each may do what those before it may */
typedef enum AccessLevel
{
	ACCESS_NONE,
	ACCESS_VIEWER,
	ACCESS_OPERATOR,
	ACCESS_OWNER /* of the extension */
} AccessLevel;

typedef struct Caller
{
	char *name; /* for the audit and for texts: safe to show */
	AccessLevel level;
	bool see_input; /* prompts and inputs, too */
	char *user_id;	/* the sub of a JWT that is believed, else NULL */
} Caller;

/* SPI must be connected; what they return is in the current memory context */
extern Caller AccessCaller(void);
extern Caller AccessRequire(AccessLevel level); /* ERROR if that is not reached */

/* deletes what the audit need not keep any longer, at most so much; returns how much */
extern int64 AccessPruneAudit(int max);

#endif /* VIBEVIDEO_ACCESS_H */
