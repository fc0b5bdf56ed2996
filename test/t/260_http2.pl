# HTTP/2 at its worst: a front that ends streams with every code, says GOAWAY, dies
# with streams in it and answers early, before and after it has passed a request on.
# Whatever it does: an attempt is rendered once at most, one broken connection puts
# one submit in doubt at most, every row comes to its end, and what is stored is whole.

use strict;
use warnings FATAL => 'all';

BEGIN { $ENV{VIBETEST_TIMEOUT} ||= 300 }

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $true = JSON::PP::true;
# smaller files go to Storage in one request, larger ones in parts
my ($SMALL, $LARGE) = (60_000, 300_000);
my $fal = start_fal(front => 'plain', default => { queue_ms => 0, run_ms => 0, list_in_flight => $true, media => { bytes => $SMALL } });
my $storage = start_storage(front => 'plain');
my %front = (fal => start_front($fal), storage => start_front($storage));
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'vibevideo.poll_timeout' => '5s',
	'vibevideo.submit_timeout' => '5s',
	'vibevideo.stall_timeout' => '5s',
	'vibevideo.resumable_threshold' => '100kB',
	# all meet their fault before the breaker opens
	'vibevideo.max_transfers' => 100,
	'vibevideo.unknown_policy' => 'resubmit_when_absent',
	'vibevideo.unknown_after' => '1s' });

# The codes of RFC 9113 7.
my %CODE = (NO_ERROR => 0, PROTOCOL_ERROR => 1, INTERNAL_ERROR => 2, FLOW_CONTROL_ERROR => 3, SETTINGS_TIMEOUT => 4, STREAM_CLOSED => 5,
	FRAME_SIZE_ERROR => 6, REFUSED_STREAM => 7, CANCEL => 8, COMPRESSION_ERROR => 9, CONNECT_ERROR => 10, ENHANCE_YOUR_CALM => 11,
	INADEQUATE_SECURITY => 12, HTTP_1_1_REQUIRED => 13);
my @codes = sort { $CODE{$a} <=> $CODE{$b} } keys %CODE;

# Whose request it is, and how the front knows it: by fal's id, by the row's, or by the prompt.
my %OPERATIONS = (
	submit => { at => 'fal', on => sub { my ($row) = @_; return qr{^POST /fal-ai/\S+ .*"\Q$row->{prompt}\E"} } },
	status => { at => 'fal', on => sub { my ($row) = @_; return qr{^GET \S+/requests/$row->{request}/status } } },
	result => { at => 'fal', on => sub { my ($row) = @_; return qr{^GET \S+/requests/$row->{request} } } },
	download => { at => 'fal', on => sub { my ($row) = @_; return qr{^GET /files/\S*$row->{request}} } },
	upload => { at => 'storage', on => sub { my ($row) = @_; return qr{^(?:PUT|POST) /object/videos/$row->{id}/} } },
	patch => { at => 'storage', on => sub { my ($row) = @_; return qr{^PATCH /upload/resumable/\S+ videos/$row->{id}/} } });
my @operations = qw(submit status result download upload patch);

# ---------------------------------------------------------------------------
# Rows that meet faults
# ---------------------------------------------------------------------------

# A row whose prompt says what is to happen to it.
sub prepare
{
	my ($prompt, $operation, $fault, %more) = @_;

	return { id => new_row($node, $prompt), prompt => $prompt, operation => $operation, fault => $fault, times => 1, %more };
}

sub arm
{
	my ($row) = @_;
	my $operation = $OPERATIONS{ $row->{operation} } or return;
	my $on = $operation->{on}->($row);

	# JavaScript knows no such modifiers
	$on =~ s/^\(\?\^?\w*:(.*)\)$/$1/;
	$front{ $operation->{at} }->fault("$on", $row->{fault}, times => $row->{times});
	return;
}

sub list_of
{
	return "'{" . join(',', map { $_->{id} } @_) . "}'";
}

sub events
{
	my ($state, @rows) = @_;

	return sql($node, "SELECT count(*) FROM vibevideo.event e JOIN vibevideo.job j USING (job_id) WHERE e.state = '$state' AND j.vibelog_id = ANY ("
		  . list_of(@rows) . ')');
}

# They are sent, with fal holding all that it gets until those are known that their
# faults need to know, and then go on to their end.
sub run_rows
{
	my ($name, @rows) = @_;
	my $list = list_of(@rows);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$fal->rule("^$rows[0]{group}: .* patch\$", hold => 'queue', media => { bytes => $LARGE });
	$fal->rule("^$rows[0]{group}: ", hold => 'queue');
	for (grep { $_->{operation} =~ /submit|upload|patch/ } @rows) { arm($_) }
	sql($node, "SELECT vibevideo_submit_batch($list)");
	wait_for($node, "SELECT count(DISTINCT vibelog_id) FROM vibevideo.job WHERE vibelog_id = ANY ($list) AND (state = 'queued' OR state IN ('failed', 'cancelled'))",
		scalar(@rows), "$name: all are at fal", hurry => 1);
	for my $row (grep { $_->{operation} =~ /status|result|download/ } @rows)
	{
		$row->{request} = job_of($node, $row->{id})->{request_id};
		arm($row);
	}
	$fal->call('POST', '/clear', { what => 'rules' });
	$fal->rule("^$rows[0]{group}: .* patch\$", media => { bytes => $LARGE });
	$fal->command('*', 'finish');
	return wait_for($node, "SELECT string_agg(DISTINCT video_generation_status, ' ') FROM vibelogs WHERE id = ANY ($list)", 'completed',
		"$name: every row is completed", hurry => 1, patience => 60);
}

