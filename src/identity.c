/*
 * identity.c
 *	  Switching rights, and the settings that go with them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "identity.h"

/*
 * The app's code finds its tables as its owner would, with no schema in the
 * path that a caller can write to, temporary ones last.
 */
#define OWNER_SEARCH_PATH "\"$user\", public, extensions, pg_temp"

/* The owner of our tables: the one lookup of it that is cached. */
static Oid
ExtensionOwner(void)
{
	Oid schema = get_namespace_oid("vibevideo", true);
	Oid relid = OidIsValid(schema) ? get_relname_relid("job", schema) : InvalidOid;
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"vibevideo\" does not exist in this database")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static void
Become(Oid userid, int flags, Identity *saved)
{
	GetUserIdAndSecContext(&saved->userid, &saved->security_context);
	SetUserIdAndSecContext(userid, saved->security_context | flags);
	saved->guc_nest = 0;
}

/*
 * Our own statements name the schema of everything, operators included: they
 * mean the same under any search_path, so it is left alone.
 */
void
IdentityBecomeExtensionOwner(Identity *saved)
{
	Become(ExtensionOwner(), SECURITY_LOCAL_USERID_CHANGE, saved);
}

/* What others have made for us to read may name things without their schema. */
void
IdentityPinSearchPath(Identity *saved, const char *path)
{
	saved->guc_nest = NewGUCNestLevel();
	(void) set_config_option("search_path", path, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
IdentityBecomeTableOwner(Oid owner, Identity *saved)
{
	Become(owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION, saved);
	IdentityPinSearchPath(saved, OWNER_SEARCH_PATH);
}

void
IdentityResume(const Identity *saved)
{
	if (saved->guc_nest > 0)
		AtEOXact_GUC(false, saved->guc_nest);
	SetUserIdAndSecContext(saved->userid, saved->security_context);
}
