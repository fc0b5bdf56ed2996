# Erasing videos: what is to be erased is queued with what asks for it, and goes, from
# Storage and from fal.ai, whatever goes wrong meanwhile; receipts say what went.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal(default => { queue_ms => 0, run_ms => 0 });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, init => { allows_streaming => 1 }, conf => {
	'vibevideo.poll_interval' => '100ms', 'vibevideo.max_tries' => 2, 'vibevideo.max_renders' => 1,
	'vibevideo.fal_admin_key' => $fal->admin_key });

# made(prompt, state) - the row of a job that has come to a state.
sub made
{
	my ($prompt, $state) = @_;
	my $id = new_row($node, $prompt);

	submit($node, $id);
	wait_for_status($node, $id, $state || 'completed');
	return $id;
}

sub job_id
{
	return sql($node, "SELECT max(job_id) FROM vibevideo.job WHERE vibelog_id = '$_[0]'");
}

# What is left to do, made due: a test has no time for patience.
sub due
{
	sql($node, 'UPDATE vibevideo.erasure SET next_at = now() WHERE next_at > now(); SELECT vibevideo.wake()');
	return 1;
}

# erased(job, name) - until nothing of it is left to do.
sub erased
{
	my ($job, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_for($node, "SELECT count(*) FILTER (WHERE erased_at IS NOT NULL), (SELECT count(*) FROM vibevideo.erasure WHERE job_id = $job) FROM vibevideo.job WHERE job_id = $job",
		'1|0', $name);
}

sub receipts
{
	return sql($node, "SELECT string_agg(concat_ws(' ', what, answer, http_status, reason), ', ' ORDER BY what DESC, receipt_id) FROM vibevideo.receipt WHERE job_id = $_[0]");
}

# asked(what) - how often Storage or fal.ai was asked to delete something
sub asked
{
	return { storage => $storage->ledger->{requests}{remove} || 0, s3 => $storage->ledger->{requests}{s3_delete} || 0, fal => $fal->ledger->{requests}{erase} || 0 }->{ $_[0] };
}

# -- by hand ---------------------------------------------------------------------------------
{
	my $id = made('a cat');
	my $job = job_id($id);
	my $url = sql($node, "SELECT video_url FROM vibelogs WHERE id = '$id'");

	ok($storage->object($id), 'a video is stored');
	is(sql($node, "SELECT vibevideo.erase($job)"), 't', 'it is to be erased');
	erased($job, 'it is');
	ok(!$storage->object($id), 'its file is gone');
	is(receipts($job), 'storage deleted 200 operator, fal deleted 200 operator', 'and there are receipts');
	is(sql($node, "SELECT count(*) FROM vibevideo.receipt r JOIN vibevideo.job j USING (job_id) WHERE j.job_id = $job AND (r.name = 'videos/' || j.object_key OR r.name = j.request_id) AND r.asked_by = (SELECT who FROM vibevideo.audit WHERE action = 'erase')"),
		2, 'which say what it was, and who asked');
	is(sql($node, "SELECT video_url = '$url' AND video_generation_status = 'completed' FROM vibelogs WHERE id = '$id'"), 't', 'the row says what it said');
	is(sql($node, "SELECT status, video_url, message FROM vibevideo_status('$id')"), 'completed||Your video was deleted', 'the functions do not');
	is(sql($node, "SELECT (job_detail).erased_at IS NOT NULL FROM vibevideo.job_detail($job)"), 't', 'nor what operators see');
	is(sql($node, "SELECT action, arguments, jobs, outcome FROM vibevideo.audit WHERE action = 'erase'"), qq{erase|{"job": $job}|1|{"state": "completed"}}, 'it is in the audit');

	# again: all of it is gone, which is as good
	sql($node, "SELECT vibevideo.erase($job)");
	erased($job, 'it can be erased again');
	is(receipts($job), 'storage deleted 200 operator, storage gone 400 operator, fal deleted 200 operator, fal gone 404 operator', 'what is gone counts as done');

	# its row can have another video
	my $before = scalar $fal->renders('a cat');
	sql($node, "SELECT vibevideo_retry('$id')");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id' AND job_id > $job", 'completed', 'a retry makes another one');
	is(scalar $fal->renders('a cat'), $before + 1, 'which is rendered');
}

for my $case ([ 'NULL', [ '22004', 'job must not be null' ] ], [ '1000000', [ 'PT404', 'there is no job 1000000' ] ])
{
	my ($argument, $wanted) = @$case;

	my ($code, $error) = sql_error($node, "SELECT vibevideo.erase($argument)");

	is($code, $wanted->[0], "erase($argument)");
	like($error, qr/: \Q$wanted->[1]\E$/m, 'and why not');
}

# -- whatever goes wrong -------------------------------------------------------------------------
for my $case (
	[ 'a 503', ({ kind => 'http', status => 503, body => { detail => 'later' } }) x 2 ],
	[ 'a page', ({ kind => 'http', status => 200, body => '<html>' }) x 2 ],
	[ 'no word of it', { kind => 'http', status => 200, body => {} }, { kind => 'http', status => 200, body => { cdn_delete_results => [ { link => 'x', exception => undef }, { link => 'y', exception => 'no' } ] } } ],
	[ 'a 404 of no service', ({ kind => 'http', status => 404, body => { detail => 'Not Found' } }) x 2 ],
	[ 'an answer that is lost', { kind => 'commit_then_drop' }, { kind => 'reset_after' } ],
	[ 'a connection that breaks', { kind => 'reset' }, { kind => 'reset_before' } ])
{
	my ($name, $at_storage, $at_fal) = @$case;
	my $id = made("after $name");
	my $job = job_id($id);

	$storage->fault('remove', $at_storage);
	$fal->fault('erase', $at_fal);
	sql($node, "SELECT vibevideo.erase($job)");
	wait_for($node, "SELECT count(*) FROM vibevideo.erasure WHERE job_id = $job AND tries = 1 AND error_code IS NOT NULL AND next_at > now() + interval '20 seconds'", '2', "$name: it is tried again later");
	due();
	erased($job, "$name: and done then");
	ok(!$storage->object($id), "$name: the file is gone");
	is(sql($node, "SELECT count(*), min(tries), max(tries) FROM vibevideo.receipt WHERE job_id = $job"), '2|2|2', "$name: with the second request");
	$_->clear_faults for $storage, $fal;
}

# a server that crashes with a request under way
{
	my $id = made('a crash');
	my $job = job_id($id);

	$storage->fault('remove', 'hang');
	sql($node, "SELECT vibevideo.erase($job)");
	wait_until(sub { $storage->hits == 1 }, 'a request is under way');
	$node->stop('immediate');
	$storage->clear_faults;
	$node->start;
	due();
	erased($job, 'it is asked for again after a crash');
	ok(!$storage->object($id), 'the file is gone');
}

# a Storage that does not answer delays nothing at fal.ai
{
	my @jobs = map { job_id(made("slow $_")) } 1 .. 3;

	$storage->fault('remove', 'hang', times => 3);
	sql($node, "SELECT vibevideo.erase(unnest(ARRAY[" . join(', ', @jobs) . "]))");
	wait_for($node, "SELECT string_agg(what || ' ' || answer, ', ') FROM vibevideo.receipt WHERE job_id IN (" . join(', ', @jobs) . ')',
		'fal deleted, fal deleted, fal deleted', 'while Storage is silent fal.ai is asked');
	is(sql($node, "SELECT sum(tries) FROM vibevideo.erasure WHERE what = 'storage'"), 1, 'with one request open at Storage');
	$node->restart;
	$storage->clear_faults;
	due();
	erased($_, 'the files follow') for @jobs;
}

# -- keys ---------------------------------------------------------------------------------------
{
	my $id = made('no key');
	my $job = job_id($id);
	my $before = asked('fal');

	configure($node, fal_admin_key => '', storage_key => $storage->{ready}{anon_jwt});
	sql($node, "SELECT vibevideo.erase($job)");
	wait_for($node, "SELECT count(*) FROM vibevideo.erasure WHERE job_id = $job AND error_code = 'no_key' AND stuck", '2', 'without keys it waits');
	is(asked('fal'), $before, 'and nobody is asked');
	like(sql($node, q{SELECT string_agg(subject || ': ' || sentence || ' ' || action, E'\n' ORDER BY subject) FROM vibevideo.inbox() WHERE kind = 'erasure'}),
		qr/^files in Storage: One of them cannot be erased: .*It is tried again at least once an hour\. SELECT \* FROM vibevideo\.erasure WHERE error_code = 'no_key';\nwhat fal\.ai keeps: .*scope ADMIN/, 'the inbox says so');
	configure($node, fal_admin_key => 'no:such');
	due();
	wait_for($node, "SELECT error_code, stuck FROM vibevideo.erasure WHERE job_id = $job AND what = 'fal' AND error_code <> 'no_key'", qr/\|t$/, 'a wrong one is refused');
	ok($storage->object($id), 'nothing is erased meanwhile');
	configure($node, fal_admin_key => $fal->admin_key, storage_key => $storage->{ready}{service_jwt});
	due();
	erased($job, 'with the right ones it is done');
	ok(!$storage->object($id), 'the file is gone');
}

# -- jobs that have no end yet -------------------------------------------------------------------
{
	$fal->rule('^under way$', hold => 'run');
	my $id = made('under way', 'generating');
	my $job = job_id($id);

	is(sql($node, "SELECT vibevideo.erase($job)"), 't', 'one that is rendered is to be erased');
	wait_for($node, "SELECT state FROM vibevideo.job WHERE job_id = $job", 'cancelled', 'it is cancelled first');
	due();
	wait_for($node, "SELECT erased_at IS NOT NULL FROM vibevideo.job WHERE job_id = $job", 't', 'then what it has left goes');
	due();
	erased($job, 'all of it');
	is(receipts($job), 'fal deleted 200 operator', 'which was its input at fal.ai');
}
{
	my $id = new_row($node, 'not sent');

	sql($node, "SELECT vibevideo.pause('sending')");
	submit($node, $id);
	my $job = job_id($id);
	sql($node, "SELECT vibevideo.erase($job)");
	wait_for($node, "SELECT state, erased_at IS NOT NULL, (SELECT count(*) FROM vibevideo.erasure WHERE job_id = $job) FROM vibevideo.job WHERE job_id = $job", 'cancelled|t|0', 'one that was not sent has left nothing');
	is(receipts($job), '', 'and there is no receipt');
	sql($node, 'SELECT vibevideo.resume()');
}

# one whose copy fails may have left a file, under any of five names
{
	my $id = new_row($node, 'half there');

	$storage->fault('upload', 'commit_then_drop', times => 2);
	submit($node, $id);
	wait_for_status($node, $id, 'failed');
	my $job = job_id($id);
	ok($storage->object($id), 'a failed job has left a file');
	sql($node, "SELECT vibevideo.erase($job)");
	wait_for($node, "SELECT count(*) FROM vibevideo.erasure WHERE job_id = $job AND what = 'storage' AND next_at BETWEEN now() + interval '4 minutes' AND now() + interval '5 minutes'", '5', 'it may still be arriving');
	due();
	erased($job, 'later it is erased');
	ok(!$storage->object($id), 'with that');
	is(sql($node, qq{SELECT string_agg(DISTINCT split_part(f.object_key, '/', 1), ' ' ORDER BY split_part(f.object_key, '/', 1)) FROM vibevideo.job j CROSS JOIN (VALUES (''), ('a/../b'), (chr(228) || chr(92)), (repeat('x', 200))) AS k(key) CROSS JOIN LATERAL vibevideo_internal.files_of(jsonb_populate_record(j, jsonb_build_object('vibelog_id', k.key))) f WHERE j.job_id = $job}),
		join(' ', sort '_', '___', 'a____b', 'x' x 128), 'under names as the worker makes them');
	is(sql($node, "SELECT count(*), count(*) FILTER (WHERE answer = 'deleted' AND what = 'storage') FROM vibevideo.receipt WHERE job_id = $job"), '6|1', 'whatever its name');
	is(sql($node, "SELECT count(*) FROM vibevideo.inbox() WHERE job_id = $job"), '0', 'nobody is asked to copy it again');
	like((sql_error($node, "UPDATE vibevideo.job SET state = 'processing' WHERE job_id = $job"))[1], qr/cannot go from state/, 'and nobody can');
	$storage->clear_faults;
}

# -- where and when -------------------------------------------------------------------------------
# the job's row is not needed
{
	my $id = made('forgotten');
	my $job = job_id($id);

	$storage->fault('remove', { kind => 'http', status => 503 });
	sql($node, "SELECT vibevideo.erase($job)");
	wait_for($node, "SELECT count(*) FROM vibevideo.erasure WHERE job_id = $job AND what = 'storage' AND tries > 0 AND error_code IS NOT NULL", '1', 'it waits');
	sql($node, "DELETE FROM vibevideo.job WHERE job_id = $job");
	$storage->clear_faults;
	due();
	wait_for($node, "SELECT count(*) FROM vibevideo.receipt WHERE job_id = $job", '2', 'and goes without its job');
	ok(!$storage->object($id), 'the file is gone');
}

# one that fails keeps no other from its turn
{
	my @jobs = map { job_id(made($_)) } 'fails', 'goes';

	sql($node, "ALTER TABLE vibevideo.job ADD CONSTRAINT broken CHECK (job_id <> $jobs[0] OR erased_at IS NULL) NOT VALID");
	sql($node, "SELECT vibevideo.erase($_)") for @jobs;
	erased($jobs[1], 'a job is erased while another cannot be');
	like(sql($node, "SELECT what, error_code, stuck, error FROM vibevideo.erasure WHERE job_id = $jobs[0]"), qr/^job\|internal\|t\|.*"broken"/, 'which says why');
	is(sql($node, "SELECT count(*) FROM vibevideo.inbox() WHERE kind = 'erasure' AND sentence LIKE '%broken%'"), '1', 'in the inbox');
	sql($node, 'ALTER TABLE vibevideo.job DROP CONSTRAINT broken');
	due();
	erased($jobs[0], 'it goes once it can');
}

# a video that was an orphan's may get another number before it is erased
{
	my $id = new_row($node, 'renumbered');

	$storage->fault('upload', { kind => 'http', status => 503 }, times => 9);
	submit($node, $id);
	wait_for_status($node, $id, 'failed');
	my $job = job_id($id);
	$storage->clear_faults;
	sql($node, "SET session_replication_role = replica; UPDATE vibevideo.job SET orphan = true WHERE job_id = $job; RESET session_replication_role");
	sql($node, "SELECT vibevideo.pause('all')");
	submit($node, $id);
	sql($node, "SELECT vibevideo_cancel('$id'); SELECT vibevideo.erase($job); SELECT vibevideo_retry('$id')");
	is(sql($node, "SELECT count(*) FROM vibevideo.job j JOIN vibevideo.erasure e USING (job_id) WHERE j.vibelog_id = '$id' AND j.job_id > $job AND j.media_url IS NOT NULL"), '1', 'what is to be erased follows its number');
	sql($node, 'SELECT vibevideo.resume()');
	wait_until(sub { due(); hurry($node); sql($node, "SELECT erased_at IS NOT NULL AND NOT EXISTS (SELECT FROM vibevideo.erasure) FROM vibevideo.job WHERE vibelog_id = '$id' AND media_url IS NOT NULL") eq 't' }, 'and is erased');
	ok(!$storage->object($id), 'its file, too');
}

# another bucket since: the URL says where it is
{
	my $id = made('moved house');
	my $job = job_id($id);

	configure($node, storage_bucket => 'elsewhere');
	sql($node, "SELECT vibevideo.erase($job)");
	erased($job, 'it is found in the bucket that it was stored in');
	ok(!$storage->object($id), 'and erased');
	configure($node, storage_bucket => 'videos');
}

# while everything is paused, or in a copy, nothing is erased
{
	my $id = made('a pause');
	my $job = job_id($id);
	my $before = asked('storage');

	sql($node, "SELECT vibevideo.pause('all')");
	is(sql($node, "SELECT vibevideo.erase($job), vibevideo.erase($job)"), 't|f', 'it is noted, once');
	hurry($node) for 1 .. 3;
	is(asked('storage'), $before, 'nothing is erased in a pause');
	sql($node, 'UPDATE vibevideo.binding SET pause_scope = NULL');
	hurry($node) for 1 .. 3;
	is(asked('storage'), $before, 'nor in a copy');
	is((sql_error($node, "SELECT vibevideo.erase($job)"))[0], '55000', 'which takes nothing');
	sql($node, 'SELECT vibevideo.resume()');
	erased($job, 'but afterwards');
}

# by S3
{
	my $id = made('by S3');
	my $job = job_id($id);

	configure($node, storage_kind => 's3', storage_url => $storage->url . '/s3', storage_key => $storage->{ready}{s3_key}, storage_region => 'local');
	sql($node, "SELECT vibevideo.erase($job)");
	erased($job, 'by S3');
	ok(!$storage->object($id), 'the file is gone');
	is(receipts($job), 'storage deleted 204 operator, fal deleted 200 operator', 'S3 says so');
	is(asked('s3'), 1, 'with one request');
	configure($node, storage_kind => 'supabase', storage_url => $storage->url, storage_key => $storage->{ready}{service_jwt});
}

# -- with their rows ---------------------------------------------------------------------------------
like((sql_error($node, q{SELECT vibevideo.attach('vibelogs', on_delete => 'maybe')}))[1], qr/ERROR:  22023: on_delete must be keep or erase$/m, 'on_delete is keep or erase');
{
	my $id = made('kept');
	my $job = job_id($id);

	sql($node, "DELETE FROM vibelogs WHERE id = '$id'");
	hurry($node) for 1 .. 2;
	is(sql($node, "SELECT count(*) FROM vibevideo.erasure"), '0', 'without it videos of deleted rows stay');
	ok($storage->object($id), 'in Storage');
}
like(sql($node, q{SELECT vibevideo.attach('vibelogs', on_delete => 'erase')}), qr/, videos of deleted rows are erased$/, 'with it');
is(sql($node, q{SELECT status, detail FROM vibevideo.check_config() WHERE check_name = 'on_delete'}), 'ok|the videos of rows that are deleted are erased', 'check_config says so');
configure($node, fal_admin_key => '');
like(sql($node, q{SELECT status, detail FROM vibevideo.check_config() WHERE check_name = 'on_delete'}), qr/^warn\|.*but not what fal\.ai keeps, which takes a key of scope ADMIN$/, 'and what is missing');
configure($node, fal_admin_key => $fal->admin_key);
{
	my ($id, $other) = (made('a dog'), made('another dog'));
	my $job = job_id($id);

	is(try_rollback("DELETE FROM vibelogs WHERE id = '$id'"), '1', 'a job is noted when its row is deleted');
	is(sql($node, 'SELECT count(*) FROM vibevideo.erasure'), '0', 'and not when that is rolled back');
	sql($node, "DELETE FROM vibelogs WHERE id = '$id'");
	erased($job, 'after the commit its video is erased');
	ok(!$storage->object($id), 'its file is gone');
	ok($storage->object($other), "and nobody else's");
	is(receipts($job), 'storage deleted 200 row, fal deleted 200 row', 'with receipts');
	sql($node, "DELETE FROM vibelogs WHERE id = '$other'");
	erased(job_id($other), 'so goes another one');
}

# in one transaction what it does; what was noted before it
sub try_rollback
{
	my ($sql) = @_;

	return (split /\n/, sql($node, "BEGIN; $sql; SELECT count(*) FROM vibevideo.erasure WHERE reason = 'row'; ROLLBACK"))[-1];
}

# all attempts of many rows, and what has no video
{
	my @ids = map { made("many $_") } 1 .. 3;
	my $none = new_row($node, 'none');

	sql($node, "SELECT vibevideo_submit('$ids[0]')");
	wait_for_status($node, $ids[0], 'completed');
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$ids[0]' AND state = 'completed'", '2', 'a row has two videos');
	is(try_rollback('DELETE FROM vibelogs WHERE id IN (' . join(', ', map { "'$_'" } @ids, $none) . ')'), '4', 'one statement, all attempts');
	is(try_rollback('TRUNCATE vibelogs') >= 4, 1, 'TRUNCATE, too');
	is(try_rollback("DELETE FROM vibelogs WHERE id = '$none'"), '0', 'nothing of a row without a video');
	is(try_rollback('DELETE FROM vibelogs WHERE false'), '0', 'or of no row');
	sql($node, 'DELETE FROM vibelogs WHERE id IN (' . join(', ', map { "'$_'" } @ids) . ')');
	wait_for($node, 'SELECT count(*) FROM vibevideo.erasure', '0', 'they are erased');
	is((grep { $storage->object($_) } @ids) + 0, 0, 'all their files');
}

# who deletes needs no more rights than for that, and gets none
{
	my ($id, $foreign) = (made('mine'), made('foreign'));

	sql($node, q{CREATE ROLE eve; GRANT SELECT, DELETE, INSERT, UPDATE ON vibelogs TO eve});
	sql($node, q{ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON vibelogs TO eve USING (prompt = 'mine')});
	is(try_rollback('SET LOCAL ROLE eve; DELETE FROM vibelogs; RESET ROLE'), '1', 'what policies let nobody delete is not noted');
	sql($node, "SET ROLE eve; DELETE FROM vibelogs WHERE id = '$id'; RESET ROLE");
	sql($node, 'DROP POLICY own ON vibelogs; ALTER TABLE vibelogs DISABLE ROW LEVEL SECURITY');
	erased(job_id($id), 'a user without any rights of ours deletes a row');
	is(sql($node, 'SELECT DISTINCT asked_by ~ \'eve\' FROM vibevideo.receipt WHERE job_id = ' . job_id($id)), 't', 'the receipts say who');
	like((sql_error($node, 'SET ROLE eve; SELECT vibevideo_internal.rows_deleted()'))[1], qr/permission denied for schema vibevideo_internal/, 'the trigger is not for him');
	# a row that has only the key is another row
	sql($node, "ALTER TABLE vibelogs DISABLE TRIGGER vibevideo_row_deleted; DELETE FROM vibelogs WHERE id = '$foreign'; ALTER TABLE vibelogs ENABLE TRIGGER vibevideo_row_deleted");
	is(try_rollback("INSERT INTO vibelogs (id) VALUES ('$foreign'); DELETE FROM vibelogs WHERE id = '$foreign'"), '0', 'another row with its key takes no video along');
	ok($storage->object($foreign), 'which is still there');
}

# looked_at() - until the worker knows whether noted rows are gone
sub looked_at
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_for($node, 'SELECT count(*) FROM vibevideo.erasure', '0', $_[0]);
}

