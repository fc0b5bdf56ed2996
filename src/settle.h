/*
 * settle.h
 *	  What becomes of submits whose transactions have ended.
 */
#ifndef VIBEVIDEO_SETTLE_H
#define VIBEVIDEO_SETTLE_H

#include "postgres.h"

#include "binding.h"

/* reads the journal; true if it must be read again: a transaction is open, or a file could not be read */
extern bool SettleJournal(const Binding *binding);

#endif /* VIBEVIDEO_SETTLE_H */
