# Viewers and operators among strangers.  Whatever they may call runs as the
# extension's owner: each of them gets what the level says, through every door,
# and nothing else; and what is done is in an audit that they cannot touch.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeRest;
use VibeTest;

my $fal = start_fal(default => { hold => 'queue' });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0);
my $jwt = $storage->{ready}{service_jwt};
my $secrets = qr/key-secret|\Q$jwt\E/;
my $wish = 'a wish that nobody is to see';

sql($node, 'CREATE EXTENSION vibevideo');
supabase_roles($node);
sql($node, <<'SQL');
CREATE ROLE grafana LOGIN;
CREATE ROLE peeker LOGIN;
CREATE ROLE ops LOGIN;
CREATE ROLE customer LOGIN IN ROLE authenticated;
CREATE ROLE mallory LOGIN;
GRANT CREATE ON SCHEMA public TO mallory, ops;
GRANT CREATE, TEMPORARY ON DATABASE postgres TO mallory, ops;
-- what is there would not be theirs if they could name it
GRANT USAGE ON SCHEMA vibevideo_internal TO grafana, peeker, ops, customer, mallory;
SET ROLE mallory;
CREATE TABLE public.vibelogs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id text, prompt text);
GRANT SELECT, UPDATE ON public.vibelogs TO authenticated;
RESET ROLE;
SELECT vibevideo.attach('vibelogs');
SELECT vibevideo.grant_access('grafana', 'viewer'), vibevideo.grant_access('peeker', 'viewer', true), vibevideo.grant_access('ops', 'operator');
INSERT INTO vibevideo.operator (user_id) VALUES ('ann');
SQL

my %session = map { $_ => VibeTest::Session->start($node, $_) } qw(grafana peeker ops customer mallory authenticator);

# (well or not, output) of a statement of one of them
sub try_as
{
	my ($who, $statement) = @_;

	return $session{$who}->ask("ROLLBACK; $statement");
}

sub as
{
	my ($who, $statement) = @_;
	my ($well, $out) = try_as($who, $statement);

	die "$who: $statement\n$out\n" unless $well;
	return $out;
}

sub refused
{
	my ($who, $statement, $name, $error) = @_;
	my ($well, $out) = try_as($who, $statement);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$session{$who}->ask('ROLLBACK');
	return ok(!$well && $out =~ ($error || qr/permission denied|must be an operator/), $name) || diag($out);
}

sub new_job
{
	my ($prompt) = @_;
	my $id = sql($node, "INSERT INTO vibelogs (prompt, user_id) VALUES ('$prompt', 'user-1') RETURNING id");

	sql($node, "SELECT vibevideo_submit('$id')");
	return ($id, job_of($node, $id)->{job_id});
}

my ($id, $job) = new_job($wish);

