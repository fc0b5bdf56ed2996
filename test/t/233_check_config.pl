# What check_config says of keys, sizes and addresses before money is spent: each
# mistake in one line, with what to do about it.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256);
use JSON::PP;
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal(default => { queue_ms => 0, run_ms => 0 });
my $storage = start_storage();
my $ready = $storage->{ready};
my $node = vibe_node('main', fal => $fal, storage => $storage);

# what is said of an emulator that speaks http
my @plain = $fal->url =~ /^https/ ? () : ('media_hosts');

# A key as Supabase makes it, for another role.
sub mint
{
	my (%claims) = @_;
	my $unsigned = join('.', map { encode_base64url(encode_json($_)) } { alg => 'HS256', typ => 'JWT' }, { %claims, exp => 4102444800 });

	return $unsigned . '.' . encode_base64url(hmac_sha256($unsigned, 'super-secret-jwt-token-with-at-least-32-characters-long'));
}

# check_config under settings of the session, as {name => [status, detail, hint]}.
sub check
{
	my (%settings) = @_;
	my $set = join('', map { "SET vibevideo.$_ = '$settings{$_}'; " } sort keys %settings);

	return decode_json($node->safe_psql('postgres', $set . q{SELECT jsonb_object_agg(check_name, ARRAY[status, detail, hint]) FROM vibevideo.check_config()}));
}

