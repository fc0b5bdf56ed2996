# Keys are rotated while jobs are under way: in Vault and in the settings
# without a restart of anything, in the server's environment with one.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal(args => ['--key', 'id:one'], default => { hold => 'queue', run_ms => 0 });
my $storage = start_storage();
my %secrets = ('id:one' => 1, $storage->{ready}{service_jwt} => 1);
# the keys are nowhere but where a test puts them
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'vibevideo.fal_key' => undef,
	'vibevideo.storage_key' => undef,
	'vibevideo.poll_interval' => '1s',
	'vibevideo.max_tries' => 100 });

# fal takes this key from now on, and no other
sub fal_takes
{
	my ($key) = @_;

	$secrets{$key} = 1;
	$fal->default(keys => [$key]);
	return;
}

# Storage of the same address, with another secret: keys of before are worthless
sub storage_rotates
{
	my ($secret) = @_;
	my $port = $storage->{ready}{port};

	$storage->stop;
	$storage = start_storage(args => [ '--port', $port, '--jwt-secret', $secret ]);
	$secrets{ $storage->{ready}{service_jwt} } = 1;
	return $storage->{ready}{service_jwt};
}

# what is logged of it is the test's own doing
sub quietly
{
	my ($statement) = @_;

	return sql($node, "SET log_statement = none; SET log_min_duration_statement = -1; $statement; RESET log_statement; RESET log_min_duration_statement");
}

sub vault
{
	my ($name, $secret) = @_;

	return quietly("UPDATE vault.secrets SET secret = '$secret' WHERE name = '$name'");
}

my $reloads = 0;

# Settings of the server; returns when this session has them.  Keys are not shown, so another setting tells.
sub configure_quietly
{
	my (%settings) = @_;

	$reloads++;
	quietly(join('; ', map { defined $settings{$_} ? "ALTER SYSTEM SET vibevideo.$_ = '$settings{$_}'" : "ALTER SYSTEM RESET vibevideo.$_" } sort keys %settings)
		  . "; ALTER SYSTEM SET vibevideo.retention = '${reloads}d'; SELECT pg_reload_conf()");
	return wait_for($node, 'SHOW vibevideo.retention', "${reloads}d", 'the settings are reloaded');
}

sub comes_from
{
	my ($kind, $words) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return like(sql($node, "SELECT status || ' ' || detail FROM vibevideo.check_config() WHERE check_name = '${kind}_key'"), qr/^ok .*$words/, "check_config: the key of $kind is from $words");
}

sub finish
{
	my ($id) = @_;
	my $request_id = job_of($node, $id)->{request_id};

	return $fal->command($request_id, 'finish');
}

# Submitted in a call and by the worker: both complete.
my $works = 0;

sub all_works
{
	my ($name) = @_;
	my @ids = map { new_row($node, "$name $_ " . ++$works) } qw(call batch);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(submit($node, $ids[0])->{status}, 'queued', "$name: a call submits");
	sql($node, "SELECT vibevideo_submit_batch('{$ids[1]}')");
	wait_for($node, "SELECT request_id IS NOT NULL FROM vibevideo.job WHERE vibelog_id = '$ids[1]'", 't', "$name: the worker submits", hurry => 1);
	finish($_) for @ids;
	wait_for_status($node, $_, 'completed', name => "$name: the row is completed") for @ids;
	return;
}

# -- none ---------------------------------------------------------------------------------------------
{
	my ($state) = sql_error($node, q{SELECT vibevideo_submit('} . new_row($node, 'no key') . q{')});
	is($state, '55000', 'without a key nothing is sent');
}

# -- Vault -----------------------------------------------------------------------------------------------
quietly(<<"SQL");
CREATE SCHEMA vault;
CREATE TABLE vault.secrets (name text PRIMARY KEY, secret text);
CREATE VIEW vault.decrypted_secrets AS SELECT name, secret AS decrypted_secret FROM vault.secrets;
INSERT INTO vault.secrets VALUES ('fal_key', 'id:one'), ('storage_key', '$storage->{ready}{service_jwt}')
SQL
fal_takes('id:one');
all_works('Vault, first keys');
comes_from('fal', 'Vault');
comes_from('storage', 'Vault');
my $worker = worker_pid($node);
my $backend = sql($node, 'SELECT pg_backend_pid()');

