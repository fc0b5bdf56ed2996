/*
 * reconcile.c
 *	  Finding out what became of a submit whose answer was lost.
 *
 * fal has no idempotency key, but its platform API lists an account's requests
 * to a model with their input (fal.ai/docs: models/requests/by-endpoint).  They
 * are read from two minutes before the job was sent, at most 100 pages of 50.
 * ReconcileDecide runs in the transaction that records the result:
 *
 * 1. Requests of other jobs are left out.  So are those that the journal names as
 *	  answers to other submits, whose rows may not be visible (their transactions
 *	  are open, or over and not settled).  While such a submit with the same model
 *	  and input has no answer, or a job with the same is being sent, nothing is
 *	  adopted: the request may belong to that one.
 * 2. Of the rest it takes one whose input contains ours (fal may add defaults)
 *	  and that fal accepted after we sent ours, within 15 minutes; equal input
 *	  first, then the nearest in time.  One that is nearer to another lost submit
 *	  with our input is left to that.  It is adopted at once, so that the next
 *	  decision sees it; a unique index on request_id has the last word.  A job that
 *	  is to be cancelled must be surer that the request is not somebody else's.
 * 3. If nothing is found, an orphan, or a job that is to be cancelled, ends as
 *	  cancelled, provided that the list was complete and was requested after
 *	  unknown_after had passed.  Otherwise unknown_policy decides, which lets it fail
 *	  under the same condition unless it says something else (with a new
 *	  attempt only up to max_renders), or it looks again: after 5 s, 10 s and so
 *	  on up to 5 minutes.
 *
 * The list may show finished requests only, so absence alone proves nothing.  A
 * list is not complete if it was cut, could not be judged, was read while 1.
 * prevented adoption, or contains the request of a job whose row somebody holds.
 *
 * "After we sent ours" is by fal's clock, which the answer's Date header shows
 * to a second (ReadClock); if that clock is so far behind that the list began too
 * late, it is requested again.  Without the header, two minutes before count as
 * after.  A request that fal had before is an earlier attempt's, accepted late;
 * adopting it would abandon our own, which may only not be listed yet.
 *
 * Foreign texts are cast in a subtransaction: a date or JSON that PostgreSQL
 * rejects is no match, not an error.
 *
 * Whoever decides instead of us sees what was found (vibevideo.lost): the requests
 * with our prompt that are nearest in time, and why we have not taken each.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "call.h"
#include "guc.h"
#include "journal.h"
#include "json.h"
#include "ownerror.h"
#include "reconcile.h"
#include "statement.h"
#include "subtransaction.h"
#include "wire.h"

#define MAX_PAGES 100 /* of 50 requests: a busy account has many since ours */
#define MAX_CANDIDATES 1000
#define PROMPT_BYTES 8192 /* the longest prompt we compare, in bytes */
#define LOOK_FIRST_MS 5000
#define LOOK_MOST_MS 300000
#define BLIND_MS 120000	 /* how far fal's clock may be from ours if it sends no Date */
#define KEEP_MS 900000	 /* a request that was accepted so long after we sent ours is not taken for it */
#define MARGIN_MS 1000	 /* the list's times may be truncated to seconds */
#define MAX_OFF_S 604800 /* a clock that is off by more is not believed */
#define SHOWN_CANDIDATES "20"

/* The contents of the list, in the task's memory. */
typedef struct Listing
{
	bool complete;	  /* fal sent all pages, and we could judge all of it */
	bool cut;		  /* it has more candidates than we keep */
	bool has_similar; /* one that may be ours was found */
	bool read;		  /* at least a part of it */
	int pages;
	TimestampTz asked_at; /* requests that fal accepts later need not be in it */
	TimestampTz from;	  /* the same for all pages, since the cursor may be an offset */
	TimestampTz sent_at;  /* when our job was sent, by fal's clock */
	TimestampTz earliest; /* the earliest that may have been, by fal's clock */
	JsonKind prompt_kind; /* of the job's own input */
	char prompt[PROMPT_BYTES];
	int n;
	char *request_ids[MAX_CANDIDATES];
	char *sent_ats[MAX_CANDIDATES];
	char *inputs[MAX_CANDIDATES];
	char trouble[300]; /* why it is not complete */
} Listing;

