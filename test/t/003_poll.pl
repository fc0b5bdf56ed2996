# vibevideo_poll() and every answer fal gives to a question about a job.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use VibeTest;

my $fal = start_fal(default => { queue_ms => 0, run_ms => 0 });
my $evil = start_fal();
my $storage = start_storage();
# With so long an interval, and somebody who polls, the worker leaves the
# questions to vibevideo_poll().
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'vibevideo.poll_interval' => '1h',
	'vibevideo.poll_timeout' => '3s',
	'vibevideo.max_renders' => 1 });

wait_for($node, 'SELECT count(*) FROM vibevideo.worker_info() WHERE pid IS NOT NULL', '1', 'the worker is there');
sql($node, 'SELECT vibevideo_poll()');

# What fal thinks of the job of a row.
sub at_fal
{
	my $request = job_of($node, $_[0])->{request_id};

	return defined $request ? $fal->call('GET', "/job/$request?sha=0") : { state => 'NOT SENT' };
}

# A row whose job fal has finished already, unless its rule says otherwise.
sub finished_row
{
	my ($prompt) = @_;
	my $id = new_row($node, $prompt);

	submit($node, $id);
	wait_until(sub { at_fal($id)->{state} eq 'COMPLETED' }, "$prompt: fal is done");
	return $id;
}

sub make_due
{
	my $list = join(',', @_);

	return sql($node, "UPDATE vibevideo.job SET next_at = now() - interval '1 s' WHERE vibelog_id = ANY ('{$list}') AND state IN ('queued', 'generating') AND leased_by IS NULL");
}

my $poll = 'SELECT checked, advanced, finished, failed FROM vibevideo_poll()';

# Asks about these rows only: "checked|advanced|finished|failed".
sub poll_rows
{
	make_due(@_);
	return sql($node, $poll);
}

# The same in a new session, that is on a new connection, with settings.
sub poll_rows_anew
{
	my ($id, %settings) = @_;

	make_due($id);
	return $node->safe_psql('postgres', join('', map { "SET vibevideo.$_ = '$settings{$_}'; " } sort keys %settings) . $poll);
}

