/*
 * state.c
 *	  The states of a job: in which order it goes through them, and what the
 *	  app sees of each.
 */
#include "state.h"

#include <stddef.h>
#include <string.h>

#define FINAL_RANK 5

typedef struct State
{
	const char *name;
	int rank;
	const char *shown;
} State;

static const State states[] = {
	{"pending", 0, "queued"},
	{"submitting", 0, "queued"},
	{"submit_unknown", 1, "queued"},
	{"queued", 2, "queued"},
	{"generating", 3, "generating"},
	{"processing", 4, "processing"},
	{"completed", FINAL_RANK, "completed"},
	{"failed", FINAL_RANK, "failed"},
	{"cancelled", FINAL_RANK, "cancelled"},
};

/* NULL if there is none of this name: the table's CHECK refuses it */
static const State *
Find(const char *name)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp(states[i].name, name) == 0)
			return &states[i];
	return NULL;
}

int
StateRank(const char *state)
{
	const State *found = Find(state);

	return found ? found->rank : -1;
}

bool
StateIsFinal(const char *state)
{
	return StateRank(state) == FINAL_RANK;
}

const char *
StateShown(const char *state)
{
	const State *found = Find(state);

	return found ? found->shown : state;
}
