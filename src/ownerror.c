/*
 * ownerror.c
 *	  Errors of ours on their way to whoever has called us, and our words for
 *	  some of PostgreSQL's.
 *
 * What we refuse may be found out many levels down: by a function in PL/pgSQL,
 * called by a trigger, fired by a statement of ours.  For each level PostgreSQL
 * adds lines to the CONTEXT, with statements that neither the caller nor the
 * reader of the log has written.  So an error of ours that leaves a function or a
 * statement of ours is thrown once more from there: its CONTEXT is then that of
 * the call, which is the caller's own.
 *
 * It leaves by one of two ways, and nothing of ours goes around both:
 *
 * - Our functions in SQL and PL/pgSQL have a SET clause, so PostgreSQL calls
 *	  fmgr_hook when an error ends one.  (Those without one are inlined.)
 * - Statements on our tables are run by statement.c.
 *
 * An error is ours if code of this library has thrown it, which its domain says,
 * or a RAISE right in the function that it leaves.  All others keep their CONTEXT,
 * so that an app's developer finds her trigger in it, and so does what only a
 * mistake of ours can cause (XX000).  A few of PostgreSQL's, about locks and the
 * transaction, are about our statements and not the app's code: these keep their
 * SQLSTATE and get words of ours.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "ownerror.h"

/*----------
 * Whose error
 *----------
 */
static bool
IsOfLibrary(const ErrorData *edata)
{
	return edata->domain && strcmp(edata->domain, OWN_ERROR_DOMAIN) == 0;
}

/* A RAISE of this function: the first line of its CONTEXT names it, in whatever language. */
static bool
IsRaisedBy(const ErrorData *edata, const char *function)
{
	const char *named;

	if (edata->context == NULL || edata->funcname == NULL || strcmp(edata->funcname, "exec_stmt_raise") != 0)
		return false;
	named = strstr(edata->context, function);
	return named && named[strlen(function)] == '(' && memchr(edata->context, '\n', named - edata->context) == NULL;
}

/* function: the one that it leaves, or NULL */
static bool
IsOurs(const ErrorData *edata, const char *function)
{
	if (ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_INTERNAL_ERROR)
		return false;
	return IsOfLibrary(edata) || (function && IsRaisedBy(edata, function));
}

bool
OwnErrorIsTimeout(const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_QUERY_CANCELED && edata->message_id &&
		strcmp(edata->message_id, "canceling statement due to statement timeout") == 0;
}

/*----------
 * Our words
 *----------
 */
pg_noreturn static void
ReportReadOnly(const char *call)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s during recovery", call),
				 errdetail("It writes, and this server is a standby. Nothing was sent or changed."),
				 errhint("Connect to the primary.")));
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("cannot execute %s in a read-only transaction", call),
			 errdetail("It writes. Nothing was sent or changed."),
			 errhint("Through PostgREST call it by POST, since GET is read-only. In SQL use a READ WRITE transaction; default_transaction_read_only decides what it is by default.")));
}

void
OwnErrorIfReadOnly(const char *call)
{
	if (XactReadOnly)
		ReportReadOnly(call);
}

/* with its unit */
static const char *
Setting(const char *name)
{
	return GetConfigOptionByName(name, NULL, false);
}

/* Functions for the owner work with their caller's rights: somebody has been given EXECUTE, and nothing else. */
static bool
LacksRights(const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && edata->message_id &&
		strncmp(edata->message_id, "permission denied for ", strlen("permission denied for ")) == 0;
}

pg_noreturn static void
ReportNotOwner(const char *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be the owner of vibevideo to call %s", call),
			 errdetail("It works with the rights of its caller."),
			 errhint("Call it as the owner of extension vibevideo, or as a superuser; EXECUTE on it is not enough.")));
}

static void
SayLocked(ErrorData *edata)
{
	edata->message = "another transaction holds a lock that vibevideo needs";
	if (LockTimeout > 0)
		edata->detail = psprintf("It was waited for as long as lock_timeout allows, which is %s.", Setting("lock_timeout"));
	edata->hint = "Try again when that transaction has ended; pg_stat_activity shows it.";
}

/* PostgreSQL has said what, but not to whom, and what to do */
static void
SayAgain(ErrorData *edata)
{
	if (edata->detail == NULL)
		edata->detail = "Another transaction has changed something of vibevideo's that this transaction sees as it was before.";
	edata->hint = "Run the whole transaction again.";
}

static int
HintForTimeout(const char *setting, int ms)
{
	const char *timeout = Setting("statement_timeout");

	if (StatementTimeout > ms)
		return errhint("Set statement_timeout, which is %s, to more, or make fewer calls in one statement.", timeout);
	return errhint("Set statement_timeout, which is %s, to more than %s, which is %s.", timeout, setting, Setting(setting));
}

