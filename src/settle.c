/*
 * settle.c
 *	  What becomes of submits whose transactions have ended.
 *
 * A submit whose job is missing was rolled back, or its session crashed, after
 * it was (perhaps) sent: it becomes an orphan, which the usual steps find at fal
 * and cancel.  It counts against its user's limits from the rollback on: as long
 * as only the journal knows of it, the limits ask the journal.
 *
 * A call that was cancelled before it had sent anything has noted that as its
 * answer, as it does when fal has refused: it leaves no orphan.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "journal.h"
#include "ownerror.h"
#include "rollup.h"
#include "settle.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(vibevideo_sent_for_nobody);

/*
 * After a crash, ids that were not flushed may be assigned again: id and time
 * together show whether the job exists.  An orphan gets a new id, and is
 * recognised by the time of its intent.
 */
static Statement insert_orphan = {
	"INSERT INTO vibevideo.job (relation, vibelog_id, attempt, state, orphan, model, input, request_id,"
	" created_at, sent_at, submitted_at, cancel_requested_at, row_dirty, error_code, error, requested_by, tenant)"
	" SELECT $2, $3, $4, CASE WHEN $7 IS NULL THEN 'submit_unknown' ELSE 'queued' END, true, $5,"
	" $6::jsonb, $7, $9, $8, CASE WHEN $7 IS NOT NULL THEN $8 END, now(), false,"
	" 'rolled_back', 'the transaction that sent it was rolled back', $10, $11"
	" WHERE NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.job_id = $1 AND k.created_at = $9)"
	" AND NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.vibelog_id = $3"
	" AND (k.relation = $2 OR $2 IS NULL) AND k.orphan AND k.sent_at = $8)"
	" ON CONFLICT DO NOTHING RETURNING job_id"};

static bool
IsAccepted(const JournalEntry *entry)
{
	return entry->answered && entry->outcome == FAL_SUBMIT_ACCEPTED;
}

/* its id; 0 if its transaction has committed, or the orphan exists already */
static int64
InsertOrphan(const Binding *binding, const JournalEntry *entry)
{
	Args args = {0};

	ArgInt8(&args, entry->job_id);
	ArgRelation(&args, binding->relid);
	ArgText(&args, entry->vibelog_id);
	ArgInt4(&args, entry->attempt);
	ArgText(&args, entry->model);
	ArgText(&args, entry->input);
	ArgText(&args, IsAccepted(entry) ? entry->request_id : NULL);
	ArgTime(&args, entry->sent_at);
	ArgTime(&args, entry->created_at);
	ArgText(&args, entry->user);
	ArgText(&args, entry->tenant);
	StatementRun(&insert_orphan, &args);
	return ResultFirstInt();
}

static Statement count_orphan = {
	"SELECT vibevideo_internal.take_orphans_share(j) FROM vibevideo.job j WHERE j.job_id = $1"};

static void
CountSteps(const JournalEntry *entry)
{
	RollupStep submitted = RollupStepOf("submitted", entry->model, true);
	RollupStep accepted = RollupStepOf("accepted", entry->model, true);

	RollupNote(&submitted);
	if (!IsAccepted(entry))
		return;
	accepted.ms = Max(0, (entry->sent_at - entry->created_at) / 1000);
	RollupNote(&accepted);
}

/* It was sent: it takes from its user's limits what it needs, and be it more than there is. */
static void
CountOrphan(int64 job_id, const JournalEntry *entry)
{
	Args args = {0};

	CountSteps(entry);
	ArgInt8(&args, job_id);
	StatementRun(&count_orphan, &args);
}

/* Whoever has deleted its row meanwhile could not see it. */
static Statement erase_orphan = {
	"INSERT INTO vibevideo.erasure (what, job_id, reason) SELECT 'row', j.job_id, 'row' FROM vibevideo.job j"
	" JOIN vibevideo.binding b ON b.relation = j.relation AND b.on_delete = 'erase' WHERE j.job_id = $1"};

static void
EraseIfRowIsGone(int64 job_id)
{
	Args args = {0};

	ArgInt8(&args, job_id);
	StatementRun(&erase_orphan, &args);
}