static bool
IsToBeCancelled(const Job *job)
{
	return job->orphan || job->cancel_requested_at != 0;
}

static JsonKind
ReadPrompt(const char *input, size_t len, char *prompt)
{
	JsonWant want = {.path = "prompt", .text = prompt, .size = PROMPT_BYTES};

	return JsonPick(input, len, &want, 1) ? want.kind : JSON_ABSENT;
}

/* Most requests of an account have another prompt, and need not be kept. */
static bool
HasOurPrompt(const Listing *listing, const FalListItem *item)
{
	static char prompt[PROMPT_BYTES];

	return listing->prompt_kind != JSON_STRING ||
		(ReadPrompt(item->input, item->input_len, prompt) == JSON_STRING &&
		 strcmp(prompt, listing->prompt) == 0);
}

/* If the request cannot be built, what was read so far decides. */
static void
FetchPage(Task *task, const char *cursor)
{
	task->http = CallFalList(task->engine, task->key, task->job->model,
							 timestamptz_to_time_t(task->listing->from), cursor, task);
	task->undecided = (task->http == NULL);
}

static void
FetchFirstPage(Task *task)
{
	task->listing->asked_at = GetCurrentTimestamp();
	task->listing->from = task->listing->earliest;
	FetchPage(task, "");
}

void
ReconcileStart(Task *task)
{
	Listing *listing = MemoryContextAllocZero(task->mcxt, sizeof(Listing));

	task->listing = listing;
	listing->prompt_kind = ReadPrompt(task->job->input, strlen(task->job->input), listing->prompt);
	listing->sent_at = task->job->sent_at ? task->job->sent_at : task->job->created_at;
	listing->earliest = TimestampTzPlusMilliseconds(listing->sent_at, -BLIND_MS);
	/* the operator has decided to resend: asking first would only cost time, unless the job is to be cancelled */
	if (vv_unknown_policy == UNKNOWN_RESUBMIT && !IsToBeCancelled(task->job))
	{
		task->undecided = true;
		return;
	}
	FetchFirstPage(task);
	if (TaskIsOver(task))
		strlcpy(listing->trouble, "could not build the request: check vibevideo.fal_api_url",
				sizeof(listing->trouble));
}

static bool
KeepCandidate(const FalListItem *item, void *arg)
{
	Task *task = arg;
	Listing *listing = task->listing;
	int n = listing->n;
	char *input;

	if (item->input == NULL || !FalRequestIdIsValid(item->request_id) || item->sent_at[0] == '\0' ||
		!HasOurPrompt(listing, item))
		return true;
	/* a truncated list proves nothing */
	if (n >= MAX_CANDIDATES)
	{
		listing->cut = true;
		return false;
	}
	input = MemoryContextAlloc(task->mcxt, item->input_len + 1);
	memcpy(input, item->input, item->input_len);
	input[item->input_len] = '\0';
	listing->request_ids[n] = MemoryContextStrdup(task->mcxt, item->request_id);
	listing->sent_ats[n] = MemoryContextStrdup(task->mcxt, item->sent_at);
	listing->inputs[n] = input;
	listing->n++;
	return true;
}

/*
 * How far is fal's clock behind ours?  Its Date is truncated to seconds and was
 * set at some time since we asked, which gives an upper and a lower bound.  Between them
 * we assume the smallest difference.  Returns true if fal's clock is so far
 * behind that the list that we asked for starts too late.
 */
static bool
ReadClock(Listing *listing, const HttpReply *reply)
{
	int64 seconds = WireDate(reply->date);
	int64 ours = (int64) timestamptz_to_time_t(listing->asked_at);
	TimestampTz date;
	int64 at_most;
	int64 at_least;

	if (seconds < ours - MAX_OFF_S || seconds > ours + MAX_OFF_S)
		return false;
	date = time_t_to_timestamptz((pg_time_t) seconds);
	at_most = GetCurrentTimestamp() - date;
	at_least = listing->asked_at - (date + USECS_PER_SEC);
	listing->earliest = TimestampTzPlusMilliseconds(listing->sent_at - at_most, -MARGIN_MS);
	listing->sent_at -= Max(at_least, Min(at_most, 0));
	return listing->earliest < listing->from;
}

