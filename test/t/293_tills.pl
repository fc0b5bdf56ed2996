# Tills of budgets while everybody is at them at once: submits and ends in transactions that
# stay open and are rolled back, bills that come late, deleted jobs, limits and prices that
# are changed, tills that are made anew.  At no moment is more used than a limit allows, and
# in the end the tills say what the jobs say.
#
# pgbench draws what is done; TILLS_SEED=N draws the same again, in another order.

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use VibeChaos;
use VibeTest;

my $seed = $ENV{TILLS_SEED} || int(rand(1_000_000)) + 1;
my $each = $ENV{TILLS_STEPS} || 40;
my $clients = 12;
note("TILLS_SEED=$seed");

my $node = vibe_node('main', app => 0, conf => { 'max_connections' => 60 });

sql($node, <<'SQL');
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (id int PRIMARY KEY, prompt text, owner text);
INSERT INTO vibelogs SELECT i, 'a kite', (ARRAY['ann', 'bob', 'cat', 'dan'])[1 + i % 4] FROM generate_series(1, 400) i;
SELECT vibevideo.attach('vibelogs', model => 'acme/flat', user_column => 'owner');
SELECT vibevideo.set_price('acme/flat', 0.5);
SELECT vibevideo.pause('all');
INSERT INTO vibevideo.limit (scope, spend_per_day_usd, spend_per_month_usd, submits_per_hour, max_active) VALUES ('global', 24, 40, 60, 60);
INSERT INTO vibevideo.limit (scope, spend_per_day_usd, submits_per_month, submits_per_day) VALUES ('default', 9, 30, 25);
-- refused, or somebody else is there, perhaps at this very moment (40001)
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN '';
EXCEPTION WHEN SQLSTATE 'PT402' OR SQLSTATE 'PT429' OR SQLSTATE 'PT409' OR lock_not_available OR unique_violation OR deadlock_detected OR serialization_failure THEN
	RETURN SQLSTATE;
END
$$;
CREATE FUNCTION submit(first int, n int) RETURNS text LANGUAGE sql
RETURN try(format('SELECT FROM vibevideo_submit_batch(ARRAY(SELECT 1 + (%s * 37 + i * 101) %% 400 FROM generate_series(1, %s) i))', first, n));
-- one of those that are active, or have ended
CREATE FUNCTION some_job(active boolean) RETURNS bigint LANGUAGE sql
RETURN (SELECT j.job_id FROM vibevideo.job j WHERE vibevideo.is_active(j.state) = active ORDER BY random() LIMIT 1);
CREATE FUNCTION done(cost numeric) RETURNS text LANGUAGE sql
RETURN try(format($$WITH found AS MATERIALIZED (SELECT j.job_id FROM vibevideo.job j WHERE j.job_id = %s AND vibevideo.is_active(j.state) FOR UPDATE SKIP LOCKED)
	UPDATE vibevideo.job j SET state = 'completed', media_url = 'http://127.0.0.1/x.mp4', generated_at = now(), next_at = NULL, completed_at = now(),
		cost_usd = %s, cost_source = 'bill' FROM found f WHERE j.job_id = f.job_id$$, coalesce(some_job(true), 0), cost));
CREATE FUNCTION failed() RETURNS text LANGUAGE sql
RETURN try(format($$WITH found AS MATERIALIZED (SELECT j.job_id FROM vibevideo.job j WHERE j.job_id = %s AND vibevideo.is_active(j.state) FOR UPDATE SKIP LOCKED)
	UPDATE vibevideo.job j SET state = 'failed', error_code = 'x', next_at = NULL, completed_at = now() FROM found f WHERE j.job_id = f.job_id$$,
	coalesce(some_job(true), 0)));
-- anew, or one that was not
CREATE FUNCTION billed(cost numeric, again boolean) RETURNS text LANGUAGE sql
RETURN try(format($$WITH found AS MATERIALIZED (SELECT j.job_id FROM vibevideo.job j WHERE j.job_id = %s AND j.billed = %L FOR UPDATE SKIP LOCKED)
	UPDATE vibevideo.job j SET cost_usd = %s, cost_source = 'bill' FROM found f WHERE j.job_id = f.job_id$$, coalesce(some_job(false), 0), again, cost));
-- what is used of each budget, and how much may be
CREATE VIEW money AS
SELECT l.who, b.kind, b.most, vibevideo_internal.used_of(l.who, b.kind, vibevideo_internal.begin_of(b.kind, now())) AS used
FROM (SELECT 'ann' UNION SELECT 'bob' UNION SELECT 'cat' UNION SELECT 'dan') u(name)
CROSS JOIN LATERAL vibevideo_internal.limits_for(u.name, NULL, 'acme/flat') l CROSS JOIN LATERAL vibevideo_internal.budgets(l) b;
CREATE VIEW places AS
SELECT l.who, l.max_active, l.submits_per_day, count(*) FILTER (WHERE vibevideo.is_active(j.state)) AS active,
	   count(*) FILTER (WHERE vibevideo_internal.counts(j)) AS requested
FROM (SELECT 'ann' UNION SELECT 'bob' UNION SELECT 'cat' UNION SELECT 'dan') u(name)
CROSS JOIN LATERAL vibevideo_internal.limits_for(u.name, NULL, 'acme/flat') l
JOIN vibevideo.job j ON vibevideo_internal.is_of(l.who, j.requested_by, j.tenant, j.model)
GROUP BY u.name, l.who, l.max_active, l.submits_per_day;
-- what somebody has seen who looks again and again
CREATE TABLE passed (at timestamptz DEFAULT clock_timestamp(), what text);
SQL

