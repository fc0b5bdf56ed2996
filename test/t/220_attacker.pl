# Attacks.  Mallory owns the app's table and no more: a plain role.  Whatever of
# hers runs must not run as a superuser, and must not see a key.  Each piece of
# her code says in the server's log as whom it ran and what it got.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeRest;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0, conf => {
	'log_min_messages' => 'debug1',
	'log_error_verbosity' => 'verbose',
	'vibevideo.backoff_base' => '10ms' });
my $jwt = $storage->{ready}{service_jwt};
my $secrets = qr/key-secret|other-secret|\Q$jwt\E/;

sub log_from
{
	my ($offset) = @_;

	return substr(slurp_file($node->logfile), $offset || 0);
}

sub log_end
{
	return -s $node->logfile;
}

# What her code said: { name => [[who, what it got], ...] }.
sub reports
{
	my ($offset) = @_;
	my $log = log_from($offset);
	my %said;

	push @{ $said{$1} }, [ $2, $3 ] while $log =~ /LOG:  \w+: attack "([^"]*)" as (\w+), got \[(.*?)\]$/mg;
	return \%said;
}

# harmless(name, offset, may run) - a test: it ran (unless it may not), but
# never as a superuser, and got nothing.
sub harmless
{
	my ($name, $offset, %options) = @_;
	my @said = @{ reports($offset)->{$name} || [] };
	my @bad = grep { $_->[0] !~ /^(?:mallory|customer|authenticated)$/ || $_->[1] ne '' } @said;
	my %as = map { $_->[0] => 1 } @said;
	my $told = @said ? 'ran ' . @said . ' times, as ' . join(' and ', sort keys %as) : 'never ran';
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return ok(!@bad && (@said || $options{blocked}) && (!$options{as} || $as{ $options{as} }), "$name: $told, got nothing")
	  || diag(join("\n", map { "as $_->[0]: $_->[1]" } @bad));
}

# -- the scene -------------------------------------------------------------------------------------
sql($node, 'CREATE EXTENSION vibevideo');
supabase_roles($node);
sql($node, <<'SQL');
SET log_statement = 'none';
CREATE ROLE mallory LOGIN CREATEROLE IN ROLE pg_monitor;
CREATE ROLE customer LOGIN IN ROLE authenticated;
GRANT CREATE ON SCHEMA public TO mallory;
GRANT CREATE, TEMPORARY ON DATABASE postgres TO mallory;
CREATE SCHEMA vault;
CREATE TABLE vault.secrets (name text, secret text);
INSERT INTO vault.secrets VALUES ('fal_key', 'key-id:key-secret'), ('fal_admin_key', 'admin-id:admin-key-secret');
CREATE VIEW vault.decrypted_secrets AS SELECT name, secret AS decrypted_secret FROM vault.secrets;
GRANT USAGE ON SCHEMA vault TO PUBLIC;
RESET log_statement;
SQL
my $boss = sql($node, 'SELECT current_user');
my $mallory = VibeTest::Session->start($node, 'mallory');
my $customer = VibeTest::Session->start($node, 'customer');

# as(session, statements) - output; dies of an error
sub as
{
	my ($session, $statements) = @_;
	# her code, run with a session's own rights, may have left anything
	my ($well, $out) = $session->ask("RESET row_security; SET search_path = public, pg_catalog;\n$statements");

	die "$statements\n$out\n" unless $well;
	return $out;
}

# refused(session, statement, name) - a test
sub refused
{
	my ($session, $statement, $name, $error) = @_;
	my ($well, $out) = $session->ask("ROLLBACK; $statement");
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$session->ask('ROLLBACK');
	return ok(!$well && $out =~ ($error || qr/permission denied|must be|cannot/), "$name: refused") || diag($out);
}

as($mallory, <<"SQL");
CREATE SCHEMA mallory;
GRANT USAGE ON SCHEMA mallory TO PUBLIC;
CREATE FUNCTION mallory.probe(attack text) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS \$\$
DECLARE
	who constant name = current_user;
	got text[] = '{}';
	command text;
	value text;
