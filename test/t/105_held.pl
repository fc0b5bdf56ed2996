# Somebody holds a job, or its row, for longer than anybody plans for: what the
# worker has found out meanwhile must not be lost.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use VibeTest;

my $fal = start_fal(default => { list_in_flight => JSON::PP::true });
my $storage = start_storage();
my $node = vibe_node(
	'main',
	fal => $fal,
	storage => $storage,
	conf => { 'vibevideo.unknown_policy' => 'resubmit_when_absent', 'vibevideo.unknown_after' => '2s' });

# -- while its request is found ------------------------------------------------------
# That is no proof that fal has none.
{
	my $prompt = 'found, but held';

	$fal->rule('^found', hold => 'queue');
	$fal->fault('list', { kind => 'http', status => 500, body => 'oops' }, times => -1);
	$fal->fault('submit', 'reset_after', prompt => '^found', times => 2);
	my @ids = map { new_row($node, $_) } $prompt, 'found as well';
	submit($node, $_) for @ids;
	my $both = "vibelog_id IN ('$ids[0]', '$ids[1]')";
	my $worker = worker_pid($node);
	my ($job, $event) = map { background_sql($node) } 1 .. 2;
	wait_until(
		sub {
			sql($node, "UPDATE vibevideo.job SET next_at = now() + interval '2 days' WHERE $both AND leased_by IS NULL");
			return sql($node, "SELECT count(*) FROM vibevideo.job WHERE $both AND next_at > now() + interval '1 day' AND sent_at < now() - interval '2 s'") == 2;
		},
		'both wait for long enough');
	$fal->clear_faults;
	$fal->fault('list', { kind => 'delay', ms => 1500 }, times => -1);
	my $lists = $fal->ledger('?jobs=0')->{requests}{list};
	sql($node, "UPDATE vibevideo.job SET next_at = now() WHERE $both; SELECT vibevideo.wake()");
	wait_until(sub { return $fal->ledger('?jobs=0')->{requests}{list} >= $lists + 2 }, 'the list is asked for both');
	# both answers are there when the worker goes on; it finds the first job held,
	# and is held up at the second one until the first is free
	kill('STOP', $worker);
	$job->query_safe("BEGIN; SELECT FROM vibevideo.job WHERE vibelog_id = '$ids[0]' FOR UPDATE");
	$event->query_safe('BEGIN; LOCK TABLE vibevideo.event IN SHARE MODE');
	sleep(2);
	kill('CONT', $worker);
	wait_for($node, "SELECT count(*) FROM pg_locks WHERE pid = $worker AND NOT granted", '1', 'the worker is held up', patience => 5);
	$job->query_safe('COMMIT');
	$event->query_safe('COMMIT');
	wait_for($node, "SELECT string_agg(attempt || ' ' || state, ', ' ORDER BY job_id) FROM vibevideo.job WHERE $both",
		'1 queued, 1 queued', 'both are adopted', hurry => 1);
	is(scalar($fal->renders($prompt)), 1, 'nothing is sent again');
	$fal->clear_faults;
	$_->quit for $job, $event;
}

# -- while it is sent ------------------------------------------------------------------
# The lease of a submit ends while the worker is waiting for its answer: the clock
# was set, or somebody held the job for so long.  Its worker is alive, and knows.
{
	my $prompt = 'late answer';
	my $id = new_row($node, $prompt);

	$fal->fault('list', { kind => 'http', status => 500, body => 'oops' }, times => -1);
	$fal->fault('submit', { kind => 'delay', ms => 3000 }, prompt => '^late answer$');
	sql($node, "SELECT vibevideo_submit_batch('{$id}')");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", 'submitting', 'late answer: it is being sent');
	sql($node, "UPDATE vibevideo.job SET next_at = now() - interval '1 s' WHERE vibelog_id = '$id'; SELECT vibevideo.wake()");
	wait_for($node, "SELECT state, request_id FROM vibevideo.job WHERE vibelog_id = '$id' AND state <> 'submitting'",
		qr/^queued\|[0-9a-f-]{36}$/, 'late answer: it is recorded');
	$fal->clear_faults;
}

# The worker is ended while it cannot record an answer: it waits for a moment.
{
	my $id = new_row($node, 'ended while held');
	my $worker = worker_pid($node);
	my $session = background_sql($node);

	$fal->fault('list', { kind => 'http', status => 500, body => 'oops' }, times => -1);
	$fal->rule('^ended while held$', submit_ms => 1000, hold => 'queue');
	sql($node, "SELECT vibevideo_submit_batch('{$id}')");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", 'submitting', 'it is being sent');
	$session->query_safe("BEGIN; SELECT FROM vibevideo.job WHERE vibelog_id = '$id' FOR UPDATE");
	sql($node, "SELECT pg_terminate_backend($worker)");
	wait_until(sub { return scalar($fal->renders('ended while held')) }, 'fal has it');
	sleep(1.5);
	$session->query_safe('COMMIT');
	$session->quit;
	wait_for($node, "SELECT state, request_id IS NOT NULL FROM vibevideo.job WHERE vibelog_id = '$id' AND state <> 'submitting'", 'queued|t',
		'its answer is recorded');
	$fal->clear_faults;
}

# -- its row, for longer than jobs are kept ---------------------------------------------
{
	my ($id, $free) = map { new_row($node, "kept: $_") } qw(held free);
	my $session = background_sql($node);

	$fal->rule('^kept: held$', hold => 'queue');
	my $request = submit($node, $id)->{request_id};
	submit($node, $free);
	wait_for_status($node, $free, 'completed');
	$session->query_safe("BEGIN; SELECT FROM vibelogs WHERE id = '$id' FOR UPDATE");
	$fal->command($request, 'finish');
	wait_for($node, "SELECT state, row_dirty FROM vibevideo.job WHERE vibelog_id = '$id'", 'completed|t', 'a row waits for its video', hurry => 1);
	sql($node, q{ALTER SYSTEM SET vibevideo.retention = '1min'; SELECT pg_reload_conf()});
	wait_for($node, 'SHOW vibevideo.retention', '1min', 'jobs are kept for a minute only');
	sql($node, <<'SQL');
CREATE TABLE dropped (id int PRIMARY KEY);
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, completed_at)
VALUES ('dropped', 'of a table that is gone', 'failed', 'm/n', '{}', NULL, now());
DROP TABLE dropped;
UPDATE vibevideo.job SET completed_at = now() - interval '1 hour' WHERE completed_at IS NOT NULL
SQL
	# a new one looks for old jobs at once
	sql($node, 'SELECT pg_terminate_backend(' . worker_pid($node) . ')');
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id IN ('$free', 'of a table that is gone')", '0', 'old jobs go');
	$session->query_safe('COMMIT');
	$session->quit;
	wait_for_status($node, $id, 'completed', name => 'but not before their rows tell of them');
}

done_testing();
