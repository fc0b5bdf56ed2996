# Who listens hears of each state once: through logical decoding, as Supabase
# Realtime does, through LISTEN, and through realtime.send.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0, conf => {
	'wal_level' => 'logical',
	'max_prepared_transactions' => 2,
	'vibevideo.max_renders' => 2 });
my $pkglibdir = `pg_config --pkglibdir`;
chomp $pkglibdir;
my $has_wal2json = -e "$pkglibdir/wal2json.so";

sql($node, <<'SQL');
CREATE PUBLICATION supabase_realtime;
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), prompt text, image text);
SELECT vibevideo.attach('vibelogs', realtime => true);
SQL
is(sql($node, "SELECT tablename FROM pg_publication_tables WHERE pubname = 'supabase_realtime'"), 'vibelogs', 'the table is published');
if ($has_wal2json)
{
	# newer servers want to be told that they may use it
	if (sql($node, "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'"))
	{
		$node->append_conf('postgresql.conf', "output_plugin_libraries = 'pgoutput, wal2json'");
		$node->reload;
		wait_for($node, 'SHOW output_plugin_libraries', qr/wal2json/, 'the server may use wal2json');
	}
	sql($node, "SELECT pg_create_logical_replication_slot('realtime', 'wal2json')");
}

# The states that updates of a row brought since the last call, as Realtime sees them.
sub updates
{
	my ($id) = @_;
	my @seen;

	for my $line (split /\n/,
		sql($node, "SELECT data FROM pg_logical_slot_get_changes('realtime', NULL, NULL, 'format-version', '2', 'add-tables', 'public.vibelogs')"))
	{
		my $change = decode_json($line);
		next unless $change->{action} eq 'U';
		my %new = map { $_->{name} => $_->{value} } @{ $change->{columns} };
		push @seen, \%new if $new{id} eq $id;
	}
	return @seen;
}

# A session that listens; notifications come with the answer to a query.
my $listener = background_sql($node);
$listener->query_safe('LISTEN vibevideo');

sub heard
{
	my ($id) = @_;
	my $out = $listener->query_safe('SELECT 1');
	my @heard = map { decode_json($_) } $out =~ /notification "vibevideo" with payload "(\{.*?\})" received/g;

	return grep { $_->{vibelog_id} eq $id } @heard;
}

# Takes a row from submit to its video, seen in every state on the way.
sub whole_way
{
	my ($id, $prompt) = @_;
	my ($render) = $fal->renders($prompt);

	$fal->command($render->{request_id}, 'start');
	wait_for_status($node, $id, 'generating');
	hurry($node) for 1 .. 3;
	$fal->command($render->{request_id}, 'finish');
	wait_for_status($node, $id, 'completed');
	return $render->{request_id};
}

# -- sent in the call ----------------------------------------------------------------
{
	my $id = new_row($node, 'a red kite');

	$fal->rule('^a red kite$', hold => 'queue', run_ms => 3600000);
	submit($node, $id);
	submit($node, $id);
	hurry($node) for 1 .. 3;
	my $request_id = whole_way($id, 'a red kite');

	is_deeply([ map { "$_->{status} $_->{request_id} $_->{attempt}" } heard($id) ],
		[ map { "$_ $request_id 1" } qw(queued generating processing completed) ],
		'LISTEN: each state once, in order, with the request\'s id');
  SKIP:
	{
		skip 'wal2json is not installed', 3 unless $has_wal2json;
		my @updates = updates($id);
		is_deeply([ map { $_->{video_generation_status} } @updates ], [qw(queued generating processing completed)],
			'logical decoding: the row changes once a state');
		is_deeply([ map { $_->{video_request_id} } @updates ], [ ($request_id) x 4 ], 'the first has the request\'s id');
		is($updates[-1]{video_url}, status_of($node, $id)->{video_url}, 'the last has the URL');
	}
}

# -- sent by the worker ----------------------------------------------------------------
{
	my $id = new_row($node, 'a blue kite');

	$fal->rule('^a blue kite$', hold => 'queue', run_ms => 3600000);
	sql($node, "SELECT vibevideo_submit_batch(ARRAY['$id'::uuid])");
	wait_for($node, "SELECT video_request_id IS NOT NULL FROM vibelogs WHERE id = '$id'", 't', 'the worker sends it');
	my $request_id = whole_way($id, 'a blue kite');
	my @heard = heard($id);

	is_deeply([ map { $_->{status} } @heard ], [qw(queued generating processing completed)], 'LISTEN: each state once');
	is($heard[0]{request_id}, undef, 'the first is told when the batch commits');
  SKIP:
	{
		skip 'wal2json is not installed', 1 unless $has_wal2json;
		is_deeply([ map { $_->{video_generation_status} . ($_->{video_request_id} ? ' sent' : '') } updates($id) ],
			[ 'queued', map { "$_ sent" } qw(queued generating processing completed) ],
			'logical decoding: each state once, and one more change for the request\'s id');
	}
}