BEGIN
	-- what only a superuser may read
	FOREACH command IN ARRAY ARRAY[
		'SELECT rolpassword FROM pg_authid LIMIT 1',
		'SELECT decrypted_secret FROM vault.decrypted_secrets',
		'SELECT secret FROM vault.secrets',
		'SELECT input::text FROM vibevideo.job LIMIT 1',
		'SELECT pg_read_file(''postgresql.conf'')',
		'SELECT setting FROM pg_file_settings LIMIT 1'] LOOP
		BEGIN
			EXECUTE command INTO value;
			got = got || command;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	FOREACH command IN ARRAY ARRAY['vibevideo.fal_key', 'vibevideo.fal_admin_key', 'vibevideo.storage_key'] LOOP
		BEGIN
			IF current_setting(command) !~ '^[*]*\$' THEN
				got = got || command;
			END IF;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	-- what only a superuser may do
	FOREACH command IN ARRAY ARRAY[
		'SET session_replication_role = replica',
		'SET vibevideo.fal_queue_url = ''http://127.0.0.1:1''',
		'SET vibevideo.media_hosts = ''*.example''',
		'SET log_statement = none',
		'ALTER ROLE mallory SUPERUSER',
		'ALTER TABLE vibevideo.job DISABLE TRIGGER ALL',
		'COPY (SELECT 1) TO PROGRAM ''true''',
		'LOAD ''vibevideo''',
		'GRANT $boss TO mallory'] LOOP
		BEGIN
			EXECUTE command;
			IF command <> 'LOAD ''vibevideo''' OR pg_has_role('$boss', 'MEMBER') THEN
				got = got || command;
			END IF;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	-- what could make her one
	FOREACH command IN ARRAY ARRAY[
		'SET ROLE $boss', 'SET LOCAL ROLE $boss', 'RESET ROLE', 'SET ROLE NONE',
		'SET SESSION AUTHORIZATION $boss', 'SET SESSION AUTHORIZATION DEFAULT', 'RESET SESSION AUTHORIZATION',
		'RESET ALL', 'SET row_security = off', 'SET search_path = public, pg_temp, mallory',
		'SET bytea_output = escape', 'SET statement_timeout = 0', 'DISCARD ALL'] LOOP
		BEGIN
			EXECUTE command;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
		IF (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user) THEN
			got = got OPERATOR(pg_catalog.||) command;
		END IF;
	END LOOP;
	RAISE LOG 'attack "%" as %, got [%]', attack, who, pg_catalog.array_to_string(got, '; ');
	RETURN true;
END
\$\$;
-- said to have no side effects, to get into indexes and generated columns
CREATE FUNCTION mallory.innocent(attack text, value text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS \$\$
BEGIN
	PERFORM mallory.probe(attack);
	RETURN value;
END
\$\$;
CREATE FUNCTION mallory.fire() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	PERFORM mallory.probe(TG_ARGV[0]);
	RETURN CASE WHEN TG_LEVEL = 'ROW' THEN NEW END;
END
\$\$;
CREATE TYPE mallory.person AS ENUM ('a', 'b');
CREATE FUNCTION mallory.name_of(mallory.person) RETURNS text LANGUAGE sql AS \$\$
	SELECT mallory.innocent('cast of an enum', 'somebody') \$\$;
CREATE CAST (mallory.person AS text) WITH FUNCTION mallory.name_of(mallory.person);
CREATE DOMAIN mallory.url AS text CHECK (mallory.innocent('CHECK of a domain', VALUE) IS NOT DISTINCT FROM VALUE);
CREATE DOMAIN mallory.words AS text;
CREATE TABLE mallory.sink (value text);
GRANT ALL ON mallory.sink TO PUBLIC;

CREATE TABLE public.vibelogs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id text DEFAULT 'user-1',
	prompt mallory.words, image text, person mallory.person DEFAULT 'a',
	born text DEFAULT mallory.innocent('default expression', 'x'));
ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY;
GRANT ALL ON vibelogs TO authenticated, service_role;
CREATE POLICY own ON vibelogs USING (user_id = coalesce(nullif(current_setting('request.jwt.claims', true), '')::json->>'sub', 'user-1'));
CREATE FUNCTION mallory.input(vibelogs) RETURNS jsonb LANGUAGE plpgsql AS \$\$
BEGIN
	PERFORM mallory.probe('input function');
	RETURN jsonb_build_object('prompt', \$1.prompt::text);
