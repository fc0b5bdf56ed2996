# A row's way from vibevideo_submit to a video in Storage, for every kind of
# key and input; and what is refused before anything is sent.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(sha256_hex);
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage);

# What is at video_url is the file fal made, byte for byte.
sub video_is_faithful
{
	my ($video, $name) = @_;
	my ($job) = grep { $_->{request_id} eq $video->{request_id} } @{ $fal->ledger->{jobs} };
	my $file = http_get($video->{video_url});

	is($file->{status}, 200, "$name: video_url can be opened without a key");
	is($file->{headers}{'content-type'}, 'video/mp4', "$name: and is a video");
	is(sha256_hex($file->{content}), $job->{media_sha256}, "$name: and is the file fal made");
	return;
}

# -- the life of one row --------------------------------------------------------
{
	my $id = new_row($node, 'a red kite');

	$fal->rule('a red kite', hold => 'queue', queue_position => 3, queue_ms => 3600000);
	my $none = status_of($node, $id);
	is($none->{status}, undef, 'no status before a video is asked for');
	is($none->{message}, 'No video has been requested', 'and the message says so');

	my ($answer, $http_status) = split /\n/, sql($node, <<"SQL");
BEGIN;
SELECT row_to_json(v) FROM vibevideo_submit('$id') v;
SELECT current_setting('response.status');
COMMIT;
SQL
	my $video = JSON::PP::decode_json($answer);
	my ($render) = $fal->renders('a red kite');
	is($http_status, '202', 'PostgREST is told to answer 202');
	is($video->{status}, 'queued', 'submit returns a queued video');
	is($video->{vibelog_id}, $id, 'of this row');
	is($video->{request_id}, $render->{request_id}, 'with the request id of fal');
	is($video->{attempt}, 1, 'as attempt 1');
	is($video->{queue_position}, 3, 'with the place in the queue');
	is($video->{message}, 'Video queued, 3 ahead of you', 'and a sentence about it');
	is($video->{video_url}, undef, 'without a URL yet');
	ok($video->{submitted_at}, 'and when it was submitted');
	is(sql($node,
			"SELECT video_generation_status, video_request_id, video_url IS NULL, video_generation_error IS NULL FROM vibelogs WHERE id = '$id'"),
		"queued|$render->{request_id}|t|t", 'the row shows it when submit returns');
	is($render->{endpoint}, 'fal-ai/minimax/video-01', 'the default model was asked');
	is_deeply($render->{input}, { prompt => 'a red kite' }, 'with the prompt alone');
	is($render->{headers}{'content-type'}, 'application/json', 'as JSON');
	like($render->{headers}{'user-agent'}, qr{^vibevideo/\d}, 'by a client that says who it is');
	is($render->{webhook_url}, undef, 'without a webhook, as none is set');

	my $again = submit($node, $id);
	is($again->{request_id}, $video->{request_id}, 'asking again returns the same job');
	is($fal->ledger->{accepted}, 1, 'and does not render again');

	$fal->command($render->{request_id}, 'start');
	wait_for($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$id'", qr/^(generating|processing|completed)$/,
		'the row moves on with the job', hurry => 1);
	wait_for_status($node, $id, 'completed');
	$video = status_of($node, $id);
	is($video->{status}, 'completed', 'vibevideo_status agrees');
	is($video->{message}, 'Your video is ready', 'and says so');
	is($video->{progress}, 1, 'progress is 1');
	is($video->{request_id}, $render->{request_id}, 'the request id stays');
	is($video->{error}, undef, 'there is no error');
	ok($video->{completed_at}, 'completed_at is set');
	is(sql($node,
			"SELECT video_url = '$video->{video_url}', video_generated_at BETWEEN now() - interval '1 minute' AND now(), video_generation_error IS NULL FROM vibelogs WHERE id = '$id'"),
		't|t|t', 'the row has the URL, the time and no error');
	video_is_faithful($video, 'default model');

	my $object = $storage->object($id);
	is($object->{key}, "$id/$render->{request_id}.mp4", 'the object is named after row and request');
	is($object->{uploads}, 1, 'and was uploaded once');
	is(sql($node, "SELECT encode(sha256, 'hex'), bytes_done, bytes_total FROM vibevideo.job WHERE vibelog_id = '$id'"),
		"$object->{sha256}|$object->{size}|$object->{size}", 'the job knows size and hash');
	is(sql($node, "SELECT duration_ms FROM vibevideo.jobs WHERE vibelog_id = '$id'"), '5005', 'and how long the video plays');
	is(sql($node, "SELECT status, state, model, row_dirty, row_error IS NULL, next_at IS NULL FROM vibevideo.jobs WHERE vibelog_id = '$id'"),
		'completed|completed|fal-ai/minimax/video-01|f|t|t', 'view vibevideo.jobs shows a job at rest');
}

