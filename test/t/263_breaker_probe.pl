# The one request that may probe a service that is down: a job whose request
# cannot be built does not use it up.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

# BREAKER_THRESHOLD, after which the breaker is open, and PROBE_MS, for which a probe has it to itself
my $FAILURES = 5;
my $PROBE_S = 60;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	# nothing is tried again by itself
	'vibevideo.backoff_base' => '1h',
	'vibevideo.backoff_max' => '1h' });
my @ids;

sub state_of
{
	return "SELECT state FROM vibevideo.job WHERE vibelog_id = '$_[0]'";
}

# make_due(id) - that job alone; all others wait for a day.
sub make_due
{
	sql($node, <<"SQL");
UPDATE vibevideo.job SET next_at = CASE WHEN vibelog_id = '$_[0]' THEN now() ELSE now() + interval '1 day' END WHERE next_at IS NOT NULL;
SELECT vibevideo.wake();
SQL
	return;
}

# As many answers of a gateway as open the breaker: jobs ask for their status.
sub open_breaker
{
	my ($name) = @_;
	my $log = -s $node->logfile;

	$fal->fault('status', { kind => 'gateway', status => 502 }, times => -1);
	sql($node, 'UPDATE vibevideo.job SET next_at = now() WHERE next_at IS NOT NULL; SELECT vibevideo.wake()');
	wait_until(sub { return slurp_file($node->logfile, $log) =~ /considers fal\.ai down/ }, "$name: fal is down");
	$fal->clear_faults;
	return;
}

cmp_ok($VibeTest::patience, '<', $PROBE_S, 'a wait here ends before that of a lost probe would');
$fal->rule('^waits', hold => 'queue');
# one of them will be done, and one not be asked for any more
@ids = map { new_row($node, "waits $_") } 1 .. $FAILURES + 2;
submit($node, $_) for @ids;

{
	my ($bad, $good) = @ids;

	open_breaker('a poll');
	sql($node, "UPDATE vibevideo.job SET model = 'no model' WHERE vibelog_id = '$bad'");
	make_due($bad);
	wait_for($node, "SELECT error_code FROM vibevideo.job WHERE vibelog_id = '$bad'", 'bad_request', 'a poll that cannot be built is tried');
	$fal->command(job_of($node, $good)->{request_id}, 'finish');
	make_due($good);
	wait_for($node, state_of($good), qr/^(processing|completed)$/, 'and the next poll is the probe');
}
{
	my ($bad, $good) = map { new_row($node, "$_ submit") } qw(bad good);

	open_breaker('a submit');
	is(submit($node, $_)->{error_code}, 'fal_down', 'a submit waits') for $bad, $good;
	sql($node, "UPDATE vibevideo.job SET model = 'no model' WHERE vibelog_id = '$bad'");
	make_due($bad);
	wait_for($node, state_of($bad), 'failed', 'one that cannot be built fails');
	is(job_of($node, $bad)->{error_code}, 'bad_request', 'for that reason');
	make_due($good);
	wait_for($node, state_of($good), qr/^(queued|generating|processing|completed)$/, 'and the next is sent as the probe');
}

done_testing();
