# Tries and their limits, new attempts, redriving, cancelling in every state and
# against the clock, stuck rows, jobs that take the worker down, services
# that are down, and history that does not slow anything.

use strict;
use warnings FATAL => 'all';

BEGIN { $ENV{VIBETEST_TIMEOUT} ||= 480; }

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use VibeTest;
use VibeChaos;

my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $fal = start_fal(default => { list_in_flight => $true });
my $storage = start_storage();
my $node = vibe_node(
	'main',
	fal => $fal,
	storage => $storage,
	conf => {
		'restart_after_crash' => 'on',
		'vibevideo.max_tries' => '4',
		'vibevideo.stall_timeout' => '60s' });

sub setting
{
	my (%settings) = @_;

	$node->append_conf('postgresql.conf', join('', map { "$_ = '$settings{$_}'\n" } sort keys %settings));
	$node->reload;
	for my $name (keys %settings)
	{
		$node->poll_query_until('postgres', "SELECT current_setting('$name')::text = '$settings{$name}'") or die $name;
	}
	sleep(0.2);
	return;
}

sub requests
{
	my ($kind) = @_;

	return $fal->ledger('?jobs=0')->{requests}{$kind};
}

sub start_job
{
	my ($prompt) = @_;
	my $id = new_row($node, $prompt);

	return ($id, submit($node, $id)->{request_id});
}

sub cancel
{
	my ($id) = @_;

	return video($node, "vibevideo_cancel('$id')");
}

sub retry
{
	my ($id) = @_;

	return video($node, "vibevideo_retry('$id')");
}

sub history
{
	my ($id) = @_;

	return sql($node,
		"SELECT string_agg(attempt || ' ' || state || coalesce(' ' || error_code, ''), ', ' ORDER BY job_id) FROM vibevideo.job WHERE vibelog_id = '$id'");
}

# -- tries of each phase --------------------------------------------------------------
{
	my $refuse = { kind => 'http', status => 503, body => { detail => 'Overloaded' } };
	my $id = new_row($node, 'tries: submit');
	my $before = requests('submit');

	$fal->fault('submit', $refuse, prompt => '^tries: submit$', times => -1);
	sql($node, "SELECT vibevideo_submit_batch('{$id}')");
	wait_for_status($node, $id, 'failed');
	is(requests('submit') - $before, 4, 'submit: max_tries tries');
	is(job_of($node, $id)->{tries}, 4, 'submit: the job counts them');
	$fal->clear_faults;

	# polls have no limit: what was paid for is asked about for as long as it takes
	my ($poll) = start_job('tries: poll');
	$fal->fault('status', { kind => 'http', status => 429, headers => { 'retry-after' => '0' }, body => { detail => 'Slow down' } },
		prompt => '^tries: poll$', times => 12);
	wait_for_status($node, $poll, 'completed');
	is(scalar($fal->renders('tries: poll')), 1, 'poll: goes on beyond max_tries');

	my ($result) = start_job('tries: result');
	$fal->fault('result', { kind => 'http', status => 429, body => { detail => 'Slow down' } }, prompt => '^tries: result$', times => 8);
	wait_for_status($node, $result, 'completed');

	# four 404s in a row are believed, others in between do not count
	my ($gone, $request) = start_job('tries: not gone');
	$fal->fault('status', $_, prompt => '^tries: not gone$')
	  for { kind => 'http', status => 429, body => { detail => 'Slow down' } }, { kind => 'http', status => 429, body => { detail => 'Slow down' } },
	  'not_found', { kind => 'http', status => 429, body => { detail => 'Slow down' } }, 'not_found';
	wait_for_status($node, $gone, 'completed', name => 'poll: single 404s between other errors are not believed');
	$fal->rule('^tries: gone', hold => 'queue');
	($gone, $request) = start_job('tries: gone');
	$fal->command($request, 'expire');
	wait_for_status($node, $gone, 'failed');

	my ($copy) = start_job('tries: copy');
	$storage->fault('upload', 'slow_down', key => $copy, times => -1);
	wait_for_status($node, $copy, 'failed');
	is(job_of($node, $copy)->{tries}, 4, 'copy: max_tries tries');
	isnt(job_of($node, $copy)->{media_url}, undef, "copy: fal's address is kept");
	$storage->clear_faults;
	my $video = retry($copy);
	is($video->{status}, 'processing', 'copy: a retry only copies');
	wait_for_status($node, $copy, 'completed');
	is(history($copy), '1 completed', 'copy: as the same attempt');
	is(scalar($fal->renders('tries: copy')), 1, 'copy: by the same render');
}

