# Through PostgREST: statuses and headers of every answer, each error of the
# manual's table, the API roles' time limits, pg_safeupdate, the schema cache.

use strict;
use warnings FATAL => 'all';
use utf8;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use VibeDocs;
use VibeRest;
use VibeStatus;
use VibeTest;

my $fal = start_fal(default => { hold => 'queue' });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0, conf => { 'vibevideo.poll_interval' => '10s' });
my $listener = background_sql($node);
my $safeupdate = module('safeupdate');

# -- the schema cache -----------------------------------------------------------------------
sub told_to_reload
{
	my ($what, $sql) = @_;

	sql($node, $sql);
	my $heard = () = $listener->query_safe('SELECT 1') =~ /notification "pgrst" with payload "reload schema"/g;
	ok($heard, "$what: PostgREST is told to read the schema again");
	return;
}

$listener->query_safe('LISTEN pgrst');
told_to_reload('CREATE EXTENSION', 'CREATE EXTENSION vibevideo');
supabase_roles($node);
# as on Supabase, the app's tables belong to a role that is no superuser
sql($node, <<'SQL');
CREATE ROLE app LOGIN CREATEROLE;
GRANT CREATE ON SCHEMA public TO app;
SET ROLE app;
CREATE TABLE vibelogs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id text, prompt text);
ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON vibelogs USING (user_id = current_setting('request.jwt.claims', true)::json->>'sub');
GRANT ALL ON vibelogs TO authenticated, service_role;
CREATE TABLE numbered (id bigint PRIMARY KEY, prompt text);
RESET ROLE;
SQL
told_to_reload('attach', q{SELECT vibevideo.attach('vibelogs')});
told_to_reload('another key type', q{SELECT vibevideo.detach(); SELECT vibevideo.attach('numbered')});
told_to_reload('and back', q{SELECT vibevideo.detach(); SELECT vibevideo.attach('vibelogs')});
$listener->quit;

# -- a session as Supabase's API has it ---------------------------------------------------------
sql($node, "ALTER ROLE authenticator SET session_preload_libraries = '$safeupdate'");
sql($node, <<'SQL');
CREATE FUNCTION public.unsafe() RETURNS void LANGUAGE sql AS 'UPDATE public.vibelogs SET prompt = prompt';
CREATE FUNCTION public.nap(seconds float) RETURNS text LANGUAGE sql AS $$ SELECT pg_sleep(seconds)::text $$;
CREATE FUNCTION public.late() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('statement_timeout') $$;
SQL
my $rest = VibeRest->new($node);

# a row of user-1, and what the API says of it
sub row
{
	my ($prompt, $user) = @_;

	return sql($node, "INSERT INTO vibelogs (prompt, user_id) VALUES ('$prompt', '" . ($user || 'user-1') . "') RETURNING id");
}

sub post
{
	my ($name, $arguments, %options) = @_;

	return ($options{rest} || $rest)
	  ->call($options{role} || 'authenticated', $options{sub} || 'user-1', POST => '/rest/v1/rpc/' . $name, $arguments);
}

# names of the headers that a function has set
sub own_headers
{
	my ($answer) = @_;

	return grep { !/^(?:Date|Server|Content-Range|Content-Length|Content-Type|Vary)$/ } map { $_->[0] } @{ $answer->{headers} };
}

is($rest->call('authenticated', 'user-1', POST => '/rpc/unsafe')->{code}, '21000', 'pg_safeupdate is at work');
is($rest->call('anon', undef, GET => '/rpc/late')->{data}, '3s', 'anon has 3 seconds');
is($rest->call('authenticated', 'user-1', GET => '/rpc/late')->{data}, '8s', 'authenticated has 8');
is($rest->call('anon', undef, POST => '/rpc/nap', { seconds => 60 })->{code}, '57014', 'and no more');
is($rest->call('authenticated', 'user-1', GET => '/rpc/nothing')->{status}, 404, 'there is no function of another name');

# -- good answers ----------------------------------------------------------------------------------
# where a browser goes: RFC 3986, as far as it is needed here
sub resolved
{
	my ($base, $location) = @_;

	$base =~ s{[^/]*$}{};
	while ($location =~ s{^\.\./}{}) { $base =~ s{[^/]+/$}{} }
	return $location =~ m{^/} ? $location : $base . $location;
}

