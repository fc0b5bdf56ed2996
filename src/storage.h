/*
 * storage.h
 *	  Supabase Storage's protocol: requests and replies as pure functions.
 */
#ifndef VIBEVIDEO_STORAGE_H
#define VIBEVIDEO_STORAGE_H

#include "reply.h"

typedef enum StorageOutcome
{
	STORAGE_DONE,
	STORAGE_RETRY, /* network, 429, 5xx, locks: try again later */
	STORAGE_AUTH,  /* the key was not understood: try another form */
	STORAGE_FATAL  /* trying again will not help (size, type, bucket, rights) */
} StorageOutcome;

typedef struct StorageReply
{
	StorageOutcome outcome;
	char code[65];	   /* Storage's code (EntityTooLarge …), or one of ours */
	char message[513]; /* for people: Storage's own message, or who answered instead */
	const char *hint;  /* static text that says what to do, or NULL */
	bool in_front;	   /* something in front of Storage rejects a body of this size, or of none: it may take smaller ones */
} StorageReply;

/* exists is valid with STORAGE_DONE only; a missing bucket is STORAGE_FATAL, NoSuchBucket */
typedef struct StorageBucket
{
	StorageReply reply;
	bool exists;
	bool is_public;
	int64_t size_limit; /* -1: none */
	bool allows_mp4;
	bool allows_gif;
} StorageBucket;

/* a missing object is STORAGE_DONE without exists: the call did succeed */
typedef struct StorageInfo
{
	StorageReply reply;
	bool exists;
	int64_t size; /* -1: unknown */
} StorageInfo;

/* a missing object is STORAGE_DONE, too; a missing bucket is not */
typedef struct StorageDelete
{
	StorageReply reply;
	bool gone; /* it was not there */
} StorageDelete;

/* Could Storage not be reached, or did only a hop in front of it answer?  See FalIsOutage. */
extern bool StorageIsOutage(const HttpReply *reply);

extern void StorageJudgeUpload(const HttpReply *reply, StorageReply *out);
/* the same for an S3 endpoint, whose errors are XML with real HTTP statuses */
extern void StorageJudgeS3(const HttpReply *reply, StorageReply *out);
extern void StorageJudgeBucket(const HttpReply *reply, StorageBucket *out);
extern void StorageJudgeInfo(const HttpReply *reply, StorageInfo *out);
extern void StorageJudgeDelete(bool s3, const HttpReply *reply, StorageDelete *out);

/* what answered when a browser's URL of an object that does not exist was asked for */
typedef enum StoragePublicAnswer
{
	STORAGE_PUBLIC_KNOWN,	/* Storage, which has the bucket, and shows it to everybody */
	STORAGE_PUBLIC_HIDDEN,	/* Storage, which has no such bucket, or a private one */
	STORAGE_PUBLIC_MOVED,	/* a redirect, which browsers follow */
	STORAGE_PUBLIC_FOREIGN, /* something else */
	STORAGE_PUBLIC_NONE		/* nothing */
} StoragePublicAnswer;

/* message and hint are set unless it is Storage */
extern StoragePublicAnswer StorageJudgePublic(const HttpReply *reply, StorageReply *out);

/* how a key is sent */
typedef enum StorageKeyForm
{
	STORAGE_KEY_JWT,	/* Authorization: Bearer K and apikey: K */
	STORAGE_KEY_APIKEY, /* sb_secret_…: apikey only */
	STORAGE_KEY_BOTH	/* sb_secret_… rejected on its own: both headers */
} StorageKeyForm;

/* what a key says about itself; nothing is verified */
typedef enum StorageKeyType
{
	STORAGE_KEY_IS_JWT,
	STORAGE_KEY_IS_SECRET,		/* sb_secret_… */
	STORAGE_KEY_IS_PUBLISHABLE, /* sb_publishable_… */
	STORAGE_KEY_IS_UNKNOWN
} StorageKeyType;

typedef struct StorageKey
{
	StorageKeyType type;
	char role[65]; /* of a JWT; "": it names none */
	/* static texts; NULL unless no such key may store files */
	const char *fault;
	const char *hint;
} StorageKey;

extern void StorageReadKey(const char *key, StorageKey *out);
/* what to do about a key that Storage, or a gateway, did not understand: static text */
extern const char *StorageKeyHint(const char *key);

extern StorageKeyForm StorageFirstForm(const char *key);
/* the form to try after STORAGE_AUTH; false when there is none left */
extern bool StorageNextForm(const char *key, StorageKeyForm *form);

extern bool StorageBucketNameIsValid(const char *bucket);
extern bool StorageKeyIsValid(const char *key); /* object key charset of Storage, no "." or ".." segment, no // */

typedef enum StorageCall
{
	STORAGE_UPLOAD, /* {base}/object/{bucket}/{key}, where it is deleted as well */
	STORAGE_INFO,	/* {base}/object/info/{bucket}/{key} */
	STORAGE_BUCKET, /* {base}/bucket/{bucket} */
	STORAGE_PUBLIC, /* {base}/object/public/{bucket}/{key} */
	STORAGE_S3		/* {base}/{bucket}/{key}, path-style */
} StorageCall;

/* percent-encodes each segment; base without trailing slash; false if invalid or too long */
extern bool StorageUrl(const char *base, StorageCall call, const char *bucket,
					   const char *key, char *out, size_t size);

/*----------
 * Resumable uploads (TUS 1.0.0): created with metadata, then sent in parts
 *----------
 */
#define STORAGE_TUS_PART (6 * 1024 * 1024) /* the size that Storage requires; the last part may be smaller */

typedef struct StorageTus
{
	StorageReply reply;
	bool gone;		/* the upload no longer exists: start over */
	bool expired;	/* it is gone because of its age */
	bool moved;		/* its offset is not the one we sent: query it */
	int64_t offset; /* how much Storage has, -1: unknown */
	int64_t length; /* of the whole file, -1: not known yet */
} StorageTus;

typedef enum StorageTusCall
{
	STORAGE_TUS_CREATE,
	STORAGE_TUS_HEAD,
	STORAGE_TUS_PATCH
} StorageTusCall;

extern void StorageJudgeTus(StorageTusCall call, const HttpReply *reply, StorageTus *out);

/* OPTIONS: the largest file that this Storage accepts, -1 if the answer does not tell */
extern int64_t StorageTusMaxSize(const HttpReply *reply);

/* {base}/upload/resumable, where uploads are created */
extern bool StorageTusRoot(const char *base, char *out, size_t size);
/*
 * An upload's address: its id, which is the last segment of location, under
 * our own base.  Location is often wrong behind proxies, and a key must never
 * be sent elsewhere because of it.
 */
extern bool StorageTusUrl(const char *base, const char *location, char *out, size_t size);
/* may a key be sent to this address, saved by an earlier try? */
extern bool StorageTusOwns(const char *base, const char *url);
/* the value of Upload-Metadata */
extern bool StorageTusMetadata(const char *bucket, const char *key, const char *type, char *out, size_t size);
/* does Upload-Metadata, as returned by Storage, name this bucket? "" counts as yes */
extern bool StorageTusIsFor(const char *metadata, const char *bucket);
/* does it name this object? */
extern bool StorageTusNames(const char *metadata, const char *key);

/* "bytes 100-199/200"; false: anything else, also when the total is unknown */
extern bool StorageReadRange(const char *content_range, int64_t *from, int64_t *to, int64_t *total);
/* does it guarantee that every byte is the same? */
extern bool StorageEtagIsStrong(const char *etag);

#endif /* VIBEVIDEO_STORAGE_H */
