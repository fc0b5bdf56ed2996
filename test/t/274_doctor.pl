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
# fal.ai lists what has a price there
$fal->set_prices(map { { endpoint => "acme/$_", unit => 'videos', unit_price => 1 } } qw(unknown free vague by-the-second by-five-seconds));
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
# Services and keys
# ---------------------------------------------------------------------------
is_well('plain PostgreSQL');
is_well('storage none', set => { storage_kind => 'none', storage_key => '', storage_url => '', storage_bucket => 'none', storage_public_url => '' });
is_well('S3', set => { storage_kind => 's3', storage_key => 'access:secret', storage_url => 'http://127.0.0.1:1' });
is(sql($node, q{SET vibevideo.storage_kind = 'none'; SET vibevideo.storage_url = ''; SELECT count(*) FROM vibevideo.settings WHERE name LIKE 'vibevideo.storage%' AND advice ~ 'stored|storage_kind';
	RESET vibevideo.storage_kind; RESET vibevideo.storage_url}), '0', 'storage none: the settings say nothing of Storage');
{
	my $lines = finds('S3 without a URL', [ 'bucket', 'fail', qr/storage_url is not set/, qr/the address of the S3 endpoint/ ],
		set => { storage_kind => 's3', storage_key => 'access:secret', storage_url => '' });

	told_by('S3 without a URL', $lines, 'bucket', qw(bucket_public bucket_size public_url));
	finds('S3 without a key', [ 'storage_key', 'fail', qr/^no Storage key$/, qr/<access key id>:<secret>/ ],
		set => { storage_kind => 's3', storage_key => '', storage_url => 'http://127.0.0.1:1' });
}

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
	like(advice("SET ROLE app; $calls[0]"), qr/DETAIL:.*that role app may see\.\nHINT:  If it is there, row-level security hides it/, 'it is named where it may be the cause');
	sql($node, 'REVOKE UPDATE ON vibelogs FROM app');
	like(advice("SET ROLE app; $calls[0]"), qr/HINT:  GRANT UPDATE \(prompt\) ON public\.vibelogs TO app; its policies decide for which rows\./, 'and so it is where rights are lacking');
	sql($node, 'ALTER TABLE vibelogs DISABLE ROW LEVEL SECURITY');
	like(advice("SET ROLE app; $calls[0]"), qr/HINT:  GRANT UPDATE \(prompt\) ON public\.vibelogs TO app; that is for all rows/, 'but not without it');
	sql($node, 'DROP OWNED BY app; DROP ROLE app');
}
{
	my $image = q{SELECT vibevideo.attach('vibelogs', model => 'fal-ai/minimax/video-01/image-to-video', };
	my $submit = q{SELECT vibevideo_submit('} . new_row($node, 'without an image') . q{')};

	sql($node, $image . q{image_column => 'image')});
	like(advice($submit), qr/ERROR:.*image is missing\n.*\nHINT:  Fill in column image, or /s, 'an image column that is empty: the image is missing');
	is_well('a model that needs an image, and a column for it');
	sql($node, $image . q{image_column => '')});
	like(advice($submit), qr/ERROR:  22023: (?!.*image is missing).*HINT:  Attach the table again with image_column/s, 'no image column: that is said');
	finds('a model that needs an image, and no column for it', [ 'image_column', 'fail', qr/video-01\/image-to-video needs an image/, qr/image_column => '\.\.\.'/ ]);
	sql($node, q{CREATE FUNCTION bare(vibelogs) RETURNS jsonb LANGUAGE sql RETURN '{"prompt": "x"}'::jsonb;
		CREATE FUNCTION empty(vibelogs) RETURNS jsonb LANGUAGE sql RETURN '{"image_url": "x"}'::jsonb;} . $image . q{input_function => 'bare')});
	like(advice($submit), qr/ERROR:.*input function public\.bare returned no image_url\n.*HINT:  Fix the function/s, 'an input function without an image: it is named');
	is_well('a model that needs an image, which a function knows');
	sql($node, $image . q{input_function => 'empty')});
	like(advice($submit), qr/prompt is missing.*HINT:  Input function public\.empty returned none/s, 'an input function without a prompt: it is named, and not a column');
	sql($node, q{SELECT vibevideo.attach('vibelogs', input_function => '', model => ''); DROP FUNCTION bare(vibelogs), empty(vibelogs)});
}

