
=pod

=head1 NAME

VibeRest - PostgREST, or what plays it, in front of a test's server

=head1 SYNOPSIS

  use VibeTest;
  use VibeRest;

  supabase_roles($node);
  my $rest = VibeRest->new($node);
  my $answer = $rest->call('authenticated', 'user-7', POST => '/rpc/vibevideo_submit', { vibelog_id => $id });
  is($answer->{status}, 202, 'accepted');

=head1 DESCRIPTION

Starts the stand-in, F<test/emulator/postgrest.mjs>, and talks to it over HTTP,
byte by byte: an answer is what was on the wire.  A path under C</rest/v1> goes
through the API gateway in front of it, with the publishable key; others go to
PostgREST itself.

The stand-in hears C<NOTIFY pgrst>.  It keeps connections to the server, and a
restart of that shows in the next answers, as it does with PostgREST.

=cut

package VibeRest;

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256);
use Exporter 'import';
use File::Basename qw(dirname);
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Utils ();
use VibeTest;

our @EXPORT = qw(supabase_roles module bearer answer_text answer_wire);

my $SECRET = 'super-secret-jwt-token-with-at-least-32-characters-long';
my $json = JSON::PP->new->utf8->allow_nonref->canonical;

# supabase_roles(node) - the API's roles, with the limits Supabase gives them.
sub supabase_roles
{
	my ($node) = @_;

	sql($node, <<'SQL');
CREATE ROLE anon NOLOGIN;
CREATE ROLE authenticated NOLOGIN;
CREATE ROLE service_role NOLOGIN BYPASSRLS;
CREATE ROLE authenticator LOGIN NOINHERIT;
GRANT anon, authenticated, service_role TO authenticator;
ALTER ROLE anon SET statement_timeout = '3s';
ALTER ROLE authenticated SET statement_timeout = '8s';
ALTER ROLE authenticator SET statement_timeout = '8s';
ALTER ROLE authenticator SET lock_timeout = '8s';
SELECT vibevideo.grant_api_roles() WHERE to_regprocedure('vibevideo.grant_api_roles()') IS NOT NULL;
SQL
	return;
}

# module(name) - compiles test/modules/name.c; returns the library's path.
sub module
{
	my ($name) = @_;
	my $source = dirname(__FILE__) . "/../modules/$name.c";
	my $library = PostgreSQL::Test::Utils::tempdir() . "/$name.so";
	my ($cc, $include) = map { my $out = `pg_config --$_`; chomp $out; $out } qw(cc includedir-server);

	system("$cc -shared -fPIC -O1 -o '$library' -I '$include' '$source'") == 0 or die "could not compile $source\n";
	return $library;
}

# bearer(role, sub, claim => value) - the value of an Authorization header.
sub bearer
{
	my ($role, $sub, %claims) = @_;
	my $text = join('.', map { encode_base64url($_) } '{"alg":"HS256"}', $json->encode({ role => $role, defined $sub ? (sub => $sub) : (), %claims }));

	return "Bearer $text." . encode_base64url(hmac_sha256($text, $SECRET));
}

# new(node, pre_request => function, args => [option of the program, ...]) - the
# node may come later, with move.
sub new
{
	my ($class, $node, %options) = @_;
	my $emulator = VibeTest::Emulator->start('postgrest',
		'--db-host', $node ? $node->host : '/nowhere', '--db-port', $node ? $node->port : '1',
		$options{pre_request} ? ('--pre-request', $options{pre_request}) : (), @{ $options{args} || [] });

	return bless { emulator => $emulator, ready => $emulator->{ready}, owner => $$ }, $class;
}

sub DESTROY
{
	my ($self) = @_;

	local ($?, $!, $@);
	$self->{emulator}->stop if $self->{owner} == $$;
	return;
}

sub url
{
	return $_[0]->{ready}{url};
}

# Of the gateway, with its prefix.
sub gateway_url
{
	return $_[0]->{ready}{gateway_url};
}

sub publishable_key
{
	return $_[0]->{ready}{publishable_key};
}

sub control
{
	my ($self, $what, $body) = @_;
	my $answer = $self->exchange($self->{ready}{port}, 'POST', "/_ctl/$what", {}, defined $body ? $json->encode($body) : '');

	die "$what: $answer->{body}\n" unless $answer->{status} == 200;
	return;
}

