# A submit whose answer was lost: found again in fal's list and adopted, never
# by two; what the policies do; what people can decide; and what the list may
# hold without doing harm.

use strict;
use warnings FATAL => 'all';

BEGIN { $ENV{VIBETEST_TIMEOUT} ||= 400; }

use HTTP::Tiny;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use VibeTest;
use VibeChaos;

my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => { 'vibevideo.unknown_after' => '1h' });

# A row whose submit is lost, with the render fal made of it or without.
sub lose
{
	my ($prompt, $fault) = @_;
	my $id = new_row($node, $prompt);

	$fal->fault('submit', $fault || 'reset_after', prompt => '^' . quotemeta($prompt) . '$');
	submit($node, $id);
	is(job_of($node, $id)->{state}, 'submit_unknown', "$prompt: in doubt");
	return $id;
}

# A request of another client of the account; the answer to it.
my $stranger = http_client(keep_alive => 1);

sub stranger_submits
{
	my ($body) = @_;

	return $stranger->post($fal->url . '/fal-ai/minimax/video-01',
		{ content => $body, headers => { authorization => 'Key key-id:key-secret', 'content-type' => 'application/json' } });
}

sub submits
{
	return $fal->ledger('?jobs=0')->{requests}{submit};
}

# Until the worker has asked fal's list again.
sub look_again
{
	my $before = $fal->ledger('?jobs=0')->{requests}{list};

	return wait_until(
		sub {
			return 1 if $fal->ledger('?jobs=0')->{requests}{list} >= $before + 2;
			hurry($node);
			sleep(0.1);
			return 0;
		},
		'the list is asked again');
}

sub state_of
{
	my ($id) = @_;
	my $job = job_of($node, $id);

	return join('|', map { defined $_ ? $_ : '' } @{$job}{qw(state error_code request_id attempt)});
}

# -- adopted -----------------------------------------------------------------------
for my $in_flight ($true, $false)
{
	my $prompt = 'adopt: ' . ($in_flight ? 'in flight' : 'finished only');

	$fal->default(list_in_flight => $in_flight);
	$fal->rule("^$prompt", hold => 'queue');
	my $id = lose($prompt);
	my ($render) = $fal->renders($prompt);
	if ($in_flight)
	{
		wait_for($node, "SELECT state, request_id FROM vibevideo.job WHERE vibelog_id = '$id'", "queued|$render->{request_id}",
			"$prompt: adopted while it waits at fal", hurry => 1);
		# the row is written right after the job, in a transaction of its own
		wait_for($node, "SELECT video_generation_status, video_request_id, video_generation_error IS NULL FROM vibelogs WHERE id = '$id'",
			"queued|$render->{request_id}|t", "$prompt: the row has its request id, and no error any more");
	}
	else
	{
		look_again();
		is(job_of($node, $id)->{state}, 'submit_unknown', "$prompt: silence proves nothing");
		like(job_of($node, $id)->{error}, qr/fal\.ai lists no such request yet; nothing is resent until this is decided/,
			"$prompt: and the job says so");
	}
	$fal->command($render->{request_id}, 'finish');
	wait_for_status($node, $id, 'completed');
	is(scalar($fal->renders($prompt)), 1, "$prompt: one render");
}

# Each lost answer has a request of its own: two rows, one prompt.
{
	my $prompt = 'twins: both accepted';

	$fal->default(list_in_flight => $true);
	$fal->rule('^twins', hold => 'queue');
	my @ids = (lose($prompt), lose($prompt));
	wait_for($node, "SELECT count(DISTINCT request_id) FROM vibevideo.job WHERE vibelog_id IN ('$ids[0]', '$ids[1]') AND state = 'queued'",
		'2', 'both are adopted, each by another job', hurry => 1);
}