# -- from the queue to the end ---------------------------------------------------------
{
	my $id = new_row($node, 'step by step');

	$fal->rule('^step by step$', queue_ms => 3600000, run_ms => 3600000, queue_position => 8);
	my $request = submit($node, $id)->{request_id};
	is(sql($node, 'SELECT checked FROM vibevideo_poll()'), '0', 'a job that is not due is not asked about');
	is(poll_rows($id), '1|0|0|0', 'queued: checked, not advanced');
	like(status_of($node, $id)->{message}, qr/^Video queued, [78] ahead of you$/, 'the place in the queue is told');
	$fal->command($request, 'start');
	is(poll_rows($id), '1|1|0|0', 'running: advanced');
	is(status_of($node, $id)->{status}, 'generating', 'the status is generating');
	is(poll_rows($id), '1|0|0|0', 'still running: not advanced');

	$fal->command($request, 'requeue');
	is(at_fal($id)->{state}, 'IN_QUEUE', 'fal starts the job over');
	is(poll_rows($id), '1|0|0|0', 'restarted: not advanced');
	is(sql($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$id'"), 'generating', 'the row does not go back');
	like(status_of($node, $id)->{message}, qr/^The provider restarted the job, \d+ ahead of you$/, 'but the message tells');
	$fal->command($request, 'start');
	$fal->command($request, 'finish');
	is(poll_rows($id), '1|1|1|0', 'done: advanced and finished');
	wait_for_status($node, $id, 'completed');
	is(scalar($fal->renders('step by step')), 1, 'all in one render');
	is(at_fal($id)->{counts}{result}, 1, 'whose result was asked for once');
}

# -- answers that pass -------------------------------------------------------------------
my @passing = (
	[ 'HTML 502 of a gateway', { kind => 'gateway', status => 502 } ],
	[ 'HTML 503 of a gateway', { kind => 'gateway', status => 503 } ],
	[ 'HTML 504 of a gateway', { kind => 'gateway', status => 504 } ],
	[ '500 of fal', { kind => 'http', status => 500, body => '' } ],
	[ '429', { kind => 'http', status => 429, body => { detail => 'Too many requests' } } ],
	[ '401', { kind => 'http', status => 401, body => { detail => 'No user found for Key ID and Secret' } } ],
	[ '403', { kind => 'http', status => 403, body => { detail => 'User is locked' } } ],
	[ '405', { kind => 'http', status => 405, body => { detail => 'Method Not Allowed' } } ],
	[ 'a closed connection', 'drop_before' ],
	[ 'a reset connection', 'reset_after' ],
	[ 'half an answer', 'garbage' ],
	[ 'an empty answer', 'empty' ],
	[ 'a login page', 'html200' ],
	[ 'a redirect', { kind => 'redirect', location => $evil->url } ]);
# nginx answers for an emulator that hangs up
my %plain = (fal_queue_url => $fal->direct);
push @passing, map { [ "$_->[0], without nginx", $_->[1], %plain ] } grep { $_->[0] =~ /connection/ } @passing;

for my $on (qw(status result))
{
	my @cases = map { [ "$on: $_->[0]", @{$_}[ 1 .. $#$_ ] ] } @passing;

	push @cases, [ 'status: a word fal does not have', { kind => 'http', status => 200, body => { status => 'FAILED' } } ] if $on eq 'status';
	push @cases, [ 'result: still in progress', { kind => 'http', status => 400, body => { detail => 'Request is still in progress', request_id => 'x' } } ] if $on eq 'result';
	for my $case (@cases)
	{
		my ($prompt, $fault, %settings) = @$case;
		my $id = finished_row($prompt);

		# libcurl itself asks again when a used connection turns out dead, and
		# the status comes before the result
		my $times = $on eq 'result' && ($settings{fal_queue_url} || $fal->url) eq $fal->direct && !ref $fault && $fault =~ /^(drop|reset)_/ ? 2 : 1;
		$fal->fault($on, $fault, prompt => "^$prompt\$", times => $times);
		is(poll_rows_anew($id, %settings), '1|0|0|0', "$prompt: the job stays as it is");
		is(job_of($node, $id)->{state}, 'queued', "$prompt: queued");
		is(poll_rows($id), '1|1|1|0', "$prompt: and goes on");
		is(scalar($fal->renders($prompt)), 1, "$prompt: with its one render");
	}
}
wait_for($node, q{SELECT count(*) FROM vibelogs WHERE prompt ~ '^(status|result): ' AND video_generation_status <> 'completed'}, '0',
	'all these videos are kept');
is($evil->ledger->{requests}{$_}, 0, "no redirect of $_ was followed") for qw(status result other);

# -- answers that are final ------------------------------------------------------------------
my @final = (
	[ 'final: policy', { outcome => 'policy' }, 'content_policy_violation', qr/flagged by a content checker/,
		'The provider rejects this content (prompt: The content could not be processed because it contained material flagged by a content checker.)' ],
	[ 'final: policy, told by the status', { outcome => 'policy', status_error => JSON::PP::true }, 'content_policy_violation', qr/flagged by a content checker/,
		'The provider rejects this content (prompt: The content could not be processed because it contained material flagged by a content checker.)' ],
	[ 'final: validation', { outcome => 'validation', detail => [ { loc => [ 'body', 'duration' ], msg => 'Input should be 6', type => 'literal_error' } ] }, 'literal_error', qr/duration: Input should be 6/,
		'The provider cannot use this input (duration: Input should be 6)' ],
	[ 'final: no such path', { outcome => 'not_found_path' }, 'path_not_found', qr/not found/ ],
	[ 'final: 503', { outcome => 'infra', error_type => 'runner_disconnected' }, 'runner_disconnected', qr/Runner disconnected/ ],
	[ 'final: 504', { outcome => 'infra', error_type => 'request_timeout' }, 'request_timeout', qr/Request timed out/, 'The video took too long' ],
	[ 'final: 500', { outcome => 'infra', error_type => 'internal_error' }, 'internal_error', qr/Internal error/ ],
	[ 'final: 499', { outcome => 'infra', error_type => 'client_disconnected' }, 'client_disconnected', qr/Client disconnected/, 'The video could not be made' ],
	[ 'final: no video', { output => 'none' }, 'no_video', qr/contains no video/ ],
	[ 'final: data URI', { output => 'data_uri' }, 'unsupported_output', qr/sync_mode/ ],
	[ 'final: a file URL', { output => 'custom', result => { video => { url => 'file:///etc/passwd' } } }, 'unsupported_output', qr/not a usable http\(s\) URL/ ]);
for my $case (@final)
{
	my ($prompt, $behaviour, $code, $words, $shown) = @$case;

	$fal->rule("^$prompt\$", %$behaviour);
	my $id = finished_row($prompt);
	is(poll_rows($id), '1|1|0|1', "$prompt: failed");
	my $video = status_of($node, $id);
	is($video->{error_code}, $code, "$prompt: by fal's code");
	like(words_of($node, $id, 'failed'), $words, "$prompt: operators read fal's words");
	is($video->{error}, $shown || 'The provider could not make the video', "$prompt: the user does where they are for him");
	is(sql($node, "SELECT video_generation_status, video_generation_error, video_url IS NULL FROM vibelogs WHERE id = '$id'"),
		"failed|$video->{error}|t", "$prompt: the row says so");
	is(scalar($fal->renders($prompt)), 1, "$prompt: nothing is rendered again");
}

# the status alone knows nothing of it
{
	my $id = finished_row('unknown to the status');

	$fal->fault('status', 'not_found', prompt => '^unknown to the status$', times => 1);
	is(poll_rows($id), '1|1|1|0', 'unknown to the status: the result is asked for, and is there');
	wait_for_status($node, $id, 'completed');
}

# fal forgets: once may be its own lag, four times is true
{
	my $id = finished_row('forgotten');

	$fal->command(job_of($node, $id)->{request_id}, 'expire');
	is(poll_rows($id), '1|0|0|0', 'forgotten: the first 404 is not believed');
	is(poll_rows($id), '1|0|0|0', 'nor the second');
	is(poll_rows($id), '1|0|0|0', 'nor the third');
	is(poll_rows($id), '1|1|0|1', 'the fourth is');
	ok(status_of($node, $id)->{error}, 'with an error: ' . (status_of($node, $id)->{error} || ''));
}

# -- a new render where that may help --------------------------------------------------------------
{
	my $id = finished_row('all is well');

	$node->append_conf('postgresql.conf', 'vibevideo.max_renders = 2');
	$node->reload;
	wait_for($node, 'SHOW vibevideo.max_renders', '2', 'two renders are allowed');
	$fal->call('POST', '/rule', { prompt => '^second chance$', times => 1, behaviour => { outcome => 'infra', error_type => 'runner_disconnected' } });
	$id = finished_row('second chance');
	is(poll_rows($id), '1|1|0|1', 'a runner is lost: this attempt failed');
	wait_for($node, "SELECT string_agg(state, ' ' ORDER BY attempt) FROM vibevideo.job WHERE vibelog_id = '$id'", 'failed queued', 'the next one is sent');
	is(status_of($node, $id)->{attempt}, 2, 'and shown');
	wait_until(sub { at_fal($id)->{state} eq 'COMPLETED' }, 'fal does it');
	is(poll_rows($id), '1|1|1|0', 'it is found');
	wait_for_status($node, $id, 'completed');
	is(scalar($fal->renders('second chance')), 2, 'two renders');

	$fal->rule('^no third chance$', outcome => 'infra', error_type => 'internal_error');
	$id = finished_row('no third chance');
	poll_rows($id);
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id' AND state = 'queued'", '1', 'a second attempt');
	wait_until(sub { at_fal($id)->{state} eq 'COMPLETED' }, 'fails, too');
	is(poll_rows($id), '1|1|0|1', 'and is the last');
	is(sql($node, "SELECT count(*), string_agg(DISTINCT state, ' ') FROM vibevideo.job WHERE vibelog_id = '$id'"), '2|failed', 'no third');

	$fal->rule('^rude$', outcome => 'policy');
	$id = finished_row('rude');
	poll_rows($id);
	is(sql($node, "SELECT count(*), min(state) FROM vibevideo.job WHERE vibelog_id = '$id'"), '1|failed', 'a refused prompt gets no second chance');
	$node->append_conf('postgresql.conf', 'vibevideo.max_renders = 1');
	$node->reload;
}

# -- where the video is in the answer ------------------------------------------------------------------
for my $shape (qw(video_array video_url video_url_object videos preview_video))
{
	$fal->rule("^shape $shape\$", output => $shape);
	my $id = finished_row("shape $shape");
	is(poll_rows($id), '1|1|1|0', "output $shape: is understood");
	is(job_of($node, $id)->{media_url}, at_fal($id)->{media_url}, "output $shape: the right URL");
}

# -- URLs in fal's answers are not believed ---------------------------------------------------------------
{
	$fal->rule('^elsewhere$', urls_origin => $evil->url);
	my $id = finished_row('elsewhere');
	is(poll_rows($id), '1|1|1|0', 'status_url and response_url of another host are not used');
	my $before = $evil->ledger->{requests};
	is($before->{status} + $before->{result} + $before->{cancel} + $before->{other}, 0, 'the other host hears nothing');
	wait_for_status($node, $id, 'completed');
}

# -- many at once --------------------------------------------------------------------------------------------
{
	$fal->rule('^many ', queue_ms => 3600000, status_ms => 150);
	my @ids = map { new_row($node, "many $_") } 1 .. 40;
	my $list = join(',', @ids);
	sql($node, "SELECT vibevideo_submit_batch('{$list}')");
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = ANY ('{$list}') AND state = 'queued'", '40', 'forty jobs are sent');

	make_due(@ids);
	$node->safe_psql('postgres', "SET vibevideo.max_host_requests = 4; SELECT vibevideo_poll()");
	is($fal->ledger('?jobs=0')->{max_in_flight}{status}, 4, 'max_host_requests is kept');
	make_due(@ids);
	$node->safe_psql('postgres', "SET vibevideo.max_requests = 5; SELECT vibevideo_poll()");
	is($fal->ledger('?jobs=0')->{max_in_flight}{status}, 5, 'max_requests is kept');
	make_due(@ids);
	is(sql($node, 'SELECT checked FROM vibevideo_poll()'), '40', 'one poll asks about forty jobs');
	cmp_ok($fal->ledger('?jobs=0')->{max_in_flight}{status}, '>', 20, 'at the same time');

	# two polls share the work
	my %before = map { $_->{request_id} => $_->{counts}{status} } @{ $fal->ledger('?sha=0')->{jobs} };
	$fal->fault('status', { kind => 'delay', ms => 700 }, prompt => '^many ', times => -1);
	make_due(@ids);
	my @sessions = map { background_sql($node) } 1 .. 2;
	$_->query_until(qr/begun/, "\\echo begun\nSELECT 'checked ' || checked FROM vibevideo_poll();\n") for @sessions;
	my $checked = 0;
	for my $session (@sessions)
	{
		my $out = $session->query('SELECT 1');
		$checked += $1 if $out =~ /checked (\d+)/;
		$session->quit;
	}
	is($checked, 40, 'two polls at once check each job once');
	my @twice = grep { $_->{input}{prompt} =~ /^many / && $_->{counts}{status} - $before{ $_->{request_id} } != 1 } @{ $fal->ledger('?sha=0')->{jobs} };
	is(scalar(@twice), 0, 'and fal was asked once about each');
	$fal->clear_faults;

	# one that hangs does not hold up the rest
	$fal->fault('status', 'hang', prompt => '^many 7$', times => -1);
	$fal->command($_->{request_id}, 'finish') for grep { $_->{input}{prompt} =~ /^many [1-9]$/ } @{ $fal->ledger('?sha=0')->{jobs} };
	make_due(@ids);
	my $begun = time();
	is($node->safe_psql('postgres', "SET vibevideo.poll_timeout = '1s'; SELECT finished FROM vibevideo_poll()"), '8', 'the rest gets its turn');
	cmp_ok(time() - $begun, '<', 10, 'in bounded time');
	is(job_of($node, $ids[6])->{state}, 'queued', 'the one that hangs waits');
	$fal->clear_faults;
	is(poll_rows($ids[6]), '1|1|1|0', 'and is asked again');
	wait_for_status($node, $ids[6], 'completed');
	$fal->command($_->{request_id}, 'finish') for grep { $_->{input}{prompt} =~ /^many \d\d/ } @{ $fal->ledger('?sha=0')->{jobs} };
	# the commands may still be on their way when the first poll asks
	wait_until(
		sub {
			my @open = grep { job_of($node, $_)->{state} eq 'queued' } @ids;
			poll_rows(@open) if @open;
			return sql($node, q{SELECT count(*) FROM vibelogs WHERE prompt LIKE 'many %' AND video_generation_status = 'completed'}) eq '40';
		},
		'all forty are made');
}

# -- Retry-After -----------------------------------------------------------------------------------------------
{
	my $id = finished_row('in a minute');

	$fal->fault('status', { kind => 'http', status => 429, body => { detail => 'slow' }, headers => { 'retry-after' => '60' } }, prompt => '^in a minute$');
	poll_rows($id);
	is(sql($node, "SELECT next_at BETWEEN now() + interval '50 s' AND now() + interval '80 s' FROM vibevideo.job WHERE vibelog_id = '$id'"), 't',
		'Retry-After of a question is kept');
	poll_rows($id);
}

# -- cancelling ---------------------------------------------------------------------------------------------------
{
	$fal->rule('^cancel queued$', queue_ms => 3600000);
	$fal->rule('^cancel running$', run_ms => 3600000);
	$fal->rule('^cancel 200$', queue_ms => 3600000, cancel_mode => '200ok,stop');
	for my $prompt ('cancel queued', 'cancel running', 'cancel 200')
	{
		my $id = new_row($node, $prompt);

		submit($node, $id);
		wait_until(sub { at_fal($id)->{state} eq 'IN_PROGRESS' }, 'it runs') if $prompt eq 'cancel running';
		is(video($node, "vibevideo_cancel('$id')")->{message}, 'Cancelling', "$prompt: is told");
		wait_for_status($node, $id, 'cancelled', name => "$prompt: the row is cancelled");
		ok(at_fal($id)->{cancelled}, "$prompt: and the job at fal, too");
		is(at_fal($id)->{counts}{cancel}, 1, "$prompt: by one call");
		is(sql($node, "SELECT held_usd FROM vibevideo.job WHERE vibelog_id = '$id'"), $prompt eq 'cancel running' ? '0.5' : '',
			"$prompt: budgets hold what fal may bill");
		my $again = video($node, "vibevideo_cancel('$id')");
		is($again->{status}, 'cancelled', "$prompt: cancelling again changes nothing");
	}

	# fal took the cancel, but its answer was lost: asked again, by libcurl, it says
	# that it is too late, and the result is that of a cancelled job.  After a
	# gateway's answer the status tells that much.  nginx would give such an answer.
	configure($node, %plain);
	for my $fault ('drop_after', 'reset_after', { kind => 'gateway_after', status => 502 })
	{
		my $prompt = 'cancel, unheard: ' . (ref $fault ? $fault->{kind} : $fault);
		my $id = new_row($node, $prompt);

		$fal->rule("^$prompt\$", queue_ms => 3600000);
		$fal->fault('cancel', $fault, prompt => "^$prompt\$");
		submit($node, $id);
		video($node, "vibevideo_cancel('$id')");
		wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", qr/^(cancelled|failed)$/, "$prompt: it comes to an end", hurry => 1);
		is(status_of($node, $id)->{status}, 'cancelled', "$prompt: the right one");
		cmp_ok(at_fal($id)->{counts}{ ref $fault ? 'status' : 'cancel' }, '>=', 2, "$prompt: asked twice");
	}
	configure($node, fal_queue_url => $fal->url);

	my $id = finished_row('cancel finished');
	video($node, "vibevideo_cancel('$id')");
	wait_for_status($node, $id, 'completed', name => 'fal was faster than the cancel: the video is paid, and kept');

	$id = new_row($node, 'cancel unsent');
	sql($node, "BEGIN; SELECT vibevideo_submit_batch('{$id}'); SELECT vibevideo_cancel('$id'); COMMIT");
	is(status_of($node, $id)->{status}, 'cancelled', 'a job that was not sent is cancelled at once');
	my $marker = new_row($node, 'after the unsent');
	sql($node, "SELECT vibevideo_submit_batch('{$marker}')");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$marker'", 'queued', 'the worker has sent others since');
	is(scalar($fal->renders('cancel unsent')), 0, 'and never that one');
	is(video($node, "vibevideo_retry('$id')")->{attempt}, 2, 'vibevideo_retry makes a new attempt of it');
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id' ORDER BY attempt DESC LIMIT 1", 'queued', 'which is sent');
}

# -- too old ----------------------------------------------------------------------------------------------------------
{
	my $id = new_row($node, 'never ends');

	$fal->rule('^never ends$', run_ms => 3600000);
	submit($node, $id);
	sql($node, "UPDATE vibevideo.job SET submitted_at = now() - interval '2 h', next_at = now() WHERE vibelog_id = '$id'");
	$node->safe_psql('postgres', "SET vibevideo.job_timeout = '1h'; SELECT vibevideo_poll()");
	my $video = status_of($node, $id);
	is($video->{status}, 'failed', 'a job older than job_timeout fails');
	is($video->{error_code}, 'job_timeout', 'for that reason');
	ok(at_fal($id)->{cancelled}, 'and is cancelled at fal');
}
my $in_progress = '{"detail": "Request is still in progress", "status_url": "https://queue.fal.run/x"}';
for my $case (
	[ 'too old: its cancel is refused', 'cancel', { kind => 'http', status => 405, body => '{"detail": "Method Not Allowed"}' }, 3600000, qr/did not cancel it: Method Not Allowed/ ],
	[ 'too old: its result never comes', 'result', { kind => 'http', status => 400, body => $in_progress }, 0, qr/does not hand out its result: Request is still in progress/ ])
{
	my ($prompt, $call, $fault, $run_ms, $words) = @$case;

	$fal->rule("^$prompt\$", run_ms => $run_ms);
	$fal->fault($call, $fault, prompt => "^$prompt\$", times => -1);
	my $id = $run_ms ? new_row($node, $prompt) : finished_row($prompt);
	submit($node, $id) if $run_ms;
	poll_rows($id);
	like(job_of($node, $id)->{state}, qr{^(queued|generating)$}, "$prompt: it is waited for");
	sql($node, "UPDATE vibevideo.job SET submitted_at = now() - interval '61 min', next_at = now() WHERE vibelog_id = '$id'");
	$node->safe_psql('postgres', "SET vibevideo.job_timeout = '1h'; SELECT vibevideo_poll()");
	is(status_of($node, $id)->{error_code}, 'job_timeout', "$prompt: fails for that reason");
	like(words_of($node, $id, 'failed'), $words, "$prompt: and says what fal has answered");
}

# -- an orphan beside a row that cannot be written -------------------------------------------------------------------
{
	my ($nobody, $refusing) = map { finished_row($_) } 'rolled back', 'refusing';

	sql($node, <<"SQL");
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';
CREATE TRIGGER refuse BEFORE UPDATE ON vibelogs FOR EACH ROW WHEN (OLD.id = '$refusing') EXECUTE FUNCTION refuse();
BEGIN;
UPDATE vibevideo.job SET orphan = true, cancel_requested_at = now() WHERE vibelog_id = '$nobody';
UPDATE vibevideo.job SET next_at = now() - interval '1 day' WHERE vibelog_id IN ('$nobody', '$refusing');
SELECT vibevideo_poll();
COMMIT;
SQL
	is(job_of($node, $nobody)->{state}, 'failed', 'an orphan is recorded in the pass');
	is(sql($node, 'SELECT count(*) FROM vibevideo.job WHERE orphan AND row_dirty'), '0', 'and has no row to be written, whatever becomes of others');
	sql($node, 'DROP FUNCTION refuse CASCADE');
	wait_for_status($node, $refusing, 'completed');
}

# -- large inputs -----------------------------------------------------------------------------------------------------
# A pass over many jobs does not take their inputs into memory: images as data URLs are large.
{
	my $session = background_sql($node);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $peak = sub { return slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 : 0 };

	sql($node, <<'SQL');
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, request_id, submitted_at, next_at, row_dirty)
SELECT 'vibelogs'::regclass, gen_random_uuid(), 'queued', 'fal-ai/minimax/video-01',
	jsonb_build_object('prompt', 'large', 'image_url', repeat('x', 500000)), gen_random_uuid(), now(), now() + interval '1 hour', false
FROM generate_series(1, 200);
SQL
	$session->query_safe('SELECT vibevideo_poll()');
	my $before = $peak->();
	$session->query_safe("UPDATE vibevideo.job SET next_at = now() - interval '1 day' WHERE input ->> 'prompt' = 'large'");
	my $asked = $session->query_safe('SELECT checked FROM vibevideo_poll()');
	my $grew = $peak->() - $before;
	cmp_ok($asked, '>=', 200, 'large inputs: a pass asks about all');
	# 100 MB of inputs; 200 handles of libcurl with HTTP/2 streams take a third of that
	cmp_ok($grew, '<', 60 * 1024, "large inputs: the session's memory grew by $grew kB only");
	sql($node, "DELETE FROM vibevideo.job WHERE input ->> 'prompt' = 'large'");
	$session->quit;
}

is($fal->ledger->{media_with_authorization}, 0, 'the key never went to the media host');
is($evil->ledger->{accepted}, 0, 'nothing was sent elsewhere');

done_testing();