# a row that is there again is not gone
{
	my ($id, $other) = (made('there again'), made('reloaded'));

	sql($node, "BEGIN; CREATE TEMP TABLE mine ON COMMIT DROP AS SELECT * FROM vibelogs WHERE id = '$id'; DELETE FROM vibelogs WHERE id = '$id'; INSERT INTO vibelogs SELECT * FROM mine; COMMIT");
	looked_at('what was deleted to insert it anew is looked for');
	ok($storage->object($id), 'and its video stays');
	sql($node, 'BEGIN; CREATE TEMP TABLE mine ON COMMIT DROP AS TABLE vibelogs; TRUNCATE vibelogs; INSERT INTO vibelogs SELECT * FROM mine; COMMIT');
	looked_at('so is a table that was reloaded');
	is((grep { $storage->object($_) } $id, $other) + 0, 2, 'and its videos stay');

	# a copy of a row shows the same video
	sql($node, "CREATE TEMP TABLE copy AS SELECT * FROM vibelogs WHERE id = '$id'; UPDATE copy SET id = gen_random_uuid(), prompt = 'a copy'; INSERT INTO vibelogs SELECT * FROM copy; DELETE FROM vibelogs WHERE id = '$id'");
	looked_at('a row was deleted, and not its copy');
	ok($storage->object($id), 'which shows its video');
	sql($node, "DELETE FROM vibelogs WHERE prompt = 'a copy'");
	erased(job_id($id), 'that goes with the last row that shows it');
	ok(!$storage->object($id), 'from Storage');

	# under another key since
	sql($node, "UPDATE vibelogs SET id = gen_random_uuid(), prompt = 'moved' WHERE id = '$other'");
	sql($node, "DELETE FROM vibelogs WHERE prompt = 'moved'");
	erased(job_id($other), 'a row takes its video along whatever its key has become');
	ok(!$storage->object($other), 'from Storage, too');
}

