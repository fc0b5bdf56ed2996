/*
 * rollup.h
 *	  Counts of what became of jobs, which outlive them.
 */
#ifndef VIBEVIDEO_ROLLUP_H
#define VIBEVIDEO_ROLLUP_H

#include "postgres.h"

/* A step of a job, as sql/rollup.sql describes them. */
typedef struct RollupStep
{
	const char *outcome;
	const char *model;
	bool orphan;
	const char *error_code; /* NULL: none */
	int64 ms;				/* how long what ended with it took; negative: not known */
	int64 total_ms;			/* negative: not known */
	int64 bytes;			/* negative: none */
	Datum usd;				/* numeric */
	bool has_usd;
} RollupStep;

/* a step of which nothing else is known */
extern RollupStep RollupStepOf(const char *outcome, const char *model, bool orphan);
/* in the transaction that takes the step; waits for nobody */
extern void RollupNote(const RollupStep *step);

/* What the worker does, some of it at a time; how many rows that were. */
extern int64 RollupFold(int max);
extern int64 RollupThin(int max);
extern void RollupSample(void);
extern void RollupRefresh(void);

#endif /* VIBEVIDEO_ROLLUP_H */
