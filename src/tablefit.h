/*
 * tablefit.h
 *	  Whether the app's table still fits what it was attached with.
 *
 * Looked up in PostgreSQL's caches with each call, so that whoever has renamed
 * a column or taken a right away reads a sentence of ours, before anything is
 * paid for, and not the error of a statement that he has never written.
 */
#ifndef VIBEVIDEO_TABLEFIT_H
#define VIBEVIDEO_TABLEFIT_H

#include "postgres.h"

#include "binding.h"

/* ERROR unless the key is there, with the type it had */
extern void TableFitKey(const Binding *binding);
/* ERROR unless the current role may look up rows; to_update: also request videos of them */
extern void TableFitCaller(const Binding *binding, bool to_update);
/* may row-level security hide rows from the current role? */
extern bool TableFitHidesRows(const Binding *binding);
/* ERROR unless its owner can read what we have written into it */
extern void TableFitRow(const Binding *binding);
/* ERROR unless what a model is sent can be read, and the row be written, by the table's owner */
extern void TableFitSubmit(const Binding *binding);

#endif /* VIBEVIDEO_TABLEFIT_H */
