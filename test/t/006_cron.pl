# vibevideo.schedule with pg_cron, and what check_config says.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

plan skip_all => 'pg_cron is not installed' unless has_pg_cron();

my $fal = start_fal(default => { queue_ms => 0, run_ms => 0 });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, cron => 1);

# check_config as {name => [status, detail, hint]}
sub check_config
{
	my ($settings) = @_;
	my $out = $node->safe_psql('postgres', ($settings || '') . q{SELECT jsonb_object_agg(check_name, ARRAY[status, detail, hint]) FROM vibevideo.check_config()});

	return JSON::PP::decode_json($out);
}

# -- without the extension ---------------------------------------------------------------
{
	my ($state, $text) = sql_error($node, 'SELECT vibevideo.schedule()');
	is($state, '0A000', 'without pg_cron there is no schedule');
	like($text, qr/HINT:  CREATE EXTENSION pg_cron in the database named by cron\.database_name/, 'the hint says what to do');
	like(check_config()->{pg_cron}[1], qr/^not installed; the background worker follows the jobs alone/, 'check_config says that it works without');
}

# -- scheduling ------------------------------------------------------------------------------
sql($node, 'CREATE EXTENSION pg_cron');
my ($major, $minor) = split /[.-]/, sql($node, q{SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'});
my $knows_seconds = $major > 1 || $minor >= 5;
{
	like(join('|', @{ check_config()->{pg_cron} }[0, 1]), qr/^ok\|.*no job calls vibevideo_poll\(\); the background worker follows the jobs alone$/, 'without a job, too');
	my ($rc, $out, $err) = $node->psql('postgres', 'SELECT vibevideo.schedule()');
	is($out, 'vibevideo_poll: ' . ($knows_seconds ? '10 seconds' : '* * * * *'), 'schedule takes what pg_cron can do');
	like($err, $knows_seconds ? qr/^$/ : qr/NOTICE:  this version of pg_cron cannot run a job every 10 seconds, the poll runs every minute/,
		'and says if it is not what was asked for');
	is(sql($node, q{SELECT vibevideo.schedule('5 minutes')}), 'vibevideo_poll: */5 * * * *', 'scheduling again');
	is(sql($node, q{SELECT count(*), min(schedule), bool_and(active) FROM cron.job}), '1|*/5 * * * *|t', 'changes the one job');
	like(check_config()->{pg_cron}[1], qr{job \d+: \*/5 \* \* \* \*}, 'which check_config shows');
	is((sql_error($node, q{SELECT vibevideo.schedule('90 seconds')}))[0], '22023', 'an interval cron cannot express is refused');
}

# -- the job's command -----------------------------------------------------------------------------
{
	my $command = sql($node, 'SELECT command FROM cron.job');
	my $id = new_row($node, 'polled by cron');

	$fal->rule('^polled by cron$', hold => 'run');
	submit($node, $id);
	wait_for_status($node, $id, 'generating');
	is($node->safe_psql('postgres', "UPDATE vibevideo.job SET next_at = now() - interval '1 s' WHERE leased_by IS NULL;\n$command"), '(1,0,0,0)',
		'the job\'s command polls');
	like(check_config()->{rhythm}[1], qr/^vibevideo_poll\(\) was called /, 'check_config has seen it');
	$fal->command(job_of($node, $id)->{request_id}, 'finish');
	wait_for_status($node, $id, 'completed');
}
SKIP:
{
	skip 'this pg_cron knows no seconds', 1 unless $knows_seconds;
	sql($node, q{SELECT vibevideo.schedule('1 second')});
	wait_for($node, q{SELECT count(*) > 0 FROM cron.job_run_details WHERE status = 'succeeded'}, 't', 'pg_cron runs it');
}
like(sql($node, q{BEGIN; UPDATE cron.job SET username = 'gone'; SELECT status, detail, hint FROM vibevideo_internal.check_cron(); ROLLBACK}),
	qr/^fail\|.* role gone, which is gone.*\|SELECT vibevideo\.unschedule/, 'check_config misses the owner of the job');
{
	is(sql($node, 'SELECT vibevideo.unschedule()'), 't', 'unschedule');
	is(sql($node, 'SELECT count(*) FROM cron.job'), '0', 'removes the job');
	is(sql($node, 'SELECT vibevideo.unschedule()'), 'f', 'once');
}

# -- check_config ----------------------------------------------------------------------------------------
{
	my $good = check_config();
	my %expected = map { $_ => 'ok' } qw(preload worker rhythm table columns constraint index row_security owner api grants
	  fal_key queue fal_admin_key storage_key bucket bucket_public bucket_size media_hosts pg_cron overdue submit_unknown dead_letters unwritten_rows);

	$expected{media_hosts} = 'warn' if $fal->url !~ /^https/;
	for my $name (sort keys %expected)
	{
		is($good->{$name}[0], $expected{$name}, "check_config: $name is $expected{$name}") or diag(explain($good->{$name}));
	}
	is_deeply([ grep { $good->{$_}[0] ne 'ok' && !$good->{$_}[2] } keys %$good ], [], 'what is not ok has a hint');
	like(sql($node, q{SELECT string_agg(check_name, ' ') FROM vibevideo.check_config()}), qr/^preload .*worker .*table .*queue .*bucket /, 'from the server to the services');

	for my $case (
		[ q{SET vibevideo.fal_key = 'wrong:key'; }, 'queue', 'fail', qr/rejects the key: No user found for Key ID and Secret/ ],
		[ q{SET vibevideo.fal_key = ''; }, 'fal_key', 'fail', qr/no fal\.ai API key/ ],
		[ q{SET vibevideo.fal_queue_url = 'http://127.0.0.1:1'; }, 'queue', 'fail', qr/does not answer: / ],
		[ q{SET vibevideo.storage_key = ''; }, 'storage_key', 'fail', qr/no Storage key/ ],
		[ "SET vibevideo.storage_key = '$storage->{ready}{expired_jwt}'; ", 'bucket', 'fail', qr/^Storage: / ],
		[ q{SET vibevideo.storage_bucket = 'nowhere'; }, 'bucket', 'fail', qr/nowhere|Bucket not found/ ],
		[ q{SET vibevideo.storage_url = 'http://127.0.0.1:1'; }, 'bucket', 'fail', qr/./ ],
		[ q{SET vibevideo.media_hosts = 'http://127.0.0.1:1'; }, 'media_hosts', 'warn', qr/plain http/ ])
	{
		my ($settings, $name, $status, $words) = @$case;
		my $line = check_config($settings)->{$name};

		is($line->[0], $status, "check_config, $settings: $name");
		like($line->[1], $words, 'with the reason');
		ok($line->[2], 'and a hint');
		unlike("@$line", qr/key-secret|\Q$storage->{ready}{service_jwt}\E/, 'and no secret');
	}

	# the table is a superuser's: who can have code of theirs run with its rights?
	my $owner = sub { my $line = check_config()->{owner}; return "$line->[0]: $line->[1]"; };
	my $boss = sql($node, 'SELECT current_user');

	sql($node, 'CREATE ROLE app; CREATE ROLE writer; GRANT SELECT, INSERT, UPDATE ON vibelogs TO writer; GRANT TRIGGER ON vibelogs TO app');
	is($owner->(), "warn: triggers and input function run with the rights of $boss, a superuser, and can be made or changed by app",
		'check_config knows who may make triggers');
	sql($node, <<'SQL');
REVOKE TRIGGER ON vibelogs FROM app;
CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER own BEFORE UPDATE ON vibelogs FOR EACH ROW EXECUTE FUNCTION own();
SQL
	like($owner->(), qr/^ok: /, 'a trigger of the superuser is its own affair');
	sql($node, 'ALTER FUNCTION own OWNER TO app');
	like($owner->(), qr/^warn: .* by app$/, 'one whose function is not, is not');
	sql($node, <<'SQL');
DROP TRIGGER own ON vibelogs;
CREATE FUNCTION own_input(vibelogs) RETURNS jsonb LANGUAGE sql RETURN '{"prompt": "x"}'::jsonb;
ALTER FUNCTION own_input OWNER TO writer;
SELECT vibevideo.attach('vibelogs', input_function => 'own_input');
SQL
	like($owner->(), qr/^warn: .* by writer$/, 'nor is such an input function');
	sql($node, 'ALTER TABLE vibelogs OWNER TO app');
	is($owner->(), 'ok: triggers and input function run with the rights of app', 'an ordinary owner is no danger');
	sql($node, 'SELECT vibevideo.detach(force => true)');
	is(check_config()->{table}[0], 'fail', 'check_config misses the table');
}

done_testing();
