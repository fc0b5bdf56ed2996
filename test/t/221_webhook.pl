# Webhooks through PostgREST: what is signed by fal for our account makes its
# job due, and nothing else does anything or learns anything.

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IO::Socket::INET;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeRest;
use VibeTest;

# The vector: key of seed 00 01 … 1f, made with another implementation.
my $X = 'A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg';
my $NOW = 1700000000;
my $BODY = '{"status":"OK"}';
my %VECTOR = (
	'X-Fal-Webhook-Request-Id' => 'req-1',
	'X-Fal-Webhook-User-Id' => 'user-1',
	'X-Fal-Webhook-Timestamp' => $NOW,
	'X-Fal-Webhook-Signature' => 'dacc79a55c73b33e12c2b25f38e1e287a4b8789d206cf7fa2a0bdecf2b6b22245ec042bfbea08b72b37d6f3ae83f3143ab930ba0fd1609d489c28c41429e8b05');

# -- keys and signatures -------------------------------------------------------------------
my $library = abs_path(dirname(__FILE__) . '/../emulator/lib/fal-webhook.mjs');

# node(script, input) - what it prints as JSON; the emulator's functions are at hand
sub node
{
	my ($script, $input) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/input';

	append_to_file($file, encode_json($input));
	my ($out, $err) = run_command([ 'node', '--input-type=module', '-e',
			"import { readFileSync } from 'node:fs'; import { privateKeyFromSeed, publicJwk, signWebhook } from '$library';"
			  . "const key = (seed) => privateKeyFromSeed(Buffer.alloc(32, seed));"
			  . "console.log(JSON.stringify(($script)(JSON.parse(readFileSync('$file')))));" ]);

	unlink($file);
	die "$err\n" unless $out;
	return decode_json($out);
}

# Key n is the one of seed n n n …
my $jwk = node('(seeds) => seeds.map((seed) => publicJwk(key(seed)))', [ 0 .. 9 ]);

# signed(key, request id, user id, timestamp, body) - a call's headers
sub signed
{
	my ($key, $request_id, $user_id, $timestamp, $body) = @_;
	utf8::decode($body);
	my $signature = node('(c) => ({ hex: signWebhook(key(c.key), c) })',
		{ key => $key, requestId => $request_id, userId => $user_id, timestamp => "$timestamp", body => $body });

	return (
		'X-Fal-Webhook-Request-Id' => $request_id,
		'X-Fal-Webhook-User-Id' => $user_id,
		'X-Fal-Webhook-Timestamp' => $timestamp,
		'X-Fal-Webhook-Signature' => $signature->{hex});
}

# -- a JWKS server that counts -----------------------------------------------------------------
my $dir = PostgreSQL::Test::Utils::tempdir();
my $jwks_socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 16) or die "listen: $!";
my @children;

sub publish
{
	my (@keys) = @_;

	append_to_file("$dir/jwks.new", encode_json({ keys => \@keys }));
	rename("$dir/jwks.new", "$dir/jwks.json") or die "rename: $!";
	return;
}

sub fetches
{
	return -e "$dir/jwks.log" ? -s "$dir/jwks.log" : 0;
}

sub child
{
	my ($code) = @_;
	my $pid = fork() // die "fork: $!";

	if (!$pid)
	{
		alarm(3600);
		$code->();
		POSIX::_exit(0);
	}
	push @children, $pid;
	return;
}

END
{
	local $?;
	kill('KILL', $_) for @children;
	waitpid($_, 0) for @children;
}

child(sub {
	while (my $client = $jwks_socket->accept)
	{
		sysread($client, my $request, 65536);
		append_to_file("$dir/jwks.log", '.');
		my $body = slurp_file("$dir/jwks.json");
		print $client "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: " . length($body) . "\r\n\r\n$body";
		close($client);
	}
});
# the key in question stands between others, and entries that are none of ours
publish({ kty => 'RSA', n => 'AQAB', e => 'AQAB' }, @{$jwk}[ 1, 2 ], { kty => 'OKP', crv => 'Ed25519', x => $X }, { kty => 'OKP', crv => 'X25519', x => $X },
	{ kty => 'OKP', crv => 'Ed25519', x => 'short' }, $jwk->[3], { x => $jwk->[4]{x} . '=' });

