/*
 * dropwatch.c
 *	  Warns whoever drops a table or the extension while jobs need it.
 *
 * PostgreSQL tells of each object that it is about to drop, by whatever command.
 * A warning is all: nothing here waits for a lock, runs SQL, or asks who it is,
 * so no drop is held up or refused because of it.  It is told when the drop is
 * tried, so one that is rolled back has warned, too.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "dropwatch.h"
#include "ownerror.h"
#include "shmem.h"
#include "state.h"

static object_access_hook_type next_hook = NULL;

/* The index of active jobs holds few of a table, mostly none; InvalidOid if it cannot be used now. */
static Oid
ActiveIndex(Oid jobs, Oid schema)
{
	Oid index = get_relname_relid("job_active", schema);

	if (!OidIsValid(index) || IndexGetRelation(index, true) != jobs || !get_index_isvalid(index) ||
		!ConditionalLockRelationOid(index, AccessShareLock))
		return InvalidOid;
	return index;
}

/*
 * Active jobs of a table, by an index, or of all tables; 0 also if they cannot
 * be looked at without waiting.
 */
static int64
CountActive(Oid jobs, Oid index, Oid relid)
{
	Relation relation;
	Snapshot snapshot;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;
	AttrNumber state = get_attnum(jobs, "state");
	int64 n = 0;

	if (!ConditionalLockRelationOid(jobs, AccessShareLock))
		return 0;
	relation = table_open(jobs, NoLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyInit(&key, get_attnum(jobs, "relation"), BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(relation, index, OidIsValid(index), snapshot, OidIsValid(relid) ? 1 : 0, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		Datum value = heap_getattr(tuple, state, RelationGetDescr(relation), &isnull);

		CHECK_FOR_INTERRUPTS();
		n += !isnull && !StateIsFinal(TextDatumGetCString(value));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
	return n;
}

static void
WarnOfTable(Oid jobs, Oid schema, Oid relid)
{
	Oid index = ActiveIndex(jobs, schema);
	int64 n;

	if (!OidIsValid(index))
		return;
	n = CountActive(jobs, index, relid);
	UnlockRelationOid(index, AccessShareLock);
	if (n == 0)
		return;
	/* the worker cancels what was not sent */
	ShmemWakeAtCommit();
	ereport(WARNING,
			(errmsg("table %s has active videos in the making, and is being dropped",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid))),
			 errdetail("Active jobs: %lld. Those that were sent are finished, paid for and stored, but no row will show them; the others are cancelled.",
					   (long long) n),
			 errhint("A table that takes its place, with its rows, takes the jobs over: SELECT vibevideo.attach('...', adopt => '%u').",
					 relid)));
}

/* The extension goes, or its table alone. */
static void
WarnOfJobs(Oid jobs)
{
	int64 n = CountActive(jobs, InvalidOid, InvalidOid);

	if (n > 0)
		ereport(WARNING,
				(errmsg("vibevideo has active jobs, and is being dropped"),
				 errdetail("Active jobs: %lld. Those that were sent are rendered and paid for, and nobody will fetch their videos.",
						   (long long) n),
				 errhint("Roll back, and wait for them or SELECT vibevideo.cancel(job_id) FROM vibevideo.job WHERE vibevideo.is_active(state).")));
}

static bool
IsTable(Oid relid)
{
	char kind = get_rel_relkind(relid);

	return (kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE) &&
		get_rel_persistence(relid) != RELPERSISTENCE_TEMP;
}

static bool
HasType(Oid relid, const char *column, Oid type)
{
	AttrNumber number = get_attnum(relid, column);

	return number != InvalidAttrNumber && get_atttype(relid, number) == type;
}

/* Where the extension is not, anybody may have made a table of that name, of whatever columns. */
static bool
IsOurs(Oid jobs)
{
	Oid extension = get_extension_oid("vibevideo", true);

	return OidIsValid(extension) && getExtensionOfObject(RelationRelationId, jobs) == extension &&
		get_rel_relkind(jobs) == RELKIND_RELATION && HasType(jobs, "relation", REGCLASSOID) && HasType(jobs, "state", TEXTOID);
}

static void
OnTableDrop(Oid relid)
{
	Oid schema = get_namespace_oid("vibevideo", true);
	Oid internal = get_namespace_oid("vibevideo_internal", true);
	Oid jobs = OidIsValid(schema) ? get_relname_relid("job", schema) : InvalidOid;

	if (!OidIsValid(jobs) || !IsOurs(jobs))
		return;
	if (relid == jobs)
		WarnOfJobs(jobs);
	else if (get_rel_namespace(relid) != schema && get_rel_namespace(relid) != internal)
		WarnOfTable(jobs, schema, relid);
}

static void
OnAccess(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_hook)
		next_hook(access, class_id, object_id, sub_id, arg);
	/* not what a rewrite leaves, or the end of a session */
	if (access == OAT_DROP && class_id == RelationRelationId && sub_id == 0 &&
		(((ObjectAccessDrop *) arg)->dropflags & PERFORM_DELETION_INTERNAL) == 0 && IsTable(object_id))
		OnTableDrop(object_id);
}

void
DropWatchInit(void)
{
	next_hook = object_access_hook;
	object_access_hook = OnAccess;
}