# nobody has another one's videos erased
{
	my ($theirs, $mine) = (made('theirs'), made('of who pretends'));
	my @jobs = (job_id($theirs));
	my $count = sub { return scalar grep { defined } map { $storage->object($_) } $theirs };

	sql($node, "SELECT vibevideo_submit('$theirs')");
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$theirs' AND state = 'completed' AND NOT row_dirty", '2', 'a row has two videos');
	for my $bears ("(SELECT request_id FROM vibevideo.job WHERE job_id = $jobs[0])", "(SELECT video_request_id FROM vibelogs WHERE id = '$theirs')")
	{
		sql($node, "UPDATE vibelogs v SET video_request_id = $bears, video_url = (SELECT video_url FROM vibelogs WHERE id = '$theirs') WHERE id = '$mine'");
		sql($node, "DELETE FROM vibelogs WHERE id = '$mine'");
		looked_at('a row that bears what is of another one is deleted');
		is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$theirs' AND erased_at IS NULL"), '2', 'the other one keeps its videos');
		sql($node, "INSERT INTO vibelogs (id, prompt) VALUES ('$mine', 'again')");
	}
	sql($node, "DELETE FROM vibelogs WHERE id = '$theirs'");
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$theirs' AND erased_at IS NOT NULL", '2', 'which go with it alone');
	wait_for($node, 'SELECT count(*) FROM vibevideo.erasure', '0', 'both');
}

