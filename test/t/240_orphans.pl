# What was sent counts, whatever has become of its transaction: for its user's
# limits from the moment of the rollback on, for the costs, and as a video that
# need not be paid for twice.  And nobody else's request is taken for ours.

use strict;
use warnings FATAL => 'all';

use HTTP::Tiny;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use VibeTest;
use VibeChaos;
use VibeRest;

my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $dir = PostgreSQL::Test::Utils::tempdir();
my $fal = start_fal(default => { list_in_flight => $true });
my $storage = start_storage();

$ENV{VIBETEST_NOSYNC} = "$dir/nosync";
my $nosync = module('nosync');
my $node;
{
	local $ENV{LD_PRELOAD} = $nosync;
	$node = vibe_node('main', fal => $fal, storage => $storage, conf => {
		'fsync' => 'on',
		'restart_after_crash' => 'on',
		'vibevideo.submit_timeout' => '60s',
		'vibevideo.unknown_after' => '1s' });
}

$fal->rule('^held: ', hold => 'queue');

# A call of that user; SQLSTATE and text of its error.
sub as
{
	my ($user, $statement) = @_;

	return sql_error($node, qq{SET request.jwt.claims = '{"sub": "$user"}'; $statement});
}

sub limits
{
	my ($user, %limit) = @_;

	sql($node, "DELETE FROM vibevideo.limit WHERE true");
	sql($node, "INSERT INTO vibevideo.limit (user_id, " . join(', ', sort keys %limit) . ") VALUES ('$user', "
		  . join(', ', map { $limit{$_} } sort keys %limit) . ')') if %limit;
	return;
}

# everything that was sent for nobody is cancelled, or paid
sub settled
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until(
		sub {
			return 1 if !journal_files($node) && sql($node, q{SELECT count(*) FROM vibevideo.job WHERE orphan AND vibevideo.is_active(state)}) eq '0';
			hurry($node);
			sleep(0.1);
			return 0;
		}, "$name: all is settled");
}

sub costs
{
	my ($user) = @_;

	return sql($node, "SELECT sum(active), sum(videos), sum(reserved_usd)::float, sum(settled_usd)::float FROM vibevideo.costs WHERE user_id = '$user'");
}

# slots and money that are held
sub held
{
	my ($user) = @_;

	return sql($node, "SELECT count(*), (SELECT coalesce(sum(used), 0)::float FROM vibevideo_internal.till WHERE who = 'user:$user' AND begins >= date_trunc('day', now(), 'UTC')) "
		  . "FROM vibevideo_internal.slot WHERE who = 'user:$user' AND day >= vibevideo_internal.today()");
}

# A video that fal finishes before it hears of the rollback; the row's key.
sub finished_orphan
{
	my ($prompt, $user) = @_;
	my $id = new_row($node, $prompt);

	# fal is told nothing until it is done
	$fal->fault('cancel', { kind => 'http', status => 500, body => { detail => 'later' } }, prompt => "^\Q$prompt\E\$", times => -1);
	as($user, "BEGIN; SELECT FROM vibevideo_submit('$id'); ROLLBACK");
	wait_for($node, "SELECT state, error_code, billed FROM vibevideo.job WHERE orphan AND vibelog_id = '$id'", 'failed|orphaned|t',
		"$prompt: fal was faster than the cancel", hurry => 1);
	return $id;
}

