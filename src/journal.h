/*
 * journal.h
 *	  Submits made inside a caller's transaction, recorded outside of it.
 *
 * The job's row is only as durable as its transaction, but a rollback does not
 * undo the POST.  So the intent is on disk before the POST, and the worker
 * settles it afterwards, whatever happens to transaction, process or server.
 */
#ifndef VIBEVIDEO_JOURNAL_H
#define VIBEVIDEO_JOURNAL_H

#include "postgres.h"
#include "access/transam.h"
#include "datatype/timestamp.h"

#include "fal.h"
#include "job.h"

#define JOURNAL_PATH_SIZE 128

/* in the backend: before the POST (ERROR if it cannot be made durable), and after it */
extern void JournalIntent(const Job *job);
extern void JournalAnswer(const Job *job, FalSubmitOutcome outcome, const char *request_id);
/* how many this transaction has sent: a rollback does not take them back, they are cancelled at fal then */
extern int JournalSent(void);

/* one submit, with what is known about its transaction and its answer */
typedef struct JournalEntry
{
	int64 job_id;
	int64 lease;
	int attempt;
	TimestampTz created_at; /* the job's */
	TimestampTz sent_at;	/* the intent's, used as the orphan's */
	bool running;			/* its (sub)transaction has not ended */
	bool answered;
	FalSubmitOutcome outcome; /* if answered */
	char request_id[FAL_ID_SIZE];
	char *vibelog_id;
	char *model;
	char *input;
	char *user;	  /* NULL if nobody is known */
	char *tenant; /* NULL if there is none */
} JournalEntry;

/* may fal have it, as far as we know? */
extern bool JournalMayBeAtFal(const JournalEntry *entry);

/*
 * All entries of this database, in the current memory context.  *whole: no file
 * was skipped because it could not be read.
 */
extern int JournalRead(JournalEntry ***entries, bool *whole);
/*
 * The same in the worker, which settles those that are not running; after that is
 * committed, JournalForget drops files that had nothing else in them.
 */
extern int JournalReadToSettle(JournalEntry ***entries, bool *whole);
extern void JournalForget(void);

typedef struct JournalFile
{
	char path[JOURNAL_PATH_SIZE];
	Oid dboid;
	int pid; /* of the session that created it */
} JournalFile;

/*
 * In the launcher: the files of all databases, and dropping one whose database
 * does not exist, looked up after that (needs a transaction).
 */
extern int JournalFiles(JournalFile **files);
extern void JournalDrop(const JournalFile *file);

#endif /* VIBEVIDEO_JOURNAL_H */
