# The app's table is changed, or another one attached, while jobs run: each job
# stays with the row it was made for.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0);

sql($node, <<'SQL');
CREATE EXTENSION vibevideo;
CREATE TABLE first (id int PRIMARY KEY, prompt text);
CREATE TABLE second (id int PRIMARY KEY, prompt text);
INSERT INTO first VALUES (1, 'first: one'), (2, 'first: two');
INSERT INTO second VALUES (1, 'second: one');
SELECT vibevideo.attach('first');
SQL

sub row_of
{
	my ($table, $id) = @_;

	return "SELECT video_generation_status, split_part(video_url, '/', -2) FROM $table WHERE id = $id";
}

# -- another table, and back ---------------------------------------------------------
{
	$fal->rule('^first: one$', hold => 'queue');
	my $request = video($node, 'vibevideo_submit(1)')->{request_id};
	sql($node, q{SELECT vibevideo.detach(force => true); SELECT vibevideo.attach('second')});
	$fal->command($request, 'finish');
	wait_for($node, "SELECT state FROM vibevideo.job WHERE request_id = '$request'", 'completed',
		'a job goes on while another table is attached', hurry => 1);
	is(sql($node, 'SELECT video_generation_status FROM second WHERE id = 1'), '', 'the row with its key there is not its row');

	sql($node, q{SELECT vibevideo.detach(); SELECT vibevideo.attach('first')});
	wait_for($node, row_of('first', 1), 'completed|1', 'attached again, its row has the video');
}

# -- left over in a row whose key a job of the other table has -----------------------------
{
	sql($node, q{SELECT vibevideo.detach(); SELECT vibevideo.attach('second')});
	sql($node, q{UPDATE second SET video_generation_status = 'generating'});
	is(sql($node, q{SELECT vibevideo.reset_stuck('0')}), '1', 'reset_stuck: that job is not behind this row');
	is(sql($node, 'SELECT video_generation_status FROM second WHERE id = 1'), 'failed', 'which is failed now');
	sql($node, q{SELECT vibevideo.detach(); SELECT vibevideo.attach('first')});
}

# -- the key becomes a wider one -------------------------------------------------------
# Session and worker have statements for the old type, and a large number cut to
# 32 bits is another row's.
{
	my $large = (1 << 32) + 2;

	sql($node, 'SELECT vibevideo_submit_batch(ARRAY[2])');
	wait_for($node, row_of('first', 2), 'completed|2', 'the worker has written a row with an integer for a key', hurry => 1);
	is(sql($node, 'SELECT status FROM vibevideo_status(2)'), 'completed', 'and this session has read it');
	sql($node, q{ALTER TABLE first ALTER id TYPE bigint; SELECT vibevideo.attach('first')});
	sql($node, "INSERT INTO first VALUES ($large, 'first: large')");
	is(sql($node, "SELECT vibelog_id, message FROM vibevideo_status($large)"), "$large|No video has been requested", 'a session knows the wider key');
	is(sql($node, "SELECT vibelog_id FROM vibevideo_submit($large)"), $large, 'and asks for the right row');
	is(scalar($fal->renders('first: large')), 1, 'whose prompt is sent');
	wait_for($node, row_of('first', $large), "completed|$large", 'the worker writes the right row', hurry => 1);
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE row_dirty", '0', 'and has no trouble with it');
}

done_testing();
