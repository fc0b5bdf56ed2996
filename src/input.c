/*
 * input.c
 *	  The input that a model gets for a row, and whether it accepts that.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "approw.h"
#include "compat.h"
#include "fal.h"
#include "identity.h"
#include "input.h"
#include "ownerror.h"
#include "statement.h"
#include "tablefit.h"
#include "wire.h"

#define MAX_USER_BYTES 512

/* What we know about a model. */
typedef struct ModelLimits
{
	const char *model;
	bool known;
	bool allowed;	  /* to be named by a row */
	int64 max_prompt; /* 0: none */
	bool needs_image;
	bool has_schema; /* and is to be held to it */
	bool refuses;	 /* what does not fit */
} ModelLimits;

static Statement read_model = {
	"SELECT m.max_prompt, m.needs_image, m.input_schema IS NOT NULL AND m.check_input <> 'off', m.check_input = 'refuse',"
	" m.allowed"
	" FROM vibevideo.model m WHERE m.endpoint = $1"};

static ModelLimits *
ReadModelLimits(const char *model)
{
	ModelLimits *limits = palloc0(sizeof(ModelLimits));
	Args args = {0};

	limits->model = model;
	ArgText(&args, model);
	limits->known = StatementRun(&read_model, &args) > 0;
	if (limits->known)
	{
		limits->max_prompt = ResultInt(0, 1, 0);
		limits->needs_image = ResultBool(0, 2);
		limits->has_schema = ResultBool(0, 3);
		limits->refuses = ResultBool(0, 4);
		limits->allowed = ResultBool(0, 5);
	}
	return limits;
}

/* Many rows have few models: each is read once. */
static ModelLimits *
FindModelLimits(List **models, const char *model)
{
	ListCell *cell;
	ModelLimits *limits;

	foreach (cell, *models)
	{
		limits = lfirst(cell);
		if (strcmp(limits->model, model) == 0)
			return limits;
	}
	limits = ReadModelLimits(model);
	*models = lappend(*models, limits);
	return limits;
}

/*----------
 * Which model it is
 *----------
 */

/* The row's words are for DETAIL: the message becomes HTTP's reason phrase. */
pg_noreturn static void
ReportModel(const JobNew *job)
{
	ereport(ERROR,
			(errcode(ERRCODE_VIBEVIDEO_NO_SUCH_MODEL),
			 errmsg("the row asks for a model that is not offered"),
			 errdetail("No video of row \"%s\" was requested: it names model \"%s\".", WireShown(job->vibelog_id), WireShown(job->model)),
			 errhint("vibevideo_models() lists those that a row may name.")));
}

/*
 * The one place that decides which model a row gets.  A row is what the app's user
 * has written: of what it names only the attached model is taken, and those that an
 * operator has allowed.  The attached one may be any, as before there was a choice.
 */
static ModelLimits *
ChooseModel(const Binding *binding, List **models, JobNew *job)
{
	bool is_attached;
	ModelLimits *limits;

	if (job->model == NULL || job->model[0] == '\0')
		job->model = binding->model;
	is_attached = (strcmp(job->model, binding->model) == 0);
	if (!is_attached && !FalEndpointIsValid(job->model))
		ReportModel(job);
	limits = FindModelLimits(models, job->model);
	if (!is_attached && !limits->allowed)
		ReportModel(job);
	return limits;
}

/*----------
 * What the model says
 *----------
 */

/* what to do about a model that does not suit, to end a hint with */
static const char *
AnotherModel(const Binding *binding)
{
	if (binding->model_column)
		return psprintf("name another model in column %s", binding->model_column);
	return "attach the table with another model";
}

/* The properties of an input that are checked. */
typedef struct InputFacts
{
	char *kind; /* its JSON type; NULL if there is no input */
	int64 prompt_length;
	bool has_prompt; /* of more than white space */
	bool has_image;
} InputFacts;

static Statement judge_input = {
	"SELECT jsonb_typeof($1::jsonb), length($1::jsonb ->> 'prompt'),"
	" btrim($1::jsonb ->> 'prompt', E' \\t\\r\\n') <> '', $1::jsonb ->> 'image_url' <> ''"};

static InputFacts
ReadFacts(const char *input)
{
	InputFacts facts;
	Args args = {0};

	ArgText(&args, input);
	StatementRun(&judge_input, &args);
	pfree(DatumGetPointer(args.values[0]));
	facts.kind = ResultText(0, 1);
	facts.prompt_length = ResultInt(0, 2, 0);
	facts.has_prompt = ResultBool(0, 3);
	facts.has_image = ResultBool(0, 4);
	return facts;
}