# where policies hide rows nothing is taken for gone
{
	my $id = made('hidden');
	my $job = job_id($id);

	sql($node, q{CREATE ROLE app; ALTER TABLE vibelogs OWNER TO app; ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY});
	sql($node, "DELETE FROM vibelogs WHERE id = '$id'");
	hurry($node) for 1 .. 2;
	is(sql($node, "SELECT what FROM vibevideo.erasure WHERE job_id = $job"), 'row', 'the worker cannot tell whether rows are there');
	ok($storage->object($id), 'and erases nothing');
	sql($node, q{UPDATE vibevideo.erasure SET next_at = now() - interval '2 hours'});
	like(sql($node, q{SELECT subject || ': ' || sentence FROM vibevideo.inbox() WHERE kind = 'erasure'}), qr/^videos of rows: One of them cannot be erased: whether rows show them cannot be read/, 'which the inbox says');
	sql($node, q{ALTER TABLE vibelogs DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY; ALTER TABLE vibelogs OWNER TO CURRENT_USER; DROP ROLE app});
	erased($job, 'once it can it does');
	ok(!$storage->object($id), 'the file is gone');
}

# an orphan has no row, or one that did not know of it when it was deleted
{
	my ($none, $id) = (sql($node, 'SELECT gen_random_uuid()'), new_row($node, 'still here'));

	sql($node, "BEGIN; INSERT INTO vibelogs (id, prompt) VALUES ('$none', 'never here'); SELECT FROM vibevideo_submit('$none'); ROLLBACK");
	sql($node, "BEGIN; SELECT FROM vibevideo_submit('$id'); ROLLBACK");
	wait_until(sub { due(); hurry($node); sql($node, "SELECT string_agg(concat(vibelog_id = '$id', orphan, erased_at IS NOT NULL), ' ' ORDER BY vibelog_id = '$id') FROM vibevideo.job WHERE vibelog_id IN ('$id', '$none') AND NOT vibevideo.is_active(state) AND NOT EXISTS (SELECT FROM vibevideo.erasure)") eq 'ftt ttf' },
		'an orphan goes if it has no row, and stays if it has');
}

