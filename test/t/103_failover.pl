# On a standby nothing runs; after a promotion everything goes on, with one
# render each.  A copy of the database, however it was made, is paused until
# vibevideo.resume(), while the original goes on undisturbed.

use strict;
use warnings FATAL => 'all';

BEGIN { $ENV{VIBETEST_TIMEOUT} ||= 400; }

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use VibeTest;
use VibeChaos;

my $true = JSON::PP::true;
my $fal = start_fal(default => { list_in_flight => $true });
my $storage = start_storage();
# what copies are told to ask: nobody may
my $sentinel = start_fal();
my $node = vibe_node(
	'main',
	fal => $fal,
	storage => $storage,
	init => { allows_streaming => 1, has_archiving => 1 },
	conf => { 'wal_retrieve_retry_interval' => '100ms', 'max_wal_senders' => 8, 'vibevideo.max_tries' => '1000' });

sub state_of
{
	my ($on, $id, $database) = @_;

	return cli($on, "SELECT coalesce(string_agg(state || ' ' || attempt, ', ' ORDER BY job_id), 'none') FROM vibevideo.job WHERE vibelog_id = '$id'", $database);
}

# Nothing is sent from here, and the errors say what to do.
sub is_paused
{
	my ($on, $name, $database, $id) = @_;
	my $before = $sentinel->ledger('?jobs=0')->{requests};
	my ($state, $text) = sql_error($on, "SELECT vibevideo_submit('$id')", $database);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($state, '55000', "$name: a submit is refused");
	like($text, qr/vibevideo is paused in this database/, "$name: because it is paused");
	like($text, qr/HINT:.*vibevideo\.resume\(\)/, "$name: and the hint names the way out");
	is((sql_error($on, "SELECT vibevideo_submit_batch('{$id}')", $database))[0], '55000', "$name: a batch as well");
	cli($on, 'SELECT vibevideo.wake(); SELECT vibevideo_poll()', $database);
	cli($on, "UPDATE vibevideo.job SET next_at = now() - interval '1 s' WHERE next_at IS NOT NULL; SELECT vibevideo.wake()", $database);
	sleep(1.5);
	cli($on, 'SELECT vibevideo_poll()', $database);
	is_deeply($sentinel->ledger('?jobs=0')->{requests}, $before, "$name: fal is asked nothing");
	wait_for($on, 'SELECT paused FROM vibevideo.binding', 't', "$name: it is written down", database => $database);
	like(slurp_file($on->logfile), qr/vibevideo is paused: this database is a copy/, "$name: and in the log");
	like(cli($on, q{SELECT string_agg(check_name || ' ' || status || ' ' || coalesce(detail, '') || ' ' || coalesce(hint, ''), E'\n') FROM vibevideo.check_config()}, $database),
		qr/resume/, "$name: check_config tells it");
	return;
}