# ---------------------------------------------------------------------------
# Jobs that wait as they should
# ---------------------------------------------------------------------------
my $old = q{created_at = now() - interval '30 minutes', updated_at = now() - interval '30 minutes', next_at = now() - interval '20 minutes'};
{
	configure($node, max_active => 1);
	$fal->rule('^held: ', hold => 'run');
	my @ids = map { new_row($node, "held: $_") } 1 .. 51;
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	wait_for($node, q{SELECT count(*) FILTER (WHERE state = 'generating'), count(*) FILTER (WHERE state = 'pending') FROM vibevideo.job}, '1|50', 'one is at fal.ai, 50 wait', hurry => 1);
	sql($node, "UPDATE vibevideo.job SET $old WHERE state = 'pending'");
	is_well('max_active');
	is(sql($node, q{SELECT count(*) FROM vibevideo.inbox()}), '0', 'max_active: and nothing needs a person');

	# none of them has been sent since the last one ended
	sql($node, q{BEGIN; UPDATE vibevideo.job SET state = 'cancelled', next_at = NULL, completed_at = now() WHERE state = 'generating'});
	like(sql($node, q{SELECT status FROM vibevideo_internal.check_overdue()}), qr/^ok$/, 'max_active: a place that has just become free is no trouble');
	sql($node, 'ROLLBACK');
	sql($node, q{SELECT vibevideo_cancel(vibelog_id::uuid) FROM vibevideo.job WHERE state = 'pending'});
	configure($node, max_active => 0);
	let_go((grep { sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$_' AND state <> 'cancelled'") } @ids));
}
{
	$fal->fault('submit', { kind => 'http', status => 503, headers => { 'retry-after' => '1000', 'x-fal-request-id' => 'x' }, body => { detail => 'later' } }, times => 3, prompt => '^later ');
	my @ids = map { new_row($node, "later $_") } 1 .. 3;
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'pending' AND tries > 0}, '3', 'all jobs are tried again later');
	is_well('backoff');
	sql($node, 'SELECT vibevideo_cancel(vibelog_id::uuid) FROM vibevideo.job WHERE next_at IS NOT NULL');
}
{
	# a lock keeps the worker from them: these are overdue, unless something else holds them
	my @ids = hold(map { "held: lock $_" } 1 .. 3);
	my $session = background_sql($node);

	$session->query_safe(q{SELECT vibevideo.pause('all')});
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE leased_by IS NOT NULL}, '0', 'nobody has them');
	$session->query_safe("UPDATE vibevideo.job SET $old WHERE state = 'generating'");
	my $lines = finds('paused', [ 'paused', 'warn', qr/^paused by /, qr/resume/ ]);
	told_by('paused', $lines, 'paused', 'overdue');
	no_worker('paused');
	$lines = finds('paused, without a worker', [ 'paused', 'warn', qr/^paused by /, qr/resume/ ]);
	told_by('paused, without a worker', $lines, 'paused', qw(worker rhythm overdue));
	is(sql($node, 'SELECT worker, worker_detail FROM vibevideo.overview()'), 'idle|not running: no job is worked on here', 'nor does the overview miss it');

	$session->query_safe('BEGIN; SELECT FROM vibevideo.job FOR UPDATE');
	sql($node, 'SELECT vibevideo.resume()');
	wait_for($node, q{SELECT count(pid) FROM vibevideo.worker_info()}, '1', 'the worker is back');
	wait_for($node, q{SELECT status, hint FROM vibevideo_internal.check_overdue()}, qr/^fail\|.*raise vibevideo\.max_requests\.$/, 'jobs that nothing holds are overdue');
	finds('overdue', [ 'overdue', 'fail', qr/^jobs that wait for their turn: 3, the oldest was due 2\d min ago$/, qr/server log.*vibevideo\.max_requests\.$/ ]);
	is(sql($node, q{BEGIN; SET LOCAL vibevideo.poll_interval = '1h'; SELECT status FROM vibevideo_internal.check_overdue(); ROLLBACK}), 'ok',
		'not if their polls are left to who calls vibevideo_poll()');

	# a cancel is due since yesterday
	$session->query_safe(q{UPDATE vibevideo.job SET cancel_requested_at = now(), next_at = now() - interval '1 day' WHERE state = 'generating'; COMMIT; BEGIN; SELECT FROM vibevideo.job FOR UPDATE});
	$session->query_safe('ROLLBACK');
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE next_at IS NOT NULL}, '0', 'they are cancelled', hurry => 1);

	@ids = hold('held: cancel', 'held: webhook');
	$session->query_safe(q{BEGIN; UPDATE vibevideo.job SET next_at = now() - interval '1 day', cancel_requested_at = CASE WHEN input ->> 'prompt' = 'held: cancel' THEN now() END
		WHERE state = 'generating'; SELECT vibevideo_internal.check_overdue()});
	is($session->query_safe('SELECT status FROM vibevideo_internal.check_overdue()'), 'ok', 'what is to come first is not overdue since yesterday');
	$session->query_safe('ROLLBACK');
	$session->quit;
	let_go(@ids);
}
{
	# one that was told to end is back in a second
	my @ids = hold('held: a worker that comes back');

	is($node->safe_psql('postgres', 'SELECT FROM pg_terminate_backend((SELECT pid FROM vibevideo.worker_info()), 10000); SELECT status FROM vibevideo_internal.check_worker() WHERE check_name = \'worker\''),
		'ok', 'a worker that is about to come back is not missed');
	let_go(@ids);

	# what is to be sent is no work while sending is paused
	my $id = new_row($node, 'sending is paused');
	sql($node, "SELECT vibevideo.pause('sending'); SELECT vibevideo_submit_batch('{$id}')");
	no_worker('sending is paused');
	finds('sending is paused', [ 'paused', 'warn', qr/^sending was paused by /, qr/resume/ ]);
	sql($node, 'SELECT vibevideo.resume()');
	wait_for_status($node, $id, 'completed');
}

