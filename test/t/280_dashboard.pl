# The dashboard: its page, which the database serves, and its functions, through
# PostgREST.  Whoever is not a viewer gets nothing but the page; whatever somebody
# types is a value, never SQL; and what it shows and does is right.

use strict;
use utf8;
use warnings FATAL => 'all';

use Digest::SHA qw(sha256_base64);
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Utils;
use Test::More;
use VibeDocs;
use VibeRest;
use VibeTest;

my %recipe = recipes('sql');
my %shell = recipes('sh');
my $fal = start_fal(default => { hold => 'queue' });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => { 'vibevideo.unknown_after' => '1h', 'vibevideo.poll_interval' => '1h' });
supabase_roles($node);
my $rest = VibeRest->new($node);
my $page_url = '/rest/v1/rpc/vibevideo_dashboard';
my %browser = (apikey => undef, accept => 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7');

# ---------------------------------------------------------------------------
# The page
# ---------------------------------------------------------------------------
my ($sharedir) = map { chomp; $_ } `pg_config --sharedir`;
my $file = "$sharedir/vibevideo/dashboard.html";
my $installed = -e $file ? slurp_file($file) : undef;

sub write_page
{
	my ($bytes) = @_;

	open(my $out, '>:raw', $file) or die "$file: $!\n";
	print $out $bytes;
	close($out) or die "$file: $!\n";
	return;
}

END
{
	# others use this server's files, too
	if (defined $sharedir)
	{
		rmdir $file if -d $file;
		unlink $file;
		write_page($installed) if defined $installed;
	}
}

# As a browser does that is given the address.
sub get_page
{
	my ($query, %headers) = @_;

	return $rest->request(GET => $page_url . ($query // '?apikey=' . $rest->publishable_key), { %browser, %headers });
}

# The setting has reached the sessions that PostgREST keeps.
sub set_and_see
{
	my ($name, $seen, %settings) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	configure($node, %settings);
	return wait_until(sub { return $seen->(get_page()) }, $name);
}

sub policy_of
{
	return $_[0]->{header}{'content-security-policy'} // '';
}

# its bytes, with everything that is to be hashed as it stands
sub page
{
	my (%parts) = (style => "p { content: '<script>' }\n", script => "const a = '<style>', b = `größer €`\n\t// </p>\n", @_);
	my $text = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<style>$parts{style}</style>\n</head>\n<body>\n"
	  . "<p>Größe €</p>\n<script type=\"module\">$parts{script}</script>\n</body>\n</html>\n";

	utf8::encode($text);
	return $text;
}

sub hash_of
{
	my ($text) = @_;

	utf8::encode($text);
	my $hash = sha256_base64($text);
	return "'sha256-" . $hash . '=' x (-length($hash) % 4) . q{'};
}

write_page(page());
{
	my $off = get_page();

	is("$off->{status} $off->{code}", '404 PT404', 'it is off at first');
	is(policy_of($off), '', 'and says only that');
	unlike($off->{body}, qr/script|<html/, 'nothing of the page');
	is($rest->call('service_role', undef, GET => $page_url)->{code}, 'PT404', 'for everybody');
}
set_and_see('a setting turns it on', sub { return $_[0]->{status} == 200 }, dashboard => 'on');

{
	my $answer = get_page();
	my $length = length page();
	my $origin = $storage->url =~ s{^(https?://[^/]+).*}{$1}r;
	my $policy = "default-src 'none'; script-src " . hash_of("const a = '<style>', b = `größer €`\n\t// </p>\n")
	  . '; style-src ' . hash_of("p { content: '<script>' }\n")
	  . "; connect-src 'self'; img-src 'self' data: $origin; media-src 'self' $origin; base-uri 'none'; form-action 'none';"
	  . " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lit-html";

	is($answer->{body}, page(), 'the browser gets the file, byte by byte');
	is(join("\n", map { "$_->[0]: $_->[1]" } grep { !/^(?:Date|Server)$/ } @{ $answer->{headers} }), <<"HEADERS" =~ s/\n\z//r, 'and these headers, in order') or note(answer_text($answer));
Date: $answer->{header}{date}
Server: $answer->{header}{server}
Content-Range: 0-0/*
Content-Length: $length
Content-Type: text/html; charset=utf-8
Content-Security-Policy: $policy
X-Content-Type-Options: nosniff
Cache-Control: no-store
Referrer-Policy: no-referrer
Permissions-Policy: camera=(), geolocation=(), microphone=(), payment=(), usb=()
Cross-Origin-Opener-Policy: same-origin
Vary: Accept, Prefer, Range
HEADERS
	is(answer_text($rest->request(GET => '/rpc/vibevideo_dashboard', \%browser)), answer_text($answer), 'without a gateway the same');
	is($rest->request(GET => $page_url, { %browser, apikey => $rest->publishable_key, authorization => bearer('authenticated', 'user-1') })->{status}, 200, 'a user gets it, too');
	is(get_page('?apikey=x')->{status}, 401, 'a gateway wants a key that it knows');
	is(get_page('?apikey=' . $rest->publishable_key . '&other=1')->{code}, 'PGRST202', 'another parameter is not taken');
	my $head = $rest->request(HEAD => "$page_url?apikey=" . $rest->publishable_key, \%browser);
	is("$head->{status} $head->{header}{'content-type'} " . policy_of($head), '200 text/html ', 'HEAD is answered by PostgREST alone');
	like($rest->request(GET => $page_url, { accept => '*/*' })->{body}, qr/\A"<!doctype html>\\n/, 'who accepts anything gets it as JSON');
	is($rest->request(POST => $page_url, { %browser, apikey => $rest->publishable_key, 'content-type' => 'application/json' }, '{}')->{body}, page(), 'POST gives the same');
	is(sql($node, 'SELECT octet_length(public.vibevideo_dashboard())'), $length, 'and so does SQL');

	# nobody has kept what it was
	write_page(page(script => 'other()'));
	$answer = get_page();
	is($answer->{body}, page(script => 'other()'), 'another file is served at once');
	like(policy_of($answer), qr/script-src \Q${\ hash_of('other()')}\E;/, 'with its own hash');
}

# -- where videos may come from --------------------------------------------------------------
for my $case (
	[ 'https://files.example.org/storage/v1' => ' https://files.example.org' ],
	[ 'https://files.example.org:8443' => ' https://files.example.org:8443' ],
	[ 'http://10.0.0.5:9000/s3/' => ' http://10.0.0.5:9000' ],
	# a policy has no word for these
	[ 'https://[::1]:9000' => '' ],
	[ q{https://a;script-src} => '' ],
	[ 'https://*' => '' ],
	[ 'https://a,b' => '' ])
{
	my ($url, $origin) = @$case;

	set_and_see("videos of $url: " . ($origin || 'none'), sub { return policy_of($_[0]) =~ /; img-src 'self' data:\Q$origin\E; media-src 'self'\Q$origin\E; base-uri 'none'; / },
		storage_public_url => $url);
}
set_and_see('without a Storage there are none', sub { return policy_of($_[0]) =~ /; media-src 'self'; / }, storage_kind => 'none', storage_public_url => 'https://files.example.org');
configure($node, storage_kind => 'supabase', storage_public_url => '');

# -- files that are not it ----------------------------------------------------------------------
{
	my $from = -s $node->logfile;
	my %bad = (
		'two scripts' => page() . "<script type=\"module\">\n</script>",
		'another script' => page() . '<script src="https://example.org/x.js"></script>',
		'an upper-case one' => page() . '<SCRIPT>x()</SCRIPT>',
		'a script with an attribute more' => page() =~ s/<script /<script async /r,
		'no script' => page() =~ s/<script.*script>//sr,
		'no style' => page() =~ s/<style.*style>//sr,
		'two styles' => page() =~ s/<body>/<body><style>p {}<\/style>/r,
		'a style with media' => page() =~ s/<style>/<style media="all">/r,
		'a script without an end' => page() =~ s/<\/script>//r,
		'a style that ends as browsers see it' => page(style => '</style ><p>'),
		'a script that does' => page(script => "x()</SCRIPT\n>"),
		'lines as of Windows' => page() =~ s/\n/\r\n/gr,
		'no UTF-8' => page() =~ s/Gr/\xff/r,
		'a zero' => page() =~ s/<p>/<p>\0/r,
		'nothing' => '',
		'more than a megabyte' => page() . ' ' x (1048577 - length page()));

	for my $what (sort keys %bad)
	{
		write_page($bad{$what});
		my $answer = get_page();
		is("$answer->{status} $answer->{code}", '500 XX001', "$what: refused");
		is(policy_of($answer) . ($answer->{body} =~ /<html|\Q$sharedir\E/ ? $answer->{body} : ''), '', "$what: nothing of the page, nor where it is");
		like($answer->{body}, qr/"details":"It .*","hint":"Install vibevideo/, "$what: but why, and what to do");
	}
	write_page(page() . ' ' x (1048576 - length page()));
	is(length get_page()->{body}, 1048576, 'a megabyte is served');
	unlink $file;
	my $answer = get_page();
	is("$answer->{status} $answer->{code}", '500 58P01', 'no file: refused');
	like($answer->{body}, qr/"hint":".*make install.*","message":"the dashboard is not installed"/, 'no file: what to do');
	unlike($answer->{body}, qr/\Q$sharedir\E/, 'no file: not where it would be');
	like(slurp_file($node->logfile, $from), qr/There is no file "\Q$file\E"/, 'which is in the log');
	mkdir $file or die "$file: $!\n";
	is(get_page()->{code}, 'XX001', 'a folder of that name is none');
	rmdir $file;
	if ($< != 0)
	{
		write_page(page());
		chmod 0, $file;
		is(get_page()->{code}, '42501', 'a file that the server may not read');
		chmod 0644, $file;
	}
	write_page(page());
}

# -- headers of others ----------------------------------------------------------------------------
sql($node, <<'SQL');
CREATE FUNCTION public.before() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('response.headers', '[{"X-Own": "1"}, {"content-security-policy": "default-src *"}, {"CACHE-CONTROL": "public"}]', true);
END
$$;
SQL
{
	my $with = VibeRest->new($node, pre_request => 'public.before');
	my $answer = $with->request(GET => '/rpc/vibevideo_dashboard', \%browser);

	is(join(' ', map { $_->[0] } @{ $answer->{headers} }[ 4 .. 11 ]), 'X-Own Content-Type Content-Security-Policy X-Content-Type-Options Cache-Control Referrer-Policy Permissions-Policy Cross-Origin-Opener-Policy',
		'what a pre-request function has set stays, but for what the page needs');
	like(policy_of($answer), qr/^default-src 'none'; /, 'whose policy counts');
	is($with->request(POST => '/rpc/vibevideo_webhook', { 'content-type' => 'application/json' }, '{}')->{status}, 401, 'other functions go on as ever');
	sql($node, q{CREATE OR REPLACE FUNCTION public.before() RETURNS void LANGUAGE sql AS $$ SELECT set_config('response.headers', '["x"]', true) $$});
	is($with->request(GET => '/rpc/vibevideo_dashboard', \%browser)->{code}, 'PGRST111', 'headers that are none are refused by PostgREST: there is no page without ours');
}

# -- there is nothing else behind it ------------------------------------------------------------------
is(sql($node, q{SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid), (SELECT count(*) FROM pg_proc WHERE pronamespace = n.oid),
	(SELECT string_agg(typname, ' ') FROM pg_type WHERE typnamespace = n.oid AND typtype <> 'b'), has_schema_privilege('anon', n.oid, 'USAGE'), has_schema_privilege('anon', n.oid, 'CREATE')
	FROM pg_namespace n WHERE nspname = 'vibevideo_page'}), '0|0|text/html|t|f', 'schema vibevideo_page has one type');
{
	my ($state, $text) = sql_error($node, q{CREATE ROLE web_anon; SET ROLE web_anon; SELECT public.vibevideo_dashboard()});
	is($state, '42501', 'a role that is none of the API\'s may not call it');
	sql($node, 'RESET ROLE');
}

# ---------------------------------------------------------------------------
# As the manual says
# ---------------------------------------------------------------------------
{
	my $plain = vibe_node('plain', app => 0);
	my $secret = 'super-secret-jwt-token-with-at-least-32-characters-long';

	sql($plain, 'CREATE EXTENSION vibevideo');
	sql($plain, $recipe{'dashboard-plain'} =~ s/<password>/none/r);
	my $api = VibeRest->new($plain);
	wait_until(sub { return $api->request(GET => '/rpc/vibevideo_dashboard', \%browser)->{status} == 200 }, 'without Supabase the page is there');
	my ($out, $err) = run_command([ 'bash', '-c', $shell{jwt} =~ s/<jwt-secret>/$secret/r ]);
	is($err, '', 'a JWT is made in a shell');
	my $me = $api->request(POST => '/rpc/vibevideo_admin_me', { 'content-type' => 'application/json', authorization => "Bearer $out" }, '{}');
	is($me->{status}, 200, 'which is good') or diag(answer_text($me));
	is(join(' ', @{ decode_json($me->{body}) }{qw(user_id note level)}), 'ann Ann operator', 'for an operator');
	$plain->stop('fast');

	sql($node, q{CREATE SCHEMA auth; CREATE TABLE auth.users (id uuid DEFAULT gen_random_uuid(), email text); INSERT INTO auth.users (email) VALUES ('ann@example.org'), ('bob@example.org')});
	sql($node, $recipe{dashboard} =~ s/<mail>/ann\@example.org/r);
	my %level = map { $_ => $rest->call('authenticated', sql($node, "SELECT id FROM auth.users WHERE email LIKE '$_\@%'"), POST => '/rest/v1/rpc/vibevideo_admin_me')->{data}{level} } qw(ann bob);
	is($level{ann}, 'operator', 'with Supabase an operator is added by mail address');
	is($level{bob}, undef, 'and nobody else');
}

if (defined $installed)
{
	write_page($installed);
	my $answer = get_page();
	is($answer->{status}, 200, 'the page that is installed is served');
	is($answer->{body}, $installed, 'as it is');
}

undef $rest;
done_testing();