# What holds whatever happened.
sub check_rows
{
	my ($name, @rows) = @_;
	my $list = list_of(@rows);
	my %renders;
	my (@twice, @broken);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for my $render (@{ $fal->ledger->{jobs} })
	{
		push @{ $renders{ $render->{input}{prompt} } }, $render;
	}
	my %objects = map { ($_->{key} => $_) } @{ $storage->ledger->{objects} };
	my %attempts = map { split /\|/ } split /\n/, sql($node, "SELECT vibelog_id, count(*) FROM vibevideo.job WHERE vibelog_id = ANY ($list) GROUP BY 1");
	my %keys = map { split /\|/ } split /\n/, sql($node, "SELECT vibelog_id, object_key FROM vibevideo.job WHERE vibelog_id = ANY ($list) AND state = 'completed'");
	for my $row (@rows)
	{
		my @made = @{ $renders{ $row->{prompt} } || [] };
		my $object = defined $keys{ $row->{id} } && $objects{ $keys{ $row->{id} } };

		push @twice, $row->{prompt} if @made > ($attempts{ $row->{id} } || 0);
		push @broken, $row->{prompt} unless $object && grep { $_->{media_sha256} eq $object->{sha256} } @made;
	}
	is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = ANY ($list) AND state = 'completed' AND strpos(media_url, request_id) = 0"), '0',
		"$name: each has its own answer");
	is_deeply(\@twice, [], "$name: no attempt was rendered twice");
	is_deeply(\@broken, [], "$name: what is stored is the whole file");
	return;
}

# Of a connection that broke, one submit is in doubt at most; of one that lives, none.
sub check_doubts
{
	my ($name, $broken, @rows) = @_;
	my $doubts = events('submit_unknown', @rows);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	cmp_ok($doubts, '<=', $broken, "$name: $broken connections or streams of submits broke, $doubts were in doubt");
	return;
}

sub submits_over
{
	my ($protocol) = @_;

	return $front{fal}->ledger->{requests}{"POST $protocol"} || 0;
}

sub hits
{
	return $front{fal}->hits + $front{storage}->hits;
}

sub clear
{
	$_->call('POST', '/reset', {}) for values %front;
	return;
}

# ---------------------------------------------------------------------------
# RST_STREAM: every code, before and after, and in the middle
# ---------------------------------------------------------------------------
for my $operation (@operations)
{
	my @rows;
	my $group = "rst $operation";

	for my $code (@codes)
	{
		push @rows, prepare("$group: $code before $operation", $operation, { kind => 'rst', code => $CODE{$code}, when => 'before' });
		# who has passed it on may not call it refused (RFC 9113 8.7)
		next if $operation eq 'submit' && $code eq 'REFUSED_STREAM';
		push @rows, prepare("$group: $code after $operation", $operation, { kind => 'rst', code => $CODE{$code}, when => 'after' });
	}
	for my $code (qw(NO_ERROR INTERNAL_ERROR CANCEL))
	{
		my %midway = (kind => 'rst', code => $CODE{$code}, when => 'midway', bytes => 20000);
		push @rows, prepare("$group: $code midway $operation", $operation, \%midway) if $operation =~ /upload|patch/;
		push @rows, map { prepare("$group: $code midway" . ($_ ? ' without length' : '') . " $operation", $operation,
				{ %midway, from => 'answer', $_ ? (no_length => $true) : (), $operation eq 'download' ? () : (bytes => 10) }) } 0, 1
		  unless $operation =~ /upload|patch/;
	}
	$_->{group} = $group for @rows;
	run_rows($group, @rows);
	is(hits(), scalar(@rows), "$group: each met its fault");
	check_rows($group, @rows);
	check_doubts($group, scalar(grep { $_->{operation} eq 'submit' } @rows), @rows);
	# on a connection that is HTTP/1.1 nothing says that it was refused
	is(events('submit_unknown', grep { $_->{prompt} =~ /REFUSED_STREAM before submit/ } @rows), '0', 'a refused submit is not in doubt')
	  if $operation eq 'submit' && submits_over('h2') > 0;
	clear();
}

