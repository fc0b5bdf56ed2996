/*
 * secret.c
 *	  Reading API keys.
 */
#include "postgres.h"

#include <openssl/crypto.h>

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "guc.h"
#include "identity.h"
#include "owner.h"
#include "secret.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(vibevideo_key_source);

/* What a key is called where it is looked for, and what it looks like. */
typedef struct SecretNames
{
	const char *variable;
	const char *setting;
	const char *vault_name; /* NULL: Vault is not asked */
	const char *form;
} SecretNames;

static SecretNames
NamesOf(SecretKind kind)
{
	SecretNames names = {"FAL_KEY", "vibevideo.fal_key", vv_fal_key_secret, "<key id>:<key secret>"};

	if (kind == SECRET_FAL_ADMIN)
		names = (SecretNames){"FAL_ADMIN_KEY", "vibevideo.fal_admin_key", vv_fal_admin_key_secret, names.form};
	else if (kind == SECRET_STORAGE)
		names = (SecretNames){"SUPABASE_SERVICE_ROLE_KEY", "vibevideo.storage_key", vv_storage_key_secret,
							  vv_storage_kind == STORAGE_KIND_S3 ? "<access key id>:<secret>" : "<service_role key>"};
	if (names.vault_name == NULL || names.vault_name[0] == '\0' || !OwnerOfVaultIsTrusted())
		names.vault_name = NULL;
	return names;
}

static bool
ReadVault(const char *name, char *out, size_t size)
{
	Datum args[1];
	Oid types[1] = {TEXTOID};
	Identity saved;
	bool found = false;

	if (name == NULL)
		return false;
	args[0] = CStringGetTextDatum(name);
	IdentityBecomeExtensionOwner(&saved);
	/* the view's functions, too, run as a superuser: nothing of the caller's may be found first */
	if (SPI_execute_with_args("SELECT s.decrypted_secret::text FROM vault.decrypted_secrets s WHERE s.name = $1",
							  1, types, args, NULL, true, 1) == SPI_OK_SELECT &&
		SPI_processed == 1)
	{
		bool isnull;
		Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		if (!isnull)
		{
			text_to_cstring_buffer(DatumGetTextPP(value), out, size);
			found = (out[0] != '\0');
		}
	}
	IdentityResume(&saved);
	return found;
}

static bool
CopyIfSet(const char *value, char *out, size_t size)
{
	if (value == NULL || value[0] == '\0')
		return false;
	strlcpy(out, value, size);
	return true;
}

/* fal's clients also accept the two halves separately */
static bool
ReadEnvironment(SecretKind kind, char *out, size_t size)
{
	const char *id;
	const char *secret;

	if (kind == SECRET_STORAGE)
		return CopyIfSet(getenv("SUPABASE_SERVICE_ROLE_KEY"), out, size) ||
			CopyIfSet(getenv("SUPABASE_SECRET_KEY"), out, size);
	if (kind == SECRET_FAL_ADMIN)
		return CopyIfSet(getenv("FAL_ADMIN_KEY"), out, size);
	if (CopyIfSet(getenv("FAL_KEY"), out, size))
		return true;
	id = getenv("FAL_KEY_ID");
	secret = getenv("FAL_KEY_SECRET");
	if (id == NULL || secret == NULL || id[0] == '\0' || secret[0] == '\0')
		return false;
	snprintf(out, size, "%s:%s", id, secret);
	return true;
}

static const char *
Setting(SecretKind kind)
{
	switch (kind)
	{
		case SECRET_FAL:
			return vv_fal_key;
		case SECRET_FAL_ADMIN:
			return vv_fal_admin_key;
		case SECRET_STORAGE:
			return vv_storage_key;
	}
	return NULL;
}

static void
Trim(char *text)
{
	size_t len = strlen(text);
	size_t first = strspn(text, " \t\r\n");

	while (len > first && strchr(" \t\r\n", text[len - 1]))
		len--;
	memmove(text, text + first, len - first);
	text[len - first] = '\0';
}

bool
SecretRead(SecretKind kind, char *out, size_t size, const char **source)
{
	const char *where = NULL;

	if (ReadVault(NamesOf(kind).vault_name, out, size))
		where = "Vault";
	else if (ReadEnvironment(kind, out, size))
		where = "the server's environment";
	else if (CopyIfSet(Setting(kind), out, size))
		where = "the setting";
	/* a stray newline is the most common mistake when storing a key */
	if (where)
		Trim(out);
	if (source)
		*source = where;
	return where != NULL && out[0] != '\0';
}

char *
SecretAbsence(SecretKind kind)
{
	SecretNames names = NamesOf(kind);

	if (names.vault_name)
		return psprintf("There is no Vault secret \"%s\", and neither %s in the server's environment nor %s is set.",
						names.vault_name, names.variable, names.setting);
	return psprintf("Neither %s in the server's environment nor %s is set.", names.variable, names.setting);
}

char *
SecretHint(SecretKind kind)
{
	SecretNames names = NamesOf(kind);

	if (names.vault_name)
		return psprintf("SELECT vault.create_secret('%s', %s); or set %s in the server's environment and restart it.",
						names.form, quote_literal_cstr(names.vault_name), names.variable);
	return psprintf("Set %s to %s in the server's environment and restart it, or ALTER SYSTEM SET %s.",
					names.variable, names.form, names.setting);
}

void
SecretWipe(char *secret, size_t size)
{
	OPENSSL_cleanse(secret, size);
}

/*----------
 * vibevideo_internal.key_source(name text) returns text
 *
 * A view calls this with its reader's rights: who may not read all settings is
 * not to know whether there is a key.
 *----------
 */
Datum
vibevideo_key_source(PG_FUNCTION_ARGS)
{
	const char *setting = text_to_cstring(PG_GETARG_TEXT_PP(0));
	SecretKind kind = SECRET_STORAGE;
	char key[SECRET_SIZE];
	const char *source;

	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS))
		PG_RETURN_NULL();
	for (int i = SECRET_FAL; i < SECRET_STORAGE; i++)
	{
		if (strcmp(setting, NamesOf((SecretKind) i).setting) == 0)
			kind = (SecretKind) i;
	}
	StatementConnect();
	(void) SecretRead(kind, key, sizeof(key), &source);
	SPI_finish();
	SecretWipe(key, sizeof(key));
	if (source == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(source));
}
