# Plans and acts, by chance and with a worker: whatever happens between a plan and
# its act, no job is changed that was not in it, no user met, and no dollar spent
# beyond what it said; and what the act reports is what has happened.
#
#   make test SUITES=tap PROVE_TESTS=test/t/271_plans.pl PLANS_SEED=7 PLANS_ROUNDS=500

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use List::Util qw(sum0);
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage);
my $json = JSON::PP->new->canonical;

# -- by chance -----------------------------------------------------------------------------------------
my $seed = $ENV{PLANS_SEED} // 20261129;
my $rounds = $ENV{PLANS_ROUNDS} // 120;

srand($seed);
diag("PLANS_SEED=$seed");

sub one_of
{
	return $_[ int rand @_ ];
}

sub chance
{
	return rand() < $_[0];
}

my @states = qw(pending submitting submit_unknown queued generating processing completed failed cancelled);
my @users = qw(ann ben cyd);
my @models = qw(acme/a acme/b acme/c acme/none);
my @codes = qw(internal_error content_policy_violation EntityTooLarge submit_lost orphaned);

# the worker leaves these alone; nothing here depends on it
sql($node, <<'SQL');
SELECT vibevideo.pause('all');
CREATE TABLE other (id uuid PRIMARY KEY, prompt text);
INSERT INTO vibevideo.price_rule (endpoint, valid_from, unit, unit_price_usd, quantity, quantity_default)
VALUES ('acme/a', '2001-01-01', 'video', 0.25, NULL, NULL), ('acme/b', '2001-01-01', 'video', 1, NULL, NULL), ('acme/c', '2001-01-01', 'second', 1.1111, '$.duration', 3);
CREATE TABLE before (LIKE vibevideo.job);
-- what an act may have done to jobs that were there, and which jobs are new
CREATE VIEW changed AS
SELECT b.job_id FROM before b JOIN vibevideo.job j USING (job_id)
WHERE (b.state, b.cancel_requested_at, b.next_at, b.tries, b.forgotten_at, b.lease) IS DISTINCT FROM (j.state, j.cancel_requested_at, j.next_at, j.tries, j.forgotten_at, j.lease)
UNION ALL
-- a new attempt stands for the one before it
SELECT (SELECT max(b.job_id) FROM before b WHERE b.relation = j.relation AND b.vibelog_id = j.vibelog_id AND NOT b.orphan)
FROM vibevideo.job j WHERE NOT EXISTS (SELECT FROM before b WHERE b.job_id = j.job_id);
SQL

sub add_job
{
	my $state = one_of(@states, 'failed', 'failed', 'pending');
	my $ended = $state =~ /^(?:completed|failed|cancelled)$/;
	my $media = $state eq 'processing' || $state eq 'completed' || ($state eq 'failed' && chance(0.4));
	my $row = sprintf('00000000-0000-4000-8000-%012d', int rand 150);
	my @values = (one_of("'vibelogs'", "'vibelogs'", "'vibelogs'", "'vibelogs'", "'other'", 'NULL'), "'$row'", "'$state'", one_of(map({ "'$_'" } @users), 'NULL'),
		"'" . one_of(@models) . "'", $state eq 'failed' ? "'" . one_of(@codes) . "'" : 'NULL', $media ? "'https://fal.media/x'" : 'NULL', int rand 3, chance(0.1) ? 'true' : 'false',
		1 + int rand 3, $ended ? 'NULL' : "now() + interval '" . (int(rand 3) - 1) . " h'", $ended ? "now() - interval '" . int(rand 300) . " min'" : 'NULL', chance(0.1) && !$ended ? 'now()' : 'NULL');

	# a row has one active job
	sql($node, 'INSERT INTO vibevideo.job (relation, vibelog_id, state, requested_by, model, error_code, media_url, tries, orphan, attempt, next_at, completed_at, cancel_requested_at, input, error, created_at, row_dirty)'
		  . ' VALUES (' . join(', ', @values) . ", '{\"prompt\": \"kite\"}', 'why', now() - interval '10 h', false) ON CONFLICT DO NOTHING");
	return;
}