/* Adds a page to the list; cursor is where the list continues, "" after the last page. */
static void
ReadPage(Task *task, const HttpReply *reply, char *cursor, size_t size)
{
	Listing *listing = task->listing;

	cursor[0] = '\0';
	if (reply->outcome != HTTP_ANSWERED)
		snprintf(listing->trouble, sizeof(listing->trouble), "could not read fal.ai's request list: %s", reply->error);
	else if (reply->status != 200)
		snprintf(listing->trouble, sizeof(listing->trouble), "fal.ai's request list answered HTTP %d", reply->status);
	else if (!FalReadList(reply->body, reply->body_len, KeepCandidate, task, cursor, size))
		strlcpy(listing->trouble, "could not parse fal.ai's request list", sizeof(listing->trouble));
	else
	{
		listing->read = true;
		listing->complete = (cursor[0] == '\0' && !listing->cut);
	}
}

void
ReconcileAdvance(Task *task, HttpRequest *request)
{
	const HttpReply *reply = HttpReplyOf(request);
	Listing *listing = task->listing;
	char cursor[512];
	bool again;

	task->http = NULL;
	ReadPage(task, reply, cursor, sizeof(cursor));
	again = (listing->pages++ == 0 && ReadClock(listing, reply));
	HttpFree(request);
	if (again)
	{
		listing->n = 0;
		listing->cut = listing->complete = false;
		listing->trouble[0] = '\0';
		FetchFirstPage(task);
	}
	else if (cursor[0] != '\0' && listing->pages < MAX_PAGES)
		FetchPage(task, cursor);
	else
		task->undecided = true;
}

static bool
IsOwnEntry(const JournalEntry *entry, const Job *job)
{
	return (entry->job_id == job->job_id && entry->created_at == job->created_at) ||
		entry->sent_at == job->sent_at; /* an orphan has a new id */
}

/*
 * A request of another submit is not ours, even if we cannot see that submit's
 * job, because its transaction is still open, or has ended and is not settled
 * yet.  The journal has the ids of those that were answered.
 */
static void
LeaveOutAnswered(Listing *listing, const JournalEntry *entry)
{
	for (int c = 0; c < listing->n; c++)
		if (strcmp(entry->request_id, listing->request_ids[c]) == 0)
			listing->request_ids[c] = "";
}

static Statement find_twin_sending = {
	"SELECT FROM vibevideo.job j JOIN vibevideo.job k ON k.state = 'submitting' AND k.model = j.model AND k.input = j.input"
	" WHERE j.job_id = $1 LIMIT 1"};

/* is the worker sending a job with the same model and input? */
static bool
IsTwinSending(const Job *job)
{
	Args args = {0};

	ArgInt8(&args, job->job_id);
	return StatementRun(&find_twin_sending, &args) > 0;
}

/* False while a submit with our input has no answer: any request may belong to it. */
static bool
LeaveOutOtherSubmits(Task *task)
{
	const Job *job = task->job;
	JournalEntry **entries;
	bool whole;
	int n = JournalRead(&entries, &whole);

	if (!whole)
		return false;
	for (int i = 0; i < n; i++)
	{
		if (IsOwnEntry(entries[i], job))
			continue;
		if (entries[i]->answered)
			LeaveOutAnswered(task->listing, entries[i]);
		else if (strcmp(entries[i]->model, job->model) == 0 && strcmp(entries[i]->input, job->input) == 0)
			return false;
	}
	return !IsTwinSending(job);
}

typedef struct Trial
{
	Task *task;
	int nth; /* of the list */
	bool adopted;
} Trial;

/*
 * Run step in a subtransaction; false if it raised an error.  The list's texts
 * come from outside and may not be castable, and another process may be recording
 * the same request right now.
 */
static bool
Try(void (*step)(void *arg), Trial *trial)
{
	ErrorData *error = SubtransactionRun(step, trial);

	if (error)
		FreeErrorData(error);
	return error == NULL;
}

/*
 * The list, without requests that other jobs have; lost submits with our input,
 * ours included; how each request of the list compares with our job, which was
 * sent at $5, and not before $6, by fal's clock, and taken by fal before $7; and
 * those that may be it, since their input contains ours (fal may add defaults).
 */
