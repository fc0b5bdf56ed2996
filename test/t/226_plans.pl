# Plans.  Our statements look for a few rows by an index; so must their plans,
# also those made while a table is empty, and made anew because search_path is
# another.  A session that changes its path, as a pooled one does from request to
# request, must not be left with plans that read the whole table.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $pkglibdir = `pg_config --pkglibdir`;
chomp $pkglibdir;
plan(skip_all => 'without auto_explain') unless -e "$pkglibdir/auto_explain.so";

my $fal = start_fal(default => { hold => 'queue' });
my $storage = start_storage();
# the tables stay as small as they look, and the worker leaves the questions to vibevideo_poll()
$fal->rule('explained, followed', queue_ms => 0, run_ms => 0, hold => undef);
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0, conf => {
	'autovacuum' => 'off',
	'vibevideo.poll_interval' => '1h' });

sql($node, <<'SQL');
CREATE EXTENSION vibevideo;
CREATE SCHEMA api;
CREATE ROLE shop;
GRANT CREATE ON SCHEMA public TO shop;
SET ROLE shop;
CREATE TABLE public.vibelogs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), prompt text);
RESET ROLE;
SELECT vibevideo.attach('public.vibelogs');
SQL
wait_for($node, 'SELECT count(*) FROM vibevideo.worker_info() WHERE pid IS NOT NULL', '1', 'the worker is there');
sql($node, 'SELECT vibevideo_poll()');

# A session that explains all it does, in the server's log.
sub explaining
{
	my $session = VibeTest::Session->start($node);
	my ($well, $out) = $session->ask(q{LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on});

	die $out unless $well;
	return $session;
}

# The plans in the log since then: [query, plan].
sub plans
{
	my ($from) = @_;
	my @plans;

	for my $entry (split /^(?=\d{4}-\d\d-\d\d )/m, slurp_file($node->logfile, $from))
	{
		push @plans, [ $1, $2 ] if $entry =~ /LOG:  duration: [^\n]*plan:\n\tQuery Text: (.*?)\n\t([^\n]*\(cost=.*)/s;
	}
	return @plans;
}

# explained(session, name, path and statement, ...) - tests that none of the
# statements reads a table of jobs or the app's from one end to the other, while
# each table that is named is read by an index.
my (%seen, %written);

sub explained
{
	my ($session, $name, @calls) = @_;
	my %bad;

	while (my ($path, $statement) = splice(@calls, 0, 2))
	{
		sql($node, "UPDATE vibevideo.job SET next_at = now() WHERE state = 'queued' AND leased_by IS NULL") if $statement =~ /vibevideo_poll/;
		my $from = -s $node->logfile;
		my ($well, $out) = $session->ask("SET search_path = $path; $statement");
		$bad{"$statement: $out"} = 1 unless $well;
		for (plans($from))
		{
			my ($query, $plan) = @$_;
			$bad{ substr($query, 0, 150) } = 1 if $plan =~ /Seq Scan on (?:job|vibelogs)\b/;
			$seen{$1} = 1 while $plan =~ /Index (?:Only )?Scan.*? on (\w+)/g;
			$written{ $statement =~ /vibevideo_(\w+)/ ? $1 : '' } = 1 if $plan =~ /^Update on vibelogs\b/;
		}
	}
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(join("\n", sort keys %bad), '', $name);
}

# All that the app calls, for new rows.
sub calls
{
	my ($one, $two) = map { new_row($node, "explained, $_") } 'followed', 'cancelled';

	return (
		"SELECT status FROM public.vibevideo_status('$one')",
		"SELECT status FROM public.vibevideo_submit('$one')",
		"SELECT status FROM public.vibevideo_status('$one')",
		"SELECT status FROM public.vibevideo_submit_batch(ARRAY['$one', '$two']::uuid[])",
		'SELECT checked FROM public.vibevideo_poll()',
		"SELECT status FROM public.vibevideo_cancel('$one')",
		"SELECT status FROM public.vibevideo_cancel('$two')",
		"SELECT status FROM public.vibevideo_retry('$two')",
		"SELECT status FROM public.vibevideo_cancel('$two')");
}

my @paths = ('public', 'api, public', '"$user", public', 'api');

# -- a status, while the tables are empty or as good as that ------------------------------------------
my $row = new_row($node, 'the only one');
sql($node, 'VACUUM ANALYZE vibevideo.job; VACUUM ANALYZE public.vibelogs');
is(sql($node, 'SELECT count(*) FROM vibevideo.job'), '0', 'there are no jobs');
{
	my $session = explaining();
	my $status = "SELECT status FROM public.vibevideo_status('$row')";

	explained($session, 'a new session', ('public' => $status) x 2);
	ok($seen{job} && $seen{vibelogs}, 'whose plans are seen') || diag(explain(\%seen));
	explained($session, 'another path', ('api, public' => $status) x 2);
	explained($session, 'the first path again', ('public' => $status) x 2);
	explained($session, 'one path after another', map { $_ => $status } (@paths) x 2);
	# what makes all plans invalid comes together with another path
	sql($node, 'ANALYZE vibevideo.job; ANALYZE public.vibelogs');
	explained($session, 'another path after the tables were analyzed', map { $_ => $status } reverse @paths);
}

# -- rights on functions ---------------------------------------------------------------------------------
# The planner inlines vibevideo.describe, and what that calls: rights on the latter
# invalidate the plan, but not the statement.
{
	my $session = explaining();
	my @status = ('public' => "SELECT status FROM public.vibevideo_status('$row')");

	submit($node, $row);
	explained($session, 'the status of the only job', @status);
	sql($node, 'GRANT EXECUTE ON FUNCTION vibevideo_internal.shown_status(text) TO pg_monitor');
	explained($session, 'the same after rights on an inlined function have changed', @status);
	sql($node, 'DELETE FROM vibevideo.job; VACUUM ANALYZE vibevideo.job');
}

# -- every call, its writes of the app's row too -------------------------------------------------------
{
	my $session = explaining();

	for my $round (1 .. 2)
	{
		for my $path (@paths)
		{
			explained($session, "all calls, path $path, round $round", map { $path => $_ } calls());
		}
		sql($node, 'VACUUM ANALYZE vibevideo.job; VACUUM ANALYZE public.vibelogs');
	}
	# from call to call
	my @alternating = map { my $path = $_; map { [ $path, $_ ] } calls() } @paths;
	explained($session, 'each call under another path than the one before',
		map { $paths[ $_ % @paths ] => $alternating[$_][1] } 0 .. $#alternating);
	is_deeply([ grep { !$written{$_} } qw(submit submit_batch poll) ], [], 'writes of the app\'s row are among them') || diag(explain(\%written));
}

# -- a batch that waits is not read to send the first ones of it ---------------------------------------
{
	my $plan = sql($node, <<'SQL');
BEGIN;
INSERT INTO vibevideo.job (vibelog_id, state, model, input, requested_by, next_at)
SELECT i::text, 'pending', 'm/n', '{}', 'ann', now() FROM generate_series(1, 20000) i;
EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) SELECT * FROM vibevideo_internal.next_submits(10, now());
ROLLBACK;
SQL
	my ($buffers) = $plan =~ /^ *Buffers: shared hit=(\d+)/m or die $plan;

	cmp_ok($buffers, '<', 200, "10 of 20000 jobs with one time: $buffers buffers");
}

done_testing();
