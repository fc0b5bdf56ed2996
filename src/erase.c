/*
 * erase.c
 *	  The worker erases videos: files in Storage, and what fal.ai keeps of requests.
 *
 * vibevideo.erasure has what is to be erased (sql/erasure.sql); here one thing at a time
 * is asked for in each of two lanes, Storage's and fal.ai's, so that one that is down
 * delays nothing of the other.  Choosing one puts its next time off, and is committed
 * before it is asked for, as an errand is: whatever happens to the request, its answer or
 * us, it is asked for again, until the answer is that it is gone.  To erase twice does no
 * harm.
 *
 * A key that may not see a file is told that there is none, by Storage's row-level
 * security.  So a key that says of itself that it is no service's is not even sent:
 * its answer would pass for done.
 *
 * Nothing of this tells the circuit breakers anything: what is erased can wait.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "approw.h"
#include "call.h"
#include "erase.h"
#include "guc.h"
#include "ownerror.h"
#include "secret.h"
#include "statement.h"

typedef enum EraseStep
{
	ERASE_NONE,
	ERASE_CHOSEN, /* perhaps not committed */
	ERASE_ASKED,
	ERASE_ANSWERED
} EraseStep;

typedef struct Erasure
{
	int64 id;
	char *bucket; /* of a file */
	char *object_key;
	char *request_id; /* of what fal.ai keeps */
	char *token;
	int kind; /* of Storage, as it was when it was asked for */
} Erasure;

typedef enum LaneName
{
	LANE_STORAGE,
	LANE_FAL,
	LANES
} LaneName;

typedef struct Lane
{
	const char *what; /* in vibevideo.erasure */
	EraseStep step;
	HttpRequest *request; /* NULL of one that is answered: it could not be asked for */
	MemoryContext context;
	Erasure chosen; /* its texts are in context */
	char key[SECRET_SIZE];
} Lane;

/* what came of it, for vibevideo_internal.erasure_done */
typedef struct EraseAnswer
{
	const char *answer; /* deleted or gone; NULL: neither */
	const char *code;
	char *error;
	bool stuck; /* only a person can help */
	bool again; /* at once */
} EraseAnswer;

static Lane lanes[LANES] = {
	[LANE_STORAGE] = {.what = "storage"},
	[LANE_FAL] = {.what = "fal"},
};

/* the form of the key that Storage accepted last: for sb_ keys it depends on the gateway */
static StorageKeyForm key_form;
static bool form_is_known = false;

/* what was chosen in a transaction that has failed is chosen again */
static bool
IsFree(const Lane *lane)
{
	return lane->step == ERASE_NONE || lane->step == ERASE_CHOSEN;
}

bool
EraseMayBegin(void)
{
	for (int i = 0; i < LANES; i++)
		if (IsFree(&lanes[i]))
			return true;
	return false;
}

bool
EraseIsUnderWay(void)
{
	for (int i = 0; i < LANES; i++)
		if (!IsFree(&lanes[i]))
			return true;
	return false;
}

bool
EraseIsAnswered(void)
{
	for (int i = 0; i < LANES; i++)
		if (lanes[i].step == ERASE_ANSWERED)
			return true;
	return false;
}

static void
Forget(Lane *lane)
{
	if (lane->request)
		HttpFree(lane->request);
	lane->request = NULL;
	SecretWipe(lane->key, sizeof(lane->key));
	lane->step = ERASE_NONE;
}

void
EraseForget(void)
{
	for (int i = 0; i < LANES; i++)
		if (lanes[i].step != ERASE_ASKED)
			Forget(&lanes[i]);
}

/*----------
 * Choosing
 *----------
 */

/* Why nothing can be erased in Storage, NULL if it can; the key is read. */
static char *
StorageLacks(char *key)
{
	StorageKey about;

	if (vv_storage_kind == STORAGE_KIND_NONE || vv_storage_url[0] == '\0')
		return pstrdup("vibevideo.storage_url is not set, or vibevideo.storage_kind is none.");
	if (!SecretRead(SECRET_STORAGE, key, SECRET_SIZE, NULL))
		return psprintf("%s %s", SecretAbsence(SECRET_STORAGE), SecretHint(SECRET_STORAGE));
	if (vv_storage_kind == STORAGE_KIND_S3)
		return NULL;
	StorageReadKey(key, &about);
	return about.fault ? psprintf("%s %s", about.fault, about.hint ? about.hint : "") : NULL;
}

static char *
FalLacks(char *key)
{
	if (SecretRead(SECRET_FAL_ADMIN, key, SECRET_SIZE, NULL))
		return NULL;
	return psprintf("It takes an API key of scope ADMIN. %s %s", SecretAbsence(SECRET_FAL_ADMIN), SecretHint(SECRET_FAL_ADMIN));
}

