# What is counted as jobs begin and end: by the real pipeline, through crashes of
# worker and server, prepared transactions and people's locks; and what the worker
# makes of it.

use strict;
use utf8;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeChaos;
use VibeDocs;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'max_prepared_transactions' => 5,
	'restart_after_crash' => 'on',
	'vibevideo.max_tries' => 2,
	'vibevideo.max_renders' => 1 });

# -- the manual's error codes ------------------------------------------------------------------
{
	my @rows = manual_section('error_codes') =~ /^\| (`.*?) \| ([a-z]+) \|/mg;
	my (%manual, %class);

	while (my ($codes, $class) = splice(@rows, 0, 2))
	{
		$manual{$_} = $class for $codes =~ /`(\w+)`/g;
	}
	cmp_ok(scalar(keys %manual), '>', 50, 'the manual says the classes of its error codes');
	$class{$_} = sql($node, "SELECT vibevideo.error_class('$_')") for keys %manual;
	is_deeply(\%class, \%manual, 'and vibevideo.error_class has the same');
}

# What is counted: outcome, class, orphan, how many, money.
my $counted = q{SELECT outcome, error_class, orphan, sum(n), trim_scale(sum(settled_usd)), trim_scale(sum(returned_usd))
	FROM vibevideo.rollup WHERE seconds = %d GROUP BY 1, 2, 3 ORDER BY 1, 2, 3};

# the same as the history of jobs says, which knows each change of state
sub is_counted
{
	my ($name) = @_;
	my @counts = counted_and_happened($node);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is_deeply([ map { $_->{counted} } @counts ], [ map { $_->{happened} } @counts ], $name);
}

sub restart_worker
{
	my $pid = worker_pid($node);

	sql($node, "SELECT pg_terminate_backend($pid)") if $pid;
	return wait_until(sub { my $now = worker_pid($node); return $now && $now ne $pid }, 'the worker is started anew');
}

# by the worker, in its own time
sub is_folded
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_for($node, 'SELECT count(*) FROM vibevideo_internal.tally', '0', $name, hurry => 1);
}

# -- jobs of all kinds -------------------------------------------------------------------------------
my %id;
{
	$id{$_} = new_row($node, $_) for 'done 1', 'done 2', 'batch 1', 'batch 2', 'policy', 'cancelled', 'busy', 'not stored', 'rolled back';
	$fal->rule('^policy$', outcome => 'policy');
	$fal->rule("^$_\$", hold => 'queue') for 'cancelled', 'rolled back';
	$fal->fault('submit', { kind => 'http', status => 503, body => { detail => 'later' } }, prompt => '^busy$', times => 1);
	$storage->fault('upload', 'slow_down', key => $id{'not stored'}, times => -1);
	submit($node, $id{$_}) for 'done 1', 'done 2', 'policy', 'cancelled', 'busy', 'not stored';
	sql($node, "SELECT count(*) FROM vibevideo_submit_batch(ARRAY['$id{'batch 1'}', '$id{'batch 2'}']::uuid[])");
	sql($node, "BEGIN; SELECT status FROM vibevideo_submit('$id{'rolled back'}'); ROLLBACK");
	sql($node, "SELECT status FROM vibevideo_cancel('$id{cancelled}')");
	wait_for_status($node, $id{$_}, 'completed') for 'done 1', 'done 2', 'batch 1', 'batch 2', 'busy';
	wait_for_status($node, $id{$_}, 'failed') for 'policy', 'not stored';
	wait_for_status($node, $id{cancelled}, 'cancelled');
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE orphan AND state = 'cancelled'}, '1', 'the orphan is cancelled', hurry => 1);
	is_counted('each step is counted once');
	my $expected = join("\n", 'accepted||f|8|0|0', 'accepted||t|1|0|0', 'cancelled||f|1|0|0.5', 'cancelled||t|1|0|0.5', 'completed||f|5|0|0',
		'failed|policy|f|1|0|0.5', 'failed|storage|f|1|0|0', 'rendered||f|6|3|0', 'submitted||f|8|0|0', 'submitted||t|1|0|0');
	is(sql($node, sprintf($counted, 0)), $expected, 'which is what one expects');

	# what was made and not stored is copied again: it ends a second time, and costs nothing
	$storage->clear_faults;
	is(video($node, "vibevideo_retry('$id{'not stored'}')")->{status}, 'processing', 'the copy is tried again');
	wait_for_status($node, $id{'not stored'}, 'completed');
	is_counted('it ends twice, and is paid once');
	like(sql($node, sprintf($counted, 0)), qr/^completed\|\|f\|6\|.*^failed\|storage\|f\|1\|.*^rendered\|\|f\|6\|3\|0$/ms, 'as it says');
	is(sql($node, 'SELECT sum(settled_usd) FROM vibevideo.rollup WHERE seconds = 3600'), sql($node, 'SELECT sum(settled_usd) FROM vibevideo.costs'), 'as the costs say');
	is(sql($node, q{SELECT bytes > 0 AND bytes = (SELECT sum(bytes_done) FROM vibevideo.job WHERE state = 'completed') FROM
		(SELECT sum(bytes) AS bytes FROM vibevideo.rollup WHERE seconds = 60) x}), 't', 'and all bytes');
}

# -- what the worker makes of it -----------------------------------------------------------------------
{
	is_folded('the worker folds what was noted');
	is_counted('nothing is lost in that');
	my $typical = q{SELECT n, wait_p50 < '1 min', render_p50 < '1 min', render_p50 <= render_p90, copy_p50 < '1 min', total_p50 <= total_p90 FROM vibevideo.typical WHERE model = 'fal-ai/minimax/video-01'};
	# a worker that starts looks at once, then once a minute at most
	restart_worker();
	wait_for($node, $typical, '6|t|t|t|t|t', 'and says what is typical');
	is(sql($node, q{SELECT sum(value) FROM vibevideo.series('completed', now() - interval '1 hour', '1 minute')}), '6', 'a chart has it');
	my $lines = sql($node, q{SELECT count(*) FROM vibevideo.series('errors', now() - interval '1 day', '1 hour') WHERE value > 0});
	is($lines, '2', 'and the errors');

	# the backlog, while there is one, and after it; of a minute it keeps the most that was seen, so that of
	# what came before nothing may be left
	sql($node, 'TRUNCATE vibevideo.backlog');
	my $held = new_row($node, 'held');
	$fal->rule('^held$', hold => 'queue');
	submit($node, $held);
	restart_worker();
	my $backlog = q{SELECT seconds, queued + generating FROM vibevideo.backlog WHERE at = (SELECT max(b.at) FROM vibevideo.backlog b WHERE b.seconds = 60)
		AND seconds = 60};
	wait_for($node, $backlog, '60|1', 'the worker looks at the backlog');
	$fal->command('*', 'finish');
	wait_for_status($node, $held, 'completed');
	restart_worker();
	wait_for($node, q{SELECT idle FROM vibevideo.backlog WHERE seconds = 86400 ORDER BY at DESC LIMIT 1}, 't', 'and sees that there is none');
	is_counted('restarts have changed nothing');

	# old periods
	sql($node, <<'SQL');
INSERT INTO vibevideo_internal.rollup_level SELECT l.seconds, vibevideo_internal.period(l.seconds, now() - l.age), 'submitted', 'acme/old', '', false, 1, 0, 0, 0, 0, 0, 0, 0
FROM (VALUES (60, interval '15 days'), (300, interval '15 days'), (3600, interval '15 days'), (3600, interval '401 days'), (86400, interval '402 days')) AS l(seconds, age);
INSERT INTO vibevideo.backlog SELECT 60, vibevideo_internal.period(60, now() - interval '15 days'), 1, 0, 0, 0, 0, 0, true;
SQL
	restart_worker();
	wait_for($node, q{SELECT string_agg(seconds::text, ' ') FROM vibevideo_internal.rollup_level WHERE model = 'acme/old'}, '3600', 'the worker thins what is old', hurry => 1);
	is(sql($node, q{SELECT count(*) FROM vibevideo.backlog WHERE at < now() - interval '14 days'}), '0', 'of the backlog, too');
}

# -- crashes ------------------------------------------------------------------------------------------------
sub batch_of
{
	my ($name, $n) = @_;

	sql($node, "INSERT INTO vibelogs (prompt) SELECT '$name ' || i FROM generate_series(1, $n) i");
	sql($node, "SELECT count(*) FROM vibevideo_submit_batch(ARRAY(SELECT id FROM vibelogs WHERE prompt LIKE '$name %'))");
	return;
}

sub all_end
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_for($node, 'SELECT count(*) FROM vibevideo.job WHERE next_at IS NOT NULL', '0', $name, hurry => 1);
}

{
	$fal->rule('^killed .*7$', outcome => 'policy');
	batch_of('killed', 60);
	for my $share (10, 30, 50)
	{
		wait_for($node, "SELECT count(*) >= $share FROM vibevideo.job j JOIN vibelogs v ON v.id::text = j.vibelog_id WHERE v.prompt LIKE 'killed %' AND j.next_at IS NULL", 't',
			"$share have ended", hurry => 1);
		my $pid = worker_pid($node);
		my $log = -s $node->logfile;
		kill('KILL', $pid) or next;
		wait_until(sub { slurp_file($node->logfile, $log) =~ /database system is ready to accept connections/ },
			'the worker is killed, and with it all sessions');
	}
	all_end('all of them end');
	is_counted('each is counted once, though the worker was killed three times');

	batch_of('crashed', 20);
	wait_for($node, q{SELECT count(*) >= 5 FROM vibevideo.job j JOIN vibelogs v ON v.id::text = j.vibelog_id WHERE v.prompt LIKE 'crashed %' AND j.next_at IS NULL}, 't', 'some have ended', hurry => 1);
	$node->stop('immediate');
	$node->start;
	all_end('the others end after a crash of the server');
	is_counted('and each is counted once');
	is_folded('all of it is folded');
	is_counted('and still is the same');
	is(sql($node, sprintf($counted, 86400)), sql($node, sprintf($counted, 0)), 'days say the same as all time');
	is(sql($node, sprintf($counted, 60)), sql($node, sprintf($counted, 0)), 'and minutes');
}

# -- a dump, and jobs that are deleted ------------------------------------------------------------------------
{
	my $dump = $node->basedir . '/dump.sql';
	my $sums = q{SELECT seconds, outcome, model, error_class, orphan, sum(n), sum(wait_ms), sum(render_ms), sum(copy_ms), sum(total_ms), sum(bytes), sum(settled_usd),
		vibevideo.histogram_sum(wait), vibevideo.histogram_sum(render), vibevideo.histogram_sum(copy), vibevideo.histogram_sum(total)
		FROM vibevideo.rollup GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5};

	# some that is folded, and some that is not
	sql($node, q{SELECT vibevideo.pause('all', 'a dump')});
	sql($node, "SELECT vibevideo_cancel('" . new_row($node, 'dumped') . "')");
	my $dumped = new_row($node, 'dumped, not sent');
	sql($node, "SELECT status FROM vibevideo_submit('$dumped'); SELECT status FROM vibevideo_cancel('$dumped')");
	cmp_ok(sql($node, 'SELECT count(*) FROM vibevideo_internal.tally'), '>=', 2, 'in a pause what is noted stays');
	my $before = sql($node, $sums);
	command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'a dump');
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'is restored');
	is(sql($node, $sums, 'restored'), $before, 'with all counts, and none is counted twice');
	is(sql($node, 'SELECT count(*) FROM vibevideo.typical', 'restored'), '0', 'what is typical is left out');
	sql($node, 'DELETE FROM vibevideo.job', 'restored');
	is(sql($node, $sums, 'restored'), $before, 'deleted jobs were there all the same');
	$node->safe_psql('postgres', 'DROP DATABASE restored WITH (FORCE)');
	sql($node, 'SELECT vibevideo.resume()');
}

# -- nobody waits ------------------------------------------------------------------------------------------------
{
	# a prepared transaction holds what it has noted, and its session goes on
	my @id = map { new_row($node, "prepared $_") } 1 .. 2;
	my $session = VibeTest::Session->start($node);
	$session->ask(q{SET vibevideo.notify = off; SET lock_timeout = '5s'; SET vibevideo.fal_queue_url = 'http://127.0.0.1:9'});
	sql($node, q{SELECT vibevideo.pause('all', 'so that nothing is sent')});
	my ($well, $out) = $session->ask("BEGIN; SELECT count(*) FROM vibevideo_submit_batch(ARRAY['$id[0]']::uuid[]); SELECT status FROM vibevideo_cancel('$id[0]'); PREPARE TRANSACTION 'p'");
	is("$well $out", "1 1\ncancelled", 'a transaction in which a job begins and ends is prepared');
	($well, $out) = $session->ask("SELECT count(*) FROM vibevideo_submit_batch(ARRAY['$id[1]']::uuid[]); SELECT status FROM vibevideo_cancel('$id[1]'); SELECT vibevideo_internal.fold_tallies(1000) > 0");
	is("$well $out", "1 1\ncancelled\nt", 'the same session ends another one in the same minute, and folds it');
	is_counted('one of them is counted');
	sql($node, q{COMMIT PREPARED 'p'});
	is_counted('then both');
	sql($node, 'SELECT vibevideo.resume()');

	# somebody holds rows of the rollup
	my $person = VibeTest::Session->start($node);
	$person->ask('BEGIN; SELECT count(*) FROM (SELECT FROM vibevideo_internal.rollup_level FOR UPDATE) x');
	my $log = -s $node->logfile;
	my $other = new_row($node, 'meanwhile');
	submit($node, $other);
	wait_for_status($node, $other, 'completed');
	wait_until(sub { hurry($node); return slurp_file($node->logfile, $log) =~ /put off "adding to the rollup"/ }, 'the worker puts off folding, and nothing else');
	is_counted('what it could not fold is counted all the same');
	$person->ask('ROLLBACK');
	is_folded('and folded when that is over');
	is_counted('once');
}

done_testing();
