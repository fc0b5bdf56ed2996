# Copies into an S3 endpoint, which checks every signature by itself.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal(default => { queue_ms => 0, run_ms => 0 });
my $storage = start_storage(args => [ '--s3-region', 'eu-central-1' ]);
# without anything in between, which would answer Expect: 100-continue itself
my $direct = start_storage(args => [ '--s3-region', 'eu-central-1' ], front => 'plain');
my ($key_id, $secret) = split(/:/, $storage->{ready}{s3_key}, 2);
my $endpoint = $storage->url . '/s3';
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'vibevideo.storage_kind' => 's3',
	'vibevideo.storage_url' => $endpoint,
	'vibevideo.storage_key' => "$key_id:$secret",
	'vibevideo.storage_region' => 'eu-central-1',
	'vibevideo.resumable_threshold' => '1MB',
	'vibevideo.stall_timeout' => '2s',
	'vibevideo.max_tries' => 4 });

# A copy of a new row, to its end.
sub copy
{
	my ($name, $status) = @_;
	my $id = new_row($node, $name);

	submit($node, $id);
	wait_for_status($node, $id, $status, name => "$name: $status");
	return ($id, job_of($node, $id), ($fal->renders($name))[0]);
}

# -- what arrives -----------------------------------------------------------------------------
{
	my ($id, $job, $render) = copy('plain', 'completed');
	my $object = $storage->object($id);

	is($object->{sha256}, $render->{media_sha256}, 'the object is fal\'s file');
	is($object->{key}, "$id/$job->{request_id}.mp4", 'named after row and request');
	is($object->{content_type}, 'video/mp4', 'of its type');
	is($object->{cache_control}, 'max-age=3600', 'to be cached for an hour');
	is($job->{sha256}, "\\x$object->{sha256}", 'the job knows its hash');
	is($job->{video_url}, "$endpoint/videos/$object->{key}", 'and its address below the endpoint');
	is_deeply($storage->ledger->{signed_for}, { 'eu-central-1' => 1 }, 'one request, signed for storage_region');
	is($storage->ledger->{auth}{apikey}, 0, 'and without Supabase\'s headers');
	like(sql($node, q{SELECT string_agg(check_name || ': ' || status || ': ' || detail, E'\n') FROM vibevideo.check_config()}), qr/S3 at \Q$endpoint\E/,
		'check_config names the endpoint');

	$fal->rule('^large$', media => { bytes => 9_000_000 });
	($id, $job, $render) = copy('large', 'completed');
	is($storage->object($id)->{sha256}, $render->{media_sha256}, 'a large file arrives');
	is(scalar(@{ $storage->ledger->{tus} }), 0, 'in one piece: parts are Supabase Storage\'s');
}

# -- faults, all at once ---------------------------------------------------------------------------
my @cases = (
	[ 'storage: 503, then fine', undef, 'slow_down' ],
	[ 'storage: 500, then fine', undef, 'internal' ],
	[ 'storage: 502 of a gateway, then fine', undef, { kind => 'gateway', status => 502 } ],
	[ 'storage: reset, then fine', undef, { kind => 'reset', after_bytes => 50000 } ],
	[ 'storage: stalls, then fine', undef, { kind => 'stall', after_bytes => 50000 } ],
	[ 'storage: keeps it, but does not say so', undef, 'commit_then_drop' ],
	[ 'media: truncated, then fine', { kind => 'truncate', bytes => 60000 }, undef ],
	[ 'media: no length, but small', 'no_length', undef ],
	[ 'media: no length', 'no_length', undef, undef, times => -1 ],
	[ 'media: no length at first', 'no_length', undef ],
	[ 'media: no length, and more of it the second time', { kind => 'no_length', bytes => 6_000_000 }, undef ],
	[ 'storage: redirect', undef, 'redirect', 'Redirected', times => -1 ],
	# an answer that comes while the file is still being sent may be lost with the stream
	[ 'storage: 500 for good', undef, 'internal', 'InternalError|connection_lost', times => -1 ]);
