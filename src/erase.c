/*
 * erase.c
 *	  The worker erases videos: files in Storage, and what fal.ai keeps of requests.
 *
 * vibevideo.erasure has what is to be erased (sql/erasure.sql); here one at a time is
 * asked for.  Choosing one puts its next time off, and is committed before it is asked
 * for, as an errand is: whatever happens to the request, its answer or us, it is asked
 * for again, until the answer is that it is gone.  To erase twice does no harm.
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

#include "call.h"
#include "erase.h"
#include "guc.h"
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
	char *bucket; /* NULL: at fal.ai */
	char *object_key;
	char *request_id;
	char *token;
	int kind; /* of Storage, as it was when it was asked for */
} Erasure;

/* what came of it, for vibevideo_internal.erasure_done */
typedef struct EraseAnswer
{
	const char *answer; /* deleted or gone; NULL: neither */
	const char *code;
	char *error;
	bool stuck; /* only a person can help */
	bool again; /* at once */
} EraseAnswer;

static EraseStep step = ERASE_NONE;
static HttpRequest *request = NULL; /* NULL of one that is answered: it could not be asked for */
static MemoryContext erase_context = NULL;
static Erasure chosen; /* its texts are in erase_context */
static char key[SECRET_SIZE];

/* the form of the key that Storage accepted last: for sb_ keys it depends on the gateway */
static StorageKeyForm key_form;
static bool form_is_known = false;

bool
EraseMayBegin(void)
{
	/* what was chosen in a transaction that has failed is chosen again */
	return step == ERASE_NONE || step == ERASE_CHOSEN;
}

bool
EraseIsAnswered(void)
{
	return step == ERASE_ANSWERED;
}

void
EraseForget(void)
{
	if (step == ERASE_ASKED)
		return;
	if (request)
		HttpFree(request);
	request = NULL;
	SecretWipe(key, sizeof(key));
	step = ERASE_NONE;
}

/*----------
 * Choosing
 *----------
 */

/* Why nothing can be erased in Storage, NULL if it can; the key is read. */
static char *
StorageLacks(void)
{
	StorageKey about;

	if (vv_storage_kind == STORAGE_KIND_NONE || vv_storage_url[0] == '\0')
		return pstrdup("vibevideo.storage_url is not set, or vibevideo.storage_kind is none.");
	if (!SecretRead(SECRET_STORAGE, key, sizeof(key), NULL))
		return psprintf("%s %s", SecretAbsence(SECRET_STORAGE), SecretHint(SECRET_STORAGE));
	if (vv_storage_kind == STORAGE_KIND_S3)
		return NULL;
	StorageReadKey(key, &about);
	return about.fault ? psprintf("%s %s", about.fault, about.hint ? about.hint : "") : NULL;
}

static char *
FalLacks(void)
{
	if (SecretRead(SECRET_FAL_ADMIN, key, sizeof(key), NULL))
		return NULL;
	return psprintf("It takes an API key of scope ADMIN. %s %s", SecretAbsence(SECRET_FAL_ADMIN), SecretHint(SECRET_FAL_ADMIN));
}

static void
ReadErasure(void)
{
	MemoryContext saved;

	if (erase_context == NULL)
		erase_context = AllocSetContextCreate(TopMemoryContext, "vibevideo erasure", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(erase_context);
	saved = MemoryContextSwitchTo(erase_context);
	chosen.id = ResultInt(0, 1, 0);
	chosen.bucket = ResultText(0, 2);
	chosen.object_key = ResultText(0, 3);
	chosen.request_id = ResultText(0, 4);
	chosen.token = ResultText(0, 5);
	chosen.kind = vv_storage_kind;
	MemoryContextSwitchTo(saved);
}

static Statement expand = {
	"SELECT vibevideo_internal.expand_erasures()"};

static Statement next_erasure = {
	"SELECT e.erasure_id, e.bucket, e.object_key, e.request_id, e.token FROM vibevideo_internal.next_erasure($1, $2) e"
	" WHERE e.erasure_id IS NOT NULL"};

static void
ChooseOne(void)
{
	Args args = {0};

	StatementRun(&expand, NULL);
	ArgText(&args, StorageLacks());
	ArgText(&args, FalLacks());
	if (StatementRun(&next_erasure, &args) > 0)
	{
		ReadErasure();
		(void) SecretRead(chosen.bucket ? SECRET_STORAGE : SECRET_FAL_ADMIN, key, sizeof(key), NULL);
		step = ERASE_CHOSEN;
	}
	else
		SecretWipe(key, sizeof(key));
}

static Statement next_time = {
	"SELECT min(e.next_at) FROM vibevideo.erasure e"};

static TimestampTz
NextTime(void)
{
	StatementRun(&next_time, NULL);
	return ResultTime(0, 1);
}

TimestampTz
EraseChoose(void)
{
	TimestampTz next;

	EraseForget();
	next = NextTime();
	if (next == 0 || next > GetCurrentTimestamp())
		return next;
	ChooseOne();
	return NextTime();
}

/*----------
 * Asking
 *----------
 */
static StorageKeyForm
KeyForm(void)
{
	return form_is_known ? key_form : StorageFirstForm(key);
}

void
EraseBegin(HttpEngine *engine)
{
	if (step != ERASE_CHOSEN)
		return;
	if (chosen.bucket == NULL)
		request = CallFalErase(engine, key, chosen.request_id, chosen.token);
	else
		request = CallStorageDelete(engine, key, KeyForm(), chosen.bucket, chosen.object_key);
	step = request ? ERASE_ASKED : ERASE_ANSWERED;
}

bool
EraseTake(HttpRequest *done)
{
	if (step != ERASE_ASKED || done != request)
		return false;
	step = ERASE_ANSWERED;
	return true;
}

/*----------
 * Recording
 *----------
 */
static EraseAnswer
JudgeStorage(const HttpReply *reply)
{
	EraseAnswer answer = {0};
	StorageDelete verdict;
	StorageKeyForm form = KeyForm();

	StorageJudgeDelete(chosen.kind == STORAGE_KIND_S3, reply, &verdict);
	if (verdict.reply.outcome == STORAGE_DONE)
	{
		answer.answer = verdict.gone ? "gone" : "deleted";
		return answer;
	}
	answer.code = pstrdup(verdict.reply.code);
	if (verdict.reply.outcome == STORAGE_AUTH && StorageNextForm(key, &form))
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
Judge(void)
{
	if (request == NULL)
		return (EraseAnswer){.code = "bad_request", .error = "could not build the request: see check_config", .stuck = true};
	return chosen.bucket ? JudgeStorage(HttpReplyOf(request)) : JudgeFal(HttpReplyOf(request));
}

static Statement erasure_done = {
	"SELECT vibevideo_internal.erasure_done($1, $2, $3, $4, $5, $6, $7)"};

void
EraseEnd(void)
{
	EraseAnswer answer = Judge();
	Args args = {0};

	ArgInt8(&args, chosen.id);
	ArgText(&args, answer.answer);
	ArgInt4(&args, request ? HttpReplyOf(request)->status : 0);
	ArgText(&args, answer.code);
	ArgText(&args, answer.error);
	ArgBool(&args, answer.stuck);
	ArgBool(&args, answer.again);
	StatementRun(&erasure_done, &args);
	step = ERASE_NONE;
	EraseForget();
}
