# The app's table is changed by people who do not think of vibevideo: swapped for
# a copy, dropped, its columns renamed or made something else; the whole database
# moved by logical replication.  Nothing is lost without a word.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeDocs;
use VibeTest;

my %recipe = recipes('sql');
my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0, init => { allows_streaming => 'logical' });

sql($node, 'CREATE EXTENSION vibevideo');

# What a statement says besides its result: (output, notices).
sub said
{
	my ($statements, $database, @params) = @_;
	my ($rc, $out, $err) = $node->psql($database || 'postgres', $statements, extra_params => \@params);

	is($rc, 0, 'it goes well') or diag($err);
	return ($out, $err);
}

sub check
{
	my ($line) = @_;

	return sql($node, "SELECT status, detail, hint FROM vibevideo.check_config() WHERE check_name = '$line'");
}

# A row of vibelogs whose video is at fal and held there.
sub begin
{
	my ($prompt) = @_;
	my $id = new_row($node, $prompt);

	return ($id, submit($node, $id)->{request_id});
}

sub job_state
{
	my ($request, $state, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_for($node, "SELECT state FROM vibevideo.job WHERE request_id = '$request'", $state, $name, hurry => 1);
}

sub create_vibelogs
{
	sql($node, q{CREATE TABLE vibelogs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), prompt text, image text, owner_id text, kind text)});
	return;
}

$fal->rule('^held: ', hold => 'queue');

# -- swapped for a partitioned copy while jobs run --------------------------------------------
{
	create_vibelogs();
	sql($node, q{SELECT vibevideo.attach('vibelogs', user_column => 'owner_id', model => 'fal-ai/minimax/video-01')});
	my ($done) = begin('swap: done');
	wait_for_status($node, $done, 'completed');
	my ($first, $first_request) = begin('held: swap, adopted at once');
	my ($second, $second_request) = begin('held: swap, adopted later');
	my ($again, $again_request) = begin('held: swap, asked again');
	my $swap = sub {
		my ($old) = @_;

		return <<"SQL";
BEGIN;
CREATE TABLE vibelogs_new (LIKE vibelogs INCLUDING ALL) PARTITION BY HASH (id);
CREATE TABLE ${old}_part PARTITION OF vibelogs_new FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO vibelogs_new SELECT * FROM vibelogs;
ALTER TABLE vibelogs RENAME TO $old;
ALTER TABLE vibelogs_new RENAME TO vibelogs;
COMMIT;
SQL
	};

	sql($node, $swap->('vibelogs_old'));
	my ($refused, $error) = sql_error($node, q{SELECT vibevideo.attach('vibelogs')});
	is($refused, '55000', 'the table that was swapped away is still the attached one');
	like($error, qr/HINT:.*adopt => '(public\.)?vibelogs_old'/, 'the hint tells of adopt');
	my ($out, $notices) = said($recipe{adopt});
	like($notices, qr/NOTICE:  public\.vibelogs takes over the jobs of public\.vibelogs_old\nDETAIL:  Jobs: 4, active ones among them: 3/, 'adopt says what it did');
	like($out, qr/model fal-ai\/minimax\/video-01, user from owner_id/, 'and keeps the options');
	is(sql($node, q{SELECT count(*) FROM vibevideo.job WHERE relation <> 'vibelogs'::regclass}), '0', 'all jobs are the new table\'s');
	$fal->command($first_request, 'finish');
	wait_for_status($node, $first, 'completed', name => 'the paid video arrives in the new table');
	is(status_of($node, $done)->{status}, 'completed', 'older jobs are known');
	like(check('other_tables'), qr/^ok\|/, 'check_config: nothing is left over');

	sql($node, 'CREATE TABLE numbered (id bigint PRIMARY KEY, prompt text, owner_id text)');
	is((sql_error($node, q{SELECT vibevideo.attach('numbered', adopt => 'vibelogs')}))[0], '42804', 'a table with other keys adopts nothing');
	sql($node, 'DROP TABLE numbered');

	# without adopt it is said, and can be made good
	sql($node, $swap->('vibelogs_2'));
	is((sql_error($node, 'SELECT vibevideo.detach()'))[0], '55006', 'detach: jobs are active');
	(undef, $notices) = said('SELECT vibevideo.detach(force => true)');
	like($notices, qr/WARNING:  active jobs are paused.*\nDETAIL:  Active jobs: 2\. Their rows are written only if that is public\.vibelogs_2 again/, 'forced, it says what becomes of them');
	like($notices, qr/NOTICE:.*forgotten\nDETAIL:.*user from owner_id/, 'and which options are forgotten');
	(undef, $notices) = said(q{SELECT vibevideo.attach('vibelogs')});
	like($notices, qr/WARNING:  table public\.vibelogs_2, which is not attached, has unfinished jobs\nDETAIL:  Active: 2, /, 'attach says what is left over');
	like(check('other_tables'), qr/^warn\|.*vibelogs_2: 2 active.*\|.*adopt\s+=> 'public\.vibelogs_2'/, 'check_config, too');
	wait_until(sub { return slurp_file($node->logfile) =~ /WARNING:  vibevideo has unfinished jobs of table public\.vibelogs_2, which is not attached\n.*?DETAIL:  Active: 2, .*Jobs: \d+, \d+\./ }, 'and the log');
	my $newer = submit($node, $again)->{request_id};
	isnt($newer, $again_request, 'a row without a job of this table gets a new one');
	(undef, $notices) = said(q{SELECT vibevideo.attach('vibelogs', adopt => 'vibelogs_2')});
	like($notices, qr/WARNING:  some jobs of public\.vibelogs_2 are not taken over\nDETAIL:  Jobs whose row has another active one: 1\./, 'of two active ones one stays behind, which is said');
	$fal->command($_, 'finish') for $second_request, $newer;
	wait_for_status($node, $second, 'completed', name => 'adopted later it arrives as well');
	wait_for_status($node, $again, 'completed');
	(undef, $notices) = said(q{SELECT vibevideo.attach('vibelogs', adopt => 'vibelogs_2')});
	unlike($notices, qr/not taken over/, 'then the other one is taken over');
	$fal->command($again_request, 'finish');
	job_state($again_request, 'completed', 'and ends');
	like(check('other_tables'), qr/^ok\|/, 'nothing is left over any more');
	is(scalar(map { $fal->renders($_) } 'held: swap, adopted at once', 'held: swap, adopted later'), 2, 'each was paid for once');
	sql($node, 'SELECT vibevideo.detach(); DROP TABLE vibelogs, vibelogs_old, vibelogs_2');
	create_vibelogs();
	sql($node, q{SELECT vibevideo.attach('vibelogs')});
}

