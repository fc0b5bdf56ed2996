# A submit sent to fal.ai cannot be rolled back, so the journal remembers it
# outside the transaction.  Here transactions end in every bad way there is:
# what fal accepted for nobody is cancelled there, what was committed is not.

use strict;
use warnings FATAL => 'all';

BEGIN { $ENV{VIBETEST_TIMEOUT} ||= 400; }

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use VibeTest;
use VibeChaos;

my $true = JSON::PP::true;
my $fal = start_fal(default => { list_in_flight => $true });
my $storage = start_storage();
my $node = vibe_node(
	'main',
	fal => $fal,
	storage => $storage,
	conf => {
		'restart_after_crash' => 'on',
		'max_prepared_transactions' => 4,
		'vibevideo.submit_timeout' => '60s',
		'vibevideo.unknown_after' => '2s' });

# Renders wait until the test is done with them: only a cancel ends them.
$fal->rule('^held: ', hold => 'queue');

sub renders
{
	my ($prompt) = @_;

	return $fal->renders($prompt);
}

# What became of a submit that was rolled back: its render is cancelled, an
# orphan is what is left of it, the row shows nothing.
sub is_cancelled
{
	my ($id, $prompt, $nrenders) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$nrenders = 1 unless defined $nrenders;
	wait_until(
		sub {
			return 0 if journal_files($node);
			my $orphans = sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id' AND orphan AND state = 'cancelled'");
			return 1 if $orphans >= 1;
			hurry($node);
			sleep(0.2);
			return 0;
		},
		"$prompt: the orphan is cancelled");
	is(scalar(renders($prompt)), $nrenders, "$prompt: fal accepted $nrenders");
	is(scalar(grep { $_->{cancel_requested_at} } renders($prompt)), $nrenders, "$prompt: and was told to cancel it");
	is(sql($node, "SELECT video_generation_status IS NULL AND video_request_id IS NULL AND video_generation_error IS NULL FROM vibelogs WHERE id = '$id'"),
		't', "$prompt: the row shows nothing of it");
	is(status_of($node, $id)->{message}, 'No video has been requested', "$prompt: nor does vibevideo_status");
	return;
}

sub is_kept
{
	my ($id, $prompt) = @_;
	my ($render, @more) = renders($prompt);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(scalar(@more), 0, "$prompt: one render");
	is($render->{cancel_requested_at}, undef, "$prompt: which nobody cancels");
	is(sql($node, "SELECT video_generation_status, video_request_id FROM vibelogs WHERE id = '$id'"),
		"queued|$render->{request_id}", "$prompt: and which the row shows");
	return;
}

