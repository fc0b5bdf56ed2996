/*
 * guc.c
 *	  Settings: names, units, ranges, who may set them.
 *
 * Only superusers may set them, since each decides where keys or money go.
 * PGC_SUSET rather than PGC_SIGHUP allows ALTER DATABASE; the worker sees such
 * a change when it is restarted.
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "utils/guc.h"

#include "guc.h"
#include "hosts.h"
#include "kind.h"
#include "owner.h"

char *vv_fal_key = NULL;
char *vv_fal_key_secret = NULL;
char *vv_fal_admin_key = NULL;
char *vv_fal_admin_key_secret = NULL;
char *vv_proxy;
char *vv_fal_queue_url = NULL;
char *vv_fal_api_url = NULL;
char *vv_fal_jwks_url = NULL;
char *vv_model = NULL;
char *vv_storage_url = NULL;
char *vv_storage_public_url = NULL;
char *vv_storage_key = NULL;
char *vv_storage_key_secret = NULL;
char *vv_storage_bucket = NULL;
char *vv_media_hosts = NULL;
char *vv_accept = NULL;
char *vv_ca_file = NULL;
char *vv_webhook_url = NULL;
int vv_connect_timeout;
int vv_submit_timeout;
int vv_poll_timeout;
int vv_low_speed_limit;
int vv_stall_timeout;
int vv_copy_timeout;
int vv_poll_interval;
int vv_job_timeout;
int vv_start_timeout;
bool vv_no_retry;
bool vv_resubmit_completed;
bool vv_notify;
int vv_poll_batch_size;
int vv_max_requests;
int vv_max_host_requests;
int vv_max_transfers;
int vv_max_video_size;
int vv_resumable_threshold;
int vv_max_tries;
int vv_max_active;
int vv_max_renders;
int vv_backoff_base;
int vv_backoff_max;
int vv_retention;
int vv_rollup_retention;
int vv_audit_retention;
double vv_confirm_over_usd;
double vv_ledger_tolerance_usd;
int vv_storage_kind;
char *vv_storage_region = NULL;
int vv_unknown_policy;
int vv_unknown_price;
int vv_unknown_after;
int vv_worker_idle_timeout;
bool vv_dashboard;
bool vv_sync_prices;
int vv_max_databases;

/* clang-format off */
static const struct config_enum_entry unknown_policies[] = {
	{"fail_when_absent", UNKNOWN_FAIL_WHEN_ABSENT, false},
	{"manual", UNKNOWN_MANUAL, false},
	{"resubmit_when_absent", UNKNOWN_RESUBMIT_WHEN_ABSENT, false},
	{"resubmit", UNKNOWN_RESUBMIT, false},
	{NULL, 0, false}
};
/* clang-format on */

/* clang-format off */
static const struct config_enum_entry unknown_prices[] = {
	{"allow", UNKNOWN_PRICE_ALLOW, false},
	{"refuse", UNKNOWN_PRICE_REFUSE, false},
	{NULL, 0, false}
};
/* clang-format on */

/* clang-format off */
static const struct config_enum_entry storage_kinds[] = {
	{"supabase", STORAGE_KIND_SUPABASE, false},
	{"s3", STORAGE_KIND_S3, false},
	{"none", STORAGE_KIND_NONE, false},
	{NULL, 0, false}
};
/* clang-format on */

typedef struct StringSetting
{
	const char *name;
	const char *about;
	char **variable;
	const char *boot;
	int flags;
	GucStringCheckHook check;
	GucShowHook show;
} StringSetting;

typedef struct IntSetting
{
	const char *name;
	const char *about;
	int *variable;
	int boot;
	int min;
	int max;
	int flags;
} IntSetting;

