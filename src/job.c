/*
 * job.c
 *	  Every statement on jobs, the binding and the app's rows.
 *
 * Statements on our own tables run as the extension's owner, along a path that
 * holds nothing but pg_catalog: they are written plainly.  Statements on the
 * app's table run as whoever the function says, along that one's path: in them
 * every name is qualified, and so is every operator, written or implied.
 */
#include "postgres.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "guc.h"
#include "identity.h"
#include "job.h"
#include "journal.h"
#include "media.h"
#include "realtime.h"
#include "shmem.h"

#define ACTIVE_STATES "ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing']"
#define MAX_INPUT_BYTES (1024 * 1024)
#define ROW_TIMEOUT_MS 2000 /* for the app's triggers, in the worker */
#define SYNC_BUDGET_MS 200	/* for all rows of a turn, in the worker */
#define ROWS_TOGETHER 500
#define FEW_UPDATES 10 /* so many are planned for: each by an index */

/*----------
 * Statements on our own tables, planned once a session
 *----------
 */
typedef enum StatementId
{
	S_BINDING,
	S_FIND_ACTIVE,
	S_FIND_LATEST,
	S_FIND_ACTIVE_MANY,
	S_INSERT,
	S_INSERT_MANY,
	S_ROOM,
	S_NOTE,
	S_AGAIN,
	S_SETTLE,
	S_TWIN_SENDING,
	S_MATCH,
	S_REST,
	S_NEXT_SUBMITS,
	S_CLAIM_SUBMIT,
	S_CLAIM_RECONCILE,
	S_CLAIM_POLL,
	S_CLAIM_COPY,
	S_LOCK_DUE,
	S_READ,
	S_RECORD,
	S_HOLDS,
	S_PROGRESS,
	S_EXPIRE,
	S_RECOVER,
	S_NEXT_DUE,
	S_IS_PREPARED,
	S_CANCEL,
	S_SEND_NOW,
	S_GIVE_UP_UNKNOWN,
	S_COPY_AGAIN,
	S_PRUNE,
	S_DESCRIBE,
	S_DESCRIBE_MANY,
	S_DESCRIBE_NONE,
	S_DIRTY,
	S_DIRTY_ONE,
	S_DIRTY_THESE,
	S_ROW_DONE,
	S_ROWS_DONE,
	S_ROWS_AGAIN,
	S_ROWS_ELSEWHERE,
	S_MODEL,
	S_INPUT,
	S_KEYS,
	S_STORE_KEYS,
	S_OUR_USER,
	S_LEARN_USER,
	S_POLL_NOW,
	S_RECONCILE_NOW,
	S_EVENT,
	S_PRICE,
	S_HAS_LIMITS,
	S_TAKE_SHARE,
	S_GIVE_BACK,
	S_COUNT
} StatementId;

/* clang-format off */
#define JOB_COLUMNS_AND(input) \
	"j.job_id, j.vibelog_id, j.state, j.model, " input ", j.request_id, " \
	"j.media_url, j.media_type, j.object_key, j.error_code, j.error, j.bytes_total, j.lease, " \
	"j.tries, j.crashes, j.attempt, j.queue_position, j.created_at, j.submitted_at, j.cancel_requested_at, j.sent_at, j.renders, j.ghost, j.generated_at, j.upload_url, j.media_etag, j.upload_state"

#define JOB_COLUMNS JOB_COLUMNS_AND("j.input::text")
/* many at once are followed, and each input may be large */
#define JOB_COLUMNS_TO_FOLLOW JOB_COLUMNS_AND("NULL::text")

#define SECONDS_BETWEEN(a, b) \
	"abs(date_part('epoch', " a " - " b "))"

/*
 * A claim takes what is due, oldest first, passing over what others hold, and
 * stamps it with a new fencing token.  $1 max, $2 due before, $3 end of the lease.
 */
#define CLAIM(set, which, order, columns) \
	"UPDATE vibevideo.job j SET " set \
	" lease = nextval('vibevideo.lease_seq'), leased_by = pg_backend_pid()," \
	" next_at = $3" \
	" WHERE j.job_id = ANY (ARRAY(" \
	"SELECT d.job_id FROM vibevideo.job d WHERE " which \
	" AND d.next_at <= $2" \
	" ORDER BY " order " LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED))" \
	" RETURNING " columns

#define CLAIM_TYPES {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID}

