/*
 * process.c
 *	  What our background processes have in common.
 */
#include "postgres.h"

#include "process.h"

void
ProcessDescribe(BackgroundWorker *process, const char *function, const char *name)
{
	memset(process, 0, sizeof(*process));
	process->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	process->bgw_start_time = BgWorkerStart_RecoveryFinished;
	process->bgw_restart_time = BGW_NEVER_RESTART;
	snprintf(process->bgw_library_name, BGW_MAXLEN, "vibevideo");
	snprintf(process->bgw_function_name, BGW_MAXLEN, "%s", function);
	snprintf(process->bgw_name, BGW_MAXLEN, "%s", name);
	snprintf(process->bgw_type, BGW_MAXLEN, "%s", name);
}