# finds(settings, name, status, detail, hint) - this one line is not ok, and no
# other; returns all of them.
sub finds
{
	my ($settings, $name, $status, $detail, $hint) = @_;
	my $lines = check(%$settings);
	my @found = grep { $lines->{$_}[0] ne 'ok' && !(@plain && $_ eq 'media_hosts' && $lines->{$_}[1] =~ /plain http:/) } sort keys %$lines;
	my $what = join(', ', map { "$_ = " . ($_ =~ /key/ ? substr($settings->{$_}, 0, 18) : $settings->{$_}) } sort keys %$settings);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is_deeply(\@found, [$name], "$what: $name, and nothing else") or diag(explain({ map { $_ => $lines->{$_} } @found, $name }));
	is($lines->{$name}[0], $status, "$what: status");
	like($lines->{$name}[1], $detail, "$what: detail");
	like($lines->{$name}[2] // '', $hint, "$what: hint");
	return $lines;
}

sub all_well
{
	my (%settings) = @_;
	my $lines = check(%settings);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is_deeply([ grep { $lines->{$_}[0] ne 'ok' } sort keys %$lines ], \@plain, 'all is well: ' . join(', ', sort keys %settings))
	  or diag(explain($lines));
	return $lines;
}

like(all_well()->{storage_key}[1], qr/^found a key in the setting, of role service_role$/, 'whose key it is, is said');

# -- keys ------------------------------------------------------------------------------------------
{
	my %gateway = (storage_url => $ready->{gateway_url});
	my $user = mint(role => 'authenticated', sub => 'x');
	my $writer = mint(role => 'storage_writer');
	my @cases = (
		[ { storage_key => $ready->{anon_jwt} }, 'storage_key', 'fail', qr/^the key in the setting cannot store files: it is the anon key/, qr/service_role key, or a secret key/ ],
		[ { storage_key => $user }, 'storage_key', 'fail', qr/of role authenticated/, qr/service_role key, or a secret key/ ],
		[ { storage_key => $ready->{publishable_key}, %gateway }, 'storage_key', 'fail', qr/it is a publishable key/, qr/service_role key, or a secret key/ ],
		[ { storage_key => 'AKIA:emulated' }, 'storage_key', 'fail', qr/neither a JWT nor begins with sb_secret_/, qr/storage_kind = 's3'/ ],
		[ { storage_key => "Bearer $ready->{service_jwt}" }, 'storage_key', 'fail', qr/neither a JWT/, qr/service_role JWT/ ],
		[ { storage_key => '' }, 'storage_key', 'fail', qr/^no Storage key$/, qr/SUPABASE_SERVICE_ROLE_KEY/ ],
		[ { storage_key => $ready->{service_jwt}, storage_kind => 's3' }, 'storage_key', 'fail', qr/not of the form access_key_id:secret/, qr/storage_kind = 'supabase'/ ],
		[ { storage_key => $ready->{service_key} }, 'bucket', 'fail', qr/Invalid Compact JWS/, qr/Only the gateway accepts keys that begin with sb_/ ],
		[ { storage_key => $ready->{expired_jwt} }, 'bucket', 'fail', qr/"exp" claim/, qr/current service_role key/ ],
		[ { storage_key => $writer }, 'bucket', 'fail', qr/Bucket not found/, qr/may hide it from role storage_writer/ ],
		[ { storage_bucket => 'nowhere' }, 'bucket', 'fail', qr/Bucket not found/, qr/^Create the bucket, or set vibevideo\.storage_bucket/ ],
		[ { storage_url => '' }, 'bucket', 'fail', qr/storage_url is not set/, qr/with \/storage\/v1 behind a gateway/ ],
		[ { storage_url => 'http://127.0.0.1:1' }, 'bucket', 'fail', qr/Failed to connect/, qr/Check vibevideo\.storage_url/ ],
		[ { fal_key => '' }, 'fal_key', 'fail', qr/no fal\.ai API key/, qr/FAL_KEY/ ]);

	for my $case (@cases)
	{
		my $lines = finds(@$case);
		my ($settings, $name) = @$case;

		unlike(encode_json($lines), qr/\Q$_\E/, "$name: no key is told") for grep { $_ ne '' } @$settings{ grep { /key/ } keys %$settings };
		is($lines->{bucket_size}[1], "not checked: see line $name", "$name: the others say which line does") if $name =~ /^storage_key|bucket$/ && !$settings->{storage_kind};
	}
	like(all_well(storage_key => $ready->{service_key}, %gateway)->{storage_key}[1], qr/^found a secret key in/, 'a secret key at the gateway is right');
	like(all_well(storage_key => 'AKIA:emulated', storage_kind => 's3')->{storage_key}[1], qr/^found a key in/, 'as is one of S3 for S3');
	all_well(storage_key => 'any', storage_kind => 'none');
}

# -- a copy with such a key ------------------------------------------------------------------------
for my $case (
	[ 'no JWT', 'AKIA:emulated', qr/^Invalid Compact JWS\. A Storage key is the service_role JWT or begins with sb_secret_/ ],
	[ 'sb_secret without a gateway', $ready->{service_key}, qr/^Invalid Compact JWS\. Only the gateway accepts keys that begin with sb_/ ])
{
	my ($name, $key, $error) = @$case;
	my $id = new_row($node, $name);

	configure($node, storage_key => $key);
	submit($node, $id);
	wait_for_status($node, $id, 'failed', name => "$name: the copy fails");
	my $job = job_of($node, $id);
	is($job->{tries}, 3, "$name: after three tries");
	like($job->{error}, $error, "$name: and says what kind of key it takes");
	unlike($job->{error}, qr/\Q$key\E/, "$name: without telling the key");
	configure($node, storage_key => $ready->{service_jwt});
	is(video($node, "vibevideo_retry('$id')")->{status}, 'processing', "$name: with the right key");
	wait_for_status($node, $id, 'completed', name => "$name: it is copied");
}

# -- sizes -----------------------------------------------------------------------------------------
{
	my $limit = sub { $storage->call('POST', '/config', { limit => $_[0] }) };
	my $bucket = sub { $storage->call('POST', '/bucket', { name => 'videos', file_size_limit => $_[0] }) };
	my $requests = sub { return $storage->ledger->{requests}{tus_options} || 0 };
	my $before = $requests->();

	like(all_well()->{bucket_size}[1], qr/^files up to 1073741824 bytes are accepted; the largest of the last 2 videos had \d+$/, 'the limit is told, and what videos have');
	is($requests->(), $before + 1, 'Storage was asked once');
	$limit->(52428800);
	finds({}, 'bucket_size', 'warn', qr/^Storage accepts files up to 52428800 bytes, but vibevideo\.max_video_size allows 1073741824; the largest of/, qr/^Raise FILE_SIZE_LIMIT of the Storage server/);
	all_well(max_video_size => '50MB');
	$bucket->(5_000_000);
	finds({}, 'bucket_size', 'warn', qr/^the bucket accepts files up to 5000000 bytes, /, qr/bucket's limit \(and Storage's FILE_SIZE_LIMIT\)/);
	$limit->(4_000_000);
	finds({}, 'bucket_size', 'warn', qr/^Storage accepts files up to 4000000 bytes, /, qr/FILE_SIZE_LIMIT of the Storage server/);
	$limit->(1073741824);
	$bucket->(undef);

	# what the model's videos have
	my $id = new_row($node, 'a large one');
	$fal->rule('^a large one$', media => { bytes => 9_000_000 });
	submit($node, $id);
	wait_for_status($node, $id, 'completed');
	$limit->(5_000_000);
	finds({}, 'bucket_size', 'warn', qr/; 1 of the last 3 videos had more, up to 9000000$/, qr/FILE_SIZE_LIMIT/);
	finds({ max_video_size => '4MB' }, 'bucket_size', 'warn', qr/^vibevideo\.max_video_size allows 4194304 bytes; 1 of the last 3 videos had more/, qr/Raise vibevideo\.max_video_size/);
	$limit->(1073741824);
	all_well(max_video_size => '9MB');
	$fal->set_prices({ endpoint => 'acme/other', unit => 'videos', unit_price => 1 });
	unlike(all_well(model => 'acme/other')->{bucket_size}[1], qr/videos/, 'other models\' videos do not count');

	# something in front of Storage answers OPTIONS by itself
	$storage->fault('tus_options', { kind => 'http', status => 204, headers => {} }, times => -1);
	like(all_well()->{bucket_size}[1], qr/^the bucket has no limit of its own, and Storage does not tell its FILE_SIZE_LIMIT/, 'a limit that is not told is not made up');
	$storage->clear_faults;
}