static const struct Statement
{
	const char *sql;
	int			nargs;
	Oid			types[10];
}			statements[S_COUNT] =
{
	[S_BINDING] = {
		"SELECT b.relation::oid, b.id_type::oid, b.id_column, b.prompt_column, b.image_column,"
		" b.input_function, b.model, b.build_index, b.resting, b.system_identifier, b.database_oid, b.timeline,"
		" b.user_column, b.realtime"
		" FROM vibevideo.binding b",
		0, {0}
	},
	[S_FIND_ACTIVE] = {
		"SELECT j.job_id FROM vibevideo.job j WHERE j.relation = $2"
		" AND j.vibelog_id = $1 AND NOT j.ghost"
		" AND j.state = ANY (" ACTIVE_STATES ")",
		2, {TEXTOID, REGCLASSOID}
	},
	[S_FIND_LATEST] = {
		"SELECT j.job_id FROM vibevideo.job j WHERE j.relation = $2"
		" AND j.vibelog_id = $1 AND NOT j.ghost"
		" ORDER BY j.job_id DESC LIMIT 1",
		2, {TEXTOID, REGCLASSOID}
	},
	/* a subquery a row, not a join: that one could be planned to read all active jobs for each */
	[S_FIND_ACTIVE_MANY] = {
		"SELECT x.nth, (SELECT j.job_id FROM vibevideo.job j WHERE j.relation = $2"
		" AND j.vibelog_id = x.vibelog_id AND NOT j.ghost"
		" AND j.state = ANY (" ACTIVE_STATES "))"
		" FROM ROWS FROM (unnest($1)) WITH ORDINALITY AS x(vibelog_id, nth)",
		2, {TEXTARRAYOID, REGCLASSOID}
	},
	[S_INSERT] = {
		"INSERT INTO vibevideo.job (vibelog_id, state, model, input, requested_by, lease, leased_by, next_at,"
		" relation, sent_at, row_dirty, attempt)"
		" SELECT $1, $2, $3, $4::jsonb, $5, nextval('vibevideo.lease_seq'),"
		" CASE WHEN $2 = 'submitting' THEN pg_backend_pid() END, $6, $7, $8, false, (SELECT COALESCE(max(p.attempt), 0)"
		" FROM vibevideo.job p WHERE p.relation = $7 AND NOT p.ghost"
		" AND p.vibelog_id = $1) + 1"
		" ON CONFLICT (relation, vibelog_id) WHERE NOT ghost AND state = ANY (" ACTIVE_STATES ") DO NOTHING"
		" RETURNING job_id",
		8, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, REGCLASSOID, TIMESTAMPTZOID}
	},

	/* $1 keys, $2 inputs, $3 users */
	[S_INSERT_MANY] = {
		"INSERT INTO vibevideo.job (vibelog_id, state, model, input, requested_by, lease, next_at, relation, row_dirty, attempt)"
		" SELECT x.vibelog_id, 'pending', $4, x.input::jsonb, x.requested_by,"
		" nextval('vibevideo.lease_seq'), $5, $6, false,"
		" (SELECT COALESCE(max(p.attempt), 0) FROM vibevideo.job p WHERE p.relation = $6"
		" AND NOT p.ghost AND p.vibelog_id = x.vibelog_id) + 1"
		" FROM ROWS FROM (unnest($1, $2, $3)) AS x(vibelog_id, input, requested_by)"
		" ON CONFLICT (relation, vibelog_id) WHERE NOT ghost AND state = ANY (" ACTIVE_STATES ") DO NOTHING"
		" RETURNING job_id",
		6, {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID, TIMESTAMPTZOID, REGCLASSOID}
	},

	[S_ROOM] = {
		"SELECT vibevideo.room_at_fal(true)",
		0, {0}
	},
	[S_NOTE] = {
		"UPDATE vibevideo.job j SET error_code = $2, error = $3 WHERE j.job_id = $1",
		3, {INT8OID, TEXTOID, TEXTOID}
	},

	/*
	 * The next attempt of a job that failed for a reason a new render may mend.
	 */
	[S_AGAIN] = {
		"INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, priority, attempt, renders, next_at)"
		" SELECT j.relation, j.vibelog_id, 'pending', j.model, j.input, j.requested_by, j.priority,"
		" j.attempt + 1, j.renders + 1, $2"
		" FROM vibevideo.job j WHERE j.job_id = $1 AND j.cancel_requested_at IS NULL"
		" ON CONFLICT DO NOTHING",
		2, {INT8OID, TIMESTAMPTZOID}
	},
	/*
	 * A crash may give out again the numbers that were not flushed: number and
	 * time together tell whether the row is there.  A ghost gets a number of its
	 * own, and is known by the time of its intent.
	 */
	[S_SETTLE] = {
		"INSERT INTO vibevideo.job (relation, vibelog_id, attempt, state, ghost, model, input, request_id,"
		" created_at, sent_at, submitted_at, cancel_requested_at, row_dirty, error_code, error)"
		" SELECT $2, $3, $4, CASE WHEN $7 IS NULL THEN 'submit_unknown' ELSE 'queued' END, true, $5,"
		" $6::jsonb, $7, $9, $8, CASE WHEN $7 IS NOT NULL THEN $8 END, now(), false,"
		" 'rolled_back', 'the transaction that sent it was rolled back'"
		" WHERE NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.job_id = $1"
		" AND k.created_at = $9)"
		" AND NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.vibelog_id = $3"
		" AND (k.relation = $2 OR $2 IS NULL) AND k.ghost AND k.sent_at = $8)"
		" ON CONFLICT DO NOTHING RETURNING job_id",
		9, {INT8OID, REGCLASSOID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	},

	[S_TWIN_SENDING] = {
		"SELECT FROM vibevideo.job j JOIN vibevideo.job k ON k.state = 'submitting'"
		" AND k.model = j.model AND k.input = j.input"
		" WHERE j.job_id = $1 LIMIT 1",
		1, {INT8OID}
	},

	/*
	 * Of the requests fal lists, the one that is this job's: not another job's,
	 * its input holds ours (fal may add defaults), sent not before and about
	 * when we sent ($5: when that was, and $6: the earliest it can have been, by
	 * fal's clock), and not nearer to another job in doubt with our input.
	 */
	[S_MATCH] = {
		"SELECT u.request_id FROM vibevideo.job j, ROWS FROM (unnest($2, $3, $4)) AS u(request_id, sent_at, input),"
		" LATERAL (SELECT " SECONDS_BETWEEN("u.sent_at::timestamptz", "$5") " AS distance) d"
		" WHERE j.job_id = $1"
		" AND u.request_id <> ''"
		" AND NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.request_id = u.request_id)"
		" AND u.input::jsonb @> j.input"
		" AND u.sent_at::timestamptz >= $6"
		" AND u.sent_at::timestamptz < ($5 + '15 min'::interval)"
		" AND NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.state = 'submit_unknown'"
		" AND k.job_id <> j.job_id"
		" AND k.model = j.model AND k.input = j.input"
		" AND " SECONDS_BETWEEN("u.sent_at::timestamptz",
								"(k.sent_at + ($5 - j.sent_at))")
		" < d.distance)"
		" ORDER BY u.input::jsonb = j.input DESC, d.distance LIMIT 1",
		6, {INT8OID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	},
	[S_REST] = {
		"UPDATE vibevideo.binding b SET resting = $1, timeline = $2 WHERE b.only_one",
		2, {BOOLOID, INT4OID}
	},
	/* in their order, inputs as they are stored: these may be large */
	[S_NEXT_SUBMITS] = {
		"SELECT n.job_id, (SELECT j.input FROM vibevideo.job j WHERE j.job_id = n.job_id)"
		" FROM vibevideo.next_submits($1, $2) AS n(job_id)",
		2, {INT4OID, TIMESTAMPTZOID}
	},
	[S_CLAIM_SUBMIT] = {
		CLAIM("state = 'submitting', sent_at = clock_timestamp(),",
			  "d.job_id = ANY ($4)"
			  /* IS TRUE keeps the planner off the index of all that are pending */
			  " AND (d.state = 'pending') IS TRUE AND d.cancel_requested_at IS NULL",
			  "d.job_id", JOB_COLUMNS),
		4, {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8ARRAYOID}
	},
	[S_CLAIM_RECONCILE] = {
		CLAIM("",
			  "d.state = 'submit_unknown'",
			  "d.next_at", JOB_COLUMNS),
		3, CLAIM_TYPES
	},
	[S_CLAIM_POLL] = {
		CLAIM("",
			  "d.state = ANY (ARRAY['queued', 'generating'])",
			  "d.next_at", JOB_COLUMNS_TO_FOLLOW),
		3, CLAIM_TYPES
	},
	[S_CLAIM_COPY] = {
		CLAIM("",
			  "d.state = 'processing'",
			  "d.next_at", JOB_COLUMNS_TO_FOLLOW),
		3, CLAIM_TYPES
	},
	[S_LOCK_DUE] = {
		"SELECT " JOB_COLUMNS_TO_FOLLOW " FROM vibevideo.job j"
		" WHERE j.state = ANY (ARRAY['queued', 'generating'])"
		" AND j.next_at <= $2"
		" ORDER BY j.next_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED",
		2, {INT4OID, TIMESTAMPTZOID}
	},
	[S_READ] = {
		"SELECT " JOB_COLUMNS " FROM vibevideo.job j WHERE j.job_id = $1",
		1, {INT8OID}
	},

	/*
	 * The one way a step's outcome gets into a job.  Only the holder of the
	 * newest lease matches, once: recording ends the lease.  A row that somebody
	 * holds is passed over: the worker must not wait for a person.  A cancel that
	 * came in meanwhile ends a job that is not at fal, and makes one that is due at
	 * once.  (job_updates is no table: see ExecuteRecord.)  To the trigger
	 * job_changed an infinite row_next_at says that the caller writes the app's row.
	 */
	[S_RECORD] = {
		"UPDATE vibevideo.job j SET state = u.new_state, tries = u.tries, next_at = u.new_next_at,"
		" queue_position = u.queue_position, error_code = u.error_code, error = u.error,"
		" request_id = COALESCE(u.request_id, j.request_id),"
		" media_url = COALESCE(u.media_url, j.media_url),"
		" media_type = COALESCE(u.media_type, j.media_type),"
		" object_key = COALESCE(u.object_key, j.object_key),"
		" video_url = COALESCE(u.video_url, j.video_url),"
		" bytes_done = COALESCE(u.bytes_done, j.bytes_done),"
		" bytes_total = COALESCE(u.bytes_total, j.bytes_total),"
		" sha256 = COALESCE(u.sha256, j.sha256),"
		" duration_ms = COALESCE(u.duration_ms, j.duration_ms),"
		" leased_by = NULL, lease = nextval('vibevideo.lease_seq'), updated_at = $1, crashes = 0,"
		" submitted_at = CASE WHEN u.request_id IS NOT NULL THEN COALESCE(j.submitted_at, $1) ELSE j.submitted_at END,"
		" generated_at = CASE WHEN u.media_url IS NOT NULL THEN COALESCE(j.generated_at, $1) ELSE j.generated_at END,"
		" completed_at = CASE WHEN u.new_next_at IS NULL THEN $1 END,"
		" bytes_per_second = NULL,"
		" upload_url = CASE WHEN u.new_state <> 'completed' THEN j.upload_url END,"
		" upload_state = CASE WHEN u.new_state <> 'completed' THEN COALESCE(u.upload_state, j.upload_state) END,"
		" row_next_at = CASE WHEN u.row_written AND NOT j.row_dirty THEN 'infinity' ELSE j.row_next_at END"
		" FROM (SELECT x.*,"
		" CASE WHEN l.cancel AND x.state = 'pending' THEN 'cancelled' ELSE x.state END AS new_state,"
		" CASE WHEN l.cancel AND x.state = 'pending' THEN NULL"
		" WHEN l.cancel AND NOT x.cancel_seen AND x.state = ANY (ARRAY['queued', 'generating'])"
		" THEN $1 - '1 day'::interval ELSE x.next_at END AS new_next_at"
		" FROM job_updates x"
		" JOIN (SELECT k.job_id, k.lease, k.cancel_requested_at IS NOT NULL AS cancel FROM vibevideo.job k"
		" WHERE k.job_id = ANY (ARRAY(SELECT y.job_id FROM job_updates y)) FOR NO KEY UPDATE SKIP LOCKED) l"
		" ON l.job_id = x.job_id AND l.lease = x.lease) u"
		" WHERE j.job_id = u.job_id"
		" RETURNING u.nth",
		1, {TIMESTAMPTZOID}
	},
	[S_HOLDS] = {
		"SELECT 1 FROM vibevideo.job j WHERE j.job_id = $1 AND j.lease = $2",
		2, {INT8OID, INT8OID}
	},
	[S_PROGRESS] = {
		"UPDATE vibevideo.job j SET bytes_done = $3, bytes_total = $4, next_at = $5,"
		" upload_url = COALESCE($6, j.upload_url), media_etag = COALESCE($7, j.media_etag), bytes_per_second = $8,"
		" duration_ms = COALESCE($9, j.duration_ms), upload_state = COALESCE($10, j.upload_state)"
		" WHERE j.job_id = ANY (ARRAY(SELECT k.job_id FROM vibevideo.job k"
		" WHERE k.job_id = $1 AND k.lease = $2 FOR NO KEY UPDATE SKIP LOCKED))",
		10, {INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, INT8OID, INT8OID, BYTEAOID}
	},
	[S_EXPIRE] = {
		"UPDATE vibevideo.job j SET state = 'submit_unknown', error_code = 'answer_lost',"
		" error = 'the process that sent the job ended before it had an answer',"
		" lease = nextval('vibevideo.lease_seq'), leased_by = NULL, next_at = $1"
		" WHERE j.job_id = ANY (ARRAY(SELECT k.job_id FROM vibevideo.job k"
		" WHERE k.state = 'submitting' AND (k.next_at <= $1 OR $2)"
		" AND NOT k.job_id = ANY ($3) FOR NO KEY UPDATE SKIP LOCKED))",
		3, {TIMESTAMPTZOID, BOOLOID, INT8ARRAYOID}
	},
	/*
	 * Whoever crashed a worker twice is kept apart: a copy fails (its video
	 * stays at fal, and a retry only copies), a poll, which is paid for, is
	 * asked about more and more rarely.
	 */
	[S_RECOVER] = {
		"UPDATE vibevideo.job j SET crashes = j.crashes + 1, leased_by = NULL, bytes_per_second = NULL,"
		" lease = nextval('vibevideo.lease_seq'), state = r.state,"
		" next_at = CASE WHEN r.state <> 'failed' THEN $1 + r.wait END,"
		" completed_at = CASE WHEN r.state = 'failed' THEN $1 END,"
		" error_code = CASE WHEN j.crashes > 0 THEN 'quarantined' ELSE j.error_code END,"
		" error = CASE WHEN j.crashes > 0"
		" THEN 'the worker went down twice while it had this job' ELSE j.error END"
		" FROM (SELECT k.job_id, CASE WHEN k.crashes > 0"
		" AND k.state = 'processing' THEN 'failed' ELSE k.state END AS state,"
		" CASE WHEN k.crashes = 0 THEN '0'::interval"
		" ELSE LEAST(power(2, k.crashes) * '30 s'::interval,"
		" '1 h'::interval) END AS wait"
		/* state by state, so that finished jobs are not read */
		" FROM vibevideo.job k WHERE k.job_id = ANY ("
		"ARRAY(SELECT a.job_id FROM vibevideo.job a WHERE a.leased_by IS NOT NULL"
		" AND a.state = ANY (ARRAY['queued', 'generating']))"
		" || ARRAY(SELECT a.job_id FROM vibevideo.job a WHERE a.leased_by IS NOT NULL"
		" AND a.state = 'processing')"
		" || ARRAY(SELECT a.job_id FROM vibevideo.job a WHERE a.leased_by IS NOT NULL"
		" AND a.state = 'submit_unknown')) FOR NO KEY UPDATE SKIP LOCKED) r"
		" WHERE j.job_id = r.job_id",
		1, {TIMESTAMPTZOID}
	},
	[S_NEXT_DUE] = {
		"SELECT (SELECT min(j.next_at) FROM vibevideo.job j WHERE j.state = 'pending'"
		" AND ($2 = 0 OR (SELECT vibevideo.room_at_fal()) > 0)),"
		" (SELECT min(j.next_at) FROM vibevideo.job j WHERE j.state = 'submitting'),"
		" (SELECT min(j.next_at) FROM vibevideo.job j WHERE j.state = 'submit_unknown'),"
		" (SELECT min(j.next_at) FROM vibevideo.job j WHERE j.state = ANY (ARRAY['queued', 'generating'])),"
		" (SELECT min(j.next_at) FROM vibevideo.job j WHERE j.state = 'processing'),"
		" (SELECT min(j.row_next_at) FROM vibevideo.job j WHERE j.row_dirty"
		" AND (j.relation = $1) IS TRUE)",
		2, {REGCLASSOID, INT4OID}
	},
	[S_IS_PREPARED] = {
		"SELECT 1 FROM pg_prepared_xacts p WHERE p.database = current_database() LIMIT 1",
		0, {0}
	},

	/*
	 * A claimed job keeps its lease: whoever holds it may be about to record
	 * the request's id.  One at fal is due at once, without the grace that is
	 * left to vibevideo_poll.
	 */
	[S_CANCEL] = {
		"UPDATE vibevideo.job j SET cancel_requested_at = COALESCE(j.cancel_requested_at, $2),"
		" state = CASE WHEN j.state = 'pending' THEN 'cancelled' ELSE j.state END,"
		" completed_at = CASE WHEN j.state = 'pending' THEN $2 END,"
		" next_at = CASE WHEN j.state = 'pending' THEN NULL"
		" WHEN j.leased_by IS NULL THEN $2 - '1 day'::interval ELSE j.next_at END"
		" WHERE j.job_id = $1"
		" AND j.state = ANY (ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating'])",
		2, {INT8OID, TIMESTAMPTZOID}
	},
	[S_SEND_NOW] = {
		"UPDATE vibevideo.job j SET state = 'pending', next_at = $2, tries = 0,"
		" lease = nextval('vibevideo.lease_seq'), error_code = NULL, error = NULL"
		" WHERE j.job_id = $1"
		" AND j.state = 'pending'",
		2, {INT8OID, TIMESTAMPTZOID}
	},
	[S_GIVE_UP_UNKNOWN] = {
		"UPDATE vibevideo.job j SET state = 'failed', next_at = NULL, completed_at = $2,"
		" lease = nextval('vibevideo.lease_seq'), leased_by = NULL, error_code = 'submit_lost',"
		" error = 'its answer was lost; given up in favour of a new attempt'"
		" WHERE j.job_id = $1 AND j.state = 'submit_unknown'",
		2, {INT8OID, TIMESTAMPTZOID}
	},
	[S_COPY_AGAIN] = {
		"UPDATE vibevideo.job j SET state = 'processing', next_at = $2, tries = 0, crashes = 0,"
		/* the copy's clock starts anew */
		" generated_at = $2, completed_at = NULL, error_code = NULL, error = NULL"
		" WHERE j.job_id = $1 AND j.state = 'failed'"
		" AND j.media_url IS NOT NULL",
		2, {INT8OID, TIMESTAMPTZOID}
	},
	[S_PRUNE] = {
		"WITH gone AS (DELETE FROM vibevideo.job j WHERE j.job_id = ANY (ARRAY("
		"SELECT d.job_id FROM vibevideo.job d"
		" WHERE d.completed_at < $1 AND d.next_at IS NULL"
		/* a row that shall still be told of it, unless its table is gone */
		" AND NOT (d.row_dirty AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.relation))"
		" ORDER BY d.completed_at LIMIT $2)) RETURNING j.job_id)"
		" DELETE FROM vibevideo.event e WHERE e.job_id = ANY (ARRAY(SELECT g.job_id FROM gone g))",
		2, {TIMESTAMPTZOID, INT4OID}
	},
	[S_DESCRIBE] = {
		"SELECT vibevideo.describe(j) FROM vibevideo.job j WHERE j.job_id = $1",
		1, {INT8OID}
	},
	[S_DESCRIBE_MANY] = {
		"SELECT x.nth, (SELECT vibevideo.describe(j) FROM vibevideo.job j WHERE j.job_id = x.job_id)"
		" FROM ROWS FROM (unnest($1)) WITH ORDINALITY AS x(job_id, nth)",
		1, {INT8ARRAYOID}
	},
	[S_DESCRIBE_NONE] = {
		"SELECT ROW($1, NULL, NULL, NULL, 'No video has been asked for', NULL, NULL, NULL, NULL, NULL,"
		" NULL, NULL, NULL)::vibevideo.video",
		1, {TEXTOID}
	},

#define DIRTY_COLUMNS(n) \
	"SELECT j.job_id, j.vibelog_id, vibevideo.shown_status(" n ".state), " n ".request_id," \
	" COALESCE(" n ".video_url, j.video_url)," \
	" COALESCE(CASE WHEN " n ".state = 'completed' THEN " n ".completed_at END," \
	" CASE WHEN j.state = 'completed' THEN j.completed_at END)," \
	" CASE WHEN " n ".state = 'failed' THEN " n ".error" \
	" WHEN " n ".state = 'submit_unknown' THEN vibevideo.job_message(" n ") END," \
	" j.row_tries, j.row_dirty"
	/*
	 * What was put off may be an older attempt's by now: the row shows what the
	 * newest says, but for the video, which an attempt without one leaves.
	 */
	[S_DIRTY] = {
		DIRTY_COLUMNS("n")
		" FROM (SELECT d.* FROM vibevideo.job d"
		" WHERE d.row_dirty AND d.row_next_at <= $1"
		/* IS TRUE keeps the planner off the index that begins with relation: it holds all jobs */
		" AND (d.relation = $3) IS TRUE"
		" ORDER BY d.row_next_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) j"
		" JOIN vibevideo.job n ON n.job_id = (SELECT max(k.job_id) FROM vibevideo.job k"
		" WHERE k.relation = j.relation AND k.vibelog_id = j.vibelog_id"
		" AND NOT k.ghost)"
		" FOR NO KEY UPDATE OF n SKIP LOCKED",
		3, {TIMESTAMPTZOID, INT4OID, REGCLASSOID}
	},
	[S_DIRTY_ONE] = {
		DIRTY_COLUMNS("j") " FROM vibevideo.job j WHERE j.job_id = $1 FOR NO KEY UPDATE OF j",
		1, {INT8OID}
	},
	[S_DIRTY_THESE] = {
		DIRTY_COLUMNS("j") " FROM vibevideo.job j WHERE j.job_id = ANY ($1) AND (j.relation = $2) IS TRUE"
		" AND NOT j.ghost",
		2, {INT8ARRAYOID, REGCLASSOID}
	},
	[S_ROW_DONE] = {
		"UPDATE vibevideo.job j SET row_dirty = $2, row_error = $3, row_tries = $4, row_next_at = $5"
		" WHERE j.job_id = $1",
		5, {INT8OID, BOOLOID, TEXTOID, INT4OID, TIMESTAMPTZOID}
	},
	/* those that were written without trouble; $2 is now */
	[S_ROWS_DONE] = {
		"UPDATE vibevideo.job j SET row_dirty = false, row_error = NULL, row_tries = 0, row_next_at = $2"
		" WHERE j.job_id = ANY ($1)",
		2, {INT8ARRAYOID, TIMESTAMPTZOID}
	},
	[S_ROWS_AGAIN] = {
		"UPDATE vibevideo.job j SET row_dirty = true, row_next_at = $2 WHERE j.job_id = ANY ($1)",
		2, {INT8ARRAYOID, TIMESTAMPTZOID}
	},
	/* those of a table that is not attached now: they wait until it is */
	[S_ROWS_ELSEWHERE] = {
		"UPDATE vibevideo.job j SET row_dirty = true WHERE j.job_id = ANY ($1)"
		" AND (j.relation = $2) IS NOT TRUE AND NOT j.ghost",
		2, {INT8ARRAYOID, REGCLASSOID}
	},
	[S_MODEL] = {
		"SELECT m.max_prompt, m.needs_image FROM vibevideo.model m WHERE m.endpoint = $1",
		1, {TEXTOID}
	},
	[S_INPUT] = {
		"SELECT jsonb_typeof($1::jsonb),"
		" length(($1::jsonb) ->> 'prompt'),"
		" length(btrim(($1::jsonb) ->> 'prompt', E' \\t\\r\\n')),"
		" (($1::jsonb) ->> 'image_url') <> ''",
		1, {TEXTOID}
	},
	[S_KEYS] = {
		"SELECT f.keys, f.fetched_at FROM vibevideo.fal_account f",
		0, {0}
	},
	[S_STORE_KEYS] = {
		"INSERT INTO vibevideo.fal_account (keys, fetched_at) VALUES ($1, $2)"
		" ON CONFLICT (only_one) DO UPDATE SET keys = $1, fetched_at = $2",
		2, {BYTEAOID, TIMESTAMPTZOID}
	},
	[S_OUR_USER] = {
		"SELECT 1 FROM vibevideo.fal_account f WHERE f.user_id <> $1",
		1, {TEXTOID}
	},
	[S_LEARN_USER] = {
		"UPDATE vibevideo.fal_account f SET user_id = $1 WHERE f.user_id IS NULL",
		1, {TEXTOID}
	},

	/*
	 * Due now, without the grace that is left to vibevideo_poll.  One that the
	 * worker is asking about is asked again: that answer may be older than the
	 * webhook.  A row that a poll pass holds is passed over, not waited for.
	 */
	[S_POLL_NOW] = {
		"WITH due AS (UPDATE vibevideo.job j SET next_at = $2 - '1 day'::interval"
		" WHERE j.job_id = ANY (ARRAY(SELECT d.job_id FROM vibevideo.job d"
		" WHERE d.request_id = $1"
		" AND d.state = ANY (ARRAY['queued', 'generating']) FOR NO KEY UPDATE SKIP LOCKED)))"
		" SELECT 1 FROM vibevideo.job k WHERE k.request_id = $1",
		2, {TEXTOID, TIMESTAMPTZOID}
	},
	[S_RECONCILE_NOW] = {
		"UPDATE vibevideo.job j SET next_at = LEAST(j.next_at, $1), tries = 0"
		" WHERE j.state = 'submit_unknown'",
		1, {TIMESTAMPTZOID}
	},
	[S_EVENT] = {
		"INSERT INTO vibevideo.event (job_id, state, error_code, detail) VALUES ($1, $2, $3, $4)",
		4, {INT8OID, TEXTOID, TEXTOID, TEXTOID}
	},
	[S_PRICE] = {
		"SELECT COALESCE((SELECT m.price_usd FROM vibevideo.model m WHERE m.endpoint = $1), 0)::numeric(10, 4)",
		1, {TEXTOID}
	},
	[S_HAS_LIMITS] = {
		"SELECT 1 FROM vibevideo.limit l LIMIT 1",
		0, {0}
	},
	[S_TAKE_SHARE] = {
		"SELECT vibevideo.take_share($1)",
		1, {InvalidOid}
	},
	[S_GIVE_BACK] = {
		"SELECT vibevideo.release($1)",
		1, {InvalidOid}
	},
};
/* clang-format on */

static SPIPlanPtr plans[S_COUNT];
static bool in_worker = false; /* not just any background worker: pg_cron's are clients */

static void
Fail(const char *what, int rc)
{
	elog(ERROR, "vibevideo: %s: %s", what, SPI_result_code_string(rc));
}

/*
 * A plan that is kept may be made while a table is still empty, when reading
 * all of it looks cheapest.  All our statements look for a few rows by an index,
 * so that is what is planned, now and whenever it has to be planned anew.
 */
static void
PlanForIndexes(SPIPlanPtr plan)
{
	int nest = NewGUCNestLevel();
	CachedPlan *cached;

	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	/* a table without an index for us now looks worth compiling for */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	cached = SPI_plan_get_cached_plan(plan);
	if (cached)
		ReleaseCachedPlan(cached, CurrentResourceOwner);
	AtEOXact_GUC(false, nest);
}

static SPIPlanPtr
Prepare(const char *sql, int nargs, const Oid *types)
{
	SPIPlanPtr plan = SPI_prepare_cursor(sql, nargs, (Oid *) types, CURSOR_OPT_GENERIC_PLAN);

	if (plan == NULL)
		Fail(sql, SPI_result);
	SPI_keepplan(plan);
	PlanForIndexes(plan);
	return plan;
}

static Oid
JobRowType(void)
{
	return get_rel_type_id(get_relname_relid("job", get_namespace_oid("vibevideo", false)));
}

/* InvalidOid stands for a row of vibevideo.job, whose type has no fixed number. */
static SPIPlanPtr
PrepareStatement(const struct Statement *statement)
{
	Oid types[lengthof(statement->types)];

	memcpy(types, statement->types, sizeof(types));
	for (int i = 0; i < statement->nargs; i++)
		if (!OidIsValid(types[i]))
			types[i] = JobRowType();
	return Prepare(statement->sql, statement->nargs, types);
}

/* Made for the row type of an extension that was dropped and created again since? */
static bool
IsOutdated(StatementId id)
{
	return statements[id].nargs > 0 && !OidIsValid(statements[id].types[0]) &&
		SPI_getargtypeid(plans[id], 0) != JobRowType();
}

/* nulls: one character an argument, 'n' for NULL; NULL pointer when none is */
static uint64
Execute(StatementId id, Datum *args, const char *nulls)
{
	Identity saved;
	int rc;

	IdentityBecomeExtensionOwner(&saved);
	if (plans[id] && IsOutdated(id))
	{
		SPI_freeplan(plans[id]);
		plans[id] = NULL;
	}
	if (plans[id] == NULL)
		plans[id] = PrepareStatement(&statements[id]);
	else if (!SPI_plan_is_valid(plans[id]))
		PlanForIndexes(plans[id]);
	rc = SPI_execute_plan(plans[id], args, nulls, false, 0);
	if (rc < 0)
		Fail("execute", rc);
	IdentityResume(&saved);
	return SPI_processed;
}

void
JobInWorker(void)
{
	in_worker = true;
}

/*----------
 * Reading results
 *----------
 */
static char *
GetText(HeapTuple tuple, TupleDesc desc, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static unsigned char *
GetBytes(HeapTuple tuple, TupleDesc desc, int column, size_t *len)
{
	bool isnull;
	Datum value = SPI_getbinval(tuple, desc, column, &isnull);
	bytea *bytes;
	unsigned char *copy;

	*len = 0;
	if (isnull)
		return NULL;
	bytes = DatumGetByteaPP(value);
	*len = VARSIZE_ANY_EXHDR(bytes);
	copy = palloc(*len);
	memcpy(copy, VARDATA_ANY(bytes), *len);
	return copy;
}

static int64
GetInt(HeapTuple tuple, TupleDesc desc, int column, int64 if_null)
{
	bool isnull;
	Datum value = SPI_getbinval(tuple, desc, column, &isnull);

	if (isnull)
		return if_null;
	return SPI_gettypeid(desc, column) == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value);
}

static TimestampTz
GetTime(HeapTuple tuple, TupleDesc desc, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

static bool
GetBool(HeapTuple tuple, TupleDesc desc, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(tuple, desc, column, &isnull);

	return !isnull && DatumGetBool(value);
}

/* the only value of the only row, 0 if there is none */
static int64
FirstInt(void)
{
	return SPI_processed == 0 ? 0 : GetInt(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, 0);
}

static Job *
ReadJob(HeapTuple tuple, TupleDesc desc, MemoryContext mcxt)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	Job *job = palloc0(sizeof(Job));

	job->job_id = GetInt(tuple, desc, 1, 0);
	job->vibelog_id = GetText(tuple, desc, 2);
	job->state = GetText(tuple, desc, 3);
	job->model = GetText(tuple, desc, 4);
	job->input = GetText(tuple, desc, 5);
	job->input_bytes = job->input ? strlen(job->input) : 0;
	job->request_id = GetText(tuple, desc, 6);
	job->media_url = GetText(tuple, desc, 7);
	job->media_type = GetText(tuple, desc, 8);
	job->object_key = GetText(tuple, desc, 9);
	job->error_code = GetText(tuple, desc, 10);
	job->error = GetText(tuple, desc, 11);
	job->bytes_total = GetInt(tuple, desc, 12, -1);
	job->lease = GetInt(tuple, desc, 13, 0);
	job->tries = (int) GetInt(tuple, desc, 14, 0);
	job->crashes = (int) GetInt(tuple, desc, 15, 0);
	job->attempt = (int) GetInt(tuple, desc, 16, 1);
	job->queue_position = (int) GetInt(tuple, desc, 17, -1);
	job->created_at = GetTime(tuple, desc, 18);
	job->submitted_at = GetTime(tuple, desc, 19);
	job->cancel_requested_at = GetTime(tuple, desc, 20);
	job->sent_at = GetTime(tuple, desc, 21);
	job->renders = (int) GetInt(tuple, desc, 22, 1);
	job->ghost = GetBool(tuple, desc, 23);
	job->generated_at = GetTime(tuple, desc, 24);
	job->upload_url = GetText(tuple, desc, 25);
	job->media_etag = GetText(tuple, desc, 26);
	job->upload_state = GetBytes(tuple, desc, 27, &job->upload_state_len);
	MemoryContextSwitchTo(old);
	return job;
}

/*----------
 * Arrays as arguments
 *----------
 */
typedef struct ArrayColumn
{
	Datum *values;
	bool *nulls;
} ArrayColumn;

static ArrayColumn
NewColumn(int n)
{
	ArrayColumn column = {palloc0(sizeof(Datum) * n), palloc0(sizeof(bool) * n)};

	return column;
}

static Datum
ColumnArray(ArrayColumn column, int n, Oid type)
{
	int dims[1] = {n};
	int lbs[1] = {1};
	int16 len;
	bool byval;
	char align;

	get_typlenbyvalalign(type, &len, &byval, &align);
	return PointerGetDatum(construct_md_array(column.values, column.nulls, 1, dims, lbs,
											  type, len, byval, align));
}

static void
PutText(ArrayColumn column, int i, const char *text)
{
	column.nulls[i] = (text == NULL);
	if (text)
		column.values[i] = CStringGetTextDatum(text);
}

static Datum
TextArray(char **texts, int n)
{
	ArrayColumn column = NewColumn(n);

	for (int i = 0; i < n; i++)
		PutText(column, i, texts[i]);
	return ColumnArray(column, n, TEXTOID);
}

static Datum
IdArray(const int64 *ids, int n)
{
	Datum *values = palloc(sizeof(Datum) * (n + 1));

	for (int i = 0; i < n; i++)
		values[i] = Int64GetDatum(ids[i]);
	return PointerGetDatum(construct_array(values, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*----------
 * The binding
 *----------
 */

/* GetText allocates in the current context, which is SPI's: keep a copy above it */
static char *
KeepText(HeapTuple tuple, TupleDesc desc, int column)
{
	char *text = GetText(tuple, desc, column);
	char *kept = NULL;

	if (text)
	{
		kept = SPI_palloc(strlen(text) + 1);
		strcpy(kept, text);
		pfree(text);
	}
	return kept;
}

static char *
KeepQuoted(HeapTuple tuple, TupleDesc desc, int column)
{
	bool isnull;
	Datum name = SPI_getbinval(tuple, desc, column, &isnull);
	const char *quoted;
	char *kept;

	if (isnull)
		return NULL;
	quoted = quote_identifier(NameStr(*DatumGetName(name)));
	kept = SPI_palloc(strlen(quoted) + 1);
	strcpy(kept, quoted);
	return kept;
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
	binding->relation = SPI_palloc(strlen(name) + 1);
	strcpy(binding->relation, name);
	return true;
}

bool
JobLoadBinding(Binding *binding)
{
	HeapTuple tuple;
	TupleDesc desc;
	bool isnull;

	memset(binding, 0, sizeof(*binding));
	if (Execute(S_BINDING, NULL, NULL) == 0)
		return false;
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	binding->relid = DatumGetObjectId(SPI_getbinval(tuple, desc, 1, &isnull));
	if (!LookUpRelation(binding))
		return false;
	binding->id_type = DatumGetObjectId(SPI_getbinval(tuple, desc, 2, &isnull));
	binding->id_column = KeepQuoted(tuple, desc, 3);
	binding->prompt_column = KeepQuoted(tuple, desc, 4);
	binding->image_column = KeepQuoted(tuple, desc, 5);
	binding->input_function = KeepText(tuple, desc, 6);
	binding->model = KeepText(tuple, desc, 7);
	if (binding->model == NULL)
	{
		binding->model = SPI_palloc(strlen(vv_model) + 1);
		strcpy(binding->model, vv_model);
	}
	binding->build_index = GetBool(tuple, desc, 8);
	binding->resting = GetBool(tuple, desc, 9);
	binding->system_identifier = GetInt(tuple, desc, 10, 0);
	binding->database_oid = DatumGetObjectId(SPI_getbinval(tuple, desc, 11, &isnull));
	binding->timeline = (int) GetInt(tuple, desc, 12, 0);
	binding->user_column = KeepQuoted(tuple, desc, 13);
	binding->realtime = GetBool(tuple, desc, 14);
	return true;
}

static bool
IsOtherDatabase(const Binding *binding)
{
	return binding->system_identifier != (int64) ShmemClusterIdentifier() || binding->database_oid != MyDatabaseId;
}

static bool
IsCopy(const Binding *binding)
{
	if (binding->resting || IsOtherDatabase(binding))
		return true;
	/* a standby has no timeline of its own, and cannot submit either */
	return !RecoveryInProgress() && binding->timeline != (int) GetWALInsertionTimeLine();
}

/*
 * A standby that was promoted goes on by itself: it was started as one, and
 * the old primary is gone or fenced by whoever promoted.  Any other change of
 * identity means a copy, and two copies must not both pay.
 */
static bool
IsPromoted(const Binding *binding)
{
	return !binding->resting && !IsOtherDatabase(binding) && ShmemStartedAsStandby() && !RecoveryInProgress() &&
		binding->timeline != (int) GetWALInsertionTimeLine();
}

void
JobRequireBinding(Binding *binding, bool to_act)
{
	if (!JobLoadBinding(binding) && OidIsValid(binding->relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table that was attached to vibevideo no longer exists"),
				 errhint("Attach another one with SELECT vibevideo.attach('schema.table').")));
	if (!OidIsValid(binding->relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no table is attached to vibevideo"),
				 errhint("Attach the app's table with SELECT vibevideo.attach('public.vibelogs').")));
	if (to_act && IsCopy(binding) && !IsPromoted(binding))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("vibevideo rests in this database"),
				 errdetail("It is a restored or copied database; the original may still work on the same jobs."),
				 errhint("On the one that shall go on: SELECT vibevideo.resume().")));
}

bool
JobMayAct(Binding *binding)
{
	int timeline = (int) GetWALInsertionTimeLine();
	bool promoted = IsPromoted(binding);
	Datum args[2];

	if (!IsCopy(binding))
		return true;
	args[0] = BoolGetDatum(!promoted);
	args[1] = Int32GetDatum(promoted ? timeline : binding->timeline);
	if (promoted || !binding->resting)
	{
		Execute(S_REST, args, NULL);
		binding->resting = !promoted;
		if (promoted)
			binding->timeline = timeline;
		else
			ereport(WARNING,
					(errmsg("vibevideo rests: this database is a copy of the one its jobs belong to"),
					 errhint("If it shall go on with them, SELECT vibevideo.resume().")));
	}
	return promoted;
}

/*----------
 * Rows of the app
 *----------
 */

/* Text back into the key's type: a parameter, never a part of the statement. */
static Datum
KeyDatum(const Binding *binding, const char *vibelog_id)
{
	Oid input;
	Oid param;

	getTypeInputInfo(binding->id_type, &input, &param);
	return OidInputFunctionCall(input, (char *) vibelog_id, param, -1);
}

/*
 * Statements on the app's table, prepared once a session while their text and
 * the key's type stay the same, that is: until another table is attached, or
 * the same one with another type of key.  They are planned anew whenever the
 * path that they run along, or who runs them, has changed, which shows only
 * when they are run: so it is seen to each time that this is done for indexes.
 */
typedef enum RowStatement
{
	R_CHECK,
	R_SEE,
	R_INPUT,
	R_LOCK,
	R_LOOK,
	R_UPDATE,
	R_UPDATE_MANY,
	R_COUNT
} RowStatement;

static struct
{
	char *sql;
	Oid key_type;
	SPIPlanPtr plan;
} row_plans[R_COUNT];

static SPIPlanPtr
RowPlan(RowStatement id, const char *sql, int nargs, Oid *types)
{
	SPIPlanPtr plan;

	if (row_plans[id].plan && row_plans[id].key_type == types[0] && strcmp(row_plans[id].sql, sql) == 0)
	{
		PlanForIndexes(row_plans[id].plan);
		return row_plans[id].plan;
	}
	plan = Prepare(sql, nargs, types);
	/* the other table's plan stays: we may be in its trigger, which that plan has fired */
	if (row_plans[id].plan)
		pfree(row_plans[id].sql);
	row_plans[id].sql = MemoryContextStrdup(TopMemoryContext, sql);
	row_plans[id].key_type = types[0];
	row_plans[id].plan = plan;
	return plan;
}

static uint64
ExecuteOnRow(const Binding *binding, RowStatement id, const char *sql, const char *vibelog_id)
{
	Datum args[1] = {KeyDatum(binding, vibelog_id)};
	Oid types[1] = {binding->id_type};
	int rc = SPI_execute_plan(RowPlan(id, sql, 1, types), args, NULL, false, 1);

	if (rc < 0)
		Fail(sql, rc);
	return SPI_processed;
}

/*
 * The key comes back from the row: with some collations 'ABC' finds 'abc', and
 * must not become a job of its own.
 *
 * Locking clauses make RLS apply the UPDATE policies as well, even the weakest
 * one.  FOR KEY SHARE does not conflict with our own writes of that row, so
 * a job's row is always locked before the app's, and there is no deadlock.
 */
char *
JobCheckRow(const Binding *binding, const char *vibelog_id, bool lock)
{
	char *sql = psprintf("SELECT %s::pg_catalog.text FROM %s WHERE %s OPERATOR(pg_catalog.=) $1%s",
						 binding->id_column, binding->relation, binding->id_column,
						 lock ? " FOR KEY SHARE" : "");
	char *key;

	if (ExecuteOnRow(binding, lock ? R_CHECK : R_SEE, sql, vibelog_id) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_VIBEVIDEO_NOT_FOUND),
				 errmsg("there is no row %s in %s that you may %s", vibelog_id, binding->relation,
						lock ? "update" : "see"),
				 errhint("Row level security decides which rows a role can turn into videos.")));
	key = KeepText(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	SPI_freetuptable(SPI_tuptable);
	return key;
}

/* What the model is sent, by the app's own function or from two columns. */
static char *
InputStatement(const Binding *binding)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (binding->input_function)
		appendStringInfo(&sql, "SELECT %s(t)::pg_catalog.text", binding->input_function);
	else if (binding->image_column)
		appendStringInfo(&sql,
						 "SELECT (pg_catalog.jsonb_build_object('prompt', t.%s::pg_catalog.text)"
						 " OPERATOR(pg_catalog.||) CASE WHEN t.%s::pg_catalog.text OPERATOR(pg_catalog.<>) ''"
						 " THEN pg_catalog.jsonb_build_object('image_url', t.%s::pg_catalog.text)"
						 " ELSE '{}' END)::pg_catalog.text",
						 binding->prompt_column, binding->image_column, binding->image_column);
	else
		appendStringInfo(&sql,
						 "SELECT pg_catalog.jsonb_build_object('prompt', t.%s::pg_catalog.text)::pg_catalog.text",
						 binding->prompt_column);
	if (binding->user_column)
		appendStringInfo(&sql, ", t.%s::pg_catalog.text", binding->user_column);
	appendStringInfo(&sql, " FROM %s t WHERE t.%s OPERATOR(pg_catalog.=) $1",
					 binding->relation, binding->id_column);
	return sql.data;
}

