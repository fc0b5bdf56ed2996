/*
 * journal.c
 *	  Submits made inside a caller's transaction, remembered outside of it.
 *
 * A session that submits has a file of its own, created with 16 kB of zeros at
 * its first submit, and removed when it exits if nothing is left in it:
 * pg_vibevideo/<database>.<pid>.<session start>.  The file is a sequence of
 * records, each a struct Record with its texts, and ends at the first thing that
 * is not one.  Records overwrite older ones in place, so that a sync costs one
 * block, and neither the file's length nor its blocks.  The same write puts a
 * zero behind each, so that the rest of an older, longer one is not read.
 *
 * An intent is written and synced before the POST.  The answer is written after
 * it and not synced: without it the submit's fate is merely unknown.  The
 * transaction is made to commit synchronously, so its commit is on disk before
 * the intent is forgotten.  Nothing else has to be on disk before the POST, but
 * after a crash transaction ids and job ids that were not flushed are handed out
 * again, so neither identifies a submit.  The job id and created_at (the
 * transaction's start, in microseconds) together do.  An orphan gets an id of its
 * own and is identified by sent_at, its intent's time: settling twice makes one
 * orphan.  A transaction id that was handed out again only causes a delay.
 *
 * A commit in which nothing was rolled back forgets its records by erasing the
 * magic number of the first.  In every other case (abort, a rolled back
 * savepoint, a dead process) they stay.  The worker reads the files when it
 * starts, when it is woken, and once a second while a transaction with intents
 * is open.  It settles each entry whose transaction is over (see settle.c):
 *
 *	  what happened							in the file		job		the worker
 *	  ------------------------------------	--------------	------	-----------------------
 *	  died before the intent was synced		nothing, or a	none	does nothing: nothing
 *											torn record				was sent
 *	  died between intent and POST			intent			none	orphan, submit_unknown;
 *																	not in the list, so
 *																	cancelled after
 *																	unknown_after
 *	  died between POST and answer			intent			none	orphan, submit_unknown;
 *																	adopted when listed,
 *																	cancelled at fal
 *	  the machine crashed before the		intent			none	the same
 *	  answer was on disk
 *	  rolled back, or died, after the		intent, answer	none	orphan with its id;
 *	  answer														cancelled at fal
 *	  the same, but fal had refused			intent, answer	none	drops it: fal never
 *																	had it
 *	  a savepoint was rolled back,			intent, answer	none	orphan, at once
 *	  whatever the rest does
 *	  committed, died before the records	intent, answer	exists	the INSERT finds the
 *	  were forgotten												job; drops it
 *
 * Once that is committed, the worker forgets the files in which no transaction
 * is open, and removes those whose session is gone, provided that they still
 * hold exactly the bytes that were settled and nothing behind them.  An LWLock
 * keeps writes out meanwhile; writers share it, for a write but not for a sync.
 * A file that cannot be read is left alone and tried again a second later.
 *
 * PREPARE TRANSACTION after a submit is rejected: the outcome would be open
 * without a process.  After a batch it is fine.  Nobody reports the commit to the
 * worker, so the prepare wakes it, it checks once a minute, and it stays as long
 * as anything is prepared in its database.
 *
 * A dropped database has no worker.  The launcher removes its files, with a
 * WARNING for each entry that fal may have.  It lists the files first and looks
 * up their databases afterwards: see JournalDrop.  The files of a database that
 * does not allow connections, or is a template, stay: its worker may yet run.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "cluster.h"
#include "journal.h"
#include "ownerror.h"
#include "shmem.h"
#include "wire.h"

#define JOURNAL_MAGIC 0x76766a33   /* "vvj3": also the format's version */
#define JOURNAL_MAGIC_2 0x76766a32 /* "vvj2", of 0.1.0: without the user; read, but not written */
#define MAX_RECORD (4 * 1024 * 1024)
#define TERMINATOR sizeof(uint32)
#define FILE_SIZE (16 * 1024) /* size of a new file, and again after a large record */

typedef enum RecordKind
{
	RECORD_INTENT,
	RECORD_ANSWER
} RecordKind;