END
\$\$;
SQL

# Everything that pg_catalog has for common types, under the same name in her
# schema: whoever looks there first runs hers.
as($mallory, <<'SQL');
CREATE FUNCTION pg_temp.shadow() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	common constant oid[] = ARRAY['text', 'int4', 'int8', 'int2', 'bool', 'uuid', 'jsonb', 'json', 'timestamptz', 'interval', 'oid', 'regclass', 'name',
		'float8', 'float4', 'numeric', 'bytea', '"char"', 'text[]', 'int8[]', 'regtype', 'regprocedure']::regtype[];
	f record;
BEGIN
	FOR f IN SELECT p.proname, p.pronargs, oidvectortypes(p.proargtypes) AS arguments, format_type(p.prorettype, NULL) AS result
		FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind IN ('f', 'a') AND NOT p.proretset AND p.provariadic = 0
		AND p.prorettype = ANY (common) AND p.proargtypes::oid[] <@ common AND (p.prokind = 'f' OR p.pronargs > 0)
		AND p.proname !~ '^(bt|hash|text_|int[248]|float|numeric_|uuid_|json|timestamp|interval_|name|oid|char|bool|date|time|byte|array)'
	LOOP
		EXECUTE format('CREATE FUNCTION mallory.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', f.proname, f.arguments, f.result,
			'BEGIN PERFORM mallory.probe(''shadowed function''); RETURN NULL; END');
	END LOOP;
	FOR f IN SELECT o.oid, o.oprname, format_type(o.oprleft, NULL) AS l, format_type(o.oprright, NULL) AS r, format_type(o.oprresult, NULL) AS result
		FROM pg_operator o WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprkind = 'b'
		AND o.oprleft = ANY (common) AND o.oprright = ANY (common) AND o.oprresult = ANY (common)
	LOOP
		EXECUTE format('CREATE FUNCTION mallory.o%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L', f.oid, f.l, f.r, f.result,
			'BEGIN PERFORM mallory.probe(''shadowed operator''); RETURN NULL; END');
		EXECUTE format('CREATE OPERATOR mallory.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = mallory.o%s)', f.oprname, f.l, f.r, f.oid);
	END LOOP;
END
$$;
SELECT pg_temp.shadow();
SQL
cmp_ok(as($mallory, q{SELECT count(*) FROM pg_catalog.pg_operator WHERE oprnamespace = 'mallory'::regnamespace}), '>', 200, 'operators of hers hide those of PostgreSQL');
cmp_ok(as($mallory, q{SELECT count(*) FROM pg_catalog.pg_proc WHERE pronamespace = 'mallory'::regnamespace AND prosrc LIKE '%shadowed function%'}), '>', 200, 'and functions');
$mallory->ask("SET search_path = public, pg_catalog");

# -- attach, by a superuser ------------------------------------------------------------------------
{
	my $from = log_end();

	as($mallory, <<'SQL');
ALTER TABLE vibelogs ADD CONSTRAINT honest CHECK (mallory.innocent('CHECK of the table', prompt) IS NOT NULL);
CREATE INDEX by_prompt ON vibelogs (mallory.innocent('index expression', prompt));
CREATE INDEX partly ON vibelogs (id) WHERE mallory.innocent('index predicate', prompt) <> '';
INSERT INTO vibelogs (prompt) VALUES ('there before');
SQL
	$from = log_end();
	sql($node, q{SELECT vibevideo.attach('public.vibelogs', input_function => 'mallory.input', user_column => 'person')});
	sql($node, q{SELECT vibevideo.detach(); SET search_path = mallory, pg_catalog, public;
		SELECT vibevideo.attach('public.vibelogs', input_function => 'mallory.input', user_column => 'person');
		SELECT count(*) FROM vibevideo.check_config(); RESET search_path});
	my @said = map { @$_ } values %{ reports($from) };
	ok(!grep({ $_->[0] eq $boss || $_->[1] ne '' } @said), 'attach by a superuser, her schema first in the path: runs nothing of hers as a superuser')
	  || diag(explain(reports($from)));
}

