# The search path.  What leaves out a schema is looked up where the caller says,
# or where somebody else may have made a schema; so nothing of ours leaves it
# out where the path is not pinned.  Mallory is an ordinary role with a schema
# of her own, the shop's role owns the app's table.

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;
use VibeRest;
use VibeTest;
use VibeTwins;

my $fal = start_fal(default => { queue_ms => 0, run_ms => 0 });
my $other = start_fal();
my $storage = start_storage();
# With so long an interval, and somebody who polls, the worker leaves the
# questions to vibevideo_poll(); and fal's request list knows no lost submit.
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0, conf => {
	'vibevideo.poll_interval' => '1h',
	'vibevideo.fal_key' => undef,
	'vibevideo.fal_api_url' => $other->url . '/v1' });

sql($node, 'CREATE EXTENSION vibevideo');
supabase_roles($node);
make_witness($node);
sql($node, <<'SQL');
CREATE ROLE shop LOGIN;
CREATE ROLE mallory LOGIN IN ROLE authenticated;
GRANT CREATE ON SCHEMA public TO shop;
GRANT CREATE, TEMPORARY ON DATABASE postgres TO mallory;
-- what Supabase has: Vault and Realtime
CREATE SCHEMA vault;
CREATE VIEW vault.decrypted_secrets AS SELECT 'fal_key'::varchar AS name, 'key-id:key-secret'::varchar AS decrypted_secret;
CREATE SCHEMA realtime;
GRANT USAGE ON SCHEMA realtime TO PUBLIC;
CREATE FUNCTION realtime.send(payload jsonb, event text, topic text, private boolean DEFAULT true) RETURNS void LANGUAGE sql
	BEGIN ATOMIC SELECT WHERE witness.saw('Realtime'); END;
CREATE PUBLICATION supabase_realtime;
GRANT EXECUTE ON FUNCTION public.vibevideo_poll(), public.vibevideo_webhook(json) TO mallory;
SET ROLE shop;
-- with varchar there is no operator that fits without a cast
CREATE TABLE public.vibelogs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), prompt varchar, image varchar, kind varchar, owner_id varchar DEFAULT 'user-1',
	video_generation_status varchar, video_request_id varchar, video_url varchar, video_generation_error varchar);
GRANT SELECT, INSERT, UPDATE, DELETE ON public.vibelogs TO authenticated;
CREATE FUNCTION public.bump(uuid) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM witness.saw('bump of the shop'); END $$;
CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM witness.saw('trigger with path ' || current_setting('search_path'));
	PERFORM bump(NEW.id);
	RETURN NEW;
END
$$;
CREATE FUNCTION public.wording(vibelogs) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM witness.saw('input function with path ' || current_setting('search_path'));
	PERFORM bump($1.id);
	RETURN jsonb_build_object('prompt', $1.prompt);
END
$$;
CREATE TRIGGER tell BEFORE UPDATE ON public.vibelogs FOR EACH ROW EXECUTE FUNCTION public.tell();
RESET ROLE;
SELECT vibevideo.attach('public.vibelogs', prompt_column => 'prompt');
SQL
my $boss = sql($node, 'SELECT current_user');
my $mallory = VibeTest::Session->start($node, 'mallory');

# as(session, statements) - output; dies of an error
sub as
{
	my ($session, $statements) = @_;
	my ($well, $out) = $session->ask($statements);

	die "$statements\n$out\n" unless $well;
	return $out;
}

sub row_of_hers
{
	my ($prompt) = @_;

	return as($mallory, "INSERT INTO public.vibelogs (prompt) VALUES ('$prompt') RETURNING id");
}

# Those of the sightings that are of twins; these have a schema.
sub twins
{
	return grep { $_->{twin} =~ /^\w+\.\S/ } @_;
}

# Those of them that must not be: not with the rights of the session's own user.
sub strangers
{
	return grep { $_->{as} ne 'mallory' || $_->{of} ne 'mallory' } twins(@_);
}

sub names
{
	my %of = map { ($_->{twin} => 1) } @_;

	return sort keys %of;
}

# none(sightings, name) - a test that there are none.
sub none
{
	my ($seen, $name) = @_;
	my %of = map { ("$_->{twin} as $_->{as} in a session of $_->{of}" => 1) } @$seen;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is(join("\n", sort keys %of), '', $name);
}

