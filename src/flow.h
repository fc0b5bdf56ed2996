/*
 * flow.h
 *	  The bytes of one copy on their way: from the download's sink through a
 *	  ring to the upload's source.
 *
 * Pure but for libcrypto.  Sink and source run under libcurl, so all that they
 * touch is here: they neither throw nor palloc.  Positions are of the file.
 */
#ifndef VIBEVIDEO_FLOW_H
#define VIBEVIDEO_FLOW_H

#include "media.h"
#include "ring.h"

/* What the copy has to do next, as a step of either side finds. */
typedef enum FlowNext
{
	FLOW_CONTINUE,
	FLOW_RESTART,	 /* all requests anew; an upload that the job keeps is continued */
	FLOW_START_OVER, /* the same, but the kept upload is of no use */
	FLOW_FINISH		 /* Storage has the whole video */
} FlowNext;

typedef struct Flow
{
	Ring ring;
	MediaMeter meter;  /* sees what is downloaded, if that continues where it stands */
	int64_t cap;	   /* a larger file is rejected */
	int64_t total;	   /* the file's length as announced, -1 unknown */
	int64_t from;	   /* the download begins here: at stored, or before it for the meter */
	int64_t stored;	   /* Storage has what is before this: it is measured and not sent */
	int64_t received;  /* up to here */
	int64_t sent;	   /* up to here */
	int64_t part_left; /* what the request that is sending may still send */
	bool judged;	   /* what is downloaded is what we want, and the upload has begun */
	bool counting;	   /* ... but its length is needed first: it is only read to its end */
	bool whole;		   /* the download ended well */
	bool too_large;	   /* why the sink gave up */
	FlowNext next;
} Flow;

/* false: no memory for a ring of that size */
extern bool FlowInit(Flow *flow, size_t ring_size, int64_t cap);
extern void FlowFree(Flow *flow);

/* an HttpSink and an HttpSource; arg is the flow */
extern size_t FlowSink(void *arg, const char *data, size_t len);
extern size_t FlowSource(void *arg, char *data, size_t len);

/* What has come so far is what we want: it is measured, and what Storage has of it is dropped. */
extern void FlowAccept(Flow *flow);
/* Only the length of the file is wanted: what is in the ring, and all that comes, is dropped. */
extern void FlowCount(Flow *flow);
/* The download turned out to be the file from its start, and not what Storage lacks: all of it goes there. */
extern void FlowRewind(Flow *flow);

/* has the source something to say, or would it pause? */
extern bool FlowIsReady(const Flow *flow);

#endif /* VIBEVIDEO_FLOW_H */
