/*
 * process.h
 *	  What our background processes have in common.
 */
#ifndef VIBEVIDEO_PROCESS_H
#define VIBEVIDEO_PROCESS_H

#include "postgres.h"

#include "postmaster/bgworker.h"

/* one that runs function of ours, is not restarted, and is called name in pg_stat_activity; the rest is zeroed */
extern void ProcessDescribe(BackgroundWorker *process, const char *function, const char *name);

#endif /* VIBEVIDEO_PROCESS_H */