# Lets a copy ask this fal; its worker takes a database's setting when it starts.
sub ask
{
	my ($on, $database, $whom) = @_;
	my $url = $whom->url;

	if ($database eq 'postgres')
	{
		$on->append_conf('postgresql.conf',
			"vibevideo.fal_queue_url = '$url'\nvibevideo.fal_api_url = '$url/v1'\nvibevideo.media_hosts = '$url'");
		$on->reload if $on->{_pid};
		return;
	}
	cli($on, "ALTER DATABASE $database SET vibevideo.fal_queue_url = '$url'; ALTER DATABASE $database SET vibevideo.fal_api_url = '$url/v1'");
	cli($on, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '$database'");
	return;
}

# Jobs in every state that can be held still.
my %id;
sub prepare
{
	my ($tag) = @_;
	my %these;

	$fal->rule("^$tag: queued", hold => 'queue');
	$fal->rule("^$tag: generating", hold => 'run', queue_ms => 0);
	$these{$_} = new_row($node, "$tag: $_") for qw(queued generating copying unknown completed pending);
	$storage->fault('upload', 'slow_down', key => $these{copying}, times => -1);
	$fal->fault('submit', 'reset_after', prompt => "^$tag: unknown");
	$fal->fault('list', { kind => 'http', status => 500, body => 'not now' }, times => -1);
	$fal->fault('submit', { kind => 'http', status => 503, headers => { 'retry-after' => '1000' }, body => { detail => 'later' } }, prompt => "^$tag: pending");
	submit($node, $these{$_}) for grep { $_ ne 'pending' } sort keys %these;
	wait_for_status($node, $these{completed}, 'completed');
	wait_for_status($node, $these{generating}, 'generating');
	wait_for_status($node, $these{copying}, 'processing');
	is(job_of($node, $these{unknown})->{state}, 'submit_unknown', "$tag: one is in doubt");
	# last, since waiting hurries everything
	submit($node, $these{pending});
	is(job_of($node, $these{pending})->{state}, 'pending', "$tag: one waits to be sent");
	return %these;
}

sub let_go
{
	my ($tag) = @_;

	$fal->clear_faults;
	$storage->clear_faults;
	for my $render (@{ $fal->ledger->{jobs} })
	{
		$fal->command($render->{request_id}, 'start')
		  if $render->{input}{prompt} =~ /^\Q$tag\E: (?:queued|generating)/ && $render->{state} ne 'COMPLETED';
	}
	return;
}

# -- copies, made while jobs are under way --------------------------------------------
%id = prepare('copy');

# CREATE DATABASE … TEMPLATE: same cluster, another database
cli($node, "UPDATE pg_database SET datallowconn = true WHERE datname = 'postgres'");
{
	# nobody may be connected; the worker comes back by itself
	VibeTest::forget_session($node) if VibeTest->can('forget_session');
	my $made = 0;
	for (1 .. 100)
	{
		my ($rc) = $node->psql('template1', <<'SQL');
SELECT count(pg_terminate_backend(pid, 2000)) FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid();
CREATE DATABASE twin TEMPLATE postgres;
SQL
		last if $made = ($rc == 0);
		sleep(0.2);
	}
	ok($made, 'CREATE DATABASE twin TEMPLATE postgres');
	ask($node, 'twin', $sentinel);
}

# pg_dump | restore into another cluster
my $other = vibe_node('other', fal => $sentinel, storage => $storage, app => 0);
command_ok([ 'pg_dump', '-Fc', '-f', $node->basedir . '/dump', '-d', $node->connstr('postgres') ], 'pg_dump');
command_ok([ 'pg_restore', '-e', '-d', $other->connstr('postgres'), $node->basedir . '/dump' ], 'pg_restore into another cluster');

# a base backup, restored to the end of the archive
$node->backup('base');
my $restored = PostgreSQL::Test::Cluster->new('restored');
cli($node, 'SELECT pg_switch_wal()');
$node->poll_query_until('postgres', q{SELECT last_archived_wal IS NOT NULL FROM pg_stat_archiver}) or die 'nothing archived';
$restored->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
ask($restored, 'postgres', $sentinel);
$restored->start;
wait_up($restored);
$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery does not end';

for my $copy ([ $node, 'twin', 'database from a template' ], [ $other, 'postgres', 'dump in another cluster' ], [ $restored, 'postgres', 'restored base backup' ])
{
	my ($on, $database, $name) = @$copy;

	is(state_of($on, $id{queued}, $database), 'queued 1', "$name: the jobs are there");
	is_paused($on, $name, $database, cli($on, "INSERT INTO vibelogs (prompt) VALUES ('$name') RETURNING id", $database));
}

# the original was not disturbed: it ends its jobs, by the renders they have
let_go('copy');
is(cli($node, 'SELECT paused FROM vibevideo.binding'), 'f', 'the original is not paused');
wait_for_status($node, $id{$_}, 'completed', name => "original: $_ is completed") for sort keys %id;
is(scalar($fal->renders("copy: $_")), 1, "original: $_ by one render") for sort keys %id;
is(state_of($node, $id{$_}), 'completed 1', "original: $_ by one attempt") for sort keys %id;

# the copies still have them as they were; the one that shall go on goes on
for my $copy ([ $node, 'twin', 'database from a template' ], [ $other, 'postgres', 'dump in another cluster' ], [ $restored, 'postgres', 'restored base backup' ])
{
	my ($on, $database, $name) = @$copy;
	my $before = $fal->ledger('?jobs=0')->{accepted};

	is(state_of($on, $id{queued}, $database), 'queued 1', "$name: untouched meanwhile");
	# what was never sent would be sent by both: that is why it asks
	cli($on, "DELETE FROM vibevideo.job WHERE vibelog_id = '$id{pending}'", $database);
	ask($on, $database, $fal);
	is(cli($on, 'SELECT vibevideo.resume()', $database), 't', "$name: resume()");
	is(cli($on, 'SELECT vibevideo.resume()', $database), 'f', "$name: which is needed once");
	for my $what (grep { $_ ne 'pending' } sort keys %id)
	{
		wait_for($on, "SELECT video_generation_status FROM vibelogs WHERE id = '$id{$what}'", 'completed', "$name: $what goes on", database => $database, hurry => 1);
	}
	is($fal->ledger('?jobs=0')->{accepted}, $before, "$name: without a new render");
	my $new = cli($on, "INSERT INTO vibelogs (prompt) VALUES ('$name, new') RETURNING id", $database);
	is(cli($on, "SELECT status FROM vibevideo_submit('$new')", $database), 'queued', "$name: takes submits");
	wait_for($on, "SELECT video_generation_status FROM vibelogs WHERE id = '$new'", 'completed', "$name: and makes videos", database => $database, hurry => 1);
}
$other->stop('fast');
$restored->stop('fast');

# -- a standby ----------------------------------------------------------------------
$node->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
wait_up($standby);
%id = prepare('failover');
$id{later} = new_row($node, 'failover: later');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));

