# Others are held up: somebody's open transaction, crash or lock delays nobody
# else's video, and gives up none.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;
use VibeChaos;

my $fal = start_fal(default => { list_in_flight => JSON::PP::true });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => { 'restart_after_crash' => 'on', 'vibevideo.retention' => '1h', 'vibevideo.max_transfers' => 8 });

# ok_others(name) - a new row's video is made in the usual time, by the worker.
sub ok_others
{
	my ($name) = @_;
	my $id = new_row($node, "$name: another");
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	# no helping hand: what is due is done
	sql($node, "SELECT FROM vibevideo_submit_batch('{$id}')");
	wait_for($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$id'", 'completed', "$name: others get their videos", patience => 6);
	return;
}

sub completed
{
	my ($prompt) = @_;
	my $id = new_row($node, $prompt);

	submit($node, $id);
	wait_for_status($node, $id, 'completed', name => "$prompt is made");
	return $id;
}

# -- a job that is due for retention ------------------------------------------------------------
{
	my $session = background_sql($node);
	my @old = map { completed("old: $_") } 1 .. 3;

	$session->query_safe("BEGIN; SELECT FROM vibevideo_retry('$old[0]')");
	sql($node, "UPDATE vibevideo.job SET completed_at = now() - interval '2 hours' WHERE vibelog_id IN ('$old[1]', '$old[2]')");
	# as if it had been so old when its owner looked
	$session->query_safe("UPDATE vibevideo.job SET completed_at = now() - interval '3 hours' WHERE vibelog_id = '$old[0]'; COMMIT; BEGIN; SELECT FROM vibevideo_retry('$old[0]')");
	# a new worker looks for old jobs at once
	sql($node, 'SELECT pg_terminate_backend(' . worker_pid($node) . ')');
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id IN ('$old[1]', '$old[2]')", '0', 'retention: old jobs go');
	ok_others('retention');
	is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$old[0]'"), '1', 'retention: the one that is held stays');
	$session->query_safe('COMMIT');
	# the sums of what is deleted are somebody else's, too
	my @older = map { completed("older: $_") } 1 .. 2;
	sql($node, "UPDATE vibevideo.job SET completed_at = now() - interval '2 hours' WHERE vibelog_id IN ('$older[0]', '$older[1]')");
	$session->query_safe("BEGIN; DELETE FROM vibevideo.job WHERE vibelog_id = '$older[0]'");
	sql($node, 'SELECT pg_terminate_backend(' . worker_pid($node) . ')');
	ok_others('sums');
	$session->query_safe('COMMIT');
	$session->quit;
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id IN ('$old[0]', '$older[1]')", '0', 'retention: in the end all go', hurry => 1);
}

# -- all rows of any table of ours ----------------------------------------------------------------
# Whoever looks at them FOR UPDATE, or has changed one, and goes to lunch.
{
	my $session = background_sql($node);
	my $worker = worker_pid($node);
	my @held = map { new_row($node, "held: $_") } 1 .. 3;

	$fal->rule('^held: 1$', hold => 'queue');
	submit($node, $held[0]);
	$fal->fault('submit', 'reset_after', prompt => '^held: 2$');
	$fal->fault('list', { kind => 'http', status => 500, body => 'oops' }, times => -1);
	submit($node, $held[1]);
	sql($node, "INSERT INTO vibevideo.limit (scope, max_active, submits_per_day, spend_per_day_usd) VALUES ('global', 1000, 1000, 1000), ('default', 1000, 1000, 1000)");
	completed('held: 3');
	# a slot that is held is in use: that is what a slot is for
	my %slots = map { ("vibevideo_internal.$_" => 1) } qw(slot till);
	my @tables = own_relations($node, 'r');
	is(scalar(grep { $slots{$_} } @tables), 2, 'rows: of all tables but those of slots');
	for my $table (grep { !$slots{$_} } @tables)
	{
		$session->query_safe("BEGIN; SELECT count(*) FROM (SELECT FROM $table FOR UPDATE) t");
		ok_others("rows of $table");
		$session->query_safe('ROLLBACK');
	}
	is(worker_pid($node), $worker, 'rows: the worker is the same');
	$fal->clear_faults;
	$session->quit;
}

# -- a table of ours, for longer than the worker waits ------------------------------------------------
# What is known by then is recorded afterwards.
{
	my $session = background_sql($node);
	my $worker = worker_pid($node);

	for my $table (qw(vibevideo.job vibevideo.event vibevideo_internal.new_costs vibevideo.past_costs vibevideo_internal.fal_account
		vibevideo.binding vibevideo.limit vibevideo.price_rule vibevideo.model))
	{
		my $id = new_row($node, "table $table");

		$fal->rule("^table $table\$", submit_ms => 300, hold => 'queue');
		sql($node, "SELECT FROM vibevideo_submit_batch('{$id}')");
		wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", 'submitting', "table $table: it is sent");
		$session->query_safe("BEGIN; LOCK TABLE $table IN EXCLUSIVE MODE; SELECT pg_sleep(2.5)");
		$session->query_safe('ROLLBACK');
		wait_for($node, "SELECT j.request_id IS NOT NULL FROM vibevideo.job j WHERE j.vibelog_id = '$id'", 't', "table $table: its answer is recorded");
		is(sql($node, "SELECT count(*) FROM vibevideo.event e JOIN vibevideo.job j USING (job_id) WHERE j.vibelog_id = '$id' AND e.state = 'submit_unknown'"),
			'0', "table $table: it was not in doubt");
	}
	is(worker_pid($node), $worker, 'tables: the worker is the same');
	$session->quit;
}

# The worker is cancelled, at whatever it does: so is what it does, and no more.
{
	my $worker = worker_pid($node);
	my @ids = map { new_row($node, "cancelled: $_") } 1 .. 20;

	$fal->rule('^cancelled:', submit_ms => 300);
	sql($node, "SELECT FROM vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	for (1 .. 50)
	{
		sql($node, "SELECT pg_cancel_backend($worker), pg_sleep(0.02)");
	}
	wait_for($node, "SELECT count(*) FROM vibelogs WHERE prompt ~ '^cancelled:' AND video_generation_status = 'completed'", '20', 'cancelled: all videos are made');
	is(worker_pid($node), $worker, 'cancelled: the worker is the same');
}

# -- limits and prices that somebody is changing ------------------------------------------------------
{
	my ($operator, $user) = map { background_sql($node) } 1 .. 2;
	my $as_ann = q{SET request.jwt.claims = '{"sub": "ann"}'};
	my $lags = q{SELECT (SELECT count(*) FROM vibevideo_internal.slot s WHERE s.kind = 'active' AND s.who = 'global' AND s.day = 'infinity')
		- (SELECT count(*) FROM vibevideo.job j WHERE vibevideo.is_active(j.state))};

	$fal->rule('^ann', hold => 'queue');
	sql($node, "$as_ann; SELECT FROM vibevideo_submit('$_')") for map { new_row($node, "ann: $_") } 1 .. 2;
	$operator->query_safe('BEGIN; UPDATE vibevideo.limit SET max_active = 900, spend_per_day_usd = 900; SELECT vibevideo.set_price($$fal-ai/minimax/video-01$$, 0.6)');
	ok_others('limits');
	is((sql_error($node, "$as_ann; SET statement_timeout = '3s'; SELECT FROM vibevideo_submit('" . new_row($node, 'ann: 3') . "')"))[0], '',
		'limits: a submit goes by the old ones, and waits for nobody');
	# a submit is open when the change is committed
	$user->query_safe("$as_ann; BEGIN; SELECT FROM vibevideo_submit('" . new_row($node, 'ann: 4') . "')");
	$operator->query_safe("SET statement_timeout = '3s'; COMMIT");
	is(sql($node, q{SELECT max_active FROM vibevideo.limit WHERE scope = 'global'}), '900', 'limits: the change waits for nobody, either');
	is((sql_error($node, q{SET request.jwt.claims = '{"sub": "bob"}'; SET statement_timeout = '3s'; SELECT FROM vibevideo_submit('} . new_row($node, 'ann: 5') . "')"))[0], '',
		'limits: nor does another submit');
	$user->query_safe('COMMIT');
	is(sql($node, $lags), '0', 'limits: what was open counts, and nothing twice');
	$operator->query_safe(q{RESET statement_timeout; BEGIN; UPDATE vibevideo.limit SET max_active = 800});
	$fal->command('*', 'finish');
	wait_for($node, q{SELECT count(*) FROM vibelogs WHERE prompt ~ '^ann' AND video_generation_status = 'completed'}, '5', 'limits: all are made', hurry => 1, patience => 8);
	$operator->query_safe('ROLLBACK');
	is(sql($node, $lags), '0', 'limits: and all are given back');
	sql($node, q{SELECT vibevideo.delete_price('fal-ai/minimax/video-01')});
	$_->quit for $operator, $user;
}

# -- what the app's trigger needs ------------------------------------------------------------------------
# One user's lock, or whatever else stops the write of one row, is that row's trouble.
sql($node, <<'SQL');
CREATE TABLE counter (id text PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO counter VALUES ('one');
CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	UPDATE public.counter SET n = n + 1 WHERE id = 'one';
	RETURN NULL;
END $$;
CREATE TRIGGER count_up AFTER UPDATE ON vibelogs FOR EACH ROW WHEN (NEW.prompt ~ 'counts') EXECUTE FUNCTION count_up();
CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = split_part(NEW.prompt, ' ', 2), MESSAGE = 'trouble';
END $$;
CREATE TRIGGER trouble BEFORE UPDATE ON vibelogs FOR EACH ROW WHEN (NEW.prompt ~ '^trouble' AND NEW.video_generation_status = 'completed') EXECUTE FUNCTION trouble();
SQL
{
	my $session = background_sql($node);
	my @ids = map { new_row($node, "polled: $_" . ($_ == 1 ? ' counts' : '')) } 1 .. 30;
	my $all = join(',', @ids);

	$fal->rule('^polled', hold => 'queue');
	sql($node, "SELECT FROM vibevideo_submit_batch('{$all}')");
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = ANY ('{$all}') AND state = 'queued'", '30', 'polled: all are sent');
	$session->query_safe("BEGIN; UPDATE counter SET n = 0");
	$fal->command('*', 'finish');
	my $poll = "SET statement_timeout = '4s'; SELECT checked >= 0 FROM vibevideo_poll(); RESET statement_timeout;";
	# the worker leaves polls to who polls in time
	wait_until(
		sub {
			sql($node, "UPDATE vibevideo.job SET next_at = now() WHERE state IN ('queued', 'generating') AND leased_by IS NULL");
			$node->safe_psql('postgres', $poll);
			return sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = ANY ('{$all}') AND state IN ('processing', 'completed')") == 30;
		}, 'polled: a poll pass waits for nobody');
	wait_for($node, "SELECT count(*) FROM vibelogs WHERE id = ANY ('{$all}') AND video_generation_status = 'completed'", '29', 'polled: others get their videos', patience => 8);
	is(sql($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$ids[0]'"), 'completed', 'polled: so does the one whose row cannot be written');
	ok_others('counter');
	$session->query_safe('ROLLBACK');
	$session->quit;
	wait_for($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$ids[0]'", 'completed', 'polled: it is written once that can be done', hurry => 1);
	sql($node, "UPDATE vibevideo.job SET row_next_at = now() WHERE row_dirty");
}
for my $code (qw(40P01 55P03 57014 40001))
{
	my @ids = (map({ new_row($node, "trouble $code $_") } 1 .. 3), map { new_row($node, "beside $code $_") } 1 .. 10);
	my $others = join(',', @ids[ 3 .. $#ids ]);

	sql($node, "SELECT FROM vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = ANY ('{$others}') AND state = 'completed'", '10', "$code: videos are made");
	wait_for($node, "SELECT count(*) FROM vibelogs WHERE id = ANY ('{$others}') AND video_generation_status = 'completed'", '10', "$code: others' rows are written within a second", patience => 1);
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = ANY ('{" . join(',', @ids) . "}') AND row_error ~ '$code'", '3', "$code: the others wait");
}
sql($node, 'DROP TRIGGER trouble ON vibelogs; DROP TRIGGER count_up ON vibelogs');

# -- crashes -------------------------------------------------------------------------------------------
# Nobody's video is given up since the server was killed, however often.
{
	my @ids = map { new_row($node, "killed: $_") } 1 .. 8;

	$storage->fault('upload', { kind => 'delay', ms => 60000 }, times => -1);
	sql($node, "SELECT FROM vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	my $copied = q{FROM vibevideo.job j WHERE j.state = 'processing' AND j.leased_by = (SELECT w.pid FROM vibevideo.worker_info() w)};
	for my $time (0, 1)
	{
		wait_for($node, "SELECT count(*) >= 3 $copied AND j.crashes = $time", 't', "killed: several are copied, time $time", hurry => 1);
		kill_process($node, worker_pid($node));
	}
	# others are copied meanwhile
	wait_for($node, "SELECT count(*) $copied AND j.crashes >= 2", '1', 'killed: a suspect is tried', hurry => 1);
	is(sql($node, "SELECT count(*) $copied AND j.crashes >= 2"), '1', 'killed: suspects are tried one at a time');
	$storage->clear_faults;
	kill_process($node, worker_pid($node));
	is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE state = 'failed'"), '0', 'killed: no one has failed for it');
	wait_for($node, "SELECT count(*) FROM vibelogs WHERE prompt ~ '^killed:' AND video_generation_status = 'completed'", '8', 'killed: all are copied', hurry => 1);
}

done_testing();
