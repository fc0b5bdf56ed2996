/*
 * resumable.h
 *	  A copy's upload in parts, with the TUS protocol: a later try can continue
 *	  it.
 */
#ifndef VIBEVIDEO_RESUMABLE_H
#define VIBEVIDEO_RESUMABLE_H

#include "download.h"
#include "upload.h"

typedef struct Resumable
{
	Task *task;
	Flow *flow;
	Upload *upload; /* which sends the requests */
	Download *download;
	bool active;			/* the copy uses this */
	char url[FAL_URL_SIZE]; /* "" until it is created */
	StorageTusCall call;	/* the last call */
	bool seeking;			/* ... or, if true, a check whether the object exists */
	bool deferred;			/* Storage does not know the length yet */
	int64 offset;			/* Storage definitely has this much */
	bool reported;			/* url was saved in the job while we had its lease */
	TimestampTz reported_at;
	unsigned char state[MEDIA_STATE_SIZE]; /* of the meter, for a report */
} Resumable;

extern void ResumableInit(Resumable *resumable, Upload *upload, Download *download);

/* did an earlier try leave an upload that this one may continue? */
extern bool ResumableIsKept(const Resumable *resumable);
/* query how much Storage has of it; then the download starts */
extern void ResumableQuery(Resumable *resumable);

/* must the video go in parts, or may it? */
extern bool ResumableIsWanted(const Resumable *resumable);
extern void ResumableCreate(Resumable *resumable);

/* for a download that did not start at the file's beginning: is it what the upload needs? */
extern bool ResumableFits(Resumable *resumable, const HttpReply *reply);
/* for one that did: an upload of another length is discarded */
extern void ResumableCheckLength(Resumable *resumable, int64 length);

/* the answer to its request */
extern void ResumableAdvance(Resumable *resumable, const HttpReply *reply);
/* sends the next part, if it is ready and the job is still ours */
extern void ResumablePump(Resumable *resumable);
/* Storage has all parts and has confirmed it, and the download ended well */
extern bool ResumableIsDone(const Resumable *resumable);

/* may a later try continue this upload? */
extern bool ResumableIsOwn(const Resumable *resumable);
/* saves what else that needs into the job and the task's update */
extern void ResumableKeepState(const Resumable *resumable);
/* ... and, with the upload itself, into a report */
extern void ResumableReport(Resumable *resumable, JobProgress *progress);

#endif /* VIBEVIDEO_RESUMABLE_H */