# ---------------------------------------------------------------------------
# Detached, copied, of another version
# ---------------------------------------------------------------------------
{
	my @ids = hold('held: detached');
	my $id_type = q{SELECT p.proargtypes[0]::regtype FROM pg_proc p WHERE p.proname = 'vibevideo_submit'};

	sql($node, 'SELECT vibevideo.detach(force => true)');
	no_worker('detached');
	sql($node, "UPDATE vibevideo.job SET $old WHERE next_at IS NOT NULL");
	my $lines = finds('detached, with a job', [ 'table', 'fail', qr/^no table is attached$/, qr/^SELECT vibevideo\.attach\('public\.vibelogs'\): jobs of it wait/ ]);
	told_by('detached, with a job', $lines, 'table', qw(worker rhythm overdue other_tables));
	is(sql($node, q{SELECT string_agg(kind || ' ' || subject, ', ' ORDER BY kind) FROM vibevideo.inbox()}), 'check table, no_table table public.vibelogs', 'the inbox does not take it for a copy');
	is(sql($node, 'SELECT paused IS NULL FROM vibevideo.overview()'), 't', 'nor does the overview');
	sql($node, q{SELECT vibevideo.attach('vibelogs')});
	let_go(@ids);

	sql($node, q{SELECT vibevideo.detach(); CREATE TABLE numbered (id bigint PRIMARY KEY, prompt text); SELECT vibevideo.attach('numbered'); SELECT vibevideo.detach()});
	is(sql($node, $id_type), 'bigint', 'the functions take numbers');
	$lines = finds('detached', [ 'table', 'fail', qr/^no table is attached$/, qr/^SELECT vibevideo\.attach\('public\.vibelogs'\)\.$/ ]);
	is($lines->{api}[1], 'key type bigint', 'detached: the functions are there');
	sql($node, q{SELECT vibevideo.attach('vibelogs')});
	is_well('attached again');

	# a row of a table that is not attached is nothing that the worker could do
	sql($node, q{INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, completed_at, row_dirty, row_error) VALUES ('numbered', '1', 'failed', 'm/n', '{}', NULL, now(), true, 'not today'); SELECT vibevideo.wake()});
	no_worker('a row of another table');
	finds('a row of another table', [ 'other_tables', 'warn', qr/table public\.numbered: 0 active, 1 ended/, qr/adopt => 'public\.numbered'/ ]);
	sql($node, q{DELETE FROM vibevideo.job WHERE relation = 'numbered'::regclass});
}
{
	# a dropped table: once, with its number
	my @ids = hold('held: dropped');
	my $relid = sql($node, q{SELECT 'vibelogs'::regclass::oid});
	sql($node, q{BEGIN; SET LOCAL client_min_messages = error; DROP TABLE vibelogs});
	is(sql($node, q{SELECT string_agg(check_name, ', ') FROM (SELECT * FROM vibevideo_internal.check_table() UNION ALL SELECT * FROM vibevideo_internal.check_jobs()) c WHERE status <> 'ok'}), 'table', 'dropped: one finding, table');
	like(sql($node, 'SELECT hint FROM vibevideo_internal.check_table()'), qr/adopt => '$relid'/, 'dropped: with the number that adopt takes');
	sql($node, 'ROLLBACK');
	let_go(@ids);
}
{
	sql($node, q{UPDATE vibevideo.binding SET database_oid = 1; SELECT setval('vibevideo.job_id_seq', 1)});
	my $lines = finds('a copy, by logical replication', [ 'identity', 'fail', qr/^this is a restored or copied database/, qr/vibevideo\.resume\(\)/ ]);
	told_by('a copy', $lines, 'identity', qw(sequences overdue));
	sql($node, 'SELECT vibevideo.resume()');
	is_well('resumed');
	sql($node, q{SELECT setval('vibevideo.job_id_seq', 1)});
	finds('sequences alone', [ 'sequences', 'fail', qr/./, qr/resume/ ]);
	sql($node, 'SELECT vibevideo.resume()');
}
{
	my $version = sql($node, q{SELECT extversion FROM pg_extension WHERE extname = 'vibevideo'});
	sql($node, q{UPDATE pg_extension SET extversion = '9.9.9' WHERE extname = 'vibevideo'});
	my $lines = finds('another version', [ 'version', 'fail', qr/9\.9\.9/, qr/ALTER EXTENSION vibevideo UPDATE/ ]);
	told_by('another version', $lines, 'version', qw(worker table api services cron jobs limits));
	sql($node, "UPDATE pg_extension SET extversion = '$version' WHERE extname = 'vibevideo'; SELECT vibevideo.wake()");
}

