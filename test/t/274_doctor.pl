# A doctor that is right: check_config has nothing to say of configurations that are
# healthy, however unusual, and one thing of each that is broken, with a hint that is
# true there.  So do the hints of errors.

use strict;
use warnings FATAL => 'all';

# it starts several servers, some of them again and again
BEGIN { $ENV{VIBETEST_TIMEOUT} ||= 300 }

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal(default => { queue_ms => 0, run_ms => 0 });
my $storage = start_storage();
my $service = $storage->{ready}{service_jwt};
# what is said of an emulator that speaks http
my $plain = $fal->url !~ /^https/;
my $node = vibe_node('main', fal => $fal, storage => $storage, init => { allows_streaming => 1 });

# check(node =>, database =>, set => {setting => value}) - check_config, as {name => [status, detail, hint]}.
sub check
{
	my (%on) = @_;
	my $set = join('', map { "SET vibevideo.$_ = '$on{set}{$_}'; " } sort keys %{ $on{set} || {} });

	return decode_json(($on{node} || $node)->safe_psql($on{database} || 'postgres',
			"${set}SELECT jsonb_object_agg(c.check_name, ARRAY[c.status, c.detail, c.hint]) FROM vibevideo.check_config() c"));
}

sub found
{
	my ($lines) = @_;

	return [ grep { $lines->{$_}[0] ne 'ok' && !($plain && $_ eq 'media_hosts' && $lines->{$_}[1] =~ /plain http:/) } sort keys %$lines ];
}

# is_well(name, where) - there is nothing to say; returns the lines
sub is_well
{
	my ($name, %on) = @_;
	my $lines = check(%on);
	my $found = found($lines);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is_deeply($found, [], "$name: all is well") or diag(explain({ map { $_ => $lines->{$_} } @$found }));
	return $lines;
}

