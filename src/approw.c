/*
 * approw.c
 *	  Reading the app's rows: which the caller may use, what they bear, what a
 *	  model is to be sent for them.
 *
 * Statements on the app's table run as the caller or as the table's owner, along
 * that role's search path: so every name in them is qualified, and so is every
 * operator, written or implied.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "approw.h"
#include "compat.h"
#include "fal.h"
#include "identity.h"
#include "ownerror.h"
#include "tablefit.h"
#include "wire.h"

#define MAX_INPUT_BYTES (1024 * 1024)

Datum
AppRowKeyDatum(const Binding *binding, const char *vibelog_id)
{
	Oid input;
	Oid param;

	getTypeInputInfo(binding->id_type, &input, &param);
	return OidInputFunctionCall(input, (char *) vibelog_id, param, -1);
}

uint64
AppRowRun(const Binding *binding, Statement *statement, const char *sql, const char *vibelog_id)
{
	Args args = {0};

	ArgDatum(&args, binding->id_type, AppRowKeyDatum(binding, vibelog_id), false);
	return StatementRunOnApp(statement, sql, &args, 1);
}

/*----------
 * The caller's row
 *----------
 */
static const char *
CallerName(void)
{
	return quote_identifier(GetUserNameFromId(GetUserId(), false));
}

/* the primary message becomes HTTP's reason phrase: no key in it */
pg_noreturn static void
ReportMissingRow(const Binding *binding, const char *vibelog_id)
{
	if (TableFitHasPolicies(binding, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_VIBEVIDEO_NOT_FOUND),
				 errmsg("there is no row with this key"),
				 errdetail("Table %s has no row with key \"%s\" that role %s may see.", binding->relation, WireShown(vibelog_id), CallerName()),
				 errhint("If it is there, row-level security hides it: no policy for SELECT shows it to this role. A policy that depends on a video_ column no longer shows a row once vibevideo has written that column.")));
	ereport(ERROR,
			(errcode(ERRCODE_VIBEVIDEO_NOT_FOUND),
			 errmsg("there is no row with this key"),
			 errdetail("Table %s has no row with key \"%s\".", binding->relation, WireShown(vibelog_id)),
			 errhint("The row must have been committed, or inserted by this transaction.")));
}

pg_noreturn static void
ReportPolicy(const Binding *binding, const char *vibelog_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("row-level security of table %s does not let this row be updated", binding->relation),
			 errdetail("Role %s may see the row with key \"%s\", but not update it, which is what requesting or cancelling its video takes.",
					   CallerName(), WireShown(vibelog_id)),
			 errhint("If it should, give the table a policy FOR UPDATE whose USING expression is true for this row.")));
}

pg_noreturn static void
ReportLocked(const Binding *binding, const char *vibelog_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("row \"%s\" of table %s is locked by another transaction", WireShown(vibelog_id), binding->relation),
			 errdetail("It was waited for as long as lock_timeout allows, which is %s.", GetConfigOptionByName("lock_timeout", NULL, false)),
			 errhint("Try again when that transaction has ended; pg_stat_activity shows it.")));
}

/* PostgreSQL would say so of a statement of ours. */
static void
RequirePoliciesAllowed(const Binding *binding)
{
	if (!row_security && TableFitHasPolicies(binding, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row_security is off, and row-level security of table %s applies to role %s", binding->relation, CallerName()),
				 errhint("SET row_security = on;")));
}

/*
 * The key is read back from the row: with some collations 'ABC' finds 'abc', and
 * must not become a separate job.
 *
 * With any locking clause, even the weakest, RLS applies the UPDATE policies as
 * well.  FOR KEY SHARE does not conflict with our own writes to that row, so a
 * job is always locked before the app's row, and there is no deadlock.
 */
static Statement see_row;
static Statement check_row;

static bool
FindRow(const Binding *binding, const char *vibelog_id, bool lock)
{
	char *sql = psprintf("SELECT %s::pg_catalog.text FROM %s WHERE %s OPERATOR(pg_catalog.=) $1%s",
						 binding->id_column, binding->relation, binding->id_column,
						 lock ? " FOR KEY SHARE" : "");

	return AppRowRun(binding, lock ? &check_row : &see_row, sql, vibelog_id) > 0;
}