# -- transactions that end by themselves ------------------------------------------
{
	my $prompt = 'held: rollback';
	my $id = new_row($node, $prompt);

	sql($node, "BEGIN; SELECT FROM vibevideo_submit('$id'); ROLLBACK");
	is_cancelled($id, $prompt);

	my $video = submit($node, $id);
	is($video->{attempt}, 1, "$prompt: the next submit is attempt 1");
	is(scalar(grep { !$_->{cancel_requested_at} } renders($prompt)), 1, "$prompt: with a render of its own");
}
{
	my $prompt = 'held: savepoint';
	my ($id, $kept) = (new_row($node, $prompt), new_row($node, "$prompt, kept"));

	sql($node,
		"BEGIN; SELECT FROM vibevideo_submit('$kept'); SAVEPOINT a; SELECT FROM vibevideo_submit('$id'); ROLLBACK TO a; COMMIT");
	is_cancelled($id, $prompt);
	is_kept($kept, "$prompt, kept");
}
{
	my $prompt = 'held: released';
	my $id = new_row($node, $prompt);

	sql($node, "BEGIN; SAVEPOINT a; SELECT FROM vibevideo_submit('$id'); RELEASE a; COMMIT");
	is_kept($id, $prompt);
	is(scalar(journal_files($node)), 0, "$prompt: the commit empties the journal at once");
}
{
	my $prompt = 'held: outer savepoint';
	my $id = new_row($node, $prompt);

	sql($node,
		"BEGIN; SAVEPOINT a; SAVEPOINT b; SELECT FROM vibevideo_submit('$id'); RELEASE b; ROLLBACK TO a; COMMIT");
	is_cancelled($id, $prompt);
}
{
	my $prompt = 'held: caught';
	my ($id, $kept) = (new_row($node, $prompt), new_row($node, "$prompt, kept"));

	sql($node, <<"SQL");
DO \$\$
BEGIN
	BEGIN
		PERFORM vibevideo_submit('$id');
		RAISE 'the app changes its mind';
	EXCEPTION WHEN raise_exception THEN
		PERFORM vibevideo_submit('$kept');
	END;
END
\$\$;
SQL
	is_cancelled($id, $prompt);
	is_kept($kept, "$prompt, kept");
}
{
	my $prompt = 'held: a later error';
	my $id = new_row($node, $prompt);

	sql_error($node, "BEGIN; SELECT FROM vibevideo_submit('$id'); SELECT 1/0; COMMIT");
	is_cancelled($id, $prompt);
}
{
	my $prompt = 'held: deferred constraint';
	my $id = new_row($node, $prompt);

	sql($node, 'CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)');
	my ($state) = sql_error($node, "BEGIN; INSERT INTO child VALUES (1); SELECT FROM vibevideo_submit('$id'); COMMIT");
	is($state, '23503', "$prompt: the commit fails");
	is_cancelled($id, $prompt);
}
{
	my $prompt = 'held: prepared';
	my $id = new_row($node, $prompt);
	my ($state, $text) = sql_error($node, "BEGIN; SELECT FROM vibevideo_submit('$id'); PREPARE TRANSACTION 'p'");

	is($state, '0A000', "$prompt: PREPARE TRANSACTION is refused");
	like($text, qr/vibevideo_submit_batch/, "$prompt: the hint names the way that works");
	is_cancelled($id, $prompt);
	is(sql($node, 'SELECT count(*) FROM pg_prepared_xacts'), '0', "$prompt: nothing is prepared");

	my $batch = new_row($node, "$prompt, batch");
	# a transaction that notifies cannot be prepared
	sql($node, "SET vibevideo.notify = off; BEGIN; SELECT FROM vibevideo_submit_batch('{$batch}'); PREPARE TRANSACTION 'p'");
	is(scalar(renders("$prompt, batch")), 0, "$prompt, batch: nothing is sent before the commit");
	sql($node, "COMMIT PREPARED 'p'; RESET vibevideo.notify; SELECT vibevideo.wake()");
	wait_for($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$batch' AND video_request_id IS NOT NULL",
		'queued', "$prompt, batch: the batch function can be prepared");
}

# -- several in one transaction ------------------------------------------------------
{
	my @ids = map { new_row($node, "held: several $_") } 1 .. 6;

	# 3 is rolled back alone, 4 and 5 together with their savepoints
	sql($node, <<"SQL");
BEGIN;
SELECT FROM vibevideo_submit('$ids[0]');
SAVEPOINT a;
SELECT FROM vibevideo_submit('$ids[1]');
RELEASE a;
SAVEPOINT b;
SELECT FROM vibevideo_submit('$ids[2]');
ROLLBACK TO b;
SAVEPOINT c;
SELECT FROM vibevideo_submit('$ids[3]');
SAVEPOINT d;
SELECT FROM vibevideo_submit('$ids[4]');
ROLLBACK TO c;
SELECT FROM vibevideo_submit('$ids[5]');
COMMIT;
SQL
	is_cancelled($ids[$_], 'held: several ' . ($_ + 1)) for 2 .. 4;
	is_kept($ids[$_], 'held: several ' . ($_ + 1)) for 0, 1, 5;
}
{
	my $n = 200;
	my $ids = join(',', map { "'$_'" } split /\n/,
		sql($node, "INSERT INTO vibelogs (prompt) SELECT 'held: many' FROM generate_series(1, $n) RETURNING id"));

	sql($node, "BEGIN; SELECT vibevideo_submit(id) FROM vibelogs WHERE prompt = 'held: many'; ROLLBACK");
	is(scalar(renders('held: many')), $n, "fal accepted $n submits of one transaction");
	wait_until(
		sub {
			return 1 if !journal_files($node) && !grep { !$_->{cancel_requested_at} } renders('held: many');
			hurry($node);
			sleep(0.2);
			return 0;
		},
		'after its rollback all are cancelled');
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE orphan AND state = 'cancelled' AND vibelog_id IN ($ids)", $n,
		'with an orphan each', hurry => 1);
	is(sql($node, "SELECT count(*) FROM vibelogs WHERE id IN ($ids) AND video_generation_status IS NULL"), $n, 'and rows that show nothing');
}