my $first = row('the first');
{
	my $answer = post('vibevideo_submit', { vibelog_id => $first });

	note(answer_text($answer));
	is($answer->{status}, 202, 'submit: 202');
	is($answer->{data}{status}, 'queued', 'submit: the body is the video');
	is($answer->{header}{'retry-after'}, '10', 'submit: Retry-After is the poll interval');
	is(join(' ', map { $_->[0] } @{ $answer->{headers} }), 'Date Server Content-Range Content-Length Content-Type Location Retry-After Vary', 'submit: each header once');
	for my $prefix ('', '/rest/v1')
	{
		my $url = resolved("$prefix/rpc/vibevideo_submit", $answer->{header}{location});

		is($url, "$prefix/rpc/vibevideo_status?vibelog_id=$first", "submit: Location leads to the status function, with prefix '$prefix'");
		my $status = $rest->call('authenticated', 'user-1', GET => $url);
		is($status->{status}, 200, 'a GET of it: 200');
		is($status->{data}{request_id}, $answer->{data}{request_id}, 'a GET of it: the video');
		is($status->{header}{location}, undef, 'a GET of it: no Location');
	}
	is(post('vibevideo_submit', { vibelog_id => $first })->{status}, 202, 'submit again: 202');
	is(scalar($fal->renders('the first')), 1, 'submit again: one render');
	is(post('vibevideo_status', { vibelog_id => $first })->{status}, 200, 'status by POST, which is read only: 200');
	is(post('vibevideo_cancel', { vibelog_id => $first })->{status}, 200, 'cancel: 200');
	wait_for_status($node, $first, 'cancelled');
	$answer = post('vibevideo_retry', { vibelog_id => $first });
	is($answer->{status}, 202, 'retry: 202');
	like($answer->{header}{location}, qr/vibelog_id=$first$/, 'retry: Location');
	$answer = post('vibevideo_submit_batch', { vibelog_ids => [ row('second'), row('third') ] });
	is($answer->{status}, 202, 'submit_batch: 202');
	is(scalar(@{ $answer->{data} }), 2, 'submit_batch: two videos');
	is($answer->{header}{location}, undef, 'submit_batch: no Location, there are two');
	is($answer->{header}{'retry-after'}, '10', 'submit_batch: Retry-After');
	$answer = post('vibevideo_poll', undef, role => 'service_role');
	is($answer->{status}, 200, 'poll by service_role: 200');
	is_deeply([ sort keys %{ $answer->{data} } ], [qw(advanced checked failed finished)], 'poll: counts');
}

# -- which models a row may name --------------------------------------------------------------------------
{
	my $answer = post('vibevideo_models');

	is($answer->{status}, 200, 'models: 200');
	is_deeply($answer->{data}, [ { endpoint => 'fal-ai/minimax/video-01', label => 'fal-ai/minimax/video-01', price => '0.5 USD a video', usual_seconds => undef,
		needs_image => JSON::PP::false, max_prompt => 2000, is_default => JSON::PP::true } ], 'models: without a choice the attached one');
	is($rest->call('authenticated', 'user-1', GET => '/rpc/vibevideo_models')->{status}, 200, 'models by GET: it only reads');
	is($rest->call('service_role', undef, POST => '/rpc/vibevideo_models')->{status}, 200, 'models: service_role');
	is($rest->call('anon', undef, POST => '/rpc/vibevideo_models')->{data}{code}, '42501', 'models: not anon');
}

