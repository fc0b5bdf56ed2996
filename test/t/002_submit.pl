# vibevideo_submit and what fal, the network and the caller can do to it.  The
# rule: a job that may have reached fal is never sent again without a decision.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Socket;
use Test::More;
use Time::HiRes qw(time);
use VibeTest;

my $fal = start_fal();
my $other = start_fal();
my $storage = start_storage();
# The same fal without nginx, which has connections of its own, and answers 502
# for a fal that hangs up or is gone.
my %plain = (fal_queue_url => $fal->direct);
# Jobs are only asked about when a test hurries them, and fal's request list
# knows none of them.
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'vibevideo.fal_api_url' => $other->url . '/v1',
	'vibevideo.media_hosts' => join(',', $fal->url, $fal->direct),
	'max_connections' => 100,
	'vibevideo.poll_interval' => '1h',
	'vibevideo.submit_timeout' => '60s',
	'vibevideo.max_tries' => 1000 });

sub submits
{
	return $fal->ledger('?jobs=0')->{requests}{submit};
}

# A good submit: five failures in a row would make fal count as down.
sub all_is_well
{
	return submit($node, new_row($node, 'all is well'))->{request_id};
}

# -- fifty callers, one render ------------------------------------------------------
{
	my $id = new_row($node, 'fifty callers');

	$fal->rule('fifty callers', submit_ms => 300, hold => 'queue');
	sql($node, 'CREATE TABLE answers (request_id text, status text)');
	$node->pgbench('--no-vacuum --client=50 --transactions=1', 0, [qr{processed: 50/50}], [qr{^$}], 'fifty sessions submit one row',
		{ '002_fifty' => "INSERT INTO answers SELECT request_id, status FROM vibevideo_submit('$id');" });
	my @renders = $fal->renders('fifty callers');
	is(scalar(@renders), 1, 'fal was asked once');
	is(sql($node, 'SELECT count(*), count(DISTINCT request_id), min(request_id), min(status) FROM answers'),
		"50|1|$renders[0]{request_id}|queued", 'and all callers got that job');
	is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id'"), '1', 'there is one job');
}

# -- whose connections -------------------------------------------------------------------
{
	my @ids = map { new_row($node, "own connection $_") } 1 .. 4;
	my $session = background_sql($node);
	# the ledger's own call is one
	my $opened = do
	{
		my $before = $fal->ledger('?jobs=0')->{connections};
		sub
		{
			my $now = $fal->ledger('?jobs=0')->{connections};
			my $n = $now - $before - 1;
			$before = $now;
			return $n;
		}
	};

	$fal->rule('own connection', hold => 'queue');
	$session->query_safe("SET vibevideo.fal_queue_url = '$plain{fal_queue_url}'");
	$session->query_safe("SELECT vibevideo_submit('$_')") for @ids;
	# the worker may have opened one
	cmp_ok($opened->(), '>=', 4, 'each submit of a session has a connection of its own');
	$session->query_safe("UPDATE vibevideo.job SET next_at = now() WHERE vibelog_id = '$ids[0]'; SELECT * FROM vibevideo_poll()") for 1 .. 5;
	cmp_ok($opened->(), '<=', 2, 'its polls share one');
	$session->quit;
}

# Over TLS, as nginx has it; the worker asks nothing here.
SKIP:
{
	skip 'there is no nginx', 4 if $fal->url eq $fal->direct;
	my @ids = map { new_row($node, "own connection, TLS $_") } 1 .. 4;
	my $session = background_sql($node);
	my $seen = () = VibeNginx::requests();

	$fal->rule('own connection, TLS', hold => 'queue');
	$session->query_safe("SELECT vibevideo_submit('$_')") for @ids;
	$session->query_safe("UPDATE vibevideo.job SET next_at = now() WHERE vibelog_id = '$ids[0]'; SELECT * FROM vibevideo_poll()") for 1 .. 5;
	$session->quit;
	my @lines = VibeNginx::requests();
	my (%submits, %polls);
	for (splice(@lines, $seen))
	{
		my (undef, $connection, $protocol, $method) = split / /;
		($method eq 'POST' ? \%submits : \%polls)->{$connection}{$protocol}++;
	}
	is(scalar(keys %submits), 4, 'over TLS each submit has a connection of its own');
	is_deeply([ map { { %$_ } } values %submits ], [ ({ 'HTTP/1.1' => 1 }) x 4 ], 'by HTTP/1.1');
	is(scalar(keys %polls), 1, 'its polls share one');
	is_deeply([ values %polls ], [ { ($fal->{front}[0] eq 'http2' ? 'HTTP/2.0' : 'HTTP/1.1') => 5 } ], 'by HTTP/2');
}

