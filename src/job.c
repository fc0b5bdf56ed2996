/*
 * job.c
 *	  Jobs: inserted, found, claimed, recorded, ended.
 *
 * All of this runs as the extension's owner: callers have already checked what
 * the user may do.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "access/twophase.h"

#include "compat.h"
#include "guc.h"
#include "job.h"
#include "media.h"
#include "ownerror.h"
#include "state.h"
#include "statement.h"

#define FEW_UPDATES 10 /* the planner's estimate: few enough to look each up by an index */

/*----------
 * Reading
 *----------
 */
/* clang-format off */
/*
 * A line for each field of Job: its name, how SQL says it, and how it is read.
 * One list for both, so that they cannot get out of step; FIRST differs from X
 * in that no comma goes before it.
 */
#define JOB_FIELDS(FIRST, X, input_sql) \
	FIRST(job_id, "j.job_id", ResultInt(row, column, 0)) \
	X(vibelog_id, "j.vibelog_id", ResultText(row, column)) \
	X(state, "j.state", ResultText(row, column)) \
	X(model, "j.model", ResultText(row, column)) \
	X(input, input_sql, ResultText(row, column)) \
	X(request_id, "j.request_id", ResultText(row, column)) \
	X(media_url, "CASE WHEN j.erased_at IS NULL THEN j.media_url END", ResultText(row, column)) \
	X(media_type, "j.media_type", ResultText(row, column)) \
	X(object_key, "j.object_key", ResultText(row, column)) \
	X(error_code, "j.error_code", ResultText(row, column)) \
	X(error, "j.error", ResultText(row, column)) \
	X(bytes_total, "j.bytes_total", ResultInt(row, column, -1)) \
	X(lease, "j.lease", ResultInt(row, column, 0)) \
	X(tries, "j.tries", (int) ResultInt(row, column, 0)) \
	X(crashes, "j.crashes", (int) ResultInt(row, column, 0)) \
	X(attempt, "j.attempt", (int) ResultInt(row, column, 1)) \
	X(queue_position, "j.queue_position", (int) ResultInt(row, column, -1)) \
	X(created_at, "j.created_at", ResultTime(row, column)) \
	X(submitted_at, "j.submitted_at", ResultTime(row, column)) \
	X(cancel_requested_at, "j.cancel_requested_at", ResultTime(row, column)) \
	X(sent_at, "j.sent_at", ResultTime(row, column)) \
	X(renders, "j.renders", (int) ResultInt(row, column, 1)) \
	X(orphan, "j.orphan", ResultBool(row, column)) \
	X(generated_at, "j.generated_at", ResultTime(row, column)) \
	X(upload_url, "j.upload_url", ResultText(row, column)) \
	X(media_etag, "j.media_etag", ResultText(row, column)) \
	X(upload_state, "j.upload_state", ResultBytes(row, column, &job->upload_state_len)) \
	X(user, "j.requested_by", ResultText(row, column)) \
	X(tenant, "j.tenant", ResultText(row, column)) \
	X(erased_at, "j.erased_at", ResultTime(row, column))

#define FIRST_COLUMN(field, sql, value) sql
#define NEXT_COLUMN(field, sql, value) ", " sql
#define JOB_COLUMNS JOB_FIELDS(FIRST_COLUMN, NEXT_COLUMN, "j.input::text")
/* many jobs are followed at once, and each input may be large */
#define JOB_COLUMNS_TO_FOLLOW JOB_FIELDS(FIRST_COLUMN, NEXT_COLUMN, "NULL::text")

#define READ_FIELD(field, sql, value) column++; job->field = value;

/* clang-format on */

static Job *
ReadJob(uint64 row, MemoryContext mcxt)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	Job *job = palloc0(sizeof(Job));
	int column = 0;

	JOB_FIELDS(READ_FIELD, READ_FIELD, "")
	job->input_bytes = job->input ? strlen(job->input) : 0;
	MemoryContextSwitchTo(old);
	return job;
}

static int
ReadJobs(uint64 n, MemoryContext mcxt, Job **jobs)
{
	for (uint64 i = 0; i < n; i++)
		jobs[i] = ReadJob(i, mcxt);
	SPI_freetuptable(SPI_tuptable);
	return (int) n;
}

static Statement read_job = {
	"SELECT " JOB_COLUMNS " FROM vibevideo.job j WHERE j.job_id = $1"};

Job *
JobRead(int64 job_id, MemoryContext mcxt)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	return StatementRun(&read_job, &args) == 0 ? NULL : ReadJob(0, mcxt);
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
	copy->user = CopyText(job->user, mcxt);
	copy->tenant = CopyText(job->tenant, mcxt);
	return copy;
}

/* since it entered its phase: waiting here, at fal, or being copied */
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

/*----------
 * Finding
 *----------
 */
