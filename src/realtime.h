/*
 * realtime.h
 *	  Broadcasts a row's new status through Supabase Realtime.
 */
#ifndef VIBEVIDEO_REALTIME_H
#define VIBEVIDEO_REALTIME_H

#include "postgres.h"

/* is there a realtime.send that may run with the rights of the table's owner? */
extern bool RealtimeIsAvailable(Oid table_owner);
/* calls it as the current user; may raise any error */
extern void RealtimeSend(const char *vibelog_id, const char *status, const char *request_id);
/* it failed: do not call it for a while */
extern void RealtimePause(void);

#endif /* VIBEVIDEO_REALTIME_H */
