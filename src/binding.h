/*
 * binding.h
 *	  The app's table, and whether this database may act on its jobs.
 *
 * Needs a transaction and a connected SPI.
 */
#ifndef VIBEVIDEO_BINDING_H
#define VIBEVIDEO_BINDING_H

#include "postgres.h"

/* The app's table, as recorded by vibevideo.attach(). */
typedef struct Binding
{
	Oid relid;
	Oid owner;
	Oid id_type;
	char *relation;	 /* quoted, schema-qualified */
	char *id_column; /* quoted, like all columns here */
	char *prompt_column;
	char *image_column;	  /* NULL if none */
	char *input_function; /* quoted, schema-qualified; NULL if none */
	char *user_column;	  /* whose video it is; NULL if none */
	char *tenant_column;  /* which tenant's it is; NULL if none */
	char *model_column;	  /* which model a row wants; NULL if none */
	char *meta_column;	  /* gets what is known of a video; NULL if none */
	char *key_name;		  /* the same columns unquoted */
	char *prompt_name;
	char *image_name;
	char *user_name;
	char *model_column_name;
	char *tenant_name;
	char *meta_name;
	bool realtime; /* report to Supabase Realtime */
	char *model;   /* of rows that name none; never NULL */
	bool build_index;
	bool paused;			 /* by somebody, or as a copy of the database the jobs belong to */
	char *pause_scope;		 /* what vibevideo.pause() has stopped: sending, all; NULL if nobody called it */
	int64 system_identifier; /* with the next two: the database that may act on the jobs */
	Oid database_oid;
	int timeline;
} Binding;

/* false: no table is attached, or it was dropped (then all but its name and owner is set) */
extern bool BindingLoad(Binding *binding);
/* the same, but ERROR instead of false; to_act: also ERROR in a copy of the database */
extern void BindingRequire(Binding *binding, bool to_act);
/* a table is attached, and was dropped */
extern bool BindingIsGone(const Binding *binding);
/* ERROR in a copy, which may take nothing; a pause stops work, not calls */
extern void BindingRequireToAct(const Binding *binding);
/* may this database act on its jobs?  Records a promotion; pauses a copy. */
extern bool BindingMayAct(Binding *binding);
/* if it may act: may it send new ones? */
extern bool BindingMaySend(const Binding *binding);

#endif /* VIBEVIDEO_BINDING_H */
