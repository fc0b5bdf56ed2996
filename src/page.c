/*
 * page.c
 *	  The dashboard's page: a file of the server, given to whoever asks PostgREST
 *	  for it, with headers that let it do as little as it needs.
 *
 * The file is installed beside the library and always fits it.  It is read at
 * each call: from one fixed place, and not more than MAX_PAGE.  It holds no data.
 *
 * On self-hosted Supabase the page shares its origin with Studio, where a script
 * could do anything with the operator's rights.  So the policy names the hashes of
 * the page's one script and one style, which are computed here: nothing else
 * runs, whatever a prompt or an error text contains.
 */
#include "postgres.h"

#include <openssl/evp.h>
#include <sys/stat.h>

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#include "guc.h"
#include "job.h"
#include "publicapi.h"
#include "version.h"

PG_FUNCTION_INFO_V1(vibevideo_dashboard);

#define PAGE_FILE "vibevideo/dashboard.html"
#define MAX_PAGE 1048576
#define SHA256_BYTES 32
#define BASE64_SIZE (4 * ((SHA256_BYTES + 2) / 3) + 1)

/* an element whose text stands in the page itself */
typedef struct Inline
{
	const char *name;
	const char *open; /* the whole tag: any other attribute is none that we know */
	const char *close;
	const char *text; /* NULL until it is found */
	size_t len;
} Inline;

pg_noreturn static void
RejectFile(const char *path, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the dashboard's file is not the one that belongs to vibevideo"),
			 errdetail("%s", why),
			 errdetail_log("File \"%s\": %s", path, why),
			 errhint("Install vibevideo on the database server again.")));
}

pg_noreturn static void
RejectMissing(const char *path)
{
	if (errno == ENOENT || errno == ENOTDIR)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("the dashboard is not installed"),
				 errdetail_log("There is no file \"%s\".", path),
				 errhint("\"make install\" on the database server puts its file into the folder vibevideo below \"pg_config --sharedir\".")));
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not read the dashboard's file"),
			 errdetail_log("File \"%s\": %m.", path)));
}

/* the file's bytes and a terminating 0 */
static char *
ReadFile(const char *path, size_t *len)
{
	FILE *file = AllocateFile(path, PG_BINARY_R);
	char *bytes;
	struct stat st;

	if (file == NULL || fstat(fileno(file), &st) != 0)
		RejectMissing(path);
	if (!S_ISREG(st.st_mode) || st.st_size > MAX_PAGE)
		RejectFile(path, "It is larger than 1 MB, or not a file.");
	bytes = palloc(st.st_size + 1);
	*len = fread(bytes, 1, st.st_size, file);
	if (ferror(file))
		RejectMissing(path);
	FreeFile(file);
	bytes[*len] = '\0';
	/* browsers take lines to end with a newline alone, and hash them so */
	if (!pg_verify_mbstr(PG_UTF8, bytes, *len, true) || memchr(bytes, '\r', *len) != NULL)
		RejectFile(path, "It is not UTF-8 text with lines that end with a newline.");
	return bytes;
}

static bool
Begins(const char *text, const char *with)
{
	return pg_strncasecmp(text, with, strlen(with)) == 0;
}

/* Where the element's text ends, as browsers see it; NULL: nowhere. */
static const char *
FindEnd(const char *text, const Inline *element)
{
	size_t len = strlen(element->close);

	for (text = strchr(text, '<'); text != NULL; text = strchr(text + 1, '<'))
		if (pg_strncasecmp(text, element->close, len - 1) == 0)
			return strncmp(text, element->close, len) == 0 ? text : NULL;
	return NULL;
}

/* Notes the element that begins here; returns where to go on, NULL if it is not one of ours. */
static const char *
ReadInline(const char *tag, Inline *element)
{
	const char *end;

	if (element->text != NULL || strncmp(tag, element->open, strlen(element->open)) != 0)
		return NULL;
	element->text = tag + strlen(element->open);
	end = FindEnd(element->text, element);
	if (end == NULL)
		return NULL;
	element->len = end - element->text;
	return end + strlen(element->close);
}