/* The same, locked: it waits for whoever has deleted it, changed its key, or locked it FOR UPDATE. */
static bool
LockRow(const Binding *binding, const char *vibelog_id)
{
	MemoryContext mcxt = CurrentMemoryContext;
	volatile bool found = false;

	PG_TRY();
	{
		found = FindRow(binding, vibelog_id, true);
	}
	PG_CATCH();
	{
		if (geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE)
		{
			MemoryContextSwitchTo(mcxt);
			FlushErrorState();
			ReportLocked(binding, vibelog_id);
		}
		OwnErrorReword(mcxt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return found;
}

pg_noreturn static void
ReportNoRow(const Binding *binding, const char *vibelog_id, bool lock)
{
	if (lock && TableFitHasPolicies(binding, GetUserId()) && FindRow(binding, vibelog_id, false))
		ReportPolicy(binding, vibelog_id);
	ReportMissingRow(binding, vibelog_id);
}

char *
AppRowCheck(const Binding *binding, const char *vibelog_id, bool lock)
{
	char *key;

	TableFitKey(binding);
	TableFitCaller(binding, lock);
	RequirePoliciesAllowed(binding);
	if (!(lock ? LockRow(binding, vibelog_id) : FindRow(binding, vibelog_id, false)))
		ReportNoRow(binding, vibelog_id, lock);
	key = ResultKeepText(0, 1);
	SPI_freetuptable(SPI_tuptable);
	return key;
}

static Statement read_bears;

void
AppRowsBear(const Binding *binding, char **vibelog_ids, int n, char **bears)
{
	char *sql = psprintf("SELECT x.nth, " BEARS("t") " FROM ROWS FROM (pg_catalog.unnest($1)) WITH ORDINALITY AS x(key, nth)"
													 " JOIN %s t ON t.%s OPERATOR(pg_catalog.=) x.key",
						 binding->relation, binding->id_column);
	ArrayColumn keys = ArrayColumnNew(n);
	Args args = {0};
	Identity saved;
	uint64 found;

	TableFitRow(binding);
	for (int i = 0; i < n; i++)
		keys.values[i] = AppRowKeyDatum(binding, vibelog_ids[i]);
	ArgArray(&args, keys, n, binding->id_type);
	IdentityBecomeTableOwner(binding->owner, &saved);
	found = StatementRunOnApp(&read_bears, sql, &args, 0);
	IdentityResume(&saved);
	memset(bears, 0, sizeof(char *) * n);
	for (uint64 i = 0; i < found; i++)
		bears[ResultInt(i, 1, 1) - 1] = ResultText(i, 2);
	SPI_freetuptable(SPI_tuptable);
}

static Statement read_shown;

void
AppRowsShow(const Binding *binding, char **request_ids, int n, bool *shown)
{
	char *sql = psprintf("SELECT x.nth FROM ROWS FROM (pg_catalog.unnest($1)) WITH ORDINALITY AS x(request_id, nth)"
						 " WHERE EXISTS (SELECT FROM %s t WHERE t.video_request_id OPERATOR(pg_catalog.=) x.request_id)",
						 binding->relation);
	Args args = {0};
	Identity saved;
	uint64 found;

	TableFitRow(binding);
	/* what policies hide would pass for gone */
	if (TableFitHasPolicies(binding, binding->owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("row-level security of table %s is forced on its owner", binding->relation)));
	ArgTexts(&args, request_ids, n);
	IdentityBecomeTableOwner(binding->owner, &saved);
	found = StatementRunOnApp(&read_shown, sql, &args, 0);
	IdentityResume(&saved);
	memset(shown, 0, sizeof(bool) * n);
	for (uint64 i = 0; i < found; i++)
		shown[ResultInt(i, 1, 1) - 1] = true;
	SPI_freetuptable(SPI_tuptable);
}

static Statement read_home;

char *
AppRowReadHome(const Binding *binding, const char *request_id)
{
	char *sql = psprintf("SELECT t.%s::pg_catalog.text FROM %s t WHERE t.video_request_id OPERATOR(pg_catalog.=) $1 LIMIT 2",
						 binding->id_column, binding->relation);
	Args args = {0};

	ArgText(&args, request_id);
	return StatementRunOnApp(&read_home, sql, &args, 0) == 1 ? ResultText(0, 1) : NULL;
}

char *
AppRowHome(const Binding *binding, const char *request_id)
{
	Identity saved;
	char *home;

	IdentityBecomeTableOwner(binding->owner, &saved);
	home = AppRowReadHome(binding, request_id);
	IdentityResume(&saved);
	return home;
}

/* a column of row t */
static char *
TextOf(const char *column)
{
	return column ? psprintf("t.%s::pg_catalog.text", column) : "NULL::pg_catalog.text";
}

/* The model's input: from the app's input function, or from two columns. */
char *
AppRowInputSql(const Binding *binding)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (binding->input_function)
		appendStringInfo(&sql, "SELECT %s(t)::pg_catalog.text", binding->input_function);
	else if (binding->image_column)
		appendStringInfo(&sql,
						 "SELECT (pg_catalog.jsonb_build_object('prompt', t.%s::pg_catalog.text)"
						 " OPERATOR(pg_catalog.||) CASE WHEN t.%s::pg_catalog.text OPERATOR(pg_catalog.<>) ''"
						 " THEN pg_catalog.jsonb_build_object('image_url', t.%s::pg_catalog.text)"
						 " ELSE '{}' END)::pg_catalog.text",
						 binding->prompt_column, binding->image_column, binding->image_column);
	else
		appendStringInfo(&sql,
						 "SELECT pg_catalog.jsonb_build_object('prompt', t.%s::pg_catalog.text)::pg_catalog.text",
						 binding->prompt_column);
	appendStringInfoString(&sql, ", " BEARS("t"));
	appendStringInfo(&sql, ", %s", TextOf(binding->user_column));
	/* more than a model's name can have is not one */
	appendStringInfo(&sql, ", pg_catalog.left(%s, %d)", TextOf(binding->model_column), FAL_PATH_SIZE);
	appendStringInfo(&sql, ", NULLIF(%s, '')", TextOf(binding->tenant_column));
	appendStringInfo(&sql, " FROM %s t WHERE t.%s OPERATOR(pg_catalog.=) $1",
					 binding->relation, binding->id_column);
	return sql.data;
}

/* The caller sees it, and has it locked. */
pg_noreturn static void
ReportHiddenFromOwner(const Binding *binding, const char *vibelog_id)
{
	if (!TableFitHasPolicies(binding, binding->owner))
		ReportMissingRow(binding, vibelog_id);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("owner of table %s cannot see row \"%s\"", binding->relation, WireShown(vibelog_id)),
			 errdetail("Row-level security is forced on the owner."),
			 errhint("Give the owner a policy, or run ALTER TABLE ... NO FORCE ROW LEVEL SECURITY.")));
}

static Statement read_input;

void
AppRowReadInput(const Binding *binding, const char *sql, JobNew *job)
{
	char *user;

	if (AppRowRun(binding, &read_input, sql, job->vibelog_id) == 0)
		ReportHiddenFromOwner(binding, job->vibelog_id);
	job->input = ResultKeepText(0, 1);
	job->bears = ResultKeepText(0, 2);
	user = ResultKeepText(0, 3);
	job->model = ResultKeepText(0, 4);
	job->tenant = ResultKeepText(0, 5);
	if (user)
		job->user = user;
	SPI_freetuptable(SPI_tuptable);
	if (job->input == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input function %s returned null for row \"%s\"",
						binding->input_function ? binding->input_function : "", WireShown(job->vibelog_id))));
	if (strlen(job->input) > MAX_INPUT_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input for row \"%s\" is larger than %d bytes", WireShown(job->vibelog_id), MAX_INPUT_BYTES),
				 errhint("Pass images and other media by URL.")));
}
