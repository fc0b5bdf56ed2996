/*
 * compat.h
 *	  All differences between PostgreSQL's major versions (15 to 19) and
 *	  libcurl versions, in one place.
 */
#ifndef VIBEVIDEO_COMPAT_H
#define VIBEVIDEO_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "vibevideo needs PostgreSQL 15 or newer"
#endif

#include "postmaster/interrupt.h"
#include "storage/latch.h"
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#if PG_VERSION_NUM >= 190000
#include "utils/lsyscache.h" /* get_database_name, formerly in commands/dbcommands.h */
#endif
#include "utils/memutils.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18 renamed pg_attribute_noreturn(), which now comes first */
#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#endif

/* since 17, wait event sets belong to resource owners; ours live as long as the process */
static inline WaitEventSet *
CompatCreateWaitEventSet(int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(TopMemoryContext, nevents);
#endif
}

/* since 17, extensions can name their wait events */
static inline uint32
CompatWaitEvent(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* in a signal handler: since 19, it is also told who sent the signal */
#if PG_VERSION_NUM >= 190000
#define CompatDie() die(postgres_signal_arg, pg_siginfo)
#else
#define CompatDie() die(postgres_signal_arg)
#endif

/* since 19, a tuple descriptor must be finalized, or tuples are read wrongly */
#if PG_VERSION_NUM < 190000
#define TupleDescFinalize(desc) ((void) (desc))
#endif

/* 17 can end a whole transaction after some time */
static inline void
CompatDisableTransactionTimeout(void)
{
#if PG_VERSION_NUM >= 170000
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_SESSION);
#endif
}

/* 16 moved ACL checks to one generic function */
#if PG_VERSION_NUM >= 160000
#define CompatProcAclCheck(oid, role) object_aclcheck(ProcedureRelationId, oid, role, ACL_EXECUTE)
#define CompatNamespaceAclCheck(oid, role) object_aclcheck(NamespaceRelationId, oid, role, ACL_USAGE)
#else
#define CompatProcAclCheck(oid, role) pg_proc_aclcheck(oid, role, ACL_EXECUTE)
#define CompatNamespaceAclCheck(oid, role) pg_namespace_aclcheck(oid, role, ACL_USAGE)
#endif

/*
 * What a background process must do regularly: CHECK_FOR_INTERRUPTS handles
 * barriers, this handles a reload.  Postgres' own function for it (renamed
 * between majors) would also end the process on a shutdown request, with an
 * exit code that means "do not restart".  True after a reload.
 */
static inline bool
CompatServeProcess(void)
{
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

#if PG_VERSION_NUM >= 180000
#define VIBEVIDEO_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "vibevideo", .version = VIBEVIDEO_VERSION)
#else
#define VIBEVIDEO_MODULE_MAGIC PG_MODULE_MAGIC
#endif

#endif /* VIBEVIDEO_COMPAT_H */
