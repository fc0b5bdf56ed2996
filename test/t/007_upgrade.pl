# ALTER EXTENSION vibevideo UPDATE: a database of 0.1.0, with jobs in every
# state, becomes what a fresh one is, and its jobs run on to their ends.  Until
# then, and whenever library and extension do not fit, nothing is done.

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use VibeTest;
use VibeChaos;
use VibeUpgrade;

my $old = '0.1.0';
my ($new) = slurp_file('vibevideo.control') =~ /^default_version = '(.*)'/m;
my $fal = start_fal(default => { list_in_flight => JSON::PP::false });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0, conf => {
	'vibevideo.submit_timeout' => '60s',
	'vibevideo.unknown_after' => '1h',
	'vibevideo.max_tries' => 1000,
	'vibevideo.resumable_threshold' => '1MB' });
my %id;

# As Supabase has it: whatever is made, the API's roles get rights on it.
sub create_database_app
{
	my ($database) = @_;

	cli($node, "ALTER DEFAULT PRIVILEGES GRANT ALL ON $_ TO anon, authenticated, service_role", $database) for qw(TABLES SEQUENCES FUNCTIONS);
	create_app($node, $database);
	operator_grants($database, 'vibevideo_internal');
	return;
}

# What an operator adds is neither taken away nor made a part of the extension.
sub operator_grants
{
	my ($database, $inner) = @_;

	cli($node, 'GRANT SELECT ON vibevideo.job TO pg_monitor; GRANT EXECUTE ON FUNCTION vibevideo.check_config() TO pg_monitor; '
		  . join('; ', map { "GRANT EXECUTE ON FUNCTION $inner.$_ TO pg_monitor" } 'job_message(vibevideo.job)', 'seconds_left(vibevideo.job)', 'shown_status(text)'),
		$database);
	return;
}

# A row whose job is brought into a state: by a call for user ann, or by the worker.
sub begin_job
{
	my ($prompt, %options) = @_;
	my $call = $options{batch} ? 'vibevideo_submit_batch(ARRAY[%s])' : 'vibevideo_submit(%s)';

	$id{$prompt} = new_row($node, $prompt);
	$fal->fault(@{ $options{fault} }, prompt => "^$prompt\$") if $options{fault};
	$fal->rule("^$prompt\$", %{ $options{rule} }) if $options{rule};
	cli($node, q{SET request.jwt.claims = '{"sub": "ann"}'; } . ($options{rollback} ? 'BEGIN; ' : '') . 'SELECT FROM '
		  . sprintf($call, "'$id{$prompt}'::uuid") . ($options{rollback} ? '; ROLLBACK' : ''));
	return;
}

sub reaches
{
	my ($prompt, $state) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id{$prompt}'", $state, "$prompt: $state", hurry => 1);
}

# What fal and Storage were asked.
sub asked
{
	return [ map { $_->ledger('?jobs=0')->{requests} } $fal, $storage ];
}

# -- jobs in every state -----------------------------------------------------------------------
cli($node, "CREATE ROLE $_") for qw(anon authenticated service_role);
create_database_app('postgres');
sql($node, <<'SQL');
INSERT INTO vibevideo.limit (scope, max_active, submits_per_day, spend_per_day_usd) VALUES ('default', 50, 500, 5000), ('global', 60, 600, 6000);
INSERT INTO vibevideo.model (endpoint) VALUES ('acme/of-the-app');
SELECT vibevideo.set_price('acme/of-the-app', 0.25);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON vibelogs FOR EACH ROW
	WHEN (NEW.prompt = 'dirty' AND NEW.video_generation_status = 'completed') EXECUTE FUNCTION refuse();
SQL
begin_job('completed');
begin_job('deleted');
begin_job('dirty');
begin_job('failed', rule => { outcome => 'policy' });
begin_job('cancelled', rule => { hold => 'queue' });
begin_job('pending', fault => [ 'submit', { kind => 'http', status => 503, headers => { 'retry-after' => '1000' }, body => { detail => 'later' } }, times => -1 ]);
begin_job('submit_unknown', rule => { hold => 'queue', queue_ms => 3600000 }, fault => [ 'submit', 'reset_after' ]);
begin_job('queued', rule => { hold => 'queue', queue_ms => 3600000 });
begin_job('generating', rule => { hold => 'run', queue_ms => 0 });
begin_job('processing', rule => { media => { bytes => 20_000_000 } }, fault => [ 'media', { kind => 'slow', bytes_per_s => 2_000_000 } ]);
begin_job('orphan', rule => { hold => 'queue', queue_ms => 3600000 }, rollback => 1,
	fault => [ 'cancel', { kind => 'http', status => 500, body => { detail => 'not now' } }, times => -1 ]);
