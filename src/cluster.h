/*
 * cluster.h
 *	  Which cluster this is, and where vibevideo's files in it are.
 */
#ifndef VIBEVIDEO_CLUSTER_H
#define VIBEVIDEO_CLUSTER_H

#include "postgres.h"

#define CLUSTER_DIR "pg_vibevideo" /* in the data directory: the journal, and the number of a copied cluster */

/* in the postmaster */
extern void ClusterMakeDirectory(void);
/* ... after that and before recovery: the number of a data directory that began as a copy, 0 for any other */
extern uint64 ClusterNumberAtStart(void);

#endif /* VIBEVIDEO_CLUSTER_H */