# -- every status is seen on the row, in order -----------------------------------
{
	my $id = new_row($node, 'all statuses');

	sql($node, <<'SQL');
CREATE TABLE seen (n serial, status text);
CREATE FUNCTION note_status() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN INSERT INTO seen (status) VALUES (NEW.video_generation_status); RETURN NEW; END';
CREATE TRIGGER note_status AFTER UPDATE ON vibelogs FOR EACH ROW
	WHEN (NEW.prompt = 'all statuses') EXECUTE FUNCTION note_status();
SQL
	$fal->rule('all statuses', hold => 'run', queue_ms => 0);
	$fal->fault('media', { kind => 'slow', bytes_per_s => 200000 }, prompt => 'all statuses');
	my $request = submit($node, $id)->{request_id};
	wait_for_status($node, $id, 'generating');
	is(status_of($node, $id)->{message}, 'AI is generating', 'a running job says so');
	is(status_of($node, $id)->{queue_position}, undef, 'and has no place in the queue');
	$fal->command($request, 'finish');
	wait_for_status($node, $id, 'completed');
	is(sql($node, "SELECT string_agg(status, ' ' ORDER BY n) FROM seen"),
		'queued generating processing completed', 'each status is written once, in order');
	sql($node, 'DROP TRIGGER note_status ON vibelogs');
}

# -- refused before anything is sent ------------------------------------------------
{
	my $before = $fal->ledger->{requests}{submit};
	my $blank = new_row($node, " \t\n ");
	my $long = new_row($node, 'x' x 2001);
	my $nothing = (split /\n/, sql($node, 'INSERT INTO vibelogs DEFAULT VALUES RETURNING id'))[0];
	my ($state, $text);

	($state, $text) = sql_error($node, "SELECT vibevideo_submit('00000000-0000-0000-0000-000000000001')");
	is($state, 'PT404', 'a row that does not exist: 404');
	like($text, qr/there is no row with this key\nDETAIL:  Table public\.vibelogs has no row with key "00000000-0000-0000-0000-000000000001"\.$/m, 'which the detail names');
	($state, $text) = sql_error($node, 'SELECT vibevideo_submit(NULL)');
	is($state, '22004', 'a null key');
	($state, $text) = sql_error($node, "SELECT vibevideo_submit('$blank')");
	is($state, '22023', 'a blank prompt');
	($state, $text) = sql_error($node, "SELECT vibevideo_submit('$nothing')");
	is($state, '22023', 'no prompt');
	like($text, qr/HINT:  Fill in column prompt/, 'the hint names the column');
	($state, $text) = sql_error($node, "SELECT vibevideo_submit('$long')");
	is($state, '22023', 'a prompt of 2001 characters');
	like($text, qr/2001 characters, but model "fal-ai\/minimax\/video-01" accepts at most 2000/, 'with both numbers');
	($state, $text) = sql_error($node, "SELECT vibevideo_status('00000000-0000-0000-0000-000000000001')");
	is($state, 'PT404', 'the status of a row that does not exist: 404');
	is($fal->ledger->{requests}{submit}, $before, 'nothing of this was sent');
	is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id IN ('$blank', '$long', '$nothing')"),
		'0', 'and no job is left');

	my $umlauts = new_row($node, "\xc3\xa4" x 2000);
	is(submit($node, $umlauts)->{status}, 'queued', '2000 characters of two bytes are not too long');
	wait_for_status($node, $umlauts, 'completed');
}

