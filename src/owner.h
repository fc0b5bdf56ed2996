/*
 * owner.h
 *	  Who owns a schema, a relation, a function or this database.
 *
 * InvalidOid if there is no such object, or no longer.
 */
#ifndef VIBEVIDEO_OWNER_H
#define VIBEVIDEO_OWNER_H

#include "postgres.h"

extern Oid OwnerOfSchema(Oid schema);
extern Oid OwnerOfRelation(Oid relation);
extern Oid OwnerOfFunction(Oid schema, const char *name, const Oid *types, int ntypes);
extern Oid OwnerOfDatabase(void);

/*
 * Is Supabase Vault here?  Reading its view runs its functions with our rights, so
 * a "vault" that some user created is none.  vibevideo_internal.has_vault is the
 * same.
 */
extern bool OwnerOfVaultIsTrusted(void);

#endif /* VIBEVIDEO_OWNER_H */
