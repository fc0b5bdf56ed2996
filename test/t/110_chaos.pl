# Chaos: 200 rows become videos while fal.ai and Storage fail, two sessions hold
# random locks, the worker is stopped for a while, processes are killed, the
# server crashes and at last a standby is promoted.  Then calm, and the rules of
# VibeChaos must hold.
#
# Environment: CHAOS_SECONDS (60, most of them chaos), CHAOS_SEED (from the
# clock), CHAOS_ROWS (200), CHAOS_CLIENTS (6), CHAOS_BATCH (4: rows in a batch at most),
# CHAOS_HOLD (20: for how long at most a lock is held, or the worker stopped for half of it),
# CHAOS_CALM (90: for how long jobs may go on after it).  The seed is printed; it decides
# what clients, nemesis and emulators draw, not how processes interleave.

use strict;
use warnings FATAL => 'all';

BEGIN { $ENV{VIBETEST_TIMEOUT} ||= 300 + 2 * ($ENV{CHAOS_SECONDS} || 60); }

use File::Basename qw(basename);
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use VibeTest;
use VibeChaos;
use VibeRest;

my $seconds = $ENV{CHAOS_SECONDS} || 60;
my $seed = $ENV{CHAOS_SEED} || (time() * 1000) % 1_000_000_007;
my $nrows = $ENV{CHAOS_ROWS} || 200;
my $nclients = $ENV{CHAOS_CLIENTS} || 6;
my $batch = $ENV{CHAOS_BATCH} || 4;
my $hold = ($ENV{CHAOS_HOLD} // '') eq '' ? 20 : $ENV{CHAOS_HOLD};
my $json = JSON::PP->new->utf8->allow_nonref->canonical;

diag("CHAOS_SEED=$seed CHAOS_SECONDS=$seconds CHAOS_ROWS=$nrows");
srand($seed);

# ---------------------------------------------------------------------------
# The stage
# ---------------------------------------------------------------------------
my $fal = start_fal(
	args => [ '--seed', $seed ],
	default => {
		queue_ms => 150,
		run_ms => 300,
		list_in_flight => JSON::PP::true,
		# each comes twice, and is sent again when nobody takes it
		webhook => { duplicates => 1, retry_ms => 300, max_retries => 6 } });
my $rest = VibeRest->new;
my $storage = start_storage(args => [ '--seed', $seed ]);
my $node = vibe_node(
	'main',
	fal => $fal,
	storage => $storage,
	init => { allows_streaming => 1 },
	conf => {
		'restart_after_crash' => 'on',
		'log_statement' => 'none',
		'wal_retrieve_retry_interval' => '100ms',
		'vibevideo.fal_admin_key' => $fal->admin_key,
		'vibevideo.webhook_url' => $rest->url . '/rpc/vibevideo_webhook',
		'vibevideo.fal_jwks_url' => $fal->url . '/.well-known/jwks.json',
		'vibevideo.submit_timeout' => '1500ms',
		'vibevideo.poll_timeout' => '3s',
		'vibevideo.stall_timeout' => '2s',
		'vibevideo.max_tries' => '1000',
		'vibevideo.resumable_threshold' => '80kB',
		'vibevideo.unknown_policy' => 'resubmit_when_absent',
		'vibevideo.unknown_after' => '4s',
		# CI machines are slow: a lock held by a stopped session must not look like a bug
		'lock_timeout' => '10s' });
supabase_roles($node);
my $most_active = $nrows < 500 ? 500 : $nrows > 10000 ? 10000 : $nrows;
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE seen (n bigserial, id uuid, status text, request_id text);
CREATE FUNCTION note_status() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN INSERT INTO seen (id, status, request_id) VALUES (NEW.id, NEW.video_generation_status, NEW.video_request_id); RETURN NEW; END';
CREATE TRIGGER note_status AFTER UPDATE ON vibelogs FOR EACH ROW
	WHEN (OLD.video_generation_status IS DISTINCT FROM NEW.video_generation_status) EXECUTE FUNCTION note_status();
-- there are slots and tills to be locked; nobody comes near these limits
INSERT INTO vibevideo.limit (scope, max_active, submits_per_day, spend_per_day_usd) VALUES
	('global', $most_active, 100000, 100000), ('default', $most_active, 50000, 100000);
SQL
my @ids = split /\n/,
  cli($node, "INSERT INTO vibelogs (prompt) SELECT 'chaos ' || n FROM generate_series(1, $nrows) n RETURNING id");

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
# synchronous, so that only what was never committed can be lost by the promotion
$node->append_conf('postgresql.conf', "synchronous_standby_names = '*'");
$node->reload;
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')})
  or die 'no standby';

# what some renders come to
$fal->rule('chaos \d*[3]$', outcome => 'infra', error_type => 'runner_disconnected', run_ms => 50);
$fal->rule('chaos \d*1[0]$', outcome => 'policy');
$fal->rule('chaos \d*1$', requeue => 1, queue_ms => 700, run_ms => 700);
$fal->rule('chaos \d*5$', cancel_mode => '202,ignore', run_ms => 1500);
# half of the videos go in one piece, the others, being larger, as resumable uploads
$fal->rule('chaos \d*[02468]$', media => { bytes => 70000 });

sub arm
{
	my @submit = (
		[ { kind => 'http', status => 503, headers => { 'retry-after' => '1' }, body => { detail => 'Overloaded' } }, 0.04 ],
		[ { kind => 'http', status => 429, headers => { 'retry-after' => '1' }, body => { detail => 'Slow down' } }, 0.04 ],
		[ { kind => 'gateway', status => 502 }, 0.03 ],
		[ { kind => 'gateway_after', status => 504 }, 0.04 ],
		[ { kind => 'delay', ms => 400 }, 0.10 ],
		[ { kind => 'drop_before' }, 0.03 ], [ { kind => 'drop_after' }, 0.04 ],
		[ { kind => 'reset_before' }, 0.03 ], [ { kind => 'reset_after' }, 0.05 ],
		[ { kind => 'hang' }, 0.02 ], [ { kind => 'hang_after' }, 0.03 ],
		[ { kind => 'html200' }, 0.02 ], [ { kind => 'garbage' }, 0.03 ], [ { kind => 'empty' }, 0.02 ]);
	my @ask = (
		[ { kind => 'http', status => 500, body => 'oops' }, 0.02 ],
		[ { kind => 'http', status => 429, headers => { 'retry-after' => '1' }, body => { detail => 'Slow down' } }, 0.02 ],
		[ { kind => 'gateway', status => 503 }, 0.02 ],
		[ { kind => 'reset_before' }, 0.02 ], [ { kind => 'drop_after' }, 0.02 ],
		[ { kind => 'garbage' }, 0.02 ], [ { kind => 'html200' }, 0.01 ], [ { kind => 'delay', ms => 500 }, 0.03 ]);
	my @media = (
		[ { kind => 'http', status => 500, body => 'oops' }, 0.03 ],
		[ { kind => 'reset_after' }, 0.05 ], [ { kind => 'truncate' }, 0.05 ], [ { kind => 'stall' }, 0.01 ],
		[ { kind => 'html200' }, 0.02 ], [ { kind => 'slow', bytes_per_s => 100000 }, 0.05 ]);
	my @upload = (
		[ { kind => 'slow_down' }, 0.04 ], [ { kind => 'internal' }, 0.03 ], [ { kind => 'db_timeout' }, 0.02 ],
		[ { kind => 'gateway', status => 502 }, 0.03 ], [ { kind => 'gateway', status => 504 }, 0.02 ],
		[ { kind => 'reset', after_bytes => 30000 }, 0.05 ], [ { kind => 'stall', after_bytes => 30000 }, 0.01 ],
		[ { kind => 'commit_then_drop' }, 0.05 ], [ { kind => 'delay', ms => 300 }, 0.05 ]);

	$fal->fault('submit', $_->[0], probability => $_->[1], times => -1) for @submit;
	$fal->fault('status|result|cancel|list', $_->[0], probability => $_->[1], times => -1) for @ask;
	$fal->fault('media', $_->[0], probability => $_->[1], times => -1) for @media;
	$storage->fault('any', $_->[0], probability => $_->[1], times => -1) for @upload;
	return;
}

# ---------------------------------------------------------------------------
# Clients: processes of their own, which write down what they were told
# ---------------------------------------------------------------------------
my $stage = PostgreSQL::Test::Utils::tempdir();
my %node_named = (main => $node, standby => $standby);

sub set_primary
{
	my ($name) = @_;

	PostgreSQL::Test::Utils::append_to_file("$stage/primary.new", $name);
	rename("$stage/primary.new", "$stage/primary") or die $!;
	# webhooks go there
	$rest->move($node_named{$name});
	return;
}

sub primary
{
	return $node_named{ slurp_file("$stage/primary") };
}

# A session of the client's user.
sub session_of
{
	my ($client) = @_;
	my $session = VibeTest::Session->start(primary());

	$session->ask(qq(SET request.jwt.claims = '{"sub": "$client->{user}"}'));
	return $session;
}

# Statements in a session that may die at any moment: (how it ended, output).
sub attempt
{
	my ($client, $statements) = @_;
	my $name = primary()->name;

	if (!$client->{session} || $client->{at} ne $name)
	{
		delete $client->{session};
		$client->{session} = session_of($client);
		$client->{at} = $name;
	}
	my ($well, $out) = $client->{session}->ask($statements);
	return ($well ? 'done' : 'error', $out) if defined $well;
	delete $client->{session};
	sleep(0.2);
	return ('unknown', $out);
}

# The same in two sessions at once: a double click.
sub attempt_both
{
	my ($client, $statements) = @_;

	return attempt($client, $statements)
	  if !$client->{session} || $client->{at} ne primary()->name;
	my $other = session_of($client);
	local $SIG{PIPE} = 'IGNORE';
	my ($well) = $other->ask('SELECT 1');
	syswrite($other->{to}, "$statements\n") if $well;
	my ($end, $out) = attempt($client, $statements);
	($well) = $other->ask('SELECT 1') if $well;
	return ($well ? $end : 'unknown', $out);
}

# A client's answer holds "got <key> <request id>" for each submit.
sub got
{
	my ($out) = @_;

	return map { [ /^got (\S+) ?(\S*)$/ ] } grep { /^got / } split /\n/, $out;
}

my $submit = q{SELECT 'got ' || vibelog_id || ' ' || coalesce(request_id, '') FROM vibevideo_submit('%s');};

my %acts = (
	plain => [ 30, sub { return (sprintf($submit, $_[0]), 1) } ],
	transaction => [ 10, sub { return ("BEGIN; " . sprintf($submit, $_[0]) . "SELECT pg_sleep(0.1); COMMIT;", 1) } ],
	rollback => [ 10, sub { return ("BEGIN; " . sprintf($submit, $_[0]) . ' ROLLBACK;', 0) } ],
	savepoint => [ 10, sub { return ("BEGIN; SAVEPOINT a; " . sprintf($submit, $_[0]) . ' ROLLBACK TO a; COMMIT;', 0) } ],
	# the second one is rolled back, the first one is not
	mixed => [
		8,
		sub {
			return ('BEGIN; ' . sprintf($submit, $_[0]) . ' SAVEPOINT a; '
				  . (@_ > 1 ? "SELECT FROM vibevideo_submit('$_[1]');" : '') . ' ROLLBACK TO a; COMMIT;', 1);
		} ],
	caught => [
		6,
		sub {
			return ("DO \$\$ BEGIN BEGIN PERFORM vibevideo_submit('$_[0]'); RAISE 'no'; EXCEPTION WHEN OTHERS THEN NULL; END; END \$\$;", 0);
		} ],
	timeout => [ 8, sub { return ("SET statement_timeout = '250ms'; " . sprintf($submit, $_[0]) . ' RESET statement_timeout;', 1) } ],
	batch => [
		16,
		sub {
			return (
				q{SELECT 'got ' || vibelog_id FROM vibevideo_submit_batch('{}' || ARRAY['} . join("','", @_) . q{']::uuid[]);}, 1);
		} ],
	batch_rollback => [
		5, sub { return (q{BEGIN; SELECT FROM vibevideo_submit_batch(ARRAY['} . join("','", @_) . q{']::uuid[]); ROLLBACK;}, 0) } ],
	twice => [ 5, sub { return (sprintf($submit, $_[0]) . sprintf($submit, $_[0]), 1) } ],
	double_click => [ 10, sub { return (sprintf($submit, $_[0]), 1) } ],
);

sub choose
{
	my $all = 0;

	$all += $acts{$_}[0] for keys %acts;
	my $at = rand($all);
	for my $name (sort keys %acts)
	{
		return $name if ($at -= $acts{$name}[0]) < 0;
	}
	return 'plain';
}

sub run_client
{
	my ($n, $until, @mine) = @_;
	my %client = (user => 'user ' . $n =~ s/.*\.//r);
	my @later;

	open(my $log, '>', "$stage/client$n") or die $!;
	$log->autoflush;
	srand($seed + 1000 * ($n + 1));
	while (time() < $until && @mine)
	{
		my $name = choose();
		my @ids = splice(@mine, 0, $name =~ /^batch/ ? 1 + int(rand($batch)) : $name eq 'mixed' ? 2 : 1);
		my ($statements, $commits) = $acts{$name}[1]->(@ids);
		my $began = time();
		my ($end, $out) = $name eq 'double_click' ? attempt_both(\%client, $statements) : attempt(\%client, $statements);

		print $log $json->encode(
			{ act => $name, ids => \@ids, began => $began, ended => time(), end => $end, got => [ got($out) ], commits => $commits }), "\n";
		# a real app asks again: the row shall have its video
		push @mine, @ids if ($end ne 'done' || !$commits) && rand() < 0.7;
		push @later, @ids;
		if (@later && rand() < 0.12)
		{
			my $id = $later[ rand @later ];
			print $log $json->encode({ act => 'cancel', cancel => $id }), "\n";
			attempt(\%client, "SELECT FROM vibevideo_cancel('$id')");
		}
		if (@later && rand() < 0.10)
		{
			my $id = $later[ rand @later ];
			attempt(\%client,
				"SELECT vibevideo_retry(id) FROM vibelogs WHERE id = '$id' AND video_generation_status IN ('failed', 'cancelled')");
		}
		attempt(\%client, 'SELECT FROM vibevideo_poll()') if rand() < 0.15;
		sleep(rand(0.12 * ($until - time()) * $nclients / $nrows + 0.05));
	}
	close($log);
	delete $client{session};
	return;
}

my @clients;
my @nemeses;
my $owner = $$;

sub start_clients
{
	my ($round, $until, @all) = @_;

	for my $n (0 .. $nclients - 1)
	{
		my @mine = @all[ grep { $_ % $nclients == $n } 0 .. $#all ];
		my $pid = fork();

		die "fork: $!" unless defined $pid;
		if ($pid == 0)
		{
			my $well = eval {
				local $SIG{ALRM} = sub { die "client $n hangs\n" };
				alarm(int($until - time()) + 60);
				run_client("$round.$n", $until, @mine);
				1;
			};
			print STDERR "# client $round.$n: $@" unless $well;
			POSIX::_exit($well ? 0 : 1);
		}
		push @clients, $pid;
	}
	return;
}

sub end_clients
{
	my $failed = 0;

	for my $pid (@clients)
	{
		waitpid($pid, 0);
		$failed++ if $? != 0;
	}
	@clients = ();
	is($failed, 0, 'no client hung or died');
	return;
}

# They let go what they hold before they end.
sub end_nemeses
{
	kill('TERM', @nemeses);
	waitpid($_, 0) for @nemeses;
	@nemeses = ();
	return;
}

END
{
	return if $$ != $owner;
	local $?;
	end_nemeses();
	kill('KILL', $_) for @clients;
}

# ---------------------------------------------------------------------------
# The nemesis
# ---------------------------------------------------------------------------
my %count;

sub victims
{
	my ($rc, $out) = ask_server($node,
		q{SELECT pid, backend_type FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type IN ('client backend', 'vibevideo worker')});

	return $rc == 0 ? map { [ split /\|/ ] } split /\n/, $out : ();
}

sub nemesis
{
	my $draw = rand();

	if ($draw < 0.50)
	{
		my @victims = victims() or return;
		my $victim = $victims[ rand @victims ];
		$count{terminated}++;
		ask_server($node, "SELECT pg_terminate_backend($victim->[0])");
	}
	elsif ($draw < 0.80)
	{
		my @victims = victims() or return;
		# the worker is one of many, and the most interesting
		my @workers = grep { $_->[1] eq 'vibevideo worker' } @victims;
		my $victim = @workers && rand() < 0.4 ? $workers[0] : $victims[ rand @victims ];
		$count{"killed $victim->[1]"}++;
		kill('KILL', $victim->[0]);
		sleep(0.3);
		wait_up($node);
	}
	else
	{
		$count{crashed}++;
		crash_server($node);
	}
	return;
}

# ---------------------------------------------------------------------------
# The play
# ---------------------------------------------------------------------------
set_primary('main');
arm();
my $began = time();
my $chaos_until = $began + $seconds * 0.6;
my $clients_until = $began + $seconds * 0.75;
start_clients(1, $clients_until, @ids);
if ($hold > 0)
{
	push @nemeses, start_locker(\&primary, $seed + $_, $chaos_until, $hold, "$stage/locker $_") for 1, 2;
	push @nemeses, start_freezer(\&primary, $seed + 3, $chaos_until, $hold / 2, "$stage/freezer");
}
while (time() < $chaos_until)
{
	sleep(0.4 + rand(2.2));
	nemesis();
}

# The primary dies; what its journal knew goes with it.
my $promotion = time();
$node->stop('immediate');
$standby->promote;
$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''");
wait_up($standby);
my $promoted = time();
set_primary('standby');
$count{promoted}++;
end_nemeses();
for my $file (grep { -e } map { "$stage/$_" } "locker 1", "locker 2", "freezer")
{
	my $held = $json->decode(slurp_file($file));
	diag(basename($file) . ': ' . join(', ', map { "$_ $held->{$_}" } sort keys %$held));
}
end_clients();
pass('chaos is over: ' . join(', ', map { "$count{$_} $_" } sort keys %count));

# Calm: nothing fails any more, everything must come to its end.
$fal->clear_faults;
$storage->clear_faults;
wait_at_rest($standby, 'all jobs end once it is calm', patience => $ENV{CHAOS_CALM} || 90);
diag(sprintf('ended after %.1f s, %.1f s of it calm', time() - $began, time() - $clients_until));

# ---------------------------------------------------------------------------
# The reckoning
# ---------------------------------------------------------------------------
my (@acknowledged, %unsure, %prompt, %acts_done, %cancels);

%prompt = map { split /\|/ } split /\n/, cli($standby, 'SELECT id, prompt FROM vibelogs');
for my $file (glob("$stage/client*"))
{
	for my $line (split /\n/, slurp_file($file))
	{
		my $act = $json->decode($line);

		if ($act->{cancel})
		{
			$acts_done{cancel}++;
			$cancels{ $act->{cancel} } = 1;
			next;
		}
		$acts_done{"$act->{act} $act->{end}"}++;
		if ($act->{end} eq 'done' && $act->{commits})
		{
			push @acknowledged, map { { id => $_->[0], request_id => $_->[1] } } @{ $act->{got} };
		}
		if ($act->{act} !~ /batch/ && ($act->{end} ne 'done' || !$act->{commits} || $act->{act} eq 'mixed'))
		{
			$unsure{ $prompt{$_} } = 1 for @{ $act->{ids} };
		}
	}
}
diag('what clients did: ' . join(', ', map { "$_ $acts_done{$_}" } sort keys %acts_done));

# A transaction that was not committed when the primary died, or whose
# rollback its worker had not settled yet, was known to that primary's journal
# alone.  Only renders of such calls, from shortly before, are excused.
my $facts = gather(
	$standby, $fal, $storage,
	other_nodes => [$node],
	acknowledged => \@acknowledged,
	cancels => \%cancels,
	lost_journal => [ $promotion - 8, $promoted ],
	lost_ids => { counted => 1, prompts => \%unsure });
my %ends;
$ends{ ($_->{orphan} ? 'orphan ' : '') . $_->{state} . ($_->{error_code} ? " ($_->{error_code})" : '') }++ for @{ $facts->{jobs} };
diag('how jobs ended: ' . join(', ', map { "$_ $ends{$_}" } sort keys %ends));
diag("renders: $facts->{ledger}{accepted}, "
	  . scalar(grep { $_->{cancel_requested_at} } @{ $facts->{ledger}{jobs} }) . ' cancelled, '
	  . scalar(grep { VibeChaos::lost_with_the_journal($facts, $_) && !$_->{cancel_requested_at} } @{ $facts->{ledger}{jobs} })
	  . ' lost with the journal of the primary that died');
my @hooks = @{ $facts->{ledger}{webhooks} };
diag('webhooks: ' . @hooks . ', ' . scalar(grep { $_->{delivered} } @hooks) . ' delivered');
cmp_ok(scalar(grep { $_->{delivered} } @hooks), '>', 0, 'webhooks came through, each twice');
cmp_ok(scalar(grep { $_->{state} eq 'completed' } @{ $facts->{jobs} }), '>', $nrows / 4, 'many videos were made nevertheless');
ok_rules($facts, 'after the chaos') or diag("repeat with CHAOS_SEED=$seed CHAOS_SECONDS=$seconds CHAOS_ROWS=$nrows");
ok_books($standby, $fal, 'after the chaos', { requests_of($standby) });

$standby->stop('fast');
done_testing();
