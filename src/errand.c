/*
 * errand.c
 *	  The worker's errands: what it asks fal.ai's platform API for no job.
 *
 * vibevideo_internal.errand and its functions know what there is to ask, when, and
 * what the answer means; here one question at a time is put onto the worker's
 * engine.  Choosing one puts its next time off, and is committed before it is asked:
 * whatever happens to the question, its answer or us, it is asked again no sooner.
 * So an answer may be dropped at any time, and none is kept for a second try.
 *
 * Nothing of this tells the circuit breaker anything: the platform API is another
 * host than the queue.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "errand.h"
#include "platform.h"
#include "secret.h"
#include "statement.h"

typedef enum ErrandStep
{
	ERRAND_NONE,
	ERRAND_CHOSEN, /* perhaps not committed */
	ERRAND_ASKED,
	ERRAND_ANSWERED
} ErrandStep;

static ErrandStep step = ERRAND_NONE;
static HttpRequest *request = NULL; /* NULL of one that is answered: it could not be asked */
static MemoryContext errand_context = NULL;
static char *name; /* in errand_context, as the question */
static PlatformQuestion question;
static char key[SECRET_SIZE];
static bool is_awaited = false;

bool
ErrandMayBegin(void)
{
	/* what was chosen in a transaction that has failed is chosen again */
	return step == ERRAND_NONE || step == ERRAND_CHOSEN;
}

bool
ErrandIsAnswered(void)
{
	return step == ERRAND_ANSWERED;
}

void
ErrandForget(void)
{
	if (step == ERRAND_ASKED)
		return;
	if (request)
		HttpFree(request);
	request = NULL;
	SecretWipe(key, sizeof(key));
	step = ERRAND_NONE;
}

static void
ReadErrand(void)
{
	MemoryContext saved;
	bool isnull;

	if (errand_context == NULL)
		errand_context = AllocSetContextCreate(TopMemoryContext, "vibevideo errand", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(errand_context);
	saved = MemoryContextSwitchTo(errand_context);
	name = ResultText(0, 1);
	question.what = ResultText(0, 2);
	PlatformSetQuery(&question, ResultDatum(0, 3, &isnull));
	question.admin = ResultBool(0, 4);
	MemoryContextSwitchTo(saved);
}

static Statement next_errand = {
	"SELECT e.name, e.what, e.query, e.admin FROM vibevideo_internal.next_errand($1) e WHERE e.name IS NOT NULL"};

static Statement find_held = {
	"SELECT 1 FROM vibevideo.job j WHERE j.held_usd IS NOT NULL LIMIT 1"};

bool
ErrandIsAwaited(void)
{
	return is_awaited;
}

void
ErrandChoose(void)
{
	Args args = {0};
	bool may_ask = PlatformKey(false, key, sizeof(key));
	bool with_admin = PlatformKey(true, key, sizeof(key));

	ErrandForget();
	ArgBool(&args, with_admin);
	is_awaited = may_ask && with_admin && StatementRun(&find_held, NULL) > 0;
	if (may_ask && StatementRun(&next_errand, &args) > 0)
	{
		ReadErrand();
		(void) PlatformKey(question.admin, key, sizeof(key));
		step = ERRAND_CHOSEN;
	}
	else
		SecretWipe(key, sizeof(key));
}

void
ErrandBegin(HttpEngine *engine)
{
	if (step != ERRAND_CHOSEN)
		return;
	request = PlatformAsk(engine, &question, key);
	SecretWipe(key, sizeof(key));
	step = request ? ERRAND_ASKED : ERRAND_ANSWERED;
}

bool
ErrandTake(HttpRequest *done)
{
	if (step != ERRAND_ASKED || done != request)
		return false;
	step = ERRAND_ANSWERED;
	return true;
}

static Statement errand_done = {
	"SELECT vibevideo_internal.errand_done($1, $2, $3, $4)"};

void
ErrandEnd(void)
{
	PlatformAnswer answer;
	Args args = {0};

	step = ERRAND_NONE;
	answer = request ? PlatformRead(HttpReplyOf(request)) : PlatformNoAnswer(PLATFORM_NOT_BUILT);
	ErrandForget();
	ArgText(&args, name);
	ArgInt4(&args, answer.status);
	ArgText(&args, answer.body);
	ArgText(&args, answer.why);
	StatementRun(&errand_done, &args);
}