static int64
FindByKey(Statement *statement, const Binding *binding, const char *vibelog_id)
{
	Args args = {0};

	ArgText(&args, vibelog_id);
	ArgRelation(&args, binding->relid);
	StatementRun(statement, &args);
	return ResultFirstInt();
}

static Statement find_active = {
	"SELECT j.job_id FROM vibevideo.job j WHERE j.relation = $2 AND j.vibelog_id = $1 AND NOT j.orphan"
	" AND j.state = ANY (" ACTIVE_STATES ")"};

int64
JobFindActive(const Binding *binding, const char *vibelog_id)
{
	return FindByKey(&find_active, binding, vibelog_id);
}

/* a subquery for each row, since a join might be planned to read all active jobs each time */
static Statement find_active_many = {
	"SELECT x.nth, (SELECT j.job_id FROM vibevideo.job j WHERE j.relation = $2"
	" AND j.vibelog_id = x.vibelog_id AND NOT j.orphan AND j.state = ANY (" ACTIVE_STATES "))"
	" FROM unnest($1) WITH ORDINALITY AS x(vibelog_id, nth)"};

void
JobFindActiveMany(const Binding *binding, char **vibelog_ids, int n, int64 *job_ids)
{
	Args args = {0};
	uint64 found;

	ArgTexts(&args, vibelog_ids, n);
	ArgRelation(&args, binding->relid);
	found = StatementRun(&find_active_many, &args);
	memset(job_ids, 0, sizeof(int64) * n);
	for (uint64 i = 0; i < found; i++)
		job_ids[ResultInt(i, 1, 1) - 1] = ResultInt(i, 2, 0);
	SPI_freetuptable(SPI_tuptable);
}

static Statement find_latest = {
	"SELECT j.job_id FROM vibevideo.job j WHERE j.relation = $2 AND j.vibelog_id = $1 AND NOT j.orphan"
	" ORDER BY j.job_id DESC LIMIT 1"};

int64
JobFindLatest(const Binding *binding, const char *vibelog_id)
{
	return FindByKey(&find_latest, binding, vibelog_id);
}

static Statement find_completed = {
	"SELECT n.job_id FROM (SELECT j.job_id, j.state FROM vibevideo.job j WHERE j.relation = $2 AND j.vibelog_id = $1"
	" AND NOT j.orphan ORDER BY j.job_id DESC LIMIT 1) n WHERE n.state = 'completed'"};

int64
JobFindCompleted(const Binding *binding, const char *vibelog_id)
{
	return FindByKey(&find_completed, binding, vibelog_id);
}

/*----------
 * Inserting
 *----------
 */
static Statement insert_job = {
	"INSERT INTO vibevideo.job (vibelog_id, state, model, input, requested_by, lease, leased_by, next_at,"
	" relation, sent_at, row_dirty, row_bears, tenant, attempt)"
	" SELECT $1, $2, $3, $4::jsonb, $5, nextval('vibevideo.lease_seq'),"
	" CASE WHEN $2 = 'submitting' THEN pg_backend_pid() END, $6, $7, $8, false, $9, $10,"
	" (SELECT COALESCE(max(p.attempt), 0) FROM vibevideo.job p"
	" WHERE p.relation = $7 AND NOT p.orphan AND p.vibelog_id = $1) + 1"
	" ON CONFLICT (relation, vibelog_id) WHERE NOT orphan AND state = ANY (" ACTIVE_STATES ") DO NOTHING"
	" RETURNING job_id"};

int64
JobInsert(const Binding *binding, const JobNew *job, const char *state)
{
	TimestampTz now = GetCurrentTimestamp();
	bool sending = (strcmp(state, "submitting") == 0);
	Args args = {0};

	ArgText(&args, job->vibelog_id);
	ArgText(&args, state);
	ArgText(&args, job->model);
	ArgText(&args, job->input);
	ArgText(&args, job->user);
	/* a job that is sent right now is leased to its sender until well after the timeout */
	ArgTime(&args, sending ? TimestampTzPlusMilliseconds(now, vv_submit_timeout + 60000) : now);
	ArgRelation(&args, binding->relid);
	ArgTime(&args, sending ? now : 0);
	ArgText(&args, job->bears);
	ArgText(&args, job->tenant);
	StatementRun(&insert_job, &args);
	return ResultFirstInt();
}

/* $1 keys, $2 inputs, $3 users, $4 what the rows bear, $5 models, $6 tenants */
static Statement insert_jobs = {
	"INSERT INTO vibevideo.job (vibelog_id, state, model, input, requested_by, tenant, lease, next_at, relation, row_dirty, row_bears, attempt)"
	" SELECT x.vibelog_id, 'pending', x.model, x.input::jsonb, x.requested_by, x.tenant, nextval('vibevideo.lease_seq'), $7, $8, false, x.bears,"
	" (SELECT COALESCE(max(p.attempt), 0) FROM vibevideo.job p"
	" WHERE p.relation = $8 AND NOT p.orphan AND p.vibelog_id = x.vibelog_id) + 1"
	" FROM unnest($1, $2, $3, $4, $5, $6) AS x(vibelog_id, input, requested_by, bears, model, tenant)"
	" ON CONFLICT (relation, vibelog_id) WHERE NOT orphan AND state = ANY (" ACTIVE_STATES ") DO NOTHING"
	" RETURNING job_id"};

