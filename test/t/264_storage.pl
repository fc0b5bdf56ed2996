# What Storage answers, and what stands in front of it: what a copy makes of it.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $SIZE = 9_000_000;    # more than a part of 6 MiB
my $fal = start_fal(default => { queue_ms => 0, run_ms => 0, media => { bytes => $SIZE } });
# nothing in between: it is about who reads what of a connection
my $storage = start_storage(front => 'plain');
my $other = start_storage(front => 'plain');
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'vibevideo.stall_timeout' => '20s',
	'vibevideo.max_tries' => 4 });

sub render_of
{
	return ($fal->renders($_[0]))[0];
}

# The end of a copy that went well.
sub check_stored
{
	my ($name, $id, $from) = @_;
	my $job = job_of($node, $id);
	my $object = ($from || $storage)->object($id);

	is($job->{state}, 'completed', "$name: completed") or diag("$job->{error_code}: $job->{error}");
	is($object->{sha256}, render_of($name)->{media_sha256}, "$name: the object is fal's file");
	return ($job, $object);
}

# start_late(prompt) - a copy whose video is late, so that settings change in its middle.
sub start_late
{
	my ($name) = @_;
	my $id = new_row($node, $name);

	$fal->fault('media', { kind => 'delay', ms => 3000 }, prompt => "^$name\$");
	submit($node, $id);
	wait_for($node, q{SELECT query FROM pg_stat_activity WHERE backend_type = 'vibevideo worker' AND datname = 'postgres'}, qr/copying 1/,
		"$name: it has begun", hurry => 1);
	return $id;
}

# -- settings that change in the middle ---------------------------------------------------------
for my $case ([ 'in one piece', '50MB' ], [ 'in parts', '1MB' ])
{
	my ($way, $threshold) = @$case;
	my $name = "changed, $way";

	configure($node, resumable_threshold => $threshold);
	my $id = start_late($name);
	configure($node, storage_url => $other->url, storage_public_url => 'https://other.example.com', storage_bucket => 'elsewhere');
	wait_for_status($node, $id, 'completed', name => "$name: the copy ends");
	my ($job, $object) = check_stored($name, $id);
	is($object->{bucket}, 'videos', "$name: in the bucket of when it began");
	is($job->{video_url}, $storage->url . "/object/public/videos/$object->{key}", "$name: its address is that");
	is($other->ledger->{auth}{apikey}, 0, "$name: and the key went nowhere else");
	configure($node, storage_url => $storage->url, storage_public_url => '', storage_bucket => 'videos');
}

# -- a connection on which Storage has refused a body -------------------------------------------------
# It does not read what is left of the body, nor anything after it.  The body must fit
# into the buffers of the sockets: a larger one ends its connection anyway.
{
	my ($pid, $log) = (worker_pid($node), -s $node->logfile);

	$fal->rule('^refused ', media => { bytes => 1_000_000 });
	configure($node, resumable_threshold => '50MB', storage_key => $storage->{ready}{anon_jwt});
	for my $name ('refused once', 'refused again')
	{
		my $id = new_row($node, $name);

		submit($node, $id);
		wait_for_status($node, $id, 'failed', name => "$name: it fails");
		my $job = job_of($node, $id);
		is("$job->{error_code}: $job->{error}", 'AccessDenied: new row violates row-level security policy', "$name: row-level security says no");
		cmp_ok($job->{tries}, '>=', 3, "$name: three times");
	}
	configure($node, storage_key => $storage->{ready}{service_jwt});
	my $id = new_row($node, 'refused no more');
	submit($node, $id);
	wait_for_status($node, $id, 'completed');
	check_stored('refused no more', $id);
	unlike(slurp_file($node->logfile, $log), qr/no progress|broke/, 'no upload waited on a connection that nobody reads');
	is(worker_pid($node), $pid, 'the worker is still the same');
}

# -- Retry-After ------------------------------------------------------------------------------------
{
	my $late = 'Fri, 31 Dec 2100 23:59:59 GMT';
	my @cases = (
		# name, request, status, Retry-After, seconds
		[ 'Retry-After of a 429', 'upload', 429, 100, 100 ],
		[ 'Retry-After of a 503', 'upload', 503, 200, 200 ],
		[ 'Retry-After, a date', 'upload', 503, $late, 86400 ],
		[ 'Retry-After of a new upload in parts', 'tus_create', 503, 300, 300 ],
		[ 'Retry-After of a part', 'tus_patch', 429, 400, 400 ],
		[ "Retry-After of the video's host", 'media', 503, 500, 500 ]);

	for my $case (@cases)
	{
		my ($name, $request, $status, $header, $seconds) = @$case;
		my $id = new_row($node, $name);
		my $fault = { kind => 'http', status => $status, body => 'busy', headers => { 'retry-after' => "$header" } };

		configure($node, resumable_threshold => $request eq 'upload' ? '50MB' : '1MB');
		$request eq 'media' ? $fal->fault('media', $fault, prompt => "^$name\$") : $storage->fault($request, $fault, key => "/$id/");
		submit($node, $id);
		wait_for($node, "SELECT error_code FROM vibevideo.job WHERE vibelog_id = '$id'", qr/./, "$name: it is refused");
		is(sql($node, "SELECT round(extract(epoch FROM next_at - updated_at)) FROM vibevideo.job WHERE vibelog_id = '$id'"), $seconds,
			"$name: so long it waits");
		wait_for_status($node, $id, 'completed', name => "$name: and goes on");
		check_stored($name, $id);
	}
	$storage->clear_faults;
}

