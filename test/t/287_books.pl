# The books: whatever users do, whatever becomes of their jobs, and whatever happens to
# prices and servers meanwhile, what each user, day and model has cost is in the end what
# fal.ai bills for their jobs, to the billionth of a dollar.  And at no moment has fal.ai
# billed more than a limit allows, for a user, a tenant or a model, be it for what was
# cancelled when fal.ai had begun, which it bills, and says so later.
#
# What is done is drawn by lots; BOOKS_SEED=N draws the same again.  A month ends while
# the server is down: a transaction that spans midnight spends from the time after, which
# no job says.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::Local qw(timegm);
use VibeChaos;
use VibeRest;
use VibeTest;

# The servers' clocks are ahead: it is some minutes before the end of a month.
my $minutes = 10;
my @now = gmtime;
$ENV{VIBETEST_LATER} = timegm(0, 0, 0, 1, ($now[4] + 1) % 12, $now[5] + ($now[4] == 11)) - $minutes * 60 - time();
$ENV{LD_PRELOAD} = VibeRest::module('later');

my $seed = $ENV{BOOKS_SEED} || int(rand(1_000_000)) + 1;
my $steps = $ENV{BOOKS_STEPS} || 150;
srand($seed);
note("BOOKS_SEED=$seed");

my $fal = start_fal(default => { queue_ms => 1, run_ms => 1 });
my $node = vibe_node('main', fal => $fal, storage => start_storage(), conf => {
	'restart_after_crash' => 'on',
	'vibevideo.fal_admin_key' => $fal->admin_key,
	'vibevideo.max_renders' => 3,
	'vibevideo.unknown_after' => '1s' });

# so much in such a time: a part of when a job was requested
my %limit = ('user:ann' => 3, 'user:bob' => 2, 'tenant:red' => 4, 'model:acme/second' => 4, 'global' => 9);
my %time = ('user:ann' => 'day', 'user:bob' => 'month', 'tenant:red' => 'day', 'model:acme/second' => 'hour', 'global' => 'month');
my @models = qw(acme/flat acme/second acme/tiers);
my %owner = (ann => 'red', bob => 'red', cat => 'blue', dan => '');

sql($node, <<'SQL');
ALTER TABLE vibelogs ADD COLUMN owner text, ADD COLUMN team text, ADD COLUMN video_model text, ADD COLUMN input jsonb NOT NULL DEFAULT '{}';
CREATE FUNCTION public.model_input(v vibelogs) RETURNS jsonb LANGUAGE sql STABLE RETURN v.input || jsonb_build_object('prompt', v.prompt);
SELECT vibevideo.attach('vibelogs', model => 'acme/flat', input_function => 'public.model_input', user_column => 'owner', tenant_column => 'team',
	model_column => 'video_model');
SELECT vibevideo.set_model(m, allowed => true) FROM unnest(ARRAY['acme/second', 'acme/tiers']) m;
-- ours, which are right at first
SELECT vibevideo.set_price('acme/flat', 0.37);
SELECT vibevideo.set_price('acme/second', 0.07, 'second', quantity => '$.duration', quantity_default => 5, allowance => 0.1);
SELECT vibevideo.set_price('acme/tiers', 0.05, 'second', quantity => '$.duration', quantity_default => 4);
SELECT vibevideo.set_price('acme/tiers', 0.15, 'second', '{"resolution": "4k"}', '$.duration', 4);
INSERT INTO vibevideo.limit (user_id, spend_per_day_usd) VALUES ('ann', 3);
INSERT INTO vibevideo.limit (user_id, spend_per_month_usd) VALUES ('bob', 2);
INSERT INTO vibevideo.limit (scope, tenant, spend_per_day_usd) VALUES ('tenant', 'red', 4);
INSERT INTO vibevideo.limit (scope, model, spend_per_hour_usd) VALUES ('model', 'acme/second', 4);
INSERT INTO vibevideo.limit (scope, spend_per_month_usd) VALUES ('global', 9);
SQL

sub fals_prices
{
	my ($second) = @_;

	return $fal->set_prices({ endpoint => 'acme/flat', unit => 'videos', unit_price => '0.37' },
		{ endpoint => 'acme/second', unit => 'seconds', unit_price => $second, quantity => { input => 'duration', default => 5 } },
		{ endpoint => 'acme/tiers', unit => 'units', unit_price => '0.05', quantity => { input => 'duration', default => 4 },
			tiers => [ { applies => { resolution => '4k' }, unit_price => '0.15' } ] });
}

# Refused inputs may be billed in part, and so may what is cancelled when it has begun.
$fal->rule('^refused: ', outcome => 'validation', billing => { failed_units => 1 });
$fal->rule('^policy: ', outcome => 'policy', billing => { failed_units => 0 });
$fal->rule('^broken: ', outcome => 'infra');
$fal->rule('^queued: ', hold => 'queue');
$fal->rule('^half: ', hold => 'run', billing => { cancelled_units => 1 });
$fal->rule('^late: ', hold => 'run', billing => { cancelled_units => 'full' });
fals_prices('0.07');

sub any
{
	return $_[ int(rand(@_)) ];
}

my $n = 0;
my @kinds = (('fine') x 4, qw(refused policy broken queued half late));