# -- all that her table can carry, at once -----------------------------------------------------------
as($mallory, <<'SQL');
CREATE TRIGGER t1 BEFORE UPDATE ON vibelogs FOR EACH ROW EXECUTE FUNCTION mallory.fire('BEFORE trigger of a row');
CREATE TRIGGER t2 AFTER UPDATE ON vibelogs FOR EACH ROW EXECUTE FUNCTION mallory.fire('AFTER trigger of a row');
CREATE TRIGGER t3 BEFORE UPDATE ON vibelogs EXECUTE FUNCTION mallory.fire('BEFORE trigger of a statement');
CREATE TRIGGER t4 AFTER UPDATE ON vibelogs REFERENCING NEW TABLE AS n EXECUTE FUNCTION mallory.fire('AFTER trigger of a statement');
CREATE TRIGGER t5 AFTER UPDATE OF video_generation_status ON vibelogs FOR EACH ROW
	WHEN (mallory.innocent('WHEN of a trigger', NEW.video_generation_status) <> '') EXECUTE FUNCTION mallory.fire('trigger of a column');
ALTER TABLE vibelogs ENABLE ALWAYS TRIGGER t1;
CREATE RULE also AS ON UPDATE TO vibelogs DO ALSO INSERT INTO mallory.sink VALUES (mallory.innocent('rule', 'x'));
ALTER TABLE vibelogs ADD COLUMN made text GENERATED ALWAYS AS (mallory.innocent('generated column', video_generation_status)) STORED;
ALTER TABLE vibelogs ADD CONSTRAINT honest_status CHECK (mallory.innocent('CHECK of our column', video_generation_status) IS NOT DISTINCT FROM video_generation_status);
ALTER TABLE vibelogs ALTER COLUMN video_url TYPE mallory.url;
CREATE INDEX by_status ON vibelogs (mallory.innocent('index on our column', video_generation_status));
SQL
sub new_id
{
	my ($prompt) = @_;

	return as($mallory, "INSERT INTO public.vibelogs (prompt) VALUES ('$prompt') RETURNING id");
}
# who, and what else of the session could have been changed
my $IDENTITY = q{SELECT pg_catalog.concat_ws('|', current_user, session_user, pg_catalog.current_setting('search_path'), pg_catalog.current_setting('row_security'),
	pg_catalog.current_setting('session_replication_role'), pg_catalog.current_setting('statement_timeout'), pg_catalog.current_setting('bytea_output'),
	pg_catalog.current_setting('log_statement'))};
{
	my $id = new_id('all at once');
	my $from = log_end();
	my (undef, $before) = $customer->ask("SET search_path = public, mallory; SET statement_timeout = '59s'; $IDENTITY");

	$customer->ask("SELECT public.vibevideo_submit('$id')");
	is(($customer->ask($IDENTITY))[1], $before, 'after a submit the caller is who it was, with its settings');
	wait_for_status($node, $id, 'completed');
	harmless($_, $from, as => 'mallory') for (
		'BEFORE trigger of a row', 'AFTER trigger of a row', 'BEFORE trigger of a statement', 'AFTER trigger of a statement',
		'trigger of a column', 'WHEN of a trigger', 'rule', 'generated column', 'CHECK of the table', 'CHECK of our column',
		'CHECK of a domain', 'index expression', 'index predicate', 'index on our column', 'input function', 'cast of an enum');
	harmless('default expression', 0);
	as($mallory, q{CREATE POLICY evil ON vibelogs AS RESTRICTIVE USING (mallory.probe('policy')) WITH CHECK (mallory.probe('policy, WITH CHECK'))});
	as($customer, "SELECT public.vibevideo_status('$id')");
	as($customer, q{SELECT public.vibevideo_submit('} . new_id('policy') . q{')});
	harmless('policy', $from, as => 'customer');
	harmless('policy, WITH CHECK', $from, blocked => 1);
	as($mallory, 'DROP POLICY evil ON vibelogs');
	is(scalar(grep { $_->[0] eq $boss } map { @$_ } values %{ reports($from) }), 0, 'nothing at all ran as a superuser');
}