static void
ReadErasure(Lane *lane)
{
	MemoryContext saved;

	if (lane->context == NULL)
		lane->context = AllocSetContextCreate(TopMemoryContext, "vibevideo erasure", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(lane->context);
	saved = MemoryContextSwitchTo(lane->context);
	lane->chosen.id = ResultInt(0, 1, 0);
	lane->chosen.bucket = ResultText(0, 2);
	lane->chosen.object_key = ResultText(0, 3);
	lane->chosen.request_id = ResultText(0, 4);
	lane->chosen.token = ResultText(0, 5);
	lane->chosen.kind = vv_storage_kind;
	MemoryContextSwitchTo(saved);
}

static Statement next_erasure = {
	"SELECT e.erasure_id, e.bucket, e.object_key, e.request_id, e.token FROM vibevideo_internal.next_erasure($1, $2) e"
	" WHERE e.erasure_id IS NOT NULL"};

static void
ChooseOne(Lane *lane)
{
	Args args = {0};

	ArgText(&args, lane->what);
	ArgText(&args, lane->what == lanes[LANE_FAL].what ? FalLacks(lane->key) : StorageLacks(lane->key));
	if (StatementRun(&next_erasure, &args) > 0)
	{
		ReadErasure(lane);
		lane->step = ERASE_CHOSEN;
	}
	else
		SecretWipe(lane->key, sizeof(lane->key));
}

static Statement next_time = {
	"SELECT min(e.next_at) FROM vibevideo.erasure e WHERE e.what = $1"};

static TimestampTz
NextTime(const char *what)
{
	Args args = {0};

	ArgText(&args, what);
	StatementRun(&next_time, &args);
	return ResultTime(0, 1);
}

static bool
IsDue(TimestampTz next)
{
	return next != 0 && next <= GetCurrentTimestamp();
}

/* 0: nothing is, or it is not known before the answer to what is asked for now */
static TimestampTz
ChooseIn(Lane *lane)
{
	TimestampTz next;

	if (!IsFree(lane))
		return 0;
	Forget(lane);
	next = NextTime(lane->what);
	if (!IsDue(next))
		return next;
	ChooseOne(lane);
	return lane->step == ERASE_CHOSEN ? 0 : NextTime(lane->what);
}

TimestampTz
EraseChoose(void)
{
	TimestampTz next = 0;

	for (int i = 0; i < LANES; i++)
	{
		TimestampTz in_lane = ChooseIn(&lanes[i]);

		if (in_lane != 0 && (next == 0 || in_lane < next))
			next = in_lane;
	}
	return next;
}

/* each of an erasure's request ids: some row bears it, or none does */
typedef struct RowLook
{
	int n;
	int64 *erasures;
	char **request_ids;
	char **keys; /* of an orphan, whose request id no row ever bears: the key of its row, otherwise NULL */
	bool *shown;
} RowLook;

static Statement erasures_of_rows = {
	"SELECT r.erasure_id, r.request_id, r.key FROM vibevideo_internal.erasures_of_rows($1) r"};

/* An orphan's row may still ask for its video: it is shown as long as that is there. */
static void
LookForOrphansRows(const Binding *binding, RowLook *look)
{
	char **keys = palloc(sizeof(char *) * (look->n + 1));
	char **bears = palloc(sizeof(char *) * (look->n + 1));
	int *nth = palloc(sizeof(int) * (look->n + 1));
	int n = 0;

	for (int i = 0; i < look->n; i++)
		if (look->keys[i])
		{
			keys[n] = look->keys[i];
			nth[n++] = i;
		}
	if (n > 0)
		AppRowsBear(binding, keys, n, bears);
	for (int i = 0; i < n; i++)
		look->shown[nth[i]] = bears[i] != NULL;
}

static RowLook
LookForRows(const Binding *binding)
{
	Args args = {0};
	RowLook look = {0};

	ArgRelation(&args, binding->relid);
	look.n = (int) StatementRun(&erasures_of_rows, &args);
	look.erasures = palloc(sizeof(int64) * (look.n + 1));
	look.request_ids = palloc(sizeof(char *) * (look.n + 1));
	look.keys = palloc(sizeof(char *) * (look.n + 1));
	look.shown = palloc(sizeof(bool) * (look.n + 1));
	for (int i = 0; i < look.n; i++)
	{
		look.erasures[i] = ResultInt(i, 1, 0);
		look.request_ids[i] = ResultText(i, 2);
		look.keys[i] = ResultText(i, 3);
	}
	SPI_freetuptable(SPI_tuptable);
	AppRowsShow(binding, look.request_ids, look.n, look.shown);
	LookForOrphansRows(binding, &look);
	return look;
}

static Statement rows_looked_for = {
	"SELECT vibevideo_internal.rows_looked_for($1, $2)"};

static void
RecordRows(const RowLook *look, const char *relation)
{
	int64 *there = palloc(sizeof(int64) * (look->n + 1));
	int n = 0;
	Args args = {0};

	for (int i = 0; i < look->n; i++)
		if (look->shown[i])
			there[n++] = look->erasures[i];
	ArgInt8s(&args, look->erasures, look->n);
	ArgInt8s(&args, there, n);
	StatementRun(&rows_looked_for, &args);
	if (n > 0)
		ereport(LOG,
				(errmsg("vibevideo erases no videos that rows of %s show, though other rows that showed them are gone: %d", relation, n)));
}

TimestampTz
EraseLookForRows(const Binding *binding)
{
	RowLook look;

	if (!IsDue(NextTime("row")))
		return NextTime("row");
	look = LookForRows(binding);
	RecordRows(&look, binding->relation);
	return NextTime("row");
}

static Statement expand = {
	"SELECT vibevideo_internal.expand_erasures()"};

TimestampTz
EraseExpand(void)
{
	if (IsDue(NextTime("job")))
		StatementRun(&expand, NULL);
	return NextTime("job");
}

/*----------
 * Asking
 *----------
 */
static StorageKeyForm
KeyForm(const Lane *lane)
{
	return form_is_known ? key_form : StorageFirstForm(lane->key);
}

void
EraseBegin(HttpEngine *engine)
{
	for (int i = 0; i < LANES; i++)
	{
		Lane *lane = &lanes[i];
		const Erasure *chosen = &lane->chosen;

		if (lane->step != ERASE_CHOSEN)
			continue;
		lane->request = (i == LANE_FAL) ? CallFalErase(engine, lane->key, chosen->request_id, chosen->token)
										: CallStorageDelete(engine, lane->key, KeyForm(lane), chosen->bucket, chosen->object_key);
		lane->step = lane->request ? ERASE_ASKED : ERASE_ANSWERED;
	}
}

bool
EraseTake(HttpRequest *done)
{
	for (int i = 0; i < LANES; i++)
		if (lanes[i].step == ERASE_ASKED && done == lanes[i].request)
		{
			lanes[i].step = ERASE_ANSWERED;
			return true;
		}
	return false;
}

/*----------
 * Recording
 *----------
 */
static EraseAnswer
JudgeStorage(const Lane *lane)
{
	EraseAnswer answer = {0};
	StorageDelete verdict;
	StorageKeyForm form = KeyForm(lane);

	StorageJudgeDelete(lane->chosen.kind == STORAGE_KIND_S3, HttpReplyOf(lane->request), &verdict);
	if (verdict.reply.outcome == STORAGE_DONE)
	{
		answer.answer = verdict.gone ? "gone" : "deleted";
		return answer;
	}
	answer.code = pstrdup(verdict.reply.code);
	if (verdict.reply.outcome == STORAGE_AUTH && StorageNextForm(lane->key, &form))
	{
		key_form = form;
		form_is_known = answer.again = true;
	}
	else if (verdict.reply.outcome == STORAGE_AUTH)
		form_is_known = false;
	answer.stuck = !answer.again && verdict.reply.outcome != STORAGE_RETRY;
	answer.error = verdict.reply.hint ? psprintf("%s. %s", verdict.reply.message, verdict.reply.hint) : pstrdup(verdict.reply.message);
	return answer;
}

static EraseAnswer
JudgeFal(const HttpReply *reply)
{
	EraseAnswer answer = {0};
	FalErase verdict;

	FalJudgeErase(reply, time(NULL), &verdict);
	if (verdict.outcome == FAL_ERASE_DONE || verdict.outcome == FAL_ERASE_GONE)
	{
		answer.answer = verdict.outcome == FAL_ERASE_GONE ? "gone" : "deleted";
		return answer;
	}
	answer.code = pstrdup(verdict.error.type);
	answer.stuck = (verdict.outcome == FAL_ERASE_DENIED);
	answer.error = answer.stuck
		? psprintf("%s. It takes an API key of scope ADMIN: %s", verdict.error.message, SecretHint(SECRET_FAL_ADMIN))
		: pstrdup(verdict.error.message);
	return answer;
}

static EraseAnswer
Judge(const Lane *lane)
{
	if (lane->request == NULL)
		return (EraseAnswer){.code = "bad_request", .error = "could not build the request: see check_config", .stuck = true};
	return lane->what == lanes[LANE_FAL].what ? JudgeFal(HttpReplyOf(lane->request)) : JudgeStorage(lane);
}

static Statement erasure_done = {
	"SELECT vibevideo_internal.erasure_done($1, $2, $3, $4, $5, $6, $7)"};

static void
RecordAnswer(const Lane *lane)
{
	EraseAnswer answer = Judge(lane);
	Args args = {0};

	ArgInt8(&args, lane->chosen.id);
	ArgText(&args, answer.answer);
	ArgInt4(&args, lane->request ? HttpReplyOf(lane->request)->status : 0);
	ArgText(&args, answer.code);
	ArgText(&args, answer.error);
	ArgBool(&args, answer.stuck);
	ArgBool(&args, answer.again);
	StatementRun(&erasure_done, &args);
}

void
EraseEnd(void)
{
	for (int i = 0; i < LANES; i++)
		if (lanes[i].step == ERASE_ANSWERED)
			RecordAnswer(&lanes[i]);
	/* not before all are recorded: an error undoes them all */
	for (int i = 0; i < LANES; i++)
		if (lanes[i].step == ERASE_ANSWERED)
			Forget(&lanes[i]);
}
