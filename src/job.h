/*
 * job.h
 *	  Jobs: inserted, found, claimed, recorded, ended.
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
	char *input; /* JSON text; NULL in a job that is followed or copied, and after it was sent */
	int64 input_bytes;
	char *request_id; /* NULL until accepted */
	char *media_url;
	char *media_type;
	char *object_key;
	char *upload_url; /* of a resumable upload, NULL if none was started */
	char *media_etag;
	unsigned char *upload_state; /* written by MediaMeterSave; NULL if never */
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
	TimestampTz generated_at;		 /* 0 until fal had finished */
	TimestampTz cancel_requested_at; /* 0 if not */
	char *user;						 /* who asked for it, NULL if nobody is known */
	char *tenant;					 /* whose it is besides, NULL if there is none */
	TimestampTz erased_at;			 /* 0: its video is not erased */
} Job;

/*
 * The outcome of a step: new values of the job's columns.  Recorded only while
 * the lease is the job's newest, so that a late process changes nothing.
 */
typedef struct JobUpdate
{
	int64 job_id;
	int64 lease;
	const char *was;	   /* the state the job was claimed in */
	const char *was_error; /* ... and its error */
	bool cancel_seen;	   /* a cancel had been requested by then */
	const char *state;
	int tries;
	TimestampTz next_at;	/* 0: never again (a final state) */
	int queue_position;		/* -1: none */
	const char *error_code; /* NULL clears */
	const char *error;
	const char *objection; /* the part of it that the app's user may read */
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
	const struct MediaFacts *facts;	   /* what the file says, NULL if it was not read */
	const char *billable_units;		   /* a decimal number */
	const unsigned char *upload_state; /* MEDIA_STATE_SIZE bytes */
	bool again;						   /* failed, and a new attempt follows */
	bool may_be_billed;				   /* ended without an answer that says so: fal may have begun */
	bool row_written;				   /* whoever records it writes the app's row in the same transaction */
} JobUpdate;

/*
 * What a row of the app bears: its request id, BEARS_STATUS if it has none but
 * a status, BEARS_NOTHING if it has neither.  Job and row belong together if
 * the row bears what it was last seen to bear: column row_bears keeps that while
 * the row is not written.  Null means what the job says itself.
 */
#define BEARS_STATUS "-"
#define BEARS_NOTHING ""
#define BEARS_UNKNOWN "?" /* any row with the key will do */
/* clang-format off */
/* what the row of this job bears now, whether the job has been written into it or is to be */
#define BEARS_NOW_OF(j) \
	"CASE WHEN " j ".row_dirty OR " j ".row_bears = '" BEARS_UNKNOWN "' THEN " j ".row_bears" \
	" ELSE COALESCE(" j ".request_id, '" BEARS_STATUS "') END"
#define BEARS_NOW BEARS_NOW_OF("j")
/* clang-format on */

static inline bool
BearsRequest(const char *bears)
{
	return bears && strcmp(bears, BEARS_STATUS) != 0 && strcmp(bears, BEARS_NOTHING) != 0 &&
		strcmp(bears, BEARS_UNKNOWN) != 0;
}

/* A job to be inserted. */
typedef struct JobNew
{
	char *vibelog_id;
	char *user;	  /* NULL if not known */
	char *tenant; /* NULL if there is none */
	char *model;  /* the row's, or the attached one */
	char *input;  /* JSON text */
	char *bears;  /* what the row bears now: BEARS_NOTHING and so on */
} JobNew;

/* When the earliest of each kind is due, 0 if there is none. */
typedef struct JobDue
{
	TimestampTz submit;	 /* to be sent */
	TimestampTz expiry;	 /* being sent: its sender must be gone by then */
	TimestampTz unknown; /* lost submits */
	TimestampTz poll;
	TimestampTz copy;
	TimestampTz suspect; /* a suspect of these three kinds, to be tried alone */
	TimestampTz row;	 /* to be written into the app's table */
	bool is_prepared;	 /* there is a prepared transaction: it may hold jobs, and its commit wakes nobody */
} JobDue;