# -- failed, cancelled, rolled back ------------------------------------------------------------
{
	my ($refused, $cancelled, $rolled_back) = map { new_row($node, "news $_") } qw(refused cancelled rolled_back);
	my $again = new_row($node, 'second kite');

	$fal->rule('^news ', hold => 'queue');
	$fal->fault('submit', { kind => 'http', status => 422 }, prompt => '^news refused$');
	is(submit($node, $refused)->{status}, 'failed', 'fal refuses one');
	is_deeply([ map { $_->{status} } heard($refused) ], ['failed'], 'LISTEN: failed, once');
	submit($node, $cancelled);
	sql($node, "SELECT vibevideo_cancel('$cancelled')");
	wait_for_status($node, $cancelled, 'cancelled');
	is_deeply([ map { $_->{status} } heard($cancelled) ], [qw(queued cancelled)], 'LISTEN: queued, cancelled');
	sql($node, "BEGIN; SELECT vibevideo_submit('$rolled_back'); ROLLBACK");
	wait_for($node, 'SELECT state FROM vibevideo.job WHERE orphan', 'cancelled', 'one that was rolled back is cancelled', hurry => 1);
	is_deeply([ heard($rolled_back) ], [], 'LISTEN: nothing of an orphan');
	$fal->call('POST', '/rule', { prompt => '^second kite$', times => 1, behaviour => { outcome => 'infra', error_type => 'runner_disconnected' } });
	$fal->rule('^second kite$', hold => 'queue');
	submit($node, $again);
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$again' AND attempt = 2 AND state = 'queued'", '1', 'an attempt starts by itself', hurry => 1);
	my @heard = map { "$_->{attempt} $_->{status}" } heard($again);
	is_deeply([ grep { !/generating/ } @heard ], [ '1 queued', '1 failed', '2 queued' ], 'LISTEN: both attempts') or diag("@heard");
  SKIP:
	{
		skip 'wal2json is not installed', 1 unless $has_wal2json;
		sql($node, "SELECT count(*) FROM pg_logical_slot_get_changes('realtime', NULL, NULL)");
		sql($node, "UPDATE vibevideo.job SET row_dirty = true, row_next_at = now() WHERE vibelog_id = '$cancelled'");
		hurry($node);
		wait_for($node, 'SELECT count(*) FROM vibevideo.job WHERE row_dirty', '0', 'a row is looked at again');
		is_deeply([ updates($cancelled) ], [], 'logical decoding: nothing has changed, nothing is told');
	}
}

# -- vibevideo.notify ------------------------------------------------------------------------
{
	my $id = new_row($node, 'quiet');

	sql($node, "SET vibevideo.notify = off; SELECT vibevideo_submit_batch(ARRAY['$id'::uuid]); RESET vibevideo.notify");
	is_deeply([ map { $_->{status} } heard($id) ], [], 'LISTEN: nothing while it is off');
	my ($state, $error) = sql_error($node, "SET vibevideo.notify = off; BEGIN; SELECT vibevideo_submit_batch(ARRAY['"
		  . new_row($node, 'two phases') . "'::uuid]); PREPARE TRANSACTION 'two'");
	is($state, '', 'a batch can then be part of a prepared transaction') or diag($error);
	sql($node, "COMMIT PREPARED 'two'");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE input->>'prompt' = 'two phases'", qr/queued|generating|processing|completed/, 'and is sent');
}

# -- realtime.send ----------------------------------------------------------------------------
sub broadcasts
{
	return sql($node, q{SELECT status, detail, hint FROM vibevideo.check_config() WHERE check_name = 'broadcasts'});
}

# The statuses that subscribers of a row's topic got, in order.
sub messages
{
	my ($id) = @_;

	return sql($node, "SELECT coalesce(string_agg(payload->>'status', ' ' ORDER BY inserted_at), '') FROM realtime.messages"
		  . " WHERE topic = 'vibelog:$id' AND private AND extension = 'broadcast' AND event = 'status' AND payload->>'vibelog_id' = '$id'");
}

# A row of that text, from submit to its video; the log of that time.
sub one_video
{
	my ($prompt) = @_;
	my $id = new_row($node, $prompt);
	my $from = -s $node->logfile;

	$fal->rule("^$prompt\$", hold => 'queue', run_ms => 3600000);
	submit($node, $id);
	whole_way($id, $prompt);
	return ($id, slurp_file($node->logfile, $from));
}

