# What stands in front of fal.ai and Storage: its errors are an outage, whatever
# their status, and "no such request" is not believed at once.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $LIMIT = 6;    # vibevideo.max_tries; the breaker opens at the fifth failure in a row
my $page = '<html><body><h1>Web server is down</h1>cloudflare</body></html>';

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => { 'vibevideo.max_tries' => $LIMIT });

sub outage
{
	my ($status, $body) = @_;

	return { kind => 'http', status => $status, headers => { 'content-type' => 'text/html' }, body => $body };
}

# start_job(prompt) - (key of the row, fal's request id)
sub start_job
{
	my ($prompt) = @_;
	my $id = new_row($node, $prompt);

	return ($id, submit($node, $id)->{request_id});
}

# -- Storage: no try counts while it is out -------------------------------------------------
{
	my %status = map { $_ => new_row($node, "behind a gateway: $_") } 500, 520 .. 524, 530;

	$storage->fault('upload', outage($_, $_ == 500 ? '' : $page), key => $status{$_}, times => 1) for keys %status;
	submit($node, $status{$_}) for sort keys %status;
	wait_for_status($node, $status{$_}, 'completed', name => "$_ of a gateway: the video is stored") for sort keys %status;

	my $id = new_row($node, 'out for long');
	$storage->fault('upload', outage(522, $page), key => $id, times => $LIMIT + 1);
	submit($node, $id);
	wait_for_status($node, $id, 'completed', name => 'more refusals than tries, and yet it is stored', patience => 90);
	is($storage->hits, 7 + $LIMIT + 1, 'all have come');
	like(log_tail($node, 500), qr/vibevideo considers Storage down/, 'they were an outage');

	# Storage's own error is none: what it refuses for good is given up
	$id = new_row($node, 'refused by Storage');
	$storage->fault('upload', { kind => 'http', status => 500, headers => { 'content-type' => 'application/json' },
			body => { statusCode => '500', error => 'Internal', message => 'no disk' } }, key => $id, times => -1);
	submit($node, $id);
	wait_for_status($node, $id, 'failed', name => "Storage's own 500 counts");
	is(job_of($node, $id)->{tries}, $LIMIT, 'with each try');
	$storage->clear_faults;
}

# -- fal: few submits go in doubt, the others wait ------------------------------------------
for my $status (500, 520, 530)
{
	my @ids = map { new_row($node, "in doubt behind $status: $_") } 1 .. 9;

	$fal->fault('submit', outage($status, $page), prompt => "^in doubt behind $status", times => -1);
	submit($node, $_) for @ids;
	my $states = sql($node, "SELECT string_agg(e.state || '|' || n, ' ' ORDER BY e.state) FROM (SELECT j.state, count(*) n FROM vibevideo.job j "
		  . "WHERE j.vibelog_id = ANY ('{" . join(',', @ids) . "}') GROUP BY 1) e");
	is($states, 'pending|4 submit_unknown|5', "$status of a gateway: from the sixth on nobody sends");
	like(status_of($node, $ids[8])->{message}, qr/./, 'and says why');
	$fal->clear_faults;
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = ANY ('{" . join(',', @ids[ 5 .. 8 ]) . "}') AND state = 'completed'",
		'4', "$status is over: those that waited are sent", hurry => 1, patience => 90);
	is(scalar($fal->renders("in doubt behind $status: $_")), 1, "$status, row $_: once") for 6 .. 9;
}

# -- "no such request" ----------------------------------------------------------------------
{
	# of the status alone: the result knows better
	$fal->rule('^unknown to the status$', hold => 'queue');
	my ($id, $request) = start_job('unknown to the status');
	$fal->fault('status', 'not_found', prompt => '^unknown to the status$', times => -1);
	wait_until(sub { hurry($node); return $fal->hits >= 6 }, 'the status says six times that there is no such request');
	is(job_of($node, $id)->{state}, 'queued', 'a status that knows nothing of it does not end a job whose result is still in progress');
	$fal->command($request, 'finish');
	wait_for_status($node, $id, 'completed', name => 'and its video is stored, though the status never knew it');
	$fal->clear_faults;

	# of both: some minutes
	$fal->rule('^unknown to both$', hold => 'queue');
	($id, $request) = start_job('unknown to both');
	$fal->command($request, 'expire');
	my $waits = 0;
	for my $n (1 .. 3)
	{
		hurry($node);
		wait_for($node, "SELECT tries, error_code FROM vibevideo.job WHERE vibelog_id = '$id'", "$n|not_found", "no such request, $n times");
		$waits += sql($node, "SELECT round(extract(epoch FROM next_at - updated_at)) FROM vibevideo.job WHERE vibelog_id = '$id'");
	}
	cmp_ok($waits, '>=', 180, 'three answers that there is no such request are minutes apart');
	is(job_of($node, $id)->{state}, 'queued', 'and end nothing');
	hurry($node);
	wait_for_status($node, $id, 'failed', name => 'the fourth is believed');
}

done_testing();
