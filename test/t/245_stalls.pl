# The worker does not look for a while, since it is stopped, its commit waits for
# a standby, or the app's trigger is slow.  Answers of fal.ai that came in
# meanwhile are answers.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use VibeTest;

my $TIMEOUT = 1;    # s, vibevideo.submit_timeout
my $fal = start_fal(default => { hold => 'queue', submit_ms => 300, list_in_flight => JSON::PP::true });
my $node = vibe_node('main', fal => $fal, conf => { 'vibevideo.submit_timeout' => "${TIMEOUT}s", 'wal_level' => 'replica', 'max_wal_senders' => 2 });

sub accepted
{
	return $fal->ledger('?jobs=0')->{accepted};
}

# in_the_air(name, n) - rows whose submits fal has, but has not answered.
sub in_the_air
{
	my ($name, $n) = @_;
	my $before = accepted();
	my @ids = map { new_row($node, "$name: $_") } 1 .. $n;

	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	# faster than a test a time: the answers come soon
	1 while accepted() < $before + $n;
	return @ids;
}

sub ok_answered
{
	my ($name, @ids) = @_;
	my $ours = 'j.vibelog_id IN (' . join(', ', map { "'$_'" } @ids) . ')';
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_for($node, "SELECT count(*) FROM vibevideo.job j WHERE $ours AND j.request_id IS NOT NULL", scalar(@ids), "$name: all are accepted");
	is(sql($node, "SELECT count(*) FROM vibevideo.event e JOIN vibevideo.job j USING (job_id) WHERE $ours AND e.state = 'submit_unknown'"),
		'0', "$name: none was in doubt");
	return;
}

# -- the worker is stopped ---------------------------------------------------------------
submit($node, new_row($node, 'the first'));
wait_until(sub { return worker_pid($node) }, 'there is a worker');
{
	my $worker = worker_pid($node);
	my @ids = in_the_air('stopped', 10);

	kill('STOP', $worker);
	sleep(2 * $TIMEOUT);
	kill('CONT', $worker);
	ok_answered('stopped', @ids);
	is(worker_pid($node), $worker, 'stopped: the worker is the same');
}

# What is not answered after all is in doubt, as it was.
{
	my $id = new_row($node, 'never answered');

	$fal->fault('submit', 'hang_after', prompt => '^never answered$');
	sql($node, "SELECT vibevideo_submit_batch('{$id}')");
	wait_for($node, "SELECT e.state FROM vibevideo.event e JOIN vibevideo.job j USING (job_id) WHERE j.vibelog_id = '$id' AND e.state = 'submit_unknown'",
		'submit_unknown', 'no answer: it times out');
	like(sql($node, "SELECT e.detail FROM vibevideo.event e JOIN vibevideo.job j USING (job_id) WHERE j.vibelog_id = '$id' AND e.state = 'submit_unknown'"),
		qr/within ${TIMEOUT}000 ms/, 'no answer: it says so');
	$fal->clear_faults;
}

# -- a commit waits for a standby --------------------------------------------------------
{
	my @ids = in_the_air('standby', 10);
	my $late = new_row($node, 'standby: the one that waits');

	$node->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()});
	# ours does not wait
	$node->safe_psql('postgres', "SET synchronous_commit = local; SELECT FROM vibevideo_submit_batch('{$late}')");
	wait_for($node, q{SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'vibevideo worker'}, 'SyncRep', 'standby: the worker waits for it');
	sleep(2 * $TIMEOUT);
	$node->safe_psql('postgres', q{SET synchronous_commit = local; ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()});
	ok_answered('standby', @ids, $late);
}

# -- the app's trigger is slow -------------------------------------------------------------
{
	my $name = 'slow trigger';

	sql($node, <<'SQL');
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(1.7);
	RETURN NEW;
END $$;
CREATE TRIGGER slow BEFORE UPDATE ON vibelogs FOR EACH ROW WHEN (NEW.prompt = 'slow trigger: the slow one') EXECUTE FUNCTION slow();
SQL
	my $slow = new_row($node, "$name: the slow one");
	$fal->rule('^slow trigger: the slow one$', submit_ms => 0);
	my @ids = map { new_row($node, "$name: $_") } 1 .. 10;
	# all at once: while the first one's row is written the others are in the air
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', $slow, @ids) . "}')");
	ok_answered($name, @ids, $slow);
	sql($node, 'DROP TRIGGER slow ON vibelogs');
}

# -- a caller that is stopped ----------------------------------------------------------------
{
	my $session = background_sql($node);
	my $pid = $session->query('SELECT pg_backend_pid()');
	my $id = new_row($node, 'caller');
	my $before = accepted();

	$pid =~ s/\D//g;
	$session->query_until(qr/sent/, "\\echo sent\nSELECT status, error_code FROM vibevideo_submit('$id');\n");
	1 while accepted() == $before;
	kill('STOP', $pid);
	sleep(2 * $TIMEOUT);
	kill('CONT', $pid);
	ok_answered('caller', $id);
	$session->quit;
}

done_testing();