reaches($_, 'completed') for qw(completed deleted dirty);
reaches('failed', 'failed');
cli($node, "SELECT vibevideo_cancel('$id{cancelled}')");
reaches('cancelled', 'cancelled');
reaches('generating', 'generating');
reaches('orphan', 'queued');
wait_for($node, "SELECT row_dirty, row_error IS NOT NULL FROM vibevideo.job WHERE vibelog_id = '$id{dirty}'", 't|t', 'dirty: its row could not be written', hurry => 1);
cli($node, "DELETE FROM vibevideo.job WHERE vibelog_id = '$id{deleted}'");
begin_job('submitting', batch => 1, rule => { hold => 'queue', queue_ms => 3600000 }, fault => [ 'submit', 'hang_after' ]);
reaches('submitting', 'submitting');
wait_for($node, "SELECT upload_url IS NOT NULL AND upload_state IS NOT NULL AND bytes_done > 0 FROM vibevideo.job WHERE vibelog_id = '$id{processing}'", 't',
	'processing: an upload in parts is under way', hurry => 1);
wait_until(sub { return scalar($fal->renders('submitting')) == 1 }, 'submitting: fal has it');

my $states = q{SELECT string_agg(DISTINCT state, ' ' ORDER BY state) FROM vibevideo.job};
is(sql($node, $states), 'cancelled completed failed generating pending processing queued submit_unknown submitting', 'jobs are in every state');
cli($node, q{UPDATE vibevideo.job SET cost_usd = 0.25 WHERE state = 'failed'});
my $worker = worker_pid($node);

# -- the new library with the old extension -------------------------------------------------------
install_version($old);
become_older($node, $old);
wait_down($worker);
my $log = -s $node->logfile;
$node->restart;
is(sql($node, q{SELECT extversion FROM pg_extension WHERE extname = 'vibevideo'}), $old, "the extension is $old");
is(sql($node, q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'vibevideo.job'::regclass AND attname = 'ghost'}), '1', 'really');

# Everything says that the two do not fit, and does nothing.
sub is_paused
{
	my ($name, $extension) = @_;
	my $row = $id{completed};
	my $headers = encode_json({ map { ("x-fal-webhook-$_" => 'x') } qw(request-id user-id timestamp signature) });
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	like(sql($node, q{SELECT string_agg(detail, E'\n') FROM vibevideo.check_config() WHERE status = 'fail'}), qr/\Q$new\E[^\n]*\Q$extension\E/,
		"$name: check_config says it");
	my $asked = asked();
	sql($node, 'SELECT vibevideo.wake()');
	wait_until(sub { return slurp_file($node->logfile, $log) =~ /WARNING:  [^\n]*\Q$new\E[^\n]*\Q$extension\E/ }, "$name: the worker warns of it");
	my @wrong;
	for my $call ("vibevideo_submit('$row')", "vibevideo_submit_batch('{$row}')", "vibevideo_status('$row')", "vibevideo_cancel('$row')",
		"vibevideo_retry('$row')", 'vibevideo_poll()', q{vibevideo_webhook('{}')}, q{vibevideo.attach('vibelogs')},
		'vibevideo.resume()', 'vibevideo.detach(true)')
	{
		my ($state, $text) = sql_error($node, "SET request.headers = '$headers'; SELECT $call");

		push @wrong, "$call: $state $text"
		  unless $state eq '55000'
		  && $text =~ /ERROR:  55000: [^\n]*\Q$new\E[^\n]*\Q$extension\E/
		  && $text =~ /HINT:  [^\n]*ALTER EXTENSION vibevideo UPDATE[^\n]*restart/;
	}
	is(join("\n", @wrong), '', "$name: every function says so, with both versions and what to do");
	sleep(1.5);
	is_deeply(asked(), $asked, "$name: nothing was sent");
	return;
}

