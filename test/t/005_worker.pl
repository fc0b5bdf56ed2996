# The background worker: where it runs, what it does not stand in the way of,
# and that nothing is lost or paid twice when it, or the server, goes down.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal(default => { queue_ms => 0, run_ms => 0 });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage,
	init => { allows_streaming => 1 },
	conf => { restart_after_crash => 'on', max_prepared_transactions => 2, 'vibevideo.stall_timeout' => '60s' });

my $workers = q{SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_stat_activity WHERE backend_type = 'vibevideo worker'};

# Runs a statement that must come back soon.
sub returns_soon
{
	my ($sql, $name, $database) = @_;
	my $timed_out = 0;
	my ($rc, $out, $err) = $node->psql($database || 'postgres', $sql, timeout => 20, timed_out => \$timed_out);

	ok(!$timed_out && $rc == 0, $name) or diag($timed_out ? 'it did not come back' : $err);
	return;
}

# A row in the middle of its copy, which moves one byte in a while the first
# time and is quick after that.
sub row_in_copy
{
	my ($prompt, $database) = @_;
	my $id = new_row($node, $prompt, $database);

	$fal->fault('media', { kind => 'slow', bytes_per_s => 20000 }, prompt => "^$prompt\$", times => 1);
	submit($node, $id, $database);
	wait_for($node, "SELECT state, bytes_done > 0 FROM vibevideo.job WHERE vibelog_id = '$id'", 'processing|t',
		"$prompt: the copy is under way", hurry => 1, database => $database);
	return $id;
}

sub made_once
{
	my ($id, $prompt) = @_;
	my @renders = $fal->renders($prompt);
	my @objects = grep { $_->{key} =~ /^$id/ } @{ $storage->ledger->{objects} };

	is(scalar(@renders), 1, "$prompt: one render");
	is(scalar(@objects), 1, "$prompt: one object");
	is($objects[0]{sha256}, $renders[0]{media_sha256}, "$prompt: which is fal's file");
	return;
}

# -- where it runs -------------------------------------------------------------------------
{
	$node->safe_psql('postgres', 'CREATE DATABASE second');
	$node->safe_psql('postgres', 'CREATE DATABASE third');
	create_app($node, 'second');
	wait_for($node, $workers, 'postgres second', 'a worker runs in each database with the extension');
	$node->restart;
	wait_for($node, $workers, 'postgres second', 'and again after a restart');
	is(sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'vibevideo launcher'}), '1', 'there is one launcher');
	wait_for($node, q{SELECT query FROM pg_stat_activity WHERE backend_type = 'vibevideo worker' AND datname = 'postgres'}, 'waiting for work',
		'pg_stat_activity tells what it does');
	my $id = new_row($node, 'in the second database', 'second');
	submit($node, $id, 'second');
	wait_for($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$id'", 'completed', 'the second database\'s worker works',
		database => 'second', hurry => 1);
}

# -- it stands in nobody's way -----------------------------------------------------------------
{
	my @ids = map { new_row($node, "hangs in $_") } qw(submit status media);
	my $pid = worker_pid($node);

	$fal->fault($_, 'hang', prompt => "^hangs in $_\$", times => -1) for qw(submit status media);
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	wait_for($node, "SELECT query FROM pg_stat_activity WHERE pid = $pid", qr/^sending 1, polling 1, copying 1/,
		'a submit, a question and a copy hang', hurry => 1);
	is(sql($node, "SELECT xact_start IS NULL, backend_xid IS NULL, backend_xmin IS NULL, wait_event_type FROM pg_stat_activity WHERE pid = $pid"),
		't|t|t|Extension', 'the worker holds no transaction meanwhile');
	is(sql($node, "SELECT count(*) FROM pg_locks WHERE pid = $pid AND locktype <> 'virtualxid'"), '0', 'and no lock');
	returns_soon('CREATE DATABASE passing', 'CREATE DATABASE does not wait for it');
	returns_soon('CREATE DATABASE passing2 STRATEGY file_copy', 'nor if the files are copied');
	returns_soon('DROP DATABASE passing', 'nor does DROP DATABASE');
	returns_soon('VACUUM FULL vibevideo.job', 'nor VACUUM FULL of our own table');
	returns_soon('CHECKPOINT', 'nor CHECKPOINT');
	is(worker_pid($node), $pid, 'the worker is still the same');
	$fal->clear_faults;
	sql($node, "SELECT pg_terminate_backend($pid)");
	# what was being sent is unknown; the others go on
	wait_for_status($node, $_, 'completed') for @ids[ 1, 2 ];
	made_once($ids[1], 'hangs in status');
	made_once($ids[2], 'hangs in media');
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$ids[0]'", 'submit_unknown', 'the submit that hung is unknown');
	is(scalar($fal->renders('hangs in submit')), 0, 'and was not sent again');
}