# -- new attempts -----------------------------------------------------------------------
for my $case (
	[ 'runner_disconnected', { outcome => 'infra', error_type => 'runner_disconnected' }, 2 ],
	[ 'internal_error', { outcome => 'infra', error_type => 'internal_error' }, 2 ],
	[ 'policy', { outcome => 'policy' }, 1 ],
	[ 'validation', { outcome => 'validation' }, 1 ],
	[ 'not found', { outcome => 'not_found_path' }, 1 ])
{
	my ($name, $behaviour, $attempts) = @$case;

	$fal->rule("^again: $name\$", %$behaviour);
	my ($id) = start_job("again: $name");
	wait_for($node, "SELECT count(*), bool_and(state = 'failed') FROM vibevideo.job WHERE vibelog_id = '$id'", "$attempts|t",
		"$name: fails after $attempts renders", hurry => 1);
	wait_for_status($node, $id, 'failed', name => "$name: the row says so");
	is(scalar($fal->renders("again: $name")), $attempts, "$name: $attempts at fal");
	isnt(status_of($node, $id)->{error}, undef, "$name: with a reason");
}
{
	my $id = new_row($node, 'again: second goes well');

	$fal->call('POST', '/rule', { prompt => '^again: second', times => 1, behaviour => { outcome => 'infra', error_type => 'runner_server_error' } });
	submit($node, $id);
	wait_for_status($node, $id, 'completed', name => 'a second attempt makes the video');
	is(status_of($node, $id)->{attempt}, 2, 'as attempt 2');
	like(history($id), qr/^1 failed \S+, 2 completed$/, 'the first one is remembered');
	is(retry($id)->{status}, 'completed', 'a retry of a completed one changes nothing');

	$fal->rule('^again: cancelled', outcome => 'infra', error_type => 'runner_disconnected', hold => 'run', cancel_mode => '202,ignore');
	my ($stop, $request) = start_job('again: cancelled');
	$fal->command($request, 'start');
	cancel($stop);
	wait_for_status($node, $stop, 'cancelled');
	$fal->command($request, 'finish');
	sleep(0.5);
	is(scalar($fal->renders('again: cancelled')), 1, 'what was cancelled is not attempted again');
}

# -- redriving -----------------------------------------------------------------------------
{
	my @ids = map { new_row($node, "redrive: $_") } qw(policy policy copy);

	$fal->rule('^redrive: policy', outcome => 'policy');
	$storage->fault('upload', 'slow_down', key => $ids[2], times => -1);
	submit($node, $_) for @ids;
	wait_for_status($node, $_, 'failed') for @ids;
	my $code = job_of($node, $ids[0])->{error_code};
	my $copy_code = job_of($node, $ids[2])->{error_code};
	$storage->clear_faults;
	$fal->rule('^nothing$');
	is(sql($node, "SELECT vibevideo.redrive('no_such_code')"), '0', 'redrive: nothing with another code');
	is((sql_error($node, "SELECT vibevideo.redrive('$copy_code', '1 day', 0)"))[0], '22023', 'redrive: at most none is refused');
	is(sql($node, "SELECT vibevideo.redrive('$copy_code')"), '1', 'redrive: by error_code');
	wait_for_status($node, $ids[2], 'completed');
	is(scalar($fal->renders('redrive: copy')), 1, 'redrive: a copy needs no render');
	$fal->call('POST', '/clear', { what => 'rules' });
	is(sql($node, "SELECT vibevideo.redrive('$code', '1 day', 1)"), '1', 'redrive: one at most');
	is(sql($node, "SELECT vibevideo.redrive('$code')") >= 1, 1, 'redrive: then the others');
	sql($node, "UPDATE vibevideo.job SET error_code = 'submit_lost' WHERE state = 'failed' AND media_url IS NULL");
	is(sql($node, 'BEGIN; SELECT vibevideo.redrive(); ROLLBACK'), '0', 'redrive: no lost submit unless it is named');
	cmp_ok(sql($node, q{BEGIN; SELECT vibevideo.redrive('submit_lost'); ROLLBACK}), '>=', 1, 'redrive: if it is, it is');
	wait_for_status($node, $_, 'completed') for @ids[ 0, 1 ];
	is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id IN ('$ids[0]', '$ids[1]')"), '4', 'redrive: with a new attempt each');
	is(sql($node, "SELECT vibevideo.redrive('$code')"), '0', 'redrive: a row with a newer job is left alone');
}

