/*
 * vibevideo.c
 *	  Loading: settings, shared memory, launcher.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "compat.h"
#include "dropwatch.h"
#include "guc.h"
#include "ownerror.h"
#include "shmem.h"
#include "worker.h"

VIBEVIDEO_MODULE_MAGIC;

void _PG_init(void);

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("vibevideo must be loaded via \"shared_preload_libraries\""),
				 errdetail("Its background worker and shared memory are set up when the server starts."),
				 errhint("Add vibevideo to the list that is there, or set shared_preload_libraries = 'vibevideo', and restart the server.")));
	GucInit();
	ShmemInit();
	/* the servers that pg_upgrade starts must not send anything */
	if (IsBinaryUpgrade)
		return;
	LauncherRegister();
	DropWatchInit();
	OwnErrorInit();
}
