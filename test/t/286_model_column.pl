# Rows that name their model: each is sent to the one that it names, priced and held
# to the limits of it; what is not offered never reaches fal.ai, whoever writes it.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $FIRST = 'fal-ai/minimax/video-01';
my $SECOND = 'fal-ai/minimax/hailuo-2.3/standard/text-to-video';
my $DEAR = 'fal-ai/veo3.1';
my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage);

$fal->rule('^held: ', hold => 'queue');
sql($node, <<"SQL");
ALTER TABLE vibelogs ADD video_model text, ADD owner_id text;
SELECT vibevideo.attach('vibelogs', model => '$FIRST', model_column => 'video_model', user_column => 'owner_id', image_column => 'image');
SELECT vibevideo.set_model('$SECOND', true, 'Hailuo', max_prompt => 30);
SELECT vibevideo.sync_schema('$DEAR');
SQL

# a row with a prompt and a model
sub row
{
	my ($prompt, $model) = @_;
	my $id = new_row($node, $prompt);

	name_model($id, $model) if defined $model;
	return $id;
}

sub name_model
{
	my ($id, $model) = @_;

	sql($node, "UPDATE vibelogs SET video_model = " . (defined $model ? "'$model'" : 'NULL') . " WHERE id = '$id'");
	return;
}

# every request that fal.ai has had, of whatever kind
sub asked
{
	my $requests = $fal->ledger('?jobs=0')->{requests};

	return join(' ', map { "$_ " . ($requests->{$_} || 0) } grep { $_ !~ /^(status|result|media)/ } sort keys %$requests);
}

# what a statement says that must not reach fal.ai
sub refused
{
	my ($statement, $name, $wanted) = @_;
	my ($asked, $jobs) = (asked(), sql($node, 'SELECT count(*) FROM vibevideo.job'));
	my ($code, $error) = sql_error($node, $statement);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($code, $wanted || 'PT422', "$name: refused") or diag($error);
	is(asked(), $asked, "$name: nothing has reached fal.ai");
	is(sql($node, 'SELECT count(*) FROM vibevideo.job'), $jobs, "$name: and there is no job");
	return $error;
}

# -- each to its own ----------------------------------------------------------------------------
{
	my $usual = row('of the attached');
	my $empty = row('of the attached, too', '');
	my $second = row('of the second', $SECOND);

	is(sql($node, "SELECT cost_usd FROM vibevideo_estimate('$usual')"), '0.5', 'an estimate of the attached model');
	is(sql($node, "SELECT cost_usd FROM vibevideo_estimate('$second')"), '0.28', 'and of the one that the row names');
	is(submit($node, $usual)->{status}, 'queued', 'submitted');
	is(sql($node, "SELECT count(*) FROM vibevideo_submit_batch('{$empty,$second}')"), '2', 'and in a batch');
	wait_for_status($node, $_, 'completed') for $usual, $empty, $second;
	is(join(' ', map { ($fal->renders($_))[0]{endpoint} } 'of the attached', 'of the attached, too', 'of the second'), "$FIRST $FIRST $SECOND", 'fal.ai has rendered each with its model');
	is(sql($node, 'SELECT model, sum(cost_usd), count(*) FROM vibevideo.job GROUP BY 1 ORDER BY 1'), "$SECOND|0.28|1\n$FIRST|1.0|2", 'and each has its price');
	is(sql($node, 'SELECT model, videos, settled_usd FROM vibevideo.costs ORDER BY 1'), "$SECOND|1|0.28\n$FIRST|2|1.0", 'costs by model');
	is($fal->bill->{total_nano_usd}, sql($node, 'SELECT (sum(settled_usd) * 1e9)::bigint FROM vibevideo.costs'), 'which are fal.ai\'s bill');
	my $long = row('x' x 31, $SECOND);
	like(refused("SELECT vibevideo_submit('$long')", 'too long for the second', '22023'), qr/accepts at most 30/, 'by its own limit');
	name_model($long, undef);
	is(sql($node, "SELECT cost_usd FROM vibevideo_estimate('$long')"), '0.5', 'not too long for the attached one');
}

