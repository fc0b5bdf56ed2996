# What a user reads is ours: whatever servers, gateways and triggers say, no host,
# port, setting, URL, key or page gets into message, error and the row.  Operators
# read all of it.

use strict;
use utf8;
use warnings FATAL => 'all';

use JSON::PP;
use Test::More;
use VibeDocs;
use VibeTest;

my $fal = start_fal(default => { list_in_flight => JSON::PP::false });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'vibevideo.max_tries' => 2,
	'vibevideo.unknown_after' => '1h',
	'vibevideo.max_renders' => 1,
	'vibevideo.fal_api_url' => $fal->url . '/v1' });

my @HOSTILE = (
	'http://evil.internal:8443/v1?key=sk-0123456789abcdef0123456789 refused it',
	'evil.internal has no such host, tried 10.9.8.7 port 5432',
	'<html><head><title>502 Bad Gateway</title></head><body>nginx/1.25.3 at evil</body></html>',
	'Traceback (most recent call last): File "/app/evil.py", line 3, in handler',
	'raise vibevideo.max_active or set vibevideo.fal_queue_url, evil',
	"evil\r\nX-Header: 1\r\nAuthorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.Y4c",
	'FATAL: password authentication failed for user "postgres" on evil');
my $FORBIDDEN = qr{https?:|://|\bwww\.|\d\.\d+\.\d|:\d{2,5}\b|vibevideo[._]|\bfal\b|localhost|evil|internal|nginx|cloudflare|gateway|unavailable
	|\bHTTP\b|[<>\{\}\\\r\n]|traceback|exception|SQL|postgres|Storage|Vault|worker|launcher|breaker|\bport\b|\bhost\b|server|sk-|api.?key|bearer
	|max_|timeout|\b[45]\d\d\b(?!\ ahead)|\bline\ \d|Authorization|\bFATAL\b}xi;

