# The books: whatever users do, whatever becomes of their jobs, and whatever happens to
# prices and servers meanwhile, what each user, day and model has cost is in the end what
# fal.ai bills for their jobs, to the billionth of a dollar.  And at no moment has fal.ai
# billed more than a limit allows, for a user, a tenant or a model: in the first half, in
# which nobody cancels what fal.ai has begun.  It bills that, and says so later.
#
# What is done is drawn by lots; BOOKS_SEED=N draws the same again.

use strict;
use warnings FATAL => 'all';

use Test::More;
use VibeChaos;
use VibeTest;

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

my %limit = ('user:ann' => 3, 'user:bob' => 2, 'tenant:red' => 4, 'model:acme/second' => 4, 'global' => 9);
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
my @kinds = (('fine') x 4, qw(refused policy broken queued));

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
	for (split /\n/, sql($node, q{SELECT request_id, coalesce(requested_by, ''), coalesce(tenant, ''), model, (created_at AT TIME ZONE 'UTC')::date FROM vibevideo.job WHERE request_id IS NOT NULL}))
	{
		my ($id, @whose) = split /\|/, $_, -1;
		$of{$id} = \@whose;
	}
	return;
}

# in billionths of a dollar
sub billed_by
{
	my ($keys) = @_;
	my %sum;

	for my $event (@{ $fal->bill->{events} })
	{
		my $whose = $of{ $event->{request_id} } or next;
		$sum{$_} += $event->{total_nano_usd} for $keys->(@$whose);
	}
	return \%sum;
}

sub overdrawn
{
	my $billed = billed_by(sub { my ($user, $tenant, $model) = @_; return ("user:$user", "tenant:$tenant", "model:$model", 'global') });

	return join(', ', map { "$_: " . $billed->{$_} / 1e9 } grep { ($billed->{$_} || 0) > $limit{$_} * 1e9 } sort keys %limit);
}

my $passed = '';
for my $step (1 .. $steps)
{
	any(@deeds)->();
	remember();
	$passed ||= overdrawn() if $step < $steps / 2;
	next if $step != int($steps / 2);
	# which a crash empties; of an hour there are no sums without the jobs that are deleted
	sql($node, 'SELECT count(vibevideo_internal.settle_counted(t.who, t.kind)::text) FROM (SELECT DISTINCT x.who, x.kind FROM vibevideo_internal.till x) t');
	is(sql($node, q{SELECT count(*), string_agg(format('%s %s: %s, not %s', t.who, t.kind, t.used, t.by_jobs), ', ')
		FROM (SELECT x.who, x.kind, sum(x.used) AS used, vibevideo_internal.used_of(x.who, x.kind, vibevideo_internal.begin_of(x.kind, now())) AS by_jobs
			  FROM vibevideo_internal.till x WHERE x.begins >= vibevideo_internal.begin_of(x.kind, now()) GROUP BY 1, 2) t
		WHERE t.used <> t.by_jobs AND t.kind NOT LIKE '%hour'}), '0|', 'the tills say what the jobs say');
	$fal->command('*', 'finish');
	restarted(sub { $node->stop('immediate'); $node->start });
	remember();
	$passed ||= overdrawn();
	is($passed, '', 'no limit was passed');
	cmp_ok($refused{PT402} || 0, '>', 0, 'and some videos were too expensive');
	sql($node, 'DELETE FROM vibevideo.limit WHERE true');
	push @kinds, qw(half late);
}

# -- to the end ------------------------------------------------------------------------------------
$fal->command('*', 'finish');
wait_until(
	sub {
		hurry($node);
		remember();
		return sql($node, 'SELECT count(*) FROM vibevideo_internal.active_jobs') eq '0' && !journal_files($node);
	}, 'all jobs end', patience => 120) or diag(sql($node, 'SELECT job_id, state, error FROM vibevideo.job WHERE vibevideo.is_active(state)'));
remember();
cmp_ok(scalar(keys %of), '>', $steps / 4, 'many were sent');
note(join(', ', map { "$_ $refused{$_}" } sort keys %refused));

$fal->account(event_delay_ms => 0);
sql($node, 'SELECT vibevideo.sync_usage()');
my %theirs = %{ billed_by(sub { my ($user, $tenant, $model, $day) = @_; return join(' ', $user, $day, $model) }) };
my %ours = map { my @f = split /\|/, $_, -1; "$f[0] $f[1] $f[2]" => $f[3] }
  split /\n/, sql($node, q{SELECT coalesce(user_id, ''), day, model, (settled_usd * 1000000000)::bigint FROM vibevideo.costs WHERE settled_usd <> 0 OR reserved_usd <> 0});
delete @theirs{ grep { $theirs{$_} == 0 } keys %theirs };
is_deeply(\%ours, \%theirs, 'each user, day and model costs what fal.ai bills');

my %teams = %{ billed_by(sub { my ($user, $tenant) = @_; return $tenant ne '' ? $tenant : () }) };
sql($node, 'SELECT vibevideo_internal.add_costs(1000000)');
is_deeply({ map { split /\|/ } split /\n/, sql($node, q{SELECT tenant, (sum(settled_usd) * 1000000000)::bigint FROM vibevideo.tenant_costs GROUP BY 1}) }, \%teams, 'each tenant, too');
is(sql($node, q{SELECT sum(fal_usd) * 1000000000 = } . $fal->bill('?events=0')->{total_nano_usd} . q{, sum(items_without_job), sum(jobs_without_item) FROM vibevideo.ledger}),
	't|0|0', 'and the ledger closes');

done_testing();