#define COMPARED \
	"WITH list AS (SELECT u.request_id, u.sent_at::timestamptz AS sent_at, u.input::jsonb AS input" \
	" FROM unnest($2, $3, $4) AS u(request_id, sent_at, input)" \
	" WHERE u.request_id <> '' AND NOT EXISTS (SELECT FROM vibevideo.job k WHERE k.request_id = u.request_id))," \
	" twins AS (SELECT k.job_id, k.sent_at + ($5 - j.sent_at) AS sent_at FROM vibevideo.job j" \
	" JOIN vibevideo.job k ON k.state = 'submit_unknown' AND k.model = j.model AND k.input = j.input" \
	" WHERE j.job_id = $1)," \
	" compared AS (SELECT l.request_id, l.sent_at, abs(date_part('epoch', l.sent_at - $5)) AS distance," \
	" l.input = j.input AS same, l.input @> j.input AS contains FROM vibevideo.job j, list l WHERE j.job_id = $1)," \
	" fit AS (SELECT c.* FROM compared c WHERE c.contains AND c.sent_at >= $6 AND c.sent_at < $7)"

/* another lost submit with our input is closer to request x */
#define NEARER_TO_TWIN(x) \
	"EXISTS (SELECT FROM twins k WHERE k.job_id <> $1 AND abs(date_part('epoch', " x ".sent_at - k.sent_at)) < " x ".distance)"
#define MORE_THAN_TWINS "(SELECT count(*) FROM fit) > (SELECT count(*) FROM twins)"

/*
 * The one that is this job's: it is no closer to another lost submit with our
 * input.
 *
 * A request that is to be cancelled ($8) may be another program's on the same
 * account, and nobody would bring that back: its input must be exactly ours, and it
 * was sent while we may have been sending.  If more could be ours than there are
 * lost submits with our input, it is none of them.
 */
/* clang-format off */
static Statement match_request = {
	COMPARED
	" SELECT (SELECT f.request_id FROM fit f"
	" WHERE NOT " NEARER_TO_TWIN("f") " AND (NOT $8 OR (f.same AND NOT " MORE_THAN_TWINS "))"
	" ORDER BY f.same DESC, f.distance LIMIT 1),"
	" EXISTS (SELECT FROM fit)"};
/* clang-format on */

/* what was accepted after that is not ours */
static TimestampTz
LatestMatch(const Job *job, const Listing *listing)
{
	int64 wait = IsToBeCancelled(job) ? (int64) vv_submit_timeout + BLIND_MS / 2 : KEEP_MS;

	return TimestampTzPlusMilliseconds(listing->sent_at, wait);
}

/* $1 to $8 of what compares n candidates of the list, from nth on */
static void
ArgComparison(Args *args, const Job *job, const Listing *listing, int nth, int n)
{
	ArgInt8(args, job->job_id);
	ArgTexts(args, (char **) listing->request_ids + nth, n);
	ArgTexts(args, (char **) listing->sent_ats + nth, n);
	ArgTexts(args, (char **) listing->inputs + nth, n);
	ArgTime(args, listing->sent_at);
	ArgTime(args, listing->earliest);
	ArgTime(args, LatestMatch(job, listing));
	ArgBool(args, IsToBeCancelled(job));
}

/* NULL if there is none among n candidates of the list, from nth on. */
static char *
MatchRequest(const Job *job, Listing *listing, int nth, int n)
{
	Args args = {0};

	ArgComparison(&args, job, listing, nth, n);
	StatementRun(&match_request, &args);
	listing->has_similar = ResultBool(0, 2);
	return ResultText(0, 1);
}

/* Record it at once, so that the next decision sees it. */
static void
AdoptStep(void *arg)
{
	Trial *trial = arg;
	Task *task = trial->task;
	Listing *listing = task->listing;
	char *found = MatchRequest(task->job, listing, 0, listing->n);

	if (found == NULL)
		return;
	TaskAdvance(task, "queued", 0);
	task->update.request_id = MemoryContextStrdup(task->mcxt, found);
	trial->adopted = (JobRecord(&task->update, 1, NULL) == 1);
	if (trial->adopted)
		return;
	/* the row may be unlocked when the decision is recorded, but the request is not absent */
	listing->complete = false;
	strlcpy(listing->trouble, "fal.ai has it, but the job is locked by another session", sizeof(listing->trouble));
}

