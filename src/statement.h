/*
 * statement.h
 *	  Running SQL: a statement owns its text, its types and its plan.
 *
 * A statement is a static Statement right above the one function that runs it:
 *
 *	static Statement find_x = {"SELECT x FROM vibevideo.t WHERE id = $1"};
 *
 *	Args args = {0};
 *
 *	ArgInt8(&args, id);
 *	if (StatementRun(&find_x, &args) > 0)
 *		x = ResultText(0, 1);
 *
 * All need a transaction and a connected SPI.
 */
#ifndef VIBEVIDEO_STATEMENT_H
#define VIBEVIDEO_STATEMENT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/spi.h"

#define MAX_ARGS 12

/* Arguments in order: the first one added is $1. */
typedef struct Args
{
	int n;
	Datum values[MAX_ARGS];
	Oid types[MAX_ARGS];
	char nulls[MAX_ARGS + 1]; /* as SPI wants it */
} Args;

typedef struct Statement
{
	const char *sql; /* NULL if the text is built from the names of the app's table */
	SPIPlanPtr plan; /* kept for the session, for these types and that text */
	int nargs;
	Oid types[MAX_ARGS];
	char *text; /* of the plan, where sql is NULL */
} Statement;

/* connects SPI; ERROR if that fails */
extern void StatementConnect(void);

/*
 * On our own tables: as the extension's owner, along pg_catalog alone.  Returns
 * how many rows were found or changed.  args may be NULL if there are none.
 */
extern uint64 StatementRun(Statement *statement, const Args *args);
/* the same for what only reads, in functions that are STABLE: it sees what the caller's query sees */
extern uint64 StatementRead(Statement *statement, const Args *args);
/* on the app's table, as the current user; at most max rows, 0: all */
extern uint64 StatementRunOnApp(Statement *statement, const char *sql, const Args *args, long max);

/*----------
 * Arguments; NULL pointers, and the values named below, are passed as NULL
 *----------
 */
extern void ArgDatum(Args *args, Oid type, Datum value, bool isnull);
extern void ArgText(Args *args, const char *text);
extern void ArgInt4(Args *args, int32 number);
extern void ArgInt8(Args *args, int64 number);
extern void ArgBool(Args *args, bool value);
extern void ArgTime(Args *args, TimestampTz time); /* 0: NULL */
extern void ArgRelation(Args *args, Oid relid);	   /* InvalidOid: NULL */
extern void ArgBytes(Args *args, const void *bytes, int len);
extern void ArgTexts(Args *args, char **texts, int n);
extern void ArgInt8s(Args *args, const int64 *numbers, int n);

/* an array of any type, filled in value by value */
typedef struct ArrayColumn
{
	Datum *values;
	bool *nulls;
} ArrayColumn;

extern ArrayColumn ArrayColumnNew(int n);
extern void ArgArray(Args *args, ArrayColumn column, int n, Oid element);

extern Datum BytesDatum(const void *bytes, int len);

/*----------
 * Results of the last statement; rows are counted from 0, columns from 1
 *----------
 */
extern char *ResultText(uint64 row, int column); /* NULL if null; in the current memory context */
/* a copy in the context above SPI's: it outlives SPI_finish */
extern char *KeepText(const char *text);
/* the same as ResultText, kept */
extern char *ResultKeepText(uint64 row, int column);
extern int64 ResultInt(uint64 row, int column, int64 if_null);
extern TimestampTz ResultTime(uint64 row, int column); /* 0 if null */
extern bool ResultBool(uint64 row, int column);		   /* false if null */
extern Oid ResultOid(uint64 row, int column);
extern unsigned char *ResultBytes(uint64 row, int column, size_t *len);
extern Datum ResultDatum(uint64 row, int column, bool *isnull);
/* the only value of the only row; 0 if there is no row, or it is null */
extern int64 ResultFirstInt(void);

/* runs one whose only argument says how much it does at most; returns its first number: how much it did */
extern int64 StatementRunBounded(Statement *statement, int max);

#endif /* VIBEVIDEO_STATEMENT_H */