# -- cancelling ---------------------------------------------------------------------------------
$fal->rule('^cancel: held', hold => 'queue');
{
	my $id = new_row($node, 'cancel: never asked');
	is(cancel($id)->{message}, 'No video has been requested', 'cancel: nothing to cancel');

	# pending: it was never sent
	$id = new_row($node, 'cancel: pending');
	my $before = requests('submit');
	is(sql($node, "BEGIN; SELECT FROM vibevideo_submit_batch('{$id}'); SELECT status FROM vibevideo_cancel('$id'); COMMIT"), 'cancelled', 'cancel: pending');
	wait_for_status($node, $id, 'cancelled');
	is(requests('submit'), $before, 'cancel: nothing was sent');
	is(job_of($node, $id)->{leased_by}, undef, 'cancel: and nobody holds it');

	# submitting: fal answers while the cancel waits
	$id = new_row($node, 'cancel: held submitting');
	$fal->fault('submit', { kind => 'delay', ms => 1500 }, prompt => 'submitting$');
	sql($node, "SELECT vibevideo_submit_batch('{$id}')");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", 'submitting', 'cancel: while it is sent');
	is(cancel($id)->{message}, 'Cancelling', 'cancel: submitting');
	wait_for_status($node, $id, 'cancelled', hurry => 0);
	ok(($fal->renders('cancel: held submitting'))[0]{cancel_requested_at}, 'cancel: fal was told');

	# queued
	($id) = start_job('cancel: held queued');
	is(cancel($id)->{status}, 'queued', 'cancel: queued, until fal knows');
	like(cancel($id)->{message}, qr/^Cancell(?:ing|ed)$/, 'cancel: asked twice');
	wait_for_status($node, $id, 'cancelled', hurry => 0);
	ok(($fal->renders('cancel: held queued'))[0]{cancel_requested_at}, 'cancel: fal was told');
	is(cancel($id)->{status}, 'cancelled', 'cancel: once more changes nothing');
	my $again = retry($id);
	is($again->{attempt}, 2, 'cancel: a retry is a new attempt');
	sql($node, "SELECT vibevideo_cancel('$id')");
	wait_for_status($node, $id, 'cancelled');

	# a rollback takes the cancel back
	($id) = start_job('cancel: held rolled back');
	sql($node, "BEGIN; SELECT FROM vibevideo_cancel('$id'); ROLLBACK; SELECT vibevideo_poll()");
	is(($fal->renders('cancel: held rolled back'))[0]{cancel_requested_at}, undef, 'cancel: rolled back, fal knows nothing');
	cancel($id);
	wait_for_status($node, $id, 'cancelled');

	# generating: fal stops, stops late, or goes on
	for my $mode ('stop', 'ignore')
	{
		my $prompt = "cancel: generating $mode";

		$fal->rule("^$prompt", hold => 'run', queue_ms => 0, cancel_mode => "202,$mode");
		($id) = start_job($prompt);
		wait_for_status($node, $id, 'generating');
		cancel($id);
		wait_for_status($node, $id, 'cancelled');
		my ($render) = $fal->renders($prompt);
		ok($render->{cancel_requested_at}, "$prompt: fal was told");
		$fal->command($render->{request_id}, 'finish') if $mode eq 'ignore';
		sleep(0.3);
		is(job_of($node, $id)->{state}, 'cancelled', "$prompt: it stays cancelled");
		is($storage->object($id), undef, "$prompt: nothing is stored");
	}

	# fal was done just before: the video is paid for, and kept
	my $request;
	($id, $request) = start_job('cancel: held finished');
	$fal->fault('status|result', { kind => 'delay', ms => 500 }, prompt => 'cancel: held finished', times => -1);
	$storage->fault('upload', { kind => 'slow_read', bytes_per_s => 50000 }, key => $id);
	$fal->command($request, 'finish');
	cancel($id);
	wait_for($node, "SELECT message FROM vibevideo_status('$id') WHERE status = 'processing'", qr/^Copying/,
		'cancel: too late, and nobody is told of a cancel any more', hurry => 1);
	wait_for_status($node, $id, 'completed', name => 'cancel: too late, the video is kept');
	is(($fal->renders('cancel: held finished'))[0]{cancel_requested_at}, undef, 'cancel: fal did not take it any more');
	$fal->clear_faults;

	# the answer to the cancel is lost
	($id, $request) = start_job('cancel: held answer lost');
	$fal->fault('cancel', 'reset_after', prompt => 'answer lost');
	cancel($id);
	wait_for_status($node, $id, 'cancelled', name => 'cancel: whose answer is lost, ends as cancelled');
	# it cannot be read
	for my $kind (qw(html200 garbage))
	{
		($id, $request) = start_job("cancel: held $kind");
		$fal->fault('cancel', $kind, prompt => "held $kind");
		$fal->command($request, 'finish');
		cancel($id);
		wait_for_status($node, $id, 'completed', name => "cancel: $kind is no answer; the finished video is kept");
	}

	# fal, or a proxy before it, takes no cancel at all
	for my $status (403, 405, 500)
	{
		($id, $request) = start_job("cancel: held $status");
		$fal->fault('cancel', { kind => 'http', status => $status, body => { detail => 'No cancels here' } }, prompt => "held $status\$", times => -1);
		cancel($id);
		wait_for($node, "SELECT state, error FROM vibevideo.job WHERE vibelog_id = '$id' AND tries > 1", 'queued|No cancels here',
			"cancel: HTTP $status: it is asked for again", hurry => 1);
		$fal->command($request, 'finish');
		wait_for_status($node, $id, 'completed', name => "cancel: HTTP $status: once the video is finished it is kept");
	}
	($id, $request) = start_job('cancel: held, refused and gone');
	$fal->fault('cancel', { kind => 'http', status => 405, body => { detail => 'No cancels here' } }, prompt => 'refused and gone$', times => -1);
	$fal->command($request, 'expire');
	cancel($id);
	wait_for_status($node, $id, 'cancelled', name => 'cancel: refused, and fal does not know the job any more');
	$fal->clear_faults;

	# being copied: it is paid for
	($id) = start_job('cancel: copying');
	$storage->fault('upload', { kind => 'slow_read', bytes_per_s => 50000 }, key => $id);
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", 'processing', 'cancel: while it is copied', hurry => 1);
	is(cancel($id)->{status}, 'processing', 'cancel: processing goes on');
	wait_for_status($node, $id, 'completed');
	is(cancel($id)->{status}, 'completed', 'cancel: a completed one stays');
}