/* On disk.  The checksum covers everything after it, including the texts. */
typedef struct Record
{
	uint32 magic;
	pg_crc32c crc;
	uint32 length; /* of the whole record */
	uint32 kind;
	uint64 xid; /* full, so that wraparound confuses nobody */
	int64 job_id;
	int64 lease;
	int64 created_at; /* the job's; together with job_id it identifies the job */
	int64 at;
	int32 attempt;
	int32 outcome;
	char request_id[FAL_ID_SIZE];
	uint32 vibelog_length; /* five texts follow, each with its NUL */
	uint32 model_length;
	uint32 input_length;
	/* since vvj3 */
	uint32 user_length;	  /* 0 if nobody is known */
	uint64 part;		  /* the full id of the subtransaction that sent it, xid if there is none */
	uint32 tenant_length; /* 0 if there is none */
} Record;

/*----------
 * In the backend
 *----------
 */
static int journal_fd = -1;
static char journal_path[JOURNAL_PATH_SIZE];
static off_t journal_end = 0;		  /* where the next record goes */
static bool intents_open = false;	  /* this transaction has intents */
static off_t intents_at;			  /* ... from here on; before it are older ones, not settled yet */
static bool part_rolled_back = false; /* ... and a subtransaction was rolled back after that */
static int nsent = 0;				  /* intents of this transaction that fal may have */

/* Erases the magic number at offset: from there on, the file has no records any more. */
static bool
EraseAt(int fd, off_t offset)
{
	uint32 nothing = 0;

	errno = 0;
	return pwrite(fd, &nothing, sizeof(nothing), offset) == sizeof(nothing);
}

/*
 * Forget this transaction's records.  While they exist the worker does not
 * touch the file, so what is before them has not moved.  For others the
 * transaction ends before it does for us: the worker may already have settled
 * it and forgotten everything; then this is done twice.  Not synced: what
 * reappears after a crash is settled again, without effect.
 */
static void
ForgetOwn(void)
{
	LWLockAcquire(ShmemJournalLock(), LW_SHARED);
	if (!EraseAt(journal_fd, intents_at))
		elog(LOG, "could not write file \"%s\": %m", journal_path);
	else if (intents_at == 0 && journal_end > FILE_SIZE && ftruncate(journal_fd, FILE_SIZE) != 0)
		elog(LOG, "could not truncate file \"%s\": %m", journal_path);
	journal_end = intents_at;
	LWLockRelease(ShmemJournalLock());
}

static void
AtXactEnd(XactEvent event, void *arg)
{
	if (!intents_open)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has called vibevideo_submit"),
					 errhint("Use vibevideo_submit_batch, which sends nothing before the commit, and turn vibevideo.notify off.")));
			break;
		case XACT_EVENT_COMMIT:
			intents_open = false;
			if (part_rolled_back)
				ShmemWakeWorker(MyDatabaseId);
			else
				ForgetOwn();
			break;
		case XACT_EVENT_ABORT:
			intents_open = false;
			ShmemWakeWorker(MyDatabaseId);
			break;
		default:
			break;
	}
}

static void
AtSubXactEnd(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	part_rolled_back = true;
	/* what it has sent is to be cancelled, however long the transaction stays open */
	if (intents_open)
		ShmemWakeWorker(MyDatabaseId);
}

/* files are a session's own, and so is their format */
static bool
HoldsNothing(void)
{
	uint32 magic = 0;

	return pread(journal_fd, &magic, sizeof(magic), 0) >= 0 && magic != JOURNAL_MAGIC;
}

static void
RemoveIfEmpty(int code, Datum arg)
{
	if (HoldsNothing())
		(void) unlink(journal_path);
}

/* The file, its length and its name must survive a crash, so that later only records have to be synced. */
static bool
MakeFile(void)
{
	PGAlignedXLogBlock zeros;

	memset(&zeros, 0, sizeof(zeros));
	for (off_t offset = 0; offset < FILE_SIZE; offset += sizeof(zeros))
		if (pwrite(journal_fd, &zeros, sizeof(zeros), offset) != sizeof(zeros))
		{
			errno = errno ? errno : ENOSPC;
			return false;
		}
	return pg_fsync(journal_fd) == 0;
}