/* http(s) without any of the unwelcome characters; empty means unset */
static bool
UrlIsPlain(const char *url, const char *unwelcome, const char *detail)
{
	if (url == NULL || url[0] == '\0')
		return true;
	if (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)
	{
		GUC_check_errdetail("The URL must begin with https:// or http://.");
		return false;
	}
	if (strlen(url) > 1000 || strpbrk(url, unwelcome) != NULL)
	{
		GUC_check_errdetail("%s", detail);
		return false;
	}
	return true;
}

/* a base URL: no query; a trailing slash is optional */
static bool
CheckUrl(char **newval, void **extra, GucSource source)
{
	return UrlIsPlain(*newval, " \t\r\n?#@\\\"<>",
					  "The URL must not contain blanks, credentials, a query or a fragment, and must not be longer than 1000 bytes.");
}

/* The webhook may have a query, as that of an Edge Function: it is passed on, never parsed. */
static bool
CheckWebhookUrl(char **newval, void **extra, GucSource source)
{
	return UrlIsPlain(*newval, " \t\r\n\"<>\\",
					  "The URL must not contain blanks, and must not be longer than 1000 bytes.");
}

static bool
CheckMediaHosts(char **newval, void **extra, GucSource source)
{
	char why[200];

	if (*newval == NULL || HostsListIsValid(*newval, why, sizeof(why)))
		return true;
	GUC_check_errdetail("%s", why);
	return false;
}

static bool
CheckAccept(char **newval, void **extra, GucSource source)
{
	char why[100];

	if (*newval == NULL || KindListIsValid(*newval, why, sizeof(why)))
		return true;
	GUC_check_errdetail("%s", why);
	return false;
}

/* Every role can read what ALTER DATABASE, ALTER ROLE and CREATE FUNCTION ... SET store: only these test a value. */
static bool
CheckKey(char **newval, void **extra, GucSource source)
{
	if (source != PGC_S_TEST || *newval == NULL || (*newval)[0] == '\0')
		return true;
	GUC_check_errdetail("Every role could read it in the system catalogs.");
	if (IsTransactionState() && OwnerOfVaultIsTrusted())
		GUC_check_errhint("Put the key into Vault or the server's environment, or use ALTER SYSTEM.");
	else
		GUC_check_errhint("Put the key into the server's environment, or use ALTER SYSTEM.");
	return false;
}

/*
 * Roles that may read all settings, such as pg_monitor, must not read keys.
 * Only the display is hidden: parallel workers still get the value.
 */
static const char *
Hidden(const char *value)
{
	return value && value[0] ? "********" : "";
}

static const char *
ShowFalKey(void)
{
	return Hidden(vv_fal_key);
}

static const char *
ShowFalAdminKey(void)
{
	return Hidden(vv_fal_admin_key);
}

static const char *
ShowStorageKey(void)
{
	return Hidden(vv_storage_key);
}

#define SECRET (GUC_SUPERUSER_ONLY | GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE)

