/*
 * output.h
 *	  Where the video is in a model's output.
 *
 * Pure: no libcurl, no Postgres, no allocation but json.c's.
 */
#ifndef VIBEVIDEO_OUTPUT_H
#define VIBEVIDEO_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAL_URL_SIZE 8193

/* what a file is by its stated type, or else by its name; its bytes may prove otherwise */
typedef enum OutputKind
{
	OUTPUT_UNSAID,
	OUTPUT_VIDEO,
	OUTPUT_GIF,
	OUTPUT_OTHER
} OutputKind;

typedef struct OutputFile
{
	char url[FAL_URL_SIZE]; /* http(s) and ASCII; "" if there is none */
	char content_type[129]; /* as fal reports it; "" if unknown */
	int64_t file_size;		/* as fal reports it; -1 if unknown */
	OutputKind kind;
	bool in_place; /* where fal's models have it */
} OutputFile;

extern void OutputClear(OutputFile *file);

/*
 * Finds the video in an output, or in its beginning if it is cut.  wrong gets what
 * is the matter with a file that is of no use, or NULL; fields gets the names of
 * the whole output's fields, for people.
 */
extern bool OutputFind(const char *json, size_t len, OutputFile *file, const char **wrong, char *fields, size_t fields_size);

/* what is the matter with a data: URI, and is there one in this beginning of an output? */
extern const char output_is_data[];
extern bool OutputHasData(const char *json, size_t len);

#endif /* VIBEVIDEO_OUTPUT_H */
