# Large videos go to Storage in parts, and are gone on with where they stopped.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $PART = 6 * 1024 * 1024;
my $SIZE = 20_000_000;
my $fal = start_fal(default => { queue_ms => 0, run_ms => 0, media => { bytes => $SIZE } });
# it tells addresses at which no key must ever arrive, and takes parts of 6 MiB only, but for the last
my $storage = start_storage(args => [ '--tus-location', 'wrong', '--tus-chunk-rule' ]);
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'restart_after_crash' => 'on',
	'vibevideo.media_hosts' => join(', ', $fal->url, $fal->direct),
	'vibevideo.stall_timeout' => '5s',
	'vibevideo.resumable_threshold' => '1MB' });

sub render_of
{
	return ($fal->renders($_[0]))[0];
}

# The resumable uploads of a row's job, oldest first.
sub uploads_of
{
	my ($id) = @_;

	return grep { $_->{key} =~ m{^\Q$id\E/} } @{ $storage->ledger->{tus} };
}

sub sum
{
	my $sum = 0;

	$sum += $_ for @_;
	return $sum;
}

# The end of every case: the whole file, and how it got there.
sub check_copy
{
	my ($name, $id, %expected) = @_;
	my $job = job_of($node, $id);
	my $render = render_of($name);
	my $object = $storage->object($id);
	my @uploads = uploads_of($id);
	my $size = $expected{size} || $SIZE;

	is($job->{state}, 'completed', "$name: completed") or diag("$job->{error_code}: $job->{error}");
	is($object->{sha256}, $render->{media_sha256}, "$name: the object is fal's file");
	is($object->{content_type}, 'video/mp4', "$name: of its type");
	is($job->{bytes_done}, $size, "$name: and the job knows its size");
	is(scalar(@uploads), $expected{uploads}, "$name: resumable uploads begun") if defined $expected{uploads};
	is($render->{counts}{media}, $expected{media}, "$name: requests to the media host") if defined $expected{media};
	is($render->{counts}{media_ranges}, $expected{ranges}, "$name: of them answered with the rest alone") if defined $expected{ranges};
	is(sum(map { $_->{received} } @uploads), $size, "$name: no byte was sent twice") if $expected{once};
	is($job->{sha256} ? 1 : 0, $expected{hashed}, "$name: " . ($expected{hashed} ? 'hashed' : 'has no hash'))
		if defined $expected{hashed};
	is($job->{sha256}, "\\x$render->{media_sha256}", "$name: the hash is right") if $expected{hashed};
	is($job->{duration_ms}, 5005, "$name: its duration was seen, whoever saw the beginning");
	is($job->{upload_url}, undef, "$name: the upload is forgotten");
	return;
}

