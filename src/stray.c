/*
 * stray.c
 *	  Jobs whose table is not attached, or gone.
 *
 * What is at fal.ai is followed to its end, and its video stored: it is paid
 * for.  What was not sent yet would be paid for nobody.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "ownerror.h"
#include "state.h"
#include "statement.h"
#include "stray.h"

#define LOOK_MS 60000
#define REPORT_MS 3600000
#define CANCELS_A_LOOK 1000

/* The tables are found by hopping through the index of active jobs: most have one. */
static Statement cancel_homeless = {
	"WITH RECURSIVE tables (relation) AS ("
	"(SELECT j.relation FROM vibevideo.job j WHERE NOT j.orphan AND j.state = ANY (" ACTIVE_STATES ")"
	" ORDER BY j.relation LIMIT 1)"
	" UNION ALL"
	" SELECT (SELECT j.relation FROM vibevideo.job j WHERE NOT j.orphan AND j.state = ANY (" ACTIVE_STATES ")"
	" AND j.relation > t.relation ORDER BY j.relation LIMIT 1)"
	" FROM tables t WHERE t.relation IS NOT NULL)"
	" UPDATE vibevideo.job j SET state = 'cancelled', next_at = NULL, completed_at = $1,"
	" error_code = 'table_gone', error = 'its table was dropped before it was sent'"
	" WHERE j.job_id = ANY (ARRAY("
	"SELECT k.job_id FROM tables t JOIN vibevideo.job k ON k.relation = t.relation"
	" WHERE NOT k.orphan AND k.state = ANY (" ACTIVE_STATES ") AND k.state = 'pending'"
	" AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.relation)"
	" LIMIT $2 FOR NO KEY UPDATE OF k SKIP LOCKED))"};

static void
CancelHomeless(TimestampTz now)
{
	Args args = {0};
	uint64 n;

	ArgTime(&args, now);
	ArgInt4(&args, CANCELS_A_LOOK);
	n = StatementRun(&cancel_homeless, &args);
	if (n > 0)
		ereport(LOG,
				(errmsg("vibevideo cancelled %llu jobs that were not sent: their table was dropped",
						(unsigned long long) n)));
}

/* those that have ended are not worth a line an hour */
static Statement find_strays = {
	"SELECT o.name, o.gone, o.active, o.unwritten, o.examples FROM vibevideo_internal.other_tables() o WHERE o.active > 0 OR $1"};

static void
ReportStrays(bool ended)
{
	Args args = {0};
	uint64 n;

	ArgBool(&args, ended);
	n = StatementRun(&find_strays, &args);

	for (uint64 i = 0; i < n; i++)
		ereport(WARNING,
				(ResultBool(i, 2)
					 ? errmsg("vibevideo has unfinished jobs of a table that was dropped, number %s", ResultText(i, 1))
					 : errmsg("vibevideo has unfinished jobs of table %s, which is not attached", ResultText(i, 1)),
				 errdetail("Active: %lld, and ended but not shown in their rows: %lld. Jobs: %s.",
						   (long long) ResultInt(i, 3, 0), (long long) ResultInt(i, 4, 0), ResultText(i, 5)),
				 errhint("See line other_tables of vibevideo.check_config().")));
}

void
StrayLook(const Binding *binding, TimestampTz now)
{
	static TimestampTz look_at = 0;
	static TimestampTz report_at = 0;
	static Oid relid = InvalidOid;
	static bool gone = false;
	bool changed = (look_at == 0 || binding->relid != relid || BindingIsGone(binding) != gone);

	if (!changed && now < look_at)
		return;
	CancelHomeless(now);
	if (changed || now >= report_at)
	{
		ReportStrays(changed);
		report_at = TimestampTzPlusMilliseconds(now, REPORT_MS);
	}
	look_at = TimestampTzPlusMilliseconds(now, LOOK_MS);
	relid = binding->relid;
	gone = BindingIsGone(binding);
}
