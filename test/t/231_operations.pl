# What an operator does under running sessions and workers: restores a dump in
# place, starts a base backup beside its original, changes a whole database's settings.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0, init => { allows_streaming => 1 });

sql($node, 'CREATE EXTENSION vibevideo');

# A turn that begins after it was woken, and one more: the first has ended then.
sub worker_looks
{
	my ($on) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for (1 .. 2)
	{
		my $now = sql($on, 'SELECT clock_timestamp()');
		hurry($on);
		wait_for($on, "SELECT coalesce(heartbeat_at > '$now', false) FROM vibevideo.worker_info()", 't', 'the worker has a look');
	}
	return;
}

# -- a dump is restored over its own database ----------------------------------------------------
{
	my $dump = $node->basedir . '/dump';

	sql($node, q{CREATE TABLE vibelogs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), prompt text); SELECT vibevideo.attach('vibelogs')});
	$fal->rule('^dump: ', hold => 'queue');
	$fal->fault('submit', { kind => 'http', status => 503, headers => { 'retry-after' => '1000' }, body => { detail => 'later' } }, prompt => '^dump: ');
	my $id = new_row($node, 'dump: waits');
	is(submit($node, $id)->{error_code}, 'http_503', 'a job waits to be sent');
	$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", 'queued', 'it is sent after that', hurry => 1);
	$node->command_ok([ 'pg_restore', '-e', '--clean', '--if-exists', '-d', $node->connstr('postgres'), $dump ], 'pg_restore --clean');
	ok(slurp_file($node->logfile) =~ qr/WARNING:  vibevideo is paused: this database is a copy/, 'which logs a warning');
	is(sql($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'"), 'pending', 'the job is back where it was');

	worker_looks($node);
	is((sql_error($node, "SELECT vibevideo_submit('$id')"))[0], '55000', 'the database is paused');
	like(sql($node, q{SELECT hint FROM vibevideo.check_config() WHERE check_name = 'identity'}), qr/vibevideo\.resume/, 'check_config tells what to do');
	like(sql($node, q{SELECT detail FROM vibevideo.check_config() WHERE check_name = 'identity'}), qr/^this is a restored or copied database/, 'and why');
	like((sql_error($node, "SELECT vibevideo_submit('$id')"))[1], qr/DETAIL:  This is a restored or copied database, whose original may still work on the same jobs\.\n/, 'so does the error');
	is(sql($node, q{SELECT vibevideo.pause('all', 'once more')}), 'f', 'pause() has nothing to do');
	my ($refused, $error) = sql_error($node, 'SELECT vibevideo.detach(force => true)');
	is($refused, '55000', 'to attach the table anew is no way around it');
	like($error, qr/HINT:.*DELETE FROM vibevideo\.job.*vibevideo\.resume/, 'the hint tells the ways');
	is(scalar($fal->renders('dump: waits')), 1, 'nothing is sent a second time');

	sql($node, q{DELETE FROM vibevideo.job WHERE state = 'pending'});
	is(sql($node, 'SELECT vibevideo.resume()'), 't', 'resume()');
	is(sql($node, q{SELECT vibevideo.reset_stuck('0')}), '1', 'reset_stuck mends the row');
	my $next = new_row($node, 'restored: next');
	is(submit($node, $next)->{status}, 'queued', 'it goes on');
	wait_for_status($node, $next, 'completed');
	is(scalar($fal->renders('dump: waits')), 1, 'still without a second render');
}

# -- vibevideo is stopped for a while --------------------------------------------------------------
{
	my $id = new_row($node, 'pause: waits');

	sql($node, 'CREATE ROLE operator SUPERUSER');
	like(sql($node, "SET SESSION AUTHORIZATION operator; BEGIN; SELECT vibevideo_submit_batch('{$id}'); SELECT vibevideo.pause('all', E'new\ndisk'); COMMIT"), qr/\nt$/, 'pause()');
	is(sql($node, q{SELECT vibevideo.pause('all', 'again')}), 'f', 'is needed once');
	worker_looks($node);
	is(job_of($node, $id)->{state}, 'pending', 'a paused database sends nothing');
	my $cause = qr/paused by operator since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+\d\d: new\\ndisk/;
	like(sql($node, q{SELECT status, detail, hint FROM vibevideo.check_config() WHERE check_name = 'paused'}), qr/^warn\|$cause\|.*vibevideo\.resume/, 'check_config says who paused it, since when and why');
	is(sql($node, q{SELECT status FROM vibevideo.check_config() WHERE check_name = 'identity'}), 'ok', 'and does not take it for a copy');
	like((sql_error($node, 'SELECT vibevideo.detach(true)'))[1], qr/vibevideo is paused.*\nDETAIL:  Active jobs: \d+; $cause\./, 'detach() says it, too');

	# but calls are taken
	my $taken = submit($node, new_row($node, 'pause: asked for'));
	is("$taken->{status}|$taken->{error_code}|$taken->{message}", 'queued|paused|Waiting to be sent: sending is paused', 'a submit is noted');
	my $dropped = new_row($node, 'pause: dropped');
	submit($node, $dropped);
	is(video($node, "vibevideo_cancel('$dropped')")->{status}, 'cancelled', 'and cancelled');
	is(sql($node, 'SELECT * FROM vibevideo_poll()'), '0|0|0|0', 'a poll does nothing');

	# sending alone
	is(sql($node, q{SELECT vibevideo.pause('sending', 'price')}), 't', 'what is paused can be changed');
	like(sql($node, q{SELECT detail FROM vibevideo.check_config() WHERE check_name = 'paused'}), qr/^sending was paused by \w+ at .*: price$/, 'and check_config says so');
	is(sql($node, 'SELECT vibevideo.resume()'), 't', 'resume() ends that');
	is(sql($node, 'SELECT num_nulls(paused_by, paused_at, pause_reason, pause_scope) FROM vibevideo.binding'), '4', 'and forgets it');
	wait_for_status($node, $id, 'completed');
	wait_for_status($node, $taken->{vibelog_id}, 'completed');
	is(scalar($fal->renders('pause: dropped')), 0, 'what was cancelled meanwhile is never sent');
}

# -- sending is stopped, what is under way goes on --------------------------------------------------
{
	$fal->rule('^sending: under way', hold => 'queue');
	my ($under_way, $lost) = map { new_row($node, "sending: $_") } 'under way', 'lost';
	submit($node, $under_way);
	is(sql($node, 'SELECT vibevideo.pause()'), 't', 'pause() stops sending');
	my $new = submit($node, new_row($node, 'sending: new'));
	my @batch = map { new_row($node, "sending: batch $_") } 1 .. 2;
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @batch) . "}')");
	$fal->command(job_of($node, $under_way)->{request_id}, $_) for qw(start finish);
	wait_for_status($node, $under_way, 'completed', name => 'what fal has is followed and copied');
	worker_looks($node);
	is(sql($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'pending'}), '3', 'what is new waits');
	is(scalar($fal->renders("sending: $_")), 0, "fal has nothing of: $_") for 'new', 'batch 1', 'batch 2';
	is((sql_error($node, q{SELECT vibevideo.pause('everything')}))[0], '22023', 'there are two scopes');
	is((sql_error($node, q{SELECT vibevideo.pause(NULL)}))[0], '22023', 'and no null');
	sql($node, 'SELECT vibevideo.resume()');
	wait_for_status($node, $_, 'completed') for $new->{vibelog_id}, @batch;
}

