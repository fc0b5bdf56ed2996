/*
 * state.c
 *	  The states of a job: the order in which it goes through them, and the
 *	  status that the app sees in each.
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

/* NULL if there is no such state: the table's CHECK rejects the name */
static const State *
FindState(const char *name)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp(states[i].name, name) == 0)
			return &states[i];
	return NULL;
}

int
StateRank(const char *state)
{
	const State *found = FindState(state);

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
	const State *found = FindState(state);

	return found ? found->shown : state;
}