{
	# fal's key changes while one job waits there: it is asked about with the new one
	my ($before, $early, $waiting) = map { new_row($node, "Vault, $_") } qw(before early waiting);

	submit($node, $before);
	fal_takes('id:two');
	# fal is ahead of Vault: no harm is done
	my $refused = submit($node, $early);
	is("$refused->{status} $refused->{error_code}", 'failed unauthorized', 'fal has a new key and Vault the old: a submit is refused');
	unlike($refused->{error}, qr/id:one/, 'without telling the key');
	finish($before);
	wait_for($node, "SELECT tries > 0 FROM vibevideo.job WHERE vibelog_id = '$before'", 't', 'and questions are, too', hurry => 1);
	is(job_of($node, $before)->{state}, 'queued', 'but the job is not given up for that');
	vault('fal_key', 'id:two');
	wait_for_status($node, $before, 'completed', name => 'Vault has it: the job that was sent with the old key is completed');
	is(scalar($fal->renders('Vault, before')), 1, 'by one render');
	is(video($node, "vibevideo_retry('$early')")->{attempt}, 2, 'the refused one is tried again');
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$early' AND attempt = 2", 'queued', 'and is taken', hurry => 1);
	all_works('Vault, second key of fal');
}
{
	# a key that is not committed is nobody's
	my $session = background_sql($node);

	$session->query_safe(q{BEGIN; UPDATE vault.secrets SET secret = 'id:never' WHERE name = 'fal_key'});
	all_works('Vault, while another key is not committed');
	$session->query_safe('ROLLBACK');
	$session->quit;
}
{
	# Storage's key changes while a video is on its way, before and after Vault
	my ($slow, $lost) = map { new_row($node, "Storage, $_") } qw(slow lost);

	submit($node, $_) for $slow, $lost;
	vault('storage_key', storage_rotates('a second secret that has at least 32 characters'));
	finish($slow);
	wait_for_status($node, $slow, 'completed', name => 'a job from before the rotation is stored with the new key');
	my $new = storage_rotates('a third secret that has at least 32 characters');
	finish($lost);
	wait_for_status($node, $lost, 'failed', name => 'Storage has a new key and Vault the old: the copy fails');
	is(job_of($node, $lost)->{error_code}, 'AccessDenied', 'for that reason');
	ok(job_of($node, $lost)->{media_url}, 'and the video is kept');
	vault('storage_key', $new);
	is(video($node, "vibevideo_retry('$lost')")->{status}, 'processing', 'Vault has it: it is copied again');
	wait_for_status($node, $lost, 'completed');
	is(scalar($fal->renders('Storage, lost')), 1, 'and not rendered again');
	is($storage->object($lost)->{sha256}, ($fal->renders('Storage, lost'))[0]{media_sha256}, 'the object is fal\'s file');
	all_works('Vault, third key of Storage');
}
{
	# the secret of another name
	quietly(q{INSERT INTO vault.secrets VALUES ('fal_of_tomorrow', 'id:three')});
	fal_takes('id:three');
	configure_quietly(fal_key_secret => 'fal_of_tomorrow');
	all_works('Vault, another secret');
	comes_from('fal', 'Vault');
}

# -- the settings ------------------------------------------------------------------------------------------------
{
	my $before = new_row($node, 'settings, before');

	submit($node, $before);
	quietly('DELETE FROM vault.secrets');
	fal_takes('id:four');
	configure_quietly(fal_key_secret => undef, fal_key => 'id:four', storage_key => $storage->{ready}{service_jwt});
	finish($before);
	wait_for_status($node, $before, 'completed', name => 'a job from before is completed with the keys of the settings');
	all_works('settings, first keys');
	comes_from('fal', 'the setting');
	comes_from('storage', 'the setting');

	my $again = new_row($node, 'settings, again');
	submit($node, $again);
	fal_takes('id:five');
	configure_quietly(fal_key => 'id:five', storage_key => storage_rotates('a fourth secret that has at least 32 characters'));
	finish($again);
	wait_for_status($node, $again, 'completed', name => 'and one from before the next change with the next');
	all_works('settings, second keys');

	# Vault comes first again, as soon as there is something in it
	fal_takes('id:six');
	quietly(q{INSERT INTO vault.secrets VALUES ('fal_key', 'id:six')});
	all_works('Vault before settings');
	quietly('DELETE FROM vault.secrets');
}
is(worker_pid($node), $worker, 'all this by one worker');
is(sql($node, 'SELECT pg_backend_pid()'), $backend, 'and one session');

# -- the environment -----------------------------------------------------------------------------------------------
{
	my $before = new_row($node, 'environment, before');

	fal_takes('id:five');
	submit($node, $before);
	{
		# a newline at the end is the commonest mistake
		local $ENV{FAL_KEY} = "id:seven\n";
		local $ENV{SUPABASE_SERVICE_ROLE_KEY} = storage_rotates('a fifth secret that has at least 32 characters');
		fal_takes('id:seven');
		$node->restart;
	}
	finish($before);
	wait_for_status($node, $before, 'completed', name => 'a job from before the restart is completed with the keys of the environment');
	all_works('environment, before settings');
	comes_from('fal', 'environment');
	comes_from('storage', 'environment');
	{
		local $ENV{FAL_KEY_ID} = 'id';
		local $ENV{FAL_KEY_SECRET} = 'eight';
		local $ENV{SUPABASE_SECRET_KEY} = $storage->{ready}{service_jwt};
		fal_takes('id:eight');
		$node->restart;
	}
	all_works('environment, in halves');
	comes_from('fal', 'environment');
}

# -- nobody has told --------------------------------------------------------------------------------------------------
{
	my $rows = sql($node, q{SELECT (SELECT string_agg(j::text, '') FROM vibevideo.job j) || (SELECT string_agg(e::text, '') FROM vibevideo.event e) || (SELECT string_agg(v::text, '') FROM vibelogs v)});
	my $log = slurp_file($node->logfile);

	my @told = grep { $rows =~ /\Q$_\E/ || $log =~ /\Q$_\E/ } sort keys %secrets;
	is_deeply(\@told, [], 'no key is in a row or in the log');
}

done_testing();
