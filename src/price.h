/*
 * price.h
 *	  What a job costs, as its triggers keep it.
 */
#ifndef VIBEVIDEO_PRICE_H
#define VIBEVIDEO_PRICE_H

#include "row.h"

/* before: what a new job costs at most, and what a job has cost once that can be known; returns the new tuple */
extern HeapTuple PriceNew(Row new);
/* the same row with billed as the rest of it says */
extern HeapTuple PriceMarkBilled(Row row);
extern HeapTuple PriceSettle(Row old, Row new);

/* after: it takes its share of the limits (ERROR if that would exceed one), which follow what it costs */
extern void PriceTakeShare(Row new);
extern void PriceFollow(Row old, Row new);

#endif /* VIBEVIDEO_PRICE_H */