sub filter
{
	my %filter;

	$filter{state} = one_of(one_of(@states), [ map { one_of(@states, 'failed') } 1 .. 4 ]) if chance(0.4);
	$filter{status} = one_of(qw(queued processing completed failed cancelled)) if chance(0.1);
	$filter{error_code} = one_of(one_of(@codes), [ map { one_of(@codes) } 1 .. 2 ]) if chance(0.2);
	$filter{class} = one_of(qw(policy provider storage other)) if chance(0.1);
	$filter{user} = one_of(one_of(@users), [ map { one_of(@users) } 1 .. 2 ]) if chance(0.2);
	$filter{model} = one_of(@models) if chance(0.1);
	$filter{since} = int(rand 400) . ' minutes' if chance(0.2);
	$filter{until} = int(rand 100) . ' minutes' if chance(0.1);
	$filter{attempts} = 1 + int rand 3 if chance(0.1);
	$filter{cost} = one_of(0.25, 1, 2) if chance(0.1);
	$filter{orphan} = one_of(JSON::PP::true, JSON::PP::false) if chance(0.1);
	$filter{paid_not_stored} = one_of(JSON::PP::true, JSON::PP::false) if chance(0.15);
	$filter{key} = [ map { sprintf('00000000-0000-4000-8000-%012d', int rand 150) } 1 .. 40 ] if chance(0.15);
	$filter{prompt} = one_of('KITE', 'boat') if chance(0.05);
	return \%filter;
}

