/*
 * webhookprobe.h
 *	  What check_config finds at vibevideo.webhook_url.
 */
#ifndef VIBEVIDEO_WEBHOOKPROBE_H
#define VIBEVIDEO_WEBHOOKPROBE_H

#include "finding.h"

extern Finding WebhookProbe(void);

#endif /* VIBEVIDEO_WEBHOOKPROBE_H */