/* clang-format off */
static const StringSetting strings[] = {
	{"vibevideo.fal_key", "fal.ai API key, id:secret. Prefer Vault or FAL_KEY in the server's environment.",
	&vv_fal_key, "", SECRET, CheckKey, ShowFalKey},
	{"vibevideo.fal_key_secret", "Name of the Vault secret that holds the fal.ai API key.",
	&vv_fal_key_secret, "fal_key", GUC_SUPERUSER_ONLY, NULL},
	{"vibevideo.fal_admin_key", "fal.ai API key of scope ADMIN, id:secret, for fal.ai's bill and balance only. Prefer Vault or FAL_ADMIN_KEY in the server's environment.",
	&vv_fal_admin_key, "", SECRET, CheckKey, ShowFalAdminKey},
	{"vibevideo.fal_admin_key_secret", "Name of the Vault secret that holds the fal.ai API key of scope ADMIN.",
	&vv_fal_admin_key_secret, "fal_admin_key", GUC_SUPERUSER_ONLY, NULL},
	{"vibevideo.proxy", "Proxy for requests to fal.ai and to media hosts; empty means none. Proxy settings in the environment are ignored.",
	&vv_proxy, "", 0, CheckUrl},
	{"vibevideo.fal_queue_url", "Base URL of fal.ai's queue.",
	&vv_fal_queue_url, "https://queue.fal.run", 0, CheckUrl},
	{"vibevideo.fal_api_url", "Base URL of fal.ai's platform API, where lost submits are looked up.",
	&vv_fal_api_url, "https://api.fal.ai/v1", 0, CheckUrl},
	{"vibevideo.fal_jwks_url", "Where fal.ai publishes the keys that sign its webhooks.",
	&vv_fal_jwks_url, "https://rest.fal.ai/.well-known/jwks.json", 0, CheckUrl},
	{"vibevideo.model", "Model (fal.ai endpoint id) used where the attached table names none.",
	&vv_model, "fal-ai/minimax/video-01", 0, NULL},
	{"vibevideo.storage_region", "Region that requests to S3 are signed for.",
	&vv_storage_region, "us-east-1", 0, NULL},
	{"vibevideo.storage_url", "Base URL of Supabase Storage, with its /storage/v1 prefix if it has one, or of an S3 endpoint; empty means that no video can be stored.",
	&vv_storage_url, "", 0, CheckUrl},
	{"vibevideo.storage_public_url", "Base URL of Storage as browsers reach it; empty means storage_url.",
	&vv_storage_public_url, "", 0, CheckUrl},
	{"vibevideo.storage_key", "Storage key (service_role JWT or sb_secret_ key; for S3 access_key_id:secret). Prefer Vault.",
	&vv_storage_key, "", SECRET, CheckKey, ShowStorageKey},
	{"vibevideo.storage_key_secret", "Name of the Vault secret that holds the Storage key.",
	&vv_storage_key_secret, "storage_key", GUC_SUPERUSER_ONLY, NULL},
	{"vibevideo.storage_bucket", "Bucket the videos are stored in.",
	&vv_storage_bucket, "videos", 0, NULL},
	{"vibevideo.media_hosts", "Hosts a video may be fetched from, comma-separated: host, *.domain or scheme://host:port.",
	&vv_media_hosts, "fal.media, *.fal.media, storage.googleapis.com", 0, CheckMediaHosts},
	{"vibevideo.accept", "What is accepted as a video, comma-separated: video, and gif for animated GIFs.",
	&vv_accept, "video", 0, CheckAccept},
	{"vibevideo.ca_file", "File with the certificate authorities to trust; empty means libcurl's own.",
	&vv_ca_file, "", GUC_SUPERUSER_ONLY, NULL},
	{"vibevideo.webhook_url", "URL that fal.ai calls when a job is done; empty means none.",
	&vv_webhook_url, "", 0, CheckWebhookUrl},
};
/* clang-format on */

