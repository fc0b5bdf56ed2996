
=pod

=head1 NAME

VibeTest - servers, emulators and waiting for the TAP tests of vibevideo

=head1 SYNOPSIS

  use VibeTest;

  my $fal = start_fal();
  my $storage = start_storage();
  my $node = vibe_node('main', fal => $fal, storage => $storage);
  my $id = new_row($node, 'a red kite');
  my $video = submit($node, $id);
  wait_for_status($node, $id, 'completed');
  is($fal->ledger->{accepted}, 1, 'one render');
  done_testing();

=head1 DESCRIPTION

The emulators are child processes: they end with the test, however it ends,
because they watch their standard input.  Nothing waits without a limit: a
single wait lasts at most C<$VibeTest::patience> seconds, a whole test file
C<VIBETEST_TIMEOUT> (180) seconds.

=cut

package VibeTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use VibeNginx;

our @EXPORT = qw(
  start_fal start_storage start_front vibe_node create_app create_realtime
  sql configure new_row submit video status_of sql_error http_client http_get
  wait_for wait_for_status wait_until hurry
  background_sql job_of words_of worker_pid stop_worker own_relations log_tail has_pg_cron);

our $patience = 30;
my $FAL_KEY = 'key-id:key-secret';
my $FAL_ADMIN_KEY = 'admin-id:admin-secret';
my $emulator_dir = dirname(__FILE__) . '/../emulator';
my $owner = $$;
my @emulators;
my @nodes;
my %sessions;
my $http = HTTP::Tiny->new(timeout => 30, keep_alive => 0, max_redirect => 0);
my $json = JSON::PP->new->utf8->allow_nonref->canonical;

$SIG{ALRM} = sub { die "the test did not end in time\n" };
alarm($ENV{VIBETEST_TIMEOUT} || 180);

END
{
	if ($$ == $owner)
	{
		local $?;
		alarm(0);
		%sessions = ();
		$_->stop for @emulators;
	}
}

# ---------------------------------------------------------------------------
# Emulators
#
# front => what stands between it and the extension: "http2", nginx with TLS and
# HTTP/2, "http1", nginx with TLS, or "plain", nothing.  nginx answers for an
# emulator that is silent or gone, opens connections of its own, and turns a
# broken answer into one of its own: a test that is about connections, addresses
# or bytes on the wire says "plain".  The others follow VIBETEST_FRONT, whose
# default is http2.  nginx => directives for its server block.
# ---------------------------------------------------------------------------

# start_fal(args => [...], default => {...}) - an emulator of fal.ai.
sub start_fal
{
	my (%options) = @_;
	my @args = ('--key', $FAL_KEY, '--admin-key', $FAL_ADMIN_KEY, @{ $options{args} || [] });

	push @args, '--default', $json->encode($options{default}) if $options{default};
	return VibeTest::Emulator->start('fal', @args)->behind($options{front}, $options{nginx});
}

# start_storage(args => [...]) - an emulator of Storage; bucket "videos" is public.
sub start_storage
{
	my (%options) = @_;

	return VibeTest::Emulator->start('storage', '--bucket', 'videos:public', '--limit', '1073741824',
		@{ $options{args} || [] })->behind($options{front}, $options{nginx});
}

# start_front(emulator) - puts test/emulator/front.mjs before it, which does what
# nginx does not: its faults are those of HTTP/2 itself.
sub start_front
{
	my ($emulator) = @_;
	my ($certificate, $key) = VibeNginx::certificate();
	my $front = VibeTest::Emulator->start('front', '--to', $emulator->direct, '--cert', $certificate, '--key', $key);

	$front->{direct} = $front->{ready}{control};
	$emulator->{url} = $emulator->{ready}{url} = $front->url;
	return $front;
}

# ---------------------------------------------------------------------------
# Server
# ---------------------------------------------------------------------------

sub quote_setting
{
	my ($value) = @_;

	$value =~ s/'/''/g;
	return "'$value'";
}

