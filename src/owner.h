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

#endif /* VIBEVIDEO_OWNER_H */