# What the manual says of a filter, said again: does a job match?
sub matches
{
	my ($filter, $job) = @_;
	my $among = sub { my ($value, $wanted) = @_; return !defined $wanted || (defined $value && !!grep { $_ eq $value } ref $wanted ? @$wanted : $wanted) };
	my $status = $job->{state} =~ /^(?:pending|submitting|submit_unknown)$/ ? 'queued' : $job->{state};
	my %class = (internal_error => 'provider', submit_lost => 'provider', content_policy_violation => 'policy', EntityTooLarge => 'storage', orphaned => 'other');
	my $paid = $job->{state} eq 'failed' && defined $job->{media_url};

	return $among->($job->{state}, $filter->{state}) && $among->($status, $filter->{status}) && $among->($job->{error_code}, $filter->{error_code})
	  && $among->(defined $job->{error_code} ? $class{ $job->{error_code} } : undef, $filter->{class}) && $among->($job->{requested_by}, $filter->{user})
	  && $among->($job->{model}, $filter->{model}) && $among->($job->{vibelog_id}, $filter->{key})
	  && (!defined $filter->{since_at} || $job->{moved_at} >= $filter->{since_at}) && (!defined $filter->{until_at} || $job->{moved_at} <= $filter->{until_at})
	  && $job->{attempt} >= ($filter->{attempts} // 0) && ($job->{cost_usd} // 0) >= ($filter->{cost} // 0)
	  && (!defined $filter->{orphan} || !$filter->{orphan} == !$job->{orphan}) && (!defined $filter->{paid_not_stored} || !$filter->{paid_not_stored} == !$paid)
	  && (!defined $filter->{prompt} || lc $filter->{prompt} eq 'kite');
}

# What can happen meanwhile, mostly to these jobs; each is one statement.
sub meddle
{
	my (@jobs) = @_;
	my $some = chance(0.7) ? 'job_id = ' . one_of(@jobs) : 'job_id = (SELECT j.job_id FROM vibevideo.job j ORDER BY random() LIMIT 1)';
	my $statement = one_of(
		"DELETE FROM vibevideo.job WHERE $some",
		"INSERT INTO vibevideo.job (relation, vibelog_id, state, attempt, model, input, next_at, completed_at, created_at, row_dirty) SELECT relation, vibelog_id, "
		  . one_of("'completed', attempt + 1, model, input, NULL, now()", "'failed', attempt + 1, model, input, NULL, now()", "'pending', attempt + 1, model, input, now(), NULL")
		  . ", now() - interval '10 h', false FROM vibevideo.job WHERE $some ON CONFLICT DO NOTHING",
		"UPDATE vibevideo.job SET error_code = '" . one_of(@codes) . "' WHERE state = 'failed' AND $some",
		"UPDATE vibevideo.job SET requested_by = '" . one_of(@users) . "', model = '" . one_of(@models) . "' WHERE $some",
		"UPDATE vibevideo.job SET state = 'failed', next_at = NULL, completed_at = now(), error_code = 'internal_error' WHERE vibevideo.is_active(state) AND $some",
		"UPDATE vibevideo.job SET state = 'cancelled', next_at = NULL, completed_at = now() WHERE state <> 'processing' AND vibevideo.is_active(state) AND $some",
		"UPDATE vibevideo.job SET state = 'processing', media_url = 'https://fal.media/y' WHERE state IN ('queued', 'generating') AND $some",
		"UPDATE vibevideo.job SET state = 'submitting' WHERE state = 'pending' AND $some",
		"UPDATE vibevideo.job SET cancel_requested_at = now() WHERE vibevideo.is_active(state) AND $some",
		"UPDATE vibevideo.job SET completed_at = now() WHERE completed_at IS NOT NULL AND $some",
		"UPDATE vibevideo.price_rule SET unit_price_usd = unit_price_usd * " . one_of(0.5, 0.9, 1.1, 2) . " WHERE endpoint = '" . one_of(@models) . "'",
		"INSERT INTO vibevideo.limit (scope, user_id, max_active) VALUES ('user', '" . one_of(@users) . "', " . int(rand 6) . ') ON CONFLICT (who) DO UPDATE SET max_active = EXCLUDED.max_active',
		"INSERT INTO vibevideo.limit (scope, user_id, spend_per_day_usd) VALUES ('user', '" . one_of(@users) . "', " . one_of(0, 1, 4) . ') ON CONFLICT (who) DO UPDATE SET spend_per_day_usd = EXCLUDED.spend_per_day_usd',
		'DELETE FROM vibevideo.limit WHERE random() < 0.5');

	sql($node, $statement);
	return;
}

my $holder = VibeTest::Session->start($node);
my %sum = map { $_ => 0 } qw(planned done skipped usd);
my (%why, @wrong);

for my $round (1 .. $rounds)
{
	my $action = one_of(qw(cancel retry retry retry resolve_not_sent forget_error));
	my $wanted = filter();
	my $filter = $json->encode($wanted);
	my $wrong = sub { push @wrong, "round $round ($action $filter): $_[0]" };

	sql($node, 'TRUNCATE vibevideo.job, vibevideo.limit, vibevideo_internal.slot, vibevideo_internal.till, vibevideo_internal.share_taken, vibevideo_internal.share_due, vibevideo_internal.counted') if $round % 10 == 1;
	add_job() for 1 .. ($round % 10 == 1 ? 150 : 15);
	my $plan = video($node, "vibevideo.plan('$action', '$filter', " . one_of(1000, 1000, 5) . ')');
	next unless $plan->{token};
	my $planned = video($node, "(SELECT job_ids, costs, extract(epoch FROM (filter ->> 'since')::timestamptz) AS since, extract(epoch FROM (filter ->> 'until')::timestamptz) AS until"
		  . " FROM vibevideo_internal.planned WHERE token = '$plan->{token}')");
	@$wanted{qw(since_at until_at)} = @$planned{qw(since until)};
	my %most;
	@most{ @{ $planned->{job_ids} } } = @{ $planned->{costs} };
	$wrong->('the plan counts other jobs') if keys %most != $plan->{jobs};
	$wrong->('the plan has other costs') if abs(sum0(values %most) - $plan->{cost_usd}) > 0.00001;

	# somebody holds some of the jobs, or has just asked for another of their rows
	my $held = chance(0.3);
	meddle(keys %most) for 1 .. int rand 12;
	$holder->ask('BEGIN; SELECT FROM vibevideo.job WHERE random() < 0.2 FOR UPDATE') if $held;

	# what there was, and what the act has made of it
	sql($node, 'BEGIN; TRUNCATE before; INSERT INTO before SELECT * FROM vibevideo.job');
	my $jobs = video($node, q{(SELECT json_object_agg(job_id, to_jsonb(b) || jsonb_build_object('moved_at', extract(epoch FROM coalesce(completed_at, created_at)))) AS by FROM before b)})->{by};
	my $done = video($node, "vibevideo.act('$plan->{token}', " . (defined $plan->{confirm} ? "'$plan->{confirm}'" : 'NULL') . ')');
	my @changed = split /\n/, sql($node, 'SELECT job_id FROM changed ORDER BY 1');
	my $made = video($node, q{(SELECT count(*) AS jobs, coalesce(sum(j.cost_usd), 0) AS usd FROM vibevideo.job j WHERE NOT EXISTS (SELECT FROM before b WHERE b.job_id = j.job_id))});
	my $resent = sql($node, q{SELECT coalesce(sum(j.cost_usd), 0) FROM vibevideo.job j JOIN before b USING (job_id) WHERE b.state = 'submit_unknown' AND j.state = 'pending'});
	my $users = sql($node, q{SELECT count(DISTINCT coalesce(b.requested_by, '')) FROM before b JOIN changed c USING (job_id)});
	my $twice = sql($node, q{SELECT count(*) FROM (SELECT FROM vibevideo.job j WHERE vibevideo.is_active(j.state) AND NOT j.orphan AND j.relation IS NOT NULL GROUP BY j.relation, j.vibelog_id HAVING count(*) > 1) x});
	my $over = sql($node, q{SELECT count(*) FROM vibevideo.limit l WHERE l.max_active IS NOT NULL
		AND (SELECT count(*) FROM vibevideo.job j WHERE vibevideo.is_active(j.state) AND j.requested_by = l.user_id AND NOT EXISTS (SELECT FROM before b WHERE b.job_id = j.job_id)) > 0
		AND (SELECT count(*) FROM vibevideo.job j WHERE vibevideo.is_active(j.state) AND j.requested_by = l.user_id AND NOT EXISTS (SELECT FROM before b WHERE b.job_id = j.job_id)) > l.max_active});
	sql($node, 'COMMIT');
	$holder->ask('ROLLBACK') if $held;

	$wrong->("job $_ was changed, and is not in the plan") for grep { !exists $most{$_} } @changed;
	$wrong->("job $_ was changed, and does not match") for grep { !matches($wanted, $jobs->{$_}) } @changed;
	$wrong->(@changed . " jobs were changed, $done->{jobs} reported") if @changed != $done->{jobs};
	$wrong->("$users users were met, $done->{users} reported") if $users != $done->{users};
	$wrong->("more users than the $plan->{users} of the plan") if $done->{users} > $plan->{users};
	$wrong->("more jobs than the $plan->{jobs} of the plan") if $done->{jobs} > $plan->{jobs};
	my $spent = $made->{usd} + $resent;
	$wrong->("$spent USD are spent, $done->{cost_usd} reported") if abs($spent - $done->{cost_usd}) > 0.00001;
	$wrong->("$spent USD are more than the $plan->{cost_usd} of the plan") if $spent > $plan->{cost_usd} + 0.00001;
	$wrong->("and more than these jobs might cost") if $spent > sum0(map { $most{$_} // 0 } @changed) + 0.00001;
	$wrong->("skipped: $done->{skipped}") if $done->{skipped} != $plan->{jobs} - $done->{jobs};
	my $reasons = 0;
	for my $reason (keys %{ $done->{why} }) { $reasons += $done->{why}{$reason}; $why{$reason} += $done->{why}{$reason} }
	$wrong->("reasons for $reasons, of $done->{skipped} skipped") if $reasons != $done->{skipped};
	$wrong->('a row has two active jobs') if $twice > 0;
	$wrong->('a user is over his limit by it') if $over > 0;
	$sum{planned} += $plan->{jobs};
	$sum{done} += $done->{jobs};
	$sum{skipped} += $done->{skipped};
	$sum{usd} += $done->{cost_usd};
}
is(join("\n", @wrong), '', "$rounds rounds: no act goes beyond its plan, and each reports what it did");
note("jobs planned: $sum{planned}, done: $sum{done}, skipped: $sum{skipped}, USD: $sum{usd}; ", $json->encode(\%why));
cmp_ok($sum{done}, '>', $rounds, 'a lot was done');
cmp_ok($sum{usd}, '>', 10, 'and spent');
ok($why{$_}, "and skipped because of: $_") for qw(changed gone price limit busy superseded);

# -- many jobs, some over a limit: not one statement a job --------------------------------------------------
{
	sql($node, q{TRUNCATE vibevideo.job, vibevideo.limit, vibevideo_internal.slot, vibevideo_internal.till, vibevideo_internal.share_taken, vibevideo_internal.share_due, vibevideo_internal.counted;
		UPDATE vibevideo.price_rule SET unit_price_usd = CASE endpoint WHEN 'acme/b' THEN 1 ELSE 0.25 END WHERE endpoint LIKE 'acme/%';
		INSERT INTO vibevideo.job (relation, vibelog_id, state, requested_by, model, error_code, next_at, completed_at, input, created_at, row_dirty)
		SELECT 'vibelogs', gen_random_uuid(), 'failed', 'user ' || n % 10, CASE WHEN n % 20 < 10 THEN 'acme/a' ELSE 'acme/b' END, 'internal_error', NULL, now() - n * interval '1 s', '{"prompt": "kite"}', now() - interval '10 h', false
		FROM generate_series(1, 1000) n});
	my $act = sub {
		my ($limits, $most) = @_;

		sql($node, "BEGIN; SET LOCAL track_functions = 'pl'; $limits");
		my $plan = video($node, q{vibevideo.plan('retry', '{}')});
		my $done = video($node, "vibevideo.act('$plan->{token}', '$plan->{confirm}')");
		cmp_ok(sql($node, q{SELECT calls FROM pg_stat_xact_user_functions WHERE funcname = 'do_deed'}), '<=', $most, "no more than $most statements");
		my $in_work = sql($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'pending'});
		sql($node, 'ROLLBACK');
		is($in_work, $done->{jobs}, 'what it reports was done');
		return "$done->{jobs} $done->{cost_usd} " . $json->encode($done->{why});
	};
	is($act->('', 3), '1000 625 {}', 'no limit');
	is($act->(q{INSERT INTO vibevideo.limit (user_id, max_active) VALUES ('user 3', 2), ('user 4', 0)}, 80), '802 501.25 {"limit":198}', 'one user may have two more, another none');
	is($act->(q{INSERT INTO vibevideo.limit (user_id, spend_per_day_usd) VALUES ('user 3', 10.5)}, 80), '918 573 {"limit":82}', 'one has a budget: what is cheaper still fits');
	is($act->(q{INSERT INTO vibevideo.limit (scope, submits_per_day) VALUES ('global', 77)}, 80) =~ s/ .* / /r, '77 {"limit":923}', 'all together have a limit');
}

# -- with the worker -----------------------------------------------------------------------------------------
sql($node, 'TRUNCATE vibevideo.job, vibevideo.limit, vibevideo_internal.slot, vibevideo_internal.till, vibevideo_internal.share_taken, vibevideo_internal.share_due, vibevideo_internal.counted; SELECT vibevideo.resume()');
{
	# it sends and follows while operators cancel and retry: each row ends once, and is paid for as often as was said
	$fal->default(outcome => 'infra', error_type => 'internal_error', hold => undef);
	sql($node, 'ALTER SYSTEM SET vibevideo.max_renders = 1; SELECT pg_reload_conf()');
	wait_for($node, 'SHOW vibevideo.max_renders', '1', 'no automatic attempts');
	my @rows = split /\n/, sql($node, q{INSERT INTO vibelogs (prompt) SELECT 'with the worker ' || i FROM generate_series(1, 40) i RETURNING id});
	sql($node, "SELECT count(*) FROM vibevideo_submit_batch('{" . join(',', @rows) . "}')");
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'failed' AND error_code = 'internal_error'}, '40', 'forty jobs fail', hurry => 1);
	$fal->default(outcome => 'ok', error_type => undef);
	my $plan = video($node, q{vibevideo.plan('retry', '{"class": "provider", "since": "1 hour"}')});
	is("$plan->{jobs} $plan->{cost_usd} $plan->{confirm}", '40 20 spend 20.00', 'a plan for all of them');
	my $accepted = $fal->ledger->{accepted};
	# while it is carried out, half of the rows' users try again themselves, and an operator cancels what waits
	my $user = background_sql($node);
	$user->query_safe(join ';', map { "SELECT vibevideo_retry('$_')" } @rows[ 0 .. 19 ]);
	my $done = video($node, "vibevideo.act('$plan->{token}', '$plan->{confirm}')");
	is("$done->{jobs} $done->{cost_usd}", '20 10', 'those that nobody has retried are');
	is_deeply($done->{why}, { superseded => 20 }, 'the others have newer jobs');
	my $cancelled = video($node, q{(SELECT coalesce((SELECT a.jobs FROM vibevideo.plan('cancel', '{"state": "pending"}') p CROSS JOIN LATERAL vibevideo.act(p.token) a WHERE p.token IS NOT NULL), 0) AS jobs)});
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE next_at IS NOT NULL OR row_dirty}, '0', 'all end', hurry => 1);
	my $by_state = video($node, q{(SELECT json_object_agg(state, n) AS n FROM (SELECT state, count(*) AS n FROM vibevideo.job WHERE attempt = 2 GROUP BY 1) x)})->{n};
	is(($by_state->{completed} || 0) + ($by_state->{cancelled} || 0), 40, 'each row has had one more attempt') or diag(explain($by_state));
	is($by_state->{cancelled} || 0, $cancelled->{jobs}, 'those that were cancelled are, and no others');
	is($fal->ledger->{accepted} - $accepted, $by_state->{completed}, 'and each of the others is one render');
	is(sql($node, q{SELECT count(*) FROM vibelogs v JOIN vibevideo.job j ON j.vibelog_id = v.id::text AND j.attempt = 2 WHERE v.video_generation_status IS DISTINCT FROM j.state}), '0', 'which the rows show');
}
{
	# dead letters: Storage refuses, then takes them; no render is paid for again
	$storage->fault('upload', { kind => 'http', status => 400, body => { statusCode => '403', error => 'AccessDenied', message => 'no' } }, times => -1);
	my @rows = split /\n/, sql($node, q{INSERT INTO vibelogs (prompt) SELECT 'dead letter ' || i FROM generate_series(1, 5) i RETURNING id});
	sql($node, "SELECT count(*) FROM vibevideo_submit_batch('{" . join(',', @rows) . "}')");
	wait_for($node, q{SELECT count(*) FROM vibevideo.jobs WHERE state = 'failed' AND media_url IS NOT NULL}, '5', 'five videos are made, and not stored', hurry => 1, patience => 60);
	$storage->clear_faults;
	my $accepted = $fal->ledger->{accepted};
	my $plan = video($node, q{vibevideo.plan('retry', '{"paid_not_stored": true}')});
	is("$plan->{jobs} $plan->{cost_usd}", '5 0', 'they cost nothing');
	is_deeply([ map { $_->{does} } @{ $plan->{examples} } ], [ ('copy') x 5 ], 'since they are only copied');
	is(video($node, "vibevideo.act('$plan->{token}')")->{jobs}, 5, 'all of them');
	wait_for($node, q{SELECT count(*) FROM vibelogs WHERE prompt LIKE 'dead letter%' AND video_generation_status = 'completed'}, '5', 'and are stored', hurry => 1);
	is($fal->ledger->{accepted}, $accepted, 'without another render');
}
{
	# check_config, too, forgets what has been dealt with
	my $row = new_row($node, 'to be forgotten');
	my $line = q{SELECT status FROM vibevideo_internal.check_jobs() WHERE check_name = 'dead_letters'};

	sql($node, q{INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, generated_at, media_url, completed_at, row_dirty, created_at) SELECT 'vibelogs', } . "'$row'" . q{, 'failed', 'fal-ai/minimax/video-01', '{}', NULL, now(), 'https://fal.media/x', now(), false, now() - interval '1 h'});
	is(sql($node, $line), 'warn', 'a dead letter is reported');
	sql($node, "SELECT a.jobs FROM vibevideo.plan('forget_error', '{\"key\": \"$row\"}') p CROSS JOIN LATERAL vibevideo.act(p.token) a");
	is(sql($node, $line), 'ok', 'until it is forgotten');
}

done_testing();
