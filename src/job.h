/*
 * job.h
 *	  Jobs: made, found, claimed, recorded, ended.
 *
 * All need a transaction and a connected SPI.  What they return lives in the
 * memory context given.
 */
#ifndef VIBEVIDEO_JOB_H
#define VIBEVIDEO_JOB_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "binding.h"

typedef struct Job
{
	int64 job_id;
	char *vibelog_id;
	char *state;
	char *model;
	char *input; /* JSON text; NULL in a job that is only followed or copied, and once it is sent */
	int64 input_bytes;
	char *request_id; /* NULL until accepted */
	char *media_url;
	char *media_type;
	char *object_key;
	char *upload_url; /* of a resumable upload, NULL if none was begun */
	char *media_etag;
	unsigned char *upload_state; /* as MediaMeterSave left it, perhaps */
	size_t upload_state_len;
	char *error_code;
	char *error;
	int64 bytes_total; /* -1 unknown */
	int64 lease;	   /* fencing token of the claim */
	int tries;
	int crashes;
	int attempt;
	int renders;
	int queue_position; /* -1 unknown */
	bool orphan;
	TimestampTz created_at;
	TimestampTz sent_at;			 /* 0 if never */
	TimestampTz submitted_at;		 /* 0 until accepted */
	TimestampTz generated_at;		 /* 0 until fal was done */
	TimestampTz cancel_requested_at; /* 0 if not */
} Job;

/*
 * What a step made of a job: the columns' new values.  Recorded only while
 * the lease is the job's newest, so that a late owner changes nothing.
 */
typedef struct JobUpdate
{
	int64 job_id;
	int64 lease;
	const char *was;	   /* the state the job was claimed in */
	const char *was_error; /* ... and its error */
	bool cancel_seen;	   /* a cancel had been asked for by then */
	const char *state;
	int tries;
	TimestampTz next_at;	/* 0: never again (a final state) */
	int queue_position;		/* -1: none */
	const char *error_code; /* NULL clears */
	const char *error;
	/* NULL or -1 keep what is there */
	const char *request_id;
	const char *media_url;
	const char *media_type;
	const char *object_key;
	const char *video_url;
	int64 bytes_done;
	int64 bytes_total;
	const unsigned char *sha256; /* 32 bytes */
	int64 duration_ms;
	const unsigned char *upload_state; /* MEDIA_STATE_SIZE bytes */
	bool again;						   /* failed, but a new attempt shall be made */
	bool row_written;				   /* the row is written in this transaction, by whoever records it */
} JobUpdate;

/* A job to be made. */
typedef struct JobNew
{
	char *vibelog_id;
	char *user;	 /* NULL if nobody is known */
	char *input; /* JSON text */
} JobNew;

/* When the earliest of each kind is due, 0 if there is none. */
typedef struct JobDue
{
	TimestampTz submit;	 /* to be sent */
	TimestampTz expiry;	 /* being sent: then its sender must be gone */
	TimestampTz unknown; /* in doubt */
	TimestampTz poll;
	TimestampTz copy;
	TimestampTz row;  /* to be written into the app's table */
	bool is_prepared; /* a transaction is: nobody tells of its commit, and it may hold jobs */
} JobDue;

/* How far a copy is. */
typedef struct JobProgress
{
	int64 done;
	int64 total;			/* -1 unknown */
	int64 rate;				/* bytes a second, 0 unknown */
	const char *upload_url; /* NULL keeps */
	const char *media_etag;
	const unsigned char *upload_state; /* MEDIA_STATE_SIZE bytes */
	int64 duration_ms;				   /* -1 keeps */
} JobProgress;

/* SQLSTATEs that PostgREST turns into an HTTP status of the same number */
#define ERRCODE_VIBEVIDEO_NOT_FOUND MAKE_SQLSTATE('P', 'T', '4', '0', '4')
#define ERRCODE_VIBEVIDEO_CONFLICT MAKE_SQLSTATE('P', 'T', '4', '0', '9')

/* NULL if there is none */
extern Job *JobRead(int64 job_id, MemoryContext mcxt);
extern Job *JobCopy(const Job *job, MemoryContext mcxt);
/* since it entered its phase: the queue here, fal, or the copy */
extern int64 JobAgeMs(const Job *job);
/* older than vibevideo.job_timeout in its phase? */
extern bool JobIsOverdue(const Job *job);

/* 0 if none is active */
extern int64 JobFindActive(const Binding *binding, const char *vibelog_id);
extern void JobFindActiveMany(const Binding *binding, char **vibelog_ids, int n, int64 *job_ids);
extern int64 JobFindLatest(const Binding *binding, const char *vibelog_id);

/* 0 if another one is active; state is pending or submitting */
extern int64 JobInsert(const Binding *binding, const JobNew *job, const char *state);
/* pending ones, those left out that have an active one; the numbers of the others, how many these are */
extern int JobInsertMany(const Binding *binding, const JobNew *jobs, int n, int64 *inserted);

/*
 * Claims of what is due: how many.  due_before lets the poller leave a grace to
 * somebody else; of submits none behind the one whose input makes it input_bytes.
 */
extern int JobClaimSubmits(int max, int64 input_bytes, TimestampTz due_before, TimestampTz lease_until,
						   MemoryContext mcxt, Job **jobs);
extern int JobClaimReconciles(int max, TimestampTz due_before, TimestampTz lease_until, MemoryContext mcxt, Job **jobs);
extern int JobClaimPolls(int max, TimestampTz due_before, TimestampTz lease_until, MemoryContext mcxt, Job **jobs);
extern int JobClaimCopies(int max, TimestampTz due_before, TimestampTz lease_until, MemoryContext mcxt, Job **jobs);
/* the same for polls, by row locks of the open transaction instead of leases */
extern int JobLockPolls(int max, MemoryContext mcxt, Job **jobs);
/* is the lease still the newest?  Tells a row that is held from a lease that is lost */
extern bool JobHoldsLease(int64 job_id, int64 lease);

/* record updates; recorded[i] (may be NULL) tells whether the lease still held */
extern int JobRecord(const JobUpdate *updates, int n, bool *recorded);
/* how far it is, and a longer lease; false: the lease was lost */
extern bool JobRecordProgress(int64 job_id, int64 lease, const JobProgress *progress, TimestampTz lease_until);

/* submits whose sender died, so not those in but: nobody knows whether fal has them */
extern int JobExpireSubmits(TimestampTz now, bool all, const int64 *but, int nbut);
/* jobs still leased at a worker's start: the one before crashed on them */
extern void JobRecoverLeases(void);
/* no job is unfinished, and no row is to be written, if all are 0 */
extern void JobNextDue(const Binding *binding, JobDue *due);
extern bool JobIsAnythingDue(const JobDue *due);
/* finished ones that are older than vibevideo.retention; how many */
extern int64 JobPrune(int max);

#endif /* VIBEVIDEO_JOB_H */