# -- the server, whose clock is ours -----------------------------------------------------------------
my $fal = start_fal(default => { hold => 'queue' });
my $storage = start_storage();
my $clock = "$dir/clock";

sub set_clock
{
	my ($time) = @_;

	unlink($clock);
	append_to_file($clock, $time) if defined $time;
	return;
}

$ENV{VIBETEST_CLOCK} = $clock;
my $node;
{
	local $ENV{LD_PRELOAD} = module('clock');
	$node = vibe_node('main', fal => $fal, storage => $storage, conf => {
		'vibevideo.poll_interval' => '1h',
		'vibevideo.fal_jwks_url' => 'http://127.0.0.1:' . $jwks_socket->sockport . '/.well-known/jwks.json' });
}
supabase_roles($node);
# the gateway has a route to this one function that wants no key
our $path = '/rest/v1/rpc/vibevideo_webhook';
my $rest = VibeRest->new($node, args => [ '--open-route', "$path=/rpc/vibevideo_webhook" ]);

sub call
{
	my ($body, %headers) = @_;

	return $rest->request('POST', $path, { 'Content-Type' => 'application/json', apikey => undef, %headers }, $body);
}

# The same with headers that HTTP would not carry so: the SQLSTATE, or the answer.
sub call_in_sql
{
	my ($body, %headers) = @_;
	my $json = encode_json({ map { lc $_ => $headers{$_} } keys %headers });
	my ($state, $error) = sql_error($node, "SET ROLE anon; SET request.headers = \$h\$$json\$h\$; SELECT vibevideo_webhook(\$b\$$body\$b\$)");

	return $state;
}

# What is in all tables of ours; of the job, but for what is to change
sub state_of
{
	my ($but) = @_;

	return join("\n", map { sql($node, "SELECT to_jsonb(t) - '$but' FROM $_ t ORDER BY 1::text, t::text") } own_relations($node, 'r'))
	  . sql($node, 'SELECT * FROM vibelogs ORDER BY id');
}

# A job that fal knows as req-1; nobody asks fal about it while there is no key.
my $id = new_row($node, 'the vector');
my $bystander = new_row($node, 'a bystander');
submit($node, $_) for $id, $bystander;
sql($node, q{ALTER SYSTEM SET vibevideo.fal_key = ''; SELECT pg_reload_conf()});
wait_for($node, q{SELECT count(*) FROM vibevideo.check_config() WHERE check_name = 'fal_key' AND status <> 'ok'}, '1', 'the worker has no key to ask with');
sql($node, "UPDATE vibevideo.job SET request_id = 'req-1' WHERE vibelog_id = '$id'; SELECT vibevideo.wake()");
wait_for($node, 'SELECT count(*) FROM vibevideo.job WHERE row_dirty', '0', 'the rows are written', hurry => 0);
set_clock($NOW);

sub is_due
{
	return sql($node, "SELECT next_at < now() FROM vibevideo.job WHERE vibelog_id = '$id'") eq 't';
}

sub not_due
{
	sql($node, "UPDATE vibevideo.job SET next_at = now() + interval '1 h' WHERE vibelog_id = '$id'");
	return;
}

# -- keys are fetched when they are needed, and seldom ------------------------------------------------
{
	is(fetches(), 0, 'without webhooks no keys are fetched');
	is(call($BODY, %VECTOR)->{status}, 401, 'without keys nothing is accepted');
	wait_until(sub { fetches() == 1 }, 'but the keys are fetched then');
	wait_for($node, 'SELECT length(keys) / 32 FROM vibevideo_internal.fal_account', '5', 'every Ed25519 key of the set is kept, and nothing else');
}
# nobody's call for an unknown request teaches who we are
is(call('{}', signed(1, 'req-of-another', 'user-2', $NOW, '{}'))->{status}, 404, 'another customer\'s request, well signed: 404');
is(sql($node, 'SELECT user_id FROM vibevideo_internal.fal_account'), '', 'and who we are is not learned from it');

