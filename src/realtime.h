/*
 * realtime.h
 *	  A row's news for Supabase Realtime's broadcasts.
 */
#ifndef VIBEVIDEO_REALTIME_H
#define VIBEVIDEO_REALTIME_H

#include "postgres.h"

/* is there a realtime.send that may run with the rights of the table's owner? */
extern bool RealtimeMayTell(Oid table_owner);
/* calls it as the current user; may raise anything. */
extern void RealtimeTell(const char *vibelog_id, const char *status, const char *request_id);
/* it did not work: leave it alone for a while */
extern void RealtimePause(void);

#endif /* VIBEVIDEO_REALTIME_H */
