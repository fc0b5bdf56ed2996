# Erasing videos: what is to be erased is queued with what asks for it, and goes, from
# Storage and from fal.ai, whatever goes wrong meanwhile; receipts say what went.

use strict;
use warnings FATAL => 'all';

use Test::More;
use VibeTest;

my $fal = start_fal(default => { queue_ms => 0, run_ms => 0 });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
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
	erased($job, 'it is erased');
	ok(!$storage->object($id), 'with that');
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

done_testing();