/* What we know of a model. */
typedef struct ModelLimits
{
	bool known;
	int64 max_prompt; /* 0: none */
	bool needs_image;
} ModelLimits;

static ModelLimits
ReadModelLimits(const char *model)
{
	Datum args[1] = {CStringGetTextDatum(model)};
	ModelLimits limits = {0};

	limits.known = Execute(S_MODEL, args, NULL) > 0;
	if (limits.known)
	{
		limits.max_prompt = GetInt(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, 0);
		limits.needs_image = GetBool(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	}
	return limits;
}

static void
CheckInput(const Binding *binding, const ModelLimits *limits, const char *input)
{
	Datum json[1] = {CStringGetTextDatum(input)};
	HeapTuple tuple;
	TupleDesc desc;
	int64 length;
	char *kind;

	Execute(S_INPUT, json, NULL);
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	kind = GetText(tuple, desc, 1);
	if (kind == NULL || strcmp(kind, "object") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the model's input must be a JSON object, not %s", kind ? kind : "null"),
				 errhint("Mend the input function %s.", binding->input_function ? binding->input_function : "")));
	/* an input function may leave the prompt to a model that needs none */
	if ((limits->known || binding->input_function == NULL) && GetInt(tuple, desc, 3, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the prompt is missing or empty"),
				 errdetail("Model %s needs a prompt; nothing was sent.", binding->model),
				 errhint("Fill in column %s.", binding->prompt_column)));
	pfree(DatumGetPointer(json[0]));
	length = GetInt(tuple, desc, 2, 0);
	if (limits->max_prompt > 0 && length > limits->max_prompt)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the prompt is too long: %lld characters, model %s takes %lld",
						(long long) length, binding->model, (long long) limits->max_prompt),
				 errdetail("Nothing was sent."),
				 errhint("Shorten the prompt, or choose another model.")));
	if (limits->needs_image && !GetBool(tuple, desc, 4))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the image is missing"),
				 errdetail("Model %s needs image_url; nothing was sent.", binding->model),
				 errhint("Fill in the image column, or attach the table with another model.")));
}

