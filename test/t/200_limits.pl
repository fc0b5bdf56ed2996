# Limits and costs against fal: a hundred calls at a time, what an end gives
# back, attempts that start by themselves, crash and dump; vibevideo.max_active.

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $callers = 100;
my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'max_connections' => 150,
	'vibevideo.poll_interval' => '1h',
	'vibevideo.submit_timeout' => '60s',
	'vibevideo.max_renders' => 2 });

sql($node, <<'SQL');
CREATE ROLE authenticated;
SELECT vibevideo.grant_api_roles();
ALTER TABLE vibelogs ADD COLUMN owner uuid, ADD COLUMN n int UNIQUE;
GRANT SELECT, UPDATE ON vibelogs TO authenticated;
ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON vibelogs USING (owner::text = current_setting('request.jwt.claims', true)::json->>'sub');
CREATE TABLE answers (n int, code text, detail text, hint text);
GRANT INSERT ON answers TO authenticated;
-- as PostgREST calls it, but an error is noted
CREATE FUNCTION call(wave int, caller int, sub text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	id uuid;
	detail text;
	hint text;
	code text = '202';
BEGIN
	PERFORM set_config('request.jwt.claims', json_build_object('sub', sub, 'role', 'authenticated')::text, true);
	SET LOCAL ROLE authenticated;
	SELECT v.id INTO id FROM vibelogs v WHERE v.n = wave * 1000 + caller;
	BEGIN
		PERFORM vibevideo_submit(id);
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	END;
	INSERT INTO answers VALUES (wave * 1000 + caller, code, detail, hint);
END
$$;
SQL

my $wave = 0;
my $ann = '00000000-0000-0000-0000-00000000000a';

# A hundred calls at a time, each for a row of its own; $user is SQL that makes
# the user out of client_id.  A call that waits for a lock longer than patience
# answers 55P03.  Returns what was answered, and the rows' prompt.
sub rush
{
	my ($name, $user, %behaviour) = @_;
	my $patience = delete $behaviour{patience};
	my $prompt = 'wave ' . ++$wave;
	my $sub = $user;

	$sub =~ s/:client_id/i/g;
	sql($node, "INSERT INTO vibelogs (prompt, n, owner) SELECT '$prompt', $wave * 1000 + i, ($sub)::uuid FROM generate_series(0, $callers - 1) i");
	$fal->rule("^$prompt\$", hold => 'queue', %behaviour);
	$node->pgbench("--no-vacuum --client=$callers --transactions=1", 0, [qr{processed: $callers/$callers}], [qr{^$}], $name,
		{ "200_wave_$wave" => "SET lock_timeout = '" . ($patience || '0') . "';\nSELECT call($wave, :client_id, ($user)::text);" });
	return (sql($node, "SELECT string_agg(code || ' ' || count, ', ' ORDER BY code) FROM (SELECT code, count(*) FROM answers WHERE n / 1000 = $wave GROUP BY code) a"),
		$prompt);
}

# Ends all that is at fal, unless it is done.
sub end_all
{
	sql($node, "SELECT count(vibevideo_cancel(vibelog_id::uuid)) FROM vibevideo.job WHERE next_at IS NOT NULL");
	sql($node, 'SELECT vibevideo.wake()');
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE next_at IS NOT NULL", '0', 'all ended', hurry => 1);
	return;
}

# -- a hundred calls, a limit of ten ------------------------------------------------------
{
	sql($node, "INSERT INTO vibevideo.limit (scope, max_active) VALUES ('default', 10)");
	my ($answers, $prompt) = rush('a hundred calls of a user nobody has seen before', "'$ann'");
	is($answers, '202 10, PT429 90', 'ten of them get a video');
	is(scalar($fal->renders($prompt)), 10, 'and fal got ten jobs');
	is(sql($node, "SELECT DISTINCT detail FROM answers WHERE code = 'PT429'"), "Limit max_active of user $ann is 10, all in use.",
		'the others are told which limit');
	is(sql($node, "SELECT DISTINCT hint FROM answers WHERE code = 'PT429'"), 'Come back when one of them is done.', 'and when to come back');
	is(sql($node, "SELECT active, reserved_usd, settled_usd FROM vibevideo.costs WHERE user_id = '$ann'"), '10|5.0|0', 'ten are reserved');
	end_all();
	is(sql($node, "SELECT active, reserved_usd, settled_usd FROM vibevideo.costs WHERE user_id = '$ann'"), '0|0|0', 'cancelled: none');

	# all that are let in talk to fal at the same time, and nobody waits for that
	($answers, $prompt) = rush('again, with a slow fal', "'$ann'", submit_ms => 3000, patience => '1s');
	is($answers, '202 10, PT429 90', 'ten again, without waiting for each other');
	end_all();
	sql($node, 'DELETE FROM vibevideo.limit WHERE true');
}

# -- a day, and money, for all together --------------------------------------------------------
{
	my $anybody = "'00000000-0000-0000-0000-0000000001' || lpad((:client_id % 20)::text, 2, '0')";

	sql($node, "INSERT INTO vibevideo.limit (scope, submits_per_day) VALUES ('global', 7)");
	my ($answers, $prompt) = rush('twenty users, five calls each', $anybody);
	is($answers, '202 7, PT429 93', 'seven are let in');
	is(sql($node, "SELECT DISTINCT detail FROM answers WHERE n / 1000 = $wave AND code = 'PT429'"),
		'Limit submits_per_day of all users together is reached.', 'nobody is told how many that is');
	# a minute may have passed
	like(sql($node, "SELECT min(hint) FROM answers WHERE n / 1000 = $wave AND code = 'PT429'"),
		qr/^Come back after \d{4}-\d\d-\d\d 00:00 UTC, in \d+ h \d+ min\.$/, 'but when to come back');
	end_all();

	sql($node, "UPDATE vibevideo.limit SET submits_per_day = NULL, spend_per_day_usd = 6.3 WHERE scope = 'global'");
	($answers, $prompt) = rush('again, with a budget', $anybody);
	is($answers, '202 12, PT402 88', '6.3 USD are good for twelve videos at 0.5');
	is(scalar($fal->renders($prompt)), 12, 'fal got twelve jobs');
	is(sql($node, "SELECT sum(used) FROM vibevideo_internal.till WHERE who = 'global' AND begins >= date_trunc('day', now(), 'UTC')"), '6.0', 'six are taken');
	end_all();
	is(sql($node, "SELECT sum(used) FROM vibevideo_internal.till WHERE who = 'global' AND begins >= date_trunc('day', now(), 'UTC')"), '0.0', 'and given back');
	sql($node, 'DELETE FROM vibevideo.limit WHERE true');
}

# -- money by the second: what a video costs depends on its input --------------------------------
{
	my $model = 'fal-ai/kling-video/v3/pro/text-to-video';
	my $mine = "requested_by = '$ann' AND model = '$model'";

	$fal->set_prices({ endpoint => $model, unit => 'seconds', unit_price => '0.168', quantity => { input => 'duration', default => 5 },
		tiers => [ { applies => { generate_audio => JSON::PP::false }, unit_price => '0.112' } ] });
	sql($node, <<"SQL");
CREATE FUNCTION worded(v vibelogs) RETURNS jsonb LANGUAGE sql IMMUTABLE AS \$\$
	SELECT jsonb_build_object('prompt', v.prompt, 'generate_audio', v.n % 2 = 0) || CASE v.n % 3 WHEN 1 THEN '{"duration": "10"}' WHEN 2 THEN '{"duration": "15"}' ELSE '{}' END::jsonb \$\$;
SELECT vibevideo.attach('vibelogs', input_function => 'worded', model => '$model');
INSERT INTO vibevideo.limit (scope, spend_per_day_usd) VALUES ('default', 12.34);
SQL
	my ($answers, $prompt) = rush('a hundred calls of a user, each at a price of its own', "'$ann'");
	my ($let_in, $refused) = $answers =~ /^202 (\d+), PT402 (\d+)$/;
	is($let_in + $refused, $callers, 'each is let in or too expensive') or diag($answers);
	is(scalar($fal->renders($prompt)), $let_in, 'fal got those that are let in');
	is(sql($node, "SELECT sum(cost_usd) BETWEEN 6 AND 12.34, bool_and(cost_usd = CASE v.n % 2 WHEN 0 THEN 0.168 ELSE 0.112 END * (CASE v.n % 3 WHEN 1 THEN 10 WHEN 2 THEN 15 ELSE 5 END + 0.1)), count(*)
		FROM vibevideo.job j JOIN vibelogs v ON v.id::text = j.vibelog_id WHERE $mine"), "t|t|$let_in", 'no more than the budget is reserved, each at its price');
	is(sql($node, "SELECT (SELECT sum(used) FROM vibevideo_internal.till WHERE who = 'user:$ann' AND begins >= date_trunc('day', now(), 'UTC')) = sum(cost_usd) FROM vibevideo.job WHERE $mine"), 't',
		'which is what is taken from it');
	$fal->command('*', 'finish');
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE next_at IS NOT NULL", '0', 'all are made', hurry => 1);
	my $nano = $fal->bill('?events=0')->{by_endpoint}{$model}{total_nano_usd};
	is(sql($node, "SELECT $nano > 0 AND $nano <= 1e9 * sum(cost_estimated_usd) AND sum(cost_estimated_usd) <= 12.34 FROM vibevideo.job WHERE $mine AND billed"), 't', 'fal bills no more than was reserved');

	# a submit that is rolled back costs what its input cost when it was made
	sql($node, 'DELETE FROM vibevideo.limit WHERE true');
	my $id = sql($node, "INSERT INTO vibelogs (prompt, n, owner) VALUES ('rolled back', 7, '$ann') RETURNING id");
	my $session = background_sql($node);
	$fal->rule('^rolled back$', hold => 'queue');
	$session->query_safe("BEGIN; SET LOCAL request.jwt.claims = '{\"sub\": \"$ann\"}'; SELECT FROM vibevideo_submit('$id')");
	sql($node, "SELECT vibevideo.set_price('$model', 9)");
	$session->query_safe('ROLLBACK');
	$session->quit;
	wait_for($node, "SELECT vibevideo.wake(); SELECT cost_estimated_usd FROM vibevideo.job WHERE orphan AND vibelog_id = '$id'", qr/^\n?1\.1312$/, 'an orphan has the price of its time');
	end_all();
	sql($node, "SELECT vibevideo.delete_price('$model'), vibevideo.attach('vibelogs', input_function => '', model => '')");
	sql($node, "DELETE FROM vibevideo.job WHERE model = '$model'");
}

# -- a user's own row, and every limit at once -----------------------------------------------------
{
	sql($node, "INSERT INTO vibevideo.limit (scope, max_active, submits_per_day, spend_per_day_usd) VALUES ('default', 3, 5, 100), ('global', 50, 17, 1000)");
	sql($node, "INSERT INTO vibevideo.limit (user_id, max_active) VALUES ('00000000-0000-0000-0000-000000000100', 0)");
	my ($answers) = rush('ten users, ten calls each', "'00000000-0000-0000-0000-00000000010' || :client_id % 10");
	is($answers, '202 17, PT429 83', 'no limit is passed, and what there is is used');
	is(sql($node, "SELECT max(count) FROM (SELECT count(*) FROM vibevideo.job WHERE next_at IS NOT NULL GROUP BY requested_by) j"), '3', 'nor any user\'s');
	is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE next_at IS NOT NULL AND requested_by LIKE '%100'"), '0', 'none means none');
	end_all();
	sql($node, 'DELETE FROM vibevideo.limit WHERE true');
}

sub as_user
{
	my ($user, $statement) = @_;

	return sql($node, "BEGIN; SET LOCAL request.jwt.claims = '{\"sub\": \"$user\"}'; $statement; COMMIT");
}

sub held
{
	my ($user) = @_;

	return sql($node, "SELECT count(*) FILTER (WHERE kind = 'active'), count(*) FILTER (WHERE kind = 'submits'), "
		  . "(SELECT sum(used)::float FROM vibevideo_internal.till WHERE who = 'user:$user' AND begins >= date_trunc('day', now(), 'UTC')) "
		  . "FROM vibevideo_internal.slot WHERE who = 'user:$user' AND day >= vibevideo_internal.today()");
}

# -- what ends give back -------------------------------------------------------------------------
{
	sql($node, "INSERT INTO vibevideo.limit (scope, max_active, submits_per_day, spend_per_day_usd) VALUES ('default', 3, 5, 100)");
	my %id = map { $_ => new_row($node, $_ eq 'done' ? 'all is well' : "end $_") } qw(done failed refused cancelled rolled_back);

	$fal->rule('^end ', hold => 'queue');
	as_user('ben', "SELECT vibevideo_submit('$id{done}')");
	is(held('ben'), '1|1|0.5', 'a job holds its part of each limit');
	wait_for_status($node, $id{done}, 'completed');
	is(held('ben'), '0|1|0.5', 'a video that was made keeps what was paid');
	is(sql($node, "SELECT submits, active, videos, reserved_usd, settled_usd FROM vibevideo.costs WHERE user_id = 'ben'"),
		'1|0|1|0|0.5', 'which is what costs say');
	as_user('ben', "SELECT vibevideo_submit('$id{failed}')");
	$fal->command(job_of($node, $id{failed})->{request_id}, 'fail', error_type => 'content_policy_violation', http => 422);
	wait_for_status($node, $id{failed}, 'failed');
	is(held('ben'), '0|1|0.5', 'one that failed gives everything back');
	$fal->fault('submit', { kind => 'http', status => 422 }, prompt => '^end refused$');
	as_user('ben', "SELECT vibevideo_submit('$id{refused}')");
	is(status_of($node, $id{refused})->{status}, 'failed', 'one that fal refused');
	is(held('ben'), '0|1|0.5', 'too');
	as_user('ben', "SELECT vibevideo_submit('$id{cancelled}')");
	is(held('ben'), '1|2|1', 'again one');
	sql($node, "SELECT vibevideo_cancel('$id{cancelled}')");
	wait_for_status($node, $id{cancelled}, 'cancelled');
	is(held('ben'), '0|1|0.5', 'cancelled at fal, it gives everything back');
	sql($node, "BEGIN; SET LOCAL request.jwt.claims = '{\"sub\": \"ben\"}'; SELECT vibevideo_submit('$id{rolled_back}'); ROLLBACK");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE orphan", 'cancelled', 'which becomes an orphan', hurry => 1);
	is(held('ben'), '0|1|0.5', 'that gives everything back as well');
}

# -- an attempt that starts by itself --------------------------------------------------------------
{
	my $id = new_row($node, 'again');

	$fal->rule('^again$', outcome => 'infra', error_type => 'runner_disconnected');
	sql($node, "INSERT INTO vibevideo.limit (user_id, max_active, submits_per_day) VALUES ('cal', 5, 0)");
	sql($node, "UPDATE vibevideo.limit SET submits_per_day = 1 WHERE user_id = 'cal'");
	as_user('cal', "SELECT vibevideo_submit('$id')");
	# somebody takes the place before the attempt fails
	sql($node, "UPDATE vibevideo.limit SET submits_per_day = 0 WHERE user_id = 'cal'");
	wait_for($node, "SELECT string_agg(state || ' ' || coalesce(error_code, ''), ', ' ORDER BY attempt) FROM vibevideo.job WHERE vibelog_id = '$id'",
		'failed runner_disconnected, failed limit', 'over a limit it has failed from the beginning', hurry => 1);
	is(scalar($fal->renders('again')), 1, 'and is not sent');
	wait_for_status($node, $id, 'failed');
	is(words_of($node, $id, 'failed'), 'no new attempt was made: no more videos can be requested today. Limit submits_per_day of user cal is 0, all used up.',
		'operators read why');
	is(sql($node, "SELECT video_generation_error FROM vibelogs WHERE id = '$id'"), 'No new attempt was made, since a limit is reached', 'so does its user');
	sql($node, "DELETE FROM vibevideo.limit WHERE user_id = 'cal'");
}

# -- two transactions that ask for two users' videos crosswise ------------------------------------------
{
	my @id = map { new_row($node, "cross $_") } 1 .. 4;
	my @session = map { background_sql($node) } 1 .. 2;
	my $ask = sub {
		my ($session, $user, $id) = @_;
		return $session->query_safe("SET LOCAL request.jwt.claims = '{\"sub\": \"$user\"}'; SELECT status FROM vibevideo_submit('$id')");
	};

	$fal->rule('^cross ', hold => 'queue');
	sql($node, "INSERT INTO vibevideo.limit (scope, max_active, submits_per_day, spend_per_day_usd) VALUES ('global', 100, 100, 100)");
	# the slots are made before
	as_user($_, "SELECT vibevideo_submit('" . new_row($node, "cross before $_") . "')") for qw(dan eve);
	$_->query_safe('BEGIN; SET lock_timeout = \'3s\'') for @session;
	is($ask->($session[0], 'dan', $id[0]), 'queued', 'a transaction asks for one user');
	is($ask->($session[1], 'eve', $id[1]), 'queued', 'another for another');
	is($ask->($session[0], 'eve', $id[2]), 'queued', 'the first for the second\'s user');
	is($ask->($session[1], 'dan', $id[3]), 'queued', 'and the second for the first\'s: nobody waits');
	$_->query_safe('COMMIT') for @session;
	$_->quit for @session;
	is(held('dan') . ' ' . held('eve'), '3|3|1.5 3|3|1.5', 'all are counted');
	sql($node, "DELETE FROM vibevideo.limit WHERE scope = 'global'");
}

# -- a crash, a dump ------------------------------------------------------------------------------
{
	my $before = held('dan');

	$node->stop('immediate');
	$node->start;
	is(sql($node, 'SELECT count(*) FROM vibevideo_internal.slot'), '0', 'a crash forgets the slots');
	my $id = new_row($node, 'after the crash');
	my $log = -s $node->logfile;
	my ($state, $text) = sql_error($node, "BEGIN; SET LOCAL request.jwt.claims = '{\"sub\": \"dan\"}'; SELECT vibevideo_submit('$id')");
	is($state, 'PT429', 'but not the limit');
	unlike($text, qr/CONTEXT:/, 'the error has no context of ours');
	unlike(slurp_file($node->logfile, $log), qr/CONTEXT:/, 'nor has the log');
	($state, $text) = sql_error($node, "BEGIN; SET LOCAL request.jwt.claims = '{\"sub\": \"dan\"}'; DO \$\$ BEGIN PERFORM vibevideo_submit('$id'); END \$\$");
	like($text, qr/CONTEXT:  SQL statement "SELECT vibevideo_submit\('$id'\)"\nPL\/pgSQL function inline_code_block line 1 at PERFORM\n/, 'but the context of the caller');
	unlike($text, qr/vibevideo(?:_internal)?\.(?:job|reserve|over_limit)/, 'and only that');
	sql($node, "SELECT vibevideo_cancel((SELECT vibelog_id::uuid FROM vibevideo.job WHERE requested_by = 'dan' AND next_at IS NOT NULL LIMIT 1))");
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE requested_by = 'dan' AND next_at IS NOT NULL", '2', 'one ends', hurry => 1);
	$fal->rule('^after the crash$', hold => 'queue');
	as_user('dan', "SELECT vibevideo_submit('$id')");
	is(held('dan'), $before, 'as many as before');

	my $costs = 'SELECT * FROM vibevideo.costs ORDER BY 1, 2, 3';
	my $file = $node->basedir . '/dump.sql';
	sql($node, "DELETE FROM vibevideo.job WHERE state = 'cancelled'");
	$node->command_ok([ 'pg_dump', '--file', $file, '--dbname', $node->connstr('postgres') ], 'a dump');
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr('restored') ], 'can be restored, full limits or not');
	my $sums = 'SELECT * FROM vibevideo.costs_by_month ORDER BY 1, 2; SELECT * FROM vibevideo.costs_by_day ORDER BY 1, 2';
	is($node->safe_psql('restored', $_), $node->safe_psql('postgres', $_), 'with what things have cost') for $costs, $sums;
	is($node->safe_psql('restored', 'SELECT scope, max_active FROM vibevideo.limit'), 'default|3', 'and the limits');
	$node->safe_psql('restored', 'SELECT vibevideo.resume()');
	($state) = sql_error($node, "BEGIN; SET LOCAL request.jwt.claims = '{\"sub\": \"dan\"}'; SELECT vibevideo_submit_batch(ARRAY['" . new_row($node, 'x', 'restored') . "'::uuid])", 'restored');
	is($state, 'PT429', 'which hold there, too');
	$node->safe_psql('postgres', 'DROP DATABASE restored WITH (FORCE)');

	# as some tools restore, and as logical replication copies: without triggers
	$node->safe_psql('postgres', 'CREATE DATABASE quiet');
	my ($out, $err);
	IPC::Run::run([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('quiet') ],
		'<', \("SET session_replication_role = replica;\n" . slurp_file($file)), '>', \$out, '2>', \$err) or diag($err);
	is($node->safe_psql('quiet', $costs), $node->safe_psql('postgres', $costs), 'restored without triggers: costs are there');
	is($node->safe_psql('quiet', 'SELECT count(*) FROM vibevideo_internal.past_costs_by_day'), '0', 'but not their sums');
	$node->safe_psql('quiet', 'SELECT vibevideo.pause(\'all\'), vibevideo.resume(), vibevideo.pause(\'all\')');
	is($node->safe_psql('quiet', $sums), $node->safe_psql('postgres', $sums), 'which resume() makes');
	$node->safe_psql('postgres', 'DROP DATABASE quiet WITH (FORCE)');

	# the worker settles what was inserted when it had ended, and adds it up
	my $total = 'SELECT sum(submits), sum(videos), sum(settled_usd) FROM ';
	sql($node, q{INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, media_url, next_at, completed_at, row_dirty)
		SELECT 'vibelogs'::regclass, gen_random_uuid(), 'completed', 'fal-ai/minimax/video-01', '{}', 'old', 'http://media', NULL, now(), false FROM generate_series(1, 3)});
	is(sql($node, "$total vibevideo.costs WHERE user_id = 'old'"), '3|3|1.5', 'jobs that had ended when they were inserted cost');
	wait_for($node, "SELECT vibevideo.wake(); $total vibevideo.past_costs WHERE user_id = 'old'", qr/^\n?3\|3\|1\.5$/, 'and are added up');
	is(sql($node, "$total vibevideo.costs WHERE user_id = 'old'"), '3|3|1.5', 'once');
	end_all();
	sql($node, 'DELETE FROM vibevideo.limit WHERE true');
}