# -- a function that fits better than the one of PostgreSQL -----------------------------------------
{
	my $id = row_of_hers('unnest');
	my $from = log_end($node);

	as($mallory, <<'SQL');
CREATE SCHEMA dev;
SET search_path = dev;
CREATE FUNCTION dev.promote() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM witness.saw('unnest');
	ALTER ROLE mallory SUPERUSER;
EXCEPTION WHEN insufficient_privilege THEN
	NULL;
END
$$;
CREATE FUNCTION dev.unnest(text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dev.promote();
	RETURN QUERY SELECT pg_catalog.unnest($1);
END
$$;
CREATE FUNCTION dev.unnest(bigint[]) RETURNS SETOF bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dev.promote();
	RETURN QUERY SELECT pg_catalog.unnest($1);
END
$$;
SQL
	is(as($mallory, "SELECT status FROM public.vibevideo_submit_batch(ARRAY['$id']::uuid[])"), 'queued', 'a batch of hers, with her unnest in the path');
	none([ grep { $_->{twin} eq 'unnest' } seen($node, $from) ], 'runs none of it');
	is(sql($node, q{SELECT rolname FROM pg_roles WHERE rolsuper ORDER BY 1}), $boss, 'and she is no superuser');
	$from = log_end($node);
	is(as($mallory, 'SELECT unnest(ARRAY[1::bigint])'), '1', 'she herself finds her own');
	is_deeply([ map { "$_->{as} $_->{of}" } grep { $_->{twin} eq 'unnest' } seen($node, $from) ], ['mallory mallory'], 'as herself');
	as($mallory, 'RESET search_path; DROP SCHEMA dev CASCADE');
	sql($node, 'ALTER ROLE mallory NOSUPERUSER');
	wait_for_status($node, $id, 'completed');
}

# -- a schema that is named like the table's owner ---------------------------------------------------
{
	as($mallory, <<'SQL');
CREATE SCHEMA shop;
CREATE SCHEMA extensions; -- where Supabase has one, she can't make it
GRANT USAGE ON SCHEMA shop, extensions TO PUBLIC;
CREATE FUNCTION shop.bump(uuid) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM witness.saw('bump of a stranger'); END $$;
SQL
	sql($node, q{SELECT vibevideo.attach('public.vibelogs', input_function => 'public.wording')});
	wait_for($node, 'SELECT count(*) FROM vibevideo.worker_info() WHERE pid IS NOT NULL', '1', 'the worker is there');
	sql($node, 'SELECT public.vibevideo_poll()');
	my $from = log_end($node);
	my $id = row_of_hers('named like the owner');

	as($mallory, "SELECT public.vibevideo_submit('$id')");
	cmp_ok(scalar(grep { $_->{of} eq 'mallory' && $_->{twin} =~ /^input function/ } seen($node, $from)), '>', 0, 'a call of hers runs the input function');
	cmp_ok(scalar(grep { $_->{of} eq 'mallory' && $_->{twin} =~ /^trigger/ } seen($node, $from)), '>', 0, 'and the trigger');
	wait_until(sub { $fal->call('GET', '/job/' . job_of($node, $id)->{request_id} . '?sha=0')->{state} eq 'COMPLETED' }, 'fal is done');
	my $before = log_end($node);
	sql($node, 'BEGIN; UPDATE vibevideo.job SET next_at = now() WHERE next_at IS NOT NULL');
	is(sql($node, 'SELECT advanced FROM public.vibevideo_poll()'), '1', 'a poll moves the job on');
	my $poller = sql($node, 'SELECT pg_backend_pid(); COMMIT');
	cmp_ok(scalar(grep { $_->{pid} == $poller && $_->{twin} =~ /^trigger/ } seen($node, $before)), '>', 0, 'which runs the trigger');
	wait_for_status($node, $id, 'completed');
	my $worker = worker_pid($node);
	cmp_ok(scalar(grep { $_->{pid} == $worker && $_->{twin} =~ /^trigger/ } seen($node, $before)), '>', 0, 'and so does the worker');
	$id = row_of_hers('named like the owner, stuck');
	sql($node, "UPDATE vibelogs SET video_generation_status = 'queued' WHERE id = '$id'");
	$before = log_end($node);
	sql($node, q{SELECT vibevideo.reset_stuck('0')});
	cmp_ok(scalar(grep { $_->{twin} =~ /^trigger/ } seen($node, $before)), '>', 0, 'and reset_stuck');
	my @seen = seen($node, $from);
	none([ grep { $_->{twin} eq 'bump of a stranger' && $_->{as} ne $_->{of} } @seen ], 'none of them runs what somebody else has put into a schema named like the owner');
	is(scalar(grep { $_->{twin} eq 'bump of the shop' && $_->{as} eq 'shop' } @seen), scalar(grep { $_->{twin} =~ / with path / && $_->{as} eq 'shop' } @seen),
		'but each time what the owner means');
	none([ grep { $_->{twin} =~ / with path .*(?:\$user|shop|extensions)/ && $_->{as} eq 'shop' } @seen ], 'their path has no schema that she has made');
}

# -- twins of all that PostgreSQL has --------------------------------------------------------------
sql($node, q{SELECT vibevideo.attach('public.vibelogs', input_function => '', image_column => 'image', user_column => 'owner_id', model_column => 'kind', realtime => true)});
sql($node, 'ALTER TABLE vibelogs DISABLE TRIGGER tell');
as($mallory, 'CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC');
my %made = make_twins($mallory, 'evil');
my %least = (functions => 2000, polymorphic => 1000, variadic => 2000, operators => 500, types => 50, catalogs => 100);
cmp_ok($made{$_}, '>=', $least{$_}, "there are twins of $_") for sort keys %least;
{
	my $from = log_end($node);

	as($mallory, q{SET search_path = evil, pg_catalog; SELECT pg_catalog.count(*), unnest(ARRAY['a']::pg_catalog.text[]), 1 + 1, ''::text FROM pg_class WHERE relname = 'x'});
	is_deeply([ grep { my $twin = $_; !grep { $_->{twin} eq $twin } seen($node, $from) } 'evil.unnest(text[])', 'evil.+(integer, integer)', 'evil.text', 'evil.pg_class', 'evil.=(name, name)' ],
		[], 'who looks in her schema first finds them');
	$from = log_end($node);
	as($mallory, q{SET search_path = pg_catalog, evil; SELECT unnest(ARRAY['a']::text[]), format('%s', 1), 'a'::varchar = 'b'::varchar});
	is_deeply([ names(twins(seen($node, $from))) ], [ sort 'evil.unnest(text[])', 'evil.format(text, integer[])', 'evil.=(character varying, character varying)' ],
		'who looks there last still finds those that fit better');
	as($mallory, 'RESET search_path');
}

# A webhook that is signed with a key that we take for fal's, as statements.
my $library = abs_path(dirname(__FILE__) . '/../emulator/lib/fal-webhook.mjs');

sub webhook
{
	my ($request_id) = @_;
	my $at = sql($node, 'SELECT extract(epoch FROM now())::bigint');
	my ($out, $err) = run_command([ 'node', '--input-type=module', '-e', <<"JS" ]);
import { privateKeyFromSeed, publicJwk, signWebhook } from '$library';
const key = privateKeyFromSeed(Buffer.alloc(32, 7));
const call = { requestId: '$request_id', userId: 'user-1', timestamp: '$at', body: '{}' };
console.log(Buffer.from(publicJwk(key).x, 'base64url').toString('hex') + ' ' + signWebhook(key, call));
JS
	die $err unless $out =~ /^(\w+) (\w+)\n?$/;
	sql($node, "INSERT INTO vibevideo_internal.fal_account (keys, fetched_at) VALUES ('\\x$1', now()) ON CONFLICT (only_one) DO UPDATE SET keys = EXCLUDED.keys, fetched_at = now()");
	return qq{SET request.headers = '{"x-fal-webhook-request-id": "$request_id", "x-fal-webhook-user-id": "user-1", "x-fal-webhook-timestamp": "$at", "x-fal-webhook-signature": "$2"}'; SELECT public.vibevideo_webhook('{}')};
}

# try_all(session, path, strict, statement or [statement, error it may end with], ...)
# - runs them under that search_path.  Returns two texts: what failed, and which
# twins ran with the rights of another than mallory, or at all if strict is set.
sub try_all
{
	my ($session, $path, $strict, @statements) = @_;
	my (@failed, %ran);

	for (@statements)
	{
		my ($statement, $error) = ref $_ ? @$_ : ($_);
		my $from = log_end($node);
		my ($well, $out) = $session->ask("SET search_path = $path; $statement");

		push @failed, "$statement: $out" unless $well || defined $error && $out =~ $error;
		$session->ask('ROLLBACK') unless $well;
		my @seen = grep { $_->{pid} == $session->{backend} } seen($node, $from);
		@seen = $strict ? twins(@seen) : strangers(@seen);
		$ran{"$_->{twin} as $_->{as}: $statement"} = 1 for @seen;
	}
	$session->ask('RESET search_path');
	return (join("\n", @failed), join("\n", sort keys %ran));
}

# All that mallory may call, for rows of hers.
sub calls_of_hers
{
	my ($one, $two) = map { row_of_hers("call $_") } 1 .. 2;
	my $known = row_of_hers('known to fal');
	my $request_id = as($mallory, "SELECT request_id FROM public.vibevideo_submit('$known')");

	return (
		"SELECT v.status FROM public.vibevideo_submit('$one') v",
		"SELECT v.status FROM public.vibevideo_status('$one') v",
		"SELECT v.status FROM public.vibevideo_submit_batch(ARRAY['$one', '$two']::pg_catalog.uuid[]) v",
		"SELECT v.status FROM public.vibevideo_cancel('$two') v",
		"SELECT v.status FROM public.vibevideo_retry('$two') v",
		'SELECT p.checked FROM public.vibevideo_poll() p',
		webhook($request_id));
}

sql($node, q{INSERT INTO vibevideo.limit (scope, max_active, submits_per_day, spend_per_day_usd) VALUES ('default', 1000, 10000, 10000), ('global', 1000, 10000, 10000)});
$mallory->{backend} = as($mallory, 'SELECT pg_backend_pid()');
as($mallory, q{SET request.jwt.claims = '{"sub": "user-1"}'});

# -- under her own path --------------------------------------------------------------------------------
sub try_hers
{
	my ($path, $name) = @_;
	my ($failures, $strangers) = try_all($mallory, $path, 0, calls_of_hers());
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($failures, '', "$name: all her calls do what they should");
	return is($strangers, '', "$name: no twin runs as anybody but her");
}

try_hers('evil', 'her schema behind pg_catalog');
try_hers('evil, pg_catalog', 'her schema first');
{
	my %temporary = make_temporary_twins($mallory);

	cmp_ok($temporary{$_}, '>=', $least{$_}, "there are temporary twins of $_") for sort keys %temporary;
	try_hers($_, "temporary twins, path $_") for ('pg_temp, pg_catalog', 'pg_temp, evil, pg_catalog', 'public');
	as($mallory, 'SET search_path = pg_catalog, pg_temp; DISCARD TEMP; RESET search_path');
}

# -- a superuser under her path ----------------------------------------------------------------------------
my $operator = VibeTest::Session->start($node);
$operator->{backend} = as($operator, 'SELECT pg_backend_pid()');

# Some value of a type, as an argument; of our own rows any one.
my %VALUE = ('boolean' => 'true', 'bigint' => '1', 'integer' => '1', 'numeric' => '1', 'text' => 'queue', 'text[]' => '{a,b}', 'name' => 'prompt', 'json' => '{}',
	'uuid' => '00000000-0000-0000-0000-000000000000', 'uuid[]' => '{00000000-0000-0000-0000-000000000000}', 'regclass' => 'public.vibelogs',
	'regtype' => 'pg_catalog.uuid', 'interval' => '10 seconds', 'date' => 'infinity', 'jsonb' => '{}', 'regrole' => 'mallory', 'timestamp with time zone' => 'infinity');

sub value
{
	my ($type) = @_;

	return "(SELECT x FROM $type x LIMIT 1)" if $type =~ /^vibevideo(?:_internal)?\./;
	return defined $VALUE{$type} ? "'$VALUE{$type}'" : 'NULL';
}

# Each function of the extension once; what it does is undone, and an error is its own affair.
sub sweep
{
	my @functions = split /\n/, sql($node, <<'SQL');
SELECT format('%I.%I', p.pronamespace::regnamespace, p.proname) || '|'
	|| coalesce((SELECT string_agg(format_type(t, NULL), ',' ORDER BY n) FROM unnest(p.proargtypes) WITH ORDINALITY AS a(t, n)), '')
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'vibevideo')
  AND p.prorettype <> 'trigger'::regtype
ORDER BY 1
SQL
	my @calls;

	for (@functions)
	{
		my ($name, $types) = split /\|/, $_, 2;

		push @calls, [ "BEGIN; SELECT $name(" . join(', ', map { value($_) } split /,/, $types) . '); ROLLBACK', qr/./ ];
	}
	return @calls;
}

