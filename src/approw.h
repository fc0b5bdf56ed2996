/*
 * approw.h
 *	  Reading the app's rows.
 */
#ifndef VIBEVIDEO_APPROW_H
#define VIBEVIDEO_APPROW_H

#include "postgres.h"

#include "binding.h"
#include "job.h"
#include "statement.h"

/* what row t bears */
/* clang-format off */
#define BEARS(t) \
	"CASE WHEN " t ".video_request_id IS NOT NULL THEN " t ".video_request_id::pg_catalog.text" \
	" WHEN " t ".video_generation_status IS NOT NULL THEN '" BEARS_STATUS "' ELSE '" BEARS_NOTHING "' END"
/* clang-format on */

/* ERROR unless the current user may see the row, or with lock, update it; returns the key as it is in the row */
extern char *AppRowCheck(const Binding *binding, const char *vibelog_id, bool lock);
/* what the rows with these keys bear, as the table's owner sees them; NULL if it sees none */
extern void AppRowsBear(const Binding *binding, char **vibelog_ids, int n, char **bears);
/* the key of the only row that bears a request id; NULL if there is none, or more */
extern char *AppRowHome(const Binding *binding, const char *request_id);
/*
 * for each request id, whether some row bears it, as the table's owner sees them, ERROR if it does not see
 * all; NULL: false
 */
extern void AppRowsShow(const Binding *binding, char **request_ids, int n, bool *shown);
/*
 * The model's input for a row, the model that it names (NULL if none) and, if the
 * table has a column for that, the user whose video it is (otherwise user is left
 * as it is).  The caller has become the table's owner; sql comes from
 * AppRowInputSql.
 */
extern char *AppRowInputSql(const Binding *binding);
extern void AppRowReadInput(const Binding *binding, const char *sql, JobNew *job);

/*
 * For whoever is the table's owner already: a key converted back to its type (a
 * parameter, never part of the statement), a statement on the row with a key,
 * and AppRowHome.
 */
extern Datum AppRowKeyDatum(const Binding *binding, const char *vibelog_id);
extern uint64 AppRowRun(const Binding *binding, Statement *statement, const char *sql, const char *vibelog_id);
extern char *AppRowReadHome(const Binding *binding, const char *request_id);

#endif /* VIBEVIDEO_APPROW_H */