/* As the table's owner, whom the caller has become. */
static void
ReadInput(const Binding *binding, const char *sql, JobNew *job)
{
	char *user = NULL;

	if (ExecuteOnRow(binding, R_INPUT, sql, job->vibelog_id) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the owner of %s cannot see row %s", binding->relation, job->vibelog_id),
				 errhint("Row level security is forced on the owner: give it a policy, or ALTER TABLE … NO FORCE ROW LEVEL SECURITY.")));
	job->input = KeepText(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (binding->user_column)
		user = KeepText(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	if (user)
		job->user = user;
	SPI_freetuptable(SPI_tuptable);
	if (job->input == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the input function %s returned NULL for row %s",
						binding->input_function ? binding->input_function : "", job->vibelog_id)));
	if (strlen(job->input) > MAX_INPUT_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the model's input is larger than %d bytes", MAX_INPUT_BYTES),
				 errhint("Send media by URL.")));
}

int
JobBuildInputs(const Binding *binding, JobNew *jobs, int n)
{
	ModelLimits limits = ReadModelLimits(binding->model);
	char *sql = InputStatement(binding);
	Identity saved;
	size_t bytes = 0;
	int done = 0;

	IdentityBecomeTableOwner(binding->owner, &saved);
	while (done < n && bytes < JOB_INPUT_BYTES)
	{
		CHECK_FOR_INTERRUPTS();
		ReadInput(binding, sql, &jobs[done]);
		bytes += strlen(jobs[done++].input);
	}
	IdentityResume(&saved);
	for (int i = 0; i < done; i++)
		CheckInput(binding, &limits, jobs[i].input);
	return done;
}