int
JobInsertMany(const Binding *binding, const JobNew *jobs, int n, int64 *inserted)
{
	char **columns[6];
	Args args = {0};
	int done;

	for (int c = 0; c < lengthof(columns); c++)
		columns[c] = palloc(sizeof(char *) * n);
	for (int i = 0; i < n; i++)
	{
		columns[0][i] = jobs[i].vibelog_id;
		columns[1][i] = jobs[i].input;
		columns[2][i] = jobs[i].user;
		columns[3][i] = jobs[i].bears;
		columns[4][i] = jobs[i].model;
		columns[5][i] = jobs[i].tenant;
	}
	for (int c = 0; c < lengthof(columns); c++)
		ArgTexts(&args, columns[c], n);
	ArgTime(&args, GetCurrentTimestamp());
	ArgRelation(&args, binding->relid);
	done = (int) StatementRun(&insert_jobs, &args);
	for (int i = 0; i < done; i++)
		inserted[i] = ResultInt(i, 1, 0);
	return done;
}

/*----------
 * Claiming
 *----------
 */
/* clang-format off */
/*
 * A claim takes what is due, oldest first, skips what others hold, and stamps
 * it with a new fencing token.  $1 max, $2 due before, $3 end of the lease.
 */
#define CLAIM(set, which, order, columns) \
	"UPDATE vibevideo.job j SET " set \
	" lease = nextval('vibevideo.lease_seq'), leased_by = pg_backend_pid(), next_at = $3" \
	" WHERE j.job_id = ANY (ARRAY(SELECT d.job_id FROM vibevideo.job d WHERE " which " AND d.next_at <= $2" \
	" ORDER BY " order " LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED))" \
	" RETURNING " columns
/* clang-format on */

static int64
InputLength(uint64 row, int column)
{
	bool isnull;
	Datum value = ResultDatum(row, column, &isnull);
	Jsonb *json = DatumGetJsonbP(value);
	char *text = JsonbToCString(NULL, &json->root, VARSIZE(json));
	int64 length = strlen(text);

	pfree(text);
	if ((Pointer) json != DatumGetPointer(value))
		pfree(json);
	return length;
}

/* in the order of sending; inputs are not converted to text, since they may be large */
static Statement next_submits = {
	"SELECT n.job_id, (SELECT j.input FROM vibevideo.job j WHERE j.job_id = n.job_id)"
	" FROM vibevideo_internal.next_submits($1, $2) AS n(job_id)"};

/* Which submits to claim: in order, until their inputs add up to input_bytes. */
static int64 *
NextSubmits(int max, int64 input_bytes, TimestampTz due_before, int *n)
{
	Args args = {0};
	uint64 found;
	int64 *ids;
	int64 bytes = 0;

	ArgInt4(&args, max);
	ArgTime(&args, due_before);
	found = StatementRun(&next_submits, &args);
	ids = palloc(sizeof(int64) * (found + 1));
	for (*n = 0; *n < found && bytes < input_bytes; (*n)++)
	{
		ids[*n] = ResultInt(*n, 1, 0);
		bytes += InputLength(*n, 2);
	}
	SPI_freetuptable(SPI_tuptable);
	return ids;
}

static Statement claim_submits = {
	CLAIM("state = 'submitting', sent_at = clock_timestamp(),",
		  "d.job_id = ANY ($4)"
		  /* IS TRUE keeps the planner from using the index of all pending jobs */
		  " AND (d.state = 'pending') IS TRUE AND d.cancel_requested_at IS NULL",
		  "d.job_id", JOB_COLUMNS)};

int
JobClaimSubmits(int max, int64 input_bytes, TimestampTz due_before, TimestampTz lease_until,
				MemoryContext mcxt, Job **jobs)
{
	int n;
	int64 *next = NextSubmits(max, input_bytes, due_before, &n);
	Args args = {0};

	ArgInt4(&args, max);
	ArgTime(&args, due_before);
	ArgTime(&args, lease_until);
	ArgInt8s(&args, next, n);
	return ReadJobs(StatementRun(&claim_submits, &args), mcxt, jobs);
}

static int
ClaimOldest(Statement *claim, int max, TimestampTz due_before, TimestampTz lease_until, MemoryContext mcxt, Job **jobs)
{
	Args args = {0};

	ArgInt4(&args, max);
	ArgTime(&args, due_before);
	ArgTime(&args, lease_until);
	return ReadJobs(StatementRun(claim, &args), mcxt, jobs);
}

