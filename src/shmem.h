/*
 * shmem.h
 *	  What the processes of a cluster share: which database wants a worker,
 *	  which worker it has, and how it is doing.  Plain data only.
 */
#ifndef VIBEVIDEO_SHMEM_H
#define VIBEVIDEO_SHMEM_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "storage/lwlock.h"

#include "breaker.h"
#include "reply.h"

typedef enum Service
{
	SERVICE_FAL,
	SERVICE_STORAGE
} Service;

/* What a backend asks of the worker, whatever becomes of its transaction. */
typedef enum WorkerAsk
{
	WORKER_FETCH_KEYS = 1,
	WORKER_RECONCILE = 2
} WorkerAsk;

/* One database; a slot is free while dboid is InvalidOid. */
typedef struct DatabaseSlot
{
	Oid dboid;
	bool wanted;			 /* somebody has work for a worker */
	bool poke;				 /* work since the worker last looked */
	TimestampTz due_at;		 /* a job that needs no look before, 0 if none since the worker planned */
	TimestampTz planned_at;	 /* when the worker looks again by itself */
	int asks;				 /* WorkerAsk bits */
	TimestampTz asked_at[2]; /* when last, by ask - 1 */
	int worker_pid;			 /* 0: none */
	int retired_pid;		 /* the last one that ended for want of work */
	int crashes;			 /* unclean ends in a row; the launcher backs off by it */
	TimestampTz not_before;	 /* the launcher's next start, 0: at once */
	TimestampTz started_at;
	TimestampTz heartbeat_at; /* the worker's last turn */
	TimestampTz last_poll_at; /* last vibevideo_poll() by somebody else than the worker */
	uint64 starts;
	uint64 failures;
	Breaker breakers[2]; /* by Service */
} DatabaseSlot;

extern void ShmemInit(void);
extern LWLock *ShmemJournalLock(void);

/* backends: called at commit, so neither throws nor allocates */
extern void ShmemWakeWorker(Oid dboid);
extern void ShmemWakeAtCommit(void);
/* a job that has nothing to be done before due_at: a worker that looks in time anyway sleeps on */
extern void ShmemExpectAtCommit(TimestampTz due_at);
extern void ShmemAskWorker(Oid dboid, WorkerAsk ask);
extern bool ShmemTakeAsk(Oid dboid, WorkerAsk ask);
/* vibevideo_poll() was here: the worker leaves the rhythm to it for a while */
extern void ShmemNotePoll(Oid dboid);
extern bool ShmemReadSlot(Oid dboid, DatabaseSlot *copy);

/* circuit breakers, shared by backends and the worker of a database */
extern int ShmemServiceAllows(Service service, int wanted);
extern TimestampTz ShmemServiceUntil(Service service); /* when it may be tried again, 0 if now */
extern void ShmemServiceStart(Service service);
/* true if the service is (now) taken to be down: no attempt should be counted */
extern bool ShmemServiceReport(Service service, const HttpReply *reply);

/* was this server started as a standby? */
extern bool ShmemStartedAsStandby(void);
/* PostgreSQL's system identifier, or what stands for it in a copy of a data directory */
extern uint64 ShmemClusterIdentifier(void);

/* the worker */
extern void ShmemWorkerAttach(Oid dboid); /* FATAL if another one is there */
extern bool ShmemWorkerTurn(Oid dboid);	  /* heartbeat; true if poked since last time */
/* about to sleep until look_at: gives that, or what has fallen due earlier meanwhile */
extern TimestampTz ShmemWorkerPlan(Oid dboid, TimestampTz look_at);
extern bool ShmemWorkerRetire(Oid dboid); /* nothing left to do: no restart until woken */

/* the launcher */
typedef struct LaunchOrder
{
	Oid dboid;
	int crashes;
} LaunchOrder;

extern void ShmemLauncherAttach(void);
extern bool ShmemLauncherWant(Oid dboid);
/* databases whose worker should be started now; *next is when to look again at the latest */
extern int ShmemLaunchOrders(LaunchOrder *orders, int max, TimestampTz *next);
extern void ShmemWorkerEnded(Oid dboid, int pid, bool started, int backoff_ms);
extern void ShmemForget(Oid dboid);
extern int ShmemDatabases(Oid *dboids, int max);

#endif /* VIBEVIDEO_SHMEM_H */
