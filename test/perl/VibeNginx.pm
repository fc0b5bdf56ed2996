
=pod

=head1 NAME

VibeNginx - an nginx with TLS between the extension and the emulators

=head1 SYNOPSIS

  my $url = VibeNginx::front($emulator_port, 'http2');     # https://127.0.0.1:…
  my $url = VibeNginx::front($emulator_port, 'http2', 'keepalive_requests 50;');
  VibeNginx::reload();
  my @lines = VibeNginx::requests();

=head1 DESCRIPTION

fal.ai, its CDN and the gateways of Supabase speak HTTP/2 over TLS, so the tests
do as well.  A test file has one nginx, started when the first emulator wants a
front; each front is a server block with a port of its own.  Everything is in
one directory beside the test's other logs: the configuration, F<error.log>,
F<access.log>, and a certificate authority made for this test file.

It passes on what it gets as it comes: no buffering, no limit of size, no second
try.  The emulators see the client's Host, and X-Forwarded-Proto, from which they
build the URLs that they hand out.

=cut

package VibeNginx;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(basename);
use File::Path qw(remove_tree);
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

our $patience = 30;
my $owner = $$;
my $dir;    # undef until the first front
my $pid;
my %servers;    # port => {upstream =>, http2 =>, directives =>}

END
{
	stop() if $$ == $owner;
}

# ---------------------------------------------------------------------------
# Certificates
# ---------------------------------------------------------------------------

# They are valid from long ago on, for servers whose clock a test has set.
my $OPENSSL_CONFIG = <<'END';
[ca]
default_ca = test
[test]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
default_startdate = 20000101000000Z
default_enddate = 20991231235959Z
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[foreign]
basicConstraints = critical, CA:true
[server]
basicConstraints = critical, CA:false
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1, DNS:localhost, DNS:held.test, DNS:another-held.test
END

# run(program, argument...) - inside our directory
sub run
{
	my (@command) = @_;
	my $child = fork();

	die "could not fork: $!" unless defined $child;
	if ($child == 0)
	{
		chdir $dir && open(STDOUT, '>>', 'openssl.log') && open(STDERR, '>&', \*STDOUT) && exec @command;
		POSIX::_exit(127);
	}
	local $?;
	waitpid($child, 0);
	die "@command failed, see $dir/openssl.log\n" if $? != 0;
	return;
}

sub certify
{
	my ($who, $subject, @by) = @_;

	run(qw(openssl req -new -config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes),
		'-subj', "/CN=$subject", '-keyout', "$who.key", '-out', "$who.csr");
	run(qw(openssl ca -config openssl.cnf -batch -notext), '-extensions', $who, '-in', "$who.csr", '-out', "$who.crt", @by);
	return;
}

sub make_certificates
{
	write_file('openssl.cnf', $OPENSSL_CONFIG);
	write_file('index.txt', '');
	certify('authority', 'tests of vibevideo', '-selfsign', '-keyfile', 'authority.key');
	certify('server', '127.0.0.1', '-cert', 'authority.crt', '-keyfile', 'authority.key');
	return;
}

# foreign_ca_file() - another authority, which has certified nothing.
sub foreign_ca_file
{
	certify('foreign', 'somebody else', '-selfsign', '-keyfile', 'foreign.key') unless -e "$dir/foreign.crt";
	return "$dir/foreign.crt";
}

# ca_file() - the file for vibevideo.ca_file; undef as long as nothing has a front.
sub ca_file
{
	return $dir && "$dir/authority.crt";
}

# certificate() - (certificate, key) for a server of a test's own.
sub certificate
{
	make_directory();
	return ("$dir/server.crt", "$dir/server.key");
}

# ---------------------------------------------------------------------------
# Configuration
# ---------------------------------------------------------------------------

my $HTTP = <<'END';
	log_format line '$server_port $connection $server_protocol $request_method $request_uri $status';
	access_log access.log line;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;

	ssl_certificate server.crt;
	ssl_certificate_key server.key;

	# the emulators are slow, silent or broken on purpose; nothing here ends it, or hides it
	client_max_body_size 0;
	client_header_timeout 10m;
	client_body_timeout 10m;
	send_timeout 10m;
	large_client_header_buffers 4 64k;
	proxy_request_buffering off;
	proxy_buffering off;
	proxy_buffer_size 64k;
	proxy_buffers 4 64k;
	proxy_busy_buffers_size 128k;
	proxy_next_upstream off;
	proxy_read_timeout 10m;
	proxy_send_timeout 10m;
	proxy_http_version 1.1;
	proxy_set_header Connection "";
	proxy_set_header Host $http_host;
	proxy_set_header X-Forwarded-Proto $scheme;
	proxy_pass_header Date;
	proxy_pass_header Server;
