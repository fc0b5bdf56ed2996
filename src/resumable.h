/*
 * resumable.h
 *	  A copy's way out in parts, by the protocol TUS: a later try can
 *	  continue it.
 */
#ifndef VIBEVIDEO_RESUMABLE_H
#define VIBEVIDEO_RESUMABLE_H

#include "download.h"
#include "upload.h"

typedef struct Resumable
{
	Task *task;
	Flow *flow;
	Upload *upload; /* whose requests these are */
	Download *download;
	bool active;			/* the copy goes this way */
	char url[FAL_URL_SIZE]; /* "" until it is created */
	StorageTusCall call;	/* what was asked last */
	bool seeking;			/* ... or, if so: whether there is an object */
	bool deferred;			/* Storage does not know the length yet */
	bool declared;			/* this part declares it */
	int64 offset;			/* Storage surely has so much */
	bool reported;			/* url is in the job, whose lease was ours then */
	TimestampTz reported_at;
	unsigned char state[MEDIA_STATE_SIZE]; /* the meter's, for a report */
} Resumable;

extern void ResumableInit(Resumable *resumable, Upload *upload, Download *download);

/* did an earlier try leave an upload that this one may continue? */
extern bool ResumableIsKept(const Resumable *resumable);
/* ask how much Storage has of it; the download follows by itself */
extern void ResumableAsk(Resumable *resumable);

/* must the video go in parts, or may it? */
extern bool ResumableIsWanted(const Resumable *resumable, bool in_parts);
extern void ResumableCreate(Resumable *resumable);

/* of a download that began behind the file's start: is it what the upload needs? */
extern bool ResumableFits(Resumable *resumable, const HttpReply *reply);
/* of one that began at the start: an upload that this cannot become is forgotten */
extern void ResumableTakeWhole(Resumable *resumable, int64 length);

/* the answer to its request */
extern void ResumableAdvance(Resumable *resumable, const HttpReply *reply);
/* sends the next part, if it is time for it and the job is still ours */
extern void ResumablePump(Resumable *resumable);
/* Storage has all parts, and knows it; and what we read ended well */
extern bool ResumableIsDone(const Resumable *resumable);

/* is this an upload that a later try may continue? */
extern bool ResumableIsOwn(const Resumable *resumable);
/* what that needs besides goes into the job and the task's update */
extern void ResumableKeepState(const Resumable *resumable);
/* ... and, with the upload itself, into a report */
extern void ResumableReport(Resumable *resumable, JobProgress *progress);

#endif /* VIBEVIDEO_RESUMABLE_H */