# -- what a video would cost, before it is requested ------------------------------------------------------
{
	my $id = row('how much');
	my $answer = post('vibevideo_estimate', { vibelog_id => $id });

	is($answer->{status}, 200, 'estimate: 200');
	is_deeply({ map { $_ => $answer->{data}{$_} } qw(cost_usd unit quantity source why) },
		{ cost_usd => 0.5, unit => 'video', quantity => 1, source => 'built-in', why => '0.5 USD a video' }, 'estimate: what it costs, and why');
	is($rest->call('authenticated', 'user-1', GET => "/rpc/vibevideo_estimate?vibelog_id=$id&select=cost_usd")->{data}{cost_usd}, 0.5, 'estimate by GET: it only reads');
	is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id'"), '0', 'estimate: nothing is requested');
	is($rest->call('authenticated', 'user-2', POST => '/rpc/vibevideo_estimate', { vibelog_id => $id })->{status}, 404, 'estimate: not of the row of another');
	is($rest->call('service_role', undef, POST => '/rpc/vibevideo_estimate', { vibelog_id => $id })->{data}{cost_usd}, 0.5, 'estimate: service_role');
	is($rest->call('anon', undef, POST => '/rpc/vibevideo_estimate', { vibelog_id => $id })->{data}{code}, '42501', 'estimate: not anon');
	sql($node, q{SELECT vibevideo.set_price('fal-ai/minimax/video-01', NULL)});
	$answer = post('vibevideo_estimate', { vibelog_id => $id });
	is_deeply([ @{ $answer->{data} }{qw(cost_usd why)} ], [ undef, 'the price is not known' ], 'estimate: unknown is not 0');
	# nor is a video of which it is not known requested, if that is how it is set
	sql($node, q{INSERT INTO vibevideo.limit (user_id, spend_per_day_usd) VALUES ('user-1', 100)});
	configure($node, unknown_price => 'refuse');
	$answer = post('vibevideo_submit', { vibelog_id => $id });
	is("$answer->{status} $answer->{data}{code} $answer->{data}{message}", '402 PT402 the price of this video is not known', 'estimate: and is refused at the submit');
	like($answer->{data}{details}, qr/vibevideo\.set_price\('fal-ai\/minimax\/video-01'/, 'estimate: operators read what to do');
	is($answer->{data}{hint}, 'Ask whoever runs this service.', 'estimate: and so does its user');
	sql($node, q{SELECT vibevideo.delete_price('fal-ai/minimax/video-01'); DELETE FROM vibevideo.limit WHERE user_id = 'user-1'});
	configure($node, unknown_price => 'allow');
}

# -- what is asked of the answer, as supabase-js does with select(), single(), limit() ---------------------
{
	my $ask = sub {
		my ($method, $target, $arguments, %headers) = @_;
		my $answer = $rest->call('authenticated', 'user-1', $method => $target, $arguments, %headers);
		return "$answer->{status} " . ($answer->{code} || $answer->{body});
	};
	my %one = (accept => 'application/vnd.pgrst.object+json');
	my $id = row('asked for');
	my $jobs = sub { return sql($node, "SELECT count(*) FROM vibevideo.job WHERE NOT orphan AND vibelog_id = '$_[0]'") };

	is($ask->(POST => '/rpc/vibevideo_submit?select=status', { vibelog_id => $id }), '202 {"status":"queued"}', 'submit, select: the column, and our status');
	is($ask->(GET => "/rpc/vibevideo_status?vibelog_id=$id&select=status,attempt", undef, %one), '200 {"status":"queued","attempt":1}', 'status, single');
	is($ask->(HEAD => "/rpc/vibevideo_status?vibelog_id=$id"), '200 ', 'status by HEAD');
	is($ask->(HEAD => '/rpc/vibevideo_status?vibelog_id=ffffffff-ffff-4fff-8fff-ffffffffffff'), '404 ', 'status by HEAD: no such row');
	is($ask->(HEAD => "/rpc/vibevideo_submit?vibelog_id=$id"), '405 ', 'submit by HEAD');
	my @pair = map { row($_) } 'one of two', 'two of two';
	is($ask->(POST => '/rpc/vibevideo_submit_batch?select=status&limit=1', { vibelog_ids => \@pair }), '202 [{"status":"queued"}]', 'submit_batch, limit: one is shown');
	is(join(' ', map { $jobs->($_) } @pair), '1 1', 'but both are submitted');

	# what fails after the call takes it back
	my $undone = row('taken back');
	is($ask->(POST => '/rpc/vibevideo_submit?select=status::int', { vibelog_id => $undone }), '400 22P02', 'submit, a cast that fails: 400');
	is($jobs->($undone), '0', 'and there is no job');
	wait_for($node, 'SELECT count(*) > 0 FROM vibevideo.job WHERE orphan', 't', 'what was sent is remembered');
	wait_until(sub { my ($render) = $fal->renders('taken back'); $render && $render->{cancelled} }, 'and cancelled at fal.ai');
	@pair = map { row($_) } 'three of two', 'four of two';
	is($ask->(POST => '/rpc/vibevideo_submit_batch', { vibelog_ids => \@pair }, %one), '406 PGRST116', 'submit_batch, single: there are two');
	is(join(' ', map { $jobs->($_) } @pair), '0 0', 'and nothing was submitted');

	# and what is refused before it
	for my $refused ([ '?apikey=' . $rest->publishable_key, '400 PGRST100' ], [ '?user_id=eq.1', '400 42703' ])
	{
		is($ask->(POST => "/rpc/vibevideo_submit$refused->[0]", { vibelog_id => $undone }), $refused->[1], "submit with $refused->[0]");
	}
	is($ask->(POST => '/rpc/vibevideo_submit', { vibelog_id => $undone }, accept => 'text/html'), '406 PGRST107', 'submit, Accept: text/html');
	is($ask->(PUT => '/rpc/vibevideo_submit', { vibelog_id => $undone }), '405 PGRST101', 'submit by PUT');
	is($ask->(POST => '/rpc/vibevideo_submit', { id => $undone }), '404 PGRST202', 'submit, another argument');
	is($ask->(POST => '/rpc/vibevideo_submit', { vibelog_id => $undone }, authorization => bearer('authenticated', 'user-1', exp => time() - 60)), '401 PGRST303', 'submit, an old token');
	is($ask->(POST => '/rpc/vibevideo_submit', { vibelog_id => $undone }, authorization => bearer('authenticated', 'user-1') =~ s/.$//r), '401 PGRST301', 'submit, a forged token');
	is($ask->(POST => '/rpc/vibevideo_submit', { vibelog_id => $undone }, 'content-profile' => 'vibevideo'), '406 PGRST106', 'submit, schema vibevideo, which is not exposed');
	is($ask->(POST => '/rpc/check_config'), '404 PGRST202', 'functions of vibevideo are not found');
	is($ask->(GET => "/rpc/vibevideo_status?vibelog_id=$id&apikey=x"), '404 PGRST202', 'status by GET with an argument too many');
	is($jobs->($undone), '0', 'none of it made a job');
	is($rest->request(OPTIONS => '/rpc/vibevideo_submit', { origin => 'https://app.example', 'access-control-request-method' => 'POST' })->{header}{'access-control-allow-origin'}, '*',
		'a browser may call it from anywhere');
	is($rest->call('anon', undef, GET => '/rpc/vibevideo_webhook')->{code}, 'PGRST202', 'there is no webhook by GET');
}

# -- fal says no, is busy, is down, says nothing ------------------------------------------------------
{
	$fal->fault('submit', { kind => 'http', status => 422, body => { detail => 'no' } }, prompt => '^refused$');
	my $answer = post('vibevideo_submit', { vibelog_id => row('refused') });
	is($answer->{status}, 502, 'refused by fal: 502');
	is($answer->{data}{status}, 'failed', 'refused by fal: the body is the video');
	is($answer->{header}{'retry-after'}, undef, 'refused by fal: no use in trying again');
	is($answer->{header}{location}, undef, 'refused by fal: nothing to ask for');

	sql($node, q{ALTER SYSTEM SET vibevideo.max_active = 1; SELECT pg_reload_conf()});
	wait_for($node, 'SHOW vibevideo.max_active', '1', 'max_active is set');
	$answer = post('vibevideo_submit', { vibelog_id => row('busy') });
	is("$answer->{status} $answer->{data}{error_code} $answer->{header}{'retry-after'}", '202 fal_busy 10', 'fal is busy: 202, Retry-After');
	sql($node, q{ALTER SYSTEM RESET vibevideo.max_active; SELECT pg_reload_conf()});
	wait_for($node, 'SHOW vibevideo.max_active', '0', 'max_active is reset');

	# the default of submit_timeout must leave room below the 8 seconds
	is(sql($node, 'SHOW vibevideo.submit_timeout'), '6s', 'submit_timeout is the default');
	$fal->fault('submit', 'hang', prompt => '^silence$');
	$answer = post('vibevideo_submit', { vibelog_id => row('silence') });
	is("$answer->{status} $answer->{data}{status} $answer->{data}{error_code}", '202 queued timeout', 'fal says nothing: an answer within 8 seconds');
	$fal->clear_faults;
}
{
	my @rows = split /\n/, sql($node, q{INSERT INTO vibelogs (prompt, user_id) SELECT 'many ' || n, 'user-1' FROM generate_series(1, 500) n RETURNING id});
	is(post('vibevideo_submit_batch', { vibelog_ids => \@rows })->{status}, 202, '500 rows within the time limit');
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'queued' AND input->>'prompt' LIKE 'many %'}, '500', 'which the worker sends');
}

# -- headers and statuses of others ------------------------------------------------------------------------
sql($node, <<'SQL');
CREATE FUNCTION public.before() RETURNS void LANGUAGE sql AS $$
	SELECT set_config('response.headers', current_setting('app.headers', true), true) $$;
CREATE FUNCTION public.save(text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	row uuid;
BEGIN
	INSERT INTO public.vibelogs (prompt, user_id) VALUES ($1, 'user-1') RETURNING id INTO row;
	PERFORM public.vibevideo_submit_batch(ARRAY[row]);
	RETURN row;
END
$$;
CREATE FUNCTION public.save_log(prompt text) RETURNS uuid LANGUAGE sql AS 'SELECT public.save(prompt)';
NOTIFY pgrst, 'reload schema';
SQL
for my $case (
	[ '[]', 'Location Retry-After' ],
	[ ' [ ] ', 'Location Retry-After' ],
	[ '[{"Cache-Control": "no-store"}]', 'Cache-Control Location Retry-After' ],
	[ qq([{"Cache-Control": "no-store"}, {"Set-Cookie": "a=]"}]\n), 'Cache-Control Set-Cookie Location Retry-After' ],
	[ '[{"location": "/elsewhere"}]', 'location Retry-After' ],
	[ '[{"RETRY-AFTER" : "1"}]', 'RETRY-AFTER Location' ],
	[ '[{"Access-Control-Expose-Headers": "Location"}]', 'Access-Control-Expose-Headers Location Retry-After' ])
{
	my ($headers, $names) = @$case;
	my $before = VibeRest->new($node, pre_request => 'public.before');

	sql($node, "ALTER ROLE authenticator SET app.headers = '$headers'");
	my $answer = post('vibevideo_submit', { vibelog_id => $first }, rest => $before);
	is($answer->{status}, 202, "headers set before, $headers: 202");
	is(join(' ', own_headers($answer)), $names, "headers set before, $headers: $names");
}
for my $headers ('{}', '[{"a": "b"}', 'nonsense')
{
	my $before = VibeRest->new($node, pre_request => 'public.before');

	sql($node, "ALTER ROLE authenticator SET app.headers = '$headers'");
	is(post('vibevideo_submit', { vibelog_id => $first }, rest => $before)->{code}, 'PGRST111', "headers set before, $headers: the fault is found, and not made worse");
}
sql($node, 'ALTER ROLE authenticator RESET app.headers');
# json_agg and ~* of somebody else, which a caller's search_path would find first
sql($node, <<'SQL');
CREATE SCHEMA twin;
CREATE FUNCTION twin.json_array_elements(json) RETURNS SETOF json LANGUAGE plpgsql AS $$ BEGIN RAISE 'a twin'; END $$;
CREATE FUNCTION twin.matches(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'a twin'; END $$;
CREATE OPERATOR twin.~* (LEFTARG = text, RIGHTARG = text, FUNCTION = twin.matches);
SQL
# in 19 it is always on
my $old_literals = sql($node, 'SHOW server_version_num') < 190000 ? 'SET standard_conforming_strings = off;' : '';
for my $case (
	[ '[{"X": "\u0000"}]', 'X Location Retry-After' ],
	[ '[{"X": "\ud83d"}]', 'X Location Retry-After' ],
	[ '[{"X": 1e999999}]', 'X Location Retry-After' ],
	[ '[{"X": "\"Location\":"}]', 'X Location Retry-After' ],
	[ '[{ "LOCATION" :1}]', 'LOCATION Retry-After' ],
	[ '[{"X-Location": "1"}, {"Location-X": "1"}]', 'X-Location Location-X Location Retry-After' ],
	[ '[7]', '' ],
	[ '["Location"]', '' ],
	[ '[[]]', '' ],
	[ '"[]"', '' ],
	[ '[' x 40 . ']' x 40, '' ],
	[ '[{"X": "1"}] []', 'X' ],
	[ "[{\"X\": \"\x01\"}]", 'X' ])
{
	my ($headers, $names) = @$case;
	my $out = sql($node, "SET search_path = twin, pg_catalog, public; $old_literals BEGIN; SELECT set_config('response.headers', \$h\$$headers\$h\$, true) <> '';"
		  . " SELECT error_code FROM public.vibevideo_submit('$first'); SELECT current_setting('response.headers'); COMMIT");
	my @names = $out =~ /\{ ?"([^"]*)" ?:/g;

	is("@names", $names, "headers set before, $headers: $names");
}
{
	my $answer = post('save_log', { prompt => 'saved' });

	is($answer->{status}, 200, 'called by another function: its status is left alone');
	is(join(' ', own_headers($answer)), '', 'called by another function: its headers are left alone');
}
{
	my $key = q{a/b?c=ä&d "e" \\ %};

	$node->safe_psql('postgres', 'CREATE DATABASE keys');
	sql($node, q{CREATE EXTENSION vibevideo; CREATE TABLE logs (id text PRIMARY KEY, prompt text); SELECT vibevideo.attach('logs')}, 'keys');
	utf8::encode($key);
	my $out = sql($node, "INSERT INTO logs VALUES (\$k\$$key\$k\$, 'text'); BEGIN; SELECT set_config('request.path', '/rpc/vibevideo_submit_batch', true) <> '';"
		  . " SELECT count(*) FROM vibevideo_submit(\$k\$$key\$k\$); SELECT current_setting('response.headers')::json->0->>'Location'; COMMIT", 'keys');
	like($out, qr/\n\Q..\E\/rpc\/vibevideo_status\?vibelog_id=a%2Fb%3Fc%3D%C3%A4%26d%20%22e%22%20%5C%20%25$/, 'any key is encoded');
}

# -- an operator's session that is as careful ------------------------------------------------------------------
{
	my ($state, $error) = sql_error($node, "LOAD '$safeupdate'; UPDATE vibelogs SET prompt = prompt");
	is($state, '21000', 'an operator can load pg_safeupdate, too');
	for my $call (q{vibevideo.attach('vibelogs')}, q{vibevideo.reset_stuck('0')}, 'vibevideo.redrive()', 'vibevideo.pause()', 'vibevideo.resume()', 'vibevideo.check_config()',
		'vibevideo.grant_api_roles()', q{vibevideo.create_api('uuid')}, 'vibevideo.unschedule()', 'vibevideo_poll()', 'vibevideo.detach(true)', q{vibevideo.attach('vibelogs')})
	{
		($state, $error) = sql_error($node, "LOAD '$safeupdate'; SELECT $call");
		is($state, '', "$call works under it") or diag($error);
	}
	($state, $error) = sql_error($node, "LOAD '$safeupdate'; INSERT INTO vibevideo.limit (scope, max_active) VALUES ('global', 1000); SELECT vibevideo_submit_batch('{$first}');"
		  . q{UPDATE vibevideo.limit SET max_active = 1001 WHERE scope = 'global'; SELECT vibevideo.set_price('fal-ai/minimax/video-01', 1); UPDATE vibevideo.price_rule SET unit_price_usd = 2 WHERE source = 'operator'; SELECT vibevideo.delete_price('fal-ai/minimax/video-01'); DELETE FROM vibevideo.limit WHERE scope = 'global'; DELETE FROM vibevideo.job WHERE state = 'cancelled'});
	is($state, '', 'so do limits, prices and the deletion of jobs') or diag($error);
}

# -- every error of the manual --------------------------------------------------------------------------------
my @errors = map { [ map { s/^\s+|\s+$//gr } split /\|/, $_ ] } grep { /^\| `[0-9A-Z]{5}` \|/ }
  split /\n/, manual_section('errors');
cmp_ok(scalar(@errors), '>', 20, 'the manual has a table of errors');

# Requests whose statements and locks have no time.
sub hasty
{
	sql($node, q{CREATE OR REPLACE FUNCTION public.hasty() RETURNS void LANGUAGE sql AS $$ SELECT set_config('statement_timeout', '2s', true), set_config('lock_timeout', '200ms', true) $$});
	return VibeRest->new($node, pre_request => 'public.hasty');
}

# what a client can bring about, each with what it takes
my $nobody = 'ffffffff-ffff-4fff-8fff-ffffffffffff';
my %provoked = (
	PT401 => sub { $rest->call('anon', undef, POST => '/rpc/vibevideo_webhook', { a => 1 }) },
	PT413 => sub { $rest->call('anon', undef, POST => '/rpc/vibevideo_webhook', { a => 'x' x (1024 * 1024) }) },
	PT402 => sub {
		sql($node, q{INSERT INTO vibevideo.limit (user_id, spend_per_day_usd) VALUES ('poor', 0.1)});
		return post('vibevideo_submit', { vibelog_id => row('poor', 'poor') }, sub => 'poor');
	},
	PT429 => sub {
		sql($node, q{INSERT INTO vibevideo.limit (user_id, max_active) VALUES ('keen', 1)});
		post('vibevideo_submit', { vibelog_id => row('keen 1', 'keen') }, sub => 'keen');
		return post('vibevideo_submit', { vibelog_id => row('keen 2', 'keen') }, sub => 'keen');
	},
	PT404 => [
		map({ my $name = $_; sub { post($name, { vibelog_id => $nobody }) } } qw(vibevideo_submit vibevideo_status vibevideo_estimate vibevideo_cancel vibevideo_retry)),
		map({ my $name = $_; sub { post($name, { vibelog_id => row('of another', 'user-2') }) } } qw(vibevideo_submit vibevideo_estimate)),
		sub { post('vibevideo_submit_batch', { vibelog_ids => [ $first, $nobody ] }) },
		sub { post('vibevideo_retry', { vibelog_id => row('never submitted') }) } ],
	PT422 => [
		sub {
			sql($node, q{ALTER TABLE vibelogs ADD video_model text; SELECT vibevideo.attach('vibelogs', model_column => 'video_model')});
			sql($node, q{UPDATE vibelogs SET video_model = 'acme/not-offered' WHERE id = '} . row('too dear') . q{'});
			return post('vibevideo_submit', { vibelog_id => sql($node, q{SELECT id FROM vibelogs WHERE video_model IS NOT NULL}) });
		},
		map { my $name = $_; sub { post($name, { vibelog_id => sql($node, q{SELECT id FROM vibelogs WHERE video_model IS NOT NULL}) }) } } qw(vibevideo_estimate),
	],
	22004 => [
		map({ my $name = $_; sub { post($name, { vibelog_id => undef }) } } qw(vibevideo_submit vibevideo_status vibevideo_estimate vibevideo_cancel vibevideo_retry)),
		sub { post('vibevideo_submit_batch', { vibelog_ids => undef }) },
		sub { post('vibevideo_submit_batch', { vibelog_ids => [ $first, undef ] }) } ],
	22023 => [
		map({ my $name = $_; map { my $prompt = $_; sub { post($name, { vibelog_id => row($prompt) }) } } '', 'x' x 2001 } qw(vibevideo_submit vibevideo_estimate)),
		sub { post('vibevideo_submit_batch', { vibelog_ids => [ row('') ] }) } ],
	25006 => [
		map { my $name = $_; sub { $rest->call('authenticated', 'user-1', GET => "/rpc/$name?vibelog_id=" . row('by GET')) } }
		  qw(vibevideo_submit vibevideo_cancel vibevideo_retry) ],
	40001 => sub {
		# somebody else's job, committed between our first statement and the call
		my $id = row('the very moment');
		sql($node, 'ALTER FUNCTION vibevideo_submit_batch SET default_transaction_isolation = "repeatable read"');
		sql($node, "CREATE FUNCTION public.meanwhile() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS \$\$ BEGIN"
			  . " COPY (SELECT 1) TO PROGRAM 'psql -X -h " . $node->host . ' -p ' . $node->port . " -d postgres -c \"SELECT vibevideo_submit_batch(''{$id}'')\" >/dev/null'; END \$\$");
		return post('vibevideo_submit_batch', { vibelog_ids => [$id] }, rest => VibeRest->new($node, pre_request => 'public.meanwhile'));
	},
	42501 => [
		sub { post('vibevideo_poll') },
		sub { post('vibevideo_webhook', { a => 1 }) },
		sub { $rest->call('anon', undef, POST => '/rpc/vibevideo_submit', { vibelog_id => $first }) },
		sub {
			sql($node, 'REVOKE UPDATE ON vibelogs FROM authenticated');
			my $answer = post('vibevideo_submit', { vibelog_id => $first });
			sql($node, 'GRANT UPDATE ON vibelogs TO authenticated');
			return $answer;
		} ],
	55000 => [
		sub {
			my $id = row('keyless');
			sql($node, q{ALTER SYSTEM SET vibevideo.fal_key = ''; SELECT pg_reload_conf()});
			wait_for($node, 'SHOW vibevideo.fal_key', '', 'there is no key');
			my $answer = post('vibevideo_submit', { vibelog_id => $id });
			sql($node, q{ALTER SYSTEM RESET vibevideo.fal_key; SELECT pg_reload_conf()});
			wait_for($node, 'SHOW vibevideo.fal_key', qr/^\*+$/, 'there is one again');
			return $answer;
		},
		sub {
			sql($node, q{UPDATE vibevideo.binding SET paused = true WHERE only_one});
			my $answer = post('vibevideo_submit_batch', { vibelog_ids => [ row('paused') ] });
			sql($node, 'SELECT vibevideo.resume()');
			return $answer;
		},
		sub {
			sql($node, 'SELECT vibevideo.detach(force => true)');
			my $answer = post('vibevideo_status', { vibelog_id => $first });
			sql($node, q{SELECT vibevideo.attach('vibelogs')});
			return $answer;
		} ],
	57014 => sub {
		$fal->fault('submit', 'hang_after', prompt => '^hasty');
		return post('vibevideo_submit', { vibelog_id => row('hasty') }, rest => hasty());
	},
	'55P03' => sub {
		my $id = row('held');
		my $holder = background_sql($node);

		$holder->query_safe("BEGIN; SELECT FROM vibelogs WHERE id = '$id' FOR UPDATE");
		my $answer = post('vibevideo_submit', { vibelog_id => $id }, rest => hasty());
		$holder->quit;
		return $answer;
	},
	'42P01' => sub { sql($node, 'DROP TABLE vibelogs'); post('vibevideo_status', { vibelog_id => $first }) });
# what it cannot, and why
my %out_of_reach = (
	22000 => 'no function of ours does what the guard forbids',
	42704 => 'without the extension PostgREST finds no function',
	'0A000' => 'PostgREST prepares no transactions; otherwise of operator functions',
	53200 => 'libcurl would have to run out of memory',
	38000 => 'libcurl would have to fail at its start',
	(map { $_ => 'of the dashboard\'s page: 280_dashboard.pl' } qw(58P01 XX001)),
	(map { $_ => 'of operators: 101_unknown.pl and 270_operators.pl' } qw(PT409 PT410 PT428)),
	'08000' => 'of operators, where fal.ai does not answer: 282_input_schema.pl',
	map { $_ => 'of functions for the owner, which are in no exposed schema' }
	  qw(53400 55006 23514 2BP01 42602 42703 42723 42804 42809 42883 42P06 42P07 42P13 42P16));

# what ends with the table comes last
for my $error (sort { ($a->[1] eq '`42P01`') <=> ($b->[1] eq '`42P01`') } @errors)
{
	my (undef, $state, undef, $http, $raised_by) = @$error;

	$state =~ s/`//g;
	is(join(', ', map { my ($status, $role) = @$_; http_status_of($state, $role) . ($role eq 'anon' ? ' for anon' : '') }
			  $state eq '42501' ? ([ 403, 'authenticated' ], [ 401, 'anon' ]) : [ $http, 'authenticated' ]), $http, "$state: HTTP $http, as the manual says");
	if ($out_of_reach{$state})
	{
		ok(!$provoked{$state}, "$state: $out_of_reach{$state}");
		next;
	}
	my @ways = ref $provoked{$state} eq 'ARRAY' ? @{ $provoked{$state} } : $provoked{$state} || ();
	ok(@ways > 0, "$state: is brought about ($raised_by)");
	for my $way (@ways)
	{
		my $answer = $way->();

		is($answer->{code}, $state, "$state: $answer->{data}{message}");
		like($http, qr/\b$answer->{status}\b/, "$state: HTTP $answer->{status}");
		is_deeply([ sort keys %{ $answer->{data} } ], [qw(code details hint message)], "$state: the body is PostgREST's");
		my @names = map { $_->[0] } @{ $answer->{headers} };
		is_deeply([ grep { !/^(?:Date|Server|Content-Length|Content-Type|Proxy-Status|WWW-Authenticate|Retry-After)$/ } @names ], [], "$state: no header of ours");
		is($answer->{header}{'proxy-status'}, "PostgREST; error=$state", "$state: PostgREST's own");
	}
}

done_testing();