# ---------------------------------------------------------------------------
# The app's table
# ---------------------------------------------------------------------------
{
	my $failed = q{INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, completed_at, row_dirty, row_error, row_next_at, %s)
		SELECT 'vibelogs', id, 'failed', 'm/n', '{}', NULL, now(), true, '%s', 'infinity', %s FROM vibelogs LIMIT 1; SELECT vibevideo.wake()};
	my $lines;

	sql($node, 'ALTER TABLE vibelogs RENAME video_request_id TO r; ALTER TABLE vibelogs RENAME video_generation_status TO s');
	$lines = finds('columns are gone', [ 'columns', 'fail', qr/video_generation_status is missing, video_request_id is missing/, qr/vibevideo\.attach/ ]);
	told_by('columns are gone', $lines, 'columns', qw(constraint index));
	sql($node, 'ALTER TABLE vibelogs RENAME r TO video_request_id; ALTER TABLE vibelogs RENAME s TO video_generation_status');

	sql($node, 'CREATE DOMAIN url AS text; ALTER TABLE vibelogs ALTER COLUMN video_url TYPE url');
	is_well('a domain of the app');
	sql($node, 'ALTER TABLE vibelogs ALTER COLUMN video_url TYPE text; DROP DOMAIN url');

	# rows that cannot be written for a reason that another line has
	sql($node, sprintf($failed, 'error_code', 'row-level security hides it', "'x'"));
	finds('a row that cannot be written', [ 'unwritten_rows', 'warn', qr/: 1, because row-level/, qr/they are tried again\.$/ ]);
	sql($node, q{CREATE ROLE app; ALTER TABLE vibelogs OWNER TO app; GRANT USAGE ON SCHEMA public TO app; ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY});
	$lines = finds('forced row-level security', [ 'row_security', 'fail', qr/^row-level security is forced/, qr/NO FORCE/ ]);
	told_by('forced row-level security', $lines, 'row_security', 'unwritten_rows');
	sql($node, q{ALTER TABLE vibelogs DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY; ALTER TABLE vibelogs OWNER TO CURRENT_USER; DROP OWNED BY app; DROP ROLE app});
	sql($node, q{UPDATE vibevideo.job SET row_dirty = false WHERE row_dirty});
	finds('a row that was given up', [ 'unwritten_rows', 'warn', qr/: 1, because/, qr/vibevideo\.reset_stuck\('0'\) tries them again/ ]);
	sql($node, q{UPDATE vibevideo.job SET row_error = NULL WHERE row_error IS NOT NULL});

	# an index that another one keeps away, a partitioned table, a CHECK of ours that says something else
	sql($node, q{DROP INDEX idx_vibelogs_video_request_id; CREATE INDEX idx_vibelogs_video_request_id ON vibelogs (prompt)});
	finds('an index of that name', [ 'index', 'warn', qr/no valid index/, qr/^Drop or rename idx_vibelogs_video_request_id.*attach again/ ]);
	sql($node, q{DROP INDEX idx_vibelogs_video_request_id; SELECT vibevideo.attach('vibelogs')});
	sql($node, q{ALTER TABLE vibelogs DROP CONSTRAINT vibelogs_video_generation_status_check; ALTER TABLE vibelogs ADD CONSTRAINT vibelogs_video_generation_status_check CHECK (video_generation_status <> '')});
	finds('a CHECK of that name', [ 'constraint', 'warn', qr/no CHECK/, qr/^ALTER TABLE public\.vibelogs DROP CONSTRAINT vibelogs_video_generation_status_check, then attach again/ ]);
	sql($node, q{ALTER TABLE vibelogs DROP CONSTRAINT vibelogs_video_generation_status_check; SELECT vibevideo.attach('vibelogs')});
	is_well('which is done');
}
{
	sql($node, 'CREATE DATABASE parts');
	sql($node, q{CREATE EXTENSION vibevideo; CREATE TABLE vibelogs (id uuid PRIMARY KEY, prompt text) PARTITION BY HASH (id);
		CREATE TABLE p PARTITION OF vibelogs FOR VALUES WITH (MODULUS 1, REMAINDER 0); SELECT vibevideo.attach('vibelogs')}, 'parts');
	is_well('a second database, with a partitioned table', database => 'parts');
	sql($node, 'DROP INDEX idx_vibelogs_video_request_id', 'parts');
	my $lines = finds('a partitioned table without its index', [ 'index', 'warn', qr/no valid index/, qr/CREATE INDEX (?!CONCURRENTLY)/ ], database => 'parts');
	my ($command) = ($lines->{index}[2] // '') =~ /(CREATE INDEX .*)/;
	is((sql_error($node, $command // 'SELECT', 'parts'))[0], '', 'the hint can be run');
	is_well('with its index', database => 'parts');
	is_well('the first database');
	sql($node, 'DROP DATABASE parts WITH (FORCE)');
}

# ---------------------------------------------------------------------------
# Failures that nobody needs to deal with, lost submits
# ---------------------------------------------------------------------------
{
	my $id = new_row($node, 'superseded');
	my $insert = "INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, row_dirty, completed_at, created_at, %s) VALUES ('vibelogs', '$id', '%s', 'm/n', '{}', NULL, false, now(), now() - interval '1 s', %s)";

	sql($node, sprintf($insert, 'error_code, sent_at', 'failed', "'submit_lost', now()"));
	finds('a submit that was given up', [ 'submit_lost', 'warn', qr/: 1, one for $id/, qr/vibevideo_retry makes a new attempt/ ]);
	sql($node, sprintf($insert, 'error_code, media_url', 'failed', "'EntityTooLarge', 'https://x'"));
	finds('a video that was not stored', [ 'dead_letters', 'warn', qr/: 1, one for $id/, qr/retry/ ]);
	sql($node, sprintf($insert, 'video_url', 'completed', "'https://y'"));
	is_well('with a newer video');
	sql($node, "DELETE FROM vibevideo.job WHERE vibelog_id = '$id'");

	sql($node, "INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, row_dirty, sent_at) VALUES ('vibelogs', '$id', 'submit_unknown', 'm/n', '{}', 'infinity', false, now()); SELECT vibevideo.wake()");
	finds('a lost submit', [ 'submit_unknown', 'warn', qr/: 1,/, qr/^They are looked for at fal\.ai and never sent again blindly/ ]);
	finds('a lost submit, resubmit', [ 'submit_unknown', 'warn', qr/: 1,/, qr/^They are sent again without looking/ ], set => { unknown_policy => 'resubmit' });
	finds('a lost submit, manual', [ 'submit_unknown', 'warn', qr/: 1,/, qr/waits for you/ ], set => { unknown_policy => 'manual' });
	sql($node, "DELETE FROM vibevideo.job WHERE vibelog_id = '$id'");
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
	finds('and a model without a price', [ 'price', 'warn', qr/price of acme\/unknown is not known; an unknown price counts as 0$/, qr/^SELECT vibevideo\.set_price\('acme\/unknown', / ], set => { model => 'acme/unknown' });
	finds('or is refused', [ 'price', 'warn', qr/price of acme\/unknown is not known; without one, videos are refused$/, qr/^SELECT vibevideo\.set_price/ ],
		set => { model => 'acme/unknown', unknown_price => 'refuse' });
	sql($node, q{SELECT vibevideo.set_price('acme/free', 0), vibevideo.set_price('acme/vague', NULL), vibevideo.set_price('acme/by-the-second', 0.1, 'second', quantity => '$.duration'),
		vibevideo.set_price('acme/by-five-seconds', 0.1, 'second', quantity => '$.duration', quantity_default => 5)});
	is_well('a model that costs nothing', set => { model => 'acme/free' });
	is_well('one whose videos usually have a length', set => { model => 'acme/by-five-seconds' });
	finds('a model whose price is said to be unknown', [ 'price', 'warn', qr/acme\/vague is not known;/, qr/^SELECT vibevideo\.set_price/ ], set => { model => 'acme/vague' });
	finds('one whose input may not say enough', [ 'price', 'warn', qr/acme\/by-the-second is not known unless the input says how many seconds;/, qr/set_price/ ],
		set => { model => 'acme/by-the-second' });

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
# Roles, the webhook
# ---------------------------------------------------------------------------
{
	my %hook = (set => { webhook_url => 'http://127.0.0.1:1/rpc/vibevideo_webhook' });

	sql($node, 'CREATE ROLE anon; CREATE ROLE web_user; SELECT vibevideo.grant_api_roles(); GRANT EXECUTE ON FUNCTION vibevideo_submit(uuid) TO web_user');
	is_well('roles of the API, and others');
	sql($node, 'REVOKE EXECUTE ON FUNCTION vibevideo_webhook(json) FROM anon');
	my $lines = finds('anon may not call the webhook', [ 'grants', 'fail', qr/anon may not call vibevideo_webhook/, qr/grant_api_roles/ ], %hook);
	told_by('anon may not call the webhook', $lines, 'grants', 'webhook');
	sql($node, 'SELECT vibevideo.grant_api_roles()');
	finds('a webhook that does not answer', [ 'webhook', 'warn', qr/gave this server no answer/, qr/behind NAT/ ], %hook);
	sql($node, 'DROP OWNED BY anon, authenticated, web_user; DROP ROLE anon, authenticated, web_user');
}

# ---------------------------------------------------------------------------
# A standby, and a service that is down
# ---------------------------------------------------------------------------
{
	my @ids = hold('held: standby');
	my $standby = PostgreSQL::Test::Cluster->new('standby');

	$node->backup('copy');
	$standby->init_from_backup($node, 'copy', has_streaming => 1);
	$standby->start;
	$node->wait_for_catchup($standby, 'replay', $node->lsn('write'));
	sql($node, q{SELECT vibevideo.pause('all')});
	wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE leased_by IS NOT NULL}, '0', 'nobody has it');
	sql($node, "UPDATE vibevideo.job SET $old WHERE next_at IS NOT NULL; UPDATE vibevideo.binding SET paused = false, pause_scope = NULL, paused_by = NULL, paused_at = NULL, pause_reason = NULL");
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	my $lines = is_well('a standby', node => $standby);
	told_by('a standby', $lines, 'worker', 'overdue', 'rhythm');
	is($standby->safe_psql('postgres', 'SELECT vibevideo_internal.is_copy(b) OR vibevideo_internal.pause_cause(b) IS NOT NULL FROM vibevideo.binding b'), 'f', 'a standby is no copy');
	$standby->stop('immediate');
	sql($node, 'SELECT vibevideo.resume()');
	let_go(@ids);
}
{
	my $url = $fal->url;
	my @ids = map { new_row($node, "down $_") } 1 .. 8;

	configure($node, fal_queue_url => 'http://127.0.0.1:1');
	sql($node, "SELECT vibevideo_submit_batch('{" . join(',', @ids) . "}')");
	wait_for($node, 'SELECT fal_down_until IS NOT NULL FROM vibevideo.worker_info()', 't', 'fal.ai is taken to be down');
	sql($node, "UPDATE vibevideo.job SET $old WHERE next_at IS NOT NULL");
	my $lines = finds('fal.ai is down', [ 'queue', 'fail', qr/does not answer/, qr/network/ ]);
	told_by('fal.ai is down', $lines, 'queue', 'breaker');
	# it answers to us, and the worker waits
	$lines = finds('fal.ai is back', [ 'breaker', 'warn', qr/^fal\.ai could not be reached/, qr/vibevideo\.probe_now\(\)/ ], set => { fal_queue_url => $url });
	configure($node, fal_queue_url => $url);
	sql($node, 'SELECT count(*) FROM vibevideo.probe_now()');
	wait_for_status($node, $_, 'completed') for @ids;
	is_well('and all is done');
}
{
	my @ids = hold('held: Storage is down');
	my $url = $storage->url;

	configure($node, storage_url => 'http://127.0.0.1:1');
	$fal->command('*', 'finish');
	wait_for($node, 'SELECT storage_down_until IS NOT NULL FROM vibevideo.worker_info()', 't', 'Storage is taken to be down', hurry => 1);
	my $lines = finds('Storage is down', [ 'bucket', 'fail', qr/^Storage: /, qr/storage_url/ ]);
	told_by('Storage is down', $lines, 'bucket', 'breaker');
	is_well('Storage is not needed', set => { storage_kind => 'none' });
	configure($node, storage_url => $url);
	sql($node, 'SELECT count(*) FROM vibevideo.probe_now()');
	wait_for_status($node, $_, 'completed') for @ids;
}

# ---------------------------------------------------------------------------
# Keys in the environment alone; no worker where there should be one
# ---------------------------------------------------------------------------
{
	configure($node, fal_key => '', storage_key => '');
	$node->stop;
	{
		local $ENV{FAL_KEY} = 'key-id:key-secret';
		local $ENV{SUPABASE_SERVICE_ROLE_KEY} = $service;
		$node->start;
	}
	my $lines = is_well('keys in the environment');
	is_deeply([ map { $lines->{$_}[1] =~ s/,.*//r } qw(fal_key storage_key) ], [ ('found a key in the server\'s environment') x 2 ], 'where they are found');
	no_worker('idle');
	is_well('idle');
}
{
	my $id = new_row($node, 'nobody is there');

	# two of the server's own
	$node->append_conf('postgresql.conf', 'max_worker_processes = 2');
	$node->restart;
	wait_for($node, q{SELECT vibevideo.wake(); SELECT absence FROM vibevideo.worker_info()}, qr/max_worker_processes/, 'there is no process for a worker', patience => 60);
	sql($node, "SELECT vibevideo_submit_batch('{$id}')");
	sql($node, "UPDATE vibevideo.job SET $old WHERE next_at IS NOT NULL");
	my $lines = finds('no process for the worker', [ 'worker', 'fail', qr/no background worker runs: no background process is free/, qr/^Raise max_worker_processes, and restart the server\.$/ ],
		set => { fal_key => 'key-id:key-secret', storage_key => $service });
	told_by('no process for the worker', $lines, 'worker', qw(rhythm overdue));
}

# ---------------------------------------------------------------------------
# The library is not loaded
# ---------------------------------------------------------------------------
{
	$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
	$node->restart;
	my $lines = finds('not loaded', [ 'preload', 'fail', qr/not in shared_preload_libraries/, qr/^Add it to the list/ ]);
	told_by('not loaded', $lines, 'preload', qw(version worker table api services cron jobs limits));
	$node->stop;
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
