/*
 * state.h
 *	  The states of a job.  Pure.
 *
 * The states are spelled out here and in sql/schema.sql: in the CHECK of
 * vibevideo.job, in is_active and shown_status, and in the indexes, whose
 * predicates cannot call a function.  test/sql/states.sql keeps them in step.
 */
#ifndef VIBEVIDEO_STATE_H
#define VIBEVIDEO_STATE_H

#include <stdbool.h>

/* for statements that must match the index job_active; others ask vibevideo.is_active */
#define ACTIVE_STATES "ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing']"
#define FINAL_STATES "ARRAY['completed', 'failed', 'cancelled']"

/* a job never moves to a lower rank; -1: there is no such state */
extern int StateRank(const char *state);
extern bool StateIsFinal(const char *state);
/* the status that the app sees, like vibevideo_internal.shown_status */
extern const char *StateShown(const char *state);

#endif /* VIBEVIDEO_STATE_H */