# -- what is not offered ------------------------------------------------------------------------
{
	my $id = row('not offered', $DEAR);
	my $good = row('in bad company', $SECOND);

	for my $call ("vibevideo_submit('$id')", "vibevideo_submit_batch('{$id}')", "vibevideo_submit_batch('{$good,$id}')", "vibevideo_estimate('$id')")
	{
		my $error = refused("SELECT $call", $call);

		like($error, qr/ERROR:  PT422: the row asks for a model that is not offered\nDETAIL:  No video of row "$id" was requested: it names model "\Q$DEAR\E"\.\nHINT:  vibevideo_models\(\)/, "$call: says which, and where to look");
	}
	for my $name ("$SECOND/../../../veo3.1", uc $SECOND, " $SECOND", "$SECOND?fal_webhook=http://evil", "$SECOND/", '..', 'a/../../queue', 'x')
	{
		name_model($id, $name);
		refused("SELECT vibevideo_submit('$id')", "named $name");
	}
	is(scalar($fal->renders('not offered')), 0, 'fal.ai has never heard of it');
	is(scalar($fal->renders('in bad company')), 0, 'nor of the other one of the batch');

	# what the attached one is may always be named
	name_model($id, $FIRST);
	is(submit($node, $id)->{status}, 'queued', 'the attached model by its name');
	wait_for_status($node, $id, 'completed');
	is(($fal->renders('not offered'))[0]{endpoint}, $FIRST, 'is that');
}

# -- as an ordinary user ------------------------------------------------------------------------
{
	sql($node, <<'SQL');
CREATE ROLE authenticated;
SELECT vibevideo.grant_api_roles();
GRANT SELECT, INSERT, UPDATE (prompt, video_model) ON vibelogs TO authenticated;
ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON vibelogs TO authenticated USING (owner_id = current_setting('request.jwt.claims', true)::json ->> 'sub');
SQL
	my $as = sub {
		my ($statement, $user) = @_;

		return sprintf(q{SET request.jwt.claims = '{"sub": "%s", "role": "authenticated"}'; SET ROLE authenticated; %s; RESET ROLE; RESET request.jwt.claims}, $user || 'ann', $statement);
	};
	my ($mine, $other) = map { sql($node, "INSERT INTO vibelogs (prompt, owner_id) VALUES ('of $_', '$_') RETURNING id") } qw(ann bob);

	refused($as->("UPDATE vibelogs SET video_model = '$DEAR' WHERE id = '$mine'; SELECT vibevideo_submit('$mine')"), 'a user who names another model');
	refused($as->("INSERT INTO vibelogs (prompt, owner_id, video_model) VALUES ('of ann', 'ann', '$DEAR'); SELECT vibevideo_submit(id) FROM vibelogs WHERE video_model = '$DEAR'"), 'a row made so');
	for my $try ("SELECT vibevideo.set_model('$DEAR', true)", "UPDATE vibevideo.model SET allowed = true WHERE endpoint = '$DEAR'",
		"SELECT vibevideo_internal.offered_models('$DEAR', true)", "SELECT vibevideo.attach('vibelogs', model => '$DEAR')",
		"SELECT model_column FROM vibevideo.binding", "SET vibevideo.model = '$DEAR'")
	{
		refused($as->($try), "a user who tries $try", '42501');
	}
	# a function of the user's in a schema that comes first, and a row that looks like another's
	sql($node, 'CREATE SCHEMA evil AUTHORIZATION authenticated');
	refused($as->(qq{CREATE FUNCTION evil."left"(text, integer) RETURNS text LANGUAGE sql AS \$\$ SELECT '$SECOND' \$\$; SET search_path = evil, pg_catalog, public; UPDATE vibelogs SET video_model = '$DEAR' WHERE id = '$mine'; SELECT vibevideo_submit('$mine')}), 'a path of the user\'s');
	my ($rc, $out, $error) = $node->psql('postgres', $as->("UPDATE vibelogs SET video_model = '$DEAR' WHERE id = '$other'"));
	is(sql($node, "SELECT video_model IS NULL FROM vibelogs WHERE id = '$other'"), 't', 'the row of another stays as it is');
	is(sql($node, $as->("UPDATE vibelogs SET video_model = '$SECOND' WHERE id = '$mine'; SELECT status FROM vibevideo_submit('$mine')")), 'queued', 'what is offered a user may name');
	wait_for_status($node, $mine, 'completed');
	is(($fal->renders('of ann'))[0]{endpoint}, $SECOND, 'and gets it');
	is(sql($node, $as->('SELECT label, price, is_default FROM vibevideo_models()')), "$FIRST|0.5 USD a video|t\nHailuo|from 0.28 USD a video|f", 'and sees what there is');
	# who may not write the column has no choice
	sql($node, 'REVOKE UPDATE (video_model) ON vibelogs FROM authenticated');
	refused($as->("UPDATE vibelogs SET video_model = '$SECOND' WHERE id = '$mine'"), 'who may not write the column', '42501');
	sql($node, 'ALTER TABLE vibelogs DISABLE ROW LEVEL SECURITY');
}

