/*
 * binding.c
 *	  The app's table, and whether this database may act on its jobs.
 *
 * Two databases must not act on the same jobs, or both would pay.  The binding
 * remembers system identifier, database oid and timeline of the one they belong
 * to.  BindingMayAct compares them in each transaction of worker and poll,
 * BindingRequire in each call that acts.  A difference means a copy, which is
 * paused until vibevideo.resume() writes the new identity, and takes nothing.
 * What vibevideo.pause() pauses takes calls, and works on them afterwards.  The exception is a promotion: only the timeline has changed, and
 * this server was started with standby.signal.  The worker then adopts the
 * timeline; calls do not wait for it.
 *
 * Two kinds of copy have the identity of their original: a base backup that is
 * started beside it, see cluster.c; and a dump restored over its own database,
 * where the trigger binding_copied recognises a binding that attach has not just
 * created.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "binding.h"
#include "guc.h"
#include "ownerror.h"
#include "shmem.h"
#include "statement.h"
#include "version.h"

/*----------
 * Reading it
 *----------
 */
static char *
Quoted(const char *name)
{
	return name ? KeepText(quote_identifier(name)) : NULL;
}

/* Owner and name as they are now; false if the table is gone. */
static bool
LookUpRelation(Binding *binding)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(binding->relid));
	char *schema;
	char *name;

	if (!HeapTupleIsValid(tuple))
		return false;
	binding->owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	schema = get_namespace_name(((Form_pg_class) GETSTRUCT(tuple))->relnamespace);
	name = schema ? quote_qualified_identifier(schema, NameStr(((Form_pg_class) GETSTRUCT(tuple))->relname)) : NULL;
	ReleaseSysCache(tuple);
	if (name == NULL)
		return false;
	binding->relation = KeepText(name);
	return true;
}

static Statement read_binding = {
	"SELECT b.relation::oid, b.id_type::oid, b.id_column, b.prompt_column, b.image_column, b.input_function, b.model,"
	" b.build_index, b.paused, b.system_identifier, b.database_oid, b.timeline, b.user_column, b.realtime, b.pause_scope,"
	" b.model_column, b.tenant_column, b.meta_column"
	" FROM vibevideo.binding b"};

bool
BindingLoad(Binding *binding)
{
	memset(binding, 0, sizeof(*binding));
	VersionCheck();
	if (StatementRun(&read_binding, NULL) == 0)
		return false;
	binding->relid = ResultOid(0, 1);
	binding->id_type = ResultOid(0, 2);
	binding->key_name = ResultKeepText(0, 3);
	binding->prompt_name = ResultKeepText(0, 4);
	binding->image_name = ResultKeepText(0, 5);
	binding->input_function = ResultKeepText(0, 6);
	binding->model = ResultKeepText(0, 7);
	if (binding->model == NULL)
		binding->model = KeepText(vv_model);
	binding->build_index = ResultBool(0, 8);
	binding->paused = ResultBool(0, 9);
	binding->system_identifier = ResultInt(0, 10, 0);
	binding->database_oid = ResultOid(0, 11);
	binding->timeline = (int) ResultInt(0, 12, 0);
	binding->user_name = ResultKeepText(0, 13);
	binding->realtime = ResultBool(0, 14);
	binding->pause_scope = ResultKeepText(0, 15);
	binding->model_column_name = ResultKeepText(0, 16);
	binding->tenant_name = ResultKeepText(0, 17);
	binding->meta_name = ResultKeepText(0, 18);
	binding->id_column = Quoted(binding->key_name);
	binding->prompt_column = Quoted(binding->prompt_name);
	binding->image_column = Quoted(binding->image_name);
	binding->user_column = Quoted(binding->user_name);
	binding->tenant_column = Quoted(binding->tenant_name);
	binding->model_column = Quoted(binding->model_column_name);
	binding->meta_column = Quoted(binding->meta_name);
	return LookUpRelation(binding);
}

bool
BindingIsGone(const Binding *binding)
{
	return OidIsValid(binding->relid) && binding->relation == NULL;
}

/*----------
 * Pausing
 *----------
 */