/* a job that was there when the worker crashed twice may be the cause: it is tried alone */
#define INNOCENT(alias) alias ".crashes < 2"
#define SUSPECT(alias) alias ".crashes >= 2"

static Statement claim_reconciles = {
	CLAIM("", "d.state = 'submit_unknown' AND " INNOCENT("d"), "d.next_at", JOB_COLUMNS)};

int
JobClaimReconciles(int max, TimestampTz due_before, TimestampTz lease_until, MemoryContext mcxt, Job **jobs)
{
	return ClaimOldest(&claim_reconciles, max, due_before, lease_until, mcxt, jobs);
}

static Statement claim_polls = {
	CLAIM("", "d.state = ANY (ARRAY['queued', 'generating']) AND " INNOCENT("d"), "d.next_at", JOB_COLUMNS_TO_FOLLOW)};

int
JobClaimPolls(int max, TimestampTz due_before, TimestampTz lease_until, MemoryContext mcxt, Job **jobs)
{
	return ClaimOldest(&claim_polls, max, due_before, lease_until, mcxt, jobs);
}

static Statement claim_copies = {
	CLAIM("", "d.state = 'processing' AND " INNOCENT("d"), "d.next_at", JOB_COLUMNS_TO_FOLLOW)};

int
JobClaimCopies(int max, TimestampTz due_before, TimestampTz lease_until, MemoryContext mcxt, Job **jobs)
{
	return ClaimOldest(&claim_copies, max, due_before, lease_until, mcxt, jobs);
}

static Statement claim_suspect = {
	CLAIM("", SUSPECT("d") " AND d.state = ANY ($4)", "d.next_at", JOB_COLUMNS)};

int
JobClaimSuspect(char **states, int nstates, TimestampTz due_before, TimestampTz lease_until, MemoryContext mcxt, Job **jobs)
{
	Args args = {0};

	ArgInt4(&args, 1);
	ArgTime(&args, due_before);
	ArgTime(&args, lease_until);
	ArgTexts(&args, states, nstates);
	return ReadJobs(StatementRun(&claim_suspect, &args), mcxt, jobs);
}

bool
JobIsSuspect(const Job *job)
{
	return job->crashes >= 2;
}

/* leaves suspects to the worker: nobody would count the crash of a client */
static Statement lock_polls = {
	"SELECT " JOB_COLUMNS_TO_FOLLOW " FROM vibevideo.job j"
	" WHERE j.state = ANY (ARRAY['queued', 'generating']) AND j.next_at <= $2 AND " INNOCENT("j") " ORDER BY j.next_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED"};

int
JobLockPolls(int max, MemoryContext mcxt, Job **jobs)
{
	Args args = {0};

	ArgInt4(&args, max);
	ArgTime(&args, GetCurrentTimestamp());
	return ReadJobs(StatementRun(&lock_polls, &args), mcxt, jobs);
}

static Statement hold_lease = {
	"SELECT 1 FROM vibevideo.job j WHERE j.job_id = $1 AND j.lease = $2"};

bool
JobHoldsLease(int64 job_id, int64 lease)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	ArgInt8(&args, lease);
	return StatementRun(&hold_lease, &args) == 1;
}

/*----------
 * Recording
 *
 * The updates are passed as a named tuplestore, like a trigger's transition
 * table: twenty arrays and as many function scans would cost more than the
 * update itself.
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
		{"objection", TEXTOID},
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
		{"billable_units", NUMERICOID},
		{"may_be_billed", BOOLOID},
		{"width", INT4OID},
		{"height", INT4OID},
		{"fps", NUMERICOID},
		{"video_codec", TEXTOID},
		{"has_audio", BOOLOID},
		{"audio_codec", TEXTOID},
		{"faststart", BOOLOID},
		{"has_c2pa", BOOLOID},
		{"bit_rate", INT8OID},
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

static void
PutDecimal(UpdateRow *row, const char *text)
{
	Put(row, text ? DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)) : (Datum) 0,
		text == NULL);
}

static void
PutAnswer(UpdateRow *row, MediaAnswer answer)
{
	Put(row, BoolGetDatum(answer == MEDIA_YES), answer == MEDIA_UNKNOWN);
}

/* a number of thousandths, without zeros at its end */
static void
PutThousandths(UpdateRow *row, int64 number)
{
	char text[32];
	size_t len = snprintf(text, sizeof(text), "%lld.%03lld", (long long) number / 1000, (long long) number % 1000);

	while (text[len - 1] == '0')
		text[--len] = '\0';
	if (text[len - 1] == '.')
		text[--len] = '\0';
	PutDecimal(row, number < 0 ? NULL : text);
}

static int64
BitRate(const MediaFacts *facts, int64 bytes)
{
	if (facts->duration_ms <= 0 || bytes <= 0 || bytes > INT64_MAX / 8000)
		return -1;
	return bytes * 8000 / facts->duration_ms;
}

