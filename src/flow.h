/*
 * flow.h
 *	  The bytes of one copy: from the download's sink through a ring to the
 *	  upload's source.
 *
 * Pure but for libcrypto.  Sink and source run under libcurl, so everything
 * that they touch is here: they neither throw nor palloc.  Positions are
 * offsets in the file.
 */
#ifndef VIBEVIDEO_FLOW_H
#define VIBEVIDEO_FLOW_H

#include "media.h"
#include "ring.h"

/* What the copy has to do next, as decided by a step of either side. */
typedef enum FlowNext
{
	FLOW_CONTINUE,
	FLOW_RESTART,	 /* restart all requests; an upload saved in the job is continued */
	FLOW_START_OVER, /* the same, but discard the saved upload */
	FLOW_FINISH		 /* Storage has the whole video */
} FlowNext;

typedef struct Flow
{
	Ring ring;
	MediaMeter meter;  /* measures what is downloaded, if that continues at its position */
	int64_t cap;	   /* a larger file is rejected */
	int64_t total;	   /* the file's length as announced, -1 unknown */
	int64_t from;	   /* the download starts here: at stored, or before it for the meter */
	int64_t stored;	   /* Storage has everything before this: it is measured, but not sent */
	int64_t received;  /* the download got up to here */
	int64_t sent;	   /* the upload got up to here */
	int64_t part_left; /* what the current upload request may still send */
	bool judged;	   /* the download is what we want, and the upload may start */
	bool counting;	   /* ... but its length is needed first: it is only read to the end */
	bool whole;		   /* the download ended well */
	bool too_large;	   /* why the sink aborted */
	FlowNext next;
} Flow;

/* false: out of memory for a ring of that size */
extern bool FlowInit(Flow *flow, size_t ring_size, int64_t cap);
extern void FlowFree(Flow *flow);

/* an HttpSink and an HttpSource; arg is the flow */
extern size_t FlowSink(void *arg, const char *data, size_t len);
extern size_t FlowSource(void *arg, char *data, size_t len);

/* The download is what we want: what came so far is measured, and the part that Storage has is dropped. */
extern void FlowAccept(Flow *flow);
/* Only the length of the file is wanted: what is in the ring, and everything that follows, is dropped. */
extern void FlowCount(Flow *flow);
/* The download turned out to start at the file's beginning, not at what Storage lacks: all of it is uploaded. */
extern void FlowRewind(Flow *flow);

/*
 * Did the download end before the file did?  stated is the length that fal gave,
 * -1 if none; a file that is whole by its own account is believed more.  wanted
 * is the length that it should have, -1 if that is not known.
 */
extern bool FlowIsShort(const Flow *flow, int64_t stated, int64_t *wanted);

/* has the source anything to send, or would it pause? */
extern bool FlowIsReady(const Flow *flow);

#endif /* VIBEVIDEO_FLOW_H */
