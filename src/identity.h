/*
 * identity.h
 *	  The role whose rights a statement has, and the path along which it finds names.
 */
#ifndef VIBEVIDEO_IDENTITY_H
#define VIBEVIDEO_IDENTITY_H

#include "postgres.h"

typedef struct Identity
{
	Oid userid;
	int security_context;
	int guc_nest;
} Identity;

/*
 * Statements on our own tables, which the caller has no rights on: names mean
 * what they mean in pg_catalog.
 */
extern void IdentityBecomeExtensionOwner(Identity *saved);
/*
 * Statements that may run the app's code (triggers, CHECKs, input functions),
 * which finds what the table's owner would find.  Our own names in them are qualified.
 */
extern void IdentityBecomeTableOwner(Oid owner, Identity *saved);
/* undoes either; after an error the end of the (sub)transaction does */
extern void IdentityResume(const Identity *saved);
/* pins role and path for the life of a background process, whatever the database's defaults are */
extern void IdentityOfWorker(void);

#endif /* VIBEVIDEO_IDENTITY_H */