/* One of each, and no other. */
static void
FindInlines(const char *path, const char *page, Inline *elements, int n)
{
	const char *at = strchr(page, '<');

	while (at != NULL)
	{
		const char *next = at + 1;

		for (int i = 0; i < n && next != NULL; i++)
			if (Begins(at + 1, elements[i].name))
				next = ReadInline(at, &elements[i]);
		if (next == NULL)
			RejectFile(path, "It has a script or a style that is not known.");
		at = strchr(next, '<');
	}
	for (int i = 0; i < n; i++)
		if (elements[i].text == NULL)
			RejectFile(path, "It lacks its script or its style.");
}

/* 'sha256-…', as in a policy */
static void
AppendHash(StringInfo out, const Inline *element)
{
	unsigned char hash[SHA256_BYTES];
	unsigned char base64[BASE64_SIZE];

	if (EVP_Digest(element->text, element->len, hash, NULL, EVP_sha256(), NULL) != 1)
		elog(ERROR, "vibevideo: could not hash the dashboard's file");
	EVP_EncodeBlock(base64, hash, SHA256_BYTES);
	appendStringInfo(out, "'sha256-%s'", (char *) base64);
}

/* " https://host:port" of where the videos are; nothing if a policy could not name it */
static void
AppendStorageOrigin(StringInfo out)
{
	const char *url = vv_storage_public_url[0] ? vv_storage_public_url : vv_storage_url;
	const char *host = strstr(url, "://");
	size_t len;

	if (vv_storage_kind == STORAGE_KIND_NONE || host == NULL)
		return;
	host += 3;
	len = strspn(host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-:");
	if (len > 0 && (host[len] == '\0' || host[len] == '/'))
		appendStringInfo(out, " %.*s", (int) (host + len - url), url);
}

static char *
Policy(const Inline *script, const Inline *style)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "default-src 'none'; script-src ");
	AppendHash(&out, script);
	appendStringInfoString(&out, "; style-src ");
	AppendHash(&out, style);
	appendStringInfoString(&out, "; connect-src 'self'; img-src 'self' data:");
	AppendStorageOrigin(&out);
	appendStringInfoString(&out, "; media-src 'self'");
	AppendStorageOrigin(&out);
	appendStringInfoString(&out, "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
								 " trusted-types lit-html");
	return out.data;
}

static void
SetHeaders(const char *policy)
{
	ApiHeader headers[] = {
		{"Content-Type", "text/html; charset=utf-8"},
		{"Content-Security-Policy", policy},
		{"X-Content-Type-Options", "nosniff"},
		{"Cache-Control", "no-store"},
		{"Referrer-Policy", "no-referrer"},
		{"Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"},
		{"Cross-Origin-Opener-Policy", "same-origin"},
	};

	ApiSetHeaders(headers, lengthof(headers));
}

/*----------
 * public.vibevideo_dashboard(apikey text) returns vibevideo_page."text/html"
 *
 * The argument is what a gateway may ask for in the URL; nothing is done with it.
 *----------
 */
Datum
vibevideo_dashboard(PG_FUNCTION_ARGS)
{
	Inline elements[] = {
		{"script", "<script type=\"module\">", "</script>", NULL, 0},
		{"style", "<style>", "</style>", NULL, 0},
	};
	char share[MAXPGPATH];
	char path[MAXPGPATH + sizeof(PAGE_FILE) + 1];
	char *page;
	size_t len;

	VersionCheck();
	if (!vv_dashboard)
		ereport(ERROR,
				(errcode(ERRCODE_VIBEVIDEO_NOT_FOUND),
				 errmsg("the dashboard is off"),
				 errhint("A superuser can set vibevideo.dashboard to on.")));
	get_share_path(my_exec_path, share);
	snprintf(path, sizeof(path), "%s/%s", share, PAGE_FILE);
	page = ReadFile(path, &len);
	FindInlines(path, page, elements, lengthof(elements));
	SetHeaders(Policy(&elements[0], &elements[1]));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(page, len));
}