# vibe_node(name, fal =>, storage =>, conf => {setting => value}, cron => 1,
# app => 0) - a running server whose database postgres has the extension and,
# unless app is 0, table vibelogs attached.
sub vibe_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my %conf = (
		'shared_preload_libraries' => $options{cron} ? 'pg_cron,vibevideo' : 'vibevideo',
		'max_connections' => 40,
		'max_worker_processes' => 16,
		'vibevideo.poll_interval' => '1s',
		'vibevideo.backoff_base' => '20ms',
		'vibevideo.backoff_max' => '1s');

	if (my $fal = $options{fal})
	{
		$conf{'vibevideo.fal_queue_url'} = $fal->url;
		$conf{'vibevideo.fal_api_url'} = $fal->url . '/v1';
		$conf{'vibevideo.fal_key'} = $FAL_KEY;
		$conf{'vibevideo.media_hosts'} = $fal->url;
	}
	if (my $storage = $options{storage})
	{
		$conf{'vibevideo.storage_url'} = $storage->url;
		$conf{'vibevideo.storage_key'} = $storage->{ready}{service_jwt};
	}
	if ($options{cron})
	{
		$conf{'cron.database_name'} = 'postgres';
		$conf{'cron.use_background_workers'} = 'on';
	}
	$conf{'vibevideo.ca_file'} = VibeNginx::ca_file();
	%conf = (%conf, %{ $options{conf} || {} });

	# ignore keys in the environment of the test machine
	delete @ENV{qw(FAL_KEY FAL_ADMIN_KEY FAL_KEY_ID FAL_KEY_SECRET SUPABASE_SERVICE_ROLE_KEY SUPABASE_SECRET_KEY)};
	$node->init(%{ $options{init} || {} });
	$node->append_conf('postgresql.conf',
		join('', map { "$_ = " . quote_setting($conf{$_}) . "\n" } sort grep { defined $conf{$_} } keys %conf));
	$node->start;
	push @nodes, $node;
	create_app($node) unless defined $options{app} && !$options{app};
	return $node;
}

# create_app(node, database) - the extension and an app's table.
sub create_app
{
	my ($node, $database) = @_;

	$node->safe_psql($database || 'postgres', <<'SQL');
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	prompt text,
	image text
);
SELECT vibevideo.attach('vibelogs');
SQL
	return;
}

# create_realtime(node) - what Supabase Realtime has in the database.
sub create_realtime
{
	my ($node) = @_;

	return sql($node, slurp_file("$emulator_dir/realtime.sql"));
}

sub has_pg_cron
{
	my $sharedir = `pg_config --sharedir`;

	chomp $sharedir;
	return -e "$sharedir/extension/pg_cron.control";
}

