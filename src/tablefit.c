/*
 * tablefit.c
 *	  Whether the app's table still fits what it was attached with: columns,
 *	  their types, the rights of its owner.
 *
 * vibevideo_internal.column_faults and owner_lacks are the same for attach and
 * check_config.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "compat.h"
#include "ownerror.h"
#include "tablefit.h"

/* What vibevideo writes. */
static const struct
{
	const char *name;
	Oid type;
} written[] = {
	{"video_generation_status", TEXTOID},
	{"video_request_id", TEXTOID},
	{"video_url", TEXTOID},
	{"video_generated_at", TIMESTAMPTZOID},
	{"video_generation_error", TEXTOID},
};

/*----------
 * Columns
 *----------
 */

/* InvalidOid if there is no such column */
static Oid
ColumnType(const Binding *binding, const char *column, AttrNumber *number)
{
	HeapTuple tuple = SearchSysCacheAttName(binding->relid, column);
	Oid type;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	type = ((Form_pg_attribute) GETSTRUCT(tuple))->atttypid;
	if (number)
		*number = ((Form_pg_attribute) GETSTRUCT(tuple))->attnum;
	ReleaseSysCache(tuple);
	return type;
}

/* The type of a column that attach's argument option named; ERROR if the column is gone. */
static Oid
RequireColumn(const Binding *binding, const char *column, const char *option)
{
	Oid type = ColumnType(binding, column, NULL);

	if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s has no column \"%s\" any more", binding->relation, column),
				 errdetail("It is the %s that the table was attached with.", option),
				 errhint("If it was renamed, attach the table again: SELECT vibevideo.attach(%s, %s => '...').",
						 quote_literal_cstr(binding->relation), option)));
	return type;
}

pg_noreturn static void
RefuseType(const Binding *binding, const char *column, Oid type, const char *option, Oid wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("column \"%s\" of %s has type %s now", column, binding->relation, format_type_be(type)),
			 errdetail("It is the %s that the table was attached with, and should be of a type like %s.", option,
					   format_type_be(wanted)),
			 errhint("Attach the table again, after its column has been changed back or with another one: SELECT vibevideo.attach(%s, %s => '...').",
					 quote_literal_cstr(binding->relation), option)));
}

static bool
IsString(Oid type)
{
	char category;
	bool preferred;

	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_STRING;
}

static void
RequireString(const Binding *binding, const char *column, const char *option)
{
	Oid type = RequireColumn(binding, column, option);

	if (!IsString(type))
		RefuseType(binding, column, type, option, TEXTOID);
}

/* of a model: a text, or one of a list of them */
static void
RequireModel(const Binding *binding, const char *column, const char *option)
{
	Oid type = RequireColumn(binding, column, option);

	if (!IsString(type) && !type_is_enum(getBaseType(type)))
		RefuseType(binding, column, type, option, TEXTOID);
}

static bool
IsDocument(Oid type)
{
	return type == JSONOID || type == JSONBOID || type == BYTEAOID;
}

/* of a user: limits and costs go by its text */
static void
RequireName(const Binding *binding, const char *column, const char *option)
{
	Oid type = RequireColumn(binding, column, option);
	char category;
	bool preferred;

	get_type_category_preferred(type, &category, &preferred);
	if (category == TYPCATEGORY_ARRAY || category == TYPCATEGORY_COMPOSITE || IsDocument(getBaseType(type)))
		RefuseType(binding, column, type, option, UUIDOID);
}

/* of what is known of a video, if the table has one */
static void
RequireMeta(const Binding *binding)
{
	Oid type;

	if (binding->meta_name == NULL)
		return;
	type = RequireColumn(binding, binding->meta_name, "meta_column");
	if (getBaseType(type) != JSONBOID)
		RefuseType(binding, binding->meta_name, type, "meta_column", JSONBOID);
	if (get_attgenerated(binding->relid, get_attnum(binding->relid, binding->meta_name)) != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("column \"%s\" of %s is generated now", binding->meta_name, binding->relation),
				 errdetail("It is the meta_column that the table was attached with, which vibevideo writes."),
				 errhint("Attach the table again with another column, or with none: SELECT vibevideo.attach(%s, meta_column => '').",
						 quote_literal_cstr(binding->relation))));
}

static bool
IsInteger(Oid type)
{
	return type == INT4OID || type == INT8OID;
}

/* Between integers the functions find their rows as before. */
void
TableFitKey(const Binding *binding)
{
	Oid type = RequireColumn(binding, binding->key_name, "id_column");

	if (type != binding->id_type && !(IsInteger(type) && IsInteger(binding->id_type)))
		RefuseType(binding, binding->key_name, type, "id_column", binding->id_type);
}

pg_noreturn static void
RefuseGenerated(const Binding *binding, const char *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("column \"%s\" of %s is generated now", column, binding->relation),
			 errdetail("vibevideo writes it, and could not tell what becomes of a video."),
			 errhint("Give the generated column another name, then attach the table again, which adds an ordinary one: SELECT vibevideo.attach(%s).",
					 quote_literal_cstr(binding->relation))));
}

