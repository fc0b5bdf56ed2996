# Does vibevideo.webhook_url lead here?  The ways that the manual shows do, with a
# webhook that fal.ai has signed, and check_config says what is wrong with others.

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use VibeDocs;
use VibeRest;
use VibeTest;

my %recipe = recipes('sql');
my %yaml = recipes('yaml');
my %function = recipes('ts');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $fal = start_fal(default => { hold => 'queue' });
my $path = '/rest/v1/rpc/vibevideo_webhook';
# where a gateway with a key sends what comes along a route without one
my $open = VibeRest->new(undef, args => [ '--open-route', "$path=/rpc/vibevideo_webhook" ]);
my $node = vibe_node('main', fal => $fal, conf => {
	'vibevideo.poll_interval' => '1h', 'vibevideo.storage_kind' => 'none',
	'vibevideo.webhook_url' => $open->gateway_url . '/rpc/vibevideo_webhook',
	'vibevideo.fal_jwks_url' => $fal->url . '/.well-known/jwks.json' });
supabase_roles($node);
$open->move($node);
sql($node, 'SELECT vibevideo.wake()');
wait_for($node, 'SELECT keys IS NOT NULL FROM vibevideo_internal.fal_account', 't', 'fal.ai\'s keys are there', hurry => 0);

# What check_config says of a URL.
sub finding
{
	my ($url, %settings) = @_;
	my $set = join('', map { "SET vibevideo.$_ = '$settings{$_}'; " } sort keys %settings);

	return video($node, "vibevideo_internal.probe('webhook')") if !defined $url;
	return JSON::PP->new->utf8->decode(sql($node, "${set}SET vibevideo.webhook_url = '$url'; SELECT row_to_json(p) FROM vibevideo_internal.probe('webhook') p;"
			  . join('', map { "RESET vibevideo.$_; " } 'webhook_url', sort keys %settings)));
}