/*----------
 * Writing the app's rows.  The job is the truth; its row is written after it,
 * in a subtransaction, as the table's owner.  Whatever the app's triggers do,
 * a paid job is never lost to them.
 *----------
 */
typedef struct DirtyJob
{
	int64 job_id;
	char *vibelog_id;
	Datum values[5];
	char nulls[6];
	int tries;
	bool marked; /* its job says so */
} DirtyJob;

typedef enum RowOutcome
{
	ROW_WRITTEN,
	ROW_SAME,
	ROW_LOCKED,
	ROW_GONE
} RowOutcome;

static DirtyJob *
ReadDirty(HeapTuple tuple, TupleDesc desc)
{
	DirtyJob *dirty = palloc0(sizeof(DirtyJob));

	dirty->job_id = GetInt(tuple, desc, 1, 0);
	dirty->vibelog_id = GetText(tuple, desc, 2);
	for (int i = 0; i < 5; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i + 2);
		bool isnull;
		Datum value = SPI_getbinval(tuple, desc, i + 3, &isnull);

		dirty->values[i] = isnull ? (Datum) 0 : datumCopy(value, att->attbyval, att->attlen);
		dirty->nulls[i] = isnull ? 'n' : ' ';
	}
	dirty->tries = (int) GetInt(tuple, desc, 8, 0);
	dirty->marked = GetBool(tuple, desc, 9);
	return dirty;
}

/* Why a statement left a row alone. */
static RowOutcome
WhyUnchanged(const Binding *binding, const char *vibelog_id)
{
	char *lock = psprintf("SELECT 1 FROM %s WHERE %s OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE SKIP LOCKED",
						  binding->relation, binding->id_column);
	char *look = psprintf("SELECT 1 FROM %s WHERE %s OPERATOR(pg_catalog.=) $1",
						  binding->relation, binding->id_column);

	if (ExecuteOnRow(binding, R_LOCK, lock, vibelog_id) > 0)
		return ROW_SAME;
	return ExecuteOnRow(binding, R_LOOK, look, vibelog_id) == 0 ? ROW_GONE : ROW_LOCKED;
}

/*
 * What is written into row t, and that it differs: only a real change touches a
 * row, so that subscribers see each state once.
 */
/* clang-format off */
#define SET_ROW(status, request_id, url, generated_at, error) \
	" SET video_generation_status = " status ", video_request_id = " request_id "," \
	" video_url = COALESCE(" url ", t.video_url)," \
	" video_generated_at = COALESCE(" generated_at ", t.video_generated_at), video_generation_error = " error
/* IS DISTINCT FROM would look its = up along the path */
#define DIFFERS(a, b) \
	"COALESCE(" a " OPERATOR(pg_catalog.<>) " b ", (" a " IS NULL) OPERATOR(pg_catalog.<>) (" b " IS NULL))"
#define ROW_DIFFERS(status, request_id, url, generated_at, error) \
	" AND (" DIFFERS("t.video_generation_status", status) " OR " DIFFERS("t.video_request_id", request_id) \
	" OR " DIFFERS("t.video_url", "COALESCE(" url ", t.video_url)") \
	" OR " DIFFERS("t.video_generated_at", "COALESCE(" generated_at ", t.video_generated_at)") \
	" OR " DIFFERS("t.video_generation_error", error) ")"

/* The names to fill in: table, key, key, table, key. */
#define WRITE_ROW \
	"UPDATE %s t" SET_ROW("$2", "$3", "$4", "$5", "$6") \
	" WHERE t.%s OPERATOR(pg_catalog.=)" \
	" (SELECT k.%s FROM %s k WHERE k.%s OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE SKIP LOCKED)" \
	ROW_DIFFERS("$2", "$3", "$4", "$5", "$6")

/* Table, key, table, key, key; gives the ordinal numbers of the rows it has changed. */
#define WRITE_ROWS \
	"UPDATE %s t" SET_ROW("x.status", "x.request_id", "x.url", "x.generated_at", "x.error") \
	" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)," \
	" pg_catalog.unnest($5), pg_catalog.unnest($6)) WITH ORDINALITY" \
	" AS x(key, status, request_id, url, generated_at, error, nth)" \
	" CROSS JOIN LATERAL (SELECT k.%s AS key FROM %s k WHERE k.%s OPERATOR(pg_catalog.=) x.key" \
	" FOR NO KEY UPDATE SKIP LOCKED) l" \
	" WHERE t.%s OPERATOR(pg_catalog.=) l.key" \
	ROW_DIFFERS("x.status", "x.request_id", "x.url", "x.generated_at", "x.error") \
	" RETURNING x.nth"
/* clang-format on */

/* The row is locked by the same statement that changes it. */
static RowOutcome
WriteRow(const Binding *binding, const DirtyJob *dirty)
{
	Oid types[6] = {binding->id_type, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID};
	char *update = psprintf(WRITE_ROW, binding->relation, binding->id_column, binding->id_column, binding->relation,
							binding->id_column);
	Datum args[6];
	char nulls[7] = " ";
	int rc;

	args[0] = KeyDatum(binding, dirty->vibelog_id);
	memcpy(&args[1], dirty->values, sizeof(dirty->values));
	memcpy(&nulls[1], dirty->nulls, 5);
	rc = SPI_execute_plan(RowPlan(R_UPDATE, update, 6, types), args, nulls, false, 0);
	if (rc < 0)
		Fail("update", rc);
	return SPI_processed > 0 ? ROW_WRITTEN : WhyUnchanged(binding, dirty->vibelog_id);
}

/*
 * Cancel and shutdown end a client's whole statement; anything else is this
 * row's own trouble, and so is all that the worker, which only its row
 * timeout cancels, can catch.
 */
static bool
IsInterrupt(int sqlerrcode)
{
	if (in_worker)
		return ProcDiePending;
	return sqlerrcode == ERRCODE_QUERY_CANCELED ||
		ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION;
}

/* The news of a row that was written, for whoever listens through Realtime. */
static RowOutcome
TellRow(const Binding *binding, const DirtyJob *dirty)
{
	RealtimeTell(dirty->vibelog_id, TextDatumGetCString(dirty->values[0]),
				 dirty->nulls[1] == 'n' ? NULL : TextDatumGetCString(dirty->values[1]));
	return ROW_WRITTEN;
}

/* What is done to the app's rows as their owner, in a subtransaction. */
typedef struct RowStep
{
	RowOutcome (*each)(const Binding *binding, const DirtyJob *dirty);
	DirtyJob **dirty;
	int n;
	TimestampTz until; /* no more rows are begun then, 0: all are */
	int done;
	RowOutcome *outcomes;
} RowStep;

/* By one statement; those that it left alone, as one whose row another of them has, one by one. */
static void
WriteMany(const Binding *binding, DirtyJob **dirty, int n, RowOutcome *outcomes)
{
	Oid types[6] = {get_array_type(binding->id_type), TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID};
	static const Oid elements[6] = {InvalidOid, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID};
	ArrayColumn columns[6];
	Datum args[6];
	char *update = psprintf(WRITE_ROWS, binding->relation, binding->id_column, binding->relation, binding->id_column,
							binding->id_column);
	bool *written = palloc0(sizeof(bool) * n);
	int rc;

	for (int c = 0; c < lengthof(columns); c++)
		columns[c] = NewColumn(n);
	for (int i = 0; i < n; i++)
	{
		columns[0].values[i] = KeyDatum(binding, dirty[i]->vibelog_id);
		for (int c = 1; c < lengthof(columns); c++)
		{
			columns[c].values[i] = dirty[i]->values[c - 1];
			columns[c].nulls[i] = (dirty[i]->nulls[c - 1] == 'n');
		}
	}
	for (int c = 0; c < lengthof(columns); c++)
		args[c] = ColumnArray(columns[c], n, c == 0 ? binding->id_type : elements[c]);
	rc = SPI_execute_plan(RowPlan(R_UPDATE_MANY, update, lengthof(types), types), args, NULL, false, 0);
	if (rc < 0)
		Fail("update", rc);
	for (uint64 i = 0; i < SPI_processed; i++)
		written[GetInt(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, 1) - 1] = true;
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < n; i++)
		outcomes[i] = written[i] ? ROW_WRITTEN : WriteRow(binding, dirty[i]);
}