cli($node, "UPDATE vibevideo.model SET price_usd = $_->[1] WHERE endpoint = 'fal-ai/minimax/video-01-$_->[0]'") for [ 'live', 0.43 ], [ 'director', 'NULL' ];
cli($node, q{INSERT INTO vibevideo.model (endpoint, price_usd) VALUES ('no id of fal.ai', 1)});
operator_grants('postgres', 'vibevideo');
# What the library's statements call is not there yet, so a stranger makes it.
my %called = map { $_ => 1 } map { slurp_file($_) =~ /"[^"\n]*\bvibevideo_internal\.(\w+)\(/g } glob('src/*.c');
cmp_ok(scalar(keys %called), '>', 10, 'the library calls functions of vibevideo_internal');
cli($node, 'CREATE ROLE mallory; GRANT CREATE ON DATABASE postgres TO mallory; GRANT USAGE ON SCHEMA vibevideo TO mallory; '
	  . 'SET ROLE mallory; CREATE SCHEMA vibevideo_internal; GRANT USAGE ON SCHEMA vibevideo_internal TO PUBLIC');
for my $name (sort keys %called)
{
	cli($node, "SET ROLE mallory; CREATE FUNCTION vibevideo_internal.$name($_) RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN RAISE LOG 'TRAP $name as %', current_user; RETURN ''; END \$\$")
	  for '', 'anyelement', 'anyelement, anyelement', 'anyelement, anyelement, anyelement';
}
is_paused('new library', $old);
{
	sql_error($node, "BEGIN; $_; ROLLBACK") for q{UPDATE vibevideo.job SET state = 'cancelled' WHERE state = 'pending'}, q{UPDATE vibevideo.job SET row_dirty = true},
		'INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input) SELECT relation, gen_random_uuid(), state, model, input FROM vibevideo.job',
		'DELETE FROM vibevideo.job', 'DELETE FROM vibevideo.limit', 'UPDATE vibevideo.model SET price_usd = 1', 'SELECT * FROM vibevideo.jobs',
		'UPDATE vibevideo.binding SET resting = true';
	sql($node, q{SELECT vibevideo_internal.free_slots('self-test'::text)});
	my @ran = slurp_file($node->logfile, $log) =~ /LOG:  TRAP (.*)$/mg;
	is_deeply([ map { s/ as .*//r } @ran ], ['free_slots'], 'nothing of a stranger runs, but in a test of the test');
	my ($state, $error) = sql_error($node, 'ALTER EXTENSION vibevideo UPDATE');

	is($state, '42P06', 'her schema is not taken');
	like($error, qr/HINT:  Drop or rename it\./, 'and what to do about it');
	is(sql($node, q{SELECT extversion FROM pg_extension WHERE extname = 'vibevideo'}), $old, 'it stays as it is');
	cli($node, 'DROP OWNED BY mallory CASCADE; DROP ROLE mallory');
}
my $dump = $node->basedir . '/old.sql';
command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'a dump of it');

# -- the update ------------------------------------------------------------------------------------
cli($node, 'CREATE DATABASE fresh');
create_database_app('fresh');
# one that has ended and was not billed costs nothing now
my $returned = q{SELECT sum(cost_usd) > 0 FROM vibevideo.job WHERE state IN ('failed', 'cancelled') AND NOT billed};
is(sql($node, $returned), 't', 'jobs have ended that are not billed');
my $jobs = q{SELECT string_agg((to_jsonb(j) - '{ghost,orphan,row_bears,forgotten_at,unsettled,objection,earlier_position,earlier_at,cost_usd,cost_estimated_usd,cost_source,billable_units,tenant,held_usd,width,height,fps,video_codec,has_audio,audio_codec,faststart,has_c2pa,bit_rate,delivered_less,erased_at}'::text[])::text
	|| CASE WHEN state IN ('failed', 'cancelled') AND NOT billed THEN '0' ELSE j.cost_usd::text END || %s, E'\n' ORDER BY job_id) FROM vibevideo.job j};
my $before = sql($node, sprintf($jobs, 'ghost'));
my $unbilled = sql($node, q{SELECT string_agg(job_id || ':' || cost_usd, ',') FROM vibevideo.job WHERE state IN ('failed', 'cancelled') AND NOT billed});
{
	# two who read on while the update waits for them, one the tables and one a view
	my @readers = map { VibeTest::Session->start($node) } 1 .. 2;
	$readers[0]->ask('BEGIN; SELECT FROM vibevideo.binding');
	$readers[1]->ask('BEGIN; SELECT FROM vibevideo.costs LIMIT 1');
	my ($after, $err) = ('', '');
	my $update = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'),
			'-c', 'BEGIN; ALTER EXTENSION vibevideo UPDATE; ' . sprintf($jobs, 'orphan') . '; COMMIT' ], '>', \$after, '2>', \$err);
	wait_for($node, q{SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'}, '1', 'the update waits for readers');
	is(($readers[0]->ask('SELECT FROM vibevideo.job; COMMIT'))[1], '', 'who read the jobs after the binding');
	is(($readers[1]->ask('SELECT FROM vibevideo.past_costs; COMMIT'))[1], '', 'or a table after a view of it');
	IPC::Run::finish($update);
	chomp $after;
	is($err, '', 'ALTER EXTENSION vibevideo UPDATE');
	is($after, $before, 'no job has changed');
}
is(sql($node, $returned), 'f', 'which cost nothing');
is(sql($node, q{SELECT endpoint, source, applies, valid_from < now() - interval '1 year', unit, unit_price_usd FROM vibevideo.price_rule WHERE source <> 'built-in' ORDER BY 1}),
	join("\n", 'acme/of-the-app|operator|{}|t|video|0.2500', 'fal-ai/minimax/video-01-director|operator|{}|t|video|', 'fal-ai/minimax/video-01-live|operator|{}|t|video|0.4300'),
	'prices that were corrected or added are rules of the operator');
is(sql($node, q{SELECT e.cost_usd FROM unnest(ARRAY['acme/of-the-app', 'fal-ai/minimax/video-01', 'fal-ai/minimax/video-01-live', 'fal-ai/minimax/video-01-director']) m
	CROSS JOIN LATERAL vibevideo.estimate(m, '{}') e}), "0.25\n0.5\n0.43\n", 'and what videos cost is as before');
is(sql($node, q{SELECT outcome, error_class, sum(n), sum(settled_usd), sum(returned_usd) FROM vibevideo.rollup WHERE seconds = 0 GROUP BY 1, 2 ORDER BY 1, 2}) =~ s/\.0000|\b0\.0\b//gr,
	sql($node, qq{SELECT s.outcome, coalesce(vibevideo.error_class(s.code), '') AS class, count(*), sum(s.settled), sum(s.returned)
		FROM vibevideo.job j, LATERAL (VALUES ('submitted', true, NULL, 0, 0), ('accepted', j.submitted_at IS NOT NULL, NULL, 0, 0),
			('rendered', j.billed, NULL, j.cost_usd, 0), (j.state, true, CASE j.state WHEN 'failed' THEN j.error_code END, 0,
			 CASE WHEN j.billed THEN 0 ELSE coalesce((SELECT split_part(x, ':', 2)::numeric FROM unnest(string_to_array('$unbilled', ',')) x
				WHERE split_part(x, ':', 1) = j.job_id::text), j.cost_usd) END)) AS s(outcome, so, code, settled, returned)
		WHERE j.next_at IS NULL AND s.so GROUP BY 1, 2 ORDER BY 1, 2}) =~ s/\.0000|\b0\.0\b//gr, 'what has ended is counted');
{
	my %fresh = map { $_ => 1 } @{ catalog($node, 'fresh') };
	my %upgraded = map { $_ => 1 } @{ catalog($node, 'postgres') };

	cmp_ok(scalar(keys %fresh), '>', 1000, 'the catalogs say something');
	is(join("\n", grep { !$fresh{$_} } sort keys %upgraded), '', 'the update leaves nothing that is not in a fresh one');
	is(join("\n", grep { !$upgraded{$_} } sort keys %fresh), '', 'and lacks nothing');
}

# -- a dump of the old extension, restored into the new one, as the manual says ------------------------
{
	my ($sed) = slurp_file('doc/install.md') =~ /^(sed -E (?:.*\\\n)*.*) old\.sql > new\.sql$/m;
	my $binding = q{SELECT to_jsonb(b) - '{paused,paused_at,database_oid}'::text[] FROM vibevideo.binding b};

	cli($node, 'CREATE DATABASE restored');
	is(system("$sed $dump > $dump.new"), 0, 'its columns and functions are renamed');
	my ($rc, undef, $err) = $node->psql('restored', slurp_file("$dump.new"), on_error_stop => 1);
	like("$rc$err", qr/^0[^\n]*WARNING:  vibevideo is paused: this database is a copy.*\n.*$/, 'it is restored, and paused');
	is(cli($node, sprintf($jobs, 'orphan'), 'restored'), $before, 'with all jobs');
	is(cli($node, $binding, 'restored'), cli($node, $binding), 'and the table they are for');
	is(cli($node, q{SELECT has_function_privilege('pg_monitor', 'vibevideo_internal.job_message(vibevideo.job)', 'EXECUTE')}, 'restored'), 't', 'and the rights of others');
	is(cli($node, q{SELECT r.endpoint, r.source, r.unit_price_usd, m.max_prompt IS NULL, m.builtin FROM vibevideo.price_rule r JOIN vibevideo.model m USING (endpoint) WHERE r.source = 'operator'}, 'restored') =~ s/^\n//r,
		'acme/of-the-app|operator|0.2500|t|f', 'and what is known of models');
	cli($node, 'DROP DATABASE restored WITH (FORCE)');
}

# -- the jobs run on ---------------------------------------------------------------------------------
wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'vibevideo worker' AND datname = 'postgres'}, '1',
	'the worker is back, without a restart');
$fal->clear_faults;
$fal->call('POST', '/clear', { what => 'rules' });
$fal->default(list_in_flight => JSON::PP::true);
cli($node, 'DROP TRIGGER refuse ON vibelogs');
is(sql($node, "SELECT paused FROM vibevideo.binding"), 'f', 'it is the same database still');
# before fal renders it
wait_for($node, 'SELECT count(*) FROM vibevideo.job WHERE orphan AND state = \'cancelled\'', '1', 'orphan: cancelled', hurry => 1);
$fal->command('*', 'start');
wait_for_status($node, $id{$_}, 'completed', name => "$_: completed") for qw(dirty pending submit_unknown queued generating submitting processing);
is(scalar($fal->renders($_)), 1, "$_: one render") for grep { $_ ne 'failed' } sort keys %id;
is($storage->object($id{$_})->{sha256}, ($fal->renders($_))[0]{media_sha256}, "$_: fal's file is stored")
  for qw(completed dirty pending submit_unknown queued generating submitting processing);
is(scalar(grep { $_->{key} =~ /^$id{processing}/ } @{ $storage->ledger->{tus} }), 1, 'processing: in the upload that 0.1.0 began');
is(($fal->renders('orphan'))[0]{cancel_requested_at} ? 1 : 0, 1, 'orphan: fal was told');
is(sql($node, 'SELECT vibevideo.redrive(max_jobs => 10)'), '1', 'redrive has its new argument');
wait_for_status($node, $id{failed}, 'completed', name => 'failed: completed by another attempt');
is(status_of($node, $id{failed})->{attempt}, 2, 'failed: its second');
wait_for($node, 'SELECT count(*) FROM vibevideo.job WHERE row_dirty OR next_at IS NOT NULL', '0', 'nothing is left to do');
is(sql($node, q{SELECT count(*) FROM vibevideo_internal.slot WHERE kind = 'active' AND day >= current_date}), '0', 'no place of a limit is still taken');
is(sql($node, 'SELECT sum(submits), sum(active), sum(videos), sum(settled_usd) FROM vibevideo.costs'),
	sql($node, q{SELECT count(*), 0, sum(videos), 0.5 * sum(videos) FROM (SELECT billed::int AS videos FROM vibevideo.job WHERE NOT orphan UNION ALL SELECT 1) j}) =~ s/(\.\d)$/${1}000/r,
	'costs hold old and new ones');

# -- a newer extension with this library ---------------------------------------------------------------
$log = -s $node->logfile;
sql($node, q{UPDATE pg_extension SET extversion = '9.9.9' WHERE extname = 'vibevideo'});
is_paused('old library', '9.9.9');
$worker = worker_pid($node);
sql($node, "UPDATE pg_extension SET extversion = '$new' WHERE extname = 'vibevideo'");
my $id = new_row($node, 'fits again');
submit($node, $id);
wait_for_status($node, $id, 'completed');

done_testing();