# Another server, as after a failover.
sub move
{
	my ($self, $node) = @_;

	return $self->control('database', { host => $node->host, port => $node->port });
}

# It reads the schema and the settings of roles again.
sub reload
{
	my ($self) = @_;

	return $self->control('reload');
}

# ---------------------------------------------------------------------------
# Requests
# ---------------------------------------------------------------------------

# The body of an answer whose head and rest these are, as a client reads it.
sub body_of
{
	my ($method, $status, $header, $rest) = @_;
	my $body = '';

	return '' if $method eq 'HEAD' || $status == 204 || $status == 304;
	if (($header->{'transfer-encoding'} // '') eq 'chunked')
	{
		while ($rest =~ s/\A([0-9a-f]+)\r\n//)
		{
			$body .= substr($rest, 0, hex $1, '');
			$rest =~ s/\A\r\n//;
		}
		return $body;
	}
	return substr($rest, 0, $header->{'content-length'} // length $rest);
}

# { status, reason, headers => [[name, value], …], header => {name => value},
# body, code of an error, wire }.
sub read_answer
{
	my ($method, $wire) = @_;
	my ($head, $rest) = split /\r\n\r\n/, $wire, 2;
	my ($status, $reason) = ($head // '') =~ m{\AHTTP/1\.[01] (\d+) ([^\r]*)} or die "no answer: $wire\n";
	my (undef, @lines) = split /\r\n(?! )/, $head;
	my @headers = map { [ split /: ?/, $_, 2 ] } @lines;
	my %header = map { lc $_->[0] => $_->[1] } @headers;
	my $body = body_of($method, $status, \%header, $rest);
	my $error = $status >= 300 ? eval { $json->decode($body) } : undef;

	return {
		status => $status, reason => $reason, headers => \@headers, header => \%header, body => $body, wire => $wire,
		code => ref $error eq 'HASH' && $error->{code} ? $error->{code} : '' };
}

# One request on a connection of its own.
sub exchange
{
	my ($self, $port, $method, $target, $headers, $body) = @_;
	my %all = (host => "127.0.0.1:$port", connection => 'close', defined $body ? ('content-length' => length $body) : (),
		map { lc $_ => $headers->{$_} } keys %$headers);
	my @lines = map { "$_: $all{$_}" } grep { defined $all{$_} } sort keys %all;
	my $request = join("\r\n", "$method $target HTTP/1.1", @lines, '', $body // '');
	my $wire = '';

	die "such a header cannot be sent\n" if grep { /[\r\n\0]/ } @lines;
	utf8::encode($request) if utf8::is_utf8($request) && $request =~ /[^\x00-\xff]/;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 10) or die "connect: $@";
	local $SIG{PIPE} = 'IGNORE';
	print $socket $request;
	1 while sysread($socket, $wire, 65536, length $wire);
	return read_answer($method, $wire);
}

# request(method, path with query, headers, body) - one as it is; see read_answer.
# A header that is undef is not sent.
sub request
{
	my ($self, $method, $target, $headers, $body) = @_;
	my $gateway = $target =~ m{^/rest/v1/};

	return $self->exchange($self->{ready}{ $gateway ? 'gateway_port' : 'port' }, $method, $target,
		{ $gateway ? (apikey => $self->publishable_key) : (), %$headers }, $body);
}

# call(role, sub, method, path, arguments) - as supabase.rpc does; the body is decoded into {data}.
sub call
{
	my ($self, $role, $sub, $method, $path, $arguments, %headers) = @_;
	my $answer = $self->request($method, $path,
		{ 'content-type' => 'application/json', accept => 'application/json', authorization => bearer($role, $sub), %headers },
		defined $arguments ? $json->encode($arguments) : $method eq 'POST' ? '{}' : undef);

	$answer->{data} = $json->decode($answer->{body}) if $answer->{body} ne '';
	return $answer;
}

# answer_text(answer) - it, for people and comparisons: without its time.
sub answer_text
{
	my ($answer) = @_;

	return join("\n", "HTTP/1.1 $answer->{status} $answer->{reason}",
		(map { "$_->[0]: $_->[1]" } grep { $_->[0] ne 'Date' } @{ $answer->{headers} }), '', $answer->{body});
}

# answer_wire(answer) - its bytes on the wire.
sub answer_wire
{
	return $_[0]->{wire};
}

1;