static bool
IsOtherDatabase(const Binding *binding)
{
	return binding->system_identifier != (int64) ShmemClusterIdentifier() || binding->database_oid != MyDatabaseId;
}

static bool
HasOtherTimeline(const Binding *binding)
{
	/* a standby has no timeline of its own, and cannot submit either */
	return !RecoveryInProgress() && binding->timeline != (int) GetWALInsertionTimeLine();
}

/* Paused by nobody: as a copy, or by an UPDATE. */
static bool
IsPausedAsCopy(const Binding *binding)
{
	return binding->paused && binding->pause_scope == NULL;
}

static bool
IsCopy(const Binding *binding)
{
	return IsPausedAsCopy(binding) || IsOtherDatabase(binding) || HasOtherTimeline(binding);
}

/*
 * A promoted standby continues: this server was started as a standby, and the
 * old primary is gone, or was fenced by whoever promoted this one.  Any other
 * change of identity means a copy, and two copies must not both pay.
 */
static bool
IsPromoted(const Binding *binding)
{
	return !IsPausedAsCopy(binding) && !IsOtherDatabase(binding) && ShmemStartedAsStandby() && HasOtherTimeline(binding);
}

void
BindingRequire(Binding *binding, bool to_act)
{
	(void) BindingLoad(binding);
	if (BindingIsGone(binding))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table that was attached to vibevideo no longer exists"),
				 errhint("Attach another one with SELECT vibevideo.attach('schema.table').")));
	if (!OidIsValid(binding->relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no table is attached to vibevideo"),
				 errhint("Attach the app's table, for example with SELECT vibevideo.attach('public.vibelogs').")));
	if (to_act)
		BindingRequireToAct(binding);
}

static Statement read_cause = {
	"SELECT vibevideo_internal.pause_cause(b) FROM vibevideo.binding b"};

/* begins a sentence */
static char *
ReadCause(void)
{
	char *cause = StatementRun(&read_cause, NULL) > 0 ? ResultText(0, 1) : NULL;

	/* between the two somebody may have resumed */
	if (cause == NULL)
		return pstrdup("It was when this call began");
	cause[0] = pg_toupper((unsigned char) cause[0]);
	return cause;
}

void
BindingRequireToAct(const Binding *binding)
{
	if (OidIsValid(binding->relid) && IsCopy(binding) && !IsPromoted(binding))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("vibevideo is paused in this database"),
				 errdetail("%s.", ReadCause()),
				 errhint("Call vibevideo.resume() in the database that should continue with the jobs.")));
}

/* one that somebody holds is asked again next time, and answers the same */
#define FREE_BINDING "b.only_one = ANY (ARRAY(SELECT k.only_one FROM vibevideo.binding k FOR NO KEY UPDATE SKIP LOCKED))"

static Statement note_timeline = {
	"UPDATE vibevideo.binding b SET timeline = $1 WHERE " FREE_BINDING};

static void
NoteTimeline(Binding *binding)
{
	Args args = {0};

	binding->timeline = (int) GetWALInsertionTimeLine();
	ArgInt4(&args, binding->timeline);
	StatementRun(&note_timeline, &args);
}

static Statement note_copy = {
	"UPDATE vibevideo.binding b SET paused = true, pause_scope = NULL, paused_by = NULL, paused_at = now(), pause_reason = NULL"
	" WHERE " FREE_BINDING};

static void
NoteCopy(Binding *binding)
{
	StatementRun(&note_copy, NULL);
	binding->paused = true;
	binding->pause_scope = NULL;
	ereport(WARNING,
			(errmsg("vibevideo is paused: this database is a copy of the one its jobs belong to"),
			 errhint("To continue with them here, call vibevideo.resume().")));
}

bool
BindingMayAct(Binding *binding)
{
	if (IsPromoted(binding))
		NoteTimeline(binding);
	else if (IsCopy(binding))
	{
		if (!IsPausedAsCopy(binding))
			NoteCopy(binding);
		return false;
	}
	return !binding->paused || strcmp(binding->pause_scope, "all") != 0;
}

bool
BindingMaySend(const Binding *binding)
{
	return !binding->paused;
}