bool
SettleJournal(const Binding *binding)
{
	JournalEntry **entries;
	bool whole;
	int n = JournalReadToSettle(&entries, &whole);
	bool again = !whole;

	for (int i = 0; i < n; i++)
	{
		int64 orphan;

		if (entries[i]->running)
		{
			again = true;
			continue;
		}
		if (!JournalMayBeAtFal(entries[i]))
			continue;
		orphan = InsertOrphan(binding, entries[i]);
		if (orphan == 0)
			continue;
		CountOrphan(orphan, entries[i]);
		EraseIfRowIsGone(orphan);
		ereport(LOG,
				(errmsg("vibevideo job %lld: its transaction was rolled back after it was sent; it will be cancelled at fal.ai",
						(long long) orphan)));
	}
	return again;
}

static Statement count_sent_for_nobody = {
	"SELECT count(*)::int4, COALESCE(sum(vibevideo_internal.most_cost(e.model, e.input::jsonb, e.created_at)), 0)"
	" FROM unnest($1, $2, $3, $4, $5, $6) AS e(job_id, created_at, sent_at, vibelog_id, model, input)"
	" WHERE NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.job_id = e.job_id AND k.created_at = e.created_at)"
	" AND NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.vibelog_id = e.vibelog_id AND k.orphan AND k.sent_at = e.sent_at)"};

/* They were read from the journal before: those that have committed are in the table by now. */
static void
CountSentForNobody(JournalEntry **entries, int n, Datum values[2])
{
	int64 *job_ids = palloc(sizeof(int64) * (n + 1));
	ArrayColumn created_at = ArrayColumnNew(n);
	ArrayColumn sent_at = ArrayColumnNew(n);
	char **vibelog_ids = palloc(sizeof(char *) * (n + 1));
	char **models = palloc(sizeof(char *) * (n + 1));
	char **inputs = palloc(sizeof(char *) * (n + 1));
	Args args = {0};
	bool isnull;

	for (int i = 0; i < n; i++)
	{
		job_ids[i] = entries[i]->job_id;
		created_at.values[i] = TimestampTzGetDatum(entries[i]->created_at);
		sent_at.values[i] = TimestampTzGetDatum(entries[i]->sent_at);
		vibelog_ids[i] = entries[i]->vibelog_id;
		models[i] = entries[i]->model;
		inputs[i] = entries[i]->input;
	}
	ArgInt8s(&args, job_ids, n);
	ArgArray(&args, created_at, n, TIMESTAMPTZOID);
	ArgArray(&args, sent_at, n, TIMESTAMPTZOID);
	ArgTexts(&args, vibelog_ids, n);
	ArgTexts(&args, models, n);
	ArgTexts(&args, inputs, n);
	StatementRun(&count_sent_for_nobody, &args);
	values[0] = ResultDatum(0, 1, &isnull);
	values[1] = ResultDatum(0, 2, &isnull);
}

/* those of a user, or of everybody, that fal may have and whose (sub)transactions are over */
static int
ReadUnsettled(const char *user, JournalEntry ***entries)
{
	bool whole;
	int n = JournalRead(entries, &whole);
	int left = 0;

	for (int i = 0; i < n; i++)
	{
		JournalEntry *entry = (*entries)[i];

		if (!entry->running && JournalMayBeAtFal(entry) &&
			(user == NULL || (entry->user && strcmp(entry->user, user) == 0)))
			(*entries)[left++] = entry;
	}
	return left;
}

/*----------
 * vibevideo_internal.sent_for_nobody(user_id text, OUT jobs int, OUT usd numeric)
 *
 * Of the submits in the journal those that were rolled back, and that the worker
 * has not made orphans of yet: how many they are, and what they cost.
 *----------
 */
Datum
vibevideo_sent_for_nobody(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	TupleDesc desc;
	JournalEntry **entries;
	Datum values[2];
	bool nulls[2] = {false};
	HeapTuple tuple;
	int n;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "vibevideo: return type must be a row type");
	desc = BlessTupleDesc(desc);
	StatementConnect();
	n = ReadUnsettled(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)), &entries);
	CountSentForNobody(entries, n, values);
	MemoryContextSwitchTo(caller);
	tuple = heap_form_tuple(desc, values, nulls);
	SPI_finish();
	PG_RETURN_DATUM(HeapTupleGetDatum(tuple));
}