# One session, many transactions: what one leaves must not be lost to the next.
{
	my @gone = map { new_row($node, "held: mixed, gone $_") } 1 .. 10;
	my @kept = map { new_row($node, "held: mixed, kept $_") } 1 .. 10;
	my $statements = '';

	for my $i (0 .. 9)
	{
		$statements .= "BEGIN; SELECT FROM vibevideo_submit('$gone[$i]'); ROLLBACK; SELECT FROM vibevideo_submit('$kept[$i]');\n";
	}
	# while nobody can settle
	my $worker = worker_pid($node);
	kill('STOP', $worker) if $worker;
	sql($node, $statements);
	kill('CONT', $worker) if $worker;
	is_cancelled($gone[$_], 'held: mixed, gone ' . ($_ + 1)) for 0 .. 9;
	is_kept($kept[$_], 'held: mixed, kept ' . ($_ + 1)) for 0 .. 9;
}

# -- sessions that are ended from outside, fal having the request or not -----------------
sub interrupt
{
	my ($name, $how) = @_;

	for my $accepted (1, 0)
	{
		my $prompt = "held: $name, " . ($accepted ? 'accepted' : 'not accepted');
		my $id = new_row($node, $prompt);
		my ($session, $pid) = hung_submit($node, $fal, $id, $accepted ? 'hang_after' : 'hang', $prompt,
			$name eq 'statement_timeout' ? "SET statement_timeout = '1s'" : ());

		is(scalar(renders($prompt)), $accepted, "$prompt: fal has $accepted");
		# a slow machine may see the timeout first
		isnt(scalar(journal_files($node)), 0, "$prompt: the intent was there before the request") unless $name eq 'statement_timeout';
		$how->($pid, $session);
		wait_up($node);
		is_cancelled($id, $prompt, $accepted);
		eval { $session->quit; 1 } or eval { $session->{run}->kill_kill; 1 };
		$fal->clear_faults;
	}
	return;
}

interrupt('statement_timeout', sub { });
interrupt('pg_cancel_backend', sub { cli($node, "SELECT pg_cancel_backend($_[0])"); });
interrupt('pg_terminate_backend', sub { cli($node, "SELECT pg_terminate_backend($_[0])"); });
interrupt('the client goes away', sub { kill('KILL', $_[1]{run}{KIDS}[0]{PID}); cli($node, "SELECT pg_terminate_backend($_[0])"); });
interrupt('kill -9', sub { kill_process($node, $_[0]); });
interrupt('kill -9 of the worker', sub { my $worker = worker_pid($node); kill_process($node, $worker || $_[0]); });
interrupt('immediate shutdown', sub { crash_server($node); });
interrupt('fast restart', sub { $node->restart; });

# The crash gives out again what was never flushed: numbers of jobs and
# transactions.  The next submit must not be taken for the one that was lost.
{
	my $prompt = 'held: numbers';
	my ($id, @next) = map { new_row($node, $_) } $prompt, map { "$prompt $_" } 1 .. 5;

	cli($node, 'CHECKPOINT');
	my ($session) = hung_submit($node, $fal, $id, 'hang_after', $prompt);
	crash_server($node);
	is(submit($node, $_)->{status}, 'queued', "$prompt: a submit after the crash goes well") for @next;
	is_cancelled($id, $prompt);
	is_kept($next[ $_ - 1 ], "$prompt $_") for 1 .. 5;
	eval { $session->quit; };
}

# A commit that need not be durable: one that sent something is nevertheless.
{
	my $prompt = 'held: synchronous_commit off';
	my $id = new_row($node, $prompt);

	cli($node, 'CHECKPOINT');
	sql($node, "SET synchronous_commit = off; SELECT FROM vibevideo_submit('$id')");
	crash_server($node);
	is_kept($id, $prompt);
}

# -- a file that cannot be read just now -----------------------------------------------------
{
	my $prompt = 'held: unreadable';
	my ($id, $other) = (new_row($node, $prompt), new_row($node, "$prompt, other"));
	my ($session, $pid) = hung_submit($node, $fal, $id, 'hang_after', $prompt);
	my ($file) = glob($node->data_dir . "/pg_vibevideo/*.$pid.*");

	chmod(0, $file) or die $!;
	cli($node, "SELECT pg_terminate_backend($pid)");
	wait_down($pid);
	sql($node, "SELECT vibevideo_submit_batch('{$other}')");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$other'", 'queued', "$prompt: the worker goes on without it");
	ok(-e $file, "$prompt: the file is kept");
	chmod(oct('600'), $file);
	is_cancelled($id, $prompt);
	eval { $session->quit; };
}

