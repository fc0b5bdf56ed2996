/*
 * costs.h
 *	  What jobs have cost, by user and day.
 */
#ifndef VIBEVIDEO_COSTS_H
#define VIBEVIDEO_COSTS_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* what of a job counts; see sql/costs.sql */
typedef struct JobCosts
{
	const char *user;	/* NULL: nobody is known */
	const char *tenant; /* NULL: none */
	TimestampTz created_at;
	const char *model;
	bool orphan;
	bool billed;
	Datum usd; /* numeric, of a billed one */
	bool has_usd;
} JobCosts;

/* notes the costs of a job that has ended, or takes them back */
extern void CostsNote(const JobCosts *costs);
extern void CostsTakeBack(const JobCosts *costs);

/*
 * The worker's: settles jobs, has budgets hold no more what will not be billed, and adds up
 * notes, at most so many; returns how many.
 */
extern int64 CostsSettle(int max);
extern int64 CostsRelease(int max);
extern int64 CostsAdd(int max);

#endif /* VIBEVIDEO_COSTS_H */
