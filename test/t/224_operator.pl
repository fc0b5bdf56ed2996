# What an operator, who is a superuser, runs on a table of somebody who is none,
# and schemas of hers that look like Supabase's: none of her code may run with the
# operator's rights, or the worker's.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0);

sql($node, <<'SQL');
CREATE ROLE mallory LOGIN;
GRANT CREATE ON DATABASE postgres TO mallory;
GRANT CREATE ON SCHEMA public TO mallory;
SET ROLE mallory;
CREATE SCHEMA mallory;
-- LOG reaches the server's log whatever becomes of the transaction
CREATE FUNCTION mallory.probe(attack text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RAISE LOG 'PROBE % as %', attack, current_user;
	RETURN true;
END
$$;
CREATE FUNCTION mallory.immutable(attack text, value text) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS 'BEGIN PERFORM mallory.probe(attack); RETURN value; END';
CREATE FUNCTION mallory.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.probe(TG_ARGV[0]); RETURN NEW; END';
RESET ROLE;
SQL

my $read_to = -s $node->logfile;

# As whom her code ran since the last call, for each attack.
sub ran
{
	my $log = slurp_file($node->logfile, $read_to);
	my %as;

	$read_to += length $log;
	$as{$1}{$2} = 1 while $log =~ /LOG:  PROBE (.*) as (\S+)$/mg;
	return { map { $_ => join(' ', sort keys %{ $as{$_} }) } keys %as };
}

sql($node, q{SELECT mallory.probe('self-test')});
my $superuser = ran()->{'self-test'};
isnt($superuser, 'mallory', "a superuser's probe is seen: $superuser");

# -- CREATE EXTENSION into what she has prepared ------------------------------------------------
{
	my $function = q{CREATE FUNCTION vibevideo.is_active(varchar) RETURNS boolean LANGUAGE sql AS $$ SELECT mallory.probe('schema') $$;};
	my %prepared = (
		'her own schema' => 'SET ROLE mallory; CREATE SCHEMA vibevideo; RESET ROLE',
		'a function of hers in it' => "CREATE SCHEMA vibevideo; GRANT CREATE ON SCHEMA vibevideo TO mallory; SET ROLE mallory; $function RESET ROLE",
		'an operator of hers in it' => 'CREATE SCHEMA vibevideo; GRANT CREATE ON SCHEMA vibevideo TO mallory; SET ROLE mallory; CREATE OPERATOR vibevideo.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq); RESET ROLE',
		'a type of hers in it' => 'CREATE SCHEMA vibevideo; GRANT CREATE ON SCHEMA vibevideo TO mallory; SET ROLE mallory; CREATE DOMAIN vibevideo.jsonb AS text; RESET ROLE');

	for my $what (sort keys %prepared)
	{
		sql($node, $prepared{$what});
		my ($state, $error) = sql_error($node, 'CREATE EXTENSION vibevideo');
		is($state, '42501', "$what: CREATE EXTENSION refuses it");
		like($error, qr/it (?:belongs to mallory|holds \S.*)\./, "$what: and says why");
		sql($node, 'DROP SCHEMA vibevideo CASCADE');
	}
	# its inner schema the extension makes itself
	$function =~ s/vibevideo\.is_active/vibevideo_internal.shown_status/;
	%prepared = (
		'her inner schema' => "SET ROLE mallory; CREATE SCHEMA vibevideo_internal; $function RESET ROLE",
		'an empty inner schema' => 'CREATE SCHEMA vibevideo_internal');
	for my $what (sort keys %prepared)
	{
		sql($node, $prepared{$what});
		my ($state, $error) = sql_error($node, 'CREATE EXTENSION vibevideo');
		is($state, '42P06', "$what: CREATE EXTENSION refuses it");
		like($error, qr/HINT:  Drop or rename it\./, "$what: and says what to do");
		is(sql($node, q{SELECT string_agg(nspname, ' ') FROM pg_namespace WHERE nspname LIKE 'vibevideo%'}), 'vibevideo_internal', "$what: nothing is left");
		sql($node, 'DROP SCHEMA vibevideo_internal CASCADE');
	}
	sql($node, 'CREATE SCHEMA vibevideo; CREATE EXTENSION vibevideo; DROP EXTENSION vibevideo');
	is(sql($node, q{SELECT string_agg(nspname, ' ') FROM pg_namespace WHERE nspname LIKE 'vibevideo%'}), 'vibevideo', 'the schema outlives the extension, the inner one does not');
	sql($node, 'CREATE EXTENSION vibevideo');
	is_deeply(ran(), {}, 'a superuser\'s empty one is taken');
}

# -- attach, check_config, reset_stuck -------------------------------------------------------------
sql($node, <<'SQL');
SET ROLE mallory;
CREATE VIEW mallory.view AS SELECT mallory.probe('table') AS a;
CREATE TABLE public.vibelogs (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	prompt text,
	video_generation_status text
		CONSTRAINT by_query CHECK (video_generation_status IS NULL OR query_to_xml('SELECT mallory.probe(''query'')', true, true, '') IS NOT NULL)
		CONSTRAINT by_table CHECK (video_generation_status IS NULL OR table_to_xml('mallory.view', true, true, '') IS NOT NULL)
		CONSTRAINT by_function CHECK (mallory.immutable('function', video_generation_status) IS NOT NULL OR video_generation_status IS NULL),
	made text GENERATED ALWAYS AS (mallory.immutable('generated', video_generation_status)) STORED
);
CREATE INDEX ON public.vibelogs (mallory.immutable('index', video_generation_status));
CREATE TRIGGER t BEFORE UPDATE ON public.vibelogs FOR EACH ROW EXECUTE FUNCTION mallory.fire('trigger');
ALTER TABLE public.vibelogs ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON public.vibelogs USING (mallory.probe('policy'));
RESET ROLE;
SQL
my $id = sql($node, "SET ROLE mallory; INSERT INTO vibelogs (prompt, video_generation_status) VALUES ('old', 'queued') RETURNING id; RESET ROLE");
ran();
sql($node, q{SELECT vibevideo.attach('vibelogs')});
is_deeply(ran(), {}, 'attach runs none of her code');
like(sql($node, q{SELECT string_agg(check_name, ' ') FROM vibevideo.check_config() WHERE check_name IN ('table', 'constraint')}), qr/table/, 'check_config looks at the table');
is_deeply(ran(), {}, 'and runs none of her code');
is(sql($node, q{SELECT vibevideo.reset_stuck('0')}), '1', 'reset_stuck mends a row');
is(sql($node, "SELECT video_generation_status || ' ' || video_generation_error FROM vibelogs WHERE id = '$id'"), 'failed Nothing was being done for this video; it can be requested again', 'it is failed');
is_deeply(ran(), { map { $_ => 'mallory' } qw(query table function generated index trigger) }, 'by her code, which runs as her');
is(sql($node, q{SELECT vibevideo.reset_stuck('0')}), '0', 'there is nothing left to mend');
sql($node, "SELECT vibevideo.redrive(); SELECT vibevideo.grant_api_roles(); SELECT vibevideo.create_api('uuid'); SELECT * FROM vibevideo.jobs; SELECT vibevideo.detach(true)");
is_deeply(ran(), {}, 'the other functions run none of her code');

# a CHECK that can be judged still is
sql($node, <<'SQL');
SET ROLE mallory;
CREATE TABLE public.judged (id uuid PRIMARY KEY, prompt text, video_generation_status text CHECK (lower(video_generation_status) IN ('queued', 'done')));
RESET ROLE;
SQL
my ($state, $error) = sql_error($node, q{SELECT vibevideo.attach('judged')});
is($state, '55000', 'a CHECK of immutable functions is judged');
like($error, qr/refuses video_generation_status/, 'and refused');

# -- schemas that look like Supabase's -------------------------------------------------------------------
sql($node, <<'SQL');
SET ROLE mallory;
CREATE TABLE public.plain (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), prompt text);
CREATE SCHEMA vault;
CREATE VIEW vault.decrypted_secrets AS SELECT n AS name, mallory.probe('vault')::text AS decrypted_secret FROM unnest('{fal_key,storage_key}'::text[]) n;
CREATE SCHEMA realtime;
CREATE FUNCTION realtime.send(jsonb, text, text, boolean) RETURNS void LANGUAGE sql AS $$ SELECT mallory.probe('realtime') $$;
CREATE TABLE realtime.messages (topic text, extension text, payload jsonb, event text, private boolean);
CREATE TRIGGER t BEFORE INSERT ON realtime.messages FOR EACH ROW EXECUTE FUNCTION mallory.fire('messages');
CREATE SCHEMA cron;
CREATE VIEW cron.job AS SELECT 1::bigint AS jobid, 'vibevideo_poll' AS jobname, 'postgres' AS database, '* * * * *' AS schedule, mallory.probe('cron') AS active;
CREATE SCHEMA auth;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql AS $$ SELECT gen_random_uuid() WHERE mallory.probe('auth') $$;
CREATE SCHEMA storage;
CREATE VIEW storage.buckets AS SELECT mallory.probe('storage')::text AS id;
CREATE SCHEMA net;
CREATE FUNCTION net.http_post(text) RETURNS bigint LANGUAGE sql AS $$ SELECT 1::bigint WHERE mallory.probe('net') $$;
RESET ROLE;
SELECT vibevideo.attach('plain', realtime => true);
SQL