# A race, many times: a cancel comes while fal finishes.
{
	my $n = 60;

	$fal->rule('^race ', queue_ms => 20, run_ms => 60);
	my @ids = map { new_row($node, "race $_") } 1 .. $n;
	for my $i (0 .. $n - 1)
	{
		sql($node, "SELECT vibevideo_submit('$ids[$i]')");
		sleep($i * 0.2 / $n);
		sql($node, "SELECT vibevideo_cancel('$ids[$i]')" . ($i % 3 ? '' : '; SELECT vibevideo_poll()'));
	}
	wait_at_rest($node, 'the races are over');
	my $facts = gather($node, $fal, $storage);
	my (%ends, @wrong);
	for my $job (grep { $_->{prompt} =~ /^race / } @{ $facts->{jobs} })
	{
		my $render = $facts->{render}{ $job->{request_id} };
		$ends{ $job->{state} }++;
		# finished and paid for, fal took no cancel: kept.  Else cancelled.
		my $wanted = !$render->{cancel_requested_at} ? 'completed' : 'cancelled';
		push @wrong, VibeChaos::told($job) . ' ' . VibeChaos::told_render($render) if $job->{state} ne $wanted;
	}
	is(scalar(@wrong), 0, 'each race has the one end that fal says: ' . join(', ', map { "$ends{$_} $_" } sort keys %ends)) or diag(join("\n", @wrong));
	is(scalar(grep { $ends{$_} } qw(completed cancelled)), 2, 'both ends were seen');
	ok_rules($facts, 'races');
}