sub calls_of_the_operator
{
	my $row = sub { sql($node, "INSERT INTO public.vibelogs (prompt) VALUES ('$_[0]') RETURNING id") };
	my ($one, $lost) = map { $row->($_) } 'of the operator', 'answer lost';
	my $key = webhook('none of ours');

	$fal->fault('submit', 'reset_after', prompt => '^answer lost$');
	sql($node, "SELECT vibevideo_submit('$lost')");
	$fal->clear_faults;
	my $job = job_of($node, $lost)->{job_id};
	my $attach = q{SELECT vibevideo.attach('public.vibelogs', input_function => '', image_column => 'image', user_column => 'owner_id', model_column => 'kind', realtime => true)};
	return (
		q{SELECT vibevideo.attach('public.vibelogs', input_function => 'public.wording')},
		'SELECT c.check_name FROM vibevideo_internal.check_table() c',
		$attach,
		'SELECT c.* FROM vibevideo.check_config() c',
		"SELECT v.status FROM public.vibevideo_submit('$one') v",
		"SELECT v.status FROM public.vibevideo_submit_batch(ARRAY['$one']::pg_catalog.uuid[]) v",
		"SELECT v.status FROM public.vibevideo_status('$one') v",
		'SELECT p.checked FROM public.vibevideo_poll() p',
		"SELECT v.status FROM public.vibevideo_cancel('$one') v",
		[ "SELECT v.status FROM public.vibevideo_retry('$one') v", qr/./ ],
		[ $key, qr/PT404|not known|no job/ ],
		q{INSERT INTO vibevideo.limit (scope, user_id, max_active) VALUES ('user', 'user-9', 3)},
		q{UPDATE vibevideo.limit SET submits_per_day = 9999},
		q{DELETE FROM vibevideo.limit WHERE user_id IS NOT NULL},
		q{INSERT INTO vibevideo.model (endpoint, max_prompt) VALUES ('fal-ai/of-the-operator', 100) ON CONFLICT (endpoint) DO UPDATE SET max_prompt = 101},
		q{UPDATE vibevideo.model SET usual_seconds = 60},
		q{BEGIN; DELETE FROM vibevideo.model; ROLLBACK},
		q{SELECT r.keys FROM vibevideo.set_price('fal-ai/of-the-operator', 1) r},
		q{SELECT r.keys FROM vibevideo.set_price('fal-ai/of-the-operator', 1, 'second', '{"size": "4k"}', '$.duration', 5, 0.1) r},
		q{UPDATE vibevideo.price_rule SET unit_price_usd = 2 WHERE source OPERATOR(pg_catalog.=) 'operator'},
		q{SELECT e.why FROM vibevideo.estimate('fal-ai/of-the-operator', '{"size": "4k", "duration": "8s"}') e},
		q{SELECT m.endpoint FROM vibevideo.set_model('fal-ai/of-the-operator', true, 'ours', 300, false, 60, 'warn') m},
		'SELECT m.endpoint FROM public.vibevideo_models() m',
		"SELECT e.why FROM public.vibevideo_estimate('$one') e",
		"BEGIN; UPDATE public.vibelogs SET kind = 'fal-ai/of-the-operator' WHERE id OPERATOR(pg_catalog.=) '$one'; SELECT e.why FROM public.vibevideo_estimate('$one') e; ROLLBACK",
		q{SELECT vibevideo.delete_price('fal-ai/of-the-operator', '{"size": "4k"}')},
		'SELECT j.* FROM vibevideo.jobs j',
		'SELECT c.* FROM vibevideo.costs c',
		"SELECT v.status FROM vibevideo.resolve($job, 'not_sent') v",
		'SELECT vibevideo.redrive()',
		(map { my $action = $_; map { "BEGIN; SELECT p.jobs, a.skipped FROM vibevideo.plan('$action', '$_') p LEFT JOIN LATERAL vibevideo.act(p.token, p.confirm) a ON true WHERE p.token IS NOT NULL; ROLLBACK" }
			  '{}', '{"status": ["failed", "queued"], "class": ["provider", "other"], "user": "user-1", "since": "1 day", "until": "now", "prompt": "of"}', qq{{"key": ["$one", "$lost"]}}, qq{{"job_id": $job, "orphan": false}} }
		  qw(cancel retry resolve_not_sent forget_error)),
		"BEGIN; SELECT (vibevideo.cancel($job)).status, (vibevideo.retry($job)).status; ROLLBACK",
		q{BEGIN; SELECT vibevideo.pause('all', 'why'); SELECT vibevideo.resume(); ROLLBACK},
		'SELECT p.service FROM vibevideo.probe_now() p',
		q{BEGIN; SELECT vibevideo.grant_access('mallory', 'operator', true); SELECT vibevideo.revoke_access('mallory'); ROLLBACK},
		'SELECT s.name, s.advice FROM vibevideo.settings s',
		q{BEGIN; INSERT INTO vibevideo.operator (user_id) VALUES ('somebody'); DELETE FROM vibevideo.operator WHERE user_id IS NOT NULL; ROLLBACK},
		'SELECT a.who, a.action FROM vibevideo.audit a',
		q{SELECT vibevideo.redrive('rejected')},
		q{SELECT vibevideo.reset_stuck('0')},
		'SELECT vibevideo.resume()',
		[ 'SELECT vibevideo.schedule()', qr/pg_cron/ ],
		'SELECT vibevideo.unschedule()',
		'SELECT vibevideo.wake()',
		'SELECT w.pid FROM vibevideo.worker_info() w',
		(map { "SELECT p.status FROM vibevideo_internal.probe('$_') p" } qw(fal_key queue storage_key bucket bucket_public bucket_size media_hosts webhook)),
		'SELECT vibevideo.grant_api_roles()',
		q{UPDATE vibevideo.job SET priority = 1},
		q{BEGIN; DELETE FROM vibevideo.job; ROLLBACK},
		"BEGIN; SELECT vibevideo.detach(true); $attach; ROLLBACK",
		"BEGIN; DROP EXTENSION vibevideo CASCADE; CREATE EXTENSION vibevideo; $attach; ROLLBACK",
		sweep());
}