sub makes_a_video
{
	my ($name) = @_;
	my ($called, $sent) = map { sql($node, "INSERT INTO plain (prompt) VALUES ('$name $_') RETURNING id") } qw(called sent);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(submit($node, $called)->{status}, 'queued', "$name: a call submits");
	sql($node, "SELECT vibevideo_submit_batch('{$sent}'); SELECT vibevideo_poll(); SELECT count(*) FROM vibevideo.check_config(); SELECT vibevideo.unschedule()");
	for my $id ($called, $sent)
	{
		wait_for($node, "SELECT video_generation_status FROM plain WHERE id = '$id'", 'completed', "$name: a video is made", hurry => 1);
	}
	return;
}

makes_a_video('all hers');
is_deeply(ran(), {}, 'schemas of hers: nothing in them runs');
# half of it is a superuser's
sql($node, 'ALTER SCHEMA vault OWNER TO CURRENT_USER; ALTER SCHEMA realtime OWNER TO CURRENT_USER; GRANT USAGE ON SCHEMA realtime TO mallory');
makes_a_video('half hers');
is_deeply(ran(), { realtime => 'mallory', messages => 'mallory' },
	'a superuser\'s schemas with things of hers: realtime.send runs as her, and what check_config tries; nothing else');

# a function of the superuser's that sends nothing: nobody has asked for her trigger then
sql($node, <<'SQL');
CREATE OR REPLACE FUNCTION realtime.send(jsonb, text, text, boolean) RETURNS void LANGUAGE sql AS 'SELECT';
ALTER FUNCTION realtime.send OWNER TO CURRENT_USER;
ALTER TABLE plain OWNER TO CURRENT_USER;
SQL
like(sql($node, q{SELECT status, detail FROM vibevideo.check_config() WHERE check_name = 'broadcasts'}), qr/^ok\|\w+ can send/, 'a superuser\'s table and realtime.send');
is_deeply(ran(), {}, 'her trigger on realtime.messages does not run as a superuser');
sql($node, 'ALTER TABLE plain OWNER TO mallory');