# ok_finding(name, url, status, what the detail matches, what the hint matches)
sub ok_finding
{
	my ($name, $url, $status, $detail, $hint, %settings) = @_;
	my $finding = finding($url, %settings);
	my $good = $finding->{status} eq $status && $finding->{detail} =~ $detail && ($finding->{hint} // '') =~ ($hint // qr/^$/);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($good, "$name: $status") or diag(explain($finding));
	ok(($finding->{hint} // '') eq '' || $status ne 'ok', "$name: a hint if it is not ok");
	return;
}

# A webhook that fal.ai has signed makes the job due, and fal.ai is asked.
my $id = new_row($node, 'waiting');
my $request_id = submit($node, $id)->{request_id};

sub ok_delivery
{
	my ($name, $url) = @_;
	my $asked = $fal->ledger('?jobs=0')->{requests}{status};

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_for($node, "SELECT next_at > now() AND leased_by IS NULL FROM vibevideo.job WHERE vibelog_id = '$id'", 't', "$name: nobody asks about the job", hurry => 0);
	is($fal->call('POST', '/webhook', { request_id => $request_id, url => $url, status => 'OK' })->{http}, 200, "$name: what fal.ai has signed is accepted");
	wait_until(sub { $fal->ledger('?jobs=0')->{requests}{status} > $asked }, "$name: and the job is made due");
	is($fal->call('POST', '/webhook', { request_id => $request_id, url => $url, status => 'OK', forge => 'body' })->{http}, 401, "$name: what it has not signed is not");
	return;
}

# ---------------------------------------------------------------------------
# The ways of the manual
# ---------------------------------------------------------------------------
{
	# where the snippets send the path, which the stand-in's gateway then does
	my ($kong_url, $kong_path) = $yaml{'webhook-kong'} =~ m{url: http://rest:3000(\S+)\n.*strip_path: true\n\s+paths: \[(\S+)\]}s;
	my ($envoy_path, $envoy_url) = $yaml{'webhook-envoy'} =~ m{path: (\S+) \}.*cluster: rest, prefix_rewrite: ([^,]+),}s;

	for my $gateway ([ 'kong', $kong_path, $kong_url ], [ 'envoy', $envoy_path, $envoy_url ])
	{
		my ($kind, $from, $to) = @$gateway;
		my $rest = VibeRest->new($node, args => [ '--gateway', $kind, '--open-route', "$from=$to" ]);
		my $url = $rest->gateway_url . '/rpc/vibevideo_webhook';

		is($from, $path, "$kind: the path is the usual one");
		ok_finding("$kind, a route without a key", $url, 'ok', qr/^\Q$url\E answers as vibevideo_webhook$/);
		ok_delivery("$kind, a route without a key", $url);
		is($rest->request(POST => '/rest/v1/rpc/vibevideo_poll', { apikey => undef }, '{}')->{status}, 401, "$kind: other functions want their key");

		# the function's URL at the gateway, with the key
		append_to_file("$dir/$kind.mjs", $function{'webhook-function'});
		my $edge = VibeTest::Emulator->start('edge', "$dir/$kind.mjs", '--env', 'SUPABASE_URL=' . $rest->gateway_url =~ s{/rest/v1$}{}r,
			'--env', 'SUPABASE_ANON_KEY=' . $rest->publishable_key);
		ok_finding("$kind, an Edge Function", $edge->url, 'ok', qr/answers as vibevideo_webhook$/);
		ok_delivery("$kind, an Edge Function", $edge->url);
	}

	# one that reads the body, and writes it anew
	my $rest = VibeRest->new($node);
	append_to_file("$dir/anew.mjs", $function{'webhook-function'} =~ s/await request\.arrayBuffer\(\)/JSON.stringify(await request.json())/r);
	my $edge = VibeTest::Emulator->start('edge', "$dir/anew.mjs", '--env', 'SUPABASE_URL=' . $rest->gateway_url =~ s{/rest/v1$}{}r,
		'--env', 'SUPABASE_ANON_KEY=' . $rest->publishable_key);
	ok_finding('an Edge Function that changes the body', $edge->url, 'fail', qr/did not arrive in this database as it was sent$/, qr/every byte/);
	append_to_file("$dir/bare.mjs", $function{'webhook-function'} =~ s/'user-id', //r);
	$edge = VibeTest::Emulator->start('edge', "$dir/bare.mjs", '--env', 'SUPABASE_URL=' . $rest->gateway_url =~ s{/rest/v1$}{}r,
		'--env', 'SUPABASE_ANON_KEY=' . $rest->publishable_key);
	ok_finding('an Edge Function that drops a header', $edge->url, 'fail', qr/did not arrive in this database as it was sent$/, qr/four X-Fal-Webhook headers/);
	append_to_file("$dir/plain.mjs", $function{'webhook-function'} =~ s{'application/json'}{'text/plain'}r);
	$edge = VibeTest::Emulator->start('edge', "$dir/plain.mjs", '--env', 'SUPABASE_URL=' . $rest->gateway_url =~ s{/rest/v1$}{}r,
		'--env', 'SUPABASE_ANON_KEY=' . $rest->publishable_key);
	ok_finding('an Edge Function that calls it text', $edge->url, 'fail', qr/PGRST202/, qr/Content-Type/);
}

# as the manual sets it
{
	my $check = $recipe{'webhook-url'} =~ s/<API URL>/$open->gateway_url =~ s{\/rest\/v1$}{}r/er;

	sql($node, 'ALTER SYSTEM RESET vibevideo.webhook_url');
	my ($set, $select) = $check =~ /\A(.*)(SELECT status.*)\z/s;
	sql($node, $set);
	wait_for($node, $select, 'ok|' . $open->gateway_url . '/rpc/vibevideo_webhook answers as vibevideo_webhook|', 'the recipe: check_config is content', hurry => 0);
}

# ---------------------------------------------------------------------------
# Other answers
# ---------------------------------------------------------------------------
{
	my $rest = VibeRest->new($node);
	my $envoy = VibeRest->new($node, args => [ '--gateway', 'envoy' ]);
	my $closed = VibeRest->new($node, args => ['--no-anon']);
	my $nowhere = VibeRest->new;
	my ($url, $gateway) = ($rest->url, $rest->gateway_url);
	my $key = $rest->publishable_key;
	my $rpc = '/rpc/vibevideo_webhook';

	ok_finding('none', '', 'ok', qr/^not used/);
	ok_finding('PostgREST itself', $url . $rpc, 'ok', qr/answers as vibevideo_webhook$/);
	ok_finding('Kong, no key', $gateway . $rpc, 'fail', qr/a gateway wants a key .*No API key found/, qr/route without a key.*Edge Function/);
	ok_finding('Envoy, no key', $envoy->gateway_url . $rpc, 'fail', qr/a gateway wants a key .*Unauthorized/, qr/route without a key/);
	ok_finding('a wrong key', "$gateway$rpc?apikey=another", 'fail', qr/a gateway wants a key/, qr/route without a key/);
	ok_finding('?apikey=', "$gateway$rpc?apikey=$key", 'fail', qr/takes the query of the URL for a filter.*PGRST100/, qr/^Leave \?apikey=/);
	unlike(finding("$gateway$rpc?apikey=$key")->{detail}, qr/\Q$key\E/, 'and the key is not shown');
	ok_finding('another function', $url . $rpc . 's', 'fail', qr/does not know the function.*PGRST202/, qr/NOTIFY pgrst/);
	ok_finding('the gateway\'s path without a gateway', "$url/rest/v1$rpc", 'fail', qr/not that of a function.*PGRST125/, qr{/rest/v1});
	ok_finding('a table\'s path', "$url/vibevideo_webhook", 'fail', qr/not that of a function.*PGRST205/, qr{/rpc/});
	ok_finding('a path the gateway does not know', ($gateway =~ s{/rest/v1$}{}r) . $rpc, 'fail', qr/nothing answers at this path.*no Route/, qr/path/);
	ok_finding('no anonymous role', $closed->url . $rpc, 'fail', qr/nobody in without a token.*PGRST302/, qr/db-anon-role/);
	ok_finding('no database', $nowhere->url . $rpc, 'fail', qr/no connection to its database.*PGRST002/, qr/PostgREST's log/);

	sql($node, 'REVOKE EXECUTE ON FUNCTION public.vibevideo_webhook(json) FROM anon');
	ok_finding('no rights', $url . $rpc, 'fail', qr/may not execute.*42501/, qr/grant_api_roles/);
	sql($node, 'SELECT vibevideo.grant_api_roles()');
	ok_finding('rights again', $url . $rpc, 'ok', qr/answers as/);

	# PostgREST does not hear of it
	sql($node, 'ALTER FUNCTION public.vibevideo_webhook(json) RENAME TO elsewhere');
	ok_finding('a function that is gone', $url . $rpc, 'fail', qr/that is gone.*42883/, qr/NOTIFY pgrst/);
	$rest->reload;
	ok_finding('and PostgREST knows', $url . $rpc, 'fail', qr/does not know the function.*PGRST202/, qr/NOTIFY pgrst/);
	sql($node, 'ALTER FUNCTION public.elsewhere(json) RENAME TO vibevideo_webhook');
	ok_finding('back, and PostgREST does not know', $url . $rpc, 'fail', qr/PGRST202/, qr/NOTIFY pgrst/);
	sql($node, q{NOTIFY pgrst, 'reload schema'});
	ok_finding('NOTIFY, as the hint says', $url . $rpc, 'ok', qr/answers as/);

	# the database of another environment
	create_app($node, 'other') if sql($node, 'CREATE DATABASE other') eq '';
	sql($node, 'SELECT vibevideo.grant_api_roles()', 'other');
	my $other = VibeRest->new($node, args => [ '--db-name', 'other' ]);
	ok_finding('another database', $other->url . $rpc, 'fail', qr/answers as vibevideo_webhook, but the call did not arrive in this database/, qr/connected to this database/);

	ok_finding('a private address, and the real fal.ai', $url . $rpc, 'warn', qr/at a private address$/, qr/over the internet/, fal_queue_url => 'https://queue.fal.run');
}

my @children;

# a server that says one thing
sub answering
{
	my ($answer) = @_;
	my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5) or die "listen: $!";
	my $pid = fork() // die "fork: $!";

	if (!$pid)
	{
		alarm(170);
		while (my $client = $listen->accept)
		{
			sysread($client, my $request, 65536);
			sleep(60) unless defined $answer;
			print $client $answer;
			close($client);
		}
		POSIX::_exit(0);
	}
	push @children, $pid;
	return 'http://127.0.0.1:' . $listen->sockport . '/hook';
}

END
{
	local $?;
	kill('KILL', $_) for @children;
	waitpid($_, 0) for @children;
}

{
	my $http = sub { my ($status, $body, @headers) = @_; return join("\r\n", "HTTP/1.1 $status", 'content-length: ' . length $body, 'connection: close', @headers, '', $body) };
	my $secret = 'sb_secret_abcdefghijklmnopqrstuv_12345678';

	ok_finding('takes anything', answering($http->('200 OK', '{"ok":true}')), 'fail', qr/takes a call that is not signed/, qr/status and body/);
	ok_finding('redirects', answering($http->('301 Moved', '', "location: https://app.example/hook?apikey=$secret")), 'fail', qr{it redirects \(https://app\.example/hook\)$}, qr/where it redirects to/);
	ok_finding('takes no POST', answering($http->('405 Method Not Allowed', '')), 'fail', qr/takes no POST/, qr/path/);
	ok_finding('is down', answering($http->('502 Bad Gateway', '<html>nginx</html>', 'content-type: text/html')), 'fail', qr/does not answer properly .*502 from a gateway .*nginx/, qr/logs/);
	ok_finding('401 of a function like ours', answering($http->('401 Unauthorized', '{"code":"PT401","details":null,"hint":null,"message":"not accepted"}')), 'fail',
		qr/did not arrive in this database/, qr/connected to this database/);
	ok_finding('says a secret', answering($http->('500 Oops', "{\"message\":\"your key is $secret\"}")), 'fail', qr/your key is \*\*\*/, qr/logs/);
	ok_finding('says nothing', answering(undef), 'warn', qr/gave this server no answer .*came within 5000 ms/, qr/firewall/);
	ok_finding('breaks off', answering("HTTP/1.1 401 Unauthorized\r\ncontent-length: 100\r\n\r\n"), 'warn', qr/gave this server no answer/, qr/firewall/);
	ok_finding('too much', answering($http->('401 Unauthorized', 'x' x 100000)), 'warn', qr/gave this server no answer .*too large/, qr/firewall/);
	ok_finding('TLS where there is none', answering($http->('400 Bad Request', '')) =~ s/^http:/https:/r, 'fail', qr/does not speak what the URL begins with/, qr/plain http/);
	my $gone = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)->sockport;
	ok_finding('nobody listens', "http://127.0.0.1:$gone/", 'warn', qr/gave this server no answer/, qr/only this server/);
	ok_finding('no such host', 'http://nowhere.invalid/', 'warn', qr/gave this server no answer .*resolve/, qr/only this server/);

	system_or_bail('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', "$dir/key.pem", '-out', "$dir/cert.pem", '-days', '2', '-subj', '/CN=127.0.0.1');
	my $tls = start_fal(front => 'plain', args => [ '--tls-cert', "$dir/cert.pem", '--tls-key', "$dir/key.pem" ]);
	ok_finding('a certificate of its own', $tls->url, 'fail', qr/certificate is not accepted/, qr/ca_file/);
}

# ---------------------------------------------------------------------------
# Who may ask
# ---------------------------------------------------------------------------
for my $role (qw(anon authenticated service_role))
{
	for my $call ('vibevideo.check_config()', 'vibevideo_internal.check_services()', q{vibevideo_internal.probe('webhook')})
	{
		is((sql_error($node, "SET ROLE $role; SELECT * FROM $call"))[0], '42501', "$role may not call $call");
	}
	is((sql_error($node, "SET ROLE $role; SET vibevideo.webhook_url = 'http://127.0.0.1:1/'"))[0], '42501', "$role may not set the URL");
}
# not being a superuser is enough, even for an owner of the extension
sql($node, 'CREATE ROLE keeper; ALTER SCHEMA vibevideo OWNER TO keeper');
is((sql_error($node, q{SET ROLE keeper; SET vibevideo.webhook_url = 'http://127.0.0.1:1/'}))[0], '42501', 'nor may whoever owns the schema');

done_testing();
