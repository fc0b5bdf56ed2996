# Why a job waits: each reason is brought about, and found.  What operators read,
# what the app's user reads, and what a list of jobs costs.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal(default => { list_in_flight => JSON::PP::false });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, init => { allows_streaming => 1 }, conf => {
	'vibevideo.submit_timeout' => '60s',
	'vibevideo.unknown_after' => '1h',
	'vibevideo.resumable_threshold' => '-1',
	'restart_after_crash' => 'on' });
my $clock = qr/\d\d:\d\d:\d\d/;
my %seen;

sub as_user
{
	my ($user, $statement) = @_;

	return sql($node, "BEGIN; SET LOCAL request.jwt.claims = '{\"sub\": \"$user\"}'; $statement; COMMIT");
}

sub batch
{
	my ($user, @ids) = @_;

	as_user($user, "SELECT vibevideo_submit_batch(ARRAY['" . join("', '", @ids) . "']::uuid[])");
	return @ids;
}

# The reason of a row's newest job.
sub why
{
	my ($id, $on) = @_;

	return video($on || $node, "vibevideo.why((SELECT max(job_id) FROM vibevideo.job WHERE vibelog_id = '$id'))");
}

# holds(id, code, sentence, message, name, more fields...) - waits for the reason.
# The view says the same, vibevideo_status the code and the user's words.
sub holds
{
	my ($id, $code, $sentence, $message, $name, %fields) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $why;

	wait_until(sub { $why = why($id); return $why->{code} eq $code && $why->{sentence} =~ $sentence }, "$name: $code",
		tell => sub { return JSON::PP->new->canonical->encode($why) . "\nwanted: $sentence" }) or return;
	$seen{$code} = 1;
	for my $field (sort keys %fields)
	{
		my ($got, $wanted) = ($why->{$field}, $fields{$field});
		ref $wanted ? like($got // 'null', $wanted, "$name: $field") : is($got, $wanted, "$name: $field");
	}
	return unless defined $message;
	my $video = status_of($node, $id);
	is($video->{waits_for}, $code, "$name: vibevideo_status has the code");
	ref $message ? like($video->{message}, $message, "$name: its user reads") : is($video->{message}, $message, "$name: its user reads");
	return;
}

# Until the worker has had a look.
sub worker_looks
{
	for (1, 2)
	{
		my $now = sql($node, 'SELECT clock_timestamp()');
		sql($node, 'SELECT vibevideo.wake()');
		wait_for($node, "SELECT coalesce(heartbeat_at > '$now', false) FROM vibevideo.worker_info()", 't', 'the worker has a look');
	}
	return;
}

# Nothing of a part is left for the next.
sub clear
{
	$fal->clear_faults;
	$storage->clear_faults;
	sql($node, q{UPDATE vibevideo.job SET state = 'cancelled', next_at = NULL, completed_at = now(), row_dirty = false, leased_by = NULL, lease = nextval('vibevideo.lease_seq')
		WHERE next_at IS NOT NULL});
	return;
}

sub usual
{
	my (%of) = (render_p50 => '2 min', render_p90 => '4 min', copy_p50 => '10 s', total_p50 => '3 min', @_);

	sql($node, q{DELETE FROM vibevideo.typical; INSERT INTO vibevideo.typical (model, n, } . join(', ', sort keys %of) . q{, updated_at) VALUES ('fal-ai/minimax/video-01', 99, }
		  . join(', ', map { "'$of{$_}'" } sort keys %of) . ', now())');
	return;
}

# what is usual is what the test says, not what the worker finds
sql($node, <<'SQL');
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE WHEN (SELECT a.backend_type <> 'vibevideo worker' FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()) THEN coalesce(NEW, OLD) END;
END
$$;
CREATE TRIGGER keep BEFORE INSERT OR UPDATE OR DELETE ON vibevideo.typical FOR EACH ROW EXECUTE FUNCTION keep();
SQL

# -- nothing ------------------------------------------------------------------------------------
{
	my $id = new_row($node, 'done');

	submit($node, $id);
	wait_for_status($node, $id, 'completed');
	wait_for($node, "SELECT row_dirty FROM vibevideo.job WHERE vibelog_id = '$id'", 'f', 'and the row is written');
	holds($id, 'ended', qr/^it has ended: completed at $clock$/, undef, 'a job that has ended', until => undef, ahead => undef, estimate => undef);
	is(sql($node, "SELECT num_nulls(waits_for, why, waits_until, estimate) FROM vibevideo.jobs WHERE vibelog_id = '$id'"), '4', 'the view has no reason for it');
	my $video = status_of($node, $id);
	is_deeply([ @$video{qw(waits_for estimate_seconds)} ], [ undef, undef ], 'nor has vibevideo_status');
	sql($node, q{INSERT INTO vibevideo.job (vibelog_id, state, model, input, error_code, error, row_dirty, next_at, completed_at)
		SELECT 'ended ' || s, s, 'a/b', '{}', 'http_500', E'no\nluck', false, NULL, now() FROM unnest(ARRAY['failed', 'cancelled', 'completed']) s});
	holds("ended $_", 'ended', qr/^it has ended: $_ at $clock: http_500: no luck$/, undef, "one that has $_ says what was wrong") for qw(failed cancelled);
	holds('ended completed', 'ended', qr/^it has ended: completed at $clock$/, undef, 'which is over in one that went well');
	my ($state, $text) = sql_error($node, 'SELECT * FROM vibevideo.why(0)');
	is($state, 'PT404', 'a job that is not there');
	like($text, qr/there is no job 0$/m, 'is not there');
}

# -- the order of sending ------------------------------------------------------------------------------
usual();
{
	my @ann = map { new_row($node, "order: ann $_") } 1 .. 3;
	my ($bob) = map { new_row($node, 'order: bob') } 1;

	worker_looks();
	my $worker = stop_worker($node);
	batch(@$_) for [ 'ann', $ann[0] ], [ 'ann', $ann[1] ], [ 'ann', $ann[2] ], [ 'bob', $bob ];
	holds($ann[0], 'next', qr/^it is sent next$/, 'Waiting to be sent', 'the first', ahead => 0, estimate => '00:03:00');
	holds($bob, 'turn', qr/^waits for its turn: 1 ahead, none of them of its own user$/, 'Waiting to be sent, 1 ahead of you', 'the first of another user', ahead => 1);
	holds($ann[1], 'turn', qr/^waits for its turn: 2 ahead, 1 of them of its own user$/, 'Waiting to be sent, 2 ahead of you', 'the second', ahead => 2);
	holds($ann[2], 'turn', qr/^waits for its turn: 3 ahead, 2 of them of its own user$/, 'Waiting to be sent, 3 ahead of you', 'the third', ahead => 3);
	is(sql($node, "SELECT string_agg(waits_for || ': ' || why, '|' ORDER BY job_id) FROM vibevideo.jobs WHERE vibelog_id IN ('$ann[0]', '$bob')"),
		'next: it is sent next|turn: waits for its turn: 1 ahead, none of them of its own user', 'the view says the same');
	is(status_of($node, $ann[0])->{estimate_seconds}, 180, 'and vibevideo_status has the estimate');
	sql($node, "UPDATE vibevideo.job SET next_at = now() - interval '2 min' WHERE vibelog_id = '$ann[0]'");
	holds($ann[0], 'next', qr/^it is sent next; due since $clock: the server log may say why it is not$/, undef, 'one that is late');
	sql($node, "UPDATE vibevideo.job SET priority = 1 WHERE vibelog_id = '$ann[2]'");
	holds($ann[2], 'next', qr/./, undef, 'one of priority');
	holds($ann[1], 'turn', qr/^waits for its turn: 3 ahead, 2 of them of its own user$/, undef, 'one without');
	clear();
	kill('CONT', $worker);
}

# -- vibevideo.max_active --------------------------------------------------------------------------------
{
	my ($there, @ids) = map { new_row($node, "busy: $_") } 0 .. 2;

	configure($node, max_active => 1);
	$fal->rule('^busy: ', hold => 'queue');
	submit($node, $there);
	batch('ann', $_) for @ids;
	holds($ids[0], 'max_active', qr/^1st of 2 that wait for one of 1 places at fal\.ai \(vibevideo\.max_active\)$/, 'Waiting to be sent, you are next', 'the first', ahead => 0, estimate => '00:05:00');
	holds($ids[1], 'max_active', qr/^2nd of 2 /, 'Waiting to be sent, 1 ahead of you', 'the second', ahead => 1, estimate => '00:07:00');
	sql($node, 'DELETE FROM vibevideo.typical');
	holds($ids[1], 'max_active', qr/^2nd of 2 /, undef, 'without any history', estimate => undef);
	sql($node, q{INSERT INTO vibevideo.model (endpoint, usual_seconds) VALUES ('fal-ai/minimax/video-01', 60) ON CONFLICT (endpoint) DO UPDATE SET usual_seconds = 60});
	holds($ids[1], 'max_active', qr/^2nd of 2 /, undef, 'with what the model is said to take', estimate => '00:03:00');
	sql($node, q{UPDATE vibevideo.model SET usual_seconds = NULL});
	clear();
	configure($node, max_active => 0);
}

# -- being sent, and an answer that is lost ----------------------------------------------------------------
usual();
{
	my ($sent, $lost) = map { new_row($node, "sending: $_") } qw(hangs lost);

	$fal->fault('submit', 'hang', prompt => '^sending: hangs$');
	batch('ann', $sent);
	holds($sent, 'sending', qr/^being sent since $clock$/, 'Being sent', 'a job that is being sent', estimate => '00:03:00');
	sql($node, "SELECT vibevideo_cancel('$sent')");
	holds($sent, 'cancel', qr/^a cancel is on its way since $clock; fal\.ai has not answered the submit yet$/, 'Cancelling', 'and is to be cancelled');
	clear();

	$fal->rule('^sending: lost$', hold => 'queue');
	$fal->fault('submit', 'reset_after', prompt => '^sending: lost$');
	submit($node, $lost);
	my $words = q{The provider's answer was lost; nothing is sent again until it is known whether it has the job};
	holds($lost, 'lost', qr/^the answer to its submit was lost: (?:not looked up yet|looked up once|looked up \d+ times), (?:next at $clock|and now again); if it is not found, unknown_policy fail_when_absent acts at [-\d ]*$clock$/,
		$words, 'a lost submit', estimate => undef);
	holds($lost, 'lost', qr/: looked up once, next at $clock; /, undef, 'once it was looked for', until => qr/^\d/);
	hurry($node);
	holds($lost, 'lost', qr/: looked up [2-9] times, next at $clock; /, undef, 'and again');
	sql($node, "UPDATE vibevideo.job SET sent_at = now() - interval '2 h' WHERE vibelog_id = '$lost'");
	$fal->fault('list', { kind => 'http', status => 403, body => { detail => 'not for you' } }, times => -1);
	hurry($node);
	holds($lost, 'lost', qr/; unknown_policy fail_when_absent acts once fal\.ai's list has been read: .*403.*/, undef, 'a list that cannot be read');
	configure($node, unknown_policy => 'manual');
	holds($lost, 'lost', qr/; it waits for a decision: SELECT vibevideo\.resolve\(job_id, \.\.\.\)$/, undef, 'unknown_policy manual');
	sql($node, "SELECT vibevideo_cancel('$lost')");
	holds($lost, 'cancel', qr/^a cancel is on its way since $clock; first it has to be found out whether fal\.ai has the job: /, 'Cancelling', 'a cancel of it');
	configure($node, unknown_policy => 'fail_when_absent');
	clear();
}

# -- later ------------------------------------------------------------------------------------------------
{
	my ($sends, $polls) = map { new_row($node, "later: $_") } qw(sends polls);

	$fal->fault('submit', { kind => 'http', status => 503, headers => { 'retry-after' => '1000', 'x-fal-request-id' => 'r' }, body => { detail => "Overloaded:\ncome back" } }, prompt => '^later: sends$');
	submit($node, $sends);
	holds($sends, 'backoff', qr/^try 2 of 12 at $clock, after http_503: Overloaded: come back$/, 'Waiting to be sent again (try 2): the provider is busy',
		'one that fal does not take yet', until => qr/^\d/, estimate => qr/^00:19:\d\d/);
	$fal->rule('^later: polls$', hold => 'queue');
	$fal->fault('status', { kind => 'http', status => 500, headers => { 'retry-after' => '1000', 'x-fal-request-id' => 'r' }, body => { detail => 'Sorry' } }, prompt => '^later: polls$');
	submit($node, $polls);
	# the owner may put one off for ever, by hand: all others are told of as before
	sql($node, "UPDATE vibevideo.job SET next_at = 'infinity' WHERE vibelog_id = '$sends'");
	holds($sends, 'backoff', qr/^try 2 of 12 at infinity, after http_503/, qr/^Waiting to be sent again/, 'one that is put off for ever', estimate => undef, until => 'infinity');
	is(sql($node, 'SELECT count(*) FROM vibevideo.overview()'), '1', 'overview() has an answer');
	is(sql($node, 'SELECT cardinality(jobs) > 1 FROM vibevideo.list_jobs()'), 't', 'so has list_jobs()');
	is(sql($node, "SELECT n.due FROM vibevideo.now n WHERE n.job = (SELECT max(job_id) FROM vibevideo.job WHERE vibelog_id = '$sends')"), 'never', 'and view vibevideo.now');
	sql($node, "UPDATE vibevideo.job SET next_at = now() + interval '1 h' WHERE vibelog_id = '$sends'");

	holds($polls, 'backoff', qr/^try 2 at $clock, after http_500: Sorry$/, qr/^Video queued/, 'one whose poll failed', estimate => undef);
	clear();
}

# -- paused -------------------------------------------------------------------------------------------------
{
	my ($new, $there) = map { new_row($node, "paused: $_") } qw(new there);

	$fal->rule('^paused: ', hold => 'queue');
	submit($node, $there);
	sql($node, q{CREATE ROLE "o'brien" SUPERUSER; SET SESSION AUTHORIZATION "o'brien"; SELECT vibevideo.pause('sending', 'the price'); RESET SESSION AUTHORIZATION});
	batch('ann', $new);
	holds($new, 'paused', qr/^sending was paused by o'brien at \d{4}-\d\d-\d\d $clock\S+: the price$/, 'Waiting to be sent: sending is paused', 'sending is paused', estimate => undef);
	holds($there, 'fal_queue', qr/./, undef, 'what fal has goes on');
	sql($node, q{SELECT vibevideo.pause('all', 'new disk')});
	holds($new, 'paused', qr/^paused by \w+ since .*: new disk$/, 'Waiting to be sent: sending is paused', 'all is paused');
	holds($there, 'paused', qr/: new disk$/, qr/^Video queued/, 'also for what fal has');
	sql($node, 'SELECT vibevideo.resume(); UPDATE vibevideo.binding SET paused = true');
	holds($there, 'paused', qr/^paused by an UPDATE of vibevideo\.binding$/, undef, 'paused by hand');
	sql($node, 'SELECT vibevideo.resume()');

	# no table, and another one
	sql($node, 'SELECT vibevideo.detach(true)');
	holds($there, 'detached', qr/^no table is attached: /, undef, 'no table is attached');
	sql($node, q{SELECT vibevideo.attach('vibelogs')});
	holds($there, 'fal_queue', qr/./, undef, 'attached again');
	clear();
}

# -- fal.ai's queue, and rendering ----------------------------------------------------------------------------
{
	my ($queued, $runs) = map { new_row($node, "at fal: $_") } qw(queued runs);

	$fal->rule('^at fal: queued$', hold => 'queue', queue_position => 1204, queue_ms => 360000000);
	$fal->rule('^at fal: runs$', hold => 'run');
	submit($node, $_) for $queued, $runs;
	holds($queued, 'fal_queue', qr/^in fal\.ai's queue, 1,20\d ahead$/, undef, 'in the queue', ahead => qr/^120\d$/, estimate => qr/^00:0[12]:/);
	like(status_of($node, $queued)->{message}, qr/^Video queued, 1,20\d ahead of you$/, 'in the queue: its user reads');
	is(sql($node, "SELECT earlier_position = queue_position, earlier_at BETWEEN submitted_at AND updated_at FROM vibevideo.job WHERE vibelog_id = '$queued'"), 't|t', 'the first place is kept');
	sql($node, "UPDATE vibevideo.job SET earlier_position = 1514, earlier_at = now() - interval '585 s', next_at = now() + interval '1 min' WHERE vibelog_id = '$queued' AND leased_by IS NULL");
	holds($queued, 'fal_queue', qr/^in fal\.ai's queue, 1,20\d ahead; it moved 31\d in the last 10 min$/, undef, 'with the speed', estimate => qr/^00:4\d:/);
	# a place that is 10 minutes old is followed by one between that and now
	sql($node, "UPDATE vibevideo.job SET earlier_position = 2204, earlier_at = now() - interval '1000 s', next_at = now() WHERE vibelog_id = '$queued'; SELECT vibevideo.wake()");
	wait_for($node, "SELECT earlier_position BETWEEN 1480 AND 1510, updated_at - earlier_at BETWEEN '5 min' AND '6 min' FROM vibevideo.job WHERE vibelog_id = '$queued'", 't|t', 'the place of 5 minutes ago takes its place', hurry => 1);
	sql($node, "UPDATE vibevideo.job SET earlier_position = queue_position, earlier_at = now() - interval '5 min' WHERE vibelog_id = '$queued'");
	holds($queued, 'fal_queue', qr/ ahead; it has not moved in the last 5 min$/, undef, 'one that does not move', estimate => qr/^00:0/);
	# it is put back
	my $before = sql($node, 'SELECT clock_timestamp()');
	sql($node, "UPDATE vibevideo.job SET earlier_position = 3, earlier_at = now() - interval '5 min', next_at = now() WHERE vibelog_id = '$queued'; SELECT vibevideo.wake()");
	wait_for($node, "SELECT earlier_position > 1000, earlier_at > '$before' FROM vibevideo.job WHERE vibelog_id = '$queued'", 't|t', 'one that is put back is counted anew', hurry => 1);

	holds($runs, 'rendering', qr/^rendering, accepted by fal\.ai \d+ s ago; usually 2 to 4 min with this model$/, 'AI is generating', 'rendering', estimate => qr/^00:0[12]:/);
	my $for = sub { sql($node, "UPDATE vibevideo.job SET submitted_at = now() - interval '$_[0]' WHERE vibelog_id = '$runs'") };
	$for->('3 min');
	holds($runs, 'rendering', qr/^rendering, accepted by fal\.ai 3 min ago; usually 2 to 4 min/, 'AI is generating', 'longer than half of them', estimate => qr/^00:01:/);
	$for->('12 min');
	holds($runs, 'rendering', qr/^rendering for longer than usual: accepted by fal\.ai 1[23] min ago; usually 2 to 4 min with this model$/,
		'AI is generating, which takes longer than usual', 'longer than nearly all', estimate => undef);
	is(status_of($node, $runs)->{estimate_seconds}, undef, 'then nobody can tell');
	sql($node, 'DELETE FROM vibevideo.typical');
	holds($runs, 'rendering', qr/^rendering, accepted by fal\.ai 1[23] min ago$/, 'AI is generating', 'without any history', estimate => undef);

	# a cancel that fal does not take
	$fal->fault('cancel', { kind => 'http', status => 500, headers => { 'retry-after' => '1000', 'x-fal-request-id' => 'r' }, body => { detail => 'Not now' } }, times => -1);
	sql($node, "SELECT vibevideo_cancel('$queued')");
	holds($queued, 'cancel', qr/^a cancel is on its way since $clock; try \d+ at $clock, after http_500: Not now$/, 'Cancelling', 'a cancel');
	clear();
}

# -- keys ------------------------------------------------------------------------------------------------------
usual();
{
	my ($new, $there) = map { new_row($node, "key: $_") } qw(new there);

	$fal->rule('^key: there$', hold => 'queue');
	submit($node, $there);
	batch('ann', new_row($node, 'key: before'));
	configure($node, fal_key => '');
	worker_looks();
	is(sql($node, 'SELECT has_fal_key, has_storage_key FROM vibevideo.worker_info()'), 'f|t', 'the worker tells which keys it has');
	batch('ann', $new);
	my $places = qr/^no fal\.ai API key in the server's environment \(FAL_KEY\) or the setting vibevideo\.fal_key$/;
	holds($new, 'no_key', $places, 'Waiting to be sent: this service has a problem at the moment', 'no fal.ai key');
	holds($there, 'no_key', $places, qr/^Video queued/, 'also for what fal has');
	# a Vault is named, but nobody reads it for that
	sql($node, q{CREATE SCHEMA vault; CREATE SEQUENCE vault.reads;
		CREATE VIEW vault.decrypted_secrets AS SELECT ''::text AS name, CASE WHEN nextval('vault.reads') > 0 THEN '' END AS decrypted_secret});
	my $reads = 'SELECT last_value FROM vault.reads';
	my $worker = stop_worker($node);
	my $before = sql($node, $reads);
	holds($new, 'no_key', qr/ in Vault \(secret "fal_key"\), the server's environment \(FAL_KEY\) or /, undef, 'with Vault');
	is(sql($node, "$reads; SELECT count(why) FROM vibevideo.jobs; $reads"), "$before\n" . sql($node, 'SELECT count(*) FROM vibevideo.job WHERE next_at IS NOT NULL') . "\n$before", 'no row has Vault read');
	kill('CONT', $worker);
	sql($node, 'DROP SCHEMA vault CASCADE');
	clear();
	configure($node, fal_key => 'key-id:key-secret');
	worker_looks();
}

# -- the copy ----------------------------------------------------------------------------------------------------
{
	my $key = $storage->{ready}{service_jwt};
	my ($keyless, $homeless, $late, @slow) = map { new_row($node, "copy: $_") } qw(keyless homeless late slow1 slow2);

	configure($node, storage_key => '', poll_interval => '1s');
	worker_looks();
	submit($node, $keyless);
	holds($keyless, 'no_key', qr/^no Storage key in the server's environment \(SUPABASE_SERVICE_ROLE_KEY\) or the setting vibevideo\.storage_key$/,
		undef, 'no Storage key');
	like(status_of($node, $keyless)->{message}, qr/^Your video is made and waits to be copied/, 'no Storage key: its user reads');
	clear();
	configure($node, storage_key => $key, storage_url => '');
	submit($node, $homeless);
	holds($homeless, 'no_storage', qr/^vibevideo\.storage_url is not set$/, undef, 'no storage_url');
	clear();
	configure($node, storage_url => $storage->url);
	worker_looks();

	$storage->fault('upload', 'slow_down', times => -1);
	submit($node, $late);
	# any part of backoff_base may be what it waits for
	wait_for($node, "UPDATE vibevideo.job SET next_at = now() + interval '10 min' WHERE vibelog_id = '$late' AND tries = 1 AND leased_by IS NULL RETURNING tries", '1', 'Storage does not take it', hurry => 1);
	holds($late, 'backoff', qr/^try 2 of 12 at [-\d ]*$clock, after .*Slow/, 'Your video is made and waits to be copied (try 2)', 'Storage does not take it yet', estimate => qr/^00:(?:09|10):/);
	is(status_of($node, $late)->{error}, 'The video cannot be saved at the moment', 'and the error says what a user needs');
	clear();

	configure($node, max_transfers => 1);
	$fal->rule('^copy: slow', media => { bytes => 20_000_000 });
	$fal->fault('media', { kind => 'slow', bytes_per_s => 1_000_000 }, times => -1);
	submit($node, $slow[0]);
	holds($slow[0], 'copying', qr/^copying: \d+ % of 19 MB, \d+ kB\/s, \d+ s left$/, undef, 'a copy', until => qr/^\d/, estimate => qr/^00:00:/);
	like(status_of($node, $slow[0])->{message}, qr/^Copying \d+ %, \S+ [kM]B\/s, \d+ s left$/, 'a copy: its user reads');
	submit($node, $slow[1]);
	holds($slow[1], 'copy_slots', qr/^all 1 copies run that vibevideo\.max_transfers allows; 0 ahead$/, 'Your video is made and waits to be copied', 'no room', ahead => 0, estimate => '00:00:20');
	clear();
	configure($node, max_transfers => 8);
}

# -- a row that cannot be written -----------------------------------------------------------------------------------
{
	my ($refused, $locked) = map { new_row($node, "row: $_") } qw(refused locked);

	$fal->rule('^row: locked$', hold => 'queue');
	submit($node, $locked);
	sql($node, q{CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION E'not\nat 10.0.0.7'; END $$;
		CREATE TRIGGER refuse BEFORE UPDATE ON vibelogs FOR EACH ROW WHEN (NEW.prompt = 'row: refused' AND NEW.video_generation_status = 'completed') EXECUTE FUNCTION refuse()});
	submit($node, $refused);
	holds($refused, 'row', qr/^its row is not written: not at 10\.0\.0\.7 \(SQLSTATE P0001\), in PL\/pgSQL function refuse\(\) line 1 at RAISE; next try at $clock$/, undef, 'a trigger', until => qr/^\d/);
	my $video = status_of($node, $refused);
	is("$video->{status}|$video->{message}|" . ($video->{waits_for} // ''), 'completed|Your video is ready|', 'its user has the video');
	is(sql($node, "SELECT waits_for, estimate IS NULL FROM vibevideo.jobs WHERE vibelog_id = '$refused'"), 'row|t', 'the view says so');
	my $session = background_sql($node);
	$session->query_safe("BEGIN; SELECT FROM vibelogs WHERE id = '$locked' FOR UPDATE");
	$fal->command(job_of($node, $locked)->{request_id}, 'finish');
	holds($locked, 'row', qr/^its row is locked by another transaction; next try at $clock$/, undef, 'a locked row');
	# another table is attached meanwhile
	sql($node, q{CREATE TABLE other (id uuid PRIMARY KEY, prompt text); SELECT vibevideo.detach(true); SELECT vibevideo.attach('other')});
	holds($locked, 'row', qr/^its row is not written: table public\.vibelogs is not attached$/, undef, 'of another table');
	sql($node, q{SELECT vibevideo.detach(true)});
	holds($locked, 'detached', qr/./, undef, 'no table at all');
	$session->query_safe('COMMIT');
	$session->quit;
	sql($node, q{SELECT vibevideo.attach('vibelogs'); DROP TABLE other; DROP TRIGGER refuse ON vibelogs});
	clear();
}

# -- no money at fal.ai ------------------------------------------------------------------------------------------------
{
	my $id = new_row($node, 'no money');

	$fal->set_balance('0');
	batch('ann', $id);
	holds($id, 'balance', qr/^the balance at fal\.ai is used up, since $clock; (?:the next submit tries in \d+ s whether|the next submit tries whether|one submit tries whether) it is still so$/,
		'Waiting to be sent: this service has a problem at the moment', 'no money', until => qr/^\d/, estimate => undef);
	$fal->set_balance(undef);
	sql($node, 'SELECT FROM vibevideo.probe_now()');
	wait_for_status($node, $id, 'completed');
}

# -- services that are down --------------------------------------------------------------------------------------------
{
	my ($made, $new, $there) = map { new_row($node, "down: $_") } qw(made new there);
	my $down = sub { wait_for($node, "SELECT $_[0]_down_until IS NOT NULL FROM vibevideo.worker_info()", 't', "$_[0] is down", hurry => 1) };

	$fal->rule('^down: there$', hold => 'queue');
	submit($node, $there);
	$storage->fault('upload', { kind => 'gateway', status => 503 }, times => -1);
	submit($node, $made);
	$down->('storage');
	# the breaker's wait grows with each probe that fails
	holds($made, 'storage_down', qr/^Storage has been unreachable since $clock; next probe in \d+ s$/, undef, 'Storage is down', until => qr/^\d/, estimate => undef);
	like(status_of($node, $made)->{message}, qr/^Your video is made and waits to be copied/, 'Storage is down: its user reads');
	$storage->clear_faults;
	wait_for_status($node, $made, 'completed');

	$fal->fault($_, { kind => 'gateway', status => 502 }, times => -1) for qw(status submit);
	$down->('fal');
	batch('ann', $new);
	holds($new, 'fal_down', qr/^fal\.ai has been unreachable since $clock; (?:next probe in \d+ s|it is being probed|the next request is a probe)$/,
		'Waiting to be sent: the provider cannot be reached at the moment', 'fal.ai is down', until => qr/^\d/, estimate => undef);
	holds($there, 'fal_down', qr/./, qr/^Video queued/, 'also for what fal has');
	# its turn comes later than the probe
	sql($node, "UPDATE vibevideo.job SET next_at = now() + interval '1 h', tries = 1 WHERE vibelog_id = '$new'");
	holds($new, 'backoff', qr/^try 2 of 12 at/, undef, 'unless it waits for longer');
	clear();
}

# -- the worker --------------------------------------------------------------------------------------------------------
{
	my ($new, $there) = map { new_row($node, "worker: $_") } qw(new there);
	my $launcher = sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'vibevideo launcher'});

	wait_for($node, 'SELECT fal_down_until IS NULL FROM vibevideo.worker_info()', 't', 'fal.ai is up') if do {
		my $id = new_row($node, 'worker: up');
		submit($node, $id);
		wait_for_status($node, $id, 'completed');
	};
	$fal->rule('^worker: there$', hold => 'queue');
	submit($node, $there);
	kill('STOP', $launcher);
	sql($node, q{SELECT pg_terminate_backend(pid, 10000) FROM vibevideo.worker_info()});
	batch('ann', $new);
	holds($new, 'worker', qr/^the background worker is not running: it is being started$/, 'Waiting to be sent', 'no worker');
	sql($node, q{UPDATE vibevideo.job SET next_at = now() + interval '1 h' WHERE state = 'queued'; SELECT vibevideo_poll()});
	holds($there, 'fal_queue', qr/./, undef, 'somebody else polls');
	holds($new, 'worker', qr/./, undef, 'but sends nothing');
	kill('CONT', $launcher);
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$new'", 'completed', 'it is started again', hurry => 1);
	clear();

	# one that crashes with a job
	my $bad = new_row($node, 'crash: bad');
	$fal->rule('^crash: ', media => { bytes => 20_000_000 });
	$fal->fault('media', { kind => 'slow', bytes_per_s => 200_000 }, prompt => '^crash: ', times => -1);
	submit($node, $bad);
	for my $crash (1, 2)
	{
		wait_for($node, "SELECT leased_by IS NOT NULL FROM vibevideo.job WHERE vibelog_id = '$bad' AND state = 'processing'", 't', "it is copied, for the ${crash}th time", hurry => 1);
		kill('KILL', worker_pid($node));
		wait_for($node, "SELECT crashes FROM vibevideo.job WHERE vibelog_id = '$bad'", $crash, "the worker crashed $crash times");
	}
	holds($bad, 'quarantine', qr/^set aside, since the worker crashed 2 times while it had this job: (?:tried alone at $clock|it is being tried alone)$/,
		undef, 'a job that may be the cause');
	clear();

	# there is no process for it, nor for the launcher; PostgreSQL has one of its own
	my $few = vibe_node('few', conf => { max_worker_processes => 2 });
	my $id = new_row($few, 'few: waits');
	my $lacks = sub {
		my ($what) = @_;
		my $wanted = "the background worker is not running: $what";

		return wait_until(sub { return why($id, $few)->{sentence} eq $wanted }, "worker: $what", tell => sub { return why($id, $few)->{sentence} });
	};
	sql($few, "SELECT vibevideo_submit_batch('{$id}')");
	$lacks->('no background process is free for it (max_worker_processes)');
	is(status_of($few, $id)->{message}, 'Waiting to be sent: this service has a problem at the moment', 'no process is free: its user reads');
	$few->append_conf('postgresql.conf', 'max_worker_processes = 1');
	$few->restart;
	$lacks->(q{vibevideo's launcher is not running});
	$few->stop('fast');
}

# -- another version ------------------------------------------------------------------------------------------------------
{
	my $id = new_row($node, 'version: there');

	$fal->rule('^version: there$', hold => 'queue');
	submit($node, $id);
	my ($version) = sql($node, q{SELECT extversion FROM pg_extension WHERE extname = 'vibevideo'});
	sql($node, q{UPDATE pg_extension SET extversion = '9.9.9' WHERE extname = 'vibevideo'});
	like(sql($node, "SELECT waits_for, why, message FROM vibevideo.jobs WHERE vibelog_id = '$id'"),
		qr/^version\|the library has version \Q$version\E, the extension in this database 9\.9\.9: ALTER EXTENSION vibevideo UPDATE\|Video queued/, 'another version: the view can be read');
	like((sql_error($node, 'SELECT * FROM vibevideo.why(0)'))[1], qr/its library has version \Q$version\E, its SQL in this database version 9\.9\.9/, 'the function says so, too');
	$seen{version} = 1;
	sql($node, "UPDATE pg_extension SET extversion = '$version' WHERE extname = 'vibevideo'");
}

# -- a copy, and a standby ---------------------------------------------------------------------------------------------------
{
	my $id = new_row($node, 'copy of the database');
	my $dump = $node->basedir . '/dump.sql';

	$fal->rule('^copy of ', hold => 'queue');
	submit($node, $id);
	sql($node, 'CREATE DATABASE copied');
	$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
	$node->command_ok([ 'psql', '-Xq', '-f', $dump, '-d', $node->connstr('copied') ], 'and restored');
	is(sql($node, "SELECT code || ': ' || sentence FROM vibevideo.why((SELECT job_id FROM vibevideo.job WHERE vibelog_id = '$id'))", 'copied'),
		'copy: this is a restored or copied database, whose original may still work on the same jobs', 'a copy');
	$seen{copy} = 1;
	sql($node, 'DROP DATABASE copied WITH (FORCE)');

	$node->backup('standby');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($node, 'standby', has_streaming => 1);
	$standby->start;
	is(sql($standby, "SELECT waits_for || ': ' || why FROM vibevideo.jobs WHERE vibelog_id = '$id'"), 'standby: this server is a standby, its primary works on the jobs', 'a standby');
	like(status_of($standby, $id)->{message}, qr/^Video queued/, 'a standby: its user reads');
	$seen{standby} = 1;
	$standby->stop('fast');
	clear();
}

# -- what the manual lists --------------------------------------------------------------------------------------------------
{
	my %code = map { $_ => 1 } slurp_file('sql/why.sql') =~ /vibevideo_internal\.because\(\s*'(\w+)'/g;

	$code{$_} = 1 for slurp_file('sql/why.sql') =~ /because\(CASE WHEN .*? THEN '(\w+)' ELSE '(\w+)' END/g;
	$code{version} = 1;
	is(join(' ', sort keys %seen), join(' ', sort keys %code), 'every reason was there');
}

# -- what a list costs: 100,000 jobs wait ---------------------------------------------------------------------------------------
{
	my $worker = stop_worker($node);
	sql($node, <<'SQL');
SET session_replication_role = replica;
ALTER TABLE vibevideo.job DISABLE TRIGGER ALL;
INSERT INTO vibevideo.job (vibelog_id, state, model, input, requested_by, relation, row_dirty, next_at, completed_at)
SELECT i::text, CASE WHEN i > 1000 THEN 'pending' ELSE 'completed' END, 'm/n', '{"prompt": "x"}', 'user ' || i % 500, 'vibelogs'::regclass, false,
	CASE WHEN i > 1000 THEN now() - interval '1 s' * (i % 50) END, CASE WHEN i <= 1000 THEN now() END
FROM generate_series(1, 101000) i;
ALTER TABLE vibevideo.job ENABLE TRIGGER ALL;
ALTER TABLE vibevideo.job ENABLE ALWAYS TRIGGER job_changing, ENABLE ALWAYS TRIGGER job_changed, ENABLE ALWAYS TRIGGER jobs_deleted;
RESET session_replication_role;
ANALYZE vibevideo.job;
SQL
	# in a session of its own, which remembers nothing
	my $buffers = sub {
		my ($query) = @_;
		my $plan = JSON::PP->new->decode($node->safe_psql('postgres', "EXPLAIN (ANALYZE, BUFFERS, FORMAT json) $query"))->[0];

		return ($plan->{Plan}{'Shared Hit Blocks'} + $plan->{Plan}{'Shared Read Blocks'}, $plan->{'Execution Time'});
	};
	my $list = q{FROM vibevideo.jobs WHERE state = 'pending' ORDER BY job_id DESC LIMIT 50};
	my ($without) = $buffers->("SELECT job_id, status, state, model, error, row_error $list");
	my ($with, $ms) = $buffers->("SELECT * $list");
	cmp_ok($without, '<', 500, "a list without reasons reads $without buffers");
	cmp_ok($with, '<', 20000, "with reasons, behind 500 users, $with");
	note("with reasons: $ms ms");
	is(sql($node, "SELECT count(*), count(DISTINCT why) FROM (SELECT why $list) x"), '50|1', 'which all are there');
	is(sql($node, "SELECT DISTINCT why, message FROM (SELECT why, message $list) x"), 'waits for its turn: more than 1,000 ahead|Waiting to be sent, more than 1,000 ahead of you', 'counts end somewhere');
	my ($first) = $buffers->(q{SELECT * FROM vibevideo.jobs WHERE job_id = (SELECT min(job_id) FROM vibevideo.job WHERE state = 'pending')});
	cmp_ok($first, '<', 20000, "that of one job reads $first");
	my ($ended) = $buffers->(q{SELECT * FROM vibevideo.jobs WHERE state = 'completed' ORDER BY job_id LIMIT 50});
	cmp_ok($ended, '<', 500, "those that have ended read $ended");
	# reasons are found after the sort
	my $sort = q{FROM vibevideo.jobs ORDER BY created_at DESC, job_id DESC LIMIT 50};
	my ($sorted) = $buffers->("SELECT * $sort");
	my ($sorted_without) = $buffers->("SELECT job_id, model $sort");
	cmp_ok($sorted - $sorted_without, '<', 20000, 'of a list that is sorted only what is shown costs ' . ($sorted - $sorted_without) . ' more');
	# so does the worker's look, which reads no more of a batch than it sends
	my ($look) = $buffers->(q{SELECT * FROM vibevideo_internal.next_submits(10, now())});
	cmp_ok($look, '<', 20000, "to find what is sent next reads $look");
	# more users than are counted
	sql($node, q{UPDATE vibevideo.job SET requested_by = job_id::text WHERE state = 'pending'; SELECT vibevideo.wake()});
	my ($crowd) = $buffers->("SELECT * $list");
	cmp_ok($crowd, '<', 30000, "behind 100000 users it reads $crowd");
	wait_for($node, "SELECT DISTINCT why, message FROM (SELECT why, message $list) x", 'waits for its turn: users take turns, and more than 1,000 users wait|Waiting to be sent', 'and nobody counts them');
	kill('CONT', $worker);
}

done_testing();