static void
RunStep(const Binding *binding, RowStep *step)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext mcxt = AllocSetContextCreate(outer, "vibevideo row", ALLOCSET_DEFAULT_SIZES);
	bool together = (step->each == WriteRow && step->n > 1 && OidIsValid(get_array_type(binding->id_type)));

	while (step->done < step->n && (step->until == 0 || step->done == 0 || GetCurrentTimestamp() <= step->until))
	{
		int n = together ? Min(ROWS_TOGETHER, step->n - step->done) : 1;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(mcxt);
		if (together)
			WriteMany(binding, step->dirty + step->done, n, step->outcomes + step->done);
		else
			step->outcomes[step->done] = step->each(binding, step->dirty[step->done]);
		step->done += n;
		MemoryContextSwitchTo(outer);
		MemoryContextReset(mcxt);
	}
	MemoryContextDelete(mcxt);
}

/* NULL, or what the app's side raised: then nothing of the step has happened */
static char *
Guarded(const Binding *binding, RowStep *step)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Identity saved;
	char *volatile error = NULL;

	/* a client has its own; the worker must not hang in somebody's trigger */
	if (in_worker)
		enable_timeout_after(STATEMENT_TIMEOUT, ROW_TIMEOUT_MS);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		IdentityBecomeTableOwner(binding->owner, &saved);
		RunStep(binding, step);
		IdentityResume(&saved);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(mcxt);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData *edata;

		MemoryContextSwitchTo(mcxt);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(mcxt);
		CurrentResourceOwner = owner;
		if (IsInterrupt(edata->sqlerrcode))
			ReThrowError(edata);
		error = psprintf("%s (SQLSTATE %s)", edata->message, unpack_sql_state(edata->sqlerrcode));
		FreeErrorData(edata);
	}
	PG_END_TRY();
	if (in_worker)
	{
		disable_timeout(STATEMENT_TIMEOUT, false);
		QueryCancelPending = false; /* it may have fired at the very end */
	}
	return error;
}

static char *
GuardedOne(RowOutcome (*each)(const Binding *, const DirtyJob *), const Binding *binding, DirtyJob *dirty,
		   RowOutcome *outcome)
{
	RowStep step = {.each = each, .dirty = &dirty, .n = 1, .outcomes = outcome};

	return Guarded(binding, &step);
}

static void
MarkRow(const DirtyJob *dirty, bool still_dirty, const char *error, int64 wait_ms)
{
	Datum args[5];
	char nulls[] = "     ";

	args[0] = Int64GetDatum(dirty->job_id);
	args[1] = BoolGetDatum(still_dirty);
	args[2] = error ? CStringGetTextDatum(error) : (Datum) 0;
	if (error == NULL)
		nulls[2] = 'n';
	args[3] = Int32GetDatum(still_dirty ? dirty->tries + 1 : 0);
	args[4] = TimestampTzGetDatum(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_ms));
	Execute(S_ROW_DONE, args, nulls);
}

/* 1, 2, 4 … 64 seconds: a trigger that fails is asked again, not hammered */
static int64
RowBackoffMs(int tries)
{
	return (int64) 1000 << Min(tries, 6);
}

static void
TellChange(const Binding *binding, DirtyJob *dirty)
{
	RowOutcome outcome;
	char *error;

	if (!binding->realtime || !RealtimeMayTell(binding->owner))
		return;
	error = GuardedOne(TellRow, binding, dirty, &outcome);
	if (error == NULL)
		return;
	ereport(LOG,
			(errmsg("vibevideo job %lld: realtime.send failed and is left alone for a minute: %s",
					(long long) dirty->job_id, error)));
	RealtimePause();
}

/* Not to be seen while row-level security is forced on the owner, it may be there all the same. */
static bool
MayBeHidden(const Binding *binding)
{
	return check_enable_rls(binding->relid, binding->owner, true) == RLS_ENABLED;
}

/* true when the row now shows the job, or is gone */
static bool
SyncOne(const Binding *binding, DirtyJob *dirty)
{
	RowOutcome outcome = ROW_LOCKED;
	char *error = GuardedOne(WriteRow, binding, dirty, &outcome);

	if (error)
	{
		ereport(LOG,
				(errmsg("vibevideo job %lld: row %s of %s could not be written: %s",
						(long long) dirty->job_id, dirty->vibelog_id, binding->relation, error)));
		MarkRow(dirty, true, error, RowBackoffMs(dirty->tries));
		return false;
	}
	if (outcome == ROW_WRITTEN)
		TellChange(binding, dirty);
	if (outcome == ROW_LOCKED)
		MarkRow(dirty, true, NULL, RowBackoffMs(0));
	else if (outcome == ROW_GONE && MayBeHidden(binding))
	{
		MarkRow(dirty, true, "the row is not there, or row-level security hides it from the table's owner", RowBackoffMs(dirty->tries));
		return false;
	}
	else if (outcome == ROW_GONE)
		MarkRow(dirty, false, "the row no longer exists", 0);
	else if (dirty->marked)
		MarkRow(dirty, false, NULL, 0);
	return outcome != ROW_LOCKED;
}

/*
 * All in one subtransaction, as long as nothing of the app's objects; gives how
 * many are settled, 0 if they have to go one by one.
 */
static int
SyncTogether(const Binding *binding, DirtyJob **dirty, int n, TimestampTz until, int *unwritten)
{
	RowStep step = {.each = WriteRow, .dirty = dirty, .n = n, .until = until};
	int64 *clean = palloc(sizeof(int64) * n);
	int nclean = 0;

	step.outcomes = palloc(sizeof(RowOutcome) * n);
	if (Guarded(binding, &step) != NULL)
		return 0;
	for (int i = 0; i < step.done; i++)
		if (dirty[i]->marked && (step.outcomes[i] == ROW_WRITTEN || step.outcomes[i] == ROW_SAME))
			clean[nclean++] = dirty[i]->job_id;
	if (nclean > 0)
	{
		Datum args[2] = {IdArray(clean, nclean), TimestampTzGetDatum(GetCurrentTimestamp())};

		Execute(S_ROWS_DONE, args, NULL);
	}
	/* these two have a note of their own; it is the same again alone */
	for (int i = 0; i < step.done; i++)
		if (step.outcomes[i] == ROW_LOCKED || step.outcomes[i] == ROW_GONE)
			*unwritten += !SyncOne(binding, dirty[i]);
		else if (step.outcomes[i] == ROW_WRITTEN)
			TellChange(binding, dirty[i]);
	return step.done;
}

static DirtyJob **
ReadFound(int n)
{
	DirtyJob **dirty = palloc(sizeof(DirtyJob *) * (n + 1));

	for (int i = 0; i < n; i++)
		dirty[i] = ReadDirty(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	return dirty;
}

static void
SyncOneByOne(const Binding *binding, DirtyJob **dirty, int n, TimestampTz until, int *unwritten)
{
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		*unwritten += !SyncOne(binding, dirty[i]);
		if (until != 0 && GetCurrentTimestamp() > until)
			break;
	}
}

void
JobSyncRows(const Binding *binding, int max)
{
	TimestampTz now = GetCurrentTimestamp();
	/* the rest stays due: answers from the network want to be read */
	TimestampTz until = in_worker ? TimestampTzPlusMilliseconds(now, SYNC_BUDGET_MS) : 0;
	Datum args[3] = {TimestampTzGetDatum(now), Int32GetDatum(max), ObjectIdGetDatum(binding->relid)};
	int n = (int) Execute(S_DIRTY, args, NULL);
	DirtyJob **dirty = ReadFound(n);
	int unwritten = 0;

	if (n > 0 && SyncTogether(binding, dirty, n, until, &unwritten) == 0)
		SyncOneByOne(binding, dirty, n, until, &unwritten);
}

int
JobWriteRows(const Binding *binding, const int64 *ids, int n)
{
	Datum these[2] = {IdArray(ids, n), ObjectIdGetDatum(binding->relid)};
	Datum again[2] = {these[0], TimestampTzGetDatum(GetCurrentTimestamp())};
	int found = (int) Execute(S_DIRTY_THESE, these, NULL);
	DirtyJob **dirty = ReadFound(found);
	int unwritten = 0;

	if (found < n)
		Execute(S_ROWS_ELSEWHERE, these, NULL);
	if (found == 0 || SyncTogether(binding, dirty, found, 0, &unwritten) > 0)
		return unwritten;
	/* the worker has a transaction for such rows */
	if (in_worker)
		unwritten = (int) Execute(S_ROWS_AGAIN, again, NULL);
	else
		SyncOneByOne(binding, dirty, found, 0, &unwritten);
	return unwritten;
}

/*
 * May the worker write rows in the transaction that records their jobs?  Only
 * if no code of the app's runs then, and if nobody holds the table.
 */
bool
JobRowsAreSimple(const Binding *binding)
{
	Relation relation;
	bool simple;

	if (binding->realtime || !ConditionalLockRelationOid(binding->relid, RowExclusiveLock))
		return false;
	relation = try_relation_open(binding->relid, NoLock);
	if (relation == NULL)
		return false;
	simple = (relation->rd_rules == NULL);
	for (int i = 0; simple && relation->trigdesc && i < relation->trigdesc->numtriggers; i++)
		simple = relation->trigdesc->triggers[i].tgisinternal;
	relation_close(relation, NoLock);
	return simple;
}