/* Only with an image column can the app's user do something about it. */
static void
ReportMissingImage(const Binding *binding, const JobNew *job)
{
	const char *model = job->model;
	const char *row = WireShown(job->vibelog_id);

	if (binding->input_function)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input function %s returned no image_url", binding->input_function),
				 errdetail("Model \"%s\" needs it; no video of row \"%s\" was requested.", model, row),
				 errhint("Fix the function, or %s.", AnotherModel(binding))));
	if (binding->image_column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the model needs an image, and the table was attached without a column for one"),
				 errdetail("Model \"%s\" needs image_url; no video of row \"%s\" was requested.", model, row),
				 errhint("Attach the table again with image_column => '...', or %s.",
						 binding->model_column ? AnotherModel(binding) : "with another model")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("image is missing"),
			 errdetail("Model \"%s\" needs image_url; no video of row \"%s\" was requested.", model, row),
			 errhint("Fill in column %s, or %s.", binding->image_column, AnotherModel(binding))));
}

static Statement find_objection = {
	"SELECT vibevideo_internal.objection_to_input($1, $2::jsonb)"};

/*
 * What the model would refuse may be billed all the same: it is not sent, or not
 * without a warning.  Of many rows one is enough.
 */
static void
CheckSchema(ModelLimits *limits, const JobNew *job)
{
	Args args = {0};
	char *objection;

	ArgText(&args, limits->model);
	ArgText(&args, job->input);
	StatementRun(&find_objection, &args);
	objection = ResultText(0, 1);
	if (objection == NULL)
		return;
	if (limits->refuses)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the model cannot use this input: %s", WireShown(objection)),
				 errdetail("The schema of model \"%s\" says so; no video of row \"%s\" was requested.", limits->model, WireShown(job->vibelog_id))));
	ereport(WARNING,
			(errmsg("the model may refuse this input: %s", WireShown(objection)),
			 errdetail("The schema of model \"%s\" says so of row \"%s\".", limits->model, WireShown(job->vibelog_id)),
			 errhint("With check_input = 'refuse' in vibevideo.model a submit is an error, and sends nothing.")));
	limits->has_schema = false;
}

static void
CheckInput(const Binding *binding, ModelLimits *limits, const JobNew *job)
{
	InputFacts facts = ReadFacts(job->input);
	const char *row = WireShown(job->vibelog_id);

	if (facts.kind == NULL || strcmp(facts.kind, "object") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input for a model must be a JSON object, not \"%s\"", facts.kind ? facts.kind : "null"),
				 errdetail("No video of row \"%s\" was requested.", row),
				 errhint("Fix input function %s.", binding->input_function ? binding->input_function : "")));
	/* an input function may leave out the prompt if we do not know the model */
	if ((limits->known || binding->input_function == NULL) && !facts.has_prompt)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("prompt is missing or empty"),
				 errdetail("Model \"%s\" needs a prompt; no video of row \"%s\" was requested.", job->model, row),
				 binding->input_function ? errhint("Input function %s returned none.", binding->input_function)
										 : errhint("Fill in column %s.", binding->prompt_column)));
	if (limits->max_prompt > 0 && facts.prompt_length > limits->max_prompt)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("prompt is too long"),
				 errdetail("The prompt has %lld characters, but model \"%s\" accepts at most %lld; no video of row \"%s\" was requested.",
						   (long long) facts.prompt_length, job->model, (long long) limits->max_prompt, row),
				 errhint("Shorten the prompt, or choose another model.")));
	if (limits->needs_image && !facts.has_image)
		ReportMissingImage(binding, job);
	if (limits->has_schema)
		CheckSchema(limits, job);
}

/* It stands in indexes, and a job that does not fit into them when it ends could not end. */
static void
CheckUser(const JobNew *job)
{
	if (job->user && strlen(job->user) > MAX_USER_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the user of row \"%s\" has an id that is longer than %d bytes", WireShown(job->vibelog_id), MAX_USER_BYTES)));
	if (job->tenant && strlen(job->tenant) > MAX_USER_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the tenant of row \"%s\" is longer than %d bytes", WireShown(job->vibelog_id), MAX_USER_BYTES)));
}

int
InputBuild(const Binding *binding, JobNew *jobs, int n)
{
	List *models = NIL;
	char *sql = AppRowInputSql(binding);
	Identity saved;
	size_t bytes = 0;
	int done = 0;

	TableFitSubmit(binding);
	IdentityBecomeTableOwner(binding->owner, &saved);
	while (done < n && bytes < INPUT_BYTES)
	{
		CHECK_FOR_INTERRUPTS();
		AppRowReadInput(binding, sql, &jobs[done]);
		bytes += strlen(jobs[done++].input);
	}
	IdentityResume(&saved);
	for (int i = 0; i < done; i++)
	{
		ModelLimits *limits = ChooseModel(binding, &models, &jobs[i]);

		CheckUser(&jobs[i]);
		CheckInput(binding, limits, &jobs[i]);
	}
	return done;
}