/* what the file says of itself */
static void
PutFacts(UpdateRow *row, const JobUpdate *u)
{
	static const MediaFacts unknown = {.width = -1, .height = -1, .milli_rate = -1, .duration_ms = -1};
	const MediaFacts *facts = u->facts ? u->facts : &unknown;
	int64 bit_rate = BitRate(facts, u->bytes_total);

	Put(row, Int32GetDatum((int32) facts->width), facts->width < 0);
	Put(row, Int32GetDatum((int32) facts->height), facts->height < 0);
	PutThousandths(row, facts->milli_rate);
	PutString(row, facts->video_codec[0] ? facts->video_codec : NULL);
	PutAnswer(row, facts->has_audio);
	PutString(row, facts->audio_codec[0] ? facts->audio_codec : NULL);
	PutAnswer(row, facts->faststart);
	PutAnswer(row, facts->has_c2pa);
	PutNumber(row, bit_rate, bit_rate < 0);
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
	PutString(row, u->objection);
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
	PutDecimal(row, u->billable_units);
	Put(row, BoolGetDatum(u->may_be_billed), false);
	PutFacts(row, u);
	Assert(row->n == lengthof(update_columns));
}

static TupleDesc
UpdateDesc(void)
{
	TupleDesc desc = CreateTemplateTupleDesc(lengthof(update_columns));

	for (int i = 0; i < lengthof(update_columns); i++)
		TupleDescInitEntry(desc, i + 1, update_columns[i].name, update_columns[i].type, -1, 0);
	TupleDescFinalize(desc);
	return desc;
}

/*
 * The only way a step's outcome gets into a job.  Only the holder of the newest
 * lease matches, and only once: recording ends the lease.  A row that somebody
 * has locked is skipped: the worker must not wait for a person.  A cancel
 * requested meanwhile ends a job that is not at fal, and makes a job that is
 * there due at once.  An infinite row_next_at tells the trigger that the caller
 * writes the app's row.  The sample of its place in fal's queue that is 10 minutes
 * old makes room for one that is 5 minutes old, on the line from there to now.
 */
#define QUEUE_MOVES "x.queue_position <= l.earlier_position"
static Statement record_updates = {
	"UPDATE vibevideo.job j SET state = u.new_state, tries = u.tries, next_at = u.new_next_at,"
	" queue_position = u.queue_position, error_code = u.error_code, error = u.error, objection = u.objection,"
	" request_id = COALESCE(u.request_id, j.request_id),"
	" media_url = COALESCE(u.media_url, j.media_url),"
	" media_type = COALESCE(u.media_type, j.media_type),"
	" object_key = COALESCE(u.object_key, j.object_key),"
	" video_url = COALESCE(u.video_url, j.video_url),"
	" bytes_done = COALESCE(u.bytes_done, j.bytes_done),"
	" bytes_total = COALESCE(u.bytes_total, j.bytes_total),"
	" sha256 = COALESCE(u.sha256, j.sha256),"
	" duration_ms = COALESCE(u.duration_ms, j.duration_ms),"
	" billable_units = COALESCE(u.billable_units, j.billable_units),"
	" held_usd = CASE WHEN u.may_be_billed THEN COALESCE(j.cost_usd, 0) END,"
	" width = COALESCE(u.width, j.width), height = COALESCE(u.height, j.height), fps = COALESCE(u.fps, j.fps),"
	" video_codec = COALESCE(u.video_codec, j.video_codec), has_audio = COALESCE(u.has_audio, j.has_audio),"
	" audio_codec = COALESCE(u.audio_codec, j.audio_codec), faststart = COALESCE(u.faststart, j.faststart),"
	" has_c2pa = COALESCE(u.has_c2pa, j.has_c2pa), bit_rate = COALESCE(u.bit_rate, j.bit_rate),"
	" delivered_less = CASE WHEN u.new_state = 'completed' THEN vibevideo_internal.delivered_less(j.model, j.input,"
	" j.created_at, COALESCE(u.duration_ms, j.duration_ms), COALESCE(u.width, j.width), COALESCE(u.height, j.height),"
	" COALESCE(u.fps, j.fps), COALESCE(u.has_audio, j.has_audio)) END,"
	" leased_by = NULL, lease = nextval('vibevideo.lease_seq'), updated_at = $1, crashes = 0,"
	" submitted_at = CASE WHEN u.request_id IS NOT NULL THEN COALESCE(j.submitted_at, $1) ELSE j.submitted_at END,"
	" generated_at = CASE WHEN u.media_url IS NOT NULL THEN COALESCE(j.generated_at, $1) ELSE j.generated_at END,"
	" completed_at = CASE WHEN u.new_next_at IS NULL THEN $1 END,"
	" bytes_per_second = NULL,"
	" upload_url = CASE WHEN u.new_state <> 'completed' THEN j.upload_url END,"
	" upload_state = CASE WHEN u.new_state <> 'completed' THEN COALESCE(u.upload_state, j.upload_state) END,"
	" row_next_at = CASE WHEN u.row_written AND NOT j.row_dirty THEN 'infinity' ELSE j.row_next_at END,"
	" earlier_position = u.new_earlier_position, earlier_at = u.new_earlier_at"
	" FROM (SELECT x.*,"
	" CASE WHEN " QUEUE_MOVES " AND l.earlier_at >= $1 - '10 min'::interval THEN l.earlier_position"
	" WHEN " QUEUE_MOVES " THEN x.queue_position"
	" + round((l.earlier_position - x.queue_position) * 300 / extract(epoch FROM $1 - l.earlier_at))::int"
	" ELSE x.queue_position END AS new_earlier_position,"
	" CASE WHEN " QUEUE_MOVES " AND l.earlier_at >= $1 - '10 min'::interval THEN l.earlier_at"
	" WHEN " QUEUE_MOVES " THEN $1 - '5 min'::interval"
	" WHEN x.queue_position IS NOT NULL THEN $1 END AS new_earlier_at,"
	" CASE WHEN l.cancel AND x.state = 'pending' THEN 'cancelled' ELSE x.state END AS new_state,"
	" CASE WHEN l.cancel AND x.state = 'pending' THEN NULL"
	" WHEN l.cancel AND NOT x.cancel_seen AND x.state = ANY (ARRAY['queued', 'generating'])"
	" THEN $1 - '1 day'::interval ELSE x.next_at END AS new_next_at"
	" FROM job_updates x"
	" JOIN (SELECT k.job_id, k.lease, k.cancel_requested_at IS NOT NULL AS cancel, k.earlier_position, k.earlier_at"
	" FROM vibevideo.job k"
	" WHERE k.job_id = ANY (ARRAY(SELECT y.job_id FROM job_updates y)) FOR NO KEY UPDATE SKIP LOCKED) l"
	" ON l.job_id = x.job_id AND l.lease = x.lease) u"
	" WHERE j.job_id = u.job_id"
	" RETURNING u.nth"};