$fal->rule('^media: no length( at first)?$', media => { bytes => 9_000_000 });
$fal->rule('second time$', media => { bytes => 20_000_000 });
for my $case (@cases)
{
	my ($name, $media_fault, $storage_fault, undef, %more) = @$case;
	my $id = new_row($node, $name);

	push @$case, (undef) x (3 - $#$case) if @$case < 4;
	push @$case, id => $id;
	$fal->fault('media', $media_fault, prompt => "^$name\$", times => $more{times} || 1) if $media_fault;
	$fal->fault('media', 'no_length', prompt => "^$name\$") if $name =~ /second time/;
	$storage->fault('s3_put', $storage_fault, key => "/$id/", times => $more{times} || 1) if $storage_fault;
}
sql($node, q{SELECT vibevideo_submit_batch(array_agg(id)) FROM vibelogs WHERE prompt ~ '^(media|storage): '});
wait_for($node, q{SELECT count(*) FROM vibelogs WHERE prompt ~ '^(media|storage): ' AND video_generation_status IS DISTINCT FROM 'completed' AND video_generation_status IS DISTINCT FROM 'failed'},
	'0', 'all copies come to an end');
for my $case (@cases)
{
	my ($name, undef, undef, $code, %more) = @$case;
	my $job = job_of($node, $more{id});
	my $object = $storage->object($more{id});

	if ($code)
	{
		is($job->{state}, 'failed', "$name: failed");
		like($job->{error_code}, qr/^(?:$code)$/, "$name: $job->{error}");
		ok(!$object, "$name: nothing is stored");
		next;
	}
	is($job->{state}, 'completed', "$name: completed") or diag("$job->{error_code}: $job->{error}");
	is($object->{sha256}, ($fal->renders($name))[0]{media_sha256}, "$name: the object is fal's file");
	is($object->{uploads}, 1, "$name: and was never another") if $name =~ /^media/;
}
$storage->clear_faults;
is(($fal->renders($_))[0]{counts}{media}, 2, "$_: read once for its length, once for its bytes") for 'media: no length', 'media: no length at first';

# -- what it refuses without a word ---------------------------------------------------------------------
{
	my $id = new_row($node, 'no message');

	$storage->fault('s3_put', { kind => 'http', status => 403, body => '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>' }, key => "/$id/", times => -1);
	submit($node, $id);
	wait_for_status($node, $id, 'failed');
	my $job = job_of($node, $id);
	is("$job->{error_code}: $job->{error}", 'AccessDenied: HTTP 403, AccessDenied', 'an error without a message is called by its code');
	$storage->clear_faults;
}

# -- what it refuses -----------------------------------------------------------------------------------
{
	$storage->call('POST', '/bucket', { name => 'small', public => JSON::PP::true, file_size_limit => 5000 });
	$storage->call('POST', '/bucket', { name => 'pictures', public => JSON::PP::true, allowed_mime_types => ['image/png'] });
	my %refusals = (missing => 'NoSuchBucket', small => 'EntityTooLarge', pictures => 'InvalidMimeType');
	for my $bucket (sort keys %refusals)
	{
		configure($node, storage_bucket => $bucket);
		my (undef, $job) = copy("bucket $bucket", 'failed');
		is($job->{error_code}, $refusals{$bucket}, "bucket $bucket: $job->{error}");
	}
	configure($node, storage_bucket => 'videos');

	my %keys = ('wrong secret' => [ "$key_id:not$secret", qr/^SignatureDoesNotMatch$/ ], 'wrong key' => [ "not$key_id:$secret", qr/^(AccessDenied|InvalidAccessKeyId)$/ ]);
	for my $name (sort keys %keys)
	{
		my ($key, $code) = @{ $keys{$name} };

		configure($node, storage_key => $key, storage_region => "us-$name" =~ s/ /-/r);
		my ($id, $job) = copy($name, 'failed');
		like($job->{error_code}, $code, "$name: $job->{error}");
		ok(!$storage->object($id), "$name: nothing is stored");
		is(sql($node, "SELECT count(*) FROM vibevideo.job j WHERE strpos(to_jsonb(j)::text, '$secret') > 0"), '0', "$name: no job holds the secret");
	}
	configure($node, storage_key => "$key_id:$secret", storage_region => 'eu-central-1');
}

# -- it asks for patience ------------------------------------------------------------------------------
{
	my $id = new_row($node, 'slow down');

	$storage->fault('s3_put', { kind => 'http', status => 503, headers => { 'retry-after' => '150' }, body => '<Error><Code>SlowDown</Code></Error>' },
		key => "/$id/");
	submit($node, $id);
	wait_for($node, "SELECT error_code FROM vibevideo.job WHERE vibelog_id = '$id'", 'SlowDown', 'S3 wants fewer requests');
	is(sql($node, "SELECT round(extract(epoch FROM next_at - updated_at)) FROM vibevideo.job WHERE vibelog_id = '$id'"), '150', 'so long it waits');
	wait_for_status($node, $id, 'completed');
}

# -- signed for another region or host --------------------------------------------------------------------
# copy_in_vain(prompt, pattern, emulator) - it fails after three tries, with an error like that
sub copy_in_vain
{
	my ($name, $error, $server) = @_;

	$server->call('POST', '/reset', { only => 'ledger' });
	my ($id, $job) = copy($name, 'failed');
	is($job->{error_code}, 'SignatureDoesNotMatch', "$name: its code");
	like($job->{error}, $error, "$name: says what was signed");
	cmp_ok($job->{tries}, '>=', 3, "$name: after three tries");
	is($server->ledger->{requests}{s3_put}, 3, "$name: of one request each");
	return;
}
{
	my ($host) = $storage->url =~ m{//([^/]+)};
	my ($direct_host) = $direct->url =~ m{//([^/]+)};

	for my $region ('us-east-1', 'eu-central-1')
	{
		configure($node, storage_region => $region);
		copy("region $region", 'completed');
	}
	configure($node, storage_region => 'eu-west-3');
	copy_in_vain('region eu-west-3', qr/region "eu-west-3" and host "\Q$host\E"/, $storage);
	configure($node, storage_region => 'eu-central-1');

	# STORAGE_PUBLIC_URL
	$storage->call('POST', '/config', { public_url => 'https://files.example.com/storage/v1' });
	copy_in_vain('an internal host', qr/region "eu-central-1" and host "\Q$host\E"/, $storage);
	$storage->call('POST', '/config', { public_url => $storage->url . '/storage/v1' });
	copy('the public host', 'completed');
	$storage->call('POST', '/config', { public_url => '' });

	# libcurl asks before it sends: the refusal comes before the body, and a second one if that never comes
	configure($node, storage_region => 'eu-west-3', storage_url => $direct->url . '/s3');
	$fal->rule('^refused before', media => { bytes => 9_000_000 });
	copy_in_vain($_, qr/region "eu-west-3" and host "\Q$direct_host\E"/, $direct) for 'refused', 'refused before nine megabytes';
	configure($node, storage_region => 'eu-central-1', storage_bucket => 'missing', max_tries => 20);
	my (undef, $job) = copy('refused before it is read', 'failed');
	# a try more if the server's reset of the connection overtook its answer
	is($job->{error_code}, 'NoSuchBucket', "the answer to a body that is not read: $job->{error} ($job->{tries} tries)");
	configure($node, storage_bucket => 'videos', max_tries => 4);
	copy('refused no more', 'completed');
	is($direct->ledger->{in_flight_uploads}, 0, 'no upload is left over');
	configure($node, storage_url => $endpoint);
}

# -- settings that change in the middle ----------------------------------------------------------------
# start_slow(prompt) - a copy whose length is counted first, which takes a while
sub start_slow
{
	my ($name) = @_;
	my $id = new_row($node, $name);

	$fal->rule("^$name\$", media => { bytes => 9_000_000 });
	$fal->fault('media', { kind => 'no_length', bytes_per_s => 3_000_000 }, prompt => "^$name\$");
	submit($node, $id);
	wait_for($node, q{SELECT query FROM pg_stat_activity WHERE backend_type = 'vibevideo worker' AND datname = 'postgres'}, qr/copying 1/,
		"$name: it is being counted", hurry => 1);
	return $id;
}
{
	configure($node, storage_key => "$key_id:not$secret");
	$storage->call('POST', '/reset', { only => 'ledger' });
	my $id = start_slow('another key');
	configure($node, storage_key => "$key_id:$secret");
	wait_for_status($node, $id, 'completed');
	is($storage->ledger->{requests}{s3_put}, 1, 'a copy that starts over takes the key of then');
}

# -- behind a gateway --------------------------------------------------------------------------------------
{
	# its prefix is part of what is signed
	configure($node, storage_region => 'auto', storage_url => "$storage->{ready}{gateway_url}/s3");
	my ($id, undef, $render) = copy('through the gateway', 'completed');
	is($storage->object($id)->{sha256}, $render->{media_sha256}, 'a signature holds through the gateway');
	cmp_ok($storage->ledger->{signed_for}{auto}, '==', 1, 'for region auto');
	is($storage->ledger->{saw_other_host_credentials}, 0, 'nothing signed went elsewhere');
	is($fal->ledger('?sha=0')->{media_with_authorization}, 0, 'nor to the media host');
}

done_testing();
