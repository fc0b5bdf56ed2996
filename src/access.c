/*
 * access.c
 *	  Who is an operator, and who may look.
 *
 * The operator's functions run as the extension's owner, so the current user
 * says nothing about who has called them.  Judged is the outer role: the one
 * that the session is, or has become by SET ROLE.  No function can change it,
 * SECURITY DEFINER or not: an operator's function lends nobody his rights, and
 * whoever can make an operator run a function of his could do anything with her
 * rights anyway.  The exception is what PostgreSQL, and we, run as a table's
 * owner in a security-restricted operation, inside a session of somebody
 * greater: there, nobody is anybody.
 *
 * A role has the level that vibevideo.grant_access gave it, or a role whose
 * rights it inherits.  The record names the role, and counts only while that
 * role holds a grant that was made with it, of vibevideo_internal.caller(), and goes away
 * with DROP ROLE: another role of the same name gets nothing by it.
 *
 * The claims of a JWT are a setting that any session can set.  They are believed
 * only in sessions of a role that could become service_role, as PostgREST's
 * authenticator can: service_role is an operator, so a forged claim gains nothing.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "access.h"
#include "guc.h"
#include "publicapi.h"
#include "statement.h"
#include "version.h"
#include "wire.h"

PG_FUNCTION_INFO_V1(vibevideo_caller);
PG_FUNCTION_INFO_V1(vibevideo_require);

/* by AccessLevel */
static const char *const level_names[] = {NULL, "viewer", "operator", "owner"};
static const char *const level_words[] = {NULL, "a viewer", "an operator", "the owner"};

/*----------
 * Who calls
 *----------
 */
static const char *
RoleName(Oid role)
{
	const char *name = GetUserNameFromId(role, true);

	return name ? pstrdup(WireShown(name)) : psprintf("role %u", role);
}

static bool
IsApiRole(const char *role)
{
	return strcmp(role, "anon") == 0 || strcmp(role, "authenticated") == 0 || strcmp(role, "service_role") == 0;
}

static bool
CouldBecomeServiceRole(Oid session)
{
	Oid service = get_role_oid("service_role", true);

	return OidIsValid(service) && is_member_of_role(session, service);
}

/* whose JWT it is; NULL if nobody's, or the claims prove nothing */
static char *
BelievedSubject(const char *role)
{
	if (!IsApiRole(role) || !CouldBecomeServiceRole(GetSessionUserId()))
		return NULL;
	return ApiRequestingUser();
}

/* Who, and in which role, if that is another. */
static char *
NameOf(const char *subject, const char *session, const char *role)
{
	const char *who = subject ? pstrdup(WireShown(subject)) : session;

	return strcmp(who, role) == 0 ? pstrdup(who) : psprintf("%s (%s)", who, role);
}

/* clang-format off */
static Statement find_access = {
	"SELECT COALESCE(max(g.level), 0)::int, COALESCE(bool_or(g.see_input), false) FROM ("
	"SELECT 3 AS level, true AS see_input FROM pg_extension e"
	" WHERE e.extname = 'vibevideo' AND pg_has_role($1, e.extowner, 'USAGE')"
	" UNION ALL "
	"SELECT 2, true FROM pg_roles r WHERE r.rolname = 'service_role' AND pg_has_role($1, r.oid, 'USAGE')"
	" UNION ALL "
	"SELECT CASE a.level WHEN 'operator' THEN 2 ELSE 1 END, a.see_input"
	" FROM vibevideo.access a JOIN pg_roles r ON r.rolname = a.role"
	" WHERE pg_has_role($1, r.oid, 'USAGE')"
	" AND EXISTS (SELECT FROM pg_proc p CROSS JOIN aclexplode(p.proacl) x"
	" WHERE p.oid = to_regproc('vibevideo_internal.caller') AND x.grantee = r.oid)"
	" UNION ALL "
	"SELECT CASE o.level WHEN 'operator' THEN 2 ELSE 1 END, o.see_input FROM vibevideo.operator o WHERE o.user_id = $2) g"};
/* clang-format on */

static void
ReadAccess(Oid role, const char *subject, Caller *caller)
{
	Args args = {0};

	ArgDatum(&args, OIDOID, ObjectIdGetDatum(role), false);
	ArgText(&args, subject);
	StatementRun(&find_access, &args);
	caller->level = (AccessLevel) ResultInt(0, 1, 0);
	caller->see_input = ResultBool(0, 2);
}