static void
RequireWritten(const Binding *binding)
{
	for (int i = 0; i < lengthof(written); i++)
	{
		AttrNumber number;
		Oid type = ColumnType(binding, written[i].name, &number);

		if (OidIsValid(type) && get_attgenerated(binding->relid, number) != '\0')
			RefuseGenerated(binding, written[i].name);

		/* a domain of the app's may refuse a value: that is the row's own trouble */
		if (OidIsValid(type))
			type = getBaseType(type);
		if (type == written[i].type || (type == VARCHAROID && written[i].type == TEXTOID))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s has no column \"%s\" of type %s any more", binding->relation, written[i].name,
						format_type_be(written[i].type)),
				 errdetail("vibevideo writes it, and could not tell what becomes of a video."),
				 errhint("Attach the table again, which adds it: SELECT vibevideo.attach(%s).",
						 quote_literal_cstr(binding->relation))));
	}
}

/*----------
 * The input function
 *----------
 */

/* Of this name, for the table's rows, returning jsonb; InvalidOid if there is none any more. */
static Oid
InputFunction(const Binding *binding)
{
	List *names;
	Oid row_type = get_rel_type_id(binding->relid);
	Oid schema;
	Oid function;

	if (!SplitIdentifierString(pstrdup(binding->input_function), '.', &names) || list_length(names) != 2)
		return InvalidOid;
	schema = get_namespace_oid(linitial(names), true);
	function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(lsecond(names)),
							   PointerGetDatum(buildoidvector(&row_type, 1)), ObjectIdGetDatum(schema));
	return OidIsValid(function) && get_func_rettype(function) == JSONBOID ? function : InvalidOid;
}

static Oid
RequireFunction(const Binding *binding)
{
	Oid function = InputFunction(binding);

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no function %s(%s) returning jsonb any more", binding->input_function,
						binding->relation),
				 errdetail("It is the input_function that the table was attached with."),
				 errhint("Create it again, or attach the table again: SELECT vibevideo.attach(%s, input_function => '...').",
						 quote_literal_cstr(binding->relation))));
	return function;
}

/*----------
 * Rights
 *----------
 */

/* On the table, or on the column itself. */
static bool
OwnerMay(const Binding *binding, AclMode right, const char *column)
{
	AttrNumber number;

	return column == NULL || !OidIsValid(ColumnType(binding, column, &number)) ||
		pg_attribute_aclcheck(binding->relid, number, binding->owner, right) == ACLCHECK_OK;
}

static bool
OwnerMayRead(const Binding *binding)
{
	const char *read[] = {binding->key_name, binding->prompt_name, binding->image_name, binding->user_name, binding->tenant_name, binding->model_column_name,
						  binding->meta_name};
	bool may = true;

	if (pg_class_aclcheck(binding->relid, binding->owner, ACL_SELECT) == ACLCHECK_OK)
		return true;
	/* a function is given the whole row */
	if (binding->input_function)
		return pg_attribute_aclcheck_all(binding->relid, binding->owner, ACL_SELECT, ACLMASK_ALL) == ACLCHECK_OK;
	for (int i = 0; i < lengthof(read); i++)
		may = may && OwnerMay(binding, ACL_SELECT, read[i]);
	for (int i = 0; i < lengthof(written); i++)
		may = may && OwnerMay(binding, ACL_SELECT, written[i].name);
	return may;
}

static bool
OwnerMayWrite(const Binding *binding)
{
	bool may = true;

	if (pg_class_aclcheck(binding->relid, binding->owner, ACL_UPDATE) == ACLCHECK_OK)
		return true;
	for (int i = 0; i < lengthof(written); i++)
		may = may && OwnerMay(binding, ACL_UPDATE, written[i].name);
	return may && OwnerMay(binding, ACL_UPDATE, binding->meta_name);
}

/* NULL if the owner may use it */
static const char *
LacksSchema(const Binding *binding, Oid schema)
{
	if (CompatNamespaceAclCheck(schema, binding->owner) == ACLCHECK_OK)
		return NULL;
	return psprintf("USAGE ON SCHEMA %s", quote_identifier(get_namespace_name(schema)));
}

static const char *
LacksFunction(const Binding *binding, Oid function)
{
	const char *schema = LacksSchema(binding, get_func_namespace(function));

	if (schema || CompatProcAclCheck(function, binding->owner) == ACLCHECK_OK)
		return schema;
	return psprintf("EXECUTE ON FUNCTION %s", format_procedure_qualified(function));
}

/* What GRANT would have to give the table's owner, NULL if nothing: to read rows ... */
static const char *
LacksToRead(const Binding *binding)
{
	const char *schema = LacksSchema(binding, get_rel_namespace(binding->relid));

	if (schema || OwnerMayRead(binding))
		return schema;
	return psprintf("SELECT ON %s", binding->relation);
}

/* ... and to make videos of them. */
static const char *
LacksToSubmit(const Binding *binding, Oid function)
{
	const char *read = LacksToRead(binding);

	if (read)
		return read;
	if (!OwnerMayWrite(binding))
		return psprintf("UPDATE ON %s", binding->relation);
	return OidIsValid(function) ? LacksFunction(binding, function) : NULL;
}

