/*
 * shmem.h
 *	  Shared by the processes of a cluster: which database needs a worker,
 *	  which worker it has, and in which state it is.  Plain data only.
 */
#ifndef VIBEVIDEO_SHMEM_H
#define VIBEVIDEO_SHMEM_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "storage/lwlock.h"

#include "breaker.h"

typedef enum Service
{
	SERVICE_FAL,
	SERVICE_STORAGE,
	SERVICE_ACCOUNT /* at fal: down while its balance is used up, which keeps only submits waiting */
} Service;

#define SERVICES (SERVICE_ACCOUNT + 1)

/* What a backend requests from the worker, whether or not its transaction commits. */
typedef enum WorkerRequest
{
	WORKER_FETCH_KEYS = 1,
	WORKER_RECONCILE = 2
} WorkerRequest;

/* One database; a slot is free while dboid is InvalidOid. */
typedef struct DatabaseSlot
{
	Oid dboid;
	bool wanted;				 /* there is work for a worker */
	bool poke;					 /* work since the worker last looked */
	TimestampTz due_at;			 /* when the next new job is due, 0 if none since the worker planned */
	TimestampTz planned_at;		 /* when the worker next looks for work on its own */
	int requests;				 /* WorkerRequest bits */
	TimestampTz requested_at[2]; /* when last, by request - 1 */
	int worker_pid;				 /* 0: none */
	int retired_pid;			 /* the last one that exited because it had no work */
	int crashes;				 /* consecutive crashes, for the launcher's backoff */
	TimestampTz not_before;		 /* when the launcher may start it again, 0: at once */
	TimestampTz started_at;
	TimestampTz heartbeat_at; /* the worker's last turn */
	TimestampTz last_poll_at; /* last vibevideo_poll() not by the worker */
	uint64 last_check;		  /* number of check_config's last call of the webhook that arrived */
	uint64 starts;
	uint64 failures;
	Breaker breakers[SERVICES]; /* by Service */
	bool keys_known;			/* the worker has looked for the API keys */
	bool has_fal_key;
	bool has_storage_key;
	int copies; /* how many run */
} DatabaseSlot;

extern void ShmemInit(void);
extern LWLock *ShmemJournalLock(void);

/* backends: called at commit, so neither throws nor allocates */
extern void ShmemWakeWorker(Oid dboid);
extern void ShmemWakeAtCommit(void);
/* a job with nothing to do before due_at: a worker that will look in time is not woken */
extern void ShmemExpectAtCommit(TimestampTz due_at);
extern void ShmemRequestWork(Oid dboid, WorkerRequest request);
extern bool ShmemFetchRequest(Oid dboid, WorkerRequest request);
/* vibevideo_poll() was called: for a while the worker polls less itself */
extern void ShmemNotePoll(Oid dboid);
/* a call that check_config made of vibevideo_webhook has arrived */
extern void ShmemNoteCheck(Oid dboid, uint64 number);
extern bool ShmemReadSlot(Oid dboid, DatabaseSlot *copy);
/* why a database has no worker, for people, NULL if it has; *restart_at: when it is started again, 0 if not known */
extern const char *ShmemWorkerAbsence(Oid dboid, TimestampTz *restart_at, bool *cannot_start);

/* circuit breakers, shared by a database's backends and its worker */
extern int ShmemServiceAllows(Service service, int wanted);
extern TimestampTz ShmemServiceUntil(Service service); /* when it may be tried again, 0 if at once */
/* a request to it has been started: while it is down that is the probe, so not before there is one, which will report */
extern void ShmemServiceStart(Service service);
/* for a transaction that has made a job due at once: when it commits, the service may be tried again */
extern void ShmemProbeAtCommit(Service service);
/* how a request ended; true if the service is (now) considered down: the try should not be counted */
extern bool ShmemServiceReport(Service service, bool outage);

/* was this server started as a standby? */
extern bool ShmemStartedAsStandby(void);
/* PostgreSQL's system identifier, or its replacement in a copy of a data directory */
extern uint64 ShmemClusterIdentifier(void);

/* the worker */
extern void ShmemWorkerAttach(Oid dboid); /* FATAL if there is another one */
extern bool ShmemWorkerTurn(Oid dboid);	  /* heartbeat; true if poked since last time */
/* what it has found out about the API keys */
extern void ShmemWorkerNoteKeys(Oid dboid, bool has_fal_key, bool has_storage_key);
/* about to sleep until look_at, with so many copies: returns that, or an earlier time if something is due before */
extern TimestampTz ShmemWorkerPlan(Oid dboid, TimestampTz look_at, int copies);
extern bool ShmemWorkerRetire(Oid dboid); /* nothing left to do: no restart until woken */

/* the launcher */
typedef struct LaunchOrder
{
	Oid dboid;
	int crashes;
} LaunchOrder;

extern void ShmemLauncherAttach(void);
extern bool ShmemLauncherWant(Oid dboid);
/* is there a process for the worker that it wanted to start last? */
extern void ShmemLauncherNoteRoom(bool has_room);
/* databases whose worker should be started now; *next is the latest time to check again */
extern int ShmemLaunchOrders(LaunchOrder *orders, int max, TimestampTz *next);
extern void ShmemWorkerEnded(Oid dboid, int pid, bool started, int backoff_ms);
extern void ShmemForget(Oid dboid);
extern int ShmemDatabases(Oid *dboids, int max);

#endif /* VIBEVIDEO_SHMEM_H */