# -- without a list of requests in flight ---------------------------------------------------
# What is under way is invisible.  Once it is finished it is found: then it
# is paid for, and the orphan says so.
{
	my $prompt = 'held: not listed';
	my $id = new_row($node, $prompt);

	$fal->default(list_in_flight => JSON::PP::false);
	$node->append_conf('postgresql.conf', "vibevideo.unknown_after = '1h'");
	$node->reload;
	my ($session, $pid) = hung_submit($node, $fal, $id, 'hang_after', $prompt);
	cli($node, "SELECT pg_terminate_backend($pid)");
	wait_for($node, "SELECT state, error_code FROM vibevideo.job WHERE orphan AND vibelog_id = '$id' AND tries > 0",
		'submit_unknown|rolled_back', "$prompt: the orphan stays in doubt", hurry => 1);
	my ($render) = renders($prompt);
	$fal->command($render->{request_id}, 'finish');
	wait_for($node, "SELECT state, error_code, request_id, media_url IS NOT NULL FROM vibevideo.job WHERE orphan AND vibelog_id = '$id'",
		"failed|orphaned|$render->{request_id}|t", "$prompt: finished meanwhile: it is an orphan, with its address", hurry => 1);
	is(sql($node, "SELECT video_generation_status IS NULL, video_url IS NULL FROM vibelogs WHERE id = '$id'"), 't|t',
		"$prompt: the row shows nothing of it");
	is($storage->object($id), undef, "$prompt: and nothing was stored");
	eval { $session->quit; };
	$fal->default(list_in_flight => $true);
}

# -- a database that is dropped -----------------------------------------------------------
# What nobody has settled goes with it, but not without a word; and not as long
# as it is only closed.
{
	my $files = sub { return scalar grep { m{/4000000000\.} } glob($node->data_dir . '/pg_vibevideo/*') };
	my $log = -s $node->logfile;
	# the rules below are not for what is forgotten here
	my $other = start_fal();

	sql($node, 'CREATE DATABASE gone');
	sql($node, "ALTER DATABASE gone SET vibevideo.fal_queue_url = '" . $other->url . "'");
	create_app($node, 'gone');
	my %id = map { $_ => new_row($node, "held: gone, $_", 'gone') } qw(accepted lost refused);
	$other->fault('submit', 'reset_after', prompt => '^held: gone, lost$');
	$other->fault('submit', { kind => 'http', status => 422, body => { detail => 'no' } }, prompt => '^held: gone, refused$');
	my $session = background_sql($node, 'gone');
	$session->query('BEGIN');
	$session->query("SELECT vibevideo_submit('$id{$_}')") for qw(accepted lost refused);
	# a worker that is paused settles nothing, once it has begun a turn that sees that
	my $paused_at = cli($node, 'UPDATE vibevideo.binding SET paused = true; SELECT clock_timestamp()', 'gone');
	wait_for($node, "SELECT vibevideo.wake(); SELECT heartbeat_at > '$paused_at' FROM vibevideo.worker_info()", qr/t$/, 'dropped: the worker is paused', database => 'gone');
	$session->query('ROLLBACK');
	$session->quit;
	is(scalar(journal_files($node)), 1, 'dropped: its journal holds what was rolled back');

	sql($node, 'ALTER DATABASE gone ALLOW_CONNECTIONS false');
	append_to_file($node->data_dir . '/pg_vibevideo/4000000000.4194305.1', "\0" x 16384);
	$node->reload;
	wait_until(sub { return !$files->() }, 'closed: the launcher has looked for files of databases that are not there');
	is(scalar(journal_files($node)), 1, 'closed: but its journal stays');

	sql($node, 'DROP DATABASE gone WITH (FORCE)');
	$node->reload;
	wait_until(sub { return !journal_files($node) }, 'dropped: its journal is gone');
	my @words = slurp_file($node->logfile, $log) =~ /WARNING:  vibevideo discarded (.*)\n.*DETAIL:  Database \d+, row "(.*)", sent at /g;
	my ($render) = $other->renders('held: gone, accepted');
	is_deeply(\@words,
		[ qq{a submit of a dropped database: request "$render->{request_id}", model "fal-ai/minimax/video-01"}, $id{accepted},
			'a submit of a dropped database: request "unknown", model "fal-ai/minimax/video-01"', $id{lost} ],
		'dropped: and the log reports what fal may have');
}

# -- in the end ------------------------------------------------------------------------
$fal->clear_faults;
$fal->command('*', 'start');
wait_at_rest($node, 'the rest is done');
is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE NOT orphan AND state <> 'completed'"), '0', 'everything committed is completed');
ok_rules(gather($node, $fal, $storage, cancels => {}), 'journal');

$node->stop('fast');
is_deeply([ journal_files($node) ], [], 'nothing is left in the journal');
done_testing();