# -- a session that is out of descriptors ------------------------------------------------
SKIP:
{
	skip 'without /proc or prlimit', 3 unless -d "/proc/$$/fd" && `prlimit --version 2>/dev/null`;
	my $session = background_sql($node);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $descriptors = sub { return map { m{(\d+)$} } glob("/proc/$pid/fd/*") };
	my $pollers = sub { return scalar grep { (readlink("/proc/$pid/fd/$_") || '') =~ /eventpoll/ } $descriptors->() };
	my ($limit) = `prlimit --pid $pid --nofile --noheadings --output SOFT` =~ /(\d+)/;
	my $before = $pollers->();
	my $log_from = -s $node->logfile;

	# one is free, and two are needed
	for my $try (1 .. 3)
	{
		my %used = map { $_ => 1 } $descriptors->();
		my ($free) = grep { !$used{$_} } 0 .. $limit;
		system('prlimit', '--pid', $pid, '--nofile=' . ($free + 1) . ':') == 0 or die "prlimit: $?";
		$session->query(q{SELECT status FROM vibevideo_internal.probe('queue')});
	}
	system('prlimit', '--pid', $pid, "--nofile=$limit:") == 0 or die "prlimit: $?";
	like(slurp_file($node->logfile, $log_from), qr/ERROR:  (.*epoll_create1.*Too many open files|libcurl could not create a multi handle)/, 'no descriptor was left to wait with');
	is($session->query(q{SELECT status FROM vibevideo_internal.probe('queue')}), 'ok', 'later there is one');
	is($pollers->() - $before, 2, 'and the calls that failed have kept none');
	$session->quit;
}

# -- only rows the caller may update --------------------------------------------------------
{
	my ($mine, $theirs) = map { new_row($node, "by role $_") } 1 .. 2;
	my $before = submits();

	$fal->rule('by role', hold => 'queue');
	sql($node, <<"SQL");
CREATE ROLE authenticated;
SELECT vibevideo.grant_api_roles();
GRANT SELECT, UPDATE ON vibelogs TO authenticated;
ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY;
CREATE POLICY see ON vibelogs FOR SELECT USING (true);
CREATE POLICY change ON vibelogs FOR UPDATE USING (id = '$mine');
SQL
	my $as_user = q{BEGIN; SET LOCAL request.jwt.claims = '{"sub": "user-7"}'; SET LOCAL ROLE authenticated;};
	sql($node, 'REVOKE UPDATE ON vibelogs FROM authenticated');
	my ($state, $text) = sql_error($node, "$as_user SELECT vibevideo_submit('$mine')");
	is($state, '42501', 'who may only read rows cannot submit them');
	like($text, qr/DETAIL:  Role authenticated lacks UPDATE on the table[^\n]*\nHINT:  GRANT UPDATE \(prompt\) ON public\.vibelogs TO authenticated;/, 'and is told which right is missing');
	($state, $text) = sql_error($node, "$as_user SELECT vibevideo_submit_batch('{$mine}')");
	is($state, '42501', 'nor in a batch');
	is(sql($node, "$as_user SELECT count(*) FROM vibevideo_status('$mine'); COMMIT"), '1', 'but can see the status');
	sql($node, 'GRANT UPDATE (prompt) ON vibelogs TO authenticated');
	($state) = sql_error($node, "$as_user SELECT vibevideo_submit('$theirs')");
	is($state, '42501', 'a row that can be seen, but not updated, cannot be submitted');
	is(submits(), $before, 'nothing is sent for it');
	($state) = sql_error($node, "$as_user SELECT * FROM vibevideo.job");
	is($state, '42501', 'jobs cannot be read directly');
	is(sql($node, "$as_user SELECT status FROM vibevideo_submit('$mine'); COMMIT"), 'queued', 'a row of one\'s own can be submitted');
	is(job_of($node, $mine)->{requested_by}, 'user-7', 'the job knows by whom');
	is(sql($node, "$as_user SELECT status FROM vibevideo_status('$theirs'); COMMIT") || 'none', 'none', 'a row one can see has a status');
	sql($node, 'ALTER TABLE vibelogs DISABLE ROW LEVEL SECURITY');
}

