# The recipes of the manual, taken from it as they stand there, do what it says.

use strict;
use utf8;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeDocs;
use VibeRest;
use VibeTest;

my %recipe = recipes('sql');
my %shell = recipes('sh');
my %ran;

is(scalar(keys %recipe), scalar(my @all = blocks('sql')), 'every block of SQL in the manual has a name of its own');

# -- what a shell is told --------------------------------------------------------------
{
	my @blocks = blocks('sh');

	ok(scalar(@blocks), 'the manual has blocks for a shell');
	for my $n (1 .. @blocks)
	{
		my $path = "$PostgreSQL::Test::Utils::tmp_check/block$n.sh";

		open(my $file, '>:encoding(UTF-8)', $path) or die "$path: $!\n";
		print $file $blocks[ $n - 1 ];
		close($file);
		command_ok([ 'bash', '-n', $path ], "bash understands block $n");
	}
}

# -- the image: its lines for a shell, and how it finds the directory of libraries ----------
{
	my ($dockerfile) = blocks('dockerfile');
	my @runs = $dockerfile =~ /^RUN ((?:.*\\\n)*.*)$/mg;
	my ($sed) = $dockerfile =~ /lib=\$\((sed .*?) \/usr\/bin\/postgres/;

	cmp_ok(scalar(@runs), '>=', 4, 'the Dockerfile has lines for a shell');
	command_ok([ 'bash', '-n', '-c', $_ ], 'bash understands RUN ' . substr($_, 0, 20)) for @runs;
	for my $wrapper (q{export NIX_PGLIBDIR='/nix/store/x-plugins/lib'}, q{NIX_PGLIBDIR="/nix/store/x-plugins/lib"}, q{NIX_PGLIBDIR=/nix/store/x-plugins/lib exec y})
	{
		my ($out) = run_command([ 'bash', '-c', "$sed <<< \$1", 'bash', $wrapper ]);
		is($out, '/nix/store/x-plugins/lib', "the Dockerfile finds the libraries in: $wrapper");
	}
}

my $fal = start_fal();
# Storage leaves users to the policies of its database, which the emulator has not
my $storage = start_storage(args => [ '--rls-allow', 'authenticated' ]);
our ($node, $database);
# what check_config has to say here
my @worries = $fal->url =~ /^https/ ? () : ('media_hosts');
my $service = $storage->{ready}{service_jwt};
my $http = http_client(default_headers => { authorization => "Bearer $service", 'content-type' => 'application/json' });

# recipe(name, placeholder => value, ...) - runs it in $database; returns what it prints
sub recipe
{
	my ($name, %values) = @_;
	my $text = $recipe{$name} // die "the manual has no recipe $name\n";

	$ran{$name} = 1;
	for my $placeholder (sort keys %values)
	{
		$text =~ s/<\Q$placeholder\E>/$values{$placeholder}/g or die "recipe $name has no <$placeholder>\n";
	}
	$text =~ /'<[^']*>'/ and die "recipe $name: $& was not filled in\n";
	utf8::encode($text);
	return sql($node, $text, $database);
}

# as_user(user, statements) - in a transaction of a signed-in user
sub as_user
{
	my ($user, $statements) = @_;

	return qq{BEGIN; SET LOCAL request.jwt.claims = '{"sub": "$user"}'; SET LOCAL ROLE authenticated; $statements; COMMIT};
}

# add_row(content, status, ...) - a row that no trigger sees; returns its key
sub add_row
{
	my ($content, %columns) = @_;
	my @names = sort keys %columns;

	return sql($node, join('', "INSERT INTO vibelogs (", join(', ', 'content', @names), ") VALUES (",
		join(', ', map { defined $_ ? "'$_'" : 'NULL' } $content, @columns{@names}), ') RETURNING id'));
}

sub row_of
{
	my ($id) = @_;

	return decode_json(sql($node, "SELECT row_to_json(v) FROM vibelogs v WHERE id = '$id'"));
}

# only these keys open fal.ai's door
sub keys_at_fal
{
	$fal->default(keys => [@_]);
	return;
}

my ($ann, $bob) = ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-00000000000b');

