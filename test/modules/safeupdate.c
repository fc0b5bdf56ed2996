/*
 * safeupdate.c
 *	  What pg_safeupdate does to the sessions of Supabase's API, for tests: no
 *	  UPDATE or DELETE without a WHERE, wherever it comes from.
 */
#include "postgres.h"

#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"

PG_MODULE_MAGIC;

void _PG_init(void);

static post_parse_analyze_hook_type previous = NULL;

static void
Check(const Query *query)
{
	ListCell *cell;

	if ((query->commandType == CMD_UPDATE || query->commandType == CMD_DELETE) && query->jointree->quals == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("%s requires a WHERE clause", query->commandType == CMD_UPDATE ? "UPDATE" : "DELETE")));
	foreach (cell, query->cteList)
	{
		Node *part = lfirst_node(CommonTableExpr, cell)->ctequery;

		if (IsA(part, Query))
			Check((Query *) part);
	}
}

/* const since 19 */
#if PG_VERSION_NUM >= 190000
#define JUMBLE_STATE const JumbleState
#else
#define JUMBLE_STATE JumbleState
#endif

static void
Analyzed(ParseState *state, Query *query, JUMBLE_STATE *jumble)
{
	if (previous)
		previous(state, query, jumble);
	Check(query);
}

void
_PG_init(void)
{
	previous = post_parse_analyze_hook;
	post_parse_analyze_hook = Analyzed;
}