# -- the caller gives up ------------------------------------------------------------------------

# Starts a submit that hangs in a session of its own; returns session and pid.
sub start_hanging
{
	my ($id) = @_;
	my $session = background_sql($node);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');

	$session->query_safe("\\set VERBOSITY verbose");
	$session->query_until(qr/begun/, "\\echo begun\nSELECT status FROM vibevideo_submit('$id');\n");
	wait_for($node, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid", 'Extension', 'the call waits for fal');
	return ($session, $pid);
}

{
	my $id = new_row($node, 'hang: cancelled');

	$fal->fault('submit', 'hang', prompt => '^hang: ', times => -1);
	my ($session, $pid) = start_hanging($id);
	sql($node, "SELECT pg_cancel_backend($pid)");
	wait_for($node, "SELECT state FROM pg_stat_activity WHERE pid = $pid", qr/^idle/, 'pg_cancel_backend ends it', patience => 5);
	$session->query('SELECT 1');
	like($session->{stderr}, qr/57014/, 'as a cancelled query');
	$session->{stderr} = '';
	is($session->query_safe('SELECT 2'), '2', 'the session can go on');
	my $next = new_row($node, 'after a cancel');
	$fal->rule('after a cancel', hold => 'queue');
	is($session->query_safe("SELECT status FROM vibevideo_submit('$next')"), 'queued', 'and submit other rows');
	is(scalar($fal->renders('after a cancel')), 1, 'properly');
	$session->quit;

	my $begun = time();
	my ($state) = sql_error($node, "SET statement_timeout = '300ms'; SELECT vibevideo_submit('" . new_row($node, 'hang: timeout') . "')");
	is($state, '57014', 'statement_timeout ends it');
	cmp_ok(time() - $begun, '<', 20, 'long before submit_timeout');

	($session, $pid) = start_hanging(new_row($node, 'hang: terminated'));
	sql($node, "SELECT pg_terminate_backend($pid)");
	wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid", '0', 'pg_terminate_backend ends it', patience => 5);
	$session->{run}->finish;
	like($session->{stderr}, qr/57P01/, 'as an administrator\'s command');
	is(sql($node, 'SELECT 3'), '3', 'the server lives');
	$fal->clear_faults;
	is(scalar(grep { ($_->{input}{prompt} || '') =~ /^hang: / } @{ $fal->ledger->{jobs} }), 0, 'nothing of this was rendered');
}

# -- surely not sent: waits, and is sent once ------------------------------------------------------

# Submits a row under session settings; returns its key and what submit said.
sub submit_with
{
	my ($prompt, @settings) = @_;
	my $id = new_row($node, $prompt);
	my $set = join('', map { "SET LOCAL $_; " } @settings);
	my $video = sql($node, "BEGIN; $set SELECT row_to_json(v) FROM vibevideo_submit('$id') v; COMMIT");

	return ($id, JSON::PP::decode_json($video));
}

# A listening socket whose queue is full: connecting to it hangs.
sub black_hole
{
	socket(my $server, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
	bind($server, sockaddr_in(0, INADDR_LOOPBACK)) or die "bind: $!";
	listen($server, 0) or die "listen: $!";
	my $address = getsockname($server);
	my @fill = map {
		socket(my $client, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
		$client->blocking(0);
		connect($client, $address);
		$client;
	} 1 .. 4;
	return ((sockaddr_in($address))[0], $server, @fill);
}

{
	my ($port, @sockets) = black_hole();
	my %unreachable = (
		'a refused port' => [q{vibevideo.fal_queue_url = 'http://127.0.0.1:1'}],
		'a host that does not answer' => [ "vibevideo.fal_queue_url = 'http://127.0.0.1:$port'", q{vibevideo.connect_timeout = '300ms'} ],
		'an unknown name' => [ q{vibevideo.fal_queue_url = 'http://nowhere.invalid'}, q{vibevideo.connect_timeout = '1s'} ],
		'no TLS' => [ 'vibevideo.fal_queue_url = \'' . ($fal->direct =~ s/^http/https/r) . '\'' ]);
	$unreachable{'a certificate of somebody else'} = [ "vibevideo.ca_file = '" . VibeNginx::foreign_ca_file() . "'" ] if $fal->url =~ /^https/;

	$fal->rule('unreachable', hold => 'queue');
	for my $name (sort keys %unreachable)
	{
		my ($id, $video) = submit_with("unreachable: $name", @{ $unreachable{$name} });

		is($video->{status}, 'queued', "$name: the app sees a queued video");
		like($video->{message}, qr/^Waiting to be sent again \(try 2\): /, "$name: that waits to be sent again");
		is($video->{error}, 'The provider cannot be reached at the moment', "$name: and why");
		like(words_of($node, $id, 'pending'), qr/127\.0\.0\.1|nowhere\.invalid|timed out|SSL/i, "$name: operators read more");
		# the worker's own settings lead to fal
		wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", 'queued', "$name: sent when fal can be reached");
		is(scalar($fal->renders("unreachable: $name")), 1, "$name: once");
		is(job_of($node, $id)->{error}, undef, "$name: the old error is gone");
	}
}

# -- come back later ---------------------------------------------------------------------------------
$fal->rule('later', hold => 'queue');
for my $case (
	[ 'later: 429', { kind => 'http', status => 429, body => { detail => 'Too many requests' }, headers => { 'retry-after' => '1' } }, qr/Too many requests/, 'the provider is busy' ],
	[ 'later: 503', { kind => 'http', status => 503, body => { detail => 'Overloaded' }, headers => { 'x-fal-request-id' => 'r' } }, qr/Overloaded/, 'the provider is busy' ],
	[ 'later: 503 of a gateway', { kind => 'gateway', status => 503 }, qr/503/, 'the provider is busy' ],
	[ 'later: 408', { kind => 'http', status => 408, body => { detail => 'Slow' } }, qr/Slow/, 'the provider has a problem at the moment' ])
{
	my ($prompt, $fault, $words, $shown) = @$case;
	my $before = submits();

	$fal->fault('submit', $fault, prompt => "^$prompt\$");
	my ($id, $video) = submit_with($prompt);
	is($video->{status}, 'queued', "$prompt: queued");
	is($video->{message}, "Waiting to be sent again (try 2): $shown", "$prompt: and says what is the matter");
	like(words_of($node, $id, 'pending'), $words, "$prompt: to operators with fal's words");
	my $wait = sql($node, "SELECT next_at - updated_at >= '0.9 s' FROM vibevideo.job WHERE vibelog_id = '$id' AND state = 'pending'");
	is($wait || 't', 't', "$prompt: Retry-After is kept") if $prompt eq 'later: 429';
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", 'queued', "$prompt: sent again");
	is(scalar($fal->renders($prompt)), 1, "$prompt: one render");
	is(submits() - $before, 2, "$prompt: of two submits");
}

# a batch is all or nothing: which row was it?
{
	my ($good, $empty) = map { new_row($node, $_) } 'a batch', ' ';
	my ($state, $text) = sql_error($node, "SELECT vibevideo_submit_batch('{$good,$empty}')");

	is($state, '22023', 'a batch with a row without a prompt: refused');
	like($text, qr/DETAIL:  Model "fal-ai\/\S+" needs a prompt; no video of row "$empty" was requested\./, 'and the row is named');
}

# -- a definite no -------------------------------------------------------------------------------------
$fal->rule('^no: unknown model', unknown_app => '.');
$fal->fault('submit', { kind => 'http', status => 422, body => { detail => [ { loc => [ 'body', 'prompt' ], msg => 'is rude', type => 'value_error' } ] } }, prompt => '^no: 422');
$fal->fault('submit', { kind => 'redirect', status => 307, location => $other->url . '/fal-ai/minimax/video-01' }, prompt => '^no: redirect');
for my $case (
	[ 'no: 401', qr/No user found for Key ID and Secret/, 'The provider takes no requests of this service at the moment', q{vibevideo.fal_key = 'wrong:key'} ],
	[ 'no: unknown model', qr/Application not found/, 'The provider could not make the video' ],
	[ 'no: 422', qr/prompt: is rude/, 'The provider cannot use this input (prompt: is rude)' ],
	[ 'no: redirect', qr/./, 'The provider could not make the video' ])
{
	my ($prompt, $words, $shown, @settings) = @$case;
	my $before = submits();
	my ($id, $video) = submit_with($prompt, @settings);

	is($video->{status}, 'failed', "$prompt: failed");
	is($video->{error}, $shown, "$prompt: and says why");
	is($video->{message}, 'Failed: ' . lcfirst($shown), "$prompt: so does the message");
	like(words_of($node, $id, 'failed'), $words, "$prompt: operators have fal's words");
	ok($video->{error_code}, "$prompt: and a code, $video->{error_code}");
	is(sql($node, "SELECT video_generation_status, video_generation_error FROM vibelogs WHERE id = '$id'"), "failed|$shown", "$prompt: the row says so, too");
	is(scalar($fal->renders($prompt)), 0, "$prompt: no render");
	is(submits() - $before, 1, "$prompt: and no second try");
}
is($other->ledger->{requests}{submit}, 0, 'a redirect of the submit is not followed');
is(sql($node, qq{BEGIN; SELECT FROM vibevideo_submit('} . new_row($node, 'no: unknown model, status') . qq{'); SELECT current_setting('response.status'); COMMIT;}) =~ s/\s//gr,
	'502', 'PostgREST is told to answer 502');

# -- the answer is lost ---------------------------------------------------------------------------------
my @lost = (
	[ 'lost: 502 before', { kind => 'gateway', status => 502 }, 0 ],
	[ 'lost: 504 before', { kind => 'gateway', status => 504 }, 0 ],
	[ 'lost: 502 after', { kind => 'gateway_after', status => 502 }, 1 ],
	[ 'lost: 504 after', { kind => 'gateway_after', status => 504 }, 1 ],
	[ 'lost: closed before', 'drop_before', 0 ],
	[ 'lost: closed after', 'drop_after', 1 ],
	[ 'lost: reset before', 'reset_before', 0 ],
	[ 'lost: reset after', 'reset_after', 1 ],
	[ 'lost: silence before', 'hang', 0, q{vibevideo.submit_timeout = '300ms'} ],
	[ 'lost: silence after', 'hang_after', 1, q{vibevideo.submit_timeout = '300ms'} ],
	[ 'lost: a page', 'html200', 1 ]);

# what nginx would answer for is met directly as well
push @lost, map { [ $_->[0] =~ s/lost/lost, plain/r, $_->[1], $_->[2], "vibevideo.fal_queue_url = '$plain{fal_queue_url}'", @{$_}[ 3 .. $#$_ ] ] }
  grep { $_->[0] =~ /closed|reset|silence/ } @lost;

$fal->rule('^lost', hold => 'queue');
$fal->rule('^all is well', hold => 'queue');
for my $case (@lost)
{
	my ($prompt, $fault, $renders, @settings) = @$case;
	ok(all_is_well(), "$prompt: it works without");
	my $before = submits();

	$fal->fault('submit', $fault, prompt => "^$prompt\$");
	my ($id, $video) = submit_with($prompt, @settings);
	is(job_of($node, $id)->{state}, 'submit_unknown', "$prompt: the job's state is submit_unknown");
	is($video->{status}, 'queued', "$prompt: the app sees a queued video");
	like($video->{message}, qr/answer was lost; nothing is sent again until/, "$prompt: and is told");
	ok($video->{error_code} && $video->{error}, "$prompt: with the reason: " . ($video->{error_code} || '?'));
	is(scalar($fal->renders($prompt)), $renders, "$prompt: fal has $renders");
	is(submits() - $before, 1, "$prompt: one submit was sent");
	is(submit($node, $id)->{status}, 'queued', "$prompt: asking again returns the job");
	is(submits() - $before, 1, "$prompt: and sends nothing");
	like(sql($node, "SELECT video_generation_error FROM vibelogs WHERE id = '$id'"), qr/answer was lost/, "$prompt: the row tells");
}

# The answer cannot be read, but its header has the id.
for my $kind (qw(garbage empty))
{
	$fal->fault('submit', $kind, prompt => "^id in the header: $kind");
	$fal->rule('^id in the header', hold => 'queue');
	my ($id, $video) = submit_with("id in the header: $kind");
	is($video->{request_id}, ($fal->renders("id in the header: $kind"))[0]{request_id}, "$kind body: the id is taken from the header");
}

# On a connection that was used before, libcurl by itself sends a request a
# second time when the connection turns out dead.
my @reused;
for my $kind (qw(drop_before drop_after reset_before reset_after))
{
	my ($first, $second) = map { new_row($node, "lost: reused $kind $_") } 1 .. 2;
	my $session = background_sql($node);
	my $prompt = "lost: reused $kind 2";

	$session->query_safe("SET vibevideo.fal_queue_url = '$plain{fal_queue_url}'");
	$session->query_safe("SELECT vibevideo_submit('$first')");
	my $before = submits();
	$fal->fault('submit', $kind, prompt => "^$prompt\$");
	$session->query_safe("SELECT vibevideo_submit('$second')");
	is(submits() - $before, 1, "$prompt: one submit was sent");
	is(job_of($node, $second)->{state}, 'submit_unknown', "$prompt: unknown");
	is(scalar($fal->renders($prompt)), $kind =~ /after/ ? 1 : 0, "$prompt: no second render");
	my $third = new_row($node, "lost: reused $kind 3");
	is($session->query_safe("SELECT status, request_id IS NOT NULL FROM vibevideo_submit('$third')"), 'queued|t', "$prompt: the session goes on");
	$session->quit;
	push @reused, [ $prompt, $kind, $kind =~ /after/ ? 1 : 0 ];
}

# The worker meets the same when it sends a batch.
my @batches;
for my $way ({ fal_queue_url => $fal->url }, \%plain)
{
	configure($node, %$way);
	# also after so many failures that fal counts as down
	my $well = new_row($node, 'all is well');
	submit($node, $well);
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$well'", 'queued', 'a batch: all is well before');
	my $plain = @batches > 0;
	my @cases = map { [ "lost: batch $_->[0]", $_->[1], $_->[2] ] } grep { $_->[0] !~ /silence/ && ($_->[0] =~ /plain/ xor !$plain) } @lost;
	my @ids = map { new_row($node, $_->[0]) } @cases;
	my $before = submits();

	$fal->fault('submit', $_->[1], prompt => "^$_->[0]\$") for @cases;
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = ANY ('{" . join(',', @ids) . "}') AND state = 'submit_unknown'",
		scalar(@cases), 'a batch: each of the worker\'s lost submits is unknown');
	is(submits() - $before, scalar(@cases), 'each was sent once');
	push @batches, @cases;
}
push @lost, @reused, @batches;
configure($node, fal_queue_url => $fal->url);

# Whatever else happens, none of them is ever sent again by itself.
{
	my $before = submits();
	my $id = new_row($node, 'lost: not this one');

	hurry($node);
	sql($node, "SELECT vibevideo_submit_batch('{$id}'); SELECT vibevideo_poll()");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", 'queued', 'the worker has looked for work');
	is(submits() - $before, 1, 'and left the lost ones alone');
	is(scalar($fal->renders($_->[0])), $_->[2], "$_->[0]: fal still has $_->[2]") for @lost;
}

# A person decides: it is sent again.
{
	my $id = sql($node, "SELECT id FROM vibelogs WHERE prompt = 'lost: closed before'");

	is(video($node, "vibevideo_retry('$id')")->{attempt}, 2, 'vibevideo_retry gives a lost one up for a new attempt');
	wait_for($node, "SELECT string_agg(state, ' ' ORDER BY job_id) FROM vibevideo.job WHERE vibelog_id = '$id'", 'failed queued', 'which is sent');
	is(scalar($fal->renders('lost: closed before')), 1, 'once');
}

# -- enough is enough ------------------------------------------------------------------------------------
{
	my $id = new_row($node, 'never ready');
	my $before = submits();

	$node->append_conf('postgresql.conf', 'vibevideo.max_tries = 3');
	$node->reload;
	$fal->fault('submit', { kind => 'http', status => 503, body => { detail => 'Overloaded' }, headers => { 'x-fal-request-id' => 'r' } }, prompt => 'never ready', times => -1);
	sql($node, "SELECT vibevideo_submit_batch('{$id}')");
	wait_for_status($node, $id, 'failed', hurry => 0);
	is(submits() - $before, 3, 'after max_tries submits');
	like(words_of($node, $id, 'failed'), qr/Overloaded/, 'with the last reason');
	is(status_of($node, $id)->{error}, 'The provider could not make the video', 'which its user reads in other words');
	$node->append_conf('postgresql.conf', 'vibevideo.max_tries = 1000');
	$node->reload;
}

# -- inputs may be large: 16 MB of them are in memory at a time, and the one that makes it so much ---------
{
	all_is_well();
	sql($node, <<'SQL');
SELECT vibevideo.attach('vibelogs', image_column => 'image');
CREATE TABLE gone_in (n int);
CREATE FUNCTION note_go() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS 'BEGIN INSERT INTO gone_in SELECT count(*) FROM made; RETURN NULL; END';
CREATE TRIGGER note_go AFTER INSERT ON vibevideo.job REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION note_go();
INSERT INTO vibelogs (prompt, image) SELECT 'large ' || n, repeat('x', 1000000) FROM generate_series(1, 20) n;
SELECT vibevideo_submit_batch(ARRAY(SELECT id FROM vibelogs WHERE prompt LIKE 'large %'));
DROP TRIGGER note_go ON vibevideo.job;
SQL
	is(sql($node, "SELECT string_agg(n::text, ' ') FROM gone_in"), '17 3', 'a batch of 20 MB is made in two goes');
	sql($node, "CREATE VIEW large AS SELECT j.* FROM vibevideo.job j JOIN vibelogs v ON v.id::text = j.vibelog_id WHERE v.prompt LIKE 'large %'");
	wait_for($node, 'SELECT DISTINCT state FROM large', 'queued', 'all of it is sent');
	is(sql($node, 'SELECT max((SELECT count(*) FROM large o WHERE o.sent_at <= l.sent_at AND o.submitted_at > l.sent_at)) FROM large l'),
		'17', 'no more than that at a time');

	sql($node, <<'SQL');
INSERT INTO vibelogs (prompt) SELECT 'beside it ' || n FROM generate_series(1, 3) n;
BEGIN;
SELECT vibevideo_submit_batch(ARRAY(SELECT id FROM vibelogs WHERE prompt LIKE 'beside it %'));
UPDATE vibevideo.job SET priority = 1, input = jsonb_build_object('prompt', repeat('x', 20000000))
WHERE vibelog_id = (SELECT id::text FROM vibelogs WHERE prompt = 'beside it 2');
COMMIT;
CREATE OR REPLACE VIEW large AS SELECT j.* FROM vibevideo.job j JOIN vibelogs v ON v.id::text = j.vibelog_id WHERE v.prompt LIKE 'beside it %';
SQL
	wait_for($node, 'SELECT DISTINCT state FROM large', 'queued', 'one that is larger than all of that is sent, too');
	is(sql($node, 'SELECT count(*) FROM large l JOIN large o ON o.priority = 1 AND l.priority = 0 AND l.sent_at > o.submitted_at'),
		'2', 'alone');
}

# -- fal is down for a while -------------------------------------------------------------------------------
{
	my @ids = map { new_row($node, "while fal is down $_") } 1 .. 3;
	my $log = -s $node->logfile;

	configure($node, %plain);
	$fal->stop;
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @ids[ 0, 1 ]) . "}')");
	is(submit($node, $ids[2])->{status}, 'queued', 'fal down: submit does not fail');
	wait_until(sub { slurp_file($node->logfile, $log) =~ /considers fal\.ai down; jobs will wait/ }, 'fal down: it is noticed');
	is(sql($node, q{SELECT count(*) FROM vibevideo.job WHERE state IN ('pending', 'submitting')}), '3', 'fal down: jobs wait, but for a try');
	$fal = $fal->restart;
	wait_for_status($node, $_, 'completed', name => 'fal is back: the row is completed') for @ids;
	is(scalar($fal->renders("while fal is down $_")), 1, 'by one render') for 1 .. 3;
	like(slurp_file($node->logfile, $log), qr/can reach fal\.ai again/, 'and that is noticed, too');
	configure($node, fal_queue_url => $fal->url);
}

# Behind a gateway nothing says that it did not arrive: a few are in doubt, then the others wait.
SKIP:
{
	skip 'there is no nginx', 15 if $fal->url eq $fal->direct;
	my @ids = map { new_row($node, "behind a gateway, fal is down $_") } 1 .. 8;
	my $log = -s $node->logfile;
	my $list = join(',', map { "'$_'" } @ids);

	all_is_well();
	$fal->stop;
	is(submit($node, $_)->{status}, 'queued', 'fal down behind a gateway: submit does not fail') for @ids;
	is(sql($node, "SELECT string_agg(state, ' ' ORDER BY job_id) FROM vibevideo.job WHERE vibelog_id IN ($list)"),
		'submit_unknown ' x 5 . 'pending pending pending', 'five are in doubt, the others wait');
	like(slurp_file($node->logfile, $log), qr/considers fal\.ai down; jobs will wait/, 'it is noticed');
	$fal = $fal->restart;
	wait_for_status($node, $_, 'completed', name => 'fal is back: the row is completed') for @ids[ 5 .. 7 ];
	is(scalar(@{ $fal->ledger->{jobs} }), 3, 'fal has those, and none of the others');
}

done_testing();
