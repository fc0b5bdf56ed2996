
=pod

=head1 NAME

VibeRest - plays PostgREST in front of a test's server

=head1 SYNOPSIS

  use VibeTest;
  use VibeRest;

  supabase_roles($node);
  my $rest = VibeRest->new($node, user => 'authenticator');
  my $answer = $rest->call('authenticated', 'user-7', POST => '/rpc/vibevideo_submit', { vibelog_id => $id });
  is($answer->{status}, 202, 'accepted');

=head1 DESCRIPTION

Does what PostgREST does with a request for a function: finds it by the names
of its arguments, opens a transaction (read only for GET and for what is not
volatile), sets role, claims, headers, and the settings of that role, calls,
reads response.status and response.headers, commits; and turns an error into a
status by its SQLSTATE.  As PostgREST does, it takes the message of an error
C<PTxyz> for the reason phrase, as it is: with line breaks in it, the phrase ends
and headers of somebody else's begin.  The signature of a JWT is not checked.

=cut

package VibeRest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64 qw(decode_base64url encode_base64url);
use POSIX ();
use PostgreSQL::Test::Utils ();
use Time::HiRes qw(time);
use VibeStatus;
use VibeTest;

our @EXPORT = qw(supabase_roles module bearer answer_text answer_wire);

my $json = JSON::PP->new->utf8->allow_nonref->canonical;

my $LOOKUP = <<'SQL';
SELECT coalesce(json_agg(json_build_object('oid', p.oid::bigint, 'names', p.proargnames, 'modes', p.proargmodes,
	'types', (SELECT array_agg(format_type(t, NULL) ORDER BY n) FROM unnest(p.proargtypes) WITH ORDINALITY AS a(t, n)),
	'defaults', p.pronargdefaults, 'volatile', p.provolatile = 'v', 'set', p.proretset, 'config', p.proconfig,
	'result', CASE WHEN p.prorettype = 'void'::regtype THEN 'void' WHEN r.typtype IN ('c', 'p') THEN 'row' ELSE 'value' END)), '[]')
FROM pg_proc p JOIN pg_type r ON r.oid = p.prorettype
WHERE p.pronamespace = 'public'::regnamespace AND p.proname = %s AND p.prokind = 'f'
SQL

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

# bearer(role, sub) - the value of an Authorization header.
sub bearer
{
	my ($role, $sub) = @_;
	my %claims = (role => $role, defined $sub ? (sub => $sub) : ());

	return 'Bearer ' . join('.', map { encode_base64url($_) } '{"alg":"HS256"}', $json->encode(\%claims), 'signature');
}

# new(node, user => login, pre_request => function) - without a user, calls run
# as the superuser, without SET ROLE.
sub new
{
	my ($class, $node, %options) = @_;

	return bless { node => $node, functions => {}, settings => {}, %options }, $class;
}

# What it does on NOTIFY pgrst, 'reload schema'.
sub reload
{
	my ($self) = @_;

	$self->{functions} = {};
	$self->{settings} = {};
	return;
}

sub quote
{
	my ($text) = @_;

	$text =~ s/'/''/g;
	return "'$text'";
}

sub identifier
{
	my ($name) = @_;

	$name =~ s/"/""/g;
	return qq{"$name"};
}

# One exchange with the session; undef when it is gone.
sub ask
{
	my ($self, $sql) = @_;

	$self->{session} ||= VibeTest::Session->start($self->{node}, $self->{user});
	my ($well, $out) = $self->{session}->ask("\\set VERBOSITY verbose\n$sql");
	return $out if defined $well;
	delete $self->{session};
	return;
}

# An error's answer.  Texts are characters; the phrase and the body are bytes.
sub problem
{
	my ($status, $code, $message, $details, $hint) = @_;
	my $reason = $code =~ /^PT/ ? $message : standard_phrase($status);
	my $answer = {
		status => $status, code => $code, message => $message, hint => $hint,
		headers => [
			$status == 503 ? [ 'Retry-After', '0' ] : (),
			[ 'Content-Type', 'application/json; charset=utf-8' ],
			[ 'Proxy-Status', "PostgREST; error=$code" ],
			$status == 401 ? [ 'WWW-Authenticate', 'Bearer' ] : () ],
		body => $status == 204 ? '' : $json->encode({ code => $code, message => $message, details => $details, hint => $hint }) };

	utf8::encode($reason);
	$answer->{reason} = $reason;
	return $answer;
}