# -- not configured ------------------------------------------------------------------
{
	my $id = new_row($node, 'no key');
	my ($state, $text) = sql_error($node, "SET vibevideo.fal_key = ''; SELECT vibevideo_submit('$id')");

	is($state, '55000', 'no key');
	like($text, qr/no fal\.ai API key is configured/, 'the message says so');
	is(job_of_or_none($id), '0', 'and no job is left');

	sql($node, 'SELECT vibevideo.detach(force => true)');
	($state, $text) = sql_error($node, "SELECT vibevideo_submit('$id')");
	is($state, '55000', 'no table is attached');
	like($text, qr/HINT:  Attach the app's table, for example with SELECT vibevideo\.attach/, 'the hint says how');
	sql($node, "SELECT vibevideo.attach('vibelogs')");
}

sub job_of_or_none
{
	return sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$_[0]'");
}

# -- other inputs ----------------------------------------------------------------------
{
	sql($node,
		"SELECT vibevideo.attach('vibelogs', image_column => 'image', model => 'fal-ai/minimax/video-01/image-to-video')");
	my $id = new_row($node, 'with an image');
	my ($state, $text) = sql_error($node, "SELECT vibevideo_submit('$id')");
	is($state, '22023', 'an image model without an image');
	is(scalar($fal->renders('with an image')), 0, 'is not asked');

	sql($node, "UPDATE vibelogs SET image = 'https://example.com/a.png' WHERE id = '$id'");
	submit($node, $id);
	my ($render) = $fal->renders('with an image');
	is($render->{endpoint}, 'fal-ai/minimax/video-01/image-to-video', 'the image model is asked');
	is_deeply($render->{input}, { prompt => 'with an image', image_url => 'https://example.com/a.png' }, 'with the image');
	wait_for_status($node, $id, 'completed');
	video_is_faithful(status_of($node, $id), 'image model');
	cmp_ok($fal->call('GET', "/job/$render->{request_id}")->{counts}{status}, '>', 0, 'and followed under the app\'s path');
}
{
	sql($node, <<'SQL');
CREATE FUNCTION make_input(v vibelogs) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('prompt', upper(v.prompt), 'seed', 7);
SELECT vibevideo.attach('vibelogs', model => 'acme/moving-pictures/v2/fast', input_function => 'make_input');
SQL
	$fal->default(output => 'videos');
	my $id = new_row($node, 'shout');
	submit($node, $id);
	my ($render) = $fal->renders('SHOUT');
	is_deeply($render->{input}, { prompt => 'SHOUT', seed => 7 }, 'an input function makes the input');
	is($render->{endpoint}, 'acme/moving-pictures/v2/fast', 'for a model of the app\'s choice');
	wait_for_status($node, $id, 'completed');
	video_is_faithful(status_of($node, $id), 'custom model');
	$fal->default(output => 'video');
	sql($node, "SELECT vibevideo.detach()");
}

# -- other keys ----------------------------------------------------------------------------
for my $type (qw(bigint integer text))
{
	my $key = $type eq 'text' ? q{it's "odd"/key} : 42;
	my $literal = $type eq 'text' ? q{'it''s "odd"/key'} : 42;

	sql($node, <<"SQL");
CREATE TABLE logs_$type (nr $type PRIMARY KEY, content text);
INSERT INTO logs_$type VALUES ($literal, 'key of type $type');
SELECT vibevideo.attach('logs_$type');
SQL
	my $video = video($node, "vibevideo_submit($literal)");
	is($video->{vibelog_id}, $key, "$type key: submitted");
	wait_for($node, "SELECT video_generation_status FROM logs_$type", 'completed', "$type key: completed", hurry => 1);
	$video = video($node, "vibevideo_status($literal)");
	video_is_faithful($video, "$type key");
	my ($state) = sql_error($node, 'SELECT vibevideo_submit(' . ($type eq 'text' ? q{'none'} : 43) . ')');
	is($state, 'PT404', "$type key: a row that does not exist");
	sql($node, "SELECT vibevideo.detach(); DELETE FROM vibevideo.job");
}

# -- many rows -----------------------------------------------------------------------------
{
	sql($node, "SELECT vibevideo.attach('vibelogs')");
	my $ids = sql($node,
		"WITH new AS (INSERT INTO vibelogs (prompt) SELECT 'one of many ' || n FROM generate_series(1, 20) n RETURNING id) SELECT array_agg(id) FROM new");
	like(sql($node, "SELECT count(*), count(DISTINCT vibelog_id), min(status), max(message) FROM vibevideo_submit_batch('$ids')"),
		qr/^20\|20\|queued\|Waiting to be sent/, 'a batch only takes notes');
	wait_for($node, "SELECT count(*) FROM vibelogs WHERE prompt LIKE 'one of many%' AND video_generation_status = 'completed'",
		'20', 'the worker makes them all', hurry => 1);
	my %renders;
	$renders{ $_->{input}{prompt} }++ for @{ $fal->ledger->{jobs} };
	is_deeply([ grep { $_ ne 1 } values %renders ], [], 'no prompt of this file was rendered twice');
	my %urls = map { $_ => 1 } split /\n/, sql($node, 'SELECT video_url FROM vibelogs WHERE video_url IS NOT NULL');
	is(scalar(keys %urls),
		sql($node, "SELECT count(*) FROM vibelogs WHERE video_generation_status = 'completed'"),
		'each row has a URL of its own');
}

my $ledger = $fal->ledger;
is($ledger->{media_with_authorization}, 0, 'the key never went to the media host');
is($ledger->{requests}{submit}, $ledger->{accepted}, 'no submit was sent in vain');
is($storage->ledger->{uploads}{aborted}, 0, 'no upload was broken off');
unlike(slurp_file($node->logfile), qr/key-secret/, 'the key is not in the log');

done_testing();