# -- 413 --------------------------------------------------------------------------------------------
{
	my @bodies = (
		[ 'a page', { kind => 'html413' } ],
		[ 'a text', { kind => 'http', status => 413, body => 'Payload Too Large' } ],
		[ 'nothing', { kind => 'http', status => 413 } ],
		[ "Kong's JSON", { kind => 'http', status => 413, body => { message => 'Request size limit exceeded' } } ],
		[ 'JSON with other fields', { kind => 'http', status => 413, body => { code => 413, error => 'too large' } } ]);
	my $own = { kind => 'http', status => 413, body => { statusCode => '413', error => 'Payload too large', message => 'Request body is too large' } };

	configure($node, resumable_threshold => '50MB');
	for my $body (@bodies)
	{
		my ($what, $fault) = @$body;
		my $name = "413 with $what";
		my $id = new_row($node, $name);

		$storage->fault('upload', $fault, key => "/$id/", times => -1);
		submit($node, $id);
		wait_for_status($node, $id, 'completed', name => "$name: it goes in parts");
		check_stored($name, $id);
		my ($upload) = grep { $_->{key} =~ m{^$id/} } @{ $storage->ledger->{tus} };
		is($upload->{patches}, 2, "$name: two of them");
		# an answer that comes early may be lost with its connection, which is one more try
		cmp_ok(render_of($name)->{counts}{media}, '>=', 2, "$name: after one refusal");
	}

	# parts are refused as well
	my $id = new_row($node, '413 for parts, too');
	$storage->fault('upload|tus_patch', $bodies[3][1], key => "/$id/", times => -1);
	submit($node, $id);
	wait_for_status($node, $id, 'failed', name => 'a proxy that refuses parts, too, ends it');
	my $job = job_of($node, $id);
	is($job->{error_code}, 'EntityTooLarge', 'for the size');
	is($job->{error}, 'Request size limit exceeded, not from Storage', 'which is not Storage\'s');
	cmp_ok($job->{tries}, '>=', 3, 'after three tries');

	# Storage's own limit
	for my $case ([ 'bucket', undef, 'The object exceeded the maximum allowed size' ], [ 'server', $own, 'Request body is too large' ])
	{
		my ($whose, $fault, $error) = @$case;

		$id = new_row($node, "limit of the $whose");
		$storage->call('POST', '/bucket', { name => 'videos', file_size_limit => 5_000_000 }) unless $fault;
		$storage->fault('upload', $fault, key => "/$id/", times => -1) if $fault;
		submit($node, $id);
		wait_for_status($node, $id, 'failed', name => "limit of the $whose: it fails");
		$job = job_of($node, $id);
		is("$job->{error_code}: $job->{error}", "EntityTooLarge: $error", "limit of the $whose: as Storage says");
		cmp_ok($job->{tries}, '>=', 3, "limit of the $whose: after three tries");
		ok(!(grep { $_->{key} =~ m{^$id/} } @{ $storage->ledger->{tus} }), "limit of the $whose: parts are not tried");
		$storage->call('POST', '/bucket', { name => 'videos', file_size_limit => undef });
	}
	$storage->clear_faults;
}