for my $path ('evil', 'evil, pg_catalog')
{
	my ($failures, $ran) = try_all($operator, $path, 1, calls_of_the_operator());

	is($failures, '', "a superuser, path $path: all calls do what they should");
	is($ran, '', "a superuser, path $path: no twin runs");
}

# -- where the worker and the rows are ------------------------------------------------------------------------
# By a setting of the database, which is its owner's, the worker has her path
# too; and public is open to all in a database from before PostgreSQL 15.
{
	my $helper = sql($node, 'SELECT pg_backend_pid()');

	sql($node, 'GRANT CREATE ON SCHEMA public TO mallory; ALTER DATABASE postgres SET search_path = evil, pg_catalog');
	make_twins($mallory, 'public');
	my $old = worker_pid($node);
	my $from = log_end($node);
	sql($node, "SELECT pg_catalog.pg_terminate_backend($old), vibevideo.wake()");
	wait_for($node, "SELECT pid <> $old FROM vibevideo.worker_info() WHERE pid IS NOT NULL", 't', 'there is a new worker, with her path', hurry => 1);
	try_hers($_, "twins where the owner looks, path $_") for ('public', 'evil, pg_catalog');
	my $id = row_of_hers('for the worker');
	as($mallory, "SELECT public.vibevideo_submit('$id')");
	wait_for_status($node, $id, 'completed');
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE state <> ALL (ARRAY['completed', 'failed', 'cancelled']) OR row_dirty}, '0', 'all jobs end', hurry => 1);
	none([ strangers(grep { $_->{pid} != $helper } seen($node, $from)) ], 'no twin runs as anybody but her, in no process');
	cmp_ok(scalar(grep { $_->{twin} eq 'Realtime' } seen($node, $from)), '>', 0, 'Realtime was told of what went on');
	sql($node, 'ALTER DATABASE postgres RESET search_path');
}
is(sql($node, q{SELECT rolname FROM pg_catalog.pg_roles WHERE rolsuper ORDER BY 1}), $boss, 'there is one superuser, as before');

done_testing();
