/*
 * dropwatch.h
 *	  Warns whoever drops a table or the extension while jobs need it.
 */
#ifndef VIBEVIDEO_DROPWATCH_H
#define VIBEVIDEO_DROPWATCH_H

/* once, when the library is loaded */
extern void DropWatchInit(void);

#endif /* VIBEVIDEO_DROPWATCH_H */
