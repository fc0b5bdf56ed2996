/*
 * input.h
 *	  The input that a model gets for a row, and whether it accepts that.
 */
#ifndef VIBEVIDEO_INPUT_H
#define VIBEVIDEO_INPUT_H

#include "postgres.h"

#include "binding.h"
#include "job.h"

/* limit of inputs in memory at a time; the input that reaches it is the last */
#define INPUT_BYTES (16 * 1024 * 1024)

/*
 * Fills in the inputs, built as the table's owner, and the users; ERROR if an
 * input is not acceptable.  Returns for how many of the jobs, at least one: call
 * it again for the others once these are inserted.
 */
extern int InputBuild(const Binding *binding, JobNew *jobs, int n);

#endif /* VIBEVIDEO_INPUT_H */
