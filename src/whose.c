/*
 * whose.c
 *	  Which job belongs to which row.
 *
 * A job belongs to a row, not to a key: a key may be used again after a DELETE,
 * be given up and taken by another user, or be exchanged with another row's.
 * What tells a row is what we have written into it, its request id above all: a
 * row that does not bear what the job under its key has left there is another.
 *
 * Column row_bears keeps what the row bore when it was last seen right, for as
 * long as it is not written: its request id, '-' if it has only a status, empty if
 * it has neither, '?' if that is not known (then any row with the key is the
 * job's); null is what the job says itself.  A row that bears neither this nor the
 * job's request id is another row.  A job whose row is nowhere, while its key is
 * another's, has no relation (rekey.c).
 */
#include "postgres.h"

#include "approw.h"
#include "job.h"
#include "ownerror.h"
#include "rekey.h"
#include "rowguard.h"
#include "statement.h"
#include "subtransaction.h"
#include "whose.h"

#define MOST_STEPS 64 /* each puts one job where its row is, or out of the way */

/*----------
 * The newest job under a key, and whether the row there is its row
 *----------
 */
typedef struct Newest
{
	int64 job_id; /* 0: there is none */
	bool is_theirs;
	char *request_id;
	char *bears; /* what its own row was last seen to bear */
} Newest;

/* $3 is what the row bears, null if that is hidden */
static Statement find_newest = {
	"SELECT x.nth, n.* FROM unnest($1, $3) WITH ORDINALITY AS x(vibelog_id, bears, nth)"
	" CROSS JOIN LATERAL (SELECT j.job_id,"
	" x.bears IS NULL OR j.row_bears = '" BEARS_UNKNOWN "' OR x.bears = COALESCE(j.request_id, '" BEARS_STATUS "')"
	" OR (j.row_dirty AND j.row_bears = x.bears)"
	/* an older attempt's: the app has put back an older version of the row */
	" OR EXISTS (SELECT FROM vibevideo.job p WHERE p.request_id = x.bears AND p.relation = j.relation"
	" AND p.vibelog_id = j.vibelog_id AND NOT p.orphan),"
	" j.request_id, j.row_bears"
	" FROM vibevideo.job j WHERE j.relation = $2 AND j.vibelog_id = x.vibelog_id AND NOT j.orphan"
	" ORDER BY j.job_id DESC LIMIT 1) n"};