# -- it is stopped by hand --------------------------------------------------------------------------
{
	my $id = new_row($node, 'update: waits');
	sql($node, "BEGIN; SELECT vibevideo_submit_batch('{$id}'); UPDATE vibevideo.binding SET paused = true; COMMIT");
	worker_looks($node);
	like((sql_error($node, "SELECT vibevideo_cancel('$id')"))[1], qr/DETAIL:  Paused by an UPDATE of vibevideo\.binding\.\n/, 'an UPDATE has no name');
	is(sql($node, 'SELECT vibevideo.resume()'), 't', 'resume() ends that, too');
	wait_for_status($node, $id, 'completed');
}

# -- row-level security is forced while a job is under way ------------------------------------------
{
	my $owner = sql($node, q{SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'vibelogs'::regclass});
	my $id = new_row($node, 'forced: held');

	sql($node, 'CREATE ROLE app; GRANT USAGE ON SCHEMA public TO app; ALTER TABLE vibelogs OWNER TO app');
	$fal->rule('^forced: ', hold => 'queue');
	submit($node, $id);
	sql($node, 'ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY');
	$fal->command(job_of($node, $id)->{request_id}, $_) for qw(start finish);
	wait_for($node, "SELECT state, row_dirty, row_error FROM vibevideo.job WHERE vibelog_id = '$id'", qr/^completed\|t\|.*row-level security hides it/, 'a row that is hidden from its owner waits', hurry => 1);
	like(sql($node, q{SELECT status, detail FROM vibevideo.check_config() WHERE check_name = 'row_security'}), qr/^fail\|row-level security is forced/, 'check_config tells of it');
	sql($node, 'ALTER TABLE vibelogs NO FORCE ROW LEVEL SECURITY');
	wait_for_status($node, $id, 'completed', name => 'and is written once it can be seen');
	sql($node, "ALTER TABLE vibelogs DISABLE ROW LEVEL SECURITY; ALTER TABLE vibelogs OWNER TO $owner; DROP OWNED BY app; DROP ROLE app");
}