static int
RunRecord(const JobUpdate *updates, int n)
{
	EphemeralNamedRelationData given = {{"job_updates", InvalidOid, UpdateDesc(), ENR_NAMED_TUPLESTORE, FEW_UPDATES}};
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	Args args = {0};
	UpdateRow row;
	int done;

	for (int i = 0; i < n; i++)
	{
		PutUpdate(&row, i, &updates[i]);
		tuplestore_putvalues(rows, given.md.tupdesc, row.values, row.nulls);
	}
	given.reldata = rows;
	SPI_register_relation(&given);
	ArgTime(&args, GetCurrentTimestamp());
	done = (int) StatementRun(&record_updates, &args);
	SPI_unregister_relation(given.md.name);
	tuplestore_end(rows);
	return done;
}

/* one line for each change of state, and for each new error */
static void
LogUpdate(const JobUpdate *update)
{
	if (strcmp(update->was, update->state) == 0 &&
		(update->error == NULL || (update->was_error && strcmp(update->was_error, update->error) == 0)))
		return;
	if (update->error)
		ereport(LOG,
				(errmsg("vibevideo job %lld: %s -> %s: %s", (long long) update->job_id, update->was, update->state,
						update->error)));
	else if (update->request_id)
		ereport(LOG,
				(errmsg("vibevideo job %lld: %s -> %s, request %s", (long long) update->job_id, update->was, update->state,
						update->request_id)));
	else
		ereport(LOG,
				(errmsg("vibevideo job %lld: %s -> %s", (long long) update->job_id, update->was, update->state)));
}

/* The next attempt of a row whose job failed for a reason that may not recur. */
static Statement insert_next_attempt = {
	"INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, tenant, priority, attempt, renders, next_at,"
	" row_bears)"
	" SELECT j.relation, j.vibelog_id, 'pending', j.model, j.input, j.requested_by, j.tenant, j.priority,"
	" j.attempt + 1, j.renders + 1, $2,"
	" " BEARS_NOW
	" FROM vibevideo.job j WHERE j.job_id = $1 AND j.cancel_requested_at IS NULL"
	" ON CONFLICT DO NOTHING"};

/* A new attempt is paid for again: only if its failure may not recur. */
static void
StartNextAttempt(const JobUpdate *update)
{
	Args args = {0};

	ArgInt8(&args, update->job_id);
	ArgTime(&args, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), vv_backoff_base));
	if (StatementRun(&insert_next_attempt, &args) == 1)
		ereport(LOG,
				(errmsg("vibevideo job %lld: failed, starting a new attempt", (long long) update->job_id)));
}

