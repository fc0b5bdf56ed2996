# What an operator or a migration changes under running sessions and workers:
# the key's type, settings of the whole database.

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

done_testing();
