/*
 * webhookprobe.c
 *	  Does a call of vibevideo.webhook_url arrive here?
 *
 * It is called with a bad signature, which our function rejects; hook.c knows
 * who else may answer.  Whatever passes calls on may drop their headers, rewrite
 * their body or lead to another database, and get our rejection all the same.  So
 * the call has a number, and vibevideo_webhook notes in shared memory which one
 * has arrived as it was sent.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"

#include "call.h"
#include "guc.h"
#include "hook.h"
#include "hosts.h"
#include "shmem.h"
#include "webhookprobe.h"

/* set while it is called */
static bool is_private;

/* Runs under a callback. */
static bool
NoteAddress(const struct sockaddr *address)
{
	is_private = !HostsAddressIsPublic(address);
	return true;
}

/* Calls it; false if the call cannot even be built. */
static bool
Ask(uint64 number, HookReport *report)
{
	HttpEngine *engine = HttpBackendEngine();
	HttpRequest *request;

	is_private = false;
	request = CallWebhook(engine, number, NoteAddress);
	if (request == NULL)
		return false;
	HttpFinish(engine, request, NULL);
	HookJudge(HttpReplyOf(request), vv_webhook_url, report);
	HttpFree(request);
	return true;
}

/* On a standby our function runs on the primary. */
static bool
HasArrived(uint64 number)
{
	DatabaseSlot slot;

	return RecoveryInProgress() || (ShmemReadSlot(MyDatabaseId, &slot) && slot.last_check == number);
}

Finding
WebhookProbe(void)
{
	char url[sizeof(((Call *) 0)->url)];
	HookReport report;
	uint64 number;

	if (vv_webhook_url[0] == '\0')
		return Ok(pstrdup("not used: vibevideo.webhook_url is empty, and jobs are polled"));
	HookShowUrl(vv_webhook_url, url, sizeof(url));
	if (!pg_strong_random(&number, sizeof(number)) || !Ask(number, &report))
		return Bad(pstrdup("could not build the call"), "Check vibevideo.webhook_url for stray characters.");
	if (report.verdict == HOOK_UNKNOWN)
		return Warn(psprintf("%s: %s", url, report.detail), report.hint);
	if (report.verdict == HOOK_WRONG)
		return Bad(psprintf("%s: %s", url, report.detail), report.hint);
	if (!HasArrived(number))
		return Bad(psprintf("%s answers as vibevideo_webhook, but the call did not arrive in this database as it was sent", url),
				   "Whatever passes the call on must keep its four X-Fal-Webhook headers and every byte of its body, and PostgREST must be connected to this database.");
	/* an emulator of fal's may be as near */
	if (is_private && strstr(vv_fal_queue_url, ".fal.run") != NULL)
		return Warn(psprintf("%s answers as vibevideo_webhook, but at a private address", url),
					"Set vibevideo.webhook_url to an address that fal.ai can reach over the internet.");
	return Ok(psprintf("%s answers as vibevideo_webhook", url));
}