static void
OpenFile(void)
{
	snprintf(journal_path, sizeof(journal_path), "%s/%u.%d." INT64_FORMAT,
			 CLUSTER_DIR, MyDatabaseId, MyProcPid, (int64) MyStartTimestamp);
	ReserveExternalFD();
	journal_fd = open(journal_path, O_RDWR | O_CREAT | O_CLOEXEC | PG_BINARY, pg_file_create_mode);
	if (journal_fd < 0 || !MakeFile())
	{
		int save_errno = errno;

		if (journal_fd >= 0)
		{
			close(journal_fd);
			(void) unlink(journal_path);
			journal_fd = -1;
		}
		ReleaseExternalFD();
		errno = save_errno;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create vibevideo journal file \"%s\": %m", journal_path)));
	}
	on_proc_exit(RemoveIfEmpty, 0);
	RegisterXactCallback(AtXactEnd, NULL);
	RegisterSubXactCallback(AtSubXactEnd, NULL);
	fsync_fname(CLUSTER_DIR, true);
}

static size_t
LengthOf(const char *text)
{
	return text ? strlen(text) + 1 : 0;
}

static char *
AppendText(char *to, const char *text, size_t length)
{
	if (length > 0)
		memcpy(to, text, length);
	return to + length;
}

static Record *
BuildRecord(RecordKind kind, const Job *job)
{
	bool texts = (kind == RECORD_INTENT);
	size_t vibelog = texts ? LengthOf(job->vibelog_id) : 0;
	size_t model = texts ? LengthOf(job->model) : 0;
	size_t input = texts ? LengthOf(job->input) : 0;
	size_t user = texts ? LengthOf(job->user) : 0;
	size_t tenant = texts ? LengthOf(job->tenant) : 0;
	/* aligned, since the next header has to be */
	size_t length = MAXALIGN(sizeof(Record) + vibelog + model + input + user + tenant);
	/* plus zeros, which hide an older record after it */
	Record *record = palloc0(length + TERMINATOR);
	char *text = (char *) (record + 1);

	record->magic = JOURNAL_MAGIC;
	record->length = length;
	record->kind = kind;
	record->xid = U64FromFullTransactionId(GetTopFullTransactionId());
	record->part = U64FromFullTransactionId(GetCurrentFullTransactionId());
	record->job_id = job->job_id;
	record->lease = job->lease;
	record->created_at = job->created_at;
	record->attempt = job->attempt;
	record->at = GetCurrentTimestamp();
	record->vibelog_length = vibelog;
	record->model_length = model;
	record->input_length = input;
	record->user_length = user;
	record->tenant_length = tenant;
	text = AppendText(text, job->vibelog_id, vibelog);
	text = AppendText(text, job->model, model);
	text = AppendText(text, job->input, input);
	text = AppendText(text, job->user, user);
	AppendText(text, job->tenant, tenant);
	return record;
}

static pg_crc32c
Checksum(const Record *record)
{
	pg_crc32c crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, (const char *) record + offsetof(Record, length), record->length - offsetof(Record, length));
	FIN_CRC32C(crc);
	return crc;
}

/* A partly written record is erased again. */
static bool
AppendRecord(Record *record)
{
	size_t length = record->length + TERMINATOR;
	ssize_t written;

	record->crc = Checksum(record);
	LWLockAcquire(ShmemJournalLock(), LW_SHARED);
	if (!intents_open)
	{
		if (HoldsNothing())
			journal_end = 0; /* the worker has erased the rest */
		intents_at = journal_end;
	}
	errno = 0;
	written = pwrite(journal_fd, record, length, journal_end);
	if (written == (ssize_t) length)
		journal_end += record->length;
	else
	{
		int save_errno = (written < 0) ? errno : ENOSPC;

		(void) EraseAt(journal_fd, journal_end);
		errno = save_errno;
	}
	LWLockRelease(ShmemJournalLock());
	return written == (ssize_t) length;
}