# -- every state with every error -----------------------------------------------------------------------
{
	my %codes = map { $_ => 1 } manual_section('error_codes') =~ /`([a-z_]+)`(?=[^|]*\| [a-z]+ \|)/g;

	cmp_ok(scalar(keys %codes), '>', 50, 'the manual has error codes');
	$codes{$_} = 1 for qw(content_policy_violation literal_error runner_disconnected generation_timeout http_402 http_429 http_500 http_503 remote_limit
	  EntityTooLarge InvalidJWT SlowDown something_new evil.internal:8443 http:__evil_internal);
	sql($node, 'CREATE TABLE code (error_code text); CREATE TABLE words (error text)');
	sql($node, 'INSERT INTO code VALUES (NULL), ' . join(', ', map { "('$_')" } sort keys %codes));
	sql($node, 'INSERT INTO words VALUES (' . join('), (', map { s/'/''/gr =~ s/\r/\\r/gr =~ s/\n/\\n/gr =~ s/^/E'/r =~ s/$/'/r } @HOSTILE) . ')');
	my $worker = stop_worker($node);
	# as if it had gone through all that: no trigger looks at the moves
	sql($node, <<'SQL');
SET session_replication_role = replica;
ALTER TABLE vibevideo.job DISABLE TRIGGER ALL;
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, request_id, queue_position, tries, crashes, error_code, error, row_error, row_dirty, next_at,
	leased_by, cancel_requested_at, media_url, bytes_done, bytes_total, bytes_per_second, sent_at, submitted_at, generated_at, completed_at)
SELECT 'vibelogs'::regclass, row_number() OVER (), s.state, 'evil.internal/model', '{"prompt": "evil"}', NULL, CASE WHEN v.n = 2 THEN 3 END, v.n, CASE WHEN v.n = 5 THEN 3 ELSE 0 END, c.error_code, w.error, w.error, v.n = 6,
	CASE WHEN s.active THEN now() + interval '1 h' * (v.n - 1) END, CASE WHEN v.n = 3 AND s.active THEN 1 END, CASE WHEN v.n = 4 THEN now() END,
	CASE WHEN v.n > 1 THEN 'http://evil.internal/v.mp4' END, v.n, CASE WHEN v.n > 1 THEN 10 END, v.n, now(), now(), CASE WHEN v.n > 1 THEN now() END, CASE WHEN NOT s.active THEN now() END
FROM (SELECT x.state, vibevideo.is_active(x.state) AS active FROM unnest(ARRAY['pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing', 'completed', 'failed', 'cancelled']) x(state)) s
CROSS JOIN (SELECT x.error_code, row_number() OVER () AS nr FROM code x) c CROSS JOIN generate_series(0, 6) AS v(n)
-- each code with each of them, once
JOIN (SELECT x.error, row_number() OVER () - 1 AS nr FROM words x) w ON w.nr = (c.nr + v.n) % 7;
ALTER TABLE vibevideo.job ENABLE TRIGGER ALL;
ALTER TABLE vibevideo.job ENABLE ALWAYS TRIGGER job_changing, ENABLE ALWAYS TRIGGER job_changed, ENABLE ALWAYS TRIGGER jobs_deleted;
RESET session_replication_role;
SQL
	my $all = sql($node, 'SELECT count(*) FROM vibevideo.job');
	my %sentences;
	my %begins = (pending => 'Waiting to be sent', submitting => 'Being sent', submit_unknown => "The provider's answer was lost", queued => 'Video queued',
		generating => '(?:AI is generating|The provider restarted)', processing => '(?:Copying|Your video is made)', completed => 'Your video is ready',
		failed => 'Failed', cancelled => 'Cancelled');
	my $look = sub {
		my ($name) = @_;
		my %said = map { $_ => 1 } split /\n/, sql($node, q{SELECT DISTINCT f.key || ': ' || f.value FROM vibevideo.job j,
			jsonb_each_text(to_jsonb(vibevideo.describe(j)) - '{vibelog_id,video_url,error_code,submitted_at,updated_at,completed_at}'::text[]) f WHERE f.value IS NOT NULL});
		my @bad = grep { /$FORBIDDEN/ && !/^waits_for: / } sort keys %said;

		is(join("\n", @bad), '', "$name: no user reads what is not his");
		$sentences{$_} = 1 for grep { /^message: / } keys %said;
		my @of_another = grep { my ($state, $message) = split /\|/; $message !~ /^(?:Cancelling$|$begins{$state})/ } split /\n/,
		  sql($node, 'SELECT DISTINCT j.state, vibevideo_internal.job_message(j) FROM vibevideo.job j');
		is(join("\n", @of_another), '', "$name: each message is one of its state");
		return;
	};

	cmp_ok($all, '>', 4000, "$all jobs");
	$look->('as it is');
	is(sql($node, q{SELECT count(*) FROM vibevideo.job j WHERE j.state = 'failed' AND vibevideo_internal.shown_error(j) IS NULL}), '0', 'each that failed has a sentence');
	is(sql($node, q{SELECT count(*) FROM vibevideo.job j WHERE vibevideo_internal.job_message(j) IS NULL}), '0', 'each job has one');
	like(sql($node, q{SELECT string_agg(why, ' ') FROM (SELECT DISTINCT why FROM vibevideo.jobs WHERE state = 'pending') x}), qr/evil/, 'operators read more');
	for my $case (
		[ 'sending is paused', q{SELECT vibevideo.pause('sending', 'evil.internal')}, 'SELECT vibevideo.resume()' ],
		[ 'all is paused', q{SELECT vibevideo.pause('all', 'evil.internal')}, 'SELECT vibevideo.resume()' ],
		[ 'a copy', 'UPDATE vibevideo.binding SET system_identifier = 7', 'SELECT vibevideo.resume()' ],
		[ 'due', q{UPDATE vibevideo.job SET next_at = now() - interval '1 h' WHERE state = 'pending'}, 'SELECT 1' ],
		[ 'vibevideo.max_active', q{SET vibevideo.max_active = 3}, 'RESET vibevideo.max_active' ],
		[ 'no storage_url', q{SET vibevideo.storage_url = ''}, 'RESET vibevideo.storage_url' ],
		[ 'another version', q{UPDATE pg_extension SET extversion = '9.9.9' WHERE extname = 'vibevideo'}, q{UPDATE pg_extension SET extversion = '0.2.0' WHERE extname = 'vibevideo'} ],
		[ 'no table', 'SELECT vibevideo.detach(true)', q{SELECT vibevideo.attach('vibelogs')} ])
	{
		sql($node, $case->[1]);
		$look->($case->[0]);
		sql($node, $case->[2]);
	}
	note(join("\n", sort keys %sentences));
	sql($node, 'TRUNCATE vibevideo.job');
	kill('CONT', $worker);
}

# -- every way for words to come in ------------------------------------------------------------------------
my %told;

# What the users of all jobs read just now.
sub listen_in
{
	for my $line (split /\n/, sql($node, q{SELECT j.vibelog_id, f.key || ': ' || f.value FROM vibevideo.job j,
		jsonb_each_text(to_jsonb(vibevideo.describe(j)) - '{vibelog_id,request_id,video_url,error_code,waits_for,submitted_at,updated_at,completed_at}'::text[]) f WHERE f.value IS NOT NULL
		UNION ALL SELECT v.id::text, 'row: ' || v.video_generation_error FROM vibelogs v WHERE v.video_generation_error IS NOT NULL}))
	{
		my ($id, $said) = split /\|/, $line, 2;
		$told{$id}{$said} = 1;
	}
	return;
}

sub http
{
	my ($status, $body, %headers) = @_;

	return { kind => 'http', status => $status, body => $body, headers => { 'x-fal-request-id' => 'r', %headers } };
}

my @ways = (
	(map { my $status = $_; [ "submit: $status", submit => sub { http($status, { detail => $_[0] }) } ] } 400, 401, 402, 403, 404, 405, 409, 422, 429, 500, 503),
	(map { my $status = $_; [ "submit: $status in a text", submit => sub { http($status, $_[0], 'content-type' => 'text/plain') } ] } 400, 422, 503),
	[ 'submit: 422 of a field', submit => sub { http(422, { detail => [ { loc => [ 'body', 'prompt' ], msg => $_[0], type => 'value_error' } ] }) } ],
	[ 'submit: 422 of its name', submit => sub { http(422, { detail => [ { loc => [ 'body', $_[0] ], msg => 'Field required', type => 'missing' } ] }) } ],
	[ 'submit: 422 of its type', submit => sub { http(422, { detail => [ { loc => [ 'body', 'prompt' ], msg => 'Field required', type => $_[0] } ] }) } ],
	[ 'submit: an object', submit => sub { http(400, { error => { message => $_[0], type => $_[0] } }) } ],
	[ 'submit: a type in a header', submit => sub { http(400, '', 'x-fal-error-type' => substr($_[0] =~ s/[\r\n]//gr, 0, 40)) } ],
	[ 'submit: a gateway', submit => sub { return { kind => 'gateway', status => 502 } } ],
	[ 'submit: another', submit => sub { return { kind => 'gateway', status => 503 } } ],
	[ 'submit: a redirect', submit => sub { return { kind => 'redirect', status => 307, location => 'http://evil.internal:8443/' } } ],
	[ 'submit: reset', submit => sub { return { kind => 'reset_after' } } ],
	(map { my $status = $_; [ "status: $status", status => sub { http($status, { detail => $_[0] }) } ] } 401, 403, 500),
	(map { my $status = $_; [ "result: $status", result => sub { http($status, { detail => $_[0], error_type => 'internal_error' }) } ] } 400, 422, 500),
	[ 'result: 422 of a field', result => sub { http(422, { detail => [ { loc => [ 'body', 'image_url' ], msg => $_[0], type => 'content_policy_violation' } ] }) } ],
	[ 'result: words', result => sub { http(200, { message => $_[0] }) } ],
	[ 'result: another address', result => sub { http(200, { video => { url => "http://evil.internal:8443/$_[0]" =~ s/[\r\n ]//gr } }) } ],
	[ 'media: 403', media => sub { http(403, $_[0], 'content-type' => 'text/plain') } ],
	[ 'media: a page', media => sub { http(200, $_[0], 'content-type' => 'text/html') } ],
	[ 'media: a redirect', media => sub { return { kind => 'redirect', status => 302, location => 'http://evil.internal:8443/' } } ],
	(map { my $status = $_; [ "upload: $status", upload => sub { http($status, { statusCode => "$status", error => $_[0], message => $_[0] }) } ] } 400, 403, 413, 500),
	[ 'upload: a text', upload => sub { http(400, $_[0]) } ],
	[ 'upload: a gateway', upload => sub { return { kind => 'gateway', status => 504 } } ],
	[ 'trigger', trigger => undef ],
	[ 'list: 403', list => undef ],
	[ 'cancel: 500', cancel => sub { http(500, { detail => $_[0] }) } ]);

sql($node, <<'SQL');
CREATE FUNCTION says() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '%', (SELECT error FROM words OFFSET substring(NEW.prompt FROM '\d+$')::int LIMIT 1);
END
$$;
CREATE TRIGGER says BEFORE UPDATE ON vibelogs FOR EACH ROW WHEN (NEW.prompt LIKE 'trigger%' AND NEW.video_generation_status = 'completed') EXECUTE FUNCTION says();
SQL
my %id;
for my $way (@ways)
{
	my ($name, $on, $fault) = @$way;

	# these bring no words, and several in a row would open the breaker
	for my $n ($name =~ /gateway|another$|reset|redirect/ ? 0 : 0 .. $#HOSTILE)
	{
		my $prompt = "$name, $n";
		my $id = $id{$prompt} = new_row($node, $prompt);
		my $server = $on eq 'upload' ? $storage : $fal;

		$server->fault($on, $fault->($HOSTILE[$n]), $on eq 'upload' ? (key => $id) : (prompt => "^\Q$prompt\E\$"), times => -1) if $fault;
		if ($on eq 'list')
		{
			$fal->fault('submit', 'html200', prompt => "^\Q$prompt\E\$");
			$fal->fault('list', http(403, { detail => $HOSTILE[$n] })) for 1 .. 3;
		}
		$fal->rule("^\Q$prompt\E\$", hold => 'queue') if $on eq 'cancel';
		submit($node, $id);
		sql($node, "SELECT vibevideo_cancel('$id')") if $on eq 'cancel';
	}
	listen_in();
}
# no more than that is wanted of them
my $open = q{SELECT count(*) FROM vibevideo.job j JOIN vibelogs v ON v.id::text = j.vibelog_id
	WHERE j.next_at IS NOT NULL AND v.prompt !~ '^(submit: (reset|500|a gateway|503)|status|list|cancel)' OR j.row_dirty AND v.prompt !~ '^trigger'};
wait_until(sub { listen_in(); hurry($node); return sql($node, $open) eq '0' }, 'what can end has ended', patience => 60, tell => sub { return sql($node, $open =~ s/count\(\*\)/string_agg(v.prompt || ' ' || j.state || ' ' || coalesce(j.error, ''), E'\\n')/r) });
wait_for($node, q{SELECT count(*) FROM vibevideo.job j JOIN vibelogs v ON v.id::text = j.vibelog_id WHERE v.prompt ~ '^(cancel|status)' AND j.error IS NULL}, '0',
	'what fails for ever has failed once', hurry => 1);
listen_in();
my %by_id = reverse %id;
my @bad;
for my $id (sort keys %told)
{
	push @bad, map { ($by_id{$id} // $id) . ": $_" } grep { /$FORBIDDEN/ } sort keys %{ $told{$id} };
}
is(join("\n", @bad), '', 'no user has read what was not for him');
# The ways by which nothing has come in that an operator can read.
sub unread_ways
{
	my %raw = map { /^(.*?), \d+\|(.*)$/s ? ($1 => 1) : () } split /\n/, sql($node, q{SELECT v.prompt, concat_ws(' ', j.error_code, j.error, j.row_error, e.said) FROM vibevideo.job j JOIN vibelogs v ON v.id::text = j.vibelog_id
		CROSS JOIN LATERAL (SELECT string_agg(concat_ws(' ', x.error_code, x.detail), ' ') AS said FROM vibevideo.event x WHERE x.job_id = j.job_id) e
		WHERE concat_ws(' ', j.error_code, j.error, j.row_error, e.said) ~* 'evil|gateway|reset|broke|redirect|not allowed|HTTP 403|text/html'});
	return join(', ', grep { !$raw{$_} } map { $_->[0] } @ways);
}
# some are tried for as long as the test lasts, and their words come with a later try
wait_until(sub { hurry($node); return unread_ways() eq '' }, 'but all of that came in, and operators read it', tell => \&unread_ways);
is(sql($node, q{SELECT count(*) FROM vibelogs WHERE video_generation_error ~ 'Field required'}), scalar(@HOSTILE), 'what a model says of a field is passed on without a name that is none');

# -- what is for users comes to them -----------------------------------------------------------------------
{
	my $id = new_row($node, 'too long');

	$fal->clear_faults;
	$fal->fault('submit', http(422, { detail => [ { loc => [ 'body', 'prompt' ], msg => 'must be at most 2000 characters', type => 'value_error' } ] }), prompt => '^too long$');
	my $video = submit($node, $id);
	is("$video->{status}|$video->{error_code}|$video->{error}", 'failed|value_error|The provider cannot use this input (prompt: must be at most 2000 characters)', 'what the model objects to');
	is($video->{message}, 'Failed: the provider cannot use this input (prompt: must be at most 2000 characters)', 'also in the message');
	is(sql($node, "SELECT video_generation_error FROM vibelogs WHERE id = '$id'"), $video->{error}, 'and in the row');
	is(sql($node, "SELECT error, objection FROM vibevideo.job WHERE vibelog_id = '$id'"), 'prompt: must be at most 2000 characters|prompt: must be at most 2000 characters', 'operators have it, too');
}

done_testing();
