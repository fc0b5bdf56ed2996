# What a call sends, and how often: under SERIALIZABLE, in a statement that fails
# or that makes the call many times, after a cancel that came too late, for a row
# that has its video.  And how every job comes to an end, whatever fal says.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;
use VibeChaos;

my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $fal = start_fal(default => { list_in_flight => $true });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'vibevideo.poll_interval' => '1h',
	# time enough to cancel an attempt that starts by itself
	'vibevideo.backoff_base' => '2s',
	'vibevideo.unknown_after' => '1s' });

sub submits
{
	return $fal->ledger('?jobs=0')->{requests}{submit} || 0;
}

# -- serializable ------------------------------------------------------------------------------------
{
	my @ids = map { new_row($node, "serializable $_") } 1 .. 2;
	my @sessions = map { background_sql($node) } @ids;
	my $before = submits();
	my @status;

	for my $i (0 .. 1)
	{
		$sessions[$i]->query($_) for 'BEGIN ISOLATION LEVEL SERIALIZABLE', 'SELECT count(*) FROM vibelogs';
		push @status, scalar $sessions[$i]->query("SELECT status || ' ' || (request_id IS NULL) FROM vibevideo_submit('$ids[$i]')");
		$sessions[$i]->query("UPDATE vibelogs SET image = 'x' WHERE id = '$ids[$i]'");
	}
	is(submits() - $before, 0, 'serializable: nothing is sent in the transaction');
	is("@status[0, 1]", 'queued true queued true', 'serializable: both are noted');
	# one of them fails: each has read what the other writes
	$_->query('COMMIT') for @sessions;
	$_->quit for @sessions;
	my $kept = sql($node, q{SELECT count(*) FROM vibevideo.job WHERE vibelog_id IN (SELECT id::text FROM vibelogs WHERE prompt LIKE 'serializable%')});
	wait_for($node, q{SELECT count(*) FROM vibelogs WHERE prompt LIKE 'serializable%' AND video_request_id IS NOT NULL}, $kept, 'serializable: what has committed is sent');
	is(submits() - $before, $kept, 'serializable: and nothing else');
	is(sql($node, 'SELECT count(*) FROM vibevideo.job WHERE orphan'), '0', 'serializable: nothing was sent for nobody');
	isnt($kept, '2', 'serializable: one has failed');
}

# -- a decision that waits for somebody else's --------------------------------------------------------
for my $who ('user', 'operator')
{
	my $prompt = "late cancel, $who";
	my $id = new_row($node, $prompt);

	$fal->rule("^$prompt\$", outcome => 'infra', error_type => 'internal_error', queue_ms => 0, run_ms => 0);
	submit($node, $id);
	my $poll = background_sql($node);
	# a failure that allows a new attempt, recorded and not committed
	$poll->query("BEGIN; UPDATE vibevideo.job SET next_at = now() - interval '1 s' WHERE vibelog_id = '$id'");
	$poll->query('SELECT failed FROM vibevideo_poll()');
	is($poll->query("SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id'"), '2', "$who, cancel: a second attempt is on its way");
	is(video($node, "vibevideo_retry('$id')")->{attempt}, 1, "$who, retry: of one that is under way does not wait for it");
	my $cancel = $who eq 'user' ? "vibevideo_cancel('$id')" : 'vibevideo.cancel(' . sql($node, "SELECT job_id FROM vibevideo.job WHERE vibelog_id = '$id'") . ')';
	my $call = background_sql($node);
	my $pid = $call->query('SELECT pg_backend_pid()');
	$call->query_until(qr/sent/, "\\echo sent\nSELECT status, attempt FROM $cancel \\g (format=unaligned fieldsep=' ')\n");
	wait_for($node, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid", 'Lock', "$who, cancel: the call waits for the poll");
	my $before = submits();
	$poll->query('COMMIT');
	$poll->quit;
	is($call->query('SELECT 1') =~ s/\n?1$//r, 'cancelled 2', "$who, cancel: it is about the attempt there is now");
	$call->quit;
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id' AND state = 'cancelled'", '1', "$who, cancel: that one is cancelled");
	is(submits() - $before, 0, "$who, cancel: and was not sent");
}

# -- an error after others were sent ---------------------------------------------------------------------
{
	my @ids = map { new_row($node, $_ < 5 ? "many $_" : '') } 1 .. 5;

	my ($state, $text) = sql_error($node, "SELECT vibevideo_submit(id) FROM vibelogs WHERE id IN ('" . join("', '", @ids) . "') ORDER BY prompt = '', prompt");
	is($state, '22023', 'many: the empty prompt is an error');
	unlike($text, qr/nothing was sent/i, 'many: which does not say that nothing was sent');
	like($text, qr/DETAIL:  Model [^\n]*has sent 4 videos to fal\.ai already[^\n]*cancelled/, 'many: but what was, and what becomes of it');
	like($text, qr/HINT:  Fill in column prompt\. [^\n]*vibevideo_submit_batch/, 'many: and how it is done');
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE orphan AND (state = 'cancelled' OR cancel_requested_at IS NOT NULL)}, '4', 'many: that is what becomes of it');
	($state, $text) = sql_error($node, "SELECT vibevideo_submit('$ids[4]')");
	unlike($text, qr/fal\.ai already/, 'many: alone it has nothing to say');
}

