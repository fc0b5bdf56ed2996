/*
 * input.c
 *	  The input that a model gets for a row, and whether it accepts that.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "approw.h"
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
	bool known;
	int64 max_prompt; /* 0: none */
	bool needs_image;
	bool has_schema; /* and is to be held to it */
	bool refuses;	 /* what does not fit */
} ModelLimits;

static Statement read_model = {
	"SELECT m.max_prompt, m.needs_image, m.input_schema IS NOT NULL AND m.check_input <> 'off', m.check_input = 'refuse'"
	" FROM vibevideo.model m WHERE m.endpoint = $1"};

static ModelLimits
ReadModelLimits(const char *model)
{
	ModelLimits limits = {0};
	Args args = {0};

	ArgText(&args, model);
	limits.known = StatementRun(&read_model, &args) > 0;
	if (limits.known)
	{
		limits.max_prompt = ResultInt(0, 1, 0);
		limits.needs_image = ResultBool(0, 2);
		limits.has_schema = ResultBool(0, 3);
		limits.refuses = ResultBool(0, 4);
	}
	return limits;
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
ReportMissingImage(const Binding *binding, const char *vibelog_id)
{
	const char *model = binding->model;

	if (binding->input_function)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input function %s returned no image_url", binding->input_function),
				 errdetail("Model \"%s\" needs it; no video of row \"%s\" was requested.", model, WireShown(vibelog_id)),
				 errhint("Fix the function, or attach the table with another model.")));
	if (binding->image_column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the model needs an image, and the table was attached without a column for one"),
				 errdetail("Model \"%s\" needs image_url; no video of row \"%s\" was requested.", model, WireShown(vibelog_id)),
				 errhint("Attach the table again with image_column => '...', or with another model.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("image is missing"),
			 errdetail("Model \"%s\" needs image_url; no video of row \"%s\" was requested.", model, WireShown(vibelog_id)),
			 errhint("Fill in column %s, or attach the table with another model.", binding->image_column)));
}

static Statement find_objection = {
	"SELECT vibevideo_internal.objection_to_input($1, $2::jsonb)"};

/*
 * What the model would refuse may be billed all the same: it is not sent, or not
 * without a warning.  Of many rows one is enough.
 */
static void
CheckSchema(const char *model, ModelLimits *limits, const JobNew *job)
{
	Args args = {0};
	char *objection;

	ArgText(&args, model);
	ArgText(&args, job->input);
	StatementRun(&find_objection, &args);
	objection = ResultText(0, 1);
	if (objection == NULL)
		return;
	if (limits->refuses)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the model cannot use this input: %s", WireShown(objection)),
				 errdetail("The schema of model \"%s\" says so; no video of row \"%s\" was requested.", model, WireShown(job->vibelog_id))));
	ereport(WARNING,
			(errmsg("the model may refuse this input: %s", WireShown(objection)),
			 errdetail("The schema of model \"%s\" says so of row \"%s\".", model, WireShown(job->vibelog_id)),
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
				 errdetail("Model \"%s\" needs a prompt; no video of row \"%s\" was requested.", binding->model, row),
				 binding->input_function ? errhint("Input function %s returned none.", binding->input_function)
										 : errhint("Fill in column %s.", binding->prompt_column)));
	if (limits->max_prompt > 0 && facts.prompt_length > limits->max_prompt)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("prompt is too long"),
				 errdetail("The prompt has %lld characters, but model \"%s\" accepts at most %lld; no video of row \"%s\" was requested.",
						   (long long) facts.prompt_length, binding->model, (long long) limits->max_prompt, row),
				 errhint("Shorten the prompt, or choose another model.")));
	if (limits->needs_image && !facts.has_image)
		ReportMissingImage(binding, job->vibelog_id);
	if (limits->has_schema)
		CheckSchema(binding->model, limits, job);
}

/* It stands in indexes, and a job that does not fit into them when it ends could not end. */
static void
CheckUser(const JobNew *job)
{
	if (job->user && strlen(job->user) > MAX_USER_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the user of row \"%s\" has an id that is longer than %d bytes", WireShown(job->vibelog_id), MAX_USER_BYTES)));
}

int
InputBuild(const Binding *binding, JobNew *jobs, int n)
{
	ModelLimits limits;
	char *sql = AppRowInputSql(binding);
	Identity saved;
	size_t bytes = 0;
	int done = 0;

	TableFitSubmit(binding);
	limits = ReadModelLimits(binding->model);
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
		CheckUser(&jobs[i]);
		CheckInput(binding, &limits, &jobs[i]);
	}
	return done;
}