# -- a column in which letters' case does not count ---------------------------------------------
SKIP:
{
	skip 'there is no citext', 8 if sql($node, q{SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'}) eq '0';
	my $id = row('in small letters', uc $SECOND);

	sql($node, q{CREATE EXTENSION citext; ALTER TABLE vibelogs ALTER video_model TYPE citext; SELECT vibevideo.attach('vibelogs')});
	refused("SELECT vibevideo_submit('$id')", 'citext: a name in capital letters');
	name_model($id, $SECOND);
	is(submit($node, $id)->{status}, 'queued', 'citext: one as it should be');
	wait_for_status($node, $id, 'completed');
	is(($fal->renders('in small letters'))[0]{endpoint}, $SECOND, 'citext: is sent so');
	is(sql($node, "SELECT cost_usd FROM vibevideo.job WHERE vibelog_id = '$id'"), '0.28', 'citext: at its price');
	sql($node, q{ALTER TABLE vibelogs ALTER video_model TYPE text; DROP EXTENSION citext});
}

# -- accepted, then withdrawn -------------------------------------------------------------------
{
	my $waits = row('withdrawn: waits', $SECOND);
	my $again = row('withdrawn: again', $SECOND);

	$fal->call('POST', '/rule', { prompt => '^withdrawn: again', times => 1, behaviour => { outcome => 'infra', error_type => 'runner_server_error' } });
	sql($node, 'SELECT vibevideo.pause()');
	sql($node, "SELECT vibevideo_submit_batch('{$waits,$again}')");
	sql($node, "SELECT vibevideo.set_model('$SECOND', false)");
	refused("SELECT vibevideo_submit('" . row('withdrawn: late', $SECOND) . "')", 'withdrawn: a later one');
	# a row that is changed meanwhile shows its job's video all the same
	name_model($waits, $DEAR);
	sql($node, 'SELECT vibevideo.resume()');
	wait_for_status($node, $_, 'completed') for $waits, $again;
	is(($fal->renders('withdrawn: waits'))[0]{endpoint}, $SECOND, 'withdrawn: what was accepted is sent to the model that it was accepted for');
	is(join(' ', map { $_->{endpoint} } $fal->renders('withdrawn: again')), "$SECOND $SECOND", 'withdrawn: and so is the attempt that the worker adds');
	refused("SELECT vibevideo_submit('$again')", 'withdrawn: a new video of the row');
	sql($node, "SELECT vibevideo.set_model('$SECOND', true)");
}

# -- retries ------------------------------------------------------------------------------------
{
	my $id = row('retry: refused at first', $SECOND);

	$fal->fault('submit', { kind => 'http', status => 422, body => { detail => 'no' } }, prompt => '^retry: refused', times => 2);
	is(submit($node, $id)->{status}, 'failed', 'retry: a job of the second model has failed');
	# an operator repeats the job, a user what the row says
	name_model($id, $DEAR);
	refused("SELECT vibevideo_retry('$id')", 'retry: of a row that names what is not offered');
	is(sql($node, "SELECT status FROM vibevideo.job j, vibevideo.retry(j.job_id) WHERE j.vibelog_id = '$id'"), 'queued', 'retry: an operator\'s goes on with the job\'s model');
	wait_for_status($node, $id, 'failed', name => 'retry: which is refused as well');
	name_model($id, undef);
	is(video($node, "vibevideo_retry('$id')")->{attempt}, 3, 'retry: a user\'s is a new attempt');
	wait_for_status($node, $id, 'completed');
	is(sql($node, "SELECT string_agg(model, ' ' ORDER BY attempt) FROM vibevideo.job WHERE vibelog_id = '$id'"), "$SECOND $SECOND $FIRST", 'retry: of the model that the row has now');
	is(sql($node, "SELECT cost_usd FROM vibevideo.job WHERE vibelog_id = '$id' AND attempt = 3"), '0.5', 'retry: at its price');
}

# A video that was made for a transaction that was rolled back is the row's if it still
# wants that model.
{
	my $id = row('rolled back', $SECOND);

	# fal.ai is told nothing until it is done
	$fal->fault('cancel', { kind => 'http', status => 500, body => { detail => 'later' } }, prompt => '^rolled back', times => -1);
	sql($node, "BEGIN; SELECT FROM vibevideo_submit('$id'); ROLLBACK");
	wait_for($node, "SELECT state, error_code, model FROM vibevideo.job WHERE orphan AND vibelog_id = '$id'", "failed|orphaned|$SECOND", 'orphan: it was rendered all the same', hurry => 1);
	name_model($id, undef);
	is((sql_error($node, "SELECT vibevideo_retry('$id')"))[0], 'PT404', 'orphan: not for a row that wants another model');
	name_model($id, $SECOND);
	is(video($node, "vibevideo_retry('$id')")->{status}, 'processing', 'orphan: but for one that wants this one');
	wait_for_status($node, $id, 'completed');
	is(scalar($fal->renders('rolled back')), 1, 'orphan: which was paid for once');
}

# -- the column ---------------------------------------------------------------------------------
{
	my $running = row('held: column', $SECOND);
	my $late = row('column: late', $SECOND);
	my $request = submit($node, $running)->{request_id};

	sql($node, 'ALTER TABLE vibelogs RENAME video_model TO m');
	for my $call ("vibevideo_submit('$late')", "vibevideo_submit_batch('{$late}')", "vibevideo_estimate('$late')")
	{
		my $error = refused("SELECT $call", "renamed: $call", '55000');

		like($error, qr/has no column "video_model" any more\n.*\n?HINT:.*model_column => /, "renamed: $call says what to do");
		unlike($error, qr/QUERY:|OPERATOR/, "renamed: $call: without a statement of ours");
	}
	like(sql($node, q{SELECT status, detail FROM vibevideo_internal.check_table() WHERE check_name = 'columns'}), qr/^fail\|video_model is missing$/, 'renamed: check_config says it');
	$fal->command($request, 'finish');
	wait_for_status($node, $running, 'completed', name => 'renamed: what runs goes on');
	sql($node, q{SELECT vibevideo.attach('vibelogs', model_column => 'm')});
	is(submit($node, $late)->{status}, 'queued', 'attached again');
	wait_for_status($node, $late, 'completed');
	is(($fal->renders('column: late'))[0]{endpoint}, $SECOND, 'it is read again');
	sql($node, 'ALTER TABLE vibelogs DROP m');
	refused("SELECT vibevideo_submit('$late')", 'dropped', '55000');
	is((sql_error($node, q{SELECT vibevideo.attach('vibelogs')}))[0], '42703', 'dropped: attach does not guess');
	sql($node, q{ALTER TABLE vibelogs ADD video_model varchar(100); SELECT vibevideo.attach('vibelogs', model_column => 'video_model')});
}

# -- a trigger, a dump --------------------------------------------------------------------------
{
	sql($node, <<'SQL');
CREATE FUNCTION submit_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM vibevideo_submit(NEW.id); RETURN NULL; END $$;
CREATE TRIGGER submit_it AFTER INSERT ON vibelogs FOR EACH ROW EXECUTE FUNCTION submit_it();
SQL
	refused("INSERT INTO vibelogs (prompt, video_model) VALUES ('by a trigger', '$DEAR')", 'a trigger that submits');
	is(sql($node, q{SELECT count(*) FROM vibelogs WHERE prompt = 'by a trigger'}), '0', 'and there is no row');
	sql($node, 'DROP TRIGGER submit_it ON vibelogs');

	my $dump = $node->basedir . '/dump.sql';
	command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'a dump');
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'is restored');
	is(sql($node, 'SELECT model, model_column FROM vibevideo.binding', 'restored'), "$FIRST|video_model", 'the column is known there');
	is(sql($node, 'SELECT endpoint, label, allowed, max_prompt FROM vibevideo.model WHERE NOT builtin ORDER BY 1', 'restored'), "$SECOND|Hailuo|t|30\n$DEAR||f|", 'and what is offered');
	is(sql($node, 'SELECT endpoint FROM vibevideo_models()', 'restored'), "$FIRST\n$SECOND", 'to the app as well');
}

done_testing();