int
JobRecord(const JobUpdate *updates, int n, bool *recorded)
{
	bool *held;
	bool again = false;
	int done;

	if (n == 0)
		return 0;
	/* its table of updates must not outlive it, whoever catches an error: both end with this level of SPI */
	StatementConnect();
	done = RunRecord(updates, n);
	held = recorded ? recorded : palloc(sizeof(bool) * n);
	memset(held, 0, sizeof(bool) * n);
	for (int r = 0; r < done; r++)
	{
		int64 index = ResultInt(r, 1, 0);

		LogUpdate(&updates[index]);
		again |= updates[index].again;
		held[index] = true;
	}
	/* the result is needed above: only now may other statements run */
	for (int i = 0; again && i < n; i++)
		if (updates[i].again && held[i])
			StartNextAttempt(&updates[i]);
	SPI_finish();
	return done;
}

static Statement record_progress = {
	"UPDATE vibevideo.job j SET bytes_done = $3, bytes_total = $4, next_at = $5,"
	" upload_url = COALESCE($6, j.upload_url), media_etag = COALESCE($7, j.media_etag), bytes_per_second = $8,"
	" duration_ms = COALESCE($9, j.duration_ms), upload_state = COALESCE($10, j.upload_state)"
	" WHERE j.job_id = ANY (ARRAY(SELECT k.job_id FROM vibevideo.job k"
	" WHERE k.job_id = $1 AND k.lease = $2 FOR NO KEY UPDATE SKIP LOCKED))"};

static void
ArgNumber(Args *args, int64 number, bool isnull)
{
	ArgDatum(args, INT8OID, Int64GetDatum(number), isnull);
}

bool
JobRecordProgress(int64 job_id, int64 lease, const JobProgress *progress, TimestampTz lease_until)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	ArgInt8(&args, lease);
	ArgInt8(&args, progress->done);
	ArgNumber(&args, progress->total, progress->total < 0);
	ArgTime(&args, lease_until);
	ArgText(&args, progress->upload_url);
	ArgText(&args, progress->media_etag);
	ArgNumber(&args, progress->rate, progress->rate <= 0);
	ArgNumber(&args, progress->duration_ms, progress->duration_ms < 0);
	ArgBytes(&args, progress->upload_state, MEDIA_STATE_SIZE);
	/* updates nothing while somebody has the row locked: the next report follows soon */
	return StatementRun(&record_progress, &args) > 0 || JobHoldsLease(job_id, lease);
}

/*----------
 * What crashed processes left behind, and what is due
 *----------
 */
static Statement expire_submits = {
	"UPDATE vibevideo.job j SET state = 'submit_unknown', error_code = 'answer_lost',"
	" error = 'the process that sent the job ended before fal.ai answered',"
	" lease = nextval('vibevideo.lease_seq'), leased_by = NULL, next_at = $1"
	" WHERE j.job_id = ANY (ARRAY(SELECT k.job_id FROM vibevideo.job k"
	" WHERE k.state = 'submitting' AND (k.next_at <= $1 OR $2)"
	" AND NOT k.job_id = ANY ($3) FOR NO KEY UPDATE SKIP LOCKED))"};

int
JobExpireSubmits(TimestampTz now, bool all, const int64 *but, int nbut)
{
	Args args = {0};

	ArgTime(&args, now);
	ArgBool(&args, all);
	ArgInt8s(&args, but, nbut);
	return (int) StatementRun(&expire_submits, &args);
}

/*
 * A job that was leased when a worker crashed may be the cause, or innocent: a
 * server is killed for many reasons.  So none of them fails.  One that was there
 * twice is a suspect: it is tried alone, after longer and longer waits, and while
 * a suspect is tried a crash counts for no other job.
 */
static Statement recover_leases = {
	"UPDATE vibevideo.job j SET crashes = r.crashes, leased_by = NULL, bytes_per_second = NULL,"
	" lease = nextval('vibevideo.lease_seq'), next_at = $1 + r.wait,"
	" error_code = CASE WHEN r.crashes >= 2 THEN 'quarantined' ELSE j.error_code END,"
	" error = CASE WHEN r.crashes >= 2"
	" THEN format('the worker crashed %s times while it had this job, which is now tried alone', r.crashes) ELSE j.error END"
	" FROM (SELECT c.job_id, c.crashes, CASE WHEN c.crashes < 2 THEN '0'::interval"
	" ELSE LEAST(power(2, c.crashes - 2) * '5 s'::interval, '1 h'::interval) END AS wait"
	" FROM (SELECT k.job_id, k.crashes + CASE WHEN k.crashes >= 2 OR NOT EXISTS (SELECT FROM vibevideo.job s"
	" WHERE s.crashes >= 2 AND s.next_at IS NOT NULL AND s.leased_by IS NOT NULL) THEN 1 ELSE 0 END AS crashes"
	/* one subquery for each index, so that finished jobs are not read */
	" FROM vibevideo.job k WHERE k.job_id = ANY ("
	"ARRAY(SELECT a.job_id FROM vibevideo.job a WHERE a.leased_by IS NOT NULL"
	" AND a.state = ANY (ARRAY['queued', 'generating']))"
	" || ARRAY(SELECT a.job_id FROM vibevideo.job a WHERE a.leased_by IS NOT NULL"
	" AND a.state = 'processing')"
	" || ARRAY(SELECT a.job_id FROM vibevideo.job a WHERE a.leased_by IS NOT NULL"
	" AND a.state = 'submit_unknown')) FOR NO KEY UPDATE OF k SKIP LOCKED) c) r"
	" WHERE j.job_id = r.job_id"};