# -- the vector ---------------------------------------------------------------------------------------------
{
	my $before = state_of('next_at');
	my $answer = call($BODY, %VECTOR);

	note("POST /rest/v1/rpc/vibevideo_webhook HTTP/1.1\n" . join("\n", map { "$_: $VECTOR{$_}" } sort keys %VECTOR) . "\n\n$BODY");
	note(answer_text($answer));
	is($answer->{status}, 200, 'the vector: 200');
	is($answer->{body}, '{"ok":true}', 'the vector: ok');
	ok(is_due(), 'the vector: its job is due');
	is(sql($node, 'SELECT user_id FROM vibevideo_internal.fal_account'), 'user-1', 'the vector: who we are is learned');
	is(state_of('next_at') =~ s/"user_id": "user-1"/"user_id": null/r, $before, 'the vector: nothing else has changed');

	$before = state_of('next_at');
	is(call($BODY, %VECTOR)->{status}, 200, "a replay, time $_: 200") for 1 .. 3;
	is(state_of('next_at'), $before, 'a replay changes nothing');
	is(call($BODY, map { lc $_ => $VECTOR{$_} } keys %VECTOR)->{status}, 200, 'headers in lower case');
	is(call($BODY, %VECTOR, 'X-Fal-Webhook-Signature' => uc $VECTOR{'X-Fal-Webhook-Signature'})->{status}, 200, 'hex in upper case');
}
for my $case ([ 0, 200 ], [ 299, 200 ], [ 300, 200 ], [ 301, 401 ], [ 86400, 401 ], [ -299, 200 ], [ -300, 200 ], [ -301, 401 ], [ -86400, 401 ])
{
	my ($offset, $status) = @$case;

	not_due();
	set_clock($NOW + $offset);
	is(call($BODY, %VECTOR)->{status}, $status, sprintf('%+d seconds: %d', $offset, $status));
	is(is_due(), $status == 200 ? 1 : '', sprintf('%+d seconds: the job is%s due', $offset, $status == 200 ? '' : ' not'));
}
set_clock($NOW);
for my $key (1 .. 4)
{
	not_due();
	is(call($BODY, signed($key, 'req-1', 'user-1', $NOW, $BODY))->{status}, 200, "signed by another key of the set, $key: 200");
	ok(is_due(), "signed by another key of the set, $key: the job is due");
}
{
	# what is signed is the body as it came: blanks, order, escapes
	my $body = qq({ "status" : "OK",\n\t"b":"\\u00e4 \xc3\xa4","a":[1.0,1e3],"status":"ERROR" } );
	not_due();
	is(call($body, signed(2, 'req-1', 'user-1', $NOW, $body))->{status}, 200, 'a body that JSON libraries would write otherwise: 200');
	ok(is_due(), 'and the job is due');
	not_due();
}