bool
JobSyncRow(const Binding *binding, int64 job_id)
{
	Datum args[1] = {Int64GetDatum(job_id)};
	DirtyJob *dirty;

	if (Execute(S_DIRTY_ONE, args, NULL) == 0)
		return true;
	dirty = ReadDirty(SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	if (SyncOne(binding, dirty))
		return true;
	ereport(WARNING,
			(errmsg("the video's row %s could not be written yet", dirty->vibelog_id),
			 errdetail("The job itself is safe; the worker writes the row as soon as it can.")));
	return false;
}

/*----------
 * Jobs
 *----------
 */
int64
JobFindActive(const Binding *binding, const char *vibelog_id)
{
	Datum args[2] = {CStringGetTextDatum(vibelog_id), ObjectIdGetDatum(binding->relid)};

	Execute(S_FIND_ACTIVE, args, NULL);
	return FirstInt();
}

/* 0 for those that have none */
void
JobFindActiveMany(const Binding *binding, char **vibelog_ids, int n, int64 *job_ids)
{
	Datum args[2] = {TextArray(vibelog_ids, n), ObjectIdGetDatum(binding->relid)};
	int found = (int) Execute(S_FIND_ACTIVE_MANY, args, NULL);

	memset(job_ids, 0, sizeof(int64) * n);
	for (int i = 0; i < found; i++)
		job_ids[GetInt(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, 1) - 1] =
			GetInt(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, 0);
	SPI_freetuptable(SPI_tuptable);
}

int64
JobFindLatest(const Binding *binding, const char *vibelog_id)
{
	Datum args[2] = {CStringGetTextDatum(vibelog_id), ObjectIdGetDatum(binding->relid)};

	Execute(S_FIND_LATEST, args, NULL);
	return FirstInt();
}

int64
JobInsert(const Binding *binding, const JobNew *job, const char *state)
{
	Datum args[8];
	char nulls[] = "        ";
	TimestampTz now = GetCurrentTimestamp();
	bool sending = (strcmp(state, "submitting") == 0);

	args[0] = CStringGetTextDatum(job->vibelog_id);
	args[1] = CStringGetTextDatum(state);
	args[2] = CStringGetTextDatum(binding->model);
	args[3] = CStringGetTextDatum(job->input);
	args[4] = job->user ? CStringGetTextDatum(job->user) : (Datum) 0;
	if (job->user == NULL)
		nulls[4] = 'n';
	/* one that is sent right now is its sender's until well after the timeout */
	args[5] = TimestampTzGetDatum(sending ? TimestampTzPlusMilliseconds(now, vv_submit_timeout + 60000) : now);
	args[6] = ObjectIdGetDatum(binding->relid);
	args[7] = TimestampTzGetDatum(now);
	if (!sending)
		nulls[7] = 'n';
	Execute(S_INSERT, args, nulls);
	return FirstInt();
}

int
JobInsertMany(const Binding *binding, const JobNew *jobs, int n, int64 *inserted)
{
	char **columns[3];
	Datum args[6];
	int done;

	for (int c = 0; c < lengthof(columns); c++)
		columns[c] = palloc(sizeof(char *) * n);
	for (int i = 0; i < n; i++)
	{
		columns[0][i] = jobs[i].vibelog_id;
		columns[1][i] = jobs[i].input;
		columns[2][i] = jobs[i].user;
	}
	for (int c = 0; c < lengthof(columns); c++)
		args[c] = TextArray(columns[c], n);
	args[3] = CStringGetTextDatum(binding->model);
	args[4] = TimestampTzGetDatum(GetCurrentTimestamp());
	args[5] = ObjectIdGetDatum(binding->relid);
	done = (int) Execute(S_INSERT_MANY, args, NULL);
	for (int i = 0; i < done; i++)
		inserted[i] = GetInt(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, 0);
	return done;
}

static int64
InputLength(HeapTuple tuple, TupleDesc desc, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(tuple, desc, column, &isnull);
	Jsonb *json = DatumGetJsonbP(value);
	char *text = JsonbToCString(NULL, &json->root, VARSIZE(json));
	int64 length = strlen(text);

	pfree(text);
	if ((Pointer) json != DatumGetPointer(value))
		pfree(json);
	return length;
}

/* Which submits to claim: they go in turn, until their inputs make input_bytes. */
static Datum
NextSubmits(int max, int64 input_bytes, TimestampTz due_before)
{
	Datum args[2] = {Int32GetDatum(max), TimestampTzGetDatum(due_before)};
	int found = (int) Execute(S_NEXT_SUBMITS, args, NULL);
	int64 *ids = palloc(sizeof(int64) * (found + 1));
	int64 bytes = 0;
	int n = 0;

	while (n < found && bytes < input_bytes)
	{
		HeapTuple tuple = SPI_tuptable->vals[n];

		ids[n++] = GetInt(tuple, SPI_tuptable->tupdesc, 1, 0);
		bytes += InputLength(tuple, SPI_tuptable->tupdesc, 2);
	}
	SPI_freetuptable(SPI_tuptable);
	return IdArray(ids, n);
}

int
JobClaim(JobKind kind, int max, int64 input_bytes, TimestampTz due_before, int lease_ms,
		 MemoryContext mcxt, Job **jobs)
{
	static const StatementId claims[] = {S_CLAIM_SUBMIT, S_CLAIM_RECONCILE, S_CLAIM_POLL, S_CLAIM_COPY};
	Datum args[4];
	int n;

	args[0] = Int32GetDatum(max);
	args[1] = TimestampTzGetDatum(due_before);
	args[2] = TimestampTzGetDatum(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), lease_ms));
	args[3] = (kind == JOB_KIND_SUBMIT) ? NextSubmits(max, input_bytes, due_before) : (Datum) 0;
	n = (int) Execute(claims[kind], args, NULL);
	for (int i = 0; i < n; i++)
		jobs[i] = ReadJob(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, mcxt);
	SPI_freetuptable(SPI_tuptable);
	return n;
}

int
JobLockDue(int max, MemoryContext mcxt, Job **jobs)
{
	Datum args[2] = {Int32GetDatum(max), TimestampTzGetDatum(GetCurrentTimestamp())};
	int n = (int) Execute(S_LOCK_DUE, args, NULL);

	for (int i = 0; i < n; i++)
		jobs[i] = ReadJob(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, mcxt);
	return n;
}

Job *
JobRead(int64 job_id, MemoryContext mcxt)
{
	Datum args[1] = {Int64GetDatum(job_id)};

	if (Execute(S_READ, args, NULL) == 0)
		return NULL;
	return ReadJob(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, mcxt);
}

static Datum
BytesDatum(const unsigned char *bytes, int len)
{
	bytea *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), bytes, len);
	return PointerGetDatum(value);
}

/* one line a state change, and one a new trouble */
static void
LogUpdate(const JobUpdate *update)
{
	if (strcmp(update->was, update->state) == 0 &&
		(update->error == NULL || (update->was_error && strcmp(update->was_error, update->error) == 0)))
		return;
	ereport(LOG,
			(errmsg("vibevideo job %lld: %s -> %s%s%s%s%s", (long long) update->job_id,
					update->was, update->state,
					update->request_id ? ", request " : "", update->request_id ? update->request_id : "",
					update->error ? ": " : "", update->error ? update->error : "")));
}

/* a new attempt, paid for anew: only where fal's error type says that this helps */
static void
StartAgain(const JobUpdate *update)
{
	Datum args[2];

	args[0] = Int64GetDatum(update->job_id);
	args[1] = TimestampTzGetDatum(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), vv_backoff_base));
	if (Execute(S_AGAIN, args, NULL) == 1)
		ereport(LOG,
				(errmsg("vibevideo job %lld: failed, starting a new attempt", (long long) update->job_id)));
}

/*----------
 * S_RECORD's table of updates
 *
 * A tuplestore under a name, as triggers have their transition tables: twenty
 * arrays and as many function scans would cost more than the update itself.
 *----------
 */
static const struct
{
	const char *name;
	Oid type;
} update_columns[] =
	{
		{"nth", INT8OID},
		{"job_id", INT8OID},
		{"lease", INT8OID},
		{"state", TEXTOID},
		{"tries", INT4OID},
		{"next_at", TIMESTAMPTZOID},
		{"queue_position", INT4OID},
		{"error_code", TEXTOID},
		{"error", TEXTOID},
		{"request_id", TEXTOID},
		{"media_url", TEXTOID},
		{"media_type", TEXTOID},
		{"object_key", TEXTOID},
		{"video_url", TEXTOID},
		{"bytes_done", INT8OID},
		{"bytes_total", INT8OID},
		{"sha256", BYTEAOID},
		{"cancel_seen", BOOLOID},
		{"row_written", BOOLOID},
		{"duration_ms", INT8OID},
		{"upload_state", BYTEAOID},
};

typedef struct UpdateRow
{
	int n;
	Datum values[lengthof(update_columns)];
	bool nulls[lengthof(update_columns)];
} UpdateRow;

static void
Put(UpdateRow *row, Datum value, bool isnull)
{
	row->nulls[row->n] = isnull;
	row->values[row->n++] = value;
}

static void
PutNumber(UpdateRow *row, int64 value, bool isnull)
{
	Put(row, Int64GetDatum(value), isnull);
}