# What SQLSTATE PGRST asks for: the body is its message, status and headers are its details.
sub problem_of_its_own
{
	my ($message, $details) = @_;
	my ($said, $how) = map { my $text = $_ // ''; utf8::encode($text); eval { $json->decode($text) } } $message, $details;
	my $wanted = "MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional keys: 'details', 'hint'.";

	return problem(500, 'PGRST121', q{Could not parse JSON in the "RAISE SQLSTATE 'PGRST'" error}, "Invalid JSON value for MESSAGE: '$message'", $wanted)
	  unless ref $said eq 'HASH' && ref $how eq 'HASH';
	my $answer = problem($how->{status}, @$said{qw(code message details hint)});
	$answer->{reason} = standard_phrase($how->{status});
	push @{ $answer->{headers} }, map { [ $_, $how->{headers}{$_} ] } sort keys %{ $how->{headers} || {} };
	return $answer;
}

# The parts of an error as psql prints it verbosely, in characters; () if there is none.
sub error_of
{
	my ($out) = @_;
	my $next = qr/(?=\n(?:DETAIL|HINT|QUERY|CONTEXT|LOCATION|SCHEMA NAME|TABLE NAME|COLUMN NAME|CONSTRAINT NAME|psql:\S+ ERROR):|\n?\z)/;
	my ($code, $message) = $out =~ /^(?:psql:[^\n]*?: )?(?:ERROR|FATAL):  ([0-9A-Z]{5}): (.*?)$next/ms or return ();
	my $rest = substr($out, $+[0]);
	my ($details) = $rest =~ /^\nDETAIL:  (.*?)$next/s;
	my ($hint) = $rest =~ /^(?:\nDETAIL:  .*?)?\nHINT:  (.*?)$next/s;

	# psql shows where in a statement it is
	$message =~ s/\nLINE \d+: [^\n]*\n *\^\z//;
	utf8::decode($_) for grep { defined } $message, $details, $hint;
	return ($code, $message, $details, $hint);
}

# The function with these argument names, or an answer that there is none.
sub find
{
	my ($self, $name, $given) = @_;
	my $all = $self->{functions}{$name};
	my @found;

	if (!$all)
	{
		my $out = $self->ask(sprintf($LOOKUP, quote($name)));
		return (undef, problem(503, 'PGRST001', 'Could not connect with the database')) unless defined $out;
		$all = $self->{functions}{$name} = $json->decode($out);
	}
	for my $function (@$all)
	{
		my @modes = @{ $function->{modes} || [ map { 'i' } @{ $function->{types} || [] } ] };
		my @names = @{ $function->{names} || [] };
		my @in = grep { $modes[$_] =~ /[ib]/ } 0 .. $#modes;
		my @types = @{ $function->{types} || [] };
		my %type = map { (($names[ $in[$_] ] // '') => $types[$_]) } 0 .. $#in;
		my @needed = map { $names[$_] // '' } @in[ 0 .. $#in - $function->{defaults} ];

		if (@in == 1 && exists $type{''})
		{
			push @found, { %$function, raw => 1 } if $types[0] =~ /^jsonb?$/;
			next;
		}
		push @found, { %$function, type => \%type }
		  unless grep({ !exists $type{$_} } keys %$given) || grep({ !exists $given->{$_} } @needed);
	}
	my @exact = grep { !$_->{raw} } @found;
	@found = @exact if @exact;
	return ($found[0]) if @found == 1;
	return (undef, problem(300, 'PGRST203', "Could not choose the best candidate function between: public.$name")) if @found;
	return (undef, problem(404, 'PGRST202', "Could not find the function public.$name in the schema cache"));
}

# Settings of a role, and those of the function that PostgREST hoists.
sub settings_of
{
	my ($self, $role, $function) = @_;
	my @hoisted = grep { /^(?:statement_timeout|default_transaction_isolation)=/ } @{ $function->{config} || [] };

	return @hoisted unless $self->{user};
	$self->{settings}{$role} ||= $json->decode($self->ask(
			"SELECT coalesce(json_agg(c), '[]') FROM pg_db_role_setting s, unnest(s.setconfig) c, pg_roles r"
			  . ' WHERE s.setdatabase = 0 AND s.setrole = r.oid AND r.rolname = ' . quote($role)) // '[]');
	return (@{ $self->{settings}{$role} }, @hoisted);
}

# request(method, path with query, headers, body) - { status, headers => [[name, value], …], body, code }.
sub request
{
	my ($self, $method, $target, $headers, $body) = @_;
	my ($path, $query) = split /\?/, $target, 2;
	my %header = map { lc $_ => "$headers->{$_}" } keys %$headers;
	my ($name) = $path =~ m{^(?:/rest/v1)?/rpc/([^/]+)$} or return problem(404, 'PGRST125', 'Invalid path specified in request URL');
	my $claims = { role => 'anon' };
	my $given = {};

	$path =~ s{^/rest/v1}{};
	if (($header{authorization} || '') =~ /^Bearer [^.]*\.([^.]*)\./)
	{
		$claims = eval { $json->decode(decode_base64url($1)) } or return problem(401, 'PGRST301', 'JWSError');
	}
	if ($method eq 'GET')
	{
		for my $pair (split /&/, $query // '')
		{
			my ($key, $value) = map { s/\+/ /gr =~ s/%([0-9a-f]{2})/chr hex $1/gier } split /=/, $pair, 2;
			$value = '' unless defined $value;
			utf8::decode($value);
			$given->{$key} = $value;
		}
		$body = $json->encode($given);
	}
	else
	{
		$body = '{}' unless defined $body && length $body;
		my $value = eval { $json->decode($body) };
		return problem(400, 'PGRST102', 'Empty or invalid json') unless defined $value || $body =~ /^\s*null\s*$/;
		$given = $value if ref $value eq 'HASH';
		# a single value is not passed on
		$body = '[]' unless ref $value eq 'HASH' || (ref $value eq 'ARRAY' && !grep { ref ne 'HASH' } @$value);
	}
	my ($function, $refusal) = $self->find($name, $given);
	return $refusal if $refusal;
	return $self->perform($function, { name => $name, method => $method, path => $path, header => \%header, body => $body, given => $given, claims => $claims });
}

sub perform
{
	my ($self, $function, $request) = @_;
	my $role = $request->{claims}{role} // 'anon';
	my $call = identifier($request->{name});
	my ($from, $pick) = ('', '');
	my %settings = (
		'request.method' => $request->{method},
		'request.path' => $request->{path},
		'request.headers' => $json->encode($request->{header}),
		'request.cookies' => '{}',
		'request.jwt.claims' => $json->encode($request->{claims}));

	if ($self->{user})
	{
		$settings{search_path} = '"public", "extensions"';
		$settings{role} = $role;
	}
	# the isolation level is the transaction's, the rest are settings
	my $isolation = 'read committed';
	for (map { [ split /=/, $_, 2 ] } $self->settings_of($role, $function))
	{
		if ($_->[0] eq 'default_transaction_isolation') { $isolation = $_->[1] }
		else { $settings{ $_->[0] } = $_->[1] }
	}
	if ($function->{raw})
	{
		$from = "public.$call(" . quote($request->{body}) . ')';
	}
	else
	{
		my @names = sort keys %{ $request->{given} };
		my $columns = join(', ', map { identifier($_) . ' ' . $function->{type}{$_} } @names);
		my $arguments = join(', ', map { identifier($_) . ' := a.' . identifier($_) } @names);

		$from = @names
		  ? 'json_to_record(' . quote($request->{body}) . ") AS a($columns), LATERAL public.$call($arguments)"
		  : "public.$call()";
	}
	my $value = $function->{result} eq 'row' ? 'row_to_json(c)' : 'to_json(c)';
	$pick = $function->{set} ? "coalesce(json_agg($value), '[]')" : "(json_agg($value))->0";
	my $out = $self->ask(join(";\n",
			"BEGIN ISOLATION LEVEL $isolation " . ($request->{method} eq 'GET' || !$function->{volatile} ? 'READ ONLY' : 'READ WRITE'),
			'\\o /dev/null' . "\nSELECT " . join(', ', map { "set_config('$_', " . quote($settings{$_}) . ', true)' } sort { ($a eq 'role') <=> ($b eq 'role') || $a cmp $b } keys %settings),
			($self->{pre_request} ? "SELECT $self->{pre_request}()" : ()),
			"\\o\n" . 'WITH called AS MATERIALIZED (SELECT ' . $pick . " AS body FROM $from AS c)"
			  . " SELECT json_build_object('body', body, 'headers', coalesce(current_setting('response.headers', true), ''),"
			  . " 'status', coalesce(current_setting('response.status', true), '')) FROM called",
			'COMMIT'));

	return problem(503, 'PGRST001', 'Could not connect with the database') unless defined $out;
	if (my ($code, $message, $details, $hint) = error_of($out))
	{
		return problem_of_its_own($message, $details) if $code eq 'PGRST';
		return problem(http_status_of($code, $role, $message), $code, $message, $details, $hint);
	}
	return answer($function, $json->decode((grep { /^\{/ } split /\n(?=\{)/, $out)[0]));
}

sub answer
{
	my ($function, $result) = @_;
	my $headers = [];
	my $status = $function->{result} eq 'void' ? 204 : 200;

	if ($result->{headers} ne '')
	{
		utf8::encode(my $text = $result->{headers});
		$headers = eval { $json->decode($text) };
		return problem(500, 'PGRST111', 'response.headers guc must be a JSON array composed of objects with a single key and a string value')
		  if ref $headers ne 'ARRAY' || grep { ref ne 'HASH' || keys %$_ != 1 || ref((values %$_)[0]) } @$headers;
	}
	if ($result->{status} ne '')
	{
		return problem(500, 'PGRST112', 'response.status guc must be a valid status code') unless $result->{status} =~ /^[1-5]\d\d$/;
		$status = $result->{status};
	}
	my @headers = map { [%$_] } @$headers;
	push @headers, [ 'Content-Type', 'application/json; charset=utf-8' ] unless grep { lc $_->[0] eq 'content-type' } @headers;
	return {
		status => $status, code => '', reason => standard_phrase($status), headers => \@headers,
		body => $status == 204 ? '' : $json->encode($result->{body}) };
}

# call(role, sub, method, path, arguments) - as supabase.rpc does; the body is decoded into {data}.
sub call
{
	my ($self, $role, $sub, $method, $path, $arguments, %headers) = @_;
	my $answer = $self->request($method, $path,
		{ 'content-type' => 'application/json', accept => 'application/json', authorization => bearer($role, $sub), %headers },
		defined $arguments ? $json->encode($arguments) : undef);

	$answer->{data} = $json->decode($answer->{body}) if $answer->{body} ne '';
	$answer->{header} = { map { lc $_->[0] => $_->[1] } @{ $answer->{headers} } };
	return $answer;
}

# answer_text(answer) - it, for people and comparisons.
sub answer_text
{
	my ($answer) = @_;

	return join("\n", "HTTP/1.1 $answer->{status} $answer->{reason}", (map { "$_->[0]: $_->[1]" } @{ $answer->{headers} }), '', $answer->{body});
}

# answer_wire(answer) - its bytes on the wire.
sub answer_wire
{
	my ($answer) = @_;

	return join("\r\n",
		"HTTP/1.1 $answer->{status} $answer->{reason}",
		(map { "$_->[0]: $_->[1]" } @{ $answer->{headers} }),
		'content-length: ' . length($answer->{body}),
		'connection: close', '', $answer->{body});
}

# serve(socket) - answers requests until it is killed; to be run in a separate process.
# before is called before each of them.
sub serve
{
	my ($self, $listen, %options) = @_;

	local $SIG{PIPE} = 'IGNORE';
	while (my $client = $listen->accept)
	{
		my ($request, $length) = ('', 0);
		my $until = time() + 5;

		while ($request !~ /\r\n\r\n(.*)\z/s || length $1 < $length)
		{
			my $bits = '';
			vec($bits, fileno($client), 1) = 1;
			last if time() > $until || !select($bits, undef, undef, 1) || !sysread($client, $request, 65536, length $request);
			$length = $1 if $request =~ /^content-length: *(\d+)/mi;
		}
		my ($head, $body) = split /\r\n\r\n/, $request, 2;
		my ($method, $target) = ($head // '') =~ /^([A-Z]+) (\S+) HTTP/ or next;
		my %headers = map { /^([^:]+): *(.*?)\r?$/ ? (lc $1 => $2) : () } split /\n/, $head;

		$options{before}->($self) if $options{before};
		my $answer = $self->request($method, $target, \%headers, $body);
		print $client answer_wire($answer);
		close($client);
	}
	return;
}

# start(socket) - the same in a separate process; returns its id.
sub start
{
	my ($self, $listen, %options) = @_;
	my $pid = fork();

	die "fork: $!" unless defined $pid;
	return $pid if $pid;
	alarm(3600);
	delete $self->{session};
	$self->serve($listen, %options);
	POSIX::_exit(0);
}

1;