# ---------------------------------------------------------------------------
# What befalls a whole connection, with everything that is on it
# ---------------------------------------------------------------------------
my @befalls = (
	[ 'goaway below', { kind => 'goaway', last => 'below' } ],
	[ 'goaway this', { kind => 'goaway', last => 'this' } ],
	[ 'goaway all', { kind => 'goaway', last => 'all' } ],
	[ 'goaway below, calm', { kind => 'goaway', last => 'below', code => $CODE{ENHANCE_YOUR_CALM} } ],
	[ 'goaway midway', { kind => 'goaway', last => 'below', when => 'midway', bytes => 1000 } ],
	[ 'dies', { kind => 'die' } ],
	[ 'dies by reset', { kind => 'die', reset => $true } ],
	[ 'dies midway', { kind => 'die', when => 'midway', bytes => 1000 } ],
	[ 'dies in an answer', { kind => 'die', when => 'midway', from => 'answer', bytes => 10 } ],
	[ 'dies after', { kind => 'die', when => 'after' } ],
	[ 'early', { kind => 'early', status => 413 } ],
	[ 'ping', { kind => 'ping', count => 20 }, 'harmless' ],
	[ 'settings', { kind => 'settings', steps => [ { initialWindowSize => 100 }, { maxConcurrentStreams => 1 }, { initialWindowSize => 200_000, maxFrameSize => 100_000 }, { maxConcurrentStreams => 50 } ] }, 'harmless' ]);

for my $case (@befalls)
{
	my ($group, $fault, $harmless) = @$case;
	my @rows = map { my $operation = $_; map { prepare("$group: $_ $operation", $operation, $fault) } 1 .. 2 } @operations;

	# a 413 is for what is sent; for the others it is a 503
	$_->{fault} = { %$fault, status => 503 } for grep { $group eq 'early' && $_->{operation} !~ /upload|patch/ } @rows;
	# after GOAWAY below a stream it may not have been passed on (RFC 9113 6.8)
	@rows = grep { $_->{operation} ne 'submit' } @rows if $group eq 'goaway midway';

	$_->{group} = $group for @rows;
	run_rows($group, @rows);
	check_rows($group, @rows);
	check_doubts($group, $harmless ? 0 : scalar(grep { $_->{operation} eq 'submit' } @rows), @rows);
	clear();
}
cmp_ok($front{fal}->ledger->{pings}{answered}, '>', 0, 'PINGs were answered');

# ---------------------------------------------------------------------------
# A connection that dies with many streams in it
# ---------------------------------------------------------------------------
for my $when (qw(before after))
{
	for my $operation (@operations)
	{
		my $group = "crowd $when $operation";
		my @rows = map { prepare("$group: $_ $operation", 'none', undef, group => $group) } 1 .. 24;
		my $where = $OPERATIONS{$operation}{at};
		my %on = (submit => '^POST /fal-ai/', status => '^GET \S+/status', result => '^GET \S+/requests/[\w-]+ ', download => '^GET /files/',
			upload => '^(POST|PUT) /object/videos/', patch => '^PATCH ');

		$front{$where}->fault($on{$operation}, { kind => 'die', streams => 8, when => $when }, times => 8);
		run_rows($group, @rows);
		is($front{$where}->hits, 8, "$group: eight met it");
		check_rows($group, @rows);
		check_doubts($group, $operation eq 'submit' ? $front{$where}->ledger->{broken} : 0, @rows);
		clear();
	}
}

# ---------------------------------------------------------------------------
# A host that speaks HTTP/2 and, to some, HTTP/1.1: while one of those waits for its
# answer, nothing may be sent behind it (libcurl 7.88 does, and gives it the answer).
# ---------------------------------------------------------------------------
{
	my @rows = map { prepare("downgrade: $_ status", 'none', undef, group => 'downgrade') } 1 .. 30;

	$front{fal}->fault('^GET \S+/status', { kind => 'rst', code => $CODE{HTTP_1_1_REQUIRED} }, times => 12);
	$fal->fault('status', { kind => 'delay', ms => 150 }, prompt => '^downgrade', times => -1);
	run_rows('downgrade', @rows);
	$fal->clear_faults;
	is($front{fal}->hits, 12, 'downgrade: twelve were asked for HTTP/1.1');
	cmp_ok($front{fal}->ledger->{requests}{'GET h1'}, '>=', 1, 'downgrade: it was used');
	check_rows('downgrade', @rows);
	check_doubts('downgrade', 0, @rows);
	clear();
}
is($front{$_}->ledger->{pipelined}, 0, "$_: nothing was sent by HTTP/1.1 before the answer to what was sent before") for sort keys %front;

# ---------------------------------------------------------------------------
# One stream at a time
# ---------------------------------------------------------------------------
{
	my @rows = map { prepare("single: $_ " . ($_ % 2 ? 'patch' : 'upload'), 'none', undef, group => 'single') } 1 .. 16;
	my $pid = worker_pid($node);

	$_->call('POST', '/settings', { maxConcurrentStreams => 1 }) for values %front;
	# for connections from now on
	sql($node, "SELECT pg_terminate_backend($pid)");
	wait_for($node, "SELECT pid <> $pid FROM vibevideo.worker_info() WHERE pid IS NOT NULL", 't', 'single: a new worker is there');
	clear();
	run_rows('single', @rows);
	check_rows('single', @rows);
	check_doubts('single', 0, @rows);
	is($front{$_}->ledger->{max_streams}, 1, "single: $_: never more than one stream on a connection") for sort keys %front;
}

done_testing();