/* Can this one be judged at all? */
static void
JudgeStep(void *arg)
{
	const Trial *trial = arg;

	(void) MatchRequest(trial->task->job, trial->task->listing, trial->nth, 1);
}

/* A request that cannot be cast must not hide the others, but the list is not complete without it. */
static void
LeaveOutBadItems(Task *task)
{
	Listing *listing = task->listing;

	for (int i = 0; i < listing->n; i++)
		if (!Try(JudgeStep, &(Trial){task, i, false}))
		{
			listing->request_ids[i] = "";
			listing->sent_ats[i] = "epoch";
			listing->inputs[i] = "{}";
			listing->complete = false;
			strlcpy(listing->trouble, "fal.ai's request list contains an invalid entry", sizeof(listing->trouble));
		}
}

static bool
TryToAdopt(Task *task)
{
	Listing *listing = task->listing;
	Trial trial = {task, 0, false};

	if (listing->n == 0)
		return false;
	if (!LeaveOutOtherSubmits(task))
	{
		listing->complete = false;
		strlcpy(listing->trouble, "another submit with the same input has no answer yet", sizeof(listing->trouble));
		return false;
	}
	if (!Try(AdoptStep, &trial))
	{
		LeaveOutBadItems(task);
		if (!Try(AdoptStep, &trial))
		{
			listing->complete = false;
			return false;
		}
	}
	if (trial.adopted)
		ereport(LOG,
				(errmsg("vibevideo job %lld: found the request of its lost submit at fal.ai", (long long) task->job->job_id)));
	return trial.adopted;
}

/*----------
 * What was found, for people
 *----------
 */
/* clang-format off */
static Statement note_look = {
	"INSERT INTO vibevideo_internal.lost_look AS l (job_id, looked_at, complete, candidates) "
	COMPARED
	", near AS (SELECT c.*, row_number() OVER (ORDER BY c.distance, c.request_id) AS nth FROM compared c"
	" ORDER BY nth LIMIT " SHOWN_CANDIDATES ")"
	" SELECT $1, $9, $10, COALESCE(jsonb_agg(jsonb_build_object('request_id', n.request_id, 'at', n.sent_at,"
	" 'seconds', round(date_part('epoch', n.sent_at - $5)::numeric, 1),"
	" 'input', CASE WHEN n.same THEN 'same' WHEN n.contains THEN 'contains' ELSE 'differs' END,"
	" 'why', CASE WHEN NOT n.contains THEN 'its input is another'"
	" WHEN n.sent_at < $6 THEN 'fal.ai accepted it before this was sent'"
	" WHEN n.sent_at >= $7 THEN 'fal.ai accepted it too long after this was sent'"
	" WHEN " NEARER_TO_TWIN("n") " THEN 'it is nearer in time to another lost submit with the same input'"
	" WHEN $8 AND NOT n.same THEN 'it would be cancelled, and its input is not exactly the same'"
	" WHEN $8 AND " MORE_THAN_TWINS " THEN 'it would be cancelled, and there are more like it than lost submits'"
	" ELSE COALESCE($11, 'it is to be looked at again') END) ORDER BY n.nth), '[]') FROM near n"
	" ON CONFLICT (job_id) DO UPDATE SET looked_at = EXCLUDED.looked_at, complete = EXCLUDED.complete, candidates = EXCLUDED.candidates"};

/* of jobs that are not lost any more; those that are, are looked at more often */
static Statement forget_looks = {
	"DELETE FROM vibevideo_internal.lost_look l WHERE l.job_id = ANY (ARRAY("
	"SELECT o.job_id FROM vibevideo_internal.lost_look o WHERE o.looked_at < $1"
	" AND NOT EXISTS (SELECT FROM vibevideo.job j WHERE j.job_id = o.job_id AND j.state = 'submit_unknown')"
	" ORDER BY o.looked_at LIMIT 100 FOR UPDATE OF o SKIP LOCKED))"};