# -- limits ---------------------------------------------------------------------------------------
{
	my %limit = (max_active => 1, submits_per_day => 1, spend_per_day_usd => 0.5);
	my %how = (
		'one by one' => sub { my ($id) = @_; return join(' ', map { (as('ann', "SELECT (status)::int FROM vibevideo_submit('$id')"))[0] } 1 .. 20) },
		'one session' => sub {
			my ($id) = @_;
			my $call = "BEGIN; SELECT FROM vibevideo_submit('$id'); ROLLBACK;\n" x 20;
			my ($rc, $out, $err) = $node->psql('postgres', qq{SET request.jwt.claims = '{"sub": "ann"}';\n$call}, on_error_stop => 0,
				extra_params => [ '-v', 'VERBOSITY=verbose' ]);

			return join(' ', '22P02', $err =~ /^psql:[^\n]*ERROR:  (PT...): /mg);
		},
		'one transaction' => sub {
			my ($id) = @_;
			my $out = cli($node, <<"SQL");
SET request.jwt.claims = '{"sub": "ann"}';
CREATE TEMP TABLE codes (n serial, code text);
DO \$\$ BEGIN
	FOR i IN 1 .. 20 LOOP
		BEGIN
			PERFORM (v.status)::int FROM vibevideo_submit('$id') v;
		EXCEPTION WHEN OTHERS THEN
			INSERT INTO codes (code) VALUES (SQLSTATE);
		END;
	END LOOP;
END \$\$;
SELECT string_agg(code, ' ' ORDER BY n) FROM codes;
SQL
			return $out;
		});

	for my $name (sort keys %how)
	{
		my $prompt = "held: $name";
		my $id = new_row($node, $prompt);
		my $worker = worker_pid($node);

		limits('ann', %limit);
		# the limits do not depend on how fast it is
		kill('STOP', $worker) if $worker;
		my $codes = $how{$name}->($id);
		kill('CONT', $worker) if $worker;
		like($codes, qr/^22P02(?: PT4(?:29|02)){19}$/, "limits, $name: of twenty that are rolled back one is sent");
		is(scalar($fal->renders($prompt)), 1, "limits, $name: and fal has one");
		settled("limits, $name");
		is(costs('ann'), '0|0|0|0', "limits, $name: it costs nothing");
		is(held('ann'), '0|0', "limits, $name: and gives back what it had");
		my $video = sql($node, qq{SET request.jwt.claims = '{"sub": "ann"}'; SELECT status FROM vibevideo_submit('$id'); RESET request.jwt.claims});
		is($video, 'queued', "limits, $name: then there is room again");
		sql($node, "SELECT FROM vibevideo_cancel('$id')");
		wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id' AND NOT orphan", 'cancelled', "limits, $name: and again", hurry => 1);
	}
}
# while fal has it, it is the user's; more than the limit are counted, too
{
	my @ids = map { new_row($node, "held: more $_") } 1 .. 3;

	limits('bob', max_active => 2, submits_per_day => 2, spend_per_day_usd => 1);
	$fal->fault('cancel', { kind => 'http', status => 500, body => { detail => 'later' } }, prompt => '^held: more', times => -1);
	# makes the slots
	as('bob', "SELECT FROM vibevideo_submit('$ids[0]'); SELECT FROM vibevideo_cancel('$ids[0]')");
	my $session = background_sql($node);
	$session->query(q{SET request.jwt.claims = '{"sub": "bob"}'; BEGIN; DELETE FROM vibevideo.limit WHERE true});
	$session->query("SELECT FROM vibevideo_submit('$ids[$_]')") for 1 .. 2;
	$session->query('ROLLBACK');
	wait_for($node, 'SELECT count(*) FROM vibevideo.job WHERE orphan AND state = \'queued\'', '2', 'more: two are sent for nobody');
	is(costs('bob'), '3|0|1.5|0', 'more: they are bob\'s, and so is what they may cost');
	my ($state, $text) = as('bob', "SELECT FROM vibevideo_submit('$ids[1]')");
	is($state, 'PT429', 'more: beyond his limit');
	$fal->clear_faults;
	settled('more');
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibevideo.is_active(state) AND requested_by = 'bob'", '0', 'more: all are cancelled', hurry => 1);
	is(held('bob'), '0|0', 'more: no slot is taken any more, nor any money');
	is((as('bob', "SELECT FROM vibevideo_submit('$ids[1]')"))[0], '', 'more: then there is room again');
	sql($node, "SELECT FROM vibevideo_cancel('$ids[1]')");
}