# -- columns are renamed or become something else ------------------------------------------------
# Which statement of the public functions says what, and nothing of it is ours to hide.
sub refuses
{
	my ($name, $call, $message, $hint) = @_;
	my ($state, $error) = sql_error($node, "SELECT $call");
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($state, '55000', "$name: SQLSTATE");
	like($error, qr/ERROR:  55000: [^\n]*$message/, "$name: message");
	like($error, qr/HINT:  [^\n]*$hint/, "$name: hint");
	unlike($error, qr/QUERY:|SELECT [^v]|OPERATOR/, "$name: without a statement of ours");
	return;
}

{
	my $id = new_row($node, 'fit: never sent');
	my @all = map { "vibevideo_$_('$id')" } qw(submit status cancel retry);
	my $before = sql($node, 'SELECT count(*) FROM vibevideo.job');

	push @all, "vibevideo_submit_batch('{$id}')";
	sql($node, 'ALTER TABLE vibelogs RENAME id TO key');
	refuses("key renamed: $_", $_, qr/public\.vibelogs has no column "id" any more/, qr/vibevideo\.attach\('public\.vibelogs', id_column => /) for @all;
	like(check('columns'), qr/^fail\|id is missing\|.*vibevideo\.attach/, 'check_config says it');
	refuses('key renamed: reset_stuck', q{vibevideo.reset_stuck('0')}, qr/public\.vibelogs is not as it was attached/, qr/vibevideo\.attach/);
	my (undef, $notices) = said(q{SELECT vibevideo.attach('vibelogs')});
	like($notices, qr/NOTICE:  options have changed\nDETAIL:  id_column: id -> key$/, 'attach finds the renamed primary key, and says so');
	is(sql($node, "SELECT vibelog_id FROM vibevideo_status('$id')"), $id, 'and it works again');
	sql($node, q{ALTER TABLE vibelogs RENAME key TO id; SELECT vibevideo.attach('vibelogs')});

	my @input = ("vibevideo_submit('$id')", "vibevideo_submit_batch('{$id}')");
	for my $column (qw(prompt image owner_id kind))
	{
		my ($option) = { prompt => 'prompt_column', image => 'image_column', owner_id => 'user_column', kind => 'model_column' }->{$column};

		sql($node, q{SELECT vibevideo.attach('vibelogs', image_column => 'image', user_column => 'owner_id', model_column => 'kind')});
		sql($node, "ALTER TABLE vibelogs RENAME $column TO another");
		refuses("$column renamed: $_", $_, qr/public\.vibelogs has no column "$column" any more/, qr/vibevideo\.attach\('public\.vibelogs', $option => /) for @input;
		like(check('columns'), qr/^fail\|$column is missing\|/, "$column renamed: check_config");
		is(sql($node, "SELECT status FROM vibevideo_status('$id')"), '', "$column renamed: the status can be asked for");
		my ($refused, $error) = sql_error($node, q{SELECT vibevideo.attach('vibelogs')});
		is($refused, '42703', "$column renamed: attach does not guess");
		like($error, qr/HINT:.*$option => '\.\.\.', or $option => ''/, "$column renamed: it tells how to name another or none");
		sql($node, "ALTER TABLE vibelogs RENAME another TO $column");
	}
	for my $type ('jsonb USING to_jsonb(prompt)', q{bytea USING convert_to(prompt, 'UTF8')}, 'text[] USING ARRAY[prompt]')
	{
		my ($name) = $type =~ /^(\S+)/;

		sql($node, "ALTER TABLE vibelogs ALTER prompt TYPE $type");
		refuses("prompt is $name: $_", $_, qr/column "prompt" of public\.vibelogs has type \Q$name\E now/, qr/vibevideo\.attach/) for @input;
		like(check('columns'), qr/^fail\|prompt has type \Q$name\E\|/, "prompt is $name: check_config");
		sql($node, q{ALTER TABLE vibelogs ALTER prompt TYPE text USING ''});
	}
	sql($node, q{ALTER TABLE vibelogs ALTER owner_id TYPE jsonb USING '{}'});
	refuses("user is jsonb: $_", $_, qr/column "owner_id" of public\.vibelogs has type jsonb now/, qr/user_column/) for @input;
	like(check('columns'), qr/^fail\|owner_id has type jsonb\|/, 'user is jsonb: check_config');
	is((sql_error($node, q{SELECT vibevideo.attach('vibelogs')}))[0], '42804', 'user is jsonb: attach');
	sql($node, q{ALTER TABLE vibelogs ALTER owner_id TYPE text});
	sql($node, q{ALTER TABLE vibelogs ALTER kind TYPE int USING 1});
	refuses("model is int: $_", $_, qr/column "kind" of public\.vibelogs has type integer now/, qr/model_column/) for @input;
	like(check('columns'), qr/^fail\|kind has type integer\|/, 'model is int: check_config');
	is((sql_error($node, q{SELECT vibevideo.attach('vibelogs')}))[0], '42804', 'model is int: attach');
	sql($node, q{ALTER TABLE vibelogs ALTER kind TYPE varchar(80) USING NULL});
	sql($node, q{ALTER TABLE vibelogs ALTER image TYPE jsonb USING '{}'});
	refuses('image is jsonb', $input[0], qr/column "image" of public\.vibelogs has type jsonb now/, qr/image_column/);
	sql($node, 'ALTER TABLE vibelogs ALTER image TYPE text; ALTER TABLE vibelogs ALTER id DROP DEFAULT, ALTER id TYPE text');
	refuses("key is text: $_", $_, qr/column "id" of public\.vibelogs has type text now/, qr/id_column/) for @all;
	sql($node, 'ALTER TABLE vibelogs ALTER id TYPE uuid USING id::uuid, ALTER id SET DEFAULT gen_random_uuid()');
	sql($node, "UPDATE vibelogs SET prompt = 'fit: never sent'; ALTER TABLE vibelogs RENAME video_url TO url");
	refuses("video_url renamed: $_", $_, qr/public\.vibelogs has no column "video_url" of type text any more/, qr/attach/) for @input;
	sql($node, 'ALTER TABLE vibelogs RENAME url TO video_url');
	sql($node, 'ALTER TABLE vibelogs DROP video_url, ADD video_url text GENERATED ALWAYS AS (prompt) STORED');
	refuses("video_url generated: $_", $_, qr/column "video_url" of public\.vibelogs is generated now/, qr/attach/) for @input;
	sql($node, 'ALTER TABLE vibelogs DROP video_url, ADD video_url text');

	sql($node, <<'SQL');
CREATE FUNCTION "An input"(vibelogs) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('prompt', $1.prompt) $$;
SELECT vibevideo.attach('vibelogs', input_function => '"An input"');
ALTER FUNCTION "An input" RENAME TO renamed;
SQL
	refuses("function renamed: $_", $_, qr/no function public\."An input"\(public\.vibelogs\) returning jsonb any more/, qr/input_function => /) for @input;
	sql($node, q{CREATE FUNCTION "An input"(vibelogs) RETURNS text LANGUAGE sql AS $$ SELECT $1.prompt $$});
	refuses("function returns text: $_", $_, qr/returning jsonb any more/, qr/input_function => /) for @input;
	like(check('input_function'), qr/^fail\|/, 'function returns text: check_config');
	sql($node, q{SELECT vibevideo.attach('vibelogs', input_function => ''); DROP FUNCTION "An input"; DROP FUNCTION renamed});

	is(sql($node, 'SELECT count(*) FROM vibevideo.job'), $before, 'nothing of all this made a job');
	is(scalar($fal->renders('fit: never sent')), 0, 'or was sent');
	sql($node, q{ALTER TABLE vibelogs ALTER prompt TYPE varchar(200)});
	is(submit($node, $id)->{status}, 'queued', 'any text type will do');
	wait_for_status($node, $id, 'completed');
	sql($node, q{ALTER TABLE vibelogs ALTER prompt TYPE text});
}

# -- becomes a partition of what takes its place ---------------------------------------------------
{
	my ($id, $request) = begin('held: partition');

	sql($node, <<'SQL');
BEGIN;
ALTER TABLE vibelogs RENAME TO vibelogs_first;
CREATE TABLE vibelogs (LIKE vibelogs_first INCLUDING ALL) PARTITION BY RANGE (id);
ALTER TABLE vibelogs ATTACH PARTITION vibelogs_first DEFAULT;
COMMIT;
SQL
	like(check('table'), qr/^fail\|public\.vibelogs_first has become a partition of public\.vibelogs: .*adopt => 'public\.vibelogs_first'/, 'check_config says that it is a partition now');
	sql($node, q{SELECT vibevideo.attach('vibelogs', adopt => 'vibelogs_first')});
	$fal->command($request, 'finish');
	wait_for_status($node, $id, 'completed', name => 'the whole adopts its part');
}

# -- dropped while jobs are active -----------------------------------------------------------------
my $lost;
{
	my ($id, $request) = begin('held: dropped');
	my ($other, $to_cancel) = begin('held: dropped, cancelled');
	my ($again, $to_retry) = begin('held: dropped, retried');
	my $relid = sql($node, q{SELECT 'vibelogs'::regclass::oid});

	$fal->fault('submit', { kind => 'http', status => 503, headers => { 'retry-after' => '1000' }, body => { detail => 'later' } }, prompt => '^dropped: waits', times => -1);
	my $waits = new_row($node, 'dropped: waits');
	submit($node, $waits);

	my ($out, $notices) = said('BEGIN; DROP TABLE vibelogs; ROLLBACK');
	like($notices, qr/WARNING:  table public\.vibelogs has active videos in the making, and is being dropped\nDETAIL:  Active jobs: 4\./, 'DROP TABLE warns');
	like($notices, qr/HINT:.*adopt => '$relid'/, 'and tells the way out');
	for my $drop ('DROP SCHEMA public CASCADE', 'DROP EXTENSION vibevideo', 'DROP SCHEMA vibevideo CASCADE', 'DROP OWNED BY CURRENT_USER CASCADE')
	{
		next if $drop =~ /OWNED/;
		(undef, $notices) = said("BEGIN; $drop; ROLLBACK");
		like($notices, qr/WARNING:.*being dropped\nDETAIL:  Active jobs: [45]\./, "$drop warns");
	}
	(undef, $notices) = said('BEGIN; CREATE TABLE of_nobody (id int); ALTER TABLE of_nobody ADD x text DEFAULT random(); DROP TABLE of_nobody; ROLLBACK');
	unlike($notices, qr/WARNING/, 'other tables are dropped without a word');
	(undef, $notices) = said(q{BEGIN; INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input) VALUES ('vibevideo_internal.share_due', 'none', 'pending', 'a/b', '{}');
		ALTER EXTENSION vibevideo DROP TABLE vibevideo_internal.share_due; DROP TABLE vibevideo_internal.share_due CASCADE; ROLLBACK});
	unlike($notices, qr/WARNING/, 'nor is there a word about our own, whatever a job says');

	# by whoever owns it, who may not read our tables, and while they are locked
	sql($node, 'CREATE ROLE app; GRANT CREATE, USAGE ON SCHEMA public TO app; ALTER TABLE vibelogs OWNER TO app');
	my $session = background_sql($node);
	$session->query('BEGIN; LOCK TABLE vibevideo.job IN ACCESS EXCLUSIVE MODE');
	said(q{SET lock_timeout = '5s'; BEGIN; SET LOCAL ROLE app; DROP TABLE vibelogs; ROLLBACK});
	$session->query('ROLLBACK');
	$session->quit;
	(undef, $notices) = said('SET ROLE app; DROP TABLE vibelogs');
	like($notices, qr/WARNING:.*being dropped\nDETAIL:  Active jobs: 4\./, 'its owner is warned as well');

	sql($node, 'SELECT vibevideo.wake()');
	wait_until(sub { return slurp_file($node->logfile) =~ /WARNING:  vibevideo has unfinished jobs of a table that was dropped, number $relid\n.*?DETAIL:  Active: \d, .*Jobs: [\d, ]+\./ }, 'the log names the jobs');
	like(check('table'), qr/^fail\|.*has been dropped\|.*adopt => '$relid'.*vibevideo\.cancel\(job_id\)/, 'check_config: the table is gone');
	like(check('other_tables'), qr/^ok\|see line table; .*dropped table $relid: \d active.*\(jobs \d/, 'and which jobs are left over');
	is(job_of($node, $waits)->{state}, 'cancelled', 'what was not sent is cancelled');
	is(job_of($node, $waits)->{error_code}, 'table_gone', 'and tells why');

	# the way out
	my %job = map { $_ => job_of($node, $_)->{job_id} } $id, $other, $again, $waits;
	my (undef, $error) = sql_error($node, 'SELECT vibevideo.detach()');
	like($error, qr/HINT:.*vibevideo\.cancel\(job_id\)/, 'detach names what works without the table');
	is(video($node, "vibevideo.cancel($job{$other})")->{message}, 'Cancelling', 'vibevideo.cancel(job)');
	job_state($to_cancel, 'cancelled', 'fal is told of it');
	ok(($fal->renders('held: dropped, cancelled'))[0]{cancel_requested_at}, 'really');
	is(video($node, "vibevideo.cancel($job{$other})")->{status}, 'cancelled', 'cancelled once more it is what it is');
	$fal->command($request, 'finish');
	job_state($request, 'completed', 'the others run to their ends');
	is($storage->object($id)->{sha256}, ($fal->renders('held: dropped'))[0]{media_sha256}, 'and their videos are in Storage');

	$fal->fault('media', { kind => 'http', status => 403 }, times => -1);
	$fal->command($to_retry, 'finish');
	job_state($to_retry, 'failed', 'a copy fails') or diag(sql($node, 'SELECT * FROM vibevideo.jobs'));
	$fal->clear_faults;
	is(video($node, "vibevideo.retry($job{$again})")->{status}, 'processing', 'vibevideo.retry(job) copies again');
	job_state($to_retry, 'completed', 'which is enough');
	is(scalar($fal->renders('held: dropped, retried')), 1, 'and paid for once');
	is(video($node, "vibevideo.retry($job{$again})")->{status}, 'completed', 'a completed one is left alone');
	my $new = video($node, "vibevideo.retry($job{$waits})");
	is($new->{status}, 'queued', 'one that was never sent is another attempt');
	is(video($node, "vibevideo.retry($job{$waits})")->{attempt}, $new->{attempt}, 'asked twice it is the same');
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$waits' AND relation IS NULL", 'completed', 'it is made, without a row', hurry => 1);
	is(scalar($fal->renders('dropped: waits')), 1, 'once');
	is((sql_error($node, 'SELECT vibevideo.cancel(0)'))[0], 'PT404', 'a number that is none');
	is((sql_error($node, 'SELECT vibevideo.retry(0)'))[0], 'PT404', 'nor here');
	is((sql_error($node, "SET ROLE app; SELECT vibevideo.$_(1)"))[0], '42501', "$_ is the owner's alone") for qw(cancel retry);
	sql($node, 'SELECT vibevideo.detach()');
	$lost = $relid;
	sql($node, 'DROP OWNED BY app; DROP ROLE app');
}

# -- the dropped table comes back, from a backup say ---------------------------------------------------
{
	create_vibelogs();
	sql($node, q{SELECT vibevideo.attach('vibelogs')});
	my $id = new_row($node, 'held: comes back');
	my $relid = sql($node, q{SELECT 'vibelogs'::regclass::oid});

	# with rows as they were before the submit
	sql($node, 'CREATE TABLE saved (LIKE vibelogs INCLUDING ALL); INSERT INTO saved SELECT * FROM vibelogs');
	my $request = submit($node, $id)->{request_id};
	sql($node, 'DROP TABLE vibelogs; ALTER TABLE saved RENAME TO vibelogs');
	sql($node, "SELECT vibevideo.attach('vibelogs', adopt => '$relid')");
	$fal->command($request, 'finish');
	wait_for_status($node, $id, 'completed', name => 'a table that is gone is adopted by its number');
}

# -- moved by logical replication -----------------------------------------------------------------------
{
	my ($id, $request) = begin('held: moved');
	my $plain = new_row($node, 'moved: new');

	sql($node, q{SELECT vibevideo.set_price('fal-ai/minimax/video-01', 0.7), vibevideo.set_price('acme/of-the-app', 0.25, 'second', '{"size": "4k"}', '$.duration');
		UPDATE vibevideo.model SET max_prompt = 3000 WHERE endpoint = 'fal-ai/minimax/video-01'});
	sql($node, 'CREATE DATABASE moved');
	sql($node, 'CREATE TABLE vibelogs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), prompt text, image text, owner_id text, kind text, video_generation_status text, video_request_id text, video_url text, video_generated_at timestamptz, video_generation_error text)', 'moved');
	sql($node, $recipe{'logical-new'}, 'moved');
	sql($node, $recipe{'logical-old'});
	sql($node, q{SELECT pg_create_logical_replication_slot('cutover', 'pgoutput')});
	sql($node, 'CREATE SUBSCRIPTION cutover CONNECTION $$' . $node->connstr('postgres') . q{$$ PUBLICATION cutover WITH (create_slot = false, slot_name = 'cutover')}, 'moved');
	wait_for($node, q{SELECT count(*) FILTER (WHERE srsubstate <> 'r') FROM pg_subscription_rel}, '0', 'the initial copy is made', database => 'moved');
	sql($node, q{SELECT vibevideo.pause('all', 'moving')});
	my $lsn = sql($node, 'SELECT pg_current_wal_insert_lsn()');
	wait_for($node, qq{SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots WHERE slot_name = 'cutover'}, 't', 'all of it has arrived');
	sql($node, 'ALTER SUBSCRIPTION cutover DISABLE', 'moved');
	wait_for($node, q{SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'cutover'}, 't', 'replication is over');
	sql($node, 'DROP SUBSCRIPTION cutover', 'moved');

	is(sql($node, 'SELECT paused FROM vibevideo.binding', 'moved'), 't', 'the new database is paused');
	my $counts = 'SELECT outcome, model, error_class, orphan, sum(n), sum(settled_usd), sum(returned_usd) FROM vibevideo.rollup WHERE seconds = 0 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4';
	like(sql($node, $counts, 'moved'), qr/^completed\|.*^submitted\|/ms, 'counts have come along');
	is(sql($node, $counts, 'moved'), sql($node, $counts), 'and what jobs came along is not counted once more');
	my $prices = q{SELECT source, to_jsonb(r) - CASE source WHEN 'built-in' THEN 'changed_at' ELSE '' END FROM vibevideo.price_rule r ORDER BY endpoint, source, applies, valid_from};
	like(sql($node, $prices, 'moved'), qr/^operator\|\{.*"acme\/of-the-app"/, 'prices have come along');
	is(sql($node, $prices, 'moved'), sql($node, $prices), 'and built-in ones are there once');
	is(sql($node, q{SELECT max_prompt FROM vibevideo.model WHERE endpoint = 'fal-ai/minimax/video-01'}, 'moved'), '3000', 'and so has what is known of models');
	is(sql($node, 'SELECT vibevideo_internal.sequences_behind()', 'moved'), 't', 'the sequences have not');
	like(sql($node, q{SELECT status, hint FROM vibevideo.check_config() WHERE check_name = 'identity'}, 'moved'), qr/^fail\|.*vibevideo\.resume/, 'check_config tells what to do');
	is(sql($node, 'SELECT vibevideo.resume()', 'moved'), 't', 'resume()');
	like(sql($node, q{SELECT status FROM vibevideo.check_config() WHERE check_name = 'sequences'}, 'moved'), qr/^ok$/, 'advances them');
	is(sql($node, q{SELECT bool_and(pg_sequence_last_value(s) >= m) FROM (VALUES
		('vibevideo.job_id_seq'::regclass, (SELECT max(job_id) FROM vibevideo.job)), ('vibevideo.lease_seq', (SELECT max(lease) FROM vibevideo.job)),
		('vibevideo_internal.tally_tally_id_seq', (SELECT max(tally_id) FROM vibevideo_internal.tally)),
		('vibevideo.event_event_id_seq', (SELECT max(event_id) FROM vibevideo.event))) AS x(s, m)}, 'moved'), 't', 'all of them');
	is(submit($node, $plain, 'moved')->{status}, 'queued', 'a submit there');
	wait_for_status($node, $plain, 'completed', database => 'moved');
	$fal->command($request, 'finish');
	wait_for_status($node, $id, 'completed', database => 'moved', name => 'what was at fal before arrives there');
	is(sql($node, 'SELECT last_value FROM vibevideo.job_id_seq', 'moved') > 0, 1, 'its numbers go on');
	is(sql($node, "SELECT setval('vibevideo.job_id_seq', 100000); SELECT vibevideo.resume(), last_value FROM vibevideo.job_id_seq", 'moved'), "100000\nf|100000", 'and are never set back');
	is(sql($node, 'SELECT video_generation_status FROM vibelogs WHERE id = \'' . $id . q{'}), 'queued', 'the old one does nothing any more');
}

# -- the extension is dropped with a job under way ---------------------------------------------------------
{
	my (undef, $notices) = said('DROP EXTENSION vibevideo');

	like($notices, qr/WARNING:  vibevideo has active jobs, and is being dropped\nDETAIL:  Active jobs: 1\./, 'DROP EXTENSION warns, and is not kept from it');
	(undef, $notices) = said('CREATE EXTENSION vibevideo; DROP EXTENSION vibevideo; DROP TABLE vibelogs');
	unlike($notices, qr/WARNING/, 'without jobs there is nothing to warn of');
}

# -- where the extension is not, anybody may have tables of its names ------------------------------------
{
	my (undef, $notices) = said(q{CREATE ROLE stranger; GRANT CREATE ON DATABASE postgres TO stranger; DROP SCHEMA IF EXISTS vibevideo;
		SET ROLE stranger; CREATE SCHEMA vibevideo; CREATE TABLE vibevideo.job (relation regclass, state bigint);
		CREATE INDEX job_active ON vibevideo.job (relation); CREATE TABLE vibevideo.victim (); CREATE SCHEMA his; CREATE TABLE his.bait ();
		INSERT INTO vibevideo.job VALUES ('his.bait', 4294967295); DROP TABLE his.bait; DROP TABLE vibevideo.job; RESET ROLE});

	unlike($notices, qr/WARNING/, 'a table of the name of ours is not read');
	is(sql($node, 'SELECT 1'), '1', 'and the server is still there');
}

done_testing();