# -- what is refused, by whom nothing is learned -------------------------------------------------------------
{
	my $large = '{"a":"' . ('x' x (1024 * 1024)) . '"}';
	my $refusal = call($BODY, %VECTOR, 'X-Fal-Webhook-Signature' => '0' x 128);
	my $before = state_of('nothing');
	my $fetched = fetches();
	my @without = map {
		my %headers = %VECTOR;
		delete $headers{$_};
		[ "without $_", 401, $BODY, %headers ]
	} sort keys %VECTOR;
	my $bit = $VECTOR{'X-Fal-Webhook-Signature'} =~ s/^d/c/r;

	note(answer_text($refusal));
	for my $case (
		@without,
		[ 'no header at all', 401, $BODY ],
		[ 'one bit of the signature', 401, $BODY, %VECTOR, 'X-Fal-Webhook-Signature' => $bit ],
		[ 'half a signature', 401, $BODY, %VECTOR, 'X-Fal-Webhook-Signature' => substr($bit, 64) ],
		[ 'two signatures', 401, $BODY, %VECTOR, 'X-Fal-Webhook-Signature' => $VECTOR{'X-Fal-Webhook-Signature'} x 2 ],
		[ 'a signature that is no hex', 401, $BODY, %VECTOR, 'X-Fal-Webhook-Signature' => 'g' x 128 ],
		[ 'a blank in the body', 401, "$BODY ", %VECTOR ],
		[ 'another body', 401, '{"status":"ERROR"}', %VECTOR ],
		[ 'an empty body, which PostgREST can make no JSON of', 400, '', %VECTOR ],
		[ 'a body that is no object', 401, '[]', %VECTOR ],
		[ 'another request', 401, $BODY, %VECTOR, 'X-Fal-Webhook-Request-Id' => 'req-2' ],
		[ 'another user', 401, $BODY, %VECTOR, 'X-Fal-Webhook-User-Id' => 'user-2' ],
		[ 'another time', 401, $BODY, %VECTOR, 'X-Fal-Webhook-Timestamp' => $NOW + 1 ],
		[ 'a time with a sign', 401, $BODY, %VECTOR, 'X-Fal-Webhook-Timestamp' => "+$NOW" ],
		[ 'a time with a blank', 401, $BODY, %VECTOR, 'X-Fal-Webhook-Timestamp' => substr($NOW, 0, 5) . ' ' . substr($NOW, 5) ],
		[ 'a time with a point', 401, $BODY, %VECTOR, 'X-Fal-Webhook-Timestamp' => "$NOW.0" ],
		[ 'an endless time', 401, $BODY, %VECTOR, 'X-Fal-Webhook-Timestamp' => '9' x 200 ],
		[ 'no time', 401, $BODY, %VECTOR, 'X-Fal-Webhook-Timestamp' => '' ],
		[ 'a very long header', 401, $BODY, %VECTOR, 'X-Fal-Webhook-Request-Id' => 'r' x 40000 ],
		[ 'a query', 400, $BODY, %VECTOR ],
		[ 'signed by a key that fal does not have', 401, $BODY, signed(9, 'req-1', 'user-1', $NOW, $BODY) ],
		[ 'well signed for another customer, with our request', 401, $BODY, signed(1, 'req-1', 'user-2', $NOW, $BODY) ],
		[ 'well signed for another customer, with theirs', 401, $BODY, signed(1, 'req-2', 'user-2', $NOW, $BODY) ],
		[ 'well signed, but stale', 401, $BODY, signed(1, 'req-1', 'user-1', $NOW - 301, $BODY) ],
		[ 'well signed, of a request of ours that nobody knows', 404, $BODY, signed(1, 'req-2', 'user-1', $NOW, $BODY) ],
		[ 'too large, not signed', 413, $large ],
		[ 'too large, well signed', 413, $large, signed(1, 'req-1', 'user-1', $NOW, $large) ])
	{
		my ($name, $status, $body, %headers) = @$case;
		local $path = $name eq 'a query' ? "/rpc/vibevideo_webhook?apikey=" . $rest->publishable_key : $path;
		my $answer = call($body, %headers);

		is($answer->{status}, $status, "$name: $status");
		is(answer_text($answer), answer_text($refusal), "$name: an answer like any other") if $status == 401;
		note("$name: " . answer_text($answer)) if $status != 401;
	}
	is(call_in_sql($BODY, %VECTOR, 'X-Fal-Webhook-Request-Id' => "req-1\nuser-1", 'X-Fal-Webhook-User-Id' => ''), 'PT401', 'a request id that moves the lines');
	is(call_in_sql($BODY, %VECTOR, 'X-Fal-Webhook-Timestamp' => " $NOW"), 'PT401', 'a time with a blank before it');
	is(call_in_sql($BODY, %VECTOR, 'X-Fal-Webhook-Request-Id' => 'r' x 70000), 'PT401', 'very long headers');
	ok(!is_due(), 'none of them has made the job due');
	is(state_of('nothing'), $before, 'none of them has changed a thing');
	is(fetches(), $fetched, 'nor had the keys fetched again');
	is(call($BODY, %VECTOR)->{status}, 200, 'the vector still is accepted');
	is($rest->call('authenticated', 'user-1', POST => '/rpc/vibevideo_webhook', {})->{code}, '42501', 'others than anon may not even try');
}
unlike(log_tail($node, 500), qr/WARNING|PANIC|TRAP|terminated/, 'the server has nothing to complain about');

# -- new keys -----------------------------------------------------------------------------------------------------
{
	publish(@{$jwk}[ 5 .. 8 ]);
	my %headers = signed(6, 'req-1', 'user-1', $NOW, $BODY);

	is(call($BODY, %headers)->{status}, 401, 'signed by a new key: 401 at first') for 1 .. 5;
	is(fetches(), 1, 'the keys are not fetched again within a minute');
	# that minute is over
	sql($node, q{UPDATE vibevideo_internal.fal_account SET fetched_at = now() - interval '61 s'});
	my $pid = worker_pid($node);
	sql($node, "SELECT pg_terminate_backend($pid)") if $pid;
	wait_until(sub { call($BODY, %headers)->{status} == 200 }, 'a minute later they are, and it is accepted');
	is(fetches(), 2, 'they were fetched once');
	is(call($BODY, %VECTOR)->{status}, 401, 'the old key is gone');
}