# -- faults of either side, all at once --------------------------------------------------------
my $cut = { kind => 'truncate', bytes => 9_000_000 };
my @once = (uploads => 1, once => 1);
my @cases = (
	# name, faults of the media host and of Storage in their order, what comes of it
	[ 'large', [], [], @once, media => 1, ranges => 0, hashed => 1 ],
	[ 'large, its movie header last', [], [], @once, media => 1, ranges => 0, hashed => 1 ],
	[ 'media: cut, its movie header last', [$cut], [], @once, media => 2, ranges => 1, hashed => 1 ],
	[ 'media: cut', [$cut], [], @once, media => 2, ranges => 1, hashed => 1 ],
	[ 'media: cut twice', [ $cut, $cut ], [], @once, media => 3, ranges => 2, hashed => 1 ],
	[ 'media: reset', [ { %$cut, reset => JSON::PP::true } ], [], @once, media => 2, ranges => 1, hashed => 1 ],
	[ 'media: cut, then without ranges', [ $cut, 'no_range' ], [], uploads => 2, media => 2, ranges => 0, hashed => 1 ],
	[ 'media: cut, then without ranges, its first bytes alone', [ $cut, { kind => 'no_range', alone => 5 } ], [], uploads => 2, media => 2, ranges => 0, hashed => 1 ],
	[ 'media: cut, then another file', [ $cut, { kind => 'etag', value => '"other"' } ], [], uploads => 2, media => 2, ranges => 0, hashed => 1 ],
	[ 'media: cut, then another range', [ $cut, 'wrong_range' ], [], uploads => 2, media => 3, ranges => 1, hashed => 1 ],
	[ 'media: weak ETag and cut', [ { kind => 'etag', value => 'W/"x"' } ], [ [ 'tus_patch', { kind => 'reset', after_bytes => 1000 }, skip => 1 ] ],
		uploads => 2, media => 2, ranges => 0, hashed => 1 ],
	[ 'media: no length', ['no_length'], [], @once, media => 1, ranges => 0, hashed => 1 ],
	[ 'media: no length, and slow', [ { kind => 'no_length', bytes_per_s => 8_000_000 } ], [], @once, media => 1, ranges => 0, hashed => 1 ],
	[ 'media: no length, and Storage resets', ['no_length'], [ [ 'tus_patch', { kind => 'reset', after_bytes => 1_000_000 }, skip => 1 ] ],
		@once, media => 2, ranges => 1, hashed => 1 ],
	[ 'storage: reset in the first part', [], [ [ 'tus_patch', { kind => 'reset', after_bytes => 1_000_000 } ] ], @once, media => 2, ranges => 1, hashed => 1 ],
	[ 'storage: reset in the third part', [], [ [ 'tus_patch', { kind => 'reset', after_bytes => 1_000_000 }, skip => 2 ] ], @once, media => 2, ranges => 1, hashed => 1 ],
	[ 'storage: keeps a part, but does not say so', [], [ [ 'tus_patch', 'commit_then_drop', skip => 1 ] ], @once, media => 2, ranges => 1, hashed => 1 ],
	[ 'storage: keeps the last part, but does not say so', [], [ [ 'tus_patch', 'commit_then_drop', skip => 3 ] ], @once, media => 1, ranges => 0, hashed => 1 ],
	[ 'storage: has the last byte, but makes no object', [], [ [ 'tus_patch', { kind => 'reset', after_bytes => $SIZE - 3 * $PART }, skip => 3 ] ],
		uploads => 2, media => 2, ranges => 0, hashed => 1 ],
	[ 'storage: keeps the last part, and is asked for it in vain', [],
		[ [ 'tus_patch', 'commit_then_drop', skip => 3 ], [ 'info', 'internal' ] ], @once, media => 1, ranges => 0, hashed => 1 ],
	[ 'storage: stalls', [], [ [ 'tus_patch', { kind => 'stall', after_bytes => 50000 }, skip => 1 ] ], uploads => 1, hashed => 1 ],
	[ 'storage: offset conflict', [], [ [ 'tus_patch', { kind => 'http', status => 409, body => 'Upload-Offset conflict' }, skip => 1 ] ],
		uploads => 1, media => 2, ranges => 1, hashed => 1 ],
	[ 'storage: offset conflicts without end', [], [ [ 'tus_patch', { kind => 'http', status => 409, body => 'Upload-Offset conflict' }, skip => 1, times => 9 ] ],
		uploads => 1, hashed => 1 ],
	# nginx, which is still sending the body, may answer 502 instead
	[ 'storage: upload vanishes', [], [ [ 'tus_patch', { kind => 'http', status => 404, body => 'gone' }, skip => 2 ] ], uploads => 2, media => 2, ranges => 0, hashed => 1, plain => 1 ],
	# it goes on in one piece
	[ 'storage: upload expires', [], [ [ 'tus_patch', { kind => 'http', status => 410, body => 'gone' }, skip => 2 ] ], uploads => 1, media => 2, ranges => 0, hashed => 1, plain => 1 ],
	[ 'storage: upload expires between tries', [$cut], [ [ 'tus_head', { kind => 'http', status => 410 } ] ], uploads => 2, media => 2, ranges => 0, hashed => 1 ],
	[ 'storage: upload unknown', [$cut], [ [ 'tus_head', { kind => 'http', status => 404 } ] ], uploads => 2, media => 2, ranges => 0, hashed => 1 ],
	[ 'storage: locked', [$cut], [ [ 'tus_head', { kind => 'http', status => 423 } ] ], @once, media => 2, ranges => 1, hashed => 1 ],
	[ 'storage: the key is refused for a moment', [$cut], [ [ 'tus_head', { kind => 'http', status => 400 } ] ], uploads => 2, hashed => 1 ],
	[ 'storage: cannot create', [], [ [ 'tus_create', 'internal' ] ], @once, media => 2, ranges => 0, hashed => 1 ],
	[ 'storage: token expired for a moment', [], [ [ 'tus_patch', 'jwt_expired', skip => 1 ] ], uploads => 1, media => 2, ranges => 1, hashed => 1 ]);

