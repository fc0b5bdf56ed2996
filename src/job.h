/*
 * job.h
 *	  Every statement on jobs, the binding and the app's rows.
 *
 * All need a transaction and a connected SPI, and switch rights themselves.
 * What they return lives in the memory context given.
 */
#ifndef VIBEVIDEO_JOB_H
#define VIBEVIDEO_JOB_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "utils/tuplestore.h"

#include "signature.h"

/* The app's table, as vibevideo.attach() bound it. */
typedef struct Binding
{
	Oid relid;
	Oid owner;
	Oid id_type;
	char *relation;	 /* quoted, schema-qualified */
	char *id_column; /* quoted, like all columns here */
	char *prompt_column;
	char *image_column;	  /* NULL if none */
	char *input_function; /* quoted, schema-qualified; NULL if none */
	char *user_column;	  /* whose video it is; NULL if none */
	bool realtime;		  /* tell Supabase Realtime */
	char *model;		  /* never NULL */
	bool build_index;
	bool resting;			 /* a copy of the database the jobs belong to */
	int64 system_identifier; /* who may act on the jobs */
	Oid database_oid;
	int timeline;
} Binding;

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
	bool ghost;
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
	bool row_written;				   /* the row is written in this transaction, by JobSyncRow or JobWriteRows */
} JobUpdate;

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

typedef enum JobKind
{
	JOB_KIND_SUBMIT,
	JOB_KIND_RECONCILE,
	JOB_KIND_POLL,
	JOB_KIND_COPY
} JobKind;

/* SQLSTATEs that PostgREST turns into an HTTP status of the same number */
#define ERRCODE_VIBEVIDEO_NOT_FOUND MAKE_SQLSTATE('P', 'T', '4', '0', '4')
#define ERRCODE_VIBEVIDEO_CONFLICT MAKE_SQLSTATE('P', 'T', '4', '0', '9')

/* this process is the worker: nothing of the app's may hold it up */
extern void JobInWorker(void);

/*----------
 * Binding and rows of the app
 *----------
 */
extern bool JobLoadBinding(Binding *binding);				  /* false: nothing attached, or it is gone */
extern void JobRequireBinding(Binding *binding, bool to_act); /* or ERROR */
/* ERROR unless the current user may see, or if lock update, the row; its key as the row has it */
extern char *JobCheckRow(const Binding *binding, const char *vibelog_id, bool lock);
/* a job to be made */
typedef struct JobNew
{
	char *vibelog_id;
	char *user;	 /* NULL if nobody is known */
	char *input; /* JSON text */
} JobNew;
/* of models' inputs in memory at a time: the one that makes it so much is the last */
#define JOB_INPUT_BYTES (16 * 1024 * 1024)
/* the model's inputs, made as the table's owner; ERROR if one is not acceptable; and whose
 * videos these are, where the rows say so, otherwise user stays as it is; for how many of the
 * jobs, at least one: the others are to follow once these are done with */
extern int JobBuildInputs(const Binding *binding, JobNew *jobs, int n);
/* write dirty jobs into the app's rows, as many as time allows */
extern void JobSyncRows(const Binding *binding, int max);
/* the rows of jobs that were recorded with row_written; how many could not be written yet */
extern int JobWriteRows(const Binding *binding, const int64 *ids, int n);
/* may the worker do so? */
extern bool JobRowsAreSimple(const Binding *binding);
/* the same for one job, at once; false: a failure of the app's triggers is left to the worker */
extern bool JobSyncRow(const Binding *binding, int64 job_id);

/*----------
 * Jobs
 *----------
 */
/* 0 if none is active */
extern int64 JobFindActive(const Binding *binding, const char *vibelog_id);
extern void JobFindActiveMany(const Binding *binding, char **vibelog_ids, int n, int64 *job_ids);
extern int64 JobFindLatest(const Binding *binding, const char *vibelog_id);
/* does vibevideo.max_active leave room for another one, behind those that wait? */
extern bool JobHasRoom(void);
/* why a job that was not tried yet waits */
extern void JobNote(int64 job_id, const char *error_code, const char *error);
/* 0 if another one is active; state is pending or submitting */
extern int64 JobInsert(const Binding *binding, const JobNew *job, const char *state);
/* pending ones, those left out that have an active one; the numbers of the others, how many these are */
extern int JobInsertMany(const Binding *binding, const JobNew *jobs, int n, int64 *inserted);
/* claim what is due: due_before lets the poller leave a grace to somebody else; of submits none
 * behind the one whose input makes it input_bytes */