/* clang-format on */

static void
NoteLookStep(void *arg)
{
	const Trial *trial = arg;
	const Listing *listing = trial->task->listing;
	Args args = {0};
	Args old = {0};

	ArgComparison(&args, trial->task->job, listing, 0, listing->n);
	ArgTime(&args, listing->asked_at);
	ArgBool(&args, listing->complete);
	ArgText(&args, listing->trouble[0] ? listing->trouble : NULL);
	StatementRun(&note_look, &args);
	ArgTime(&old, TimestampTzPlusMilliseconds(listing->asked_at, -12 * (int64) LOOK_MOST_MS));
	StatementRun(&forget_looks, &old);
}

/* For people only: without it nothing is decided in another way. */
static void
NoteLook(Task *task)
{
	Trial trial = {task, 0, false};

	if (!task->listing->read || Try(NoteLookStep, &trial))
		return;
	LeaveOutBadItems(task);
	(void) Try(NoteLookStep, &trial);
}

/* Look again, less and less often; the row's error says why it is waiting. */
static void
LookAgain(Task *task)
{
	int64 wait = LOOK_FIRST_MS << Min(task->job->tries, 10);
	JobUpdate *update;

	TaskAdvance(task, "submit_unknown", Min(wait, LOOK_MOST_MS));
	update = &task->update;
	update->tries = task->job->tries + 1;
	update->error_code = task->job->error_code;
	update->error = psprintf("%s; nothing is resent until this is decided (vibevideo_retry or vibevideo.resolve)",
							 task->listing->complete		 ? "fal.ai lists no such request yet"
								 : task->listing->trouble[0] ? task->listing->trouble
															 : "fal.ai's request list is too long");
	update->error = MemoryContextStrdup(task->mcxt, update->error);
	NoteLook(task);
}

static void
GiveUpAsLost(Task *task, bool again, const char *error)
{
	TaskFail(task, "submit_lost", error);
	/* a list may lack what is rendered just now */
	task->update.may_be_billed = true;
	task->update.again = (again && task->job->renders < vv_max_renders);
}

static void
EndCancelled(Task *task)
{
	TaskUpdate(task, "cancelled");
	task->update.may_be_billed = true;
	task->update.error_code = "submit_lost";
	task->update.error = task->listing->has_similar ? "cancelled; fal.ai has requests like it, but none that is certainly it"
													: "cancelled; fal.ai does not list it";
}

void
ReconcileDecide(Task *task)
{
	const Job *job = task->job;
	/* compared with the time of the request: what fal accepted since is not in its answer */
	bool absent = task->listing->complete && job->sent_at != 0 &&
		TimestampDifferenceExceeds(job->sent_at, task->listing->asked_at,
								   (int) Min((int64) vv_unknown_after * 1000, INT_MAX));

	if (TryToAdopt(task))
		return;
	absent &= task->listing->complete;
	if (IsToBeCancelled(job))
		absent ? EndCancelled(task) : LookAgain(task);
	else if (vv_unknown_policy == UNKNOWN_RESUBMIT)
		GiveUpAsLost(task, true, "its answer was lost; resent because of vibevideo.unknown_policy");
	else if (vv_unknown_policy == UNKNOWN_RESUBMIT_WHEN_ABSENT && absent)
		GiveUpAsLost(task, true, "fal.ai does not list it; resent because of vibevideo.unknown_policy");
	else if (vv_unknown_policy == UNKNOWN_FAIL_WHEN_ABSENT && absent)
		GiveUpAsLost(task, false, "its answer was lost and fal.ai does not list it; nothing was resent");
	else
		LookAgain(task);
}

static Statement reconcile_now = {
	"UPDATE vibevideo.job j SET next_at = LEAST(j.next_at, $1), tries = 0 WHERE j.job_id = ANY (ARRAY("
	"SELECT k.job_id FROM vibevideo.job k WHERE k.state = 'submit_unknown' FOR NO KEY UPDATE SKIP LOCKED))"};

void
ReconcileNow(void)
{
	Args args = {0};

	ArgTime(&args, GetCurrentTimestamp());
	StatementRun(&reconcile_now, &args);
}
