/*
 * test_state.c
 *	  The states of a job; test/sql/states.sql compares them with SQL's.
 */
#include "check.h"
#include "state.h"

#include <stdio.h>
#include <string.h>

static const struct
{
	const char *state;
	int rank;
	bool is_final;
	const char *shown;
} states[] =
	{
		{"pending", 0, false, "queued"},
		{"submitting", 0, false, "queued"},
		{"submit_unknown", 1, false, "queued"},
		{"queued", 2, false, "queued"},
		{"generating", 3, false, "generating"},
		{"processing", 4, false, "processing"},
		{"completed", 5, true, "completed"},
		{"failed", 5, true, "failed"},
		{"cancelled", 5, true, "cancelled"},
		{"no such state", -1, false, "no such state"},
		{"", -1, false, ""},
};

void
TestJobStates(void)
{
	char active[sizeof(ACTIVE_STATES)] = "";

	for (size_t i = 0; i < lengthof(states); i++)
	{
		const char *state = states[i].state;
		size_t len = strlen(active);

		CheckNumber(state, "the rank", StateRank(state), states[i].rank);
		CheckTrue(state, "final or not", StateIsFinal(state) == states[i].is_final);
		CheckText(state, "what is shown", StateShown(state), states[i].shown);
		if (states[i].rank >= 0 && !states[i].is_final)
			snprintf(active + len, sizeof(active) - len, "%s'%s'", len == 0 ? "ARRAY[" : ", ", state);
	}
	strncat(active, "]", sizeof(active) - strlen(active) - 1);
	CheckText("ACTIVE_STATES", "as a statement spells them", ACTIVE_STATES, active);
}