static void
PutString(UpdateRow *row, const char *text)
{
	Put(row, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

static void
PutBytes(UpdateRow *row, const unsigned char *bytes, int len)
{
	Put(row, bytes ? BytesDatum(bytes, len) : (Datum) 0, bytes == NULL);
}

/* in the order of update_columns */
static void
PutUpdate(UpdateRow *row, int nth, const JobUpdate *u)
{
	row->n = 0;
	PutNumber(row, nth, false);
	PutNumber(row, u->job_id, false);
	PutNumber(row, u->lease, false);
	PutString(row, u->state);
	Put(row, Int32GetDatum(u->tries), false);
	Put(row, TimestampTzGetDatum(u->next_at), u->next_at == 0);
	Put(row, Int32GetDatum(u->queue_position), u->queue_position < 0);
	PutString(row, u->error_code);
	PutString(row, u->error);
	PutString(row, u->request_id);
	PutString(row, u->media_url);
	PutString(row, u->media_type);
	PutString(row, u->object_key);
	PutString(row, u->video_url);
	PutNumber(row, u->bytes_done, u->bytes_done < 0);
	PutNumber(row, u->bytes_total, u->bytes_total < 0);
	PutBytes(row, u->sha256, 32);
	Put(row, BoolGetDatum(u->cancel_seen), false);
	Put(row, BoolGetDatum(u->row_written), false);
	PutNumber(row, u->duration_ms, u->duration_ms < 0);
	PutBytes(row, u->upload_state, MEDIA_STATE_SIZE);
	Assert(row->n == lengthof(update_columns));
}

static TupleDesc
UpdateDesc(void)
{
	TupleDesc desc = CreateTemplateTupleDesc(lengthof(update_columns));

	for (int i = 0; i < lengthof(update_columns); i++)
		TupleDescInitEntry(desc, i + 1, update_columns[i].name, update_columns[i].type, -1, 0);
	return desc;
}

static int
ExecuteRecord(const JobUpdate *updates, int n)
{
	EphemeralNamedRelationData given = {{"job_updates", InvalidOid, UpdateDesc(), ENR_NAMED_TUPLESTORE, FEW_UPDATES}};
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	Datum now = TimestampTzGetDatum(GetCurrentTimestamp());
	UpdateRow row;
	int done;

	for (int i = 0; i < n; i++)
	{
		PutUpdate(&row, i, &updates[i]);
		tuplestore_putvalues(rows, given.md.tupdesc, row.values, row.nulls);
	}
	given.reldata = rows;
	SPI_register_relation(&given);
	done = (int) Execute(S_RECORD, &now, NULL);
	SPI_unregister_relation(given.md.name);
	tuplestore_end(rows);
	return done;
}

int
JobRecord(const JobUpdate *updates, int n, bool *recorded)
{
	bool *held;
	bool again = false;
	int done;

	if (n == 0)
		return 0;
	done = ExecuteRecord(updates, n);
	held = recorded ? recorded : palloc(sizeof(bool) * n);
	memset(held, 0, sizeof(bool) * n);
	for (int r = 0; r < done; r++)
	{
		int64 index = GetInt(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, 1, 0);

		LogUpdate(&updates[index]);
		again |= updates[index].again;
		held[index] = true;
	}
	/* SPI_tuptable is needed above: only now may other statements run */
	for (int i = 0; again && i < n; i++)
		if (updates[i].again && held[i])
			StartAgain(&updates[i]);
	return done;
}

void
JobRecordWithRows(const Binding *binding, JobUpdate *updates, int n, bool *recorded)
{
	int64 *moved = palloc(sizeof(int64) * (n + 1));
	int nmoved = 0;

	for (int i = 0; i < n; i++)
		updates[i].row_written = (strcmp(updates[i].was, updates[i].state) != 0);
	(void) JobRecord(updates, n, recorded);
	for (int i = 0; i < n; i++)
		if (recorded[i] && updates[i].row_written)
			moved[nmoved++] = updates[i].job_id;
	if (nmoved > 0)
		JobWriteRows(binding, moved, nmoved);
}

int64
JobSettle(const Binding *binding, const JournalEntry *entry)
{
	Datum args[9];
	char nulls[] = "         ";

	args[0] = Int64GetDatum(entry->job_id);
	args[1] = ObjectIdGetDatum(binding->relid);
	if (!OidIsValid(binding->relid))
		nulls[1] = 'n';
	args[2] = CStringGetTextDatum(entry->vibelog_id);
	args[3] = Int32GetDatum(entry->attempt);
	args[4] = CStringGetTextDatum(entry->model);
	args[5] = CStringGetTextDatum(entry->input);
	args[6] = (Datum) 0;
	if (entry->answered && entry->outcome == FAL_SUBMIT_ACCEPTED)
		args[6] = CStringGetTextDatum(entry->request_id);
	else
		nulls[6] = 'n';
	args[7] = TimestampTzGetDatum(entry->sent_at);
	args[8] = TimestampTzGetDatum(entry->created_at);
	Execute(S_SETTLE, args, nulls);
	return FirstInt();
}

bool
JobTwinIsSending(const Job *job)
{
	Datum args[1] = {Int64GetDatum(job->job_id)};

	return Execute(S_TWIN_SENDING, args, NULL) > 0;
}

char *
JobMatch(const Job *job, int n, char **request_ids, char **sent_ats, char **inputs,
		 TimestampTz sent_at, TimestampTz earliest)
{
	Datum args[6];

	args[0] = Int64GetDatum(job->job_id);
	args[1] = TextArray(request_ids, n);
	args[2] = TextArray(sent_ats, n);
	args[3] = TextArray(inputs, n);
	args[4] = TimestampTzGetDatum(sent_at);
	args[5] = TimestampTzGetDatum(earliest);
	if (Execute(S_MATCH, args, NULL) == 0)
		return NULL;
	return KeepText(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

void
JobReadWebhookKeys(SignatureKeys *keys, TimestampTz *fetched_at)
{
	HeapTuple tuple;
	TupleDesc desc;
	bool isnull;
	Datum value;

	keys->n = 0;
	*fetched_at = 0;
	if (Execute(S_KEYS, NULL, NULL) == 0)
		return;
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	value = SPI_getbinval(tuple, desc, 1, &isnull);
	if (!isnull)
	{
		bytea *bytes = DatumGetByteaPP(value);

		keys->n = Min(VARSIZE_ANY_EXHDR(bytes) / SIGNATURE_KEY_BYTES, SIGNATURE_MAX_KEYS);
		memcpy(keys->key, VARDATA_ANY(bytes), keys->n * SIGNATURE_KEY_BYTES);
	}
	*fetched_at = GetTime(tuple, desc, 2);
}

void
JobStoreWebhookKeys(const SignatureKeys *keys)
{
	Datum args[2];

	args[0] = BytesDatum((const unsigned char *) keys->key, keys->n * SIGNATURE_KEY_BYTES);
	args[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	Execute(S_STORE_KEYS, args, NULL);
}

bool
JobWebhookUserIsOurs(const char *user_id)
{
	Datum args[1] = {CStringGetTextDatum(user_id)};

	return Execute(S_OUR_USER, args, NULL) == 0;
}

bool
JobPollNow(const char *request_id, const char *user_id)
{
	Datum args[2] = {CStringGetTextDatum(request_id), TimestampTzGetDatum(GetCurrentTimestamp())};
	Datum user[1] = {CStringGetTextDatum(user_id)};

	if (Execute(S_POLL_NOW, args, NULL) == 0)
		return false;
	Execute(S_LEARN_USER, user, NULL);
	return true;
}

void
JobReconcileNow(void)
{
	Datum args[1] = {TimestampTzGetDatum(GetCurrentTimestamp())};

	Execute(S_RECONCILE_NOW, args, NULL);
}

bool
JobHoldsLease(int64 job_id, int64 lease)
{
	Datum args[2] = {Int64GetDatum(job_id), Int64GetDatum(lease)};

	return Execute(S_HOLDS, args, NULL) == 1;
}

static Datum
TextDatum(const char *text, char *null)
{
	if (text == NULL)
		*null = 'n';
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

bool
JobRecordProgress(int64 job_id, int64 lease, const JobProgress *progress, TimestampTz lease_until)
{
	Datum args[10];
	char nulls[] = "          ";

	args[0] = Int64GetDatum(job_id);
	args[1] = Int64GetDatum(lease);
	args[2] = Int64GetDatum(progress->done);
	args[3] = Int64GetDatum(progress->total);
	if (progress->total < 0)
		nulls[3] = 'n';
	args[4] = TimestampTzGetDatum(lease_until);
	args[5] = TextDatum(progress->upload_url, &nulls[5]);
	args[6] = TextDatum(progress->media_etag, &nulls[6]);
	args[7] = Int64GetDatum(progress->rate);
	if (progress->rate <= 0)
		nulls[7] = 'n';
	args[8] = Int64GetDatum(progress->duration_ms);
	if (progress->duration_ms < 0)
		nulls[8] = 'n';
	if (progress->upload_state)
		args[9] = BytesDatum(progress->upload_state, MEDIA_STATE_SIZE);
	else
		nulls[9] = 'n';
	if (!JobHoldsLease(job_id, lease))
		return false;
	/* none if somebody holds the row: the next report is soon */
	Execute(S_PROGRESS, args, nulls);
	return true;
}

int
JobExpireSubmits(TimestampTz now, bool all, const int64 *but, int nbut)
{
	Datum args[3] = {TimestampTzGetDatum(now), BoolGetDatum(all), IdArray(but, nbut)};

	return (int) Execute(S_EXPIRE, args, NULL);
}

void
JobRecoverLeases(void)
{
	Datum args[1] = {TimestampTzGetDatum(GetCurrentTimestamp())};

	Execute(S_RECOVER, args, NULL);
}

/* since it entered its phase: the queue here, fal, or the copy */
int64
JobAgeMs(const Job *job)
{
	TimestampTz since = job->generated_at ? job->generated_at
		: job->submitted_at				  ? job->submitted_at
										  : job->created_at;

	return TimestampDifferenceMilliseconds(since, GetCurrentTimestamp());
}

bool
JobIsOverdue(const Job *job)
{
	return vv_job_timeout > 0 && JobAgeMs(job) > (int64) vv_job_timeout * 1000;
}

bool
JobHasRoom(void)
{
	if (vv_max_active == 0)
		return true;
	Execute(S_ROOM, NULL, NULL);
	return FirstInt() > 0;
}

void
JobNote(int64 job_id, const char *error_code, const char *error)
{
	Datum args[3] = {Int64GetDatum(job_id), CStringGetTextDatum(error_code), CStringGetTextDatum(error)};

	Execute(S_NOTE, args, NULL);
}

/*----------
 * For the triggers of the table
 *----------
 */
const char *
JobShownStatus(const char *state)
{
	if (strcmp(state, "pending") == 0 || strcmp(state, "submitting") == 0 || strcmp(state, "submit_unknown") == 0)
		return "queued";
	return state;
}

void
JobWriteEvent(int64 job_id, const char *state, const char *error_code, const char *detail)
{
	Datum args[4] = {Int64GetDatum(job_id), CStringGetTextDatum(state)};
	char nulls[] = "  nn";

	if (error_code)
	{
		args[2] = CStringGetTextDatum(error_code);
		nulls[2] = ' ';
	}
	if (detail)
	{
		args[3] = CStringGetTextDatum(detail);
		nulls[3] = ' ';
	}
	Execute(S_EVENT, args, nulls);
}

Datum
JobPriceOf(const char *model)
{
	Datum args[1] = {CStringGetTextDatum(model)};
	bool isnull;

	Execute(S_PRICE, args, NULL);
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
}

bool
JobHasLimits(void)
{
	return Execute(S_HAS_LIMITS, NULL, NULL) > 0;
}

void
JobTakeShare(Datum job)
{
	Execute(S_TAKE_SHARE, &job, NULL);
}

void
JobGiveBack(Datum job)
{
	Execute(S_GIVE_BACK, &job, NULL);
}

static char *
CopyText(const char *text, MemoryContext mcxt)
{
	return text ? MemoryContextStrdup(mcxt, text) : NULL;
}

Job *
JobCopy(const Job *job, MemoryContext mcxt)
{
	Job *copy = MemoryContextAlloc(mcxt, sizeof(Job));

	*copy = *job;
	copy->vibelog_id = CopyText(job->vibelog_id, mcxt);
	copy->state = CopyText(job->state, mcxt);
	copy->model = CopyText(job->model, mcxt);
	copy->input = CopyText(job->input, mcxt);
	copy->request_id = CopyText(job->request_id, mcxt);
	copy->media_url = CopyText(job->media_url, mcxt);
	copy->media_type = CopyText(job->media_type, mcxt);
	copy->object_key = CopyText(job->object_key, mcxt);
	copy->upload_url = CopyText(job->upload_url, mcxt);
	copy->media_etag = CopyText(job->media_etag, mcxt);
	if (job->upload_state)
	{
		copy->upload_state = MemoryContextAlloc(mcxt, job->upload_state_len);
		memcpy(copy->upload_state, job->upload_state, job->upload_state_len);
	}
	copy->error_code = CopyText(job->error_code, mcxt);
	copy->error = CopyText(job->error, mcxt);
	return copy;
}

void
JobNextDue(const Binding *binding, JobDue *due)
{
	Datum args[2] = {ObjectIdGetDatum(binding->relid), Int32GetDatum(vv_max_active)};
	HeapTuple tuple;
	TupleDesc desc;

	/* first: what is not there any more has been committed for the next statement */
	due->is_prepared = (max_prepared_xacts > 0 && Execute(S_IS_PREPARED, NULL, NULL) > 0);
	Execute(S_NEXT_DUE, args, NULL);
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	due->submit = GetTime(tuple, desc, 1);
	due->expiry = GetTime(tuple, desc, 2);
	due->unknown = GetTime(tuple, desc, 3);
	due->poll = GetTime(tuple, desc, 4);
	due->copy = GetTime(tuple, desc, 5);
	due->row = GetTime(tuple, desc, 6);
}

bool
JobIsAnythingDue(const JobDue *due)
{
	return due->submit || due->expiry || due->unknown || due->poll || due->copy || due->row || due->is_prepared;
}

static bool
Decide(StatementId id, int64 job_id)
{
	Datum args[2] = {Int64GetDatum(job_id), TimestampTzGetDatum(GetCurrentTimestamp())};

	return Execute(id, args, NULL) == 1;
}

bool
JobRequestCancel(int64 job_id)
{
	return Decide(S_CANCEL, job_id);
}

bool
JobSendNow(int64 job_id)
{
	return Decide(S_SEND_NOW, job_id);
}

bool
JobGiveUpUnknown(int64 job_id)
{
	return Decide(S_GIVE_UP_UNKNOWN, job_id);
}

bool
JobCopyAgain(int64 job_id)
{
	return Decide(S_COPY_AGAIN, job_id);
}

int64
JobPrune(int max)
{
	Datum args[2];

	if (vv_retention == 0)
		return 0;
	args[0] = TimestampTzGetDatum(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), -(int64) vv_retention * 1000));
	args[1] = Int32GetDatum(max);
	return (int64) Execute(S_PRUNE, args, NULL);
}

/* the composite in the first column, copied out of SPI's memory */
static Datum
FirstVideo(void)
{
	bool isnull;
	Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

	return SPI_datumTransfer(value, false, -1);
}

Datum
JobDescribe(int64 job_id)
{
	Datum args[1] = {Int64GetDatum(job_id)};

	if (Execute(S_DESCRIBE, args, NULL) == 0)
		elog(ERROR, "vibevideo: job %lld vanished", (long long) job_id);
	return FirstVideo();
}

Datum
JobDescribeNone(const char *vibelog_id)
{
	Datum args[1] = {CStringGetTextDatum(vibelog_id)};

	Execute(S_DESCRIBE_NONE, args, NULL);
	return FirstVideo();
}

void
JobPutVideos(Tuplestorestate *store, TupleDesc desc, const int64 *job_ids, int n)
{
	Datum args[1] = {IdArray(job_ids, n)};
	HeapTupleData *tuples = palloc0(sizeof(HeapTupleData) * n);
	int found = (int) Execute(S_DESCRIBE_MANY, args, NULL);

	for (int i = 0; i < found; i++)
	{
		bool isnull;
		HeapTupleData *tuple = &tuples[GetInt(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, 1) - 1];

		Datum video = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull);

		if (isnull)
			continue;
		tuple->t_data = DatumGetHeapTupleHeader(video);
		tuple->t_len = HeapTupleHeaderGetDatumLength(tuple->t_data);
	}
	for (int i = 0; i < n; i++)
	{
		if (tuples[i].t_data == NULL)
			elog(ERROR, "vibevideo: job %lld vanished", (long long) job_ids[i]);
		tuplestore_puttuple(store, &tuples[i]);
	}
}