# what is cast is of PostgreSQL's own types: the trigger has more rights than who owns the table
{
	my $id = made('a trap');

	sql($node, q{CREATE TYPE trap AS (a text); CREATE TABLE sprung (who name); GRANT INSERT ON sprung TO PUBLIC;
		CREATE FUNCTION spring(trap) RETURNS text LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.sprung VALUES (current_user); RETURN $1.a; END';
		CREATE CAST (trap AS text) WITH FUNCTION spring(trap)});
	my ($rc, $out, $err) = $node->psql('postgres', "BEGIN; ALTER TABLE vibelogs ALTER COLUMN video_request_id TYPE trap USING ROW(video_request_id)::trap;
		SET LOCAL ROLE eve; DELETE FROM vibelogs WHERE id = '$id'; RESET ROLE; SELECT count(*) FROM sprung; SELECT count(*) FROM vibelogs WHERE id = '$id'; ROLLBACK");
	is("$rc|$out", "0|0\n0", 'a column of another type is not read with our rights');
	like($err, qr/DETAIL:  columns of (?:public\.)?vibelogs are gone, or have other types than when it was attached/, 'which is told');
	sql($node, 'DROP CAST (trap AS text); DROP FUNCTION spring(trap); DROP TABLE sprung; DROP TYPE trap');
}

# nothing of ours keeps a row from being deleted, or waits
{
	my $id = made('whatever happens');
	my $job = job_id($id);
	my $session = background_sql($node);

	$session->query_safe("BEGIN; SELECT FROM vibevideo.job WHERE job_id = $job FOR UPDATE; SELECT FROM vibevideo.binding FOR UPDATE");
	is(try_rollback("SET LOCAL lock_timeout = '1s'; DELETE FROM vibelogs WHERE id = '$id'"), '1', 'it does not wait for who holds the job');
	$session->query_safe('ROLLBACK');
	$session->quit;
	sql($node, 'ALTER TABLE vibevideo.erasure ADD CONSTRAINT broken CHECK (job_id < 0) NOT VALID');
	my ($rc, $out, $err) = $node->psql('postgres', "BEGIN; DELETE FROM vibelogs WHERE id = '$id'; SELECT count(*) FROM vibelogs WHERE id = '$id'; ROLLBACK");
	is("$rc|$out", '0|0', 'nor does an error of ours keep anybody from it');
	like($err, qr/WARNING:  the videos of these rows are not erased: vibevideo could not note them\nDETAIL:  .*broken/, 'but it is told');
	sql($node, 'ALTER TABLE vibevideo.erasure DROP CONSTRAINT broken');
	is(try_rollback("SET LOCAL session_replication_role = replica; DELETE FROM vibelogs WHERE id = '$id'"), '0', 'what replication brings was noted elsewhere');
	is(try_rollback("UPDATE vibevideo.binding SET paused = true; DELETE FROM vibelogs WHERE id = '$id'"), '0', 'in a copy nothing is noted');
	is(try_rollback("UPDATE vibevideo.binding SET database_oid = 1; DELETE FROM vibelogs WHERE id = '$id'"), '0', 'nor in another database');
	is(try_rollback("UPDATE vibevideo.binding SET timeline = timeline + 1; DELETE FROM vibelogs WHERE id = '$id'"), '1', 'but after a promotion it is');
	is(try_rollback("SELECT vibevideo.pause('all'); DELETE FROM vibelogs WHERE id = '$id'"), '1', 'in a pause it is');
}

# what goes with another table's row goes, too; and a dump brings the triggers
{
	sql($node, q{CREATE TABLE person (id int PRIMARY KEY); ALTER TABLE vibelogs ADD COLUMN person int REFERENCES person ON DELETE CASCADE; INSERT INTO person VALUES (1)});
	my $id = made('a cascade');

	sql($node, "UPDATE vibelogs SET person = 1 WHERE id = '$id'");
	is(try_rollback('DELETE FROM person'), '1', 'a row that goes with another one takes its video along');
	my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
	$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'a dump');
	sql($node, 'CREATE DATABASE restored');
	$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ], 'is restored');
	is(sql($node, q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'vibelogs'::regclass AND tgname LIKE 'vibevideo%'}, 'restored'), '2', 'with the triggers');
	is(sql($node, q{DELETE FROM vibelogs; SELECT count(*) FROM vibevideo.erasure}, 'restored'), '0', 'which note nothing there');
	is(sql($node, 'SELECT count(*) FROM vibevideo.receipt', 'restored'), sql($node, 'SELECT count(*) FROM vibevideo.receipt'), 'the receipts are in it');
	sql($node, 'DROP DATABASE restored WITH (FORCE)');
	ok($storage->object($id), "the original's file is still there");
}