END

sub write_file
{
	my ($name, $text) = @_;

	open(my $file, '>', "$dir/$name") or die "could not write $dir/$name: $!\n";
	print $file $text;
	close($file) or die "could not write $dir/$name: $!\n";
	return;
}

sub server_block
{
	my ($port) = @_;
	my $server = $servers{$port};
	my $protocols = $server->{http2} ? 'ssl http2' : 'ssl';

	return <<"END";
	upstream to_$port {
		server 127.0.0.1:$server->{upstream};
		keepalive 64;
	}
	server {
		listen 127.0.0.1:$port $protocols backlog=4096;
		$server->{directives}
		location / {
			proxy_pass http://to_$port;
		}
	}
END
}

sub configure
{
	my $blocks = join('', map { server_block($_) } sort keys %servers);

	write_file('nginx.conf', <<"END");
daemon off;
pid nginx.pid;
error_log error.log notice;
worker_processes 1;
worker_rlimit_nofile 8192;
events {
	worker_connections 4096;
}
http {
$HTTP
$blocks}
END
	return;
}

# ---------------------------------------------------------------------------
# The process
# ---------------------------------------------------------------------------

sub make_directory
{
	return if $dir;
	$dir = abs_path($PostgreSQL::Test::Utils::log_path) . '/nginx_' . basename($0, '.pl');
	remove_tree($dir);
	mkdir $dir or die "could not make $dir: $!\n";
	make_certificates();
	return;
}

# It ends with the test, however that ends.
sub start
{
	my $child = fork();

	die "could not fork: $!" unless defined $child;
	if ($child == 0)
	{
		open(STDIN, '<', '/dev/null') && open(STDOUT, '>>', "$dir/start.log") && open(STDERR, '>&', \*STDOUT)
		  && exec('setpriv', '--pdeathsig', 'TERM', 'nginx', '-p', $dir, '-e', 'error.log', '-c', 'nginx.conf');
		POSIX::_exit(127);
	}
	$pid = $child;
	return;
}

sub stop
{
	my $child = $pid or return;

	local ($?, $!);
	$pid = undef;
	kill 'TERM', $child;
	waitpid($child, 0);
	return;
}

sub count_in_log
{
	my ($pattern) = @_;

	return -e "$dir/error.log" ? scalar(() = slurp_file("$dir/error.log") =~ /$pattern/g) : 0;
}

sub wait_until
{
	my ($what, $condition) = @_;
	my $until = time() + $patience;

	until ($condition->())
	{
		die "nginx: $what did not happen, see $dir\n" if time() > $until;
		sleep(0.005);
	}
	return;
}

# Starts it, or has it read its configuration anew, and waits for the worker
# process that serves it; false if a port was taken meanwhile.
sub apply
{
	my $workers = count_in_log('start worker process \d');
	my $refused = count_in_log('still could not bind');
	my $taken = 0;

	if ($pid) { kill('HUP', $pid) or die "nginx has ended, see $dir\n"; }
	else { start(); }
	wait_until(
		'the start of a worker process',
		sub {
			$taken = count_in_log('still could not bind') > $refused;
			return $taken || count_in_log('start worker process \d') > $workers;
		});
	return !$taken;
}

# reload() - as "nginx -s reload".
sub reload
{
	apply() or die "nginx could not reload, see $dir\n";
	return;
}

# front(port, mode, directives) - the URL of nginx before that port of ours.
# The mode is http1 or http2, both over TLS.  The same port gets the same URL
# again.
sub front
{
	my ($upstream, $mode, $directives) = @_;
	my %server = (upstream => $upstream, http2 => $mode eq 'http2', directives => $directives || '');

	die "no such front: $mode\n" unless $mode =~ /^http[12]$/;
	make_directory();
	for my $port (keys %servers)
	{
		my $known = $servers{$port};
		return "https://127.0.0.1:$port" unless grep { $known->{$_} ne $server{$_} } keys %server;
	}
	for my $try (1 .. 5)
	{
		my $port = PostgreSQL::Test::Cluster::get_free_port();
		$servers{$port} = \%server;
		configure();
		return "https://127.0.0.1:$port" if apply();
		# one that is starting gives up, one that reloads goes on as before
		delete $servers{$port};
		stop() unless %servers;
	}
	die "nginx: no free port, see $dir\n";
}

# requests() - what it answered so far, a line each: port, connection, protocol,
# method, URI, status.
sub requests
{
	return $dir && -e "$dir/access.log" ? split(/\n/, slurp_file("$dir/access.log")) : ();
}

1;