# Two rows, one request: one of them goes without, whichever the first look finds.
{
	my $prompt = 'twins: one accepted';

	$fal->fault('list', { kind => 'http', status => 500, body => 'oops' }, times => -1);
	my @ids = (lose($prompt, 'reset_before'), lose($prompt, 'reset_after'));
	my $started = worker_pid($node);
	$fal->clear_faults;
	# both are asked about at the same moment
	$fal->fault('list', { kind => 'delay', ms => 300 }, times => 4);
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id IN ('$ids[0]', '$ids[1]') AND state = 'queued'",
		'1', 'one request is adopted once', hurry => 1);
	look_again();
	is(sql($node, "SELECT string_agg(state, ' ' ORDER BY state) FROM vibevideo.job WHERE vibelog_id IN ('$ids[0]', '$ids[1]')"),
		'queued submit_unknown', 'the other one stays in doubt');
	is(worker_pid($node), $started, 'and the worker lived through it');
}

# ... and it is the one that was in doubt when fal accepted it, not the older one.
{
	my $prompt = 'twins: the nearer';

	$fal->fault('list', { kind => 'http', status => 500, body => 'oops' }, times => -1);
	my @ids = (lose($prompt, 'reset_before'), lose($prompt, 'reset_after'));
	$fal->clear_faults;
	sql($node, "UPDATE vibevideo.job SET next_at = now() + interval '2 days' WHERE vibelog_id = '$ids[1]' AND leased_by IS NULL");
	look_again();
	is(job_of($node, $ids[0])->{state}, 'submit_unknown', 'a request is left to the job that was sent just before it');
	sql($node, "UPDATE vibevideo.job SET next_at = now() WHERE vibelog_id = '$ids[1]'");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$ids[1]'", 'queued', 'which adopts it', hurry => 1);
}

# A request that fal had before we sent ours is an earlier attempt's: ours may
# only not be listed yet.
{
	my $prompt = 'twins: the earlier';

	my $input = sql($node, "SELECT input || jsonb_build_object('prompt', '$prompt') FROM vibevideo.job LIMIT 1");

	$fal->default(clock_ms => -5000);
	stranger_submits($input);
	$fal->default(clock_ms => 0);
	is(scalar($fal->renders($prompt)), 1, 'an earlier request is at fal');
	my $id = lose($prompt, 'reset_before');
	look_again();
	is(job_of($node, $id)->{state}, 'submit_unknown', 'what fal had five seconds before is not adopted');
}

# fal's clock need not be ours.
for my $hours (-2, 2)
{
	my $prompt = "clock: $hours hours";

	$fal->rule('^clock: ', hold => 'queue');
	$fal->default(clock_ms => $hours * 3600 * 1000);
	my $id = lose($prompt);
	my ($render) = $fal->renders($prompt);
	wait_for($node, "SELECT state, request_id FROM vibevideo.job WHERE vibelog_id = '$id'", "queued|$render->{request_id}",
		"fal's clock is off by $hours hours: adopted", hurry => 1);
	$fal->default(clock_ms => 0);
}

# A request that is somebody's who has not committed yet is not taken from him.
{
	my $prompt = 'twins: not committed yet';
	my ($lost, $other) = (lose($prompt, 'reset_before'), new_row($node, $prompt));
	my $session = background_sql($node);

	$session->query('BEGIN');
	my $request = $session->query("SELECT request_id FROM vibevideo_submit('$other')");
	look_again();
	is(job_of($node, $lost)->{state}, 'submit_unknown', 'a request of an open transaction is not adopted');
	$session->query('COMMIT');
	look_again();
	is(job_of($node, $lost)->{state}, 'submit_unknown', 'nor after its commit');
	is(job_of($node, $other)->{request_id}, $request, 'it is whose it is');
	is(($fal->renders($prompt))[0]{cancel_requested_at}, undef, 'and nobody cancels it');
	$session->quit;
}

