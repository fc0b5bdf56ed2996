# Ways out: vibevideo.proxy for fal.ai and media, never for Storage; the
# environment's proxies and netrc are ignored; a download that crawls is ended.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

# The server inherits these: nobody listens there.
local $ENV{http_proxy} = 'http://127.0.0.1:1';
local $ENV{https_proxy} = 'http://127.0.0.1:1';
local $ENV{ALL_PROXY} = 'http://127.0.0.1:1';
my $home = PostgreSQL::Test::Utils::tempdir;
append_to_file("$home/.netrc", "machine 127.0.0.1 login wrong password wrong\n");
local $ENV{HOME} = $home;

my $fal = start_fal();
my $storage = start_storage();
my $proxy = VibeTest::Emulator->start('proxy');
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'vibevideo.max_tries' => 2,
	'vibevideo.stall_timeout' => '2s' });
my ($fal_url, $storage_url) = ($fal->url, $storage->url);

{
	my $id = new_row($node, 'direct');

	is(submit($node, $id)->{status}, 'queued', 'the environment: a submit takes no proxy from it');
	wait_for_status($node, $id, 'completed');
	is_deeply($proxy->call('GET', '/seen'), [], 'without vibevideo.proxy nothing takes one');
}
# what is https goes through a tunnel
if ($fal_url =~ m{^https://(.*)})
{
	my $host = $1;
	my $id = new_row($node, 'by proxy, https');

	configure($node, proxy => $proxy->url);
	is(submit($node, $id)->{status}, 'queued', 'vibevideo.proxy, https: a submit');
	wait_for_status($node, $id, 'completed');
	my @seen = @{ $proxy->call('GET', '/seen') };
	# the session's connection, and the worker's
	cmp_ok(scalar(@seen), '>=', 2, 'https: submit, polls and download went through the proxy');
	is_deeply([ grep { $_ ne "CONNECT $host" } @seen ], [], 'https: by tunnels; Storage was asked directly');
	is($storage->object($id) ? 1 : 0, 1, 'https: and has the video');
}
{
	my $id = new_row($node, 'by proxy');
	my $plain = $fal->direct;
	my $before = @{ $proxy->call('GET', '/seen') };

	configure($node, proxy => $proxy->url, fal_queue_url => $plain, media_hosts => $plain);
	is(submit($node, $id)->{status}, 'queued', 'vibevideo.proxy: a submit');
	wait_for_status($node, $id, 'completed');
	my @seen = splice(@{ $proxy->call('GET', '/seen') }, $before);
	is(scalar(grep { m{^POST \Q$plain\E/} } @seen), 1, 'the submit went through the proxy');
	isnt(scalar(grep { m{^GET \Q$plain\E/.*/status} } @seen), 0, 'so did the polls');
	isnt(scalar(grep { m{^GET \Q$plain\E/.*\.mp4} } @seen), 0, 'and the download');
	is_deeply([ grep { !m{^\w+ \Q$plain\E/} } @seen ], [], 'Storage was asked directly');
	is($storage->object($id) ? 1 : 0, 1, 'and has the video');
	configure($node, fal_queue_url => $fal_url, media_hosts => $fal_url);
}
{
	my $id = new_row($node, 'behind a proxy that is down');

	configure($node, proxy => 'http://127.0.0.1:1', max_tries => 1000);
	my $video = submit($node, $id);
	is("$video->{status} $video->{error_code}", 'queued connect_failed', 'a proxy that is down: surely not sent, waits to be sent again');
	configure($node, proxy => '');
	wait_for_status($node, $id, 'completed');
	configure($node, max_tries => 2);
}
for my $case (
	[ proxy => 'proxy.example:3128', 'must begin with' ],
	[ proxy => 'http://user:word@proxy.example', 'credentials' ],
	[ proxy => 'http://proxy.example/?a', 'credentials' ],
	[ proxy => 'http://proxy.example/' . 'a' x 1000, '1000 bytes' ],
	[ webhook_url => 'ftp://app.example', 'must begin with' ],
	[ webhook_url => 'https://app.example/a b', 'must not contain blanks' ],
	[ webhook_url => 'https://app.example/"', 'must not contain blanks' ],
	[ webhook_url => 'https://app.example/' . 'a' x 1000, '1000 bytes' ],
	[ webhook_url => 'https://user@app.example/hook?a=b', '' ],
	[ webhook_url => '', '' ])
{
	my ($setting, $value, $detail) = @$case;
	my (undef, undef, $error) = $node->psql('postgres', "ALTER SYSTEM SET vibevideo.$setting = '$value'");

	like($error, $detail ? qr/invalid value.*DETAIL: .*\Q$detail\E/s : qr/^$/, "vibevideo.$setting = " . substr($value, 0, 50));
}

# -- copies that move, but hardly ---------------------------------------------------------------------
{
	configure($node, low_speed_limit => '2MB');
	my %ids = map { $_ => new_row($node, $_) } ('download crawls', 'upload crawls');

	# more than sockets hold, and fast enough not to seem to stand still while they are
	# emptied; nginx' sockets would hold as much again, and empty in fits
	configure($node, storage_url => $storage->direct);
	$fal->rule('^upload crawls$', media => { bytes => 20_000_000 });
	$fal->fault('media', { kind => 'slow', bytes_per_s => 10000 }, prompt => '^download crawls$');
	$storage->fault('upload', { kind => 'slow_read', bytes_per_s => 500_000 }, key => $ids{'upload crawls'});
	submit($node, $_) for values %ids;
	for my $name (sort keys %ids)
	{
		wait_for_status($node, $ids{$name}, 'completed', patience => 60);
		my $job_id = job_of($node, $ids{$name})->{job_id};
		like(slurp_file($node->logfile), qr/job $job_id: processing -> processing.*was slower than 2048 kB\/s/, "$name: is ended, and says why");
		is($storage->object($ids{$name})->{sha256}, ($fal->renders($name))[0]{media_sha256}, "$name: and tried again");
	}
}

$node->stop;
done_testing();