# -- it is ended --------------------------------------------------------------------------------
{
	my $id = row_in_copy('terminated');
	my $pid = worker_pid($node);

	sql($node, "SELECT pg_terminate_backend($pid)");
	wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'vibevideo worker' AND datname = 'postgres' AND pid <> $pid", '1',
		'a terminated worker is followed by a new one');
	wait_for_status($node, $id, 'completed');
	made_once($id, 'terminated');
	is(job_of($node, $id)->{crashes}, 0, 'that was no crash');
}

# -- an error ------------------------------------------------------------------------------------
{
	my $id = new_row($node, 'after an error');
	my $log = -s $node->logfile;

	sql($node, 'ALTER TABLE vibevideo.job RENAME TO job_away; SELECT vibevideo.wake()');
	wait_until(sub { slurp_file($node->logfile, $log) =~ /ERROR:  (relation|extension) "vibevideo/ }, 'the worker meets an error');
	sql($node, 'ALTER TABLE vibevideo.job_away RENAME TO job; SELECT vibevideo.wake()');
	submit($node, $id);
	wait_for_status($node, $id, 'completed', name => 'and goes on when the cause is mended');
	is(sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'vibevideo worker' AND datname = 'postgres'}), '1', 'one worker is there');
}

# -- settings ------------------------------------------------------------------------------------
{
	my $id = new_row($node, 'asked rarely');
	my $pid = worker_pid($node);

	$fal->rule('^asked rarely$', run_ms => 3600000);
	submit($node, $id);
	wait_for_status($node, $id, 'generating');
	wait_for($node, "SELECT next_at < now() + interval '10 s' FROM vibevideo.job WHERE vibelog_id = '$id'", 't', 'a job is asked about soon again');
	sql($node, q{ALTER SYSTEM SET vibevideo.poll_interval = '1h'; SELECT pg_reload_conf()});
	wait_for($node, "SELECT next_at > now() + interval '30 min' FROM vibevideo.job WHERE vibelog_id = '$id' AND leased_by IS NULL", 't',
		'a reload changes the interval', hurry => 1);
	is(worker_pid($node), $pid, 'in the running worker');
	sql($node, q{ALTER SYSTEM RESET vibevideo.poll_interval; ALTER SYSTEM SET vibevideo.worker_idle_timeout = '1s'; SELECT pg_reload_conf()});
	$fal->command(job_of($node, $id)->{request_id}, 'finish');
	wait_for_status($node, $id, 'completed');
}

# -- nothing to do ----------------------------------------------------------------------------------
{
	# what is unknown is looked for, which is work
	sql($node, q{DELETE FROM vibevideo.job WHERE state = 'submit_unknown'; SELECT vibevideo.wake()});
	wait_for($node, "$workers AND datname = 'postgres'", '', 'a worker without work ends');
	my $id = new_row($node, 'work again');
	submit($node, $id);
	wait_for_status($node, $id, 'completed', hurry => 0);
	wait_for($node, "$workers AND datname = 'postgres'", '', 'and ends again');

	# nobody would wake it when a prepared transaction is committed
	my $prepared = new_row($node, 'prepared');
	sql($node, "SET vibevideo.notify = off; BEGIN; SELECT FROM vibevideo_submit_batch('{$prepared}'); PREPARE TRANSACTION 'p'; RESET vibevideo.notify");
	wait_for($node, q{SELECT heartbeat_at - started_at > '3 s' FROM vibevideo.worker_info()}, 't', 'it stays while a transaction is prepared', hurry => 1);
	sql($node, q{COMMIT PREPARED 'p'});
	# it would look by itself, but within a minute
	wait_for_status($node, $prepared, 'completed');
	wait_for($node, "$workers AND datname = 'postgres'", '', 'then it ends');
	sql($node, q{ALTER SYSTEM RESET vibevideo.worker_idle_timeout; SELECT pg_reload_conf()});
}