static bool
OutcomeMayBeAtFal(FalSubmitOutcome outcome)
{
	return outcome == FAL_SUBMIT_ACCEPTED || outcome == FAL_SUBMIT_UNKNOWN;
}

int
JournalSent(void)
{
	return intents_open ? nsent : 0;
}

void
JournalIntent(const Job *job)
{
	Record *record;

	if (journal_fd < 0)
		OpenFile();
	record = BuildRecord(RECORD_INTENT, job);

	/* the commit must be on disk before ForgetOwn forgets the intent */
	ForceSyncCommit();
	if (!AppendRecord(record))
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write vibevideo journal file \"%s\": %m", journal_path)));
	if (!intents_open)
	{
		part_rolled_back = false;
		nsent = 0;
	}
	intents_open = true;
	nsent++;
	if (pg_fdatasync(journal_fd) != 0)
	{
		int save_errno = errno;

		/* or the worker would look for a request that was never made, and cancel somebody else's */
		JournalAnswer(job, FAL_SUBMIT_NOT_SENT, NULL);
		errno = save_errno;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not fsync vibevideo journal file \"%s\": %m", journal_path)));
	}
	pfree(record);
}

void
JournalAnswer(const Job *job, FalSubmitOutcome outcome, const char *request_id)
{
	Record *record = BuildRecord(RECORD_ANSWER, job);

	record->outcome = outcome;
	if (!OutcomeMayBeAtFal(outcome))
		nsent--;
	if (request_id)
		strlcpy(record->request_id, request_id, sizeof(record->request_id));
	/* fal has answered: no error here may undo that */
	if (!AppendRecord(record))
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write vibevideo journal file \"%s\": %m", journal_path)));
	pfree(record);
}

/*----------
 * In the worker
 *----------
 */
typedef struct SettledFile
{
	char path[JOURNAL_PATH_SIZE];
	off_t end;
	pg_crc32c crc; /* of the settled records, up to end */
	int pid;
} SettledFile;

static SettledFile *settled = NULL;
static int nsettled = 0;

/* false, with errno: it is gone (ENOENT), or cannot be read now, which does not mean that it is empty */
static bool
ReadFile(const char *path, char **bytes, off_t *size)
{
	struct stat st;
	int fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	bool good = (fd >= 0 && fstat(fd, &st) == 0);
	int save_errno;

	*bytes = NULL;
	*size = 0;
	if (good && st.st_size > 0)
	{
		*bytes = palloc_extended(st.st_size, MCXT_ALLOC_HUGE);
		errno = 0; /* in case its owner truncates it just now */
		good = (read(fd, *bytes, st.st_size) == st.st_size);
		*size = good ? st.st_size : 0;
	}
	save_errno = errno;
	if (!good && errno != 0 && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not read vibevideo journal file \"%s\": %m", path)));
	if (fd >= 0)
		CloseTransientFile(fd);
	errno = save_errno;
	return good;
}

static size_t
HeaderSize(const Record *record)
{
	return record->magic == JOURNAL_MAGIC ? sizeof(Record) : offsetof(Record, user_length);
}

static uint64
TextsLength(const Record *record)
{
	return (uint64) record->vibelog_length + record->model_length + record->input_length +
		(record->magic == JOURNAL_MAGIC ? record->user_length + record->tenant_length : 0);
}

/* A completely written record; anything else ends the file, since it was never synced. */
static const Record *
RecordAt(const char *bytes, off_t size, off_t offset)
{
	const Record *record = (const Record *) (bytes + offset);

	if (size - offset < (off_t) offsetof(Record, user_length) ||
		(record->magic != JOURNAL_MAGIC && record->magic != JOURNAL_MAGIC_2) ||
		record->length < HeaderSize(record) || record->length > MAX_RECORD || record->length > size - offset ||
		record->crc != Checksum(record) || MAXALIGN(HeaderSize(record) + TextsLength(record)) != record->length)
		return NULL;
	return record;
}