is(cli($standby, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^vibevideo'}), '0', 'standby: no worker, no launcher');
is(cli($standby, "SELECT status FROM vibevideo_status('$id{generating}')"), 'generating', 'standby: the status can be read');
for my $call ("vibevideo_submit('$id{later}')", "vibevideo_submit_batch('{$id{later}}')", "vibevideo_cancel('$id{queued}')", "vibevideo_retry('$id{queued}')", 'vibevideo_poll()')
{
	my $before = $fal->ledger('?jobs=0')->{requests}{submit};

	my ($state, $text) = sql_error($standby, "SELECT $call");
	my ($name) = $call =~ /^(\w+)/;

	is($state, '25006', "standby: $call is refused as read-only");
	like($text, qr/cannot execute $name during recovery\nDETAIL:  .*standby.*\nHINT:  Connect to the primary\.\nLOCATION/, "standby: and says where it can be called");
	is($fal->ledger('?jobs=0')->{requests}{submit}, $before, "standby: and sends nothing");
}

# a submit in the air when the primary dies: the standby never heard of it
$fal->rule('^failover: in the air', hold => 'queue');
my $air = new_row($node, 'failover: in the air');
my ($session) = hung_submit($node, $fal, $air, 'hang_after', 'failover: in the air');
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
$node->stop('immediate');
eval { $session->quit; };
$standby->promote;
wait_up($standby);

# at once, before the worker has had a look
is((sql_error($standby, "SELECT vibevideo_submit('$id{later}')"))[0], '', 'promoted: takes submits at once');
let_go('failover');
wait_for($standby, "SELECT video_generation_status FROM vibelogs WHERE id = '$id{$_}'", 'completed', "promoted: $_ is completed", hurry => 1)
  for sort keys %id;
is(scalar($fal->renders("failover: $_")), 1, "promoted: $_ by one render") for sort keys %id;
is(state_of($standby, $id{$_}), 'completed 1', "promoted: $_ by one attempt") for grep { $_ ne 'later' } sort keys %id;
is(cli($standby, 'SELECT paused, timeline = (vibevideo_internal.identity()).timeline FROM vibevideo.binding'), 'f|t', 'promoted: it has taken over, without being asked');
is(state_of($standby, $air), 'none', 'promoted: nobody knows of the submit that was in the air: the journal stays behind');

# the old primary comes back, with its journal: it cancels what it had sent
$node->start;
wait_up($node);
wait_until(sub { return ($fal->renders('failover: in the air'))[0]{cancel_requested_at} ? 1 : 0 }, 'the old primary, started again, cancels it');
$node->stop('fast');

# what it was is remembered across restarts and crashes
$standby->restart;
my $after = new_row($standby, 'failover: after a restart');
is(submit($standby, $after)->{status}, 'queued', 'promoted: goes on after a restart');
wait_for_status($standby, $after, 'completed');
wait_at_rest($standby);
ok_rules(gather($standby, $fal, $storage, other_nodes => [ $node ]), 'failover', 'rule_one_render_an_attempt', 'rule_unowned_is_cancelled', 'rule_stored_bytes');
done_testing();
