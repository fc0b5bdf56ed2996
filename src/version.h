/*
 * version.h
 *	  Does the SQL in this database have the version of this library?
 */
#ifndef VIBEVIDEO_VERSION_H
#define VIBEVIDEO_VERSION_H

#include "postgres.h"

/* NULL if the extension is not in this database; otherwise its version, in the current memory context */
extern char *VersionOfSql(void);
extern bool VersionIsOurs(const char *version);
/* ERROR unless it is ours: what we read and write may not exist in another, or mean something else */
extern void VersionCheck(void);

#endif /* VIBEVIDEO_VERSION_H */
