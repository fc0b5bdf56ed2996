/*
 * identity.c
 *	  Switching rights, and the settings that go with them.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"

#include "identity.h"

/*
 * The app's code finds its tables as its owner would, with no schema in the
 * path that a caller can write to, temporary ones last.
 */
#define OWNER_SEARCH_PATH "\"$user\", public, extensions, pg_temp"

static Oid
ExtensionOwner(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key[1];
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	ScanKeyInit(&key[0], Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("vibevideo"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"vibevideo\" does not exist in this database")));
	return owner;
}

static void
Become(Oid userid, int flags, const char *search_path, Identity *saved)
{
	GetUserIdAndSecContext(&saved->userid, &saved->security_context);
	SetUserIdAndSecContext(userid, saved->security_context | flags);
	saved->guc_nest = NewGUCNestLevel();
	(void) set_config_option("search_path", search_path, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
IdentityBecomeExtensionOwner(Identity *saved)
{
	Become(ExtensionOwner(), SECURITY_LOCAL_USERID_CHANGE, "pg_catalog, pg_temp", saved);
}

void
IdentityBecomeTableOwner(Oid owner, Identity *saved)
{
	Become(owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION,
		   OWNER_SEARCH_PATH, saved);
}

void
IdentityResume(const Identity *saved)
{
	AtEOXact_GUC(false, saved->guc_nest);
	SetUserIdAndSecContext(saved->userid, saved->security_context);
}