/* A transaction id from the future or the distant past cannot be running. */
static bool
IsInProgress(uint64 xid)
{
	uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());

	if (xid >= next || next - xid > (uint64) MaxTransactionId / 2)
		return false;
	return TransactionIdIsInProgress(XidFromFullTransactionId(FullTransactionIdFromU64(xid)));
}

/* One whose subtransaction was rolled back is over, though the transaction is not. */
static bool
IsRunning(const Record *record)
{
	if (!IsInProgress(record->xid))
		return false;
	return record->magic != JOURNAL_MAGIC ||
		!TransactionIdDidAbort(XidFromFullTransactionId(FullTransactionIdFromU64(record->part)));
}

static JournalEntry *
EntryFromIntent(const Record *record)
{
	JournalEntry *entry = palloc0(sizeof(JournalEntry));
	const char *text = (const char *) record + HeaderSize(record);

	entry->job_id = record->job_id;
	entry->lease = record->lease;
	entry->created_at = record->created_at;
	entry->attempt = record->attempt;
	entry->sent_at = record->at;
	entry->running = IsRunning(record);
	entry->vibelog_id = pstrdup(text);
	entry->model = pstrdup(text += record->vibelog_length);
	entry->input = pstrdup(text += record->model_length);
	if (record->magic != JOURNAL_MAGIC)
		return entry;
	text += record->input_length;
	if (record->user_length > 0)
		entry->user = pstrdup(text);
	if (record->tenant_length > 0)
		entry->tenant = pstrdup(text + record->user_length);
	return entry;
}

/* Add it to the newest intent of that file (from first on): after a crash the same numbers may be reused. */
static void
AddAnswer(JournalEntry **entries, int first, int n, const Record *record)
{
	for (int i = n - 1; i >= first; i--)
		if (entries[i]->job_id == record->job_id && entries[i]->lease == record->lease)
		{
			entries[i]->answered = true;
			entries[i]->outcome = (FalSubmitOutcome) record->outcome;
			strlcpy(entries[i]->request_id, record->request_id, sizeof(entries[i]->request_id));
			return;
		}
}

/* Entries of one file, and where they end; false while one of its transactions is running. */
static bool
ParseFile(const char *bytes, off_t size, JournalEntry ***entries, int *n, int *room, off_t *end)
{
	const Record *record;
	int first = *n;
	bool ended = true;

	for (*end = 0; (record = RecordAt(bytes, size, *end)) != NULL; *end += record->length)
	{
		if (record->kind == RECORD_ANSWER)
		{
			AddAnswer(*entries, first, *n, record);
			continue;
		}
		if (*n == *room)
		{
			*room *= 2;
			*entries = repalloc(*entries, sizeof(JournalEntry *) * *room);
		}
		(*entries)[(*n)++] = EntryFromIntent(record);
		ended &= !IsInProgress(record->xid);
	}
	return ended;
}

static pg_crc32c
BytesChecksum(const char *bytes, off_t size)
{
	pg_crc32c crc;

	INIT_CRC32C(crc);
	if (size > 0)
		COMP_CRC32C(crc, bytes, size);
	FIN_CRC32C(crc);
	return crc;
}

static void
RememberSettled(const char *path, const char *bytes, off_t end, int pid)
{
	SettledFile *file;

	settled = settled
		? repalloc(settled, sizeof(SettledFile) * (nsettled + 1))
		: MemoryContextAlloc(TopMemoryContext, sizeof(SettledFile));
	file = &settled[nsettled++];
	strlcpy(file->path, path, sizeof(file->path));
	file->end = end;
	file->crc = BytesChecksum(bytes, end);
	file->pid = pid;
}

int
JournalFiles(JournalFile **files)
{
	DIR *dir = AllocateDir(CLUSTER_DIR);
	struct dirent *de;
	int n = 0;
	int room = 16;

	*files = palloc(sizeof(JournalFile) * room);
	while ((de = ReadDir(dir, CLUSTER_DIR)) != NULL)
	{
		JournalFile *file;

		if (n == room)
			*files = repalloc(*files, sizeof(JournalFile) * (room *= 2));
		file = &(*files)[n];
		if (sscanf(de->d_name, "%u.%d.", &file->dboid, &file->pid) != 2)
			continue;
		snprintf(file->path, sizeof(file->path), "%s/%s", CLUSTER_DIR, de->d_name);
		n++;
	}
	FreeDir(dir);
	return n;
}

