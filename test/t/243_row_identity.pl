
# A job belongs to a row, not to a key: keys are used again, given up and taken
# by others, exchanged and renamed, while jobs run and after they ended.

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
CREATE ROLE app NOLOGIN;
CREATE TABLE vibelogs (id text PRIMARY KEY, owner text, content text);
SELECT vibevideo.attach('vibelogs');
ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON vibelogs USING (owner = current_setting('app.who', true));
GRANT SELECT, INSERT, UPDATE, DELETE ON vibelogs TO app;
GRANT USAGE ON SCHEMA vibevideo TO app;
GRANT EXECUTE ON FUNCTION vibevideo_submit, vibevideo_submit_batch, vibevideo_status, vibevideo_cancel, vibevideo_retry TO app;
SQL

# as an end user, whom row-level security shows his rows only
sub as
{
	my ($user, $statements) = @_;

	return sql($node, "SET ROLE app; SET app.who = '$user'; $statements; RESET ROLE");
}

sub row
{
	my ($key, $owner) = @_;

	sql($node, "INSERT INTO vibelogs (id, owner, content) VALUES ('$key', '$owner', '$owner: $key')");
	return $key;
}

# what is in a row: status and whose video
sub row_of
{
	my ($key) = @_;

	return sql($node, "SELECT r.video_generation_status, j.input ->> 'prompt' FROM vibelogs r"
		  . " LEFT JOIN vibevideo.job j ON j.video_url = r.video_url WHERE r.id = '$key'");
}

sub request_of
{
	my ($key) = @_;

	return sql($node, "SELECT video_request_id FROM vibelogs WHERE id = '$key'");
}

# a job at fal whose render is held; its request id
sub held
{
	my ($key, $owner) = @_;

	row($key, $owner);
	$fal->rule("^$owner: $key\$", hold => 'queue');
	as($owner, "SELECT FROM vibevideo_submit('$key')");
	return request_of($key);
}

sub finish
{
	my ($request) = @_;

	$fal->command($request, 'finish');
	return;
}