# finds(name, [line, status, detail, hint], where) - this, and nothing else; returns the lines
sub finds
{
	my ($name, $finding, %on) = @_;
	my ($line, $status, $detail, $hint) = @$finding;
	my $lines = check(%on);
	my $found = found($lines);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is_deeply($found, [$line], "$name: one finding, $line") or diag(explain({ map { $_ => $lines->{$_} } @$found, $line }));
	my ($is, @words) = @{ $lines->{$line} || [ 'missing', '', '' ] };
	ok($is eq $status && $words[0] =~ $detail && ($words[1] // '') =~ $hint, "$name: which says what to do") or diag(explain($lines->{$line}));
	return $lines;
}

# told_by(lines, line, names) - that these name it
sub told_by
{
	my ($name, $lines, $line, @names) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is_deeply([ grep { ($lines->{$_}[1] // '') !~ /see line \Q$line\E\b/ } @names ], [], "$name: what depends on it names line $line")
	  or diag(explain({ map { $_ => $lines->{$_} } @names }));
	return;
}

# What an error says: its message, detail and hint.
sub advice
{
	my ($statement, %on) = @_;
	my (undef, $text) = sql_error($on{node} || $node, $statement, $on{database});

	return join("\n", grep { /^(?:ERROR|DETAIL|HINT):/ } split /\n/, $text =~ s/^psql:\S* //mgr);
}

# hold(prompts) - rows with a job each at fal.ai, which fal.ai does not end.
sub hold
{
	my (@prompts) = @_;
	my @ids = map { new_row($node, $_) } @prompts;

	$fal->rule('^held: ', hold => 'run');
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE state = 'generating'", scalar(@ids), 'jobs are at fal.ai', hurry => 1);
	return @ids;
}

# The jobs of these rows come to their end.
sub let_go
{
	my (@ids) = @_;

	$fal->command('*', 'finish');
	wait_for_status($node, $_, 'completed') for @ids;
	return;
}

# Until the worker has nothing to do and leaves.
sub no_worker
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	configure($node, worker_idle_timeout => '1s');
	wait_for($node, 'SELECT count(pid) FROM vibevideo.worker_info()', '0', "$name: the worker has left");
	return configure($node, worker_idle_timeout => '10min');
}

# ---------------------------------------------------------------------------
# Keys
# ---------------------------------------------------------------------------
# a key's hints name Vault where there is one
{
	my $keyless = q{SET vibevideo.fal_key = ''; SELECT vibevideo_submit('} . new_row($node, 'keyless') . q{')};
	my $advice = q{SELECT advice FROM vibevideo.settings WHERE name = 'vibevideo.fal_key'};
	my $database = q{ALTER DATABASE postgres SET vibevideo.fal_key = 'a:b'};
	my %no = (set => { fal_key => '' });
	my $vault = q{CREATE SCHEMA vault; CREATE VIEW vault.decrypted_secrets AS SELECT 'x' AS name, 'x' AS decrypted_secret};
	my $check = sub {
		my ($name, $has_vault) = @_;
		my $hint = $has_vault ? qr/^SELECT vault\.create_secret\('<key id>:<key secret>', 'fal_key'\); or set FAL_KEY/ : qr/^Set FAL_KEY (?!.*[Vv]ault).*ALTER SYSTEM SET vibevideo\.fal_key/;
		my $lines = finds("no fal.ai key, $name", [ 'fal_key', 'fail', qr/^no fal\.ai API key$/, $hint ], %no);

		told_by("no fal.ai key, $name", $lines, 'fal_key', 'queue');
		finds("no Storage key, $name", [ 'storage_key', 'fail', qr/^no Storage key$/, $has_vault ? qr/vault\.create_secret\('<service_role key>', 'storage_key'\)/ : qr/^(?!.*[Vv]ault)/ ],
			set => { storage_key => '' });
		$has_vault ? like($_->(), qr/vault/i, "$name: Vault is named") : unlike($_->(), qr/vault/i, "$name: Vault is not named")
		  for sub { advice($keyless) }, sub { advice($database) }, sub { sql($node, $advice) },
		  sub { sql($node, q{SELECT vibevideo_internal.key_places('FAL_KEY', 'vibevideo.fal_key', 'fal_key')}) };
		return;
	};

	$check->('no Vault', 0);
	sql($node, $vault);
	$check->('Vault', 1);
	finds('a Vault that is not asked', [ 'fal_key', 'fail', qr/^no fal/, qr/^Set FAL_KEY (?!.*[Vv]ault)/ ], set => { fal_key => '', fal_key_secret => '' });
	sql($node, 'CREATE ROLE mallory; ALTER SCHEMA vault OWNER TO mallory');
	$check->('a stranger\'s schema vault', 0);
	sql($node, 'DROP SCHEMA vault CASCADE; DROP ROLE mallory');
}

# ---------------------------------------------------------------------------
# Errors
# ---------------------------------------------------------------------------
{
	my $unknown = '7d3c5e1a-0f4b-4c3d-9a58-2b1c6d7e8f90';
	my @calls = map { "SELECT vibevideo_$_('$unknown')" } qw(submit status cancel retry);

	unlike(advice($_), qr/security|current role/, "no row-level security: $_ does not blame it") for @calls;
	sql($node, q{CREATE ROLE app; ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY; GRANT SELECT, UPDATE ON vibelogs TO app});
	unlike(advice($calls[0]), qr/security/, 'nor with it, where it does not concern the caller');
	sql($node, q{GRANT USAGE ON SCHEMA vibevideo TO app; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app});
	like(advice("SET ROLE app; $calls[0]"), qr/DETAIL:.*that the current role may update\.\nHINT:  Row-level security/, 'it is named where it may be the cause');
	sql($node, 'REVOKE UPDATE ON vibelogs FROM app');
	like(advice("SET ROLE app; $calls[0]"), qr/HINT:  GRANT UPDATE ON public\.vibelogs TO app; row-level security decides/, 'and so it is where rights are lacking');
	sql($node, 'ALTER TABLE vibelogs DISABLE ROW LEVEL SECURITY');
	like(advice("SET ROLE app; $calls[0]"), qr/HINT:  GRANT UPDATE ON public\.vibelogs TO app;$/m, 'but not without it');
	sql($node, 'DROP OWNED BY app; DROP ROLE app');
}
{
	my $image = q{SELECT vibevideo.attach('vibelogs', model => 'fal-ai/minimax/video-01/image-to-video', };
	my $submit = q{SELECT vibevideo_submit('} . new_row($node, 'without an image') . q{')};

	sql($node, $image . q{image_column => 'image')});
	like(advice($submit), qr/ERROR:.*image is missing\n.*\nHINT:  Fill in column image, or /s, 'an image column that is empty: the image is missing');
	sql($node, $image . q{image_column => '')});
	like(advice($submit), qr/ERROR:  22023: (?!.*image is missing).*HINT:  Attach the table again with image_column/s, 'no image column: that is said');
	sql($node, q{CREATE FUNCTION bare(vibelogs) RETURNS jsonb LANGUAGE sql RETURN '{"prompt": "x"}'::jsonb;
		CREATE FUNCTION empty(vibelogs) RETURNS jsonb LANGUAGE sql RETURN '{"image_url": "x"}'::jsonb;} . $image . q{input_function => 'bare')});
	like(advice($submit), qr/ERROR:.*input function public\.bare returned no image_url\n.*HINT:  Fix the function/s, 'an input function without an image: it is named');
	sql($node, $image . q{input_function => 'empty')});
	like(advice($submit), qr/prompt is missing.*HINT:  Input function public\.empty returned none/s, 'an input function without a prompt: it is named, and not a column');
	sql($node, q{SELECT vibevideo.attach('vibelogs', input_function => '', model => ''); DROP FUNCTION bare(vibelogs), empty(vibelogs)});
}

# ---------------------------------------------------------------------------
# Limits
# ---------------------------------------------------------------------------
{
	my $limit = sub { sql($node, 'DELETE FROM vibevideo.limit WHERE true; INSERT INTO vibevideo.limit (scope, user_id, max_active, spend_per_day_usd) VALUES ' . join(', ', @_)) };
	my $binds_nobody = [ 'limits', 'warn', qr/limits of users bind nobody, since the table has no user_column, and nobody comes here with a JWT/, qr/user_column => '\.\.\.'/ ];

	$limit->(q{('default', NULL, 3, 5)});
	finds('limits of users, without users', $binds_nobody);
	finds('and a model without a price', $binds_nobody, set => { model => 'acme/unknown' });
	$limit->(q{('user', 'ann', 3, NULL)});
	finds('a limit of one user', $binds_nobody);
	$limit->(q{('user', 'ann', -1, -1)});
	is_well('a limit that is none');
	$limit->(q{('global', NULL, 100, 500)});
	is_well('limits of all users together');
	finds('and a model without a price', [ 'price', 'warn', qr/price of acme\/unknown is not known/, qr/^INSERT INTO vibevideo\.model/ ], set => { model => 'acme/unknown' });
	sql($node, q{INSERT INTO vibevideo.model (endpoint, price_usd) VALUES ('acme/free', 0), ('acme/vague', NULL)});
	is_well('a model that costs nothing', set => { model => 'acme/free' });
	finds('a model with a row and no price', [ 'price', 'warn', qr/acme\/vague is not known/, qr/^UPDATE vibevideo\.model SET price_usd/ ], set => { model => 'acme/vague' });

	$limit->(q{('default', NULL, 3, 5)});
	sql($node, q{SELECT vibevideo.attach('vibelogs', user_column => 'image')});
	is_well('limits of users, who are in a column');
	sql($node, q{SELECT vibevideo.attach('vibelogs', user_column => '')});
	# somebody has come with a JWT, or may
	sql($node, q{BEGIN; INSERT INTO vibevideo.job (vibelog_id, state, model, input, next_at, row_dirty, completed_at, requested_by) VALUES ('x', 'completed', 'm/n', '{}', NULL, false, now(), 'ann')});
	like(sql($node, 'SELECT status FROM vibevideo_internal.check_limits()'), qr/^ok$/, 'limits of users, who were known');
	sql($node, q{ROLLBACK; CREATE ROLE authenticated; SELECT vibevideo.grant_api_roles()});
	is_well('limits of users, who may come through PostgREST');
	sql($node, q{ALTER ROLE authenticated SET statement_timeout = '0s'});
	is(sql($node, q{SELECT advice FROM vibevideo.settings WHERE name = 'vibevideo.submit_timeout'}), '', 'a statement_timeout that is none ends no call');
	sql($node, q{BEGIN; INSERT INTO vibevideo.job (vibelog_id, state, model, input, next_at, row_dirty, completed_at) SELECT g, 'completed', 'm/n', '{}', NULL, false, now() FROM generate_series(1, 100) g});
	like(sql($node, q{SELECT string_agg(status || ' ' || detail, ', ') FROM vibevideo_internal.check_limits()}), qr/^warn .*none of the last 100 videos was requested by a known user/, 'unless nobody ever does');
	sql($node, 'ROLLBACK; DELETE FROM vibevideo.limit WHERE true');
}

# ---------------------------------------------------------------------------
# pg_cron
# ---------------------------------------------------------------------------
SKIP:
{
	skip 'pg_cron is not installed', 1 unless has_pg_cron();
	my $cron = vibe_node('cron', fal => $fal, storage => $storage, cron => 1);
	my $detail = sub { return check(node => $cron)->{pg_cron}[1] };
	my $run = q{INSERT INTO cron.job_run_details (jobid, runid, status, return_message, start_time, end_time) SELECT jobid, nextval('cron.runid_seq'), '%s', '%s', now(), now() FROM cron.job};

	is_well('pg_cron in the server, not in the database', node => $cron);
	sql($cron, 'CREATE EXTENSION pg_cron');
	is_well('pg_cron without a job of ours', node => $cron);
	sql($cron, q{SELECT cron.schedule('my poll', '*/30 * * * *', 'SELECT checked FROM public.vibevideo_poll()')});
	is_well('a job by another name, every 30 minutes', node => $cron);
	like($detail->(), qr/job 1: \*\/30 \* \* \* \*$/, 'which is found');
	sql($cron, sprintf($run, 'failed', 'server restarted'));
	is_well('a run that a restart has ended', node => $cron);
	sql($cron, sprintf($run, 'failed', 'ERROR:  permission denied for function vibevideo_poll'));
	finds('a run that has failed', [ 'pg_cron', 'warn', qr/permission denied/, qr/^See cron\.job_run_details\.$/ ], node => $cron);
	sql($cron, sprintf($run, 'failed', 'connection failed'));
	finds('a run without a connection', [ 'pg_cron', 'warn', qr/connection failed/, qr/pg_hba\.conf/ ], node => $cron);
	sql($cron, sprintf($run, 'succeeded', '1 row'));
	is_well('a run that has not', node => $cron);
	$cron->append_conf('postgresql.conf', q{shared_preload_libraries = 'vibevideo'});
	$cron->restart;
	finds('pg_cron is not loaded', [ 'pg_cron', 'warn', qr/never runs: pg_cron is not in shared_preload_libraries/, qr/^Add it to the list/ ], node => $cron);
}

done_testing();
