# A host whose name is not resolved: nobody waits for the lookup who has something
# else to do, and no lookup sees PostgreSQL's signals.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeRest;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $dir = PostgreSQL::Test::Utils::tempdir();
my ($held_fal, $held_storage) = map { $_->url =~ s/127\.0\.0\.1/held.test/r } $fal, $storage;
$ENV{VIBETEST_HOLD} = "$dir/hold";
$ENV{VIBETEST_LOOKUPS} = "$dir/lookups";

sub hold { append_to_file($ENV{VIBETEST_HOLD}, ''); return }
sub release { unlink($ENV{VIBETEST_HOLD}); return }

sub lookups
{
	return -e $ENV{VIBETEST_LOOKUPS} ? split(/\n/, slurp_file($ENV{VIBETEST_LOOKUPS})) : ();
}

my $node;
{
	local $ENV{LD_PRELOAD} = module('resolver');
	$node = vibe_node('main', fal => $fal, storage => $storage, conf => {
		'vibevideo.fal_queue_url' => $held_fal,
		'vibevideo.media_hosts' => join(',', $fal->url, $held_fal),
		'vibevideo.max_tries' => 1000,
		'vibevideo.connect_timeout' => '60s' });
}

# In a call
{
	my $id = new_row($node, 'cancelled');

	hold();
	my ($state) = sql_error($node, "SET statement_timeout = '300ms'; SELECT vibevideo_submit('$id')");
	is($state, '57014', 'a call that looks a host up can be cancelled');
	is(scalar($fal->renders('cancelled')), 0, 'nothing was sent');

	($state) = sql_error($node, "SET statement_timeout = '300ms'; SET vibevideo.poll_timeout = '60s';"
		  . " BEGIN; INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, request_id, next_at)"
		  . " VALUES ('vibelogs', '$id', 'queued', 'm/n', '{}', 'r', now() - interval '1 day'); SELECT vibevideo_poll()");
	is($state, '57014', 'so can a poll');

	configure($node, connect_timeout => '200ms');
	my $video = submit($node, $id);
	is("$video->{status} $video->{error_code}", 'queued connect_failed', 'after connect_timeout the job is surely not sent, and waits');
	release();
	wait_for_status($node, $id, 'completed');
	is(scalar($fal->renders('cancelled')), 1, 'it was sent once');
	is(sql($node, 'SELECT count(*) FROM vibevideo.job WHERE orphan'), '0', 'of the cancelled call nothing is in doubt');
}

# In the worker
{
	my @stuck = map { new_row($node, "stuck $_") } 1 .. 3;
	my $other = new_row($node, 'another');

	# another name: that one's address is known by now
	configure($node, fal_queue_url => $held_fal =~ s/held/another-held/r, storage_url => $held_storage, connect_timeout => '1min');
	hold();
	my $before = lookups();
	sql($node, "SELECT count(*) FROM vibevideo_submit_batch('{" . join(',', @stuck) . "}')");
	# newer libcurl does not look up for each
	wait_until(sub { lookups() > $before }, 'the worker looks for the host of three submits');
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'submitting'}, '3', 'they wait for it');
	$before = lookups();
	configure($node, fal_queue_url => $fal->url);
	is(submit($node, $other)->{status}, 'queued', 'another job is sent meanwhile, asked about, and its result fetched');
	wait_for_status($node, $other, 'processing');
	wait_until(sub { lookups() > $before }, "its copy looks for Storage's");
	is(sql($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'submitting'}), '3', 'the three are where they were');
	my $pid = worker_pid($node);
	sql($node, "SELECT pg_terminate_backend($pid)");
	wait_until(sub { my $new = worker_pid($node); $new && $new ne $pid }, 'a worker that looks hosts up ends when told to');
	$node->stop('fast');
	release();
	{
		local $ENV{LD_PRELOAD} = module('resolver');
		$node->start;
	}
	wait_for_status($node, $_, 'completed') for @stuck, $other;
	is(scalar(map { $fal->renders("stuck $_") } 1 .. 3), 3, 'each was sent once');
	is(sql($node, q{SELECT count(*) FROM vibevideo.event WHERE state = 'submit_unknown'}), '0', 'none was ever in doubt');
}

my @kinds = do { my %seen = map { ($_ => 1) } lookups(); sort keys %seen };
is_deeply(\@kinds, ['thread, signals blocked'], 'every lookup ran in a thread of its own, with all signals blocked');

done_testing();
