/*
 * identity.c
 *	  The only place that switches rights, and with them the search_path.
 *
 * Nothing of ours ever runs along a caller's search_path: whenever we become
 * somebody else, the path is set in the same nested level of settings, and both
 * end together.  Qualifying every name is not enough.  A role made itself
 * superuser because ROWS FROM (unnest($1)), IN, nullif and IS DISTINCT FROM look
 * up names that are not written, and because the plan cache plans again whenever
 * the path has changed.
 *
 * So statements on our own tables are plain SQL, along a path that contains only
 * PostgreSQL's own names.  Those on the app's table run as the caller or the
 * table's owner, along their paths, for the sake of what the app has created
 * (policies, triggers, functions): in them everything is qualified, and nothing
 * looks up a name that is not written.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "identity.h"
#include "owner.h"
#include "ownerror.h"
#include "version.h"

/*
 * Our own statements call PostgreSQL's functions and operators by their plain
 * names, so nobody else's may be found instead of them.
 */
#define OWN_SEARCH_PATH "pg_catalog, pg_temp"

/*
 * The app's code finds its tables as its owner would, temporary ones last.  A
 * schema is used only if nobody can have created it as a trap for the owner:
 * with CREATE on the database anybody can make one that has the owner's name, or
 * one called extensions where that does not exist.
 */
#define MAX_OWNER_PATH (3 * (2 * NAMEDATALEN + 4) + 16)

/* Its owner is the table's owner, or somebody with power over the whole database anyway. */
static bool
IsSafeFor(Oid table_owner, const char *name)
{
	Oid owner = OwnerOfSchema(get_namespace_oid(name, true));

	return OidIsValid(owner) &&
		(owner == table_owner || owner == ROLE_PG_DATABASE_OWNER || owner == OwnerOfDatabase() || superuser_arg(owner));
}

static void
MakeOwnerPath(Oid table_owner, char path[MAX_OWNER_PATH])
{
	const char *schemas[] = {GetUserNameFromId(table_owner, true), "public", "extensions"};

	path[0] = '\0';
	for (int i = 0; i < lengthof(schemas); i++)
		if (schemas[i] && IsSafeFor(table_owner, schemas[i]))
		{
			strlcat(path, quote_identifier(schemas[i]), MAX_OWNER_PATH);
			strlcat(path, ", ", MAX_OWNER_PATH);
		}
	strlcat(path, "pg_temp", MAX_OWNER_PATH);
}

/*
 * Our tables belong to the extension's owner; pg_extension itself has no syscache.
 * So must the schema of what our statements call: SQL of 0.1.0 has none, so who
 * may create schemas could have made it.
 */
static Oid
ExtensionOwner(void)
{
	Oid schema = get_namespace_oid("vibevideo", true);
	Oid owner = OidIsValid(schema) ? OwnerOfRelation(get_relname_relid("job", schema)) : InvalidOid;

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"vibevideo\" does not exist in this database")));
	if (OwnerOfSchema(get_namespace_oid("vibevideo_internal", true)) != owner)
	{
		VersionCheck();
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("schema vibevideo_internal does not belong to the owner of vibevideo's tables"),
				 errdetail("What it holds runs with that owner's rights."),
				 errhint("ALTER SCHEMA vibevideo_internal OWNER TO %s.", quote_identifier(GetUserNameFromId(owner, false)))));
	}
	return owner;
}

static void
Become(Oid userid, int flags, Identity *saved)
{
	GetUserIdAndSecContext(&saved->userid, &saved->security_context);
	SetUserIdAndSecContext(userid, saved->security_context | flags);
}

/* Until IdentityResume names are looked up along this path, as after RestrictSearchPath in 17. */
static void
PinSearchPath(Identity *saved, const char *path)
{
	saved->guc_nest = NewGUCNestLevel();
	(void) set_config_option("search_path", path, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
IdentityBecomeExtensionOwner(Identity *saved)
{
	Become(ExtensionOwner(), SECURITY_LOCAL_USERID_CHANGE, saved);
	PinSearchPath(saved, OWN_SEARCH_PATH);
}

void
IdentityBecomeTableOwner(Oid owner, Identity *saved)
{
	char path[MAX_OWNER_PATH];

	MakeOwnerPath(owner, path);
	Become(owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION, saved);
	PinSearchPath(saved, path);
}

void
IdentityOfWorker(void)
{
	SetConfigOption("role", "none", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("search_path", OWN_SEARCH_PATH, PGC_USERSET, PGC_S_SESSION);
}

void
IdentityResume(const Identity *saved)
{
	AtEOXact_GUC(false, saved->guc_nest);
	SetUserIdAndSecContext(saved->userid, saved->security_context);
}