Caller
AccessCaller(void)
{
	Oid outer = GetOuterUserId();
	const char *role = RoleName(outer);
	char *subject = BelievedSubject(role);
	Caller caller = {NameOf(subject, RoleName(GetSessionUserId()), role), ACCESS_NONE, false, subject};

	if (!InSecurityRestrictedOperation())
		ReadAccess(outer, subject, &caller);
	return caller;
}

/*----------
 * Who may
 *----------
 */
static const char *
HintFor(AccessLevel level)
{
	const char *role = RoleName(GetOuterUserId());

	if (level == ACCESS_OWNER)
		return "Call it as the owner of extension vibevideo, or as a superuser.";
	if (InSecurityRestrictedOperation())
		return "Triggers and other code of a table cannot call it while somebody else's session runs them.";
	if (!IsApiRole(role))
		return psprintf("The owner of extension vibevideo can SELECT vibevideo.grant_access(%s, '%s').",
						quote_literal_cstr(quote_identifier(GetUserNameFromId(GetOuterUserId(), false))), level_names[level]);
	if (!CouldBecomeServiceRole(GetSessionUserId()))
		return "A JWT is believed only in a session of a role that can become service_role, as PostgREST's can.";
	return "The owner of extension vibevideo can add the user to table vibevideo.operator.";
}

Caller
AccessRequire(AccessLevel level)
{
	Caller caller = AccessCaller();
	const char *is;

	if (caller.level >= level)
		return caller;
	is = caller.level == ACCESS_NONE ? "has no access" : psprintf("is %s", level_words[caller.level]);
	ereport(LOG,
			(errmsg("vibevideo refused a call of %s, who %s: it takes %s", caller.name, is, level_words[level])));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be %s of vibevideo", level_words[level]),
			 errdetail("%s %s.", caller.name, is),
			 errhint("%s", HintFor(level))));
}

/* a text that outlives SPI_finish */
static Datum
KeptText(const char *text, bool *isnull)
{
	*isnull = (text == NULL);
	return text ? SPI_datumTransfer(CStringGetTextDatum(text), false, -1) : (Datum) 0;
}

/*----------
 * vibevideo_internal.caller(OUT name text, OUT level text, OUT see_input boolean, OUT user_id text, OUT hint text)
 *----------
 */
Datum
vibevideo_caller(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	Caller caller;
	Datum values[5];
	bool nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "vibevideo: return type must be a row type");
	VersionCheck();
	StatementConnect();
	caller = AccessCaller();
	values[0] = KeptText(caller.name, &nulls[0]);
	values[1] = KeptText(level_names[caller.level], &nulls[1]);
	values[2] = BoolGetDatum(caller.see_input);
	values[3] = KeptText(caller.user_id, &nulls[3]);
	values[4] = KeptText(caller.level == ACCESS_NONE ? HintFor(ACCESS_VIEWER) : NULL, &nulls[4]);
	SPI_finish();
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static AccessLevel
LevelNamed(const char *name)
{
	for (int level = ACCESS_VIEWER; level < lengthof(level_names); level++)
		if (strcmp(name, level_names[level]) == 0)
			return (AccessLevel) level;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized level \"%s\"", name)));
}

/*----------
 * vibevideo_internal.require(level text) returns text
 *
 * The caller's name, or an error.
 *----------
 */
Datum
vibevideo_require(PG_FUNCTION_ARGS)
{
	AccessLevel level = LevelNamed(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	Datum name;

	VersionCheck();
	StatementConnect();
	name = SPI_datumTransfer(CStringGetTextDatum(AccessRequire(level).name), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(name);
}

/*----------
 * Retention of the audit
 *----------
 */
static Statement prune_audit = {
	"DELETE FROM vibevideo.audit a USING (SELECT d.at, d.audit_id FROM vibevideo.audit d WHERE d.at < $1"
	" ORDER BY d.at LIMIT $2 FOR UPDATE OF d SKIP LOCKED) old WHERE a.at = old.at AND a.audit_id = old.audit_id"};

int64
AccessPruneAudit(int max)
{
	Args args = {0};

	if (vv_audit_retention == 0)
		return 0;
	ArgTime(&args, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), -(int64) vv_audit_retention * 1000));
	ArgInt4(&args, max);
	return (int64) StatementRun(&prune_audit, &args);
}