# a row of somebody's; its key
sub any_row
{
	my $owner = any(sort keys %owner);
	my $model = any(@models, '');
	my %input = ((rand() < 0.7 ? (duration => any(2, 5, '8s', 10)) : ()), (rand() < 0.3 ? (resolution => '4k') : ()));
	my $prompt = any(@kinds) . ': ' . ++$n;
	my $input = JSON::PP->new->canonical->encode(\%input);

	return sql($node, "INSERT INTO vibelogs (prompt, owner, team, video_model, input)"
		  . " VALUES ('$prompt', '$owner', nullif('$owner{$owner}', ''), nullif('$model', ''), '$input') RETURNING id");
}

my @rows;
my %refused;

# over a limit, or what cannot be done to this job now
sub attempt
{
	my ($statement) = @_;
	my ($code, $text) = sql_error($node, $statement);

	$refused{$code}++ if $code;
	return $code;
}

sub restarted
{
	my ($how) = @_;

	$how->();
	wait_up($node);
	return wait_for($node, 'SELECT pid IS NOT NULL FROM vibevideo.worker_info()', 't', 'the worker is there again', patience => 60);
}

my @deeds = (
	(sub { push @rows, my $id = any_row(); attempt("SELECT vibevideo_submit('$id')") }) x 8,
	(sub { my @ids = map { any_row() } 1 .. 3; push @rows, @ids; attempt("SELECT vibevideo_submit_batch(ARRAY['" . join("', '", @ids) . "']::uuid[])") }) x 2,
	(sub { push @rows, my $id = any_row(); attempt("BEGIN; SELECT vibevideo_submit('$id'); ROLLBACK") }) x 2,
	(sub { push @rows, my $id = any_row(); attempt("BEGIN; SAVEPOINT s; SELECT vibevideo_submit('$id'); ROLLBACK TO s; COMMIT") }),
	(sub { attempt("SELECT vibevideo_cancel('" . any(@rows) . "')") if @rows }) x 4,
	(sub { attempt("SELECT vibevideo_retry('" . any(@rows) . "')") if @rows }) x 3,
	(sub { fals_prices(any('0.07', '0.06', '0.035')) }),
	(sub { attempt('SELECT vibevideo.sync_prices()') }),
	(sub { attempt('SELECT vibevideo.sync_usage()') }) x 2,
	(sub { $fal->account(event_delay_ms => any(0, 0, 86400000)) }),
	(sub { sql($node, 'DELETE FROM vibevideo.job WHERE completed_at IS NOT NULL AND job_id IN (SELECT job_id FROM vibevideo.fal_usage) AND random() < 0.2') }),
	(sub { my $pid = worker_pid($node); sql($node, "SELECT pg_terminate_backend($pid)") if $pid }));

# whose each request is: jobs that are deleted took their share, too
my %of;
sub remember
{
	%of = (%of, requests_of($node));
	return;
}

sub overdrawn
{
	my $billed = billed_by($fal, \%of, sub {
		my ($whose) = @_;
		return map { "$_ in $whose->{ $time{$_} }" } grep { $limit{$_} } (map { "$_:$whose->{$_}" } qw(user tenant model)), 'global';
	});
	my $limit_of = sub { return $limit{ $_[0] =~ s/ in .*//r } };

	return join(', ', map { "$_: " . $billed->{$_} / 1e9 } grep { $billed->{$_} > $limit_of->($_) * 1e9 } sort keys %$billed);
}

my $passed = '';
for my $step (1 .. $steps)
{
	any(@deeds)->();
	remember();
	$passed ||= overdrawn();
	next if $step != int($steps / 2);
	# which a crash empties
	ok_tills($node, 'before the crash');
	$fal->command('*', 'finish');
	restarted(sub { $node->stop('immediate'); $ENV{VIBETEST_LATER} += $minutes * 60; $node->start });
	remember();
	$passed ||= overdrawn();
	cmp_ok($refused{PT402} || 0, '>', 0, 'some videos were too expensive');
	# so that there is something to go on with
	sql($node, 'UPDATE vibevideo.limit SET spend_per_hour_usd = 3 * spend_per_hour_usd, spend_per_day_usd = 3 * spend_per_day_usd, spend_per_month_usd = 3 * spend_per_month_usd WHERE true');
	$_ *= 3 for values %limit;
}
is($passed, '', 'no limit was passed');

# -- to the end ------------------------------------------------------------------------------------
wait_until(
	sub {
		# also what is sent meanwhile
		$fal->command('*', 'finish');
		hurry($node);
		remember();
		return sql($node, 'SELECT count(*) FROM vibevideo_internal.active_jobs') eq '0' && !journal_files($node);
	}, 'all jobs end', patience => 120) or diag(sql($node, 'SELECT job_id, state, error FROM vibevideo.job WHERE vibevideo.is_active(state)'));
remember();
cmp_ok(scalar(keys %of), '>', $steps / 4, 'many were sent');
is(sql($node, 'SELECT count(DISTINCT month) FROM vibevideo.costs_by_month'), '2', 'in two months');
note(join(', ', map { "$_ $refused{$_}" } sort keys %refused));

ok_books($node, $fal, 'in the end', \%of);

done_testing();