static void
FindNewest(const Binding *binding, char **vibelog_ids, char **bears, int n, Newest *newest)
{
	Args args = {0};
	uint64 found;

	ArgTexts(&args, vibelog_ids, n);
	ArgRelation(&args, binding->relid);
	ArgTexts(&args, bears, n);
	found = StatementRun(&find_newest, &args);
	memset(newest, 0, sizeof(Newest) * n);
	for (uint64 i = 0; i < found; i++)
	{
		Newest *one = &newest[ResultInt(i, 1, 1) - 1];

		one->job_id = ResultInt(i, 2, 0);
		one->is_theirs = ResultBool(i, 3);
		one->request_id = ResultText(i, 4);
		one->bears = ResultText(i, 5);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Neither is the job under the key another row's, nor the row's job perhaps elsewhere. */
static bool
IsSettled(const Newest *newest, const char *bears)
{
	return newest->job_id ? newest->is_theirs : !BearsRequest(bears);
}

/*
 * Row and job are read one after the other: what does not fit is true only if
 * the row is still the same when the job has been read.
 */
static Newest
ReadNewest(const Binding *binding, char *vibelog_id, char **bears)
{
	Newest newest;
	char *before;

	AppRowsBear(binding, &vibelog_id, 1, bears);
	do
	{
		before = *bears;
		FindNewest(binding, &vibelog_id, bears, 1, &newest);
		if (IsSettled(&newest, *bears))
			break;
		AppRowsBear(binding, &vibelog_id, 1, bears);
	} while (before == NULL || *bears == NULL ? before != *bears : strcmp(before, *bears) != 0);
	return newest;
}

/*----------
 * The job whose request id a row bears, under another key or none
 *----------
 */
typedef struct Stray
{
	int64 job_id; /* 0: there is none */
	char *key;	  /* NULL: it has no row */
} Stray;

static Statement find_stray = {
	"SELECT j.job_id, CASE WHEN j.relation IS NOT NULL THEN j.vibelog_id END FROM vibevideo.job j"
	" WHERE j.request_id = $1 AND NOT j.orphan AND (j.relation = $2 OR j.relation IS NULL)"};

static Stray
ReadStray(const Binding *binding, const char *request_id)
{
	Stray stray = {0};
	Args args = {0};

	ArgText(&args, request_id);
	ArgRelation(&args, binding->relid);
	if (StatementRun(&find_stray, &args) > 0)
	{
		stray.job_id = ResultInt(0, 1, 0);
		stray.key = ResultText(0, 2);
	}
	return stray;
}

/*
 * Whoever copies a request id into his row does not get the job while its own
 * row bears it.  That may be this one, where a collation takes its old key for
 * the new.
 */
static Stray
FindStray(const Binding *binding, const char *vibelog_id, const char *bears)
{
	static const Stray none = {0};
	Stray stray = BearsRequest(bears) ? ReadStray(binding, bears) : none;
	char *theirs;

	if (stray.key == NULL)
		return stray;
	if (strcmp(stray.key, vibelog_id) == 0)
		return none;
	AppRowsBear(binding, &stray.key, 1, &theirs);
	if (theirs == NULL || strcmp(theirs, bears) != 0)
		return stray;
	theirs = AppRowHome(binding, bears);
	return theirs && strcmp(theirs, vibelog_id) == 0 ? stray : none;
}

/*----------
 * Settling
 *----------
 */

/* Where the row of a job that is not this key's may be; NULL: nowhere. */
static char *
HomeOf(const Binding *binding, const Newest *newest, const char *vibelog_id)
{
	char *home = newest->request_id ? AppRowHome(binding, newest->request_id) : NULL;

	if (home == NULL && BearsRequest(newest->bears))
		home = AppRowHome(binding, newest->bears);
	return home && strcmp(home, vibelog_id) == 0 ? NULL : home;
}

typedef struct Move
{
	const Binding *binding;
	const Stray *stray;
	const char *key;
} Move;

static void
RunMove(void *arg)
{
	const Move *move = arg;

	if (move->stray->key)
		(void) RekeyExchange(move->binding, move->stray->key, move->key, true);
	else
		RekeyFind(move->binding, move->stray->job_id, move->key);
}

/*
 * The worker moves jobs between keys as well, and what it has not committed is
 * not seen here until the index job_active says so.  false: it was faster, and
 * nothing has been moved.
 */
static bool
TryMove(const Binding *binding, const Stray *stray, const char *key)
{
	return SubtransactionRunUnlessTaken(RunMove, &(Move){binding, stray, key});
}

typedef enum Step
{
	STEP_NONE,	/* there is nothing to do */
	STEP_TAKEN, /* look again */
	STEP_LATE	/* somebody was faster: look again */
} Step;

static Step
MoveTo(const Binding *binding, const Stray *stray, const char *key)
{
	return TryMove(binding, stray, key) ? STEP_TAKEN : STEP_LATE;
}

static Step
SendAway(const Binding *binding, const Newest *newest, const char *vibelog_id)
{
	char *home = HomeOf(binding, newest, vibelog_id);

	if (home)
		return MoveTo(binding, &(Stray){newest->job_id, (char *) vibelog_id}, home);
	RekeyLose(binding, vibelog_id);
	return STEP_TAKEN;
}

/* The job whose request id the row bears comes to it, if there is one. */
static Step
FetchStray(const Binding *binding, char *vibelog_id, const char *bears)
{
	Stray stray = FindStray(binding, vibelog_id, bears);

	return stray.job_id == 0 ? STEP_NONE : MoveTo(binding, &stray, vibelog_id);
}

static void
SettleOne(const Binding *binding, char *vibelog_id)
{
	Step step = STEP_NONE;

	for (int i = 0; i < MOST_STEPS; i++)
	{
		char *bears;
		Newest newest = ReadNewest(binding, vibelog_id, &bears);

		if (IsSettled(&newest, bears))
			return;
		/* its own comes first: where keys were shifted, each job that is sent away brings another */
		step = FetchStray(binding, vibelog_id, bears);
		if (step != STEP_NONE)
			continue;
		if (newest.job_id == 0)
			return;
		step = SendAway(binding, &newest, vibelog_id);
	}
	if (step == STEP_LATE)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("jobs are being moved to rows whose keys were changed"),
				 errhint("Try again.")));
	/* a longer row of keys was shifted: what is here now is fetched once somebody asks for its row */
	RekeyLose(binding, vibelog_id);
}

void
WhoseSettle(const Binding *binding, char **vibelog_ids, int n)
{
	char **bears = palloc(sizeof(char *) * (n + 1));
	Newest *newest = palloc(sizeof(Newest) * (n + 1));

	AppRowsBear(binding, vibelog_ids, n, bears);
	FindNewest(binding, vibelog_ids, bears, n, newest);
	for (int i = 0; i < n; i++)
		/* inside its write a row is not what it will be */
		if (!IsSettled(&newest[i], bears[i]) && !RowGuardIsBeingWritten(binding, vibelog_ids[i]))
			SettleOne(binding, vibelog_ids[i]);
}

int64
WhoseNewest(const Binding *binding, char *vibelog_id, bool *strayed)
{
	char *bears;
	Newest newest = ReadNewest(binding, vibelog_id, &bears);

	*strayed = false;
	if (newest.is_theirs || RowGuardIsBeingWritten(binding, vibelog_id))
		return newest.job_id;
	*strayed = true;
	return FindStray(binding, vibelog_id, bears).job_id;
}