{
	my $all = 'queued generating processing completed';
	my $failed = qr/realtime\.send failed/;

	like(broadcasts(), qr/^ok\|there is no realtime\.send in this database/, 'check_config: no Realtime, no broadcasts');
	create_realtime($node);
	like(broadcasts(), qr/^warn\|nothing is broadcast: realtime\.send would run with the rights of \w+, a superuser\|ALTER TABLE public\.vibelogs OWNER TO/,
		'check_config: not as a superuser');
	my ($id, $log) = one_video('a superuser kite');
	is(messages($id), '', 'and so it is not');

	# rights, one after the other
	sql($node, 'CREATE ROLE shop; ALTER TABLE vibelogs OWNER TO shop; REVOKE EXECUTE ON FUNCTION realtime.send FROM PUBLIC');
	for my $right ('USAGE ON SCHEMA realtime', 'EXECUTE ON FUNCTION realtime.send(jsonb, text, text, boolean)', 'INSERT ON realtime.messages')
	{
		like(broadcasts(), qr/^fail\|nothing is broadcast: the table's owner shop lacks \Q$right\E\|GRANT \Q$right\E TO shop;$/, "check_config: $right is lacking");
		sql($node, (split /\|/, broadcasts())[2]);
	}

	# row-level security, of which nobody hears
	($id, $log) = one_video('a hidden kite');
	is(messages($id), '', 'without a policy nothing arrives');
	like($log, qr/WARNING:  WarnSendingBroadcastMessage: new row violates row-level security policy for table "messages"/, 'realtime.send makes the error a warning');
	unlike($log, $failed, 'so that it does not fail');
	my $said = broadcasts();
	like($said, qr/^fail\|nothing is broadcast, and realtime\.send does not say so: new row violates row-level security policy for table "messages" \(SQLSTATE 42501\)\|CREATE POLICY "vibevideo sends" ON realtime\.messages FOR INSERT TO shop /,
		'check_config finds it');
	sql($node, (split /\|/, $said)[2]);
	my $before = sql($node, 'SELECT count(*) FROM realtime.messages');
	is(broadcasts(), 'ok|shop can send through realtime.send|', 'its hint is the remedy');
	is(sql($node, 'SELECT count(*) FROM realtime.messages'), $before, 'and what it tried has not stayed');
	($id, $log) = one_video('a green kite');
	is(messages($id), $all, 'each state once, to a private topic');

	# BYPASSRLS, as Supabase's role postgres has it
	sql($node, 'DROP POLICY "vibevideo sends" ON realtime.messages; ALTER ROLE shop BYPASSRLS');
	like(broadcasts(), qr/^ok\|/, 'check_config: a role with BYPASSRLS needs no policy');
	($id) = one_video('a blue-green kite');
	is(messages($id), $all, 'each state once');

	# a policy that reads the topic, as Realtime's own do
	sql($node, q{ALTER ROLE shop NOBYPASSRLS; CREATE POLICY by_topic ON realtime.messages FOR INSERT TO shop
		WITH CHECK (EXISTS (SELECT FROM vibelogs v WHERE 'vibelog:' || v.id = realtime.topic()))});
	like(broadcasts(), qr/^ok\|/, 'check_config: a policy may look at the row');

	# the service has made no partition
	sql($node, 'ALTER TABLE realtime.messages DETACH PARTITION realtime.messages_now');
	like(broadcasts(), qr/^warn\|broadcasts do not arrive now: no partition of relation "messages" found for row \(SQLSTATE 23514\)\|Realtime makes a partition/,
		'check_config: there is no partition for today');
	sql($node, q{DO $$ BEGIN EXECUTE format('ALTER TABLE realtime.messages ATTACH PARTITION realtime.messages_now FOR VALUES FROM (%L) TO (%L)', current_date - 1, current_date + 2); END $$});

	is(sql($node, q{BEGIN READ ONLY; SELECT detail FROM vibevideo.check_config() WHERE check_name = 'broadcasts'; COMMIT}), 'not checked: this transaction is read-only',
		'check_config: nothing is tried in a read-only transaction');
	sql($node, q{SELECT vibevideo.attach('vibelogs', realtime => false)});
	like(broadcasts(), qr/^ok\|not asked for/, 'check_config: nor if nobody has asked for broadcasts');
	sql($node, q{SELECT vibevideo.attach('vibelogs', realtime => true)});

	# it hangs
	my $holder = background_sql($node);
	$holder->query_safe('BEGIN; LOCK TABLE realtime.messages');
	like(broadcasts(), qr/^warn\|broadcasts do not arrive now: .*lock timeout \(SQLSTATE 55P03\)/, 'check_config does not wait for a lock');
	$id = new_row($node, 'a grey kite');
	$fal->rule('^a grey kite$', hold => 'queue', run_ms => 3600000);
	sql($node, "SET lock_timeout = '200ms'");
	is(submit($node, $id)->{status}, 'queued', 'a call does not fail because messages cannot be sent');
	sql($node, 'RESET lock_timeout');
	whole_way($id, 'a grey kite');
	ok(1, 'nor does the worker');
	$holder->query_safe('ROLLBACK');
	$holder->quit;

	# what it cannot catch
	sql($node, 'REVOKE USAGE ON SCHEMA realtime FROM shop');
	($id, $log) = one_video('a red and white kite');
	like($log, qr/realtime\.send failed and is not called for a minute: permission denied for schema realtime/, 'the log tells what is an error all the same');
	is(() = $log =~ /$failed/g, 2, 'once for the session, once for the worker');
}

$listener->quit;
done_testing();