# -- many rows in one go, some of which fail ------------------------------------------------------------
{
	my $from = log_end();
	my $worker = worker_pid($node);

	as($mallory, <<'SQL');
CREATE FUNCTION mallory.fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.prompt LIKE 'fails%' AND NEW.video_generation_status <> 'queued' THEN
		SET search_path = mallory, pg_catalog;
		PERFORM mallory.probe('trigger that fails');
		RAISE EXCEPTION 'no, says % (%)', current_user, pg_catalog.current_setting('vibevideo.fal_queue_url');
	END IF;
	PERFORM mallory.probe('trigger after one that failed');
	RETURN NEW;
END
$$;
CREATE TRIGGER t6 BEFORE UPDATE ON vibelogs FOR EACH ROW EXECUTE FUNCTION mallory.fail();
SQL
	my @ids = map { new_id($_ % 3 ? "goes well $_" : "fails $_") } 0 .. 11;
	as($customer, "SELECT count(*) FROM public.vibevideo_submit_batch(ARRAY['" . join("','", @ids) . "']::uuid[])");
	wait_for($node, q{SELECT count(*) FROM vibelogs WHERE prompt LIKE 'goes well%' AND video_generation_status = 'completed'}, '8',
		'rows written together with some whose triggers fail: the good ones are written', hurry => 1);
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'completed' AND row_error LIKE 'no, says mallory%'}, '4', 'the others have an error that tells as whom it was', hurry => 1);
	harmless('trigger that fails', $from, as => 'mallory');
	harmless('trigger after one that failed', $from, as => 'mallory');
	is(worker_pid($node), $worker, 'the worker is the same');
	is(sql($node, q{SELECT usename FROM pg_stat_activity WHERE backend_type = 'vibevideo worker'}), $boss, 'and who it was');
	as($mallory, 'DROP TRIGGER t6 ON vibelogs');
	wait_for($node, q{UPDATE vibevideo.job SET row_next_at = now() WHERE row_dirty; SELECT vibevideo.wake(); SELECT count(*) FROM vibevideo.job WHERE row_dirty}, qr/^0$/m,
		'and writes the rest once it can', hurry => 1);
}

# -- what would run later than the restricted operation ----------------------------------------------------
for my $late (
	[ 'deferred constraint trigger', q{CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON vibelogs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mallory.fire('deferred constraint trigger')} ],
	[ 'cursor WITH HOLD', undef, q{DECLARE c CURSOR WITH HOLD FOR SELECT mallory.probe('cursor WITH HOLD')} ],
	[ 'temporary table', undef, q{CREATE TEMPORARY TABLE job (x text DEFAULT mallory.innocent('temporary table', ''))} ],
	[ 'prepared statement', undef, q{PREPARE p AS SELECT mallory.probe('prepared statement')} ],
	[ 'SET CONSTRAINTS', q{CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON vibelogs DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW EXECUTE FUNCTION mallory.fire('SET CONSTRAINTS')},
		q{SET CONSTRAINTS ALL DEFERRED} ])
{
	my ($name, $create, $command) = @$late;
	my $from = log_end();
	my $id = new_id("late: $name");

	$command ||= 'SELECT 1';
	as($mallory, $create) if $create;
	as($mallory, <<"SQL");
CREATE OR REPLACE FUNCTION mallory.late() RETURNS trigger LANGUAGE plpgsql AS \$f\$
BEGIN
	BEGIN
		EXECUTE \$c\$$command\$c\$;
	EXCEPTION WHEN OTHERS THEN
		RAISE LOG 'late: %', SQLERRM;
	END;
	RETURN NEW;
END
\$f\$;
CREATE TRIGGER t7 BEFORE UPDATE ON vibelogs FOR EACH ROW EXECUTE FUNCTION mallory.late();
SQL
	as($customer, "SELECT public.vibevideo_submit('$id')");
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", 'completed', "$name: the job goes on", hurry => 1);
	as($mallory, 'DROP TRIGGER t7 ON vibelogs; DROP TRIGGER IF EXISTS late ON vibelogs');
	wait_for($node, "UPDATE vibevideo.job SET row_next_at = now() WHERE row_dirty; SELECT vibevideo.wake(); SELECT video_generation_status FROM vibelogs WHERE id = '$id'", qr/^completed$/m,
		"$name: and the row follows without it", hurry => 1);
	harmless($name, $from, blocked => 1);
}