# a job under way is cancelled; one that was not sent has nothing to erase
{
	$fal->rule('^gone while rendered$', hold => 'run');
	my $id = made('gone while rendered', 'generating');
	my $job = job_id($id);

	sql($node, "DELETE FROM vibelogs WHERE id = '$id'");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE job_id = $job", 'cancelled', 'a job whose row is deleted is cancelled', hurry => 1);
	wait_until(sub { due(); sql($node, "SELECT count(*) FROM vibevideo.receipt WHERE job_id = $job AND what = 'fal'") eq '1' }, 'and what it has left is erased');

	# fal.ai does not stop, and the video arrives
	$fal->rule('^too late$', hold => 'run', cancel_mode => '202,ignore');
	$id = made('too late', 'generating');
	$job = job_id($id);
	sql($node, "DELETE FROM vibelogs WHERE id = '$id'");
	wait_for($node, "SELECT cancel_requested_at IS NOT NULL FROM vibevideo.job WHERE job_id = $job", 't', 'another one is to be cancelled');
	$fal->command(sql($node, "SELECT request_id FROM vibevideo.job WHERE job_id = $job"), 'finish');
	wait_until(sub { due(); hurry($node); sql($node, "SELECT erased_at IS NOT NULL AND NOT EXISTS (SELECT FROM vibevideo.erasure WHERE job_id = $job) FROM vibevideo.job WHERE job_id = $job") eq 't' }, 'whatever still arrives is erased');
	ok(!$storage->object($id), 'nothing of it is in Storage');
	is(sql($node, "SELECT count(*) FROM vibevideo.receipt WHERE job_id = $job AND what = 'fal' AND answer = 'deleted'"), '1', 'or at fal.ai');
}

# -- when there are newer ones ---------------------------------------------------------------------------
like((sql_error($node, q{SELECT vibevideo.attach('vibelogs', keep_versions => -1)}))[1], qr/ERROR:  22023: keep_versions must be a number, or 0 for all$/m, 'keep_versions is a number');
like(sql($node, q{SELECT vibevideo.attach('vibelogs', keep_versions => 2)}), qr/, at most 2 kept of each row$/, 'two videos of a row are kept');
{
	my $id = made('versions');
	my @jobs = (job_id($id));
	my $states = sub { return sql($node, "SELECT string_agg((erased_at IS NULL)::text, ' ' ORDER BY job_id) FROM vibevideo.job WHERE vibelog_id = '$id'") };
	my $again = sub {
		submit($node, $id);
		push @jobs, job_id($id);
		wait_for($node, "SELECT state, row_dirty FROM vibevideo.job WHERE job_id = $jobs[-1]", 'completed|f', 'it has another one', hurry => 1);
	};

	$again->();
	is(sql($node, 'SELECT count(*) FROM vibevideo.erasure'), '0', 'two stay');
	$again->();
	is(sql($node, 'SELECT string_agg(concat_ws(\' \', job_id, reason, next_at > now() + interval \'30 seconds\'), \', \') FROM vibevideo.erasure'), "$jobs[0] version t", 'of three the first goes, in a minute');
	sql($node, "UPDATE vibevideo.job SET row_dirty = true, row_next_at = now() + interval '1 hour' WHERE job_id = $jobs[2]");
	due();
	wait_for($node, 'SELECT count(*) FROM vibevideo.erasure WHERE next_at > now()', '1', 'not while its row may show it', hurry => 1);
	is($states->(), 'true true true', 'all are there');
	sql($node, "UPDATE vibevideo.job SET row_next_at = now() WHERE job_id = $jobs[2]");
	wait_for($node, "SELECT row_dirty FROM vibevideo.job WHERE job_id = $jobs[2]", 'f', 'the row is written', hurry => 1);
	due();
	erased($jobs[0], 'then it goes');
	is(receipts($jobs[0]), 'storage deleted 200 version, fal deleted 200 version', 'with receipts');
	is($states->(), 'false true true', 'and no other');
	like(sql($node, q{SELECT vibevideo.attach('vibelogs', keep_versions => 1)}), qr/at most 1/, 'one is enough');
	$again->();
	wait_for($node, 'SELECT count(*) FROM vibevideo.erasure', '2', 'both older ones are to go');
	wait_until(sub { due(); $states->() eq 'false false false true' }, 'and go');
	wait_for($node, 'SELECT count(*) FROM vibevideo.erasure', '0', 'all of it');
	is(sql($node, "SELECT count(*) FROM vibelogs v JOIN vibevideo.job j ON j.job_id = $jobs[-1] WHERE v.id = '$id' AND v.video_url = j.video_url"), '1', 'the row has the newest');
	ok($storage->object($id), 'which is there');

	# what is erased counts no more
	sql($node, q{SELECT vibevideo.attach('vibelogs', keep_versions => 2)});
	$again->();
	sql($node, "SELECT vibevideo.erase($jobs[-1])");
	erased($jobs[-1], 'of two videos the newer one is erased');
	$again->();
	is(sql($node, 'SELECT count(*) FROM vibevideo.erasure'), '0', 'then the older one stays beside the next');
	unlike(sql($node, q{SELECT vibevideo.attach('vibelogs', keep_versions => 0)}), qr/at most/, '0 keeps all');
}