# -- a Vault whose functions take names as the search_path has them ------------------------------------------
sql($node, <<'SQL');
DROP VIEW vault.decrypted_secrets;
CREATE FUNCTION vault.decrypt(secret text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN reverse(secret); END';
CREATE VIEW vault.decrypted_secrets AS SELECT 'fal_key' AS name, vault.decrypt('terces-yek:di-yek') AS decrypted_secret;
GRANT USAGE, CREATE ON SCHEMA mallory TO PUBLIC;
SET ROLE mallory;
CREATE FUNCTION mallory.reverse(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.probe('shadow'); RETURN pg_catalog.reverse($1); END $$;
RESET ROLE;
GRANT EXECUTE ON FUNCTION vibevideo_submit TO mallory;
GRANT USAGE ON SCHEMA vibevideo TO mallory;
SQL
{
	my $id = sql($node, q{INSERT INTO plain (prompt) VALUES ('shadow') RETURNING id});

	ran();
	is(sql($node, "SET ROLE mallory; SET search_path = mallory, pg_catalog; SELECT status FROM public.vibevideo_submit('$id'); RESET search_path; RESET ROLE"),
		'queued', 'she submits, with a schema of hers first');
	like(sql($node, q{SELECT detail FROM vibevideo.check_config() WHERE check_name = 'fal_key'}), qr/Vault/, 'the key is from Vault');
	my $ran = ran();
	is($ran->{shadow}, undef, 'what Vault runs does not find it there');
}

# -- an inner schema that has come into her hands --------------------------------------------------------------
{
	my $owner = sql($node, 'SELECT current_user');
	my $id = sql($node, q{INSERT INTO plain (prompt) VALUES ('inner schema') RETURNING id});

	sql($node, 'ALTER SCHEMA vibevideo_internal OWNER TO mallory');
	my ($state, $error) = sql_error($node, "SET ROLE mallory; SELECT public.vibevideo_submit('$id')");
	is($state, '55000', 'nothing is called in a schema that is not ours');
	like($error, qr/HINT:  ALTER SCHEMA vibevideo_internal OWNER TO \Q$owner\E\./, 'which says whose it has to be');
	sql($node, "ALTER SCHEMA vibevideo_internal OWNER TO $owner");
	is(sql($node, "SET ROLE mallory; SELECT status FROM public.vibevideo_submit('$id'); RESET ROLE"), 'queued', 'and then it works again');
}

# -- where an operator must not put a key ------------------------------------------------------------------------
sql($node, 'CREATE DATABASE other');
for my $key ('fal_key', 'fal_admin_key', 'storage_key')
{
	for my $place ('ALTER DATABASE other', 'ALTER ROLE mallory', 'ALTER ROLE mallory IN DATABASE other', 'ALTER FUNCTION mallory.fire()')
	{
		my ($state, $error) = sql_error($node, "$place SET vibevideo.$key = 'id:secret'");

		is($state, '22023', "$place SET vibevideo.$key is refused");
		like($error, qr/Every role could read it.*Put the key into Vault/s, 'with the reason');
		unlike($error =~ s/^.*?\nDETAIL/DETAIL/sr, qr/id:secret/, 'and nothing is said of the key again');
	}
	is((sql_error($node, "SET vibevideo.$key = 'id:secret'"))[0], '', "$key can be set for a session");
}
is(sql($node, q{SELECT count(*) FROM pg_db_role_setting WHERE setconfig::text ~ 'secret'}), '0', 'the catalogs hold none');

done_testing();
