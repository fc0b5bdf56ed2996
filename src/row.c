/*
 * row.c
 *	  Reading a row of vibevideo.job in its triggers.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "ownerror.h"
#include "row.h"
#include "state.h"
#include "version.h"

Datum
RowColumn(Row row, const char *name, bool *isnull)
{
	int number = SPI_fnumber(row.desc, name);

	if (number <= 0)
	{
		/* most likely the table has another version */
		VersionCheck();
		elog(ERROR, "vibevideo: table vibevideo.job has no column \"%s\"", name);
	}
	return heap_getattr(row.tuple, number, row.desc, isnull);
}

char *
RowText(Row row, const char *name)
{
	bool isnull;
	Datum value = RowColumn(row, name, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

bool
RowIsTrue(Row row, const char *name)
{
	bool isnull;
	Datum value = RowColumn(row, name, &isnull);

	return !isnull && DatumGetBool(value);
}

int64
RowNumber(Row row, const char *name)
{
	bool isnull;
	Datum value = RowColumn(row, name, &isnull);

	if (isnull)
		return 0;
	return SPI_gettypeid(row.desc, SPI_fnumber(row.desc, name)) == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value);
}

bool
RowTextDiffers(Row a, Row b, const char *name)
{
	char *a_text = RowText(a, name);
	char *b_text = RowText(b, name);

	if (a_text == NULL || b_text == NULL)
		return a_text != b_text;
	return strcmp(a_text, b_text) != 0;
}

bool
RowHas(Row row, const char *name)
{
	bool isnull;

	(void) RowColumn(row, name, &isnull);
	return !isnull;
}

bool
RowAmountDiffers(Row a, Row b, const char *name)
{
	bool a_null;
	bool b_null;
	Datum of_a = RowColumn(a, name, &a_null);
	Datum of_b = RowColumn(b, name, &b_null);

	if (a_null || b_null)
		return a_null != b_null;
	return !DatumGetBool(DirectFunctionCall2(numeric_eq, of_a, of_b));
}

bool
RowIsFinal(Row row)
{
	char *state = RowText(row, "state");

	return state && StateIsFinal(state);
}

bool
RowIsNew(Row row)
{
	return RowNumber(row, "created_at") == GetCurrentTransactionStartTimestamp();
}