# retention deletes jobs, and not what is to be erased of them
{
	my ($id, $again, $other) = (made('an old one'), made('an old one, again'), made('an old one of another'));
	my @jobs = map { job_id($_) } $id, $again, $other;

	sql($node, "UPDATE vibevideo.job SET completed_at = now() - interval '2 years' WHERE job_id IN (" . join(', ', @jobs) . ')');
	$node->restart;
	wait_for($node, 'SELECT count(*) FROM vibevideo.job WHERE job_id IN (' . join(', ', @jobs) . ')', '0', 'retention has deleted jobs', hurry => 1);
	is(sql($node, 'SELECT string_agg(job_id::text, \',\' ORDER BY job_id) FROM vibevideo.past_video'), join(',', @jobs), 'their files are remembered');
	is(try_rollback('TRUNCATE vibelogs') >= 3, 1, 'TRUNCATE notes them');
	sql($node, "INSERT INTO vibelogs (prompt, video_request_id) SELECT 'not its own', request_id FROM vibevideo.past_video WHERE job_id = $jobs[2]; DELETE FROM vibelogs WHERE prompt = 'not its own'");
	looked_at('a row is deleted that bears what is not its own');
	is(sql($node, 'SELECT count(*) FROM vibevideo.past_video'), '3', 'and takes nothing along');
	sql($node, "DELETE FROM vibelogs WHERE id = '$id'");
	wait_for($node, "SELECT count(*) FROM vibevideo.receipt WHERE job_id = $jobs[0] AND answer = 'deleted' AND reason = 'row'", '2', 'one goes with its row');
	ok(!$storage->object($id), 'its file');
	ok($storage->object($again), 'and no other');
	is(sql($node, "SELECT vibevideo.erase($jobs[2])"), 't', 'one is erased by hand');
	wait_for($node, "SELECT count(*) FROM vibevideo.receipt WHERE job_id = $jobs[2] AND answer = 'deleted'", '2', 'which goes');
	sql($node, q{SELECT vibevideo.attach('vibelogs', keep_versions => 3)});
	submit($node, $again);
	wait_for_status($node, $again, 'completed');
	is(sql($node, "SELECT count(*) FROM vibevideo.erasure"), '0', 'it is one of the three that stay');
	sql($node, q{SELECT vibevideo.attach('vibelogs', keep_versions => 2)});
	submit($node, $again);
	wait_for($node, "SELECT count(*) FROM vibevideo.erasure WHERE job_id = $jobs[1] AND reason = 'version'", '1', 'one makes room for a newer one', hurry => 1);
	due();
	wait_for($node, "SELECT count(*) FROM vibevideo.receipt WHERE job_id = $jobs[1]", '2', 'and goes');
	is(sql($node, 'SELECT count(*) FROM vibevideo.past_video'), '0', 'none is remembered any more');
	sql($node, q{SELECT vibevideo.attach('vibelogs', keep_versions => 0)});
}

# many rows at once: they are noted in one statement, and nothing waits for them
{
	my $n = 5000;
	my ($id, $job) = map { $_, job_id($_) } made('one of many');

	sql($node, qq{SELECT vibevideo.pause('all'); SET session_replication_role = replica;
		INSERT INTO vibelogs (id, prompt, video_request_id, video_generation_status) SELECT ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, 'many', 'many-' || i, 'completed' FROM generate_series(1, $n) i;
		INSERT INTO vibevideo.job (relation, vibelog_id, model, input, state, request_id, media_url, object_key, video_url, completed_at, row_dirty)
		SELECT 'vibelogs'::regclass, '00000000-0000-0000-0000-' || lpad(i::text, 12, '0'), 'many', '{}', 'completed', 'many-' || i, 'http://x/y', 'many/' || i || '.mp4', 'http://x/object/public/videos/many/' || i || '.mp4', now(), false FROM generate_series(1, $n) i;
		RESET session_replication_role});
	is(try_rollback("SET LOCAL statement_timeout = '5s'; DELETE FROM vibelogs WHERE prompt = 'many'"), $n, "$n rows in one statement");
	sql($node, q{DELETE FROM vibelogs WHERE prompt = 'many'; SELECT vibevideo.resume()});
	wait_for($node, q{SELECT count(*) > 0 FROM vibevideo.receipt WHERE name LIKE 'videos/many/%' OR name LIKE 'many-%'}, 't', 'they go one by one');
	made('among many');
	is(sql($node, q{SELECT count(*) > 1000 FROM vibevideo.erasure}), 't', 'another video is made meanwhile');
	sql($node, "SELECT vibevideo.pause('all')");
	hurry($node);
	sql($node, q{DELETE FROM vibevideo.erasure; DELETE FROM vibevideo.job WHERE model = 'many'; SELECT vibevideo.resume()});
}