# -- longer than Storage takes, which shows on the way ----------------------------------------------
{
	$storage->call('POST', '/bucket', { name => 'small', public => JSON::PP::true, file_size_limit => 8_000_000 });
	# an answer that comes early may be lost with its connection, which is one more try
	configure($node, storage_bucket => 'small', max_tries => 20);
	for my $case ([ 'a part goes beyond the limit', 30_000_000, "upload's size exceeded" ], [ 'the end is beyond the limit', $SIZE, 'Maximum size exceeded' ])
	{
		my ($name, $size, $error) = @$case;
		my $id = new_row($node, $name);
		my $log = -s $node->logfile;

		$fal->rule("^$name\$", media => { bytes => $size });
		$fal->fault('media', 'no_length', prompt => "^$name\$");
		submit($node, $id);
		wait_for_status($node, $id, 'failed', name => "$name: it fails");
		my $job = job_of($node, $id);
		is($job->{error_code}, 'EntityTooLarge', "$name: for its size");
		# or it says so of the length alone, or only at last, when its first answers are lost with the connection
		like(slurp_file($node->logfile, $log), qr/-> (?:processing|failed): HTTP 413: (?:$error|Maximum size exceeded)$/m, "$name: Storage says so");
		# the rest of a file, which the next try asks for, comes with the length of all of it
		is($job->{error}, 'HTTP 413: Maximum size exceeded', "$name: and then of its length");
		cmp_ok($job->{tries}, '>=', 3, "$name: after three tries");
		my @uploads = grep { $_->{key} =~ m{^$id/} } @{ $storage->ledger->{tus} };
		is(scalar(@uploads), 1, "$name: of one upload");
		is($uploads[0]{received}, 6 * 1024 * 1024, "$name: whose first part was sent once");
		ok(!$storage->object($id), "$name: nothing is stored");
	}
	configure($node, storage_bucket => 'videos', max_tries => 4);
}

# -- an upload in parts that expires, by its age ---------------------------------------------------
{
	my $rate = 4_000_000;
	my %cases = (
		'expires' => { fault => { kind => 'slow' } },
		'expires, of unknown length' => { fault => { kind => 'no_length' } },
		'expires, and goes in parts only' => { fault => { kind => 'slow' }, refuse => { kind => 'html413' },
			why => 'in one piece it is not accepted', tries => 3, uploads => 4 },
		'expires, and is too large in one piece' => { fault => { kind => 'slow' },
			refuse => { kind => 'http', status => 400, body => { statusCode => '413', error => 'Payload too large', code => 'EntityTooLarge' } },
			why => 'in one piece it is not accepted', tries => 3, uploads => 4 });

	configure($node, resumable_threshold => '1MB', max_transfers => 8);
	$storage->call('POST', '/config', { tus_expiry_ms => 2000 });
	my $log = -s $node->logfile;
	for my $name (keys %cases)
	{
		my $case = $cases{$name};

		$case->{id} = new_row($node, $name);
		$fal->rule("^$name\$", media => { bytes => 20_000_000 });
		$fal->fault('media', { %{ $case->{fault} }, bytes_per_s => $rate }, prompt => "^$name\$", times => -1);
		$storage->fault('upload', $case->{refuse}, key => "/$case->{id}/", times => -1) if $case->{refuse};
	}
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', map { $_->{id} } values %cases) . "}')");
	wait_for_status($node, $cases{$_}{id}, $cases{$_}{why} ? 'failed' : 'completed', patience => 60, name => "$_: comes to an end") for sort keys %cases;
	for my $name (sort keys %cases)
	{
		my ($id, $why, $tries, $uploads) = @{ $cases{$name} }{qw(id why tries uploads)};
		my @uploads = grep { $_->{key} =~ m{^$id/} } @{ $storage->ledger->{tus} };
		my $job = job_of($node, $id);

		if ($why)
		{
			is($job->{error_code}, 'upload_expired', "$name: for that reason");
			like($job->{error}, qr/at a certain age, before all of this one is there; $why$/, "$name: says it");
			is($job->{tries}, $tries, "$name: after three tries");
			is(scalar(@uploads), $uploads, "$name: of a few uploads");
			next;
		}
		check_stored($name, $id);
		is(scalar(@uploads), 1, "$name: one upload in parts");
		is(render_of($name)->{counts}{media}, 2, "$name: then one in one piece");
	}
	unlike(slurp_file($node->logfile, $log), qr/start over too many times/, 'nothing goes round in circles');
	$storage->clear_faults;

	# a try may not last as long as it takes
	my $name = 'expires between tries';
	my $id = new_row($node, $name);
	configure($node, copy_timeout => '10s');
	$storage->call('POST', '/config', { tus_expiry_ms => 9500 });
	$fal->rule("^$name\$", media => { bytes => 20_000_000 });
	$fal->fault('media', { kind => 'slow', bytes_per_s => 1_500_000 }, prompt => "^$name\$", times => -1);
	submit($node, $id);
	wait_for_status($node, $id, 'failed', patience => 90, name => "$name: comes to an end");
	my $job = job_of($node, $id);
	is($job->{error_code}, 'upload_expired', "$name: for that reason");
	like($job->{error}, qr/; in one piece it would not be there within vibevideo.copy_timeout$/, "$name: says it");
	$storage->call('POST', '/config', { tus_expiry_ms => 0 });
	configure($node, copy_timeout => '1h');
}

done_testing();