# -- a dump by who is no superuser ------------------------------------------------------------------
{
	my $dump = $node->basedir . '/partial.sql';
	my $dumped = sub { return ($node->connstr('postgres') . ' user=dumper', @_) };

	sql($node, 'CREATE ROLE dumper LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO dumper');
	$node->command_fails([ 'pg_dump', '-f', $dump, '-d', $dumped->() ], 'pg_dump by anybody does not work');
	$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $dumped->('--exclude-schema=vibevideo*') ], 'without the jobs it does');
	sql($node, 'CREATE DATABASE partial');
	sql($node, 'CREATE SCHEMA vibevideo', 'partial');
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('partial'), '-f', $dump ], 'and can be restored');
	is(sql($node, q{SELECT vibevideo.attach('vibelogs') LIKE '%is attached%', count(*) > 0 FROM vibelogs}, 'partial'), 't|t', 'and attached');
	sql($node, 'GRANT pg_read_all_data TO dumper');
	$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $dumped->() ], 'a member of pg_read_all_data dumps all');
}

# -- settings of the whole database, which its worker has as well ----------------------------------
{
	my $trigger = q{CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER nothing BEFORE UPDATE ON vibelogs FOR EACH ROW EXECUTE FUNCTION nothing()};
	my $restart = q{SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE backend_type = 'vibevideo worker' AND datname = 'postgres'};
	my $id = new_row($node, 'settings: replica');

	sql($node, "$trigger; ALTER DATABASE postgres SET session_replication_role = replica; $restart");
	sql($node, "SELECT vibevideo_submit_batch('{$id}')");
	wait_for_status($node, $id, 'completed', name => 'session_replication_role: a row is written');
	is(sql($node, "SELECT string_agg(e.state, ' ' ORDER BY e.event_id) FROM vibevideo.event e JOIN vibevideo.job j USING (job_id) WHERE j.vibelog_id = '$id' AND e.state <> 'generating'"),
		'submitting queued processing completed', 'and the history kept');
	sql($node, "ALTER DATABASE postgres RESET session_replication_role; DROP TRIGGER nothing ON vibelogs; $restart");

	# the index builder waits for transactions that are older than its index, and has its own role
	my $session = background_sql($node);
	$session->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
	sql($node, q{DROP INDEX idx_vibelogs_video_request_id; ALTER DATABASE postgres SET lock_timeout = '1ms'; ALTER DATABASE postgres SET role = pg_monitor});
	sql($node, 'UPDATE vibevideo.binding SET build_index = true; SELECT vibevideo.wake()');
	wait_for($node, q{SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'vibevideo index builder'
		AND NOT l.granted AND l.waitstart < clock_timestamp() - interval '100 ms')}, 't', 'lock_timeout: the index builder waits');
	$session->query('COMMIT');
	$session->quit;
	wait_for($node, q{SELECT NOT build_index AND vibevideo_internal.request_index(relation) IS NOT NULL FROM vibevideo.binding}, 't', 'and builds the index');
	sql($node, 'ALTER DATABASE postgres RESET lock_timeout; ALTER DATABASE postgres RESET role');
}