# a standby that takes over takes deletes at once, before the worker has adopted its timeline
{
	my $id = made('failover');
	my $job = job_id($id);

	$node->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	$node->wait_for_catchup($standby);
	$node->stop('fast');
	$standby->promote;
	sql($standby, "DELETE FROM vibelogs WHERE id = '$id'");
	wait_for($standby, "SELECT count(*) FROM vibevideo.receipt WHERE job_id = $job AND reason = 'row'", '2', 'after a promotion what was deleted at once is erased');
	ok(!$storage->object($id), 'from Storage');
	$standby->stop('fast');
	$node->start;
}

# the triggers: lost, restored, taken away
{
	sql($node, 'ALTER TABLE vibelogs DISABLE TRIGGER vibevideo_truncated; DROP TRIGGER vibevideo_row_deleted ON vibelogs');
	is(sql($node, q{SELECT status, detail FROM vibevideo.check_config() WHERE check_name = 'on_delete'}),
		'fail|the videos of rows that are deleted are not erased: public.vibelogs has lost, or does not fire, vibevideo_row_deleted, vibevideo_truncated', 'check_config misses them');
	sql($node, q{SELECT vibevideo.attach('vibelogs')});
	is(sql($node, q{SELECT string_agg(concat(tgname, tgenabled), ',' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 'vibelogs'::regclass AND tgname LIKE 'vibevideo%'}), 'vibevideo_row_deletedO,vibevideo_truncatedO', 'attach makes them again');
	my $session = background_sql($node);
	$session->query_safe('BEGIN; SELECT FROM vibelogs LIMIT 1');
	my ($code, $error) = sql_error($node, q{SET lock_timeout = '200ms'; SELECT vibevideo.detach(force => true)});
	is($code, '55P03', 'detach waits for the table no longer than it may');
	like($error, qr/could not lock (?:public\.)?vibelogs within 200ms/, 'and says for what');
	sql($node, 'RESET lock_timeout');
	$session->query_safe('ROLLBACK');
	$session->quit;
	is(sql($node, q{BEGIN; SELECT vibevideo.detach(force => true); SELECT count(*) FROM pg_trigger WHERE tgrelid = 'vibelogs'::regclass AND tgname LIKE 'vibevideo%'; ROLLBACK}) =~ /^0$/m, 1, 'detach takes them away');
	is(sql($node, q{BEGIN; DROP EXTENSION vibevideo; SELECT count(*) FROM pg_trigger WHERE tgrelid = 'vibelogs'::regclass AND tgname LIKE 'vibevideo%'; ROLLBACK}) =~ /^0$/m, 1, 'and they go with the extension');
	is(sql($node, q{BEGIN; SELECT vibevideo.attach('vibelogs', on_delete => ''); SELECT count(*) FROM pg_trigger WHERE tgrelid = 'vibelogs'::regclass AND tgname LIKE 'vibevideo%'; ROLLBACK}) =~ /^0$/m, 1, 'or with the option');
}

# other keys, another schema, partitions
for my $case (
	[ 'bigint', q{CREATE TABLE shop."Big films" ("the id" bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, prompt text)}, 7 ],
	[ 'text', q{CREATE TABLE shop."Big films" ("the id" text PRIMARY KEY, prompt text)}, "it''s a/key" ],
	[ 'integer', q{CREATE TABLE shop."Big films" ("the id" integer PRIMARY KEY, prompt text) PARTITION BY RANGE ("the id"); CREATE TABLE shop.part PARTITION OF shop."Big films" DEFAULT}, 7 ])
{
	my ($type, $table, $key) = @$case;

	sql($node, "SELECT vibevideo.detach(force => true)");
	sql($node, "DROP SCHEMA IF EXISTS shop CASCADE; CREATE SCHEMA shop; $table; SELECT vibevideo.attach('shop.\"Big films\"', prompt_column => 'prompt', on_delete => 'erase')");
	sql($node, qq{INSERT INTO shop."Big films" VALUES ('$key', 'by $type')});
	sql($node, "SELECT vibevideo_submit('$key'::$type)");
	wait_for($node, qq{SELECT video_generation_status FROM shop."Big films"}, 'completed', "$type: a video", hurry => 1);
	my $job = sql($node, 'SELECT max(job_id) FROM vibevideo.job');
	sql($node, q{DELETE FROM shop."Big films"});
	erased($job, "$type: is erased with its row");
	like(receipts($job), qr/^storage deleted 200 row/, "$type: with a receipt");
	next if $type ne 'integer';

	# through its partitions, and through a key of another table
	sql($node, q{CREATE TABLE shop.other PARTITION OF shop."Big films" FOR VALUES FROM (100) TO (200); CREATE TABLE shop.owner (id int PRIMARY KEY);
		ALTER TABLE shop."Big films" ADD COLUMN owner int REFERENCES shop.owner ON DELETE CASCADE; INSERT INTO shop.owner VALUES (1);
		INSERT INTO shop."Big films" ("the id", prompt, owner) VALUES (8, 'cascade', 1)});
	sql($node, 'SELECT vibevideo_submit(8)');
	wait_for($node, q{SELECT video_generation_status FROM shop."Big films"}, 'completed', 'partitions: a video', hurry => 1);
	is(try_rollback('DELETE FROM shop.owner'), '1', 'partitions: a row that goes with another table\'s is seen');
	is(try_rollback('TRUNCATE shop.owner CASCADE'), (sql($node, q{SELECT count(*) FROM vibevideo.job WHERE relation = 'shop."Big films"'::regclass AND erased_at IS NULL}))[0], 'partitions: a TRUNCATE that cascades');
	is(try_rollback('UPDATE shop."Big films" SET "the id" = 108'), '0', 'partitions: one that moves into another is not deleted');
	is(try_rollback('DELETE FROM shop.part'), '0', 'partitions: what names one is not seen');
}

done_testing();