# -- what is open to whom --------------------------------------------------------------------------------
{
	my $open = sub {
		my ($role) = @_;
		return sql($node, "SELECT string_agg(DISTINCT p.proname, ' ' ORDER BY p.proname) FROM pg_proc p WHERE p.pronamespace::regnamespace::text IN ('vibevideo', 'vibevideo_internal') AND has_function_privilege('$role', p.oid, 'EXECUTE')");
	};
	my $reads = 'caller describe error_class error_lines histogram histogram_bounds histogram_sum inbox_lines is_active job_message job_progress key_source limit_use_lines now_lines overview_lines percentile period reason_of seconds_left setting_advice shown_error shown_status today_lines user_lines worker_info';
	my $looks = 'error_groups estimate find health inbox job_detail list_jobs lost me overview retry_cost series show_check show_job show_jobs shown_ledger shown_limit_use shown_limits shown_prices shown_settings shown_worker users why';
	my $acts = 'act audit cancel delete_limit delete_price pause plan probe_now redrive resolve resume retry set_limit set_price show_audit show_plan sync_prices sync_schema set_model sync_usage explain_usage erase';

	is($open->('grafana'), join(' ', sort split / /, "$reads $looks"), 'functions of a viewer');
	is($open->('ops'), join(' ', sort split / /, "$reads $looks $acts"), 'functions of an operator');
	is($open->('customer'), join(' ', sort split / /, "$looks $acts"), 'functions that an API role may call: those that judge who calls');
	is($open->('mallory'), '', 'none for a stranger');
	# one tells who has no access, and those of vibevideo_internal have doors in public: 280_dashboard.pl
	for my $name (grep { !/^(?:me|shown_\w+)$/ } split / /, "$looks $acts")
	{
		my $level = $looks =~ /\b$name\b/ ? 'a viewer' : 'an operator';
		my $call = sql($node, "SELECT format('%s(%s)', p.oid::regproc, (SELECT string_agg('NULL::' || format_type(t, NULL), ', ') FROM unnest(p.proargtypes) t)) FROM pg_proc p WHERE p.pronamespace = 'vibevideo'::regnamespace AND p.proname = '$name'");

		refused('customer', "SELECT $call", "$name: refused to a customer", qr/must be $level of vibevideo/);
		refused('authenticator', "BEGIN; SET LOCAL ROLE authenticated; SET LOCAL request.jwt.claims = '{\"sub\": \"user-1\"}'; SELECT $call", "$name: and to one with a JWT", qr/must be $level of vibevideo/);
		refused('customer', "BEGIN; SET LOCAL ROLE authenticated; SET LOCAL request.jwt.claims = '{\"sub\": \"ann\", \"role\": \"service_role\"}'; SELECT $call", "$name: and to one who forges it", qr/must be $level of vibevideo/);
		refused('grafana', "SELECT $call", "$name: and to a viewer") if $level eq "an operator";
	}
	my @relations = split /\n/, sql($node, q{SELECT format('%I."%s"', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('vibevideo', 'vibevideo_internal') AND c.relkind IN ('r', 'v', 'S') ORDER BY 1});
	my @read = qw(backlog costs costs_by_day costs_by_month erasure errors fal_price fal_usage inbox jobs ledger limit limit_use model now overview price_rule receipt rollup settings tenant_costs today typical unmatched users);
	my %may = (grafana => [@read], ops => [sort 'audit', @read], customer => [], mallory => []);

	for my $who (sort keys %may)
	{
		my @could = grep { (try_as($who, "SELECT * FROM $_"))[0] } @relations;
		is("@could", join(' ', map { "vibevideo.\"$_\"" } @{ $may{$who} }), "relations that $who can read");
		my @changed = grep { my $r = $_; grep { (try_as($who, $_))[0] } "INSERT INTO $r DEFAULT VALUES", "DELETE FROM $r", "TRUNCATE $r", "LOCK TABLE $r IN SHARE MODE" } @relations;
		is("@changed", '', "and change: none");
	}
}

like(slurp_file($node->logfile), qr/LOG:  vibevideo refused a call of customer, who has no access: it takes an operator$/m, 'the log has who was refused');
unlike(slurp_file($node->logfile), qr/LOG:  vibevideo refused a call of ann/, 'and by whom he was, not by what he claimed');

# -- nobody sees an input, or a key ----------------------------------------------------------------------------
for my $who (qw(grafana ops))
{
	my $all = join "\n", map { (try_as($who, $_))[1] }
	  (map { "SELECT to_jsonb(x) FROM vibevideo.$_ x" } qw(jobs costs settings model limit audit)),
	  "SELECT * FROM vibevideo.plan('cancel', '{}')", "SELECT * FROM vibevideo.plan('cancel', '{\"key\": \"$id\"}')", "SELECT * FROM vibevideo.plan('cancel', '{\"prompt\": \"wish\"}')",
	  'SELECT input FROM vibevideo.job', "SELECT (j).input FROM vibevideo.job j", 'TABLE vibevideo_internal.planned', 'SHOW vibevideo.fal_key', q{SELECT current_setting('vibevideo.storage_key')},
	  'SELECT * FROM pg_catalog.pg_stat_activity', 'SELECT * FROM pg_catalog.pg_file_settings', q{SELECT vibevideo_internal.filter_jobs(vibevideo_internal.read_filter('{"prompt": "wish"}'), true, 1, 1)},
	  "SELECT vibevideo.describe(j) FROM vibevideo.job j", "EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM vibevideo.plan('cancel', '{\"prompt\": \"wish\"}')";

	unlike($all, qr/$wish/, "$who: no prompt anywhere");
	unlike($all, $secrets, "$who: no key anywhere");
	like($all, qr/$job/, "$who: but the job");
}
# what a leaky function sees of the view is what the view shows
as('ops', q{CREATE FUNCTION pg_temp.leak(j vibevideo.jobs) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE 'leak %', j; RETURN true; END $$});
unlike((try_as('ops', 'SET client_min_messages = notice; SELECT count(*) FROM vibevideo.jobs j WHERE pg_temp.leak(j); RESET client_min_messages'))[1], qr/$wish/, 'nor through a function of theirs in a condition');
is(as('ops', 'SELECT (p.examples -> 0) ? \'prompt\' FROM vibevideo.plan(\'cancel\', \'{}\') p'), 'f', 'a plan shows an operator no prompt');
sql($node, q{SELECT vibevideo.grant_access('ops', 'operator', true)});
like(as('ops', q{SELECT p.examples FROM vibevideo.plan('cancel', '{"prompt": "NOBODY is"}') p}), qr/$wish/, 'unless see_input is granted');
sql($node, q{SELECT vibevideo.grant_access('ops', 'operator')});
refused('ops', q{SELECT vibevideo.plan('cancel', '{"prompt": "wish"}')}, 'and it can be taken back', qr/permission denied to look for a prompt/);

# nor what somebody who may has looked for
{
	new_job('a kite of a customer, quoted by an operator');
	sql($node, q{SELECT a.jobs FROM vibevideo.plan('cancel', '{"prompt": "quoted by an operator", "orphan": false}') p CROSS JOIN LATERAL vibevideo.act(p.token) a});
	my $audit = as('ops', q{SELECT arguments FROM vibevideo.audit WHERE action = 'act: cancel' ORDER BY at DESC LIMIT 1});
	like($audit, qr/orphan/, 'the audit has the filter');
	unlike($audit, qr/quoted/, 'but no words of a prompt');
}

# -- nor gains rights --------------------------------------------------------------------------------------
for my $who (qw(grafana ops))
{
	try_as($who, 'GRANT SELECT ON vibevideo.jobs TO mallory; GRANT EXECUTE ON FUNCTION vibevideo.plan(text, jsonb, int) TO mallory; GRANT USAGE ON SCHEMA vibevideo TO mallory');
	refused($who, $_, "$who: $_", qr/permission denied|must be|cannot|is not allowed|no privileges|not exist/) for (
		'CREATE TABLE vibevideo.mine (a int)', 'CREATE FUNCTION vibevideo.error_class(varchar) RETURNS text LANGUAGE sql AS $$ SELECT 1::text $$',
		'ALTER TABLE vibevideo.audit DISABLE TRIGGER ALL', 'SET session_replication_role = replica', 'SET vibevideo.confirm_over_usd = 1000000', 'SET vibevideo.audit_retention = 1',
		q{SELECT vibevideo.grant_access('mallory', 'operator')}, q{SELECT vibevideo_internal.take_rights('grafana')}, q{INSERT INTO vibevideo.access VALUES ('mallory', 'operator', true, 'me')},
		'SET ROLE service_role', 'SET SESSION AUTHORIZATION postgres', q{SELECT vibevideo_internal.note_act('nothing')}, q{SELECT vibevideo_internal.require('viewer')},
		q{SELECT vibevideo_internal.do_deed(NULL, 'render')}, q{SELECT vibevideo.attach('vibelogs')}, 'SELECT vibevideo.detach(true)', q{SELECT vibevideo.reset_stuck('0')},
		'SELECT vibevideo.grant_api_roles()', q{SELECT vibevideo.create_api('uuid')}, "SELECT vibevideo_internal.probe('fal_key')", "UPDATE vibelogs SET prompt = 'x'");
}
is(sql($node, q{SELECT has_table_privilege('mallory', 'vibevideo.jobs', 'SELECT') OR has_schema_privilege('mallory', 'vibevideo', 'USAGE') OR has_function_privilege('mallory', 'vibevideo.plan(text, jsonb, int)', 'EXECUTE')}),
	'f', 'nobody hands on what was granted');
# what they have in their search path, or among temporary objects, does not run
as('ops', <<'SQL');
CREATE SCHEMA evil;
CREATE FUNCTION evil.probe() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'PROBE as %', current_user; RETURN true; END $$;
CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.probe()';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE sql AS 'SELECT pg_catalog.unnest($1) WHERE evil.probe()';
SQL
{
	my $from = -s $node->logfile;
	my $before = 'SET search_path = pg_temp, evil, pg_catalog; CREATE TEMPORARY TABLE IF NOT EXISTS job (a int); CREATE TEMPORARY TABLE IF NOT EXISTS planned (token pg_catalog.uuid)';

	as('ops', "$before; SELECT p.token, vibevideo.act(p.token) FROM vibevideo.plan('cancel', '{\"model\": [\"acme/x\", \"fal-ai/minimax/video-01\"], \"status\": \"queued\"}') p; SELECT vibevideo.redrive(); SELECT vibevideo.pause(); SELECT vibevideo.resume();"
		  . " SELECT vibevideo.retry($job); SELECT p.service FROM vibevideo.probe_now() p; RESET search_path; DISCARD TEMP");
	unlike(slurp_file($node->logfile, $from), qr/PROBE as/, 'nothing of an operator\'s own runs as somebody else');
}

# -- whose session it is -----------------------------------------------------------------------------------
# mallory, who owns the table, is an operator herself: not in the sessions of others, where her code runs, too
sql($node, q{SELECT vibevideo.grant_access('mallory', 'operator', true)});
($id, $job) = new_job('of a customer');
my (undef, $other) = new_job('of another');
as('mallory', <<"SQL");
CREATE FUNCTION public.in_a_trigger() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	BEGIN
		PERFORM vibevideo.cancel($other);
		RAISE LOG 'TRIGGER acted as %', current_user;
	EXCEPTION WHEN insufficient_privilege THEN
		RAISE LOG 'TRIGGER refused as %: %, level %', current_user, SQLERRM, (SELECT c.level FROM vibevideo_internal.caller() c);
	END;
	RETURN NEW;
END
\$\$;
CREATE TRIGGER t BEFORE UPDATE ON public.vibelogs FOR EACH ROW EXECUTE FUNCTION public.in_a_trigger();
CREATE FUNCTION public.for_you(job bigint) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT (vibevideo.cancel(job)).status';
CREATE FUNCTION public.who_am_i() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT concat_ws('' '', c.name, c.level, c.see_input) FROM vibevideo_internal.caller() c';
GRANT EXECUTE ON FUNCTION public.for_you(bigint), public.who_am_i() TO PUBLIC;
SQL
{
	my $from = -s $node->logfile;

	as('authenticator', "BEGIN; SET LOCAL ROLE authenticated; SET LOCAL request.jwt.claims = '{\"sub\": \"ann\"}'; SELECT public.vibevideo_cancel('$id'); COMMIT");
	$fal->default(hold => undef);
	wait_for_status($node, $id, 'cancelled');
	my @said = slurp_file($node->logfile, $from) =~ /LOG:  (TRIGGER .*)$/mg;
	cmp_ok(scalar(@said), '>=', 1, 'her trigger runs while others, and the worker, write her rows');
	is_deeply([ grep { $_ ne 'TRIGGER refused as mallory: must be an operator of vibevideo, level <NULL>' } @said ], [], 'and is nobody there');
	is(job_of($node, sql($node, "SELECT vibelog_id FROM vibevideo.job WHERE job_id = $other"))->{cancel_requested_at}, undef, 'the other job was not touched');
	as('mallory', 'DROP TRIGGER t ON public.vibelogs');
}
refused('customer', "SELECT public.for_you($other)", 'a function of an operator lends nobody her rights', qr/must be an operator of vibevideo.*customer/s);
like(as('customer', 'SELECT public.who_am_i()'), qr/^customer f$/, 'it knows whose session it is');
is(as('grafana', 'SELECT public.who_am_i()'), 'grafana viewer f', 'and level');
is(as('peeker', 'SELECT public.who_am_i()'), 'peeker viewer t', 'and what she may see');
is(as('mallory', 'SELECT public.who_am_i()'), 'mallory operator t', 'her own is hers');
is(sql($node, 'SELECT public.who_am_i() ~ \' owner t$\''), 't', 'a superuser\'s is the owner\'s');
is(sql($node, 'SET ROLE grafana; SELECT public.who_am_i() ~ \'\(grafana\) viewer f$\''), 't', 'unless he has become somebody else');
sql($node, 'RESET ROLE');
is(as('authenticator', q{BEGIN; SET LOCAL ROLE authenticated; SET LOCAL request.jwt.claims = '{"sub": "ann"}'; SELECT public.who_am_i(); COMMIT}), 'ann (authenticated) operator f', 'a JWT\'s is the user\'s');
is(as('authenticator', q{BEGIN; SET LOCAL ROLE authenticated; SELECT public.who_am_i(); COMMIT}), 'authenticator (authenticated) f', 'for that request only');
sql($node, q{REVOKE service_role FROM authenticator});
is(as('authenticator', q{BEGIN; SET LOCAL ROLE authenticated; SET LOCAL request.jwt.claims = '{"sub": "ann"}'; SELECT public.who_am_i(); COMMIT}), 'authenticator (authenticated) f', 'and believed only where service_role is within reach');
sql($node, q{GRANT service_role TO authenticator; SELECT vibevideo.revoke_access('mallory')});
refused('mallory', "SELECT vibevideo.cancel($other)", 'she is no operator any more');
as('ops', "SELECT vibevideo.cancel($other)");

# -- through PostgREST, with a wrapper in an exposed schema -------------------------------------------------------
sql($node, <<'SQL');
CREATE FUNCTION public.plan_jobs(action text, filter jsonb) RETURNS json LANGUAGE sql AS 'SELECT row_to_json(p) FROM vibevideo.plan(action, filter) p';
CREATE FUNCTION public.act_on_plan(token uuid, confirm text DEFAULT NULL) RETURNS json LANGUAGE sql AS 'SELECT row_to_json(a) FROM vibevideo.act(token, confirm) a';
NOTIFY pgrst, 'reload schema';
SQL
{
	my $rest = VibeRest->new($node);
	my (undef, $job) = new_job('through the API');
	my $call = sub { my ($sub, $name, $arguments) = @_; return $rest->call('authenticated', $sub, POST => "/rest/v1/rpc/$name", $arguments) };
	my $plan = $call->('ann', 'plan_jobs', { action => 'cancel', filter => { job_id => $job } });

	is($plan->{status}, 200, 'an operator plans') or diag(explain($plan));
	is($plan->{data}{jobs}, 1, 'for one job');
	is($call->('user-1', 'plan_jobs', { action => 'cancel', filter => { job_id => $job } })->{status}, 403, 'a user may not');
	is($call->('user-1', 'act_on_plan', { token => $plan->{data}{token} })->{status}, 403, 'nor carry it out');
	is($call->('ann', 'act_on_plan', { token => $plan->{data}{token} })->{data}{jobs}, 1, 'she does');
	is($call->('ann', 'act_on_plan', { token => $plan->{data}{token} })->{status}, 410, 'once');
	is($call->('ann', 'act_on_plan', { token => '00000000-0000-0000-0000-000000000000' })->{status}, 404, 'another has not been planned');
	is($call->('ann', 'plan_jobs', { action => 'cancel', filter => { stat => 'x' } })->{status}, 400, 'a bad filter');
	sql($node, "UPDATE vibevideo.job SET cost_usd = 12 WHERE job_id = $job");
	is(sql($node, q{SELECT who || ' ' || action FROM vibevideo.audit ORDER BY at DESC LIMIT 1}), 'ann (authenticated) act: cancel', 'the audit knows her');
	my $failed = sql($node, "INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, completed_at, row_dirty, created_at) SELECT 'vibelogs', gen_random_uuid()::text, 'failed', 'acme/gold', '{}', NULL, now(), false, now() - interval '1 h' RETURNING job_id");
	sql($node, q{SELECT vibevideo.set_price('acme/gold', 34.5)});
	$plan = $call->('ann', 'plan_jobs', { action => 'retry', filter => { job_id => $failed } });
	is($plan->{data}{confirm}, 'spend 34.50', 'what costs much is to be confirmed') or diag(explain($plan));
	my $answer = $call->('ann', 'act_on_plan', { token => $plan->{data}{token} });
	is($answer->{status}, 428, 'without that it is refused');
	like($answer->{data}{hint}, qr/confirm => 'spend 34\.50'/, 'and says how');
	sql($node, q{SELECT vibevideo.delete_price('acme/gold')});
}

# -- the audit is pruned, by the worker and by time alone ------------------------------------------------------------
{
	my $kept = sql($node, 'SELECT count(*) FROM vibevideo.audit');

	sql($node, q{INSERT INTO vibevideo.audit (at, who, action) SELECT now() - interval '400 days' - i * interval '1 s', 'long gone', 'cancel' FROM generate_series(1, 2500) i});
	my $worker = worker_pid($node);
	sql($node, "SELECT pg_terminate_backend($worker), vibevideo.wake()");
	wait_for($node, q{SELECT vibevideo.wake(); SELECT count(*) FROM vibevideo.audit WHERE who = 'long gone'}, qr/^0$/m, 'the worker prunes what is older than a year');
	is(sql($node, 'SELECT count(*) FROM vibevideo.audit'), $kept, 'and nothing else');
}

# -- a dump has all of it ------------------------------------------------------------------------------------
{
	my $dump = $node->basedir . '/dump';
	my $tables = q{SELECT (SELECT string_agg(a::text, ' ' ORDER BY role) FROM vibevideo.access a), (SELECT string_agg(o::text, ' ') FROM vibevideo.operator o), (SELECT count(*) FROM vibevideo.audit WHERE action !~ 'model|access|operator')};

	$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
	sql($node, 'CREATE DATABASE restored');
	$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ], 'pg_restore');
	is(sql($node, $tables, 'restored'), sql($node, $tables), 'access, operators and the audit are there');
	is(sql($node, 'SET ROLE grafana; SELECT count(*) > 0 FROM vibevideo.jobs', 'restored'), 't', 'a viewer looks');
	is(sql($node, "SET ROLE ops; SELECT jobs >= 0 FROM vibevideo.plan('cancel', '{}')", 'restored'), 't', 'an operator plans');
	is((sql_error($node, q{DELETE FROM vibevideo.audit}, 'restored'))[0], '42501', 'the audit is kept');
	sql($node, 'DROP DATABASE restored WITH (FORCE)');
}