# -- the search path, temporary objects, the caller's own settings -------------------------------------------
sub all_calls
{
	my ($session, $before, $prompt) = @_;
	my $id = new_id($prompt);

	for my $call ("submit('$id')", "status('$id')", "submit_batch(ARRAY['$id']::pg_catalog.uuid[])", "cancel('$id')", "retry('$id')")
	{
		my ($well, $out) = $session->ask("ROLLBACK; BEGIN; $before; SELECT request_id FROM public.vibevideo_$call; COMMIT");
		return "$call: $out" unless $well;
	}
	return '';
}
sql($node, 'GRANT authenticated TO mallory');
for my $case (
	[ 'shadowed function', 'her schema before pg_catalog', $customer, 'SET LOCAL search_path = mallory, pg_catalog' ],
	[ 'shadowed operator', 'the table owner calls, her schema first', $mallory, 'SET LOCAL search_path = mallory, pg_catalog' ])
{
	my ($name, $what, $session, $before) = @$case;
	my $from = log_end();

	is(all_calls($session, $before, "path: $what"), '', "$what: every function does what it should");
	$session->ask('ROLLBACK');
	harmless('shadowed function', $from, blocked => 1);
	harmless('shadowed operator', $from, blocked => 1);
	is(scalar(@{ reports($from)->{'shadowed operator'} || [] }) + scalar(@{ reports($from)->{'shadowed function'} || [] }), 0,
		"$what: nothing of ours looks there");
}
{
	my $from = log_end();

	as($customer, <<'SQL');
CREATE TEMPORARY TABLE job AS SELECT 1::bigint AS job_id, 'completed'::text AS state;
CREATE TEMPORARY TABLE binding (relation regclass, id_column name);
CREATE TEMPORARY TABLE vibelogs (id uuid PRIMARY KEY, prompt text);
CREATE TEMPORARY VIEW pg_class AS SELECT c.*, mallory.probe('temporary view') AS evil FROM pg_catalog.pg_class c;
CREATE TEMPORARY VIEW pg_roles AS SELECT r.*, mallory.probe('temporary view') AS evil FROM pg_catalog.pg_roles r;
CREATE TEMPORARY VIEW pg_proc AS SELECT p.*, mallory.probe('temporary view') AS evil FROM pg_catalog.pg_proc p;
CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.probe('temporary function'); RETURN NULL; END $$;
CREATE FUNCTION pg_temp.length(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.probe('temporary function'); RETURN NULL; END $$;
SQL
	is(all_calls($customer, 'SET LOCAL search_path = pg_temp, mallory, pg_catalog', 'temporary objects'), '',
		'temporary objects under the names of catalogs and of ours: every function does what it should');
	harmless('temporary view', $from, blocked => 1);
	harmless('temporary function', $from, blocked => 1);
	as($customer, 'DISCARD TEMP');
}
{
	my $from = log_end();
	my $id = new_id('row_security');

	# the error of a policy, of a forced off, is the caller's
	my ($well, $out) = $customer->ask("ROLLBACK; BEGIN; SET LOCAL row_security = off; SELECT public.vibevideo_submit('$id'); COMMIT");
	$customer->ask('ROLLBACK');
	ok(!$well && $out =~ /row-level security/, 'row_security = off gets nobody past the policies') || diag($out);
	as($mallory, q{INSERT INTO vibelogs (prompt, user_id) VALUES ('of another', 'user-2')});
	my $other = sql($node, q{SELECT id FROM vibelogs WHERE prompt = 'of another'});
	# one session, several people, as PostgREST has it: no plan is carried over
	my $pooled = VibeTest::Session->start($node, 'authenticator');
	as($pooled, "BEGIN; SET LOCAL ROLE service_role; SELECT public.vibevideo_status('$other'); COMMIT");
	for my $call ('status', 'submit', 'cancel', 'retry')
	{
		refused($pooled, "BEGIN; SET LOCAL ROLE authenticated; SET LOCAL request.jwt.claims = '{\"sub\": \"user-1\"}'; SELECT public.vibevideo_$call('$other'); COMMIT",
			"$call of another's row, in a session that service_role used", qr/there is no row/);
	}
}

# -- our settings ----------------------------------------------------------------------------------------
{
	my @names = split /\n/, sql($node, q{SELECT name FROM pg_settings WHERE name LIKE 'vibevideo.%' UNION VALUES ('vibevideo.fal_key'), ('vibevideo.fal_admin_key'), ('vibevideo.storage_key')});

	cmp_ok(scalar(@names), '>', 30, 'there are settings');
	for my $who ([ mallory => $mallory ], [ customer => $customer ])
	{
		my @could = grep { ($who->[1]->ask("SET $_ = DEFAULT"))[0] } @names;
		push @could, grep { ($who->[1]->ask("SELECT pg_catalog.set_config('$_', '1', true)"))[0] } @names;
		is("@could", '', "SET of our settings by $who->[0]: refused for each");
	}
	my @could = grep { ($mallory->ask("ALTER ROLE mallory SET $_ = '1'"))[0] } @names;
	is("@could", '', 'ALTER ROLE ... SET of our settings: refused for each');
	refused($mallory, q{CREATE FUNCTION mallory.f() RETURNS void LANGUAGE sql SET vibevideo.fal_queue_url = 'http://127.0.0.1:1' AS ''}, 'a function with a setting of ours');
	refused($mallory, q{SET vibevideo.unheard_of = 1}, 'a setting of ours that is not there', qr/invalid configuration parameter|permission denied/);
}

# -- the keys --------------------------------------------------------------------------------------------
for my $who ([ 'mallory, who may read all settings' => $mallory ], [ 'customer' => $customer ])
{
	my ($name, $session) = @$who;
	my %ways = (
		'SHOW' => 'SHOW vibevideo.fal_key', 'SHOW of the others' => 'SHOW vibevideo.storage_key; SHOW vibevideo.fal_admin_key', 'SHOW ALL' => 'SHOW ALL',
		'pg_settings' => q{SELECT * FROM pg_catalog.pg_settings WHERE name LIKE 'vibevideo.%'},
		'current_setting' => q{SELECT pg_catalog.current_setting('vibevideo.fal_key'), pg_catalog.current_setting('vibevideo.storage_key'), pg_catalog.current_setting('vibevideo.fal_admin_key')},
		'pg_file_settings' => 'SELECT * FROM pg_catalog.pg_file_settings', 'pg_db_role_setting' => 'SELECT * FROM pg_catalog.pg_db_role_setting',
		'postgresql.conf' => q{SELECT pg_catalog.pg_read_file('postgresql.conf')},
		'Vault' => 'SELECT * FROM vault.decrypted_secrets', 'view over jobs' => 'CREATE TEMPORARY VIEW spy AS SELECT * FROM vibevideo.jobs; SELECT * FROM spy',
		'table of jobs' => 'SELECT * FROM vibevideo.job', 'COPY of jobs' => 'COPY vibevideo.job TO STDOUT', 'TABLE of the account' => 'TABLE vibevideo_internal.fal_account',
		'pg_stat_activity' => 'SELECT * FROM pg_catalog.pg_stat_activity',
		'pg_stat_get_activity of the worker' => q{SELECT query FROM pg_catalog.pg_stat_activity WHERE backend_type LIKE 'vibevideo%'},
		'pg_prepared_statements' => 'SELECT * FROM pg_catalog.pg_prepared_statements');

	for my $way (sort keys %ways)
	{
		my ($well, $out) = $session->ask($ways{$way});
		unlike($out, $secrets, "$way by $name: no key");
	}
	refused($session, $ways{$_}, "$_ by $name") for ('view over jobs', 'table of jobs', 'COPY of jobs', 'TABLE of the account', 'Vault');
}
for my $who ([ 'mallory' => $mallory ], [ 'customer' => $customer ])
{
	my $id = new_id("explained by $who->[0]");
	my $out = as($who->[1], "SET client_min_messages = debug5; EXPLAIN (ANALYZE, VERBOSE, SETTINGS, BUFFERS) SELECT public.vibevideo_submit('$id'); RESET client_min_messages");

	like($out, qr/Result|ProjectSet|Function Scan/, "EXPLAIN by $who->[0] explains");
	unlike($out, $secrets, "EXPLAIN by $who->[0], with all messages: no key");
}
{
	# an error while the key is in the air, as verbose as it gets
	my $id = new_id('an error');

	$fal->fault('submit', { kind => 'http', status => 401, body => { detail => 'bad key key-id' } }, prompt => '^an error$');
	my (undef, $out) = $customer->ask("\\set VERBOSITY verbose\n\\set SHOW_CONTEXT always\nSELECT public.vibevideo_submit('$id')");
	unlike($out, $secrets, 'what fal refuses says no key');
	(undef, $out) = $customer->ask("SELECT public.vibevideo_submit('no uuid'); SELECT public.vibevideo_submit('$id', 1)");
	unlike($out, $secrets, 'an error in the call says no key');
	$fal->clear_faults;
}
{
	# what is in our tables, and in the processes' titles
	my $out = sql($node, join('; ', map { "TABLE $_" } own_relations($node, 'rv')));
	unlike($out, $secrets, 'our tables and views hold no key');
	like($out, qr/explained by mallory/, 'though they hold the jobs');
	unlike(sql($node, 'SELECT string_agg(v::text, chr(10)) FROM vibelogs v'), $secrets, 'the rows of the app hold no key');
	my @titles = map { slurp_file("/proc/$_/cmdline") } grep { -e "/proc/$_/cmdline" } split /\n/, sql($node, 'SELECT pid FROM pg_stat_activity');
	unlike("@titles", $secrets, 'titles of processes hold no key');
	unlike(sql($node, 'SELECT string_agg(c::text, chr(10)) FROM vibevideo.check_config() c'), $secrets, 'check_config says no key');
}
{
	# the server's log, with all that it can be asked to say
	my $from = log_end();
	my $id = new_id('logged');
	my $session = background_sql($node);

	$session->query_safe($_) for (
		"SET log_min_messages = debug5", 'SET debug_print_parse = on', 'SET debug_print_plan = on', 'SET log_parser_stats = on',
		"SET log_min_duration_statement = 0", 'SET track_functions = \'all\'');
	if (-e `pg_config --pkglibdir` =~ s/\s+$//r . '/auto_explain.so')
	{
		$session->query_safe($_) for ("LOAD 'auto_explain'", 'SET auto_explain.log_min_duration = 0', 'SET auto_explain.log_analyze = on',
			'SET auto_explain.log_verbose = on', 'SET auto_explain.log_nested_statements = on');
	}
	$session->query_safe("SELECT vibevideo_submit('$id')");
	$session->quit;
	wait_for_status($node, $id, 'completed');
	like(log_from($from), qr/DEBUG/, 'a talkative log');
	unlike(log_from($from), $secrets, 'a submit in a talkative session: no key in the log');
}
{
	# a new key, set without the statement being logged, as one would
	my $from = log_end();

	sql($node, q{SET log_statement = 'none'; ALTER SYSTEM SET vibevideo.fal_key = 'key-id:other-secret'; ALTER SYSTEM SET vibevideo.storage_key = 'other-secret'; ALTER SYSTEM SET vibevideo.fal_admin_key = 'admin-id:other-secret'; RESET log_statement; SELECT pg_reload_conf()});
	wait_for($node, q{SELECT count(*) FROM pg_file_settings WHERE name LIKE 'vibevideo.%key' AND setting LIKE '%other' || '-secret' AND applied}, '3', 'new keys are set');
	wait_until(sub { (() = log_from($from) =~ /parameter "vibevideo\.(?:fal|fal_admin|storage)_key" changed/g) >= 3 }, 'the server has read them');
	unlike(log_from($from), $secrets, 'a reload with new keys: no key in the log');
	like(sql($node, 'SHOW vibevideo.fal_key; SHOW vibevideo.storage_key; SHOW vibevideo.fal_admin_key'), qr/^\*+\n\*+\n\*+$/, 'not even a superuser is shown them');
}
unlike(log_from(0) =~ s/^.*(?:statement: |STATEMENT: |\t).*$//mgr, $secrets, 'in all of the log: no key');
is(sql($node, q{SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolsuper}), $boss, 'there is one superuser, as before');
is_deeply([ grep { $_->[0] eq $boss } map { @$_ } values %{ reports(0) } ], [], 'nothing of hers ever ran as a superuser');
ok($fal->ledger('?jobs=0')->{requests}{submit} > 10, 'and all that time videos were made');

done_testing();
