/*
 * owner.c
 *	  Who owns a schema, a relation, a function or this database.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "owner.h"

/* Releases the tuple. */
static Oid
OwnerIn(int cache, HeapTuple tuple, AttrNumber column)
{
	Oid owner;
	bool isnull;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = DatumGetObjectId(SysCacheGetAttr(cache, tuple, column, &isnull));
	ReleaseSysCache(tuple);
	return owner;
}

Oid
OwnerOfSchema(Oid schema)
{
	return OwnerIn(NAMESPACEOID, SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema)), Anum_pg_namespace_nspowner);
}

Oid
OwnerOfRelation(Oid relation)
{
	return OwnerIn(RELOID, SearchSysCache1(RELOID, ObjectIdGetDatum(relation)), Anum_pg_class_relowner);
}

Oid
OwnerOfFunction(Oid schema, const char *name, const Oid *types, int ntypes)
{
	HeapTuple tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(name),
									  PointerGetDatum(buildoidvector(types, ntypes)), ObjectIdGetDatum(schema));

	return OwnerIn(PROCNAMEARGSNSP, tuple, Anum_pg_proc_proowner);
}

Oid
OwnerOfDatabase(void)
{
	return OwnerIn(DATABASEOID, SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId)), Anum_pg_database_datdba);
}

bool
OwnerOfVaultIsTrusted(void)
{
	Oid schema = get_namespace_oid("vault", true);
	Oid view = OidIsValid(schema) ? get_relname_relid("decrypted_secrets", schema) : InvalidOid;

	return OidIsValid(view) && superuser_arg(OwnerOfSchema(schema)) && superuser_arg(OwnerOfRelation(view));
}