/* clang-format off */
static const IntSetting ints[] = {
	{"vibevideo.connect_timeout", "Maximum time to connect to a server, including DNS and TLS.",
	&vv_connect_timeout, 3000, 100, 60000, GUC_UNIT_MS},
	{"vibevideo.submit_timeout", "Maximum time that a submit waits for fal.ai. Keep it below the API roles' statement_timeout.",
	&vv_submit_timeout, 6000, 100, 600000, GUC_UNIT_MS},
	{"vibevideo.poll_timeout", "Time budget of one vibevideo_poll() and of each request in it.",
	&vv_poll_timeout, 8000, 100, 600000, GUC_UNIT_MS},
	{"vibevideo.low_speed_limit", "Minimum speed of a copy, per second: one that is slower for stall_timeout is aborted and retried; 0 means no limit.",
	&vv_low_speed_limit, 1, 0, 1024 * 1024, GUC_UNIT_KB},
	{"vibevideo.stall_timeout", "A copy that makes no progress for this long is aborted and retried.",
	&vv_stall_timeout, 30, 1, 3600, GUC_UNIT_S},
	{"vibevideo.copy_timeout", "Maximum time of one try of a copy.",
	&vv_copy_timeout, 3600, 10, 86400, GUC_UNIT_S},
	{"vibevideo.poll_interval", "Initial interval at which an active job is polled; it grows to six times this with the job's age.",
	&vv_poll_interval, 10, 1, 3600, GUC_UNIT_S},
	{"vibevideo.job_timeout", "Maximum time of a job in one phase (waiting to be sent, at fal.ai, being copied) before it fails; 0 means no limit.",
	&vv_job_timeout, 86400, 0, INT_MAX, GUC_UNIT_S},
	{"vibevideo.start_timeout", "fal.ai drops a job that it could not start within this time (X-Fal-Request-Start-Timeout); 0 means no limit.",
	&vv_start_timeout, 0, 0, 86400, GUC_UNIT_S},
	{"vibevideo.poll_batch_size", "Maximum number of jobs checked by one poll pass.",
	&vv_poll_batch_size, 1000, 1, 100000, 0},
	{"vibevideo.max_requests", "Maximum number of concurrent requests to fal.ai.",
	&vv_max_requests, 256, 1, 1000, 0},
	{"vibevideo.max_host_requests", "Maximum number of concurrent requests and downloads to one host, per process; others wait their turn; 0 means no limit.",
	&vv_max_host_requests, 256, 0, 10000, 0},
	{"vibevideo.max_transfers", "Maximum number of concurrent copies.",
	&vv_max_transfers, 8, 1, 100, 0},
	{"vibevideo.max_video_size", "Maximum size of a video that is copied.",
	&vv_max_video_size, 1024 * 1024, 1, INT_MAX, GUC_UNIT_KB},
	{"vibevideo.resumable_threshold", "Videos larger than this, and those of unknown length, are uploaded to Supabase Storage in parts that can be resumed; -1 means never.",
	&vv_resumable_threshold, 50 * 1024, -1, INT_MAX, GUC_UNIT_KB},
	{"vibevideo.max_tries", "Maximum number of tries of one phase (send, copy) before the job fails.",
	&vv_max_tries, 12, 1, 1000, 0},
	{"vibevideo.max_active", "Maximum number of jobs at fal.ai at once, of all users together; others wait in the database, where cancelling costs nothing; 0 means no limit.",
	&vv_max_active, 0, 0, 100000, 0},
	{"vibevideo.max_renders", "Maximum number of consecutive attempts, the first included, when fal.ai fails in a way that a new render may fix; 1 means no automatic ones.",
	&vv_max_renders, 2, 1, 10, 0},
	{"vibevideo.backoff_base", "Initial delay before a retry; it doubles with each try, and the actual delay is a random part of it.",
	&vv_backoff_base, 2000, 10, 600000, GUC_UNIT_MS},
	{"vibevideo.backoff_max", "Maximum delay before a retry.",
	&vv_backoff_max, 600, 1, 86400, GUC_UNIT_S},
	{"vibevideo.retention", "How long finished jobs are kept; 0 means forever.",
	&vv_retention, 30 * 86400, 0, INT_MAX, GUC_UNIT_S},
	{"vibevideo.rollup_retention", "How long counts of what became of jobs are kept, by hour and by day; 0 means forever.",
	&vv_rollup_retention, 400 * 86400, 0, INT_MAX, GUC_UNIT_S},
	{"vibevideo.audit_retention", "How long vibevideo.audit is kept; 0 means forever.",
	&vv_audit_retention, 365 * 86400, 0, INT_MAX, GUC_UNIT_S},
	{"vibevideo.unknown_after", "How long a lost submit must leave no trace before unknown_policy acts.",
	&vv_unknown_after, 1800, 1, INT_MAX, GUC_UNIT_S},
	{"vibevideo.worker_idle_timeout", "A worker that has had no work for this long exits, and is started again when there is some; 0 means never.",
	&vv_worker_idle_timeout, 600, 0, 86400, GUC_UNIT_S},
};
/* clang-format on */

/*
 * The server logs each setting that a reload changes, with its value.  For a
 * key, it may only log that it changed.
 */