# -- stuck rows -------------------------------------------------------------------------------
{
	my ($old, $fresh, $busy) = map { new_row($node, "stuck: $_") } 1 .. 3;

	$fal->rule('^stuck: 1', hold => 'queue');
	my ($done) = start_job('stuck: done');
	wait_for_status($node, $done, 'completed');
	$fal->rule('^stuck: 3', hold => 'queue');
	submit($node, $busy);
	# of this one there is only an orphan
	sql($node, "BEGIN; SELECT FROM vibevideo_submit('$old'); ROLLBACK");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$old' AND orphan", 'cancelled', 'stuck: its orphan is cancelled', hurry => 1);
	sql($node, "UPDATE vibelogs SET video_generation_status = 'generating' WHERE id IN ('$old', '$done')");
	is(sql($node, "SELECT vibevideo.reset_stuck('0')"), '2', 'reset_stuck: a row without a job, and one whose job has ended');
	is(sql($node, "SELECT video_generation_status, video_generation_error IS NOT NULL FROM vibelogs WHERE id = '$old'"), 'failed|t', 'reset_stuck: without a job: failed');
	wait_for_status($node, $done, 'completed', name => 'reset_stuck: written anew from its job');
	is(sql($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$busy'"), 'queued', 'reset_stuck: a busy one is left alone');
	is(sql($node, "SELECT vibevideo.reset_stuck('0')"), '0', 'reset_stuck: nothing more');
	is(submit($node, $old)->{status}, 'queued', 'reset_stuck: the row can be submitted now');
	is((sql_error($node, "SELECT vibevideo.reset_stuck('-1 s')"))[0], '22023', 'reset_stuck: a negative age');
	cancel($busy);
}

# -- a job that takes the worker down -----------------------------------------------------------
{
	my ($id) = start_job('poison');
	$storage->fault('upload', 'hang', key => $id, times => -1);
	for my $n (1, 2)
	{
		my $pid = '';
		wait_for($node, "SELECT leased_by IS NOT NULL AND state = 'processing' AND crashes = $n - 1 FROM vibevideo.job WHERE vibelog_id = '$id'", 't',
			"poison: copied, time $n", hurry => 1);
		$pid = worker_pid($node);
		kill_process($node, $pid);
	}
	wait_for($node, "SELECT state, error_code, leased_by IS NULL, next_at > now() FROM vibevideo.job WHERE vibelog_id = '$id'",
		'processing|quarantined|t|t', 'poison: after the second time it is set aside, and not given up');
	my ($other) = start_job('not poisoned');
	wait_for_status($node, $other, 'completed', name => 'poison: others continue');
	# while it is tried, a crash is counted for nobody else
	wait_for($node, "SELECT leased_by IS NOT NULL FROM vibevideo.job WHERE vibelog_id = '$id'", 't', 'poison: it is tried again', hurry => 1);
	my ($innocent) = start_job('not poisoned either');
	$storage->fault('upload', 'hang', key => $innocent, times => 1);
	wait_for($node, "SELECT state, leased_by IS NOT NULL FROM vibevideo.job WHERE vibelog_id = '$innocent'", 'processing|t', 'poison: beside another one', hurry => 1);
	kill_process($node, worker_pid($node));
	wait_for($node, "SELECT crashes, state FROM vibevideo.job WHERE vibelog_id = '$id'", '3|processing', 'poison: a third time');
	is(job_of($node, $innocent)->{crashes}, 0, 'poison: the other one is not blamed');
	$storage->clear_faults;
	wait_for_status($node, $innocent, 'completed', name => 'poison: and is copied');
	wait_for_status($node, $id, 'completed', name => 'poison: it is copied once that can be done');
	is(scalar($fal->renders('poison')), 1, 'poison: one render');

	# a poll that does the same: it is asked about more rarely, never dropped
	my ($poll) = start_job('poison poll');
	$fal->fault('status', 'hang', prompt => '^poison poll', times => -1);
	for my $n (1, 2)
	{
		wait_for($node, "SELECT leased_by IS NOT NULL AND crashes = $n - 1 FROM vibevideo.job WHERE vibelog_id = '$poll'", 't', "poison poll: asked, time $n", hurry => 1);
		kill_process($node, worker_pid($node));
	}
	wait_for($node, "SELECT state, error_code, next_at > now() + interval '1 s' FROM vibevideo.job WHERE vibelog_id = '$poll'",
		qr/^(?:queued|generating)\|quarantined\|t$/, 'poison poll: kept, and put off');
	$fal->clear_faults;
	wait_for_status($node, $poll, 'completed', name => 'poison poll: ends well once it is asked again');
}

# -- jobs that somebody has made by hand ------------------------------------------------------------
{
	my $id = new_row($node, 'by hand');

	is((sql_error($node, "INSERT INTO vibevideo.job (vibelog_id, state, input) VALUES ('$id', 'pending', '{}')"))[0],
		'23502', 'by hand: a job without a model is refused');
	sql($node, "INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input) VALUES ('vibelogs', '$id', 'queued', 'fal-ai/some/model', '{}')");
	wait_for($node, "SELECT error_code FROM vibevideo.job WHERE vibelog_id = '$id'", 'bad_request',
		'by hand: one without a request id is not asked about', hurry => 1);
	sql($node, "DELETE FROM vibevideo.job WHERE vibelog_id = '$id'");
}

# -- a service is down ------------------------------------------------------------------------------
sub lines
{
	my ($pattern) = @_;

	return scalar(() = slurp_file($node->logfile) =~ /$pattern/g);
}

{
	$node->restart;
	my @ids = map { new_row($node, "outage $_") } 1 .. 20;
	my $port = $storage->{ready}{port};

	# Storage: a gateway that answers for it
	my $down = lines(qr/considers Storage down/);
	my $up = lines(qr/can reach Storage again/);
	$storage->fault('any', { kind => 'gateway', status => 503 }, times => -1);
	submit($node, $_) for @ids;
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'processing' AND input->>'prompt' ~ '^outage'}, '20', 'Storage down: all wait to be copied', hurry => 1);
	wait_until(sub { return lines(qr/considers Storage down/) > $down }, 'Storage down: the log says so');
	sleep(1);
	hurry($node);
	my $uploads = $storage->ledger->{uploads}{started} + ($storage->ledger->{requests}{upload} || 0);
	sleep(1.5);
	is(lines(qr/considers Storage down/) - $down, 1, 'Storage down: one line');
	is(sql($node, q{SELECT max(tries) < 4 AND bool_and(state = 'processing') FROM vibevideo.job WHERE input->>'prompt' ~ '^outage'}), 't',
		'Storage down: tries are not used up');
	like(sql($node, q{SELECT string_agg(check_name || ' ' || status || ' ' || coalesce(detail, ''), E'\n') FROM vibevideo.check_config()}), qr/Storage/, 'Storage down: check_config says so');
	$storage->clear_faults;
	for my $id (@ids) { wait_for_status($node, $id, 'completed', name => 'Storage is back: completed') }
	is(lines(qr/can reach Storage again/) - $up, 1, 'Storage is back: one line');
	is($fal->ledger->{accepted} > 0 && scalar(grep { $_->{input}{prompt} =~ /^outage/ } @{ $fal->ledger->{jobs} }), 20, 'no render was wasted');

	# fal, nothing listens; nginx would answer for it
	setting('vibevideo.fal_queue_url' => $fal->direct, 'vibevideo.media_hosts' => $fal->direct);
	$node->restart;
	my @more = map { new_row($node, "silence $_") } 1 .. 10;
	$fal->stop;
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @more) . "}')");
	wait_until(sub { return lines(qr/considers fal\.ai down/) >= 1 }, 'fal down: the log says so');
	my $began = time();
	my $id = new_row($node, 'silence 11');
	my $video = submit($node, $id);
	is($video->{status}, 'queued', 'fal down: a submit is taken');
	cmp_ok(time() - $began, '<', 2, 'fal down: without waiting');
	is(job_of($node, $id)->{state}, 'pending', 'fal down: the worker sends it later');
	sleep(5);
	is(sql($node, q{SELECT max(tries) < 4 AND bool_and(state = 'pending') FROM vibevideo.job WHERE input->>'prompt' ~ '^silence'}), 't',
		'fal down: tries are not used up');
	is(lines(qr/considers fal\.ai down/), 1, 'fal down: one line');
	$fal = $fal->restart;
	wait_for_status($node, $_, 'completed', name => 'fal is back: completed') for @more, $id;
	is($fal->ledger->{accepted}, 11, 'fal is back: one render each');
	is(lines(qr/can reach fal\.ai again/), 1, 'fal is back: one line');
	setting('vibevideo.fal_queue_url' => $fal->url, 'vibevideo.media_hosts' => $fal->url);
}

