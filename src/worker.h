/*
 * worker.h
 *	  The background processes: one launcher for the cluster, one worker for
 *	  each database that has work.
 */
#ifndef VIBEVIDEO_WORKER_H
#define VIBEVIDEO_WORKER_H

#include "postgres.h"

extern void LauncherRegister(void);
extern PGDLLEXPORT void VibevideoLauncherMain(Datum arg);
extern PGDLLEXPORT void VibevideoWorkerMain(Datum arg);

#endif /* VIBEVIDEO_WORKER_H */
