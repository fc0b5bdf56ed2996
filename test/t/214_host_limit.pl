# vibevideo.max_host_requests: never more at once to one host.  What waits for
# its turn neither times out nor holds up other hosts, and is given back unsent.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

# fal's queue and its media are one host here, unless the media have the other name
my $fal = start_fal(default => { submit_ms => 100, status_ms => 100, result_ms => 100 });
my $other_name = $fal->url =~ s/127\.0\.0\.1/localhost/r;
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'vibevideo.max_host_requests' => 3,
	'vibevideo.stall_timeout' => '2s',
	'vibevideo.media_hosts' => $fal->url . ", $other_name" });

# Rows with these prompts, asked for at once.
sub submit_rows
{
	my @ids = map { new_row($node, $_) } @_;

	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	return @ids;
}

sub wait_for_all
{
	my ($name, @ids) = @_;
	my $list = join(',', @ids);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_for($node, "SELECT count(*) FROM vibelogs WHERE id = ANY ('{$list}') AND video_generation_status = 'completed'",
		scalar(@ids), $name, hurry => 1);
}

# What a row's job went through.
sub states
{
	my ($id) = @_;

	return sql($node, "SELECT string_agg(e.state, ' ' ORDER BY e.event_id) FROM vibevideo.event e JOIN vibevideo.job j USING (job_id) WHERE j.vibelog_id = '$id'");
}

sub worker_ends
{
	my $pid = worker_pid($node);

	sql($node, "SELECT pg_terminate_backend($pid)");
	wait_for($node, "SELECT pid <> $pid FROM vibevideo.worker_info() WHERE pid IS NOT NULL", 't', 'a new worker is there');
	return;
}

# -- never more at once ----------------------------------------------------------------------------------
{
	wait_for_all('twelve jobs come to an end, three requests at a time', submit_rows(map { "crowd $_" } 1 .. 12));
	is($fal->ledger('?jobs=0')->{max_in_flight}{all}, 3, 'never more than three requests, of whatever kind');
	is(scalar($fal->renders("crowd $_")), 1, "crowd $_: one render") for 1 .. 12;

	configure($node, max_host_requests => 0);
	wait_for_all('twelve jobs come to an end without a limit', submit_rows(map { "mob $_" } 1 .. 12));
	cmp_ok($fal->ledger('?jobs=0')->{max_in_flight}{all}, '>', 3, 'more than three requests at once');
}

# -- waiting is not stalling --------------------------------------------------------------------------------
{
	configure($node, max_host_requests => 1);
	$fal->rule('^patient ', media => { base => $other_name });
	$fal->fault('media', { kind => 'delay', ms => 900 }, prompt => '^patient ', times => -1);
	my @ids = submit_rows(map { "patient $_" } 1 .. 5);
	wait_for_all('five slow downloads, one after the other', @ids);
	is($fal->hits, 5, 'each was begun once: none was given up while it waited');
	$fal->clear_faults;
}

# -- another host ----------------------------------------------------------------------------------------------
{
	configure($node, stall_timeout => '2min');
	$fal->rule('^far ', media => { base => $other_name });
	$fal->fault('media', 'hang', prompt => '^far ', times => -1);
	my @far = submit_rows(map { "far $_" } 1 .. 4);
	my $list = join(',', @far);
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = ANY ('{$list}') AND state = 'processing' AND leased_by IS NOT NULL",
		'4', 'four copies are in work', hurry => 1);
	wait_until(sub { $fal->hits == 1 }, 'one of them has begun, and hangs');

	wait_for_all('jobs whose video is elsewhere overtake them', submit_rows(map { "near $_" } 1 .. 3));
	is($fal->hits, 1, 'the others wait');
	$fal->clear_faults;
	configure($node, stall_timeout => '2s');
	wait_for_all('the backlog moves on when the first is given up', @far);
}

# -- what waits is given back ------------------------------------------------------------------------------------
{
	configure($node, stall_timeout => '2min', max_host_requests => 2);
	$fal->fault('media', 'hang', prompt => '^plug ', times => -1);
	my @plugs = submit_rows('plug 1', 'plug 2');
	wait_until(sub { hurry($node); $fal->hits == 2 }, 'two downloads hang and hold the host');

	my ($kept, $cancelled) = submit_rows('behind', 'behind, cancelled');
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id IN ('$kept', '$cancelled') AND state = 'submitting'",
		'2', 'two submits are claimed and wait');
	sql($node, "SELECT vibevideo_cancel('$cancelled')");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$cancelled'", 'cancelled',
		'what has waited for too long is given back, and cancelled if that was asked for');
	wait_for($node, "SELECT count(*) FROM vibevideo.event e JOIN vibevideo.job j USING (job_id) WHERE j.vibelog_id = '$kept' AND e.state = 'submitting'",
		'2', 'else it is sent later', patience => 60);
	is(job_of($node, $kept)->{tries}, 0, 'which was no try');

	# the worker ends while it waits again
	$fal->clear_faults;
	worker_ends();
	wait_for_all('all come to an end with another worker', $kept, @plugs);
	unlike(states($kept), qr/submit_unknown/, 'what waited was known not to be sent');
	is(scalar($fal->renders('behind')), 1, 'and was sent once');
	is(scalar($fal->renders('behind, cancelled')), 0, 'what was cancelled was not');
}

$node->stop;
done_testing();
