/*
 * upload.h
 *	  A copy's way out: the flow into Storage, in one piece; and what its
 *	  requests to Storage have in common, whatever they are.
 */
#ifndef VIBEVIDEO_UPLOAD_H
#define VIBEVIDEO_UPLOAD_H

#include "call.h"
#include "flow.h"
#include "secret.h"
#include "task.h"

/* Where it goes.  Settings may change under way: these hold for the whole copy. */
typedef struct UploadTarget
{
	int kind; /* STORAGE_KIND_… */
	char bucket[129];
	char object_key[1024];
	char type[129]; /* what Storage is told it is */
	char video_url[FAL_URL_SIZE];
} UploadTarget;

typedef struct Upload
{
	Task *task;
	Flow *flow;
	HttpRequest *request; /* one at a time; NULL between them */
	UploadTarget target;
	StorageKeyForm form;
	char key[SECRET_SIZE];
	bool wants_parts; /* something before Storage takes it only so */
} Upload;

/* key is copied; if there can be no address for the video the task is over */
extern void UploadInit(Upload *upload, Task *task, Flow *flow, const char *key);
extern void UploadWipe(Upload *upload);

/* the whole video in one request; S3 takes none of unknown length: then that is counted first */
extern void UploadStart(Upload *upload);
/* its answer */
extern void UploadAdvance(Upload *upload, const HttpReply *reply);

/*----------
 * For every request of the copy to Storage
 *----------
 */

/* size: of the body that is streamed by a PUT or PATCH, -1 if that is open */
extern void UploadInitCall(Upload *upload, Call *call, HttpMethod method, int64 size);
/* of the video in its bucket */
extern void UploadAddress(const Upload *upload, Call *call, StorageCall what);
/* the task is over if it could not be made */
extern void UploadSend(Upload *upload, Call *call);
/* what a bad answer makes of the copy: a later try, or another form of the key at once */
extern void UploadFail(Upload *upload, const StorageReply *answer);
extern bool UploadHasOtherForm(const Upload *upload);
extern void UploadTryOtherForm(Upload *upload, const StorageReply *answer);

#endif /* VIBEVIDEO_UPLOAD_H */
