/*
 * cluster.h
 *	  Which cluster this is.
 */
#ifndef VIBEVIDEO_CLUSTER_H
#define VIBEVIDEO_CLUSTER_H

#include "postgres.h"

/* in the postmaster, before recovery: the number of a data directory that began as a copy, 0 of any other */
extern uint64 ClusterNumberAtStart(void);

#endif /* VIBEVIDEO_CLUSTER_H */
