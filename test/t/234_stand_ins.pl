# Developing an app without fal.ai: the stand-ins are started, set up and given
# trouble as the guide says, and the app sees what it says.

use strict;
use utf8;
use warnings FATAL => 'all';

use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeDocs;
use VibeRest;
use VibeTest;

my %shell = recipes('sh');
my %recipe = recipes('sql');
my $http = HTTP::Tiny->new(timeout => 30, keep_alive => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();
my %groups;

# The ports of the guide, and those that are free here.
my %port = map { $_ => PostgreSQL::Test::Cluster::get_free_port() } 4001 .. 4004;
my ($fal, $storage) = map { "http://127.0.0.1:$port{$_}/_ctl" } 4001, 4002;

sub with_ports
{
	my ($text) = @_;

	$text =~ s/\b(400[1-4])\b/$port{$1}/g;
	return $text;
}

# start(block, n) - what a shell is told to do in the background; returns what each
# of the n programs says when it is ready.  They are in a group of processes of their own.
sub start
{
	my ($block, $n) = @_;
	my $out = "$dir/" . scalar(keys %groups) . '.json';
	my @lines;
	my $pid = fork() // die "fork: $!\n";

	if ($pid == 0)
	{
		setpgrp(0, 0);
		open(STDOUT, '>', $out) or die "$out: $!\n";
		exec('bash', '-c', "$block\nwait") or die "bash: $!\n";
	}
	$groups{$pid} = 1;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_until(sub { return -e $out && (@lines = slurp_file($out) =~ /^(\{.*\})\n/mg) == $n }, "programs that are ready: $n");
	return map { decode_json($_) } @lines;
}

my $owner = $$;

END
{
	if ($$ == $owner)
	{
		local $?;
		for my $pid (keys %groups)
		{
			kill 'TERM', -$pid;
			waitpid($pid, 0);
		}
	}
}

# what a stand-in of the guide is asked beside it
sub ask
{
	my ($url, $body) = @_;
	my $answer = $http->request(defined $body ? 'POST' : 'GET', $url, defined $body ? { content => encode_json($body) } : {});

	die "$url: $answer->{status} $answer->{content}\n" unless $answer->{success};
	return decode_json($answer->{content});
}

# fal.ai goes on with a row's job at once, or with all
sub goes_on
{
	my ($node, $id) = @_;
	my $request_id = defined $id ? job_of($node, $id)->{request_id} : '*';

	ask("$fal/job/$request_id", { action => $_ }) for qw(start finish);
	return;
}

# ---------------------------------------------------------------------------
# Starting them
# ---------------------------------------------------------------------------
my ($first, $second) = start(with_ports($shell{'stand-ins'}), 2);
is_deeply([ sort($first->{port}, $second->{port}) ], [ sort(@port{ 4001, 4002 }) ], 'fal.ai and Storage are where the guide says');

my $node = vibe_node('main', conf => {
	'vibevideo.ca_file' => undef, 'vibevideo.poll_interval' => undef, 'vibevideo.max_renders' => 1, 'vibevideo.unknown_after' => '1h',
	# nothing is tried again before it was seen to have failed
	'vibevideo.backoff_base' => '1min', 'vibevideo.backoff_max' => '1min' });
supabase_roles($node);
my $set = with_ports($recipe{'stand-in-settings'});
my @names = $set =~ /^ALTER SYSTEM SET ([\w.]+) /mg;
sql($node, $set);
wait_for($node, 'SHOW vibevideo.poll_interval', '1s', 'the settings are in force');
is(sql($node, q{SELECT string_agg(check_name || ' ' || status, ', ') FROM vibevideo.check_config() WHERE status <> 'ok'}), 'media_hosts warn',
	'check_config warns of media_hosts only');

my $id = new_row($node, 'a red kite');
is(submit($node, $id)->{message}, 'Video queued', 'a video is asked for');
wait_for_status($node, $id, 'completed', name => 'and is there, after a while');
my $url = sql($node, "SELECT video_url FROM vibelogs WHERE id = '$id'");
my $public = "http://127.0.0.1:$port{4003}/storage/v1/object/public/videos/";
like($url, qr/^\Q$public\E/, 'in Storage');
is($http->get($url)->{status}, 200, 'its URL opens');

# what the app calls
{
	my ($host, $server) = ($node->host, $node->port);
	my $block = with_ports($shell{'stand-in-postgrest'}) =~ s{/var/run/postgresql}{$host}r =~ s{--db-port 5432 --db-name app}{--db-port $server --db-name postgres}r;
	my ($rest) = start($block, 1);
	my %headers = (apikey => $rest->{publishable_key}, authorization => bearer('service_role', undef), 'content-type' => 'application/json');

	unlike($block, qr/\b5432\b/, 'the guide names the database\'s port');
	is($rest->{gateway_url}, "http://127.0.0.1:$port{4004}/rest/v1", 'PostgREST is where the guide says');
	sql($node, 'GRANT SELECT, UPDATE ON vibelogs TO service_role');
	my $answer = $http->post("$rest->{gateway_url}/rpc/vibevideo_status", { headers => \%headers, content => encode_json({ vibelog_id => $id }) });
	is($answer->{status}, 200, 'and answers') or diag($answer->{content});
	is(decode_json($answer->{content})->{video_url}, $url, 'with the video');
}

# ---------------------------------------------------------------------------
# Trouble
# ---------------------------------------------------------------------------
my @trouble = split /^(?=#)/m, with_ports($shell{'stand-in-trouble'});
my $has_curl = system('command -v curl >/dev/null') == 0;

# the next one of the guide, whose comment must match
sub trouble
{
	my ($about) = @_;
	my ($comment, @lines) = split /\n/, shift @trouble;

	like($comment, $about, "the guide: $comment");
	for my $line (@lines)
	{
		my ($to, $body) = $line =~ m{^curl -fsS (?:-X POST )?(http://\S+)(?: -d '([^']*)')?$} or die "this is not known: $line\n";
		if ($has_curl) { command_ok([ 'bash', '-c', $line ], $line) }
		else { is($http->post($to, { content => $body // '' })->{status}, 200, $line) }
	}
	return;
}

# asks for a video, and returns the row's key and what the app gets
sub ask_for
{
	my ($prompt) = @_;
	my $row = new_row($node, $prompt);

	return ($row, submit($node, $row));
}

sub ok_message
{
	my ($row, $message, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_for($node, "SELECT message FROM vibevideo_status('$row')", $message, $name, hurry => 1);
}

my ($row, $video);

trouble(qr/12 others/);
($row) = ask_for('slow');
ok_message($row, 'Video queued, 12 ahead of you', 'it waits behind 12 others');
my $default = ask("$fal/default");
is("$default->{queue_ms} $default->{run_ms}", '30000 60000', 'for half a minute, then a minute');

trouble(qr/are rejected, .* cannot be rendered/);
for my $case ([ 'a zombie', qr/^Failed: the provider rejects this content/ ], [ 'a volcano', 'Failed: the provider could not make the video' ])
{
	my ($prompt, $message) = @$case;

	($row) = ask_for($prompt);
	goes_on($node, $row);
	ok_message($row, $message, "$prompt: the user reads why");
}

trouble(qr/next two submits/);
for my $nth (1, 2)
{
	($row, $video) = ask_for("busy $nth");
	is("$video->{status} $video->{error_code}", 'queued http_503', "fal.ai is busy: submit $nth");
	like($video->{message}, qr/^Waiting to be sent again \(try 2\): the provider is busy$/, 'which the user reads');
}
wait_for($node, "SELECT request_id IS NOT NULL FROM vibevideo_status('$row')", 't', 'and is sent again', hurry => 1);

trouble(qr/answer to the next one is lost/);
($row, $video) = ask_for('lost');
like($video->{message}, qr/^The provider's answer was lost/, 'the answer is lost');
is(job_of($node, $row)->{state}, 'submit_unknown', 'and it is not known whether fal.ai has it');
goes_on($node);
wait_for_status($node, $row, 'completed', name => 'which is found out');

trouble(qr/20 kB a second/);
($row) = ask_for('slow file');
goes_on($node, $row);
ok_message($row, qr/^Copying/, 'the copy can be watched');
wait_for_status($node, $row, 'completed', name => 'and comes to its end');

trouble(qr/next upload fails/);
($row) = ask_for('an upload that fails');
goes_on($node, $row);
wait_for($node, "SELECT tries FROM vibevideo.job WHERE vibelog_id = '$row'", '1', 'the copy fails, and is tried again');
wait_for_status($node, $row, 'completed', name => 'and stored');

trouble(qr/as at the start/);
is_deeply(\@trouble, [], 'there is no more in the guide');
is_deeply([ @{ ask("$fal/default") }{qw(queue_ms run_ms queue_position)} ], [ 3000, 5000, undef ], 'all is as at the start');
is_deeply(ask("$fal/fault"), [], 'fal.ai is well');
is_deeply(ask("$fal/ledger")->{jobs}, [], 'and has forgotten its jobs');
is_deeply(ask("$storage/ledger")->{objects}, [], 'Storage its files');

# what is misspelt is refused, and would otherwise play nothing
for my $case (
	[ fault => { on => 'submitt', fault => { kind => 'reset_after' } }, qr/unknown value of on submitt; known are: .*\bsubmit\b/ ],
	[ fault => { on => 'submit', fault => { kind => 'reset_aftr' } }, qr/unknown kind reset_aftr; known are: .*\breset_after\b/ ],
	[ fault => { on => 'submit', fault => { kind => 'delay', sm => 5 } }, qr/unknown field of a fault sm; known are: .*\bms\b/ ],
	[ rule => { promt => 'x', behaviour => { outcome => 'policy' } }, qr/unknown field promt; known are: prompt,/ ],
	[ rule => { prompt => 'x', behaviour => { outcome => 'polici' } }, qr/unknown outcome polici; known are: .*\bpolicy\b/ ])
{
	my ($what, $body, $error) = @$case;
	my $answer = $http->post("$fal/$what", { content => encode_json($body) });

	is($answer->{status}, 400, "a $what that is no good: refused");
	like($answer->{content}, $error, 'with what would be');
}
is_deeply(ask("$fal/fault"), [], 'and not kept');

# back to the real ones
sql($node, join('', map { "ALTER SYSTEM RESET $_;\n" } @names) . 'SELECT pg_reload_conf()');
wait_for($node, q{SELECT count(*) FROM vibevideo.settings WHERE source = 'configuration file' AND file ~ 'auto.conf'}, '0', 'and the settings go as they came');

done_testing();
