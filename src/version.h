/*
 * version.h
 *	  Is the SQL in this database of the version that this library is made for?
 */
#ifndef VIBEVIDEO_VERSION_H
#define VIBEVIDEO_VERSION_H

#include "postgres.h"

/* NULL if the extension is not in this database; otherwise its version, in the current memory context */
extern char *VersionOfSql(void);
extern bool VersionIsOurs(const char *version);
/* ERROR unless it is ours: what we would read and write may not be there, or mean something else */
extern void VersionCheck(void);

#endif /* VIBEVIDEO_VERSION_H */
