# What an operator or a migration changes under running sessions and workers:
# the key's type, a dump that is restored in place, settings of the whole database.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0);

sql($node, 'CREATE EXTENSION vibevideo');

# -- the key grows from integer to bigint --------------------------------------------------------
# the numbers are told apart by what does not fit into an integer
{
	my $big = 4294967297;
	my $status = 'SELECT coalesce(video_generation_status, \'none\') FROM numbered WHERE id = ';

	sql($node, <<'SQL');
CREATE TABLE numbered (id integer PRIMARY KEY, prompt text);
INSERT INTO numbered VALUES (1, 'key: one'), (2, 'key: two'), (3, 'key: three');
SELECT vibevideo.attach('numbered');
SELECT vibevideo_submit_batch('{2,3}');
SQL
	is(submit($node, 2)->{vibelog_id}, '2', 'a session has met the integers');
	wait_for($node, $status . $_, 'completed', "the worker, too: $_", hurry => 1) for 2, 3;
	my $worker = worker_pid($node);

	sql($node, "ALTER TABLE numbered ALTER id TYPE bigint; SELECT vibevideo.attach('numbered'); INSERT INTO numbered VALUES ($big, 'key: big')");
	is(submit($node, $big)->{vibelog_id}, $big, 'the session asks for the row it was told');
	wait_for($node, $status . $big, 'completed', 'which the worker writes', hurry => 1);
	is(sql($node, $status . 1), 'none', 'and not the one whose number is left of it');
	is(scalar($fal->renders('key: one')), 0, 'of which no video was made');
	is(worker_pid($node), $worker, 'the worker is the one it was');
	sql($node, 'SELECT vibevideo.detach(); DROP TABLE numbered');
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
	ok(slurp_file($node->logfile) =~ qr/WARNING:  vibevideo rests: this database is a copy/, 'which logs a warning');
	is(sql($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'"), 'pending', 'the job is back where it was');

	# a turn that begins after it was woken, and one more: the first has ended then
	for (1 .. 2)
	{
		my $now = sql($node, 'SELECT clock_timestamp()');
		hurry($node);
		wait_for($node, "SELECT coalesce(heartbeat_at > '$now', false) FROM vibevideo.worker_info()", 't', 'the worker has a look');
	}
	is((sql_error($node, "SELECT vibevideo_submit('$id')"))[0], '55000', 'the database rests');
	like(sql($node, q{SELECT hint FROM vibevideo.check_config() WHERE check_name = 'identity'}), qr/vibevideo\.resume/, 'check_config tells what to do');
	is(scalar($fal->renders('dump: waits')), 1, 'nothing is sent a second time');

	sql($node, q{DELETE FROM vibevideo.job WHERE state = 'pending'});
	is(sql($node, 'SELECT vibevideo.resume()'), 't', 'resume()');
	is(sql($node, q{SELECT vibevideo.reset_stuck('0')}), '1', 'reset_stuck mends the row');
	my $next = new_row($node, 'restored: next');
	is(submit($node, $next)->{status}, 'queued', 'it goes on');
	wait_for_status($node, $next, 'completed');
	is(scalar($fal->renders('dump: waits')), 1, 'still without a second render');
}

done_testing();