# Tills are made by a submit, for the jobs there are; one of them ends before its commit.
{
	my @ids = map { new_row($node, "held: made $_") } 1 .. 3;

	as('amy', "SELECT FROM vibevideo_submit('$ids[0]')");
	limits('amy', spend_per_day_usd => 1);
	my $session = background_sql($node);
	$session->query(q{SET request.jwt.claims = '{"sub": "amy"}'});
	$session->query($_) for 'BEGIN', "SELECT FROM vibevideo_submit('$ids[1]')";
	sql($node, "SELECT FROM vibevideo_cancel('$ids[0]')");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$ids[0]'", 'cancelled', 'made: one is cancelled meanwhile', hurry => 1);
	$session->query('COMMIT');
	$session->quit;
	is((as('amy', "SELECT FROM vibevideo_submit('$ids[2]')"))[0], '', 'made: its money is there again');
	is(held('amy'), '0|1', 'made: and only that of the others is held');
	sql($node, "SELECT FROM vibevideo_cancel('$ids[$_]')") for 1, 2;
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE requested_by = 'amy' AND vibevideo.is_active(state)", '0', 'made: all are cancelled', hurry => 1);
	is(held('amy'), '0|0', 'made: and nothing is');
	limits('amy');
}

# -- a video that was made for nobody --------------------------------------------------------------
{
	my $prompt = 'finished';
	limits('eve', submits_per_day => 1, spend_per_day_usd => 0.5);
	my $id = finished_orphan($prompt, 'eve');

	is(costs('eve'), '0|1|0|0.5', "$prompt: it costs, and costs names its user");
	like((as('eve', "SELECT FROM vibevideo_submit('$id')"))[0], qr/^PT4/, "$prompt: it counts for today");
	like(sql($node, q{SELECT hint FROM vibevideo_internal.check_jobs() WHERE check_name = 'dead_letters'}), qr/vibevideo_retry/, "$prompt: check_config says what to do");

	is((as('mallory', "SELECT FROM vibevideo_retry('$id')"))[0], 'PT404', "$prompt: another user has no video here");
	sql($node, "UPDATE vibelogs SET prompt = 'another' WHERE id = '$id'");
	is((as('eve', "SELECT FROM vibevideo_retry('$id')"))[0], 'PT404', "$prompt: nor has a row with another text");
	sql($node, "UPDATE vibelogs SET prompt = '$prompt' WHERE id = '$id'");
	my $video = video($node, "vibevideo_retry('$id')");
	is("$video->{status} $video->{attempt}", 'processing 1', "$prompt: vibevideo_retry copies it");
	wait_for_status($node, $id, 'completed');
	is(scalar($fal->renders($prompt)), 1, "$prompt: without another render");
	is($storage->object($id)->{sha256}, ($fal->renders($prompt))[0]{media_sha256}, "$prompt: it is stored");
	is(costs('eve'), '0|1|0|0.5', "$prompt: and costs no more");
	is(sql($node, "SELECT orphan, state, cancel_requested_at IS NULL FROM vibevideo.job WHERE vibelog_id = '$id'"), 'f|completed|t', "$prompt: its job is the row's");
	limits('eve');
}
# A newer job without a video does not hide it, one that is active does.
{
	my $prompt = 'finished, then failed';
	my $id = finished_orphan($prompt, 'eve');

	$fal->fault('submit', { kind => 'http', status => 422, body => { detail => 'no' } }, prompt => "^$prompt\$");
	is(submit($node, $id)->{status}, 'failed', "$prompt: the next attempt is refused");
	is(video($node, "vibevideo_retry('$id')")->{attempt}, 2, "$prompt: retry copies the one that was paid for");
	wait_for_status($node, $id, 'completed');
	is(scalar($fal->renders($prompt)), 1, "$prompt: one render");
}