# -- a base backup is started beside its original -------------------------------------------------
{
	my $state = 'SELECT state FROM vibevideo.job WHERE vibelog_id = ';

	$fal->rule('^copy: ', hold => 'queue');
	$fal->fault('submit', { kind => 'http', status => 503, headers => { 'retry-after' => '1000' }, body => { detail => 'later' } }, prompt => '^copy: waits');
	my ($waits, $open) = map { new_row($node, "copy: $_") } qw(waits open);
	submit($node, $waits);
	# its journal's entry is copied, its row is not there yet
	my $session = background_sql($node);
	like($session->query("BEGIN; SELECT status FROM vibevideo_submit('$open')"), qr/queued/, 'a transaction has sent a job');
	$node->backup('copy');
	$session->query('COMMIT');
	$session->quit;

	my $copy = PostgreSQL::Test::Cluster->new('copy');
	$copy->init_from_backup($node, 'copy');
	$copy->start;
	is(sql($copy, $state . "'$waits'"), 'pending', 'the copy has the job that waits');
	wait_for($copy, 'SELECT paused FROM vibevideo.binding', 't', 'the copy is paused');
	worker_looks($copy);
	is((sql_error($copy, "SELECT vibevideo_submit('$waits')"))[0], '55000', 'it sends nothing in a call');
	$copy->restart;
	worker_looks($copy);
	is((sql_error($copy, "SELECT vibevideo_submit('$waits')"))[0], '55000', 'nor after a restart');
	is(scalar($fal->renders('copy: waits')), 0, 'and nothing by itself');
	is(($fal->renders('copy: open'))[0]{cancel_requested_at}, undef, 'nor does it cancel what it does not know');

	wait_for($node, $state . "'$waits'", 'queued', 'the original goes on', hurry => 1);
	is(sql($node, 'SELECT paused FROM vibevideo.binding'), 'f', 'and is not paused');
	sql($copy, q{DELETE FROM vibevideo.job WHERE state = 'pending'});
	is(sql($copy, 'SELECT vibevideo.resume()'), 't', 'the copy is told to go on');
	$copy->restart;
	my $own = new_row($copy, 'the copy\'s own');
	is(submit($copy, $own)->{status}, 'queued', 'then it does, also after a restart');
	wait_for_status($copy, $own, 'completed');

	# what is made of the copy follows the copy
	$copy->backup('standby');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($copy, 'standby', has_streaming => 1);
	$standby->start;
	sql($copy, q{INSERT INTO vibelogs (prompt) VALUES ('at once')});
	# no worker takes over a database that takes no connections
	$session = background_sql($standby);
	$session->query('SELECT 1');
	$copy->safe_psql('template1', 'ALTER DATABASE postgres ALLOW_CONNECTIONS false');
	my $lsn = sql($copy, 'SELECT pg_current_wal_insert_lsn()');
	wait_for($copy, "SELECT replay_lsn >= '$lsn' FROM pg_stat_replication", 't', 'the standby has all of it');
	$copy->stop('fast');
	$standby->promote;
	is($session->query(q{SELECT status FROM vibevideo_submit((SELECT id FROM vibelogs WHERE prompt = 'at once'))}), 'queued', 'its standby takes submits as soon as it is promoted');
	$session->quit;
	$standby->safe_psql('template1', 'ALTER DATABASE postgres ALLOW_CONNECTIONS true');
	sql($standby, 'SELECT vibevideo.wake()');
	wait_for($standby, q{SELECT video_generation_status FROM vibelogs WHERE prompt = 'at once'}, 'completed', 'and goes on with them', hurry => 1);
	is(sql($standby, 'SELECT timeline = (vibevideo_internal.identity()).timeline FROM vibevideo.binding'), 't', 'after its worker has taken over');
	is(scalar($fal->renders('copy: waits')), 1, 'what waited was sent once');
	$standby->stop('fast');
}

done_testing();
