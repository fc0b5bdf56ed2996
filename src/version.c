/*
 * version.c
 *	  Does the SQL in this database have the version of this library?
 *
 * Files, server and database are upgraded one after the other: in between, a
 * new library meets old SQL, or an old one that is still loaded meets new SQL.
 * Then vibevideo is paused until both have the same version.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "ownerror.h"
#include "version.h"

char *
VersionOfSql(void)
{
	Relation relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	char *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("vibevideo"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool isnull;

		version = TextDatumGetCString(heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(relation), &isnull));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return version;
}

bool
VersionIsOurs(const char *version)
{
	return strcmp(version, VIBEVIDEO_VERSION) == 0;
}

void
VersionCheck(void)
{
	char *version = VersionOfSql();

	if (version == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"vibevideo\" does not exist in this database")));
	if (!VersionIsOurs(version))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("vibevideo is paused: its library has version %s, its SQL in this database version %s",
						VIBEVIDEO_VERSION, version),
				 errdetail("Nothing is sent, polled or copied until both have the same version."),
				 errhint("Run ALTER EXTENSION vibevideo UPDATE or, if the library is the older one, restart the server with the new one.")));
	pfree(version);
}
