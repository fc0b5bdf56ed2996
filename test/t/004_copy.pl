# The copy from fal's media host into Storage: what either side can do to it.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal(default => { queue_ms => 0, run_ms => 0 });
my $evil = start_fal();
my $storage = start_storage();
my $sink = start_storage(args => ['--discard']);
my $evil_port = $evil->{ready}{port};
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	# one name that may be fetched from, but leads to this machine
	'vibevideo.media_hosts' => join(', ', $fal->url, $fal->direct, 'localhost'),
	'vibevideo.stall_timeout' => '1s',
	'vibevideo.max_tries' => 4 });

sub render_of
{
	return ($fal->renders($_[0]))[0];
}

# -- media and Storage faults, all at once ------------------------------------------------
my @cases = (
	# name, fault of the media host, fault of Storage, error code or undef, more
	[ 'media: 500, then fine', { kind => 'http', status => 500 }, undef, undef ],
	[ 'media: 404, then fine', { kind => 'http', status => 404 }, undef, undef ],
	[ 'media: 502 of a gateway, then fine', { kind => 'gateway', status => 502 }, undef, undef ],
	[ 'media: truncated, then fine', { kind => 'truncate', bytes => 60000 }, undef, undef ],
	[ 'media: reset, then fine', { kind => 'truncate', bytes => 60000, reset => JSON::PP::true }, undef, undef ],
	[ 'media: stalls, then fine', { kind => 'stall', bytes => 60000 }, undef, undef ],
	[ 'media: stalls at once, then fine', 'hang', undef, undef ],
	[ 'media: announces too much, then fine', { kind => 'lie_length', delta => 5000 }, undef, undef ],
	[ 'media: no length', 'no_length', undef, undef ],
	[ 'media: type octet-stream', { kind => 'content_type', value => 'application/octet-stream' }, undef, undef ],
	[ 'media: type with parameters', { kind => 'content_type', value => 'video/mp4; codecs="avc1"' }, undef, undef ],
	[ 'media: gone for good', { kind => 'http', status => 404 }, undef, 'media_gone', times => -1 ],
	[ 'media: 500 for good', { kind => 'http', status => 500 }, undef, 'download_failed', times => -1 ],
	[ 'media: truncated for good', { kind => 'truncate', bytes => 60000 }, undef, qr/^(download_failed|stalled)$/, times => -1 ],
	[ 'media: a page', 'html200', undef, 'not_a_video', times => -1 ],
	[ 'media: a text called video', 'garbage', undef, 'not_a_video', times => -1 ],
	[ 'media: nothing', 'empty', undef, 'not_a_video', times => -1 ],
	[ 'media: type text/html', { kind => 'content_type', value => 'text/html' }, undef, undef ],
	[ 'media: redirect home', undef, undef, undef, rule => { media => { redirect => '{{media_url}}' } } ],
	[ 'media: redirect away', undef, undef, 'media_host_denied', rule => { media => { redirect => "http://127.0.0.1:$evil_port/files/x" } } ],
	[ 'media: redirect to a file', undef, undef, qr/^(media_host_denied|bad_redirect)$/, rule => { media => { redirect => 'file:///etc/passwd' } } ],
	[ 'media: redirect in circles', { kind => 'redirect', location => '/files/again' }, undef, qr/./, times => -1 ],
	[ 'media: another host', undef, undef, 'media_host_denied', rule => { media => { url => "http://127.0.0.1:$evil_port/files/x" } } ],
	[ 'media: a private address', undef, undef, 'media_host_denied', rule => { media => { url => "https://localhost:$evil_port/files/x" } } ],
	[ 'storage: 429, then fine', undef, 'slow_down', undef ],
	[ 'storage: 544, then fine', undef, 'db_timeout', undef ],
	[ 'storage: 500, then fine', undef, 'internal', undef ],
	[ 'storage: 502 of a gateway, then fine', undef, { kind => 'gateway', status => 502 }, undef ],
	[ 'storage: reset, then fine', undef, { kind => 'reset', after_bytes => 50000 }, undef ],
	[ 'storage: stalls, then fine', undef, { kind => 'stall', after_bytes => 50000 }, undef ],
	[ 'storage: never answers, then fine', undef, 'hang', undef ],
	[ 'storage: keeps it, but does not say so', undef, 'commit_then_drop', undef, uploads => 2 ],
	[ 'storage: half an answer', undef, 'garbage', undef, uploads => 1 ],
	[ 'storage: token expired for a moment', undef, 'jwt_expired', undef ],
	[ 'storage: 413 of a proxy, but for parts', undef, 'html413', undef, times => -1 ],
	[ 'storage: 411 of a proxy, but for parts', undef, { kind => 'http', status => 411 }, undef, times => -1 ],
	[ 'storage: 413 of a proxy', undef, 'html413', qr/^(EntityTooLarge|http_413)$/, times => -1, on => 'upload|tus_patch' ],
	[ 'storage: 413 of Storage', undef, { kind => 'http', status => 413, body => { statusCode => '413', error => 'Payload too large' } }, 'EntityTooLarge', times => -1 ],
	[ 'storage: 500 for good', undef, 'internal', 'InternalError', times => -1 ],
	[ 'storage: redirect', undef, 'redirect', 'Redirected', times => -1 ]);