void
JobRecoverLeases(void)
{
	Args args = {0};

	ArgTime(&args, GetCurrentTimestamp());
	StatementRun(&recover_leases, &args);
}

static Statement find_prepared = {
	"SELECT 1 FROM pg_prepared_xacts p WHERE p.database = current_database() LIMIT 1"};

/* clang-format off */
static Statement next_due = {
	"SELECT (SELECT min(j.next_at) FROM vibevideo.job j WHERE j.state = 'pending'"
	" AND ($2 = 0 OR (SELECT vibevideo_internal.room_at_fal()) > 0)),"
	" (SELECT min(j.next_at) FROM vibevideo.job j WHERE j.state = 'submitting'),"
	" (SELECT min(j.next_at) FROM vibevideo.job j WHERE j.state = 'submit_unknown' AND " INNOCENT("j") "),"
	" (SELECT min(j.next_at) FROM vibevideo.job j WHERE j.state = ANY (ARRAY['queued', 'generating']) AND " INNOCENT("j") "),"
	" (SELECT min(j.next_at) FROM vibevideo.job j WHERE j.state = 'processing' AND " INNOCENT("j") "),"
	" (SELECT min(j.next_at) FROM vibevideo.job j WHERE " SUSPECT("j") " AND j.next_at IS NOT NULL"
	" AND j.state = ANY (ARRAY['submit_unknown', 'queued', 'generating', 'processing'])),"
	" (SELECT min(j.row_next_at) FROM vibevideo.job j WHERE j.row_dirty"
	" AND (j.relation = $1) IS TRUE)"};
/* clang-format on */

void
JobNextDue(const Binding *binding, JobDue *due)
{
	Args args = {0};

	/* first: a transaction that is no longer listed is visible to the next statement */
	due->is_prepared = (max_prepared_xacts > 0 && StatementRun(&find_prepared, NULL) > 0);
	/* the rows of a table that is gone are never due */
	ArgRelation(&args, BindingIsGone(binding) ? InvalidOid : binding->relid);
	ArgInt4(&args, vv_max_active);
	StatementRun(&next_due, &args);
	due->submit = BindingMaySend(binding) ? ResultTime(0, 1) : 0;
	due->expiry = ResultTime(0, 2);
	due->unknown = ResultTime(0, 3);
	due->poll = ResultTime(0, 4);
	due->copy = ResultTime(0, 5);
	due->suspect = ResultTime(0, 6);
	due->row = ResultTime(0, 7);
}

bool
JobIsAnythingDue(const JobDue *due)
{
	return due->submit || due->expiry || due->unknown || due->poll || due->copy || due->suspect || due->row || due->is_prepared;
}

static Statement prune = {
	"WITH gone AS (DELETE FROM vibevideo.job j WHERE j.job_id = ANY (ARRAY("
	"SELECT d.job_id FROM vibevideo.job d"
	" WHERE d.completed_at < $1 AND d.next_at IS NULL"
	/* unless a budget goes on holding it */
	" AND NOT (d.held_usd IS NOT NULL AND EXISTS (SELECT FROM vibevideo.limit l))"
	/* unless the app's row is still to be written, and its table exists */
	" AND NOT (d.row_dirty AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.relation))"
	/* what is to be erased is not known yet */
	" AND NOT EXISTS (SELECT FROM vibevideo.erasure e WHERE e.job_id = d.job_id AND e.what IN ('row', 'job'))"
	" ORDER BY d.completed_at LIMIT $2 FOR UPDATE OF d SKIP LOCKED)) RETURNING j.job_id, j AS job),"
	" kept AS MATERIALIZED (SELECT g.job_id, vibevideo_internal.keep_for_erasing(g.job) FROM gone g)"
	" DELETE FROM vibevideo.event e WHERE e.job_id = ANY (ARRAY(SELECT k.job_id FROM kept k))"};

int64
JobPrune(int max)
{
	Args args = {0};

	if (vv_retention == 0)
		return 0;
	ArgTime(&args, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), -(int64) vv_retention * 1000));
	ArgInt4(&args, max);
	return (int64) StatementRun(&prune, &args);
}