# -- history -------------------------------------------------------------------------------------------
{
	wait_at_rest($node, 'before history');
	my $kept = new_row($node, 'history: active');
	$fal->rule('^history: active', hold => 'queue');
	submit($node, $kept);
	setting('vibevideo.retention' => '1s');
	sql($node, "UPDATE vibevideo.job SET completed_at = now() - interval '1 hour' WHERE completed_at IS NOT NULL");
	$node->restart;
	wait_for($node, 'SELECT count(*) FROM vibevideo.job', '1', 'retention: finished jobs are pruned, the active one stays', hurry => 0);
	is(sql($node, "SELECT count(*) FROM vibevideo.event e WHERE NOT EXISTS (SELECT FROM vibevideo.job j WHERE j.job_id = e.job_id)"), '0', 'retention: and their events');
	is(sql($node, "SELECT count(*) > 20 FROM vibelogs WHERE video_generation_status = 'completed' AND video_url IS NOT NULL"), 't', "retention: the app's rows stay");
	setting('vibevideo.retention' => '0');
}

# A million finished jobs beside a hundred that are due: what the worker and
# vibevideo_poll() really execute, as auto_explain logs it.
sub nodes_of
{
	my ($plan) = @_;

	return ($plan, map { nodes_of($_) } @{ $plan->{Plans} || [] });
}