/* ERROR unless the owner lacks nothing */
static void
RequireRights(const Binding *binding, const char *what)
{
	const char *owner;

	if (what == NULL)
		return;
	owner = GetUserNameFromId(binding->owner, false);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the owner of %s, %s, lacks rights", binding->relation, quote_identifier(owner)),
			 errdetail("Rows are read and written as the table's owner; nothing was sent."),
			 errhint("GRANT %s TO %s;", what, quote_identifier(owner))));
}

bool
TableFitHasPolicies(const Binding *binding, Oid role)
{
	return check_enable_rls(binding->relid, role, true) == RLS_ENABLED;
}

static bool
CallerMaySelectKey(const Binding *binding)
{
	AttrNumber key;

	return pg_class_aclcheck(binding->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		(OidIsValid(ColumnType(binding, binding->key_name, &key)) &&
		 pg_attribute_aclcheck(binding->relid, key, GetUserId(), ACL_SELECT) == ACLCHECK_OK);
}

/* To lock a row SQL demands the right to update any column of it. */
static bool
CallerMayUpdate(const Binding *binding)
{
	return pg_class_aclcheck(binding->relid, GetUserId(), ACL_UPDATE) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(binding->relid, GetUserId(), ACL_UPDATE, ACLMASK_ANY) == ACLCHECK_OK;
}

/* The least that makes up for what is lacking: with UPDATE on the table a user could write what vibevideo writes. */
static const char *
GrantForCaller(const Binding *binding, bool may_select, bool may_update)
{
	const char *select = may_select ? "" : psprintf("SELECT (%s)", binding->id_column);
	const char *and = may_select || may_update ? "" : ", ";
	const char *update = may_update ? "" : "UPDATE";

	if (!may_update && OidIsValid(ColumnType(binding, binding->prompt_name, NULL)))
		update = psprintf("UPDATE (%s)", binding->prompt_column);
	return psprintf("%s%s%s", select, and, update);
}

static int
DetailForCaller(const Binding *binding, const char *caller, bool may_select, bool may_update)
{
	if (may_select)
		return errdetail("Role %s lacks UPDATE on the table, or on any column of it.", caller);
	if (may_update)
		return errdetail("Role %s lacks SELECT on column %s.", caller, binding->id_column);
	return errdetail("Role %s lacks SELECT on column %s, and UPDATE on the table, or on any column of it.", caller, binding->id_column);
}

/* Without row-level security such a right is one on all rows. */
static int
HintForCaller(const Binding *binding, const char *caller, const char *rights)
{
	if (TableFitHasPolicies(binding, GetUserId()))
		return errhint("GRANT %s ON %s TO %s; its policies decide for which rows.", rights, binding->relation, caller);
	return errhint("GRANT %s ON %s TO %s; that is for all rows, since no row-level security of the table applies to this role.",
				   rights, binding->relation, caller);
}

static void
RequireCallerMay(const Binding *binding, bool to_update)
{
	bool may_select = CallerMaySelectKey(binding);
	bool may_update = !to_update || CallerMayUpdate(binding);
	const char *caller;

	if (may_select && may_update)
		return;
	caller = quote_identifier(GetUserNameFromId(GetUserId(), false));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for table %s", binding->relation),
			 DetailForCaller(binding, caller, may_select, may_update),
			 HintForCaller(binding, caller, GrantForCaller(binding, may_select, may_update))));
}

static void
RequireCallerMayUse(const Binding *binding, Oid schema)
{
	const char *name;
	const char *caller;

	if (CompatNamespaceAclCheck(schema, GetUserId()) == ACLCHECK_OK)
		return;
	name = quote_identifier(get_namespace_name(schema));
	caller = quote_identifier(GetUserNameFromId(GetUserId(), false));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for schema %s", name),
			 errdetail("Role %s lacks USAGE on it, and table %s is there.", caller, binding->relation),
			 errhint("GRANT USAGE ON SCHEMA %s TO %s;", name, caller)));
}

void
TableFitCaller(const Binding *binding, bool to_update)
{
	RequireCallerMayUse(binding, get_rel_namespace(binding->relid));
	RequireCallerMay(binding, to_update);
}

void
TableFitRow(const Binding *binding)
{
	RequireWritten(binding);
	RequireMeta(binding);
	RequireRights(binding, LacksToRead(binding));
}

void
TableFitSubmit(const Binding *binding)
{
	Oid function = InvalidOid;

	/* a function takes what it wants out of the row */
	if (binding->input_function)
		function = RequireFunction(binding);
	else
	{
		RequireString(binding, binding->prompt_name, "prompt_column");
		if (binding->image_name)
			RequireString(binding, binding->image_name, "image_column");
	}
	if (binding->user_name)
		RequireName(binding, binding->user_name, "user_column");
	if (binding->tenant_name)
		RequireName(binding, binding->tenant_name, "tenant_column");
	if (binding->model_column_name)
		RequireModel(binding, binding->model_column_name, "model_column");
	RequireWritten(binding);
	RequireMeta(binding);
	RequireRights(binding, LacksToSubmit(binding, function));
}
