
=pod

=head1 NAME

VibeChaos - crashes, promotions, and the rules that must hold after them

=head1 SYNOPSIS

  use VibeTest;
  use VibeChaos;

  my $facts = gather($node, $fal, $storage);
  ok_rules($facts, 'after the crash');

=head1 DESCRIPTION

C<gather> reads what the database believes, what the emulators of fal.ai and
Storage saw, the journal's files and the server's log.  A rule is a function
of that which returns every violation it finds, each with its evidence; a rule
never stops at the first.

C<ok_books> holds the costs of each user, day and model against fal.ai's bill, when all
is over: it reads the bill, after which jobs cost what that says.

=cut

package VibeChaos;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use VibeTest;

our @EXPORT = qw(
  ask_server wait_up wait_down wait_at_rest crash_server kill_process cli
  journal_files hung_submit start_locker start_freezer
  counted_and_happened gather ok_rules ok_books ok_tills requests_of billed_by violations @rules);

my $json = JSON::PP->new->utf8->allow_nonref->canonical;
my $FINAL = qr/^(?:completed|failed|cancelled)$/;

# In the order they are reported.
our @rules = qw(
  rule_committed_is_final rule_one_render_an_attempt rule_unowned_is_cancelled
  rule_committed_is_not_cancelled rule_stored_bytes rule_never_backward rule_nothing_left
  rule_rows_follow_jobs rule_adopted_once rule_acknowledged_is_kept rule_money_adds_up rule_counted_once rule_nobody_is_nameless
  rule_no_crash_fails_a_job rule_log_is_clean);

# ---------------------------------------------------------------------------
# Servers
# ---------------------------------------------------------------------------

# ask_server(node, sql) - (status, output) of a psql whose server may go away at
# any moment, even before it has read the statement.
sub ask_server
{
	my ($node, $sql) = @_;
	my @answer = eval { $node->psql('postgres', $sql, timeout => 20) };

	return @answer ? @answer : (-1, '');
}

# wait_up(node) - until the server takes connections; dies if it does not.
sub wait_up
{
	my ($node) = @_;
	my $until = time() + $VibeTest::patience;

	while (time() < $until)
	{
		my ($rc) = ask_server($node, 'SELECT 1');
		return 1 if $rc == 0;
		sleep(0.1);
	}
	die 'server ' . $node->name . " does not come up\n" . log_tail($node) . "\n";
}

# wait_down(pid) - until a process of the server is gone.
sub wait_down
{
	my ($pid) = @_;
	my $until = time() + $VibeTest::patience;

	while (time() < $until)
	{
		return 1 unless kill(0, $pid);
		sleep(0.02);
	}
	die "process $pid does not end\n";
}

# kill_process(node, pid) - kill -9 of one of the server's processes, and the crash restart that follows.
sub kill_process
{
	my ($node, $pid) = @_;

	kill('KILL', $pid);
	wait_down($pid);
	return wait_up($node);
}

# crash_server(node) - all processes gone at once, nothing written, started again.
sub crash_server
{
	my ($node) = @_;

	$node->stop('immediate');
	$node->start;
	return wait_up($node);
}

# cli(node, sql, database) - output of a separate session; dies on an error.
sub cli
{
	my ($node, $sql, $database) = @_;
	my ($rc, $out, $err) = $node->psql($database || 'postgres', $sql, on_error_stop => 1, timeout => 60);

	die "$sql\n$err\n" if $rc != 0;
	return $out;
}

# ---------------------------------------------------------------------------
# The journal
# ---------------------------------------------------------------------------

# A new file is all zeros; a forgotten record has lost its magic number.
sub holds_record
{
	my ($path) = @_;
	my $magic = '';

	open(my $file, '<:raw', $path) or return 0;
	read($file, $magic, 4);
	return $magic eq '3jvv';
}

# The journal's files that are not empty.
sub journal_files
{
	my ($node) = @_;

	return grep { holds_record($_) } glob($node->data_dir . '/pg_vibevideo/*');
}