SKIP:
{
	my $libdir = `pg_config --pkglibdir`;

	chomp $libdir;
	skip('auto_explain is not installed', 1) unless -e "$libdir/auto_explain.so";
	my $n = $ENV{VIBETEST_HISTORY} || 1_000_000;
	my $relation = sql($node, 'SELECT relation::oid FROM vibevideo.binding');
	my $log_was;

	$node->stop('fast');
	$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = ''
maintenance_work_mem = '256MB'
max_wal_size = '4GB'
log_statement = 'none'
CONF
	$node->start;
	# the triggers are in the library, which is not loaded
	cli($node, <<"SQL");
SET synchronous_commit = off;
ALTER TABLE vibevideo.job DISABLE TRIGGER USER;
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, request_id, next_at, completed_at, row_dirty)
SELECT $relation, 'old ' || n, 'completed', 'm', '{}', 'old-' || n, NULL, now() - n * interval '1 s', false
FROM generate_series(1, $n) n;
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, request_id, next_at)
SELECT $relation, gen_random_uuid(), (ARRAY['queued', 'generating'])[1 + n % 2], 'fal-ai/minimax/video-01', '{"prompt": "x"}', 'due-' || n, now() - interval '1 s'
FROM generate_series(1, 100) n;
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, request_id, media_url, next_at)
SELECT $relation, gen_random_uuid(), 'processing', 'fal-ai/minimax/video-01', '{"prompt": "x"}', 'copy-' || n, 'https://example.invalid/', now() - interval '1 s'
FROM generate_series(1, 20) n;
ALTER TABLE vibevideo.job ENABLE ALWAYS TRIGGER job_changing, ENABLE ALWAYS TRIGGER job_changed, ENABLE ALWAYS TRIGGER jobs_deleted;
SQL
	cli($node, 'VACUUM ANALYZE vibevideo.job');
	$node->stop('fast');
	$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'auto_explain,vibevideo'