# The operator's retry, by the job's number.
{
	my $prompt = 'finished, operator';
	my $id = finished_orphan($prompt, 'eve');

	is(sql($node, "SELECT status FROM vibevideo.job j, vibevideo.retry(j.job_id) WHERE j.vibelog_id = '$id'"), 'processing', "$prompt: vibevideo.retry copies it");
	wait_for_status($node, $id, 'completed');
	is(scalar($fal->renders($prompt)), 1, "$prompt: one render");
}

# -- the journal's format of 0.1.0 ---------------------------------------------------------------------
sub crc32c
{
	my ($bytes) = @_;
	my $crc = 0xffffffff;

	for my $byte (unpack('C*', $bytes))
	{
		$crc ^= $byte;
		$crc = ($crc & 1) ? ($crc >> 1) ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
	}
	return $crc ^ 0xffffffff;
}

# a request of another client of the account
my $stranger = http_client();

sub stranger_submits
{
	my ($input) = @_;
	my $answer = $stranger->post($fal->url . '/fal-ai/minimax/video-01',
		{ content => JSON::PP::encode_json($input), headers => { authorization => 'Key key-id:key-secret', 'content-type' => 'application/json' } });

	return JSON::PP::decode_json($answer->{content})->{request_id};
}

sub render
{
	my ($request_id) = @_;

	return (grep { $_->{request_id} eq $request_id } @{ $fal->ledger->{jobs} })[0];
}

sub old_record
{
	my ($kind, $outcome, $request_id, @texts) = @_;
	my $texts = join('', map { "$_\0" } @texts);
	my $length = (208 + length($texts) + 7) & ~7;
	# since 2000, some minutes ago
	my $at = (time() - 946684800 - 100) * 1_000_000;
	my $rest = pack('LLQ q q q q l l a129 x3 LLL a*', $length, $kind, 3, 99, 7, $at, $at, 1, $outcome, $request_id,
		(map { length($_) + 1 } @texts), (0) x (3 - @texts), $texts);

	$rest .= "\0" x ($length - 8 - length($rest));
	return pack('LL', 0x76766a32, crc32c($rest)) . $rest;
}
{
	my $prompt = 'held: old journal';
	my $id = new_row($node, $prompt);
	my $request_id = stranger_submits({ prompt => $prompt });
	my $oid = sql($node, q{SELECT oid FROM pg_database WHERE datname = current_database()});
	my $path = $node->data_dir . "/pg_vibevideo/$oid.4194305.1";

	$node->stop;
	append_to_file($path, old_record(0, 0, '', $id, 'fal-ai/minimax/video-01', qq({"prompt": "$prompt"})) . old_record(1, 0, $request_id) . "\0" x 8192);
	{
		local $ENV{LD_PRELOAD} = $nosync;
		$node->start;
	}
	sql($node, 'SELECT vibevideo.wake()');
	wait_for($node, "SELECT state, request_id, requested_by IS NULL FROM vibevideo.job WHERE orphan AND vibelog_id = '$id'", "cancelled|$request_id|t",
		"$prompt: what it holds is settled", hurry => 1);
	isnt(render($request_id)->{cancel_requested_at}, undef, "$prompt: and cancelled");
	wait_until(sub { return !-e $path }, "$prompt: the file is gone");
}

# -- what could not be written down is not sent, and leaves nothing -------------------------------------
{
	my $prompt = 'held: not synced';
	my $id = new_row($node, $prompt);
	my $other = stranger_submits({ prompt => $prompt });

	submit($node, new_row($node, 'held: makes the session\'s file'));
	append_to_file($ENV{VIBETEST_NOSYNC}, '');
	my ($well, $text) = VibeTest::try_sql($node, "SELECT FROM vibevideo_submit('$id')");
	unlink($ENV{VIBETEST_NOSYNC});
	like($text, qr/could not fsync vibevideo journal file/, "$prompt: an error");
	$other = [ $other, stranger_submits({ prompt => $prompt }) ];
	settled($prompt);
	is(scalar($fal->renders($prompt)), 2, "$prompt: nothing was sent");
	is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id'"), '0', "$prompt: no orphan is left");
	is(scalar(grep { render($_)->{cancel_requested_at} } @{$other}), 0, "$prompt: and nobody else's request was cancelled");
}

