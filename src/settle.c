/*
 * settle.c
 *	  What becomes of submits whose transactions have ended.
 *
 * A submit whose job is missing was rolled back, or its session crashed, after
 * it was (perhaps) sent: it becomes an orphan, which the usual steps find at fal
 * and cancel.
 */
#include "postgres.h"

#include "journal.h"
#include "settle.h"
#include "statement.h"

/*
 * After a crash, ids that were not flushed may be assigned again: id and time
 * together show whether the job exists.  An orphan gets a new id, and is
 * recognised by the time of its intent.
 */
static Statement insert_orphan = {
	"INSERT INTO vibevideo.job (relation, vibelog_id, attempt, state, orphan, model, input, request_id,"
	" created_at, sent_at, submitted_at, cancel_requested_at, row_dirty, error_code, error)"
	" SELECT $2, $3, $4, CASE WHEN $7 IS NULL THEN 'submit_unknown' ELSE 'queued' END, true, $5,"
	" $6::jsonb, $7, $9, $8, CASE WHEN $7 IS NOT NULL THEN $8 END, now(), false,"
	" 'rolled_back', 'the transaction that sent it was rolled back'"
	" WHERE NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.job_id = $1 AND k.created_at = $9)"
	" AND NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.vibelog_id = $3"
	" AND (k.relation = $2 OR $2 IS NULL) AND k.orphan AND k.sent_at = $8)"
	" ON CONFLICT DO NOTHING RETURNING job_id"};

/* its id; 0 if its transaction has committed, or the orphan exists already */
static int64
InsertOrphan(const Binding *binding, const JournalEntry *entry)
{
	bool accepted = (entry->answered && entry->outcome == FAL_SUBMIT_ACCEPTED);
	Args args = {0};

	ArgInt8(&args, entry->job_id);
	ArgRelation(&args, binding->relid);
	ArgText(&args, entry->vibelog_id);
	ArgInt4(&args, entry->attempt);
	ArgText(&args, entry->model);
	ArgText(&args, entry->input);
	ArgText(&args, accepted ? entry->request_id : NULL);
	ArgTime(&args, entry->sent_at);
	ArgTime(&args, entry->created_at);
	StatementRun(&insert_orphan, &args);
	return ResultFirstInt();
}

bool
SettleJournal(const Binding *binding)
{
	JournalEntry **entries;
	bool whole;
	int n = JournalRead(&entries, &whole);
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
		if (orphan != 0)
			ereport(LOG,
					(errmsg("vibevideo job %lld: its transaction was rolled back after it was sent; it will be cancelled at fal.ai",
							(long long) orphan)));
	}
	return again;
}
