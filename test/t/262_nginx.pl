# A real nginx that closes each connection after fifty requests, as by default after a
# thousand, and is reloaded again and again: of thousands of submits none is in doubt.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $ROWS = 2000;
my $RELOADS = 10;
my $fal = start_fal(front => 'http2', nginx => 'keepalive_requests 50;', default => { hold => 'queue', list_in_flight => JSON::PP::true });
my $node = vibe_node('main', fal => $fal, conf => { 'vibevideo.storage_kind' => 'none', 'vibevideo.submit_timeout' => '4s', 'vibevideo.max_transfers' => 100, 'log_statement' => 'none' });

# What nginx answered since a moment: by connection, the protocol and how many.
sub connections_since
{
	my ($seen) = @_;
	my @lines = VibeNginx::requests();
	my %connections;

	for my $line (splice(@lines, $seen))
	{
		my (undef, $connection, $protocol, $method) = split / /, $line;
		$connections{$connection}{"$protocol $method"}++;
	}
	return values %connections;
}

# -- an answer goes to whoever asked ----------------------------------------------------------------
# A new worker's first connection is that of a submit which waits for its answer; what
# is asked by HTTP/2 meanwhile must not be sent on that.
{
	my @asked = map { new_row($node, "asked $_") } 1 .. 6;
	my ($slow) = new_row($node, 'slow');
	my $status = sub { return { map { $_->{input}{prompt} => $_->{counts}{status} } @{ $fal->ledger('?sha=0')->{jobs} } } };

	submit($node, $_) for @asked;
	sql($node, q{UPDATE vibevideo.job SET next_at = now() + interval '1 hour'});
	my $pid = worker_pid($node);
	sql($node, "SELECT pg_terminate_backend($pid)");
	wait_for($node, "SELECT pid <> $pid FROM vibevideo.worker_info() WHERE pid IS NOT NULL", 't', 'a new worker is there');
	$fal->fault('submit', 'hang', prompt => '^slow$');
	my $seen = () = VibeNginx::requests();
	sql($node, "SELECT vibevideo_submit_batch('{$slow}')");
	wait_until(sub { return $fal->hits == 1 }, 'a submit waits for its answer');
	for my $round (1 .. 3)
	{
		my $before = $status->();

		# one after the other: the first opens a connection, the others find two
		for my $row (@asked)
		{
			sql($node, "UPDATE vibevideo.job SET next_at = now() WHERE vibelog_id = '$row'; SELECT vibevideo.wake()");
			wait_for($node, "SELECT next_at > now() AND leased_by IS NULL FROM vibevideo.job WHERE vibelog_id = '$row'", 't', "round $round: one more is asked about");
		}
		is(scalar(grep { $status->()->{$_} == $before->{$_} } map { "asked $_" } 1 .. 6), 0, "round $round: and was answered");
	}
	is(job_of($node, $slow)->{state}, 'submitting', 'the submit still waits');
	is_deeply([ grep { exists $_->{'HTTP/1.1 GET'} } connections_since($seen) ], [], 'nothing was sent on its connection');
	is(sql($node, 'SELECT count(*) FROM vibevideo.job WHERE error IS NOT NULL'), '0', 'nobody got an answer that was not his');
	$fal->clear_faults;
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$slow'", 'submit_unknown', 'the submit itself, which never had an answer, is in doubt');
	sql($node, "DELETE FROM vibevideo.job; DELETE FROM vibelogs");
	$fal->call('POST', '/reset', {});
}

# -- thousands of submits -----------------------------------------------------------------------------
{
	my $seen = () = VibeNginx::requests();
	my $sent = sub { return $fal->ledger('?jobs=0')->{accepted} };

	# it is not a busy machine that is to leave any in doubt
	configure($node, submit_timeout => '1min');
	sql($node, "INSERT INTO vibelogs (prompt) SELECT 'row ' || n FROM generate_series(1, $ROWS) n");
	sql($node, 'SELECT vibevideo_submit_batch(array_agg(id)) FROM vibelogs');
	for my $n (1 .. $RELOADS)
	{
		wait_until(sub { return $sent->() >= ($n - 0.5) * $ROWS / $RELOADS }, "reload $n comes when as many have been sent");
		VibeNginx::reload();
	}
	wait_until(sub { return $sent->() >= $ROWS }, 'all are sent', patience => 60);
	wait_for($node, q{SELECT string_agg(DISTINCT state, ' ') FROM vibevideo.job}, qr/^(queued|queued submitting)?$/, 'and recorded');
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'queued'}, $ROWS, 'all of them');
	is(sql($node, q{SELECT count(*) FROM vibevideo.event JOIN vibevideo.job USING (job_id) WHERE event.state = 'submit_unknown'}), '0', 'none was ever in doubt');

	# the polls, and the results, are asked for by HTTP/2, and meet reloads as well
	$fal->default(hold => undef, queue_ms => 0, run_ms => 0);
	$fal->command('*', 'finish');
	hurry($node);
	for my $n (1 .. 3)
	{
		VibeNginx::reload();
		wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'completed'}, qr/^[1-9]\d*$/, "reload $n of polls", hurry => 1);
	}
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'completed'}, $ROWS, 'all are completed', hurry => 1, patience => 60);
	my %renders;
	$renders{ $_->{input}{prompt} }++ for @{ $fal->ledger('?sha=0')->{jobs} };
	is(scalar(keys %renders), $ROWS, 'each was rendered');
	is(scalar(grep { $_ != 1 } values %renders), 0, 'once');
	is(sql($node, 'SELECT count(*) FROM vibevideo.job WHERE strpos(media_url, request_id) = 0'), '0', 'and has its own video');
	my @connections = connections_since($seen);
	is(scalar(grep { ($_->{'HTTP/1.1 POST'} || 0) > 1 || exists $_->{'HTTP/1.1 GET'} || exists $_->{'HTTP/2.0 POST'} } @connections), 0,
		'each submit had a connection of its own');
	my @shared = grep { exists $_->{'HTTP/2.0 GET'} } @connections;
	cmp_ok(scalar(grep { $_->{'HTTP/2.0 GET'} == 50 } @shared), '>', 10, 'nginx closed many of the other connections after fifty requests');
}

$node->stop;
done_testing();