# -- a service that is back ----------------------------------------------------------------------------------
# Without nginx before fal.ai: a submit that nobody took is sent again, one that a
# gateway answered for is in doubt.
configure($node, fal_queue_url => $fal->direct, fal_api_url => $fal->direct . '/v1');

# Takes fal down until its breaker leaves it alone for some seconds.
sub take_down
{
	my ($name) = @_;
	my $row = sql($node, "INSERT INTO vibelogs (prompt) VALUES ('$name') RETURNING id");

	$fal->stop;
	sql($node, "SELECT vibevideo_submit_batch('{$row}')");
	wait_for($node, q{SELECT fal_down_until > clock_timestamp() + interval '6 s' FROM vibevideo.worker_info()}, 't', "$name: fal.ai is left alone for long", hurry => 1);
	return $row;
}

sub probes
{
	return video($node, q{(SELECT json_object_agg(p.service, p) AS by FROM vibevideo.probe_now() p)})->{by};
}

{
	my $row = take_down('probed');
	my $until = sql($node, 'SELECT fal_down_until FROM vibevideo.worker_info()');
	my $down = probes();

	ok($down->{'fal.ai'}{was_down} && !$down->{'fal.ai'}{answers}, 'probe_now: it is still down');
	like($down->{'fal.ai'}{detail}, qr/connect/i, 'and why');
	configure($node, fal_queue_url => $fal->url);
	$down = probes();
	ok($down->{'fal.ai'}{was_down} && !$down->{'fal.ai'}{answers}, 'probe_now: a gateway that answers for it does not count');
	like($down->{'fal.ai'}{detail}, $fal->url =~ /^https/ ? qr/HTTP 502/ : qr/connect/i, 'and says so');
	configure($node, fal_queue_url => $fal->direct);
	ok($down->{Storage}{answers} && !$down->{Storage}{was_down} && !defined $down->{Storage}{next_probe_at}, 'Storage is not');
	is(sql($node, "SELECT fal_down_until <= greatest('$until', clock_timestamp() + interval '5 min') FROM vibevideo.worker_info()"), 't', 'to ask has not made it longer');
	$until = sql($node, 'SELECT fal_down_until FROM vibevideo.worker_info()');
	$fal = $fal->restart;
	my $up = probes();
	ok($up->{'fal.ai'}{was_down} && $up->{'fal.ai'}{answers} && !defined $up->{'fal.ai'}{next_probe_at}, 'probe_now: it answers, and is taken to be up');
	sql($node, "UPDATE vibevideo.job SET next_at = now() WHERE vibelog_id = '$row'; SELECT vibevideo.wake()");
	wait_for($node, "SELECT submitted_at < '$until' FROM vibevideo.job WHERE vibelog_id = '$row' AND submitted_at IS NOT NULL", 't', 'the job is sent before it would have been tried again');
	is(scalar($fal->renders('probed')), 1, 'once');
	is($up->{'fal.ai'}{detail}, 'it answers (HTTP 404, since it was asked about a request that does not exist)', 'in words that are no error');
	is($up->{Storage}{answers}, JSON::PP::true(), 'Storage was asked, too');
	is(sql($node, q{SELECT outcome -> 'fal.ai' ->> 'answers' FROM vibevideo.audit WHERE action = 'probe_now' ORDER BY at DESC LIMIT 1}), 'true', 'the audit has it');
	is(scalar(grep { $_->{method} ne 'GET' && $_->{method} ne 'POST' } @{ $storage->ledger('?jobs=0')->{log} || [] }), 0, 'nothing there was changed by asking');
}
for my $way (
	[ 'vibevideo_retry', sub { my ($row) = @_; sql($node, "SELECT vibevideo_retry('$row')") } ],
	[ 'vibevideo.retry', sub { my ($row) = @_; as('ops', 'SELECT vibevideo.retry(' . job_of($node, $row)->{job_id} . ')') } ],
	[ 'an act', sub { my ($row) = @_; as('ops', "SELECT a.jobs FROM vibevideo.plan('retry', '{\"key\": \"$row\"}') p CROSS JOIN LATERAL vibevideo.act(p.token) a") } ])
{
	my ($name, $retry) = @$way;
	my $row = take_down($name);
	my $until = sql($node, 'SELECT fal_down_until FROM vibevideo.worker_info()');

	$fal = $fal->restart;
	$retry->($row);
	wait_for($node, "SELECT submitted_at < '$until' FROM vibevideo.job WHERE vibelog_id = '$row' AND submitted_at IS NOT NULL", 't', "$name of a job that waits: it is sent before fal.ai would have been tried again");
	is(scalar($fal->renders($name)), 1, "$name: once");
}

done_testing();