# -- from fal, through PostgREST, to the row ------------------------------------------------------------------------
{
	set_clock();
	sql($node, q{UPDATE vibevideo_internal.fal_account SET user_id = NULL, keys = NULL, fetched_at = NULL});
	sql($node, 'ALTER SYSTEM RESET vibevideo.fal_key');
	sql($node, "ALTER SYSTEM SET vibevideo.fal_jwks_url = '" . $fal->url . "/.well-known/jwks.json'");
	sql($node, "ALTER SYSTEM SET vibevideo.webhook_url = '" . $rest->gateway_url . "/rpc/vibevideo_webhook'");
	sql($node, 'SELECT pg_reload_conf()');
	wait_for($node, 'SHOW vibevideo.webhook_url', qr/rpc/, 'webhooks are asked for');
	my $pid = worker_pid($node);
	sql($node, "SELECT pg_terminate_backend($pid)") if $pid;
	sql($node, 'SELECT vibevideo.wake()');
	wait_for($node, 'SELECT keys IS NOT NULL FROM vibevideo_internal.fal_account', 't', 'fal\'s keys are fetched', hurry => 0);

	my ($plain, $repeated, $bad) = map { new_row($node, "webhook $_") } qw(plain repeated bad);
	$fal->rule('^webhook repeated$', hold => 'queue', webhook => { duplicates => 3 });
	$fal->rule('^webhook bad$', hold => 'queue', webhook => { forge => JSON::PP::true, max_retries => 0 });
	for my $row ($plain, $repeated)
	{
		my $video = submit($node, $row);

		is($video->{status}, 'queued', 'a row is queued');
		is(sql($node, "SELECT next_at > now() + interval '10 min' FROM vibevideo.job WHERE vibelog_id = '$row'"), 't', 'nobody would ask about it for a long time');
		$fal->command($video->{request_id}, 'finish');
		wait_for($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$row'", 'completed', 'a webhook leads it to completed', hurry => 0);
		wait_until(sub { my @log = grep { $_->{request_id} eq $video->{request_id} } @{ $fal->ledger->{webhooks} }; @log && !grep { !$_->{delivered} } @log },
			'fal takes it for delivered');
		is(scalar(@{ [ grep { $_->{key} =~ /^$row/ } @{ $storage->ledger->{objects} } ] }), 1, 'there is one object');
		is(sql($node, "SELECT string_agg(state, ' ' ORDER BY event_id) FROM vibevideo.event e WHERE job_id = (SELECT job_id FROM vibevideo.job WHERE vibelog_id = '$row')") =~ s/generating //r,
			'queued processing completed', 'every state once');
	}
	# genuine, and a lie: fal is asked, and believed
	my $lied = new_row($node, 'webhook lied');
	my $request_id = submit($node, $lied)->{request_id};
	for my $lie ({ status => 'OK', payload => { video => { url => 'http://127.0.0.1:1/evil.mp4' } } }, { status => 'ERROR', payload => { detail => 'evil' } })
	{
		my $asked = $fal->ledger('?jobs=0')->{requests}{status};

		is($fal->call('POST', '/webhook', { request_id => $request_id, %$lie })->{http}, 200, "a genuine call that says $lie->{status} of a job that waits: 200");
		wait_until(sub { $fal->ledger('?jobs=0')->{requests}{status} > $asked }, 'fal is asked');
		wait_for($node, "SELECT next_at > now() AND leased_by IS NULL FROM vibevideo.job WHERE vibelog_id = '$lied'", 't', 'and has answered', hurry => 0);
		is(job_of($node, $lied)->{state}, 'queued', 'and is believed');
	}
	unlike(state_of('nothing'), qr/evil/, 'nothing of what a call says is kept');

	my $video = submit($node, $bad);
	$fal->command($video->{request_id}, 'finish');
	wait_until(sub { grep { $_->{request_id} eq $video->{request_id} && ($_->{last_status} // 0) == 401 } @{ $fal->ledger->{webhooks} } }, 'a forged one is refused, over HTTP, too');
	is(job_of($node, $bad)->{state}, 'queued', 'and its job waits for the poll');
	wait_for_status($node, $bad, 'completed', name => 'which brings it in, too');
}

done_testing();
