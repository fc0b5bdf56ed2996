/*
 * row.h
 *	  Reading a row of vibevideo.job in its triggers.
 */
#ifndef VIBEVIDEO_ROW_H
#define VIBEVIDEO_ROW_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"

typedef struct Row
{
	TupleDesc desc;
	HeapTuple tuple;
} Row;

/* ERROR if there is no such column: SQL and library are of two versions */
extern Datum RowColumn(Row row, const char *name, bool *isnull);
extern bool RowHas(Row row, const char *name);
/* NULL if it is null */
extern char *RowText(Row row, const char *name);
/* false if it is null */
extern bool RowIsTrue(Row row, const char *name);
/* 0 if it is null */
extern int64 RowNumber(Row row, const char *name);
extern bool RowTextDiffers(Row a, Row b, const char *name);
/* of a numeric column; null differs from 0 */
extern bool RowAmountDiffers(Row a, Row b, const char *name);

/* has the job ended? */
extern bool RowIsFinal(Row row);
/* created by this transaction, not copied in by a restore */
extern bool RowIsNew(Row row);

#endif /* VIBEVIDEO_ROW_H */