# wait_at_rest(node, name) - a test that passes once nothing is pending: no
# intent, no active job, no row to write.
sub wait_at_rest
{
	my ($node, $name, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until(
		sub {
			return 0 if journal_files($node);
			my ($rc, $out) = ask_server($node,
				q{SELECT count(*) FROM vibevideo.job WHERE state NOT IN ('completed', 'failed', 'cancelled') OR row_dirty});
			return 1 if $rc == 0 && $out eq '0';
			ask_server($node,
				q{UPDATE vibevideo.job SET next_at = now() WHERE next_at BETWEEN now() + interval '1 s' AND now() + interval '1 day' AND leased_by IS NULL;
				UPDATE vibevideo.job SET row_next_at = now() WHERE row_dirty;
				SELECT vibevideo.wake()});
			sleep(0.25);
			return 0;
		},
		$name || 'everything comes to rest',
		patience => $options{patience},
		tell => sub { return 'journal: ' . join(' ', journal_files($node)) });
}

# hung_submit(node, fal, id, fault, prompt) - a session that waits for fal's
# answer, when fal has the request (and, after it "accepts", the job).
sub hung_submit
{
	my ($node, $fal, $id, $fault, $prompt, @before) = @_;
	my $session = background_sql($node);
	my $hits = $fal->hits;

	$fal->fault('submit', $fault, prompt => '^' . quotemeta($prompt) . '$');
	$session->query($_) for @before;
	my $pid = $session->query('SELECT pg_backend_pid()');
	$pid =~ s/\D//g;
	$session->query_until(qr/sent/, "\\echo sent\nSELECT vibevideo_submit('$id');\n");
	wait_until(sub { $fal->hits > $hits }, "$prompt: the request is at fal");
	return ($session, $pid);
}

# ---------------------------------------------------------------------------
# Nemeses that are processes of their own
# ---------------------------------------------------------------------------

# spawn(seed, until, file, work) - calls work until the time is over or TERM arrives.
# What work returns is counted, and the counts are left in file.  Returns the
# process' id.
sub spawn
{
	my ($seed, $until, $file, $work) = @_;
	my $pid = fork();

	die "fork: $!" unless defined $pid;
	return $pid if $pid;
	my $over = 0;
	my %count;

	# it cuts a sleep short
	local $SIG{TERM} = sub { $over = 1 };
	local $SIG{ALRM} = sub { die "it hangs\n" };
	srand($seed);
	alarm(int($until - time()) + 60);
	while (!$over && time() < $until)
	{
		my $done = eval { $work->() };
		$count{$done}++ if $done;
		sleep(0.2) unless $over;
	}
	alarm(0);
	eval { PostgreSQL::Test::Utils::append_to_file($file, $json->encode(\%count)) };
	POSIX::_exit(0);
}

# A time to hold or to stop something: mostly short.
sub while_to_hold
{
	my ($most) = @_;

	return rand() < 0.3 ? rand($most) : rand($most < 3 ? $most : 3);
}

# What somebody's open transaction may hold: rows of ours and of the app's, tables, both.
my %locks = (
	'job rows' => 'SELECT FROM vibevideo.job WHERE job_id IN (SELECT job_id FROM vibevideo.job ORDER BY random() LIMIT 20) FOR UPDATE',
	'active job rows' => 'SELECT FROM vibevideo.job WHERE vibevideo.is_active(state) AND random() < 0.5 FOR UPDATE',
	'rows of the app' => 'SELECT FROM vibelogs WHERE random() < 0.3 FOR UPDATE',
	'keys of the app' => 'SELECT FROM vibelogs WHERE random() < 0.3 FOR KEY SHARE',
	'limits' => 'SELECT FROM vibevideo.limit FOR UPDATE',
	'a limit that is changed' => q{UPDATE vibevideo.limit SET max_active = max_active + 1 WHERE scope = 'global'},
	'slots' => 'SELECT FROM vibevideo_internal.slot WHERE random() < 0.5 FOR UPDATE',
	'tills' => 'SELECT FROM vibevideo_internal.till FOR UPDATE',
	'the binding' => 'SELECT FROM vibevideo.binding FOR SHARE',
	'a model' => 'SELECT FROM vibevideo.model FOR UPDATE',
	'the table of the app, shared' => 'LOCK TABLE vibelogs IN SHARE MODE',
	'the table of the app' => 'LOCK TABLE vibelogs IN ACCESS EXCLUSIVE MODE',
	'the table of jobs, shared' => 'LOCK TABLE vibevideo.job IN SHARE MODE',
	'the table of events' => 'LOCK TABLE vibevideo.event IN SHARE MODE',
	'a retry' => 'SELECT FROM (SELECT id FROM vibelogs WHERE video_generation_status = \'failed\' ORDER BY random() LIMIT 1) v, vibevideo_retry(v.id)');

# start_locker(node, seed, until, most seconds, file) - a session that holds
# random locks.  node is called for the server; file gets what was held.
sub start_locker
{
	my ($node, $seed, $until, $most, $file) = @_;
	my ($session, $at);

	return spawn($seed, $until, $file, sub {
		if (!$session || $at ne $node->()->name)
		{
			$at = $node->()->name;
			$session = VibeTest::Session->start($node->());
		}
		my @names = sort keys %locks;
		my @drawn = map { $names[ rand @names ] } 0 .. int(rand(2));
		my ($well) = $session->ask(join(';', q{SET lock_timeout = '3s'; BEGIN}, map { $locks{$_} } @drawn));

		sleep(while_to_hold($most)) if $well;
		my ($there) = $session->ask(rand() < 0.5 ? 'COMMIT' : 'ROLLBACK');
		undef $session unless defined $well && defined $there;
		return $well ? join(' and ', @drawn) : undef;
	});
}

# The worker, if this process is it: an id may have been given to another one.
sub is_worker
{
	my ($pid) = @_;

	open(my $file, '<', "/proc/$pid/cmdline") or return 0;
	local $/;
	return (<$file> // '') =~ /vibevideo worker/;
}

# start_freezer(node, seed, until, most seconds, file) - stops the worker now and
# then, and lets it go on.  Nothing is left stopped, however it ends.
sub start_freezer
{
	my ($node, $seed, $until, $most, $file) = @_;

	return spawn($seed, $until, $file, sub {
		sleep(0.5 + rand(3));
		my ($rc, $pid) = ask_server($node->(),
			q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'vibevideo worker' AND datname = 'postgres'});

		return if $rc != 0 || $pid !~ /^\d+$/ || !is_worker($pid);
		kill('STOP', $pid);
		sleep(while_to_hold($most));
		kill('CONT', $pid);
		return 'the worker stopped';
	});
}

# ---------------------------------------------------------------------------
# Facts
# ---------------------------------------------------------------------------

sub rows_of
{
	my ($node, $sql, $database) = @_;

	return $json->decode(cli($node, "SELECT coalesce(json_agg(r), '[]') FROM ($sql) r", $database));
}

# counted_and_happened(node) - what the rollup has counted beside what the jobs and
# their history say, as long as no job was deleted: outcome, class of error, counted,
# happened.
sub counted_and_happened
{
	my ($node) = @_;

	return @{ rows_of($node, <<'SQL') };
SELECT outcome, class, to_jsonb(c) - '{outcome,class}'::text[] AS counted, to_jsonb(h) - '{outcome,class}'::text[] AS happened
FROM (SELECT CASE r.outcome WHEN 'settled' THEN 'rendered' ELSE r.outcome END AS outcome, r.error_class AS class, sum(r.n) FILTER (WHERE r.outcome <> 'settled') AS n,
			 trim_scale(sum(r.settled_usd) - coalesce(sum(r.returned_usd) FILTER (WHERE r.outcome = 'settled'), 0)) AS settled,
			 trim_scale(coalesce(sum(r.returned_usd) FILTER (WHERE r.outcome <> 'settled'), 0)) AS returned
	  FROM vibevideo.rollup r WHERE r.seconds = 0 GROUP BY 1, 2) c
FULL JOIN (
	SELECT e.state AS outcome, coalesce(vibevideo.error_class(CASE e.state WHEN 'failed' THEN e.error_code END), '') AS class, count(*) AS n, 0::numeric AS settled,
		   trim_scale(sum(CASE WHEN e.state <> 'completed' AND NOT j.billed THEN coalesce(j.cost_estimated_usd, 0) ELSE 0 END)) AS returned
	FROM vibevideo.event e JOIN vibevideo.job j USING (job_id) WHERE e.state IN ('completed', 'failed', 'cancelled') GROUP BY 1, 2
	UNION ALL
	SELECT s.outcome, '', count(*), trim_scale(sum(CASE s.outcome WHEN 'rendered' THEN coalesce(j.cost_usd, 0) ELSE 0 END)), 0
	FROM vibevideo.job j, LATERAL (VALUES ('submitted', true), ('accepted', j.submitted_at IS NOT NULL), ('rendered', j.billed)) AS s(outcome, so)
	WHERE s.so GROUP BY 1) h USING (outcome, class)
ORDER BY outcome, class
SQL
}

# tills_of(node) - what is used of budgets, by their tills and by the jobs; without those
# that the next submit makes anew.
sub tills_of
{
	my ($node) = @_;

	# what was settled while tills were made is given back by the next submit
	cli($node, 'SELECT vibevideo_internal.settle_due(d.who, d.kind) FROM (SELECT DISTINCT d.who, d.kind FROM vibevideo_internal.share_due d) d');
	return rows_of($node, <<'SQL');
SELECT t.who, t.kind, sum(t.used) AS used, vibevideo_internal.used_of(t.who, t.kind, vibevideo_internal.begin_of(t.kind, now())) AS cost
FROM vibevideo_internal.till t
JOIN LATERAL vibevideo_internal.limits_for(substring(t.who, '^user:(.*)'), substring(t.who, '^tenant:(.*)'), substring(t.who, '^model:(.*)')) l ON l.who = t.who
JOIN LATERAL vibevideo_internal.budgets(l) b ON b.kind = t.kind
WHERE t.begins >= vibevideo_internal.begin_of(t.kind, now())
  AND NOT EXISTS (SELECT FROM vibevideo_internal.unmade(l) u WHERE u.kind = t.kind)
GROUP BY t.who, t.kind
SQL
}

# gather(node, fal, storage, more...) - everything that the rules check.
sub gather
{
	my ($node, $fal, $storage, %more) = @_;
	my %facts = (
		jobs => rows_of($node,
			q{SELECT j.*, encode(j.sha256, 'hex') AS sha256_hex, j.input->>'prompt' AS prompt,
			extract(epoch FROM j.sent_at) AS sent_epoch, vibevideo_internal.shown_error(j) AS shown_error FROM vibevideo.job j ORDER BY j.job_id}),
		events => rows_of($node, q{SELECT * FROM vibevideo.event ORDER BY event_id}),
		rows => rows_of($node, q{SELECT * FROM vibelogs}),
		counts => [ counted_and_happened($node) ],
		tills => tills_of($node),
		seen => cli($node, q{SELECT to_regclass('public.seen') IS NOT NULL}) eq 't'
		? rows_of($node, q{SELECT * FROM public.seen ORDER BY n})
		: [],
		ledger => $fal->ledger,
		objects => $storage->ledger->{objects},
		journal => [ journal_files($node) ],
		log => { map { $_->name => slurp_file($_->logfile) } $node, @{ $more{other_nodes} || [] } },
		acknowledged => $more{acknowledged} || [],
		# epochs between which the first primary's journal was lost, see rule_unowned_is_cancelled
		lost_journal => $more{lost_journal},
		lost_ids => $more{lost_ids} || {},
		# rows for which a cancel was requested; undef: trust the jobs
		cancels => $more{cancels});

	$facts{job_of_request} = { map { $_->{request_id} => $_ } grep { $_->{request_id} } @{ $facts{jobs} } };
	$facts{render} = { map { $_->{request_id} => $_ } @{ $facts{ledger}{jobs} } };
	return \%facts;
}

# violations(facts, rule) - violations of one rule.
sub violations
{
	my ($facts, $rule) = @_;
	no strict 'refs';    ## no critic (ProhibitNoStrict) the rules are named

	return &{"VibeChaos::$rule"}($facts);
}

# ok_rules(facts, name, leave_out...) - one test per rule.
sub ok_rules
{
	my ($facts, $name, @leave_out) = @_;
	my %without = map { $_ => 1 } @leave_out;
	my $all = 0;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for my $rule (grep { !$without{$_} } @rules)
	{
		my @found = violations($facts, $rule);
		ok(@found == 0, "$name: $rule") or diag(join("\n", "$rule: " . @found . ' violations', @found));
		$all += @found;
	}
	return $all == 0;
}

# requests_of(node) - whose each request is: user, tenant, model, and when: hour, day, month.
sub requests_of
{
	my ($node) = @_;

	return map { $_->{request_id} => $_ } @{ rows_of($node, <<'SQL') };
SELECT j.request_id, coalesce(j.requested_by, '') AS user, coalesce(j.tenant, '') AS tenant, j.model,
	   to_char(j.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24') AS hour, to_char(j.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
	   to_char(j.created_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month
FROM vibevideo.job j WHERE j.request_id IS NOT NULL
SQL
}

# billed_by(fal, requests, of) - what fal has billed, in billionths of a dollar, by what
# of makes of whose request it is; what is not ours is left out.
sub billed_by
{
	my ($fal, $requests, $of) = @_;
	my %sum;

	for my $event (@{ $fal->bill->{events} })
	{
		my $whose = $requests->{ $event->{request_id} // '' } or next;
		$sum{$_} += $event->{total_nano_usd} for $of->($whose);
	}
	return \%sum;
}

# ok_books(node, fal, name, requests) - once fal shows its whole bill, each user, day and
# model costs what that says, each tenant too, the ledger has nothing else but what is not
# ours, and the tills of budgets say the same.  requests: as from requests_of, also of
# jobs that were deleted.
sub ok_books
{
	my ($node, $fal, $name, $requests) = @_;
	my $amounts = sub { return { map { $_->{of} => $_->{usd} } @{ rows_of($node, shift) } } };
	my $billed = sub { my $sum = billed_by($fal, $requests, shift); delete @$sum{ grep { $sum->{$_} == 0 } keys %$sum }; return $sum };
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$fal->account(event_delay_ms => 0);
	cli($node, 'SELECT vibevideo.sync_usage()');
	cli($node, 'SELECT vibevideo_internal.add_costs(1000000)');
	is_deeply(
		$amounts->(q{SELECT concat_ws(' ', coalesce(user_id, ''), day, model) AS of, (settled_usd * 1000000000)::bigint AS usd FROM vibevideo.costs WHERE settled_usd <> 0}),
		$billed->(sub { my ($whose) = @_; return join(' ', @$whose{qw(user day model)}) }), "$name: each user, day and model costs what fal.ai bills");
	is_deeply(
		$amounts->(q{SELECT tenant AS of, (sum(settled_usd) * 1000000000)::bigint AS usd FROM vibevideo.tenant_costs GROUP BY 1 HAVING sum(settled_usd) <> 0}),
		$billed->(sub { my ($whose) = @_; return $whose->{tenant} ne '' ? $whose->{tenant} : () }), "$name: each tenant, too");

	diag(cli($node, q{SELECT format('ledger of %s, %s: ours %s, fal.ai''s %s, difference %s, explained %s; %s jobs, %s items, %s corrected', day, model, ours_usd, fal_usd,
		difference_usd, explained_usd, jobs, items, corrected) FROM vibevideo.ledger ORDER BY day, model}));
	my $bill = $fal->bill;
	my $foreign = grep { !$requests->{ $_->{request_id} // '' } } @{ $bill->{events} };
	is(cli($node, "SELECT sum(fal_usd) * 1000000000 = $bill->{total_nano_usd}, sum(items_without_job), sum(jobs_without_item) FROM vibevideo.ledger"),
		"t|$foreign|0", "$name: the ledger closes, but for what is not ours");
	return ok_tills($node, $name);
}

# ok_tills(node, name) - of an hour there are no sums without the jobs that were deleted.
sub ok_tills
{
	my ($node, $name) = @_;
	my @tills = grep { $_->{kind} !~ /hour$/ } @{ tills_of($node) };
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is(join("\n", rule_money_adds_up({ tills => \@tills })), '', "$name: the tills say what the jobs say") || diag(cli($node, <<'SQL'));
SELECT format('job %s of %s: %s%s, made %s, costs %s (%s), held %s, billed %s, %s', j.job_id, j.requested_by, j.state, CASE WHEN j.orphan THEN ' orphan' END, j.created_at,
	   j.cost_usd, j.cost_source, j.held_usd, j.billed, concat_ws(', ', j.model, j.input ->> 'prompt', j.error_code)) FROM vibevideo.job j
UNION ALL SELECT 'till ' || to_jsonb(t)::text FROM vibevideo_internal.till t WHERE t.used <> 0
UNION ALL SELECT 'taken ' || to_jsonb(t)::text FROM vibevideo_internal.share_taken t
UNION ALL SELECT 'due ' || to_jsonb(d)::text FROM vibevideo_internal.share_due d
UNION ALL SELECT 'new costs ' || to_jsonb(n)::text FROM vibevideo_internal.new_costs n
UNION ALL SELECT 'past costs ' || to_jsonb(p)::text FROM vibevideo.past_costs p
SQL
}

sub told
{
	my ($job) = @_;
	my %short = map { $_ => $job->{$_} } grep { defined $job->{$_} }
	  qw(job_id vibelog_id attempt state orphan request_id error_code error cancel_requested_at sent_at completed_at leased_by row_error);

	return $json->encode(\%short);
}

# A stranger's request may have none, or one of another kind.
sub prompt_of
{
	my ($render) = @_;
	my $input = $render->{input};

	return ref $input eq 'HASH' && defined $input->{prompt} && !ref $input->{prompt} ? $input->{prompt} : '';
}

sub told_render
{
	my ($render) = @_;
	my %short = map { $_ => $render->{$_} } grep { defined $render->{$_} }
	  qw(request_id accepted_at state outcome billed cancel_requested_at finished_at);

	return $json->encode({ %short, prompt => prompt_of($render) });
}

# ---------------------------------------------------------------------------
# Rules
# ---------------------------------------------------------------------------

# (a) Every committed submit has ended.
sub rule_committed_is_final
{
	my ($facts) = @_;

	return map { "not final: " . told($_) } grep { $_->{state} !~ $FINAL } @{ $facts->{jobs} };
}

# Orphans of each prompt that were not cancelled at fal, which had requests like
# theirs: what may be somebody else's is left alone, so these may be rendered.
sub uncertain
{
	my ($facts) = @_;
	my %uncertain;

	$uncertain{ $_->{prompt} }++ for grep { $_->{orphan} && ($_->{error} || '') =~ /none that is certainly it/ } @{ $facts->{jobs} };
	return %uncertain;
}

# (b) An attempt is rendered at most once.  A request belongs to its job; several
# requests for one prompt need as many attempts, or are cancelled.
sub rule_one_render_an_attempt
{
	my ($facts) = @_;
	my (%renders, %attempts, @found);

	for my $render (@{ $facts->{ledger}{jobs} })
	{
		my $job = $facts->{job_of_request}{ $render->{request_id} };
		my $prompt = prompt_of($render);

		if ($job && $job->{prompt} ne $prompt)
		{
			push @found, "a job has another job's request: " . told($job) . ' ' . told_render($render);
		}
		next if $render->{cancel_requested_at} || ($job && $job->{orphan});
		next if lost_with_the_journal($facts, $render);
		push @{ $renders{$prompt} }, $render;
	}
	for my $job (grep { !$_->{orphan} && $_->{sent_at} } @{ $facts->{jobs} })
	{
		push @{ $attempts{ $job->{prompt} } }, $job;
	}
	my %uncertain = uncertain($facts);

	for my $prompt (sort keys %renders)
	{
		my @attempts = @{ $attempts{$prompt} || [] };
		next if @{ $renders{$prompt} } <= @attempts + ($uncertain{$prompt} || 0);
		push @found,
		  "$prompt: " . @{ $renders{$prompt} } . ' renders for ' . @attempts . " attempts\n  "
		  . join("\n  ", (map { told_render($_) } @{ $renders{$prompt} }), map { told($_) } @attempts);
	}
	return @found;
}

# A render that a transaction of the old primary requested, which neither was
# replicated nor, since the journal is not replicated, left an intent.
sub lost_with_the_journal
{
	my ($facts, $render) = @_;
	my $window = $facts->{lost_journal} or return 0;
	my $at = $render->{accepted_at} / 1000;

	return 0 if $facts->{job_of_request}{ $render->{request_id} };
	return 0 if $at < $window->[0] || $at > $window->[1];
	return 1 if !$facts->{lost_ids}{counted};
	# the client of that row did not see a commit
	return $facts->{lost_ids}{prompts}{ prompt_of($render) } ? 1 : 0;
}

# (b) What fal renders for nobody has been cancelled there, or is an orphan that
# had finished before.
sub rule_unowned_is_cancelled
{
	my ($facts) = @_;
	my %uncertain = uncertain($facts);
	my @found;

	for my $render (@{ $facts->{ledger}{jobs} })
	{
		my $job = $facts->{job_of_request}{ $render->{request_id} };

		if (!$job)
		{
			next if $render->{cancel_requested_at} || lost_with_the_journal($facts, $render);
			next if $uncertain{ prompt_of($render) } && $uncertain{ prompt_of($render) }-- > 0;
			# somebody called vibevideo_retry on a lost submit: that decision may cost a render
			next if grep { $_->{prompt} eq prompt_of($render) && ($_->{error} || '') =~ /given up in favour of a new attempt/ }
			  @{ $facts->{jobs} };
			push @found, 'fal renders it for nobody: ' . told_render($render);
		}
		elsif ($job->{orphan} && $job->{state} =~ $FINAL && !$render->{cancel_requested_at})
		{
			# it had ended before somebody looked, or a cancel was sent; or fal ignored it
			next if $render->{finished_at} && $render->{counts}{status} + $render->{counts}{cancel} + $render->{counts}{cancel_refused} > 0
			  && (($job->{error_code} || '') eq 'orphaned' || ($render->{outcome} || '') ne 'ok');
			push @found, 'an orphan was not cancelled: ' . told($job) . ' ' . told_render($render);
		}
	}
	return @found;
}

# Nobody cancels what was committed, unless asked to.
sub rule_committed_is_not_cancelled
{
	my ($facts) = @_;
	my $asked = sub {
		my ($job) = @_;
		return $facts->{cancels} ? $facts->{cancels}{ $job->{vibelog_id} } : $job->{cancel_requested_at};
	};
	my @found;

	for my $job (grep { !$_->{orphan} && !$asked->($_) } @{ $facts->{jobs} })
	{
		my $render = $job->{request_id} ? $facts->{render}{ $job->{request_id} } : undef;

		next if ($job->{error_code} || '') eq 'job_timeout';
		push @found, 'cancelled at fal although nobody asked: ' . told($job) . ' ' . told_render($render)
		  if $render && $render->{cancel_requested_at};
		push @found, 'cancelled although nobody asked: ' . told($job) if $job->{state} eq 'cancelled' || $job->{cancel_requested_at};
	}
	return @found;
}

# (c) A completed job has one object, with the bytes that fal rendered.
sub rule_stored_bytes
{
	my ($facts) = @_;
	my %object = map { $_->{key} => $_ } @{ $facts->{objects} };
	my @found;

	for my $job (grep { $_->{state} eq 'completed' } @{ $facts->{jobs} })
	{
		my $render = $facts->{render}{ $job->{request_id} || '' };
		my $object = delete $object{ $job->{object_key} || '' };
		my @hashes = (
			$object ? $object->{sha256} : 'no object',
			$render ? $render->{media_sha256} || 'no hash' : 'no render',
			$job->{sha256_hex} || 'none');

		# whoever had hashed it may have died after Storage had the last byte
		next if $hashes[0] eq $hashes[1] && ($hashes[1] eq $hashes[2] || $hashes[2] eq 'none');
		push @found, 'stored, made and noted bytes differ (' . join(', ', @hashes) . '): ' . told($job)
		  . join(' ', map { ", $_ " . ($job->{$_} // 'null') } qw(object_key video_url bytes_done bytes_total upload_url));
	}
	# an upload may arrive although its answer was lost, or its job had ended
	for my $key (sort keys %object)
	{
		my ($request) = $key =~ m{([^/]+)\.mp4$};
		my $job = $facts->{job_of_request}{ $request || '' };

		push @found, "an object of no job: $key" unless $job;
	}
	push @found, map { "partial object $_->{key}" }
	  grep { my $o = $_; my ($r) = $o->{key} =~ m{([^/]+)\.mp4$}; my $render = $facts->{render}{ $r || '' };
		$render && $render->{media_sha256} && $o->{sha256} ne $render->{media_sha256} } @{ $facts->{objects} };
	return @found;
}

my %rank = (
	pending => 1, submitting => 1, submit_unknown => 2, queued => 3,
	generating => 4, processing => 5, completed => 6, failed => 6, cancelled => 6);
my %shown_rank = (queued => 1, generating => 2, processing => 3, completed => 4, failed => 4, cancelled => 4);

# (d) No status moves backward: neither a job's nor, while it shows one
# request, the app's row's.
sub rule_never_backward
{
	my ($facts) = @_;
	my (%last, %shown, @found);

	for my $event (@{ $facts->{events} })
	{
		my $before = $last{ $event->{job_id} };
		$last{ $event->{job_id} } = $event->{state};
		next unless defined $before;
		next if $rank{ $event->{state} } >= $rank{$before} && $rank{$before} < 6;
		next if $before eq 'failed' && $event->{state} eq 'processing';
		next if $before eq 'submit_unknown' && $event->{state} eq 'pending';
		push @found, "job $event->{job_id} went from $before to $event->{state}: " . $json->encode($event);
	}
	for my $seen (@{ $facts->{seen} })
	{
		my $before = $shown{ $seen->{id} };
		$shown{ $seen->{id} } = $seen;
		next if !$before || !$before->{request_id} || ($seen->{request_id} || '') ne $before->{request_id};
		next if $shown_rank{ $seen->{status} } >= $shown_rank{ $before->{status} };
		next if $before->{status} eq 'failed' && $seen->{status} eq 'processing';
		push @found, "row $seen->{id} went from $before->{status} to $seen->{status} of one request: " . $json->encode($seen);
	}
	return @found;
}

# (e) No intent, no lease, no row to write.
sub rule_nothing_left
{
	my ($facts) = @_;

	return (
		(map { "the journal holds $_" } @{ $facts->{journal} }),
		(map { 'a lease is left: ' . told($_) } grep { defined $_->{leased_by} } @{ $facts->{jobs} }),
		(map { 'its row is not written: ' . told($_) } grep { $_->{row_dirty} } @{ $facts->{jobs} }));
}

# (e) The app's row shows the newest job, and nothing of an orphan.
sub rule_rows_follow_jobs
{
	my ($facts) = @_;
	my (%newest, @found);

	for my $job (grep { !$_->{orphan} } @{ $facts->{jobs} })
	{
		$newest{ $job->{vibelog_id} } = $job;
	}
	for my $row (@{ $facts->{rows} })
	{
		my $job = $newest{ $row->{id} };
		my %wanted = (
			video_generation_status => $job ? $job->{state} =~ /^(?:pending|submit)/ ? 'queued' : $job->{state} : undef,
			video_request_id => $job ? $job->{request_id} : undef,
			video_generation_error => $job && $job->{state} eq 'failed' ? $job->{shown_error} : undef);
		$wanted{video_url} = $job->{video_url} if $job && $job->{state} eq 'completed';

		for my $column (sort keys %wanted)
		{
			next if ($row->{$column} // 'null') eq ($wanted{$column} // 'null');
			next if $job && $job->{state} !~ $FINAL && $column eq 'video_generation_error';
			push @found,
			  "row $row->{id}: $column is " . ($row->{$column} // 'null') . ', its job has ' . ($wanted{$column} // 'null')
			  . ($job ? ': ' . told($job) : ' (no job)');
		}
	}
	return @found;
}

# (f) No request belongs to two jobs, and none is invented.
sub rule_adopted_once
{
	my ($facts) = @_;
	my (%owner, @found);

	for my $job (grep { $_->{request_id} } @{ $facts->{jobs} })
	{
		if (my $other = $owner{ $job->{request_id} })
		{
			push @found, 'two jobs have one request: ' . told($other) . ' ' . told($job);
		}
		$owner{ $job->{request_id} } = $job;
		push @found, 'fal does not know this request: ' . told($job) unless $facts->{render}{ $job->{request_id} };
	}
	return @found;
}

# What a client saw committed is there, with the request id it got.
sub rule_acknowledged_is_kept
{
	my ($facts) = @_;
	my (%jobs, @found);

	push @{ $jobs{ $_->{vibelog_id} } }, $_ for grep { !$_->{orphan} } @{ $facts->{jobs} };
	for my $ack (@{ $facts->{acknowledged} })
	{
		my @jobs = @{ $jobs{ $ack->{id} } || [] };
		next if @jobs && (!$ack->{request_id} || grep { ($_->{request_id} || '') eq $ack->{request_id} } @jobs);
		push @found, 'an acknowledged submit is gone: ' . $json->encode($ack) . ' ' . join(' ', map { told($_) } @jobs);
	}
	return @found;
}

# What the tills hold of a budget is what the videos of its time cost.
sub rule_money_adds_up
{
	my ($facts) = @_;

	return map { "$_->{who}: used of $_->{kind} are $_->{used}, its videos cost $_->{cost}" } grep { $_->{used} != $_->{cost} } @{ $facts->{tills} };
}

# Each step of a job is counted once, whatever has died on the way.
sub rule_counted_once
{
	my ($facts) = @_;

	return map { $json->encode($_) } grep { $json->encode($_->{counted}) ne $json->encode($_->{happened}) } @{ $facts->{counts} };
}

# Whoever asked for a video is known of an orphan as well, for limits and costs.
sub rule_nobody_is_nameless
{
	my ($facts) = @_;
	my $named = grep { defined $_->{requested_by} && !$_->{orphan} } @{ $facts->{jobs} };

	return $named ? map { "an orphan of nobody: " . told($_) } grep { $_->{orphan} && !defined $_->{requested_by} } @{ $facts->{jobs} } : ();
}

# Nor does a job end because processes did, before its time is over.
sub rule_no_crash_fails_a_job
{
	my ($facts) = @_;

	return map { 'given up for a crash: ' . told($_) } grep { ($_->{error_code} || '') eq 'quarantined' } @{ $facts->{jobs} };
}

# (g) No process crashed on its own.  A deadlock is reported if it is ours; a session
# that locks our tables in an order of its own may meet a recording, which is then
# repeated, and whoever
# locks the app's table and then waits for a job may have one with a row's write,
# which is then tried again.
sub rule_log_is_clean
{
	my ($facts) = @_;
	my @found;

	for my $name (sort keys %{ $facts->{log} })
	{
		push @found, map { "$name: $_" } grep {
			/PANIC:|TRAP:|signal (?:4|6|7|8|11):|stack smashing|corrupt|invalid memory alloc|cannot go from/
			  || /vibevideo.*(?:duplicate key|deadlock)|ERROR:.*(?:job_request|job_active|job_pkey)/
			  || /terminated by signal (?:4|6|7|8|11)\b/
		} grep { !/(?:could not write row .*|put off "recording" for \d+ ms): deadlock detected/ } split /\n/, $facts->{log}{$name};
	}
	return @found;
}

1;