# -- hosts that no video can come from -------------------------------------------------------------
for my $case (
	[ '10.0.0.5', qr/^no video can come from 10\.0\.0\.5: it is not a public address$/ ],
	[ 'fal.media, 127.0.0.1', qr/127\.0\.0\.1: it is not a public address/ ],
	[ 'minio', qr/minio: no public host has such a name/ ],
	[ '*.internal', qr/\*\.internal: no public host/ ])
{
	my ($hosts, $detail) = @$case;

	finds({ media_hosts => $hosts }, 'media_hosts', 'fail', $detail, qr/Name scheme and port .* such as http:\/\/10\.0\.0\.5:9000/);
}
finds({ media_hosts => '' }, 'media_hosts', 'fail', qr/media_hosts is empty/, qr/RESET/);
is(check(media_hosts => 'https://10.0.0.5')->{media_hosts}[0], 'ok', 'with a scheme a private address is right');
is(check(media_hosts => '10.0.0.5', proxy => 'http://127.0.0.1:1')->{media_hosts}[0], 'ok', 'a proxy may reach it');

# -- the address that browsers use -----------------------------------------------------------------
{
	my $gateway = $ready->{gateway_url} =~ s/\/storage\/v1$//r;
	my $other = VibeTest::Emulator->start('storage', '--bucket', 'pictures:public');

	like(all_well()->{public_url}[1], qr/the same as vibevideo\.storage_url/, 'none is set: it is that of Storage');
	like(all_well(storage_public_url => $ready->{gateway_url})->{public_url}[1], qr/^browsers get files from \Q$ready->{gateway_url}\E$/, 'the gateway\'s is right');
	for my $case (
		[ $gateway, 'fail', qr/does not answer as Storage does: no Route matched/, qr/ends in \/storage\/v1/ ],
		[ $fal->url, 'fail', qr/does not answer as Storage does/, qr/ends in \/storage\/v1/ ],
		[ $other->url, 'fail', qr/has no public bucket "videos"/, qr/leads to another Storage/ ],
		[ 'http://127.0.0.1:1', 'warn', qr/does not answer: Failed to connect/, qr/only this server cannot/ ])
	{
		my ($url, @line) = @$case;

		finds({ storage_public_url => $url }, 'public_url', @line);
	}
	$storage->fault('download', 'redirect', times => 1);
	finds({ storage_public_url => $ready->{gateway_url} }, 'public_url', 'warn', qr/redirects/, qr/address that it leads to/);

	# private: said once, by the line that is about it
	$storage->call('POST', '/bucket', { name => 'videos', public => JSON::PP::false });
	finds({ storage_public_url => $ready->{gateway_url} }, 'bucket_public', 'warn', qr/is private/, qr/signed URLs/);
	$storage->call('POST', '/bucket', { name => 'videos', public => JSON::PP::true });

	# a name that only containers know; that it does not answer here is another matter
	like(join('|', @{ check(storage_url => 'http://kong:8000/storage/v1', connect_timeout => '200ms')->{public_url} }),
		qr/^warn\|vibevideo\.storage_public_url is not set: .* http:\/\/kong:8000.*\|Set vibevideo\.storage_public_url/, 'a container\'s name is nothing for browsers');
	$other->stop;
}

# -- https where http is spoken, and the other way round -------------------------------------------
{
	my $dir = $node->basedir;

	command_ok([ 'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', "$dir/key.pem", '-out', "$dir/cert.pem", '-days', '2', '-subj', '/CN=127.0.0.1' ], 'a certificate');
	my $tls = VibeTest::Emulator->start('fal', '--tls-cert', "$dir/cert.pem", '--tls-key', "$dir/key.pem");
	my $plain_tls = "http://127.0.0.1:$tls->{ready}{port}";
	my $tls_plain = 'https://127.0.0.1:' . $ready->{port};
	my $speaks_http = qr/^That port speaks plain http: begin the URL with http:\/\//;
	my $speaks_https = qr/^If that port speaks https, begin the URL with https:\/\//;

	finds({ fal_queue_url => $tls_plain }, 'queue', 'fail', qr/does not answer/, $speaks_http);
	finds({ fal_queue_url => $plain_tls }, 'queue', 'fail', qr/does not answer/, $speaks_https);
	finds({ storage_url => $tls_plain }, 'bucket', 'fail', qr/^Storage: /, $speaks_http);
	finds({ storage_url => $plain_tls }, 'bucket', 'fail', qr/^Storage: /, $speaks_https);
	finds({ storage_public_url => $tls_plain }, 'public_url', 'warn', qr/does not answer/, $speaks_http);
	finds({ storage_public_url => $plain_tls }, 'public_url', 'warn', qr/does not answer/, $speaks_https);
	$tls->stop;
}

done_testing();