static int
ReadAll(JournalEntry ***entries, bool *whole, bool to_settle)
{
	JournalFile *files;
	int nfiles = JournalFiles(&files);
	int n = 0;
	int room = 16;

	*entries = palloc(sizeof(JournalEntry *) * room);
	*whole = true;
	for (int i = 0; i < nfiles; i++)
	{
		off_t size;
		off_t end;
		char *bytes;

		if (files[i].dboid != MyDatabaseId)
			continue;
		if (!ReadFile(files[i].path, &bytes, &size))
			*whole &= (errno == ENOENT);
		else if (ParseFile(bytes, size, entries, &n, &room, &end) && to_settle)
			RememberSettled(files[i].path, bytes, end, files[i].pid);
		if (bytes)
			pfree(bytes);
	}
	pfree(files);
	return n;
}

int
JournalRead(JournalEntry ***entries, bool *whole)
{
	return ReadAll(entries, whole, false);
}

int
JournalReadToSettle(JournalEntry ***entries, bool *whole)
{
	nsettled = 0;
	return ReadAll(entries, whole, true);
}

bool
JournalMayBeAtFal(const JournalEntry *entry)
{
	return !entry->answered || OutcomeMayBeAtFal(entry->outcome);
}

static void
EraseFile(const char *path)
{
	int fd = OpenTransientFile(path, O_RDWR | PG_BINARY);

	if (fd < 0 || !EraseAt(fd, 0))
		elog(LOG, "could not write file \"%s\": %m", path);
	if (fd >= 0)
		CloseTransientFile(fd);
}

void
JournalForget(void)
{
	for (int i = 0; i < nsettled; i++)
	{
		SettledFile *file = &settled[i];
		bool owner_is_gone = (kill(file->pid, 0) != 0 && errno == ESRCH);
		off_t size;
		char *bytes;

		if (file->end == 0 && !owner_is_gone)
			continue;
		LWLockAcquire(ShmemJournalLock(), LW_EXCLUSIVE);
		/* exactly the bytes that were settled, with nothing after them: other records may have the same length */
		if (ReadFile(file->path, &bytes, &size) && size >= file->end && BytesChecksum(bytes, file->end) == file->crc &&
			RecordAt(bytes, size, file->end) == NULL)
		{
			if (owner_is_gone)
				(void) unlink(file->path);
			else
				EraseFile(file->path);
		}
		LWLockRelease(ShmemJournalLock());
		if (bytes)
			pfree(bytes);
	}
	nsettled = 0;
}

/*----------
 * In the launcher
 *----------
 */

/*
 * Nobody writes to the file any more: a database cannot be dropped while it
 * has sessions, and sessions of a later one with the same OID create their own
 * files, with another time in the name.
 */
void
JournalDrop(const JournalFile *file)
{
	off_t size;
	off_t end;
	char *bytes;
	int n = 0;
	int room = 16;
	JournalEntry **entries = palloc(sizeof(JournalEntry *) * room);

	if (!ReadFile(file->path, &bytes, &size))
		return;
	(void) ParseFile(bytes, size, &entries, &n, &room, &end);
	for (int i = 0; i < n; i++)
		if (JournalMayBeAtFal(entries[i]))
			ereport(WARNING,
					(errmsg("vibevideo discarded a submit of a dropped database: request \"%s\", model \"%s\"",
							entries[i]->request_id[0] ? entries[i]->request_id : "unknown", entries[i]->model),
					 errdetail("Database %u, row \"%s\", sent at %s; its transaction was not settled.",
							   file->dboid, WireShown(entries[i]->vibelog_id), timestamptz_to_str(entries[i]->sent_at)),
					 errhint("fal.ai may have received it and may charge for it. It can be cancelled there.")));
	if (unlink(file->path) != 0 && errno != ENOENT)
		elog(LOG, "could not remove file \"%s\": %m", file->path);
}