my $row = '\set row random(1, 400)' . "\n" . '\set n random(1, 4)' . "\n";
my $price = '\set price random(1, 10)' . "\n";
my %script = (
	submit => [ 30, "${row}SELECT submit(:row, :n);" ],
	open_submit => [ 12, "${row}BEGIN;\nSELECT submit(:row, :n);\n\\sleep 20 ms\nSELECT submit(:row + 1, 1);\n\\sleep 20 ms\nCOMMIT;" ],
	no_submit => [ 8, "${row}BEGIN;\nSELECT submit(:row, :n);\n\\sleep 30 ms\nROLLBACK;" ],
	done => [ 16, 'SELECT done(0.5);' ],
	failed => [ 14, 'SELECT failed();' ],
	open_failed => [ 8, "BEGIN;\nSELECT failed();\n\\sleep 40 ms\nCOMMIT;" ],
	not_failed => [ 5, "BEGIN;\nSELECT failed();\n\\sleep 40 ms\nROLLBACK;" ],
	cancelled => [ 5, "${row}SELECT try('SELECT FROM vibevideo_cancel(:row)');" ],
	look => [ 10, q{INSERT INTO passed (what) SELECT format('%s %s: %s of %s', m.who, m.kind, m.used, m.most) FROM money m WHERE m.used > m.most
		UNION ALL SELECT format('%s: %s active of %s, %s requested of %s', p.who, p.active, p.max_active, p.requested, p.submits_per_day) FROM places p
		WHERE p.active > p.max_active OR p.requested > p.submits_per_day;} ]);
# what makes tills be made anew, and what costs less than was thought
my %change = (
	raise => [ 3, q{UPDATE vibevideo.limit SET spend_per_day_usd = spend_per_day_usd + 0.3 WHERE scope = 'global';} ],
	raise_default => [ 3, q{UPDATE vibevideo.limit SET spend_per_day_usd = spend_per_day_usd + 0.2, submits_per_month = submits_per_month + 1 WHERE scope = 'default';} ],
	price => [ 3, "${price}SELECT vibevideo.set_price('acme/other', 0.03 * :price);" ],
	cheaper => [ 10, 'SELECT done(0.3);' ],
	bill => [ 8, 'SELECT billed(0.2, true);' ],
	open_bill => [ 4, "BEGIN;\nSELECT billed(0.1, true);\n\\sleep 40 ms\nCOMMIT;" ],
	gone => [ 6, q{DELETE FROM vibevideo.job WHERE job_id = some_job(false);} ]);
# and what may be more than a limit allows: it was lowered, or a bill is higher
my %excess = (
	lower => [ 3, q{UPDATE vibevideo.limit SET spend_per_day_usd = greatest(1, spend_per_day_usd - 3) WHERE scope = 'global';} ],
	none => [ 2, q{DELETE FROM vibevideo.limit WHERE scope = 'default';} ],
	back => [ 3, q{INSERT INTO vibevideo.limit (scope, spend_per_day_usd, submits_per_day) VALUES ('default', 7, 20) ON CONFLICT DO NOTHING;} ],
	own => [ 2, q{INSERT INTO vibevideo.limit (user_id, spend_per_day_usd) VALUES ('ann', 4) ON CONFLICT (who) DO UPDATE SET spend_per_day_usd = 13 - vibevideo.limit.spend_per_day_usd;} ],
	dearer => [ 6, 'SELECT billed(0.9, true);' ],
	late => [ 6, 'SELECT billed(0.4, false);' ],
	unlogged => [ 1, q{DELETE FROM vibevideo_internal.counted WHERE random() < 0.3;} ]);

# drawn(name, scripts) - all clients at once; returns what went wrong.
sub drawn
{
	my ($name, %scripts) = @_;
	my @files;

	for my $script (sort keys %scripts)
	{
		my ($weight, $text) = @{ $scripts{$script} };
		my $file = $node->basedir . "/$name.$script.sql";

		append_to_file($file, "$text\n");
		push @files, '-f', "$file\@$weight";
	}
	my ($out, $err) = ('', '');
	# a row of the app's that somebody has locked is written later, with a warning
	local $ENV{PGOPTIONS} = '-c client_min_messages=error';
	my $ok = IPC::Run::run([ 'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $each, "--random-seed=$seed", @files, $node->connstr('postgres') ],
		'<', \undef, '>', \$out, '2>', \$err);
	my @wrong = grep { !/^pgbench: (?:setting|hint|\(|pghost)|^pgbench \(/ } split /\n/, $err;
	note($out =~ /(number of transactions actually processed: .*)/);
	return $ok && !@wrong ? '' : join("\n", @wrong, $out);
}

is(drawn('fixed', %script), '', 'limits as they are: all clients did what they had to do');
is(sql($node, 'SELECT what FROM passed ORDER BY at'), '', 'and nobody has seen one passed');
ok_tills($node, 'limits as they are');
cmp_ok(sql($node, 'SELECT count(*) FROM vibevideo.job'), '>', 50, 'jobs were made');
is(drawn('changed', %script, %change), '', 'raised limits and changed prices: all clients did what they had to do');
is(sql($node, 'SELECT what FROM passed ORDER BY at'), '', 'and nobody has seen a limit passed');
ok_tills($node, 'raised limits and changed prices');
is(drawn('lowered', %script, %change, %excess), '', 'lowered limits and high bills: all clients did what they had to do');
ok_tills($node, 'lowered limits and high bills');
is(sql($node, q{SELECT count(*) FROM vibevideo_internal.share_due}), '0', 'nothing is due any more');
is(sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'vibevideo limits'}), '0', 'whoever made tills has ended');

done_testing();
