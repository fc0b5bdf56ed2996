/*
 * storageprobe.h
 *	  What check_config asks Storage.
 */
#ifndef VIBEVIDEO_STORAGEPROBE_H
#define VIBEVIDEO_STORAGEPROBE_H

#include "finding.h"

/*
 * One line each.  What keeps several of them from being answered is told by one:
 * the others are ok, and name it.
 */
extern Finding StorageProbeKey(void);
extern Finding StorageProbeBucket(void);
extern Finding StorageProbeAccess(void);
extern Finding StorageProbeSize(void);
extern Finding StorageProbePublicUrl(void);

#endif /* VIBEVIDEO_STORAGEPROBE_H */
