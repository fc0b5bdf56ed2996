/*
 * guc.h
 *	  Settings.  Their meaning, units and defaults are in guc.c alone.
 */
#ifndef VIBEVIDEO_GUC_H
#define VIBEVIDEO_GUC_H

extern char *vv_fal_key;
extern char *vv_fal_key_secret;
extern char *vv_fal_admin_key;
extern char *vv_fal_admin_key_secret;
extern char *vv_proxy;
extern char *vv_fal_queue_url;
extern char *vv_fal_api_url;
extern char *vv_fal_jwks_url;
extern char *vv_model;
extern char *vv_storage_url;
extern char *vv_storage_public_url;
extern char *vv_storage_key;
extern char *vv_storage_key_secret;
extern char *vv_storage_bucket;
extern char *vv_media_hosts;
extern char *vv_accept;
extern char *vv_ca_file;
extern char *vv_webhook_url;
extern int vv_connect_timeout; /* ms */
extern int vv_submit_timeout;  /* ms */
extern int vv_poll_timeout;	   /* ms */
extern int vv_low_speed_limit; /* kB a second */
extern int vv_stall_timeout;   /* s */
extern int vv_copy_timeout;	   /* s */
extern int vv_poll_interval;   /* s */
extern int vv_job_timeout;	   /* s */
extern int vv_start_timeout;   /* s */
extern bool vv_no_retry;
extern bool vv_resubmit_completed;
extern bool vv_notify;
extern int vv_poll_batch_size;
extern int vv_max_requests;
extern int vv_max_host_requests;
extern int vv_max_transfers;
extern int vv_max_video_size;	   /* kB */
extern int vv_resumable_threshold; /* kB, -1: never */
extern int vv_max_tries;
extern int vv_max_active;
extern int vv_max_renders;
extern int vv_backoff_base;		/* ms */
extern int vv_backoff_max;		/* s */
extern int vv_retention;		/* s */
extern int vv_rollup_retention; /* s */
extern int vv_audit_retention;	/* s */
extern double vv_confirm_over_usd;
extern double vv_ledger_tolerance_usd;
extern int vv_storage_kind;
extern char *vv_storage_region;
extern int vv_unknown_policy;
extern int vv_unknown_price;
extern int vv_unknown_after;	   /* s */
extern int vv_worker_idle_timeout; /* s */
extern bool vv_dashboard;
extern bool vv_sync_prices;
extern int vv_max_databases;

typedef enum UnknownPolicy
{
	UNKNOWN_FAIL_WHEN_ABSENT,
	UNKNOWN_MANUAL,
	UNKNOWN_RESUBMIT_WHEN_ABSENT,
	UNKNOWN_RESUBMIT
} UnknownPolicy;

/* read by limits.sql */
typedef enum UnknownPrice
{
	UNKNOWN_PRICE_ALLOW,
	UNKNOWN_PRICE_REFUSE
} UnknownPrice;

typedef enum StorageKind
{
	STORAGE_KIND_SUPABASE,
	STORAGE_KIND_S3,
	STORAGE_KIND_NONE /* the video stays at fal */
} StorageKind;

extern void GucInit(void);

#endif /* VIBEVIDEO_GUC_H */