# What Supabase has and a bare server has not, as far as the recipes need it.
my $supabase = <<'SQL';
CREATE ROLE anon;
CREATE ROLE authenticated;
CREATE ROLE service_role BYPASSRLS;
CREATE ROLE authenticator LOGIN NOINHERIT;
GRANT anon, authenticated, service_role TO authenticator;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO anon, authenticated, service_role;
CREATE SCHEMA auth;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE
	RETURN (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid;
CREATE SCHEMA storage;
CREATE TABLE storage.buckets (id text PRIMARY KEY, name text NOT NULL, public boolean DEFAULT false);
CREATE TABLE storage.objects (bucket_id text, name text);
ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION storage.foldername(name text) RETURNS text[] LANGUAGE sql IMMUTABLE
	RETURN trim_array(string_to_array(name, '/'), 1);
CREATE SCHEMA vault;
CREATE TABLE vault.secrets (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text UNIQUE, secret text);
CREATE VIEW vault.decrypted_secrets AS SELECT *, secret AS decrypted_secret FROM vault.secrets;
CREATE FUNCTION vault.create_secret(new_secret text, new_name text) RETURNS uuid LANGUAGE sql
	BEGIN ATOMIC INSERT INTO vault.secrets (secret, name) VALUES (new_secret, new_name) RETURNING id; END;
CREATE FUNCTION vault.update_secret(secret_id uuid, new_secret text) RETURNS void LANGUAGE sql
	BEGIN ATOMIC UPDATE vault.secrets SET secret = new_secret WHERE id = secret_id; END;
GRANT USAGE ON SCHEMA auth, storage TO authenticated, service_role;
GRANT SELECT ON storage.objects TO authenticated;
SQL

# -- set-up, and what an operator asks ----------------------------------------------------
{
	local $node = vibe_node('setup', fal => $fal, storage => $storage, app => 0, cron => has_pg_cron(),
		conf => { 'vibevideo.fal_key' => undef, 'vibevideo.storage_key' => undef });

	sql($node, $supabase);
	create_realtime($node);
	sql($node, 'CREATE TABLE public.vibelogs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), content text)');
	if (has_pg_cron()) { sql($node, 'CREATE EXTENSION pg_cron') }
	else { $recipe{setup} =~ s/^SELECT vibevideo\.schedule.*\n//m }
	my $said = recipe('setup', 'key id' => 'key-id', 'key secret' => 'key-secret', 'service_role key' => $service);
	is_deeply([ $said =~ /^(\w+)\|(?:warn|fail)\|/mg ], \@worries, 'set-up: check_config has nothing to say') or diag($said);
	is(sql($node, q{SELECT id, public FROM storage.buckets}), 'videos|t', 'the bucket is made');
	is(sql($node, q{SELECT count(*) FROM cron.job WHERE active}), '1', 'the poll is scheduled') if has_pg_cron();
	my $id = add_row('set-up');
	is(submit($node, $id)->{status}, 'queued', 'a video can be asked for');
	wait_for_status($node, $id, 'completed', name => 'and is made, with the keys of Vault');
	is(http_get(row_of($id)->{video_url})->{status}, 200, 'its URL opens');

	my $seen = recipe('monitoring', job => sql($node, 'SELECT job_id FROM vibevideo.job'));
	like($seen, qr{^0\|0\|0\|\|1\|0\|20[^|]*\|20[^|]*\|running\|\|0$}m, 'monitoring: the overview knows the video, and that nothing needs anybody');
	like($seen, qr{^\{"\(requested,.*https?://}m, 'its job tells how it went');
	like($seen, qr{^fal-ai/minimax/video-01\|0\.5$}m, 'and what it cost');
	recipe('limits');
	is(sql($node, 'SELECT count(*) FROM vibevideo.limit'), '4', 'limits are set');
	is(recipe('costs'), "|1|1|0.5\n1|1|0|0.5", 'the video is in the costs');
	is(recipe('limit_use'), "max_active|0|0|200|200\nspend_per_day_usd|0.5|0|499.5|500", 'and in what is used of limits');
	$fal->rule('^redriven$', outcome => 'infra', error_type => 'internal_error');
	my $failing = add_row('redriven');
	submit($node, $failing);
	wait_for_status($node, $failing, 'failed', name => 'a job fails');
	my $redriven = recipe('redrive');
	like($redriven, qr{^internal_error\|fal-ai/minimax/video-01\|[12]\|20}m, 'the errors tell');
	is((split /\n/, $redriven)[-1], '1', 'and is tried again');
	my $counts = recipe('counts');
	like($counts, qr{^[-\d :+]+\|provider\|[1-9]$}m, 'counts say what failed');
	like($counts, qr{^fal-ai/minimax/video-01\|1\|0$}m, 'that no render was slow');
	like($counts, qr{^completed\|fal-ai/minimax/video-01\|\|1$}m, 'and what was completed');

	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$failing' AND state <> 'failed'", '0', 'which fails as well', hurry => 1);
	my @plan = split /\|/, recipe('plan-act');
	is("@plan[0 .. 2]", '1 1 0.5', 'a plan says what another attempt costs');
	is(recipe('act', token => $plan[-1], confirm => $plan[3]), '1|1|0.5|0|{}', 'and an act makes it');

	recipe('access');
	my $figures = 'SELECT count(*) FROM vibevideo.jobs; SELECT sum(submits) FROM vibevideo.costs';
	is(sql($node, "SET ROLE grafana; $figures; RESET ROLE"), sql($node, $figures), 'a dashboard may read jobs and costs');
	for my $statement ('SELECT input FROM vibevideo.job', 'DELETE FROM vibevideo.job', 'SELECT vibevideo.cancel(1)')
	{
		is((sql_error($node, "SET ROLE grafana; $statement"))[0], '42501', "and not $statement");
	}
	is((sql_error($node, 'SET ROLE support; SELECT vibevideo.cancel(1)'))[0], '', 'an operator may act');
	recipe('operator');
	is((sql_error($node, q{SET ROLE authenticated; SET request.jwt.claims = '{"sub": "7d3c5e1a-0f4b-4c3d-9a58-2b1c6d7e8f90"}'; SELECT vibevideo.cancel(1)}))[0],
		'', 'so may one with a JWT');
	is((sql_error($node, q{SET ROLE authenticated; SET request.jwt.claims = '{"sub": "somebody else"}'; SELECT vibevideo.cancel(1)}))[0], '42501', 'and no other');
	like((split /\n/, recipe('audit'))[0], qr/\|7d3c5e1a-0f4b-4c3d-9a58-2b1c6d7e8f90 \(authenticated\)\|cancel\|/, 'the audit knows');
	like(recipe('erase', job => sql($node, 'SELECT max(job_id) FROM vibevideo.job', $database)), qr/^t$/m, 'a video is to be erased');
	like(recipe('on-delete'), qr/videos of deleted rows are erased$/, 'and so are those of deleted rows');

	# the server as Supabase's compose file starts it
	$node->command_ok([ 'pg_ctl', '-w', '-s', '-m', 'fast', '-D', $node->data_dir, '-l', $node->logfile, '-o', '-c log_min_messages=fatal', 'restart' ], 'restarted with log_min_messages on its command line');
	$node->append_conf('postgresql.conf', "log_min_messages = 'log'");
	$node->reload;
	my $logs = sub {
		my ($text) = @_;
		my $from = -s $node->logfile;
		my $row = add_row($text);
		sql($node, "SELECT vibevideo_submit_batch('{$row}')");
		wait_for_status($node, $row, 'completed');
		return slurp_file($node->logfile, $from) =~ /LOG:  vibevideo job \d+: / ? 'told' : 'silent';
	};
	is($logs->('the log is silent'), 'silent', 'which no configuration file changes');
	recipe('log-level');
	is($logs->('the log tells'), 'told', 'a setting of the database does');
	$node->stop('fast');
}

# -- on plain PostgreSQL, from a fresh server to the first video -------------------------------
{
	my $install = $shell{'install-plain'};
	my ($conf) = $install =~ /vibevideo\.conf <<'END'\n(.*?)^END$/ms;
	my ($variable, $key) = $install =~ /environment .*<<'END'\n(\w+) = '([^']*)'\nEND$/m;
	my ($createdb) = $install =~ /^sudo -iu postgres (createdb .*)$/m;
	my $follow = (split /\n/, $recipe{'first-video'})[-1] =~ s/:'id'/(SELECT id FROM vibelogs)/r;
	local $node = vibe_node('plain', fal => $fal, app => 0, conf => { 'vibevideo.fal_key' => undef, $conf =~ /^([\w.]+) = '([^']*)'$/mg });
	local $database = 'app';

	is($variable, 'FAL_KEY', 'the key has its place in the environment');
	$key =~ s/<key id>/key-id/;
	$key =~ s/<key secret>/key-secret/;
	{
		local $ENV{FAL_KEY} = $key;
		$node->restart;
	}
	$node->command_ok([ split / /, $createdb ], $createdb);
	my $said = recipe('setup-plain');
	is_deeply([ $said =~ /^(\w+)\|(?:warn|fail)\|/mg ], \@worries, 'set-up: check_config has nothing to say') or diag($said);
	like(recipe('first-video'), qr/^queued\|Video queued$/m, 'the app submits its first video');
	wait_for($node, "SET ROLE app; $follow", qr/^completed\|Your video is ready\|http/, 'and follows it to its end', database => 'app', hurry => 1);
	is(http_get(sql($node, 'SELECT video_url FROM vibelogs', 'app'))->{status}, 200, 'its URL opens');
	my ($state) = sql_error($node, q{SET ROLE app; UPDATE vibelogs SET video_url = 'mine'}, 'app');
	is($state, '42501', 'the app cannot write what is vibevideo\'s');
	($state) = sql_error($node, q{CREATE ROLE other; SET ROLE other; SELECT vibevideo_submit_batch('{}')}, 'app');
	is($state, '42501', 'and nobody else may submit');

	# what the README begins with
	sql($node, 'CREATE DATABASE intro', 'postgres');
	$database = 'intro';
	like(recipe('intro'), qr/^queued\|Video queued$/m, 'ten lines of SQL ask for a video');
	wait_for($node, (split /\n/, $recipe{intro})[-1] =~ s/;.*//r, qr/^[^|]+\|completed\|http/, 'and get it', database => 'intro', hurry => 1);

	wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND backend_type = 'vibevideo worker'}, '1', 'a worker is connected');
	$database = 'postgres';
	recipe('rename');
	is(sql($node, q{SELECT string_agg(datname, ' ') FROM pg_database WHERE datname LIKE 'app%'}), 'app2', 'the database can be renamed');
	is(sql($node, q{SELECT count(*) FROM vibevideo.job}, 'app2'), '1', 'and has its job');
	$node->stop('fast');
}

# -- a bucket without a schema storage -----------------------------------------------------------
SKIP:
{
	skip 'there is no curl', 2 if system('command -v curl >/dev/null');
	my $elsewhere = start_storage();
	my ($out, $err) = ('', '');

	my %as_service = (headers => { authorization => "Bearer $elsewhere->{ready}{service_jwt}" });

	local $ENV{CURL_CA_BUNDLE} = VibeNginx::ca_file() // '';
	$http->delete($elsewhere->url . '/bucket/videos', \%as_service);
	IPC::Run::run([ 'bash', '-c', $shell{bucket} =~ s/^STORAGE_URL=.*$/"STORAGE_URL=" . $elsewhere->url/emr ],
		'<', \"$elsewhere->{ready}{service_jwt}\n", '>', \$out, '2>', \$err, IPC::Run::timeout(30));
	is($? >> 8, 0, 'a bucket is made through Storage\'s API') or diag($out, $err);
	like($http->get($elsewhere->url . '/bucket/videos', \%as_service)->{content}, qr/"public":true/, 'and is public');
	$elsewhere->stop;
}

$node = vibe_node('main', fal => $fal, storage => $storage, app => 0);
sql($node, $supabase);
create_realtime($node);
sql($node, q{INSERT INTO storage.buckets VALUES ('videos', 'videos', true), ('other', 'other', true)});
# the table of an app that had an Edge Function make its videos
sql($node, <<'SQL');
CREATE TABLE public.vibelogs (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	user_id uuid,
	content text,
	updated_at timestamptz DEFAULT now(),
	video_generation_status text DEFAULT 'pending'
		CONSTRAINT vibelogs_video_status_check CHECK (video_generation_status IN ('pending', 'processing', 'completed', 'failed')),
	video_request_id text,
	video_url text,
	video_generated_at timestamptz,
	video_generation_error text
);
CREATE EXTENSION vibevideo;
SQL

# -- coming from an older app ---------------------------------------------------------------
{
	my %id = (
		pending => add_row('old: pending', video_generation_status => 'pending'),
		stuck => add_row('old: stuck', video_generation_status => 'processing', video_request_id => 'r-stuck', updated_at => '2020-01-01'),
		young => add_row('old: young', video_generation_status => 'processing', video_request_id => 'r-young'),
		done => add_row('old: done', video_generation_status => 'completed', video_url => 'https://files.example.org/old.mp4',
			video_generated_at => '2020-01-01', updated_at => '2020-01-01'),
		failed => add_row('old: failed', video_generation_status => 'failed', video_generation_error => 'quota', updated_at => '2020-01-01'));
	my %before = map { $_ => row_of($id{$_}) } keys %id;

	my ($state) = sql_error($node, q{SELECT vibevideo.attach('public.vibelogs', prompt_column => 'content')});
	like($state, qr/^(23514|55000)$/, 'attach refuses the table as it is');
	is_deeply(row_of($id{$_}), $before{$_}, "and left row $_ alone") for sort keys %id;
	recipe('older-app');
	is(row_of($id{pending})->{video_generation_status}, undef, 'pending: never asked for');
	is(row_of($id{stuck})->{video_generation_status}, 'failed', 'stuck: failed');
	like(row_of($id{stuck})->{video_generation_error}, qr/^Nothing was being done for this video/, 'with a reason');
	is_deeply(row_of($id{$_}), $before{$_}, "$_: as it was") for qw(young done failed);
	is(sql($node, 'SELECT vibevideo.reset_stuck(interval \'0\')'), '1', 'the young one can be reset as well');
	is(sql($node, q{INSERT INTO vibelogs (content) VALUES ('old: new') RETURNING video_generation_status}), '', 'a new row has no status');
	is(submit($node, $id{stuck})->{status}, 'queued', 'what was stuck can be submitted');
	wait_for_status($node, $id{stuck}, 'completed', name => 'and is completed');
	is(scalar($fal->renders("old: $_")), 0, "nothing was paid for $_") for qw(pending young done failed);
}

# -- a video for every new row --------------------------------------------------------------
sql($node, <<'SQL');
GRANT SELECT, INSERT, UPDATE ON vibelogs TO authenticated;
GRANT INSERT, SELECT ON vibelogs TO anon;
ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON vibelogs TO authenticated USING (user_id = (SELECT auth.uid()));
CREATE POLICY guests ON vibelogs TO anon USING (true);
SQL
recipe('trigger');
{
	my $insert = "INSERT INTO vibelogs (user_id, content) SELECT '$ann', t FROM unnest(ARRAY['trigger one', '', 'trigger two']) t";
	my $of = sub { return sql($node, "SELECT id FROM vibelogs WHERE content = '$_[0]'") };

	sql($node, as_user($ann, $insert));
	for my $prompt ('trigger one', 'trigger two')
	{
		wait_for_status($node, $of->($prompt), 'completed', name => "$prompt is completed");
		is(job_of($node, $of->($prompt))->{requested_by}, $ann, 'in the name of who inserted it');
		is(scalar($fal->renders($prompt)), 1, 'and was paid for once');
		ok($storage->object($of->($prompt)), 'its file is in Storage');
	}
	is(sql($node, "SELECT count(*) FROM vibelogs WHERE content = '' AND video_generation_status IS NULL"), '1', 'a row without text waits');
	is(sql($node, as_user($ann, q{INSERT INTO vibelogs SELECT * FROM vibelogs WHERE false})), '', 'a statement that inserts nothing goes through');

	is(sql($node, <<"SQL"), '1|1000', 'a thousand rows are one call');
BEGIN;
SET LOCAL track_functions = 'all';
INSERT INTO vibelogs (user_id, content) SELECT '$ann', 'thousand ' || n FROM generate_series(1, 1000) n;
SELECT pg_stat_get_xact_function_calls('vibevideo_submit_batch'::regproc),
	(SELECT count(*) FROM vibevideo.job WHERE state = 'pending' AND input ->> 'prompt' LIKE 'thousand %');
ROLLBACK;
SQL
	my ($state) = sql_error($node, q{SET ROLE anon; INSERT INTO vibelogs (content) VALUES ('trigger anon')});
	is($state, '42501', 'a role that may not submit cannot insert');
	is(sql($node, q{SELECT count(*) FROM vibelogs WHERE content = 'trigger anon'}), '0', 'there is no row');
	sql($node, 'SELECT vibevideo.pause()');
	sql($node, as_user($ann, "INSERT INTO vibelogs (user_id, content) VALUES ('$ann', 'trigger while paused')"));
	is(sql($node, q{SELECT video_generation_status FROM vibelogs WHERE content = 'trigger while paused'}), 'queued', 'an insert goes through while sending is paused');
	sql($node, 'SELECT vibevideo.resume()');
	($state) = sql_error($node, as_user($ann, "INSERT INTO vibelogs (user_id, content) VALUES ('$bob', 'trigger theirs')"));
	is($state, '42501', 'nor can one insert rows of others');

	# over a limit
	sql($node, q{INSERT INTO vibevideo.limit (scope, submits_per_day) VALUES ('default', 3)});
	my $two = "INSERT INTO vibelogs (user_id, content) SELECT '$bob', 'limit ' || n FROM generate_series(1, 4) n";
	($state) = sql_error($node, as_user($bob, $two));
	is($state, 'PT429', 'over a limit the insert fails');
	is(sql($node, q{SELECT count(*) FROM vibelogs WHERE content LIKE 'limit %'}), '0', 'with all its rows');
	recipe('trigger-keeps-rows');
	($state) = sql_error($node, as_user($bob, $two));
	is($state, '', 'unless the trigger catches that');
	is(sql($node, q{SELECT count(*), count(video_generation_status) FROM vibelogs WHERE content LIKE 'limit %'}), '4|0', 'then the rows have no status');
	my $later = $of->('limit 1');
	is(sql($node, as_user($bob, "SELECT status FROM vibevideo_submit('$later')")), 'queued', 'and can be submitted later');
	wait_for_status($node, $later, 'completed', name => 'as ever');
	sql($node, as_user($bob, "INSERT INTO vibelogs (user_id, content) VALUES ('$bob', 'within limits')"));
	wait_for_status($node, $of->('within limits'), 'completed', name => 'within the limits that trigger submits as well');
	sql($node, q{DELETE FROM vibevideo.limit; ALTER TABLE vibelogs DISABLE TRIGGER make_videos});
}

# -- a video for every changed text, and from SQL ------------------------------------------------
{
	recipe('text-changes');
	my $id = add_row('text one', user_id => $bob);
	my $jobs = "SELECT string_agg(input ->> 'prompt', ', ' ORDER BY job_id) FROM vibevideo.job WHERE vibelog_id = '$id'";

	like(recipe('submit-sql', key => $id), qr/^\Q$id\E\|queued\|/, 'a row is submitted from SQL');
	is(scalar($fal->renders('text one')), 1, 'which is one call');
	wait_for_status($node, $id, 'completed');
	is(sql($node, $jobs), 'text one', 'what vibevideo writes into the row makes no video');
	sql($node, as_user($bob, "UPDATE vibelogs SET content = content, updated_at = now() WHERE id = '$id'"));
	sql($node, as_user($bob, "UPDATE vibelogs SET content = '' WHERE id = '$id'"));
	is(sql($node, $jobs), 'text one', 'nor does a text that is saved again, or none');
	sql($node, as_user($bob, "UPDATE vibelogs SET content = 'text two' WHERE id = '$id'"));
	is(row_of($id)->{video_generation_status}, 'queued', 'a new text is queued at once');
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id' AND state = 'completed'", '2', 'and its video is made', hurry => 1);
	is(sql($node, $jobs), 'text one, text two', 'of that text');
	is(scalar($fal->renders('text two')), 1, 'which is paid for once');
	sql($node, 'ALTER TABLE vibelogs DISABLE TRIGGER remake_video');

	my $waiting = q{SELECT count(*) FROM vibelogs WHERE video_generation_status IS NULL AND content <> ''};
	add_row("many $_") for 1 .. 3;
	my $rows = sql($node, $waiting);
	is(scalar(my @videos = split /\n/, recipe('submit-many')), $rows, 'many rows are submitted by one call');
	is(sql($node, $waiting), '0', 'all that had none');
	wait_for($node, q{SELECT count(*) FROM vibelogs WHERE content LIKE 'many %' AND video_generation_status = 'completed'}, '3', 'and are completed', hurry => 1);
}

# -- other models and inputs ----------------------------------------------------------------------
{
	recipe('model');
	is(sql($node, 'SELECT count(*) FROM vibevideo.model WHERE NOT builtin'), '1', 'a model is added');
	is(sql($node, q{SELECT cost_usd FROM vibevideo.estimate('fal-ai/example/text-to-video', '{}')}), '0.15', 'with its price');
	like(recipe('prices'), qr/^2\.4\|8 seconds at 0\.3 USD each$/m, 'prices by the second, and what a video costs');
	is(sql($node, q{SELECT cost_usd FROM vibevideo.estimate('acme/film', '{"resolution": "4k"}')}), '0.5', 'one is taken away');
	recipe('schema');
	is(sql($node, q{SELECT check_input FROM vibevideo.model WHERE input_schema IS NOT NULL}), 'refuse', 'what the input must be');
	recipe('model-column');
	is(sql($node, q{SELECT string_agg(label, ', ') FROM vibevideo_models()}), 'fal-ai/minimax/video-01, Hailuo 2.3, Veo 3.1, with sound', 'models that rows may name');
	my $chosen = add_row('by a model of its own');
	sql($node, "UPDATE vibelogs SET video_model = 'fal-ai/minimax/hailuo-2.3/standard/text-to-video' WHERE id = '$chosen'");
	submit($node, $chosen);
	is(sql($node, "SELECT model, cost_usd FROM vibevideo.job WHERE vibelog_id = '$chosen'"), 'fal-ai/minimax/hailuo-2.3/standard/text-to-video|0.28', 'which one does');
	wait_for_status($node, $chosen, 'completed');
	recipe('input-function');
	my $id = add_row('a function makes the input');
	submit($node, $id);
	is(sql($node, "SELECT input FROM vibevideo.job WHERE vibelog_id = '$id'"), '{"prompt": "Hand-drawn: a function makes the input", "prompt_optimizer": false}',
		'an input function makes the input');
	wait_for_status($node, $id, 'completed');
	sql($node, q{SELECT vibevideo.attach('public.vibelogs', input_function => '')});
}

# -- from TypeScript, with supabase-js ------------------------------------------------------------
my $clients = dirname(__FILE__) . '/../clients';
my $has_clients = system('cd ' . $clients . q{ && node -e 'import("@supabase/supabase-js").then(() => import("typescript")).catch(() => process.exit(1))'}) == 0;
my $rest = VibeRest->new($node);

# app(block, user, id) - runs a block of the manual the way an app of that user does
sub app
{
	my ($block, $user, $id) = @_;
	my ($token) = bearer('authenticated', $user, exp => time() + 3600) =~ /(\S+)$/;
	my ($out, $err) = ('', '');

	local $ENV{NODE_EXTRA_CA_CERTS} = VibeNginx::ca_file() // '';
	IPC::Run::run([ 'node', "$clients/manual.mjs", $block ], '<', \encode_json({ gateway => $rest->gateway_url, key => $rest->publishable_key,
		storage => $storage->url, token => $token, id => $id }), '>', \$out, '2>', \$err, IPC::Run::timeout(60)) or die "node: $err\n";
	return decode_json($out);
}

SKIP:
{
	skip 'the clients are not installed', 9 unless $has_clients;
	my ($id, $bad) = map { add_row("app: $_", user_id => $ann) } qw(good bad);
	my $answer = app('call', $ann, $id);

	is($answer->{video}{status}, 'completed', 'supabase-js: a video is asked for and followed to its end') or diag(explain($answer));
	is($answer->{video}{video_url}, row_of($id)->{video_url}, 'the app has its URL');
	is($answer->{calls}[0], 'POST /rest/v1/rpc/vibevideo_submit 202', 'asking is answered 202');
	is($answer->{calls}[-1], 'GET /rest/v1/rpc/vibevideo_status 200', 'the status can be had by GET');
	is(scalar($fal->renders('app: good')), 1, 'one render was paid for');
	like(app('call', $bob, $id)->{error}{message}, qr/^there is no row/, 'somebody else has no such row');
	$fal->fault('submit', { kind => 'http', status => 422 }, prompt => '^app: bad$');
	$answer = app('call', $ann, $bad);
	is($answer->{calls}[0], 'POST /rest/v1/rpc/vibevideo_submit 502', 'fal.ai says no: 502');
	like($answer->{error}{message}, qr/^Failed: /, 'and error is the video, with its message');
	is(scalar(@{ $answer->{calls} }), 1, 'which is not sent again');
}
{
	my $id = sql($node, q{SELECT id FROM vibelogs WHERE content = 'trigger one'});
	my $sees = sub { my ($user, $row) = @_; return sql($node, as_user($user, "SET LOCAL realtime.topic = 'vibelog:$row'; SELECT count(*) FROM realtime.messages")) };

	recipe('realtime-policy');
	sql($node, q{INSERT INTO realtime.messages VALUES ('any', 'broadcast'), ('any', 'presence')});
	is($sees->($ann, $id), '1', 'Realtime: one may listen to broadcasts about one\'s own row');
	is($sees->($bob, $id), '0', 'and to none of others');
	is($sees->($ann, 'nothing'), '0', 'nor to what is no row');
	sql($node, 'CREATE POLICY everybody ON vibelogs FOR SELECT USING (true)');
	is($sees->($bob, $id), '0', 'nor if one sees the row');
	sql($node, 'DROP POLICY everybody ON vibelogs');

	# an owner of the table who is an ordinary role
	my $sent = sub {
		my ($topic) = @_;
		return sql($node, "SET ROLE shop; SELECT realtime.send('{}', 'status', '$topic', true); RESET ROLE; SELECT count(*) FROM realtime.messages WHERE topic = '$topic'") =~ /(\d+)$/ ? $1 : undef;
	};
	sql($node, 'CREATE ROLE shop; GRANT USAGE ON SCHEMA realtime TO shop; GRANT INSERT ON realtime.messages TO shop');
	is($sent->('vibelog:1'), '0', 'Realtime: such an owner sends nothing');
	recipe('realtime-sender', owner => 'shop');
	is($sent->('vibelog:1'), '1', 'and with the policy does');
	is($sent->('others'), '0', 'to topics of ours only');
}

# -- changing keys --------------------------------------------------------------------------------
{
	my @new = map { "key-$_:secret-$_" } 1 .. 4;
	my $ok = "fal_key|ok\nqueue|ok";
	my $check = sub { return join("\n", map { s/^(\w+\|\w+).*/$1/r } grep { /^(?:fal_key|queue)\|/ } split /\n/, recipe('rotate-check')) };
	my $completes = sub {
		my ($prompt) = @_;
		my $id = add_row($prompt);
		sql($node, "SELECT vibevideo_submit_batch('{$id}')");
		wait_for_status($node, $id, 'completed', name => "$prompt is completed");
		return;
	};

	# one job is at fal.ai while its key is changed
	sql($node, "INSERT INTO vault.secrets (name, secret) VALUES ('fal_key', '$new[0]')");
	keys_at_fal($new[0]);
	$fal->rule('keys: under way', hold => 'queue');
	my $under_way = add_row('keys: under way');
	is(submit($node, $under_way)->{status}, 'queued', 'a job is under way');
	$completes->('keys: the first one');

	# the old key dies first
	keys_at_fal($new[1]);
	my $refused = add_row('keys: refused');
	my $called = submit($node, $refused);
	is("$called->{status} $called->{error_code}", 'failed unauthorized', 'a submit with the old key fails');
	isnt($check->(), $ok, 'check_config says so');
	my $worker = worker_pid($node);
	recipe('rotate-vault', 'key id' => 'key-2', 'key secret' => 'secret-2');
	is($check->(), $ok, 'with the new one it is content');
	$completes->('keys: the next one');
	is(recipe('rotate-redrive'), '1', 'what was refused is sent again');
	wait_for_status($node, $refused, 'completed', name => 'and completed');
	is(scalar($fal->renders('keys: refused')), 1, 'and paid for once');
	$fal->command(job_of($node, $under_way)->{request_id}, $_) for qw(start finish);
	wait_for_status($node, $under_way, 'completed', name => 'the job that was under way goes on');
	is(scalar($fal->renders('keys: under way')), 1, 'and was paid for once');
	is(worker_pid($node), $worker, 'the worker is the one it was');

	# Storage's key: a copy is refused before Vault has the new one
	sql($node, "INSERT INTO vault.secrets (name, secret) VALUES ('storage_key', '" . ($service =~ s/\.[^.]*$/.bm8gc2lnbmF0dXJl/r) . "')");
	my $unstored = add_row('keys: not stored');
	submit($node, $unstored);
	wait_for_status($node, $unstored, 'failed', name => 'Storage refuses its key');
	is(join(' ', @{ job_of($node, $unstored) }{qw(error_code tries)}), 'AccessDenied 3', 'after three tries');
	like(recipe('rotate-storage', 'service_role key' => $service), qr/^1$/m, 'with the new key one is copied again');
	wait_for_status($node, $unstored, 'completed', name => 'and stored');
	is(scalar($fal->renders('keys: not stored')), 1, 'without another render');

	# the setting, once Vault has none
	sql($node, 'DELETE FROM vault.secrets');
	keys_at_fal($new[2]);
	recipe('rotate-setting', 'key id' => 'key-3', 'key secret' => 'secret-3');
	# a reload reaches the worker a moment later, and the old key is dead already
	my $id = add_row('keys: from the setting');
	sql($node, "SELECT vibevideo_submit_batch('{$id}')");
	wait_until(
		sub {
			my $status = row_of($id)->{video_generation_status};
			recipe('rotate-redrive') if $status eq 'failed';
			hurry($node);
			return $status eq 'completed';
		},
		'a job is completed with the key from the setting');
	is($check->(), $ok, 'the setting is found');
	is(worker_pid($node), $worker, 'still the same worker');

	# the environment goes before the setting
	keys_at_fal($new[3]);
	{
		local $ENV{FAL_KEY} = $new[3];
		$node->restart;
	}
	$completes->('keys: from the environment');
	like(recipe('rotate-check'), qr/^fal_key\|ok\|.*environment/m, 'check_config names the place');
}

# -- private videos -------------------------------------------------------------------------------
{
	my $id = sql($node, q{SELECT id FROM vibelogs WHERE content = 'trigger one'});
	my $video_url = row_of($id)->{video_url};
	my ($sha) = $storage->object($id)->{sha256};

	sql($node, qq{INSERT INTO storage.objects VALUES ('videos', '$_->{key}'), ('other', '$_->{key}')}) for @{ $storage->ledger->{objects} };
	is(http_get($video_url)->{status}, 200, 'in a public bucket the URL opens');
	recipe('private-bucket');
	is(sql($node, 'SELECT string_agg(id, \' \') FROM storage.buckets WHERE NOT public'), 'videos', 'one bucket is private now');
	# the emulator has no database: tell it what Storage reads there
	my $answer = $http->put($storage->url . '/bucket/videos', { content => encode_json(
		{ public => sql($node, q{SELECT public FROM storage.buckets WHERE id = 'videos'}) eq 't' ? JSON::PP::true : JSON::PP::false }) });
	is($answer->{status}, 200, 'and Storage knows');
	like(http_get($video_url)->{status}, qr/^4/, 'the URL opens no longer');

	my $path = sql($node, as_user($ann, "SELECT public.video_path('$id')"));
	is($path, $storage->object($id)->{key}, 'the path of the video is that of its object');
	is(recipe('private-object-key', id => $id), $path, 'the job table says the same');
	is(sql($node, 'SET ROLE service_role; ' . $recipe{'private-object-key'} =~ s/<id>/$id/r . '; RESET ROLE'), $path, 'also to service_role');
	is(sql($node, as_user($bob, "SELECT public.video_path('$id')")), '', 'others get no path');
	my ($state) = sql_error($node, "SET ROLE anon; SELECT public.video_path('$id')");
	is($state, '42501', 'anon may not ask');
	is(sql($node, "SELECT public.video_path('" . add_row('no video') . "') IS NULL"), 't', 'no video, no path');
	is(sql($node, as_user($ann, "SELECT string_agg(DISTINCT name, ' ') FROM storage.objects WHERE name = '$path' AND bucket_id = 'videos'")),
		$path, 'the policy shows the user the object');
	is(sql($node, as_user($ann, q{SELECT count(*) FROM storage.objects})),
		sql($node, "SELECT count(*) FROM vibelogs WHERE user_id = '$ann' AND video_generation_status = 'completed'"),
		'those of the user\'s rows and no others');
	is(sql($node, as_user($bob, "SELECT count(*) FROM storage.objects WHERE name = '$path'")), '0', 'others do not see it');
	sql($node, 'CREATE POLICY everybody ON vibelogs FOR SELECT USING (true)');
	is(sql($node, as_user($bob, "SELECT count(*) FROM storage.objects WHERE name = '$path'")), '0', 'nor if they see the row');
	sql($node, 'DROP POLICY everybody ON vibelogs');

	$answer = $http->post($storage->url . "/object/sign/videos/$path", { content => encode_json({ expiresIn => 60 }) });
	is($answer->{status}, 200, 'Storage signs the path');
	my $signed = $storage->url . decode_json($answer->{content})->{signedURL};
	my $file = http_get($signed);
	is($file->{status}, 200, 'the signed URL opens');
	like($file->{content}, qr/^.{4}ftyp/s, 'and is the video');
	like(http_get($signed =~ s/token=.*/token=x.y.z/r)->{status}, qr/^4/, 'with another token it does not');

  SKIP:
	{
		skip 'the clients are not installed', 4 unless $has_clients;
		my $answer = app('sign', $ann, $id);
		is_deeply($answer->{files}, [ { status => 200, type => 'video/mp4', head => 'ftyp' } ], 'supabase-js: the app signs a URL that opens') or diag(explain($answer));
		is($answer->{calls}[1], "POST /storage/v1/object/sign/videos/$path 200", 'of this path');
		$answer = app('sign', $bob, $id);
		is_deeply($answer->{log}, [], 'others get none');
		is(scalar(@{ $answer->{calls} }), 1, 'and do not ask Storage');
	}

	sql($node, 'SELECT vibevideo_submit_batch(ARRAY[\'' . (my $next = add_row('private: next')) . '\'::uuid])');
	wait_for_status($node, $next, 'completed', name => 'videos go into a private bucket as well');
}

# -- rolling back ---------------------------------------------------------------------------------
{
	my $count = sub { return scalar(@{ $storage->ledger->{objects} }) };
	my $files = $count->();

	$fal->rule('^rollback: under way$', hold => 'queue');
	my $under_way = add_row('rollback: under way');
	submit($node, $under_way);
	is(recipe('rollback-wait'), "$under_way|queued|Video queued", 'one job is under way');
	my $others = "SELECT json_agg(v ORDER BY id) FROM vibelogs v WHERE id <> '$under_way'";
	my $rows = sql($node, $others);

	ok($files > 5, 'there are files');
	sql($node, 'ALTER TABLE vibelogs ENABLE TRIGGER make_videos');
	recipe('rollback');
	is(sql($node, q{SELECT count(*) FROM pg_extension WHERE extname = 'vibevideo'}), '0', 'the extension is gone');
	is(sql($node, q{SELECT count(*) FROM pg_proc WHERE proname LIKE 'vibevideo%'}), '0', 'and its functions');
	is(sql($node, $others), $rows, 'columns and values are as they were');
	is(join(' ', map { $_ // 'NULL' } @{ row_of($under_way) }{qw(video_generation_status video_generation_error)}), 'failed vibevideo was removed', 'no row is left for somebody to finish');
	is(sql($node, q{SELECT count(*) FROM pg_constraint WHERE conrelid = 'vibelogs'::regclass AND contype = 'c'}), '1', 'so is the CHECK');
	is(sql($node, q{SELECT count(*) FROM pg_indexes WHERE tablename = 'vibelogs' AND indexdef LIKE '%video_request_id%'}), '1', 'and the index');
	is($count->(), $files, 'and the files');
	sql($node, q{INSERT INTO vibelogs (content) VALUES ('after it')});
	is(sql($node, q{SELECT count(*) FROM vibelogs WHERE content = 'after it'}), '1', 'the app can go on');

	sql($node, q{DELETE FROM vibelogs WHERE content = 'after it'});
	sql($node, q{CREATE EXTENSION vibevideo; SELECT vibevideo.attach('public.vibelogs', prompt_column => 'content')});
	is(sql($node, $others), $rows, 'coming back changes no row');
	is(submit($node, $under_way)->{status}, 'queued', 'and what was given up can be asked for again');
}

# those that need more servers, or another past
$ran{$_} = 1 for map { slurp_file($_) =~ /\$recipe\{'?([\w-]+)'?\}/g } qw(test/t/227_webhook_url.pl test/t/234_stand_ins.pl test/t/246_table_changes.pl test/t/280_dashboard.pl);
is_deeply([ grep { !$ran{$_} } sort keys %recipe ], [], 'every recipe of the manual was run');
done_testing();