vibevideo.retention = '10000d'
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_buffers = on
auto_explain.log_timing = off
auto_explain.log_nested_statements = on
auto_explain.log_format = json
CONF
	$log_was = -s $node->logfile;
	$node->start;
	sql($node, 'SELECT vibevideo_poll()');
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE request_id ~ '^copy-' AND state = 'failed'", '20', 'history: the worker did its work beside it', hurry => 1);
	$node->stop('fast');

	my $log = substr(slurp_file($node->logfile), $log_was);
	my %seen;
	while ($log =~ /plan:\n(\t\{.*?\n\t\})/sg)
	{
		my $entry = eval { JSON::PP->new->decode($1 =~ s/^\t//mgr) } or next;
		my $text = $entry->{'Query Text'};
		my $kind =
			$text =~ /crashes = r\.crashes/ ? 'recovery of leases'
		  : $text =~ /SKIP LOCKED/ && $text =~ /nextval\('vibevideo\.lease_seq'\)/ ? 'claim'
		  : $text =~ /^SELECT \(SELECT min\(j\.next_at\)/ ? 'next due'
		  : $text =~ /row_dirty/ && $text =~ /^SELECT/ ? 'dirty rows'
		  : $text =~ /^WITH gone/ ? 'prune'
		  : $text =~ /vibevideo_poll/ ? undef
		  : $text =~ /vibevideo\.job\b/ && $text !~ /request_id ~|interval '2 days'/ ? 'other'
		  : undef;
		next unless $kind;
		$seen{$kind}{statements}++;
		for my $part (nodes_of($entry->{Plan}))
		{
			my $pages = ($part->{'Shared Hit Blocks'} || 0) + ($part->{'Shared Read Blocks'} || 0);

			$seen{$kind}{pages} = $pages if $pages > ($seen{$kind}{pages} || 0);
			$seen{$kind}{index}{ $part->{'Index Name'} } = 1 if $part->{'Index Name'};
			$seen{$kind}{bad}{"$part->{'Node Type'}: $text"} = 1
			  if $part->{'Node Type'} eq 'Seq Scan' && $part->{'Relation Name'} eq 'job' || ($part->{'Rows Removed by Filter'} || 0) > 1000;
		}
	}
	for my $kind ('claim', 'next due', 'dirty rows', 'recovery of leases')
	{
		my $it = $seen{$kind} || {};

		ok($it->{statements}, "history: $kind was executed");
		is_deeply([ keys %{ $it->{bad} || {} } ], [], "history: $kind passes over no finished job");
		# the whole table has about 30 pages a thousand jobs; a claim also writes the jobs it takes
		cmp_ok($it->{pages} || 0, '<', 12000, "history: $kind touches $it->{pages} pages, by " . join(', ', sort keys %{ $it->{index} || {} }));
	}
	is_deeply([ map { keys %{ $seen{$_}{bad} || {} } } keys %seen ], [], 'history: nor does anything else');
}

done_testing();