sub made
{
	my ($request, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_for($node, "SELECT state FROM vibevideo.job WHERE request_id = '$request' AND video_url IS NOT NULL", 'completed', $name, hurry => 1);
	wait_for($node, 'SELECT count(*) FROM vibevideo.job j WHERE j.row_dirty AND j.row_tries = 0', '0', 'and its row was looked for', hurry => 1);
	return;
}

# everything Bert can do about his row without asking for a video of his own
sub sees_nothing
{
	my ($key, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(as('bert', "SELECT status, request_id, video_url, message FROM vibevideo_status('$key')"), '|||No video has been requested', "$name: status shows nothing");
	is(as('bert', "SELECT status, request_id, message FROM vibevideo_cancel('$key')"), '||No video has been requested', "$name: cancel, too");
	my ($ok) = (eval { as('bert', "SELECT FROM vibevideo_retry('$key')"); 1 });
	ok(!$ok, "$name: there is nothing to retry");
	sql($node, 'ROLLBACK; RESET ROLE');
	return;
}

# -- the key is used again -------------------------------------------------------------------------
{
	my %again = (
		'deleted and inserted' => q{DELETE FROM vibelogs WHERE id = '%1$s'; INSERT INTO vibelogs (id, owner, content) VALUES ('%1$s', 'bert', 'bert: %1$s')},
		'truncated' => q{CREATE TEMP TABLE others AS SELECT * FROM vibelogs WHERE id <> '%1$s'; TRUNCATE vibelogs; INSERT INTO vibelogs SELECT * FROM others; DROP TABLE others;
			INSERT INTO vibelogs (id, owner, content) VALUES ('%1$s', 'bert', 'bert: %1$s')},
		'given up and taken' => q{UPDATE vibelogs SET id = 'old %1$s' WHERE id = '%1$s'; INSERT INTO vibelogs (id, owner, content) VALUES ('%1$s', 'bert', 'bert: %1$s')});
	my $n = 0;

	for my $how (sort keys %again)
	{
		my $key = 'reused' . ++$n;
		my $request = held($key, 'anna');

		(my $sql = $again{$how}) =~ s/%1\$s/$key/g;
		sql($node, $sql);
		sees_nothing($key, "$how, at fal");
		finish($request);
		made($request, "$how: the first user's video is made");
		is(row_of($key), '|', "$how: and is not written into the second user's row");
		sees_nothing($key, "$how, made");
		is(row_of("old $key"), "completed|anna: $key", 'it is in the one that it was made for') if $how =~ /taken/;
		is(as('bert', "SELECT status, attempt FROM vibevideo_submit('$key')"), 'queued|1', "$how: the second user gets a first attempt of his own");
		wait_for($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$key'", 'completed', "$how: his video", hurry => 1);
		is(row_of($key), "completed|bert: $key", "$how: is his");
		is(as('anna', "SELECT status FROM vibevideo_status('old $key')"), 'completed', 'and the first user still sees hers') if $how =~ /taken/;
	}
}

# -- he asks while the job of the row before is under way -----------------------------------------------
{
	my $request = held('busy', 'anna');

	sql($node, q{DELETE FROM vibelogs WHERE id = 'busy'});
	row('busy', 'bert');
	like(as('bert', q{SELECT status, request_id <> '} . $request . q{' FROM vibevideo_submit('busy')}), qr/^queued\|t$/, 'a key in use: he gets a job of his own at once');
	wait_for($node, q{SELECT video_generation_status FROM vibelogs WHERE id = 'busy'}, 'completed', 'and his video', hurry => 1);
	is(row_of('busy'), 'completed|bert: busy', 'which is his');
	finish($request);
	made($request, 'the one before is followed to its end');
	is(row_of('busy'), 'completed|bert: busy', 'which changes nothing in his row');

	my @batch = map { held($_, 'anna') } qw(batch1 batch2);
	sql($node, q{DELETE FROM vibelogs WHERE id IN ('batch1', 'batch2')});
	row($_, 'bert') for qw(batch1 batch2 batch3);
	is(as('bert', q{SELECT string_agg(attempt || ' ' || status, ',' ORDER BY vibelog_id) FROM vibevideo_submit_batch('{batch1,batch2,batch3}')}),
		'1 queued,1 queued,1 queued', 'the same for many');
	for my $key (qw(batch1 batch2 batch3))
	{
		wait_for($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$key'", 'completed', "$key is made", hurry => 1);
		is(row_of($key), "completed|bert: $key", "and is his");
	}
	finish($_) for @batch;
	made($_, 'those before as well') for @batch;
}

# -- a key is renamed, two are exchanged, three go round ----------------------------------------------------
for my $when ('at fal', 'made')
{
	(my $t = $when) =~ s/\W//g;
	my @keys = map { "$_$t" } qw(a b c d e f);
	my %request = map { $_ => held($_, 'anna') } @keys;

	if ($when eq 'made')
	{
		finish($_) for values %request;
		made($_, 'a video') for values %request;
	}
	# a: renamed; b, c: exchanged; d, e, f: round
	sql($node, sprintf(q{UPDATE vibelogs SET id = 'new a%1$s' WHERE id = 'a%1$s';
		UPDATE vibelogs SET id = 'x' WHERE id = 'b%1$s'; UPDATE vibelogs SET id = 'b%1$s' WHERE id = 'c%1$s'; UPDATE vibelogs SET id = 'c%1$s' WHERE id = 'x';
		UPDATE vibelogs SET id = 'x' WHERE id = 'd%1$s'; UPDATE vibelogs SET id = 'd%1$s' WHERE id = 'e%1$s'; UPDATE vibelogs SET id = 'e%1$s' WHERE id = 'f%1$s';
		UPDATE vibelogs SET id = 'f%1$s' WHERE id = 'x'}, $t));
	my %now = ("new a$t" => "a$t", "b$t" => "c$t", "c$t" => "b$t", "d$t" => "e$t", "e$t" => "f$t", "f$t" => "d$t");
	my $is = $when eq 'made' ? 'completed' : 'queued';

	for my $key (sort keys %now)
	{
		is(as('anna', "SELECT vibelog_id, status, request_id FROM vibevideo_status('$key')"), "$key|$is|$request{$now{$key}}", "$when: status of $key is that of its job");
	}
	if ($when eq 'at fal')
	{
		is(as('anna', "SELECT request_id, attempt FROM vibevideo_submit('$_')"), "$request{$now{$_}}|1", "$when: asking again for $_ pays nothing") for "new a$t", "c$t", "e$t";
		finish($_) for values %request;
		made($_, 'a video') for values %request;
	}
	for my $key (sort keys %now)
	{
		wait_for($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$key'", 'completed', "$when: the row $key is written", hurry => 1);
		is(row_of($key), "completed|anna: $now{$key}", "$when: with its own video");
		is(as('anna', "SELECT vibelog_id, status, request_id FROM vibevideo_cancel('$key')"), "$key|completed|$request{$now{$key}}", "$when: and cancel knows it as well");
	}
	is(sql($node, q{SELECT detail FROM vibevideo.check_config() WHERE check_name = 'unwritten_rows'}), 'every row could be written', "$when: nothing is left over");
}

# -- all keys are shifted, round and up ------------------------------------------------------------------------
{
	my @keys = map { sprintf('s%02d', $_) } 10 .. 29;
	my %request = map { $_ => held($_, 'anna') } @keys;
	my $all = q{SELECT count(*), min(attempt), max(attempt), bool_and(b.request_id = v.video_request_id)
		FROM vibevideo_submit_batch(ARRAY(SELECT id FROM vibelogs WHERE id ~ '^s[0-9]')) b JOIN vibelogs v ON v.id = b.vibelog_id};

	sql($node, q{UPDATE vibelogs SET id = 'x' || id WHERE id ~ '^s[0-9]'; UPDATE vibelogs SET id = CASE id WHEN 'xs29' THEN 's10' ELSE 's' || right(id, 2)::int + 1 END WHERE id ~ '^xs'});
	is(as('anna', $all), '20|1|1|t', 'twenty keys go round: each row keeps its job');
	sql($node, q{UPDATE vibelogs SET id = 'x' || id WHERE id ~ '^s[0-9]'; UPDATE vibelogs SET id = 's' || right(id, 2)::int + 1 WHERE id ~ '^xs'});
	row('s10', 'anna');
	is(as('anna', q{SELECT status, attempt FROM vibevideo_submit('s10')}), 'queued|1', 'all are shifted up: the new row at the lowest key has a first attempt');
	is(as('anna', $all), '21|1|1|t', 'and the others keep their jobs');
	$request{'the new one'} = request_of('s10');
	finish($_) for values %request;
	made($_, 'a video') for values %request;
	wait_for($node, q{SELECT count(*) FROM vibelogs v JOIN vibevideo.job j ON j.video_url = v.video_url AND j.request_id = v.video_request_id WHERE v.id ~ '^s[0-9]'},
		'21', 'each row is written with its own video', hurry => 1);
}

# More of them than are sorted in one call, and made: nobody writes these rows again.
{
	my $long = q{SELECT count(*), min(b.status), max(b.attempt), bool_and(b.request_id = v.video_request_id)
		FROM vibevideo_submit_batch(ARRAY(SELECT id FROM vibelogs WHERE id ~ '^l[0-9]' AND id <> 'l1000')) b JOIN vibelogs v ON v.id = b.vibelog_id};

	sql($node, q{INSERT INTO vibelogs (id, owner, content) SELECT 'l' || g, 'anna', 'anna: l' || g FROM generate_series(1000, 1079) g});
	as('anna', q{SELECT FROM vibevideo_submit_batch(ARRAY(SELECT id FROM vibelogs WHERE id ~ '^l[0-9]'))});
	wait_for($node, q{SELECT count(*) FROM vibelogs WHERE id ~ '^l[0-9]' AND video_generation_status = 'completed'}, '80', 'eighty videos', hurry => 1);
	sql($node, q{ALTER SYSTEM SET vibevideo.resubmit_completed = off; SELECT pg_reload_conf()});
	sql($node, q{UPDATE vibelogs SET id = 'x' || id WHERE id ~ '^l[0-9]'; UPDATE vibelogs SET id = 'l' || right(id, 4)::int + 1 WHERE id ~ '^xl'});
	row('l1000', 'anna');
	is(as('anna', q{SELECT status, attempt FROM vibevideo_submit('l1000')}), 'queued|1', 'eighty keys are shifted up: the new row at the lowest key has a first attempt');
	wait_for($node, 'SHOW vibevideo.resubmit_completed', 'off', 'what is completed is returned');
	is(as('anna', $long), '80|completed|1|t', 'and the others have their own jobs, all of them');
	wait_for($node, q{SELECT video_generation_status FROM vibelogs WHERE id = 'l1000'}, 'completed', 'the new one is made', hurry => 1);
	sql($node, q{ALTER SYSTEM RESET vibevideo.resubmit_completed; SELECT pg_reload_conf()});
	wait_for($node, 'SHOW vibevideo.resubmit_completed', 'on', 'as before');
}

# -- noted while fal is down: the row is written after the job's reason --------------------------------------
{
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE state IN ('submitting', 'queued', 'generating')}, '0', 'nothing is at fal', hurry => 1);
	sql($node, q{ALTER SYSTEM SET vibevideo.max_active = 1; SELECT pg_reload_conf()});
	wait_for($node, 'SHOW vibevideo.max_active', '1', 'there is room for one');
	my $request = held('first', 'anna');
	row('second', 'anna');
	is(as('anna', q{SELECT status, error_code FROM vibevideo_submit('second')}), 'queued|fal_busy', 'one that waits, with a reason');
	sql($node, q{ALTER SYSTEM RESET vibevideo.max_active; SELECT pg_reload_conf()});
	wait_for($node, 'SHOW vibevideo.max_active', '0', 'there is room for all');
	finish($request);
	wait_for($node, q{SELECT video_generation_status FROM vibelogs WHERE id = 'second'}, 'completed', 'is written when it is made', hurry => 1);
}

# -- an older version of the row is put back, as by an app's own undo --------------------------------------------
{
	my $first = held('undone', 'anna');

	finish($first);
	wait_for($node, q{SELECT video_generation_status FROM vibelogs WHERE id = 'undone'}, 'completed', 'a first video', hurry => 1);
	sql($node, q{CREATE TABLE versions AS SELECT * FROM vibelogs WHERE id = 'undone'});
	as('anna', q{SELECT FROM vibevideo_submit('undone')});
	my $second = request_of('undone');
	sql($node, q{UPDATE vibelogs v SET (video_request_id, video_generation_status, video_url) = (o.video_request_id, o.video_generation_status, o.video_url)
		FROM versions o WHERE v.id = 'undone'});
	is(as('anna', q{SELECT request_id, attempt FROM vibevideo_submit('undone')}), "$second|2", 'the job of the newer version is known');
	finish($second);
	wait_for($node, q{SELECT v.video_request_id FROM vibelogs v JOIN vibevideo.job j USING (video_url) WHERE v.id = 'undone' AND j.attempt = 2}, $second, 'and its video comes', hurry => 1);
}

# -- a collation that takes one key for another -------------------------------------------------------------------
{
	sql($node, <<'SQL');
SELECT vibevideo.detach(force => true);
CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE slugs (id text COLLATE any_case PRIMARY KEY, content text);
INSERT INTO slugs VALUES ('Summer', 'a slug');
SELECT vibevideo.attach('slugs');
SQL
	$fal->rule('^a slug$', hold => 'queue');
	my $request = sql($node, q{SELECT request_id FROM vibevideo_submit('Summer')});
	sql($node, q{UPDATE slugs SET id = 'summer'});
	is(sql($node, q{SELECT vibelog_id, request_id FROM vibevideo_status('SUMMER')}), "summer|$request", 'a key in other letters is that of the same row');
	is(sql($node, q{SELECT request_id, attempt FROM vibevideo_submit('SUMMER')}), "$request|1", 'and pays for nothing');
	finish($request);
	wait_for($node, 'SELECT video_generation_status FROM slugs', 'completed', 'it is made', hurry => 1);
	sql($node, q{SELECT vibevideo.detach(); SELECT vibevideo.attach('vibelogs')});
}

# -- only its own row has it ---------------------------------------------------------------------------------
{
	my $request = held('original', 'anna');

	row('copy', 'bert');
	sql($node, "UPDATE vibelogs SET video_request_id = '$request', video_generation_status = 'queued' WHERE id = 'copy'");
	is(as('bert', q{SELECT status, request_id FROM vibevideo_status('copy')}), '|', 'a request id that somebody has put into his row does not show him the job');
	is(as('bert', q{SELECT status FROM vibevideo_cancel('copy')}), '', 'nor can he cancel it');
	finish($request);
	made($request, 'it is made');
	is(row_of('original'), 'completed|anna: original', 'for its own row');
	is(row_of('copy'), 'queued|', 'not for his');
}

# -- what cannot be found is reported ---------------------------------------------------------------------------
{
	my $request = held('cleared', 'anna');

	sql($node, q{UPDATE vibelogs SET video_request_id = NULL, video_generation_status = NULL WHERE id = 'cleared'});
	finish($request);
	wait_for($node, "SELECT state, row_dirty FROM vibevideo.job WHERE request_id = '$request' AND row_error LIKE '%does not bear%'", 'completed|t', 'a row that lost its request id', hurry => 1);
	like(sql($node, q{SELECT status, detail FROM vibevideo.check_config() WHERE check_name = 'unwritten_rows'}), qr/^warn\|.*does not bear/, 'is reported by check_config');
	sql($node, "UPDATE vibelogs SET video_request_id = '$request' WHERE id = 'cleared'; UPDATE vibevideo.job SET row_next_at = now() WHERE row_dirty; SELECT vibevideo.wake()");
	wait_for($node, q{SELECT video_generation_status FROM vibelogs WHERE id = 'cleared'}, 'completed', 'and gets its video once it bears it again');
}

done_testing();