# -- one statement, many calls ------------------------------------------------------------------------------
{
	my $id = new_row($node, 'columns');
	my $before = submits();

	$fal->fault('submit', { kind => 'http', status => 422, body => { detail => 'no' } }, prompt => '^columns$', times => -1);
	is(sql($node, "SELECT count(*) FROM (SELECT (vibevideo_submit('$id')).* OFFSET 0) v WHERE v.status = 'failed' AND v.attempt = 1 AND v.error IS NOT NULL"), '1',
		'columns: the one refusal is told');
	is(submits() - $before, 1, 'columns: fal is asked once for (vibevideo_submit(id)).*');
	sql($node, "BEGIN; SELECT FROM vibevideo_submit('$id'); SELECT FROM vibevideo_submit('$id'); COMMIT");
	is(submits() - $before, 3, 'columns: and again by each statement');
	sql($node, "DO \$\$ BEGIN PERFORM vibevideo_submit('$id'); PERFORM vibevideo_submit('$id'); END \$\$");
	is(submits() - $before, 5, 'columns: also in a function');
	$fal->clear_faults;
}

# -- fal's words are not ours --------------------------------------------------------------------------------
{
	my $id = new_row($node, 'word');

	sql($node, "INSERT INTO vibevideo.limit (user_id, max_active, spend_per_day_usd) VALUES ('ann', 1, 0.5)");
	$fal->fault('submit', { kind => 'http', status => 400, body => { detail => 'no', error_type => 'limit' } }, prompt => '^word$');
	my $code = sql($node, qq{SET request.jwt.claims = '{"sub": "ann"}'; SELECT error_code FROM vibevideo_submit('$id'); RESET request.jwt.claims});
	is($code, 'remote_limit', "word: fal's limit is not our limit");
	is(sql($node, q{SELECT count(*), (SELECT sum(used)::float FROM vibevideo_internal.till) FROM vibevideo_internal.slot WHERE day >= vibevideo_internal.today()}), '0|0', 'word: what it had is given back');
	sql($node, 'DELETE FROM vibevideo.limit WHERE true');
}

# -- a day that is over does not come back -------------------------------------------------------------------
{
	my $claims = q{SET request.jwt.claims = '{"sub": "dan"}'};
	my $id = new_row($node, 'yesterday');

	sql($node, "INSERT INTO vibevideo.limit (user_id, spend_per_day_usd) VALUES ('dan', 1)");
	sql($node, "$claims; SELECT FROM vibevideo_submit('$id'); SELECT FROM vibevideo_cancel('$id'); RESET request.jwt.claims");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", 'cancelled', 'yesterday: cancelled', hurry => 1);
	# as if this transaction had begun before midnight, and others after it had spent all but 0.1
	sql($node, q{UPDATE vibevideo_internal.till SET begins = date_trunc('day', now(), 'UTC') + interval '1 day', used = CASE n WHEN (SELECT min(n) FROM vibevideo_internal.till WHERE who = 'user:dan') THEN 0.5 ELSE 0.4 END WHERE who = 'user:dan'});
	is((sql_error($node, "$claims; SELECT FROM vibevideo_submit('$id')"))[0], 'PT402', 'yesterday: the new day\'s money is spent');
	sql($node, q{UPDATE vibevideo_internal.till SET used = 0 WHERE who = 'user:dan' AND n = (SELECT min(n) FROM vibevideo_internal.till WHERE who = 'user:dan')});
	is((sql_error($node, "$claims; SELECT FROM vibevideo_submit('$id')"))[0], '', 'yesterday: or is not');
	is(sql($node, q{SELECT extract(epoch FROM min(begins) - date_trunc('day', now(), 'UTC'))::int / 86400, sum(used)::float FROM vibevideo_internal.till WHERE who = 'user:dan'}), '1|0.9', 'yesterday: no till is set back');
	sql($node, "DELETE FROM vibevideo.limit WHERE true; SELECT FROM vibevideo_cancel('$id')");
}