$fal->rule('movie header last$', media => { bytes => $SIZE, movie_last => JSON::PP::true });
for my $case (@cases)
{
	my ($name, $media, $faults, %expected) = @$case;
	my $id = new_row($node, $name);

	push @$case, id => $id;
	# how much of what was sent arrives is sure without nginx only, which drops what it has not read or sent yet
	$fal->rule('^' . quotemeta($name) . '$', media => { base => $fal->direct, bytes => $SIZE, $name =~ /movie header last$/ ? (movie_last => JSON::PP::true) : () })
	  if grep { ref && $_->{kind} eq 'truncate' } @$media;
	$fal->fault('media', $_, prompt => "^$name\$") for @$media;
	$storage->fault($_->[0], $_->[1], key => "/$id/", @$_[ 2 .. $#$_ ]) for @$faults;
}
for my $plain (0, 1)
{
	my @ids = map { my (undef, undef, undef, %expected) = @$_; ($expected{plain} || 0) == $plain ? $expected{id} : () } @cases;
	my $list = join(',', @ids);

	configure($node, storage_url => $storage->direct) if $plain;
	sql($node, "SELECT vibevideo_submit_batch('{$list}')");
	wait_for($node, "SELECT count(*) FROM vibelogs WHERE id = ANY ('{$list}') AND video_generation_status IN ('completed', 'failed')",
		scalar(@ids), 'all copies come to an end', patience => 180);
}
configure($node, storage_url => $storage->url);
for my $case (@cases)
{
	my ($name, $media, $faults, %expected) = @$case;

	check_copy($name, $expected{id}, %expected);
}
{
	my ($large) = uploads_of({ @{ $cases[0] }[ 3 .. $#{ $cases[0] } ] }->{id});

	is($large->{patches}, 4, 'twenty megabytes are four parts of 6 MiB at most');
	is($storage->ledger->{saw_other_host_credentials}, 0, 'the key went where storage_url says, whatever Storage called its uploads');
	is($fal->ledger('?sha=0')->{media_with_authorization}, 0, 'the media host never saw a key');
	# libcurl's handles are used again, and the status of the answer before must not count
	unlike(slurp_file($node->logfile), qr/the answer is too large/, 'a download is not taken for an error of the request before');
}

# -- which way ------------------------------------------------------------------------------------
{
	$fal->rule('^below', media => { bytes => 1024 * 1024 });
	$fal->rule('^above', media => { bytes => 1024 * 1024 + 1 });
	$fal->rule('^small', media => { bytes => 100_000 });
	$fal->fault('media', 'no_length', prompt => '^small, no length$');
	my %ids = map { $_ => new_row($node, $_) } ('below the threshold', 'above the threshold', 'small, no length');
	submit($node, $_) for values %ids;
	wait_for_status($node, $_, 'completed') for values %ids;
	check_copy('below the threshold', $ids{'below the threshold'}, uploads => 0, size => 1024 * 1024, hashed => 1);
	check_copy('above the threshold', $ids{'above the threshold'}, uploads => 1, size => 1024 * 1024 + 1, hashed => 1);
	check_copy('small, no length', $ids{'small, no length'}, uploads => 0, size => 100_000, hashed => 1);

	configure($node, resumable_threshold => '-1');
	my $id = new_row($node, 'never in parts');
	submit($node, $id);
	wait_for_status($node, $id, 'completed');
	check_copy('never in parts', $id, uploads => 0, hashed => 1);
	configure($node, resumable_threshold => '1MB');
}

# -- the worker is killed ----------------------------------------------------------------------------
# Slow enough to be caught in the middle.
sub start_slow
{
	my ($name, $offset) = @_;
	my $id = new_row($node, $name);

	$offset ||= $PART;
	$fal->fault('media', { kind => 'slow', bytes_per_s => 8_000_000 }, prompt => "^$name\$");
	submit($node, $id);
	wait_until(sub { my ($upload) = uploads_of($id); return $upload && $upload->{offset} > $offset }, "$name: $offset bytes are there",
		hurry => 1);
	ok(!$storage->object($id), "$name: Storage shows nothing yet");
	return $id;
}

{
	my $id = start_slow('killed');
	my $job = job_of($node, $id);
	my $pid = worker_pid($node);

	like($job->{upload_url}, qr{^\Q$storage->{ready}{url}\E/upload/resumable/[\w-]+$}, 'the job knows its upload, at the address that is ours');
	is($job->{media_etag}, '"' . $job->{request_id} . '"', 'and which file it is of');
	kill('KILL', $pid) or die "could not kill $pid: $!";
	wait_for($node, "SELECT pid <> $pid FROM vibevideo.worker_info() WHERE pid IS NOT NULL", 't', 'a new worker is there');
	wait_for_status($node, $id, 'completed');
	check_copy('killed', $id, @once, media => 2, ranges => 1, hashed => 1);
}

# -- another one has the job -------------------------------------------------------------------------
sub take_away
{
	my ($id, $more) = @_;

	sql($node, "UPDATE vibevideo.job SET lease = nextval('vibevideo.lease_seq'), leased_by = NULL, next_at = now()" . ($more || '') . " WHERE vibelog_id = '$id'");
	wait_for_status($node, $id, 'completed');
	return;
}

{
	my $id = start_slow('taken');

	take_away($id);
	check_copy('taken', $id, @once, media => 2, ranges => 1, hashed => 1);
}

# -- how much of it has been hashed is not known, or is less than Storage has ----------------------------
{
	my $id = start_slow('spoilt');

	take_away($id, ', upload_state = set_byte(upload_state, 20, 255 - get_byte(upload_state, 20))');
	check_copy('spoilt', $id, @once, media => 2, ranges => 1, hashed => 0);

	$id = start_slow('forgotten');
	take_away($id, ', upload_state = NULL');
	check_copy('forgotten', $id, @once, media => 2, ranges => 1, hashed => 0);

	# the state of the first part, whose bytes Storage has in the second one
	$id = start_slow('behind', $PART / 2);
	my $state = job_of($node, $id)->{upload_state};
	my $bytes = sql($node, "SELECT ('x' || substr(encode('$state', 'hex'), 3, 16))::bit(64)::bigint");
	wait_until(sub { my ($upload) = uploads_of($id); return $upload->{offset} > $PART }, 'Storage gets further than that', hurry => 1);
	cmp_ok($bytes, '<', $PART, 'than the hash');
	take_away($id, ", upload_state = '$state'");
	check_copy('behind', $id, @once, media => 2, ranges => 1, hashed => 1);
	is(render_of('behind')->{range_starts}[0], $bytes, 'the rest was fetched from where the hash stands');
}

# -- the worker is asked to end ------------------------------------------------------------------------
{
	my $id = start_slow('ended');

	sql($node, 'SELECT pg_terminate_backend(pid) FROM vibevideo.worker_info() WHERE pid IS NOT NULL');
	wait_for_status($node, $id, 'completed');
	check_copy('ended', $id, @once, media => 2, ranges => 1, hashed => 1);
}

# -- Storage is another one by then ----------------------------------------------------------------------
{
	my $id = start_slow('moved');

	$storage->call('POST', '/bucket', { name => 'other', public => JSON::PP::true });
	configure($node, storage_bucket => 'other');
	sql($node, 'SELECT pg_terminate_backend(pid) FROM vibevideo.worker_info() WHERE pid IS NOT NULL');
	wait_for_status($node, $id, 'completed');
	my ($object) = grep { $_->{key} =~ m{^\Q$id\E/} } @{ $storage->ledger->{objects} };
	is($object->{bucket}, 'other', 'an upload to another bucket is not gone on with');
	check_copy('moved', $id, uploads => 2, media => 2, ranges => 0, hashed => 1);
	configure($node, storage_bucket => 'videos');
}

# -- what the bucket says, and forms of the key -------------------------------------------------------------
{
	my $id = new_row($node, 'no such bucket');

	configure($node, storage_bucket => 'missing');
	submit($node, $id);
	wait_for_status($node, $id, 'failed');
	is(job_of($node, $id)->{error_code}, 'NoSuchBucket', 'a missing bucket is told as such');
	configure($node, storage_bucket => 'videos', storage_url => $storage->{ready}{gateway_url}, storage_key => $storage->{ready}{service_key});
	video($node, "vibevideo_retry('$id')");
	wait_for_status($node, $id, 'completed');
	check_copy('no such bucket', $id, uploads => 1, hashed => 1);
	is($storage->ledger->{saw_other_host_credentials}, 0, 'no key went astray');
}

done_testing();