# what breaks a connection comes through nginx in another form: also without it
push @cases, map { [ $_->[0] =~ s/media/media, plain/r, @{$_}[ 1 .. $#$_ ], rule => { media => { base => $fal->direct } } ] }
  grep { $_->[0] =~ /^media: (truncated|reset|stalls|announces|no length)/ } @cases;

for my $case (@cases)
{
	my ($name, $media_fault, $storage_fault, $code, %more) = @$case;
	my $id = new_row($node, $name);
	my $times = $more{times} || 1;

	$case = { name => $name, id => $id, code => $code, %more };
	$fal->rule("^$name\$", %{ $more{rule} }) if $more{rule};
	$fal->fault('media', $media_fault, prompt => "^$name\$", times => $times) if $media_fault;
	$storage->fault($more{on} || 'upload', $storage_fault, key => $id, times => $times) if $storage_fault;
}
sql($node, "SELECT vibevideo_submit_batch('{" . join(',', map { $_->{id} } @cases) . "}')");
wait_for($node, q{SELECT count(*) FROM vibelogs WHERE prompt ~ '^(media|storage)' AND video_generation_status IS DISTINCT FROM 'completed' AND video_generation_status IS DISTINCT FROM 'failed'},
	'0', 'all copies come to an end', hurry => 0);

my %objects = map { (split m{/}, $_->{key})[0] => $_ } @{ $storage->ledger->{objects} };
for my $case (@cases)
{
	my ($name, $id) = @$case{qw(name id)};
	my $job = job_of($node, $id);
	my $render = render_of($name);
	my $object = $objects{$id};

	if (defined $case->{code})
	{
		is($job->{state}, 'failed', "$name: failed");
		like($job->{error_code}, ref $case->{code} ? $case->{code} : qr/^$case->{code}$/, "$name: $job->{error_code}: $job->{error}");
		ok(!$object, "$name: nothing is in Storage");
		ok($job->{media_url}, "$name: fal's URL is kept");
	}
	else
	{
		is($job->{state}, 'completed', "$name: completed") or diag("$job->{error_code}: $job->{error}");
		is($object->{sha256}, $render->{media_sha256}, "$name: the object is fal's file");
		is($object->{content_type}, 'video/mp4', "$name: of a plain type");
		is($object->{uploads}, $case->{uploads}, "$name: uploaded $case->{uploads} times") if $case->{uploads};
	}
	is(scalar($fal->renders($name)), 1, "$name: one render");
}
is_deeply([ grep { my $o = $_; !grep { ($_->{media_sha256} || '') eq $o->{sha256} } @{ $fal->ledger->{jobs} } } values %objects ], [],
	'Storage never showed anything but whole files');
is($fal->ledger->{media_with_authorization}, 0, 'the media host never saw a key');
is($evil->ledger->{requests}{media}, 0, 'a host that is not on the list was never asked');
is($storage->ledger->{saw_other_host_credentials}, 0, 'Storage\'s key went to Storage only');

# The same of Storage, without nginx.
{
	my @faults = (
		[ 'reset', { kind => 'reset', after_bytes => 50000 } ],
		[ 'stalls', { kind => 'stall', after_bytes => 50000 } ],
		[ 'never answers', 'hang' ],
		[ 'keeps it, but does not say so', 'commit_then_drop' ],
		[ 'an early 413, but for parts', 'html413', times => -1 ]);
	my @ids;

	configure($node, storage_url => $storage->direct);
	for my $case (@faults)
	{
		my ($name, $fault, %more) = @$case;

		push @ids, new_row($node, "plain storage: $name");
		$storage->fault('upload', $fault, key => $ids[-1], times => 1, %more);
	}
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	for my $case (@faults)
	{
		my $id = shift @ids;
		wait_for_status($node, $id, 'completed', name => "plain storage: $case->[0]: completed");
		is($storage->object($id)->{sha256}, render_of("plain storage: $case->[0]")->{media_sha256}, "plain storage: $case->[0]: the object is fal's file");
	}
	configure($node, storage_url => $storage->url);
	$storage->clear_faults;
}

# A failed copy is paid for: trying again copies, and renders nothing.
{
	my ($case) = grep { $_->{name} eq 'storage: 500 for good' } @cases;

	$storage->clear_faults;
	is(video($node, "vibevideo_retry('$case->{id}')")->{status}, 'processing', 'vibevideo_retry of a failed copy copies');
	wait_for_status($node, $case->{id}, 'completed');
	is(scalar($fal->renders($case->{name})), 1, 'and does not pay again');
}

# -- too large --------------------------------------------------------------------------------
{
	configure($node, max_video_size => '300kB');
	$fal->rule('^too large', media => { bytes => 400000 });
	$fal->rule('^large enough', media => { bytes => 300000 });
	$fal->fault('media', 'no_length', prompt => '^too large, unannounced$', times => -1);
	for my $name ('too large, announced', 'too large, unannounced')
	{
		my $id = new_row($node, $name);

		submit($node, $id);
		wait_for_status($node, $id, 'failed');
		is(job_of($node, $id)->{error_code}, 'video_too_large', "$name: failed for that reason");
		is(render_of($name)->{counts}{media}, 1, "$name: at the first try");
		ok(!$storage->object($id), "$name: nothing is in Storage");
	}
	my $id = new_row($node, 'large enough');
	submit($node, $id);
	wait_for_status($node, $id, 'completed');
	sql($node, 'ALTER SYSTEM RESET vibevideo.max_video_size; SELECT pg_reload_conf()');
}

# -- what the bucket says ---------------------------------------------------------------------------
{
	my %buckets = (
		missing => [ undef, 'NoSuchBucket' ],
		small => [ { public => JSON::PP::true, file_size_limit => 5000 }, 'EntityTooLarge' ],
		pictures => [ { public => JSON::PP::true, allowed_mime_types => ['image/png'] }, 'InvalidMimeType' ]);

	for my $name (sort keys %buckets)
	{
		my ($bucket, $code) = @{ $buckets{$name} };
		my $id = new_row($node, "bucket $name");

		$storage->call('POST', '/bucket', { name => $name, %$bucket }) if $bucket;
		configure($node, storage_bucket => $name);
		submit($node, $id);
		wait_for_status($node, $id, 'failed');
		is(job_of($node, $id)->{error_code}, $code, "bucket $name: $code");
		cmp_ok(render_of("bucket $name")->{counts}{media}, '<=', 3, "bucket $name: after few tries");
		$storage->call('POST', '/bucket', { name => $name, public => JSON::PP::true, file_size_limit => undef, allowed_mime_types => undef });
		video($node, "vibevideo_retry('$id')");
		wait_for_status($node, $id, 'completed', name => "bucket $name: mended, the copy works");
	}

	my $id = new_row($node, 'bucket private');
	$storage->call('POST', '/bucket', { name => 'private', public => JSON::PP::false });
	configure($node, storage_bucket => 'private');
	submit($node, $id);
	wait_for_status($node, $id, 'completed');
	is($storage->object($id)->{sha256}, render_of('bucket private')->{media_sha256}, 'a private bucket holds the file');
	is(http_get(status_of($node, $id)->{video_url})->{status}, 400, 'which the public cannot see');
	like(sql($node, q{SELECT status, hint FROM vibevideo.check_config() WHERE check_name = 'bucket_public'}), qr/^warn\|.*signed URLs/,
		'check_config says so');
	sql($node, 'ALTER SYSTEM RESET vibevideo.storage_bucket; SELECT pg_reload_conf()');
}

# -- keys --------------------------------------------------------------------------------------------
{
	my $ready = $storage->{ready};
	my @keys = (
		[ 'expired JWT', $ready->{url}, $ready->{expired_jwt}, 'AccessDenied' ],
		[ 'anon JWT', $ready->{url}, $ready->{anon_jwt}, 'AccessDenied' ],
		[ 'sb_secret key, directly', $ready->{url}, $ready->{service_key}, qr/./ ],
		[ 'sb_secret key, through the gateway', $ready->{gateway_url}, $ready->{service_key}, undef ],
		[ 'JWT, through the gateway', $ready->{gateway_url}, $ready->{service_jwt}, undef ],
		[ 'JWT, directly', $ready->{url}, $ready->{service_jwt}, undef ]);

	for my $case (@keys)
	{
		my ($name, $url, $key, $code) = @$case;
		my $id = new_row($node, $name);

		configure($node, storage_url => $url, storage_key => $key);
		submit($node, $id);
		wait_for_status($node, $id, defined $code ? 'failed' : 'completed', name => "$name: " . ($code ? 'failed' : 'completed'));
		my $job = job_of($node, $id);
		if (defined $code)
		{
			like($job->{error_code}, ref $code ? $code : qr/^$code$/, "$name: $job->{error_code}: $job->{error}");
			unlike($job->{error}, qr/\Q$key\E/, "$name: the key is not in the error");
		}
		else
		{
			is($storage->object($id)->{sha256}, render_of($name)->{media_sha256}, "$name: the file is there");
		}
	}
	for my $secret (map { $_->[2] } @keys)
	{
		is(sql($node, "SELECT count(*) FROM vibevideo.job j WHERE strpos(to_jsonb(j)::text, '$secret') > 0"), '0', 'no job holds the key');
	}
}

# -- progress --------------------------------------------------------------------------------------------
{
	my $id = new_row($node, 'slow but steady');

	$fal->fault('media', { kind => 'slow', bytes_per_s => 30000 }, prompt => '^slow but steady$');
	submit($node, $id);
	wait_for($node, "SELECT message FROM vibevideo_status('$id')", qr/^Copying [1-9]\d? %, [1-9]\d* kB\/s, [1-9]\d? s left$/,
		'a slow copy tells its progress', hurry => 1);
	is(sql($node, "SELECT bytes_per_second BETWEEN 1 AND 100000, seconds_left BETWEEN 0 AND 99 FROM vibevideo.jobs WHERE vibelog_id = '$id'"), 't|t',
		'and how fast it goes');
	my $video = status_of($node, $id);
	ok($video->{progress} > 0 && $video->{progress} < 1, 'as a number, too');
	is($video->{status}, 'processing', 'the status is processing');
	ok(!$storage->object($id), 'Storage shows nothing yet');
	wait_for_status($node, $id, 'completed');
	is(sql($node, "SELECT bytes_per_second, seconds_left FROM vibevideo.jobs WHERE vibelog_id = '$id'"), '|', 'which is over when it is there');
}

# -- several at once ------------------------------------------------------------------------------------
{
	my @ids = map { new_row($node, "together $_") } 1 .. 6;

	# a new worker has no connection yet that could tell it anything
	configure($node, max_transfers => 3);
	my $pid = worker_pid($node);
	sql($node, "SELECT pg_terminate_backend($pid)");
	wait_for($node, "SELECT pid <> $pid FROM vibevideo.worker_info() WHERE pid IS NOT NULL", 't', 'a new worker is there');
	$storage->call('POST', '/reset', { only => 'ledger' });
	$fal->fault('media', { kind => 'slow', bytes_per_s => 60000 }, prompt => '^together ', times => -1);
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	wait_until(sub { my $now = $storage->ledger; return $now->{in_flight_uploads} == 3 && $now->{uploads}{finished} == 0 },
		'three uploads begin before the first one ends');
	wait_for_status($node, $_, 'completed') for @ids;
	is($storage->ledger->{max_in_flight_uploads}, 3, 'max_transfers copies run at the same time');
	$fal->clear_faults;
}

# -- memory ------------------------------------------------------------------------------------------------
SKIP:
{
	my $pid = worker_pid($node);
	my $large = 'three hundred megabytes';
	my $unannounced = 'a hundred megabytes, unannounced';

	skip 'no /proc', 6 unless -r "/proc/$pid/status";
	configure($node, storage_url => $sink->url);
	$fal->rule("^$large\$", media => { bytes => 300 * 1024 * 1024 });
	$fal->rule("^$unannounced\$", media => { bytes => 100 * 1024 * 1024 });
	$fal->fault('media', 'no_length', prompt => "^$unannounced\$");
	for my $name ($large, $unannounced)
	{
		my $peak = sub { return slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 : 0 };
		my $before = $peak->();
		my $id = new_row($node, $name);

		submit($node, $id);
		wait_for_status($node, $id, 'completed', patience => 90);
		is($sink->object($id)->{sha256}, render_of($name)->{media_sha256}, "$name: arrive whole");
		is(worker_pid($node), $pid, "$name: by the same worker");
		my $grew = $peak->() - $before;
		cmp_ok($grew, '<', 32 * 1024, "$name: the worker's memory grew by $grew kB only");
	}
}

done_testing();
