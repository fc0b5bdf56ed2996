/*
 * rekey.c
 *	  Jobs whose row has another key than they were made with.
 *
 * A job belongs to a row, not to a key.  When the row's key is changed, its
 * jobs follow; when the key goes on to another row, they make way.  A job
 * without a row has no relation, so nothing that asks by relation and key finds
 * it: at fal it continues, and its request id may still lead to it.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "job.h"
#include "rekey.h"
#include "shmem.h"
#include "statement.h"

static Statement lock_keys = {
	"SELECT j.job_id, j.vibelog_id = $2 FROM vibevideo.job j"
	" WHERE j.relation = $1 AND j.vibelog_id = ANY (ARRAY[$2, $3]) AND NOT j.orphan"
	" ORDER BY j.job_id FOR NO KEY UPDATE"};
static Statement try_keys = {
	"SELECT j.job_id, j.vibelog_id = $2 FROM vibevideo.job j"
	" WHERE j.relation = $1 AND j.vibelog_id = ANY (ARRAY[$2, $3]) AND NOT j.orphan"
	" ORDER BY j.job_id FOR NO KEY UPDATE SKIP LOCKED"};
static Statement count_keys = {
	"SELECT count(*) FROM vibevideo.job j"
	" WHERE j.relation = $1 AND j.vibelog_id = ANY (ARRAY[$2, $3]) AND NOT j.orphan"};

/* those under the two keys */
typedef struct Keyed
{
	int64 *a;
	int na;
	int64 *b;
	int nb;
} Keyed;

static Keyed
LockKeys(const Binding *binding, const char *a, const char *b, bool wait)
{
	Args args = {0};
	Keyed keyed = {0};
	uint64 n;

	ArgRelation(&args, binding->relid);
	ArgText(&args, a);
	ArgText(&args, b);
	n = StatementRun(wait ? &lock_keys : &try_keys, &args);
	keyed.a = palloc(sizeof(int64) * (n + 1));
	keyed.b = palloc(sizeof(int64) * (n + 1));
	for (uint64 i = 0; i < n; i++)
		if (ResultBool(i, 2))
			keyed.a[keyed.na++] = ResultInt(i, 1, 0);
		else
			keyed.b[keyed.nb++] = ResultInt(i, 1, 0);
	SPI_freetuptable(SPI_tuptable);
	return keyed;
}

static bool
AreAll(const Binding *binding, const char *a, const char *b, Keyed keyed)
{
	Args args = {0};

	ArgRelation(&args, binding->relid);
	ArgText(&args, a);
	ArgText(&args, b);
	StatementRun(&count_keys, &args);
	return ResultFirstInt() == keyed.na + keyed.nb;
}

static Statement lose = {
	"UPDATE vibevideo.job j SET relation = NULL, row_dirty = false, row_error = $2 WHERE j.job_id = ANY ($1)"};

static void
Lose(const int64 *job_ids, int n, const char *error)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	ArgText(&args, error);
	StatementRun(&lose, &args);
}

/* it was written, or what it bears is kept */
static Statement move = {
	"UPDATE vibevideo.job j SET relation = $2, vibelog_id = $3, row_error = NULL, row_tries = 0, row_next_at = $4,"
	" row_bears = " BEARS_NOW ", row_dirty = true"
	" WHERE j.job_id = ANY ($1)"};

static void
Move(const Binding *binding, const int64 *job_ids, int n, const char *key)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	ArgRelation(&args, binding->relid);
	ArgText(&args, key);
	ArgTime(&args, GetCurrentTimestamp());
	StatementRun(&move, &args);
	ShmemWakeAtCommit();
}

static Statement step_aside = {
	"UPDATE vibevideo.job j SET relation = NULL WHERE j.job_id = ANY ($1)"};

/* out of the way of the index job_active, for a moment */
static void
StepAside(const int64 *job_ids, int n)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	StatementRun(&step_aside, &args);
}

bool
RekeyExchange(const Binding *binding, const char *a, const char *b, bool wait)
{
	Keyed keyed = LockKeys(binding, a, b, wait);

	if (!wait && !AreAll(binding, a, b, keyed))
		return false;
	StepAside(keyed.a, keyed.na);
	if (keyed.nb > 0)
		Move(binding, keyed.b, keyed.nb, a);
	Move(binding, keyed.a, keyed.na, b);
	return true;
}

static Statement cancel_lost = {
	"UPDATE vibevideo.job j SET state = 'cancelled', next_at = NULL, completed_at = $2, error_code = 'row_gone',"
	" error = 'its row was gone before it was sent' WHERE j.job_id = ANY ($1) AND j.state = 'pending'"};

/* What was not sent yet would be paid for nobody; the rest is followed to its end, and its video stored. */
static void
CancelLost(const int64 *job_ids, int n)
{
	Args args = {0};

	ArgInt8s(&args, job_ids, n);
	ArgTime(&args, GetCurrentTimestamp());
	StatementRun(&cancel_lost, &args);
}

void
RekeyLose(const Binding *binding, const char *key)
{
	Keyed keyed = LockKeys(binding, key, key, true);

	Lose(keyed.a, keyed.na, "another row has the key of its row, which no longer exists");
	CancelLost(keyed.a, keyed.na);
}

void
RekeyFind(const Binding *binding, int64 job_id, const char *key)
{
	Move(binding, &job_id, 1, key);
}