/* false if there are none; of a cancel only our statement goes */
static bool
SayOurWords(ErrorData *edata)
{
	switch (edata->sqlerrcode)
	{
		case ERRCODE_LOCK_NOT_AVAILABLE:
			SayLocked(edata);
			return true;
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
		case ERRCODE_T_R_DEADLOCK_DETECTED:
			SayAgain(edata);
			return true;
		case ERRCODE_QUERY_CANCELED:
			return true;
		default:
			return false;
	}
}

/*----------
 * Leaving
 *----------
 */
typedef struct Exit
{
	const char *function; /* of ours that the error leaves; NULL: a statement */
	bool is_public;		  /* one that people call */
	bool runs_apps_code;  /* a statement on the app's table */
} Exit;

/* What PL/pgSQL or PostgreSQL has thrown is this library's from here on, so that the next exit knows it. */
pg_noreturn static void
ThrowFromHere(ErrorData *edata)
{
	if (!IsOfLibrary(edata))
	{
		edata->domain = OWN_ERROR_DOMAIN;
		edata->filename = "ownerror.c";
		edata->lineno = __LINE__;
		edata->funcname = __func__;
	}
	FlushErrorState();
	edata->context = GetErrorContextStack();
	ReThrowError(edata);
}

/* What can only be said with the name of what was called. */
static void
LeavePublic(const char *function, const ErrorData *edata)
{
	if (edata->sqlerrcode == ERRCODE_READ_ONLY_SQL_TRANSACTION)
	{
		FlushErrorState();
		ReportReadOnly(function);
	}
	if (LacksRights(edata) && !IsOfLibrary(edata))
	{
		FlushErrorState();
		ReportNotOwner(function);
	}
}

static void
Leave(const Exit *from, MemoryContext mcxt)
{
	MemoryContext outer = MemoryContextSwitchTo(mcxt);
	ErrorData *edata = CopyErrorData();

	if (from->is_public)
		LeavePublic(from->function, edata);
	if (IsOurs(edata, from->function) ? !from->runs_apps_code : SayOurWords(edata))
		ThrowFromHere(edata);
	FreeErrorData(edata);
	MemoryContextSwitchTo(outer);
}

void
OwnErrorLeave(MemoryContext mcxt)
{
	Leave(&(Exit){NULL}, mcxt);
}

void
OwnErrorReword(MemoryContext mcxt)
{
	Leave(&(Exit){NULL, .runs_apps_code = true}, mcxt);
}

void
OwnErrorIfCancelled(MemoryContext mcxt, const char *call, const char *detail, const char *setting, int ms)
{
	MemoryContext outer = MemoryContextSwitchTo(mcxt);
	ErrorData *edata = CopyErrorData();

	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 OwnErrorIsTimeout(edata) ? errmsg("canceling %s due to statement timeout", call)
										  : errmsg("canceling %s due to user request", call),
				 errdetail("%s", detail),
				 OwnErrorIsTimeout(edata) ? HintForTimeout(setting, ms) : 0));
	}
	FreeErrorData(edata);
	MemoryContextSwitchTo(outer);
}

/*----------
 * Out of functions
 *
 * PostgreSQL keeps a value of ours with each place that calls a function that has
 * a SET clause or is SECURITY DEFINER, whosever it is.
 *----------
 */
static fmgr_hook_type next_hook = NULL;

typedef struct Place
{
	Exit exit;	/* exit.function is NULL if the function is none of ours */
	Datum next; /* the next hook's own value */
} Place;

/* Its name as callers write it, NULL if it is none of ours; in schema public an app may have some that are named like ours. */
static char *
NameOfOurs(Oid function)
{
	char *schema = get_namespace_name(get_func_namespace(function));
	char *name = get_func_name(function);

	if (schema == NULL || name == NULL)
		return NULL;
	if (strcmp(schema, "vibevideo") == 0 || strcmp(schema, "vibevideo_internal") == 0)
		return psprintf("%s.%s", schema, name);
	if (strcmp(schema, "public") == 0 && strncmp(name, "vibevideo_", strlen("vibevideo_")) == 0 &&
		getExtensionOfObject(ProcedureRelationId, function) == get_extension_oid("vibevideo", true))
		return name;
	return NULL;
}

static Place *
MakePlace(const FmgrInfo *flinfo)
{
	Place *place = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(Place));
	char *name = NameOfOurs(flinfo->fn_oid);

	if (name)
	{
		place->exit.function = MemoryContextStrdup(flinfo->fn_mcxt, name);
		place->exit.is_public = (strncmp(name, "vibevideo_internal.", strlen("vibevideo_internal.")) != 0);
	}
	return place;
}

static void
OnFunction(FmgrHookEventType event, FmgrInfo *flinfo, Datum *value)
{
	Place *place = (Place *) DatumGetPointer(*value);

	if (place == NULL)
	{
		place = MakePlace(flinfo);
		*value = PointerGetDatum(place);
	}
	if (next_hook)
		next_hook(event, flinfo, &place->next);
	if (event == FHET_ABORT && place->exit.function)
		Leave(&place->exit, CurTransactionContext);
}

void
OwnErrorInit(void)
{
	next_hook = fmgr_hook;
	fmgr_hook = OnFunction;
}