# An input that is another one's in part, or of another time, is not ours.
{
	my $prompt = 'same words';

	$fal->rule('^same words', hold => 'queue');
	$fal->fault('submit', 'reset_before', prompt => '^same words$');
	# fal has a stranger's request with more in it, and one with less
	for my $body ('{"prompt":"same words and more"}', '{"image_url":"http://x/"}', '{"prompt":["same words"]}')
	{
		stranger_submits($body);
	}
	my $id = new_row($node, $prompt);
	submit($node, $id);
	look_again();
	is(job_of($node, $id)->{state}, 'submit_unknown', 'other inputs are not adopted');
}

# -- while the list cannot be asked ------------------------------------------------------
{
	my $prompt = 'list: down';

	$fal->rule('^list: ', hold => 'queue');
	my $id = new_row($node, $prompt);
	for my $case (
		[ { kind => 'http', status => 500, body => 'oops' }, qr/request list answered HTTP 500; nothing is resent/ ],
		[ { kind => 'http', status => 401, body => { error => { type => 'authorization_error', message => 'no' } } }, qr/request list answered HTTP 401/ ],
		[ { kind => 'html200' }, qr/could not parse fal\.ai's request list/ ],
		[ { kind => 'garbage' }, qr/could not parse fal\.ai's request list/ ],
		[ { kind => 'empty' }, qr/could not parse fal\.ai's request list/ ],
		[ { kind => 'reset_before' }, $fal->url =~ /^https/ ? qr/request list answered HTTP 502/ : qr/request list: / ],
		[ { kind => 'reset_before', plain => 1 }, qr/request list: / ])
	{
		my ($fault, $words) = @$case;
		my $plain = ref $fault && delete $fault->{plain};

		$fal->clear_faults;
		$fal->fault('list', $fault, times => -1);
		$fal->fault('submit', 'reset_after', prompt => '^list: down$');
		configure($node, fal_api_url => $fal->direct . '/v1') if $plain;
		submit($node, $id);
		wait_for($node, "SELECT error FROM vibevideo.job WHERE vibelog_id = '$id'", $words, "the list: $fault->{kind}: the job says so", hurry => 1);
		is(job_of($node, $id)->{state}, 'submit_unknown', "the list: $fault->{kind}: and waits");
	}
	configure($node, fal_api_url => $fal->url . '/v1');
	is(scalar($fal->renders($prompt)), 1, 'nothing was sent again');
	like(sql($node, "SELECT message FROM vibevideo_status('$id')"), qr/answer was lost/, 'the app is told');
	like(sql($node, q{SELECT string_agg(check_name || ' ' || status || ' ' || detail, E'\n') FROM vibevideo.check_config()}),
		qr/doubt|unknown|lost/, 'check_config tells of jobs in doubt');
	$fal->clear_faults;
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", 'queued', 'the list answers again: adopted', hurry => 1);
}

# A list that was asked for too early is no proof of absence, however late it comes.
{
	# no other job shall ask
	wait_until(
		sub {
			sql($node, "UPDATE vibevideo.job SET next_at = now() + interval '2 days' WHERE state = 'submit_unknown' AND leased_by IS NULL");
			return sql($node, "SELECT count(*) FROM vibevideo.job WHERE state = 'submit_unknown' AND next_at < now() + interval '1 day'") == 0;
		},
		'the others rest');
	configure($node, unknown_policy => 'resubmit_when_absent', unknown_after => '4s', poll_timeout => '20s');
	$fal->fault('list', { kind => 'delay', ms => 6000 }, times => 1);
	my $before = $fal->ledger('?jobs=0')->{requests}{list};
	my $id = lose('late list', 'reset_before');
	wait_for($node, "SELECT attempt FROM vibevideo.job WHERE vibelog_id = '$id' AND attempt > 1", '2', 'late list: sent again in the end');
	cmp_ok($fal->ledger('?jobs=0')->{requests}{list} - $before, '>=', 2, 'but not before the list was asked again');
	configure($node, unknown_policy => 'manual', unknown_after => '1h', poll_timeout => '8s');
}

# -- a busy account ----------------------------------------------------------------------------
# More requests than are kept of a list stand before ours in it.
{
	my $crowd = 1300;
	my $accepted = 0;

	$fal->rule('^crowd', hold => 'queue');
	for my $n (1 .. $crowd)
	{
		$accepted++ if stranger_submits(qq({"prompt":"crowd $n"}))->{success};
	}
	is($accepted, $crowd, 'a crowd of requests is at fal');
	my $id = lose('crowded out?');
	my ($render) = $fal->renders('crowded out?');
	wait_for($node, "SELECT request_id FROM vibevideo.job WHERE vibelog_id = '$id' AND state <> 'submit_unknown'",
		$render->{request_id}, 'ours is found behind them', hurry => 1);
}

# -- what a list may hold ----------------------------------------------------------------------
# A server that answers whatever it is told to, once a request.
sub odd_list
{
	my ($body) = @_;
	my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 16, ReuseAddr => 1) or die "listen: $!";
	my $pid = fork();

	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		alarm(60);
		while (my $client = $listen->accept)
		{
			my $request = '';
			while ($request !~ /\r\n\r\n/) { sysread($client, $request, 4096, length $request) or last; }
			print $client "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: "
			  . length($body) . "\r\n\r\n$body";
			close($client);
		}
		POSIX::_exit(0);
	}
	return ($pid, 'http://127.0.0.1:' . $listen->sockport . '/v1');
}

{
	my $prompt = 'odd list';

	$fal->rule('^odd list', hold => 'queue');
	my $id = lose($prompt, 'reset_before');
	my $worker = worker_pid($node);
	my $now = sql($node, q{SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')});
	my $ours = qq({"prompt":"$prompt"});
	my $item = sub { my ($request, $at, $input) = @_; return qq({"request_id":$request,"sent_at":$at,"json_input":$input}); };
	my @odd = (
		[ 'numbers no numeric can hold', $item->('"odd-1"', qq("$now"), qq({"prompt":"$prompt","seed":1e999999})) ],
		[ 'a number of many digits', $item->('"odd-2"', qq("$now"), qq({"prompt":"x","seed":) . '9' x 200000 . '}') ],
		[ 'deep nesting', $item->('"odd-3"', qq("$now"), '[' x 20000 . ']' x 20000) ],
		[ 'broken escapes', $item->('"odd-4"', qq("$now"), '{"prompt":"\ud800 \u0000"}') ],
		[ 'a timestamp that is none', $item->('"odd-5"', '"yesterday"', $ours) ],
		[ 'a timestamp far off', $item->('"odd-6"', '"9999999-01-01T00:00:00Z"', $ours) ],
		[ 'infinity', $item->('"odd-7"', '"infinity"', $ours) ],
		[ 'a number for a timestamp', $item->('"odd-8"', '1e400', $ours) ],
		[ 'long ago', $item->('"odd-9"', '"2001-01-01T00:00:00Z"', $ours) ],
		[ 'an id that is none', $item->('"../../etc"', qq("$now"), $ours) ],
		[ 'a long id', $item->('"' . 'x' x 10000 . '"', qq("$now"), $ours) ],
		[ 'a null id', $item->('null', qq("$now"), $ours) ],
		[ 'no input', $item->('"odd-10"', qq("$now"), 'null') ],
		[ 'invalid UTF-8', $item->('"odd-11"', qq("$now"), qq({"prompt":"\xff\xfe"})) ],
		[ 'not an object', '17' ]);

	for my $case (@odd)
	{
		my ($name, $text) = @$case;
		my ($pid, $url) = odd_list(qq({"items":[$text],"next_cursor":null,"has_more":false}));

		configure($node, fal_api_url => $url);
		my $tries = job_of($node, $id)->{tries};
		wait_for($node, "SELECT tries > $tries FROM vibevideo.job WHERE vibelog_id = '$id'", 't', "list with $name: looked at", hurry => 1);
		is(job_of($node, $id)->{state}, 'submit_unknown', "list with $name: nothing is adopted");
		kill('KILL', $pid);
		waitpid($pid, 0);
	}
	# one bad item does not hide ours, as long as the whole is JSON at all
	my ($pid, $url) = odd_list('{"items":[' . join(',', (map { $_->[1] } grep { $_->[0] !~ /UTF-8|nesting|escapes/ } @odd), $item->('"good-1"', qq("$now"), $ours)) . '],"next_cursor":null}');
	configure($node, fal_api_url => $url);
	wait_for($node, "SELECT request_id FROM vibevideo.job WHERE vibelog_id = '$id'", 'good-1', 'among all that ours is found', hurry => 1);
	kill('KILL', $pid);
	waitpid($pid, 0);
	is(worker_pid($node), $worker, 'the worker lived through all of it');
	# a cursor that never ends
	($pid, $url) = odd_list('{"items":[],"next_cursor":"again","has_more":true}');
	configure($node, fal_api_url => $url);
	my $other = lose('endless list', 'reset_before');
	wait_for($node, "SELECT error FROM vibevideo.job WHERE vibelog_id = '$other'", qr/request list is too long/, 'a list without end is given up', hurry => 1);
	kill('KILL', $pid);
	waitpid($pid, 0);
	configure($node, fal_api_url => $fal->url . '/v1');
	sql($node, "SELECT vibevideo.resolve(job_id, 'not_sent') FROM vibevideo.job WHERE vibelog_id = '$other'");
	# fal never had it
	sql($node, "UPDATE vibevideo.job SET next_at = now() + interval '2 days' WHERE vibelog_id = '$id'");
}

# -- policies ----------------------------------------------------------------------------------
{
	my $before;

	# manual, the default, was looked at above: it waits for ever
	$fal->default(list_in_flight => $true);
	configure($node, unknown_policy => 'resubmit_when_absent', unknown_after => '2s');
	my $absent = lose('absent: not accepted', 'reset_before');
	my $there = lose('absent: accepted', 'reset_after');
	wait_for_status($node, $absent, 'completed');
	wait_for_status($node, $there, 'completed');
	is(sql($node, "SELECT string_agg(attempt || ' ' || state || ' ' || coalesce(error_code, ''), ', ' ORDER BY attempt) FROM vibevideo.job WHERE vibelog_id = '$absent'"),
		'1 failed submit_lost, 2 completed ', 'resubmit_when_absent: a new attempt, the old one is lost');
	is(scalar($fal->renders('absent: not accepted')), 1, 'resubmit_when_absent: one render');
	is(state_of($there) =~ s/\|[0-9a-f-]{36}\|/|id|/r, 'completed||id|1', 'resubmit_when_absent: what is there is adopted, not sent again');
	is(scalar($fal->renders('absent: accepted')), 1, 'resubmit_when_absent: one render');

	# while another with this input is on its way, the list proves nothing
	my $twin = new_row($node, 'absent: twin');
	$fal->fault('list', { kind => 'http', status => 500, body => 'oops' }, times => -1);
	my $first = lose('absent: twin', 'reset_after');
	configure($node, submit_timeout => '1min');
	$fal->rule('^absent: twin$', submit_ms => 10000);
	sql($node, "SELECT vibevideo_submit_batch('{$twin}')");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$twin'", 'submitting', 'a twin is being sent');
	$fal->clear_faults;
	look_again();
	wait_for_status($node, $first, 'completed');
	is(job_of($node, $first)->{attempt}, 1, 'resubmit_when_absent: not while a twin is being sent');
	wait_for_status($node, $twin, 'completed');
	is(scalar($fal->renders('absent: twin')), 2, 'each has its render');
	configure($node, submit_timeout => '6s');

	# a list that fails is no proof of absence
	$fal->fault('list', { kind => 'http', status => 500, body => 'oops' }, times => -1);
	my $silent = lose('absent: list down', 'reset_after');
	sleep(2.5);
	look_again();
	is(job_of($node, $silent)->{state}, 'submit_unknown', 'resubmit_when_absent: not while the list fails');
	is(scalar($fal->renders('absent: list down')), 1, 'nothing was sent');
	$fal->clear_faults;
	wait_for_status($node, $silent, 'completed');

	# without asking
	configure($node, unknown_policy => 'resubmit');
	my $again = lose('resubmit: accepted', 'reset_after');
	wait_for_status($node, $again, 'completed');
	is(scalar($fal->renders('resubmit: accepted')), 2, 'resubmit: rendered twice, as the operator wants');
	is(job_of($node, $again)->{attempt}, 2, 'resubmit: as attempt 2');

	# but not for one that shall be cancelled: that is looked for, and not sent
	$fal->rule('^resubmit: cancelled$', hold => 'queue');
	$fal->fault('submit', 'reset_after', prompt => '^resubmit: cancelled$');
	my $wish = new_row($node, 'resubmit: cancelled');
	sql($node, "BEGIN; SELECT FROM vibevideo_submit('$wish'); SELECT FROM vibevideo_cancel('$wish'); COMMIT");
	wait_for_status($node, $wish, 'cancelled', name => 'resubmit: one that shall be cancelled is looked for');
	my @wished = $fal->renders('resubmit: cancelled');
	is(scalar(@wished), 1, 'resubmit: and is not sent again');
	ok($wished[0]{cancel_requested_at}, 'resubmit: but cancelled at fal');

	# a cancel ends the doubt without sending
	configure($node, unknown_policy => 'manual', unknown_after => '2s');
	my $cancelled = lose('cancel: not accepted', 'reset_before');
	$before = submits();
	is(video($node, "vibevideo_cancel('$cancelled')")->{message}, 'Cancelling', 'a job in doubt can be cancelled');
	wait_for_status($node, $cancelled, 'cancelled');
	is(submits(), $before, 'nothing was sent for it');
	$fal->rule('^cancel: ', hold => 'queue');
	my $accepted = lose('cancel: accepted', 'reset_after');
	video($node, "vibevideo_cancel('$accepted')");
	wait_for_status($node, $accepted, 'cancelled');
	ok(($fal->renders('cancel: accepted'))[0]{cancel_requested_at}, 'one that fal has is found, and cancelled there');
	configure($node, unknown_after => '1h');
}

# -- people decide ---------------------------------------------------------------------------------
{
	my ($state, $text);

	$fal->default(list_in_flight => $false);
	$fal->rule('^resolve: ', hold => 'queue');
	my $id = lose('resolve: accepted', 'reset_after');
	my $job = job_of($node, $id)->{job_id};
	my ($render) = $fal->renders('resolve: accepted');
	my ($taken) = grep { $_ } split /\n/, sql($node, 'SELECT request_id FROM vibevideo.job WHERE request_id IS NOT NULL LIMIT 1');

	($state) = sql_error($node, "SELECT vibevideo.resolve(0, 'not_sent')");
	is($state, 'PT404', 'resolve: no such job');
	for my $bad ("''", 'NULL', "'two words'", "'a/b'", "'" . 'x' x 129 . "'", "E'$render->{request_id}\\n'", "'sent'", "'notsent'", "'NOT_SENT'", "'request-1'")
	{
		($state) = sql_error($node, "SELECT vibevideo.resolve($job, $bad)");
		is($state, '22023', 'resolve: not an id: ' . substr($bad, 0, 20));
	}
	($state, $text) = sql_error($node, "SELECT vibevideo.resolve($job, '$taken')");
	is($state, 'PT409', "resolve: another job's id");
	is(job_of($node, $id)->{state}, 'submit_unknown', 'resolve: nothing of that changed it');
	is(sql($node, "BEGIN; INSERT INTO vibevideo_internal.lost_look VALUES ($job, now(), true, '[{\"request_id\": \"Another.form\"}]') ON CONFLICT (job_id) DO UPDATE SET candidates = EXCLUDED.candidates; SELECT request_id FROM vibevideo.resolve($job, 'Another.form'); ROLLBACK"),
		'Another.form', 'resolve: an id of another form that fal.ai lists');
	is(sql($node, "SELECT status, request_id FROM vibevideo.resolve($job, '$render->{request_id}')"), "queued|$render->{request_id}",
		'resolve: by the request id');
	($state, $text) = sql_error($node, "SELECT vibevideo.resolve($job, 'not_sent')");
	is($state, 'PT409', 'resolve: twice is refused');
	like($text, qr/is not a lost submit.*It is queued\./s, 'resolve: with the state it is in');
	$fal->command($render->{request_id}, 'finish');
	wait_for_status($node, $id, 'completed');

	my $not = lose('resolve: not accepted', 'reset_before');
	my $before = submits();
	is(sql($node, "SELECT status FROM vibevideo.resolve(" . job_of($node, $not)->{job_id} . ", 'not_sent')"), 'queued', 'resolve: not_sent');
	wait_for($node, "SELECT state, attempt FROM vibevideo.job WHERE vibelog_id = '$not'", 'queued|1', 'resolve: it is sent again, as the same attempt', hurry => 1);
	is(submits() - $before, 1, 'resolve: once');
	$fal->command(($fal->renders('resolve: not accepted'))[0]{request_id}, 'finish');
	wait_for_status($node, $not, 'completed');

	# an app's user asks for another try: a new attempt; the old one is remembered
	my $retried = lose('resolve: retried', 'reset_before');
	my $video = video($node, "vibevideo_retry('$retried')");
	is($video->{attempt}, 2, 'vibevideo_retry of one in doubt: a new attempt');
	is(sql($node, "SELECT state, error_code, billed, cost_usd::float, held_usd = cost_estimated_usd FROM vibevideo.job WHERE vibelog_id = '$retried' AND attempt = 1"),
		'failed|submit_lost|f|0|t', 'the old one is given up, and budgets go on holding it: fal.ai may have rendered it');
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$retried' AND attempt = 2", 'queued', 'and the new one is sent', hurry => 1);
}

# -- a late owner ------------------------------------------------------------------------------------
# While the worker waits for the list, a person decides.  What the worker then
# knows is of yesterday, and must not get into the job.
{
	$fal->rule('^late: ', hold => 'queue');
	my $id = lose('late: owner', 'reset_before');
	my $job = job_of($node, $id)->{job_id};
	my $worker = worker_pid($node);

	look_again();
	$fal->fault('list', { kind => 'delay', ms => 1500 }, times => -1);
	my $lists = $fal->ledger('?jobs=0')->{requests}{list};
	hurry($node);
	wait_until(sub { return $fal->ledger('?jobs=0')->{requests}{list} > $lists }, 'late owner: the list is being asked');
	sql($node, "SELECT vibevideo.resolve($job, 'not_sent')");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE job_id = $job", 'queued', 'late owner: meanwhile it is sent', hurry => 0);
	sleep(2);
	is(job_of($node, $id)->{state}, 'queued', 'late owner: its answer changes nothing');
	is(sql($node, "SELECT string_agg(state, ' ' ORDER BY event_id) FROM vibevideo.event WHERE job_id = $job"),
		'submit_unknown pending submitting queued', 'late owner: nor did it in between');
	is(worker_pid($node), $worker, 'late owner: and hurts nobody');
	$fal->clear_faults;
}

ok_rules(gather($node, $fal, $storage), 'unknown', # strangers' requests, made-up ids, jobs left in doubt and a policy that pays twice
	qw(rule_committed_is_final rule_one_render_an_attempt rule_unowned_is_cancelled rule_adopted_once));
done_testing();
