/*
 * upload.h
 *	  A copy's upload: the flow into Storage, in one request; and what all its
 *	  requests to Storage have in common.
 */
#ifndef VIBEVIDEO_UPLOAD_H
#define VIBEVIDEO_UPLOAD_H

#include "call.h"
#include "flow.h"
#include "secret.h"
#include "task.h"

#define BASE_SIZE 1024
#define FATAL_TRIES 3 /* the operator may meanwhile raise a limit or create the bucket: few tries, not none */

/* Where it goes.  Settings may change during a copy, so all that its requests need of them is here. */
typedef struct UploadTarget
{
	int kind;					 /* STORAGE_KIND_… */
	char base[BASE_SIZE];		 /* of Storage, or the S3 endpoint */
	char public_base[BASE_SIZE]; /* the same for browsers */
	char region[64];			 /* that S3 is signed for */
	char bucket[129];
	char object_key[1024];
	const char *type; /* its content type for Storage, bare: Storage compares all of it with a bucket's allowed types */
	char video_url[FAL_URL_SIZE];
} UploadTarget;

typedef enum UploadWay
{
	UPLOAD_BY_SIZE,		/* in parts if it is large, or its length is unknown */
	UPLOAD_IN_PARTS,	/* something in front of Storage accepts it only so */
	UPLOAD_IN_ONE_PIECE /* Storage drops an upload in parts before all of it is there */
} UploadWay;

typedef struct Upload
{
	Task *task;
	Flow *flow;
	HttpRequest *request; /* one at a time; NULL between them */
	UploadTarget target;
	StorageKeyForm form;
	char key[SECRET_SIZE];
	int retry_after; /* seconds that the last answer asked to wait for, -1: it did not */
	UploadWay way;
} Upload;

/* by size, until way is set; reads the settings, and copies key; if the video's address cannot be built, the task is over */
extern void UploadInit(Upload *upload, Task *task, Flow *flow, const char *key);
extern void UploadWipe(Upload *upload);
/* the file's ending, "mp4" until it is known; what is stored is named after it */
extern void UploadSetEnding(Upload *upload, const char *ending);

/* the whole video in one request; S3 needs its length, so an unknown one is counted first */
extern void UploadStart(Upload *upload);
/* its answer */
extern void UploadAdvance(Upload *upload, const HttpReply *reply);

/*----------
 * For every request of the copy to Storage
 *----------
 */

/* size: of the body that a PUT or PATCH streams, -1 if unknown */
extern void UploadInitCall(Upload *upload, Call *call, HttpMethod method, int64 size);
/* the address of the video in its bucket */
extern void UploadAddress(const Upload *upload, Call *call, StorageCall what);
/* if it could not be sent, the task is over */
extern void UploadSend(Upload *upload, Call *call);
/* before an answer is handled: frees the place of its request, and notes what is the same for all of them */
extern void UploadTakeAnswer(Upload *upload, const HttpReply *reply);
/* handles a bad answer: a later try, or at once another form of the key */
extern void UploadFail(Upload *upload, const StorageReply *answer);
extern bool UploadHasOtherForm(const Upload *upload);
extern void UploadTryOtherForm(Upload *upload, const StorageReply *answer);

#endif /* VIBEVIDEO_UPLOAD_H */