# -- vibevideo.max_active ------------------------------------------------------------------------
{
	my %id = map { $_ => new_row($node, "busy $_") } 1 .. 7;
	my $there = "SELECT string_agg(j.input->>'prompt', ', ' ORDER BY j.input->>'prompt') FROM vibevideo.job j WHERE j.state IN ('queued', 'generating')";

	$fal->rule('^busy ', hold => 'queue');
	$node->append_conf('postgresql.conf', 'vibevideo.max_active = 2');
	$node->reload;
	wait_for($node, 'SHOW vibevideo.max_active', '2', 'two at a time');
	as_user('flo', "SELECT vibevideo_submit('$id{$_}')") for 1 .. 3;
	ok(status_of($node, $id{2})->{request_id}, 'two are sent in the call');
	my $third = status_of($node, $id{3});
	is($third->{request_id}, undef, 'the third is not');
	is($third->{status}, 'queued', 'but queued');
	is($third->{message}, 'Waiting to be sent, you are next', 'and says why');
	as_user('flo', "SELECT vibevideo_submit_batch(ARRAY['$id{4}', '$id{5}']::uuid[])");
	as_user('gus', "SELECT vibevideo_submit('$id{6}')");
	sql($node, 'SELECT pg_sleep(0.7)');
	is(sql($node, $there), 'busy 1, busy 2', 'the worker keeps them');
	is(video($node, "vibevideo_cancel('$id{4}')")->{status}, 'cancelled', 'one that waits is cancelled at once');
	is(scalar($fal->renders('busy 4')), 0, 'and fal never knew');

	sql($node, "SELECT vibevideo_cancel('$id{1}')");
	wait_for($node, $there, 'busy 2, busy 3', 'when one ends the oldest is sent');
	sql($node, "SELECT vibevideo_cancel('$id{2}')");
	# each user's oldest before anybody's second
	wait_for($node, $there, qr/^busy 3, busy [56]$/, 'and so on');
	is(sql($node, "SELECT vibevideo_internal.room_at_fal()"), '0', 'never more than two');
	sql($node, "SELECT vibevideo_cancel('$id{3}')");
	wait_for($node, $there, 'busy 5, busy 6', 'the last two');
	sql($node, "SELECT vibevideo_cancel('$id{5}')");
	wait_for($node, $there, 'busy 6', 'nothing waits');
	ok(video($node, "vibevideo_submit('$id{7}')")->{request_id}, 'so that a call can send again');
	is(scalar(grep { ($_->{input}{prompt} || '') =~ /^busy / } @{ $fal->ledger->{jobs} }), 6, 'six renders for seven rows');
}

done_testing();