static emit_log_hook_type next_log_hook = NULL;

static void
HideKeys(ErrorData *edata)
{
	static const char *const keys[] = {"fal_key", "fal_admin_key", "storage_key"};
	char name[64];

	/* the message id, which is not translated */
	if (edata->message && edata->message_id && strcmp(edata->message_id, "parameter \"%s\" changed to \"%s\"") == 0)
		for (int i = 0; i < lengthof(keys); i++)
		{
			const char *found;

			snprintf(name, sizeof(name), "vibevideo.%s", keys[i]);
			found = strstr(edata->message, name);
			/* in place, since the text only gets shorter: only the name remains */
			if (found && found[strlen(name)] != '_')
			{
				snprintf(edata->message, strlen(edata->message) + 1, "parameter \"%s\" changed", name);
				break;
			}
		}
	if (next_log_hook)
		next_log_hook(edata);
}

void
GucInit(void)
{
	for (size_t i = 0; i < lengthof(strings); i++)
		DefineCustomStringVariable(strings[i].name, strings[i].about, NULL,
								   strings[i].variable, strings[i].boot, PGC_SUSET,
								   strings[i].flags, strings[i].check, NULL, strings[i].show);
	for (size_t i = 0; i < lengthof(ints); i++)
		DefineCustomIntVariable(ints[i].name, ints[i].about, NULL,
								ints[i].variable, ints[i].boot, ints[i].min, ints[i].max,
								PGC_SUSET, ints[i].flags, NULL, NULL, NULL);
	DefineCustomBoolVariable("vibevideo.no_retry",
							 "Ask fal.ai not to requeue a job automatically (X-Fal-No-Retry).",
							 NULL, &vv_no_retry, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("vibevideo.resubmit_completed",
							 "A submit of a row whose video is completed makes, and pays for, another; off returns the one there is.",
							 NULL, &vv_resubmit_completed, true, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("vibevideo.notify",
							 "Send each new status to channel vibevideo with NOTIFY. This prevents PREPARE TRANSACTION.",
							 NULL, &vv_notify, true, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("vibevideo.dashboard",
							 "Serve the dashboard's page, as function vibevideo_dashboard of schema public; off answers 404.",
							 NULL, &vv_dashboard, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("vibevideo.sync_prices",
							 "Read fal.ai's price list daily, as vibevideo.sync_prices() does.",
							 NULL, &vv_sync_prices, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("vibevideo.confirm_over_usd",
							 "An act of an operator that may cost more than this, in USD, has to be confirmed in words.",
							 NULL, &vv_confirm_over_usd, 10, 0, 1000000, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("vibevideo.ledger_tolerance_usd",
							 "A difference between a day's costs and fal.ai's bill, in USD, that nobody has explained needs a person if it is larger than this.",
							 NULL, &vv_ledger_tolerance_usd, 1, 0, 1000000, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("vibevideo.unknown_policy",
							 "What to do with a lost submit, whose answer did not arrive: fail_when_absent, manual, resubmit_when_absent or resubmit.",
							 NULL, &vv_unknown_policy, UNKNOWN_FAIL_WHEN_ABSENT, unknown_policies,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("vibevideo.unknown_price",
							 "Whether a video whose price is not known may be requested where spending is limited: allow, which counts it as 0, or refuse.",
							 NULL, &vv_unknown_price, UNKNOWN_PRICE_ALLOW, unknown_prices,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("vibevideo.storage_kind",
							 "Where videos are stored: supabase, s3, or none to keep fal.ai's URL.",
							 NULL, &vv_storage_kind, STORAGE_KIND_SUPABASE, storage_kinds,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("vibevideo.max_databases",
							"Maximum number of databases of this cluster that can use vibevideo at the same time.",
							NULL, &vv_max_databases, 64, 1, 1000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("vibevideo");
	next_log_hook = emit_log_hook;
	emit_log_hook = HideKeys;
}
