/*
 * identity.h
 *	  Whose rights a statement runs with.
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

/* statements on our own tables, which the caller has no rights on */
extern void IdentityBecomeExtensionOwner(Identity *saved);
/* statements that may run the app's code: triggers, CHECKs, input functions */
extern void IdentityBecomeTableOwner(Oid owner, Identity *saved);
/* after either: whatever runs until IdentityResume finds names along this path */
extern void IdentityPinSearchPath(Identity *saved, const char *path);
/* on error the end of the (sub)transaction does it */
extern void IdentityResume(const Identity *saved);

#endif /* VIBEVIDEO_IDENTITY_H */
