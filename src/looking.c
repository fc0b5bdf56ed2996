/*
 * looking.c
 *	  What SQL cannot do for people who look at jobs: fal.ai's addresses of
 *	  requests, and texts that are no wider than a terminal's column.
 *
 * A width is in columns of a terminal, as psql counts them: of a character that
 * stands above another none, of a Chinese one two.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "fal.h"
#include "guc.h"
#include "output.h"
#include "ownerror.h"
#include "wire.h"

PG_FUNCTION_INFO_V1(vibevideo_request_url);
PG_FUNCTION_INFO_V1(vibevideo_requests_url);
PG_FUNCTION_INFO_V1(vibevideo_fit);
PG_FUNCTION_INFO_V1(vibevideo_wrap);

#define BYTES_A_COLUMN 8 /* of marks that stand above a character there may be any number */
#define MAX_WIDTH 1000
#define ELLIPSIS "\xe2\x80\xa6"

/*----------
 * vibevideo_internal.request_url(model text, request_id text) returns text
 *----------
 */
Datum
vibevideo_request_url(PG_FUNCTION_ARGS)
{
	char *model = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *request_id = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char *url = palloc(FAL_URL_SIZE);

	if (!FalRequestUrl(vv_fal_queue_url, model, request_id, FAL_CALL_RESULT, url, FAL_URL_SIZE))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(CStringGetTextDatum(url));
}

/*----------
 * vibevideo_internal.requests_url(model text, start text) returns text
 *----------
 */
Datum
vibevideo_requests_url(PG_FUNCTION_ARGS)
{
	char *model = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *start = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char *url = palloc(FAL_URL_SIZE);

	if (!FalListUrl(vv_fal_api_url, model, start, "", url, FAL_URL_SIZE))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(CStringGetTextDatum(url));
}

/*----------
 * Lines
 *----------
 */
typedef struct Line
{
	StringInfoData text;
	int width; /* how wide it may be */
	int used;
} Line;

static void
LineStart(Line *line, int width)
{
	initStringInfo(&line->text);
	line->width = width;
	line->used = 0;
}

/* The character's length in bytes, and its width, -1 for what would do more than show itself. */
static int
Measure(const char *character, int *columns)
{
	int len = pg_utf_mblen((const unsigned char *) character);

	*columns = WireIsControl(character, len) ? -1 : pg_dsplen(character);
	return len;
}

/* Adds one character, a space for a control character; false if there is no room. */
static bool
LineAdd(Line *line, const char *character, int len, int columns)
{
	if (columns < 0)
	{
		character = " ";
		len = columns = 1;
	}
	if (line->used + columns > line->width || line->text.len + len > line->width * BYTES_A_COLUMN)
		return false;
	appendBinaryStringInfo(&line->text, character, len);
	line->used += columns;
	return true;
}

static int
WidthArgument(FunctionCallInfo fcinfo)
{
	int width = PG_GETARG_INT32(1);

	if (width < 2 || width > MAX_WIDTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a width must be from 2 to %d", MAX_WIDTH)));
	return width;
}

/*----------
 * vibevideo_internal.fit(words text, width int) returns text
 *
 * On one line; what is cut ends in an ellipsis.
 *----------
 */
Datum
vibevideo_fit(PG_FUNCTION_ARGS)
{
	char *words = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int columns;
	int room = 0; /* bytes beside which there is room for the ellipsis */
	Line line;

	LineStart(&line, WidthArgument(fcinfo));
	for (int len; *words != '\0'; words += len)
	{
		len = Measure(words, &columns);
		if (!LineAdd(&line, words, len, columns))
			break;
		if (line.used < line.width)
			room = line.text.len;
	}
	if (*words != '\0')
	{
		line.text.len = room;
		appendStringInfoString(&line.text, ELLIPSIS);
	}
	PG_RETURN_DATUM(PointerGetDatum(cstring_to_text_with_len(line.text.data, line.text.len)));
}

/*----------
 * vibevideo_internal.wrap(words text, width int) returns text[]
 *
 * Lines, broken at spaces where there are some.
 *----------
 */
static ArrayBuildState *
EndLine(ArrayBuildState *lines, const Line *line, int len)
{
	return accumArrayResult(lines, PointerGetDatum(cstring_to_text_with_len(line->text.data, len)), false, TEXTOID,
							CurrentMemoryContext);
}

/* What is after the break begins the next line. */
static void
CarryOver(Line *line, int from)
{
	Line next;
	int columns;

	LineStart(&next, line->width);
	for (int len; from < line->text.len; from += len)
	{
		len = Measure(line->text.data + from, &columns);
		(void) LineAdd(&next, line->text.data + from, len, columns);
	}
	*line = next;
}

Datum
vibevideo_wrap(PG_FUNCTION_ARGS)
{
	char *words = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ArrayBuildState *lines = NULL;
	int columns;
	int space = -1; /* where the line has its last one */
	Line line;

	LineStart(&line, WidthArgument(fcinfo));
	for (int len; *words != '\0'; words += len)
	{
		len = Measure(words, &columns);
		while (!LineAdd(&line, words, len, columns))
		{
			bool at_space = (space > 0 && *words != ' ');

			lines = EndLine(lines, &line, at_space ? space : line.text.len);
			CarryOver(&line, at_space ? space + 1 : line.text.len);
			space = -1;
			if (*words == ' ')
				break;
		}
		if (line.text.len > 0 && line.text.data[line.text.len - 1] == ' ')
			space = line.text.len - 1;
	}
	if (line.text.len > 0 || lines == NULL)
		lines = EndLine(lines, &line, line.text.len);
	PG_RETURN_DATUM(makeArrayResult(lines, CurrentMemoryContext));
}