# -- a row that has its video -----------------------------------------------------------------------------------
{
	my $id = new_row($node, 'again');

	submit($node, $id);
	wait_for_status($node, $id, 'completed');
	is(submit($node, $id)->{attempt}, 2, 'again: a submit of a completed row makes another video');
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id' AND state = 'completed'", '2', 'again: it is made', hurry => 1);
	configure($node, resubmit_completed => 'off');
	my $before = submits();
	my $video = submit($node, $id);
	is("$video->{status} $video->{attempt}", 'completed 2', 'again: with resubmit_completed off it returns the one there is');
	is(sql($node, "SELECT status, attempt FROM vibevideo_submit_batch('{$id}')"), 'completed|2', 'again: so does the batch');
	is(submits() - $before, 0, 'again: nothing is sent');
	my $failed = new_row($node, 'again, failed');
	$fal->fault('submit', { kind => 'http', status => 422, body => { detail => 'no' } }, prompt => '^again, failed$');
	is(submit($node, $failed)->{status}, 'failed', 'again: one that has failed');
	is(submit($node, $failed)->{attempt}, 2, 'again: is tried again all the same');
	configure($node, resubmit_completed => 'on');
}

# -- every job comes to an end ----------------------------------------------------------------------------------
{
	my $id = new_row($node, 'absent');

	$fal->fault('submit', 'reset_before', prompt => '^absent$');
	submit($node, $id);
	wait_for($node, "SELECT state, error_code FROM vibevideo.job WHERE vibelog_id = '$id'", 'failed|submit_lost', 'absent: a lost submit without a trace fails', hurry => 1);
	my $before = submits();
	like(sql($node, "SELECT video_generation_status || ': ' || video_generation_error FROM vibelogs WHERE id = '$id'"), qr/^failed: The provider's answer was lost, and it shows no trace of the video$/, 'absent: the row says so');
	like(words_of($node, $id, 'failed'), qr/does not list it; nothing was resent/, 'absent: operators read more');
	like(sql($node, q{SELECT detail FROM vibevideo_internal.check_jobs() WHERE check_name = 'submit_lost'}), qr/: 1, one for $id/, 'absent: and so does check_config');
	is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id'"), '1', 'absent: nothing is sent again');
	is(video($node, "vibevideo_retry('$id')")->{attempt}, 2, 'absent: until somebody tries it');
	wait_for_status($node, $id, 'completed');
	is(submits() - $before, 1, 'absent: once');
}
{
	my $forbidden = { kind => 'http', status => 403, body => { detail => 'no' } };
	my $broken = { kind => 'http', status => 500, body => { detail => 'oops' } };

	configure($node, job_timeout => '2s', unknown_after => '1h');
	$fal->fault('list', $forbidden, times => -1);
	$fal->fault('cancel', $broken, times => -1);
	$fal->fault('result', { kind => 'http', status => 400, body => { detail => 'Request is still in progress' } }, prompt => '^end: not ready$', times => -1);
	$fal->fault('submit', 'reset_after', prompt => '^end: lost', times => -1);
	$fal->rule('^end: (?!not ready)', hold => 'run');
	my %id = map { $_ => new_row($node, "end: $_") } 'lost', 'lost, orphan', 'cancel refused', 'not ready', 'orphan', 'cancelled by its user', 'no key';
	submit($node, $id{$_}) for 'lost', 'cancel refused', 'not ready', 'cancelled by its user';
	sql($node, "SELECT FROM vibevideo_cancel('$id{'cancelled by its user'}')");
	sql($node, "BEGIN; SELECT FROM vibevideo_submit('$id{$_}'); ROLLBACK") for 'lost, orphan', 'orphan';
	my %end = ('lost' => 'failed|submit_lost', 'lost, orphan' => 'cancelled|submit_lost', 'cancel refused' => 'failed|', 'not ready' => 'failed|',
		'orphan' => 'failed|', 'cancelled by its user' => 'failed|');
	wait_for($node, "SELECT state, error_code FROM vibevideo.job WHERE vibelog_id = '$id{$_}'", qr/^\Q$end{$_}\E/, "end: $_", hurry => 1) for sort keys %end;

	# what is never even claimed
	sql($node, q{ALTER SYSTEM SET vibevideo.fal_key = ''});
	configure($node, poll_timeout => '9s');
	sql($node, "SELECT FROM vibevideo_submit_batch('{$id{'no key'}}')");
	wait_for($node, "SELECT state, error_code FROM vibevideo.job WHERE vibelog_id = '$id{'no key'}'", 'failed|job_timeout', 'end: without a key', hurry => 1);
	is(sql($node, 'SELECT count(*) FROM vibevideo.job WHERE vibevideo.is_active(state)'), '0', 'end: no job is left');
	sql($node, 'ALTER SYSTEM RESET vibevideo.fal_key');
	$fal->clear_faults;
	configure($node, job_timeout => '1d', unknown_after => '1s');
}

# -- under replication --------------------------------------------------------------------------------------------
{
	my $id = new_row($node, 'replica');

	sql($node, "SET session_replication_role = replica; SELECT FROM vibevideo_submit('$id'); RESET session_replication_role");
	is(sql($node, "SELECT cost_usd, (SELECT count(*) > 0 FROM vibevideo.event e WHERE e.job_id = j.job_id) FROM vibevideo.job j WHERE vibelog_id = '$id'"), '0.5|t',
		'replica: the triggers of jobs fire');
	wait_for_status($node, $id, 'completed');
	is((sql_error($node, "SET session_replication_role = replica; UPDATE vibevideo.job SET state = 'queued' WHERE vibelog_id = '$id'"))[0], '22000', 'replica: they guard it');
	sql($node, "SELECT pg_replication_origin_create('elsewhere')");
	is(cli($node, "SELECT FROM pg_replication_origin_session_setup('elsewhere'); UPDATE vibevideo.job SET state = 'queued' WHERE vibelog_id = '$id' RETURNING state") =~ s/^\n//r,
		'queued', 'replica: but not what comes from elsewhere');
	sql($node, "DELETE FROM vibevideo.job WHERE vibelog_id = '$id'");
}

# -- models and prices in a dump -----------------------------------------------------------------------------------------------
{
	my $file = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
	my $models = 'SELECT endpoint, max_prompt, needs_image, builtin FROM vibevideo.model ORDER BY endpoint';
	my $prices = q{SELECT to_jsonb(r) - CASE source WHEN 'built-in' THEN 'changed_at' ELSE '' END FROM vibevideo.price_rule r ORDER BY endpoint, source, applies, valid_from;
		SELECT to_jsonb(p) FROM vibevideo.fal_price p};

	sql($node, <<'SQL');
UPDATE vibevideo.model SET max_prompt = 1500 WHERE endpoint = 'fal-ai/minimax/video-01';
INSERT INTO vibevideo.model (endpoint, max_prompt) VALUES ('fal-ai/minimax/video-01-live', 3000) ON CONFLICT (endpoint) DO UPDATE SET max_prompt = EXCLUDED.max_prompt;
INSERT INTO vibevideo.model (endpoint, max_prompt) VALUES ('acme/of-the-app', 100);
SELECT vibevideo.set_price('fal-ai/minimax/video-01', 0.43), vibevideo.set_price('acme/of-the-app', 0.1, valid_from => '2001-01-01'), vibevideo.set_price('acme/of-the-app', 0.2, valid_from => '2002-01-01'),
	   vibevideo.set_price('acme/of-the-app', 1, 'second', '{"audio": true, "size": "4k"}', '$.duration / 2', 5, 0.1, note => 'both'), vibevideo.set_price('acme/of-the-app', 1, applies => '{"audio": true}'),
	   vibevideo.set_price('acme/of-the-app', 1, applies => '{"size": "4k"}');
-- it is behind the other two in the dump, though it has to be there for them
UPDATE vibevideo.price_rule SET unit_price_usd = 3 WHERE note = 'both';
INSERT INTO vibevideo.price_rule (endpoint, source, unit_price_usd) VALUES ('acme/of-fal', 'fal', 0.3);
INSERT INTO vibevideo.fal_price (endpoint, unit, unit_price_usd) VALUES ('acme/of-fal', 'videos', 0.3);
SQL
	my $before = sql($node, $models);
	my $priced = sql($node, $prices);
	like($before, qr{^fal-ai/minimax/video-01\|1500\|f\|f$}m, 'model: a built-in row that is corrected');
	like($before, qr{^fal-ai/minimax/video-01-live\|3000\|f\|f$}m, 'model: in whichever way');
	for my $inserts ('', '--column-inserts')
	{
		$node->command_ok([ 'pg_dump', '--no-sync', $inserts || (), '-f', $file, $node->connstr('postgres') ], "model: pg_dump $inserts");
		cli($node, 'CREATE DATABASE restored');
		$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $file ], "model: restored $inserts");
		is(cli($node, $models, 'restored'), $before, "model: all are there $inserts");
		is(cli($node, $prices, 'restored'), $priced, "prices: all are there, and once $inserts");
		cli($node, 'DROP DATABASE restored WITH (FORCE)');
	}
}

done_testing();
