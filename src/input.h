/*
 * input.h
 *	  What a model is sent for a row, and whether it can take that.
 */
#ifndef VIBEVIDEO_INPUT_H
#define VIBEVIDEO_INPUT_H

#include "postgres.h"

#include "binding.h"
#include "job.h"

/* of inputs in memory at a time: the one that makes it so much is the last */
#define INPUT_BYTES (16 * 1024 * 1024)

/*
 * Fills in the inputs, made as the table's owner, and whose videos these are;
 * ERROR if one is not acceptable.  For how many of the jobs, at least one: the
 * others are to follow once these are done with.
 */
extern int InputBuild(const Binding *binding, JobNew *jobs, int n);

#endif /* VIBEVIDEO_INPUT_H */