# -- the app's side ------------------------------------------------------------------------------------
{
	my ($bad, $good) = map { new_row($node, "trigger $_") } qw(bad good);

	$fal->rule('^trigger ', run_ms => 3600000);
	submit($node, $_) for $bad, $good;
	sql($node, <<'SQL');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not today''; END';
CREATE TRIGGER refuse BEFORE UPDATE ON vibelogs FOR EACH ROW WHEN (NEW.prompt IN ('trigger bad', 'trigger worse')) EXECUTE FUNCTION refuse();
SQL
	$fal->command(job_of($node, $_)->{request_id}, 'finish') for $bad, $good;
	wait_for_status($node, $good, 'completed');
	wait_for($node, "SELECT state, row_error FROM vibevideo.job WHERE vibelog_id = '$bad' AND row_dirty", qr/^completed\|not today \(SQLSTATE P0001\), in PL\/pgSQL function refuse\(\) line 1 at RAISE$/,
		'a trigger that raises: the job completes, and knows', hurry => 1);
	is(status_of($node, $bad)->{status}, 'completed', 'vibevideo_status tells the truth');
	like(sql($node, q{SELECT status, detail FROM vibevideo.check_config() WHERE check_name = 'unwritten_rows'}), qr/^warn\|.*not today/, 'check_config, too');
	like(slurp_file($node->logfile), qr/could not write row "$bad" of table .*: not today .*refuse\(\) line 1/, 'and the log');
	my $called = new_row($node, 'trigger worse');
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT vibevideo_submit_batch(ARRAY['$called']::uuid[])");
	like($err, qr/could not write 1 row yet.*\nDETAIL:  .* Row "$called": not today .*, in .*refuse\(\)/, 'and whoever calls');
	sql($node, "SELECT vibevideo_cancel('$called')");
	sql($node, 'DROP TRIGGER refuse ON vibelogs; UPDATE vibevideo.job SET row_next_at = now() WHERE row_dirty; SELECT vibevideo.wake()');
	wait_for_status($node, $bad, 'completed', name => 'without the trigger the row is written');
	made_once($bad, 'trigger bad');

	my ($locked, $free) = map { new_row($node, "lock $_") } qw(held free);
	$fal->rule('^lock ', run_ms => 3600000);
	submit($node, $_) for $locked, $free;
	my $session = background_sql($node);
	$session->query_safe("BEGIN; SELECT FROM vibelogs WHERE id = '$locked' FOR UPDATE");
	$fal->command(job_of($node, $_)->{request_id}, 'finish') for $locked, $free;
	wait_for_status($node, $free, 'completed', name => 'a locked row does not hold up others');
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$locked'", 'completed', 'nor its own job', hurry => 1);
	wait_for($node, "SELECT row_tries > 0, row_error IS NULL FROM vibevideo.job WHERE vibelog_id = '$locked'", 't|t', 'the worker passes over the row, without running into lock_timeout');
	is(sql($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$locked'"), 'queued', 'the row waits');
	$session->query_safe('COMMIT');
	$session->quit;
	wait_for_status($node, $locked, 'completed', name => 'and follows when it is free');

	# a write that was put off until a newer attempt had the row
	my $twice = new_row($node, 'twice');
	my $refuse = sub {
		$fal->fault('submit', { kind => 'http', status => 422, body => { detail => 'no' } }, prompt => '^twice$');
		submit($node, $twice);
		wait_for_status($node, $twice, 'failed');
	};
	$refuse->();
	video($node, "vibevideo_retry('$twice')");
	wait_for_status($node, $twice, 'completed');
	my $made = sql($node, "SELECT video_url, video_generated_at FROM vibelogs WHERE id = '$twice'");
	my $late = sub {
		my ($attempt) = @_;
		sql($node, "UPDATE vibevideo.job SET row_dirty = true, row_next_at = now() WHERE vibelog_id = '$twice' AND attempt = $attempt; SELECT vibevideo.wake()");
		wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$twice' AND row_dirty", '0', "the late write of attempt $attempt is done");
	};
	$late->(1);
	is(sql($node, "SELECT video_generation_status, video_request_id = (SELECT request_id FROM vibevideo.job WHERE vibelog_id = '$twice' AND attempt = 2) FROM vibelogs WHERE id = '$twice'"),
		'completed|t', 'an older attempt that failed does not get into the row');
	$refuse->();
	sql($node, "UPDATE vibelogs SET video_url = NULL, video_generated_at = NULL WHERE id = '$twice'");
	$late->(2);
	is(sql($node, "SELECT video_url, video_generated_at, video_generation_status FROM vibelogs WHERE id = '$twice'"), "$made|failed",
		'but the video of one before a failure does');

	my $gone = new_row($node, 'row is deleted');
	$fal->rule('^row is deleted$', run_ms => 3600000);
	submit($node, $gone);
	sql($node, "DELETE FROM vibelogs WHERE id = '$gone'");
	$fal->command(job_of($node, $gone)->{request_id}, 'finish');
	wait_for($node, "SELECT state, row_dirty FROM vibevideo.job WHERE vibelog_id = '$gone'", 'completed|f', 'a deleted row does not stop its job', hurry => 1);
}

# -- DROP EXTENSION ------------------------------------------------------------------------------------------
{
	my $id = row_in_copy('dropped in the middle', 'second');

	returns_soon('DROP EXTENSION vibevideo', 'DROP EXTENSION does not wait for a copy', 'second');
	wait_for($node, $workers, 'postgres', 'the worker leaves');
	is($node->safe_psql('second', "SELECT video_generation_status, video_request_id IS NOT NULL FROM vibelogs WHERE id = '$id'"), 'processing|t',
		'the app keeps its columns and rows');
	$node->safe_psql('second', q{CREATE EXTENSION vibevideo; SELECT vibevideo.attach('vibelogs')});
	wait_for($node, $workers, 'postgres second', 'created again, the worker is back');
	is($node->safe_psql('second', q{SELECT vibevideo.reset_stuck('0')}), '1', 'the row can be reset');
	submit($node, $id, 'second');
	wait_for($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$id'", 'completed', 'and its video made', database => 'second', hurry => 1);
}

# -- DROP DATABASE ---------------------------------------------------------------------------------------------
{
	my $log = -s $node->logfile;

	row_in_copy('database is dropped', 'second');
	returns_soon('DROP DATABASE second WITH (FORCE)', 'a database with a busy worker can be dropped');
	wait_for($node, $workers, 'postgres', 'its worker is gone');
	my $id = new_row($node, 'others go on');
	submit($node, $id);
	wait_for_status($node, $id, 'completed');
	my @noise = slurp_file($node->logfile, $log) =~ /FATAL:  database \d+ does not exist/g;
	cmp_ok(scalar(@noise), '<=', 1, 'nobody looks for it again and again');
}

# -- the server goes down ------------------------------------------------------------------------------------------
my %down = (
	'fast restart' => sub { $node->restart },
	'immediate stop' => sub { $node->stop('immediate'); $node->start },
	'kill -9 of the worker' => sub {
		my $pid = worker_pid($node);
		my $log = -s $node->logfile;

		kill 'KILL', $pid;
		wait_until(sub { slurp_file($node->logfile, $log) =~ /database system is ready to accept connections/ }, 'the server restarts by itself');
		wait_for($node, 'SELECT 1', '1', 'and answers');
	});
for my $name (sort keys %down)
{
	my ($running, $sending) = map { new_row($node, "$_, then $name") } qw(running sending);

	$fal->rule("^running, then $name\$", run_ms => 3600000);
	$fal->rule("^sending, then $name\$", submit_ms => 1500);
	submit($node, $running);
	wait_for_status($node, $running, 'generating');
	my $copying = row_in_copy("copying, then $name");
	my $before = $fal->ledger('?jobs=0')->{accepted};
	sql($node, "SELECT vibevideo_submit_batch('{$sending}')");
	wait_until(sub { $fal->ledger('?jobs=0')->{accepted} > $before }, "$name: a submit is in the air");

	$down{$name}->();
	$fal->command(job_of($node, $running)->{request_id}, 'finish');
	for my $case ([ $running, 'running' ], [ $copying, 'copying' ], [ $sending, 'sending' ])
	{
		wait_for_status($node, $case->[0], 'completed', name => "$name: what was $case->[1] is completed");
		made_once($case->[0], "$case->[1], then $name");
	}
	is(job_of($node, $copying)->{crashes}, 0, "$name: the jobs are in order");
}

# -- standby and promotion ---------------------------------------------------------------------------------------------
{
	my $id = new_row($node, 'on the primary');

	$fal->rule('^on the primary$', run_ms => 3600000);
	submit($node, $id);
	wait_for_status($node, $id, 'generating');
	$node->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	$node->wait_for_catchup($standby, 'replay');
	is(status_of($standby, $id)->{status}, 'generating', 'a standby tells the status');
	is((sql_error($standby, 'SELECT vibevideo_poll()'))[0], '25006', 'but does not poll');
	is(sql($standby, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'vibevideo%'}), '0', 'and has no worker');

	$node->stop('immediate');
	$fal->command('*', 'finish');
	$standby->promote;
	wait_for_status($standby, $id, 'completed', name => 'once promoted it goes on');
	made_once($id, 'on the primary');
	$standby->stop;
}

# -- not preloaded ---------------------------------------------------------------------------------------------------------
{
	my $bare = vibe_node('bare', app => 0, conf => {
		shared_preload_libraries => undef, map { ("vibevideo.$_" => undef) } qw(poll_interval backoff_base backoff_max) });

	for my $sql ('CREATE EXTENSION vibevideo', q{LOAD 'vibevideo'})
	{
		my ($state, $text) = sql_error($bare, $sql);
		is($state, '55000', "$sql without shared_preload_libraries is refused");
		like($text, qr/must be loaded via "shared_preload_libraries"/, 'the message says why');
		like($text, qr/HINT:  .*shared_preload_libraries = 'vibevideo', and restart/, 'the hint says what to do');
	}
}

done_testing();