# -- what is cancelled must surely be ours --------------------------------------------------------------
{
	my %case = (
		'more input' => sub { return stranger_submits({ prompt => $_[0], seed => 1 }) },
		'two of them' => sub { return map { stranger_submits({ prompt => $_[0] }) } 1 .. 2 });

	for my $name (sort keys %case)
	{
		my $prompt = "held: another's, $name";
		my $id = new_row($node, $prompt);
		my ($session, $pid) = hung_submit($node, $fal, $id, 'hang', $prompt);
		my @others = $case{$name}->($prompt);

		kill_process($node, $pid);
		wait_up($node);
		wait_for($node, "SELECT state, error_code FROM vibevideo.job WHERE orphan AND vibelog_id = '$id'", 'cancelled|submit_lost', "$prompt: the orphan ends", hurry => 1);
		like(job_of($node, $id)->{error}, qr/like it/, "$prompt: and says why it may not be");
		is(scalar(grep { render($_)->{cancel_requested_at} } @others), 0, "$prompt: the other program's request goes on");
		eval { $session->quit; };
	}
	my $prompt = 'held: ours';
	my $id = new_row($node, $prompt);
	my ($session, $pid) = hung_submit($node, $fal, $id, 'hang_after', $prompt);
	kill_process($node, $pid);
	wait_up($node);
	wait_for($node, "SELECT state, request_id IS NOT NULL FROM vibevideo.job WHERE orphan AND vibelog_id = '$id'", 'cancelled|t', "$prompt: our own is found", hurry => 1);
	isnt(($fal->renders($prompt))[0]{cancel_requested_at}, undef, "$prompt: and cancelled");
	eval { $session->quit; };
}

# -- tenants ----------------------------------------------------------------------------------------
{
	sql($node, 'ALTER TABLE vibelogs ADD COLUMN team text');
	sql($node, q{SELECT vibevideo.attach('vibelogs', tenant_column => 'team')});
	sql($node, 'DELETE FROM vibevideo.limit WHERE true');
	sql($node, q{INSERT INTO vibevideo.limit (scope, tenant, submits_per_hour, spend_per_month_usd) VALUES ('tenant', 'acme', 1, 100)});
	my @id = map { new_row($node, "held: team $_") } 1 .. 2;
	sql($node, q{UPDATE vibelogs SET team = 'acme' WHERE prompt LIKE 'held: team%'});
	# it stays there until the next has asked
	$fal->fault('cancel', { kind => 'http', status => 500, body => { detail => 'later' } }, prompt => '^held: team 1$', times => 2);
	as('gil', "BEGIN; SELECT FROM vibevideo_submit('$id[0]'); ROLLBACK");
	my ($state, $text) = as('hal', "SELECT vibevideo_submit('$id[1]')");
	is($state, 'PT429', 'a tenant: another user of it is over the limit');
	like($text, qr/Limit submits_per_hour of tenant acme is reached/, 'and reads which');
	wait_for($node, "SELECT tenant, requested_by FROM vibevideo.job WHERE orphan AND vibelog_id = '$id[0]'", 'acme|gil', 'the orphan is of its tenant', hurry => 1);
	settled('a tenant');
	is(sql($node, qq{SET request.jwt.claims = '{"sub": "hal"}'; SELECT status FROM vibevideo_submit('$id[1]')}), 'queued', 'once it is cancelled, the next is let in');
	is(sql($node, q{SELECT kind, sum(used)::float FROM vibevideo_internal.till WHERE who = 'tenant:acme' GROUP BY 1 ORDER BY 1}), "spend_month|0.5\nsubmits_hour|1", 'and only that counts');
}

done_testing();