/* Progress of a copy. */
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

/* PostgREST turns it into an HTTP status of the same number */
#define ERRCODE_VIBEVIDEO_NOT_FOUND MAKE_SQLSTATE('P', 'T', '4', '0', '4')
#define ERRCODE_VIBEVIDEO_NO_SUCH_MODEL MAKE_SQLSTATE('P', 'T', '4', '2', '2')

/* NULL if there is none */
extern Job *JobRead(int64 job_id, MemoryContext mcxt);
extern Job *JobCopy(const Job *job, MemoryContext mcxt);
/* since it entered its phase: waiting here, at fal, or being copied */
extern int64 JobAgeMs(const Job *job);
/* has it been in its phase for longer than vibevideo.job_timeout? */
extern bool JobIsOverdue(const Job *job);

/* 0 if the row has no active job */
extern int64 JobFindActive(const Binding *binding, const char *vibelog_id);
extern void JobFindActiveMany(const Binding *binding, char **vibelog_ids, int n, int64 *job_ids);
extern int64 JobFindLatest(const Binding *binding, const char *vibelog_id);
/* the latest, if it is completed */
extern int64 JobFindCompleted(const Binding *binding, const char *vibelog_id);

/* 0 if the row already has an active job; state is pending or submitting */
extern int64 JobInsert(const Binding *binding, const JobNew *job, const char *state);
/* pending jobs, except for rows that have an active one; returns how many, and their ids in inserted */
extern int JobInsertMany(const Binding *binding, const JobNew *jobs, int n, int64 *inserted);

/*
 * Claim what is due; each returns how many.  With due_before the worker leaves
 * polls to vibevideo_poll for a while.  Submits are claimed until their inputs
 * add up to input_bytes.
 */
extern int JobClaimSubmits(int max, int64 input_bytes, TimestampTz due_before, TimestampTz lease_until,
						   MemoryContext mcxt, Job **jobs);
extern int JobClaimReconciles(int max, TimestampTz due_before, TimestampTz lease_until, MemoryContext mcxt, Job **jobs);
extern int JobClaimPolls(int max, TimestampTz due_before, TimestampTz lease_until, MemoryContext mcxt, Job **jobs);
extern int JobClaimCopies(int max, TimestampTz due_before, TimestampTz lease_until, MemoryContext mcxt, Job **jobs);
/* one suspect, in one of states: it was there when the worker crashed twice, and is tried alone */
extern int JobClaimSuspect(char **states, int nstates, TimestampTz due_before, TimestampTz lease_until, MemoryContext mcxt, Job **jobs);
extern bool JobIsSuspect(const Job *job);
/* the same for polls, but locks the rows in the open transaction instead of leasing the jobs */
extern int JobLockPolls(int max, MemoryContext mcxt, Job **jobs);
/* is the lease still the newest?  If so, the row was only locked by somebody */
extern bool JobHoldsLease(int64 job_id, int64 lease);

/* returns how many were recorded; recorded (may be NULL) says which: those whose lease was still the newest */
extern int JobRecord(const JobUpdate *updates, int n, bool *recorded);
/* records progress and renews the lease; false: the lease was lost */
extern bool JobRecordProgress(int64 job_id, int64 lease, const JobProgress *progress, TimestampTz lease_until);

/* submits whose sender is gone, except those in but, become lost submits; returns how many */
extern int JobExpireSubmits(TimestampTz now, bool all, const int64 *but, int nbut);
/* jobs still leased when a worker starts: the previous one crashed while it had them */
extern void JobRecoverLeases(void);
/* if all are 0, no job is active and no row is to be written */
extern void JobNextDue(const Binding *binding, JobDue *due);
extern bool JobIsAnythingDue(const JobDue *due);
/* delete finished jobs older than vibevideo.retention; returns how many rows */
extern int64 JobPrune(int max);

#endif /* VIBEVIDEO_JOB_H */
