/*
 * secret.c
 *	  Reading API keys.
 */
#include "postgres.h"

#include <openssl/crypto.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "guc.h"
#include "identity.h"
#include "owner.h"
#include "secret.h"

/*
 * Reading a view runs its functions with our rights, so where Supabase Vault
 * is not installed, a "vault" that some user created must not be read.
 */
static bool
VaultIsTrusted(void)
{
	Oid schema = get_namespace_oid("vault", true);
	Oid view = OidIsValid(schema) ? get_relname_relid("decrypted_secrets", schema) : InvalidOid;

	return OidIsValid(view) && superuser_arg(OwnerOfSchema(schema)) && superuser_arg(OwnerOfRelation(view));
}

static bool
ReadVault(const char *name, char *out, size_t size)
{
	Datum args[1];
	Oid types[1] = {TEXTOID};
	Identity saved;
	bool found = false;

	if (name == NULL || name[0] == '\0' || !VaultIsTrusted())
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
	if (CopyIfSet(getenv("FAL_KEY"), out, size))
		return true;
	id = getenv("FAL_KEY_ID");
	secret = getenv("FAL_KEY_SECRET");
	if (id == NULL || secret == NULL || id[0] == '\0' || secret[0] == '\0')
		return false;
	snprintf(out, size, "%s:%s", id, secret);
	return true;
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

	if (ReadVault(kind == SECRET_FAL ? vv_fal_key_secret : vv_storage_key_secret, out, size))
		where = "Vault";
	else if (ReadEnvironment(kind, out, size))
		where = "the server's environment";
	else if (CopyIfSet(kind == SECRET_FAL ? vv_fal_key : vv_storage_key, out, size))
		where = "the setting";
	/* a stray newline is the most common mistake when storing a key */
	if (where)
		Trim(out);
	if (source)
		*source = where;
	return where != NULL && out[0] != '\0';
}

void
SecretWipe(char *secret, size_t size)
{
	OPENSSL_cleanse(secret, size);
}