# The end of the server's log without the statements of the tests.
sub log_tail
{
	my ($node, $lines) = @_;
	my @log = grep { !/^\t|LOG:  statement: / } split /\n/, slurp_file($node->logfile);
	my $from = @log - ($lines || 25);

	return join("\n", @log[ ($from < 0 ? 0 : $from) .. $#log ]);
}

# ---------------------------------------------------------------------------
# SQL
# ---------------------------------------------------------------------------

# sql(node, statements, database) - their output, as safe_psql's, but fast: in
# database postgres one session does them all, so that settings stay and an
# open transaction blocks the next call.  Dies on an error.
sub sql
{
	my ($node, $statements, $database) = @_;
	my ($ok, $out) = try_sql($node, $statements, $database);

	die "$statements\n$out\n" unless $ok;
	return $out;
}

# The same without dying: (whether it went well, the output or the error).
sub try_sql
{
	my ($node, $statements, $database) = @_;

	if (defined $database && $database ne 'postgres')
	{
		my ($rc, $out, $err) = $node->psql($database, $statements);
		return ($rc == 0, $rc == 0 ? $out : $err);
	}
	# a session from before the server's last restart ends without an answer
	for my $try (1, 2)
	{
		$sessions{ $node->name } ||= VibeTest::Session->start($node);
		my @answer = $sessions{ $node->name }->ask($statements);
		return @answer if defined $answer[0];
		delete $sessions{ $node->name };
		return (0, $answer[1]) if $try == 2;
	}
}

# new_row(node, prompt) - a row of the app; returns its key.
sub new_row
{
	my ($node, $prompt, $database) = @_;

	return sql($node, 'INSERT INTO vibelogs (prompt) VALUES (' . quote_setting($prompt) . ') RETURNING id', $database);
}

# video(node, call) - what a public function returns, as a hash.
sub video
{
	my ($node, $call, $database) = @_;

	return $json->decode(sql($node, "SELECT row_to_json(v) FROM $call v", $database));
}

sub submit
{
	my ($node, $id, $database) = @_;

	return video($node, "vibevideo_submit('$id')", $database);
}

# status_of(node, id) - what vibevideo_status says.
sub status_of
{
	my ($node, $id, $database) = @_;

	return video($node, "vibevideo_status('$id')", $database);
}

# job_of(node, id) - the newest job of a row, as a hash.
sub job_of
{
	my ($node, $id, $database) = @_;

	return video($node, "(SELECT * FROM vibevideo.job WHERE vibelog_id = '$id' ORDER BY job_id DESC LIMIT 1)",
		$database);
}

# words_of(node, id, state) - what operators read of a row's job that came into
# that state last: the words of whoever answered.
sub words_of
{
	my ($node, $id, $state, $database) = @_;

	return sql($node,
		"SELECT e.detail FROM vibevideo.event e JOIN vibevideo.job j USING (job_id) WHERE j.vibelog_id = '$id' AND e.state = '$state'"
		  . ' ORDER BY e.event_id DESC LIMIT 1', $database);
}

# sql_error(node, sql) - (SQLSTATE, message and all) of a statement that fails;
# SQLSTATE is '' if it does not.
sub sql_error
{
	my ($node, $sql, $database) = @_;
	my ($rc, $out, $err) = $node->psql($database || 'postgres', $sql,
		on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	return ('', '') if $rc == 0;
	return ($err =~ /(?:ERROR|FATAL):  ([0-9A-Z]{5}): / ? $1 : '?????', $err);
}

# background_sql(node) - a session that stays open; errors do not end it.
sub background_sql
{
	my ($node, $database) = @_;

	return $node->background_psql($database || 'postgres', on_error_stop => 0);
}

# Make everything that waits long overdue, and wake the worker.
sub hurry
{
	my ($node, $database) = @_;

	sql($node, <<'SQL', $database);
UPDATE vibevideo.job SET next_at = now() - interval '2 days'
WHERE next_at > now() - interval '1 day' AND leased_by IS NULL;
SELECT vibevideo.wake();
SQL
	return;
}

sub worker_pid
{
	my ($node, $database) = @_;

	return sql($node,
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'vibevideo worker' AND datname = '"
		  . ($database || 'postgres') . "'");
}

# own_relations(node, kinds) - the extension's relations of these kinds, as r for
# tables, whatever schema they are in, as SQL names them.
sub own_relations
{
	my ($node, $kinds) = @_;

	return split /\n/, sql($node, <<"SQL");
SELECT c.oid::regclass::text COLLATE "C" FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'vibevideo'
WHERE position(c.relkind in '$kinds') > 0 ORDER BY 1
SQL
}

# stop_worker(node) - stops the worker between two of its transactions, until
# somebody sends it CONT; returns its pid.
sub stop_worker
{
	my ($node) = @_;

	for (1 .. 1000)
	{
		my ($pid) = worker_pid($node) =~ /^(\d+)$/ or die "there is no worker\n";

		kill('STOP', $pid);
		return $pid if sql($node, "SELECT count(*) FROM pg_locks WHERE pid = $pid") eq '0';
		kill('CONT', $pid);
		sleep(0.01);
	}
	die "the worker is always at work\n";
}

# ---------------------------------------------------------------------------
# Waiting
# ---------------------------------------------------------------------------

sub diagnose
{
	my ($node, $database) = @_;
	my ($rc, $out) = $node->psql($database || 'postgres',
		"SELECT jsonb_strip_nulls(to_jsonb(j) - '{input,model,priority}'::text[]) FROM vibevideo.job j ORDER BY job_id DESC LIMIT 5");

	diag("newest jobs:\n" . ($out || "none, or no answer"));
	diag("server log:\n" . log_tail($node));
	return;
}

# wait_until(sub, name) - a test that passes once the sub returns true.
sub wait_until
{
	my ($condition, $name, %options) = @_;
	my $until = time() + ($options{patience} || $patience);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for (my $pause = 0.005; time() < $until; $pause = $pause < 0.05 ? $pause * 2 : $pause)
	{
		return ok(1, $name) if $condition->();
		sleep($pause);
	}
	ok(0, $name);
	diag($options{tell}->()) if $options{tell};
	diagnose($_) for @nodes;
	return 0;
}

# configure(node, setting => value, ...) - changes settings of vibevideo for the
# whole server, and one test per setting that it has arrived.  Keys are not shown:
# another setting, changed with them, shows that they have arrived.  The worker
# reads them in its next turn.
my $changes = 0;

sub configure
{
	my ($node, %settings) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$settings{retention} = ++$changes . 'd';
	sql($node, join('', map { "ALTER SYSTEM SET vibevideo.$_ = '$settings{$_}';\n" } sort keys %settings) . 'SELECT pg_reload_conf()');
	for my $name (grep { !/_key$/ } sort keys %settings)
	{
		wait_for($node, "SHOW vibevideo.$name", $settings{$name}, "$name is set");
	}
	my $now = sql($node, 'SELECT clock_timestamp() FROM vibevideo.worker_info() w WHERE w.pid IS NOT NULL') or return;
	sql($node, 'SELECT vibevideo.wake()');
	wait_for($node, "SELECT count(*) FROM vibevideo.worker_info() w WHERE w.pid IS NOT NULL AND w.heartbeat_at <= '$now'",
		'0', 'and the worker has read it');
	return;
}

# wait_for(node, sql, expected, name, hurry => 1, database =>) - a test that
# passes once the statement returns the expected text, or matches the pattern.
sub wait_for
{
	my ($node, $sql, $expected, $name, %options) = @_;
	my $database = $options{database} || 'postgres';
	my $last = '';
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$expected = 't' unless defined $expected;
	return wait_until(
		sub {
			my ($well, $out) = try_sql($node, $sql, $database);
			$last = $out;
			return 1 if $well && (ref $expected ? $out =~ $expected : $out eq $expected);
			hurry($node, $database) if $options{hurry};
			return 0;
		},
		$name,
		%options,
		tell => sub { return "waited for: $sql\nwanted: $expected\nlast: $last" });
}

# wait_for_status(node, id, status) - until the app's row says so.
sub wait_for_status
{
	my ($node, $id, $status, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_for($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$id'",
		$status, $options{name} || "the row becomes $status", hurry => 1, %options);
}

# http_client(option => value, ...) - an HTTP::Tiny that believes nginx' certificate.
sub http_client
{
	return HTTP::Tiny->new(timeout => 30, keep_alive => 0, max_redirect => 0,
		VibeNginx::ca_file() ? (verify_SSL => 1, SSL_options => { SSL_ca_file => VibeNginx::ca_file() }) : (), @_);
}

# http_get(url) - response of HTTP::Tiny.
sub http_get
{
	return http_client()->get($_[0]);
}

# ---------------------------------------------------------------------------
# A psql that stays open
# ---------------------------------------------------------------------------

package VibeTest::Session;

use IPC::Open3 qw(open3);

sub start
{
	my ($class, $node, $user) = @_;
	my $self = bless { n => 0 }, $class;

	local $ENV{PGOPTIONS} = '-c client_min_messages=error';
	# errors come with the output; none of them is older than the last marker
	$self->{pid} = open3($self->{to}, $self->{from}, undef,
		$node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'), defined $user ? ('-U', $user) : (), '-f', '-');
	return $self;
}

# (well or not, output); (undef, text) when the session is gone.
sub ask
{
	my ($self, $statements) = @_;
	my $mark = 'answer ' . ++$self->{n} . ' ends';
	my $out = '';

	local $SIG{PIPE} = 'IGNORE';
	syswrite($self->{to}, "$statements\n;\n\\echo '$mark'\n");
	while ($out !~ /^\Q$mark\E\n/m)
	{
		return (undef, $out) unless sysread($self->{from}, $out, 65536, length $out);
	}
	$out =~ s/\n?^\Q$mark\E\n//m;
	return ($out !~ /^(?:psql:[^\n]*: )?(?:ERROR|FATAL|PANIC):  /m ? 1 : 0, $out);
}

sub DESTROY
{
	my ($self) = @_;

	return unless $$ == $owner;
	local ($?, $!);
	close($self->{to});
	close($self->{from});
	waitpid($self->{pid}, 0);
	return;
}

# ---------------------------------------------------------------------------
# An emulator as a child process
# ---------------------------------------------------------------------------

package VibeTest::Emulator;

use IPC::Open3 qw(open3);
use Symbol qw(gensym);

sub start
{
	my ($class, $name, @args) = @_;
	my $self = bless { name => $name, args => \@args }, $class;
	my ($to, $from);
	my $log_name = "$PostgreSQL::Test::Utils::log_path/$name" . scalar(@emulators) . '.log';

	open(my $log, '>>', $log_name) or die "could not write $log_name: $!";
	$self->{pid} = open3($to, $from, '>&' . fileno($log), 'node', "$emulator_dir/$name.mjs", '--exit-with-stdin', @args);
	close($log);
	$self->{stdin} = $to;
	$self->{stdout} = $from;
	push @emulators, $self;
	$self->{ready} = $json->decode($self->read_line($log_name));
	$self->{direct} = $self->{url} = $self->{ready}{url};
	return $self;
}

# behind(front, directives) - from now on its URLs are those of a front, see above; the
# tests' own calls still go to itself.
sub behind
{
	my ($self, $front, @directives) = @_;
	my $ready = $self->{ready};

	$front ||= $ENV{VIBETEST_FRONT} || 'http2';
	$self->{front} = [ $front, @directives ];
	return $self if $front eq 'plain';
	$self->{url} = $ready->{url} = VibeNginx::front($ready->{port}, $front, @directives);
	$ready->{gateway_url} =~ s{^\w+://[^/]*}{VibeNginx::front($ready->{gateway_port}, $front, @directives)}e if $ready->{gateway_url};
	return $self;
}

sub read_line
{
	my ($self, $log_name) = @_;
	my $line = '';
	my $until = Time::HiRes::time() + $patience;
	my $bits = '';

	vec($bits, fileno($self->{stdout}), 1) = 1;
	while ($line !~ /\n/)
	{
		my $left = $until - Time::HiRes::time();
		my $ready = $bits;
		next if $left > 0 && select($ready, undef, undef, $left) < 0;
		die "emulator $self->{name} did not start, see $log_name\n"
		  if $left <= 0 || !sysread($self->{stdout}, $line, 4096, length $line);
	}
	return $line;
}

# url() - where it is for the extension, direct() where it is itself
sub url
{
	return $_[0]->{url};
}

sub direct
{
	return $_[0]->{direct};
}

# Ends the process; a later start with the same port is another emulator.
sub stop
{
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;

	close($self->{stdin});
	kill 'KILL', $pid;
	waitpid($pid, 0);
	return;
}

# Same port, empty memory: what a provider looks like after an outage.
sub restart
{
	my ($self) = @_;

	$self->stop;
	return ref($self)->start($self->{name}, '--port', $self->{ready}{port}, @{ $self->{args} })->behind(@{ $self->{front} });
}

sub call
{
	my ($self, $method, $path, $body) = @_;
	my $answer = $http->request($method, "$self->{direct}/_ctl$path",
		defined $body ? { content => $json->encode($body), headers => { 'content-type' => 'application/json' } } : {});

	die "emulator $self->{name}: $method $path: $answer->{status} $answer->{content}\n" unless $answer->{success};
	return $answer->{content} eq '' ? {} : $json->decode($answer->{content});
}

# What the emulator saw and did.
sub ledger
{
	my ($self, $query) = @_;

	return $self->call('GET', '/ledger' . ($query || ''));
}

# The jobs fal accepted for a prompt.
sub renders
{
	my ($self, $prompt) = @_;

	return grep { ($_->{input}{prompt} || '') eq $prompt } @{ $self->ledger->{jobs} };
}

# fault(on, kind or {kind => ...}, times =>, prompt =>, key =>, ...)
sub fault
{
	my ($self, $on, $fault, %spec) = @_;

	return $self->call('POST', '/fault', { on => $on, fault => ref $fault ? $fault : { kind => $fault }, %spec });
}

# How often armed faults have been triggered.
sub hits
{
	my ($self) = @_;
	my $faults = $self->call('GET', '/fault');
	my $hits = 0;

	$hits += $_->{hits} for @{ ref $faults eq 'ARRAY' ? $faults : $faults->{faults} };
	return $hits;
}

sub clear_faults
{
	my ($self) = @_;

	return $self->{name} eq 'fal' ? $self->call('POST', '/clear', {}) : $self->call('POST', '/reset', { only => 'faults' });
}

sub default
{
	my ($self, %behaviour) = @_;

	return $self->call('POST', '/default', \%behaviour);
}

# rule(prompt, behaviour...) - how jobs with that prompt behave.
sub rule
{
	my ($self, $prompt, %behaviour) = @_;

	return $self->call('POST', '/rule', { prompt => $prompt, behaviour => \%behaviour });
}

# command(request id or "*", action, ...)
sub command
{
	my ($self, $id, $action, %more) = @_;

	return $self->call('POST', "/job/$id", { action => $action, %more });
}

# ---------------------------------------------------------------------------
# What fal.ai bills.  Amounts go in as dollars, better as text than as numbers, and
# come out as integers: nano-USD.
# ---------------------------------------------------------------------------

# The key that may read it; what start_fal gives a server is a plain one.
sub admin_key
{
	return $FAL_ADMIN_KEY;
}

# The whole bill, with what no billing event tells of yet: total_nano_usd,
# balance_nano_usd, by_endpoint and, unless the query is ?events=0, events.
sub bill
{
	my ($self, $query) = @_;

	return $self->call('GET', '/bill' . ($query || ''));
}

# set_prices({endpoint =>, unit =>, unit_price =>, quantity =>, tiers =>, ...}, ...):
# see test/emulator/lib/fal-prices.mjs; unit_price => undef takes a price away.
sub set_prices
{
	my ($self, @prices) = @_;

	return $self->call('POST', '/price', { prices => \@prices });
}

# account(balance =>, top_up =>, discount =>, event_delay_ms =>, max_page =>, username =>)
sub account
{
	my ($self, %change) = @_;

	return $self->call('POST', '/account', \%change);
}

# Dollars that are left; undef, as at the start, never runs out.
sub set_balance
{
	my ($self, $usd) = @_;

	return $self->account(balance => $usd);
}

# delist(endpoint, "absent", "bare" or "deprecated"; undef: it is listed again)
sub delist
{
	my ($self, $endpoint, @as) = @_;

	return $self->call('POST', '/delist', { endpoint => $endpoint, as => @as ? $as[0] : 'absent' });
}

# foreign_event(endpoint, units =>, input =>, timestamp =>, request_id =>, ...): what
# another program on the account is billed for.
sub foreign_event
{
	my ($self, $endpoint, %event) = @_;

	return $self->call('POST', '/bill', { endpoint => $endpoint, %event });
}

# The object of a row's job in Storage, by the row's key; undef if none.
sub object
{
	my ($self, $id) = @_;
	my ($object) = grep { $_->{key} =~ m{^\Q$id\E/} } @{ $self->ledger->{objects} };

	return $object;
}

1;