extern int JobClaim(JobKind kind, int max, int64 input_bytes, TimestampTz due_before, int lease_ms,
					MemoryContext mcxt, Job **jobs);
/* the same for polls, by row locks of the open transaction instead of leases */
extern int JobLockDue(int max, MemoryContext mcxt, Job **jobs);
extern Job *JobRead(int64 job_id, MemoryContext mcxt);
/* record updates; recorded[i] (may be NULL) tells whether the lease still held */
extern int JobRecord(const JobUpdate *updates, int n, bool *recorded);
/* the same, and the rows of those that moved are written in this transaction */
extern void JobRecordWithRows(const Binding *binding, JobUpdate *updates, int n, bool *recorded);
/* is the lease still the newest?  Tells a row that is held from a lease that is lost */
extern bool JobHoldsLease(int64 job_id, int64 lease);
/* how far a copy is */
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
/* that, and a longer lease; false: the lease was lost */
extern bool JobRecordProgress(int64 job_id, int64 lease, const JobProgress *progress, TimestampTz lease_until);
/* submits whose sender died, so not those in but: nobody knows whether fal has them */
extern int JobExpireSubmits(TimestampTz now, bool all, const int64 *but, int nbut);
/* jobs still leased at a worker's start: the one before crashed on them */
extern void JobRecoverLeases(void);
/* older than vibevideo.job_timeout in its phase? */
extern bool JobIsOverdue(const Job *job);
extern int64 JobAgeMs(const Job *job);
extern Job *JobCopy(const Job *job, MemoryContext mcxt);
/* no job is unfinished, and no row is to be written, if all are 0 */
extern void JobNextDue(const Binding *binding, JobDue *due);
extern bool JobIsAnythingDue(const JobDue *due);
/* a submit whose transaction is over: if its row is missing it was rolled back, and becomes a ghost, whose number this is */
struct JournalEntry;
extern int64 JobSettle(const Binding *binding, const struct JournalEntry *entry);
/* a job with the same model and input is being sent by the worker */
extern bool JobTwinIsSending(const Job *job);
/*
 * The request in fal's list that is this job's, NULL if none; adopted ones don't
 * count.  By fal's clock: when the job was sent, and the earliest it can have been.
 */
extern char *JobMatch(const Job *job, int n, char **request_ids, char **sent_ats, char **inputs,
					  TimestampTz sent_at, TimestampTz earliest);
/* webhooks: fal's keys, the account they are for, and the job they tell of */
extern void JobReadWebhookKeys(SignatureKeys *keys, TimestampTz *fetched_at);
extern void JobStoreWebhookKeys(const SignatureKeys *keys);
extern bool JobWebhookUserIsOurs(const char *user_id);
/* false: no job of ours has this id.  The first genuine one tells who we are at fal. */
extern bool JobPollNow(const char *request_id, const char *user_id);
/* jobs in doubt are looked up at once */
extern void JobReconcileNow(void);
/* may this database act on its jobs?  Follows a promotion, notices a copy. */
extern bool JobMayAct(Binding *binding);
/* decisions of people; false: nothing to decide any more */
extern bool JobRequestCancel(int64 job_id);
extern bool JobSendNow(int64 job_id);
extern bool JobGiveUpUnknown(int64 job_id);
extern bool JobCopyAgain(int64 job_id);
extern int64 JobPrune(int max);
/* for the triggers of the table, see guard.c; rows are composite values */
extern const char *JobShownStatus(const char *state);
extern void JobWriteEvent(int64 job_id, const char *state, const char *error_code, const char *detail);
extern Datum JobPriceOf(const char *model); /* numeric, 0 if unknown */
extern bool JobHasLimits(void);
extern void JobTakeShare(Datum job); /* of the limits, or ERROR */
extern void JobGiveBack(Datum job);
/* vibevideo.video of a job, in the current memory context */
extern Datum JobDescribe(int64 job_id);
extern Datum JobDescribeNone(const char *vibelog_id); /* of a row that has no job */
/* ... of many, in this order, into a result */
extern void JobPutVideos(Tuplestorestate *store, TupleDesc desc, const int64 *job_ids, int n);

#endif /* VIBEVIDEO_JOB_H */
