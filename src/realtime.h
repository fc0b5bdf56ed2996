/*
 * realtime.h
 *	  Broadcasts a row's new status through Supabase Realtime.
 */
#ifndef VIBEVIDEO_REALTIME_H
#define VIBEVIDEO_REALTIME_H

#include "binding.h"

/* is there a realtime.send that may run with the rights of the table's owner? */
typedef enum RealtimeState
{
	REALTIME_AVAILABLE,
	REALTIME_ABSENT,   /* there is none */
	REALTIME_FOREIGN,  /* its schema is not a superuser's */
	REALTIME_TOO_MUCH, /* it is an ordinary role's, and would run as a superuser */
} RealtimeState;

extern RealtimeState RealtimeLook(Oid table_owner);
/* the same, and it is not paused */
extern bool RealtimeIsAvailable(Oid table_owner);
/* calls it as the current user; may raise any error */
extern void RealtimeSend(const char *vibelog_id, const char *status, const char *request_id);
/* it failed: do not call it for a while */
extern void RealtimePause(void);

/*
 * Does a message of this row arrive?  realtime.send does not say: it makes every
 * error a warning.  NULL if it does, otherwise the error.  Nothing of it stays.
 */
extern char *RealtimeTry(const Binding *binding, const char *vibelog_id);
/* what GRANT would have to give the table's owner first, NULL if nothing */
extern char *RealtimeOwnerLacks(Oid table_owner);
/* does row-level security apply to the owner's messages? */
extern bool RealtimeOwnerNeedsPolicy(Oid table_owner);

#endif /* VIBEVIDEO_REALTIME_H */
